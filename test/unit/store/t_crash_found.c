/* SPDX-License-Identifier: Apache-2.0
 *
 * What random power cuts, failing calls and damage have found, each once more by itself and without
 * chance. Source of the rules: docs/store.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/crash_kit.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct sim_cut nothing = {.keep = SIM_KEEP_NONE};

static void open_new(struct crash *crash)
{
    crash_init(crash, 20);
    crash_open(crash);
}

static void flush(struct crash *crash)
{
    assert_int_equal(commitlog_flush(&crash->store->log), STATUS_OK);
}

/* One message whose properties are `properties`; its result. */
static struct append_result put(struct crash *crash, const char *topic, struct slice properties)
{
    struct record record = {
        .born_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 1},
        .store_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 1},
        .body = SLICE_LITERAL("body"),
        .topic = slice_of_cstr(topic),
        .properties = properties,
    };
    append_batch_clear(crash->batch);
    assert_int_equal(append_batch_add(crash->batch,
                                      store_queue(crash->store, record.topic, 0, true), &record,
                                      false, NULL),
                     STATUS_OK);
    struct append_result result = store_append(crash->store, crash->batch)[0];
    assert_int_equal(result.status, PUT_OK);
    append_batch_clear(crash->batch);
    return result;
}

/* The page cache goes on showing what a failed sync has dropped. A start that believed it would go
 * on behind a hole, and a power cut would then cost everything from there on. */
static void a_failed_sync_is_not_believed_later(void **state)
{
    (void)state;
    struct crash crash;
    open_new(&crash);
    crash.faults = true;
    crash_put(&crash, 4);
    flush(&crash);
    int64_t durable = store_flushed_pos(crash.store);
    crash_put(&crash, 8);
    struct sim_fault fault = {SIM_SYNC, 0, 1, EIO, 1};
    sim_fail(crash.sim, &fault);
    assert_int_equal(commitlog_flush(&crash.store->log), STATUS_IO);
    assert_false(store_writable(crash.store, NULL, 0));
    assert_int_equal(store_flushed_pos(crash.store), durable);
    crash_cut(&crash, NULL); /* kill, and a start that finds the page cache as it was */
    crash_open(&crash);
    crash_verify(&crash, durable);
    crash_put(&crash, 5);
    flush(&crash);
    durable = store_flushed_pos(crash.store);
    crash_cut(&crash, &nothing);
    crash_open(&crash);
    crash_verify(&crash, durable);
    crash_release(&crash);
}

/* A segment is the last trace of its records' queue entries until those are in a checkpoint. */
static void a_segment_is_deleted_behind_a_checkpoint(void **state)
{
    (void)state;
    struct crash crash;
    open_new(&crash);
    while (store_appended_pos(crash.store) < 3 * crash.options.segment_bytes)
        crash_put(&crash, 4);
    flush(&crash);
    crash_dispatch(&crash);
    crash_delete_old(&crash);
    assert_int_equal(store_min_pos(crash.store), 0);
    /* Soon again, with a checkpoint between. */
    assert_true(atomic_load(&crash.store->keeper.retention.round_wanted));
    assert_true(atomic_load(&crash.store->keeper.checkpoint_wanted));
    assert_int_equal(keeper_sync(&crash.store->keeper, true), STATUS_OK);
    crash_delete_old(&crash);
    assert_true(store_min_pos(crash.store) >= crash.options.segment_bytes);
    int64_t durable = store_flushed_pos(crash.store);
    crash_cut(&crash, &nothing);
    crash_open(&crash);
    crash_verify(&crash, durable);
    crash_release(&crash);
}

/* Their properties would look like a write that did not arrive. */
static void properties_with_a_sector_of_zeros(void **state)
{
    (void)state;
    struct crash crash;
    char properties[2000] = "a\001b";
    open_new(&crash);
    for (size_t zeros = 500; zeros < 600; zeros++) {
        memset(properties + 3, 'x', sizeof properties - 3);
        memset(properties + 700, 0, zeros);
        struct record record = {.born_host = {.ip_bytes = 4},
                                .store_host = {.ip_bytes = 4},
                                .body = SLICE_LITERAL("b"),
                                .topic = SLICE_LITERAL("A"),
                                .properties = slice_of(properties, 1500)};
        enum status status =
            append_batch_add(crash.batch, store_queue(crash.store, SLICE_LITERAL("A"), 0, true),
                             &record, false, NULL);
        assert_int_equal(status, zeros < 512 ? STATUS_OK : STATUS_TOO_LARGE);
        append_batch_clear(crash.batch);
    }
    crash_release(&crash);
}

