/* SPDX-License-Identifier: Apache-2.0
 *
 * The slaves of a master: the watermark moves by what a slave can have and never goes back, a slave
 * that lies moves nothing, who is in reach is decided by those that are there, and how late a slave
 * is can be seen while the log grows.
 * Source: RMQ 4.9.2 HAService (isSlaveOK, notifyTransferSome); ST10-04, ST10-08.
 */
#include "broker/repl/replicas.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

struct world {
    struct clock clock;
    _Atomic int64_t now_ms;
    _Atomic int moves;
    struct replicas *replicas;
};

static int64_t wall_ms(void *ctx)
{
    return ((struct world *)ctx)->now_ms;
}

static int64_t monotonic_ns(void *ctx)
{
    return ((struct world *)ctx)->now_ms * 1000000;
}

/* The lock is not held: another look is possible. */
static void moved(void *ctx)
{
    struct world *world = ctx;
    struct replica_state list[REPLICAS_MAX];
    (void)replicas_list(world->replicas, list);
    world->moves++;
}

static int setup(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.now_ms = 1000;
    world.clock = (struct clock){wall_ms, monotonic_ns, &world};
    world.replicas = replicas_new(&world.clock, moved, &world);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    replicas_free(((struct world *)*state)->replicas);
    return 0;
}

static int join(struct world *world, int64_t broker_id, int64_t start_pos)
{
    struct replica_identity identity = {.broker_id = broker_id};
    return replicas_join(world->replicas, &identity, start_pos);
}

static void assert_covered(const struct world *world, int64_t from, int64_t to)
{
    struct replica_range range = replicas_covered(world->replicas);
    assert_int_equal(range.from, from);
    assert_int_equal(range.to, to);
    assert_int_equal(replicas_acked_pos(world->replicas), to);
}

static void reports_move_the_watermark(void **state)
{
    struct world *world = *state;
    assert_int_equal(replicas_count(world->replicas), 0);
    int slot = join(world, 1, 100);
    assert_int_equal(replicas_count(world->replicas), 1);
    assert_covered(world, 0, 0); /* where it begins is no report */
    assert_true(replicas_acked(world->replicas, slot, 100, 500));
    assert_covered(world, 0, 100);
    replicas_sent(world->replicas, slot, 300);
    assert_covered(world, 0, 100); /* sent is not received */
    assert_true(replicas_acked(world->replicas, slot, 250, 500));
    assert_covered(world, 0, 250);
    assert_int_equal(world->moves, 2);
    assert_true(replicas_acked(world->replicas, slot, 250, 500)); /* a heartbeat */
    assert_int_equal(world->moves, 2);
}

static void a_slave_that_lies_moves_nothing(void **state)
{
    struct world *world = *state;
    int slot = join(world, 1, 100);
    assert_true(replicas_acked(world->replicas, slot, 100, 1000));
    replicas_sent(world->replicas, slot, 200);
    assert_false(replicas_acked(world->replicas, slot, 201, 1000)); /* was not sent that */
    assert_false(replicas_acked(world->replicas, slot, 99, 1000));  /* had more */
    assert_false(replicas_acked(world->replicas, slot, -5, 1000));
    assert_false(replicas_acked(world->replicas, slot, INT64_MAX, 1000));
    assert_covered(world, 0, 100);
    /* Nor does one that says at once that it has more than there is. */
    int ahead = join(world, 2, 5000);
    assert_false(replicas_acked(world->replicas, ahead, 5000, 1000));
    assert_covered(world, 0, 100);
    assert_int_equal(world->moves, 1);
}

