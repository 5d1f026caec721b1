/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the offset journal share: a table of consumer offsets in a folder of its own,
 * over a file layer that dies at a chosen call or fails for some files.
 */
#ifndef TEST_UNIT_STATE_JOURNAL_TEST_H
#define TEST_UNIT_STATE_JOURNAL_TEST_H

#include "broker/state/offset_journal.h"

#include "broker/state/offsets.h"
#include "common/sys/log.h"
#include "state_test.h"

#include <sys/stat.h>

/* --- a file layer that dies or fails --- */

struct dying_vfs {
    struct vfs vfs;
    struct vfs_ops ops;
    int steps;                  /* calls that change something, so far */
    int dies_at;                /* from this one on nothing happens any more; 0: it lives */
    const char *fails_for;      /* writes and syncs of files with this in their name fail ... */
    enum status fails_with;     /* ... with this, */
    bool tears;                 /* after writing half of it */
    char names[64][PATH_BYTES]; /* of open descriptors */
};

static inline struct dying_vfs *dying(struct vfs *vfs)
{
    return (struct dying_vfs *)(void *)vfs;
}

static inline bool dead(struct vfs *vfs)
{
    struct dying_vfs *d = dying(vfs);
    errno = EIO;
    d->steps++;
    return d->dies_at != 0 && d->steps >= d->dies_at;
}

static inline bool fails(struct vfs *vfs, int fd)
{
    const struct dying_vfs *d = dying(vfs);
    if (d->fails_for == NULL || strstr(d->names[fd], d->fails_for) == NULL)
        return false;
    errno = d->fails_with == STATUS_FULL ? ENOSPC : EIO;
    return true;
}

static inline enum status dying_open(struct vfs *vfs, const char *path, int flags, int *fd)
{
    if ((flags & VFS_WRITE) && dead(vfs))
        return STATUS_IO;
    enum status status = vfs_posix()->ops->open(vfs_posix(), path, flags, fd);
    if (status == STATUS_OK) {
        assert_true(*fd < 64);
        (void)snprintf(dying(vfs)->names[*fd], PATH_BYTES, "%s", path);
    }
    return status;
}

static inline void write_half(const struct iovec *parts, int count, int fd, int64_t offset)
{
    assert_int_equal(count, 1);
    struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
    assert_int_equal(vfs_posix()->ops->pwritev(vfs_posix(), fd, &half, 1, offset), STATUS_OK);
}

static inline enum status dying_pwritev(struct vfs *vfs, int fd, const struct iovec *parts,
                                        int count, int64_t offset)
{
    struct dying_vfs *d = dying(vfs);
    if (dead(vfs)) {
        if (d->steps == d->dies_at)
            write_half(parts, count, fd, offset);
        return STATUS_IO;
    }
    if (fails(vfs, fd)) {
        if (d->tears)
            write_half(parts, count, fd, offset);
        return d->fails_with;
    }
    return vfs_posix()->ops->pwritev(vfs_posix(), fd, parts, count, offset);
}

static inline enum status dying_fdatasync(struct vfs *vfs, int fd)
{
    return dead(vfs) || (fails(vfs, fd) && dying(vfs)->fails_with == STATUS_IO) ? STATUS_IO
                                                                                : STATUS_OK;
}

static inline enum status dying_truncate(struct vfs *vfs, int fd, int64_t size)
{
    return dead(vfs) || dying(vfs)->tears ? STATUS_IO
                                          : vfs_posix()->ops->truncate(vfs_posix(), fd, size);
}

static inline enum status dying_rename(struct vfs *vfs, const char *from, const char *to)
{
    return dead(vfs) ? STATUS_IO : vfs_posix()->ops->rename(vfs_posix(), from, to);
}

static inline enum status dying_unlink(struct vfs *vfs, const char *path)
{
    return dead(vfs) ? STATUS_IO : vfs_posix()->ops->unlink(vfs_posix(), path);
}

static inline enum status dying_sync_directory(struct vfs *vfs, const char *path)
{
    (void)path;
    return dead(vfs) ? STATUS_IO : STATUS_OK;
}

static inline void dying_vfs_init(struct dying_vfs *d)
{
    *d = (struct dying_vfs){.ops = *vfs_posix()->ops};
    d->ops.open = dying_open;
    d->ops.pwritev = dying_pwritev;
    d->ops.fdatasync = dying_fdatasync;
    d->ops.truncate = dying_truncate;
    d->ops.rename = dying_rename;
    d->ops.unlink = dying_unlink;
    d->ops.sync_directory = dying_sync_directory;
    d->vfs.ops = &d->ops;
}

/* --- a table --- */

struct fixture {
    struct folder folder;
    char json[PATH_BYTES];
    char journals[2][PATH_BYTES];
    char ignored[2][PATH_BYTES];
    struct dying_vfs vfs;
    struct offsets *offsets;
};

static inline void open_offsets(struct fixture *f)
{
    struct err err = {.text = ""};
    dying_vfs_init(&f->vfs);
    if (offsets_load(f->json, &f->vfs.vfs, &f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static inline int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    log_set_level(LOG_ERROR);
    folder_make(&f->folder);
    (void)folder_file(&f->folder, "consumerOffset.json", f->json);
    (void)folder_file(&f->folder, "consumerOffset.journal.0", f->journals[0]);
    (void)folder_file(&f->folder, "consumerOffset.journal.1", f->journals[1]);
    (void)folder_file(&f->folder, "consumerOffset.journal.0.ignored", f->ignored[0]);
    (void)folder_file(&f->folder, "consumerOffset.journal.1.ignored", f->ignored[1]);
    open_offsets(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    offsets_free(f->offsets);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

/* As after kill -9: what is in memory only is gone. */
static inline void crash(struct fixture *f)
{
    offsets_free(f->offsets);
    open_offsets(f);
}

static inline struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static inline void commit(struct fixture *f, const char *group, int queue, int64_t offset)
{
    assert_int_equal(offsets_commit(f->offsets, s("T"), s(group), queue, offset), STATUS_OK);
}

static inline int64_t get(const struct fixture *f, const char *group, int queue)
{
    return offsets_get(f->offsets, s("T"), s(group), queue);
}

static inline void step(struct fixture *f)
{
    struct err err = {.text = ""};
    if (offsets_journal_step(f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static inline void save(struct fixture *f)
{
    struct err err = {.text = ""};
    if (offsets_persist(f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static inline int journal_count(const struct fixture *f)
{
    return file_exists(f->journals[0]) + file_exists(f->journals[1]);
}

/* The journal, when there is exactly one. */
static inline const char *journal(const struct fixture *f)
{
    assert_int_equal(journal_count(f), 1);
    return f->journals[file_exists(f->journals[1])];
}

static inline int64_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static inline void write_bytes(const char *path, const char *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

#endif
