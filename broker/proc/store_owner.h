/* SPDX-License-Identifier: Apache-2.0
 *
 * A broker and the store that it finds: which one that is, what it was used for before, and what in
 * its tables is ahead of its log.
 *
 * Tables may know of messages that the log does not have: a slave had its master's offsets before
 * its log had come so far, and is a master now; or the machine was switched off before the end of
 * the log was on disk (ASYNC_FLUSH), but not before offsets were. New messages take the places of
 * the lost ones, and a group whose offset is behind them would pass over them without a word. So
 * such offsets go back to the end of their queues, once, before anything is served.
 *
 * An offset may be behind the end of its queue for another cause: the topic was deleted and made
 * anew, or its queue has expired and begins again at 0, and the group has not pulled since. Then
 * the group would miss what is in the queue by now. So nothing is moved without one of the two
 * causes above: after a clean stop of a master, or one that was only killed, its log is what it
 * was. What the cause was of a single offset can not be told; the log names each.
 */
#ifndef BROKER_PROC_STORE_OWNER_H
#define BROKER_PROC_STORE_OWNER_H

#include "broker/proc/broker.h"

/* Read the store's identity, or give it one; on a master bring back what is ahead of the log. The
 * store is open and the tables are loaded; nothing is appended yet.
 * returns  OK | CORRUPT, IO ... (the identity can not be read, or neither offsets nor identity be
 *          written; words in err) */
MUST_CHECK enum status store_owner_begin(struct broker *broker, struct err *err);

#endif
