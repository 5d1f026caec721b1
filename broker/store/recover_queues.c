/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/recover_queues.h"

#include "broker/store/consumequeue_recover.h"
#include "broker/store/segment.h"
#include "broker/store/store_internal.h"
#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The directories in a directory, or the files, as NUL-ended names one behind the other. */
struct names {
    struct buf text;
    bool directories;
};

static void names_add(void *ctx, const char *name, bool is_directory)
{
    struct names *names = ctx;
    if (is_directory == names->directories)
        buf_append(&names->text, name, strlen(name) + 1);
}

static enum status names_list(struct store *store, const char *path, bool directories,
                              struct names *names, struct err *err)
{
    *names = (struct names){BUF_EMPTY, directories};
    enum status status = store->vfs->ops->list(store->vfs, path, names_add, names);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        (void)err_set_errno(err, status, "cannot list %s", path);
    return status;
}

/* Walk: start with NULL; NULL at the end. */
static const char *names_next(const struct names *names, const char *previous)
{
    const char *begin = (const char *)names->text.data;
    const char *next = previous == NULL ? begin : previous + strlen(previous) + 1;
    return next == NULL || next == begin + names->text.size ? NULL : next;
}

struct loader {
    struct store *store;
    int64_t cut_pos;
    bool wipe;
    bool only_look;
    bool any;
    struct queues_found *found;
};

/* The newest run of files without a gap. */
static enum status adopt(struct loader *loader, struct queue *queue, const char *path,
                         const struct names *files, struct err *err)
{
    int64_t file_bytes = loader->store->options.queue_file_bytes;
    int64_t first = 0;
    size_t count = 0;
    for (const char *name = names_next(files, NULL); name != NULL; name = names_next(files, name)) {
        int64_t base;
        if (!segment_name_parse(name, &base)) {
            log_warn("store", "not a consume queue file, left alone", "path=%s/%s", path, name);
            continue;
        }
        if (base % file_bytes != 0)
            return err_set(err, STATUS_CORRUPT,
                           "%s/%s does not start at a multiple of mappedFileSizeConsumeQueue "
                           "(%lld): set that option to the size the files were written with, or "
                           "delete %s/consumequeue to have it built again from the commit log",
                           path, name, (long long)file_bytes, loader->store->options.root);
        if (count > 0 && base / file_bytes != first + (int64_t)count) {
            log_error("store",
                      "consume queue files are missing; older entries are left out, and the files "
                      "with them removed",
                      "path=%s before=%s", path, name);
            count = 0;
        }
        if (count == 0)
            first = base / file_bytes;
        count++;
    }
    queue_adopt_files(queue, first, count);
    return STATUS_OK;
}

/* Files before a gap: a power cut has brought them back, or those behind them are lost. */
static enum status remove_strays(struct queue *queue, const struct names *files, struct err *err)
{
    int64_t file_bytes = queue->store->options.queue_file_bytes;
    enum status status = STATUS_OK;
    for (const char *name = names_next(files, NULL); name != NULL && status == STATUS_OK;
         name = names_next(files, name)) {
        int64_t base;
        if (segment_name_parse(name, &base) && base / file_bytes < queue->first_file)
            status = queue_remove_stray(queue, base / file_bytes, err);
    }
    return status;
}

static enum status load_queue(struct loader *loader, struct slice topic, int32_t id,
                              const char *path, const struct names *files, struct err *err)
{
    struct store *store = loader->store;
    struct queue *queue = queue_table_find(&store->queues, store, topic, id, true);
    if (queue == NULL) {
        log_warn("store", "not a consume queue, left alone", "path=%s", path);
        return STATUS_OK;
    }
    enum status status = adopt(loader, queue, path, files, err);
    if (status == STATUS_OK)
        status = queue_recover(queue, loader->cut_pos, loader->wipe, err);
    /* The log may have lost more than a clean stop allows. */
    int64_t log_end = atomic_load(&store->log.appended_pos);
    if (status == STATUS_OK && !loader->wipe && queue->last_end_pos > log_end)
        status = queue_recover(queue, log_end, true, err);
    if (status == STATUS_OK)
        status = remove_strays(queue, files, err);
    if (status != STATUS_OK)
        return status;
    queue_ends_move(&loader->found->ends, queue->ends_name, 0, queue->written_offset);
    if (queue->last_end_pos > loader->found->last_end_pos)
        loader->found->last_end_pos = queue->last_end_pos;
    return STATUS_OK;
}

static enum status load_topic(struct loader *loader, const char *topic, struct err *err)
{
    struct store *store = loader->store;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/consumequeue/%s", store->options.root, topic);
    struct names ids;
    enum status status = names_list(store, path, true, &ids, err);
    for (const char *name = names_next(&ids, NULL); name != NULL && status == STATUS_OK;
         name = names_next(&ids, name)) {
        int32_t id;
        (void)snprintf(path, sizeof path, "%s/consumequeue/%s/%s", store->options.root, topic,
                       name);
        if (!parse_i32(slice_of_cstr(name), &id)) {
            log_warn("store", "not a consume queue, left alone", "path=%s", path);
            continue;
        }
        struct names files;
        status = names_list(store, path, false, &files, err);
        if (status == STATUS_OK && files.text.size > 0) {
            loader->any = true;
            if (!loader->only_look)
                status = load_queue(loader, slice_of_cstr(topic), id, path, &files, err);
        }
        buf_release(&files.text);
    }
    buf_release(&ids.text);
    return status;
}

static enum status load_all(struct loader *loader, struct err *err)
{
    struct store *store = loader->store;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/consumequeue", store->options.root);
    struct names topics;
    enum status status = names_list(store, path, true, &topics, err);
    for (const char *name = names_next(&topics, NULL); name != NULL && status == STATUS_OK;
         name = names_next(&topics, name))
        status = load_topic(loader, name, err);
    buf_release(&topics.text);
    return status;
}

enum status queues_exist(struct store *store, bool *any, struct err *err)
{
    struct loader loader = {.store = store, .only_look = true};
    enum status status = load_all(&loader, err);
    *any = loader.any;
    return status;
}

enum status queues_load(struct store *store, int64_t cut_pos, bool wipe, struct queues_found *found,
                        struct err *err)
{
    struct loader loader = {.store = store, .cut_pos = cut_pos, .wipe = wipe, .found = found};
    queue_files_watch(&store->queue_files);
    enum status status = STATUS_OK;
    /* Looking for what is to be wiped has the kernel write each file first; all at once is faster
     * by far. */
    if (wipe && queue_files_sync(&store->queue_files) == STATUS_IO)
        status = err_set_errno(err, STATUS_IO, "cannot sync the file system of %s/consumequeue",
                               store->options.root);
    if (status == STATUS_OK)
        status = load_all(&loader, err);
    if (status == STATUS_OK && atomic_exchange(&store->queue_files.unsynced, false) &&
        queue_files_sync(&store->queue_files) != STATUS_OK)
        status = err_set_errno(err, STATUS_IO, "cannot sync the file system of %s/consumequeue",
                               store->options.root);
    return status;
}
