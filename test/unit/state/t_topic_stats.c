/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures per topic and group: differences of samples in three windows (ST-02), the keys of the
 * tables (ST-01), forgetting, and the bound on keys. Source of the expected figures: RMQ
 * common/.../stats/StatsItem.java, computed by hand.
 */
#include "broker/state/topic_stats.h"

#include "state_test.h"

#include <pthread.h>
#include <string.h>

#define BOOT_MS 1000000
#define TEN_S 10000
#define TEN_MINUTES 600000
#define HOUR 3600000

#define S(text) SLICE_LITERAL(text)

static struct stats_figures read_key(const struct topic_stats *stats, const char *table,
                                     const char *key)
{
    struct stats_figures figures;
    assert_true(topic_stats_read(stats, slice_of_cstr(table), slice_of_cstr(key), &figures));
    return figures;
}

static bool exists(const struct topic_stats *stats, const char *table, const char *key)
{
    struct stats_figures figures;
    return topic_stats_read(stats, slice_of_cstr(table), slice_of_cstr(key), &figures);
}

static void put(struct topic_stats_view *view, const char *topic, int64_t messages, int64_t bytes,
                int64_t requests)
{
    topic_stats_put(view, topic_stats_put_meter(view, slice_of_cstr(topic)), messages, bytes,
                    requests);
}

