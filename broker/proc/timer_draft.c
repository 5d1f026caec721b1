/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header. Numbers of clients are added with overflow checked: what overflows is illegal.
 */
#include "broker/proc/timer_draft.h"

#include "broker/proc/recall_handle.h"
#include "broker/state/timer_format.h"
#include "common/base/number.h"
#include "proto/properties.h"

/* The time that is asked for. False: it is none. */
static bool due_time(const struct property_wishes *wishes, int64_t now_ms, int64_t *due_ms)
{
    int64_t number;
    int64_t factor = wishes->timer_delay_sec.size != 0 ? 1000 : 1;
    bool relative = wishes->timer_delay_sec.size != 0 || wishes->timer_delay_ms.size != 0;
    struct slice text = wishes->timer_delay_sec.size != 0  ? wishes->timer_delay_sec
                        : wishes->timer_delay_ms.size != 0 ? wishes->timer_delay_ms
                                                           : wishes->timer_deliver_ms;
    return parse_i64(text, &number) && !__builtin_mul_overflow(number, factor, &number) &&
           !__builtin_add_overflow(number, relative ? now_ms : 0, due_ms);
}

static void append_number(struct buf *out, struct slice name, int64_t value)
{
    char text[I64_TEXT_BYTES];
    properties_append(out, name, slice_of(text, format_i64(value, text)));
}

enum timer_draft timer_draft_check(struct broker *broker, const struct property_wishes *wishes,
                                   struct arena *arena, int64_t *due_ms, const char **remark)
{
    int64_t now_ms = clock_wall_ms(broker->clock);
    int64_t max_ms = broker->conf.timerMaxDelaySec * 1000;
    if (!wishes_timer(wishes))
        return TIMER_DRAFT_NONE;
    if (!broker->conf.timerWheelEnable) {
        *remark = "accurate timer message is not enabled, timerWheelEnable is false";
        return TIMER_DRAFT_OFF;
    }
    bool legal = due_time(wishes, now_ms, due_ms);
    if (legal && *due_ms <= now_ms && !wishes->timer_cancel)
        return TIMER_DRAFT_NONE;
    if (!legal || *due_ms <= now_ms || *due_ms - now_ms > max_ms || *due_ms > TIMER_DUE_MS_MAX) {
        *remark = arena_printf(arena,
                               "timer message illegal, the delay time should not be bigger than "
                               "the max delay %lldms; or if set del msg, the delay time should be "
                               "bigger than the current time",
                               (long long)max_ms);
        return TIMER_DRAFT_ILLEGAL;
    }
    return TIMER_DRAFT_TIMER;
}

enum timer_draft timer_draft(struct broker *broker, const struct property_wishes *wishes,
                             struct buf *properties, struct record *record, struct arena *arena,
                             int64_t *due_ms, const char **remark)
{
    enum timer_draft draft = timer_draft_check(broker, wishes, arena, due_ms, remark);
    if (draft != TIMER_DRAFT_TIMER)
        return draft;
    append_number(properties, SLICE_LITERAL(PROPERTY_TIMER_OUT_MS), *due_ms);
    properties_append(properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), record->topic);
    append_number(properties, SLICE_LITERAL(PROPERTY_REAL_QUEUE_ID), record->queue_id);
    record->properties = buf_slice(properties);
    record->topic = SLICE_LITERAL(TOPIC_TIMER);
    record->queue_id = 0;
    return TIMER_DRAFT_TIMER;
}

char *timer_draft_handle(struct broker *broker, const struct property_wishes *wishes,
                         struct slice topic, int64_t due_ms)
{
    char time_text[I64_TEXT_BYTES];
    struct buf out = BUF_EMPTY;
    if (wishes->unique_key.size == 0 || wishes->timer_cancel ||
        slice_starts_with(topic, SLICE_LITERAL(TOPIC_RETRY_PREFIX)))
        return NULL;
    struct recall_handle handle = {
        .topic = topic,
        .broker_name = slice_of_cstr(broker->conf.brokerName),
        .time_text = slice_of(time_text, format_i64(due_ms, time_text)),
        .unique_key = wishes->unique_key,
    };
    recall_handle_encode(&handle, &out);
    buf_append_byte(&out, 0);
    return (char *)out.data;
}
