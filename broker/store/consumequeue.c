/* SPDX-License-Identifier: Apache-2.0
 *
 * Source of the rules: RocketMQ store/.../ConsumeQueue.java. Differences: what is readable is
 * published after the write, a gap is filled instead of shifting the entries behind it, and files
 * are opened when first needed.
 */
#include "broker/store/consumequeue.h"

#include "broker/store/queue_ends.h"
#include "broker/store/segment.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILL_CHUNK 256 /* entries written at once when filling */

struct queue *queue_new(struct store *store, struct slice topic, int32_t id, uint64_t hash)
{
    struct queue *queue = xcalloc(1, sizeof *queue + topic.size + 1);
    char *name = (char *)(queue + 1);
    memcpy(name, topic.data, topic.size);
    queue->store = store;
    queue->topic = slice_of(name, topic.size);
    queue->id = id;
    queue->hash = hash;
    queue->ends_name = queue_ends_name(topic, id);
    atomic_init(&queue->min_pos, -1);
    atomic_init(&queue->hot_pos, -1);
    CHECK(pthread_mutex_init(&queue->files_lock, NULL) == 0);
    return queue;
}

void queue_free(struct queue *queue)
{
    if (queue == NULL)
        return;
    queue_close_files(queue);
    (void)pthread_mutex_destroy(&queue->files_lock);
    free(queue);
}

/* --- files --- */

/* dispatch_lock or files_lock held. */
static bool has_file(const struct queue *queue, int64_t number)
{
    return number >= queue->first_file && number - queue->first_file < (int64_t)queue->file_count;
}

/* Make the last file durable, name and all: a power cut must not leave a later one without it. */
static enum status last_file_sync(struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    struct queue_file *file;
    enum status status =
        queue_file_open(queue, queue->first_file + (int64_t)queue->file_count - 1, &file);
    if (status != STATUS_OK)
        return status;
    status = vfs->ops->fdatasync(vfs, file->fd);
    int kept = errno;
    queue_file_drop(file);
    errno = kept;
    queue_directory_path(queue, path);
    return status == STATUS_OK ? vfs->ops->sync_directory(vfs, path) : status;
}

/* Make the file behind the last one. */
static enum status file_append(struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    enum status status;
    if (queue->file_count == 0) {
        queue_directory_path(queue, path);
        status = vfs->ops->mkdirs(vfs, path);
    } else {
        status = last_file_sync(queue);
    }
    if (status != STATUS_OK)
        return status;
    return queue_file_make(queue, queue->first_file + (int64_t)queue->file_count);
}

/* File `number`, which is one of the present ones or the next, open for writing, with a reference.
 * dispatch_lock held. */
static enum status file_for_writing(struct queue *queue, int64_t number, struct queue_file **out)
{
    CHECK(number >= queue->first_file);
    enum status status = STATUS_OK;
    while (status == STATUS_OK && !has_file(queue, number))
        status = file_append(queue);
    return status == STATUS_OK ? queue_file_open(queue, number, out) : status;
}

enum status queue_acquire(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                          struct slice *bytes)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    enum status status = queue_file_map(queue, at / queue_file_bytes(queue), out);
    if (status == STATUS_OK)
        *bytes = slice_from(slice_of((*out)->data, (*out)->size),
                            (size_t)(at % queue_file_bytes(queue)));
    return status;
}

enum status queue_acquire_open(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                               struct slice *bytes)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    enum status status = queue_file_mapped(queue, at / queue_file_bytes(queue), out);
    if (status == STATUS_OK)
        *bytes = slice_from(slice_of((*out)->data, (*out)->size),
                            (size_t)(at % queue_file_bytes(queue)));
    return status;
}

int64_t queue_entry_path(const struct queue *queue, int64_t queue_offset, char *path)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    queue_file_path(queue, at / queue_file_bytes(queue), path);
    return at % queue_file_bytes(queue);
}

int64_t queue_next_file_offset(const struct queue *queue, int64_t queue_offset)
{
    return (queue_offset / queue_file_entries(queue) + 1) * queue_file_entries(queue);
}

void queue_close_files(struct queue *queue)
{
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *open = queue_files_detach(queue, 0, INT64_MAX);
    (void)pthread_mutex_unlock(&queue->files_lock);
    queue_files_drop_all(open);
}

/* --- writing --- */

