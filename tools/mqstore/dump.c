/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/log_view.h"
#include "broker/store/queue_view.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

#include <inttypes.h>

#define WINDOW_ENTRIES 1024

static enum message_form form_of(const struct options *options)
{
    return options->bodies ? MESSAGE_WITH_BODY : MESSAGE_LINE;
}

/* --- the log --- */

struct dump {
    const struct options *options;
    int64_t left; /* messages still wanted, -1: all */
    int exit_code;
};

static void dump_item(struct dump *dump, const struct log_item *item)
{
    const struct options *options = dump->options;
    if (item->kind == LOG_ITEM_DAMAGE) {
        fprintf(stderr, "mqstore: from %" PRId64 " to %" PRId64 " there is no message: %s\n",
                item->pos, item->end_pos, item->why);
        dump->exit_code = EXIT_FOUND;
        return;
    }
    if (item->kind != LOG_ITEM_RECORD)
        return;
    if (!item->body_ok) {
        fprintf(stderr,
                "mqstore: the body of the message at %" PRId64 " does not have its checksum\n",
                item->pos);
        dump->exit_code = EXIT_FOUND;
    }
    if (options->topic != NULL && !slice_is(item->record.topic, options->topic))
        return;
    message_print(&item->record, form_of(options), options->json);
    if (dump->left > 0)
        dump->left--;
}

static int dump_log(const struct options *options, const struct store_files *files)
{
    int64_t from = store_files_log_begin(files);
    if (options->from > from)
        from = options->from;
    struct dump dump = {options, options->count, EXIT_GOOD};
    int64_t limit = options->to >= 0 ? options->to : INT64_MAX;
    struct log_walk walk;
    struct log_item item = {.kind = LOG_ITEM_RECORD};
    struct err err;
    enum status status = STATUS_OK;
    log_walk_begin(&walk, files, from, limit, !files->in_use);
    while (status == STATUS_OK && item.kind != LOG_ITEM_END && dump.left != 0) {
        status = log_walk_next(&walk, &item, &err);
        if (status == STATUS_OK)
            dump_item(&dump, &item);
    }
    log_walk_release(&walk);
    if (status == STATUS_OK)
        return dump.exit_code;
    fprintf(stderr, "mqstore: %s\n", err.text);
    return EXIT_READ;
}

/* --- a queue --- */

static void complain(int64_t queue_offset, const char *why)
{
    fprintf(stderr, "mqstore: queue offset %" PRId64 ": %s\n", queue_offset, why);
}

/* False: there is no message at that offset of the queue; stderr says why. */
static bool dump_entry(const struct options *options, struct queue_view *queue,
                       struct log_view *log, int64_t queue_offset)
{
    struct err err;
    struct record record;
    const uint8_t *entry;
    if (queue_view_entry(queue, queue_offset, &entry, &err) != STATUS_OK) {
        complain(queue_offset, err.text);
        return false;
    }
    if (queue_entry_is_filler(entry)) {
        complain(queue_offset, "the message is lost: a filler stands in its place");
        return false;
    }
    if (log_view_record(log, queue_entry_pos(entry), RECORD_CHECK_CRC, &record, NULL, &err) !=
        STATUS_OK) {
        complain(queue_offset, err.text);
        return false;
    }
    if (!slice_is(record.topic, queue->queue->topic) || record.queue_id != queue->queue->id ||
        record.queue_offset != queue_offset) {
        complain(queue_offset, "its entry points to a record of another queue or offset");
        return false;
    }
    if (options->topic == NULL || slice_is(record.topic, options->topic))
        message_print(&record, form_of(options), options->json);
    return true;
}

static int dump_queue(const struct options *options, const struct store_files *files)
{
    struct slice topic;
    int32_t id;
    (void)queue_name_parse(options->get_values[0], &topic, &id);
    const struct found_queue *queue = store_files_queue(files, topic, id);
    struct queue_bounds bounds;
    struct err err;
    if (queue == NULL) {
        fprintf(stderr, "mqstore: there is no queue %s; mqstore info lists them\n",
                options->get_values[0]);
        return EXIT_FOUND;
    }
    if (queue_bounds_find(files, queue, store_files_log_begin(files), !files->in_use, &bounds,
                          &err) != STATUS_OK) {
        fprintf(stderr, "mqstore: %s\n", err.text);
        return EXIT_READ;
    }
    int64_t from = options->from > bounds.min_offset ? options->from : bounds.min_offset;
    int64_t to =
        options->to >= 0 && options->to < bounds.max_offset ? options->to : bounds.max_offset;
    if (options->count >= 0 && to - from > options->count)
        to = from + options->count;
    struct queue_view entries;
    struct log_view log;
    queue_view_init(&entries, files, queue, WINDOW_ENTRIES);
    log_view_init(&log, files, LOG_VIEW_LOOK_BYTES);
    int exit_code = EXIT_GOOD;
    for (int64_t offset = from; offset < to; offset++) {
        if (!dump_entry(options, &entries, &log, offset))
            exit_code = EXIT_FOUND;
    }
    queue_view_release(&entries);
    log_view_release(&log);
    return exit_code;
}

int dump_run(const struct options *options)
{
    struct store_files *files;
    int exit_code = options_find_store(options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    exit_code =
        options->get_by == GET_BY_QUEUE ? dump_queue(options, files) : dump_log(options, files);
    store_files_free(files);
    return exit_code;
}
