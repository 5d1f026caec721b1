/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal beside consumerOffset.json, over a real table of offsets. What a crash leaves is
 * loaded again with what the last step had written, wherever the crash comes: between the steps of
 * a save, within a write, several times in a row. A journal that does not belong to the JSON file
 * is put aside; a torn one is cut.
 * Source: the table at the top of broker/state/offset_journal.c.
 */
#include "journal_test.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- what it is for --- */

static void a_crash_costs_what_came_after_the_last_step(void **state)
{
    struct fixture *f = *state;
    commit(f, "g", 0, 10);
    commit(f, "g", 5, 15);
    step(f);
    commit(f, "g", 0, 11);
    crash(f);
    assert_int_equal(get(f, "g", 0), 10);
    assert_int_equal(get(f, "g", 5), 15);
    assert_int_equal(get(f, "g", 1), -1);

    /* Over a JSON file, and on in the journal that has been replayed; backwards, too. */
    save(f);
    for (int i = 0; i < 4; i++) {
        commit(f, "g", 0, 20 - i);
        commit(f, "h", i, 100 + i);
        step(f);
        crash(f);
        assert_int_equal(get(f, "g", 0), 20 - i);
        for (int queue = 0; queue <= i; queue++)
            assert_int_equal(get(f, "h", queue), 100 + queue);
        assert_int_equal(get(f, "g", 5), 15);
    }
    assert_int_equal(journal_count(f), 1);
}

static void nothing_is_written_without_a_change(void **state)
{
    struct fixture *f = *state;
    step(f);
    assert_int_equal(journal_count(f), 0);
    commit(f, "g", 0, 1);
    step(f);
    int64_t size = size_of(journal(f));
    int steps = f->vfs.steps;
    commit(f, "g", 0, 1);
    step(f);
    assert_int_equal(size_of(journal(f)), size);
    assert_int_equal(f->vfs.steps, steps);
    commit(f, "g", 0, 2);
    commit(f, "g", 0, 3);
    step(f);
    assert_int_equal(f->vfs.steps, steps + 1); /* one write */
}

static void a_save_takes_the_journal_away(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        commit(f, "g", 0, i);
        step(f);
        assert_int_equal(journal_count(f), 1);
        save(f);
        assert_int_equal(journal_count(f), 0);
    }
    /* Also when the file has been written already. */
    commit(f, "g", 0, 7);
    save(f);
    step(f);
    assert_int_equal(journal_count(f), 1);
    save(f);
    assert_int_equal(journal_count(f), 0);
    crash(f);
    assert_int_equal(get(f, "g", 0), 7);
}

/* One save is enough, also for what a crash in the middle of another has left. */
static void a_save_takes_both_journals_away(void **state)
{
    struct fixture *f = *state;
    struct err err;
    commit(f, "g", 0, 1);
    step(f);
    f->vfs.fails_for = "consumerOffset.json";
    f->vfs.fails_with = STATUS_IO;
    log_set_level((enum log_level) - 1);
    assert_int_equal(offsets_persist(f->offsets, &err), STATUS_IO);
    f->vfs.fails_for = NULL;
    commit(f, "g", 0, 2);
    step(f);
    assert_int_equal(journal_count(f), 2);
    crash(f);
    save(f);
    assert_int_equal(journal_count(f), 0);
    crash(f);
    assert_int_equal(get(f, "g", 0), 2);
}

static void a_replayed_table_counts_as_changed(void **state)
{
    struct fixture *f = *state;
    commit(f, "g", 0, 1);
    save(f);
    commit(f, "g", 0, 2);
    step(f);
    crash(f);
    save(f);
    assert_int_equal(journal_count(f), 0);
    assert_file_is(f->json, "{\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:2\n\t\t}\n\t}\n}");
}

static void removed_and_cloned_groups_are_too(void **state)
{
    struct fixture *f = *state;
    for (int queue = 0; queue < 3; queue++) {
        commit(f, "from", queue, 10 + queue);
        commit(f, "to", queue + 5, 1);
        commit(f, "gone", queue, 2);
        commit(f, "again", queue, 3);
    }
    save(f);
    offsets_remove_group(f->offsets, s("gone"));
    offsets_remove_group(f->offsets, s("again"));
    commit(f, "again", 2, 4);
    assert_int_equal(offsets_clone(f->offsets, s("from"), s("to"), s("T")), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        struct name_list groups = {.count = 0};
        offsets_groups_of(f->offsets, s("T"), name_list_add, &groups);
        assert_int_equal(groups.count, 3);
        assert_false(name_list_has(&groups, "gone"));
        assert_int_equal(get(f, "gone", 0), -1);
        assert_int_equal(get(f, "again", 0), -1);
        assert_int_equal(get(f, "again", 2), 4);
        assert_int_equal(get(f, "to", 1), 11);
        assert_int_equal(get(f, "to", 5), -1);
        step(f);
        crash(f);
    }
    /* A removed key that nobody has journaled yet can be used again. */
    offsets_remove_group(f->offsets, s("to"));
    assert_int_equal(offsets_clone(f->offsets, s("to"), s("other"), s("T")), STATUS_OK);
    assert_int_equal(get(f, "other", 0), -1);
    assert_int_equal(offsets_clone(f->offsets, s("from"), s("to"), s("T")), STATUS_OK);
    step(f);
    crash(f);
    assert_int_equal(get(f, "to", 2), 12);
}

