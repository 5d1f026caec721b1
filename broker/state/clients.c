/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of clients. A member is one connection in one group, as producer or consumer; it hangs
 * in three places: the list of its group, the list of its connection (so that a close costs only
 * what it removes) and, for producers, the list of its client id. `members` finds it by connection,
 * kind and group.
 *
 * Invariants: a group, a connection record and a client id record exist exactly while they have
 * members; `bytes` is what members and subscriptions take.
 *
 * Differs from 4.9.2: a producer's client id is found as long as any of its groups remains
 * registered (there the first UNREGISTER_CLIENT loses it), and the table is bounded.
 * Source: RMQ broker/.../ConsumerManager.java, ConsumerGroupInfo.java, ProducerManager.java.
 */
#include "broker/state/clients.h"

#include "broker/state/conn_key.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/sys/log.h"
#include "proto/command.h"

#include <pthread.h>
#include <stdlib.h>

#define CLIENT_ID_BYTES_MAX 1024
/* Names of Java enums: the longest is CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST. */
#define ENUM_TEXT_BYTES 64
/* What maps and malloc add to a member or a subscription, roughly. */
#define OVERHEAD_BYTES 256

enum kind {
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_COUNT,
};

struct topic_subscription {
    struct subscription *current;
    uint64_t seen; /* the group's heartbeat that named the topic last */
};

struct group {
    struct list members;
    size_t member_count;
    struct map subscriptions; /* topic -> struct topic_subscription; consumers only, as all below */
    uint64_t heartbeats;
    enum message_model model;
    char consume_type[ENUM_TEXT_BYTES];
    char message_model[ENUM_TEXT_BYTES];
    char consume_from_where[ENUM_TEXT_BYTES];
    struct slice name; /* behind the struct */
};

struct connection {
    struct conn_ref conn;
    struct list members;
    size_t member_count;
};

struct client_id {
    struct list members; /* producers, newest last */
};

struct member {
    struct list in_group;
    struct list in_connection;
    struct list in_client_id;
    enum kind kind;
    struct group *group;
    struct connection *connection;
    struct host peer;
    uint8_t language;
    int32_t version;
    int64_t last_heartbeat_ms;
    struct slice client_id; /* malloc'ed, with a NUL behind it */
};

struct clients {
    pthread_mutex_t lock;          /* docs/locks.md: clients */
    struct map groups[KIND_COUNT]; /* name -> struct group */
    struct map members;            /* member_key -> struct member */
    struct map connections;        /* conn_key -> struct connection */
    struct map producer_ids;       /* client id -> struct client_id */
    int64_t bytes;
};

/* Who beats, as every heartbeat says. */
struct beat {
    enum kind kind;
    struct conn_ref conn;
    const struct host *peer;
    struct slice client_id;
    struct slice group;
    uint8_t language;
    int32_t version;
    int64_t now_ms;
};

struct member_key {
    uint8_t bytes[sizeof(struct conn_key) + 1 + GROUP_BYTES_MAX];
    size_t size;
};

static void clients_lock(const struct clients *clients)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&clients->lock) == 0);
}

static void clients_unlock(const struct clients *clients)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&clients->lock) == 0);
}

/* group  at most GROUP_BYTES_MAX bytes */
static struct slice member_key(struct member_key *key, struct conn_ref conn, enum kind kind,
                               struct slice group)
{
    struct conn_key conn_bytes = conn_key(conn);
    memcpy(key->bytes, conn_bytes.bytes, sizeof conn_bytes.bytes);
    key->bytes[sizeof conn_bytes.bytes] = (uint8_t)kind;
    memcpy(key->bytes + sizeof conn_bytes.bytes + 1, group.data, group.size);
    return slice_of(key->bytes, sizeof conn_bytes.bytes + 1 + group.size);
}

/* --- members, groups, connections; with the lock held --- */

