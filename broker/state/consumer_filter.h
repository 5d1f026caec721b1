/* SPDX-License-Identifier: Apache-2.0
 *
 * The filter of a subscription that is no tag expression: type, expression, and what that compiles
 * to. Immutable, shared by reference between the table of filters, pulls under way and held pulls.
 * Any thread.
 */
#ifndef BROKER_STATE_CONSUMER_FILTER_H
#define BROKER_STATE_CONSUMER_FILTER_H

#include "broker/filter/sql_filter.h"

#define EXPRESSION_TYPE_SQL92 "SQL92"

struct consumer_filter {
    _Atomic int references;
    size_t bytes; /* memory that it takes */
    struct sql_filter *compiled;
    const char *expression_type;
    const char *expression;
};

/* Compile. Reference of one.
 * returns  OK | UNSUPPORTED (another type than SQL92) | MALFORMED | TOO_LARGE; err says what is
 *          wrong where */
MUST_CHECK enum status consumer_filter_new(const char *expression_type, const char *expression,
                                           struct consumer_filter **out, struct err *err);
struct consumer_filter *consumer_filter_ref(struct consumer_filter *filter);
void consumer_filter_unref(struct consumer_filter *filter); /* NULL is allowed */

/* Whether it is the filter of that expression. */
bool consumer_filter_is(const struct consumer_filter *filter, const char *expression_type,
                        const char *expression);

#endif
