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

/* A queue as it can be asked about: one that does not exist is empty. */
struct admin_bounds {
    struct queue *queue; /* NULL: there is none */
    int64_t min_offset;
    int64_t max_offset;
};

struct admin_bounds admin_bounds_of(struct broker *broker, const char *topic, int32_t queue_id);

/* When the message at an offset was stored, `otherwise` when there is none. May read from disk. */
int64_t admin_time_at(const struct admin_bounds *bounds, int64_t queue_offset, int64_t otherwise);

/* Whether a topic is shown among those that a group consumes: a group that is online and subscribes
 * to something is shown with these topics only. */
bool admin_is_consumed(struct broker *broker, struct slice group, struct slice topic);

/* For store_delete_queues, ctx being the broker: queues whose topic is gone, save for those that
 * never have a topic of their own (TP-08). */
bool admin_queue_has_no_topic(void *broker, struct slice topic);

#endif
