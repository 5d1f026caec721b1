/* SPDX-License-Identifier: Apache-2.0
 *
 * Source of the rules: RocketMQ store/.../ConsumeQueue.java. Differences: what is readable is
 * published after the write, a gap is filled instead of shifting the entries behind it, and files
 * are opened when first needed.
 */
#include "broker/store/consumequeue.h"

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
    free(queue->files);
    (void)pthread_mutex_destroy(&queue->files_lock);
    free(queue);
}

static struct vfs *queue_vfs(const struct queue *queue)
{
    return queue->store->vfs;
}

static int64_t file_bytes(const struct queue *queue)
{
    return queue->store->options.queue_file_bytes;
}

static int64_t file_entries(const struct queue *queue)
{
    return file_bytes(queue) / QUEUE_ENTRY_BYTES;
}

static void directory_path(const struct queue *queue, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/consumequeue/%s/%d", queue->store->options.root,
                   (const char *)queue->topic.data, (int)queue->id);
}

static void file_path(const struct queue *queue, int64_t number, char path[PATH_MAX])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number * file_bytes(queue), name);
    (void)snprintf(path, PATH_MAX, "%s/consumequeue/%s/%d/%s", queue->store->options.root,
                   (const char *)queue->topic.data, (int)queue->id, name);
}

/* --- files --- */

void queue_file_drop(struct queue_file *file)
{
    if (atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) > 1)
        return;
    (void)file->vfs->ops->unmap(file->vfs, (void *)(uintptr_t)file->data, file->size);
    if (file->fd != -1)
        (void)file->vfs->ops->close(file->vfs, file->fd);
    free(file);
}

static enum status file_map(const struct queue *queue, int fd, struct queue_file **out)
{
    struct vfs *vfs = queue_vfs(queue);
    void *memory;
    enum status status = vfs->ops->map(vfs, fd, (size_t)file_bytes(queue), false, &memory);
    if (status != STATUS_OK)
        return status;
    struct queue_file *file = xmalloc(sizeof *file);
    *file = (struct queue_file){
        .vfs = vfs, .size = (size_t)file_bytes(queue), .data = memory, .fd = -1};
    atomic_init(&file->references, 1);
    *out = file;
    return STATUS_OK;
}

/* The slot of file `number`, or NULL when there is no such file. files_lock held, or dispatch_lock
 * for a look at whether it is there. */
static struct queue_file **file_slot(const struct queue *queue, int64_t number)
{
    if (number < queue->first_file || number - queue->first_file >= (int64_t)queue->file_count)
        return NULL;
    return &queue->files[number - queue->first_file];
}

/* Open and map file `number`. No lock is needed: files are opened before they are put into the
 * table.
 * fd       out: the caller's
 * returns  OK | NOT_FOUND | BUSY | IO */
static enum status file_open(const struct queue *queue, int64_t number, int flags,
                             struct queue_file **out, int *fd)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    file_path(queue, number, path);
    enum status status = vfs->ops->open(vfs, path, flags, fd);
    if (status != STATUS_OK)
        return status;
    if (flags & VFS_CREATE)
        status = vfs->ops->truncate(vfs, *fd, file_bytes(queue));
    if (status == STATUS_OK)
        status = file_map(queue, *fd, out);
    if (status != STATUS_OK) {
        int kept = errno;
        (void)vfs->ops->close(vfs, *fd);
        errno = kept;
    }
    return status;
}

static void files_reserve(struct queue *queue, size_t count)
{
    if (count <= queue->file_capacity)
        return;
    queue->file_capacity = count < 4 ? 4 : count * 2;
    queue->files = xrealloc(queue->files, queue->file_capacity * sizeof(struct queue_file *));
}

/* Make the last file durable, name and all: a power cut must not leave a later one without it. Its
 * own descriptor may be closed meanwhile. */
static enum status last_file_sync(struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    file_path(queue, queue->first_file + (int64_t)queue->file_count - 1, path);
    int fd;
    enum status status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status != STATUS_OK)
        return status;
    status = vfs->ops->fdatasync(vfs, fd);
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    errno = kept;
    directory_path(queue, path);
    return status == STATUS_OK ? vfs->ops->sync_directory(vfs, path) : status;
}

