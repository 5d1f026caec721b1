/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests that wait until there may be something to pop (long polling). They wait for all queues
 * of a topic, or one, and for the group's pop retry topic. A message that arrives wakes one request
 * of each group, as in 5.3.3; whoever leaves something behind wakes the next one.
 *
 * A request belongs to its loop, and to this table from pop_polls_wait until its task runs or
 * pop_polls_cancel takes it out. Any thread may wake. Lock: docs/locks.md, pop_polls.
 */
#ifndef BROKER_STATE_POP_POLLS_H
#define BROKER_STATE_POP_POLLS_H

#include "broker/store/store.h"
#include "common/base/list.h"
#include "common/net/loop.h"

#define POP_ANY_QUEUE (-1)

/* One request; embed it. `loop`, `woken.run` and `queue_id` are set by its owner. */
struct pop_poll {
    struct loop_task woken; /* posted to `loop` once for each pop_polls_wait that returned OK */
    struct loop *loop;
    int32_t queue_id; /* or POP_ANY_QUEUE */
    struct list in_group;
    bool waiting;
};

struct pop_polls;
struct pop_polls *pop_polls_new(struct store *store);
void pop_polls_free(struct pop_polls *polls);

/* What requests of one topic and group wait for. */
struct poll_target {
    struct slice topic;
    struct slice group;
    struct slice retry_topic;
    int32_t queues;       /* of the topic */
    int32_t retry_queues; /* of the retry topic, 0: it does not exist */
};

#define POLL_MARK_NONE 0

/* A mark to be taken before looking for messages and given to pop_polls_wait after it.
 * POLL_MARK_NONE: nobody waits for the target and arrivals are not told yet; pop_polls_watch begins
 * that. */
uint64_t pop_polls_mark(struct pop_polls *polls, const struct poll_target *target);
/* POLL_MARK_NONE: POP_POLL_GROUPS_MAX are watched already. */
uint64_t pop_polls_watch(struct pop_polls *polls, const struct poll_target *target, int64_t now_ms);

/* Wait.
 * returns  OK | EXISTS (something has arrived since the mark: look again) | NOT_FOUND (not watched
 *          any more) */
MUST_CHECK enum status pop_polls_wait(struct pop_polls *polls, const struct poll_target *target,
                                      struct pop_poll *poll, uint64_t mark, int64_t now_ms);

/* True: it is out of the table. False: it was woken, and its task is on its way. */
bool pop_polls_cancel(struct pop_polls *polls, struct pop_poll *poll);

/* Wake one request that waits for this queue, or, with POP_ANY_QUEUE, for any. */
void pop_polls_wake(struct pop_polls *polls, struct slice topic, struct slice group,
                    int32_t queue_id);

/* Wake everybody. */
void pop_polls_wake_all(struct pop_polls *polls);

/* store_listener.on_arrival. Any thread. */
void pop_polls_arrival(struct pop_polls *polls, struct queue *queue);

/* A retry topic was made: who waits for the topic and group waits for it, too. */
void pop_polls_retry_topic(struct pop_polls *polls, struct slice topic, struct slice group,
                           struct slice retry_topic);

/* Requests that wait for exactly this queue, or POP_ANY_QUEUE. */
int32_t pop_polls_count(struct pop_polls *polls, struct slice topic, struct slice group,
                        int32_t queue_id);

/* Stop watching where nobody has waited for a minute. Now and then. */
void pop_polls_expire(struct pop_polls *polls, int64_t now_ms);

#endif
