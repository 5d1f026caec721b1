/* SPDX-License-Identifier: Apache-2.0
 *
 * Words are cut as 4.9.2's scanner does: the longest one that fits, keywords in any case. What that
 * leads to, and is kept: `007` is three numbers, `0L` a number and a name, and a comment that
 * begins with two dashes ends with its line or is none.
 */
#include "broker/filter/sql_token.h"

#include <strings.h>

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool starts_name(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
           byte == '$';
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r' || byte == '\f';
}

/* The bytes of the comment that begins there; 0: none does, or it does not end. */
static size_t comment_bytes(struct slice rest)
{
    size_t at = 2;
    if (rest.size < 2)
        return 0;
    if (rest.data[0] == '-' && rest.data[1] == '-') {
        while (at < rest.size && rest.data[at] != '\n' && rest.data[at] != '\r')
            at++;
        return at < rest.size ? at + 1 : 0;
    }
    if (rest.data[0] != '/' || rest.data[1] != '*')
        return 0;
    while (at + 1 < rest.size && (rest.data[at] != '*' || rest.data[at + 1] != '/'))
        at++;
    return at + 1 < rest.size ? at + 2 : 0;
}

static size_t skip_blanks(struct slice expression, size_t at)
{
    while (at < expression.size) {
        size_t bytes =
            is_blank(expression.data[at]) ? 1 : comment_bytes(slice_from(expression, at));
        if (bytes == 0)
            break;
        at += bytes;
    }
    return at;
}

static size_t digits(struct slice text, size_t at)
{
    while (at < text.size && is_digit(text.data[at]))
        at++;
    return at;
}

/* Behind the exponent at `at`, or `at` when there is none. */
static size_t exponent(struct slice text, size_t at)
{
    size_t first = at + 1;
    if (at >= text.size || (text.data[at] != 'e' && text.data[at] != 'E'))
        return at;
    if (first < text.size && (text.data[first] == '+' || text.data[first] == '-'))
        first++;
    size_t end = digits(text, first);
    return end == first ? at : end;
}

/* A number begins with a digit, or with a point and a digit. */
static size_t number_bytes(struct slice rest, enum sql_token_kind *kind)
{
    size_t whole = digits(rest, 0);
    size_t end = whole;
    if (end < rest.size && rest.data[end] == '.')
        end = digits(rest, end + 1);
    end = exponent(rest, end);
    *kind = end > whole ? SQL_FLOAT : SQL_INTEGER;
    if (end > whole)
        return end;
    if (rest.data[0] == '0')
        return 1;
    return whole < rest.size && (rest.data[whole] == 'l' || rest.data[whole] == 'L') ? whole + 1
                                                                                     : whole;
}

/* 0: it does not end. Two quotes in it stand for one. */
static size_t string_bytes(struct slice rest)
{
    size_t at = 1;
    for (; at < rest.size; at++) {
        if (rest.data[at] != '\'')
            continue;
        if (at + 1 == rest.size || rest.data[at + 1] != '\'')
            return at + 1;
        at++;
    }
    return 0;
}

static size_t name_bytes(struct slice rest, enum sql_token_kind *kind)
{
    static const struct {
        const char *word;
        enum sql_token_kind kind;
    } keywords[] = {{"NOT", SQL_NOT},         {"AND", SQL_AND},   {"OR", SQL_OR},
                    {"BETWEEN", SQL_BETWEEN}, {"IN", SQL_IN},     {"TRUE", SQL_TRUE},
                    {"FALSE", SQL_FALSE},     {"NULL", SQL_NULL}, {"IS", SQL_IS}};
    size_t bytes = 1;
    while (bytes < rest.size && (starts_name(rest.data[bytes]) || is_digit(rest.data[bytes])))
        bytes++;
    *kind = SQL_NAME;
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strlen(keywords[i].word) == bytes &&
            strncasecmp(keywords[i].word, (const char *)rest.data, bytes) == 0)
            *kind = keywords[i].kind;
    return bytes;
}

static size_t sign_bytes(struct slice rest, enum sql_token_kind *kind)
{
    uint8_t second = rest.size > 1 ? rest.data[1] : 0;
    switch (rest.data[0]) {
    case '=':
        *kind = SQL_EQUAL;
        return 1;
    case '>':
        *kind = second == '=' ? SQL_GREATER_EQUAL : SQL_GREATER;
        return second == '=' ? 2 : 1;
    case '<':
        *kind = second == '=' ? SQL_LESS_EQUAL : second == '>' ? SQL_NOT_EQUAL : SQL_LESS;
        return second == '=' || second == '>' ? 2 : 1;
    case '(':
        *kind = SQL_OPEN;
        return 1;
    case ')':
        *kind = SQL_CLOSE;
        return 1;
    case ',':
        *kind = SQL_COMMA;
        return 1;
    case '+':
        *kind = SQL_PLUS;
        return 1;
    case '-':
        *kind = SQL_MINUS;
        return 1;
    default:
        return 0;
    }
}

struct sql_token sql_token_next(struct slice expression, size_t *cursor)
{
    struct sql_token token = {.kind = SQL_END, .at = skip_blanks(expression, *cursor)};
    struct slice rest = slice_from(expression, token.at);
    size_t bytes;
    *cursor = token.at;
    if (rest.size == 0)
        return token;
    uint8_t first = rest.data[0];
    if (is_digit(first) || (first == '.' && rest.size > 1 && is_digit(rest.data[1]))) {
        bytes = number_bytes(rest, &token.kind);
    } else if (first == '\'') {
        token.kind = SQL_STRING;
        bytes = string_bytes(rest);
    } else if (starts_name(first)) {
        bytes = name_bytes(rest, &token.kind);
    } else {
        bytes = sign_bytes(rest, &token.kind);
    }
    if (bytes == 0) {
        token.kind = SQL_BAD;
        bytes = 1;
    }
    token.text = slice_of(rest.data, bytes);
    *cursor += bytes;
    return token;
}
