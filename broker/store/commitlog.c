/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of segments and everything about them except appending (append.c) and finding them
 * when the store is opened (commitlog_load.c).
 */
#include "broker/store/commitlog.h"

#include "broker/store/aside.h"
#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/sys/log.h"
#include "proto/record.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void commitlog_init(struct commitlog *log, struct log_paths paths, int64_t segment_bytes,
                    struct vfs *vfs, const struct clock *clock, struct health *health)
{
    memset(log, 0, sizeof *log);
    log->vfs = vfs;
    log->clock = clock;
    log->health = health;
    log->paths = paths;
    log->segment_bytes = segment_bytes;
    log->last_record_pos = -1;
    CHECK(pthread_mutex_init(&log->append_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&log->prepare_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&log->zero_lock, NULL) == 0);
    atomic_init(&log->zeroing_pos, INT64_MAX);
    CHECK(pthread_mutex_init(&log->segments_lock, NULL) == 0);
}

void commitlog_install(struct commitlog *log, struct segment *segment)
{
    (void)pthread_mutex_lock(&log->segments_lock);
    if (log->segment_count == log->segment_capacity) {
        log->segment_capacity = log->segment_capacity == 0 ? 16 : log->segment_capacity * 2;
        log->segments = xrealloc(log->segments, log->segment_capacity * sizeof *log->segments);
    }
    log->segments[log->segment_count++] = segment;
    (void)pthread_mutex_unlock(&log->segments_lock);
}

/* --- the end of the log --- */

/* Whole records behind the end were messages, perhaps acknowledged ones, that something in front of
 * them cuts off: that is an error, and more than the end of a write that was under way. A 4.9.2
 * slave's log may end inside a record at any time. */
static void log_kept(const struct log_cut *cut, int64_t pos, int64_t bytes, int64_t whole_records,
                     const char *kept)
{
    if (cut->doubted && pos == cut->end && whole_records > 0)
        whole_records--;
    bool expected = cut->slave && whole_records == 0;
    log_line(whole_records > 0 ? LOG_ERROR
             : expected        ? LOG_INFO
                               : LOG_WARN,
             "store",
             expected ? "the log ended inside a record, whose begin was cut and kept aside; the "
                        "master sends it again"
                      : "bytes were cut from the end of the commit log and kept aside",
             "log_end=%lld why=\"%s\" from=%lld bytes=%lld whole_records=%lld kept=%s",
             (long long)cut->end, cut->why == NULL ? "the log ended before them" : cut->why,
             (long long)pos, (long long)bytes, (long long)whole_records, kept);
}

/* Where what is not zero ends in the segment, looking from `pos` on. */
static enum status find_data_end(const struct segment *segment, int64_t pos, int64_t *end,
                                 struct err *err)
{
    enum status status =
        vfs_data_end(segment->vfs, segment->fd, pos - segment->base, segment->size, end);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot read the commit log file %020lld",
                             (long long)segment->base);
    *end += segment->base;
    return STATUS_OK;
}

/* Take the last segment away: its file is deleted when it holds only zeros, else kept aside. */
static enum status drop_last(struct commitlog *log, const struct log_cut *cut, struct err *err)
{
    struct segment *segment = log->segments[log->segment_count - 1];
    char path[PATH_MAX];
    const char *directory = segment->directory;
    segment_path(segment, path);
    int64_t end;
    enum status status = find_data_end(segment, segment->base, &end, err);
    if (status != STATUS_OK)
        return status;
    if (end > segment->base) {
        char kept[PATH_MAX];
        int64_t whole = aside_whole_records(segment, segment->base, end);
        status = aside_move(log->vfs, cut->root, segment, path, end, kept, err);
        if (status != STATUS_OK)
            return status;
        log_kept(cut, segment->base, end - segment->base, whole, kept);
    } else if (log->vfs->ops->unlink(log->vfs, path) != STATUS_OK) {
        return err_set_errno(err, STATUS_IO, "cannot remove %s", path);
    }
    (void)pthread_mutex_lock(&log->segments_lock);
    log->segment_count--;
    (void)pthread_mutex_unlock(&log->segments_lock);
    segment_drop(segment);
    status = log->vfs->ops->sync_directory(log->vfs, directory);
    return status == STATUS_OK
               ? status
               : err_set_errno(err, STATUS_IO, "cannot sync the directory %s", directory);
}

