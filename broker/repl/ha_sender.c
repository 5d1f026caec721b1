/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection from a slave: the thread that drives ha_master.h with the socket, the clock and the
 * store, and enters the slave among the replicas. It may wait for the disk.
 *
 * Waking. The thread sets its bit of `wanting`, looks at the end of the log once more, and waits;
 * an append moves the end, then takes all bits and wakes whose they are. Both change the same word,
 * which orders them: one of the two sees what the other did. So an append makes a system call only
 * when somebody has sent all there was.
 */
#include "broker/repl/ha_wire.h"
#include "broker/repl/replication_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES 65536
#define REFUSED_AGAIN_MS (10 * 60 * 1000) /* the same words are logged again after that */

struct sender {
    struct ha_connection *connection;
    struct replication *replication;
    struct store *store;
    struct ha_wire wire;
    struct ha_master machine;
    int slot; /* among the replicas; -1: none */
    int64_t start_pos;
    bool proved; /* as of the connection */
    char peer[HOST_TEXT_BYTES];
    uint8_t read_buffer[READ_BYTES];
};

static struct ha_bounds bounds_of(const struct sender *sender)
{
    return (struct ha_bounds){store_min_pos(sender->store), store_appended_pos(sender->store)};
}

/* --- admission --- */

/* Is the slave's last record in our log?
 * returns  OK | CORRUPT (it is not) | else nothing can be said, because it has none, that part has
 *          expired or can not be read, or a slave of 4.9.2 does not tell: the positions have to do
 */
static enum status find_last_record(struct sender *sender)
{
    const struct ha_name *last = &sender->machine.slave.last;
    struct log_name name = {last->pos, last->end_pos, last->crc};
    if (sender->machine.protocol == 1 || last->end_pos == 0)
        return STATUS_NOT_FOUND;
    return store_has_record(sender->store, &name);
}

static void admit(struct sender *sender, int64_t start_pos)
{
    struct ha_master *machine = &sender->machine;
    char other[HOST_TEXT_BYTES] = "";
    enum status found = find_last_record(sender);
    if (found == STATUS_CORRUPT) {
        ha_master_admit(machine, HA_FOREIGN_LOG, NULL);
        return;
    }
    enum ha_verdict verdict =
        ha_places_claim(sender->connection, &machine->slave, machine->protocol, other);
    if (verdict != HA_ADMITTED) {
        ha_master_admit(machine, verdict, other);
        return;
    }
    struct replica_identity identity = {
        .broker_id = machine->slave.broker_id,
        .flushes = machine->slave.sync_flush,
        .begins_pos = ha_master_begins_pos(machine, start_pos, found == STATUS_OK),
        .address = sender->connection->peer,
    };
    sender->slot = replicas_join(sender->replication->options.replicas, &identity, start_pos);
    if (sender->slot == -1) {
        ha_master_admit(machine, HA_TOO_MANY, NULL);
        return;
    }
    sender->start_pos = start_pos;
    ha_master_admit(machine, HA_ADMITTED, NULL);
    log_info("replication", "slave joined",
             "slave=%s brokerId=%lld protocol=%d from=%lld behind=%lld storeId=%s", sender->peer,
             (long long)machine->slave.broker_id, machine->protocol, (long long)start_pos,
             (long long)(store_appended_pos(sender->store) - start_pos), machine->slave.store_id);
}

/* --- doing what the machine says --- */

static void send_block(struct sender *sender, int64_t pos, int64_t size)
{
    struct log_range range = {NULL, 0, NULL};
    struct err err = {0};
    enum status status = store_log_bytes(sender->store, pos, (size_t)size, &range);
    if (status == STATUS_OK && range.size == 0)
        status = STATUS_NOT_FOUND;
    if (status == STATUS_NOT_FOUND)
        (void)err_set(&err, status, "position %lld is not in the log any more", (long long)pos);
    else if (!store_log_in_memory(sender->store, &range))
        status = store_load_log(sender->store, &range, &err);
    if (status == STATUS_OK) {
        ha_wire_send_block(&sender->wire, pos, &range);
        ha_master_block(&sender->machine, (int64_t)range.size);
        return;
    }
    if (range.segment != NULL)
        log_range_release(&range);
    ha_master_fail(&sender->machine, "the log can not be read for it: %.300s", err.text);
}

