/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/retention.h"

#include "broker/store/segment.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOUR_MS (INT64_C(60) * 60 * 1000)
#define MIB (1024 * 1024)

void retention_init(struct retention *retention, struct store *store)
{
    memset(retention, 0, sizeof *retention);
    retention->store = store;
    CHECK(pthread_mutex_init(&retention->lock, NULL) == 0);
}

void retention_release(struct retention *retention)
{
    (void)pthread_mutex_destroy(&retention->lock);
}

void retention_start(struct retention *retention, int64_t now_ms)
{
    retention->watch_ms = retention->round_ms = now_ms;
}

/* The limits as they are now. delete_when is a copy. */
static struct store_options limits_of(struct retention *retention, char delete_when[80])
{
    (void)pthread_mutex_lock(&retention->lock);
    struct store_options limits = retention->store->options;
    (void)snprintf(delete_when, 80, "%s", limits.delete_when);
    (void)pthread_mutex_unlock(&retention->lock);
    limits.delete_when = delete_when;
    return limits;
}

static int refuse_percent(const struct store_options *limits)
{
    return limits->disk_warning_percent > 0 ? limits->disk_warning_percent
                                            : RETENTION_REFUSE_PERCENT;
}

int retention_force_percent(const struct store_options *limits)
{
    return limits->disk_force_percent > 0 ? limits->disk_force_percent : RETENTION_FORCE_PERCENT;
}

/* --- disk --- */

/* A folder on a disk of the store, and how full that is. */
struct disk {
    const char *path;
    int percent; /* -1: cannot be read */
    struct vfs_space space;
};

static struct disk disk_look(struct store *store, const char *path)
{
    struct disk disk = {path, -1, {0, 0}};
    disk.percent = log_path_used_percent(store->vfs, path, &disk.space);
    return disk;
}

/* The commit log's disk. Of the folders that take new files the one with the most room counts, as
 * in 4.9.2: as long as one has room, messages have. */
static struct disk log_disk(struct store *store)
{
    const struct log_paths *paths = &store->log.paths;
    struct disk least = {NULL, -1, {0, 0}};
    for (size_t i = 0; i < paths->count; i++) {
        if (paths->at[i].read_only)
            continue;
        struct disk disk = disk_look(store, paths->at[i].directory);
        if (least.path == NULL || disk.percent < least.percent)
            least = disk;
    }
    return least;
}

/* Refuse messages when the disk is too full; false when it is not. */
static bool refuse_if_full(struct store *store, const struct store_options *limits,
                           const struct disk *disk)
{
    int64_t free_mib = disk->space.free_bytes / MIB;
    if (disk->percent > refuse_percent(limits)) {
        health_refuse(&store->health, REFUSAL_DISK_RATIO,
                      "the disk of %s is %d %% full (%lld MiB are free), messages are refused "
                      "above %d %%: free disk space, or lower fileReservedTime",
                      disk->path, disk->percent, (long long)free_mib, refuse_percent(limits));
        return true;
    }
    if (disk->percent >= 0 && disk->space.free_bytes < limits->disk_free_bytes_min) {
        health_refuse(&store->health, REFUSAL_DISK_RATIO,
                      "the disk of %s has %lld MiB left (it is %d %% full), messages are refused "
                      "below %lld MiB (diskFreeBytesMin): free disk space, or lower "
                      "fileReservedTime",
                      disk->path, (long long)free_mib, disk->percent,
                      (long long)(limits->disk_free_bytes_min / MIB));
        return true;
    }
    return false;
}

void retention_watch_disk(struct retention *retention)
{
    struct store *store = retention->store;
    char delete_when[80];
    struct store_options limits = limits_of(retention, delete_when);
    struct disk log = log_disk(store);
    struct disk root = disk_look(store, store->options.root);
    atomic_store(&retention->commit_log_percent, log.percent);
    atomic_store(&retention->queues_percent, root.percent);
    atomic_store(&retention->total_bytes, log.space.total_bytes);
    atomic_store(&retention->free_bytes, log.space.free_bytes);
    bool log_first = log.percent >= root.percent;
    if (!refuse_if_full(store, &limits, log_first ? &log : &root) &&
        !refuse_if_full(store, &limits, log_first ? &root : &log))
        health_allow(&store->health, REFUSAL_DISK_RATIO);
}

