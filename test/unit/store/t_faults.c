/* SPDX-License-Identifier: Apache-2.0
 *
 * Any call to the file layer may fail: the n-th write, sync, open, allocation, change of a name or
 * read of a workload, once, a few times or for good, for every n until the workload runs untouched.
 * The store may refuse messages and may refuse to start for as long; it may not lose what it said
 * was durable, nor count a sync that failed, nor call a store damaged that merely cannot be read.
 *
 * Source of the rules: docs/store.md, "Writing" and "What must reach the disk before what".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/crash_kit.h"

#include <errno.h>
#include <string.h>

#define STEPS 50
#define CALLS_MAX 100000

static int64_t checks;

static const struct {
    const char *what;
    unsigned calls;
    int error;
    int64_t count;
} faults[] = {
    {"a write finds no space", SIM_WRITE, ENOSPC, 1},
    {"writes find no space", SIM_WRITE, ENOSPC, INT64_MAX},
    {"a write fails", SIM_WRITE, EIO, 1},
    {"a sync fails", SIM_SYNC, EIO, 1},
    {"syncs fail", SIM_SYNC, EIO, INT64_MAX},
    {"a directory cannot be synced", SIM_SYNC_DIR, EIO, 1},
    {"a size cannot be set", SIM_SIZE, ENOSPC, 1},
    {"sizes cannot be set", SIM_SIZE, ENOSPC, INT64_MAX},
    {"zeroing finds no space", SIM_ZERO, ENOSPC, 1},
    {"zeroing fails", SIM_ZERO, EIO, 1},
    {"no descriptor is left", SIM_OPEN, EMFILE, 1},
    {"no descriptors are left", SIM_OPEN, EMFILE, 4},
    {"a file cannot be opened", SIM_OPEN, EIO, 1},
    {"a name cannot be changed", SIM_NAMES, EIO, 1},
    {"a read fails", SIM_READ, EIO, 1},
    /* Files can be opened and written: else nobody could leave word that the cache is not to be
     * trusted. */
    {"nothing reaches the disk from here on", SIM_SYNC | SIM_SYNC_DIR | SIM_SIZE | SIM_ZERO, EIO,
     INT64_MAX},
    {"nothing has space from here on", SIM_WRITE | SIM_SIZE | SIM_ZERO, ENOSPC, INT64_MAX},
};
#define FAULTS (sizeof faults / sizeof faults[0])

/* Killed now: all that was accepted is there, unless a sync has failed. The power cut now: all that
 * was durable. */
static void verify_both_ends(struct crash *crash, bool syncs_fail)
{
    int64_t durable = crash_durable_pos(crash);
    int64_t appended =
        crash->store == NULL || syncs_fail ? durable : store_appended_pos(crash->store);
    for (int i = 0; i < 2; i++) {
        struct crash after;
        struct sim_cut cut = {SIM_KEEP_SOME, random_u64(&crash->random), 0};
        crash_copy(&after, crash);
        if (i == 1)
            sim_power_cut(after.sim, &cut);
        crash_open(&after);
        crash_verify_thoroughly(&after, i == 1 ? durable : appended);
        crash_release(&after);
        checks++;
    }
}

/* The workload of the seed with the fault after `skip` calls; false when it did not come to that.
 */
static bool run_with_fault(uint64_t seed, size_t which, int64_t skip)
{
    struct crash crash;
    crash_init(&crash, seed);
    crash.what = faults[which].what;
    crash.point = skip;
    crash.faults = true;
    struct sim_fault fault = {faults[which].calls, skip, faults[which].count, faults[which].error,
                              seed};
    sim_fail(crash.sim, &fault);
    struct err err;
    enum status status = crash_try_open(&crash, &err);
    if (status == STATUS_CORRUPT)
        crash_fail(&crash, "an empty store is called damaged: %s", err.text);
    for (int i = 0; i < STEPS; i++)
        crash_step(&crash);
    bool failed = crash.failed + sim_failed(crash.sim) > 0;
    if (failed)
        verify_both_ends(&crash, (faults[which].calls & SIM_SYNC) != 0);
    crash_release(&crash);
    return failed;
}

/* The n-th call fails, from the first to the last. */
static void every_call_fails(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "every_call_fails", 6);
    while (crash_seeds_next(&seeds, &seed)) {
        size_t which = seed % FAULTS;
        int64_t n = 0;
        while (run_with_fault(seed, which, n))
            n++;
        assert_true(n < CALLS_MAX);
    }
    crash_seeds_end(&seeds, "every_call_fails", checks);
}

/* A call of a recovery fails: the start is refused, with the cause and not as damage, or succeeds;
 * the next one has lost nothing. */
static void recovery_fails(struct crash *crash, const struct sim_cut *cut, size_t which)
{
    for (int64_t skip = 0, failed = 1; failed > 0; skip++) {
        struct crash after;
        struct err err;
        crash_copy(&after, crash);
        after.what = faults[which].what;
        after.point = skip;
        sim_power_cut(after.sim, cut);
        struct sim_fault fault = {faults[which].calls, skip, faults[which].count,
                                  faults[which].error, cut->seed};
        sim_fail(after.sim, &fault);
        enum status status = crash_try_open(&after, &err);
        failed = sim_failed(after.sim);
        if (status == STATUS_CORRUPT)
            crash_fail(&after, "a store that cannot be read is called damaged: %s", err.text);
        if (status != STATUS_OK && strlen(err.text) < 10)
            crash_fail(&after, "the start was refused without words");
        int64_t durable_pos = crash_durable_pos(crash);
        after.faults = true;
        crash_cut(&after, NULL);
        crash_open(&after);
        crash_verify(&after, durable_pos);
        crash_release(&after);
        checks++;
    }
}

static void every_call_of_a_recovery_fails(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "every_call_of_a_recovery_fails", 4);
    while (crash_seeds_next(&seeds, &seed)) {
        struct crash crash;
        crash_init(&crash, seed);
        crash_open(&crash);
        for (int i = 0; i < 2 * STEPS; i++)
            crash_step(&crash);
        struct sim_cut cut = {SIM_KEEP_SOME, random_u64(&crash.random), 0};
        recovery_fails(&crash, &cut, random_below(&crash.random, FAULTS));
        crash_release(&crash);
    }
    crash_seeds_end(&seeds, "every_call_of_a_recovery_fails", checks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_fails),
        cmocka_unit_test(every_call_of_a_recovery_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
