/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/retention.h"

#include "broker/store/segment.h"
#include "broker/store/store_internal.h"
#include "common/base/number.h"
#include "common/sys/log.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HOUR_MS (INT64_C(60) * 60 * 1000)

void retention_init(struct retention *retention, struct store *store)
{
    memset(retention, 0, sizeof *retention);
    retention->store = store;
}

/* --- disk --- */

/* Of the folders of the commit log the one with the most room counts: new files go there. */
static int commit_log_percent(struct store *store, struct vfs_space *space, const char **directory)
{
    const struct log_paths *paths = &store->log.paths;
    int least = INT_MAX;
    for (size_t i = 0; i < paths->count; i++) {
        struct vfs_space one;
        int percent = log_path_used_percent(store->vfs, paths->at[i].directory, &one);
        if (!paths->at[i].read_only && percent < least) {
            least = percent;
            *space = one;
            *directory = paths->at[i].directory;
        }
    }
    return least < 0 ? 0 : least;
}

void retention_watch_disk(struct retention *retention)
{
    struct store *store = retention->store;
    struct vfs_space space;
    struct vfs_space other;
    const char *directory = store->options.commit_log;
    int log_percent = commit_log_percent(store, &space, &directory);
    int queues_percent = log_path_used_percent(store->vfs, store->options.root, &other);
    if (queues_percent < 0)
        queues_percent = 0;
    atomic_store(&retention->commit_log_percent, log_percent);
    atomic_store(&retention->queues_percent, queues_percent);
    atomic_store(&retention->total_bytes, space.total_bytes);
    atomic_store(&retention->free_bytes, space.free_bytes);
    int worse = log_percent > queues_percent ? log_percent : queues_percent;
    if (worse > RETENTION_REFUSE_PERCENT)
        health_refuse(&store->health, REFUSAL_DISK_RATIO,
                      "the disk of %s is %d %% full, messages are refused above %d %%: free disk "
                      "space, or lower fileReservedTime",
                      worse == log_percent ? directory : store->options.root, worse,
                      RETENTION_REFUSE_PERCENT);
    else
        health_allow(&store->health, REFUSAL_DISK_RATIO);
}

/* --- deleting --- */

bool retention_hour_matches(const char *delete_when, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    (void)localtime_r(&seconds, &tm);
    struct slice rest = slice_of_cstr(delete_when);
    while (rest.size > 0) {
        const uint8_t *separator = memchr(rest.data, ';', rest.size);
        size_t size = separator == NULL ? rest.size : (size_t)(separator - rest.data);
        int32_t hour;
        if (parse_i32(slice_of(rest.data, size), &hour) && hour == tm.tm_hour)
            return true;
        rest = slice_from(rest, separator == NULL ? rest.size : size + 1);
    }
    return false;
}

static bool first_segment_old(struct store *store, int64_t now_ms)
{
    int64_t base;
    char path[PATH_MAX];
    if (commitlog_segments(&store->log, &base) < 2)
        return false;
    struct segment *segment = commitlog_acquire(&store->log, base);
    if (segment == NULL)
        return false;
    segment_path(segment, path);
    segment_drop(segment);
    struct vfs_stat st;
    return store->vfs->ops->stat(store->vfs, path, &st) == STATUS_OK &&
           st.mtime_ms + store->options.file_reserved_hours * HOUR_MS <= now_ms;
}

/* May the oldest segment go now? */
static bool may_remove(struct retention *retention)
{
    struct store *store = retention->store;
    int log_percent = atomic_load(&retention->commit_log_percent);
    int queues_percent = atomic_load(&retention->queues_percent);
    int worse = log_percent > queues_percent ? log_percent : queues_percent;
    int64_t now_ms = clock_wall_ms(store->clock);
    if (!retention_hour_matches(store->options.delete_when, now_ms) &&
        worse <= store->options.disk_max_used_percent)
        return false;
    if (store->options.clean_forcibly && worse > RETENTION_FORCE_PERCENT)
        return true;
    return first_segment_old(store, now_ms);
}

/* Records not yet durable, not yet dispatched or with queue entries that no checkpoint vouches for
 * are never in the way: they are in newer segments, unless everything is far behind; then nothing
 * is deleted. Entries that are lost with their records could not be made again, and the queue would
 * not know its next offset. */
static bool first_segment_done(struct store *store)
{
    int64_t base;
    if (commitlog_segments(&store->log, &base) < 2)
        return false;
    int64_t end = base + store->options.segment_bytes;
    if (atomic_load(&store->dispatcher.dispatched_pos) < end ||
        atomic_load(&store->log.flushed_pos) < end)
        return false;
    if (store->keeper.checkpoint_pos >= end)
        return true;
    keeper_want_checkpoint(&store->keeper);
    store->keeper.retention.more = true; /* soon */
    return false;
}

struct expiry {
    struct store *store;
    int64_t min_pos;
};

static void expire_one(void *ctx, struct queue *queue)
{
    struct expiry *expiry = ctx;
    struct dispatcher *dispatcher = &expiry->store->dispatcher;
    (void)pthread_mutex_lock(&dispatcher->lock);
    queue_expire(queue, expiry->min_pos);
    (void)pthread_mutex_unlock(&dispatcher->lock);
}

void retention_step(struct retention *retention)
{
    struct store *store = retention->store;
    if (!retention->more)
        retention->removed = 0;
    retention->more = false;
    retention_watch_disk(retention);
    if (!may_remove(retention) || !first_segment_done(store) ||
        !commitlog_remove_first(&store->log))
        return;
    retention->more = ++retention->removed < RETENTION_FILES_PER_ROUND;
    struct expiry expiry = {store, atomic_load(&store->log.min_pos)};
    log_info("store", "an old commit log file was deleted", "log_begins=%lld",
             (long long)expiry.min_pos);
    queue_table_each(&store->queues, expire_one, &expiry);
    index_expire(&store->index, expiry.min_pos);
}