static void a_step_of_many_changes_is_cut_into_blocks(void **state)
{
    struct fixture *f = *state;
    const int queues = 30000;
    for (int round = 1; round <= 2; round++) {
        for (int queue = queues - 1; queue >= 0; queue--)
            commit(f, "large", queue, queue + round);
        for (int i = 0; i < 100; i++) {
            char group[16];
            (void)snprintf(group, sizeof group, "g%d", i);
            commit(f, group, i, i + round);
        }
        step(f);
        crash(f);
        for (int queue = 0; queue < queues; queue++)
            assert_int_equal(get(f, "large", queue), queue + round);
        assert_int_equal(get(f, "g99", 99), 99 + round);
    }
}

/* --- crashes at every point --- */

#define GROUPS 4
#define QUEUES 3
#define HISTORY 64

/* What an offset may be after a crash: what it was at the last step, or anything since. */
struct history {
    int64_t values[HISTORY];
    int count;
};

static const char *const group_names[GROUPS] = {"a", "b", "c", "removed"};
static struct history histories[GROUPS][QUEUES];

static void remember(int group, int queue, int64_t value)
{
    struct history *history = &histories[group][queue];
    assert_true(history->count < HISTORY);
    history->values[history->count++] = value;
}

static void forget_all_but_the_last(void)
{
    for (int i = 0; i < GROUPS * QUEUES; i++) {
        struct history *history = &histories[i / QUEUES][i % QUEUES];
        history->values[0] = history->values[history->count - 1];
        history->count = 1;
    }
}

static void change(struct fixture *f, int round)
{
    for (int group = 0; group < GROUPS; group++)
        for (int queue = 0; queue < QUEUES; queue++)
            if ((round + group + queue) % (group + 2) == 0) {
                commit(f, group_names[group], queue, 100 * round + queue);
                remember(group, queue, 100 * round + queue);
            }
    if (round % 4 == 3) {
        offsets_remove_group(f->offsets, s("removed"));
        for (int queue = 0; queue < QUEUES; queue++)
            remember(GROUPS - 1, queue, -1);
    }
}

static void assert_as_remembered(const struct fixture *f, int dies_at)
{
    for (int i = 0; i < GROUPS * QUEUES; i++) {
        const struct history *history = &histories[i / QUEUES][i % QUEUES];
        int64_t found = get(f, group_names[i / QUEUES], i % QUEUES);
        bool known = false;
        for (int j = 0; j < history->count; j++)
            known |= history->values[j] == found;
        if (!known)
            fail_msg("died at %d: queue %d of group %s is %lld, which it was before the last step",
                     dies_at, i % QUEUES, group_names[i / QUEUES], (long long)found);
    }
}

static void ignore(enum status status)
{
    (void)status;
}

/* Changes, steps and saves in turn, with changes within a save's reach, until the file layer dies.
 * false: it came to the end alive. */
static bool work_until_death(struct fixture *f, int first_round, int dies_at)
{
    struct err err;
    f->vfs.dies_at = dies_at;
    for (int round = first_round; round < first_round + 9; round++) {
        change(f, round);
        if (round % 3 != 2 && offsets_journal_step(f->offsets, &err) == STATUS_OK)
            forget_all_but_the_last();
        if (round % 3 == 1 || round % 5 == 0)
            ignore(offsets_persist(f->offsets, &err));
        if (round % 2 == 0)
            ignore(offsets_journal_sync(f->offsets, &err));
        if (f->vfs.steps >= dies_at)
            return true;
    }
    return false;
}

