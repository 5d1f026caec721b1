/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the files of a store: verification ends with an answer, stays inside the files, and
 * counts what it reports. Walks over the log from any position end, and go forward only.
 *
 * Input: one byte (1: not closed, 2: in use), then for each of FILES two bytes of length and the
 * file. Segments of 4096 bytes, queue files of 600, an index of 16 slots and 64 entries.
 */
#include "broker/store/log_view.h"
#include "broker/store/queue_view.h"
#include "broker/store/verify.h"
#include "common/base/check.h"

#include <stdlib.h>

#define SEGMENT_BYTES 4096
#define QUEUE_FILE_BYTES 600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const FILES[] = {
    "s/commitlog/00000000000000000000",
    "s/commitlog/00000000000000004096",
    "s/consumequeue/PlainTopic/0/00000000000000000000",
    "s/consumequeue/PlainTopic/0/00000000000000000600",
    "s/index/20261122204708173",
    "s/checkpoint",
    "s/config/topics.json",
    "s/lock",
    "s/abort",
};
#define FILE_COUNT (sizeof FILES / sizeof FILES[0])
#define FILES_WITH_BYTES 7
#define LOCK_FILE 7
#define ABORT_FILE 8

/* --- a file layer in memory --- */

struct memory_vfs {
    struct vfs vfs; /* first */
    struct slice files[FILE_COUNT];
    bool there[FILE_COUNT];
    bool locked;
};

static struct memory_vfs *memory_of(struct vfs *vfs)
{
    return (struct memory_vfs *)vfs;
}

static enum status memory_open(struct vfs *vfs, const char *path, int flags, int *fd)
{
    CHECK(flags == VFS_READ);
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (memory_of(vfs)->there[i] && strcmp(path, FILES[i]) == 0) {
            *fd = (int)i;
            return STATUS_OK;
        }
    }
    return STATUS_NOT_FOUND;
}

static enum status memory_close(struct vfs *vfs, int fd)
{
    CHECK(fd >= 0 && memory_of(vfs)->there[fd]);
    return STATUS_OK;
}

static enum status memory_pread(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                                size_t *got)
{
    struct slice file = memory_of(vfs)->files[fd];
    CHECK(offset >= 0);
    size_t left = (uint64_t)offset < file.size ? file.size - (size_t)offset : 0;
    *got = left < size ? left : size;
    if (*got > 0)
        memcpy(data, file.data + offset, *got);
    return STATUS_OK;
}

/* A copy of just that size, so that sanitizers see every step over its end. */
static enum status memory_map(struct vfs *vfs, int fd, size_t size, bool writable, void **memory)
{
    struct slice file = memory_of(vfs)->files[fd];
    CHECK(!writable && size > 0 && size <= file.size);
    *memory = xmalloc(size);
    memcpy(*memory, file.data, size);
    return STATUS_OK;
}

static enum status memory_unmap(struct vfs *vfs, void *memory, size_t size)
{
    (void)vfs;
    (void)size;
    free(memory);
    return STATUS_OK;
}

static enum status memory_stat(struct vfs *vfs, const char *path, struct vfs_stat *out)
{
    int fd;
    *out = (struct vfs_stat){.is_directory = strcmp(path, "s") == 0};
    if (out->is_directory)
        return STATUS_OK;
    if (memory_open(vfs, path, VFS_READ, &fd) != STATUS_OK)
        return STATUS_NOT_FOUND;
    out->size = (int64_t)memory_of(vfs)->files[fd].size;
    return STATUS_OK;
}

/* FILES is sorted; a directory comes once for all that is in it. */
static enum status memory_list(struct vfs *vfs, const char *path,
                               void (*each)(void *ctx, const char *name, bool is_directory),
                               void *ctx)
{
    char last[64] = "";
    size_t length = strlen(path);
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (!memory_of(vfs)->there[i] || strncmp(FILES[i], path, length) != 0 ||
            FILES[i][length] != '/')
            continue;
        char name[64];
        const char *rest = FILES[i] + length + 1;
        size_t bytes = strcspn(rest, "/");
        CHECK(bytes < sizeof name);
        memcpy(name, rest, bytes);
        name[bytes] = '\0';
        if (strcmp(name, last) != 0)
            each(ctx, name, rest[bytes] == '/');
        memcpy(last, name, sizeof last);
    }
    return STATUS_OK;
}

static enum status memory_find_data(struct vfs *vfs, int fd, int64_t offset, int64_t *found)
{
    *found = offset;
    return (uint64_t)offset < memory_of(vfs)->files[fd].size ? STATUS_OK : STATUS_NOT_FOUND;
}

