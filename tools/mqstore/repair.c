/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds queues, index and checkpoint again, by opening the store as a broker does.
 *
 * The log is read first, and a checkpoint is written that names its last record, with a sum of the
 * queues' ends that no queues have. Recovery then takes the log for durable, cuts off nothing but
 * what stands behind its end, and dispatches all of it; a part of the log that is damaged is passed
 * over. Without that checkpoint it would have to take the first damaged record for the log's end.
 */
#include "broker/store/checkpoint.h"
#include "broker/store/log_view.h"
#include "broker/store/queue_view.h"
#include "broker/store/record_keys.h"
#include "broker/store/store.h"
#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/sys/log.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUEUE_FILE_BYTES_DEFAULT 6000000
#define DELAY_DEFAULT "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
#define CHECKPOINT_BYTES_MAX 65536
#define PROGRESS_BYTES (64 * 1024 * 1024)

struct repair {
    const struct options *options;
    const struct store_files *files;
    int64_t delay_levels_ms[DELAY_LEVELS_MAX];
    int delay_level_count;
    char commit_log[PATH_MAX];
    char aside[PATH_MAX]; /* where the old files go */
    int64_t records;
    int64_t queued; /* of those, in a queue */
    int64_t damaged_bytes;
    struct checkpoint checkpoint; /* of what the log holds */
};

static int failed(const struct err *err)
{
    fprintf(stderr, "mqstore: %s\n", err->text);
    return err->status == STATUS_BUSY ? EXIT_IN_USE : EXIT_READ;
}

static int refuse(int exit_code, const char *why)
{
    fprintf(stderr, "mqstore: %s\n", why);
    return exit_code;
}

/* --- what is there --- */

static int check_store(const struct repair *repair)
{
    const struct store_files *files = repair->files;
    if (files->in_use)
        return refuse(EXIT_IN_USE, "a broker is using the store: stop it first");
    if (files->segment_count == 0)
        return refuse(EXIT_READ, "there is no commit log to build anything from; where it lies "
                                 "elsewhere, --commit-log names it");
    for (size_t i = 0; i < files->segment_count; i++) {
        const struct found_file *segment = &files->segments[i];
        bool gap = i > 0 && segment->base != segment[-1].base + files->segment_bytes;
        /* A crash leaves a last file of any size; the store knows what to do. */
        bool unfinished = files->aborted && i + 1 == files->segment_count;
        if ((segment->size == files->segment_bytes || unfinished) && !gap)
            continue;
        char path[PATH_MAX];
        store_files_segment_path(files, segment, path);
        fprintf(stderr,
                gap ? "mqstore: the segment before %s is missing: bring it back, or move the older "
                      "ones away to give up the messages in them\n"
                    : "mqstore: %s does not have the size of a segment: bring back a whole copy, "
                      "or extend it with zeros (truncate -s) to give up what it lacks\n",
                path);
        return EXIT_READ;
    }
    if (!repair->options->skip_index && (files->index_slots < 1 || files->index_entries < 2))
        return refuse(EXIT_USAGE,
                      "the index files do not say how many slots and entries they have: "
                      "give --index-slots and --index-entries, or -c, or --no-index");
    return EXIT_GOOD;
}

static void read_item(struct repair *repair, const struct log_item *item)
{
    struct checkpoint *checkpoint = &repair->checkpoint;
    const struct record *record = &item->record;
    if (item->kind == LOG_ITEM_DAMAGE) {
        repair->damaged_bytes += item->end_pos - item->pos;
        fprintf(stderr,
                "mqstore: from %" PRId64 " to %" PRId64 " the log is damaged (%s); the messages "
                "there are left out\n",
                item->pos, item->end_pos, item->why);
    }
    if (item->kind == LOG_ITEM_FILLER && item->pos == checkpoint->durable_pos)
        checkpoint->durable_pos = item->end_pos;
    if (item->kind != LOG_ITEM_RECORD)
        return;
    repair->records++;
    repair->queued += record_in_queue(record);
    checkpoint->durable_pos = item->end_pos;
    checkpoint->last_pos = item->pos;
    checkpoint->last_crc = rocketmq_crc32(item->bytes);
    if (record->store_timestamp_ms > checkpoint->log_timestamp_ms)
        checkpoint->log_timestamp_ms = record->store_timestamp_ms;
}

