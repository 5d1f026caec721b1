/* SPDX-License-Identifier: Apache-2.0
 *
 * The offset table: topic@group -> the offsets of its queues.
 *
 * A group's offsets are an array of (queue id, offset), sorted by queue id. Where the ids are
 * dense, as they nearly always are, entry i is queue i and a look-up is one index; sparse ids cost
 * a binary search and no memory. Keys are composed as in the file, so names that hold an @ meet
 * each other exactly as in 4.9.2, and such a key belongs to no topic and no group. Source: RMQ
 * broker/.../ConsumerOffsetManager.java.
 */
#include "broker/state/offsets.h"

#include "broker/state/config_file.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdlib.h>

#define SEPARATOR '@'

/* A retry topic's name is its group's with a prefix. */
#define KEY_TOPIC_BYTES_MAX (GROUP_BYTES_MAX + 16)
#define KEY_BYTES_MAX (KEY_TOPIC_BYTES_MAX + 1 + GROUP_BYTES_MAX)

struct queue_offset {
    int32_t queue_id;
    int64_t offset;
};

struct group_offsets {
    size_t count;
    size_t capacity;
    struct queue_offset *queues; /* sorted by queue_id, each once */
};

struct offsets {
    pthread_mutex_t lock; /* docs/locks.md: offsets */
    struct map table;     /* topic@group -> struct group_offsets */
    size_t queue_count;   /* over all keys */
    uint64_t changes;
    struct config_file file;
};

struct key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t size;
};

static void offsets_lock(const struct offsets *offsets)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&offsets->lock) == 0);
}

static void offsets_unlock(const struct offsets *offsets)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&offsets->lock) == 0);
}

/* --- keys --- */

static bool key_make(struct slice topic, struct slice group, struct key *key)
{
    if (topic.size == 0 || topic.size > KEY_TOPIC_BYTES_MAX || group.size == 0 ||
        group.size > GROUP_BYTES_MAX)
        return false;
    memcpy(key->bytes, topic.data, topic.size);
    key->bytes[topic.size] = SEPARATOR;
    memcpy(key->bytes + topic.size + 1, group.data, group.size);
    key->size = topic.size + 1 + group.size;
    return true;
}

/* False unless there is exactly one separator with something on both sides. */
static bool key_split(struct slice key, struct slice *topic, struct slice *group)
{
    const uint8_t *at = key.size == 0 ? NULL : memchr(key.data, SEPARATOR, key.size);
    if (at == NULL)
        return false;
    *topic = slice_of(key.data, (size_t)(at - key.data));
    *group = slice_from(key, topic->size + 1);
    return topic->size != 0 && group->size != 0 &&
           memchr(group->data, SEPARATOR, group->size) == NULL;
}

/* --- the offsets of one key --- */

