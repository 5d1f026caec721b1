/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending and pulling: where records land, what the results say, segments and fillers, glued
 * groups, the answers and limits of a pull, search by time, deletion of queues.
 *
 * Source: RocketMQ store/.../CommitLog.java, DefaultMessageStore.java getMessage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/properties.h"
#include "test/unit/support/store_kit.h"

#include <stdio.h>
#include <string.h>

static void results_tell_where(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    atomic_store(&kit.wall_ms, 5000000);
    kit_start(&kit);
    assert_int_equal(store_min_pos(kit.store), 0);
    struct append_result first = kit_put(&kit, "A", 0, "hello", "TAGS\001x");
    assert_int_equal(first.status, PUT_OK);
    assert_int_equal(first.pos, 0);
    assert_int_equal(first.end_pos, 91 + 5 + 1 + 6);
    assert_int_equal(first.queue_offset, 0);
    assert_int_equal(first.store_timestamp_ms, 5000000);
    assert_ptr_equal(first.tag, &kit);
    atomic_store(&kit.wall_ms, 4998000); /* the clock steps back, store time does not */
    struct append_result second = kit_put(&kit, "A", 0, "again", "");
    assert_int_equal(second.pos, first.end_pos);
    assert_int_equal(second.queue_offset, 1);
    assert_int_equal(second.store_timestamp_ms, 5000000);
    struct append_result other = kit_put(&kit, "A", 1, "else", "");
    assert_int_equal(other.queue_offset, 0);
    assert_int_equal(store_appended_pos(kit.store), other.end_pos);
    kit_dispatched(&kit);

    struct log_range range;
    struct record record;
    assert_int_equal(store_read_record(kit.store, second.pos, &range), STATUS_OK);
    assert_int_equal(record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record),
                     STATUS_OK);
    assert_int_equal(record.physical_offset, second.pos);
    assert_int_equal(record.queue_offset, 1);
    assert_int_equal(record.store_timestamp_ms, 5000000);
    assert_true(slice_is(record.body, "again"));
    log_range_release(&range);
    assert_int_equal(store_read_record(kit.store, other.end_pos, &range), STATUS_NOT_FOUND);
    assert_int_equal(store_read_record(kit.store, -1, &range), STATUS_NOT_FOUND);
    assert_int_equal(store_read_record(kit.store, INT64_MAX, &range), STATUS_NOT_FOUND);

    struct queue_entry entry;
    assert_true(queue_entry_at(kit_queue(&kit, "A", 0), 0, &entry));
    assert_int_equal(entry.tags_code, 'x');
    assert_int_equal(queue_store_time(kit_queue(&kit, "A", 0), 1), 5000000);
    assert_int_equal(queue_store_time(kit_queue(&kit, "A", 0), 2), -1);
    assert_null(store_queue(kit.store, SLICE_LITERAL("../A"), 0, true));
    assert_null(store_queue(kit.store, SLICE_LITERAL("B"), 0, false));
    kit_release(&kit);
}

/* Each batch is one write; a record that would leave less than 8 bytes goes to the next segment. */
static void segments_roll(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit.options.segment_bytes = 4096;
    kit_start(&kit);
    /* 92 + 1000 + 6 = 1098 bytes each: three to a segment, rolls counted by the filler. */
    kit_put_many(&kit, "A", 0, 1000, 3);
    assert_int_equal(atomic_load(&kit.vfs.writes), 1);
    assert_int_equal(store_appended_pos(kit.store), 3294);
    kit_put_many(&kit, "A", 0, 1000, 7);
    assert_int_equal(atomic_load(&kit.vfs.writes), 1 + 4);
    assert_int_equal(store_appended_pos(kit.store), 3 * 4096 + 1098);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 10);
    struct queue_entry entry;
    assert_true(queue_entry_at(kit_queue(&kit, "A", 0), 3, &entry));
    assert_int_equal(entry.pos, 4096);

    /* Exactly: what is left must hold record + 8. */
    int64_t left = 4096 - 1098;
    kit_put_many(&kit, "A", 0, (size_t)(left - 8 - 98), 1);
    assert_int_equal(store_appended_pos(kit.store), 4 * 4096 - 8);
    kit_put_many(&kit, "A", 0, 4096 - 7 - 98 - 1, 1);
    assert_int_equal(store_appended_pos(kit.store), 5 * 4096 - 8);
    kit_put_many(&kit, "A", 0, 1, 1);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 13);
    kit_close(&kit);
    kit_open(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 13);
    kit_release(&kit);
}

