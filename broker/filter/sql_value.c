/* SPDX-License-Identifier: Apache-2.0
 *
 * Apache reads the string beside a number as a number of exactly that type: "5.5" beside the
 * integer 4 is an error, beside 4.0 it is not. That is kept.
 */
#include "broker/filter/sql_value.h"

#include "common/base/number.h"

#include <math.h>
#include <stdlib.h>

/* --- Double.valueOf --- */

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex_digit(uint8_t byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

static size_t count(struct slice text, size_t at, bool (*fits)(uint8_t byte))
{
    size_t from = at;
    while (at < text.size && fits(text.data[at]))
        at++;
    return at - from;
}

static bool is_at(struct slice text, size_t at, char lower)
{
    return at < text.size && (text.data[at] | 0x20) == (uint8_t)lower;
}

static size_t sign_bytes(struct slice text, size_t at)
{
    return at < text.size && (text.data[at] == '+' || text.data[at] == '-') ? 1 : 0;
}

/* The bytes of a number without its sign; 0: it is none. What follows is not looked at. */
static size_t unsigned_bytes(struct slice text)
{
    bool hex = text.size > 1 && text.data[0] == '0' && is_at(text, 1, 'x');
    size_t at = hex ? 2 : 0;
    bool (*fits)(uint8_t byte) = hex ? is_hex_digit : is_digit;
    size_t whole = count(text, at, fits);
    size_t fraction = 0;
    at += whole;
    if (at < text.size && text.data[at] == '.') {
        fraction = count(text, at + 1, fits);
        at += 1 + fraction;
    }
    if (whole + fraction == 0)
        return 0;
    if (!is_at(text, at, hex ? 'p' : 'e'))
        return hex ? 0 : at; /* a hexadecimal number needs its exponent */
    at += 1 + sign_bytes(text, at + 1);
    size_t power = count(text, at, is_digit);
    return power == 0 ? 0 : at + power;
}

static struct slice trim(struct slice text)
{
    while (text.size > 0 && text.data[0] <= ' ')
        text = slice_from(text, 1);
    while (text.size > 0 && text.data[text.size - 1] <= ' ')
        text.size--;
    return text;
}

bool sql_parse_double(struct slice text, double *out)
{
    char copy[SQL_NUMBER_BYTES_MAX + 1];
    text = trim(text);
    if (text.size == 0 || text.size > SQL_NUMBER_BYTES_MAX)
        return false;
    size_t sign = sign_bytes(text, 0);
    struct slice rest = slice_from(text, sign);
    if (slice_is(rest, "NaN")) {
        *out = (double)NAN;
        return true;
    }
    if (slice_is(rest, "Infinity")) {
        *out = text.data[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return true;
    }
    size_t bytes = unsigned_bytes(rest);
    if (bytes == 0)
        return false;
    if (bytes != rest.size &&
        (bytes + 1 != rest.size || (!is_at(rest, bytes, 'f') && !is_at(rest, bytes, 'd'))))
        return false;
    memcpy(copy, text.data, sign + bytes);
    copy[sign + bytes] = '\0';
    *out = strtod(copy, NULL); /* right to the last bit, as Java's */
    return true;
}

/* --- comparing --- */

/* Double.compareTo: NaN is equal to itself and above all others, and -0.0 is below 0.0. */
static int compare_doubles(double left, double right)
{
    if (left < right)
        return -1;
    if (left > right)
        return 1;
    if (isnan(left) || isnan(right))
        return (isnan(left) ? 1 : 0) - (isnan(right) ? 1 : 0);
    return (signbit(left) ? 0 : 1) - (signbit(right) ? 0 : 1);
}

static bool is_number(enum sql_type type)
{
    return type == SQL_TYPE_INTEGER || type == SQL_TYPE_LONG || type == SQL_TYPE_DOUBLE;
}

static double as_double(const struct sql_value *value)
{
    return value->type == SQL_TYPE_DOUBLE ? value->number : (double)value->integer;
}

static int compare_numbers(const struct sql_value *left, const struct sql_value *right)
{
    if (left->type == SQL_TYPE_DOUBLE || right->type == SQL_TYPE_DOUBLE)
        return compare_doubles(as_double(left), as_double(right));
    return (left->integer > right->integer) - (left->integer < right->integer);
}

/* Read a string as a number of that type. */
static bool read_number(struct slice text, enum sql_type type, struct sql_value *out)
{
    int32_t integer;
    out->type = type;
    if (type == SQL_TYPE_DOUBLE)
        return sql_parse_double(text, &out->number);
    if (text.size > SQL_NUMBER_BYTES_MAX)
        return false;
    if (type == SQL_TYPE_LONG)
        return parse_i64(text, &out->integer);
    if (!parse_i32(text, &integer))
        return false;
    out->integer = integer;
    return true;
}

bool sql_compare(const struct sql_value *left, const struct sql_value *right, int *out)
{
    struct sql_value read;
    *out = -1; /* what Apache says of types that have nothing in common */
    if (is_number(left->type) && is_number(right->type)) {
        *out = compare_numbers(left, right);
    } else if (left->type == SQL_TYPE_STRING && right->type == SQL_TYPE_STRING) {
        *out = slice_equal(left->string, right->string) ? 0 : 1;
    } else if (left->type == SQL_TYPE_BOOLEAN && right->type == SQL_TYPE_BOOLEAN) {
        *out = (int)left->boolean - (int)right->boolean;
    } else if (left->type == SQL_TYPE_STRING && right->type == SQL_TYPE_BOOLEAN) {
        *out = (int)parse_java_bool(left->string) - (int)right->boolean;
    } else if (left->type == SQL_TYPE_BOOLEAN && right->type == SQL_TYPE_STRING) {
        return false;
    } else if (left->type == SQL_TYPE_STRING) {
        if (!read_number(left->string, right->type, &read))
            return false;
        *out = compare_numbers(&read, right);
    } else if (right->type == SQL_TYPE_STRING) {
        if (!read_number(right->string, left->type, &read))
            return false;
        *out = compare_numbers(left, &read);
    }
    return true;
}

bool sql_compare_order(const struct sql_value *left, const struct sql_value *right, int *out)
{
    double first;
    double second;
    if (left->type != SQL_TYPE_STRING || right->type != SQL_TYPE_STRING)
        return sql_compare(left, right, out);
    if (!sql_parse_double(left->string, &first) || !sql_parse_double(right->string, &second))
        return false;
    *out = compare_doubles(first, second);
    return true;
}
