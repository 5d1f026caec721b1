/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave's store under what t_powercut.c and t_faults.c do to a master's: the power goes at any
 * moment, calls fail, the process is killed. Its log is a part of the master's afterwards, byte for
 * byte, holds what was durable, and goes on; queues and index are what the log says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/slave_kit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 60
#define CALLS_MAX 100000

static int64_t checks;

static struct sim_cut random_cut(struct random *random)
{
    static const enum sim_keep keeps[] = {SIM_KEEP_NONE, SIM_KEEP_ALL,  SIM_KEEP_LATER,
                                          SIM_KEEP_SOME, SIM_KEEP_SOME, SIM_KEEP_SOME};
    return (struct sim_cut){keeps[random_below(random, 6)], random_u64(random), 0};
}

/* --- the power goes --- */

struct everywhere {
    struct slave_pair *pair;
    struct random random;
    bool torn; /* tear the last write at each of its sectors */
};

static void cut_and_verify(struct everywhere *everywhere, const struct sim_cut *cut)
{
    struct crash after;
    crash_copy(&after, &everywhere->pair->slave);
    sim_power_cut(after.sim, cut);
    int64_t durable_pos = after.durable_pos;
    crash_open(&after);
    slave_pair_verify(everywhere->pair, &after, durable_pos);
    crash_release(&after);
    checks++;
}

static void before_call(void *ctx, enum sim_call call, const char *path)
{
    struct everywhere *everywhere = ctx;
    struct crash *slave = &everywhere->pair->slave;
    (void)call;
    (void)path;
    slave->point++;
    if (!everywhere->torn) {
        struct sim_cut cut = random_cut(&everywhere->random);
        slave->what = "a power cut";
        cut_and_verify(everywhere, &cut);
        return;
    }
    int64_t sectors = sim_last_write_sectors(slave->sim);
    for (int64_t i = 0; i <= sectors && sectors > 0; i++) {
        struct sim_cut cut = {random_below(&everywhere->random, 2) ? SIM_KEEP_TORN : SIM_KEEP_ALONE,
                              random_u64(&everywhere->random), i};
        slave->what = "a torn write";
        cut_and_verify(everywhere, &cut);
    }
}

/* Some of the slaves begin in the middle of the master's log. */
static void begin_somewhere(struct slave_pair *pair)
{
    struct random *random = &pair->master.random;
    if (random_below(random, 3) != 0)
        return;
    for (int i = 0; i < 30; i++)
        slave_pair_put(pair, 4);
    int64_t files = store_appended_pos(pair->master.store) / pair->master.options.segment_bytes;
    slave_pair_begin_at(pair, random_below(random, (uint32_t)files + 1) *
                                  pair->master.options.segment_bytes);
}

static void run_workload(uint64_t seed, bool torn)
{
    struct slave_pair pair;
    slave_pair_init(&pair, seed);
    struct everywhere everywhere = {&pair, {seed ^ 0x5DEECE66DU}, torn};
    unsigned calls = torn ? SIM_SYNC | SIM_NAMES | SIM_SYNC_DIR : SIM_CHANGES;
    int quiet = seed % 2 == 0 ? 0 : 60;
    begin_somewhere(&pair);
    for (int i = 0; i < quiet + STEPS; i++) {
        if (i >= quiet)
            sim_watch(pair.slave.sim, calls, before_call, &everywhere);
        slave_pair_step(&pair);
    }
    sim_watch(pair.slave.sim, 0, NULL, NULL);
    slave_pair_release(&pair);
}

static void power_cut_everywhere(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "slave_power_cut_everywhere", 6);
    while (crash_seeds_next(&seeds, &seed))
        run_workload(seed, false);
    crash_seeds_end(&seeds, "slave_power_cut_everywhere", checks);
}

static void write_torn_at_every_sector(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "slave_write_torn_at_every_sector", 4);
    while (crash_seeds_next(&seeds, &seed))
        run_workload(seed, true);
    crash_seeds_end(&seeds, "slave_write_torn_at_every_sector", checks);
}

/* While an empty log gets another begin. */
static void before_call_of_begin(void *ctx, enum sim_call call, const char *path)
{
    struct everywhere *everywhere = ctx;
    struct crash after;
    (void)call;
    (void)path;
    everywhere->pair->slave.point++;
    everywhere->pair->slave.what = "a power cut while the log gets its begin";
    crash_copy(&after, &everywhere->pair->slave);
    struct sim_cut cut = random_cut(&everywhere->random);
    sim_power_cut(after.sim, &cut);
    crash_open(&after);
    int64_t end = store_appended_pos(after.store);
    if (end != store_min_pos(after.store) || (end != 0 && end != everywhere->pair->begin))
        crash_fail(&after, "the log is not empty, or begins somewhere else");
    crash_release(&after);
    checks++;
}

