/* SPDX-License-Identifier: Apache-2.0
 *
 * The output queue: small pieces share a chunk, parts are queued by reference between them, any
 * number of bytes may leave at a time, every part is released exactly once, when its last byte
 * has left or the queue is cleared, and the memory of the buffers is counted per queue and per
 * pool.
 */
#include "common/net/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void append(struct output *output, struct output_pool *pool, const char *text)
{
    struct buf *buf = output_open(output, pool, strlen(text));
    size_t before = buf->size;
    buf_append_cstr(buf, text);
    output_appended(output, pool, buf, before);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void append_part(struct output *output, struct output_pool *pool, const char *text,
                        int *released)
{
    struct body_part part = {
        .data = text, .size = strlen(text), .release = count_release, .owner = released};
    output_append_part(output, pool, &part);
}

static int gather(const struct output *output, struct iovec *pieces, int max)
{
    bool more;
    int count = output_gather(output, pieces, max, &more);
    assert_false(more);
    return count;
}

static void small_pieces_share_a_chunk(void **state)
{
    (void)state;
    struct output output = {.bytes = 0};
    struct output_pool pool = {.held_bytes = 0};
    for (int i = 0; i < 100; i++)
        append(&output, &pool, "0123456789");
    struct iovec pieces[8];
    assert_int_equal(gather(&output, pieces, 8), 1);
    assert_int_equal(pieces[0].iov_len, 1000);
    assert_int_equal(output.bytes, 1000);
    const void *memory = pieces[0].iov_base;
    output_consume(&output, &pool, 1000);
    assert_int_equal(output.bytes, 0);
    assert_int_equal(gather(&output, pieces, 8), 0);
    /* The chunk is used again: the steady state allocates nothing. */
    append(&output, &pool, "again");
    assert_int_equal(gather(&output, pieces, 8), 1);
    assert_ptr_equal(pieces[0].iov_base, memory);
    output_clear(&output, &pool);
    output_pool_release(&pool);
}

/* Let the whole queue leave in steps of `step` bytes; the bytes must be `expected`. */
static void leave(struct output *output, struct output_pool *pool, size_t step,
                  const char *expected)
{
    size_t at = 0;
    while (output->bytes > 0) {
        struct iovec pieces[3];
        int count = gather(output, pieces, 3);
        assert_in_range(count, 1, 3);
        size_t left = step;
        size_t sent = 0;
        for (int i = 0; i < count && left > 0; i++) {
            size_t size = pieces[i].iov_len < left ? pieces[i].iov_len : left;
            assert_memory_equal(pieces[i].iov_base, expected + at + sent, size);
            sent += size;
            left -= size;
        }
        output_consume(output, pool, sent);
        at += sent;
    }
    assert_int_equal(at, strlen(expected));
}

static void bytes_leave_in_any_steps_and_parts_are_released_once(void **state)
{
    (void)state;
    struct output_pool pool = {.held_bytes = 0};
    for (size_t step = 1; step < 30; step++) {
        struct output output = {.bytes = 0};
        int released[3] = {0, 0, 0};
        append(&output, &pool, "head-");
        append_part(&output, &pool, "first", &released[0]);
        append_part(&output, &pool, "", &released[2]);
        assert_int_equal(released[2], 1);
        append_part(&output, &pool, "second", &released[1]);
        append(&output, &pool, "-tail");
        append(&output, &pool, "-end");
        leave(&output, &pool, step, "head-firstsecond-tail-end");
        for (int i = 0; i < 3; i++)
            assert_int_equal(released[i], 1);
    }
    output_pool_release(&pool);
}

static void a_part_is_released_with_its_last_byte(void **state)
{
    (void)state;
    struct output output = {.bytes = 0};
    struct output_pool pool = {.held_bytes = 0};
    int released = 0;
    append_part(&output, &pool, "abc", &released);
    output_consume(&output, &pool, 2);
    assert_int_equal(released, 0);
    output_consume(&output, &pool, 1);
    assert_int_equal(released, 1);
    output_pool_release(&pool);
}

static void clearing_releases_what_is_left(void **state)
{
    (void)state;
    struct output output = {.bytes = 0};
    struct output_pool pool = {.held_bytes = 0};
    int released[2] = {0, 0};
    append_part(&output, &pool, "abc", &released[0]);
    append(&output, &pool, "x");
    append_part(&output, &pool, "def", &released[1]);
    output_consume(&output, &pool, 1);
    output_clear(&output, &pool);
    assert_int_equal(released[0], 1);
    assert_int_equal(released[1], 1);
    assert_int_equal(output.bytes, 0);
    append(&output, &pool, "usable again");
    leave(&output, &pool, 100, "usable again");
    output_pool_release(&pool);
}

static void large_parts_leave_from_their_file(void **state)
{
    (void)state;
    struct output output = {.bytes = 0};
    struct output_pool pool = {.held_bytes = 0};
    struct output_file file;
    struct iovec pieces[3];
    int released = 0;
    bool more;
    static char memory[20000];
    struct body_part part = {.data = memory,
                             .size = sizeof memory,
                             .release = count_release,
                             .owner = &released,
                             .in_file = true,
                             .fd = 7,
                             .file_offset = 1000};
    append(&output, &pool, "head");
    output_append_part(&output, &pool, &part);
    part.size = 100; /* not worth a call of its own */
    output_append_part(&output, &pool, &part);

    assert_false(output_next_file(&output, &file));
    assert_int_equal(output_gather(&output, pieces, 3, &more), 1);
    assert_true(more);
    output_consume(&output, &pool, 4);
    assert_int_equal(output_gather(&output, pieces, 3, &more), 0);
    output_consume(&output, &pool, 5000);
    assert_true(output_next_file(&output, &file));
    assert_int_equal(file.fd, 7);
    assert_int_equal(file.offset, 6000);
    assert_int_equal(file.size, 15000);
    output_consume(&output, &pool, 15000);
    assert_int_equal(released, 1);
    assert_false(output_next_file(&output, &file));
    assert_int_equal(gather(&output, pieces, 3), 1);
    output_clear(&output, &pool);
    output_pool_release(&pool);
}

static void large_buffers_are_taken_over_and_small_ones_copied(void **state)
{
    (void)state;
    struct output output = {.bytes = 0};
    struct output_pool pool = {.held_bytes = 0};
    struct buf small = BUF_EMPTY;
    struct buf large = BUF_EMPTY;
    buf_append_cstr(&small, "small");
    for (int i = 0; i < 10000; i++)
        buf_append_byte(&large, 'L');
    const void *memory = large.data;
    output_append_buf(&output, &pool, &small);
    output_append_buf(&output, &pool, &large);
    assert_int_equal(small.size, 0);
    assert_null(large.data);
    assert_int_equal(output.bytes, 10005);
    struct iovec pieces[3];
    assert_int_equal(gather(&output, pieces, 3), 2);
    assert_ptr_equal(pieces[1].iov_base, memory);
    output_clear(&output, &pool);
    output_pool_release(&pool);
    buf_release(&small);
}

static void held_memory_is_counted_by_queue_and_pool(void **state)
{
    (void)state;
    struct output_pool pool = {.held_bytes = 0};
    struct output one = {.bytes = 0};
    struct output two = {.bytes = 0};
    append(&one, &pool, "small");
    size_t chunk = one.held_bytes;
    assert_in_range(chunk, 4096, 65536);
    append(&one, &pool, "shares the chunk");
    assert_int_equal(one.held_bytes, chunk);
    /* What a part refers to is not ours. */
    int released = 0;
    append_part(&one, &pool, "a part", &released);
    assert_int_equal(one.held_bytes, chunk);
    /* A buffer that is taken over, and one that outgrows its chunk. */
    struct buf large = BUF_EMPTY;
    (void)buf_reserve(&large, 100000);
    size_t capacity = large.capacity;
    memset(large.data, 'x', capacity);
    large.size = capacity;
    output_append_buf(&two, &pool, &large);
    assert_int_equal(two.held_bytes, capacity);
    struct buf *buf = output_open(&two, &pool, 10);
    (void)memset(buf_reserve(buf, 50000), 'y', 50000);
    buf->size += 50000;
    output_appended(&two, &pool, buf, 0);
    assert_in_range(two.held_bytes, capacity + 50000, capacity + 200000);
    assert_int_equal(pool.held_bytes, one.held_bytes + two.held_bytes);
    /* A buffer counts until its last byte has left. */
    output_consume(&two, &pool, capacity - 1);
    assert_true(two.held_bytes > capacity);
    output_consume(&two, &pool, 1);
    assert_in_range(two.held_bytes, 50000, 200000 - 1);
    assert_int_equal(pool.held_bytes, one.held_bytes + two.held_bytes);
    output_clear(&two, &pool);
    assert_int_equal(pool.held_bytes, one.held_bytes);
    output_clear(&one, &pool);
    assert_int_equal(one.held_bytes, 0);
    assert_int_equal(pool.held_bytes, 0);
    assert_int_equal(released, 1);
    buf_release(&large);
    output_pool_release(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pieces_share_a_chunk),
        cmocka_unit_test(bytes_leave_in_any_steps_and_parts_are_released_once),
        cmocka_unit_test(a_part_is_released_with_its_last_byte),
        cmocka_unit_test(clearing_releases_what_is_left),
        cmocka_unit_test(large_parts_leave_from_their_file),
        cmocka_unit_test(large_buffers_are_taken_over_and_small_ones_copied),
        cmocka_unit_test(held_memory_is_counted_by_queue_and_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
