/* SPDX-License-Identifier: Apache-2.0
 *
 * The flushed watermark: what SYNC_FLUSH covers, when ASYNC_FLUSH moves, and that a failed sync or
 * write ends writing for good with nothing acknowledged.
 *
 * Source: docs/store.md; 4.9.2's intervals in store/.../CommitLog.java (FlushRealTimeService).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "broker/store/flush.h"
#include "broker/store/store_internal.h"
#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <string.h>

struct observer {
    struct kit kit;
    _Atomic int64_t reports;
    int64_t reports_before;
    _Atomic int64_t reported_pos; /* store_flushed_pos at the last report */
};

static void on_flushed(void *ctx)
{
    struct observer *observer = ctx;
    atomic_store(&observer->reported_pos, store_flushed_pos(observer->kit.store));
    atomic_fetch_add(&observer->reports, 1);
}

static void observer_start(struct observer *observer, enum store_flush flush)
{
    kit_init(&observer->kit, "flush");
    observer->kit.options.flush = flush;
    atomic_store(&observer->reports, 0);
    observer->reports_before = 0;
    atomic_store(&observer->reported_pos, 0);
}

static void observer_open(struct observer *observer)
{
    struct err err;
    kit_open(&observer->kit);
    store_set_listener(observer->kit.store,
                       (struct store_listener){.ctx = observer, .on_flushed = on_flushed});
    assert_int_equal(store_start(observer->kit.store, &err), STATUS_OK);
}

static bool all_reported(void *ctx)
{
    struct observer *observer = ctx;
    return atomic_load(&observer->reported_pos) == store_appended_pos(observer->kit.store);
}

static bool not_writable(void *ctx)
{
    struct observer *observer = ctx;
    return !store_writable(observer->kit.store, NULL, 0) && atomic_load(&observer->reports) > 0;
}

/* Writing ends before it is reported. */
static bool another_report(void *ctx)
{
    struct observer *observer = ctx;
    return atomic_load(&observer->reports) > observer->reports_before;
}

static bool has_flushed(void *ctx)
{
    return store_flushed_pos(((struct observer *)ctx)->kit.store) > 0;
}

static void sync_covers_every_append(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_SYNC);
    observer_open(&observer);
    for (int i = 0; i < 50; i++) {
        struct append_result result = kit_put(&observer.kit, "A", 0, "body", "");
        kit_wait(all_reported, &observer);
        assert_true(store_flushed_pos(observer.kit.store) >= result.end_pos);
    }
    assert_true(atomic_load(&observer.kit.vfs.syncs) >= 50);
    /* Over segments too: all of them are synced. */
    int64_t before = atomic_load(&observer.kit.vfs.syncs);
    kit_put_many(&observer.kit, "A", 0, 30000, 7);
    kit_wait(all_reported, &observer);
    assert_true(atomic_load(&observer.kit.vfs.syncs) - before >= 4);
    kit_release(&observer.kit);
}

static void async_waits_for_four_pages(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_ASYNC);
    observer.kit.options.flush_interval_ms = 5;
    observer_open(&observer);
    kit_put(&observer.kit, "A", 0, "less than four pages", "");
    kit_put_many(&observer.kit, "A", 0, 16384, 1);
    kit_wait(all_reported, &observer);
    kit_close(&observer.kit);
    /* The thorough interval takes the rest. */
    observer.kit.options.flush_thorough_interval_ms = 20;
    observer_open(&observer);
    kit_put(&observer.kit, "A", 0, "less than four pages", "");
    kit_wait(all_reported, &observer);
    kit_release(&observer.kit);
}

/* All intervals are hours: with flushCommitLogTimed=false, and beyond FLUSH_MOST_BYTES with any
 * setting, the appends themselves begin a flush. */