/* Where queue_id is or belongs. */
static size_t position(const struct group_offsets *group, int32_t queue_id)
{
    size_t dense = (size_t)queue_id;
    if (dense < group->count && group->queues[dense].queue_id == queue_id)
        return dense;
    size_t low = 0;
    size_t high = group->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (group->queues[middle].queue_id < queue_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool holds(const struct group_offsets *group, size_t at, int32_t queue_id)
{
    return at < group->count && group->queues[at].queue_id == queue_id;
}

static void insert(struct group_offsets *group, size_t at, int32_t queue_id, int64_t offset)
{
    if (group->count == group->capacity) {
        group->capacity = group->capacity == 0 ? 4 : group->capacity * 2;
        group->queues = xrealloc(group->queues, group->capacity * sizeof *group->queues);
    }
    memmove(&group->queues[at + 1], &group->queues[at],
            (group->count - at) * sizeof *group->queues);
    group->queues[at] = (struct queue_offset){queue_id, offset};
    group->count++;
}

static void group_offsets_free(struct group_offsets *group)
{
    free(group->queues);
    free(group);
}

/* --- the table, with the lock held --- */

static enum status full(struct slice key)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_warn("state", "consumer offset refused, the table is full",
                 "key=%.*s keys_max=%d queues_max=%d refused=%lld", SLICE_ARGS(key),
                 OFFSET_KEYS_MAX, OFFSET_QUEUES_MAX, (long long)suppressed + 1);
    return STATUS_BUSY;
}

static struct group_offsets *find_or_add(struct offsets *offsets, struct slice key)
{
    struct group_offsets *group = map_get(&offsets->table, key);
    if (group == NULL) {
        group = xcalloc(1, sizeof *group);
        (void)map_put(&offsets->table, key, group);
    }
    return group;
}

static enum status set(struct offsets *offsets, struct slice key, int32_t queue_id, int64_t offset)
{
    struct group_offsets *group = map_get(&offsets->table, key);
    size_t at = group == NULL ? 0 : position(group, queue_id);
    if (group != NULL && holds(group, at, queue_id)) {
        offsets->changes += group->queues[at].offset != offset;
        group->queues[at].offset = offset;
        return STATUS_OK;
    }
    if (offsets->queue_count >= OFFSET_QUEUES_MAX ||
        (group == NULL && offsets->table.count >= OFFSET_KEYS_MAX))
        return full(key);
    insert(find_or_add(offsets, key), at, queue_id, offset);
    offsets->queue_count++;
    offsets->changes++;
    return STATUS_OK;
}

static void drop(struct offsets *offsets, struct slice key)
{
    struct group_offsets *group = map_remove(&offsets->table, key);
    if (group == NULL)
        return;
    offsets->queue_count -= group->count;
    offsets->changes++;
    group_offsets_free(group);
}

/* --- loading --- */

/* What the file holds is taken whatever the bounds on commits are, but not queue ids that nobody
 * could ask for. */
static void merge_body(struct offsets *offsets, const ConsumerOffsetSerializeWrapper *body)
{
    for (size_t i = 0; i < body->n_offset_table; i++) {
        const QueueOffsetsEntry *entry = body->offset_table[i];
        struct group_offsets *group = find_or_add(offsets, slice_of_cstr(entry->key));
        for (size_t j = 0; j < entry->n_value; j++) {
            int32_t queue_id = entry->value[j]->key;
            if (queue_id < 0 || queue_id >= TOPIC_QUEUES_MAX) {
                log_warn("state", "consumer offset of an impossible queue ignored",
                         "key=%s queue=%d", entry->key, queue_id);
                continue;
            }
            size_t at = position(group, queue_id);
            if (holds(group, at, queue_id)) {
                group->queues[at].offset = entry->value[j]->value;
                continue;
            }
            insert(group, at, queue_id, entry->value[j]->value);
            offsets->queue_count++;
        }
    }
}

enum status offsets_load(const char *path, struct vfs *vfs, struct offsets **out, struct err *err)
{
    struct offsets *offsets = xcalloc(1, sizeof *offsets);
    struct arena arena;
    ConsumerOffsetSerializeWrapper body;
    enum config_source source;

    CHECK(pthread_mutex_init(&offsets->lock, NULL) == 0);
    config_file_init(&offsets->file, path, vfs);
    arena_init(&arena, 65536);
    enum status status = config_file_load(&offsets->file, "consumer offsets",
                                          &consumer_offset_serialize_wrapper__descriptor, &arena,
                                          &body.base, &source, err);
    if (status == STATUS_OK) {
        merge_body(offsets, &body);
        offsets->changes = source == CONFIG_SOURCE_BACKUP;
        log_info("state", "consumer offsets loaded", "keys=%zu queues=%zu", offsets->table.count,
                 offsets->queue_count);
        *out = offsets;
    } else {
        offsets_free(offsets);
    }
    arena_release(&arena);
    return status;
}

void offsets_free(struct offsets *offsets)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&offsets->table, &cursor)) != NULL;)
        group_offsets_free(entry->value);
    map_release(&offsets->table);
    config_file_release(&offsets->file);
    CHECK(pthread_mutex_destroy(&offsets->lock) == 0);
    free(offsets);
}

/* --- use --- */

enum status offsets_commit(struct offsets *offsets, struct slice topic, struct slice group,
                           int32_t queue_id, int64_t queue_offset)
{
    struct key key;
    if (queue_id < 0 || queue_id >= TOPIC_QUEUES_MAX || !key_make(topic, group, &key))
        return STATUS_INVALID;
    offsets_lock(offsets);
    enum status status = set(offsets, slice_of(key.bytes, key.size), queue_id, queue_offset);
    offsets_unlock(offsets);
    return status;
}

