/* SPDX-License-Identifier: Apache-2.0
 *
 * ACK_MESSAGE, BATCH_ACK_MESSAGE and CHANGE_MESSAGE_INVISIBLETIME (AckMessageProcessor and
 * ChangeInvisibleTimeProcessor of 5.3.3), in memory: the keeper writes down what must outlive a
 * crash. Acknowledging what is not open (any more) succeeds, as in 5.3.3.
 */
#include "broker/proc/handlers.h"
#include "broker/proc/pop.h"

#include "proto/body.pb-c.h"
#include "proto/header.pb-c.h"
#include "proto/pop_handle.h"

/* Bits of one part of a batch: a checkpoint has 32 at most, but they need not be neighbours. */
#define BATCH_ACK_BITS_MAX 4096

/* False when the call was answered. */
static bool check_ready(struct broker *broker, struct call *call)
{
    if (broker->pop_ledger == NULL) {
        call_fail(call, RESPONSE_NO_PERMISSION,
                  "the broker[%s] is a slave; acknowledge at its master",
                  (const char *)broker->conf.brokerIP1);
        return false;
    }
    if (!pop_ledger_ready(broker->pop_ledger)) {
        call_fail(call, RESPONSE_SYSTEM_BUSY,
                  "[OVERLOAD]system busy, start flow control for a while: the broker has just "
                  "started and reads its checkpoints; try again later");
        return false;
    }
    return true;
}

/* The topic and queue of a message. False when the call was answered.
 * above_max  the offset that may just not be reached */
static bool check_place(struct broker *broker, struct call *call, const char *topic,
                        int32_t queue_id, int64_t offset, bool max_included)
{
    struct topic_config config;
    if (!topics_get(broker->topics, slice_of_cstr(topic), &config)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST,
                  "topic[%s] not exist, apply first please! " SEE_FAQ, topic);
        return false;
    }
    if (queue_id < 0 || queue_id >= config.read_queues) {
        char peer[HOST_TEXT_BYTES];
        host_format(&call->peer, peer);
        call_fail(call, RESPONSE_MESSAGE_ILLEGAL,
                  "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] "
                  "consumer:[/%s]",
                  (int)queue_id, topic, (int)config.read_queues, peer);
        return false;
    }
    const struct queue *queue = store_queue(broker->store, slice_of_cstr(topic), queue_id, false);
    int64_t min = queue == NULL ? 0 : queue_min_offset(queue);
    int64_t max = queue == NULL ? 0 : queue_max_offset(queue);
    if (offset >= min && offset < max + (max_included ? 1 : 0))
        return true;
    call_fail(call, RESPONSE_NO_MESSAGE,
              "offset is illegal, key:%s@%d, commit:%lld, store:%lld~%lld", topic, (int)queue_id,
              (long long)offset, (long long)min, (long long)max);
    return false;
}

/* The handle of a message. False when the call was answered. */
static bool parse_handle(struct call *call, const char *text, struct pop_handle *handle)
{
    if (pop_handle_parse(slice_of_cstr(text), handle) != STATUS_OK) {
        call_fail(call, RESPONSE_MESSAGE_ILLEGAL,
                  "the extraInfo \"%.200s\" is not the POP_CK of a popped message", text);
        return false;
    }
    if ((handle->revive_queue >= 0 && handle->revive_queue < POP_REVIVE_QUEUES) ||
        handle->revive_queue == POP_ORDER_REVIVE_QUEUE)
        return true;
    call_fail(call, RESPONSE_MESSAGE_ILLEGAL,
              "the extraInfo \"%.200s\" is of a message that this broker did not give: it has the "
              "revive queues 0 to %d and %d",
              text, POP_REVIVE_QUEUES - 1, POP_ORDER_REVIVE_QUEUE);
    return false;
}