static void glued_records_stay_together(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit.options.segment_bytes = 4096;
    kit_start(&kit);
    uint8_t body[1000] = {1};
    struct record record =
        kit_record(SLICE_LITERAL("A"), 0, slice_of(body, sizeof body), SLICE_EMPTY);
    struct queue *queue = kit_queue(&kit, "A", 0);
    kit_put_many(&kit, "A", 0, 1000, 2);
    append_batch_clear(kit.batch);
    /* A single one that fits, a group of two that does not, and one of four that never will. */
    for (int i = 0; i < 7; i++)
        assert_int_equal(append_batch_add(kit.batch, queue, &record, i == 2 || i > 3, NULL),
                         STATUS_OK);
    assert_int_equal(append_batch_count(kit.batch), 7);
    const struct append_result *results = store_append(kit.store, kit.batch);
    assert_int_equal(results[0].status, PUT_OK);
    assert_true(results[0].end_pos < 4096);
    assert_int_equal(results[1].pos, 4096);
    assert_int_equal(results[2].pos, results[1].end_pos);
    assert_int_equal(results[1].store_timestamp_ms, results[2].store_timestamp_ms);
    for (int i = 3; i < 7; i++) {
        assert_int_equal(results[i].status, PUT_MESSAGE_ILLEGAL);
        assert_int_equal(results[i].pos, -1);
    }
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, queue, 0), 5);
    assert_int_equal(kit_put(&kit, "A", 0, "next", "").queue_offset, 5);
    kit_release(&kit);
}

static void too_large_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit.options.record_bytes_max = 200;
    kit_open(&kit);
    uint8_t body[200] = {0};
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct record record = kit_record(SLICE_LITERAL("A"), 0, slice_of(body, 108), SLICE_EMPTY);
    assert_int_equal(append_batch_add(kit.batch, queue, &record, false, NULL), STATUS_OK);
    record.body.size++;
    assert_int_equal(append_batch_add(kit.batch, queue, &record, false, NULL), STATUS_TOO_LARGE);
    assert_int_equal(append_batch_count(kit.batch), 1);
    assert_int_equal(append_batch_bytes(kit.batch), 200);
    kit_release(&kit);
}

/* Prepared and rolled back transactions take no queue offset and no entry (ST2-04, ST3-03). */
static void transactions_are_not_queued(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit_start(&kit);
    struct queue *queue = kit_queue(&kit, "T", 0);
    const int flags[] = {0, SYS_FLAG_TRANSACTION_PREPARED, SYS_FLAG_TRANSACTION_ROLLBACK,
                         SYS_FLAG_TRANSACTION_COMMIT};
    const int64_t offsets[] = {0, 0, 0, 1};
    append_batch_clear(kit.batch);
    for (int i = 0; i < 4; i++) {
        char properties[32];
        (void)snprintf(properties, sizeof properties, "KEYS\001key%d", i);
        struct record record =
            kit_record(SLICE_LITERAL("T"), 0, SLICE_LITERAL("b"), slice_of_cstr(properties));
        record.sys_flag = flags[i];
        assert_int_equal(append_batch_add(kit.batch, queue, &record, false, NULL), STATUS_OK);
    }
    const struct append_result *results = store_append(kit.store, kit.batch);
    for (int i = 0; i < 4; i++)
        assert_int_equal(results[i].queue_offset, offsets[i]);
    kit_dispatched(&kit);
    assert_int_equal(queue_max_offset(queue), 2);
    for (int i = 0; i < 4; i++) {
        char key[16];
        int64_t pos;
        int64_t last_ms;
        int64_t last_pos;
        (void)snprintf(key, sizeof key, "key%d", i);
        assert_int_equal(store_query_index(kit.store, SLICE_LITERAL("T"), slice_of_cstr(key), 1, 0,
                                           INT64_MAX, &pos, &last_ms, &last_pos),
                         flags[i] == SYS_FLAG_TRANSACTION_ROLLBACK ? 0 : 1);
    }
    kit_release(&kit);
}

