/* SPDX-License-Identifier: Apache-2.0
 *
 * store_delete_expired_queues: queues all of whose messages have left the log lose their files and
 * start again at 0; all others keep what they have.
 *
 * Source: behaviour AD-14; RocketMQ store/.../DefaultMessageStore.java (cleanExpiredConsumerQueue).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/store_kit.h"

#include <string.h>

static bool log_has_lost_its_start(void *ctx)
{
    struct kit *kit = ctx;
    return store_min_pos(kit->store) >= 2 * kit->options.segment_bytes &&
           queue_min_offset(kit_queue(kit, "Busy", 0)) > 0;
}

/* Two queues in the first file of the log, one all over it, one that is empty; then the first files
 * go. The store believes that the disk is full, so age and hour do not matter. */
static const struct slice kept = {(const uint8_t *)"Kept", 4};

static void fill(struct kit *kit)
{
    kit_init(kit, "expired-queues");
    kit->options.segment_bytes = 8192;
    kit->options.clean_interval_ms = 5;
    kit->options.flush_interval_ms = 5;
    kit->options.flush_thorough_interval_ms = 5;
    kit_start(kit);
    kit_put_many(kit, "Old", 0, 10, 2);
    kit_put_many(kit, "Kept", 3, 10, 2);
    kit_put_many(kit, "Busy", 0, 900, 40);
    (void)kit_queue(kit, "Empty", 0);
    kit_dispatched(kit);
}

static void only_queues_without_messages_go(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    fill(&kit);
    kit_path(&kit, "consumequeue/Old/0/00000000000000000000", path);
    store_delete_expired_queues(kit.store, &kept, 1);
    assert_int_equal(queue_max_offset(kit_queue(&kit, "Old", 0)), 2); /* all is there still */
    assert_true(kit_exists(path));

    atomic_store(&kit.vfs.space_percent, 88);
    kit_wait(log_has_lost_its_start, &kit);
    struct queue *old = kit_queue(&kit, "Old", 0);
    struct queue *busy = kit_queue(&kit, "Busy", 0);
    assert_int_equal(queue_max_offset(old), 2);
    store_delete_expired_queues(kit.store, &kept, 1);
    assert_int_equal(queue_max_offset(old), 0);
    assert_int_equal(queue_min_offset(old), 0);
    assert_false(kit_exists(path));
    assert_int_equal(queue_max_offset(kit_queue(&kit, "Kept", 3)), 2);
    assert_int_equal(queue_max_offset(busy), 40);
    assert_true(queue_min_offset(busy) > 0 && queue_min_offset(busy) < 40);

    /* Its next life. */
    struct append_result result = kit_put(&kit, "Old", 0, "new", "");
    assert_int_equal(result.status, PUT_OK);
    assert_int_equal(result.queue_offset, 0);
    kit_dispatched(&kit);
    assert_int_equal(kit_read_queue(&kit, old, 0), 1);
    store_delete_expired_queues(kit.store, &kept, 1);
    assert_int_equal(queue_max_offset(old), 1);
    kit_close(&kit);
    kit_open(&kit);
    assert_int_equal(queue_max_offset(kit_queue(&kit, "Old", 0)), 1);
    assert_int_equal(queue_max_offset(kit_queue(&kit, "Kept", 3)), 2);
    kit_close(&kit);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_queues_without_messages_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
