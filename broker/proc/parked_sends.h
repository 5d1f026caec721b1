/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends to a topic that does not exist yet. Creating it means writing config/topics.json, which a
 * loop must not wait for, and a send must not be acknowledged before the topic would survive a
 * crash. So the first send to an unknown topic is parked, a worker creates and persists the topic,
 * and then every send that came for it meanwhile is handled, in the order of arrival.
 *
 * One per loop, used on that loop only.
 */
#ifndef BROKER_PROC_PARKED_SENDS_H
#define BROKER_PROC_PARKED_SENDS_H

#include "broker/proc/broker.h"
#include "broker/proc/send_header.h"

/* Handle a parked call again; `created` tells whether the topic exists now. */
typedef void (*parked_resume)(struct broker *broker, struct call *call, bool created);

struct parked_sends *parked_sends_new(struct broker_loop *bl, parked_resume resume);

/* Answers what is still parked with SYSTEM_BUSY. After the loops have stopped. */
void parked_sends_free(struct parked_sends *parked);

/* Park behind earlier sends to the same topic. False when there are none: handle the call now. */
bool parked_sends_join(struct parked_sends *parked, struct call *call, struct slice topic);

/* Park as the first one and have the topic created. */
void parked_sends_start(struct parked_sends *parked, struct call *call,
                        const struct send_header *header);

/* The same for a send that ends among the dead letters of its group; `name` is their topic. */
void parked_sends_start_dead_letters(struct parked_sends *parked, struct call *call,
                                     struct slice name);

#endif
