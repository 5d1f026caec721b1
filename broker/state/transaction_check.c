/* SPDX-License-Identifier: Apache-2.0
 *
 * After a start the newest markers are read back first, so that what has ended does not end again
 * (transaction_ends.h, transaction_recall.h).
 *
 * A round walks the half queue from the kept offset on. A half message that a marker speaks of is
 * passed; one that is open is given up, or appended again, and its producers are asked. The round
 * ends at the first message that is too young, at the end of the queue, or after a minute.
 *
 * Invariants:
 * - A half message is passed only when a marker for it, its copy, or its place in
 *   TRANS_CHECK_MAX_TIME_TOPIC is in the log; and the kept offset passes it only when that is on
 *   disk. So neither a crash nor a power cut loses one; one may come twice.
 * - Before a half message is taken for open, every marker that the log held when the round began
 *   has been looked at (dispatch has passed them), so that nobody is asked about what has ended.
 * - What a round keeps in memory is bounded by MARKERS_MAX and MARKERS_AHEAD_MAX, however many
 *   transactions are open.
 *
 * Markers come roughly in the order of their half messages, but the one of a message may come long
 * after those behind it. So each that was read is remembered for the rest of the round, and the
 * kept offset of the marker queue moves over those that are used up, up to the first that is not.
 *
 * Source: RMQ broker/.../TransactionalMessageServiceImpl.java. Differs: offsets are kept when the
 * disk has what they pass, every second; all markers are read before a message is given up; what
 * cannot be read or appended now is tried again instead of dropped; copies that were made only to
 * wait for CHECK_IMMUNITY_TIME_IN_SECONDS do not count as checks, and a marker for the first copy
 * is minded for as long as the round goes on.
 */
#include "broker/state/transaction_check.h"

#include "broker/state/half_message.h"
#include "broker/state/transaction_recall.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/properties.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_MS_MAX 60000
#define IDLE_MS 1000
#define SETTLE_MS 5
#define FLUSH_MS 5
#define BUSY_MS 1
#define KEEP_MS 1000
#define STEP_MESSAGES_MAX 256
#define STEP_BYTES_MAX (16 * 1024 * 1024)
#define MARKERS_AT_ONCE 32
#define MARKERS_MAX 524288          /* not used up yet: 16 MiB of table */
#define MARKERS_AHEAD_MAX (1 << 24) /* read: a byte each */
#define MARKERS_MIN 1024
#define SLOT_FREE (-1)

enum phase {
    PHASE_RECALLING, /* what has ended before the start */
    PHASE_WAITING,   /* for the next round */
    PHASE_SETTLING,  /* dispatch has still to pass what the log held when the round began */
    PHASE_WALKING,
};

/* Where the two queues are to be read next. */
struct progress {
    int64_t half;
    int64_t marker;
};

/* The markers that this round has read: half offset -> place in `done`. */
struct marker_slot {
    int64_t half; /* SLOT_FREE */
    int64_t marker;
};

struct markers {
    struct queue *queue; /* NULL until there is one */
    int64_t first;       /* offset of the first that was read */
    int64_t next;        /* to be read */
    uint8_t *done;       /* [i]: marker first + i is used up */
    size_t done_capacity;
    struct marker_slot *slots; /* capacity is a power of two, at most half of it in use */
    size_t capacity;
    size_t count;
    size_t live; /* of them: not used up */
    uint64_t seed;
    int64_t last_born_ms;
};

struct transaction_check {
    struct transaction_check_parts parts;
    struct append_batch *batch;
    struct topic_stats_view *meters;
    struct buf properties;
    int64_t interval_ms;
    enum phase phase;
    int64_t due_ms;           /* monotonic: the next round */
    int64_t round_started_ms; /* the same: this one */
    int64_t round_wall_ms;
    int64_t settle_pos;
    struct transaction_recall recall;
    struct queue *halves;
    int64_t round_end; /* copies that this round makes lie behind */
    struct markers markers;
    struct progress at;   /* up to date at any time */
    struct progress kept; /* as committed */
    struct progress keep; /* to be committed when the disk has keep_pos */
    int64_t keep_pos;     /* -1: nothing is */
    int64_t kept_ms;
    size_t step_bytes;
    struct transaction_counts counts;
};

