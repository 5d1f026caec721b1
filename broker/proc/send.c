/* SPDX-License-Identifier: Apache-2.0
 *
 * SEND_MESSAGE, SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE; also the checks of SEND_REPLY_MESSAGE,
 * which are the same, before reply.c goes on with it. The order of the checks, codes and remarks
 * are 4.9.2's (SendMessageProcessor, AbstractSendMessageProcessor), so that the same request gets
 * the same answer.
 *
 * Runs on the connection's loop and never waits: records go into the loop's batch, which is
 * appended at the end of the turn; acks.c answers.
 */
#include "broker/proc/send.h"

#include "broker/proc/acks.h"
#include "broker/proc/appender.h"
#include "broker/proc/broker.h"
#include "broker/proc/draft.h"
#include "broker/proc/handlers.h"
#include "broker/proc/parked_sends.h"
#include "broker/proc/reply.h"
#include "broker/proc/send_answer.h"
#include "broker/proc/send_header.h"
#include "broker/proc/timer_draft.h"
#include "broker/state/half_message.h"
#include "broker/state/pop_log.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/properties.h"

#include <stdlib.h>
#include <time.h>

struct send {
    struct broker *broker;
    struct broker_loop *bl;
    struct call *call;
    struct send_header header;
    struct topic_config topic;
};

static void fail(struct send *send, int32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct send *send, int32_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *remark = arena_vprintf(send->call->arena, format, args);
    va_end(args);
    send_fail(send->broker, call_reply_to(send->call), code, remark);
}

static bool is_reply(const struct call *call)
{
    return call->request->code == REQUEST_SEND_REPLY_MESSAGE ||
           call->request->code == REQUEST_SEND_REPLY_MESSAGE_V2;
}

static void fail_topic_missing(struct send *send)
{
    fail(send, RESPONSE_TOPIC_NOT_EXIST, "topic[%.*s] not exist, apply first please!" SEE_FAQ,
         SLICE_ARGS(send->header.topic));
}

/* SD-01: not before the configured time. */
static bool accepting(struct send *send)
{
    int64_t start_ms = send->broker->conf.startAcceptSendRequestTimeStamp;
    if (start_ms == 0 || clock_wall_ms(send->broker->clock) >= start_ms)
        return true;
    time_t seconds = (time_t)(start_ms / 1000);
    struct tm when;
    char text[32];
    (void)localtime_r(&seconds, &when);
    (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &when);
    fail(send, RESPONSE_SYSTEM_ERROR, "broker unable to service, until %s,%03d", text,
         (int)(start_ms % 1000));
    return false;
}

/* SD-02 to SD-05 for a topic that exists. */
static bool check_topic(struct send *send)
{
    const struct topic_config *topic = &send->topic;
    if ((send->broker->conf.brokerPermission & PERM_WRITE) == 0 && topic->order) {
        fail(send, RESPONSE_NO_PERMISSION, "the broker[%s] sending message is forbidden",
             (const char *)send->broker->conf.brokerIP1);
        return false;
    }
    int32_t queues =
        topic->read_queues > topic->write_queues ? topic->read_queues : topic->write_queues;
    bool nowhere = send->header.queue_id < 0 && topic->write_queues <= 0;
    if (send->header.queue_id >= queues || nowhere) {
        char peer[HOST_TEXT_BYTES];
        host_format(&send->call->peer, peer);
        fail(send, RESPONSE_SYSTEM_ERROR,
             "request queueId[%d] is illegal, TopicConfig [topicName=%s, readQueueNums=%d, "
             "writeQueueNums=%d, perm=%s%s%s, topicFilterType=%s, topicSysFlag=%d, order=%s] "
             "Producer: %s",
             (int)send->header.queue_id, topic->name, (int)topic->read_queues,
             (int)topic->write_queues, (topic->perm & PERM_READ) != 0 ? "R" : "-",
             (topic->perm & PERM_WRITE) != 0 ? "W" : "-",
             (topic->perm & PERM_INHERIT) != 0 ? "X" : "-",
             topic->multi_tag ? "MULTI_TAG" : "SINGLE_TAG", (int)topic->sys_flag,
             topic->order ? "true" : "false", peer);
        return false;
    }
    return true;
}

