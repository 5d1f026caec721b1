/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers: start, taking in, and the order of a step.
 *
 * A message of the queue is taken in once: into the file of its bucket, or, when its time lies
 * before `done`, straight to its target. What decides between the two is `done` alone and not the
 * clock: a crash takes the last messages in again, with a `done` that is not later than the first
 * time, and so comes to the same decision, except for what the crash may deliver twice anyway. What
 * is in a file twice has the same key twice and is delivered once.
 */
#include "broker/state/timer_internal.h"

#include "broker/state/topics.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <stdlib.h>

/* --- start --- */

enum status timer_load(const struct timer_options *options, struct timer **out, struct err *err)
{
    struct timer *timer = xcalloc(1, sizeof *timer);
    timer->store = options->store;
    timer->topic_stats = options->topic_stats;
    timer->batch = append_batch_new(options->store);
    timer_window_init(&timer->window);
    if (options->window_max != 0)
        timer->window.selection_max = options->window_max;
    sleeper_init(&timer->sleeper);
    timer->progress.store = options->store;
    timer->progress.clock = options->clock;
    timer->progress.files = &timer->files;
    enum status status = timer_files_open(&timer->files, options->folder, options->vfs, err);
    enum status loaded = STATUS_OK;
    if (status == STATUS_OK)
        status = loaded =
            timer_progress_load(&timer->progress, options->progress_path, options->vfs, err);
    if (status != STATUS_OK) {
        if (loaded != STATUS_OK)
            timer_progress_release(&timer->progress);
        timer_files_close(&timer->files);
        append_batch_free(timer->batch);
        free(timer);
        return status;
    }
    timer->queue = store_queue(options->store, SLICE_LITERAL(TOPIC_TIMER), 0, true);
    timer->state = timer->progress.state;
    timer->cursor = timer->progress.cursor;
    timer->proof_pos = timer->progress.proof_pos;
    queue_set_idle_interest(timer->queue, true);
    *out = timer;
    return STATUS_OK;
}

void timer_free(struct timer *timer)
{
    queue_set_idle_interest(timer->queue, false);
    timer_progress_release(&timer->progress);
    timer_files_close(&timer->files);
    timer_window_release(&timer->window);
    append_batch_free(timer->batch);
    buf_release(&timer->key);
    buf_release(&timer->other_key);
    buf_release(&timer->properties);
    buf_release(&timer->entries);
    free(timer->cancels);
    free(timer);
}

/* The loaded offsets into the range of the queue, not before dispatch has seen what the log held at
 * the load. */
static bool settle(struct timer *timer)
{
    if (store_dispatched_pos(timer->store) < timer->progress.end_pos)
        return false;
    int64_t min = queue_min_offset(timer->queue);
    int64_t max = queue_max_offset(timer->queue);
    if (timer->state.covered > max) {
        log_error("state", "progress of timers is behind its queue, corrected",
                  "covered=%lld queue_max=%lld", (long long)timer->state.covered, (long long)max);
        timer->state.covered = max;
    }
    if (timer->progress.files_lost || timer->cursor < min)
        timer->cursor = min;
    if (timer->cursor > max)
        timer->cursor = max;
    timer->replay_end = max;
    timer_forget_window(timer);
    if (timer->cursor < max)
        log_info("state", "timers are taken in again", "from=%lld to=%lld",
                 (long long)timer->cursor, (long long)max);
    return true;
}

void timer_rebuild(struct timer *timer, int64_t bucket)
{
    log_error("state", "a timer file is damaged, it is made again from the log",
              "file=%lld folder=\"%s\"", (long long)bucket, timer->files.folder);
    timer_files_put_aside(&timer->files, bucket);
    timer->cursor = queue_min_offset(timer->queue);
    timer->replay_end = queue_max_offset(timer->queue);
    timer_forget_window(timer);
}

void timer_forget_window(struct timer *timer)
{
    timer_window_clear(&timer->window);
    timer->limit = timer->state.done;
    timer->look = true;
}

bool timer_is_void(const struct timer *timer, const struct timer_entry *entry)
{
    const struct timer_state *state = &timer->state;
    return entry->pos < state->floor_pos ||
           (entry->pos < state->roll_pos &&
            timer_bucket_of(entry->key.due_ms) > state->roll_bucket);
}

/* --- reading --- */

static enum timer_outcome drop(int64_t pos, const char *cause)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_error("state", "timer dropped", "pos=%lld cause=\"%s\" others=%lld", (long long)pos,
                  cause, (long long)suppressed);
    return TIMER_DROPPED;
}

