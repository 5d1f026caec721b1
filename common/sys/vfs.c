/* SPDX-License-Identifier: Apache-2.0
 *
 * The posix file layer. No state but the table of functions; any thread.
 *
 * The lock is an open-file-description lock: it excludes other processes, among them a Java broker
 * (whose FileLock is a POSIX lock on the same byte), and also a second open in this process.
 */
#include "common/sys/vfs.h"

#include "common/base/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define WINDOW_PARTS 64 /* iovecs handed to one system call */
#define CHUNK_BYTES 65536

static enum status status_of_errno(void)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return STATUS_FULL;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return STATUS_BUSY;
    default:
        return STATUS_IO;
    }
}

static enum status status_of(int result)
{
    return result == -1 ? status_of_errno() : STATUS_OK;
}

static enum status posix_open(struct vfs *vfs, const char *path, int flags, int *fd)
{
    (void)vfs;
    int mode = flags & VFS_WRITE ? (flags & VFS_READ ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (flags & VFS_CREATE)
        mode |= O_CREAT;
    if (flags & VFS_EXCLUSIVE)
        mode |= O_EXCL;
    if (flags & VFS_TRUNCATE)
        mode |= O_TRUNC;
    int opened;
    do
        opened = open(path, mode | O_CLOEXEC, 0644);
    while (opened == -1 && errno == EINTR);
    if (opened == -1)
        return status_of_errno();
    *fd = opened;
    return STATUS_OK;
}

static enum status posix_close(struct vfs *vfs, int fd)
{
    (void)vfs;
    /* Linux has closed the descriptor also when it reports EINTR. */
    return close(fd) == -1 && errno != EINTR ? status_of_errno() : STATUS_OK;
}

/* Copy the parts behind the first `skip` bytes of parts[0] into the window. */
static int window_fill(struct iovec *window, const struct iovec *parts, int count, size_t skip)
{
    int used = count < WINDOW_PARTS ? count : WINDOW_PARTS;
    for (int i = 0; i < used; i++)
        window[i] = parts[i];
    window[0].iov_base = (char *)window[0].iov_base + skip;
    window[0].iov_len -= skip;
    return used;
}

static enum status posix_pwritev(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                                 int64_t offset)
{
    (void)vfs;
    size_t skip = 0; /* bytes of parts[0] that are written already */
    while (count > 0) {
        if (skip == parts[0].iov_len) {
            parts++;
            count--;
            skip = 0;
            continue;
        }
        struct iovec window[WINDOW_PARTS];
        int used = window_fill(window, parts, count, skip);
        ssize_t written = pwritev(fd, window, used, offset);
        if (written == -1 && errno == EINTR)
            continue;
        if (written == -1)
            return status_of_errno();
        if (written == 0) {
            errno = EIO;
            return STATUS_IO;
        }
        offset += written;
        size_t left = (size_t)written + skip;
        while (count > 0 && left >= parts[0].iov_len) {
            left -= parts[0].iov_len;
            parts++;
            count--;
        }
        skip = left;
    }
    return STATUS_OK;
}

static enum status posix_pread(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                               size_t *got)
{
    (void)vfs;
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)data + done, size - done, offset + (int64_t)done);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return status_of_errno();
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return STATUS_OK;
}

static enum status posix_fdatasync(struct vfs *vfs, int fd)
{
    (void)vfs;
    return fdatasync(fd) == -1 ? STATUS_IO : STATUS_OK; /* whatever the cause: it is final */
}

#define WRITE_OUT (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

static enum status posix_write_out(struct vfs *vfs, int fd, int64_t offset, int64_t size)
{
    (void)vfs;
    return sync_file_range(fd, offset, size, WRITE_OUT) == -1 ? STATUS_IO : STATUS_OK;
}

static enum status posix_sync_filesystem(struct vfs *vfs, int fd)
{
    (void)vfs;
    return syncfs(fd) == -1 ? STATUS_IO : STATUS_OK;
}

