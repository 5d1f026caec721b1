/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger of popped messages, as its keeper uses it: what is to be written and delivered again,
 * which offsets move, what is forgotten; and filling it after a start. The invariants are in
 * pop_ledger_private.h.
 */
#include "broker/state/pop_ledger_private.h"

#include <stdlib.h>

/* A checkpoint that is not done after so long is written into the log: most are done before. */
#define STORE_AFTER_MS 1000

/* One that will be due before it is this old is not: it is delivered again all the same. */
#define DUE_SOON_MS 200

/* When so many records follow the oldest one that is needed, that is written again: a start reads
 * all from it on. */
#define LOG_SPAN_MAX 200000

/* What one step looks at with the lock held: about a millisecond's work. */
#define SETTLE_POINTS_MAX 4096
#define SETTLE_QUEUES_MAX 1024

/* Queues that nobody pops for so long are forgotten; the group's offset is in `offsets`. */
#define QUEUE_IDLE_MS 300000
#define IDLE_LOOKS 64 /* queues looked at per step for that */

static bool is_stored(const struct pop_point *point)
{
    return point->log_offset != NOT_STORED;
}

/* Nothing of it is needed any more, except, while it waits in its queue, its next_offset. */
static void forget(struct pop_ledger *ledger, struct pop_point *point)
{
    struct pop_point_key key = pop_point_key(point->queue, point->start_offset, point->pop_time_ms);
    if (point->named) {
        CHECK(map_remove(&ledger->points, slice_of(key.bytes, sizeof key.bytes)) == point);
        point->named = false;
        pop_heap_remove(ledger, point);
        list_remove(&point->in_state);
    }
    if (point->ticked)
        list_remove(&point->in_ticked);
    point->ticked = false;
    if (point->waits)
        return;
    point->queue->points--;
    atomic_fetch_sub(&ledger->point_count, 1);
    free(point);
}

/* The log has the checkpoint, or its message was acknowledged or delivered again before that: the
 * one that it replaces may be done. */
static void let_go(struct pop_ledger *ledger, struct pop_point *point)
{
    struct pop_point *old = point->replaces;
    if (old == NULL)
        return;
    point->replaces = NULL;
    old->holds--;
    old->done_pos = pop_later_of(old->done_pos, point->done_pos);
    pop_tick(ledger, old);
}

static struct pop_work work_of(enum pop_work_kind kind, struct pop_point *point, uint32_t bits)
{
    return (struct pop_work){
        .kind = kind,
        .point = point,
        .bits = bits,
        .view = {.topic = point->queue->topic,
                 .group = point->queue->group,
                 .queue_id = point->queue->queue_id,
                 .start_offset = point->start_offset,
                 .pop_time_ms = point->pop_time_ms,
                 .invisible_ms = point->invisible_ms,
                 .revive_queue = point->revive_queue,
                 .count = point->count,
                 .offsets = point->offsets,
                 .acked = point->acked},
    };
}

/* With a hold its record would say that a message is done which the log does not have elsewhere. */
static bool may_be_stored(const struct pop_point *point)
{
    return !point->reviving && point->holds == 0;
}

static struct pop_work store_work(struct pop_point *point)
{
    return work_of(POP_WORK_STORE, point, point->acked);
}

/* The ones that are old enough, or replace another one. */
static size_t collect_stores(struct pop_ledger *ledger, int64_t now_ms, struct pop_work *out,
                             size_t max)
{
    size_t count = 0;
    list_for_each (node, &ledger->urgent) {
        struct pop_point *point = list_entry(node, struct pop_point, in_state);
        if (count == max)
            return count;
        if (!pop_is_done(point) && may_be_stored(point))
            out[count++] = store_work(point);
    }
    list_for_each (node, &ledger->fresh) {
        struct pop_point *point = list_entry(node, struct pop_point, in_state);
        bool young = point->pop_time_ms + STORE_AFTER_MS > now_ms &&
                     point->pop_time_ms <= now_ms; /* else the clock was set back */
        bool soon = point->due_ms - now_ms < DUE_SOON_MS;
        if (count == max || (young && !ledger->closing))
            return count;
        if (!pop_is_done(point) && may_be_stored(point) && (!soon || ledger->closing))
            out[count++] = store_work(point);
    }
    return count;
}

