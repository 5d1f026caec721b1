/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of a message that names a time of delivery: which property counts, what is no timer,
 * what is refused and with which words.
 * Source: HookUtils.handleScheduleMessage and SendMessageProcessor of 5.3.3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/timer_draft.h"

#include "broker/proc/recall_handle.h"
#include "proto/properties.h"

#include <stdlib.h>

#define NOW_MS 1700000000000

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return NOW_MS;
}

static const struct clock test_clock = {wall_ms, NULL, NULL};

struct drafted {
    enum timer_draft draft;
    int64_t due_ms;
    const char *remark;
    struct record record;
    struct buf properties;
    struct property_wishes wishes;
};

static struct arena arena;
static struct broker broker;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    broker.clock = &test_clock;
    broker.conf.timerWheelEnable = true;
    broker.conf.timerMaxDelaySec = 10;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static struct drafted try(const char *properties)
{
    struct drafted out = {.due_ms = -1, .properties = BUF_EMPTY};
    buf_append_cstr(&out.properties, properties);
    properties_read_wishes(slice_of_cstr(properties), &out.wishes);
    out.record = (struct record){
        .topic = SLICE_LITERAL("T"), .queue_id = 3, .properties = buf_slice(&out.properties)};
    out.draft = timer_draft(&broker, &out.wishes, &out.properties, &out.record, &arena, &out.due_ms,
                            &out.remark);
    return out;
}

static void expect(const char *properties, enum timer_draft draft, int64_t due_ms)
{
    struct drafted out = try(properties);
    if (out.draft != draft || (draft == TIMER_DRAFT_TIMER && out.due_ms != due_ms))
        fail_msg("%s: %d, due %lld", properties, (int)out.draft, (long long)out.due_ms);
    if (draft != TIMER_DRAFT_TIMER) {
        assert_true(slice_is(out.record.topic, "T"));
        assert_true(slice_is(out.record.properties, properties));
    }
    buf_release(&out.properties);
}

static void times_are_read(void **state)
{
    (void)state;
    expect("TIMER_DELAY_SEC\0015", TIMER_DRAFT_TIMER, NOW_MS + 5000);
    expect("TIMER_DELAY_MS\0015", TIMER_DRAFT_TIMER, NOW_MS + 5);
    expect("TIMER_DELIVER_MS\0011700000000123", TIMER_DRAFT_TIMER, NOW_MS + 123);
    expect("TIMER_DELAY_SEC\00110", TIMER_DRAFT_TIMER, NOW_MS + 10000);
    /* Seconds go before milliseconds, these before a time. */
    expect("TIMER_DELIVER_MS\0011\2TIMER_DELAY_MS\0017\2TIMER_DELAY_SEC\0012", TIMER_DRAFT_TIMER,
           NOW_MS + 2000);
    expect("TIMER_DELIVER_MS\0011\2TIMER_DELAY_MS\0017", TIMER_DRAFT_TIMER, NOW_MS + 7);
}

static void what_is_no_timer(void **state)
{
    (void)state;
    expect("KEYS\1k", TIMER_DRAFT_NONE, 0);
    expect("TIMER_DELIVER_MS\0011700000000000", TIMER_DRAFT_NONE, 0);
    expect("TIMER_DELAY_SEC\0010", TIMER_DRAFT_NONE, 0);
    expect("TIMER_DELAY_SEC\001-9", TIMER_DRAFT_NONE, 0);
    expect("DELAY\0012\2TIMER_DELAY_SEC\0015", TIMER_DRAFT_NONE, 0);
    expect("TIMER_OUT_MS\0015\2TIMER_DELAY_SEC\0015", TIMER_DRAFT_NONE, 0);
    expect("DELAY\0010\2TIMER_DELAY_SEC\0015", TIMER_DRAFT_TIMER, NOW_MS + 5000);
}

static void what_is_illegal(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "TIMER_DELAY_SEC\001x",
        "TIMER_DELAY_SEC\00111",
        "TIMER_DELAY_MS\00110001",
        "TIMER_DELIVER_MS\0011700000010001",
        "TIMER_DELAY_SEC\0019223372036854775807",
        "TIMER_DELAY_MS\0019223372036854775807",
        "TIMER_DELIVER_MS\0019223372036854775807",
        "TIMER_DELAY_SEC\001-9223372036854775808",
        "TIMER_DELIVER_MS\0011\2TIMER_DEL_UNIQKEY\1T+k",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect(texts[i], TIMER_DRAFT_ILLEGAL, 0);
    struct drafted out = try(texts[0]);
    assert_string_equal(out.remark,
                        "timer message illegal, the delay time should not be bigger than the max "
                        "delay 10000ms; or if set del msg, the delay time should be bigger than "
                        "the current time");
    buf_release(&out.properties);
}

static void it_may_be_off(void **state)
{
    (void)state;
    broker.conf.timerWheelEnable = false;
    expect("TIMER_DELAY_SEC\0015", TIMER_DRAFT_OFF, 0);
    expect("KEYS\1k", TIMER_DRAFT_NONE, 0);
}

static void the_record_is_a_timer_then(void **state)
{
    (void)state;
    struct drafted out = try("KEYS\1k\2TIMER_DELAY_SEC\0015");
    assert_true(slice_is(out.record.topic, "rmq_sys_wheel_timer"));
    assert_int_equal(out.record.queue_id, 0);
    assert_true(slice_is(out.record.properties,
                         "KEYS\1k\2TIMER_DELAY_SEC\0015\2TIMER_OUT_MS\0011700000005000\2REAL_TOPIC"
                         "\1T\2REAL_QID\0013"));
    buf_release(&out.properties);
}

static void handles_are_for_timers_with_a_key(void **state)
{
    (void)state;
    struct buf scratch = BUF_EMPTY;
    struct recall_handle handle;
    broker.conf.brokerName = "b";
    struct drafted out = try("UNIQ_KEY\1k\2TIMER_DELAY_SEC\0015");
    char *text = timer_draft_handle(&broker, &out.wishes, SLICE_LITERAL("T"), out.due_ms);
    assert_non_null(text);
    assert_int_equal(recall_handle_decode(slice_of_cstr(text), &scratch, &handle), STATUS_OK);
    assert_true(slice_is(handle.time_text, "1700000005000"));
    assert_true(slice_is(handle.unique_key, "k"));
    assert_null(timer_draft_handle(&broker, &out.wishes, SLICE_LITERAL("%RETRY%g"), out.due_ms));
    free(text);
    buf_release(&out.properties);
    out = try("TIMER_DELAY_SEC\0015");
    assert_null(timer_draft_handle(&broker, &out.wishes, SLICE_LITERAL("T"), out.due_ms));
    buf_release(&out.properties);
    buf_release(&scratch);
}

int main(void)
{
#define WITH_BROKER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BROKER(times_are_read),
        WITH_BROKER(what_is_no_timer),
        WITH_BROKER(what_is_illegal),
        WITH_BROKER(it_may_be_off),
        WITH_BROKER(the_record_is_a_timer_then),
        WITH_BROKER(handles_are_for_timers_with_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
