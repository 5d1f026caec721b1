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

#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <string.h>

struct observer {
    struct kit kit;
    _Atomic int64_t reports;
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

/* One failed sync: the watermark stays, every later append is refused, sync is not tried again. */
static void failed_sync_is_final(void **state)
{
    (void)state;
    struct observer observer;
    observer_start(&observer, STORE_FLUSH_SYNC);
    observer_open(&observer);
    struct append_result good = kit_put(&observer.kit, "A", 0, "good", "");
    kit_wait(all_reported, &observer);
    int64_t reports = atomic_load(&observer.reports);
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
    assert_true(atomic_load(&observer.reports) > reports);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_covers_every_append),
        cmocka_unit_test(async_waits_for_four_pages),
        cmocka_unit_test(close_flushes),
        cmocka_unit_test(failed_sync_is_final),
        cmocka_unit_test(failed_write_is_final),
        cmocka_unit_test(failed_queue_sync_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
