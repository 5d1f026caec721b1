/* SPDX-License-Identifier: Apache-2.0
 *
 * A consume queue: 20-byte entries in files of equal size below consumequeue/<topic>/<id>/.
 *
 * Offsets: min_offset <= max_offset == written_offset except while the dispatcher is between
 * writing entries and publishing them. An entry below max_offset never changes, so readers need no
 * lock for the bytes, only a reference to the file (queue_file) that keeps it mapped.
 *
 * Nothing is opened or created until needed: a queue that is only looked up costs its struct. What
 * is open is bounded over all queues (queue_files.h).
 *
 * Who may touch what:
 *     next_offset                        under the log's append_lock
 *     written_offset, last_end_pos,      under the store's dispatch_lock
 *     drop_before_pos, round_...
 *     files                              under files_lock (innermost); files are added, removed
 *                                        and written with dispatch_lock held as well
 *     min_offset, max_offset, interest,  atomics
 *     hot_offset, hot_pos
 */
#ifndef BROKER_STORE_CONSUMEQUEUE_H
#define BROKER_STORE_CONSUMEQUEUE_H

#include "broker/store/consumequeue_format.h"
#include "broker/store/queue_files.h"
#include "broker/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct queue {
    struct store *store;
    struct slice topic; /* NUL-terminated behind its size */
    uint64_t hash;
    uint64_t ends_name; /* of queue_ends */
    int32_t id;

    _Atomic int32_t interest;
    _Atomic(void *) context;
    _Atomic int64_t min_offset;
    _Atomic int64_t max_offset;
    _Atomic int64_t min_pos; /* record of the entry at min_offset; saves looking */

    /* Entries from hot_offset on speak of records at or behind hot_pos (reader.c learns it, and
     * needs it only about right). */
    _Atomic int64_t hot_offset;
    _Atomic int64_t hot_pos;

    int64_t next_offset;

    int64_t written_offset;
    int64_t last_end_pos;    /* end of the record of the last entry */
    int64_t drop_before_pos; /* records before it belong to a deleted life of the topic */
    uint32_t round_count;    /* entries gathered in this round and not written yet */
    uint32_t round_start;    /* and where they start in the staging buffer */
    bool round_touched;      /* is to be published at the end of the round */

    pthread_mutex_t files_lock;
    int64_t first_file;            /* number of the first file: byte first_file * file bytes */
    size_t file_count;             /* the queue has them, open or not */
    struct queue_file *open_files; /* opened and made without the lock */
    int64_t synced_offset;         /* entries before it are durable */
    uint32_t life;                 /* counts queue_destroy_files */

    struct queue *next_dirty; /* under queue_table.dirty_lock */
    bool dirty;
};

/* A new queue, empty, without files. */
struct queue *queue_new(struct store *store, struct slice topic, int32_t id, uint64_t hash);
void queue_free(struct queue *queue);

/* --- dispatch thread, or recovery; dispatch_lock held --- */

/* Write `count` entries behind written_offset. They are readable after queue_publish.
 * returns  OK | FULL | BUSY | IO (nothing counted; may be repeated) */
enum status queue_write(struct queue *queue, const uint8_t *entries, size_t count);
void queue_publish(struct queue *queue);

/* Would writing `count` entries behind written_offset neither open nor make a file, nor read a page
 * of one? */
bool queue_write_is_quick(struct queue *queue, size_t count);

/* Entries for messages that are not there, up to written_offset == queue_offset. In an empty queue
 * this sets the first offset: only the part of its file before it is filled. */
enum status queue_fill(struct queue *queue, int64_t queue_offset);

/* Delete all files; the queue is empty and starts at 0. */
void queue_destroy_files(struct queue *queue);

/* What a sync is to make durable. */
struct queue_sync_target {
    struct queue *queue;
    int64_t offset; /* entries before it */
    uint32_t life;
};

/* The readable entries; *unsynced: how many of them are not durable. */
struct queue_sync_target queue_sync_begin(struct queue *queue, int64_t *unsynced);

/* Make them durable, file by file. One thread at a time; no other lock is needed.
 * returns  OK | BUSY (no descriptor left: try again later) | IO (never try again) */
enum status queue_sync(const struct queue_sync_target *target);

/* They are durable. */
void queue_sync_end(const struct queue_sync_target *target);

/* Move min_offset to the first entry whose record lies at or behind min_pos, and delete files all
 * of whose entries lie before it (never the last).
 * deleted  out: how many
 * returns  OK | what opening a file says (some is left to do: again later) */
enum status queue_expire(struct queue *queue, int64_t min_pos, size_t *deleted);

/* Close all files; they are opened again when needed. Nobody writes the queue meanwhile. */
void queue_close_files(struct queue *queue);

/* --- any thread --- */

/* The file that holds the entry at queue_offset, with a reference, and the bytes from that entry to
 * the end of the file.
 * returns  OK | NOT_FOUND (there is no such file) | BUSY, IO (it cannot be opened now) */
enum status queue_acquire(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                          struct slice *bytes);
/* The same for threads that must not wait: BUSY when the file would have to be opened first. */
enum status queue_acquire_open(struct queue *queue, int64_t queue_offset, struct queue_file **out,
                               struct slice *bytes);

/* The path of the file that holds queue_offset, and where in it the entry lies.
 * path  room for PATH_MAX bytes */
int64_t queue_entry_path(const struct queue *queue, int64_t queue_offset, char *path);

/* First offset of the file behind the one that holds queue_offset. */
int64_t queue_next_file_offset(const struct queue *queue, int64_t queue_offset);

#endif
