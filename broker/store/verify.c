/* SPDX-License-Identifier: Apache-2.0
 *
 * The order matters for a store in use: the ends of the queues and of the index are taken before
 * the end of the log, so that every entry that counts points to a record that counts.
 */
#include "broker/store/verify.h"

#include "broker/store/log_view.h"
#include "broker/store/verify_index.h"
#include "broker/store/verify_queues.h"
#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/base/limits.h"
#include "proto/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAFETY_MS 3000 /* 4.9.2: what the checkpoint's times may be ahead of the disk */
#define PROGRESS_BYTES (64 * 1024 * 1024)
#define TEXT_BYTES 512

void verify_report(struct verify *verify, bool damage, const char *kind,
                   const struct verify_place *place, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct verify_finding finding = {
        .damage = damage,
        .kind = kind,
        .path = place->path,
        .at = place->at,
        .pos = place->pos,
        .topic = place->topic,
        .queue_id = place->queue_id,
        .queue_offset = place->queue_offset,
        .text = text,
    };
    if (damage)
        verify->result->damages++;
    else
        verify->result->notes++;
    verify->options->on_finding(verify->options->ctx, &finding);
}

bool verify_is_damaged(const struct verify *verify, int64_t pos)
{
    size_t low = 0;
    size_t high = verify->damaged_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (verify->damaged[middle].pos <= pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && pos < verify->damaged[low - 1].end_pos;
}

/* 4.9.2 keeps the topics RMQ_SYS_... in memory only. */
bool verify_topic_exists(const struct verify *verify, struct slice topic)
{
    return !verify->topics_known || slice_starts_with(topic, SLICE_LITERAL("RMQ_SYS_")) ||
           map_get(&verify->topics, topic) != NULL;
}

/* --- config files --- */

static void keep_topics(struct verify *verify, const struct json_value *root)
{
    const struct json_value *table = json_get(root, "topicConfigTable");
    if (table == NULL || table->type != JSON_OBJECT)
        return;
    verify->topics_known = true;
    for (uint32_t i = 0; i < table->count; i++)
        (void)map_put(&verify->topics, table->keys[i].text, verify);
}

/* A damaged .bak or a damaged file beside a good .bak is not all that bad, but the file is damage.
 */
static void check_config_file(struct verify *verify, const char *name)
{
    char path[PATH_MAX];
    struct verify_place place = PLACE_NONE;
    size_t length = strlen(name);
    bool spare = length > 4 && strcmp(name + length - 4, ".bak") == 0;
    (void)snprintf(path, sizeof path, "%s/config/%s", verify->files->root, name);
    place.path = path;
    char *data;
    size_t size;
    enum status status = vfs_read_file(verify->files->vfs, path, DECODE_BYTES_MAX, &data, &size);
    if (status == STATUS_NOT_FOUND)
        return;
    if (status != STATUS_OK) {
        verify_report(verify, !spare, "config", &place, "it cannot be read: %s",
                      status == STATUS_TOO_LARGE ? "it is too large" : strerror(errno));
        return;
    }
    struct arena arena;
    struct json_value root;
    size_t error_at = 0;
    arena_init(&arena, 65536);
    status = json_parse(slice_of(data, size), &arena, &root, &error_at);
    if (status == STATUS_OK && root.type == JSON_OBJECT && strcmp(name, "topics.json") == 0)
        keep_topics(verify, &root);
    if (status == STATUS_OK && root.type != JSON_OBJECT)
        status = STATUS_MALFORMED;
    if (status != STATUS_OK) {
        place.at = (int64_t)error_at;
        verify_report(verify, !spare, "config", &place, "it is not a JSON object");
    }
    arena_release(&arena);
    free(data);
}

static void config_name(void *ctx, const char *name, bool is_directory)
{
    size_t length = strlen(name);
    bool json = length > 5 && strcmp(name + length - 5, ".json") == 0;
    bool spare = length > 9 && strcmp(name + length - 9, ".json.bak") == 0;
    if (!is_directory && (json || spare))
        check_config_file(ctx, name);
}

static void check_config(struct verify *verify)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/config", verify->files->root);
    (void)verify->files->vfs->ops->list(verify->files->vfs, path, config_name, verify);
}

