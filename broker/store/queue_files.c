/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/queue_files.h"

#include "broker/store/segment.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "common/sys/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Used files that the clock's hand passes at most: bounds how long the ring's lock is held. */
#define HAND_STEPS 64
#define GIVE_BACK 32 /* files given back when the machine has no more */
#define BOUND_MIN 16

static struct queue_files *files_of(const struct queue *queue)
{
    return &queue->store->queue_files;
}

static struct vfs *vfs_of(const struct queue *queue)
{
    return queue->store->vfs;
}

static int64_t file_bytes(const struct queue *queue)
{
    return queue->store->options.queue_file_bytes;
}

static struct queue_file_ring *ring_of(const struct queue_file *file)
{
    struct queue_files *files = files_of(file->queue);
    return file->data != NULL ? &files->mapped : &files->writable;
}

/* --- life --- */

static void ring_init(struct queue_file_ring *ring, int64_t wanted, int64_t usual, int64_t allowed)
{
    int64_t max = wanted > 0 ? wanted : usual < allowed ? usual : allowed;
    memset(ring, 0, sizeof *ring);
    ring->max = (size_t)(wanted == 0 && max < BOUND_MIN ? BOUND_MIN : max);
    CHECK(pthread_mutex_init(&ring->lock, NULL) == 0);
}

void queue_files_init(struct queue_files *files, struct store *store, int64_t mappings_max,
                      int64_t descriptors_max)
{
    files->store = store;
    ring_init(&files->mapped, mappings_max, QUEUE_MAPPINGS_MAX, process_mappings_max() / 4);
    ring_init(&files->writable, descriptors_max, QUEUE_DESCRIPTORS_MAX,
              process_descriptors_max() / 2);
    atomic_init(&files->unsynced, false);
    atomic_init(&files->sync_fd, -1);
}

void queue_files_release(struct queue_files *files)
{
    CHECK(files->mapped.count == 0 && files->writable.count == 0);
    int fd = atomic_load(&files->sync_fd);
    if (fd != -1)
        (void)files->store->vfs->ops->close(files->store->vfs, fd);
    (void)pthread_mutex_destroy(&files->mapped.lock);
    (void)pthread_mutex_destroy(&files->writable.lock);
}

size_t queue_files_count(struct queue_file_ring *ring)
{
    (void)pthread_mutex_lock(&ring->lock);
    size_t count = ring->count;
    (void)pthread_mutex_unlock(&ring->lock);
    return count;
}

void queue_files_watch(struct queue_files *files)
{
    struct vfs *vfs = files->store->vfs;
    if (vfs->ops->sync_filesystem == NULL || atomic_load(&files->sync_fd) != -1)
        return;
    char path[PATH_MAX];
    int fd;
    (void)snprintf(path, sizeof path, "%s/consumequeue", files->store->options.root);
    if (vfs->ops->open(vfs, path, VFS_READ, &fd) == STATUS_OK)
        atomic_store(&files->sync_fd, fd);
}

enum status queue_files_sync(struct queue_files *files)
{
    struct vfs *vfs = files->store->vfs;
    int fd = atomic_load(&files->sync_fd);
    if (vfs->ops->sync_filesystem == NULL || fd == -1)
        return STATUS_UNSUPPORTED;
    return vfs->ops->sync_filesystem(vfs, fd);
}

void queue_file_path(const struct queue *queue, int64_t number, char path[PATH_MAX])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number * file_bytes(queue), name);
    (void)snprintf(path, PATH_MAX, "%s/consumequeue/%s/%d/%s", queue->store->options.root,
                   (const char *)queue->topic.data, (int)queue->id, name);
}

void queue_directory_path(const struct queue *queue, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/consumequeue/%s/%d", queue->store->options.root,
                   (const char *)queue->topic.data, (int)queue->id);
}

/* --- the ring --- */

static struct queue_file *hold(struct queue_file *file)
{
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    return file;
}

void queue_file_drop(struct queue_file *file)
{
    if (atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) > 1)
        return;
    struct vfs *vfs = vfs_of(file->queue);
    if (file->data != NULL)
        (void)vfs->ops->unmap(vfs, (void *)(uintptr_t)file->data, file->size);
    if (file->fd != -1)
        (void)vfs->ops->close(vfs, file->fd);
    free(file);
}