static enum status posix_truncate(struct vfs *vfs, int fd, int64_t size)
{
    (void)vfs;
    int result;
    do
        result = ftruncate(fd, size);
    while (result == -1 && errno == EINTR);
    return status_of(result);
}

static enum status posix_allocate(struct vfs *vfs, int fd, int64_t size)
{
    int result;
    do
        result = fallocate(fd, 0, 0, size);
    while (result == -1 && errno == EINTR);
    if (result == -1 && (errno == EOPNOTSUPP || errno == ENOSYS))
        return posix_truncate(vfs, fd, size);
    return status_of(result);
}

static enum status posix_map(struct vfs *vfs, int fd, size_t size, bool writable, void **memory)
{
    (void)vfs;
    void *mapped = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        return status_of_errno();
    *memory = mapped;
    return STATUS_OK;
}

static enum status posix_unmap(struct vfs *vfs, void *memory, size_t size)
{
    (void)vfs;
    return status_of(munmap(memory, size));
}

static enum status posix_sync_map(struct vfs *vfs, void *memory, size_t size)
{
    (void)vfs;
    return msync(memory, size, MS_SYNC) == -1 ? STATUS_IO : STATUS_OK;
}

static enum status posix_advise(struct vfs *vfs, int fd, int64_t offset, int64_t size,
                                enum vfs_advice advice)
{
    (void)vfs;
    static const int advices[] = {
        [VFS_ADVICE_SEQUENTIAL] = POSIX_FADV_SEQUENTIAL,
        [VFS_ADVICE_WILL_NEED] = POSIX_FADV_WILLNEED,
        [VFS_ADVICE_DONT_NEED] = POSIX_FADV_DONTNEED,
        [VFS_ADVICE_RANDOM] = POSIX_FADV_RANDOM,
    };
    int failure = posix_fadvise(fd, offset, size, advices[advice]);
    if (failure == 0)
        return STATUS_OK;
    errno = failure;
    return STATUS_IO;
}

static enum status posix_stat(struct vfs *vfs, const char *path, struct vfs_stat *out)
{
    (void)vfs;
    struct stat st;
    if (stat(path, &st) == -1)
        return status_of_errno();
    out->size = st.st_size;
    out->mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    out->is_directory = S_ISDIR(st.st_mode);
    return STATUS_OK;
}

static enum status posix_rename(struct vfs *vfs, const char *from, const char *to)
{
    (void)vfs;
    return status_of(rename(from, to));
}

static enum status posix_unlink(struct vfs *vfs, const char *path)
{
    (void)vfs;
    return status_of(unlink(path));
}

static enum status posix_rmdir(struct vfs *vfs, const char *path)
{
    (void)vfs;
    return status_of(rmdir(path));
}

static enum status posix_mkdirs(struct vfs *vfs, const char *path)
{
    (void)vfs;
    char partial[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof partial) {
        errno = ENAMETOOLONG;
        return STATUS_IO;
    }
    memcpy(partial, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (partial[i] != '/' && partial[i] != '\0')
            continue;
        char kept = partial[i];
        partial[i] = '\0';
        if (mkdir(partial, 0755) == -1 && errno != EEXIST)
            return status_of_errno();
        partial[i] = kept;
    }
    struct stat st;
    if (stat(path, &st) == -1)
        return status_of_errno();
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return STATUS_IO;
    }
    return STATUS_OK;
}

static enum status posix_sync_directory(struct vfs *vfs, const char *path)
{
    (void)vfs;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1)
        return status_of_errno();
    enum status status = fsync(fd) == -1 ? STATUS_IO : STATUS_OK;
    int kept = errno;
    (void)close(fd);
    errno = kept;
    return status;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool entry_is_directory(const char *directory, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return entry->d_type == DT_DIR;
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    struct stat st;
    return size > 0 && (size_t)size < sizeof path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static enum status posix_list(struct vfs *vfs, const char *path,
                              void (*each)(void *ctx, const char *name, bool is_directory),
                              void *ctx)
{
    (void)vfs;
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, by_name);
    if (count == -1)
        return status_of_errno();
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            each(ctx, name, entry_is_directory(path, entries[i]));
        free(entries[i]);
    }
    free(entries);
    return STATUS_OK;
}

