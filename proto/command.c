/* SPDX-License-Identifier: Apache-2.0
 *
 * What the header codecs have in common: the map of ext fields, the names of languages, and the
 * frame around an encoded header.
 */
#include "proto/command.h"

#include "proto/header_json.h"
#include "proto/header_protobuf.h"
#include "proto/header_rocket.h"

#include <strings.h>

#define EXT_FIRST_CAPACITY 16 /* a send request has 13 */
#define HEADER_BYTES_MAX 0xFFFFFF

static const char *const languages[] = {
    [LANGUAGE_JAVA] = "JAVA",     [LANGUAGE_CPP] = "CPP",         [LANGUAGE_DOTNET] = "DOTNET",
    [LANGUAGE_PYTHON] = "PYTHON", [LANGUAGE_DELPHI] = "DELPHI",   [LANGUAGE_ERLANG] = "ERLANG",
    [LANGUAGE_RUBY] = "RUBY",     [LANGUAGE_OTHER] = "OTHER",     [LANGUAGE_HTTP] = "HTTP",
    [LANGUAGE_GO] = "GO",         [LANGUAGE_PHP] = "PHP",         [LANGUAGE_OMS] = "OMS",
    [LANGUAGE_RUST] = "RUST",     [LANGUAGE_NODE_JS] = "NODE_JS",
};

#define LANGUAGES (sizeof languages / sizeof languages[0])

const char *language_name(uint8_t language)
{
    return languages[language < LANGUAGES ? language : LANGUAGE_OTHER];
}

uint8_t language_number(struct slice name)
{
    for (uint8_t i = 0; i < LANGUAGES; i++)
        if (strlen(languages[i]) == name.size &&
            strncasecmp(languages[i], (const char *)name.data, name.size) == 0)
            return i;
    return LANGUAGE_UNKNOWN;
}

bool ext_find(const struct ext_map *ext, struct slice name, struct slice *value)
{
    for (uint32_t i = ext->count; i-- > 0;) {
        if (slice_equal(ext->fields[i].name, name)) {
            *value = ext->fields[i].value;
            return true;
        }
    }
    return false;
}

void ext_grow(struct ext_map *ext, struct arena *arena)
{
    uint32_t capacity = EXT_FIRST_CAPACITY;
    while (capacity <= ext->count)
        capacity *= 2;
    struct ext_field *fields = arena_alloc(arena, capacity * sizeof *fields);
    if (ext->count > 0)
        memcpy(fields, ext->fields, ext->count * sizeof *fields);
    ext->fields = fields;
    ext->capacity = capacity;
}

enum status command_decode(enum codec codec, struct slice header, struct arena *arena,
                           struct command *out)
{
    switch (codec) {
    case CODEC_JSON:
        return header_json_decode(header, arena, out);
    case CODEC_ROCKETMQ:
        return header_rocket_decode(header, arena, out);
    case CODEC_PROTOBUF:
        return header_protobuf_decode(header, arena, out);
    }
    return STATUS_MALFORMED;
}

static enum status encode_header(enum codec codec, const struct command *command, struct buf *out)
{
    switch (codec) {
    case CODEC_JSON:
        return header_json_encode(command, out);
    case CODEC_ROCKETMQ:
        return header_rocket_encode(command, out);
    case CODEC_PROTOBUF:
        return header_protobuf_encode(command, out);
    }
    return STATUS_INVALID;
}

enum status command_encode(enum codec codec, const struct command *command, size_t body_bytes,
                           struct buf *out)
{
    size_t start = out->size;
    (void)buf_reserve(out, FRAME_PREFIX_BYTES);
    out->size += FRAME_PREFIX_BYTES;
    enum status status = encode_header(codec, command, out);
    size_t header_bytes = out->size - start - FRAME_PREFIX_BYTES;
    if (status == STATUS_OK && (header_bytes > HEADER_BYTES_MAX || body_bytes > INT32_MAX ||
                                4 + header_bytes + body_bytes > INT32_MAX))
        status = STATUS_TOO_LARGE;
    if (status != STATUS_OK) {
        out->size = start;
        return status;
    }
    put_u32(out->data + start, (uint32_t)(4 + header_bytes + body_bytes));
    put_u32(out->data + start + 4, (uint32_t)codec << 24 | (uint32_t)header_bytes);
    return STATUS_OK;
}