/* --- the files themselves --- */

static void check_segment(struct verify *verify, size_t i)
{
    const struct store_files *files = verify->files;
    const struct found_file *segment = &files->segments[i];
    bool last = i + 1 == files->segment_count;
    char path[PATH_MAX];
    struct verify_place place = PLACE_NONE;
    store_files_segment_path(files, segment, path);
    place.path = path;
    place.pos = segment->base;
    if (segment->size != files->segment_bytes) {
        bool unfinished = last && files->aborted && segment->size < files->segment_bytes;
        place.at = segment->size;
        verify_report(verify, !unfinished, "segment", &place,
                      "the file has %lld bytes, a segment has %lld", (long long)segment->size,
                      (long long)files->segment_bytes);
        place.at = -1;
    }
    if (segment->base % files->segment_bytes != 0)
        verify_report(verify, true, "segment", &place,
                      "its name is no multiple of the size of a segment, %lld",
                      (long long)files->segment_bytes);
    if (i > 0 && segment->base == files->segments[i - 1].base)
        verify_report(verify, true, "segment", &place,
                      "the segment is there twice, in two directories");
}

static void check_files(struct verify *verify)
{
    const struct store_files *files = verify->files;
    for (size_t i = 0; i < files->segment_count; i++)
        check_segment(verify, i);
    for (size_t i = 0; i < files->stranger_count; i++) {
        struct verify_place place = PLACE_NONE;
        place.path = files->strangers[i].path;
        verify_report(verify, false, "file", &place, "not a file of the store: %s",
                      files->strangers[i].why);
    }
}

/* --- checkpoint: before the walk --- */

/* The store time of the first record of a segment, 0 when there is none. */
static int64_t first_timestamp(struct log_view *view, const struct found_file *segment)
{
    struct record record;
    return log_view_record(view, segment->base, RECORD_CHECK_FRAME, &record, NULL, NULL) ==
                   STATUS_OK
               ? record.store_timestamp_ms
               : 0;
}

/* Does the record that the checkpoint names stand in this log, just before durable_pos? */
static bool names_this_log(const struct verify *verify, struct log_view *view)
{
    const struct checkpoint *checkpoint = &verify->checkpoint;
    struct record record;
    struct slice bytes;
    if (checkpoint->durable_pos < 0 || checkpoint->last_pos < 0 ||
        log_view_record(view, checkpoint->last_pos, RECORD_CHECK_FRAME, &record, &bytes, NULL) !=
            STATUS_OK ||
        rocketmq_crc32(bytes) != checkpoint->last_crc)
        return false;
    int64_t end = checkpoint->last_pos + record.size;
    const struct found_file *segment = store_files_segment(verify->files, checkpoint->last_pos);
    return checkpoint->durable_pos == end ||
           checkpoint->durable_pos == segment->base + verify->files->segment_bytes;
}

/* From where on the queues and the index of a store that was not closed are made again; the rules
 * are recovery's, docs/store.md. */
static int64_t choose_doubtful_from(const struct verify *verify)
{
    const struct store_files *files = verify->files;
    int64_t result = store_files_log_begin(files);
    struct log_view view;
    log_view_init(&view, files, LOG_VIEW_LOOK_BYTES);
    if (names_this_log(verify, &view)) {
        result = verify->checkpoint.durable_pos;
    } else if (verify->checkpoint.durable_pos == -1) {
        int64_t limit_ms = verify->checkpoint.log_timestamp_ms;
        if (verify->checkpoint.queues_timestamp_ms < limit_ms)
            limit_ms = verify->checkpoint.queues_timestamp_ms;
        for (size_t i = files->segment_count; i-- > 0;) {
            int64_t timestamp_ms = first_timestamp(&view, &files->segments[i]);
            if (timestamp_ms > 0 && timestamp_ms <= limit_ms - SAFETY_MS) {
                result = files->segments[i].base;
                break;
            }
        }
    }
    log_view_release(&view);
    return result;
}

