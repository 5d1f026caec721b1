/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of replication: what is written is read again, what one side may not send is refused,
 * and a control body says nothing that contradicts itself.
 * Rules: proto/ha_frame.h; protocol 1 is RMQ 4.9.2 HAConnection and HAService.HAClient.
 */
#include "proto/ha_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum status decode(int64_t pos, int32_t size, enum ha_sender sender, struct ha_head *head)
{
    uint8_t bytes[HA_HEAD_BYTES];
    ha_head_encode(pos, size, bytes);
    return ha_head_decode(slice_of(bytes, sizeof bytes), sender, head);
}

static void heads_of_the_log(void **state)
{
    (void)state;
    static const uint8_t block[HA_HEAD_BYTES] = {0, 0, 0, 0, 0, 0, 3, 0x19, 0, 0, 0, 0xDC};
    struct ha_head head;
    uint8_t bytes[HA_HEAD_BYTES];
    ha_head_encode(0x319, 0xDC, bytes);
    assert_memory_equal(bytes, block, sizeof block);
    assert_int_equal(ha_head_decode(slice_of(block, sizeof block), HA_FROM_MASTER, &head),
                     STATUS_OK);
    assert_int_equal(head.control, HA_CONTROL_NONE);
    assert_int_equal(head.pos, 0x319);
    assert_int_equal(head.size, 0xDC);
    for (size_t size = 0; size < HA_HEAD_BYTES; size++)
        assert_int_equal(ha_head_decode(slice_of(block, size), HA_FROM_MASTER, &head),
                         STATUS_TRUNCATED);
    assert_int_equal(decode(7, 0, HA_FROM_SLAVE, &head), STATUS_OK);
    assert_int_equal(decode(7, 1, HA_FROM_SLAVE, &head), STATUS_MALFORMED);
    assert_int_equal(decode(7, -1, HA_FROM_MASTER, &head), STATUS_MALFORMED);
    assert_int_equal(decode(INT64_MAX, 1, HA_FROM_MASTER, &head), STATUS_MALFORMED);
}

static void heads_of_control_frames(void **state)
{
    (void)state;
    struct ha_head head;
    assert_int_equal(decode(-HA_CONTROL_HELLO, 10, HA_FROM_SLAVE, &head), STATUS_OK);
    assert_int_equal(head.control, HA_CONTROL_HELLO);
    assert_int_equal(decode(-HA_CONTROL_CHANGED, HA_CONTROL_BYTES_MAX, HA_FROM_MASTER, &head),
                     STATUS_OK);
    assert_int_equal(head.control, HA_CONTROL_CHANGED);
    assert_int_equal(decode(-HA_CONTROL_REFUSED, 0, HA_FROM_SLAVE, &head), STATUS_MALFORMED);
    assert_int_equal(decode(-HA_CONTROL_HELLO, HA_CONTROL_BYTES_MAX + 1, HA_FROM_MASTER, &head),
                     STATUS_MALFORMED);
    assert_int_equal(decode(-HA_CONTROL_CHANGED - 1, 0, HA_FROM_MASTER, &head), STATUS_MALFORMED);
    assert_int_equal(decode(INT64_MIN, 0, HA_FROM_MASTER, &head), STATUS_MALFORMED);
}

static struct ha_hello a_hello(void)
{
    return (struct ha_hello){
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .broker_id = 1,
        .epoch = 7,
        .boot_id = UINT64_MAX,
        .min_pos = 4096,
        .end_pos = 1LL << 40,
        .segment_bytes = 1 << 30,
        .sync_flush = true,
        .last = {(1LL << 40) - 100, 1LL << 40, 0xFFFFFFFF},
        .store_id = "0c5c1ab3-5a38-4c4e-9a6e-1f2d3c4b5a69",
        .begun_by_cluster = "OldCluster",
        .begun_by_broker = "broker-b",
    };
}

