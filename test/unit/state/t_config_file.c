/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading and saving of config files: which of main file and .bak is taken in every combination of
 * good, missing, empty and damaged; that a table is saved only when it has changed, again after a
 * failure, that a good .bak survives a damaged main file, and the order of a save and its journal.
 * Source: the table in config_file.h.
 */
#include "broker/state/config_file.h"

#include "proto/body.pb-c.h"
#include "state_test.h"

#define GOOD "{\"groupList\":[\"main\"]}"
#define GOOD_BACKUP "{\"groupList\":[\"backup\"]}"

static void append_change(struct offset_journal *journal, int64_t offset)
{
    struct buf block = BUF_EMPTY;
    journal_changes_open(&block);
    journal_put_queue(&block, journal_put_key(&block, slice_of_cstr("k")), 0, offset);
    assert_int_equal(offset_journal_append(journal, &block, 0), STATUS_OK);
    buf_release(&block);
}

struct table {
    uint64_t changes;
    char *name;
    bool not_now;
    struct offset_journal *journal; /* a change comes just when the snapshot has been taken */
};

static enum status table_snapshot(const void *ctx, struct arena *arena, uint64_t saved_changes,
                                  uint64_t *changes, const ProtobufCMessage **message,
                                  struct err *err)
{
    const struct table *table = ctx;
    *changes = table->changes;
    if (table->not_now)
        return err_set(err, STATUS_TIMEOUT, "not now");
    if (table->changes == saved_changes)
        return STATUS_OK;
    GroupList *body = arena_alloc(arena, sizeof *body);
    group_list__init(body);
    body->n_group_list = 1;
    body->group_list = arena_alloc(arena, sizeof *body->group_list);
    body->group_list[0] = table->name;
    *message = &body->base;
    if (table->journal != NULL)
        append_change(table->journal, 7);
    return STATUS_OK;
}

struct fixture {
    struct folder folder;
    char main[PATH_BYTES];
    char backup[PATH_BYTES];
    struct failing_vfs vfs;
    struct config_file file;
    struct arena arena;
    GroupList body;
    enum config_source source;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    (void)folder_file(&f->folder, "groups.json", f->main);
    (void)folder_file(&f->folder, "groups.json.bak", f->backup);
    failing_vfs_init(&f->vfs);
    config_file_init(&f->file, f->main, &f->vfs.vfs);
    arena_init(&f->arena, 1024);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    config_file_release(&f->file);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

/* NULL: the file does not exist. */
static enum status load(struct fixture *f, const char *main_text, const char *backup_text)
{
    if (main_text != NULL)
        file_write(f->main, main_text);
    if (backup_text != NULL)
        file_write(f->backup, backup_text);
    return config_file_load(&f->file, "names", &group_list__descriptor, &f->arena, &f->body.base,
                            &f->source, &f->err);
}

static void assert_loaded(const struct fixture *f, enum config_source source, const char *name)
{
    assert_int_equal(f->source, source);
    assert_int_equal(f->body.n_group_list, name == NULL ? 0 : 1);
    if (name != NULL)
        assert_string_equal(f->body.group_list[0], name);
}

static void the_main_file_is_taken_first(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, GOOD, GOOD_BACKUP), STATUS_OK);
    assert_loaded(f, CONFIG_SOURCE_MAIN, "main");
}

static void nothing_there_is_a_fresh_start(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, NULL, NULL), STATUS_OK);
    assert_loaded(f, CONFIG_SOURCE_NONE, NULL);
}

static void a_missing_main_file_falls_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, NULL, GOOD_BACKUP), STATUS_OK);
    assert_loaded(f, CONFIG_SOURCE_BACKUP, "backup");
}

static void an_empty_main_file_falls_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "", GOOD_BACKUP), STATUS_OK);
    assert_loaded(f, CONFIG_SOURCE_BACKUP, "backup");
}

static void a_damaged_main_file_falls_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "{\"groupList\":[\"ma", GOOD_BACKUP), STATUS_OK);
    assert_loaded(f, CONFIG_SOURCE_BACKUP, "backup");
}

static void assert_refused(struct fixture *f)
{
    assert_non_null(strstr(f->err.text, f->main));
    assert_non_null(strstr(f->err.text, ".bak"));
    assert_non_null(strstr(f->err.text, "move both away"));
}

static void two_damaged_files_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "{", "["), STATUS_CORRUPT);
    assert_refused(f);
}

static void damage_without_a_backup_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "", NULL), STATUS_CORRUPT);
    assert_refused(f);
}

static void a_damaged_backup_alone_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, NULL, "{\"groupList\":"), STATUS_CORRUPT);
    assert_refused(f);
}

static enum status save(struct fixture *f, const struct table *table)
{
    return config_file_save(&f->file, table_snapshot, table, &f->err);
}

static void it_is_written_only_when_changed(void **state)
{
    struct fixture *f = *state;
    char name[] = "x";
    struct table table = {0, name, false, NULL};
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_false(file_exists(f->main));

    table.changes = 1;
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_file_is(f->main, "{\n\t\"groupList\":[\"x\"]\n}");
    assert_false(file_exists(f->backup));

    int writes = f->vfs.writes;
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_int_equal(f->vfs.writes, writes);

    name[0] = 'y';
    table.changes = 2;
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_file_is(f->main, "{\n\t\"groupList\":[\"y\"]\n}");
    assert_file_is(f->backup, "{\n\t\"groupList\":[\"x\"]\n}");
}

