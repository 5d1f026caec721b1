/* SPDX-License-Identifier: Apache-2.0
 *
 * Route answers. The message trees borrow the table's texts and live in an arena for the time of
 * one encoding.
 */
#include "namesrv/route_view.h"

#include "common/base/check.h"
#include "namesrv/route_state.h"
#include "proto/body_json.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SYS_FLAG_UNIT 1
#define SYS_FLAG_UNIT_SUB 2

#define TREE_BLOCK_BYTES 16384

struct route_body {
    _Atomic uint32_t references;
    size_t size;
    uint8_t bytes[];
};

struct slice route_body_bytes(const struct route_body *body)
{
    return slice_of(body->bytes, body->size);
}

void route_body_release(void *body)
{
    struct route_body *self = body;
    if (atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel) == 1)
        free(self);
}

static struct route_body *body_new(struct slice bytes)
{
    struct route_body *body = xmalloc(sizeof *body + bytes.size);
    atomic_init(&body->references, 1);
    body->size = bytes.size;
    memcpy(body->bytes, bytes.data, bytes.size);
    return body;
}

/* Message trees. */

static BrokerData *broker_tree(const struct route_broker *broker, struct arena *arena)
{
    BrokerData *data = arena_alloc(arena, sizeof *data);
    broker_data__init(data);
    data->broker_name = broker->name;
    data->cluster = broker->cluster;
    data->n_broker_addrs = broker->address_count;
    data->broker_addrs = arena_alloc(arena, broker->address_count * sizeof *data->broker_addrs);
    for (size_t i = 0; i < broker->address_count; i++) {
        BrokerAddrEntry *entry = arena_alloc(arena, sizeof *entry);
        broker_addr_entry__init(entry);
        entry->key = broker->addresses[i].id;
        entry->value = broker->addresses[i].text;
        data->broker_addrs[i] = entry;
    }
    return data;
}

static QueueData *queue_tree(const struct route_queue *queue, struct arena *arena)
{
    QueueData *data = arena_alloc(arena, sizeof *data);
    queue_data__init(data);
    data->broker_name = queue->broker->name;
    data->perm = queue->perm;
    data->read_queue_nums = queue->read_queue_nums;
    data->write_queue_nums = queue->write_queue_nums;
    data->topic_sys_flag = queue->topic_sys_flag;
    return data;
}

static size_t count_addresses(const struct route_topic *topic)
{
    size_t count = 0;
    for (uint32_t i = 0; i < topic->queue_count; i++)
        count += topic->queues[i].broker->address_count;
    return count;
}

/* 4.9.2 puts a null for every address without filter servers, which its JSON then leaves out. */
static void add_filter_servers(const struct route *route, const struct route_topic *topic,
                               struct arena *arena, TopicRouteData *data)
{
    data->filter_server_table =
        arena_alloc(arena, count_addresses(topic) * sizeof *data->filter_server_table);
    for (uint32_t i = 0; i < topic->queue_count; i++) {
        const struct route_broker *broker = topic->queues[i].broker;
        for (size_t a = 0; a < broker->address_count; a++) {
            char *address = broker->addresses[a].text;
            const struct route_live *live = map_get(&route->lives, slice_of_cstr(address));
            if (live == NULL || live->filter_server_count == 0)
                continue;
            StringListEntry *entry = arena_alloc(arena, sizeof *entry);
            string_list_entry__init(entry);
            entry->key = address;
            entry->n_value = live->filter_server_count;
            entry->value = live->filter_servers;
            data->filter_server_table[data->n_filter_server_table++] = entry;
        }
    }
}

