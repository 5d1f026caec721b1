/* SPDX-License-Identifier: Apache-2.0
 *
 * Stores that RocketMQ 4.9.2 wrote open, hold exactly the messages that 4.9.2 itself read back from
 * them, by queue, by key and by position, and can be appended to.
 *
 * Source: test/data/store-4.9.2*, made and listed by a 4.9.2 broker; broker options in
 * store-4.9.2.broker.properties.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/properties.h"
#include "test/unit/support/store_kit.h"
#include "test/unit/support/tsv.h"

#include <stdio.h>

struct golden {
    struct kit kit;
    struct tsv manifest;
    struct tsv queues;
    struct arena arena;
};

static void golden_init(struct golden *golden, const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "test/data/%s", name);
    kit_init_copy(&golden->kit, "golden", path);
    (void)snprintf(path, sizeof path, "test/data/%s.manifest.tsv", name);
    tsv_load(&golden->manifest, path);
    (void)snprintf(path, sizeof path, "test/data/%s.queues.tsv", name);
    tsv_load(&golden->queues, path);
    arena_init(&golden->arena, 65536);
}

static void golden_release(struct golden *golden)
{
    kit_release(&golden->kit);
    tsv_release(&golden->manifest);
    tsv_release(&golden->queues);
    arena_release(&golden->arena);
}

static struct queue *row_queue(struct golden *golden, const struct tsv *tsv, size_t row)
{
    struct queue *queue = store_queue(golden->kit.store, tsv_cell(tsv, row, "topic"),
                                      (int32_t)tsv_number(tsv, row, "queueId"), false);
    assert_non_null(queue);
    return queue;
}

static void check_queues(struct golden *golden)
{
    for (size_t row = 0; row < golden->queues.row_count; row++) {
        struct queue *queue = row_queue(golden, &golden->queues, row);
        int64_t max_offset = tsv_number(&golden->queues, row, "maxOffset");
        assert_int_equal(queue_min_offset(queue), tsv_number(&golden->queues, row, "minOffset"));
        assert_int_equal(queue_max_offset(queue), max_offset);
        assert_int_equal(kit_read_queue(&golden->kit, queue, 0), max_offset);
    }
}

static void check_fields(const struct golden *golden, size_t row, const struct record *record)
{
    const struct tsv *tsv = &golden->manifest;
    assert_int_equal(record->size, tsv_number(tsv, row, "size"));
    assert_int_equal(record->queue_offset, tsv_number(tsv, row, "queueOffset"));
    assert_int_equal(record->queue_id, tsv_number(tsv, row, "queueId"));
    assert_int_equal(record->sys_flag, tsv_number(tsv, row, "sysFlag"));
    assert_int_equal(record->store_timestamp_ms, tsv_number(tsv, row, "storeTimestamp"));
    assert_int_equal(record->body_crc, tsv_number(tsv, row, "bodyCrc"));
    assert_int_equal(record->body.size, tsv_number(tsv, row, "storedBodyLength"));
    assert_true(slice_equal(record->topic, tsv_cell(tsv, row, "topic")));
}

/* By position and by queue. */
static void check_record(struct golden *golden, size_t row)
{
    int64_t pos = tsv_number(&golden->manifest, row, "commitLogOffset");
    struct log_range range;
    assert_int_equal(store_read_record(golden->kit.store, pos, &range), STATUS_OK);
    struct record record;
    assert_int_equal(record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record),
                     STATUS_OK);
    check_fields(golden, row, &record);
    log_range_release(&range);
    /* One byte further there is no record. */
    assert_int_equal(store_read_record(golden->kit.store, pos + 1, &range), STATUS_NOT_FOUND);

    struct queue *queue = row_queue(golden, &golden->manifest, row);
    int64_t queue_offset = tsv_number(&golden->manifest, row, "queueOffset");
    struct queue_entry entry;
    assert_true(queue_entry_at(queue, queue_offset, &entry));
    assert_int_equal(entry.pos, pos);
    assert_int_equal(entry.size, tsv_number(&golden->manifest, row, "size"));
    assert_int_equal(entry.tags_code, tsv_number(&golden->manifest, row, "cqTagsCode"));
    assert_int_equal(queue_store_time(queue, queue_offset),
                     tsv_number(&golden->manifest, row, "storeTimestamp"));
}

/* Is the record found under the key, once? */
static void check_key(struct golden *golden, size_t row, struct slice key)
{
    int64_t found[1024];
    int64_t last_ms;
    int64_t last_pos;
    int64_t pos = tsv_number(&golden->manifest, row, "commitLogOffset");
    int count = store_query_index(golden->kit.store, tsv_cell(&golden->manifest, row, "topic"), key,
                                  1024, 0, INT64_MAX, found, &last_ms, &last_pos);
    int hits = 0;
    for (int i = 0; i < count; i++) {
        hits += found[i] == pos;
        assert_true(i == 0 || found[i] <= found[i - 1]);
    }
    if (hits != 1)
        print_error("row %zu key %.*s: found %d times\n", row, SLICE_ARGS(key), hits);
    assert_int_equal(hits, 1);
    assert_true(last_pos >= pos && last_ms > 0);
}