/* The end of the log as it is now: behind the last whole record. */
static enum status find_limit(struct verify *verify, struct err *err)
{
    struct log_walk walk;
    struct log_item item = {.kind = LOG_ITEM_RECORD};
    log_walk_begin(&walk, verify->files, verify->doubtful_from, INT64_MAX, false);
    enum status status = STATUS_OK;
    do
        status = log_walk_next(&walk, &item, err);
    while (status == STATUS_OK && item.kind != LOG_ITEM_END &&
           (item.kind != LOG_ITEM_RECORD || item.body_ok));
    verify->limit = item.pos;
    log_walk_release(&walk);
    return status;
}

/* --- the walk --- */

struct pass {
    struct verify *verify;
    struct verify_queues queues;
    struct verify_index index;
    bool last_matches; /* the checkpoint's record was met, with its checksum */
    bool last_seen;
    int64_t last_end_pos;
    int64_t reported_bytes;
};

/* The file and byte of a log position. */
static struct verify_place log_place(const struct verify *verify, int64_t pos, char path[PATH_MAX])
{
    struct verify_place place = PLACE_NONE;
    const struct found_file *segment = store_files_segment(verify->files, pos);
    place.pos = pos;
    if (segment == NULL)
        return place;
    store_files_segment_path(verify->files, segment, path);
    place.path = path;
    place.at = pos - segment->base;
    return place;
}

static void add_damage(struct pass *pass, const struct log_item *item)
{
    struct verify *verify = pass->verify;
    char path[PATH_MAX];
    struct verify_place place = log_place(verify, item->pos, path);
    size_t count = verify->damaged_count;
    if ((count & (count - 1)) == 0)
        verify->damaged =
            xrealloc(verify->damaged, (count == 0 ? 1 : count * 2) * sizeof *verify->damaged);
    verify->damaged[verify->damaged_count++] = (struct damaged_range){item->pos, item->end_pos};
    pass->queues.last_damage_pos = item->pos;
    verify_report(verify, true, "record", &place, "%s; the log goes on at %lld, %lld bytes later",
                  item->why, (long long)item->end_pos, (long long)(item->end_pos - item->pos));
}

static void add_record(struct pass *pass, const struct log_item *item)
{
    struct verify *verify = pass->verify;
    const struct record *record = &item->record;
    verify->result->records++;
    if (record->store_timestamp_ms > verify->last_record_ms)
        verify->last_record_ms = record->store_timestamp_ms;
    if (!item->body_ok) {
        char path[PATH_MAX];
        char topic[TOPIC_BYTES_MAX + 1];
        struct verify_place place = log_place(verify, item->pos, path);
        (void)snprintf(topic, sizeof topic, "%.*s", SLICE_ARGS(record->topic));
        place.topic = topic;
        place.queue_id = record->queue_id;
        place.queue_offset = record->queue_offset;
        verify_report(verify, true, "record", &place,
                      "the body of %zu bytes does not have the checksum %lu that the record says",
                      record->body.size, (unsigned long)record->body_crc);
    }
    if (item->pos == verify->checkpoint.last_pos && verify->checkpoint.durable_pos >= 0) {
        pass->last_seen = true;
        pass->last_matches = rocketmq_crc32(item->bytes) == verify->checkpoint.last_crc;
        pass->last_end_pos = item->end_pos;
    }
    struct record_keys keys = record_keys_find(record->properties);
    verify_queues_record(&pass->queues, record, &keys);
    verify_index_record(&pass->index, record, &keys);
}

static void add_end(struct pass *pass, const struct log_item *item)
{
    struct verify *verify = pass->verify;
    if (item->end_pos == item->pos)
        return;
    char path[PATH_MAX];
    struct verify_place place = log_place(verify, item->pos, path);
    if (item->begun && !verify->files->aborted) {
        verify_report(verify, false, "tail", &place,
                      "the log ends inside a record, of which bytes up to %lld came. A slave of "
                      "4.9.2 leaves it so, and its master sends it again; a master lacks a message",
                      (long long)item->end_pos);
        return;
    }
    verify_report(verify, !verify->files->aborted, "tail", &place,
                  "behind the end of the log, up to %lld, stands something that is no record: %s%s",
                  (long long)item->end_pos, item->why,
                  verify->files->aborted ? "; the next start cuts it off and keeps it below cut/"
                                         : "");
}