static void topic_encode(const struct route *route, const struct route_topic *topic,
                         const char *order_topic_conf, struct buf *out)
{
    struct arena arena;
    arena_init(&arena, TREE_BLOCK_BYTES);
    TopicRouteData data = TOPIC_ROUTE_DATA__INIT;
    /* The schema has no const; body_encode does not write through this. */
    data.order_topic_conf = (char *)(uintptr_t)order_topic_conf;
    data.n_queue_datas = topic->queue_count;
    data.queue_datas = arena_alloc(&arena, topic->queue_count * sizeof *data.queue_datas);
    data.n_broker_datas = topic->queue_count;
    data.broker_datas = arena_alloc(&arena, topic->queue_count * sizeof *data.broker_datas);
    for (uint32_t i = 0; i < topic->queue_count; i++) {
        data.queue_datas[i] = queue_tree(&topic->queues[i], &arena);
        data.broker_datas[i] = broker_tree(topic->queues[i].broker, &arena);
    }
    add_filter_servers(route, topic, &arena, &data);
    body_encode(&data.base, BODY_COMPACT, out);
    arena_release(&arena);
}

static bool brokers_changed_since(const struct route_topic *topic, uint64_t change)
{
    for (uint32_t i = 0; i < topic->queue_count; i++)
        if (topic->queues[i].broker->changed_at > change)
            return true;
    return false;
}

static void topic_refresh(const struct route *route, struct route_topic *topic)
{
    if (topic->body != NULL && brokers_changed_since(topic, topic->body_at)) {
        route_body_release(topic->body);
        topic->body = NULL;
    }
    if (topic->body == NULL) {
        struct buf json = BUF_EMPTY;
        topic_encode(route, topic, NULL, &json);
        topic->body = body_new(buf_slice(&json));
        buf_release(&json);
    }
    topic->body_at = route->change;
}

struct route_body *route_view_topic(struct route *route, struct slice topic)
{
    struct route_topic *found = map_get(&route->topics, topic);
    if (found == NULL)
        return NULL;
    if (found->body == NULL || found->body_at != route->change)
        topic_refresh(route, found);
    (void)atomic_fetch_add_explicit(&found->body->references, 1, memory_order_relaxed);
    return found->body;
}

bool route_view_topic_ordered(struct route *route, struct slice topic, const char *order_topic_conf,
                              struct buf *out)
{
    const struct route_topic *found = map_get(&route->topics, topic);
    if (found == NULL)
        return false;
    topic_encode(route, found, order_topic_conf, out);
    return true;
}

/* Sorted walks: tools print what they get, and people compare two print-outs. */

static char *entry_text(const struct map_entry *entry)
{
    return (char *)(uintptr_t)entry->key.data;
}

static StringListEntry *cluster_tree(const struct route_cluster *cluster, struct arena *arena)
{
    StringListEntry *entry = arena_alloc(arena, sizeof *entry);
    string_list_entry__init(entry);
    entry->key = cluster->name;
    struct map_entry **names = map_sorted(&cluster->broker_names, arena);
    entry->n_value = cluster->broker_names.count;
    entry->value = arena_alloc(arena, entry->n_value * sizeof *entry->value);
    for (size_t i = 0; i < entry->n_value; i++)
        entry->value[i] = entry_text(names[i]);
    return entry;
}

void route_view_clusters(const struct route *route, struct buf *out)
{
    struct arena arena;
    arena_init(&arena, TREE_BLOCK_BYTES);
    ClusterInfo info = CLUSTER_INFO__INIT;
    struct map_entry **brokers = map_sorted(&route->brokers, &arena);
    info.n_broker_addr_table = route->brokers.count;
    info.broker_addr_table =
        arena_alloc(&arena, info.n_broker_addr_table * sizeof *info.broker_addr_table);
    for (size_t i = 0; i < info.n_broker_addr_table; i++) {
        BrokerDataEntry *entry = arena_alloc(&arena, sizeof *entry);
        broker_data_entry__init(entry);
        entry->key = entry_text(brokers[i]);
        entry->value = broker_tree(brokers[i]->value, &arena);
        info.broker_addr_table[i] = entry;
    }
    struct map_entry **clusters = map_sorted(&route->clusters, &arena);
    info.n_cluster_addr_table = route->clusters.count;
    info.cluster_addr_table =
        arena_alloc(&arena, info.n_cluster_addr_table * sizeof *info.cluster_addr_table);
    for (size_t i = 0; i < info.n_cluster_addr_table; i++)
        info.cluster_addr_table[i] = cluster_tree(clusters[i]->value, &arena);
    body_encode(&info.base, BODY_COMPACT, out);
    arena_release(&arena);
}

