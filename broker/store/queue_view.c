/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/queue_view.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- bounds --- */

/* Run `look` over the bytes of a queue file, mapped. */
static enum status with_file(const struct store_files *files, const struct found_queue *queue,
                             size_t i, void (*look)(void *ctx, struct slice bytes), void *ctx,
                             struct err *err)
{
    struct vfs *vfs = files->vfs;
    char path[PATH_MAX];
    int fd;
    store_files_queue_path(files, queue, queue->files[i].base, path);
    int64_t size = queue->files[i].size;
    if (size > files->queue_file_bytes)
        size = files->queue_file_bytes;
    if (size < QUEUE_ENTRY_BYTES) {
        look(ctx, SLICE_EMPTY);
        return STATUS_OK;
    }
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, status == STATUS_NOT_FOUND ? status : STATUS_IO, "cannot open %s",
                             path);
    void *memory;
    status = vfs->ops->map(vfs, fd, (size_t)size, false, &memory);
    if (status == STATUS_OK) {
        look(ctx, slice_of(memory, (size_t)size));
        (void)vfs->ops->unmap(vfs, memory, (size_t)size);
    } else {
        status = err_set_errno(err, STATUS_IO, "cannot map %s", path);
    }
    (void)vfs->ops->close(vfs, fd);
    return status;
}

struct end_search {
    const struct store_files *files;
    size_t entries;
    bool by_data;
    int64_t end_pos;
};

/* The bytes up to the last one that is not zero, in whole entries. */
static size_t written_entries(struct slice bytes)
{
    size_t size = bytes.size;
    while (size >= 8 && memcmp(bytes.data + size - 8, "\0\0\0\0\0\0\0", 8) == 0)
        size -= 8;
    while (size > 0 && bytes.data[size - 1] == 0)
        size--;
    size_t entries = (size + QUEUE_ENTRY_BYTES - 1) / QUEUE_ENTRY_BYTES;
    size_t whole = bytes.size / QUEUE_ENTRY_BYTES;
    return entries < whole ? entries : whole;
}

static void look_for_end(void *ctx, struct slice bytes)
{
    struct end_search *search = ctx;
    search->entries =
        search->by_data ? written_entries(bytes) : queue_file_boundary(bytes, INT64_MAX);
    int64_t last = queue_entry_before(bytes, (int64_t)search->entries - 1);
    search->end_pos = 0;
    if (last < 0)
        return;
    const uint8_t *entry = bytes.data + (size_t)last * QUEUE_ENTRY_BYTES;
    int64_t pos = queue_entry_pos(entry);
    int32_t size = queue_entry_size(entry);
    if (pos >= 0 && size > 0 && pos <= INT64_MAX - size)
        search->end_pos = pos + size;
}

/* Set the size of the file to where its data ends, so that mapping it touches no more than that. */
static enum status data_size(const struct store_files *files, const struct found_queue *queue,
                             size_t i, int64_t *size, struct err *err)
{
    struct vfs *vfs = files->vfs;
    char path[PATH_MAX];
    int fd;
    store_files_queue_path(files, queue, queue->files[i].base, path);
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, status == STATUS_NOT_FOUND ? status : STATUS_IO, "cannot open %s",
                             path);
    int64_t end = *size;
    status = vfs_data_end(vfs, fd, 0, *size, &end);
    if (status != STATUS_OK)
        status = err_set_errno(err, STATUS_IO, "cannot read %s", path);
    *size = end;
    (void)vfs->ops->close(vfs, fd);
    return status;
}

static enum status find_end(const struct store_files *files, const struct found_queue *queue,
                            bool resting, struct queue_bounds *out, struct err *err)
{
    int64_t file_entries = files->queue_file_bytes / QUEUE_ENTRY_BYTES;
    for (size_t i = queue->file_count; i-- > 0;) {
        struct end_search search = {files, 0, resting, 0};
        struct found_file file = queue->files[i];
        enum status status = STATUS_OK;
        if (resting && file.size > 0)
            status = data_size(files, queue, i, &file.size, err);
        /* Up to the end of the entry that the last byte belongs to, as far as the file goes. */
        file.size += QUEUE_ENTRY_BYTES - 1;
        file.size -= file.size % QUEUE_ENTRY_BYTES;
        if (file.size > queue->files[i].size)
            file.size = queue->files[i].size;
        struct found_queue one = {queue->topic, queue->id, &file, 1};
        if (status == STATUS_OK)
            status = with_file(files, &one, 0, look_for_end, &search, err);
        if (status != STATUS_OK)
            return status;
        out->max_offset =
            file.base / files->queue_file_bytes * file_entries + (int64_t)search.entries;
        if (out->last_end_pos == 0)
            out->last_end_pos = search.end_pos;
        if (search.entries > 0)
            return STATUS_OK;
    }
    return STATUS_OK;
}

struct begin_search {
    int64_t log_begin;
    size_t held;
    size_t first;
};

