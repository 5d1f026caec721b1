/* SPDX-License-Identifier: Apache-2.0
 *
 * PULL_MESSAGE: checks, the read, and long polling. The order of the checks, codes and remarks are
 * 4.9.2's (PullMessageProcessor).
 *
 * Runs on the connection's loop. A pull that finds nothing new is held (broker/state/hold.h) and
 * looked at again when its queue grows: one that matches is answered, one whose new messages are
 * all filtered out stays held and remembers how far it has looked. One that has not seen them all,
 * because a single look is bounded, is answered with how far it has come and asks again.
 *
 * A pull whose messages are on disk is handed to the store's cold readers and parked meanwhile; it
 * comes back to the loop with what was read (cold_resume) and is answered with that. It is in the
 * hands of the readers until then, also when its connection closes: that only cancels the read.
 */
#include "broker/proc/pull.h"
#include "broker/proc/acks.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/lag.h"
#include "broker/proc/pull_filter.h"
#include "broker/proc/range_part.h"
#include "broker/state/pop_polls.h"

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

/* A held pull of more tags looks at each arrival itself: an entry in the index of tags takes more
 * memory than the tag. */
#define HELD_TAGS_MAX 64

#define NO_DEADLINE INT64_MIN

struct pull;

/* A pull while its messages are read from disk. */
struct cold_pull {
    struct cold_read read; /* first */
    struct loop_task task;
    struct pull *pull;
    int64_t begun_ms;
    bool removed; /* is out of the hold table already */
    bool dropped; /* its connection has gone */
};

/* What a pull asks, once it has been checked; small enough to be kept while it is held. */
struct pull {
    struct held held;
    struct broker_loop *bl;
    struct reply_to to;
    struct slice topic;     /* NUL behind; in the call's memory, or behind a kept pull */
    struct slice group;     /* the same */
    struct queue *queue;    /* NULL: nothing was ever stored there */
    struct cold_pull *cold; /* NULL: not with the cold readers */
    int64_t deadline_ms;    /* until when it may be held; NO_DEADLINE: not at all */
    int64_t queue_offset;
    int32_t max_messages;
    int32_t queue_id;
    bool own_subscription;  /* it is this pull's alone */
    bool kept;              /* a copy, malloc'ed */
    bool from_disk;         /* went to the cold readers */
    int64_t took_ms;        /* the last read */
    int64_t broker_id;      /* suggested while the group keeps up */
    int64_t slow_broker_id; /* and when it is far behind */
    struct subscription *subscription;
    struct pull_filter filter;
};

/* PL-16: where to read on. By 4.9.2's rule, and also when it is seen that the consumer costs this
 * broker's disk: what it was given came from there, or what is ahead of it is not in memory. */
static int64_t suggested_broker(const struct pull *pull, const struct get_result *got)
{
    struct broker *broker = pull->bl->broker;
    if (!broker->conf.slaveReadEnable)
        return 0;
    bool slow = got->far_behind || pull->from_disk ||
                (got->count > 0 && store_is_cold_ahead(broker->store, got->last_pos));
    return slow ? pull->slow_broker_id : pull->broker_id;
}

static void header_of(const struct pull *pull, const struct get_result *got,
                      PullMessageResponseHeader *header)
{
    pull_message_response_header__init(header);
    header->suggest_which_broker_id = suggested_broker(pull, got);
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
    lag_count(pull->bl, pull->topic, pull->queue_id, pull->group, got,
              code == RESPONSE_SUCCESS ? pull->took_ms : -1);
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
            parts[i] = range_part(&got->ranges[i]);
        response.parts = parts;
        response.part_count = (size_t)got->range_count;
    }
    net_reply(pull->to, &response);
}

/* An error; it has extFields, as every answer to a pull (RM-04). */
static void fail(const struct pull *pull, int32_t code, const char *remark)
{
    struct response response = {.code = code, .remark = remark};
    response.ext.present = true;
    net_reply(pull->to, &response);
}

