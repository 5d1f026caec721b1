/* SPDX-License-Identifier: Apache-2.0
 *
 * Consume queue entries and files: the format against 4.9.2's bytes, finding the end and the first
 * living entry, files made only when needed, entries on disk as 4.9.2 writes them.
 *
 * Source: test/data/store-4.9.2/consumequeue; RocketMQ store/.../ConsumeQueue.java.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/consumequeue_format.h"
#include "test/unit/support/store_kit.h"
#include "test/unit/support/tsv.h"

#include <stdio.h>
#include <string.h>

static void reads_what_4_9_2_wrote(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    struct slice file = file_bytes(
        &arena, "test/data/store-4.9.2/consumequeue/SCHEDULE_TOPIC_XXXX/1/00000000000000000000");
    assert_int_equal(file.size, 600);
    assert_int_equal(queue_file_boundary(file, INT64_MAX), 6);
    struct tsv tsv;
    tsv_load(&tsv, "test/data/store-4.9.2.manifest.tsv");
    int compared = 0;
    for (size_t row = 0; row < tsv.row_count; row++) {
        if (!slice_is(tsv_cell(&tsv, row, "topic"), "SCHEDULE_TOPIC_XXXX") ||
            tsv_number(&tsv, row, "queueId") != 1)
            continue;
        const uint8_t *entry = file.data + tsv_number(&tsv, row, "queueOffset") * QUEUE_ENTRY_BYTES;
        uint8_t encoded[QUEUE_ENTRY_BYTES];
        queue_entry_encode(encoded, tsv_number(&tsv, row, "commitLogOffset"),
                           (int32_t)tsv_number(&tsv, row, "size"),
                           tsv_number(&tsv, row, "cqTagsCode"));
        assert_memory_equal(entry, encoded, sizeof encoded);
        assert_int_equal(queue_entry_pos(entry), tsv_number(&tsv, row, "commitLogOffset"));
        assert_int_equal(queue_entry_size(entry), tsv_number(&tsv, row, "size"));
        assert_int_equal(queue_entry_tags_code(entry), tsv_number(&tsv, row, "cqTagsCode"));
        compared++;
    }
    assert_int_equal(compared, 6);
    tsv_release(&tsv);
    arena_release(&arena);
}

static void finds_boundaries(void **state)
{
    (void)state;
    uint8_t file[30 * QUEUE_ENTRY_BYTES];
    for (size_t held = 0; held <= 30; held++) {
        memset(file, 0, sizeof file);
        for (size_t i = 0; i < held; i++)
            queue_entry_encode(file + i * QUEUE_ENTRY_BYTES, 1000 + (int64_t)i * 100, 100, 0);
        struct slice slice = slice_of(file, sizeof file);
        assert_int_equal(queue_file_boundary(slice, INT64_MAX), held);
        for (size_t cut = 0; cut <= held; cut++) {
            int64_t pos = 1000 + (int64_t)cut * 100;
            assert_int_equal(queue_file_boundary(slice, pos), cut);
            assert_int_equal(queue_file_first_from(slice, held, pos), cut);
        }
        assert_int_equal(queue_file_first_from(slice, held, 0), 0);
    }
    /* Fillers in front are never first. */
    for (size_t i = 0; i < 7; i++)
        queue_entry_encode(file + i * QUEUE_ENTRY_BYTES, 0, QUEUE_FILLER_SIZE, 0);
    assert_int_equal(queue_file_first_from(slice_of(file, sizeof file), 30, 0), 7);
    assert_int_equal(queue_file_boundary(slice_of(file, sizeof file), INT64_MAX), 30);
    assert_true(queue_entry_is_filler(file));
    assert_false(queue_entry_is_filler(file + 7 * QUEUE_ENTRY_BYTES));
}

