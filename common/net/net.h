/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections that speak the remoting protocol: a server that accepts them, calls that arrive on
 * them, answers that leave, and calls of our own in both directions (RocketMQ's brokers call their
 * clients back over the connection those opened).
 *
 * A connection lives and dies on one loop. Everybody else holds a `struct conn_ref`, which stays
 * harmless after the connection is gone.
 */
#ifndef COMMON_NET_NET_H
#define COMMON_NET_NET_H

#include "common/net/loop.h"
#include "common/tls/tls.h"
#include "proto/command.h"
#include "proto/message_id.h"

#include <protobuf-c/protobuf-c.h>

struct conn;

struct conn_ref {
    struct loop *loop;
    uint32_t slot;
    uint32_t generation; /* 0: refers to nothing */
};

#define CONN_REF_NONE ((struct conn_ref){NULL, 0, 0})

static inline bool conn_ref_equal(struct conn_ref a, struct conn_ref b)
{
    return a.loop == b.loop && a.slot == b.slot && a.generation == b.generation;
}

struct net_options {
    size_t frame_bytes_max;         /* a longer frame closes the connection */
    int connections_max;            /* beyond it new connections are closed at once */
    size_t in_flight_bytes_max;     /* over all connections: bytes of half-received frames and of
                                       detached calls; beyond it connections that hold
                                       half a frame are not read, except one per loop */
    size_t output_high_water_bytes; /* per connection: queued output that pauses its reading */
    size_t queued_output_bytes_max; /* over all connections, an equal share for each loop: memory of
                                       answers that wait to leave, without body parts; beyond it the
                                       connection that holds the most and does not read is closed */
    int64_t idle_ms;                /* close after this long without a byte either way */
    int send_buffer_bytes;          /* SO_SNDBUF and SO_RCVBUF; 0 leaves the kernel's choice */
    int receive_buffer_bytes;
    struct tls *tls;        /* borrowed. Of a server: where certificates come from, NULL with
                               TLS_MODE_DISABLED. Of a client: NULL, or connections are encrypted */
    enum tls_mode tls_mode; /* of a server */
};

struct net_options net_options_default(void);

/* --- calls that arrive --- */

struct call {
    const struct command *request;
    struct slice body;   /* borrowed: both are gone when the handler returns */
    struct arena *arena; /* reset when the handler returns */
    struct conn_ref conn;
    struct host peer;
    int port_tag;      /* which listener accepted the connection */
    enum codec codec;  /* of the request; the answer uses the same */
    int64_t under_way; /* two-way requests of the connection without an answer yet, on arrival */
    bool draining;     /* the server stops: answer at once, if only that another one be asked */
};

/* Where an answer goes; copy it freely and keep it as long as needed. */
struct reply_to {
    struct conn_ref conn;
    int32_t opaque;
    enum codec codec;
    bool oneway; /* answers are dropped silently */
};

struct reply_to call_reply_to(const struct call *call);

/* A piece of an answer's body that is sent without copying. `release` (may be NULL) is called
 * exactly once, on the loop, when the bytes have left or the connection is gone. */
struct body_part {
    const void *data;
    size_t size;
    void (*release)(void *owner);
    void *owner;
    /* Where a file holds the same bytes, if one does: large parts then leave without passing
     * through the process. The descriptor stays open until `release`, the bytes unchanged. */
    bool in_file;
    int fd;
    int64_t file_offset;
};

struct response {
    int32_t code;
    const char *remark;             /* NULL: none */
    const ProtobufCMessage *header; /* NULL: the answer has no extFields, unless `ext` has some */
    struct ext_map ext;             /* further fields, behind those of the header */
    struct slice body;              /* copied */
    const struct body_part *parts;  /* behind `body`, not copied */
    size_t part_count;
};

/* Answer a call. Every two-way call is answered or declined exactly once; one answer too many is
 * dropped and counted (net_stats.replies_unexpected), and aborts in DEBUG builds. Any thread:
 * elsewhere than on the connection's loop the answer is encoded and posted there (parts are then
 * released on the loop too). An answer that does not fit its codec goes out as SYSTEM_ERROR. With
 * CONN_REF_NONE parts are released at once. */
void net_reply(struct reply_to to, const struct response *response);

