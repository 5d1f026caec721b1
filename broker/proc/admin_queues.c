/* SPDX-License-Identifier: Apache-2.0
 *
 * What an administrator asks about queues and who consumes them (AD-08,
 * AD-11, AD-12, AD-14, AD-16, AD-19; parts of AdminBrokerProcessor of 4.9.2). On the worker pool,
 * since store times are read from the log.
 */
#include "broker/proc/admin.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/state/pop_log.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/body_json.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Entries of QUERY_CONSUME_QUEUE in one answer. */
#define QUEUE_ENTRIES_MAX 1000

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text;
}

MessageQueue *admin_message_queue(const struct broker *broker, struct arena *arena,
                                  const char *topic, int32_t queue_id)
{
    MessageQueue *queue = arena_alloc(arena, sizeof *queue);
    message_queue__init(queue);
    queue->broker_name = unconst(broker->conf.brokerName);
    queue->queue_id = queue_id;
    queue->topic = arena_cstr(arena, slice_of_cstr(topic));
    return queue;
}

struct admin_bounds admin_bounds_of(struct broker *broker, const char *topic, int32_t queue_id)
{
    struct admin_bounds bounds = {store_queue(broker->store, slice_of_cstr(topic), queue_id, false),
                                  0, 0};
    if (bounds.queue != NULL) {
        bounds.min_offset = queue_min_offset(bounds.queue);
        bounds.max_offset = queue_max_offset(bounds.queue);
    }
    return bounds;
}

int64_t admin_time_at(const struct admin_bounds *bounds, int64_t queue_offset, int64_t otherwise)
{
    int64_t timestamp_ms =
        bounds->queue == NULL ? -1 : queue_store_time(bounds->queue, queue_offset);
    return timestamp_ms < 0 ? otherwise : timestamp_ms;
}

bool admin_is_consumed(struct broker *broker, struct slice group, struct slice topic)
{
    bool online = false;
    struct subscription *subscription =
        clients_subscription(broker->clients, group, topic, &online, NULL);
    if (subscription == NULL)
        return clients_subscription_count(broker->clients, group) == 0;
    subscription_unref(subscription);
    return true;
}

void handle_get_topic_stats_info(struct broker *broker, struct call *call)
{
    GetTopicStatsInfoRequestHeader header;
    TopicStatsTable body;
    struct topic_config topic;
    get_topic_stats_info_request_header__init(&header);
    topic_stats_table__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (!topics_get(broker->topics, slice_of_cstr(header.topic), &topic)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST, "topic[%s] not exist", header.topic);
        return;
    }
    body.offset_table =
        arena_alloc(call->arena, ((size_t)topic.write_queues + 1) * sizeof *body.offset_table);
    for (int32_t id = 0; id < topic.write_queues; id++) {
        struct admin_bounds bounds = admin_bounds_of(broker, header.topic, id);
        TopicOffset *offset = arena_alloc(call->arena, sizeof *offset);
        TopicOffsetEntry *entry = arena_alloc(call->arena, sizeof *entry);
        topic_offset__init(offset);
        topic_offset_entry__init(entry);
        offset->min_offset = bounds.min_offset;
        offset->max_offset = bounds.max_offset;
        offset->last_update_timestamp = admin_time_at(&bounds, bounds.max_offset - 1, 0);
        entry->key = admin_message_queue(broker, call->arena, header.topic, id);
        entry->value = offset;
        body.offset_table[body.n_offset_table++] = entry;
    }
    call_succeed_body(call, NULL, &body.base);
}

/* --- who consumes a topic --- */

struct group_names {
    struct arena *arena;
    char **names;
    size_t count;
    size_t capacity;
};

static void add_group(void *ctx, struct slice group)
{
    struct group_names *list = ctx;
    for (size_t i = 0; i < list->count; i++)
        if (slice_is(group, list->names[i]))
            return;
    list->names =
        arena_grow(list->arena, list->names, sizeof *list->names, list->count, &list->capacity);
    list->names[list->count++] = arena_cstr(list->arena, group);
}

void handle_query_topic_consume_by_who(struct broker *broker, struct call *call)
{
    QueryTopicConsumeByWhoRequestHeader header;
    GroupList body;
    query_topic_consume_by_who_request_header__init(&header);
    group_list__init(&body);
    if (!call_bind(call, &header.base))
        return;
    struct group_names list = {.arena = call->arena};
    clients_groups_of(broker->clients, slice_of_cstr(header.topic), add_group, &list);
    offsets_groups_of(broker->offsets, slice_of_cstr(header.topic), add_group, &list);
    body.n_group_list = list.count;
    body.group_list = list.names;
    call_succeed_body(call, NULL, &body.base);
}