/* A queue costs nothing on disk until its first entry, and a new file only when one is full. */
static void files_appear_when_needed(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    kit_init(&kit, "queue");
    kit_start(&kit);
    (void)kit_queue(&kit, "Quiet", 3);
    kit_path(&kit, "consumequeue", path);
    assert_false(kit_exists(path));
    kit_put_many(&kit, "A", 7, 1, 30);
    kit_dispatched(&kit);
    kit_path(&kit, "consumequeue/A/7/00000000000000000000", path);
    assert_true(kit_exists(path));
    kit_path(&kit, "consumequeue/A/7/00000000000000000600", path);
    assert_false(kit_exists(path));
    kit_put_many(&kit, "A", 7, 1, 61);
    kit_dispatched(&kit);
    assert_true(kit_exists(path));
    kit_path(&kit, "consumequeue/A/7/00000000000000001800", path);
    assert_true(kit_exists(path));
    kit_path(&kit, "consumequeue/Quiet", path);
    assert_false(kit_exists(path));

    struct arena arena;
    arena_init(&arena, 4096);
    kit_path(&kit, "consumequeue/A/7/00000000000000001800", path);
    struct slice file = file_bytes(&arena, path);
    assert_int_equal(file.size, 600);
    assert_int_equal(queue_file_boundary(file, INT64_MAX), 1);
    struct queue_entry entry;
    assert_true(queue_entry_at(kit_queue(&kit, "A", 7), 90, &entry));
    assert_int_equal(queue_entry_pos(file.data), entry.pos);
    assert_false(queue_entry_at(kit_queue(&kit, "A", 7), 91, &entry));
    assert_false(queue_entry_at(kit_queue(&kit, "A", 7), -1, &entry));
    arena_release(&arena);
    kit_release(&kit);
}

/* Older entries are lost with their files, and the log holds their messages no longer: a queue that
 * must start in the middle of a file is filled up to there, and the fillers are never delivered. */
static void starts_in_the_middle(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    char path[256];
    kit_init(&kit, "queue");
    kit.options.segment_bytes = 4096;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 10, 45); /* 108 bytes each: 37 in the first segment */
    kit_dispatched(&kit);
    kit_crash(&kit, &after);
    kit_remove(&after, "consumequeue");
    kit_remove(&after, "commitlog/00000000000000000000");
    kit_open(&after);
    struct queue *queue = kit_queue(&after, "A", 0);
    assert_int_equal(queue_min_offset(queue), 37);
    assert_int_equal(queue_max_offset(queue), 45);
    assert_int_equal(kit_read_queue(&after, queue, 37), 8);
    kit_path(&after, "consumequeue/A/0/00000000000000000600", path);
    assert_true(kit_exists(path));
    struct arena arena;
    arena_init(&arena, 4096);
    struct slice file = file_bytes(&arena, path);
    for (size_t i = 0; i < 15; i++)
        assert_int_equal(queue_entry_is_filler(file.data + i * QUEUE_ENTRY_BYTES), i < 7);
    struct get_result got;
    store_get(after.store, queue, 36, 32, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_OFFSET_TOO_SMALL);
    assert_int_equal(got.next_begin_offset, 37);
    assert_int_equal(kit_put(&after, "A", 0, "b", "").queue_offset, 45);
    arena_release(&arena);
    kit_release(&after);
    kit_release(&kit);
}

/* Entries [from, to) of the first file of queue A 0 become fillers. */
static void put_fillers(const struct kit *kit, int from, int to)
{
    char path[256];
    uint8_t filler[QUEUE_ENTRY_BYTES];
    kit_path(kit, "consumequeue/A/0/00000000000000000000", path);
    queue_entry_encode(filler, 0, QUEUE_FILLER_SIZE, 0);
    for (int i = from; i < to; i++)
        kit_poke(path, i * QUEUE_ENTRY_BYTES, filler, sizeof filler);
}

/* How many messages pulls from `offset` on deliver, until there is nothing new. */
static int deliver_all(struct kit *kit, int64_t offset)
{
    struct arena arena;
    struct get_result got;
    int delivered = 0;
    arena_init(&arena, 4096);
    for (int pulls = 0; pulls < 100; pulls++) {
        store_get(kit->store, kit_queue(kit, "A", 0), offset, 32, NULL, NULL, &arena, &got);
        for (int i = 0; i < got.range_count; i++)
            log_range_release(&got.ranges[i]);
        delivered += got.count;
        if (got.status == GET_OFFSET_OVERFLOW_ONE)
            break;
        offset = got.next_begin_offset;
    }
    arena_release(&arena);
    return delivered;
}