static void figures_are_differences_of_samples(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    put(view, "T", 300, 30000, 100);
    struct stats_figures figures = read_key(stats, "TOPIC_PUT_NUMS", "T");
    assert_int_equal(figures.minute.sum, 0); /* no sample yet */
    topic_stats_step(stats, BOOT_MS + TEN_S);
    figures = read_key(stats, "TOPIC_PUT_NUMS", "T");
    assert_int_equal(figures.minute.sum, 300);
    assert_true(figures.minute.tps == 30.0);
    assert_true(figures.minute.average == 3.0);
    assert_int_equal(figures.hour.sum, 0);
    assert_int_equal(figures.day.sum, 0);
    figures = read_key(stats, "TOPIC_PUT_SIZE", "T");
    assert_int_equal(figures.minute.sum, 30000);
    assert_true(figures.minute.tps == 3000.0);
    assert_true(figures.minute.average == 300.0);
    figures = read_key(stats, "BROKER_PUT_NUMS", "C");
    assert_int_equal(figures.minute.sum, 300);
    assert_true(figures.minute.average == 0); /* as in 4.9.2, which counts no requests here */
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void a_minute_is_the_last_six_intervals(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    int64_t now_ms = BOOT_MS;
    for (int i = 1; i <= 10; i++) {
        put(view, "T", i, i, 1);
        topic_stats_step(stats, now_ms += TEN_S);
    }
    struct stats_figures figures = read_key(stats, "TOPIC_PUT_NUMS", "T");
    assert_int_equal(figures.minute.sum, 5 + 6 + 7 + 8 + 9 + 10);
    assert_true(figures.minute.tps == 45 / 60.0);
    /* Nothing new: the figure falls to 0 after a minute. */
    for (int i = 0; i < 6; i++)
        topic_stats_step(stats, now_ms += TEN_S);
    figures = read_key(stats, "TOPIC_PUT_NUMS", "T");
    assert_int_equal(figures.minute.sum, 0);
    /* Not due: nothing is sampled. */
    put(view, "T", 7, 7, 1);
    topic_stats_step(stats, now_ms + TEN_S - 1);
    assert_int_equal(read_key(stats, "TOPIC_PUT_NUMS", "T").minute.sum, 0);
    topic_stats_step(stats, now_ms + TEN_S);
    assert_int_equal(read_key(stats, "TOPIC_PUT_NUMS", "T").minute.sum, 7);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void hours_and_days_have_windows_of_their_own(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    int64_t now_ms = BOOT_MS;
    for (int i = 0; i < 30; i++) {
        put(view, "T", 10, 100, 10);
        for (int64_t part = 0; part < HOUR; part += TEN_MINUTES)
            topic_stats_step(stats, now_ms += TEN_MINUTES);
    }
    struct stats_figures figures = read_key(stats, "TOPIC_PUT_NUMS", "T");
    assert_int_equal(figures.hour.sum, 10);
    assert_int_equal(figures.day.sum, 240);
    assert_true(figures.day.tps == 240 * 1000.0 / (24.0 * HOUR));
    /* The clock set back: a sample at once, no rate from negative time. */
    topic_stats_step(stats, BOOT_MS);
    assert_true(read_key(stats, "TOPIC_PUT_NUMS", "T").hour.tps == 0);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void groups_and_send_backs_are_counted_by_topic_and_group(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    topic_stats_got(view, S("T"), S("G"), 32, 3200);
    topic_stats_got(view, S("T"), S("G"), 8, 800);
    topic_stats_got(view, S("T"), S("H"), 1, 100);
    topic_stats_sent_back(stats, S("T"), S("G"), S("SCHEDULE_TOPIC_XXXX"), 500);
    topic_stats_step(stats, BOOT_MS + TEN_S);
    assert_int_equal(read_key(stats, "GROUP_GET_NUMS", "T@G").minute.sum, 40);
    assert_true(read_key(stats, "GROUP_GET_NUMS", "T@G").minute.average == 20.0);
    assert_int_equal(read_key(stats, "GROUP_GET_SIZE", "T@G").minute.sum, 4000);
    assert_int_equal(read_key(stats, "GROUP_GET_NUMS", "T@H").minute.sum, 1);
    assert_int_equal(read_key(stats, "BROKER_GET_NUMS", "C").minute.sum, 41);
    assert_int_equal(read_key(stats, "SNDBCK_PUT_NUMS", "T@G").minute.sum, 1);
    assert_int_equal(read_key(stats, "TOPIC_PUT_NUMS", "SCHEDULE_TOPIC_XXXX").minute.sum, 1);
    assert_true(topic_stats_get_tps(stats, S("T"), S("G")) == 4.0);
    assert_true(topic_stats_get_tps(stats, S("T"), S("nobody")) == 0);
    assert_false(exists(stats, "GROUP_GET_NUMS", "T@nobody"));
    assert_false(exists(stats, "NO_SUCH_TABLE", "T"));
    assert_false(exists(stats, "BROKER_PUT_NUMS", "C")); /* nothing was put by a client */
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

/* RT-15. */
static void delayed_messages_are_counted_when_delivered(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    topic_stats_delivered(stats, S("SCHEDULE_TOPIC_XXXX"), S("T"), 300);
    topic_stats_delivered(stats, SLICE_EMPTY, S("T"), 100);
    topic_stats_step(stats, BOOT_MS + TEN_S);
    assert_int_equal(
        read_key(stats, "GROUP_GET_NUMS", "SCHEDULE_TOPIC_XXXX@SCHEDULE_CONSUMER").minute.sum, 1);
    assert_int_equal(
        read_key(stats, "GROUP_GET_SIZE", "SCHEDULE_TOPIC_XXXX@SCHEDULE_CONSUMER").minute.sum, 300);
    assert_int_equal(read_key(stats, "TOPIC_PUT_NUMS", "T").minute.sum, 2);
    assert_int_equal(read_key(stats, "TOPIC_PUT_SIZE", "T").minute.sum, 400);
    assert_int_equal(read_key(stats, "BROKER_PUT_NUMS", "C").minute.sum, 2);
    topic_stats_free(stats);
}

static void queue_got(struct topic_stats_view *view, int32_t queue_id, const char *group,
                      int64_t took_ms, int64_t fall_bytes, int64_t fall_ms)
{
    struct queue_read read = {took_ms, fall_bytes, fall_ms};
    topic_stats_queue_got(view, S("T"), queue_id, slice_of_cstr(group), &read);
}

/* PL-23. */
static void reads_of_queues_are_timed_and_measured(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    queue_got(view, 3, "G", 10, 5000, 700);
    queue_got(view, 3, "G", 0, 4000, -1);
    queue_got(view, 3, "G", -1, -1, 90); /* says nothing about time taken and bytes */
    queue_got(view, 4, "G", 0, 1, 2);
    topic_stats_step(stats, BOOT_MS + TEN_S);
    struct stats_figures latency = read_key(stats, "GROUP_GET_LATENCY", "3@T@G");
    assert_int_equal(latency.minute.sum, 10);
    assert_true(latency.minute.average == 5.0);
    assert_int_equal(read_key(stats, "GROUP_GET_LATENCY", "4@T@G").minute.sum, 0); /* is there */
    assert_int_equal(read_key(stats, "GROUP_GET_FALL_SIZE", "3@T@G").minute.sum, 4000);
    assert_int_equal(read_key(stats, "GROUP_GET_FALL_SIZE", "3@T@G").day.sum, 4000);
    assert_int_equal(read_key(stats, "GROUP_GET_FALL_TIME", "3@T@G").minute.sum, 90);
    assert_int_equal(read_key(stats, "GROUP_GET_FALL_SIZE", "4@T@G").minute.sum, 1);
    assert_false(exists(stats, "GROUP_GET_FALL_SIZE", "5@T@G"));
    assert_false(exists(stats, "GROUP_GET_LATENCY", "T@G"));
    topic_stats_group_deleted(stats, S("G"));
    assert_false(exists(stats, "GROUP_GET_FALL_SIZE", "3@T@G"));
    queue_got(view, 3, "H", 1, 2, 3);
    assert_int_equal(read_key(stats, "GROUP_GET_FALL_SIZE", "3@T@H").minute.sum, 2);
    topic_stats_topic_deleted(stats, S("T"));
    assert_int_equal(topic_stats_count(stats), 0);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void slow_groups_are_found(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    struct slow_group *slow;
    struct arena arena;
    arena_init(&arena, 1024);
    queue_got(view, 0, "fast", 1, 1000, 1);
    queue_got(view, 0, "slow", 1, 1001, 1);
    queue_got(view, 1, "slow", 1, 3, 1);
    assert_int_equal(topic_stats_slow_groups(stats, 1001, &arena, &slow), 0);
    assert_int_equal(topic_stats_slow_groups(stats, 1000, &arena, &slow), 1);
    assert_true(slice_is(slow[0].group, "slow"));
    assert_int_equal(slow[0].fall_bytes, 1001);
    queue_got(view, 0, "slow", 1, 1000, 1); /* it has caught up */
    assert_int_equal(topic_stats_slow_groups(stats, 1000, &arena, &slow), 0);
    arena_release(&arena);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

/* Queues, of which there may be very many, leave room for topics and groups. */
static void queues_take_no_room_from_topics(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    for (int i = 0; i < QUEUE_METERS_MAX + 10; i++)
        queue_got(view, i, "G", 1, 1, 1);
    assert_int_equal(topic_stats_count(stats), QUEUE_METERS_MAX);
    put(view, "late", 1, 1, 1);
    topic_stats_got(view, S("T"), S("late"), 1, 1);
    assert_int_equal(topic_stats_count(stats), QUEUE_METERS_MAX + 2);
    queue_got(view, QUEUE_METERS_MAX, "G", 1, 1, 1);
    assert_int_equal(topic_stats_count(stats), QUEUE_METERS_MAX + 2);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void deleted_topics_and_groups_are_forgotten(void **state)
{
    (void)state;
    static const char topic[] = "T";
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    put(view, topic, 5, 50, 5);
    put(view, "T2", 1, 1, 1);
    topic_stats_got(view, S("T"), S("G"), 5, 50);
    topic_stats_got(view, S("T2"), S("G"), 5, 50);
    topic_stats_got(view, S("T2"), S("G2"), 5, 50);
    assert_int_equal(topic_stats_count(stats), 5);
    topic_stats_topic_deleted(stats, S("T"));
    assert_false(exists(stats, "TOPIC_PUT_NUMS", "T"));
    assert_false(exists(stats, "GROUP_GET_NUMS", "T@G"));
    assert_true(exists(stats, "GROUP_GET_NUMS", "T2@G"));
    topic_stats_group_deleted(stats, S("G"));
    assert_false(exists(stats, "GROUP_GET_NUMS", "T2@G"));
    assert_true(exists(stats, "GROUP_GET_NUMS", "T2@G2"));
    assert_int_equal(topic_stats_count(stats), 2);
    /* The view has seen the topic before; its new life starts at 0. */
    put(view, topic, 3, 30, 3);
    topic_stats_step(stats, BOOT_MS + TEN_S);
    assert_int_equal(read_key(stats, "TOPIC_PUT_NUMS", "T").minute.sum, 3);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void keys_are_bounded_and_idle_ones_make_room(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    struct topic_stats_view *view = topic_stats_view_new(stats);
    char group[32];
    int64_t now_ms = BOOT_MS;
    for (int i = 0; i < METERS_MAX; i++) {
        (void)snprintf(group, sizeof group, "G%d", i);
        topic_stats_got(view, S("T"), slice_of_cstr(group), 1, 1);
    }
    assert_int_equal(topic_stats_count(stats), METERS_MAX);
    topic_stats_got(view, S("T"), S("late"), 1, 1);
    assert_null(topic_stats_put_meter(view, S("late")));
    assert_int_equal(topic_stats_count(stats), METERS_MAX);
    assert_false(exists(stats, "GROUP_GET_NUMS", "T@late"));
    /* After a day in which only one of them is used. */
    for (int i = 0; i < 26; i++) {
        topic_stats_got(view, S("T"), S("G7"), 1, 1);
        topic_stats_step(stats, now_ms += HOUR);
    }
    topic_stats_got(view, S("T"), S("late"), 1, 1);
    assert_true(exists(stats, "GROUP_GET_NUMS", "T@late"));
    assert_true(exists(stats, "GROUP_GET_NUMS", "T@G7"));
    assert_false(exists(stats, "GROUP_GET_NUMS", "T@G8"));
    assert_int_equal(topic_stats_count(stats), 2);
    topic_stats_view_free(view);
    topic_stats_free(stats);
}

static void *count_much(void *arg)
{
    struct topic_stats *stats = arg;
    struct topic_stats_view *view = topic_stats_view_new(stats);
    for (int i = 0; i < 20000; i++) {
        put(view, "T", 1, 10, 1);
        topic_stats_got(view, S("T"), S("G"), 1, 10);
    }
    topic_stats_view_free(view);
    return NULL;
}

static void threads_count_together(void **state)
{
    (void)state;
    struct topic_stats *stats = topic_stats_new("C", BOOT_MS);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, stats), 0);
    for (int i = 0; i < 200; i++) {
        /* Neither sampling nor recycling another topic disturbs them. */
        topic_stats_sent_back(stats, S("other"), S("G"), S("other"), 1);
        topic_stats_step(stats, BOOT_MS + 1);
        topic_stats_topic_deleted(stats, S("other"));
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    topic_stats_step(stats, BOOT_MS + TEN_S);
    assert_int_equal(read_key(stats, "TOPIC_PUT_NUMS", "T").minute.sum, 80000);
    assert_int_equal(read_key(stats, "GROUP_GET_SIZE", "T@G").minute.sum, 800000);
    topic_stats_view_free(topic_stats_view_new(stats));
    topic_stats_free(stats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_differences_of_samples),
        cmocka_unit_test(a_minute_is_the_last_six_intervals),
        cmocka_unit_test(hours_and_days_have_windows_of_their_own),
        cmocka_unit_test(groups_and_send_backs_are_counted_by_topic_and_group),
        cmocka_unit_test(delayed_messages_are_counted_when_delivered),
        cmocka_unit_test(reads_of_queues_are_timed_and_measured),
        cmocka_unit_test(slow_groups_are_found),
        cmocka_unit_test(queues_take_no_room_from_topics),
        cmocka_unit_test(deleted_topics_and_groups_are_forgotten),
        cmocka_unit_test(keys_are_bounded_and_idle_ones_make_room),
        cmocka_unit_test(threads_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
