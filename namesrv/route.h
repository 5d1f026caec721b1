/* SPDX-License-Identifier: Apache-2.0
 *
 * The route table of a name server: which brokers live, at which addresses, and which topics they
 * serve. Brokers tell it by registering, on every change and every 30 s; nothing of it is stored.
 *
 * Pure state: no I/O, no clock (times are handed in), no log, no lock. The caller serialises all
 * calls on one table; tables share nothing, so one process may hold several.
 * Answers made of the table are in namesrv/route_view.h.
 *
 * Source: RMQ namesrv/.../RouteInfoManager.java; differences: docs/diff.md
 */
#ifndef NAMESRV_ROUTE_H
#define NAMESRV_ROUTE_H

#include "common/base/arena.h"
#include "common/base/status.h"
#include "common/net/net.h"
#include "proto/body.pb-c.h"

/* The broker id of a master; only masters bring topics. */
#define ROUTE_MASTER_ID 0

/* A broker that has not registered for longer than this is dropped. */
#define ROUTE_EXPIRY_MS (120 * INT64_C(1000))

/* What peers may make us hold. 4.9.2 has no limits; these are far above its largest known uses. */
#define ROUTE_BROKERS_MAX 4096              /* names, and live addresses, and cluster memberships */
#define ROUTE_ADDRESSES_MAX 64              /* ids under one broker name */
#define ROUTE_FILTER_SERVERS_MAX 64         /* of one broker address */
#define ROUTE_TOPICS_MAX (1000 * 1000)      /* names */
#define ROUTE_QUEUES_MAX (10 * 1000 * 1000) /* pairs of topic and broker */

#define ROUTE_TEXT_BYTES_MAX 1024 /* one name or address */

#define ROUTE_NAME_BYTES 256 /* of the texts in struct route_gone; longer ones are cut there */

struct route;

struct route *route_new(void);
void route_free(struct route *route);

/* The version of a broker's topic table. Brokers count it up; only equality matters here. */
struct route_version {
    int64_t counter;
    int64_t timestamp;
};

struct route_registration {
    struct slice cluster_name;
    struct slice broker_name;
    struct slice broker_addr;
    struct slice ha_server_addr;
    int64_t broker_id;
    struct route_version version;
    TopicConfigEntry *const *topics; /* borrowed; looked at only when route_wants_topics */
    size_t topic_count;
    char *const *filter_servers; /* borrowed; meaningful when has_filter_servers */
    size_t filter_server_count;
    bool has_filter_servers; /* false: keep what is known of this address */
    struct conn_ref conn;    /* when it closes, the broker has gone */
    int64_t now_ms;          /* monotonic */
};

struct route_registered {
    bool address_is_new;      /* no live entry for this address before */
    size_t topics_added;      /* pairs of topic and broker that are new */
    size_t topics_changed;    /* pairs whose queue numbers, permission or flags differ now */
    size_t topics_refused;    /* over a limit of this header */
    struct slice master_addr; /* for a slave whose master lives; else empty; in the arena */
    struct slice ha_server_addr;
    /* Another live broker claims the same name and id, and both have registered since; else empty.
     * In the arena. Whichever registers last has the id. */
    struct slice rival;
    bool rival_is_new; /* there was none before: one line per change */
};

/* Would this registration bring topics? True for a master whose version differs from that of the
 * live entry of its address, or whose name or id is new. When it is false, route_register does not
 * look at `topics`, so that the caller need not even decode them. */
bool route_wants_topics(const struct route *route, const struct route_registration *registration);

/* A broker has registered. Topics are added and updated, never removed by absence.
 * arena    takes the texts of `out`
 * returns  OK | FULL (a limit of this header is reached) | TOO_LARGE (a name or address is too
 *          long); nothing has changed then
 * cost     without topics: a few hash look-ups, whatever the number of topics */
enum status route_register(struct route *route, const struct route_registration *registration,
                           struct arena *arena, struct route_registered *out);

/* A broker says goodbye. When its name has no address left, the name leaves the cluster given here
 * and its queues leave all topics. True when the address was alive or the name had the id; else
 * nothing has changed. */
bool route_unregister(struct route *route, struct slice cluster_name, struct slice broker_name,
                      struct slice broker_addr, int64_t broker_id);

/* Compare a broker's version with the one it last registered; when they are equal this counts as a
 * sign of life.
 * stored   out: the version held here; meaningful when *known
 * returns  true when the broker should register anew (unknown address, or versions differ) */
bool route_query_version(struct route *route, struct slice broker_addr,
                         struct route_version version, int64_t now_ms, bool *known,
                         struct route_version *stored);

/* What a lost broker took with it, for the log. */
struct route_gone {
    char address[ROUTE_NAME_BYTES];
    char broker_name[ROUTE_NAME_BYTES]; /* "" when no broker had this address */
    struct conn_ref conn;               /* of the live entry; CONN_REF_NONE without one */
    bool was_live;
    bool name_dropped; /* it was the last address of its name */
    size_t topics;     /* topics that lost this broker's queues */
};

/* A connection has closed: drop the first live address that registered over it (one only, in order
 * of first registration), or, if there is none, the broker whose address is `peer`. While another
 * address of the name is left, its queues stay.
 * returns  true when anything was dropped */
bool route_close(struct route *route, struct conn_ref conn, struct slice peer,
                 struct route_gone *out);

/* Drop one address that has been silent for more than ROUTE_EXPIRY_MS; the caller closes out->conn
 * and calls again until there is none. */
bool route_expire(struct route *route, int64_t now_ms, struct route_gone *out);

/* Take the write permission from all queues of a broker name, or set all of them to read and write.
 * The next registration with a changed version overrides both.
 * changed  out: how many of its topics had another permission before
 * returns  the number of topics of that name */
size_t route_wipe_write_permission(struct route *route, struct slice broker_name, size_t *changed);
size_t route_add_write_permission(struct route *route, struct slice broker_name, size_t *changed);

/* Forget a topic until a broker brings it again. True when it was known. */
bool route_delete_topic(struct route *route, struct slice topic);

struct route_counts {
    size_t brokers;
    size_t clusters;
    size_t addresses; /* live */
    size_t topics;
    size_t queues;
};
struct route_counts route_count(const struct route *route);

#endif
