/* SPDX-License-Identifier: Apache-2.0
 *
 * What the ends of all queues come to. A checkpoint holds it, and a start that finds something else
 * knows that queues are missing, short or back. Pure, and of no order: each queue adds to it.
 */
#ifndef BROKER_STORE_QUEUE_ENDS_H
#define BROKER_STORE_QUEUE_ENDS_H

#include "common/base/bytes.h"

struct queue_ends {
    int64_t total;   /* the sum, for people */
    uint64_t digest; /* another one also where one queue is longer by what another lacks */
};

/* A queue's part in the digest, which begins at an end of 0. */
uint64_t queue_ends_name(struct slice topic, int32_t id);

/* The queue of that name ended at `before`, and ends at `after` now. */
void queue_ends_move(struct queue_ends *ends, uint64_t name, int64_t before, int64_t after);

static inline bool queue_ends_equal(const struct queue_ends *a, const struct queue_ends *b)
{
    return a->total == b->total && a->digest == b->digest;
}

#endif
