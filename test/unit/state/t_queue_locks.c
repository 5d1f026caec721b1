/* SPDX-License-Identifier: Apache-2.0
 *
 * Queue locks: granted when free, own or expired; refreshed by asking again; given back by unlock
 * of the owner, by its close and by expiry.
 * Source: RMQ RebalanceLockManager.java; behaviour CL-08.
 */
#include "broker/state/queue_locks.h"

#include "state_test.h"

#define LIVE_MS QUEUE_LOCK_MAX_LIVE_MS

static int setup(void **state)
{
    *state = queue_locks_new(LIVE_MS);
    return 0;
}

static int teardown(void **state)
{
    queue_locks_free(*state);
    return 0;
}

static struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static struct conn_ref conn(uint32_t number)
{
    return (struct conn_ref){NULL, number, 1};
}

static bool try(struct queue_locks *locks, const char *client, uint32_t connection, int64_t now_ms)
{
    return queue_locks_try(locks, s("CG"), s("T"), 0, s(client), conn(connection), now_ms);
}

static void one_client_has_it(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    assert_true(try(locks, "a", 1, 1));
    assert_false(try(locks, "b", 2, 2));
    /* Other queues, topics and groups are other locks. */
    assert_true(queue_locks_try(locks, s("CG"), s("T"), 1, s("b"), conn(2), 2));
    assert_true(queue_locks_try(locks, s("CG"), s("U"), 0, s("b"), conn(2), 2));
    assert_true(queue_locks_try(locks, s("DG"), s("T"), 0, s("b"), conn(2), 2));
    assert_true(queue_locks_try(locks, s("CGT"), s(""), 0, s("b"), conn(2), 2));
}

static void asking_again_keeps_it_alive(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    assert_true(try(locks, "a", 1, LIVE_MS));
    assert_false(try(locks, "b", 2, 2 * LIVE_MS)); /* as old as allowed */
    assert_true(try(locks, "b", 2, 2 * LIVE_MS + 1));
    assert_false(try(locks, "a", 1, 2 * LIVE_MS + 2));
}

static void only_the_owner_unlocks(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    queue_locks_unlock(locks, s("CG"), s("T"), 0, s("b"));
    queue_locks_unlock(locks, s("CG"), s("T"), 1, s("a"));
    assert_false(try(locks, "b", 2, 1));
    queue_locks_unlock(locks, s("CG"), s("T"), 0, s("a"));
    assert_true(try(locks, "b", 2, 2));
}

static void a_close_gives_back_what_it_held(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    assert_true(queue_locks_try(locks, s("CG"), s("T"), 1, s("a"), conn(1), 0));
    assert_true(queue_locks_try(locks, s("CG"), s("T"), 2, s("b"), conn(2), 0));
    queue_locks_closed(locks, conn(1));
    assert_true(try(locks, "c", 3, 1));
    assert_true(queue_locks_try(locks, s("CG"), s("T"), 1, s("c"), conn(3), 1));
    assert_false(queue_locks_try(locks, s("CG"), s("T"), 2, s("c"), conn(3), 1));
    queue_locks_closed(locks, conn(1)); /* nothing left */
    assert_false(try(locks, "a", 1, 2));
}

/* A client that has reconnected asks over its new connection; the late close of the old one must
 * not take the lock from it. */
static void a_lock_moves_with_its_client(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    assert_true(try(locks, "a", 2, 1));
    queue_locks_closed(locks, conn(1));
    assert_false(try(locks, "b", 3, 2));
    queue_locks_closed(locks, conn(2));
    assert_true(try(locks, "b", 3, 3));
}

static void the_new_owner_of_an_expired_lock_is_released_by_its_own_close(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    assert_true(try(locks, "b", 2, LIVE_MS + 1));
    queue_locks_closed(locks, conn(1));
    assert_false(try(locks, "a", 3, LIVE_MS + 2));
    queue_locks_closed(locks, conn(2));
    assert_true(try(locks, "a", 3, LIVE_MS + 3));
}

static void expired_locks_are_forgotten(void **state)
{
    struct queue_locks *locks = *state;
    assert_true(try(locks, "a", 1, 0));
    assert_true(queue_locks_try(locks, s("CG"), s("T"), 1, s("a"), conn(1), 10));
    queue_locks_expire(locks, LIVE_MS + 1);
    /* Queue 0 is free for a time at which an entry of 0 would still be alive; queue 1 is not. */
    assert_true(try(locks, "b", 2, 1));
    assert_false(queue_locks_try(locks, s("CG"), s("T"), 1, s("b"), conn(2), 11));
}

static void overlong_names_are_refused(void **state)
{
    struct queue_locks *locks = *state;
    char name[2000];
    memset(name, 'n', sizeof name);
    struct slice large = slice_of(name, sizeof name);
    assert_false(queue_locks_try(locks, large, s("T"), 0, s("a"), conn(1), 0));
    assert_false(queue_locks_try(locks, s("CG"), large, 0, s("a"), conn(1), 0));
    assert_false(queue_locks_try(locks, s("CG"), s("T"), 0, large, conn(1), 0));
    queue_locks_unlock(locks, large, large, 0, large);
    assert_true(try(locks, "a", 1, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_client_has_it),
        TEST(asking_again_keeps_it_alive),
        TEST(only_the_owner_unlocks),
        TEST(a_close_gives_back_what_it_held),
        TEST(a_lock_moves_with_its_client),
        TEST(the_new_owner_of_an_expired_lock_is_released_by_its_own_close),
        TEST(expired_locks_are_forgotten),
        TEST(overlong_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
