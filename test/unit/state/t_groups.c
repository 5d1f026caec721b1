/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscription groups: the boot table, the file of a 4.9.2 broker, automatic creation, versions,
 * and that a full table can be saved and loaded.
 * Source: RMQ SubscriptionGroupManager.java, SubscriptionGroupConfig.java.
 */
#include "broker/state/groups.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "state_test.h"

#define BOOT_MS 1700000000000

struct fixture {
    struct folder folder;
    char path[PATH_BYTES];
    struct still_clock clock;
    struct groups *groups;
    struct arena arena;
};

static void open_groups(struct fixture *f)
{
    struct err err = {.text = ""};
    if (groups_load(f->path, vfs_posix(), &f->clock.clock, &f->groups, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void reopen(struct fixture *f)
{
    assert_int_equal(groups_persist(f->groups, NULL), STATUS_OK);
    groups_free(f->groups);
    open_groups(f);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    (void)folder_file(&f->folder, "subscriptionGroup.json", f->path);
    still_clock_init(&f->clock, BOOT_MS);
    arena_init(&f->arena, 65536);
    open_groups(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    groups_free(f->groups);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static void assert_same(const struct group_config *a, const struct group_config *b)
{
    assert_int_equal(a->consume_enable, b->consume_enable);
    assert_int_equal(a->consume_from_min_enable, b->consume_from_min_enable);
    assert_int_equal(a->consume_broadcast_enable, b->consume_broadcast_enable);
    assert_int_equal(a->retry_queues, b->retry_queues);
    assert_int_equal(a->retry_max_times, b->retry_max_times);
    assert_int_equal(a->broker_id, b->broker_id);
    assert_int_equal(a->which_broker_when_consume_slowly, b->which_broker_when_consume_slowly);
    assert_int_equal(a->notify_consumer_ids_changed, b->notify_consumer_ids_changed);
}

static void assert_default(struct fixture *f, const char *name)
{
    struct group_config found;
    struct group_config wanted = group_config_default();
    if (!groups_get(f->groups, s(name), false, &found))
        fail_msg("no group %s", name);
    assert_same(&found, &wanted);
}

static SubscriptionGroupWrapper wrapped(struct fixture *f)
{
    SubscriptionGroupWrapper body;
    groups_wrap(f->groups, &f->arena, &body);
    return body;
}

static void a_first_start_has_the_boot_groups(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {
        "TOOLS_CONSUMER",  "FILTERSRV_CONSUMER",    "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY",
        "CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_default(f, names[i]);
    SubscriptionGroupWrapper body = wrapped(f);
    assert_int_equal(body.n_subscription_group_table, sizeof names / sizeof names[0]);
    assert_int_equal(body.data_version->counter, 0);
    assert_int_equal(body.data_version->timestamp, BOOT_MS);
}

static void the_defaults_are_those_of_4_9_2(void **state)
{
    (void)state;
    struct group_config wanted = {.consume_enable = true,
                                  .consume_from_min_enable = true,
                                  .consume_broadcast_enable = true,
                                  .retry_queues = 1,
                                  .retry_max_times = 16,
                                  .broker_id = 0,
                                  .which_broker_when_consume_slowly = 1,
                                  .notify_consumer_ids_changed = true};
    struct group_config found = group_config_default();
    assert_same(&found, &wanted);
}

static void the_file_of_a_4_9_2_broker_is_taken_over(void **state)
{
    struct fixture *f = *state;
    groups_free(f->groups);
    file_copy("test/data/bodies/subscriptionGroup.json", f->path);
    open_groups(f);
    assert_default(f, "CG_a");
    SubscriptionGroupWrapper body = wrapped(f);
    assert_int_equal(body.n_subscription_group_table, 8);
    assert_int_equal(body.data_version->counter, 7);
    assert_int_equal(body.data_version->timestamp, 1700000000000);
}

/* LC-04: a group that reads too slowly is stopped in memory only. */
static void a_group_can_be_stopped_until_the_next_start(void **state)
{
    struct fixture *f = *state;
    struct group_config config;
    assert_true(groups_get(f->groups, s("CG"), true, &config));
    assert_int_equal(groups_persist(f->groups, NULL), STATUS_OK);
    int64_t version = wrapped(f).data_version->counter;
    assert_true(groups_disable_consume(f->groups, s("CG")));
    assert_int_equal(wrapped(f).data_version->counter, version + 1);
    assert_false(groups_disable_consume(f->groups, s("CG"))); /* it is so already */
    assert_false(groups_disable_consume(f->groups, s("nobody")));
    assert_true(groups_get(f->groups, s("CG"), false, &config));
    assert_false(config.consume_enable);
    config.consume_enable = true;
    assert_int_equal(groups_put(f->groups, s("CG"), &config), STATUS_OK);
    assert_int_equal(groups_persist(f->groups, NULL), STATUS_OK);
    assert_true(groups_disable_consume(f->groups, s("CG")));
    reopen(f); /* nothing else changed: the file is as it was */
    assert_default(f, "CG");
}

static void unknown_groups_are_created_when_allowed(void **state)
{
    struct fixture *f = *state;
    struct group_config config;
    f->clock.now_ms = BOOT_MS + 3;
    assert_false(groups_get(f->groups, s("CG"), false, &config));
    assert_int_equal(wrapped(f).data_version->counter, 0);
    assert_true(groups_get(f->groups, s("CG"), true, &config));
    assert_default(f, "CG");
    assert_int_equal(wrapped(f).data_version->counter, 1);
    assert_int_equal(wrapped(f).data_version->timestamp, BOOT_MS + 3);
    assert_true(groups_get(f->groups, s("CG"), true, &config));
    assert_int_equal(wrapped(f).data_version->counter, 1);
    /* System consumers always exist. */
    assert_true(groups_get(f->groups, s("CID_RMQ_SYS_TRANS"), false, &config));
}

static void impossible_names_are_not_created(void **state)
{
    struct fixture *f = *state;
    struct group_config config;
    char name[GROUP_BYTES_MAX + 2];
    memset(name, 'g', sizeof name);
    assert_false(groups_get(f->groups, SLICE_EMPTY, true, &config));
    assert_false(groups_get(f->groups, slice_of(name, GROUP_BYTES_MAX + 1), true, &config));
    assert_true(groups_get(f->groups, slice_of(name, GROUP_BYTES_MAX), true, &config));
}

static void every_member_survives_the_file(void **state)
{
    struct fixture *f = *state;
    struct group_config found;
    struct group_config wanted = {.consume_broadcast_enable = true,
                                  .retry_queues = 3,
                                  .retry_max_times = 5,
                                  .broker_id = 7,
                                  .which_broker_when_consume_slowly = 9};
    assert_int_equal(groups_put(f->groups, s("CG"), &wanted), STATUS_OK);
    reopen(f);
    assert_true(groups_get(f->groups, s("CG"), false, &found));
    assert_same(&found, &wanted);
    wanted = (struct group_config){.consume_enable = true, .consume_from_min_enable = true};
    wanted.notify_consumer_ids_changed = true;
    assert_int_equal(groups_put(f->groups, s("CG"), &wanted), STATUS_OK);
    reopen(f);
    assert_true(groups_get(f->groups, s("CG"), false, &found));
    assert_same(&found, &wanted);
    assert_int_equal(wrapped(f).data_version->counter, 2);
}

static void a_removed_group_is_gone(void **state)
{
    struct fixture *f = *state;
    struct group_config config;
    assert_true(groups_get(f->groups, s("CG"), true, &config));
    assert_true(groups_remove(f->groups, s("CG")));
    assert_false(groups_remove(f->groups, s("CG")));
    assert_false(groups_get(f->groups, s("CG"), false, &config));
    assert_int_equal(wrapped(f).data_version->counter, 2);
    reopen(f);
    assert_false(groups_get(f->groups, s("CG"), false, &config));
}

/* Consumers can name endless groups; what is taken must load again. */
static void the_table_is_bounded_and_a_full_one_loads(void **state)
{
    struct fixture *f = *state;
    struct group_config config;
    int made = 0;
    log_set_level(LOG_ERROR);
    for (bool more = true; more; made++) {
        char name[GROUP_BYTES_MAX + 1];
        (void)snprintf(name, sizeof name, "%0*d", GROUP_BYTES_MAX, made);
        more = groups_get(f->groups, s(name), true, &config);
    }
    assert_int_equal(wrapped(f).n_subscription_group_table, GROUPS_MAX);
    assert_int_equal(groups_put(f->groups, s("more"), &config), STATUS_BUSY);
    assert_true(groups_get(f->groups, s("TOOLS_CONSUMER"), true, &config));
    reopen(f);
    assert_int_equal(wrapped(f).n_subscription_group_table, GROUPS_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_first_start_has_the_boot_groups),
        TEST(the_defaults_are_those_of_4_9_2),
        TEST(the_file_of_a_4_9_2_broker_is_taken_over),
        TEST(a_group_can_be_stopped_until_the_next_start),
        TEST(unknown_groups_are_created_when_allowed),
        TEST(impossible_names_are_not_created),
        TEST(every_member_survives_the_file),
        TEST(a_removed_group_is_gone),
        TEST(the_table_is_bounded_and_a_full_one_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