/* Make a segment in one folder, and its name durable. */
static enum status create_in(struct commitlog *log, const char *directory, int64_t base,
                             struct segment **out, struct err *err)
{
    enum status status = segment_create(log->vfs, directory, base, log->segment_bytes, out, err);
    if (status != STATUS_OK)
        return status;
    status = log->vfs->ops->sync_directory(log->vfs, directory);
    if (status == STATUS_OK)
        return STATUS_OK;
    (void)err_set_errno(err, status, "cannot sync the directory %s", directory);
    char path[PATH_MAX];
    segment_path(*out, path);
    segment_drop(*out);
    (void)log->vfs->ops->unlink(log->vfs, path);
    return status;
}

/* Make a segment in the folder whose turn it is, or in the next one that takes it: what is wrong
 * with one disk must not end writing. For want of a descriptor all of them are as bad. A file that
 * stays behind has no byte in it, see commitlog_load. */
static enum status create_next(struct commitlog *log, int64_t base, struct segment **out,
                               struct err *err)
{
    struct log_path **folders = xmalloc(log->paths.count * sizeof *folders);
    size_t count = log_paths_order(&log->paths, log->vfs, base / log->segment_bytes,
                                   log->segment_bytes, atomic_load(&log->full_percent), folders);
    enum status first = STATUS_OK; /* of the folder whose turn it is */
    enum status status = STATUS_IO;
    for (size_t i = 0; i < count && status != STATUS_OK && status != STATUS_BUSY; i++) {
        struct err why = {.text = ""};
        status = create_in(log, folders[i]->directory, base, out, &why);
        if (i == 0) {
            first = status;
            *err = why;
        }
        if (status != STATUS_OK && !folders[i]->takes_none && count > 1)
            log_error("store",
                      "a folder of the commit log takes no new file; others are tried. Look at its "
                      "disk, or name it in readOnlyCommitLogStorePaths",
                      "path=%s why=\"%s\"", folders[i]->directory, why.text);
        folders[i]->takes_none = status != STATUS_OK;
    }
    free(folders);
    return status == STATUS_OK ? STATUS_OK : first;
}

/* Make the rest of the end's own segment zero. */
static enum status wipe_behind(struct commitlog *log, struct segment *segment,
                               const struct log_cut *cut, struct err *err)
{
    int64_t data_end;
    enum status status = find_data_end(segment, cut->end, &data_end, err);
    if (status != STATUS_OK || data_end == cut->end)
        return status;
    char kept[PATH_MAX];
    status = aside_copy(log->vfs, cut->root, segment, cut->end, data_end, kept, err);
    if (status != STATUS_OK)
        return status;
    log_kept(cut, cut->end, data_end - cut->end, aside_whole_records(segment, cut->end, data_end),
             kept);
    status = log->vfs->ops->zero(log->vfs, segment->fd, cut->end - segment->base,
                                 data_end - cut->end, true);
    if (status == STATUS_OK)
        status = log->vfs->ops->fdatasync(log->vfs, segment->fd);
    if (status != STATUS_OK)
        (void)err_set_errno(err, status, "cannot clear the end of %s/%020lld", segment->directory,
                            (long long)segment->base);
    return status;
}

/* A killed process may have made the file and not come to making it durable. */
static enum status sync_last(struct commitlog *log, const struct segment *last, struct err *err)
{
    enum status status = log->vfs->ops->fdatasync(log->vfs, last->fd);
    if (status == STATUS_OK)
        status = log->vfs->ops->sync_directory(log->vfs, last->directory);
    return status == STATUS_OK ? status
                               : err_set_errno(err, status, "cannot sync %s/%020lld",
                                               last->directory, (long long)last->base);
}

