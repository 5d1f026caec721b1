/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivery of delayed messages. The schedule topic's queue `level - 1` holds the messages of a
 * level in the order in which they are due, with the due time in place of the tags code. A step
 * takes what is due from the head of each queue, puts each message under its real topic and queue,
 * and appends them as one batch per level.
 *
 * Invariant: a level's next_offset moves past an entry only when its message has been appended, or
 * can never be. So a crash delivers again rather than not at all.
 *
 * Threads: delay_step has everything to itself but next_offset, delivered and delivered_pos,
 * which others read; delay_journal_step has journaled and block.
 *
 * The file and the journal keep what is delivered from being delivered again, and neither may say
 * that of a message that is not there. The file is written when the log is on disk that far. The
 * journal does not wait for that: it says how far the log must reach for it to count. After kill -9
 * the log does; where a power cut has shortened it, the journal is cut.
 * Source: RMQ store/.../ScheduleMessageService.java. Differs: the body's checksum is verified
 * before it is computed anew, and progress is not saved ahead of the log.
 */
#include "broker/state/delay.h"

#include "broker/state/config_file.h"
#include "broker/state/topics.h"
#include "broker/store/consumequeue_format.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/base/number.h"
#include "common/sys/log.h"
#include "proto/properties.h"

#include <stdatomic.h>
#include <stdlib.h>

#define IDLE_MS 100
#define RETRY_MS 10000
#define BATCH_MESSAGES_MAX 256
#define BATCH_BYTES_MAX (4 * 1024 * 1024)
#define FLUSH_WAIT_MS 2000
#define OFFSET_UNKNOWN (-1)
#define LEVEL_MS_MAX 1000000000000000 /* sums with a wall clock stay far from overflow */

struct level {
    _Atomic int64_t
        next_offset;       /* OFFSET_UNKNOWN until the level has a message or a saved offset */
    int64_t not_before_ms; /* after a failed append */
    bool retrying;         /* the head goes alone, so that no retry repeats those behind it */
    struct queue *queue;   /* NULL until it exists */
};

struct delay {
    struct store *store;
    struct topic_stats *stats; /* may be NULL */
    struct append_batch *batch;
    int64_t levels_ms[DELAY_LEVELS_MAX];
    int level_count;
    bool settled; /* the loaded offsets have been brought into range */
    int64_t settle_pos;
    _Atomic int64_t delivered;
    _Atomic int64_t delivered_pos; /* end of the newest delivered message in the log */
    struct config_file file;       /* its change count is progress_of */
    int64_t journaled[DELAY_LEVELS_MAX];
    struct buf block;
    struct level levels[DELAY_LEVELS_MAX]; /* [0] is level 1; also those beyond level_count */
};

/* --- levels --- */

static bool unit_ms(uint8_t unit, int64_t *out)
{
    switch (unit) {
    case 's':
        *out = 1000;
        return true;
    case 'm':
        *out = 60 * 1000;
        return true;
    case 'h':
        *out = 60 * 60 * 1000;
        return true;
    case 'd':
        *out = 24 * 60 * 60 * 1000;
        return true;
    default:
        return false;
    }
}

static bool parse_level(struct slice piece, int64_t *out)
{
    int64_t unit;
    int64_t number;
    return piece.size > 1 && unit_ms(piece.data[piece.size - 1], &unit) &&
           parse_i64(slice_of(piece.data, piece.size - 1), &number) &&
           !__builtin_mul_overflow(number, unit, out) && *out >= -LEVEL_MS_MAX &&
           *out <= LEVEL_MS_MAX;
}

enum status delay_levels_parse(const char *text, int64_t out[DELAY_LEVELS_MAX], int *count,
                               struct err *err)
{
    struct slice rest = slice_of_cstr(text);
    int found = 0;
    while (rest.size != 0 && rest.data[rest.size - 1] == ' ')
        rest.size--;
    for (bool more = true; more;) {
        const uint8_t *space = rest.size == 0 ? NULL : memchr(rest.data, ' ', rest.size);
        size_t size = space == NULL ? rest.size : (size_t)(space - rest.data);
        struct slice piece = slice_of(rest.data, size);
        if (found == DELAY_LEVELS_MAX)
            return err_set(err, STATUS_TOO_LARGE, "messageDelayLevel names more than %d levels",
                           DELAY_LEVELS_MAX);
        if (!parse_level(piece, &out[found]))
            return err_set(err, STATUS_MALFORMED,
                           "messageDelayLevel: level %d, \"%.*s\", is not a number with one of the "
                           "units s m h d",
                           found + 1, SLICE_ARGS(piece));
        found++;
        more = space != NULL;
        if (more)
            rest = slice_from(rest, size + 1);
    }
    *count = found;
    return STATUS_OK;
}

