/* SPDX-License-Identifier: Apache-2.0
 *
 * How a message's properties are rewritten before they are stored, and where delayed messages go.
 * Source: behaviour of 4.9.2's SendMessageProcessor (CLUSTER is added, WAIT taken out) and
 * CommitLog.asyncPutMessage (schedule topic, REAL_TOPIC, REAL_QID, level cut to the last).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/draft.h"

#include "proto/properties.h"

static void expect(struct buf *out, const char *text)
{
    assert_int_equal(out->size, strlen(text));
    assert_memory_equal(out->data, text, out->size);
    buf_clear(out);
}

static void rewrites_properties(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY;
    struct property_wishes wishes;
    struct slice cluster = SLICE_LITERAL("C");
    properties_rewrite(SLICE_EMPTY, cluster, false, &out, &wishes);
    expect(&out, "CLUSTER\001C");
    assert_true(wishes.wait);
    assert_int_equal(wishes.delay_level, 0);
    properties_rewrite(SLICE_LITERAL("KEYS\001k\002WAIT\001false\002TAGS\001t\002"), cluster, false,
                       &out, &wishes);
    expect(&out, "KEYS\001k\002TAGS\001t\002CLUSTER\001C");
    assert_false(wishes.wait);
    properties_rewrite(SLICE_LITERAL("WAIT\001true\002CLUSTER\001other"), cluster, true, &out,
                       &wishes);
    expect(&out, "WAIT\001true\002CLUSTER\001C");
    assert_true(wishes.wait);
    buf_release(&out);
}

static void reads_wishes(void **state)
{
    (void)state;
    struct property_wishes wishes;
    properties_read_wishes(SLICE_LITERAL("DELAY\0013\002TRAN_MSG\001TRUE\002RETRY_TOPIC\001TopicA"),
                           &wishes);
    assert_true(wishes.wait);
    assert_true(wishes.transaction);
    assert_int_equal(wishes.delay_level, 3);
    assert_true(slice_is(wishes.retry_topic, "TopicA"));
    properties_read_wishes(SLICE_LITERAL("DELAY\001soon"), &wishes);
    assert_int_equal(wishes.delay_level, 0);
}

static void redirects_delayed_messages(void **state)
{
    (void)state;
    static struct broker broker;
    struct buf properties = BUF_EMPTY;
    broker.delay_level_count = 18;
    buf_append_cstr(&properties, "DELAY\0013");
    struct record record = {.topic = SLICE_LITERAL("TopicA"), .queue_id = 2};
    record.properties = buf_slice(&properties);
    assert_int_equal(draft_delay(&broker, 0, &properties, &record), 0);
    assert_true(slice_is(record.topic, "TopicA"));
    assert_int_equal(draft_delay(&broker, 3, &properties, &record), 3);
    assert_true(slice_is(record.topic, "SCHEDULE_TOPIC_XXXX"));
    assert_int_equal(record.queue_id, 2);
    expect(&properties, "DELAY\0013\002REAL_TOPIC\001TopicA\002REAL_QID\0012");
    buf_release(&properties);
}

static void cuts_the_level_to_the_last(void **state)
{
    (void)state;
    static struct broker broker;
    struct buf properties = BUF_EMPTY;
    broker.delay_level_count = 18;
    buf_append_cstr(&properties, "DELAY\00199\002KEYS\001k");
    struct record record = {.topic = SLICE_LITERAL("TopicA"), .queue_id = 0};
    record.properties = buf_slice(&properties);
    assert_int_equal(draft_delay(&broker, 99, &properties, &record), 18);
    assert_int_equal(record.queue_id, 17);
    expect(&properties, "KEYS\001k\002DELAY\00118\002REAL_TOPIC\001TopicA\002REAL_QID\0010");
    buf_release(&properties);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewrites_properties),
        cmocka_unit_test(reads_wishes),
        cmocka_unit_test(redirects_delayed_messages),
        cmocka_unit_test(cuts_the_level_to_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
