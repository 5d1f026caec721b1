/* SPDX-License-Identifier: Apache-2.0
 *
 * `depth` is a futex: the sleeping thread raises it from SLEEP_AWAKE and waits for it to change,
 * whoever wakes it sets it back. No mutex stands beside it: a condition variable's costs the thread
 * that wakes one system call more, between an append and the sync that it waits for.
 */
#include "broker/store/sleeper.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void sleeper_init(struct sleeper *sleeper)
{
    atomic_init(&sleeper->depth, SLEEP_AWAKE);
}

void sleeper_prepare(struct sleeper *sleeper, enum sleep_depth depth)
{
    atomic_store_explicit(&sleeper->depth, (int)depth, memory_order_seq_cst);
}

void sleeper_cancel(struct sleeper *sleeper)
{
    atomic_store_explicit(&sleeper->depth, SLEEP_AWAKE, memory_order_seq_cst);
}

void sleeper_wait(struct sleeper *sleeper, int64_t timeout_us)
{
    struct timespec until;
    if (timeout_us >= 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t ns = until.tv_nsec + timeout_us % 1000000 * 1000;
        until.tv_sec += (time_t)(timeout_us / 1000000 + ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
    }
    int depth = atomic_load_explicit(&sleeper->depth, memory_order_seq_cst);
    bool in_time = true;
    while (depth != SLEEP_AWAKE && in_time) {
        /* Returns also without cause; only the time, which is absolute, ends the loop then. */
        in_time = syscall(SYS_futex, &sleeper->depth, FUTEX_WAIT_BITSET_PRIVATE, depth,
                          timeout_us < 0 ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY) == 0 ||
                  errno != ETIMEDOUT;
        depth = atomic_load_explicit(&sleeper->depth, memory_order_seq_cst);
    }
    sleeper_cancel(sleeper);
}

void sleeper_wake_slow(struct sleeper *sleeper)
{
    if (atomic_exchange_explicit(&sleeper->depth, SLEEP_AWAKE, memory_order_seq_cst) != SLEEP_AWAKE)
        (void)syscall(SYS_futex, &sleeper->depth, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
