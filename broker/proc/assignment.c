/* SPDX-License-Identifier: Apache-2.0
 *
 * QUERY_ASSIGNMENT and SET_MESSAGE_REQUEST_MODE: the broker tells a consumer which queues, of which
 * brokers, it is to pull or pop (QueryAssignmentProcessor of 5.3.3).
 *
 * An answer without the member messageQueueAssignments means "leave things as they are".
 */
#include "broker/proc/handlers.h"
#include "broker/proc/topic_routes.h"

#include "broker/state/assign.h"
#include "broker/state/request_modes.h"
#include "common/base/check.h"
#include "proto/body_json.h"

#include <stdlib.h>
#include <string.h>

#define MODEL_BROADCASTING_NAME "BROADCASTING"

/* A question while the route is looked up. */
struct assignment {
    struct route_wish wish; /* first */
    struct broker *broker;
    struct reply_to to;
    struct request_mode mode;
    bool broadcasting;
    enum assign_strategy strategy;
    struct arena arena;
    const char *group;
    const char *client_id;
};

/* The queues of a topic in the order of MessageQueue: by broker name, then by number. */
struct queue_list {
    const char **broker_names;
    int32_t *queue_ids;
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct route_queues *)a)->broker_name,
                  ((const struct route_queues *)b)->broker_name);
}

