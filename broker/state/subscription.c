/* SPDX-License-Identifier: Apache-2.0
 *
 * A subscription is one piece of memory: the struct, its codes, its tag table, its strings.
 * Source: RMQ common/.../FilterAPI.java, broker/.../ExpressionMessageFilter.java.
 */
#include "broker/state/subscription.h"

#include "broker/store/consumequeue_format.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/properties.h"

#include <stdatomic.h>
#include <stdlib.h>

#define MATCH_ALL "*"
/* Up to here a walk beats the binary search. */
#define LINEAR_CODES_MAX 8

/* What a subscription is made of; tags and codes need not be sorted. */
struct parts {
    const char *topic;
    const char *expression;
    const char *expression_type;
    bool class_filter_mode;
    int64_t version;
    const struct slice *tags;
    size_t tag_count;
    const int32_t *codes;
    size_t code_count;
};

struct subscription *subscription_ref(struct subscription *subscription)
{
    (void)atomic_fetch_add_explicit(&subscription->references, 1, memory_order_relaxed);
    return subscription;
}

void subscription_unref(struct subscription *subscription)
{
    if (subscription != NULL &&
        atomic_fetch_sub_explicit(&subscription->references, 1, memory_order_acq_rel) == 1)
        free(subscription);
}

static int compare_codes(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int compare_tags(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int unique_codes(int32_t *codes, size_t count)
{
    int kept = 0;
    qsort(codes, count, sizeof *codes, compare_codes);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || codes[kept - 1] != codes[i])
            codes[kept++] = codes[i];
    return kept;
}

static int unique_tags(const char **tags, size_t count)
{
    int kept = 0;
    qsort(tags, count, sizeof *tags, compare_tags);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(tags[kept - 1], tags[i]) != 0)
            tags[kept++] = tags[i];
    return kept;
}

static const char *put_text(char **at, struct slice text)
{
    char *start = *at;
    if (text.size != 0)
        memcpy(start, text.data, text.size);
    start[text.size] = 0;
    *at = start + text.size + 1;
    return start;
}

static enum status assemble(const struct parts *parts, struct subscription **out)
{
    struct slice topic = slice_of_cstr(parts->topic);
    struct slice expression = slice_of_cstr(parts->expression);
    struct slice type = slice_of_cstr(parts->expression_type);
    size_t text_bytes = topic.size + expression.size + type.size + 3;
    for (size_t i = 0; i < parts->tag_count; i++)
        text_bytes += parts->tags[i].size + 1;
    if (parts->tag_count > SUBSCRIPTION_TAGS_MAX || parts->code_count > SUBSCRIPTION_TAGS_MAX ||
        text_bytes > 2 * SUBSCRIPTION_EXPRESSION_BYTES_MAX)
        return STATUS_TOO_LARGE;

    struct subscription *made;
    size_t tags_at = sizeof *made;
    size_t codes_at = tags_at + parts->tag_count * sizeof(char *);
    size_t text_at = codes_at + parts->code_count * sizeof(int32_t);
    char *memory = xmalloc(text_at + text_bytes);
    const char **tags = (const char **)(void *)(memory + tags_at);
    int32_t *codes = (int32_t *)(void *)(memory + codes_at);
    char *text = memory + text_at;

    made = (struct subscription *)(void *)memory;
    *made = (struct subscription){
        .class_filter_mode = parts->class_filter_mode,
        .version = parts->version,
        .tags = tags,
        .codes = codes,
        .bytes = text_at + text_bytes,
    };
    atomic_init(&made->references, 1);
    made->topic = put_text(&text, topic);
    made->expression = put_text(&text, expression);
    made->expression_type = put_text(&text, type);
    for (size_t i = 0; i < parts->tag_count; i++)
        tags[i] = put_text(&text, parts->tags[i]);
    made->tag_count = unique_tags(tags, parts->tag_count);
    if (parts->code_count != 0)
        memcpy(codes, parts->codes, parts->code_count * sizeof *codes);
    made->code_count = unique_codes(codes, parts->code_count);
    made->tag_type = strcmp(made->expression_type, EXPRESSION_TYPE_TAG) == 0;
    made->match_all = made->tag_type && strcmp(made->expression, MATCH_ALL) == 0;
    *out = made;
    return STATUS_OK;
}

/* --- from a pull request --- */

/* Java's String.trim. */
static struct slice trim(struct slice text)
{
    while (text.size != 0 && text.data[0] <= ' ')
        text = slice_from(text, 1);
    while (text.size != 0 && text.data[text.size - 1] <= ' ')
        text.size--;
    return text;
}

/* The next piece before "||" or the end; false when there is none. */
static bool next_tag(struct slice *rest, struct slice *tag)
{
    if (rest->data == NULL)
        return false;
    for (size_t i = 0; i + 1 < rest->size; i++)
        if (rest->data[i] == '|' && rest->data[i + 1] == '|') {
            *tag = trim(slice_of(rest->data, i));
            *rest = slice_from(*rest, i + 2);
            return true;
        }
    *tag = trim(*rest);
    *rest = SLICE_EMPTY;
    return true;
}

