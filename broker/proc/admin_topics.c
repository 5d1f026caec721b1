/* SPDX-License-Identifier: Apache-2.0
 *
 * Topics as an administrator changes and lists them (TP-07, TP-08, AD-01, AD-13; parts of
 * AdminBrokerProcessor of 4.9.2). On the worker pool: changes are written to disk before they are
 * answered.
 */
#include "broker/proc/admin.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/registrar.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/header.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* Answer a call when the round of registrations that follows it is over. */
struct after_registration {
    struct reply_to to;
};

static void answer_registered(void *ctx)
{
    struct after_registration *after = ctx;
    struct response response = {.code = RESPONSE_SUCCESS};
    net_reply(after->to, &response);
    free(after);
}

/* TP-02 and TP-03. False when the call was answered. */
static bool check_name(struct broker *broker, struct call *call, struct slice topic)
{
    const char *fault = topic_name_fault(topic);
    if (fault != NULL)
        call_fail(call, RESPONSE_SYSTEM_ERROR, "%s", fault);
    else if (topics_is_system(broker->topics, topic))
        call_fail(call, RESPONSE_SYSTEM_ERROR, "The topic[%.*s] is conflict with system topic.",
                  SLICE_ARGS(topic));
    else
        return true;
    return false;
}

static bool check_shape(struct call *call, const CreateTopicRequestHeader *header)
{
    bool known_filter = strcmp(header->topic_filter_type, "SINGLE_TAG") == 0 ||
                        strcmp(header->topic_filter_type, "MULTI_TAG") == 0;
    if (header->read_queue_nums < 0 || header->read_queue_nums > TOPIC_QUEUES_MAX ||
        header->write_queue_nums < 0 || header->write_queue_nums > TOPIC_QUEUES_MAX)
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "readQueueNums %d and writeQueueNums %d must lie between 0 and %d",
                  (int)header->read_queue_nums, (int)header->write_queue_nums, TOPIC_QUEUES_MAX);
    else if (header->perm < 0 || header->perm > (PERM_INHERIT | PERM_READ | PERM_WRITE))
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "perm %d is not a sum of 4 (read), 2 (write) and 1 (inherit)", (int)header->perm);
    else if (!known_filter)
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "topicFilterType = [%s] value invalid: SINGLE_TAG and MULTI_TAG are known",
                  header->topic_filter_type);
    else
        return true;
    return false;
}

void handle_update_and_create_topic(struct broker *broker, struct call *call)
{
    static const char *const spare[] = {"defaultTopic", "order", NULL};
    CreateTopicRequestHeader header;
    struct err err = {0};
    create_topic_request_header__init(&header);
    if (!call_bind_lenient(call, &header.base, spare))
        return;
    struct slice name = slice_of_cstr(header.topic);
    if (!check_name(broker, call, name) || !check_shape(call, &header))
        return;
    struct topic_config config = {
        .read_queues = header.read_queue_nums,
        .write_queues = header.write_queue_nums,
        .perm = header.perm,
        .sys_flag = header.has_topic_sys_flag ? header.topic_sys_flag : 0,
        .multi_tag = strcmp(header.topic_filter_type, "MULTI_TAG") == 0,
    };
    if (topics_put(broker->topics, name, &config) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the topic was not made: there are too many topics");
        return;
    }
    if (topics_persist(broker->topics, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the topic was not saved: %s", err.text);
        return;
    }
    struct after_registration *after = xmalloc(sizeof *after);
    after->to = call_reply_to(call);
    registrar_announce_then(broker->registrar, answer_registered, after);
}

bool admin_queue_has_no_topic(void *ctx, struct slice topic)
{
    struct broker *broker = ctx;
    struct topic_config config;
    return !topics_get(broker->topics, topic, &config) && !slice_is(topic, TOPIC_SCHEDULE) &&
           !slice_is(topic, TOPIC_TIMER) && !slice_is(topic, TOPIC_TRANS_OP_HALF) &&
           !slice_is(topic, TOPIC_TRANS_HALF);
}

void handle_delete_topic_in_broker(struct broker *broker, struct call *call)
{
    DeleteTopicRequestHeader header;
    struct err err = {0};
    delete_topic_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    struct slice name = slice_of_cstr(header.topic);
    if (!check_name(broker, call, name))
        return;
    (void)topics_remove(broker->topics, name);
    topic_stats_topic_deleted(broker->topic_stats, name);
    if (topics_persist(broker->topics, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the removal was not saved: %s", err.text);
        return;
    }
    store_delete_queues(broker->store, admin_queue_has_no_topic, broker);
    call_succeed(call, NULL);
}

void handle_get_all_topic_config(struct broker *broker, struct call *call)
{
    GetAllTopicConfigResponseHeader header;
    TopicConfigSerializeWrapper body;
    get_all_topic_config_response_header__init(&header);
    topic_config_serialize_wrapper__init(&body);
    topics_wrap(broker->topics, NULL, -1, call->arena, &body);
    call_succeed_body(call, &header.base, &body.base);
}

struct system_topics {
    struct arena *arena;
    char **names;
    size_t count;
    size_t capacity;
};

static void add_name(void *ctx, struct slice name)
{
    struct system_topics *list = ctx;
    list->names =
        arena_grow(list->arena, list->names, sizeof *list->names, list->count, &list->capacity);
    list->names[list->count++] = (char *)(uintptr_t)name.data;
}

void handle_get_system_topic_list_from_broker(struct broker *broker, struct call *call)
{
    struct system_topics list = {.arena = call->arena};
    TopicList body;
    topic_list__init(&body);
    topics_walk_system(broker->topics, add_name, &list);
    body.n_topic_list = list.count;
    body.topic_list = list.names;
    call_succeed_body(call, NULL, &body.base);
}
