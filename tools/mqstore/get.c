/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/index_format.h"
#include "broker/store/log_view.h"
#include "broker/store/queue_view.h"
#include "broker/store/record_keys.h"
#include "common/base/number.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

#include <inttypes.h>
#include <stdlib.h>

#define FOUND_MAX 4096     /* candidates that one index file may give */
#define COUNT_DEFAULT 64   /* of messages with one key */
#define WINDOW_ENTRIES 256 /* a search by time jumps about */

struct get {
    const struct options *options;
    const struct store_files *files;
    struct log_view log;
    int64_t found;
};

static void show(struct get *get, const struct record *record)
{
    get->found++;
    if (get->options->raw_body)
        (void)fwrite(record->body.data, 1, record->body.size, stdout);
    else
        message_print(record, MESSAGE_WITH_BODY, get->options->json);
}

static int failed(const struct err *err, int exit_code)
{
    fprintf(stderr, "mqstore: %s\n", err->text);
    return exit_code;
}

/* The answer of a search in the log. */
static int answer(enum status status, const struct err *err)
{
    return status == STATUS_OK ? EXIT_GOOD
                               : failed(err, status == STATUS_IO ? EXIT_READ : EXIT_FOUND);
}

static int get_at(struct get *get, int64_t pos)
{
    struct err err;
    struct record record;
    enum status status = log_view_record(&get->log, pos, RECORD_CHECK_CRC, &record, NULL, &err);
    if (status == STATUS_OK)
        show(get, &record);
    return answer(status, &err);
}

static int get_by_message_id(struct get *get)
{
    struct host host;
    int64_t pos;
    const char *id = get->options->get_values[0];
    if (!message_id_parse(slice_of_cstr(id), &host, &pos)) {
        fprintf(stderr,
                "mqstore: %s is no offset message id: those have 32 or 56 hex digits; for "
                "the id that a producer sees use --unique-key TOPIC ID\n",
                id);
        return EXIT_USAGE;
    }
    return get_at(get, pos);
}

/* --- by key --- */

static bool has_key(const struct record *record, struct slice topic, struct slice key, bool unique)
{
    struct record_keys keys = record_keys_find(record->properties);
    if (!slice_equal(record->topic, topic))
        return false;
    if (unique)
        return slice_equal(keys.unique_key, key);
    struct slice rest = keys.keys;
    while (rest.size > 0) {
        const uint8_t *blank = memchr(rest.data, ' ', rest.size);
        size_t size = blank == NULL ? rest.size : (size_t)(blank - rest.data);
        if (slice_equal(slice_of(rest.data, size), key))
            return true;
        rest = slice_from(rest, blank == NULL ? size : size + 1);
    }
    return false;
}

/* Show the messages that one index file leads to, newest first. */
static int search_index(struct get *get, const struct found_index *index, bool unique, int64_t most,
                        int64_t *last_pos)
{
    const struct store_files *files = get->files;
    struct slice topic = slice_of_cstr(get->options->get_values[0]);
    struct slice key = slice_of_cstr(get->options->get_values[1]);
    char path[PATH_MAX];
    struct err err;
    int fd;
    void *memory = NULL;
    size_t bytes = index_file_bytes(files->index_slots, files->index_entries);
    store_files_index_path(files, index, path);
    enum status status = files->vfs->ops->open(files->vfs, path, VFS_READ, &fd);
    if (status == STATUS_NOT_FOUND)
        return EXIT_GOOD; /* deleted just now */
    if (status != STATUS_OK) {
        (void)err_set_errno(&err, status, "cannot open %s", path);
        return failed(&err, EXIT_READ);
    }
    if (index->size == (int64_t)bytes)
        status = files->vfs->ops->map(files->vfs, fd, bytes, false, &memory);
    (void)files->vfs->ops->close(files->vfs, fd);
    if (memory == NULL) {
        (void)err_set(&err, STATUS_IO, "%s cannot be searched: it has %lld bytes instead of %zu",
                      path, (long long)index->size, bytes);
        return failed(&err, EXIT_READ);
    }
    int64_t *found = calloc(FOUND_MAX, sizeof *found);
    struct index_view view = {memory, files->index_slots, files->index_entries};
    int count = found == NULL
                    ? 0
                    : index_find(&view, index_key_hash(topic, key), 0, INT64_MAX, found, FOUND_MAX);
    for (int i = 0; i < count && get->found < most; i++) {
        struct record record;
        /* The same record may have several keys with one hash, or have been indexed twice. */
        if (found[i] == *last_pos || log_view_record(&get->log, found[i], RECORD_CHECK_CRC, &record,
                                                     NULL, NULL) != STATUS_OK)
            continue;
        *last_pos = found[i];
        if (has_key(&record, topic, key, unique))
            show(get, &record);
    }
    free(found);
    (void)files->vfs->ops->unmap(files->vfs, memory, bytes);
    return EXIT_GOOD;
}

static int get_by_key(struct get *get, bool unique)
{
    const struct store_files *files = get->files;
    int64_t most = get->options->count >= 0 ? get->options->count : COUNT_DEFAULT;
    int64_t last_pos = -1;
    if (files->index_count > 0 && (files->index_slots < 1 || files->index_entries < 2)) {
        fprintf(stderr,
                "mqstore: the index files do not say how many slots and entries they have: give "
                "--index-slots and --index-entries, or -c with the broker's configuration\n");
        return EXIT_USAGE;
    }
    int exit_code = EXIT_GOOD;
    for (size_t i = files->index_count; i-- > 0 && get->found < most && exit_code == EXIT_GOOD;)
        exit_code = search_index(get, &files->indexes[i], unique, most, &last_pos);
    if (exit_code == EXIT_GOOD && get->found == 0) {
        fprintf(stderr, "mqstore: the index leads to no message of topic %s with the key %s\n",
                get->options->get_values[0], get->options->get_values[1]);
        return EXIT_FOUND;
    }
    return exit_code;
}

