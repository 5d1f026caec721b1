/* SPDX-License-Identifier: Apache-2.0
 *
 * Replication as its owner sees it: start and stop of the side that this broker is, and what
 * others tell it.
 */
#include "broker/repl/ha_wire.h"
#include "broker/repl/replication_internal.h"
#include "common/base/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void copy_text(char *out, size_t capacity, const char *text)
{
    (void)snprintf(out, capacity, "%s", text == NULL ? "" : text);
}

static void fill_self(struct replication *replication)
{
    const struct replication_options *options = &replication->options;
    struct ha_hello *self = &replication->self;
    copy_text(self->cluster_name, sizeof self->cluster_name, options->cluster_name);
    copy_text(self->broker_name, sizeof self->broker_name, options->broker_name);
    copy_text(self->store_id, sizeof self->store_id, options->store_id);
    copy_text(self->begun_by_cluster, sizeof self->begun_by_cluster, options->begun_by_cluster);
    copy_text(self->begun_by_broker, sizeof self->begun_by_broker, options->begun_by_broker);
    self->broker_id = options->broker_id;
    self->segment_bytes = options->segment_bytes;
    self->sync_flush = options->sync_flush;
    self->boot_id = (uint64_t)arc4random() << 32 | arc4random();
}

static int wake_fd_new(struct err *err)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd == -1)
        (void)err_set_errno(err, STATUS_BUSY,
                            "no descriptor for replication; raise the limit of open files");
    return fd;
}

static bool make_wake_fds(struct replication *replication, struct err *err)
{
    if (replication->options.slave)
        return (replication->follow_wake_fd = wake_fd_new(err)) != -1;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++)
        if ((replication->connections[i].wake_fd = wake_fd_new(err)) == -1)
            return false;
    return (replication->listen_wake_fd = wake_fd_new(err)) != -1;
}

enum status replication_start(const struct replication_options *options, struct replication **out,
                              struct err *err)
{
    struct replication *replication = xcalloc(1, sizeof *replication);
    replication->options = *options;
    replication->listen_wake_fd = replication->follow_wake_fd = -1;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++)
        replication->connections[i].wake_fd = -1;
    CHECK(pthread_mutex_init(&replication->lock, NULL) == 0);
    replication->state.master_end_pos = -1;
    replication->state.since_ms = clock_wall_ms(options->clock);
    fill_self(replication);
    enum status status = STATUS_BUSY;
    if (make_wake_fds(replication, err))
        status = options->slave ? ha_follower_start(replication, err)
                                : ha_listener_start(replication, err);
    replication->started = status == STATUS_OK;
    if (status != STATUS_OK)
        replication_free(replication);
    else
        *out = replication;
    return status;
}

void replication_stop(struct replication *replication)
{
    if (!replication->started)
        return;
    replication->started = false;
    atomic_store(&replication->stop_by_ms,
                 clock_monotonic_ms(replication->options.clock) + HA_FAREWELL_MS);
    atomic_store(&replication->stopping, true);
    if (replication->options.slave)
        ha_follower_stop(replication);
    else
        ha_listener_stop(replication);
}

static void close_fd(int fd)
{
    if (fd != -1)
        (void)close(fd);
}

void replication_free(struct replication *replication)
{
    replication_stop(replication);
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++)
        close_fd(replication->connections[i].wake_fd);
    close_fd(replication->listen_wake_fd);
    close_fd(replication->follow_wake_fd);
    pthread_mutex_destroy(&replication->lock);
    free(replication);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool ha_same_words(const char *a, const char *b)
{
    bool quoted = false;
    while (*a != '\0' && *b != '\0') {
        if (!quoted && is_digit(*a) && is_digit(*b)) {
            while (is_digit(*a))
                a++;
            while (is_digit(*b))
                b++;
            continue;
        }
        quoted ^= *a == '"';
        if (*a++ != *b++)
            return false;
    }
    return *a == *b;
}

/* Both of these are called after the position has moved, and change nothing when nobody waits; but
 * they look by an exchange, as those write who wait: so either this sees the wish, or they see the
 * position (ha_sender.c). */
void replication_appended(struct replication *replication)
{
    uint32_t wanting = atomic_exchange(&replication->wanting, 0);
    for (int i = 0; wanting != 0; i++, wanting >>= 1)
        if ((wanting & 1) != 0)
            ha_wake(replication->connections[i].wake_fd);
}

void replication_flushed(struct replication *replication)
{
    if (atomic_exchange(&replication->wants_flush, false))
        ha_wake(replication->follow_wake_fd);
}

void replication_changed(struct replication *replication, unsigned tables)
{
    if (replication->options.slave)
        return;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        if (atomic_fetch_or(&connection->changed, tables) == 0)
            ha_wake(connection->wake_fd);
    }
}

void replication_follow(struct replication *replication, const char *address)
{
    char next[HA_ADDRESS_BYTES] = "";
    if (address != NULL && strlen(address) < sizeof next)
        memcpy(next, address, strlen(address));
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    bool same = strcmp(replication->state.master, next) == 0;
    if (!same)
        memcpy(replication->state.master, next, sizeof next);
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    if (same)
        return;
    atomic_fetch_add(&replication->follow_version, 1);
    ha_wake(replication->follow_wake_fd);
}

void replication_slave_state(struct replication *replication, struct replication_slave_state *out)
{
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    *out = replication->state;
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
}
