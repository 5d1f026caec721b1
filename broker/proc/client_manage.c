/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients tell and ask about themselves: heartbeats, unregistration, group members, queue
 * locks (ClientManageProcessor, ConsumerManageProcessor and parts of AdminBrokerProcessor of
 * 4.9.2).
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/notifier.h"
#include "broker/proc/registrar.h"

#include "common/base/check.h"
#include "proto/header.pb-c.h"

#include <string.h>

/* CL-01: the group exists and has its retry topic from the first heartbeat on. */
static void ensure_group(struct broker *broker, struct call *call, const ConsumerData *data)
{
    struct group_config group;
    struct topic_config topic;
    bool created = false;
    if (!groups_get(broker->groups, slice_of_cstr(data->group_name),
                    broker->conf.autoCreateSubscriptionGroup, &group))
        return;
    const char *name = arena_printf(call->arena, "%s%s", TOPIC_RETRY_PREFIX, data->group_name);
    if (topic_name_fault(slice_of_cstr(name)) != NULL)
        return; /* a name no client of ours can have; nothing could ever be sent there */
    /* Not saved here: a send that comes before the housekeeper has done so waits for it. */
    if (topics_ensure(broker->topics, slice_of_cstr(name), group.retry_queues,
                      PERM_READ | PERM_WRITE, data->unit_mode ? TOPIC_SYS_FLAG_UNIT_SUB : 0, &topic,
                      &created) == STATUS_OK &&
        created)
        registrar_announce(broker->registrar);
}

void handle_heart_beat(struct broker *broker, struct call *call)
{
    HeartbeatData data;
    heartbeat_data__init(&data);
    if (!call_decode_body(call, &data.base))
        return;
    if (data.client_i_d[0] == '\0') {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the heartbeat has no clientID");
        return;
    }
    int64_t now_ms = clock_monotonic_ms(broker->clock);
    uint8_t language = call->request->language;
    int32_t version = call->request->version;
    for (size_t i = 0; i < data.n_consumer_data_set; i++) {
        const ConsumerData *consumer = data.consumer_data_set[i];
        struct notify_list *notify = NULL;
        ensure_group(broker, call, consumer);
        clients_heartbeat_consumer(broker->clients, call->conn, &call->peer, data.client_i_d,
                                   language, version, consumer, now_ms, call->arena, &notify);
        filters_heartbeat(broker->filters, consumer);
        notifier_changed(broker->notifier, notify, false);
    }
    for (size_t i = 0; i < data.n_producer_data_set; i++)
        clients_heartbeat_producer(broker->clients, call->conn, &call->peer, data.client_i_d,
                                   language, version, data.producer_data_set[i]->group_name,
                                   now_ms);
    call_succeed(call, NULL);
}

void handle_unregister_client(struct broker *broker, struct call *call)
{
    UnregisterClientRequestHeader header;
    UnregisterClientResponseHeader response;
    struct notify_list *notify = NULL;
    unregister_client_request_header__init(&header);
    unregister_client_response_header__init(&response);
    if (!call_bind(call, &header.base))
        return;
    clients_unregister(broker->clients, call->conn, header.producer_group, header.consumer_group,
                       call->arena, &notify);
    notifier_changed(broker->notifier, notify, false);
    call_succeed(call, &response.base);
}

void handle_check_client_config(struct broker *broker, struct call *call)
{
    CheckClientRequestBody body;
    struct consumer_filter *filter = NULL;
    struct err err = {0};
    check_client_request_body__init(&body);
    if (!call_decode_body(call, &body.base))
        return;
    const SubscriptionData *subscription = body.subscription_data;
    const char *type = subscription == NULL ? "" : subscription->expression_type;
    if (type[0] == '\0' || strcmp(type, EXPRESSION_TYPE_TAG) == 0)
        call_succeed(call, NULL);
    else if (!broker->conf.enablePropertyFilter)
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "The broker does not support consumer to filter message by %s; "
                  "enablePropertyFilter=true would let it",
                  type);
    else if (consumer_filter_new(type, subscription->sub_string, &filter, &err) != STATUS_OK)
        call_fail(call, RESPONSE_SUBSCRIPTION_PARSE_FAILED, "%s", err.text);
    else
        call_succeed(call, NULL);
    consumer_filter_unref(filter);
}

