/* SPDX-License-Identifier: Apache-2.0
 *
 * The common path of puts. Source of the rules: CommitLog.asyncPutMessage of 4.9.2 for the delay
 * redirection, SendMessageProcessor for the properties.
 */
#include "broker/proc/draft.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/number.h"
#include "common/sys/thread.h"
#include "proto/properties.h"

#include <stdio.h>

/* How long a worker waits for the appends of others. */
#define PATIENCE_MS 200

static void wish_timer(struct slice name, struct slice value, struct property_wishes *wishes)
{
    if (slice_is(name, PROPERTY_TIMER_DELAY_SEC))
        wishes->timer_delay_sec = value;
    else if (slice_is(name, PROPERTY_TIMER_DELAY_MS))
        wishes->timer_delay_ms = value;
    else if (slice_is(name, PROPERTY_TIMER_DELIVER_MS))
        wishes->timer_deliver_ms = value;
    else if (slice_is(name, PROPERTY_TIMER_OUT_MS))
        wishes->timer_known = true;
    else if (slice_is(name, PROPERTY_TIMER_DEL_UNIQKEY))
        wishes->timer_cancel = true;
}

static void wish(struct slice name, struct slice value, struct property_wishes *wishes)
{
    switch (name.size) {
    case 4:
        if (slice_is(name, PROPERTY_WAIT))
            wishes->wait = parse_java_bool(value);
        break;
    case 5:
        if (slice_is(name, PROPERTY_DELAY) && !parse_i32(value, &wishes->delay_level))
            wishes->delay_level = 0;
        break;
    case 8:
        if (slice_is(name, PROPERTY_TRANSACTION_PREPARED))
            wishes->transaction = parse_java_bool(value);
        else if (slice_is(name, PROPERTY_UNIQ_KEY))
            wishes->unique_key = value;
        break;
    case 11:
        if (slice_is(name, PROPERTY_RETRY_TOPIC))
            wishes->retry_topic = value;
        break;
    default:
        if (name.size >= 12 && slice_starts_with(name, SLICE_LITERAL("TIMER_")))
            wish_timer(name, value, wishes);
        break;
    }
}

bool wishes_timer(const struct property_wishes *wishes)
{
    return wishes->delay_level <= 0 && !wishes->timer_known &&
           (wishes->timer_delay_sec.size != 0 || wishes->timer_delay_ms.size != 0 ||
            wishes->timer_deliver_ms.size != 0);
}

void properties_read_wishes(struct slice properties, struct property_wishes *wishes)
{
    *wishes = (struct property_wishes){.wait = true};
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    while (properties_next(properties, &cursor, &name, &value))
        wish(name, value, wishes);
}

void properties_rewrite(struct slice properties, struct slice cluster, bool keep_wait,
                        struct buf *out, struct property_wishes *wishes)
{
    *wishes = (struct property_wishes){.wait = true};
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    while (properties_next(properties, &cursor, &name, &value)) {
        wish(name, value, wishes);
        bool replaced = name.size == 7 && slice_is(name, PROPERTY_CLUSTER);
        bool dropped = !keep_wait && name.size == 4 && slice_is(name, PROPERTY_WAIT);
        if (!replaced && !dropped)
            properties_append(out, name, value);
    }
    properties_append(out, SLICE_LITERAL(PROPERTY_CLUSTER), cluster);
}

int draft_delay(struct broker *broker, int32_t level, struct buf *properties, struct record *record)
{
    if (level <= 0 || broker->delay_level_count == 0)
        return 0;
    char text[I64_TEXT_BYTES];
    if (level > broker->delay_level_count) {
        level = broker->delay_level_count;
        struct buf copy = BUF_EMPTY;
        properties_append_except(&copy, record->properties, SLICE_LITERAL(PROPERTY_DELAY));
        buf_clear(properties);
        buf_append_slice(properties, buf_slice(&copy));
        buf_release(&copy);
        properties_append(properties, SLICE_LITERAL(PROPERTY_DELAY),
                          slice_of(text, format_i64(level, text)));
    }
    properties_append(properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), record->topic);
    properties_append(properties, SLICE_LITERAL(PROPERTY_REAL_QUEUE_ID),
                      slice_of(text, format_i64(record->queue_id, text)));
    record->properties = buf_slice(properties);
    record->topic = SLICE_LITERAL(TOPIC_SCHEDULE);
    record->queue_id = level - 1;
    return level;
}

enum status draft_add(struct broker *broker, struct append_batch *batch,
                      const struct record *records, int count)
{
    struct queue *queues[DRAFT_RECORDS_MAX];
    CHECK(count <= DRAFT_RECORDS_MAX);
    for (int i = 0; i < count; i++) {
        queues[i] = store_queue(broker->store, records[i].topic, records[i].queue_id, true);
        if (queues[i] == NULL || !append_batch_takes_again(&records[i]))
            return STATUS_TOO_LARGE;
    }
    for (int i = 0; i < count; i++) /* each is taken, as was just asked */
        CHECK(append_batch_add_again(batch, queues[i], &records[i], i > 0, NULL) == STATUS_OK);
    return STATUS_OK;
}

struct append_result draft_append_all(struct broker *broker, const struct record *records,
                                      int count)
{
    struct append_result result = {.status = PUT_MESSAGE_ILLEGAL};
    int64_t begin = 0;
    if (!mutex_lock_within(&broker->worker_batch_lock, PATIENCE_MS))
        return (struct append_result){.status = PUT_PAGE_CACHE_BUSY};
    if (draft_add(broker, broker->worker_batch, records, count) == STATUS_OK) {
        const struct append_result *results =
            store_append_within(broker->store, broker->worker_batch, PATIENCE_MS);
        if (results != NULL) {
            begin = results[0].pos;
            result = results[count - 1];
        } else {
            result.status = PUT_PAGE_CACHE_BUSY;
        }
        append_batch_clear(broker->worker_batch);
    }
    pthread_mutex_unlock(&broker->worker_batch_lock);
    if (result.status == PUT_OK) {
        result.pos = begin;
        stats_put(broker->stats, count, result.end_pos - begin);
    }
    return result;
}

struct append_result draft_append_now(struct broker *broker, const struct record *record)
{
    return draft_append_all(broker, record, 1);
}
