/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders of tests.
 */
#include "test/unit/support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#define OPEN_FOLDERS_MAX 16

void folder_make(const char *test, char path[FOLDER_BYTES])
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || parent[0] != '/')
        parent = "/tmp";
    int size = snprintf(path, FOLDER_BYTES, "%s/%s.XXXXXX", parent, test);
    assert_true(size > 0 && size < FOLDER_BYTES);
    assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    return remove(path);
}

void folder_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS), 0);
}