/* yyyy-MM-dd#HH:mm:ss:SSS in local time. */
static char *time_text(struct arena *arena, int64_t timestamp_ms)
{
    time_t seconds = (time_t)(timestamp_ms / 1000);
    struct tm when;
    char text[32];
    (void)localtime_r(&seconds, &when);
    (void)strftime(text, sizeof text, "%Y-%m-%d#%H:%M:%S", &when);
    return arena_printf(arena, "%s:%03d", text, (int)(timestamp_ms % 1000));
}

static QueueTimeSpan *time_span(struct broker *broker, struct arena *arena, const char *topic,
                                const char *group, int32_t queue_id)
{
    struct admin_bounds bounds = admin_bounds_of(broker, topic, queue_id);
    int64_t consumed =
        offsets_get(broker->offsets, slice_of_cstr(topic), slice_of_cstr(group), queue_id);
    QueueTimeSpan *span = arena_alloc(arena, sizeof *span);
    queue_time_span__init(span);
    span->message_queue = admin_message_queue(broker, arena, topic, queue_id);
    span->min_time_stamp = admin_time_at(&bounds, bounds.min_offset, -1);
    span->max_time_stamp = admin_time_at(&bounds, bounds.max_offset - 1, -1);
    span->consume_time_stamp =
        consumed > 0 ? admin_time_at(&bounds, consumed - 1, -1) : span->min_time_stamp;
    /* How long the next message has waited; nothing waits when all are consumed. */
    int64_t next_ms =
        consumed < bounds.max_offset && consumed >= 0 ? admin_time_at(&bounds, consumed, -1) : -1;
    span->delay_time = next_ms < 0 ? 0 : clock_wall_ms(broker->clock) - next_ms;
    span->min_time_stamp_str = time_text(arena, span->min_time_stamp);
    span->max_time_stamp_str = time_text(arena, span->max_time_stamp);
    span->consume_time_stamp_str = time_text(arena, span->consume_time_stamp);
    return span;
}

void handle_query_consume_time_span(struct broker *broker, struct call *call)
{
    QueryConsumeTimeSpanRequestHeader header;
    QueryConsumeTimeSpanBody body;
    struct topic_config topic;
    query_consume_time_span_request_header__init(&header);
    query_consume_time_span_body__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (!topics_get(broker->topics, slice_of_cstr(header.topic), &topic)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST, "topic[%s] not exist", header.topic);
        return;
    }
    body.consume_time_span_set = arena_alloc(call->arena, ((size_t)topic.write_queues + 1) *
                                                              sizeof *body.consume_time_span_set);
    for (int32_t id = 0; id < topic.write_queues; id++)
        body.consume_time_span_set[body.n_consume_time_span_set++] =
            time_span(broker, call->arena, header.topic, header.group, id);
    call_succeed_body(call, NULL, &body.base);
}

/* --- cleaning and copying --- */

void handle_clean_unused_topic(struct broker *broker, struct call *call)
{
    store_delete_queues(broker->store, admin_queue_has_no_topic, broker);
    call_succeed(call, NULL);
}

void handle_clean_expired_consumequeue(struct broker *broker, struct call *call)
{
    /* The progress of delayed messages, timers, transactions and pops is kept in offsets, which
     * must not start again: what came anew would be taken for done. */
    const char *pop_log = arena_printf(call->arena, POP_LOG_TOPIC_PREFIX "%s",
                                       (const char *)broker->conf.brokerClusterName);
    const struct slice keep[] = {SLICE_LITERAL(TOPIC_SCHEDULE), SLICE_LITERAL(TOPIC_TIMER),
                                 SLICE_LITERAL(TOPIC_TRANS_HALF),
                                 SLICE_LITERAL(TOPIC_TRANS_OP_HALF), slice_of_cstr(pop_log)};
    store_delete_expired_queues(broker->store, keep, sizeof keep / sizeof keep[0]);
    call_succeed(call, NULL);
}

void handle_delete_expired_commitlog(struct broker *broker, struct call *call)
{
    store_clean_now(broker->store);
    call_succeed(call, NULL);
}