static enum status posix_lock(struct vfs *vfs, int fd)
{
    (void)vfs;
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    if (fcntl(fd, F_OFD_SETLK, &range) == 0)
        return STATUS_OK;
    return errno == EAGAIN || errno == EACCES ? STATUS_BUSY : STATUS_IO;
}

static enum status posix_look_at_lock(struct vfs *vfs, int fd)
{
    (void)vfs;
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &range) != 0)
        return STATUS_IO;
    return range.l_type == F_UNLCK ? STATUS_OK : STATUS_BUSY;
}

static enum status posix_space(struct vfs *vfs, const char *path, struct vfs_space *out)
{
    (void)vfs;
    struct statvfs st;
    if (statvfs(path, &st) == -1)
        return status_of_errno();
    int64_t unit = (int64_t)st.f_frsize;
    out->free_bytes = (int64_t)st.f_bavail * unit;
    out->total_bytes = ((int64_t)st.f_blocks - (int64_t)st.f_bfree) * unit + out->free_bytes;
    return STATUS_OK;
}

static enum status posix_zero(struct vfs *vfs, int fd, int64_t offset, int64_t size,
                              bool keep_blocks)
{
    if (size == 0)
        return STATUS_OK;
    int how = keep_blocks ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
    if (fallocate(fd, how | FALLOC_FL_KEEP_SIZE, offset, size) == 0)
        return STATUS_OK;
    static const uint8_t zeros[CHUNK_BYTES];
    while (size > 0) {
        int64_t chunk = size < CHUNK_BYTES ? size : CHUNK_BYTES;
        struct iovec part = {(void *)(uintptr_t)zeros, (size_t)chunk};
        enum status status = posix_pwritev(vfs, fd, &part, 1, offset);
        if (status != STATUS_OK)
            return status;
        offset += chunk;
        size -= chunk;
    }
    return STATUS_OK;
}

#define EXTENTS_AT_ONCE 32

/* The first offset from `offset` on that lies in a block which was written, by the file system's
 * own map; NOT_FOUND when there is none, UNSUPPORTED when it keeps no such map. What is still on
 * its way to the disk behind `offset` is written first, so that the map knows of it: not the whole
 * file, as FIEMAP_FLAG_SYNC would. When that fails the descriptor has been told of it, which it is
 * only once: so must the caller be. */
static enum status find_written(int fd, int64_t offset, int64_t *found)
{
    union {
        struct fiemap map;
        uint8_t room[sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent)];
    } question;
    uint64_t at = (uint64_t)offset;
    if (sync_file_range(fd, offset, 0, WRITE_OUT) != 0)
        return errno == EIO || errno == ENOSPC || errno == EDQUOT ? STATUS_IO : STATUS_UNSUPPORTED;
    for (;;) {
        memset(&question, 0, sizeof question);
        question.map.fm_start = at;
        question.map.fm_length = FIEMAP_MAX_OFFSET - at;
        question.map.fm_extent_count = EXTENTS_AT_ONCE;
        if (ioctl(fd, FS_IOC_FIEMAP, &question.map) != 0)
            return STATUS_UNSUPPORTED;
        for (uint32_t i = 0; i < question.map.fm_mapped_extents; i++) {
            const struct fiemap_extent *extent = &question.map.fm_extents[i];
            if ((extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN) == 0) {
                *found = extent->fe_logical > at ? (int64_t)extent->fe_logical : (int64_t)at;
                return STATUS_OK;
            }
            at = extent->fe_logical + extent->fe_length;
        }
        if (question.map.fm_mapped_extents < EXTENTS_AT_ONCE)
            return STATUS_NOT_FOUND;
    }
}

/* SEEK_DATA alone does not do: it takes for data what merely lies in the page cache, so that
 * reading ahead turns a reserved file into data just in front of whoever searches it. */
