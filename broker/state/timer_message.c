/* SPDX-License-Identifier: Apache-2.0
 *
 * Properties in and out. As in 5.3.3 a delivered message still shows its real topic and queue and
 * the times it went through.
 */
#include "broker/state/timer_message.h"

#include "broker/state/topics.h"
#include "common/base/limits.h"
#include "common/base/number.h"
#include "proto/properties.h"

/* The values of one record. */
struct wanted {
    struct slice out_ms;
    struct slice topic;
    struct slice queue_id;
    struct slice unique_key;
    struct slice cancel_key;
};

static void collect(struct slice properties, struct wanted *wanted)
{
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    while (properties_next(properties, &cursor, &name, &value)) {
        if (slice_is(name, PROPERTY_TIMER_OUT_MS))
            wanted->out_ms = value;
        else if (slice_is(name, PROPERTY_REAL_TOPIC))
            wanted->topic = value;
        else if (slice_is(name, PROPERTY_REAL_QUEUE_ID))
            wanted->queue_id = value;
        else if (slice_is(name, PROPERTY_UNIQ_KEY))
            wanted->unique_key = value;
        else if (slice_is(name, PROPERTY_TIMER_DEL_UNIQKEY))
            wanted->cancel_key = value;
    }
}

const char *timer_message_read(const struct record *record, struct buf *key,
                               struct timer_message *out)
{
    struct wanted wanted = {.out_ms = SLICE_EMPTY};
    collect(record->properties, &wanted);
    if (!parse_i64(wanted.out_ms, &out->due_ms) || out->due_ms < 1 ||
        out->due_ms > TIMER_DUE_MS_MAX)
        return "TIMER_OUT_MS is missing or no time";
    if (wanted.topic.size == 0 || topic_name_fault(wanted.topic) != NULL)
        return "REAL_TOPIC is missing or no topic name";
    if (!parse_i32(wanted.queue_id, &out->queue_id) || out->queue_id < 0 ||
        out->queue_id >= TOPIC_QUEUES_MAX)
        return "REAL_QID is missing or no queue id";
    if (slice_is(wanted.topic, TOPIC_TRANS_HALF) || slice_is(wanted.topic, TOPIC_TIMER))
        return "REAL_TOPIC is one that nothing is delivered to";
    out->topic = wanted.topic;
    out->cancel = wanted.cancel_key.size != 0;
    buf_clear(key);
    if (out->cancel) {
        buf_append_slice(key, wanted.cancel_key);
    } else {
        buf_append_slice(key, wanted.topic);
        buf_append_byte(key, '+');
        buf_append_slice(key, wanted.unique_key);
    }
    out->cancel_key = buf_slice(key);
    return NULL;
}

struct timer_entry timer_message_entry(const struct record *record,
                                       const struct timer_message *message)
{
    struct timer_entry entry = {
        .key = {message->due_ms, record->queue_offset},
        .pos = record->physical_offset,
        .hash = timer_hash(message->cancel_key),
        .kind = message->cancel ? TIMER_KIND_CANCEL : TIMER_KIND_MESSAGE,
    };
    if (message->cancel) { /* in front of all timers that it may be meant for */
        entry.key.due_ms = timer_slot_first_ms(timer_slot_of(message->due_ms));
        entry.key.queue_offset -= TIMER_CANCEL_BIAS;
    }
    return entry;
}

static void append_number(struct buf *out, struct slice name, int64_t value)
{
    char text[I64_TEXT_BYTES];
    properties_append(out, name, slice_of(text, format_i64(value, text)));
}

void timer_message_deliver(struct record *record, const struct timer_message *message,
                           int64_t now_ms, struct buf *properties)
{
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    record->topic = message->topic;
    record->queue_id = message->queue_id;
    record->prepared_transaction_offset = 0;
    buf_clear(properties);
    while (properties_next(record->properties, &cursor, &name, &value))
        if (!slice_is(name, PROPERTY_TIMER_ENQUEUE_MS) &&
            !slice_is(name, PROPERTY_TIMER_DEQUEUE_MS))
            properties_append(properties, name, value);
    append_number(properties, SLICE_LITERAL(PROPERTY_TIMER_ENQUEUE_MS), record->store_timestamp_ms);
    append_number(properties, SLICE_LITERAL(PROPERTY_TIMER_DEQUEUE_MS), now_ms);
    if (properties->size <= PROPERTIES_BYTES_MAX)
        record->properties = buf_slice(properties);
}

void timer_message_roll(struct record *record, struct buf *properties)
{
    struct slice value;
    int64_t times = 0;
    if (!properties_find(record->properties, SLICE_LITERAL(PROPERTY_TIMER_ROLL_TIMES), &value) ||
        !parse_i64(value, &times) || times < 0 || times > INT32_MAX)
        times = 0;
    buf_clear(properties);
    properties_append_except(properties, record->properties,
                             SLICE_LITERAL(PROPERTY_TIMER_ROLL_TIMES));
    append_number(properties, SLICE_LITERAL(PROPERTY_TIMER_ROLL_TIMES), times + 1);
    if (properties->size <= PROPERTIES_BYTES_MAX)
        record->properties = buf_slice(properties);
}