/* Acknowledge a message that was popped in order, and wake who may have what follows. */
static enum status ack_in_order(struct broker *broker, const struct pop_name *name, int64_t offset)
{
    struct pop_order_queue queue = {name->topic, name->group, name->queue_id};
    bool free = false;
    enum status status = pop_orders_ack(broker->pop_orders, &queue, offset, name->pop_time_ms,
                                        clock_wall_ms(broker->clock), &free);
    if (free)
        pop_polls_wake(broker->pop_polls, name->topic, name->group, name->queue_id);
    return status;
}

void handle_ack_message(struct broker *broker, struct call *call)
{
    AckMessageRequestHeader header;
    struct pop_handle handle;
    ack_message_request_header__init(&header);
    if (!call_bind(call, &header.base) || !check_ready(broker, call) ||
        !check_place(broker, call, header.topic, header.queue_id, header.offset, true) ||
        !parse_handle(call, header.extra_info, &handle))
        return;
    struct pop_name name = {
        .topic = slice_of_cstr(header.topic),
        .group = slice_of_cstr(header.consumer_group),
        .queue_id = header.queue_id,
        .start_offset = handle.start_offset,
        .pop_time_ms = handle.pop_time_ms,
    };
    enum status status = STATUS_OK;
    if (handle.revive_queue == POP_ORDER_REVIVE_QUEUE)
        status = ack_in_order(broker, &name, header.offset);
    else
        (void)pop_ledger_ack(broker->pop_ledger, &name, &header.offset, 1);
    if (status == STATUS_OK)
        call_succeed(call, NULL);
    else
        call_fail(call, RESPONSE_MESSAGE_ILLEGAL,
                  "offset is illegal, key:%s@%s@%d, commit:%lld: the last pop of the queue did not "
                  "give it, or it can not be stored (%s)",
                  header.topic, header.consumer_group, (int)header.queue_id,
                  (long long)header.offset, status_text(status));
}

/* One checkpoint's part of a batch; false when it is malformed. */
static bool ack_part(struct broker *broker, const struct call *call, const BatchAck *ack)
{
    int32_t bits[BATCH_ACK_BITS_MAX];
    int64_t offsets[POP_MESSAGES_MAX];
    int count = 0;
    struct slice topic = slice_of_cstr(ack->t);
    struct slice group = slice_of_cstr(ack->c);
    int retry = ack->r[0] - '0';
    if (retry < POP_RETRY_NONE || retry > POP_RETRY_V2 || ack->r[1] != '\0' || ack->so < 0 ||
        pop_bits_parse(slice_of_cstr(ack->b), bits, BATCH_ACK_BITS_MAX, &count) != STATUS_OK)
        return false;
    if (retry != POP_RETRY_NONE) {
        struct buf name = BUF_EMPTY;
        pop_retry_topic(topic, group, (enum pop_retry)retry, &name);
        topic = arena_copy(call->arena, buf_slice(&name));
        buf_release(&name);
    }
    struct pop_name name = {.topic = topic,
                            .group = group,
                            .queue_id = ack->q,
                            .start_offset = ack->so,
                            .pop_time_ms = ack->pt};
    for (int at = 0; ack->rq == POP_ORDER_REVIVE_QUEUE && at < count; at++)
        if (ack_in_order(broker, &name, (int64_t)((uint64_t)ack->so + (uint64_t)bits[at])) !=
            STATUS_OK)
            return false;
    for (int at = 0; ack->rq != POP_ORDER_REVIVE_QUEUE && at < count;) {
        int some = 0;
        while (at < count && some < POP_MESSAGES_MAX)
            offsets[some++] = (int64_t)((uint64_t)ack->so + (uint64_t)bits[at++]);
        (void)pop_ledger_ack(broker->pop_ledger, &name, offsets, some);
    }
    return true;
}

