/* SPDX-License-Identifier: Apache-2.0
 *
 * The slave's thread: connects to the master that is followed, drives ha_slave.h with the socket,
 * the clock and the store, and tries again when the connection is lost: soon after one that worked,
 * every few seconds when the master is away or an operator has to act.
 *
 * Repeated causes are logged once, and again after ten minutes. A slave that is refused after it
 * had begun to follow (its disk is full, what comes is no message) begins anew at each try: it is
 * said and shown to follow again when something of the log has been taken, or when that has lasted.
 */
#include "broker/repl/ha_slave.h"
#include "broker/repl/ha_wire.h"
#include "broker/repl/replication_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES (1024 * 1024)
#define CONNECT_PATIENCE_MS 5000
#define PAUSE_MS_MIN 100
#define PAUSE_MS_MAX 5000 /* as 4.9.2 */
#define SAID_AGAIN_MS (10 * 60 * 1000)
#define THAW_MS 10000 /* a connection that lasts so long is a good one */

struct follower {
    struct replication *replication;
    struct store *store;
    char master[HA_ADDRESS_BYTES]; /* who is followed; empty: nobody */
    unsigned version;
    int64_t pause_ms;
    char said[HA_TEXT_BYTES]; /* what was logged last */
    int64_t said_ms;
    bool frozen; /* was refused while it followed */
    /* One connection: */
    struct ha_wire wire;
    struct ha_slave machine;
    bool announced;
    uint8_t *read_buffer;
};

static int64_t now_of(const struct follower *follower)
{
    return clock_monotonic_ms(follower->replication->options.clock);
}

static bool is_over(const struct follower *follower)
{
    return atomic_load(&follower->replication->stopping) ||
           atomic_load(&follower->replication->follow_version) != follower->version;
}

/* --- what others see --- */

/* connected and refused as given; `why` is kept when NULL. */
static void show(struct follower *follower, bool connected, bool refused, const char *why)
{
    struct replication *replication = follower->replication;
    struct replication_slave_state *state = &replication->state;
    int64_t wall_ms = clock_wall_ms(replication->options.clock);
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    if (state->connected != connected || state->refused != refused)
        state->since_ms = wall_ms;
    state->connected = connected;
    state->refused = refused;
    state->protocol = connected ? follower->machine.protocol : 0;
    if (connected) {
        state->master_end_pos = follower->machine.master_end_pos;
        state->heard_ms = wall_ms - (now_of(follower) - follower->machine.heard_ms);
    }
    if (why != NULL)
        (void)snprintf(state->why, sizeof state->why, "%s", why);
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
}

static bool is_news(struct follower *follower, const char *why)
{
    int64_t now_ms = now_of(follower);
    if (ha_same_words(follower->said, why) && now_ms - follower->said_ms < SAID_AGAIN_MS)
        return false;
    (void)snprintf(follower->said, sizeof follower->said, "%s", why);
    follower->said_ms = now_ms;
    return true;
}

static void log_refused(struct follower *follower, const char *why)
{
    if (is_news(follower, why))
        log_error("replication", "this slave gets nothing", "master=%s cause=\"%s\"",
                  follower->master, why);
}

static void log_lost(struct follower *follower, const char *why)
{
    if (is_news(follower, why))
        log_warn("replication", "no connection to the master", "master=%s why=\"%s\"",
                 follower->master, why);
}

static void announce(struct follower *follower)
{
    follower->announced = true;
    follower->frozen = false;
    follower->said[0] = '\0';
    show(follower, true, false, "");
    log_info("replication", "following the master", "master=%s protocol=%d from=%lld",
             follower->master, follower->machine.protocol,
             (long long)store_appended_pos(follower->store));
}

/* It follows its master. */
static bool may_announce(const struct follower *follower)
{
    const struct ha_slave *machine = &follower->machine;
    if (follower->announced || machine->state != HA_SLAVE_STREAMING ||
        !(machine->accepted || machine->protocol == 1))
        return false;
    return !follower->frozen || store_appended_pos(follower->store) > machine->self.end_pos ||
           now_of(follower) - machine->began_ms >= THAW_MS;
}

/* --- doing what the machine says --- */

#define TAKES_NO_MORE "the log takes no more: %.400s"

