/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/flush.h"

#include "broker/store/store_internal.h"
#include "common/sys/thread.h"

#include <string.h>

void flusher_init(struct flusher *flusher, struct store *store)
{
    memset(flusher, 0, sizeof *flusher);
    flusher->store = store;
    flusher->sync = store->options.flush == STORE_FLUSH_SYNC;
    flusher->least_bytes = (int64_t)store->options.flush_least_pages * STORE_PAGE_BYTES;
    flusher->begin_bytes = FLUSH_MOST_BYTES;
    if (!store->options.flush_timed && flusher->least_bytes < FLUSH_MOST_BYTES)
        flusher->begin_bytes = flusher->least_bytes;
    sleeper_init(&flusher->sleeper);
}

static int64_t dirty_bytes(struct flusher *flusher)
{
    struct commitlog *log = &flusher->store->log;
    return atomic_load_explicit(&log->appended_pos, memory_order_seq_cst) -
           atomic_load_explicit(&log->flushed_pos, memory_order_relaxed);
}

/* Sync and report. After a failure there is one last report: writing has ended. */
static bool flush_and_report(struct flusher *flusher)
{
    struct store *store = flusher->store;
    enum status status = commitlog_flush(&store->log);
    if (store->listener.on_flushed != NULL)
        store->listener.on_flushed(store->listener.ctx);
    zeroer_notify(&store->zeroer, store_flushed_pos(store));
    return status == STATUS_OK;
}

static void rest(struct flusher *flusher, int64_t timeout_us)
{
    sleeper_prepare(&flusher->sleeper, SLEEP_NAP);
    int64_t dirty = dirty_bytes(flusher);
    if (atomic_load(&flusher->stop) || atomic_load(&flusher->urgent) ||
        (dirty > 0 && (flusher->sync || dirty >= flusher->begin_bytes)) ||
        health_has(&flusher->store->health, REFUSAL_FAILED))
        sleeper_cancel(&flusher->sleeper);
    else
        sleeper_wait(&flusher->sleeper, timeout_us);
}

static void *run(void *arg)
{
    struct flusher *flusher = arg;
    struct store *store = flusher->store;
    const struct store_options *options = &store->options;
    int64_t thorough_ms = clock_monotonic_ms(store->clock);
    bool good = true;
    while (good && !atomic_load(&flusher->stop)) {
        rest(flusher, flusher->sync ? -1 : options->flush_interval_ms * 1000);
        int64_t now_ms = clock_monotonic_ms(store->clock);
        bool thorough = now_ms - thorough_ms >= options->flush_thorough_interval_ms;
        bool urgent = atomic_exchange(&flusher->urgent, false);
        int64_t dirty = dirty_bytes(flusher);
        if (thorough)
            thorough_ms = now_ms;
        bool failed = health_has(&store->health, REFUSAL_FAILED);
        bool due = flusher->sync || thorough || urgent || dirty >= flusher->least_bytes;
        if (failed || (dirty > 0 && due))
            good = flush_and_report(flusher);
    }
    if (good && dirty_bytes(flusher) > 0)
        (void)flush_and_report(flusher);
    return NULL;
}

enum status flusher_start(struct flusher *flusher, struct err *err)
{
    enum status status = thread_start(&flusher->thread, "store-flush", run, flusher, err);
    flusher->running = status == STATUS_OK;
    return status;
}

void flusher_stop(struct flusher *flusher)
{
    if (!flusher->running)
        return;
    atomic_store(&flusher->stop, true);
    sleeper_wake_slow(&flusher->sleeper);
    thread_join(flusher->thread);
    flusher->running = false;
}
