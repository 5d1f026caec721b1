/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivering: the window is filled from the files, and what is due is taken from it in order.
 *
 * `done` moves past a timer only when its message has been appended, or can never be, or was
 * cancelled. A cancel stands in front of the timers of its second; those it is meant for are found
 * by a hash and then by the whole key.
 */
#include "broker/state/timer_internal.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/properties.h"

#include <stdlib.h>

/* --- cancels --- */

void timer_add_cancel(struct timer *timer, const struct timer_entry *entry)
{
    if (timer->cancel_count == TIMER_CANCELS_MAX) {
        static struct log_gate gate;
        int64_t suppressed;
        if (log_gate_open(&gate, &suppressed))
            log_error("state", "too many cancels for one second, a timer will be delivered",
                      "limit=%d others=%lld", TIMER_CANCELS_MAX, (long long)suppressed);
        return;
    }
    if (timer->cancel_count == timer->cancel_capacity) {
        timer->cancel_capacity = timer->cancel_capacity == 0 ? 16 : timer->cancel_capacity * 2;
        timer->cancels = xrealloc(timer->cancels, timer->cancel_capacity * sizeof *timer->cancels);
    }
    timer->cancels[timer->cancel_count++] =
        (struct timer_cancel){timer_slot_of(entry->key.due_ms), entry->hash, entry->pos};
    timer->cancels_sorted = false;
}

static int by_hash(const void *a, const void *b)
{
    const struct timer_cancel *x = a;
    const struct timer_cancel *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->pos < y->pos ? -1 : x->pos > y->pos;
}

/* Those of slots that are over, and doubles, go. */
static void tidy_cancels(struct timer *timer)
{
    int64_t slot = timer_slot_of(timer->state.done.due_ms);
    size_t kept = 0;
    for (size_t i = 0; i < timer->cancel_count; i++)
        if (timer->cancels[i].slot >= slot)
            timer->cancels[kept++] = timer->cancels[i];
    timer->cancel_count = kept;
    if (timer->cancels_sorted || kept == 0)
        return;
    qsort(timer->cancels, kept, sizeof *timer->cancels, by_hash);
    size_t single = 1;
    for (size_t i = 1; i < kept; i++)
        if (timer->cancels[i].pos != timer->cancels[single - 1].pos)
            timer->cancels[single++] = timer->cancels[i];
    timer->cancel_count = single;
    timer->cancels_sorted = true;
}

/* Does the cancel at `pos` name the key in timer->key? */
static bool cancel_names(struct timer *timer, int64_t pos)
{
    struct log_range range;
    struct record record;
    struct slice value;
    bool names = false;
    if (store_read_record(timer->store, pos, &range) != STATUS_OK)
        return false;
    if (record_decode(slice_of(range.data, range.size), RECORD_CHECK_FRAME, &record) == STATUS_OK)
        names =
            properties_find(record.properties, SLICE_LITERAL(PROPERTY_TIMER_DEL_UNIQKEY), &value) &&
            slice_equal(value, buf_slice(&timer->key));
    log_range_release(&range);
    return names;
}

