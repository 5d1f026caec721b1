/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends to a topic that does not exist yet. Creating it means writing config/topics.json, which a
 * loop must not wait for, and a send must not be acknowledged before the topic would survive a
 * crash. So the first send to an unknown topic is parked, the topic maker creates and saves the
 * topic, and then every send that came for it meanwhile is handled, in the order of arrival. One
 * that has waited for PARKED_MAX_MS, because the disk is slow, is answered SYSTEM_BUSY: 4.9.2 waits
 * as long for its lock on the topics.
 *
 * One per loop, used on that loop only.
 */
#ifndef BROKER_PROC_PARKED_SENDS_H
#define BROKER_PROC_PARKED_SENDS_H

#include "broker/proc/broker.h"
#include "broker/proc/send_header.h"

/* Handle a parked call again. `made` is OK when the topic exists and is saved, else why not, as
 * topic_wish.status tells. */
typedef void (*parked_resume)(struct broker *broker, struct call *call, enum status made);

#define PARKED_MAX_MS 3000

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
