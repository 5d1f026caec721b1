/* SPDX-License-Identifier: Apache-2.0
 *
 * PULL_MESSAGE: checks, the read, and long polling. The order of the checks, codes and remarks are
 * 4.9.2's (PullMessageProcessor).
 *
 * Runs on the connection's loop. A pull that finds nothing new is held (broker/state/hold.h) and
 * looked at again when its queue grows: one that matches is answered, one whose new messages are
 * all filtered out stays held and remembers how far it has looked.
 */
#include "broker/proc/pull.h"
#include "broker/proc/acks.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#include <stdio.h>
#include <stdlib.h>

#define PULL_FLAG_COMMIT_OFFSET 1
#define PULL_FLAG_SUSPEND 2
#define PULL_FLAG_SUBSCRIPTION 4

/* Bound of suspendTimeoutMillis: clients ask for 15 or 20 s. */
#define SUSPEND_MAX_MS 600000

/* What a pull asks, once it has been checked; small enough to be kept while it is held. */
struct pull {
    struct held held;
    struct broker_loop *bl;
    struct reply_to to;
    struct slice topic; /* in the call's memory, or behind a held pull */
    struct slice group;
    struct queue *queue; /* NULL: nothing was ever stored there */
    int64_t queue_offset;
    int64_t looked_offset; /* everything before it was looked at and did not match */
    int32_t max_messages;
    int64_t broker_id;      /* suggested while the group keeps up */
    int64_t slow_broker_id; /* and when it is far behind */
    struct subscription *subscription;
};

static void header_of(const struct pull *pull, const struct get_result *got,
                      PullMessageResponseHeader *header)
{
    bool slow = pull->bl->broker->conf.slaveReadEnable && got->far_behind;
    int64_t suggested = !pull->bl->broker->conf.slaveReadEnable ? 0
                        : slow                                  ? pull->slow_broker_id
                                                                : pull->broker_id;
    pull_message_response_header__init(header);
    header->suggest_which_broker_id = suggested;
    header->next_begin_offset = got->next_begin_offset;
    header->min_offset = got->min_offset;
    header->max_offset = got->max_offset;
}

static int32_t code_of(const struct pull *pull, const struct get_result *got)
{
    switch (got->status) {
    case GET_FOUND:
        return RESPONSE_SUCCESS;
    case GET_NO_MATCHED_MESSAGE:
    case GET_MESSAGE_WAS_REMOVING:
        return RESPONSE_PULL_RETRY_IMMEDIATELY;
    case GET_NO_MATCHED_LOGIC_QUEUE:
    case GET_NO_MESSAGE_IN_QUEUE:
        return pull->queue_offset == 0 ? RESPONSE_PULL_NOT_FOUND : RESPONSE_PULL_OFFSET_MOVED;
    case GET_OFFSET_FOUND_NULL:
    case GET_OFFSET_OVERFLOW_ONE:
        return RESPONSE_PULL_NOT_FOUND;
    case GET_OFFSET_OVERFLOW_BADLY:
    case GET_OFFSET_TOO_SMALL:
        return RESPONSE_PULL_OFFSET_MOVED;
    }
    return RESPONSE_SYSTEM_ERROR;
}

static void count(const struct pull *pull, int32_t code, const struct get_result *got)
{
    stats_get(pull->bl->broker->stats, code == RESPONSE_SUCCESS, got->count);
    if (code == RESPONSE_SUCCESS)
        topic_stats_got(pull->bl->meters, pull->topic, pull->group, got->count,
                        (int64_t)got->bytes);
}

/* Answer with what was read; the ranges leave without being copied. */
static void answer(const struct pull *pull, int32_t code, const struct get_result *got,
                   struct arena *arena)
{
    PullMessageResponseHeader header;
    header_of(pull, got, &header);
    struct response response = {
        .code = code, .remark = get_status_name(got->status), .header = &header.base};
    if (got->range_count > 0) {
        struct body_part *parts = arena_alloc(arena, (size_t)got->range_count * sizeof *parts);
        for (int i = 0; i < got->range_count; i++)
            parts[i] = (struct body_part){got->ranges[i].data, got->ranges[i].size,
                                          log_segment_release, got->ranges[i].segment};
        response.parts = parts;
        response.part_count = (size_t)got->range_count;
    }
    net_reply(pull->to, &response);
}

static void read_queue(const struct pull *pull, int64_t from, struct arena *arena,
                       struct get_result *got)
{
    bool everything = pull->subscription == NULL || pull->subscription->match_all ||
                      !pull->subscription->tag_type;
    struct broker *broker = pull->bl->broker;
    int64_t started_ms = clock_monotonic_ms(broker->clock);
    store_get(broker->store, pull->queue, from, pull->max_messages,
              everything ? NULL : subscription_match, pull->subscription, arena, got);
    stats_get_time(broker->stats, clock_monotonic_ms(broker->clock) - started_ms);
}

