/* SPDX-License-Identifier: Apache-2.0
 *
 * What the checkpoint claims is read before the syncs that make it true:
 *     1. a mark of dispatch: all queue entries of records before its position are written
 *     2. every dirty queue is synced, and the index
 *     3. once flushed_pos has reached that position, the checkpoint is written
 * After a failed sync of anything there is no further checkpoint in this run.
 */
#include "broker/store/keeper.h"

#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MS_MAX 1000
#define RETRY_MS 1000
#define CHECKPOINT_REST_FACTOR 3
#define GROWTH_LOOK_MS 100

void keeper_init(struct keeper *keeper, struct store *store)
{
    memset(keeper, 0, sizeof *keeper);
    keeper->store = store;
    sleeper_init(&keeper->sleeper);
    retention_init(&keeper->retention, store);
}

void keeper_release(struct keeper *keeper)
{
    free(keeper->dirty);
    free(keeper->targets);
    retention_release(&keeper->retention);
}

/* --- queues, index, checkpoint --- */

static bool due(int64_t *last_ms, int64_t now_ms, int64_t interval_ms)
{
    if (now_ms - *last_ms < interval_ms)
        return false;
    *last_ms = now_ms;
    return true;
}

static void prepare_segment(struct keeper *keeper, int64_t now_ms)
{
    struct store *store = keeper->store;
    struct err err;
    bool lacking = health_has(&store->health, REFUSAL_NO_SPACE);
    if (!lacking && !atomic_load(&store->log.next_wanted))
        return;
    if ((lacking || keeper->prepare_failed) && !due(&keeper->retry_ms, now_ms, RETRY_MS))
        return;
    bool failed_before = keeper->prepare_failed;
    keeper->prepare_failed = commitlog_prepare(&store->log, &err) != STATUS_OK;
    if (!keeper->prepare_failed)
        health_allow(&store->health, REFUSAL_NO_SPACE);
    else if (!failed_before)
        log_warn("store", "the next commit log file cannot be made ahead", "why=\"%s\"", err.text);
    keeper->retry_ms = now_ms;
}

/* Segments must not wait for the syncs of many queues: appends would have to make them. */
static void prepare_meanwhile(struct keeper *keeper)
{
    if (keeper->on_thread)
        prepare_segment(keeper, clock_monotonic_ms(keeper->store->clock));
}

static void sync_failed(struct keeper *keeper, const struct queue *queue)
{
    struct store *store = keeper->store;
    if (queue != NULL)
        health_fail(&store->health,
                    "syncing the consume queue of topic %s, queue %d failed: %s. Check the disk, "
                    "then restart",
                    (const char *)queue->topic.data, (int)queue->id, strerror(errno));
    else
        health_fail(&store->health,
                    "syncing the file system of %s/consumequeue failed: %s. Check the disk, then "
                    "restart",
                    store->options.root, strerror(errno));
}

/* Put the targets [first, count) back on the list of dirty queues. */
static void dirty_again(struct keeper *keeper, size_t first, size_t count)
{
    for (size_t i = first; i < count; i++)
        queue_table_mark_dirty(&keeper->store->queues, &keeper->targets[i].queue, 1);
}

/* Queue by queue, each a commit of the file system's journal. */
static enum status sync_each(struct keeper *keeper, size_t count)
{
    enum status worst = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        const struct queue_sync_target *target = &keeper->targets[i];
        enum status status = queue_sync(target);
        if (status == STATUS_OK) {
            queue_sync_end(target);
        } else if (status == STATUS_BUSY) {
            worst = STATUS_BUSY;
            dirty_again(keeper, i, i + 1);
        } else {
            sync_failed(keeper, target->queue);
            dirty_again(keeper, i, count);
            return STATUS_IO;
        }
        prepare_meanwhile(keeper);
    }
    return worst;
}

/* All of them with one commit. */
static enum status sync_together(struct keeper *keeper, size_t count)
{
    enum status status = queue_files_sync(&keeper->store->queue_files);
    if (status == STATUS_UNSUPPORTED)
        return sync_each(keeper, count);
    if (status != STATUS_OK) {
        sync_failed(keeper, NULL);
        dirty_again(keeper, 0, count);
        return STATUS_IO;
    }
    for (size_t i = 0; i < count; i++)
        queue_sync_end(&keeper->targets[i]);
    return STATUS_OK;
}

/* What the dirty queues have that is not durable, into targets; queues with fewer than `least`
 * such entries stay dirty.
 * few    out: some of them were left out */
