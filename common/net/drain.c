/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer may send at any moment, also while our end of stream is on its way to it: what comes then
 * can not be answered any more, and some clients (4.9.2's in Java) let the calls under way of a
 * connection that ends in good order run into their time-out; those of one that is reset they fail
 * at once. Hence, for each connection:
 *
 *     calls under way, output queued        wait, and go on reading
 *     else silent for QUIET_MS, no bytes    shut our side down; read and throw away until the peer
 *     unread, no half frame                 closes, LINGER_MS at most, as closing with unread bytes
 *                                           would reset it and may destroy answers on their way
 *     else, after BUSY_MS                   reset it as soon as all it has sent is answered, and
 *                                           the answers have come to its machine
 *     else, after 2 BUSY_MS                 stop reading, and reset it when the answers have come
 *                                           to its machine
 *
 * A peer that only ever sends next what an answer lets it send (a pull after a pull, a retry)
 * needs a round trip to do so, hence QUIET_MS. One that goes on sending whatever it is told would
 * keep us for ever, hence BUSY_MS.
 *
 * The steps are driven by a timer, which is simpler than watching every place where a call or an
 * output may end, and only runs then.
 */
#include "common/net/drain.h"

#include "common/net/outcall.h"

#define QUIET_MS 50
#define BUSY_MS 100
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

/* Nothing is under way, and all output is with the kernel. */
static void step_answered(struct conn *conn, int64_t now_ms)
{
    bool reading = (conn->pauses & CONN_PAUSE_DRAIN) == 0;
    if (reading && has_input(conn))
        return;
    if (reading && now_ms - conn->active_ms >= QUIET_MS) {
        conn_linger(conn);
        conn->drain_until_ms = now_ms + LINGER_MS;
    } else if (now_ms >= conn->drain_until_ms && transport_all_arrived(&conn->transport)) {
        reset(conn);
    }
}

static void step(struct conn *conn, int64_t now_ms)
{
    if (conn->discarding) {
        if (now_ms >= conn->drain_until_ms)
            conn_end(conn, CONN_END_OWNER, "shutting down");
        return;
    }
    if (conn->calls_under_way > 0 || conn->drain_until_ms == 0)
        conn->drain_until_ms = now_ms + BUSY_MS;
    if (now_ms >= conn->drain_until_ms + BUSY_MS)
        conn_pause(conn, CONN_PAUSE_DRAIN);
    if (conn->calls_under_way == 0 && conn->output.bytes == 0)
        step_answered(conn, now_ms);
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
