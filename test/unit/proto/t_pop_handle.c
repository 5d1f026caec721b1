/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts of pop consumption: handles as 5.3.3's client writes them are read and written; others
 * are refused; the lists of an answer; bit sets of batches as fastjson prints them.
 * Source: RMQ 5.3.3 ExtraInfoUtil.java, BitSetSerializerDeserializer.java.
 */
#include "proto/pop_handle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_handle_comes_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "17 1700000000000 60000 3 0 broker-a 2 19",
        "17 1700000000000 60000 999 1 broker-a 2 19",
        "0 1 0 0 2 b 0",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pop_handle handle;
        struct buf text = BUF_EMPTY;
        assert_int_equal(pop_handle_parse(slice_of_cstr(texts[i]), &handle), STATUS_OK);
        pop_handle_format(&handle, &text);
        assert_true(slice_is(buf_slice(&text), texts[i]));
        buf_release(&text);
    }
}

static void the_parts_of_a_handle(void **state)
{
    (void)state;
    struct pop_handle handle;
    assert_int_equal(pop_handle_parse(SLICE_LITERAL("17 1700 60 3 1 broker-a 2 19"), &handle),
                     STATUS_OK);
    assert_int_equal(handle.start_offset, 17);
    assert_int_equal(handle.pop_time_ms, 1700);
    assert_int_equal(handle.invisible_ms, 60);
    assert_int_equal(handle.revive_queue, 3);
    assert_int_equal(handle.retry, 1);
    assert_true(slice_is(handle.broker_name, "broker-a"));
    assert_int_equal(handle.queue_id, 2);
    assert_true(handle.has_queue_offset);
    assert_int_equal(handle.queue_offset, 19);
    assert_int_equal(pop_handle_parse(SLICE_LITERAL("17 1700 60 3 1 b 2"), &handle), STATUS_OK);
    assert_false(handle.has_queue_offset);
    assert_int_equal(pop_handle_parse(SLICE_LITERAL("17 1700 60 3 1 b 2 9 more"), &handle),
                     STATUS_OK);
}

static void others_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "17",
                                        "17 1700 60 3 1 broker-a",
                                        "x 1700 60 3 1 broker-a 2 19",
                                        "17 1700 60 3 1 broker-a x 19",
                                        "17 1700 60 3 1 broker-a 2 x",
                                        "17  1700 60 3 1 broker-a 2 19",
                                        "17 1700 60 3000000000 1 broker-a 2 19",
                                        "99999999999999999999 1700 60 3 1 broker-a 2 19"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pop_handle handle;
        if (pop_handle_parse(slice_of_cstr(texts[i]), &handle) != STATUS_MALFORMED)
            fail_msg("\"%s\" was taken", texts[i]);
    }
}

static void the_lists_of_an_answer(void **state)
{
    (void)state;
    static const int64_t first[] = {5, 7, 8};
    static const int64_t second[] = {0};
    struct buf start = BUF_EMPTY;
    struct buf messages = BUF_EMPTY;
    pop_start_info_append(&start, POP_RETRY_V1, 0, 5);
    pop_start_info_append(&start, POP_RETRY_NONE, 12, 0);
    pop_message_info_append(&messages, POP_RETRY_V1, 0, first, 3);
    pop_message_info_append(&messages, POP_RETRY_NONE, 12, second, 1);
    assert_true(slice_is(buf_slice(&start), "1 0 5;0 12 0"));
    assert_true(slice_is(buf_slice(&messages), "1 0 5,7,8;0 12 0"));
    buf_release(&start);
    buf_release(&messages);
}

static void assert_bits(const char *base64, const int32_t *wanted, int wanted_count)
{
    int32_t bits[40];
    int count = -1;
    assert_int_equal(pop_bits_parse(slice_of_cstr(base64), bits, 40, &count), STATUS_OK);
    assert_int_equal(count, wanted_count);
    for (int i = 0; i < count; i++)
        assert_int_equal(bits[i], wanted[i]);
}

static void bit_sets(void **state)
{
    (void)state;
    /* BitSet{0}, {0, 1, 9}, {31}, {} as fastjson writes them. */
    assert_bits("AQ==", (const int32_t[]){0}, 1);
    assert_bits("AwI=", (const int32_t[]){0, 1, 9}, 3);
    assert_bits("AAAAgA==", (const int32_t[]){31}, 1);
    assert_bits("", NULL, 0);
    int32_t bits[8];
    int count;
    assert_int_equal(pop_bits_parse(SLICE_LITERAL("A*=="), bits, 8, &count), STATUS_MALFORMED);
    assert_int_equal(pop_bits_parse(SLICE_LITERAL("////"), bits, 8, &count), STATUS_TOO_LARGE);
}

static void retry_topics(void **state)
{
    (void)state;
    struct buf name = BUF_EMPTY;
    pop_retry_topic(SLICE_LITERAL("T"), SLICE_LITERAL("G"), POP_RETRY_V2, &name);
    assert_true(slice_is(buf_slice(&name), "%RETRY%G+T"));
    buf_clear(&name);
    pop_retry_topic(SLICE_LITERAL("T"), SLICE_LITERAL("G"), POP_RETRY_V1, &name);
    assert_true(slice_is(buf_slice(&name), "%RETRY%G_T"));
    buf_release(&name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_comes_back),
        cmocka_unit_test(the_parts_of_a_handle),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(the_lists_of_an_answer),
        cmocka_unit_test(bit_sets),
        cmocka_unit_test(retry_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
