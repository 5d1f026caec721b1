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

#define FILL_CHUNK 256    /* entries written at once when filling */
#define BLOCK_ENTRIES 204 /* entries read at once when looking for the end: about a page */
#define PAGE_BYTES 4096

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
    enum status status = queue_file_map(queue, at / file_bytes(queue), out);
    if (status == STATUS_OK)
        *bytes = slice_from(slice_of((*out)->data, (*out)->size), (size_t)(at % file_bytes(queue)));
    return status;
}

enum status queue_acquire_open(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                               struct slice *bytes)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    enum status status = queue_file_mapped(queue, at / file_bytes(queue), out);
    if (status == STATUS_OK)
        *bytes = slice_from(slice_of((*out)->data, (*out)->size), (size_t)(at % file_bytes(queue)));
    return status;
}

int64_t queue_entry_path(const struct queue *queue, int64_t queue_offset, char *path)
{
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    queue_file_path(queue, at / file_bytes(queue), path);
    return at % file_bytes(queue);
}

int64_t queue_next_file_offset(const struct queue *queue, int64_t queue_offset)
{
    return (queue_offset / file_entries(queue) + 1) * file_entries(queue);
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
        enum status status = file_for_writing(queue, at / file_bytes(queue), &file);
        if (status != STATUS_OK)
            return status;
        int64_t room = file_entries(queue) - offset % file_entries(queue);
        int64_t run = end - offset < room ? end - offset : room;
        struct iovec part = {(void *)(uintptr_t)next, (size_t)run * QUEUE_ENTRY_BYTES};
        status = vfs->ops->pwritev(vfs, file->fd, &part, 1, at % file_bytes(queue));
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

/* Only here max_offset changes, so that the sum over all queues is known without a walk. */
static void set_end(struct queue *queue, int64_t offset)
{
    int64_t before = atomic_load_explicit(&queue->max_offset, memory_order_relaxed);
    queue->store->queues.total_offset += offset - before;
    atomic_store_explicit(&queue->max_offset, offset, memory_order_seq_cst);
}

void queue_publish(struct queue *queue)
{
    set_end(queue, queue->written_offset);
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
        new_file |= offset % file_entries(queue) == 0;
        status = file_sync(queue, offset / file_entries(queue));
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
    int64_t first = queue->first_file * file_entries(queue);
    (void)pthread_mutex_lock(&queue->files_lock);
    bool goes_on = queue->synced_offset > first + file_entries(queue);
    (void)pthread_mutex_unlock(&queue->files_lock);
    if (!goes_on)
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
    queue_file_path(queue, queue->first_file, path);
    (void)pthread_mutex_lock(&queue->files_lock);
    struct queue_file *open = queue_files_detach(queue, 0, queue->first_file + 1);
    queue->first_file++;
    queue->file_count--;
    int64_t first_offset = queue->first_file * file_entries(queue);
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
    int64_t first_offset = queue->first_file * file_entries(queue);
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
    if (held > file_entries(queue))
        held = file_entries(queue);
    size_t first = queue_file_first_from(bytes, (size_t)held, min_pos);
    atomic_store(&queue->min_offset, first_offset + (int64_t)first);
    if ((int64_t)first < held)
        atomic_store(&queue->min_pos, queue_entry_pos(bytes.data + first * QUEUE_ENTRY_BYTES));
    queue_file_drop(file);
    return STATUS_OK;
}

/* --- recovery --- */

void queue_adopt_files(struct queue *queue, int64_t first, size_t count)
{
    CHECK(queue->file_count == 0);
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

/* Is there anything but zeros from byte `from` on: in its page, and behind that? */
static enum status find_rest(struct queue *queue, int fd, int64_t from, bool *in_page, bool *behind)
{
    struct vfs *vfs = queue_vfs(queue);
    uint8_t page[PAGE_BYTES];
    int64_t page_end = (from / PAGE_BYTES + 1) * PAGE_BYTES;
    size_t got;
    if (page_end > file_bytes(queue))
        page_end = file_bytes(queue);
    enum status status = vfs->ops->pread(vfs, fd, page, (size_t)(page_end - from), from, &got);
    *in_page = false;
    for (size_t i = 0; status == STATUS_OK && i < got; i++)
        *in_page |= page[i] != 0;
    int64_t end = page_end;
    if (status == STATUS_OK && page_end < file_bytes(queue))
        status = vfs_data_end(vfs, fd, page_end, file_bytes(queue), &end);
    *behind = end > page_end;
    return status;
}

/* Make the file zero from entry `entries` on, when it is not. It becomes durable with the file
 * system (queue_files.unsynced), or here when that cannot be synced. */
static enum status wipe_file(struct queue *queue, const char *path, int fd, size_t entries,
                             struct err *err)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct vfs *vfs = queue_vfs(queue);
    struct queue_files *files = &queue->store->queue_files;
    int64_t from = (int64_t)entries * QUEUE_ENTRY_BYTES;
    int64_t left = file_bytes(queue) - from;
    bool in_page;
    bool behind;
    enum status status = find_rest(queue, fd, from, &in_page, &behind);
    if (status == STATUS_OK && behind) {
        status = vfs->ops->zero(vfs, fd, from, left, false);
    } else if (status == STATUS_OK && in_page) {
        size_t size = PAGE_BYTES - (size_t)(from % PAGE_BYTES);
        struct iovec part = {(void *)(uintptr_t)zeros, size < (uint64_t)left ? size : (size_t)left};
        status = vfs->ops->pwritev(vfs, fd, &part, 1, from);
    }
    if (status == STATUS_OK && (in_page || behind)) {
        if (queue_files_watched(files))
            atomic_store(&files->unsynced, true);
        else
            status = vfs->ops->fdatasync(vfs, fd);
    }
    return status == STATUS_OK ? status : err_set_errno(err, STATUS_IO, "cannot cut %s", path);
}

/* Up to where a queue's entries count, and whether what stands behind them goes. */
struct cut {
    int64_t pos;
    bool wipe;
};

/* A file whose end is looked for, without mapping it: that would take most of the time that opening
 * a store with tens of thousands of queues takes. */
struct scan {
    struct vfs *vfs;
    int fd;
    int64_t cut_pos;
    size_t count; /* entries that the file has room for */
};

static enum status scan_read(const struct scan *scan, size_t first, size_t count, uint8_t *out)
{
    size_t got;
    enum status status = scan->vfs->ops->pread(scan->vfs, scan->fd, out, count * QUEUE_ENTRY_BYTES,
                                               (int64_t)first * QUEUE_ENTRY_BYTES, &got);
    if (status == STATUS_OK && got < count * QUEUE_ENTRY_BYTES) {
        errno = EIO;
        return STATUS_IO;
    }
    return status;
}

static size_t block_end(const struct scan *scan, size_t block)
{
    size_t end = (block + 1) * BLOCK_ENTRIES;
    return end < scan->count ? end : scan->count;
}

/* Does the last entry of a block count? UNSUPPORTED: it is a filler, which cannot tell. */
static enum status scan_last(const struct scan *scan, const uint8_t *entry, bool *counts)
{
    if (queue_entry_is_filler(entry))
        return STATUS_UNSUPPORTED;
    *counts = queue_file_boundary(slice_of(entry, QUEUE_ENTRY_BYTES), scan->cut_pos) == 1;
    return STATUS_OK;
}

/* The block in which the end lies: the first from `low` on whose last entry does not count. Most
 * queues are short, so the steps begin small. Returns as scan_last. */
static enum status scan_blocks(const struct scan *scan, size_t low, size_t *end)
{
    size_t blocks = (scan->count + BLOCK_ENTRIES - 1) / BLOCK_ENTRIES;
    size_t high = blocks; /* from here on none counts to its last entry; before `low` all do */
    size_t step = 1;
    while (low < high) {
        bool bounded = high < blocks || low + step > blocks;
        size_t middle = bounded ? low + (high - low) / 2 : low + step - 1;
        uint8_t entry[QUEUE_ENTRY_BYTES];
        bool counts;
        enum status status = scan_read(scan, block_end(scan, middle) - 1, 1, entry);
        if (status == STATUS_OK)
            status = scan_last(scan, entry, &counts);
        if (status != STATUS_OK)
            return status;
        if (counts)
            low = middle + 1;
        else
            high = middle;
        step *= 2;
    }
    *end = low;
    return STATUS_OK;
}

/* What is to be known of a file. */
struct found {
    size_t entries; /* that count */
    uint8_t first[QUEUE_ENTRY_BYTES];
    uint8_t last[QUEUE_ENTRY_BYTES]; /* of those that count, if there are any */
};

/* Returns as scan_last. */
static enum status scan_file(const struct scan *scan, struct found *found)
{
    uint8_t bytes[BLOCK_ENTRIES * QUEUE_ENTRY_BYTES];
    size_t block = 0;
    size_t count = block_end(scan, 0);
    bool counts;
    enum status status = scan_read(scan, 0, count, bytes);
    if (status == STATUS_OK)
        status = scan_last(scan, bytes + (count - 1) * QUEUE_ENTRY_BYTES, &counts);
    if (status != STATUS_OK)
        return status;
    memcpy(found->first, bytes, QUEUE_ENTRY_BYTES);
    size_t before = 0; /* entries of full blocks */
    if (counts) {
        status = scan_blocks(scan, 1, &block);
        before = block * BLOCK_ENTRIES < scan->count ? block * BLOCK_ENTRIES : scan->count;
        count = before < scan->count ? block_end(scan, block) - before : 0;
        /* With the last entry of the block before. */
        if (status == STATUS_OK)
            status = scan_read(scan, before - 1, 1, found->last);
        if (status == STATUS_OK && count > 0)
            status = scan_read(scan, before, count, bytes);
        if (status != STATUS_OK)
            return status;
    }
    size_t in_block =
        queue_file_boundary(slice_of(bytes, count * QUEUE_ENTRY_BYTES), scan->cut_pos);
    found->entries = before + in_block;
    if (in_block > 0)
        memcpy(found->last, bytes + (in_block - 1) * QUEUE_ENTRY_BYTES, QUEUE_ENTRY_BYTES);
    return STATUS_OK;
}

/* The same through a mapping, whatever is in the file. */
static enum status scan_mapping(const struct scan *scan, struct found *found)
{
    size_t size = scan->count * QUEUE_ENTRY_BYTES;
    void *memory;
    enum status status = scan->vfs->ops->map(scan->vfs, scan->fd, size, false, &memory);
    if (status != STATUS_OK)
        return status;
    found->entries = queue_file_boundary(slice_of(memory, size), scan->cut_pos);
    memcpy(found->first, memory, QUEUE_ENTRY_BYTES);
    if (found->entries > 0)
        memcpy(found->last, (uint8_t *)memory + (found->entries - 1) * QUEUE_ENTRY_BYTES,
               QUEUE_ENTRY_BYTES);
    (void)scan->vfs->ops->unmap(scan->vfs, memory, size);
    return STATUS_OK;
}

static enum status recover_open_file(struct queue *queue, int64_t number, const char *path,
                                     const struct scan *scan, struct found *found, struct err *err)
{
    bool last_file = number - queue->first_file + 1 == (int64_t)queue->file_count;
    enum status status = check_size(queue, scan->fd, path, last_file, err);
    if (status != STATUS_OK)
        return status;
    (void)scan->vfs->ops->advise(scan->vfs, scan->fd, 0, 0, VFS_ADVICE_RANDOM);
    status = scan_file(scan, found);
    if (status == STATUS_UNSUPPORTED)
        status = scan_mapping(scan, found);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot read %s", path);
    queue->last_end_pos = 0;
    if (found->entries > 0)
        queue->last_end_pos = queue_entry_pos(found->last) + queue_entry_size(found->last);
    if (found->entries > 0 && number == queue->first_file && !queue_entry_is_filler(found->first))
        atomic_store(&queue->min_pos, queue_entry_pos(found->first));
    return STATUS_OK;
}

/* How many entries of the file count; what stands behind them is wiped. */
static enum status recover_file(struct queue *queue, int64_t number, const struct cut *cut,
                                size_t *entries, struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    struct scan scan = {vfs, -1, cut->pos, (size_t)file_entries(queue)};
    struct found found = {0};
    char path[PATH_MAX];
    queue_file_path(queue, number, path);
    if (vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &scan.fd) != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot open %s", path);
    enum status status = recover_open_file(queue, number, path, &scan, &found, err);
    if (status == STATUS_OK && cut->wipe)
        status = wipe_file(queue, path, scan.fd, found.entries, err);
    (void)vfs->ops->close(vfs, scan.fd);
    *entries = found.entries;
    return status;
}

static enum status remove_file(struct queue *queue, const char *path, struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    char directory[PATH_MAX];
    queue_directory_path(queue, directory);
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
        queue_file_path(queue, queue->first_file + (int64_t)i, path);
        status = check_size(queue, -1, path, false, err);
    }
    return status;
}

enum status queue_recover(struct queue *queue, int64_t cut_pos, bool wipe, struct err *err)
{
    const struct cut cut = {cut_pos, wipe};
    queue_close_files(queue);
    atomic_store(&queue->min_pos, -1);
    size_t entries = 0;
    size_t i = queue->file_count;
    while (i > 0 && entries == 0) {
        i--;
        enum status status =
            recover_file(queue, queue->first_file + (int64_t)i, &cut, &entries, err);
        if (status != STATUS_OK)
            return status;
        if (entries == 0 && wipe && i > 0) {
            char path[PATH_MAX];
            queue_file_path(queue, queue->first_file + (int64_t)i, path);
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
    set_end(queue, queue->written_offset);
    atomic_store(&queue->min_offset, queue->first_file * file_entries(queue));
    return STATUS_OK;
}
