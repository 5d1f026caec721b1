/* SPDX-License-Identifier: Apache-2.0
 *
 * INVOKE_BROKER_TO_RESET_OFFSET (CL-11): compute where a group is to go on in each queue and tell
 * its members. The broker stores nothing; the members commit the offsets. On the worker pool, since
 * offsets by time are searched in the log.
 */
#include "broker/proc/admin.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "proto/header.pb-c.h"

/* The timestamp that means "to the end". */
#define TIMESTAMP_END (-1)

static int64_t target_offset(struct broker *broker, const ResetOffsetRequestHeader *header,
                             int32_t queue_id, int64_t consumed)
{
    struct admin_bounds bounds = admin_bounds_of(broker, header->topic, queue_id);
    int64_t target = header->timestamp == TIMESTAMP_END ? bounds.max_offset
                     : bounds.queue == NULL             ? 0
                                            : queue_offset_by_time(bounds.queue, header->timestamp);
    target = target < 0 ? 0 : target;
    return header->is_force || target < consumed ? target : consumed;
}

/* The new offset of every queue. False when the call was answered. */
static bool make_table(struct broker *broker, struct call *call,
                       const ResetOffsetRequestHeader *header, ResetOffsetBody *body)
{
    struct topic_config topic;
    if (!topics_get(broker->topics, slice_of_cstr(header->topic), &topic)) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "[reset-offset] reset offset failed, no topic in this broker. topic=%s",
                  header->topic);
        return false;
    }
    body->offset_table =
        arena_alloc(call->arena, ((size_t)topic.write_queues + 1) * sizeof *body->offset_table);
    for (int32_t id = 0; id < topic.write_queues; id++) {
        int64_t consumed = offsets_get(broker->offsets, slice_of_cstr(header->topic),
                                       slice_of_cstr(header->group), id);
        if (consumed < 0) {
            call_fail(call, RESPONSE_SYSTEM_ERROR, "THe consumer group <%s> not exist",
                      header->group);
            return false;
        }
        MessageQueueOffsetEntry *entry = arena_alloc(call->arena, sizeof *entry);
        message_queue_offset_entry__init(entry);
        entry->key = admin_message_queue(broker, call->arena, header->topic, id);
        entry->value = target_offset(broker, header, id, consumed);
        body->offset_table[body->n_offset_table++] = entry;
    }
    return true;
}

/* C++ consumers are sent a list; the request's language tells, as in 4.9.2. */
static void encode_for_cpp(struct arena *arena, const ResetOffsetBody *body, struct buf *out)
{
    ResetOffsetBodyForC list;
    reset_offset_body_for_c__init(&list);
    list.offset_table = arena_alloc(arena, (body->n_offset_table + 1) * sizeof *list.offset_table);
    for (size_t i = 0; i < body->n_offset_table; i++) {
        const MessageQueueOffsetEntry *entry = body->offset_table[i];
        MessageQueueForC *queue = arena_alloc(arena, sizeof *queue);
        message_queue_for_c__init(queue);
        queue->broker_name = entry->key->broker_name;
        queue->queue_id = entry->key->queue_id;
        queue->topic = entry->key->topic;
        queue->offset = entry->value;
        list.offset_table[list.n_offset_table++] = queue;
    }
    body_encode(&list.base, BODY_COMPACT, out);
}

static void tell(const struct call *call, const ResetOffsetRequestHeader *header,
                 const ResetOffsetBody *body, const struct client_info *members, size_t count)
{
    ResetOffsetRequestHeader order;
    struct buf json = BUF_EMPTY;
    reset_offset_request_header__init(&order);
    order.topic = header->topic;
    order.group = header->group;
    order.timestamp = header->timestamp;
    if (call->request->language == LANGUAGE_CPP)
        encode_for_cpp(call->arena, body, &json);
    else
        body_encode(&body->base, BODY_COMPACT, &json);
    struct request request = {.code = REQUEST_RESET_CONSUMER_CLIENT_OFFSET,
                              .header = &order.base,
                              .body = buf_slice(&json),
                              .codec = CODEC_JSON};
    for (size_t i = 0; i < count; i++)
        net_call(members[i].conn, &request, NULL, NULL);
    buf_release(&json);
}

void handle_invoke_broker_to_reset_offset(struct broker *broker, struct call *call)
{
    ResetOffsetRequestHeader header;
    ResetOffsetBody body;
    struct client_info *members = NULL;
    size_t count = 0;
    reset_offset_request_header__init(&header);
    reset_offset_body__init(&body);
    if (!call_bind(call, &header.base) || !make_table(broker, call, &header, &body))
        return;
    if (!clients_consumer_members(broker->clients, slice_of_cstr(header.group), call->arena,
                                  &members, &count) ||
        count == 0) {
        call_fail(call, RESPONSE_CONSUMER_NOT_ONLINE,
                  "Consumer not online, so can not reset offset, Group: %s Topic: %s Timestamp: "
                  "%lld",
                  header.group, header.topic, (long long)header.timestamp);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (members[i].version < VERSION_3_0_7) { /* does not know the request */
            call_fail(call, RESPONSE_SYSTEM_ERROR,
                      "the client does not support this feature. version=%d of client <%s>; none "
                      "was told",
                      (int)members[i].version, members[i].client_id);
            return;
        }
    tell(call, &header, &body, members, count);
    log_info("offsets", "offsets reset by an administrator",
             "group=%s topic=%s timestamp=%lld members=%zu", header.group, header.topic,
             (long long)header.timestamp, count);
    call_succeed_body(call, NULL, &body.base);
}