/* --- may the oldest segment go? --- */

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

static bool first_segment_old(struct store *store, const struct store_options *limits,
                              int64_t now_ms)
{
    char path[PATH_MAX];
    struct vfs_stat st;
    return commitlog_first_path(&store->log, path) &&
           store->vfs->ops->stat(store->vfs, path, &st) == STATUS_OK &&
           st.mtime_ms + limits->file_reserved_hours * HOUR_MS <= now_ms;
}

/* Its files, with the one that is made ahead, take more than they may. */
static bool log_too_large(struct store *store, const struct store_options *limits)
{
    int64_t base;
    int64_t files = (int64_t)commitlog_segments(&store->log, &base) + 1;
    return limits->commit_log_bytes_max > 0 &&
           files * store->options.segment_bytes > limits->commit_log_bytes_max;
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
    if (atomic_load(&store->dispatcher.indexed_pos) < end ||
        atomic_load(&store->log.flushed_pos) < end)
        return false;
    if (store->listener.may_expire != NULL &&
        !store->listener.may_expire(store->listener.ctx, end)) {
        store->keeper.retention.waits = true;
        store->keeper.retention.asks = true;
        return false;
    }
    if (store->keeper.checkpoint_pos >= end)
        return true;
    if (!store->keeper.is_pending) /* one that is about to be written is not put off */
        keeper_want_checkpoint(&store->keeper);
    store->keeper.retention.waits = true;
    atomic_store(&store->keeper.retention.round_wanted, true); /* as soon as it is written */
    return false;
}

/* The reason why the oldest segment may go now, or NULL.
 * forced  out: even with what is still to be delivered */
static const char *reason_to_remove(struct retention *retention, bool *forced)
{
    struct store *store = retention->store;
    char delete_when[80];
    struct store_options limits = limits_of(retention, delete_when);
    int log_percent = atomic_load(&retention->commit_log_percent);
    int queues_percent = atomic_load(&retention->queues_percent);
    int worse = log_percent > queues_percent ? log_percent : queues_percent;
    *forced = limits.clean_forcibly && worse > retention_force_percent(&limits);
    if (log_too_large(store, &limits))
        return "the log is larger than commitLogBytesMax";
    bool full = log_percent < 0 || queues_percent < 0 || worse > limits.disk_max_used_percent;
    int64_t now_ms = clock_wall_ms(store->clock);
    bool hour = retention_hour_matches(limits.delete_when, now_ms);
    if (!hour && !full && !retention->manual)
        return NULL;
    if (*forced)
        return "the disk is nearly full";
    if (!first_segment_old(store, &limits, now_ms))
        return NULL;
    return hour   ? "it has expired"
           : full ? "it has expired and the disk is rather full"
                  : "it has expired and an administrator asked for it";
}

/* --- what is still to be delivered --- */

/* Is it the time for a line? At once, then once a minute. */
static bool may_tell(int64_t *told_ms, int64_t now_ms)
{
    if (*told_ms != 0 && now_ms - *told_ms < RETENTION_TELL_MS)
        return false;
    *told_ms = now_ms;
    return true;
}

static void tell_lost(struct retention *retention, int64_t now_ms)
{
    char delete_when[80];
    if (retention->lost_files == 0 || !may_tell(&retention->told_lost_ms, now_ms))
        return;
    struct store_options limits = limits_of(retention, delete_when);
    log_error("store", "commit log files with undelivered messages were deleted",
              "files=%lld what=\"%s\" why=\"a disk of the store is fuller than %d %% "
              "(diskSpaceCleanForciblyRatio)\" mend=\"free disk space; with "
              "cleanFileForciblyEnable=false nothing is deleted then, and messages are refused\"",
              (long long)retention->lost_files, retention->lost_what,
              retention_force_percent(&limits));
    retention->lost_files = 0;
}