static enum status append_segment(struct commitlog *log, int64_t base, struct err *err)
{
    struct segment *segment;
    enum status status = create_next(log, base, &segment, err);
    if (status == STATUS_OK)
        commitlog_install(log, segment);
    return status;
}

enum status commitlog_begin(struct commitlog *log, struct err *err)
{
    CHECK(log->segment_count == 0);
    return append_segment(log, 0, err);
}

enum status commitlog_cut(struct commitlog *log, const struct log_cut *cut, struct err *err)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && log->segments[log->segment_count - 1]->base > cut->end)
        status = drop_last(log, cut, err);
    struct segment *last = log->segments[log->segment_count - 1];
    if (status == STATUS_OK && cut->end == segment_end(last))
        status = append_segment(log, cut->end, err);
    else if (status == STATUS_OK && cut->look)
        status = wipe_behind(log, last, cut, err);
    if (status == STATUS_OK && cut->look)
        status = sync_last(log, last, err);
    if (status != STATUS_OK)
        return status;
    log->current = log->segments[log->segment_count - 1];
    log->garbage_end = cut->end;
    atomic_store(&log->min_pos, log->segments[0]->base);
    atomic_store(&log->appended_pos, cut->end);
    atomic_store(&log->next_wanted, true);
    return STATUS_OK;
}

bool commitlog_name(struct commitlog *log, int64_t pos, struct record_name *out)
{
    struct segment *segment = commitlog_acquire(log, pos);
    if (segment == NULL)
        return false;
    struct slice rest =
        slice_of(segment->data + (pos - segment->base), (size_t)(segment_end(segment) - pos));
    struct record record;
    bool whole = record_decode(rest, RECORD_CHECK_FRAME, &record) == STATUS_OK &&
                 record.physical_offset == pos;
    if (whole) {
        struct slice behind = slice_from(rest, (size_t)record.size);
        struct record filler;
        out->crc = rocketmq_crc32(slice_of(rest.data, (size_t)record.size));
        out->end_pos = pos + record.size;
        out->next_pos = out->end_pos;
        if (record_decode(behind, RECORD_CHECK_FRAME, &filler) == STATUS_NOT_FOUND &&
            (size_t)filler.size == behind.size)
            out->next_pos = segment_end(segment);
    }
    segment_drop(segment);
    return whole;
}

void commitlog_release(struct commitlog *log)
{
    for (size_t i = 0; i < log->segment_count; i++)
        segment_drop(log->segments[i]);
    free(log->segments);
    if (log->next != NULL) {
        char path[PATH_MAX];
        segment_path(log->next, path);
        segment_drop(log->next);
        (void)log->vfs->ops->unlink(log->vfs, path);
    }
    log_paths_release(&log->paths);
    (void)pthread_mutex_destroy(&log->append_lock);
    (void)pthread_mutex_destroy(&log->prepare_lock);
    (void)pthread_mutex_destroy(&log->zero_lock);
    (void)pthread_mutex_destroy(&log->segments_lock);
}

/* --- reading --- */

struct segment *commitlog_acquire(struct commitlog *log, int64_t pos)
{
    struct segment *segment = NULL;
    (void)pthread_mutex_lock(&log->segments_lock);
    if (log->segment_count > 0 && pos >= log->segments[0]->base) {
        uint64_t i = (uint64_t)(pos - log->segments[0]->base) / (uint64_t)log->segment_bytes;
        if (i < log->segment_count) {
            segment = log->segments[i];
            segment_hold(segment);
        }
    }
    (void)pthread_mutex_unlock(&log->segments_lock);
    return segment;
}

