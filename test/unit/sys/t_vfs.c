/* SPDX-License-Identifier: Apache-2.0
 *
 * The posix file layer does what vfs.h promises: whole writes, reserved space, zeroed ranges, locks
 * that exclude, atomic replacement of a file with its backup, which pages are in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/sys/vfs.h"
#include "test/unit/support/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PARTS 3000 /* more than one system call takes */

static struct vfs *vfs;
static const struct vfs_ops *ops;

static void path_in(const char *folder, const char *name, char path[256])
{
    (void)snprintf(path, 256, "%s/%s", folder, name);
}

static void writes_many_parts(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "file", path);
    int fd;
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd), STATUS_NOT_FOUND);
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &fd),
                     STATUS_OK);
    int other;
    assert_int_equal(ops->open(vfs, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &other),
                     STATUS_EXISTS);
    char numbers[PARTS][8];
    struct iovec parts[PARTS];
    size_t total = 0;
    for (int i = 0; i < PARTS; i++) {
        int size = snprintf(numbers[i], sizeof numbers[i], "%d,", i);
        parts[i] = (struct iovec){numbers[i], i % 7 == 0 ? 0 : (size_t)size};
        total += parts[i].iov_len;
    }
    assert_int_equal(ops->pwritev(vfs, fd, parts, PARTS, 5), STATUS_OK);
    assert_int_equal(ops->fdatasync(vfs, fd), STATUS_OK);
    struct vfs_stat st;
    assert_int_equal(ops->stat(vfs, path, &st), STATUS_OK);
    assert_int_equal(st.size, total + 5);
    assert_false(st.is_directory);
    assert_true(st.mtime_ms > INT64_C(1500000000000));

    char *read = malloc(total + 100);
    size_t got;
    assert_int_equal(ops->pread(vfs, fd, read, total + 100, 5, &got), STATUS_OK);
    assert_int_equal(got, total);
    const char *at = read;
    for (int i = 0; i < PARTS; i++) {
        assert_memory_equal(at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    free(read);
    assert_int_equal(ops->close(vfs, fd), STATUS_OK);
    folder_remove(folder);
}

static void reserves_maps_and_zeroes(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "file", path);
    int fd;
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &fd), STATUS_OK);
    assert_int_equal(ops->allocate(vfs, fd, 65536), STATUS_OK);
    void *memory;
    assert_int_equal(ops->map(vfs, fd, 65536, false, &memory), STATUS_OK);
    const uint8_t *bytes = memory;
    assert_int_equal(bytes[65535], 0);
    uint8_t ones[65536];
    memset(ones, 1, sizeof ones);
    struct iovec part = {ones, sizeof ones};
    assert_int_equal(ops->pwritev(vfs, fd, &part, 1, 0), STATUS_OK);
    for (int keep = 0; keep < 2; keep++) {
        int64_t from = keep ? 10001 : 30001;
        assert_int_equal(ops->zero(vfs, fd, from, 5000, keep), STATUS_OK);
        assert_int_equal(bytes[from - 1], 1);
        assert_int_equal(bytes[from + 5000], 1);
        for (int64_t i = from; i < from + 5000; i++)
            assert_int_equal(bytes[i], 0);
    }
    struct vfs_stat st;
    assert_int_equal(ops->stat(vfs, path, &st), STATUS_OK);
    assert_int_equal(st.size, 65536);
    assert_int_equal(ops->advise(vfs, fd, 0, 65536, VFS_ADVICE_DONT_NEED), STATUS_OK);
    assert_int_equal(ops->unmap(vfs, memory, 65536), STATUS_OK);
    assert_int_equal(ops->truncate(vfs, fd, 10), STATUS_OK);
    assert_int_equal(ops->close(vfs, fd), STATUS_OK);
    struct vfs_space space;
    assert_int_equal(ops->space(vfs, folder, &space), STATUS_OK);
    assert_true(space.free_bytes > 0 && space.total_bytes >= space.free_bytes);
    folder_remove(folder);
}

static void lock_excludes_a_second_open(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "lock", path);
    int first;
    int second;
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &first), STATUS_OK);
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE, &second), STATUS_OK);
    assert_int_equal(ops->lock(vfs, first), STATUS_OK);
    assert_int_equal(ops->lock(vfs, second), STATUS_BUSY);
    assert_int_equal(ops->close(vfs, first), STATUS_OK);
    assert_int_equal(ops->lock(vfs, second), STATUS_OK);
    assert_int_equal(ops->close(vfs, second), STATUS_OK);
    folder_remove(folder);
}

