/* SPDX-License-Identifier: Apache-2.0
 *
 * The slaves of this master as people see them: how far behind each is, in bytes and in time,
 * whether it is in sync, how fast it gets the log; and a line in the log when that changes.
 *
 * In sync is a slave that has had all of the log and is less than haSlaveFallbehindMax behind. One
 * that has fallen behind is in sync again when it has had all once more, so that one that hovers
 * around the limit is not told of over and over.
 */
#ifndef BROKER_PROC_REPLICA_WATCH_H
#define BROKER_PROC_REPLICA_WATCH_H

#include "broker/proc/broker.h"
#include "broker/repl/replicas.h"

struct replica_watch;

struct replica_view {
    struct replica_state state;
    int64_t behind_bytes;
    int64_t behind_ms;        /* since it had all that there was then; 0: it has all */
    int64_t bytes_per_second; /* sent to it, of the second before */
    bool in_sync;
};

struct replica_watch *replica_watch_new(struct broker *broker);
void replica_watch_free(struct replica_watch *watch);

/* Look; once a second, on one thread. */
void replica_watch_step(struct replica_watch *watch);

/* The slaves that are there, in the order in which they joined. Any thread.
 * out  room for REPLICAS_MAX
 * returns  how many */
size_t replica_watch_list(struct replica_watch *watch, struct replica_view *out);

#endif
