/* SPDX-License-Identifier: Apache-2.0
 *
 * The answers to sends and to what is stored like one: every answer to a send carries the region
 * and the trace switch, also an error. Any thread.
 */
#ifndef BROKER_PROC_SEND_ANSWER_H
#define BROKER_PROC_SEND_ANSWER_H

#include "broker/proc/broker.h"

/* What the answer to a send that was taken says. */
struct stored_send {
    struct slice ids; /* message ids, with commas between them */
    int32_t queue_id;
    int64_t queue_offset;
    const char *recall_handle; /* of a timer; NULL: none */
};

/* remark  may be NULL */
void send_answer(const struct broker *broker, struct reply_to to, int32_t code, const char *remark,
                 const struct stored_send *stored);

/* An error. */
void send_fail(const struct broker *broker, struct reply_to to, int32_t code, const char *remark);

/* An error by what the store said of it. */
void send_refuse(struct broker *broker, struct reply_to to, enum put_status status);

/* The same for another request than a send, whose answers have no fields. */
void send_refuse_bare(struct broker *broker, struct reply_to to, enum put_status status);

/* The answer to a recall. message_id  of the message recalled */
void recall_answer(const struct broker *broker, struct reply_to to, const char *message_id,
                   bool stored);

#endif
