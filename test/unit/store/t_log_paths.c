/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows how the folders of the commit log are read from the options and chosen for new files, and
 * that a log spread over several folders is one log.
 * Rules: RMQ store/.../MultiPathMappedFileQueue.java; docs/store.md, "Files".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/log_paths.h"
#include "test/unit/support/store_kit.h"

#include <stdio.h>
#include <string.h>

static void lists(void **state)
{
    (void)state;
    struct log_paths paths;
    struct err err;
    assert_int_equal(log_paths_parse(&paths, " /b/, /a ,,/c/d", "/x,/b", &err), STATUS_OK);
    assert_int_equal(paths.count, 4);
    static const struct log_path WANTED[] = {
        {(char *)(uintptr_t) "/a", false},
        {(char *)(uintptr_t) "/b", true},
        {(char *)(uintptr_t) "/c/d", false},
        {(char *)(uintptr_t) "/x", true},
    };
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(paths.at[i].directory, WANTED[i].directory);
        assert_int_equal(paths.at[i].read_only, WANTED[i].read_only);
    }
    log_paths_release(&paths);
}

static void nothing_to_write_to(void **state)
{
    (void)state;
    static const char *const PAIRS[][2] = {{"", NULL}, {" , ", "/a"}, {"/a", "/a/"}};
    for (size_t i = 0; i < sizeof PAIRS / sizeof PAIRS[0]; i++) {
        struct log_paths paths;
        struct err err;
        assert_int_equal(log_paths_parse(&paths, PAIRS[i][0], PAIRS[i][1], &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, "readOnlyCommitLogStorePaths"));
        log_paths_release(&paths);
    }
}

/* A folder's space, by how its name begins. */
static enum status space_by_name(struct vfs *vfs, const char *path, struct vfs_space *out)
{
    (void)vfs;
    *out = (struct vfs_space){100, strncmp(path, "/full", 5) == 0 ? 14 : 15};
    if (strncmp(path, "/small", 6) == 0)
        *out = (struct vfs_space){18, 9};
    else if (strncmp(path, "/tight", 6) == 0)
        *out = (struct vfs_space){100, 9};
    return strncmp(path, "/gone", 5) == 0 ? STATUS_NOT_FOUND : STATUS_OK;
}

static void choice(void **state)
{
    (void)state;
    static const struct vfs_ops OPS = {.space = space_by_name};
    struct vfs vfs = {&OPS};
    struct log_paths paths;
    struct err err;
    assert_int_equal(log_paths_parse(&paths, "/b,/a,/full", "/r", &err), STATUS_OK);
    assert_string_equal(log_paths_choose(&paths, &vfs, 0, 10), "/a");
    assert_string_equal(log_paths_choose(&paths, &vfs, 1, 10), "/b");
    assert_string_equal(log_paths_choose(&paths, &vfs, 2, 10), "/a");
    log_paths_release(&paths);
    assert_int_equal(log_paths_parse(&paths, "/full2,/full1", "/r", &err), STATUS_OK);
    assert_string_equal(log_paths_choose(&paths, &vfs, 0, 10), "/full1");
    assert_string_equal(log_paths_choose(&paths, &vfs, 1, 10), "/full2");
    log_paths_release(&paths);
    /* A disk that is half empty and cannot take the file, a full one that cannot, one that is not
     * there. */
    assert_int_equal(log_paths_parse(&paths, "/small,/tight,/gone,/full,/b", "/r", &err),
                     STATUS_OK);
    for (int64_t number = 0; number < 5; number++)
        assert_string_equal(log_paths_choose(&paths, &vfs, number, 10), "/b");
    log_paths_release(&paths);
    assert_int_equal(log_paths_parse(&paths, "/small,/tight,/gone,/full", "/r", &err), STATUS_OK);
    for (int64_t number = 0; number < 4; number++)
        assert_string_equal(log_paths_choose(&paths, &vfs, number, 10), "/full");
    log_paths_release(&paths);
    assert_int_equal(log_paths_parse(&paths, "/small,/tight", "/r", &err), STATUS_OK);
    assert_string_equal(log_paths_choose(&paths, &vfs, 1, 10), "/tight");
    log_paths_release(&paths);
}

/* The store's options for the kit's two folders below the root, "one" and "two". */
static void two_folders(struct kit *kit, char list[600], const char *second_read_only)
{
    (void)snprintf(list, 600, "%s/one%s%s%s", kit->root, second_read_only == NULL ? "," : "",
                   second_read_only == NULL ? kit->root : "",
                   second_read_only == NULL ? "/two" : "");
    kit->options.commit_log = list;
    kit->options.read_only_commit_logs = second_read_only;
}

static void check_all(struct kit *kit, int64_t count)
{
    assert_int_equal(kit_read_queue(kit, kit_queue(kit, "A", 0), 0), count);
}

static void spread_log(void **state)
{
    (void)state;
    struct kit kit;
    char list[600];
    char path[256];
    kit_init(&kit, "spread");
    kit.options.segment_bytes = 8192;
    two_folders(&kit, list, NULL);
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 900, 40);
    kit_dispatched(&kit);
    check_all(&kit, 40);
    kit_path(&kit, "one/00000000000000000000", path);
    assert_true(kit_exists(path));
    kit_path(&kit, "two/00000000000000008192", path);
    assert_true(kit_exists(path));
    kit_path(&kit, "one/00000000000000016384", path);
    assert_true(kit_exists(path));
    kit_path(&kit, "two/00000000000000016384", path);
    assert_false(kit_exists(path));
    kit_close(&kit);
    kit_start(&kit);
    check_all(&kit, 40);
    kit_close(&kit);

    /* The second folder becomes read-only: its files are read, new ones go to the first. */
    char second[300];
    (void)snprintf(second, sizeof second, "%s/two", kit.root);
    two_folders(&kit, list, second);
    kit_start(&kit);
    check_all(&kit, 40);
    kit_put_many(&kit, "A", 0, 900, 20);
    kit_dispatched(&kit);
    check_all(&kit, 60);
    kit_path(&kit, "one/00000000000000057344", path);
    assert_true(kit_exists(path));
    kit_close(&kit);

    /* Without it the log has gaps; with a copy in the first a file is there twice. */
    kit.options.read_only_commit_logs = NULL;
    kit_open_fails(&kit, STATUS_CORRUPT, "is missing");
    two_folders(&kit, list, second);
    char from[256];
    kit_path(&kit, "two/00000000000000008192", from);
    kit_path(&kit, "one/00000000000000008192", path);
    kit_copy(from, path);
    kit_open_fails(&kit, STATUS_CORRUPT, "is there twice");
    kit_remove(&kit, "one/00000000000000008192");
    kit_start(&kit);
    check_all(&kit, 60);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(nothing_to_write_to),
        cmocka_unit_test(choice),
        cmocka_unit_test(spread_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
