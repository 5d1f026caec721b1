/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk's rule for what is no record: when a whole record stands anywhere behind it, it is
 * damage; else the log ends there. Whole means: mark, structure, checksum and its own position.
 */
#include "broker/store/log_view.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096 /* what a bad disk cannot give is passed over in such steps */
#define RECORD_HEAD_BYTES 40

void log_view_init(struct log_view *view, const struct store_files *files, size_t read_bytes)
{
    *view = (struct log_view){.files = files, .fd = -1, .read_bytes = read_bytes};
}

static void close_segment(struct log_view *view)
{
    if (view->fd != -1)
        (void)view->files->vfs->ops->close(view->files->vfs, view->fd);
    view->fd = -1;
    view->segment = NULL;
    view->size = 0;
}

void log_view_release(struct log_view *view)
{
    close_segment(view);
    free(view->buffer);
    view->buffer = NULL;
}

static enum status open_segment(struct log_view *view, int64_t pos, struct err *err)
{
    struct vfs *vfs = view->files->vfs;
    const struct found_file *segment = store_files_segment(view->files, pos);
    if (segment == NULL)
        return err_set(err, STATUS_NOT_FOUND, "no segment of the commit log has position %lld",
                       (long long)pos);
    if (segment == view->segment)
        return STATUS_OK;
    close_segment(view);
    char path[PATH_MAX];
    store_files_segment_path(view->files, segment, path);
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &view->fd);
    if (status != STATUS_OK) {
        view->fd = -1;
        return err_set_errno(err, status == STATUS_NOT_FOUND ? status : STATUS_IO, "cannot open %s",
                             path);
    }
    if (view->read_bytes >= LOG_VIEW_WALK_BYTES)
        (void)vfs->ops->advise(vfs, view->fd, 0, 0, VFS_ADVICE_SEQUENTIAL);
    view->segment = segment;
    return STATUS_OK;
}

static enum status fill_buffer(struct log_view *view, int64_t pos, size_t want, struct err *err)
{
    struct vfs *vfs = view->files->vfs;
    int64_t at = pos - view->segment->base;
    size_t bytes = want < view->read_bytes ? view->read_bytes : want;
    if (bytes > view->capacity) {
        free(view->buffer);
        view->buffer = xmalloc(bytes);
        view->capacity = bytes;
    }
    view->size = 0;
    view->pos = pos;
    enum status status = vfs->ops->pread(vfs, view->fd, view->buffer, bytes, at, &view->size);
    if (status != STATUS_OK) {
        /* What cannot be read may lie behind what is wanted. */
        size_t rest = (size_t)(PAGE - at % PAGE);
        bytes = want < rest ? rest : want;
        status = vfs->ops->pread(vfs, view->fd, view->buffer, bytes, at, &view->size);
    }
    if (status == STATUS_OK)
        return status;
    view->size = 0;
    char path[PATH_MAX];
    store_files_segment_path(view->files, view->segment, path);
    return err_set_errno(err, STATUS_IO, "cannot read %s at byte %lld", path, (long long)at);
}

enum status log_view_read(struct log_view *view, int64_t pos, size_t want, struct slice *out,
                          struct err *err)
{
    *out = SLICE_EMPTY;
    enum status status = open_segment(view, pos, err);
    if (status != STATUS_OK)
        return status;
    int64_t end = view->segment->base + view->files->segment_bytes;
    if ((int64_t)want > end - pos)
        want = (size_t)(end - pos);
    bool has = view->size > 0 && pos >= view->pos &&
               pos + (int64_t)want <= view->pos + (int64_t)view->size;
    if (!has)
        status = fill_buffer(view, pos, want, err);
    if (status != STATUS_OK)
        return status;
    size_t at = (size_t)(pos - view->pos);
    size_t left = view->size - at;
    /* A file that is longer than it should be has nothing behind its end. */
    if ((int64_t)left > end - pos)
        left = (size_t)(end - pos);
    *out = slice_of(view->buffer + at, left);
    return STATUS_OK;
}

/* Decode what stands at `pos`, reading as much as it takes.
 * decoded  out: record_decode's answer, CORRUPT also for one that belongs to another position
 * returns  that of log_view_read */
static enum status decode_at(struct log_view *view, int64_t pos, enum record_check check,
                             struct record *record, struct slice *bytes, enum status *decoded,
                             struct err *err)
{
    *record = (struct record){.size = 0};
    enum status status = log_view_read(view, pos, RECORD_HEAD_BYTES, bytes, err);
    if (status != STATUS_OK)
        return status;
    *decoded = record_decode(*bytes, check, record);
    if (*decoded == STATUS_TRUNCATED && record->size > 0 && (size_t)record->size > bytes->size) {
        status = log_view_read(view, pos, (size_t)record->size, bytes, err);
        if (status != STATUS_OK)
            return status;
        *decoded = record_decode(*bytes, check, record);
    }
    if (*decoded == STATUS_OK)
        *bytes = slice_of(bytes->data, (size_t)record->size);
    return STATUS_OK;
}

