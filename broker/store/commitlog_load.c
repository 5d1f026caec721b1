/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding the segments of the commit log when the store is opened. The files of all folders
 * together must be one log: neighbours segment_bytes apart, each there once.
 */
#include "broker/store/commitlog.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct found_segment {
    int64_t base;
    const char *directory;
};

struct found_segments {
    const struct commitlog *log;
    int64_t known_pos;
    const char *directory; /* being listed */
    struct found_segment *at;
    size_t count;
    size_t capacity;
};

static void found_path(const struct found_segment *found, char path[PATH_MAX])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(found->base, name);
    (void)snprintf(path, PATH_MAX, "%s/%s", found->directory, name);
}

static void found_one(void *ctx, const char *name, bool is_directory)
{
    struct found_segments *found = ctx;
    int64_t base;
    if (is_directory || !segment_name_parse(name, &base)) {
        log_warn("store", "not a commit log file, left alone", "path=%s/%s", found->directory,
                 name);
        return;
    }
    if (found->count == found->capacity) {
        found->capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        found->at = xrealloc(found->at, found->capacity * sizeof *found->at);
    }
    found->at[found->count++] = (struct found_segment){base, found->directory};
}

static int by_base(const void *a, const void *b)
{
    const struct found_segment *left = a;
    const struct found_segment *right = b;
    return (left->base > right->base) - (left->base < right->base);
}

static enum status list_all(struct found_segments *found, struct err *err)
{
    const struct commitlog *log = found->log;
    for (size_t i = 0; i < log->paths.count; i++) {
        const struct log_path *path = &log->paths.at[i];
        found->directory = path->directory;
        enum status status = log->vfs->ops->list(log->vfs, path->directory, found_one, found);
        if (status == STATUS_NOT_FOUND && path->read_only)
            log_warn("store", "a folder of readOnlyCommitLogStorePaths does not exist", "path=%s",
                     path->directory);
        else if (status != STATUS_OK)
            return err_set_errno(err, status, "cannot list %s", path->directory);
    }
    if (found->count > 0)
        qsort(found->at, found->count, sizeof *found->at, by_base);
    return STATUS_OK;
}

/* Does the file hold a byte that is not zero? A file that cannot be read may. */
static bool holds_bytes(const struct commitlog *log, const char *path)
{
    struct vfs *vfs = log->vfs;
    struct vfs_stat st;
    int fd;
    int64_t end = 1;
    if (vfs->ops->stat(vfs, path, &st) != STATUS_OK ||
        vfs->ops->open(vfs, path, VFS_READ, &fd) != STATUS_OK)
        return true;
    enum status status = vfs_data_end(vfs, fd, 0, st.size, &end);
    (void)vfs->ops->close(vfs, fd);
    return status != STATUS_OK || end > 0;
}

/* Of a file that is there twice, one that holds nothing is what stayed behind when it could not be
 * made there and was made elsewhere. It must not come back when the other one has expired.
 * *left  out: it is gone, or cannot be removed and is left out */
static enum status leave_out_empty(const struct commitlog *log, const struct found_segment *file,
                                   bool *left, struct err *err)
{
    char path[PATH_MAX];
    found_path(file, path);
    *left = !holds_bytes(log, path);
    if (!*left)
        return STATUS_OK;
    if (log->vfs->ops->unlink(log->vfs, path) != STATUS_OK) {
        log_error("store", "a commit log file without a byte is there twice; delete it",
                  "path=%s errno=%d", path, errno);
        return STATUS_OK;
    }
    log_warn("store", "a commit log file without a byte was there twice and was removed", "path=%s",
             path);
    enum status status = log->vfs->ops->sync_directory(log->vfs, file->directory);
    return status == STATUS_OK
               ? status
               : err_set_errno(err, status, "cannot sync the directory %s", file->directory);
}

/* The list is sorted. */
static enum status leave_out_twins(struct found_segments *found, struct err *err)
{
    enum status status = STATUS_OK;
    size_t kept = 0;
    for (size_t i = 0; i < found->count && status == STATUS_OK; i++) {
        bool left = false;
        bool twin = kept > 0 && found->at[kept - 1].base == found->at[i].base;
        if (twin)
            status = leave_out_empty(found->log, &found->at[i], &left, err);
        if (twin && !left && status == STATUS_OK) {
            status = leave_out_empty(found->log, &found->at[kept - 1], &left, err);
            kept -= left;
            left = false;
        }
        if (!left)
            found->at[kept++] = found->at[i];
    }
    if (status == STATUS_OK)
        found->count = kept;
    return status;
}