struct slice commitlog_read(struct commitlog *log, int64_t pos, size_t size,
                            struct segment **segment)
{
    int64_t appended = atomic_load_explicit(&log->appended_pos, memory_order_acquire);
    if (pos < 0 || size > (uint64_t)log->segment_bytes || pos > appended - (int64_t)size)
        return SLICE_EMPTY;
    struct segment *found = commitlog_acquire(log, pos);
    if (found == NULL)
        return SLICE_EMPTY;
    if (pos + (int64_t)size > segment_end(found)) {
        segment_drop(found);
        return SLICE_EMPTY;
    }
    *segment = found;
    return slice_of(found->data + (pos - found->base), size);
}

int64_t commitlog_store_time(struct commitlog *log, int64_t pos)
{
    struct segment *segment;
    struct slice head = commitlog_read(log, pos, 76, &segment);
    if (head.data == NULL)
        return -1;
    int64_t result = -1;
    if (get_u32(head.data + 4) == RECORD_MAGIC) {
        size_t born_host_bytes = get_i32(head.data + 36) & SYS_FLAG_BORN_HOST_V6 ? 20 : 8;
        result = get_i64(head.data + RECORD_STORE_TIMESTAMP_AT(born_host_bytes));
    }
    segment_drop(segment);
    return result;
}

/* --- background work --- */

enum status commitlog_prepare(struct commitlog *log, struct err *err)
{
    enum status status = STATUS_OK;
    (void)pthread_mutex_lock(&log->prepare_lock);
    if (log->next == NULL) {
        (void)pthread_mutex_lock(&log->segments_lock);
        int64_t base = segment_end(log->segments[log->segment_count - 1]);
        (void)pthread_mutex_unlock(&log->segments_lock);
        status = create_next(log, base, &log->next, err);
        if (status != STATUS_OK)
            log->next = NULL;
    }
    atomic_store(&log->next_wanted, log->next == NULL);
    (void)pthread_mutex_unlock(&log->prepare_lock);
    return status;
}

/* The segment that holds `pos`, which may be the one made ahead; with a reference. The append lock
 * is held: whoever makes that segment now, on the disk, is not waited for. */
static struct segment *acquire_ahead(struct commitlog *log, int64_t pos)
{
    struct segment *segment = commitlog_acquire(log, pos);
    if (segment != NULL || pthread_mutex_trylock(&log->prepare_lock) != 0)
        return segment;
    if (log->next != NULL && pos >= log->next->base && pos < segment_end(log->next)) {
        segment = log->next;
        segment_hold(segment);
    }
    (void)pthread_mutex_unlock(&log->prepare_lock);
    return segment;
}

bool commitlog_claim_zeros(struct commitlog *log, int64_t pos, int64_t size,
                           struct zero_claim *claim)
{
    (void)pthread_mutex_lock(&log->append_lock);
    int64_t first = atomic_load(&log->appended_pos) + ZERO_GUARD_BYTES;
    if (pos < first)
        pos = first;
    pos = (pos + size - 1) / size * size;
    struct segment *segment = acquire_ahead(log, pos);
    if (segment != NULL) {
        int64_t room = segment_end(segment) - pos;
        *claim = (struct zero_claim){pos, size < room ? size : room, segment};
        (void)pthread_mutex_lock(&log->zero_lock);
        atomic_store(&log->zeroing_pos, pos);
    }
    (void)pthread_mutex_unlock(&log->append_lock);
    return segment != NULL;
}

void commitlog_release_zeros(struct commitlog *log, struct zero_claim *claim)
{
    atomic_store(&log->zeroing_pos, INT64_MAX);
    (void)pthread_mutex_unlock(&log->zero_lock);
    segment_drop(claim->segment);
    claim->segment = NULL;
}

