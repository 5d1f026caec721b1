/* SPDX-License-Identifier: Apache-2.0
 *
 * What the answer to something stored promises, and whether that is true: on the disk
 * (SYNC_FLUSH), on a slave (SYNC_MASTER). Both are positions of the log that only grow, so a
 * comparison each tells. Any thread.
 *
 * Source: RMQ 4.9.2 CommitLog.submitFlushRequest and submitReplicaRequest; SD-16, ST10-08.
 */
#ifndef BROKER_PROC_PROMISE_H
#define BROKER_PROC_PROMISE_H

#include "broker/proc/broker.h"
#include "broker/repl/replicas.h"

struct promise {
    int64_t pos;     /* what is promised begins here in the log */
    int64_t end_pos; /* and ends here */
    bool disk;       /* it is on this broker's disk */
    bool slave;      /* and on a slave */
    bool no_slave;   /* should be on a slave, but none was in reach when it was stored */
};

/* How far the log has come. */
struct durable {
    int64_t flushed_pos;
    struct replica_range replicated;
};

/* Does this broker promise a slave (SYNC_MASTER)? The one place that says so. */
bool promise_wants_slave(const struct broker *broker);

/* What is promised, as the broker is now, to one who waits for what was just appended, the bytes
 * [pos, end_pos) of the log. */
struct promise promise_make(const struct broker *broker, int64_t pos, int64_t end_pos);

struct durable promise_durable(const struct broker *broker);

/* Nothing is left to wait for. */
bool promise_kept(const struct promise *promise, const struct durable *durable);

/* What is known to be on a slave begins behind it. It may still come to be known of this, too, but
 * of what was appended later first. */
bool promise_passed_over(const struct promise *promise, const struct durable *durable);

/* The disk's part of it. */
bool promise_kept_by_disk(const struct promise *promise, const struct durable *durable);

/* The code of a send's answer, when the promise is kept or the time is up. As in 4.9.2 a fault of
 * the slave's hides one of the disk's, and a slave that was not there is one, too. */
int32_t promise_code(const struct promise *promise, const struct durable *durable);

#endif
