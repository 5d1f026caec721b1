/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that zeros are written ahead of the end of the log, at most a window of them, over the end
 * of a segment and not twice; that they never meet a message; and that a crash finds nothing but
 * zeros behind the log.
 * Rules: broker/store/zeroer.h, docs/store.md, "Writing".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/store_internal.h"
#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define SEGMENT_BYTES (20 * 1024 * 1024)

static void open_sync(struct kit *kit)
{
    kit_init(kit, "zeroer");
    kit->options.segment_bytes = SEGMENT_BYTES;
    kit->options.queue_file_bytes = 60000;
    kit->options.flush = STORE_FLUSH_SYNC;
    kit_open(kit);
}

/* Steps until the window is full or there is no segment to go on in. */
static void fill_window(struct kit *kit)
{
    struct zeroer *zeroer = &kit->store->zeroer;
    int64_t slices;
    do {
        slices = atomic_load(&zeroer->slices);
        (void)zeroer_step(zeroer);
    } while (atomic_load(&zeroer->slices) > slices);
}

/* Where the blocks of the log's file are written, from log position `pos` on; INT64_MAX: nowhere.
 */
static int64_t written_from(struct kit *kit, int64_t pos)
{
    struct segment *segment = commitlog_acquire(&kit->store->log, pos);
    assert_non_null(segment);
    int64_t found = INT64_MAX - segment->base;
    enum status status =
        kit->vfs.vfs.ops->find_data(&kit->vfs.vfs, segment->fd, pos - segment->base, &found);
    assert_true(status == STATUS_OK || status == STATUS_NOT_FOUND);
    int64_t base = segment->base;
    segment_drop(segment);
    return base + found;
}

static void window_is_filled(void **state)
{
    (void)state;
    struct kit kit;
    struct err err;
    open_sync(&kit);
    if (written_from(&kit, 0) == 0)
        skip(); /* the file system cannot tell reserved blocks from written ones */
    fill_window(&kit);
    struct zeroer *zeroer = &kit.store->zeroer;
    assert_int_equal(zeroer->zeroed_pos, SEGMENT_BYTES);
    assert_int_equal(written_from(&kit, ZERO_GUARD_BYTES), ZERO_GUARD_BYTES);
    /* Into the segment made ahead, up to the window. */
    assert_int_equal(commitlog_prepare(&kit.store->log, &err), STATUS_OK);
    fill_window(&kit);
    assert_int_equal(zeroer->zeroed_pos, ZERO_WINDOW_BYTES);
    assert_int_equal(atomic_load(&zeroer->slices),
                     (ZERO_WINDOW_BYTES - ZERO_GUARD_BYTES) / ZERO_SLICE_BYTES);
    assert_int_equal(atomic_load(&zeroer->wake_pos), ZERO_BURST_BYTES);
    assert_int_equal(zeroer_step(zeroer), -1);

    /* What is there after a restart is not written again. */
    kit_put_many(&kit, "A", 0, 900, 100);
    kit_close(&kit);
    kit_open(&kit);
    zeroer = &kit.store->zeroer;
    while (zeroer->zeroed_pos < SEGMENT_BYTES)
        (void)zeroer_step(zeroer);
    assert_int_equal(atomic_load(&zeroer->slices), 0);
    kit_release(&kit);
}

static void crash_finds_zeros(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    char cut[256];
    open_sync(&kit);
    fill_window(&kit);
    kit_put_many(&kit, "A", 0, 900, 100);
    kit_crash(&kit, &after);
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), store_appended_pos(kit.store));
    kit_path(&after, "cut", cut);
    assert_false(kit_exists(cut));
    kit_release(&after);
    kit_release(&kit);
}

/* Linux tells each open descriptor once that something of the file could not be written. */
static struct {
    bool failed;
    bool told[KIT_DESCRIPTORS];
    enum status (*write_out)(struct vfs *vfs, int fd, int64_t offset, int64_t size);
    enum status (*fdatasync)(struct vfs *vfs, int fd);
} disk;

static enum status tell(int fd)
{
    bool news = disk.failed && !disk.told[fd];
    disk.told[fd] |= news;
    errno = EIO;
    return news ? STATUS_IO : STATUS_OK;
}

static enum status told_write_out(struct vfs *vfs, int fd, int64_t offset, int64_t size)
{
    enum status status = disk.write_out(vfs, fd, offset, size);
    return status == STATUS_OK ? tell(fd) : status;
}

static enum status told_fdatasync(struct vfs *vfs, int fd)
{
    enum status status = disk.fdatasync(vfs, fd);
    return status == STATUS_OK ? tell(fd) : status;
}

/* A message that the kernel could not write is not acknowledged because the zeros' own wait for the
 * disk, at any moment before the log's sync, has heard of it. */
