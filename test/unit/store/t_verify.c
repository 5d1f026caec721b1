/* SPDX-License-Identifier: Apache-2.0
 *
 * Verification of stores that have been through what a store goes through: a deleted topic, one
 * made anew, expired segments, lost entries, a bad place on the disk. What is in order has no
 * damage; what is not is named. Damage of single bytes is test/e2e/mqstore.py's. Source:
 * docs/store.md.
 */
#include "broker/store/verify.h"

#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KINDS_MAX 64

/* What a verification has found. */
struct outcome {
    struct verify_result result;
    size_t count;
    char kinds[KINDS_MAX][32]; /* of damages */
    int64_t positions[KINDS_MAX];
    int64_t ends[KINDS_MAX]; /* what the text says that the log goes on at, -1 */
    char notes[4096];        /* all of them, a line each */
};

static void on_finding(void *ctx, const struct verify_finding *finding)
{
    struct outcome *outcome = ctx;
    if (!finding->damage) {
        size_t used = strlen(outcome->notes);
        (void)snprintf(outcome->notes + used, sizeof outcome->notes - used, "%s\n", finding->text);
        return;
    }
    if (outcome->count == KINDS_MAX)
        return;
    const char *end = strstr(finding->text, "goes on at ");
    (void)snprintf(outcome->kinds[outcome->count], 32, "%s", finding->kind);
    outcome->ends[outcome->count] = end == NULL ? -1 : atoll(end + strlen("goes on at "));
    outcome->positions[outcome->count++] = finding->pos;
}

static void verify_with(const struct kit *kit, struct vfs *vfs, struct outcome *outcome)
{
    struct store_files_options find = {
        .root = kit->root,
        .index_slots = kit->options.index_slots,
        .index_entries = kit->options.index_entries,
    };
    struct store_files *files;
    struct err err = {.text = ""};
    *outcome = (struct outcome){.count = 0};
    assert_int_equal(store_files_find(&find, vfs, &files, &err), STATUS_OK);
    struct verify_options options = {
        .delay_levels_ms = kit->options.delay_levels_ms,
        .delay_level_count = kit->options.delay_level_count,
        .ctx = outcome,
        .on_finding = on_finding,
    };
    assert_int_equal(verify_store(files, &options, &outcome->result, &err), STATUS_OK);
    store_files_free(files);
}

static void verify(const struct kit *kit, struct outcome *outcome)
{
    verify_with(kit, vfs_posix(), outcome);
}

static bool is_gone(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "Gone");
}

static void write_topics(const struct kit *kit, const char *text)
{
    char path[256];
    kit_path(kit, "config/topics.json", path);
    assert_int_equal(vfs_make_folder_of(vfs_posix(), path), STATUS_OK);
    assert_int_equal(vfs_replace_file(vfs_posix(), path, text, strlen(text), false), STATUS_OK);
}

/* Records of a deleted topic have no entries; topics.json tells them from records whose queue was
 * lost. */