/* The disk cannot read it: again a few times, for one message must not hold up all others. */
static enum timer_outcome unreadable(struct timer *timer, int64_t pos)
{
    if (++timer->read_failures >= TIMER_READ_TRIES) {
        timer->read_failures = 0;
        return drop(pos, "the disk cannot read it");
    }
    log_error("state", "timer cannot be read, trying again",
              "pos=%lld retry_ms=%d mend=\"look at the disk\"", (long long)pos, TIMER_RETRY_MS);
    return TIMER_LATER;
}

enum timer_outcome timer_read(struct timer *timer, int64_t pos, struct log_range *range,
                              struct record *record, struct timer_message *message)
{
    enum status status = store_read_record(timer->store, pos, range);
    if (status == STATUS_IO)
        return unreadable(timer, pos);
    timer->read_failures = 0;
    if (status != STATUS_OK)
        return TIMER_PASSED;
    const char *cause = NULL;
    if (record_decode(slice_of(range->data, range->size), RECORD_CHECK_CRC, record) != STATUS_OK)
        cause = "its record is damaged";
    else
        cause = timer_message_read(record, &timer->key, message);
    if (cause == NULL)
        return TIMER_ADDED;
    log_range_release(range);
    return drop(pos, cause);
}

enum timer_outcome timer_read_entry(struct timer *timer, const struct timer_entry *entry,
                                    struct log_range *range, struct record *record,
                                    struct timer_message *message)
{
    enum timer_outcome outcome = timer_read(timer, entry->pos, range, record, message);
    if (outcome == TIMER_PASSED && entry->pos < store_min_pos(timer->store))
        return drop(entry->pos, "its part of the log was deleted");
    if (outcome != TIMER_ADDED)
        return outcome;
    struct timer_entry own = timer_message_entry(record, message);
    if (slice_is(record->topic, TOPIC_TIMER) && timer_key_compare(own.key, entry->key) == 0 &&
        own.kind == entry->kind)
        return TIMER_ADDED;
    log_range_release(range);
    return TIMER_PASSED;
}

enum timer_outcome timer_add(struct timer *timer, struct record *record,
                             const struct timer_message *message, int64_t now_ms)
{
    timer_message_deliver(record, message, now_ms, &timer->properties);
    struct queue *queue = store_queue(timer->store, record->topic, record->queue_id, true);
    if (queue != NULL &&
        append_batch_add_again(timer->batch, queue, record, false, queue) == STATUS_OK)
        return TIMER_ADDED;
    return drop(record->physical_offset, "the store takes no such properties");
}

size_t timer_append(struct timer *timer, struct timer_item *items, size_t count)
{
    const struct append_result *results = NULL;
    size_t added = 0;
    if (append_batch_count(timer->batch) > 0)
        results = store_append(timer->store, timer->batch);
    for (size_t i = 0; i < count; i++) {
        if (items[i].outcome != TIMER_ADDED)
            continue;
        const struct append_result *result = &results[added++];
        if (result->status == PUT_OK) {
            timer->proof_pos = result->end_pos;
            if (timer->topic_stats != NULL && result->tag != NULL)
                topic_stats_delivered(timer->topic_stats, SLICE_EMPTY, queue_topic(result->tag),
                                      result->end_pos - result->pos);
            continue;
        }
        timer->failed = true;
        log_error("state", "timers not appended, trying again", "put_status=%d retry_ms=%d",
                  (int)result->status, TIMER_RETRY_MS);
        append_batch_clear(timer->batch);
        return i;
    }
    append_batch_clear(timer->batch);
    return count;
}

/* --- taking in --- */

/* What to do with the message, by the rules at the top. */
static enum timer_outcome choose(struct timer *timer, const struct timer_entry *entry,
                                 const struct record *record, const struct timer_message *message,
                                 int64_t now_ms)
{
    const struct timer_state *state = &timer->state;
    bool new = timer_entry_offset(entry) >= state->covered;
    if (entry->kind == TIMER_KIND_CANCEL) {
        int64_t slot = timer_slot_of(entry->key.due_ms);
        bool over = timer_slot_first_ms(slot + 1) <= state->done.due_ms;
        return over || (!new &&timer_is_void(timer, entry)) ? TIMER_PASSED : TIMER_FILED;
    }
    if (!new) {
        bool done = timer_key_compare(entry->key, state->done) <= 0;
        return done || timer_is_void(timer, entry) ? TIMER_PASSED : TIMER_FILED;
    }
    if (entry->key.due_ms > state->done.due_ms)
        return TIMER_FILED;
    struct record copy = *record;
    return timer_add(timer, &copy, message, now_ms);
}

