/* SPDX-License-Identifier: Apache-2.0
 *
 * The checkpoint: 4.9.2's three times are read, ours beside them too, and ours are void as soon as
 * anything was changed by somebody else.
 *
 * Source: test/data/store-4.9.2/checkpoint; RocketMQ store/.../StoreCheckpoint.java.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "test/unit/support/folder.h"
#include "test/unit/support/tsv.h"

#include <stdio.h>

static const struct checkpoint sample = {
    .log_timestamp_ms = 1795380512922,
    .queues_timestamp_ms = 1795380512923,
    .index_timestamp_ms = 1795380512924,
    .durable_pos = INT64_C(1) << 40,
    .queue_ends = {987654321, 0x123456789ABCDEF0U},
    .last_pos = (INT64_C(1) << 40) - 500,
    .last_crc = 0x7654321,
};

static void check_equal(const struct checkpoint *a, const struct checkpoint *b)
{
    assert_int_equal(a->log_timestamp_ms, b->log_timestamp_ms);
    assert_int_equal(a->queues_timestamp_ms, b->queues_timestamp_ms);
    assert_int_equal(a->index_timestamp_ms, b->index_timestamp_ms);
    assert_int_equal(a->durable_pos, b->durable_pos);
    assert_int_equal(a->queue_ends.total, b->queue_ends.total);
    assert_true(a->queue_ends.digest == b->queue_ends.digest);
    assert_int_equal(a->last_pos, b->last_pos);
    assert_int_equal(a->last_crc, b->last_crc);
}

static void reads_4_9_2(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 8192);
    struct checkpoint checkpoint;
    assert_int_equal(
        checkpoint_decode(file_bytes(&arena, "test/data/store-4.9.2/checkpoint"), &checkpoint),
        STATUS_OK);
    assert_int_equal(checkpoint.log_timestamp_ms, INT64_C(0x1a20509249a));
    assert_int_equal(checkpoint.queues_timestamp_ms, INT64_C(0x1a20509249a));
    assert_int_equal(checkpoint.index_timestamp_ms, INT64_C(0x1a20508c190));
    assert_int_equal(checkpoint.durable_pos, -1);
    arena_release(&arena);
}

static void any_change_voids_ours(void **state)
{
    (void)state;
    uint8_t bytes[CHECKPOINT_USED_BYTES];
    struct checkpoint read;
    checkpoint_encode(&sample, bytes);
    assert_int_equal(checkpoint_decode(slice_of(bytes, sizeof bytes), &read), STATUS_OK);
    check_equal(&read, &sample);
    for (size_t i = 0; i < sizeof bytes * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1U << (i % 8));
        assert_int_equal(checkpoint_decode(slice_of(bytes, sizeof bytes), &read), STATUS_OK);
        assert_int_equal(read.durable_pos, -1);
        bytes[i / 8] ^= (uint8_t)(1U << (i % 8));
    }
    for (size_t size = 0; size < sizeof bytes; size++) {
        enum status status = checkpoint_decode(slice_of(bytes, size), &read);
        assert_int_equal(status, size < 24 ? STATUS_TRUNCATED : STATUS_OK);
        if (status == STATUS_OK)
            assert_int_equal(read.durable_pos, -1);
    }
}

static void stores_and_loads(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    struct checkpoint read;
    struct err err;
    folder_make("checkpoint", folder);
    assert_int_equal(checkpoint_load(vfs_posix(), folder, &read, &err), STATUS_OK);
    check_equal(&read, &CHECKPOINT_NONE);
    assert_int_equal(checkpoint_store(vfs_posix(), folder, &sample, &err), STATUS_OK);
    assert_int_equal(checkpoint_load(vfs_posix(), folder, &read, &err), STATUS_OK);
    check_equal(&read, &sample);
    char path[128];
    struct vfs_stat st;
    (void)snprintf(path, sizeof path, "%s/checkpoint", folder);
    assert_int_equal(vfs_posix()->ops->stat(vfs_posix(), path, &st), STATUS_OK);
    assert_int_equal(st.size, CHECKPOINT_FILE_BYTES);
    folder_remove(folder);
    assert_int_not_equal(checkpoint_store(vfs_posix(), folder, &sample, &err), STATUS_OK);
}

/* The digest is on disk: it must not change between versions. */
static void digest_of_the_ends(void **state)
{
    (void)state;
    uint64_t a = queue_ends_name(SLICE_LITERAL("A"), 0);
    uint64_t b = queue_ends_name(SLICE_LITERAL("B"), 1);
    struct queue_ends ends = {0, 0};
    struct queue_ends others = {0, 0};
    queue_ends_move(&ends, a, 0, 5);
    queue_ends_move(&ends, b, 0, 8);
    queue_ends_move(&ends, a, 5, 12);
    assert_int_equal(ends.total, 20);
    assert_true(ends.digest == 0xCAAAE543B39EFD33ULL);
    queue_ends_move(&others, b, 0, 8);
    queue_ends_move(&others, a, 0, 12);
    assert_true(queue_ends_equal(&ends, &others));
    /* The same sum. */
    queue_ends_move(&others, b, 8, 10);
    queue_ends_move(&others, a, 12, 10);
    assert_int_equal(others.total, 20);
    assert_false(queue_ends_equal(&ends, &others));
    queue_ends_move(&ends, a, 12, 0);
    queue_ends_move(&ends, b, 8, 0);
    assert_true(ends.total == 0 && ends.digest == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_of_the_ends),
        cmocka_unit_test(reads_4_9_2),
        cmocka_unit_test(any_change_voids_ours),
        cmocka_unit_test(stores_and_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
