/* SPDX-License-Identifier: Apache-2.0
 *
 * The changes of the route table. What the server of 4.9.2 does on each event, tool and client
 * authors rely on, including the parts that look odd; they are marked where they happen.
 *
 * A change of a broker does not touch its topics: it stamps the broker with a new change number,
 * and route_view.c compares stamps when the topic is asked for. So registering is cheap however
 * many topics a broker serves.
 */
#include "namesrv/route.h"

#include "common/base/check.h"
#include "namesrv/route_state.h"
#include "namesrv/route_view.h"

#include <stdio.h>
#include <stdlib.h>

#define PERM_READ 4
#define PERM_WRITE 2

/* Memory of the pieces. */

static char *text_copy(struct slice text)
{
    char *copy = xmalloc(text.size + 1);
    if (text.size != 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

static bool text_is(const char *text, struct slice other)
{
    return slice_equal(slice_of_cstr(text), other);
}

static void texts_free(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

static void broker_free(struct route_broker *broker)
{
    for (size_t i = 0; i < broker->address_count; i++) {
        free(broker->addresses[i].text);
        free(broker->addresses[i].rival);
    }
    free(broker->addresses);
    free(broker->cluster);
    free(broker->name);
    free(broker);
}

static void topic_free(struct route_topic *topic)
{
    if (topic->body != NULL)
        route_body_release(topic->body);
    free(topic->queues);
    free(topic);
}

static void cluster_free(struct route_cluster *cluster)
{
    map_release(&cluster->broker_names);
    free(cluster->name);
    free(cluster);
}

static void live_free(struct route_live *live)
{
    list_remove(&live->in_order);
    texts_free(live->filter_servers, live->filter_server_count);
    free(live->ha_server_addr);
    free(live->address);
    free(live);
}

struct route *route_new(void)
{
    struct route *route = xcalloc(1, sizeof *route);
    list_init(&route->live_order);
    return route;
}

void route_free(struct route *route)
{
    if (route == NULL)
        return;
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->topics, &cursor)) != NULL;)
        topic_free(e->value);
    cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->brokers, &cursor)) != NULL;)
        broker_free(e->value);
    cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->clusters, &cursor)) != NULL;)
        cluster_free(e->value);
    cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->lives, &cursor)) != NULL;)
        live_free(e->value);
    map_release(&route->topics);
    map_release(&route->brokers);
    map_release(&route->clusters);
    map_release(&route->lives);
    free(route);
}

/* Topics and their queues. */

static void topic_changed(struct route_topic *topic)
{
    if (topic->body != NULL)
        route_body_release(topic->body);
    topic->body = NULL;
}

static void topic_append(struct route_topic *topic, struct route_queue queue)
{
    if (topic->queue_count == topic->queue_capacity) {
        uint32_t capacity = topic->queue_capacity == 0 ? 1 : topic->queue_capacity * 2;
        topic->queues = xrealloc(topic->queues, capacity * sizeof *topic->queues);
        topic->queue_capacity = capacity;
    }
    topic->queues[topic->queue_count++] = queue;
}

static void topic_take_out(struct route_topic *topic, struct route_queue *queue)
{
    size_t index = (size_t)(queue - topic->queues);
    memmove(queue, queue + 1, (topic->queue_count - index - 1) * sizeof *queue);
    topic->queue_count--;
}

static struct route_queue *topic_queue_of(struct route_topic *topic,
                                          const struct route_broker *broker)
{
    for (uint32_t i = 0; i < topic->queue_count; i++)
        if (topic->queues[i].broker == broker)
            return &topic->queues[i];
    return NULL;
}

static bool queue_equal(const struct route_queue *a, const struct route_queue *b)
{
    return a->broker == b->broker && a->read_queue_nums == b->read_queue_nums &&
           a->write_queue_nums == b->write_queue_nums && a->perm == b->perm &&
           a->topic_sys_flag == b->topic_sys_flag;
}

