/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the commit log's files without opening the store: bytes at a position, a record at a
 * position, and a walk over everything from one position to another that says of every byte what it
 * is. Reads by pread into one buffer, so that a bad disk gives an error instead of a signal, and
 * memory does not grow with the log.
 *
 * One thread per view.
 */
#ifndef BROKER_STORE_LOG_VIEW_H
#define BROKER_STORE_LOG_VIEW_H

#include "broker/store/store_files.h"
#include "proto/record.h"

#define LOG_VIEW_WALK_BYTES (1024 * 1024) /* read at once when everything is read */
#define LOG_VIEW_LOOK_BYTES 4096          /* when single records are */

struct log_view {
    const struct store_files *files;
    const struct found_file *segment; /* the open one, NULL: none */
    int fd;
    size_t read_bytes;
    uint8_t *buffer;
    size_t capacity;
    int64_t pos; /* of the first byte in the buffer */
    size_t size;
};

/* read_bytes  how much is read at once, at least */
void log_view_init(struct log_view *view, const struct store_files *files, size_t read_bytes);
void log_view_release(struct log_view *view);

/* The bytes at a position: at least `want`, unless their segment's file ends before.
 * out      valid until the next call; empty at the end of the file
 * returns  OK | NOT_FOUND (no segment has that position, or its file is gone) | IO */
enum status log_view_read(struct log_view *view, int64_t pos, size_t want, struct slice *out,
                          struct err *err);

/* The record at a position; its slices are valid until the next call.
 * bytes    out, may be NULL: all of the record
 * returns  OK | NOT_FOUND (no segment) | CORRUPT (no whole record stands there that says so) | IO
 */
enum status log_view_record(struct log_view *view, int64_t pos, enum record_check check,
                            struct record *record, struct slice *bytes, struct err *err);

/* --- the walk --- */

enum log_item_kind {
    LOG_ITEM_RECORD,
    LOG_ITEM_FILLER, /* the closed rest of a segment */
    LOG_ITEM_DAMAGE, /* [pos, end_pos) is nothing, and the log goes on behind it */
    LOG_ITEM_GONE,   /* [pos, end_pos) was in a segment that has been deleted since the look */
    LOG_ITEM_END,    /* the log ends at pos; up to end_pos there is something that is no record */
};

struct log_item {
    enum log_item_kind kind;
    int64_t pos;
    int64_t end_pos;
    struct record record; /* RECORD; its slices are valid until the next step */
    struct slice bytes;   /* RECORD: all of it */
    bool body_ok;         /* RECORD: the body has its checksum */
    bool begun;           /* END: what stands there is the begin of a record that belongs there */
    char why[160];        /* DAMAGE, END with something behind it */
};

struct log_walk {
    struct log_view view;
    int64_t pos;
    int64_t limit; /* the walk ends here */
    bool resting;  /* nobody is writing: what stands behind the end is looked at */
};

/* Walk from `pos`, where a record or a segment begins, to `limit` (INT64_MAX: to the end).
 * resting  false for a store in use: the first thing that is no record is the end */
void log_walk_begin(struct log_walk *walk, const struct store_files *files, int64_t pos,
                    int64_t limit, bool resting);
void log_walk_release(struct log_walk *walk);

/* The next item. After an END there is nothing more.
 * returns  OK | IO (a file cannot be opened; a part that cannot be read is DAMAGE) */
enum status log_walk_next(struct log_walk *walk, struct log_item *item, struct err *err);

#endif
