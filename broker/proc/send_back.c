/* SPDX-License-Identifier: Apache-2.0
 *
 * CONSUMER_SEND_MSG_BACK: a consumer could not process a message; it comes again later through the
 * group's retry topic, or ends among its dead letters (RT-01 to RT-03; SendMessageProcessor of
 * 4.9.2). On the worker pool: the message is read from the log, which may be cold.
 */
#include "broker/proc/acks.h"
#include "broker/proc/appender.h"
#include "broker/proc/broker.h"
#include "broker/proc/draft.h"
#include "broker/proc/handlers.h"
#include "broker/proc/registrar.h"

#include "common/base/number.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#include <stdlib.h>

#define FIRST_RETRY_LEVEL 3

/* Where the message goes now. */
struct back_target {
    struct topic_config topic;
    int32_t queue_id;
    int32_t delay_level; /* 0: dead letter */
};

/* Make the topic and keep it: the answer promises that the message will be found again. */
static bool ensure_topic(struct broker *broker, struct call *call, const char *prefix,
                         const char *group, int32_t queues, int32_t sys_flag,
                         struct topic_config *out)
{
    bool created = false;
    const char *name = arena_printf(call->arena, "%s%s", prefix, group);
    const char *fault = topic_name_fault(slice_of_cstr(name));
    if (fault != NULL) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "topic[%s] not exist: %s", name, fault);
        return false;
    }
    if (topics_ensure(broker->topics, slice_of_cstr(name), queues, PERM_READ | PERM_WRITE, sys_flag,
                      out, &created) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "topic[%s] not exist: there are too many topics",
                  name);
        return false;
    }
    if (out->saved)
        return true;
    struct err err = {0};
    if (topics_persist(broker->topics, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "topic[%s] not exist: %s", name, err.text);
        return false;
    }
    if (created)
        registrar_announce(broker->registrar);
    return true;
}

/* RT-01's checks. False when the call was answered. */
static bool check(struct broker *broker, struct call *call,
                  const ConsumerSendMsgBackRequestHeader *header, struct group_config *group,
                  struct topic_config *retry_topic)
{
    if (!groups_get(broker->groups, slice_of_cstr(header->group),
                    broker->conf.autoCreateSubscriptionGroup, group)) {
        call_fail(call, RESPONSE_SUBSCRIPTION_GROUP_NOT_EXIST,
                  "subscription group not exist, %s " SEE_FAQ, header->group);
        return false;
    }
    if ((broker->conf.brokerPermission & PERM_WRITE) == 0) {
        call_fail(call, RESPONSE_NO_PERMISSION, "the broker[%s] sending message is forbidden",
                  (const char *)broker->conf.brokerIP1);
        return false;
    }
    if (group->retry_queues <= 0) {
        call_succeed(call, NULL);
        return false;
    }
    if (!ensure_topic(broker, call, TOPIC_RETRY_PREFIX, header->group, group->retry_queues,
                      header->has_unit_mode && header->unit_mode ? TOPIC_SYS_FLAG_UNIT_SUB : 0,
                      retry_topic))
        return false;
    if ((retry_topic->perm & PERM_WRITE) == 0) {
        call_fail(call, RESPONSE_NO_PERMISSION, "the topic[%s] sending message is forbidden",
                  retry_topic->name);
        return false;
    }
    return true;
}

/* RT-02: again later, or among the dead letters. False when the call was answered. */
static bool choose_target(struct broker *broker, struct call *call,
                          const ConsumerSendMsgBackRequestHeader *header,
                          const struct group_config *group, int32_t reconsume_times,
                          struct back_target *target)
{
    int32_t max_times = group->retry_max_times;
    if (call->request->version >= VERSION_3_4_9 && header->has_max_reconsume_times)
        max_times = header->max_reconsume_times;
    target->delay_level =
        header->delay_level == 0 ? FIRST_RETRY_LEVEL + reconsume_times : header->delay_level;
    target->queue_id = (int32_t)(arc4random_uniform((uint32_t)group->retry_queues));
    if (reconsume_times < max_times && header->delay_level >= 0)
        return true;
    target->delay_level = 0;
    target->queue_id = 0;
    return ensure_topic(broker, call, TOPIC_DLQ_PREFIX, header->group, 1, 0, &target->topic);
}

/* The two properties that draft_delay sets anew. */
static bool is_real_target(struct slice name)
{
    return slice_is(name, PROPERTY_REAL_TOPIC) || slice_is(name, PROPERTY_REAL_QUEUE_ID);
}