static void add_item(struct pass *pass, const struct log_item *item)
{
    struct verify *verify = pass->verify;
    switch (item->kind) {
    case LOG_ITEM_RECORD:
        add_record(pass, item);
        break;
    case LOG_ITEM_FILLER:
        break;
    case LOG_ITEM_DAMAGE:
        add_damage(pass, item);
        break;
    case LOG_ITEM_GONE:
        verify->result->log_begin = item->end_pos;
        break;
    case LOG_ITEM_END:
        add_end(pass, item);
        break;
    }
    int64_t done = item->pos - verify->result->log_begin;
    if (verify->options->on_progress != NULL && done - pass->reported_bytes >= PROGRESS_BYTES) {
        pass->reported_bytes = done;
        verify->options->on_progress(verify->options->ctx, done,
                                     store_files_log_limit(verify->files) -
                                         verify->result->log_begin);
    }
}

static enum status walk_log(struct pass *pass, struct err *err)
{
    struct verify *verify = pass->verify;
    struct log_walk walk;
    struct log_item item;
    verify->result->log_end = verify->limit;
    log_walk_begin(&walk, verify->files, verify->result->log_begin, verify->limit,
                   !verify->files->in_use);
    enum status status;
    do {
        status = log_walk_next(&walk, &item, err);
        if (status == STATUS_OK)
            add_item(pass, &item);
    } while (status == STATUS_OK && item.kind != LOG_ITEM_END);
    if (status == STATUS_OK)
        verify->result->log_end = item.pos;
    log_walk_release(&walk);
    return status;
}

/* --- checkpoint: after the walk --- */

static void check_named_record(const struct pass *pass, const struct verify_place *place)
{
    struct verify *verify = pass->verify;
    const struct checkpoint *checkpoint = &verify->checkpoint;
    bool damage = !verify->files->aborted;
    if (checkpoint->durable_pos > verify->result->log_end)
        verify_report(verify, damage, "checkpoint", place,
                      "it says that the log is durable up to %lld, but the log ends at %lld",
                      (long long)checkpoint->durable_pos, (long long)verify->result->log_end);
    else if (checkpoint->last_pos >= verify->result->log_begin && !pass->last_matches)
        verify_report(verify, damage, "checkpoint", place,
                      "%s; it belongs to another log, or that record has been damaged",
                      pass->last_seen ? "the record that it names has another checksum"
                                      : "no record stands where it names one");
    else if (pass->last_seen && checkpoint->durable_pos < pass->last_end_pos)
        verify_report(
            verify, damage, "checkpoint", place,
            "the record that it names ends at %lld, behind %lld, up to where it says that "
            "the log is durable",
            (long long)pass->last_end_pos, (long long)checkpoint->durable_pos);
    else if (!verify->files->aborted && checkpoint->durable_pos < verify->result->log_end)
        verify_report(verify, false, "checkpoint", place,
                      "the store was closed, but the log goes on behind %lld, up to where the "
                      "checkpoint says that it is durable; the next start reads the rest",
                      (long long)checkpoint->durable_pos);
    else if (!verify->files->aborted &&
             !queue_ends_equal(&checkpoint->queue_ends, &pass->queues.ends))
        verify_report(
            verify, true, "checkpoint", place,
            "the ends of all queues make %lld, it says %lld%s: queues or parts of them are "
            "missing",
            (long long)pass->queues.ends.total, (long long)checkpoint->queue_ends.total,
            pass->queues.ends.total == checkpoint->queue_ends.total ? ", but not each for itself"
                                                                    : "");
}

/* Our part of the checkpoint is void although something stands there: 4.9.2 has written its times
 * since, or the file is damaged. Recovery cannot tell either, and relies on the times alone. */
