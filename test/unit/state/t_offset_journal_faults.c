/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal beside consumerOffset.json on a disk that is full or fails: nothing is lost that
 * could be written, and what was written is never taken for more than it is.
 * Source: the table at the top of broker/state/offset_journal.c.
 */
#include "journal_test.h"

static void what_was_not_written_is_written_later(void **state)
{
    struct fixture *f = *state;
    struct err err;
    for (int torn = 0; torn < 2; torn++) {
        commit(f, "g", 0, 1);
        commit(f, "gone", 0, 1);
        step(f);
        f->vfs.fails_for = ".journal.";
        f->vfs.fails_with = STATUS_FULL;
        f->vfs.tears = torn;
        commit(f, "g", 0, 2);
        commit(f, "h", 3, 3);
        offsets_remove_group(f->offsets, s("gone"));
        for (int i = 0; i < 3; i++) {
            assert_int_equal(offsets_journal_step(f->offsets, &err), STATUS_FULL);
            assert_non_null(strstr(err.text, f->json));
            commit(f, "g", 1, 10 + i);
        }
        f->vfs.fails_for = NULL;
        step(f);
        crash(f);
        assert_int_equal(get(f, "g", 0), 2);
        assert_int_equal(get(f, "g", 1), 12);
        assert_int_equal(get(f, "h", 3), 3);
        assert_int_equal(get(f, "gone", 0), -1);
    }
}

/* Two blocks of a failed step may have reached the file whole, and a later block may be as long as
 * the first: what then stands behind it is old. */
static void leftovers_of_a_failed_write_are_not_replayed(void **state)
{
    struct fixture *f = *state;
    struct err err;
    commit(f, "g", 0, 1);
    step(f);
    char *old;
    size_t old_size;
    const char *path = journal(f);
    commit(f, "g", 0, 2);
    step(f);
    commit(f, "g", 0, 3);
    step(f);
    assert_int_equal(vfs_read_file(vfs_posix(), path, 1 << 20, &old, &old_size), STATUS_OK);
    f->vfs.fails_for = ".journal.";
    f->vfs.fails_with = STATUS_FULL;
    f->vfs.tears = true;
    commit(f, "g", 0, 4);
    assert_int_equal(offsets_journal_step(f->offsets, &err), STATUS_FULL);
    f->vfs.fails_for = NULL;
    step(f);
    /* Blocks of one offset are of one size: the one with 3 becomes a whole block behind. */
    char *now;
    size_t now_size;
    assert_int_equal(vfs_read_file(vfs_posix(), path, 1 << 20, &now, &now_size), STATUS_OK);
    size_t block = now_size - old_size;
    now = xrealloc(now, now_size + block);
    memcpy(now + now_size, old + old_size - block, block);
    write_bytes(path, now, now_size + block);
    free(old);
    free(now);
    crash(f);
    assert_int_equal(get(f, "g", 0), 4);
}

static void a_full_disk_keeps_file_and_journal(void **state)
{
    struct fixture *f = *state;
    struct err err;
    log_set_level((enum log_level) - 1);
    commit(f, "g", 0, 1);
    save(f);
    commit(f, "g", 0, 2);
    step(f);
    f->vfs.fails_for = "consumerOffset";
    f->vfs.fails_with = STATUS_FULL;
    for (int i = 0; i < 3; i++)
        assert_int_equal(offsets_persist(f->offsets, &err), STATUS_FULL);
    f->vfs.fails_for = NULL;
    commit(f, "g", 0, 3);
    step(f);
    crash(f);
    assert_int_equal(get(f, "g", 0), 3);
    save(f);
    assert_int_equal(journal_count(f), 0);
    crash(f);
    assert_int_equal(get(f, "g", 0), 3);
}

/* The JSON file fails again and again: no more than two journals, and both count. */
static void a_save_that_fails_does_not_pile_up_journals(void **state)
{
    struct fixture *f = *state;
    struct err err;
    commit(f, "g", 0, 1);
    save(f);
    f->vfs.fails_for = ".json";
    f->vfs.fails_with = STATUS_FULL;
    for (int i = 2; i < 8; i++) {
        commit(f, "g", 0, i);
        commit(f, "g", i, i);
        step(f);
        assert_int_equal(offsets_persist(f->offsets, &err), STATUS_FULL);
    }
    assert_int_equal(journal_count(f), 2);
    crash(f);
    for (int i = 2; i < 8; i++)
        assert_int_equal(get(f, "g", i), i);
    assert_int_equal(get(f, "g", 0), 7);
    save(f);
    assert_int_equal(journal_count(f), 0);
}

/* The journal cannot be written at all: the JSON file is, without one. Later there is one again. */
static void a_journal_that_fails_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct err err;
    log_set_level((enum log_level) - 1);
    commit(f, "g", 0, 1);
    save(f);
    commit(f, "g", 0, 2);
    step(f);
    f->vfs.fails_for = ".journal.";
    f->vfs.fails_with = STATUS_IO;
    commit(f, "g", 0, 3);
    assert_int_equal(offsets_journal_sync(f->offsets, &err), STATUS_IO);
    assert_true(offsets_journal_is_due(f->offsets));
    save(f);
    assert_int_equal(journal_count(f), 0);
    assert_file_is(f->json, "{\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:3\n\t\t}\n\t}\n}");
    commit(f, "g", 0, 4);
    assert_int_equal(offsets_journal_step(f->offsets, &err), STATUS_IO);
    f->vfs.fails_for = NULL;
    step(f);
    crash(f);
    assert_int_equal(get(f, "g", 0), 4);
}

static void a_long_journal_asks_for_the_file(void **state)
{
    struct fixture *f = *state;
    int64_t value = 0;
    while (!offsets_journal_is_due(f->offsets)) {
        value++;
        for (int queue = 0; queue < 20000; queue++)
            commit(f, "g", queue, value);
        step(f);
        assert_true(value < 400);
    }
    assert_true(size_of(journal(f)) > 32 << 20);
    save(f);
    assert_false(offsets_journal_is_due(f->offsets));
    assert_int_equal(journal_count(f), 0);
}

/* The table changes, and the journal's thread writes it, at the moment at which a save removes a
 * journal. It found the name of the older one free too early, and wrote to what was then removed.
 */
static struct fixture *unlinking;
static int unlinks_left;

static enum status unlink_later(struct vfs *vfs, const char *path)
{
    if (strstr(path, ".journal.") != NULL && --unlinks_left == 0) {
        commit(unlinking, "g", 0, 2);
        step(unlinking);
    }
    return dying_unlink(vfs, path);
}

static void a_change_while_a_journal_is_removed_is_kept(void **state)
{
    struct fixture *f = *state;
    for (int at = 1; at <= 2; at++) {
        commit(f, "g", 0, 1);
        step(f);
        unlinking = f;
        unlinks_left = at;
        f->vfs.ops.unlink = unlink_later;
        save(f);
        assert_true(unlinks_left <= 0);
        crash(f);
        assert_int_equal(get(f, "g", 0), 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_not_written_is_written_later),
        TEST(leftovers_of_a_failed_write_are_not_replayed),
        TEST(a_full_disk_keeps_file_and_journal),
        TEST(a_save_that_fails_does_not_pile_up_journals),
        TEST(a_journal_that_fails_is_given_up),
        TEST(a_change_while_a_journal_is_removed_is_kept),
        TEST(a_long_journal_asks_for_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
