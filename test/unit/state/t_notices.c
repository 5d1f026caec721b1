/* SPDX-License-Identifier: Apache-2.0
 *
 * When members hear that their group has changed: at once, but not again within NOTICE_INTERVAL_MS;
 * then once for all changes since; and always after the last change.
 * Source: behaviour CL-04; "at most one change notice per member and 100 ms".
 */
#include "broker/state/notices.h"

#include "state_test.h"

struct fixture {
    struct notices *notices;
    struct arena arena;
    bool awake;
    struct notice *due;
    size_t count;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->notices = notices_new();
    arena_init(&f->arena, 1024);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    notices_free(f->notices);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static bool changed(struct fixture *f, const char *group, int64_t now_ms)
{
    return notices_changed(f->notices, slice_of_cstr(group), false, now_ms, &f->awake);
}

static int64_t step(struct fixture *f, int64_t now_ms)
{
    return notices_step(f->notices, now_ms, &f->arena, &f->due, &f->count);
}

static void one_change_is_told_at_once(void **state)
{
    struct fixture *f = *state;
    assert_true(changed(f, "G", 1000));
    assert_true(f->awake);
    assert_int_equal(step(f, 1001), NOTICE_INTERVAL_MS - 1);
    assert_int_equal(f->count, 0);
    assert_int_equal(step(f, 1000 + NOTICE_INTERVAL_MS), -1);
    assert_int_equal(f->count, 0);
    /* And so is the next one, when it is over. */
    assert_true(changed(f, "G", 1000 + NOTICE_INTERVAL_MS));
    assert_true(f->awake);
}

static void changes_in_between_are_told_once(void **state)
{
    struct fixture *f = *state;
    assert_true(changed(f, "G", 0));
    for (int i = 1; i < NOTICE_INTERVAL_MS; i++) {
        assert_false(changed(f, "G", i));
        assert_false(f->awake);
    }
    assert_int_equal(step(f, NOTICE_INTERVAL_MS), NOTICE_INTERVAL_MS);
    assert_int_equal(f->count, 1);
    assert_true(slice_is(f->due[0].group, "G"));
    assert_false(f->due[0].always);
    /* That notice counts as well. */
    assert_false(changed(f, "G", NOTICE_INTERVAL_MS + 1));
    assert_int_equal(step(f, 2 * NOTICE_INTERVAL_MS), NOTICE_INTERVAL_MS);
    assert_int_equal(f->count, 1);
    assert_int_equal(step(f, 3 * NOTICE_INTERVAL_MS), -1);
    assert_int_equal(f->count, 0);
}

static void groups_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    assert_true(changed(f, "A", 0));
    assert_true(f->awake);
    assert_true(changed(f, "B", 60));
    assert_false(f->awake);
    assert_false(changed(f, "B", 61));
    assert_false(changed(f, "A", 70));
    assert_int_equal(step(f, 100), 60);
    assert_int_equal(f->count, 1);
    assert_true(slice_is(f->due[0].group, "A"));
    assert_int_equal(step(f, 160), 40);
    assert_int_equal(f->count, 1);
    assert_true(slice_is(f->due[0].group, "B"));
}

static void a_late_step_tells_all(void **state)
{
    struct fixture *f = *state;
    char group[16];
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 100; i++) {
            (void)snprintf(group, sizeof group, "G%d", i);
            assert_int_equal(changed(f, group, pass * 10), pass == 0);
        }
    assert_int_equal(step(f, 1000000), NOTICE_INTERVAL_MS);
    assert_int_equal(f->count, 100);
    assert_int_equal(step(f, 1000000 + NOTICE_INTERVAL_MS), -1);
    assert_int_equal(f->count, 0);
}

static void a_closed_connection_overrules_the_switch(void **state)
{
    struct fixture *f = *state;
    assert_true(changed(f, "G", 0));
    assert_false(notices_changed(f->notices, slice_of_cstr("G"), true, 1, &f->awake));
    assert_false(changed(f, "G", 2));
    (void)step(f, NOTICE_INTERVAL_MS);
    assert_int_equal(f->count, 1);
    assert_true(f->due[0].always);
    assert_false(changed(f, "G", NOTICE_INTERVAL_MS + 1));
    (void)step(f, 2 * NOTICE_INTERVAL_MS);
    assert_false(f->due[0].always);
}

/* Threads read the clock before they have the lock. */
static void clocks_of_threads_may_differ(void **state)
{
    struct fixture *f = *state;
    assert_true(changed(f, "A", 10));
    assert_true(changed(f, "B", 8));
    assert_int_equal(step(f, 8), NOTICE_INTERVAL_MS + 2);
    assert_int_equal(step(f, 10 + NOTICE_INTERVAL_MS), -1);
}

/* 200 members come and go for two seconds, and each time the timer is a bit late: what the
 * group is told, and that the last change is not forgotten. */
static void a_group_that_restarts(void **state)
{
    struct fixture *f = *state;
    int64_t told_ms = -1;
    int64_t next_step_ms = -1;
    int64_t last_told_ms = -1;
    int told = 0;
    for (int64_t now_ms = 0; now_ms <= 2000; now_ms++) {
        bool tells = false;
        if (now_ms % 5 == 0 && changed(f, "G", now_ms))
            tells = true;
        if (f->awake && next_step_ms < 0)
            next_step_ms = now_ms + NOTICE_INTERVAL_MS;
        if (next_step_ms >= 0 && now_ms >= next_step_ms + 3) {
            int64_t wait_ms = step(f, now_ms);
            tells |= f->count == 1;
            next_step_ms = wait_ms < 0 ? -1 : now_ms + wait_ms;
        }
        if (tells) {
            assert_true(told_ms < 0 || now_ms - told_ms >= NOTICE_INTERVAL_MS);
            told_ms = now_ms;
            told++;
        }
    }
    assert_true(told >= 19 && told <= 21);
    last_told_ms = told_ms;
    (void)step(f, 2000 + NOTICE_INTERVAL_MS);
    assert_true(last_told_ms >= 2000 || f->count == 1);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_change_is_told_at_once),
        TEST(changes_in_between_are_told_once),
        TEST(groups_do_not_wait_for_each_other),
        TEST(a_late_step_tells_all),
        TEST(a_closed_connection_overrules_the_switch),
        TEST(clocks_of_threads_may_differ),
        TEST(a_group_that_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
