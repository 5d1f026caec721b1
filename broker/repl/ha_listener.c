/* SPDX-License-Identifier: Apache-2.0
 *
 * The master's port: a thread that accepts and gives each connection a place and a thread of its
 * own. A place is FREE, OPEN while its thread runs, and ENDED until that has been joined.
 *
 * Whoever finds the port may hold a place. When all are taken the one goes that has been there
 * longest without being a slave, so that nobody can shut out the slaves by opening connections.
 */
#include "broker/repl/ha_wire.h"
#include "broker/repl/replication_internal.h"
#include "common/base/check.h"
#include "common/net/listen.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_PAUSE_MS 100 /* after running out of descriptors */
#define PLACE_PAUSE_MS 10   /* for a connection that was ended to leave its place */

static void *run_connection(void *arg)
{
    struct ha_connection *connection = arg;
    struct replication *replication = connection->replication;
    ha_sender_run(connection);
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    connection->use = HA_CONNECTION_ENDED;
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    return NULL;
}

/* Join the threads that have ended.
 * returns  a free place, NULL: none */
static struct ha_connection *find_place(struct replication *replication)
{
    struct ha_connection *place = NULL;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        CHECK(pthread_mutex_lock(&replication->lock) == 0);
        enum ha_connection_use use = connection->use;
        CHECK(pthread_mutex_unlock(&replication->lock) == 0);
        if (use == HA_CONNECTION_ENDED) {
            thread_join(connection->thread);
            connection->use = use = HA_CONNECTION_FREE;
        }
        if (use == HA_CONNECTION_FREE && place == NULL)
            place = connection;
    }
    return place;
}

/* End the oldest connection that is no slave's. */
static void make_place(struct replication *replication)
{
    struct ha_connection *oldest = NULL;
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        if (connection->use == HA_CONNECTION_OPEN && !connection->joined &&
            (oldest == NULL || connection->opened_ms < oldest->opened_ms))
            oldest = connection;
    }
    if (oldest != NULL && oldest->fd != -1)
        (void)shutdown(oldest->fd, SHUT_RDWR);
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
}

static void take_connection(struct replication *replication, int fd,
                            const struct sockaddr_storage *address)
{
    static struct log_gate gate;
    int64_t suppressed;
    struct err err = {0};
    struct ha_connection *place = find_place(replication);
    for (int i = 0; place == NULL && i < 10; i++) {
        make_place(replication);
        ha_wake_wait(replication->listen_wake_fd, PLACE_PAUSE_MS);
        place = find_place(replication);
    }
    if (place == NULL || atomic_load(&replication->stopping)) {
        if (log_gate_open(&gate, &suppressed))
            log_warn("replication", "connection refused, too many are open",
                     "max=%d suppressed=%lld", HA_CONNECTIONS_MAX, (long long)suppressed);
        (void)close(fd);
        return;
    }
    place->peer = address_to_host(address);
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    place->use = HA_CONNECTION_OPEN;
    place->fd = fd;
    place->joined = place->replaced = false;
    place->opened_ms = clock_monotonic_ms(replication->options.clock);
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    if (thread_start(&place->thread, "ha-sender", run_connection, place, &err) == STATUS_OK)
        return;
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    place->use = HA_CONNECTION_FREE;
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    (void)close(fd);
    if (log_gate_open(&gate, &suppressed))
        log_error("replication", "a slave can not be served", "cause=\"%s\" suppressed=%lld",
                  err.text, (long long)suppressed);
}

static void accept_all(struct replication *replication)
{
    static struct log_gate gate;
    for (;;) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int fd = accept4(replication->listen_fd, (struct sockaddr *)&address, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        int64_t suppressed;
        if (fd != -1) {
            take_connection(replication, fd, &address);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (log_gate_open(&gate, &suppressed))
                log_error("replication",
                          "connections cannot be accepted; raise the limit of open files",
                          "errno=%d suppressed=%lld", errno, (long long)suppressed);
            ha_wake_wait(replication->listen_wake_fd, ACCEPT_PAUSE_MS);
            return;
        } else if (errno == EAGAIN) {
            return;
        }
        if (atomic_load(&replication->stopping))
            return;
    }
}

static void *listen_all(void *arg)
{
    struct replication *replication = arg;
    while (!atomic_load(&replication->stopping)) {
        struct pollfd polled[2] = {{.fd = replication->listen_fd, .events = POLLIN},
                                   {.fd = replication->listen_wake_fd, .events = POLLIN}};
        if (poll(polled, 2, -1) > 0 && polled[0].revents != 0)
            accept_all(replication);
    }
    return NULL;
}

enum status ha_listener_start(struct replication *replication, struct err *err)
{
    struct listen_buffers buffers = {0, 0};
    enum status status = listen_open(replication->options.bind_address, replication->options.port,
                                     buffers, &replication->listen_fd, NULL, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++)
        replication->connections[i].replication = replication;
    return thread_start(&replication->listen_thread, "ha-listener", listen_all, replication, err);
}

void ha_listener_stop(struct replication *replication)
{
    ha_wake(replication->listen_wake_fd);
    thread_join(replication->listen_thread);
    (void)close(replication->listen_fd);
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        CHECK(pthread_mutex_lock(&replication->lock) == 0);
        enum ha_connection_use use = connection->use;
        CHECK(pthread_mutex_unlock(&replication->lock) == 0);
        ha_wake(connection->wake_fd);
        if (use != HA_CONNECTION_FREE)
            thread_join(connection->thread);
        connection->use = HA_CONNECTION_FREE;
    }
}
