/* SPDX-License-Identifier: Apache-2.0
 *
 * The offset table: topic@group -> the offsets of its queues.
 *
 * A group's offsets are an array of (queue id, offset), sorted by queue id. Where the ids are
 * dense, as they nearly always are, entry i is queue i and a look-up is one index; sparse ids cost
 * a binary search and no memory. Keys are composed as in the file, so names that hold an @ meet
 * each other exactly as in 4.9.2, and such a key belongs to no topic and no group. Source: RMQ
 * broker/.../ConsumerOffsetManager.java.
 *
 * What changes is marked and put in the list of marked keys, for the next step of the journal.
 * Invariants: a key is in that list exactly when something of it is marked; a key that is removed
 * stays in the table, `dead` and without queues, until the journal has been told to forget it.
 */
#include "broker/state/offsets.h"

#include "broker/state/offsets_private.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <stdlib.h>

void offsets_lock(const struct offsets *offsets)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&offsets->lock) == 0);
}

void offsets_unlock(const struct offsets *offsets)
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

void offsets_insert(struct group_offsets *group, size_t at, int32_t queue_id, int64_t offset)
{
    if (group->count == group->capacity) {
        group->capacity = group->capacity == 0 ? 4 : group->capacity * 2;
        group->queues = xrealloc(group->queues, group->capacity * sizeof *group->queues);
    }
    memmove(&group->queues[at + 1], &group->queues[at],
            (group->count - at) * sizeof *group->queues);
    group->queues[at] = (struct queue_offset){.queue_id = queue_id, .offset = offset};
    group->count++;
}

static void group_offsets_free(struct group_offsets *group)
{
    list_remove(&group->in_recent);
    free(group->queues);
    free(group);
}

/* --- the table, with the lock held --- */

enum status offsets_refuse(struct slice key)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_warn("state", "consumer offset refused, the table is full",
                 "key=%.*s keys_max=%d queues_max=%d refused=%lld", SLICE_ARGS(key),
                 OFFSET_KEYS_MAX, OFFSET_QUEUES_MAX, (long long)suppressed + 1);
    return STATUS_BUSY;
}

struct group_offsets *offsets_find(const struct offsets *offsets, struct slice key)
{
    struct group_offsets *group = map_get(&offsets->table, key);
    return group == NULL || group->dead ? NULL : group;
}

/* Also brings a dead one back. */
struct group_offsets *offsets_find_or_add(struct offsets *offsets, struct slice key)
{
    struct group_offsets *group = map_get(&offsets->table, key);
    if (group == NULL) {
        group = xcalloc(1, sizeof *group + key.size);
        group->key_size = key.size;
        memcpy(group->key, key.data, key.size);
        list_append(offsets->recent.next, &group->in_recent); /* before all that have changed */
        (void)map_put(&offsets->table, key, group);
    }
    group->dead = false;
    return group;
}

/* The key has changed. */
void offsets_touch(struct offsets *offsets, struct group_offsets *group)
{
    offsets->changes++;
    group->changed_at = offsets->changes;
    list_remove(&group->in_recent);
    list_append(&offsets->recent, &group->in_recent);
}

static struct slice key_of(const struct group_offsets *group)
{
    return slice_of(group->key, group->key_size);
}

static void list_marked(struct offsets *offsets, struct group_offsets *group)
{
    if (group->listed)
        return;
    group->listed = true;
    group->next_marked = NULL;
    *offsets->last_marked = group;
    offsets->last_marked = &group->next_marked;
    offsets->listed_count++;
}

void offsets_mark(struct offsets *offsets, struct group_offsets *group, size_t at)
{
    struct queue_offset *queue = &group->queues[at];
    if (queue->marked)
        return;
    queue->marked = true;
    if (group->marked_count == 0 || queue->queue_id < group->marked_from)
        group->marked_from = queue->queue_id;
    group->marked_count++;
    list_marked(offsets, group);
}

static void mark_forget(struct offsets *offsets, struct group_offsets *group)
{
    group->forget = true;
    list_marked(offsets, group);
}

