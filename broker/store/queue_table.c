/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/queue_table.h"

#include "common/base/check.h"
#include "common/base/limits.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64

struct queue_slots {
    struct queue_slots *older;
    size_t mask;
    size_t count; /* under insert_lock */
    _Atomic(struct queue *) at[];
};

static struct queue_slots *slots_new(size_t capacity, struct queue_slots *older)
{
    struct queue_slots *slots = xcalloc(1, sizeof *slots + capacity * sizeof slots->at[0]);
    slots->mask = capacity - 1;
    slots->older = older;
    return slots;
}

void queue_table_init(struct queue_table *table, uint64_t seed)
{
    memset(table, 0, sizeof *table);
    table->seed = seed == 0 ? hash_seed_random() : hash_seed_from(seed);
    atomic_init(&table->slots, slots_new(FIRST_CAPACITY, NULL));
    CHECK(pthread_mutex_init(&table->insert_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&table->dirty_lock, NULL) == 0);
}

void queue_table_release(struct queue_table *table)
{
    struct queue_slots *slots = atomic_load(&table->slots);
    for (size_t i = 0; i <= slots->mask; i++)
        queue_free(atomic_load(&slots->at[i]));
    while (slots != NULL) {
        struct queue_slots *older = slots->older;
        free(slots);
        slots = older;
    }
    (void)pthread_mutex_destroy(&table->insert_lock);
    (void)pthread_mutex_destroy(&table->dirty_lock);
}

static uint64_t key_hash(const struct queue_table *table, struct slice topic, int32_t id)
{
    return hash_bytes_seeded(&table->seed, topic) ^
           ((uint64_t)(uint32_t)id * 0x9E3779B97F4A7C15ULL);
}

static struct queue *slots_find(struct queue_slots *slots, struct slice topic, int32_t id,
                                uint64_t hash)
{
    for (size_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
        struct queue *queue = atomic_load_explicit(&slots->at[i], memory_order_acquire);
        if (queue == NULL)
            return NULL;
        if (queue->hash == hash && queue->id == id && slice_equal(queue->topic, topic))
            return queue;
    }
}

static void slots_add(struct queue_slots *slots, struct queue *queue)
{
    size_t i = queue->hash & slots->mask;
    while (atomic_load_explicit(&slots->at[i], memory_order_relaxed) != NULL)
        i = (i + 1) & slots->mask;
    atomic_store_explicit(&slots->at[i], queue, memory_order_release);
    slots->count++;
}

static struct queue_slots *slots_doubled(struct queue_slots *old)
{
    struct queue_slots *slots = slots_new((old->mask + 1) * 2, old);
    for (size_t i = 0; i <= old->mask; i++) {
        struct queue *queue = atomic_load_explicit(&old->at[i], memory_order_relaxed);
        if (queue != NULL)
            slots_add(slots, queue);
    }
    return slots;
}

/* The topic becomes a directory name: it must not lead anywhere else. */
static bool topic_is_safe(struct slice topic)
{
    return topic.size > 0 && topic.size <= TOPIC_BYTES_MAX && !slice_is(topic, ".") &&
           !slice_is(topic, "..") && memchr(topic.data, '/', topic.size) == NULL &&
           memchr(topic.data, '\0', topic.size) == NULL;
}

struct queue *queue_table_find(struct queue_table *table, struct store *store, struct slice topic,
                               int32_t id, bool create)
{
    uint64_t hash = key_hash(table, topic, id);
    struct queue *queue =
        slots_find(atomic_load_explicit(&table->slots, memory_order_acquire), topic, id, hash);
    if (queue != NULL || !create || id < 0 || !topic_is_safe(topic))
        return queue;
    (void)pthread_mutex_lock(&table->insert_lock);
    struct queue_slots *slots = atomic_load(&table->slots);
    queue = slots_find(slots, topic, id, hash);
    if (queue == NULL) {
        if (slots->count * 2 > slots->mask) {
            slots = slots_doubled(slots);
            atomic_store_explicit(&table->slots, slots, memory_order_release);
        }
        queue = queue_new(store, topic, id, hash);
        slots_add(slots, queue);
    }
    (void)pthread_mutex_unlock(&table->insert_lock);
    return queue;
}

void queue_table_walk(struct queue_table *table, struct queue_walk *walk)
{
    *walk = (struct queue_walk){atomic_load_explicit(&table->slots, memory_order_acquire), 0};
}

struct queue *queue_table_walk_next(struct queue_walk *walk)
{
    while (walk->next <= walk->slots->mask) {
        struct queue *queue =
            atomic_load_explicit(&walk->slots->at[walk->next++], memory_order_acquire);
        if (queue != NULL)
            return queue;
    }
    return NULL;
}

void queue_table_each(struct queue_table *table, void (*each)(void *ctx, struct queue *queue),
                      void *ctx)
{
    struct queue_walk walk;
    queue_table_walk(table, &walk);
    for (struct queue *queue; (queue = queue_table_walk_next(&walk)) != NULL;)
        each(ctx, queue);
}

void queue_table_mark_dirty(struct queue_table *table, struct queue *const *queues, size_t count)
{
    (void)pthread_mutex_lock(&table->dirty_lock);
    for (size_t i = 0; i < count; i++) {
        struct queue *queue = queues[i];
        if (queue->dirty)
            continue;
        queue->dirty = true;
        queue->next_dirty = table->dirty_first;
        table->dirty_first = queue;
    }
    (void)pthread_mutex_unlock(&table->dirty_lock);
}

size_t queue_table_take_dirty(struct queue_table *table, struct queue ***list, size_t *capacity)
{
    size_t count = 0;
    (void)pthread_mutex_lock(&table->dirty_lock);
    for (struct queue *queue = table->dirty_first; queue != NULL; queue = queue->next_dirty) {
        if (count == *capacity) {
            *capacity = *capacity == 0 ? 64 : *capacity * 2;
            *list = xrealloc(*list, *capacity * sizeof **list);
        }
        (*list)[count++] = queue;
        queue->dirty = false;
    }
    table->dirty_first = NULL;
    (void)pthread_mutex_unlock(&table->dirty_lock);
    return count;
}
