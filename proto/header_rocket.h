/* SPDX-License-Identifier: Apache-2.0
 *
 * The ROCKETMQ (binary) header codec. Use it through proto/command.h.
 */
#ifndef PROTO_HEADER_ROCKET_H
#define PROTO_HEADER_ROCKET_H

#include "proto/command.h"

/* As command_decode; arena takes the field table only. */
enum status header_rocket_decode(struct slice header, struct arena *arena, struct command *out);

/* Append the header alone.
 * returns  OK | TOO_LARGE (a field name longer than 32,767 bytes, or code or version outside 16
 *          bits); then the end of `out` is undefined and the caller cuts it off */
enum status header_rocket_encode(const struct command *command, struct buf *out);

#endif
