/* SPDX-License-Identifier: Apache-2.0
 *
 * Source of the rules: RocketMQ store/.../index/IndexService.java. Differences: files are synced
 * periodically and repaired instead of deleted after a crash.
 */
#include "broker/store/index.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_MS 1000

void index_init(struct index *index, const char *root, int32_t slots, int32_t entries,
                struct vfs *vfs, const struct clock *clock)
{
    memset(index, 0, sizeof *index);
    index->vfs = vfs;
    index->clock = clock;
    index->slots = slots;
    index->entries = entries;
    index->last_pos = -1;
    size_t bytes = strlen(root) + sizeof "/index";
    index->directory = xmalloc(bytes);
    (void)snprintf(index->directory, bytes, "%s/index", root);
    CHECK(pthread_mutex_init(&index->lock, NULL) == 0);
}

static void file_drop(struct index_file *file)
{
    if (atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) > 1)
        return;
    (void)file->vfs->ops->unmap(file->vfs, file->view.data,
                                index_file_bytes(file->view.slots, file->view.entries));
    free(file);
}

void index_release(struct index *index)
{
    for (size_t i = 0; i < index->file_count; i++)
        file_drop(index->files[i]);
    free(index->files);
    free(index->directory);
    (void)pthread_mutex_destroy(&index->lock);
}

static void file_path(const struct index *index, const char *name, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", index->directory, name);
}

static enum status file_map(struct index *index, const char *name, int fd, struct index_file **out)
{
    void *memory;
    enum status status = index->vfs->ops->map(
        index->vfs, fd, index_file_bytes(index->slots, index->entries), true, &memory);
    if (status != STATUS_OK)
        return status;
    struct index_file *file = xcalloc(1, sizeof *file);
    file->vfs = index->vfs;
    file->view = (struct index_view){memory, index->slots, index->entries};
    (void)snprintf(file->name, sizeof file->name, "%s", name);
    atomic_init(&file->references, 1);
    *out = file;
    return STATUS_OK;
}

static void list_append(struct index *index, struct index_file *file)
{
    (void)pthread_mutex_lock(&index->lock);
    if (index->file_count == index->file_capacity) {
        index->file_capacity = index->file_capacity == 0 ? 8 : index->file_capacity * 2;
        index->files = xrealloc(index->files, index->file_capacity * sizeof(struct index_file *));
    }
    index->files[index->file_count++] = file;
    (void)pthread_mutex_unlock(&index->lock);
}

/* --- load --- */

struct found_files {
    struct index *index;
    char (*names)[INDEX_NAME_BYTES];
    size_t count;
};

static void found_one(void *ctx, const char *name, bool is_directory)
{
    struct found_files *found = ctx;
    if (is_directory || strlen(name) != INDEX_NAME_BYTES - 1 ||
        strspn(name, "0123456789") != INDEX_NAME_BYTES - 1) {
        log_warn("store", "not an index file, left alone", "path=%s/%s", found->index->directory,
                 name);
        return;
    }
    found->names = xrealloc(found->names, (found->count + 1) * sizeof *found->names);
    memcpy(found->names[found->count++], name, INDEX_NAME_BYTES);
}

/* A file of the wrong size is refused, unless it is the last and has no byte in it: then a crash
 * came while it was made. *unfinished: so it is. */
static enum status check_size(const struct index *index, const char *path, int fd, bool last,
                              bool *unfinished, struct err *err)
{
    struct vfs *vfs = index->vfs;
    struct vfs_stat st;
    int64_t end = 0;
    int64_t wanted = (int64_t)index_file_bytes(index->slots, index->entries);
    enum status status = vfs->ops->stat(vfs, path, &st);
    if (status == STATUS_OK && st.size != wanted && last)
        status = vfs_data_end(vfs, fd, 0, st.size, &end);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot examine %s", path);
    *unfinished = st.size != wanted && last && end == 0;
    if (st.size == wanted || *unfinished)
        return STATUS_OK;
    return err_set(err, STATUS_CORRUPT,
                   "%s has %lld bytes, maxHashSlotNum and maxIndexNum say %lld: set them to what "
                   "the index was written with, or delete %s to search only newer messages by key",
                   path, (long long)st.size, (long long)wanted, index->directory);
}