/* Does the oldest segment stay, because messages of it are still to be delivered?
 * what  out: which messages, also when it goes with them; NULL: none */
static bool is_kept(struct retention *retention, const char *reason, bool forced, int64_t now_ms,
                    const char **what)
{
    struct store *store = retention->store;
    int64_t base;
    *what = NULL;
    if (store->listener.undelivered == NULL)
        return false;
    (void)commitlog_segments(&store->log, &base);
    *what = store->listener.undelivered(store->listener.ctx, base + store->options.segment_bytes);
    if (*what == NULL || forced)
        return false;
    if (may_tell(&retention->told_kept_ms, now_ms))
        log_warn("store", "an old commit log file stays: it has messages still to be delivered",
                 "what=\"%s\" would_go_because=\"%s\" log_begins=%lld", *what, reason,
                 (long long)base);
    return true;
}

/* --- a round --- */

/* Delete the oldest segment, if it may go. */
static bool remove_one(struct retention *retention, int64_t now_ms)
{
    struct store *store = retention->store;
    bool forced = false;
    const char *what;
    const char *reason = reason_to_remove(retention, &forced);
    if (reason == NULL || health_has(&store->health, REFUSAL_FAILED) ||
        !first_segment_done(store) || is_kept(retention, reason, forced, now_ms, &what))
        return false;
    enum status status = commitlog_remove_first(&store->log);
    retention->stuck_ms = status == STATUS_IO ? now_ms : 0;
    if (status != STATUS_OK)
        return false;
    retention->removed++;
    if (what != NULL) {
        retention->lost_files++;
        (void)snprintf(retention->lost_what, sizeof retention->lost_what, "%s", what);
    }
    log_info("store", "an old commit log file was deleted", "why=\"%s\" log_begins=%lld", reason,
             (long long)atomic_load(&store->log.min_pos));
    return true;
}

static bool round_due(struct retention *retention, const struct store_options *limits,
                      int64_t now_ms)
{
    if (retention->stuck_ms != 0 &&
        now_ms - retention->stuck_ms < limits->redelete_hanged_file_interval_ms)
        return false;
    return atomic_exchange(&retention->round_wanted, false) ||
           now_ms - retention->round_ms >= limits->clean_interval_ms;
}

static void round_begin(struct retention *retention, int64_t now_ms)
{
    retention->round_ms = now_ms;
    retention->next_ms = now_ms;
    retention->in_round = true;
    retention->removed = 0;
    if (retention->waits) { /* an administrator's rounds are not used up by waiting */
        retention->waits = false;
        return;
    }
    int rounds = atomic_load(&retention->manual_rounds);
    retention->manual = rounds > 0;
    if (retention->manual)
        (void)atomic_compare_exchange_strong(&retention->manual_rounds, &rounds, rounds - 1);
}

static void round_step(struct retention *retention, const struct store_options *limits,
                       int64_t now_ms)
{
    struct store *store = retention->store;
    if (remove_one(retention, now_ms) && retention->removed < RETENTION_FILES_PER_ROUND) {
        retention->next_ms = now_ms + limits->delete_log_files_interval_ms;
        return;
    }
    retention->in_round = false;
    if (retention->asks && limits->clean_interval_ms > RETENTION_ASK_MS)
        retention->round_ms = now_ms + RETENTION_ASK_MS - limits->clean_interval_ms;
    retention->asks = false;
    if (retention->removed == 0)
        return;
    retention->in_walk = true;
    retention->walk_pos = atomic_load(&store->log.min_pos);
    queue_table_walk(&store->queues, &retention->walk);
    retention->next_ms = now_ms;
}