static struct route_topic *topic_add(struct route *route, struct slice name)
{
    struct route_topic *topic = xcalloc(1, sizeof *topic + name.size + 1);
    memcpy(topic->name, name.data, name.size);
    (void)map_put(&route->topics, name, topic);
    return topic;
}

static void topic_take_config(struct route *route, struct route_broker *broker,
                              const TopicConfig *config, struct route_registered *out)
{
    struct slice name = slice_of_cstr(config->topic_name);
    if (name.size == 0)
        return;
    if (name.size > ROUTE_TEXT_BYTES_MAX) {
        out->topics_refused++;
        return;
    }
    struct route_queue queue = {broker, config->read_queue_nums, config->write_queue_nums,
                                config->perm, config->topic_sys_flag};
    struct route_topic *topic = map_get(&route->topics, name);
    struct route_queue *old = topic == NULL ? NULL : topic_queue_of(topic, broker);
    if (old != NULL) {
        if (queue_equal(old, &queue))
            return;
        topic_take_out(topic, old);
        out->topics_changed++;
    } else {
        if (route->queue_count >= ROUTE_QUEUES_MAX ||
            (topic == NULL && route->topics.count >= ROUTE_TOPICS_MAX)) {
            out->topics_refused++;
            return;
        }
        if (topic == NULL)
            topic = topic_add(route, name);
        route->queue_count++;
        out->topics_added++;
    }
    topic_append(topic, queue);
    topic_changed(topic);
}

static void topic_drop(struct route *route, struct route_topic *topic)
{
    route->queue_count -= topic->queue_count;
    (void)map_remove(&route->topics, slice_of_cstr(topic->name));
    topic_free(topic);
}

/* Returns how many topics lost this broker's queues. */
static size_t topics_forget_broker(struct route *route, const struct route_broker *broker)
{
    size_t topics = 0;
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->topics, &cursor)) != NULL;) {
        struct route_topic *topic = e->value;
        struct route_queue *queue = topic_queue_of(topic, broker);
        if (queue == NULL)
            continue;
        topics++;
        if (topic->queue_count == 1) {
            topic_drop(route, topic);
        } else {
            topic_take_out(topic, queue);
            route->queue_count--;
            topic_changed(topic);
        }
    }
    return topics;
}

/* Clusters. */

static void cluster_add_name(struct route *route, struct slice cluster_name,
                             struct slice broker_name)
{
    struct route_cluster *cluster = map_get(&route->clusters, cluster_name);
    if (cluster == NULL) {
        cluster = xcalloc(1, sizeof *cluster);
        cluster->name = text_copy(cluster_name);
        (void)map_put(&route->clusters, cluster_name, cluster);
    }
    if (map_put(&cluster->broker_names, broker_name, cluster) == NULL)
        route->member_count++;
}

static bool cluster_has_name(const struct route *route, struct slice cluster_name,
                             struct slice broker_name)
{
    const struct route_cluster *cluster = map_get(&route->clusters, cluster_name);
    return cluster != NULL && map_get(&cluster->broker_names, broker_name) != NULL;
}

static bool cluster_remove_name(struct route *route, struct route_cluster *cluster,
                                struct slice broker_name)
{
    if (map_remove(&cluster->broker_names, broker_name) == NULL)
        return false;
    route->member_count--;
    if (cluster->broker_names.count == 0) {
        (void)map_remove(&route->clusters, slice_of_cstr(cluster->name));
        cluster_free(cluster);
    }
    return true;
}

/* Brokers and their addresses. */

static void broker_changed(struct route *route, struct route_broker *broker)
{
    broker->changed_at = ++route->change;
}

static struct route_address *broker_find_id(struct route_broker *broker, int64_t id)
{
    for (size_t i = 0; i < broker->address_count; i++)
        if (broker->addresses[i].id == id)
            return &broker->addresses[i];
    return NULL;
}

