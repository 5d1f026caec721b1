/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiling: one function per rule of the grammar, each of which emits the operations of what it
 * has read. A `node` is what the compiler knows about the value that the operations leave behind.
 *
 *     or         and { OR and }
 *     and        equality { AND equality }
 *     equality   comparison { = comparison | <> comparison | IS [NOT] NULL }
 *     comparison unary { > unary | >= unary | < unary | <= unary
 *                        | [NOT] BETWEEN unary AND unary | [NOT] IN ( string {, string} ) }
 *     unary      + unary | - unary | NOT unary | primary
 *     primary    literal | name | ( or )
 *
 * Words are looked at one at a time, and no further than 4.9.2's parser does: what stands behind
 * the expression may be no words at all. Recursion is bounded by SQL_DEPTH_MAX.
 */
#include "broker/filter/sql_program.h"

#include "broker/filter/sql_token.h"
#include "common/base/check.h"
#include "common/base/number.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define QUOTED_BYTES_MAX 40

enum node_kind {
    NODE_CONSTANT,
    NODE_PROPERTY,
    NODE_NUMBER,    /* the result of a minus sign */
    NODE_CONDITION, /* true, false or null */
};

struct node {
    enum node_kind kind;
    struct sql_value constant; /* CONSTANT */
    size_t at;                 /* where it begins */
};

struct compiler {
    struct slice expression;
    struct sql_filter *filter;
    struct sql_token token; /* the next one, when `looked` */
    bool looked;
    size_t cursor;
    size_t depth;
    size_t height; /* of the stack at this place of the program */
    enum status status;
    struct err *err;
};

/* --- failing --- */

/* Which character the byte belongs to, counted from 1. */
static size_t character_at(struct slice expression, size_t at)
{
    size_t character = 1;
    for (size_t i = 0; i < at && i < expression.size; i++)
        character += (expression.data[i] & 0xC0) != 0x80;
    return character;
}

/* Always false, so that rules can end with it. The first failure counts. */
__attribute__((format(printf, 4, 5))) static bool
fail(struct compiler *compiler, enum status status, size_t at, const char *format, ...)
{
    char text[256];
    va_list args;
    if (compiler->status != STATUS_OK)
        return false;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    compiler->status =
        err_set(compiler->err, status, "the expression is wrong at character %zu: %s",
                character_at(compiler->expression, at), text);
    return false;
}

static int quoted(struct slice text)
{
    return (int)(text.size > QUOTED_BYTES_MAX ? QUOTED_BYTES_MAX : text.size);
}

static struct sql_token *look(struct compiler *compiler)
{
    if (!compiler->looked)
        compiler->token = sql_token_next(compiler->expression, &compiler->cursor);
    compiler->looked = true;
    return &compiler->token;
}

/* Something else is expected. */
static bool unexpected(struct compiler *compiler, const char *expected)
{
    const struct sql_token *token = look(compiler);
    if (token->kind == SQL_END)
        return fail(compiler, STATUS_MALFORMED, token->at, "the expression ends where %s belongs",
                    expected);
    if (token->kind == SQL_BAD && token->text.data[0] == '\'')
        return fail(compiler, STATUS_MALFORMED, token->at, "the string has no closing quote");
    if (token->kind == SQL_BAD && (token->text.data[0] < ' ' || token->text.data[0] > '~'))
        return fail(compiler, STATUS_MALFORMED, token->at,
                    "this character is allowed in strings only; %s belongs here", expected);
    return fail(compiler, STATUS_MALFORMED, token->at, "found \"%.*s\" where %s belongs",
                quoted(token->text), (const char *)token->text.data, expected);
}

static bool is_next(struct compiler *compiler, enum sql_token_kind kind)
{
    return look(compiler)->kind == kind;
}

/* Go on behind the next word when it is of that kind. */
static bool took(struct compiler *compiler, enum sql_token_kind kind)
{
    if (!is_next(compiler, kind))
        return false;
    compiler->looked = false;
    return true;
}

static bool expect(struct compiler *compiler, enum sql_token_kind kind, const char *expected)
{
    return took(compiler, kind) || unexpected(compiler, expected);
}

/* --- emitting --- */

static size_t operation_count(const struct compiler *compiler)
{
    return compiler->filter->operations.size / sizeof(struct sql_operation);
}

/* change  of the stack's height */
static bool emit(struct compiler *compiler, enum sql_code code, size_t argument, int change)
{
    struct sql_operation operation = {code, (uint32_t)argument};
    if (operation_count(compiler) >= SQL_OPERATIONS_MAX)
        return fail(compiler, STATUS_TOO_LARGE, compiler->token.at,
                    "the expression has more than %d operations", SQL_OPERATIONS_MAX);
    buf_append(&compiler->filter->operations, &operation, sizeof operation);
    compiler->height += (size_t)change;
    CHECK(compiler->height < SQL_STACK_MAX);
    return true;
}

