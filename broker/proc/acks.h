/* SPDX-License-Identifier: Apache-2.0
 *
 * The acknowledgement of sends: from "in this turn's batch" over "in the log" to "answered". One
 * per loop. An answer leaves only when what it promises is true:
 * - appended, and
 * - with SYNC_FLUSH, below the store's flushed watermark, unless the message said WAIT=false, and
 * - with SYNC_MASTER, on a slave (none exists before replication is built: SLAVE_NOT_AVAILABLE).
 */
#ifndef BROKER_PROC_ACKS_H
#define BROKER_PROC_ACKS_H

#include "broker/proc/broker.h"

struct acks *acks_new(struct broker_loop *bl);
void acks_free(struct acks *acks);

/* A send whose `records` records were the last ones added to the loop's batch.
 * topic     where they are stored; the topics' table's copy of the name
 * queue_id  what the answer shows
 * wait      the message asked to wait for disk and slave */
void acks_add(struct acks *acks, struct reply_to to, struct slice topic, int32_t queue_id,
              int records, bool wait);

/* Have the answer to the send added last name the handle of its timer.
 * handle  malloc'ed, taken over; NULL: nothing to do */
void acks_set_recall_handle(struct acks *acks, char *handle);

/* A recall, whose cancel was the last record added to the loop's batch. Answered with msgId.
 * unique_key  copied */
void acks_add_recall(struct acks *acks, struct reply_to to, struct slice topic,
                     struct slice unique_key);

/* Records of our own in the batch that nobody waits for. */
void acks_add_silent(struct acks *acks, int records);

/* A worker has appended something for a call, up to end_pos: answer SUCCESS, without fields, once
 * it is as durable as flushDiskType promises, else SYSTEM_ERROR. Any thread. */
void acks_answer_stored(struct broker *broker, struct reply_to to, int64_t end_pos);

/* Sends that are not answered yet. */
size_t acks_pending(const struct acks *acks);

/* Append the loop's batch and answer what may be answered. At the end of each turn, and earlier
 * when the batch is large. */
void acks_commit(struct acks *acks);

/* store_listener.on_flushed for the whole broker; any thread. */
void acks_on_flushed(void *broker);

/* An error answer to a send: every answer to a send carries the region and the trace switch. */
void send_fail(struct broker *broker, struct reply_to to, int32_t code, const char *remark);

#endif
