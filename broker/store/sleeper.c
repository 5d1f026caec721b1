/* SPDX-License-Identifier: Apache-2.0
 *
 * `depth` is set by the sleeping thread and reset to SLEEP_AWAKE by whoever wakes it, always under
 * the lock except in sleeper_prepare, which only raises it from SLEEP_AWAKE.
 */
#include "broker/store/sleeper.h"

#include "common/base/check.h"

#include <time.h>

void sleeper_init(struct sleeper *sleeper)
{
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&sleeper->wakened, &attributes) == 0);
    CHECK(pthread_condattr_destroy(&attributes) == 0);
    CHECK(pthread_mutex_init(&sleeper->lock, NULL) == 0);
    atomic_init(&sleeper->depth, SLEEP_AWAKE);
}

void sleeper_release(struct sleeper *sleeper)
{
    (void)pthread_cond_destroy(&sleeper->wakened);
    (void)pthread_mutex_destroy(&sleeper->lock);
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
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    if (timeout_us >= 0) {
        int64_t ns = until.tv_nsec + timeout_us % 1000000 * 1000;
        until.tv_sec += (time_t)(timeout_us / 1000000 + ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
    }
    (void)pthread_mutex_lock(&sleeper->lock);
    int result = 0;
    while (atomic_load(&sleeper->depth) != SLEEP_AWAKE && result == 0) {
        if (timeout_us < 0)
            result = pthread_cond_wait(&sleeper->wakened, &sleeper->lock);
        else
            result = pthread_cond_timedwait(&sleeper->wakened, &sleeper->lock, &until);
    }
    atomic_store(&sleeper->depth, SLEEP_AWAKE);
    (void)pthread_mutex_unlock(&sleeper->lock);
}

void sleeper_wake_slow(struct sleeper *sleeper)
{
    (void)pthread_mutex_lock(&sleeper->lock);
    atomic_store(&sleeper->depth, SLEEP_AWAKE);
    (void)pthread_cond_signal(&sleeper->wakened);
    (void)pthread_mutex_unlock(&sleeper->lock);
}
