/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of an SQL92 expression, and Apache's rules for comparing those of different types. Pure.
 * Source: RocketMQ filter/.../ComparisonExpression.java; Java's Double.valueOf and compareTo.
 */
#ifndef BROKER_FILTER_SQL_VALUE_H
#define BROKER_FILTER_SQL_VALUE_H

#include "common/base/bytes.h"

enum sql_type {
    SQL_TYPE_NULL,
    SQL_TYPE_BOOLEAN,
    SQL_TYPE_INTEGER, /* 32 bits, in `integer` */
    SQL_TYPE_LONG,
    SQL_TYPE_DOUBLE,
    SQL_TYPE_STRING,
};

struct sql_value {
    enum sql_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct slice string;
    };
};

/* Longer texts are no numbers; in Java they may be. */
#define SQL_NUMBER_BYTES_MAX 1024

/* Read a text as Java's Double.valueOf does: blanks around it, NaN, Infinity, hexadecimal numbers
 * and a last f or d included. */
bool sql_parse_double(struct slice text, double *out);

/* Compare two values, neither of which is null. A string beside a value of another type is read as
 * one of that type.
 * out      below 0, 0, above 0; of strings only whether it is 0 means something
 * returns  false when they cannot be compared: the text is no number, or a boolean stands left of a
 *          string */
bool sql_compare(const struct sql_value *left, const struct sql_value *right, int *out);

/* The same for >, >=, < and <=: two strings are compared as numbers. */
bool sql_compare_order(const struct sql_value *left, const struct sql_value *right, int *out);

#endif
