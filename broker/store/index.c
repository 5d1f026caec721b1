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

static enum status load_one(struct index *index, const char *name, struct index_file **out,
                            struct err *err)
{
    char path[PATH_MAX];
    file_path(index, name, path);
    struct vfs_stat st;
    enum status status = index->vfs->ops->stat(index->vfs, path, &st);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot examine %s", path);
    size_t wanted = index_file_bytes(index->slots, index->entries);
    if ((uint64_t)st.size != wanted)
        return err_set(
            err, STATUS_CORRUPT,
            "%s has %lld bytes, maxHashSlotNum and maxIndexNum say %zu: set them to what "
            "the index was written with, or delete %s to search only newer messages "
            "by key",
            path, (long long)st.size, wanted, index->directory);
    int fd;
    status = index->vfs->ops->open(index->vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot open %s", path);
    status = file_map(index, name, fd, out);
    if (status != STATUS_OK)
        (void)err_set_errno(err, STATUS_IO, "cannot map %s", path);
    (void)index->vfs->ops->close(index->vfs, fd);
    return status;
}

static void delete_file(const struct index *index, const char *name)
{
    char path[PATH_MAX];
    file_path(index, name, path);
    if (index->vfs->ops->unlink(index->vfs, path) != STATUS_OK)
        log_warn("store", "cannot delete an index file", "path=%s errno=%d", path, errno);
}

/* Decide about one loaded file. False: it must go, and so must those behind it. */
static bool accept_file(struct index *index, struct index_file *file, bool repair,
                        int64_t synced_ms, int64_t log_end, int64_t *resume_pos)
{
    struct index_header header = index_header_read(&file->view);
    if (!index_header_sane(&file->view)) {
        log_warn("store", "an index file is damaged and was removed", "file=%s/%s",
                 index->directory, file->name);
        if (index->last_pos >= 0)
            *resume_pos = index->last_pos + 1;
        return false;
    }
    if (header.next_entry == 1)
        return true;
    bool behind_log = header.end_pos >= log_end;
    if (behind_log || (repair && header.end_timestamp_ms > synced_ms)) {
        bool any = index_repair(&file->view, log_end, resume_pos);
        atomic_store(&file->dirty, true);
        log_info("store", "index file repaired", "file=%s/%s from_pos=%lld", index->directory,
                 file->name, (long long)*resume_pos);
        if (!any)
            return true;
        header = index_header_read(&file->view);
    }
    index->last_pos = header.end_pos;
    return true;
}

enum status index_load(struct index *index, bool repair, int64_t synced_ms, int64_t log_end,
                       int64_t *resume_pos, struct err *err)
{
    *resume_pos = INT64_MAX;
    struct found_files found = {.index = index};
    enum status status = index->vfs->ops->list(index->vfs, index->directory, found_one, &found);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        (void)err_set_errno(err, status, "cannot list %s", index->directory);
    for (size_t i = 0; i < found.count && status == STATUS_OK; i++) {
        struct index_file *file;
        /* Behind a repaired file nothing can be right: it is inserted again. */
        if (*resume_pos != INT64_MAX) {
            delete_file(index, found.names[i]);
            continue;
        }
        status = load_one(index, found.names[i], &file, err);
        if (status != STATUS_OK)
            break;
        if (accept_file(index, file, repair, synced_ms, log_end, resume_pos)) {
            list_append(index, file);
            index->current = file;
        } else {
            file_drop(file);
            delete_file(index, found.names[i]);
        }
    }
    free(found.names);
    if (index->current != NULL && index_is_full(&index->current->view))
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
    enum status status = vfs->ops->mkdirs(vfs, index->directory);
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
    if (status == STATUS_OK)
        status = file_map(index, name, fd, &file);
    (void)vfs->ops->close(vfs, fd);
    if (status != STATUS_OK) {
        (void)vfs->ops->unlink(vfs, path);
        return status;
    }
    index_clear(&file->view);
    list_append(index, file);
    index->current = file;
    return STATUS_OK;
}

enum status index_put(struct index *index, const int32_t *hashes, size_t count, int64_t pos,
                      int64_t timestamp_ms)
{
    if (count == 0 || pos <= index->last_pos)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        if (index->current == NULL || index_is_full(&index->current->view)) {
            enum status status = create_file(index);
            if (status != STATUS_OK)
                return status;
        }
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

enum status index_sync(struct index *index, int64_t *synced_ms)
{
    size_t count;
    struct index_file **held = files_hold(index, &count);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        struct index_file *file = held[i];
        int64_t end_ms = index_header_read(&file->view).end_timestamp_ms;
        if (status == STATUS_OK && atomic_exchange(&file->dirty, false)) {
            status = file->vfs->ops->sync_map(
                file->vfs, file->view.data, index_file_bytes(file->view.slots, file->view.entries));
            if (i + 1 == count || status != STATUS_OK)
                (void)index->vfs->ops->sync_directory(index->vfs, index->directory);
        }
        if (i == 0 && status == STATUS_OK && end_ms > 0)
            *synced_ms = end_ms;
        file_drop(file);
    }
    free(held);
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
