/* SPDX-License-Identifier: Apache-2.0
 *
 * What cannot be understood is kept as a stranger, for whoever looks, and stops nothing.
 */
#include "broker/store/store_files.h"

#include "broker/store/index.h"
#include "broker/store/segment.h"
#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/number.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_TAIL_BYTES 256 /* room for topic, queue id and file name behind the root */

static void stranger_add(struct store_files *files, const char *path, const char *why)
{
    files->strangers =
        xrealloc(files->strangers, (files->stranger_count + 1) * sizeof *files->strangers);
    files->strangers[files->stranger_count++] =
        (struct found_stranger){xstrdup(path), xstrdup(why)};
}

/* The names in a directory, NUL-ended, one behind the other; each has 'd' or 'f' in front. */
static void names_add(void *ctx, const char *name, bool is_directory)
{
    struct buf *names = ctx;
    buf_append_byte(names, is_directory ? 'd' : 'f');
    buf_append(names, name, strlen(name) + 1);
}

/* Walk over the names: start with NULL; NULL at the end. */
static const char *names_next(const struct buf *names, const char *previous)
{
    const char *begin = (const char *)names->data;
    const char *next = previous == NULL ? begin : previous + strlen(previous) + 1;
    return next == NULL || next == begin + names->size ? NULL : next;
}

/* A directory that is not there has no names. */
static enum status names_list(struct store_files *files, const char *path, struct buf *names,
                              struct err *err)
{
    *names = BUF_EMPTY;
    enum status status = files->vfs->ops->list(files->vfs, path, names_add, names);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        return STATUS_OK;
    return err_set_errno(err, STATUS_IO, "cannot list %s", path);
}

/* Add the file when it is named by a number. */
static void file_add(struct store_files *files, const char *directory, const char *kind_and_name,
                     int number, struct found_file **list, size_t *count)
{
    const char *name = kind_and_name + 1;
    char path[PATH_MAX];
    struct found_file found = {.directory = number};
    struct vfs_stat st;
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    if (*kind_and_name == 'd' || !segment_name_parse(name, &found.base)) {
        stranger_add(files, path, "its name is not 20 digits");
        return;
    }
    if (files->vfs->ops->stat(files->vfs, path, &st) != STATUS_OK) {
        if (errno != ENOENT) /* deleted just now */
            stranger_add(files, path, strerror(errno));
        return;
    }
    found.size = st.size;
    if ((*count & (*count - 1)) == 0)
        *list = xrealloc(*list, (*count == 0 ? 1 : *count * 2) * sizeof **list);
    (*list)[(*count)++] = found;
}

/* --- the commit log --- */

static int by_base(const void *a, const void *b)
{
    int64_t left = ((const struct found_file *)a)->base;
    int64_t right = ((const struct found_file *)b)->base;
    return left < right ? -1 : left > right;
}

static enum status find_segments(struct store_files *files, struct err *err)
{
    for (size_t i = 0; i < files->directory_count; i++) {
        const char *directory = files->directories[i];
        struct buf names;
        enum status status = names_list(files, directory, &names, err);
        for (const char *name = names_next(&names, NULL); status == STATUS_OK && name != NULL;
             name = names_next(&names, name))
            file_add(files, directory, name, (int)i, &files->segments, &files->segment_count);
        buf_release(&names);
        if (status != STATUS_OK)
            return status;
    }
    if (files->segment_count > 0)
        qsort(files->segments, files->segment_count, sizeof *files->segments, by_base);
    return STATUS_OK;
}

/* The size that most of the files have, by a vote among them; earlier votes are kept in *lead. */
static void vote(const struct found_file *list, size_t count, int64_t *size, size_t *lead)
{
    for (size_t i = 0; i < count; i++) {
        if (*lead == 0)
            *size = list[i].size;
        if (list[i].size == *size)
            (*lead)++;
        else
            (*lead)--;
    }
}

