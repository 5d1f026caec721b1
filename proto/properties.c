/* SPDX-License-Identifier: Apache-2.0
 *
 * Property strings are walked in place; a message's properties are never turned into a table.
 *
 *   NAME 0x01 value 0x02 NAME 0x01 value ...     a last 0x02 may or may not be there
 *
 * The first 0x01 of a piece splits it. These run once or more for every message sent.
 */
#include "proto/properties.h"

/* The piece that starts at *cursor, which moves behind its separator; *cursor < properties.size. */
static struct slice next_piece(struct slice properties, size_t *cursor)
{
    struct slice rest = slice_from(properties, *cursor);
    const uint8_t *separator = memchr(rest.data, PROPERTY_SEPARATOR, rest.size);
    size_t bytes = separator == NULL ? rest.size : (size_t)(separator - rest.data);
    *cursor += bytes + (separator == NULL ? 0 : 1);
    return slice_of(rest.data, bytes);
}

/* Split a piece; false when 4.9.2 drops it: no name, no value, or no separator. */
static bool split_piece(struct slice piece, struct slice *name, struct slice *value)
{
    const uint8_t *split =
        piece.size < 3 ? NULL : memchr(piece.data, PROPERTY_NAME_VALUE_SEPARATOR, piece.size - 1);
    if (split == NULL || split == piece.data)
        return false;
    size_t name_bytes = (size_t)(split - piece.data);
    *name = slice_of(piece.data, name_bytes);
    *value = slice_from(piece, name_bytes + 1);
    return true;
}

bool properties_next(struct slice properties, size_t *cursor, struct slice *name,
                     struct slice *value)
{
    while (*cursor < properties.size)
        if (split_piece(next_piece(properties, cursor), name, value))
            return true;
    return false;
}

bool properties_find(struct slice properties, struct slice name, struct slice *value)
{
    bool found = false;
    size_t cursor = 0;
    while (cursor < properties.size) {
        struct slice piece = next_piece(properties, &cursor);
        if (piece.size >= name.size + 2 && name.size != 0 &&
            piece.data[name.size] == PROPERTY_NAME_VALUE_SEPARATOR &&
            memcmp(piece.data, name.data, name.size) == 0) {
            *value = slice_from(piece, name.size + 1);
            found = true;
        }
    }
    return found;
}

void properties_append(struct buf *out, struct slice name, struct slice value)
{
    uint8_t *to = buf_reserve(out, name.size + value.size + 2);
    if (out->size != 0 && out->data[out->size - 1] != PROPERTY_SEPARATOR)
        *to++ = PROPERTY_SEPARATOR;
    memcpy(to, name.data, name.size);
    to += name.size;
    *to++ = PROPERTY_NAME_VALUE_SEPARATOR;
    if (value.size != 0)
        memcpy(to, value.data, value.size);
    out->size = (size_t)(to + value.size - out->data);
}

/* Append `run`, whole pieces with or without a last separator, to a string under construction. */
static void append_run(struct buf *out, struct slice run)
{
    if (run.size != 0 && run.data[run.size - 1] == PROPERTY_SEPARATOR)
        run.size--;
    if (run.size == 0)
        return;
    if (out->size != 0 && out->data[out->size - 1] != PROPERTY_SEPARATOR)
        buf_append_byte(out, PROPERTY_SEPARATOR);
    buf_append_slice(out, run);
}

void properties_append_except(struct buf *out, struct slice properties, struct slice without)
{
    size_t run_from = 0;
    size_t cursor = 0;
    while (cursor < properties.size) {
        struct slice name;
        struct slice value;
        size_t piece_from = cursor;
        struct slice piece = next_piece(properties, &cursor);
        if (split_piece(piece, &name, &value) && !slice_equal(name, without))
            continue;
        append_run(out, slice_of(properties.data + run_from, piece_from - run_from));
        run_from = cursor;
    }
    if (cursor > run_from)
        append_run(out, slice_of(properties.data + run_from, cursor - run_from));
}

/* --- hashes ----------------------------------------------------------------------------------- */

#define REPLACEMENT_CHARACTER 0xFFFD

/* Whether `byte` may stand second after `lead`. Encoded surrogates (ED A0..BF) pass here and are
 * replaced as a whole, which is what Java's decoder does. */
static bool second_fits(uint8_t lead, uint8_t byte)
{
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xF4 ? 0x8F : 0xBF;
    return byte >= low && byte <= high;
}

/* The code point at text[*i], which moves behind it. As Java does, the longest start of a character
 * that cannot be completed becomes one U+FFFD. */
static uint32_t next_point(struct slice text, size_t *i)
{
    uint8_t lead = text.data[(*i)++];
    if (lead < 0x80)
        return lead;
    if (lead < 0xC2 || lead > 0xF4)
        return REPLACEMENT_CHARACTER;
    unsigned more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    uint32_t point = lead & (0x3FU >> more);
    for (unsigned n = 0; n < more; n++) {
        if (*i == text.size)
            return REPLACEMENT_CHARACTER;
        uint8_t byte = text.data[*i];
        if (n == 0 ? !second_fits(lead, byte) : (byte & 0xC0) != 0x80)
            return REPLACEMENT_CHARACTER;
        point = point << 6 | (byte & 0x3FU);
        (*i)++;
    }
    return point >= 0xD800 && point < 0xE000 ? REPLACEMENT_CHARACTER : point;
}

int32_t java_string_hash(struct slice utf8)
{
    uint32_t hash = 0;
    size_t i = 0;
    while (i < utf8.size) {
        /* Four ASCII characters at once shorten the chain of multiplications. */
        while (utf8.size - i >= 4 && (get_u32(utf8.data + i) & 0x80808080U) == 0) {
            const uint8_t *c = utf8.data + i;
            hash = hash * 923521U + c[0] * 29791U + c[1] * 961U + c[2] * 31U + c[3];
            i += 4;
        }
        if (i == utf8.size)
            break;
        uint32_t point = next_point(utf8, &i);
        if (point >= 0x10000) {
            hash = 31 * hash + (0xD800 + ((point - 0x10000) >> 10));
            point = 0xDC00 + ((point - 0x10000) & 0x3FF);
        }
        hash = 31 * hash + point;
    }
    return (int32_t)hash;
}

int64_t tags_code(struct slice tags)
{
    return java_string_hash(tags);
}
