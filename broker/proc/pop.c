/* SPDX-License-Identifier: Apache-2.0
 *
 * POP_MESSAGE, NOTIFICATION, PEEK_MESSAGE and POLLING_INFO: checks, long polling, answers. The
 * order of the checks, codes and remarks are 5.3.3's (PopMessageProcessor, NotificationProcessor).
 *
 * A pop goes round its queues (pop_read.c). One that finds nothing waits until something arrives
 * for its topic or retry topic (broker/state/pop_polls.h), and goes round again when it is woken.
 * It is parked in its loop's table of pops from the beginning to the answer, so that it counts
 * against what a connection may have, and hears of its end.
 *
 * Who may free a pop: whoever takes it out of waiting. While a round is under way that is the
 * round's end; while it is woken, the task that was posted; else the timer or the table.
 */
#include "broker/proc/pop.h"

#include "broker/proc/handlers.h"
#include "broker/proc/registrar.h"
#include "broker/state/subscription.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"
#include "proto/pop_handle.h"

#include <stdlib.h>

/* Bound of pollTime: clients ask for 15 to 30 s. */
#define POLL_MAX_MS 600000

static struct pop *pop_of(struct pop_poll *poll)
{
    return list_entry(poll, struct pop, poll);
}

static void release_round(struct pop *pop, bool parts_too)
{
    struct pop_round *round = pop->round;
    if (round == NULL)
        return;
    CHECK(round->taken == NULL);
    for (size_t i = 0; parts_too && i < round->part_count; i++)
        round->parts[i].release(round->parts[i].owner);
    buf_release(&round->start_info);
    buf_release(&round->message_info);
    buf_release(&round->count_info);
    arena_release(&round->arena);
    free(round);
    pop->round = NULL;
}

/* The pop was answered, or declined. */
static void end(struct pop *pop)
{
    release_round(pop, false);
    if (pop->parked)
        hold_remove(pop->bl->pops, &pop->held);
    if (pop->timer != NULL)
        loop_timer_free(pop->timer);
    if (pop->subscription != NULL)
        subscription_unref(pop->subscription);
    pull_filter_release(&pop->filter);
    free(pop);
}

/* --- answers --- */

/* The end of the round's texts, for the header. */
static char *text_of(struct buf *text)
{
    buf_append_byte(text, 0);
    return (char *)text->data;
}

static void answer_pop(struct pop *pop, int32_t code, const char *remark)
{
    struct pop_round *round = pop->round;
    PopMessageResponseHeader header;
    pop_message_response_header__init(&header);
    header.invisible_time = pop->invisible_ms;
    header.pop_time = round->pop_time_ms;
    header.revive_qid = round->revive_queue;
    header.rest_num = round->rest;
    header.start_offset_info = text_of(&round->start_info);
    header.msg_offset_info = text_of(&round->message_info);
    if (pop->order)
        header.order_count_info = text_of(&round->count_info);
    struct response response = {.code = code,
                                .remark = remark,
                                .header = &header.base,
                                .parts = round->parts,
                                .part_count = round->part_count};
    net_reply(pop->to, &response);
}

static void answer_notification(const struct pop *pop, bool has_message, bool full)
{
    NotificationResponseHeader header;
    notification_response_header__init(&header);
    header.has_msg = has_message;
    header.has_polling_full = true;
    header.polling_full = full;
    struct response response = {.code = RESPONSE_SUCCESS, .header = &header.base};
    net_reply(pop->to, &response);
}

/* Nothing was found, and it does not wait any longer. */
static void answer_nothing(struct pop *pop, bool full)
{
    if (pop->round == NULL) { /* it did not look */
        pop->round = xcalloc(1, sizeof *pop->round);
        arena_init(&pop->round->arena, 1024);
        pop->round->pop_time_ms = clock_wall_ms(pop->bl->broker->clock);
    }
    if (pop->kind == POP_KIND_NOTIFY)
        answer_notification(pop, false, full);
    else
        answer_pop(pop,
                   full                         ? RESPONSE_POLLING_FULL
                   : pop->kind == POP_KIND_PEEK ? RESPONSE_PULL_NOT_FOUND
                                                : RESPONSE_POLLING_TIMEOUT,
                   "NO_MESSAGE_IN_QUEUE");
    end(pop);
}

