/* SPDX-License-Identifier: Apache-2.0
 *
 * A full disk, or no descriptors left: messages are refused with words, nothing half-written comes
 * to light, and when there is space again the store goes on by itself.
 *
 * Source: docs/store.md; the ratio of ST7-05 in RocketMQ store/.../DefaultMessageStore.java.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/arena.h"
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
    kit_open(&kit); /* the keeper would soon find that there is space */
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
    struct err err;
    assert_int_equal(store_start(kit.store, &err), STATUS_OK);
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
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
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

static int keys_found(struct kit *kit, const char *key)
{
    int64_t found[8];
    int64_t last_ms;
    int64_t last_pos;
    return store_query_index(kit->store, SLICE_LITERAL("A"), slice_of_cstr(key), 8, 0, INT64_MAX,
                             found, &last_ms, &last_pos);
}

static bool indexes_again(void *ctx)
{
    struct kit *kit = ctx;
    assert_int_equal(kit_put(kit, "A", 0, "b", "KEYS\001after").status, PUT_OK);
    kit_dispatched(kit);
    return keys_found(kit, "after") > 0;
}

/* An index file cannot be made: messages are taken all the same, and are found by key again once it
 * can. */
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
    assert_true(store_writable(kit.store, NULL, 0));
    assert_int_equal(kit_put(&kit, "A", 0, "b", "KEYS\001k").status, PUT_OK);
    kit_dispatched(&kit);
    assert_int_equal(keys_found(&kit, "k"), 0);
    atomic_store(&kit.vfs.allocate_target, KIT_NOTHING);
    kit_wait(indexes_again, &kit);
    kit_release(&kit);
}

/* A sparse index file of 4.9.2 is not written when its blocks cannot be reserved: a page that finds
 * no space would kill the process. */
static void no_space_for_a_sparse_index(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit_start(&kit);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "KEYS\001k").status, PUT_OK);
    kit_close(&kit);
    atomic_store(&kit.vfs.allocate_target, KIT_EVERYTHING);
    kit_start(&kit);
    assert_int_equal(keys_found(&kit, "k"), 1);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "KEYS\001k").status, PUT_OK);
    kit_dispatched(&kit);
    assert_int_equal(keys_found(&kit, "k"), 1); /* nothing was written to the mapping */
    atomic_store(&kit.vfs.allocate_target, KIT_NOTHING);
    kit_wait(indexes_again, &kit);
    assert_int_equal(keys_found(&kit, "k"), 1);
    kit_release(&kit);
}

static bool none_open(void *ctx)
{
    return atomic_load(&((struct kit *)ctx)->vfs.queue_descriptors) == 0;
}

/* No descriptor left for a queue file: messages are refused until there is one. */
static void no_descriptors_for_queues(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit_start(&kit);
    atomic_store(&kit.vfs.open_target, KIT_QUEUES);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").status, PUT_OK);
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
    while (store_writable(kit.store, NULL, 0))
        assert_true(clock_monotonic_ms(clock_real()) < deadline_ms);
    check_refusal(&kit, "ulimit -n");
    atomic_store(&kit.vfs.open_target, KIT_NOTHING);
    kit_wait(puts_again, &kit);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 2);
    kit_release(&kit);
}

/* Queues that rest hold no descriptors, however many they are. */
static void idle_queues_hold_no_descriptors(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit.options.flush_queues_interval_ms = 10;
    kit.options.flush_queues_thorough_interval_ms = 20;
    kit_start(&kit);
    for (int round = 1; round < 4; round++) {
        for (int id = 0; id < 40; id++)
            (void)kit_put(&kit, "A", id, "b", "");
        kit_dispatched(&kit);
        kit_wait(none_open, &kit);
        for (int id = 0; id < 40; id++)
            assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", id), 0), round);
    }
    kit_release(&kit);
}

static bool was_read(void *ctx)
{
    return atomic_load((_Atomic bool *)ctx);
}

static _Atomic bool read_done;
static void on_read(struct cold_read *read)
{
    (void)read;
    atomic_store(&read_done, true);
}

/* A pull that cannot open the queue's file just now is to be repeated at the same offset: none of
 * the file's messages may be passed over. It is told why. */
static void no_descriptor_for_a_pull(void **state)
{
    (void)state;
    struct kit kit;
    struct arena arena;
    struct get_result got;
    kit_init(&kit, "full");
    arena_init(&arena, 4096);
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 100, 50); /* 30 entries per file */
    kit_close(&kit);
    kit_open(&kit); /* the files are opened when needed */
    atomic_store(&kit.vfs.open_target, KIT_QUEUES);
    store_get(kit.store, kit_queue(&kit, "A", 0), 3, 32, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_OFFSET_FOUND_NULL);
    assert_int_equal(got.next_begin_offset, 3);
    struct err err;
    struct cold_read read = {.request = {kit_queue(&kit, "A", 0), 3, 32, NULL, NULL},
                             .done = on_read};
    assert_false(store_try_get(kit.store, &read.request, &arena, &got));
    assert_int_equal(store_start(kit.store, &err), STATUS_OK);
    arena_init(&read.arena, 1024);
    assert_int_equal(store_read_cold(kit.store, &read), STATUS_OK);
    kit_wait(was_read, &read_done);
    assert_int_equal(read.status, STATUS_BUSY);
    assert_non_null(
        strstr(read.err.text, "/consumequeue/A/0/00000000000000000000 cannot be opened"));
    assert_non_null(strstr(read.err.text, "ulimit -n"));
    assert_non_null(strstr(read.err.text, "Too many open files"));
    arena_release(&read.arena);
    atomic_store(&kit.vfs.open_target, KIT_NOTHING);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 3), 47);
    arena_release(&arena);
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

/* The same by bytes; the limits may change while the store runs. */
static void disk_bytes(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "full");
    kit.options.clean_interval_ms = 5;
    kit.options.disk_free_bytes_min = 100001;
    atomic_store(&kit.vfs.space_percent, 90); /* 100,000 bytes are free */
    kit_start(&kit);
    check_refusal(&kit, "diskFreeBytesMin");
    check_refusal(&kit, kit.root);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").status, PUT_SERVICE_NOT_AVAILABLE);
    struct store_options limits = kit.options;
    limits.disk_free_bytes_min = 100000;
    store_set_retention(kit.store, &limits);
    kit_wait(puts_again, &kit);
    limits.disk_warning_percent = 89;
    store_set_retention(kit.store, &limits);
    kit_wait(is_refused, &kit);
    check_refusal(&kit, "above 89 %");
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_without_space),
        cmocka_unit_test(no_space_for_a_segment),
        cmocka_unit_test(no_space_for_queues),
        cmocka_unit_test(no_space_for_the_index),
        cmocka_unit_test(no_space_for_a_sparse_index),
        cmocka_unit_test(no_descriptors_for_queues),
        cmocka_unit_test(idle_queues_hold_no_descriptors),
        cmocka_unit_test(no_descriptor_for_a_pull),
        cmocka_unit_test(disk_ratio),
        cmocka_unit_test(disk_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