static void broker_take_out(struct route_broker *broker, struct route_address *address)
{
    size_t index = (size_t)(address - broker->addresses);
    free(address->text);
    free(address->rival);
    memmove(address, address + 1, (broker->address_count - index - 1) * sizeof *address);
    broker->address_count--;
}

static void broker_insert(struct route_broker *broker, int64_t id, struct slice text)
{
    size_t at = broker->address_count;
    while (at > 0 && broker->addresses[at - 1].id > id)
        at--;
    broker->addresses =
        xrealloc(broker->addresses, (broker->address_count + 1) * sizeof *broker->addresses);
    memmove(&broker->addresses[at + 1], &broker->addresses[at],
            (broker->address_count - at) * sizeof *broker->addresses);
    broker->addresses[at] = (struct route_address){id, text_copy(text), NULL};
    broker->address_count++;
}

static bool lives(const struct route *route, const char *address)
{
    return address != NULL && map_get(&route->lives, slice_of_cstr(address)) != NULL;
}

/* Does `r` come from a live broker that had its id until another one took it? */
static bool was_displaced(const struct route *route, const struct route_broker *broker,
                          const struct route_registration *r)
{
    for (size_t i = 0; i < broker->address_count; i++)
        if (text_is(broker->addresses[i].text, r->broker_addr))
            return false; /* it changes its id: a slave that becomes the master */
    return map_get(&route->lives, r->broker_addr) != NULL;
}

/* Who else claims the id that `r` registers for; before that is done. One that takes an id is no
 * rival: its holder may be a machine that has just lost its power, whose connection is not known to
 * have gone. When the holder registers again, there are two. */
static char *rival_of(const struct route *route, struct route_broker *broker,
                      const struct route_registration *r, bool *is_new)
{
    const struct route_address *slot = broker_find_id(broker, r->broker_id);
    if (slot == NULL)
        return NULL;
    bool same = text_is(slot->text, r->broker_addr);
    const char *other = same ? slot->rival : slot->text;
    if (!lives(route, other) || !(same || was_displaced(route, broker, r)))
        return NULL;
    const struct route_live *live = map_get(&route->lives, slice_of_cstr(other));
    if (conn_ref_equal(live->conn, r->conn))
        return NULL; /* one that has moved is no rival of itself */
    *is_new = !lives(route, slot->rival);
    return xstrdup(other);
}

/* Put `text` under `id`; the same address under another id of this name goes (a slave that has
 * become master). */
static void broker_set_address(struct route *route, struct route_broker *broker, int64_t id,
                               struct slice text)
{
    struct route_address *slot = broker_find_id(broker, id);
    bool same = slot != NULL && text_is(slot->text, text);
    bool moved = false;
    for (size_t i = broker->address_count; i-- > 0;) {
        struct route_address *address = &broker->addresses[i];
        if (address->id != id && text_is(address->text, text)) {
            broker_take_out(broker, address);
            moved = true;
        }
    }
    if (!same) {
        slot = broker_find_id(broker, id);
        if (slot != NULL)
            broker_take_out(broker, slot);
        broker_insert(broker, id, text);
    }
    if (!same || moved)
        broker_changed(route, broker);
}

static struct route_broker *broker_add(struct route *route, struct slice cluster_name,
                                       struct slice name)
{
    struct route_broker *broker = xcalloc(1, sizeof *broker);
    broker->name = text_copy(name);
    broker->cluster = text_copy(cluster_name);
    (void)map_put(&route->brokers, name, broker);
    return broker;
}

/* Take the broker out of the table and its queues out of all topics. Clusters are the caller's. */
static size_t broker_drop(struct route *route, struct route_broker *broker)
{
    size_t topics = topics_forget_broker(route, broker);
    (void)map_remove(&route->brokers, slice_of_cstr(broker->name));
    broker_free(broker);
    return topics;
}

