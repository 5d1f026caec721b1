/* SPDX-License-Identifier: Apache-2.0
 *
 * Every processor of the broker, one function per request code, named after the code. They run on
 * the executor that command.def gives. A handler answers or declines its call exactly once, now or
 * later.
 */
#ifndef BROKER_PROC_HANDLERS_H
#define BROKER_PROC_HANDLERS_H

#include "broker/proc/broker.h"

typedef void (*broker_handler)(struct broker *broker, struct call *call);

/* Run a handler on the worker pool, over a copy of the call; for one that finds on its loop that it
 * would have to wait. Answers SYSTEM_BUSY when too much waits already. */
void handle_on_worker(struct broker *broker, struct call *call, broker_handler handler);

/* The processors: X(NAME of the code, function). */
#define BROKER_HANDLERS(X)                                                               \
    X(SEND_MESSAGE, handle_send_message)                                                 \
    X(SEND_MESSAGE_V2, handle_send_message)                                              \
    X(SEND_BATCH_MESSAGE, handle_send_message)                                           \
    X(SEND_REPLY_MESSAGE, handle_send_message)                                           \
    X(SEND_REPLY_MESSAGE_V2, handle_send_message)                                        \
    X(CONSUMER_SEND_MSG_BACK, handle_consumer_send_msg_back)                             \
    X(END_TRANSACTION, handle_end_transaction)                                           \
    X(RESUME_CHECK_HALF_MESSAGE, handle_resume_check_half_message)                       \
    X(PULL_MESSAGE, handle_pull_message)                                                 \
    X(VIEW_MESSAGE_BY_ID, handle_view_message_by_id)                                     \
    X(QUERY_MESSAGE, handle_query_message)                                               \
    X(GET_MAX_OFFSET, handle_get_max_offset)                                             \
    X(GET_MIN_OFFSET, handle_get_min_offset)                                             \
    X(GET_EARLIEST_MSG_STORETIME, handle_get_earliest_msg_storetime)                     \
    X(SEARCH_OFFSET_BY_TIMESTAMP, handle_search_offset_by_timestamp)                     \
    X(QUERY_CONSUMER_OFFSET, handle_query_consumer_offset)                               \
    X(UPDATE_CONSUMER_OFFSET, handle_update_consumer_offset)                             \
    X(GET_CONSUMER_LIST_BY_GROUP, handle_get_consumer_list_by_group)                     \
    X(HEART_BEAT, handle_heart_beat)                                                     \
    X(UNREGISTER_CLIENT, handle_unregister_client)                                       \
    X(CHECK_CLIENT_CONFIG, handle_check_client_config)                                   \
    X(LOCK_BATCH_MQ, handle_lock_batch_mq)                                               \
    X(UNLOCK_BATCH_MQ, handle_unlock_batch_mq)                                           \
    X(GET_CONSUMER_CONNECTION_LIST, handle_get_consumer_connection_list)                 \
    X(GET_PRODUCER_CONNECTION_LIST, handle_get_producer_connection_list)                 \
    X(UPDATE_AND_CREATE_TOPIC, handle_update_and_create_topic)                           \
    X(DELETE_TOPIC_IN_BROKER, handle_delete_topic_in_broker)                             \
    X(GET_ALL_TOPIC_CONFIG, handle_get_all_topic_config)                                 \
    X(GET_SYSTEM_TOPIC_LIST_FROM_BROKER, handle_get_system_topic_list_from_broker)       \
    X(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, handle_update_and_create_subscriptiongroup)   \
    X(GET_ALL_SUBSCRIPTIONGROUP_CONFIG, handle_get_all_subscriptiongroup_config)         \
    X(DELETE_SUBSCRIPTIONGROUP, handle_delete_subscriptiongroup)                         \
    X(GET_ALL_CONSUMER_OFFSET, handle_get_all_consumer_offset)                           \
    X(GET_ALL_DELAY_OFFSET, handle_get_all_delay_offset)                                 \
    X(RECALL_MESSAGE, handle_recall_message)                                             \
    X(GET_TIMER_CHECK_POINT, handle_get_timer_check_point)                               \
    X(GET_TIMER_METRICS, handle_get_timer_metrics)                                       \
    X(UPDATE_BROKER_CONFIG, handle_update_broker_config)                                 \
    X(GET_BROKER_CONFIG, handle_get_broker_config)                                       \
    X(GET_TOPIC_STATS_INFO, handle_get_topic_stats_info)                                 \
    X(GET_CONSUME_STATS, handle_get_consume_stats)                                       \
    X(QUERY_TOPIC_CONSUME_BY_WHO, handle_query_topic_consume_by_who)                     \
    X(QUERY_CONSUME_TIME_SPAN, handle_query_consume_time_span)                           \
    X(CLEAN_UNUSED_TOPIC, handle_clean_unused_topic)                                     \
    X(CLONE_GROUP_OFFSET, handle_clone_group_offset)                                     \
    X(QUERY_CONSUME_QUEUE, handle_query_consume_queue)                                   \
    X(GET_CONSUMER_RUNNING_INFO, handle_get_consumer_running_info)                       \
    X(CONSUME_MESSAGE_DIRECTLY, handle_consume_message_directly)                         \
    X(GET_BROKER_RUNTIME_INFO, handle_get_broker_runtime_info)                           \
    X(GET_BROKER_HA_STATUS, handle_get_broker_ha_status)                                 \
    X(CLEAN_EXPIRED_CONSUMEQUEUE, handle_clean_expired_consumequeue)                     \
    X(DELETE_EXPIRED_COMMITLOG, handle_delete_expired_commitlog)                         \
    X(QUERY_CORRECTION_OFFSET, handle_query_correction_offset)                           \
    X(GET_BROKER_CONSUME_STATS, handle_get_broker_consume_stats)                         \
    X(VIEW_BROKER_STATS_DATA, handle_view_broker_stats_data)                             \
    X(INVOKE_BROKER_TO_RESET_OFFSET, handle_invoke_broker_to_reset_offset)               \
    X(INVOKE_BROKER_TO_GET_CONSUMER_STATUS, handle_invoke_broker_to_get_consumer_status) \
    X(UPDATE_AND_CREATE_ACL_CONFIG, handle_update_and_create_acl_config)                 \
    X(DELETE_ACL_CONFIG, handle_delete_acl_config)                                       \
    X(UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, handle_update_global_white_addrs_config)         \
    X(GET_BROKER_CLUSTER_ACL_INFO, handle_get_broker_cluster_acl_info)                   \
    X(GET_BROKER_CLUSTER_ACL_CONFIG, handle_get_broker_cluster_acl_config)               \
    X(GET_TOPIC_CONFIG, handle_get_topic_config)                                         \
    X(LITE_PULL_MESSAGE, handle_pull_message)                                            \
    X(QUERY_ASSIGNMENT, handle_query_assignment)                                         \
    X(SET_MESSAGE_REQUEST_MODE, handle_set_message_request_mode)                         \
    X(POP_MESSAGE, handle_pop_message)                                                   \
    X(ACK_MESSAGE, handle_ack_message)                                                   \
    X(PEEK_MESSAGE, handle_peek_message)                                                 \
    X(CHANGE_MESSAGE_INVISIBLETIME, handle_change_message_invisibletime)                 \
    X(NOTIFICATION, handle_notification)                                                 \
    X(POLLING_INFO, handle_polling_info)                                                 \
    X(BATCH_ACK_MESSAGE, handle_batch_ack_message)                                       \
    X(GET_REPLICATED_TABLES, handle_get_replicated_tables)

#define X(name, function) void function(struct broker *broker, struct call *call);
BROKER_HANDLERS(X)
#undef X

#endif