static enum status posix_find_data(struct vfs *vfs, int fd, int64_t offset, int64_t *found)
{
    (void)vfs;
    enum status status = find_written(fd, offset, found);
    if (status != STATUS_UNSUPPORTED)
        return status;
    off_t at = lseek(fd, (off_t)offset, SEEK_DATA);
    if (at == -1 && errno == ENXIO)
        return STATUS_NOT_FOUND;
    *found = at == -1 ? offset : (int64_t)at;
    return STATUS_OK;
}

static enum status posix_resident(struct vfs *vfs, const void *memory, size_t size, uint8_t *pages)
{
    (void)vfs;
    if (mincore((void *)(uintptr_t)memory, size, pages) == -1)
        return status_of_errno();
    /* The other bits of each byte mean nothing. */
    size_t count = (size + vfs_page_bytes() - 1) / vfs_page_bytes();
    for (size_t i = 0; i < count; i++)
        pages[i] &= 1;
    return STATUS_OK;
}

static enum status posix_advise_map(struct vfs *vfs, const void *memory, size_t size,
                                    enum vfs_advice advice)
{
    (void)vfs;
    static const int advices[] = {
        [VFS_ADVICE_SEQUENTIAL] = MADV_SEQUENTIAL,
        [VFS_ADVICE_WILL_NEED] = MADV_WILLNEED,
        [VFS_ADVICE_DONT_NEED] = MADV_DONTNEED,
        [VFS_ADVICE_RANDOM] = MADV_RANDOM,
    };
    return status_of(madvise((void *)(uintptr_t)memory, size, advices[advice]));
}

size_t vfs_page_bytes(void)
{
    static _Atomic size_t bytes;
    size_t known = atomic_load_explicit(&bytes, memory_order_relaxed);
    if (known == 0) {
        known = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&bytes, known, memory_order_relaxed);
    }
    return known;
}

struct vfs *vfs_posix(void)
{
    static const struct vfs_ops ops = {
        .open = posix_open,
        .close = posix_close,
        .pwritev = posix_pwritev,
        .pread = posix_pread,
        .fdatasync = posix_fdatasync,
        .write_out = posix_write_out,
        .sync_filesystem = posix_sync_filesystem,
        .allocate = posix_allocate,
        .truncate = posix_truncate,
        .map = posix_map,
        .unmap = posix_unmap,
        .sync_map = posix_sync_map,
        .advise = posix_advise,
        .stat = posix_stat,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .rmdir = posix_rmdir,
        .mkdirs = posix_mkdirs,
        .sync_directory = posix_sync_directory,
        .list = posix_list,
        .lock = posix_lock,
        .look_at_lock = posix_look_at_lock,
        .space = posix_space,
        .zero = posix_zero,
        .find_data = posix_find_data,
        .resident = posix_resident,
        .advise_map = posix_advise_map,
    };
    static struct vfs posix = {&ops};
    return &posix;
}

/* --- helpers over any vfs --- */

static void close_keeping_errno(struct vfs *vfs, int fd)
{
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    errno = kept;
}

/* The directory that `path` lies in. */
static void parent_of(const char *path, char parent[PATH_MAX])
{
    (void)snprintf(parent, PATH_MAX, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        (void)snprintf(parent, PATH_MAX, ".");
    else
        slash[slash == parent ? 1 : 0] = '\0';
}

enum status vfs_make_directories(struct vfs *vfs, const char *path)
{
    struct vfs_stat st;
    char parent[PATH_MAX];
    parent_of(path, parent);
    if (vfs->ops->stat(vfs, path, &st) == STATUS_OK && st.is_directory) {
        /* Whoever made it may have been killed, or have failed, before it was durable. Where we may
         * not look into the parent, we did not make it. */
        enum status synced = vfs->ops->sync_directory(vfs, parent);
        return synced == STATUS_OK || errno == EACCES ? STATUS_OK : synced;
    }
    if (strlen(path) >= sizeof parent || strcmp(parent, path) == 0)
        return vfs->ops->mkdirs(vfs, path);
    enum status status = vfs_make_directories(vfs, parent);
    if (status == STATUS_OK)
        status = vfs->ops->mkdirs(vfs, path);
    if (status == STATUS_OK)
        status = vfs->ops->sync_directory(vfs, parent);
    return status;
}

enum status vfs_make_folder_of(struct vfs *vfs, const char *path)
{
    char folder[PATH_MAX];
    parent_of(path, folder);
    return vfs_make_directories(vfs, folder);
}

/* The bytes up to the last one that is not zero. */
static size_t trimmed(const uint8_t *data, size_t size)
{
    if (size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0))
        return 0;
    while (data[size - 1] == 0)
        size--;
    return size;
}

