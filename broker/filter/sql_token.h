/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of an SQL92 filter expression. Pure.
 * Source: RocketMQ filter/.../SelectorParser.jj.
 */
#ifndef BROKER_FILTER_SQL_TOKEN_H
#define BROKER_FILTER_SQL_TOKEN_H

#include "common/base/bytes.h"

enum sql_token_kind {
    SQL_END, /* of the expression */
    SQL_BAD, /* no word begins there */
    SQL_NOT,
    SQL_AND,
    SQL_OR,
    SQL_BETWEEN,
    SQL_IN,
    SQL_TRUE,
    SQL_FALSE,
    SQL_NULL,
    SQL_IS,
    SQL_INTEGER,
    SQL_FLOAT,
    SQL_STRING,
    SQL_NAME,
    SQL_EQUAL,
    SQL_NOT_EQUAL,
    SQL_GREATER,
    SQL_GREATER_EQUAL,
    SQL_LESS,
    SQL_LESS_EQUAL,
    SQL_OPEN,
    SQL_CLOSE,
    SQL_COMMA,
    SQL_PLUS,
    SQL_MINUS,
};

struct sql_token {
    enum sql_token_kind kind;
    size_t at;         /* its first byte */
    struct slice text; /* all of it, with the quotes of a string; one byte when BAD */
};

/* The next word from *cursor on, which moves behind it; blanks and comments in front of it are
 * passed over. */
struct sql_token sql_token_next(struct slice expression, size_t *cursor);

#endif
