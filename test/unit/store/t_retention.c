/* SPDX-License-Identifier: Apache-2.0
 *
 * What is deleted when: old files at the hour, or when the disk is over its ratio; the first
 * offsets of queues follow; readers keep what they hold; the last file stays.
 *
 * Source: ST7 in RocketMQ store/.../DefaultMessageStore.java (CleanCommitLogService).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "broker/store/retention.h"
#include "broker/store/store_internal.h"
#include "test/unit/support/store_kit.h"

#include "common/sys/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The next moment at which the local hour is `hour`, some days from now. */
static int64_t at_hour(int hour, int days)
{
    time_t now = (time_t)(clock_wall_ms(clock_real()) / 1000) + days * 24 * 3600;
    struct tm tm;
    (void)localtime_r(&now, &tm);
    tm.tm_hour = hour;
    tm.tm_min = 30;
    return (int64_t)mktime(&tm) * 1000;
}

static void hours(void **state)
{
    (void)state;
    assert_true(retention_hour_matches("04", at_hour(4, 0)));
    assert_false(retention_hour_matches("04", at_hour(5, 0)));
    assert_true(retention_hour_matches("03;17;4", at_hour(17, 0)));
    assert_true(retention_hour_matches("03;17;4", at_hour(4, 0)));
    assert_false(retention_hour_matches("", at_hour(0, 0)));
    assert_false(retention_hour_matches("x;;", at_hour(0, 0)));
}

static bool log_begins_late(void *ctx)
{
    struct kit *kit = ctx;
    return store_min_pos(kit->store) > 0 &&
           store_min_pos(kit->store) / kit->options.segment_bytes ==
               store_appended_pos(kit->store) / kit->options.segment_bytes;
}

/* Queues follow when the round is over. */
static bool queue_begins_late(void *ctx)
{
    return queue_min_offset(kit_queue(ctx, "A", 0)) > 30;
}

static void fill_with(struct kit *kit, struct store_listener listener)
{
    kit_init(kit, "retention");
    kit->options.segment_bytes = 8192;
    kit->options.clean_interval_ms = 5;
    kit->options.flush_interval_ms = 5;
    kit->options.flush_thorough_interval_ms = 5;
    atomic_store(&kit->wall_ms, at_hour(12, 0));
    kit_open(kit);
    store_set_listener(kit->store, listener);
    assert_int_equal(store_start(kit->store, &(struct err){0}), STATUS_OK);
    kit_put_many(kit, "A", 0, 900, 40); /* six files of 8 */
    kit_put_many(kit, "Old", 0, 1, 1);
    kit_put_many(kit, "A", 0, 900, 10);
    kit_dispatched(kit);
    assert_int_equal(store_min_pos(kit->store), 0);
}

static void fill(struct kit *kit)
{
    fill_with(kit, (struct store_listener){0});
}