enum status queue_write(struct queue *queue, const uint8_t *entries, size_t count)
{
    struct vfs *vfs = queue_vfs(queue);
    const uint8_t *next = entries;
    int64_t offset = queue->written_offset;
    int64_t end = offset + (int64_t)count;
    while (offset < end) {
        int64_t at = offset * QUEUE_ENTRY_BYTES;
        struct queue_file *file;
        enum status status = file_for_writing(queue, at / queue_file_bytes(queue), &file);
        if (status != STATUS_OK)
            return status;
        int64_t room = queue_file_entries(queue) - offset % queue_file_entries(queue);
        int64_t run = end - offset < room ? end - offset : room;
        struct iovec part = {(void *)(uintptr_t)next, (size_t)run * QUEUE_ENTRY_BYTES};
        status = vfs->ops->pwritev(vfs, file->fd, &part, 1, at % queue_file_bytes(queue));
        int kept = errno;
        queue_file_written(file, offset + run);
        queue_file_drop(file);
        errno = kept;
        if (status != STATUS_OK)
            return status;
        next += part.iov_len;
        offset += run;
    }
    const uint8_t *last = next - QUEUE_ENTRY_BYTES;
    if (count > 0 && !queue_entry_is_filler(last))
        queue->last_end_pos = queue_entry_pos(last) + queue_entry_size(last);
    queue->written_offset = end;
    return STATUS_OK;
}

bool queue_write_is_quick(struct queue *queue, size_t count)
{
    /* The page of the last entry, which the next one shares, was written lately. */
    if (queue->last_end_pos <= store_hot_pos(queue->store))
        return false;
    int64_t entries = queue_file_entries(queue);
    int64_t number = queue->written_offset / entries;
    if ((queue->written_offset + (int64_t)count - 1) / entries != number)
        return false;
    struct queue_file *file = queue_file_if_open(queue, number);
    if (file == NULL)
        return false;
    queue_file_drop(file);
    return true;
}

/* Only here max_offset changes, so that what all ends come to is known without a walk. */
static void set_end(struct queue *queue, int64_t offset)
{
    int64_t before = atomic_load_explicit(&queue->max_offset, memory_order_relaxed);
    if (offset != before)
        queue_ends_move(&queue->store->queues.ends, queue->ends_name, before, offset);
    atomic_store_explicit(&queue->max_offset, offset, memory_order_seq_cst);
}

void queue_publish(struct queue *queue)
{
    set_end(queue, queue->written_offset);
}

enum status queue_fill(struct queue *queue, int64_t queue_offset)
{
    if (queue->file_count == 0) {
        int64_t number = queue_offset / queue_file_entries(queue);
        (void)pthread_mutex_lock(&queue->files_lock);
        queue->first_file = number;
        queue->written_offset = number * queue_file_entries(queue);
        queue->synced_offset = queue->written_offset;
        (void)pthread_mutex_unlock(&queue->files_lock);
        atomic_store(&queue->min_offset, queue_offset);
    }
    uint8_t fillers[FILL_CHUNK * QUEUE_ENTRY_BYTES];
    for (size_t i = 0; i < FILL_CHUNK; i++)
        queue_entry_encode(fillers + i * QUEUE_ENTRY_BYTES, 0, QUEUE_FILLER_SIZE, 0);
    enum status status = STATUS_OK;
    while (status == STATUS_OK && queue->written_offset < queue_offset) {
        int64_t left = queue_offset - queue->written_offset;
        status = queue_write(queue, fillers, left < FILL_CHUNK ? (size_t)left : FILL_CHUNK);
    }
    return status;
}

void queue_destroy_files(struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    set_end(queue, 0);
    atomic_store(&queue->min_offset, 0);
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *open = queue_files_detach(queue, 0, INT64_MAX);
    size_t count = queue->file_count;
    int64_t first = queue->first_file;
    queue->file_count = 0;
    queue->first_file = 0;
    queue->synced_offset = 0;
    queue->life++;
    (void)pthread_mutex_unlock(&queue->files_lock);
    queue_files_drop_all(open);
    for (size_t i = 0; i < count; i++) {
        queue_file_path(queue, first + (int64_t)i, path);
        if (vfs->ops->unlink(vfs, path) != STATUS_OK)
            log_warn("store", "cannot delete a consume queue file", "path=%s errno=%d", path,
                     errno);
    }
    queue->written_offset = 0;
    queue->last_end_pos = 0;
    atomic_store(&queue->min_pos, -1);
    queue_directory_path(queue, path);
    if (vfs->ops->rmdir(vfs, path) == STATUS_OK) {
        *strrchr(path, '/') = '\0';
        (void)vfs->ops->rmdir(vfs, path); /* goes with its last queue */
    }
    /* The next checkpoint counts the queue as gone. */
    atomic_store(&queue->store->queue_files.unsynced, true);
}

/* --- durability --- */

/* Sync a file of the queue; one that is gone meanwhile needs no sync. */
static enum status file_sync(struct queue *queue, int64_t number)
{
    struct vfs *vfs = queue_vfs(queue);
    struct queue_file *file = queue_file_if_open(queue, number);
    if (file != NULL) {
        enum status status = vfs->ops->fdatasync(vfs, file->fd);
        int kept = errno;
        queue_file_drop(file);
        errno = kept;
        return status;
    }
    char path[PATH_MAX];
    int fd;
    queue_file_path(queue, number, path);
    enum status status = vfs->ops->open(vfs, path, VFS_WRITE, &fd);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    status = vfs->ops->fdatasync(vfs, fd);
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    errno = kept;
    return status;
}