static void record_init(const struct send *send, int32_t queue_id, struct record *record)
{
    *record = (struct record){
        .queue_id = queue_id,
        .flag = send->header.flag,
        .sys_flag = send->header.sys_flag | (send->topic.multi_tag ? SYS_FLAG_MULTI_TAGS : 0),
        .born_timestamp_ms = send->header.born_timestamp_ms,
        .born_host = send->call->peer,
        .store_host = send->broker->store_host,
        .reconsume_times = send->header.reconsume_times,
        .body = send->call->body,
        .topic = slice_of_cstr(send->topic.name),
    };
}

/* handle  for recalling a timer, malloc'ed, taken over; NULL for others */
static void add(struct send *send, const struct record *record, int32_t shown_queue_id, bool wait,
                char *handle)
{
    struct broker_loop *bl = send->bl;
    struct queue *queue = store_queue(send->broker->store, record->topic, record->queue_id, true);
    if (append_batch_add(bl->batch, queue, record, false, NULL) != STATUS_OK) {
        fail(send, RESPONSE_MESSAGE_ILLEGAL,
             "the message is illegal, maybe msg body or properties length not matched. The record "
             "takes %zu bytes of at most %lld (maxMessageSize), its properties %zu of at most %d; "
             "they may not hold 512 zero bytes in a row, nor end with one.",
             record_size(record), (long long)send->broker->conf.maxMessageSize,
             record->properties.size, PROPERTIES_BYTES_MAX);
        free(handle);
        return;
    }
    acks_add(bl->acks, call_reply_to(send->call), record->topic, shown_queue_id, 1, wait);
    acks_set_recall_handle(bl->acks, handle);
    acks_commit_large(bl->acks);
}

/* SD-12: to the dead letters. False: parked until their topic is made and saved. */
static bool redirect_dead(struct send *send, struct slice group, struct record *record)
{
    struct topic_config topic;
    struct slice name = slice_of_cstr(
        arena_printf(send->call->arena, "%s%.*s", TOPIC_DLQ_PREFIX, SLICE_ARGS(group)));
    if (broker_is_slave(send->broker)) { /* the topic is the master's to make */
        send_refuse(send->broker, call_reply_to(send->call), PUT_SERVICE_NOT_AVAILABLE);
        return false;
    }
    if (parked_sends_join(send->bl->parked, send->call, name))
        return false;
    if (!topics_get(send->broker->topics, name, &topic) || !topic.saved) {
        parked_sends_start_dead_letters(send->bl->parked, send->call, name);
        return false;
    }
    record->topic = slice_of_cstr(topic.name);
    record->queue_id = 0;
    return true;
}

/* SD-06 and SD-12: a send to a retry topic may end among the dead letters. False: it was answered
 * or parked. */
static bool redirect_retry(struct send *send, struct record *record, bool *dead)
{
    struct broker *broker = send->broker;
    struct slice group = slice_from(send->header.topic, sizeof TOPIC_RETRY_PREFIX - 1);
    struct group_config config;
    *dead = false;
    if (!groups_get(broker->groups, group, broker->conf.autoCreateSubscriptionGroup, &config)) {
        fail(send, RESPONSE_SUBSCRIPTION_GROUP_NOT_EXIST,
             "subscription group not exist, %.*s " SEE_FAQ, SLICE_ARGS(group));
        return false;
    }
    int32_t max_times = config.retry_max_times;
    if (send->call->request->version >= VERSION_3_4_9) { /* it tells the number itself */
        if (!send->header.has_max_reconsume_times) {
            fail(send, RESPONSE_SYSTEM_ERROR,
                 "the field maxReconsumeTimes of a send to a retry topic is missing or is not a "
                 "number");
            return false;
        }
        max_times = send->header.max_reconsume_times;
    }
    if (send->header.reconsume_times < max_times)
        return true;
    *dead = true;
    return redirect_dead(send, group, record);
}

