/* SPDX-License-Identifier: Apache-2.0
 *
 * SQL92 filters: an expression is compiled once and then evaluated over the property strings of
 * many messages. Pure: no file, clock, log or lock. A compiled filter is immutable; any thread may
 * evaluate it.
 *
 * The language is 4.9.2's, traps included: what stands behind the longest sound expression is
 * ignored (sql_filter_ignored tells), there is no LIKE and no arithmetic, and every property is a
 * string that is read as what it is compared with. Values are true, false and null, as in SQL.
 *
 * Source: RocketMQ filter/.../SelectorParser.jj and filter/.../expression. Differences: the limits
 * below (Java runs out of stack instead), numbers of more than SQL_NUMBER_BYTES_MAX characters, and
 * digits of other scripts, which are none.
 */
#ifndef BROKER_FILTER_SQL_FILTER_H
#define BROKER_FILTER_SQL_FILTER_H

#include "common/base/bytes.h"
#include "common/base/status.h"

#define SQL_EXPRESSION_BYTES_MAX 65536
/* Parentheses and signs within each other. */
#define SQL_DEPTH_MAX 256
/* Different properties, and operations, of one expression: what one message can cost. */
#define SQL_NAMES_MAX 256
#define SQL_OPERATIONS_MAX 16384

struct sql_filter;

/* Compile an expression.
 * out      free with sql_filter_free
 * returns  OK | MALFORMED | TOO_LARGE (a limit above); err names the place, as a character counted
 *          from 1, and the cause */
MUST_CHECK enum status sql_filter_compile(struct slice expression, struct sql_filter **out,
                                          struct err *err);
void sql_filter_free(struct sql_filter *filter); /* NULL is allowed */

/* Memory that it takes. */
size_t sql_filter_bytes(const struct sql_filter *filter);

/* The character, counted from 1, from which on the expression is ignored; 0: all of it counts. */
size_t sql_filter_ignored(const struct sql_filter *filter);

enum sql_result {
    SQL_RESULT_FALSE,
    SQL_RESULT_TRUE,
    SQL_RESULT_NULL,
    SQL_RESULT_ERROR, /* things that cannot be compared: the whole evaluation ends */
};

/* Evaluate over a message's property string. Takes no memory but some 40 KiB of the stack. */
enum sql_result sql_filter_evaluate(const struct sql_filter *filter, struct slice properties);

/* Whether the message is wanted: the result is true. */
static inline bool sql_filter_matches(const struct sql_filter *filter, struct slice properties)
{
    return sql_filter_evaluate(filter, properties) == SQL_RESULT_TRUE;
}

#endif