/* What became of the half message at the front. */
enum walked {
    WALKED_PASSED,
    WALKED_AGAIN, /* more markers were read: look again */
    WALKED_BUSY,  /* not now, questions are on their way */
    WALKED_END,   /* of the round */
};

struct transaction_check *transaction_check_new(const struct transaction_check_parts *parts,
                                                int64_t interval_ms, int64_t now_ms)
{
    struct transaction_check *check = xcalloc(1, sizeof *check);
    check->parts = *parts;
    check->batch = append_batch_new(parts->store);
    if (parts->topic_stats != NULL)
        check->meters = topic_stats_view_new(parts->topic_stats);
    check->interval_ms = interval_ms;
    check->due_ms = now_ms > INT64_MAX - interval_ms ? INT64_MAX : now_ms + interval_ms;
    check->keep_pos = -1;
    transaction_recall_init(&check->recall, parts->store, parts->ends);
    check->markers.seed = ((uint64_t)arc4random() << 32 | arc4random()) | 1;
    return check;
}

void transaction_check_free(struct transaction_check *check)
{
    append_batch_free(check->batch);
    if (check->meters != NULL)
        topic_stats_view_free(check->meters);
    buf_release(&check->properties);
    free(check->markers.done);
    free(check->markers.slots);
    free(check);
}

struct transaction_counts transaction_check_counts(const struct transaction_check *check)
{
    return check->counts;
}

/* --- offsets --- */

static int64_t stored_offset(const struct transaction_check *check, const char *topic)
{
    return offsets_get(check->parts.offsets, slice_of_cstr(topic),
                       SLICE_LITERAL(GROUP_TRANSACTIONS), 0);
}

static bool store_offset(const struct transaction_check *check, const char *topic, int64_t offset)
{
    enum status status = offsets_commit(check->parts.offsets, slice_of_cstr(topic),
                                        SLICE_LITERAL(GROUP_TRANSACTIONS), 0, offset);
    static struct log_gate gate;
    int64_t suppressed;
    if (status != STATUS_OK && log_gate_open(&gate, &suppressed))
        log_error("transactions", "progress of the checks not kept, trying again",
                  "topic=%s offset=%lld cause=\"%s\" others=%lld", topic, (long long)offset,
                  status_text(status), (long long)suppressed);
    return status == STATUS_OK;
}

static void advance_markers(struct transaction_check *check)
{
    const struct markers *markers = &check->markers;
    while (check->at.marker < markers->next && check->at.marker >= markers->first &&
           markers->done[check->at.marker - markers->first] != 0)
        check->at.marker++;
}

static bool progress_equal(struct progress a, struct progress b)
{
    return a.half == b.half && a.marker == b.marker;
}

/* Commit what is on disk by now; have the rest brought there, once a second or when the round is
 * over. True: something waits for the disk. */
static bool keep_progress(struct transaction_check *check, int64_t now_ms)
{
    struct store *store = check->parts.store;
    advance_markers(check);
    if (check->keep_pos < 0 && !progress_equal(check->at, check->kept) &&
        (check->phase == PHASE_WAITING || now_ms - check->kept_ms >= KEEP_MS)) {
        check->keep = check->at;
        check->keep_pos = store_appended_pos(store);
        store_flush_soon(store);
    }
    if (check->keep_pos < 0)
        return false;
    if (store_flushed_pos(store) < check->keep_pos)
        return true;
    if ((check->keep.half != check->kept.half &&
         !store_offset(check, TOPIC_TRANS_HALF, check->keep.half)) ||
        (check->keep.marker != check->kept.marker &&
         !store_offset(check, TOPIC_TRANS_OP_HALF, check->keep.marker)))
        return true;
    check->kept = check->keep;
    check->keep_pos = -1;
    check->kept_ms = now_ms;
    return false;
}