static void appends_begin_a_flush(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_ASYNC);
    observer.kit.options.flush_timed = false;
    observer_open(&observer);
    kit_put(&observer.kit, "A", 0, "less than four pages", "");
    assert_int_equal(store_flushed_pos(observer.kit.store), 0);
    kit_put_many(&observer.kit, "A", 0, 16384, 1);
    kit_wait(all_reported, &observer);
    kit_close(&observer.kit);

    observer.kit.options.flush_timed = true;
    observer.kit.options.segment_bytes = 8 << 20;
    kit_remove(&observer.kit, "");
    observer_open(&observer);
    kit_put_many(&observer.kit, "A", 0, 1 << 20, 7);
    kit_dispatched(&observer.kit);
    assert_int_equal(store_flushed_pos(observer.kit.store), 0);
    for (int64_t bytes = 7 << 20; bytes < FLUSH_MOST_BYTES; bytes += 7 << 20)
        kit_put_many(&observer.kit, "A", 0, 1 << 20, 7);
    kit_wait(has_flushed, &observer);
    kit_release(&observer.kit);
}

static void close_flushes(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_ASYNC);
    observer_open(&observer);
    kit_put(&observer.kit, "A", 0, "body", "");
    assert_int_equal(store_flushed_pos(observer.kit.store), 0);
    kit_close(&observer.kit);
    assert_true(atomic_load(&observer.kit.vfs.syncs) >= 1);
    char path[256];
    kit_path(&observer.kit, "abort", path);
    assert_false(kit_exists(path));
    kit_release(&observer.kit);
}

/* The keeper syncs the segment that it makes ahead, too. */
static bool next_is_made(void *ctx)
{
    return !atomic_load(&((struct observer *)ctx)->kit.store->log.next_wanted);
}

/* One failed sync: the watermark stays, every later append is refused, sync is not tried again. */
static void failed_sync_is_final(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_SYNC);
    observer_open(&observer);
    struct append_result good = kit_put(&observer.kit, "A", 0, "good", "");
    kit_wait(all_reported, &observer);
    kit_wait(next_is_made, &observer);
    kit_wait(another_report, &observer); /* all_reported sees it come */
    observer.reports_before = atomic_load(&observer.reports);
    atomic_store(&observer.kit.vfs.sync_target, KIT_COMMIT_LOG);
    assert_int_equal(kit_put(&observer.kit, "A", 0, "bad", "").status, PUT_OK);
    kit_wait(not_writable, &observer);
    atomic_store(&observer.kit.vfs.sync_target, KIT_NOTHING);
    char why[512];
    assert_false(store_writable(observer.kit.store, why, sizeof why));
    assert_non_null(strstr(why, "Input/output error"));
    assert_non_null(strstr(why, "restart"));
    assert_int_equal(kit_put(&observer.kit, "A", 0, "later", "").status, PUT_SERVICE_NOT_AVAILABLE);
    assert_int_equal(store_flushed_pos(observer.kit.store), good.end_pos);
    kit_wait(another_report, &observer);
    int64_t syncs = atomic_load(&observer.kit.vfs.syncs);
    kit_close(&observer.kit);
    assert_int_equal(atomic_load(&observer.kit.vfs.syncs), syncs);
    char path[256];
    kit_path(&observer.kit, "abort", path);
    assert_true(kit_exists(path));
    /* The disk is well again: what was synced is there. */
    kit_open(&observer.kit);
    assert_true(kit_read_queue(&observer.kit, kit_queue(&observer.kit, "A", 0), 0) >= 1);
    assert_true(store_writable(observer.kit.store, NULL, 0));
    kit_release(&observer.kit);
}

/* A failed write is refused at once, ends writing, and its queue offset is free again. */
static void failed_write_is_final(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_SYNC);
    observer_open(&observer);
    struct append_result good = kit_put(&observer.kit, "A", 0, "good", "");
    atomic_store(&observer.kit.vfs.write_errno, EIO);
    atomic_store(&observer.kit.vfs.write_torn, 50);
    atomic_store(&observer.kit.vfs.write_target, KIT_COMMIT_LOG);
    struct append_result bad = kit_put(&observer.kit, "A", 0, "bad", "");
    assert_int_equal(bad.status, PUT_SERVICE_NOT_AVAILABLE);
    assert_int_equal(bad.pos, -1);
    assert_int_equal(store_appended_pos(observer.kit.store), good.end_pos);
    kit_wait(not_writable, &observer);
    atomic_store(&observer.kit.vfs.write_target, KIT_NOTHING);
    assert_int_equal(kit_put(&observer.kit, "A", 0, "later", "").status, PUT_SERVICE_NOT_AVAILABLE);
    kit_close(&observer.kit);
    kit_open(&observer.kit);
    assert_int_equal(store_appended_pos(observer.kit.store), good.end_pos);
    assert_int_equal(kit_put(&observer.kit, "A", 0, "new", "").queue_offset, 1);
    kit_release(&observer.kit);
}