/* Queues whose file could not be opened are passed through once more, after a while. */
static void walk_end(struct retention *retention, int64_t now_ms)
{
    struct store *store = retention->store;
    index_expire(&store->index, retention->walk_pos);
    retention->in_walk = retention->walk_again;
    retention->walk_again = false;
    if (retention->in_walk) {
        queue_table_walk(&store->queues, &retention->walk);
        retention->next_ms = now_ms + RETENTION_WATCH_MS;
    }
}

static void walk_step(struct retention *retention, const struct store_options *limits,
                      int64_t now_ms)
{
    struct store *store = retention->store;
    for (int i = 0; i < RETENTION_WALK_QUEUES; i++) {
        struct queue *queue = queue_table_walk_next(&retention->walk);
        if (queue == NULL) {
            walk_end(retention, now_ms);
            return;
        }
        size_t deleted;
        (void)pthread_mutex_lock(&store->dispatcher.lock);
        if (queue_expire(queue, retention->walk_pos, &deleted) != STATUS_OK)
            retention->walk_again = true;
        (void)pthread_mutex_unlock(&store->dispatcher.lock);
        if (deleted > 0) {
            retention->next_ms = now_ms + limits->delete_queue_files_interval_ms;
            return;
        }
    }
    retention->next_ms = now_ms;
}

int64_t retention_step(struct retention *retention, int64_t now_ms)
{
    char delete_when[80];
    struct store_options limits = limits_of(retention, delete_when);
    int64_t watch_ms = limits.clean_interval_ms < RETENTION_WATCH_MS ? limits.clean_interval_ms
                                                                     : RETENTION_WATCH_MS;
    if (now_ms - retention->watch_ms >= watch_ms || atomic_load(&retention->round_wanted)) {
        retention->watch_ms = now_ms;
        retention_watch_disk(retention);
    }
    tell_lost(retention, now_ms);
    bool busy = retention->in_round || retention->in_walk;
    if (!busy && round_due(retention, &limits, now_ms))
        round_begin(retention, now_ms);
    if (retention->in_round && now_ms >= retention->next_ms)
        round_step(retention, &limits, now_ms);
    else if (retention->in_walk && now_ms >= retention->next_ms)
        walk_step(retention, &limits, now_ms);
    if (!retention->in_round && !retention->in_walk)
        return watch_ms;
    int64_t wait_ms = retention->next_ms - now_ms;
    return wait_ms < watch_ms ? wait_ms : watch_ms;
}

/* --- from outside --- */

void store_set_retention(struct store *store, const struct store_options *wanted)
{
    struct store_options *options = &store->options;
    char *copy = xstrdup(wanted->delete_when == NULL ? "" : wanted->delete_when);
    (void)pthread_mutex_lock(&store->keeper.retention.lock);
    char *old = (char *)(uintptr_t)options->delete_when;
    options->delete_when = copy;
    options->file_reserved_hours = wanted->file_reserved_hours;
    options->disk_max_used_percent = wanted->disk_max_used_percent;
    options->disk_warning_percent = wanted->disk_warning_percent;
    options->disk_force_percent = wanted->disk_force_percent;
    atomic_store(&store->log.full_percent, retention_force_percent(wanted));
    options->clean_forcibly = wanted->clean_forcibly;
    options->commit_log_bytes_max = wanted->commit_log_bytes_max;
    options->disk_free_bytes_min = wanted->disk_free_bytes_min;
    options->delete_log_files_interval_ms = wanted->delete_log_files_interval_ms;
    options->delete_queue_files_interval_ms = wanted->delete_queue_files_interval_ms;
    options->redelete_hanged_file_interval_ms = wanted->redelete_hanged_file_interval_ms;
    options->clean_interval_ms = wanted->clean_interval_ms;
    (void)pthread_mutex_unlock(&store->keeper.retention.lock);
    free(old);
}

void store_clean_now(struct store *store)
{
    struct retention *retention = &store->keeper.retention;
    atomic_store(&retention->manual_rounds, RETENTION_MANUAL_ROUNDS);
    atomic_store(&retention->round_wanted, true);
    keeper_notify(&store->keeper);
}