/* The jump at `operation` leads here. */
static void land(struct compiler *compiler, size_t operation)
{
    ((struct sql_operation *)(void *)compiler->filter->operations.data)[operation].argument =
        (uint32_t)operation_count(compiler);
}

static bool emit_constant(struct compiler *compiler, const struct sql_value *value)
{
    struct buf *constants = &compiler->filter->constants;
    size_t which = constants->size / sizeof *value;
    buf_append(constants, value, sizeof *value);
    return emit(compiler, SQL_CODE_CONSTANT, which, 1);
}

/* The bytes of a word in the filter's own copy of the expression. */
static struct slice own(const struct compiler *compiler, const struct sql_token *token)
{
    return slice_of(compiler->filter->text + token->at, token->text.size);
}

/* A string without its quotes, decoded in the filter's copy. */
static struct slice decode_string(const struct compiler *compiler, const struct sql_token *token)
{
    uint8_t *text = compiler->filter->text + token->at;
    size_t size = 0;
    for (size_t i = 1; i + 1 < token->text.size; i++) {
        text[size++] = token->text.data[i];
        if (token->text.data[i] == '\'')
            i++;
    }
    return slice_of(text, size);
}

static bool emit_property(struct compiler *compiler, const struct sql_token *token)
{
    struct sql_filter *filter = compiler->filter;
    struct slice name = own(compiler, token);
    size_t rank;
    if (!sql_find_name(filter, name, &rank)) {
        uint16_t which = (uint16_t)filter->name_count;
        if (filter->name_count == SQL_NAMES_MAX)
            return fail(compiler, STATUS_TOO_LARGE, token->at,
                        "the expression names more than %d properties", SQL_NAMES_MAX);
        buf_append(&filter->names, &name, sizeof name);
        buf_append(&filter->order, &which, sizeof which);
        uint16_t *order = (uint16_t *)(void *)filter->order.data;
        memmove(order + rank + 1, order + rank, (filter->name_count - rank) * sizeof which);
        order[rank] = which;
        filter->name_count++;
    }
    uint16_t which = ((const uint16_t *)(void *)filter->order.data)[rank];
    return emit(compiler, SQL_CODE_PROPERTY, which, 1);
}

/* --- what may stand where --- */

static bool is_condition(const struct node *node)
{
    return node->kind == NODE_CONDITION ||
           (node->kind == NODE_CONSTANT &&
            (node->constant.type == SQL_TYPE_BOOLEAN || node->constant.type == SQL_TYPE_NULL));
}

/* A condition; a property counts as one. */
static bool as_condition(struct compiler *compiler, struct node *node)
{
    if (node->kind == NODE_PROPERTY && !emit(compiler, SQL_CODE_CAST, 0, 0))
        return false;
    if (node->kind != NODE_PROPERTY && !is_condition(node))
        return fail(compiler, STATUS_MALFORMED, node->at,
                    "a condition belongs here, not a value: compare it with something");
    node->kind = NODE_CONDITION;
    return true;
}

static bool is_numeric(const struct node *node)
{
    return node->kind == NODE_CONSTANT && node->constant.type != SQL_TYPE_STRING &&
           !is_condition(node);
}

/* What >, >=, <, <= and BETWEEN take. */
static bool check_order_operand(struct compiler *compiler, const struct node *node)
{
    if (is_numeric(node) || node->kind == NODE_PROPERTY || node->kind == NODE_NUMBER)
        return true;
    return fail(
        compiler, STATUS_MALFORMED, node->at,
        "%s can not be compared by >, >=, <, <= or BETWEEN: only numbers and properties can",
        node->kind == NODE_CONSTANT && node->constant.type == SQL_TYPE_STRING ? "a string"
                                                                              : "a condition");
}

static bool check_equal_operands(struct compiler *compiler, const struct node *left,
                                 const struct node *right)
{
    const struct node *null =
        left->kind == NODE_CONSTANT && left->constant.type == SQL_TYPE_NULL     ? left
        : right->kind == NODE_CONSTANT && right->constant.type == SQL_TYPE_NULL ? right
                                                                                : NULL;
    if (null != NULL)
        return fail(compiler, STATUS_MALFORMED, null->at,
                    "NULL can not be compared: write IS NULL or IS NOT NULL");
    if (left->kind == NODE_CONSTANT && left->constant.type == SQL_TYPE_BOOLEAN &&
        right->kind == NODE_CONSTANT && right->constant.type != SQL_TYPE_BOOLEAN)
        return fail(compiler, STATUS_MALFORMED, right->at,
                    "TRUE and FALSE can not be compared with a number or a string");
    return true;
}

