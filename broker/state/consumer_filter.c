/* SPDX-License-Identifier: Apache-2.0
 *
 * A filter is one piece of memory with its strings behind it, and the compiled expression.
 */
#include "broker/state/consumer_filter.h"

#include "common/base/check.h"

#include <stdatomic.h>
#include <stdlib.h>

enum status consumer_filter_new(const char *expression_type, const char *expression,
                                struct consumer_filter **out, struct err *err)
{
    struct sql_filter *compiled;
    size_t expression_bytes = strlen(expression);
    if (strcmp(expression_type, EXPRESSION_TYPE_SQL92) != 0)
        return err_set(err, STATUS_UNSUPPORTED,
                       "the expression type \"%.64s\" is not known: TAG and SQL92 are",
                       expression_type);
    enum status status = sql_filter_compile(slice_of(expression, expression_bytes), &compiled, err);
    if (status != STATUS_OK)
        return status;
    size_t bytes = sizeof(struct consumer_filter) + expression_bytes + 1;
    struct consumer_filter *filter = xmalloc(bytes);
    char *text = (char *)(filter + 1);
    memcpy(text, expression, expression_bytes + 1);
    *filter = (struct consumer_filter){.bytes = bytes + sql_filter_bytes(compiled),
                                       .compiled = compiled,
                                       .expression_type = EXPRESSION_TYPE_SQL92,
                                       .expression = text};
    atomic_init(&filter->references, 1);
    *out = filter;
    return STATUS_OK;
}

struct consumer_filter *consumer_filter_ref(struct consumer_filter *filter)
{
    (void)atomic_fetch_add_explicit(&filter->references, 1, memory_order_relaxed);
    return filter;
}

void consumer_filter_unref(struct consumer_filter *filter)
{
    if (filter == NULL ||
        atomic_fetch_sub_explicit(&filter->references, 1, memory_order_acq_rel) != 1)
        return;
    sql_filter_free(filter->compiled);
    free(filter);
}

bool consumer_filter_is(const struct consumer_filter *filter, const char *expression_type,
                        const char *expression)
{
    return strcmp(filter->expression_type, expression_type) == 0 &&
           strcmp(filter->expression, expression) == 0;
}
