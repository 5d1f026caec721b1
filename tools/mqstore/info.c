/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/state/store_identity.h"
#include "broker/store/checkpoint.h"
#include "broker/store/log_view.h"
#include "broker/store/queue_view.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

#include <inttypes.h>
#include <stdlib.h>

struct info {
    const struct options *options;
    const struct store_files *files;
    struct buf out;
    struct log_view log;
    struct checkpoint checkpoint;
    bool has_identity;
    struct store_identity identity;
    int exit_code;
};

static void complain(struct info *info, const struct err *err)
{
    fprintf(stderr, "mqstore: %s\n", err->text);
    info->exit_code = EXIT_READ;
}

/* Walk on from the last segment with a record to where the log ends; -1: not found. The end is
 * taken for the first thing that is no record, without a look behind it. */
static int64_t find_end(struct info *info, int64_t *last_ms)
{
    const struct store_files *files = info->files;
    size_t i = files->segment_count;
    struct record record;
    *last_ms = 0;
    while (i > 0 && log_view_record(&info->log, files->segments[i - 1].base, RECORD_CHECK_FRAME,
                                    &record, NULL, NULL) != STATUS_OK)
        i--;
    if (i == 0)
        return store_files_log_begin(files);
    int64_t from = files->segments[i - 1].base;
    int64_t durable_pos = info->checkpoint.durable_pos;
    if (durable_pos > from && info->checkpoint.last_pos >= from &&
        durable_pos <= from + files->segment_bytes)
        from = info->checkpoint.last_pos;
    struct log_walk walk;
    struct log_item item = {.kind = LOG_ITEM_RECORD};
    struct err err;
    log_walk_begin(&walk, files, from, INT64_MAX, false);
    while (item.kind != LOG_ITEM_END) {
        if (log_walk_next(&walk, &item, &err) != STATUS_OK) {
            complain(info, &err);
            break;
        }
        if (item.kind == LOG_ITEM_RECORD)
            *last_ms = item.record.store_timestamp_ms;
    }
    log_walk_release(&walk);
    return item.pos;
}

/* --- text --- */

static void text_time(struct info *info, const char *name, int64_t ms)
{
    char text[TIME_TEXT_BYTES];
    time_format(ms, text);
    buf_printf(&info->out, "  %-18s %s\n", name, ms > 0 ? text : "none");
}

static void text_log(struct info *info)
{
    const struct store_files *files = info->files;
    struct buf *out = &info->out;
    struct record record;
    int64_t last_ms;
    int64_t end = find_end(info, &last_ms);
    buf_printf(out, "commit log\n");
    for (size_t i = 0; i < files->directory_count; i++)
        buf_printf(out, "  %-18s %s\n", "directory", files->directories[i]);
    buf_printf(out, "  %-18s %zu of %" PRId64 " bytes\n", "segments", files->segment_count,
               files->segment_bytes);
    buf_printf(out, "  %-18s %" PRId64 " to %" PRId64 " (%" PRId64 " bytes)\n", "positions",
               store_files_log_begin(files), end, end - store_files_log_begin(files));
    bool any = files->segment_count > 0 &&
               log_view_record(&info->log, store_files_log_begin(files), RECORD_CHECK_FRAME,
                               &record, NULL, NULL) == STATUS_OK;
    text_time(info, "first message", any ? record.store_timestamp_ms : 0);
    text_time(info, "last message", last_ms);
}

static void text_state(struct info *info)
{
    const struct store_files *files = info->files;
    struct buf *out = &info->out;
    buf_printf(out, "store %s\n", files->root);
    buf_printf(out, "  %-18s %s\n", "state",
               files->in_use    ? "in use by a broker"
               : files->aborted ? "not closed: the next start recovers"
                                : "closed");
    if (!info->has_identity)
        return;
    buf_printf(out, "  %-18s %s\n", "id", info->identity.id);
    buf_printf(out, "  %-18s broker %s of cluster %s\n", "begun by", info->identity.broker_name,
               info->identity.cluster_name);
    buf_printf(out, "  %-18s %s\n", "last used by a", store_use_name(info->identity.use));
}

static void text_checkpoint(struct info *info)
{
    struct buf *out = &info->out;
    buf_printf(out, "checkpoint\n");
    if (!info->files->has_checkpoint) {
        buf_printf(out, "  there is none\n");
        return;
    }
    text_time(info, "log flushed", info->checkpoint.log_timestamp_ms);
    text_time(info, "queues flushed", info->checkpoint.queues_timestamp_ms);
    text_time(info, "index flushed", info->checkpoint.index_timestamp_ms);
    if (info->checkpoint.durable_pos >= 0)
        buf_printf(out,
                   "  %-18s up to log position %" PRId64 "; the queues' ends make %" PRId64 "\n",
                   "durable", info->checkpoint.durable_pos, info->checkpoint.queue_ends.total);
    else
        buf_printf(out, "  %-18s not said: RocketMQ has written the checkpoint\n", "durable");
}