static size_t check_keys(struct golden *golden, size_t row)
{
    size_t looked_up = 0;
    struct slice unique_key = tsv_cell(&golden->manifest, row, "uniqKey");
    if (unique_key.size > 0) {
        check_key(golden, row, unique_key);
        looked_up++;
    }
    struct slice keys = tsv_cell(&golden->manifest, row, "keys");
    size_t from = 0;
    for (size_t i = 0; i <= keys.size; i++) {
        if (i < keys.size && keys.data[i] != ' ')
            continue;
        if (i > from) {
            check_key(golden, row, slice_of(keys.data + from, i - from));
            looked_up++;
        }
        from = i + 1;
    }
    return looked_up;
}

/* Everything in the manifest is there, and a walk over the log meets nothing else. */
static void check_all(struct golden *golden, int64_t log_end, size_t keys)
{
    assert_int_equal(store_appended_pos(golden->kit.store), log_end);
    assert_int_equal(store_dispatched_pos(golden->kit.store), log_end);
    assert_int_equal(store_flushed_pos(golden->kit.store), log_end);
    check_queues(golden);
    size_t looked_up = 0;
    int64_t total = 0;
    for (size_t row = 0; row < golden->manifest.row_count; row++) {
        check_record(golden, row);
        looked_up += check_keys(golden, row);
    }
    for (size_t row = 0; row < golden->queues.row_count; row++)
        total += queue_max_offset(row_queue(golden, &golden->queues, row));
    assert_int_equal(total, golden->manifest.row_count);
    assert_int_equal(looked_up, keys);
}

/* Go on writing: the offsets continue, also after another open. */
static void check_append(struct golden *golden)
{
    struct kit *kit = &golden->kit;
    struct queue *queue = kit_queue(kit, "PlainTopic", 0);
    int64_t next = queue_max_offset(queue);
    struct append_result result = kit_put(kit, "PlainTopic", 0, "more", "KEYS\001new");
    assert_int_equal(result.status, PUT_OK);
    assert_int_equal(result.queue_offset, next);
    kit_close(kit);
    kit_open(kit);
    queue = kit_queue(kit, "PlainTopic", 0);
    assert_int_equal(queue_max_offset(queue), next + 1);
    assert_int_equal(kit_read_queue(kit, queue, 0), next + 1);
    int64_t pos;
    int64_t last_ms;
    int64_t last_pos;
    assert_int_equal(store_query_index(kit->store, SLICE_LITERAL("PlainTopic"),
                                       SLICE_LITERAL("new"), 1, 0, INT64_MAX, &pos, &last_ms,
                                       &last_pos),
                     1);
    assert_int_equal(pos, result.pos);
}

static void clean_store(void **state)
{
    (void)state;
    struct golden golden;
    golden_init(&golden, "store-4.9.2");
    kit_open(&golden.kit);
    check_all(&golden, 423597, 1578);
    kit_close(&golden.kit);
    /* Our own checkpoint now; nothing has changed. */
    kit_open(&golden.kit);
    check_all(&golden, 423597, 1578);
    check_append(&golden);
    golden_release(&golden);
}

static void crashed_store(void **state)
{
    (void)state;
    struct golden golden;
    golden_init(&golden, "store-4.9.2-crashed");
    kit_open(&golden.kit);
    check_all(&golden, 698822, 2396);
    kit_close(&golden.kit);
    kit_open(&golden.kit);
    check_all(&golden, 698822, 2396);
    check_append(&golden);
    golden_release(&golden);
}

/* Queues and index are built anew from the log alone. */
static void without_queues_and_index(void **state)
{
    (void)state;
    struct golden golden;
    golden_init(&golden, "store-4.9.2");
    char path[256];
    kit_path(&golden.kit, "consumequeue", path);
    folder_remove(path);
    kit_path(&golden.kit, "index", path);
    folder_remove(path);
    kit_open(&golden.kit);
    check_all(&golden, 423597, 1578);
    golden_release(&golden);
}

static void wrong_sizes_are_refused(void **state)
{
    (void)state;
    struct golden golden;
    golden_init(&golden, "store-4.9.2");
    golden.kit.options.segment_bytes = 131072;
    kit_open_fails(&golden.kit, STATUS_CORRUPT, "mappedFileSizeCommitLog");
    golden.kit.options.segment_bytes = 65536;
    golden.kit.options.queue_file_bytes = 6000000;
    kit_open_fails(&golden.kit, STATUS_CORRUPT, "mappedFileSizeConsumeQueue");
    golden.kit.options.queue_file_bytes = 600;
    golden.kit.options.index_entries = 512;
    kit_open_fails(&golden.kit, STATUS_CORRUPT, "maxIndexNum");
    golden.kit.options.index_entries = 256;
    char path[256];
    char away[256];
    kit_path(&golden.kit, "commitlog/00000000000000131072", path);
    kit_path(&golden.kit, "away", away);
    assert_int_equal(rename(path, away), 0);
    kit_open_fails(&golden.kit, STATUS_CORRUPT, "00000000000000131072 is missing");
    assert_int_equal(rename(away, path), 0);
    kit_open(&golden.kit);
    check_all(&golden, 423597, 1578);
    golden_release(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_store),
        cmocka_unit_test(crashed_store),
        cmocka_unit_test(without_queues_and_index),
        cmocka_unit_test(wrong_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
