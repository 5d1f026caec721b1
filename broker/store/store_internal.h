/* SPDX-License-Identifier: Apache-2.0
 *
 * The store as its own modules see it. The order of its locks is in docs/locks.md.
 */
#ifndef BROKER_STORE_STORE_INTERNAL_H
#define BROKER_STORE_STORE_INTERNAL_H

#include "broker/store/append_raw.h"
#include "broker/store/cold_cache.h"
#include "broker/store/cold_reader.h"
#include "broker/store/commitlog.h"
#include "broker/store/dispatch.h"
#include "broker/store/flush.h"
#include "broker/store/health.h"
#include "broker/store/index.h"
#include "broker/store/keeper.h"
#include "broker/store/queue_table.h"
#include "broker/store/residency.h"
#include "broker/store/store.h"
#include "broker/store/zeroer.h"
#include "common/base/limits.h"

/* What one pull may carry; changes while the store runs. */
struct pull_limits {
    _Atomic int64_t memory_bytes_hot;
    _Atomic int32_t bytes_memory, count_memory;
    _Atomic int32_t bytes_disk, count_disk;
};

struct store {
    struct store_options options;   /* its strings are copies, except the delay levels */
    struct pull_limits pull_limits; /* the options of these names count at the start only */
    struct vfs *vfs;
    const struct clock *clock;
    struct store_listener listener;
    int lock_fd;
    bool stopped;
    bool was_closed; /* when it was opened */

    struct health health;
    struct commitlog log;
    struct raw_append raw;
    struct queue_files queue_files;
    struct queue_table queues;
    struct index index;
    struct flusher flusher;
    struct zeroer zeroer;
    struct dispatcher dispatcher;
    struct keeper keeper;
    struct residency residency;
    struct cold_cache cold_cache;
    struct cold_reader cold_reader;
    int64_t opened_pos; /* the end of the log when it was opened */
};

/* From here to the end the log counts as in memory: this process wrote it, not long ago. */
static inline int64_t store_hot_pos(const struct store *store)
{
    int64_t pos = store_appended_pos(store) - LOG_HOT_BYTES;
    return pos < store->opened_pos ? store->opened_pos : pos;
}

/* The log has grown: wake those who go on with it. No lock is held. */
void store_appended(struct store *store);

/* What every file of the queue is like. */
static inline struct vfs *queue_vfs(const struct queue *queue)
{
    return queue->store->vfs;
}

static inline int64_t queue_file_bytes(const struct queue *queue)
{
    return queue->store->options.queue_file_bytes;
}

static inline int64_t queue_file_entries(const struct queue *queue)
{
    return queue_file_bytes(queue) / QUEUE_ENTRY_BYTES;
}

#endif