/* Open one file. *out is NULL when it is an unfinished one. */
static enum status load_one(struct index *index, const char *name, bool last,
                            struct index_file **out, struct err *err)
{
    char path[PATH_MAX];
    file_path(index, name, path);
    int fd;
    *out = NULL;
    enum status status = index->vfs->ops->open(index->vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot open %s", path);
    bool unfinished = false;
    status = check_size(index, path, fd, last, &unfinished, err);
    if (status == STATUS_OK && !unfinished) {
        if (index->doubt_page_cache)
            (void)index->vfs->ops->advise(index->vfs, fd, 0, 0, VFS_ADVICE_DONT_NEED);
        status = file_map(index, name, fd, out);
        if (status != STATUS_OK)
            (void)err_set_errno(err, STATUS_IO, "cannot map %s", path);
    }
    (void)index->vfs->ops->close(index->vfs, fd);
    return status;
}

/* Reserve the blocks of a file that is going to be written: 4.9.2 makes them sparse. */
static bool make_writable(const struct index *index, const char *name)
{
    char path[PATH_MAX];
    file_path(index, name, path);
    int fd;
    enum status status = index->vfs->ops->open(index->vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status == STATUS_OK) {
        status = index->vfs->ops->allocate(index->vfs, fd,
                                           (int64_t)index_file_bytes(index->slots, index->entries));
        int kept = errno;
        (void)index->vfs->ops->close(index->vfs, fd);
        errno = kept;
    }
    if (status != STATUS_OK)
        log_warn("store", "an index file cannot be written; free disk space",
                 "path=%s status=%s errno=%d", path, status_name(status), errno);
    return status == STATUS_OK;
}

/* Make everything behind the last entry zero: what stands there from before a repair would make
 * sense again beside new entries of which a crash has lost some. */
static bool clear_tail(const struct index *index, const struct index_file *file)
{
    char path[PATH_MAX];
    file_path(index, file->name, path);
    struct vfs *vfs = index->vfs;
    int64_t from =
        (int64_t)index_file_bytes(index->slots, index_header_read(&file->view).next_entry);
    int64_t end = (int64_t)index_file_bytes(index->slots, index->entries);
    int fd;
    enum status status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status == STATUS_OK) {
        status = vfs->ops->zero(vfs, fd, from, end - from, true);
        (void)vfs->ops->close(vfs, fd);
    }
    return status == STATUS_OK;
}

static void delete_file(const struct index *index, const char *name)
{
    char path[PATH_MAX];
    file_path(index, name, path);
    if (index->vfs->ops->unlink(index->vfs, path) != STATUS_OK)
        log_warn("store", "cannot delete an index file", "path=%s errno=%d", path, errno);
}

struct index_load {
    const struct index_durable *durable;
    int64_t log_end;
    int64_t *resume_pos;
    bool broken; /* out: behind a file that was repaired or removed nothing can be right */
};

/* A file whose header never reached the disk: all of it came after the checkpoint. */
static bool never_synced(const struct index_header *header)
{
    return header->next_entry == 0 && header->end_timestamp_ms == 0 && header->end_pos == 0;
}

/* Where a file has entries that are not durable, pages of it may be of any age between the last
 * sync and now: the header may say that it is full and entries be missing, or slots lead to entries
 * that the header does not know of. A file that is not full is one that has grown since, as far as
 * we can tell. */
static bool needs_repair(const struct index_view *view, const struct index_load *load)
{
    const struct index_durable *durable = load->durable;
    struct index_header header = index_header_read(view);
    if (header.end_pos >= load->log_end)
        return true;
    if (durable->all)
        return false;
    if (durable->pos != -1)
        return header.end_pos >= durable->pos || !index_is_full(view);
    return header.end_timestamp_ms > durable->timestamp_ms ||
           (header.end_timestamp_ms == durable->timestamp_ms && !index_is_full(view));
}

/* Decide about one loaded file. False: it must go, and so must those behind it. */
static bool accept_file(struct index *index, struct index_file *file, struct index_load *load)
{
    struct index_header header = index_header_read(&file->view);
    bool sane = index_header_sane(&file->view);
    /* A file without entries was made just now, or lost them to a repair that a crash ended. */
    bool used = header.next_entry > 1 || header.end_timestamp_ms > 0;
    bool repair = sane && used && needs_repair(&file->view, load);
    load->broken = !sane || repair;
    if (repair && make_writable(index, file->name)) {
        (void)index_repair(&file->view, load->log_end, load->resume_pos);
        atomic_store(&file->dirty, true);
        log_info("store", "index file repaired", "file=%s/%s from_pos=%lld", index->directory,
                 file->name, (long long)*load->resume_pos);
        sane = clear_tail(index, file);
        repair = false;
    }
    if (!sane || repair) {
        log_warn("store", "an index file is damaged and was removed", "file=%s/%s",
                 index->directory, file->name);
        if (index->last_pos >= 0)
            *load->resume_pos = index->last_pos; /* a record begins there; it is passed over */
        else if (!never_synced(&header))
            *load->resume_pos = 0;
        return false;
    }
    header = index_header_read(&file->view);
    if (header.next_entry > 1)
        index->last_pos = header.end_pos;
    return true;
}

/* Behind a file that was repaired or must go nothing can be right. Those files go first and for
 * good: should the power fail meanwhile, and one of them be there without those before it, it would
 * be taken for the index of all that is older. */