static void old_files_go_at_the_hour(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    /* Hold what will be deleted. */
    struct arena arena;
    arena_init(&arena, 4096);
    struct get_result got;
    store_get(kit.store, queue, 0, 1, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_FOUND);

    atomic_store(&kit.wall_ms, at_hour(4, 1)); /* the hour, but too young */
    int64_t until = clock_monotonic_ms(clock_real()) + 50;
    while (clock_monotonic_ms(clock_real()) < until)
        assert_int_equal(store_min_pos(kit.store), 0);
    atomic_store(&kit.wall_ms, at_hour(5, 10)); /* old, but not the hour */
    until = clock_monotonic_ms(clock_real()) + 50;
    while (clock_monotonic_ms(clock_real()) < until)
        assert_int_equal(store_min_pos(kit.store), 0);
    atomic_store(&kit.wall_ms, at_hour(4, 10));
    kit_wait(log_begins_late, &kit);
    kit_wait(queue_begins_late, &kit);

    struct record record;
    assert_int_equal(
        record_decode(slice_of(got.ranges[0].data, got.ranges[0].size), RECORD_CHECK_CRC, &record),
        STATUS_OK);
    log_range_release(&got.ranges[0]);
    char path[256];
    kit_path(&kit, "commitlog/00000000000000000000", path);
    assert_false(kit_exists(path));
    /* The queue's files are 30 entries: the first one has gone with the log. */
    kit_path(&kit, "consumequeue/A/0/00000000000000000000", path);
    kit_close(&kit);
    assert_false(kit_exists(path));
    kit_open(&kit);
    queue = kit_queue(&kit, "A", 0);
    int64_t first = queue_min_offset(queue);
    assert_true(first > 30 && first < 50);
    assert_int_equal(queue_max_offset(queue), 50);
    assert_int_equal(kit_read_queue(&kit, queue, first), 50 - first);
    assert_int_equal(queue_offset_by_time(queue, 0), first);
    struct queue_entry entry;
    assert_false(queue_entry_at(queue, first - 1, &entry));
    store_get(kit.store, queue, 3, 1, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_OFFSET_TOO_SMALL);
    assert_int_equal(got.next_begin_offset, first);
    store_get(kit.store, queue, 51, 1, NULL, NULL, &arena, &got);
    assert_int_equal(got.status, GET_OFFSET_OVERFLOW_BADLY);
    assert_int_equal(got.next_begin_offset, 50); /* the end, for the start is not 0 any more */
    /* All messages of this one are gone; it goes on with offset 1. */
    queue = kit_queue(&kit, "Old", 0);
    assert_int_equal(queue_min_offset(queue), 1);
    assert_int_equal(queue_max_offset(queue), 1);
    assert_int_equal(kit_put(&kit, "Old", 0, "b", "").queue_offset, 1);
    arena_release(&arena);
    kit_release(&kit);
}

/* Over 85 percent age does not matter; the last file stays. */
static void full_disk_forces(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    atomic_store(&kit.vfs.space_percent, 86);
    kit_wait(log_begins_late, &kit);
    assert_true(store_writable(kit.store, NULL, 0));
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").queue_offset, 50);
    kit_dispatched(&kit);
    kit_release(&kit);
}

/* Messages that the broker has still to deliver: before that position. */
struct needs {
    struct kit kit; /* first */
    _Atomic int64_t pos;
    _Atomic int asked;
};

static const char *undelivered(void *ctx, int64_t end_pos)
{
    struct needs *needs = ctx;
    atomic_fetch_add(&needs->asked, 1);
    return atomic_load(&needs->pos) < end_pos ? "delayed messages" : NULL;
}

static void fill_needs(struct needs *needs, int64_t pos)
{
    atomic_store(&needs->pos, pos);
    atomic_store(&needs->asked, 0);
    fill_with(&needs->kit, (struct store_listener){.ctx = needs, .undelivered = undelivered});
}

static bool was_asked_often(void *ctx)
{
    return atomic_load(&((struct needs *)ctx)->asked) > 3;
}

static bool begins_at_the_third(void *ctx)
{
    const struct kit *kit = ctx;
    return store_min_pos(kit->store) >= 2 * kit->options.segment_bytes;
}

/* Neither a limit in bytes nor age takes what is still to be delivered; what lies before it goes,
 * and the rest when it is delivered. */
static void what_is_undelivered_stays(void **state)
{
    (void)state;
    static struct needs needs;
    struct kit *kit = &needs.kit;
    fill_needs(&needs, 2 * 8192 + 100);
    struct store_options limits = kit->options;
    limits.commit_log_bytes_max = 2 * limits.segment_bytes;
    store_set_retention(kit->store, &limits);
    atomic_store(&kit->vfs.space_percent, 85); /* not above diskSpaceCleanForciblyRatio yet */
    kit_wait(begins_at_the_third, kit);
    atomic_store(&needs.asked, 0);
    kit_wait(was_asked_often, &needs);
    atomic_store(&kit->wall_ms, at_hour(4, 10)); /* expired as well */
    store_clean_now(kit->store);
    atomic_store(&needs.asked, 0);
    kit_wait(was_asked_often, &needs);
    assert_int_equal(store_min_pos(kit->store), 2 * kit->options.segment_bytes);
    atomic_store(&needs.pos, INT64_MAX);
    kit_wait(log_begins_late, kit);
    kit_release(kit);
}

/* The words that the log must have by now or soon. */
struct words {
    const char *path;
    const char *text;
};

