/* SPDX-License-Identifier: Apache-2.0
 *
 * Every fixed limit of the program, with its unit and the reason for its value. Limits that a user
 * may set live in the configuration tables instead.
 */
#ifndef COMMON_BASE_LIMITS_H
#define COMMON_BASE_LIMITS_H

/* RocketMQ's com.rocketmq.remoting.frameMaxLength default; includes the length field. */
#define FRAME_BYTES_MAX 16777216

/* A topic's length is a signed byte in the record, the properties' a signed short. */
#define TOPIC_BYTES_MAX 127
#define PROPERTIES_BYTES_MAX 32767

/* Group names: the Java client refuses more than this. */
#define GROUP_BYTES_MAX 255

/* Fields of one command header. The widest header of 4.9.2 has 18; unknown ones ride along. */
#define EXT_FIELDS_MAX 256

/* Nesting of JSON in bodies; the deepest real body has 6 levels. */
#define JSON_DEPTH_MAX 64

/* Bytes that one request's arena may hold for decoding a body (a JSON tree is several times its
 * text). Beyond it the request is refused. */
#define DECODE_BYTES_MAX (256 * 1024 * 1024)

/* Queues of one topic: beyond this a topic command is refused (4.9.2 has no limit). */
#define TOPIC_QUEUES_MAX 65536

#endif