static enum status set(struct offsets *offsets, struct slice key, int32_t queue_id, int64_t offset)
{
    struct group_offsets *group = map_get(&offsets->table, key);
    size_t at = group == NULL ? 0 : position(group, queue_id);
    if (group != NULL && holds(group, at, queue_id)) {
        if (group->queues[at].offset != offset) {
            group->queues[at].offset = offset;
            offsets_mark(offsets, group, at);
            offsets_touch(offsets, group);
        }
        return STATUS_OK;
    }
    if (offsets->queue_count >= OFFSET_QUEUES_MAX ||
        (group == NULL && offsets->table.count >= OFFSET_KEYS_MAX))
        return offsets_refuse(key);
    group = offsets_find_or_add(offsets, key);
    offsets_insert(group, at, queue_id, offset);
    offsets_mark(offsets, group, at);
    offsets->queue_count++;
    offsets_touch(offsets, group);
    return STATUS_OK;
}

void offsets_drop(struct offsets *offsets, struct group_offsets *group)
{
    offsets->queue_count -= group->count;
    offsets_touch(offsets, group);
    offsets->dropped_at = offsets->changes;
    free(group->queues);
    group->queues = NULL;
    group->count = 0;
    group->capacity = 0;
    group->marked_count = 0;
    group->dead = true;
    mark_forget(offsets, group);
}

/* --- the journal, with the lock held --- */

/* Put the marked queues of a key into the block, `most` of them; how many. */
static size_t collect_queues(struct group_offsets *group, struct buf *block, size_t most)
{
    size_t taken = 0;
    size_t at = position(group, group->marked_from);
    size_t key_at = journal_put_key(block, key_of(group));
    for (; taken < most && group->marked_count != 0; at++) {
        struct queue_offset *queue = &group->queues[at];
        if (!queue->marked)
            continue;
        queue->marked = false;
        group->marked_count--;
        group->marked_from = queue->queue_id + 1;
        journal_put_queue(block, key_at, queue->queue_id, queue->offset);
        taken++;
    }
    return taken;
}

/* Put what is marked into the block, beginning with the first in the list, until the list has gone
 * down to `leave` keys or the lock has been held long enough; how many queues and keys. */
static size_t collect(struct offsets *offsets, struct buf *block, size_t leave)
{
    size_t taken = 0;
    while (offsets->listed_count > leave && taken < COLLECT_QUEUES_MAX) {
        struct group_offsets *group = offsets->first_marked;
        if (group->forget)
            journal_put_forget(block, key_of(group));
        group->forget = false;
        if (group->marked_count != 0)
            taken += collect_queues(group, block, COLLECT_QUEUES_MAX - taken);
        taken++;
        if (group->marked_count != 0)
            break;
        offsets->first_marked = group->next_marked;
        if (offsets->first_marked == NULL)
            offsets->last_marked = &offsets->first_marked;
        offsets->listed_count--;
        group->listed = false;
        if (group->dead)
            group_offsets_free(map_remove(&offsets->table, key_of(group)));
    }
    return taken;
}

/* The block was not written: mark what it holds again. */
static void mark_again(struct offsets *offsets, struct slice changes)
{
    struct journal_change change;
    struct journal_queue queue;
    while (journal_change_next(&changes, &change)) {
        struct group_offsets *group = map_get(&offsets->table, change.key);
        if (change.forget) {
            if (group == NULL) {
                group = offsets_find_or_add(offsets, change.key);
                group->dead = true;
            }
            mark_forget(offsets, group);
            for (size_t at = 0; at < group->count; at++)
                offsets_mark(offsets, group, at);
        }
        while (group != NULL && journal_queue_next(&change.queues, &queue)) {
            size_t at = position(group, queue.queue_id);
            if (holds(group, at, queue.queue_id))
                offsets_mark(offsets, group, at);
        }
    }
}

/* --- loading --- */

/* What the files hold is taken whatever the bounds on commits are, but not names and queue ids
 * that nobody could ask for. */
static void merge(struct offsets *offsets, struct group_offsets *group, int32_t queue_id,
                  int64_t offset)
{
    if (queue_id < 0 || queue_id >= TOPIC_QUEUES_MAX) {
        log_warn("state", "consumer offset of an impossible queue ignored", "key=%.*s queue=%d",
                 SLICE_ARGS(key_of(group)), queue_id);
        return;
    }
    size_t at = position(group, queue_id);
    if (holds(group, at, queue_id)) {
        group->queues[at].offset = offset;
        return;
    }
    offsets_insert(group, at, queue_id, offset);
    offsets->queue_count++;
}

