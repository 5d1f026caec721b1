/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection's life: opening, idleness, pauses, output, the end.
 *
 * Invariant: a connection is in the lists of its table and group only while it has not ended. An
 * ended one stays in memory until the turn is over, because callers up the stack may hold it.
 */
#include "common/net/conn.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/net/conn_tls.h"
#include "common/net/outcall.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>

#define WRITE_PIECES_MAX 128
/* Calls to write in one turn: an answer that leaves from a file takes two. */
#define WRITE_CALLS_MAX 8

/* --- the end --- */

static void log_end(struct conn *conn, enum conn_end why, const char *reason)
{
    static const enum log_level levels[] = {
        [CONN_END_PEER] = LOG_DEBUG,   [CONN_END_MALFORMED] = LOG_WARN, [CONN_END_IDLE] = LOG_INFO,
        [CONN_END_STALLED] = LOG_WARN, [CONN_END_UNREAD] = LOG_WARN,    [CONN_END_ASKED] = LOG_INFO,
        [CONN_END_OWNER] = LOG_DEBUG,  [CONN_END_FILE] = LOG_ERROR,     [CONN_END_TLS] = LOG_WARN,
    };
    int64_t suppressed;
    if (!log_gate_open(&conn->group->totals->ended_gates[why], &suppressed))
        return;
    char peer[HOST_TEXT_BYTES];
    host_format(&conn->peer, peer);
    log_line(levels[why], "net", "connection closed", "peer=%s reason=\"%s\" suppressed=%lld", peer,
             reason, (long long)suppressed);
}

/* The memory that the transport holds for this connection counts as output of it. */
static void count_unsent(struct conn *conn, size_t bytes)
{
    conn->output.held_bytes += bytes - conn->unsent_counted;
    conn->table->pool.held_bytes += bytes - conn->unsent_counted;
    conn->unsent_counted = bytes;
}

void conn_end(struct conn *conn, enum conn_end why, const char *reason)
{
    if (conn->ended)
        return;
    struct conn_table *table = conn->table;
    struct conn_group *group = conn->group;
    struct conn_ref ref = conn_ref_of(conn);
    conn->ended = true;
    log_end(conn, why, reason);
    conn_slot_give_back(table, conn);
    list_remove(&conn->in_group);
    list_remove(&conn->in_dirty);
    list_remove(&conn->in_resume);
    list_remove(&conn->in_half);
    list_remove(&conn->in_paused);
    conn_tls_ended(conn);
    if (table->favoured == conn)
        table->favoured = NULL;
    CHECK(event_del(&conn->read_event) == 0);
    CHECK(event_del(&conn->write_event) == 0);
    atomic_fetch_sub(&group->totals->in_flight_bytes, (int64_t)conn->input_counted);
    atomic_fetch_add(&group->totals->ended[why], 1);
    atomic_fetch_sub(&group->totals->connections, 1);
    counter_add(&group->calls_under_way, -conn->calls_under_way);
    transport_close(&conn->transport);
    count_unsent(conn, 0);
#ifdef DEBUG
    free(conn->unanswered);
#endif
    list_append(&table->ended, &conn->in_group);
    /* The owner first: an answer that fails may call again and must not find this connection. */
    if (group->on_end != NULL)
        group->on_end(group, conn);
    outcalls_fail(&conn->outcalls, STATUS_CLOSED);
    output_clear(&conn->output, &table->pool);
    if (group->service.on_close != NULL)
        group->service.on_close(group->service.ctx, ref, &conn->peer);
}

/* --- pausing --- */

void conn_pause(struct conn *conn, enum conn_pause why)
{
    if (conn->pauses == 0 && !conn->ended)
        CHECK(event_del(&conn->read_event) == 0);
    conn->pauses |= (unsigned)why;
}

void conn_resume(struct conn *conn, enum conn_pause why)
{
    if ((conn->pauses & (unsigned)why) == 0)
        return;
    conn->pauses &= ~(unsigned)why;
    if (conn->pauses != 0 || conn->ended)
        return;
    CHECK(event_add(&conn->read_event, NULL) == 0);
    conn_read_again(conn);
    if (conn->input.size > 0 && list_empty(&conn->in_resume))
        list_append(&conn->table->resume, &conn->in_resume);
}

