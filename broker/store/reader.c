/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading: pulls, searches by time, records by position. Any thread; no allocation but the ranges'
 * table from the caller's arena.
 *
 * Source: RocketMQ store/.../DefaultMessageStore.java getMessage, ConsumeQueue.java
 * getOffsetInQueueByTime. Difference: the file to search by time is chosen by the store time of its
 * last entry, not by its modification time, which copying a store would change.
 */
#include "broker/store/store_internal.h"
#include "proto/properties.h"

/* Bytes of entries one pull may look at, 4.9.2's maxFilterMessageCount. */
#define SCAN_BYTES_MIN 16000

const char *get_status_name(enum get_status status)
{
    static const char *const names[] = {
        [GET_FOUND] = "FOUND",
        [GET_NO_MATCHED_MESSAGE] = "NO_MATCHED_MESSAGE",
        [GET_MESSAGE_WAS_REMOVING] = "MESSAGE_WAS_REMOVING",
        [GET_OFFSET_FOUND_NULL] = "OFFSET_FOUND_NULL",
        [GET_OFFSET_OVERFLOW_BADLY] = "OFFSET_OVERFLOW_BADLY",
        [GET_OFFSET_OVERFLOW_ONE] = "OFFSET_OVERFLOW_ONE",
        [GET_OFFSET_TOO_SMALL] = "OFFSET_TOO_SMALL",
        [GET_NO_MATCHED_LOGIC_QUEUE] = "NO_MATCHED_LOGIC_QUEUE",
        [GET_NO_MESSAGE_IN_QUEUE] = "NO_MESSAGE_IN_QUEUE",
    };
    return names[status];
}

/* --- ranges --- */

void log_segment_release(void *segment)
{
    segment_drop(segment);
}

void log_range_release(struct log_range *range)
{
    segment_drop(range->segment);
    *range = (struct log_range){NULL, 0, NULL};
}

/* --- pull --- */

struct pull {
    struct store *store;
    struct get_result *out;
    struct segment *segment; /* the one read last; held */
    int max_messages;
    int64_t log_end;
};

static bool batch_is_full(const struct pull *pull, int64_t pos, int32_t size)
{
    const struct store_options *options = &pull->store->options;
    const struct get_result *out = pull->out;
    if (out->count == 0)
        return false;
    if (out->count >= pull->max_messages)
        return true;
    bool hot = pull->log_end - pos <= options->memory_bytes_hot;
    int64_t bytes_max = hot ? options->transfer_bytes_memory : options->transfer_bytes_disk;
    int32_t count_max = hot ? options->transfer_count_memory : options->transfer_count_disk;
    return (int64_t)out->bytes + size > bytes_max || out->count >= count_max;
}

/* Hold the segment of the record; false when it is not, or no longer, in the log. */
static bool pull_segment(struct pull *pull, int64_t pos, int32_t size)
{
    struct segment *segment = pull->segment;
    if (size <= 0 || pos > pull->log_end - size)
        return false;
    if (segment == NULL || pos < segment->base || pos >= segment_end(segment)) {
        if (segment != NULL)
            segment_drop(segment);
        segment = pull->segment = commitlog_acquire(&pull->store->log, pos);
    }
    return segment != NULL && pos + size <= segment_end(segment);
}

/* Add a record's bytes, to the last range when they follow it directly. */
static void pull_take(struct pull *pull, int64_t pos, int32_t size)
{
    struct get_result *out = pull->out;
    const uint8_t *data = pull->segment->data + (pos - pull->segment->base);
    struct log_range *last = out->range_count == 0 ? NULL : &out->ranges[out->range_count - 1];
    if (last != NULL && last->segment == pull->segment && last->data + last->size == data) {
        last->size += (size_t)size;
    } else {
        segment_hold(pull->segment);
        out->ranges[out->range_count++] = (struct log_range){data, (size_t)size, pull->segment};
    }
    out->bytes += (size_t)size;
    out->count++;
}