static void ring_remove(struct queue_file_ring *ring, struct queue_file *file)
{
    if (ring->hand == file)
        ring->hand = file->next;
    if (ring->hand == file)
        ring->hand = NULL;
    file->previous->next = file->next;
    file->next->previous = file->previous;
    ring->count--;
}

/* The next file that was not used since the hand last passed, with a reference; after HAND_STEPS
 * used ones any will do. ring->lock held. */
static struct queue_file *ring_victim(struct queue_file_ring *ring)
{
    struct queue_file *file = ring->hand;
    for (int i = 0; file != NULL && i < HAND_STEPS; i++) {
        if (!atomic_exchange_explicit(&file->used, false, memory_order_relaxed))
            break;
        file = file->next;
    }
    if (file == NULL)
        return NULL;
    ring->hand = file->next;
    return hold(file);
}

/* Add behind the hand, as the one that it reaches last. */
static void ring_add(struct queue_file_ring *ring, struct queue_file *file)
{
    (void)pthread_mutex_lock(&ring->lock);
    if (ring->hand == NULL) {
        ring->hand = file->next = file->previous = file;
    } else {
        file->next = ring->hand;
        file->previous = ring->hand->previous;
        file->previous->next = file;
        file->next->previous = file;
    }
    ring->count++;
    (void)pthread_mutex_unlock(&ring->lock);
}

/* A file to give back because there are more than `max`, with a reference, or NULL. */
static struct queue_file *ring_excess(struct queue_file_ring *ring)
{
    (void)pthread_mutex_lock(&ring->lock);
    struct queue_file *victim = ring->count > ring->max ? ring_victim(ring) : NULL;
    bool first = victim != NULL && !ring->met;
    ring->met |= first;
    (void)pthread_mutex_unlock(&ring->lock);
    if (first)
        log_info("store",
                 victim->data != NULL
                     ? "more consume queue files are read at a time than are kept mapped; those "
                       "read least are mapped anew each time"
                     : "more consume queues are written at a time than are kept open; those "
                       "written least are opened anew each time",
                 "kept=%zu", ring->max);
    return victim;
}

/* --- a queue's open files --- */

/* files_lock held. */
static struct queue_file *find(struct queue *queue, int64_t number, bool mapped)
{
    struct queue_file **link = &queue->open_files;
    for (struct queue_file *file; (file = *link) != NULL; link = &file->sibling) {
        if (file->number != number || (file->data != NULL) != mapped)
            continue;
        *link = file->sibling; /* to the front: what is used often is found at once */
        file->sibling = queue->open_files;
        queue->open_files = file;
        if (!atomic_load_explicit(&file->used, memory_order_relaxed))
            atomic_store_explicit(&file->used, true, memory_order_relaxed);
        return file;
    }
    return NULL;
}

/* files_lock held. */
static void unlink_file(struct queue_file *file)
{
    struct queue_file_ring *ring = ring_of(file);
    struct queue_file **link = &file->queue->open_files;
    while (*link != file)
        link = &(*link)->sibling;
    *link = file->sibling;
    file->linked = false;
    (void)pthread_mutex_lock(&ring->lock);
    ring_remove(ring, file);
    (void)pthread_mutex_unlock(&ring->lock);
}

/* Give back a file, unless that has been done. Takes over the caller's reference.
 * only_synced  not when it has entries that are not durable */
static void evict(struct queue_file *file, bool only_synced)
{
    struct queue *queue = file->queue;
    (void)pthread_mutex_lock(&queue->files_lock);
    bool unsynced = file->fd != -1 && file->written_to > queue->synced_offset;
    bool gone = file->linked && !(unsynced && only_synced);
    if (gone) {
        unlink_file(file);
        if (unsynced)
            atomic_store(&files_of(queue)->unsynced, true);
    }
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (gone)
        queue_file_drop(file);
    queue_file_drop(file);
}

