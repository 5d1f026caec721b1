/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of a master that a slave may take when its log has come as far. The rules are those of the
 * header.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/pending_table.h"
#include "proto/body.pb-c.h"

/* A table that is told by its counter. */
static bool put(struct pending_table *pending, int64_t counter, int64_t proof_pos)
{
    DataVersion body = DATA_VERSION__INIT;
    body.counter = counter;
    return pending_table_put(pending, &body.base, proof_pos);
}

static int64_t take(struct pending_table *pending)
{
    struct arena arena;
    DataVersion body = DATA_VERSION__INIT;
    arena_init(&arena, 1024);
    assert_int_equal(pending_table_take(pending, &arena, &body.base, NULL), STATUS_OK);
    int64_t counter = body.counter;
    arena_release(&arena);
    return counter;
}

static void ripe_when_the_log_has_come_as_far(void **state)
{
    (void)state;
    struct pending_table pending = {0};
    assert_false(pending_table_is_ripe(&pending, INT64_MAX));
    assert_true(put(&pending, 7, 1000));
    assert_false(pending_table_is_ripe(&pending, 999));
    assert_true(pending_table_is_ripe(&pending, 1000));
    assert_int_equal(take(&pending), 7);
    assert_false(pending_table_is_ripe(&pending, 1000));
    assert_false(pending.more);
    pending_table_release(&pending);
}

/* Else a slave that is always a little behind would take nothing. */
static void a_newer_one_does_not_put_off_the_older(void **state)
{
    (void)state;
    struct pending_table pending = {0};
    assert_true(put(&pending, 1, 1000));
    assert_false(put(&pending, 2, 1000));
    assert_false(put(&pending, 3, 2000));
    assert_true(pending.more);
    assert_int_equal(take(&pending), 1);
    assert_true(pending.more); /* to be asked for again */
    assert_true(put(&pending, 3, 2000));
    assert_false(pending.more);
    pending_table_release(&pending);
}

/* The master has lost the end of its log. */
static void one_for_less_of_the_log_counts(void **state)
{
    (void)state;
    struct pending_table pending = {0};
    assert_true(put(&pending, 1, 1000));
    assert_true(put(&pending, 2, 500));
    assert_true(pending_table_is_ripe(&pending, 500));
    assert_int_equal(take(&pending), 2);
    pending_table_release(&pending);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ripe_when_the_log_has_come_as_far),
        cmocka_unit_test(a_newer_one_does_not_put_off_the_older),
        cmocka_unit_test(one_for_less_of_the_log_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
