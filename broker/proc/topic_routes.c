/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes of topics. Everything happens on loop 0: a wish is posted there, and is answered from what
 * is kept, or waits in its topic's list while one name server after the other is asked. One
 * question per topic is under way, however many wait for it.
 *
 * When no name server answers, what was known before is used however old it is. While
 * ROUTE_WISHES_MAX wishes wait, others are told that there is nothing; so the table is bounded by
 * ROUTES_MAX and those.
 */
#include "broker/proc/topic_routes.h"

#include "common/base/check.h"
#include "common/base/map.h"
#include "proto/body_json.h"
#include "proto/header.pb-c.h"

#include <stdlib.h>

#define FRESH_MS 5000
#define TIMEOUT_MS 3000
#define ROUTES_MAX 4096
#define NAME_SERVERS_MAX 32
#define ADDRESS_BYTES 256

struct route {
    struct topic_routes *routes;
    struct list wishes;
    bool asking;
    int server; /* the one that is asked */
    bool known;
    int64_t fetched_ms;
    struct arena arena; /* holds `queues` */
    struct route_queues *queues;
    int count;
    char topic[TOPIC_BYTES_MAX + 1];
};

struct topic_routes {
    struct broker *broker;
    struct client *client; /* on loop 0 */
    struct map table;      /* topic -> struct route */
    size_t waiting;        /* wishes in the lists of routes */
};

static void wish_run(struct loop_task *task);

/* A wish finds the module by the broker, which is one per process; kept here all the same. */
struct wish_post {
    struct topic_routes *routes;
    struct route_wish *wish;
    struct loop_task task;
};

struct topic_routes *topic_routes_new(struct broker *broker)
{
    struct topic_routes *routes = xcalloc(1, sizeof *routes);
    struct net_options options = net_options_default();
    options.tls = broker_tls_for_calls(broker);
    routes->broker = broker;
    routes->client = client_new(broker->loops[0], &options);
    return routes;
}

void topic_routes_free(struct topic_routes *routes)
{
    size_t cursor = 0;
    client_free(routes->client); /* fails what is under way, which answers the wishes */
    for (struct map_entry *entry; (entry = map_next(&routes->table, &cursor)) != NULL;) {
        struct route *route = entry->value;
        CHECK(list_empty(&route->wishes));
        arena_release(&route->arena);
        free(route);
    }
    map_release(&routes->table);
    free(routes);
}

void topic_routes_ask(struct topic_routes *routes, struct route_wish *wish)
{
    struct wish_post *post = xcalloc(1, sizeof *post);
    post->routes = routes;
    post->wish = wish;
    post->task.run = wish_run;
    loop_post(routes->broker->loops[0], &post->task);
}

static void answer_wishes(struct route *route)
{
    route->asking = false;
    list_for_each (node, &route->wishes) {
        struct route_wish *wish = list_entry(node, struct route_wish, node);
        list_remove(&wish->node);
        route->routes->waiting--;
        wish->done(wish, route->queues, route->known ? route->count : -1);
    }
}

/* The address of a name server by its place in the list; false behind the last. */
static bool server_address(const struct broker *broker, int index, char out[ADDRESS_BYTES])
{
    const char *rest = broker->conf.namesrvAddr;
    for (int i = 0; *rest != '\0' && i < NAME_SERVERS_MAX;) {
        size_t size = strcspn(rest, ";");
        if (size > 0 && size < ADDRESS_BYTES && i++ == index) {
            memcpy(out, rest, size);
            out[size] = '\0';
            return true;
        }
        rest += size;
        rest += *rest == ';';
    }
    return false;
}

static bool has_master(const TopicRouteData *data, const char *broker_name)
{
    for (size_t i = 0; i < data->n_broker_datas; i++)
        if (strcmp(data->broker_datas[i]->broker_name, broker_name) == 0)
            return data->broker_datas[i]->n_broker_addrs > 0;
    return false;
}

