/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks that are not waited for longer than one likes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <stdatomic.h>

struct holder {
    pthread_mutex_t mutex;
    atomic_bool locked;
    atomic_bool let_go;
};

static void *hold(void *arg)
{
    struct holder *holder = arg;
    (void)pthread_mutex_lock(&holder->mutex);
    atomic_store(&holder->locked, true);
    while (!atomic_load(&holder->let_go))
        continue;
    (void)pthread_mutex_unlock(&holder->mutex);
    return NULL;
}

static void a_held_lock_is_given_up_on_in_time(void **state)
{
    (void)state;
    struct holder holder = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct err err = {0};
    pthread_t thread;
    assert_true(mutex_lock_within(&holder.mutex, 0));
    (void)pthread_mutex_unlock(&holder.mutex);
    assert_int_equal(thread_start(&thread, "holder", hold, &holder, &err), STATUS_OK);
    while (!atomic_load(&holder.locked))
        continue;
    int64_t before_ms = clock_monotonic_ms(clock_real());
    assert_false(mutex_lock_within(&holder.mutex, 0));
    assert_false(mutex_lock_within(&holder.mutex, 50));
    assert_true(clock_monotonic_ms(clock_real()) - before_ms >= 49);
    atomic_store(&holder.let_go, true);
    assert_true(mutex_lock_within(&holder.mutex, 60000));
    (void)pthread_mutex_unlock(&holder.mutex);
    thread_join(thread);
    (void)pthread_mutex_destroy(&holder.mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_held_lock_is_given_up_on_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
