/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/segment.h"

#include "common/base/check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void segment_name(int64_t base, char out[SEGMENT_NAME_BYTES])
{
    (void)snprintf(out, SEGMENT_NAME_BYTES, "%020lld", (long long)base);
}

bool segment_name_parse(const char *name, int64_t *base)
{
    if (strlen(name) != SEGMENT_NAME_BYTES - 1)
        return false;
    int64_t value = 0;
    for (const char *p = name; *p != '\0'; p++) {
        if (*p < '0' || *p > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *p - '0', &value))
            return false;
    }
    *base = value;
    return true;
}

void segment_path(const struct segment *segment, char path[PATH_MAX])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment->base, name);
    (void)snprintf(path, PATH_MAX, "%s/%s", segment->directory, name);
}

static enum status make_path(const char *directory, int64_t base, char path[PATH_MAX],
                             struct err *err)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(base, name);
    int size = snprintf(path, PATH_MAX, "%s/%s", directory, name);
    if (size < 0 || size >= PATH_MAX)
        return err_set(err, STATUS_IO, "the path %s is too long", directory);
    return STATUS_OK;
}

static enum status segment_new(struct vfs *vfs, int fd, const char *directory, int64_t base,
                               int64_t size, struct segment **out)
{
    void *memory;
    enum status status = vfs->ops->map(vfs, fd, (size_t)size, false, &memory);
    if (status != STATUS_OK)
        return status;
    struct segment *segment = xmalloc(sizeof *segment);
    segment->base = base;
    segment->size = size;
    segment->data = memory;
    segment->fd = fd;
    segment->directory = directory;
    segment->vfs = vfs;
    atomic_init(&segment->references, 1);
    *out = segment;
    return STATUS_OK;
}

enum status segment_create(struct vfs *vfs, const char *directory, int64_t base, int64_t size,
                           struct segment **out, struct err *err)
{
    char path[PATH_MAX];
    enum status status = make_path(directory, base, path, err);
    if (status != STATUS_OK)
        return status;
    int fd;
    status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot create %s", path);
    status = vfs->ops->allocate(vfs, fd, size);
    /* Else a power cut could leave it shorter than it must be, with a later one behind it. */
    if (status == STATUS_OK)
        status = vfs->ops->fdatasync(vfs, fd);
    if (status == STATUS_OK)
        status = segment_new(vfs, fd, directory, base, size, out);
    if (status == STATUS_OK)
        return STATUS_OK;
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    (void)vfs->ops->unlink(vfs, path);
    errno = kept;
    return err_set_errno(err, status, "cannot reserve %lld bytes for %s", (long long)size, path);
}

enum status segment_open(struct vfs *vfs, const char *directory, int64_t base, int64_t size,
                         struct segment **out, struct err *err)
{
    char path[PATH_MAX];
    enum status status = make_path(directory, base, path, err);
    if (status != STATUS_OK)
        return status;
    int fd;
    status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot open %s", path);
    status = segment_new(vfs, fd, directory, base, size, out);
    if (status == STATUS_OK)
        return STATUS_OK;
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    errno = kept;
    return err_set_errno(err, status, "cannot map %s", path);
}

enum status segment_move(const struct segment *segment, int64_t base, struct segment **out,
                         struct err *err)
{
    struct vfs *vfs = segment->vfs;
    char path[PATH_MAX];
    char moved_path[PATH_MAX];
    struct segment *moved;
    segment_path(segment, path);
    enum status status =
        segment_open(vfs, segment->directory, segment->base, segment->size, &moved, err);
    if (status != STATUS_OK)
        return status;
    moved->base = base;
    segment_path(moved, moved_path);
    status = vfs->ops->rename(vfs, path, moved_path);
    if (status != STATUS_OK) {
        (void)err_set_errno(err, status, "cannot rename %s to %s", path, moved_path);
        segment_drop(moved);
        return status;
    }
    *out = moved;
    return STATUS_OK;
}

void segment_drop(struct segment *segment)
{
    int32_t before = atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before > 1)
        return;
    struct vfs *vfs = segment->vfs;
    (void)vfs->ops->unmap(vfs, (void *)(uintptr_t)segment->data, (size_t)segment->size);
    (void)vfs->ops->close(vfs, segment->fd);
    free(segment);
}
