/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of a save: what is published is read first, then the timer files are made durable, then
 * the log up to proof_pos; then the file is replaced. So all that it says of files and log is on
 * disk. Files whose time is over by what the saved file says are removed after that, not before.
 *
 * The journal does not wait: a block of it says how far the log must reach for it to count, and
 * nothing about timer files.
 */
#include "broker/state/timer_progress.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <stdlib.h>

#define FLUSH_WAIT_MS 2000

/* Places of the numbers in a block of the journal, under the empty key. Counts of topics are under
 * the topic, place 0. */
enum {
    PLACE_COVERED,
    PLACE_DUE,
    PLACE_OFFSET,
    PLACE_FLOOR,
    PLACE_ROLL_POS,
    PLACE_ROLL_BUCKET,
    PLACE_ROLL_ENTRIES,
    PLACES,
    PLACE_VERSION = PLACES,
};

static int64_t *place_in(struct timer_state *state, int place)
{
    int64_t *const places[PLACES] = {
        &state->covered,  &state->done.due_ms, &state->done.queue_offset, &state->floor_pos,
        &state->roll_pos, &state->roll_bucket, &state->roll_entries};
    return places[place];
}

static void progress_lock(struct timer_progress *progress)
{
    CHECK(pthread_mutex_lock(&progress->lock) == 0);
}

static void progress_unlock(struct timer_progress *progress)
{
    CHECK(pthread_mutex_unlock(&progress->lock) == 0);
}

static struct timer_topic *topic_of(struct timer_progress *progress, struct slice name)
{
    struct timer_topic *topic = map_get(&progress->topics, name);
    if (topic == NULL) {
        topic = xcalloc(1, sizeof *topic);
        (void)map_put(&progress->topics, name, topic);
    }
    return topic;
}

/* --- loading --- */

static bool state_possible(const struct timer_state *state)
{
    return state->covered >= 0 && state->done.due_ms >= 0 &&
           state->done.due_ms <= TIMER_DUE_MS_MAX && state->floor_pos >= 0 &&
           state->roll_pos >= 0 && state->roll_bucket >= -1 && state->roll_entries >= 0;
}

static bool merge_body(struct timer_progress *progress, const TimerProgress *body)
{
    progress->state = (struct timer_state){
        .covered = body->covered_offset,
        .done = {body->done_due_ms, body->done_offset},
        .floor_pos = body->floor_pos,
        .roll_pos = body->roll_pos,
        .roll_bucket = body->roll_bucket,
        .roll_entries = body->roll_entries,
    };
    progress->files_offset = body->files_offset;
    progress->changes = body->version < 0 ? 0 : (uint64_t)body->version;
    for (size_t i = 0; i < body->n_timing_count; i++) {
        const TimerMetricEntry *entry = body->timing_count[i];
        struct timer_topic *topic = topic_of(progress, slice_of_cstr(entry->key));
        topic->count = entry->value->count;
        topic->changed_ms = entry->value->time_stamp;
    }
    return state_possible(&progress->state) && body->files_offset >= 0;
}

static void read_state(struct slice changes, struct timer_state *state, int64_t *version)
{
    struct journal_change change;
    struct journal_queue queue;
    while (journal_change_next(&changes, &change))
        while (change.key.size == 0 && journal_queue_next(&change.queues, &queue))
            if (queue.queue_id >= 0 && queue.queue_id < PLACES)
                *place_in(state, queue.queue_id) = queue.offset;
            else if (queue.queue_id == PLACE_VERSION)
                *version = queue.offset;
}

static void read_counts(struct timer_progress *progress, struct slice changes)
{
    struct journal_change change;
    struct journal_queue queue;
    while (journal_change_next(&changes, &change))
        while (change.key.size != 0 && journal_queue_next(&change.queues, &queue))
            topic_of(progress, change.key)->count = queue.offset < 0 ? 0 : queue.offset;
}

/* The log ends at end_pos. */
static bool merge_changes(void *ctx, int64_t log_pos, struct slice changes)
{
    struct timer_progress *progress = ctx;
    struct timer_state state = progress->state;
    int64_t version = 0;
    if (log_pos > progress->end_pos)
        return false;
    read_state(changes, &state, &version);
    if (!state_possible(&state))
        return false;
    if (version <= (int64_t)progress->changes)
        return true;
    progress->state = state;
    progress->changes = (uint64_t)version;
    read_counts(progress, changes);
    return true;
}