static void the_furthest_slave_counts_and_what_it_had_stays(void **state)
{
    struct world *world = *state;
    int near = join(world, 1, 900);
    int far = join(world, 2, 100);
    assert_true(replicas_acked(world->replicas, near, 900, 1000));
    assert_true(replicas_acked(world->replicas, far, 100, 1000));
    assert_covered(world, 0, 900);
    int moves = world->moves;
    replicas_leave(world->replicas, near);
    assert_int_equal(world->moves, moves + 1);
    assert_covered(world, 0, 900);
    replicas_sent(world->replicas, far, 950);
    assert_true(replicas_acked(world->replicas, far, 800, 1000));
    assert_covered(world, 0, 900);
    assert_true(replicas_acked(world->replicas, far, 950, 1000));
    assert_covered(world, 0, 950);
}

static void who_is_there_is_in_reach(void **state)
{
    struct world *world = *state;
    assert_false(replicas_in_reach(world->replicas, 0, 100)); /* nobody is there */
    int slot = join(world, 1, 500);
    assert_true(replicas_in_reach(world->replicas, 99, 100)); /* a small log, as in 4.9.2 */
    assert_false(replicas_in_reach(world->replicas, 100, 100));
    assert_true(replicas_acked(world->replicas, slot, 500, 1000));
    assert_true(replicas_in_reach(world->replicas, 599, 100));
    assert_false(replicas_in_reach(world->replicas, 600, 100));
    /* One that has left is not in reach, however far it was. */
    int far = join(world, 2, 10);
    assert_true(replicas_acked(world->replicas, far, 10, 1000));
    replicas_leave(world->replicas, slot);
    assert_false(replicas_in_reach(world->replicas, 550, 100));
    replicas_leave(world->replicas, far);
    assert_false(replicas_in_reach(world->replicas, 0, INT64_MAX));
}

/* An empty slave of a 4.9.2 kind begins at the last file: it says nothing of what lies before. */
static void a_log_that_begins_in_the_middle_covers_only_itself(void **state)
{
    struct world *world = *state;
    int old = join(world, 1, 700);
    assert_true(replicas_acked(world->replicas, old, 700, 1500));
    replicas_leave(world->replicas, old);
    struct replica_identity identity = {.broker_id = -1, .begins_pos = 1000};
    int empty = replicas_join(world->replicas, &identity, 1000);
    assert_true(replicas_acked(world->replicas, empty, 0, 1500));
    assert_true(replicas_acked(world->replicas, empty, 1000, 1500)); /* nothing yet */
    assert_covered(world, 0, 700);
    replicas_sent(world->replicas, empty, 1200);
    assert_true(replicas_acked(world->replicas, empty, 1200, 1500));
    assert_covered(world, 1000, 1200);
    /* Beginning where something is covered adds to it. */
    identity.begins_pos = 1100;
    int other = replicas_join(world->replicas, &identity, 1100);
    replicas_sent(world->replicas, other, 1300);
    assert_true(replicas_acked(world->replicas, other, 1300, 1500));
    assert_covered(world, 1000, 1300);
    /* So does one that has all, once it has come so far. */
    int whole = join(world, 3, 0);
    replicas_sent(world->replicas, whole, 1500);
    assert_true(replicas_acked(world->replicas, whole, 999, 1500));
    assert_covered(world, 1000, 1300);
    int moves = world->moves;
    assert_true(replicas_acked(world->replicas, whole, 1000, 1500));
    assert_covered(world, 0, 1300);
    assert_int_equal(world->moves, moves + 1);
}

static struct replica_state only_one(const struct world *world)
{
    struct replica_state list[REPLICAS_MAX];
    assert_int_equal(replicas_list(world->replicas, list), 1);
    return list[0];
}