void handle_batch_ack_message(struct broker *broker, struct call *call)
{
    BatchAckMessageRequestBody body;
    size_t malformed = 0;
    batch_ack_message_request_body__init(&body);
    if (!check_ready(broker, call) || !call_decode_body(call, &body.base))
        return;
    if (body.n_acks == 0) {
        call_fail(call, RESPONSE_NO_MESSAGE, "the batch holds no acknowledgement");
        return;
    }
    for (size_t i = 0; i < body.n_acks; i++)
        malformed += !ack_part(broker, call, body.acks[i]);
    if (malformed == 0)
        call_succeed(call, NULL);
    else
        call_fail(
            call, RESPONSE_MESSAGE_ILLEGAL,
            "%zu of the %zu acknowledgements are malformed: r must be 0, 1 or 2, b the base64 of a "
            "bit set with at most %d bits set, and of pops in order only the last pop's "
            "messages; the others are done",
            malformed, body.n_acks, BATCH_ACK_BITS_MAX);
}

/* The handle stays as it is; only the time moves. */
static void change_in_order(struct broker *broker, struct call *call, const struct pop_name *name,
                            int64_t offset, int64_t invisible_ms)
{
    ChangeInvisibleTimeResponseHeader response;
    struct pop_order_queue queue = {name->topic, name->group, name->queue_id};
    int64_t visible_ms;
    change_invisible_time_response_header__init(&response);
    if (__builtin_add_overflow(clock_wall_ms(broker->clock), invisible_ms, &visible_ms))
        visible_ms = INT64_MAX;
    pop_orders_change(broker->pop_orders, &queue, offset, name->pop_time_ms, visible_ms);
    /* Those who wait know the old time only. */
    pop_polls_wake(broker->pop_polls, name->topic, name->group, name->queue_id);
    response.pop_time = name->pop_time_ms;
    response.invisible_time = (int64_t)((uint64_t)visible_ms - (uint64_t)name->pop_time_ms);
    response.revive_qid = POP_ORDER_REVIVE_QUEUE;
    call_succeed(call, &response.base);
}

void handle_change_message_invisibletime(struct broker *broker, struct call *call)
{
    ChangeInvisibleTimeRequestHeader header;
    ChangeInvisibleTimeResponseHeader response;
    struct pop_handle handle;
    change_invisible_time_request_header__init(&header);
    change_invisible_time_response_header__init(&response);
    if (!call_bind(call, &header.base) || !check_ready(broker, call) ||
        !check_place(broker, call, header.topic, header.queue_id, header.offset, false) ||
        !parse_handle(call, header.extra_info, &handle))
        return;
    if (header.invisible_time < 0) {
        call_fail(call, RESPONSE_MESSAGE_ILLEGAL, "the invisibleTime %lld is below 0",
                  (long long)header.invisible_time);
        return;
    }
    struct pop_name name = {
        .topic = slice_of_cstr(header.topic),
        .group = slice_of_cstr(header.consumer_group),
        .queue_id = header.queue_id,
        .start_offset = handle.start_offset,
        .pop_time_ms = handle.pop_time_ms,
    };
    int64_t now_ms = clock_wall_ms(broker->clock);
    if (handle.revive_queue == POP_ORDER_REVIVE_QUEUE) {
        change_in_order(broker, call, &name, header.offset, header.invisible_time);
        return;
    }
    enum status status = pop_ledger_change(broker->pop_ledger, &name, header.offset, &now_ms,
                                           header.invisible_time, handle.revive_queue);
    if (status == STATUS_NOT_FOUND) {
        call_fail(call, RESPONSE_MESSAGE_ILLEGAL,
                  "the message %lld of queue %d of topic[%s] is not in the hands of its consumer "
                  "any more: it was acknowledged, or its time was over and it comes again",
                  (long long)header.offset, (int)header.queue_id, header.topic);
        return;
    }
    if (status != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_BUSY,
                  "[OVERLOAD]system busy, start flow control for a while: too many messages are "
                  "not acknowledged");
        return;
    }
    response.pop_time = now_ms;
    response.invisible_time = header.invisible_time;
    response.revive_qid = handle.revive_queue;
    call_succeed(call, &response.base);
}
