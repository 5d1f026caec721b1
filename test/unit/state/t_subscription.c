/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions from pull requests and heartbeats, and which tags codes they match.
 * Source: RMQ FilterAPI.java, ExpressionMessageFilter.java; behaviour PL-10; the codes of TagA and
 * TagB from the body of a 4.9.2 client.
 */
#include "broker/state/subscription.h"

#include "common/base/limits.h"
#include "proto/body_json.h"
#include "state_test.h"

#define CODE_TAG_A 2598919
#define CODE_TAG_B 2598920

static struct subscription *build(const char *expression, const char *type)
{
    struct subscription *made = NULL;
    assert_int_equal(subscription_build("T", expression, type, 42, &made), STATUS_OK);
    assert_non_null(made);
    assert_string_equal(made->topic, "T");
    assert_int_equal(made->version, 42);
    return made;
}

static void nothing_named_means_everything(void **state)
{
    (void)state;
    static const char *const expressions[] = {NULL, "", "*"};
    for (size_t i = 0; i < 3; i++) {
        struct subscription *made = build(expressions[i], i == 0 ? NULL : "TAG");
        assert_true(made->match_all);
        assert_true(made->tag_type);
        assert_string_equal(made->expression, "*");
        assert_string_equal(made->expression_type, "TAG");
        assert_true(subscription_match(made, 0));
        assert_true(subscription_match(made, CODE_TAG_A));
        subscription_unref(made);
    }
}

static void tags_are_split_trimmed_and_each_taken_once(void **state)
{
    (void)state;
    struct subscription *made = build(" TagB|| TagA ||||TagA||  ", "");
    assert_false(made->match_all);
    assert_string_equal(made->expression, " TagB|| TagA ||||TagA||  ");
    assert_int_equal(made->tag_count, 2);
    assert_string_equal(made->tags[0], "TagA");
    assert_string_equal(made->tags[1], "TagB");
    assert_int_equal(made->code_count, 2);
    assert_int_equal(made->codes[0], CODE_TAG_A);
    assert_int_equal(made->codes[1], CODE_TAG_B);
    assert_true(subscription_match(made, CODE_TAG_A));
    assert_true(subscription_match(made, CODE_TAG_B));
    assert_false(subscription_match(made, CODE_TAG_A - 1));
    assert_false(subscription_match(made, 0));
    subscription_unref(made);
}

/* A single bar is part of a tag; of three, the first two separate. */
static void only_double_bars_separate(void **state)
{
    (void)state;
    struct subscription *made = build("a|b|||c", "TAG");
    assert_int_equal(made->tag_count, 2);
    assert_string_equal(made->tags[0], "a|b");
    assert_string_equal(made->tags[1], "|c");
    subscription_unref(made);
}

static void codes_are_compared_as_ints(void **state)
{
    (void)state;
    struct subscription *made = build("TagA||polygenelubricants", "TAG");
    assert_true(subscription_match(made, CODE_TAG_A | ((int64_t)5 << 32)));
    /* Its hash is Integer.MIN_VALUE: sign-extended in the queue. */
    assert_int_equal(made->codes[0], INT32_MIN);
    assert_true(subscription_match(made, INT32_MIN));
    subscription_unref(made);
}

/* 4.9.2 with enableConsumeQueueExt keeps the codes elsewhere: ConsumeQueueExt.java, MAX_ADDR. */
static void an_unknown_code_matches(void **state)
{
    (void)state;
    struct subscription *made = build("TagA", "TAG");
    assert_true(subscription_match(made, INT64_MIN));
    assert_true(subscription_match(made, INT64_MIN + (int64_t)48 * 1024 * 1024));
    assert_true(subscription_match(made, (int64_t)INT32_MIN - 1));
    assert_false(subscription_match(made, INT32_MIN));
    subscription_unref(made);
}

static void many_tags_are_found_too(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    for (int i = 0; i < SUBSCRIPTION_TAGS_MAX; i++)
        buf_printf(&text, "tag%d||", i);
    buf_append_byte(&text, 0);
    struct subscription *made = build((const char *)text.data, "TAG");
    assert_int_equal(made->tag_count, SUBSCRIPTION_TAGS_MAX);
    for (int i = 0; i < made->code_count; i++) {
        assert_true(i == 0 || made->codes[i - 1] < made->codes[i]);
        assert_true(subscription_match(made, made->codes[i]));
    }
    assert_false(subscription_match(made, CODE_TAG_A));
    subscription_unref(made);

    text.size--;
    buf_append_cstr(&text, "onemore");
    buf_append_byte(&text, 0);
    assert_int_equal(subscription_build("T", (const char *)text.data, NULL, 0, &made),
                     STATUS_TOO_LARGE);
    buf_release(&text);
}