/* In the schedule topic the tags code is the delivery time; the level is clipped. */
static void schedule_entries_carry_the_time(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit_start(&kit);
    const char *const properties[] = {"DELAY\0013\002TAGS\001x", "DELAY\00199", "TAGS\001x",
                                      "DELAY\0010\002TAGS\001x"};
    const int64_t delays_ms[] = {3000, 7200000, -1, -1};
    for (int i = 0; i < 4; i++) {
        struct append_result result = kit_put(&kit, "SCHEDULE_TOPIC_XXXX", 2, "b", properties[i]);
        kit_dispatched(&kit);
        struct queue_entry entry;
        assert_true(queue_entry_at(kit_queue(&kit, "SCHEDULE_TOPIC_XXXX", 2), i, &entry));
        assert_int_equal(entry.tags_code,
                         delays_ms[i] < 0 ? 'x' : result.store_timestamp_ms + delays_ms[i]);
    }
    kit_put(&kit, "Other", 0, "b", "DELAY\0013\002TAGS\001x");
    kit_dispatched(&kit);
    struct queue_entry entry;
    assert_true(queue_entry_at(kit_queue(&kit, "Other", 0), 0, &entry));
    assert_int_equal(entry.tags_code, 'x');
    kit_release(&kit);
}

/* A clock that was a day ahead and is set right: store times follow it, also after a restart, and
 * nothing else suffers. */
static void clock_set_back(void **state)
{
    (void)state;
    struct kit kit;
    const int64_t day_ms = 86400000;
    kit_init(&kit, "log");
    kit_start(&kit);
    atomic_store(&kit.wall_ms, 1000 * day_ms);
    assert_int_equal(kit_put(&kit, "A", 0, "x", "KEYS\001k").store_timestamp_ms, 1000 * day_ms);
    atomic_store(&kit.wall_ms, 999 * day_ms);
    assert_int_equal(kit_put(&kit, "A", 0, "x", "KEYS\001k").store_timestamp_ms, 999 * day_ms);
    atomic_store(&kit.wall_ms, 1000 * day_ms);
    assert_int_equal(kit_put(&kit, "A", 0, "x", "KEYS\001k").store_timestamp_ms, 1000 * day_ms);
    kit_close(&kit);
    atomic_store(&kit.wall_ms, 999 * day_ms + 1);
    kit_start(&kit);
    assert_int_equal(kit_put(&kit, "A", 0, "x", "KEYS\001k").store_timestamp_ms, 999 * day_ms + 1);
    kit_dispatched(&kit);
    struct kit after;
    kit_crash(&kit, &after);
    kit_open(&after);
    assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 4);
    int64_t found[8];
    int64_t last_ms;
    int64_t last_pos;
    assert_int_equal(store_query_index(after.store, SLICE_LITERAL("A"), SLICE_LITERAL("k"), 8, 0,
                                       INT64_MAX, found, &last_ms, &last_pos),
                     4);
    kit_release(&after);
    kit_release(&kit);
}

static bool wants_odd(void *ctx, int64_t code)
{
    (*(int *)ctx)++;
    return code % 2 != 0;
}

static struct get_result get(struct kit *kit, struct queue *queue, int64_t offset, int max,
                             tags_filter filter, void *ctx, struct arena *arena)
{
    struct get_result got;
    store_get(kit->store, queue, offset, max, filter, ctx, arena, &got);
    for (int i = 0; i < got.range_count; i++)
        log_range_release(&got.ranges[i]);
    return got;
}