enum status log_view_record(struct log_view *view, int64_t pos, enum record_check check,
                            struct record *record, struct slice *bytes, struct err *err)
{
    struct slice found;
    enum status decoded;
    enum status status = decode_at(view, pos, check, record, &found, &decoded, err);
    if (status != STATUS_OK)
        return status;
    if (decoded != STATUS_OK || record->physical_offset != pos)
        return err_set(err, STATUS_CORRUPT,
                       "no whole record begins at position %lld of the "
                       "commit log",
                       (long long)pos);
    if (bytes != NULL)
        *bytes = found;
    return STATUS_OK;
}

/* --- the walk --- */

void log_walk_begin(struct log_walk *walk, const struct store_files *files, int64_t pos,
                    int64_t limit, bool resting)
{
    log_view_init(&walk->view, files, LOG_VIEW_WALK_BYTES);
    walk->pos = pos;
    walk->limit = limit;
    walk->resting = resting;
}

void log_walk_release(struct log_walk *walk)
{
    log_view_release(&walk->view);
}

static bool is_whole_record(struct log_view *view, int64_t pos)
{
    struct record record;
    return log_view_record(view, pos, RECORD_CHECK_CRC, &record, NULL, NULL) == STATUS_OK;
}

/* The first whole record of the open segment that begins in [from, to); -1: none. */
static int64_t search_segment(struct log_view *view, int64_t from, int64_t to)
{
    static const uint8_t mark[4] = {0xDA, 0xA3, 0x20, 0xA7};
    int64_t at = from;
    while (at + 4 < to) {
        struct slice bytes;
        /* The mark stands four bytes behind the beginning. */
        enum status status = log_view_read(view, at + 4, 4, &bytes, NULL);
        if (status != STATUS_OK) {
            at = at / PAGE * PAGE + PAGE;
            continue;
        }
        const uint8_t *hit =
            bytes.data == NULL ? NULL : memmem(bytes.data, bytes.size, mark, sizeof mark);
        if (hit == NULL) {
            if (bytes.size < 4) /* the end of the file */
                return -1;
            at += (int64_t)bytes.size - 3;
            continue;
        }
        at += hit - bytes.data;
        if (at < to && is_whole_record(view, at))
            return at;
        at++;
    }
    return -1;
}

/* Where anything but zeros ends in the open segment, from `pos` on. */
static int64_t data_end(struct log_view *view, int64_t pos)
{
    struct vfs *vfs = view->files->vfs;
    const struct found_file *segment = view->segment;
    int64_t end = pos - segment->base;
    int64_t to =
        segment->size < view->files->segment_bytes ? segment->size : view->files->segment_bytes;
    if (end >= to)
        return pos;
    if (vfs_data_end(vfs, view->fd, end, to, &end) != STATUS_OK)
        end = to;
    return segment->base + end;
}

/* The segment behind the one that holds `pos`, or NULL. */
static const struct found_file *segment_behind(const struct store_files *files, int64_t pos)
{
    for (size_t i = 0; i < files->segment_count; i++) {
        if (files->segments[i].base > pos)
            return &files->segments[i];
    }
    return NULL;
}

/* The first position behind item->pos at which the log goes on; -1 when it does not. Where what is
 * not zero ends goes to item->end_pos. */
static int64_t search_behind(struct log_walk *walk, struct log_item *item)
{
    struct log_view *view = &walk->view;
    const struct store_files *files = view->files;
    if (open_segment(view, item->pos, NULL) == STATUS_OK) {
        item->end_pos = data_end(view, item->pos);
        int64_t next = search_segment(view, item->pos + 1, item->end_pos);
        if (next != -1)
            return next;
    }
    for (const struct found_file *segment = segment_behind(files, item->pos); segment != NULL;
         segment = segment_behind(files, segment->base)) {
        if (open_segment(view, segment->base, NULL) != STATUS_OK)
            continue;
        int64_t end = data_end(view, segment->base);
        if (search_segment(view, segment->base, end) != -1)
            return segment->base; /* what may stand in front of the record is judged on its own */
        if (end > segment->base)
            item->end_pos = end;
    }
    return -1;
}

/* No record stands at item->pos: find out whether the log goes on, and where. item->why is set. */
static void judge(struct log_walk *walk, struct log_item *item)
{
    bool limited = walk->limit != INT64_MAX;
    item->kind = LOG_ITEM_END;
    item->end_pos = item->pos;
    if (!walk->resting && !limited)
        return;
    int64_t next = search_behind(walk, item);
    if (limited && (next == -1 || next > walk->limit))
        next = walk->limit;
    if (next == -1)
        return;
    item->kind = LOG_ITEM_DAMAGE;
    item->end_pos = next;
}