static void look_for_begin(void *ctx, struct slice bytes)
{
    struct begin_search *search = ctx;
    search->first = queue_file_first_from(bytes, search->held, search->log_begin);
}

static enum status find_begin(const struct store_files *files, const struct found_queue *queue,
                              int64_t log_begin, struct queue_bounds *out, struct err *err)
{
    int64_t file_entries = files->queue_file_bytes / QUEUE_ENTRY_BYTES;
    out->min_offset = out->max_offset;
    for (size_t i = 0; i < queue->file_count; i++) {
        int64_t first = queue->files[i].base / files->queue_file_bytes * file_entries;
        int64_t held = out->max_offset - first;
        if (held <= 0)
            return STATUS_OK;
        if (held > file_entries)
            held = file_entries;
        struct begin_search search = {log_begin, (size_t)held, 0};
        enum status status = with_file(files, queue, i, look_for_begin, &search, err);
        if (status != STATUS_OK)
            return status;
        if ((int64_t)search.first < held) {
            out->min_offset = first + (int64_t)search.first;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

enum status queue_bounds_find(const struct store_files *files, const struct found_queue *queue,
                              int64_t log_begin, bool resting, struct queue_bounds *out,
                              struct err *err)
{
    *out = (struct queue_bounds){0, 0, 0, 0};
    if (files->queue_file_bytes < QUEUE_ENTRY_BYTES)
        return STATUS_OK;
    out->first_offset = queue->files[0].base / QUEUE_ENTRY_BYTES;
    enum status status = find_end(files, queue, resting, out, err);
    if (status == STATUS_OK)
        status = find_begin(files, queue, log_begin, out, err);
    return status;
}

/* --- entries --- */

void queue_view_init(struct queue_view *view, const struct store_files *files,
                     const struct found_queue *queue, size_t window_entries)
{
    *view = (struct queue_view){.files = files, .queue = queue, .capacity = window_entries};
}

void queue_view_release(struct queue_view *view)
{
    free(view->window);
    view->window = NULL;
    view->count = 0;
}

static const struct found_file *file_at(const struct found_queue *queue, int64_t at,
                                        int64_t file_bytes)
{
    size_t low = 0;
    size_t high = queue->file_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (queue->files[middle].base <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || at - queue->files[low - 1].base >= file_bytes)
        return NULL;
    return &queue->files[low - 1];
}

static enum status fill_window(struct queue_view *view, int64_t queue_offset, struct err *err)
{
    struct vfs *vfs = view->files->vfs;
    int64_t file_bytes = view->files->queue_file_bytes;
    int64_t at = queue_offset * QUEUE_ENTRY_BYTES;
    const struct found_file *file = file_at(view->queue, at, file_bytes);
    view->count = 0;
    if (file == NULL)
        return err_set(err, STATUS_NOT_FOUND, "no file has that entry");
    if (view->window == NULL)
        view->window = xmalloc(view->capacity * QUEUE_ENTRY_BYTES);
    char path[PATH_MAX];
    int fd;
    store_files_queue_path(view->files, view->queue, file->base, path);
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, status == STATUS_NOT_FOUND ? status : STATUS_IO, "cannot open %s",
                             path);
    size_t want = view->capacity * QUEUE_ENTRY_BYTES;
    if ((int64_t)want > file->base + file_bytes - at)
        want = (size_t)(file->base + file_bytes - at);
    size_t got = 0;
    status = vfs->ops->pread(vfs, fd, view->window, want, at - file->base, &got);
    if (status != STATUS_OK)
        status = err_set_errno(err, STATUS_IO, "cannot read %s at byte %lld", path,
                               (long long)(at - file->base));
    (void)vfs->ops->close(vfs, fd);
    view->offset = queue_offset;
    view->count = status == STATUS_OK ? got / QUEUE_ENTRY_BYTES : 0;
    return status;
}

enum status queue_view_entry(struct queue_view *view, int64_t queue_offset, const uint8_t **entry,
                             struct err *err)
{
    if (queue_offset < 0 || queue_offset > INT64_MAX / QUEUE_ENTRY_BYTES)
        return err_set(err, STATUS_NOT_FOUND, "no file has that entry");
    if (queue_offset < view->offset || queue_offset - view->offset >= (int64_t)view->count) {
        enum status status = fill_window(view, queue_offset, err);
        if (status != STATUS_OK)
            return status;
        if (view->count == 0)
            return err_set(err, STATUS_NOT_FOUND, "the file ends before that entry");
    }
    *entry = view->window + (size_t)(queue_offset - view->offset) * QUEUE_ENTRY_BYTES;
    return STATUS_OK;
}

void queue_view_place(const struct store_files *files, const struct found_queue *queue,
                      int64_t queue_offset, char path[PATH_MAX], int64_t *at)
{
    int64_t byte = queue_offset * QUEUE_ENTRY_BYTES;
    int64_t base = files->queue_file_bytes > 0 ? byte - byte % files->queue_file_bytes : 0;
    store_files_queue_path(files, queue, base, path);
    *at = byte - base;
}
