/* SPDX-License-Identifier: Apache-2.0
 *
 * Where one background thread sleeps until somebody has work for it, made so that producers pay one
 * atomic load when nobody sleeps.
 *
 *     thread:    sleeper_prepare; look for work again; sleeper_wait (or sleeper_cancel)
 *     producer:  publish the work (seq_cst); sleeper_wake
 *
 * Either the thread sees the work when it looks again, or the producer sees that it sleeps.
 */
#ifndef BROKER_STORE_SLEEPER_H
#define BROKER_STORE_SLEEPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum sleep_depth {
    SLEEP_AWAKE,
    SLEEP_NAP,  /* a short timed sleep that ordinary work need not end */
    SLEEP_DEEP, /* any work ends it */
};

struct sleeper {
    _Atomic int depth; /* enum sleep_depth */
};

void sleeper_init(struct sleeper *sleeper);

/* Announce that the thread is about to sleep; after this it looks for work once more. */
void sleeper_prepare(struct sleeper *sleeper, enum sleep_depth depth);
void sleeper_cancel(struct sleeper *sleeper);

/* Sleep until woken, at most timeout_us (negative: for ever). */
void sleeper_wait(struct sleeper *sleeper, int64_t timeout_us);

/* Wake the thread when it sleeps at least that deep. */
void sleeper_wake_slow(struct sleeper *sleeper);

static inline void sleeper_wake(struct sleeper *sleeper, enum sleep_depth at_least)
{
    if (atomic_load_explicit(&sleeper->depth, memory_order_seq_cst) >= (int)at_least)
        sleeper_wake_slow(sleeper);
}

#endif
