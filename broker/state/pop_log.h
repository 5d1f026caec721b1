/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of the revive log: what RocketMQ 5.3.3 writes into its topic
 * rmq_sys_REVIVE_LOG_<cluster>, as JSON. A checkpoint has the tag `ck` and says in `bm` what of it
 * was acknowledged when it was written; later acknowledgements have the tags `ack` (one message)
 * and `bAck`. Pure.
 * Source: RMQ 5.3.3 store/.../pop/PopCheckPoint.java, AckMsg.java, BatchAckMsg.java.
 */
#ifndef BROKER_STATE_POP_LOG_H
#define BROKER_STATE_POP_LOG_H

#include "broker/state/pop_ledger.h"
#include "common/base/arena.h"
#include "common/base/buf.h"

#define POP_LOG_TOPIC_PREFIX "rmq_sys_REVIVE_LOG_"
#define POP_LOG_GROUP "CID_RMQ_SYS_REVIVE_GROUP"
#define POP_LOG_TAG_POINT "ck"
#define POP_LOG_TAG_ACK "ack"
#define POP_LOG_TAG_ACKS "bAck"

/* Append a record's body. */
void pop_log_encode_point(const struct pop_view *view, uint32_t acked, const char *broker_name,
                          struct arena *arena, struct buf *out);
void pop_log_encode_acks(const struct pop_view *view, uint32_t bits, const char *broker_name,
                         struct arena *arena, struct buf *out);

/* Read one back; names and offsets are put into the arena. view->revive_queue stays 0.
 * returns  OK | MALFORMED (not such a body, or its numbers do not fit together) */
MUST_CHECK enum status pop_log_decode_point(struct slice body, struct arena *arena,
                                            struct pop_view *out);
MUST_CHECK enum status pop_log_decode_acks(struct slice body, struct arena *arena,
                                           struct pop_name *out, int64_t **offsets, size_t *count);

#endif
