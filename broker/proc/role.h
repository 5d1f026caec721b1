/* SPDX-License-Identifier: Apache-2.0
 *
 * What a master and a slave do for one another. What only a master does with the log (delayed
 * messages, timers, transactions, pops) is the housekeeper's, which does not start it on a slave.
 */
#ifndef BROKER_PROC_ROLE_H
#define BROKER_PROC_ROLE_H

#include "broker/proc/broker.h"

/* On a slave: follow haMasterAddress, or be ready to follow another (broker_follow). On a master:
 * be ready to tell slaves of changed tables. When the replication runs, before the loops do.
 * returns  OK | IO, BUSY */
MUST_CHECK enum status role_start(struct broker *broker, struct err *err);

/* replication_options.on_changed: the master says that tables have changed. */
void role_tables_changed(void *broker, unsigned tables);

/* The end of that. When the loops, the housekeeper and the replication have stopped, before the
 * tables and the store are closed. */
void role_stop(struct broker *broker);

#endif