static int read_log(struct repair *repair)
{
    const struct store_files *files = repair->files;
    struct log_walk walk;
    struct log_item item = {.kind = LOG_ITEM_RECORD};
    struct err err;
    enum status status = STATUS_OK;
    int64_t begin = store_files_log_begin(files);
    int64_t shown = begin;
    repair->checkpoint = CHECKPOINT_NONE;
    log_walk_begin(&walk, files, begin, INT64_MAX, true);
    while (status == STATUS_OK && item.kind != LOG_ITEM_END) {
        status = log_walk_next(&walk, &item, &err);
        if (status == STATUS_OK)
            read_item(repair, &item);
        if (item.pos - shown >= PROGRESS_BYTES) {
            shown = item.pos;
            progress_show("reading the log", shown - begin, store_files_log_limit(files) - begin);
        }
    }
    progress_clear();
    log_walk_release(&walk);
    return status == STATUS_OK ? EXIT_GOOD : failed(&err);
}

/* The delay of a level, as an entry of its old queue has it; -1: it cannot tell. */
static int64_t level_of_queue(const struct repair *repair, const struct found_queue *queue,
                              struct log_view *log)
{
    const struct store_files *files = repair->files;
    struct queue_bounds bounds;
    struct queue_view view;
    struct record record;
    const uint8_t *entry;
    int64_t delay_ms = -1;
    if (queue_bounds_find(files, queue, store_files_log_begin(files), true, &bounds, NULL) !=
        STATUS_OK)
        return -1;
    queue_view_init(&view, files, queue, 1);
    for (int64_t offset = bounds.max_offset; delay_ms < 0 && offset-- > bounds.min_offset;) {
        if (queue_view_entry(&view, offset, &entry, NULL) != STATUS_OK ||
            log_view_record(log, queue_entry_pos(entry), RECORD_CHECK_CRC, &record, NULL, NULL) !=
                STATUS_OK)
            continue;
        struct record_keys keys = record_keys_find(record.properties);
        if (!record_is_delayed(&record, &keys) || record.queue_id != queue->id ||
            __builtin_sub_overflow(queue_entry_tags_code(entry), record.store_timestamp_ms,
                                   &delay_ms) ||
            delay_ms % 1000 != 0)
            delay_ms = -1;
    }
    queue_view_release(&view);
    return delay_ms;
}

/* -c or --delay-levels say them; else the old queues, as far as they are there; else 4.9.2. */
static void find_delay_levels(struct repair *repair)
{
    const struct options *options = repair->options;
    const struct store_files *files = repair->files;
    if (options->delay_level_count > 0) {
        memcpy(repair->delay_levels_ms, options->delay_levels_ms, sizeof repair->delay_levels_ms);
        repair->delay_level_count = options->delay_level_count;
        return;
    }
    struct err err;
    enum status status = delay_levels_parse(DELAY_DEFAULT, repair->delay_levels_ms,
                                            &repair->delay_level_count, &err);
    CHECK(status == STATUS_OK);
    struct log_view log;
    log_view_init(&log, files, LOG_VIEW_LOOK_BYTES);
    for (int level = 1; level <= repair->delay_level_count; level++) {
        const struct found_queue *queue =
            store_files_queue(files, SLICE_LITERAL(SCHEDULE_TOPIC), level - 1);
        int64_t delay_ms = queue == NULL ? -1 : level_of_queue(repair, queue, &log);
        if (delay_ms >= 0)
            repair->delay_levels_ms[level - 1] = delay_ms;
    }
    log_view_release(&log);
}