static void describe(struct log_item *item, enum status decoded, struct slice bytes)
{
    static const uint8_t zeros[8];
    if (bytes.size == 0 || (decoded == STATUS_TRUNCATED && item->record.size == 0))
        (void)snprintf(item->why, sizeof item->why, "the file ends here, before its full size");
    else if (bytes.size >= 8 && memcmp(bytes.data, zeros, 8) == 0)
        (void)snprintf(item->why, sizeof item->why, "there are zeros instead of a record");
    else if (decoded == STATUS_OK)
        (void)snprintf(item->why, sizeof item->why, "a record says that it stands at position %lld",
                       (long long)item->record.physical_offset);
    else if (decoded == STATUS_TRUNCATED)
        (void)snprintf(item->why, sizeof item->why,
                       "a record of %ld bytes reaches over the end of its file",
                       (long)item->record.size);
    else if (decoded == STATUS_NOT_FOUND)
        (void)snprintf(item->why, sizeof item->why, "an end-of-file mark has the wrong size, %ld",
                       (long)item->record.size);
    else
        (void)snprintf(item->why, sizeof item->why, "a record's size, mark or structure is wrong");
}

/* The size of the record that begins at `pos` when these are its first bytes, and zeros stand for
 * those that never came; 0: there is no such record. */
static int32_t begun_size(struct slice bytes, int64_t pos)
{
    uint8_t belongs[RECORD_PHYSICAL_OFFSET_AT + 8];
    size_t came = sizeof belongs;
    if (bytes.size < sizeof belongs)
        return 0;
    while (came > 0 && bytes.data[came - 1] == 0)
        came--;
    memcpy(belongs, bytes.data, sizeof belongs);
    put_u32(belongs + 4, RECORD_MAGIC);
    put_i64(belongs + RECORD_PHYSICAL_OFFSET_AT, pos);
    return memcmp(belongs, bytes.data, came) == 0 ? get_i32(bytes.data) : 0;
}

/* The bytes at item->pos are there; say what they are. */
static void take(struct log_walk *walk, struct log_item *item, enum status decoded)
{
    int64_t segment_end = walk->view.segment->base + walk->view.files->segment_bytes;
    if (decoded == STATUS_OK && item->record.physical_offset == item->pos) {
        struct record again;
        item->kind = LOG_ITEM_RECORD;
        item->end_pos = item->pos + item->record.size;
        item->body_ok = record_decode(item->bytes, RECORD_CHECK_CRC, &again) == STATUS_OK;
        return;
    }
    if (decoded == STATUS_NOT_FOUND && item->pos + item->record.size == segment_end) {
        item->kind = LOG_ITEM_FILLER;
        item->end_pos = segment_end;
        return;
    }
    describe(item, decoded, item->bytes);
    int32_t size = begun_size(item->bytes, item->pos);
    judge(walk, item);
    item->begun = item->kind == LOG_ITEM_END && item->end_pos - item->pos <= size &&
                  size <= segment_end - item->pos - RECORD_FILLER_BYTES;
}

/* No segment has item->pos. */
static void take_gap(struct log_walk *walk, struct log_item *item)
{
    const struct store_files *files = walk->view.files;
    const struct found_file *next = segment_behind(files, item->pos);
    item->kind = LOG_ITEM_END;
    item->end_pos = item->pos;
    if (next == NULL)
        return;
    item->kind = LOG_ITEM_DAMAGE;
    item->end_pos = next->base;
    (void)snprintf(item->why, sizeof item->why, "the segment %020lld is missing",
                   (long long)(next->base - files->segment_bytes));
}

/* The file of item->pos cannot be opened. */
static enum status take_unopened(struct log_walk *walk, struct log_item *item, enum status status)
{
    const struct found_file *segment = store_files_segment(walk->view.files, item->pos);
    if (status != STATUS_NOT_FOUND)
        return status;
    if (segment == NULL) {
        take_gap(walk, item);
        return STATUS_OK;
    }
    item->kind = LOG_ITEM_GONE;
    item->end_pos = segment->base + walk->view.files->segment_bytes;
    return STATUS_OK;
}

enum status log_walk_next(struct log_walk *walk, struct log_item *item, struct err *err)
{
    *item = (struct log_item){.kind = LOG_ITEM_END, .pos = walk->pos, .end_pos = walk->pos};
    if (walk->pos >= walk->limit)
        return STATUS_OK;
    enum status status = open_segment(&walk->view, walk->pos, err);
    if (status != STATUS_OK) {
        status = take_unopened(walk, item, status);
    } else {
        enum status decoded = STATUS_CORRUPT;
        struct err why;
        if (decode_at(&walk->view, walk->pos, RECORD_CHECK_FRAME, &item->record, &item->bytes,
                      &decoded, &why) == STATUS_OK) {
            take(walk, item, decoded);
        } else {
            (void)snprintf(item->why, sizeof item->why, "it cannot be read: %s",
                           strerror(why.sys_errno));
            judge(walk, item);
        }
    }
    if (status == STATUS_OK && item->kind != LOG_ITEM_END)
        walk->pos = item->end_pos;
    return status;
}