/* RT-03: the stored properties of the copy. 4.9.2 keeps the rest as it was, in dead letters even
 * the real target of the delay before. */
static void copy_properties(const struct record *message, const struct host *store_host,
                            int32_t delay_level, struct buf *out)
{
    struct slice value;
    struct slice name;
    size_t cursor = 0;
    char id[MESSAGE_ID_TEXT_BYTES];
    char level[I64_TEXT_BYTES];
    bool has_origin =
        properties_find(message->properties, SLICE_LITERAL(PROPERTY_ORIGIN_MESSAGE_ID), &value);
    bool has_retry_topic =
        properties_find(message->properties, SLICE_LITERAL(PROPERTY_RETRY_TOPIC), &value);
    while (properties_next(message->properties, &cursor, &name, &value))
        if (!slice_is(name, PROPERTY_WAIT) && !slice_is(name, PROPERTY_DELAY) &&
            (delay_level == 0 || !is_real_target(name)))
            properties_append(out, name, value);
    if (!has_retry_topic)
        properties_append(out, SLICE_LITERAL(PROPERTY_RETRY_TOPIC), message->topic);
    if (!has_origin)
        properties_append(
            out, SLICE_LITERAL(PROPERTY_ORIGIN_MESSAGE_ID),
            slice_of(id, message_id_format(store_host, message->physical_offset, id)));
    properties_append(out, SLICE_LITERAL(PROPERTY_WAIT), SLICE_LITERAL("false"));
    properties_append(out, SLICE_LITERAL(PROPERTY_DELAY),
                      slice_of(level, format_i64(delay_level, level)));
}

static void put_back(struct broker *broker, struct call *call, const char *group,
                     const struct record *message, const struct back_target *target)
{
    struct buf properties = BUF_EMPTY;
    struct record record = *message;
    struct slice topic = message->topic;
    (void)properties_find(message->properties, SLICE_LITERAL(PROPERTY_RETRY_TOPIC), &topic);
    copy_properties(message, &message->store_host, target->delay_level, &properties);
    record.topic = slice_of_cstr(target->topic.name);
    record.queue_id = target->queue_id;
    record.properties = buf_slice(&properties);
    record.reconsume_times = message->reconsume_times + 1;
    record.prepared_transaction_offset = 0;
    (void)draft_delay(broker, target->delay_level, &properties, &record);
    struct append_result result = draft_append_now(broker, &record);
    buf_release(&properties);
    if (result.status == PUT_OK)
        topic_stats_sent_back(broker->topic_stats, topic, slice_of_cstr(group), record.topic,
                              result.end_pos - result.pos);
    if (result.status == PUT_OK)
        acks_answer_stored(broker, call_reply_to(call), result.pos, result.end_pos);
    else
        call_fail(call, RESPONSE_SYSTEM_ERROR, "%s",
                  result.status == PUT_MESSAGE_ILLEGAL      ? "MESSAGE_ILLEGAL"
                  : result.status == PUT_CREATE_FILE_FAILED ? "CREATE_MAPEDFILE_FAILED"
                  : result.status == PUT_PAGE_CACHE_BUSY    ? "OS_PAGECACHE_BUSY"
                                                            : "SERVICE_NOT_AVAILABLE");
}

void handle_consumer_send_msg_back(struct broker *broker, struct call *call)
{
    ConsumerSendMsgBackRequestHeader header;
    struct group_config group;
    struct back_target target;
    struct log_range range;
    struct record message;
    consumer_send_msg_back_request_header__init(&header);
    if (page_cache_busy(broker)) {
        net_reply_error(call_reply_to(call), RESPONSE_SYSTEM_BUSY, PAGE_CACHE_BUSY_REMARK,
                        (long long)store_append_busy_ms(broker->store));
        return;
    }
    if (!call_bind(call, &header.base) || !check(broker, call, &header, &group, &target.topic))
        return;
    if (store_read_record(broker->store, header.offset, &range) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "look message by offset failed, %lld",
                  (long long)header.offset);
        return;
    }
    if (record_decode(slice_of(range.data, range.size), RECORD_CHECK_FRAME, &message) != STATUS_OK)
        call_fail(call, RESPONSE_SYSTEM_ERROR, "look message by offset failed, %lld",
                  (long long)header.offset);
    else if (choose_target(broker, call, &header, &group, message.reconsume_times, &target))
        put_back(broker, call, header.group, &message, &target);
    log_range_release(&range);
}
