/* SPDX-License-Identifier: Apache-2.0
 *
 * Cold reads on quick and slow disks, with and without messages being written.
 *
 * Source: the contract in broker/store/cold_pace.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/cold_pace.h"
#include "common/base/status.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <time.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MUCH ((size_t)64 * 1024 * 1024)

/* One read at a time for `count` times; how much the last was allowed. */
static size_t reads(struct cold_pace *pace, int count, int64_t took_ns, int64_t *log_end,
                    int64_t log_step)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        *log_end += log_step;
        bytes = cold_pace_begin(pace, MUCH, *log_end, 100 * SECOND + i * took_ns);
        cold_pace_end(pace, bytes, took_ns);
    }
    return bytes;
}

static void a_quick_disk_is_not_held_up(void **state)
{
    (void)state;
    struct cold_pace pace;
    int64_t log_end = 0;
    cold_pace_init(&pace);
    assert_int_equal(reads(&pace, 100, MS, &log_end, 1000), COLD_PACE_BYTES_MAX);
    assert_true(cold_pace_is_free(&pace));
    assert_int_equal(cold_pace_begin(&pace, 1000, log_end, 200 * SECOND), 1000);
    cold_pace_end(&pace, 1000, MS);
    cold_pace_release(&pace);
}

static void a_slow_disk_is_asked_for_little_at_a_time(void **state)
{
    (void)state;
    struct cold_pace pace;
    int64_t log_end = 0;
    cold_pace_init(&pace);
    assert_int_equal(reads(&pace, 100, 20 * MS, &log_end, 1000), COLD_PACE_BYTES_MIN);
    assert_false(cold_pace_is_free(&pace));
    /* In between nothing changes, */
    assert_int_equal(reads(&pace, 10, 2 * MS, &log_end, 1000), COLD_PACE_BYTES_MIN);
    /* and it may become quick. */
    assert_int_equal(reads(&pace, 200, MS, &log_end, 1000), COLD_PACE_BYTES_MAX);
    cold_pace_release(&pace);
}

static void nobody_writes(void **state)
{
    (void)state;
    struct cold_pace pace;
    int64_t log_end = 0;
    cold_pace_init(&pace);
    assert_int_equal(reads(&pace, 100, 20 * MS, &log_end, 1000), COLD_PACE_BYTES_MIN);
    assert_int_equal(reads(&pace, 1, 20 * MS, &log_end, 0), COLD_PACE_BYTES_MIN);
    size_t bytes = cold_pace_begin(&pace, MUCH, log_end, 300 * SECOND);
    assert_int_equal(bytes, COLD_PACE_BYTES_MAX);
    cold_pace_end(&pace, bytes, 20 * MS);
    cold_pace_release(&pace);
}

struct waiter {
    struct cold_pace *pace;
    _Atomic size_t got;
};

static void *begin_one(void *arg)
{
    struct waiter *waiter = arg;
    atomic_store(&waiter->got, cold_pace_begin(waiter->pace, MUCH, 1, 100 * SECOND));
    return NULL;
}

static void one_waits_for_the_other(void **state)
{
    (void)state;
    struct cold_pace pace;
    struct waiter waiter = {.pace = &pace};
    struct err err;
    pthread_t thread;
    int64_t log_end = 0;
    cold_pace_init(&pace);
    (void)reads(&pace, 100, 20 * MS, &log_end, 1000);
    size_t bytes = cold_pace_begin(&pace, MUCH, 1, 100 * SECOND);
    assert_int_equal(bytes, COLD_PACE_BYTES_MIN);
    assert_int_equal(thread_start(&thread, "waiter", begin_one, &waiter, &err), STATUS_OK);
    struct timespec pause = {0, 20 * MS};
    (void)nanosleep(&pause, NULL);
    assert_int_equal(atomic_load(&waiter.got), 0);
    cold_pace_end(&pace, bytes, 20 * MS);
    thread_join(thread);
    assert_int_equal(atomic_load(&waiter.got), COLD_PACE_BYTES_MIN);
    cold_pace_end(&pace, atomic_load(&waiter.got), MS);
    cold_pace_release(&pace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quick_disk_is_not_held_up),
        cmocka_unit_test(a_slow_disk_is_asked_for_little_at_a_time),
        cmocka_unit_test(nobody_writes),
        cmocka_unit_test(one_waits_for_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