static struct slice copy_text(struct slice text)
{
    uint8_t *copy = xmalloc(text.size + 1);
    if (text.size != 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    return slice_of(copy, text.size);
}

static struct group *group_find(const struct clients *clients, enum kind kind, struct slice name)
{
    return map_get(&clients->groups[kind], name);
}

static struct group *group_add(struct clients *clients, enum kind kind, struct slice name)
{
    struct group *group = xcalloc(1, sizeof *group + name.size);
    uint8_t *copy = (uint8_t *)(group + 1);
    memcpy(copy, name.data, name.size);
    group->name = slice_of(copy, name.size);
    list_init(&group->members);
    (void)map_put(&clients->groups[kind], name, group);
    return group;
}

static int64_t subscription_cost(const struct subscription *subscription)
{
    return (int64_t)subscription->bytes + OVERHEAD_BYTES;
}

static void subscription_drop(struct clients *clients, struct group *group, struct slice topic)
{
    struct topic_subscription *entry = map_remove(&group->subscriptions, topic);
    clients->bytes -= subscription_cost(entry->current);
    subscription_unref(entry->current);
    free(entry);
}

static void group_free(struct clients *clients, enum kind kind, struct group *group)
{
    size_t cursor = 0;
    for (struct map_entry *at; (at = map_next(&group->subscriptions, &cursor)) != NULL;)
        subscription_drop(clients, group, at->key);
    map_release(&group->subscriptions);
    (void)map_remove(&clients->groups[kind], group->name);
    free(group);
}

static struct connection *connection_find(const struct clients *clients, struct conn_ref conn)
{
    struct conn_key key = conn_key(conn);
    return map_get(&clients->connections, conn_key_slice(&key));
}

static struct connection *connection_add(struct clients *clients, struct conn_ref conn)
{
    struct conn_key key = conn_key(conn);
    struct connection *connection = xcalloc(1, sizeof *connection);
    connection->conn = conn;
    list_init(&connection->members);
    (void)map_put(&clients->connections, conn_key_slice(&key), connection);
    return connection;
}

/* Removing members leaves the record, so that its list can be walked; the walker ends with this. */
static void connection_free_if_unused(struct clients *clients, struct connection *connection)
{
    struct conn_key key = conn_key(connection->conn);
    if (connection->member_count != 0)
        return;
    (void)map_remove(&clients->connections, conn_key_slice(&key));
    free(connection);
}

static void client_id_join(struct clients *clients, struct member *member)
{
    struct client_id *id = map_get(&clients->producer_ids, member->client_id);
    if (id == NULL) {
        id = xmalloc(sizeof *id);
        list_init(&id->members);
        (void)map_put(&clients->producer_ids, member->client_id, id);
    }
    list_append(&id->members, &member->in_client_id);
}

static void client_id_leave(struct clients *clients, struct member *member)
{
    struct client_id *id = map_get(&clients->producer_ids, member->client_id);
    list_remove(&member->in_client_id);
    if (!list_empty(&id->members))
        return;
    (void)map_remove(&clients->producer_ids, member->client_id);
    free(id);
}

static int64_t member_cost(struct slice client_id, struct slice group)
{
    return (int64_t)(sizeof(struct member) + client_id.size + 2 * group.size) + OVERHEAD_BYTES;
}

static void member_add(struct clients *clients, const struct beat *beat)
{
    struct member_key key;
    struct member *member = xcalloc(1, sizeof *member);
    struct group *group = group_find(clients, beat->kind, beat->group);
    struct connection *connection = connection_find(clients, beat->conn);
    if (group == NULL)
        group = group_add(clients, beat->kind, beat->group);
    if (connection == NULL)
        connection = connection_add(clients, beat->conn);

    member->kind = beat->kind;
    member->group = group;
    member->connection = connection;
    member->peer = *beat->peer;
    member->language = beat->language;
    member->version = beat->version;
    member->last_heartbeat_ms = beat->now_ms;
    member->client_id = copy_text(beat->client_id);
    list_append(&group->members, &member->in_group);
    list_append(&connection->members, &member->in_connection);
    list_init(&member->in_client_id);
    group->member_count++;
    connection->member_count++;
    clients->bytes += member_cost(member->client_id, group->name);
    (void)map_put(&clients->members, member_key(&key, beat->conn, beat->kind, beat->group), member);
    if (beat->kind == KIND_PRODUCER)
        client_id_join(clients, member);
}

/* The group goes with its last member; the caller ends with connection_free_if_unused.
 * returns  the group, or NULL when it has gone */
static struct group *member_remove(struct clients *clients, struct member *member)
{
    struct member_key key;
    struct group *group = member->group;
    if (member->kind == KIND_PRODUCER)
        client_id_leave(clients, member);
    (void)map_remove(&clients->members,
                     member_key(&key, member->connection->conn, member->kind, group->name));
    list_remove(&member->in_group);
    list_remove(&member->in_connection);
    group->member_count--;
    member->connection->member_count--;
    clients->bytes -= member_cost(member->client_id, group->name);
    if (group->member_count == 0) {
        group_free(clients, member->kind, group);
        group = NULL;
    }
    free((void *)(uintptr_t)member->client_id.data);
    free(member);
    return group;
}

static struct member *member_find(const struct clients *clients, struct conn_ref conn,
                                  enum kind kind, struct slice group)
{
    struct member_key key;
    if (group.size == 0 || group.size > GROUP_BYTES_MAX)
        return NULL;
    return map_get(&clients->members, member_key(&key, conn, kind, group));
}

/* A connection that names itself differently from now on. */
static void member_rename(struct clients *clients, struct member *member, struct slice client_id)
{
    if (member->kind == KIND_PRODUCER)
        client_id_leave(clients, member);
    clients->bytes += (int64_t)client_id.size - (int64_t)member->client_id.size;
    free((void *)(uintptr_t)member->client_id.data);
    member->client_id = copy_text(client_id);
    if (member->kind == KIND_PRODUCER)
        client_id_join(clients, member);
}

static void notify_group(const struct group *group, struct arena *arena,
                         struct notify_list **notify)
{
    struct notify_list *list = arena_alloc(arena, sizeof *list);
    *list = (struct notify_list){
        .conns = arena_alloc(arena, group->member_count * sizeof *list->conns),
        .group = arena_copy(arena, group->name),
        .next = *notify,
    };
    list_for_each (node, &group->members)
        list->conns[list->count++] = list_entry(node, struct member, in_group)->connection->conn;
    *notify = list;
}

/* --- heartbeats --- */

static void refuse(const struct beat *beat, const char *cause)
{
    static struct log_gate gate;
    int64_t suppressed;
    char peer[HOST_TEXT_BYTES];
    if (!log_gate_open(&gate, &suppressed))
        return;
    host_format(beat->peer, peer);
    log_warn("state", "heartbeat ignored", "peer=%s group=%.*s cause=\"%s\" ignored=%lld", peer,
             (int)(beat->group.size < GROUP_BYTES_MAX ? beat->group.size : GROUP_BYTES_MAX),
             (const char *)beat->group.data, cause, (long long)suppressed + 1);
}

/* With the lock held: why no member can be added, or NULL. */
static const char *no_room(const struct clients *clients, const struct beat *beat)
{
    const struct connection *connection = connection_find(clients, beat->conn);
    if (connection != NULL && connection->member_count >= CONNECTION_GROUPS_MAX)
        return "the connection is in too many groups";
    if (clients->bytes + member_cost(beat->client_id, beat->group) > CLIENTS_BYTES_MAX)
        return "the table of clients is full";
    return NULL;
}

static const char *beat_fault(const struct beat *beat)
{
    if (beat->group.size == 0 || beat->group.size > GROUP_BYTES_MAX)
        return "the group's name is empty or too long";
    if (beat->client_id.size == 0 || beat->client_id.size > CLIENT_ID_BYTES_MAX)
        return "the client id is empty or too long";
    return NULL;
}

/* With the lock held. Make or refresh the member.
 * joined   out: it is a new one
 * returns  NULL, or why it could not be made */
static const char *member_beat(struct clients *clients, const struct beat *beat, bool *joined)
{
    struct member *member = member_find(clients, beat->conn, beat->kind, beat->group);
    *joined = false;
    if (member == NULL) {
        const char *cause = no_room(clients, beat);
        *joined = cause == NULL;
        if (*joined)
            member_add(clients, beat);
        return cause;
    }
    member->last_heartbeat_ms = beat->now_ms;
    if (!slice_equal(member->client_id, beat->client_id))
        member_rename(clients, member, beat->client_id);
    return NULL;
}

/* One subscription of a heartbeat: taken when its topic is new (then *added) or its version is
 * greater.
 * returns  NULL, or why it could not be taken */
static const char *subscription_merge(struct clients *clients, struct group *group,
                                      const SubscriptionData *body, bool *added)
{
    struct slice topic = slice_of_cstr(body->topic);
    struct topic_subscription *entry = map_get(&group->subscriptions, topic);
    if (entry != NULL) {
        entry->seen = group->heartbeats;
        if (body->sub_version <= entry->current->version)
            return NULL;
    }
    struct subscription *made;
    if (subscription_from_body(body, &made) != STATUS_OK)
        return "a subscription has no topic or is too large";
    if (clients->bytes + subscription_cost(made) > CLIENTS_BYTES_MAX) {
        subscription_unref(made);
        return "the table of clients is full";
    }
    clients->bytes += subscription_cost(made);
    if (entry != NULL) {
        clients->bytes -= subscription_cost(entry->current);
        subscription_unref(entry->current);
        entry->current = made;
        return NULL;
    }
    entry = xmalloc(sizeof *entry);
    *entry = (struct topic_subscription){.current = made, .seen = group->heartbeats};
    (void)map_put(&group->subscriptions, topic, entry);
    *added = true;
    return NULL;
}

/* The heartbeat's topics become the group's (CL-02). True when the set of topics changed. */
static bool subscriptions_merge(struct clients *clients, struct group *group,
                                const ConsumerData *data, const char **cause)
{
    bool changed = false;
    size_t cursor = 0;
    group->heartbeats++;
    for (size_t i = 0; i < data->n_subscription_data_set; i++) {
        const char *fault =
            subscription_merge(clients, group, data->subscription_data_set[i], &changed);
        if (fault != NULL)
            *cause = fault;
    }
    for (struct map_entry *at; (at = map_next(&group->subscriptions, &cursor)) != NULL;) {
        const struct topic_subscription *entry = at->value;
        if (entry->seen == group->heartbeats)
            continue;
        subscription_drop(clients, group, at->key);
        changed = true;
    }
    return changed;
}

static void enum_text(char out[ENUM_TEXT_BYTES], const char *name)
{
    size_t size = name == NULL ? 0 : strlen(name);
    if (size >= ENUM_TEXT_BYTES)
        size = ENUM_TEXT_BYTES - 1;
    if (size != 0)
        memcpy(out, name, size);
    out[size] = 0;
}

/* One connection can join and leave thousands of groups as often as it likes. */
static void log_joined(const char *what, const struct beat *beat)
{
    static struct log_gate gate;
    int64_t suppressed;
    char peer[HOST_TEXT_BYTES];
    if (!log_gate_open(&gate, &suppressed))
        return;
    host_format(beat->peer, peer);
    log_info("state", what, "group=%.*s client=%.*s peer=%s language=%s version=%d others=%lld",
             SLICE_ARGS(beat->group), SLICE_ARGS(beat->client_id), peer,
             language_name(beat->language), beat->version, (long long)suppressed);
}

void clients_heartbeat_consumer(struct clients *clients, struct conn_ref conn,
                                const struct host *peer, const char *client_id, uint8_t language,
                                int32_t version, const ConsumerData *data, int64_t now_ms,
                                struct arena *arena, struct notify_list **notify)
{
    struct beat beat = {.kind = KIND_CONSUMER,
                        .conn = conn,
                        .peer = peer,
                        .client_id = slice_of_cstr(client_id),
                        .group = slice_of_cstr(data->group_name),
                        .language = language,
                        .version = version,
                        .now_ms = now_ms};
    bool joined = false;
    *notify = NULL;
    const char *cause = beat_fault(&beat);
    if (cause == NULL) {
        clients_lock(clients);
        cause = member_beat(clients, &beat, &joined);
        if (cause == NULL) {
            struct group *group = group_find(clients, KIND_CONSUMER, beat.group);
            enum_text(group->consume_type, data->consume_type);
            enum_text(group->message_model, data->message_model);
            enum_text(group->consume_from_where, data->consume_from_where);
            group->model = strcmp(group->message_model, "BROADCASTING") == 0 ? MODEL_BROADCASTING
                                                                             : MODEL_CLUSTERING;
            bool changed = subscriptions_merge(clients, group, data, &cause);
            if (joined || changed)
                notify_group(group, arena, notify);
        }
        clients_unlock(clients);
    }
    if (joined)
        log_joined("consumer joined", &beat);
    if (cause != NULL)
        refuse(&beat, cause);
}

void clients_heartbeat_producer(struct clients *clients, struct conn_ref conn,
                                const struct host *peer, const char *client_id, uint8_t language,
                                int32_t version, const char *group, int64_t now_ms)
{
    struct beat beat = {.kind = KIND_PRODUCER,
                        .conn = conn,
                        .peer = peer,
                        .client_id = slice_of_cstr(client_id),
                        .group = slice_of_cstr(group),
                        .language = language,
                        .version = version,
                        .now_ms = now_ms};
    bool joined = false;
    const char *cause = beat_fault(&beat);
    if (cause == NULL) {
        clients_lock(clients);
        cause = member_beat(clients, &beat, &joined);
        clients_unlock(clients);
    }
    if (joined)
        log_joined("producer joined", &beat);
    if (cause != NULL)
        refuse(&beat, cause);
}

/* --- leaving --- */

/* With the lock held. */
static void leave(struct clients *clients, struct conn_ref conn, enum kind kind,
                  struct slice group_name, struct arena *arena, struct notify_list **notify)
{
    struct member *member = member_find(clients, conn, kind, group_name);
    if (member == NULL)
        return;
    struct connection *connection = member->connection;
    const struct group *group = member_remove(clients, member);
    if (group != NULL && kind == KIND_CONSUMER)
        notify_group(group, arena, notify);
    connection_free_if_unused(clients, connection);
}

void clients_unregister(struct clients *clients, struct conn_ref conn, const char *producer_group,
                        const char *consumer_group, struct arena *arena,
                        struct notify_list **notify)
{
    *notify = NULL;
    clients_lock(clients);
    leave(clients, conn, KIND_PRODUCER, slice_of_cstr(producer_group), arena, notify);
    leave(clients, conn, KIND_CONSUMER, slice_of_cstr(consumer_group), arena, notify);
    clients_unlock(clients);
}

void clients_closed(struct clients *clients, struct conn_ref conn, struct arena *arena,
                    struct notify_list **notify)
{
    *notify = NULL;
    clients_lock(clients);
    struct connection *connection = connection_find(clients, conn);
    if (connection != NULL) {
        list_for_each (node, &connection->members) {
            struct member *member = list_entry(node, struct member, in_connection);
            bool consumer = member->kind == KIND_CONSUMER;
            const struct group *group = member_remove(clients, member);
            if (group != NULL && consumer)
                notify_group(group, arena, notify);
        }
        connection_free_if_unused(clients, connection);
    }
    clients_unlock(clients);
}

/* With the lock held: whether a member has been silent for too long. */
static bool has_silent(const struct connection *connection, int64_t oldest_ms)
{
    list_for_each (node, &connection->members)
        if (list_entry(node, struct member, in_connection)->last_heartbeat_ms < oldest_ms)
            return true;
    return false;
}

void clients_silent(const struct clients *clients, int64_t now_ms, int64_t max_silence_ms,
                    struct arena *arena, struct notify_list **close)
{
    struct notify_list *list = NULL;
    size_t cursor = 0;
    clients_lock(clients);
    size_t room = clients->connections.count;
    for (struct map_entry *at; (at = map_next(&clients->connections, &cursor)) != NULL;) {
        const struct connection *connection = at->value;
        if (!has_silent(connection, now_ms - max_silence_ms))
            continue;
        if (list == NULL) {
            list = arena_zalloc(arena, sizeof *list);
            list->conns = arena_alloc(arena, room * sizeof *list->conns);
        }
        list->conns[list->count++] = connection->conn;
    }
    clients_unlock(clients);
    *close = list;
    if (list != NULL)
        log_warn("state", "silent clients are dropped", "connections=%zu silence_ms=%lld",
                 list->count, (long long)max_silence_ms);
}

/* --- life --- */

struct clients *clients_new(void)
{
    struct clients *clients = xcalloc(1, sizeof *clients);
    CHECK(pthread_mutex_init(&clients->lock, NULL) == 0);
    return clients;
}

void clients_free(struct clients *clients)
{
    size_t cursor = 0;
    for (struct map_entry *at; (at = map_next(&clients->connections, &cursor)) != NULL;) {
        struct connection *connection = at->value;
        list_for_each (node, &connection->members)
            (void)member_remove(clients, list_entry(node, struct member, in_connection));
        connection_free_if_unused(clients, connection);
    }
    CHECK(clients->bytes == 0);
    for (int kind = 0; kind < KIND_COUNT; kind++)
        map_release(&clients->groups[kind]);
    map_release(&clients->members);
    map_release(&clients->connections);
    map_release(&clients->producer_ids);
    CHECK(pthread_mutex_destroy(&clients->lock) == 0);
    free(clients);
}

/* --- look-ups --- */

struct subscription *clients_subscription(const struct clients *clients, struct slice group,
                                          struct slice topic, bool *group_online,
                                          enum message_model *model)
{
    struct subscription *found = NULL;
    clients_lock(clients);
    const struct group *online = group_find(clients, KIND_CONSUMER, group);
    *group_online = online != NULL;
    if (online != NULL) {
        const struct topic_subscription *entry = map_get(&online->subscriptions, topic);
        if (entry != NULL)
            found = subscription_ref(entry->current);
        if (model != NULL)
            *model = online->model;
    }
    clients_unlock(clients);
    return found;
}

size_t clients_subscription_count(const struct clients *clients, struct slice group)
{
    clients_lock(clients);
    const struct group *online = group_find(clients, KIND_CONSUMER, group);
    size_t count = online == NULL ? 0 : online->subscriptions.count;
    clients_unlock(clients);
    return count;
}

static void info_of(const struct member *member, struct arena *arena, struct client_info *out)
{
    *out = (struct client_info){
        .conn = member->connection->conn,
        .peer = member->peer,
        .client_id = arena_cstr(arena, member->client_id),
        .language = member->language,
        .version = member->version,
        .last_heartbeat_ms = member->last_heartbeat_ms,
    };
}

static bool group_members(const struct clients *clients, enum kind kind, struct slice name,
                          struct arena *arena, struct client_info **members, size_t *count)
{
    *members = NULL;
    *count = 0;
    clients_lock(clients);
    const struct group *group = group_find(clients, kind, name);
    if (group != NULL) {
        *members = arena_alloc(arena, group->member_count * sizeof **members);
        list_for_each (node, &group->members)
            info_of(list_entry(node, struct member, in_group), arena, &(*members)[(*count)++]);
    }
    clients_unlock(clients);
    return group != NULL;
}

bool clients_consumer_members(const struct clients *clients, struct slice group,
                              struct arena *arena, struct client_info **members, size_t *count)
{
    return group_members(clients, KIND_CONSUMER, group, arena, members, count);
}

bool clients_producer_members(const struct clients *clients, struct slice group,
                              struct arena *arena, struct client_info **members, size_t *count)
{
    return group_members(clients, KIND_PRODUCER, group, arena, members, count);
}

static Connection *connection_wrap(const struct member *member, struct arena *arena)
{
    Connection *out = arena_alloc(arena, sizeof *out);
    connection__init(out);
    out->client_addr = arena_alloc(arena, HOST_TEXT_BYTES);
    host_format(&member->peer, out->client_addr);
    out->client_id = arena_cstr(arena, member->client_id);
    out->language = arena_cstr(arena, slice_of_cstr(language_name(member->language)));
    out->version = member->version;
    return out;
}

/* With the lock held. */
static void group_wrap(const struct group *group, struct arena *arena, ConsumerConnection *out)
{
    size_t cursor = 0;
    consumer_connection__init(out);
    out->consume_type = arena_cstr(arena, slice_of_cstr(group->consume_type));
    out->message_model = arena_cstr(arena, slice_of_cstr(group->message_model));
    out->consume_from_where = arena_cstr(arena, slice_of_cstr(group->consume_from_where));
    out->connection_set = arena_alloc(arena, group->member_count * sizeof *out->connection_set);
    list_for_each (node, &group->members)
        out->connection_set[out->n_connection_set++] =
            connection_wrap(list_entry(node, struct member, in_group), arena);
    out->subscription_table =
        arena_alloc(arena, group->subscriptions.count * sizeof *out->subscription_table);
    for (struct map_entry *at; (at = map_next(&group->subscriptions, &cursor)) != NULL;) {
        const struct topic_subscription *topic = at->value;
        SubscriptionEntry *entry = arena_alloc(arena, sizeof *entry);
        subscription_entry__init(entry);
        entry->key = arena_cstr(arena, at->key);
        entry->value = subscription_wrap(topic->current, arena);
        out->subscription_table[out->n_subscription_table++] = entry;
    }
}

bool clients_consumer_connection(const struct clients *clients, struct slice group,
                                 struct arena *arena, ConsumerConnection *out)
{
    clients_lock(clients);
    const struct group *online = group_find(clients, KIND_CONSUMER, group);
    if (online != NULL)
        group_wrap(online, arena, out);
    clients_unlock(clients);
    return online != NULL;
}

bool clients_find_consumer(const struct clients *clients, struct slice group,
                           struct slice client_id, struct client_info *out, struct arena *arena)
{
    bool found = false;
    clients_lock(clients);
    const struct group *online = group_find(clients, KIND_CONSUMER, group);
    if (online != NULL) {
        list_for_each (node, &online->members) {
            const struct member *member = list_entry(node, struct member, in_group);
            if (!slice_equal(member->client_id, client_id))
                continue;
            info_of(member, arena, out);
            found = true;
            break;
        }
    }
    clients_unlock(clients);
    return found;
}

bool clients_find_producer(const struct clients *clients, struct slice client_id,
                           struct conn_ref *out)
{
    clients_lock(clients);
    const struct client_id *id = map_get(&clients->producer_ids, client_id);
    if (id != NULL)
        *out = list_entry(id->members.prev, struct member, in_client_id)->connection->conn;
    clients_unlock(clients);
    return id != NULL;
}

void clients_groups_of(const struct clients *clients, struct slice topic,
                       void (*each)(void *ctx, struct slice group), void *ctx)
{
    struct arena arena;
    size_t count = 0;
    size_t cursor = 0;
    arena_init(&arena, 4096);
    clients_lock(clients);
    const struct map *groups = &clients->groups[KIND_CONSUMER];
    struct slice *names = arena_alloc(&arena, groups->count * sizeof *names);
    for (struct map_entry *at; (at = map_next(groups, &cursor)) != NULL;) {
        const struct group *group = at->value;
        if (map_get(&group->subscriptions, topic) != NULL)
            names[count++] = arena_copy(&arena, group->name);
    }
    clients_unlock(clients);
    for (size_t i = 0; i < count; i++)
        each(ctx, names[i]);
    arena_release(&arena);
}