static void restore_files(struct timer_progress *progress, const TimerProgress *body)
{
    for (size_t i = 0; i < body->n_files; i++) {
        int64_t bucket = body->files[i]->key;
        if (bucket < 0 || bucket > TIMER_DUE_MS_MAX / TIMER_BUCKET_MS ||
            timer_bucket_last_ms(bucket) <= progress->state.done.due_ms)
            continue;
        if (timer_files_restore(progress->files, bucket, body->files[i]->value))
            continue;
        log_error("state", "a timer file is missing or too short, all are made again from the log",
                  "bucket=%lld entries=%lld", (long long)bucket, (long long)body->files[i]->value);
        progress->files_lost = true;
    }
}

static void remember_journaled(struct timer_progress *progress)
{
    size_t cursor = 0;
    progress->journaled = progress->state;
    for (struct map_entry *entry; (entry = map_next(&progress->topics, &cursor)) != NULL;)
        ((struct timer_topic *)entry->value)->journaled =
            ((struct timer_topic *)entry->value)->count;
}

static enum status load_file(struct timer_progress *progress, struct arena *arena, struct err *err)
{
    TimerProgress body;
    enum config_source source;
    bool replayed = false;
    enum status status =
        config_file_load(&progress->file, "the progress of timers", &timer_progress__descriptor,
                         arena, &body.base, &source, err);
    if (status != STATUS_OK)
        return status;
    if (!merge_body(progress, &body))
        return err_set(err, STATUS_CORRUPT,
                       "%s holds a number that is impossible. Restore it from %s.bak, or remove "
                       "both: every timer that is still there is then delivered again",
                       progress->file.path, progress->file.path);
    status = offset_journal_load(progress->file.journal, progress->file.loaded, merge_changes,
                                 progress, &replayed, err);
    if (status != STATUS_OK)
        return status;
    restore_files(progress, &body);
    remember_journaled(progress);
    if (source == CONFIG_SOURCE_MAIN && !replayed && !progress->files_lost)
        progress->file.saved_changes = progress->changes;
    else
        progress->changes++;
    return STATUS_OK;
}

enum status timer_progress_load(struct timer_progress *progress, const char *path, struct vfs *vfs,
                                struct err *err)
{
    struct arena arena;
    CHECK(pthread_mutex_init(&progress->lock, NULL) == 0);
    progress->state.done.queue_offset = -1;
    progress->end_pos = store_appended_pos(progress->store);
    progress->proof_pos = progress->end_pos;
    config_file_init(&progress->file, path, vfs);
    progress->file.journal = offset_journal_new(path, vfs);
    arena_init(&arena, 4096);
    enum status status = load_file(progress, &arena, err);
    arena_release(&arena);
    progress->cursor = progress->files_offset;
    atomic_init(&progress->saved_cursor, progress->files_offset);
    atomic_init(&progress->saved_floor, progress->state.floor_pos);
    return status;
}

void timer_progress_release(struct timer_progress *progress)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&progress->topics, &cursor)) != NULL;)
        free(entry->value);
    map_release(&progress->topics);
    config_file_release(&progress->file);
    buf_release(&progress->block);
    CHECK(pthread_mutex_destroy(&progress->lock) == 0);
}

/* --- the timers' thread --- */

struct timer_topic *timer_progress_topic(struct timer_progress *progress, struct slice name)
{
    /* Only this thread adds topics; looking needs no lock. */
    struct timer_topic *topic = map_get(&progress->topics, name);
    if (topic != NULL)
        return topic;
    progress_lock(progress);
    topic = topic_of(progress, name);
    progress_unlock(progress);
    return topic;
}

void timer_progress_count(struct timer_progress *progress, struct timer_topic *topic, int64_t delta)
{
    if (topic->next_changed == NULL) {
        /* The last of the list points to itself: a topic in it is never NULL there. */
        topic->next_changed = progress->changed == NULL ? topic : progress->changed;
        progress->changed = topic;
    }
    topic->delta += delta;
}

static bool state_equal(const struct timer_state *a, const struct timer_state *b)
{
    return memcmp(a, b, sizeof *a) == 0; /* seven int64_t, no padding */
}

