/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariants: a bucket's struct lives until the bucket is removed or the files are closed, and only
 * buckets whose time is over are removed, which the appending thread does not touch any more. `end`
 * moves when the bytes are in the file. Where a write has failed the next one goes to the same
 * place.
 *
 * At most DESCRIPTORS_MAX files are open for appending; the one not used for longest gives way.
 */
#include "broker/state/timer_files.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define DESCRIPTORS_MAX 256
#define SCAN_BYTES (256 * 1024)

struct timer_bucket {
    int64_t number;
    int64_t found;   /* entries that the file had at the start */
    int64_t end;     /* entries that count */
    int64_t durable; /* of them */
    bool dirty;      /* has more than that */
    int fd;          /* for appending; the appending thread's, but for its closing with the file */
    uint64_t used;
};

static void files_lock(struct timer_files *files)
{
    CHECK(pthread_mutex_lock(&files->lock) == 0);
}

static void files_unlock(struct timer_files *files)
{
    CHECK(pthread_mutex_unlock(&files->lock) == 0);
}

static void path_of(const struct timer_files *files, int64_t bucket, char out[PATH_MAX])
{
    char name[TIMER_FILE_NAME_BYTES];
    timer_file_name(bucket, name);
    (void)snprintf(out, PATH_MAX, "%s/%s", files->folder, name);
}