static void a_deleted_topic(void **state)
{
    (void)state;
    struct kit kit;
    struct outcome outcome;
    kit_init(&kit, "verify_deleted");
    kit_start(&kit);
    kit_put_many(&kit, "Kept", 0, 300, 50);
    kit_put_many(&kit, "Gone", 3, 300, 50);
    kit_dispatched(&kit);
    store_delete_queues(kit.store, is_gone, NULL);
    kit_put_many(&kit, "Kept", 0, 300, 50);
    kit_close(&kit);
    verify(&kit, &outcome);
    assert_int_equal(outcome.count, 1);
    assert_string_equal(outcome.kinds[0], "missing-entry");
    write_topics(&kit, "{\"topicConfigTable\":{\"Kept\":{}}}");
    verify(&kit, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    assert_int_equal(outcome.result.records, 150);
    assert_int_equal(outcome.result.queue_entries, 100);
    assert_non_null(strstr(outcome.notes, "50 records"));
    kit_release(&kit);
}

/* A broker that dies while it makes an index file; without a crash there is no such file. */
static void an_index_file_in_the_making(void **state)
{
    (void)state;
    struct kit kit;
    struct outcome outcome;
    char abort_path[256];
    char path[256];
    kit_init(&kit, "verify_making");
    kit_start(&kit);
    kit_put_many(&kit, "T", 0, 300, 50);
    kit_dispatched(&kit);
    kit_close(&kit);
    kit_path(&kit, "abort", abort_path);
    kit_path(&kit, "index/29991231235959999", path);
    assert_int_equal(vfs_make_folder_of(vfs_posix(), path), STATUS_OK);
    int64_t whole = (int64_t)index_file_bytes(kit.options.index_slots, kit.options.index_entries);
    const int64_t sizes[] = {0, whole};
    for (size_t i = 0; i < 2; i++) {
        int fd;
        assert_int_equal(vfs_replace_file(vfs_posix(), abort_path, "", 0, false), STATUS_OK);
        assert_int_equal(vfs_posix()->ops->open(vfs_posix(), path, VFS_WRITE | VFS_CREATE, &fd),
                         STATUS_OK);
        assert_int_equal(vfs_posix()->ops->truncate(vfs_posix(), fd, sizes[i]), STATUS_OK);
        assert_int_equal(vfs_posix()->ops->close(vfs_posix(), fd), STATUS_OK);
        verify(&kit, &outcome);
        assert_int_equal(outcome.result.damages, 0);
        assert_int_equal(vfs_posix()->ops->unlink(vfs_posix(), abort_path), STATUS_OK);
        verify(&kit, &outcome);
        assert_int_equal(outcome.result.damages, 1);
        assert_string_equal(outcome.kinds[0], "index");
    }
    kit_release(&kit);
}

/* A topic that was made anew starts over at 0, also when its first life was the longer one. */
static void a_topic_made_anew(void **state)
{
    (void)state;
    static const int lives[][2] = {{50, 20}, {20, 50}, {35, 35}};
    for (size_t i = 0; i < 3; i++) {
        struct kit kit;
        struct outcome outcome;
        kit_init(&kit, "verify_anew");
        kit_start(&kit);
        kit_put_many(&kit, "Gone", 0, 300, lives[i][0]);
        kit_dispatched(&kit);
        store_delete_queues(kit.store, is_gone, NULL);
        kit_put_many(&kit, "Gone", 0, 300, lives[i][1]);
        kit_close(&kit);
        verify(&kit, &outcome);
        assert_int_equal(outcome.result.damages, 0);
        assert_int_equal(outcome.result.records, lives[i][0] + lives[i][1]);
        assert_int_equal(outcome.result.queue_entries, lives[i][1]);
        assert_non_null(strstr(outcome.notes, "earlier life"));
        kit_release(&kit);
    }
}

/* Messages whose segment has been deleted leave entries and index entries behind. */
static void expired_segments(void **state)
{
    (void)state;
    struct kit kit;
    struct outcome outcome;
    kit_init(&kit, "verify_expired");
    kit_start(&kit);
    for (int i = 0; i < 6; i++)
        kit_put_many(&kit, i % 2 ? "A" : "B", i, 1000, 60);
    (void)kit_put(&kit, "A", 1, "keyed", "KEYS\001one two");
    kit_close(&kit);
    kit_remove(&kit, "commitlog/00000000000000000000");
    kit_remove(&kit, "commitlog/00000000000000065536");
    verify(&kit, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    assert_int_equal(outcome.result.log_begin, 131072);
    assert_int_equal(outcome.result.records, outcome.result.queue_entries);
    assert_true(outcome.result.records > 100);
    kit_open(&kit);
    kit_close(&kit);
    verify(&kit, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    kit_release(&kit);
}

/* Entries that recovery could not make again are fillers: noted, no damage. */
static void fillers(void **state)
{
    (void)state;
    struct kit kit;
    struct outcome outcome;
    char path[256];
    kit_init(&kit, "verify_fillers");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 1000, 40);
    struct append_result bad = kit_put(&kit, "A", 0, "lost", "");
    kit_put_many(&kit, "A", 0, 1000, 100);
    kit_close(&kit);
    kit_path(&kit, "commitlog/00000000000000000000", path);
    kit_poke(path, bad.pos + 4, "none", 4);
    verify(&kit, &outcome);
    assert_int_equal(outcome.count, 1);
    assert_string_equal(outcome.kinds[0], "record");
    assert_int_equal(outcome.positions[0], bad.pos);
    assert_int_equal(outcome.ends[0], bad.end_pos);
    kit_remove(&kit, "consumequeue");
    kit_open(&kit);
    kit_close(&kit);
    verify(&kit, &outcome);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.positions[0], bad.pos);
    assert_non_null(strstr(outcome.notes, "1 entries are fillers"));
    kit_release(&kit);
}

/* --- a bad place on the disk --- */

#define BAD_FROM 8192
#define BAD_TO 12288

struct bad_disk {
    struct vfs vfs; /* first */
    struct vfs_ops ops;
    int fd; /* of the first segment, -1 */
};

static enum status bad_open(struct vfs *vfs, const char *path, int flags, int *fd)
{
    struct bad_disk *disk = (struct bad_disk *)vfs;
    enum status status = vfs_posix()->ops->open(vfs, path, flags, fd);
    if (status == STATUS_OK && strstr(path, "commitlog/00000000000000000000") != NULL)
        disk->fd = *fd;
    else if (status == STATUS_OK && *fd == disk->fd)
        disk->fd = -1;
    return status;
}

static enum status bad_pread(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                             size_t *got)
{
    struct bad_disk *disk = (struct bad_disk *)vfs;
    if (fd == disk->fd && offset < BAD_TO && offset + (int64_t)size > BAD_FROM) {
        errno = EIO;
        return STATUS_IO;
    }
    return vfs_posix()->ops->pread(vfs, fd, data, size, offset, got);
}

/* What the disk cannot give is damage of just the records that lie there; all others are read. */
static void a_bad_place_on_the_disk(void **state)
{
    (void)state;
    struct kit kit;
    struct outcome outcome;
    int64_t first_bad = -1;
    int64_t first_good = -1;
    int bad = 0;
    kit_init(&kit, "verify_disk");
    kit_start(&kit);
    for (int i = 0; i < 200; i++) {
        char body[401];
        memset(body, 'a' + i % 26, sizeof body - 1);
        body[400] = '\0';
        struct append_result put = kit_put(&kit, "A", i % 3, body, "");
        bool hit = put.pos < BAD_TO && put.end_pos > BAD_FROM;
        bad += hit;
        if (hit && first_bad == -1)
            first_bad = put.pos;
        if (!hit && first_bad != -1 && first_good == -1)
            first_good = put.pos;
    }
    kit_close(&kit);
    struct bad_disk disk = {.ops = *vfs_posix()->ops, .fd = -1};
    disk.ops.open = bad_open;
    disk.ops.pread = bad_pread;
    disk.vfs.ops = &disk.ops;
    verify_with(&kit, &disk.vfs, &outcome);
    assert_true(outcome.count >= 1);
    for (size_t i = 0; i < outcome.count; i++)
        assert_string_equal(outcome.kinds[i], "record");
    assert_int_equal(outcome.positions[0], first_bad);
    assert_int_equal(outcome.ends[outcome.count - 1], first_good);
    assert_int_equal(outcome.result.records, 200 - bad);
    assert_int_equal(outcome.result.queue_entries, 200 - bad);
    kit_release(&kit);
}

/* A store that is open in this process is in use; its queues may be behind its log. */
static void a_store_in_use(void **state)
{
    (void)state;
    struct kit kit;
    struct outcome outcome;
    kit_init(&kit, "verify_use");
    kit_open(&kit); /* nothing is dispatched: there are no threads */
    kit_put_many(&kit, "A", 0, 1000, 100);
    verify(&kit, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    assert_int_equal(outcome.result.records, 100);
    assert_int_equal(outcome.result.queue_entries, 0);
    assert_int_equal(outcome.result.log_end, store_appended_pos(kit.store));
    assert_non_null(strstr(outcome.notes, "100 records have no entry"));
    kit_close(&kit);
    verify(&kit, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    assert_int_equal(outcome.result.notes, 0);
    assert_int_equal(outcome.result.queue_entries, 100);
    kit_release(&kit);
}

/* --- slaves --- */

/* Bring a slave to its master's end. */
static void copy_log(const struct kit *master, const struct kit *slave)
{
    struct log_range range;
    struct err err;
    do {
        int64_t pos = store_received_pos(slave->store);
        assert_int_equal(store_log_bytes(master->store, pos, 5000, &range), STATUS_OK);
        assert_int_equal(
            store_append_raw(slave->store, pos, slice_of(range.data, range.size), &err), STATUS_OK);
        log_range_release(&range);
    } while (store_appended_pos(slave->store) < store_appended_pos(master->store));
}

/* Its log, its queues and their offsets begin in the middle. */
static void a_slave_that_began_late(void **state)
{
    (void)state;
    struct kit master;
    struct kit slave;
    struct kit crashed;
    struct err err;
    struct outcome outcome;
    kit_init(&master, "verify_master");
    kit_init(&slave, "verify_slave");
    slave.options.role = STORE_ROLE_SLAVE;
    kit_open(&master);
    kit_start(&slave);
    kit_put_many(&master, "A", 0, 1000, 100);
    kit_put_many(&master, "B", 1, 1000, 100);
    assert_int_equal(store_begin_at(slave.store, 2 * master.options.segment_bytes, &err),
                     STATUS_OK);
    copy_log(&master, &slave);
    kit_dispatched(&slave);
    kit_crash(&slave, &crashed);
    verify(&crashed, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    kit_close(&slave);
    verify(&slave, &outcome);
    assert_int_equal(outcome.result.damages, 0);
    assert_int_equal(outcome.result.notes, 0);
    assert_int_equal(outcome.result.queue_entries, outcome.result.records);
    kit_release(&crashed);
    kit_release(&master);
    kit_release(&slave);
}

static bool has_kind(const struct outcome *outcome, const char *kind)
{
    for (size_t i = 0; i < outcome->count; i++)
        if (strcmp(outcome->kinds[i], kind) == 0)
            return true;
    return false;
}

/* As a 4.9.2 slave that was stopped leaves it: whatever part of a record came last, it is no
 * damage; a bad byte in it is. */
static void a_log_that_ends_inside_a_record(void **state)
{
    (void)state;
    struct kit master;
    kit_init(&master, "verify_master");
    kit_open(&master);
    kit_put(&master, "A", 0, "whole", "");
    struct append_result last = kit_put(&master, "A", 0, "not whole", "TAGS\001t");
    kit_close(&master);
    for (int64_t arrived = last.pos; arrived < last.end_pos - 10; arrived += 3) {
        struct kit kit;
        struct outcome outcome;
        char path[256];
        uint8_t zeros[1024] = {0};
        kit_init_copy(&kit, "verify_inside", master.root);
        kit_remove(&kit, "checkpoint");
        kit_remove(&kit, "consumequeue");
        kit_path(&kit, "commitlog/00000000000000000000", path);
        kit_poke(path, arrived, zeros, (size_t)(last.end_pos - arrived));
        verify(&kit, &outcome);
        for (size_t i = 0; i < outcome.count; i++)
            assert_string_equal(outcome.kinds[i], "missing-entry"); /* all queues are missing */
        if (arrived > last.pos + 3)
            assert_non_null(strstr(outcome.notes, "inside a record"));
        if (arrived > last.pos + 7) {
            kit_poke(path, last.pos + 6, "x", 1);
            verify(&kit, &outcome);
            assert_true(has_kind(&outcome, "tail"));
        }
        kit_release(&kit);
    }
    kit_release(&master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deleted_topic),
        cmocka_unit_test(an_index_file_in_the_making),
        cmocka_unit_test(a_topic_made_anew),
        cmocka_unit_test(expired_segments),
        cmocka_unit_test(fillers),
        cmocka_unit_test(a_bad_place_on_the_disk),
        cmocka_unit_test(a_store_in_use),
        cmocka_unit_test(a_slave_that_began_late),
        cmocka_unit_test(a_log_that_ends_inside_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
