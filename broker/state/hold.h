/* SPDX-License-Identifier: Apache-2.0
 *
 * Held pulls (long polling): requests parked until a message arrives in their queue or their time
 * is up. One table per loop, used on that loop only; the store's dispatch thread reports arrivals
 * through hold_arrival, which posts to each loop that holds a pull of the queue.
 *
 * Requests that wait for something else (their messages are being read from disk) are parked in the
 * same table, so that they count against the same bounds and hear of their connection's end.
 */
#ifndef BROKER_STATE_HOLD_H
#define BROKER_STATE_HOLD_H

#include "broker/state/tag_index.h"
#include "broker/store/store.h"
#include "common/base/list.h"
#include "common/net/net.h"

/* One parked request; embed it. Belongs to the table between hold_add and its callback or
 * hold_remove. */
struct held {
    struct list by_queue;
    struct list by_deadline;
    struct list by_conn;
    struct queue *queue;
    struct conn_ref conn;
    int64_t deadline_ms; /* monotonic, of the loop */
    size_t bytes;        /* memory that the request keeps; does not change while held */
    /* The tags that it waits for: hashes, borrowed while held. Messages with others do not wake it.
     * None (code_count 0): any message does. */
    const int32_t *codes;
    int code_count;
    /* Everything in the queue before it was looked at and does not match. The owner sets it before
     * hold_add and after a look of its own; the table moves it past messages with other tags, and
     * has it up to date when it calls back. */
    int64_t looked_offset;

    /* The table's. */
    struct list by_wake;
    struct tag_wish *wishes;
    bool parked;
};

struct hold_callbacks {
    void *ctx;
    /* Something that concerns it arrived in the queue. Answer and free it (after hold_remove), or
     * leave it held. */
    void (*on_arrival)(void *ctx, struct held *held);
    /* The time is up; it is out of the table already. */
    void (*on_expire)(void *ctx, struct held *held);
    /* The connection has gone; it is out of the table already. */
    void (*on_drop)(void *ctx, struct held *held);
    /* Call `each` with the tags code of the queue's messages from `from` on, as many as one look
     * can take. Returns the offset behind the last one; `from` when that cannot be told now: then
     * every request of the queue gets its on_arrival. */
    int64_t (*tags)(void *ctx, struct queue *queue, int64_t from,
                    void (*each)(void *each_ctx, int64_t tags_code), void *each_ctx);
};

struct hold_tables; /* all loops' tables */
struct hold_table;  /* one loop's */

struct hold_tables *hold_tables_new(struct loop *const *loops, int loop_count,
                                    const struct hold_callbacks *callbacks /* one per loop */);
void hold_tables_free(struct hold_tables *tables); /* after the loops have stopped; drops all */
struct hold_table *hold_tables_get(struct hold_tables *tables, int loop_index);

/* Park a request. The caller looks at the queue once more afterwards: what arrived before the call
 * is not reported.
 * returns  OK | BUSY (CONNECTION_HELD_MAX, CONNECTION_HELD_BYTES_MAX or HELD_BYTES_MAX reached) */
MUST_CHECK enum status hold_add(struct hold_table *table, struct held *held);

/* The same for one that neither arrivals nor a deadline concern; `queue` and `deadline_ms` are not
 * used. Its owner ends it by hold_remove; on_drop and hold_expire_all's on_expire tell that it
 * should. */
MUST_CHECK enum status hold_park(struct hold_table *table, struct held *held);
void hold_remove(struct hold_table *table, struct held *held);

/* Drop everything held for a connection. */
void hold_conn_closed(struct hold_table *table, struct conn_ref conn);

/* Expire everything now (shutting down). */
void hold_expire_all(struct hold_table *table);

/* store_listener.on_arrival: ctx is the struct hold_tables. Any thread. */
void hold_arrival(void *tables, struct queue *queue);

#endif