static void answer_found(struct pop *pop)
{
    struct broker *broker = pop->bl->broker;
    bool more = pop->round->more;
    if (pop->kind == POP_KIND_NOTIFY) {
        answer_notification(pop, true, false);
    } else {
        stats_get(broker->stats, true, pop->round->found);
        answer_pop(pop, RESPONSE_SUCCESS, "FOUND");
        if (more && pop->kind == POP_KIND_POP)
            pop_polls_wake(broker->pop_polls, pop->topic, pop->group, pop->queue_id);
    }
    end(pop);
}

void pop_round_failed(struct pop *pop, int32_t code, const char *remark)
{
    struct response response = {.code = code, .remark = remark};
    response.ext.present = true;
    net_reply(pop->to, &response);
    end(pop);
}

/* --- waiting --- */

static bool time_is_up(const struct pop *pop)
{
    return pop->deadline_ms == 0 || loop_now_ms(pop->bl->loop) >= pop->deadline_ms ||
           pop->bl->broker->stopping;
}

static void timer_fired(void *ctx)
{
    struct pop *pop = ctx;
    /* Otherwise its task or its round is on the way, and looks at the clock. */
    if (pop->round == NULL && pop_polls_cancel(pop->bl->broker->pop_polls, &pop->poll))
        pop_round_run(pop);
}

/* The connection has gone: what it was woken for is another one's. */
static void end_dropped(struct pop *pop)
{
    pop_polls_wake(pop->bl->broker->pop_polls, pop->topic, pop->group, pop->queue_id);
    end(pop);
}

static void go_round_again(struct loop_task *task)
{
    struct pop *pop = pop_of(list_entry(task, struct pop_poll, woken));
    if (pop->round != NULL)
        pop_round_go_on(pop);
    else if (pop->dropped)
        end_dropped(pop);
    else
        pop_round_run(pop);
}

/* For the end of its time, or before that for when a queue is not held up any more. */
static void set_timer(struct pop *pop, int64_t free_ms)
{
    int64_t wait_ms = pop->deadline_ms - loop_now_ms(pop->bl->loop);
    int64_t free_wait_ms = free_ms - clock_wall_ms(pop->bl->broker->clock);
    if (free_ms != 0 && free_wait_ms < wait_ms)
        wait_ms = free_wait_ms;
    if (pop->timer == NULL)
        pop->timer = loop_timer_new(pop->bl->loop, timer_fired, pop);
    loop_timer_set(pop->timer, wait_ms < 1 ? 1 : wait_ms);
}

static struct poll_target target_of(const struct pop *pop)
{
    struct topics *topics = pop->bl->broker->topics;
    struct topic_config topic = {0};
    struct topic_config retry = {0};
    (void)topics_get(topics, pop->topic, &topic);
    (void)topics_get(topics, pop->retry_topic, &retry);
    return (struct poll_target){
        .topic = pop->topic,
        .group = pop->group,
        .retry_topic = pop->retry_topic,
        .queues = topic.read_queues > 0 ? topic.read_queues : 0,
        .retry_queues = retry.read_queues > 0 ? retry.read_queues : 0,
    };
}

/* Wait, or go round again at once because there may be more by now. */
static void wait_for_more(struct pop *pop, uint64_t mark)
{
    struct pop_polls *polls = pop->bl->broker->pop_polls;
    struct poll_target target = target_of(pop);
    int64_t now_ms = loop_now_ms(pop->bl->loop);
    bool again = pop->round->more;
    int64_t free_ms = pop->round->free_ms;
    enum status status = STATUS_EXISTS;
    release_round(pop, false);
    set_timer(pop, free_ms);
    if (!again)
        status = pop_polls_wait(polls, &target, &pop->poll, mark, now_ms);
    if (status == STATUS_OK)
        return;
    if (status == STATUS_NOT_FOUND && pop_polls_watch(polls, &target, now_ms) == POLL_MARK_NONE) {
        answer_nothing(pop, true);
        return;
    }
    /* In the loop's next turn, so that others have theirs. */
    loop_post(pop->bl->loop, &pop->poll.woken);
}

