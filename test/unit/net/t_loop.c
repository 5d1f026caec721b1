/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: posted tasks run once and in order, hooks run at the end of every turn and once more
 * behind its tasks, which include those posted meanwhile, timers fire once and can be moved and
 * cancelled, what is left at the end is run by loop_free. Source of the rules: common/net/loop.h.
 */
#include "common/net/loop.h"

#include "net_test.h"

struct numbered {
    struct loop_task task;
    struct record *record;
    int poster;
    int number;
};

#define POSTERS 3
#define POSTS_EACH 2000

struct record {
    struct loop *loop;
    int next[POSTERS];
    _Atomic int ran;
    _Atomic int out_of_order;
    _Atomic int elsewhere;
};

static void run_numbered(struct loop_task *task)
{
    struct numbered *numbered = (struct numbered *)(void *)task;
    struct record *record = numbered->record;
    if (record->next[numbered->poster]++ != numbered->number)
        record->out_of_order++;
    if (!loop_is_current(record->loop))
        record->elsewhere++;
    record->ran++;
    free(numbered);
}

static void post_numbered(struct record *record, int poster, int number)
{
    struct numbered *numbered = calloc(1, sizeof *numbered);
    *numbered = (struct numbered){{NULL, run_numbered}, record, poster, number};
    loop_post(record->loop, &numbered->task);
}

struct poster {
    struct record *record;
    int index;
};

static void *post_many(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < POSTS_EACH; i++)
        post_numbered(poster->record, poster->index, i);
    return NULL;
}

static struct loop *new_loop(void)
{
    struct loop *loop;
    assert_int_equal(loop_new("test", 3, clock_real(), &loop, NULL), STATUS_OK);
    return loop;
}

static void tasks_run_once_in_each_posters_order(void **state)
{
    (void)state;
    struct record record = {.loop = new_loop()};
    assert_int_equal(loop_index(record.loop), 3);
    assert_ptr_equal(loop_clock(record.loop), clock_real());
    /* Some are there before the start. */
    post_numbered(&record, 0, 0);
    assert_int_equal(loop_start(record.loop, NULL), STATUS_OK);
    wait_until(record.ran == 1);
    record.next[0] = 0;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){&record, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    wait_until(record.ran == 1 + POSTERS * POSTS_EACH);
    assert_int_equal(record.out_of_order, 0);
    assert_int_equal(record.elsewhere, 0);
    loop_stop(record.loop);
    loop_free(record.loop);
}

static void tasks_posted_after_the_stop_run_in_free(void **state)
{
    (void)state;
    struct record record = {.loop = new_loop()};
    assert_int_equal(loop_start(record.loop, NULL), STATUS_OK);
    loop_stop(record.loop);
    post_numbered(&record, 0, 0);
    post_numbered(&record, 0, 1);
    assert_int_equal(record.ran, 0);
    loop_free(record.loop);
    assert_int_equal(record.ran, 2);
    assert_int_equal(record.out_of_order, 0);
}

/* A task that posts itself again: each turn runs it once. */
struct again {
    struct loop_task task;
    struct loop *loop;
    _Atomic int left;
    char order[64];
    int order_count;
    _Atomic int hooks_behind;
};

static void run_again(struct loop_task *task)
{
    struct again *again = (struct again *)(void *)task;
    again->order[again->order_count++] = 't';
    if (--again->left > 0)
        loop_post(again->loop, &again->task);
}

static void first_hook(void *ctx)
{
    struct again *again = ctx;
    again->order[again->order_count++] = '1';
}

static void second_hook(void *ctx)
{
    struct again *again = ctx;
    again->order[again->order_count++] = '2';
    if (again->left == 0)
        again->hooks_behind++;
}

static void hooks_run_in_order_before_and_behind_the_tasks_of_every_turn(void **state)
{
    (void)state;
    struct again again = {.task = {NULL, run_again}, .loop = new_loop(), .left = 3};
    loop_on_turn_end(again.loop, first_hook, &again);
    loop_on_turn_end(again.loop, second_hook, &again);
    loop_post(again.loop, &again.task);
    assert_int_equal(loop_start(again.loop, NULL), STATUS_OK);
    wait_until(again.hooks_behind > 0);
    loop_stop(again.loop);
    again.order[11] = '\0';
    assert_string_equal(again.order, "12tt1212t12");
    loop_free(again.loop);
}

