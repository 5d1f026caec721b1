/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a queue is looked for from its last file on: what counts is an entry whose record lies
 * before the cut, and a file of a queue is full before the next one is made.
 */
#include "broker/store/consumequeue_recover.h"

#include "broker/store/store_internal.h"
#include "common/base/check.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define BLOCK_ENTRIES 204 /* entries read at once when looking for the end: about a page */
#define PAGE_BYTES 4096

void queue_adopt_files(struct queue *queue, int64_t first, size_t count)
{
    CHECK(queue->file_count == 0);
    queue->first_file = first;
    queue->file_count = count;
}

static enum status refuse_size(const struct queue *queue, const char *path, int64_t size,
                               struct err *err)
{
    return err_set(err, STATUS_CORRUPT,
                   "%s has %lld bytes, mappedFileSizeConsumeQueue says %lld: set that option to "
                   "the size the files were written with, or delete %s/consumequeue to have it "
                   "built again from the commit log",
                   path, (long long)size, (long long)queue_file_bytes(queue),
                   queue->store->options.root);
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
    if (st.size == queue_file_bytes(queue))
        return STATUS_OK;
    if (!last || st.size != 0)
        return refuse_size(queue, path, st.size, err);
    status = vfs->ops->truncate(vfs, fd, queue_file_bytes(queue));
    return status == STATUS_OK ? status : err_set_errno(err, STATUS_IO, "cannot extend %s", path);
}

/* Is there anything but zeros from byte `from` on: in its page, and behind that? */
static enum status find_rest(struct queue *queue, int fd, int64_t from, bool *in_page, bool *behind)
{
    struct vfs *vfs = queue_vfs(queue);
    uint8_t page[PAGE_BYTES];
    int64_t page_end = (from / PAGE_BYTES + 1) * PAGE_BYTES;
    size_t got;
    if (page_end > queue_file_bytes(queue))
        page_end = queue_file_bytes(queue);
    enum status status = vfs->ops->pread(vfs, fd, page, (size_t)(page_end - from), from, &got);
    *in_page = false;
    for (size_t i = 0; status == STATUS_OK && i < got; i++)
        *in_page |= page[i] != 0;
    int64_t end = page_end;
    if (status == STATUS_OK && page_end < queue_file_bytes(queue))
        status = vfs_data_end(vfs, fd, page_end, queue_file_bytes(queue), &end);
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
    int64_t left = queue_file_bytes(queue) - from;
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
    struct scan scan = {vfs, -1, cut->pos, (size_t)queue_file_entries(queue)};
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

enum status queue_remove_stray(struct queue *queue, int64_t number, struct err *err)
{
    struct vfs *vfs = queue_vfs(queue);
    char path[PATH_MAX];
    struct vfs_stat st;
    CHECK(number < queue->first_file);
    queue_file_path(queue, number, path);
    if (vfs->ops->stat(vfs, path, &st) != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot examine %s", path);
    /* Of another size, the files between may only seem to be missing. */
    if (st.size != 0 && st.size != queue_file_bytes(queue))
        return refuse_size(queue, path, st.size, err);
    return remove_file(queue, path, err);
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
        (queue->first_file + (int64_t)i) * queue_file_entries(queue) + (int64_t)entries;
    queue->synced_offset = queue->written_offset;
    queue_publish(queue);
    atomic_store(&queue->min_offset, queue->first_file * queue_file_entries(queue));
    return STATUS_OK;
}