/* --- snapshots of the progress --- */

struct snapshot {
    int64_t delivered_pos;
    int64_t offsets[DELAY_LEVELS_MAX];
};

/* Offsets are read before delivered_pos, which is written before them: it covers them all. */
static void snapshot_take(const struct delay *delay, struct snapshot *out)
{
    for (int i = 0; i < DELAY_LEVELS_MAX; i++)
        out->offsets[i] = atomic_load_explicit(&delay->levels[i].next_offset, memory_order_acquire);
    out->delivered_pos = atomic_load_explicit(&delay->delivered_pos, memory_order_acquire);
}

/* Stands for the change count: two snapshots have the same exactly when they say the same. A count
 * beside the offsets could be read before or after them. */
static uint64_t progress_of(const struct snapshot *snapshot)
{
    return hash_bytes(slice_of(snapshot->offsets, sizeof snapshot->offsets));
}

/* --- loading --- */

static void level_set_offset(struct level *level, int64_t offset)
{
    atomic_store_explicit(&level->next_offset, offset, memory_order_release);
}

static void merge_body(struct delay *delay, const DelayOffsetSerializeWrapper *body)
{
    for (size_t i = 0; i < body->n_offset_table; i++) {
        int32_t level = body->offset_table[i]->key;
        int64_t offset = body->offset_table[i]->value;
        if (level >= 1 && level <= DELAY_LEVELS_MAX && offset >= 0)
            atomic_init(&delay->levels[level - 1].next_offset, offset);
        else
            log_warn("state", "impossible delay offset ignored", "level=%d offset=%lld", level,
                     (long long)offset);
    }
}

/* The log ends at settle_pos. */
static bool merge_changes(void *ctx, int64_t log_pos, struct slice changes)
{
    struct delay *delay = ctx;
    struct journal_change change;
    struct journal_queue queue;
    if (log_pos > delay->settle_pos)
        return false;
    while (journal_change_next(&changes, &change))
        while (journal_queue_next(&change.queues, &queue))
            if (queue.queue_id >= 1 && queue.queue_id <= DELAY_LEVELS_MAX && queue.offset >= 0)
                atomic_init(&delay->levels[queue.queue_id - 1].next_offset, queue.offset);
    return true;
}

static enum status load_files(struct delay *delay, struct err *err)
{
    struct arena arena;
    DelayOffsetSerializeWrapper body;
    enum config_source source;
    struct snapshot snapshot;
    bool replayed = false;
    arena_init(&arena, 4096);
    enum status status =
        config_file_load(&delay->file, "delay offsets", &delay_offset_serialize_wrapper__descriptor,
                         &arena, &body.base, &source, err);
    if (status == STATUS_OK) {
        merge_body(delay, &body);
        status = offset_journal_load(delay->file.journal, delay->file.loaded, merge_changes, delay,
                                     &replayed, err);
        snapshot_take(delay, &snapshot);
        memcpy(delay->journaled, snapshot.offsets, sizeof delay->journaled);
        bool changed = source != CONFIG_SOURCE_MAIN || replayed;
        delay->file.saved_changes = progress_of(&snapshot) + changed;
    }
    arena_release(&arena);
    return status;
}

enum status delay_load(const char *path, struct vfs *vfs, struct store *store,
                       const int64_t *levels_ms, int level_count, struct delay **out,
                       struct err *err)
{
    CHECK(level_count >= 0 && level_count <= DELAY_LEVELS_MAX);
    struct delay *delay = xcalloc(1, sizeof *delay);

