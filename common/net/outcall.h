/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of our own: an encoded request, the wait for its answer by opaque, the time-out. Opaques
 * come from one counter of the process. Invariant: `answer` of every outcall is called exactly
 * once, never from inside net_call or client_call.
 */
#ifndef COMMON_NET_OUTCALL_H
#define COMMON_NET_OUTCALL_H

#include "common/net/conn.h"
#include "common/net/loop_private.h"
#include "proto/ext_bind.h"

struct outcall {
    struct loop_task task; /* to reach the loop, or to fail later */
    struct loop *loop;
    struct list in_list;     /* conn->outcalls, or a client's list of calls that wait */
    struct outcall *chained; /* in the table's bucket, or in its list of unused ones */
    struct conn *conn;       /* once sent */
    struct conn_ref target;
    int32_t opaque;
    int64_t timeout_ms;
    net_answer answer; /* NULL: one-way */
    void *ctx;
    enum status failure; /* for outcall_fail_later */
    struct buf frame;
    size_t sent_bytes; /* what the frame was, once it is in the output */
    struct event timer;
};

void outcall_table_release(struct outcall_table *table);

/* Encode a request. Any thread.
 * status  out: OK, or TOO_LARGE when a field does not fit the codec */
struct outcall *outcall_new(struct loop *loop, const struct request *request, net_answer answer,
                            void *ctx, enum status *status);

/* The rest on the loop. */

/* Start its time-out. The call must be in a list then. */
void outcall_start_timer(struct outcall *call);
/* Queue the request on the connection and wait for the answer; or fail it later with BUSY when the
 * peer does not read. Takes the call out of the list it is in. */
void outcall_send(struct outcall *call, struct conn *conn);
/* The end of a call, whatever the reason; frees it. */
void outcall_finish(struct outcall *call, enum status status, const struct command *response,
                    struct slice body, struct arena *arena);
/* Any thread: finish it on the loop in its next turn. */
void outcall_fail_later(struct outcall *call, enum status failure);
/* Fail every call of a list. */
void outcalls_fail(struct list *calls, enum status status);

/* A response has arrived. False when nobody waits for it on this connection. */
bool outcall_complete(struct conn *conn, const struct command *response, struct slice body,
                      struct arena *arena);

#endif
