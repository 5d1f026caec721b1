/* SPDX-License-Identifier: Apache-2.0
 *
 * The text format of java.util.Properties.
 *
 *   lines        end with LF, CR or CR LF; a backslash before the end continues the line, the
 * blanks that start the next one are skipped comments     lines whose first character behind blanks
 * is # or !; they are not continued key          up to the first bare =, : or blank separator
 * blanks, at most one = or :, blanks value        the rest of the line escapes      \t \n \r \f,
 * \uXXXX (UTF-16 units, surrogate pairs allowed), any other \c is c
 *
 * Two things differ from Java. Blanks at the end of a value are dropped unless escaped: 4.9.2 keeps
 * them and then silently ignores the number in front of them. Bytes above 127 pass through as they
 * are, where Java takes them for Latin-1; \uXXXX becomes UTF-8. A UTF-8 byte order mark at the
 * start is skipped.
 */
#ifndef COMMON_CONF_PROPERTIES_FILE_H
#define COMMON_CONF_PROPERTIES_FILE_H

#include "common/base/buf.h"
#include "common/base/status.h"

struct properties_reader {
    struct slice text;
    size_t at;
    int line; /* of the text at `at`, counted from 1 */
    struct buf key;
    struct buf value;
};

struct properties_entry {
    struct slice key; /* unescaped; valid until the next call */
    struct slice value;
    int line;           /* where the key stands */
    size_t value_start; /* the raw value is text[value_start, value_end) */
    size_t value_end;
    bool separated; /* a separator stands before the value */
};

/* text  borrowed until properties_reader_release */
void properties_reader_init(struct properties_reader *reader, struct slice text);
void properties_reader_release(struct properties_reader *reader);

/* The next pair.
 * returns  OK | NOT_FOUND (the end) | MALFORMED (a \u without four hexadecimal digits, in
 *          reader->line; the reader must not be used further) */
enum status properties_reader_next(struct properties_reader *reader, struct properties_entry *entry,
                                   struct err *err);

/* Append `value` so that reading it as a value gives the same bytes. */
void properties_append_value(struct buf *out, struct slice value);

#endif