    delay->store = store;
    delay->batch = append_batch_new(store);
    delay->level_count = level_count;
    memcpy(delay->levels_ms, levels_ms, (size_t)level_count * sizeof *levels_ms);
    for (int i = 0; i < DELAY_LEVELS_MAX; i++)
        atomic_init(&delay->levels[i].next_offset, OFFSET_UNKNOWN);
    delay->settle_pos = store_appended_pos(store);
    config_file_init(&delay->file, path, vfs);
    delay->file.journal = offset_journal_new(path, vfs);
    enum status status = load_files(delay, err);
    if (status != STATUS_OK) {
        delay_free(delay);
        return status;
    }
    *out = delay;
    return STATUS_OK;
}

void delay_free(struct delay *delay)
{
    append_batch_free(delay->batch);
    config_file_release(&delay->file);
    buf_release(&delay->block);
    free(delay);
}

void delay_set_stats(struct delay *delay, struct topic_stats *stats)
{
    delay->stats = stats;
}

static struct queue *level_queue(struct delay *delay, int index)
{
    struct level *level = &delay->levels[index];
    if (level->queue == NULL)
        level->queue = store_queue(delay->store, slice_of_cstr(TOPIC_SCHEDULE), index, false);
    return level->queue;
}

static void level_correct(struct delay *delay, int index, int64_t offset, const char *what)
{
    struct level *level = &delay->levels[index];
    log_error("state", what, "level=%d from=%lld to=%lld", index + 1,
              (long long)atomic_load_explicit(&level->next_offset, memory_order_relaxed),
              (long long)offset);
    level_set_offset(level, offset);
}

/* The loaded offsets into [min, max] of their queues; a queue that does not exist starts at 0. Not
 * before dispatch has seen what the log held at the load: until then the maxima are too small. */
static bool settle(struct delay *delay)
{
    if (store_dispatched_pos(delay->store) < delay->settle_pos)
        return false;
    for (int i = 0; i < delay->level_count; i++) {
        int64_t offset = atomic_load_explicit(&delay->levels[i].next_offset, memory_order_relaxed);
        const struct queue *queue = level_queue(delay, i);
        int64_t min = queue == NULL ? 0 : queue_min_offset(queue);
        int64_t max = queue == NULL ? 0 : queue_max_offset(queue);
        if (offset == OFFSET_UNKNOWN)
            continue;
        if (offset < min)
            level_correct(delay, i, min, "delay offset below its queue corrected");
        else if (offset > max)
            level_correct(delay, i, max, "delay offset behind its queue corrected");
    }
    return true;
}

void delay_settle(struct delay *delay)
{
    if (!delay->settled)
        delay->settled = settle(delay);
}

/* --- delivering --- */

enum taken {
    TAKEN_ADDED,   /* in the batch */
    TAKEN_DROPPED, /* never deliverable */
    TAKEN_LATER,   /* not now */
};

/* The messages of one level on their way. */
struct delivery {
    int64_t offsets[BATCH_MESSAGES_MAX]; /* in the level's queue */
    size_t count;
    int64_t next_offset; /* behind the last entry dealt with */
    bool later;          /* stopped at an entry that must be tried again */
    int64_t wait_ms;     /* until the next entry is due, IDLE_MS at the end of the queue */
};

static enum taken drop(int index, int64_t offset, int64_t pos, const char *cause)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_error("state", "delayed message dropped",
                  "level=%d offset=%lld pos=%lld cause=\"%s\" others=%lld", index + 1,
                  (long long)offset, (long long)pos, cause, (long long)suppressed);
    return TAKEN_DROPPED;
}

/* Turn the stored message into the one to deliver: the real topic and queue, the same properties.
 * returns  NULL, or why it cannot be delivered */
static const char *restore(struct record *record)
{
    struct slice topic;
    struct slice queue_id;
    if (!properties_find(record->properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), &topic) ||
        topic_name_fault(topic) != NULL)
        return "REAL_TOPIC is missing or no topic name";
    if (!properties_find(record->properties, SLICE_LITERAL(PROPERTY_REAL_QUEUE_ID), &queue_id) ||
        !parse_i32(queue_id, &record->queue_id) || record->queue_id < 0 ||
        record->queue_id >= TOPIC_QUEUES_MAX)
        return "REAL_QID is missing or no queue id";
    if (slice_is(topic, TOPIC_TRANS_HALF))
        return "a half message must not be delayed";
    record->topic = topic;
    record->prepared_transaction_offset = 0;
    return NULL;
}

