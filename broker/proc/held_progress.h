/* SPDX-License-Identifier: Apache-2.0
 *
 * On a slave: how far its master's check of transactions has come, until this slave's log has come
 * as far, too. It comes among the consumer offsets, and says that what lies before it is done or
 * copied behind; a slave that took over without those copies would never ask about them.
 *
 * One thread. A zeroed one is empty.
 */
#ifndef BROKER_PROC_HELD_PROGRESS_H
#define BROKER_PROC_HELD_PROGRESS_H

#include "broker/state/offsets.h"

struct held_offsets {
    bool set;
    int64_t proof_pos; /* the log must reach this */
    int64_t half;      /* offsets in the two queues; -1: not told */
    int64_t marker;
};

/* The one that is waited for, and the newest behind it: with a slave that is always a little behind
 * one that is replaced again and again would never be taken. */
struct held_progress {
    struct held_offsets next;
    struct held_offsets newest;
};

/* Take the offsets of the check out of a body; false: there are none. */
bool held_progress_split(ConsumerOffsetSerializeWrapper *body, struct held_offsets *out);

/* Hold them; what is held already for more of the log is of a master that has lost the end of its
 * log, and goes. */
void held_progress_put(struct held_progress *held, const struct held_offsets *offsets);

/* Merge into `offsets` what the log has reached. */
MUST_CHECK enum status held_progress_take(struct held_progress *held, int64_t log_end,
                                          struct offsets *offsets);

#endif
