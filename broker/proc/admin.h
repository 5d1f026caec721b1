/* SPDX-License-Identifier: Apache-2.0
 *
 * What the admin processors share.
 */
#ifndef BROKER_PROC_ADMIN_H
#define BROKER_PROC_ADMIN_H

#include "broker/proc/broker.h"

/* A queue of this broker as a body, in the arena. */
MessageQueue *admin_message_queue(const struct broker *broker, struct arena *arena,
                                  const char *topic, int32_t queue_id);

/* For store_delete_queues, ctx being the broker: queues whose topic is gone, save for those that
 * never have a topic of their own (TP-08). */
bool admin_queue_has_no_topic(void *broker, struct slice topic);

#endif