static void pull_release(struct pull *pull)
{
    if (pull->subscription != NULL)
        subscription_unref(pull->subscription);
}

static void pull_free(struct pull *pull)
{
    pull_release(pull);
    free(pull);
}

/* PL-14: tell OFFSET_MOVED_EVENT that a consumer's offset was corrected. */
static void offset_moved(const struct pull *pull, const char *group, const char *topic,
                         int32_t queue_id, int64_t offset_new)
{
    struct broker *broker = pull->bl->broker;
    struct topic_config config;
    if (!topics_get(broker->topics, SLICE_LITERAL(TOPIC_OFFSET_MOVED_EVENT), &config))
        return;
    MessageQueue message_queue;
    message_queue__init(&message_queue);
    message_queue.broker_name = (char *)(uintptr_t)(const char *)broker->conf.brokerName;
    message_queue.queue_id = queue_id;
    message_queue.topic = (char *)(uintptr_t)topic;
    OffsetMovedEvent event;
    offset_moved_event__init(&event);
    event.consumer_group = (char *)(uintptr_t)group;
    event.message_queue = &message_queue;
    event.offset_new = offset_new;
    event.offset_request = pull->queue_offset;
    struct buf body = BUF_EMPTY;
    struct buf *properties = &pull->bl->scratch;
    body_encode(&event.base, BODY_COMPACT, &body);
    buf_clear(properties);
    properties_append(properties, SLICE_LITERAL(PROPERTY_KEYS), slice_of_cstr(group));
    properties_append(properties, SLICE_LITERAL(PROPERTY_DELAY), SLICE_LITERAL("0"));
    properties_append(properties, SLICE_LITERAL(PROPERTY_TAGS), slice_of_cstr(group));
    struct record record = {
        .born_timestamp_ms = clock_wall_ms(broker->clock),
        .born_host = broker->store_host,
        .store_host = broker->store_host,
        .body = buf_slice(&body),
        .topic = slice_of_cstr(config.name),
        .properties = buf_slice(properties),
    };
    struct queue *queue = store_queue(broker->store, record.topic, 0, true);
    if (append_batch_add(pull->bl->batch, queue, &record, false, NULL) == STATUS_OK)
        acks_add_silent(pull->bl->acks, 1);
    buf_release(&body);
}

/* --- holding --- */

void pull_on_arrival(void *ctx, struct held *held)
{
    struct broker_loop *bl = ctx;
    struct pull *pull = (struct pull *)(void *)held;
    if (queue_max_offset(pull->queue) <= pull->looked_offset)
        return;
    struct arena arena;
    struct get_result got;
    arena_init(&arena, 4096);
    read_queue(pull, pull->looked_offset, &arena, &got);
    if (got.status == GET_NO_MATCHED_MESSAGE) {
        pull->looked_offset = got.next_begin_offset;
    } else {
        int32_t code = code_of(pull, &got);
        hold_remove(bl->holds, held);
        count(pull, code, &got);
        answer(pull, code, &got, &arena);
        pull_free(pull);
    }
    arena_release(&arena);
}

void pull_on_expire(void *ctx, struct held *held)
{
    (void)ctx;
    struct pull *pull = (struct pull *)(void *)held;
    struct arena arena;
    struct get_result got;
    arena_init(&arena, 4096);
    read_queue(pull, pull->looked_offset, &arena, &got);
    int32_t code = code_of(pull, &got);
    if (code == RESPONSE_PULL_NOT_FOUND && pull->looked_offset > pull->queue_offset) {
        got.status = GET_NO_MATCHED_MESSAGE;
        code = RESPONSE_PULL_RETRY_IMMEDIATELY;
    }
    count(pull, code, &got);
    answer(pull, code, &got, &arena);
    pull_free(pull);
    arena_release(&arena);
}

void pull_on_drop(void *ctx, struct held *held)
{
    (void)ctx;
    struct pull *pull = (struct pull *)(void *)held;
    net_decline(pull->to);
    pull_free(pull);
}

void broker_on_arrival(void *ctx, struct queue *queue)
{
    struct broker *broker = ctx;
    hold_arrival(broker->holds, queue);
}

/* Park a copy; then look once more, because what arrived before hold_add is not reported. False
 * when it can not be held: the queue can not exist, or the connection holds as much as it may.
 * own_subscription  the subscription is this pull's alone */
