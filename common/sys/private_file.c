/* SPDX-License-Identifier: Apache-2.0
 *
 * The new file is made for its owner alone, and gets the old one's permissions when it is written.
 * Where the file system can do so the former content is not copied: path.bak becomes another name
 * of the old file, which keeps its permissions and its owner.
 */
#include "common/sys/private_file.h"

#include "common/sys/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX_BYTES 8 /* ".tmp", ".bak" */

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

static enum status fail(struct err *err, const char *path, const char *what)
{
    return err_set_errno(err, errno == ENOSPC || errno == EDQUOT ? STATUS_FULL : STATUS_IO, "%s %s",
                         path, what);
}

/* A file with the permissions of another, and its owner where that is possible. */
static enum status write_like(const char *path, const struct stat *like, const void *data,
                              size_t size, struct err *err)
{
    (void)unlink(path); /* what a crash has left, perhaps with other permissions */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd == -1)
        return fail(err, path, "could not be made");
    enum status status = STATUS_OK;
    /* Another owner's file stays his where that is possible; it need not be. */
    if (like->st_uid != geteuid() || like->st_gid != getegid())
        (void)!fchown(fd, like->st_uid, like->st_gid);
    if (!write_all(fd, data, size) || fchmod(fd, like->st_mode & 0777) != 0 || fsync(fd) != 0)
        status = fail(err, path, "could not be written");
    if (close(fd) != 0 && status == STATUS_OK)
        status = fail(err, path, "could not be written");
    if (status != STATUS_OK)
        (void)unlink(path);
    return status;
}

#define FORMER_BYTES_MAX ((size_t)64 * 1024 * 1024)

static enum status copy_former(const char *real, const char *backup, const struct stat *like,
                               struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    if (vfs_read_file(vfs_posix(), real, FORMER_BYTES_MAX, &data, &size) != STATUS_OK)
        return fail(err, real, "could not be read");
    enum status status = write_like(backup, like, data, size, err);
    free(data);
    return status;
}

/* The former content gets its second name; a file system without such gets a copy. */
static enum status keep_former(const char *real, const char *backup, const struct stat *like,
                               struct err *err)
{
    if ((unlink(backup) == 0 || errno == ENOENT) && link(real, backup) == 0)
        return STATUS_OK;
    if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK)
        return copy_former(real, backup, like, err);
    return fail(err, backup, "could not be made, which would keep the former content");
}

enum status private_file_replace(const char *path, const void *data, size_t size, struct err *err)
{
    char real[PATH_MAX];
    char temporary[PATH_MAX + SUFFIX_BYTES];
    char backup[PATH_MAX + SUFFIX_BYTES];
    struct stat like;
    if (realpath(path, real) == NULL || stat(real, &like) != 0)
        return fail(err, path, "cannot be found");
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", real);
    (void)snprintf(backup, sizeof backup, "%s.bak", real);
    enum status status = write_like(temporary, &like, data, size, err);
    if (status != STATUS_OK)
        return status;
    status = keep_former(real, backup, &like, err);
    if (status == STATUS_OK && rename(temporary, real) != 0)
        status = fail(err, real, "could not be replaced");
    if (status != STATUS_OK) {
        (void)unlink(temporary);
        return status;
    }
    *strrchr(real, '/') = '\0'; /* its folder, of an absolute path */
    if (vfs_posix()->ops->sync_directory(vfs_posix(), real[0] == '\0' ? "/" : real) != STATUS_OK)
        return fail(err, path, "was replaced, but the folder could not be synced");
    return STATUS_OK;
}