static enum status memory_look_at_lock(struct vfs *vfs, int fd)
{
    (void)fd;
    return memory_of(vfs)->locked ? STATUS_BUSY : STATUS_OK;
}

static enum status memory_advise(struct vfs *vfs, int fd, int64_t offset, int64_t size,
                                 enum vfs_advice advice)
{
    (void)vfs;
    (void)fd;
    (void)offset;
    (void)size;
    (void)advice;
    return STATUS_OK;
}

static const struct vfs_ops OPS = {
    .open = memory_open,
    .close = memory_close,
    .pread = memory_pread,
    .map = memory_map,
    .unmap = memory_unmap,
    .stat = memory_stat,
    .list = memory_list,
    .find_data = memory_find_data,
    .look_at_lock = memory_look_at_lock,
    .advise = memory_advise,
};

/* --- the target --- */

static void take_files(struct memory_vfs *memory, struct slice input)
{
    uint8_t flags = input.size > 0 ? input.data[0] : 0;
    input = slice_from(input, input.size > 0 ? 1 : 0);
    for (size_t i = 0; i < FILES_WITH_BYTES; i++) {
        size_t bytes = input.size < 2 ? 0 : get_u16(input.data);
        input = slice_from(input, input.size < 2 ? input.size : 2);
        if (bytes > input.size)
            bytes = input.size;
        memory->files[i] = slice_of(input.data, bytes);
        memory->there[i] = bytes > 0;
        input = slice_from(input, bytes);
    }
    memory->there[LOCK_FILE] = true;
    memory->there[ABORT_FILE] = flags & 1;
    memory->locked = flags & 2;
}

struct counts {
    int64_t damages;
    int64_t notes;
};

static void on_finding(void *ctx, const struct verify_finding *finding)
{
    struct counts *counts = ctx;
    CHECK(finding->text[0] != '\0');
    if (finding->damage)
        counts->damages++;
    else
        counts->notes++;
}

static void verify(const struct store_files *files)
{
    struct counts counts = {0, 0};
    struct verify_options options = {.ctx = &counts, .on_finding = on_finding};
    struct verify_result result;
    CHECK(verify_store(files, &options, &result, NULL) == STATUS_OK);
    CHECK(result.damages == counts.damages && result.notes == counts.notes);
    CHECK(result.log_end >= result.log_begin || result.records == 0);
    CHECK(result.queue_entries <= result.records);
}

static void walk_from(const struct store_files *files, int64_t pos)
{
    struct log_walk walk;
    struct log_item item = {.kind = LOG_ITEM_RECORD};
    log_walk_begin(&walk, files, pos, INT64_MAX, !files->in_use);
    while (item.kind != LOG_ITEM_END) {
        CHECK(log_walk_next(&walk, &item, NULL) == STATUS_OK);
        CHECK(item.kind == LOG_ITEM_END || item.end_pos > item.pos);
    }
    log_walk_release(&walk);
}

static void read_queues(const struct store_files *files)
{
    for (size_t i = 0; i < files->queue_count; i++) {
        struct queue_bounds bounds;
        struct queue_view view;
        const uint8_t *entry;
        CHECK(queue_bounds_find(files, &files->queues[i], 100, !files->in_use, &bounds, NULL) ==
              STATUS_OK);
        CHECK(bounds.min_offset <= bounds.max_offset);
        queue_view_init(&view, files, &files->queues[i], 7);
        for (int64_t offset = bounds.max_offset; offset-- > bounds.first_offset;) {
            if (queue_view_entry(&view, offset, &entry, NULL) == STATUS_OK)
                (void)queue_entry_is_filler(entry);
        }
        queue_view_release(&view);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory_vfs memory = {.vfs = {&OPS}};
    take_files(&memory, slice_of(data, size));
    struct store_files_options options = {
        .root = "s",
        .segment_bytes = SEGMENT_BYTES,
        .queue_file_bytes = QUEUE_FILE_BYTES,
        .index_slots = 16,
        .index_entries = 64,
    };
    struct store_files *files;
    if (store_files_find(&options, &memory.vfs, &files, NULL) != STATUS_OK)
        return 0;
    verify(files);
    if (files->segment_count > 0) {
        walk_from(files, store_files_log_begin(files));
        walk_from(files, store_files_log_begin(files) + (size > 0 ? data[size - 1] : 0));
    }
    read_queues(files);
    store_files_free(files);
    return 0;
}
