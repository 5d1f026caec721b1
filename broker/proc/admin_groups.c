/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscription groups and the tables that slaves copy (AD-05 to AD-07, AD-10; parts of
 * AdminBrokerProcessor of 4.9.2). On the worker pool: changes are written to disk before they are
 * answered.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/base/limits.h"
#include "proto/header.pb-c.h"

/* Save the groups, and answer when that fails. */
static bool persist(struct broker *broker, struct call *call)
{
    struct err err = {0};
    if (groups_persist(broker->groups, &err) == STATUS_OK)
        return true;
    call_fail(call, RESPONSE_SYSTEM_ERROR, "the change was not saved: %s", err.text);
    return false;
}

void handle_update_and_create_subscriptiongroup(struct broker *broker, struct call *call)
{
    SubscriptionGroupConfig body;
    struct group_config config;
    subscription_group_config__init(&body);
    if (!call_decode_body(call, &body.base))
        return;
    struct slice name = slice_of_cstr(body.group_name);
    if (name.size == 0 || name.size > GROUP_BYTES_MAX) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "the groupName has %zu characters; 1 to %d are allowed", name.size,
                  GROUP_BYTES_MAX);
        return;
    }
    if (body.retry_queue_nums > TOPIC_QUEUES_MAX) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "retryQueueNums %d is larger than %d",
                  (int)body.retry_queue_nums, TOPIC_QUEUES_MAX);
        return;
    }
    group_config_from_body(&body, &config);
    if (groups_put(broker->groups, name, &config) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "the group was not made: there are %d groups already; delete some", GROUPS_MAX);
        return;
    }
    if (!persist(broker, call))
        return;
    call_succeed(call, NULL);
}

void handle_delete_subscriptiongroup(struct broker *broker, struct call *call)
{
    DeleteSubscriptionGroupRequestHeader header;
    delete_subscription_group_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    struct slice name = slice_of_cstr(header.group_name);
    (void)groups_remove(broker->groups, name);
    topic_stats_group_deleted(broker->topic_stats, name);
    if (header.has_remove_offset && header.remove_offset)
        offsets_remove_group(broker->offsets, name);
    if (!persist(broker, call))
        return;
    call_succeed(call, NULL);
}

void handle_get_all_subscriptiongroup_config(struct broker *broker, struct call *call)
{
    SubscriptionGroupWrapper body;
    subscription_group_wrapper__init(&body);
    groups_wrap(broker->groups, call->arena, &body);
    call_succeed_body(call, NULL, &body.base);
}

void handle_get_all_consumer_offset(struct broker *broker, struct call *call)
{
    ConsumerOffsetSerializeWrapper body;
    consumer_offset_serialize_wrapper__init(&body);
    offsets_wrap(broker->offsets, call->arena, &body);
    call_succeed_body(call, NULL, &body.base);
}

void handle_get_all_delay_offset(struct broker *broker, struct call *call)
{
    DelayOffsetSerializeWrapper body;
    delay_offset_serialize_wrapper__init(&body);
    delay_wrap(broker->delay, call->arena, &body);
    call_succeed_body(call, NULL, &body.base);
}