/* The oldest record of a log that has grown far beyond it is written anew. */
static size_t collect_rewrites(struct pop_ledger *ledger, struct pop_work *out, size_t max)
{
    size_t count = 0;
    for (int i = 0; i < POP_REVIVE_QUEUES; i++) {
        if (count == max || list_empty(&ledger->logged[i]))
            continue;
        struct pop_point *point = list_entry(ledger->logged[i].next, struct pop_point, in_state);
        if (ledger->log_tail[i] - point->log_offset > LOG_SPAN_MAX && !pop_is_done(point) &&
            may_be_stored(point))
            out[count++] = store_work(point);
    }
    return count;
}

static size_t collect_acks(struct pop_ledger *ledger, struct pop_work *out, size_t max)
{
    size_t count = 0;
    list_for_each (node, &ledger->ticked) {
        struct pop_point *point = list_entry(node, struct pop_point, in_ticked);
        uint32_t bits = point->acked & ~point->written;
        if (count == max)
            return count;
        if (!is_stored(point) || bits == 0 || point->holds > 0)
            continue;
        out[count++] = work_of(POP_WORK_ACKS, point, bits);
    }
    return count;
}

void pop_ledger_close(struct pop_ledger *ledger)
{
    pop_lock(ledger);
    ledger->closing = true;
    pop_unlock(ledger);
}

size_t pop_ledger_collect(struct pop_ledger *ledger, int64_t now_ms, struct pop_work *out,
                          size_t max)
{
    size_t count = 0;
    pop_lock(ledger);
    while (count < max / 2 && ledger->heap_count > 0 && ledger->heap[0]->due_ms <= now_ms) {
        struct pop_point *point = ledger->heap[0];
        pop_heap_remove(ledger, point);
        point->reviving = true;
        out[count++] = work_of(POP_WORK_REVIVE, point, pop_all_bits(point) & ~point->acked);
    }
    count += collect_stores(ledger, now_ms, out + count, max - count);
    count += collect_rewrites(ledger, out + count, max - count);
    count += collect_acks(ledger, out + count, max - count);
    pop_unlock(ledger);
    return count;
}

void pop_ledger_stored(struct pop_ledger *ledger, const struct pop_work *work, int64_t log_offset,
                       int64_t end_pos)
{
    struct pop_point *point = work->point;
    struct log_progress *progress = &ledger->progress[point->revive_queue];
    pop_lock(ledger);
    if (is_stored(point))
        progress->rewritten_pos = pop_later_of(progress->rewritten_pos, end_pos);
    point->written |= work->bits;
    point->log_offset = log_offset;
    point->stored_pos = end_pos;
    list_remove(&point->in_state);
    list_append(&ledger->logged[point->revive_queue], &point->in_state);
    ledger->log_tail[point->revive_queue] =
        pop_later_of(ledger->log_tail[point->revive_queue], log_offset);
    point->done_pos = pop_later_of(point->done_pos, end_pos);
    let_go(ledger, point);
    if (point->waits)
        pop_moves(ledger, point->queue);
    pop_unlock(ledger);
}

void pop_ledger_acks_written(struct pop_ledger *ledger, const struct pop_work *work,
                             int64_t log_offset, int64_t end_pos)
{
    int64_t *tail = &ledger->log_tail[work->point->revive_queue];
    pop_lock(ledger);
    *tail = pop_later_of(*tail, log_offset);
    work->point->written |= work->bits;
    work->point->done_pos = pop_later_of(work->point->done_pos, end_pos);
    pop_unlock(ledger);
}

void pop_ledger_revived(struct pop_ledger *ledger, const struct pop_work *work, int64_t end_pos)
{
    struct pop_point *point = work->point;
    pop_lock(ledger);
    point->reviving = false;
    point->acked = pop_all_bits(point);
    point->done_pos = pop_later_of(point->done_pos, end_pos);
    let_go(ledger, point);
    pop_tick(ledger, point);
    pop_unlock(ledger);
}

void pop_ledger_later(struct pop_ledger *ledger, const struct pop_work *work, uint32_t bits,
                      int64_t end_pos, int64_t at_ms)
{
    struct pop_point *point = work->point;
    pop_lock(ledger);
    point->reviving = false;
    point->acked |= bits;
    point->done_pos = pop_later_of(point->done_pos, end_pos);
    pop_heap_add(ledger, point, at_ms);
    pop_tick(ledger, point);
    pop_unlock(ledger);
}

