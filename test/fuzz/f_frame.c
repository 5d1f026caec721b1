/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a stream of frames. Cutting the stream must not depend on how many bytes have
 * arrived: with fewer bytes the answer is "wait", or the same error already; `needed` is never too
 * much. Headers are given to the decoders as well.
 */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "test/unit/support/header_property.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What arrives bit by bit gives the verdict that all of it gives. */
static void check_prefixes(struct slice stream, enum status verdict, size_t frame_bytes)
{
    size_t shown_max = stream.size < 64 ? stream.size : 64;
    bool failed = false;
    for (size_t shown = 0; shown < shown_max; shown++) {
        struct frame frame;
        size_t needed = 0;
        enum status status =
            frame_split(slice_of(stream.data, shown), FRAME_BYTES_MAX, &frame, &needed);
        if (status == STATUS_OK) {
            CHECK(verdict == STATUS_OK && frame.frame_bytes == frame_bytes && shown >= frame_bytes);
        } else if (status == STATUS_TRUNCATED) {
            CHECK(!failed && needed > shown && needed >= FRAME_PREFIX_BYTES);
            CHECK(verdict != STATUS_OK || needed <= frame_bytes);
        } else {
            CHECK(status == verdict);
            failed = true;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice stream = slice_of(data, size);
    while (stream.size > 0) {
        struct frame frame = {0};
        enum status status = frame_split(stream, FRAME_BYTES_MAX, &frame, NULL);
        check_prefixes(stream, status, frame.frame_bytes);
        if (status != STATUS_OK)
            break;
        CHECK(frame.frame_bytes == FRAME_PREFIX_BYTES + frame.header.size + frame.body.size);
        CHECK(frame.frame_bytes <= stream.size);
        CHECK(frame.header.data == stream.data + FRAME_PREFIX_BYTES);
        CHECK(frame.body.data == frame.header.data + frame.header.size);
        header_property(frame.codec, frame.header);
        stream = slice_from(stream, frame.frame_bytes);
    }
    return 0;
}
