/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/log_end.h"

#include "common/base/check.h"

#include <errno.h>
#include <string.h>

static void write_failed(struct commitlog *log, enum status status, int64_t pos, int64_t bytes)
{
    int kept = errno;
    if (pos + bytes > log->garbage_end)
        log->garbage_end = pos + bytes;
    if (status == STATUS_FULL)
        health_refuse(log->health, REFUSAL_NO_SPACE,
                      "no space left to write the commit log in %s: free disk space, or lower "
                      "fileReservedTime",
                      log->current->directory);
    else if (status == STATUS_BUSY)
        health_refuse(log->health, REFUSAL_NO_SPACE, "the commit log in %s cannot be written: %s",
                      log->current->directory, strerror(kept));
    else
        health_fail(log->health,
                    "writing the commit log in %s at position %lld failed: %s. "
                    "Check the disk, then restart",
                    log->current->directory, (long long)pos, strerror(kept));
}

/* Zero what a failed write left behind the end. */
static enum status clear_garbage(struct commitlog *log, int64_t pos)
{
    if (log->garbage_end <= pos)
        return STATUS_OK;
    enum status status = log->vfs->ops->zero(log->vfs, log->current->fd, pos - log->current->base,
                                             log->garbage_end - pos, true);
    if (status == STATUS_OK)
        log->garbage_end = pos;
    else
        write_failed(log, status, pos, 0);
    return status;
}

/* Bytes that are being filled with zeros must not take a record first. That is far ahead of the end
 * unless a megabyte was appended while one slice was written. */
static void wait_for_zeros(struct commitlog *log, int64_t end_pos)
{
    if (end_pos <= atomic_load(&log->zeroing_pos))
        return;
    (void)pthread_mutex_lock(&log->zero_lock);
    (void)pthread_mutex_unlock(&log->zero_lock);
}

enum status log_end_write(struct commitlog *log, const struct iovec *parts, int count)
{
    int64_t pos = atomic_load_explicit(&log->appended_pos, memory_order_relaxed);
    int64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += (int64_t)parts[i].iov_len;
    enum status status = clear_garbage(log, pos);
    if (status != STATUS_OK)
        return status;
    wait_for_zeros(log, pos + bytes);
    status =
        log->vfs->ops->pwritev(log->vfs, log->current->fd, parts, count, pos - log->current->base);
    if (status != STATUS_OK) {
        write_failed(log, status, pos, bytes);
        (void)clear_garbage(log, pos); /* else a restart takes what arrived for messages */
    }
    return status;
}

enum status log_end_ensure_next(struct commitlog *log)
{
    struct err err;
    enum status status = commitlog_prepare(log, &err);
    if (status != STATUS_OK)
        health_refuse(log->health, REFUSAL_NO_SPACE, "the next commit log file: %s", err.text);
    return status;
}

void log_end_roll(struct commitlog *log)
{
    (void)pthread_mutex_lock(&log->prepare_lock);
    struct segment *next = log->next;
    CHECK(next != NULL && next->base == segment_end(log->current));
    commitlog_install(log, next);
    log->next = NULL;
    atomic_store(&log->next_wanted, true);
    (void)pthread_mutex_unlock(&log->prepare_lock);
    log->current = next;
    log->garbage_end = next->base;
}
