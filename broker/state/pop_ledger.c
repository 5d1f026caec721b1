/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger of popped messages, as loops use it: taking queues, ticking messages off. The
 * invariants are in pop_ledger_private.h.
 */
#include "broker/state/pop_ledger_private.h"

#include <stdlib.h>

struct pop_ledger *pop_ledger_new(struct offsets *offsets)
{
    struct pop_ledger *ledger = xcalloc(1, sizeof *ledger);
    CHECK(pthread_mutex_init(&ledger->lock, NULL) == 0);
    ledger->offsets = offsets;
    list_init(&ledger->all);
    list_init(&ledger->moving);
    list_init(&ledger->fresh);
    list_init(&ledger->urgent);
    list_init(&ledger->ticked);
    for (int i = 0; i < POP_REVIVE_QUEUES; i++) {
        list_init(&ledger->logged[i]);
        ledger->log_tail[i] = -1;
        ledger->progress[i].done = -1;
    }
    return ledger;
}

void pop_ledger_free(struct pop_ledger *ledger)
{
    size_t cursor = 0;
    /* Every checkpoint is in the map or, unnamed and done, in its queue's list. */
    list_for_each (node, &ledger->all) {
        struct pop_queue *queue = list_entry(node, struct pop_queue, in_all);
        list_for_each (pop, &queue->pops) {
            struct pop_point *point = list_entry(pop, struct pop_point, in_pops);
            if (!point->named)
                free(point);
        }
        free(queue);
    }
    for (struct map_entry *entry; (entry = map_next(&ledger->points, &cursor)) != NULL;)
        free(entry->value);
    map_release(&ledger->points);
    map_release(&ledger->queues);
    free(ledger->heap);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

/* --- loops --- */

/* Follow an offset that others have stored. What was popped stays popped, but the group's offset
 * does not depend on it any more. */
static void follow(struct pop_ledger *ledger, struct pop_queue *queue, int64_t stored)
{
    list_for_each (node, &queue->pops) {
        struct pop_point *point = list_entry(node, struct pop_point, in_pops);
        list_remove(&point->in_pops);
        point->waits = false;
        point->next_offset = -1;
        pop_tick(ledger, point);
    }
    queue->next_offset = stored;
    queue->committed = stored;
    queue->known = stored >= 0;
}

enum pop_take pop_ledger_take(struct pop_ledger *ledger, struct slice topic, struct slice group,
                              int32_t queue_id, int64_t now_ms, struct pop_queue **out,
                              int64_t *queue_offset)
{
    enum pop_take result = POP_TAKE_OK;
    pop_lock(ledger);
    struct pop_queue *queue = pop_need_queue(ledger, topic, group, queue_id);
    if (queue == NULL || pop_is_full(ledger, queue)) {
        result = POP_TAKE_FULL;
    } else if (queue->taken) {
        queue->wanted = true;
        *queue_offset = queue->next_offset;
        result = POP_TAKE_BUSY;
    } else {
        int64_t stored = offsets_get(ledger->offsets, topic, group, queue_id);
        if (!queue->known || stored != queue->committed)
            follow(ledger, queue, stored);
        queue->taken = true;
        queue->used_ms = now_ms;
        *queue_offset = queue->next_offset;
        *out = queue;
    }
    pop_unlock(ledger);
    return result;
}

void pop_ledger_begin_at(struct pop_ledger *ledger, struct pop_queue *queue, int64_t queue_offset)
{
    pop_lock(ledger);
    DCHECK(queue->taken);
    follow(ledger, queue, queue_offset);
    pop_commit(ledger, queue, queue_offset);
    pop_unlock(ledger);
}

/* A pop that found nothing but moved on: the last pop before it moves the group's offset so far, or
 * nobody is in front of it. Not when somebody else has stored another offset meanwhile, which the
 * next pop follows. */
static void skip_to(struct pop_ledger *ledger, struct pop_queue *queue, int64_t next_offset)
{
    if (!list_empty(&queue->pops))
        list_entry(queue->pops.prev, struct pop_point, in_pops)->next_offset = next_offset;
    else if (offsets_get(ledger->offsets, queue->topic, queue->group, queue->queue_id) ==
             queue->committed)
        pop_commit(ledger, queue, next_offset);
}

/* The checkpoint of a pop; false when one of that name is there: an offset was set back within a
 * millisecond. */
static bool add_pop(struct pop_ledger *ledger, struct pop_queue *queue,
                    const struct pop_taken *taken)
{
    uint32_t offsets[POP_MESSAGES_MAX];
    CHECK(taken->count <= POP_MESSAGES_MAX);
    for (int i = 0; i < taken->count; i++)
        offsets[i] = (uint32_t)(taken->offsets[i] - taken->start_offset);
    struct pop_view view = {.start_offset = taken->start_offset,
                            .pop_time_ms = taken->pop_time_ms,
                            .invisible_ms = taken->invisible_ms,
                            .revive_queue = taken->revive_queue,
                            .count = taken->count,
                            .offsets = offsets};
    if (pop_is_named(ledger, queue, view.start_offset, view.pop_time_ms))
        return false;
    struct pop_point *point = pop_add_point(ledger, queue, &view, &ledger->fresh);
    point->next_offset = taken->next_offset;
    point->waits = true;
    list_append(&queue->pops, &point->in_pops);
    return true;
}

bool pop_ledger_give(struct pop_ledger *ledger, struct pop_queue *queue,
                     const struct pop_taken *taken, bool *wanted)
{
    bool kept = true;
    pop_lock(ledger);
    DCHECK(queue->taken);
    if (taken != NULL && taken->count > 0)
        kept = add_pop(ledger, queue, taken);
    else if (taken != NULL && taken->next_offset > queue->next_offset)
        skip_to(ledger, queue, taken->next_offset);
    if (taken != NULL && kept)
        queue->next_offset = taken->next_offset;
    *wanted = queue->wanted;
    queue->wanted = false;
    queue->taken = false;
    pop_unlock(ledger);
    return kept;
}

int pop_ledger_ack(struct pop_ledger *ledger, const struct pop_name *name, const int64_t *offsets,
                   int count)
{
    int open = 0;
    pop_lock(ledger);
    struct pop_point *point = pop_find_point(ledger, name);
    for (int i = 0; point != NULL && !point->reviving && i < count; i++) {
        int bit = pop_bit_of(point, offsets[i]);
        if (bit < 0 || (point->acked >> bit & 1) != 0)
            continue;
        point->acked |= UINT32_C(1) << bit;
        open++;
    }
    if (open > 0)
        pop_tick(ledger, point);
    pop_unlock(ledger);
    return open;
}

/* One message of `old` gets a checkpoint of its own. */
static void replace_one(struct pop_ledger *ledger, struct pop_point *old, int bit,
                        int64_t queue_offset, int64_t pop_time_ms, int64_t invisible_ms,
                        int32_t revive_queue)
{
    static const uint32_t itself = 0;
    struct pop_view view = {.start_offset = queue_offset,
                            .pop_time_ms = pop_time_ms,
                            .invisible_ms = invisible_ms,
                            .revive_queue = revive_queue,
                            .count = 1,
                            .offsets = &itself};
    struct pop_point *point = pop_add_point(ledger, old->queue, &view, &ledger->urgent);
    point->replaces = old;
    old->holds++;
    old->acked |= UINT32_C(1) << bit;
    pop_tick(ledger, old);
}

enum status pop_ledger_change(struct pop_ledger *ledger, const struct pop_name *name,
                              int64_t queue_offset, int64_t *pop_time_ms, int64_t invisible_ms,
                              int32_t revive_queue)
{
    enum status status = STATUS_OK;
    pop_lock(ledger);
    struct pop_point *old = pop_find_point(ledger, name);
    int bit = old == NULL ? -1 : pop_bit_of(old, queue_offset);
    if (bit < 0 || old->reviving || (old->acked >> bit & 1) != 0) {
        status = STATUS_NOT_FOUND;
    } else if (pop_is_full(ledger, old->queue)) {
        status = STATUS_BUSY;
    } else {
        /* It may have been popped, or changed, in this very millisecond. */
        while (pop_is_named(ledger, old->queue, queue_offset, *pop_time_ms))
            (*pop_time_ms)++;
        replace_one(ledger, old, bit, queue_offset, *pop_time_ms, invisible_ms, revive_queue);
    }
    pop_unlock(ledger);
    return status;
}

int64_t pop_ledger_next_offset(struct pop_ledger *ledger, struct slice topic, struct slice group,
                               int32_t queue_id)
{
    pop_lock(ledger);
    const struct pop_queue *queue = pop_find_queue(ledger, topic, group, queue_id);
    int64_t stored = offsets_get(ledger->offsets, topic, group, queue_id);
    if (queue != NULL && queue->known && stored == queue->committed)
        stored = queue->next_offset;
    pop_unlock(ledger);
    return stored;
}

bool pop_ledger_ready(const struct pop_ledger *ledger)
{
    return atomic_load(&ledger->ready);
}

size_t pop_ledger_points(const struct pop_ledger *ledger)
{
    return atomic_load(&ledger->point_count);
}
