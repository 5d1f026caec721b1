/* SPDX-License-Identifier: Apache-2.0
 *
 * An expression, a zero byte, and a property string: compiling ends in a filter or in words; the
 * filter takes bounded memory, gives the same result twice, and as a part of a longer expression
 * means what it means alone.
 */
#include "broker/filter/sql_filter.h"
#include "common/base/buf.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum sql_result opposite(enum sql_result result)
{
    return result == SQL_RESULT_TRUE    ? SQL_RESULT_FALSE
           : result == SQL_RESULT_FALSE ? SQL_RESULT_TRUE
                                        : result;
}

/* NOT (expression). What is ignored behind an expression would be an error there, and a comment may
 * hide the parenthesis; so it may fail, but not mean anything else. */
static void check_within(struct slice expression, struct slice properties, enum sql_result alone)
{
    struct buf text = BUF_EMPTY;
    struct sql_filter *filter = NULL;
    buf_append_cstr(&text, "NOT (");
    buf_append_slice(&text, expression);
    buf_append_byte(&text, ')');
    if (sql_filter_compile(buf_slice(&text), &filter, NULL) == STATUS_OK) {
        CHECK(sql_filter_evaluate(filter, properties) == opposite(alone));
        sql_filter_free(filter);
    }
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size == 0 ? NULL : memchr(data, 0, size);
    size_t split = zero == NULL ? size : (size_t)(zero - data);
    struct slice expression = slice_of(data, split);
    struct slice properties = zero == NULL ? SLICE_EMPTY : slice_of(zero + 1, size - split - 1);
    struct sql_filter *filter = NULL;
    struct err err = {.text = ""};
    if (sql_filter_compile(expression, &filter, &err) != STATUS_OK) {
        CHECK(err.text[0] != '\0');
        return 0;
    }
    CHECK(sql_filter_bytes(filter) < 4096 + 64 * size);
    CHECK(sql_filter_ignored(filter) <= split);
    enum sql_result result = sql_filter_evaluate(filter, properties);
    CHECK(sql_filter_evaluate(filter, properties) == result);
    CHECK(sql_filter_matches(filter, properties) == (result == SQL_RESULT_TRUE));
    if (sql_filter_ignored(filter) == 0)
        check_within(expression, properties, result);
    sql_filter_free(filter);
    return 0;
}
