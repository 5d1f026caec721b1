/* SPDX-License-Identifier: Apache-2.0
 *
 * The outer layer of the remoting protocol: where one frame ends and which codec its header uses.
 * Pure: no I/O, no allocation.
 *
 *     int32  length            bytes behind this field
 *     uint8  serialize type    enum codec
 *     uint24 header length
 *     header, body
 */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "common/base/bytes.h"
#include "common/base/status.h"

/* The serialize type byte. JSON and ROCKETMQ are RocketMQ's; PROTOBUF is spoken only between our
 * own programs, after the peer has announced it (docs/decisions/0002-protobuf-headers.md). */
enum codec {
    CODEC_JSON = 0,
    CODEC_ROCKETMQ = 1,
    CODEC_PROTOBUF = 80,
};

#define FRAME_PREFIX_BYTES 8 /* both length words */

struct frame {
    enum codec codec;
    struct slice header; /* borrowed from the input */
    struct slice body;
    size_t frame_bytes; /* all of it, length field included */
};

/* Find the first frame in `in`.
 * frame_bytes_max  largest frame accepted, length field included
 * out              filled when OK
 * needed           out, may be NULL: when TRUNCATED, how many bytes of input the frame takes (at
 *                  least 8, exact once 4 bytes are there); lets a reader size its buffer
 * returns  OK | TRUNCATED | TOO_LARGE | MALFORMED (header longer than frame, negative length,
 *          unknown serialize type); the last two mean: close the connection. They are reported as
 *          early as the bytes at hand allow. */
enum status frame_split(struct slice in, size_t frame_bytes_max, struct frame *out, size_t *needed);

#endif
