/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 by RFC 4648, section 5. As Java's decoder it takes text with or without padding, and no
 * other characters.
 */
#include "broker/proc/recall_handle.h"

#define WORDS 5
#define PADDING '='

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64_encode(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.size; i += 3) {
        size_t left = in.size - i;
        uint32_t bits = (uint32_t)in.data[i] << 16;
        bits |= left > 1 ? (uint32_t)in.data[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)in.data[i + 2] : 0;
        buf_append_byte(out, (uint8_t)alphabet[bits >> 18]);
        buf_append_byte(out, (uint8_t)alphabet[bits >> 12 & 63]);
        buf_append_byte(out, left > 1 ? (uint8_t)alphabet[bits >> 6 & 63] : PADDING);
        buf_append_byte(out, left > 2 ? (uint8_t)alphabet[bits & 63] : PADDING);
    }
}

static int value_of(uint8_t c)
{
    const char *found = c == 0 ? NULL : strchr(alphabet, c);
    return found == NULL ? -1 : (int)(found - alphabet);
}

static bool base64_decode(struct slice in, struct buf *out)
{
    size_t size = in.size;
    uint32_t bits = 0;
    if (in.size % 4 == 0)
        for (int i = 0; i < 2 && size > 0 && in.data[size - 1] == PADDING; i++)
            size--;
    if (size % 4 == 1)
        return false;
    for (size_t i = 0; i < size; i++) {
        int value = value_of(in.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 == 1)
            buf_append_byte(out, (uint8_t)(bits >> 4));
        else if (i % 4 == 2)
            buf_append_byte(out, (uint8_t)(bits >> 2));
        else if (i % 4 == 3)
            buf_append_byte(out, (uint8_t)bits);
    }
    return true;
}

void recall_handle_encode(const struct recall_handle *handle, struct buf *out)
{
    struct buf text = BUF_EMPTY;
    buf_append_cstr(&text, "v1 ");
    buf_append_slice(&text, handle->topic);
    buf_append_byte(&text, ' ');
    buf_append_slice(&text, handle->broker_name);
    buf_append_byte(&text, ' ');
    buf_append_slice(&text, handle->time_text);
    buf_append_byte(&text, ' ');
    buf_append_slice(&text, handle->unique_key);
    base64_encode(buf_slice(&text), out);
    buf_release(&text);
}

enum status recall_handle_decode(struct slice text, struct buf *scratch, struct recall_handle *out)
{
    struct slice words[WORDS];
    buf_clear(scratch);
    if (text.size == 0 || !base64_decode(text, scratch))
        return STATUS_MALFORMED;
    struct slice rest = buf_slice(scratch);
    for (int i = 0; i < WORDS; i++) {
        const uint8_t *blank = rest.size == 0 ? NULL : memchr(rest.data, ' ', rest.size);
        if (blank == NULL && i < WORDS - 1)
            return STATUS_MALFORMED;
        words[i] = slice_of(rest.data, blank == NULL ? rest.size : (size_t)(blank - rest.data));
        rest = slice_from(rest, blank == NULL ? rest.size : words[i].size + 1);
    }
    if (!slice_is(words[0], "v1") || words[1].size == 0 || words[4].size == 0)
        return STATUS_MALFORMED;
    *out = (struct recall_handle){words[1], words[2], words[3], words[4]};
    return STATUS_OK;
}