/* Looking at a lock takes nothing, and does with a descriptor for reading. */
static void lock_can_be_looked_at(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "lock", path);
    int holder;
    int reader;
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &holder), STATUS_OK);
    assert_int_equal(ops->open(vfs, path, VFS_READ, &reader), STATUS_OK);
    assert_int_equal(ops->look_at_lock(vfs, reader), STATUS_OK);
    assert_int_equal(ops->look_at_lock(vfs, reader), STATUS_OK);
    assert_int_equal(ops->lock(vfs, holder), STATUS_OK);
    assert_int_equal(ops->look_at_lock(vfs, reader), STATUS_BUSY);
    assert_int_equal(ops->close(vfs, holder), STATUS_OK);
    assert_int_equal(ops->look_at_lock(vfs, reader), STATUS_OK);
    assert_int_equal(ops->close(vfs, reader), STATUS_OK);
    folder_remove(folder);
}

struct listing {
    char text[256];
};

static void list_one(void *ctx, const char *name, bool is_directory)
{
    struct listing *listing = ctx;
    size_t used = strlen(listing->text);
    (void)snprintf(listing->text + used, sizeof listing->text - used, "%s%s ", name,
                   is_directory ? "/" : "");
}

static void directories(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "b/c/d", path);
    assert_int_equal(ops->mkdirs(vfs, path), STATUS_OK);
    assert_int_equal(ops->mkdirs(vfs, path), STATUS_OK);
    path_in(folder, "a", path);
    int fd;
    assert_int_equal(ops->open(vfs, path, VFS_WRITE | VFS_CREATE, &fd), STATUS_OK);
    assert_int_equal(ops->close(vfs, fd), STATUS_OK);
    assert_int_not_equal(ops->mkdirs(vfs, path), STATUS_OK);
    struct listing listing = {""};
    assert_int_equal(ops->list(vfs, folder, list_one, &listing), STATUS_OK);
    assert_string_equal(listing.text, "a b/ ");
    assert_int_equal(ops->sync_directory(vfs, folder), STATUS_OK);
    assert_int_equal(ops->unlink(vfs, path), STATUS_OK);
    assert_int_equal(ops->unlink(vfs, path), STATUS_NOT_FOUND);
    path_in(folder, "b/c/d", path);
    assert_int_equal(ops->rmdir(vfs, path), STATUS_OK);
    assert_int_equal(ops->list(vfs, path, list_one, &listing), STATUS_NOT_FOUND);
    folder_remove(folder);
}

static struct listing synced;

static enum status noting_sync_directory(struct vfs *noting, const char *path)
{
    (void)noting;
    list_one(&synced, strrchr(path, '/') + 1, true);
    return ops->sync_directory(vfs, path);
}

/* The entry of each directory that is made is synced in its parent, and no other. */
static void durable_directories(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    struct vfs_ops noting_ops = *ops;
    noting_ops.sync_directory = noting_sync_directory;
    struct vfs noting = {&noting_ops};
    synced = (struct listing){""};
    path_in(folder, "b", path);
    assert_int_equal(vfs_make_directories(&noting, path), STATUS_OK);
    char parent[FOLDER_BYTES + 2];
    (void)snprintf(parent, sizeof parent, "%s/ ", strrchr(folder, '/') + 1);
    /* What was there already may not be durable: the folder's own parent comes first. */
    assert_non_null(strstr(synced.text, "/ "));
    assert_string_equal(strstr(synced.text, "/ ") + 2, parent);
    synced = (struct listing){""};
    path_in(folder, "b/c/d", path);
    assert_int_equal(vfs_make_directories(&noting, path), STATUS_OK);
    assert_non_null(strstr(synced.text, parent));
    assert_string_equal(synced.text + strlen(parent), "b/ c/ ");
    synced = (struct listing){""};
    assert_int_equal(vfs_make_directories(&noting, path), STATUS_OK);
    assert_string_equal(synced.text, "c/ ");
    path_in(folder, "b/file", path);
    int fd;
    assert_int_equal(ops->open(vfs, path, VFS_WRITE | VFS_CREATE, &fd), STATUS_OK);
    assert_int_equal(ops->close(vfs, fd), STATUS_OK);
    assert_int_not_equal(vfs_make_directories(&noting, path), STATUS_OK);
    folder_remove(folder);
}

