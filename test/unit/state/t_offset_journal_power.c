/* SPDX-License-Identifier: Apache-2.0
 *
 * The power goes off, before every call in turn that changes the disk, while offsets are loaded,
 * committed, journaled and saved, also when the JSON file cannot be written for lack of space.
 * Steps of the journal come between the calls of a save, too, as from the journal's own thread. Of
 * what was not synced anything may be missing: any sector of any write, any new name, any removal.
 * What had been synced is there after the restart, and never a value from before that; and so it is
 * when the power goes off again. After a kill, which loses nothing, what had been journaled is
 * there. No journal is ever taken for one that another hand's file left.
 * Source: the order at the top of broker/state/offset_journal.c. A failure names the seed, which
 * CRASH_SEED repeats (test/unit/support/crash_kit.h).
 */
#include "broker/state/offset_journal_format.h"
#include "broker/state/offsets.h"

#include "state_test.h"
#include "test/unit/support/crash_kit.h"

#include <inttypes.h>

#define OFFSETS_PATH "/store/config/consumerOffset.json"
#define QUEUES 40
#define ROUNDS 12
#define LIVES_AFTER 2
#define CALLS_OF_LIFE 60

struct fixture {
    struct crash crash; /* its simulated disk and its name for failures; the store is not used */
    struct offsets *offsets;
    int64_t calls;    /* of this life that change the disk */
    int64_t off_at;   /* the power goes off before this one */
    struct sim *left; /* the disk at that moment; NULL: it has not come */
    bool saving;
    bool stepping;     /* inside a save */
    bool full;         /* no JSON file can be written; journals can, which are small */
    int64_t full_hits; /* how often it mattered */
    int64_t now[QUEUES];
    int64_t journaled[QUEUES]; /* at the last step */
    int64_t safe[QUEUES];      /* at the last step that was synced, or the last save */
};

static int64_t checks;
static int64_t full_hits;

static bool is_off(const struct fixture *f)
{
    return f->left != NULL;
}

static bool ends_with(const char *path, const char *end)
{
    size_t size = strlen(path);
    size_t end_size = strlen(end);
    return size >= end_size && strcmp(path + size - end_size, end) == 0;
}

static void load(struct fixture *f)
{
    struct err err = {.text = ""};
    if (offsets_load(OFFSETS_PATH, sim_vfs(f->crash.sim), &f->offsets, &err) != STATUS_OK)
        crash_fail(&f->crash, "the offsets cannot be loaded: %s", err.text);
}

/* A journal without a beginning may be put aside, for the power went off while it was made. */
static void check_ignored(void *ctx, const char *path, size_t size)
{
    struct fixture *f = ctx;
    struct journal_block block;
    if (!ends_with(path, ".ignored"))
        return;
    struct slice bytes = slice_of(sim_bytes(f->crash.sim, path, &size), size);
    if (journal_block_decode(bytes, &block) == STATUS_OK)
        crash_fail(&f->crash, "%s is a journal of ours", path);
}

static void check(struct fixture *f)
{
    sim_each_file(f->crash.sim, check_ignored, f);
    for (int queue = 0; queue < QUEUES; queue++) {
        int64_t found = offsets_get(f->offsets, SLICE_LITERAL("T"), SLICE_LITERAL("g"), queue);
        if (found < f->safe[queue] || found > f->now[queue])
            crash_fail(&f->crash,
                       "offset of queue %d is %" PRId64 ", not from %" PRId64 " to %" PRId64, queue,
                       found, f->safe[queue], f->now[queue]);
        f->now[queue] = f->journaled[queue] = f->safe[queue] = found;
    }
    checks++;
}

/* Offsets only grow here, so that an old one is seen by its value. */
static void commit_some(struct fixture *f)
{
    for (int i = 0; i < 8; i++) {
        int queue = (int)random_below(&f->crash.random, QUEUES);
        f->now[queue] += 1 + (int64_t)random_below(&f->crash.random, 9);
        assert_int_equal(offsets_commit(f->offsets, SLICE_LITERAL("T"), SLICE_LITERAL("g"), queue,
                                        f->now[queue]),
                         STATUS_OK);
    }
}

/* What a call has promised counts when it came back before the power went off. */
static void promised(const struct fixture *f, int64_t to[QUEUES], const int64_t from[QUEUES])
{
    if (!is_off(f))
        memcpy(to, from, QUEUES * sizeof *to);
}

static void step(struct fixture *f)
{
    struct err err;
    assert_int_equal(offsets_journal_step(f->offsets, &err), STATUS_OK);
    promised(f, f->journaled, f->now);
}

/* May the journal's thread run now? Not where its lock is held, while its file is made or written.
 */