static enum taken take(struct delay *delay, int index, int64_t offset,
                       const struct queue_entry *entry)
{
    struct log_range range;
    struct record record;
    enum status status = store_read_record(delay->store, entry->pos, &range);
    if (status == STATUS_IO) {
        static struct log_gate gate;
        int64_t suppressed;
        if (log_gate_open(&gate, &suppressed))
            log_error("state", "delayed message cannot be read, trying again",
                      "level=%d offset=%lld pos=%lld retry_ms=%d mend=\"look at the disk: the "
                      "level waits until the file can be read\"",
                      index + 1, (long long)offset, (long long)entry->pos, RETRY_MS);
        return TAKEN_LATER;
    }
    if (status != STATUS_OK)
        return drop(index, offset, entry->pos, "there is no record at its position");
    enum taken taken = TAKEN_ADDED;
    const char *cause = NULL;
    if (record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record) != STATUS_OK)
        cause = "its record is damaged";
    else
        cause = restore(&record);
    if (cause != NULL) {
        taken = drop(index, offset, entry->pos, cause);
    } else {
        struct queue *queue = store_queue(delay->store, record.topic, record.queue_id, true);
        if (queue == NULL ||
            append_batch_add_again(delay->batch, queue, &record, false, queue) != STATUS_OK) {
            log_error("state", "delayed message refused, trying again",
                      "level=%d offset=%lld topic=%.*s bytes=%d retry_ms=%d "
                      "cause=\"the store takes no such properties\"",
                      index + 1, (long long)offset, SLICE_ARGS(record.topic), record.size,
                      RETRY_MS);
            taken = TAKEN_LATER;
        }
    }
    log_range_release(&range);
    return taken;
}

/* When a message is to be delivered; at once when there is none. */
static int64_t due_time(const struct delay *delay, int index, int64_t offset,
                        const struct queue_entry *entry)
{
    if (!queue_tags_code_is_elsewhere(entry->tags_code))
        return entry->tags_code;
    return queue_store_time(delay->levels[index].queue, offset) + delay->levels_ms[index];
}

/* Fill the batch with what is due from `offset` on. */
static void gather(struct delay *delay, int index, int64_t offset, int64_t now_ms,
                   struct delivery *delivery)
{
    struct queue *queue = delay->levels[index].queue;
    int64_t entries_max = delay->levels[index].retrying ? 1 : BATCH_MESSAGES_MAX;
    struct queue_entry entry;
    delivery->count = 0;
    delivery->later = false;
    delivery->wait_ms = IDLE_MS;
    delivery->next_offset = offset;
    append_batch_clear(delay->batch);
    while (queue_entry_at(queue, delivery->next_offset, &entry)) {
        int64_t due_ms = due_time(delay, index, delivery->next_offset, &entry);
        if (due_ms > now_ms + delay->levels_ms[index])
            due_ms = now_ms; /* the clock was ahead when it was stored */
        if (due_ms > now_ms) {
            delivery->wait_ms = due_ms - now_ms;
            return;
        }
        if (delivery->next_offset - offset == entries_max ||
            append_batch_bytes(delay->batch) >= BATCH_BYTES_MAX) {
            delivery->wait_ms = 0;
            return;
        }
        enum taken taken = take(delay, index, delivery->next_offset, &entry);
        delivery->later = taken == TAKEN_LATER;
        if (delivery->later)
            return;
        if (taken == TAKEN_ADDED)
            delivery->offsets[delivery->count++] = delivery->next_offset;
        delivery->next_offset++;
    }
}

