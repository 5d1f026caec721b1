/* SPDX-License-Identifier: Apache-2.0
 *
 * A server: listeners on the first loop, accepted connections handed round to all loops, limits,
 * and the orderly end: drain.c closes the connections of each loop; when none is left the loop
 * reports.
 */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/net/address.h"
#include "common/net/conn.h"
#include "common/net/drain.h"
#include "common/net/listen.h"
#include "common/net/loop_private.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LISTENERS_MAX 8
#define ACCEPTS_PER_TURN 64 /* a storm of connections must not hold up the loop */
#define ACCEPT_PAUSE_MS 100 /* after running out of descriptors */

struct listener {
    struct server *server;
    int fd;
    int port_tag;
    struct event event;
    struct loop_timer *resume_timer;
};

/* The server's share of one loop. */
struct server_loop {
    struct conn_group group;
    struct server *server;
    struct loop_task drain_task;
    struct loop_timer *drain_timer;
    bool drained; /* and closed for good */
};

struct server {
    struct loop *const *loops;
    int loop_count;
    int next_loop; /* of the round-robin; on loops[0] */
    struct conn_totals totals;
    struct listener listeners[LISTENERS_MAX];
    int listener_count;
    pthread_mutex_t drain_lock;
    pthread_cond_t drain_changed;
    int loops_drained; /* under drain_lock */
    bool drained;
    atomic_bool drain_hurry;
    struct server_loop shares[];
};

struct net_options net_options_default(void)
{
    return (struct net_options){
        .frame_bytes_max = FRAME_BYTES_MAX,
        .connections_max = 20000,
        .in_flight_bytes_max = (size_t)512 * 1024 * 1024,
        .output_high_water_bytes = (size_t)4 * 1024 * 1024,
        .queued_output_bytes_max = (size_t)512 * 1024 * 1024,
        .idle_ms = 120000,
        .send_buffer_bytes = 0,
        .receive_buffer_bytes = 0,
    };
}

static void check_drain(void *ctx);

struct server *server_new(struct loop *const *loops, int loop_count, struct service service,
                          const struct net_options *options)
{
    CHECK(loop_count > 0);
    struct server *server =
        xcalloc(1, sizeof *server + (size_t)loop_count * sizeof(struct server_loop));
    server->loops = loops;
    server->loop_count = loop_count;
    server->totals.options = *options;
    CHECK(pthread_mutex_init(&server->drain_lock, NULL) == 0);
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&server->drain_changed, &attributes) == 0);
    CHECK(pthread_condattr_destroy(&attributes) == 0);
    for (int i = 0; i < loop_count; i++) {
        struct server_loop *share = &server->shares[i];
        share->server = server;
        conn_group_init(&share->group, loops[i], &server->totals, service);
        share->drain_timer = loop_timer_new(loops[i], check_drain, share);
        loop_conns(loops[i])->queued_output_bytes_max =
            options->queued_output_bytes_max / (size_t)loop_count;
    }
    return server;
}

/* --- accepting --- */

/* A connection on its way from the accepting loop to its own. */
struct hand_over {
    struct loop_task task;
    struct loop *loop;
    struct server_loop *share; /* valid while the loop runs */
    struct host peer;
    int fd;
    int port_tag;
};

static void open_conn(struct server_loop *share, int fd, const struct host *peer, int port_tag)
{
    struct transport transport;
    transport_init_accepted(&transport, fd, share->group.tls);
    if (share->drained) { /* it was on its way between loops */
        transport_reset_on_close(&transport);
        transport_close(&transport);
        atomic_fetch_sub(&share->server->totals.connections, 1);
        return;
    }
    (void)conn_open(&share->group, &transport, peer, port_tag);
}

static void run_hand_over(struct loop_task *task)
{
    struct hand_over *over = list_entry(task, struct hand_over, task);
    if (loop_is_current(over->loop))
        open_conn(over->share, over->fd, &over->peer, over->port_tag);
    else
        (void)close(over->fd); /* from loop_free */
    free(over);
}

