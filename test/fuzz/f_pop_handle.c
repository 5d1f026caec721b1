/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the texts of pop consumption: a handle that is read comes back when it is written
 * and read again; bits ascend and stay within their number; records of the revive log that are
 * taken are ones that the ledger may be given.
 */
#include "broker/state/pop_log.h"
#include "common/base/check.h"
#include "proto/pop_handle.h"

#define BITS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_handle(struct slice text)
{
    struct pop_handle handle;
    struct pop_handle again;
    struct buf written = BUF_EMPTY;
    if (pop_handle_parse(text, &handle) != STATUS_OK)
        return;
    pop_handle_format(&handle, &written);
    CHECK(pop_handle_parse(buf_slice(&written), &again) == STATUS_OK);
    CHECK(handle.start_offset == again.start_offset && handle.pop_time_ms == again.pop_time_ms &&
          handle.invisible_ms == again.invisible_ms && handle.revive_queue == again.revive_queue &&
          handle.retry == again.retry && handle.queue_id == again.queue_id &&
          handle.queue_offset == again.queue_offset &&
          slice_equal(handle.broker_name, again.broker_name));
    buf_release(&written);
}

static void check_bits(struct slice text)
{
    int32_t bits[BITS_MAX];
    int count = -1;
    if (pop_bits_parse(text, bits, BITS_MAX, &count) != STATUS_OK)
        return;
    CHECK(count >= 0 && count <= BITS_MAX);
    for (int i = 0; i < count; i++)
        CHECK(bits[i] >= 0 && (i == 0 || bits[i] > bits[i - 1]) && (size_t)bits[i] < text.size * 6);
}

static void check_log(struct slice body)
{
    struct arena arena;
    struct pop_view view;
    struct pop_name name;
    int64_t *offsets = NULL;
    size_t count = 0;
    arena_init(&arena, 1024);
    if (pop_log_decode_point(body, &arena, &view) == STATUS_OK) {
        CHECK(view.count > 0 && view.count <= POP_MESSAGES_MAX && view.topic.size > 0 &&
              view.group.size > 0);
        for (int i = 1; i < view.count; i++)
            CHECK(view.offsets[i] > view.offsets[i - 1]);
        struct buf written = BUF_EMPTY;
        struct pop_view again;
        pop_log_encode_point(&view, view.acked, "b", &arena, &written);
        CHECK(pop_log_decode_point(buf_slice(&written), &arena, &again) == STATUS_OK);
        CHECK(again.count == view.count && again.acked == view.acked &&
              again.start_offset == view.start_offset && slice_equal(again.topic, view.topic));
        buf_release(&written);
    }
    if (pop_log_decode_acks(body, &arena, &name, &offsets, &count) == STATUS_OK)
        CHECK(count > 0 && offsets != NULL);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    check_handle(text);
    check_bits(text);
    check_log(text);
    return 0;
}
