/* SPDX-License-Identifier: Apache-2.0
 *
 * The topic table: the system topics of a first start, the file of a 4.9.2 broker, creation on send
 * and of retry topics, name and system checks, order flags, versions, snapshots, and that a full
 * table can be saved and loaded.
 * Source: RMQ TopicConfigManager.java, TopicValidator.java; behaviour TP-02 to TP-06, TP-10, TP-11.
 */
#include "broker/state/topics.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "state_test.h"

#define BOOT_MS 1700000000000

struct fixture {
    struct folder folder;
    char path[PATH_BYTES];
    struct still_clock clock;
    struct topics_options options;
    struct topics *topics;
    struct arena arena;
};

static void open_topics(struct fixture *f)
{
    struct err err = {.text = ""};
    if (topics_load(&f->options, vfs_posix(), &f->clock.clock, &f->topics, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void reopen(struct fixture *f)
{
    assert_int_equal(topics_persist(f->topics, NULL), STATUS_OK);
    topics_free(f->topics);
    open_topics(f);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    still_clock_init(&f->clock, BOOT_MS);
    f->options = (struct topics_options){
        .path = folder_file(&f->folder, "topics.json", f->path),
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .trace_topic_name = "RMQ_SYS_TRACE_TOPIC",
        .default_queues = 8,
        .auto_create = true,
        .cluster_topic = true,
        .broker_topic = true,
    };
    arena_init(&f->arena, 65536);
    open_topics(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    topics_free(f->topics);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static void assert_topic(const struct topics *topics, const char *name, int queues, int perm)
{
    struct topic_config config;
    if (!topics_get(topics, s(name), &config))
        fail_msg("no topic %s", name);
    assert_string_equal(config.name, name);
    assert_int_equal(config.read_queues, queues);
    assert_int_equal(config.write_queues, queues);
    assert_int_equal(config.perm, perm);
    assert_int_equal(config.sys_flag, 0);
    assert_false(config.multi_tag);
    assert_false(config.order);
}

static void assert_version(const struct topics *topics, int64_t timestamp, int64_t counter)
{
    TopicConfigSerializeWrapper body;
    struct arena arena;
    arena_init(&arena, 4096);
    topics_wrap(topics, "no-such-topic", -1, &arena, &body);
    assert_int_equal(body.data_version->timestamp, timestamp);
    assert_int_equal(body.data_version->counter, counter);
    arena_release(&arena);
}

static size_t topics_count(const struct topics *topics)
{
    TopicConfigSerializeWrapper body;
    struct arena arena;
    arena_init(&arena, 65536);
    topics_wrap(topics, NULL, -1, &arena, &body);
    size_t count = body.n_topic_config_table;
    arena_release(&arena);
    return count;
}

static void a_first_start_has_the_system_topics(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(topics_count(f->topics), 8);
    assert_topic(f->topics, "SELF_TEST_TOPIC", 1, 6);
    assert_topic(f->topics, "TBW102", 8, 7);
    assert_topic(f->topics, "BenchmarkTest", 1024, 6);
    assert_topic(f->topics, "DefaultCluster", 16, 7);
    assert_topic(f->topics, "broker-a", 1, 7);
    assert_topic(f->topics, "OFFSET_MOVED_EVENT", 1, 6);
    assert_topic(f->topics, "SCHEDULE_TOPIC_XXXX", 18, 6);
    assert_topic(f->topics, "DefaultCluster_REPLY_TOPIC", 1, 6);
    assert_version(f->topics, BOOT_MS, 0);

    /* The file is written when there is none, and then when something has changed. */
    assert_int_equal(topics_persist(f->topics, NULL), STATUS_OK);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(topics_persist(f->topics, NULL), STATUS_OK);
    assert_false(file_exists(f->path));
}

static void options_decide_which_system_topics_exist(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    topics_free(f->topics);
    f->options.auto_create = false;
    f->options.cluster_topic = false;
    f->options.broker_topic = false;
    f->options.trace_topic = true;
    open_topics(f);
    assert_false(topics_get(f->topics, s("TBW102"), &config));
    assert_topic(f->topics, "DefaultCluster", 16, 1);
    assert_topic(f->topics, "broker-a", 1, 1);
    assert_topic(f->topics, "RMQ_SYS_TRACE_TOPIC", 1, 6);
}

/* The file that a 4.9.2 broker left; its topics win over those of the boot. */
static void the_file_of_a_4_9_2_broker_is_taken_over(void **state)
{
    struct fixture *f = *state;
    TopicConfigSerializeWrapper expected;
    char *text = file_read("test/data/store-config/topics.json");
    assert_non_null(text);
    topic_config_serialize_wrapper__init(&expected);
    assert_int_equal(body_decode(s(text), &f->arena, &expected.base, NULL), STATUS_OK);
    topics_free(f->topics);
    file_write(f->path, text);
    open_topics(f);

    assert_version(f->topics, expected.data_version->timestamp, expected.data_version->counter);
    assert_true(expected.n_topic_config_table > 8);
    for (size_t i = 0; i < expected.n_topic_config_table; i++) {
        const TopicConfig *wanted = expected.topic_config_table[i]->value;
        struct topic_config config;
        assert_true(topics_get(f->topics, s(wanted->topic_name), &config));
        assert_int_equal(config.read_queues, wanted->read_queue_nums);
        assert_int_equal(config.write_queues, wanted->write_queue_nums);
        assert_int_equal(config.perm, wanted->perm);
        assert_int_equal(config.sys_flag, wanted->topic_sys_flag);
        assert_int_equal(config.order, wanted->order);
    }
    free(text);
}

static void every_member_survives_the_file(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    topics_free(f->topics);
    file_copy("test/data/bodies/topics.json", f->path);
    open_topics(f);
    f->clock.now_ms = BOOT_MS + 5;
    topics_touch_version(f->topics);
    reopen(f);
    assert_version(f->topics, BOOT_MS + 5, 8);
    assert_true(topics_get(f->topics, s("TopicB"), &config));
    assert_int_equal(config.read_queues, 8);
    assert_int_equal(config.write_queues, 6);
    assert_int_equal(config.perm, 4);
    assert_int_equal(config.sys_flag, 3);
    assert_true(config.multi_tag);
    assert_true(config.order);
    assert_topic(f->topics, "TopicA", 4, 6);
}

static enum status create(struct fixture *f, const char *name, const char *parent, int queues,
                          bool auto_create, struct topic_config *out)
{
    return topics_create_on_send(f->topics, s(name), s(parent), queues, 0, auto_create, out);
}

static void a_send_creates_from_the_default_topic(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    f->clock.now_ms = BOOT_MS + 1;
    assert_int_equal(create(f, "T4", "TBW102", 4, true, &config), STATUS_OK);
    assert_int_equal(config.write_queues, 4);
    assert_topic(f->topics, "T4", 4, 6);
    assert_version(f->topics, BOOT_MS + 1, 1);
    /* The default topic's queues cap what is asked for; a negative wish gives none. */
    assert_int_equal(create(f, "T16", "TBW102", 16, true, &config), STATUS_OK);
    assert_topic(f->topics, "T16", 8, 6);
    assert_int_equal(create(f, "T-1", "TBW102", -1, true, &config), STATUS_OK);
    assert_topic(f->topics, "T-1", 0, 6);
    assert_version(f->topics, BOOT_MS + 1, 3);
    /* It exists by now: as it is, and no change. */
    assert_int_equal(create(f, "T4", "TBW102", 8, true, &config), STATUS_OK);
    assert_int_equal(config.write_queues, 4);
    assert_version(f->topics, BOOT_MS + 1, 3);
}

static void a_send_inherits_filter_type_and_takes_the_unit_flag(void **state)
{
    struct fixture *f = *state;
    struct topic_config parent = {
        .read_queues = 3, .write_queues = 2, .perm = 5, .multi_tag = true, .order = true};
    struct topic_config config;
    assert_int_equal(topics_put(f->topics, s("Parent"), &parent), STATUS_OK);
    assert_int_equal(topics_create_on_send(f->topics, s("Child"), s("Parent"), 4,
                                           TOPIC_SYS_FLAG_UNIT, true, &config),
                     STATUS_OK);
    assert_int_equal(config.read_queues, 2);
    assert_int_equal(config.write_queues, 2);
    assert_int_equal(config.perm, 4);
    assert_int_equal(config.sys_flag, TOPIC_SYS_FLAG_UNIT);
    assert_true(config.multi_tag);
    assert_false(config.order);
}

static void a_send_needs_an_inheritable_default_topic(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    assert_int_equal(create(f, "T", "Nowhere", 4, true, &config), STATUS_NOT_FOUND);
    assert_int_equal(create(f, "T", "SELF_TEST_TOPIC", 4, true, &config), STATUS_NOT_FOUND);
    assert_int_equal(create(f, "T", "TBW102", 4, false, &config), STATUS_NOT_FOUND);
    assert_false(topics_get(f->topics, s("T"), &config));
    assert_version(f->topics, BOOT_MS, 0);
    /* The cluster topic can be inherited from without automatic creation. */
    assert_int_equal(create(f, "T", "DefaultCluster", 4, false, &config), STATUS_OK);
    /* Switched on again, TBW102 serves again. */
    assert_int_equal(create(f, "U", "TBW102", 4, true, &config), STATUS_OK);
}

static void ensure_creates_once(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    bool created;
    assert_int_equal(
        topics_ensure(f->topics, s("%RETRY%g"), 1, 6, TOPIC_SYS_FLAG_UNIT_SUB, &config, &created),
        STATUS_OK);
    assert_true(created);
    assert_int_equal(config.sys_flag, TOPIC_SYS_FLAG_UNIT_SUB);
    assert_int_equal(topics_ensure(f->topics, s("%RETRY%g"), 3, 2, 0, &config, &created),
                     STATUS_OK);
    assert_false(created);
    assert_int_equal(config.read_queues, 1);
    assert_int_equal(config.perm, 6);
    assert_version(f->topics, BOOT_MS, 1);
}

/* A send may be acknowledged only when its topic would survive a crash. */
static void a_new_topic_counts_as_saved_once_the_file_has_it(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    bool created;
    assert_true(topics_get(f->topics, s("TBW102"), &config));
    assert_true(config.saved);
    assert_int_equal(topics_ensure(f->topics, s("New"), 1, 6, 0, &config, &created), STATUS_OK);
    assert_false(config.saved);
    assert_int_equal(topics_persist(f->topics, NULL), STATUS_OK);
    assert_true(topics_get(f->topics, s("New"), &config));
    assert_true(config.saved);
    /* A change of what is saved already does not make it doubtful again. */
    assert_int_equal(topics_put(f->topics, s("New"), &config), STATUS_OK);
    assert_true(topics_get(f->topics, s("New"), &config));
    assert_true(config.saved);
    /* Removed and made anew it is new. */
    assert_true(topics_remove(f->topics, s("New")));
    assert_int_equal(topics_persist(f->topics, NULL), STATUS_OK);
    assert_int_equal(topics_ensure(f->topics, s("New"), 1, 6, 0, &config, &created), STATUS_OK);
    assert_false(config.saved);
    reopen(f);
    assert_true(topics_get(f->topics, s("New"), &config));
    assert_true(config.saved);
}

static void a_removed_topic_is_gone_and_its_name_stays_readable(void **state)
{
    struct fixture *f = *state;
    struct topic_config config = {.read_queues = 1, .write_queues = 1, .perm = 6};
    struct topic_config before;
    size_t count = topics_count(f->topics);
    assert_int_equal(topics_put(f->topics, s("T"), &config), STATUS_OK);
    assert_true(topics_get(f->topics, s("T"), &before));
    assert_true(topics_remove(f->topics, s("T")));
    assert_false(topics_remove(f->topics, s("T")));
    assert_false(topics_get(f->topics, s("T"), &config));
    assert_string_equal(before.name, "T");
    assert_int_equal(topics_count(f->topics), count);
    assert_version(f->topics, BOOT_MS, 2);
    reopen(f);
    assert_false(topics_get(f->topics, s("T"), &config));
    assert_int_equal(topics_count(f->topics), count);
}

static void names_are_checked_with_the_remarks_of_4_9_2(void **state)
{
    (void)state;
    char longest[TOPIC_BYTES_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[TOPIC_BYTES_MAX + 1] = 0;
    assert_string_equal(topic_name_fault(s(longest)),
                        "The specified topic is longer than topic max length.");
    longest[TOPIC_BYTES_MAX] = 0;
    assert_null(topic_name_fault(s(longest)));
    assert_null(topic_name_fault(s("%RETRY%a|B_c-9")));
    assert_string_equal(topic_name_fault(s("")), "The specified topic is blank.");
    assert_string_equal(topic_name_fault(s(" \t")), "The specified topic is blank.");
    static const char *const illegal[] = {"a b", "a.b", "a/b", "a@b", "\xc3\xa4", ".."};
    for (size_t i = 0; i < sizeof illegal / sizeof illegal[0]; i++)
        assert_string_equal(topic_name_fault(s(illegal[i])),
                            "The specified topic contains illegal characters, allowing only "
                            "^[%|a-zA-Z0-9_-]+$");
}

static void system_topics_are_known(void **state)
{
    struct fixture *f = *state;
    static const char *const system[] = {
        "TBW102",
        "SCHEDULE_TOPIC_XXXX",
        "BenchmarkTest",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRACE_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
        "DefaultCluster",
        "broker-a",
        "DefaultCluster_REPLY_TOPIC",
    };
    struct name_list names = {.count = 0};
    topics_walk_system(f->topics, name_list_add, &names);
    assert_int_equal(names.count, sizeof system / sizeof system[0]);
    for (size_t i = 0; i < sizeof system / sizeof system[0]; i++) {
        assert_true(topics_is_system(f->topics, s(system[i])));
        assert_true(name_list_has(&names, system[i]));
    }
    assert_true(topics_is_system(f->topics, s("rmq_sys_anything")));
    assert_false(topics_is_system(f->topics, s("RMQ_SYS_anything")));
    assert_false(topics_is_system(f->topics, s("%RETRY%g")));
}

static bool is_ordered(const struct topics *topics, const char *name)
{
    struct topic_config config;
    assert_true(topics_get(topics, s(name), &config));
    return config.order;
}

static void the_order_table_sets_and_clears_flags(void **state)
{
    struct fixture *f = *state;
    char name[] = "BenchmarkTest";
    char unknown[] = "Unknown";
    char conf[] = "broker-a:3";
    StringEntry first = STRING_ENTRY__INIT;
    StringEntry second = STRING_ENTRY__INIT;
    StringEntry *entries[] = {&first, &second};
    KVTable table = KVTABLE__INIT;
    first.key = name;
    second.key = unknown;
    first.value = second.value = conf;
    table.n_table = 2;
    table.table = entries;

    topics_set_order(f->topics, &table);
    assert_true(is_ordered(f->topics, "BenchmarkTest"));
    assert_false(is_ordered(f->topics, "TBW102"));
    assert_version(f->topics, BOOT_MS, 1);
    topics_set_order(f->topics, &table);
    assert_version(f->topics, BOOT_MS, 1);
    table.n_table = 0;
    topics_set_order(f->topics, &table);
    assert_false(is_ordered(f->topics, "BenchmarkTest"));
    assert_version(f->topics, BOOT_MS, 2);
}

static void a_wrapper_shows_all_or_one_or_all_with_the_brokers_permission(void **state)
{
    struct fixture *f = *state;
    struct topic_config config = {.read_queues = 2,
                                  .write_queues = 3,
                                  .perm = 6,
                                  .sys_flag = 1,
                                  .multi_tag = true,
                                  .order = true};
    TopicConfigSerializeWrapper body;
    assert_int_equal(topics_put(f->topics, s("AAA"), &config), STATUS_OK);

    topics_wrap(f->topics, NULL, -1, &f->arena, &body);
    assert_int_equal(body.n_topic_config_table, 9);
    assert_int_equal(body.data_version->counter, 1);
    assert_string_equal(body.topic_config_table[0]->key, "AAA"); /* sorted */
    assert_string_equal(body.topic_config_table[0]->value->topic_filter_type, "MULTI_TAG");
    assert_true(body.topic_config_table[0]->value->order);

    topics_wrap(f->topics, "AAA", -1, &f->arena, &body);
    assert_int_equal(body.n_topic_config_table, 1);
    assert_int_equal(body.data_version->counter, 1);
    assert_int_equal(body.topic_config_table[0]->value->topic_sys_flag, 1);
    topics_wrap(f->topics, "Nowhere", -1, &f->arena, &body);
    assert_int_equal(body.n_topic_config_table, 0);

    topics_wrap(f->topics, NULL, PERM_READ, &f->arena, &body);
    assert_int_equal(body.n_topic_config_table, 9);
    const TopicConfig *shown = body.topic_config_table[0]->value;
    assert_int_equal(shown->perm, PERM_READ);
    assert_int_equal(shown->read_queue_nums, 2);
    assert_int_equal(shown->write_queue_nums, 3);
    assert_string_equal(shown->topic_filter_type, "SINGLE_TAG");
    assert_int_equal(shown->topic_sys_flag, 0);
    assert_false(shown->order);
}

static void the_table_is_bounded_and_a_full_one_loads(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    enum status status = STATUS_OK;
    int made = 0;
    log_set_level(LOG_ERROR);
    for (; status == STATUS_OK; made++) {
        char name[TOPIC_BYTES_MAX + 1];
        (void)snprintf(name, sizeof name, "%0*d", TOPIC_BYTES_MAX, made);
        status = create(f, name, "TBW102", 4, true, &config);
    }
    assert_int_equal(status, STATUS_BUSY);
    assert_int_equal(topics_count(f->topics), TOPICS_MAX);
    assert_int_equal(topics_put(f->topics, s("One-more"), &config), STATUS_BUSY);
    assert_int_equal(topics_put(f->topics, s("TBW102"), &config), STATUS_OK);
    assert_true(topics_remove(f->topics, s("TBW102")));
    assert_int_equal(topics_put(f->topics, s("One-more"), &config), STATUS_OK);
    assert_int_equal(topics_put(f->topics, s("Two-more"), &config), STATUS_BUSY);
    assert_true(topics_remove(f->topics, s("One-more")));
    reopen(f); /* TBW102 comes back at every boot */
    assert_int_equal(topics_count(f->topics), TOPICS_MAX);
}

/* Other brokers, and people, write the file too. */
static void names_that_can_not_be_folders_are_left_out(void **state)
{
    struct fixture *f = *state;
    char long_name[TOPIC_BYTES_MAX + 2] = {0};
    struct buf text = BUF_EMPTY;
    struct topic_config config;
    memset(long_name, 'n', TOPIC_BYTES_MAX + 1);
    const char *const names[] = {"a/b", "..", ".", "", long_name, "host.example"};
    buf_printf(&text, "{\"topicConfigTable\":{");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        buf_printf(&text,
                   "%s\"%s\":{\"perm\":6,\"readQueueNums\":3,\"topicName\":\"%s\","
                   "\"writeQueueNums\":3}",
                   i == 0 ? "" : ",", names[i], names[i]);
    buf_printf(&text, "}}");
    buf_append_byte(&text, 0);
    file_write(f->path, (const char *)text.data);
    buf_release(&text);
    topics_free(f->topics);
    f->options.broker_name = "broker/a";
    open_topics(f);
    for (size_t i = 0; i + 1 < sizeof names / sizeof names[0]; i++)
        assert_false(topics_get(f->topics, s(names[i]), &config));
    assert_false(topics_get(f->topics, s("broker/a"), &config));
    assert_topic(f->topics, "host.example", 3, PERM_READ | PERM_WRITE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_first_start_has_the_system_topics),
        TEST(options_decide_which_system_topics_exist),
        TEST(the_file_of_a_4_9_2_broker_is_taken_over),
        TEST(every_member_survives_the_file),
        TEST(names_that_can_not_be_folders_are_left_out),
        TEST(a_send_creates_from_the_default_topic),
        TEST(a_send_inherits_filter_type_and_takes_the_unit_flag),
        TEST(a_send_needs_an_inheritable_default_topic),
        TEST(ensure_creates_once),
        TEST(a_new_topic_counts_as_saved_once_the_file_has_it),
        TEST(a_removed_topic_is_gone_and_its_name_stays_readable),
        TEST(names_are_checked_with_the_remarks_of_4_9_2),
        TEST(system_topics_are_known),
        TEST(the_order_table_sets_and_clears_flags),
        TEST(a_wrapper_shows_all_or_one_or_all_with_the_brokers_permission),
        TEST(the_table_is_bounded_and_a_full_one_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