static enum status carry(const struct ha_hello *hello, struct ha_hello *out)
{
    uint8_t bytes[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    struct ha_head head;
    size_t size = ha_hello_encode(hello, bytes);
    assert_int_equal(ha_head_decode(slice_of(bytes, size), HA_FROM_SLAVE, &head), STATUS_OK);
    assert_int_equal(head.control, HA_CONTROL_HELLO);
    assert_int_equal(size, HA_HEAD_BYTES + head.size);
    return ha_hello_decode(slice_of(bytes + HA_HEAD_BYTES, (size_t)head.size), out);
}

static void assert_same(const struct ha_hello *a, const struct ha_hello *b)
{
    assert_string_equal(a->cluster_name, b->cluster_name);
    assert_string_equal(a->broker_name, b->broker_name);
    assert_int_equal(a->broker_id, b->broker_id);
    assert_int_equal(a->epoch, b->epoch);
    assert_true(a->boot_id == b->boot_id);
    assert_int_equal(a->min_pos, b->min_pos);
    assert_int_equal(a->end_pos, b->end_pos);
    assert_int_equal(a->segment_bytes, b->segment_bytes);
    assert_int_equal(a->sync_flush, b->sync_flush);
    assert_int_equal(a->last.pos, b->last.pos);
    assert_int_equal(a->last.end_pos, b->last.end_pos);
    assert_int_equal(a->last.crc, b->last.crc);
    assert_string_equal(a->store_id, b->store_id);
    assert_string_equal(a->begun_by_cluster, b->begun_by_cluster);
    assert_string_equal(a->begun_by_broker, b->begun_by_broker);
}

static void a_hello_is_carried(void **state)
{
    (void)state;
    struct ha_hello in = a_hello();
    struct ha_hello out;
    assert_int_equal(carry(&in, &out), STATUS_OK);
    assert_same(&in, &out);
    struct ha_hello empty = {.broker_id = 2, .segment_bytes = 1 << 30};
    assert_int_equal(carry(&empty, &out), STATUS_OK);
    assert_same(&empty, &out);
    memset(in.cluster_name, 'x', sizeof in.cluster_name);
    assert_int_equal(carry(&in, &out), STATUS_OK);
    assert_int_equal(strlen(out.cluster_name), HA_NAME_BYTES - 1);
}

static void a_hello_that_contradicts_itself(void **state)
{
    (void)state;
    struct ha_hello out;
    struct ha_hello in = a_hello();
    in.end_pos = in.min_pos - 1;
    in.last.end_pos = 0;
    assert_int_equal(carry(&in, &out), STATUS_INVALID);
    in = a_hello();
    in.segment_bytes = 0;
    assert_int_equal(carry(&in, &out), STATUS_INVALID);
    in = a_hello();
    in.last.end_pos++; /* behind the end of the log */
    assert_int_equal(carry(&in, &out), STATUS_INVALID);
    in = a_hello();
    in.last.pos = in.last.end_pos;
    assert_int_equal(carry(&in, &out), STATUS_INVALID);
    in = a_hello();
    in.last.pos = 0; /* longer than a file */
    assert_int_equal(carry(&in, &out), STATUS_INVALID);
    assert_int_equal(ha_hello_decode(SLICE_LITERAL("no protobuf at all"), &out), STATUS_MALFORMED);
    assert_int_equal(ha_hello_decode(SLICE_EMPTY, &out), STATUS_MALFORMED);
}

static void texts_and_tables(void **state)
{
    (void)state;
    uint8_t bytes[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    char text[HA_TEXT_BYTES];
    uint32_t tables = 0;
    size_t size = ha_refused_encode("no\nway \xC3\xA4", bytes);
    assert_int_equal(ha_refused_decode(slice_of(bytes + HA_HEAD_BYTES, size - HA_HEAD_BYTES), text),
                     STATUS_OK);
    assert_string_equal(text, "no?way ??");
    size = ha_changed_encode(5, bytes);
    assert_int_equal(
        ha_changed_decode(slice_of(bytes + HA_HEAD_BYTES, size - HA_HEAD_BYTES), &tables),
        STATUS_OK);
    assert_int_equal(tables, 5);
    assert_int_equal(ha_changed_decode(SLICE_EMPTY, &tables), STATUS_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_the_log),   cmocka_unit_test(heads_of_control_frames),
        cmocka_unit_test(a_hello_is_carried), cmocka_unit_test(a_hello_that_contradicts_itself),
        cmocka_unit_test(texts_and_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