/* The store takes no more. What is no message is another log's; the rest may pass. */
static void take_failure(struct follower *follower, enum status status, const struct err *err)
{
    if (status == STATUS_OK)
        return;
    if (status == STATUS_CORRUPT)
        ha_slave_fail(&follower->machine,
                      "what the master's log has where this one ends is no message; this store is "
                      "another broker's, has messages that the master has lost, or one of the two "
                      "is damaged; keep a copy of it and start with an empty one: %.200s",
                      err->text);
    else
        ha_slave_fail(&follower->machine, TAKES_NO_MORE, err->text);
    follower->machine.refused = true;
}

static void append(struct follower *follower, const struct ha_slave_action *action)
{
    struct err err = {0};
    take_failure(follower, store_append_raw(follower->store, action->pos, action->bytes, &err),
                 &err);
}

static void begin_at(struct follower *follower, int64_t pos)
{
    struct err err = {0};
    enum status status = store_begin_at(follower->store, pos, &err);
    if (status == STATUS_OK)
        log_info("replication", "the log begins where the master's does", "pos=%lld",
                 (long long)pos);
    take_failure(follower, status, &err);
}

static void tell_changed(struct follower *follower, uint32_t tables)
{
    const struct replication_options *options = &follower->replication->options;
    if (options->on_changed != NULL)
        options->on_changed(options->ctx, tables);
}

static struct ha_log log_of(const struct follower *follower)
{
    /* Flushed first: it is never behind the end that is read after it. */
    struct ha_log log;
    log.flushed_pos = store_flushed_pos(follower->store);
    log.end_pos = store_appended_pos(follower->store);
    return log;
}

static void flush_wire(struct follower *follower)
{
    size_t log_bytes;
    enum status status = ha_wire_flush(&follower->wire, &log_bytes);
    if (status != STATUS_OK && status != STATUS_BUSY)
        ha_slave_fail(&follower->machine, "the connection is gone (%s)", strerror(errno));
}

/* Only when the machine has done with what came before.
 * returns  whether anything came */
static bool receive(struct follower *follower)
{
    size_t got = 0;
    enum status status = ha_wire_read(&follower->wire, follower->read_buffer, READ_BYTES, &got);
    if (status == STATUS_OK)
        ha_slave_input(&follower->machine, slice_of(follower->read_buffer, got), now_of(follower));
    else if (status != STATUS_BUSY)
        ha_slave_fail(&follower->machine, "the master has closed the connection");
    return status == STATUS_OK;
}

static void rest(struct follower *follower, int64_t until_ms)
{
    struct replication *replication = follower->replication;
    struct ha_log log = log_of(follower);
    bool unflushed = replication->options.sync_flush && log.flushed_pos < log.end_pos;
    if (unflushed) {
        store_flush_soon(follower->store);
        (void)atomic_exchange(&replication->wants_flush, true);
        unflushed = store_flushed_pos(follower->store) == log.flushed_pos;
    } else {
        unflushed = true; /* nothing to look at again */
    }
    show(follower, follower->announced, follower->frozen, NULL);
    if (unflushed)
        ha_wire_wait(&follower->wire, ha_wire_busy(&follower->wire), until_ms - now_of(follower));
    atomic_store(&replication->wants_flush, false);
}

/* returns  false: the connection is over */
static bool do_next(struct follower *follower)
{
    struct ha_slave *machine = &follower->machine;
    struct ha_slave_action action;
    if (ha_wire_busy(&follower->wire))
        flush_wire(follower);
    ha_slave_step(machine, log_of(follower), !ha_wire_busy(&follower->wire), now_of(follower),
                  &action);
    if (may_announce(follower))
        announce(follower);
    switch (action.what) {
    case HA_SLAVE_WAIT:
        if (!receive(follower) && machine->state != HA_SLAVE_CLOSING)
            rest(follower, action.until_ms);
        break;
    case HA_SLAVE_SEND:
        ha_wire_send(&follower->wire, action.bytes);
        break;
    case HA_SLAVE_BEGIN_AT:
        begin_at(follower, action.pos);
        break;
    case HA_SLAVE_APPEND:
        append(follower, &action);
        break;
    case HA_SLAVE_CHANGED:
        tell_changed(follower, action.tables);
        break;
    case HA_SLAVE_CLOSE:
        return false;
    }
    return !is_over(follower);
}

/* --- one connection after another --- */

