/* SPDX-License-Identifier: Apache-2.0
 *
 *     int16 code | uint8 language | int16 version | int32 opaque | int32 flag
 *     int32 remark length, remark       0 = no remark: an empty one cannot be told from none
 *     int32 ext length, then until it is used up:
 *         int16 name length, name, int32 value length, value
 *
 * As in 4.9.2 a negative remark or ext length counts as 0, bytes behind the ext fields are ignored,
 * and a negative length inside the ext fields is an error. An empty ext map reads as none.
 */
#include "proto/header_rocket.h"

#include "common/base/limits.h"

#define FIXED_BYTES 21 /* all but remark and ext fields */
#define FIELD_BYTES 6  /* the two lengths of one ext field */

/* Takes `size` bytes off the front of `rest`. */
static bool take(struct slice *rest, size_t size, struct slice *out)
{
    if (rest->size < size)
        return false;
    *out = slice_of(rest->data, size);
    *rest = slice_from(*rest, size);
    return true;
}

/* An int32 length and as many bytes; a negative length counts as 0. */
static bool take_block(struct slice *rest, struct slice *out)
{
    struct slice length;
    if (!take(rest, 4, &length))
        return false;
    int32_t size = get_i32(length.data);
    return take(rest, size < 0 ? 0 : (size_t)size, out);
}

static bool take_field(struct slice *rest, struct ext_field *out)
{
    struct slice length;
    if (!take(rest, 2, &length) || get_i16(length.data) < 0 ||
        !take(rest, get_u16(length.data), &out->name))
        return false;
    if (!take(rest, 4, &length) || get_i32(length.data) < 0)
        return false;
    return take(rest, get_u32(length.data), &out->value);
}

static uint8_t known_language(uint8_t language)
{
    return language <= LANGUAGE_NODE_JS ? language : LANGUAGE_UNKNOWN;
}

enum status header_rocket_decode(struct slice header, struct arena *arena, struct command *out)
{
    if (header.size < FIXED_BYTES)
        return STATUS_MALFORMED;
    const uint8_t *p = header.data;
    *out = (struct command){
        .code = get_i16(p),
        .language = known_language(p[2]),
        .version = get_i16(p + 3),
        .opaque = get_i32(p + 5),
        .flag = get_i32(p + 9),
    };
    struct slice rest = slice_from(header, 13);
    struct slice fields;
    if (!take_block(&rest, &out->remark) || !take_block(&rest, &fields))
        return STATUS_MALFORMED;
    out->has_remark = out->remark.size > 0;
    while (fields.size > 0) {
        struct ext_field field;
        if (!take_field(&fields, &field))
            return STATUS_MALFORMED;
        if (out->ext.count == EXT_FIELDS_MAX)
            return STATUS_TOO_LARGE;
        ext_append(&out->ext, arena, field.name, field.value);
    }
    return STATUS_OK;
}

static uint8_t *put_bytes(uint8_t *p, struct slice s)
{
    if (s.size > 0)
        memcpy(p, s.data, s.size);
    return p + s.size;
}

enum status header_rocket_encode(const struct command *command, struct buf *out)
{
    struct slice remark = command->has_remark ? command->remark : SLICE_EMPTY;
    size_t ext_bytes = 0;
    for (uint32_t i = 0; i < command->ext.count; i++) {
        const struct ext_field *field = &command->ext.fields[i];
        if (field->name.size > INT16_MAX)
            return STATUS_TOO_LARGE;
        ext_bytes += FIELD_BYTES + field->name.size + field->value.size;
    }
    if (remark.size > INT32_MAX || ext_bytes > INT32_MAX ||
        command->code != (int16_t)command->code || command->version != (int16_t)command->version)
        return STATUS_TOO_LARGE;

    uint8_t *p = buf_reserve(out, FIXED_BYTES + remark.size + ext_bytes);
    put_i16(p, (int16_t)command->code);
    p[2] =
        known_language(command->language) == LANGUAGE_UNKNOWN ? LANGUAGE_OTHER : command->language;
    put_i16(p + 3, (int16_t)command->version);
    put_i32(p + 5, command->opaque);
    put_i32(p + 9, command->flag);
    put_u32(p + 13, (uint32_t)remark.size);
    p = put_bytes(p + 17, remark);
    put_u32(p, (uint32_t)ext_bytes);
    p += 4;
    for (uint32_t i = 0; i < command->ext.count; i++) {
        const struct ext_field *field = &command->ext.fields[i];
        put_u16(p, (uint16_t)field->name.size);
        p = put_bytes(p + 2, field->name);
        put_u32(p, (uint32_t)field->value.size);
        p = put_bytes(p + 4, field->value);
    }
    out->size = (size_t)(p - out->data);
    return STATUS_OK;
}
