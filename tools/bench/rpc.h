/* SPDX-License-Identifier: Apache-2.0
 *
 * One blocking connection to a server, for what surrounds a measurement: creating topics, asking
 * for offsets and routes. One thread at a time.
 */
#ifndef TOOLS_BENCH_RPC_H
#define TOOLS_BENCH_RPC_H

#include "proto/body.pb-c.h"
#include "proto/codes.h"
#include "proto/command.h"
#include "tools/bench/link.h"

#define RPC_ADDRESS_BYTES 256

struct rpc {
    struct link link;
    enum codec codec;
    int64_t timeout_ms; /* per call */
    int32_t next_opaque;
    char address[RPC_ADDRESS_BYTES];
    struct arena arena; /* of the call under way */
    struct buf out;
    struct buf in;
};

/* An answer; valid until the next call. */
struct rpc_answer {
    struct command command;
    struct slice body;
};

enum status rpc_open(struct rpc *rpc, const char *address, enum codec codec, int64_t timeout_ms,
                     struct err *err);
void rpc_close(struct rpc *rpc);

/* Send a request and wait for its answer, whatever code it carries.
 * header   may be NULL
 * returns  OK | TIMEOUT | CLOSED | MALFORMED | IO */
enum status rpc_call(struct rpc *rpc, int32_t code, const ProtobufCMessage *header,
                     struct slice body, struct rpc_answer *answer, struct err *err);

/* The same, where only code 0 will do; err holds the server's remark otherwise.
 * returns  as above | INVALID (the server refused) */
enum status rpc_expect(struct rpc *rpc, int32_t code, const ProtobufCMessage *header,
                       struct slice body, struct rpc_answer *answer, struct err *err);

/* --- the calls that tools need --- */

enum status rpc_create_topic(struct rpc *broker, const char *topic, int queue_count,
                             struct err *err);

/* First and one-past-last offset of a queue. */
enum status rpc_queue_bounds(struct rpc *broker, const char *topic, int queue_id, int64_t *min,
                             int64_t *max, struct err *err);

/* Ask a name server. `route` lives until the next call on `namesrv`.
 * returns  OK | NOT_FOUND (no such topic) | as rpc_call */
enum status rpc_route(struct rpc *namesrv, const char *topic, TopicRouteData *route,
                      struct err *err);

/* The address of the master of `broker_name` (NULL: of any broker) in a route, or NULL. */
const char *route_master(const TopicRouteData *route, const char *broker_name);

/* Send one message the way a client does (SEND_MESSAGE_V2); creates the topic where the broker
 * creates topics by itself. properties at most 1023 bytes; answer as rpc_call. */
enum status rpc_send(struct rpc *broker, const char *group, const char *topic, int queue_id,
                     struct slice properties, struct slice body, struct rpc_answer *answer,
                     struct err *err);

/* One pull that does not wait for messages. answer as rpc_call: its code says whether there were
 * any. */
enum status rpc_pull(struct rpc *broker, const char *group, const char *topic, int queue_id,
                     int64_t offset, int max_messages, struct rpc_answer *answer, struct err *err);

#endif