/* Make the file behind the last one. */
static enum status file_append(struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    enum status status;
    if (queue->file_count == 0) {
        directory_path(queue, path);
        status = vfs->ops->mkdirs(vfs, path);
    } else {
        status = last_file_sync(queue);
    }
    if (status != STATUS_OK)
        return status;
    struct queue_file *file;
    int fd;
    status = file_open(queue, queue->first_file + (int64_t)queue->file_count,
                       VFS_READ | VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &file, &fd);
    if (status != STATUS_OK)
        return status;
    file->fd = fd;
    (void)pthread_mutex_lock(&queue->files_lock);
    files_reserve(queue, queue->file_count + 1);
    queue->files[queue->file_count++] = file;
    (void)pthread_mutex_unlock(&queue->files_lock);
    return STATUS_OK;
}

/* The descriptor of file `number`, which is one of the present ones or the next. It stays open
 * while dispatch_lock is held. */
static enum status file_for_writing(struct queue *queue, int64_t number, int *fd)
{
    CHECK(number >= queue->first_file);
    enum status status = STATUS_OK;
    while (status == STATUS_OK && file_slot(queue, number) == NULL)
        status = file_append(queue);
    if (status != STATUS_OK)
        return status;
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *file = *file_slot(queue, number);
    *fd = file == NULL ? -1 : file->fd;
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (*fd != -1)
        return STATUS_OK;
    struct queue_file *opened;
    status = file_open(queue, number, VFS_READ | VFS_WRITE, &opened, fd);
    if (status != STATUS_OK)
        return status;
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file **slot = file_slot(queue, number);
    struct queue_file *spare = *slot == NULL ? NULL : opened;
    if (spare == NULL)
        *slot = opened;
    (*slot)->fd = *fd;
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (spare != NULL)
        queue_file_drop(spare);
    return STATUS_OK;
}

/* Put a file opened for reading into its slot, unless that is filled or gone meanwhile. */
static void file_install(struct queue *queue, int64_t number, uint32_t life,
                         struct queue_file *opened)
{
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file **slot = life == queue->life ? file_slot(queue, number) : NULL;
    if (slot != NULL && *slot == NULL) {
        *slot = opened;
        opened = NULL;
    }
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (opened != NULL)
        queue_file_drop(opened);
}

enum status queue_acquire(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                          struct slice *bytes)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    int64_t number = at / file_bytes(queue);
    for (;;) {
        struct queue_file *file = NULL;
        (void)pthread_mutex_lock(&queue->files_lock);
        struct queue_file **slot = file_slot(queue, number);
        uint32_t life = queue->life;
        if (slot != NULL && *slot != NULL) {
            file = *slot;
            atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
        }
        (void)pthread_mutex_unlock(&queue->files_lock);
        if (file != NULL) {
            *out = file;
            *bytes = slice_from(slice_of(file->data, file->size), (size_t)(at % file_bytes(queue)));
            return STATUS_OK;
        }
        if (slot == NULL)
            return STATUS_NOT_FOUND;
        int fd;
        enum status status = file_open(queue, number, VFS_READ, &file, &fd);
        if (status != STATUS_OK)
            return status;
        (void)queue_vfs(queue)->ops->close(queue_vfs(queue), fd);
        file_install(queue, number, life, file);
    }
}

enum status queue_acquire_open(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                               struct slice *bytes)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    struct queue_file *file = NULL;
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file **slot = file_slot(queue, at / file_bytes(queue));
    if (slot != NULL && *slot != NULL) {
        file = *slot;
        atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (file == NULL)
        return slot == NULL ? STATUS_NOT_FOUND : STATUS_BUSY;
    *out = file;
    *bytes = slice_from(slice_of(file->data, file->size), (size_t)(at % file_bytes(queue)));
    return STATUS_OK;
}

int64_t queue_entry_path(const struct queue *queue, int64_t queue_offset, char *path)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    file_path(queue, at / file_bytes(queue), path);
    return at % file_bytes(queue);
}

int64_t queue_next_file_offset(const struct queue *queue, int64_t queue_offset)
{
    return (queue_offset / file_entries(queue) + 1) * file_entries(queue);
}

