/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer offsets and the bounds of queues (QY-03 to QY-06): ConsumerManageProcessor and parts of
 * AdminBrokerProcessor of 4.9.2.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "proto/header.pb-c.h"

static struct queue *find_queue(struct broker *broker, const char *topic, int32_t queue_id)
{
    return store_queue(broker->store, slice_of_cstr(topic), queue_id, false);
}

/* QY-05: a young queue, whose first message is still there and not far behind, is read from 0 even
 * by a group that never committed. */
static bool readable_from_zero(struct broker *broker, struct queue *queue)
{
    struct queue_entry first;
    if (queue == NULL || queue_max_offset(queue) == 0)
        return true;
    if (queue_min_offset(queue) > 0)
        return false;
    if (!queue_entry_at(queue, 0, &first))
        return true;
    return store_appended_pos(broker->store) - first.pos <= broker_hot_bytes(broker);
}

/* Whether readable_from_zero would have to wait for the disk. */
static bool needs_disk(struct queue *queue)
{
    return queue != NULL && queue_max_offset(queue) > 0 && queue_min_offset(queue) == 0 &&
           !queue_entry_in_memory(queue, 0);
}

static void query_consumer_offset(struct broker *broker, struct call *call, bool may_wait);

static void query_consumer_offset_waiting(struct broker *broker, struct call *call)
{
    query_consumer_offset(broker, call, true);
}

/* may_wait  on a worker thread, which the call comes to when the queue's first entry is on disk */
static void query_consumer_offset(struct broker *broker, struct call *call, bool may_wait)
{
    QueryConsumerOffsetRequestHeader header;
    QueryConsumerOffsetResponseHeader response;
    query_consumer_offset_request_header__init(&header);
    query_consumer_offset_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    response.offset = offsets_get(broker->offsets, slice_of_cstr(header.topic),
                                  slice_of_cstr(header.consumer_group), header.queue_id);
    if (response.offset < 0) {
        struct queue *queue = find_queue(broker, header.topic, header.queue_id);
        if (!may_wait && needs_disk(queue)) {
            handle_on_worker(broker, call, query_consumer_offset_waiting);
            return;
        }
        if (!readable_from_zero(broker, queue)) {
            call_fail(call, RESPONSE_QUERY_NOT_FOUND,
                      "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
            return;
        }
        response.offset = 0;
    }
    call_succeed(call, &response.base);
}

void handle_query_consumer_offset(struct broker *broker, struct call *call)
{
    query_consumer_offset(broker, call, false);
}

void handle_update_consumer_offset(struct broker *broker, struct call *call)
{
    UpdateConsumerOffsetRequestHeader header;
    UpdateConsumerOffsetResponseHeader response;
    update_consumer_offset_request_header__init(&header);
    update_consumer_offset_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    enum status status =
        offsets_commit(broker->offsets, slice_of_cstr(header.topic),
                       slice_of_cstr(header.consumer_group), header.queue_id, header.commit_offset);
    if (status == STATUS_OK)
        call_succeed(call, &response.base);
    else
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the offset of %s, queue %d was not stored: %s",
                  header.topic, (int)header.queue_id, status_text(status));
}

void handle_get_max_offset(struct broker *broker, struct call *call)
{
    GetMaxOffsetRequestHeader header;
    GetMaxOffsetResponseHeader response;
    get_max_offset_request_header__init(&header);
    get_max_offset_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    struct queue *queue = find_queue(broker, header.topic, header.queue_id);
    response.offset = queue == NULL ? 0 : queue_max_offset(queue);
    call_succeed(call, &response.base);
}

void handle_get_min_offset(struct broker *broker, struct call *call)
{
    GetMinOffsetRequestHeader header;
    GetMinOffsetResponseHeader response;
    get_min_offset_request_header__init(&header);
    get_min_offset_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    struct queue *queue = find_queue(broker, header.topic, header.queue_id);
    response.offset = queue == NULL ? 0 : queue_min_offset(queue);
    call_succeed(call, &response.base);
}

void handle_get_earliest_msg_storetime(struct broker *broker, struct call *call)
{
    GetEarliestMsgStoretimeRequestHeader header;
    GetEarliestMsgStoretimeResponseHeader response;
    get_earliest_msg_storetime_request_header__init(&header);
    get_earliest_msg_storetime_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    struct queue *queue = find_queue(broker, header.topic, header.queue_id);
    response.timestamp = queue == NULL ? -1 : queue_store_time(queue, queue_min_offset(queue));
    call_succeed(call, &response.base);
}

void handle_search_offset_by_timestamp(struct broker *broker, struct call *call)
{
    SearchOffsetRequestHeader header;
    SearchOffsetResponseHeader response;
    search_offset_request_header__init(&header);
    search_offset_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    struct queue *queue = find_queue(broker, header.topic, header.queue_id);
    response.offset = queue == NULL ? 0 : queue_offset_by_time(queue, header.timestamp);
    call_succeed(call, &response.base);
}
