/* SPDX-License-Identifier: Apache-2.0
 *
 * The power goes before any call that saves topics or consumer offsets, with any part of what was
 * not synced lost: the next start finds the table as it was saved last or as it was being saved,
 * never neither. A save that fails is reported or done, and never costs the one before it.
 *
 * Source of the rules: docs/store.md; common/sys/vfs.h, vfs_replace_file.
 */
#include "broker/state/offsets.h"
#include "broker/state/topics.h"

#include "state_test.h"
#include "test/unit/support/crash_kit.h"

#include <errno.h>

#define SAVES 8
#define OFFSETS_PATH "/store/config/consumerOffset.json"
#define TOPICS_PATH "/store/config/topics.json"
#define QUEUES 3

static int64_t checks;

struct tables {
    struct crash crash; /* its simulated disk and its name for failures; the store is not used */
    struct topics *topics;
    struct offsets *offsets;
    int32_t version;     /* every offset and the queues of every topic are this */
    int32_t saved;       /* the last version that was saved, of both */
    int32_t being_saved; /* saved, or the one under way */
};

static struct topics_options topics_options(void)
{
    return (struct topics_options){
        .path = TOPICS_PATH,
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .trace_topic_name = "RMQ_SYS_TRACE_TOPIC",
        .default_queues = 8,
        .auto_create = true,
    };
}

static void load(struct tables *tables, struct sim *sim, struct topics **topics,
                 struct offsets **offsets)
{
    struct err err = {.text = ""};
    struct topics_options options = topics_options();
    if (topics_load(&options, sim_vfs(sim), &tables->crash.clock, topics, &err) != STATUS_OK ||
        offsets_load(OFFSETS_PATH, sim_vfs(sim), offsets, &err) != STATUS_OK)
        crash_fail(&tables->crash, "a table cannot be loaded: %s", err.text);
}

static void change(struct tables *tables)
{
    struct topic_config config = {
        .read_queues = tables->version, .write_queues = tables->version, .perm = 6};
    assert_int_equal(topics_put(tables->topics, SLICE_LITERAL("T"), &config), STATUS_OK);
    for (int i = 0; i < QUEUES; i++)
        assert_int_equal(offsets_commit(tables->offsets, SLICE_LITERAL("T"), SLICE_LITERAL("G"), i,
                                        tables->version),
                         STATUS_OK);
}

/* One version of the whole table: the last saved, or the one under way. 0: none. */
static void check_version(const struct tables *tables, const char *what, int64_t found)
{
    if (found != tables->saved && found != tables->being_saved)
        crash_fail(&tables->crash, "%s are of version %lld, saved was %d, under way %d", what,
                   (long long)found, (int)tables->saved, (int)tables->being_saved);
}

static void check_left(struct tables *tables, const struct sim_cut *cut)
{
    struct sim *left = sim_clone(tables->crash.sim);
    struct topics *topics;
    struct offsets *offsets;
    struct topic_config config = {.write_queues = 0};
    sim_power_cut(left, cut);
    load(tables, left, &topics, &offsets);
    (void)topics_get(topics, SLICE_LITERAL("T"), &config);
    check_version(tables, "the topics", config.write_queues);
    int64_t first = offsets_get(offsets, SLICE_LITERAL("T"), SLICE_LITERAL("G"), 0);
    check_version(tables, "the offsets", first == -1 ? 0 : first);
    for (int i = 1; i < QUEUES; i++)
        assert_int_equal(offsets_get(offsets, SLICE_LITERAL("T"), SLICE_LITERAL("G"), i), first);
    topics_free(topics);
    offsets_free(offsets);
    sim_free(left);
    checks++;
}

static struct sim_cut any_cut(struct random *random)
{
    static const enum sim_keep keeps[] = {SIM_KEEP_NONE, SIM_KEEP_ALL, SIM_KEEP_LATER,
                                          SIM_KEEP_SOME};
    return (struct sim_cut){keeps[random_below(random, 4)], random_u64(random), 0};
}

static void before_call(void *ctx, enum sim_call call, const char *path)
{
    struct tables *tables = ctx;
    (void)call;
    (void)path;
    tables->crash.point++;
    for (int i = 0; i < 6; i++) {
        struct sim_cut cut = any_cut(&tables->crash.random);
        check_left(tables, &cut);
    }
}

static void tables_init(struct tables *tables, uint64_t seed)
{
    *tables = (struct tables){.version = 0};
    crash_init(&tables->crash, seed);
    tables->crash.what = "saving tables";
    load(tables, tables->crash.sim, &tables->topics, &tables->offsets);
}

static void tables_release(struct tables *tables)
{
    topics_free(tables->topics);
    offsets_free(tables->offsets);
    crash_release(&tables->crash);
}

static void power_cut_while_saving(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "power_cut_while_saving", 1);
    while (crash_seeds_next(&seeds, &seed)) {
        struct tables tables;
        struct err err;
        tables_init(&tables, seed);
        sim_watch(tables.crash.sim, SIM_CHANGES, before_call, &tables);
        for (tables.version = 1; tables.version <= SAVES; tables.version++) {
            change(&tables);
            tables.being_saved = tables.version;
            assert_int_equal(topics_persist(tables.topics, &err), STATUS_OK);
            assert_int_equal(offsets_persist(tables.offsets, &err), STATUS_OK);
            tables.saved = tables.version;
        }
        struct sim_cut nothing = {.keep = SIM_KEEP_NONE};
        check_left(&tables, &nothing);
        tables_release(&tables);
    }
    crash_seeds_end(&seeds, "power_cut_while_saving", checks);
}

/* The n-th call of a save fails, for every n; the next save makes up for it. */
static void saving_fails(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "saving_fails", 1);
    while (crash_seeds_next(&seeds, &seed)) {
        static const int errors[] = {ENOSPC, EIO, EMFILE};
        int64_t failed = 1;
        for (int64_t skip = 0; failed > 0; skip++) {
            struct tables tables;
            struct err err = {.text = ""};
            struct sim_cut nothing = {.keep = SIM_KEEP_NONE};
            tables_init(&tables, seed);
            for (tables.version = 1; tables.version <= SAVES; tables.version++) {
                struct sim_fault fault = {SIM_CHANGES | SIM_READ, skip, 1, errors[seed % 3], seed};
                change(&tables);
                tables.being_saved = tables.version;
                sim_fail(tables.crash.sim, &fault);
                bool done = topics_persist(tables.topics, &err) == STATUS_OK;
                done = offsets_persist(tables.offsets, &err) == STATUS_OK && done;
                failed = sim_failed(tables.crash.sim);
                sim_fail(tables.crash.sim, &(struct sim_fault){.calls = 0});
                if (done)
                    tables.saved = tables.version;
                else
                    assert_true(strlen(err.text) > 0);
                check_left(&tables, &nothing);
                assert_int_equal(topics_persist(tables.topics, &err), STATUS_OK);
                assert_int_equal(offsets_persist(tables.offsets, &err), STATUS_OK);
                tables.saved = tables.version;
                check_left(&tables, &nothing);
            }
            tables_release(&tables);
        }
    }
    crash_seeds_end(&seeds, "saving_fails", checks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut_while_saving),
        cmocka_unit_test(saving_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