/* --- by queue and time --- */

/* The record at a queue offset.
 * returns  OK | NOT_FOUND | CORRUPT | IO */
static enum status read_queue(struct get *get, struct queue_view *queue, int64_t queue_offset,
                              struct record *record, struct err *err)
{
    const uint8_t *entry;
    enum status status = queue_view_entry(queue, queue_offset, &entry, err);
    if (status == STATUS_OK && queue_entry_is_filler(entry))
        return err_set(err, STATUS_NOT_FOUND, "the message is lost: a filler stands in its place");
    if (status == STATUS_OK)
        status =
            log_view_record(&get->log, queue_entry_pos(entry), RECORD_CHECK_CRC, record, NULL, err);
    return status;
}

static int get_by_queue(struct get *get)
{
    struct slice topic;
    int32_t id;
    int64_t offset;
    struct err err;
    struct queue_bounds bounds;
    (void)queue_name_parse(get->options->get_values[0], &topic, &id);
    (void)parse_i64(slice_of_cstr(get->options->get_values[1]), &offset);
    const struct found_queue *queue = store_files_queue(get->files, topic, id);
    if (queue == NULL) {
        (void)err_set(&err, STATUS_NOT_FOUND, "there is no queue %s; mqstore info lists them",
                      get->options->get_values[0]);
        return failed(&err, EXIT_FOUND);
    }
    enum status status = queue_bounds_find(get->files, queue, store_files_log_begin(get->files),
                                           !get->files->in_use, &bounds, &err);
    if (status != STATUS_OK)
        return answer(status, &err);
    if (offset < bounds.min_offset || offset >= bounds.max_offset) {
        (void)err_set(&err, STATUS_NOT_FOUND, "the queue %s has the offsets %lld to %lld",
                      get->options->get_values[0], (long long)bounds.min_offset,
                      (long long)bounds.max_offset - 1);
        return failed(&err, EXIT_FOUND);
    }
    struct queue_view view;
    struct record record;
    queue_view_init(&view, get->files, queue, 1);
    status = read_queue(get, &view, offset, &record, &err);
    if (status == STATUS_OK)
        show(get, &record);
    queue_view_release(&view);
    return answer(status, &err);
}

/* Show the queue's first message stored at or after a time. An offset without a message counts as
 * earlier. */
static void search_time(struct get *get, const struct found_queue *queue, int64_t when_ms)
{
    struct queue_bounds bounds;
    if (queue_bounds_find(get->files, queue, store_files_log_begin(get->files), !get->files->in_use,
                          &bounds, NULL) != STATUS_OK)
        return;
    struct queue_view view;
    struct record record;
    queue_view_init(&view, get->files, queue, WINDOW_ENTRIES);
    int64_t low = bounds.min_offset;
    int64_t high = bounds.max_offset;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (read_queue(get, &view, middle, &record, NULL) != STATUS_OK ||
            record.store_timestamp_ms < when_ms)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < bounds.max_offset && read_queue(get, &view, low, &record, NULL) == STATUS_OK)
        show(get, &record);
    queue_view_release(&view);
}

static int get_by_time(struct get *get)
{
    const char *text = get->options->get_values[0];
    struct slice topic;
    int32_t id;
    int64_t when_ms;
    (void)when_parse(get->options->get_values[1], &when_ms);
    bool one_queue = queue_name_parse(text, &topic, &id);
    for (size_t i = 0; i < get->files->queue_count; i++) {
        const struct found_queue *queue = &get->files->queues[i];
        bool wanted = one_queue ? slice_is(topic, queue->topic) && queue->id == id
                                : slice_is(slice_of_cstr(text), queue->topic);
        if (wanted)
            search_time(get, queue, when_ms);
    }
    if (get->found > 0)
        return EXIT_GOOD;
    fprintf(stderr, "mqstore: %s has no message that was stored at or after that time\n", text);
    return EXIT_FOUND;
}

int get_run(const struct options *options)
{
    struct store_files *files;
    int exit_code = options_find_store(options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    struct get get = {.options = options, .files = files};
    int64_t pos = 0;
    log_view_init(&get.log, files, LOG_VIEW_LOOK_BYTES);
    switch (options->get_by) {
    case GET_BY_OFFSET:
        (void)parse_i64(slice_of_cstr(options->get_values[0]), &pos);
        exit_code = get_at(&get, pos);
        break;
    case GET_BY_MESSAGE_ID:
        exit_code = get_by_message_id(&get);
        break;
    case GET_BY_KEY:
        exit_code = get_by_key(&get, false);
        break;
    case GET_BY_UNIQUE_KEY:
        exit_code = get_by_key(&get, true);
        break;
    case GET_BY_TIME:
        exit_code = get_by_time(&get);
        break;
    case GET_BY_QUEUE:
        exit_code = get_by_queue(&get);
        break;
    case GET_BY_NOTHING:
        break;
    }
    log_view_release(&get.log);
    store_files_free(files);
    return exit_code;
}
