/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters: rates over 10, 60 and 600 seconds, empty while a window has not passed, the
 * distribution of the last whole minute, and the roll at local midnight.
 * Source: RMQ StoreStatsService.java, BrokerStats.java; behaviour ST-04 to ST-06.
 */
#include "broker/state/stats.h"

#include "state_test.h"

#include <time.h>

/* 2023-11-14 22:13:20 UTC */
#define BOOT_MS 1700000000000

static int setup(void **state)
{
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    *state = stats_new(BOOT_MS);
    return 0;
}

static int teardown(void **state)
{
    stats_free(*state);
    return 0;
}

static void assert_prints(const struct stats *stats,
                          void (*print)(const struct stats *stats, struct buf *out),
                          const char *text)
{
    struct buf out = BUF_EMPTY;
    print(stats, &out);
    buf_append_byte(&out, 0);
    assert_string_equal((const char *)out.data, text);
    buf_release(&out);
}

static void rates_are_empty_until_their_window_has_passed(void **state)
{
    struct stats *stats = *state;
    assert_prints(stats, stats_put_tps, "  ");
    assert_prints(stats, stats_get_total_tps, "0.0 0.0 0.0");
    for (int second = 0; second < 10; second++)
        stats_step(stats, BOOT_MS + second * 1000);
    assert_prints(stats, stats_put_tps, "  ");
    stats_put(stats, 25, 25000);
    stats_step(stats, BOOT_MS + 10000);
    assert_prints(stats, stats_put_tps, "2.5  ");
}

static void rates_are_differences_of_samples(void **state)
{
    struct stats *stats = *state;
    for (int second = 0; second <= 1000; second++) {
        stats_put(stats, second <= 400 ? 0 : 6, 600);
        stats_get(stats, true, 3);
        stats_get(stats, false, 0);
        stats_get(stats, false, 0);
        stats_step(stats, BOOT_MS + second * 1000);
        if (second == 430)
            assert_prints(stats, stats_put_tps, "6.0 3.0 ");
    }
    assert_prints(stats, stats_put_tps, "6.0 6.0 6.0");
    assert_prints(stats, stats_get_found_tps, "1.0 1.0 1.0");
    assert_prints(stats, stats_get_miss_tps, "2.0 2.0 2.0");
    assert_prints(stats, stats_get_total_tps, "3.0 3.0 3.0");
    assert_prints(stats, stats_get_transferred_tps, "3.0 3.0 3.0");
}

/* Called too often it does not sample too often; a clock set back does not stop it. */
static void a_step_samples_once_a_second(void **state)
{
    struct stats *stats = *state;
    for (int tenth = 0; tenth < 100; tenth++)
        stats_step(stats, BOOT_MS + tenth * 100);
    assert_prints(stats, stats_put_tps, "  ");
    stats_step(stats, BOOT_MS + 10000);
    assert_prints(stats, stats_put_tps, "0.0  ");
    stats_put(stats, 1, 1);
    stats_step(stats, BOOT_MS - 3600000);
    assert_prints(stats, stats_put_tps, "0.0  "); /* no time has passed, as far as one can tell */
    for (int second = 1; second <= 10; second++)
        stats_step(stats, BOOT_MS - 3600000 + second * 1000);
    assert_prints(stats, stats_put_tps, "0.0  ");
    stats_put(stats, 10, 1);
    stats_step(stats, BOOT_MS - 3600000 + 11000);
    assert_prints(stats, stats_put_tps, "1.0  ");
}

#define NO_PUTS                                                                  \
    "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 " \
    "[500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 "