void transaction_check_finish(struct transaction_check *check)
{
    advance_markers(check);
    if (check->keep_pos < 0 && progress_equal(check->at, check->kept))
        return;
    check->keep = check->at;
    check->keep_pos = store_appended_pos(check->parts.store);
    (void)keep_progress(check, 0);
}

/* --- markers --- */

static size_t slot_of(const struct markers *markers, int64_t half)
{
    uint64_t hash = ((uint64_t)half + 1) * markers->seed;
    return (size_t)(hash >> 32) & (markers->capacity - 1);
}

static struct marker_slot *marker_find(const struct markers *markers, int64_t half)
{
    if (markers->capacity == 0)
        return NULL;
    size_t i = slot_of(markers, half);
    while (markers->slots[i].half != SLOT_FREE && markers->slots[i].half != half)
        i = (i + 1) & (markers->capacity - 1);
    return &markers->slots[i];
}

static void markers_resize(struct markers *markers, size_t capacity)
{
    struct marker_slot *old = markers->slots;
    size_t old_capacity = markers->capacity;
    markers->slots = xmalloc(capacity * sizeof *markers->slots);
    memset(markers->slots, 0xFF, capacity * sizeof *markers->slots); /* SLOT_FREE */
    markers->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].half != SLOT_FREE)
            *marker_find(markers, old[i].half) = old[i];
    free(old);
}

static void markers_begin(struct markers *markers, struct queue *queue, int64_t first)
{
    free(markers->slots);
    free(markers->done);
    markers->slots = NULL;
    markers->done = NULL;
    markers->capacity = markers->done_capacity = markers->count = markers->live = 0;
    markers->queue = queue;
    markers->first = markers->next = first;
    markers->last_born_ms = INT64_MIN;
}

/* Remember marker number `markers->next`, of the half message at `half` (-1: of none).
 * passed  half messages before this one need no marker any more */
static void marker_add(struct markers *markers, int64_t half, int64_t passed)
{
    size_t number = (size_t)(markers->next - markers->first);
    if (number == markers->done_capacity) {
        markers->done_capacity = number == 0 ? MARKERS_MIN : number * 2;
        markers->done = xrealloc(markers->done, markers->done_capacity);
    }
    markers->done[number] = half < passed;
    if (half >= 0) {
        if (markers->count * 2 >= markers->capacity)
            markers_resize(markers, markers->capacity == 0 ? MARKERS_MIN : markers->capacity * 2);
        struct marker_slot *slot = marker_find(markers, half);
        if (slot->half == half) {
            markers->done[number] = 1; /* a second one for the same message */
        } else {
            *slot = (struct marker_slot){half, markers->next};
            markers->count++;
            markers->live += half >= passed;
        }
    }
    markers->next++;
}

/* Forget those that are used up. */
static void markers_compact(struct markers *markers)
{
    struct marker_slot *old = markers->slots;
    size_t old_capacity = markers->capacity;
    markers->slots = NULL;
    markers->capacity = markers->count = 0;
    markers_resize(markers, old_capacity);
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].half != SLOT_FREE && markers->done[old[i].marker - markers->first] == 0) {
            *marker_find(markers, old[i].half) = old[i];
            markers->count++;
        }
    free(old);
}

/* Is there room for some more? Else a message whose marker was not read is taken for open: it is
 * asked about once more than needed. */
static bool markers_have_room(struct markers *markers)
{
    if (markers->next - markers->first >= MARKERS_AHEAD_MAX ||
        markers->live >= MARKERS_MAX - MARKERS_MAX / 8)
        return false;
    if (markers->count >= MARKERS_MAX)
        markers_compact(markers);
    return true;
}

