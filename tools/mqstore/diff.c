/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks the queues of both stores side by side, in the order of topic, id and offset. Offsets that
 * only one store has become ranges, so that memory and output do not grow with them; differing
 * messages are printed up to a limit and counted.
 */
#include "broker/store/log_view.h"
#include "broker/store/queue_view.h"
#include "common/base/limits.h"
#include "proto/json.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_ENTRIES 4096
#define PRINT_MAX 100 /* differing messages that are printed for one queue */
#define CONFIG_BYTES_MAX ((size_t)DECODE_BYTES_MAX)

struct side {
    struct store_files *files;
    struct log_view log;
};

struct diff {
    const struct options *options;
    struct side sides[2];
    int64_t same;
    int64_t moved; /* of those, at another position of the log */
    int64_t only[2];
    int64_t different;
    int64_t others; /* topics, offsets and the like */
    int exit_code;
};

static const char *const SIDE_NAMES[] = {"A", "B"};

static void print(struct buf *out)
{
    print_line(out);
    buf_release(out);
}

/* --- messages --- */

/* Offsets that one store has and the other has not. */
struct only_run {
    int side; /* -1: no run */
    int64_t from;
    int64_t to;
};

static void end_run(struct diff *diff, struct only_run *run, const char *topic, int32_t id)
{
    struct buf out = BUF_EMPTY;
    if (run->side == -1)
        return;
    diff->only[run->side] += run->to - run->from;
    if (diff->options->json) {
        json_begin(&out);
        json_cstr(&out, "difference", run->side == 0 ? "onlyInA" : "onlyInB");
        json_cstr(&out, "topic", topic);
        json_number(&out, "queueId", id);
        json_number(&out, "from", run->from);
        json_number(&out, "to", run->to);
        json_end(&out);
    } else {
        buf_printf(&out, "only in %s: topic %s queue %d offsets %" PRId64 " to %" PRId64,
                   SIDE_NAMES[run->side], topic, (int)id, run->from, run->to - 1);
    }
    print(&out);
    run->side = -1;
}

static void add_run(struct diff *diff, struct only_run *run, int side, int64_t offset,
                    const char *topic, int32_t id)
{
    if (run->side != side || run->to != offset) {
        end_run(diff, run, topic, id);
        *run = (struct only_run){side, offset, offset};
    }
    run->to = offset + 1;
}

static bool host_equal(const struct host *a, const struct host *b)
{
    return a->ip_bytes == b->ip_bytes && a->port == b->port &&
           memcmp(a->ip, b->ip, a->ip_bytes) == 0;
}

/* The fields in which two messages differ, in words; empty: in none. */
static void differences(const struct record *a, const struct record *b, int64_t tags_a,
                        int64_t tags_b, char *out, size_t bytes)
{
    const struct {
        const char *name;
        bool equal;
    } fields[] = {
        {"topic", slice_equal(a->topic, b->topic)},
        {"queueId", a->queue_id == b->queue_id},
        {"queueOffset", a->queue_offset == b->queue_offset},
        {"body", slice_equal(a->body, b->body)},
        {"bodyCrc", a->body_crc == b->body_crc},
        {"properties", slice_equal(a->properties, b->properties)},
        {"flag", a->flag == b->flag},
        {"sysFlag", a->sys_flag == b->sys_flag},
        {"bornTimestamp", a->born_timestamp_ms == b->born_timestamp_ms},
        {"bornHost", host_equal(&a->born_host, &b->born_host)},
        {"storeTimestamp", a->store_timestamp_ms == b->store_timestamp_ms},
        {"storeHost", host_equal(&a->store_host, &b->store_host)},
        {"reconsumeTimes", a->reconsume_times == b->reconsume_times},
        {"preparedTransactionOffset",
         a->prepared_transaction_offset == b->prepared_transaction_offset},
        {"tagsCode", tags_a == tags_b},
    };
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof fields / sizeof fields[0] && at < bytes; i++) {
        if (!fields[i].equal)
            at +=
                (size_t)snprintf(out + at, bytes - at, "%s%s", at > 0 ? ", " : "", fields[i].name);
    }
}