void timer_progress_publish(struct timer_progress *progress, const struct timer_state *state,
                            int64_t cursor, int64_t proof_pos)
{
    int64_t now_ms = clock_wall_ms(progress->clock);
    progress_lock(progress);
    bool changed = cursor != progress->cursor || !state_equal(state, &progress->state);
    for (struct timer_topic *topic = progress->changed; topic != NULL;) {
        struct timer_topic *next = topic->next_changed == topic ? NULL : topic->next_changed;
        topic->count += topic->delta;
        if (topic->count < 0)
            topic->count = 0;
        topic->changed_ms = now_ms;
        topic->delta = 0;
        topic->next_changed = NULL;
        topic = next;
        changed = true;
    }
    progress->changed = NULL;
    progress->state = *state;
    progress->cursor = cursor;
    progress->proof_pos = proof_pos;
    progress->changes += changed;
    progress_unlock(progress);
}

/* --- saving --- */

static TimerMetricEntry *wrap_topic(struct slice name, const struct timer_topic *topic,
                                    struct arena *arena)
{
    TimerMetricEntry *entry = arena_alloc(arena, sizeof *entry);
    TimerMetric *metric = arena_alloc(arena, sizeof *metric);
    timer_metric_entry__init(entry);
    timer_metric__init(metric);
    metric->count = topic->count;
    metric->time_stamp = topic->changed_ms;
    entry->key = arena_printf(arena, "%.*s", SLICE_ARGS(name));
    entry->value = metric;
    return entry;
}

/* Under the lock. */
static size_t wrap_topics(const struct timer_progress *progress, struct arena *arena,
                          TimerMetricEntry ***out)
{
    struct map_entry **sorted = map_sorted(&progress->topics, arena);
    size_t count = progress->topics.count;
    *out = arena_alloc(arena, (count + 1) * sizeof **out);
    for (size_t i = 0; i < count; i++)
        (*out)[i] = wrap_topic(sorted[i]->key, sorted[i]->value, arena);
    return count;
}

struct listing {
    struct arena *arena;
    TimerProgress *body;
    size_t capacity;
};

static void list_file(void *ctx, int64_t bucket, int64_t durable)
{
    struct listing *listing = ctx;
    TimerProgress *body = listing->body;
    TimerFileEntry *entry = arena_alloc(listing->arena, sizeof *entry);
    timer_file_entry__init(entry);
    entry->key = bucket;
    entry->value = durable;
    body->files = arena_grow(listing->arena, body->files, sizeof(TimerFileEntry *), body->n_files,
                             &listing->capacity);
    body->files[body->n_files++] = entry;
}

/* returns  OK | BUSY */
static enum status sync_files(struct timer_progress *progress, struct err *err)
{
    if (progress->files_failed)
        return STATUS_OK;
    enum status status = timer_files_sync(progress->files);
    if (status == STATUS_IO) {
        progress->files_failed = true;
        log_error("state", "the timer files cannot be made durable",
                  "folder=\"%s\" mend=\"check the disk; the next start makes them again from the "
                  "log\"",
                  progress->files->folder);
        return STATUS_OK;
    }
    return status == STATUS_OK ? STATUS_OK
                               : err_set_errno(err, STATUS_BUSY, "%s cannot be synced now",
                                               progress->files->folder);
}

static void fill(const struct timer_state *state, TimerProgress *body)
{
    body->covered_offset = state->covered;
    body->done_due_ms = state->done.due_ms;
    body->done_offset = state->done.queue_offset;
    body->floor_pos = state->floor_pos;
    body->roll_pos = state->roll_pos;
    body->roll_bucket = state->roll_bucket;
    body->roll_entries = state->roll_entries;
}

static enum status snapshot_message(const void *table, struct arena *arena, uint64_t saved_changes,
                                    uint64_t *changes, const ProtobufCMessage **message,
                                    struct err *err)
{
    struct timer_progress *progress = (struct timer_progress *)(uintptr_t)table;
    TimerProgress *body = arena_alloc(arena, sizeof *body);
    struct listing listing = {arena, body, 0};
    timer_progress__init(body);
    progress_lock(progress);
    *changes = progress->changes;
    bool changed = *changes != saved_changes;
    int64_t proof_pos = progress->proof_pos;
    if (changed) {
        fill(&progress->state, body);
        body->files_offset = progress->cursor;
        body->version = (int64_t)progress->changes;
        progress->being_saved_cursor = progress->cursor;
        progress->being_saved_floor = progress->state.floor_pos;
        body->n_timing_count = wrap_topics(progress, arena, &body->timing_count);
    }
    progress_unlock(progress);
    if (!changed)
        return STATUS_OK;
    enum status status = sync_files(progress, err);
    if (status != STATUS_OK)
        return status;
    if (!store_wait_flushed(progress->store, proof_pos, FLUSH_WAIT_MS))
        return err_set(err, STATUS_TIMEOUT,
                       "%s is not written: messages up to log position %lld are not on disk yet",
                       progress->file.path, (long long)proof_pos);
    if (progress->files_failed)
        body->files_offset = 0;
    else
        timer_files_list(progress->files, list_file, &listing);
    *message = &body->base;
    return STATUS_OK;
}