static size_t take_targets(struct keeper *keeper, int64_t least, bool *few)
{
    struct queue_table *table = &keeper->store->queues;
    size_t dirty = queue_table_take_dirty(table, &keeper->dirty, &keeper->dirty_capacity);
    size_t count = 0;
    size_t left = 0;
    if (keeper->target_capacity < dirty) {
        keeper->target_capacity = keeper->dirty_capacity;
        keeper->targets =
            xrealloc(keeper->targets, keeper->target_capacity * sizeof *keeper->targets);
    }
    for (size_t i = 0; i < dirty; i++) {
        int64_t unsynced;
        struct queue_sync_target target = queue_sync_begin(keeper->dirty[i], &unsynced);
        if (unsynced >= least)
            keeper->targets[count++] = target;
        else if (unsynced > 0)
            keeper->dirty[left++] = target.queue;
    }
    queue_table_mark_dirty(table, keeper->dirty, left);
    *few = left > 0;
    return count;
}

/* All dirty queues with at least `least` new entries. BUSY when some are left over. */
static enum status sync_queues(struct keeper *keeper, int64_t least)
{
    struct queue_files *files = &keeper->store->queue_files;
    bool few;
    size_t count = take_targets(keeper, least, &few);
    enum status status = STATUS_OK;
    /* Entries whose descriptor was closed too early count as durable only after a sync of the whole
     * file system, and so does the deletion of a queue. The flag goes first: what is closed or
     * deleted from here on sets it anew. */
    bool whole = count > QUEUE_SYNCS_MAX || atomic_exchange(&files->unsynced, false);
    if (count > 0 && !whole) {
        status = sync_each(keeper, count);
        if (status == STATUS_OK && atomic_exchange(&files->unsynced, false))
            status = sync_together(keeper, 0);
    } else if (whole) {
        atomic_store(&files->unsynced, false);
        status = sync_together(keeper, count);
    }
    return status == STATUS_OK && few ? STATUS_BUSY : status;
}

/* What is true once everything before the mark is durable. After a crash 4.9.2 deletes the index
 * file that has grown since, and makes again what is newer than the queues' time: that must be all
 * that was in the file. */
static struct checkpoint checkpoint_of(struct keeper *keeper, const struct dispatch_mark *mark,
                                       int64_t index_since_ms)
{
    struct checkpoint checkpoint = {
        .queues_timestamp_ms =
            mark->timestamp_ms < index_since_ms ? mark->timestamp_ms : index_since_ms,
        .index_timestamp_ms = keeper->index_timestamp_ms,
        .durable_pos = mark->pos,
        .queue_ends = mark->queue_ends,
        .last_pos = -1,
    };
    struct record_name name;
    if (mark->last_pos != -1 && commitlog_name(&keeper->store->log, mark->last_pos, &name)) {
        checkpoint.last_pos = mark->last_pos;
        checkpoint.last_crc = name.crc;
    }
    return checkpoint;
}

/* Write the checkpoint that waits for the log to be flushed, if it is. */
static enum status write_pending(struct keeper *keeper)
{
    struct store *store = keeper->store;
    if (!keeper->is_pending)
        return STATUS_OK;
    if (health_has(&store->health, REFUSAL_FAILED))
        return STATUS_IO;
    struct checkpoint checkpoint = keeper->pending;
    checkpoint.log_timestamp_ms = atomic_load(&store->log.flushed_timestamp_ms);
    if (store_flushed_pos(store) < checkpoint.durable_pos) {
        store_flush_soon(store);
        return STATUS_BUSY;
    }
    keeper->is_pending = false;
    struct err err;
    enum status status = checkpoint_store(store->vfs, store->options.root, &checkpoint, &err);
    if (status == STATUS_OK)
        keeper->checkpoint_pos = checkpoint.durable_pos;
    else
        log_error("store", "the checkpoint cannot be written; a restart would take longer",
                  "why=\"%s\"", err.text);
    return status;
}

/* Whole entries that fill the pages of flushConsumeQueueLeastPages. */
static int64_t least_entries(const struct store_options *options)
{
    int64_t bytes = (int64_t)options->flush_queues_least_pages * STORE_PAGE_BYTES;
    return bytes < QUEUE_ENTRY_BYTES ? 1 : (bytes + QUEUE_ENTRY_BYTES - 1) / QUEUE_ENTRY_BYTES;
}