int64_t offsets_get(const struct offsets *offsets, struct slice topic, struct slice group,
                    int32_t queue_id)
{
    struct key key;
    int64_t offset = -1;
    if (queue_id < 0 || !key_make(topic, group, &key))
        return offset;
    offsets_lock(offsets);
    const struct group_offsets *found = map_get(&offsets->table, slice_of(key.bytes, key.size));
    if (found != NULL) {
        size_t at = position(found, queue_id);
        if (holds(found, at, queue_id))
            offset = found->queues[at].offset;
    }
    offsets_unlock(offsets);
    return offset;
}

void offsets_remove_group(struct offsets *offsets, struct slice group)
{
    size_t cursor = 0;
    size_t removed = 0;
    offsets_lock(offsets);
    for (struct map_entry *entry; (entry = map_next(&offsets->table, &cursor)) != NULL;) {
        struct slice key_topic;
        struct slice key_group;
        if (!key_split(entry->key, &key_topic, &key_group) || !slice_equal(key_group, group))
            continue;
        drop(offsets, entry->key);
        removed++;
    }
    offsets_unlock(offsets);
    log_info("state", "consumer offsets of a group removed", "group=%.*s topics=%zu",
             SLICE_ARGS(group), removed);
}

enum status offsets_clone(struct offsets *offsets, struct slice from_group, struct slice to_group,
                          struct slice topic)
{
    struct key from;
    struct key to;
    if (!key_make(topic, from_group, &from) || !key_make(topic, to_group, &to))
        return STATUS_INVALID;
    struct slice to_key = slice_of(to.bytes, to.size);
    enum status status = STATUS_OK;
    offsets_lock(offsets);
    const struct group_offsets *source = map_get(&offsets->table, slice_of(from.bytes, from.size));
    const struct group_offsets *old = map_get(&offsets->table, to_key);
    if (source != NULL && source != old) {
        size_t old_count = old == NULL ? 0 : old->count;
        if (offsets->queue_count - old_count + source->count > OFFSET_QUEUES_MAX ||
            (old == NULL && offsets->table.count >= OFFSET_KEYS_MAX)) {
            status = full(to_key);
        } else {
            drop(offsets, to_key);
            struct group_offsets *copy = find_or_add(offsets, to_key);
            for (size_t i = 0; i < source->count; i++)
                insert(copy, i, source->queues[i].queue_id, source->queues[i].offset);
            offsets->queue_count += copy->count;
            offsets->changes++;
        }
    }
    offsets_unlock(offsets);
    return status;
}

/* Copies of the groups that go with `topic`, or of the topics that go with `group` (the other one
 * is empty), handed out without the lock. */
static void walk_names(const struct offsets *offsets, struct slice topic, struct slice group,
                       void (*each)(void *ctx, struct slice name), void *ctx)
{
    struct arena arena;
    struct name {
        struct slice text;
        struct name *next;
    } *names = NULL;
    arena_init(&arena, 4096);
    size_t cursor = 0;
    offsets_lock(offsets);
    for (struct map_entry *entry; (entry = map_next(&offsets->table, &cursor)) != NULL;) {
        struct slice key_topic;
        struct slice key_group;
        if (!key_split(entry->key, &key_topic, &key_group))
            continue;
        bool wanted =
            topic.size != 0 ? slice_equal(key_topic, topic) : slice_equal(key_group, group);
        if (!wanted)
            continue;
        struct name *name = arena_alloc(&arena, sizeof *name);
        name->text = arena_copy(&arena, topic.size != 0 ? key_group : key_topic);
        name->next = names;
        names = name;
    }
    offsets_unlock(offsets);
    for (; names != NULL; names = names->next)
        each(ctx, names->text);
    arena_release(&arena);
}

void offsets_groups_of(const struct offsets *offsets, struct slice topic,
                       void (*each)(void *ctx, struct slice group), void *ctx)
{
    if (topic.size != 0)
        walk_names(offsets, topic, SLICE_EMPTY, each, ctx);
}

