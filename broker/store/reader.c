/* SPDX-License-Identifier: Apache-2.0
 *
 * Pulls. No allocation but the ranges' table from the caller's arena, as long as nothing has to be
 * read from disk.
 *
 * Source: RocketMQ store/.../DefaultMessageStore.java getMessage.
 */
#include "broker/store/reader.h"

#include "broker/store/reach.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/properties.h"

#include <limits.h>

/* Bytes of entries one pull may look at, 4.9.2's maxFilterMessageCount. */
#define SCAN_BYTES_MIN 16000

/* How long one pull may look at messages that are filtered by their properties: where others wait
 * for the thread, and on a thread of its own. */
#define FILTER_LOOP_NS 5000000
#define FILTER_COLD_NS 500000000
/* The clock is looked at once for so many messages. */
#define FILTER_CLOCK_EVERY 16

/* An entry that claims a larger record is only believed when the record's first bytes agree: a
 * damaged size would have up to a whole segment read from disk. */
#define ENTRY_BELIEVED_BYTES (128 * 1024)

/* How many records' heads are asked for ahead: one takes the memory about as long as five records
 * take us. */
#define PREFETCH_RECORDS ((size_t)6)

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

/* --- pull --- */

struct pull {
    struct store *store;
    struct queue *queue;
    struct reach reach;
    enum status stopped; /* OK, or why the next record cannot be had */
    struct get_result *out;
    struct segment *segment; /* the one read last; held */
    const struct get_request *request;
    int64_t here_from; /* log positions that were just seen to be in memory */
    int64_t here_end;
    int max_messages;
    int64_t log_end;
    int64_t filtered;       /* messages looked at for their properties */
    int64_t filter_from_ns; /* since when */
};

void store_set_pull_limits(struct store *store, const struct store_options *options)
{
    struct pull_limits *limits = &store->pull_limits;
    atomic_store(&limits->memory_bytes_hot, options->memory_bytes_hot);
    atomic_store(&limits->bytes_memory, options->transfer_bytes_memory);
    atomic_store(&limits->count_memory, options->transfer_count_memory);
    atomic_store(&limits->bytes_disk, options->transfer_bytes_disk);
    atomic_store(&limits->count_disk, options->transfer_count_disk);
}

static bool is_far_behind(const struct pull *pull, int64_t pos)
{
    return pull->log_end - pos >
           atomic_load_explicit(&pull->store->pull_limits.memory_bytes_hot, memory_order_relaxed);
}

static bool batch_is_full(const struct pull *pull, int64_t pos, int32_t size)
{
    const struct pull_limits *limits = &pull->store->pull_limits;
    const struct get_result *out = pull->out;
    if (out->count == 0)
        return false;
    if (out->count >= pull->max_messages)
        return true;
    bool far_behind = is_far_behind(pull, pos);
    int64_t bytes_max = atomic_load_explicit(
        far_behind ? &limits->bytes_disk : &limits->bytes_memory, memory_order_relaxed);
    int32_t count_max = atomic_load_explicit(
        far_behind ? &limits->count_disk : &limits->count_memory, memory_order_relaxed);
    return (int64_t)out->bytes + size > bytes_max || out->count >= count_max;
}

/* Hold the segment of the record; false when there can be no such record in the log, or no
 * longer. */
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

/* The record that an entry speaks of begins there. What was read of it is in memory. */
static bool record_is_named(const struct pull *pull, int64_t pos, int32_t size)
{
    const uint8_t *data = pull->segment->data + (pos - pull->segment->base);
    return get_i32(data) == size && get_u32(data + 4) == RECORD_MAGIC &&
           get_i64(data + RECORD_PHYSICAL_OFFSET_AT) == pos;
}

/* As reach_log; asks once for records that lie close together. */
static enum status pull_reach(struct pull *pull, int64_t pos, int64_t size)
{
    if (pos >= pull->here_from && pos + size <= pull->here_end)
        return STATUS_OK;
    int64_t end;
    enum status status = reach_log_until(pull->store, pull->segment, pos, size, &pull->reach, &end);
    pull->here_from = pos;
    pull->here_end = status == STATUS_OK ? end : pos;
    return status;
}