static void the_distribution_is_that_of_the_last_whole_minute(void **state)
{
    struct stats *stats = *state;
    static const int64_t took_ms[] = {0,   9,    10,   49,   50,   99,   199,   200,
                                      999, 1000, 2999, 3000, 4999, 9999, 10000, 100000};
    for (size_t i = 0; i < sizeof took_ms / sizeof took_ms[0]; i++)
        stats_put_time(stats, 1, took_ms[i]);
    stats_put_time(stats, 5, -1);
    stats_step(stats, BOOT_MS + 59999);
    assert_prints(stats, stats_put_distribution, NO_PUTS);
    stats_step(stats, BOOT_MS + 60000);
    assert_prints(stats, stats_put_distribution,
                  "[<=0ms]:6 [0~10ms]:1 [10~50ms]:2 [50~100ms]:2 [100~200ms]:1 [200~500ms]:1 "
                  "[500ms~1s]:1 [1~2s]:1 [2~3s]:1 [3~4s]:1 [4~5s]:1 [5~10s]:1 [10s~]:2 ");
    stats_put_time(stats, 3, 1);
    stats_step(stats, BOOT_MS + 120000);
    assert_prints(stats, stats_put_distribution,
                  "[<=0ms]:0 [0~10ms]:3 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 "
                  "[500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ");
    stats_step(stats, BOOT_MS + 180000);
    assert_prints(stats, stats_put_distribution, NO_PUTS);
}

static void totals_add_up(void **state)
{
    struct stats *stats = *state;
    stats_put(stats, 2, 300);
    stats_put(stats, 1, 50);
    stats_put_time(stats, 1, 12);
    stats_put_time(stats, 1, 7);
    stats_get(stats, true, 4);
    stats_get(stats, false, 0);
    stats_get_time(stats, 3);
    stats_get_time(stats, 30);
    stats_get_time(stats, 4);
    struct stats_totals totals = stats_totals(stats);
    assert_int_equal(totals.boot_ms, BOOT_MS);
    assert_int_equal(totals.put_times, 3);
    assert_int_equal(totals.put_bytes, 350);
    assert_int_equal(totals.put_time_max_ms, 12);
    assert_int_equal(totals.get_time_max_ms, 30);
    assert_int_equal(totals.got_messages, 4);
}

static void the_morning_counters_roll_at_midnight(void **state)
{
    struct stats *stats = *state;
    int64_t midnight_ms = BOOT_MS + (86400 - (BOOT_MS / 1000) % 86400) * 1000;
    stats_put(stats, 100, 1);
    stats_get(stats, true, 40);
    stats_step(stats, midnight_ms - 1000);
    assert_int_equal(stats_totals(stats).put_today_morning, 0);
    stats_step(stats, midnight_ms);
    assert_int_equal(stats_totals(stats).put_today_morning, 100);
    assert_int_equal(stats_totals(stats).got_today_morning, 40);
    assert_int_equal(stats_totals(stats).put_yesterday_morning, 0);
    stats_put(stats, 11, 1);
    /* Back over midnight and forth again: the day is rolled once. */
    stats_step(stats, midnight_ms - 5000);
    stats_step(stats, midnight_ms + 5000);
    assert_int_equal(stats_totals(stats).put_today_morning, 100);
    stats_step(stats, midnight_ms + 86400000);
    assert_int_equal(stats_totals(stats).put_yesterday_morning, 100);
    assert_int_equal(stats_totals(stats).got_yesterday_morning, 40);
    assert_int_equal(stats_totals(stats).put_today_morning, 111);
}

/* Days are numbered so that a year's last day precedes the next one's first. */
static void the_roll_works_over_new_year(void **state)
{
    (void)state;
    int64_t new_year_ms = 1704067200000; /* 2024-01-01 00:00:00 UTC */
    struct stats *stats = stats_new(new_year_ms - 1);
    stats_put(stats, 7, 1);
    stats_step(stats, new_year_ms);
    assert_int_equal(stats_totals(stats).put_today_morning, 7);
    stats_free(stats);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rates_are_empty_until_their_window_has_passed),
        TEST(rates_are_differences_of_samples),
        TEST(a_step_samples_once_a_second),
        TEST(the_distribution_is_that_of_the_last_whole_minute),
        TEST(totals_add_up),
        TEST(the_morning_counters_roll_at_midnight),
        TEST(the_roll_works_over_new_year),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