/* --- the grammar --- */

static bool read_or(struct compiler *compiler, struct node *out);
static bool read_unary(struct compiler *compiler, struct node *out);

static bool read_number(struct compiler *compiler, const struct sql_token *token,
                        struct sql_value *out)
{
    struct slice digits = token->text;
    if (token->kind == SQL_FLOAT) {
        out->type = SQL_TYPE_DOUBLE;
        if (!sql_parse_double(digits, &out->number) || out->number > DBL_MAX)
            return fail(compiler, STATUS_MALFORMED, token->at, "the number %.*s is too large",
                        quoted(digits), (const char *)digits.data);
        if (out->number == 0)
            return fail(compiler, STATUS_MALFORMED, token->at,
                        "the number %.*s is too small: the zero is written 0", quoted(digits),
                        (const char *)digits.data);
        return true;
    }
    if ((digits.data[digits.size - 1] | 0x20) == 'l')
        digits.size--;
    if (!parse_i64(digits, &out->integer))
        return fail(compiler, STATUS_MALFORMED, token->at, "the number %.*s is too large",
                    quoted(digits), (const char *)digits.data);
    out->type = out->integer > INT32_MAX ? SQL_TYPE_LONG : SQL_TYPE_INTEGER;
    return true;
}

static bool read_literal(struct compiler *compiler, const struct sql_token *token, struct node *out)
{
    struct sql_value *value = &out->constant;
    out->kind = NODE_CONSTANT;
    switch (token->kind) {
    case SQL_INTEGER:
    case SQL_FLOAT:
        if (!read_number(compiler, token, value))
            return false;
        break;
    case SQL_STRING:
        value->type = SQL_TYPE_STRING;
        value->string = decode_string(compiler, token);
        break;
    case SQL_NULL:
        value->type = SQL_TYPE_NULL;
        break;
    default:
        value->type = SQL_TYPE_BOOLEAN;
        value->boolean = token->kind == SQL_TRUE;
        break;
    }
    return emit_constant(compiler, value);
}

static bool read_primary(struct compiler *compiler, struct node *out)
{
    struct sql_token token = *look(compiler);
    *out = (struct node){.at = token.at};
    switch (token.kind) {
    case SQL_INTEGER:
    case SQL_FLOAT:
    case SQL_STRING:
    case SQL_TRUE:
    case SQL_FALSE:
    case SQL_NULL:
        compiler->looked = false;
        return read_literal(compiler, &token, out);
    case SQL_NAME:
        compiler->looked = false;
        out->kind = NODE_PROPERTY;
        return emit_property(compiler, &token);
    case SQL_OPEN:
        compiler->looked = false;
        return read_or(compiler, out) && expect(compiler, SQL_CLOSE, "\")\"");
    default:
        return unexpected(compiler, "a property, a value, NOT or \"(\"");
    }
}

static bool read_signed(struct compiler *compiler, struct node *out)
{
    size_t at = look(compiler)->at;
    if (took(compiler, SQL_PLUS))
        return read_unary(compiler, out);
    if (took(compiler, SQL_MINUS)) {
        bool read = read_unary(compiler, out) && emit(compiler, SQL_CODE_NEGATE, 0, 0);
        out->kind = NODE_NUMBER;
        out->at = at;
        return read;
    }
    if (took(compiler, SQL_NOT)) {
        bool read = read_unary(compiler, out) && as_condition(compiler, out) &&
                    emit(compiler, SQL_CODE_NOT, 0, 0);
        out->at = at;
        return read;
    }
    return read_primary(compiler, out);
}

static bool read_unary(struct compiler *compiler, struct node *out)
{
    if (++compiler->depth > SQL_DEPTH_MAX)
        return fail(compiler, STATUS_TOO_LARGE, look(compiler)->at,
                    "parentheses and signs are nested more than %d deep", SQL_DEPTH_MAX);
    bool read = read_signed(compiler, out);
    compiler->depth--;
    return read;
}

static bool read_order(struct compiler *compiler, enum sql_code code, struct node *left)
{
    struct node right;
    size_t skip = operation_count(compiler);
    compiler->looked = false;
    if (!check_order_operand(compiler, left) || !emit(compiler, SQL_CODE_SKIP_NULL, 0, 0) ||
        !read_unary(compiler, &right) || !check_order_operand(compiler, &right) ||
        !emit(compiler, code, 0, -1))
        return false;
    land(compiler, skip);
    left->kind = NODE_CONDITION;
    return true;
}

