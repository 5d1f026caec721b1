/* SPDX-License-Identifier: Apache-2.0
 *
 * The oldest open message of each queue. The checkpoints are walked in pieces, so that loops wait
 * for the lock no longer than for anything else; what comes or goes meanwhile may be missed, and
 * a map that was arranged anew is walked again.
 */
#include "broker/state/pop_ledger_private.h"

#define POINTS_AT_ONCE 1024
#define QUEUES_AT_ONCE 256

/* The first message of a checkpoint that is open. */
static int64_t first_open(const struct pop_point *point)
{
    int i = 0;
    while (i < point->count - 1 && (point->acked >> i & 1) != 0)
        i++;
    return point->start_offset + point->offsets[i];
}

static void look_at(struct pop_ledger *ledger, const struct pop_point *point, int64_t until_ms)
{
    struct pop_queue *queue = point->queue;
    if (pop_is_done(point) || point->due_ms > until_ms)
        return;
    int64_t offset = first_open(point);
    if (queue->walk != ledger->walk || offset < queue->oldest)
        queue->oldest = offset;
    queue->walk = ledger->walk;
}

/* Where a walk through a map is. */
struct place {
    const struct map_entry *entries;
    size_t at;
};

/* The lock has just been taken: begin anew if the map has been arranged anew meanwhile. */
static void go_on(const struct map *map, struct place *place)
{
    if (map->entries != place->entries)
        *place = (struct place){.entries = map->entries};
}

static void walk_points(struct pop_ledger *ledger, int64_t until_ms)
{
    struct place place = {NULL, 0};
    pop_lock(ledger);
    ledger->walk++;
    go_on(&ledger->points, &place);
    for (const struct map_entry *entry = NULL;;) {
        for (int i = 0; i < POINTS_AT_ONCE; i++) {
            entry = map_next(&ledger->points, &place.at);
            if (entry == NULL)
                break;
            look_at(ledger, entry->value, until_ms);
        }
        if (entry == NULL)
            break;
        pop_unlock(ledger);
        pop_lock(ledger);
        go_on(&ledger->points, &place);
    }
    pop_unlock(ledger);
}

/* One queue's, copied. */
struct oldest {
    uint8_t topic[TOPIC_BYTES_MAX];
    size_t topic_bytes;
    int32_t queue_id;
    int64_t queue_offset;
};

/* Some queues; how many. *last: those were all. */
static int collect(struct pop_ledger *ledger, struct place *place, struct oldest *out, bool *last)
{
    int count = 0;
    pop_lock(ledger);
    go_on(&ledger->queues, place);
    *last = false;
    for (int i = 0; i < QUEUES_AT_ONCE && !*last; i++) {
        const struct map_entry *entry = map_next(&ledger->queues, &place->at);
        *last = entry == NULL;
        const struct pop_queue *queue = *last ? NULL : entry->value;
        if (queue == NULL || queue->walk != ledger->walk)
            continue;
        struct oldest *one = &out[count++];
        memcpy(one->topic, queue->topic.data, queue->topic.size);
        one->topic_bytes = queue->topic.size;
        one->queue_id = queue->queue_id;
        one->queue_offset = queue->oldest;
    }
    pop_unlock(ledger);
    return count;
}

void pop_ledger_oldest(struct pop_ledger *ledger, int64_t until_ms,
                       void (*each)(void *ctx, struct slice topic, int32_t queue_id,
                                    int64_t queue_offset),
                       void *ctx)
{
    struct oldest some[QUEUES_AT_ONCE];
    struct place place = {NULL, 0};
    bool last = false;
    walk_points(ledger, until_ms);
    while (!last) {
        int count = collect(ledger, &place, some, &last);
        for (int i = 0; i < count; i++)
            each(ctx, slice_of(some[i].topic, some[i].topic_bytes), some[i].queue_id,
                 some[i].queue_offset);
    }
}
