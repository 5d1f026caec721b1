/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a compiled expression. The property string is walked once, for the names that the
 * expression has; of repeated names the last counts, as in 4.9.2's map.
 *
 * Invariant: the compiler has made sure that the stack holds what each operation takes, that it
 * stays within SQL_STACK_MAX, and that operands of NOT, AND and OR are booleans or null.
 */
#include "broker/filter/sql_program.h"

#include "common/base/check.h"
#include "proto/properties.h"

/* Up to here a walk beats the binary search. */
#define LINEAR_NAMES_MAX 8

int sql_slice_order(struct slice left, struct slice right)
{
    size_t common = left.size < right.size ? left.size : right.size;
    int order = common == 0 ? 0 : memcmp(left.data, right.data, common);
    return order != 0 ? order : (left.size > right.size) - (left.size < right.size);
}

/* Binary search. by_order  which of `texts` comes first, second ...; NULL: as they stand
 * rank  where it is, or would be put in, in that order */
static bool find_sorted(const struct slice *texts, const uint16_t *by_order, size_t count,
                        struct slice text, size_t *rank)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = sql_slice_order(texts[by_order == NULL ? middle : by_order[middle]], text);
        if (order == 0) {
            *rank = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *rank = low;
    return false;
}

bool sql_find_name(const struct sql_filter *filter, struct slice name, size_t *rank)
{
    return find_sorted((const struct slice *)(void *)filter->names.data,
                       (const uint16_t *)(void *)filter->order.data, filter->name_count, name,
                       rank);
}

struct machine {
    const struct sql_filter *filter;
    struct slice properties[SQL_NAMES_MAX]; /* data NULL: the message has none */
    struct sql_value stack[SQL_STACK_MAX];
    size_t height;
};

static void find_properties(struct machine *machine, struct slice properties)
{
    const struct sql_filter *filter = machine->filter;
    const struct slice *names = (const struct slice *)(void *)filter->names.data;
    const uint16_t *by_order = (const uint16_t *)(void *)filter->order.data;
    struct slice name;
    struct slice value;
    size_t cursor = 0;
    size_t rank;
    for (size_t i = 0; i < filter->name_count; i++)
        machine->properties[i] = SLICE_EMPTY;
    while (filter->name_count > 0 && properties_next(properties, &cursor, &name, &value)) {
        if (filter->name_count > LINEAR_NAMES_MAX) {
            if (sql_find_name(filter, name, &rank))
                machine->properties[by_order[rank]] = value;
            continue;
        }
        for (size_t i = 0; i < filter->name_count; i++)
            if (slice_equal(names[i], name))
                machine->properties[i] = value;
    }
}

static void set_boolean(struct sql_value *value, bool boolean)
{
    value->type = SQL_TYPE_BOOLEAN;
    value->boolean = boolean;
}

static bool is_boolean(const struct sql_value *value, bool boolean)
{
    return value->type == SQL_TYPE_BOOLEAN && value->boolean == boolean;
}

static void negate(struct sql_value *value)
{
    if (value->type == SQL_TYPE_DOUBLE)
        value->number = -value->number;
    else if (value->type == SQL_TYPE_INTEGER || value->type == SQL_TYPE_LONG)
        value->integer = -value->integer; /* literals have no sign: it fits */
    else
        value->type = SQL_TYPE_NULL;
}

static bool is_member(const struct sql_filter *filter, uint32_t which, struct slice text)
{
    const struct sql_list *list = (const struct sql_list *)(void *)filter->lists.data + which;
    const struct slice *members = (const struct slice *)(void *)filter->members.data + list->first;
    size_t rank;
    return find_sorted(members, NULL, list->count, text, &rank);
}

/* left becomes the result. False: the two cannot be compared. */
static bool equal(struct sql_value *left, const struct sql_value *right)
{
    int order = 0;
    if (left->type == SQL_TYPE_NULL) {
        if (right->type == SQL_TYPE_NULL)
            set_boolean(left, true);
        return true;
    }
    if (right->type == SQL_TYPE_NULL) {
        set_boolean(left, false);
        return true;
    }
    if (!sql_compare(left, right, &order))
        return false;
    set_boolean(left, order == 0);
    return true;
}

/* The same for the order of two values; left is not null. */
static bool compare(enum sql_code code, struct sql_value *left, const struct sql_value *right)
{
    int order;
    if (right->type == SQL_TYPE_NULL) {
        left->type = SQL_TYPE_NULL;
        return true;
    }
    if (!sql_compare_order(left, right, &order))
        return false;
    set_boolean(left, code == SQL_CODE_GREATER         ? order > 0
                      : code == SQL_CODE_GREATER_EQUAL ? order >= 0
                      : code == SQL_CODE_LESS          ? order < 0
                                                       : order <= 0);
    return true;
}