/* Valid as long as the pull stays where it is. */
static struct get_request request_of(const struct pull *pull, int64_t from)
{
    bool everything = pull->subscription->match_all || pull->subscription->class_filter_mode;
    bool by_tags = !everything && pull->subscription->tag_type;
    return (struct get_request){
        .queue = pull->queue,
        .queue_offset = from,
        .max_messages = pull->max_messages,
        .filter = by_tags ? subscription_match : NULL,
        .filter_ctx = pull->subscription,
        .properties_filter =
            pull->subscription->class_filter_mode ? NULL : pull_filter_function(&pull->filter),
        .properties_filter_ctx = (void *)(uintptr_t)&pull->filter,
    };
}

/* False when it is on disk; see store_try_get. */
static bool read_queue(struct pull *pull, int64_t from, struct arena *arena, struct get_result *got)
{
    struct broker *broker = pull->bl->broker;
    struct get_request request = request_of(pull, from);
    int64_t started_ms = clock_monotonic_ms(broker->clock);
    bool here = store_try_get(broker->store, &request, arena, got);
    pull->took_ms = clock_monotonic_ms(broker->clock) - started_ms;
    stats_get_time(broker->stats, pull->took_ms);
    return here;
}

/* A copy that outlives the call. Takes over the reference to the subscription. */
static struct pull *keep(const struct pull *pull)
{
    struct pull *kept = xmalloc(sizeof *kept + pull->topic.size + 1 + pull->group.size + 1);
    uint8_t *names = (uint8_t *)(kept + 1);
    memcpy(names, pull->topic.data, pull->topic.size + 1);
    memcpy(names + pull->topic.size + 1, pull->group.data, pull->group.size + 1);
    *kept = *pull;
    kept->topic = slice_of(names, pull->topic.size);
    kept->group = slice_of(names + pull->topic.size + 1, pull->group.size);
    if (kept->filter.retry_filters != NULL) /* the group is the end of the topic */
        kept->filter.retry_group =
            slice_from(kept->topic, pull->topic.size - pull->filter.retry_group.size);
    kept->held.conn = pull->to.conn;
    kept->kept = true;
    return kept;
}

/* Memory of a kept pull. */
static size_t bytes_of(const struct pull *pull)
{
    return sizeof *pull + pull->topic.size + pull->group.size + 2 +
           (pull->own_subscription ? pull->subscription->bytes + pull_filter_bytes(&pull->filter)
                                   : 0) +
           (size_t)pull->held.code_count * sizeof(struct tag_wish);
}

/* The pull was answered, or declined. */
static void end(struct pull *pull)
{
    subscription_unref(pull->subscription);
    pull_filter_release(&pull->filter);
    if (pull->kept)
        free(pull);
}