static bool are_told(void *ctx)
{
    const struct words *words = ctx;
    char bytes[65536];
    FILE *file = fopen(words->path, "r");
    size_t size = file == NULL ? 0 : fread(bytes, 1, sizeof bytes - 1, file);
    if (file != NULL)
        (void)fclose(file);
    bytes[size] = '\0';
    return strstr(bytes, words->text) != NULL;
}

/* It goes with the others when the disk is nearly full, and an error counts the files; unless
 * nothing may be deleted forcibly. */
static void a_full_disk_takes_what_is_undelivered(void **state)
{
    (void)state;
    static struct needs needs;
    struct kit *kit = &needs.kit;
    char path[256];
    struct words words = {path, "commit log files with undelivered messages were deleted files="};
    fill_needs(&needs, 100);
    kit_path(kit, "log", path);
    assert_int_equal(log_open(&(struct log_options){.path = path,
                                                    .file_bytes = 1 << 20,
                                                    .kept_files = 1,
                                                    .level = LOG_ERROR},
                              &(struct err){0}),
                     STATUS_OK);
    struct store_options limits = kit->options;
    limits.clean_forcibly = false;
    limits.commit_log_bytes_max = limits.segment_bytes;
    store_set_retention(kit->store, &limits);
    atomic_store(&kit->vfs.space_percent, 89);
    kit_wait(was_asked_often, &needs);
    assert_int_equal(store_min_pos(kit->store), 0);
    limits.clean_forcibly = true;
    limits.commit_log_bytes_max = 0;
    store_set_retention(kit->store, &limits);
    kit_wait(log_begins_late, kit);
    kit_wait(are_told, &words);
    words.text = "what=\"delayed messages\" why=\"a disk of the store is fuller than 85 %";
    assert_true(are_told(&words));
    log_close();
    kit_release(kit);
}

/* Over diskMaxUsedSpaceRatio only what is old enough goes. */
static void used_disk_takes_old_files(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    atomic_store(&kit.vfs.space_percent, 80);
    int64_t until = clock_monotonic_ms(clock_real()) + 50;
    while (clock_monotonic_ms(clock_real()) < until)
        assert_int_equal(store_min_pos(kit.store), 0);
    atomic_store(&kit.wall_ms, at_hour(12, 4)); /* written now, whatever the hour: 72 and more */
    kit_wait(log_begins_late, &kit);
    kit_release(&kit);
}

/* The log is not to be larger than so many bytes, whatever hour and age. */
static bool log_is_small(void *ctx)
{
    struct kit *kit = ctx;
    int64_t held = store_appended_pos(kit->store) - store_min_pos(kit->store);
    return held <= 3 * kit->options.segment_bytes;
}

static void the_log_has_a_limit_in_bytes(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    struct store_options limits = kit.options;
    limits.commit_log_bytes_max = 4 * limits.segment_bytes; /* with the one made ahead */
    store_set_retention(kit.store, &limits);
    kit_wait(log_is_small, &kit);
    int64_t held = store_appended_pos(kit.store) - store_min_pos(kit.store);
    assert_true(held > kit.options.segment_bytes); /* not more than needed */
    struct queue *queue = kit_queue(&kit, "A", 0);
    kit_wait(queue_begins_late, &kit);
    int64_t first = queue_min_offset(queue);
    assert_int_equal(kit_read_queue(&kit, queue, first), 50 - first);
    kit_put_many(&kit, "A", 0, 900, 40);
    kit_dispatched(&kit);
    kit_wait(log_is_small, &kit);
    kit_release(&kit);
}

static bool is_checkpointed(void *ctx)
{
    struct kit *kit = ctx;
    struct checkpoint checkpoint;
    return checkpoint_load(vfs_posix(), kit->root, &checkpoint, &(struct err){0}) == STATUS_OK &&
           checkpoint.durable_pos == store_appended_pos(kit->store);
}

static bool queue_begins_at_30(void *ctx)
{
    return queue_min_offset(kit_queue(ctx, "A", 0)) == 30;
}

/* A queue's file, full of entries whose messages are gone, stays while the next one is not durable:
 * a power cut would leave neither, and the queue would start again at 0. */
