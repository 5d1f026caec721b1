/* SPDX-License-Identifier: Apache-2.0
 *
 * A pop under way: the request, what one round over its queues has found, and how it waits. Shared
 * by pop.c (checks, waiting, answers) and pop_read.c (the round). Belongs to its loop.
 */
#ifndef BROKER_PROC_POP_H
#define BROKER_PROC_POP_H

#include "broker/proc/broker.h"
#include "broker/proc/pull_filter.h"
#include "broker/state/pop_ledger.h"
#include "broker/state/pop_orders.h"
#include "broker/state/pop_polls.h"
#include "common/base/buf.h"
#include "proto/pop_handle.h"

/* Codes of 5.3.3 whose numbers 4.9.2 gives to others. */
#define RESPONSE_INVALID_PARAMETER 29
#define RESPONSE_POLLING_FULL 209
#define RESPONSE_POLLING_TIMEOUT 210

/* ConsumeInitMode */
#define INIT_MODE_MIN 0

enum pop_kind {
    POP_KIND_POP,
    POP_KIND_NOTIFY, /* NOTIFICATION: only tell whether there is something */
    POP_KIND_PEEK,   /* PEEK_MESSAGE: read without taking */
};

/* The parts of a round, in order. */
enum round_part {
    ROUND_RETRY_FIRST, /* by chance, so that neither topic starves the other */
    ROUND_TOPIC,
    ROUND_RETRY_LAST,
    ROUND_RETRY_OTHER, /* when nothing was found: one answer has one kind of retry topics */
    ROUND_END,
};

/* One look at all the queues of a pop. */
struct pop_round {
    uint64_t mark; /* of the arrivals before it began */
    enum round_part part;
    bool retry_first;
    bool old_retry; /* the retry topic of the round is V1's, which stands for both kinds in turn */
    int32_t index;  /* of the part's queues, from `first` on */
    int32_t count;  /* of the part's queues; -1: the part has not begun */
    uint32_t first;
    int64_t pop_time_ms;
    int32_t revive_queue;
    int found;
    size_t bytes;
    int64_t rest; /* messages known to be left */
    bool more;    /* some of them can be had at once */
    int64_t
        free_ms; /* wall clock: when a queue that is held up in order may be looked at; 0: none */
    struct buf start_info;
    struct buf message_info;
    struct buf count_info;                    /* order only */
    struct body_part parts[POP_MESSAGES_MAX]; /* no result has more ranges than messages */
    size_t part_count;

    /* The queue that is being read. */
    struct pop_queue *taken;
    struct queue *queue;
    int32_t queue_id;
    int64_t queue_offset;
    bool corrected;                    /* its offset was out of range */
    int64_t offsets[POP_MESSAGES_MAX]; /* of the messages that were found in it */
    struct arena arena;
};

struct cold_pop;

struct pop {
    struct held held; /* first; parked from the beginning to the answer */
    struct pop_poll poll;
    struct broker_loop *bl;
    struct reply_to to;
    enum pop_kind kind;
    struct subscription *subscription;
    struct pull_filter filter; /* by properties */
    struct loop_timer *timer;  /* NULL: it has not waited yet */
    struct cold_pop *cold;     /* NULL: no read from disk is under way */
    struct pop_round *round;   /* NULL: it waits */
    int64_t deadline_ms;       /* of the loop; 0: it does not wait */
    int64_t invisible_ms;
    int32_t queue_id; /* or POP_ANY_QUEUE */
    int32_t init_mode;
    int max_messages;
    bool order;
    bool parked;
    bool ended; /* its connection has gone, or the broker stops */
    bool dropped;
    struct slice topic; /* behind the struct, NUL behind each */
    struct slice group;
    struct slice retry_topic;
    enum pop_retry retry;         /* the kind of that */
    struct slice old_retry_topic; /* V1's */
    struct slice attempt;         /* attemptId, order only */
};

/* pop_read.c: go on with a round; pop_round_done is called when it is over, now or, when messages
 * come from disk, later. */
void pop_round_run(struct pop *pop);
/* The task that the round has posted to go on has run. */
void pop_round_go_on(struct pop *pop);

/* pop.c */
void pop_round_done(struct pop *pop);
/* The round ended because the disk has too much to read, with words; nothing was found. */
void pop_round_failed(struct pop *pop, int32_t code, const char *remark);

/* Stop a read from disk that nobody waits for any more. */
void pop_cancel_cold(struct pop *pop);

/* Where a group begins in a queue that it never consumed (5.3.3's getInitOffset). */
int64_t pop_first_offset(struct broker *broker, struct queue *queue, bool retry, int32_t init_mode);

/* The hold_callbacks of one loop's table of pops. */
void pop_on_arrival(void *ctx, struct held *held);
void pop_on_expire(void *ctx, struct held *held);
void pop_on_drop(void *ctx, struct held *held);

/* pop_revive_options.on_topic; ctx is the broker. */
void pop_on_retry_topic(void *broker, struct slice topic, struct slice group,
                        struct slice retry_topic);

#endif
