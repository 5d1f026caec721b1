/* SPDX-License-Identifier: Apache-2.0
 *
 * A reader and writer for fastjson's dialect of JSON, which no library reads: object keys may be
 * bare integers or whole objects. The reader is pure and bounded; the tree lives in an arena and
 * its strings point into the input unless they had escapes.
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/status.h"

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER, /* `text` holds it as written */
    JSON_STRING, /* `text` holds it unescaped */
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_value {
    enum json_type type;
    struct slice text;        /* other types: as written, brackets included */
    struct json_value *items; /* ARRAY: elements; OBJECT: values */
    struct json_value *keys;  /* OBJECT: STRING, NUMBER or OBJECT */
    uint32_t count;
};

/* Parse all of `text` (surrounding white space allowed) as one value.
 * arena  takes the tree; what it may grow by is bounded by DECODE_BYTES_MAX
 * error_at  out, may be NULL: byte offset of the first error
 * returns  OK | MALFORMED | TOO_LARGE (deeper than JSON_DEPTH_MAX, or larger than the bound) */
enum status json_parse(struct slice text, struct arena *arena, struct json_value *out,
                       size_t *error_at);

/* The value under `key` in an object (last one wins), or NULL. */
const struct json_value *json_get(const struct json_value *object, const char *key);

/* Conversions as fastjson does them: numbers from numeric strings, booleans from "true"/1,
 * fractions cut off. False (and *out undefined) when the value cannot be read that way or does not
 * fit. */
bool json_as_i64(const struct json_value *value, int64_t *out);
bool json_as_bool(const struct json_value *value, bool *out);
bool json_as_double(const struct json_value *value, double *out);

/* Append a quoted string with fastjson's escapes. */
void json_write_string(struct buf *out, struct slice text);

/* Append a double as Java's Double.toString prints it since JDK 19 (the shortest digits; older ones
 * print one digit more now and then); NaN and infinities as null. */
void json_write_double(struct buf *out, double value);

#endif