static enum status delete_behind(struct index *index, const struct found_files *found, size_t first,
                                 struct err *err)
{
    for (size_t i = first; i < found->count; i++)
        delete_file(index, found->names[i]);
    if (index->vfs->ops->sync_directory(index->vfs, index->directory) == STATUS_OK)
        return STATUS_OK;
    return err_set_errno(err, STATUS_IO, "cannot sync the directory %s", index->directory);
}

static enum status load_files(struct index *index, const struct found_files *found,
                              struct index_load *load, struct err *err)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < found->count && status == STATUS_OK && !load->broken; i++) {
        const char *name = found->names[i];
        struct index_file *file;
        status = load_one(index, name, i + 1 == found->count, &file, err);
        if (status != STATUS_OK)
            break;
        bool accepted = file != NULL && accept_file(index, file, load);
        if (load->broken)
            status = delete_behind(index, found, i + 1, err);
        if (accepted) {
            list_append(index, file);
            index->current = file;
            continue;
        }
        if (file != NULL)
            file_drop(file);
        if (status == STATUS_OK)
            delete_file(index, name);
    }
    return status;
}

enum status index_load(struct index *index, const struct index_durable *durable, int64_t log_end,
                       int64_t *resume_pos, struct err *err)
{
    *resume_pos = INT64_MAX;
    struct found_files found = {.index = index};
    enum status status = index->vfs->ops->list(index->vfs, index->directory, found_one, &found);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        (void)err_set_errno(err, status, "cannot list %s", index->directory);
    struct index_load load = {durable, log_end, resume_pos, false};
    if (status == STATUS_OK)
        status = load_files(index, &found, &load, err);
    free(found.names);
    /* What was deleted must not come back behind a new file. */
    if (status == STATUS_OK && load.broken) {
        status = index->vfs->ops->sync_directory(index->vfs, index->directory);
        if (status != STATUS_OK)
            (void)err_set_errno(err, status, "cannot sync the directory %s", index->directory);
    }
    struct index_file *current = index->current;
    if (current != NULL && (index_is_full(&current->view) || !make_writable(index, current->name)))
        index->current = NULL;
    return status;
}

/* --- insert --- */

/* Names sort by age. When the clock stands still or steps back, the number is counted on. */
static void next_name(struct index *index, char out[INDEX_NAME_BYTES])
{
    int64_t now_ms = clock_wall_ms(index->clock);
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    (void)localtime_r(&seconds, &tm);
    char text[64];
    (void)snprintf(text, sizeof text, "%04d%02d%02d%02d%02d%02d%03d", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (int)(now_ms % 1000));
    memcpy(out, text, INDEX_NAME_BYTES - 1);
    out[INDEX_NAME_BYTES - 1] = '\0';
    char last[INDEX_NAME_BYTES] = "";
    (void)pthread_mutex_lock(&index->lock);
    if (index->file_count > 0)
        memcpy(last, index->files[index->file_count - 1]->name, sizeof last);
    (void)pthread_mutex_unlock(&index->lock);
    if (strcmp(out, last) > 0)
        return;
    memcpy(out, last, INDEX_NAME_BYTES);
    for (size_t i = INDEX_NAME_BYTES - 1; i-- > 0;) {
        if (out[i] != '9') {
            out[i]++;
            break;
        }
        out[i] = '0';
    }
}

static enum status create_file(struct index *index)
{
    struct vfs *vfs = index->vfs;
    enum status status = vfs_make_directories(vfs, index->directory);
    if (status != STATUS_OK)
        return status;
    char name[INDEX_NAME_BYTES];
    char path[PATH_MAX];
    next_name(index, name);
    file_path(index, name, path);
    int fd;
    status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &fd);
    if (status != STATUS_OK)
        return status;
    struct index_file *file = NULL;
    status = vfs->ops->allocate(vfs, fd, (int64_t)index_file_bytes(index->slots, index->entries));
    /* Its size and name, before the next one is begun: a power cut must not leave a gap. */
    if (status == STATUS_OK)
        status = vfs->ops->fdatasync(vfs, fd);
    if (status == STATUS_OK)
        status = vfs->ops->sync_directory(vfs, index->directory);
    if (status == STATUS_OK)
        status = file_map(index, name, fd, &file);
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    if (status != STATUS_OK) {
        (void)vfs->ops->unlink(vfs, path);
        errno = kept;
        return status;
    }
    index_clear(&file->view);
    list_append(index, file);
    index->current = file;
    return STATUS_OK;
}

/* Room for one more entry. After a failure the next attempt waits: making a file is expensive. */
static enum status ensure_room(struct index *index)
{
    if (index->current != NULL && !index_is_full(&index->current->view))
        return STATUS_OK;
    int64_t now_ms = clock_monotonic_ms(index->clock);
    if (now_ms < index->retry_ms)
        return STATUS_FULL;
    enum status status = create_file(index);
    index->retry_ms = status == STATUS_OK ? 0 : now_ms + RETRY_MS;
    return status;
}