static enum status flush(struct commitlog *log)
{
    /* The timestamp first: it is then not newer than the position. */
    int64_t timestamp_ms = atomic_load_explicit(&log->appended_timestamp_ms, memory_order_acquire);
    int64_t target = atomic_load_explicit(&log->appended_pos, memory_order_acquire);
    int64_t pos = atomic_load_explicit(&log->flushed_pos, memory_order_relaxed);
    if (health_has(log->health, REFUSAL_FAILED))
        return STATUS_IO;
    while (pos < target) {
        struct segment *segment = commitlog_acquire(log, pos);
        CHECK(segment != NULL);
        int64_t end = segment_end(segment);
        enum status status = log->vfs->ops->fdatasync(log->vfs, segment->fd);
        int kept = errno;
        char path[PATH_MAX];
        if (status != STATUS_OK)
            segment_path(segment, path);
        segment_drop(segment);
        if (status != STATUS_OK) {
            health_fail(log->health,
                        "syncing %s failed: %s. Messages behind position %lld may not be on "
                        "disk. Check the disk, then restart",
                        path, strerror(kept), (long long)pos);
            return STATUS_IO;
        }
        pos = end < target ? end : target;
    }
    if (pos > target) /* the empty log was given another begin since the target was read */
        return STATUS_OK;
    atomic_store_explicit(&log->flushed_timestamp_ms, timestamp_ms, memory_order_relaxed);
    /* Sequentially consistent, like the loads of those who wait: either they see the new position,
     * or the report that follows finds them waiting. */
    atomic_store_explicit(&log->flushed_pos, target, memory_order_seq_cst);
    return STATUS_OK;
}

enum status commitlog_flush(struct commitlog *log)
{
    atomic_store_explicit(&log->flush_since_ms, clock_monotonic_ms(log->clock),
                          memory_order_relaxed);
    enum status status = flush(log);
    atomic_store_explicit(&log->flush_since_ms, 0, memory_order_relaxed);
    return status;
}

bool commitlog_first_path(struct commitlog *log, char path[PATH_MAX])
{
    int64_t base;
    if (commitlog_segments(log, &base) < 2)
        return false;
    struct segment *first = commitlog_acquire(log, base);
    if (first == NULL)
        return false;
    segment_path(first, path);
    segment_drop(first);
    return true;
}

/* Make the last deletion durable, before the next one: else a power cut could bring back that
 * segment and not the one behind it. Without a descriptor for it that has time until then. */
static enum status sync_removal(struct commitlog *log)
{
    if (log->removed_in == NULL)
        return STATUS_OK;
    enum status status = log->vfs->ops->sync_directory(log->vfs, log->removed_in);
    if (status == STATUS_OK)
        log->removed_in = NULL;
    else if (status != STATUS_BUSY)
        health_fail(log->health,
                    "syncing the directory %s failed: %s. Check the disk, then restart",
                    log->removed_in, strerror(errno));
    return status;
}

enum status commitlog_remove_first(struct commitlog *log)
{
    char path[PATH_MAX];
    if (!commitlog_first_path(log, path))
        return STATUS_NOT_FOUND;
    if (sync_removal(log) != STATUS_OK)
        return STATUS_IO;
    enum status status = log->vfs->ops->unlink(log->vfs, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        log_error("store", "cannot delete an old commit log file", "path=%s errno=%d", path, errno);
        return STATUS_IO;
    }
    (void)pthread_mutex_lock(&log->segments_lock);
    struct segment *first = log->segments[0];
    log->segment_count--;
    memmove(log->segments, log->segments + 1, log->segment_count * sizeof *log->segments);
    atomic_store(&log->min_pos, log->segments[0]->base);
    (void)pthread_mutex_unlock(&log->segments_lock);
    log->removed_in = first->directory;
    (void)sync_removal(log);
    segment_drop(first);
    return STATUS_OK;
}

size_t commitlog_segments(struct commitlog *log, int64_t *first_base)
{
    (void)pthread_mutex_lock(&log->segments_lock);
    size_t count = log->segment_count;
    *first_base = count == 0 ? 0 : log->segments[0]->base;
    (void)pthread_mutex_unlock(&log->segments_lock);
    return count;
}
