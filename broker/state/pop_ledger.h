/* SPDX-License-Identifier: Apache-2.0
 *
 * What pop consumers have taken and not acknowledged yet. A pop takes messages of one queue for one
 * group and leaves a checkpoint here; acknowledgements tick its messages off. When the invisible
 * time is over, what is left of it is handed out for another delivery.
 *
 * Loops take and acknowledge; everything else (the log of checkpoints, redelivery, the group's
 * offset) is the work of one thread, the keeper's, which asks here what to do and reports what it
 * has done (broker/state/pop_revive.h). All times are wall clock milliseconds, as handles state
 * them. Lock: docs/locks.md, pop_ledger.
 *
 * The group's offset in `offsets` moves past a checkpoint when all of it is acknowledged, or when
 * the log holds it: from then on the log brings it back after a crash. An offset that somebody else
 * commits (a reset, or push consumers of the group) is followed by the next pop.
 */
#ifndef BROKER_STATE_POP_LEDGER_H
#define BROKER_STATE_POP_LEDGER_H

#include "broker/state/offsets.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define POP_MESSAGES_MAX 32 /* of one pop (5.3.3); acknowledgements are bits of a word */
#define POP_REVIVE_QUEUES 8 /* reviveQueueNum */

struct pop_ledger;
struct pop_queue; /* one queue as one group pops it */
struct pop_point; /* one checkpoint */

/* offsets  borrowed */
struct pop_ledger *pop_ledger_new(struct offsets *offsets);
void pop_ledger_free(struct pop_ledger *ledger);

/* --- loops --- */

enum pop_take {
    POP_TAKE_OK,
    POP_TAKE_BUSY, /* another pop has it; pop_ledger_give tells that one to wake others */
    POP_TAKE_FULL, /* too much of it is not acknowledged */
};

/* Have a queue for one pop, which nobody else gets until pop_ledger_give.
 * queue_offset  out, when OK or BUSY: where to read; -1: the group never consumed it, see
 *               pop_ledger_begin_at */
enum pop_take pop_ledger_take(struct pop_ledger *ledger, struct slice topic, struct slice group,
                              int32_t queue_id, int64_t now_ms, struct pop_queue **out,
                              int64_t *queue_offset);

/* The offset that a group begins at, or that was out of the queue's range and is corrected: stored
 * as the group's. While the queue is taken. */
void pop_ledger_begin_at(struct pop_ledger *ledger, struct pop_queue *queue, int64_t queue_offset);

/* The messages of one pop of one queue. */
struct pop_taken {
    int64_t start_offset; /* where the pop began to read */
    int64_t next_offset;  /* where the next one does */
    int64_t pop_time_ms;
    int64_t invisible_ms;
    int32_t revive_queue;
    int count; /* 0: all that was looked at is filtered out */
    const int64_t *offsets;
};

/* Give the queue back.
 * taken    NULL: nothing was read
 * wanted   out: somebody was turned away meanwhile and should look again
 * returns  false: the messages are not taken and must not be handed out */
MUST_CHECK bool pop_ledger_give(struct pop_ledger *ledger, struct pop_queue *queue,
                                const struct pop_taken *taken, bool *wanted);

/* The queue's and the checkpoint's names, as a handle states them. */
struct pop_name {
    struct slice topic; /* the real one, be it a retry topic */
    struct slice group;
    int32_t queue_id;
    int64_t start_offset;
    int64_t pop_time_ms;
};

/* Tick messages off; returns how many of the offsets were open until now. */
int pop_ledger_ack(struct pop_ledger *ledger, const struct pop_name *name, const int64_t *offsets,
                   int count);

/* Let one message come again at another time: its checkpoint is replaced by one of its own, named
 * (offset, *pop_time_ms).
 * pop_time_ms  in: now; out: a little later when there is a checkpoint of that name
 * returns  OK | NOT_FOUND (acknowledged, on its way to come again, or never popped) | BUSY (full)
 */
MUST_CHECK enum status pop_ledger_change(struct pop_ledger *ledger, const struct pop_name *name,
                                         int64_t queue_offset, int64_t *pop_time_ms,
                                         int64_t invisible_ms, int32_t revive_queue);

