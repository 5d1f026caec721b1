/* SPDX-License-Identifier: Apache-2.0
 *
 * A remoting command: what a frame's header says, whichever codec carried it. The ext fields stay
 * a raw ordered map of strings, because access control signs fields we may not know; proto/
 * ext_bind.h turns them into the typed messages of header.proto and back.
 *
 * Pure functions; decoded slices point into the input or into the arena.
 */
#ifndef PROTO_COMMAND_H
#define PROTO_COMMAND_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/status.h"
#include "proto/frame.h"

#define COMMAND_FLAG_RESPONSE 1
#define COMMAND_FLAG_ONEWAY 2

/* MQVersion ordinal of 4.9.2, sent in every frame of ours. */
#define COMMAND_VERSION_4_9_2 397

/* LanguageCode. JSON carries the name, ROCKETMQ the number. */
enum language {
    LANGUAGE_JAVA = 0,
    LANGUAGE_CPP = 1,
    LANGUAGE_DOTNET = 2,
    LANGUAGE_PYTHON = 3,
    LANGUAGE_DELPHI = 4,
    LANGUAGE_ERLANG = 5,
    LANGUAGE_RUBY = 6,
    LANGUAGE_OTHER = 7,
    LANGUAGE_HTTP = 8,
    LANGUAGE_GO = 9,
    LANGUAGE_PHP = 10,
    LANGUAGE_OMS = 11,
    LANGUAGE_RUST = 12,
    LANGUAGE_NODE_JS = 13,
    LANGUAGE_UNKNOWN = 255,
};

const char *language_name(uint8_t language); /* "JAVA"; "OTHER" for unknown ones */

/* The number of a name in any case; LANGUAGE_UNKNOWN when there is none such. */
uint8_t language_number(struct slice name);

struct ext_field {
    struct slice name;
    struct slice value;
};

struct ext_map {
    struct ext_field *fields; /* in wire order; on duplicates the last one counts */
    uint32_t count;
    bool present;      /* false: the frame had no extFields member at all */
    uint32_t capacity; /* fields that fit into the table; 0 when the table is a caller's own array,
                          which ext_append leaves alone and copies */
};

struct command {
    int32_t code; /* request code or, in a response, response code */
    uint8_t language;
    int32_t version;
    int32_t opaque;
    int32_t flag;
    struct slice remark; /* meaningful when has_remark */
    bool has_remark;
    struct ext_map ext;
};

static inline bool command_is_response(const struct command *command)
{
    return (command->flag & COMMAND_FLAG_RESPONSE) != 0;
}

static inline bool command_is_oneway(const struct command *command)
{
    return (command->flag & COMMAND_FLAG_ONEWAY) != 0;
}

/* The last field of that name; false when there is none. */
bool ext_find(const struct ext_map *ext, struct slice name, struct slice *value);

/* A larger table for `ext`, from `arena`. */
void ext_grow(struct ext_map *ext, struct arena *arena);

/* Append one field; the slices must live as long as the map. The table grows in `arena`. */
static inline void ext_append(struct ext_map *ext, struct arena *arena, struct slice name,
                              struct slice value)
{
    if (ext->count >= ext->capacity)
        ext_grow(ext, arena);
    ext->fields[ext->count++] = (struct ext_field){name, value};
    ext->present = true;
}

/* Decode one frame header.
 * header  borrowed; `out` points into it
 * out     undefined unless OK
 * arena   takes unescaped strings and the field table
 * returns  OK | MALFORMED | TOO_LARGE (more than EXT_FIELDS_MAX fields). As lenient as 4.9.2:
 *          unknown JSON members are skipped, numbers may be strings and strings numbers, absent
 *          members get their defaults (JAVA, version 0, flag 0). */
enum status command_decode(enum codec codec, struct slice header, struct arena *arena,
                           struct command *out);

/* Append a whole frame up to, but without, its body: both length words and the header.
 * body_bytes  what the caller will send behind it
 * returns  OK | TOO_LARGE (the codec cannot carry it: a string or the frame is too long, or, with
 *          ROCKETMQ, code or version do not fit 16 bits); then nothing has been appended */
enum status command_encode(enum codec codec, const struct command *command, size_t body_bytes,
                           struct buf *out);

#endif