/* Does the keeper still have to look at what was ticked off of it? */
static bool needs_looking_at(const struct pop_point *point)
{
    if (pop_is_done(point) || point->holds > 0)
        return true;
    return is_stored(point) && point->acked != point->written;
}

/* One checkpoint that was ticked off: when it is done it is forgotten, if the log knows it not
 * before it is durable that it is. */
static void settle_one(struct pop_ledger *ledger, struct pop_point *point, int64_t flushed_pos)
{
    bool done = pop_is_done(point) && point->holds == 0 && !point->reviving;
    list_remove(&point->in_ticked);
    point->ticked = false;
    if (done && !is_stored(point))
        let_go(ledger, point);
    if (!point->named || (done && !is_stored(point)) ||
        (done && point->acked == point->written && point->done_pos <= flushed_pos)) {
        forget(ledger, point);
    } else if (needs_looking_at(point)) {
        point->ticked = true;
        list_append(&ledger->ticked, &point->in_ticked);
    }
}

/* Those that are ticked off now, or as many as one step takes; the rest is in front next time. */
static void settle_ticked(struct pop_ledger *ledger, int64_t flushed_pos)
{
    const struct list *last = ledger->ticked.prev;
    for (int i = 0; i < SETTLE_POINTS_MAX && !list_empty(&ledger->ticked); i++) {
        struct list *node = ledger->ticked.next;
        bool was_last = node == last;
        settle_one(ledger, list_entry(node, struct pop_point, in_ticked), flushed_pos);
        if (was_last)
            return;
    }
}

static bool offset_may_pass(const struct pop_point *point, int64_t flushed_pos)
{
    if (is_stored(point) && point->stored_pos <= flushed_pos)
        return true;
    return pop_is_done(point) && point->holds == 0 && !point->reviving &&
           point->done_pos <= flushed_pos;
}

/* Move one group's offset; true when it waits for the disk. */
static bool move_one(struct pop_ledger *ledger, struct pop_queue *queue, int64_t flushed_pos)
{
    int64_t offset = -1;
    bool waits_for_disk = false;
    list_for_each (pop, &queue->pops) {
        struct pop_point *point = list_entry(pop, struct pop_point, in_pops);
        if (!offset_may_pass(point, flushed_pos)) {
            waits_for_disk = offset_may_pass(point, INT64_MAX);
            break;
        }
        offset = point->next_offset;
        list_remove(&point->in_pops);
        point->waits = false;
        if (!point->named)
            forget(ledger, point);
    }
    /* Unless somebody else has stored another one, which the next pop follows. */
    if (offset >= 0 && offsets_get(ledger->offsets, queue->topic, queue->group, queue->queue_id) ==
                           queue->committed)
        pop_commit(ledger, queue, offset);
    return waits_for_disk;
}

/* True when a queue waits for the disk. */
static bool settle_moving(struct pop_ledger *ledger, int64_t flushed_pos)
{
    bool any_waits = false;
    const struct list *last = ledger->moving.prev;
    for (int i = 0; i < SETTLE_QUEUES_MAX && !list_empty(&ledger->moving); i++) {
        struct list *node = ledger->moving.next;
        struct pop_queue *queue = list_entry(node, struct pop_queue, in_moving);
        list_remove(node);
        queue->moving = move_one(ledger, queue, flushed_pos);
        if (queue->moving)
            list_append(&ledger->moving, node);
        any_waits |= queue->moving;
        if (node == last)
            break;
    }
    return any_waits;
}

/* The last record of a revive queue that is not needed: all in front of the oldest live checkpoint.
 */
static int64_t log_done(const struct pop_ledger *ledger, int revive_queue)
{
    const struct list *logged = &ledger->logged[revive_queue];
    return list_empty(logged)
               ? ledger->log_tail[revive_queue]
               : list_entry(logged->next, struct pop_point, in_state)->log_offset - 1;
}