static void log_hears_of_lost_writes(void **state)
{
    (void)state;
    struct kit kit;
    open_sync(&kit);
    disk.write_out = kit.vfs.ops.write_out;
    disk.fdatasync = kit.vfs.ops.fdatasync;
    kit.vfs.ops.write_out = told_write_out;
    kit.vfs.ops.fdatasync = told_fdatasync;
    int64_t flushed_pos = store_flushed_pos(kit.store);
    assert_int_equal(kit_put(&kit, "A", 0, "lost", "").status, PUT_OK);
    disk.failed = true;
    (void)zeroer_step(&kit.store->zeroer);
    assert_int_equal(commitlog_flush(&kit.store->log), STATUS_IO);
    assert_int_equal(store_flushed_pos(kit.store), flushed_pos);
    /* Then zeros are of no use any more. */
    int64_t slices = atomic_load(&kit.store->zeroer.slices);
    assert_int_equal(zeroer_step(&kit.store->zeroer), -1);
    assert_int_equal(atomic_load(&kit.store->zeroer.slices), slices);
    disk.failed = false;
    kit_release(&kit);
}

/* A segment is made ahead with prepare_lock held, which takes as long as the disk does. Zeros that
 * have come to the end of the one before it do not keep the appends waiting for that. */
static void claims_do_not_wait_for_a_segment(void **state)
{
    (void)state;
    struct kit kit;
    struct zero_claim claim;
    struct err err;
    open_sync(&kit);
    struct commitlog *log = &kit.store->log;
    assert_int_equal(pthread_mutex_lock(&log->prepare_lock), 0);
    assert_false(commitlog_claim_zeros(log, SEGMENT_BYTES, ZERO_SLICE_BYTES, &claim));
    assert_int_equal(pthread_mutex_unlock(&log->prepare_lock), 0);
    assert_int_equal(commitlog_prepare(log, &err), STATUS_OK);
    assert_true(commitlog_claim_zeros(log, SEGMENT_BYTES, ZERO_SLICE_BYTES, &claim));
    assert_int_equal(claim.pos, SEGMENT_BYTES);
    commitlog_release_zeros(log, &claim);
    kit_release(&kit);
}

struct writer {
    struct kit *kit;
    _Atomic bool done;
};

/* More than ZERO_GUARD_BYTES. */
static void *write_megabytes(void *arg)
{
    struct writer *writer = arg;
    kit_put_many(writer->kit, "A", 0, 60000, 2); /* does not reach the claim */
    kit_put_many(writer->kit, "A", 0, 60000, 40);
    atomic_store(&writer->done, true);
    return NULL;
}

static bool has_begun(void *ctx)
{
    return store_appended_pos(((struct writer *)ctx)->kit->store) > 0;
}

static bool is_done(void *ctx)
{
    return atomic_load(&((struct writer *)ctx)->done);
}

/* An append that would reach a claimed slice waits until it is released; others do not. */
static void appends_wait_for_a_claim(void **state)
{
    (void)state;
    struct kit kit;
    struct zero_claim claim;
    struct writer writer = {.kit = &kit};
    pthread_t thread;
    open_sync(&kit);
    assert_true(commitlog_claim_zeros(&kit.store->log, 0, ZERO_SLICE_BYTES, &claim));
    assert_int_equal(claim.pos, ZERO_GUARD_BYTES);
    assert_int_equal(pthread_create(&thread, NULL, write_megabytes, &writer), 0);
    kit_wait(has_begun, &writer);
    for (int i = 0; i < 10000; i++) {
        assert_true(store_appended_pos(kit.store) <= claim.pos);
        assert_false(is_done(&writer));
        (void)sched_yield();
    }
    commitlog_release_zeros(&kit.store->log, &claim);
    kit_wait(is_done, &writer);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(store_appended_pos(kit.store) > ZERO_GUARD_BYTES + ZERO_SLICE_BYTES);
    kit_release(&kit);
}

/* The real thread beside appends that outrun it: every message is what was sent. */
static void messages_survive(void **state)
{
    (void)state;
    struct kit kit;
    open_sync(&kit);
    assert_int_equal(store_start(kit.store, &(struct err){0}), STATUS_OK);
    for (int i = 0; i < 60; i++)
        kit_put_many(&kit, "A", i % 3, 30000, 30);
    kit_dispatched(&kit);
    for (int q = 0; q < 3; q++)
        assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", q), 0), 600);
    int64_t end = store_appended_pos(kit.store);
    kit_close(&kit);
    kit_remove(&kit, "checkpoint"); /* then every record's checksum is looked at */
    kit_open(&kit);
    assert_int_equal(store_appended_pos(kit.store), end);
    for (int q = 0; q < 3; q++)
        assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "A", q), 0), 600);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_is_filled),
        cmocka_unit_test(crash_finds_zeros),
        cmocka_unit_test(log_hears_of_lost_writes),
        cmocka_unit_test(claims_do_not_wait_for_a_segment),
        cmocka_unit_test(appends_wait_for_a_claim),
        cmocka_unit_test(messages_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