static bool refuse_timer(struct send *send, enum timer_draft draft, const char *remark)
{
    if (draft != TIMER_DRAFT_ILLEGAL && draft != TIMER_DRAFT_OFF)
        return false;
    fail(send, draft == TIMER_DRAFT_ILLEGAL ? RESPONSE_MESSAGE_ILLEGAL : RESPONSE_SYSTEM_ERROR,
         "%s", remark);
    return true;
}

/* A half message becomes a timer when it is committed. What can never be one is refused now, when
 * somebody waits for the answer: nobody hears of a commit that fails. */
static bool may_become_timer(struct send *send, const struct property_wishes *wishes)
{
    const char *remark = "";
    int64_t due_ms = 0;
    enum timer_draft draft =
        timer_draft_check(send->broker, wishes, send->call->arena, &due_ms, &remark);
    return !refuse_timer(send, draft, remark);
}

/* A message with a time of delivery; false when the call was answered. */
static bool draft_timer(struct send *send, const struct property_wishes *wishes,
                        struct record *record, char **handle)
{
    const char *remark = "";
    struct slice topic = record->topic;
    int64_t due_ms = 0;
    enum timer_draft draft = timer_draft(send->broker, wishes, &send->bl->scratch, record,
                                         send->call->arena, &due_ms, &remark);
    if (refuse_timer(send, draft, remark))
        return false;
    if (draft == TIMER_DRAFT_TIMER)
        *handle = timer_draft_handle(send->broker, wishes, topic, due_ms);
    return true;
}

static void send_single(struct send *send, int32_t queue_id)
{
    struct broker *broker = send->broker;
    struct buf *properties = &send->bl->scratch;
    struct slice cluster = slice_of_cstr(broker->conf.brokerClusterName);
    struct property_wishes wishes;
    struct record record;
    bool dead = false;
    record_init(send, queue_id, &record);
    if (slice_starts_with(send->header.topic, SLICE_LITERAL(TOPIC_RETRY_PREFIX)) &&
        !redirect_retry(send, &record, &dead))
        return;
    buf_clear(properties);
    properties_rewrite(send->header.properties, cluster, false, properties, &wishes);
    if (wishes.transaction && broker->conf.rejectTransactionMessage) {
        fail(send, RESPONSE_NO_PERMISSION,
             "the broker[%s] sending transaction message is forbidden: rejectTransactionMessage is "
             "true",
             (const char *)broker->conf.brokerIP1);
        return;
    }
    if (wishes.transaction && wishes.delay_level <= 0 && !may_become_timer(send, &wishes))
        return;
    if (wishes.transaction || (wishes.delay_level > 0 && !dead)) {
        buf_clear(properties);
        properties_rewrite(send->header.properties, cluster, true, properties, &wishes);
    }
    record.properties = buf_slice(properties);
    char *handle = NULL;
    if (wishes.transaction) /* a DELAY is obeyed when it is committed */
        half_prepare(properties, &record);
    else if (wishes.delay_level > 0 && !dead)
        (void)draft_delay(broker, wishes.delay_level, properties, &record);
    if (!wishes.transaction && !dead && wishes_timer(&wishes) &&
        !draft_timer(send, &wishes, &record, &handle))
        return;
    add(send, &record, queue_id, wishes.wait, handle);
}

/* The properties of one message of a batch as they are stored: its own, CLUSTER, and those of the
 * batch (SD-20; 4.9.2 forgets the separator between them, SD-21). */
static void batch_properties(const struct send *send, struct slice own, struct buf *out,
                             struct property_wishes *wishes)
{
    buf_clear(out);
    properties_rewrite(own, slice_of_cstr(send->broker->conf.brokerClusterName), false, out,
                       wishes);
    properties_append_except(out, send->header.properties, SLICE_LITERAL(PROPERTY_WAIT));
}

/* Check a whole batch before anything of it is stored.
 * batch    what the properties of the batch ask for
 * records  out, in the call's arena: body, flag and properties of each are set
 * returns  their number, 0 when the call was answered */