/* The filter servers of an address are part of every route that shows the address. */
static void address_changed(struct route *route, struct slice address)
{
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->brokers, &cursor)) != NULL;) {
        struct route_broker *broker = e->value;
        for (size_t i = 0; i < broker->address_count; i++)
            if (text_is(broker->addresses[i].text, address))
                broker_changed(route, broker);
    }
}

/* Live addresses. */

static struct route_live *live_add(struct route *route, struct slice address)
{
    struct route_live *live = xcalloc(1, sizeof *live);
    live->address = text_copy(address);
    list_append(&route->live_order, &live->in_order);
    (void)map_put(&route->lives, address, live);
    return live;
}

static bool live_drop(struct route *route, struct slice address)
{
    struct route_live *live = map_remove(&route->lives, address);
    if (live == NULL)
        return false;
    bool had_filters = live->filter_server_count != 0;
    live_free(live);
    if (had_filters)
        address_changed(route, address);
    return true;
}

static void live_set_filters(struct route *route, struct route_live *live,
                             const struct route_registration *r)
{
    size_t count = r->filter_server_count < ROUTE_FILTER_SERVERS_MAX ? r->filter_server_count
                                                                     : ROUTE_FILTER_SERVERS_MAX;
    bool same = count == live->filter_server_count;
    for (size_t i = 0; same && i < count; i++)
        same = strcmp(live->filter_servers[i], r->filter_servers[i]) == 0;
    if (same)
        return;
    texts_free(live->filter_servers, live->filter_server_count);
    live->filter_servers = count == 0 ? NULL : xcalloc(count, sizeof *live->filter_servers);
    live->filter_server_count = count;
    for (size_t i = 0; i < count; i++)
        live->filter_servers[i] = xstrdup(r->filter_servers[i]);
    address_changed(route, r->broker_addr);
}

static void live_set_ha(struct route_live *live, struct slice ha_server_addr)
{
    if (live->ha_server_addr != NULL && text_is(live->ha_server_addr, ha_server_addr))
        return;
    free(live->ha_server_addr);
    live->ha_server_addr = text_copy(ha_server_addr);
}

/* Events. */

static bool version_equal(struct route_version a, struct route_version b)
{
    return a.counter == b.counter && a.timestamp == b.timestamp;
}

bool route_wants_topics(const struct route *route, const struct route_registration *r)
{
    if (r->broker_id != ROUTE_MASTER_ID)
        return false;
    const struct route_live *live = map_get(&route->lives, r->broker_addr);
    if (live == NULL || !version_equal(live->version, r->version))
        return true;
    struct route_broker *broker = map_get(&route->brokers, r->broker_name);
    return broker == NULL || broker_find_id(broker, r->broker_id) == NULL;
}

static bool registration_fits(const struct route *route, const struct route_registration *r)
{
    struct route_broker *broker = map_get(&route->brokers, r->broker_name);
    if (broker == NULL && route->brokers.count >= ROUTE_BROKERS_MAX)
        return false;
    if (broker != NULL && broker_find_id(broker, r->broker_id) == NULL &&
        broker->address_count >= ROUTE_ADDRESSES_MAX)
        return false;
    if (route->lives.count >= ROUTE_BROKERS_MAX && map_get(&route->lives, r->broker_addr) == NULL)
        return false;
    return route->member_count < ROUTE_BROKERS_MAX ||
           cluster_has_name(route, r->cluster_name, r->broker_name);
}

static bool texts_fit(const struct route_registration *r)
{
    if (r->has_filter_servers)
        for (size_t i = 0; i < r->filter_server_count; i++)
            if (strlen(r->filter_servers[i]) > ROUTE_TEXT_BYTES_MAX)
                return false;
    return r->cluster_name.size <= ROUTE_TEXT_BYTES_MAX &&
           r->broker_name.size <= ROUTE_TEXT_BYTES_MAX &&
           r->broker_addr.size <= ROUTE_TEXT_BYTES_MAX &&
           r->ha_server_addr.size <= ROUTE_TEXT_BYTES_MAX;
}