/* Where the next pop would read, -1 when the ledger does not know. Any thread. */
int64_t pop_ledger_next_offset(struct pop_ledger *ledger, struct slice topic, struct slice group,
                               int32_t queue_id);

/* False until the log has been read after a start: handles may be unknown until then. */
bool pop_ledger_ready(const struct pop_ledger *ledger);

/* The oldest message of each queue that is not acknowledged, as far as it has not changed while
 * this looks: `each` is called without the lock. Any one thread, which may take its time.
 * until_ms  those that come again later than that do not count */
void pop_ledger_oldest(struct pop_ledger *ledger, int64_t until_ms,
                       void (*each)(void *ctx, struct slice topic, int32_t queue_id,
                                    int64_t queue_offset),
                       void *ctx);

/* Checkpoints kept now. */
size_t pop_ledger_points(const struct pop_ledger *ledger);

/* --- the keeper's thread --- */

/* A checkpoint, copied out; the names live as long as it does, until pop_ledger_settle. */
struct pop_view {
    struct slice topic;
    struct slice group;
    int32_t queue_id;
    int64_t start_offset;
    int64_t pop_time_ms;
    int64_t invisible_ms;
    int32_t revive_queue;
    int count;
    const uint32_t *offsets; /* from start_offset on */
    uint32_t acked;
};

enum pop_work_kind {
    POP_WORK_REVIVE, /* deliver what is open again: pop_ledger_revived or pop_ledger_later */
    POP_WORK_STORE,  /* write it into the log, then pop_ledger_stored */
    POP_WORK_ACKS,   /* write that `bits` are done, then pop_ledger_acks_written */
};

struct pop_work {
    enum pop_work_kind kind;
    struct pop_point *point;
    uint32_t bits; /* REVIVE: what is open; STORE: what is done; ACKS: what is done, not written */
    struct pop_view view;
};

/* The broker stops: from now on everything that is open is to be written into the log. */
void pop_ledger_close(struct pop_ledger *ledger);

/* What is to be done now, at most max pieces. Writing that failed is asked for again by the next
 * call; every REVIVE must be reported before that. */
size_t pop_ledger_collect(struct pop_ledger *ledger, int64_t now_ms, struct pop_work *out,
                          size_t max);

/* end_pos: the log must be durable up to here for it to count. log_offset: in its revive queue. */
void pop_ledger_stored(struct pop_ledger *ledger, const struct pop_work *work, int64_t log_offset,
                       int64_t end_pos);
void pop_ledger_acks_written(struct pop_ledger *ledger, const struct pop_work *work,
                             int64_t log_offset, int64_t end_pos);
/* end_pos  of the last message that was delivered again, 0: there was none to deliver */
void pop_ledger_revived(struct pop_ledger *ledger, const struct pop_work *work, int64_t end_pos);
/* Not all of it could be: `bits` are done, the rest is asked for again at at_ms. */
void pop_ledger_later(struct pop_ledger *ledger, const struct pop_work *work, uint32_t bits,
                      int64_t end_pos, int64_t at_ms);

/* Move the groups' offsets and forget what is done.
 * flushed_pos  what of the log is durable
 * done         out: for each revive queue the last offset that is not needed any more, -1: none
 * returns      something waits for more of the log to become durable */
bool pop_ledger_settle(struct pop_ledger *ledger, int64_t flushed_pos, int64_t now_ms,
                       int64_t done[POP_REVIVE_QUEUES]);

/* When the next checkpoint becomes due; INT64_MAX: none. */
int64_t pop_ledger_due_ms(const struct pop_ledger *ledger);

/* --- after a start, before pop_ledger_set_ready --- */

/* A checkpoint that the log holds. A second one of the same name takes the place of the first.
 * What the log holds is bounded, so the limits on checkpoints do not count here: none may be lost.
 * returns  OK | INVALID (no checkpoint of ours) | BUSY (POP_QUEUES_MAX) */
MUST_CHECK enum status pop_ledger_replay(struct pop_ledger *ledger, const struct pop_view *view,
                                         int64_t log_offset);
/* Acknowledgements that the log holds. */
void pop_ledger_replay_acks(struct pop_ledger *ledger, const struct pop_name *name,
                            const int64_t *offsets, size_t count);
void pop_ledger_set_ready(struct pop_ledger *ledger);

#endif
