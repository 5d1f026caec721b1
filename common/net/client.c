/* SPDX-License-Identifier: Apache-2.0
 *
 * A client: connections that we open, one per address, on demand, kept until either side closes
 * them. A peer is an address with calls: it is looked up (names only), connected, and forgotten
 * when its connection ends, so that the next call starts afresh with a new look-up.
 *
 *     LOOKING_UP --found--> CONNECTING --connected--> CONNECTED --ended--> (forgotten)
 *          |                    | next address, until none is left
 *          +-----failed---------+--------------------> (forgotten; waiting calls get IO)
 *
 * Calls made before the connection stands wait in the peer, encoded, with their time-outs running.
 */
#include "common/base/check.h"
#include "common/base/map.h"
#include "common/net/address.h"
#include "common/net/outcall.h"
#include "common/net/resolve.h"
#include "proto/codes.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 3000 /* over all addresses of a name; as 4.9.2 */
#define WAITING_CALLS_MAX 10000 /* per peer, while it is being connected */
#define HOST_BYTES_MAX 256

struct client {
    struct loop *loop;
    struct conn_totals totals;
    struct conn_group group;
    struct map peers; /* address -> struct peer */
    bool closing;
};

struct peer {
    struct client *client;
    struct slice address; /* owned; the key in client->peers */
    struct conn *conn;    /* NULL until connected */
    struct list waiting;  /* of outcall */
    int waiting_count;
    struct resolve *resolve; /* while looking up */
    struct address addresses[ADDRESSES_MAX];
    int address_count;
    int next_address;
    int fd; /* while connecting; else -1 */
    struct event connect_event;
    struct loop_timer *connect_timer;
};

/* --- peers --- */

static void stop_connecting(struct peer *peer)
{
    if (peer->resolve != NULL)
        resolve_cancel(peer->resolve);
    peer->resolve = NULL;
    if (peer->fd != -1) {
        CHECK(event_del(&peer->connect_event) == 0);
        (void)close(peer->fd);
    }
    peer->fd = -1;
    loop_timer_cancel(peer->connect_timer);
}

/* Forget a peer, failing what waits for it. Its connection has ended or never was. */
static void peer_forget(struct peer *peer, enum status why)
{
    stop_connecting(peer);
    CHECK(map_remove(&peer->client->peers, peer->address) == peer);
    struct list waiting;
    list_init(&waiting);
    list_for_each (node, &peer->waiting) {
        list_remove(node);
        list_append(&waiting, node);
    }
    loop_timer_free(peer->connect_timer);
    free((void *)(uintptr_t)peer->address.data);
    free(peer);
    outcalls_fail(&waiting, why);
}

static void log_unreachable(const struct peer *peer, const char *cause)
{
    int64_t suppressed;
    if (log_gate_open(&peer->client->totals.open_gate, &suppressed))
        log_warn("net", "connection could not be opened",
                 "address=%.*s cause=\"%s\" suppressed=%lld", SLICE_ARGS(peer->address), cause,
                 (long long)suppressed);
}

static void connect_next(struct peer *peer, const char *cause);

static void connected(struct peer *peer)
{
    struct client *client = peer->client;
    struct transport transport;
    transport_init_opened(&transport, peer->fd, client->group.tls);
    struct host host = address_to_host(&peer->addresses[peer->next_address - 1].storage);
    peer->fd = -1;
    loop_timer_cancel(peer->connect_timer);
    atomic_fetch_add(&client->totals.connections, 1);
    struct conn *conn = conn_open(&client->group, &transport, &host, 0);
    conn->owner = peer;
    peer->conn = conn;
    peer->waiting_count = 0;
    while (!list_empty(&peer->waiting))
        outcall_send(list_entry(peer->waiting.next, struct outcall, in_list), conn);
}

static void on_connect(int fd, short what, void *arg)
{
    (void)what;
    struct peer *peer = arg;
    int error = 0;
    socklen_t size = sizeof error;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    if (error == 0) {
        connected(peer);
        return;
    }
    (void)close(fd);
    peer->fd = -1;
    char text[128];
    connect_next(peer, strerror_r(error, text, sizeof text));
}