/* The first half of [NOT] BETWEEN. *jumps: it has settled the whole. */
static bool compare_low(struct machine *machine, bool outside, bool *jumps)
{
    struct sql_value *value = &machine->stack[machine->height - 2];
    struct sql_value *low = value + 1;
    struct sql_value result = *value;
    if (!compare(outside ? SQL_CODE_LESS : SQL_CODE_GREATER_EQUAL, &result, low))
        return false;
    *jumps = is_boolean(&result, outside);
    *low = *value;
    *value = result;
    machine->height -= *jumps ? 1 : 0;
    return true;
}

/* AND with `decisive` false, OR with it true: that wins over null, and null over the other. */
static void combine(bool decisive, struct sql_value *left, const struct sql_value *right)
{
    if (is_boolean(left, decisive) || is_boolean(right, decisive))
        set_boolean(left, decisive);
    else if (right->type == SQL_TYPE_NULL)
        left->type = SQL_TYPE_NULL;
}

static void in(const struct sql_filter *filter, const struct sql_operation *operation,
               struct sql_value *value)
{
    if (value->type != SQL_TYPE_NULL)
        set_boolean(value, is_member(filter, operation->argument, value->string) ==
                               (operation->code == SQL_CODE_IN));
}

/* Operations with one operand, and jumps by it. True: jump. */
static bool run_unary(const struct sql_filter *filter, const struct sql_operation *operation,
                      struct sql_value *top)
{
    switch (operation->code) {
    case SQL_CODE_SKIP_NULL:
        return top->type == SQL_TYPE_NULL;
    case SQL_CODE_SKIP_FALSE:
        return is_boolean(top, false);
    case SQL_CODE_SKIP_TRUE:
        return is_boolean(top, true);
    case SQL_CODE_CAST:
        /* Properties are strings, which are never true. */
        if (top->type != SQL_TYPE_NULL)
            set_boolean(top, false);
        return false;
    case SQL_CODE_NOT:
        if (top->type != SQL_TYPE_NULL)
            top->boolean = !top->boolean;
        return false;
    case SQL_CODE_NEGATE:
        negate(top);
        return false;
    case SQL_CODE_IS_NULL:
        set_boolean(top, top->type == SQL_TYPE_NULL);
        return false;
    default:
        in(filter, operation, top);
        return false;
    }
}

static void push(struct machine *machine, const struct sql_operation *operation)
{
    const struct sql_value *constants =
        (const struct sql_value *)(void *)machine->filter->constants.data;
    struct sql_value *value = &machine->stack[machine->height++];
    if (operation->code == SQL_CODE_CONSTANT) {
        *value = constants[operation->argument];
        return;
    }
    value->string = machine->properties[operation->argument];
    value->type = value->string.data == NULL ? SQL_TYPE_NULL : SQL_TYPE_STRING;
}

/* An operation that takes operands. False: the evaluation fails. */
static bool run_one(struct machine *machine, const struct sql_operation *operation, bool *jumps)
{
    struct sql_value *top = &machine->stack[machine->height - 1];
    switch (operation->code) {
    case SQL_CODE_EQUAL:
        machine->height--;
        return equal(top - 1, top);
    case SQL_CODE_GREATER:
    case SQL_CODE_GREATER_EQUAL:
    case SQL_CODE_LESS:
    case SQL_CODE_LESS_EQUAL:
        machine->height--;
        return compare(operation->code, top - 1, top);
    case SQL_CODE_AND:
    case SQL_CODE_OR:
        machine->height--;
        combine(operation->code == SQL_CODE_OR, top - 1, top);
        return true;
    case SQL_CODE_BETWEEN_LOW:
    case SQL_CODE_OUTSIDE_LOW:
        return compare_low(machine, operation->code == SQL_CODE_OUTSIDE_LOW, jumps);
    default:
        *jumps = run_unary(machine->filter, operation, top);
        return true;
    }
}

enum sql_result sql_filter_evaluate(const struct sql_filter *filter, struct slice properties)
{
    struct machine machine;
    const struct sql_operation *operations =
        (const struct sql_operation *)(void *)filter->operations.data;
    size_t count = filter->operations.size / sizeof *operations;
    machine.filter = filter;
    machine.height = 0;
    find_properties(&machine, properties);
    for (size_t at = 0; at < count;) {
        bool jumps = false;
        DCHECK(machine.height < SQL_STACK_MAX);
        if (operations[at].code <= SQL_CODE_PROPERTY)
            push(&machine, &operations[at]);
        else if (!run_one(&machine, &operations[at], &jumps))
            return SQL_RESULT_ERROR;
        at = jumps ? operations[at].argument : at + 1;
    }
    DCHECK(machine.height == 1);
    if (machine.stack[0].type == SQL_TYPE_NULL)
        return SQL_RESULT_NULL;
    return machine.stack[0].boolean ? SQL_RESULT_TRUE : SQL_RESULT_FALSE;
}
