/* SPDX-License-Identifier: Apache-2.0
 *
 * The broker's registration with every name server: at the start, every registerNameServerPeriod,
 * when topics change, and the farewell at the end (TP-09). Bodies are built on a thread of its own,
 * so that nothing that clients ask for delays a registration: a broker that is not heard of loses
 * its routes. The calls run on the first loop, side by side, so that a dead name server delays no
 * other.
 */
#ifndef BROKER_PROC_REGISTRAR_H
#define BROKER_PROC_REGISTRAR_H

#include "broker/proc/broker.h"

enum status registrar_new(struct broker *broker, struct registrar **out, struct err *err);
void registrar_free(struct registrar *registrar); /* after the loops have stopped */

/* Register with all name servers now and periodically from here on. Once, when the broker is ready
 * to serve. Any thread. */
void registrar_start(struct registrar *registrar);

/* Topics or permissions changed: register soon. Several calls are served by one registration. Any
 * thread. */
void registrar_announce(struct registrar *registrar);

/* The same, and call `done` once every name server has answered or timed out; so that the answer to
 * "create topic" means that the route exists. `done` runs on loops[0], also when the registrar is
 * stopped meanwhile. */
void registrar_announce_then(struct registrar *registrar, void (*done)(void *ctx), void *ctx);

/* Stop registering and unregister everywhere; waits at most about 3 s for the answers. Once, before
 * registrar_free. Not on a
 * loop; loops[0] must run. */
void registrar_stop(struct registrar *registrar);

#endif
