/* SPDX-License-Identifier: Apache-2.0
 *
 * After a crash the store holds exactly the whole records up to the first that is not, every queue
 * and key leads to exactly those, and nothing that was cut off ever comes back.
 *
 * Method: the folder of a running store is copied, which is what kill -9 leaves; the copy is
 * damaged and opened. Source: docs/store.md; RocketMQ store/.../CommitLog.java recoverAbnormally.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/random.h"
#include "test/unit/support/store_kit.h"
#include "test/unit/support/tsv.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 60
#define QUEUES 3
#define PROPERTIES_BYTES 27 /* of the last records: "KEYS k57 all UNIQ_KEY u57" */

/* A crashed store and what was in it. */
struct image {
    struct kit kit; /* the store it was copied from, still open */
    char path[FOLDER_BYTES + 16];
    int64_t pos[RECORDS];
    int64_t end[RECORDS];
};

static void put_numbered(struct kit *kit, int i, struct append_result *result)
{
    char body[256];
    char properties[64];
    memset(body, 'b', sizeof body);
    (void)snprintf(body + 20 + i * 3, 16, "%d", i);
    (void)snprintf(properties, sizeof properties, "KEYS\001k%d all\002UNIQ_KEY\001u%d", i, i);
    *result = kit_put(kit, "Topic", i % QUEUES, body, properties);
    assert_int_equal(result->status, PUT_OK);
    assert_int_equal(result->queue_offset, i / QUEUES);
}

static void image_make(struct image *image)
{
    kit_init(&image->kit, "image");
    image->kit.options.segment_bytes = 8192;
    kit_start(&image->kit);
    for (int i = 0; i < RECORDS; i++) {
        struct append_result result;
        put_numbered(&image->kit, i, &result);
        image->pos[i] = result.pos;
        image->end[i] = result.end_pos;
    }
    kit_dispatched(&image->kit);
    (void)snprintf(image->path, sizeof image->path, "%s/image", image->kit.folder);
    kit_copy(image->kit.root, image->path);
}

static void image_release(struct image *image)
{
    kit_release(&image->kit);
}

static void copy_of(struct kit *kit, const struct image *image)
{
    kit_init_copy(kit, "recover", image->path);
    kit->options.segment_bytes = 8192;
}

static void segment_of(const struct kit *kit, int64_t pos, char path[256], int64_t *at)
{
    char name[64];
    (void)snprintf(name, sizeof name, "commitlog/%020lld", (long long)(pos / 8192 * 8192));
    kit_path(kit, name, path);
    *at = pos % 8192;
}

static int count_key(struct kit *kit, const char *key)
{
    int64_t found[RECORDS * 4];
    int64_t last_ms;
    int64_t last_pos;
    int count = store_query_index(kit->store, SLICE_LITERAL("Topic"), slice_of_cstr(key),
                                  RECORDS * 4, 0, INT64_MAX, found, &last_ms, &last_pos);
    for (int i = 0; i < count; i++) {
        struct log_range range;
        assert_int_equal(store_read_record(kit->store, found[i], &range), STATUS_OK);
        log_range_release(&range);
    }
    return count;
}

/* The store holds records [0, count), each once in its queue and under its keys. */
static void check_holds(struct kit *kit, const struct image *image, int count)
{
    int64_t end = count == 0 ? 0 : image->end[count - 1];
    /* A filler may stand behind the last record. */
    if (count < RECORDS && image->pos[count] % 8192 == 0 &&
        store_appended_pos(kit->store) == image->pos[count])
        end = image->pos[count];
    assert_int_equal(store_appended_pos(kit->store), end);
    assert_int_equal(store_flushed_pos(kit->store), end);
    for (int q = 0; q < QUEUES; q++) {
        struct queue *queue = kit_queue(kit, "Topic", q);
        assert_int_equal(queue_max_offset(queue), (count - q + QUEUES - 1) / QUEUES);
        assert_int_equal(kit_read_queue(kit, queue, 0), queue_max_offset(queue));
    }
    for (int i = 0; i < count; i++) {
        struct queue_entry entry;
        char key[16];
        assert_true(queue_entry_at(kit_queue(kit, "Topic", i % QUEUES), i / QUEUES, &entry));
        assert_int_equal(entry.pos, image->pos[i]);
        (void)snprintf(key, sizeof key, "u%d", i);
        assert_int_equal(count_key(kit, key), 1);
    }
    assert_int_equal(count_key(kit, "all"), count);
}

