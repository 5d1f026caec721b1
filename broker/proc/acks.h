/* SPDX-License-Identifier: Apache-2.0
 *
 * The acknowledgement of sends: from "in this turn's batch" over "in the log" to "answered". One
 * per loop. An answer leaves only when what it promises is true:
 * - appended, and, unless the message said WAIT=false,
 * - with SYNC_FLUSH, below the store's flushed watermark, and
 * - with SYNC_MASTER, on a slave, below the watermark of the replicas.
 * What the broker writes for itself waits for nobody, as in 4.9.2: copies of half messages, markers
 * and dead letters of their check, delayed messages and timers that are delivered, checkpoints of
 * pops.
 */
#ifndef BROKER_PROC_ACKS_H
#define BROKER_PROC_ACKS_H

#include "broker/proc/broker.h"

/* Makes bl->batch, and replaces it when it is handed over. */
struct acks *acks_new(struct broker_loop *bl);
/* After the appender has stopped and the loop is settled. */
void acks_free(struct acks *acks);

/* A send whose `records` records were the last ones added to the loop's batch.
 * topic     where they are stored; the topics' table's copy of the name
 * queue_id  what the answer shows
 * wait      the message asked to wait for disk and slave */
void acks_add(struct acks *acks, struct reply_to to, struct slice topic, int32_t queue_id,
              int records, bool wait);

/* Where a message lies that somebody else answers for. */
struct stored_place {
    int64_t pos; /* of its record in the log */
    int64_t queue_offset;
};

/* The same for a message whose sender gets his answer from elsewhere: `told` is called once, on the
 * loop, when the message is as durable as it asked for or its time is up; place is NULL when it was
 * not stored. */
typedef void (*acks_told)(void *ctx, const struct stored_place *place);
void acks_add_told(struct acks *acks, struct slice topic, bool wait, acks_told told, void *ctx);

/* The same for another request than a send: it is answered without fields, SUCCESS once the records
 * are as durable as a send's, or a slave is late or missing, else as send_refuse_bare does. */
void acks_add_bare(struct acks *acks, struct reply_to to, int records);

/* The same for the end of a transaction that was claimed (transaction_ends.h): it is settled or
 * released when the records are in the log or refused. */
void acks_add_end(struct acks *acks, struct reply_to to, int records, int64_t origin,
                  int32_t outcome);

/* Have the answer to the send added last name the handle of its timer.
 * handle  malloc'ed, taken over; NULL: nothing to do */
void acks_set_recall_handle(struct acks *acks, char *handle);

/* A recall, whose cancel was the last record added to the loop's batch. Answered with msgId.
 * unique_key  copied */
void acks_add_recall(struct acks *acks, struct reply_to to, struct slice topic,
                     struct slice unique_key);

/* Records of our own in the batch that nobody waits for. */
void acks_add_silent(struct acks *acks, int records);

/* A worker has appended something for a call, the bytes [pos, end_pos) of the log: answer SUCCESS,
 * without fields, once it is as durable as a send, or a slave is late or missing, and SYSTEM_ERROR
 * when the disk is late. Any thread. */
void acks_answer_stored(struct broker *broker, struct reply_to to, int64_t pos, int64_t end_pos);

/* As many sends of the loop wait for disk and slave as may (sendThreadPoolQueueCapacity), or their
 * bytes. The last quarter is for connections that have little under way, so that one that has much
 * cannot take all.
 * under_way  struct call's, of the send in question */
bool acks_full(const struct acks *acks, int64_t under_way);

/* Any thread: how many sends wait to be appended because the disk is slow, and since when (by the
 * monotonic clock) the oldest does, 0 when none. */
void acks_queue(const struct acks *acks, int64_t *sends, int64_t *since_ms);

/* Append the loop's batch and answer what may be answered, or have that done by the appender. At
 * the end of each turn, and earlier when the batch is large. */
void acks_commit(struct acks *acks);

/* The same if the batch has grown so large that it should not wait for the turn's end. When a send
 * has been added as a whole. */
void acks_commit_large(struct acks *acks);

/* The log is durable further than before: store_listener.on_flushed, and `moved` of the replicas,
 * for the whole broker; any thread. */
void acks_on_watermark(void *broker);

#endif
