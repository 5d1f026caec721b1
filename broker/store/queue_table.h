/* SPDX-License-Identifier: Apache-2.0
 *
 * All queues by topic and id. Queues are only ever added, so look-ups take no lock: the table is an
 * array of atomic pointers with linear probing, replaced by a larger copy when it is half full. Old
 * copies stay until the end (together they are no larger than the current one).
 */
#ifndef BROKER_STORE_QUEUE_TABLE_H
#define BROKER_STORE_QUEUE_TABLE_H

#include "broker/store/consumequeue.h"
#include "broker/store/queue_ends.h"
#include "common/base/map.h"

struct queue_slots;

struct queue_table {
    struct hash_seed seed;
    _Atomic(struct queue_slots *) slots;
    pthread_mutex_t insert_lock;
    pthread_mutex_t dirty_lock;
    struct queue *dirty_first; /* queues with entries that are not durable */
    struct queue_ends ends;    /* of all queues; under dispatch_lock */
};

/* seed  decides the order of walks; 0: a random one */
void queue_table_init(struct queue_table *table, uint64_t seed);
void queue_table_release(struct queue_table *table); /* frees the queues too */

/* NULL when there is none, and with `create` only for a name that cannot be a directory. */
struct queue *queue_table_find(struct queue_table *table, struct store *store, struct slice topic,
                               int32_t id, bool create);

/* Call `each` for every queue there is; those added meanwhile may be left out. */
void queue_table_each(struct queue_table *table, void (*each)(void *ctx, struct queue *queue),
                      void *ctx);

/* The same in pieces: begin, then take one after the other until NULL. Queues stay, so a walk may
 * take as long as it likes. */
struct queue_walk {
    struct queue_slots *slots;
    size_t next;
};
void queue_table_walk(struct queue_table *table, struct queue_walk *walk);
struct queue *queue_table_walk_next(struct queue_walk *walk);

/* Put queues on the list of dirty ones, each once. */
void queue_table_mark_dirty(struct queue_table *table, struct queue *const *queues, size_t count);

/* Take the whole list into *list, which grows as needed (malloc'ed, *capacity kept by the caller);
 * its queues are marked clean. */
size_t queue_table_take_dirty(struct queue_table *table, struct queue ***list, size_t *capacity);

#endif
