/* SPDX-License-Identifier: Apache-2.0
 *
 * The property string of a message: name 0x01 value, joined with 0x02. Pure.
 */
#ifndef PROTO_PROPERTIES_H
#define PROTO_PROPERTIES_H

#include "common/base/buf.h"
#include "common/base/bytes.h"

#define PROPERTY_NAME_VALUE_SEPARATOR 0x01
#define PROPERTY_SEPARATOR 0x02

/* Names used by the servers. */
#define PROPERTY_KEYS "KEYS"
#define PROPERTY_TAGS "TAGS"
#define PROPERTY_WAIT "WAIT"
#define PROPERTY_DELAY "DELAY"
#define PROPERTY_RETRY_TOPIC "RETRY_TOPIC"
#define PROPERTY_REAL_TOPIC "REAL_TOPIC"
#define PROPERTY_REAL_QUEUE_ID "REAL_QID"
#define PROPERTY_TRANSACTION_PREPARED "TRAN_MSG"
#define PROPERTY_TRANSACTION_CHECK_TIMES "TRANSACTION_CHECK_TIMES"
#define PROPERTY_TRANSACTION_PREPARED_QUEUE_OFFSET "TRAN_PREPARED_QUEUE_OFFSET"
#define PROPERTY_CHECK_IMMUNITY_TIME "CHECK_IMMUNITY_TIME_IN_SECONDS"
#define PROPERTY_PRODUCER_GROUP "PGROUP"
#define PROPERTY_ORIGIN_MESSAGE_ID "ORIGIN_MESSAGE_ID"
#define PROPERTY_UNIQ_KEY "UNIQ_KEY"
#define PROPERTY_CLUSTER "CLUSTER"
#define PROPERTY_REPLY_TO_CLIENT "REPLY_TO_CLIENT"
#define PROPERTY_PUSH_REPLY_TIME "PUSH_REPLY_TIME"
#define PROPERTY_MSG_REGION "MSG_REGION"
#define PROPERTY_TRACE_ON "TRACE_ON"

/* RocketMQ 5: when to deliver, asked for by a client (one of three), and what becomes of it. */
#define PROPERTY_TIMER_DELAY_SEC "TIMER_DELAY_SEC"
#define PROPERTY_TIMER_DELAY_MS "TIMER_DELAY_MS"
#define PROPERTY_TIMER_DELIVER_MS "TIMER_DELIVER_MS"
#define PROPERTY_TIMER_OUT_MS "TIMER_OUT_MS" /* the time, once it is known */
#define PROPERTY_TIMER_ENQUEUE_MS "TIMER_ENQUEUE_MS"
#define PROPERTY_TIMER_DEQUEUE_MS "TIMER_DEQUEUE_MS"
#define PROPERTY_TIMER_ROLL_TIMES "TIMER_ROLL_TIMES"
#define PROPERTY_TIMER_DEL_UNIQKEY "TIMER_DEL_UNIQKEY" /* a cancel: "topic+unique key" */

/* Walk: start with *cursor = 0. Pieces that 4.9.2 drops (shorter than 3 characters, empty name,
 * empty value) are skipped. False at the end. */
bool properties_next(struct slice properties, size_t *cursor, struct slice *name,
                     struct slice *value);

/* The value of `name` (the last one when repeated, as in a Java map); false when absent.
 * name  holds neither separator */
bool properties_find(struct slice properties, struct slice name, struct slice *value);

/* Append one pair to a string under construction, with a separator in front when needed.
 * out   the string from its beginning, nothing in front of it
 * name, value  not empty; readers would drop the pair */
void properties_append(struct buf *out, struct slice name, struct slice value);

/* Append every pair of `properties` except those named `without`, as properties_append does. Pieces
 * that properties_next skips are left out; no separator at the end. */
void properties_append_except(struct buf *out, struct slice properties, struct slice without);

/* Java's String.hashCode over UTF-8 text: h = 31 h + c over its UTF-16 code units. Bytes that are
 * not UTF-8 count as the U+FFFD that Java's decoder puts in their place. */
int32_t java_string_hash(struct slice utf8);

/* The consume queue's tags code: hash of TAGS sign-extended, 0 without tags. */
int64_t tags_code(struct slice tags);

#endif
