/* SPDX-License-Identifier: Apache-2.0
 *
 * What may be looked at through a mapping: nothing of the log or a queue before one of these said
 * that it is in memory, or brought it there. Whoever must not wait has no loader, and stops where
 * they say BUSY.
 */
#ifndef BROKER_STORE_REACH_H
#define BROKER_STORE_REACH_H

#include "broker/store/consumequeue.h"
#include "broker/store/segment.h"
#include "common/base/status.h"

struct cold_loader;
struct store;

/* The bytes of a record that say what it is: size, magic, and where it lies. */
#define RECORD_NAME_BYTES (RECORD_PHYSICAL_OFFSET_AT + 8)

/* How far a reader goes for what it needs. */
struct reach {
    struct cold_loader *loader; /* NULL: it must not wait for the disk */
    struct err *err;            /* may be NULL */
};

/* Have [pos, pos + size) of the log in memory; inside one segment and before the end of the log.
 * *end     the position up to which it is known to be, when OK
 * returns  OK | BUSY (it is on disk, and the reader must not wait) | IO */
enum status reach_log_until(struct store *store, struct segment *segment, int64_t pos, int64_t size,
                            const struct reach *reach, int64_t *end);

/* The same without saying how far. */
enum status reach_log(struct store *store, struct segment *segment, int64_t pos, int64_t size,
                      const struct reach *reach);

/* Remember an entry that was seen to be hot, when the one remembered is so no longer. */
void reach_learn_hot(struct queue *queue, int64_t queue_offset, int64_t pos);

/* The file that holds the entry, held; opened first where waiting is allowed, or where it waits for
 * nothing because the file is in use by dispatch.
 * *bytes   from the entry to the file's end
 * returns  OK | as queue_acquire, queue_acquire_open */
enum status reach_file(struct queue *queue, int64_t queue_offset, const struct reach *reach,
                       struct queue_file **file, struct slice *bytes);

/* Have entries from queue_offset on in memory.
 * entries  in: those wanted, at least one, below the queue's end; out: those that may be looked at,
 *          at least one when OK
 * returns  as reach_log_until */
enum status reach_entries(struct queue *queue, const struct queue_file *file, int64_t queue_offset,
                          struct slice *entries, const struct reach *reach);

#endif
