/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms of a transaction's message: byte for byte those of 4.9.2's store where they were
 * recorded; what has no right form is told apart.
 * Source: TX-01, TX-04, TX-05, TX-07; records txn.half.*, txn.half-checked.*, txn.op.* of 4.9.2.
 */
#include "broker/state/half_message.h"

#include "broker/state/topics.h"
#include "proto/properties.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct host host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911};

static struct record half_with(const char *properties)
{
    return (struct record){
        .flag = 5,
        .queue_offset = 42,
        .physical_offset = 4096,
        .sys_flag = SYS_FLAG_COMPRESSED,
        .born_timestamp_ms = 1000,
        .born_host = host,
        .store_host = host,
        .reconsume_times = 2,
        .prepared_transaction_offset = 9,
        .body = SLICE_LITERAL("body"),
        .topic = SLICE_LITERAL(TOPIC_TRANS_HALF),
        .properties = slice_of_cstr(properties),
    };
}

static void a_send_becomes_a_half_message(void **state)
{
    (void)state;
    struct buf properties = BUF_EMPTY;
    buf_append_slice(&properties, SLICE_LITERAL("TRAN_MSG\1true\2PGROUP\1G"));
    struct record record = half_with("");
    record.topic = SLICE_LITERAL("T");
    record.queue_id = 3;
    record.sys_flag = SYS_FLAG_TRANSACTION_PREPARED | SYS_FLAG_COMPRESSED;
    half_prepare(&properties, &record);
    assert_true(slice_is(record.topic, TOPIC_TRANS_HALF));
    assert_int_equal(record.queue_id, 0);
    assert_int_equal(record.sys_flag, SYS_FLAG_COMPRESSED);
    assert_true(slice_is(record.properties, "TRAN_MSG\1true\2PGROUP\1G\2REAL_TOPIC\1T\2REAL_QID\1"
                                            "3"));
    buf_release(&properties);
}

static void the_committed_form(void **state)
{
    (void)state;
    const char *properties = "REAL_TOPIC\1T\2TRAN_MSG\1true\2REAL_QID\1"
                             "7";
    struct record half = half_with(properties);
    struct record out;
    assert_null(half_commit(&half, &out));
    assert_true(slice_is(out.topic, "T"));
    assert_int_equal(out.queue_id, 7);
    assert_int_equal(out.sys_flag, SYS_FLAG_COMPRESSED | SYS_FLAG_TRANSACTION_COMMIT);
    assert_int_equal(out.prepared_transaction_offset, 4096);
    assert_int_equal(out.flag, 5);
    assert_int_equal(out.reconsume_times, 2);
    assert_true(slice_is(out.properties, properties));
}

static void what_can_go_nowhere(void **state)
{
    (void)state;
    static const char *const properties[] = {
        "",
        "REAL_TOPIC\1T",
        "REAL_QID\1"
        "0",
        "REAL_TOPIC\1T\2REAL_QID\1x",
        "REAL_TOPIC\1T\2REAL_QID\1-1",
        "REAL_TOPIC\1T\2REAL_QID\1"
        "65536",
        "REAL_TOPIC\1T\2REAL_QID\1"
        "99999999999",
        "REAL_TOPIC\1no topic\2REAL_QID\1"
        "0",
        "REAL_TOPIC\1" TOPIC_TRANS_HALF "\2REAL_QID\1"
        "0",
        "REAL_TOPIC\1" TOPIC_TRANS_OP_HALF "\2REAL_QID\1"
        "0",
        "REAL_TOPIC\1" TOPIC_SCHEDULE "\2REAL_QID\1"
        "0",
    };
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++) {
        struct record half = half_with(properties[i]);
        struct record out;
        assert_non_null(half_commit(&half, &out));
    }
    /* The last of several counts: the broker appends its own behind what a client sent. */
    struct record half = half_with("REAL_TOPIC\1" TOPIC_SCHEDULE "\2REAL_QID\1"
                                   "0\2REAL_TOPIC\1T\2REAL_QID\1"
                                   "1");
    assert_null(half_restore(&half));
    assert_true(slice_is(half.topic, "T") && half.queue_id == 1);
}

static void the_marker(void **state)
{
    (void)state;
    char text[I64_TEXT_BYTES];
    struct record half = half_with("TAGS\1x");
    struct record marker;
    half.queue_id = 1;
    half_mark(&half, SYS_FLAG_TRANSACTION_COMMIT, &host, 5000, text, &marker);
    assert_true(slice_is(marker.topic, TOPIC_TRANS_OP_HALF));
    assert_true(slice_is(marker.body, "42"));
    assert_true(slice_is(marker.properties, "WAIT\1true\2TAGS\1"
                                            "d")); /* txn.op.1 */
    assert_int_equal(marker.queue_id, 1);
    assert_int_equal(marker.born_timestamp_ms, 5000);
    assert_int_equal(marker.sys_flag | marker.reconsume_times, 0);
    assert_int_equal(half_marked_origin(&marker), 9); /* the half message is a copy of that one */
    assert_int_equal(half_marked_outcome(&marker), SYS_FLAG_TRANSACTION_COMMIT);
    assert_int_equal(half_marked(&marker), 42);
    static const char *const bodies[] = {"", "x", "-1", "42 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        marker.body = slice_of_cstr(bodies[i]);
        assert_int_equal(half_marked(&marker), -1);
    }
    marker.body = SLICE_LITERAL("7");
    assert_int_equal(half_marked(&marker), 7);
    marker.properties = SLICE_LITERAL("TAGS\1"
                                      "e");
    assert_int_equal(half_marked(&marker), -1);
    marker.properties = SLICE_EMPTY;
    assert_int_equal(half_marked(&marker), -1);
}

