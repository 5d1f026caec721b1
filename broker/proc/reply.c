/* SPDX-License-Identifier: Apache-2.0
 *
 * A reply is pushed and stored at once, and its sender is answered when the outcome of both is
 * known; the code tells of the push alone (CL-13, ReplyMessageProcessor of 4.9.2, which stores when
 * the push is through). Meanwhile only `struct reply` is kept, not the message: the requester may
 * sit behind the same connection as the replier, which must go on being read for its answer to
 * come.
 *
 * Threads: everything happens on the loop of the replier's connection, except that the requester's
 * answer comes in on that of the requester, which posts it over.
 */
#include "broker/proc/reply.h"

#include "broker/proc/acks.h"
#include "broker/proc/appender.h"
#include "broker/proc/draft.h"
#include "broker/proc/send_answer.h"

#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUSH_TIMEOUT_MS 10000
#define HOST_SLASH_BYTES (HOST_TEXT_BYTES + 1)
#define REQUESTER_BYTES_MAX 256
#define REMARK_BYTES 640

struct reply {
    struct loop_task task; /* brings the outcome of the push to the replier's loop */
    struct broker *broker;
    struct reply_to to;
    struct loop *loop; /* the replier's */
    int32_t queue_id;
    int awaited; /* outcomes not known yet: of the push, and of the store */
    bool pushed;
    bool stored;
    struct stored_place place;
    char requester[REQUESTER_BYTES_MAX]; /* its client id, cut where it is longer */
    char remark[REMARK_BYTES];           /* why it was not pushed */
};

/* Both outcomes are known. */
static void finish(struct reply *reply)
{
    const struct broker *broker = reply->broker;
    int32_t code = reply->pushed ? RESPONSE_SUCCESS : RESPONSE_SYSTEM_ERROR;
    const char *remark = reply->pushed ? NULL : reply->remark;
    char id[MESSAGE_ID_TEXT_BYTES];
    if (reply->stored)
        send_answer(broker, reply->to, code, remark,
                    &(struct stored_send){
                        slice_of(id, message_id_format(&broker->store_host, reply->place.pos, id)),
                        reply->queue_id, reply->place.queue_offset, NULL});
    else if (reply->pushed) /* clients want the fields, whatever they say */
        send_answer(broker, reply->to, code, remark,
                    &(struct stored_send){SLICE_LITERAL("0"), reply->queue_id, 0, NULL});
    else
        send_fail(broker, reply->to, code, remark);
    free(reply);
}

static void outcome(struct reply *reply)
{
    if (--reply->awaited == 0)
        finish(reply);
}

/* --- storing --- */

static void stored(void *ctx, const struct stored_place *place)
{
    static struct log_gate gate;
    struct reply *reply = ctx;
    int64_t suppressed;
    reply->stored = place != NULL;
    if (place != NULL)
        reply->place = *place;
    else if (log_gate_open(&gate, &suppressed))
        log_warn("reply", "a reply could not be stored; it was pushed all the same",
                 "requester=\"%s\" suppressed=%lld", reply->requester, (long long)suppressed);
    outcome(reply);
}

/* As 4.9.2 stores it: the properties as they came, no filter type, no dead letters. */
static void store(struct reply *reply, const struct call *call, const struct send_header *header,
                  const char *topic)
{
    struct broker *broker = reply->broker;
    struct broker_loop *bl = broker_loop_of(broker, call);
    struct property_wishes wishes;
    if (page_cache_busy(broker) || acks_full(bl->acks, call->under_way)) {
        stored(reply, NULL);
        return;
    }
    struct record record = {
        .queue_id = reply->queue_id,
        .flag = header->flag,
        .sys_flag = header->sys_flag & SYS_FLAG_COMPRESSED, /* or nobody could read its body */
        .born_timestamp_ms = header->born_timestamp_ms,
        .born_host = call->peer,
        .store_host = broker->store_host,
        .reconsume_times = header->reconsume_times,
        .body = call->body,
        .topic = slice_of_cstr(topic),
        .properties = header->properties,
    };
    properties_read_wishes(header->properties, &wishes);
    if (wishes.delay_level > 0) {
        buf_clear(&bl->scratch);
        properties_append_except(&bl->scratch, header->properties, SLICE_EMPTY);
        record.properties = buf_slice(&bl->scratch);
        (void)draft_delay(broker, wishes.delay_level, &bl->scratch, &record);
    }
    struct queue *queue = store_queue(broker->store, record.topic, record.queue_id, true);
    if (append_batch_add(bl->batch, queue, &record, false, NULL) != STATUS_OK) {
        stored(reply, NULL);
        return;
    }
    acks_add_told(bl->acks, record.topic, wishes.wait, stored, reply);
    acks_commit_large(bl->acks);
}

/* --- pushing --- */

static void not_pushed(struct reply *reply, const char *why)
{
    (void)snprintf(reply->remark, sizeof reply->remark, "push reply message to %sfail. %s",
                   reply->requester, why);
}

static void push_task(struct loop_task *task)
{
    outcome((struct reply *)(void *)task);
}

