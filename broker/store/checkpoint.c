/* SPDX-License-Identifier: Apache-2.0
 *
 * The used bytes lie in one disk sector and carry a checksum, so a torn write is either the old
 * checkpoint or one without a durable_pos, never a wrong one.
 */
#include "broker/store/checkpoint.h"

#include "common/base/crc32.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define MAGIC 0x436F6D65744D5132ULL
#define CHECKED_BYTES 76

void checkpoint_encode(const struct checkpoint *checkpoint, uint8_t out[CHECKPOINT_USED_BYTES])
{
    put_i64(out, checkpoint->log_timestamp_ms);
    put_i64(out + 8, checkpoint->queues_timestamp_ms);
    put_i64(out + 16, checkpoint->index_timestamp_ms);
    put_i64(out + 24, 0);
    put_u64(out + 32, MAGIC);
    put_i64(out + 40, checkpoint->durable_pos);
    put_i64(out + 48, checkpoint->queue_ends.total);
    put_i64(out + 56, checkpoint->last_pos);
    put_u32(out + 64, checkpoint->last_crc);
    put_u64(out + 68, checkpoint->queue_ends.digest);
    put_u32(out + CHECKED_BYTES, rocketmq_crc32(slice_of(out, CHECKED_BYTES)));
}

enum status checkpoint_decode(struct slice file, struct checkpoint *out)
{
    if (file.size < 24)
        return STATUS_TRUNCATED;
    struct checkpoint read = CHECKPOINT_NONE;
    read.log_timestamp_ms = get_i64(file.data);
    read.queues_timestamp_ms = get_i64(file.data + 8);
    read.index_timestamp_ms = get_i64(file.data + 16);
    if (file.size >= CHECKPOINT_USED_BYTES && get_u64(file.data + 32) == MAGIC &&
        get_u32(file.data + CHECKED_BYTES) == rocketmq_crc32(slice_of(file.data, CHECKED_BYTES)) &&
        get_i64(file.data + 40) >= 0) {
        read.durable_pos = get_i64(file.data + 40);
        read.queue_ends.total = get_i64(file.data + 48);
        read.last_pos = get_i64(file.data + 56);
        read.last_crc = get_u32(file.data + 64);
        read.queue_ends.digest = get_u64(file.data + 68);
    }
    *out = read;
    return STATUS_OK;
}

static void checkpoint_path(const char *root, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/checkpoint", root);
}

enum status checkpoint_load(struct vfs *vfs, const char *root, struct checkpoint *out,
                            struct err *err)
{
    char path[PATH_MAX];
    checkpoint_path(root, path);
    *out = CHECKPOINT_NONE;
    int fd;
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot open %s", path);
    uint8_t bytes[CHECKPOINT_USED_BYTES];
    size_t got = 0;
    status = vfs->ops->pread(vfs, fd, bytes, sizeof bytes, 0, &got);
    if (status != STATUS_OK)
        (void)err_set_errno(err, status, "cannot read %s", path);
    else
        (void)checkpoint_decode(slice_of(bytes, got), out);
    (void)vfs->ops->close(vfs, fd);
    return status;
}

enum status checkpoint_store(struct vfs *vfs, const char *root, const struct checkpoint *checkpoint,
                             struct err *err)
{
    char path[PATH_MAX];
    checkpoint_path(root, path);
    uint8_t bytes[CHECKPOINT_FILE_BYTES] = {0};
    checkpoint_encode(checkpoint, bytes);
    int fd;
    enum status status = vfs->ops->open(vfs, path, VFS_WRITE | VFS_CREATE, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot open %s", path);
    struct iovec part = {bytes, sizeof bytes};
    status = vfs->ops->pwritev(vfs, fd, &part, 1, 0);
    if (status == STATUS_OK)
        status = vfs->ops->fdatasync(vfs, fd);
    if (status != STATUS_OK)
        (void)err_set_errno(err, status, "cannot write %s", path);
    (void)vfs->ops->close(vfs, fd);
    return status;
}
