/* SPDX-License-Identifier: Apache-2.0
 *
 * Handles and lists of pop consumption. Java's String.split drops empty parts at the end only; an
 * empty part elsewhere is no number and refuses the handle, which is what 5.3.3 does as well.
 */
#include "proto/pop_handle.h"

#include "common/base/number.h"

#define BLANK ' '

static bool next_part(struct slice *rest, struct slice *part)
{
    if (rest->size == 0)
        return false;
    const uint8_t *end = memchr(rest->data, BLANK, rest->size);
    size_t size = end == NULL ? rest->size : (size_t)(end - rest->data);
    *part = slice_of(rest->data, size);
    *rest = slice_from(*rest, end == NULL ? size : size + 1);
    return true;
}

static bool next_i64(struct slice *rest, int64_t *out)
{
    struct slice part;
    return next_part(rest, &part) && parse_i64(part, out);
}

static bool next_i32(struct slice *rest, int32_t *out)
{
    struct slice part;
    return next_part(rest, &part) && parse_i32(part, out);
}

enum status pop_handle_parse(struct slice text, struct pop_handle *out)
{
    struct slice rest = text;
    *out = (struct pop_handle){0};
    if (!next_i64(&rest, &out->start_offset) || !next_i64(&rest, &out->pop_time_ms) ||
        !next_i64(&rest, &out->invisible_ms) || !next_i32(&rest, &out->revive_queue) ||
        !next_i32(&rest, &out->retry) || !next_part(&rest, &out->broker_name) ||
        !next_i32(&rest, &out->queue_id))
        return STATUS_MALFORMED;
    out->has_queue_offset = rest.size > 0;
    if (out->has_queue_offset && !next_i64(&rest, &out->queue_offset))
        return STATUS_MALFORMED;
    return STATUS_OK;
}

static void append_part(struct buf *out, int64_t value)
{
    buf_append_number(out, value);
    buf_append_byte(out, BLANK);
}

void pop_handle_format(const struct pop_handle *handle, struct buf *out)
{
    append_part(out, handle->start_offset);
    append_part(out, handle->pop_time_ms);
    append_part(out, handle->invisible_ms);
    append_part(out, handle->revive_queue);
    append_part(out, handle->retry);
    buf_append_slice(out, handle->broker_name);
    buf_append_byte(out, BLANK);
    buf_append_number(out, handle->queue_id);
    if (handle->has_queue_offset) {
        buf_append_byte(out, BLANK);
        buf_append_number(out, handle->queue_offset);
    }
}

static void begin_queue(struct buf *out, enum pop_retry retry, int32_t queue_id)
{
    if (out->size > 0)
        buf_append_byte(out, ';');
    append_part(out, retry);
    append_part(out, queue_id);
}

void pop_start_info_append(struct buf *out, enum pop_retry retry, int32_t queue_id,
                           int64_t start_offset)
{
    begin_queue(out, retry, queue_id);
    buf_append_number(out, start_offset);
}

void pop_message_info_append(struct buf *out, enum pop_retry retry, int32_t queue_id,
                             const int64_t *offsets, int count)
{
    begin_queue(out, retry, queue_id);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append_number(out, offsets[i]);
    }
}

/* -1: no base64 digit. */
static int digit_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum status pop_bits_parse(struct slice base64, int32_t *out, int max_count, int *count)
{
    uint32_t bits = 0; /* read and not used yet, in the low `held` bits */
    int held = 0;
    int32_t byte_at = 0;
    *count = 0;
    while (base64.size > 0 && base64.data[base64.size - 1] == '=')
        base64.size--;
    if (base64.size > INT32_MAX / 8)
        return STATUS_TOO_LARGE;
    for (size_t i = 0; i < base64.size; i++) {
        int digit = digit_of(base64.data[i]);
        if (digit < 0)
            return STATUS_MALFORMED;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        uint32_t byte = bits >> held & 0xFF;
        for (int bit = 0; bit < 8; bit++) {
            if ((byte >> bit & 1) == 0)
                continue;
            if (*count == max_count)
                return STATUS_TOO_LARGE;
            out[(*count)++] = byte_at * 8 + bit;
        }
        byte_at++;
    }
    return STATUS_OK;
}

void pop_retry_topic(struct slice topic, struct slice group, enum pop_retry retry, struct buf *out)
{
    buf_append_cstr(out, "%RETRY%");
    buf_append_slice(out, group);
    buf_append_byte(out, retry == POP_RETRY_V2 ? '+' : '_');
    buf_append_slice(out, topic);
}
