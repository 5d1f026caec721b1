/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows where frame_split sees the end of a frame, and that it reports errors as early as the bytes
 * at hand allow. Rules: proto/frame.h; the limit and the refusals are those of Netty's
 * LengthFieldBasedFrameDecoder as 4.9.2 sets it up (NettyDecoder).
 */
#include "proto/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/limits.h"

static enum status split(const char *bytes, size_t size, struct frame *frame, size_t *needed)
{
    return frame_split(slice_of(bytes, size), FRAME_BYTES_MAX, frame, needed);
}

static void splits_header_and_body(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\0\x0B\1\0\0\3abcBODYnext";
    struct frame frame;
    assert_int_equal(split(bytes, sizeof bytes - 1, &frame, NULL), STATUS_OK);
    assert_int_equal(frame.codec, CODEC_ROCKETMQ);
    assert_true(slice_is(frame.header, "abc"));
    assert_true(slice_is(frame.body, "BODY"));
    assert_int_equal(frame.frame_bytes, 15);
}

static void knows_three_codecs(void **state)
{
    (void)state;
    for (int codec = 0; codec < 256; codec++) {
        char bytes[] = {0, 0, 0, 4, (char)codec, 0, 0, 0};
        struct frame frame;
        bool known = codec == CODEC_JSON || codec == CODEC_ROCKETMQ || codec == CODEC_PROTOBUF;
        enum status expected = known ? STATUS_OK : STATUS_MALFORMED;
        assert_int_equal(split(bytes, 8, &frame, NULL), expected);
        assert_int_equal(split(bytes, 5, &frame, NULL),
                         known ? STATUS_TRUNCATED : STATUS_MALFORMED);
    }
}

static void tells_what_is_needed(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\0\x0A\0\0\0\2{}body";
    struct frame frame;
    for (size_t size = 0; size < 14; size++) {
        size_t needed = 0;
        assert_int_equal(split(bytes, size, &frame, &needed), STATUS_TRUNCATED);
        assert_int_equal(needed, size < 4 ? 8 : 14);
    }
    assert_int_equal(split(bytes, 14, &frame, NULL), STATUS_OK);
}

static void header_may_be_empty_and_fill_the_frame(void **state)
{
    (void)state;
    struct frame frame;
    assert_int_equal(split("\0\0\0\4\0\0\0\0", 8, &frame, NULL), STATUS_OK);
    assert_int_equal(frame.header.size, 0);
    assert_int_equal(frame.body.size, 0);
    assert_int_equal(split("\0\0\0\6\0\0\0\2{}", 10, &frame, NULL), STATUS_OK);
    assert_int_equal(frame.body.size, 0);
    assert_int_equal(split("\0\0\0\6\0\0\0\3{}", 10, &frame, NULL), STATUS_MALFORMED);
}

static void refuses_bad_lengths_at_once(void **state)
{
    (void)state;
    struct frame frame;
    assert_int_equal(split("\0\0\0\3", 4, &frame, NULL), STATUS_MALFORMED);
    assert_int_equal(split("\0\0\0\0", 4, &frame, NULL), STATUS_MALFORMED);
    assert_int_equal(split("\xFF\xFF\xFF\xFF", 4, &frame, NULL), STATUS_MALFORMED);
    assert_int_equal(split("\x7F\xFF\xFF\xFF", 4, &frame, NULL), STATUS_TOO_LARGE);
    /* The header reaches beyond the frame: said before the frame is complete. */
    assert_int_equal(split("\0\0\1\0\0\0\0\xFD", 8, &frame, NULL), STATUS_MALFORMED);
    /* A TLS ClientHello, should one get here. */
    assert_int_equal(split("\x16\3\1\2\0", 5, &frame, NULL), STATUS_TOO_LARGE);
}

static void limit_includes_the_length_field(void **state)
{
    (void)state;
    uint8_t bytes[8] = {0};
    struct frame frame;
    size_t needed;
    put_u32(bytes, FRAME_BYTES_MAX - 4);
    assert_int_equal(frame_split(slice_of(bytes, 8), FRAME_BYTES_MAX, &frame, &needed),
                     STATUS_TRUNCATED);
    assert_int_equal(needed, FRAME_BYTES_MAX);
    put_u32(bytes, FRAME_BYTES_MAX - 3);
    assert_int_equal(frame_split(slice_of(bytes, 8), FRAME_BYTES_MAX, &frame, NULL),
                     STATUS_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_header_and_body),
        cmocka_unit_test(knows_three_codecs),
        cmocka_unit_test(tells_what_is_needed),
        cmocka_unit_test(header_may_be_empty_and_fill_the_frame),
        cmocka_unit_test(refuses_bad_lengths_at_once),
        cmocka_unit_test(limit_includes_the_length_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