static void refuse(struct server *server, int fd, const struct host *peer)
{
    atomic_fetch_sub(&server->totals.connections, 1);
    atomic_fetch_add(&server->totals.refused, 1);
    (void)close(fd);
    int64_t suppressed;
    if (!log_gate_open(&server->totals.refused_gate, &suppressed))
        return;
    char text[HOST_TEXT_BYTES];
    host_format(peer, text);
    log_warn("net", "connection refused, too many are open", "peer=%s max=%d suppressed=%lld", text,
             server->totals.options.connections_max, (long long)suppressed);
}

static void take_connection(struct listener *listener, int fd,
                            const struct sockaddr_storage *address)
{
    struct server *server = listener->server;
    struct host peer = address_to_host(address);
    if (atomic_fetch_add(&server->totals.connections, 1) >=
        server->totals.options.connections_max) {
        refuse(server, fd, &peer);
        return;
    }
    atomic_fetch_add(&server->totals.accepted, 1);
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int index = server->next_loop;
    server->next_loop = (index + 1) % server->loop_count;
    struct server_loop *share = &server->shares[index];
    if (loop_is_current(server->loops[index])) {
        open_conn(share, fd, &peer, listener->port_tag);
        return;
    }
    struct hand_over *over = xcalloc(1, sizeof *over);
    *over = (struct hand_over){
        .task = {NULL, run_hand_over},
        .loop = server->loops[index],
        .share = share,
        .peer = peer,
        .fd = fd,
        .port_tag = listener->port_tag,
    };
    loop_post(over->loop, &over->task);
}

static void resume_accepting(void *ctx)
{
    struct listener *listener = ctx;
    if (listener->fd != -1)
        CHECK(event_add(&listener->event, NULL) == 0);
}

/* Descriptors or memory are used up. The waiting connection stays in the backlog and keeps the
 * listener readable, so look away for a moment instead of spinning. */
static void pause_accepting(struct listener *listener)
{
    int64_t suppressed;
    if (log_gate_open(&listener->server->totals.open_gate, &suppressed))
        log_error("net", "connections cannot be accepted; raise the limit of open files",
                  "errno=%d suppressed=%lld", errno, (long long)suppressed);
    CHECK(event_del(&listener->event) == 0);
    loop_timer_set(listener->resume_timer, ACCEPT_PAUSE_MS);
}

static void on_acceptable(int listener_fd, short what, void *arg)
{
    (void)what;
    struct listener *listener = arg;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int fd =
            accept4(listener_fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd != -1) {
            take_connection(listener, fd, &address);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(listener);
            return;
        }
        /* Others concern the connection that was to be accepted: it is gone; go on. */
    }
}

/* --- listening --- */

enum status server_listen(struct server *server, const char *host, int port, int port_tag,
                          int *bound_port, struct err *err)
{
    if (server->listener_count == LISTENERS_MAX)
        return err_set(err, STATUS_INVALID, "cannot listen on port %d: too many listeners", port);
    struct listen_buffers buffers = {server->totals.options.send_buffer_bytes,
                                     server->totals.options.receive_buffer_bytes};
    int fd;
    enum status status = listen_open(host, port, buffers, &fd, bound_port, err);
    if (status != STATUS_OK)
        return status;
    struct listener *listener = &server->listeners[server->listener_count++];
    struct loop *loop = server->loops[0];
    listener->server = server;
    listener->fd = fd;
    listener->port_tag = port_tag;
    listener->resume_timer = loop_timer_new(loop, resume_accepting, listener);
    CHECK(event_assign(&listener->event, loop_event_base(loop), fd, EV_READ | EV_PERSIST,
                       on_acceptable, listener) == 0);
    CHECK(event_add(&listener->event, NULL) == 0);
    return STATUS_OK;
}

