/* SPDX-License-Identifier: Apache-2.0
 *
 * The open files of all consume queues, of which there may be very many.
 *
 * A file is open in two ways, each for itself: mapped, for reading, and with a descriptor, for
 * writing. Both are opened when first needed. When there are more than may be at once, one that was
 * not used for long is given back (a clock with a second chance); whoever still holds a reference
 * goes on using it. A queue whose files are all closed costs its struct.
 *
 * A descriptor may be given back before what was written through it is durable. The kernel then has
 * nobody to tell that it could not write; `unsynced` says so, and the next sync must be one of the
 * whole file system, through a descriptor that has been open all the time (queue_files_sync). The
 * same makes it durable that a queue's files are deleted.
 *
 * Locks: a file is in the ring exactly as long as it is in its queue's list of open files; both
 * change together under the queue's files_lock, with the ring's lock inside. Files are opened,
 * mapped, unmapped and closed without either.
 */
#ifndef BROKER_STORE_QUEUE_FILES_H
#define BROKER_STORE_QUEUE_FILES_H

#include "common/sys/vfs.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

struct queue;
struct store;

struct queue_file {
    struct queue *queue;
    int64_t number;      /* the file begins at byte number * file bytes of the queue */
    const uint8_t *data; /* read-only mapping; NULL: this one is for writing */
    size_t size;
    int fd; /* for writing; -1: this one is mapped */
    _Atomic int32_t references;
    _Atomic bool used; /* since the clock's hand last passed */

    /* Under files_lock. */
    struct queue_file *sibling; /* next of the queue's open files */
    bool linked;                /* is among them */
    int64_t written_to;         /* queue offset behind what was written through fd */

    struct queue_file *next, *previous; /* in the ring, under its lock */
};

/* The files of one kind. */
struct queue_file_ring {
    pthread_mutex_t lock;
    struct queue_file *hand; /* looked at next; NULL: none */
    size_t count;
    size_t max;
    bool met; /* the bound was reached once */
};

struct queue_files {
    struct store *store;
    struct queue_file_ring mapped;
    struct queue_file_ring writable;
    _Atomic bool unsynced; /* a descriptor was closed before its entries were durable, or a queue's
                              files were deleted */
    _Atomic int sync_fd;   /* the folder of the queues, -1: there is none yet */
};

/* mappings_max, descriptors_max  0: by what the machine allows */
void queue_files_init(struct queue_files *files, struct store *store, int64_t mappings_max,
                      int64_t descriptors_max);

/* All queues have closed their files. */
void queue_files_release(struct queue_files *files);

/* Make everything durable that was written to any queue before the call, with the directories.
 * returns  OK | UNSUPPORTED (sync queue by queue) | IO (never try again) */
enum status queue_files_sync(struct queue_files *files);

/* Keep an eye on the file system of the queues from now on, for queue_files_sync. Called before the
 * first entry is written; cheap when that is done already. */
void queue_files_watch(struct queue_files *files);

/* Is queue_files_sync supported, and reports what has failed since? */
static inline bool queue_files_watched(struct queue_files *files)
{
    return atomic_load(&files->sync_fd) != -1;
}

/* Give back the descriptors that were not used since the last call and have nothing unsynced. */
void queue_files_rest(struct queue_files *files);

/* How many files are open; for tests and figures. */
size_t queue_files_count(struct queue_file_ring *ring);

/* --- one queue's; `number` is that of a file that the queue has --- */

void queue_file_path(const struct queue *queue, int64_t number, char path[PATH_MAX]);
void queue_directory_path(const struct queue *queue, char path[PATH_MAX]);

/* The file mapped, or open for writing, with a reference.
 * returns  OK | NOT_FOUND (there is no such file) | BUSY, IO (it cannot be opened now) */
enum status queue_file_map(struct queue *queue, int64_t number, struct queue_file **out);

/* The same for threads that must not wait: BUSY when it would have to be mapped first and is not
 * open for writing either, so that the disk may have to be asked for its name. */
enum status queue_file_mapped(struct queue *queue, int64_t number, struct queue_file **out);
enum status queue_file_open(struct queue *queue, int64_t number, struct queue_file **out);

/* Make the file `number` behind the last one, empty, of full size, and count it.
 * dispatch_lock held.
 * returns  OK | FULL | BUSY | IO */
enum status queue_file_make(struct queue *queue, int64_t number);

/* The same as queue_file_open when it is open already; NULL otherwise. */
struct queue_file *queue_file_if_open(struct queue *queue, int64_t number);

/* Entries before queue_offset were written through the file's descriptor; said before the reference
 * is given back. */
void queue_file_written(struct queue_file *file, int64_t queue_offset);

/* Give back a reference; the last one unmaps or closes. */
void queue_file_drop(struct queue_file *file);

/* Take the files [first, end) out of the queue's list of open ones. files_lock held.
 * returns  them, linked by `sibling`, for queue_files_drop_all without the lock */
struct queue_file *queue_files_detach(struct queue *queue, int64_t first, int64_t end);
void queue_files_drop_all(struct queue_file *detached);

#endif