/* Use up the marker of a half message; false when there is none. */
static bool marker_take(struct markers *markers, int64_t half)
{
    const struct marker_slot *slot = marker_find(markers, half);
    if (half < 0 || slot == NULL || slot->half != half)
        return false;
    uint8_t *done = &markers->done[slot->marker - markers->first];
    markers->live -= *done == 0;
    *done = 1;
    return true;
}

static void count_read(struct transaction_check *check, const char *topic, size_t bytes)
{
    check->step_bytes += bytes;
    if (check->parts.stats != NULL)
        stats_get(check->parts.stats, true, 1);
    if (check->meters != NULL)
        topic_stats_got(check->meters, slice_of_cstr(topic), SLICE_LITERAL(GROUP_TRANSACTIONS), 1,
                        (int64_t)bytes);
}

static void complain_of_record(const char *what, const char *topic, int64_t offset, int64_t pos,
                               const char *mend)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_error("transactions", what, "topic=%s offset=%lld pos=%lld mend=\"%s\" others=%lld",
                  topic, (long long)offset, (long long)pos, mend, (long long)suppressed);
}

/* Read the record that a queue has at an offset.
 * returns  OK (range is the caller's) | NOT_FOUND (there is none, or it is damaged) | IO */
static enum status read_at(struct transaction_check *check, struct queue *queue, const char *topic,
                           int64_t offset, struct log_range *range, struct record *record)
{
    struct queue_entry entry = {.pos = -1};
    enum status status = STATUS_IO;
    if (queue_entry_at(queue, offset, &entry))
        status = entry.pos < 0 ? STATUS_NOT_FOUND
                               : store_read_record(check->parts.store, entry.pos, range);
    if (status == STATUS_OK) {
        if (record_decode(slice_of(range->data, range->size), RECORD_CHECK_CRC, record) ==
            STATUS_OK) {
            count_read(check, topic, range->size);
            return STATUS_OK;
        }
        log_range_release(range);
        status = STATUS_NOT_FOUND;
    }
    if (status == STATUS_NOT_FOUND)
        complain_of_record("message of a transaction passed over: it is damaged or lost", topic,
                           offset, entry.pos, "look with mqstore verify");
    else
        complain_of_record("message of a transaction cannot be read, trying again", topic, offset,
                           entry.pos, "look at the disk: the checks wait for it");
    return status == STATUS_NOT_FOUND ? status : STATUS_IO;
}

static bool markers_are_read(const struct markers *markers)
{
    return markers->queue == NULL || markers->next >= queue_max_offset(markers->queue);
}

/* Read some more of them. False: the disk refuses. */
static bool read_markers(struct transaction_check *check)
{
    struct markers *markers = &check->markers;
    for (int i = 0; i < MARKERS_AT_ONCE && !markers_are_read(markers); i++) {
        struct log_range range;
        struct record record;
        int64_t half = -1;
        enum status status =
            read_at(check, markers->queue, TOPIC_TRANS_OP_HALF, markers->next, &range, &record);
        if (status == STATUS_IO)
            return false;
        if (status == STATUS_OK) {
            half = half_marked(&record);
            if (markers->next < check->recall.from)
                transaction_recall_learn(&check->recall, &record);
            markers->last_born_ms = record.born_timestamp_ms;
            log_range_release(&range);
        }
        marker_add(markers, half, check->at.half);
    }
    return true;
}

/* Is it certain enough that no marker speaks of a message of before the round? */
static bool knows_markers(struct transaction_check *check, const struct transaction_limits *limits)
{
    struct markers *markers = &check->markers;
    return markers_are_read(markers) || !markers_have_room(markers) ||
           (markers->last_born_ms != INT64_MIN &&
            markers->last_born_ms - check->round_wall_ms > limits->timeout_ms);
}

/* --- rounds --- */