static void close_listeners(struct server *server)
{
    for (int i = 0; i < server->listener_count; i++) {
        struct listener *listener = &server->listeners[i];
        if (listener->fd == -1)
            continue;
        CHECK(event_del(&listener->event) == 0);
        loop_timer_cancel(listener->resume_timer);
        (void)close(listener->fd);
        listener->fd = -1;
    }
}

/* --- the end --- */

static void report_drained(struct server_loop *share)
{
    struct server *server = share->server;
    share->drained = true;
    CHECK(pthread_mutex_lock(&server->drain_lock) == 0);
    server->loops_drained++;
    CHECK(pthread_cond_signal(&server->drain_changed) == 0);
    CHECK(pthread_mutex_unlock(&server->drain_lock) == 0);
}

static void check_drain(void *ctx)
{
    struct server_loop *share = ctx;
    if (drain_step(&share->group, atomic_load(&share->server->drain_hurry)))
        report_drained(share);
    else
        loop_timer_set(share->drain_timer, DRAIN_STEP_MS);
}

static void start_drain(struct loop_task *task)
{
    struct server_loop *share = list_entry(task, struct server_loop, drain_task);
    struct server *server = share->server;
    if (share == &server->shares[0])
        close_listeners(server);
    drain_begin(&share->group);
    check_drain(share);
}

static struct timespec deadline_in(int64_t ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000 * 1000000);
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

void server_drain(struct server *server, int64_t timeout_ms)
{
    if (server->drained)
        return;
    server->drained = true;
    struct timespec deadline = deadline_in(timeout_ms < 0 ? 0 : timeout_ms);
    for (int i = 0; i < server->loop_count; i++) {
        server->shares[i].drain_task.run = start_drain;
        loop_post(server->loops[i], &server->shares[i].drain_task);
    }
    CHECK(pthread_mutex_lock(&server->drain_lock) == 0);
    int error = 0;
    while (server->loops_drained < server->loop_count && error == 0)
        error = pthread_cond_timedwait(&server->drain_changed, &server->drain_lock, &deadline);
    atomic_store(&server->drain_hurry, true);
    while (server->loops_drained < server->loop_count)
        CHECK(pthread_cond_wait(&server->drain_changed, &server->drain_lock) == 0);
    CHECK(pthread_mutex_unlock(&server->drain_lock) == 0);
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    close_listeners(server);
    for (int i = 0; i < server->listener_count; i++)
        loop_timer_free(server->listeners[i].resume_timer);
    for (int i = 0; i < server->loop_count; i++) {
        struct server_loop *share = &server->shares[i];
        conn_group_end_all(&share->group, true);
        conn_group_release(&share->group);
        loop_timer_free(share->drain_timer);
    }
    CHECK(pthread_cond_destroy(&server->drain_changed) == 0);
    CHECK(pthread_mutex_destroy(&server->drain_lock) == 0);
    free(server);
}

struct net_stats server_stats(const struct server *server)
{
    const struct conn_totals *totals = &server->totals;
    struct net_stats stats = {
        .connections = totals->connections,
        .accepted = totals->accepted,
        .closed_malformed = totals->ended[CONN_END_MALFORMED],
        .closed_idle = totals->ended[CONN_END_IDLE],
        .closed_stalled = totals->ended[CONN_END_STALLED],
        .closed_unread = totals->ended[CONN_END_UNREAD],
        .closed_tls = totals->ended[CONN_END_TLS],
        .refused = totals->refused,
        .in_flight_bytes = totals->in_flight_bytes,
    };
    for (int i = 0; i < server->loop_count; i++) {
        const struct conn_group *group = &server->shares[i].group;
        stats.requests += group->requests;
        stats.calls_under_way += group->calls_under_way;
        stats.replies_unexpected += group->replies_unexpected;
        stats.answers_unexpected += group->answers_unexpected;
    }
    return stats;
}
