/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer offsets: stored unconditionally, kept per queue in any order of ids, removed and cloned
 * by group, read and written in the format of 4.9.2, bounded, and loadable when full.
 * Source: RMQ ConsumerOffsetManager.java; behaviour QY-05 to QY-07.
 */
#include "broker/state/offsets.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "state_test.h"

#include <pthread.h>

struct fixture {
    struct folder folder;
    char path[PATH_BYTES];
    struct offsets *offsets;
    struct arena arena;
};

static void open_offsets(struct fixture *f)
{
    struct err err = {.text = ""};
    if (offsets_load(f->path, vfs_posix(), &f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void reopen(struct fixture *f)
{
    struct err err = {.text = ""};
    if (offsets_persist(f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    offsets_free(f->offsets);
    open_offsets(f);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    (void)folder_file(&f->folder, "consumerOffset.json", f->path);
    arena_init(&f->arena, 65536);
    open_offsets(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    offsets_free(f->offsets);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static enum status commit(struct fixture *f, const char *topic, const char *group, int queue,
                          int64_t offset)
{
    return offsets_commit(f->offsets, s(topic), s(group), queue, offset);
}

static int64_t get(const struct fixture *f, const char *topic, const char *group, int queue)
{
    return offsets_get(f->offsets, s(topic), s(group), queue);
}

static void what_is_committed_is_found(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, "T", "g", 0), -1);
    assert_int_equal(commit(f, "T", "g", 0, 10), STATUS_OK);
    assert_int_equal(get(f, "T", "g", 0), 10);
    assert_int_equal(get(f, "T", "g", 1), -1);
    assert_int_equal(get(f, "T", "h", 0), -1);
    assert_int_equal(get(f, "U", "g", 0), -1);
    /* Backwards, and values that make no sense, as QY-06 wants it. */
    assert_int_equal(commit(f, "T", "g", 0, 3), STATUS_OK);
    assert_int_equal(get(f, "T", "g", 0), 3);
    assert_int_equal(commit(f, "T", "g", 0, -7), STATUS_OK);
    assert_int_equal(get(f, "T", "g", 0), -7);
}

static void queue_ids_may_come_in_any_order_and_with_gaps(void **state)
{
    struct fixture *f = *state;
    static const int ids[] = {7, 0, 65535, 3, 1, 2, 4096, 5, 4, 6};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        assert_int_equal(commit(f, "T", "g", ids[i], 1000 + ids[i]), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
            assert_int_equal(get(f, "T", "g", ids[i]), 1000 + ids[i]);
        assert_int_equal(get(f, "T", "g", 8), -1);
        assert_int_equal(get(f, "T", "g", 65534), -1);
        reopen(f);
    }
}

static void impossible_queues_and_names_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[600];
    memset(name, 'n', sizeof name);
    assert_int_equal(commit(f, "T", "g", -1, 1), STATUS_INVALID);
    assert_int_equal(commit(f, "T", "g", TOPIC_QUEUES_MAX, 1), STATUS_INVALID);
    assert_int_equal(commit(f, "", "g", 0, 1), STATUS_INVALID);
    assert_int_equal(commit(f, "T", "", 0, 1), STATUS_INVALID);
    assert_int_equal(offsets_commit(f->offsets, s("T"), slice_of(name, GROUP_BYTES_MAX + 1), 0, 1),
                     STATUS_INVALID);
    assert_int_equal(offsets_commit(f->offsets, slice_of(name, sizeof name), s("g"), 0, 1),
                     STATUS_INVALID);
    assert_int_equal(get(f, "T", "g", -1), -1);
    assert_int_equal(offsets_get(f->offsets, slice_of(name, sizeof name), s("g"), 0), -1);

    /* The longest group, in its own retry topic. */
    char retry[GROUP_BYTES_MAX + 8];
    memcpy(retry, "%RETRY%", 7);
    memset(retry + 7, 'n', GROUP_BYTES_MAX);
    struct slice topic = slice_of(retry, GROUP_BYTES_MAX + 7);
    assert_int_equal(offsets_commit(f->offsets, topic, slice_of(name, GROUP_BYTES_MAX), 0, 5),
                     STATUS_OK);
    assert_int_equal(offsets_get(f->offsets, topic, slice_of(name, GROUP_BYTES_MAX), 0), 5);
}

static void the_files_are_those_of_4_9_2(void **state)
{
    struct fixture *f = *state;
    offsets_free(f->offsets);
    file_copy("test/data/bodies/consumerOffset.json", f->path);
    open_offsets(f);
    assert_int_equal(get(f, "TopicA", "CG_a", 0), 100);
    assert_int_equal(get(f, "TopicA", "CG_a", 1), 9007199254740993);
    assert_int_equal(get(f, "TopicA", "CG_a", 10), 0);

    /* Changed and changed back: the file is written with the bytes that were read. */
    char *golden = file_read("test/data/bodies/consumerOffset.json");
    assert_int_equal(commit(f, "TopicA", "CG_a", 0, 1), STATUS_OK);
    assert_int_equal(commit(f, "TopicA", "CG_a", 0, 100), STATUS_OK);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(offsets_persist(f->offsets, NULL), STATUS_OK);
    assert_file_is(f->path, golden);
    free(golden);

    offsets_free(f->offsets);
    file_copy("test/data/store-config/consumerOffset.json", f->path);
    open_offsets(f);
    assert_int_equal(get(f, "PlainTopic", "CG_plain", 3), 112);
    assert_int_equal(get(f, "%RETRY%CG_retry", "CG_retry", 0), 12);
}

static void an_unchanged_table_is_not_written(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(commit(f, "T", "g", 0, 1), STATUS_OK);
    assert_int_equal(offsets_persist(f->offsets, NULL), STATUS_OK);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(commit(f, "T", "g", 0, 1), STATUS_OK); /* the same again */
    assert_int_equal(offsets_persist(f->offsets, NULL), STATUS_OK);
    assert_false(file_exists(f->path));
    assert_int_equal(commit(f, "T", "g", 0, 2), STATUS_OK);
    assert_int_equal(offsets_persist(f->offsets, NULL), STATUS_OK);
    assert_true(file_exists(f->path));
}

static void offsets_of_a_group_are_removed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(commit(f, "T", "g", 0, 1), STATUS_OK);
    assert_int_equal(commit(f, "U", "g", 0, 2), STATUS_OK);
    assert_int_equal(commit(f, "T", "gg", 0, 3), STATUS_OK);
    offsets_remove_group(f->offsets, s("g"));
    assert_int_equal(get(f, "T", "g", 0), -1);
    assert_int_equal(get(f, "U", "g", 0), -1);
    assert_int_equal(get(f, "T", "gg", 0), 3);
    reopen(f);
    assert_int_equal(get(f, "T", "g", 0), -1);
    assert_int_equal(get(f, "T", "gg", 0), 3);
}

static void a_clone_replaces_what_the_other_group_had(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(commit(f, "T", "from", 0, 10), STATUS_OK);
    assert_int_equal(commit(f, "T", "from", 2, 12), STATUS_OK);
    assert_int_equal(commit(f, "T", "to", 1, 5), STATUS_OK);
    assert_int_equal(offsets_clone(f->offsets, s("from"), s("to"), s("T")), STATUS_OK);
    assert_int_equal(get(f, "T", "to", 0), 10);
    assert_int_equal(get(f, "T", "to", 1), -1);
    assert_int_equal(get(f, "T", "to", 2), 12);
    assert_int_equal(get(f, "T", "from", 0), 10);
    /* Nothing to copy: nothing changes. */
    assert_int_equal(offsets_clone(f->offsets, s("nobody"), s("to"), s("T")), STATUS_OK);
    assert_int_equal(get(f, "T", "to", 0), 10);
    assert_int_equal(offsets_clone(f->offsets, s("to"), s("to"), s("T")), STATUS_OK);
    assert_int_equal(get(f, "T", "to", 2), 12);
}

static void topics_and_groups_are_listed(void **state)
{
    struct fixture *f = *state;
    struct name_list names = {.count = 0};
    IntOffsetEntry **entries;
    assert_int_equal(commit(f, "T", "a", 0, 1), STATUS_OK);
    assert_int_equal(commit(f, "T", "a", 4, 9), STATUS_OK);
    assert_int_equal(commit(f, "T", "b", 0, 1), STATUS_OK);
    assert_int_equal(commit(f, "U", "b", 0, 1), STATUS_OK);
    assert_int_equal(commit(f, "T", "c@d", 0, 1), STATUS_OK); /* belongs to nobody, as in 4.9.2 */
    offsets_groups_of(f->offsets, s("T"), name_list_add, &names);
    assert_int_equal(names.count, 2);
    assert_true(name_list_has(&names, "a") && name_list_has(&names, "b"));
    names.count = 0;
    offsets_topics_of(f->offsets, s("b"), name_list_add, &names);
    assert_int_equal(names.count, 2);
    assert_true(name_list_has(&names, "T") && name_list_has(&names, "U"));

    assert_int_equal(offsets_of(f->offsets, s("T"), s("a"), &f->arena, &entries), 2);
    assert_int_equal(entries[1]->key, 4);
    assert_int_equal(entries[1]->value, 9);
    assert_int_equal(offsets_of(f->offsets, s("V"), s("a"), &f->arena, &entries), 0);
}

/* A peer can commit for endless made-up topics; what is taken must load again. */
static void the_number_of_keys_is_bounded_and_a_full_table_loads(void **state)
{
    struct fixture *f = *state;
    enum status status = STATUS_OK;
    int made = 0;
    log_set_level(LOG_ERROR);
    for (; status == STATUS_OK; made++) {
        char group[GROUP_BYTES_MAX + 1];
        char topic[GROUP_BYTES_MAX + 8];
        (void)snprintf(group, sizeof group, "%0*d", GROUP_BYTES_MAX, made);
        (void)snprintf(topic, sizeof topic, "%%RETRY%%%s", group);
        for (int queue = 0; queue < OFFSET_QUEUES_MAX / OFFSET_KEYS_MAX && status == STATUS_OK;
             queue++)
            status = commit(f, topic, group, queue, INT64_MAX - queue);
    }
    assert_int_equal(status, STATUS_BUSY);
    assert_int_equal(made - 1, OFFSET_KEYS_MAX);
    assert_int_equal(commit(f, "T", "g", 0, 1), STATUS_BUSY);
    reopen(f);
    ConsumerOffsetSerializeWrapper body;
    offsets_wrap(f->offsets, &f->arena, &body);
    assert_int_equal(body.n_offset_table, OFFSET_KEYS_MAX);
    assert_int_equal(body.offset_table[OFFSET_KEYS_MAX - 1]->n_value,
                     OFFSET_QUEUES_MAX / OFFSET_KEYS_MAX);
    assert_int_equal(commit(f, "T", "g", 0, 1), STATUS_BUSY);
}

static void the_number_of_offsets_is_bounded(void **state)
{
    struct fixture *f = *state;
    enum status status = STATUS_OK;
    int made = 0;
    log_set_level(LOG_ERROR);
    while (status == STATUS_OK) {
        char group[16];
        (void)snprintf(group, sizeof group, "g%d", made / TOPIC_QUEUES_MAX);
        status = commit(f, "T", group, made % TOPIC_QUEUES_MAX, made);
        made += status == STATUS_OK;
    }
    assert_int_equal(made, OFFSET_QUEUES_MAX);
    assert_int_equal(offsets_clone(f->offsets, s("g0"), s("h"), s("T")), STATUS_BUSY);
    /* What is there can still move, and room that is made can be used. */
    assert_int_equal(commit(f, "T", "g0", 5, 77), STATUS_OK);
    assert_int_equal(get(f, "T", "g0", 5), 77);
    offsets_remove_group(f->offsets, s("g1"));
    assert_int_equal(offsets_clone(f->offsets, s("g0"), s("h"), s("T")), STATUS_OK);
    assert_int_equal(get(f, "T", "h", 5), 77);
}

static void *commit_many(void *arg)
{
    struct fixture *f = arg;
    for (int i = 1; i <= 2000; i++)
        CHECK(commit(f, "T", "g", i % 8, i) == STATUS_OK);
    return NULL;
}

/* Committing, reading and saving at the same time; for the thread sanitizer above all. */
static void commits_and_saves_run_side_by_side(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, commit_many, f), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(offsets_persist(f->offsets, NULL), STATUS_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    reopen(f);
    for (int queue = 0; queue < 8; queue++)
        assert_int_equal(get(f, "T", "g", queue), queue == 0 ? 2000 : 1992 + queue);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_committed_is_found),
        TEST(queue_ids_may_come_in_any_order_and_with_gaps),
        TEST(impossible_queues_and_names_are_refused),
        TEST(the_files_are_those_of_4_9_2),
        TEST(an_unchanged_table_is_not_written),
        TEST(offsets_of_a_group_are_removed),
        TEST(a_clone_replaces_what_the_other_group_had),
        TEST(topics_and_groups_are_listed),
        TEST(the_number_of_keys_is_bounded_and_a_full_table_loads),
        TEST(the_number_of_offsets_is_bounded),
        TEST(commits_and_saves_run_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