enum status index_put(struct index *index, const int32_t *hashes, size_t count, int64_t pos,
                      int64_t timestamp_ms)
{
    if (count == 0 || pos <= index->last_pos)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        enum status status = ensure_room(index);
        if (status != STATUS_OK)
            return status;
        index_insert(&index->current->view, hashes[i], pos, timestamp_ms);
        if (!atomic_load_explicit(&index->current->dirty, memory_order_relaxed))
            atomic_store(&index->current->dirty, true);
    }
    index->last_pos = pos;
    return STATUS_OK;
}

/* --- the list, from any thread --- */

/* References to all files, newest first; the caller drops them and frees the array. */
static struct index_file **files_hold(struct index *index, size_t *count)
{
    (void)pthread_mutex_lock(&index->lock);
    *count = index->file_count;
    struct index_file **held = xmalloc((*count + 1) * sizeof(struct index_file *));
    for (size_t i = 0; i < *count; i++) {
        held[i] = index->files[*count - 1 - i];
        atomic_fetch_add_explicit(&held[i]->references, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&index->lock);
    return held;
}

/* Sync one file if it is dirty; *any: it was. */
static enum status file_sync(struct index_file *file, bool *any)
{
    if (!atomic_exchange(&file->dirty, false))
        return STATUS_OK;
    *any = true;
    enum status status = file->vfs->ops->sync_map(
        file->vfs, file->view.data, index_file_bytes(file->view.slots, file->view.entries));
    if (status != STATUS_OK)
        atomic_store(&file->dirty, true);
    return status;
}

int64_t index_growing_since(struct index *index)
{
    int64_t since_ms = INT64_MAX;
    (void)pthread_mutex_lock(&index->lock);
    if (index->file_count > 0) {
        const struct index_view *view = &index->files[index->file_count - 1]->view;
        struct index_header header = index_header_read(view);
        if (header.next_entry > 1 && !index_is_full(view))
            since_ms = header.begin_timestamp_ms;
    }
    (void)pthread_mutex_unlock(&index->lock);
    return since_ms;
}

enum status index_sync(struct index *index, int64_t *synced_ms)
{
    size_t count;
    struct index_file **held = files_hold(index, &count);
    enum status status = STATUS_OK;
    bool any = false;
    int64_t end_ms = count == 0 ? 0 : index_header_read(&held[0]->view).end_timestamp_ms;
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK)
            status = file_sync(held[i], &any);
        int kept = errno;
        file_drop(held[i]);
        errno = kept;
    }
    free(held);
    index->names_unsynced |= any;
    if (status == STATUS_OK && index->names_unsynced)
        status = index->vfs->ops->sync_directory(index->vfs, index->directory);
    if (status == STATUS_OK)
        index->names_unsynced = false;
    if (status == STATUS_OK && end_ms > 0)
        *synced_ms = end_ms;
    return status;
}

void index_expire(struct index *index, int64_t min_pos)
{
    for (;;) {
        struct index_file *first = NULL;
        (void)pthread_mutex_lock(&index->lock);
        if (index->file_count > 1 && index_header_read(&index->files[0]->view).end_pos < min_pos) {
            first = index->files[0];
            index->file_count--;
            memmove(index->files, index->files + 1,
                    index->file_count * sizeof(struct index_file *));
        }
        (void)pthread_mutex_unlock(&index->lock);
        if (first == NULL)
            return;
        delete_file(index, first->name);
        file_drop(first);
    }
}

static bool time_matches(const struct index_header *header, int64_t begin_ms, int64_t end_ms)
{
    return begin_ms <= header->end_timestamp_ms && end_ms >= header->begin_timestamp_ms;
}

int index_query(struct index *index, int32_t key_hash, int max_count, int64_t begin_ms,
                int64_t end_ms, int64_t *out, int64_t *last_timestamp_ms, int64_t *last_pos)
{
    size_t files;
    struct index_file **held = files_hold(index, &files);
    int count = 0;
    bool done = false;
    *last_timestamp_ms = 0;
    *last_pos = 0;
    for (size_t i = 0; i < files; i++) {
        struct index_header header = index_header_read(&held[i]->view);
        if (i == 0) {
            *last_timestamp_ms = header.end_timestamp_ms;
            *last_pos = header.end_pos;
        }
        if (!done && time_matches(&header, begin_ms, end_ms))
            count += index_find(&held[i]->view, key_hash, begin_ms, end_ms, out + count,
                                max_count - count);
        done = done || count >= max_count || header.begin_timestamp_ms < begin_ms;
        file_drop(held[i]);
    }
    free(held);
    return count;
}