/* Have the record of an entry in memory, in the segment held.
 * returns  OK | BUSY | IO, as reach_log | NOT_FOUND (it is not there: the entry is damaged, or the
 *          log) */
static enum status reach_named(struct pull *pull, int64_t pos, int32_t size)
{
    enum status status = STATUS_OK;
    if (size < RECORD_NAME_BYTES)
        return STATUS_NOT_FOUND;
    if (size > ENTRY_BELIEVED_BYTES) {
        status = pull_reach(pull, pos, RECORD_NAME_BYTES);
        if (status == STATUS_OK && !record_is_named(pull, pos, size))
            return STATUS_NOT_FOUND;
    }
    if (status == STATUS_OK)
        status = pull_reach(pull, pos, size);
    if (status == STATUS_OK && !record_is_named(pull, pos, size))
        return STATUS_NOT_FOUND;
    return status;
}

/* Have the properties of an entry's record in memory; its body need not be.
 * returns  as reach_named */
static enum status reach_properties(struct pull *pull, int64_t pos, int32_t size,
                                    struct slice *properties)
{
    int32_t head = size < RECORD_HEAD_BYTES_MAX ? size : RECORD_HEAD_BYTES_MAX;
    const uint8_t *data = pull->segment->data + (pos - pull->segment->base);
    size_t tail_at;
    if (size < RECORD_NAME_BYTES)
        return STATUS_NOT_FOUND;
    enum status status = reach_log(pull->store, pull->segment, pos, head, &pull->reach);
    if (status != STATUS_OK)
        return status;
    if (!record_is_named(pull, pos, size) ||
        !record_tail_at(slice_of(data, (size_t)head), size, &tail_at))
        return STATUS_NOT_FOUND;
    struct slice tail = slice_of(data + tail_at, (size_t)size - tail_at);
    status = reach_log(pull->store, pull->segment, pos + (int64_t)tail_at, (int64_t)tail.size,
                       &pull->reach);
    if (status == STATUS_OK && !record_tail_properties(tail, properties))
        status = STATUS_NOT_FOUND;
    return status;
}

/* Have the record in memory, if its properties are wanted.
 * returns  as reach_named */
static enum status reach_wanted(struct pull *pull, int64_t pos, int32_t size, bool *wanted)
{
    const struct get_request *request = pull->request;
    struct slice properties;
    *wanted = true;
    if (request->properties_filter == NULL)
        return reach_named(pull, pos, size);
    enum status status = reach_properties(pull, pos, size, &properties);
    if (status != STATUS_OK)
        return status;
    *wanted = request->properties_filter(request->properties_filter_ctx, properties);
    return *wanted ? reach_named(pull, pos, size) : STATUS_OK;
}

/* Has the pull looked at messages' properties for long enough? To be asked once for each. */
static bool has_filtered_enough(struct pull *pull)
{
    int64_t allowed_ns = pull->reach.loader == NULL ? FILTER_LOOP_NS : FILTER_COLD_NS;
    if (pull->request->properties_filter == NULL || pull->filtered++ % FILTER_CLOCK_EVERY != 0)
        return false;
    int64_t now_ns = clock_monotonic_ns(pull->store->clock);
    if (pull->filtered == 1)
        pull->filter_from_ns = now_ns;
    return now_ns - pull->filter_from_ns > allowed_ns;
}

/* An entry whose record is not where it says, although the log has not been deleted there. */
static void pass_over(const struct pull *pull, int64_t queue_offset, int64_t pos, int32_t size)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_error("store", "queue entry without its record passed over",
                  "topic=%.*s queue=%d offset=%lld pos=%lld size=%d others=%lld "
                  "mend=\"the queue file or the log is damaged: look with mqstore verify; mqstore "
                  "repair makes the queues anew from the log\"",
                  SLICE_ARGS(pull->queue->topic), (int)pull->queue->id, (long long)queue_offset,
                  (long long)pos, (int)size, (long long)suppressed);
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
    out->last_bytes = size;
}

/* Ask the processor for the head of a record that will be looked at soon: it is rarely in its
 * cache. Of pages that are not in memory nothing happens. */
