/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of clients and tools about routes, clusters and topics.
 */
#include "common/sys/log.h"
#include "namesrv/handlers_private.h"
#include "namesrv/route_view.h"
#include "proto/header.pb-c.h"

#define FAQ "\nSee http://rocketmq.apache.org/docs/faq/ for further details."

/* With orderMessageEnable the answer depends on the KV table too, so it is made each time. */
static bool find_ordered(struct handlers *handlers, const struct call *call, struct slice topic,
                         struct response *out)
{
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    const char *order = kv_get(handlers->kv, SLICE_LITERAL(KV_ORDER_TOPICS), topic);
    bool found = order != NULL && route_view_topic_ordered(handlers->route, topic, order, &body);
    tables_unlock(handlers);
    if (found)
        answer_body(call, out, &body);
    return found;
}

static bool find_kept(struct handlers *handlers, const struct call *call, struct slice topic,
                      struct response *out)
{
    tables_lock(handlers);
    struct route_body *body = route_view_topic(handlers->route, topic);
    tables_unlock(handlers);
    if (body == NULL)
        return false;
    struct slice bytes = route_body_bytes(body);
    struct body_part *part = arena_alloc(call->arena, sizeof *part);
    *part = (struct body_part){
        .data = bytes.data, .size = bytes.size, .release = route_body_release, .owner = body};
    out->parts = part;
    out->part_count = 1;
    return true;
}

void answer_route(struct handlers *handlers, const struct call *call, struct response *out)
{
    GetRouteInfoRequestHeader header = GET_ROUTE_INFO_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    struct slice topic = slice_of_cstr(header.topic);
    if (handlers->options.values->orderMessageEnable && find_ordered(handlers, call, topic, out))
        return;
    if (!find_kept(handlers, call, topic, out))
        answer_error(call, out, RESPONSE_TOPIC_NOT_EXIST,
                     "No topic route info in name server for the topic: %s" FAQ, header.topic);
}

void answer_cluster_info(struct handlers *handlers, const struct call *call, struct response *out)
{
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    route_view_clusters(handlers->route, &body);
    tables_unlock(handlers);
    answer_body(call, out, &body);
}

void answer_topics(struct handlers *handlers, const struct call *call, struct response *out)
{
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    route_view_topics(handlers->route, &body);
    tables_unlock(handlers);
    answer_body(call, out, &body);
}

void answer_cluster_topics(struct handlers *handlers, const struct call *call, struct response *out)
{
    GetTopicsByClusterRequestHeader header = GET_TOPICS_BY_CLUSTER_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    route_view_cluster_topics(handlers->route, slice_of_cstr(header.cluster), &body);
    tables_unlock(handlers);
    answer_body(call, out, &body);
}

void answer_system_topics(struct handlers *handlers, const struct call *call, struct response *out)
{
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    route_view_system_topics(handlers->route, &body);
    tables_unlock(handlers);
    answer_body(call, out, &body);
}

static void answer_units(struct handlers *handlers, const struct call *call, struct response *out,
                         enum route_unit_kind kind)
{
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    route_view_unit_topics(handlers->route, kind, &body);
    tables_unlock(handlers);
    answer_body(call, out, &body);
}

void answer_unit_topics(struct handlers *handlers, const struct call *call, struct response *out)
{
    answer_units(handlers, call, out, ROUTE_UNIT);
}

void answer_unit_sub_topics(struct handlers *handlers, const struct call *call,
                            struct response *out)
{
    answer_units(handlers, call, out, ROUTE_UNIT_SUB);
}

void answer_unit_sub_not_unit_topics(struct handlers *handlers, const struct call *call,
                                     struct response *out)
{
    answer_units(handlers, call, out, ROUTE_UNIT_SUB_NOT_UNIT);
}

void answer_delete_topic(struct handlers *handlers, const struct call *call, struct response *out)
{
    DeleteTopicInNamesrvRequestHeader header = DELETE_TOPIC_IN_NAMESRV_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    tables_lock(handlers);
    bool known = route_delete_topic(handlers->route, slice_of_cstr(header.topic));
    tables_unlock(handlers);
    if (known)
        log_info("namesrv", "topic deleted", "topic=%s", header.topic);
}
