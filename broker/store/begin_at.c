/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave whose master no longer has the front of the log begins where the master's log begins. The
 * file of the empty log, whose blocks are reserved already, gets the name of that place: a rename
 * needs no space, and whatever it is interrupted by, one file without a byte is there afterwards,
 * which is an empty log at one place or the other.
 */
#include "broker/store/log_end.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* With the locks down to prepare_lock: give back the segment made ahead, which would lie alone. */
static enum status drop_next(struct commitlog *log, struct err *err)
{
    struct segment *next = log->next;
    if (next == NULL)
        return STATUS_OK;
    char path[PATH_MAX];
    segment_path(next, path);
    enum status status = log->vfs->ops->unlink(log->vfs, path);
    if (status == STATUS_OK)
        status = log->vfs->ops->sync_directory(log->vfs, next->directory);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot remove %s", path);
    log->next = NULL;
    segment_drop(next);
    return STATUS_OK;
}

/* Put `moved` into the table in place of the only segment there is. */
static void replace_segment(struct commitlog *log, struct segment *moved)
{
    (void)pthread_mutex_lock(&log->segments_lock);
    struct segment *before = log->segments[0];
    log->segments[0] = moved;
    log->current = moved;
    log->garbage_end = moved->base;
    atomic_store(&log->min_pos, moved->base);
    (void)pthread_mutex_unlock(&log->segments_lock);
    segment_drop(before);
    /* In this order for the flush, which holds no lock: it has nothing to do at any moment. */
    atomic_store(&log->flushed_pos, moved->base);
    atomic_store(&log->appended_pos, moved->base);
}

/* With the locks down to zero_lock. */
static enum status move_log(struct commitlog *log, int64_t pos, struct err *err)
{
    struct segment *moved;
    enum status status = drop_next(log, err);
    atomic_store(&log->next_wanted, true);
    if (status == STATUS_OK)
        status = segment_move(log->segments[0], pos, &moved, err);
    if (status != STATUS_OK)
        return status;
    replace_segment(log, moved);
    status = log->vfs->ops->sync_directory(log->vfs, moved->directory);
    if (status == STATUS_OK)
        return STATUS_OK;
    health_fail(log->health, "syncing the directory %s failed: %s. Check the disk, then restart",
                moved->directory, strerror(errno));
    return err_set_errno(err, STATUS_IO, "cannot sync the directory %s", moved->directory);
}

static enum status check_may_begin(const struct store *store, int64_t pos, struct err *err)
{
    const struct commitlog *log = &store->log;
    if (!health_has(&store->health, REFUSAL_SLAVE))
        return err_set(err, STATUS_INVALID, "only a slave's log begins where another does");
    if (pos < 0 || pos % log->segment_bytes != 0)
        return err_set(err, STATUS_INVALID,
                       "the log cannot begin at %" PRId64
                       ": no file of mappedFileSizeCommitLog (%" PRId64 ") bytes begins there",
                       pos, log->segment_bytes);
    if (log->segment_count != 1 || store_appended_pos(store) != log->segments[0]->base)
        return err_set(err, STATUS_INVALID,
                       "the log in %s is not empty, so it cannot begin at %" PRId64,
                       store->options.commit_log, pos);
    return STATUS_OK;
}

/* With dispatch_lock and append_lock. */
static enum status begin_locked(struct store *store, int64_t pos, struct err *err)
{
    struct commitlog *log = &store->log;
    enum status status = check_may_begin(store, pos, err);
    if (status != STATUS_OK || pos == log->segments[0]->base)
        return status;
    (void)pthread_mutex_lock(&log->prepare_lock);
    (void)pthread_mutex_lock(&log->zero_lock);
    status = move_log(log, pos, err);
    (void)pthread_mutex_unlock(&log->zero_lock);
    (void)pthread_mutex_unlock(&log->prepare_lock);
    if (status == STATUS_OK) {
        struct dispatch_start start = {
            .pos = pos, .queues_from = pos, .verified_from = pos, .last_pos = -1};
        dispatcher_seek(&store->dispatcher, &start);
    }
    return status;
}

enum status store_begin_at(struct store *store, int64_t pos, struct err *err)
{
    (void)pthread_mutex_lock(&store->dispatcher.lock);
    (void)pthread_mutex_lock(&store->log.append_lock);
    enum status status = begin_locked(store, pos, err);
    (void)pthread_mutex_unlock(&store->log.append_lock);
    (void)pthread_mutex_unlock(&store->dispatcher.lock);
    if (status != STATUS_OK)
        return status;
    buf_clear(&store->raw.held);
    log_info("store", "the log begins where the master's does", "root=%s pos=%" PRId64,
             store->options.root, pos);
    return STATUS_OK;
}
