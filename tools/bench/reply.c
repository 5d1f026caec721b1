/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON is scanned for strings followed by a colon. The wanted names occur once in an answer
 * whatever their depth, so nesting need not be followed.
 */
#include "tools/bench/reply.h"

#include "common/base/number.h"

/* code 2, language 1, version 2, opaque 4, flag 4, remark length 4 */
#define ROCKETMQ_FIXED_BYTES 17

static void take_number(struct slice name, struct slice value, struct reply *out)
{
    int64_t number;
    if (!parse_i64(value, &number))
        return;
    if (slice_is(name, "queueOffset"))
        out->queue_offset = number;
    else if (slice_is(name, "nextBeginOffset"))
        out->next_begin_offset = number;
    else if (slice_is(name, "opaque"))
        out->opaque = (uint32_t)number;
    else if (slice_is(name, "code"))
        out->code = (int32_t)number;
    else if (slice_is(name, "flag"))
        out->flag = (int32_t)number;
}

/* `*cursor` stands behind an opening quote; leaves it behind the closing one. */
static bool next_string(struct slice text, size_t *cursor, struct slice *out)
{
    size_t from = *cursor;
    for (size_t i = from; i < text.size; i++) {
        if (text.data[i] == '\\') {
            i++;
        } else if (text.data[i] == '"') {
            *out = slice_of(text.data + from, i - from);
            *cursor = i + 1;
            return true;
        }
    }
    return false;
}

static bool in_number(uint8_t c)
{
    return c == '-' || (c >= '0' && c <= '9');
}

static size_t skip_blanks(struct slice text, size_t i)
{
    while (i < text.size && text.data[i] <= ' ')
        i++;
    return i;
}

static bool read_json(struct slice text, struct reply *out)
{
    size_t i = 0;
    while (i < text.size) {
        if (text.data[i++] != '"')
            continue;
        struct slice name;
        if (!next_string(text, &i, &name))
            return false;
        i = skip_blanks(text, i);
        if (i >= text.size || text.data[i] != ':')
            continue;
        i = skip_blanks(text, i + 1);
        struct slice value;
        if (i < text.size && text.data[i] == '"') {
            i++;
            if (!next_string(text, &i, &value))
                return false;
            if (slice_is(name, "remark"))
                out->remark = value;
        } else {
            size_t from = i;
            while (i < text.size && in_number(text.data[i]))
                i++;
            value = slice_of(text.data + from, i - from);
        }
        take_number(name, value, out);
    }
    return true;
}

static bool read_rocketmq(struct slice header, struct reply *out)
{
    if (header.size < ROCKETMQ_FIXED_BYTES)
        return false;
    out->code = get_i16(header.data);
    out->opaque = get_u32(header.data + 5);
    out->flag = get_i32(header.data + 9);
    size_t remark_bytes = get_u32(header.data + 13);
    struct slice rest = slice_from(header, ROCKETMQ_FIXED_BYTES);
    if (rest.size < 4 || remark_bytes > rest.size - 4)
        return false;
    out->remark = slice_of(rest.data, remark_bytes);
    rest = slice_from(rest, remark_bytes + 4);
    while (rest.size > 6) {
        size_t name_bytes = get_u16(rest.data);
        if (name_bytes > rest.size - 6)
            return false;
        size_t value_bytes = get_u32(rest.data + 2 + name_bytes);
        if (value_bytes > rest.size - 6 - name_bytes)
            return false;
        take_number(slice_of(rest.data + 2, name_bytes),
                    slice_of(rest.data + 6 + name_bytes, value_bytes), out);
        rest = slice_from(rest, 6 + name_bytes + value_bytes);
    }
    return true;
}

bool reply_read(const struct frame *frame, struct reply *out)
{
    *out = (struct reply){.queue_offset = -1, .next_begin_offset = -1, .body = frame->body};
    return frame->codec == CODEC_JSON ? read_json(frame->header, out)
                                      : read_rocketmq(frame->header, out);
}
