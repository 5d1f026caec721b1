/* SPDX-License-Identifier: Apache-2.0
 *
 * How a server takes leave of its connections: which of them may be closed when, and how, so that
 * every request that was sent gets an answer, or its sender learns that none will come. The server
 * decides when it begins and when patience ends.
 *
 * While a group drains its connections are read as ever; calls that arrive are marked so
 * (call.draining) and should be answered at once. Calls of ours to peers fail.
 */
#ifndef COMMON_NET_DRAIN_H
#define COMMON_NET_DRAIN_H

#include "common/net/conn.h"

/* How often drain_step wants to be called. */
#define DRAIN_STEP_MS 2

/* On the group's loop, like drain_step. Fails what waits for a peer's answer (CLOSED). */
void drain_begin(struct conn_group *group);

/* Close what may be closed by now.
 * hurry    patience is over: end all
 * returns  whether no connection is left */
bool drain_step(struct conn_group *group, bool hurry);

#endif