/* BETWEEN with constants that no value can be between. NOT BETWEEN takes them. */
static bool check_between(struct compiler *compiler, const struct node *low,
                          const struct node *high)
{
    int order = 0;
    if (low->kind != NODE_CONSTANT || high->kind != NODE_CONSTANT)
        return true;
    if (sql_compare(&high->constant, &low->constant, &order) && order >= 0)
        return true;
    return fail(compiler, STATUS_MALFORMED, low->at,
                "BETWEEN wants the smaller number first: nothing can match");
}

/* Behind [NOT] BETWEEN. The value is evaluated once and stays on the stack beside the result of its
 * first comparison. */
static bool read_between(struct compiler *compiler, bool outside, struct node *value)
{
    struct node low;
    struct node high;
    size_t null_skip = operation_count(compiler);
    if (!check_order_operand(compiler, value) || !emit(compiler, SQL_CODE_SKIP_NULL, 0, 0) ||
        !read_unary(compiler, &low) || !check_order_operand(compiler, &low))
        return false;
    size_t skip = operation_count(compiler);
    if (!emit(compiler, outside ? SQL_CODE_OUTSIDE_LOW : SQL_CODE_BETWEEN_LOW, 0, 0) ||
        !expect(compiler, SQL_AND, "AND") || !read_unary(compiler, &high) ||
        !check_order_operand(compiler, &high) ||
        (!outside && !check_between(compiler, &low, &high)) ||
        !emit(compiler, outside ? SQL_CODE_GREATER : SQL_CODE_LESS_EQUAL, 0, -1) ||
        !emit(compiler, outside ? SQL_CODE_OR : SQL_CODE_AND, 0, -1))
        return false;
    land(compiler, null_skip);
    land(compiler, skip);
    value->kind = NODE_CONDITION;
    return true;
}

static int by_order(const void *a, const void *b)
{
    return sql_slice_order(*(const struct slice *)a, *(const struct slice *)b);
}

/* Sort the members from `first` on, each once; how many are left. */
static uint32_t sort_members(struct buf *members, uint32_t first)
{
    struct slice *all = (struct slice *)(void *)members->data + first;
    size_t count = members->size / sizeof *all - first;
    uint32_t kept = 0;
    qsort(all, count, sizeof *all, by_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !slice_equal(all[kept - 1], all[i]))
            all[kept++] = all[i];
    members->size = (first + kept) * sizeof *all;
    return kept;
}

/* Behind [NOT] IN. */
static bool read_in(struct compiler *compiler, bool not, struct node *left)
{
    struct sql_filter *filter = compiler->filter;
    struct sql_list list = {.first = (uint32_t)(filter->members.size / sizeof(struct slice))};
    size_t which = filter->lists.size / sizeof list;
    if (!expect(compiler, SQL_OPEN, "\"(\""))
        return false;
    do {
        struct sql_token token = *look(compiler);
        if (!expect(compiler, SQL_STRING, "a string"))
            return false;
        struct slice member = decode_string(compiler, &token);
        buf_append(&filter->members, &member, sizeof member);
    } while (took(compiler, SQL_COMMA));
    if (!expect(compiler, SQL_CLOSE, "\",\" or \")\""))
        return false;
    if (left->kind != NODE_PROPERTY)
        return fail(compiler, STATUS_MALFORMED, left->at, "IN wants a property in front of it");
    list.count = sort_members(&filter->members, list.first);
    buf_append(&filter->lists, &list, sizeof list);
    left->kind = NODE_CONDITION;
    return emit(compiler, not ? SQL_CODE_NOT_IN : SQL_CODE_IN, which, 0);
}

static bool read_comparison(struct compiler *compiler, struct node *left)
{
    bool read = read_unary(compiler, left);
    while (read) {
        switch (look(compiler)->kind) {
        case SQL_GREATER:
            read = read_order(compiler, SQL_CODE_GREATER, left);
            break;
        case SQL_GREATER_EQUAL:
            read = read_order(compiler, SQL_CODE_GREATER_EQUAL, left);
            break;
        case SQL_LESS:
            read = read_order(compiler, SQL_CODE_LESS, left);
            break;
        case SQL_LESS_EQUAL:
            read = read_order(compiler, SQL_CODE_LESS_EQUAL, left);
            break;
        case SQL_BETWEEN:
        case SQL_IN:
        case SQL_NOT: {
            bool not = took(compiler, SQL_NOT);
            if (took(compiler, SQL_BETWEEN))
                read = read_between(compiler, not, left);
            else if (took(compiler, SQL_IN))
                read = read_in(compiler, not, left);
            else
                read = unexpected(compiler, "BETWEEN or IN");
            break;
        }
        default:
            return true;
        }
    }
    return false;
}

