/* SPDX-License-Identifier: Apache-2.0
 *
 * The answers of a name server: JSON bodies made from the route table. The body of a topic's route
 * is kept and shared until the topic or one of its brokers changes; the others are written anew
 * each time, because only tools ask for them.
 *
 * The caller serialises these calls with all others on the same table (they fill the kept bodies).
 * A body that was handed out belongs to who took it and may be released by any thread, unlocked.
 */
#ifndef NAMESRV_ROUTE_VIEW_H
#define NAMESRV_ROUTE_VIEW_H

#include "common/base/buf.h"
#include "namesrv/route.h"

/* Immutable bytes with a reference count. */
struct route_body;

struct slice route_body_bytes(const struct route_body *body);

/* Give back what route_view_topic returned; fits struct body_part.release. Any thread. */
void route_body_release(void *body);

/* The TopicRouteData of a topic, or NULL when there is no such topic. The caller owns a reference.
 * cost  one hash look-up while nothing changed */
struct route_body *route_view_topic(struct route *route, struct slice topic);

/* The same with an orderTopicConf member, written behind `out`; false when there is no such
 * topic. */
bool route_view_topic_ordered(struct route *route, struct slice topic, const char *order_topic_conf,
                              struct buf *out);

/* ClusterInfo; brokers and clusters sorted by name. */
void route_view_clusters(const struct route *route, struct buf *out);

/* TopicLists; the order of topics is undefined, as in 4.9.2. */
void route_view_topics(const struct route *route, struct buf *out);
void route_view_cluster_topics(struct route *route, struct slice cluster, struct buf *out);

/* Not topics, whatever 4.9.2 calls it: the names of clusters and brokers, and some broker's
 * address, which tools then ask for the rest. */
void route_view_system_topics(const struct route *route, struct buf *out);

/* Topics by the unit flags of their first queue entry. */
enum route_unit_kind {
    ROUTE_UNIT,              /* unit */
    ROUTE_UNIT_SUB,          /* unit subscription */
    ROUTE_UNIT_SUB_NOT_UNIT, /* unit subscription, but not unit */
};
void route_view_unit_topics(const struct route *route, enum route_unit_kind kind, struct buf *out);

#endif