/* A slave learns where to replicate from; the arena's copies outlive the caller's lock. */
static void tell_master(const struct route *route, struct route_broker *broker, struct arena *arena,
                        struct route_registered *out)
{
    const struct route_address *master = broker_find_id(broker, ROUTE_MASTER_ID);
    if (master == NULL)
        return;
    const struct route_live *live = map_get(&route->lives, slice_of_cstr(master->text));
    if (live == NULL)
        return;
    out->master_addr = arena_copy(arena, slice_of_cstr(master->text));
    out->ha_server_addr = arena_copy(arena, slice_of_cstr(live->ha_server_addr));
}

enum status route_register(struct route *route, const struct route_registration *r,
                           struct arena *arena, struct route_registered *out)
{
    if (!texts_fit(r))
        return STATUS_TOO_LARGE;
    if (!registration_fits(route, r))
        return STATUS_FULL;
    *out = (struct route_registered){0};
    bool wants_topics = route_wants_topics(route, r);

    cluster_add_name(route, r->cluster_name, r->broker_name);
    /* The cluster of a broker name stays the one it came with first, whatever a later registration
     * says, as in 4.9.2. */
    struct route_broker *broker = map_get(&route->brokers, r->broker_name);
    if (broker == NULL)
        broker = broker_add(route, r->cluster_name, r->broker_name);
    char *rival = rival_of(route, broker, r, &out->rival_is_new);
    broker_set_address(route, broker, r->broker_id, r->broker_addr);
    struct route_address *slot = broker_find_id(broker, r->broker_id);
    free(slot->rival);
    slot->rival = rival;
    if (rival != NULL)
        out->rival = arena_copy(arena, slice_of_cstr(rival));

    if (wants_topics)
        for (size_t i = 0; i < r->topic_count; i++)
            topic_take_config(route, broker, r->topics[i]->value, out);

    struct route_live *live = map_get(&route->lives, r->broker_addr);
    out->address_is_new = live == NULL;
    if (live == NULL)
        live = live_add(route, r->broker_addr);
    live->last_ms = r->now_ms;
    live->version = r->version;
    live->conn = r->conn;
    live_set_ha(live, r->ha_server_addr);
    if (r->has_filter_servers)
        live_set_filters(route, live, r);

    if (r->broker_id != ROUTE_MASTER_ID)
        tell_master(route, broker, arena, out);
    return STATUS_OK;
}

bool route_unregister(struct route *route, struct slice cluster_name, struct slice broker_name,
                      struct slice broker_addr, int64_t broker_id)
{
    bool was_live = live_drop(route, broker_addr);
    struct route_broker *broker = map_get(&route->brokers, broker_name);
    if (broker == NULL)
        return was_live;
    struct route_address *address = broker_find_id(broker, broker_id);
    if (address == NULL)
        return was_live;
    broker_take_out(broker, address);
    broker_changed(route, broker);
    if (broker->address_count != 0)
        return true;
    /* Only the cluster that the broker names now: 4.9.2 looks no further. */
    struct route_cluster *cluster = map_get(&route->clusters, cluster_name);
    if (cluster != NULL)
        (void)cluster_remove_name(route, cluster, broker_name);
    (void)broker_drop(route, broker);
    return true;
}

bool route_query_version(struct route *route, struct slice broker_addr,
                         struct route_version version, int64_t now_ms, bool *known,
                         struct route_version *stored)
{
    struct route_live *live = map_get(&route->lives, broker_addr);
    *known = live != NULL;
    if (live == NULL)
        return true;
    *stored = live->version;
    if (!version_equal(live->version, version))
        return true;
    live->last_ms = now_ms;
    return false;
}

static struct route_broker *broker_by_address(struct route *route, struct slice text,
                                              struct route_address **out)
{
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->brokers, &cursor)) != NULL;) {
        struct route_broker *broker = e->value;
        for (size_t i = 0; i < broker->address_count; i++) {
            if (text_is(broker->addresses[i].text, text)) {
                *out = &broker->addresses[i];
                return broker;
            }
        }
    }
    return NULL;
}

