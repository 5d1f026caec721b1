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
#include "common/sys/log.h"
#include "test/unit/support/store_kit.h"

#include <errno.h>
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
        {(char *)(uintptr_t) "/a", false, false},
        {(char *)(uintptr_t) "/b", true, false},
        {(char *)(uintptr_t) "/c/d", false, false},
        {(char *)(uintptr_t) "/x", true, false},
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

static const char *chosen(const struct log_paths *paths, struct vfs *vfs, int64_t number,
                          int64_t bytes)
{
    struct log_path *order[8];
    assert_true(log_paths_order(paths, vfs, number, bytes, 85, order) > 0);
    return order[0]->directory;
}

/* Behind the one that is chosen stand all others that may be written, the best first. */
static void order(void **state)
{
    (void)state;
    static const struct vfs_ops OPS = {.space = space_by_name};
    static const char *const WANTED[] = {"/b", "/c", "/a", "/full1", "/full", "/tight", "/small"};
    struct vfs vfs = {&OPS};
    struct log_paths paths;
    struct err err;
    struct log_path *found[8];
    assert_int_equal(log_paths_parse(&paths, "/small,/a,/full,/b,/tight,/c,/full1", "/r", &err),
                     STATUS_OK);
    assert_int_equal(log_paths_order(&paths, &vfs, 1, 10, 85, found), 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(found[i]->directory, WANTED[i]);
    /* From what percentage on a disk is full may be set. */
    assert_int_equal(log_paths_order(&paths, &vfs, 3, 10, 86, found), 7);
    assert_string_equal(found[0]->directory, "/full");
    log_paths_release(&paths);
}

static void choice(void **state)
{
    (void)state;
    static const struct vfs_ops OPS = {.space = space_by_name};
    struct vfs vfs = {&OPS};
    struct log_paths paths;
    struct err err;
    assert_int_equal(log_paths_parse(&paths, "/b,/a,/full", "/r", &err), STATUS_OK);
    assert_string_equal(chosen(&paths, &vfs, 0, 10), "/a");
    assert_string_equal(chosen(&paths, &vfs, 1, 10), "/b");
    assert_string_equal(chosen(&paths, &vfs, 2, 10), "/a");
    log_paths_release(&paths);
    assert_int_equal(log_paths_parse(&paths, "/full2,/full1", "/r", &err), STATUS_OK);
    assert_string_equal(chosen(&paths, &vfs, 0, 10), "/full1");
    assert_string_equal(chosen(&paths, &vfs, 1, 10), "/full2");
    log_paths_release(&paths);
    /* A disk that is half empty and cannot take the file, a full one that cannot, one that is not
     * there. */
    assert_int_equal(log_paths_parse(&paths, "/small,/tight,/gone,/full,/b", "/r", &err),
                     STATUS_OK);
    for (int64_t number = 0; number < 5; number++)
        assert_string_equal(chosen(&paths, &vfs, number, 10), "/b");
    log_paths_release(&paths);
    assert_int_equal(log_paths_parse(&paths, "/small,/tight,/gone,/full", "/r", &err), STATUS_OK);
    for (int64_t number = 0; number < 4; number++)
        assert_string_equal(chosen(&paths, &vfs, number, 10), "/full");
    log_paths_release(&paths);
    assert_int_equal(log_paths_parse(&paths, "/small,/tight", "/r", &err), STATUS_OK);
    assert_string_equal(chosen(&paths, &vfs, 1, 10), "/tight");
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

/* A folder of which the disk has become read-only. */
static enum status open_not_in_one(struct vfs *vfs, const char *path, int flags, int *fd)
{
    if ((flags & VFS_CREATE) != 0 && strstr(path, "/one/") != NULL) {
        errno = EROFS;
        return STATUS_IO;
    }
    return vfs_posix()->ops->open(vfs, path, flags, fd);
}

static enum status sync_not_one(struct vfs *vfs, const char *path)
{
    if (strlen(path) > 4 && strcmp(path + strlen(path) - 4, "/one") == 0) {
        errno = EIO;
        return STATUS_IO;
    }
    return vfs_posix()->ops->sync_directory(vfs, path);
}

static int lines_with(const char *path, const char *text)
{
    char line[1000];
    int count = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, text) != NULL;
    (void)fclose(file);
    return count;
}

/* The other folder takes the files of one that takes none; that is said once. */
static void a_folder_that_takes_nothing(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct kit kit;
        struct err err;
        char list[600];
        char path[256];
        kit_init(&kit, "refusing");
        kit.options.segment_bytes = 8192;
        two_folders(&kit, list, NULL);
        kit_open(&kit);
        kit_path(&kit, "log", path);
        struct log_options lines = {path, 1 << 20, 1, LOG_INFO};
        assert_int_equal(log_open(&lines, &err), STATUS_OK);
        struct vfs_ops ops = kit.vfs.ops;
        if (how == 0)
            kit.vfs.ops.open = open_not_in_one;
        else
            kit.vfs.ops.sync_directory = sync_not_one;
        assert_int_equal(store_start(kit.store, &err), STATUS_OK);
        kit_put_many(&kit, "A", 0, 900, 60);
        kit_dispatched(&kit);
        check_all(&kit, 60);
        assert_true(store_writable(kit.store, NULL, 0));
        kit_close(&kit);
        log_close();
        assert_int_equal(lines_with(path, "takes no new file"), 1);
        assert_int_equal(lines_with(path, "why=\"cannot "), 1);
        kit_path(&kit, "two/00000000000000016384", path);
        assert_true(kit_exists(path));
        kit_path(&kit, "one/00000000000000016384", path);
        assert_false(kit_exists(path));
        kit.vfs.ops = ops;
        kit_start(&kit);
        check_all(&kit, 60);
        kit_release(&kit);
    }
}

/* What stays behind in a folder that could not even delete it is no part of the log. */
static void an_empty_twin(void **state)
{
    (void)state;
    struct kit kit;
    char list[600];
    char path[256];
    kit_init(&kit, "twin");
    kit.options.segment_bytes = 8192;
    two_folders(&kit, list, NULL);
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 900, 40);
    kit_dispatched(&kit);
    kit_close(&kit);
    static const char *const TWINS[] = {"two/00000000000000000000", "one/00000000000000008192",
                                        "two/00000000000000016384"};
    for (size_t i = 0; i < 3; i++) {
        kit_path(&kit, TWINS[i], path);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fclose(file), 0);
        kit_resize(path, i == 2 ? 100 : 8192);
    }
    kit_start(&kit);
    check_all(&kit, 40);
    for (size_t i = 0; i < 3; i++) {
        kit_path(&kit, TWINS[i], path);
        assert_false(kit_exists(path));
    }
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(nothing_to_write_to),
        cmocka_unit_test(choice),
        cmocka_unit_test(order),
        cmocka_unit_test(a_folder_that_takes_nothing),
        cmocka_unit_test(an_empty_twin),
        cmocka_unit_test(spread_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
