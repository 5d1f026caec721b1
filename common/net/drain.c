/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer may send at any moment, also while our end of stream is on its way to it: what comes then
 * can not be answered any more, and some clients (4.9.2's in Java) let the calls under way of a
 * connection that ends in good order run into their time-out; those of one that is reset they fail
 * at once, mostly. Hence, for each connection:
 *
 *     calls under way, output queued        wait, go on reading and writing
 *     then                                  read on, but keep answers back: most peers wait for
 * them before they send more when silent for QUIET_MS, no bytes    write what was kept back and our
 * end of stream at once; unread, no half frame                 read and throw away until the peer
 * closes, LINGER_MS at most, as closing with unread bytes would reset it and may destroy answers on
 * their way else, after BUSY_MS                   stop reading, write, and reset it when the
 * answers have come to its machine
 *
 * A peer that sends next what an answer lets it send (a pull after a pull, a retry) needs a round
 * trip to do so, hence QUIET_MS. One that goes on sending without answers would keep us for ever,
 * hence BUSY_MS.
 *
 * The steps are driven by a timer, which is simpler than watching every place where a call or an
 * output may end, and only runs then.
 */
#include "common/net/drain.h"

#include "common/net/outcall.h"

#define QUIET_MS 50
#define BUSY_MS 200
#define LINGER_MS 200

void drain_begin(struct conn_group *group)
{
    struct list waiting; /* collected first: an answer may do anything, also to connections */
    list_init(&waiting);
    group->draining = true;
    list_for_each (node, &group->by_activity) {
        struct conn *conn = list_entry(node, struct conn, in_group);
        list_for_each (call, &conn->outcalls) {
            list_remove(call);
            list_append(&waiting, call);
        }
    }
    outcalls_fail(&waiting, STATUS_CLOSED);
}

static bool has_input(const struct conn *conn)
{
    return conn->input.size > 0 || transport_has_unread(&conn->transport);
}

/* Something is owed to the peer: it must not take this end for one in good order. */
static void reset(struct conn *conn)
{
    transport_reset_on_close(&conn->transport);
    conn_end(conn, CONN_END_OWNER, "shutting down, though its peer goes on");
}

/* Nothing is under way, and what is queued was kept back. */
static void step_corked(struct conn *conn, int64_t now_ms)
{
    if (now_ms >= conn->drain_until_ms) {
        conn_pause(conn, CONN_PAUSE_DRAIN);
        conn_uncork(conn);
    } else if (now_ms - conn->active_ms >= QUIET_MS && !has_input(conn)) {
        if (conn_write_last(conn))
            conn->drain_until_ms = now_ms + LINGER_MS;
    }
}

static void step(struct conn *conn, int64_t now_ms)
{
    if (conn->discarding) {
        if (now_ms >= conn->drain_until_ms)
            conn_end(conn, CONN_END_OWNER, "shutting down");
    } else if ((conn->pauses & CONN_PAUSE_DRAIN) != 0) {
        if (conn->output.bytes == 0 && transport_all_arrived(&conn->transport))
            reset(conn);
    } else if (conn->calls_under_way > 0) {
        conn_uncork(conn);
    } else if (conn->corked) {
        step_corked(conn, now_ms);
    } else if (conn_cork(conn)) {
        conn->drain_until_ms = now_ms + BUSY_MS;
        step_corked(conn, now_ms);
    }
}

/* Patience is over. */
static void end(struct conn *conn)
{
    if (conn->discarding)
        conn_end(conn, CONN_END_OWNER, "shutting down");
    else if (conn->calls_under_way > 0 || conn->output.bytes > 0 || has_input(conn))
        reset(conn);
    else
        conn_end(conn, CONN_END_OWNER, "shutting down");
}

bool drain_step(struct conn_group *group, bool hurry)
{
    const struct conn_table *table = group->table;
    int64_t now_ms = loop_now_ms(table->loop);
    /* By slot: the end of one connection may end others, which lists would not survive. */
    for (uint32_t i = 0; i < table->slot_count; i++) {
        struct conn *conn = table->slots[i].conn;
        if (conn == NULL || conn->group != group)
            continue;
        if (hurry)
            end(conn);
        else
            step(conn, now_ms);
    }
    return list_empty(&group->by_activity);
}