enum status keeper_sync(struct keeper *keeper, bool thorough)
{
    struct store *store = keeper->store;
    if (health_has(&store->health, REFUSAL_FAILED))
        return STATUS_IO;
    if (!thorough)
        return sync_queues(keeper, least_entries(&store->options));
    int64_t began_ms = clock_monotonic_ms(store->clock);
    struct dispatch_mark mark;
    dispatcher_mark(&store->dispatcher, &mark);
    enum status status = sync_queues(keeper, 1);
    if (status != STATUS_OK)
        return status;
    queue_files_rest(&store->queue_files);
    (void)dispatcher_index(&store->dispatcher); /* at least up to the mark */
    /* Before the sync: a file that begins after this begins behind the mark. */
    int64_t index_since_ms = index_growing_since(&store->index);
    status = index_sync(&store->index, &keeper->index_timestamp_ms);
    if (status != STATUS_OK && status != STATUS_BUSY)
        health_fail(&store->health,
                    "syncing the index in %s/index failed: %s. Check the disk, then "
                    "restart",
                    store->options.root, strerror(errno));
    if (status != STATUS_OK)
        return status;
    keeper->pending = checkpoint_of(keeper, &mark, index_since_ms);
    keeper->is_pending = true;
    keeper->begun_pos = mark.pos;
    int64_t now_ms = clock_monotonic_ms(store->clock);
    keeper->checkpoint_rest_ms = now_ms + CHECKPOINT_REST_FACTOR * (now_ms - began_ms);
    return write_pending(keeper);
}

/* --- the thread --- */

/* Has the log grown enough for a checkpoint before its time? */
static bool has_grown(const struct keeper *keeper, int64_t now_ms)
{
    const struct store *store = keeper->store;
    int64_t bytes = store->options.checkpoint_bytes;
    return bytes > 0 && store_dispatched_pos(store) - keeper->begun_pos >= bytes &&
           now_ms >= keeper->checkpoint_rest_ms;
}

/* Do what is due; returns the ms until something may be due again. */
static int64_t step(struct keeper *keeper)
{
    struct store *store = keeper->store;
    const struct store_options *options = &store->options;
    int64_t now_ms = clock_monotonic_ms(store->clock);
    prepare_segment(keeper, now_ms);
    (void)write_pending(keeper);
    if (atomic_exchange(&keeper->checkpoint_wanted, false) || has_grown(keeper, now_ms) ||
        due(&keeper->thorough_ms, now_ms, options->flush_queues_thorough_interval_ms)) {
        keeper->queues_ms = keeper->thorough_ms = now_ms;
        (void)keeper_sync(keeper, true);
    } else if (due(&keeper->queues_ms, now_ms, options->flush_queues_interval_ms)) {
        (void)keeper_sync(keeper, false);
    }
    int64_t wait_ms = retention_step(&keeper->retention, now_ms);
    if (options->flush_queues_interval_ms < wait_ms)
        wait_ms = options->flush_queues_interval_ms;
    if (wait_ms > STEP_MS_MAX)
        wait_ms = STEP_MS_MAX;
    /* While the log grows, look more often whether it has grown enough. */
    int64_t end_pos = store_appended_pos(store);
    if (end_pos != keeper->seen_pos && wait_ms > GROWTH_LOOK_MS)
        wait_ms = GROWTH_LOOK_MS;
    keeper->seen_pos = end_pos;
    return wait_ms < 1 ? 1 : wait_ms;
}

static void *run(void *arg)
{
    struct keeper *keeper = arg;
    struct commitlog *log = &keeper->store->log;
    int64_t now_ms = clock_monotonic_ms(keeper->store->clock);
    keeper->queues_ms = keeper->thorough_ms = now_ms;
    retention_start(&keeper->retention, now_ms);
    keeper->on_thread = true;
    while (!atomic_load(&keeper->stop)) {
        int64_t wait_ms = step(keeper);
        sleeper_prepare(&keeper->sleeper, SLEEP_NAP);
        bool wanted =
            keeper->is_pending || (atomic_load(&log->next_wanted) && !keeper->prepare_failed);
        if (atomic_load(&keeper->stop) || atomic_load(&keeper->checkpoint_wanted) || wanted)
            wait_ms = wait_ms < 10 ? wait_ms : 10;
        sleeper_wait(&keeper->sleeper, wait_ms * 1000);
    }
    keeper->on_thread = false;
    return NULL;
}

enum status keeper_start(struct keeper *keeper, struct err *err)
{
    enum status status = thread_start(&keeper->thread, "store-keeper", run, keeper, err);
    keeper->running = status == STATUS_OK;
    return status;
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper->running)
        return;
    atomic_store(&keeper->stop, true);
    sleeper_wake_slow(&keeper->sleeper);
    thread_join(keeper->thread);
    keeper->running = false;
}
