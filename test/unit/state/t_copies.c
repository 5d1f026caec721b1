/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables on their way from a master to a slave: topics and groups become the master's or stay as
 * they are, offsets follow with what has changed only and forget what is gone, progress is taken
 * whole or not at all. Bodies go through their JSON, as on the wire; random changes on both sides
 * end with the same tables.
 * Source: RMQ SlaveSynchronize.java; behaviour LC-05.
 */
#include "broker/state/delay.h"
#include "broker/state/groups.h"
#include "broker/state/offsets.h"
#include "broker/state/request_modes.h"
#include "broker/state/timer_copy.h"
#include "broker/state/topics.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "state_test.h"
#include "test/unit/support/random.h"

struct fixture {
    struct folder folder;
    struct arena arena;
    struct offsets *master;
    struct offsets *slave;
    int64_t known;
};

static struct offsets *open_offsets(const struct fixture *f, const char *name)
{
    char path[PATH_BYTES];
    struct offsets *offsets = NULL;
    struct err err = {.text = ""};
    if (offsets_load(folder_file(&f->folder, name, path), vfs_posix(), &offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    return offsets;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    log_set_level(LOG_ERROR);
    arena_init(&f->arena, 65536);
    f->master = open_offsets(f, "master.json");
    f->slave = open_offsets(f, "slave.json");
    f->known = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    offsets_free(f->master);
    offsets_free(f->slave);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static void commit(struct offsets *offsets, const char *topic, const char *group, int queue,
                   int64_t offset)
{
    assert_int_equal(offsets_commit(offsets, s(topic), s(group), queue, offset), STATUS_OK);
}

static int64_t get(const struct offsets *offsets, const char *topic, const char *group, int queue)
{
    return offsets_get(offsets, s(topic), s(group), queue);
}

/* Over the wire, into the slave; how many keys. */
static size_t copy(struct fixture *f)
{
    ConsumerOffsetSerializeWrapper body;
    ConsumerOffsetSerializeWrapper arrived;
    struct buf json = BUF_EMPTY;
    bool whole = false;
    f->known = offsets_wrap_since(f->master, f->known, &f->arena, &body, &whole);
    body_encode(&body.base, BODY_COMPACT, &json);
    consumer_offset_serialize_wrapper__init(&arrived);
    assert_int_equal(body_decode(buf_slice(&json), &f->arena, &arrived.base, NULL), STATUS_OK);
    buf_release(&json);
    assert_int_equal(offsets_merge(f->slave, &arrived, whole), STATUS_OK);
    return arrived.n_offset_table;
}

static void assert_same(struct fixture *f)
{
    ConsumerOffsetSerializeWrapper master;
    ConsumerOffsetSerializeWrapper slave;
    struct buf expected = BUF_EMPTY;
    struct buf found = BUF_EMPTY;
    offsets_wrap(f->master, &f->arena, &master);
    offsets_wrap(f->slave, &f->arena, &slave);
    body_encode(&master.base, BODY_COMPACT, &expected);
    body_encode(&slave.base, BODY_COMPACT, &found);
    assert_int_equal(found.size, expected.size);
    assert_memory_equal(found.data, expected.data, expected.size);
    buf_release(&expected);
    buf_release(&found);
}

static void only_what_has_changed_is_copied(void **state)
{
    struct fixture *f = *state;
    commit(f->master, "T", "a", 0, 1);
    commit(f->master, "T", "a", 1, 2);
    commit(f->master, "T", "b", 0, 3);
    assert_int_equal(copy(f), 2);
    assert_same(f);
    assert_int_equal(copy(f), 0);
    commit(f->master, "T", "b", 0, 3); /* the same offset again is no change */
    assert_int_equal(copy(f), 0);
    commit(f->master, "T", "b", 0, 2); /* backwards is one */
    commit(f->master, "U", "c", 5, 7);
    assert_int_equal(copy(f), 2);
    assert_same(f);
    /* A group that is deleted, and one that comes again. */
    offsets_remove_group(f->master, s("a"));
    assert_int_equal(copy(f), 2);
    assert_int_equal(get(f->slave, "T", "a", 0), -1);
    assert_same(f);
    commit(f->master, "T", "a", 0, 9);
    assert_int_equal(copy(f), 1);
    assert_same(f);
    /* A version that is none of this table's: all of it. */
    f->known = 1 << 30;
    assert_int_equal(copy(f), 3);
}

static void a_copy_takes_the_place_of_what_was_there(void **state)
{
    struct fixture *f = *state;
    commit(f->slave, "T", "a", 0, 100);
    commit(f->slave, "T", "a", 7, 100);
    commit(f->slave, "Only", "here", 0, 1);
    uint64_t commits = offsets_commits(f->slave);
    commit(f->master, "T", "a", 0, 5);
    /* As 4.9.2: keys that are not named stay, the queues of those that are go. */
    ConsumerOffsetSerializeWrapper body;
    offsets_wrap(f->master, &f->arena, &body);
    assert_int_equal(offsets_merge(f->slave, &body, false), STATUS_OK);
    assert_int_equal(get(f->slave, "T", "a", 0), 5);
    assert_int_equal(get(f->slave, "T", "a", 7), -1);
    assert_int_equal(get(f->slave, "Only", "here", 0), 1);
    assert_int_equal(offsets_commits(f->slave), commits);
    commit(f->slave, "T", "a", 0, 6);
    assert_true(offsets_commits(f->slave) != commits);
    assert_int_equal(offsets_merge(f->slave, &body, true), STATUS_OK);
    assert_int_equal(get(f->slave, "Only", "here", 0), -1);
    assert_same(f);
}

static void what_a_copy_brought_outlives_a_crash(void **state)
{
    struct fixture *f = *state;
    struct err err = {.text = ""};
    commit(f->slave, "Old", "key", 0, 1);
    assert_int_equal(offsets_persist(f->slave, &err), STATUS_OK);
    commit(f->master, "T", "a", 0, 5);
    commit(f->master, "T", "a", 3, 6);
    (void)copy(f);
    assert_int_equal(offsets_journal_step(f->slave, &err), STATUS_OK);
    offsets_free(f->slave); /* no save */
    f->slave = open_offsets(f, "slave.json");
    assert_same(f);
}

static void impossible_entries_are_left_out(void **state)
{
    struct fixture *f = *state;
    static char long_name[2000];
    memset(long_name, 'n', sizeof long_name - 1);
    struct buf json = BUF_EMPTY;
    ConsumerOffsetSerializeWrapper body;
    consumer_offset_serialize_wrapper__init(&body);
    buf_printf(&json, "{\"offsetTable\":{\"%s@g\":{0:1},\"T@g\":{-1:5,65536:6,2:7,2:7,1:4}}}",
               long_name);
    assert_int_equal(body_decode(buf_slice(&json), &f->arena, &body.base, NULL), STATUS_OK);
    assert_int_equal(offsets_merge(f->slave, &body, false), STATUS_OK);
    buf_release(&json);
    assert_int_equal(get(f->slave, "T", "g", 2), 7);
    assert_int_equal(get(f->slave, "T", "g", 1), 4);
    ConsumerOffsetSerializeWrapper found;
    offsets_wrap(f->slave, &f->arena, &found);
    assert_int_equal(found.n_offset_table, 1);
    assert_int_equal(found.offset_table[0]->n_value, 2);
}

static void random_changes_end_the_same(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    struct random random;
    struct err err = {.text = ""};
    random_init(&random, "random_changes_end_the_same");
    for (int i = 0; i < 20000; i++) {
        const char *topic = names[random_below(&random, 6)];
        const char *group = names[random_below(&random, 6)];
        switch (random_below(&random, 40)) {
        case 0:
            offsets_remove_group(f->master, s(group));
            break;
        case 1:
            assert_int_equal(offsets_clone(f->master, s(group), s("a"), s(topic)), STATUS_OK);
            break;
        case 2:
            assert_int_equal(offsets_journal_step(f->master, &err), STATUS_OK);
            break;
        case 3:
            assert_int_equal(offsets_journal_step(f->slave, &err), STATUS_OK);
            break;
        case 4:
        case 5:
            (void)copy(f);
            assert_same(f);
            arena_reset(&f->arena);
            break;
        default:
            commit(f->master, topic, group, (int)random_below(&random, 9),
                   (int64_t)random_below(&random, 5));
        }
    }
    offsets_free(f->slave);
    f->slave = open_offsets(f, "slave.json"); /* whatever it is, the next copy mends it */
    f->known = -1;
    (void)copy(f);
    assert_same(f);
}

/* --- topics, groups, request modes --- */

static struct topics *open_topics(const struct fixture *f)
{
    static char path[PATH_BYTES];
    struct topics *topics = NULL;
    struct err err = {.text = ""};
    struct topics_options options = {.path = folder_file(&f->folder, "topics.json", path),
                                     .cluster_name = "C",
                                     .broker_name = "b",
                                     .trace_topic_name = "trace",
                                     .default_queues = 8};
    if (topics_load(&options, vfs_posix(), clock_real(), &topics, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    return topics;
}

static enum status replace_topics(struct fixture *f, struct topics *topics, const char *json)
{
    TopicConfigSerializeWrapper body;
    struct err err = {.text = ""};
    topic_config_serialize_wrapper__init(&body);
    assert_int_equal(body_decode(s(json), &f->arena, &body.base, NULL), STATUS_OK);
    enum status status = topics_replace(topics, &body, &err);
    assert_true(status == STATUS_OK || err.text[0] != '\0');
    return status;
}

#define VERSION "\"dataVersion\":{\"counter\":7,\"timestamp\":9}"

static void topics_become_the_masters(void **state)
{
    struct fixture *f = *state;
    struct topics *topics = open_topics(f);
    struct topic_config config;
    struct err err = {.text = ""};
    uint64_t before;
    uint64_t after;
    /* Nothing that a master would send: nothing changes. */
    (void)topics_version(topics, &before);
    assert_int_equal(replace_topics(f, topics, "{}"), STATUS_MALFORMED);
    assert_int_equal(replace_topics(f, topics, "{" VERSION "}"), STATUS_MALFORMED);
    assert_int_equal(
        replace_topics(f, topics, "{\"topicConfigTable\":{\"T\":{\"topicName\":\"T\"}}}"),
        STATUS_MALFORMED);
    (void)topics_version(topics, &after);
    assert_int_equal(after, before);
    assert_true(topics_get(topics, s("SELF_TEST_TOPIC"), &config));

    assert_int_equal(replace_topics(f, topics,
                                    "{" VERSION
                                    ",\"topicConfigTable\":{\"T\":{\"readQueueNums\":3,\"order\":"
                                    "true},\"../x\":{},\"\":{}}}"),
                     STATUS_OK);
    struct data_version version = topics_version(topics, &after);
    assert_true(after != before);
    assert_int_equal(version.counter, 7);
    assert_int_equal(version.timestamp_ms, 9);
    assert_false(topics_get(topics, s("SELF_TEST_TOPIC"), &config));
    assert_false(topics_get(topics, s("../x"), &config));
    assert_true(topics_get(topics, s("T"), &config));
    assert_int_equal(config.read_queues, 3);
    assert_true(config.order);
    assert_false(config.saved);
    assert_int_equal(topics_persist(topics, &err), STATUS_OK);
    topics_free(topics);
    topics = open_topics(f); /* with the topics of the boot again, as 4.9.2 */
    assert_true(topics_get(topics, s("T"), &config));
    version = topics_version(topics, &after);
    assert_int_equal(version.counter, 7);
    topics_free(topics);
}

static void groups_become_the_masters(void **state)
{
    struct fixture *f = *state;
    char path[PATH_BYTES];
    struct groups *groups = NULL;
    struct group_config config;
    SubscriptionGroupWrapper body;
    struct err err = {.text = ""};
    uint64_t changes;
    assert_int_equal(groups_load(folder_file(&f->folder, "groups.json", path), vfs_posix(),
                                 clock_real(), &groups, &err),
                     STATUS_OK);
    subscription_group_wrapper__init(&body);
    assert_int_equal(groups_replace(groups, &body, &err), STATUS_MALFORMED);
    assert_int_equal(body_decode(s("{" VERSION "}"), &f->arena, &body.base, NULL), STATUS_OK);
    assert_int_equal(groups_replace(groups, &body, &err), STATUS_MALFORMED);
    assert_true(groups_get(groups, s("TOOLS_CONSUMER"), false, &config));
    assert_int_equal(body_decode(s("{" VERSION ",\"subscriptionGroupTable\":{\"g\":{"
                                   "\"retryMaxTimes\":3},\"\":{}}}"),
                                 &f->arena, &body.base, NULL),
                     STATUS_OK);
    assert_int_equal(groups_replace(groups, &body, &err), STATUS_OK);
    assert_false(groups_get(groups, s("TOOLS_CONSUMER"), false, &config));
    assert_false(groups_get(groups, s(""), false, &config));
    assert_true(groups_get(groups, s("g"), false, &config));
    assert_int_equal(config.retry_max_times, 3);
    assert_int_equal(groups_version(groups, &changes).counter, 7);
    groups_free(groups);
}

static void request_modes_become_the_masters(void **state)
{
    struct fixture *f = *state;
    char path[PATH_BYTES];
    struct request_modes *modes[2];
    struct request_mode mode = {true, 3};
    MessageRequestModeSerializeWrapper body;
    struct err err = {.text = ""};
    for (int i = 0; i < 2; i++)
        assert_int_equal(request_modes_load(folder_file(&f->folder, i == 0 ? "m0" : "m1", path),
                                            vfs_posix(), &modes[i], &err),
                         STATUS_OK);
    assert_int_equal(request_modes_put(modes[0], s("T"), s("g"), &mode), STATUS_OK);
    assert_int_equal(request_modes_put(modes[1], s("T"), s("h"), &mode), STATUS_OK);
    assert_int_equal(request_modes_wrap(modes[0], &f->arena, &body),
                     request_modes_version(modes[0]));
    assert_int_equal(request_modes_replace(modes[1], &body, &err), STATUS_OK);
    assert_true(request_modes_get(modes[1], s("T"), s("g"), &mode));
    assert_int_equal(mode.share_queues, 3);
    assert_false(request_modes_get(modes[1], s("T"), s("h"), &mode));
    request_modes_free(modes[0]);
    request_modes_free(modes[1]);
}

/* --- progress --- */

static struct store *open_store(const struct fixture *f)
{
    static char root[PATH_BYTES];
    static char log[PATH_BYTES];
    struct store *store = NULL;
    struct err err = {.text = ""};
    struct store_options options = {
        .root = folder_file(&f->folder, "store", root),
        .commit_log = folder_file(&f->folder, "store/commitlog", log),
        .segment_bytes = 1024 * 1024,
        .queue_file_bytes = 20 * 1000,
        .index_slots = 64,
        .index_entries = 256,
        .record_bytes_max = 65536,
        .role = STORE_ROLE_SLAVE,
        .flush_interval_ms = 20,
        .delete_when = "04",
        .disk_max_used_percent = 99,
        .clean_interval_ms = 10000,
    };
    if (store_open(&options, vfs_posix(), clock_real(), &store, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    return store;
}

static void delay_progress_is_taken_whole_and_kept(void **state)
{
    struct fixture *f = *state;
    static const int64_t levels_ms[] = {1000, 5000, 10000};
    struct store *store = open_store(f);
    char path[PATH_BYTES];
    struct delay *delay = NULL;
    struct err err = {.text = ""};
    DelayOffsetSerializeWrapper body;
    (void)folder_file(&f->folder, "delayOffset.json", path);
    assert_int_equal(delay_load(path, vfs_posix(), store, levels_ms, 3, &delay, &err), STATUS_OK);
    static const char *const bad[] = {"{\"offsetTable\":{1:5,0:1}}",
                                      "{\"offsetTable\":{1:5,257:1}}",
                                      "{\"offsetTable\":{1:5,2:-1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        delay_offset_serialize_wrapper__init(&body);
        assert_int_equal(body_decode(s(bad[i]), &f->arena, &body.base, NULL), STATUS_OK);
        assert_int_equal(delay_adopt(delay, &body, 0), STATUS_MALFORMED);
        assert_int_equal(delay_offset(delay, 1), 0);
    }
    delay_offset_serialize_wrapper__init(&body);
    assert_int_equal(body_decode(s("{\"offsetTable\":{1:5,3:2}}"), &f->arena, &body.base, NULL),
                     STATUS_OK);
    assert_int_equal(delay_adopt(delay, &body, 0), STATUS_OK);
    assert_int_equal(delay_persist(delay, &err), STATUS_OK);
    delay_free(delay);
    assert_int_equal(delay_load(path, vfs_posix(), store, levels_ms, 3, &delay, &err), STATUS_OK);
    assert_int_equal(delay_offset(delay, 1), 5);
    assert_int_equal(delay_offset(delay, 3), 2);
    delay_free(delay);
    store_close(store);
}

static void timer_progress_is_written_once(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f);
    char path[PATH_BYTES];
    struct err err = {.text = ""};
    TimerProgress body;
    struct timer_copy *copy =
        timer_copy_new(folder_file(&f->folder, "timerProgress.json", path), vfs_posix(), store);
    timer_progress__init(&body);
    body.covered_offset = -1;
    assert_int_equal(timer_copy_save(copy, &body, 0, &err), STATUS_MALFORMED);
    assert_int_equal(access(path, F_OK), -1);
    body.covered_offset = 12;
    body.version = 3;
    assert_int_equal(timer_copy_save(copy, &body, 0, &err), STATUS_OK);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(timer_copy_save(copy, &body, 0, &err), STATUS_OK); /* is there already */
    assert_int_equal(access(path, F_OK), -1);
    body.version = 4;
    assert_int_equal(timer_copy_save(copy, &body, 0, &err), STATUS_OK);
    assert_int_equal(access(path, F_OK), 0);
    timer_copy_free(copy);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_has_changed_is_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_takes_the_place_of_what_was_there, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_copy_brought_outlives_a_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_entries_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(random_changes_end_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(topics_become_the_masters, setup, teardown),
        cmocka_unit_test_setup_teardown(groups_become_the_masters, setup, teardown),
        cmocka_unit_test_setup_teardown(request_modes_become_the_masters, setup, teardown),
        cmocka_unit_test_setup_teardown(delay_progress_is_taken_whole_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(timer_progress_is_written_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
