/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave that has come to its master's end is its master's copy: the files of the commit log and
 * of the queues are the same byte for byte, and the index gives the same answers, whatever the
 * messages were and in which pieces they came; also when it began in the middle, as far as it goes.
 *
 * And a log that ends inside a record, as a 4.9.2 slave leaves it, goes on where the last whole
 * record ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/sys/log.h"
#include "test/unit/support/crash_message.h"
#include "test/unit/support/slave_kit.h"
#include "test/unit/support/store_kit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOUND_MAX 64
#define ZEROS_OF_SIZE 3 /* zero bytes at the front of a small record's size */

/* --- the same files --- */

struct comparison {
    struct crash *from;
    struct crash *to;
    int64_t files;
};

static bool is_queue_file(const char *path)
{
    return strstr(path, "/consumequeue/") != NULL;
}

static void compare_file(void *ctx, const char *path, size_t size)
{
    struct comparison *comparison = ctx;
    size_t other_size = 0;
    if (!is_queue_file(path))
        return;
    const uint8_t *bytes = sim_bytes(comparison->from->sim, path, &size);
    const uint8_t *other = sim_bytes(comparison->to->sim, path, &other_size);
    if (other == NULL || other_size != size || memcmp(bytes, other, size) != 0)
        crash_fail(comparison->to, "%s is not the same on master and slave", path);
    comparison->files++;
}

static void compare_queue_files(struct slave_pair *pair)
{
    struct comparison there = {&pair->master, &pair->slave, 0};
    struct comparison back = {&pair->slave, &pair->master, 0};
    sim_each_file(pair->master.sim, compare_file, &there);
    sim_each_file(pair->slave.sim, compare_file, &back);
    assert_int_equal(there.files, back.files);
}

/* Entry by entry, from the slave's first one on. */
static void compare_entries(struct slave_pair *pair, int topic, int32_t id)
{
    struct slice name = slice_of_cstr(crash_topic(topic));
    struct queue *master = store_queue(pair->master.store, name, id, true);
    struct queue *slave = store_queue(pair->slave.store, name, id, true);
    if (queue_max_offset(slave) == 0)
        return; /* its messages are before the slave's begin */
    assert_int_equal(queue_max_offset(slave), queue_max_offset(master));
    for (int64_t i = queue_min_offset(slave); i < queue_max_offset(slave); i++) {
        struct queue_entry ours;
        struct queue_entry theirs;
        assert_true(queue_entry_at(slave, i, &ours));
        assert_true(queue_entry_at(master, i, &theirs));
        assert_int_equal(ours.pos, theirs.pos);
        assert_int_equal(ours.size, theirs.size);
        assert_int_equal(ours.tags_code, theirs.tags_code);
    }
}

/* The positions that a key leads to, those before `begin` left out. */
static int find(struct crash *crash, size_t number, int64_t begin, int64_t found[FOUND_MAX])
{
    int64_t all[FOUND_MAX];
    int64_t last_ms;
    int64_t last_pos;
    char key[32];
    int count = 0;
    crash_key(number, key);
    int hits =
        store_query_index(crash->store, slice_of_cstr(crash_topic(crash->sent[number].topic)),
                          slice_of_cstr(key), FOUND_MAX, 0, INT64_MAX, all, &last_ms, &last_pos);
    for (int i = 0; i < hits; i++)
        if (all[i] >= begin)
            found[count++] = all[i];
    return count;
}

static void compare_answers(struct slave_pair *pair)
{
    for (size_t i = 0; i < pair->master.sent_count; i++) {
        int64_t ours[FOUND_MAX];
        int64_t theirs[FOUND_MAX];
        int count = find(&pair->slave, i, pair->begin, ours);
        assert_int_equal(count, find(&pair->master, i, pair->begin, theirs));
        assert_memory_equal(ours, theirs, (size_t)count * sizeof ours[0]);
    }
}

/* --- copies --- */

static void copy_with(struct slave_pair *pair, int puts)
{
    struct random *random = &pair->slave.random;
    for (int i = 0; i < puts; i++) {
        slave_pair_put(pair, 1 + random_below(random, 8));
        for (uint32_t feeds = random_below(random, 4); feeds > 0; feeds--)
            slave_pair_feed(pair, 1 + random_below(random, 20000));
        if (random_below(random, 3) == 0)
            (void)dispatcher_round(&pair->slave.store->dispatcher);
    }
    slave_pair_catch_up(pair);
}

static void the_same_files(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    int64_t restarts = 0;
    crash_seeds_begin(&seeds, "the_same_files", 4);
    while (crash_seeds_next(&seeds, &seed)) {
        struct slave_pair pair;
        slave_pair_init(&pair, seed);
        copy_with(&pair, 60);
        slave_pair_compare_logs(&pair, &pair.slave);
        compare_queue_files(&pair);
        compare_answers(&pair);
        restarts++;
        /* A restart changes nothing of it. */
        crash_close(&pair.slave);
        crash_open(&pair.slave);
        slave_pair_compare_logs(&pair, &pair.slave);
        compare_queue_files(&pair);
        compare_answers(&pair);
        slave_pair_release(&pair);
    }
    crash_seeds_end(&seeds, "the_same_files", restarts);
}