static void count_ack(struct sender *sender, int64_t pos)
{
    int64_t end_pos = store_appended_pos(sender->store);
    if (!replicas_acked(sender->replication->options.replicas, sender->slot, pos, end_pos)) {
        ha_master_fail(&sender->machine, "it reports position %lld, which it can not have",
                       (long long)pos);
    } else if (!sender->proved && (pos > sender->start_pos || (pos == end_pos && pos > 0))) {
        sender->proved = true;
        ha_places_prove(sender->connection);
    }
}

static void flush(struct sender *sender)
{
    size_t log_bytes;
    enum status status = ha_wire_flush(&sender->wire, &log_bytes);
    if (log_bytes > 0) {
        ha_master_sent(&sender->machine, (int64_t)log_bytes);
        replicas_sent(sender->replication->options.replicas, sender->slot,
                      sender->machine.sent_pos);
    }
    if (status == STATUS_NOT_FOUND)
        ha_master_fail(&sender->machine,
                       "the log can not be read for it at position %lld; look at the disk",
                       (long long)sender->machine.sent_pos);
    else if (status != STATUS_OK && status != STATUS_BUSY)
        ha_master_fail(&sender->machine, "the connection is gone (%s)", strerror(errno));
}

/* returns  whether anything came */
static bool receive(struct sender *sender, int64_t now_ms)
{
    size_t got = 0;
    enum status status =
        ha_wire_read(&sender->wire, sender->read_buffer, sizeof sender->read_buffer, &got);
    if (status == STATUS_OK)
        ha_master_input(&sender->machine, slice_of(sender->read_buffer, got), now_ms);
    else if (status == STATUS_UNSUPPORTED)
        ha_master_fail(&sender->machine, "it speaks TLS, which replication does not");
    else if (status != STATUS_BUSY)
        ha_master_fail(&sender->machine, "it has closed the connection");
    return status == STATUS_OK;
}

static void take_changes(struct sender *sender)
{
    uint32_t tables = atomic_exchange(&sender->connection->changed, 0);
    if (sender->machine.state == HA_MASTER_STREAMING && tables != 0)
        ha_master_changed(&sender->machine, tables);
}

/* Nothing can be done: wait for bytes, the log to grow, the time. */
static void rest(struct sender *sender, int64_t until_ms, int64_t now_ms)
{
    struct ha_connection *connection = sender->connection;
    struct replication *replication = sender->replication;
    bool busy = ha_wire_busy(&sender->wire);
    bool wants_more = !busy && sender->machine.state == HA_MASTER_STREAMING;
    if (wants_more)
        atomic_fetch_or(&replication->wanting, connection->bit);
    bool more = (wants_more && store_appended_pos(sender->store) > sender->machine.next_pos) ||
                atomic_load(&connection->changed) != 0;
    if (!more)
        ha_wire_wait(&sender->wire, busy, until_ms - now_ms);
    if (wants_more)
        atomic_fetch_and(&replication->wanting, ~connection->bit);
}

/* The master stops: what it has is sent first, to those that are about to have it. */
static bool may_leave(const struct sender *sender, int64_t now_ms)
{
    const struct ha_master *machine = &sender->machine;
    return machine->state != HA_MASTER_STREAMING ||
           machine->acked_pos >= store_appended_pos(sender->store) ||
           now_ms >= atomic_load(&sender->replication->stop_by_ms);
}

/* Let the words of a refusal leave, if the slave reads them. */
static void say_goodbye(struct sender *sender)
{
    size_t log_bytes;
    if (!sender->machine.refused)
        return;
    if (ha_wire_busy(&sender->wire)) {
        ha_wire_wait(&sender->wire, true, HA_FAREWELL_MS);
        (void)ha_wire_flush(&sender->wire, &log_bytes);
    }
    ha_wire_linger(&sender->wire);
}

/* returns  false: the connection is over */
static bool do_next(struct sender *sender)
{
    struct ha_master_action action;
    int64_t now_ms = clock_monotonic_ms(sender->replication->options.clock);
    bool stopping = atomic_load(&sender->replication->stopping);
    if (stopping && may_leave(sender, now_ms)) {
        ha_master_fail(&sender->machine, "the master stops");
        return false;
    }
    bool heard = receive(sender, now_ms);
    if (ha_wire_busy(&sender->wire))
        flush(sender);
    take_changes(sender);
    ha_master_step(&sender->machine, bounds_of(sender), !ha_wire_busy(&sender->wire), now_ms,
                   &action);
    switch (action.what) {
    case HA_MASTER_WAIT:
        if (stopping && action.until_ms > atomic_load(&sender->replication->stop_by_ms))
            action.until_ms = atomic_load(&sender->replication->stop_by_ms);
        if (!heard)
            rest(sender, action.until_ms, now_ms);
        return true;
    case HA_MASTER_ADMIT:
        admit(sender, action.pos);
        return true;
    case HA_MASTER_SEND:
        ha_wire_send(&sender->wire, action.frame);
        break;
    case HA_MASTER_SEND_LOG:
        send_block(sender, action.pos, action.size);
        break;
    case HA_MASTER_ACKED:
        count_ack(sender, action.pos);
        return true;
    case HA_MASTER_CLOSE:
        say_goodbye(sender);
        return false;
    }
    if (ha_wire_busy(&sender->wire))
        flush(sender);
    return true;
}

