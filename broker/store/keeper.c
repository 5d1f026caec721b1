/* SPDX-License-Identifier: Apache-2.0
 *
 * What the checkpoint claims is read before the syncs that make it true:
 *     1. dispatched_pos is read: all queue entries of records before it are written
 *     2. every dirty queue is synced
 *     3. durable_pos := the smaller of that position and flushed_pos
 */
#include "broker/store/keeper.h"

#include "broker/store/checkpoint.h"
#include "broker/store/store_internal.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_LEAST_ENTRIES 410 /* two pages, 4.9.2's flushConsumeQueueLeastPages */
#define STEP_MS_MAX 1000
#define RETRY_MS 1000

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
    sleeper_release(&keeper->sleeper);
}

/* --- queues, index, checkpoint --- */

static void add_end(void *ctx, struct queue *queue)
{
    *(int64_t *)ctx += atomic_load(&queue->max_offset);
}

static enum status sync_queues(struct keeper *keeper, int64_t least)
{
    struct store *store = keeper->store;
    size_t count = queue_table_take_dirty(&store->queues, &keeper->dirty, &keeper->dirty_capacity);
    for (size_t i = 0; i < count; i++) {
        struct queue *queue = keeper->dirty[i];
        enum status status = queue_sync(queue, least);
        if (status == STATUS_BUSY) {
            queue_table_mark_dirty(&store->queues, queue);
        } else if (status != STATUS_OK) {
            health_fail(&store->health,
                        "syncing the consume queue of topic %s, queue %d failed: %s. Check the "
                        "disk, then restart",
                        (const char *)queue->topic.data, (int)queue->id, strerror(errno));
            return STATUS_IO;
        }
    }
    return STATUS_OK;
}

static enum status write_checkpoint(struct keeper *keeper, int64_t dispatched_pos,
                                    int64_t dispatched_ms)
{
    struct store *store = keeper->store;
    int64_t flushed_ms = atomic_load(&store->log.flushed_timestamp_ms);
    int64_t flushed_pos = atomic_load_explicit(&store->log.flushed_pos, memory_order_acquire);
    struct checkpoint checkpoint = {
        .log_timestamp_ms = flushed_ms,
        .queues_timestamp_ms = dispatched_ms,
        .index_timestamp_ms = keeper->index_timestamp_ms,
        .durable_pos = dispatched_pos < flushed_pos ? dispatched_pos : flushed_pos,
    };
    queue_table_each(&store->queues, add_end, &checkpoint.queue_total);
    struct err err;
    enum status status = checkpoint_store(store->vfs, store->options.root, &checkpoint, &err);
    if (status != STATUS_OK)
        log_error("store", "the checkpoint cannot be written; a restart would take longer",
                  "why=\"%s\"", err.text);
    return status;
}

enum status keeper_sync(struct keeper *keeper, bool thorough)
{
    struct store *store = keeper->store;
    int64_t dispatched_ms = atomic_load(&store->dispatcher.dispatched_timestamp_ms);
    int64_t dispatched_pos =
        atomic_load_explicit(&store->dispatcher.dispatched_pos, memory_order_acquire);
    enum status status = sync_queues(keeper, thorough ? 1 : QUEUE_LEAST_ENTRIES);
    if (status != STATUS_OK || !thorough)
        return status;
    if (index_sync(&store->index, &keeper->index_timestamp_ms) != STATUS_OK)
        log_error("store", "the index cannot be synced", "errno=%d", errno);
    return write_checkpoint(keeper, dispatched_pos, dispatched_ms);
}

/* --- the thread --- */

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
    keeper->prepare_failed = commitlog_prepare(&store->log, &err) != STATUS_OK;
    if (!keeper->prepare_failed)
        health_allow(&store->health, REFUSAL_NO_SPACE);
    else
        log_warn("store", "the next commit log file cannot be made ahead", "why=\"%s\"", err.text);
    keeper->retry_ms = now_ms;
}

/* Do what is due; returns the ms until something may be due again. */
static int64_t step(struct keeper *keeper)
{
    struct store *store = keeper->store;
    const struct store_options *options = &store->options;
    int64_t now_ms = clock_monotonic_ms(store->clock);
    prepare_segment(keeper, now_ms);
    if (atomic_exchange(&keeper->checkpoint_wanted, false) ||
        due(&keeper->thorough_ms, now_ms, options->flush_queues_thorough_interval_ms)) {
        keeper->queues_ms = keeper->thorough_ms = now_ms;
        (void)keeper_sync(keeper, true);
    } else if (due(&keeper->queues_ms, now_ms, options->flush_queues_interval_ms)) {
        (void)keeper_sync(keeper, false);
    }
    int64_t interval_ms = keeper->retention.more ? RETENTION_PAUSE_MS : options->clean_interval_ms;
    if (due(&keeper->clean_ms, now_ms, interval_ms))
        retention_step(&keeper->retention);

    int64_t wait_ms = options->flush_queues_interval_ms;
    if (interval_ms < wait_ms)
        wait_ms = interval_ms;
    if (wait_ms > STEP_MS_MAX)
        wait_ms = STEP_MS_MAX;
    return wait_ms < 1 ? 1 : wait_ms;
}

static void *run(void *arg)
{
    struct keeper *keeper = arg;
    struct commitlog *log = &keeper->store->log;
    int64_t now_ms = clock_monotonic_ms(keeper->store->clock);
    keeper->queues_ms = keeper->thorough_ms = keeper->clean_ms = now_ms;
    while (!atomic_load(&keeper->stop)) {
        int64_t wait_ms = step(keeper);
        sleeper_prepare(&keeper->sleeper, SLEEP_NAP);
        bool wanted = atomic_load(&log->next_wanted) && !keeper->prepare_failed;
        if (atomic_load(&keeper->stop) || atomic_load(&keeper->checkpoint_wanted) || wanted)
            wait_ms = wait_ms < 10 ? wait_ms : 10;
        sleeper_wait(&keeper->sleeper, wait_ms * 1000);
    }
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