/* Give back some files, because the machine has no more descriptors or mappings. */
static bool give_back(struct queue_file_ring *ring)
{
    int count = 0;
    for (struct queue_file *file; count < GIVE_BACK; count++) {
        (void)pthread_mutex_lock(&ring->lock);
        file = ring_victim(ring);
        (void)pthread_mutex_unlock(&ring->lock);
        if (file == NULL)
            break;
        evict(file, false);
    }
    return count > 0;
}

void queue_files_rest(struct queue_files *files)
{
    struct queue_file_ring *ring = &files->writable;
    size_t left = queue_files_count(ring);
    while (left > 0) {
        struct queue_file *idle[HAND_STEPS];
        size_t count = 0;
        (void)pthread_mutex_lock(&ring->lock);
        for (int i = 0; i < HAND_STEPS && left > 0 && ring->hand != NULL; i++, left--) {
            struct queue_file *file = ring->hand;
            ring->hand = file->next;
            if (!atomic_exchange_explicit(&file->used, false, memory_order_relaxed))
                idle[count++] = hold(file);
        }
        bool empty = ring->hand == NULL;
        (void)pthread_mutex_unlock(&ring->lock);
        for (size_t i = 0; i < count; i++)
            evict(idle[i], true);
        if (empty)
            return;
    }
}

/* Put a file that was opened just now among the queue's open ones, unless it is there already or
 * the queue has it no longer. The list and the caller get a reference each.
 * returns  the file that is to be used, or NULL; `opened` is dropped when it is another */
static struct queue_file *link_file(struct queue *queue, struct queue_file *opened, uint32_t life)
{
    struct queue_file_ring *ring = ring_of(opened);
    struct queue_file *file = NULL;
    (void)pthread_mutex_lock(&queue->files_lock);
    if (life == queue->life && opened->number >= queue->first_file &&
        opened->number - queue->first_file < (int64_t)queue->file_count) {
        file = find(queue, opened->number, opened->data != NULL);
        if (file == NULL) {
            file = opened;
            file->sibling = queue->open_files;
            queue->open_files = file;
            file->linked = true;
            ring_add(ring, file);
        }
        (void)hold(file);
    }
    (void)pthread_mutex_unlock(&queue->files_lock);
    for (struct queue_file *victim; (victim = ring_excess(ring)) != NULL;)
        evict(victim, false);
    if (file != opened)
        queue_file_drop(opened);
    return file;
}

static struct queue_file *file_new(struct queue *queue, int64_t number)
{
    struct queue_file *file = xcalloc(1, sizeof *file);
    file->queue = queue;
    file->number = number;
    file->fd = -1;
    atomic_init(&file->references, 1);
    return file;
}

static enum status open_path(struct queue *queue, int64_t number, int flags, int *fd)
{
    struct vfs *vfs = vfs_of(queue);
    char path[PATH_MAX];
    queue_file_path(queue, number, path);
    enum status status = vfs->ops->open(vfs, path, flags, fd);
    if (status == STATUS_BUSY && give_back(&files_of(queue)->writable))
        status = vfs->ops->open(vfs, path, flags, fd);
    return status;
}

static void close_keeping_errno(struct queue *queue, int fd)
{
    int kept = errno;
    (void)vfs_of(queue)->ops->close(vfs_of(queue), fd);
    errno = kept;
}

static enum status map_path(struct queue *queue, int64_t number, struct queue_file **out)
{
    struct vfs *vfs = vfs_of(queue);
    size_t size = (size_t)file_bytes(queue);
    void *memory;
    int fd;
    enum status status = open_path(queue, number, VFS_READ, &fd);
    if (status != STATUS_OK)
        return status;
    status = vfs->ops->map(vfs, fd, size, false, &memory);
    if (status == STATUS_BUSY && give_back(&files_of(queue)->mapped))
        status = vfs->ops->map(vfs, fd, size, false, &memory);
    close_keeping_errno(queue, fd);
    if (status != STATUS_OK)
        return status;
    *out = file_new(queue, number);
    (*out)->data = memory;
    (*out)->size = size;
    return STATUS_OK;
}