static enum status check_base(const struct found_segments *found, size_t i, struct err *err)
{
    const struct commitlog *log = found->log;
    const struct found_segment *this = &found->at[i];
    if (this->base % log->segment_bytes != 0)
        return err_set(err, STATUS_CORRUPT,
                       "%s/%020lld does not start at a multiple of mappedFileSizeCommitLog (%lld): "
                       "set that option to the size the log was written with",
                       this->directory, (long long)this->base, (long long)log->segment_bytes);
    if (i == 0)
        return STATUS_OK;
    const struct found_segment *before = &found->at[i - 1];
    if (this->base == before->base)
        return err_set(err, STATUS_CORRUPT,
                       "the commit log file %020lld is there twice, in %s and in %s: move the one "
                       "that does not belong to this log away",
                       (long long)this->base, before->directory, this->directory);
    if (this->base != before->base + log->segment_bytes)
        return err_set(
            err, STATUS_CORRUPT,
            "the commit log in %s has a gap: %020lld is missing. Bring the file back, or "
            "move the older files away to give up the messages in them",
            this->directory, (long long)(before->base + log->segment_bytes));
    return STATUS_OK;
}

/* A crash while a segment is made leaves a last file of any size, without a byte in it. */
static enum status remove_unfinished(struct commitlog *log, const struct found_segment *found,
                                     const char *path, int64_t size, struct err *err)
{
    struct vfs *vfs = log->vfs;
    int fd;
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot open %s", path);
    int64_t end;
    status = vfs_data_end(vfs, fd, 0, size, &end);
    (void)vfs->ops->close(vfs, fd);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot read %s", path);
    if (end > 0)
        return STATUS_CORRUPT;
    log_warn("store", "an unfinished commit log file was removed", "path=%s bytes=%lld", path,
             (long long)size);
    status = vfs->ops->unlink(vfs, path);
    /* It must not come back when those before it are cut off. */
    if (status == STATUS_OK)
        status = vfs->ops->sync_directory(vfs, found->directory);
    return status == STATUS_OK ? STATUS_OK
                               : err_set_errno(err, STATUS_IO, "cannot remove %s", path);
}

static enum status load_one(struct commitlog *log, const struct found_segments *found, size_t i,
                            struct err *err)
{
    enum status status = check_base(found, i, err);
    if (status != STATUS_OK)
        return status;
    char path[PATH_MAX];
    found_path(&found->at[i], path);
    struct vfs_stat st;
    status = log->vfs->ops->stat(log->vfs, path, &st);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot examine %s", path);
    if (st.size != log->segment_bytes) {
        bool unused = i + 1 == found->count && found->at[i].base >= found->known_pos;
        status =
            unused ? remove_unfinished(log, &found->at[i], path, st.size, err) : STATUS_CORRUPT;
        return status != STATUS_CORRUPT
                   ? status
                   : err_set(err, STATUS_CORRUPT,
                             "%s has %lld bytes, mappedFileSizeCommitLog says %lld: set that "
                             "option to the size the log was written with, or restore the file",
                             path, (long long)st.size, (long long)log->segment_bytes);
    }
    struct segment *segment;
    status = segment_open(log->vfs, found->at[i].directory, found->at[i].base, log->segment_bytes,
                          &segment, err);
    if (status != STATUS_OK)
        return status;
    /* Read again what is on the disk. */
    if (log->doubt_page_cache)
        (void)log->vfs->ops->advise(log->vfs, segment->fd, 0, segment->size, VFS_ADVICE_DONT_NEED);
    commitlog_install(log, segment);
    return STATUS_OK;
}

enum status commitlog_load(struct commitlog *log, int64_t known_pos, struct err *err)
{
    struct found_segments found = {.log = log, .known_pos = known_pos};
    enum status status = list_all(&found, err);
    if (status == STATUS_OK)
        status = leave_out_twins(&found, err);
    for (size_t i = 0; i < found.count && status == STATUS_OK; i++)
        status = load_one(log, &found, i, err);
    free(found.at);
    if (status == STATUS_OK && log->segment_count > 0)
        atomic_store(&log->min_pos, log->segments[0]->base);
    return status;
}