static void a_crash_may_come_anywhere(void **state)
{
    struct fixture *f = *state;
    int dies_at = 1;
    bool died = true;
    for (; died; dies_at++) {
        teardown(state);
        setup(state);
        f = *state;
        log_set_level((enum log_level) - 1); /* that the disk has died */
        memset(histories, 0, sizeof histories);
        for (int i = 0; i < GROUPS * QUEUES; i++)
            remember(i / QUEUES, i % QUEUES, -1);
        died = work_until_death(f, 0, dies_at);
        crash(f);
        assert_as_remembered(f, dies_at);
        /* What was loaded is the truth now. A second crash, at another place each time. */
        memset(histories, 0, sizeof histories);
        for (int i = 0; i < GROUPS * QUEUES; i++)
            remember(i / QUEUES, i % QUEUES, get(f, group_names[i / QUEUES], i % QUEUES));
        (void)work_until_death(f, 20, 1 + dies_at * 7 % 23);
        crash(f);
        assert_as_remembered(f, dies_at);
        assert_true(journal_count(f) <= 2);
        assert_false(file_exists(f->ignored[0]) || file_exists(f->ignored[1]));
    }
    assert_true(dies_at > 40);
}

/* Torn at every byte, and with every byte damaged, a journal holds what stands before that. */
static void a_torn_or_damaged_end_is_cut(void **state)
{
    struct fixture *f = *state;
    int64_t ends[4] = {0};
    commit(f, "g", 0, 0);
    save(f);
    for (int i = 1; i <= 3; i++) {
        commit(f, "g", 0, i);
        step(f);
        ends[i] = size_of(journal(f));
    }
    const char *path = journal(f);
    char *whole;
    size_t size;
    assert_int_equal(vfs_read_file(vfs_posix(), path, 1 << 20, &whole, &size), STATUS_OK);
    for (size_t at = (size_t)ends[1] / 2; at < 2 * size; at++) {
        bool damage = at >= size;
        size_t where = damage ? at - size : at;
        int64_t expected = 0;
        while (expected < 3 && ends[expected + 1] <= (int64_t)where)
            expected++;
        if (damage)
            whole[where] ^= 0x40;
        write_bytes(path, whole, damage ? size : where);
        if (damage)
            whole[where] ^= 0x40;
        crash(f);
        assert_int_equal(get(f, "g", 0), expected);
        commit(f, "g", 0, 50);
        step(f);
        crash(f);
        assert_int_equal(get(f, "g", 0), 50);
        for (int i = 0; i < 2; i++)
            (void)unlink(f->journals[i]);
    }
    free(whole);
}

/* --- several threads --- */

#define SIDE_QUEUES 20000

struct side {
    struct fixture *f;
    _Atomic bool done;
};

static void *step_on(void *arg)
{
    struct side *side = arg;
    while (!atomic_load(&side->done))
        CHECK(offsets_journal_step(side->f->offsets, NULL) == STATUS_OK);
    return NULL;
}

static void *save_on(void *arg)
{
    struct side *side = arg;
    while (!atomic_load(&side->done))
        CHECK(offsets_persist(side->f->offsets, NULL) == STATUS_OK &&
              offsets_journal_sync(side->f->offsets, NULL) == STATUS_OK);
    return NULL;
}

/* Every queue is committed twice, long apart: what a save drops too early does not come again. */
static void commits_steps_and_saves_run_side_by_side(void **state)
{
    struct fixture *f = *state;
    for (int round = 1; round <= 3; round++) {
        struct side side = {.f = f};
        pthread_t threads[2];
        assert_int_equal(pthread_create(&threads[0], NULL, step_on, &side), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, save_on, &side), 0);
        for (int queue = 0; queue < SIDE_QUEUES; queue++)
            commit(f, "g", queue, queue + round);
        atomic_store(&side.done, true);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        step(f);
        crash(f);
        for (int queue = 0; queue < SIDE_QUEUES; queue++)
            assert_int_equal(get(f, "g", queue), queue + round);
    }
}

/* --- whose it is --- */

static void assert_ignored(struct fixture *f)
{
    assert_int_equal(journal_count(f), 0);
    assert_true(file_exists(f->ignored[0]) || file_exists(f->ignored[1]));
}

/* A 4.9.2 broker ran in between, or a person has edited or restored the file. */
static void a_journal_of_another_json_is_put_aside(void **state)
{
    struct fixture *f = *state;
    commit(f, "g", 0, 10);
    save(f);
    commit(f, "g", 0, 20);
    step(f);
    offsets_free(f->offsets);
    file_write(f->json, "{\"offsetTable\":{\"T@g\":{0:15}}}");
    log_set_level((enum log_level) - 1);
    open_offsets(f);
    assert_int_equal(get(f, "g", 0), 15);
    assert_ignored(f);
    /* A new one is kept at once. */
    commit(f, "g", 0, 16);
    step(f);
    crash(f);
    assert_int_equal(get(f, "g", 0), 16);
}

