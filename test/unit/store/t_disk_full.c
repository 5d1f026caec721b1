/* SPDX-License-Identifier: Apache-2.0
 *
 * A full disk: messages are refused with words, nothing half-written comes to light, and when there
 * is space again the store goes on by itself.
 *
 * Source: docs/store.md; the ratio of ST7-05 in RocketMQ store/.../DefaultMessageStore.java.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/store_kit.h"

#include <string.h>

static bool puts_again(void *ctx)
{
    struct kit *kit = ctx;
    return store_writable(kit->store, NULL, 0) &&
           kit_put(kit, "A", 0, "space again", "").status == PUT_OK;
}

static void check_refusal(struct kit *kit, const char *text)
{
    char why[512] = "";
    assert_false(store_writable(kit->store, why, sizeof why));
    if (strstr(why, text) == NULL)
        print_error("why: %s\n", why);
    assert_non_null(strstr(why, text));
}

/* Whole records of a failed batch may have reached the file: they must not be found later. */
static void write_without_space(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit.options.flush_queues_interval_ms = 10;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 100, 3);
    int64_t end = store_appended_pos(kit.store);
    uint8_t body[100] = {'x'};
    struct record record =
        kit_record(SLICE_LITERAL("A"), 0, slice_of(body, sizeof body), SLICE_LITERAL("TAGS\001t"));
    append_batch_clear(kit.batch);
    for (int i = 0; i < 10; i++)
        assert_int_equal(append_batch_add(kit.batch, kit_queue(&kit, "A", 0), &record, false, NULL),
                         STATUS_OK);
    atomic_store(&kit.vfs.write_torn, 900);
    atomic_store(&kit.vfs.write_target, KIT_COMMIT_LOG);
    const struct append_result *results = store_append(kit.store, kit.batch);
    for (int i = 0; i < 10; i++)
        assert_int_equal(results[i].status, PUT_SERVICE_NOT_AVAILABLE);
    assert_int_equal(store_appended_pos(kit.store), end);
    check_refusal(&kit, "no space left");
    atomic_store(&kit.vfs.write_target, KIT_NOTHING);
    kit_wait(puts_again, &kit);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 4);

    char crashed[256];
    kit_path(&kit, "../crashed", crashed);
    kit_copy(kit.root, crashed);
    struct kit after;
    kit_init_copy(&after, "full", crashed);
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), store_appended_pos(kit.store));
    assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 4);
    kit_release(&after);
    kit_release(&kit);
}

/* The next segment cannot be made: what still fits is taken, the rest refused. */
static void no_space_for_a_segment(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit.options.segment_bytes = 8192;
    kit.options.flush_queues_interval_ms = 10;
    kit_open(&kit); /* without the keeper nothing is made ahead */
    atomic_store(&kit.vfs.allocate_target, KIT_COMMIT_LOG);
    uint8_t body[3000] = {'x'};
    struct record record =
        kit_record(SLICE_LITERAL("A"), 0, slice_of(body, sizeof body), SLICE_EMPTY);
    append_batch_clear(kit.batch);
    for (int i = 0; i < 4; i++)
        assert_int_equal(append_batch_add(kit.batch, kit_queue(&kit, "A", 0), &record, false, NULL),
                         STATUS_OK);
    const struct append_result *results = store_append(kit.store, kit.batch);
    for (int i = 0; i < 4; i++)
        assert_int_equal(results[i].status, i < 2 ? PUT_OK : PUT_CREATE_FILE_FAILED);
    check_refusal(&kit, "next commit log file");
    struct err err;
    assert_int_equal(store_start(kit.store, &err), STATUS_OK);
    assert_int_equal(kit_put(&kit, "A", 0, "refused", "").status, PUT_SERVICE_NOT_AVAILABLE);
    atomic_store(&kit.vfs.allocate_target, KIT_NOTHING);
    kit_wait(puts_again, &kit);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 3);
    kit_release(&kit);
}

/* Queue entries wait for space; afterwards each is there once. */
static void no_space_for_queues(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 10, 5);
    kit_put_many(&kit, "B", 0, 10, 5);
    kit_dispatched(&kit);
    atomic_store(&kit.vfs.write_torn, 7);
    atomic_store(&kit.vfs.write_target, KIT_QUEUES);
    kit_put_many(&kit, "A", 0, 10, 5);
    kit_put_many(&kit, "B", 0, 10, 50);
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + 10000;
    while (store_writable(kit.store, NULL, 0))
        assert_true(clock_monotonic_ms(clock_real()) < deadline_ms);
    check_refusal(&kit, "consume queues");
    assert_int_equal(queue_max_offset(kit_queue(&kit, "A", 0)), 5);
    atomic_store(&kit.vfs.write_target, KIT_NOTHING);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 10);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "B", 0), 0), 55);
    kit_wait(puts_again, &kit);
    kit_release(&kit);
}

/* An index file cannot be made: queues go on, new messages are refused until it can. */
static void no_space_for_the_index(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit_start(&kit);
    atomic_store(&kit.vfs.allocate_target, KIT_EVERYTHING);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "KEYS\001k").status, PUT_OK);
    kit_dispatched(&kit);
    assert_int_equal(queue_max_offset(kit_queue(&kit, "A", 0)), 1);
    check_refusal(&kit, "index");
    kit_release(&kit);
}

static bool is_refused(void *ctx)
{
    return !store_writable(((struct kit *)ctx)->store, NULL, 0);
}

/* Above 90 percent messages are refused, at 90 they are taken again. */
static void disk_ratio(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit.options.clean_interval_ms = 5;
    atomic_store(&kit.vfs.space_percent, 91);
    kit_start(&kit);
    check_refusal(&kit, "91 % full");
    assert_int_equal(store_disk(kit.store).commit_log_percent, 91);
    assert_int_equal(store_disk(kit.store).free_bytes, 90000);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").status, PUT_SERVICE_NOT_AVAILABLE);
    atomic_store(&kit.vfs.space_percent, 90);
    kit_wait(puts_again, &kit);
    atomic_store(&kit.vfs.space_percent, 99);
    kit_wait(is_refused, &kit);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_without_space), cmocka_unit_test(no_space_for_a_segment),
        cmocka_unit_test(no_space_for_queues), cmocka_unit_test(no_space_for_the_index),
        cmocka_unit_test(disk_ratio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