/* A record of which a sector of the properties did not arrive, with whole records behind it. */
static void torn_in_the_middle(void **state)
{
    (void)state;
    struct crash crash;
    char properties[2000] = "a\001b";
    size_t size;
    open_new(&crash);
    memset(properties + 3, 'x', sizeof properties - 3);
    int64_t end = put(&crash, "A", SLICE_LITERAL("a\001b")).end_pos;
    struct append_result torn = put(&crash, "A", slice_of(properties, sizeof properties));
    (void)put(&crash, "A", SLICE_LITERAL("a\001b"));
    uint8_t *bytes = sim_bytes(crash.sim, CRASH_LOG_FOLDER "/00000000000000000000", &size);
    assert_true(torn.end_pos > 1536);
    memset(bytes + 1024, 0, 512);
    crash_cut(&crash, NULL);
    crash_open(&crash);
    assert_int_equal(store_appended_pos(crash.store), end);
    struct queue *queue = store_queue(crash.store, SLICE_LITERAL("A"), 0, true);
    assert_int_equal(queue_max_offset(queue), 1);
    char kept[64];
    (void)snprintf(kept, sizeof kept, CRASH_ROOT "/cut/%020lld", (long long)end);
    assert_non_null(sim_bytes(crash.sim, kept, &size));
    assert_true(size > 1000);
    crash_release(&crash);
}

/* Of several files of a queue the middle one is short: mapped as it is, reading it would end the
 * process. */
static void a_short_queue_file(void **state)
{
    (void)state;
    struct crash crash;
    struct err err;
    open_new(&crash);
    for (int i = 0; i < 35; i++) /* 10 entries a file */
        (void)put(&crash, "A", SLICE_EMPTY);
    crash_dispatch(&crash);
    crash_close(&crash);
    sim_resize(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000200", 100);
    uint64_t digest = sim_digest(crash.sim);
    assert_int_equal(crash_try_open(&crash, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "consumequeue/A/0/00000000000000000200 has 100 bytes"));
    assert_true(sim_digest(crash.sim) == digest);
    crash_release(&crash);
}

/* What arrived of a batch that was refused is not there after a restart. */
static void leftovers_of_a_refused_batch(void **state)
{
    (void)state;
    struct crash crash;
    open_new(&crash);
    crash.faults = true;
    (void)put(&crash, "A", SLICE_EMPTY);
    int64_t end = store_appended_pos(crash.store);
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct sim_fault fault = {SIM_WRITE, 0, 1, ENOSPC, seed};
        sim_fail(crash.sim, &fault);
        crash_put(&crash, 8);
        assert_int_equal(store_appended_pos(crash.store), end);
        crash_close(&crash);
        crash_open(&crash);
        assert_int_equal(store_appended_pos(crash.store), end);
    }
    crash_release(&crash);
}

/* The end of the last record may have a sector to itself. Were it zero it would be taken for torn,
 * and an acknowledged message for lost. */
static void properties_that_end_with_zeros(void **state)
{
    (void)state;
    for (size_t zeros = 1; zeros < 512; zeros += 51) {
        struct crash crash;
        char properties[2000] = "a\001b";
        open_new(&crash);
        int64_t first = put(&crash, "A", slice_of(properties, 3)).end_pos;
        size_t text = 3 + 1024 - (size_t)(2 * first % 512);
        memset(properties + 3, 'x', text - 3);
        struct record record = {.born_host = {.ip_bytes = 4},
                                .store_host = {.ip_bytes = 4},
                                .topic = SLICE_LITERAL("A"),
                                .properties = slice_of(properties, text + zeros)};
        assert_int_equal(append_batch_add(crash.batch,
                                          store_queue(crash.store, record.topic, 0, true), &record,
                                          false, NULL),
                         STATUS_TOO_LARGE);
        properties[text + zeros - 1] = 'x';
        int64_t end = put(&crash, "A", record.properties).end_pos;
        assert_int_equal(end % 512, zeros);
        flush(&crash);
        crash_cut(&crash, &nothing);
        crash_open(&crash);
        assert_int_equal(store_appended_pos(crash.store), end);
        crash_release(&crash);
    }
}

static bool is_doomed(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "Doomed");
}

/* A checkpoint says that a deleted topic's queue is gone. It must be so after a power cut, or all
 * of the log is read again and the queue is back, with offsets at which nobody looks. */
static void a_deleted_topic_stays_deleted(void **state)
{
    (void)state;
    struct crash crash;
    open_new(&crash);
    (void)put(&crash, "Doomed", SLICE_EMPTY);
    (void)put(&crash, "Stays", SLICE_EMPTY);
    crash_dispatch(&crash);
    flush(&crash);
    assert_int_equal(keeper_sync(&crash.store->keeper, true), STATUS_OK);
    store_delete_queues(crash.store, is_doomed, NULL);
    assert_int_equal(keeper_sync(&crash.store->keeper, true), STATUS_OK);
    crash_cut(&crash, &nothing);
    crash_open(&crash);
    assert_int_equal(queue_max_offset(store_queue(crash.store, SLICE_LITERAL("Stays"), 0, true)),
                     1);
    assert_int_equal(queue_max_offset(store_queue(crash.store, SLICE_LITERAL("Doomed"), 0, true)),
                     0);
    assert_int_equal(put(&crash, "Doomed", SLICE_EMPTY).queue_offset, 0);
    crash_release(&crash);
}