static void directories_add(struct store_files *files, const char *path, size_t bytes)
{
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    if (bytes == 0)
        return;
    files->directories =
        xrealloc(files->directories, (files->directory_count + 1) * sizeof(char *));
    char *copy = xmalloc(bytes + 1);
    memcpy(copy, path, bytes);
    copy[bytes] = '\0';
    files->directories[files->directory_count++] = copy;
}

static void split_directories(struct store_files *files, const char *list)
{
    char path[PATH_MAX];
    if (list == NULL || *list == '\0') {
        int bytes = snprintf(path, sizeof path, "%s/commitlog", files->root);
        directories_add(files, path, (size_t)bytes);
        return;
    }
    for (const char *from = list; from != NULL;) {
        const char *comma = strchr(from, ',');
        directories_add(files, from, comma == NULL ? strlen(from) : (size_t)(comma - from));
        from = comma == NULL ? NULL : comma + 1;
    }
}

/* --- queues --- */

static int by_topic_and_id(const void *a, const void *b)
{
    const struct found_queue *left = a;
    const struct found_queue *right = b;
    int topics = strcmp(left->topic, right->topic);
    return topics != 0 ? topics : (left->id > right->id) - (left->id < right->id);
}

static enum status find_queue(struct store_files *files, const char *topic, const char *name,
                              struct err *err)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/consumequeue/%s/%s", files->root, topic, name + 1);
    struct found_queue queue = {.topic = NULL};
    if (*name != 'd' || !parse_i32(slice_of_cstr(name + 1), &queue.id) || queue.id < 0) {
        stranger_add(files, path, "its name is not a queue id");
        return STATUS_OK;
    }
    struct buf names;
    enum status status = names_list(files, path, &names, err);
    for (const char *one = names_next(&names, NULL); status == STATUS_OK && one != NULL;
         one = names_next(&names, one))
        file_add(files, path, one, 0, &queue.files, &queue.file_count);
    buf_release(&names);
    if (status != STATUS_OK || queue.file_count == 0) {
        free(queue.files);
        return status;
    }
    queue.topic = xstrdup(topic);
    size_t count = files->queue_count;
    if ((count & (count - 1)) == 0)
        files->queues = xrealloc(files->queues, (count == 0 ? 1 : count * 2) * sizeof queue);
    files->queues[files->queue_count++] = queue;
    return STATUS_OK;
}

static enum status find_topic(struct store_files *files, const char *name, struct err *err)
{
    char path[PATH_MAX];
    struct buf names;
    (void)snprintf(path, sizeof path, "%s/consumequeue/%s", files->root, name + 1);
    if (*name != 'd') {
        stranger_add(files, path, "it is not the folder of a topic");
        return STATUS_OK;
    }
    enum status status = names_list(files, path, &names, err);
    for (const char *id = names_next(&names, NULL); status == STATUS_OK && id != NULL;
         id = names_next(&names, id))
        status = find_queue(files, name + 1, id, err);
    buf_release(&names);
    return status;
}

static enum status find_queues(struct store_files *files, struct err *err)
{
    char path[PATH_MAX];
    struct buf names;
    (void)snprintf(path, sizeof path, "%s/consumequeue", files->root);
    enum status status = names_list(files, path, &names, err);
    for (const char *name = names_next(&names, NULL); status == STATUS_OK && name != NULL;
         name = names_next(&names, name))
        status = find_topic(files, name, err);
    buf_release(&names);
    if (files->queue_count > 0)
        qsort(files->queues, files->queue_count, sizeof *files->queues, by_topic_and_id);
    return status;
}

/* --- index and marks --- */

static void index_add(struct store_files *files, const char *kind_and_name)
{
    const char *name = kind_and_name + 1;
    char path[PATH_MAX];
    struct vfs_stat st;
    (void)snprintf(path, sizeof path, "%s/index/%s", files->root, name);
    if (*kind_and_name == 'd' || strlen(name) != INDEX_NAME_BYTES - 1 ||
        strspn(name, "0123456789") != INDEX_NAME_BYTES - 1) {
        stranger_add(files, path, "its name is not a time of 17 digits");
        return;
    }
    if (files->vfs->ops->stat(files->vfs, path, &st) != STATUS_OK)
        return;
    files->indexes = xrealloc(files->indexes, (files->index_count + 1) * sizeof *files->indexes);
    files->indexes[files->index_count++] = (struct found_index){xstrdup(name), st.size};
}