/* The same, as far as it stays true whatever happens. */
static int64_t durably_done(struct pop_ledger *ledger, int revive_queue, int64_t flushed_pos)
{
    struct log_progress *progress = &ledger->progress[revive_queue];
    if (progress->next_pos > flushed_pos)
        return progress->done;
    if (progress->next_pos > 0)
        progress->done = progress->next_done;
    progress->next_done = log_done(ledger, revive_queue);
    progress->next_pos = progress->rewritten_pos;
    if (progress->next_pos <= flushed_pos) {
        progress->done = progress->next_done;
        progress->next_pos = 0;
    }
    return progress->done;
}

static void forget_idle(struct pop_ledger *ledger, int64_t now_ms)
{
    for (int i = 0; i < IDLE_LOOKS && !list_empty(&ledger->all); i++) {
        struct pop_queue *queue = list_entry(ledger->all.next, struct pop_queue, in_all);
        list_remove(&queue->in_all);
        if (queue->taken || queue->points > 0 || queue->moving ||
            now_ms - queue->used_ms < QUEUE_IDLE_MS) {
            list_append(&ledger->all, &queue->in_all);
            continue;
        }
        struct pop_queue_key key;
        CHECK(pop_queue_key(queue->topic, queue->group, queue->queue_id, &key));
        (void)map_remove(&ledger->queues, slice_of(key.bytes, key.size));
        free(queue);
    }
}

bool pop_ledger_settle(struct pop_ledger *ledger, int64_t flushed_pos, int64_t now_ms,
                       int64_t done[POP_REVIVE_QUEUES])
{
    pop_lock(ledger);
    settle_ticked(ledger, flushed_pos);
    bool waits = settle_moving(ledger, flushed_pos);
    for (int i = 0; i < POP_REVIVE_QUEUES; i++)
        done[i] = durably_done(ledger, i, flushed_pos);
    forget_idle(ledger, now_ms);
    pop_unlock(ledger);
    return waits;
}

int64_t pop_ledger_due_ms(const struct pop_ledger *ledger)
{
    pop_lock(ledger);
    int64_t due_ms = ledger->heap_count == 0 ? INT64_MAX : ledger->heap[0]->due_ms;
    pop_unlock(ledger);
    return due_ms;
}

/* --- after a start --- */

enum status pop_ledger_replay(struct pop_ledger *ledger, const struct pop_view *view,
                              int64_t log_offset)
{
    if (view->count <= 0 || view->count > POP_MESSAGES_MAX || view->revive_queue < 0 ||
        view->revive_queue >= POP_REVIVE_QUEUES)
        return STATUS_INVALID;
    enum status status = STATUS_OK;
    pop_lock(ledger);
    struct pop_queue *queue = pop_need_queue(ledger, view->topic, view->group, view->queue_id);
    struct pop_point_key key = {{0}};
    if (queue != NULL)
        key = pop_point_key(queue, view->start_offset, view->pop_time_ms);
    struct pop_point *point = map_get(&ledger->points, slice_of(key.bytes, sizeof key.bytes));
    if (queue == NULL) {
        status = STATUS_BUSY;
    } else {
        struct list *logged = &ledger->logged[view->revive_queue];
        if (point == NULL)
            point = pop_add_point(ledger, queue, view, logged);
        list_remove(&point->in_state);
        list_append(logged, &point->in_state);
        point->log_offset = log_offset;
        ledger->log_tail[view->revive_queue] = log_offset;
        point->acked |= view->acked & pop_all_bits(point);
        point->written = point->acked;
        if (pop_is_done(point))
            pop_tick(ledger, point);
    }
    pop_unlock(ledger);
    return status;
}

void pop_ledger_replay_acks(struct pop_ledger *ledger, const struct pop_name *name,
                            const int64_t *offsets, size_t count)
{
    pop_lock(ledger);
    struct pop_point *point = pop_find_point(ledger, name);
    for (size_t i = 0; point != NULL && i < count; i++) {
        int bit = pop_bit_of(point, offsets[i]);
        if (bit >= 0)
            point->acked |= UINT32_C(1) << bit;
    }
    if (point != NULL) {
        point->written = point->acked;
        if (pop_is_done(point))
            pop_tick(ledger, point);
    }
    pop_unlock(ledger);
}

void pop_ledger_set_ready(struct pop_ledger *ledger)
{
    atomic_store(&ledger->ready, true);
}
