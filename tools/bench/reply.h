/* SPDX-License-Identifier: Apache-2.0
 *
 * The few members of an answer that the load generator needs, without decoding the rest: the
 * generator shares the machine with the server it measures. Pure.
 */
#ifndef TOOLS_BENCH_REPLY_H
#define TOOLS_BENCH_REPLY_H

#include "proto/frame.h"

struct reply {
    int32_t code;
    int32_t flag;
    uint32_t opaque;
    int64_t queue_offset;      /* -1: not there */
    int64_t next_begin_offset; /* -1: not there */
    struct slice remark;       /* JSON: still escaped */
    struct slice body;
};

/* False when the header cannot be read. Slices point into the frame. */
bool reply_read(const struct frame *frame, struct reply *out);

#endif