static struct queue_list list_queues(const struct route_queues *routes, int route_count,
                                     struct arena *arena)
{
    struct queue_list list = {0};
    size_t total = 0;
    struct route_queues *sorted = arena_alloc(arena, ((size_t)route_count + 1) * sizeof *sorted);
    for (int i = 0; i < route_count; i++) {
        sorted[i] = routes[i];
        total += (size_t)routes[i].read_queues;
    }
    qsort(sorted, (size_t)route_count, sizeof *sorted, by_name);
    list.broker_names = arena_alloc(arena, (total + 1) * sizeof *list.broker_names);
    list.queue_ids = arena_alloc(arena, (total + 1) * sizeof *list.queue_ids);
    for (int i = 0; i < route_count; i++)
        for (int32_t id = 0; id < sorted[i].read_queues; id++) {
            list.broker_names[list.count] = sorted[i].broker_name;
            list.queue_ids[list.count++] = id;
        }
    return list;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The consumer's place among the group's client ids, sorted; false: the group has no members.
 * *index is *count when it is not one of them. */
static bool place_of(struct assignment *assignment, size_t *index, size_t *count)
{
    struct client_info *members;
    size_t member_count = 0;
    if (!clients_consumer_members(assignment->broker->clients, slice_of_cstr(assignment->group),
                                  &assignment->arena, &members, &member_count) ||
        member_count == 0)
        return false;
    const char **ids = arena_alloc(&assignment->arena, member_count * sizeof *ids);
    for (size_t i = 0; i < member_count; i++)
        ids[i] = members[i].client_id;
    qsort(ids, member_count, sizeof *ids, by_text);
    *count = member_count;
    *index = 0;
    while (*index < member_count && strcmp(ids[*index], assignment->client_id) != 0)
        (*index)++;
    return true;
}

static void add_queue(struct assignment *assignment, QueryAssignmentResponseBody *body,
                      const char *broker_name, int32_t queue_id)
{
    MessageQueueAssignment *one = arena_alloc(&assignment->arena, sizeof *one);
    MessageQueue *queue = arena_alloc(&assignment->arena, sizeof *queue);
    message_queue_assignment__init(one);
    message_queue__init(queue);
    queue->topic = assignment->wish.topic;
    queue->broker_name = (char *)(uintptr_t)broker_name;
    queue->queue_id = queue_id;
    one->message_queue = queue;
    one->mode = (char *)(uintptr_t)(assignment->mode.pop ? "POP" : "PULL");
    body->message_queue_assignments[body->n_message_queue_assignments++] = one;
}

/* Pop of every queue of every broker: one entry each, with the queue -1. */
static void add_brokers(struct assignment *assignment, QueryAssignmentResponseBody *body,
                        const struct queue_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (i == 0 || strcmp(list->broker_names[i], list->broker_names[i - 1]) != 0)
            add_queue(assignment, body, list->broker_names[i], -1);
}

/* Fill the body; false: nothing can be said. */
static bool assign(struct assignment *assignment, const struct queue_list *list,
                   QueryAssignmentResponseBody *body)
{
    struct arena *arena = &assignment->arena;
    size_t index = 0;
    size_t members = 0;
    size_t count = 0;
    body->message_queue_assignments =
        arena_alloc(arena, (list->count + 1) * sizeof *body->message_queue_assignments);
    if (assignment->broadcasting) {
        for (size_t i = 0; i < list->count; i++)
            add_queue(assignment, body, list->broker_names[i], list->queue_ids[i]);
        return true;
    }
    if (!place_of(assignment, &index, &members))
        return false;
    size_t *chosen = arena_alloc(arena, (list->count + 1) * sizeof *chosen);
    if (!assignment->mode.pop) {
        assign_queues(assignment->strategy, list->count, members, index, chosen, &count);
    } else if (assign_pop_queues(assignment->strategy, list->count, members, index,
                                 assignment->mode.share_queues, chosen, &count)) {
        add_brokers(assignment, body, list);
        return true;
    }
    for (size_t i = 0; i < count; i++)
        add_queue(assignment, body, list->broker_names[chosen[i]], list->queue_ids[chosen[i]]);
    return true;
}

static void answer(struct assignment *assignment, const struct queue_list *list)
{
    QueryAssignmentResponseBody body;
    struct buf json = BUF_EMPTY;
    query_assignment_response_body__init(&body);
    if (list->count > 0 && assign(assignment, list, &body))
        body_encode(&body.base, BODY_COMPACT, &json);
    else
        buf_append_cstr(&json, "{}");
    struct response response = {.code = RESPONSE_SUCCESS, .body = buf_slice(&json)};
    net_reply(assignment->to, &response);
    buf_release(&json);
}

/* The route is there, or no name server could be asked: then what is known is this broker. */
static void routed(struct route_wish *wish, const struct route_queues *routes, int count)
{
    struct assignment *assignment = (struct assignment *)(void *)wish;
    struct broker *broker = assignment->broker;
    struct topic_config topic;
    struct route_queues own = {broker->conf.brokerName, 0};
    if (count < 0 && topics_get(broker->topics, slice_of_cstr(wish->topic), &topic) &&
        (topic.perm & PERM_READ) != 0) {
        own.read_queues = topic.read_queues;
        routes = &own;
        count = 1;
    }
    struct queue_list list = list_queues(routes, count < 0 ? 0 : count, &assignment->arena);
    answer(assignment, &list);
    arena_release(&assignment->arena);
    free(assignment);
}

void handle_query_assignment(struct broker *broker, struct call *call)
{
    QueryAssignmentRequestBody body;
    enum assign_strategy strategy = ASSIGN_AVERAGELY;
    query_assignment_request_body__init(&body);
    if (!call_decode_body(call, &body.base))
        return;
    bool broadcasting = strcmp(body.message_model, MODEL_BROADCASTING_NAME) == 0;
    size_t topic_bytes = strlen(body.topic);
    if (topic_bytes == 0 || topic_bytes > TOPIC_BYTES_MAX ||
        (!broadcasting && !assign_strategy_parse(body.strategy_name, &strategy))) {
        struct response response = {.code = RESPONSE_SUCCESS, .body = SLICE_LITERAL("{}")};
        net_reply(call_reply_to(call), &response);
        return;
    }
    struct assignment *assignment = xcalloc(1, sizeof *assignment);
    arena_init(&assignment->arena, 4096);
    assignment->broker = broker;
    assignment->to = call_reply_to(call);
    assignment->broadcasting = broadcasting;
    assignment->strategy = strategy;
    assignment->group = arena_cstr(&assignment->arena, slice_of_cstr(body.consumer_group));
    assignment->client_id = arena_cstr(&assignment->arena, slice_of_cstr(body.client_id));
    (void)request_modes_get(broker->request_modes, slice_of_cstr(body.topic),
                            slice_of_cstr(body.consumer_group), &assignment->mode);
    memcpy(assignment->wish.topic, body.topic, topic_bytes + 1);
    assignment->wish.done = routed;
    topic_routes_ask(broker->topic_routes, &assignment->wish);
}

void handle_set_message_request_mode(struct broker *broker, struct call *call)
{
    SetMessageRequestModeRequestBody body;
    struct topic_config topic;
    struct group_config group;
    struct err err = {0};
    set_message_request_mode_request_body__init(&body);
    if (!call_decode_body(call, &body.base))
        return;
    struct slice topic_name = slice_of_cstr(body.topic);
    struct slice group_name = slice_of_cstr(body.consumer_group);
    struct request_mode mode = {.pop = strcmp(body.mode, "POP") == 0,
                                .share_queues = body.pop_share_queue_num};
    if (slice_starts_with(topic_name, SLICE_LITERAL(TOPIC_RETRY_PREFIX))) {
        call_fail(call, RESPONSE_NO_PERMISSION, "retry topic is not allowed to set mode");
    } else if (!topics_get(broker->topics, topic_name, &topic)) {
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST, "topic[%s] not exist", body.topic);
    } else if (!groups_get(broker->groups, group_name, broker->conf.autoCreateSubscriptionGroup,
                           &group)) {
        call_fail(call, RESPONSE_SUBSCRIPTION_GROUP_NOT_EXIST, "subscription group does not exist");
    } else if (!mode.pop && strcmp(body.mode, "PULL") != 0) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the mode \"%.64s\" is neither PULL nor POP",
                  body.mode);
    } else {
        enum status status =
            request_modes_put(broker->request_modes, topic_name, group_name, &mode);
        if (status == STATUS_OK)
            status = request_modes_persist(broker->request_modes, &err);
        else
            (void)err_set(&err, status, "%s", status_text(status));
        if (status == STATUS_OK)
            call_succeed(call, NULL);
        else
            call_fail(call, RESPONSE_SYSTEM_ERROR, "the mode is not stored: %s", err.text);
    }
}