enum status vfs_data_end(struct vfs *vfs, int fd, int64_t from, int64_t to, int64_t *end)
{
    uint8_t *chunk = xmalloc(CHUNK_BYTES);
    enum status status = STATUS_OK;
    int64_t at = from;
    *end = from;
    while (at < to) {
        status = vfs->ops->find_data(vfs, fd, at, &at);
        if (status != STATUS_OK || at >= to)
            break;
        size_t got;
        size_t wanted = to - at < CHUNK_BYTES ? (size_t)(to - at) : CHUNK_BYTES;
        status = vfs->ops->pread(vfs, fd, chunk, wanted, at, &got);
        if (status != STATUS_OK || got == 0)
            break;
        size_t used = trimmed(chunk, got);
        if (used > 0)
            *end = at + (int64_t)used;
        at += (int64_t)got;
    }
    int kept = errno;
    free(chunk);
    errno = kept;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status vfs_read_file(struct vfs *vfs, const char *path, size_t max_bytes, char **data,
                          size_t *size)
{
    struct vfs_stat st;
    enum status status = vfs->ops->stat(vfs, path, &st);
    if (status != STATUS_OK)
        return status;
    if (st.size < 0 || (uint64_t)st.size > max_bytes)
        return STATUS_TOO_LARGE;
    int fd;
    status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status != STATUS_OK)
        return status;
    char *text = xmalloc((size_t)st.size + 1);
    size_t got = 0;
    status = vfs->ops->pread(vfs, fd, text, (size_t)st.size, 0, &got);
    close_keeping_errno(vfs, fd);
    if (status != STATUS_OK) {
        free(text);
        return status;
    }
    text[got] = '\0';
    *data = text;
    *size = got;
    return STATUS_OK;
}

static enum status write_file(struct vfs *vfs, const char *path, const void *data, size_t size,
                              bool durable)
{
    int fd;
    enum status status = vfs->ops->open(vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &fd);
    if (status != STATUS_OK)
        return status;
    struct iovec part = {(void *)(uintptr_t)data, size};
    if (size > 0)
        status = vfs->ops->pwritev(vfs, fd, &part, 1, 0);
    if (status == STATUS_OK && durable)
        status = vfs->ops->fdatasync(vfs, fd);
    close_keeping_errno(vfs, fd);
    return status;
}

static enum status copy_as_backup(struct vfs *vfs, const char *path, const char *backup)
{
    char *old;
    size_t size;
    enum status status = vfs_read_file(vfs, path, SIZE_MAX / 2, &old, &size);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    /* Not synced: `path` itself is whole on disk at every moment. */
    status = write_file(vfs, backup, old, size, false);
    free(old);
    return status;
}

enum status vfs_replace_file(struct vfs *vfs, const char *path, const void *data, size_t size,
                             bool keep_backup)
{
    char temporary[PATH_MAX];
    char backup[PATH_MAX];
    char directory[PATH_MAX];
    if (strlen(path) + sizeof ".tmp" > sizeof temporary) {
        errno = ENAMETOOLONG;
        return STATUS_IO;
    }
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);
    (void)snprintf(backup, sizeof backup, "%s.bak", path);
    parent_of(path, directory);

    enum status status = write_file(vfs, temporary, data, size, true);
    if (status == STATUS_OK && keep_backup)
        status = copy_as_backup(vfs, path, backup);
    if (status == STATUS_OK)
        status = vfs->ops->rename(vfs, temporary, path);
    if (status == STATUS_OK)
        status = vfs->ops->sync_directory(vfs, directory);
    return status;
}
