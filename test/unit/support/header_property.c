/* SPDX-License-Identifier: Apache-2.0
 *
 * The property of header decoders that fuzz targets check.
 */
#include "test/unit/support/header_property.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "test/unit/support/commands.h"

#define BLOCK_BYTES (16 * 1024)

/* The field tables of a header at the limit, as they grow, and a codec's own book-keeping. */
#define DECODE_BYTES_EXTRA (EXT_FIELDS_MAX * 1024)

static bool fits(const struct command *command, enum codec codec)
{
    if (codec != CODEC_ROCKETMQ)
        return true;
    if (command->code != (int16_t)command->code || command->version != (int16_t)command->version)
        return false;
    for (uint32_t i = 0; i < command->ext.count; i++)
        if (command->ext.fields[i].name.size > INT16_MAX)
            return false;
    return true;
}

static void through(const struct command *command, enum codec codec, struct arena *arena)
{
    struct buf first = BUF_EMPTY;
    struct buf second = BUF_EMPTY;
    struct frame frame;
    struct command got;
    CHECK(command_encode(codec, command, 0, &first) == STATUS_OK);
    CHECK(frame_split(buf_slice(&first), SIZE_MAX, &frame, NULL) == STATUS_OK);
    CHECK(frame.codec == codec && frame.body.size == 0);
    CHECK(command_decode(codec, frame.header, arena, &got) == STATUS_OK);
    struct command expected = command_carried(command, codec);
    CHECK(command_same(&got, &expected));
    CHECK(command_encode(codec, &got, 0, &second) == STATUS_OK);
    CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_release(&first);
    buf_release(&second);
}

void header_property(enum codec codec, struct slice header)
{
    static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ, CODEC_PROTOBUF};
    struct arena arena;
    struct command command;
    arena_init(&arena, BLOCK_BYTES);
    enum status status = command_decode(codec, header, &arena, &command);
    CHECK(status == STATUS_OK || status == STATUS_MALFORMED || status == STATUS_TOO_LARGE);
    CHECK(arena.used_bytes <= 4 * header.size + DECODE_BYTES_EXTRA);
    for (size_t i = 0; status == STATUS_OK && i < sizeof codecs / sizeof codecs[0]; i++)
        if (fits(&command, codecs[i]))
            through(&command, codecs[i], &arena);
    arena_release(&arena);
}