/* Append the batch; on a failure the level goes back to the first message that was refused. */
static void append(struct delay *delay, int index, struct delivery *delivery)
{
    if (delivery->count == 0)
        return;
    const struct append_result *results = store_append(delay->store, delay->batch);
    size_t done = 0;
    for (; done < delivery->count && results[done].status == PUT_OK; done++)
        if (delay->stats != NULL)
            topic_stats_delivered(delay->stats, SLICE_LITERAL(TOPIC_SCHEDULE),
                                  queue_topic(results[done].tag),
                                  results[done].end_pos - results[done].pos);
    if (done != 0) {
        atomic_store_explicit(&delay->delivered_pos, results[done - 1].end_pos,
                              memory_order_release);
        (void)atomic_fetch_add_explicit(&delay->delivered, (int64_t)done, memory_order_relaxed);
    }
    if (done == delivery->count)
        return;
    delivery->next_offset = delivery->offsets[done];
    delivery->later = true;
    log_error("state", "delayed messages not appended, trying again",
              "level=%d offset=%lld put_status=%d retry_ms=%d", index + 1,
              (long long)delivery->next_offset, (int)results[done].status, RETRY_MS);
}

/* returns  milliseconds until the level wants to be looked at again */
static int64_t level_step(struct delay *delay, int index, int64_t now_ms)
{
    struct level *level = &delay->levels[index];
    const struct queue *queue = level_queue(delay, index);
    if (queue == NULL)
        return IDLE_MS;
    /* The second test is for a clock that has been set back. */
    if (now_ms < level->not_before_ms && level->not_before_ms - now_ms <= RETRY_MS)
        return level->not_before_ms - now_ms;

    int64_t offset = atomic_load_explicit(&level->next_offset, memory_order_relaxed);
    int64_t min = queue_min_offset(queue);
    int64_t max = queue_max_offset(queue);
    if (offset == OFFSET_UNKNOWN)
        offset = min;
    if (offset < min || offset > max) {
        level_correct(delay, index, min,
                      offset < min ? "delayed messages were deleted undelivered"
                                   : "schedule queue has begun anew");
        offset = min;
    }
    if (offset == max)
        return IDLE_MS;

    struct delivery delivery;
    gather(delay, index, offset, now_ms, &delivery);
    append(delay, index, &delivery);
    append_batch_clear(delay->batch);
    level_set_offset(level, delivery.next_offset);
    level->not_before_ms = delivery.later ? now_ms + RETRY_MS : 0;
    level->retrying = delivery.later;
    return delivery.later ? RETRY_MS : delivery.wait_ms;
}

int64_t delay_step(struct delay *delay, int64_t now_ms)
{
    int64_t wait_ms = IDLE_MS;
    delay_settle(delay);
    if (!delay->settled)
        return IDLE_MS;
    for (int i = 0; i < delay->level_count; i++) {
        int64_t level_ms = level_step(delay, i, now_ms);
        if (level_ms < wait_ms)
            wait_ms = level_ms;
    }
    return wait_ms;
}

int64_t delay_delivered(const struct delay *delay)
{
    return atomic_load_explicit(&delay->delivered, memory_order_relaxed);
}

int64_t delay_offset(const struct delay *delay, int level)
{
    CHECK(level >= 1 && level <= DELAY_LEVELS_MAX);
    int64_t offset =
        atomic_load_explicit(&delay->levels[level - 1].next_offset, memory_order_acquire);
    return offset == OFFSET_UNKNOWN ? 0 : offset;
}

int64_t delay_first_pos(struct delay *delay)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < delay->level_count; i++) {
        int64_t offset = atomic_load_explicit(&delay->levels[i].next_offset, memory_order_acquire);
        struct queue *queue = store_queue(delay->store, slice_of_cstr(TOPIC_SCHEDULE), i, false);
        struct queue_entry entry;
        if (queue == NULL)
            continue;
        if (offset < queue_min_offset(queue))
            offset = queue_min_offset(queue);
        if (queue_entry_at(queue, offset, &entry) && entry.pos >= 0 && entry.pos < first)
            first = entry.pos;
    }
    /* Read behind the offsets that it covers. */
    if (atomic_load_explicit(&delay->delivered_pos, memory_order_acquire) <=
        store_flushed_pos(delay->store))
        return first;
    store_flush_soon(delay->store);
    return 0;
}

/* --- saving --- */

