/* SPDX-License-Identifier: Apache-2.0
 *
 * Where recovery starts: the checkpoint counts only for the log that it names, missing queues are
 * made again and are durable before the store is handed out, a refused start changes nothing, what
 * is cut is kept, and what cannot be read is left out.
 *
 * Source: docs/store.md, "Opening".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "common/base/arena.h"
#include "test/unit/support/store_kit.h"
#include "test/unit/support/tsv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int64_t queue_end(struct kit *kit, const char *topic)
{
    struct queue *queue = store_queue(kit->store, slice_of_cstr(topic), 0, false);
    return queue == NULL ? -1 : queue_max_offset(queue);
}

/* --- the checkpoint of another log --- */

/* Log, queues and index deleted to begin empty; the checkpoint is forgotten. */
static void stale_checkpoint_beside_a_new_log(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    kit_init(&kit, "start");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 100, 3);
    kit_close(&kit);
    char stale[256];
    char path[256];
    kit_path(&kit, "../stale", stale);
    kit_path(&kit, "checkpoint", path);
    kit_copy(path, stale);
    kit_remove(&kit, "commitlog");
    kit_remove(&kit, "consumequeue");
    kit_start(&kit);
    for (int i = 0; i < 10; i++)
        assert_int_equal(kit_put(&kit, "A", 0, "a body of another length, really", "").status,
                         PUT_OK);
    int64_t end = store_appended_pos(kit.store);
    for (int round = 0; round < 2; round++) {
        kit_crash(&kit, &after);
        kit_path(&after, "checkpoint", path);
        if (round == 1) {
            folder_remove(path);
            kit_copy(stale, path);
        }
        kit_open(&after);
        assert_int_equal(store_appended_pos(after.store), end);
        assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 10);
        kit_release(&after);
    }
    kit_release(&kit);
}

/* A log brought from elsewhere, shorter or longer than what the checkpoint speaks of; the queues
 * that were there point into the log before it. */
static void log_of_another_store(void **state)
{
    (void)state;
    const int counts[] = {1, 3, 20};
    for (size_t i = 0; i < 3; i++) {
        for (int keep_queues = 0; keep_queues < 2; keep_queues++) {
            struct kit kit;
            struct kit other;
            char from[256];
            char to[256];
            kit_init(&kit, "start");
            kit_start(&kit);
            kit_put_many(&kit, "A", 0, 100, 3);
            kit_put_many(&kit, "Old", 0, 100, 3);
            kit_close(&kit);
            kit_init(&other, "start");
            kit_start(&other);
            for (int n = 0; n < counts[i]; n++)
                (void)kit_put(&other, "A", 0, "messages of another length", "KEYS\001k");
            kit_close(&other);
            kit_remove(&kit, "commitlog");
            if (!keep_queues)
                kit_remove(&kit, "consumequeue");
            kit_path(&other, "commitlog", from);
            kit_path(&kit, "commitlog", to);
            kit_copy(from, to);
            kit_open(&kit);
            assert_int_equal(queue_end(&kit, "A"), counts[i]);
            assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), counts[i]);
            assert_true(queue_end(&kit, "Old") <= 0);
            kit_path(&kit, "cut", to);
            assert_false(kit_exists(to));
            kit_release(&other);
            kit_release(&kit);
        }
    }
}

/* An older state of the same log is put back: the checkpoint points behind its end. */
static void log_of_an_older_backup(void **state)
{
    (void)state;
    struct kit kit;
    char backup[256];
    char path[256];
    kit_init(&kit, "start");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 100, 5);
    kit_path(&kit, "../backup", backup);
    kit_path(&kit, "commitlog", path);
    kit_copy(path, backup);
    int64_t end = store_appended_pos(kit.store);
    kit_put_many(&kit, "A", 0, 100, 5);
    kit_close(&kit);
    kit_remove(&kit, "commitlog");
    kit_copy(backup, path);
    kit_open(&kit);
    assert_int_equal(store_appended_pos(kit.store), end);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 5);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").queue_offset, 5);
    kit_release(&kit);
}

/* The end of the log is gone, as a whole file: refused until it is back or the checkpoint is not.
 */
static void last_file_is_missing(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    char kept[256];
    kit_init(&kit, "start");
    kit.options.segment_bytes = 4096;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 1500, 7);
    kit_close(&kit);
    kit_path(&kit, "commitlog/00000000000000012288", path);
    kit_path(&kit, "../kept", kept);
    assert_true(kit_exists(path));
    kit_copy(path, kept);
    folder_remove(path);
    kit_open_fails(&kit, STATUS_CORRUPT, "00000000000000012288 is missing");
    kit_copy(kept, path);
    kit_open(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 7);
    kit_close(&kit);
    folder_remove(path);
    kit_remove(&kit, "checkpoint");
    kit_open(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 6);
    kit_release(&kit);
}

