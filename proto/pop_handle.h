/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts of pop consumption: the handle that a consumer gives back for a message (property
 * POP_CK, header field extraInfo), the lists of a pop's answer that the handle is made from, and
 * the bit set of a batch of acknowledgements. Pure.
 *
 *     handle          start popTime invisibleTime reviveQid retry brokerName queueId [queueOffset]
 *     startOffsetInfo retry queueId start            ; between queues
 *     msgOffsetInfo   retry queueId offset,offset    ; between queues
 *
 * with one blank between the parts; retry is 0 for the topic, 1 for its pop retry topic, 2 for one
 * named as enableRetryTopicV2 does.
 * Source: RMQ 5.3.3 remoting/.../ExtraInfoUtil.java, common/.../KeyBuilder.java.
 */
#ifndef PROTO_POP_HANDLE_H
#define PROTO_POP_HANDLE_H

#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

#define PROPERTY_POP_CK "POP_CK"
#define PROPERTY_FIRST_POP_TIME "1ST_POP_TIME"

/* The revive queue of orderly pops, which have no checkpoint. */
#define POP_ORDER_REVIVE_QUEUE 999

struct pop_handle {
    int64_t start_offset; /* of the pop in its queue */
    int64_t pop_time_ms;
    int64_t invisible_ms;
    int32_t revive_queue;
    int32_t retry;
    int32_t queue_id;
    struct slice broker_name;
    bool has_queue_offset;
    int64_t queue_offset;
};

/* Parts behind the eighth are ignored, as in 5.3.3.
 * returns  OK | MALFORMED (fewer than seven parts, or one that is no number) */
enum status pop_handle_parse(struct slice text, struct pop_handle *out);

void pop_handle_format(const struct pop_handle *handle, struct buf *out);

/* What is said of a queue's topic. */
enum pop_retry {
    POP_RETRY_NONE, /* the topic itself */
    POP_RETRY_V1,   /* its pop retry topic */
    POP_RETRY_V2,   /* the same with enableRetryTopicV2 */
};

/* Append one queue's part. */
void pop_start_info_append(struct buf *out, enum pop_retry retry, int32_t queue_id,
                           int64_t start_offset);
void pop_message_info_append(struct buf *out, enum pop_retry retry, int32_t queue_id,
                             const int64_t *offsets, int count);

/* The set bits of a BitSet as fastjson prints it: base64 of its bytes, the lowest bit first.
 * out      room for max_count indexes, ascending
 * count    out
 * returns  OK | MALFORMED (not base64) | TOO_LARGE (more bits are set) */
enum status pop_bits_parse(struct slice base64, int32_t *out, int max_count, int *count);

/* "%RETRY%group_topic", where messages go that were popped and not acknowledged; with V2
 * "%RETRY%group+topic".
 * retry  V1 or V2 */
void pop_retry_topic(struct slice topic, struct slice group, enum pop_retry retry, struct buf *out);

#endif
