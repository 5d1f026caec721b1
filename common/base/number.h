/* SPDX-License-Identifier: Apache-2.0
 *
 * Decimal text <-> integers, over slices, without locale or allocation.
 */
#ifndef COMMON_BASE_NUMBER_H
#define COMMON_BASE_NUMBER_H

#include "common/base/bytes.h"

/* Read all of `text` as a decimal integer with an optional sign. False (and *out untouched) when
 * it is empty, holds anything else, or does not fit. Java's Integer.parseInt and Long.parseLong
 * accept the same texts. */
bool parse_i64(struct slice text, int64_t *out);
bool parse_i32(struct slice text, int32_t *out);

/* Java's Boolean.parseBoolean: true only for "true" in any case. */
bool parse_java_bool(struct slice text);

#define I64_TEXT_BYTES 20 /* "-9223372036854775808" */

/* Write `value` in decimal without a NUL; returns the number of bytes, at most I64_TEXT_BYTES. */
size_t format_i64(int64_t value, char out[I64_TEXT_BYTES]);

#endif
