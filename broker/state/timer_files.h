/* SPDX-License-Identifier: Apache-2.0
 *
 * The pending timers on disk: STORE/timer/<20 digits>, a file for each bucket of ten minutes in
 * which a timer is due (broker/state/timer_format.h). Entries are only ever appended; a file goes
 * when its time is over. All of it can be made again from the commit log.
 *
 * Threads: one appends and scans (the timer's); one syncs and removes (the housekeeper). What both
 * use is under `lock`, a leaf (docs/locks.md: timer_files).
 */
#ifndef BROKER_STATE_TIMER_FILES_H
#define BROKER_STATE_TIMER_FILES_H

#include "broker/state/timer_format.h"
#include "common/sys/vfs.h"

#include <pthread.h>

struct timer_bucket;

struct timer_files {
    struct vfs *vfs;
    char *folder;
    pthread_mutex_t lock;          /* guards the list of buckets and what they say */
    struct timer_bucket **buckets; /* by number */
    size_t count;
    size_t capacity;
    uint64_t clock;   /* orders the use of descriptors */
    size_t open;      /* descriptors */
    uint8_t *scanned; /* the scanning thread's buffer */
};

/* Look what is there.
 * folder   copied; made when the first entry comes
 * returns  OK | IO */
MUST_CHECK enum status timer_files_open(struct timer_files *files, const char *folder,
                                        struct vfs *vfs, struct err *err);
void timer_files_close(struct timer_files *files);

/* Append entries of one bucket with one system call, not synced.
 * returns  OK | FULL | BUSY | IO: nothing counts */
MUST_CHECK enum status timer_files_append(struct timer_files *files, int64_t bucket,
                                          struct slice entries);

/* The first bucket at or after `from`, the last one at or before; -1 when there is none. */
int64_t timer_files_next(struct timer_files *files, int64_t from);
int64_t timer_files_previous(struct timer_files *files, int64_t from);

/* Entries of a bucket, 0 when there is none. */
int64_t timer_files_count(struct timer_files *files, int64_t bucket);
int64_t timer_files_total(struct timer_files *files); /* of all buckets */

/* Call `each` for the entries [from, to) of a bucket. A damaged one has entry == NULL.
 * each     false: no further
 * returns  OK | IO (the file cannot be read) */
typedef bool (*timer_files_each)(void *ctx, int64_t number, const struct timer_entry *entry);
MUST_CHECK enum status timer_files_scan(struct timer_files *files, int64_t bucket, int64_t from,
                                        int64_t to, timer_files_each each, void *ctx);

/* Start-up: what lies in the folder counts for nothing until the saved progress says how many
 * entries of a bucket were durable; what stands behind them is written over.
 * returns  false: the file has fewer, or is not there */
bool timer_files_restore(struct timer_files *files, int64_t bucket, int64_t entries);

/* The same for tools that only look: all that is found counts. */
void timer_files_restore_all(struct timer_files *files);

/* Make everything durable that has been appended when this begins. May wait on disk.
 * returns  OK | BUSY (not now) | IO (for good: what is not durable may be lost) */
MUST_CHECK enum status timer_files_sync(struct timer_files *files);

/* Call `each` for every bucket and its durable entries, in order. Under the lock. */
void timer_files_list(struct timer_files *files,
                      void (*each)(void *ctx, int64_t bucket, int64_t durable), void *ctx);

/* Remove the files of buckets before `bucket`; any number, those that cannot be removed stay. */
void timer_files_remove_before(struct timer_files *files, int64_t bucket);

/* Put a damaged file aside, as NAME.damaged; the bucket is empty then. */
void timer_files_put_aside(struct timer_files *files, int64_t bucket);

#endif
