/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending to the commit log.
 *
 * A batch is cut into runs: as many of its groups (a record and those glued to it) as fit into the
 * current segment. A run is patched with offsets, positions and the time, and written by one
 * pwritev, together with the filler when the next run needs a new segment. Only then appended_pos
 * moves. When the write fails nothing has happened: queue offsets are taken back and the end of the
 * log stays (log_end.h).
 *
 * A record is never written unless 8 bytes remain behind it: the filler always fits.
 */
#include "broker/store/append_batch.h"
#include "broker/store/commitlog.h"
#include "broker/store/consumequeue.h"
#include "broker/store/log_end.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <string.h>

/* A wall clock that steps back by no more than this is waited for: store time stands still. */
#define STEP_BACK_MS 3000

struct run {
    size_t first; /* records [first, end) of the batch */
    size_t end;
    int64_t bytes;
};

/* The record behind the group that starts at `first`, and the group's bytes. */
static size_t group_end(const struct append_batch *batch, size_t first, int64_t *bytes)
{
    size_t i = first;
    *bytes = 0;
    do
        *bytes += batch->records[i++].size;
    while (i < batch->count && batch->records[i].glued);
    return i;
}

static struct run run_that_fits(const struct append_batch *batch, size_t first, int64_t room)
{
    struct run run = {first, first, 0};
    while (run.end < batch->count) {
        int64_t bytes;
        size_t end = group_end(batch, run.end, &bytes);
        if (run.bytes + bytes + RECORD_FILLER_BYTES > room)
            break;
        run.end = end;
        run.bytes += bytes;
    }
    return run;
}

static void run_stamp(struct append_batch *batch, const struct run *run, int64_t pos,
                      int64_t now_ms)
{
    for (size_t i = run->first; i < run->end; i++) {
        const struct pending_record *record = &batch->records[i];
        int64_t queue_offset = record->counted ? record->queue->next_offset++ : 0;
        uint8_t *bytes = batch->bytes.data + record->at;
        put_i64(bytes + RECORD_QUEUE_OFFSET_AT, queue_offset);
        put_i64(bytes + RECORD_PHYSICAL_OFFSET_AT, pos);
        put_i64(bytes + record->timestamp_at, now_ms);
        struct append_result *result = &batch->results[i];
        result->status = PUT_OK;
        result->pos = pos;
        pos += record->size;
        result->end_pos = pos;
        result->queue_offset = queue_offset;
        result->store_timestamp_ms = now_ms;
    }
}

/* Newest first, so that each counter ends at its first offset of the run. */
static void run_take_back(struct append_batch *batch, const struct run *run)
{
    for (size_t i = run->end; i > run->first; i--) {
        if (batch->records[i - 1].counted)
            batch->records[i - 1].queue->next_offset = batch->results[i - 1].queue_offset;
    }
}

static void refuse_from(struct append_batch *batch, size_t first, size_t end,
                        enum put_status status)
{
    for (size_t i = first; i < end; i++) {
        void *tag = batch->results[i].tag;
        batch->results[i] = (struct append_result){status, -1, -1, -1, -1, tag};
    }
}

static enum status run_write(struct commitlog *log, struct append_batch *batch,
                             const struct run *run, int64_t pos, bool fill)
{
    uint8_t filler[RECORD_FILLER_BYTES];
    struct iovec parts[2];
    int count = 0;
    if (run->end > run->first)
        parts[count++] =
            (struct iovec){batch->bytes.data + batch->records[run->first].at, (size_t)run->bytes};
    if (fill) {
        put_u32(filler, (uint32_t)(segment_end(log->current) - pos - run->bytes));
        put_u32(filler + 4, RECORD_FILLER_MAGIC);
        parts[count++] = (struct iovec){filler, sizeof filler};
    }
    return log_end_write(log, parts, count);
}

