/* SPDX-License-Identifier: Apache-2.0
 *
 * A message on its way into the log: the rules that every put of 4.9.2 follows, whoever asks for
 * it. Properties are rewritten (CLUSTER added, WAIT taken out), and delayed messages go to the
 * schedule topic with their real target in two properties.
 */
#ifndef BROKER_PROC_DRAFT_H
#define BROKER_PROC_DRAFT_H

#include "broker/proc/broker.h"

/* What the properties of a message ask of the broker. */
struct property_wishes {
    bool wait;           /* WAIT is not false */
    bool transaction;    /* TRAN_MSG=true */
    int32_t delay_level; /* DELAY, 0 when absent or not a number */
    struct slice retry_topic;
    struct slice unique_key;
    /* RocketMQ 5's times of delivery, as they were written; see wishes_timer. */
    struct slice timer_delay_sec;
    struct slice timer_delay_ms;
    struct slice timer_deliver_ms;
    bool timer_known;  /* TIMER_OUT_MS: it was a timer already */
    bool timer_cancel; /* TIMER_DEL_UNIQKEY */
};

/* Does the message name a time of delivery that counts? A delay level goes before it. */
bool wishes_timer(const struct property_wishes *wishes);

/* Append `properties` to `out` as they are stored: without WAIT, with CLUSTER (SD-14), and read the
 * wishes on the way. keep_wait: leave WAIT in, as 4.9.2 does for messages that it encodes again. */
void properties_rewrite(struct slice properties, struct slice cluster, bool keep_wait,
                        struct buf *out, struct property_wishes *wishes);

/* Read the wishes only. */
void properties_read_wishes(struct slice properties, struct property_wishes *wishes);

/* When `level` > 0 turn the record into one of SCHEDULE_TOPIC_XXXX: REAL_TOPIC and REAL_QID are
 * appended to its properties, which must be the contents of `properties` (a level above the last is
 * cut to it and DELAY rewritten, RT-10).
 * record      topic, queue_id and properties are changed
 * returns     the level used, 0 when not delayed */
int draft_delay(struct broker *broker, int32_t level, struct buf *properties,
                struct record *record);

/* Append one record from a worker thread, at once, nobody waiting for the disk. Takes
 * worker_batch_lock (docs/locks.md). PUT_PAGE_CACHE_BUSY when the disk holds up other appends: one
 * worker may be held up with them, not all. */
struct append_result draft_append_now(struct broker *broker, const struct record *record);

/* Records that are in the log together, or not at all. */
#define DRAFT_RECORDS_MAX 2

/* Add such records, at most DRAFT_RECORDS_MAX, to a batch.
 * returns  OK | TOO_LARGE (or a topic that no queue can have; nothing was added) */
enum status draft_add(struct broker *broker, struct append_batch *batch,
                      const struct record *records, int count);

/* The same at once, from a worker thread, as draft_append_now; the result of the last one,
 * but pos is the first one's. */
struct append_result draft_append_all(struct broker *broker, const struct record *records,
                                      int count);

#endif