struct timers {
    struct loop_task task;
    struct loop *loop;
    struct loop_timer *timer[3];
    int64_t started_ms;
    _Atomic int64_t fired_ms[3];
    _Atomic int fired[3];
};

static struct timers timers;

static void fire(void *ctx)
{
    size_t index = (size_t)(uintptr_t)ctx;
    timers.fired_ms[index] = loop_now_ms(timers.loop);
    timers.fired[index]++;
}

static void set_timers(struct loop_task *task)
{
    (void)task;
    timers.started_ms = loop_now_ms(timers.loop);
    loop_timer_set(timers.timer[0], 60);
    loop_timer_set(timers.timer[1], 20);
    loop_timer_set(timers.timer[1], 120); /* replaces */
    loop_timer_set(timers.timer[2], 30);
    loop_timer_cancel(timers.timer[2]);
}

static void timers_fire_once_and_can_be_moved_and_cancelled(void **state)
{
    (void)state;
    timers.loop = new_loop();
    timers.task.run = set_timers;
    for (size_t i = 0; i < 3; i++)
        timers.timer[i] = loop_timer_new(timers.loop, fire, (void *)(uintptr_t)i);
    assert_int_equal(loop_start(timers.loop, NULL), STATUS_OK);
    loop_post(timers.loop, &timers.task);
    wait_until(timers.fired[0] + timers.fired[1] == 2);
    loop_stop(timers.loop);
    /* libevent's clock is coarse: up to 10 ms early is its right. */
    assert_in_range(timers.fired_ms[0] - timers.started_ms, 50, WAIT_MS);
    assert_in_range(timers.fired_ms[1] - timers.started_ms, 110, WAIT_MS);
    assert_int_equal(timers.fired[0], 1);
    assert_int_equal(timers.fired[1], 1);
    assert_int_equal(timers.fired[2], 0);
    for (size_t i = 0; i < 3; i++)
        loop_timer_free(timers.timer[i]);
    loop_free(timers.loop);
}

static int64_t test_ms = 5000;

static int64_t fixed_wall_ms(void *ctx)
{
    (void)ctx;
    return 0;
}

static int64_t stepping_ns(void *ctx)
{
    (void)ctx;
    return test_ms++ * 1000000;
}

struct two_looks {
    struct loop_task task;
    struct loop *loop;
    int64_t first_ms;
    int64_t second_ms;
    _Atomic int done;
};

static void look_twice(struct loop_task *task)
{
    struct two_looks *looks = (struct two_looks *)(void *)task;
    looks->first_ms = loop_now_ms(looks->loop);
    looks->second_ms = loop_now_ms(looks->loop);
    looks->done = 1;
}

static void time_stands_still_within_a_turn(void **state)
{
    (void)state;
    static const struct clock clock = {fixed_wall_ms, stepping_ns, NULL};
    struct two_looks looks = {.task = {NULL, look_twice}};
    assert_int_equal(loop_new("test", 0, &clock, &looks.loop, NULL), STATUS_OK);
    assert_int_equal(loop_start(looks.loop, NULL), STATUS_OK);
    loop_post(looks.loop, &looks.task);
    wait_until(looks.done);
    loop_stop(looks.loop);
    assert_int_equal(looks.first_ms, looks.second_ms);
    assert_in_range(looks.first_ms, 5000, 6000);
    loop_free(looks.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_once_in_each_posters_order),
        cmocka_unit_test(tasks_posted_after_the_stop_run_in_free),
        cmocka_unit_test(hooks_run_in_order_before_and_behind_the_tasks_of_every_turn),
        cmocka_unit_test(timers_fire_once_and_can_be_moved_and_cancelled),
        cmocka_unit_test(time_stands_still_within_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