void pop_round_done(struct pop *pop)
{
    if (pop->dropped) {
        release_round(pop, true);
        end_dropped(pop);
    } else if (pop->round->found > 0) {
        answer_found(pop);
    } else if (time_is_up(pop) || pop->ended) {
        stats_get(pop->bl->broker->stats, false, 0);
        answer_nothing(pop, false);
    } else {
        wait_for_more(pop, pop->round->mark);
    }
}

void pop_on_arrival(void *ctx, struct held *held)
{
    (void)ctx;
    (void)held; /* pops are only parked */
}

/* Out of the table already: the connection has gone, or the broker stops. */
static void leave(struct pop *pop)
{
    pop->parked = false;
    pop->ended = true;
    pop_cancel_cold(pop);
}

void pop_on_expire(void *ctx, struct held *held)
{
    (void)ctx;
    struct pop *pop = (struct pop *)(void *)held;
    leave(pop);
    if (pop->round == NULL && pop_polls_cancel(pop->bl->broker->pop_polls, &pop->poll))
        answer_nothing(pop, false); /* the broker stops */
}

void pop_on_drop(void *ctx, struct held *held)
{
    (void)ctx;
    struct pop *pop = (struct pop *)(void *)held;
    leave(pop);
    pop->dropped = true;
    net_decline(pop->to);
    if (pop->round == NULL && pop_polls_cancel(pop->bl->broker->pop_polls, &pop->poll))
        end(pop);
}

void pop_on_retry_topic(void *ctx, struct slice topic, struct slice group, struct slice retry_topic)
{
    struct broker *broker = ctx;
    registrar_announce(broker->registrar);
    pop_polls_retry_topic(broker->pop_polls, topic, group, retry_topic);
}

/* --- checks --- */

/* What a pop and a notification have in common, once their headers are read. */
struct pop_request {
    const char *group;
    const char *topic;
    int32_t queue_id;
    int64_t poll_ms;
    const char *what; /* in remarks */
};

static bool check_names(struct broker *broker, struct call *call, const struct pop_request *request)
{
    struct topic_config topic;
    if ((broker->conf.brokerPermission & PERM_READ) == 0) {
        call_fail(call, RESPONSE_NO_PERMISSION, "the broker[%s] %s is forbidden",
                  (const char *)broker->conf.brokerIP1, request->what);
        return false;
    }
    if (broker->pop_ledger == NULL) {
        call_fail(call, RESPONSE_NO_PERMISSION,
                  "the broker[%s] %s is forbidden: it is a slave, ask its master",
                  (const char *)broker->conf.brokerIP1, request->what);
        return false;
    }
    if (!topics_get(broker->topics, slice_of_cstr(request->topic), &topic)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST,
                  "topic[%s] not exist, apply first please! " SEE_FAQ, request->topic);
        return false;
    }
    if ((topic.perm & PERM_READ) == 0) {
        call_fail(call, RESPONSE_NO_PERMISSION, "the topic[%s] peeking message is forbidden",
                  request->topic);
        return false;
    }
    if (request->queue_id < POP_ANY_QUEUE || request->queue_id >= topic.read_queues) {
        char peer[HOST_TEXT_BYTES];
        host_format(&call->peer, peer);
        call_fail(call, RESPONSE_INVALID_PARAMETER,
                  "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] "
                  "consumer:[/%s]",
                  (int)request->queue_id, request->topic, (int)topic.read_queues, peer);
        return false;
    }
    return true;
}