static void group_check_idle(void *ctx)
{
    struct conn_group *group = ctx;
    int64_t idle_ms = group->totals->options.idle_ms;
    int64_t now_ms = loop_now_ms(group->table->loop);
    group->idle_timer_set = false;
    while (!list_empty(&group->by_activity)) {
        struct conn *conn = list_entry(group->by_activity.next, struct conn, in_group);
        int64_t left_ms = conn->active_ms + idle_ms - now_ms;
        if (left_ms > 0) {
            loop_timer_set(group->idle_timer, left_ms);
            group->idle_timer_set = true;
            return;
        }
        conn_end(conn, CONN_END_IDLE, "no byte either way for the idle time");
    }
}

void conn_touch(struct conn *conn)
{
    int64_t now_ms = loop_now_ms(conn->table->loop);
    if (conn->active_ms == now_ms)
        return;
    conn->active_ms = now_ms;
    list_remove(&conn->in_group);
    list_append(&conn->group->by_activity, &conn->in_group);
}

/* --- calls under way --- */

#ifdef DEBUG
static void remember_opaque(struct conn *conn, int32_t opaque)
{
    if ((size_t)conn->calls_under_way == conn->unanswered_capacity) {
        conn->unanswered_capacity = conn->unanswered_capacity * 2 + 16;
        conn->unanswered =
            xrealloc(conn->unanswered, conn->unanswered_capacity * sizeof *conn->unanswered);
    }
    conn->unanswered[conn->calls_under_way] = opaque;
}

static bool forget_opaque(struct conn *conn, int32_t opaque)
{
    for (int64_t i = 0; i < conn->calls_under_way; i++) {
        if (conn->unanswered[i] == opaque) {
            conn->unanswered[i] = conn->unanswered[conn->calls_under_way - 1];
            return true;
        }
    }
    return false;
}
#else
static void remember_opaque(struct conn *conn, int32_t opaque)
{
    (void)conn;
    (void)opaque;
}

static bool forget_opaque(struct conn *conn, int32_t opaque)
{
    (void)opaque;
    return conn->calls_under_way > 0;
}
#endif

void conn_call_started(struct conn *conn, int32_t opaque)
{
    remember_opaque(conn, opaque);
    conn->calls_under_way++;
    counter_add(&conn->group->calls_under_way, 1);
}

bool conn_call_finished(struct conn *conn, int32_t opaque)
{
    if (!forget_opaque(conn, opaque)) {
        counter_add(&conn->group->replies_unexpected, 1);
        return false;
    }
    conn->calls_under_way--;
    counter_add(&conn->group->calls_under_way, -1);
    return true;
}

void conn_call_detached(struct conn *conn)
{
    if (++conn->detached_calls >= CONNECTION_DETACHED_CALLS_MAX)
        conn_pause(conn, CONN_PAUSE_CALLS);
}

void conn_call_freed(struct conn *conn)
{
    CHECK(conn->detached_calls > 0);
    /* Half of them, so that resuming, which moves the bytes kept back, handles several frames. */
    if (--conn->detached_calls <= CONNECTION_DETACHED_CALLS_MAX / 2)
        conn_resume(conn, CONN_PAUSE_CALLS);
}

/* --- bytes out --- */

static void on_writable(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct conn *conn = arg;
    conn->write_blocked = false;
    if (list_empty(&conn->in_dirty))
        list_append(&conn->table->dirty, &conn->in_dirty);
}

static bool has_output(const struct conn *conn)
{
    return conn->output.bytes > 0 || conn->transport.unsent_bytes > 0;
}

void conn_output_added(struct conn *conn)
{
    if (conn->ended || !has_output(conn))
        return;
    if (!conn->write_blocked && !conn->corked && list_empty(&conn->in_dirty))
        list_append(&conn->table->dirty, &conn->in_dirty);
    /* A handshake goes on by reading. */
    if (conn->output.bytes >= conn->group->totals->options.output_high_water_bytes &&
        !conn->transport.handshaking)
        conn_pause(conn, CONN_PAUSE_OUTPUT);
}

/* One system call. *room: there may be room for more. */
static enum status write_some(struct conn *conn, size_t *sent, bool *room)
{
    struct transport *transport = &conn->transport;
    struct output_file file;
    if (output_next_file(&conn->output, &file)) {
        enum status status = transport_send_file(transport, file.fd, file.offset, file.size, sent);
        *room = transport_has_room(transport, *sent, file.size);
        return status;
    }
    struct iovec pieces[WRITE_PIECES_MAX];
    bool more;
    size_t size = 0;
    int count = output_gather(&conn->output, pieces, WRITE_PIECES_MAX, &more);
    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;
    enum status status = transport_writev(transport, pieces, count, more, sent);
    *room = transport_has_room(transport, *sent, size);
    return status;
}

