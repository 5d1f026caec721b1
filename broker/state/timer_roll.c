/* SPDX-License-Identifier: Apache-2.0
 *
 * Rolling: timers whose messages lie in a part of the log that is about to be deleted are appended
 * to their topic again, and are taken in from there like new ones; the old entries are void. Bucket
 * by bucket from the far end, so that at any moment two numbers tell which entries are void and a
 * crash goes on where it was. Deliveries come from the near end and wait only where both meet.
 *
 * The walk through the files also tells where the first message lies that is still needed, so that
 * what retention asks for next is mostly answered already.
 *
 * It begins when everything in that part has been taken in, and durably so: from then on no entry
 * of it is added to a file any more, and places in the files do not change.
 */
#include "broker/state/timer_internal.h"

#include "common/base/check.h"
#include "common/sys/log.h"

/* Has everything before `pos` been taken in when that has come to `offset`? */
static bool taken_in(struct timer *timer, int64_t offset, int64_t pos)
{
    struct queue_entry entry;
    if (offset >= queue_max_offset(timer->queue))
        return true;
    return queue_entry_at(timer->queue, offset, &entry) && entry.pos >= pos;
}

/* Everything before this position of the log has been taken in. */
static int64_t taken_in_pos(struct timer *timer)
{
    struct queue_entry entry;
    int64_t dispatched_pos = store_dispatched_pos(timer->store); /* before the maximum is read */
    if (timer->cursor >= queue_max_offset(timer->queue))
        return dispatched_pos;
    return queue_entry_at(timer->queue, timer->cursor, &entry) && entry.pos >= 0 ? entry.pos : 0;
}

/* True: begun, or already under way. */
static bool begin(struct timer *timer)
{
    struct timer_state *state = &timer->state;
    int64_t wanted = atomic_load(&timer->roll_wanted);
    if (state->roll_pos != 0)
        return true;
    int64_t taken_pos = taken_in_pos(timer);
    if (wanted <= state->floor_pos || taken_pos < wanted)
        return false;
    if (!taken_in(timer, atomic_load(&timer->progress.saved_cursor), wanted)) {
        atomic_store(&timer->progress.save_wanted, true);
        return false;
    }
    state->roll_pos = wanted;
    timer->roll_cap = taken_pos;
    state->roll_bucket = timer_files_previous(&timer->files, TIMER_DUE_MS_MAX);
    state->roll_entries = 0;
    return true;
}

struct rolling {
    struct timer *timer;
    size_t count;
    int64_t next; /* entry of the bucket */
    bool damaged;
};

/* A cancel is needed until its slot is over. */
static bool is_done(const struct timer *timer, const struct timer_entry *entry)
{
    if (entry->kind == TIMER_KIND_CANCEL)
        return timer_slot_of(entry->key.due_ms) < timer_slot_of(timer->state.done.due_ms);
    return timer_key_compare(entry->key, timer->state.done) <= 0;
}

/* Put a copy into the batch. False: the batch is full, or it must be tried again. */
static bool roll_one(void *ctx, int64_t number, const struct timer_entry *entry)
{
    struct rolling *rolling = ctx;
    struct timer *timer = rolling->timer;
    struct timer_item *item = &timer->items[rolling->count];
    struct log_range range;
    struct record record;
    struct timer_message message;
    rolling->damaged = entry == NULL;
    if (rolling->damaged || rolling->count == TIMER_BATCH_MAX ||
        append_batch_bytes(timer->batch) >= TIMER_BATCH_BYTES_MAX)
        return false;
    rolling->next = number + 1;
    if (entry->pos < timer->state.floor_pos || is_done(timer, entry))
        return true;
    if (entry->pos >= timer->state.roll_pos) {
        if (entry->pos < timer->roll_cap)
            timer->roll_cap = entry->pos;
        return true;
    }
    *item = (struct timer_item){.entry = *entry, .end_pos = number};
    item->outcome = timer_read_entry(timer, entry, &range, &record, &message);
    if (item->outcome == TIMER_LATER) {
        timer->failed = true;
        rolling->next = number;
        return false;
    }
    if (item->outcome != TIMER_ADDED)
        return true;
    if (!message.cancel)
        item->topic = timer_progress_topic(&timer->progress, message.topic);
    timer_message_roll(&record, &timer->properties);
    if (append_batch_add_again(timer->batch, timer->queue, &record, false, NULL) == STATUS_OK)
        rolling->count++;
    else
        log_error("state", "timer dropped", "pos=%lld cause=\"the store takes no such properties\"",
                  (long long)entry->pos);
    log_range_release(&range);
    return true;
}

static void roll_some(struct timer *timer)
{
    struct timer_state *state = &timer->state;
    struct rolling rolling = {.timer = timer, .next = state->roll_entries};
    append_batch_clear(timer->batch);
    enum status status =
        timer_files_scan(&timer->files, state->roll_bucket, state->roll_entries,
                         timer_files_count(&timer->files, state->roll_bucket), roll_one, &rolling);
    if (status == STATUS_BUSY)
        timer->failed = true;
    append_batch_makes_room(timer->batch, true);
    size_t done = timer_append(timer, timer->items, rolling.count);
    append_batch_makes_room(timer->batch, false);
    for (size_t i = 0; i < done; i++)
        if (timer->items[i].topic != NULL) /* counted again when the copy is taken in */
            timer_progress_count(&timer->progress, timer->items[i].topic, -1);
    (void)atomic_fetch_add_explicit(&timer->rolled, (int64_t)done, memory_order_relaxed);
    state->roll_entries = done < rolling.count ? timer->items[done].end_pos : rolling.next;
    if (rolling.damaged || (status != STATUS_OK && status != STATUS_BUSY)) {
        timer_rebuild(timer, state->roll_bucket);
        state->roll_entries = 0;
    }
}

bool timer_roll(struct timer *timer)
{
    struct timer_state *state = &timer->state;
    if (!begin(timer))
        return false;
    if (state->roll_bucket != -1 && timer_bucket_last_ms(state->roll_bucket) > state->done.due_ms) {
        if (state->roll_entries < timer_files_count(&timer->files, state->roll_bucket)) {
            roll_some(timer);
            return true;
        }
        state->roll_bucket = timer_files_previous(&timer->files, state->roll_bucket - 1);
        state->roll_entries = 0;
        return true;
    }
    log_info("state", "timers no longer need the oldest part of the log", "before=%lld",
             (long long)state->roll_pos);
    state->floor_pos = state->roll_pos;
    if (timer->roll_cap > state->floor_pos)
        state->floor_pos = timer->roll_cap;
    timer->roll_cap = 0;
    atomic_store(&timer->progress.save_wanted, true);
    state->roll_pos = 0;
    state->roll_bucket = -1;
    state->roll_entries = 0;
    timer_forget_window(timer);
    return true;
}
