/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer offsets on their way from a master to its slaves. The lock is held for a bounded number
 * of keys at a time while a copy is merged, except to see which keys are to go, which happens after
 * the master or the slave was started, or a group was deleted.
 * Source: RMQ broker/.../slave/SlaveSynchronize.java. Differs: between our own brokers only what
 * has changed is sent, and keys that were removed are removed here, too.
 */
#include "broker/state/offsets_private.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <stdlib.h>

/* With one hold of the lock. */
#define MERGE_KEYS_MAX 256

/* --- master --- */

/* With the lock held. */
static void wrap_changed(const struct offsets *offsets, uint64_t known, struct arena *arena,
                         ConsumerOffsetSerializeWrapper *out)
{
    size_t capacity = 0;
    const struct list *head = &offsets->recent;
    consumer_offset_serialize_wrapper__init(out);
    for (const struct list *at = head->prev; at != head; at = at->prev) {
        const struct group_offsets *group = list_entry(at, struct group_offsets, in_recent);
        if (group->changed_at <= known)
            break;
        if (group->dead)
            continue;
        out->offset_table = arena_grow(arena, out->offset_table, sizeof *out->offset_table,
                                       out->n_offset_table, &capacity);
        out->offset_table[out->n_offset_table++] = offsets_wrap_key(group, arena);
    }
}

int64_t offsets_wrap_since(const struct offsets *offsets, int64_t known, struct arena *arena,
                           ConsumerOffsetSerializeWrapper *out, bool *whole)
{
    offsets_lock(offsets);
    uint64_t version = offsets->changes;
    *whole = known < 0 || (uint64_t)known > version || (uint64_t)known < offsets->dropped_at;
    if (*whole)
        offsets_wrap_locked(offsets, arena, out);
    else
        wrap_changed(offsets, (uint64_t)known, arena, out);
    offsets_unlock(offsets);
    return (int64_t)version;
}

int64_t offsets_version(const struct offsets *offsets)
{
    offsets_lock(offsets);
    uint64_t version = offsets->changes;
    offsets_unlock(offsets);
    return (int64_t)version;
}

uint64_t offsets_commits(const struct offsets *offsets)
{
    offsets_lock(offsets);
    uint64_t commits = offsets->commits;
    offsets_unlock(offsets);
    return commits;
}

/* --- slave --- */

static int by_queue_id(const void *a, const void *b)
{
    const struct queue_offset *left = a;
    const struct queue_offset *right = b;
    return (left->queue_id > right->queue_id) - (left->queue_id < right->queue_id);
}

/* The possible queues of an entry, sorted, each once; how many. */
static size_t queues_of(const QueueOffsetsEntry *entry, struct queue_offset *out)
{
    size_t count = 0;
    for (size_t i = 0; i < entry->n_value; i++) {
        const IntOffsetEntry *queue = entry->value[i];
        if (queue->key >= 0 && queue->key < TOPIC_QUEUES_MAX)
            out[count++] = (struct queue_offset){.queue_id = queue->key, .offset = queue->value};
        else
            log_warn("state", "consumer offset of an impossible queue ignored", "key=%s queue=%d",
                     entry->key, queue->key);
    }
    if (count == 0)
        return 0;
    qsort(out, count, sizeof *out, by_queue_id);
    size_t unique = 1;
    for (size_t i = 1; i < count; i++)
        if (out[i].queue_id != out[unique - 1].queue_id)
            out[unique++] = out[i];
    return unique;
}

static bool same_queues(const struct group_offsets *group, const struct queue_offset *queues,
                        size_t count)
{
    if (group == NULL || group->count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (group->queues[i].queue_id != queues[i].queue_id)
            return false;
    return true;
}

static void set_offsets(struct offsets *offsets, struct group_offsets *group,
                        const struct queue_offset *queues)
{
    bool changed = false;
    for (size_t i = 0; i < group->count; i++) {
        if (group->queues[i].offset == queues[i].offset)
            continue;
        group->queues[i].offset = queues[i].offset;
        offsets_mark(offsets, group, i);
        changed = true;
    }
    if (changed)
        offsets_touch(offsets, group);
}

/* With the lock held. */
static enum status merge_key(struct offsets *offsets, struct slice key,
                             const struct queue_offset *queues, size_t count)
{
    struct group_offsets *group = offsets_find(offsets, key);
    size_t old_count = group == NULL ? 0 : group->count;
    if (same_queues(group, queues, count)) {
        set_offsets(offsets, group, queues);
        return STATUS_OK;
    }
    if (offsets->queue_count - old_count + count > OFFSET_QUEUES_MAX ||
        (group == NULL && offsets->table.count >= OFFSET_KEYS_MAX))
        return offsets_refuse(key);
    if (group != NULL)
        offsets_drop(offsets, group);
    if (count == 0)
        return STATUS_OK;
    group = offsets_find_or_add(offsets, key);
    for (size_t i = 0; i < count; i++) {
        offsets_insert(group, i, queues[i].queue_id, queues[i].offset);
        offsets_mark(offsets, group, i);
    }
    offsets->queue_count += count;
    offsets_touch(offsets, group);
    return STATUS_OK;
}

static size_t most_queues(const ConsumerOffsetSerializeWrapper *body)
{
    size_t most = 1;
    for (size_t i = 0; i < body->n_offset_table; i++)
        if (body->offset_table[i]->n_value > most)
            most = body->offset_table[i]->n_value;
    return most;
}

static enum status merge_keys(struct offsets *offsets, const ConsumerOffsetSerializeWrapper *body)
{
    struct queue_offset *queues = xcalloc(most_queues(body), sizeof *queues);
    enum status result = STATUS_OK;
    size_t held = 0;
    for (size_t i = 0; i < body->n_offset_table; i++) {
        const QueueOffsetsEntry *entry = body->offset_table[i];
        struct slice key = slice_of_cstr(entry->key);
        if (!offsets_is_key(key))
            continue;
        size_t count = queues_of(entry, queues);
        if (held == 0)
            offsets_lock(offsets);
        enum status status = merge_key(offsets, key, queues, count);
        if (status != STATUS_OK)
            result = status;
        held = (held + 1) % MERGE_KEYS_MAX;
        if (held == 0)
            offsets_unlock(offsets);
    }
    if (held != 0)
        offsets_unlock(offsets);
    free(queues);
    return result;
}

static void drop_others(struct offsets *offsets, const ConsumerOffsetSerializeWrapper *body)
{
    struct map named = MAP_EMPTY;
    size_t cursor = 0;
    for (size_t i = 0; i < body->n_offset_table; i++)
        (void)map_put(&named, slice_of_cstr(body->offset_table[i]->key), offsets);
    offsets_lock(offsets);
    for (struct map_entry *entry; (entry = map_next(&offsets->table, &cursor)) != NULL;) {
        struct group_offsets *group = entry->value;
        if (!group->dead && map_get(&named, entry->key) == NULL)
            offsets_drop(offsets, group);
    }
    offsets_unlock(offsets);
    map_release(&named);
}

enum status offsets_merge(struct offsets *offsets, const ConsumerOffsetSerializeWrapper *body,
                          bool whole)
{
    if (whole)
        drop_others(offsets, body);
    return merge_keys(offsets, body);
}