/* Under the lock.
 * returns  where to keep these words, in place of the oldest; NULL: they were logged not long ago
 */
static struct ha_words *place_for(struct replication *replication, const char *why,
                                  const struct host *peer, int64_t now_ms)
{
    struct ha_words *oldest = &replication->refused[0];
    for (int i = 0; i < HA_WORDS_KEPT; i++) {
        struct ha_words *words = &replication->refused[i];
        if (words->said_ms != 0 && words->peer.ip_bytes == peer->ip_bytes &&
            memcmp(words->peer.ip, peer->ip, sizeof peer->ip) == 0 &&
            ha_same_words(words->text, why))
            return now_ms - words->said_ms < REFUSED_AGAIN_MS ? NULL : words;
        if (words->said_ms < oldest->said_ms)
            oldest = words;
    }
    return oldest;
}

/* A slave that is refused tries again every few seconds: the same words are logged once. Words that
 * are new each time, as of who plays with the port, are logged once a second. */
static void log_refused(struct sender *sender)
{
    static struct log_gate gate;
    struct replication *replication = sender->replication;
    const char *why = sender->machine.why;
    int64_t now_ms = clock_monotonic_ms(replication->options.clock);
    int64_t suppressed = 0;
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    struct ha_words *words = place_for(replication, why, &sender->connection->peer, now_ms);
    bool news = words != NULL && log_gate_open(&gate, &suppressed);
    if (news) {
        (void)snprintf(words->text, sizeof words->text, "%s", why);
        words->peer = sender->connection->peer;
        words->said_ms = now_ms;
    }
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    if (news)
        log_error("replication", "slave refused", "slave=%s cause=\"%s\" suppressed=%lld",
                  sender->peer, why, (long long)suppressed);
}

static void log_end(struct sender *sender, bool replaced)
{
    static struct log_gate gate;
    const struct ha_master *machine = &sender->machine;
    int64_t suppressed;
    if (machine->refused)
        log_refused(sender);
    else if (sender->slot != -1)
        log_warn("replication", "slave left", "slave=%s brokerId=%lld acked=%lld why=\"%s\"",
                 sender->peer, (long long)machine->slave.broker_id, (long long)machine->acked_pos,
                 replaced ? "a newer connection has taken its place" : machine->why);
    else if (log_gate_open(&gate, &suppressed))
        log_warn("replication", "connection closed before it was a slave's",
                 "peer=%s why=\"%s\" suppressed=%lld", sender->peer, machine->why,
                 (long long)suppressed);
}

static void leave(struct sender *sender)
{
    struct replication *replication = sender->replication;
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    sender->connection->fd = -1;
    bool replaced = sender->connection->replaced;
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    ha_wire_close(&sender->wire);
    log_end(sender, replaced);
    if (sender->slot != -1)
        replicas_leave(replication->options.replicas, sender->slot);
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    sender->connection->joined = false;
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
}

void ha_sender_run(struct ha_connection *connection)
{
    struct replication *replication = connection->replication;
    struct ha_master_options options = {
        .self = &replication->self,
        .transfer_bytes = replication->options.transfer_bytes,
        .heartbeat_ms = replication->options.heartbeat_ms,
        .silence_ms = replication->options.silence_ms,
    };
    struct sender *sender = xcalloc(1, sizeof *sender);
    sender->connection = connection;
    sender->replication = replication;
    sender->store = replication->options.store;
    sender->slot = -1;
    host_format(&connection->peer, sender->peer);
    atomic_store(&connection->changed, 0);
    ha_wire_init(&sender->wire, connection->fd, true, connection->wake_fd);
    ha_master_init(&sender->machine, &options, clock_monotonic_ms(replication->options.clock));
    while (do_next(sender))
        ;
    leave(sender);
    free(sender);
}
