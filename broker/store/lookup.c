/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking up single entries and records: by offset, by time, by position, by key.
 *
 * Source: RocketMQ store/.../ConsumeQueue.java getOffsetInQueueByTime. Difference: the file to
 * search by time is chosen by the store time of its last entry, not by its modification time, which
 * copying a store would change.
 */
#include "broker/store/reach.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"

/* The bytes that commitlog_store_time looks at. */
#define STORE_TIME_BYTES 76

/* --- ranges --- */

void log_segment_release(void *segment)
{
    segment_drop(segment);
}

void log_range_file(const struct log_range *range, int *fd, int64_t *offset)
{
    const struct segment *segment = range->segment;
    *fd = segment->fd;
    *offset = range->data - segment->data;
}

void log_range_release(struct log_range *range)
{
    if (range->segment != NULL)
        segment_drop(range->segment);
    *range = (struct log_range){NULL, 0, NULL};
}

/* --- entries and times --- */

/* Hold the file of an entry that is there, with the entry in memory. */
static enum status reach_entry(struct queue *queue, int64_t queue_offset, const struct reach *reach,
                               struct queue_file **file, struct slice *entry)
{
    if (queue_offset < queue_min_offset(queue) || queue_offset >= queue_max_offset(queue))
        return STATUS_NOT_FOUND;
    struct slice bytes;
    enum status status = reach_file(queue, queue_offset, reach, file, &bytes);
    if (status != STATUS_OK)
        return status;
    *entry = slice_of(bytes.data, QUEUE_ENTRY_BYTES);
    status = reach_entries(queue, *file, queue_offset, entry, reach);
    if (status != STATUS_OK)
        queue_file_drop(*file);
    return status;
}

bool queue_entry_at(struct queue *queue, int64_t queue_offset, struct queue_entry *out)
{
    struct slice entry;
    struct queue_file *file;
    struct cold_loader loader = {0};
    enum status status =
        reach_entry(queue, queue_offset, &(struct reach){&loader, NULL}, &file, &entry);
    cold_loader_release(&loader);
    if (status != STATUS_OK)
        return false;
    bool filler = queue_entry_is_filler(entry.data);
    out->pos = filler ? -1 : queue_entry_pos(entry.data);
    out->size = filler ? 0 : queue_entry_size(entry.data);
    out->tags_code = queue_entry_tags_code(entry.data);
    queue_file_drop(file);
    return true;
}

bool queue_entry_in_memory(struct queue *queue, int64_t queue_offset)
{
    struct slice entry;
    struct queue_file *file;
    enum status status =
        reach_entry(queue, queue_offset, &(struct reach){NULL, NULL}, &file, &entry);
    if (status == STATUS_OK)
        queue_file_drop(file);
    return status != STATUS_BUSY;
}

/* Store time of the record at `pos`, -1 when it is not in the log or cannot be read. */
static int64_t store_time_at(struct store *store, int64_t pos, const struct reach *reach)
{
    struct segment *segment;
    if (commitlog_read(&store->log, pos, STORE_TIME_BYTES, &segment).data == NULL)
        return -1;
    enum status status = reach_log(store, segment, pos, STORE_TIME_BYTES, reach);
    segment_drop(segment);
    return status == STATUS_OK ? commitlog_store_time(&store->log, pos) : -1;
}

int64_t queue_store_time(struct queue *queue, int64_t queue_offset)
{
    struct queue_entry entry;
    if (!queue_entry_at(queue, queue_offset, &entry))
        return -1;
    struct cold_loader loader = {0};
    int64_t time_ms = store_time_at(queue->store, entry.pos, &(struct reach){&loader, NULL});
    cold_loader_release(&loader);
    return time_ms;
}

/* Entries of one file, from offset `first` on. */
struct span {
    struct queue *queue;
    struct reach reach;
    struct queue_file *file;
    struct slice entries;
    int64_t first;
};

/* The entry that a search sees at `offset`: the closest at or before it in the span that is not a
 * filler. False when there is none. */
static bool span_look(const struct span *span, int64_t offset, int64_t *found, int64_t *pos)
{
    struct slice entry = slice_of(
        span->entries.data + (size_t)(offset - span->first) * QUEUE_ENTRY_BYTES, QUEUE_ENTRY_BYTES);
    if (reach_entries(span->queue, span->file, offset, &entry, &span->reach) != STATUS_OK)
        return false;
    int64_t number = queue_entry_before(span->entries, offset - span->first);
    if (number < 0)
        return false;
    *found = span->first + number;
    *pos = queue_entry_pos(span->entries.data + (size_t)number * QUEUE_ENTRY_BYTES);
    return true;
}

/* The span of the first file whose last message is not older than timestamp_ms, else of the last
 * file. */