static void prefetch_record(const struct segment *segment, struct slice entries, size_t at)
{
    if (at + QUEUE_ENTRY_BYTES > entries.size)
        return;
    int64_t pos = queue_entry_pos(entries.data + at);
    if (pos >= segment->base && pos < segment_end(segment))
        __builtin_prefetch(segment->data + (pos - segment->base));
}

static void prefetch_records(const struct pull *pull, struct slice entries, size_t at)
{
    if (pull->segment == NULL)
        return;
    size_t ahead = at + PREFETCH_RECORDS * QUEUE_ENTRY_BYTES;
    for (size_t i = at == 0 ? QUEUE_ENTRY_BYTES : ahead; i <= ahead; i += QUEUE_ENTRY_BYTES)
        prefetch_record(pull->segment, entries, i);
}

/* An entry without its record: gone with its segment, or damaged.
 * returns  the position behind the segment that is gone, else INT64_MIN */
static int64_t pull_miss(struct pull *pull, int64_t queue_offset, int64_t pos, int32_t size)
{
    int64_t segment_bytes = pull->store->options.segment_bytes;
    if (pull->out->count == 0)
        pull->out->status = GET_MESSAGE_WAS_REMOVING;
    if (pos >= 0 && pos < store_min_pos(pull->store))
        return (pos / segment_bytes + 1) * segment_bytes;
    pass_over(pull, queue_offset, pos, size);
    return INT64_MIN;
}

static void pull_entries(struct pull *pull, struct slice entries, int64_t queue_offset)
{
    struct get_result *out = pull->out;
    const struct get_request *request = pull->request;
    int64_t skip_to_pos = INT64_MIN; /* behind a segment that is gone */
    int64_t last_pos = pull->log_end;
    size_t at = 0;
    out->status = GET_NO_MATCHED_MESSAGE;
    for (; at + QUEUE_ENTRY_BYTES <= entries.size; at += QUEUE_ENTRY_BYTES) {
        const uint8_t *entry = entries.data + at;
        int64_t pos = queue_entry_pos(entry);
        int32_t size = queue_entry_size(entry);
        bool wanted;
        if (queue_entry_is_filler(entry)) {
            if (out->count == 0)
                out->status = GET_MESSAGE_WAS_REMOVING;
            continue;
        }
        if (at == 0)
            reach_learn_hot(pull->queue, queue_offset, pos);
        last_pos = pos;
        if (pos < skip_to_pos)
            continue;
        if (batch_is_full(pull, pos, size) || has_filtered_enough(pull))
            break;
        if (request->filter != NULL &&
            !request->filter(request->filter_ctx, queue_entry_tags_code(entry)))
            continue;
        bool there = pull_segment(pull, pos, size);
        prefetch_records(pull, entries, at);
        pull->stopped = there ? reach_wanted(pull, pos, size, &wanted) : STATUS_NOT_FOUND;
        if (pull->stopped == STATUS_NOT_FOUND) {
            pull->stopped = STATUS_OK;
            skip_to_pos =
                pull_miss(pull, queue_offset + (int64_t)(at / QUEUE_ENTRY_BYTES), pos, size);
            continue;
        }
        if (pull->stopped != STATUS_OK)
            break;
        if (!wanted)
            continue;
        if (request->offsets != NULL)
            request->offsets[out->count] = queue_offset + (int64_t)(at / QUEUE_ENTRY_BYTES);
        pull_take(pull, pos, size);
        out->status = GET_FOUND;
        skip_to_pos = INT64_MIN;
    }
    out->next_begin_offset = queue_offset + (int64_t)(at / QUEUE_ENTRY_BYTES);
    out->last_pos = last_pos;
    out->far_behind = is_far_behind(pull, last_pos);
}

