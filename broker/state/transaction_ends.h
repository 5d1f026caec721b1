/* SPDX-License-Identifier: Apache-2.0
 *
 * Which transactions have ended lately, so that none ends twice: a half message has copies (one is
 * made each time its producers are asked), an end may name any of them, and a producer sends one
 * again whose answer it did not get. A transaction is told by its first half message
 * (half_origin).
 *
 * Bounded: at least the last TRANSACTION_ENDS_KEPT ends are remembered. After a start they are read
 * back from the markers in the log (transaction_check.h); until then only those can be ended that
 * have begun since: most producers send an end one-way, and would not learn of a refusal.
 *
 * Any thread; one lock (docs/locks.md: transaction_ends).
 */
#ifndef BROKER_STATE_TRANSACTION_ENDS_H
#define BROKER_STATE_TRANSACTION_ENDS_H

#include <stdbool.h>
#include <stdint.h>

#define TRANSACTION_ENDS_KEPT 262144 /* 12 MiB; twice that with those before them */

struct transaction_ends;
struct transaction_ends *transaction_ends_new(void);
void transaction_ends_free(struct transaction_ends *ends);

/* How it ended, and where in the log that stands: the committed message and the marker. */
struct transaction_end {
    int32_t outcome; /* SYS_FLAG_TRANSACTION_COMMIT or _ROLLBACK; 0: not known */
    int64_t pos;
    int64_t end_pos;
};

enum transaction_claim {
    TRANSACTION_YOURS,     /* end it, then settle or release */
    TRANSACTION_UNDER_WAY, /* somebody else is just about to */
    TRANSACTION_ENDED,     /* *end says how */
    TRANSACTION_NOT_READY, /* the log has not been read back yet */
};

/* Where the log ended at the start: no end of what began behind it was there. Before the first
 * claim; without it, any may have been. */
void transaction_ends_begin_at(struct transaction_ends *ends, int64_t pos);

/* Who may append the end of a transaction: one only. */
enum transaction_claim transaction_ends_claim(struct transaction_ends *ends, int64_t origin,
                                              struct transaction_end *end);

/* The end is in the log: claimed before, or read from there. */
void transaction_ends_settle(struct transaction_ends *ends, int64_t origin,
                             const struct transaction_end *end);

/* The log did not take the end that was claimed: the transaction is open still. */
void transaction_ends_release(struct transaction_ends *ends, int64_t origin);

/* Is its end in the log, as far as is remembered? */
bool transaction_ends_has(struct transaction_ends *ends, int64_t origin);

/* The log has been read back. */
void transaction_ends_set_ready(struct transaction_ends *ends);
bool transaction_ends_ready(const struct transaction_ends *ends);

#endif