/* What one store has at a queue offset. */
struct message {
    bool there; /* an entry that is no filler */
    bool whole; /* and its record */
    int64_t tags_code;
    int64_t pos;
    struct record record;
};

static void read_message(struct side *side, struct queue_view *view, int64_t offset,
                         struct message *out)
{
    const uint8_t *entry;
    *out = (struct message){.there = false};
    if (queue_view_entry(view, offset, &entry, NULL) != STATUS_OK || queue_entry_is_filler(entry))
        return;
    out->there = true;
    out->tags_code = queue_entry_tags_code(entry);
    out->pos = queue_entry_pos(entry);
    out->whole = log_view_record(&side->log, out->pos, RECORD_CHECK_FRAME, &out->record, NULL,
                                 NULL) == STATUS_OK;
}

static void print_different(struct diff *diff, const char *topic, int32_t id, int64_t offset,
                            const char *what)
{
    struct buf out = BUF_EMPTY;
    if (diff->options->json) {
        json_begin(&out);
        json_cstr(&out, "difference", "message");
        json_cstr(&out, "topic", topic);
        json_number(&out, "queueId", id);
        json_number(&out, "queueOffset", offset);
        json_cstr(&out, "fields", what);
        json_end(&out);
    } else {
        buf_printf(&out, "different: topic %s queue %d offset %" PRId64 ": %s", topic, (int)id,
                   offset, what);
    }
    print(&out);
}

struct pair {
    const struct found_queue *queues[2]; /* NULL: this store has none */
    struct queue_bounds bounds[2];
    struct queue_view views[2];
    struct only_run run;
    int printed;
};

static void compare_offset(struct diff *diff, struct pair *pair, int64_t offset)
{
    const struct found_queue *any = pair->queues[0] != NULL ? pair->queues[0] : pair->queues[1];
    struct message messages[2];
    for (int i = 0; i < 2; i++) {
        messages[i] = (struct message){.there = false};
        if (pair->queues[i] != NULL && offset >= pair->bounds[i].min_offset &&
            offset < pair->bounds[i].max_offset)
            read_message(&diff->sides[i], &pair->views[i], offset, &messages[i]);
    }
    if (messages[0].there != messages[1].there) {
        add_run(diff, &pair->run, messages[0].there ? 0 : 1, offset, any->topic, any->id);
        return;
    }
    end_run(diff, &pair->run, any->topic, any->id);
    if (!messages[0].there)
        return;
    char what[320];
    if (!messages[0].whole || !messages[1].whole)
        (void)snprintf(what, sizeof what, "the record is damaged in %s",
                       messages[0].whole   ? "B"
                       : messages[1].whole ? "A"
                                           : "both");
    else
        differences(&messages[0].record, &messages[1].record, messages[0].tags_code,
                    messages[1].tags_code, what, sizeof what);
    if (what[0] == '\0') {
        diff->same++;
        diff->moved += messages[0].pos != messages[1].pos;
        return;
    }
    diff->different++;
    if (pair->printed++ < PRINT_MAX)
        print_different(diff, any->topic, any->id, offset, what);
}

static int compare_queue(struct diff *diff, struct pair *pair)
{
    int64_t from = INT64_MAX;
    int64_t to = 0;
    pair->run.side = -1;
    for (int i = 0; i < 2; i++) {
        struct store_files *files = diff->sides[i].files;
        struct err err;
        if (pair->queues[i] == NULL)
            continue;
        if (queue_bounds_find(files, pair->queues[i], store_files_log_begin(files), !files->in_use,
                              &pair->bounds[i], &err) != STATUS_OK) {
            fprintf(stderr, "mqstore: %s\n", err.text);
            return EXIT_READ;
        }
        queue_view_init(&pair->views[i], files, pair->queues[i], WINDOW_ENTRIES);
        if (pair->bounds[i].min_offset < from)
            from = pair->bounds[i].min_offset;
        if (pair->bounds[i].max_offset > to)
            to = pair->bounds[i].max_offset;
    }
    for (int64_t offset = from; offset < to; offset++)
        compare_offset(diff, pair, offset);
    const struct found_queue *any = pair->queues[0] != NULL ? pair->queues[0] : pair->queues[1];
    end_run(diff, &pair->run, any->topic, any->id);
    for (int i = 0; i < 2; i++)
        queue_view_release(&pair->views[i]);
    return EXIT_GOOD;
}