/* The requester has answered, or will not. On its loop. */
static void push_answered(void *ctx, enum status status, const struct command *response,
                          struct slice body, struct arena *arena)
{
    (void)body;
    (void)arena;
    struct reply *reply = ctx;
    char why[256];
    switch (status) {
    case STATUS_OK:
        reply->pushed = response->code == RESPONSE_SUCCESS;
        (void)snprintf(why, sizeof why, "It answered with code %d: %.*s", (int)response->code,
                       response->remark.size < 160 ? (int)response->remark.size : 160,
                       (const char *)response->remark.data);
        break;
    case STATUS_TIMEOUT:
        (void)snprintf(why, sizeof why, "It did not answer within %d ms", PUSH_TIMEOUT_MS);
        break;
    case STATUS_BUSY:
        (void)snprintf(why, sizeof why,
                       "It does not read, or too many replies wait for its answer; try again "
                       "later");
        break;
    default:
        (void)snprintf(why, sizeof why, "Its connection closed");
        break;
    }
    if (!reply->pushed)
        not_pushed(reply, why);
    reply->task.run = push_task;
    loop_post(reply->loop, &reply->task);
}

/* "/1.2.3.4:5", as InetSocketAddress prints an address. */
static char *slash_host(struct arena *arena, const struct host *host)
{
    char *text = arena_alloc(arena, HOST_SLASH_BYTES);
    text[0] = '/';
    host_format(host, text + 1);
    return text;
}

/* What the requester is told; PUSH_REPLY_TIME tells it how long the rest of the way took. */
static char *push_properties(const struct call *call, struct slice properties, int64_t now_ms)
{
    struct buf text = BUF_EMPTY;
    char now[I64_TEXT_BYTES];
    properties_append_except(&text, properties, SLICE_LITERAL(PROPERTY_PUSH_REPLY_TIME));
    properties_append(&text, SLICE_LITERAL(PROPERTY_PUSH_REPLY_TIME),
                      slice_of(now, format_i64(now_ms, now)));
    char *copy = arena_cstr(call->arena, buf_slice(&text));
    buf_release(&text);
    return copy;
}

static void push_to(struct reply *reply, const struct call *call, const struct send_header *header,
                    struct conn_ref requester)
{
    struct broker *broker = reply->broker;
    struct arena *arena = call->arena;
    ReplyMessageRequestHeader push;
    int64_t now_ms = clock_wall_ms(broker->clock);
    reply_message_request_header__init(&push);
    push.producer_group = arena_cstr(arena, header->producer_group);
    push.topic = arena_cstr(arena, header->topic);
    push.default_topic = arena_cstr(arena, header->default_topic);
    push.default_topic_queue_nums = header->default_topic_queues;
    push.queue_id = header->queue_id;
    push.sys_flag = header->sys_flag;
    push.born_timestamp = header->born_timestamp_ms;
    push.flag = header->flag;
    push.properties = push_properties(call, header->properties, now_ms);
    push.has_reconsume_times = true;
    push.reconsume_times = header->reconsume_times;
    push.has_unit_mode = true;
    push.unit_mode = header->unit_mode;
    push.born_host = slash_host(arena, &call->peer);
    push.store_host = slash_host(arena, &broker->store_host);
    push.store_timestamp = now_ms;
    struct request request = {
        .code = REQUEST_PUSH_REPLY_MESSAGE_TO_CLIENT,
        .header = &push.base,
        .body = call->body,
        .codec = CODEC_JSON, /* what every client reads, whatever the replier speaks */
        .timeout_ms = PUSH_TIMEOUT_MS,
    };
    net_call(requester, &request, push_answered, reply);
}

/* Push it, or tell at once why not. */
static void push(struct reply *reply, const struct call *call, const struct send_header *header)
{
    struct slice requester;
    struct conn_ref conn;
    if (!properties_find(header->properties, SLICE_LITERAL(PROPERTY_REPLY_TO_CLIENT), &requester)) {
        (void)snprintf(reply->remark, sizeof reply->remark,
                       "reply message properties[" PROPERTY_REPLY_TO_CLIENT
                       "] is null: make replies with MessageUtil.createReplyMessage");
        outcome(reply);
        return;
    }
    size_t size =
        requester.size < sizeof reply->requester ? requester.size : sizeof reply->requester - 1;
    memcpy(reply->requester, requester.data, size); /* never empty: such a property is none */
    if (clients_find_producer(reply->broker->clients, requester, &conn)) {
        push_to(reply, call, header, conn);
        return;
    }
    (void)snprintf(reply->remark, sizeof reply->remark,
                   "push reply message fail, channel of <%s> not found. No producer with this "
                   "client id is connected to this broker (now): the requester has gone, or has "
                   "not sent its heartbeat here",
                   reply->requester);
    outcome(reply);
}

void reply_take(struct broker *broker, struct call *call, const struct send_header *header,
                const char *topic, int32_t queue_id)
{
    struct reply *reply = xcalloc(1, sizeof *reply);
    bool keep = broker->conf.storeReplyMessageEnable;
    reply->broker = broker;
    reply->to = call_reply_to(call);
    reply->loop = call->conn.loop;
    reply->queue_id = queue_id;
    reply->awaited = keep ? 2 : 1;
    /* The reply may be gone behind the first of two that are known at once. */
    if (keep)
        store(reply, call, header, topic);
    push(reply, call, header);
}