/* --- index --- */

static bool read_index_header(struct info *info, const struct found_index *index,
                              struct index_header *header)
{
    const struct store_files *files = info->files;
    char path[PATH_MAX];
    int fd;
    size_t got = 0;
    uint64_t bytes[INDEX_HEADER_BYTES / 8] = {0};
    store_files_index_path(files, index, path);
    if (files->vfs->ops->open(files->vfs, path, VFS_READ, &fd) != STATUS_OK)
        return false;
    enum status status = files->vfs->ops->pread(files->vfs, fd, bytes, sizeof bytes, 0, &got);
    (void)files->vfs->ops->close(files->vfs, fd);
    struct index_view view = {(uint8_t *)bytes, 0, 0};
    *header = index_header_read(&view);
    return status == STATUS_OK && got == sizeof bytes;
}

static void text_index(struct info *info)
{
    const struct store_files *files = info->files;
    struct buf *out = &info->out;
    buf_printf(out, "index\n  %-18s %zu\n", "files", files->index_count);
    if (files->index_count > 0 && files->index_slots > 0)
        buf_printf(out, "  %-18s %d slots, %d entries\n", "geometry", (int)files->index_slots,
                   (int)files->index_entries);
    else if (files->index_count > 0)
        buf_printf(out, "  %-18s not known; --index-slots and --index-entries, or -c, tell it\n",
                   "geometry");
    for (size_t i = 0; i < files->index_count; i++) {
        struct index_header header;
        if (!read_index_header(info, &files->indexes[i], &header))
            continue;
        buf_printf(out,
                   "  %-18s %" PRId64 " bytes, %d entries, positions %" PRId64 " to %" PRId64 "\n",
                   files->indexes[i].name, files->indexes[i].size, (int)header.next_entry - 1,
                   header.begin_pos, header.end_pos);
    }
}

static void json_index(struct info *info)
{
    struct buf *out = &info->out;
    json_name(out, "index");
    buf_append_byte(out, '[');
    for (size_t i = 0; i < info->files->index_count; i++) {
        struct index_header header;
        const struct found_index *index = &info->files->indexes[i];
        buf_append_cstr(out, i > 0 ? ",{" : "{");
        json_cstr(out, "file", index->name);
        json_number(out, "bytes", index->size);
        if (read_index_header(info, index, &header)) {
            json_number(out, "entries", header.next_entry - 1);
            json_number(out, "beginTimestamp", header.begin_timestamp_ms);
            json_number(out, "endTimestamp", header.end_timestamp_ms);
            json_number(out, "beginOffset", header.begin_pos);
            json_number(out, "endOffset", header.end_pos);
        }
        json_end(out);
    }
    buf_append_byte(out, ']');
}

/* --- queues and config files --- */

static void one_queue(struct info *info, const struct found_queue *queue, bool first)
{
    struct queue_bounds bounds;
    struct err err;
    struct buf *out = &info->out;
    enum status status = queue_bounds_find(info->files, queue, store_files_log_begin(info->files),
                                           !info->files->in_use, &bounds, &err);
    if (status == STATUS_NOT_FOUND)
        return; /* deleted just now */
    if (status != STATUS_OK) {
        complain(info, &err);
        return;
    }
    if (!info->options->json) {
        buf_printf(out, "  %-40s %5d %12" PRId64 " %12" PRId64 " %6zu\n", queue->topic,
                   (int)queue->id, bounds.min_offset, bounds.max_offset, queue->file_count);
        return;
    }
    buf_append_cstr(out, first ? "{" : ",{");
    json_cstr(out, "topic", queue->topic);
    json_number(out, "queueId", queue->id);
    json_number(out, "minOffset", bounds.min_offset);
    json_number(out, "maxOffset", bounds.max_offset);
    json_number(out, "files", (int64_t)queue->file_count);
    json_end(out);
}

static void all_queues(struct info *info)
{
    const struct store_files *files = info->files;
    if (info->options->json) {
        json_name(&info->out, "queues");
        buf_append_byte(&info->out, '[');
    } else {
        buf_printf(&info->out, "queues\n  %-18s %zu, files of %" PRId64 " bytes\n", "number",
                   files->queue_count, files->queue_file_bytes);
        if (files->queue_count > 0)
            buf_printf(&info->out, "  %-40s %5s %12s %12s %6s\n", "topic", "queue", "min", "max",
                       "files");
    }
    for (size_t i = 0; i < files->queue_count; i++)
        one_queue(info, &files->queues[i], i == 0);
    if (info->options->json)
        buf_append_byte(&info->out, ']');
}

