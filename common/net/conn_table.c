/* SPDX-License-Identifier: Apache-2.0
 *
 * The connections of one loop: slots that references are checked against, and what happens to
 * connections at the steps of a turn.
 *
 * Invariant: slots[i].generation changes whenever slots[i].conn does, and is never 0.
 */
#include "common/net/conn.h"

#include "common/base/check.h"
#include "common/net/conn_tls.h"
#include "common/net/loop_private.h"
#include "common/net/outcall.h"

#include <stdlib.h>

#define ARENA_BLOCK_BYTES ((size_t)64 * 1024)
#define FIRST_SLOTS 64
#define NO_SLOT UINT32_MAX

struct conn_table *conn_table_new(struct loop *loop)
{
    /* Not zeroed: the scratch's pages come into memory only when they are used. */
    struct conn_table *table = xmalloc(sizeof *table);
    memset(table, 0, offsetof(struct conn_table, scratch));
    table->loop = loop;
    table->first_free = NO_SLOT;
    table->queued_output_bytes_max = SIZE_MAX;
    list_init(&table->dirty);
    list_init(&table->resume);
    list_init(&table->half);
    list_init(&table->paused);
    list_init(&table->ended);
    table->half_timer = loop_timer_new(loop, conn_check_half_frames, table);
    conn_tls_init(table);
    arena_init(&table->request_arena, ARENA_BLOCK_BYTES);
    arena_init(&table->encode_arena, ARENA_BLOCK_BYTES);
    return table;
}

static void bury_ended(struct conn_table *table)
{
    list_for_each (node, &table->ended) {
        struct conn *conn = list_entry(node, struct conn, in_group);
        list_remove(node);
        buf_release(&conn->input);
        free(conn);
    }
}

void conn_table_free(struct conn_table *table)
{
    CHECK(table->open_count == 0);
    bury_ended(table);
    loop_timer_free(table->half_timer);
    conn_tls_release(table);
    output_pool_release(&table->pool);
    outcall_table_release(&table->outcalls);
    arena_release(&table->request_arena);
    arena_release(&table->encode_arena);
    free(table->slots);
    free(table);
}

/* --- slots --- */

void conn_slot_take(struct conn_table *table, struct conn *conn)
{
    if (table->first_free == NO_SLOT) {
        uint32_t count = table->slot_count == 0 ? FIRST_SLOTS : table->slot_count * 2;
        CHECK(count > table->slot_count);
        table->slots = xrealloc(table->slots, count * sizeof *table->slots);
        for (uint32_t i = count; i-- > table->slot_count;) {
            table->slots[i] = (struct conn_slot){NULL, 1, table->first_free};
            table->first_free = i;
        }
        table->slot_count = count;
    }
    conn->slot = table->first_free;
    struct conn_slot *slot = &table->slots[conn->slot];
    table->first_free = slot->next_free;
    slot->conn = conn;
    conn->generation = slot->generation;
    table->open_count++;
}

void conn_slot_give_back(struct conn_table *table, const struct conn *conn)
{
    struct conn_slot *slot = &table->slots[conn->slot];
    CHECK(slot->conn == conn);
    slot->conn = NULL;
    if (++slot->generation == 0)
        slot->generation = 1;
    slot->next_free = table->first_free;
    table->first_free = conn->slot;
    table->open_count--;
}

struct conn_ref conn_ref_of(const struct conn *conn)
{
    return (struct conn_ref){conn->table->loop, conn->slot, conn->generation};
}

struct conn *conn_find(struct conn_ref ref)
{
    if (ref.loop == NULL || ref.generation == 0 || !loop_is_current(ref.loop))
        return NULL;
    const struct conn_table *table = loop_conns(ref.loop);
    if (ref.slot >= table->slot_count || table->slots[ref.slot].generation != ref.generation)
        return NULL;
    return table->slots[ref.slot].conn;
}

/* --- turns --- */

bool conn_table_has_work(const struct conn_table *table)
{
    return !list_empty(&table->resume) || !list_empty(&table->dirty) || !list_empty(&table->steps);
}

/* Move all elements of `from` to the empty list `to`. */
static void list_take_all(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

void conn_table_resume(struct conn_table *table)
{
    struct list batch;
    list_take_all(&table->resume, &batch);
    while (!list_empty(&batch)) {
        struct conn *conn = list_entry(batch.next, struct conn, in_resume);
        list_remove(&conn->in_resume);
        if (!conn->ended)
            conn_handle_kept(conn);
    }
}

/* The connection that holds the most memory in output that its socket does not take; NULL: none. */
static struct conn *worst_reader(const struct conn_table *table)
{
    struct conn *worst = NULL;
    for (uint32_t i = 0; i < table->slot_count; i++) {
        struct conn *conn = table->slots[i].conn;
        if (conn != NULL && conn->write_blocked &&
            (worst == NULL || conn->output.held_bytes > worst->output.held_bytes))
            worst = conn;
    }
    return worst;
}

/* Behind the writing, so that what is left is what peers have not read. */
static void shed_output(struct conn_table *table)
{
    while (table->pool.held_bytes > table->queued_output_bytes_max) {
        struct conn *worst = worst_reader(table);
        if (worst == NULL)
            return;
        conn_end(worst, CONN_END_UNREAD, "it does not read its answers while memory is short");
    }
}

void conn_table_write_out(struct conn_table *table)
{
    struct list batch;
    list_take_all(&table->dirty, &batch);
    while (!list_empty(&batch)) {
        struct conn *conn = list_entry(batch.next, struct conn, in_dirty);
        list_remove(&conn->in_dirty);
        conn_write(conn);
    }
    shed_output(table);
    bury_ended(table);
}