static void pull_entries(struct pull *pull, struct slice entries, int64_t queue_offset,
                         tags_filter filter, void *filter_ctx)
{
    struct get_result *out = pull->out;
    int64_t segment_bytes = pull->store->options.segment_bytes;
    int64_t skip_to_pos = INT64_MIN; /* behind a segment that is gone */
    int64_t last_pos = pull->log_end;
    size_t at = 0;
    out->status = GET_NO_MATCHED_MESSAGE;
    for (; at + QUEUE_ENTRY_BYTES <= entries.size; at += QUEUE_ENTRY_BYTES) {
        const uint8_t *entry = entries.data + at;
        int64_t pos = queue_entry_pos(entry);
        int32_t size = queue_entry_size(entry);
        if (queue_entry_is_filler(entry)) {
            if (out->count == 0)
                out->status = GET_MESSAGE_WAS_REMOVING;
            continue;
        }
        last_pos = pos;
        if (pos < skip_to_pos)
            continue;
        if (batch_is_full(pull, pos, size))
            break;
        if (filter != NULL && !filter(filter_ctx, queue_entry_tags_code(entry)))
            continue;
        if (!pull_segment(pull, pos, size)) {
            if (out->count == 0)
                out->status = GET_MESSAGE_WAS_REMOVING;
            skip_to_pos = (pos / segment_bytes + 1) * segment_bytes;
            continue;
        }
        pull_take(pull, pos, size);
        out->status = GET_FOUND;
        skip_to_pos = INT64_MIN;
    }
    out->next_begin_offset = queue_offset + (int64_t)(at / QUEUE_ENTRY_BYTES);
    out->far_behind = pull->log_end - last_pos > pull->store->options.memory_bytes_hot;
}

/* The answers that need no look at the entries. False: there are entries at the offset. */
static bool settled_by_bounds(int64_t queue_offset, struct get_result *out)
{
    if (out->max_offset == 0) {
        out->status = GET_NO_MESSAGE_IN_QUEUE;
        out->next_begin_offset = 0;
    } else if (queue_offset < out->min_offset) {
        out->status = GET_OFFSET_TOO_SMALL;
        out->next_begin_offset = out->min_offset;
    } else if (queue_offset == out->max_offset) {
        out->status = GET_OFFSET_OVERFLOW_ONE;
    } else if (queue_offset > out->max_offset) {
        out->status = GET_OFFSET_OVERFLOW_BADLY;
        out->next_begin_offset = out->min_offset == 0 ? 0 : out->max_offset;
    } else {
        return false;
    }
    return true;
}

/* The entries a pull may look at: to the end of the file, of the queue, or of its patience. */
static struct slice scan_window(struct slice bytes, int64_t available, int max_messages)
{
    size_t window = (size_t)max_messages * QUEUE_ENTRY_BYTES;
    if (window < SCAN_BYTES_MIN)
        window = SCAN_BYTES_MIN;
    if ((uint64_t)available * QUEUE_ENTRY_BYTES < window)
        window = (size_t)available * QUEUE_ENTRY_BYTES;
    return slice_of(bytes.data, bytes.size < window ? bytes.size : window);
}

void store_get(struct store *store, struct queue *queue, int64_t queue_offset, int max_messages,
               tags_filter filter, void *filter_ctx, struct arena *arena, struct get_result *out)
{
    *out = (struct get_result){.status = GET_NO_MATCHED_LOGIC_QUEUE};
    if (queue == NULL)
        return;
    /* The queue's end is read before the log's: every entry then points below that. */
    out->max_offset = queue_max_offset(queue);
    out->min_offset = queue_min_offset(queue);
    out->next_begin_offset = queue_offset;
    if (settled_by_bounds(queue_offset, out))
        return;
    if (max_messages > GET_MESSAGES_MAX)
        max_messages = GET_MESSAGES_MAX;
    if (max_messages < 1)
        max_messages = 1;
    struct slice bytes;
    struct queue_file *file;
    enum status status = queue_acquire(queue, queue_offset, &file, &bytes);
    if (status != STATUS_OK) {
        /* A file that is gone is passed over; one that cannot be opened now is asked for again. */
        out->status = GET_OFFSET_FOUND_NULL;
        if (status == STATUS_NOT_FOUND)
            out->next_begin_offset = queue_next_file_offset(queue, queue_offset);
        return;
    }
    struct slice entries = scan_window(bytes, out->max_offset - queue_offset, max_messages);
    size_t ranges_max = entries.size / QUEUE_ENTRY_BYTES;
    if (ranges_max > (size_t)max_messages)
        ranges_max = (size_t)max_messages;
    out->ranges = arena_alloc(arena, ranges_max * sizeof(struct log_range));
    struct pull pull = {store, out, NULL, max_messages, store_appended_pos(store)};
    pull_entries(&pull, entries, queue_offset, filter, filter_ctx);
    if (pull.segment != NULL)
        segment_drop(pull.segment);
    queue_file_drop(file);
}