static void power_cut_while_the_log_gets_its_begin(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "power_cut_while_the_log_gets_its_begin", 1);
    while (crash_seeds_next(&seeds, &seed)) {
        struct slave_pair pair;
        struct err err;
        slave_pair_init(&pair, seed);
        struct everywhere everywhere = {&pair, {seed ^ 0x5DEECE66DU}, false};
        if (seed % 2 == 0)
            (void)commitlog_prepare(&pair.slave.store->log, &err);
        if (seed % 3 == 0)
            (void)keeper_sync(&pair.slave.store->keeper, true);
        pair.begin = pair.slave.options.segment_bytes * (1 + random_below(&everywhere.random, 9));
        sim_watch(pair.slave.sim, SIM_CHANGES, before_call_of_begin, &everywhere);
        slave_pair_begin_at(&pair, pair.begin);
        sim_watch(pair.slave.sim, 0, NULL, NULL);
        struct sim_cut nothing = {.keep = SIM_KEEP_NONE};
        crash_cut(&pair.slave, &nothing);
        crash_open(&pair.slave);
        assert_int_equal(store_min_pos(pair.slave.store), pair.begin);
        slave_pair_release(&pair);
    }
    crash_seeds_end(&seeds, "power_cut_while_the_log_gets_its_begin", checks);
}

/* --- it goes on --- */

/* Over many lives of the slave, up to the master's end. */
static void many_lives(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "slave_many_lives", 5);
    while (crash_seeds_next(&seeds, &seed)) {
        struct slave_pair pair;
        slave_pair_init(&pair, seed);
        begin_somewhere(&pair);
        for (int life = 0; life < 12; life++) {
            int steps = (int)random_below(&pair.slave.random, 50);
            for (int i = 0; i < steps; i++)
                slave_pair_step(&pair);
            struct sim_cut cut = random_cut(&pair.slave.random);
            pair.slave.what = "many lives";
            pair.slave.point = life;
            crash_cut(&pair.slave, &cut);
            int64_t durable_pos = pair.slave.durable_pos;
            crash_open(&pair.slave);
            slave_pair_verify(&pair, &pair.slave, durable_pos);
            checks++;
        }
        slave_pair_catch_up(&pair);
        slave_pair_compare_logs(&pair, &pair.slave);
        crash_verify(&pair.slave, store_appended_pos(pair.master.store));
        slave_pair_release(&pair);
    }
    crash_seeds_end(&seeds, "slave_many_lives", checks);
}

/* --- calls fail --- */

static const struct {
    const char *what;
    unsigned calls;
    int error;
    int64_t count;
} faults[] = {
    {"a write finds no space", SIM_WRITE, ENOSPC, 1},
    {"writes find no space", SIM_WRITE, ENOSPC, 20},
    {"a write fails", SIM_WRITE, EIO, 1},
    {"a sync fails", SIM_SYNC, EIO, 1},
    {"a directory cannot be synced", SIM_SYNC_DIR, EIO, 1},
    {"a size cannot be set", SIM_SIZE, ENOSPC, 1},
    {"sizes cannot be set", SIM_SIZE, ENOSPC, 5},
    {"zeroing finds no space", SIM_ZERO, ENOSPC, 1},
    {"zeroing fails", SIM_ZERO, EIO, 1},
    {"no descriptors are left", SIM_OPEN, EMFILE, 4},
    {"a file cannot be opened", SIM_OPEN, EIO, 1},
    {"a name cannot be changed", SIM_NAMES, EIO, 1},
    {"nothing has space for a while", SIM_WRITE | SIM_SIZE | SIM_ZERO, ENOSPC, 40},
};
#define FAULTS (sizeof faults / sizeof faults[0])

/* Killed now, and the power cut now. */
static void verify_both_ends(struct slave_pair *pair, bool syncs_fail)
{
    struct crash *slave = &pair->slave;
    int64_t durable = crash_durable_pos(slave);
    int64_t appended =
        slave->store == NULL || syncs_fail ? durable : store_appended_pos(slave->store);
    for (int i = 0; i < 2; i++) {
        struct crash after;
        struct sim_cut cut = {SIM_KEEP_SOME, random_u64(&slave->random), 0};
        crash_copy(&after, slave);
        if (i == 1)
            sim_power_cut(after.sim, &cut);
        crash_open(&after);
        slave_pair_verify(pair, &after, i == 1 ? durable : appended);
        crash_release(&after);
        checks++;
    }
}

static bool run_with_fault(uint64_t seed, size_t which, int64_t skip)
{
    struct slave_pair pair;
    slave_pair_init(&pair, seed);
    struct crash *slave = &pair.slave;
    slave->what = faults[which].what;
    slave->point = skip;
    slave->faults = true;
    struct sim_fault fault = {faults[which].calls, skip, faults[which].count, faults[which].error,
                              seed};
    sim_fail(slave->sim, &fault);
    for (int i = 0; i < 2 * STEPS; i++)
        slave_pair_step(&pair);
    bool failed = slave->failed + sim_failed(slave->sim) > 0;
    if (failed)
        verify_both_ends(&pair, (faults[which].calls & SIM_SYNC) != 0);
    slave_pair_release(&pair);
    return failed;
}

static void every_call_fails(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "slave_every_call_fails", 5);
    while (crash_seeds_next(&seeds, &seed)) {
        size_t which = seed % FAULTS;
        int64_t n = 0;
        while (run_with_fault(seed, which, n))
            n++;
        assert_true(n < CALLS_MAX);
    }
    crash_seeds_end(&seeds, "slave_every_call_fails", checks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut_everywhere),
        cmocka_unit_test(write_torn_at_every_sector),
        cmocka_unit_test(power_cut_while_the_log_gets_its_begin),
        cmocka_unit_test(many_lives),
        cmocka_unit_test(every_call_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
