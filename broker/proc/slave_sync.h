/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave's copies of its master's tables: topics, subscription groups, consumer offsets, how far
 * delayed messages and timers have come, request modes (LC-05). On a loop of its own, which may
 * wait for the disk.
 *
 * Three seconds after the start and every ten seconds the master is asked, and at once when it says
 * that something has changed (slave_sync_wake). A master of our own gives what has changed since
 * (GET_REPLICATED_TABLES); one of 4.9.2 the whole tables (21, 43, 45, 201). What can not be
 * understood changes nothing. Topics and groups are saved when they change, offsets as on a master,
 * so that a slave serves reads after a restart without its master.
 *
 * What the progress of delays and timers says of the log is true of the master's log. It is taken
 * over when the slave's log has come that far, so that a message that is not here yet is not taken
 * for delivered when the slave becomes a master.
 *
 * Filters are not copied: consumers send their heartbeats to slaves, too.
 */
#ifndef BROKER_PROC_SLAVE_SYNC_H
#define BROKER_PROC_SLAVE_SYNC_H

#include "broker/proc/broker.h"

struct slave_sync;

/* returns  OK | IO, BUSY (no thread or descriptor can be had) */
MUST_CHECK enum status slave_sync_start(struct broker *broker, struct slave_sync **out,
                                        struct err *err);
/* Joins its thread. What was taken over stays; the tables must still be there. Not while others may
 * call the functions below. */
void slave_sync_stop(struct slave_sync *sync);

/* The master's address, "ip:port" as registered; NULL or empty: none is known, nothing is asked.
 * The same as before: nothing happens. Any thread. */
void slave_sync_follow(struct slave_sync *sync, const char *master);

/* The master has changed something: ask now. Any thread. */
void slave_sync_wake(struct slave_sync *sync);

#endif