static bool may_step(const struct fixture *f, enum sim_call call, const char *path)
{
    return f->saving && !f->stepping && !is_off(f) && (call & (SIM_SYNC | SIM_NAMES)) != 0 &&
           strstr(path, "consumerOffset") != NULL;
}

static void before_call(void *ctx, enum sim_call call, const char *path)
{
    struct fixture *f = ctx;
    if (++f->calls == f->off_at)
        f->left = sim_clone(f->crash.sim);
    if (may_step(f, call, path) && random_below(&f->crash.random, 6) == 0) {
        f->stepping = true;
        commit_some(f);
        step(f);
        f->stepping = false;
    }
    if (f->full && (call & (SIM_OPEN | SIM_WRITE)) != 0 && ends_with(path, ".tmp")) {
        struct sim_fault fault = {call, 0, 1, ENOSPC, random_u64(&f->crash.random)};
        sim_fail(f->crash.sim, &fault);
        f->full_hits++;
    }
}

static void save(struct fixture *f)
{
    struct err err;
    int64_t journaled[QUEUES]; /* a later value may wait for a step */
    memcpy(journaled, f->journaled, sizeof journaled);
    f->full = random_below(&f->crash.random, 3) == 0;
    f->saving = true;
    enum status status = offsets_persist(f->offsets, &err);
    f->saving = false;
    assert_true(status == STATUS_OK || (f->full && status == STATUS_FULL));
    f->full = false;
    if (status == STATUS_OK)
        promised(f, f->safe, journaled);
}

/* Until the power goes off, or for so many rounds. */
static void work(struct fixture *f)
{
    struct err err;
    for (int round = 0; round < ROUNDS && !is_off(f); round++) {
        commit_some(f);
        if (random_below(&f->crash.random, 4) != 0)
            step(f);
        if (!is_off(f) && random_below(&f->crash.random, 3) == 0) {
            assert_int_equal(offsets_journal_sync(f->offsets, &err), STATUS_OK);
            promised(f, f->safe, f->journaled);
        }
        if (!is_off(f) && random_below(&f->crash.random, 3) == 0)
            save(f);
    }
}

static struct sim_cut any_cut(struct random *random)
{
    static const enum sim_keep keeps[] = {SIM_KEEP_NONE, SIM_KEEP_LATER, SIM_KEEP_TORN,
                                          SIM_KEEP_SOME, SIM_KEEP_SOME,  SIM_KEEP_SOME};
    enum sim_keep keep = keeps[random_below(random, 6)];
    uint64_t seed = random_u64(random);
    return (struct sim_cut){keep, seed, random_below(random, 3)};
}

/* One life, at the latest until its end: then the power goes off there.
 * returns  whether it went off before */
static bool live(struct fixture *f, int64_t off_at)
{
    f->calls = 0;
    f->off_at = off_at;
    f->left = NULL;
    sim_watch(f->crash.sim, SIM_CHANGES, before_call, f);
    load(f);
    check(f);
    work(f);
    bool before_end = is_off(f);
    if (!before_end)
        f->left = sim_clone(f->crash.sim);
    sim_watch(f->crash.sim, 0, NULL, NULL);
    offsets_free(f->offsets);
    sim_free(f->crash.sim);
    f->crash.sim = f->left;
    struct sim_cut cut = any_cut(&f->crash.random);
    sim_power_cut(f->crash.sim, &cut);
    if (cut.keep == SIM_KEEP_ALL)
        memcpy(f->safe, f->journaled, sizeof f->safe);
    return before_end;
}

/* A life that ends before that call, and more behind it that end anywhere. */
static bool lives(uint64_t seed, int64_t off_at)
{
    struct fixture f = {.offsets = NULL};
    crash_init(&f.crash, seed);
    f.crash.what = "journaling offsets";
    f.crash.point = off_at;
    for (int queue = 0; queue < QUEUES; queue++)
        f.now[queue] = f.journaled[queue] = f.safe[queue] = -1;
    bool before_end = live(&f, off_at);
    for (int i = 0; i < LIVES_AFTER; i++)
        (void)live(&f, 1 + (int64_t)random_below(&f.crash.random, CALLS_OF_LIFE));
    load(&f);
    check(&f);
    offsets_free(f.offsets);
    full_hits += f.full_hits;
    crash_release(&f.crash);
    return before_end;
}

static void what_was_synced_is_there(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    crash_seeds_begin(&seeds, "what_was_synced_is_there", 2);
    while (crash_seeds_next(&seeds, &seed)) {
        int64_t off_at = 1;
        while (lives(seed, off_at))
            off_at++;
        assert_true(off_at > ROUNDS); /* there was something to cut */
    }
    crash_seeds_end(&seeds, "what_was_synced_is_there", checks);
    printf("%" PRId64 " writes of a JSON file refused for lack of space\n", full_hits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