static int read_batch(struct send *send, const struct property_wishes *batch,
                      struct record **records)
{
    struct arena *arena = send->call->arena;
    size_t limit = (size_t)send->broker->conf.maxMessageSize;
    struct record *table = NULL;
    size_t capacity = 0;
    int count = 0;
    size_t total = 0;
    size_t cursor = 0;
    struct batch_message message;
    enum status status;
    const char *fault = NULL;
    if ((send->header.sys_flag & SYS_FLAG_TRANSACTION_MASK) != 0)
        fault = "a batch can not be part of a transaction";
    else if (batch->delay_level > 0 || wishes_timer(batch))
        fault = "a batch can not be delayed";
    while ((status = batch_next(send->call->body, &cursor, &message)) == STATUS_OK &&
           fault == NULL) {
        table = arena_grow(arena, table, sizeof *table, (size_t)count, &capacity);
        struct record *record = &table[count++];
        struct property_wishes wishes;
        record_init(send, 0, record);
        record->flag = message.flag;
        record->body = message.body;
        batch_properties(send, message.properties, &send->bl->scratch, &wishes);
        record->properties = arena_copy(arena, buf_slice(&send->bl->scratch));
        total += record_size(record);
        if (record->properties.size > PROPERTIES_BYTES_MAX)
            fault = "the properties of one message take more than 32767 bytes";
        else if (wishes.delay_level > 0 || wishes_timer(&wishes))
            fault = "a batch can not be delayed";
        else if (total > limit)
            fault = "the batch takes more than maxMessageSize";
        else if (!append_batch_takes(send->bl->batch, record))
            fault = "the properties of one message hold 512 zero bytes in a row, or end with one";
    }
    if (fault == NULL && status == STATUS_NOT_FOUND && count > 0) {
        *records = table;
        return count;
    }
    if (fault != NULL)
        fail(send, RESPONSE_MESSAGE_ILLEGAL,
             "the message is illegal, maybe msg body or properties length not matched: %s", fault);
    else
        fail(send, RESPONSE_SYSTEM_ERROR, "the body is not a batch of messages");
    return 0;
}

static void send_batch(struct send *send, int32_t queue_id)
{
    struct broker_loop *bl = send->bl;
    struct record *records = NULL;
    struct property_wishes wishes;
    properties_read_wishes(send->header.properties, &wishes);
    int count = read_batch(send, &wishes, &records);
    if (count == 0)
        return;
    struct queue *queue =
        store_queue(send->broker->store, slice_of_cstr(send->topic.name), queue_id, true);
    for (int i = 0; i < count; i++) {
        records[i].queue_id = queue_id;
        /* read_batch has asked for each whether it is taken. */
        CHECK(append_batch_add(bl->batch, queue, &records[i], i > 0, NULL) == STATUS_OK);
    }
    acks_add(bl->acks, call_reply_to(send->call), records[0].topic, queue_id, count, wishes.wait);
    acks_commit_large(bl->acks);
}

static void send_to_topic(struct send *send)
{
    if (!check_topic(send))
        return;
    int32_t queue_id = send->header.queue_id;
    if (queue_id < 0)
        queue_id = (int32_t)broker_loop_random(send->bl, (uint32_t)send->topic.write_queues);
    if (is_reply(send->call))
        reply_take(send->broker, send->call, &send->header, send->topic.name, queue_id);
    else if (send->header.batch)
        send_batch(send, queue_id);
    else
        send_single(send, queue_id);
}

/* Flow control; its answers have no fields, as in 4.9.2. Replies are pushed, be the disk as it may.
 */
static bool admitted(const struct send *send)
{
    const struct broker *broker = send->broker;
    if (is_reply(send->call))
        return true;
    if (page_cache_busy(broker)) {
        net_reply_error(call_reply_to(send->call), RESPONSE_SYSTEM_BUSY, PAGE_CACHE_BUSY_REMARK,
                        (long long)store_append_busy_ms(broker->store));
        return false;
    }
    if (acks_full(send->bl->acks, send->call->under_way)) {
        net_reply_error(call_reply_to(send->call), RESPONSE_SYSTEM_BUSY,
                        "[OVERLOAD]system busy, start flow control for a while: %lld sends wait "
                        "for the disk of the commit log or a slave, or %d MiB; look at their load "
                        "and health",
                        (long long)broker->conf.sendThreadPoolQueueCapacity,
                        (int)(SENDS_QUEUED_BYTES_MAX >> 20));
        return false;
    }
    return true;
}

