/* SPDX-License-Identifier: Apache-2.0
 *
 * The slaves that follow this master's log: who they are, how far each has come, and the watermark
 * that SYNC_MASTER's answers wait for. Positions are bytes of the log.
 *
 * A slave's report moves the watermark only up to what was sent to that slave: one that reports
 * more than it can have releases nobody (ha_master.h closes its connection). The watermark never
 * goes back, also when the slave that moved it leaves: the bytes were there.
 *
 * A slave whose log begins in the middle of the master's (an empty one that a 4.9.2 master's rule
 * starts at the last file) says nothing about what lies before its beginning, and one that has not
 * proved that its log is the master's (each of 4.9.2) nothing that counts about what it was not
 * sent on this connection. When it takes over from one that has left, `covered.from` is where what
 * is known to be on a slave begins.
 *
 * Threads. replicas_covered, replicas_in_reach and replicas_count are for any thread and take no
 * lock; the rest is for any thread, too, and takes the leaf lock `replicas` for a look at a few
 * slots.
 */
#ifndef BROKER_REPL_REPLICAS_H
#define BROKER_REPL_REPLICAS_H

#include "common/sys/clock.h"
#include "proto/message_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICAS_MAX 16

struct replicas;

/* What a slave is, as far as it has told. */
struct replica_identity {
    int64_t broker_id;  /* -1: a 4.9.2 slave, which does not tell */
    bool flushes;       /* reports what is on its disk, not what is in its page cache */
    int64_t begins_pos; /* nothing before this counts: the slave does not have it, or only says so
                           (ha_master_begins_pos); 0: it has all */
    struct host address;
};

struct replica_state {
    struct replica_identity identity;
    int64_t joined_ms;    /* wall clock */
    int64_t sent_pos;     /* handed to the socket */
    int64_t acked_pos;    /* reported and believed; 0 before the first report */
    int64_t caught_up_ms; /* wall clock: it has all that the log held then; 0: never yet. Under load
                             it is a little in the past, by as much as the slave is behind */
    uint64_t number;      /* of the connection: another one each time a slave joins */
};

/* What is on a slave that counts: the bytes [from, to) of the log. */
struct replica_range {
    int64_t from;
    int64_t to;
};

/* moved(ctx) is called, without a lock, after the watermark has moved or a slave has left. */
struct replicas *replicas_new(const struct clock *clock, void (*moved)(void *ctx), void *ctx);
void replicas_free(struct replicas *replicas);

/* A slave has come, and asks for the log from start_pos on: what it may have before anything is
 * sent. Nothing counts as there before it reports.
 * returns  its slot, or -1: REPLICAS_MAX are there */
int replicas_join(struct replicas *replicas, const struct replica_identity *identity,
                  int64_t start_pos);
void replicas_leave(struct replicas *replicas, int slot);

/* Bytes before `pos` have been handed to the slave's socket. */
void replicas_sent(struct replicas *replicas, int slot, int64_t pos);

/* The slave says that it has all bytes before `pos`. The same again is as good as any news.
 * appended_pos  the end of the log now
 * returns  false: it cannot have them, or had more before; nothing is counted, close the
 *          connection */
bool replicas_acked(struct replicas *replicas, int slot, int64_t pos, int64_t appended_pos);

/* What is on a slave that counts; empty as long as none has reported. Of a change that is under way
 * it may show less than there is, never more. */
struct replica_range replicas_covered(const struct replicas *replicas);

/* Its end: the watermark. */
int64_t replicas_acked_pos(const struct replicas *replicas);

/* Is a slave there that is less than behind_max bytes behind end_pos (4.9.2's isSlaveOK, which lets
 * slaves count that have left)? When not, a send is answered SLAVE_NOT_AVAILABLE at once. */
bool replicas_in_reach(const struct replicas *replicas, int64_t end_pos, int64_t behind_max);

int replicas_count(const struct replicas *replicas);

/* What each slave's state is.
 * out  room for REPLICAS_MAX
 * returns  how many */
size_t replicas_list(struct replicas *replicas, struct replica_state *out);

#endif
