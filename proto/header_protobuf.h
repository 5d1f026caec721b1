/* SPDX-License-Identifier: Apache-2.0
 *
 * The PROTOBUF header codec, spoken between our own programs only. The envelope is CommandHeader
 * of command.proto. Use it through proto/command.h.
 */
#ifndef PROTO_HEADER_PROTOBUF_H
#define PROTO_HEADER_PROTOBUF_H

#include "proto/command.h"

/* As command_decode; everything is copied into `arena`, which grows by a bounded multiple of the
 * header. */
enum status header_protobuf_decode(struct slice header, struct arena *arena, struct command *out);

/* Append the header alone.
 * returns  OK | TOO_LARGE (more than EXT_FIELDS_MAX fields) */
enum status header_protobuf_encode(const struct command *command, struct buf *out);

#endif