static void a_queue_keeps_its_last_durable_file(void **state)
{
    (void)state;
    struct kit kit;
    struct kit cut;
    char first[256];
    char second[256];
    kit_init(&kit, "retention");
    kit.options.segment_bytes = 8192;
    kit.options.clean_interval_ms = 5;
    kit.options.flush_interval_ms = 5;
    kit.options.flush_thorough_interval_ms = 5;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 900, 30); /* a whole file of entries */
    kit_put_many(&kit, "B", 0, 900, 8);
    kit_dispatched(&kit);
    keeper_want_checkpoint(&kit.store->keeper);
    kit_wait(is_checkpointed, &kit);
    kit_put(&kit, "A", 0, "b", "");
    kit_dispatched(&kit);
    atomic_store(&kit.vfs.space_percent, 86);
    kit_wait(queue_begins_at_30, &kit);
    kit_path(&kit, "consumequeue/A/0/00000000000000000000", first);
    assert_true(kit_exists(first));
    kit_crash(&kit, &cut);
    kit_path(&cut, "consumequeue/A/0/00000000000000000600", second);
    folder_remove(second);
    kit_open(&cut);
    assert_int_equal(queue_max_offset(kit_queue(&cut, "A", 0)), 31);
    kit_release(&cut);
    kit_release(&kit);
}

static bool all_flushed(void *ctx)
{
    struct kit *kit = ctx;
    return store_flushed_pos(kit->store) == store_appended_pos(kit->store);
}

/* An administrator does not wait for the hour, but age counts. */
static void on_request(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    struct store_options limits = kit.options;
    limits.clean_interval_ms = 3600000;
    store_set_retention(kit.store, &limits);
    store_clean_now(kit.store);
    int64_t until = clock_monotonic_ms(clock_real()) + 50;
    while (clock_monotonic_ms(clock_real()) < until)
        assert_int_equal(store_min_pos(kit.store), 0);
    atomic_store(&kit.wall_ms, at_hour(12, 4));
    kit_wait(all_flushed, &kit); /* what is not durable yet stays, and the next round is far */
    store_clean_now(kit.store);
    kit_wait(log_begins_late, &kit);
    kit_release(&kit);
}

/* A file that cannot be deleted stays in the log, and so do those behind it: the next start would
 * find a gap otherwise. It is tried again. */
static bool unlink_was_tried(void *ctx)
{
    return atomic_load(&((struct kit *)ctx)->vfs.unlink_failures) > 0;
}

/* Rounds that only wait for the checkpoint, and come often then, do not use up those that were
 * asked for. */
static void a_request_outlives_the_wait_for_a_checkpoint(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "retention");
    kit.options.segment_bytes = 8192;
    atomic_store(&kit.wall_ms, at_hour(12, 0));
    kit_open(&kit);
    kit_put_many(&kit, "A", 0, 900, 40);
    while (dispatcher_round(&kit.store->dispatcher) == STATUS_OK)
        continue;
    assert_int_equal(commitlog_flush(&kit.store->log), STATUS_OK);
    atomic_store(&kit.wall_ms, at_hour(12, 10));
    struct retention *retention = &kit.store->keeper.retention;
    int64_t now_ms = clock_monotonic_ms(clock_real());
    retention_start(retention, now_ms);
    store_clean_now(kit.store);
    for (int i = 0; i < 3 * RETENTION_MANUAL_ROUNDS; i++)
        (void)retention_step(retention, ++now_ms);
    assert_int_equal(store_min_pos(kit.store), 0);
    assert_int_equal(keeper_sync(&kit.store->keeper, true), STATUS_OK);
    (void)retention_step(retention, ++now_ms);
    assert_int_equal(store_min_pos(kit.store), kit.options.segment_bytes);
    kit_release(&kit);
}

