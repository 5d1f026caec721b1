/* SPDX-License-Identifier: Apache-2.0
 *
 * Which queues a consumer of a group gets when the broker shares them out (QUERY_ASSIGNMENT). Pure;
 * queues and consumers are numbers in their sorted lists.
 * Source: RMQ 5.3.3 broker/.../QueryAssignmentProcessor.java,
 * client/.../AllocateMessageQueue*.java.
 */
#ifndef BROKER_STATE_ASSIGN_H
#define BROKER_STATE_ASSIGN_H

#include <stdbool.h>
#include <stddef.h>

enum assign_strategy {
    ASSIGN_AVERAGELY,           /* "AVG" */
    ASSIGN_AVERAGELY_BY_CIRCLE, /* "AVG_BY_CIRCLE" */
};

/* False: no such strategy. */
bool assign_strategy_parse(const char *name, enum assign_strategy *out);

/* The queues of consumer number `index`, appended to `out` (room for queue_count more).
 * count  in and out: entries of `out` */
void assign_queues(enum assign_strategy strategy, size_t queue_count, size_t consumer_count,
                   size_t index, size_t *out, size_t *count);

/* The same for pop consumption, where each consumer also takes those of the `share` consumers
 * behind it (popShareQueueNum). returns  true: it takes all queues of every broker; `out` is
 * untouched */
bool assign_pop_queues(enum assign_strategy strategy, size_t queue_count, size_t consumer_count,
                       size_t index, int share, size_t *out, size_t *count);

#endif