/* PL-12: status and next offset for offsets outside the queue. */
static void pull_outside(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit_start(&kit);
    struct arena arena;
    arena_init(&arena, 4096);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct get_result got = get(&kit, NULL, 7, 32, NULL, NULL, &arena);
    assert_int_equal(got.status, GET_NO_MATCHED_LOGIC_QUEUE);
    assert_int_equal(got.next_begin_offset, 0);
    got = get(&kit, queue, 7, 32, NULL, NULL, &arena);
    assert_int_equal(got.status, GET_NO_MESSAGE_IN_QUEUE);
    assert_int_equal(got.next_begin_offset, 0);
    kit_put_many(&kit, "A", 0, 10, 5);
    kit_dispatched(&kit);
    got = get(&kit, queue, 5, 32, NULL, NULL, &arena);
    assert_int_equal(got.status, GET_OFFSET_OVERFLOW_ONE);
    assert_int_equal(got.next_begin_offset, 5);
    assert_int_equal(got.max_offset, 5);
    got = get(&kit, queue, 6, 32, NULL, NULL, &arena);
    assert_int_equal(got.status, GET_OFFSET_OVERFLOW_BADLY);
    assert_int_equal(got.next_begin_offset, 0);
    got = get(&kit, queue, -1, 32, NULL, NULL, &arena);
    assert_int_equal(got.status, GET_OFFSET_TOO_SMALL);
    assert_int_equal(got.next_begin_offset, 0);
    assert_string_equal(get_status_name(got.status), "OFFSET_TOO_SMALL");
    arena_release(&arena);
    kit_release(&kit);
}

/* PL-15: count, bytes, hot and cold limits; the first message always; one range for neighbours. */
static void pull_limits(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit.options.segment_bytes = 4 << 20;
    kit.options.queue_file_bytes = 20000;
    kit.options.transfer_bytes_memory = 10000;
    kit_start(&kit);
    struct arena arena;
    arena_init(&arena, 4096);
    struct queue *queue = kit_queue(&kit, "A", 0);
    kit_put_many(&kit, "A", 0, 10, 100);  /* 108 bytes each */
    kit_put_many(&kit, "A", 0, 20000, 1); /* offset 100 */
    kit_put_many(&kit, "A", 0, 3902, 5);  /* 4000 each, from 101 on */
    kit_put(&kit, "B", 0, "between", "");
    kit_put_many(&kit, "A", 0, 10, 1); /* offset 106 */
    kit_dispatched(&kit);
    struct get_result got = get(&kit, queue, 0, 100, NULL, NULL, &arena);
    assert_int_equal(got.status, GET_FOUND);
    assert_int_equal(got.count, 32);
    assert_int_equal(got.range_count, 1);
    assert_int_equal(got.bytes, 32 * 108);
    assert_int_equal(got.next_begin_offset, 32);
    assert_false(got.far_behind);
    assert_int_equal(get(&kit, queue, 0, 7, NULL, NULL, &arena).count, 7);
    assert_int_equal(get(&kit, queue, 100, 32, NULL, NULL, &arena).count, 1);
    assert_int_equal(get(&kit, queue, 101, 32, NULL, NULL, &arena).count, 2);
    got = get(&kit, queue, 105, 32, NULL, NULL, &arena);
    assert_int_equal(got.count, 2);
    assert_int_equal(got.range_count, 2);
    kit_close(&kit);

    kit.options.memory_bytes_hot = 21000; /* offset 101 and on are hot */
    kit_start(&kit);
    queue = kit_queue(&kit, "A", 0);
    got = get(&kit, queue, 0, 100, NULL, NULL, &arena);
    assert_int_equal(got.count, 8);
    assert_true(got.far_behind);
    assert_false(get(&kit, queue, 104, 100, NULL, NULL, &arena).far_behind);
    arena_release(&arena);
    kit_release(&kit);
}

static void pull_filters(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit.options.queue_file_bytes = 40000; /* 2000 entries */
    kit_start(&kit);
    struct arena arena;
    arena_init(&arena, 4096);
    struct queue *queue = kit_queue(&kit, "A", 0);
    for (int i = 0; i < 10; i++)
        kit_put(&kit, "A", 0, "b", i % 2 == 0 ? "TAGS\001a" : "TAGS\001b"); /* 97, 98 */
    kit_dispatched(&kit);
    int asked = 0;
    struct get_result got = get(&kit, queue, 0, 3, wants_odd, &asked, &arena);
    assert_int_equal(got.status, GET_FOUND);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.range_count, 3);
    assert_int_equal(got.next_begin_offset, 5); /* the full check comes before the filter */
    for (int i = 0; i < 50; i++)
        kit_put_many(&kit, "A", 0, 1, 20);   /* tag t = 116 */
    kit_put(&kit, "A", 0, "b", "TAGS\001a"); /* 1010 */
    kit_dispatched(&kit);
    /* At most 16000 bytes of entries are looked at: 800. */
    asked = 0;
    got = get(&kit, queue, 10, 32, wants_odd, &asked, &arena);
    assert_int_equal(got.status, GET_NO_MATCHED_MESSAGE);
    assert_int_equal(got.next_begin_offset, 810);
    assert_int_equal(asked, 800);
    got = get(&kit, queue, 810, 32, wants_odd, &asked, &arena);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.next_begin_offset, 1011);
    arena_release(&arena);
    kit_release(&kit);
}

