/* SPDX-License-Identifier: Apache-2.0
 *
 * Replication of the commit log between a master and its slaves: the sockets and threads around the
 * step functions of ha_master.h and ha_slave.h. 4.9.2's HA protocol, and between brokers of this
 * program its extension (proto/ha_frame.h; docs/decisions/0015-replication.md).
 *
 * A master listens on haListenPort and serves each slave on a thread of its own, which may wait for
 * the disk: a slave that catches up from cold files delays no other one, and no client. A slave has
 * one thread, which receives, appends and reports.
 */
#ifndef BROKER_REPL_REPLICATION_H
#define BROKER_REPL_REPLICATION_H

#include "broker/repl/replicas.h"
#include "broker/store/store.h"
#include "common/base/status.h"
#include "proto/ha_frame.h"

/* Tables that slaves copy. Bits. */
enum replicated_table {
    REPLICATED_TOPICS = 1,
    REPLICATED_GROUPS = 2,
    REPLICATED_OFFSETS = 4,
    REPLICATED_DELAY = 8,
};

struct replication_options {
    struct store *store;
    const struct clock *clock;
    struct replicas *replicas; /* master: where slaves are entered */
    const char *cluster_name;  /* these strings are borrowed for the replication's life */
    const char *broker_name;
    int64_t broker_id;    /* 0: master */
    const char *store_id; /* of the store, and whom it was begun for; may be NULL, all three */
    const char *begun_by_cluster;
    const char *begun_by_broker;
    int64_t segment_bytes; /* mappedFileSizeCommitLog */
    bool slave;
    bool sync_flush;          /* slave: report what is on disk only */
    const char *bind_address; /* master: as of the other ports */
    int port;                 /* master: haListenPort */
    int64_t transfer_bytes;   /* haTransferBatchSize: most bytes of one block to a 4.9.2 slave */
    int64_t heartbeat_ms;     /* haSendHeartbeatInterval */
    int64_t silence_ms;       /* haHousekeepingInterval */
    /* Slave: the master says that these tables (bits) have changed. On the slave's thread. */
    void (*on_changed)(void *ctx, unsigned tables);
    void *ctx;
};

struct replication;

/* returns  OK | IO, BUSY ... (the port cannot be had; err says which and the mend) */
enum status replication_start(const struct replication_options *options, struct replication **out,
                              struct err *err);
/* Close the connections and join the threads. Before the store is stopped. */
void replication_stop(struct replication *replication);
void replication_free(struct replication *replication);

/* --- master --- */

/* The log has grown (store_listener.on_appended). Any thread, very often: cheap unless a slave
 * waits for it. */
void replication_appended(struct replication *replication);

/* These tables (bits) have changed: slaves that understand it are told at once. Any thread. */
void replication_changed(struct replication *replication, unsigned tables);

/* --- slave --- */

/* store_flushed_pos has moved (store_listener.on_flushed): with sync_flush there is something to
 * report. Any thread. */
void replication_flushed(struct replication *replication);

/* Follow that master: "ip:port" of its HA listener, from haMasterAddress or the name server's
 * answer; NULL or empty, or longer than an address can be: none is known. The same as before:
 * nothing happens. Any thread. */
void replication_follow(struct replication *replication, const char *address);

/* "host:port": a name has at most 255 characters, an address in brackets fewer. */
#define HA_ADDRESS_BYTES 272

struct replication_slave_state {
    bool connected;
    bool refused;                  /* frozen: the operator has to act; `why` has the mend */
    char master[HA_ADDRESS_BYTES]; /* the HA address that is followed; empty: none known */
    int protocol;                  /* 1: 4.9.2's; 2: ours */
    int64_t master_end_pos;        /* end of the master's log as last heard; -1 unknown */
    int64_t since_ms;              /* wall clock of the last change of connected or refused */
    int64_t heard_ms;              /* wall clock: the last byte from the master */
    char why[HA_TEXT_BYTES];
};
void replication_slave_state(struct replication *replication, struct replication_slave_state *out);

#endif
