/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of struct route, shared by route.c, which changes it, and route_view.c, which reads it
 * and keeps the prebuilt bodies. Nobody else includes this.
 *
 * Invariants:
 * - A broker has at least one address; its addresses are sorted by id and the ids are distinct.
 * - A topic has at least one queue entry; each points to a broker of the table, one per broker.
 * - A cluster has at least one name. A name may be in it without a broker of that name (a broker
 *   that unregistered from another cluster than its own), as in 4.9.2.
 * - A topic's body is valid when none of its queues and none of its brokers changed after body_at.
 */
#ifndef NAMESRV_ROUTE_STATE_H
#define NAMESRV_ROUTE_STATE_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "namesrv/route.h"

struct route_body;

/* rival  the address of another live broker that claims the same name and id; NULL: none does */
struct route_address {
    int64_t id;
    char *text;
    char *rival;
};

struct route_broker {
    char *name;
    char *cluster; /* of the first registration under this name */
    struct route_address *addresses;
    size_t address_count;
    uint64_t changed_at; /* route.change when addresses or their filter servers last changed */
    bool marked;         /* scratch of route_view_cluster_topics */
};

struct route_queue {
    struct route_broker *broker;
    int32_t read_queue_nums;
    int32_t write_queue_nums;
    int32_t perm;
    int32_t topic_sys_flag;
};

struct route_topic {
    struct route_queue *queues; /* in order of arrival; a changed one moves to the end */
    uint32_t queue_count;
    uint32_t queue_capacity;
    struct route_body *body; /* NULL: none built, or the queues changed since */
    uint64_t body_at;        /* route.change up to which the body is known to be valid */
    char name[];
};

struct route_cluster {
    char *name;
    struct map broker_names; /* values: the cluster itself, meaning nothing */
};

struct route_live {
    struct list in_order;
    char *address;
    char *ha_server_addr;
    char **filter_servers;
    size_t filter_server_count;
    struct route_version version;
    struct conn_ref conn;
    int64_t last_ms;
};

struct route {
    struct map topics;      /* name -> struct route_topic */
    struct map brokers;     /* name -> struct route_broker */
    struct map clusters;    /* name -> struct route_cluster */
    struct map lives;       /* address -> struct route_live */
    struct list live_order; /* by first registration */
    uint64_t change;        /* counts changes of brokers */
    size_t queue_count;
    size_t member_count; /* names over all clusters */
};

#endif