/* Offsets go on where the queues end, and another crash loses nothing. */
static void check_continues(struct kit *kit, int count)
{
    char again[FOLDER_BYTES + 16];
    struct append_result result = kit_put(kit, "Topic", 0, "more", "KEYS\001all");
    assert_int_equal(result.status, PUT_OK);
    assert_int_equal(result.queue_offset, (count + QUEUES - 1) / QUEUES);
    (void)snprintf(again, sizeof again, "%s/again", kit->folder);
    kit_copy(kit->root, again);
    struct kit other;
    kit_init_copy(&other, "recover", again);
    other.options.segment_bytes = 8192;
    kit_open(&other);
    assert_int_equal(store_appended_pos(other.store), result.end_pos);
    int64_t total = 0;
    for (int q = 0; q < QUEUES; q++)
        total += kit_read_queue(&other, kit_queue(&other, "Topic", q), 0);
    assert_int_equal(total, count + 1);
    assert_int_equal(count_key(&other, "all"), count + 1);
    kit_release(&other);
}

static void nothing_lost(void **state)
{
    (void)state;
    struct image image;
    struct kit kit;
    image_make(&image);
    copy_of(&kit, &image);
    kit_open(&kit);
    check_holds(&kit, &image, RECORDS);
    check_continues(&kit, RECORDS);
    kit_release(&kit);
    image_release(&image);
}

enum damage {
    ZEROS,   /* whole sectors never reached the disk */
    GARBAGE, /* something else stood there */
    FLIPPED, /* one bit is wrong, whole records follow */
};

static void damage_from(const struct kit *kit, int64_t pos, int64_t end, enum damage damage,
                        struct random *random)
{
    char path[256];
    int64_t at;
    if (damage == FLIPPED)
        end = pos + 1;
    for (; pos < end; pos++) {
        segment_of(kit, pos, path, &at);
        uint8_t byte = 0;
        if (damage != ZEROS)
            byte = (uint8_t)(random_u64(random) | 1);
        kit_poke(path, at, &byte, 1);
    }
}

/* The log is cut at every kind of place in its last records. */
static void torn_tail(void **state)
{
    (void)state;
    struct image image;
    struct random random;
    random_init(&random, "torn_tail");
    image_make(&image);
    const int first = RECORDS - 3;
    int64_t end = image.end[RECORDS - 1];
    for (int64_t pos = image.pos[first]; pos < end; pos += 1 + (int64_t)random_below(&random, 24)) {
        struct kit kit;
        enum damage damage = (enum damage)random_below(&random, 2);
        copy_of(&kit, &image);
        int64_t from = damage == ZEROS ? (pos + 511) / 512 * 512 : pos;
        damage_from(&kit, from, end, damage, &random);
        int count = first;
        while (count < RECORDS && image.end[count] <= from)
            count++;
        /* The format's checksum does not cover properties; only zeros are seen there. */
        if (damage == GARBAGE && pos > image.end[count] - PROPERTIES_BYTES) {
            kit_release(&kit);
            continue;
        }
        kit_open(&kit);
        check_holds(&kit, &image, count);
        kit_release(&kit);
    }
    image_release(&image);
}

/* Whole records behind a bad one are cut too, over several files, and cannot come back although a
 * new record of the same size stands in front of them. */
static void cut_records_stay_away(void **state)
{
    (void)state;
    struct image image;
    struct random random;
    random_init(&random, "cut_records");
    image_make(&image);
    const int bad[] = {0, 1, RECORDS / 2, RECORDS - 2};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kit kit;
        copy_of(&kit, &image);
        damage_from(&kit, image.pos[bad[i]] + 100, 0, FLIPPED, &random);
        kit_open(&kit);
        check_holds(&kit, &image, bad[i]);
        struct append_result result;
        put_numbered(&kit, bad[i], &result);
        assert_int_equal(result.end_pos, image.end[bad[i]]);
        check_continues(&kit, bad[i] + 1);
        kit_release(&kit);
    }
    image_release(&image);
}