/* The checkpoint says no more than what was synced, and a queue's failed sync counts as well. */
static void failed_queue_sync_is_final(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_SYNC);
    observer.kit.options.flush_queues_interval_ms = 5;
    observer.kit.options.flush_queues_thorough_interval_ms = 10;
    observer_open(&observer);
    atomic_store(&observer.kit.vfs.sync_target, KIT_QUEUES);
    kit_put(&observer.kit, "A", 0, "body", "");
    kit_wait(not_writable, &observer);
    char why[512];
    assert_false(store_writable(observer.kit.store, why, sizeof why));
    assert_non_null(strstr(why, "consume queue of topic A"));
    kit_close(&observer.kit);
    atomic_store(&observer.kit.vfs.sync_target, KIT_NOTHING);
    kit_open(&observer.kit);
    assert_int_equal(kit_read_queue(&observer.kit, kit_queue(&observer.kit, "A", 0), 0), 1);
    kit_release(&observer.kit);
}

static int64_t durable_pos(const struct kit *kit)
{
    struct checkpoint checkpoint;
    struct err err;
    assert_int_equal(checkpoint_load(vfs_posix(), kit->root, &checkpoint, &err), STATUS_OK);
    return checkpoint.durable_pos;
}

/* A checkpoint never claims what a failed sync has lost, of queues or of the index, however often
 * one falls due afterwards, and also not at the end. */
static enum status failing_sync_map(struct vfs *vfs, void *memory, size_t size)
{
    (void)vfs;
    (void)memory;
    (void)size;
    errno = EIO;
    return STATUS_IO;
}

static void no_checkpoint_after_a_failed_sync(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct observer observer;
        struct kit *kit = &observer.kit;
        observer_start(&observer, STORE_FLUSH_SYNC);
        kit->options.flush_queues_interval_ms = 1;
        kit->options.flush_queues_thorough_interval_ms = 2;
        observer_open(&observer);
        if (how == 0)
            atomic_store(&kit->vfs.sync_target, KIT_QUEUES);
        else
            kit->vfs.ops.sync_map = failing_sync_map;
        int64_t before = durable_pos(kit);
        assert_int_equal(kit_put(kit, "A", 0, "body", "KEYS\001k").status, PUT_OK);
        kit_wait(not_writable, &observer);
        keeper_want_checkpoint(&kit->store->keeper);
        kit_dispatched(kit);
        kit_close(kit);
        assert_int_equal(durable_pos(kit), before);
        char path[256];
        kit_path(kit, "abort", path);
        assert_true(kit_exists(path));
        kit_release(kit);
    }
}

/* The next segment is made while the keeper is still at syncing queues. */
struct slow_sync {
    struct kit *kit;
    int syncs;
    bool seen;
};
static struct slow_sync slow_sync;

static enum status rolling_fdatasync(struct vfs *vfs, int fd)
{
    struct kit *kit = slow_sync.kit;
    if (atomic_load(&kit->vfs.kinds[fd]) == KIT_QUEUES) {
        char path[256];
        if (++slow_sync.syncs == 1) /* uses up what is there: another is wanted */
            kit_put_many(kit, "A", 0, 3000, 1);
        kit_path(kit, "commitlog/00000000000000008192", path);
        if (slow_sync.syncs == 2)
            slow_sync.seen = kit_exists(path);
    }
    return vfs_posix()->ops->fdatasync(vfs, fd);
}