/* The directories of the queue, its topic, all queues and the store; those that are gone meanwhile
 * need no sync. */
static enum status directories_sync(const struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    queue_directory_path(queue, path);
    for (int level = 0; level < 4; level++) {
        enum status status = vfs->ops->sync_directory(vfs, path);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        *strrchr(path, '/') = '\0';
    }
    return STATUS_OK;
}

struct queue_sync_target queue_sync_begin(struct queue *queue, int64_t *unsynced)
{
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_sync_target target = {queue, atomic_load(&queue->max_offset), queue->life};
    *unsynced = target.offset - queue->synced_offset;
    (void)pthread_mutex_unlock(&queue->files_lock);
    return target;
}

enum status queue_sync(const struct queue_sync_target *target)
{
    struct queue *queue = target->queue;
    (void)pthread_mutex_lock(&queue->files_lock);
    int64_t offset = target->life == queue->life ? queue->synced_offset : target->offset;
    (void)pthread_mutex_unlock(&queue->files_lock);
    bool new_file = false;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && offset < target->offset) {
        new_file |= offset % queue_file_entries(queue) == 0;
        status = file_sync(queue, offset / queue_file_entries(queue));
        offset = queue_next_file_offset(queue, offset);
    }
    return status == STATUS_OK && new_file ? directories_sync(queue) : status;
}

void queue_sync_end(const struct queue_sync_target *target)
{
    struct queue *queue = target->queue;
    (void)pthread_mutex_lock(&queue->files_lock);
    if (target->life == queue->life && queue->synced_offset < target->offset)
        queue->synced_offset = target->offset;
    (void)pthread_mutex_unlock(&queue->files_lock);
}

/* --- expiry --- */

/* True when the first file is not the last and every entry of it lies before min_pos. An entry
 * behind it must be durable: else a power cut could leave no file, and with it no trace of where
 * the queue goes on. */
static bool first_file_expired(struct queue *queue, int64_t min_pos)
{
    if (queue->file_count < 2)
        return false;
    int64_t first = queue->first_file * queue_file_entries(queue);
    (void)pthread_mutex_lock(&queue->files_lock);
    bool goes_on = queue->synced_offset > first + queue_file_entries(queue);
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (!goes_on)
        return false;
    struct slice bytes;
    struct queue_file *file;
    if (queue_acquire(queue, first, &file, &bytes) != STATUS_OK)
        return false;
    size_t count = (size_t)queue_file_entries(queue);
    bool expired = queue_file_first_from(bytes, count, min_pos) == count;
    queue_file_drop(file);
    return expired;
}

static void delete_first_file(struct queue *queue)
{
    char path[PATH_MAX];
    queue_file_path(queue, queue->first_file, path);
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *open = queue_files_detach(queue, 0, queue->first_file + 1);
    queue->first_file++;
    queue->file_count--;
    int64_t first_offset = queue->first_file * queue_file_entries(queue);
    if (queue->synced_offset < first_offset)
        queue->synced_offset = first_offset;
    (void)pthread_mutex_unlock(&queue->files_lock);
    queue_files_drop_all(open);
    if (queue_vfs(queue)->ops->unlink(queue_vfs(queue), path) != STATUS_OK)
        log_warn("store", "cannot delete a consume queue file", "path=%s errno=%d", path, errno);
}

enum status queue_expire(struct queue *queue, int64_t min_pos, size_t *deleted)
{
    int64_t max_offset = atomic_load(&queue->max_offset);
    *deleted = 0;
    if (queue->file_count == 0 || atomic_load(&queue->min_pos) >= min_pos)
        return STATUS_OK;
    for (; first_file_expired(queue, min_pos); (*deleted)++)
        delete_first_file(queue);
    int64_t first_offset = queue->first_file * queue_file_entries(queue);
    if (first_offset >= max_offset) {
        atomic_store(&queue->min_offset, max_offset);
        return STATUS_OK;
    }
    struct slice bytes;
    struct queue_file *file;
    enum status status = queue_acquire(queue, first_offset, &file, &bytes);
    if (status != STATUS_OK)
        return status;
    int64_t held = max_offset - first_offset;
    if (held > queue_file_entries(queue))
        held = queue_file_entries(queue);
    size_t first = queue_file_first_from(bytes, (size_t)held, min_pos);
    atomic_store(&queue->min_offset, first_offset + (int64_t)first);
    if ((int64_t)first < held)
        atomic_store(&queue->min_pos, queue_entry_pos(bytes.data + first * QUEUE_ENTRY_BYTES));
    queue_file_drop(file);
    return STATUS_OK;
}