/* QY-04: exact hit, nearer neighbour with ties to the left, both ends, over several files. */
static void offset_by_time(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    atomic_store(&kit.wall_ms, 1);
    kit_start(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    assert_int_equal(queue_offset_by_time(queue, 1000), 0);
    for (int i = 0; i < 100; i++) {
        atomic_store(&kit.wall_ms, 1000 + i * 10);
        assert_int_equal(kit_put(&kit, "A", 0, "b", "").store_timestamp_ms, 1000 + i * 10);
    }
    kit_dispatched(&kit);
    assert_int_equal(queue_offset_by_time(queue, 1000), 0);
    assert_int_equal(queue_offset_by_time(queue, 1500), 50);
    assert_int_equal(queue_offset_by_time(queue, 1504), 50);
    assert_int_equal(queue_offset_by_time(queue, 1505), 50);
    assert_int_equal(queue_offset_by_time(queue, 1506), 51);
    assert_int_equal(queue_offset_by_time(queue, 0), 0);
    assert_int_equal(queue_offset_by_time(queue, 1990), 99);
    assert_int_equal(queue_offset_by_time(queue, INT64_MAX), 99);
    kit_release(&kit);
}

static bool is_doomed(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "Doomed");
}

/* ST2-07: files go, the queue object stays and starts at 0; records in the log do not come back. */
static void deleted_queues_start_over(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit_start(&kit);
    struct queue *queue = kit_queue(&kit, "Doomed", 0);
    kit_put_many(&kit, "Doomed", 0, 10, 50);
    kit_put_many(&kit, "Stays", 0, 10, 5);
    kit_dispatched(&kit);
    char path[256];
    kit_path(&kit, "consumequeue/Doomed", path);
    assert_true(kit_exists(path));
    kit_put_many(&kit, "Doomed", 0, 10, 3); /* perhaps not dispatched yet */
    store_delete_queues(kit.store, is_doomed, NULL);
    assert_int_equal(queue_max_offset(queue), 0);
    assert_false(kit_exists(path));
    kit_dispatched(&kit);
    assert_int_equal(queue_max_offset(queue), 0);
    assert_int_equal(kit_put(&kit, "Doomed", 0, "new", "").queue_offset, 0);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, queue, 0), 1);
    assert_int_equal(queue_max_offset(kit_queue(&kit, "Stays", 0)), 5);
    kit_close(&kit);
    kit_start(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "Doomed", 0), 0), 1);
    assert_int_equal(kit_put(&kit, "Doomed", 0, "new", "").queue_offset, 1);
    kit_release(&kit);
}

static void second_open_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit_open(&kit);
    kit_open_fails(&kit, STATUS_BUSY, kit.root);
    kit_release(&kit);
}

static void slave_refuses(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "log");
    kit.options.role = STORE_ROLE_SLAVE;
    kit_open(&kit);
    char why[256];
    assert_false(store_writable(kit.store, why, sizeof why));
    assert_non_null(strstr(why, "slave"));
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").status, PUT_SERVICE_NOT_AVAILABLE);
    assert_int_equal(store_appended_pos(kit.store), 0);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_tell_where),
        cmocka_unit_test(segments_roll),
        cmocka_unit_test(glued_records_stay_together),
        cmocka_unit_test(too_large_is_refused),
        cmocka_unit_test(transactions_are_not_queued),
        cmocka_unit_test(schedule_entries_carry_the_time),
        cmocka_unit_test(clock_set_back),
        cmocka_unit_test(pull_outside),
        cmocka_unit_test(pull_limits),
        cmocka_unit_test(pull_filters),
        cmocka_unit_test(offset_by_time),
        cmocka_unit_test(deleted_queues_start_over),
        cmocka_unit_test(second_open_is_refused),
        cmocka_unit_test(slave_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
