/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the queues of a topic are, over all brokers, as the name servers know it; for sharing them
 * out among consumers. Routes are kept for a few seconds. The calls run on the first loop.
 */
#ifndef BROKER_PROC_TOPIC_ROUTES_H
#define BROKER_PROC_TOPIC_ROUTES_H

#include "broker/proc/broker.h"
#include "common/base/limits.h"

struct route_queues {
    const char *broker_name;
    int32_t read_queues;
};

/* A question. Embed it; it belongs to the module until `done` has run. */
struct route_wish {
    struct loop_task task;
    struct list node;
    char topic[TOPIC_BYTES_MAX + 1];
    /* On loops[0]: the brokers that have readable queues of the topic, which may be none; the
     * memory is the module's and valid for the call. count is -1 when no name server could be
     * asked, 0 also when too many wishes wait. */
    void (*done)(struct route_wish *wish, const struct route_queues *queues, int count);
};

struct topic_routes;
struct topic_routes *topic_routes_new(struct broker *broker);
void topic_routes_free(struct topic_routes *routes); /* after the loops have stopped */

/* Any thread. */
void topic_routes_ask(struct topic_routes *routes, struct route_wish *wish);

#endif