static bool time_span(struct span *span, int64_t timestamp_ms)
{
    struct queue *queue = span->queue;
    int64_t max_offset = queue_max_offset(queue);
    span->first = queue_min_offset(queue);
    for (;;) {
        int64_t next = queue_next_file_offset(queue, span->first);
        int64_t end = next < max_offset ? next : max_offset;
        struct slice bytes;
        int64_t found;
        int64_t pos;
        if (queue_acquire(queue, span->first, &span->file, &bytes) != STATUS_OK)
            return false;
        span->entries = slice_of(bytes.data, (size_t)(end - span->first) * QUEUE_ENTRY_BYTES);
        if (next >= max_offset || (span_look(span, end - 1, &found, &pos) &&
                                   store_time_at(queue->store, pos, &span->reach) >= timestamp_ms))
            return true;
        queue_file_drop(span->file);
        span->first = next;
    }
}

/* The offset in the span whose time is nearest; 0 when the log does not hold what an entry says. */
static int64_t search_span(const struct span *span, int64_t timestamp_ms)
{
    struct store *store = span->queue->store;
    int64_t low = span->first;
    int64_t high = low + (int64_t)(span->entries.size / QUEUE_ENTRY_BYTES) - 1;
    int64_t min_pos = store_min_pos(store);
    int64_t left = -1; /* newest offset that is older, and its time */
    int64_t left_ms = -1;
    int64_t right = -1; /* oldest offset that is newer */
    int64_t right_ms = -1;
    while (low <= high) {
        int64_t middle = low + (high - low) / 2;
        int64_t found;
        int64_t pos;
        if (!span_look(span, middle, &found, &pos) || pos < min_pos) {
            left = middle;
            low = middle + 1;
            continue;
        }
        int64_t time_ms = store_time_at(store, pos, &span->reach);
        if (time_ms < 0)
            return 0;
        if (time_ms == timestamp_ms)
            return found;
        if (time_ms > timestamp_ms) {
            right = found;
            right_ms = time_ms;
            high = found - 1;
        } else {
            left = found;
            left_ms = time_ms;
            low = middle + 1;
        }
    }
    if (left_ms == -1)
        return right == -1 ? left : right;
    if (right_ms == -1)
        return left;
    return timestamp_ms - left_ms > right_ms - timestamp_ms ? right : left;
}

int64_t queue_offset_by_time(struct queue *queue, int64_t timestamp_ms)
{
    struct cold_loader loader = {0};
    struct span span = {.queue = queue, .reach = {&loader, NULL}};
    int64_t offset = 0;
    if (queue_max_offset(queue) > queue_min_offset(queue) && time_span(&span, timestamp_ms)) {
        offset = search_span(&span, timestamp_ms);
        queue_file_drop(span.file);
    }
    cold_loader_release(&loader);
    return offset;
}

/* --- by position and by key --- */

/* Have the record at `pos` in memory. Any number may be asked for: a size is believed when the
 * bytes around it are those of a record that lies there. end  of the log, or of the segment */
static enum status reach_record(struct store *store, struct segment *segment, int64_t pos,
                                int64_t end, const struct reach *reach)
{
    if (end - pos < RECORD_NAME_BYTES)
        return STATUS_NOT_FOUND;
    enum status status = reach_log(store, segment, pos, RECORD_NAME_BYTES, reach);
    if (status != STATUS_OK)
        return status;
    const uint8_t *data = segment->data + (pos - segment->base);
    int64_t size = get_i32(data);
    if (size < RECORD_NAME_BYTES || size > end - pos || get_u32(data + 4) != RECORD_MAGIC ||
        get_i64(data + RECORD_PHYSICAL_OFFSET_AT) != pos)
        return STATUS_NOT_FOUND;
    return reach_log(store, segment, pos, size, reach);
}

static enum status read_record(struct store *store, int64_t pos, const struct reach *reach,
                               struct log_range *out)
{
    if (pos < store_min_pos(store))
        return STATUS_NOT_FOUND;
    struct segment *segment = commitlog_acquire(&store->log, pos);
    if (segment == NULL)
        return STATUS_NOT_FOUND;
    int64_t end = store_appended_pos(store);
    if (end > segment_end(segment))
        end = segment_end(segment);
    enum status status = reach_record(store, segment, pos, end, reach);
    if (status == STATUS_OK) {
        struct record record;
        const uint8_t *data = segment->data + (pos - segment->base);
        if (record_decode(slice_of(data, (size_t)(end - pos)), RECORD_CHECK_FRAME, &record) ==
            STATUS_OK) {
            *out = (struct log_range){data, (size_t)record.size, segment};
            return STATUS_OK;
        }
        status = STATUS_NOT_FOUND;
    }
    segment_drop(segment);
    return status;
}

enum status store_read_record(struct store *store, int64_t pos, struct log_range *out)
{
    struct cold_loader loader = {0};
    enum status status = read_record(store, pos, &(struct reach){&loader, NULL}, out);
    cold_loader_release(&loader);
    return status;
}

enum status store_try_read_record(struct store *store, int64_t pos, struct log_range *out)
{
    return read_record(store, pos, &(struct reach){NULL, NULL}, out);
}

int store_query_index(struct store *store, struct slice topic, struct slice key, int max_count,
                      int64_t begin_ms, int64_t end_ms, int64_t *out, int64_t *last_timestamp_ms,
                      int64_t *last_pos)
{
    return index_query(&store->index, index_key_hash(topic, key), max_count, begin_ms, end_ms, out,
                       last_timestamp_ms, last_pos);
}
