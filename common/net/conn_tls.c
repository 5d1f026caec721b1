/* SPDX-License-Identifier: Apache-2.0
 *
 * A handshake costs some tenths of a millisecond of computing, more than hundreds of messages. Its
 * steps are therefore not taken when bytes arrive but some in each turn, behind everything else
 * that was read; until then the connection is not read. The oldest one gives way when there are too
 * many: those of honest peers are done within a few round trips.
 *
 * Invariants: a connection is in table->shakes exactly while its transport is handshaking; in
 * table->steps it is paused with CONN_PAUSE_TLS.
 */
#include "common/net/conn_tls.h"

#include "common/base/check.h"
#include "common/base/limits.h"

#define STEPS_PER_TURN 4
#define DISK_RETRY_MS 2
#define DISK_WAIT_MS 10000

/* --- handshakes --- */

static void set_shake_timer(struct conn_table *table)
{
    if (list_empty(&table->shakes))
        return;
    const struct conn *oldest = list_entry(table->shakes.next, struct conn, in_shakes);
    loop_timer_set(table->shake_timer,
                   oldest->shake_since_ms + TLS_HANDSHAKE_MS - loop_now_ms(table->loop));
}

static void end_late(void *ctx)
{
    struct conn_table *table = ctx;
    int64_t now_ms = loop_now_ms(table->loop);
    while (!list_empty(&table->shakes)) {
        struct conn *conn = list_entry(table->shakes.next, struct conn, in_shakes);
        if (now_ms - conn->shake_since_ms < TLS_HANDSHAKE_MS)
            break;
        conn_end(conn, CONN_END_TLS, "TLS handshake not done in time");
    }
    set_shake_timer(table);
}

/* Make room for one more of a peer's. */
static void end_oldest(struct conn_table *table)
{
    list_for_each (node, &table->shakes) {
        struct conn *conn = list_entry(node, struct conn, in_shakes);
        if (conn->transport.opened)
            continue;
        conn_end(conn, CONN_END_TLS, "too many TLS handshakes are under way, the oldest gives way");
        return;
    }
}

void conn_handshake_begin(struct conn *conn)
{
    struct conn_table *table = conn->table;
    if (!conn->transport.opened && table->shake_count++ == TLS_HANDSHAKES_MAX)
        end_oldest(table);
    bool first = list_empty(&table->shakes);
    conn->shake_since_ms = loop_now_ms(table->loop);
    list_append(&table->shakes, &conn->in_shakes);
    if (first)
        set_shake_timer(table);
    conn_handshake_wanted(conn);
}

void conn_handshake_wanted(struct conn *conn)
{
    conn_pause(conn, CONN_PAUSE_TLS);
    if (list_empty(&conn->in_steps))
        list_append(&conn->table->steps, &conn->in_steps);
}

static void leave_shakes(struct conn *conn)
{
    if (list_empty(&conn->in_shakes))
        return;
    list_remove(&conn->in_shakes);
    if (!conn->transport.opened)
        conn->table->shake_count--;
}

void conn_handshake_done(struct conn *conn)
{
    leave_shakes(conn);
    conn_output_added(conn); /* what has waited for it */
}

void conn_handshake_steps(struct conn_table *table)
{
    for (int i = 0; i < STEPS_PER_TURN && !list_empty(&table->steps); i++) {
        struct conn *conn = list_entry(table->steps.next, struct conn, in_steps);
        list_remove(&conn->in_steps);
        conn_resume(conn, CONN_PAUSE_TLS);
        if (conn->pauses == 0)
            conn_read(conn);
    }
}

/* --- the disk --- */

static void write_again(void *ctx)
{
    struct conn_table *table = ctx;
    while (!list_empty(&table->disk)) {
        struct conn *conn = list_entry(table->disk.next, struct conn, in_disk);
        list_remove(&conn->in_disk);
        conn->write_blocked = false;
        conn_output_added(conn);
    }
}

void conn_await_disk(struct conn *conn)
{
    struct conn_table *table = conn->table;
    int64_t now_ms = loop_now_ms(table->loop);
    if (conn->disk_since_ms == 0)
        conn->disk_since_ms = now_ms;
    if (now_ms - conn->disk_since_ms >= DISK_WAIT_MS) {
        conn_end(conn, CONN_END_FILE, "the file of an answer cannot be read: look at the disk");
        return;
    }
    list_remove(&conn->in_dirty);
    list_remove(&conn->in_disk);
    if (list_empty(&table->disk))
        loop_timer_set(table->disk_timer, DISK_RETRY_MS);
    conn->write_blocked = true; /* not by the socket, but to the same effect */
    list_append(&table->disk, &conn->in_disk);
}

/* --- life --- */

void conn_tls_init(struct conn_table *table)
{
    list_init(&table->shakes);
    list_init(&table->steps);
    list_init(&table->disk);
    table->shake_timer = loop_timer_new(table->loop, end_late, table);
    table->disk_timer = loop_timer_new(table->loop, write_again, table);
}

void conn_tls_release(struct conn_table *table)
{
    loop_timer_free(table->shake_timer);
    loop_timer_free(table->disk_timer);
}

void conn_tls_ended(struct conn *conn)
{
    leave_shakes(conn);
    list_remove(&conn->in_steps);
    list_remove(&conn->in_disk);
}