static void take_route(struct route *route, const TopicRouteData *data)
{
    arena_reset(&route->arena);
    route->queues = arena_alloc(&route->arena, (data->n_queue_datas + 1) * sizeof *route->queues);
    route->count = 0;
    for (size_t i = 0; i < data->n_queue_datas; i++) {
        const QueueData *queues = data->queue_datas[i];
        if ((queues->perm & PERM_READ) == 0 || queues->read_queue_nums <= 0 ||
            !has_master(data, queues->broker_name))
            continue;
        route->queues[route->count++] = (struct route_queues){
            arena_cstr(&route->arena, slice_of_cstr(queues->broker_name)),
            queues->read_queue_nums > TOPIC_QUEUES_MAX ? TOPIC_QUEUES_MAX
                                                       : queues->read_queue_nums};
    }
}

static void ask_server(struct route *route);

static void fetched(void *ctx, enum status status, const struct command *response,
                    struct slice body, struct arena *arena)
{
    struct route *route = ctx;
    TopicRouteData data;
    topic_route_data__init(&data);
    bool found = status == STATUS_OK && response->code == RESPONSE_SUCCESS &&
                 body_decode(body, arena, &data.base, NULL) == STATUS_OK;
    bool missing = status == STATUS_OK && response->code == RESPONSE_TOPIC_NOT_EXIST;
    if (!found && !missing) {
        route->server++;
        ask_server(route);
        return;
    }
    take_route(route, &data); /* a topic that does not exist has no queues */
    route->known = true;
    route->fetched_ms = clock_monotonic_ms(route->routes->broker->clock);
    answer_wishes(route);
}

static void ask_server(struct route *route)
{
    struct broker *broker = route->routes->broker;
    char address[ADDRESS_BYTES];
    GetRouteInfoRequestHeader header;
    if (broker->stopping || !server_address(broker, route->server, address)) {
        answer_wishes(route);
        return;
    }
    get_route_info_request_header__init(&header);
    header.topic = route->topic;
    struct request request = {.code = REQUEST_GET_ROUTEINFO_BY_TOPIC,
                              .header = &header.base,
                              .codec = CODEC_JSON,
                              .timeout_ms = TIMEOUT_MS};
    client_call(route->routes->client, address, &request, fetched, route);
}

/* Forget the routes that nobody waits for when there are too many. */
static void make_room(struct topic_routes *routes)
{
    size_t cursor = 0;
    if (routes->table.count < ROUTES_MAX)
        return;
    for (struct map_entry *entry; (entry = map_next(&routes->table, &cursor)) != NULL;) {
        struct route *route = entry->value;
        if (route->asking)
            continue;
        (void)map_remove(&routes->table, slice_of_cstr(route->topic));
        arena_release(&route->arena);
        free(route);
    }
}

static struct route *route_of(struct topic_routes *routes, const char *topic)
{
    struct route *route = map_get(&routes->table, slice_of_cstr(topic));
    if (route != NULL)
        return route;
    make_room(routes);
    route = xcalloc(1, sizeof *route);
    route->routes = routes;
    list_init(&route->wishes);
    arena_init(&route->arena, 256);
    memcpy(route->topic, topic, strlen(topic) + 1);
    (void)map_put(&routes->table, slice_of_cstr(topic), route);
    return route;
}

static void wish_run(struct loop_task *task)
{
    struct wish_post *post = list_entry(task, struct wish_post, task);
    struct topic_routes *routes = post->routes;
    struct route_wish *wish = post->wish;
    free(post);
    if (routes->waiting >= ROUTE_WISHES_MAX) { /* name servers are slower than clients ask */
        wish->done(wish, NULL, 0);
        return;
    }
    struct route *route = route_of(routes, wish->topic);
    list_append(&route->wishes, &wish->node);
    routes->waiting++;
    if (route->asking)
        return;
    route->asking = true;
    route->server = 0;
    if (route->known && clock_monotonic_ms(routes->broker->clock) - route->fetched_ms < FRESH_MS)
        answer_wishes(route);
    else
        ask_server(route);
}
