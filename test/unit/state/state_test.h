/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the broker's state share: a folder of their own, whole files, a clock that
 * stands still, and a vfs whose writes can be made to fail and are counted.
 */
#ifndef TEST_UNIT_STATE_STATE_TEST_H
#define TEST_UNIT_STATE_STATE_TEST_H

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATH_BYTES 512

/* --- a folder of one test --- */

struct folder {
    char path[256];
};

static inline void folder_make(struct folder *folder)
{
    const char *where = getenv("TMPDIR");
    (void)snprintf(folder->path, sizeof folder->path, "%s/state-test-XXXXXX",
                   where == NULL || where[0] == '\0' ? "/tmp" : where);
    assert_non_null(mkdtemp(folder->path));
}

static inline const char *folder_file(const struct folder *folder, const char *name,
                                      char out[PATH_BYTES])
{
    (void)snprintf(out, PATH_BYTES, "%s/%s", folder->path, name);
    return out;
}

static inline void folder_remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        (void)unlink(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char child[PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int size = snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        assert_true(size > 0 && (size_t)size < sizeof child);
        folder_remove_tree(child);
    }
    (void)closedir(dir);
    (void)rmdir(path);
}

static inline void folder_remove(const struct folder *folder)
{
    folder_remove_tree(folder->path);
}

/* --- whole files --- */

static inline void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    size_t size = strlen(text);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* NUL-terminated and the caller's to free; NULL when there is no such file. */
static inline char *file_read(const char *path)
{
    char *text;
    size_t size;
    if (vfs_read_file(vfs_posix(), path, (size_t)1 << 30, &text, &size) != STATUS_OK)
        return NULL;
    return text;
}

static inline void file_copy(const char *from, const char *to)
{
    char *text = file_read(from);
    assert_non_null(text);
    file_write(to, text);
    free(text);
}

static inline bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline void assert_file_is(const char *path, const char *text)
{
    char *found = file_read(path);
    assert_non_null(found);
    assert_string_equal(found, text);
    free(found);
}

/* --- a clock that stands still --- */

struct still_clock {
    struct clock clock;
    int64_t now_ms;
};

static inline int64_t still_wall_ms(void *ctx)
{
    return *(const int64_t *)ctx;
}

static inline int64_t still_monotonic_ns(void *ctx)
{
    return *(const int64_t *)ctx * 1000000;
}

static inline void still_clock_init(struct still_clock *clock, int64_t now_ms)
{
    clock->now_ms = now_ms;
    clock->clock = (struct clock){still_wall_ms, still_monotonic_ns, &clock->now_ms};
}

/* --- a vfs that fails --- */

struct failing_vfs {
    struct vfs vfs;
    struct vfs_ops ops;
    int writes;
    bool full; /* every write fails with FULL */
};

static inline enum status failing_pwritev(struct vfs *vfs, int fd, const struct iovec *parts,
                                          int count, int64_t offset)
{
    struct failing_vfs *failing = (struct failing_vfs *)(void *)vfs;
    failing->writes++;
    if (failing->full) {
        errno = ENOSPC;
        return STATUS_FULL;
    }
    return vfs_posix()->ops->pwritev(vfs_posix(), fd, parts, count, offset);
}

static inline void failing_vfs_init(struct failing_vfs *failing)
{
    *failing = (struct failing_vfs){.ops = *vfs_posix()->ops};
    failing->ops.pwritev = failing_pwritev;
    failing->vfs.ops = &failing->ops;
}

/* --- names handed to a callback --- */

struct name_list {
    char names[64][64];
    size_t count;
};

static inline void name_list_add(void *ctx, struct slice name)
{
    struct name_list *list = ctx;
    assert_true(list->count < 64 && name.size < 64);
    memcpy(list->names[list->count], name.data, name.size);
    list->names[list->count++][name.size] = 0;
}

static inline bool name_list_has(const struct name_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return true;
    return false;
}

#endif