static void what_cannot_be_a_subscription_is_refused(void **state)
{
    (void)state;
    struct subscription *made;
    assert_int_equal(subscription_build("T", "||", "TAG", 0, &made), STATUS_MALFORMED);
    assert_int_equal(subscription_build("T", " || ", NULL, 0, &made), STATUS_MALFORMED);
    assert_int_equal(subscription_build("T", "", "SQL92", 0, &made), STATUS_MALFORMED);
    assert_int_equal(subscription_build("T", NULL, "SQL92", 0, &made), STATUS_MALFORMED);
    char *endless = xmalloc(SUBSCRIPTION_EXPRESSION_BYTES_MAX + 2);
    memset(endless, 'a', SUBSCRIPTION_EXPRESSION_BYTES_MAX + 1);
    endless[SUBSCRIPTION_EXPRESSION_BYTES_MAX + 1] = 0;
    assert_int_equal(subscription_build("T", endless, "SQL92", 0, &made), STATUS_TOO_LARGE);
    free(endless);
}

/* Other expressions are evaluated on the message, not on the tags code. */
static void other_types_match_any_code(void **state)
{
    (void)state;
    struct subscription *made = build("a > 3 AND b = 'x'", "SQL92");
    assert_false(made->tag_type);
    assert_false(made->match_all);
    assert_string_equal(made->expression, "a > 3 AND b = 'x'");
    assert_string_equal(made->expression_type, "SQL92");
    assert_int_equal(made->code_count, 0);
    assert_true(subscription_match(made, CODE_TAG_A));
    subscription_unref(made);
}

static void bodies_of_4_9_2_pass_through(void **state)
{
    (void)state;
    static const char *const files[] = {"test/data/bodies/SubscriptionData.json",
                                        "test/data/bodies/SubscriptionData.all.json",
                                        "test/data/bodies/SubscriptionData.sql92.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct arena arena;
        struct subscription *made;
        struct buf out = BUF_EMPTY;
        SubscriptionData body;
        char *text = file_read(files[i]);
        assert_non_null(text);
        arena_init(&arena, 4096);
        subscription_data__init(&body);
        assert_int_equal(body_decode(slice_of_cstr(text), &arena, &body.base, NULL), STATUS_OK);
        assert_int_equal(subscription_from_body(&body, &made), STATUS_OK);
        assert_int_equal(subscription_match(made, CODE_TAG_A), true);
        assert_int_equal(subscription_match(made, 1), i != 0);
        assert_int_equal(made->match_all, i == 1);
        body_encode(&subscription_wrap(made, &arena)->base, BODY_COMPACT, &out);
        buf_append_byte(&out, 0);
        assert_string_equal((const char *)out.data, text);
        subscription_unref(made);
        buf_release(&out);
        arena_release(&arena);
        free(text);
    }
}

static void a_body_without_topic_is_refused_and_class_filters_match_all(void **state)
{
    (void)state;
    struct subscription *made;
    SubscriptionData body;
    char topic[] = "T";
    char expression[] = "org.example.Filter";
    subscription_data__init(&body);
    body.sub_string = expression;
    assert_int_equal(subscription_from_body(&body, &made), STATUS_INVALID);
    body.topic = topic;
    body.class_filter_mode = true;
    assert_int_equal(subscription_from_body(&body, &made), STATUS_OK);
    assert_true(subscription_match(made, 12345));
    subscription_unref(made);
}

static void references_keep_it(void **state)
{
    (void)state;
    struct subscription *made = build("TagA", NULL);
    assert_ptr_equal(subscription_ref(made), made);
    subscription_unref(made);
    assert_true(subscription_match(made, CODE_TAG_A));
    subscription_unref(made);
    subscription_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_named_means_everything),
        cmocka_unit_test(tags_are_split_trimmed_and_each_taken_once),
        cmocka_unit_test(only_double_bars_separate),
        cmocka_unit_test(codes_are_compared_as_ints),
        cmocka_unit_test(an_unknown_code_matches),
        cmocka_unit_test(many_tags_are_found_too),
        cmocka_unit_test(what_cannot_be_a_subscription_is_refused),
        cmocka_unit_test(other_types_match_any_code),
        cmocka_unit_test(bodies_of_4_9_2_pass_through),
        cmocka_unit_test(a_body_without_topic_is_refused_and_class_filters_match_all),
        cmocka_unit_test(references_keep_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
