/* SPDX-License-Identifier: Apache-2.0
 *
 * Pops in order (order=true): of each queue the group has one answer at a time, and no further one
 * before every message of it is acknowledged or its time is over; then it begins anew at the first
 * that is open. No checkpoint and no retry topic: the group's offset stands at the first message
 * that is not acknowledged.
 *
 * The answers are kept in config/consumerOrderInfo.json. Of one that is not there, or not as it
 * was last, after a crash what is open is free at once: nothing is ever passed over, for the offset
 * is what tells where the group stands.
 *
 * Any thread; one lock (docs/locks.md: pop_orders). Times are wall clock milliseconds.
 * Source: RMQ 5.3.3 broker/.../ConsumerOrderInfoManager.java.
 */
#ifndef BROKER_STATE_POP_ORDERS_H
#define BROKER_STATE_POP_ORDERS_H

#include "broker/state/offsets.h"
#include "broker/state/pop_ledger.h"
#include "common/base/buf.h"

struct pop_orders;

/* offsets  borrowed; what it says is acknowledged counts as such in the answers
 * Faults as topics_load. */
MUST_CHECK enum status pop_orders_load(const char *path, struct vfs *vfs, struct offsets *offsets,
                                       struct pop_orders **out, struct err *err);
void pop_orders_free(struct pop_orders *orders);

/* Write the file when something changed since the last time. Worker threads only.
 * returns  OK | IO | FULL | BUSY */
MUST_CHECK enum status pop_orders_persist(struct pop_orders *orders, struct err *err);

struct pop_order_queue {
    struct slice topic;
    struct slice group;
    int32_t queue_id;
};

/* May the queue be popped?
 * queue_offset  where the group stands; an answer that begins elsewhere holds nothing up
 * attempt       the pop's attemptId, may be empty: the same as of the last answer means that it
 *               did not arrive, and is to be given again
 * returns       0: yes; else when to ask again */
int64_t pop_orders_held_until(struct pop_orders *orders, const struct pop_order_queue *queue,
                              int64_t queue_offset, struct slice attempt, int64_t now_ms);

/* The queue's answer.
 * counts   out: how often each message was given before, in the form of orderCountInfo, appended
 * returns  OK | BUSY (POP_QUEUES_MAX) */
MUST_CHECK enum status pop_orders_given(struct pop_orders *orders,
                                        const struct pop_order_queue *queue, struct slice attempt,
                                        const struct pop_taken *taken, struct buf *counts);

/* Acknowledge, and let the group's offset follow.
 * free     out: the queue may be popped now
 * returns  OK (also when it was acknowledged before, or given again since) | NOT_FOUND (the queue's
 *          answer does not hold it) | what offsets_commit says */
MUST_CHECK enum status pop_orders_ack(struct pop_orders *orders,
                                      const struct pop_order_queue *queue, int64_t queue_offset,
                                      int64_t pop_time_ms, int64_t now_ms, bool *free);

/* Let one message be given again at another time; ignored when it is not open. */
void pop_orders_change(struct pop_orders *orders, const struct pop_order_queue *queue,
                       int64_t queue_offset, int64_t pop_time_ms, int64_t visible_ms);

/* Forget queues whose last answer is a day old. Now and then. */
void pop_orders_expire(struct pop_orders *orders, int64_t now_ms);

#endif
