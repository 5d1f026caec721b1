/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the golden frames and writes each again by our encoder, in both of RocketMQ's codecs, for
 * Java's decoder to judge. Prints lines of "row number, codec, frame in hexadecimal digits", parted
 * by tabs. Commands that ROCKETMQ cannot carry (codes beyond 16 bits) are left out there.
 *
 * Usage: reencode test/data/frames.tsv
 */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/command.h"
#include "test/unit/support/tsv.h"

#include <stdio.h>

static void print_frame(size_t row, enum codec codec, struct slice frame)
{
    printf("%zu\t%s\t", row, codec == CODEC_JSON ? "JSON" : "ROCKETMQ");
    for (size_t i = 0; i < frame.size; i++)
        printf("%02x", frame.data[i]);
    printf("\n");
}

static void reencode(struct tsv *golden, size_t row, struct buf *out)
{
    static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ};
    struct slice bytes = hex_bytes(&golden->arena, tsv_cell(golden, row, "frame_hex"));
    struct frame frame;
    struct command command;
    CHECK(frame_split(bytes, FRAME_BYTES_MAX, &frame, NULL) == STATUS_OK);
    CHECK(command_decode(frame.codec, frame.header, &golden->arena, &command) == STATUS_OK);
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        buf_clear(out);
        if (command_encode(codecs[i], &command, frame.body.size, out) != STATUS_OK) {
            CHECK(codecs[i] == CODEC_ROCKETMQ && frame.codec == CODEC_JSON);
            continue;
        }
        buf_append_slice(out, frame.body);
        print_frame(row, codecs[i], buf_slice(out));
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: reencode FRAMES.tsv\n");
        return 2;
    }
    struct tsv golden;
    struct buf out = BUF_EMPTY;
    tsv_load(&golden, argv[1]);
    for (size_t row = 0; row < golden.row_count; row++)
        reencode(&golden, row, &out);
    buf_release(&out);
    tsv_release(&golden);
    return 0;
}
