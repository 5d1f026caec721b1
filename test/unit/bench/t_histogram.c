/* SPDX-License-Identifier: Apache-2.0
 *
 * Percentiles of the load generator are within one per cent of the true ones, whatever their size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/bench/histogram.h"

static struct histogram histogram;
static struct histogram other;

static void assert_near(double actual, double expected)
{
    assert_true(actual >= expected * 0.99 && actual <= expected * 1.01);
}

static void empty_has_no_percentile(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    assert_true(histogram_percentile_us(&histogram, 0.5) == 0);
}

static void percentiles_of_a_ramp(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    for (uint64_t us = 1; us <= 100000; us++)
        histogram_add(&histogram, us * 1000);
    assert_int_equal(histogram.count, 100000);
    assert_near(histogram_percentile_us(&histogram, 0.5), 50000);
    assert_near(histogram_percentile_us(&histogram, 0.99), 99000);
    assert_near(histogram_percentile_us(&histogram, 0.999), 99900);
    assert_near(histogram_percentile_us(&histogram, 1), 100000);
}

static void one_slow_value_is_the_maximum_only(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    for (int i = 0; i < 999; i++)
        histogram_add(&histogram, 100);
    histogram_add(&histogram, 5000000000);
    assert_near(histogram_percentile_us(&histogram, 0.99), 0.1);
    assert_near(histogram_percentile_us(&histogram, 1), 5000000);
    assert_int_equal(histogram.max_ns, 5000000000);
}

static void extremes_stay_inside(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    histogram_add(&histogram, 0);
    histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram.count, 2);
    assert_true(histogram_percentile_us(&histogram, 0.5) == 0);
}

static void merging_adds_counts_and_keeps_the_maximum(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    histogram_clear(&other);
    histogram_add(&histogram, 1000000);
    histogram_add(&other, 3000000);
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 2);
    assert_int_equal(histogram.max_ns, 3000000);
    assert_near(histogram_percentile_us(&histogram, 0.5), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_has_no_percentile),
        cmocka_unit_test(percentiles_of_a_ramp),
        cmocka_unit_test(one_slow_value_is_the_maximum_only),
        cmocka_unit_test(extremes_stay_inside),
        cmocka_unit_test(merging_adds_counts_and_keeps_the_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