static bool begin(struct follower *follower, int fd)
{
    struct replication *replication = follower->replication;
    struct ha_hello self = replication->self;
    struct log_name last = {0};
    struct ha_slave_options options = {replication->options.heartbeat_ms,
                                       replication->options.silence_ms};
    ha_wire_init(&follower->wire, fd, false, replication->follow_wake_fd);
    follower->announced = false;
    bool named = store_name_end(follower->store, &last) == STATUS_OK;
    self.min_pos = store_min_pos(follower->store);
    self.end_pos = store_appended_pos(follower->store);
    if (named && last.pos >= 0)
        self.last = (struct ha_name){last.pos, last.end_pos, last.crc};
    ha_slave_init(&follower->machine, &options, &self, now_of(follower));
    if (!named)
        ha_slave_fail(&follower->machine, "the last message of the log can not be read; look at "
                                          "the disk");
    return named;
}

/* An operator has to act. */
static void refuse(struct follower *follower, const char *why)
{
    show(follower, false, true, why);
    log_refused(follower, why);
    follower->frozen |= follower->announced;
    follower->pause_ms = PAUSE_MS_MAX;
}

static void end(struct follower *follower)
{
    const struct ha_slave *machine = &follower->machine;
    ha_wire_close(&follower->wire);
    if (is_over(follower)) {
        show(follower, false, false, "");
        follower->pause_ms = PAUSE_MS_MIN;
        return;
    }
    if (machine->refused) {
        refuse(follower, machine->why);
        return;
    }
    show(follower, false, false, machine->why);
    log_lost(follower, machine->why);
    if (follower->announced)
        follower->pause_ms = PAUSE_MS_MIN;
}

/* Whether the store takes something. Else the master, and its log, are left in peace. */
static bool log_takes(struct follower *follower)
{
    struct store *store = follower->store;
    struct err err = {0};
    char why[HA_TEXT_BYTES];
    if (store_append_raw(store, store_appended_pos(store), SLICE_EMPTY, &err) == STATUS_OK)
        return true;
    (void)snprintf(why, sizeof why, TAKES_NO_MORE, err.text);
    refuse(follower, why);
    return false;
}

static void follow(struct follower *follower)
{
    struct replication *replication = follower->replication;
    struct err err = {0};
    int fd;
    follower->announced = false;
    if (!log_takes(follower))
        return;
    enum status status = ha_wire_connect(follower->master, CONNECT_PATIENCE_MS,
                                         replication->follow_wake_fd, &fd, &err);
    if (status == STATUS_OK) {
        (void)begin(follower, fd);
        while (do_next(follower))
            ;
        end(follower);
    } else if (status != STATUS_CLOSED) {
        show(follower, false, false, err.text);
        log_lost(follower, err.text);
    }
}

/* Whom to follow now; false: nobody, or the end has come. */
static bool take_master(struct follower *follower)
{
    struct replication *replication = follower->replication;
    unsigned version = atomic_load(&replication->follow_version);
    if (version != follower->version) {
        follower->version = version;
        follower->frozen = false;
        follower->pause_ms = PAUSE_MS_MIN;
        CHECK(pthread_mutex_lock(&replication->lock) == 0);
        memcpy(follower->master, replication->state.master, sizeof follower->master);
        CHECK(pthread_mutex_unlock(&replication->lock) == 0);
        log_info("replication", "the master to follow", "address=\"%s\"", follower->master);
    }
    return follower->master[0] != '\0';
}

static void *follow_all(void *arg)
{
    struct replication *replication = arg;
    struct follower *follower = xcalloc(1, sizeof *follower);
    follower->replication = replication;
    follower->store = replication->options.store;
    follower->read_buffer = xmalloc(READ_BYTES);
    follower->pause_ms = PAUSE_MS_MIN;
    for (;;) {
        /* What was called out so far is looked at now; only what comes after that ends a wait. */
        ha_wake_wait(replication->follow_wake_fd, 0);
        if (atomic_load(&replication->stopping))
            break;
        if (!take_master(follower)) {
            ha_wake_wait(replication->follow_wake_fd, -1);
            continue;
        }
        follow(follower);
        if (is_over(follower))
            continue;
        ha_wake_wait(replication->follow_wake_fd, follower->pause_ms);
        follower->pause_ms *= 2;
        if (follower->pause_ms > PAUSE_MS_MAX)
            follower->pause_ms = PAUSE_MS_MAX;
    }
    free(follower->read_buffer);
    free(follower);
    return NULL;
}

enum status ha_follower_start(struct replication *replication, struct err *err)
{
    return thread_start(&replication->follow_thread, "ha-follower", follow_all, replication, err);
}

void ha_follower_stop(struct replication *replication)
{
    ha_wake(replication->follow_wake_fd);
    thread_join(replication->follow_thread);
}