bool offsets_is_key(struct slice key)
{
    if (key.size <= KEY_BYTES_MAX)
        return true;
    log_warn("state", "consumer offsets under an impossible name ignored", "key=%.*s... bytes=%zu",
             KEY_BYTES_MAX, (const char *)key.data, key.size);
    return false;
}

static void merge_body(struct offsets *offsets, const ConsumerOffsetSerializeWrapper *body)
{
    for (size_t i = 0; i < body->n_offset_table; i++) {
        const QueueOffsetsEntry *entry = body->offset_table[i];
        struct slice key = slice_of_cstr(entry->key);
        if (!offsets_is_key(key))
            continue;
        struct group_offsets *group = offsets_find_or_add(offsets, key);
        for (size_t j = 0; j < entry->n_value; j++)
            merge(offsets, group, entry->value[j]->key, entry->value[j]->value);
    }
}

static bool merge_changes(void *ctx, int64_t log_pos, struct slice changes)
{
    struct offsets *offsets = ctx;
    struct journal_change change;
    struct journal_queue queue;
    (void)log_pos; /* what a consumer has read does not depend on what the log has lost */
    while (journal_change_next(&changes, &change)) {
        if (change.key.size > KEY_BYTES_MAX)
            continue;
        if (change.forget) {
            struct group_offsets *group = map_remove(&offsets->table, change.key);
            if (group != NULL) {
                offsets->queue_count -= group->count;
                group_offsets_free(group);
            }
            continue;
        }
        struct group_offsets *group = offsets_find_or_add(offsets, change.key);
        while (journal_queue_next(&change.queues, &queue))
            merge(offsets, group, queue.queue_id, queue.offset);
    }
    return true;
}

enum status offsets_load(const char *path, struct vfs *vfs, struct offsets **out, struct err *err)
{
    struct offsets *offsets = xcalloc(1, sizeof *offsets);
    struct arena arena;
    ConsumerOffsetSerializeWrapper body;
    enum config_source source;

    CHECK(pthread_mutex_init(&offsets->lock, NULL) == 0);
    offsets->last_marked = &offsets->first_marked;
    list_init(&offsets->recent);
    config_file_init(&offsets->file, path, vfs);
    offsets->file.journal = offset_journal_new(path, vfs);
    arena_init(&arena, 65536);
    enum status status = config_file_load(&offsets->file, "consumer offsets",
                                          &consumer_offset_serialize_wrapper__descriptor, &arena,
                                          &body.base, &source, err);
    bool replayed = false;
    if (status == STATUS_OK) {
        merge_body(offsets, &body);
        status = offset_journal_load(offsets->file.journal, offsets->file.loaded, merge_changes,
                                     offsets, &replayed, err);
    }
    if (status == STATUS_OK) {
        offsets->changes = source != CONFIG_SOURCE_MAIN || replayed;
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
    buf_release(&offsets->block);
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
    offsets->commits++;
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
        struct group_offsets *doomed = entry->value;
        removed += !doomed->dead;
        offsets->commits++;
        if (!doomed->dead)
            offsets_drop(offsets, doomed);
    }
    offsets_unlock(offsets);
    log_info("state", "consumer offsets of a group removed", "group=%.*s topics=%zu",
             SLICE_ARGS(group), removed);
}

