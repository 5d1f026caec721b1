/* SPDX-License-Identifier: Apache-2.0
 *
 * A record of rmq_sys_wheel_timer: what it asks for, and the records that it becomes. Pure.
 * Source: RMQ 5.3.3 store/.../timer/TimerMessageStore.java.
 */
#ifndef BROKER_STATE_TIMER_MESSAGE_H
#define BROKER_STATE_TIMER_MESSAGE_H

#include "broker/state/timer_format.h"
#include "common/base/buf.h"
#include "proto/record.h"

struct timer_message {
    int64_t due_ms;
    bool cancel;
    struct slice topic; /* the real one */
    int32_t queue_id;
    /* What is cancelled, or what would cancel this: "topic+unique key". In `key`. */
    struct slice cancel_key;
};

/* key      the caller's; holds what cancel_key points to, until the next call
 * returns  NULL, or why the record cannot be a timer */
const char *timer_message_read(const struct record *record, struct buf *key,
                               struct timer_message *out);

/* The entry of a record as it lies in the log. */
struct timer_entry timer_message_entry(const struct record *record,
                                       const struct timer_message *message);

/* Turn the stored record into the one to deliver: real topic and queue; TIMER_ENQUEUE_MS (when it
 * was stored) and TIMER_DEQUEUE_MS (now) are added. Where the properties have no room for these
 * they are left out. properties  the caller's, used for the new string */
void timer_message_deliver(struct record *record, const struct timer_message *message,
                           int64_t now_ms, struct buf *properties);

/* Turn it into a copy for the same topic, that is in a newer part of the log: TIMER_ROLL_TIMES
 * counts. */
void timer_message_roll(struct record *record, struct buf *properties);

#endif
