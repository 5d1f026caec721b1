/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the ledger of popped messages, shared by pop_points.c (names, heap, checkpoints),
 * pop_ledger.c (what loops do) and pop_keeping.c (what the keeper does). Nobody else includes it.
 *
 * A checkpoint is in up to five places: the map by name until it is freed; its queue's list `pops`,
 * in the order of the pops, until the group's offset has passed it; the heap of what becomes due;
 * one of the lists `fresh` (not in the log, will be when it is STORE_AFTER_MS old), `urgent` (must
 * be in the log soon) and `logged` (is in the log, in its order, until nothing of it is needed);
 * and, once something of it was ticked off, the list `ticked`.
 *
 * Invariants
 * - Only the keeper's thread takes checkpoints and queues out and frees them, so what it was handed
 *   stays valid without the lock. Loops add, and set bits of `acked`.
 * - A checkpoint whose message got another one (pop_ledger_change) has `holds` > 0 until that one
 *   is in the log, and is not done before: a crash finds one of the two.
 * - `done_pos` is how far the log must be durable for the checkpoint to be forgotten: the messages
 *   delivered again, or the checkpoint that replaced it, lie in front of it.
 * - Order of the lock: pop_ledger before offsets.
 */
#ifndef BROKER_STATE_POP_LEDGER_PRIVATE_H
#define BROKER_STATE_POP_LEDGER_PRIVATE_H

#include "broker/state/pop_ledger.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/list.h"
#include "common/base/map.h"

#include <pthread.h>
#include <stdatomic.h>

#define NOT_IN_HEAP SIZE_MAX
#define NOT_STORED (-1)

struct pop_queue {
    struct list pops;      /* checkpoints, until the group's offset has passed them */
    struct list in_moving; /* in pop_ledger.moving, or alone */
    struct list in_all;
    int64_t next_offset; /* where the next pop reads */
    int64_t committed;   /* what the ledger last saw or stored in `offsets`; -1: nothing */
    int64_t used_ms;
    size_t points; /* checkpoints, also those that the offset has passed */
    uint64_t walk; /* pop_oldest.c: the walk that `oldest` is of */
    int64_t oldest;
    int32_t queue_id;
    bool known;  /* next_offset and committed mean something */
    bool taken;  /* by a pop */
    bool wanted; /* by another one meanwhile */
    bool moving;
    struct slice topic; /* behind the struct, NUL behind each */
    struct slice group;
};

struct pop_point {
    struct pop_queue *queue;
    struct list in_pops;
    struct list in_state; /* fresh, urgent or logged */
    struct list in_ticked;
    size_t heap_at;
    int64_t due_ms;
    int64_t start_offset;
    int64_t next_offset; /* -1: the group's offset does not depend on it */
    int64_t pop_time_ms;
    int64_t invisible_ms;
    int64_t log_offset; /* NOT_STORED, or in the revive queue */
    int64_t stored_pos; /* the log must be durable up to here for it to count as stored */
    int64_t done_pos;
    struct pop_point *replaces; /* the checkpoint that this one's message was of; it has a hold */
    int holds;
    int32_t revive_queue;
    uint32_t acked;
    uint32_t written; /* of acked: the log says so */
    bool reviving;    /* the keeper delivers the rest */
    bool waits;       /* in pops */
    bool ticked;
    bool named; /* in the map */
    int count;
    uint32_t offsets[]; /* from start_offset on, ascending */
};

/* How much of a revive queue is not needed any more. Where a checkpoint was written anew, its
 * record before that is needed until the new one is durable. */
struct log_progress {
    int64_t done;          /* its last record that is not needed, whatever happens; -1: none */
    int64_t next_done;     /* the same, once the log is durable up to next_pos */
    int64_t next_pos;      /* 0: there is no next_done */
    int64_t rewritten_pos; /* end of the newest record of a checkpoint that was there before */
};

struct pop_ledger {
    pthread_mutex_t lock; /* docs/locks.md: pop_ledger */
    struct offsets *offsets;
    struct map queues; /* names of the queue -> struct pop_queue */
    struct map points; /* names of the checkpoint -> struct pop_point */
    struct list all;   /* queues; the head was looked at longest ago */
    struct list moving;
    struct list fresh;
    struct list urgent;
    struct list ticked;
    struct list logged[POP_REVIVE_QUEUES];
    int64_t log_tail[POP_REVIVE_QUEUES]; /* the newest record's offset */
    struct log_progress progress[POP_REVIVE_QUEUES];
    struct pop_point **heap;
    size_t heap_count;
    size_t heap_capacity;
    uint64_t walk;
    bool closing;
    _Atomic size_t point_count;
    _Atomic bool ready;
};

static inline void pop_lock(const struct pop_ledger *ledger)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&ledger->lock) == 0);
}

static inline void pop_unlock(const struct pop_ledger *ledger)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&ledger->lock) == 0);
}

/* --- names; pop_points.c, with the lock held as everything below --- */

struct pop_queue_key {
    uint8_t bytes[4 + TOPIC_BYTES_MAX + 1 + GROUP_BYTES_MAX];
    size_t size;
};

struct pop_point_key {
    uint8_t bytes[sizeof(void *) + 16];
};

/* False: no queue can have the name. */
bool pop_queue_key(struct slice topic, struct slice group, int32_t queue_id,
                   struct pop_queue_key *out);
struct pop_point_key pop_point_key(const struct pop_queue *queue, int64_t start_offset,
                                   int64_t pop_time_ms);

struct pop_queue *pop_find_queue(const struct pop_ledger *ledger, struct slice topic,
                                 struct slice group, int32_t queue_id);
/* NULL: no queue can have the name, or there are too many. */
struct pop_queue *pop_need_queue(struct pop_ledger *ledger, struct slice topic, struct slice group,
                                 int32_t queue_id);
struct pop_point *pop_find_point(const struct pop_ledger *ledger, const struct pop_name *name);
bool pop_is_named(const struct pop_ledger *ledger, const struct pop_queue *queue,
                  int64_t start_offset, int64_t pop_time_ms);

/* --- checkpoints --- */

static inline uint32_t pop_all_bits(const struct pop_point *point)
{
    return point->count >= 32 ? UINT32_MAX : (UINT32_C(1) << point->count) - 1;
}

static inline bool pop_is_done(const struct pop_point *point)
{
    return point->acked == pop_all_bits(point);
}

static inline int64_t pop_later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A checkpoint in the map, the heap and the list `state`. */
struct pop_point *pop_add_point(struct pop_ledger *ledger, struct pop_queue *queue,
                                const struct pop_view *view, struct list *state);
bool pop_is_full(const struct pop_ledger *ledger, const struct pop_queue *queue);

/* The number of a message among its own; -1: it is none of them. */
int pop_bit_of(const struct pop_point *point, int64_t queue_offset);

/* Something of it was ticked off, or it may be forgotten: the keeper looks at it. */
void pop_tick(struct pop_ledger *ledger, struct pop_point *point);
/* The group's offset may move. */
void pop_moves(struct pop_ledger *ledger, struct pop_queue *queue);

void pop_heap_add(struct pop_ledger *ledger, struct pop_point *point, int64_t due_ms);
void pop_heap_remove(struct pop_ledger *ledger, struct pop_point *point); /* if it is in it */

/* Store the group's offset. A table that is full is told once a while; the offset then stays. */
void pop_commit(struct pop_ledger *ledger, struct pop_queue *queue, int64_t queue_offset);

#endif