/* PL-14: tell OFFSET_MOVED_EVENT that a consumer's offset was corrected. */
static void offset_moved(const struct pull *pull, int64_t offset_new)
{
    struct broker *broker = pull->bl->broker;
    const char *group = (const char *)pull->group.data;
    struct topic_config config;
    if (!topics_get(broker->topics, SLICE_LITERAL(TOPIC_OFFSET_MOVED_EVENT), &config))
        return;
    MessageQueue message_queue;
    message_queue__init(&message_queue);
    message_queue.broker_name = (char *)(uintptr_t)(const char *)broker->conf.brokerName;
    message_queue.queue_id = pull->queue_id;
    message_queue.topic = (char *)(uintptr_t)pull->topic.data;
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

/* --- answering, holding, reading from disk --- */

/* Have it held; false when it can not be: the queue can not exist, or the connection holds as much
 * as it may. The pull is then the caller's still. */
static bool hold(struct pull *pull)
{
    struct broker *broker = pull->bl->broker;
    if (pull->queue == NULL)
        pull->queue = store_queue(broker->store, pull->topic, pull->queue_id, true);
    if (pull->queue == NULL)
        return false;
    struct pull *kept = keep(pull);
    kept->held.looked_offset = kept->queue_offset;
    kept->held.queue = kept->queue;
    if (request_of(kept, 0).filter != NULL && kept->subscription->tag_type &&
        kept->subscription->code_count <= HELD_TAGS_MAX) {
        kept->held.codes = kept->subscription->codes;
        kept->held.code_count = kept->subscription->code_count;
    }
    kept->held.deadline_ms = kept->deadline_ms;
    kept->held.bytes = bytes_of(kept);
    if (hold_add(kept->bl->holds, &kept->held) != STATUS_OK) {
        free(kept);
        return false;
    }
    /* Once more, because what arrived before hold_add is not reported. */
    pull_on_arrival(kept->bl, &kept->held);
    return true;
}

/* Answer, or hold when nothing is new and the client can wait. */
static void settle(struct pull *pull, struct get_result *got, struct arena *arena)
{
    struct broker *broker = pull->bl->broker;
    int32_t code = code_of(pull, got);
    if (code == RESPONSE_PULL_NOT_FOUND && pull->deadline_ms != NO_DEADLINE && !broker->stopping &&
        hold(pull))
        return;
    if (code == RESPONSE_PULL_OFFSET_MOVED) {
        if (broker_is_slave(broker) && !broker->conf.offsetCheckInSlave) {
            got->next_begin_offset = pull->queue_offset;
            code = RESPONSE_PULL_RETRY_IMMEDIATELY;
        } else if (!broker_is_slave(broker)) {
            offset_moved(pull, got->next_begin_offset);
        }
    }
    count(pull, code, got);
    answer(pull, code, got, arena);
    end(pull);
}

/* Nothing is read any more: as if nothing new had been found. */
static void answer_nothing(const struct pull *pull, struct get_result *got, struct arena *arena)
{
    *got = (struct get_result){.status = GET_OFFSET_FOUND_NULL,
                               .next_begin_offset = pull->held.looked_offset};
    if (pull->queue != NULL) {
        got->min_offset = queue_min_offset(pull->queue);
        got->max_offset = queue_max_offset(pull->queue);
    }
    count(pull, RESPONSE_PULL_NOT_FOUND, got);
    answer(pull, RESPONSE_PULL_NOT_FOUND, got, arena);
}

/* On the loop again, with what was read. */
static void cold_resume(struct loop_task *task)
{
    struct cold_pull *cold = list_entry(task, struct cold_pull, task);
    struct cold_read *read = &cold->read;
    struct pull *pull = cold->pull;
    struct broker *broker = pull->bl->broker;
    if (!cold->removed)
        hold_remove(pull->bl->holds, &pull->held);
    pull->cold = NULL;
    pull->took_ms = clock_monotonic_ms(broker->clock) - cold->begun_ms;
    stats_get_time(broker->stats, pull->took_ms);
    if (cold->dropped) {
        for (int i = 0; read->status == STATUS_OK && i < read->result.range_count; i++)
            log_range_release(&read->result.ranges[i]);
        end(pull);
    } else if (read->status == STATUS_OK) {
        /* It is not held any more: what could not be read would be tried again at once. */
        pull->deadline_ms = NO_DEADLINE;
        settle(pull, &read->result, &read->arena);
    } else {
        if (read->status == STATUS_CLOSED)
            answer_nothing(pull, &read->result, &read->arena);
        else
            fail(pull, read->status == STATUS_BUSY ? RESPONSE_SYSTEM_BUSY : RESPONSE_SYSTEM_ERROR,
                 read->err.text);
        end(pull);
    }
    arena_release(&read->arena);
    free(cold);
}

/* On a thread of the store. */
static void cold_done(struct cold_read *read)
{
    struct cold_pull *cold = (struct cold_pull *)(void *)read;
    loop_post(cold->pull->bl->loop, &cold->task);
}

/* Hand a kept pull, which is in no table, to the cold readers. */
static void read_from_disk(struct pull *pull, int64_t from)
{
    struct broker *broker = pull->bl->broker;
    struct cold_pull *cold = xcalloc(1, sizeof *cold);
    cold->read.request = request_of(pull, from);
    cold->read.client = broker_client(broker, pull->to.conn);
    cold->read.done = cold_done;
    cold->task.run = cold_resume;
    cold->pull = pull;
    cold->begun_ms = clock_monotonic_ms(broker->clock);
    arena_init(&cold->read.arena, 1024);
    pull->held.looked_offset = from;
    pull->cold = cold;
    pull->from_disk = true;
    pull->held.bytes = bytes_of(pull) + sizeof *cold;
    enum status status = hold_park(pull->bl->holds, &pull->held);
    if (status == STATUS_OK) {
        status = store_read_cold(broker->store, &cold->read);
        if (status == STATUS_OK)
            return;
        hold_remove(pull->bl->holds, &pull->held);
    }
    fail(pull, RESPONSE_SYSTEM_BUSY,
         "[OVERLOAD]system busy, start flow control for a while: too many pulls wait for the "
         "broker's disk; try again later");
    end(pull);
    arena_release(&cold->read.arena);
    free(cold);
}

void pull_on_arrival(void *ctx, struct held *held)
{
    struct broker_loop *bl = ctx;
    struct pull *pull = (struct pull *)(void *)held;
    if (queue_max_offset(pull->queue) <= held->looked_offset)
        return;
    struct arena arena;
    struct get_result got;
    arena_init(&arena, 4096);
    if (!read_queue(pull, held->looked_offset, &arena, &got)) {
        hold_remove(bl->holds, held);
        read_from_disk(pull, held->looked_offset);
    } else if (got.status == GET_NO_MATCHED_MESSAGE && got.next_begin_offset >= got.max_offset) {
        held->looked_offset = got.next_begin_offset;
    } else { /* a look that was cut short is the client's to go on with */
        int32_t code = code_of(pull, &got);
        hold_remove(bl->holds, held);
        count(pull, code, &got);
        answer(pull, code, &got, &arena);
        end(pull);
    }
    arena_release(&arena);
}

/* The last look at a held pull. */
static void expire(struct pull *pull, struct arena *arena)
{
    struct get_result got;
    pull->deadline_ms = NO_DEADLINE;
    if (!read_queue(pull, pull->held.looked_offset, arena, &got)) {
        if (!pull->bl->broker->stopping) {
            read_from_disk(pull, pull->held.looked_offset);
            return;
        }
        answer_nothing(pull, &got, arena);
        end(pull);
        return;
    }
    int32_t code = code_of(pull, &got);
    if (code == RESPONSE_PULL_NOT_FOUND && pull->held.looked_offset > pull->queue_offset) {
        got.status = GET_NO_MATCHED_MESSAGE;
        code = RESPONSE_PULL_RETRY_IMMEDIATELY;
    }
    count(pull, code, &got);
    answer(pull, code, &got, arena);
    end(pull);
}

void pull_on_expire(void *ctx, struct held *held)
{
    (void)ctx;
    struct pull *pull = (struct pull *)(void *)held;
    if (pull->cold != NULL) { /* the broker stops: answered as soon as the readers give it back */
        pull->cold->removed = true;
        atomic_store(&pull->cold->read.cancelled, true);
        return;
    }
    struct arena arena;
    arena_init(&arena, 4096);
    expire(pull, &arena);
    arena_release(&arena);
}

void pull_on_drop(void *ctx, struct held *held)
{
    (void)ctx;
    struct pull *pull = (struct pull *)(void *)held;
    net_decline(pull->to);
    if (pull->cold != NULL) {
        pull->cold->removed = true;
        pull->cold->dropped = true;
        atomic_store(&pull->cold->read.cancelled, true);
        return;
    }
    end(pull);
}

/* A filter that takes nothing, but shows every tag. */
struct tag_look {
    void (*each)(void *ctx, int64_t tags_code);
    void *ctx;
};

static bool show_tag(void *ctx, int64_t tags_code)
{
    const struct tag_look *look = ctx;
    look->each(look->ctx, tags_code);
    return false;
}

int64_t pull_tags(void *ctx, struct queue *queue, int64_t from,
                  void (*each)(void *each_ctx, int64_t tags_code), void *each_ctx)
{
    struct broker_loop *bl = ctx;
    struct tag_look look = {each, each_ctx};
    struct get_request request = {.queue = queue,
                                  .queue_offset = from,
                                  .max_messages = 1,
                                  .filter = show_tag,
                                  .filter_ctx = &look};
    struct get_result got;
    struct arena arena;
    arena_init(&arena, 256);
    bool all_seen = store_try_get(bl->broker->store, &request, &arena, &got) &&
                    got.status == GET_NO_MATCHED_MESSAGE;
    arena_release(&arena);
    return all_seen ? got.next_begin_offset : from;
}

void broker_on_arrival(void *ctx, struct queue *queue)
{
    struct broker *broker = ctx;
    hold_arrival(broker->holds, queue);
    if (broker->pop_polls != NULL)
        pop_polls_arrival(broker->pop_polls, queue);
    if (broker->timer != NULL)
        timer_on_arrival(broker->timer, queue);
}

bool broker_may_expire(void *ctx, int64_t end_pos)
{
    struct broker *broker = ctx;
    return broker->timer == NULL || timer_may_expire(broker->timer, end_pos);
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
        enum status status = subscription_build(header->topic, header->subscription,
                                                header->expression_type, header->sub_version, out);
        if (status == STATUS_OK)
            return true;
        call_fail(call, RESPONSE_SUBSCRIPTION_PARSE_FAILED,
                  "parse the consumer's subscription failed: %s",
                  status == STATUS_TOO_LARGE ? "the expression is too long, or has too many tags"
                                             : "there is no tag in it, or no expression");
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

/* Until when the pull may be held, if at all. */
static int64_t deadline_of(const struct pull *pull, const PullMessageRequestHeader *header)
{
    const struct broker_conf *conf = &pull->bl->broker->conf;
    if ((header->sys_flag & PULL_FLAG_SUSPEND) == 0)
        return NO_DEADLINE;
    int64_t timeout_ms =
        conf->longPollingEnable ? header->suspend_timeout_millis : conf->shortPollingTimeMills;
    timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > SUSPEND_MAX_MS ? SUSPEND_MAX_MS : timeout_ms;
    return loop_now_ms(pull->bl->loop) + timeout_ms;
}

/* The first look. */
static void serve(struct broker *broker, struct call *call, const PullMessageRequestHeader *header,
                  struct pull *pull)
{
    struct get_result got;
    bool here = read_queue(pull, pull->queue_offset, call->arena, &got);
    if ((header->sys_flag & PULL_FLAG_COMMIT_OFFSET) != 0 && !broker_is_slave(broker))
        commit(broker, header);
    if (here)
        settle(pull, &got, call->arena);
    else
        read_from_disk(keep(pull), pull->queue_offset);
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
    struct pull_filter filter;
    if (!bind(call, &header) || !check(broker, call, &header, &group) ||
        !find_subscription(broker, call, &header, &group, &subscription))
        return;
    bool own = (header.sys_flag & PULL_FLAG_SUBSCRIPTION) != 0;
    if (!pull_filter_find(broker, call, &header, subscription, own, &filter)) {
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
        .queue_id = header.queue_id,
        .own_subscription = own,
        .subscription = subscription,
        .filter = filter,
    };
    pull.deadline_ms = deadline_of(&pull, &header);
    serve(broker, call, &header, &pull);
}