enum status timer_progress_save(struct timer_progress *progress, struct err *err)
{
    atomic_store(&progress->save_wanted, false);
    progress_lock(progress);
    int64_t done_ms = progress->state.done.due_ms; /* not later than what is saved */
    progress->being_saved_cursor = progress->cursor;
    progress->being_saved_floor = progress->state.floor_pos;
    progress_unlock(progress);
    enum status status = config_file_save(&progress->file, snapshot_message, progress, err);
    if (status != STATUS_OK)
        return status;
    atomic_store(&progress->saved_cursor,
                 progress->files_failed ? 0 : progress->being_saved_cursor);
    atomic_store(&progress->saved_floor, progress->being_saved_floor);
    if (done_ms > 0)
        timer_files_remove_before(progress->files, timer_bucket_of(done_ms));
    return STATUS_OK;
}

int64_t timer_progress_copy(struct timer_progress *progress, struct arena *arena,
                            TimerProgress *out)
{
    timer_progress__init(out);
    progress_lock(progress);
    fill(&progress->state, out);
    out->version = (int64_t)progress->changes;
    int64_t proof_pos = progress->proof_pos;
    out->n_timing_count = wrap_topics(progress, arena, &out->timing_count);
    progress_unlock(progress);
    return proof_pos;
}

/* --- the journal --- */

static void put_topics(struct timer_progress *progress)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&progress->topics, &cursor)) != NULL;) {
        struct timer_topic *topic = entry->value;
        if (topic->count == topic->journaled && !progress->journal_all)
            continue;
        topic->journaled = topic->count;
        size_t at = journal_put_key(&progress->block, entry->key);
        journal_put_queue(&progress->block, at, 0, topic->count);
    }
}

enum status timer_progress_journal(struct timer_progress *progress, struct err *err)
{
    progress_lock(progress);
    struct timer_state state = progress->state;
    int64_t proof_pos = progress->proof_pos;
    if (state_equal(&state, &progress->journaled)) {
        progress_unlock(progress);
        return STATUS_OK;
    }
    journal_changes_open(&progress->block);
    size_t at = journal_put_key(&progress->block, SLICE_EMPTY);
    for (int i = 0; i < PLACES; i++)
        journal_put_queue(&progress->block, at, i, *place_in(&state, i));
    journal_put_queue(&progress->block, at, PLACE_VERSION, (int64_t)progress->changes);
    put_topics(progress);
    progress_unlock(progress);
    enum status status = offset_journal_append(progress->file.journal, &progress->block, proof_pos);
    progress->journal_all = status != STATUS_OK;
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot write the journal of %s", progress->file.path);
    progress->journaled = state;
    return STATUS_OK;
}

/* --- reading --- */

void timer_progress_wrap(struct timer_progress *progress, struct arena *arena,
                         TimerMetricsSerializeWrapper *out)
{
    DataVersion *version = arena_alloc(arena, sizeof *version);
    timer_metrics_serialize_wrapper__init(out);
    data_version__init(version);
    progress_lock(progress);
    version->counter = (int64_t)progress->changes;
    out->n_timing_count = wrap_topics(progress, arena, &out->timing_count);
    progress_unlock(progress);
    version->timestamp = clock_wall_ms(progress->clock);
    out->data_version = version;
}

int64_t timer_progress_pending(struct timer_progress *progress)
{
    int64_t pending = 0;
    size_t cursor = 0;
    progress_lock(progress);
    for (struct map_entry *entry; (entry = map_next(&progress->topics, &cursor)) != NULL;)
        pending += ((struct timer_topic *)entry->value)->count;
    progress_unlock(progress);
    return pending;
}
