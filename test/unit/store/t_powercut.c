/* SPDX-License-Identifier: Apache-2.0
 *
 * The power may go at any moment: before every write, every sync and every change of a name of a
 * random workload, with any part of what was not synced lost, also in the middle of a write, and
 * again while the store recovers. What was durable is there afterwards, and nothing else.
 *
 * Source of the rules: docs/store.md, "What must reach the disk before what" and "Opening".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/crash_kit.h"

#include <stdlib.h>
#include <string.h>

#define STEPS 60
#define RECOVERY_CALLS 60

static int64_t cuts; /* stores opened after one */

/* --- one cut --- */

struct second_cut {
    struct crash *crash;
    struct sim_cut cut;
    int64_t calls_left;
};

static void verify_cut(struct crash *after, int64_t durable_pos, bool thoroughly)
{
    crash_open(after);
    if (thoroughly)
        crash_verify_thoroughly(after, durable_pos);
    else
        crash_verify(after, durable_pos);
    cuts++;
}

/* Before a call of a recovery. */
static void during_recovery(void *ctx, enum sim_call call, const char *path)
{
    struct second_cut *second = ctx;
    struct crash again;
    (void)call;
    (void)path;
    if (second->calls_left-- != 0)
        return;
    crash_copy(&again, second->crash);
    again.what = "a second cut, while the store recovered";
    sim_power_cut(again.sim, &second->cut);
    verify_cut(&again, second->crash->durable_pos, false);
    crash_release(&again);
}

static void cut_and_verify(struct crash *crash, const struct sim_cut *cut, struct random *random)
{
    struct crash after;
    crash_copy(&after, crash);
    sim_power_cut(after.sim, cut);
    int64_t durable_pos = after.durable_pos;
    struct second_cut second = {&after, {SIM_KEEP_SOME, random_u64(random), 0}, 0};
    second.calls_left = random_below(random, RECOVERY_CALLS);
    if (random_below(random, 4) == 0)
        sim_watch(after.sim, SIM_CHANGES, during_recovery, &second);
    crash_open(&after);
    sim_watch(after.sim, 0, NULL, NULL);
    after.durable_pos = durable_pos;
    if (random_below(random, 4) == 0)
        crash_verify_thoroughly(&after, durable_pos);
    else
        crash_verify(&after, durable_pos);
    cuts++;
    crash_release(&after);
}

/* --- everywhere --- */

struct everywhere {
    struct crash *crash;
    struct random random;
    bool torn; /* tear the last write at each of its sectors */
};

static struct sim_cut random_cut(struct random *random)
{
    static const enum sim_keep keeps[] = {SIM_KEEP_NONE, SIM_KEEP_ALL,  SIM_KEEP_LATER,
                                          SIM_KEEP_SOME, SIM_KEEP_SOME, SIM_KEEP_SOME};
    return (struct sim_cut){keeps[random_below(random, 6)], random_u64(random), 0};
}

static void before_call(void *ctx, enum sim_call call, const char *path)
{
    struct everywhere *everywhere = ctx;
    struct crash *crash = everywhere->crash;
    (void)call;
    (void)path;
    crash->point++;
    if (!everywhere->torn) {
        struct sim_cut cut = random_cut(&everywhere->random);
        crash->what = "a power cut";
        cut_and_verify(crash, &cut, &everywhere->random);
        return;
    }
    int64_t sectors = sim_last_write_sectors(crash->sim);
    for (int64_t i = 0; i <= sectors && sectors > 0; i++) {
        struct sim_cut cut = {random_below(&everywhere->random, 2) ? SIM_KEEP_TORN : SIM_KEEP_ALONE,
                              random_u64(&everywhere->random), i};
        crash->what = "a torn write";
        cut_and_verify(crash, &cut, &everywhere->random);
    }
}

/* The kill of the process loses nothing that was appended. */
static void kill_and_verify(struct crash *crash)
{
    struct crash after;
    if (crash->store == NULL)
        return;
    int64_t appended = store_appended_pos(crash->store);
    crash_copy(&after, crash);
    after.what = "a kill";
    verify_cut(&after, appended, true);
    crash_release(&after);
}

static void run_workload(uint64_t seed, bool torn)
{
    struct crash crash;
    crash_init(&crash, seed);
    struct everywhere everywhere = {&crash, {seed ^ 0x5DEECE66DU}, torn};
    unsigned calls = torn ? SIM_SYNC | SIM_NAMES | SIM_SYNC_DIR : SIM_CHANGES;
    /* Half of the workloads have some life behind them before the power begins to fail. */
    int quiet = seed % 2 == 0 ? 0 : 60;
    crash_open(&crash);
    for (int i = 0; i < quiet + STEPS; i++) {
        if (i >= quiet)
            sim_watch(crash.sim, calls, before_call, &everywhere);
        crash_step(&crash);
    }
    sim_watch(crash.sim, 0, NULL, NULL);
    kill_and_verify(&crash);
    crash_release(&crash);
}

static void power_cut_everywhere(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    cuts = 0;
    crash_seeds_begin(&seeds, "power_cut_everywhere", 10);
    while (crash_seeds_next(&seeds, &seed))
        run_workload(seed, false);
    crash_seeds_end(&seeds, "power_cut_everywhere", cuts);
}

static void write_torn_at_every_sector(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    cuts = 0;
    crash_seeds_begin(&seeds, "write_torn_at_every_sector", 5);
    while (crash_seeds_next(&seeds, &seed))
        run_workload(seed, true);
    crash_seeds_end(&seeds, "write_torn_at_every_sector", cuts);
}

/* The workload goes on after each cut, over many lives of the store. */
static void many_lives(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    cuts = 0;
    crash_seeds_begin(&seeds, "many_lives", 5);
    while (crash_seeds_next(&seeds, &seed)) {
        struct crash crash;
        crash_init(&crash, seed);
        crash_open(&crash);
        for (int life = 0; life < 12; life++) {
            int steps = (int)random_below(&crash.random, 50);
            for (int i = 0; i < steps; i++)
                crash_step(&crash);
            struct sim_cut cut = random_cut(&crash.random);
            crash.what = "many lives";
            crash.point = life;
            crash_cut(&crash, &cut);
            verify_cut(&crash, crash.durable_pos, false);
        }
        crash_release(&crash);
    }
    crash_seeds_end(&seeds, "many_lives", cuts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut_everywhere),
        cmocka_unit_test(write_torn_at_every_sector),
        cmocka_unit_test(many_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
