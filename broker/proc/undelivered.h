/* SPDX-License-Identifier: Apache-2.0
 *
 * What the broker has acknowledged and has still to deliver itself, by where it lies in the log:
 * messages of delay levels, half messages that are open, messages that were popped and not
 * acknowledged and, on a slave, its master's timers. On a master timers leave an old part of the
 * log before it goes (broker_may_expire).
 *
 * On a slave it is what its copies of the master's progress say: the log is to be good for taking
 * over. What was popped is not among them, so a slave keeps nothing for it.
 */
#ifndef BROKER_PROC_UNDELIVERED_H
#define BROKER_PROC_UNDELIVERED_H

#include "broker/proc/broker.h"

/* store_listener.undelivered. One thread; may read from disk. */
const char *undelivered_before(void *broker, int64_t end_pos);

#endif
