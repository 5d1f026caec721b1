/* SPDX-License-Identifier: Apache-2.0
 *
 * The real clock: wall time is the system's, monotonic time never runs back, and both count in the
 * unit their names say.
 */
#include "common/sys/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

static void wall_time_is_the_systems(void **state)
{
    (void)state;
    int64_t before_s = (int64_t)time(NULL);
    int64_t wall_ms = clock_wall_ms(clock_real());
    int64_t after_s = (int64_t)time(NULL);
    /* time() may be one tick of the coarse clock behind. */
    assert_in_range(wall_ms, before_s * 1000, after_s * 1000 + 1999);
}

static void monotonic_time_advances_with_the_kernels(void **state)
{
    (void)state;
    struct timespec ts;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
    int64_t before_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    int64_t first_ns = clock_monotonic_ns(clock_real());
    int64_t second_ns = clock_monotonic_ns(clock_real());
    assert_true(before_ns <= first_ns && first_ns <= second_ns);
    assert_true(second_ns - before_ns < (int64_t)60 * 1000000000);
    assert_in_range(clock_monotonic_ms(clock_real()), second_ns / 1000000,
                    second_ns / 1000000 + 60000);
}

static int64_t fixed_wall_ms(void *ctx)
{
    return *(int64_t *)ctx;
}

static int64_t fixed_monotonic_ns(void *ctx)
{
    return *(int64_t *)ctx * 1000000 + 999999;
}

static void a_clock_is_a_value(void **state)
{
    (void)state;
    int64_t now_ms = 1234;
    struct clock clock = {fixed_wall_ms, fixed_monotonic_ns, &now_ms};
    assert_int_equal(clock_wall_ms(&clock), 1234);
    assert_int_equal(clock_monotonic_ns(&clock), 1234999999);
    assert_int_equal(clock_monotonic_ms(&clock), 1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_time_is_the_systems),
        cmocka_unit_test(monotonic_time_advances_with_the_kernels),
        cmocka_unit_test(a_clock_is_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
