/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms that a transaction's message takes in the log, as 4.9.2 writes them. Pure.
 *
 *     half message   in RMQ_SYS_TRANS_HALF_TOPIC queue 0, where it goes later in REAL_TOPIC and
 *                    REAL_QID; appended again each time its producers are asked
 *     marker         in RMQ_SYS_TRANS_OP_HALF_TOPIC: tag `d`, the body is the queue offset of a
 *                    half message that has been committed or rolled back
 *     committed      in the real topic and queue, with the properties of the half message
 *
 * Ours: copies and markers name the first half message of their transaction in
 * preparedTransactionOffset, and markers the outcome in flag. Both are 0 there in 4.9.2, which
 * looks at neither.
 *
 * Source: RMQ broker/.../TransactionalMessageBridge.java, EndTransactionProcessor.java,
 * DefaultTransactionalMessageCheckListener.java.
 */
#ifndef BROKER_STATE_HALF_MESSAGE_H
#define BROKER_STATE_HALF_MESSAGE_H

#include "common/base/buf.h"
#include "common/base/number.h"
#include "proto/record.h"

#include <stdbool.h>

/* The consumer group under whose name the progress of the checks is kept. */
#define GROUP_TRANSACTIONS "CID_RMQ_SYS_TRANS"

/* Turn a message that is being sent into a half message.
 * properties  holds record->properties; REAL_TOPIC and REAL_QID are appended */
void half_prepare(struct buf *properties, struct record *record);

/* Where a half message goes when it is committed.
 * half     its topic, queue_id: changed
 * returns  NULL, or why it can go nowhere */
const char *half_restore(struct record *half);

/* The committed form, with a DELAY that it may have still to be obeyed.
 * returns  NULL, or why there is none */
const char *half_commit(const struct record *half, struct record *out);

/* Which transaction it is: where its first half message lies in the log. Of a copy that 4.9.2 made
 * that is not known, and it counts as a first one. */
int64_t half_origin(const struct record *half);
/* The same as preparedTransactionOffset of copies and markers has it. */
int64_t half_origin_name(const struct record *half);

/* The marker of a half message.
 * outcome  SYS_FLAG_TRANSACTION_COMMIT or _ROLLBACK
 * text     holds the body */
void half_mark(const struct record *half, int32_t outcome, const struct host *store_host,
               int64_t now_ms, char text[I64_TEXT_BYTES], struct record *out);

/* The queue offset that a marker speaks of, -1 when it is none. */
int64_t half_marked(const struct record *marker);

/* half_origin of that half message, -1 when the marker is one of 4.9.2; and the outcome, 0 then. */
int64_t half_marked_origin(const struct record *marker);
int32_t half_marked_outcome(const struct record *marker);

/* The half message to be appended again: as `half` in queue 0 of the half topic.
 * times         TRANSACTION_CHECK_TIMES of the copy; -1: as it is
 * first_offset  -1, or the queue offset that becomes TRAN_PREPARED_QUEUE_OFFSET unless it has one:
 *               of a copy that was made without asking, its producer knows only the first
 * properties    cleared; holds those of *out */
void half_renew(const struct record *half, int32_t times, int64_t first_offset,
                struct buf *properties, struct record *out);

/* What the check service asks of a half message's properties. */
struct half_wishes {
    int32_t check_times;     /* -1: never asked */
    bool has_immunity;       /* CHECK_IMMUNITY_TIME_IN_SECONDS is there ... */
    int64_t immunity_ms;     /* ... and says this; -1: it is no number */
    int64_t prepared_offset; /* TRAN_PREPARED_QUEUE_OFFSET, -1 without */
};
void half_read_wishes(struct slice properties, struct half_wishes *wishes);

#endif