/* Write one run. On failure every record from run->first on is refused. */
static bool append_run(struct commitlog *log, struct append_batch *batch, const struct run *run,
                       bool fill, int64_t now_ms)
{
    int64_t pos = atomic_load_explicit(&log->appended_pos, memory_order_relaxed);
    run_stamp(batch, run, pos, now_ms);
    if (run_write(log, batch, run, pos, fill) != STATUS_OK) {
        run_take_back(batch, run);
        refuse_from(batch, run->first, batch->count, PUT_SERVICE_NOT_AVAILABLE);
        return false;
    }
    if (run->end > run->first)
        log->last_record_pos = batch->results[run->end - 1].pos;
    pos += run->bytes;
    if (fill) {
        log_end_roll(log);
        pos = log->current->base;
    }
    atomic_store_explicit(&log->appended_pos, pos, memory_order_seq_cst);
    if (run->end > run->first)
        atomic_store_explicit(&log->appended_timestamp_ms, now_ms, memory_order_release);
    return true;
}

/* Where record `first` and those behind it can go. */
struct plan {
    struct run run;  /* goes into the current segment; may be empty */
    bool fill;       /* the next group needs a new segment */
    size_t skip_end; /* records [run.end, skip_end) fit into no segment */
};

static struct plan plan_run(const struct commitlog *log, const struct append_batch *batch,
                            size_t first)
{
    int64_t pos = atomic_load_explicit(&log->appended_pos, memory_order_relaxed);
    struct plan plan = {.run = run_that_fits(batch, first, segment_end(log->current) - pos)};
    plan.skip_end = plan.run.end;
    if (plan.run.end == batch->count)
        return plan;
    int64_t bytes;
    size_t end = group_end(batch, plan.run.end, &bytes);
    if (bytes + RECORD_FILLER_BYTES > log->segment_bytes)
        plan.skip_end = end;
    else
        plan.fill = true;
    return plan;
}

/* The store time of a batch, and by how much it steps back (0: not at all). It does not decrease,
 * except when the clock was set back for good: otherwise one wrong clock would make the times of
 * all later messages wrong. */
static int64_t store_time(struct commitlog *log, int64_t *stepped_ms)
{
    int64_t now_ms = clock_wall_ms(log->clock);
    int64_t behind_ms = log->last_timestamp_ms - now_ms;
    *stepped_ms = behind_ms > STEP_BACK_MS ? behind_ms : 0;
    if (behind_ms > 0 && behind_ms <= STEP_BACK_MS)
        now_ms = log->last_timestamp_ms;
    log->last_timestamp_ms = now_ms;
    return now_ms;
}

static void append_locked(struct commitlog *log, struct append_batch *batch, int64_t now_ms)
{
    size_t first = 0;
    while (first < batch->count) {
        struct plan plan = plan_run(log, batch, first);
        bool stuck = plan.fill && log_end_ensure_next(log) != STATUS_OK;
        if (stuck)
            plan.fill = false;
        if ((plan.run.end > first || plan.fill) &&
            !append_run(log, batch, &plan.run, plan.fill, now_ms))
            return;
        if (stuck) {
            refuse_from(batch, plan.run.end, batch->count, PUT_CREATE_FILE_FAILED);
            return;
        }
        refuse_from(batch, plan.run.end, plan.skip_end, PUT_MESSAGE_ILLEGAL);
        first = plan.skip_end;
    }
}

static void append_and_unlock(struct commitlog *log, struct append_batch *batch)
{
    int64_t stepped_ms = 0;
    atomic_store_explicit(&log->append_since_ms, clock_monotonic_ms(log->clock),
                          memory_order_relaxed);
    if (health_writable(log->health) || (batch->makes_room && health_makes_room(log->health)))
        append_locked(log, batch, store_time(log, &stepped_ms));
    else
        refuse_from(batch, 0, batch->count, PUT_SERVICE_NOT_AVAILABLE);
    atomic_store_explicit(&log->append_since_ms, 0, memory_order_relaxed);
    (void)pthread_mutex_unlock(&log->append_lock);
    if (stepped_ms > 0)
        log_warn("store", "the clock is behind the store times of older messages; it is followed",
                 "behind_ms=%lld", (long long)stepped_ms);
}

void commitlog_append(struct commitlog *log, struct append_batch *batch)
{
    (void)pthread_mutex_lock(&log->append_lock);
    append_and_unlock(log, batch);
}

bool commitlog_append_within(struct commitlog *log, struct append_batch *batch, int64_t wait_ms)
{
    if (!mutex_lock_within(&log->append_lock, wait_ms))
        return false;
    append_and_unlock(log, batch);
    return true;
}
