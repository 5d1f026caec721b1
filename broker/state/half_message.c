/* SPDX-License-Identifier: Apache-2.0
 *
 * Making and reading half messages and their markers. Differs from 4.9.2: a copy of a half message
 * keeps its flag and its reconsumeTimes, which are lost there.
 */
#include "broker/state/half_message.h"

#include "broker/state/topics.h"
#include "common/base/limits.h"
#include "proto/properties.h"

#define MARKER_TAG "d"
#define MARKER_PROPERTIES "WAIT\1true\2TAGS\1" MARKER_TAG
#define ORIGIN_AT_0 (-1) /* of a first half message at position 0: 0 says that there is none */
#define IMMUNITY_SECONDS_MAX 1000000000000 /* sums with a wall clock stay far from overflow */

static void append_number(struct buf *properties, struct slice name, int64_t value)
{
    char text[I64_TEXT_BYTES];
    properties_append(properties, name, slice_of(text, format_i64(value, text)));
}

void half_prepare(struct buf *properties, struct record *record)
{
    properties_append(properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), record->topic);
    append_number(properties, SLICE_LITERAL(PROPERTY_REAL_QUEUE_ID), record->queue_id);
    record->properties = buf_slice(properties);
    record->topic = SLICE_LITERAL(TOPIC_TRANS_HALF);
    record->queue_id = 0;
    record->sys_flag &= ~SYS_FLAG_TRANSACTION_MASK;
}

/* Topics that only the broker itself may write to. */
static bool is_of_the_broker(struct slice topic)
{
    return slice_is(topic, TOPIC_TRANS_HALF) || slice_is(topic, TOPIC_TRANS_OP_HALF) ||
           slice_is(topic, TOPIC_SCHEDULE);
}

const char *half_restore(struct record *half)
{
    struct slice topic;
    struct slice text;
    int32_t queue_id;
    if (!properties_find(half->properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), &topic) ||
        topic_name_fault(topic) != NULL)
        return "its property REAL_TOPIC is missing or no topic name";
    if (is_of_the_broker(topic))
        return "its property REAL_TOPIC names a topic of the broker itself";
    if (!properties_find(half->properties, SLICE_LITERAL(PROPERTY_REAL_QUEUE_ID), &text) ||
        !parse_i32(text, &queue_id) || queue_id < 0 || queue_id >= TOPIC_QUEUES_MAX)
        return "its property REAL_QID is missing or no queue id";
    half->topic = topic;
    half->queue_id = queue_id;
    return NULL;
}

const char *half_commit(const struct record *half, struct record *out)
{
    *out = *half;
    out->sys_flag = (half->sys_flag & ~SYS_FLAG_TRANSACTION_MASK) | SYS_FLAG_TRANSACTION_COMMIT;
    out->prepared_transaction_offset = half->physical_offset;
    return half_restore(out);
}

int64_t half_origin_name(const struct record *half)
{
    int64_t origin = half_origin(half);
    return origin == 0 ? ORIGIN_AT_0 : origin;
}

int64_t half_origin(const struct record *half)
{
    int64_t name = half->prepared_transaction_offset;
    if (name == ORIGIN_AT_0)
        return 0;
    return name > 0 && name < half->physical_offset ? name : half->physical_offset;
}

void half_mark(const struct record *half, int32_t outcome, const struct host *store_host,
               int64_t now_ms, char text[I64_TEXT_BYTES], struct record *out)
{
    *out = (struct record){
        .queue_id = half->queue_id,
        .flag = outcome,
        .prepared_transaction_offset = half_origin_name(half),
        .born_timestamp_ms = now_ms,
        .born_host = *store_host,
        .store_host = *store_host,
        .body = slice_of(text, format_i64(half->queue_offset, text)),
        .topic = SLICE_LITERAL(TOPIC_TRANS_OP_HALF),
        .properties = SLICE_LITERAL(MARKER_PROPERTIES),
    };
}

int64_t half_marked(const struct record *marker)
{
    struct slice tag;
    int64_t offset;
    if (!properties_find(marker->properties, SLICE_LITERAL(PROPERTY_TAGS), &tag) ||
        !slice_is(tag, MARKER_TAG) || !parse_i64(marker->body, &offset) || offset < 0)
        return -1;
    return offset;
}

int64_t half_marked_origin(const struct record *marker)
{
    int64_t name = marker->prepared_transaction_offset;
    if (name == ORIGIN_AT_0)
        return 0;
    return name > 0 ? name : -1;
}

int32_t half_marked_outcome(const struct record *marker)
{
    bool known = marker->flag == SYS_FLAG_TRANSACTION_COMMIT ||
                 marker->flag == SYS_FLAG_TRANSACTION_ROLLBACK;
    return known ? marker->flag : 0;
}

void half_renew(const struct record *half, int32_t times, int64_t first_offset,
                struct buf *properties, struct record *out)
{
    struct slice value;
    const struct slice times_name = SLICE_LITERAL(PROPERTY_TRANSACTION_CHECK_TIMES);
    const struct slice first_name = SLICE_LITERAL(PROPERTY_TRANSACTION_PREPARED_QUEUE_OFFSET);
    buf_clear(properties);
    properties_append_except(properties, half->properties, times < 0 ? SLICE_EMPTY : times_name);
    if (times >= 0)
        append_number(properties, times_name, times);
    if (first_offset >= 0 && !properties_find(half->properties, first_name, &value))
        append_number(properties, first_name, first_offset);
    *out = *half;
    out->topic = SLICE_LITERAL(TOPIC_TRANS_HALF);
    out->queue_id = 0;
    out->sys_flag &= ~SYS_FLAG_TRANSACTION_MASK;
    out->prepared_transaction_offset = half_origin_name(half);
    out->properties = buf_slice(properties);
}

static void read_immunity(struct slice value, struct half_wishes *wishes)
{
    int64_t seconds;
    wishes->has_immunity = true;
    wishes->immunity_ms = -1;
    if (parse_i64(value, &seconds) && seconds != -1)
        wishes->immunity_ms = (seconds < 0                      ? 0
                               : seconds > IMMUNITY_SECONDS_MAX ? IMMUNITY_SECONDS_MAX
                                                                : seconds) *
                              1000;
}

void half_read_wishes(struct slice properties, struct half_wishes *wishes)
{
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    *wishes = (struct half_wishes){.check_times = -1, .prepared_offset = -1};
    while (properties_next(properties, &cursor, &name, &value)) {
        if (slice_is(name, PROPERTY_TRANSACTION_CHECK_TIMES)) {
            if (!parse_i32(value, &wishes->check_times) || wishes->check_times < 0)
                wishes->check_times = 0;
        } else if (slice_is(name, PROPERTY_CHECK_IMMUNITY_TIME)) {
            read_immunity(value, wishes);
        } else if (slice_is(name, PROPERTY_TRANSACTION_PREPARED_QUEUE_OFFSET)) {
            if (!parse_i64(value, &wishes->prepared_offset) || wishes->prepared_offset < 0)
                wishes->prepared_offset = -1;
        }
    }
}