/* Zeros inside the last record's properties are a message's own, unless a whole sector is zero. */
static void zeros_of_a_message(void **state)
{
    (void)state;
    for (int tail = 1; tail < 600; tail += 7) {
        struct kit kit;
        struct kit after;
        char properties[640] = "k\001a\0b\002CLUSTER\001c";
        size_t size = 18 + (size_t)tail;
        memset(properties + 18, '-', (size_t)tail);
        kit_init(&kit, "recover");
        kit_open(&kit);
        kit_put_many(&kit, "A", 0, 100, 3);
        struct record record =
            kit_record(SLICE_LITERAL("A"), 0, SLICE_LITERAL("body"), slice_of(properties, size));
        append_batch_clear(kit.batch);
        assert_int_equal(append_batch_add(kit.batch, kit_queue(&kit, "A", 0), &record, false, NULL),
                         STATUS_OK);
        int64_t end = store_append(kit.store, kit.batch)[0].end_pos;
        kit_crash(&kit, &after);
        kit_open(&after);
        assert_int_equal(store_appended_pos(after.store), end);
        kit_release(&after);
        kit_release(&kit);
    }
}

static void wipe_file(const struct kit *kit, const char *name, int64_t from)
{
    char path[256];
    kit_path(kit, name, path);
    kit_resize(path, from);
    kit_resize(path, 600);
}

/* Queue files that are stale, empty, short of entries, or gone. */
static void stale_queues(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    for (int how = 0; how < 4; how++) {
        struct kit kit;
        char path[256];
        copy_of(&kit, &image);
        kit_path(&kit, "consumequeue/Topic/1/00000000000000000000", path);
        if (how == 0)
            wipe_file(&kit, "consumequeue/Topic/1/00000000000000000000", 0);
        if (how == 1)
            wipe_file(&kit, "consumequeue/Topic/1/00000000000000000000", 5 * 20);
        if (how == 2)
            kit_poke(path, 3 * 20, "\0\0\0\0\0\0\0\7\0\0\1\0", 12); /* entry 3: nonsense */
        if (how == 3) {
            kit_path(&kit, "consumequeue/Topic", path);
            folder_remove(path);
        }
        kit_open(&kit);
        check_holds(&kit, &image, RECORDS);
        kit_release(&kit);
    }
    image_release(&image);
}

/* Entries beyond the end of the log are cut: here the log lost its last file. */
static void queues_beyond_the_log(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    struct kit kit;
    copy_of(&kit, &image);
    int64_t last = image.pos[RECORDS - 1] / 8192 * 8192;
    int count = RECORDS;
    char path[256];
    int64_t at;
    for (int64_t base = last + 8192; base >= last; base -= 8192) {
        segment_of(&kit, base, path, &at);
        if (kit_exists(path))
            folder_remove(path);
    }
    while (image.pos[count - 1] >= last)
        count--;
    kit_open(&kit);
    check_holds(&kit, &image, count);
    check_continues(&kit, count);
    kit_release(&kit);
    image_release(&image);
}

/* Checkpoints that are missing, cut short, full of garbage, or of a 4.9.2 broker. */
static void odd_checkpoints(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    for (int how = 0; how < 5; how++) {
        struct kit kit;
        char path[256];
        uint8_t bytes[64];
        copy_of(&kit, &image);
        kit_path(&kit, "checkpoint", path);
        if (!kit_exists(path)) {
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            assert_int_equal(fclose(file), 0);
            kit_resize(path, 4096);
        }
        memset(bytes, how == 1 ? 0xFF : 0x7F, sizeof bytes);
        if (how == 0)
            folder_remove(path);
        if (how == 1 || how == 2)
            kit_poke(path, 0, bytes, sizeof bytes);
        if (how == 3)
            kit_resize(path, 11);
        kit_open(&kit);
        check_holds(&kit, &image, RECORDS);
        kit_release(&kit);
    }
    image_release(&image);
}