void queue_close_files(struct queue *queue)
{
    for (size_t i = 0; i < queue->file_count; i++) {
        if (queue->files[i] != NULL)
            queue_file_drop(queue->files[i]);
        queue->files[i] = NULL;
    }
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
        int fd;
        enum status status = file_for_writing(queue, at / file_bytes(queue), &fd);
        if (status != STATUS_OK)
            return status;
        int64_t room = file_entries(queue) - offset % file_entries(queue);
        int64_t run = end - offset < room ? end - offset : room;
        struct iovec part = {(void *)(uintptr_t)next, (size_t)run * QUEUE_ENTRY_BYTES};
        status = vfs->ops->pwritev(vfs, fd, &part, 1, at % file_bytes(queue));
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

void queue_publish(struct queue *queue)
{
    atomic_store_explicit(&queue->max_offset, queue->written_offset, memory_order_seq_cst);
}

enum status queue_fill(struct queue *queue, int64_t queue_offset)
{
    if (queue->file_count == 0) {
        int64_t number = queue_offset / file_entries(queue);
        (void)pthread_mutex_lock(&queue->files_lock);
        queue->first_file = number;
        queue->written_offset = number * file_entries(queue);
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
    atomic_store(&queue->max_offset, 0);
    atomic_store(&queue->min_offset, 0);
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file **files = queue->files;
    size_t count = queue->file_count;
    int64_t first = queue->first_file;
    queue->files = NULL;
    queue->file_capacity = 0;
    queue->file_count = 0;
    queue->first_file = 0;
    queue->synced_offset = 0;
    queue->life++;
    (void)pthread_mutex_unlock(&queue->files_lock);
    for (size_t i = 0; i < count; i++) {
        file_path(queue, first + (int64_t)i, path);
        if (vfs->ops->unlink(vfs, path) != STATUS_OK)
            log_warn("store", "cannot delete a consume queue file", "path=%s errno=%d", path,
                     errno);
        if (files[i] != NULL)
            queue_file_drop(files[i]);
    }
    free(files);
    queue->written_offset = 0;
    queue->last_end_pos = 0;
    atomic_store(&queue->min_pos, -1);
    directory_path(queue, path);
    if (vfs->ops->rmdir(vfs, path) == STATUS_OK) {
        *strrchr(path, '/') = '\0';
        (void)vfs->ops->rmdir(vfs, path); /* goes with its last queue */
    }
}

/* --- durability --- */

/* The open file that holds the entry at `offset`, with a reference; NULL when it is not open for
 * writing (then nothing in it is dirty) or is gone. */
static struct queue_file *file_hold(struct queue *queue, int64_t offset, uint32_t life, int *fd)
{
    struct queue_file *file = NULL;
    int64_t number = offset / file_entries(queue);
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file **slot = life == queue->life ? file_slot(queue, number) : NULL;
    if (slot != NULL)
        file = *slot;
    if (file != NULL && file->fd == -1)
        file = NULL;
    if (file != NULL) {
        atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
        *fd = file->fd;
    }
    (void)pthread_mutex_unlock(&queue->files_lock);
    return file;
}

/* A full and synced file needs its descriptor no longer. */
static void file_close_descriptor(struct queue *queue, struct queue_file *file)
{
    (void)pthread_mutex_lock(&queue->files_lock);
    int fd = file->fd;
    file->fd = -1;
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (fd != -1)
        (void)file->vfs->ops->close(file->vfs, fd);
}

void queue_rest(struct queue *queue)
{
    for (;;) {
        int fd = -1;
        (void)pthread_mutex_lock(&queue->files_lock);
        bool durable = queue->synced_offset == queue->written_offset;
        for (size_t i = 0; durable && fd == -1 && i < queue->file_count; i++) {
            struct queue_file *file = queue->files[i];
            if (file != NULL && file->fd != -1) {
                fd = file->fd;
                file->fd = -1;
            }
        }
        (void)pthread_mutex_unlock(&queue->files_lock);
        if (fd == -1)
            return;
        (void)queue_vfs(queue)->ops->close(queue_vfs(queue), fd);
    }
}

/* Sync the files of entries [offset, target); *new_file: one of them was begun there. */
static enum status files_sync(struct queue *queue, int64_t offset, int64_t target, uint32_t life,
                              bool *new_file)
{
    while (offset < target) {
        int64_t next = queue_next_file_offset(queue, offset);
        int fd = -1;
        struct queue_file *file = file_hold(queue, offset, life, &fd);
        *new_file |= offset % file_entries(queue) == 0;
        if (file != NULL) {
            enum status status = file->vfs->ops->fdatasync(file->vfs, fd);
            if (status == STATUS_OK && next <= target)
                file_close_descriptor(queue, file);
            queue_file_drop(file);
            if (status != STATUS_OK)
                return status;
        }
        offset = next;
    }
    return STATUS_OK;
}

/* The directories of the queue, its topic, all queues and the store; those that are gone meanwhile
 * need no sync. */
static enum status directories_sync(const struct queue *queue)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    directory_path(queue, path);
    for (int level = 0; level < 4; level++) {
        enum status status = vfs->ops->sync_directory(vfs, path);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        *strrchr(path, '/') = '\0';
    }
    return STATUS_OK;
}

enum status queue_sync(struct queue *queue, int64_t least)
{
    (void)pthread_mutex_lock(&queue->files_lock);
    uint32_t life = queue->life;
    int64_t offset = queue->synced_offset;
    int64_t target = atomic_load(&queue->max_offset);
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (target <= offset)
        return STATUS_OK;
    if (target - offset < least)
        return STATUS_BUSY;
    bool new_file = false;
    enum status status = files_sync(queue, offset, target, life, &new_file);
    if (status == STATUS_OK && new_file)
        status = directories_sync(queue);
    if (status != STATUS_OK)
        return status;
    (void)pthread_mutex_lock(&queue->files_lock);
    if (life == queue->life)
        queue->synced_offset = target;
    (void)pthread_mutex_unlock(&queue->files_lock);
    return STATUS_OK;
}

/* --- expiry --- */

/* True when the first file is not the last and every entry of it lies before min_pos. */
static bool first_file_expired(struct queue *queue, int64_t min_pos)
{
    if (queue->file_count < 2)
        return false;
    int64_t first = queue->first_file * file_entries(queue);
    if (first + file_entries(queue) > atomic_load(&queue->max_offset))
        return false;
    struct slice bytes;
    struct queue_file *file;
    if (queue_acquire(queue, first, &file, &bytes) != STATUS_OK)
        return false;
    size_t count = (size_t)file_entries(queue);
    bool expired = queue_file_first_from(bytes, count, min_pos) == count;
    queue_file_drop(file);
    return expired;
}

static void delete_first_file(struct queue *queue)
{
    char path[PATH_MAX];
    file_path(queue, queue->first_file, path);
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *file = queue->files[0];
    queue->first_file++;
    queue->file_count--;
    memmove(queue->files, queue->files + 1, queue->file_count * sizeof(struct queue_file *));
    int64_t first_offset = queue->first_file * file_entries(queue);
    if (queue->synced_offset < first_offset)
        queue->synced_offset = first_offset;
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (file != NULL)
        queue_file_drop(file);
    if (queue_vfs(queue)->ops->unlink(queue_vfs(queue), path) != STATUS_OK)
        log_warn("store", "cannot delete a consume queue file", "path=%s errno=%d", path, errno);
}

void queue_expire(struct queue *queue, int64_t min_pos)
{
    int64_t max_offset = atomic_load(&queue->max_offset);
    if (queue->file_count == 0 || atomic_load(&queue->min_pos) >= min_pos)
        return;
    while (first_file_expired(queue, min_pos))
        delete_first_file(queue);
    int64_t first_offset = queue->first_file * file_entries(queue);
    if (first_offset >= max_offset) {
        atomic_store(&queue->min_offset, max_offset);
        return;
    }
    struct slice bytes;
    struct queue_file *file;
    if (queue_acquire(queue, first_offset, &file, &bytes) != STATUS_OK)
        return;
    int64_t held = max_offset - first_offset;
    if (held > file_entries(queue))
        held = file_entries(queue);
    size_t first = queue_file_first_from(bytes, (size_t)held, min_pos);
    atomic_store(&queue->min_offset, first_offset + (int64_t)first);
    if ((int64_t)first < held)
        atomic_store(&queue->min_pos, queue_entry_pos(bytes.data + first * QUEUE_ENTRY_BYTES));
    queue_file_drop(file);
}

/* --- recovery --- */

void queue_adopt_files(struct queue *queue, int64_t first, size_t count)
{
    CHECK(queue->file_count == 0);
    files_reserve(queue, count);
    for (size_t i = 0; i < count; i++)
        queue->files[i] = NULL;
    queue->first_file = first;
    queue->file_count = count;
}

/* Check the size of a file; the last one is empty when a crash came before it was given its size.
 * fd  -1: it is not the last
 */
static enum status check_size(struct queue *queue, int fd, const char *path, bool last,
                              struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    struct vfs_stat st;
    enum status status = vfs->ops->stat(vfs, path, &st);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot examine %s", path);
    if (st.size == file_bytes(queue))
        return STATUS_OK;
    if (!last || st.size != 0)
        return err_set(
            err, STATUS_CORRUPT,
            "%s has %lld bytes, mappedFileSizeConsumeQueue says %lld: set that option to "
            "the size the files were written with, or delete %s/consumequeue to have it "
            "built again from the commit log",
            path, (long long)st.size, (long long)file_bytes(queue), queue->store->options.root);
    status = vfs->ops->truncate(vfs, fd, file_bytes(queue));
    return status == STATUS_OK ? status : err_set_errno(err, STATUS_IO, "cannot extend %s", path);
}

/* Make the file zero from entry `entries` on, durably, when it is not. */
static enum status wipe_file(struct queue *queue, const char *path, int fd, size_t entries,
                             struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    int64_t from = (int64_t)entries * QUEUE_ENTRY_BYTES;
    int64_t end;
    enum status status = vfs_data_end(vfs, fd, from, file_bytes(queue), &end);
    if (status == STATUS_OK && end > from) {
        status = vfs->ops->zero(vfs, fd, from, file_bytes(queue) - from, false);
        if (status == STATUS_OK)
            status = vfs->ops->fdatasync(vfs, fd);
    }
    return status == STATUS_OK ? status : err_set_errno(err, STATUS_IO, "cannot cut %s", path);
}

/* How many entries of the file count; what stands behind them is wiped. */
static enum status recover_file(struct queue *queue, const char *path, int fd, bool last,
                                int64_t cut_pos, bool wipe, size_t *entries, struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    enum status status = check_size(queue, fd, path, last, err);
    if (status != STATUS_OK)
        return status;
    void *memory;
    size_t size = (size_t)file_bytes(queue);
    status = vfs->ops->map(vfs, fd, size, false, &memory);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot map %s", path);
    *entries = queue_file_boundary(slice_of(memory, size), cut_pos);
    queue->last_end_pos = 0;
    if (*entries > 0) {
        const uint8_t *entry = (uint8_t *)memory + (*entries - 1) * QUEUE_ENTRY_BYTES;
        queue->last_end_pos = queue_entry_pos(entry) + queue_entry_size(entry);
    }
    (void)vfs->ops->unmap(vfs, memory, size);
    return wipe ? wipe_file(queue, path, fd, *entries, err) : STATUS_OK;
}

static enum status remove_file(struct queue *queue, const char *path, struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    char directory[PATH_MAX];
    directory_path(queue, directory);
    if (vfs->ops->unlink(vfs, path) != STATUS_OK ||
        vfs->ops->sync_directory(vfs, directory) != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot remove %s", path);
    return STATUS_OK;
}

/* The files before the one that the queue ends in are mapped when somebody reads them. */
static enum status check_older_sizes(struct queue *queue, size_t count, struct err *err)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        char path[PATH_MAX];
        file_path(queue, queue->first_file + (int64_t)i, path);
        status = check_size(queue, -1, path, false, err);
    }
    return status;
}

