/* SPDX-License-Identifier: Apache-2.0
 *
 * After a start: which transactions have ended, read back from the newest markers in the log into
 * transaction_ends. A part of transaction_check; the same thread.
 */
#ifndef BROKER_STATE_TRANSACTION_RECALL_H
#define BROKER_STATE_TRANSACTION_RECALL_H

#include "broker/state/transaction_ends.h"
#include "broker/store/store.h"

struct transaction_recall {
    struct store *store;
    struct transaction_ends *ends;
    int64_t settle_pos; /* dispatch must have passed it: the end of the log at the start */
    int64_t last_pos;   /* of the last record of the log then, -1: none */
    int64_t begun_ms;   /* monotonic; 0: not yet */
    int64_t end;        /* of the queue of markers then */
    int64_t from;       /* those before it were not read back; their offsets in the queue */
};

/* Of the log as it is now. Both are borrowed. */
void transaction_recall_init(struct transaction_recall *recall, struct store *store,
                             struct transaction_ends *ends);

/* Read some more, once dispatch has come so far (settle_pos). May wait for the disk.
 * wall_ms, now_ms  the wall clock, the monotonic one
 * returns  true: that was all, `ends` is ready */
bool transaction_recall_step(struct transaction_recall *recall, int64_t wall_ms, int64_t now_ms);

/* Remember what a marker of the log says that was not read back. */
void transaction_recall_learn(struct transaction_recall *recall, const struct record *marker);

#endif
