/* SPDX-License-Identifier: Apache-2.0
 *
 * Option files in libconfig's grammar: `name = "text";`, `name = 5;`, `name = true;`, comments in
 * the styles of C, C++ and the shell, and `@include "file"` relative to the file's folder. Only
 * scalar settings are options; groups, lists and arrays are errors that name file and line.
 */
#ifndef COMMON_CONF_LIBCONFIG_FILE_H
#define COMMON_CONF_LIBCONFIG_FILE_H

#include "common/base/buf.h"
#include "common/base/status.h"

enum libconfig_type {
    LIBCONFIG_BOOL,
    LIBCONFIG_INT,
    LIBCONFIG_FLOAT,
    LIBCONFIG_STRING,
};

struct libconfig_setting {
    const char *name;
    const char *text; /* the value as text: true, -5, 1.5, or the string itself */
    enum libconfig_type type;
    const char *file; /* the file or the included one */
    int line;
};

/* Read `text`, the content of the file at `path` (which is used for messages and to find included
 * files), and call `each` for every setting in order. Everything is borrowed.
 * returns  OK | MALFORMED | INVALID (not a scalar; a number beyond 32 bits without L), or what
 * `each` returned when it was not OK */
enum status libconfig_parse(const char *path, struct slice text,
                            enum status (*each)(void *ctx, const struct libconfig_setting *setting,
                                                struct err *err),
                            void *ctx, struct err *err);

/* Where the settings of a text stand, for editing it. The text must have parsed. */
struct libconfig_scanner {
    struct slice text;
    size_t at;
};

struct libconfig_span {
    struct slice name;
    size_t value_start; /* the raw value is text[value_start, value_end) */
    size_t value_end;
};

/* The next top-level setting of the text itself; false at the end. Included files are not read. */
bool libconfig_next_span(struct libconfig_scanner *scanner, struct libconfig_span *span);

/* Append `value` as a quoted string. */
void libconfig_append_string(struct buf *out, struct slice value);

/* Append a number or boolean; with the L that a number beyond 32 bits needs. */
void libconfig_append_bare(struct buf *out, struct slice value);

#endif
