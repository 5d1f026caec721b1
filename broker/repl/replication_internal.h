/* SPDX-License-Identifier: Apache-2.0
 *
 * Replication inside: the master's side (ha_listener.c, ha_sender.c) and the slave's
 * (ha_follower.c) of one struct.
 */
#ifndef BROKER_REPL_REPLICATION_INTERNAL_H
#define BROKER_REPL_REPLICATION_INTERNAL_H

#include "broker/repl/ha_master.h"
#include "broker/repl/replication.h"
#include "common/net/address.h"

#include <pthread.h>
#include <stdatomic.h>

/* Connections that are open at a time: slaves, those that were slaves a moment ago, and what else
 * finds the port. When there are more, the oldest that has not said what it is goes first. */
#define HA_CONNECTIONS_MAX 32 /* bits of replication.wanting */

/* How long slaves have to take what is left of the log when the master stops. */
#define HA_FAREWELL_MS 3000

/* Several slaves may be refused, each for a cause of its own, again and again. */
#define HA_WORDS_KEPT 16

struct ha_words {
    char text[HA_TEXT_BYTES];
    struct host peer; /* its port does not matter */
    int64_t said_ms;  /* monotonic; 0: never */
};

/* A slave whose place another one with its store has taken. */
struct ha_replaced {
    int64_t broker_id;
    uint64_t boot_id; /* 0: no entry */
};

enum ha_connection_use { HA_CONNECTION_FREE, HA_CONNECTION_OPEN, HA_CONNECTION_ENDED };

/* A place for a connection from a slave, with a thread of its own while it is used. */
struct ha_connection {
    struct replication *replication;
    int wake_fd;              /* for the replication's life */
    uint32_t bit;             /* of replication.wanting */
    _Atomic uint32_t changed; /* tables of replication_changed that are still to be told */

    /* Under replication.lock: */
    enum ha_connection_use use;
    pthread_t thread;
    int fd; /* for shutdown by others; -1: the thread is closing it */
    int64_t opened_ms;
    bool joined;
    bool replaced;     /* by a newer connection of the same slave */
    int64_t broker_id; /* -1: of 4.9.2 */
    uint64_t boot_id;
    char store_id[HA_STORE_ID_BYTES];
    bool proved; /* has had more of the log than it said that it had, or all there was */

    struct host peer; /* set before the thread is started */
};

struct replication {
    struct replication_options options;
    struct ha_hello self;
    atomic_bool stopping;
    _Atomic int64_t stop_by_ms; /* monotonic; from replication_stop on */
    pthread_mutex_t lock;       /* docs/locks.md: replication */
    bool started;

    /* Master. */
    int listen_fd;
    int listen_wake_fd;
    pthread_t listen_thread;
    _Atomic uint32_t wanting; /* whose threads wait for the log to grow */
    struct ha_connection connections[HA_CONNECTIONS_MAX];
    struct ha_words refused[HA_WORDS_KEPT];          /* under lock: what was logged about slaves */
    struct ha_replaced replaced[HA_CONNECTIONS_MAX]; /* under lock: the last ones, in a ring */
    unsigned replaced_next;

    /* Slave. */
    int follow_wake_fd;
    pthread_t follow_thread;
    atomic_uint follow_version;           /* counts changes of state.master */
    _Atomic bool wants_flush;             /* the thread waits for store_flushed_pos to move */
    struct replication_slave_state state; /* under lock */
};

/* The same cause: the texts are equal but for numbers, such as positions, which change from one try
 * to the next. Those within quotes are parts of names. */
bool ha_same_words(const char *a, const char *b);

/* The master's threads. start: returns as replication_start. */
enum status ha_listener_start(struct replication *replication, struct err *err);
void ha_listener_stop(struct replication *replication);

/* May the slave that says this have a place among those that are there (ha_places.c)? When it may
 * the place is its own: the connection of the same slave that has been lost is ended.
 * other  out: of ID_TAKEN and STORE_COPIED the address of who has the place
 * returns  ADMITTED | ID_TAKEN | STORE_COPIED | TOO_MANY */
enum ha_verdict ha_places_claim(struct ha_connection *self, const struct ha_hello *slave,
                                int protocol, char other[HOST_TEXT_BYTES]);
/* It has shown to be one. */
void ha_places_prove(struct ha_connection *self);

/* Serve one slave until it has gone; the connection's thread. */
void ha_sender_run(struct ha_connection *connection);

enum status ha_follower_start(struct replication *replication, struct err *err);
void ha_follower_stop(struct replication *replication);

#endif