static void check_void_part(struct verify *verify, const struct verify_place *place)
{
    char *data;
    size_t size;
    if (verify->checkpoint.durable_pos >= 0 || verify->files->in_use ||
        vfs_read_file(verify->files->vfs, place->path, CHECKPOINT_FILE_BYTES, &data, &size) !=
            STATUS_OK)
        return;
    for (size_t i = 24; i < size && i < CHECKPOINT_USED_BYTES; i++) {
        if (data[i] == 0)
            continue;
        verify_report(verify, false, "checkpoint", place,
                      "its second part has the wrong checksum, as when a 4.9.2 broker has used the "
                      "store since; the next start reads more of the log than it had to");
        break;
    }
    free(data);
}

static void check_checkpoint(const struct pass *pass)
{
    struct verify *verify = pass->verify;
    const struct checkpoint *checkpoint = &verify->checkpoint;
    char path[PATH_MAX];
    struct verify_place place = PLACE_NONE;
    (void)snprintf(path, sizeof path, "%s/checkpoint", verify->files->root);
    place.path = path;
    if (!verify->files->has_checkpoint) {
        if (verify->result->records > 0 && !verify->files->in_use)
            verify_report(verify, false, "checkpoint", &place,
                          "there is none; the next start reads the log");
        return;
    }
    check_void_part(verify, &place);
    if (checkpoint->durable_pos >= 0 && !verify->files->in_use)
        check_named_record(pass, &place);
    const int64_t times[] = {checkpoint->log_timestamp_ms, checkpoint->queues_timestamp_ms,
                             checkpoint->index_timestamp_ms};
    static const char *const names[] = {"log", "queues", "index"};
    for (size_t i = 0; i < 3 && verify->result->records > 0 && !verify->files->in_use; i++) {
        place.at = (int64_t)i * 8;
        if (times[i] < 0 || times[i] > verify->last_record_ms)
            verify_report(verify, true, "checkpoint", &place,
                          "its time for the %s, %lld, is later than that of any message, %lld",
                          names[i], (long long)times[i], (long long)verify->last_record_ms);
    }
}

/* --- all of it --- */

static enum status begin(struct pass *pass, struct err *err)
{
    struct verify *verify = pass->verify;
    const struct store_files *files = verify->files;
    enum status status = checkpoint_load(files->vfs, files->root, &verify->checkpoint, err);
    check_files(verify);
    check_config(verify);
    verify->doubtful_from =
        files->aborted || files->in_use ? choose_doubtful_from(verify) : INT64_MAX;
    if (status == STATUS_OK)
        status = verify_queues_begin(&pass->queues, verify, err);
    if (status == STATUS_OK)
        status = verify_index_begin(&pass->index, verify, err);
    if (status == STATUS_OK && files->in_use)
        status = find_limit(verify, err);
    return status;
}

enum status verify_store(const struct store_files *files, const struct verify_options *options,
                         struct verify_result *result, struct err *err)
{
    if (files->index_count > 0 && !options->skip_index &&
        (files->index_slots < 1 || files->index_entries < 2))
        return err_set(err, STATUS_INVALID,
                       "%s/index/%s has %lld bytes, and the file does not say how many slots and "
                       "entries that are: give maxHashSlotNum and maxIndexNum, or the broker's "
                       "configuration, or leave out the index",
                       files->root, files->indexes[0].name, (long long)files->indexes[0].size);
    struct verify verify = {
        .files = files,
        .options = options,
        .result = result,
        .limit = INT64_MAX,
        .topics = MAP_EMPTY,
    };
    *result = (struct verify_result){.log_begin = store_files_log_begin(files)};
    struct pass pass = {.verify = &verify, .last_end_pos = -1};
    enum status status = begin(&pass, err);
    if (status == STATUS_OK)
        status = walk_log(&pass, err);
    if (status == STATUS_OK) {
        verify_queues_finish(&pass.queues);
        verify_index_finish(&pass.index);
        check_checkpoint(&pass);
    }
    verify_queues_release(&pass.queues);
    verify_index_release(&pass.index);
    map_release(&verify.topics);
    free(verify.damaged);
    return status;
}
