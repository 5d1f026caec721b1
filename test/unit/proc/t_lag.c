/* SPDX-License-Identifier: Apache-2.0
 *
 * The account of reads, taken from what the store gave, and the protection against groups that read
 * too slowly. Source: RMQ 4.9.2 BrokerController.protectBroker; PL-23, LC-04.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/lag.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/store_kit.h"

#include <stdlib.h>

struct world {
    struct kit kit;
    struct broker broker;
    struct broker_loop bl;
    struct arena arena;
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct err err;
    char path[256];
    log_set_level(LOG_ERROR);
    kit_init(&w->kit, "lag");
    w->kit.wall_ms = 1000000;
    kit_start(&w->kit);
    kit_path(&w->kit, "config/subscriptionGroup.json", path);
    w->broker.store = w->kit.store;
    w->broker.clock = &w->kit.clock;
    w->broker.conf.diskFallRecorded = true;
    w->broker.topic_stats = topic_stats_new("C", 0);
    assert_int_equal(groups_load(path, vfs_posix(), clock_real(), &w->broker.groups, &err),
                     STATUS_OK);
    w->bl.broker = &w->broker;
    w->bl.meters = topic_stats_view_new(w->broker.topic_stats);
    arena_init(&w->arena, 4096);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    arena_release(&w->arena);
    topic_stats_view_free(w->bl.meters);
    topic_stats_free(w->broker.topic_stats);
    groups_free(w->broker.groups);
    kit_release(&w->kit);
    free(w);
    return 0;
}

static void read_as(struct world *w, const char *group, int64_t from, int count)
{
    struct get_result got;
    struct get_request request = {
        .queue = kit_queue(&w->kit, "T", 0), .queue_offset = from, .max_messages = count};
    assert_true(store_try_get(w->kit.store, &request, &w->arena, &got));
    lag_count(&w->bl, SLICE_LITERAL("T"), 0, slice_of_cstr(group), &got, 7);
    for (int i = 0; i < got.range_count; i++)
        log_range_release(&got.ranges[i]);
}

static int64_t shown(const struct world *w, const char *table, const char *key)
{
    struct stats_figures figures;
    if (!topic_stats_read(w->broker.topic_stats, slice_of_cstr(table), slice_of_cstr(key),
                          &figures))
        return -1;
    return figures.minute.sum;
}

static void a_read_is_measured(void **state)
{
    struct world *w = *state;
    int64_t ends[3];
    for (int i = 0; i < 3; i++) {
        w->kit.wall_ms = 1000000 + i * 1000;
        ends[i] = kit_put(&w->kit, "T", 0, "body", "").end_pos;
    }
    kit_dispatched(&w->kit);
    w->kit.wall_ms = 1010000;
    /* Two as one range, whose last record's time counts; the place is that of the entry looked at
     * last, which is the third, as in 4.9.2. */
    read_as(w, "G", 0, 2);
    assert_int_equal(shown(w, "GROUP_GET_FALL_SIZE", "0@T@G"), ends[2] - ends[1]);
    assert_int_equal(shown(w, "GROUP_GET_FALL_TIME", "0@T@G"), 9000);
    read_as(w, "H", 0, 1);
    assert_int_equal(shown(w, "GROUP_GET_FALL_SIZE", "0@T@H"), ends[2] - ends[0]);
    read_as(w, "G", 2, 10);
    assert_int_equal(shown(w, "GROUP_GET_FALL_SIZE", "0@T@G"), ends[2] - ends[1]);
    assert_int_equal(shown(w, "GROUP_GET_FALL_TIME", "0@T@G"), 8000);
    read_as(w, "G", 3, 10); /* nothing there: as before */
    assert_int_equal(shown(w, "GROUP_GET_FALL_SIZE", "0@T@G"), ends[2] - ends[1]);
    w->broker.conf.diskFallRecorded = false;
    read_as(w, "G", 0, 1);
    assert_int_equal(shown(w, "GROUP_GET_FALL_SIZE", "0@T@G"), ends[2] - ends[1]);
    assert_int_equal(shown(w, "GROUP_GET_FALL_TIME", "0@T@G"), 10000);
    topic_stats_step(w->broker.topic_stats, 20000);
    assert_int_equal(shown(w, "GROUP_GET_LATENCY", "0@T@G"), 21);
}

static bool may_consume(struct world *w, const char *group)
{
    struct group_config config;
    assert_true(groups_get(w->broker.groups, slice_of_cstr(group), true, &config));
    return config.consume_enable;
}

static void slow_groups_are_stopped(void **state)
{
    struct world *w = *state;
    kit_put_many(&w->kit, "T", 0, 100, 20);
    kit_dispatched(&w->kit);
    assert_true(may_consume(w, "slow") && may_consume(w, "fast"));
    read_as(w, "slow", 0, 1);
    read_as(w, "fast", 15, 5);
    w->broker.conf.consumerFallbehindThreshold = 1000;
    lag_stop_slow_groups(&w->broker, &w->arena);
    assert_true(may_consume(w, "slow")); /* nobody asked for it */
    w->broker.conf.disableConsumeIfConsumerReadSlowly = true;
    lag_stop_slow_groups(&w->broker, &w->arena);
    assert_false(may_consume(w, "slow"));
    assert_true(may_consume(w, "fast"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_read_is_measured, setup, teardown),
        cmocka_unit_test_setup_teardown(slow_groups_are_stopped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