static int open_socket(const struct address *address, const struct net_options *options)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int send_bytes = options->send_buffer_bytes;
    int receive_bytes = options->receive_buffer_bytes;
    if (send_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    if (receive_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0 ||
        errno == EINPROGRESS)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

/* Try the next address; give up when there is none. cause  why the one before failed */
static void connect_next(struct peer *peer, const char *cause)
{
    char text[128];
    while (peer->next_address < peer->address_count) {
        const struct address *address = &peer->addresses[peer->next_address++];
        peer->fd = open_socket(address, &peer->client->totals.options);
        if (peer->fd != -1) {
            /* Writable, too, when it is connected already or has failed. */
            CHECK(event_assign(&peer->connect_event, loop_event_base(peer->client->loop), peer->fd,
                               EV_WRITE, on_connect, peer) == 0);
            CHECK(event_add(&peer->connect_event, NULL) == 0);
            return;
        }
        cause = strerror_r(errno, text, sizeof text);
    }
    log_unreachable(peer, cause);
    peer_forget(peer, STATUS_IO);
}

static void looked_up(void *ctx, const struct address *found, int count, const char *problem)
{
    struct peer *peer = ctx;
    peer->resolve = NULL;
    memcpy(peer->addresses, found, (size_t)count * sizeof *found);
    peer->address_count = count;
    connect_next(peer, problem);
}

static void connect_timed_out(void *ctx)
{
    struct peer *peer = ctx;
    log_unreachable(peer, "time-out");
    peer_forget(peer, STATUS_IO);
}

/* Begin to connect later, not inside client_call: failing may call answers. */
static void start_connecting(void *ctx)
{
    struct peer *peer = ctx;
    loop_timer_free(peer->connect_timer);
    peer->connect_timer = loop_timer_new(peer->client->loop, connect_timed_out, peer);
    loop_timer_set(peer->connect_timer, CONNECT_TIMEOUT_MS);
    if (peer->address_count > 0) {
        connect_next(peer, "no address");
        return;
    }
    char host[HOST_BYTES_MAX];
    int port;
    CHECK(net_address_split((const char *)peer->address.data, host, sizeof host, &port));
    peer->resolve = resolve_start(peer->client->loop, host, port, looked_up, peer);
    if (peer->resolve == NULL)
        connect_next(peer, "no thread for the look-up");
}

/* NULL when `address` is none. */
static struct peer *peer_new(struct client *client, const char *address)
{
    char host[HOST_BYTES_MAX];
    int port;
    if (!net_address_split(address, host, sizeof host, &port))
        return NULL;
    struct peer *peer = xcalloc(1, sizeof *peer);
    const char *problem;
    peer->address_count = address_lookup(host, port, true, false, peer->addresses, &problem);
    peer->client = client;
    peer->address = slice_of_cstr(xstrdup(address));
    peer->fd = -1;
    list_init(&peer->waiting);
    peer->connect_timer = loop_timer_new(client->loop, start_connecting, peer);
    loop_timer_set(peer->connect_timer, 0);
    (void)map_put(&client->peers, peer->address, peer);
    return peer;
}

/* --- the client --- */

static void on_conn_end(struct conn_group *group, struct conn *conn)
{
    (void)group;
    struct peer *peer = conn->owner;
    peer->conn = NULL;
    peer_forget(peer, STATUS_CLOSED);
}

static void refuse_request(void *ctx, struct call *call)
{
    (void)ctx;
    net_reply_error(call_reply_to(call), RESPONSE_REQUEST_CODE_NOT_SUPPORTED,
                    " request type %d not supported", (int)call->request->code);
}

struct client *client_new(struct loop *loop, const struct net_options *options)
{
    struct client *client = xcalloc(1, sizeof *client);
    client->loop = loop;
    client->totals.options = *options;
    client->peers = MAP_EMPTY;
    conn_group_init(&client->group, loop, &client->totals,
                    (struct service){NULL, refuse_request, NULL});
    client->group.on_end = on_conn_end;
    return client;
}

void client_serve(struct client *client, struct service service)
{
    client->group.service = service;
}

void client_call(struct client *client, const char *address, const struct request *request,
                 net_answer answer, void *ctx)
{
    enum status status;
    struct outcall *call = outcall_new(client->loop, request, answer, ctx, &status);
    struct peer *peer = map_get(&client->peers, slice_of_cstr(address));
    if (status == STATUS_OK && client->closing)
        status = STATUS_CLOSED;
    if (status == STATUS_OK && peer == NULL) {
        peer = peer_new(client, address);
        if (peer == NULL)
            status = STATUS_INVALID;
    }
    if (status == STATUS_OK && peer->waiting_count == WAITING_CALLS_MAX)
        status = STATUS_BUSY;
    if (status != STATUS_OK) {
        outcall_fail_later(call, status);
    } else if (peer->conn != NULL) {
        outcall_send(call, peer->conn);
    } else {
        list_append(&peer->waiting, &call->in_list);
        peer->waiting_count++;
        if (answer != NULL)
            outcall_start_timer(call);
    }
}

void client_free(struct client *client)
{
    if (client == NULL)
        return;
    client->closing = true;
    conn_group_end_all(&client->group, true);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&client->peers, &cursor)) != NULL;)
        peer_forget(entry->value, STATUS_CLOSED);
    map_release(&client->peers);
    conn_group_release(&client->group);
    free(client);
}
