/* SPDX-License-Identifier: Apache-2.0
 *
 * Zeros ahead of the end of the log, for SYNC_FLUSH only.
 *
 * A reserved block that is written for the first time costs its fdatasync a commit of the file
 * system's journal, because it must be marked as written. A block that holds zeros already does
 * not: the sync is several times faster (docs/decisions/0006-zeros-ahead.md). So a thread of its
 * own keeps the next ZERO_WINDOW_BYTES behind the end of the log written with zeros, slice by slice
 * and at a bounded rate, and each slice is on its way to the disk before the next: no fdatasync of
 * the log ever has more than one slice of zeros to carry.
 *
 * When much is appended, syncs cover much and what they cost besides hardly counts; then the disk
 * is left to the messages.
 *
 * Each slice is written through a descriptor of its own. Linux tells each open descriptor once
 * that something of the file could not be written: had this thread the log's, it could be told of a
 * lost message, and the sync that the message's acknowledgement waits for would succeed.
 *
 * Zeros never meet a message: a slice is claimed under the append lock well behind the end of the
 * log, and an append that reaches a claimed slice waits for it (commitlog_claim_zeros).
 */
#ifndef BROKER_STORE_ZEROER_H
#define BROKER_STORE_ZEROER_H

#include "broker/store/sleeper.h"
#include "broker/store/store.h"

#include <pthread.h>

#define ZERO_SLICE_BYTES (256 * 1024)
#define ZERO_WINDOW_BYTES (32 * 1024 * 1024)
#define ZERO_BURST_BYTES (8 * 1024 * 1024) /* begun when so much of the window is used up */
#define ZERO_BYTES_PER_SECOND (INT64_C(64) * 1024 * 1024) /* at most */
/* When more is appended the disk is left alone. */
#define ZERO_BUSY_BYTES_PER_SECOND (INT64_C(32) * 1024 * 1024)

struct zeroer {
    struct store *store;
    pthread_t thread;
    bool running;
    _Atomic bool stop;
    struct sleeper sleeper;
    bool failing;             /* the last slice could not be written; said so */
    int64_t zeroed_pos;       /* what is behind the end of the log is zero up to here */
    _Atomic int64_t wake_pos; /* an end of the log at which the thread is to be woken */
    int64_t looked_pos;       /* the end of the log at the last look at the rate, ... */
    int64_t looked_ms;        /* ... its monotonic time ... */
    int64_t bytes_per_second; /* ... and the rate */
    _Atomic int64_t slices;   /* written so far */
};

void zeroer_init(struct zeroer *zeroer, struct store *store);

/* Start the thread, when the store's mode is SYNC_FLUSH. */
enum status zeroer_start(struct zeroer *zeroer, struct err *err);
void zeroer_stop(struct zeroer *zeroer);

/* Write at most one slice; the microseconds until there may be more to do, -1: until the log has
 * grown to wake_pos. The thread's own, or a test's. */
int64_t zeroer_step(struct zeroer *zeroer);

/* The log has grown to `appended_pos`. Any thread. */
static inline void zeroer_notify(struct zeroer *zeroer, int64_t appended_pos)
{
    if (appended_pos >= atomic_load_explicit(&zeroer->wake_pos, memory_order_seq_cst))
        sleeper_wake(&zeroer->sleeper, SLEEP_NAP);
}

#endif
