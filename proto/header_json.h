/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON header codec, RocketMQ's default and therefore the hot path. Use it through
 * proto/command.h.
 */
#ifndef PROTO_HEADER_JSON_H
#define PROTO_HEADER_JSON_H

#include "proto/command.h"

/* As command_decode. Strings without escapes point into `header`; unescaped ones and the field
 * table are put into `arena`, together at most a small multiple of the header. */
enum status header_json_decode(struct slice header, struct arena *arena, struct command *out);

/* Append the header alone: compact, keys in the order of fastjson, its escapes.
 * returns  OK */
enum status header_json_encode(const struct command *command, struct buf *out);

#endif
