/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of filters: what heartbeats make of it, versions, death and new life, the file of a
 * 4.9.2 broker and ours, and that a full table is bounded, makes room, and can be loaded again.
 * Source: RMQ ConsumerFilterManager.java, ConsumerFilterData.java.
 */
#include "broker/state/filters.h"

#include "broker/state/subscription.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "state_test.h"

#define BOOT_MS 1795380900000
#define DAY_MS 86400000

struct fixture {
    struct folder folder;
    char path[PATH_BYTES];
    struct still_clock clock;
    struct filters *filters;
    struct arena arena;
};

static void open_filters(struct fixture *f)
{
    struct err err = {.text = ""};
    struct filters_options options = {f->path, 20, 32};
    if (filters_load(&options, vfs_posix(), &f->clock.clock, &f->filters, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void reopen(struct fixture *f)
{
    assert_int_equal(filters_persist(f->filters, NULL), STATUS_OK);
    filters_free(f->filters);
    open_filters(f);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    (void)folder_file(&f->folder, "consumerFilter.json", f->path);
    still_clock_init(&f->clock, BOOT_MS);
    arena_init(&f->arena, 65536);
    open_filters(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    filters_free(f->filters);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

/* --- heartbeats --- */

struct wish {
    const char *topic;
    const char *expression;
    int64_t version;
    const char *type;
};

static void beat(struct fixture *f, const char *group, const struct wish *wishes, size_t count)
{
    ConsumerData data;
    consumer_data__init(&data);
    data.group_name = (char *)(uintptr_t)group;
    data.n_subscription_data_set = count;
    data.subscription_data_set = arena_alloc(&f->arena, (count + 1) * sizeof(SubscriptionData *));
    for (size_t i = 0; i < count; i++) {
        SubscriptionData *body = arena_alloc(&f->arena, sizeof *body);
        subscription_data__init(body);
        body->topic = (char *)(uintptr_t)wishes[i].topic;
        body->sub_string = (char *)(uintptr_t)wishes[i].expression;
        body->expression_type = (char *)(uintptr_t)wishes[i].type;
        body->sub_version = wishes[i].version;
        data.subscription_data_set[i] = body;
    }
    filters_heartbeat(f->filters, &data);
}

static void beat_one(struct fixture *f, const char *group, const char *topic,
                     const char *expression, int64_t version)
{
    beat(f, group, &(struct wish){topic, expression, version, "SQL92"}, 1);
}

/* The expression and version of a filter; NULL and -1 when there is none. */
static const char *expression_of(struct fixture *f, const char *topic, const char *group,
                                 int64_t *version)
{
    const char *text = NULL;
    int64_t ignored;
    struct consumer_filter *filter =
        filters_get(f->filters, slice_of_cstr(topic), slice_of_cstr(group),
                    version == NULL ? &ignored : version);
    if (filter == NULL) {
        if (version != NULL)
            *version = -1;
        return NULL;
    }
    assert_true(consumer_filter_is(filter, "SQL92", filter->expression));
    text = arena_cstr(&f->arena, slice_of_cstr(filter->expression));
    consumer_filter_unref(filter);
    return text;
}

static const ConsumerFilterData *data_of(struct fixture *f, const char *topic, const char *group)
{
    return filters_wrap(f->filters, slice_of_cstr(topic), slice_of_cstr(group), &f->arena);
}

static bool nobody(void *ctx, struct slice group)
{
    (void)ctx;
    (void)group;
    return false;
}

static bool everybody(void *ctx, struct slice group)
{
    (void)ctx;
    (void)group;
    return true;
}

static void versions_decide(void **state)
{
    struct fixture *f = *state;
    int64_t version;
    beat_one(f, "g", "t", "a > 1", 5);
    assert_string_equal(expression_of(f, "t", "g", &version), "a > 1");
    assert_int_equal(version, 5);
    beat_one(f, "g", "t", "a > 2", 5);
    assert_string_equal(expression_of(f, "t", "g", NULL), "a > 1");
    beat_one(f, "g", "t", "a > 2", 6);
    assert_string_equal(expression_of(f, "t", "g", &version), "a > 2");
    assert_int_equal(version, 6);
    /* The same expression: only the version changes, and it was born when it was. */
    f->clock.now_ms += 1000;
    beat_one(f, "g", "t", "a > 2", 7);
    (void)expression_of(f, "t", "g", &version);
    assert_int_equal(version, 7);
    assert_int_equal(data_of(f, "t", "g")->born_time, BOOT_MS);
    assert_null(expression_of(f, "t", "other", NULL));
    assert_null(expression_of(f, "other", "g", NULL));
}

static void what_is_no_filter_is_not_taken(void **state)
{
    struct fixture *f = *state;
    const struct wish wishes[] = {{"tag", "a||b", 1, "TAG"},     {"none", "a > 1", 1, ""},
                                  {"empty", "", 1, "SQL92"},     {"wrong", "a >", 1, "SQL92"},
                                  {"type", "a > 1", 1, "XPATH"}, {"good", "a > 1", 1, "SQL92"}};
    beat(f, "g", wishes, sizeof wishes / sizeof wishes[0]);
    for (size_t i = 0; i + 1 < sizeof wishes / sizeof wishes[0]; i++)
        assert_null(expression_of(f, wishes[i].topic, "g", NULL));
    assert_non_null(expression_of(f, "good", "g", NULL));
    /* A wrong one takes the place of a right one. */
    beat_one(f, "g", "good", "a >", 2);
    assert_null(expression_of(f, "good", "g", NULL));
    char endless[GROUP_BYTES_MAX + 2];
    memset(endless, 'g', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    beat_one(f, endless, "t", "a > 1", 1);
    assert_null(expression_of(f, "t", endless, NULL));
}

static void filters_die_and_live_again(void **state)
{
    struct fixture *f = *state;
    const struct wish both[] = {{"t", "a > 1", 5, "SQL92"}, {"u", "a > 2", 5, "SQL92"}};
    beat(f, "g", both, 2);
    assert_false(data_of(f, "u", "g")->dead);
    f->clock.now_ms += 1000;
    beat(f, "g", both, 1); /* u is not subscribed to any more */
    assert_true(data_of(f, "u", "g")->dead);
    assert_int_equal(data_of(f, "u", "g")->dead_time, BOOT_MS + 1000);
    assert_false(data_of(f, "t", "g")->dead);
    /* Dead or not, it is found. */
    assert_non_null(expression_of(f, "u", "g", NULL));
    beat(f, "g", both, 2);
    assert_false(data_of(f, "u", "g")->dead);
    assert_int_equal(data_of(f, "u", "g")->dead_time, 0);
    /* The group goes offline. */
    filters_step(f->filters, DAY_MS, everybody, NULL);
    assert_false(data_of(f, "t", "g")->dead);
    filters_step(f->filters, DAY_MS, nobody, NULL);
    assert_true(data_of(f, "t", "g")->dead);
    f->clock.now_ms += DAY_MS - 1;
    filters_step(f->filters, DAY_MS, nobody, NULL);
    assert_non_null(data_of(f, "t", "g"));
    f->clock.now_ms += 1;
    beat(f, "g", both, 1);
    filters_step(f->filters, DAY_MS, everybody, NULL);
    assert_non_null(data_of(f, "t", "g"));
    assert_null(data_of(f, "u", "g"));
}

static void the_file_is_4_9_2s(void **state)
{
    struct fixture *f = *state;
    char *text = file_read("test/data/store-4.9.2/config/consumerFilter.json");
    file_write(f->path, text);
    filters_free(f->filters);
    open_filters(f);
    int64_t version;
    assert_string_equal(expression_of(f, "FilterTopic", "CG_plain", &version),
                        "a > 3 AND b = 'even'");
    assert_int_equal(version, 1795380784961);
    /* A change there and back: what is written is the same to the byte. */
    beat_one(f, "h", "t", "a > 1", 1);
    filters_step(f->filters, DAY_MS, nobody, NULL);
    f->clock.now_ms += 1;
    filters_step(f->filters, 1, nobody, NULL); /* both are gone now */
    reopen(f);
    assert_null(data_of(f, "FilterTopic", "CG_plain"));
    file_write(f->path, text);
    filters_free(f->filters);
    open_filters(f);
    beat_one(f, "CG_plain", "FilterTopic", "a > 3 AND b = 'even'", 1795380784961);
    f->clock.now_ms = 1795380846126;
    filters_step(f->filters, DAY_MS, nobody, NULL);
    assert_int_equal(filters_persist(f->filters, NULL), STATUS_OK);
    char *again = file_read(f->path);
    assert_string_equal(again, text);
    free(again);
    free(text);
}

static void what_is_loaded_counts_as_gone(void **state)
{
    struct fixture *f = *state;
    const struct wish two[] = {{"t", "a > 1", 5, "SQL92"}, {"u", "a > 2", 5, "SQL92"}};
    beat(f, "g", two, 2);
    beat_one(f, "h", "t", "a > 3", 5);
    reopen(f);
    assert_string_equal(expression_of(f, "u", "g", NULL), "a > 2");
    assert_true(data_of(f, "t", "h")->dead);
    assert_int_equal(data_of(f, "t", "h")->dead_time, BOOT_MS); /* not before its birth */
    f->clock.now_ms += 100000;
    reopen(f);
    assert_int_equal(data_of(f, "t", "h")->dead_time, BOOT_MS + 100000 - 30000);
    beat_one(f, "h", "t", "another", 5);
    assert_false(data_of(f, "t", "h")->dead);
    assert_string_equal(expression_of(f, "t", "h", NULL), "a > 3");
}

static void a_file_with_faults_is_taken_as_far_as_it_goes(void **state)
{
    struct fixture *f = *state;
    filters_free(f->filters);
    file_write(
        f->path,
        "{\"filterDataByTopic\":{\"t\":{\"groupFilterData\":{"
        "\"good\":{\"bornTime\":1,\"clientVersion\":2,\"consumerGroup\":\"good\","
        "\"deadTime\":0,\"expression\":\"a > 1\",\"expressionType\":\"SQL92\",\"topic\":\"t\"},"
        "\"bad\":{\"bornTime\":1,\"clientVersion\":2,\"consumerGroup\":\"bad\",\"deadTime\":0,"
        "\"expression\":\"a > 'x'\",\"expressionType\":\"SQL92\",\"topic\":\"t\"}},"
        "\"topic\":\"t\"}}}");
    open_filters(f);
    assert_non_null(expression_of(f, "t", "good", NULL));
    assert_null(expression_of(f, "t", "bad", NULL));
    filters_free(f->filters);
    file_write(f->path, "{nothing of the kind");
    open_filters(f);
    assert_null(expression_of(f, "t", "good", NULL));
    beat_one(f, "g", "t", "a > 1", 1);
    reopen(f);
    assert_non_null(expression_of(f, "t", "g", NULL));
}

static void a_full_table_makes_room_and_is_loaded_again(void **state)
{
    struct fixture *f = *state;
    log_set_level(LOG_ERROR);
    char group[32];
    for (int i = 0; i < FILTERS_MAX; i++) {
        (void)snprintf(group, sizeof group, "group-%d", i);
        beat_one(f, group, "t", "a > 1", 1);
    }
    beat_one(f, "late", "t", "a > 1", 1);
    assert_null(expression_of(f, "t", "late", NULL));
    filters_step(f->filters, DAY_MS, nobody, NULL);
    reopen(f);
    assert_non_null(expression_of(f, "t", "group-0", NULL));
    assert_non_null(expression_of(f, "t", "group-19999", NULL));
    /* All of them count as gone: they make room. */
    beat_one(f, "late", "t", "a > 1", 1);
    assert_non_null(expression_of(f, "t", "late", NULL));
    assert_null(expression_of(f, "t", "group-0", NULL));
}

static void expressions_of_pulls_are_compiled_once(void **state)
{
    struct fixture *f = *state;
    struct consumer_filter *first = NULL;
    struct consumer_filter *second = NULL;
    struct err err = {0};
    char expression[32];
    assert_int_equal(filters_compile(f->filters, "SQL92", "a > 1", &first, &err), STATUS_OK);
    assert_int_equal(filters_compile(f->filters, "SQL92", "a > 1", &second, &err), STATUS_OK);
    assert_ptr_equal(first, second);
    consumer_filter_unref(second);
    assert_int_equal(filters_compile(f->filters, "XPATH", "a > 1", &second, &err),
                     STATUS_UNSUPPORTED);
    assert_int_equal(filters_compile(f->filters, "SQL92", "a >", &second, &err), STATUS_MALFORMED);
    /* Others take the place of one that is in use. */
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(expression, sizeof expression, "a > %d", i + 2);
        assert_int_equal(filters_compile(f->filters, "SQL92", expression, &second, &err),
                         STATUS_OK);
        assert_true(consumer_filter_is(second, "SQL92", expression));
        consumer_filter_unref(second);
    }
    assert_true(sql_filter_matches(first->compiled, SLICE_LITERAL("a\0012")));
    consumer_filter_unref(first);
}

/* A heartbeat full of long expressions: a few are taken, the next ones bring the others. */
static void one_heartbeat_compiles_so_much(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 16 };
    struct wish wishes[COUNT];
    log_set_level(LOG_ERROR);
    char *expression = xmalloc(60000);
    memset(expression, ' ', 60000);
    memcpy(expression, "a = 1", 5);
    expression[59999] = '\0';
    for (int i = 0; i < COUNT; i++)
        wishes[i] = (struct wish){arena_printf(&f->arena, "t%d", i), expression, 1, "SQL92"};
    int before = 0;
    for (int beats = 0; before < COUNT; beats++) {
        int taken = 0;
        assert_true(beats < COUNT);
        beat(f, "g", wishes, COUNT);
        for (int i = 0; i < COUNT; i++)
            taken += data_of(f, wishes[i].topic, "g") != NULL;
        assert_int_equal(taken, before + 4);
        before = taken;
    }
    free(expression);
}

static void its_bytes_are_bounded(void **state)
{
    struct fixture *f = *state;
    log_set_level(LOG_ERROR);
    char *expression = xmalloc(SUBSCRIPTION_EXPRESSION_BYTES_MAX);
    char group[GROUP_BYTES_MAX + 1];
    int taken = 0;
    int tried = 0;
    memset(expression, ' ', SUBSCRIPTION_EXPRESSION_BYTES_MAX);
    memcpy(expression, "a = 1", 5);
    expression[SUBSCRIPTION_EXPRESSION_BYTES_MAX - 1] = '\0';
    for (; tried < 1000; tried++) {
        memset(group, 'g', sizeof group);
        (void)snprintf(group + 200, 32, "%d", tried);
        beat_one(f, group, "t", expression, 1);
        taken += expression_of(f, "t", group, NULL) != NULL;
        arena_reset(&f->arena);
    }
    assert_true(taken > 100 && taken < 600);
    reopen(f);
    free(expression);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(versions_decide),
        TEST(what_is_no_filter_is_not_taken),
        TEST(filters_die_and_live_again),
        TEST(the_file_is_4_9_2s),
        TEST(what_is_loaded_counts_as_gone),
        TEST(a_file_with_faults_is_taken_as_far_as_it_goes),
        TEST(a_full_table_makes_room_and_is_loaded_again),
        TEST(expressions_of_pulls_are_compiled_once),
        TEST(one_heartbeat_compiles_so_much),
        TEST(its_bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