static int queue_order(const struct found_queue *a, const struct found_queue *b)
{
    int topics = strcmp(a->topic, b->topic);
    return topics != 0 ? topics : (a->id > b->id) - (a->id < b->id);
}

static int compare_queues(struct diff *diff)
{
    const struct store_files *a = diff->sides[0].files;
    const struct store_files *b = diff->sides[1].files;
    size_t i = 0;
    size_t k = 0;
    int exit_code = EXIT_GOOD;
    while (exit_code == EXIT_GOOD && (i < a->queue_count || k < b->queue_count)) {
        int order = i == a->queue_count   ? 1
                    : k == b->queue_count ? -1
                                          : queue_order(&a->queues[i], &b->queues[k]);
        struct pair pair = {
            .queues = {order <= 0 ? &a->queues[i] : NULL, order >= 0 ? &b->queues[k] : NULL}};
        i += order <= 0;
        k += order >= 0;
        exit_code = compare_queue(diff, &pair);
    }
    return exit_code;
}

/* --- tables of config/ --- */

static void print_member(struct diff *diff, const char *file, const char *path,
                         const struct json_value *a, const struct json_value *b)
{
    struct buf out = BUF_EMPTY;
    diff->others++;
    if (diff->options->json) {
        json_begin(&out);
        json_cstr(&out, "difference", "config");
        json_cstr(&out, "file", file);
        json_cstr(&out, "member", path);
        if (a != NULL)
            json_text(&out, "a", a->text);
        if (b != NULL)
            json_text(&out, "b", b->text);
        json_end(&out);
    } else if (a == NULL || b == NULL) {
        buf_printf(&out, "only in %s: %s of %s", a != NULL ? "A" : "B", path, file);
    } else {
        buf_printf(&out, "different: %s of %s", path, file);
        if (a->text.size + b->text.size < 60)
            buf_printf(&out, ": %.*s and %.*s", SLICE_ARGS(a->text), SLICE_ARGS(b->text));
    }
    print(&out);
}

static const struct json_value *find_member(const struct json_value *object, struct slice name)
{
    for (uint32_t i = object->count; i-- > 0;) {
        if (slice_equal(object->keys[i].text, name))
            return &object->items[i];
    }
    return NULL;
}

/* The members of two objects, sorted by nothing: those of A in its order, then those that only B
 * has. The version of a table is no difference. */
static void compare_values(struct diff *diff, const char *file, const char *path,
                           const struct json_value *a, const struct json_value *b, int depth)
{
    if (a->type != JSON_OBJECT || b->type != JSON_OBJECT || depth == 0) {
        if (a->type != b->type || !slice_equal(a->text, b->text))
            print_member(diff, file, path, a, b);
        return;
    }
    char inner[600];
    for (uint32_t i = 0; i < a->count; i++) {
        struct slice name = a->keys[i].text;
        if (slice_is(name, "dataVersion"))
            continue;
        const struct json_value *other = find_member(b, name);
        (void)snprintf(inner, sizeof inner, "%s%s%.*s", path, *path == '\0' ? "" : "/",
                       SLICE_ARGS(name));
        if (other == NULL)
            print_member(diff, file, inner, &a->items[i], NULL);
        else
            compare_values(diff, file, inner, &a->items[i], other, depth - 1);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        struct slice name = b->keys[i].text;
        (void)snprintf(inner, sizeof inner, "%s%s%.*s", path, *path == '\0' ? "" : "/",
                       SLICE_ARGS(name));
        if (find_member(a, name) == NULL && !slice_is(name, "dataVersion"))
            print_member(diff, file, inner, NULL, &b->items[i]);
    }
}

