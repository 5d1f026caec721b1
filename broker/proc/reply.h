/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies of request-reply (SEND_REPLY_MESSAGE, SEND_REPLY_MESSAGE_V2): a consumer answers a
 * request that a producer waits for. The broker pushes the reply to the requester's connection
 * (PUSH_REPLY_MESSAGE_TO_CLIENT), and stores it too while storeReplyMessageEnable is on.
 */
#ifndef BROKER_PROC_REPLY_H
#define BROKER_PROC_REPLY_H

#include "broker/proc/broker.h"
#include "broker/proc/send_header.h"

/* Take a reply that has passed the checks of a send. On the loop; the call is answered later.
 * topic     the topics' table's copy of the name
 * queue_id  where it is stored */
void reply_take(struct broker *broker, struct call *call, const struct send_header *header,
                const char *topic, int32_t queue_id);

#endif
