/* SPDX-License-Identifier: Apache-2.0
 *
 * What a slave runs and a master does not. The other way round it is the housekeeper that does not
 * start a master's threads (delayed messages, timers, transactions, pops) on a slave.
 */
#ifndef BROKER_PROC_ROLE_H
#define BROKER_PROC_ROLE_H

#include "broker/proc/broker.h"

/* On a slave: be ready to follow a master (broker_follow). Nothing on a master. Before registrar_start.
 * returns  OK | IO, BUSY */
MUST_CHECK enum status role_start(struct broker *broker, struct err *err);

/* Follow nobody any more. When the loops have stopped, before the tables and the store are closed.
 */
void role_stop(struct broker *broker);

#endif