static void print_plan(const struct repair *repair)
{
    const struct store_files *files = repair->files;
    struct buf out = BUF_EMPTY;
    const char *doing = repair->options->write ? "" : "would ";
    if (repair->options->json) {
        json_begin(&out);
        json_cstr(&out, "store", files->root);
        json_bool(&out, "write", repair->options->write);
        json_number(&out, "records", repair->records);
        json_number(&out, "queueEntries", repair->queued);
        json_number(&out, "damagedBytes", repair->damaged_bytes);
        json_number(&out, "logEnd", repair->checkpoint.durable_pos);
        json_cstr(&out, "aside", repair->aside);
        json_end(&out);
    } else {
        buf_printf(&out,
                   "%smove consumequeue (%zu queues)%s and checkpoint to %s\n"
                   "%sbuild %" PRId64 " queue entries from %" PRId64 " records",
                   doing, files->queue_count, repair->options->skip_index ? "" : ", index",
                   repair->aside, doing, repair->queued, repair->records);
        if (!repair->options->write)
            buf_printf(&out, "\nnothing was changed; --write does it");
    }
    print_line(&out);
    buf_release(&out);
    (void)fflush(stdout);
}

/* --- doing it --- */

/* The store's lock, as a broker takes it. */
static enum status take_lock(const struct repair *repair, int *fd, struct err *err)
{
    struct vfs *vfs = repair->files->vfs;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/lock", repair->files->root);
    enum status status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, fd);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot open %s", path);
    status = vfs->ops->lock(vfs, *fd);
    if (status == STATUS_OK)
        return status;
    (void)vfs->ops->close(vfs, *fd);
    return status == STATUS_BUSY
               ? err_set(err, status, "a broker is using the store: stop it first")
               : err_set_errno(err, STATUS_IO, "cannot lock %s", path);
}

static enum status move_aside(const struct repair *repair, const char *name, struct err *err)
{
    struct vfs *vfs = repair->files->vfs;
    char from[PATH_MAX];
    char to[PATH_MAX];
    (void)snprintf(from, sizeof from, "%s/%s", repair->files->root, name);
    if ((size_t)snprintf(to, sizeof to, "%s/%s", repair->aside, name) >= sizeof to)
        return err_set(err, STATUS_INVALID, "the path of the store is too long");
    enum status status = vfs->ops->rename(vfs, from, to);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        return STATUS_OK;
    return err_set_errno(err, STATUS_IO, "cannot move %s to %s", from, to);
}

/* What the checkpoint is going to vouch for must be on disk. */
static enum status sync_log(const struct repair *repair, struct err *err)
{
    struct vfs *vfs = repair->files->vfs;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < repair->files->segment_count && status == STATUS_OK; i++) {
        char path[PATH_MAX];
        int fd;
        store_files_segment_path(repair->files, &repair->files->segments[i], path);
        status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd);
        if (status != STATUS_OK)
            return err_set_errno(err, STATUS_IO, "cannot open %s", path);
        status = vfs->ops->fdatasync(vfs, fd);
        if (status != STATUS_OK)
            (void)err_set_errno(err, status, "cannot sync %s", path);
        (void)vfs->ops->close(vfs, fd);
    }
    return status;
}

static enum status clear_away(const struct repair *repair, struct err *err)
{
    struct vfs *vfs = repair->files->vfs;
    enum status status = vfs_make_directories(vfs, repair->aside);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot make the directory %s", repair->aside);
    status = move_aside(repair, "checkpoint", err);
    if (status == STATUS_OK)
        status = move_aside(repair, "consumequeue", err);
    if (status == STATUS_OK && !repair->options->skip_index)
        status = move_aside(repair, "index", err);
    if (status == STATUS_OK && (vfs->ops->sync_directory(vfs, repair->aside) != STATUS_OK ||
                                vfs->ops->sync_directory(vfs, repair->files->root) != STATUS_OK))
        status = err_set_errno(err, STATUS_IO, "cannot sync the directory %s", repair->files->root);
    if (status == STATUS_OK)
        status = sync_log(repair, err);
    if (status == STATUS_OK && repair->records > 0)
        status = checkpoint_store(vfs, repair->files->root, &repair->checkpoint, err);
    return status;
}

