/* SPDX-License-Identifier: Apache-2.0
 *
 * What this process has appended lately is in memory and not asked for; of the rest the kernel is
 * asked (residency.h), and what is not there is loaded (cold_cache.h).
 */
#include "broker/store/reach.h"

#include "broker/store/store_internal.h"

#include <limits.h>

/* Entries are read from disk in pieces of this size: those of some 3,000 messages. */
#define ENTRIES_LOAD_BYTES 65536

enum status reach_log_until(struct store *store, struct segment *segment, int64_t pos, int64_t size,
                            const struct reach *reach, int64_t *end)
{
    *end = pos + size;
    if (pos >= store_hot_pos(store))
        return STATUS_OK;
    int64_t written = store_appended_pos(store) - segment->base;
    struct mapped file = {segment->data, (size_t)segment->size};
    if (written < segment->size)
        file.size = (size_t)written;
    size_t at = (size_t)(pos - segment->base);
    size_t look_end = residency_look_end(at);
    if (look_end > file.size)
        look_end = file.size;
    if (look_end < at + (size_t)size)
        look_end = at + (size_t)size;
    size_t here = residency_prefix(&store->residency, file, at, look_end - at);
    if (here >= (size_t)size) {
        *end = pos + (int64_t)here;
        return STATUS_OK;
    }
    if (reach->loader == NULL)
        return STATUS_BUSY;
    return cold_cache_load(&store->cold_cache, segment, pos, size, reach->loader, reach->err);
}

enum status reach_log(struct store *store, struct segment *segment, int64_t pos, int64_t size,
                      const struct reach *reach)
{
    int64_t end;
    return reach_log_until(store, segment, pos, size, reach, &end);
}

/* Entries whose records are at the end of the log were written by this process, too. */
static bool entries_are_hot(struct queue *queue, int64_t queue_offset)
{
    return atomic_load_explicit(&queue->hot_pos, memory_order_relaxed) >=
               store_hot_pos(queue->store) &&
           queue_offset >= atomic_load_explicit(&queue->hot_offset, memory_order_relaxed);
}

void reach_learn_hot(struct queue *queue, int64_t queue_offset, int64_t pos)
{
    int64_t hot_pos = store_hot_pos(queue->store);
    if (pos < hot_pos || pos >= store_appended_pos(queue->store) ||
        atomic_load_explicit(&queue->hot_pos, memory_order_relaxed) >= hot_pos)
        return;
    atomic_store_explicit(&queue->hot_offset, queue_offset, memory_order_relaxed);
    atomic_store_explicit(&queue->hot_pos, pos, memory_order_relaxed);
}

enum status reach_entries(struct queue *queue, const struct queue_file *file, int64_t queue_offset,
                          struct slice *entries, const struct reach *reach)
{
    struct store *store = queue->store;
    if (entries_are_hot(queue, queue_offset))
        return STATUS_OK;
    size_t at = (size_t)(entries->data - file->data);
    int64_t left = (queue_max_offset(queue) - queue_offset) * QUEUE_ENTRY_BYTES;
    struct mapped written = {file->data, file->size};
    if (left < (int64_t)(file->size - at))
        written.size = at + (left < (int64_t)entries->size ? entries->size : (size_t)left);
    size_t here = residency_prefix(&store->residency, written, at, entries->size);
    if (here == entries->size)
        return STATUS_OK;
    if (reach->loader == NULL) {
        entries->size = here / QUEUE_ENTRY_BYTES * QUEUE_ENTRY_BYTES;
        return entries->size == 0 ? STATUS_BUSY : STATUS_OK;
    }
    char path[PATH_MAX];
    size_t size = entries->size < ENTRIES_LOAD_BYTES ? ENTRIES_LOAD_BYTES : entries->size;
    if (size > written.size - at)
        size = written.size - at;
    return cold_cache_load_file(&store->cold_cache, path,
                                queue_entry_path(queue, queue_offset, path), size, reach->loader,
                                reach->err);
}

enum status reach_file(struct queue *queue, int64_t queue_offset, const struct reach *reach,
                       struct queue_file **file, struct slice *bytes)
{
    return reach->loader == NULL && !entries_are_hot(queue, queue_offset)
               ? queue_acquire_open(queue, queue_offset, file, bytes)
               : queue_acquire(queue, queue_offset, file, bytes);
}
