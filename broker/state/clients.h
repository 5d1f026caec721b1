/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is connected: producer and consumer groups with their connections and subscriptions, as told
 * by heartbeats. Any thread; one lock (docs/locks.md: clients). Nothing here sends: a change that
 * others must hear of comes back as a list of connections to notify.
 */
#ifndef BROKER_STATE_CLIENTS_H
#define BROKER_STATE_CLIENTS_H

#include "broker/state/subscription.h"
#include "common/base/arena.h"
#include "common/net/net.h"
#include "proto/body.pb-c.h"

enum message_model {
    MODEL_BROADCASTING,
    MODEL_CLUSTERING,
};

/* Connections to notify or to close, in the arena. */
struct notify_list {
    struct conn_ref *conns;
    size_t count;
    struct slice group;
    struct notify_list *next; /* a heartbeat or a close may touch several groups */
};

struct client_info { /* one connection of a group, copied out */
    struct conn_ref conn;
    struct host peer;
    const char *client_id;
    uint8_t language;
    int32_t version;
    int64_t last_heartbeat_ms; /* monotonic */
};

struct clients;
struct clients *clients_new(void);
void clients_free(struct clients *clients);

/* One consumer group of a heartbeat (CL-01 to CL-04). Ignored, with a log line, when the name is
 * empty or longer than GROUP_BYTES_MAX, or when CONNECTION_GROUPS_MAX or CLIENTS_BYTES_MAX would be
 * exceeded.
 * language, version  from the heartbeat's command header
 * now_ms   monotonic, so that a step of the wall clock drops nobody
 * notify   out: NULL or the group's connections when a member joined or its set of topics changed
 */
void clients_heartbeat_consumer(struct clients *clients, struct conn_ref conn,
                                const struct host *peer, const char *client_id, uint8_t language,
                                int32_t version, const ConsumerData *data, int64_t now_ms,
                                struct arena *arena, struct notify_list **notify);
void clients_heartbeat_producer(struct clients *clients, struct conn_ref conn,
                                const struct host *peer, const char *client_id, uint8_t language,
                                int32_t version, const char *group, int64_t now_ms);

/* UNREGISTER_CLIENT (CL-05); group names may be NULL. */
void clients_unregister(struct clients *clients, struct conn_ref conn, const char *producer_group,
                        const char *consumer_group, struct arena *arena,
                        struct notify_list **notify);

/* A connection has gone (CL-06): out of every group it was in. */
void clients_closed(struct clients *clients, struct conn_ref conn, struct arena *arena,
                    struct notify_list **notify);

/* The connections, each once, that have a member silent for longer than max_silence_ms: NULL, or
 * one list without a group. The caller closes them, and clients_closed does the rest, so that the
 * others hear of it as of any crash. */
void clients_silent(const struct clients *clients, int64_t now_ms, int64_t max_silence_ms,
                    struct arena *arena, struct notify_list **close);

/* --- look-ups; copies in the arena --- */

/* The group's subscription to a topic (a reference for the caller), or NULL.
 * group_online  out: whether the group has a live entry at all
 * model         out, may be NULL: valid when online */
struct subscription *clients_subscription(const struct clients *clients, struct slice group,
                                          struct slice topic, bool *group_online,
                                          enum message_model *model);

/* Topics that an online group subscribes to; 0 also when it is not online. */
size_t clients_subscription_count(const struct clients *clients, struct slice group);

/* The members of a group in the order in which they joined; false when it has none. */
bool clients_consumer_members(const struct clients *clients, struct slice group,
                              struct arena *arena, struct client_info **members, size_t *count);
bool clients_producer_members(const struct clients *clients, struct slice group,
                              struct arena *arena, struct client_info **members, size_t *count);

/* GET_CONSUMER_CONNECTION_LIST's body; false when the group is not online. */
bool clients_consumer_connection(const struct clients *clients, struct slice group,
                                 struct arena *arena, ConsumerConnection *out);

/* The connection of a consumer by group and client id. */
bool clients_find_consumer(const struct clients *clients, struct slice group,
                           struct slice client_id, struct client_info *out, struct arena *arena);

/* The connection of a producer by client id, the newest when there are several (replies of
 * request-reply). */
bool clients_find_producer(const struct clients *clients, struct slice client_id,
                           struct conn_ref *out);

/* Online consumer groups subscribed to a topic (a snapshot; no lock is held). */
void clients_groups_of(const struct clients *clients, struct slice topic,
                       void (*each)(void *ctx, struct slice group), void *ctx);

#endif