/* Under load a slave never has all: how late it is shows by what it had when. */
static void how_late_a_slave_is(void **state)
{
    struct world *world = *state;
    int slot = join(world, 1, 0);
    replicas_sent(world->replicas, slot, 10000);
    assert_int_equal(only_one(world).joined_ms, 1000);
    world->now_ms = 2000;
    assert_true(replicas_acked(world->replicas, slot, 10, 1000));
    assert_int_equal(only_one(world).caught_up_ms, 0);
    world->now_ms = 3000;
    assert_true(replicas_acked(world->replicas, slot, 900, 2000));
    assert_int_equal(only_one(world).caught_up_ms, 0);
    world->now_ms = 4000; /* it has what there was at 2000 */
    assert_true(replicas_acked(world->replicas, slot, 1000, 3000));
    assert_int_equal(only_one(world).caught_up_ms, 2000);
    world->now_ms = 5000;
    assert_true(replicas_acked(world->replicas, slot, 2999, 4000));
    assert_int_equal(only_one(world).caught_up_ms, 2000);
    world->now_ms = 6000; /* all */
    assert_true(replicas_acked(world->replicas, slot, 4000, 4000));
    assert_int_equal(only_one(world).caught_up_ms, 6000);
    world->now_ms = 7000;
    assert_true(replicas_acked(world->replicas, slot, 4000, 4500));
    assert_int_equal(only_one(world).caught_up_ms, 6000);
}

static void slots_are_few_and_used_again(void **state)
{
    struct world *world = *state;
    int slots[REPLICAS_MAX];
    for (int i = 0; i < REPLICAS_MAX; i++)
        slots[i] = join(world, i, 0);
    assert_int_equal(join(world, 99, 0), -1);
    assert_int_equal(replicas_count(world->replicas), REPLICAS_MAX);
    replicas_sent(world->replicas, slots[3], 10);
    assert_true(replicas_acked(world->replicas, slots[3], 10, 10));
    replicas_leave(world->replicas, slots[3]);
    struct replica_state list[REPLICAS_MAX];
    assert_int_equal(replicas_list(world->replicas, list), REPLICAS_MAX - 1);
    int again = join(world, 99, 0);
    assert_int_equal(again, slots[3]);
    assert_int_equal(replicas_list(world->replicas, list), REPLICAS_MAX);
    assert_int_equal(list[3].identity.broker_id, 99);
    assert_int_equal(list[3].sent_pos, 0); /* nothing of who was there before */
    assert_int_equal(list[3].acked_pos, 0);
    assert_int_equal(list[3].number, REPLICAS_MAX + 1);
    for (int i = 0; i < REPLICAS_MAX; i++)
        replicas_leave(world->replicas, slots[i]);
    assert_int_equal(replicas_count(world->replicas), 0);
}

#define STEPS 20000

struct follower {
    pthread_t thread;
    struct world *world;
    int64_t id;
    bool possible;
};

static void *follow(void *arg)
{
    struct follower *follower = arg;
    struct replicas *replicas = follower->world->replicas;
    int slot = join(follower->world, follower->id, 0);
    follower->possible = true;
    for (int64_t pos = 1; pos <= STEPS; pos++) {
        replicas_sent(replicas, slot, pos);
        follower->possible &= replicas_acked(replicas, slot, pos, STEPS);
    }
    replicas_leave(replicas, slot);
    return NULL;
}

static void the_watermark_only_grows(void **state)
{
    struct world *world = *state;
    struct follower followers[4];
    for (int i = 0; i < 4; i++) {
        followers[i] = (struct follower){.world = world, .id = i};
        assert_int_equal(pthread_create(&followers[i].thread, NULL, follow, &followers[i]), 0);
    }
    int64_t last = 0;
    while (last < STEPS) {
        int64_t pos = replicas_acked_pos(world->replicas);
        assert_true(pos >= last && pos <= STEPS);
        last = pos;
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(followers[i].thread, NULL), 0);
        assert_true(followers[i].possible);
    }
    assert_covered(world, 0, STEPS);
    assert_int_equal(replicas_count(world->replicas), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reports_move_the_watermark),
        TEST(a_slave_that_lies_moves_nothing),
        TEST(the_furthest_slave_counts_and_what_it_had_stays),
        TEST(who_is_there_is_in_reach),
        TEST(a_log_that_begins_in_the_middle_covers_only_itself),
        TEST(how_late_a_slave_is),
        TEST(slots_are_few_and_used_again),
        TEST(the_watermark_only_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