static void one_config(void *ctx, const char *name, bool is_directory)
{
    struct info *info = ctx;
    struct buf *out = &info->out;
    char path[PATH_MAX];
    struct vfs_stat st;
    (void)snprintf(path, sizeof path, "%s/config/%s", info->files->root, name);
    if (is_directory || info->files->vfs->ops->stat(info->files->vfs, path, &st) != STATUS_OK)
        return;
    if (!info->options->json) {
        buf_printf(out, "  %-32s %" PRId64 " bytes\n", name, st.size);
        return;
    }
    if (out->data[out->size - 1] != '[')
        buf_append_byte(out, ',');
    json_begin(out);
    json_cstr(out, "file", name);
    json_number(out, "bytes", st.size);
    json_end(out);
}

static void config_files(struct info *info)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/config", info->files->root);
    if (info->options->json) {
        json_name(&info->out, "config");
        buf_append_byte(&info->out, '[');
    } else {
        buf_printf(&info->out, "config\n");
    }
    (void)info->files->vfs->ops->list(info->files->vfs, path, one_config, info);
    if (info->options->json)
        buf_append_byte(&info->out, ']');
}

/* --- all of it --- */

static void json_head(struct info *info)
{
    const struct store_files *files = info->files;
    struct buf *out = &info->out;
    struct record record;
    int64_t last_ms;
    int64_t begin = store_files_log_begin(files);
    int64_t end = find_end(info, &last_ms);
    bool any = files->segment_count > 0 && log_view_record(&info->log, begin, RECORD_CHECK_FRAME,
                                                           &record, NULL, NULL) == STATUS_OK;
    json_begin(out);
    json_cstr(out, "store", files->root);
    json_bool(out, "inUse", files->in_use);
    json_bool(out, "closed", !files->aborted);
    if (info->has_identity) {
        json_cstr(out, "storeId", info->identity.id);
        json_cstr(out, "begunByBroker", info->identity.broker_name);
        json_cstr(out, "begunByCluster", info->identity.cluster_name);
        json_cstr(out, "lastUse", store_use_name(info->identity.use));
    }
    json_number(out, "segments", (int64_t)files->segment_count);
    json_number(out, "segmentBytes", files->segment_bytes);
    json_number(out, "logBegin", begin);
    json_number(out, "logEnd", end);
    json_number(out, "firstTimestamp", any ? record.store_timestamp_ms : 0);
    json_number(out, "lastTimestamp", last_ms);
    json_number(out, "queueFileBytes", files->queue_file_bytes);
    json_name(out, "checkpoint");
    if (!files->has_checkpoint) {
        buf_append_cstr(out, "null");
        return;
    }
    json_begin(out);
    json_number(out, "logTimestamp", info->checkpoint.log_timestamp_ms);
    json_number(out, "queuesTimestamp", info->checkpoint.queues_timestamp_ms);
    json_number(out, "indexTimestamp", info->checkpoint.index_timestamp_ms);
    if (info->checkpoint.durable_pos >= 0) {
        json_number(out, "durableOffset", info->checkpoint.durable_pos);
        json_number(out, "queueTotal", info->checkpoint.queue_ends.total);
    }
    json_end(out);
}

int info_run(const struct options *options)
{
    struct store_files *files;
    int exit_code = options_find_store(options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    struct info info = {.options = options, .files = files, .out = BUF_EMPTY};
    struct err err;
    log_view_init(&info.log, files, LOG_VIEW_LOOK_BYTES);
    if (checkpoint_load(files->vfs, files->root, &info.checkpoint, &err) != STATUS_OK)
        complain(&info, &err);
    enum status status = store_identity_load(files->root, files->vfs, &info.identity, &err);
    info.has_identity = status == STATUS_OK;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        complain(&info, &err);
    if (options->json) {
        json_head(&info);
        json_index(&info);
        all_queues(&info);
        config_files(&info);
        json_end(&info.out);
        buf_append_byte(&info.out, '\n');
    } else {
        text_state(&info);
        text_log(&info);
        text_checkpoint(&info);
        all_queues(&info);
        text_index(&info);
        config_files(&info);
    }
    (void)fwrite(info.out.data, 1, info.out.size, stdout);
    buf_release(&info.out);
    log_view_release(&info.log);
    store_files_free(files);
    return info.exit_code;
}
