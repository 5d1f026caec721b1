/* SPDX-License-Identifier: Apache-2.0
 *
 * GET_TOPIC_CONFIG (AdminBrokerProcessor of 5.3.3): one topic's configuration, without the mapping
 * of static topics, which do not exist here.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "proto/header.pb-c.h"

void handle_get_topic_config(struct broker *broker, struct call *call)
{
    GetTopicConfigRequestHeader header;
    TopicConfigSerializeWrapper topics;
    get_topic_config_request_header__init(&header);
    topic_config_serialize_wrapper__init(&topics);
    if (!call_bind(call, &header.base))
        return;
    topics_wrap(broker->topics, header.topic, -1, call->arena, &topics);
    if (topics.n_topic_config_table == 0)
        call_fail(call, RESPONSE_TOPIC_NOT_EXIST, "No topic in this broker. topic: %s",
                  header.topic);
    else
        call_succeed_body(call, NULL, &topics.topic_config_table[0]->value->base);
}