static void copy_queues(struct offsets *offsets, const struct group_offsets *source,
                        struct group_offsets *copy)
{
    for (size_t i = 0; i < source->count; i++) {
        offsets_insert(copy, i, source->queues[i].queue_id, source->queues[i].offset);
        offsets_mark(offsets, copy, i);
    }
    offsets->queue_count += copy->count;
    offsets_touch(offsets, copy);
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
    const struct group_offsets *source = offsets_find(offsets, slice_of(from.bytes, from.size));
    struct group_offsets *old = map_get(&offsets->table, to_key);
    if (source != NULL && source != old) {
        size_t old_count = old == NULL ? 0 : old->count;
        if (offsets->queue_count - old_count + source->count > OFFSET_QUEUES_MAX ||
            (old == NULL && offsets->table.count >= OFFSET_KEYS_MAX)) {
            status = offsets_refuse(to_key);
        } else {
            if (old != NULL)
                offsets_drop(offsets, old);
            offsets->commits++;
            copy_queues(offsets, source, offsets_find_or_add(offsets, to_key));
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
        if (((const struct group_offsets *)entry->value)->dead ||
            !key_split(entry->key, &key_topic, &key_group))
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
        if (((const struct group_offsets *)at->value)->dead)
            continue;
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

QueueOffsetsEntry *offsets_wrap_key(const struct group_offsets *group, struct arena *arena)
{
    QueueOffsetsEntry *wrapped = arena_alloc(arena, sizeof *wrapped);
    queue_offsets_entry__init(wrapped);
    wrapped->key = arena_cstr(arena, key_of(group));
    wrapped->n_value = group->count;
    wrapped->value = wrap_queues(group, arena);
    return wrapped;
}

/* With the lock held. */
void offsets_wrap_locked(const struct offsets *offsets, struct arena *arena,
                         ConsumerOffsetSerializeWrapper *out)
{
    consumer_offset_serialize_wrapper__init(out);
    out->offset_table = arena_alloc(arena, offsets->table.count * sizeof *out->offset_table);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&offsets->table, &cursor)) != NULL;) {
        const struct group_offsets *group = entry->value;
        if (group->dead)
            continue;
        out->offset_table[out->n_offset_table++] = offsets_wrap_key(group, arena);
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(QueueOffsetsEntry *const *)a)->key, (*(QueueOffsetsEntry *const *)b)->key);
}

void offsets_sort(ConsumerOffsetSerializeWrapper *body)
{
    qsort(body->offset_table, body->n_offset_table, sizeof *body->offset_table, by_key);
}

void offsets_wrap(const struct offsets *offsets, struct arena *arena,
                  ConsumerOffsetSerializeWrapper *out)
{
    offsets_lock(offsets);
    offsets_wrap_locked(offsets, arena, out);
    offsets_unlock(offsets);
    offsets_sort(out);
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    (void)err;
    const struct offsets *offsets = table;
    ConsumerOffsetSerializeWrapper *body = NULL;
    offsets_lock(offsets);
    *changes = offsets->changes;
    if (*changes != saved_changes) {
        body = arena_alloc(arena, sizeof *body);
        offsets_wrap_locked(offsets, arena, body);
    }
    offsets_unlock(offsets);
    if (body != NULL) {
        offsets_sort(body);
        *message = &body->base;
    }
    return STATUS_OK;
}

enum status offsets_persist(struct offsets *offsets, struct err *err)
{
    return config_file_save(&offsets->file, snapshot, offsets, err);
}

/* Make a block of the first `todo` marked keys, or of some of them; how many are left. */
static size_t make_block(struct offsets *offsets, size_t todo)
{
    size_t taken = 0;
    journal_changes_open(&offsets->block);
    while (todo != 0 && taken < BLOCK_QUEUES_MAX) {
        offsets_lock(offsets);
        size_t listed = offsets->listed_count;
        taken += collect(offsets, &offsets->block, listed - todo);
        todo -= listed - offsets->listed_count;
        offsets_unlock(offsets);
    }
    return todo;
}

enum status offsets_journal_step(struct offsets *offsets, struct err *err)
{
    enum status status = STATUS_OK;
    offsets_lock(offsets);
    size_t todo = offsets->listed_count;
    offsets_unlock(offsets);
    /* No further than what was marked at the beginning, or this might never end. */
    while (todo != 0 && status == STATUS_OK) {
        todo = make_block(offsets, todo);
        status = offset_journal_append(offsets->file.journal, &offsets->block, 0);
    }
    if (status == STATUS_OK)
        return STATUS_OK;
    status = err_set_errno(err, status, "cannot write the journal of %s", offsets->file.path);
    offsets_lock(offsets);
    mark_again(offsets, journal_changes_of(&offsets->block));
    offsets_unlock(offsets);
    return status;
}

bool offsets_journal_is_due(const struct offsets *offsets)
{
    return offset_journal_is_due(offsets->file.journal);
}

enum status offsets_journal_sync(struct offsets *offsets, struct err *err)
{
    return config_file_sync_journal(&offsets->file, err);
}