/* The named record is the last of its segment: a filler may have come behind it since. */
static void checkpoint_before_a_filler(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    char path[256];
    kit_init(&kit, "start");
    kit.options.segment_bytes = 4096;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 1500, 2);
    kit_close(&kit);
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 1500, 1);
    assert_true(store_appended_pos(kit.store) > 4096);
    kit_dispatched(&kit);
    kit_crash(&kit, &after);
    kit_path(&after, "commitlog/00000000000000000000", path);
    kit_poke(path, 200, "?", 1); /* not looked at when the checkpoint is believed */
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), store_appended_pos(kit.store));
    assert_int_equal(queue_end(&after, "A"), 3);
    kit_release(&after);
    kit_release(&kit);
}

/* --- queues that are gone --- */

/* A queue lost while the broker was down, cleanly or not, comes back whole; others are as before.
 */
static void missing_queues_come_back(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct kit kit;
        struct kit after;
        kit_init(&kit, "start");
        kit_start(&kit);
        kit_put_many(&kit, "A", 0, 100, 10);
        kit_put_many(&kit, "B", 0, 100, 40);
        kit_close(&kit);
        if (how % 2 == 1) {
            kit_start(&kit);
            kit_put_many(&kit, "B", 0, 100, 1);
        }
        kit_crash(&kit, &after);
        kit_remove(&after, how < 2 ? "consumequeue/A" : "consumequeue");
        kit_open(&after);
        assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 10);
        assert_int_equal(kit_read_queue(&after, kit_queue(&after, "B", 0), 0), 40 + how % 2);
        assert_int_equal(kit_put(&after, "A", 0, "b", "").queue_offset, 10);
        kit_release(&after);
        kit_release(&kit);
    }
}

/* What a start has built is on disk before the store is handed out. */
static void rebuilt_queues_are_durable(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    kit_init(&kit, "start");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 100, 10);
    kit_close(&kit);
    kit_remove(&kit, "consumequeue");
    atomic_store(&kit.vfs.sync_target, KIT_QUEUES);
    kit_open_fails(&kit, STATUS_IO, "syncing the consume queue");
    atomic_store(&kit.vfs.sync_target, KIT_NOTHING);
    kit_open(&kit);
    kit_crash(&kit, &after);
    kit_remove(&after, "consumequeue"); /* as if not one byte of it had been synced */
    kit_open(&after);
    assert_int_equal(queue_end(&after, "A"), 10);
    kit_release(&after);
    kit_release(&kit);
}

/* The mend that a refusal advises works, and a refusal leaves the clean stop as it was. */
static void refused_then_mended(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    kit_init(&kit, "start");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 100, 10);
    kit_close(&kit);
    kit.options.queue_file_bytes = 1200;
    kit_open_fails(&kit, STATUS_CORRUPT, "delete");
    kit_path(&kit, "abort", path);
    assert_false(kit_exists(path));
    kit_remove(&kit, "consumequeue");
    kit_open(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 10);
    kit_release(&kit);
}

/* --- what the checkpoint says --- */

static void checkpoint_of(const struct kit *kit, struct checkpoint *out)
{
    struct err err;
    assert_int_equal(checkpoint_load(vfs_posix(), kit->root, out, &err), STATUS_OK);
}

static bool checkpoint_covers_all(void *ctx)
{
    struct kit *kit = ctx;
    struct checkpoint checkpoint;
    checkpoint_of(kit, &checkpoint);
    return checkpoint.durable_pos == store_appended_pos(kit->store);
}

/* Position, sum of the queues' ends and record are of one moment, and the log is flushed for it. */
static void checkpoint_is_consistent(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "start");
    kit.options.flush_queues_interval_ms = 1;
    kit.options.flush_queues_thorough_interval_ms = 2;
    kit_start(&kit);
    int64_t ends[2000];
    for (int i = 0; i < 2000; i++)
        ends[i] = kit_put(&kit, "A", i % 3, "b", "").end_pos;
    struct checkpoint checkpoint;
    checkpoint_of(&kit, &checkpoint);
    for (int i = 0; i < 2000; i++) {
        if (ends[i] == checkpoint.durable_pos)
            assert_int_equal(checkpoint.queue_ends.total, i + 1);
    }
    assert_true(store_flushed_pos(kit.store) >= checkpoint.durable_pos);
    kit_wait(checkpoint_covers_all, &kit);
    checkpoint_of(&kit, &checkpoint);
    assert_int_equal(checkpoint.queue_ends.total, 2000);
    assert_int_equal(checkpoint.last_pos, ends[1998]);
    kit_release(&kit);
}

/* --- what is cut, and what is left out --- */

static void check_kept(const struct kit *kit, const char *name, const void *bytes, size_t size)
{
    struct arena arena;
    char path[256];
    arena_init(&arena, 4096);
    kit_path(kit, name, path);
    struct slice kept = file_bytes(&arena, path);
    assert_true(kept.size >= size);
    assert_memory_equal(kept.data, bytes, size);
    arena_release(&arena);
}