void handle_clone_group_offset(struct broker *broker, struct call *call)
{
    CloneGroupOffsetRequestHeader header;
    clone_group_offset_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    /* Without a topic nothing is copied, as in 4.9.2. */
    struct slice topic = slice_of_cstr(header.topic);
    struct slice source = slice_of_cstr(header.src_group);
    struct topic_config config;
    enum status status = STATUS_OK;
    if (topics_get(broker->topics, topic, &config) &&
        (header.offline || admin_is_consumed(broker, source, topic)))
        status = offsets_clone(broker->offsets, source, slice_of_cstr(header.dest_group), topic);
    if (status == STATUS_OK)
        call_succeed(call, NULL);
    else
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the offsets of %s were not copied to %s: %s",
                  header.src_group, header.dest_group, status_text(status));
}

/* --- a look into a queue --- */

static SubscriptionData *subscription_body(struct arena *arena,
                                           const struct subscription *subscription)
{
    SubscriptionData *data = arena_alloc(arena, sizeof *data);
    subscription_data__init(data);
    data->class_filter_mode = subscription->class_filter_mode;
    data->n_code_set = (size_t)subscription->code_count;
    data->code_set = arena_alloc(arena, (data->n_code_set + 1) * sizeof *data->code_set);
    if (data->n_code_set > 0)
        memcpy(data->code_set, subscription->codes, data->n_code_set * sizeof *data->code_set);
    data->expression_type = arena_cstr(arena, slice_of_cstr(subscription->expression_type));
    data->sub_string = arena_cstr(arena, slice_of_cstr(subscription->expression));
    data->sub_version = subscription->version;
    data->n_tags_set = (size_t)subscription->tag_count;
    data->tags_set = arena_alloc(arena, (data->n_tags_set + 1) * sizeof *data->tags_set);
    for (size_t i = 0; i < data->n_tags_set; i++)
        data->tags_set[i] = arena_cstr(arena, slice_of_cstr(subscription->tags[i]));
    data->topic = arena_cstr(arena, slice_of_cstr(subscription->topic));
    return data;
}

/* The group's filter as JSON, "null" when it has none. */
static char *filter_body(struct broker *broker, struct call *call,
                         const QueryConsumeQueueRequestHeader *header)
{
    struct buf text = BUF_EMPTY;
    const ConsumerFilterData *data =
        filters_wrap(broker->filters, slice_of_cstr(header->topic),
                     slice_of_cstr(header->consumer_group), call->arena);
    if (data == NULL)
        return unconst("null");
    body_encode(&data->base, BODY_PRETTY, &text);
    char *copy = arena_cstr(call->arena, buf_slice(&text));
    buf_release(&text);
    return copy;
}

static void add_entries(struct call *call, struct queue *queue, int64_t from, int32_t count,
                        QueryConsumeQueueResponseBody *body)
{
    count = count < 0 ? 0 : count > QUEUE_ENTRIES_MAX ? QUEUE_ENTRIES_MAX : count;
    body->queue_data = arena_alloc(call->arena, ((size_t)count + 1) * sizeof *body->queue_data);
    for (int32_t i = 0; i < count; i++) {
        struct queue_entry entry;
        if (!queue_entry_at(queue, from + i, &entry))
            break;
        ConsumeQueueData *data = arena_alloc(call->arena, sizeof *data);
        consume_queue_data__init(data);
        data->physic_offset = entry.pos;
        data->physic_size = entry.size;
        data->tags_code = entry.tags_code;
        body->queue_data[body->n_queue_data++] = data;
    }
}

void handle_query_consume_queue(struct broker *broker, struct call *call)
{
    QueryConsumeQueueRequestHeader header;
    QueryConsumeQueueResponseBody body;
    query_consume_queue_request_header__init(&header);
    query_consume_queue_response_body__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (header.topic == NULL)
        header.topic = unconst("");
    struct admin_bounds bounds = admin_bounds_of(broker, header.topic, header.queue_id);
    if (bounds.queue == NULL) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "%d@%s is not exist!", (int)header.queue_id,
                  header.topic);
        return;
    }
    body.max_queue_index = bounds.max_offset;
    body.min_queue_index = bounds.min_offset;
    if (header.consumer_group != NULL && header.consumer_group[0] != '\0') {
        bool online = false;
        struct subscription *subscription =
            clients_subscription(broker->clients, slice_of_cstr(header.consumer_group),
                                 slice_of_cstr(header.topic), &online, NULL);
        if (subscription != NULL) {
            body.subscription_data = subscription_body(call->arena, subscription);
            subscription_unref(subscription);
            body.filter_data = filter_body(broker, call, &header);
        } else {
            body.filter_data = arena_printf(call->arena, "%s@%s is not online!",
                                            header.consumer_group, header.topic);
        }
    }
    add_entries(call, bounds.queue, header.index, header.count, &body);
    call_succeed_body(call, NULL, &body.base);
}