static bool synced_twice(void *ctx)
{
    (void)ctx;
    return durable_pos(slow_sync.kit) > 0;
}

static bool next_is_there(void *ctx)
{
    char path[256];
    kit_path(ctx, "commitlog/00000000000000004096", path);
    return kit_exists(path);
}

static void segments_are_made_between_syncs(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "flush");
    kit.options.segment_bytes = 4096;
    slow_sync = (struct slow_sync){.kit = &kit};
    kit.vfs.ops.fdatasync = rolling_fdatasync;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 3000, 1);
    kit_put_many(&kit, "B", 0, 10, 1);
    kit_dispatched(&kit);
    keeper_want_checkpoint(&kit.store->keeper);
    kit_wait(next_is_there, &kit);
    kit_wait(synced_twice, NULL);
    assert_true(slow_sync.seen);
    kit_release(&kit);
}

/* The entry of a new index file is durable before the checkpoint counts on the file, also when it
 * is not the only one. */
static _Atomic int index_directory_syncs;
static enum status counting_sync_directory(struct vfs *vfs, const char *path)
{
    if (strlen(path) > 6 && strcmp(path + strlen(path) - 6, "/index") == 0)
        atomic_fetch_add(&index_directory_syncs, 1);
    return vfs_posix()->ops->sync_directory(vfs, path);
}

static void index_directory_is_synced(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "flush");
    kit.vfs.ops.sync_directory = counting_sync_directory;
    kit.options.index_entries = 4;
    kit_start(&kit);
    for (int i = 0; i < 5; i++)
        (void)kit_put(&kit, "A", 0, "b", "KEYS\001k");
    kit_close(&kit);
    kit_start(&kit);
    for (int i = 0; i < 5; i++)
        (void)kit_put(&kit, "A", 0, "b", "KEYS\001k");
    kit_dispatched(&kit);
    atomic_store(&index_directory_syncs, 0);
    kit_close(&kit);
    assert_true(atomic_load(&index_directory_syncs) >= 1);
    kit_release(&kit);
}

static enum status no_descriptor(struct vfs *vfs, const char *path)
{
    (void)vfs;
    (void)path;
    errno = EMFILE;
    return STATUS_BUSY;
}

/* Without a descriptor for the directory there is no checkpoint; the next one syncs it, although no
 * file has changed since. */
static void index_directory_is_tried_again(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "flush");
    kit_open(&kit);
    (void)kit_put(&kit, "A", 0, "b", "KEYS\001k");
    assert_int_equal(commitlog_flush(&kit.store->log), STATUS_OK);
    while (dispatcher_round(&kit.store->dispatcher) == STATUS_OK)
        continue;
    struct index *index = &kit.store->index;
    int64_t synced_ms = 0;
    kit.vfs.ops.sync_directory = no_descriptor;
    assert_int_equal(index_sync(index, &synced_ms), STATUS_BUSY);
    assert_int_equal(synced_ms, 0);
    atomic_store(&index_directory_syncs, 0);
    kit.vfs.ops.sync_directory = counting_sync_directory;
    assert_int_equal(index_sync(index, &synced_ms), STATUS_OK);
    assert_int_equal(atomic_load(&index_directory_syncs), 1);
    assert_true(synced_ms > 0);
    assert_int_equal(index_sync(index, &synced_ms), STATUS_OK);
    assert_int_equal(atomic_load(&index_directory_syncs), 1);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_covers_every_append),
        cmocka_unit_test(async_waits_for_four_pages),
        cmocka_unit_test(appends_begin_a_flush),
        cmocka_unit_test(close_flushes),
        cmocka_unit_test(failed_sync_is_final),
        cmocka_unit_test(failed_write_is_final),
        cmocka_unit_test(failed_queue_sync_is_final),
        cmocka_unit_test(no_checkpoint_after_a_failed_sync),
        cmocka_unit_test(segments_are_made_between_syncs),
        cmocka_unit_test(index_directory_is_synced),
        cmocka_unit_test(index_directory_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
