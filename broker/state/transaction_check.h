/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of open transactions: in rounds, the half messages that nobody has committed or rolled
 * back are appended again and their producers asked for the outcome; those that were asked for too
 * often or are too old go to TRANS_CHECK_MAX_TIME_TOPIC (TX-06 to TX-08).
 *
 * A step function on one thread of its own, which may wait for the disk; only on masters. How far
 * it is, is kept as offsets of the group CID_RMQ_SYS_TRANS, so that 4.9.2 and we take over from
 * each other.
 */
#ifndef BROKER_STATE_TRANSACTION_CHECK_H
#define BROKER_STATE_TRANSACTION_CHECK_H

#include "broker/state/offsets.h"
#include "broker/state/stats.h"
#include "broker/state/topic_stats.h"
#include "broker/state/topics.h"
#include "broker/state/transaction_ends.h"
#include "broker/store/store.h"

/* Whom the check needs; all borrowed. */
struct transaction_check_parts {
    struct store *store;
    struct topics *topics;
    struct offsets *offsets;
    struct transaction_ends *ends;   /* read back from the log first of all, then made ready */
    struct stats *stats;             /* may be NULL */
    struct topic_stats *topic_stats; /* may be NULL */
    void *ctx;
    /* Ask a producer of the group of a half message, which is given as it was just appended. Must
     * not wait. */
    void (*ask)(void *ctx, const struct record *half);
    /* False: as many questions as may be are on their way; the step stops for now. */
    bool (*may_ask)(void *ctx);
    /* A topic was made, to be announced. */
    void (*topic_made)(void *ctx);
};

/* What may change while the check runs. */
struct transaction_limits {
    int64_t timeout_ms;  /* transactionTimeOut */
    int32_t checks_max;  /* transactionCheckMax */
    int64_t reserved_ms; /* fileReservedTime: older ones are given up */
};

struct transaction_check;

/* interval_ms  transactionCheckInterval: before the first round, and between two
 * now_ms       monotonic */
struct transaction_check *transaction_check_new(const struct transaction_check_parts *parts,
                                                int64_t interval_ms, int64_t now_ms);
void transaction_check_free(struct transaction_check *check);

/* Begin a round when one is due, and do a bounded piece of it. One thread.
 * wall_ms, now_ms  the wall clock, which the age of messages is told by; the monotonic one
 * returns  milliseconds until the next step is useful, 0 when there is more to do now */
int64_t transaction_check_step(struct transaction_check *check,
                               const struct transaction_limits *limits, int64_t wall_ms,
                               int64_t now_ms);

/* Keep what was done since offsets were last committed, if the disk has it. After store_stop. */
void transaction_check_finish(struct transaction_check *check);

/* Half messages appended again so far, and given up; rounds finished. Of the step's thread. */
struct transaction_counts {
    int64_t rounds;
    int64_t asked;
    int64_t spared; /* appended again without asking, for CHECK_IMMUNITY_TIME_IN_SECONDS */
    int64_t given_up;
    int64_t done; /* passed because of a marker */
};
struct transaction_counts transaction_check_counts(const struct transaction_check *check);

#endif