static bool read_equal(struct compiler *compiler, bool not, struct node *left)
{
    struct node right;
    if (!read_comparison(compiler, &right) || !check_equal_operands(compiler, left, &right) ||
        !emit(compiler, SQL_CODE_EQUAL, 0, -1) || (not &&!emit(compiler, SQL_CODE_NOT, 0, 0)))
        return false;
    left->kind = NODE_CONDITION;
    return true;
}

static bool read_is_null(struct compiler *compiler, struct node *left)
{
    bool not = took(compiler, SQL_NOT);
    if (!expect(compiler, SQL_NULL, not ? "NULL" : "NULL or NOT NULL") ||
        !emit(compiler, SQL_CODE_IS_NULL, 0, 0) || (not &&!emit(compiler, SQL_CODE_NOT, 0, 0)))
        return false;
    left->kind = NODE_CONDITION;
    return true;
}

static bool read_equality(struct compiler *compiler, struct node *left)
{
    bool read = read_comparison(compiler, left);
    while (read) {
        if (took(compiler, SQL_EQUAL))
            read = read_equal(compiler, false, left);
        else if (took(compiler, SQL_NOT_EQUAL))
            read = read_equal(compiler, true, left);
        else if (took(compiler, SQL_IS))
            read = read_is_null(compiler, left);
        else
            return true;
    }
    return false;
}

/* AND and OR: the right side is jumped over when the left one settles it. */
static bool read_logic(struct compiler *compiler, enum sql_token_kind word, enum sql_code skip_code,
                       enum sql_code code,
                       bool (*read_side)(struct compiler *compiler, struct node *out),
                       struct node *left)
{
    struct node right;
    if (!read_side(compiler, left))
        return false;
    while (took(compiler, word)) {
        if (!as_condition(compiler, left))
            return false;
        size_t skip = operation_count(compiler);
        if (!emit(compiler, skip_code, 0, 0) || !read_side(compiler, &right) ||
            !as_condition(compiler, &right) || !emit(compiler, code, 0, -1))
            return false;
        land(compiler, skip);
    }
    return true;
}

static bool read_and(struct compiler *compiler, struct node *out)
{
    return read_logic(compiler, SQL_AND, SQL_CODE_SKIP_FALSE, SQL_CODE_AND, read_equality, out);
}

static bool read_or(struct compiler *compiler, struct node *out)
{
    return read_logic(compiler, SQL_OR, SQL_CODE_SKIP_TRUE, SQL_CODE_OR, read_and, out);
}

/* --- life --- */

enum status sql_filter_compile(struct slice expression, struct sql_filter **out, struct err *err)
{
    struct node node;
    if (expression.size > SQL_EXPRESSION_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "the expression has %zu bytes, and %d are allowed",
                       expression.size, SQL_EXPRESSION_BYTES_MAX);
    struct sql_filter *filter = xcalloc(1, sizeof *filter);
    filter->text = xmalloc(expression.size + 1);
    filter->text_bytes = expression.size;
    if (expression.size > 0)
        memcpy(filter->text, expression.data, expression.size);
    struct compiler compiler = {.expression = expression, .filter = filter, .err = err};
    bool read = read_or(&compiler, &node) && as_condition(&compiler, &node);
    if (read && is_next(&compiler, SQL_BAD))
        read = unexpected(&compiler, "an operator or the end");
    if (!read) {
        sql_filter_free(filter);
        CHECK(compiler.status != STATUS_OK);
        return compiler.status;
    }
    CHECK(compiler.height == 1);
    if (!is_next(&compiler, SQL_END))
        filter->ignored = character_at(expression, compiler.token.at);
    *out = filter;
    return STATUS_OK;
}

void sql_filter_free(struct sql_filter *filter)
{
    if (filter == NULL)
        return;
    buf_release(&filter->operations);
    buf_release(&filter->constants);
    buf_release(&filter->lists);
    buf_release(&filter->members);
    buf_release(&filter->names);
    buf_release(&filter->order);
    free(filter->text);
    free(filter);
}

size_t sql_filter_bytes(const struct sql_filter *filter)
{
    return sizeof *filter + filter->text_bytes + filter->operations.capacity +
           filter->constants.capacity + filter->lists.capacity + filter->members.capacity +
           filter->names.capacity + filter->order.capacity;
}

size_t sql_filter_ignored(const struct sql_filter *filter)
{
    return filter->ignored;
}