/* Topic lists. */

static void encode_topics(const struct route *route,
                          bool (*wanted)(const struct route_topic *topic, const void *ctx),
                          const void *ctx, struct buf *out)
{
    TopicList list = TOPIC_LIST__INIT;
    list.topic_list = xcalloc(route->topics.count + 1, sizeof *list.topic_list);
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->topics, &cursor)) != NULL;) {
        struct route_topic *topic = e->value;
        if (wanted(topic, ctx))
            list.topic_list[list.n_topic_list++] = topic->name;
    }
    body_encode(&list.base, BODY_COMPACT, out);
    free(list.topic_list);
}

static bool want_all(const struct route_topic *topic, const void *ctx)
{
    (void)topic;
    (void)ctx;
    return true;
}

void route_view_topics(const struct route *route, struct buf *out)
{
    encode_topics(route, want_all, NULL, out);
}

static bool want_marked(const struct route_topic *topic, const void *ctx)
{
    (void)ctx;
    for (uint32_t i = 0; i < topic->queue_count; i++)
        if (topic->queues[i].broker->marked)
            return true;
    return false;
}

static void mark_brokers(struct route *route, const struct route_cluster *cluster, bool mark)
{
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&cluster->broker_names, &cursor)) != NULL;) {
        struct route_broker *broker = map_get(&route->brokers, e->key);
        if (broker != NULL)
            broker->marked = mark;
    }
}

void route_view_cluster_topics(struct route *route, struct slice cluster, struct buf *out)
{
    const struct route_cluster *found = map_get(&route->clusters, cluster);
    if (found != NULL)
        mark_brokers(route, found, true);
    encode_topics(route, want_marked, NULL, out);
    if (found != NULL)
        mark_brokers(route, found, false);
}

static bool want_unit(const struct route_topic *topic, const void *ctx)
{
    enum route_unit_kind kind = *(const enum route_unit_kind *)ctx;
    int32_t flag = topic->queues[0].topic_sys_flag;
    bool unit = (flag & SYS_FLAG_UNIT) != 0;
    bool unit_sub = (flag & SYS_FLAG_UNIT_SUB) != 0;
    switch (kind) {
    case ROUTE_UNIT:
        return unit;
    case ROUTE_UNIT_SUB:
        return unit_sub;
    case ROUTE_UNIT_SUB_NOT_UNIT:
        break;
    }
    return unit_sub && !unit;
}

void route_view_unit_topics(const struct route *route, enum route_unit_kind kind, struct buf *out)
{
    encode_topics(route, want_unit, &kind, out);
}

void route_view_system_topics(const struct route *route, struct buf *out)
{
    struct arena arena;
    arena_init(&arena, TREE_BLOCK_BYTES);
    struct map names = MAP_EMPTY; /* a cluster and a broker may have the same name */
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&route->clusters, &cursor)) != NULL;) {
        const struct route_cluster *cluster = e->value;
        (void)map_put(&names, e->key, e->value);
        size_t member = 0;
        for (struct map_entry *n; (n = map_next(&cluster->broker_names, &member)) != NULL;)
            (void)map_put(&names, n->key, n->value);
    }
    TopicList list = TOPIC_LIST__INIT;
    struct map_entry **sorted = map_sorted(&names, &arena);
    list.n_topic_list = names.count;
    list.topic_list = arena_alloc(&arena, names.count * sizeof *list.topic_list);
    for (size_t i = 0; i < names.count; i++)
        list.topic_list[i] = entry_text(sorted[i]);
    if (route->brokers.count != 0) {
        const struct route_broker *first = map_sorted(&route->brokers, &arena)[0]->value;
        list.broker_addr = first->addresses[0].text;
    }
    body_encode(&list.base, BODY_COMPACT, out);
    map_release(&names);
    arena_release(&arena);
}