static void make_topic(struct transaction_check *check, const char *name, enum status *status)
{
    struct topic_config config;
    bool created = false;
    struct err err = {0};
    *status = topics_ensure(check->parts.topics, slice_of_cstr(name), 1, PERM_READ | PERM_WRITE, 0,
                            &config, &created);
    if (*status == STATUS_OK && !config.saved)
        *status = topics_persist(check->parts.topics, &err);
    if (created && check->parts.topic_made != NULL)
        check->parts.topic_made(check->parts.ctx);
    static struct log_gate gate;
    int64_t suppressed;
    if (*status != STATUS_OK && log_gate_open(&gate, &suppressed))
        log_error("transactions", "topic not made, trying again", "topic=%s cause=\"%s %s\"", name,
                  status_text(*status), err.text);
}

static int64_t bounded(const char *topic, int64_t offset, int64_t min, int64_t max)
{
    if (offset < 0)
        return min;
    if (offset >= min && offset <= max)
        return offset;
    log_error("transactions", "offset of " GROUP_TRANSACTIONS " outside its queue corrected",
              "topic=%s from=%lld to=%lld", topic, (long long)offset, (long long)min);
    return min;
}

/* Where the round goes on: where the last one ended, unless somebody has set other offsets. */
static void open_round(struct transaction_check *check)
{
    struct store *store = check->parts.store;
    struct queue *marks = store_queue(store, SLICE_LITERAL(TOPIC_TRANS_OP_HALF), 0, false);
    check->halves = store_queue(store, SLICE_LITERAL(TOPIC_TRANS_HALF), 0, false);
    int64_t half_min = check->halves == NULL ? 0 : queue_min_offset(check->halves);
    int64_t half_max = check->halves == NULL ? 0 : queue_max_offset(check->halves);
    int64_t marks_min = marks == NULL ? 0 : queue_min_offset(marks);
    int64_t marks_max = marks == NULL ? 0 : queue_max_offset(marks);
    struct progress from = check->at;
    if (check->keep_pos < 0)
        from = (struct progress){stored_offset(check, TOPIC_TRANS_HALF),
                                 stored_offset(check, TOPIC_TRANS_OP_HALF)};
    if (from.half > half_max)
        from.marker = -1; /* the queue has begun anew: so have the markers */
    check->at.half = bounded(TOPIC_TRANS_HALF, from.half, half_min, half_max);
    check->at.marker = bounded(TOPIC_TRANS_OP_HALF, from.marker, marks_min, marks_max);
    if (check->keep_pos < 0)
        check->kept = check->at;
    check->round_end = half_max;
    markers_begin(&check->markers, marks, check->at.marker);
    check->phase = PHASE_WALKING;
}

static void begin_round(struct transaction_check *check, int64_t wall_ms, int64_t now_ms)
{
    enum status status;
    make_topic(check, TOPIC_TRANS_HALF, &status);
    check->phase = PHASE_SETTLING;
    check->round_started_ms = now_ms;
    check->round_wall_ms = wall_ms;
    check->settle_pos = store_appended_pos(check->parts.store);
}

static void end_round(struct transaction_check *check, int64_t now_ms)
{
    advance_markers(check);
    check->phase = PHASE_WAITING;
    check->due_ms =
        now_ms > INT64_MAX - check->interval_ms ? INT64_MAX : now_ms + check->interval_ms;
    check->counts.rounds++;
    markers_begin(&check->markers, NULL, check->at.marker);
}

/* --- one half message --- */

static struct append_result append(struct transaction_check *check, const struct record *record)
{
    struct append_result result = {.status = PUT_MESSAGE_ILLEGAL};
    struct store *store = check->parts.store;
    struct queue *queue = store_queue(store, record->topic, record->queue_id, true);
    append_batch_clear(check->batch);
    if (append_batch_add_again(check->batch, queue, record, false, NULL) == STATUS_OK)
        result = *store_append(store, check->batch);
    append_batch_clear(check->batch);
    if (result.status == PUT_OK && check->parts.stats != NULL)
        stats_put(check->parts.stats, 1, result.end_pos - result.pos);
    return result;
}

