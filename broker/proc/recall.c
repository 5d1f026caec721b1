/* SPDX-License-Identifier: Apache-2.0
 *
 * RECALL_MESSAGE (370, RocketMQ 5.3.1 and later): take back a timer that has not been delivered.
 * The checks, codes and remarks are those of 5.3.3's RecallMessageProcessor. What is stored is a
 * cancel, a message to the timers' queue; it is answered like a send.
 */
#include "broker/proc/acks.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/recall_handle.h"
#include "broker/proc/timer_draft.h"

#include "common/base/number.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#define RECALL_TAG "_RECALL_TAG_"

static bool check_broker(struct broker *broker, struct call *call)
{
    const struct broker_conf *conf = &broker->conf;
    if (!conf->recallMessageEnable || !conf->timerWheelEnable) {
        call_fail(call, RESPONSE_NO_PERMISSION, "recall failed, operation is forbidden");
        return false;
    }
    if (broker_is_slave(broker)) {
        call_fail(call, RESPONSE_SLAVE_NOT_AVAILABLE,
                  "recall failed, broker service not available");
        return false;
    }
    if (acks_full(broker_loop_of(broker, call)->acks, call->under_way)) {
        call_fail(call, RESPONSE_SYSTEM_BUSY,
                  "[OVERLOAD]system busy, start flow control for a while: too much waits for the "
                  "disk of the commit log or a slave; look at their load and health");
        return false;
    }
    if (clock_wall_ms(broker->clock) < conf->startAcceptSendRequestTimeStamp ||
        ((conf->brokerPermission & PERM_WRITE) == 0 && !conf->allowRecallWhenBrokerNotWriteable)) {
        call_fail(call, RESPONSE_SERVICE_NOT_AVAILABLE,
                  "recall failed, broker service not available");
        return false;
    }
    return true;
}

static bool check_handle(struct broker *broker, struct call *call,
                         const RecallMessageRequestHeader *header, struct buf *scratch,
                         struct recall_handle *handle)
{
    int64_t due_ms;
    struct topic_config topic;
    const char *fault = NULL;
    if (!topics_get(broker->topics, slice_of_cstr(header->topic), &topic)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST, "recall failed, the topic[%s] not exist",
                  header->topic);
        return false;
    }
    if (recall_handle_decode(slice_of_cstr(header->recall_handle), scratch, handle) != STATUS_OK)
        fault = "recall handle is invalid";
    else if (!slice_is(handle->topic, header->topic))
        fault = "recall failed, topic not match";
    else if (!slice_is(handle->broker_name, broker->conf.brokerName))
        fault = "recall failed, broker service not available";
    else if (!parse_i64(handle->time_text, &due_ms) || due_ms <= clock_wall_ms(broker->clock) ||
             due_ms - clock_wall_ms(broker->clock) > broker->conf.timerMaxDelaySec * 1000)
        fault = "recall failed, timestamp invalid";
    if (fault != NULL)
        call_fail(call, RESPONSE_ILLEGAL_OPERATION, "%s", fault);
    return fault == NULL;
}

/* The message that cancels. */
static void write_properties(struct broker *broker, struct call *call,
                             const RecallMessageRequestHeader *header,
                             const struct recall_handle *handle, struct buf *out)
{
    char text[I64_TEXT_BYTES];
    int64_t now_ms = clock_wall_ms(broker->clock);
    const char *target = arena_printf(call->arena, "%.*s+%.*s", SLICE_ARGS(handle->topic),
                                      SLICE_ARGS(handle->unique_key));
    properties_append(out, SLICE_LITERAL(PROPERTY_TAGS), SLICE_LITERAL(RECALL_TAG));
    properties_append(out, SLICE_LITERAL(PROPERTY_TIMER_DEL_UNIQKEY), slice_of_cstr(target));
    properties_append(out, SLICE_LITERAL(PROPERTY_UNIQ_KEY), handle->unique_key);
    properties_append(out, SLICE_LITERAL(PROPERTY_TIMER_DELIVER_MS), handle->time_text);
    properties_append(out, SLICE_LITERAL("BORN_TIMESTAMP"),
                      slice_of(text, format_i64(now_ms, text)));
    if (header->producer_group != NULL && header->producer_group[0] != '\0')
        properties_append(out, SLICE_LITERAL(PROPERTY_PRODUCER_GROUP),
                          slice_of_cstr(header->producer_group));
}

static void store_cancel(struct broker *broker, struct call *call,
                         const RecallMessageRequestHeader *header,
                         const struct recall_handle *handle)
{
    struct broker_loop *bl = broker_loop_of(broker, call);
    struct property_wishes wishes;
    const char *remark = NULL;
    int64_t due_ms;
    buf_clear(&bl->scratch);
    write_properties(broker, call, header, handle, &bl->scratch);
    properties_read_wishes(buf_slice(&bl->scratch), &wishes);
    struct record record = {
        .born_timestamp_ms = clock_wall_ms(broker->clock),
        .born_host = call->peer,
        .store_host = broker->store_host,
        .body = SLICE_LITERAL("0"),
        .topic = slice_of_cstr(header->topic),
        .properties = buf_slice(&bl->scratch),
    };
    /* The wishes point into the buffer, which may move when more is appended. */
    struct buf properties = BUF_EMPTY;
    buf_append_slice(&properties, record.properties);
    bool stored = timer_draft(broker, &wishes, &properties, &record, call->arena, &due_ms,
                              &remark) == TIMER_DRAFT_TIMER;
    stored =
        stored && append_batch_add(bl->batch, store_queue(broker->store, record.topic, 0, true),
                                   &record, false, NULL) == STATUS_OK;
    buf_release(&properties);
    if (!stored) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "recall failed, execute error");
        return;
    }
    acks_add_recall(bl->acks, call_reply_to(call), SLICE_LITERAL(TOPIC_TIMER), handle->unique_key);
    acks_commit_large(bl->acks);
}

void handle_recall_message(struct broker *broker, struct call *call)
{
    RecallMessageRequestHeader header;
    struct recall_handle handle;
    struct buf scratch = BUF_EMPTY;
    recall_message_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    if (check_broker(broker, call) && check_handle(broker, call, &header, &scratch, &handle))
        store_cancel(broker, call, &header, &handle);
    buf_release(&scratch);
}