static void the_same_from_the_middle_on(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    int64_t restarts = 0;
    crash_seeds_begin(&seeds, "the_same_from_the_middle_on", 4);
    while (crash_seeds_next(&seeds, &seed)) {
        struct slave_pair pair;
        slave_pair_init(&pair, seed);
        for (int i = 0; i < 40; i++)
            slave_pair_put(&pair, 5);
        int64_t size = pair.slave.options.segment_bytes;
        slave_pair_begin_at(&pair, store_appended_pos(pair.master.store) / size * size);
        copy_with(&pair, 40);
        for (int again = 0; again < 2; again++) {
            slave_pair_compare_logs(&pair, &pair.slave);
            for (int topic = 0; topic < CRASH_TOPICS; topic++)
                for (int32_t id = 0; id < CRASH_QUEUES; id++)
                    compare_entries(&pair, topic, id);
            compare_answers(&pair);
            crash_close(&pair.slave);
            crash_open(&pair.slave);
        }
        restarts++;
        slave_pair_release(&pair);
    }
    crash_seeds_end(&seeds, "the_same_from_the_middle_on", restarts);
}

/* --- a log that ends inside a record --- */

/* How often a line of the level stands in the log file. */
static size_t count_lines(const char *path, const char *level)
{
    size_t count = 0;
    char line[2048];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, level) != NULL;
    assert_int_equal(fclose(file), 0);
    return count;
}

/* The store of a 4.9.2 slave that was stopped, or killed, when `arrived` bytes of the log were
 * there: behind them there are zeros. Queues and index are as old as nothing. */
static void ends_inside(const char *source, int64_t log_end, int64_t last_pos, int64_t arrived,
                        bool killed)
{
    struct kit kit;
    char path[256];
    char lines[FOLDER_BYTES + 16];
    uint8_t zeros[1024] = {0};
    struct err err;
    kit_init_copy(&kit, "inside", source);
    kit.options.role = STORE_ROLE_SLAVE;
    kit_path(&kit, "commitlog/00000000000000000000", path);
    kit_poke(path, arrived, zeros, (size_t)(log_end - arrived));
    kit_remove(&kit, "checkpoint");
    kit_remove(&kit, "consumequeue");
    kit_path(&kit, "index", path);
    if (kit_exists(path))
        kit_remove(&kit, "index");
    if (killed) {
        kit_path(&kit, "abort", path);
        FILE *abort_mark = fopen(path, "w");
        assert_non_null(abort_mark);
        assert_int_equal(fclose(abort_mark), 0);
    }
    (void)snprintf(lines, sizeof lines, "%s/lines", kit.folder);
    assert_int_equal(log_open(&(struct log_options){lines, INT64_MAX, 1, LOG_INFO}, &err),
                     STATUS_OK);
    kit_open(&kit);
    log_close();
    int64_t expected = arrived == log_end ? log_end : last_pos;
    if (store_appended_pos(kit.store) != expected)
        fail_msg("with %lld bytes the log ends at %lld", (long long)arrived,
                 (long long)store_appended_pos(kit.store));
    assert_int_equal(count_lines(lines, " ERROR "), 0);
    assert_int_equal(count_lines(lines, " WARN "), 0);
    assert_int_equal(count_lines(lines, "the master sends it again"),
                     arrived == log_end || arrived <= last_pos + ZEROS_OF_SIZE ? 0 : 1);
    struct log_name name;
    assert_int_equal(store_name_end(kit.store, &name), STATUS_OK);
    assert_int_equal(name.end_pos, expected);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "Topic", 0), 0),
                     arrived == log_end ? 3 : 2);
    kit_release(&kit);
}

static void a_log_that_ends_inside_a_record(void **state)
{
    (void)state;
    static const char *const properties[] = {"KEYS\001k\002TAGS\001t", ""};
    for (size_t i = 0; i < 2; i++) {
        struct kit master;
        kit_init(&master, "master");
        kit_open(&master);
        kit_put(&master, "Topic", 0, "first", "");
        kit_put(&master, "Topic", 0, "second", "");
        struct append_result last = kit_put(&master, "Topic", 0, "third", properties[i]);
        kit_close(&master);
        for (int64_t arrived = last.pos; arrived <= last.end_pos; arrived++) {
            /* Without properties their length, at the end, is zero anyway. */
            if (i == 1 && (arrived == last.end_pos - 1 || arrived == last.end_pos - 2))
                continue;
            ends_inside(master.root, last.end_pos, last.pos, arrived, arrived % 2 == 0);
        }
        kit_release(&master);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_files),
        cmocka_unit_test(the_same_from_the_middle_on),
        cmocka_unit_test(a_log_that_ends_inside_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
