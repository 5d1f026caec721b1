/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may end a transaction: one, until the log did not take it; and what is remembered, by how
 * many.
 */
#include "broker/state/transaction_ends.h"

#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#define COMMITTED 8
#define ROLLED_BACK 12
#define THREADS 4
#define TRANSACTIONS 20000

static struct transaction_ends *ends_ready(void)
{
    struct transaction_ends *ends = transaction_ends_new();
    transaction_ends_set_ready(ends);
    return ends;
}

static enum transaction_claim claim(struct transaction_ends *ends, int64_t origin)
{
    struct transaction_end end;
    return transaction_ends_claim(ends, origin, &end);
}

static void settle(struct transaction_ends *ends, int64_t origin, int32_t outcome)
{
    transaction_ends_settle(ends, origin,
                            &(struct transaction_end){outcome, origin + 10, origin + 30});
}

static void one_ends_it(void **state)
{
    (void)state;
    struct transaction_ends *ends = ends_ready();
    struct transaction_end end;
    assert_int_equal(claim(ends, 7), TRANSACTION_YOURS);
    assert_int_equal(claim(ends, 7), TRANSACTION_UNDER_WAY);
    assert_int_equal(claim(ends, 0), TRANSACTION_YOURS);
    assert_false(transaction_ends_has(ends, 7));
    settle(ends, 7, ROLLED_BACK);
    assert_true(transaction_ends_has(ends, 7));
    assert_int_equal(transaction_ends_claim(ends, 7, &end), TRANSACTION_ENDED);
    assert_int_equal(end.outcome, ROLLED_BACK);
    assert_int_equal(end.pos, 17);
    assert_int_equal(end.end_pos, 37);
    settle(ends, 7, COMMITTED); /* the first counts */
    transaction_ends_release(ends, 7);
    assert_int_equal(transaction_ends_claim(ends, 7, &end), TRANSACTION_ENDED);
    assert_int_equal(end.outcome, ROLLED_BACK);
    transaction_ends_free(ends);
}

static void what_the_log_did_not_take_is_open(void **state)
{
    (void)state;
    struct transaction_ends *ends = ends_ready();
    assert_int_equal(claim(ends, 5), TRANSACTION_YOURS);
    transaction_ends_release(ends, 5);
    transaction_ends_release(ends, 6); /* nobody has it */
    assert_false(transaction_ends_has(ends, 5));
    assert_int_equal(claim(ends, 5), TRANSACTION_YOURS);
    assert_int_equal(claim(ends, 6), TRANSACTION_YOURS);
    transaction_ends_free(ends);
}

static void nobody_before_it_is_ready(void **state)
{
    (void)state;
    struct transaction_ends *ends = transaction_ends_new();
    settle(ends, 5, COMMITTED);
    assert_int_equal(claim(ends, 5), TRANSACTION_NOT_READY);
    assert_int_equal(claim(ends, 6), TRANSACTION_NOT_READY);
    transaction_ends_set_ready(ends);
    assert_int_equal(claim(ends, 5), TRANSACTION_ENDED);
    assert_int_equal(claim(ends, 6), TRANSACTION_YOURS);
    transaction_ends_free(ends);
}

/* No end of it can be in the log that is being read. */
static void what_began_since_the_start_need_not_wait(void **state)
{
    (void)state;
    struct transaction_ends *ends = transaction_ends_new();
    transaction_ends_begin_at(ends, 100);
    assert_int_equal(claim(ends, 99), TRANSACTION_NOT_READY);
    assert_int_equal(claim(ends, 100), TRANSACTION_YOURS);
    settle(ends, 100, COMMITTED);
    settle(ends, 99, COMMITTED); /* read back */
    assert_int_equal(claim(ends, 100), TRANSACTION_ENDED);
    assert_int_equal(claim(ends, 99), TRANSACTION_NOT_READY);
    transaction_ends_set_ready(ends);
    assert_int_equal(claim(ends, 99), TRANSACTION_ENDED);
    transaction_ends_free(ends);
}

/* The newest TRANSACTION_ENDS_KEPT, and at most as many again. */
static void the_newest_are_kept(void **state)
{
    (void)state;
    struct transaction_ends *ends = ends_ready();
    const int64_t all = 5 * (int64_t)TRANSACTION_ENDS_KEPT / 2;
    for (int64_t i = 0; i < all; i++)
        settle(ends, i * 300, COMMITTED);
    int64_t kept = 0;
    for (int64_t i = 0; i < all; i++) {
        bool has = transaction_ends_has(ends, i * 300);
        assert_true(has || i < all - TRANSACTION_ENDS_KEPT);
        kept += has;
    }
    assert_true(kept <= 2 * (int64_t)TRANSACTION_ENDS_KEPT);
    transaction_ends_free(ends);
}

struct race {
    struct transaction_ends *ends;
    _Atomic int64_t ended;
};

static void *end_all(void *arg)
{
    struct race *race = arg;
    for (int64_t i = 0; i < TRANSACTIONS; i++) {
        enum transaction_claim got;
        while ((got = claim(race->ends, i)) == TRANSACTION_UNDER_WAY)
            continue;
        if (got != TRANSACTION_YOURS)
            continue;
        if (i % 7 == 0 && !transaction_ends_has(race->ends, TRANSACTIONS + i)) {
            settle(race->ends, TRANSACTIONS + i, COMMITTED); /* the log refuses it once */
            transaction_ends_release(race->ends, i);
            i--;
            continue;
        }
        settle(race->ends, i, COMMITTED);
        atomic_fetch_add(&race->ended, 1);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct race race = {.ends = ends_ready()};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, end_all, &race) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    assert_int_equal(race.ended, TRANSACTIONS);
    transaction_ends_free(race.ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_ends_it),
        cmocka_unit_test(what_the_log_did_not_take_is_open),
        cmocka_unit_test(nobody_before_it_is_ready),
        cmocka_unit_test(what_began_since_the_start_need_not_wait),
        cmocka_unit_test(the_newest_are_kept),
        cmocka_unit_test(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