static bool check_group(struct broker *broker, struct call *call, const struct pop_request *request)
{
    struct group_config group;
    if (!groups_get(broker->groups, slice_of_cstr(request->group),
                    broker->conf.autoCreateSubscriptionGroup, &group)) {
        call_fail(call, RESPONSE_SUBSCRIPTION_GROUP_NOT_EXIST,
                  "subscription group [%s] does not exist, " SEE_FAQ, request->group);
        return false;
    }
    if (!group.consume_enable) {
        call_fail(call, RESPONSE_NO_PERMISSION, "subscription group no permission, %s",
                  request->group);
        return false;
    }
    struct buf name = BUF_EMPTY;
    /* By the name of V1: that of V2 is as long, and its + stands for no character of a client's. */
    pop_retry_topic(slice_of_cstr(request->topic), slice_of_cstr(request->group), POP_RETRY_V1,
                    &name);
    const char *fault = topic_name_fault(buf_slice(&name));
    buf_release(&name);
    if (fault == NULL)
        return true;
    call_fail(call, RESPONSE_INVALID_PARAMETER,
              "messages of topic[%s] that group[%s] does not acknowledge would go to a topic "
              "%%RETRY%%group_topic, which can not be: %s",
              request->topic, request->group, fault);
    return false;
}

static bool find_filter(struct broker *broker, struct call *call,
                        const PopMessageRequestHeader *header, struct subscription **out,
                        struct pull_filter *filter)
{
    const char *expression = header->exp == NULL || header->exp[0] == '\0' ? "*" : header->exp;
    enum status status = subscription_build(header->topic, expression, header->exp_type, 0, out);
    if (status == STATUS_OK && (*out)->tag_type)
        return true;
    if (status == STATUS_OK) {
        if (pull_filter_find_own(broker, call, *out, filter))
            return true;
        subscription_unref(*out);
    } else {
        call_fail(call, RESPONSE_SUBSCRIPTION_PARSE_FAILED,
                  "parse the consumer's subscription failed: no tag is left of \"%s\"", expression);
    }
    return false;
}

/* --- beginning --- */

static enum pop_retry retry_of(const struct broker *broker)
{
    return broker->conf.enableRetryTopicV2 ? POP_RETRY_V2 : POP_RETRY_V1;
}

/* Copy a name to *at, with a NUL behind it. */
static struct slice add_name(char **at, struct slice name)
{
    char *copy = *at;
    if (name.size > 0)
        memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    *at += name.size + 1;
    return slice_of(copy, name.size);
}

/* Park it and go. Takes over `subscription` and the model's filter. */
static void begin(struct broker *broker, struct call *call, const struct pop_request *request,
                  enum pop_kind kind, struct subscription *subscription, struct pop model)
{
    struct buf retry = BUF_EMPTY;
    struct buf old_retry = BUF_EMPTY;
    struct slice topic = slice_of_cstr(request->topic);
    struct slice group = slice_of_cstr(request->group);
    pop_retry_topic(topic, group, retry_of(broker), &retry);
    pop_retry_topic(topic, group, POP_RETRY_V1, &old_retry);
    const struct slice names[] = {topic, group, buf_slice(&retry), buf_slice(&old_retry),
                                  model.order ? model.attempt : SLICE_EMPTY};
    size_t name_bytes = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        name_bytes += names[i].size + 1;
    struct pop *pop = xmalloc(sizeof *pop + name_bytes);
    char *at = (char *)(pop + 1);
    *pop = model;
    pop->topic = add_name(&at, names[0]);
    pop->group = add_name(&at, names[1]);
    pop->retry_topic = add_name(&at, names[2]);
    pop->old_retry_topic = add_name(&at, names[3]);
    pop->attempt = add_name(&at, names[4]);
    buf_release(&old_retry);
    buf_release(&retry);
    pop->bl = broker_loop_of(broker, call);
    pop->to = call_reply_to(call);
    pop->kind = kind;
    pop->subscription = subscription;
    pop->queue_id = request->queue_id;
    pop->retry = retry_of(broker);
    pop->poll.loop = pop->bl->loop;
    pop->poll.woken.run = go_round_again;
    pop->poll.queue_id = request->queue_id;
    if (request->poll_ms > 0)
        pop->deadline_ms = loop_now_ms(pop->bl->loop) +
                           (request->poll_ms > POLL_MAX_MS ? POLL_MAX_MS : request->poll_ms);
    pop->held.conn = pop->to.conn;
    pop->held.bytes = sizeof *pop + name_bytes + sizeof(struct pop_round) +
                      (subscription == NULL ? 0 : subscription->bytes) +
                      pull_filter_bytes(&pop->filter);
    if (hold_park(pop->bl->pops, &pop->held) != STATUS_OK) {
        answer_nothing(pop, true);
        return;
    }
    pop->parked = true;
    pop_round_run(pop);
}