static void a_file_that_stays(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    struct store_options limits = kit.options;
    limits.redelete_hanged_file_interval_ms = 20;
    store_set_retention(kit.store, &limits);
    atomic_store(&kit.vfs.unlink_target, KIT_COMMIT_LOG);
    atomic_store(&kit.vfs.space_percent, 86);
    kit_wait(unlink_was_tried, &kit);
    assert_int_equal(store_min_pos(kit.store), 0);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", 0), 0), 50);
    atomic_store(&kit.vfs.unlink_target, KIT_NOTHING);
    kit_wait(log_begins_late, &kit);
    kit_release(&kit);
}

static enum status no_descriptor(struct vfs *vfs, const char *path)
{
    (void)vfs;
    (void)path;
    errno = EMFILE;
    return STATUS_BUSY;
}

/* Without a descriptor to make a deletion durable the next one waits; messages are accepted. */
static void a_deletion_that_is_not_durable(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "retention");
    kit.options.segment_bytes = 8192;
    kit_open(&kit);
    kit_put_many(&kit, "A", 0, 900, 40);
    struct commitlog *log = &kit.store->log;
    assert_int_equal(commitlog_flush(log), STATUS_OK);
    enum status (*sync_directory)(struct vfs *, const char *) = kit.vfs.ops.sync_directory;
    kit.vfs.ops.sync_directory = no_descriptor;
    assert_int_equal(commitlog_remove_first(log), STATUS_OK);
    assert_int_equal(commitlog_remove_first(log), STATUS_IO);
    assert_int_equal(store_min_pos(kit.store), 8192);
    assert_true(store_writable(kit.store, NULL, 0));
    kit.vfs.ops.sync_directory = sync_directory;
    assert_int_equal(commitlog_remove_first(log), STATUS_OK);
    assert_int_equal(store_min_pos(kit.store), 16384);
    kit_release(&kit);
}

/* A disk that cannot be looked at counts as full for what has expired, and refuses nothing. */
static void an_unknown_disk(void **state)
{
    (void)state;
    struct kit kit;
    fill(&kit);
    atomic_store(&kit.vfs.space_percent, -1);
    int64_t until = clock_monotonic_ms(clock_real()) + 50;
    while (clock_monotonic_ms(clock_real()) < until)
        assert_int_equal(store_min_pos(kit.store), 0);
    assert_true(store_writable(kit.store, NULL, 0));
    atomic_store(&kit.wall_ms, at_hour(12, 4));
    kit_wait(log_begins_late, &kit);
    assert_int_equal(store_disk(kit.store).commit_log_percent, -1);
    kit_release(&kit);
}

/* More segments than go in one round, and more queues than are looked at in one step. */
static bool all_begin_late(void *ctx)
{
    for (int id = 0; id < 2 * RETENTION_WALK_QUEUES; id++)
        if (queue_min_offset(kit_queue(ctx, "Wide", id)) == 0)
            return false;
    return true;
}

static void many_segments_and_queues(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "retention");
    kit.options.segment_bytes = 8192;
    kit.options.clean_interval_ms = 5;
    kit.options.flush_interval_ms = 5;
    kit.options.flush_thorough_interval_ms = 5;
    kit_start(&kit);
    for (int id = 0; id < 2 * RETENTION_WALK_QUEUES; id++)
        (void)kit_put(&kit, "Wide", id, "b", "");
    kit_put_many(&kit, "A", 0, 900, 200);
    kit_dispatched(&kit);
    atomic_store(&kit.vfs.space_percent, 86);
    kit_wait(log_begins_late, &kit);
    kit_wait(all_begin_late, &kit);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours),
        cmocka_unit_test(old_files_go_at_the_hour),
        cmocka_unit_test(full_disk_forces),
        cmocka_unit_test(what_is_undelivered_stays),
        cmocka_unit_test(a_full_disk_takes_what_is_undelivered),
        cmocka_unit_test(used_disk_takes_old_files),
        cmocka_unit_test(the_log_has_a_limit_in_bytes),
        cmocka_unit_test(a_queue_keeps_its_last_durable_file),
        cmocka_unit_test(on_request),
        cmocka_unit_test(a_request_outlives_the_wait_for_a_checkpoint),
        cmocka_unit_test(a_file_that_stays),
        cmocka_unit_test(a_deletion_that_is_not_durable),
        cmocka_unit_test(an_unknown_disk),
        cmocka_unit_test(many_segments_and_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