static size_t pages_in_memory(const uint8_t *pages, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(pages[i] <= 1);
        sum += pages[i];
    }
    return sum;
}

/* Pages leave the page cache when the mapping has let go of them, and come back by a read. */
static void tells_what_is_in_memory(void **state)
{
    (void)state;
    enum { COUNT = 64 };
    char folder[FOLDER_BYTES];
    char path[256];
    uint8_t pages[COUNT];
    size_t page_bytes = vfs_page_bytes();
    size_t size = COUNT * page_bytes;
    uint8_t *data = calloc(1, size);
    assert_non_null(data);
    assert_true(page_bytes >= 4096);
    folder_make("vfs", folder);
    path_in(folder, "file", path);
    int fd;
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &fd), STATUS_OK);
    struct iovec part = {data, size};
    assert_int_equal(ops->pwritev(vfs, fd, &part, 1, 0), STATUS_OK);
    assert_int_equal(ops->fdatasync(vfs, fd), STATUS_OK);
    void *memory;
    assert_int_equal(ops->map(vfs, fd, size, false, &memory), STATUS_OK);
    assert_int_equal(ops->resident(vfs, memory, size, pages), STATUS_OK);
    assert_int_equal(pages_in_memory(pages, COUNT), COUNT);
    assert_memory_equal(memory, data, size); /* now it is in the page table, too */
    assert_int_equal(ops->advise_map(vfs, memory, size, VFS_ADVICE_DONT_NEED), STATUS_OK);
    assert_int_equal(ops->advise(vfs, fd, 0, (int64_t)size, VFS_ADVICE_DONT_NEED), STATUS_OK);
    assert_int_equal(ops->resident(vfs, memory, size, pages), STATUS_OK);
    size_t left = pages_in_memory(pages, COUNT);
    assert_true(left == 0 || left == COUNT); /* COUNT: a file system that lives in memory */
    size_t got;
    assert_int_equal(ops->pread(vfs, fd, data, size, 0, &got), STATUS_OK);
    assert_int_equal(ops->resident(vfs, memory, size, pages), STATUS_OK);
    assert_int_equal(pages_in_memory(pages, COUNT), COUNT);
    assert_int_equal(ops->unmap(vfs, memory, size), STATUS_OK);
    assert_int_equal(ops->close(vfs, fd), STATUS_OK);
    free(data);
    folder_remove(folder);
}

/* Where the bytes end, over holes, reserved blocks, zeros that were written, and the file's end. */
static void finds_the_end_of_data(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "file", path);
    int fd;
    int64_t end;
    assert_int_equal(ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &fd), STATUS_OK);
    assert_int_equal(vfs_data_end(vfs, fd, 0, 1000, &end), STATUS_OK);
    assert_int_equal(end, 0);
    assert_int_equal(ops->allocate(vfs, fd, 1 << 20), STATUS_OK);
    assert_int_equal(ops->truncate(vfs, fd, 4 << 20), STATUS_OK);
    assert_int_equal(vfs_data_end(vfs, fd, 5, 8 << 20, &end), STATUS_OK);
    assert_int_equal(end, 5);
    static const uint8_t zeros[100000] = {0};
    struct iovec part = {(void *)(uintptr_t)zeros, sizeof zeros};
    assert_int_equal(ops->pwritev(vfs, fd, &part, 1, 3 << 20), STATUS_OK);
    assert_int_equal(vfs_data_end(vfs, fd, 5, 8 << 20, &end), STATUS_OK);
    assert_int_equal(end, 5);
    const int64_t places[] = {5, 70000, 1 << 20, (2 << 20) + 17, (4 << 20) - 1};
    char one[] = "x";
    struct iovec byte = {one, 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_int_equal(ops->pwritev(vfs, fd, &byte, 1, places[i]), STATUS_OK);
        assert_int_equal(vfs_data_end(vfs, fd, 5, 8 << 20, &end), STATUS_OK);
        assert_int_equal(end, places[i] + 1);
        assert_int_equal(vfs_data_end(vfs, fd, 0, places[i], &end), STATUS_OK);
        assert_int_equal(end, i == 0 ? 0 : places[i - 1] + 1);
        assert_int_equal(vfs_data_end(vfs, fd, places[i] + 1, 8 << 20, &end), STATUS_OK);
        assert_int_equal(end, places[i] + 1);
    }
    assert_int_equal(ops->close(vfs, fd), STATUS_OK);
    folder_remove(folder);
}