static void a_journal_without_its_json_is_put_aside(void **state)
{
    struct fixture *f = *state;
    commit(f, "g", 0, 10);
    save(f);
    commit(f, "g", 0, 20);
    step(f);
    assert_int_equal(unlink(f->json), 0);
    crash(f);
    assert_int_equal(get(f, "g", 0), -1);
    assert_ignored(f);
}

/* The file before the last, when the last one is damaged: the journal knows it, too, and says what
 * has changed since. */
static void a_backup_that_is_loaded_has_its_journal(void **state)
{
    struct fixture *f = *state;
    commit(f, "g", 0, 10);
    commit(f, "g", 1, 11);
    save(f);
    commit(f, "g", 0, 20);
    step(f);
    save(f);
    commit(f, "g", 0, 30);
    step(f);
    offsets_free(f->offsets);
    file_write(f->json, "damaged");
    log_set_level((enum log_level) - 1);
    open_offsets(f);
    assert_int_equal(get(f, "g", 0), 30);
    assert_int_equal(get(f, "g", 1), 11);
    save(f);
    crash(f);
    assert_int_equal(get(f, "g", 0), 30);
    assert_int_equal(journal_count(f), 0);
}

static void what_is_no_journal_is_put_aside(void **state)
{
    struct fixture *f = *state;
    commit(f, "g", 0, 10);
    save(f);
    file_write(f->journals[0], "This is no journal, although it is as long as one that has begun.");
    file_write(f->journals[1], "a crash came before its first block was written");
    log_set_level((enum log_level) - 1);
    crash(f);
    assert_int_equal(get(f, "g", 0), 10);
    assert_int_equal(journal_count(f), 0);
    assert_true(file_exists(f->ignored[0]));
    assert_false(file_exists(f->ignored[1]));
}

/* --- the format --- */

static void a_damaged_block_is_found_out(void **state)
{
    (void)state;
    struct buf block = BUF_EMPTY;
    struct journal_block decoded;
    journal_changes_open(&block);
    journal_put_forget(&block, s("T@gone"));
    size_t key_at = journal_put_key(&block, s("T@g"));
    journal_put_queue(&block, key_at, 65535, INT64_MIN);
    journal_put_queue(&block, key_at, 0, INT64_MAX);
    journal_changes_seal(&block, UINT64_MAX, 7, INT64_MAX);
    assert_int_equal(journal_block_decode(buf_slice(&block), &decoded), STATUS_OK);
    assert_true(decoded.kind == JOURNAL_CHANGES && decoded.generation == UINT64_MAX &&
                decoded.sequence == 7 && decoded.log_pos == INT64_MAX &&
                decoded.size == block.size);

    struct journal_change change;
    struct journal_queue queue;
    assert_true(journal_change_next(&decoded.changes, &change));
    assert_true(change.forget && slice_is(change.key, "T@gone") && change.queues.size == 0);
    assert_true(journal_change_next(&decoded.changes, &change));
    assert_true(!change.forget && slice_is(change.key, "T@g"));
    assert_true(journal_queue_next(&change.queues, &queue));
    assert_true(queue.queue_id == 65535 && queue.offset == INT64_MIN);
    assert_true(journal_queue_next(&change.queues, &queue));
    assert_true(queue.queue_id == 0 && queue.offset == INT64_MAX);
    assert_false(journal_queue_next(&change.queues, &queue));
    assert_false(journal_change_next(&decoded.changes, &change));

    for (size_t size = 0; size < block.size; size++)
        assert_int_equal(journal_block_decode(slice_of(block.data, size), &decoded),
                         STATUS_TRUNCATED);
    for (size_t bit = 0; bit < 8 * block.size; bit++) {
        block.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(journal_block_decode(buf_slice(&block), &decoded), STATUS_OK);
        block.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buf_release(&block);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_crash_costs_what_came_after_the_last_step),
        TEST(nothing_is_written_without_a_change),
        TEST(a_save_takes_the_journal_away),
        TEST(a_save_takes_both_journals_away),
        TEST(a_replayed_table_counts_as_changed),
        TEST(removed_and_cloned_groups_are_too),
        TEST(a_step_of_many_changes_is_cut_into_blocks),
        TEST(a_crash_may_come_anywhere),
        TEST(a_torn_or_damaged_end_is_cut),
        TEST(commits_steps_and_saves_run_side_by_side),
        TEST(a_journal_of_another_json_is_put_aside),
        TEST(a_journal_without_its_json_is_put_aside),
        TEST(a_backup_that_is_loaded_has_its_journal),
        TEST(what_is_no_journal_is_put_aside),
        TEST(a_damaged_block_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
