/* SPDX-License-Identifier: Apache-2.0
 *
 * All file access of the store, as a table of functions, so that tests can tear writes, drop
 * unsynced pages, fill the disk or fail. Writes go through pwritev only; mappings are read-only,
 * except for the rebuildable index file.
 *
 * Every function returns an enum status and leaves errno set: OK, NOT_FOUND, EXISTS, FULL (no space
 * on the disk), BUSY (no descriptor or memory left just now; may be tried again), IO.
 */
#ifndef COMMON_SYS_VFS_H
#define COMMON_SYS_VFS_H

#include "common/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct vfs;

enum vfs_open_flags {
    VFS_READ = 1,
    VFS_WRITE = 2,
    VFS_CREATE = 4,
    VFS_EXCLUSIVE = 8, /* fail with EXISTS */
    VFS_TRUNCATE = 16,
};

enum vfs_advice {
    VFS_ADVICE_SEQUENTIAL,
    VFS_ADVICE_WILL_NEED,
    VFS_ADVICE_DONT_NEED, /* of a mapping: its pages stay in the page cache */
    VFS_ADVICE_RANDOM,    /* the kernel reads nothing ahead of what is asked for */
};

struct vfs_stat {
    int64_t size;
    int64_t mtime_ms;
    bool is_directory;
};

struct vfs_space {
    int64_t total_bytes; /* without what is reserved for root */
    int64_t free_bytes;  /* usable without being root */
};

struct vfs_ops {
    enum status (*open)(struct vfs *vfs, const char *path, int flags, int *fd);
    enum status (*close)(struct vfs *vfs, int fd);
    /* All bytes or an error; short writes are continued inside. */
    enum status (*pwritev)(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                           int64_t offset);
    /* Up to `size` bytes; *got < size only at the end of the file. */
    enum status (*pread)(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                         size_t *got);
    /* A failure is IO, whatever the cause: what was not synced may be lost already. The same for
     * the other syncs. */
    enum status (*fdatasync)(struct vfs *vfs, int fd);
    /* Bring what was written to the range on its way to the disk and wait until it is there; not
     * durable, for which fdatasync is still needed, but that will find nothing left to write.
     * A failure may be about any byte of the file, and this descriptor is told of it only once: an
     * fdatasync through it may succeed afterwards. One through another descriptor does not. */
    enum status (*write_out)(struct vfs *vfs, int fd, int64_t offset, int64_t size);
    /* Make everything durable that was written to the file system of fd, by whomever, with all
     * directories. Fails when anything there could not be written since fd was opened, also when
     * whoever wrote it has closed it (Linux 5.8 and later). NULL: cannot be done here. */
    enum status (*sync_filesystem)(struct vfs *vfs, int fd);
    /* Reserve blocks and extend the file to `size`. Falls back to ftruncate where the file system
     * cannot. */
    enum status (*allocate)(struct vfs *vfs, int fd, int64_t size);
    enum status (*truncate)(struct vfs *vfs, int fd, int64_t size);
    enum status (*map)(struct vfs *vfs, int fd, size_t size, bool writable, void **memory);
    enum status (*unmap)(struct vfs *vfs, void *memory, size_t size);
    enum status (*sync_map)(struct vfs *vfs, void *memory, size_t size);
    enum status (*advise)(struct vfs *vfs, int fd, int64_t offset, int64_t size,
                          enum vfs_advice advice);
    enum status (*stat)(struct vfs *vfs, const char *path, struct vfs_stat *out);
    enum status (*rename)(struct vfs *vfs, const char *from, const char *to);
    enum status (*unlink)(struct vfs *vfs, const char *path);
    enum status (*rmdir)(struct vfs *vfs, const char *path);
    /* Create the directory and its parents; OK when it exists. */
    enum status (*mkdirs)(struct vfs *vfs, const char *path);
    /* Make entries created, renamed or removed in the directory durable. */
    enum status (*sync_directory)(struct vfs *vfs, const char *path);
    /* Call `each` with every entry name except . and .., sorted bytewise. */
    enum status (*list)(struct vfs *vfs, const char *path,
                        void (*each)(void *ctx, const char *name, bool is_directory), void *ctx);
    /* Exclusive lock of byte 0, held until the file is closed; BUSY when another process has it. */
    enum status (*lock)(struct vfs *vfs, int fd);
    /* Would `lock` find it taken by another process? Takes nothing and changes nothing; the file
     * may be open for reading only.
     * returns  OK (free) | BUSY | IO */
    enum status (*look_at_lock)(struct vfs *vfs, int fd);
    enum status (*space)(struct vfs *vfs, const char *path, struct vfs_space *out);
    /* Make a range inside the file read as zeros; the size of the file does not change.
     * keep_blocks  its blocks stay reserved where the file system can; false: they are given back
     */
    enum status (*zero)(struct vfs *vfs, int fd, int64_t offset, int64_t size, bool keep_blocks);
    /* The first offset at or behind `offset` where the file may hold anything but zeros; NOT_FOUND
     * when there is none. Passes over holes and reserved blocks; `offset` itself where the file
     * system cannot tell. */
    enum status (*find_data)(struct vfs *vfs, int fd, int64_t offset, int64_t *found);
    /* Which pages of a file's mapping are in memory, so that a look at them waits for no disk: one
     * byte for each page of vfs_page_bytes() that [memory, memory + size) touches, 1 when it is.
     * All are where the system does not tell. NULL: this layer keeps every file in memory.
     * memory  at the start of a page */
    enum status (*resident)(struct vfs *vfs, const void *memory, size_t size, uint8_t *pages);
    /* A hint for a mapping; `memory` as above. NULL: as above. */
    enum status (*advise_map)(struct vfs *vfs, const void *memory, size_t size,
                              enum vfs_advice advice);
};

struct vfs {
    const struct vfs_ops *ops;
};

/* The real thing; static storage, any thread. */
struct vfs *vfs_posix(void);

/* The size of a page of memory. */
size_t vfs_page_bytes(void);

/* Make the directory and its parents, durably. Also OK when it exists. */
enum status vfs_make_directories(struct vfs *vfs, const char *path);

/* The same for the folder that a file lies in. */
enum status vfs_make_folder_of(struct vfs *vfs, const char *path);

/* Where the bytes [from, to) of a file stop being anything but zeros: behind the last one that is
 * not zero, `from` when all are. What lies behind the end of the file counts as zeros. */
enum status vfs_data_end(struct vfs *vfs, int fd, int64_t from, int64_t to, int64_t *end);

/* Read a whole file, NUL-terminated behind its size; *data is malloc'ed and the caller's.
 * returns  OK | NOT_FOUND | TOO_LARGE (over max_bytes) | IO */
enum status vfs_read_file(struct vfs *vfs, const char *path, size_t max_bytes, char **data,
                          size_t *size);

/* Replace `path` atomically and durably, as the config files of the store are written: write
 * path.tmp, sync it, keep the old content as path.bak (when keep_backup), rename, sync the
 * directory. */
enum status vfs_replace_file(struct vfs *vfs, const char *path, const void *data, size_t size,
                             bool keep_backup);

#endif
