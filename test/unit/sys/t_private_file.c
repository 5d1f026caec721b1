/* SPDX-License-Identifier: Apache-2.0
 *
 * Replacing a file with secrets: its permissions stay, its former content stays beside it, a link
 * to it stays a link, and a failure changes nothing.
 */
#include "common/sys/private_file.h"

#include "common/sys/vfs.h"
#include "test/unit/support/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    char folder[FOLDER_BYTES];
    char path[FOLDER_BYTES + 16];
    char backup[FOLDER_BYTES + 16];
    char other[FOLDER_BYTES + 16];
};

static void write_text(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_holds(const char *path, const char *text, mode_t mode)
{
    char *data = NULL;
    size_t size = 0;
    struct stat st;
    assert_int_equal(vfs_read_file(vfs_posix(), path, 1000, &data, &size), STATUS_OK);
    assert_string_equal(data, text);
    free(data);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    folder_make("private", f->folder);
    (void)snprintf(f->path, sizeof f->path, "%s/file", f->folder);
    (void)snprintf(f->backup, sizeof f->backup, "%s/file.bak", f->folder);
    (void)snprintf(f->other, sizeof f->other, "%s/other", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->folder);
    free(f);
    return 0;
}

static enum status replace(const char *path, const char *text)
{
    struct err err = {0};
    return private_file_replace(path, text, strlen(text), &err);
}

static void permissions_and_the_former_content_stay(void **state)
{
    struct fixture *f = *state;
    write_text(f->path, "first", 0600);
    assert_int_equal(replace(f->path, "second"), STATUS_OK);
    assert_holds(f->path, "second", 0600);
    assert_holds(f->backup, "first", 0600);
    assert_int_equal(chmod(f->path, 0644), 0);
    assert_int_equal(replace(f->path, "third"), STATUS_OK);
    assert_holds(f->path, "third", 0644);
    assert_holds(f->backup, "second", 0644);
}

static void a_link_stays_one(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    write_text(f->other, "first", 0640);
    assert_int_equal(symlink(f->other, f->path), 0);
    assert_int_equal(replace(f->path, "second"), STATUS_OK);
    assert_holds(f->other, "second", 0640);
    assert_int_equal(lstat(f->path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void what_a_crash_has_left_is_in_nobodys_way(void **state)
{
    struct fixture *f = *state;
    char temporary[FOLDER_BYTES + 32];
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", f->path);
    write_text(f->path, "first", 0600);
    write_text(temporary, "half of someth", 0666);
    assert_int_equal(replace(f->path, "second"), STATUS_OK);
    assert_holds(f->path, "second", 0600);
    assert_int_equal(access(temporary, F_OK), -1);
}

static void failures_change_nothing(void **state)
{
    struct fixture *f = *state;
    char temporary[FOLDER_BYTES + 32];
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", f->path);
    assert_int_equal(replace(f->path, "text"), STATUS_IO); /* it must be there */
    write_text(f->path, "first", 0600);
    assert_int_equal(mkdir(f->backup, 0700), 0); /* cannot be unlinked */
    assert_int_equal(replace(f->path, "second"), STATUS_IO);
    assert_holds(f->path, "first", 0600);
    assert_int_equal(access(temporary, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(permissions_and_the_former_content_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_stays_one, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_crash_has_left_is_in_nobodys_way, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_change_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