static enum walked not_appended(const struct record *half, const char *topic,
                                enum put_status status)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_error("transactions", "half message not appended again, trying again next round",
                  "topic=%s offset=%lld put_status=%d mend=\"%s\"", topic,
                  (long long)half->queue_offset, (int)status,
                  status == PUT_MESSAGE_ILLEGAL ? "the store takes no such properties"
                                                : "see the store's own messages");
    return WALKED_END;
}

/* Nobody ended it in time: to TRANS_CHECK_MAX_TIME_TOPIC. */
static enum walked give_up(struct transaction_check *check, const struct record *half,
                           const char *cause)
{
    enum status status;
    struct record copy = *half;
    struct slice topic = SLICE_LITERAL("?");
    make_topic(check, TOPIC_TRANS_CHECK_MAX_TIME, &status);
    if (status != STATUS_OK)
        return WALKED_END;
    copy.topic = SLICE_LITERAL(TOPIC_TRANS_CHECK_MAX_TIME);
    copy.queue_id = 0;
    copy.prepared_transaction_offset = half_origin_name(half);
    struct append_result result = append(check, &copy);
    if (result.status != PUT_OK)
        return not_appended(half, TOPIC_TRANS_CHECK_MAX_TIME, result.status);
    check->counts.given_up++;
    static struct log_gate gate;
    int64_t suppressed;
    (void)properties_find(half->properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), &topic);
    if (log_gate_open(&gate, &suppressed))
        log_error("transactions",
                  "open transaction given up, its message moved to "
                  "TRANS_CHECK_MAX_TIME_TOPIC",
                  "real_topic=%.*s offset=%lld cause=\"%s\" others=%lld mend=\"ask its producers; "
                  "resumeCheckHalfMessage has them asked again\"",
                  SLICE_ARGS(topic), (long long)result.queue_offset, cause, (long long)suppressed);
    return WALKED_PASSED;
}

/* It asked not to be checked yet: out of the way of those behind it. */
static enum walked spare(struct transaction_check *check, const struct record *half)
{
    struct record copy;
    half_renew(half, -1, half->queue_offset, &check->properties, &copy);
    struct append_result result = append(check, &copy);
    if (result.status == PUT_MESSAGE_ILLEGAL) /* its properties have no room for one more */
        return give_up(check, half, "it cannot be appended again");
    if (result.status != PUT_OK)
        return not_appended(half, TOPIC_TRANS_HALF, result.status);
    check->counts.spared++;
    return WALKED_PASSED;
}

static enum walked ask(struct transaction_check *check, const struct record *half, int32_t times)
{
    struct record copy;
    if (!check->parts.may_ask(check->parts.ctx))
        return WALKED_BUSY;
    half_renew(half, times, -1, &check->properties, &copy);
    struct append_result result = append(check, &copy);
    if (result.status == PUT_MESSAGE_ILLEGAL) /* its properties have no room for one more */
        return give_up(check, half, "it cannot be appended again");
    if (result.status != PUT_OK)
        return not_appended(half, TOPIC_TRANS_HALF, result.status);
    check->counts.asked++;
    copy.queue_offset = result.queue_offset;
    copy.physical_offset = result.pos;
    check->parts.ask(check->parts.ctx, &copy);
    return WALKED_PASSED;
}

static enum walked decide(struct transaction_check *check, const struct transaction_limits *limits,
                          int64_t wall_ms, const struct record *half)
{
    struct half_wishes wishes;
    half_read_wishes(half->properties, &wishes);
    int64_t age_ms = wall_ms - half->born_timestamp_ms;
    bool exhausted = wishes.check_times >= 0 && wishes.check_times >= limits->checks_max;
    bool given_up = exhausted || age_ms > limits->reserved_ms;
    bool immune = wishes.has_immunity && wishes.immunity_ms >= 0 && age_ms < wishes.immunity_ms;
    if (wishes.has_immunity && wishes.immunity_ms < 0)
        immune = age_ms < limits->timeout_ms;
    if (!given_up && !wishes.has_immunity && age_ms >= 0 && age_ms < limits->timeout_ms)
        return WALKED_END; /* too young, and so are those behind it */
    if (!knows_markers(check, limits))
        return read_markers(check) ? WALKED_AGAIN : WALKED_END;
    if (marker_take(&check->markers, wishes.prepared_offset) ||
        transaction_ends_has(check->parts.ends, half_origin(half))) {
        check->counts.done++;
        return WALKED_PASSED;
    }
    if (given_up)
        return give_up(check, half,
                       exhausted ? "asked transactionCheckMax times"
                                 : "older than fileReservedTime");
    if (immune)
        return spare(check, half);
    return ask(check, half, wishes.check_times < 0 ? 1 : wishes.check_times + 1);
}