void handle_pop_message(struct broker *broker, struct call *call)
{
    PopMessageRequestHeader header;
    struct subscription *subscription = NULL;
    struct pull_filter filter = {.filter = NULL};
    pop_message_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    struct pop_request request = {header.consumer_group, header.topic, header.queue_id,
                                  header.poll_time, "pop message"};
    if (header.max_msg_nums < 1 || header.max_msg_nums > POP_MESSAGES_MAX) {
        call_fail(call, RESPONSE_INVALID_PARAMETER, "the broker[%s] pop message's num is %s",
                  (const char *)broker->conf.brokerIP1,
                  header.max_msg_nums < 1 ? "less than 1" : "greater than 32");
        return;
    }
    if (header.invisible_time < 0) {
        call_fail(call, RESPONSE_INVALID_PARAMETER, "the invisibleTime %lld is below 0",
                  (long long)header.invisible_time);
        return;
    }
    if (!check_names(broker, call, &request) || !check_group(broker, call, &request) ||
        !find_filter(broker, call, &header, &subscription, &filter))
        return;
    begin(broker, call, &request, POP_KIND_POP, subscription,
          (struct pop){.invisible_ms = header.invisible_time,
                       .init_mode = header.init_mode,
                       .max_messages = header.max_msg_nums,
                       .order = header.has_order && header.order,
                       .attempt = slice_of_cstr(header.attempt_id),
                       .filter = filter});
}

void handle_notification(struct broker *broker, struct call *call)
{
    NotificationRequestHeader header;
    notification_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    struct pop_request request = {header.consumer_group, header.topic, header.queue_id,
                                  header.poll_time, "notification"};
    if (check_names(broker, call, &request) && check_group(broker, call, &request))
        begin(broker, call, &request, POP_KIND_NOTIFY, NULL,
              (struct pop){.init_mode = INIT_MODE_MIN, .max_messages = 1});
}

void handle_peek_message(struct broker *broker, struct call *call)
{
    PeekMessageRequestHeader header;
    peek_message_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    struct pop_request request = {header.consumer_group, header.topic, header.queue_id, 0,
                                  "peeking message"};
    if (!check_names(broker, call, &request) || !check_group(broker, call, &request))
        return;
    int most = header.max_msg_nums < 1                  ? 1
               : header.max_msg_nums > POP_MESSAGES_MAX ? POP_MESSAGES_MAX
                                                        : header.max_msg_nums;
    begin(broker, call, &request, POP_KIND_PEEK, NULL, (struct pop){.max_messages = most});
}

void handle_polling_info(struct broker *broker, struct call *call)
{
    PollingInfoRequestHeader header;
    PollingInfoResponseHeader response;
    polling_info_request_header__init(&header);
    polling_info_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    struct pop_request request = {header.consumer_group, header.topic, header.queue_id, 0,
                                  "polling info"};
    if (!check_names(broker, call, &request) || !check_group(broker, call, &request))
        return;
    response.polling_num = pop_polls_count(broker->pop_polls, slice_of_cstr(header.topic),
                                           slice_of_cstr(header.consumer_group), header.queue_id);
    call_succeed(call, &response.base);
}
