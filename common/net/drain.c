/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer may send at any moment, also while our end of stream is on its way to it: what comes then
 * can not be answered any more. Apache's 4.9.2 client in Java lets the calls under way of a
 * connection that ends in good order run into their time-out, also those that it sends in the
 * moment between the arrival of the end and its reading it. On a connection that is reset it can
 * not send any more, and calls under way fail at once if it learns of that by reading, not by
 * writing. So no connection ends in good order, not even one that was idle for long: its peer may
 * send just then. Hence, for each connection:
 *
 *     calls under way, output queued        wait; go on reading and answering
 *     then, idle for IDLE_MS                reset it
 *     else, silent for QUIET_MS             reset it when its answers have come to its machine
 *     else, after TALK_MS                   read on, but keep the answers back: most peers wait for
 *                                           them before they send more, and so fall silent
 *     then, when silent for QUIET_MS        reset it; what was kept back only said that we end
 *     else, after DEAF_MS more              stop reading, write what was kept back, and reset it
 *                                           when that has come to the peer's machine
 *
 * Silent is who has sent and got nothing meanwhile, no half frame either: a peer that sends next
 * what an answer lets it send (a pull after a pull, a retry) needs a round trip to do so. It counts
 * in steps, too, since it may have been us who got no processor. Keeping back is for clients that
 * retry here for ever, the last step for those that wait for no answer.
 *
 * What is left: two calls of one connection, of which the first leaves before the reset comes, and
 * the second after that and before the client reads. The second fails at once; its failure takes
 * the reset's, and the first one waits.
 *
 * The steps are driven by a timer, which is simpler than watching every place where a call or an
 * output may end, and only runs then.
 */
#include "common/net/drain.h"

#include "common/net/outcall.h"

#define QUIET_MS 50
#define QUIET_STEPS 15
#define IDLE_MS 1000
#define TALK_MS 100
#define DEAF_MS 150

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

static void reset(struct conn *conn)
{
    transport_reset_on_close(&conn->transport);
    conn_end(conn, CONN_END_OWNER, "shutting down");
}

static bool is_silent(const struct conn *conn, int64_t now_ms)
{
    int64_t silent_ms = now_ms - conn->active_ms;
    bool long_enough =
        silent_ms >= IDLE_MS || (silent_ms >= QUIET_MS && conn->drain_silent_steps >= QUIET_STEPS);
    return long_enough && !has_input(conn) && transport_all_arrived(&conn->transport);
}

static void count_silence(struct conn *conn)
{
    if (conn->drain_seen_ms == conn->active_ms) {
        conn->drain_silent_steps++;
    } else {
        conn->drain_seen_ms = conn->active_ms;
        conn->drain_silent_steps = 0;
    }
}

/* Nothing is under way, everything was answered. */
static void step_answered(struct conn *conn, int64_t now_ms)
{
    if (is_silent(conn, now_ms)) {
        reset(conn);
    } else if (now_ms >= conn->drain_until_ms) {
        conn_cork(conn);
        conn->drain_until_ms = now_ms + DEAF_MS;
    }
}

static void step_corked(struct conn *conn, int64_t now_ms)
{
    if (is_silent(conn, now_ms)) {
        reset(conn);
    } else if (now_ms >= conn->drain_until_ms) {
        conn_pause(conn, CONN_PAUSE_DRAIN);
        conn_uncork(conn);
    }
}

static void step(struct conn *conn, int64_t now_ms)
{
    if (conn->calls_under_way > 0 || conn->drain_until_ms == 0)
        conn->drain_until_ms = now_ms + TALK_MS;
    count_silence(conn);
    if (conn->calls_under_way > 0) {
        conn_uncork(conn);
    } else if ((conn->pauses & CONN_PAUSE_DRAIN) != 0) {
        if (conn->output.bytes == 0 && transport_all_arrived(&conn->transport))
            reset(conn);
    } else if (conn->corked) {
        step_corked(conn, now_ms);
    } else {
        if (!conn->write_blocked)
            conn_write(conn); /* or what was read in this turn would hold up every step */
        if (!conn->ended && conn->output.bytes == 0)
            step_answered(conn, now_ms);
    }
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
        if (hurry) /* patience is over */
            reset(conn);
        else
            step(conn, now_ms);
    }
    return list_empty(&group->by_activity);
}
