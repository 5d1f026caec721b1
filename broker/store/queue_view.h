/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the files of one consume queue without opening the store: its bounds, and its entries
 * through a window of bounded size.
 *
 * One thread per view.
 */
#ifndef BROKER_STORE_QUEUE_VIEW_H
#define BROKER_STORE_QUEUE_VIEW_H

#include "broker/store/consumequeue_format.h"
#include "broker/store/store_files.h"

struct queue_bounds {
    int64_t first_offset; /* where the first file begins */
    int64_t min_offset;   /* first entry whose record is not before the log's beginning */
    int64_t max_offset;   /* behind the last entry */
    int64_t last_end_pos; /* end of the last entry's record, 0: none */
};

/* Where the queue begins and ends.
 * log_begin  position of the first byte of the log
 * resting    nobody is writing: the end is behind the last byte that is not zero, also when
 *            something before it is damaged. Else it is where entries stop being valid
 * returns    OK | NOT_FOUND (a file has been deleted just now) | IO */
enum status queue_bounds_find(const struct store_files *files, const struct found_queue *queue,
                              int64_t log_begin, bool resting, struct queue_bounds *out,
                              struct err *err);

struct queue_view {
    const struct store_files *files;
    const struct found_queue *queue;
    uint8_t *window;
    size_t capacity; /* entries */
    size_t count;    /* entries in the window */
    int64_t offset;  /* of the first of them */
};

/* window_entries  how many entries are read at once, at least 1 */
void queue_view_init(struct queue_view *view, const struct store_files *files,
                     const struct found_queue *queue, size_t window_entries);
void queue_view_release(struct queue_view *view);

/* The 20 bytes of an entry; valid until the next call.
 * returns  OK | NOT_FOUND (no file has that offset, or it is gone) | IO */
enum status queue_view_entry(struct queue_view *view, int64_t queue_offset, const uint8_t **entry,
                             struct err *err);

/* The file that holds an entry, and at which byte of it the entry lies; also for entries that no
 * file has. */
void queue_view_place(const struct store_files *files, const struct found_queue *queue,
                      int64_t queue_offset, char path[PATH_MAX], int64_t *at);

#endif
