/* SPDX-License-Identifier: Apache-2.0
 *
 * The flush thread: makes appended records durable and reports it.
 *
 * SYNC_FLUSH: woken by appends. One fdatasync covers everything appended before it started, so
 * whatever arrives meanwhile shares the next one. ASYNC_FLUSH: every flush_interval_ms when at
 * least FLUSH_LEAST_BYTES are dirty, everything every flush_thorough_interval_ms.
 */
#ifndef BROKER_STORE_FLUSH_H
#define BROKER_STORE_FLUSH_H

#include "broker/store/sleeper.h"
#include "broker/store/store.h"

#define FLUSH_LEAST_BYTES 16384 /* flushCommitLogLeastPages: 4 pages */

struct flusher {
    struct store *store;
    pthread_t thread;
    bool running;
    bool sync;
    _Atomic bool stop;
    _Atomic bool urgent; /* flush the next time, however little is dirty */
    struct sleeper sleeper;
};

void flusher_init(struct flusher *flusher, struct store *store);
void flusher_release(struct flusher *flusher);
enum status flusher_start(struct flusher *flusher, struct err *err);

/* Flush what was appended, then end the thread. */
void flusher_stop(struct flusher *flusher);

/* Flush everything appended so far without waiting for more. Any thread. */
static inline void flusher_hurry(struct flusher *flusher)
{
    atomic_store(&flusher->urgent, true);
    sleeper_wake(&flusher->sleeper, SLEEP_NAP);
}

/* Records were appended, or writing has `failed`. */
static inline void flusher_notify(struct flusher *flusher, bool failed)
{
    if (flusher->sync || failed)
        sleeper_wake(&flusher->sleeper, SLEEP_NAP);
}

#endif
