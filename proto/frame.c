/* SPDX-License-Identifier: Apache-2.0
 *
 * Frame boundaries. Every length is compared before it is used; nothing behind the two length
 * words is looked at.
 */
#include "proto/frame.h"

#define LENGTH_BYTES 4 /* each of the two length words */
#define HEADER_BYTES_MASK 0xFFFFFFU

static bool codec_is_known(uint8_t codec)
{
    return codec == CODEC_JSON || codec == CODEC_ROCKETMQ || codec == CODEC_PROTOBUF;
}

enum status frame_split(struct slice in, size_t frame_bytes_max, struct frame *out, size_t *needed)
{
    size_t unused;
    if (needed == NULL)
        needed = &unused;
    *needed = FRAME_PREFIX_BYTES;
    if (in.size < LENGTH_BYTES)
        return STATUS_TRUNCATED;
    int32_t length = get_i32(in.data);
    if (length < LENGTH_BYTES)
        return STATUS_MALFORMED;
    size_t frame_bytes = LENGTH_BYTES + (size_t)length;
    if (frame_bytes > frame_bytes_max)
        return STATUS_TOO_LARGE;
    if (in.size > LENGTH_BYTES && !codec_is_known(in.data[LENGTH_BYTES]))
        return STATUS_MALFORMED;
    *needed = frame_bytes;
    if (in.size < FRAME_PREFIX_BYTES)
        return STATUS_TRUNCATED;
    size_t header_bytes = get_u32(in.data + LENGTH_BYTES) & HEADER_BYTES_MASK;
    if (header_bytes > frame_bytes - FRAME_PREFIX_BYTES)
        return STATUS_MALFORMED;
    if (in.size < frame_bytes)
        return STATUS_TRUNCATED;
    const uint8_t *header = in.data + FRAME_PREFIX_BYTES;
    *out = (struct frame){
        .codec = (enum codec)in.data[LENGTH_BYTES],
        .header = slice_of(header, header_bytes),
        .body = slice_of(header + header_bytes, frame_bytes - FRAME_PREFIX_BYTES - header_bytes),
        .frame_bytes = frame_bytes,
    };
    return STATUS_OK;
}