static void copies(void **state)
{
    (void)state;
    struct buf properties = BUF_EMPTY;
    struct record out;
    struct record half = half_with("TRANSACTION_CHECK_TIMES\1"
                                   "3\2A\1"
                                   "a");
    half_renew(&half, 4, -1, &properties, &out);
    assert_true(slice_is(out.properties, "A\1"
                                         "a\2TRANSACTION_CHECK_TIMES\1"
                                         "4"));
    assert_int_equal(out.flag, 5);
    assert_int_equal(out.reconsume_times, 2);
    assert_int_equal(out.prepared_transaction_offset, 9); /* it is a copy of that one already */
    half_renew(&half, -1, 42, &properties, &out);
    assert_true(slice_is(out.properties, "TRANSACTION_CHECK_TIMES\1"
                                         "3\2A\1"
                                         "a\2TRAN_PREPARED_QUEUE_OFFSET\1"
                                         "42"));
    half = half_with("TRAN_PREPARED_QUEUE_OFFSET\1"
                     "40");
    half.topic = SLICE_LITERAL(TOPIC_TRANS_CHECK_MAX_TIME);
    half_renew(&half, 0, 42, &properties, &out);
    assert_true(slice_is(out.topic, TOPIC_TRANS_HALF));
    assert_true(slice_is(out.properties, "TRAN_PREPARED_QUEUE_OFFSET\1"
                                         "40\2TRANSACTION_CHECK_TIMES\1"
                                         "0"));
    buf_release(&properties);
}

/* By the position of the first half message, which is 0 at the begin of a log. */
static void which_transaction(void **state)
{
    (void)state;
    char text[I64_TEXT_BYTES];
    struct buf properties = BUF_EMPTY;
    struct record marker;
    static const int64_t positions[] = {0, 4096};
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        struct record half = half_with("");
        half.physical_offset = positions[i];
        half.prepared_transaction_offset = 0;
        for (int copies = 0; copies < 3; copies++) {
            struct record copy;
            assert_int_equal(half_origin(&half), positions[i]);
            half_mark(&half, SYS_FLAG_TRANSACTION_ROLLBACK, &host, 5000, text, &marker);
            assert_int_equal(half_marked_origin(&marker), positions[i]);
            assert_int_equal(half_marked_outcome(&marker), SYS_FLAG_TRANSACTION_ROLLBACK);
            half_renew(&half, copies, -1, &properties, &copy);
            half = copy;
            half.physical_offset = 8000 + copies;
        }
    }
    buf_release(&properties);
    marker.flag = 0; /* as 4.9.2 writes it */
    marker.prepared_transaction_offset = 0;
    assert_int_equal(half_marked_origin(&marker), -1);
    assert_int_equal(half_marked_outcome(&marker), 0);
    struct record strange = half_with(""); /* it names what lies behind it */
    strange.prepared_transaction_offset = 5000;
    assert_int_equal(half_origin(&strange), 4096);
}

static struct half_wishes wishes_of(const char *properties)
{
    struct half_wishes wishes;
    half_read_wishes(slice_of_cstr(properties), &wishes);
    return wishes;
}

static void wishes(void **state)
{
    (void)state;
    struct half_wishes none = wishes_of("A\1"
                                        "a");
    assert_true(none.check_times == -1 && !none.has_immunity && none.prepared_offset == -1);
    struct half_wishes all = wishes_of("TRANSACTION_CHECK_TIMES\1"
                                       "2\2CHECK_IMMUNITY_TIME_IN_"
                                       "SECONDS\1"
                                       "30\2TRAN_PREPARED_QUEUE_OFFSET\1"
                                       "8");
    assert_int_equal(all.check_times, 2);
    assert_true(all.has_immunity);
    assert_int_equal(all.immunity_ms, 30000);
    assert_int_equal(all.prepared_offset, 8);
    struct half_wishes bad = wishes_of("TRANSACTION_CHECK_TIMES\1x\2CHECK_IMMUNITY_TIME_IN_"
                                       "SECONDS\1soon\2TRAN_PREPARED_QUEUE_OFFSET\1-3");
    assert_int_equal(bad.check_times, 0);
    assert_true(bad.has_immunity && bad.immunity_ms == -1);
    assert_int_equal(bad.prepared_offset, -1);
    assert_int_equal(wishes_of("CHECK_IMMUNITY_TIME_IN_SECONDS\1-7").immunity_ms, 0);
    assert_int_equal(wishes_of("CHECK_IMMUNITY_TIME_IN_SECONDS\1-1").immunity_ms, -1);
    assert_int_equal(wishes_of("CHECK_IMMUNITY_TIME_IN_SECONDS\1"
                               "9223372036854775807")
                         .immunity_ms,
                     1000000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_send_becomes_a_half_message),
        cmocka_unit_test(the_committed_form),
        cmocka_unit_test(what_can_go_nowhere),
        cmocka_unit_test(the_marker),
        cmocka_unit_test(copies),
        cmocka_unit_test(which_transaction),
        cmocka_unit_test(wishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