/* Bytes behind the end, in its own segment and in later ones, are kept below "cut", each time. */
static void cut_bytes_are_kept(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    char path[256];
    uint8_t first[8192];
    uint8_t third[8192];
    struct arena arena;
    kit_init(&kit, "start");
    kit.options.segment_bytes = 8192;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 902, 24); /* 1000 bytes each: 8 in each segment */
    kit_dispatched(&kit);
    kit_crash(&kit, &after);
    arena_init(&arena, 65536);
    kit_path(&after, "commitlog/00000000000000000000", path);
    kit_poke(path, 3000 + 200, "?", 1);
    memcpy(first, file_bytes(&arena, path).data, sizeof first);
    kit_path(&after, "commitlog/00000000000000016384", path);
    memcpy(third, file_bytes(&arena, path).data, sizeof third);
    for (int round = 0; round < 2; round++) {
        kit_open(&after);
        assert_int_equal(store_appended_pos(after.store), 3000);
        assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 3);
        if (round == 0) {
            check_kept(&after, "cut/00000000000000003000", first + 3000, 5000);
            check_kept(&after, "cut/00000000000000008192", "\0\0\3\350", 4);
            check_kept(&after, "cut/00000000000000016384", third, sizeof third);
        } else {
            check_kept(&after, "cut/00000000000000003000", first + 3000, 5000);
            check_kept(&after, "cut/00000000000000003000.1", "again", 5);
        }
        kit_close(&after);
        kit_path(&after, "commitlog/00000000000000000000", path);
        kit_poke(path, 3000, "again", 5);
    }
    arena_release(&arena);
    kit_release(&after);
    kit_release(&kit);
}

/* Queues are made again from a log in which something has gone bad before the point from which
 * recovery verifies: what is whole comes back, and the offsets of what is lost stay empty. */
static void bad_place_in_an_old_part(void **state)
{
    (void)state;
    const struct {
        int64_t at; /* 1000 bytes a record, 8 in each segment */
        size_t size;
        int lost;
        const char *bytes; /* NULL: noise */
    } places[] = {
        {2000, 300, 1, NULL},
        {2500, 1800, 3, NULL},
        {0, 10, 1, NULL},
        {7000, 1192, 1, NULL},
        {8000, 8, 0, NULL},
        {2004, 4, 1, "\xCB\xD4\x31\x94"}, /* the mark of a filler, of the size of a record */
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct kit kit;
        char path[256];
        uint8_t noise[2000];
        kit_init(&kit, "start");
        kit.options.segment_bytes = 8192;
        kit_start(&kit);
        kit_put_many(&kit, "A", 0, 902, 24);
        kit_close(&kit);
        memset(noise, 0x5A, sizeof noise);
        kit_path(&kit, "commitlog/00000000000000000000", path);
        kit_poke(path, places[i].at,
                 places[i].bytes == NULL ? (const void *)noise : places[i].bytes, places[i].size);
        kit_remove(&kit, "consumequeue");
        kit_open(&kit);
        struct queue *queue = kit_queue(&kit, "A", 0);
        assert_int_equal(queue_max_offset(queue), 24);
        int lost = 0;
        for (int64_t offset = 0; offset < 24; offset++) {
            struct queue_entry entry;
            struct log_range range;
            if (!queue_entry_at(queue, offset, &entry) || entry.pos == -1 ||
                store_read_record(kit.store, entry.pos, &range) != STATUS_OK)
                lost++;
            else
                log_range_release(&range);
        }
        assert_int_equal(lost, places[i].lost);
        kit_release(&kit);
    }
}

/* A start that does not come to the store leaves no mark in it: perhaps another process has it, and
 * the next start may rely on its clean stop. */
static void a_start_without_its_folders(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    char log[600];
    kit_init(&kit, "start");
    kit_open(&kit);
    kit_close(&kit);
    kit_path(&kit, "checkpoint", path);
    (void)snprintf(log, sizeof log, "%s,%s/folder", kit.commit_log, path); /* below a file */
    const char *before = kit.options.commit_log;
    kit.options.commit_log = log;
    kit_open_fails(&kit, STATUS_IO, log + strlen(kit.commit_log) + 1);
    kit_path(&kit, "abort", path);
    assert_false(kit_exists(path));
    kit.options.commit_log = before;
    kit_open(&kit);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_without_its_folders),
        cmocka_unit_test(stale_checkpoint_beside_a_new_log),
        cmocka_unit_test(log_of_another_store),
        cmocka_unit_test(log_of_an_older_backup),
        cmocka_unit_test(last_file_is_missing),
        cmocka_unit_test(checkpoint_before_a_filler),
        cmocka_unit_test(missing_queues_come_back),
        cmocka_unit_test(rebuilt_queues_are_durable),
        cmocka_unit_test(refused_then_mended),
        cmocka_unit_test(checkpoint_is_consistent),
        cmocka_unit_test(cut_bytes_are_kept),
        cmocka_unit_test(bad_place_in_an_old_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