void handle_get_consumer_list_by_group(struct broker *broker, struct call *call)
{
    GetConsumerListByGroupRequestHeader header;
    GetConsumerListByGroupResponseHeader response;
    GetConsumerListByGroupResponseBody body;
    struct client_info *members = NULL;
    size_t count = 0;
    get_consumer_list_by_group_request_header__init(&header);
    get_consumer_list_by_group_response_header__init(&response);
    get_consumer_list_by_group_response_body__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (!clients_consumer_members(broker->clients, slice_of_cstr(header.consumer_group),
                                  call->arena, &members, &count) ||
        count == 0) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "no consumer for this group, %s",
                  header.consumer_group);
        return;
    }
    body.n_consumer_id_list = count;
    body.consumer_id_list = arena_alloc(call->arena, count * sizeof *body.consumer_id_list);
    for (size_t i = 0; i < count; i++)
        body.consumer_id_list[i] = (char *)(uintptr_t)members[i].client_id;
    call_succeed_body(call, &response.base, &body.base);
}

void handle_get_consumer_connection_list(struct broker *broker, struct call *call)
{
    GetConsumerConnectionListRequestHeader header;
    ConsumerConnection body;
    get_consumer_connection_list_request_header__init(&header);
    consumer_connection__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (clients_consumer_connection(broker->clients, slice_of_cstr(header.consumer_group),
                                    call->arena, &body))
        call_succeed_body(call, NULL, &body.base);
    else
        call_fail(call, RESPONSE_CONSUMER_NOT_ONLINE, "the consumer group[%s] not online",
                  header.consumer_group);
}

void handle_get_producer_connection_list(struct broker *broker, struct call *call)
{
    GetProducerConnectionListRequestHeader header;
    ProducerConnection body;
    struct client_info *members = NULL;
    size_t count = 0;
    get_producer_connection_list_request_header__init(&header);
    producer_connection__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (!clients_producer_members(broker->clients, slice_of_cstr(header.producer_group),
                                  call->arena, &members, &count)) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "the producer group[%s] not exist",
                  header.producer_group);
        return;
    }
    body.n_connection_set = count;
    body.connection_set = arena_alloc(call->arena, count * sizeof *body.connection_set);
    for (size_t i = 0; i < count; i++) {
        Connection *connection = arena_alloc(call->arena, sizeof *connection);
        char *address = arena_alloc(call->arena, HOST_TEXT_BYTES);
        connection__init(connection);
        host_format(&members[i].peer, address);
        connection->client_addr = address;
        connection->client_id = (char *)(uintptr_t)members[i].client_id;
        connection->language = (char *)(uintptr_t)language_name(members[i].language);
        connection->version = members[i].version;
        body.connection_set[i] = connection;
    }
    call_succeed_body(call, NULL, &body.base);
}

void handle_lock_batch_mq(struct broker *broker, struct call *call)
{
    LockBatchRequestBody body;
    LockBatchResponseBody response;
    lock_batch_request_body__init(&body);
    lock_batch_response_body__init(&response);
    if (!call_decode_body(call, &body.base))
        return;
    int64_t now_ms = clock_monotonic_ms(broker->clock);
    response.lock_o_k_m_q_set =
        arena_alloc(call->arena, (body.n_mq_set + 1) * sizeof *response.lock_o_k_m_q_set);
    for (size_t i = 0; i < body.n_mq_set; i++) {
        MessageQueue *queue = body.mq_set[i];
        if (queue_locks_try(broker->queue_locks, slice_of_cstr(body.consumer_group),
                            slice_of_cstr(queue->topic), queue->queue_id,
                            slice_of_cstr(body.client_id), call->conn, now_ms))
            response.lock_o_k_m_q_set[response.n_lock_o_k_m_q_set++] = queue;
    }
    call_succeed_body(call, NULL, &response.base);
}

void handle_unlock_batch_mq(struct broker *broker, struct call *call)
{
    UnlockBatchRequestBody body;
    unlock_batch_request_body__init(&body);
    if (!call_decode_body(call, &body.base))
        return;
    for (size_t i = 0; i < body.n_mq_set; i++)
        queue_locks_unlock(broker->queue_locks, slice_of_cstr(body.consumer_group),
                           slice_of_cstr(body.mq_set[i]->topic), body.mq_set[i]->queue_id,
                           slice_of_cstr(body.client_id));
    call_succeed(call, NULL);
}

void broker_on_close(void *ctx, struct conn_ref conn, const struct host *peer)
{
    (void)peer;
    struct broker *broker = ctx;
    struct arena arena;
    struct notify_list *notify = NULL;
    arena_init(&arena, 4096);
    hold_conn_closed(broker->per_loop[loop_index(conn.loop)].holds, conn);
    hold_conn_closed(broker->per_loop[loop_index(conn.loop)].pops, conn);
    clients_closed(broker->clients, conn, &arena, &notify);
    queue_locks_closed(broker->queue_locks, conn);
    notifier_changed(broker->notifier, notify, true);
    arena_release(&arena);
}