/* Lost entries hide no other message: not from pulls, not after another start, clean or not. */
static void fillers_hide_nothing(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct kit kit;
        struct kit after;
        kit_init(&kit, "queue");
        kit_start(&kit);
        kit_put_many(&kit, "A", 0, 100, 20);
        kit_dispatched(&kit);
        put_fillers(&kit, 2, 4);
        put_fillers(&kit, 8, 17);
        assert_int_equal(deliver_all(&kit, 0), 9);
        if (how > 0)
            kit_close(&kit);
        if (how == 2)
            kit_open(&kit);
        kit_crash(&kit, &after);
        kit_open(&after);
        /* Where the log is read again, the entries come back. */
        assert_int_equal(queue_min_offset(kit_queue(&after, "A", 0)), 0);
        assert_int_equal(queue_max_offset(kit_queue(&after, "A", 0)), 20);
        assert_int_equal(deliver_all(&after, 0), how == 0 ? 20 : 9);
        kit_release(&after);
        kit_release(&kit);
    }
}

/* Every search over a file in which runs of fillers stand anywhere, against a walk. */
static void searches_pass_over_fillers(void **state)
{
    (void)state;
    enum { COUNT = 12 };
    uint8_t file[COUNT * QUEUE_ENTRY_BYTES];
    struct slice slice = slice_of(file, sizeof file);
    for (unsigned mask = 0; mask < 1U << COUNT; mask++) {
        for (size_t i = 0; i < COUNT; i++) {
            bool filler = (mask >> i & 1) != 0;
            queue_entry_encode(file + i * QUEUE_ENTRY_BYTES, filler ? 0 : 1000 + (int64_t)i * 100,
                               filler ? QUEUE_FILLER_SIZE : 100, 0);
        }
        for (int64_t pos = 950; pos <= 1000 + COUNT * 100; pos += 150) {
            size_t end = 0;
            size_t first = COUNT;
            for (size_t i = 0; i < COUNT; i++) {
                bool before = 1000 + (int64_t)i * 100 < pos;
                bool whole = 1000 + (int64_t)i * 100 + 100 <= pos;
                if ((mask >> i & 1) == 0 && whole)
                    end = i + 1;
                if ((mask >> i & 1) == 0 && !before && first == COUNT)
                    first = i;
            }
            assert_int_equal(queue_file_boundary(slice, pos), end);
            assert_int_equal(queue_file_first_from(slice, COUNT, pos), first);
        }
    }
}

/* The search by time, whichever entries are fillers, finds a message that is nearest. */
static void search_by_time_passes_over_fillers(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "queue");
    atomic_store(&kit.wall_ms, 1);
    kit_start(&kit);
    for (int i = 0; i < 25; i++) {
        atomic_store(&kit.wall_ms, 1000 + i * 100);
        (void)kit_put(&kit, "A", 0, "b", "");
    }
    kit_dispatched(&kit);
    put_fillers(&kit, 5, 20);
    struct queue *queue = kit_queue(&kit, "A", 0);
    for (int i = 0; i < 25; i++) {
        int64_t wanted = i < 5 || i >= 20 ? i : i <= 12 ? 4 : 20;
        assert_int_equal(queue_offset_by_time(queue, 1000 + i * 100), wanted);
    }
    struct queue_entry entry;
    assert_int_equal(queue_store_time(queue, 7), -1);
    assert_true(queue_entry_at(queue, 7, &entry));
    assert_int_equal(entry.pos, -1);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_4_9_2_wrote),
        cmocka_unit_test(finds_boundaries),
        cmocka_unit_test(files_appear_when_needed),
        cmocka_unit_test(starts_in_the_middle),
        cmocka_unit_test(fillers_hide_nothing),
        cmocka_unit_test(searches_pass_over_fillers),
        cmocka_unit_test(search_by_time_passes_over_fillers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
