/* SPDX-License-Identifier: Apache-2.0
 *
 * Queues and checkpoints of the ledger by name, and the heap of what becomes due. The invariants
 * are in the header.
 */
#include "broker/state/pop_ledger_private.h"

#include "common/sys/log.h"

#include <stdlib.h>

/* False: no queue can have the name. */
bool pop_queue_key(struct slice topic, struct slice group, int32_t queue_id,
                   struct pop_queue_key *out)
{
    if (topic.size == 0 || topic.size > TOPIC_BYTES_MAX || group.size == 0 ||
        group.size > GROUP_BYTES_MAX || queue_id < 0)
        return false;
    put_i32(out->bytes, queue_id);
    memcpy(out->bytes + 4, topic.data, topic.size);
    out->bytes[4 + topic.size] = 0;
    memcpy(out->bytes + 5 + topic.size, group.data, group.size);
    out->size = 5 + topic.size + group.size;
    return true;
}

struct pop_queue *pop_find_queue(const struct pop_ledger *ledger, struct slice topic,
                                 struct slice group, int32_t queue_id)
{
    struct pop_queue_key key;
    if (!pop_queue_key(topic, group, queue_id, &key))
        return NULL;
    return map_get(&ledger->queues, slice_of(key.bytes, key.size));
}

/* NULL: no queue can have the name, or there are too many. */
struct pop_queue *pop_need_queue(struct pop_ledger *ledger, struct slice topic, struct slice group,
                                 int32_t queue_id)
{
    struct pop_queue_key key;
    if (!pop_queue_key(topic, group, queue_id, &key))
        return NULL;
    struct pop_queue *queue = map_get(&ledger->queues, slice_of(key.bytes, key.size));
    if (queue != NULL || ledger->queues.count >= POP_QUEUES_MAX)
        return queue;
    queue = xcalloc(1, sizeof *queue + topic.size + 1 + group.size + 1);
    uint8_t *names = (uint8_t *)(queue + 1);
    memcpy(names, topic.data, topic.size);
    memcpy(names + topic.size + 1, group.data, group.size);
    queue->topic = slice_of(names, topic.size);
    queue->group = slice_of(names + topic.size + 1, group.size);
    queue->queue_id = queue_id;
    list_init(&queue->pops);
    list_init(&queue->in_moving);
    list_append(&ledger->all, &queue->in_all);
    (void)map_put(&ledger->queues, slice_of(key.bytes, key.size), queue);
    return queue;
}

struct pop_point_key pop_point_key(const struct pop_queue *queue, int64_t start_offset,
                                   int64_t pop_time_ms)
{
    struct pop_point_key key;
    memcpy(key.bytes, &queue, sizeof queue);
    put_i64(key.bytes + sizeof queue, start_offset);
    put_i64(key.bytes + sizeof queue + 8, pop_time_ms);
    return key;
}

struct pop_point *pop_find_point(const struct pop_ledger *ledger, const struct pop_name *name)
{
    const struct pop_queue *queue =
        pop_find_queue(ledger, name->topic, name->group, name->queue_id);
    if (queue == NULL)
        return NULL;
    struct pop_point_key key = pop_point_key(queue, name->start_offset, name->pop_time_ms);
    return map_get(&ledger->points, slice_of(key.bytes, sizeof key.bytes));
}

/* --- the heap, by due_ms --- */

static void heap_set(struct pop_ledger *ledger, size_t at, struct pop_point *point)
{
    ledger->heap[at] = point;
    point->heap_at = at;
}

static void heap_up(struct pop_ledger *ledger, size_t at, struct pop_point *point)
{
    while (at > 0 && ledger->heap[(at - 1) / 2]->due_ms > point->due_ms) {
        heap_set(ledger, at, ledger->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(ledger, at, point);
}

static void heap_down(struct pop_ledger *ledger, size_t at, struct pop_point *point)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= ledger->heap_count)
            break;
        if (child + 1 < ledger->heap_count &&
            ledger->heap[child + 1]->due_ms < ledger->heap[child]->due_ms)
            child++;
        if (ledger->heap[child]->due_ms >= point->due_ms)
            break;
        heap_set(ledger, at, ledger->heap[child]);
        at = child;
    }
    heap_set(ledger, at, point);
}

void pop_heap_add(struct pop_ledger *ledger, struct pop_point *point, int64_t due_ms)
{
    if (ledger->heap_count == ledger->heap_capacity) {
        ledger->heap_capacity = ledger->heap_capacity == 0 ? 256 : 2 * ledger->heap_capacity;
        ledger->heap = xrealloc(ledger->heap, ledger->heap_capacity * sizeof(struct pop_point *));
    }
    point->due_ms = due_ms;
    heap_up(ledger, ledger->heap_count++, point);
}

