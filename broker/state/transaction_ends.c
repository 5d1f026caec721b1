/* SPDX-License-Identifier: Apache-2.0
 *
 * Two generations of a hash table: what is new goes into the young one; when that has
 * TRANSACTION_ENDS_KEPT entries it becomes the old one, and the old one is forgotten. Nothing is
 * ever taken out singly: a claim that was released stays as an entry that is open.
 */
#include "broker/state/transaction_ends.h"

#include "common/base/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 1024
#define SLOT_FREE (-1)

enum state {
    STATE_OPEN,
    STATE_UNDER_WAY,
    STATE_ENDED,
};

struct slot {
    int64_t origin; /* SLOT_FREE */
    int64_t pos;
    int32_t bytes; /* behind pos */
    uint8_t outcome;
    uint8_t state; /* enum state */
};

struct generation {
    struct slot *slots; /* at most half of them in use */
    size_t capacity;    /* 0 or a power of two */
    size_t count;
};

struct transaction_ends {
    pthread_mutex_t lock; /* docs/locks.md: transaction_ends */
    struct generation young;
    struct generation old;
    uint64_t seed;     /* positions can be chosen by nobody, but this costs nothing */
    int64_t begin_pos; /* not changed once claims are made */
    atomic_bool ready;
};

struct transaction_ends *transaction_ends_new(void)
{
    struct transaction_ends *ends = xcalloc(1, sizeof *ends);
    CHECK(pthread_mutex_init(&ends->lock, NULL) == 0);
    ends->begin_pos = INT64_MAX;
    ends->seed = ((uint64_t)arc4random() << 32 | arc4random()) | 1;
    return ends;
}

void transaction_ends_free(struct transaction_ends *ends)
{
    CHECK(pthread_mutex_destroy(&ends->lock) == 0);
    free(ends->young.slots);
    free(ends->old.slots);
    free(ends);
}

static void lock(struct transaction_ends *ends)
{
    CHECK(pthread_mutex_lock(&ends->lock) == 0);
}

static void unlock(struct transaction_ends *ends)
{
    CHECK(pthread_mutex_unlock(&ends->lock) == 0);
}

/* The slot of a transaction, or the free one where it would be; NULL in an empty table. */
static struct slot *place_of(const struct transaction_ends *ends, const struct generation *table,
                             int64_t origin)
{
    if (table->capacity == 0)
        return NULL;
    uint64_t hash = ((uint64_t)origin + 1) * ends->seed;
    size_t i = (size_t)(hash >> 32) & (table->capacity - 1);
    while (table->slots[i].origin != SLOT_FREE && table->slots[i].origin != origin)
        i = (i + 1) & (table->capacity - 1);
    return &table->slots[i];
}

static struct slot *find(const struct transaction_ends *ends, int64_t origin)
{
    struct slot *slot = place_of(ends, &ends->young, origin);
    if (slot != NULL && slot->origin == origin)
        return slot;
    slot = place_of(ends, &ends->old, origin);
    return slot != NULL && slot->origin == origin ? slot : NULL;
}

static void grow(struct transaction_ends *ends)
{
    struct generation *young = &ends->young;
    struct generation before = *young;
    young->capacity = before.capacity == 0 ? CAPACITY_MIN : before.capacity * 2;
    young->slots = xmalloc(young->capacity * sizeof *young->slots);
    memset(young->slots, 0xFF, young->capacity * sizeof *young->slots); /* SLOT_FREE */
    for (size_t i = 0; i < before.capacity; i++)
        if (before.slots[i].origin != SLOT_FREE)
            *place_of(ends, young, before.slots[i].origin) = before.slots[i];
    free(before.slots);
}

static struct slot *need(struct transaction_ends *ends, int64_t origin)
{
    struct slot *slot = find(ends, origin);
    if (slot != NULL)
        return slot;
    if (ends->young.count == TRANSACTION_ENDS_KEPT) {
        free(ends->old.slots);
        ends->old = ends->young;
        ends->young = (struct generation){NULL, 0, 0};
    }
    if (ends->young.count * 2 >= ends->young.capacity)
        grow(ends);
    slot = place_of(ends, &ends->young, origin);
    *slot = (struct slot){.origin = origin, .state = STATE_OPEN};
    ends->young.count++;
    return slot;
}

void transaction_ends_begin_at(struct transaction_ends *ends, int64_t pos)
{
    ends->begin_pos = pos;
}

enum transaction_claim transaction_ends_claim(struct transaction_ends *ends, int64_t origin,
                                              struct transaction_end *end)
{
    enum transaction_claim claim = TRANSACTION_YOURS;
    if (origin < ends->begin_pos && !transaction_ends_ready(ends))
        return TRANSACTION_NOT_READY;
    lock(ends);
    struct slot *slot = need(ends, origin);
    if (slot->state == STATE_ENDED) {
        *end = (struct transaction_end){slot->outcome, slot->pos, slot->pos + slot->bytes};
        claim = TRANSACTION_ENDED;
    } else if (slot->state == STATE_UNDER_WAY) {
        claim = TRANSACTION_UNDER_WAY;
    } else {
        slot->state = STATE_UNDER_WAY;
    }
    unlock(ends);
    return claim;
}

void transaction_ends_settle(struct transaction_ends *ends, int64_t origin,
                             const struct transaction_end *end)
{
    lock(ends);
    struct slot *slot = need(ends, origin);
    if (slot->state != STATE_ENDED) {
        slot->state = STATE_ENDED;
        slot->outcome = (uint8_t)end->outcome;
        slot->pos = end->pos;
        slot->bytes = (int32_t)(end->end_pos - end->pos);
    }
    unlock(ends);
}

void transaction_ends_release(struct transaction_ends *ends, int64_t origin)
{
    lock(ends);
    struct slot *slot = find(ends, origin);
    if (slot != NULL && slot->state == STATE_UNDER_WAY)
        slot->state = STATE_OPEN;
    unlock(ends);
}

bool transaction_ends_has(struct transaction_ends *ends, int64_t origin)
{
    lock(ends);
    const struct slot *slot = find(ends, origin);
    bool has = slot != NULL && slot->state == STATE_ENDED;
    unlock(ends);
    return has;
}

void transaction_ends_set_ready(struct transaction_ends *ends)
{
    atomic_store(&ends->ready, true);
}

bool transaction_ends_ready(const struct transaction_ends *ends)
{
    return atomic_load(&ends->ready);
}