static enum status build(const struct repair *repair, struct err *err)
{
    const struct store_files *files = repair->files;
    struct store_options options = {
        .root = files->root,
        .commit_log = repair->commit_log,
        .segment_bytes = files->segment_bytes,
        .queue_file_bytes = files->queue_file_bytes,
        .index_slots = files->index_slots > 0 ? files->index_slots : INDEX_SLOTS_DEFAULT,
        .index_entries = files->index_entries > 1 ? files->index_entries : INDEX_ENTRIES_DEFAULT,
        .index_enable = !repair->options->skip_index,
        .record_bytes_max = INT32_MAX,
        .check_crc_on_recover = true,
        .role = STORE_ROLE_MASTER,
        .flush = STORE_FLUSH_ASYNC,
        .delete_when = "",
        .disk_max_used_percent = 100,
        .delay_levels_ms = repair->delay_levels_ms,
        .delay_level_count = repair->delay_level_count,
    };
    if (options.queue_file_bytes < QUEUE_ENTRY_BYTES)
        options.queue_file_bytes = QUEUE_FILE_BYTES_DEFAULT;
    struct store *store;
    log_set_level(LOG_WARN);
    enum status status = store_open(&options, files->vfs, clock_real(), &store, err);
    if (status == STATUS_OK)
        store_close(store);
    return status;
}

static int write_all(struct repair *repair)
{
    struct err err;
    int lock_fd;
    enum status status = take_lock(repair, &lock_fd, &err);
    if (status != STATUS_OK)
        return failed(&err);
    status = clear_away(repair, &err);
    (void)repair->files->vfs->ops->close(repair->files->vfs, lock_fd);
    if (status == STATUS_OK)
        status = build(repair, &err);
    if (status == STATUS_OK)
        return EXIT_GOOD;
    int exit_code = failed(&err);
    fprintf(stderr,
            "mqstore: the repair is not complete. What was moved lies in %s; moving it back gives "
            "the store as it was, repeating the repair builds everything again\n",
            repair->aside);
    return exit_code;
}

static int verify_again(const struct repair *repair)
{
    struct options options = *repair->options;
    struct store_files *files;
    int exit_code = options_find_store(&options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    memcpy(options.delay_levels_ms, repair->delay_levels_ms, sizeof options.delay_levels_ms);
    options.delay_level_count = repair->delay_level_count;
    exit_code = verify_files(&options, files);
    store_files_free(files);
    return exit_code;
}

static void name_places(struct repair *repair)
{
    const struct options *options = repair->options;
    time_t now = time(NULL);
    struct tm tm;
    char date[24];
    (void)localtime_r(&now, &tm);
    (void)strftime(date, sizeof date, "%Y%m%d%H%M%S", &tm);
    (void)snprintf(repair->aside, sizeof repair->aside, "%s/repair-%s", repair->files->root, date);
    if (options->commit_log != NULL)
        (void)snprintf(repair->commit_log, sizeof repair->commit_log, "%s", options->commit_log);
    else
        (void)snprintf(repair->commit_log, sizeof repair->commit_log, "%s/commitlog",
                       repair->files->root);
}

int repair_run(const struct options *options)
{
    struct store_files *files;
    int exit_code = options_find_store(options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    struct repair repair = {.options = options, .files = files};
    name_places(&repair);
    exit_code = check_store(&repair);
    if (exit_code == EXIT_GOOD)
        exit_code = read_log(&repair);
    if (exit_code == EXIT_GOOD) {
        /* No queue is left to be counted: this can fit only when there is nothing to build. */
        repair.checkpoint.queue_ends = (struct queue_ends){.total = repair.queued};
        find_delay_levels(&repair);
        print_plan(&repair);
        if (options->write)
            exit_code = write_all(&repair);
        if (options->write && exit_code == EXIT_GOOD)
            exit_code = verify_again(&repair);
    }
    store_files_free(files);
    return exit_code;
}