static bool is_topic_a(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "A");
}

/* A power cut brings back one of the files that a queue has deleted, and not the one behind it. It
 * belongs to nothing, and must not belong to the queue of the next topic of that name either. */
static void a_file_before_a_gap_does_not_come_back(void **state)
{
    (void)state;
    struct crash crash;
    size_t size;
    open_new(&crash);
    for (int i = 0; i < 35; i++) /* 10 entries a file */
        (void)put(&crash, "A", SLICE_EMPTY);
    crash_dispatch(&crash);
    crash_close(&crash);
    sim_remove(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000000");
    sim_remove(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000400");
    crash_open(&crash);
    struct queue *queue = store_queue(crash.store, SLICE_LITERAL("A"), 0, true);
    assert_int_equal(queue_min_offset(queue), 30);
    assert_int_equal(queue_max_offset(queue), 35);
    assert_null(sim_bytes(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000200", &size));
    store_delete_queues(crash.store, is_topic_a, NULL);
    (void)put(&crash, "A", SLICE_EMPTY);
    crash_dispatch(&crash);
    flush(&crash);
    /* Of the new file only the name has arrived. */
    crash_cut(&crash, NULL);
    sim_resize(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000000", 0);
    crash_open(&crash);
    queue = store_queue(crash.store, SLICE_LITERAL("A"), 0, true);
    assert_int_equal(queue_min_offset(queue), 0);
    assert_int_equal(queue_max_offset(queue), 1);
    crash_release(&crash);
}

/* The option is half of what the files were written with: every second one seems to be missing. */
static void files_of_another_size_are_no_gap(void **state)
{
    (void)state;
    struct crash crash;
    struct err err;
    open_new(&crash);
    for (int i = 0; i < 35; i++)
        (void)put(&crash, "A", SLICE_EMPTY);
    crash_dispatch(&crash);
    crash_close(&crash);
    /* As a crash while it was made leaves it: of no size. */
    sim_resize(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000600", 0);
    crash.options.queue_file_bytes = 100;
    assert_int_equal(crash_try_open(&crash, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "consumequeue/A/0/00000000000000000000 has 200 bytes"));
    size_t size;
    for (int i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, CRASH_ROOT "/consumequeue/A/0/%020d", 200 * i);
        assert_non_null(sim_bytes(crash.sim, path, &size));
        assert_int_equal(size, 200);
    }
    crash_release(&crash);
}

static void take_first_index(void *ctx, const char *path, size_t size)
{
    char *first = ctx;
    (void)size;
    if (first[0] == '\0' && strstr(path, "/index/") != NULL)
        (void)snprintf(first, PATH_MAX, "%s", path);
}

static void put_keyed(struct crash *crash, int from, int end)
{
    for (int i = from; i < end; i++) {
        char properties[32];
        (void)snprintf(properties, sizeof properties, "KEYS\001k%d", i);
        (void)put(crash, "A", slice_of_cstr(properties));
    }
    crash_dispatch(crash);
    flush(crash);
}

/* Each message is found by its key, once. */
static void expect_keys(struct crash *crash, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        int64_t found[2];
        int64_t last[2];
        (void)snprintf(key, sizeof key, "k%d", i);
        if (store_query_index(crash->store, SLICE_LITERAL("A"), slice_of_cstr(key), 2, 0, INT64_MAX,
                              found, &last[0], &last[1]) != 1)
            crash_fail(crash, "key %s is not found once", key);
    }
}

/* An index file that is full, as its header says, while pages from before the last sync show
 * entries that came after it as missing; whatever the clock says. */
static void a_full_index_file_with_old_pages(void **state)
{
    (void)state;
    static const int64_t clock_moves_ms[] = {0, 1000, -3600000};
    for (size_t move = 0; move < 3; move++) {
        struct crash crash;
        char path[PATH_MAX] = "";
        uint8_t old[SIM_SECTOR_BYTES];
        size_t size;
        open_new(&crash);
        put_keyed(&crash, 0, 30);
        assert_int_equal(keeper_sync(&crash.store->keeper, true), STATUS_OK);
        sim_each_file(crash.sim, take_first_index, path);
        const uint8_t *bytes = sim_bytes(crash.sim, path, &size);
        assert_true(size > SIM_SECTOR_BYTES && size - SIM_SECTOR_BYTES < sizeof old);
        memcpy(old, bytes + SIM_SECTOR_BYTES, size - SIM_SECTOR_BYTES);
        crash.now_ms += clock_moves_ms[move];
        put_keyed(&crash, 30, 45); /* 39 to a file */
        crash_cut(&crash, NULL);
        memcpy(sim_bytes(crash.sim, path, &size) + SIM_SECTOR_BYTES, old, size - SIM_SECTOR_BYTES);
        crash_open(&crash);
        expect_keys(&crash, 45);
        crash_release(&crash);
    }
}

struct cut_again {
    struct crash *crash;
    int64_t calls;
    bool done; /* the names of index files were changed */
};

/* Before a call of the recovery: part of what it has done is lost. */
static void cut_again(void *ctx, enum sim_call call, const char *path)
{
    struct cut_again *again = ctx;
    (void)call;
    again->done |= strstr(path, "/index") != NULL;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct crash crash;
        struct sim_cut cut = {SIM_KEEP_SOME, seed, 0};
        crash_copy(&crash, again->crash);
        crash.what = "the power is cut while index files are deleted";
        crash.point = again->calls;
        sim_power_cut(crash.sim, &cut);
        crash_open(&crash);
        expect_keys(&crash, 100);
        crash_release(&crash);
    }
    again->calls++;
}

/* The first of three index files is damaged, so all go. Were the last one left alone by a power
 * cut, it would be taken for the index of what the first had. */
static void index_files_go_from_the_end(void **state)
{
    (void)state;
    struct crash crash;
    char path[PATH_MAX] = "";
    size_t size;
    open_new(&crash);
    put_keyed(&crash, 0, 100); /* 39 to a file */
    int64_t synced_ms;
    assert_int_equal(index_sync(&crash.store->index, &synced_ms), STATUS_OK);
    sim_each_file(crash.sim, take_first_index, path);
    crash_cut(&crash, NULL);
    memset(sim_bytes(crash.sim, path, &size), 0, 40); /* its header */
    struct cut_again again = {.crash = &crash};
    sim_watch(crash.sim, SIM_NAMES | SIM_SYNC_DIR, cut_again, &again);
    crash_open(&crash);
    sim_watch(crash.sim, 0, NULL, NULL);
    assert_true(again.done);
    expect_keys(&crash, 100);
    crash_release(&crash);
}

/* One queue is short by what another seems to be longer: the sum of the ends does not tell. */
static void ends_that_make_the_same_sum(void **state)
{
    (void)state;
    struct crash crash;
    struct queue_entry entry;
    open_new(&crash);
    int64_t last = 0;
    for (int i = 0; i < 12; i++) /* 10 entries a file */
        last = put(&crash, "A", SLICE_EMPTY).pos;
    for (int i = 0; i < 8; i++)
        (void)put(&crash, "B", SLICE_EMPTY);
    crash_dispatch(&crash);
    flush(&crash);
    assert_int_equal(keeper_sync(&crash.store->keeper, true), STATUS_OK);
    crash_cut(&crash, NULL);
    /* Parts of two topics' deletions, and of what came after one of them. */
    sim_remove(crash.sim, CRASH_ROOT "/consumequeue/A/0/00000000000000000200");
    sim_remove(crash.sim, CRASH_ROOT "/consumequeue/B/0/00000000000000000000");
    sim_resize(crash.sim, CRASH_ROOT "/consumequeue/B/0/00000000000000000200", 200);
    crash_open(&crash);
    struct queue *queue = store_queue(crash.store, SLICE_LITERAL("A"), 0, true);
    assert_int_equal(queue_max_offset(queue), 12);
    assert_true(queue_entry_at(queue, 11, &entry));
    assert_int_equal(entry.pos, last);
    queue = store_queue(crash.store, SLICE_LITERAL("B"), 0, true);
    assert_int_equal(queue_min_offset(queue), 0);
    assert_int_equal(queue_max_offset(queue), 8);
    crash_release(&crash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_that_make_the_same_sum),
        cmocka_unit_test(a_full_index_file_with_old_pages),
        cmocka_unit_test(index_files_go_from_the_end),
        cmocka_unit_test(a_file_before_a_gap_does_not_come_back),
        cmocka_unit_test(files_of_another_size_are_no_gap),
        cmocka_unit_test(properties_that_end_with_zeros),
        cmocka_unit_test(a_deleted_topic_stays_deleted),
        cmocka_unit_test(a_failed_sync_is_not_believed_later),
        cmocka_unit_test(a_segment_is_deleted_behind_a_checkpoint),
        cmocka_unit_test(properties_with_a_sector_of_zeros),
        cmocka_unit_test(torn_in_the_middle),
        cmocka_unit_test(a_short_queue_file),
        cmocka_unit_test(leftovers_of_a_refused_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