/* --- entries and times --- */

bool queue_entry_at(struct queue *queue, int64_t queue_offset, struct queue_entry *out)
{
    if (queue_offset < queue_min_offset(queue) || queue_offset >= queue_max_offset(queue))
        return false;
    struct slice bytes;
    struct queue_file *file;
    if (queue_acquire(queue, queue_offset, &file, &bytes) != STATUS_OK)
        return false;
    bool filler = queue_entry_is_filler(bytes.data);
    out->pos = filler ? -1 : queue_entry_pos(bytes.data);
    out->size = filler ? 0 : queue_entry_size(bytes.data);
    out->tags_code = queue_entry_tags_code(bytes.data);
    queue_file_drop(file);
    return true;
}

int64_t queue_store_time(struct queue *queue, int64_t queue_offset)
{
    struct queue_entry entry;
    if (!queue_entry_at(queue, queue_offset, &entry))
        return -1;
    return commitlog_store_time(&queue->store->log, entry.pos);
}

/* Entries of one file, from offset `first` on. */
struct span {
    struct queue_file *file;
    struct slice entries;
    int64_t first;
};

/* The entry that a search sees at `offset`: the closest at or before it in the span that is not a
 * filler. False when there is none. */
static bool span_look(const struct span *span, int64_t offset, int64_t *found, int64_t *pos)
{
    int64_t number = queue_entry_before(span->entries, offset - span->first);
    if (number < 0)
        return false;
    *found = span->first + number;
    *pos = queue_entry_pos(span->entries.data + (size_t)number * QUEUE_ENTRY_BYTES);
    return true;
}

/* The span of the first file whose last message is not older than timestamp_ms, else of the last
 * file. */
static bool time_span(struct queue *queue, int64_t timestamp_ms, struct span *span)
{
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
                                   commitlog_store_time(&queue->store->log, pos) >= timestamp_ms))
            return true;
        queue_file_drop(span->file);
        span->first = next;
    }
}

/* The offset in the span whose time is nearest; 0 when the log does not hold what an entry says. */
static int64_t search_span(struct commitlog *log, const struct span *span, int64_t timestamp_ms)
{
    int64_t low = span->first;
    int64_t high = low + (int64_t)(span->entries.size / QUEUE_ENTRY_BYTES) - 1;
    int64_t min_pos = atomic_load_explicit(&log->min_pos, memory_order_acquire);
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
        int64_t time_ms = commitlog_store_time(log, pos);
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
    struct span span;
    if (queue_max_offset(queue) <= queue_min_offset(queue) ||
        !time_span(queue, timestamp_ms, &span))
        return 0;
    int64_t offset = search_span(&queue->store->log, &span, timestamp_ms);
    queue_file_drop(span.file);
    return offset;
}

/* --- by position and by key --- */

enum status store_read_record(struct store *store, int64_t pos, struct log_range *out)
{
    if (pos < store_min_pos(store))
        return STATUS_NOT_FOUND;
    struct segment *segment = commitlog_acquire(&store->log, pos);
    if (segment == NULL)
        return STATUS_NOT_FOUND;
    int64_t end = store_appended_pos(store);
    if (end > segment_end(segment))
        end = segment_end(segment);
    struct record record;
    if (pos < end) {
        const uint8_t *data = segment->data + (pos - segment->base);
        if (record_decode(slice_of(data, (size_t)(end - pos)), RECORD_CHECK_FRAME, &record) ==
                STATUS_OK &&
            record.physical_offset == pos) {
            *out = (struct log_range){data, (size_t)record.size, segment};
            return STATUS_OK;
        }
    }
    segment_drop(segment);
    return STATUS_NOT_FOUND;
}

int store_query_index(struct store *store, struct slice topic, struct slice key, int max_count,
                      int64_t begin_ms, int64_t end_ms, int64_t *out, int64_t *last_timestamp_ms,
                      int64_t *last_pos)
{
    return index_query(&store->index, index_key_hash(topic, key), max_count, begin_ms, end_ms, out,
                       last_timestamp_ms, last_pos);
}