/* The same with code and printf'ed remark only. */
void net_reply_error(struct reply_to to, int32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* No answer will come (the protocol wants silence). */
void net_decline(struct reply_to to);

/* A copy of a call that outlives the handler, with an arena of its own; for handing to a worker
 * thread. On the loop. Counts against in_flight_bytes_max until call_free, which any thread may
 * call but not after server_free. NULL when that is exceeded: answer SYSTEM_BUSY. While a
 * connection has CONNECTION_DETACHED_CALLS_MAX of them it is not read, so call_free must not depend
 * on anything that its peer still has to send. */
struct call *call_detach(const struct call *call);
void call_free(struct call *call);

/* --- server --- */

struct service {
    void *ctx;
    /* A request has arrived; on the connection's loop. */
    void (*on_request)(void *ctx, struct call *call);
    /* The connection has gone (peer closed, error, idle, limit). NULL: not interested. */
    void (*on_close)(void *ctx, struct conn_ref conn, const struct host *peer);
};

struct server;

/* Before the loops start.
 * loops  borrowed; connections are spread over them round-robin */
struct server *server_new(struct loop *const *loops, int loop_count, struct service service,
                          const struct net_options *options);

/* Listen on `host` (NULL or "": every address, IPv6 and IPv4) and `port` (0: any). Before the
 * loops start, or on loops[0]. A host that is a name is looked up, which may wait.
 * returns  OK | EXISTS (port taken) | INVALID | IO */
enum status server_listen(struct server *server, const char *host, int port, int port_tag,
                          int *bound_port, struct err *err);

/* Stop accepting, mark what arrives from now on (call.draining), fail the calls of our own that
 * wait for a peer's answer (CLOSED), wait until every call under way is answered or timeout_ms has
 * passed, flush output, close all: by a reset once they are silent, so that what they send too late
 * fails at once. Peers that do not stop sending delay the end by about a quarter of a second, those
 * that do not read their answers until the time-out. Not on a loop; the loops must run. */
void server_drain(struct server *server, int64_t timeout_ms);
/* After the loops have stopped. Connections still open are closed without on_close. */
void server_free(struct server *server);

struct net_stats {
    int64_t connections;
    int64_t accepted;
    int64_t closed_malformed;
    int64_t closed_idle;
    int64_t closed_stalled; /* half a frame for too long while memory was short */
    int64_t closed_unread;  /* held the most output while queued_output_bytes_max was exceeded */
    int64_t closed_tls;     /* a handshake failed or was not done in time */
    int64_t refused;
    int64_t requests;
    int64_t in_flight_bytes;
    int64_t calls_under_way;    /* two-way requests neither answered nor declined yet */
    int64_t replies_unexpected; /* answers of ours beyond one per call: a fault of ours */
    int64_t answers_unexpected; /* responses that nobody waits for (any more) */
};
struct net_stats server_stats(const struct server *server);

/* Close a connection. Any thread. `reason` goes to the log. */
void net_close(struct conn_ref conn, const char *reason);

/* --- calls of our own --- */

/* The answer, or why there is none: OK | TIMEOUT | CLOSED | IO (could not connect) | BUSY (the peer
 * does not take what is queued for it, or too many calls wait for the connection) | TOO_LARGE (a
 * field does not fit the codec) | INVALID (no address). `response` and `body` are borrowed. Called
 * exactly once, on the connection's (or the client's) loop, never from inside the call itself. */
typedef void (*net_answer)(void *ctx, enum status status, const struct command *response,
                           struct slice body, struct arena *arena);

struct request {
    int32_t code;
    const ProtobufCMessage *header; /* may be NULL */
    struct ext_map ext;
    struct slice body;
    enum codec codec;
    int64_t timeout_ms;
};

/* Call the peer of a connection that it opened. answer NULL: one-way. Any thread. At most
 * CONNECTION_OUTCALLS_MAX wait for one peer, and CONNECTION_OUTCALL_BYTES_MAX while it does not
 * read its output; further ones get BUSY. With CONN_REF_NONE, which names no loop, the answer
 * CLOSED is given at once. */
void net_call(struct conn_ref conn, const struct request *request, net_answer answer, void *ctx);

/* Would a one-way call leave now: the connection is there, reads what it is sent, and nothing is
 * draining? On its loop. */
bool net_takes_calls(struct conn_ref conn);

/* Connections that we open, by address, on demand, kept for reuse; one client per loop, used on its
 * loop only. Connect time-out 3 s within the request's. */
struct client *client_new(struct loop *loop, const struct net_options *options);
void client_call(struct client *client, const char *address, const struct request *request,
                 net_answer answer, void *ctx);
/* Requests that a peer sends over a connection of ours go to `service`, which answers them like a
 * server's. Without one they are answered REQUEST_CODE_NOT_SUPPORTED. Before the first call. */
void client_serve(struct client *client, struct service service);
/* Fail what is pending and close all. On the loop or after it has stopped. */
void client_free(struct client *client);

/* "host:port", "[v6]:port" -> parts; the port is what follows the last colon, so IPv6 without
 * brackets, as Java prints it, is understood too. host_bytes >= 256. False when it is not of that
 * form. */
bool net_address_split(const char *address, char *host, size_t host_bytes, int *port);

#endif