/* Recovery starts at the checkpoint's position: what lies before it is not read again. */
static void starts_at_the_checkpoint(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    kit_close(&image.kit);
    struct kit kit;
    kit_init_copy(&kit, "recover", image.kit.root);
    kit.options.segment_bytes = 8192;
    char path[256];
    int64_t at;
    segment_of(&kit, image.pos[RECORDS / 2] + 120, path, &at);
    kit_poke(path, at, "?", 1); /* rot far behind the checkpoint is not what recovery looks for */
    kit_path(&kit, "abort", path);
    assert_false(kit_exists(path));
    kit_open(&kit);
    assert_true(kit_exists(path));
    assert_int_equal(store_appended_pos(kit.store), image.end[RECORDS - 1]);
    assert_int_equal(queue_max_offset(kit_queue(&kit, "Topic", 0)), RECORDS / QUEUES);
    kit_release(&kit);
    image_release(&image);
}

/* Index pages that were never written, or are older than the rest. */
static void torn_index(void **state)
{
    (void)state;
    struct image image;
    struct random random;
    random_init(&random, "torn_index");
    image_make(&image);
    for (int round = 0; round < 12; round++) {
        struct kit kit;
        copy_of(&kit, &image);
        char command[512];
        char name[64] = "";
        (void)snprintf(command, sizeof command, "ls %s/index | head -n 1", kit.root);
        FILE *list = popen(command, "r");
        assert_non_null(list);
        assert_non_null(fgets(name, sizeof name, list));
        assert_int_equal(pclose(list), 0);
        name[strcspn(name, "\n")] = '\0';
        char path[256];
        char index[128];
        (void)snprintf(index, sizeof index, "index/%s", name);
        kit_path(&kit, index, path);
        uint8_t zeros[512] = {0};
        int64_t at = (int64_t)random_below(&random, 3700 / 512) * 512;
        kit_poke(path, at, zeros, sizeof zeros);
        kit_open(&kit);
        check_holds(&kit, &image, RECORDS);
        kit_release(&kit);
    }
    image_release(&image);
}

static bool is_topic(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "Topic");
}

/* A topic deleted and made anew: after a crash only its new life counts, even when the checkpoint
 * lies before its old one. */
static void deleted_topic_stays_deleted(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "recover");
    kit_open(&kit); /* without threads: no checkpoint is written */
    kit_put_many(&kit, "Topic", 0, 10, 20);
    kit_close(&kit);
    kit_open(&kit);
    char early[256];
    kit_path(&kit, "../early", early);
    kit_put_many(&kit, "Topic", 0, 10, 20);
    store_delete_queues(kit.store, is_topic, NULL);
    kit_put_many(&kit, "Topic", 0, 10, 7);
    kit_copy(kit.root, early);
    struct kit after;
    kit_init_copy(&after, "recover", early);
    kit_open(&after);
    assert_int_equal(kit_read_queue(&after, kit_queue(&after, "Topic", 0), 0), 7);
    assert_int_equal(kit_put(&after, "Topic", 0, "b", "").queue_offset, 7);
    kit_release(&after);
    kit_release(&kit);
}

/* A process that is killed while it appends: what it was told is there. */
static void killed_while_appending(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct kit kit;
        kit_init(&kit, "killed");
        int report[2];
        assert_int_equal(pipe(report), 0);
        pid_t pid = fork();
        assert_true(pid != -1);
        if (pid == 0) {
            kit_start(&kit);
            for (int64_t i = 0;; i++) {
                struct append_result result = kit_put(&kit, "Topic", 0, "a body", "KEYS\001all");
                if (result.status != PUT_OK || write(report[1], &i, sizeof i) != sizeof i)
                    _exit(1);
            }
        }
        (void)close(report[1]);
        int64_t last = -1;
        int64_t number;
        int64_t wanted = 50 + 700 * round;
        while (last < wanted && read(report[0], &number, sizeof number) == sizeof number)
            last = number;
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(report[0], &number, sizeof number) == sizeof number)
            last = number;
        (void)close(report[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        kit_open(&kit);
        int64_t held = kit_read_queue(&kit, kit_queue(&kit, "Topic", 0), 0);
        assert_true(last >= wanted && (held == last + 1 || held == last + 2));
        kit_release(&kit);
    }
}