void pop_heap_remove(struct pop_ledger *ledger, struct pop_point *point)
{
    size_t at = point->heap_at;
    if (at == NOT_IN_HEAP)
        return;
    struct pop_point *last = ledger->heap[--ledger->heap_count];
    point->heap_at = NOT_IN_HEAP;
    if (last == point)
        return;
    if (at > 0 && ledger->heap[(at - 1) / 2]->due_ms > last->due_ms)
        heap_up(ledger, at, last);
    else
        heap_down(ledger, at, last);
}

/* --- checkpoints --- */

/* -1: the offset is none of its messages. */
int pop_bit_of(const struct pop_point *point, int64_t queue_offset)
{
    for (int i = 0; i < point->count; i++)
        if (point->start_offset + point->offsets[i] == queue_offset)
            return i;
    return -1;
}

void pop_moves(struct pop_ledger *ledger, struct pop_queue *queue)
{
    if (queue->moving)
        return;
    queue->moving = true;
    list_append(&ledger->moving, &queue->in_moving);
}

/* Something of it was ticked off, or it may be forgotten: the keeper looks at it. */
void pop_tick(struct pop_ledger *ledger, struct pop_point *point)
{
    if (pop_is_done(point))
        pop_heap_remove(ledger, point);
    if (point->waits)
        pop_moves(ledger, point->queue);
    if (point->ticked)
        return;
    point->ticked = true;
    list_append(&ledger->ticked, &point->in_ticked);
}

/* When it is due, bounded so that sums with it do not overflow. */
static int64_t due_of(int64_t pop_time_ms, int64_t invisible_ms)
{
    int64_t due_ms;
    if (__builtin_add_overflow(pop_time_ms, invisible_ms, &due_ms))
        return INT64_MAX;
    return due_ms;
}

/* A checkpoint in the map, the heap and the list `state`. */
struct pop_point *pop_add_point(struct pop_ledger *ledger, struct pop_queue *queue,
                                const struct pop_view *view, struct list *state)
{
    size_t bytes = sizeof(struct pop_point) + (size_t)view->count * sizeof(uint32_t);
    struct pop_point *point = xcalloc(1, bytes);
    struct pop_point_key key = pop_point_key(queue, view->start_offset, view->pop_time_ms);
    point->queue = queue;
    point->start_offset = view->start_offset;
    point->next_offset = -1;
    point->pop_time_ms = view->pop_time_ms;
    point->invisible_ms = view->invisible_ms;
    point->revive_queue = view->revive_queue;
    point->log_offset = NOT_STORED;
    point->count = view->count;
    point->named = true;
    memcpy(point->offsets, view->offsets, (size_t)view->count * sizeof(uint32_t));
    list_init(&point->in_pops);
    list_init(&point->in_ticked);
    list_append(state, &point->in_state);
    pop_heap_add(ledger, point, due_of(view->pop_time_ms, view->invisible_ms));
    CHECK(map_put(&ledger->points, slice_of(key.bytes, sizeof key.bytes), point) == NULL);
    queue->points++;
    atomic_fetch_add(&ledger->point_count, 1);
    return point;
}

bool pop_is_named(const struct pop_ledger *ledger, const struct pop_queue *queue,
                  int64_t start_offset, int64_t pop_time_ms)
{
    struct pop_point_key key = pop_point_key(queue, start_offset, pop_time_ms);
    return map_get(&ledger->points, slice_of(key.bytes, sizeof key.bytes)) != NULL;
}

bool pop_is_full(const struct pop_ledger *ledger, const struct pop_queue *queue)
{
    return queue->points >= POP_QUEUE_POINTS_MAX ||
           atomic_load(&ledger->point_count) >= POP_POINTS_MAX;
}

/* Store the group's offset. A table that is full is told once a while; the offset then stays. */
void pop_commit(struct pop_ledger *ledger, struct pop_queue *queue, int64_t queue_offset)
{
    static struct log_gate gate;
    int64_t swallowed;
    enum status status =
        offsets_commit(ledger->offsets, queue->topic, queue->group, queue->queue_id, queue_offset);
    if (status == STATUS_OK)
        queue->committed = queue_offset;
    else if (log_gate_open(&gate, &swallowed))
        log_warn("pop", "offset of a group not stored",
                 "topic=%.*s group=%.*s queue=%d cause=\"%s\"", SLICE_ARGS(queue->topic),
                 SLICE_ARGS(queue->group), (int)queue->queue_id, status_text(status));
}