static enum status build_from_tags(struct parts *parts, struct subscription **out)
{
    struct slice tags[SUBSCRIPTION_TAGS_MAX];
    int32_t codes[SUBSCRIPTION_TAGS_MAX];
    struct slice rest = slice_of_cstr(parts->expression);
    size_t count = 0;
    for (struct slice tag; next_tag(&rest, &tag);) {
        if (tag.size == 0)
            continue;
        if (count == SUBSCRIPTION_TAGS_MAX)
            return STATUS_TOO_LARGE;
        tags[count] = tag;
        codes[count++] = java_string_hash(tag);
    }
    if (count == 0)
        return STATUS_MALFORMED;
    parts->tags = tags;
    parts->codes = codes;
    parts->tag_count = parts->code_count = count;
    return assemble(parts, out);
}

static bool is_tag_type(const char *type)
{
    return type == NULL || type[0] == 0 || strcmp(type, EXPRESSION_TYPE_TAG) == 0;
}

enum status subscription_build(const char *topic, const char *expression,
                               const char *expression_type, int64_t version,
                               struct subscription **out)
{
    bool empty = expression == NULL || expression[0] == 0;
    struct parts parts = {.topic = topic,
                          .expression = expression,
                          .expression_type = expression_type,
                          .version = version};
    if (!empty && strlen(expression) > SUBSCRIPTION_EXPRESSION_BYTES_MAX)
        return STATUS_TOO_LARGE;
    if (!is_tag_type(expression_type))
        return empty ? STATUS_MALFORMED : assemble(&parts, out);
    parts.expression_type = EXPRESSION_TYPE_TAG;
    if (!empty && strcmp(expression, MATCH_ALL) != 0)
        return build_from_tags(&parts, out);
    parts.expression = MATCH_ALL;
    return assemble(&parts, out);
}

/* --- bodies --- */

enum status subscription_from_body(const SubscriptionData *body, struct subscription **out)
{
    struct slice tags[SUBSCRIPTION_TAGS_MAX];
    bool tag_type = is_tag_type(body->expression_type);
    bool everything = body->sub_string == NULL || body->sub_string[0] == 0;
    if (body->topic == NULL || body->topic[0] == 0)
        return STATUS_INVALID;
    if (body->n_tags_set > SUBSCRIPTION_TAGS_MAX)
        return STATUS_TOO_LARGE;
    for (size_t i = 0; i < body->n_tags_set; i++)
        tags[i] = slice_of_cstr(body->tags_set[i]);
    struct parts parts = {
        .topic = body->topic,
        .expression = tag_type && everything ? MATCH_ALL : body->sub_string,
        .expression_type = tag_type ? EXPRESSION_TYPE_TAG : body->expression_type,
        .class_filter_mode = body->class_filter_mode,
        .version = body->sub_version,
        .tags = tags,
        .tag_count = body->n_tags_set,
        .codes = body->code_set,
        .code_count = body->n_code_set,
    };
    return assemble(&parts, out);
}

SubscriptionData *subscription_wrap(const struct subscription *subscription, struct arena *arena)
{
    SubscriptionData *out = arena_alloc(arena, sizeof *out);
    size_t tag_count = (size_t)subscription->tag_count;
    size_t code_count = (size_t)subscription->code_count;
    subscription_data__init(out);
    out->class_filter_mode = subscription->class_filter_mode;
    out->expression_type = arena_cstr(arena, slice_of_cstr(subscription->expression_type));
    out->sub_string = arena_cstr(arena, slice_of_cstr(subscription->expression));
    out->sub_version = subscription->version;
    out->topic = arena_cstr(arena, slice_of_cstr(subscription->topic));
    out->n_code_set = code_count;
    out->code_set = arena_alloc(arena, code_count * sizeof *out->code_set);
    if (code_count != 0)
        memcpy(out->code_set, subscription->codes, code_count * sizeof *out->code_set);
    out->n_tags_set = tag_count;
    out->tags_set = arena_alloc(arena, tag_count * sizeof *out->tags_set);
    for (size_t i = 0; i < tag_count; i++)
        out->tags_set[i] = arena_cstr(arena, slice_of_cstr(subscription->tags[i]));
    return out;
}

/* --- matching --- */

bool subscription_match(void *subscription, int64_t tags_code)
{
    const struct subscription *wanted = subscription;
    if (wanted->match_all || wanted->class_filter_mode || !wanted->tag_type)
        return true;
    /* The client looks at the tag itself. */
    if (queue_tags_code_is_elsewhere(tags_code))
        return true;
    /* Java compares the low 32 bits: codeSet.contains(tagsCode.intValue()). */
    int32_t code = (int32_t)tags_code;
    size_t count = (size_t)wanted->code_count;
    if (count > LINEAR_CODES_MAX)
        return bsearch(&code, wanted->codes, count, sizeof code, compare_codes) != NULL;
    for (size_t i = 0; i < count; i++)
        if (wanted->codes[i] == code)
            return true;
    return false;
}