/* Read the message at an offset. TIMER_PASSED: there is nothing to do for it. */
static enum timer_outcome look_at(struct timer *timer, int64_t offset, int64_t now_ms,
                                  struct timer_item *item)
{
    struct queue_entry entry;
    struct log_range range;
    struct record record;
    struct timer_message message;
    *item = (struct timer_item){.end_pos = 0};
    if (!queue_entry_at(timer->queue, offset, &entry))
        return TIMER_LATER;
    if (entry.pos < 0)
        return TIMER_PASSED;
    enum timer_outcome outcome = timer_read(timer, entry.pos, &range, &record, &message);
    if (outcome != TIMER_ADDED)
        return outcome == TIMER_PASSED ? drop(entry.pos, "there is no record at its position")
                                       : outcome;
    record.queue_offset = offset;
    item->entry = timer_message_entry(&record, &message);
    item->end_pos = record.physical_offset + record.size;
    item->topic = timer_progress_topic(&timer->progress, message.topic);
    outcome = choose(timer, &item->entry, &record, &message, now_ms);
    log_range_release(&range);
    return outcome;
}

static int by_bucket(const void *a, const void *b)
{
    const struct timer_item *x = *(struct timer_item *const *)a;
    const struct timer_item *y = *(struct timer_item *const *)b;
    int64_t left = timer_bucket_of(x->entry.key.due_ms);
    int64_t right = timer_bucket_of(y->entry.key.due_ms);
    if (left != right)
        return left < right ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool write_files(struct timer *timer, size_t count)
{
    size_t filed = 0;
    for (size_t i = 0; i < count; i++)
        if (timer->items[i].outcome == TIMER_FILED)
            timer->sorted[filed++] = &timer->items[i];
    qsort(timer->sorted, filed, sizeof timer->sorted[0], by_bucket);
    for (size_t i = 0; i < filed;) {
        int64_t bucket = timer_bucket_of(timer->sorted[i]->entry.key.due_ms);
        buf_clear(&timer->entries);
        for (; i < filed && timer_bucket_of(timer->sorted[i]->entry.key.due_ms) == bucket; i++) {
            timer_entry_encode(&timer->sorted[i]->entry,
                               buf_reserve(&timer->entries, TIMER_ENTRY_BYTES));
            timer->entries.size += TIMER_ENTRY_BYTES;
        }
        enum status status = timer_files_append(&timer->files, bucket, buf_slice(&timer->entries));
        if (status != STATUS_OK) {
            log_error("state", "timers cannot be written, trying again",
                      "folder=\"%s\" cause=\"%s\" retry_ms=%d", timer->files.folder,
                      status_text(status), TIMER_RETRY_MS);
            return false;
        }
    }
    return true;
}

/* The item is in the files: into the window, too, as far as that reaches. */
static void note_filed(struct timer *timer, const struct timer_item *item)
{
    const struct timer_entry *entry = &item->entry;
    if (entry->kind == TIMER_KIND_CANCEL && entry->key.due_ms <= timer->state.done.due_ms)
        timer_add_cancel(timer, entry);
    else if (timer_key_compare(entry->key, timer->limit) > 0)
        timer->look = true;
    else if (!timer_window_push(&timer->window, entry))
        timer_forget_window(timer);
    if (entry->kind == TIMER_KIND_MESSAGE && entry->key.queue_offset >= timer->state.covered)
        timer_progress_count(&timer->progress, item->topic, 1);
}

static void note_taken(struct timer *timer, const struct timer_item *item)
{
    if (item->end_pos > timer->proof_pos)
        timer->proof_pos = item->end_pos;
    if (item->outcome == TIMER_FILED)
        note_filed(timer, item);
    else if (item->outcome == TIMER_ADDED)
        (void)atomic_fetch_add_explicit(&timer->delivered, 1, memory_order_relaxed);
    else if (item->outcome == TIMER_DROPPED)
        (void)atomic_fetch_add_explicit(&timer->dropped, 1, memory_order_relaxed);
}

/* True: there is more to take in. */
static bool take_in(struct timer *timer, int64_t now_ms)
{
    int64_t min = queue_min_offset(timer->queue);
    int64_t max = queue_max_offset(timer->queue);
    size_t count = 0;
    if (timer->cursor > max) {
        log_error("state", "the timers' queue has begun anew", "from=%lld to=%lld",
                  (long long)timer->cursor, (long long)min);
        timer->cursor = timer->state.covered = timer->replay_end = min;
    }
    if (timer->cursor < min)
        timer->cursor = min;
    append_batch_clear(timer->batch);
    while (timer->cursor + (int64_t)count < max && count < TIMER_INTAKE_MAX &&
           append_batch_count(timer->batch) < TIMER_BATCH_MAX &&
           append_batch_bytes(timer->batch) < TIMER_BATCH_BYTES_MAX) {
        struct timer_item *item = &timer->items[count];
        item->outcome = look_at(timer, timer->cursor + (int64_t)count, now_ms, item);
        timer->failed = item->outcome == TIMER_LATER;
        if (timer->failed)
            break;
        count++;
    }
    if (count == 0)
        return false;
    if (!write_files(timer, count)) {
        timer->failed = true;
        append_batch_clear(timer->batch);
        return false;
    }
    count = timer_append(timer, timer->items, count);
    for (size_t i = 0; i < count; i++)
        note_taken(timer, &timer->items[i]);
    timer->cursor += (int64_t)count;
    if (timer->cursor > timer->state.covered)
        timer->state.covered = timer->cursor;
    return timer->cursor < max;
}

/* --- steps --- */

void timer_settle(struct timer *timer)
{
    if (!timer->settled)
        timer->settled = settle(timer);
}

int64_t timer_step(struct timer *timer, int64_t now_ms)
{
    timer_settle(timer);
    if (!timer->settled)
        return TIMER_IDLE_MS / 100;
    /* The second test is for a clock that has been set back. */
    if (now_ms < timer->not_before_ms && timer->not_before_ms - now_ms <= TIMER_RETRY_MS)
        return timer->not_before_ms - now_ms;
    timer->failed = false;
    int64_t wait_ms = TIMER_IDLE_MS;
    bool more = take_in(timer, now_ms);
    if (!timer->failed && timer->cursor >= timer->replay_end) {
        wait_ms = timer_deliver(timer, now_ms);
        more |= !timer->failed && timer_roll(timer);
    }
    timer_progress_publish(&timer->progress, &timer->state, timer->cursor, timer->proof_pos);
    const struct timer_entry *first = timer_window_first(&timer->window);
    atomic_store_explicit(&timer->next_ms, first == NULL ? 0 : first->key.due_ms,
                          memory_order_relaxed);
    timer->not_before_ms = timer->failed ? now_ms + TIMER_RETRY_MS : 0;
    if (timer->failed)
        return TIMER_RETRY_MS;
    return more ? 0 : wait_ms;
}

void timer_wait(struct timer *timer, int64_t wait_ms)
{
    sleeper_prepare(&timer->sleeper, SLEEP_DEEP);
    if (atomic_exchange(&timer->woken, false) || wait_ms == 0)
        sleeper_cancel(&timer->sleeper);
    else
        sleeper_wait(&timer->sleeper, wait_ms * 1000);
}

void timer_wake(struct timer *timer)
{
    atomic_store(&timer->woken, true);
    sleeper_wake(&timer->sleeper, SLEEP_DEEP);
}

void timer_on_arrival(struct timer *timer, const struct queue *queue)
{
    if (queue == timer->queue)
        timer_wake(timer);
}

/* --- others --- */

bool timer_may_expire(struct timer *timer, int64_t end_pos)
{
    if (atomic_load(&timer->progress.saved_floor) >= end_pos)
        return true;
    atomic_store(&timer->roll_wanted, end_pos);
    timer_wake(timer);
    return false;
}

void timer_figures(struct timer *timer, struct timer_figures *out)
{
    struct timer_progress *progress = &timer->progress;
    CHECK(pthread_mutex_lock(&progress->lock) == 0);
    out->queue_offset = progress->cursor;
    out->read_ms = progress->state.done.due_ms;
    CHECK(pthread_mutex_unlock(&progress->lock) == 0);
    out->pending = timer_progress_pending(progress);
    out->behind = queue_max_offset(timer->queue) - out->queue_offset;
    if (out->behind < 0)
        out->behind = 0;
    out->delivered = atomic_load_explicit(&timer->delivered, memory_order_relaxed);
    out->cancelled = atomic_load_explicit(&timer->cancelled, memory_order_relaxed);
    out->rolled = atomic_load_explicit(&timer->rolled, memory_order_relaxed);
    out->next_ms = atomic_load_explicit(&timer->next_ms, memory_order_relaxed);
    out->dropped = atomic_load_explicit(&timer->dropped, memory_order_relaxed);
}

void timer_wrap_metrics(struct timer *timer, struct arena *arena, TimerMetricsSerializeWrapper *out)
{
    timer_progress_wrap(&timer->progress, arena, out);
}

int64_t timer_copy_progress(struct timer *timer, struct arena *arena, TimerProgress *out)
{
    return timer_progress_copy(&timer->progress, arena, out);
}

enum status timer_persist(struct timer *timer, struct err *err)
{
    return timer_progress_save(&timer->progress, err);
}

enum status timer_journal_step(struct timer *timer, struct err *err)
{
    return timer_progress_journal(&timer->progress, err);
}

bool timer_journal_is_due(struct timer *timer)
{
    return atomic_load(&timer->progress.save_wanted) ||
           offset_journal_is_due(timer->progress.file.journal);
}

enum status timer_journal_sync(struct timer *timer, struct err *err)
{
    return config_file_sync_journal(&timer->progress.file, err);
}