/* Where the bucket is, or would be. Under the lock. */
static size_t place_of(const struct timer_files *files, int64_t number)
{
    size_t low = 0;
    for (size_t high = files->count; low < high;) {
        size_t middle = (low + high) / 2;
        if (files->buckets[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct timer_bucket *find(const struct timer_files *files, int64_t number)
{
    size_t place = place_of(files, number);
    return place < files->count && files->buckets[place]->number == number ? files->buckets[place]
                                                                           : NULL;
}

static struct timer_bucket *find_or_add(struct timer_files *files, int64_t number)
{
    size_t place = place_of(files, number);
    if (place < files->count && files->buckets[place]->number == number)
        return files->buckets[place];
    if (files->count == files->capacity) {
        files->capacity = files->capacity == 0 ? 64 : files->capacity * 2;
        files->buckets = xrealloc(files->buckets, files->capacity * sizeof(struct timer_bucket *));
    }
    memmove(&files->buckets[place + 1], &files->buckets[place],
            (files->count - place) * sizeof(struct timer_bucket *));
    struct timer_bucket *bucket = xcalloc(1, sizeof *bucket);
    bucket->number = number;
    bucket->fd = -1;
    files->buckets[place] = bucket;
    files->count++;
    return bucket;
}

static void close_bucket(struct timer_files *files, struct timer_bucket *bucket)
{
    if (bucket->fd == -1)
        return;
    (void)files->vfs->ops->close(files->vfs, bucket->fd);
    bucket->fd = -1;
    files->open--;
}

/* Under the lock. */
static void forget(struct timer_files *files, size_t place)
{
    close_bucket(files, files->buckets[place]);
    free(files->buckets[place]);
    files->count--;
    memmove(&files->buckets[place], &files->buckets[place + 1],
            (files->count - place) * sizeof(struct timer_bucket *));
}

/* --- opening --- */

static void found(void *ctx, const char *name, bool is_directory)
{
    struct timer_files *files = ctx;
    int64_t number;
    if (!is_directory && timer_file_parse(name, &number))
        (void)find_or_add(files, number);
}

static enum status look(struct timer_files *files, struct err *err)
{
    enum status status = files->vfs->ops->list(files->vfs, files->folder, found, files);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "the folder %s cannot be read", files->folder);
    for (size_t i = 0; i < files->count; i++) {
        char path[PATH_MAX];
        struct vfs_stat st;
        path_of(files, files->buckets[i]->number, path);
        if (files->vfs->ops->stat(files->vfs, path, &st) != STATUS_OK)
            return err_set_errno(err, STATUS_IO, "the timer file %s cannot be looked at", path);
        files->buckets[i]->found = st.size / TIMER_ENTRY_BYTES;
    }
    return STATUS_OK;
}

enum status timer_files_open(struct timer_files *files, const char *folder, struct vfs *vfs,
                             struct err *err)
{
    *files = (struct timer_files){.vfs = vfs, .folder = xstrdup(folder)};
    CHECK(pthread_mutex_init(&files->lock, NULL) == 0);
    files->scanned = xmalloc(SCAN_BYTES);
    return look(files, err);
}

void timer_files_close(struct timer_files *files)
{
    while (files->count > 0)
        forget(files, files->count - 1);
    free(files->buckets);
    free(files->folder);
    free(files->scanned);
    CHECK(pthread_mutex_destroy(&files->lock) == 0);
}

/* --- appending --- */

/* Under the lock. */
static void make_room(struct timer_files *files)
{
    struct timer_bucket *oldest = NULL;
    for (size_t i = 0; files->open >= DESCRIPTORS_MAX && i < files->count; i++) {
        struct timer_bucket *bucket = files->buckets[i];
        if (bucket->fd != -1 && (oldest == NULL || bucket->used < oldest->used))
            oldest = bucket;
    }
    if (oldest != NULL)
        close_bucket(files, oldest);
}

static enum status open_bucket(struct timer_files *files, struct timer_bucket *bucket)
{
    char path[PATH_MAX];
    if (bucket->fd != -1)
        return STATUS_OK;
    make_room(files);
    path_of(files, bucket->number, path);
    int flags = VFS_READ | VFS_WRITE | VFS_CREATE;
    enum status status = files->vfs->ops->open(files->vfs, path, flags, &bucket->fd);
    if (status == STATUS_NOT_FOUND) {
        status = vfs_make_directories(files->vfs, files->folder);
        if (status == STATUS_OK)
            status = files->vfs->ops->open(files->vfs, path, flags, &bucket->fd);
    }
    if (status == STATUS_OK)
        files->open++;
    else
        bucket->fd = -1;
    return status;
}

enum status timer_files_append(struct timer_files *files, int64_t number, struct slice entries)
{
    CHECK(entries.size % TIMER_ENTRY_BYTES == 0);
    files_lock(files);
    struct timer_bucket *bucket = find_or_add(files, number);
    bucket->used = ++files->clock;
    enum status status = open_bucket(files, bucket);
    int fd = bucket->fd;
    int64_t end = bucket->end;
    files_unlock(files);
    if (status != STATUS_OK)
        return status;
    struct iovec part = {(void *)(uintptr_t)entries.data, entries.size};
    status = files->vfs->ops->pwritev(files->vfs, fd, &part, 1, end * TIMER_ENTRY_BYTES);
    if (status != STATUS_OK)
        return status;
    files_lock(files);
    bucket->end = end + (int64_t)(entries.size / TIMER_ENTRY_BYTES);
    bucket->dirty = true;
    files_unlock(files);
    return STATUS_OK;
}

/* --- looking --- */

int64_t timer_files_next(struct timer_files *files, int64_t from)
{
    int64_t number = -1;
    files_lock(files);
    for (size_t i = place_of(files, from); i < files->count && number == -1; i++)
        if (files->buckets[i]->end > 0)
            number = files->buckets[i]->number;
    files_unlock(files);
    return number;
}

int64_t timer_files_previous(struct timer_files *files, int64_t from)
{
    int64_t number = -1;
    files_lock(files);
    for (size_t i = place_of(files, from + 1); i > 0 && number == -1; i--)
        if (files->buckets[i - 1]->end > 0)
            number = files->buckets[i - 1]->number;
    files_unlock(files);
    return number;
}

int64_t timer_files_count(struct timer_files *files, int64_t number)
{
    files_lock(files);
    const struct timer_bucket *bucket = find(files, number);
    int64_t count = bucket == NULL ? 0 : bucket->end;
    files_unlock(files);
    return count;
}

int64_t timer_files_total(struct timer_files *files)
{
    int64_t total = 0;
    files_lock(files);
    for (size_t i = 0; i < files->count; i++)
        total += files->buckets[i]->end;
    files_unlock(files);
    return total;
}

/* One piece of a scan. False: the end was reached, or `each` wants no more. */
static bool scan_piece(const struct timer_files *files, size_t bytes, int64_t number,
                       timer_files_each each, void *ctx)
{
    for (size_t at = 0; at + TIMER_ENTRY_BYTES <= bytes; at += TIMER_ENTRY_BYTES) {
        struct timer_entry entry;
        bool whole = timer_entry_decode(files->scanned + at, &entry) == STATUS_OK;
        if (!each(ctx, number++, whole ? &entry : NULL))
            return false;
    }
    return bytes == SCAN_BYTES;
}

enum status timer_files_scan(struct timer_files *files, int64_t number, int64_t from, int64_t to,
                             timer_files_each each, void *ctx)
{
    char path[PATH_MAX];
    int fd;
    path_of(files, number, path);
    if (from >= to)
        return STATUS_OK;
    enum status status = files->vfs->ops->open(files->vfs, path, VFS_READ, &fd);
    if (status != STATUS_OK)
        return status;
    (void)files->vfs->ops->advise(files->vfs, fd, 0, 0, VFS_ADVICE_SEQUENTIAL);
    for (bool more = true; more && from < to;) {
        size_t size = SCAN_BYTES;
        size_t got = 0;
        if ((to - from) * TIMER_ENTRY_BYTES < SCAN_BYTES)
            size = (size_t)(to - from) * TIMER_ENTRY_BYTES;
        status = files->vfs->ops->pread(files->vfs, fd, files->scanned, size,
                                        from * TIMER_ENTRY_BYTES, &got);
        if (status != STATUS_OK)
            break;
        more = scan_piece(files, got, from, each, ctx);
        from += SCAN_BYTES / TIMER_ENTRY_BYTES;
    }
    (void)files->vfs->ops->close(files->vfs, fd);
    return status;
}

bool timer_files_restore(struct timer_files *files, int64_t number, int64_t entries)
{
    files_lock(files);
    struct timer_bucket *bucket = find(files, number);
    bool there = bucket != NULL && entries <= bucket->found;
    if (there)
        bucket->end = bucket->durable = entries;
    files_unlock(files);
    return there;
}

void timer_files_restore_all(struct timer_files *files)
{
    files_lock(files);
    for (size_t i = 0; i < files->count; i++)
        files->buckets[i]->end = files->buckets[i]->found;
    files_unlock(files);
}

void timer_files_list(struct timer_files *files,
                      void (*each)(void *ctx, int64_t bucket, int64_t durable), void *ctx)
{
    files_lock(files);
    for (size_t i = 0; i < files->count; i++)
        if (files->buckets[i]->durable > 0)
            each(ctx, files->buckets[i]->number, files->buckets[i]->durable);
    files_unlock(files);
}

/* --- syncing --- */

/* The next dirty bucket at or behind `from`, which is clean from now on; -1 at the end. */
static int64_t take_dirty(struct timer_files *files, int64_t from, int64_t *end)
{
    int64_t number = -1;
    files_lock(files);
    for (size_t i = place_of(files, from); i < files->count && number == -1; i++) {
        struct timer_bucket *bucket = files->buckets[i];
        if (!bucket->dirty)
            continue;
        bucket->dirty = false;
        number = bucket->number;
        *end = bucket->end;
    }
    files_unlock(files);
    return number;
}

static enum status sync_file(struct timer_files *files, int64_t number)
{
    char path[PATH_MAX];
    int fd;
    path_of(files, number, path);
    enum status status = files->vfs->ops->open(files->vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status == STATUS_NOT_FOUND) /* put aside meanwhile */
        return STATUS_OK;
    if (status != STATUS_OK)
        return STATUS_BUSY;
    status = files->vfs->ops->fdatasync(files->vfs, fd);
    (void)files->vfs->ops->close(files->vfs, fd);
    return status;
}

static void sync_end(struct timer_files *files, int64_t number, int64_t end, bool synced)
{
    files_lock(files);
    struct timer_bucket *bucket = find(files, number);
    if (bucket != NULL && !synced)
        bucket->dirty = true;
    else if (bucket != NULL && end <= bucket->end)
        bucket->durable = end;
    files_unlock(files);
}

enum status timer_files_sync(struct timer_files *files)
{
    int64_t end = 0;
    bool any = false;
    for (int64_t number = 0; (number = take_dirty(files, number, &end)) != -1; number++) {
        enum status status = sync_file(files, number);
        sync_end(files, number, end, status == STATUS_OK);
        if (status != STATUS_OK)
            return status;
        any = true;
    }
    return any ? files->vfs->ops->sync_directory(files->vfs, files->folder) : STATUS_OK;
}

/* --- removing --- */

void timer_files_remove_before(struct timer_files *files, int64_t number)
{
    for (bool more = true; more;) {
        char path[PATH_MAX];
        files_lock(files);
        more = files->count > 0 && files->buckets[0]->number < number;
        if (more) {
            path_of(files, files->buckets[0]->number, path);
            forget(files, 0);
        }
        files_unlock(files);
        if (more && files->vfs->ops->unlink(files->vfs, path) != STATUS_OK)
            log_warn("state", "an old timer file cannot be removed", "file=\"%s\"", path);
    }
}

void timer_files_put_aside(struct timer_files *files, int64_t number)
{
    char path[PATH_MAX];
    char aside[PATH_MAX + 16];
    path_of(files, number, path);
    (void)snprintf(aside, sizeof aside, "%s.damaged", path);
    files_lock(files);
    size_t place = place_of(files, number);
    if (place < files->count && files->buckets[place]->number == number)
        forget(files, place);
    files_unlock(files);
    if (files->vfs->ops->rename(files->vfs, path, aside) != STATUS_OK)
        log_error("state", "a damaged timer file cannot be put aside", "file=\"%s\"", path);
}