/* The broker's name leaves the first cluster that has it. */
static void clusters_forget_name(struct route *route, struct slice broker_name)
{
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->clusters, &cursor)) != NULL;)
        if (cluster_remove_name(route, e->value, broker_name))
            return;
}

static bool address_lost(struct route *route, struct slice text, struct route_gone *out)
{
    *out = (struct route_gone){.conn = CONN_REF_NONE};
    (void)snprintf(out->address, sizeof out->address, "%.*s", SLICE_ARGS(text));
    const struct route_live *live = map_get(&route->lives, text);
    if (live != NULL)
        out->conn = live->conn;

    struct route_address *address = NULL;
    struct route_broker *broker = broker_by_address(route, text, &address);
    if (broker != NULL) {
        (void)snprintf(out->broker_name, sizeof out->broker_name, "%s", broker->name);
        broker_take_out(broker, address);
        broker_changed(route, broker);
        if (broker->address_count == 0) {
            out->name_dropped = true;
            clusters_forget_name(route, slice_of_cstr(broker->name));
            out->topics = broker_drop(route, broker);
        }
    }
    /* Last, because `text` may be the live entry's own. */
    out->was_live = live != NULL;
    if (live != NULL) {
        char *copy = text_copy(text);
        (void)live_drop(route, slice_of_cstr(copy));
        free(copy);
    }
    return out->was_live || broker != NULL;
}

bool route_close(struct route *route, struct conn_ref conn, struct slice peer,
                 struct route_gone *out)
{
    list_for_each (node, &route->live_order) {
        const struct route_live *live = list_entry(node, struct route_live, in_order);
        if (conn_ref_equal(live->conn, conn))
            return address_lost(route, slice_of_cstr(live->address), out);
    }
    return address_lost(route, peer, out);
}

bool route_expire(struct route *route, int64_t now_ms, struct route_gone *out)
{
    list_for_each (node, &route->live_order) {
        const struct route_live *live = list_entry(node, struct route_live, in_order);
        if (live->last_ms + ROUTE_EXPIRY_MS < now_ms)
            return address_lost(route, slice_of_cstr(live->address), out);
    }
    return false;
}

/* Every queue entry of the broker gets (perm & keep) | add. */
static size_t change_permission(struct route *route, struct slice broker_name, int32_t keep,
                                int32_t add, size_t *changed)
{
    *changed = 0;
    const struct route_broker *broker = map_get(&route->brokers, broker_name);
    if (broker == NULL)
        return 0;
    size_t topics = 0;
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->topics, &cursor)) != NULL;) {
        struct route_topic *topic = e->value;
        struct route_queue *queue = topic_queue_of(topic, broker);
        if (queue == NULL)
            continue;
        topics++;
        int32_t perm = (queue->perm & keep) | add;
        if (perm != queue->perm) {
            queue->perm = perm;
            topic_changed(topic);
            ++*changed;
        }
    }
    return topics;
}

size_t route_wipe_write_permission(struct route *route, struct slice broker_name, size_t *changed)
{
    return change_permission(route, broker_name, ~PERM_WRITE, 0, changed);
}

size_t route_add_write_permission(struct route *route, struct slice broker_name, size_t *changed)
{
    return change_permission(route, broker_name, 0, PERM_READ | PERM_WRITE, changed);
}

bool route_delete_topic(struct route *route, struct slice topic)
{
    struct route_topic *found = map_get(&route->topics, topic);
    if (found == NULL)
        return false;
    topic_drop(route, found);
    return true;
}

struct route_counts route_count(const struct route *route)
{
    return (struct route_counts){.brokers = route->brokers.count,
                                 .clusters = route->clusters.count,
                                 .addresses = route->lives.count,
                                 .topics = route->topics.count,
                                 .queues = route->queue_count};
}