bool store_is_cold_ahead(struct store *store, int64_t pos)
{
    /* The nearest is further than what a cold read brings in along with what was asked for. */
    static const int64_t distances[] = {4 << 20, 16 << 20, 64 << 20};
    for (size_t i = 0; i < sizeof distances / sizeof distances[0]; i++) {
        int64_t at = pos + distances[i];
        if (at >= store_hot_pos(store))
            break;
        struct segment *segment = commitlog_acquire(&store->log, at);
        if (segment == NULL)
            continue; /* deleted meanwhile */
        enum status status = reach_log(store, segment, at, 1, &(struct reach){NULL, NULL});
        segment_drop(segment);
        if (status == STATUS_BUSY)
            return true;
    }
    return false;
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

/* The file of the entry at queue_offset cannot be opened. errno says why. */
static enum status cannot_open(const struct pull *pull, int64_t queue_offset, enum status status)
{
    char path[PATH_MAX];
    (void)queue_entry_path(pull->queue, queue_offset, path);
    return status == STATUS_BUSY
               ? cold_cache_no_descriptor(pull->reach.err, path)
               : err_set_errno(pull->reach.err, status,
                               "opening %s failed (look at the disk of the broker)", path);
}

/* returns  OK | BUSY (on disk, and the reader must not wait; or no descriptor is left) | IO */
static enum status get_from_file(struct pull *pull, int64_t queue_offset, struct arena *arena)
{
    struct get_result *out = pull->out;
    struct slice bytes;
    struct queue_file *file;
    enum status status = reach_file(pull->queue, queue_offset, &pull->reach, &file, &bytes);
    if (status == STATUS_NOT_FOUND) { /* passed over: it is gone */
        out->status = GET_OFFSET_FOUND_NULL;
        out->next_begin_offset = queue_next_file_offset(pull->queue, queue_offset);
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return cannot_open(pull, queue_offset, status);
    struct slice entries = scan_window(bytes, out->max_offset - queue_offset, pull->max_messages);
    status = reach_entries(pull->queue, file, queue_offset, &entries, &pull->reach);
    if (status == STATUS_OK) {
        size_t ranges_max = entries.size / QUEUE_ENTRY_BYTES;
        if (ranges_max > (size_t)pull->max_messages)
            ranges_max = (size_t)pull->max_messages;
        out->ranges = arena_alloc(arena, ranges_max * sizeof(struct log_range));
        pull_entries(pull, entries, queue_offset);
        if (pull->segment != NULL)
            segment_drop(pull->segment);
        if (out->count == 0)
            status = pull->stopped;
    }
    queue_file_drop(file);
    return status;
}

static enum status get(struct store *store, const struct get_request *request, struct reach reach,
                       struct arena *arena, struct get_result *out)
{
    struct queue *queue = request->queue;
    int64_t queue_offset = request->queue_offset;
    *out = (struct get_result){.status = GET_NO_MATCHED_LOGIC_QUEUE};
    if (queue == NULL)
        return STATUS_OK;
    /* The queue's end is read before the log's: every entry then points below that. */
    out->max_offset = queue_max_offset(queue);
    out->min_offset = queue_min_offset(queue);
    out->next_begin_offset = queue_offset;
    if (settled_by_bounds(queue_offset, out))
        return STATUS_OK;
    struct pull pull = {.store = store,
                        .queue = queue,
                        .reach = reach,
                        .out = out,
                        .request = request,
                        .max_messages = request->max_messages,
                        .log_end = store_appended_pos(store)};
    if (pull.max_messages > GET_MESSAGES_MAX)
        pull.max_messages = GET_MESSAGES_MAX;
    if (pull.max_messages < 1)
        pull.max_messages = 1;
    enum status status = get_from_file(&pull, queue_offset, arena);
    if (status != STATUS_OK) {
        out->status = GET_OFFSET_FOUND_NULL;
        out->next_begin_offset = queue_offset;
    }
    return status;
}

bool store_try_get(struct store *store, const struct get_request *request, struct arena *arena,
                   struct get_result *out)
{
    return get(store, request, (struct reach){NULL, NULL}, arena, out) == STATUS_OK;
}

enum status reader_get(struct store *store, const struct get_request *request,
                       struct cold_loader *loader, struct arena *arena, struct get_result *out,
                       struct err *err)
{
    return get(store, request, (struct reach){loader, err}, arena, out);
}

void store_get(struct store *store, struct queue *queue, int64_t queue_offset, int max_messages,
               tags_filter filter, void *filter_ctx, struct arena *arena, struct get_result *out)
{
    struct get_request request = {.queue = queue,
                                  .queue_offset = queue_offset,
                                  .max_messages = max_messages,
                                  .filter = filter,
                                  .filter_ctx = filter_ctx};
    struct cold_loader loader = {0};
    (void)reader_get(store, &request, &loader, arena, out, NULL);
    cold_loader_release(&loader);
}