static void odd_files(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    struct kit kit;
    char path[256];
    int64_t at;
    copy_of(&kit, &image);
    int64_t next = (image.end[RECORDS - 1] / 8192 + 1) * 8192;
    /* A crash between making a file and giving it its size. */
    segment_of(&kit, next, path, &at);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    kit_open(&kit);
    check_holds(&kit, &image, RECORDS);
    kit_close(&kit);
    assert_false(kit_exists(path));
    /* Or while its blocks are reserved. */
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    kit_resize(path, 4096);
    kit_open(&kit);
    check_holds(&kit, &image, RECORDS);
    kit_close(&kit);
    assert_false(kit_exists(path));
    /* Queues that point into a log which is not there. */
    kit_path(&kit, "commitlog", path);
    folder_remove(path);
    kit_open_fails(&kit, STATUS_CORRUPT, "storePathCommitLog");
    /* A last segment of another size. */
    kit_release(&kit);
    copy_of(&kit, &image);
    segment_of(&kit, 0, path, &at);
    kit_resize(path, 8191);
    kit_open_fails(&kit, STATUS_CORRUPT, "has 8191 bytes");
    kit_release(&kit);
    image_release(&image);
}

static void first_start_crashed(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "recover");
    kit_open(&kit);
    char early[256];
    kit_path(&kit, "../early", early);
    kit_copy(kit.root, early);
    kit_release(&kit);
    kit_init(&kit, "recover");
    kit_open(&kit);
    kit_path(&kit, "../early", early);
    kit_copy(kit.root, early);
    struct kit after;
    kit_init_copy(&after, "recover", early);
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), 0);
    assert_int_equal(kit_put(&after, "A", 0, "b", "").queue_offset, 0);
    kit_release(&after);
    kit_release(&kit);
}

/* Entries of records that were cut from the log are zeroed: those of the same page as the end, and
 * those of later ones. */
static void wiped(int count, int64_t end)
{
    struct kit kit;
    struct kit after;
    struct queue_entry entry;
    char path[256];
    uint8_t zeros[8] = {0};
    kit_init(&kit, "recover");
    kit.options.queue_file_bytes = 1000 * 20;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 10, count);
    kit_dispatched(&kit);
    assert_true(queue_entry_at(kit_queue(&kit, "A", 0), end, &entry));
    kit_crash(&kit, &after);
    kit_path(&after, "commitlog/00000000000000000000", path);
    kit_poke(path, entry.pos, zeros, sizeof zeros);
    kit_open(&after);
    struct queue *queue = kit_queue(&after, "A", 0);
    assert_int_equal(queue_max_offset(queue), end);
    assert_int_equal(kit_read_queue(&after, queue, 0), end);
    struct arena arena;
    arena_init(&arena, 4096);
    kit_path(&after, "consumequeue/A/0/00000000000000000000", path);
    struct slice file = file_bytes(&arena, path);
    assert_int_equal(file.size, 1000 * 20);
    for (size_t at = 0; at < file.size; at++)
        if (at >= (size_t)end * 20)
            assert_int_equal(file.data[at], 0);
    arena_release(&arena);
    kit_release(&after);
    kit_release(&kit);
}

static void cut_entries_are_wiped(void **state)
{
    (void)state;
    wiped(300, 290);
    wiped(300, 100);
    wiped(150, 100); /* all in one page */
    wiped(150, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_lost),
        cmocka_unit_test(torn_tail),
        cmocka_unit_test(cut_records_stay_away),
        cmocka_unit_test(zeros_of_a_message),
        cmocka_unit_test(stale_queues),
        cmocka_unit_test(queues_beyond_the_log),
        cmocka_unit_test(odd_checkpoints),
        cmocka_unit_test(starts_at_the_checkpoint),
        cmocka_unit_test(torn_index),
        cmocka_unit_test(deleted_topic_stays_deleted),
        cmocka_unit_test(killed_while_appending),
        cmocka_unit_test(odd_files),
        cmocka_unit_test(first_start_crashed),
        cmocka_unit_test(cut_entries_are_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
