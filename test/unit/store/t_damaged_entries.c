/* SPDX-License-Identifier: Apache-2.0
 *
 * A queue entry that was damaged on disk: a pull passes it over, serves every other message, never
 * a byte that is not a record of the queue, and does not read the disk for what the entry claims.
 *
 * Source of the rule: docs/store.md, "Reading".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/consumequeue.h"
#include "common/sys/log.h"
#include "proto/record.h"
#include "test/unit/support/store_kit.h"

#include <stdio.h>
#include <string.h>

#define MESSAGES 20
#define VICTIM 7

struct fixture {
    struct kit kit;
    struct queue *queue;
    char file[256]; /* of the queue */
    struct queue_entry entries[MESSAGES];
};

static int setup(void **state)
{
    static struct fixture f;
    log_set_level((enum log_level) - 1);
    kit_init(&f.kit, "entries");
    kit_start(&f.kit);
    kit_put_many(&f.kit, "A", 0, 900, MESSAGES);
    kit_dispatched(&f.kit);
    f.queue = kit_queue(&f.kit, "A", 0);
    kit_path(&f.kit, "consumequeue/A/0/00000000000000000000", f.file);
    for (int i = 0; i < MESSAGES; i++)
        assert_true(queue_entry_at(f.queue, i, &f.entries[i]));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    kit_release(&((struct fixture *)*state)->kit);
    return 0;
}

static void damage(const struct fixture *f, int64_t pos, int32_t size)
{
    uint8_t bytes[12];
    put_i64(bytes, pos);
    put_i32(bytes + 8, size);
    kit_poke(f->file, VICTIM * QUEUE_ENTRY_BYTES, bytes, sizeof bytes);
}

/* Which messages pulls bring, by their bits; each must be a whole record of the queue. */
static uint32_t pull_all(const struct fixture *f)
{
    uint32_t seen = 0;
    int64_t next = 0;
    struct arena arena;
    arena_init(&arena, 4096);
    for (int pulls = 0; next < MESSAGES; pulls++) {
        struct get_result got;
        assert_true(pulls < MESSAGES);
        store_get(f->kit.store, f->queue, next, 32, NULL, NULL, &arena, &got);
        assert_true(got.status == GET_FOUND || got.status == GET_MESSAGE_WAS_REMOVING);
        assert_true(got.next_begin_offset > next);
        next = got.next_begin_offset;
        for (int i = 0; i < got.range_count; i++) {
            struct slice rest = slice_of(got.ranges[i].data, got.ranges[i].size);
            while (rest.size != 0) {
                struct record record;
                assert_int_equal(record_decode(rest, RECORD_CHECK_CRC, &record), STATUS_OK);
                assert_true(slice_is(record.topic, "A"));
                assert_in_range(record.queue_offset, 0, MESSAGES - 1);
                assert_int_equal(record.physical_offset, f->entries[record.queue_offset].pos);
                assert_false(seen >> record.queue_offset & 1);
                seen |= UINT32_C(1) << record.queue_offset;
                rest = slice_from(rest, (size_t)record.size);
            }
            log_range_release(&got.ranges[i]);
        }
    }
    arena_release(&arena);
    return seen;
}

static void only_the_damaged_one_is_passed_over(void **state)
{
    const struct fixture *f = *state;
    const uint32_t all = (UINT32_C(1) << MESSAGES) - 1;
    const int64_t pos = f->entries[VICTIM].pos;
    const int32_t size = f->entries[VICTIM].size;
    const struct {
        int64_t pos;
        int32_t size;
    } wrong[] = {
        {pos + 1, size},                          /* inside a record */
        {pos - 64, size},                         /* the same, of the one before */
        {pos, size + 1},                          /* more than the record */
        {pos, size - 1},                          /* less */
        {pos, 1},                                 /* less than can be looked at */
        {pos, 0},                                 /* nothing */
        {pos, -size},                             /* negative */
        {pos, size | 1 << 14},                    /* the next records, too */
        {pos, size | 1 << 28},                    /* behind the end of the segment */
        {pos | INT64_C(1) << 40, size},           /* behind the end of the log */
        {pos | INT64_C(1) << 62, size},           /* far behind it */
        {pos | INT64_MIN, size},                  /* in front of it */
        {store_appended_pos(f->kit.store), size}, /* what is not written yet */
        {store_appended_pos(f->kit.store) - size + 1, size},
    };
    assert_int_equal(pull_all(f), all);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        damage(f, wrong[i].pos, wrong[i].size);
        assert_int_equal(pull_all(f), all & ~(UINT32_C(1) << VICTIM));
    }
    damage(f, pos, size);
    assert_int_equal(pull_all(f), all);
}

/* The record is what is damaged: an entry alone does not make one of it. */
static void a_record_without_its_name_is_passed_over(void **state)
{
    const struct fixture *f = *state;
    const uint32_t all = (UINT32_C(1) << MESSAGES) - 1;
    static const int places[] = {
        0, 3, 4, 7, RECORD_PHYSICAL_OFFSET_AT, RECORD_PHYSICAL_OFFSET_AT + 7};
    char log[256];
    kit_path(&f->kit, "commitlog/00000000000000000000", log);
    struct log_range range;
    assert_int_equal(store_read_record(f->kit.store, f->entries[VICTIM].pos, &range), STATUS_OK);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        uint8_t was = range.data[places[i]];
        uint8_t flipped = was ^ 0x10;
        kit_poke(log, f->entries[VICTIM].pos + places[i], &flipped, 1);
        assert_int_equal(pull_all(f), all & ~(UINT32_C(1) << VICTIM));
        kit_poke(log, f->entries[VICTIM].pos + places[i], &was, 1);
    }
    log_range_release(&range);
    assert_int_equal(pull_all(f), all);
}

#define BIG_SEGMENT (16 << 20)
#define CLAIMED (12 << 20)

/* Pulls that read from disk look at what stands there before they believe a large size. */
static void a_claimed_size_is_not_read(void **state)
{
    (void)state;
    struct fixture f;
    struct get_result got;
    struct arena arena;
    log_set_level((enum log_level) - 1);
    kit_init(&f.kit, "claimed");
    f.kit.options.segment_bytes = BIG_SEGMENT;
    kit_start(&f.kit);
    for (int i = 0; i < 14; i++)
        kit_put_many(&f.kit, "A", 0, 1 << 20, 1);
    kit_dispatched(&f.kit);
    kit_close(&f.kit);
    kit_path(&f.kit, "consumequeue/A/0/00000000000000000000", f.file);
    uint8_t bytes[12] = {0};
    put_i32(bytes + 8, CLAIMED);
    kit_poke(f.file, 0, bytes, sizeof bytes);
    kit_start(&f.kit);
    atomic_store(&f.kit.vfs.cold_target, KIT_COMMIT_LOG);
    arena_init(&arena, 4096);
    store_get(f.kit.store, kit_queue(&f.kit, "A", 0), 0, 1, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_FOUND);
    assert_int_equal(got.next_begin_offset, 2);
    for (int i = 0; i < got.range_count; i++)
        log_range_release(&got.ranges[i]);
    /* The first bytes of the one, the whole of the next: never the size that was claimed. */
    assert_true(store_cold(f.kit.store).read_bytes > 1 << 20);
    assert_true(store_cold(f.kit.store).read_bytes < CLAIMED / 2);
    arena_release(&arena);
    kit_release(&f.kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_damaged_one_is_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_without_its_name_is_passed_over, setup, teardown),
        cmocka_unit_test(a_claimed_size_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
