/* SPDX-License-Identifier: Apache-2.0
 *
 * A compiled expression, for the compiler and the evaluator: operations on a stack of values, in
 * the order in which they are done. Operands of AND, OR and comparisons that need not be evaluated
 * are jumped over.
 *
 *   operation     stack before -> after
 *   CONSTANT      -> value                 argument: which constant
 *   PROPERTY      -> string or null        argument: which name
 *   CAST          value -> boolean         a property where a condition is expected
 *   NOT, NEGATE, IS_NULL    value -> value
 *   IN, NOT_IN    value -> boolean         argument: which list
 *   EQUAL, GREATER ... LESS_EQUAL          left right -> boolean
 *   AND, OR       left right -> boolean
 *   SKIP_NULL, SKIP_FALSE, SKIP_TRUE       value -> value; jumps when it is that
 *   BETWEEN_LOW   value low -> result value    when value >= low is not false; else
 *                           -> false, and jumps
 *   OUTSIDE_LOW   value low -> result value    when value < low is not true; else
 *                           -> true, and jumps
 */
#ifndef BROKER_FILTER_SQL_PROGRAM_H
#define BROKER_FILTER_SQL_PROGRAM_H

#include "broker/filter/sql_filter.h"
#include "broker/filter/sql_value.h"
#include "common/base/buf.h"

enum sql_code {
    SQL_CODE_CONSTANT,
    SQL_CODE_PROPERTY, /* up to here without operands */
    SQL_CODE_CAST,
    SQL_CODE_NOT,
    SQL_CODE_NEGATE,
    SQL_CODE_IS_NULL,
    SQL_CODE_IN,
    SQL_CODE_NOT_IN,
    SQL_CODE_EQUAL,
    SQL_CODE_GREATER,
    SQL_CODE_GREATER_EQUAL,
    SQL_CODE_LESS,
    SQL_CODE_LESS_EQUAL,
    SQL_CODE_AND,
    SQL_CODE_OR,
    SQL_CODE_SKIP_NULL,
    SQL_CODE_SKIP_FALSE,
    SQL_CODE_SKIP_TRUE,
    SQL_CODE_BETWEEN_LOW,
    SQL_CODE_OUTSIDE_LOW,
};

struct sql_operation {
    enum sql_code code;
    uint32_t argument; /* or where a jump goes */
};

/* The strings of IN: members [first, first + count), sorted bytewise, each once. */
struct sql_list {
    uint32_t first;
    uint32_t count;
};

/* Values on the stack at a time. Each level of nesting adds at most five: left sides of OR, AND and
 * an equality, and the two that BETWEEN keeps. */
#define SQL_STACK_MAX (5 * SQL_DEPTH_MAX + 8)

struct sql_filter {
    uint8_t *text;         /* the expression, its strings decoded in place; slices point here */
    struct buf operations; /* of struct sql_operation */
    struct buf constants;  /* of struct sql_value */
    struct buf lists;      /* of struct sql_list */
    struct buf members;    /* of struct slice */
    struct buf names;      /* of struct slice: properties */
    struct buf order;      /* of uint16_t: which name comes next in bytewise order */
    size_t name_count;
    size_t text_bytes;
    size_t ignored; /* see sql_filter_ignored */
};

/* Bytewise order; below 0, 0, above 0. */
int sql_slice_order(struct slice left, struct slice right);

/* Where `name` is, or belongs, in `order`. True: it is there. */
bool sql_find_name(const struct sql_filter *filter, struct slice name, size_t *rank);

#endif
