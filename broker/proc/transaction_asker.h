/* SPDX-License-Identifier: Apache-2.0
 *
 * The broker's side of the check of transactions: the questions (CHECK_TRANSACTION_STATE) that go
 * to producers, and the limits that hold now. Only on masters.
 *
 * A question goes, one-way, to one producer of the group after the other; to the next one when that
 * one has gone or does not read. With none, nothing is sent: the half message has been counted as
 * asked for, as in 4.9.2, and its turn comes again.
 */
#ifndef BROKER_PROC_TRANSACTION_ASKER_H
#define BROKER_PROC_TRANSACTION_ASKER_H

#include "broker/proc/broker.h"

struct transaction_asker;
struct transaction_asker *transaction_asker_new(struct broker *broker);

/* When no loop runs a task of it any more. */
void transaction_asker_free(struct transaction_asker *asker);

/* transaction_check_step with the clock and the options as they are now. One thread, which may wait
 * for the disk. */
int64_t transaction_asker_step(struct transaction_asker *asker);

/* transaction_check_finish. */
void transaction_asker_finish(struct transaction_asker *asker);

#endif