enum status queue_recover(struct queue *queue, int64_t cut_pos, bool wipe, struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    queue_close_files(queue);
    size_t entries = 0;
    size_t i = queue->file_count;
    while (i > 0 && entries == 0) {
        i--;
        char path[PATH_MAX];
        file_path(queue, queue->first_file + (int64_t)i, path);
        int fd;
        enum status status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd);
        if (status != STATUS_OK)
            return err_set_errno(err, STATUS_IO, "cannot open %s", path);
        bool last = i + 1 == queue->file_count;
        status = recover_file(queue, path, fd, last, cut_pos, wipe, &entries, err);
        (void)vfs->ops->close(vfs, fd);
        if (status != STATUS_OK)
            return status;
        if (entries == 0 && wipe && i > 0) {
            status = remove_file(queue, path, err);
            if (status != STATUS_OK)
                return status;
            queue->file_count--;
        }
    }
    enum status older = check_older_sizes(queue, i, err);
    if (older != STATUS_OK)
        return older;
    queue->written_offset =
        (queue->first_file + (int64_t)i) * file_entries(queue) + (int64_t)entries;
    queue->synced_offset = queue->written_offset;
    atomic_store(&queue->max_offset, queue->written_offset);
    atomic_store(&queue->min_offset, queue->first_file * file_entries(queue));
    atomic_store(&queue->min_pos, -1);
    return STATUS_OK;
}