/* Want of descriptors passes: it is told apart from a failure of the disk. */
static void no_descriptors_left(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    folder_make("vfs", folder);
    path_in(folder, "file", path);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {3, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int fd;
    enum status status = ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &fd);
    int cause = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, STATUS_BUSY);
    assert_int_equal(cause, EMFILE);
    folder_remove(folder);
}

static void check_file(const char *path, const char *text)
{
    char *data;
    size_t size;
    assert_int_equal(vfs_read_file(vfs, path, 100, &data, &size), STATUS_OK);
    assert_int_equal(size, strlen(text));
    assert_string_equal(data, text);
    free(data);
}

static void replaces_a_file(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[256];
    char backup[256];
    char *data;
    size_t size;
    folder_make("vfs", folder);
    path_in(folder, "x.json", path);
    path_in(folder, "x.json.bak", backup);
    assert_int_equal(vfs_read_file(vfs, path, 100, &data, &size), STATUS_NOT_FOUND);
    assert_int_equal(vfs_replace_file(vfs, path, "one", 3, true), STATUS_OK);
    check_file(path, "one");
    assert_int_equal(vfs_read_file(vfs, backup, 100, &data, &size), STATUS_NOT_FOUND);
    assert_int_equal(vfs_replace_file(vfs, path, "second", 6, true), STATUS_OK);
    check_file(path, "second");
    check_file(backup, "one");
    assert_int_equal(vfs_replace_file(vfs, path, "", 0, false), STATUS_OK);
    check_file(path, "");
    check_file(backup, "one");
    struct listing listing = {""};
    assert_int_equal(ops->list(vfs, folder, list_one, &listing), STATUS_OK);
    assert_string_equal(listing.text, "x.json x.json.bak ");
    assert_int_equal(vfs_replace_file(vfs, path, "0123456789", 10, false), STATUS_OK);
    assert_int_equal(vfs_read_file(vfs, path, 9, &data, &size), STATUS_TOO_LARGE);
    path_in(folder, "no/such/x", path);
    assert_int_equal(vfs_replace_file(vfs, path, "a", 1, false), STATUS_NOT_FOUND);
    folder_remove(folder);
}

/* A file that is closed already counts, too; another process sees no difference, so that here only
 * the answers are looked at. */
static void syncs_a_file_system(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[FOLDER_BYTES + 8];
    int folder_fd;
    int fd;
    folder_make("vfs", folder);
    (void)snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(vfs->ops->open(vfs, folder, VFS_READ, &folder_fd), STATUS_OK);
    assert_int_equal(vfs->ops->open(vfs, path, VFS_WRITE | VFS_CREATE, &fd), STATUS_OK);
    struct iovec part = {path, 4};
    assert_int_equal(vfs->ops->pwritev(vfs, fd, &part, 1, 0), STATUS_OK);
    assert_int_equal(vfs->ops->advise(vfs, fd, 0, 0, VFS_ADVICE_RANDOM), STATUS_OK);
    assert_int_equal(vfs->ops->close(vfs, fd), STATUS_OK);
    assert_int_equal(vfs->ops->sync_filesystem(vfs, folder_fd), STATUS_OK);
    assert_int_equal(vfs->ops->close(vfs, folder_fd), STATUS_OK);
    assert_int_equal(vfs->ops->sync_filesystem(vfs, folder_fd), STATUS_IO); /* whatever the cause */
    folder_remove(folder);
}

int main(void)
{
    vfs = vfs_posix();
    ops = vfs->ops;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_many_parts),
        cmocka_unit_test(reserves_maps_and_zeroes),
        cmocka_unit_test(lock_excludes_a_second_open),
        cmocka_unit_test(lock_can_be_looked_at),
        cmocka_unit_test(durable_directories),
        cmocka_unit_test(tells_what_is_in_memory),
        cmocka_unit_test(finds_the_end_of_data),
        cmocka_unit_test(no_descriptors_left),
        cmocka_unit_test(directories),
        cmocka_unit_test(replaces_a_file),
        cmocka_unit_test(syncs_a_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