/* An object without members when the file is not there.
 * returns  false: it cannot be read */
static bool load_table(const struct store_files *files, const char *name, struct arena *arena,
                       char **data, struct json_value *out)
{
    char path[PATH_MAX];
    size_t size = 0;
    *out = (struct json_value){.type = JSON_OBJECT};
    *data = NULL;
    (void)snprintf(path, sizeof path, "%s/config/%s", files->root, name);
    enum status status = vfs_read_file(files->vfs, path, CONFIG_BYTES_MAX, data, &size);
    if (status == STATUS_NOT_FOUND)
        return true;
    if (status == STATUS_OK)
        status = json_parse(slice_of(*data, size), arena, out, NULL);
    if (status == STATUS_OK)
        return true;
    fprintf(stderr, "mqstore: %s cannot be read: %s\n", path, status_text(status));
    return false;
}

static void compare_tables(struct diff *diff)
{
    static const char *const names[] = {"topics.json", "subscriptionGroup.json",
                                        "consumerOffset.json", "delayOffset.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct arena arena;
        struct json_value tables[2];
        char *data[2];
        arena_init(&arena, 65536);
        bool a = load_table(diff->sides[0].files, names[i], &arena, &data[0], &tables[0]);
        bool b = load_table(diff->sides[1].files, names[i], &arena, &data[1], &tables[1]);
        if (a && b)
            compare_values(diff, names[i], "", &tables[0], &tables[1], 3);
        else
            diff->exit_code = EXIT_READ;
        free(data[0]);
        free(data[1]);
        arena_release(&arena);
    }
}

/* --- all of it --- */

static bool print_summary(struct diff *diff)
{
    struct buf out = BUF_EMPTY;
    bool equal =
        diff->only[0] == 0 && diff->only[1] == 0 && diff->different == 0 && diff->others == 0;
    if (diff->options->json) {
        json_begin(&out);
        json_bool(&out, "equal", equal);
        json_number(&out, "same", diff->same);
        json_number(&out, "moved", diff->moved);
        json_number(&out, "onlyInA", diff->only[0]);
        json_number(&out, "onlyInB", diff->only[1]);
        json_number(&out, "different", diff->different);
        json_number(&out, "config", diff->others);
        json_end(&out);
    } else {
        buf_printf(&out,
                   "%s%s%s: %" PRId64 " messages are the same, %" PRId64 " of them at another "
                   "position; %" PRId64 " only in A, %" PRId64 " only in B, %" PRId64
                   " different; %" PRId64 " differences in config",
                   equal ? colour_good() : colour_bad(), equal ? "equal" : "DIFFERENT",
                   colour_off(), diff->same, diff->moved, diff->only[0], diff->only[1],
                   diff->different, diff->others);
    }
    print(&out);
    return equal;
}

int diff_run(const struct options *options)
{
    struct diff diff = {.options = options};
    int exit_code = EXIT_GOOD;
    for (int i = 0; i < 2 && exit_code == EXIT_GOOD; i++) {
        exit_code = options_find_store(options, i, &diff.sides[i].files);
        if (exit_code == EXIT_GOOD)
            log_view_init(&diff.sides[i].log, diff.sides[i].files, LOG_VIEW_LOOK_BYTES);
    }
    if (exit_code == EXIT_GOOD)
        exit_code = compare_queues(&diff);
    if (exit_code == EXIT_GOOD) {
        compare_tables(&diff);
        exit_code = diff.exit_code;
        if (!print_summary(&diff) && exit_code == EXIT_GOOD)
            exit_code = EXIT_FOUND;
    }
    for (int i = 0; i < 2; i++) {
        if (diff.sides[i].files != NULL)
            log_view_release(&diff.sides[i].log);
        store_files_free(diff.sides[i].files);
    }
    return exit_code;
}
