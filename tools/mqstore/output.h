/* SPDX-License-Identifier: Apache-2.0
 *
 * What mqstore prints: messages and values, as text for people or as JSON, one object a line.
 */
#ifndef TOOLS_MQSTORE_OUTPUT_H
#define TOOLS_MQSTORE_OUTPUT_H

#include "common/base/buf.h"
#include "proto/record.h"

/* --- JSON objects under construction --- */

void json_begin(struct buf *out); /* { */
void json_end(struct buf *out);   /* } */

/* One member; the name is written as it is. */
void json_number(struct buf *out, const char *name, int64_t value);
void json_bool(struct buf *out, const char *name, bool value);
void json_text(struct buf *out, const char *name, struct slice value);
void json_cstr(struct buf *out, const char *name, const char *value);

/* The name of a member whose value comes next. */
void json_name(struct buf *out, const char *name);

/* A string of any bytes: what is not UTF-8 becomes U+FFFD. */
void json_any_string(struct buf *out, struct slice text);

/* --- messages --- */

enum message_form {
    MESSAGE_LINE,      /* one line, without the body */
    MESSAGE_WITH_BODY, /* and the body */
};

/* Print a message to stdout. In JSON a body that is UTF-8 is "body", any other "bodyBase64". */
void message_print(const struct record *record, enum message_form form, bool json);

/* --- the rest --- */

#define TIME_TEXT_BYTES 32
/* Local time with milliseconds. */
void time_format(int64_t ms, char out[TIME_TEXT_BYTES]);

/* Print the buffer to stdout, with a line's end, and empty it. */
void print_line(struct buf *out);

/* How far long work has come: one line on stderr that is rewritten, on a terminal only. */
void progress_show(const char *what, int64_t done, int64_t total);
void progress_clear(void);

/* Escape sequences for stdout when it is a terminal (and NO_COLOR is not set), else "". */
const char *colour_bad(void);
const char *colour_note(void);
const char *colour_good(void);
const char *colour_off(void);

#endif
