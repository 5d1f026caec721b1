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

/* Older entries are lost with their files: a queue that must start in the middle of a file is
 * filled up to there, and the fillers are never delivered. */
static void starts_in_the_middle(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    struct kit after;
    kit_init(&kit, "queue");
    kit_open(&kit);
    kit_put_many(&kit, "A", 0, 10, 40);
    kit_close(&kit); /* durable up to here */
    kit_open(&kit);
    kit_put_many(&kit, "A", 0, 10, 5);
    kit_path(&kit, "../crashed", path);
    kit_copy(kit.root, path);
    kit_init_copy(&after, "queue", path);
    kit_path(&after, "consumequeue", path);
    folder_remove(path);
    kit_open(&after);
    struct queue *queue = kit_queue(&after, "A", 0);
    assert_int_equal(queue_min_offset(queue), 40);
    assert_int_equal(queue_max_offset(queue), 45);
    assert_int_equal(kit_read_queue(&after, queue, 40), 5);
    kit_path(&after, "consumequeue/A/0/00000000000000000600", path);
    assert_true(kit_exists(path));
    struct arena arena;
    arena_init(&arena, 4096);
    struct slice file = file_bytes(&arena, path);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(queue_entry_is_filler(file.data + i * QUEUE_ENTRY_BYTES), i < 10);
    struct get_result got;
    store_get(after.store, queue, 39, 32, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_OFFSET_TOO_SMALL);
    assert_int_equal(got.next_begin_offset, 40);
    assert_int_equal(kit_put(&after, "A", 0, "b", "").queue_offset, 45);
    arena_release(&arena);
    kit_release(&after);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_4_9_2_wrote),
        cmocka_unit_test(finds_boundaries),
        cmocka_unit_test(files_appear_when_needed),
        cmocka_unit_test(starts_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