static enum status find_indexes(struct store_files *files,
                                const struct store_files_options *options, struct err *err)
{
    char path[PATH_MAX];
    struct buf names;
    (void)snprintf(path, sizeof path, "%s/index", files->root);
    enum status status = names_list(files, path, &names, err);
    for (const char *name = names_next(&names, NULL); status == STATUS_OK && name != NULL;
         name = names_next(&names, name))
        index_add(files, name);
    buf_release(&names);
    files->index_slots = options->index_slots;
    files->index_entries = options->index_entries;
    int64_t usual = (int64_t)index_file_bytes(INDEX_SLOTS_DEFAULT, INDEX_ENTRIES_DEFAULT);
    bool is_usual = files->index_count == 0;
    for (size_t i = 0; i < files->index_count && !is_usual; i++)
        is_usual = files->indexes[i].size == usual;
    if ((options->index_slots == 0 || options->index_entries == 0) && is_usual) {
        files->index_slots = INDEX_SLOTS_DEFAULT;
        files->index_entries = INDEX_ENTRIES_DEFAULT;
    }
    return status;
}

static bool has_file(const struct store_files *files, const char *name)
{
    char path[PATH_MAX];
    struct vfs_stat st;
    (void)snprintf(path, sizeof path, "%s/%s", files->root, name);
    return files->vfs->ops->stat(files->vfs, path, &st) == STATUS_OK;
}

bool store_files_in_use(struct vfs *vfs, const char *root)
{
    char path[PATH_MAX];
    int fd;
    (void)snprintf(path, sizeof path, "%s/lock", root);
    if (vfs->ops->open(vfs, path, VFS_READ, &fd) != STATUS_OK)
        return false;
    bool taken = vfs->ops->look_at_lock(vfs, fd) == STATUS_BUSY;
    (void)vfs->ops->close(vfs, fd);
    return taken;
}

/* --- all of it --- */

static enum status check_root(struct store_files *files, struct err *err)
{
    struct vfs_stat st;
    const char *root = files->root;
    for (size_t i = 0; i < files->directory_count; i++) {
        if (strlen(files->directories[i]) + PATH_TAIL_BYTES > PATH_MAX)
            return err_set(err, STATUS_INVALID, "the path of a commit log directory is too long");
    }
    enum status status = files->vfs->ops->stat(files->vfs, root, &st);
    if (status != STATUS_OK)
        return err_set_errno(err, status == STATUS_NOT_FOUND ? status : STATUS_IO,
                             "cannot look into %s", root);
    if (!st.is_directory)
        return err_set(err, STATUS_NOT_FOUND,
                       "%s is a file: name the directory that storePathRootDir names", root);
    return STATUS_OK;
}

static enum status find_all(struct store_files *files, const struct store_files_options *options,
                            struct err *err)
{
    enum status status = check_root(files, err);
    if (status == STATUS_OK)
        status = find_segments(files, err);
    if (status == STATUS_OK)
        status = find_queues(files, err);
    if (status == STATUS_OK)
        status = find_indexes(files, options, err);
    if (status != STATUS_OK)
        return status;
    size_t lead = 0;
    files->segment_bytes = options->segment_bytes;
    if (options->segment_bytes == 0)
        vote(files->segments, files->segment_count, &files->segment_bytes, &lead);
    lead = 0;
    files->queue_file_bytes = options->queue_file_bytes;
    for (size_t i = 0; i < files->queue_count && options->queue_file_bytes == 0; i++)
        vote(files->queues[i].files, files->queues[i].file_count, &files->queue_file_bytes, &lead);
    files->has_checkpoint = has_file(files, "checkpoint");
    files->aborted = has_file(files, "abort");
    files->in_use = store_files_in_use(files->vfs, files->root);
    if (files->segment_count == 0 && files->queue_count == 0 && !files->has_checkpoint)
        return err_set(err, STATUS_NOT_FOUND,
                       "%s is not a store: there is no commit log in %s, no consumequeue and no "
                       "checkpoint. Name the directory that storePathRootDir names; where the "
                       "commit log lies elsewhere, --commit-log names it",
                       files->root, files->directories[0]);
    return STATUS_OK;
}

