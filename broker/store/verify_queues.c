/* SPDX-License-Identifier: Apache-2.0
 *
 * A topic that was deleted and made anew starts over at 0, and records of its earlier life may
 * still be in the log. They lie before the first entry's record, and the log then has a record with
 * queue offset 0 that starts the life which the files hold. Until that one comes they wait; when it
 * never comes, they are records without entries.
 */
#include "broker/store/verify_queues.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS_BYTES (64 * 1024 * 1024) /* for all queues together */
#define WINDOW_ENTRIES_MIN 64
#define WINDOW_ENTRIES_MAX 4096
#define DELAY_MS_MAX (10LL * 365 * 24 * 3600 * 1000)
#define EXTENSION_BYTES_MAX ((int64_t)1 << 47)
#define KEY_BYTES 256

/* Records that are alike, reported as one. */
struct run {
    int64_t count;
    int64_t pos; /* of the first */
    int64_t first_offset;
    int64_t last_offset;
};

struct queue_check {
    const struct found_queue *queue; /* NULL: there are no files */
    char *topic;
    int32_t id;
    struct queue_bounds bounds;
    struct queue_view view;
    int64_t first_pos;   /* record of the first entry that counts, INT64_MAX: there is none */
    int64_t next;        /* entries before it have been accounted for */
    int64_t last_offset; /* queue offset of the last record, -1: none yet */
    int64_t last_pos;    /* its position */
    struct run earlier;  /* of an earlier life, perhaps */
    struct run missing;  /* without an entry */
    struct run pending;  /* without an entry that the next start makes */
    int64_t lost;        /* fillers */
    bool vanished;       /* a broker was deleting the files */
    int alike;           /* findings about single entries */
    int64_t more;        /* not reported any more */
};

static void run_add(struct run *run, const struct record *record)
{
    if (run->count++ == 0) {
        run->pos = record->physical_offset;
        run->first_offset = record->queue_offset;
    }
    run->last_offset = record->queue_offset;
}

static struct verify_place place_of(const struct queue_check *check, int64_t queue_offset,
                                    int64_t pos)
{
    struct verify_place place = PLACE_NONE;
    place.topic = check->topic;
    place.queue_id = check->id;
    place.queue_offset = queue_offset;
    place.pos = pos;
    return place;
}

/* Report about one entry, unless there were many alike. */
static void report_entry(struct verify_queues *queues, struct queue_check *check, bool damage,
                         int64_t queue_offset, int64_t pos, const char *text)
{
    if (check->alike >= VERIFY_ALIKE_MAX && damage) {
        check->more++;
        return;
    }
    check->alike += damage;
    char path[PATH_MAX];
    struct verify_place place = place_of(check, queue_offset, pos);
    queue_view_place(queues->verify->files, check->queue, queue_offset, path, &place.at);
    place.path = path;
    verify_report(queues->verify, damage, "entry", &place, "%s", text);
}

/* --- begin --- */

static struct queue_check *check_new(struct verify_queues *queues, struct slice topic, int32_t id,
                                     const struct found_queue *queue)
{
    struct queue_check *check = xcalloc(1, sizeof *check);
    check->queue = queue;
    check->topic = xmalloc(topic.size + 1);
    memcpy(check->topic, topic.data, topic.size);
    check->topic[topic.size] = '\0';
    check->id = id;
    check->first_pos = INT64_MAX;
    check->last_offset = -1;
    if (queue != NULL)
        queue_view_init(&check->view, queues->verify->files, queue, queues->window_entries);
    return check;
}

static struct slice check_key(struct slice topic, int32_t id, uint8_t key[KEY_BYTES])
{
    size_t size = topic.size < KEY_BYTES - 4 ? topic.size : KEY_BYTES - 4;
    put_i32(key, id);
    if (size > 0)
        memcpy(key + 4, topic.data, size);
    return slice_of(key, size + 4);
}

static void check_files(struct verify_queues *queues, const struct found_queue *queue)
{
    const struct store_files *files = queues->verify->files;
    for (size_t i = 0; i < queue->file_count; i++) {
        const struct found_file *file = &queue->files[i];
        char path[PATH_MAX];
        struct verify_place place = PLACE_NONE;
        store_files_queue_path(files, queue, file->base, path);
        place.path = path;
        place.topic = queue->topic;
        place.queue_id = queue->id;
        bool unfinished = file->size == 0 && i + 1 == queue->file_count && files->aborted;
        if (file->size != files->queue_file_bytes)
            verify_report(queues->verify, !unfinished, "file", &place,
                          "the file has %lld bytes, the queues' files have %lld",
                          (long long)file->size, (long long)files->queue_file_bytes);
        if (file->base % files->queue_file_bytes != 0)
            verify_report(queues->verify, true, "file", &place,
                          "its name is no multiple of the size of the queues' files, %lld",
                          (long long)files->queue_file_bytes);
        if (i > 0 && file->base != queue->files[i - 1].base + files->queue_file_bytes)
            verify_report(queues->verify, true, "file", &place,
                          "the file before it is missing; the queue has a gap from entry %lld on",
                          (long long)((queue->files[i - 1].base + files->queue_file_bytes) /
                                      QUEUE_ENTRY_BYTES));
    }
}