static void end_unwritable(struct conn *conn, enum status status)
{
    switch (status) {
    case STATUS_NOT_FOUND:
        conn_end(conn, CONN_END_FILE, "the file of an answer cannot be read: look at the disk");
        break;
    case STATUS_MALFORMED:
        conn_end(conn, CONN_END_TLS, conn->transport.problem);
        break;
    default:
        conn_end(conn, CONN_END_PEER, "closed by the peer");
        break;
    }
}

/* Up to WRITE_CALLS_MAX calls; false when the connection has ended. */
static bool write_out(struct conn *conn)
{
    bool room = true;
    for (int i = 0; i < WRITE_CALLS_MAX && room && has_output(conn); i++) {
        size_t sent = 0;
        enum status status = write_some(conn, &sent, &room);
        if (status == STATUS_TRUNCATED) {
            conn_await_disk(conn);
            return !conn->ended;
        }
        if (status != STATUS_OK && status != STATUS_BUSY) {
            end_unwritable(conn, status);
            return false;
        }
        if (status == STATUS_BUSY)
            break;
        conn_touch(conn);
        conn->disk_since_ms = 0;
        output_consume(&conn->output, &conn->table->pool, sent);
        if (conn->ended)
            return false;
    }
    return true;
}

void conn_write(struct conn *conn)
{
    const struct transport *transport = &conn->transport;
    if (conn->corked || (transport->handshaking && transport->unsent_bytes == 0) ||
        !write_out(conn))
        return;
    count_unsent(conn, transport->unsent_bytes);
    if (!list_empty(&conn->in_disk))
        return;
    if (has_output(conn)) {
        conn->write_blocked = true;
        list_remove(&conn->in_dirty);
        CHECK(event_add(&conn->write_event, NULL) == 0);
    }
    if (conn->output.bytes <= conn->group->totals->options.output_high_water_bytes / 2)
        conn_resume(conn, CONN_PAUSE_OUTPUT);
}

void conn_cork(struct conn *conn)
{
    CHECK(conn->output.bytes == 0);
    conn->corked = true;
}

void conn_uncork(struct conn *conn)
{
    conn->corked = false;
    conn_output_added(conn);
}

/* --- groups and opening --- */

void conn_group_init(struct conn_group *group, struct loop *loop, struct conn_totals *totals,
                     struct service service)
{
    group->table = loop_conns(loop);
    group->totals = totals;
    group->service = service;
    list_init(&group->by_activity);
    group->idle_timer = loop_timer_new(loop, group_check_idle, group);
    if (totals->options.tls != NULL)
        group->tls = tls_io_new(totals->options.tls, totals->options.tls_mode);
}

void conn_group_end_all(struct conn_group *group, bool quietly)
{
    if (quietly)
        group->service.on_close = NULL;
    while (!list_empty(&group->by_activity))
        conn_end(list_entry(group->by_activity.next, struct conn, in_group), CONN_END_OWNER,
                 "shutting down");
}

void conn_group_release(struct conn_group *group)
{
    CHECK(list_empty(&group->by_activity));
    loop_timer_free(group->idle_timer);
    tls_io_free(group->tls);
}

struct conn *conn_open(struct conn_group *group, const struct transport *transport,
                       const struct host *peer, int port_tag)
{
    struct conn_table *table = group->table;
    struct event_base *base = loop_event_base(table->loop);
    struct conn *conn = xcalloc(1, sizeof *conn);
    conn->table = table;
    conn->group = group;
    conn->transport = *transport;
    conn->peer = *peer;
    conn->port_tag = port_tag;
    list_init(&conn->in_dirty);
    list_init(&conn->in_resume);
    list_init(&conn->in_half);
    list_init(&conn->in_paused);
    list_init(&conn->in_shakes);
    list_init(&conn->in_steps);
    list_init(&conn->in_disk);
    list_init(&conn->outcalls);
    conn_slot_take(table, conn);
    conn->active_ms = loop_now_ms(table->loop);
    list_append(&group->by_activity, &conn->in_group);
    if (!group->idle_timer_set) {
        loop_timer_set(group->idle_timer, group->totals->options.idle_ms);
        group->idle_timer_set = true;
    }
    int fd = transport->fd;
    CHECK(event_assign(&conn->read_event, base, fd, EV_READ | EV_PERSIST, conn_on_readable, conn) ==
          0);
    CHECK(event_assign(&conn->write_event, base, fd, EV_WRITE, on_writable, conn) == 0);
    CHECK(event_add(&conn->read_event, NULL) == 0);
    if (conn->transport.handshaking)
        conn_handshake_begin(conn);
    return conn;
}