void offsets_topics_of(const struct offsets *offsets, struct slice group,
                       void (*each)(void *ctx, struct slice topic), void *ctx)
{
    if (group.size != 0)
        walk_names(offsets, SLICE_EMPTY, group, each, ctx);
}

/* --- snapshots --- */

static int compare_names(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int by_group(const void *a, const void *b)
{
    const struct offset_key *left = a;
    const struct offset_key *right = b;
    int order = compare_names(left->group, right->group);
    return order != 0 ? order : compare_names(left->topic, right->topic);
}

size_t offsets_keys(const struct offsets *offsets, struct arena *arena, struct offset_key **keys)
{
    size_t count = 0;
    size_t cursor = 0;
    offsets_lock(offsets);
    struct offset_key *out = arena_alloc(arena, offsets->table.count * sizeof *out);
    for (struct map_entry *at; (at = map_next(&offsets->table, &cursor)) != NULL;) {
        struct offset_key *key = &out[count];
        count += key_split(arena_copy(arena, at->key), &key->topic, &key->group);
    }
    offsets_unlock(offsets);
    qsort(out, count, sizeof *out, by_group);
    *keys = out;
    return count;
}

static IntOffsetEntry **wrap_queues(const struct group_offsets *group, struct arena *arena)
{
    IntOffsetEntry **table = arena_alloc(arena, group->count * sizeof *table);
    IntOffsetEntry *entries = arena_alloc(arena, group->count * sizeof *entries);
    for (size_t i = 0; i < group->count; i++) {
        int_offset_entry__init(&entries[i]);
        entries[i].key = group->queues[i].queue_id;
        entries[i].value = group->queues[i].offset;
        table[i] = &entries[i];
    }
    return table;
}

size_t offsets_of(const struct offsets *offsets, struct slice topic, struct slice group,
                  struct arena *arena, IntOffsetEntry ***entries)
{
    struct key key;
    size_t count = 0;
    if (!key_make(topic, group, &key))
        return 0;
    offsets_lock(offsets);
    const struct group_offsets *found = map_get(&offsets->table, slice_of(key.bytes, key.size));
    if (found != NULL) {
        count = found->count;
        *entries = wrap_queues(found, arena);
    }
    offsets_unlock(offsets);
    return count;
}

/* With the lock held. */
static void wrap(const struct offsets *offsets, struct arena *arena,
                 ConsumerOffsetSerializeWrapper *out)
{
    consumer_offset_serialize_wrapper__init(out);
    out->offset_table = arena_alloc(arena, offsets->table.count * sizeof *out->offset_table);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&offsets->table, &cursor)) != NULL;) {
        const struct group_offsets *group = entry->value;
        QueueOffsetsEntry *wrapped = arena_alloc(arena, sizeof *wrapped);
        queue_offsets_entry__init(wrapped);
        wrapped->key = arena_cstr(arena, entry->key);
        wrapped->n_value = group->count;
        wrapped->value = wrap_queues(group, arena);
        out->offset_table[out->n_offset_table++] = wrapped;
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(QueueOffsetsEntry *const *)a)->key, (*(QueueOffsetsEntry *const *)b)->key);
}

static void sort(ConsumerOffsetSerializeWrapper *body)
{
    qsort(body->offset_table, body->n_offset_table, sizeof *body->offset_table, by_key);
}

void offsets_wrap(const struct offsets *offsets, struct arena *arena,
                  ConsumerOffsetSerializeWrapper *out)
{
    offsets_lock(offsets);
    wrap(offsets, arena, out);
    offsets_unlock(offsets);
    sort(out);
}

static const ProtobufCMessage *snapshot(const void *table, struct arena *arena,
                                        uint64_t saved_changes, uint64_t *changes)
{
    const struct offsets *offsets = table;
    ConsumerOffsetSerializeWrapper *body = NULL;
    offsets_lock(offsets);
    *changes = offsets->changes;
    if (*changes != saved_changes) {
        body = arena_alloc(arena, sizeof *body);
        wrap(offsets, arena, body);
    }
    offsets_unlock(offsets);
    if (body == NULL)
        return NULL;
    sort(body);
    return &body->base;
}

enum status offsets_persist(struct offsets *offsets, struct err *err)
{
    return config_file_save(&offsets->file, snapshot, offsets, err);
}