static bool hold(const struct pull *pull, bool own_subscription, int64_t timeout_ms)
{
    if (pull->queue == NULL)
        return false;
    size_t size = sizeof *pull + pull->topic.size + pull->group.size;
    struct pull *parked = xmalloc(size);
    uint8_t *names = (uint8_t *)(parked + 1);
    memcpy(names, pull->topic.data, pull->topic.size);
    memcpy(names + pull->topic.size, pull->group.data, pull->group.size);
    *parked = *pull;
    parked->topic = slice_of(names, pull->topic.size);
    parked->group = slice_of(names + pull->topic.size, pull->group.size);
    parked->looked_offset = pull->queue_offset;
    parked->held.queue = pull->queue;
    parked->held.conn = pull->to.conn;
    parked->held.deadline_ms = loop_now_ms(pull->bl->loop) + timeout_ms;
    parked->held.bytes = size + (own_subscription ? pull->subscription->bytes : 0);
    if (hold_add(pull->bl->holds, &parked->held) != STATUS_OK) {
        free(parked);
        return false;
    }
    pull_on_arrival(pull->bl, &parked->held);
    return true;
}

/* --- checks --- */

/* PL-01 to PL-06. False when the call was answered. */
static bool check(struct broker *broker, struct call *call, const PullMessageRequestHeader *header,
                  struct group_config *group)
{
    struct topic_config topic;
    struct slice topic_name = slice_of_cstr(header->topic);
    if ((broker->conf.brokerPermission & PERM_READ) == 0) {
        call_fail(call, RESPONSE_NO_PERMISSION, "the broker[%s] pulling message is forbidden",
                  (const char *)broker->conf.brokerIP1);
        return false;
    }
    if (!groups_get(broker->groups, slice_of_cstr(header->consumer_group),
                    broker->conf.autoCreateSubscriptionGroup, group)) {
        call_fail(call, RESPONSE_SUBSCRIPTION_GROUP_NOT_EXIST,
                  "subscription group [%s] does not exist, " SEE_FAQ, header->consumer_group);
        return false;
    }
    if (!group->consume_enable) {
        call_fail(call, RESPONSE_NO_PERMISSION, "subscription group no permission, %s",
                  header->consumer_group);
        return false;
    }
    if (!topics_get(broker->topics, topic_name, &topic)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST,
                  "topic[%s] not exist, apply first please! " SEE_FAQ, header->topic);
        return false;
    }
    if ((topic.perm & PERM_READ) == 0) {
        call_fail(call, RESPONSE_NO_PERMISSION, "the topic[%s] pulling message is forbidden",
                  header->topic);
        return false;
    }
    if (header->queue_id < 0 || header->queue_id >= topic.read_queues) {
        char peer[HOST_TEXT_BYTES];
        host_format(&call->peer, peer);
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] "
                  "consumer:[/%s]",
                  (int)header->queue_id, header->topic, (int)topic.read_queues, peer);
        return false;
    }
    return true;
}

/* PL-10 and PL-11: the subscription, from the request or from the group's heartbeats. False when
 * the call was answered. */