/* The file when it is open, with a reference; else what is needed to open it. */
static struct queue_file *look(struct queue *queue, int64_t number, bool mapped, bool *exists,
                               uint32_t *life)
{
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *file = find(queue, number, mapped);
    if (file != NULL)
        (void)hold(file);
    *exists =
        number >= queue->first_file && number - queue->first_file < (int64_t)queue->file_count;
    *life = queue->life;
    (void)pthread_mutex_unlock(&queue->files_lock);
    return file;
}

static enum status open_or_map(struct queue *queue, int64_t number, bool mapped,
                               struct queue_file **out)
{
    for (;;) {
        bool exists;
        uint32_t life;
        *out = look(queue, number, mapped, &exists, &life);
        if (*out != NULL)
            return STATUS_OK;
        if (!exists)
            return STATUS_NOT_FOUND;
        struct queue_file *opened;
        enum status status;
        if (mapped) {
            status = map_path(queue, number, &opened);
        } else {
            int fd;
            queue_files_watch(files_of(queue));
            status = open_path(queue, number, VFS_READ | VFS_WRITE, &fd);
            if (status == STATUS_OK) {
                opened = file_new(queue, number);
                opened->fd = fd;
            }
        }
        if (status != STATUS_OK)
            return status;
        *out = link_file(queue, opened, life);
        if (*out != NULL)
            return STATUS_OK;
    }
}

enum status queue_file_mapped(struct queue *queue, int64_t number, struct queue_file **out)
{
    bool exists;
    uint32_t life;
    *out = look(queue, number, true, &exists, &life);
    if (*out != NULL)
        return STATUS_OK;
    if (!exists)
        return STATUS_NOT_FOUND;
    struct queue_file *writing = look(queue, number, false, &exists, &life);
    if (writing == NULL)
        return STATUS_BUSY;
    queue_file_drop(writing);
    return queue_file_map(queue, number, out);
}

enum status queue_file_map(struct queue *queue, int64_t number, struct queue_file **out)
{
    return open_or_map(queue, number, true, out);
}

enum status queue_file_open(struct queue *queue, int64_t number, struct queue_file **out)
{
    return open_or_map(queue, number, false, out);
}

struct queue_file *queue_file_if_open(struct queue *queue, int64_t number)
{
    bool exists;
    uint32_t life;
    return look(queue, number, false, &exists, &life);
}

enum status queue_file_make(struct queue *queue, int64_t number)
{
    struct vfs *vfs = vfs_of(queue);
    int fd;
    enum status status =
        open_path(queue, number, VFS_READ | VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &fd);
    if (status == STATUS_OK) {
        status = vfs->ops->truncate(vfs, fd, file_bytes(queue));
        if (status != STATUS_OK)
            close_keeping_errno(queue, fd);
    }
    if (status != STATUS_OK)
        return status;
    queue_files_watch(files_of(queue));
    struct queue_file *file = file_new(queue, number);
    file->fd = fd;
    (void)pthread_mutex_lock(&queue->files_lock);
    CHECK(number == queue->first_file + (int64_t)queue->file_count);
    queue->file_count++;
    uint32_t life = queue->life;
    (void)pthread_mutex_unlock(&queue->files_lock);
    file = link_file(queue, file, life);
    if (file != NULL)
        queue_file_drop(file);
    return STATUS_OK;
}

void queue_file_written(struct queue_file *file, int64_t queue_offset)
{
    (void)pthread_mutex_lock(&file->queue->files_lock);
    file->written_to = queue_offset;
    if (!file->linked) /* was given back meanwhile, when nothing seemed to be unsynced */
        atomic_store(&files_of(file->queue)->unsynced, true);
    (void)pthread_mutex_unlock(&file->queue->files_lock);
}

struct queue_file *queue_files_detach(struct queue *queue, int64_t first, int64_t end)
{
    struct queue_file *detached = NULL;
    struct queue_file *next;
    for (struct queue_file *file = queue->open_files; file != NULL; file = next) {
        next = file->sibling;
        if (file->number < first || file->number >= end)
            continue;
        unlink_file(file);
        file->sibling = detached;
        detached = file;
    }
    return detached;
}

void queue_files_drop_all(struct queue_file *detached)
{
    struct queue_file *next;
    for (; detached != NULL; detached = next) {
        next = detached->sibling;
        queue_file_drop(detached);
    }
}