static void snapshot_wrap(const struct snapshot *snapshot, struct arena *arena,
                          DelayOffsetSerializeWrapper *out)
{
    delay_offset_serialize_wrapper__init(out);
    out->offset_table = arena_alloc(arena, DELAY_LEVELS_MAX * sizeof *out->offset_table);
    for (int i = 0; i < DELAY_LEVELS_MAX; i++) {
        if (snapshot->offsets[i] == OFFSET_UNKNOWN)
            continue;
        IntOffsetEntry *entry = arena_alloc(arena, sizeof *entry);
        int_offset_entry__init(entry);
        entry->key = i + 1;
        entry->value = snapshot->offsets[i];
        out->offset_table[out->n_offset_table++] = entry;
    }
}

void delay_wrap(const struct delay *delay, struct arena *arena, DelayOffsetSerializeWrapper *out)
{
    struct snapshot snapshot;
    snapshot_take(delay, &snapshot);
    snapshot_wrap(&snapshot, arena, out);
}

int64_t delay_wrap_proof(const struct delay *delay, struct arena *arena,
                         DelayOffsetSerializeWrapper *out)
{
    struct snapshot snapshot;
    snapshot_take(delay, &snapshot);
    snapshot_wrap(&snapshot, arena, out);
    return snapshot.delivered_pos > delay->settle_pos ? snapshot.delivered_pos : delay->settle_pos;
}

enum status delay_adopt(struct delay *delay, const DelayOffsetSerializeWrapper *body,
                        int64_t proof_pos)
{
    for (size_t i = 0; i < body->n_offset_table; i++) {
        const IntOffsetEntry *level = body->offset_table[i];
        if (level->key < 1 || level->key > DELAY_LEVELS_MAX || level->value < 0)
            return STATUS_MALFORMED;
    }
    /* Before the offsets that it covers: snapshot_take reads in the other order. */
    atomic_store_explicit(&delay->delivered_pos, proof_pos, memory_order_release);
    for (size_t i = 0; i < body->n_offset_table; i++)
        level_set_offset(&delay->levels[body->offset_table[i]->key - 1],
                         body->offset_table[i]->value);
    return STATUS_OK;
}

static enum status snapshot_message(const void *table, struct arena *arena, uint64_t saved_changes,
                                    uint64_t *changes, const ProtobufCMessage **message,
                                    struct err *err)
{
    const struct delay *delay = table;
    struct snapshot snapshot;
    snapshot_take(delay, &snapshot);
    *changes = progress_of(&snapshot);
    if (*changes == saved_changes)
        return STATUS_OK;
    if (!store_wait_flushed(delay->store, snapshot.delivered_pos, FLUSH_WAIT_MS))
        return err_set(err, STATUS_TIMEOUT,
                       "%s is not written: delivered messages up to log position %lld are not on "
                       "disk yet",
                       delay->file.path, (long long)snapshot.delivered_pos);
    DelayOffsetSerializeWrapper *body = arena_alloc(arena, sizeof *body);
    snapshot_wrap(&snapshot, arena, body);
    *message = &body->base;
    return STATUS_OK;
}

enum status delay_persist(struct delay *delay, struct err *err)
{
    return config_file_save(&delay->file, snapshot_message, delay, err);
}

/* --- the journal --- */

enum status delay_journal_step(struct delay *delay, struct err *err)
{
    struct snapshot snapshot;
    size_t key_at = 0;
    snapshot_take(delay, &snapshot);
    for (int i = 0; i < DELAY_LEVELS_MAX; i++) {
        if (snapshot.offsets[i] == delay->journaled[i])
            continue;
        if (key_at == 0) {
            journal_changes_open(&delay->block);
            key_at = journal_put_key(&delay->block, SLICE_EMPTY);
        }
        journal_put_queue(&delay->block, key_at, i + 1, snapshot.offsets[i]);
    }
    if (key_at == 0)
        return STATUS_OK;
    enum status status =
        offset_journal_append(delay->file.journal, &delay->block, snapshot.delivered_pos);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot write the journal of %s", delay->file.path);
    memcpy(delay->journaled, snapshot.offsets, sizeof delay->journaled);
    return STATUS_OK;
}

bool delay_journal_is_due(const struct delay *delay)
{
    return offset_journal_is_due(delay->file.journal);
}

enum status delay_journal_sync(struct delay *delay, struct err *err)
{
    return config_file_sync_journal(&delay->file, err);
}