static bool find_subscription(struct broker *broker, struct call *call,
                              const PullMessageRequestHeader *header,
                              const struct group_config *group, struct subscription **out)
{
    if ((header->sys_flag & PULL_FLAG_SUBSCRIPTION) != 0) {
        if (subscription_build(header->topic, header->subscription, header->expression_type,
                               header->sub_version, out) == STATUS_OK)
            return true;
        call_fail(call, RESPONSE_SUBSCRIPTION_PARSE_FAILED,
                  "parse the consumer's subscription failed: no tag is left of \"%s\"",
                  header->subscription == NULL ? "" : header->subscription);
        return false;
    }
    bool online = false;
    enum message_model model = MODEL_CLUSTERING;
    struct subscription *found =
        clients_subscription(broker->clients, slice_of_cstr(header->consumer_group),
                             slice_of_cstr(header->topic), &online, &model);
    if (!online) {
        call_fail(call, RESPONSE_SUBSCRIPTION_NOT_EXIST,
                  "the consumer's group info not exist" SEE_FAQ);
    } else if (!group->consume_broadcast_enable && model == MODEL_BROADCASTING) {
        call_fail(call, RESPONSE_NO_PERMISSION,
                  "the consumer group[%s] can not consume by broadcast way",
                  header->consumer_group);
    } else if (found == NULL) {
        call_fail(call, RESPONSE_SUBSCRIPTION_NOT_EXIST,
                  "the consumer's subscription not exist" SEE_FAQ);
    } else if (found->version < header->sub_version) {
        call_fail(call, RESPONSE_SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest");
    } else {
        *out = found;
        return true;
    }
    if (found != NULL)
        subscription_unref(found);
    return false;
}

/* PL-08: expressions other than tags. False when the call was answered. */
static bool check_expression(struct call *call, const struct subscription *subscription)
{
    if (subscription->tag_type)
        return true;
    call_fail(call, RESPONSE_SYSTEM_ERROR,
              "The broker does not support consumer to filter message by %s",
              subscription->expression_type);
    return false;
}

/* PL-12: the offset that rides along. A pull is served whether or not it could be stored. */
static void commit(struct broker *broker, const PullMessageRequestHeader *header)
{
    static struct log_gate gate;
    int64_t swallowed;
    enum status status = offsets_commit(broker->offsets, slice_of_cstr(header->topic),
                                        slice_of_cstr(header->consumer_group), header->queue_id,
                                        header->commit_offset);
    if (status != STATUS_OK && log_gate_open(&gate, &swallowed))
        log_warn("pull", "offset of a pull not stored", "topic=%s group=%s queue=%d cause=\"%s\"",
                 header->topic, header->consumer_group, (int)header->queue_id, status_text(status));
}

/* The first pass: answer, or hold when nothing is new and the client can wait. */
static void serve(struct broker *broker, struct call *call, const PullMessageRequestHeader *header,
                  struct pull *pull)
{
    struct get_result got;
    read_queue(pull, pull->queue_offset, call->arena, &got);
    int32_t code = code_of(pull, &got);
    if ((header->sys_flag & PULL_FLAG_COMMIT_OFFSET) != 0 && !broker->slave)
        commit(broker, header);
    if (code == RESPONSE_PULL_NOT_FOUND && (header->sys_flag & PULL_FLAG_SUSPEND) != 0 &&
        !broker->stopping) {
        int64_t timeout_ms = broker->conf.longPollingEnable ? header->suspend_timeout_millis
                                                            : broker->conf.shortPollingTimeMills;
        timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > SUSPEND_MAX_MS ? SUSPEND_MAX_MS : timeout_ms;
        if (pull->queue == NULL)
            pull->queue =
                store_queue(broker->store, slice_of_cstr(header->topic), header->queue_id, true);
        if (hold(pull, (header->sys_flag & PULL_FLAG_SUBSCRIPTION) != 0, timeout_ms))
            return;
    }
    if (code == RESPONSE_PULL_OFFSET_MOVED) {
        if (broker->slave && !broker->conf.offsetCheckInSlave) {
            got.next_begin_offset = pull->queue_offset;
            code = RESPONSE_PULL_RETRY_IMMEDIATELY;
        } else if (!broker->slave) {
            offset_moved(pull, header->consumer_group, header->topic, header->queue_id,
                         got.next_begin_offset);
        }
    }
    count(pull, code, &got);
    answer(pull, code, &got, call->arena);
    pull_release(pull);
}

/* The header; what the flags do not ask for may be missing. False when the call was answered. */
static bool bind(struct call *call, PullMessageRequestHeader *header)
{
    const char *spare[4];
    size_t count = 0;
    pull_message_request_header__init(header);
    if (ext_to_message(&call->request->ext, call->arena, &header->base, NULL) == STATUS_OK)
        return true;
    if ((header->sys_flag & PULL_FLAG_COMMIT_OFFSET) == 0)
        spare[count++] = "commitOffset";
    if ((header->sys_flag & PULL_FLAG_SUSPEND) == 0)
        spare[count++] = "suspendTimeoutMillis";
    if ((header->sys_flag & PULL_FLAG_SUBSCRIPTION) != 0)
        spare[count++] = "subVersion";
    spare[count] = NULL;
    pull_message_request_header__init(header);
    return call_bind_lenient(call, &header->base, spare);
}

void handle_pull_message(struct broker *broker, struct call *call)
{
    PullMessageRequestHeader header;
    struct group_config group;
    struct subscription *subscription = NULL;
    if (!bind(call, &header) || !check(broker, call, &header, &group) ||
        !find_subscription(broker, call, &header, &group, &subscription))
        return;
    if (!check_expression(call, subscription)) {
        subscription_unref(subscription);
        return;
    }
    struct pull pull = {
        .bl = broker_loop_of(broker, call),
        .to = call_reply_to(call),
        .topic = slice_of_cstr(header.topic),
        .group = slice_of_cstr(header.consumer_group),
        .queue = store_queue(broker->store, slice_of_cstr(header.topic), header.queue_id, false),
        .queue_offset = header.queue_offset,
        .max_messages = header.max_msg_nums < 0                  ? 0
                        : header.max_msg_nums > GET_MESSAGES_MAX ? GET_MESSAGES_MAX
                                                                 : header.max_msg_nums,
        .broker_id = group.broker_id,
        .slow_broker_id = group.which_broker_when_consume_slowly,
        .subscription = subscription,
    };
    serve(broker, call, &header, &pull);
}