static bool is_cancelled(struct timer *timer, const struct timer_entry *entry)
{
    int64_t slot = timer_slot_of(entry->key.due_ms);
    size_t low = 0;
    if (timer->cancel_count == 0)
        return false;
    tidy_cancels(timer);
    for (size_t high = timer->cancel_count; low < high;) {
        size_t middle = (low + high) / 2;
        if (timer->cancels[middle].hash < entry->hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < timer->cancel_count && timer->cancels[low].hash == entry->hash; low++)
        if (timer->cancels[low].slot == slot && cancel_names(timer, timer->cancels[low].pos))
            return true;
    return false;
}

/* --- filling the window --- */

struct filling {
    struct timer *timer;
    struct timer_key after;
    bool left_out;
    bool damaged;
};

static bool offer(void *ctx, int64_t number, const struct timer_entry *entry)
{
    struct filling *filling = ctx;
    struct timer *timer = filling->timer;
    (void)number;
    if (entry == NULL) {
        filling->damaged = true;
        return false;
    }
    if (timer_is_void(timer, entry))
        return true;
    if (timer_key_compare(entry->key, filling->after) > 0)
        timer_window_select(&timer->window, entry, &filling->left_out);
    else if (entry->kind == TIMER_KIND_CANCEL &&
             timer_slot_of(entry->key.due_ms) == timer_slot_of(timer->state.done.due_ms))
        timer_add_cancel(timer, entry);
    return true;
}

/* Fill the empty window from one bucket. False: it cannot be read just now, or was damaged. */
static bool fill_from(struct timer *timer, int64_t bucket)
{
    struct filling filling = {.timer = timer, .after = timer->limit};
    if (timer_key_compare(filling.after, timer->state.done) < 0)
        filling.after = timer->state.done;
    enum status status = timer_files_scan(
        &timer->files, bucket, 0, timer_files_count(&timer->files, bucket), offer, &filling);
    if (status == STATUS_BUSY) {
        timer->failed = true;
    } else if (status != STATUS_OK || filling.damaged) {
        timer_rebuild(timer, bucket);
        return false;
    }
    if (timer->failed) {
        timer_window_clear(&timer->window);
        return false;
    }
    timer->limit = (struct timer_key){timer_bucket_last_ms(bucket), INT64_MAX};
    struct timer_key last = timer->limit;
    timer_window_select_end(&timer->window, &last);
    if (filling.left_out)
        timer->limit = last;
    return true;
}

/* The first bucket that may hold something behind the limit. */
static int64_t bucket_behind(const struct timer *timer)
{
    int64_t from_ms = timer->limit.due_ms;
    if (from_ms < timer->state.done.due_ms)
        from_ms = timer->state.done.due_ms;
    if (from_ms < 1)
        return 0;
    int64_t bucket = timer_bucket_of(from_ms);
    bool whole = timer->limit.queue_offset == INT64_MAX && timer->limit.due_ms == from_ms &&
                 from_ms == timer_bucket_last_ms(bucket);
    return whole ? bucket + 1 : bucket;
}

/* The next timer, from the window; NULL when there is none, or it cannot be told now. */
static const struct timer_entry *next(struct timer *timer)
{
    const struct timer_entry *first;
    while ((first = timer_window_first(&timer->window)) == NULL && timer->look) {
        int64_t bucket = timer_files_next(&timer->files, bucket_behind(timer));
        if (bucket == -1)
            timer->look = false;
        else if (!fill_from(timer, bucket))
            return NULL;
    }
    return first;
}

/* --- delivering --- */

static enum timer_outcome take(struct timer *timer, struct timer_item *item, int64_t now_ms)
{
    struct log_range range;
    struct record record;
    struct timer_message message;
    if (timer_is_void(timer, &item->entry))
        return TIMER_PASSED;
    if (item->entry.kind == TIMER_KIND_CANCEL) {
        timer_add_cancel(timer, &item->entry);
        return TIMER_PASSED;
    }
    enum timer_outcome outcome = timer_read_entry(timer, &item->entry, &range, &record, &message);
    if (outcome != TIMER_ADDED)
        return outcome;
    item->topic = timer_progress_topic(&timer->progress, message.topic);
    outcome = is_cancelled(timer, &item->entry) ? TIMER_CANCELLED
                                                : timer_add(timer, &record, &message, now_ms);
    log_range_release(&range);
    return outcome;
}

static void note_done(struct timer *timer, const struct timer_item *item)
{
    timer->state.done = item->entry.key;
    if (item->outcome == TIMER_ADDED)
        (void)atomic_fetch_add_explicit(&timer->delivered, 1, memory_order_relaxed);
    else if (item->outcome == TIMER_CANCELLED)
        (void)atomic_fetch_add_explicit(&timer->cancelled, 1, memory_order_relaxed);
    else if (item->outcome == TIMER_DROPPED)
        (void)atomic_fetch_add_explicit(&timer->dropped, 1, memory_order_relaxed);
    if (item->topic != NULL)
        timer_progress_count(&timer->progress, item->topic, -1);
}

/* What lies in a bucket that is being rolled waits until that is done. */
static bool is_rolled_now(const struct timer *timer, const struct timer_entry *entry)
{
    return entry->pos < timer->state.roll_pos &&
           timer_bucket_of(entry->key.due_ms) == timer->state.roll_bucket;
}

/* Take what is due out of the window into items.
 * returns  how many; *wait_ms until the next is due */
static size_t gather(struct timer *timer, int64_t now_ms, int64_t *wait_ms)
{
    struct timer_key last = timer->state.done;
    size_t count = 0;
    while (count < TIMER_BATCH_MAX && append_batch_bytes(timer->batch) < TIMER_BATCH_BYTES_MAX) {
        const struct timer_entry *first = next(timer);
        if (first == NULL || first->key.due_ms > now_ms) {
            *wait_ms = first == NULL ? TIMER_IDLE_MS : first->key.due_ms - now_ms;
            if (timer->cursor < timer->replay_end) /* a damaged file is made again */
                *wait_ms = 0;
            return count;
        }
        if (is_rolled_now(timer, first))
            break;
        struct timer_item *item = &timer->items[count];
        *item = (struct timer_item){.entry = *first};
        timer_window_pop(&timer->window);
        if (timer_key_compare(item->entry.key, last) <= 0) /* it was in the files twice */
            continue;
        item->outcome = take(timer, item, now_ms);
        if (item->outcome == TIMER_LATER) {
            (void)timer_window_push(&timer->window, &item->entry);
            timer->failed = true;
            break;
        }
        last = item->entry.key;
        count++;
    }
    *wait_ms = 0;
    return count;
}

int64_t timer_deliver(struct timer *timer, int64_t now_ms)
{
    int64_t wait_ms = 0;
    append_batch_clear(timer->batch);
    size_t count = gather(timer, now_ms, &wait_ms);
    size_t done = timer_append(timer, timer->items, count);
    for (size_t i = 0; i < done; i++)
        note_done(timer, &timer->items[i]);
    for (size_t i = done; i < count; i++)
        if (!timer_window_push(&timer->window, &timer->items[i].entry))
            timer_forget_window(timer);
    return wait_ms > TIMER_IDLE_MS ? TIMER_IDLE_MS : wait_ms;
}