/* Deal with the half message at the front. */
static enum walked walk(struct transaction_check *check, const struct transaction_limits *limits,
                        int64_t wall_ms)
{
    struct log_range range;
    struct record half;
    if (check->halves == NULL || check->at.half >= check->round_end)
        return WALKED_END;
    int64_t min = queue_min_offset(check->halves);
    if (check->at.half < min) {
        log_error("transactions", "half messages were deleted with the log unchecked",
                  "from=%lld to=%lld", (long long)check->at.half, (long long)min);
        check->at.half = min;
        return WALKED_AGAIN;
    }
    if (marker_take(&check->markers, check->at.half)) {
        check->counts.done++;
        return WALKED_PASSED;
    }
    enum status status =
        read_at(check, check->halves, TOPIC_TRANS_HALF, check->at.half, &range, &half);
    if (status == STATUS_IO)
        return WALKED_END;
    if (status == STATUS_NOT_FOUND)
        return WALKED_PASSED;
    enum walked walked = decide(check, limits, wall_ms, &half);
    log_range_release(&range);
    return walked;
}

/* returns  milliseconds until the next step is useful */
static int64_t walk_some(struct transaction_check *check, const struct transaction_limits *limits,
                         int64_t wall_ms, int64_t now_ms)
{
    check->step_bytes = 0;
    for (int i = 0; i < STEP_MESSAGES_MAX && check->step_bytes < STEP_BYTES_MAX; i++) {
        enum walked walked = walk(check, limits, wall_ms);
        if (walked == WALKED_PASSED)
            check->at.half++;
        if (walked == WALKED_BUSY)
            return BUSY_MS;
        if (walked == WALKED_END) {
            end_round(check, now_ms);
            return FLUSH_MS;
        }
    }
    return 0;
}

int64_t transaction_check_step(struct transaction_check *check,
                               const struct transaction_limits *limits, int64_t wall_ms,
                               int64_t now_ms)
{
    int64_t wait_ms = 0;
    switch (check->phase) {
    case PHASE_RECALLING:
        if (transaction_recall_step(&check->recall, wall_ms, now_ms))
            check->phase = PHASE_WAITING;
        else if (store_dispatched_pos(check->parts.store) < check->recall.settle_pos)
            return SETTLE_MS;
        return 0;
    case PHASE_WAITING:
        wait_ms = check->due_ms - now_ms;
        if (wait_ms <= 0) {
            begin_round(check, wall_ms, now_ms);
            wait_ms = 0;
        }
        break;
    case PHASE_SETTLING:
        if (store_dispatched_pos(check->parts.store) < check->settle_pos) {
            wait_ms = SETTLE_MS;
        } else {
            open_round(check);
            if (!read_markers(check))
                end_round(check, now_ms);
        }
        break;
    case PHASE_WALKING:
        if (now_ms - check->round_started_ms > ROUND_MS_MAX)
            end_round(check, now_ms);
        else
            wait_ms = walk_some(check, limits, wall_ms, now_ms);
        break;
    }
    if (keep_progress(check, now_ms) && wait_ms > FLUSH_MS)
        wait_ms = FLUSH_MS;
    return wait_ms < IDLE_MS ? wait_ms : IDLE_MS;
}