/* A queue whose files vanish while a broker runs is being deleted. */
static enum status check_begin(struct verify_queues *queues, const struct found_queue *queue,
                               struct err *err)
{
    struct verify *verify = queues->verify;
    const struct store_files *files = verify->files;
    struct slice topic = slice_of_cstr(queue->topic);
    struct queue_check *check = check_new(queues, topic, queue->id, queue);
    uint8_t key[KEY_BYTES];
    (void)map_put(&queues->by_name, check_key(topic, queue->id, key), check);
    enum status status = queue_bounds_find(files, queue, store_files_log_begin(files),
                                           !files->in_use, &check->bounds, err);
    if (status == STATUS_NOT_FOUND && files->in_use) {
        check->vanished = true;
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return status;
    check_files(queues, queue);
    check->next = check->bounds.first_offset;
    queue_ends_move(&queues->ends, queue_ends_name(topic, queue->id), 0, check->bounds.max_offset);
    const uint8_t *entry;
    if (check->bounds.min_offset < check->bounds.max_offset &&
        queue_view_entry(&check->view, check->bounds.min_offset, &entry, NULL) == STATUS_OK)
        check->first_pos = queue_entry_pos(entry);
    queue_view_release(&check->view);
    return STATUS_OK;
}

enum status verify_queues_begin(struct verify_queues *queues, struct verify *verify,
                                struct err *err)
{
    const struct store_files *files = verify->files;
    *queues = (struct verify_queues){.verify = verify, .by_name = MAP_EMPTY, .last_damage_pos = -1};
    size_t entries = WINDOWS_BYTES / QUEUE_ENTRY_BYTES / (files->queue_count + 1);
    if (entries < WINDOW_ENTRIES_MIN)
        entries = WINDOW_ENTRIES_MIN;
    queues->window_entries = entries < WINDOW_ENTRIES_MAX ? entries : WINDOW_ENTRIES_MAX;
    if (files->queue_count > 0 && files->queue_file_bytes < QUEUE_ENTRY_BYTES)
        return STATUS_OK; /* nothing but empty files */
    enum status status = STATUS_OK;
    for (size_t i = 0; i < files->queue_count && status == STATUS_OK; i++)
        status = check_begin(queues, &files->queues[i], err);
    return status;
}

void verify_queues_release(struct verify_queues *queues)
{
    size_t cursor = 0;
    for (struct map_entry *entry = map_next(&queues->by_name, &cursor); entry != NULL;
         entry = map_next(&queues->by_name, &cursor)) {
        struct queue_check *check = entry->value;
        queue_view_release(&check->view);
        free(check->topic);
        free(check);
    }
    map_release(&queues->by_name);
}

static struct queue_check *check_find(struct verify_queues *queues, const struct record *record)
{
    struct queue_check *recent = queues->recent;
    if (recent != NULL && recent->id == record->queue_id && slice_is(record->topic, recent->topic))
        return recent;
    uint8_t key_bytes[KEY_BYTES];
    struct slice key = check_key(record->topic, record->queue_id, key_bytes);
    struct queue_check *check = map_get(&queues->by_name, key);
    if (check == NULL) {
        check = check_new(queues, record->topic, record->queue_id, NULL);
        (void)map_put(&queues->by_name, key, check);
    }
    queues->recent = check;
    return check;
}

/* --- entries without a record --- */

/* The entry at `queue_offset` belongs to no record that came. */
static void account_orphan(struct verify_queues *queues, struct queue_check *check,
                           int64_t queue_offset, const uint8_t *entry)
{
    struct verify *verify = queues->verify;
    char text[160];
    int64_t pos = queue_entry_pos(entry);
    int32_t size = queue_entry_size(entry);
    if (queue_entry_is_filler(entry)) {
        check->lost += queue_offset >= check->bounds.min_offset;
        return;
    }
    if (size > 0 && pos >= 0 && pos < verify->result->log_begin)
        return; /* its message has expired */
    if (size > 0 && verify_is_damaged(verify, pos))
        return; /* reported there */
    bool behind = pos >= verify->result->log_end || pos >= verify->doubtful_from;
    if (size <= 0 || pos < 0)
        (void)snprintf(text, sizeof text, "no entry can be (position %lld, size %ld)",
                       (long long)pos, (long)size);
    else if (pos >= verify->result->log_end)
        (void)snprintf(text, sizeof text, "it points to %lld, behind the end of the log at %lld",
                       (long long)pos, (long long)verify->result->log_end);
    else
        (void)snprintf(text, sizeof text,
                       "it points to %lld, where no record of this queue and offset stands",
                       (long long)pos);
    bool mended = behind && verify->doubtful_from != INT64_MAX && size > 0;
    report_entry(queues, check, !mended, queue_offset, -1, text);
}

/* Account for the entries up to `end`, none of which has a record. */
static void account_gap(struct verify_queues *queues, struct queue_check *check, int64_t end)
{
    struct err why;
    const uint8_t *entry;
    while (check->next < end) {
        enum status status = queue_view_entry(&check->view, check->next, &entry, &why);
        if (status == STATUS_OK) {
            account_orphan(queues, check, check->next, entry);
            check->next++;
            continue;
        }
        if (status == STATUS_IO)
            report_entry(queues, check, true, check->next, -1, why.text);
        /* A file that is missing or short was reported; go on in the next one. */
        int64_t file_entries = queues->verify->files->queue_file_bytes / QUEUE_ENTRY_BYTES;
        int64_t behind = (check->next / file_entries + 1) * file_entries;
        check->next = queue_view_next(queues->verify->files, check->queue, behind);
    }
}

/* --- records --- */

/* Hold the queue offset against that of the record before. */
static void check_order(struct verify_queues *queues, struct queue_check *check,
                        const struct record *record)
{
    int64_t offset = record->queue_offset;
    bool explained = queues->last_damage_pos > check->last_pos; /* records between are damaged */
    bool starts_over = offset == 0; /* whether its entries say so too is seen there */
    if (check->last_offset != -1 && !starts_over && offset != check->last_offset + 1 &&
        !(explained && offset > check->last_offset)) {
        struct verify_place place = place_of(check, offset, record->physical_offset);
        const struct found_file *segment =
            store_files_segment(queues->verify->files, record->physical_offset);
        char path[PATH_MAX] = "";
        if (segment != NULL) {
            store_files_segment_path(queues->verify->files, segment, path);
            place.at = record->physical_offset - segment->base;
        }
        place.path = path;
        verify_report(queues->verify, true, "record", &place,
                      "the queue offset does not follow %lld, that of the record before it in its "
                      "queue",
                      (long long)check->last_offset);
    }
    check->last_offset = offset;
    check->last_pos = record->physical_offset;
}

static bool tags_code_fits(const struct verify *verify, const struct record *record,
                           const struct record_keys *keys, int64_t found, int64_t *wanted)
{
    const struct verify_options *options = verify->options;
    *wanted = record_tags_code(record, keys, options->delay_levels_ms, options->delay_level_count);
    if (found == *wanted)
        return true;
    /* The code is in consumequeue_ext, at a position that can be one. */
    if (queue_tags_code_is_elsewhere(found) && found - INT64_MIN < EXTENSION_BYTES_MAX)
        return true;
    /* Levels are whole seconds, minutes, hours or days. */
    int64_t delay_ms;
    return record_is_delayed(record, keys) && options->delay_level_count == 0 &&
           !__builtin_sub_overflow(found, record->store_timestamp_ms, &delay_ms) && delay_ms >= 0 &&
           delay_ms <= DELAY_MS_MAX && delay_ms % 1000 == 0;
}

static void compare(struct verify_queues *queues, struct queue_check *check,
                    const struct record *record, const struct record_keys *keys,
                    const uint8_t *entry)
{
    char text[200];
    int64_t wanted;
    int64_t pos = record->physical_offset;
    if (queue_entry_pos(entry) != pos)
        (void)snprintf(text, sizeof text, "it points to %lld, its record stands at %lld",
                       (long long)queue_entry_pos(entry), (long long)pos);
    else if (queue_entry_size(entry) != record->size)
        (void)snprintf(text, sizeof text, "it says that its record has %ld bytes, which has %ld",
                       (long)queue_entry_size(entry), (long)record->size);
    else if (!tags_code_fits(queues->verify, record, keys, queue_entry_tags_code(entry), &wanted))
        (void)snprintf(text, sizeof text, "its tags code is %lld, that of its record is %lld",
                       (long long)queue_entry_tags_code(entry), (long long)wanted);
    else {
        queues->verify->result->queue_entries++;
        return;
    }
    bool mended = pos >= queues->verify->doubtful_from;
    report_entry(queues, check, !mended, record->queue_offset, pos, text);
}

static bool is_blank(const uint8_t *entry)
{
    static const uint8_t zeros[QUEUE_ENTRY_BYTES];
    return memcmp(entry, zeros, QUEUE_ENTRY_BYTES) == 0 || queue_entry_is_filler(entry);
}

void verify_queues_record(struct verify_queues *queues, const struct record *record,
                          const struct record_keys *keys)
{
    if (!record_in_queue(record))
        return;
    struct queue_check *check = check_find(queues, record);
    check_order(queues, check, record);
    int64_t offset = record->queue_offset;
    const uint8_t *entry = NULL;
    bool inside = check->queue != NULL && offset >= check->bounds.first_offset &&
                  offset < check->bounds.max_offset;
    uint8_t kept[QUEUE_ENTRY_BYTES]; /* the window moves when there is a gap in front */
    if (inside && queue_view_entry(&check->view, offset, &entry, NULL) == STATUS_OK)
        entry = memcpy(kept, entry, sizeof kept);
    else
        entry = NULL;
    bool matches = entry != NULL && queue_entry_pos(entry) == record->physical_offset;
    if (!matches && check->first_pos != INT64_MAX && record->physical_offset < check->first_pos) {
        run_add(&check->earlier, record);
        return;
    }
    if (matches && offset == 0 && check->earlier.count > 0) {
        struct verify_place place =
            place_of(check, check->earlier.first_offset, check->earlier.pos);
        verify_report(queues->verify, false, "missing-entry", &place,
                      "%lld records of an earlier life of the topic are not in the queue",
                      (long long)check->earlier.count);
        check->earlier.count = 0;
    }
    if (entry != NULL && offset > check->next)
        account_gap(queues, check, offset);
    if (entry == NULL || is_blank(entry)) {
        bool vanished =
            check->vanished || (inside && entry == NULL && queues->verify->files->in_use);
        bool mended = vanished || record->physical_offset >= queues->verify->doubtful_from;
        run_add(mended ? &check->pending : &check->missing, record);
    } else {
        compare(queues, check, record, keys, entry);
    }
    if (entry != NULL && offset >= check->next)
        check->next = offset + 1;
}

/* --- finish --- */

static void report_missing(struct verify_queues *queues, const struct queue_check *check,
                           const struct run *run, bool mended)
{
    struct verify *verify = queues->verify;
    if (run->count == 0)
        return;
    char path[PATH_MAX];
    struct verify_place place = place_of(check, run->first_offset, run->pos);
    struct found_queue nowhere = {.topic = check->topic, .id = check->id};
    queue_view_place(verify->files, check->queue != NULL ? check->queue : &nowhere,
                     run->first_offset, path, &place.at);
    place.path = path;
    bool deleted =
        check->queue == NULL && !verify_topic_exists(verify, slice_of_cstr(check->topic));
    const char *why = deleted  ? "; the topic is not in topics.json: it has been deleted"
                      : mended ? "; the next start makes them, if they are not on their way"
                               : "";
    verify_report(verify, !deleted && !mended, "missing-entry", &place,
                  "%lld records have no entry in their queue: queue offsets %lld to %lld%s",
                  (long long)run->count, (long long)run->first_offset, (long long)run->last_offset,
                  why);
}

static void check_finish(struct verify_queues *queues, struct queue_check *check)
{
    struct verify *verify = queues->verify;
    if (check->queue != NULL)
        account_gap(queues, check, check->bounds.max_offset);
    report_missing(queues, check, &check->earlier, false);
    report_missing(queues, check, &check->missing, false);
    report_missing(queues, check, &check->pending, true);
    struct verify_place place = place_of(check, -1, -1);
    if (check->lost > 0)
        verify_report(verify, false, "entry", &place,
                      "%lld entries are fillers: their messages are lost", (long long)check->lost);
    if (check->more > 0)
        verify_report(verify, true, "entry", &place, "%lld more entries are wrong",
                      (long long)check->more);
}

void verify_queues_finish(struct verify_queues *queues)
{
    struct arena arena;
    arena_init(&arena, 65536);
    struct map_entry **sorted = map_sorted(&queues->by_name, &arena);
    for (size_t i = 0; i < queues->by_name.count; i++)
        check_finish(queues, sorted[i]->value);
    arena_release(&arena);
}
