/* SPDX-License-Identifier: Apache-2.0
 *
 * The flush thread: makes appended records durable and reports it.
 *
 * SYNC_FLUSH: woken by appends. One fdatasync covers everything appended before it started, so
 * whatever arrives meanwhile shares the next one. ASYNC_FLUSH: every flush_interval_ms when at
 * least flush_least_pages are new, everything every flush_thorough_interval_ms, and as soon as
 * FLUSH_MOST_BYTES are new; without flush_timed as soon as flush_least_pages are new.
 */
#ifndef BROKER_STORE_FLUSH_H
#define BROKER_STORE_FLUSH_H

#include "broker/store/sleeper.h"
#include "broker/store/store.h"

#include <pthread.h>

#define STORE_PAGE_BYTES 4096
#define FLUSH_MOST_BYTES (INT64_C(64) * 1024 * 1024) /* what a power cut may cost, and a flush */

struct flusher {
    struct store *store;
    pthread_t thread;
    bool running;
    bool sync;
    int64_t least_bytes; /* worth a flush when its time has come */
    int64_t begin_bytes; /* ASYNC_FLUSH: so many begin one before its time */
    _Atomic bool stop;
    _Atomic bool urgent; /* flush the next time, however little is dirty */
    struct sleeper sleeper;
};

void flusher_init(struct flusher *flusher, struct store *store);
enum status flusher_start(struct flusher *flusher, struct err *err);

/* Flush what was appended, then end the thread. */
void flusher_stop(struct flusher *flusher);

/* Flush everything appended so far without waiting for more. Any thread. */
static inline void flusher_hurry(struct flusher *flusher)
{
    atomic_store(&flusher->urgent, true);
    sleeper_wake(&flusher->sleeper, SLEEP_NAP);
}

/* Records were appended, of which dirty_bytes are not durable, or writing has `failed`. */
static inline void flusher_notify(struct flusher *flusher, int64_t dirty_bytes, bool failed)
{
    if (flusher->sync || failed || dirty_bytes >= flusher->begin_bytes)
        sleeper_wake(&flusher->sleeper, SLEEP_NAP);
}

#endif