enum status store_files_find(const struct store_files_options *options, struct vfs *vfs,
                             struct store_files **out, struct err *err)
{
    size_t bytes = strlen(options->root);
    while (bytes > 1 && options->root[bytes - 1] == '/')
        bytes--;
    if (bytes + PATH_TAIL_BYTES > PATH_MAX || bytes == 0)
        return err_set(err, STATUS_INVALID, "the path of the store is too long or empty");
    struct store_files *files = xcalloc(1, sizeof *files);
    files->vfs = vfs;
    files->root = xstrdup(options->root);
    files->root[bytes] = '\0';
    split_directories(files, options->commit_log);
    enum status status = find_all(files, options, err);
    if (status != STATUS_OK) {
        store_files_free(files);
        return status;
    }
    *out = files;
    return STATUS_OK;
}

void store_files_free(struct store_files *files)
{
    if (files == NULL)
        return;
    for (size_t i = 0; i < files->directory_count; i++)
        free(files->directories[i]);
    for (size_t i = 0; i < files->queue_count; i++) {
        free(files->queues[i].topic);
        free(files->queues[i].files);
    }
    for (size_t i = 0; i < files->index_count; i++)
        free(files->indexes[i].name);
    for (size_t i = 0; i < files->stranger_count; i++) {
        free(files->strangers[i].path);
        free(files->strangers[i].why);
    }
    free(files->directories);
    free(files->segments);
    free(files->queues);
    free(files->indexes);
    free(files->strangers);
    free(files->root);
    free(files);
}

/* --- looking things up --- */

int64_t store_files_log_begin(const struct store_files *files)
{
    return files->segment_count == 0 ? 0 : files->segments[0].base;
}

int64_t store_files_log_limit(const struct store_files *files)
{
    return files->segment_count == 0
               ? 0
               : files->segments[files->segment_count - 1].base + files->segment_bytes;
}

const struct found_file *store_files_segment(const struct store_files *files, int64_t pos)
{
    size_t low = 0;
    size_t high = files->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (files->segments[middle].base <= pos)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || pos - files->segments[low - 1].base >= files->segment_bytes)
        return NULL;
    return &files->segments[low - 1];
}

const struct found_queue *store_files_queue(const struct store_files *files, struct slice topic,
                                            int32_t id)
{
    size_t low = 0;
    size_t high = files->queue_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct found_queue *queue = &files->queues[middle];
        size_t bytes = strlen(queue->topic);
        size_t common = bytes < topic.size ? bytes : topic.size;
        int order = memcmp(queue->topic, topic.data, common);
        if (order == 0)
            order = (bytes > topic.size) - (bytes < topic.size);
        if (order == 0)
            order = (queue->id > id) - (queue->id < id);
        if (order == 0)
            return queue;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void store_files_segment_path(const struct store_files *files, const struct found_file *segment,
                              char path[PATH_MAX])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment->base, name);
    (void)snprintf(path, PATH_MAX, "%s/%s", files->directories[segment->directory], name);
}

void store_files_queue_path(const struct store_files *files, const struct found_queue *queue,
                            int64_t base, char path[PATH_MAX])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(base, name);
    (void)snprintf(path, PATH_MAX, "%s/consumequeue/%s/%d/%s", files->root, queue->topic,
                   (int)queue->id, name);
}

void store_files_index_path(const struct store_files *files, const struct found_index *index,
                            char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/index/%s", files->root, index->name);
}
