/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/aside.h"

#include "proto/record.h"

#include <errno.h>
#include <stdio.h>

/* A path below <root>/cut that is free. */
static enum status free_path(struct vfs *vfs, const char *root, int64_t pos, char kept[PATH_MAX],
                             struct err *err)
{
    char directory[PATH_MAX];
    (void)snprintf(directory, sizeof directory, "%s/cut", root);
    enum status status = vfs_make_directories(vfs, directory);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot make the directory %s", directory);
    char name[SEGMENT_NAME_BYTES];
    segment_name(pos, name);
    (void)snprintf(kept, PATH_MAX, "%s/cut/%s", root, name);
    struct vfs_stat st;
    for (int number = 1; vfs->ops->stat(vfs, kept, &st) == STATUS_OK; number++)
        (void)snprintf(kept, PATH_MAX, "%s/cut/%s.%d", root, name, number);
    return STATUS_OK;
}

static enum status sync_cut(struct vfs *vfs, const char *root)
{
    char directory[PATH_MAX];
    (void)snprintf(directory, sizeof directory, "%s/cut", root);
    return vfs->ops->sync_directory(vfs, directory);
}

enum status aside_copy(struct vfs *vfs, const char *root, const struct segment *segment,
                       int64_t pos, int64_t end, char kept[PATH_MAX], struct err *err)
{
    enum status status = free_path(vfs, root, pos, kept, err);
    if (status != STATUS_OK)
        return status;
    int fd;
    status = vfs->ops->open(vfs, kept, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &fd);
    if (status == STATUS_OK) {
        struct iovec part = {(void *)(uintptr_t)(segment->data + (pos - segment->base)),
                             (size_t)(end - pos)};
        status = vfs->ops->pwritev(vfs, fd, &part, 1, 0);
        if (status == STATUS_OK)
            status = vfs->ops->fdatasync(vfs, fd);
        int cause = errno;
        (void)vfs->ops->close(vfs, fd);
        errno = cause;
    }
    if (status == STATUS_OK)
        status = sync_cut(vfs, root);
    if (status != STATUS_OK) {
        int cause = errno;
        (void)vfs->ops->unlink(vfs, kept);
        errno = cause;
        return err_set_errno(err, status,
                             "%lld bytes must be cut from the end of the commit log and cannot be "
                             "kept in %s: free disk space",
                             (long long)(end - pos), kept);
    }
    return STATUS_OK;
}

enum status aside_move(struct vfs *vfs, const char *root, const struct segment *segment,
                       const char *path, int64_t end, char kept[PATH_MAX], struct err *err)
{
    enum status status = free_path(vfs, root, segment->base, kept, err);
    if (status != STATUS_OK)
        return status;
    status = vfs->ops->rename(vfs, path, kept);
    if (status == STATUS_OK)
        status = sync_cut(vfs, root);
    if (status == STATUS_OK)
        return STATUS_OK;
    if (errno != EXDEV)
        return err_set_errno(err, status, "cannot move %s to %s", path, kept);
    status = aside_copy(vfs, root, segment, segment->base, end, kept, err);
    if (status == STATUS_OK && vfs->ops->unlink(vfs, path) != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot remove %s", path);
    return status;
}

int64_t aside_whole_records(const struct segment *segment, int64_t pos, int64_t end)
{
    int64_t count = 0;
    while (pos < end) {
        int32_t size = record_whole_at(
            slice_of(segment->data + (pos - segment->base), (size_t)(segment_end(segment) - pos)),
            pos);
        count += size > 0;
        pos += size > 0 ? size : 1;
    }
    return count;
}