static void a_failed_save_is_tried_again(void **state)
{
    struct fixture *f = *state;
    char name[] = "x";
    struct table table = {1, name, false, NULL};
    assert_int_equal(save(f, &table), STATUS_OK);

    name[0] = 'y';
    table.changes = 2;
    f->vfs.full = true;
    assert_int_equal(save(f, &table), STATUS_FULL);
    assert_non_null(strstr(f->err.text, f->main));
    assert_file_is(f->main, "{\n\t\"groupList\":[\"x\"]\n}");

    f->vfs.full = false;
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_file_is(f->main, "{\n\t\"groupList\":[\"y\"]\n}");
}

static void the_folder_is_made(void **state)
{
    struct fixture *f = *state;
    char path[PATH_BYTES];
    char name[] = "x";
    struct table table = {1, name, false, NULL};
    struct config_file file;
    config_file_init(&file, folder_file(&f->folder, "a/b/groups.json", path), &f->vfs.vfs);
    assert_int_equal(config_file_save(&file, table_snapshot, &table, &f->err), STATUS_OK);
    assert_true(file_exists(path));
    config_file_release(&file);
}

/* The damaged main file must not become the .bak, or a crash right then would leave nothing. */
static void a_backup_that_was_used_is_kept_by_the_next_save(void **state)
{
    struct fixture *f = *state;
    char name[] = "x";
    struct table table = {1, name, false, NULL};
    assert_int_equal(load(f, "damaged", GOOD_BACKUP), STATUS_OK);
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_file_is(f->backup, GOOD_BACKUP);
    table.changes = 2;
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_file_is(f->backup, "{\n\t\"groupList\":[\"x\"]\n}");
}

static void what_can_not_be_saved_now_is_saved_later(void **state)
{
    struct fixture *f = *state;
    char name[] = "x";
    struct table table = {1, name, true, NULL};
    assert_int_equal(save(f, &table), STATUS_TIMEOUT);
    assert_string_equal(f->err.text, "not now");
    assert_false(file_exists(f->main));
    table.not_now = false;
    assert_int_equal(save(f, &table), STATUS_OK);
    assert_true(file_exists(f->main));
}

static bool take_change(void *ctx, int64_t log_pos, struct slice changes)
{
    struct journal_change change;
    struct journal_queue queue;
    assert_int_equal(log_pos, 0);
    while (journal_change_next(&changes, &change))
        while (journal_queue_next(&change.queues, &queue))
            *(int64_t *)ctx = queue.offset;
    return true;
}

/* What the snapshot does not hold must outlive the journal that the save takes away. */
static void a_change_during_a_save_stays_in_the_journal(void **state)
{
    struct fixture *f = *state;
    char name[] = "x";
    f->file.journal = offset_journal_new(f->main, &f->vfs.vfs);
    append_change(f->file.journal, 6);
    struct table table = {1, name, false, f->file.journal};
    assert_int_equal(save(f, &table), STATUS_OK);

    struct offset_journal *again = offset_journal_new(f->main, &f->vfs.vfs);
    char *text = file_read(f->main);
    int64_t offset = 0;
    bool replayed = false;
    assert_int_equal(offset_journal_load(again, content_id_of(slice_of_cstr(text)), take_change,
                                         &offset, &replayed, &f->err),
                     STATUS_OK);
    assert_true(replayed);
    assert_int_equal(offset, 7);
    free(text);
    offset_journal_free(again);
}

static void a_file_that_is_needed_may_be_a_backup(void **state)
{
    struct fixture *f = *state;
    struct vfs *vfs = &f->vfs.vfs;
    assert_int_equal(config_file_expect(vfs, f->main, "all is lost", &f->err), STATUS_NOT_FOUND);
    assert_non_null(strstr(f->err.text, f->main));
    assert_non_null(strstr(f->err.text, "all is lost"));
    assert_non_null(strstr(f->err.text, "echo '{}' >"));
    file_write(f->backup, GOOD);
    assert_int_equal(config_file_expect(vfs, f->main, "", &f->err), STATUS_OK);
    assert_int_equal(unlink(f->backup), 0);
    /* The mend does. */
    file_write(f->main, "{}\n");
    assert_int_equal(config_file_expect(vfs, f->main, "", &f->err), STATUS_OK);
    assert_int_equal(load(f, NULL, NULL), STATUS_OK);
    assert_loaded(f, CONFIG_SOURCE_MAIN, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_main_file_is_taken_first),
        TEST(nothing_there_is_a_fresh_start),
        TEST(a_missing_main_file_falls_back),
        TEST(an_empty_main_file_falls_back),
        TEST(a_damaged_main_file_falls_back),
        TEST(two_damaged_files_are_refused),
        TEST(damage_without_a_backup_is_refused),
        TEST(a_damaged_backup_alone_is_refused),
        TEST(it_is_written_only_when_changed),
        TEST(a_failed_save_is_tried_again),
        TEST(the_folder_is_made),
        TEST(a_backup_that_was_used_is_kept_by_the_next_save),
        TEST(what_can_not_be_saved_now_is_saved_later),
        TEST(a_change_during_a_save_stays_in_the_journal),
        TEST(a_file_that_is_needed_may_be_a_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