/* Topics whose messages the broker acts upon: a client's could name any topic as their target, one
 * that nobody made and no limit counts, or have the messages of others come again. */
static bool is_of_the_broker(struct slice topic)
{
    return slice_is(topic, TOPIC_SCHEDULE) || slice_is(topic, TOPIC_TRANS_HALF) ||
           slice_is(topic, TOPIC_TRANS_OP_HALF) || slice_is(topic, TOPIC_TIMER) ||
           slice_starts_with(topic, SLICE_LITERAL(POP_LOG_TOPIC_PREFIX));
}

/* Header and name checks; false when the call was answered. */
static bool begin(struct send *send, struct broker *broker, struct call *call)
{
    const char *missing = NULL;
    *send = (struct send){.broker = broker, .bl = broker_loop_of(broker, call), .call = call};
    bool short_names = call->request->code != REQUEST_SEND_MESSAGE &&
                       call->request->code != REQUEST_SEND_REPLY_MESSAGE;
    if (send_header_read(&call->request->ext, short_names, &send->header, &missing) != STATUS_OK) {
        /* An exception in 4.9.2: the answer has no fields. */
        net_reply_error(call_reply_to(call), RESPONSE_SYSTEM_ERROR,
                        "the custom field <%s> is null: a send needs it, and as a number where it "
                        "is one",
                        missing);
        return false;
    }
    if (!admitted(send) || !accepting(send))
        return false;
    const char *fault = topic_name_fault(send->header.topic);
    if (fault != NULL) {
        fail(send, RESPONSE_SYSTEM_ERROR, "%s", fault);
        return false;
    }
    if (is_of_the_broker(send->header.topic)) {
        fail(send, RESPONSE_NO_PERMISSION, "Sending message to topic[%.*s] is forbidden.",
             SLICE_ARGS(send->header.topic));
        return false;
    }
    return true;
}

void handle_send_message(struct broker *broker, struct call *call)
{
    struct send send;
    if (!begin(&send, broker, call))
        return;
    if (parked_sends_join(send.bl->parked, call, send.header.topic))
        return;
    bool exists = topics_get(broker->topics, send.header.topic, &send.topic);
    if (exists && (send.topic.saved || broker_is_slave(broker)))
        send_to_topic(&send);
    else if (broker_is_slave(broker) && broker->conf.autoCreateTopicEnable)
        send_refuse(broker, call_reply_to(call), PUT_SERVICE_NOT_AVAILABLE);
    else if (broker_is_slave(broker))
        fail_topic_missing(&send);
    else /* to be made, or to be saved: others, be it a heartbeat, may just have made it */
        parked_sends_start(send.bl->parked, call, &send.header);
}

void send_resume(struct broker *broker, struct call *call, enum status made)
{
    struct send send;
    if (!begin(&send, broker, call))
        return;
    if (made == STATUS_OK && topics_get(broker->topics, send.header.topic, &send.topic))
        send_to_topic(&send);
    else if (made == STATUS_OK || made == STATUS_NOT_FOUND)
        fail_topic_missing(&send);
    else if (made == STATUS_BUSY)
        fail(&send, RESPONSE_SYSTEM_BUSY,
             "[OVERLOAD]system busy, start flow control for a while: topic[%.*s] was not made, the "
             "broker has as many topics as it can keep, or is stopping",
             SLICE_ARGS(send.header.topic));
    else
        fail(&send, RESPONSE_SYSTEM_ERROR,
             "topic[%.*s] was made but could not be saved (%s); see the broker's log",
             SLICE_ARGS(send.header.topic), status_text(made));
}
