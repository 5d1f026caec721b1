/* SPDX-License-Identifier: Apache-2.0
 *
 * The public face: opening, closing, and the doors to the modules that do the work.
 */
#include "broker/store/store.h"

#include "broker/store/append_batch.h"
#include "broker/store/recover.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often store_wait_flushed looks. */
#define FLUSH_POLL_MS 5

#define COLD_READ_THREADS 2
#define COLD_READ_CACHE_BYTES (INT64_C(128) * 1024 * 1024)

/* --- open --- */

static enum status options_check(const struct store_options *options, struct err *err)
{
    if (strlen(options->root) + STORE_PATH_TAIL_BYTES > PATH_MAX)
        return err_set(err, STATUS_INVALID, "storePathRootDir is too long");
    if (options->segment_bytes < 4096 || options->segment_bytes > INT32_MAX)
        return err_set(err, STATUS_INVALID,
                       "mappedFileSizeCommitLog is %lld, it must lie between 4096 and %d",
                       (long long)options->segment_bytes, INT32_MAX);
    if (options->queue_file_bytes < QUEUE_ENTRY_BYTES || options->queue_file_bytes > INT32_MAX)
        return err_set(err, STATUS_INVALID,
                       "mappedFileSizeConsumeQueue is %lld, it must lie between 20 and %d",
                       (long long)options->queue_file_bytes, INT32_MAX);
    if (options->index_slots < 1 || options->index_entries < 2)
        return err_set(err, STATUS_INVALID,
                       "maxHashSlotNum (%d) must be at least 1 and maxIndexNum (%d) at least 2",
                       (int)options->index_slots, (int)options->index_entries);
    return STATUS_OK;
}

/* After a failed write or sync the page cache may show what the disk does not have and will never
 * get. The next start must not take it for durable; it learns of it from the abort mark, which
 * needs to live no longer than the page cache. */
static void doubt_page_cache(void *ctx)
{
    struct store *store = ctx;
    struct vfs *vfs = store->vfs;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/abort", store->options.root);
    int fd;
    if (vfs->ops->open(vfs, path, VFS_WRITE | VFS_CREATE, &fd) != STATUS_OK)
        return;
    char words[] = "a write or sync failed\n";
    struct iovec part = {words, sizeof words - 1};
    (void)vfs->ops->pwritev(vfs, fd, &part, 1, 0);
    (void)vfs->ops->close(vfs, fd);
}

/* paths  taken over */
static void store_init(struct store *store, const struct store_options *options,
                       struct log_paths paths, struct vfs *vfs, const struct clock *clock)
{
    store->options = *options;
    store_set_pull_limits(store, options);
    store->options.root = xstrdup(options->root);
    store->options.commit_log = xstrdup(options->commit_log);
    store->options.read_only_commit_logs = NULL; /* the log's paths have it */
    store->options.delete_when = xstrdup(options->delete_when == NULL ? "" : options->delete_when);
    int64_t rest = options->queue_file_bytes % QUEUE_ENTRY_BYTES;
    if (rest != 0)
        store->options.queue_file_bytes += QUEUE_ENTRY_BYTES - rest;
    store->vfs = vfs;
    store->clock = clock;
    store->lock_fd = -1;
    health_init(&store->health);
    store->health.on_failure = doubt_page_cache;
    store->health.on_failure_ctx = store;
    commitlog_init(&store->log, paths, options->segment_bytes, vfs, clock, &store->health);
    atomic_store(&store->log.full_percent, retention_force_percent(options));
    queue_files_init(&store->queue_files, store, options->queue_mappings_max,
                     options->queue_descriptors_max);
    queue_table_init(&store->queues, options->hash_seed);
    index_init(&store->index, options->root, options->index_slots, options->index_entries, vfs,
               clock);
    flusher_init(&store->flusher, store);
    zeroer_init(&store->zeroer, store);
    dispatcher_init(&store->dispatcher, store);
    keeper_init(&store->keeper, store);
    residency_init(&store->residency, vfs, clock);
    if (store->options.cold_read_threads == 0)
        store->options.cold_read_threads = COLD_READ_THREADS;
    if (store->options.cold_read_cache_bytes == 0)
        store->options.cold_read_cache_bytes = COLD_READ_CACHE_BYTES;
    cold_cache_init(&store->cold_cache, store, store->options.cold_read_cache_bytes);
    cold_reader_init(&store->cold_reader, store);
    if (options->role == STORE_ROLE_SLAVE)
        health_set(&store->health, REFUSAL_SLAVE);
}

static void store_free(struct store *store)
{
    cold_reader_release(&store->cold_reader);
    cold_cache_release(&store->cold_cache);
    keeper_release(&store->keeper);
    dispatcher_release(&store->dispatcher);
    index_release(&store->index);
    queue_table_release(&store->queues);
    queue_files_release(&store->queue_files);
    commitlog_release(&store->log);
    raw_append_release(&store->raw);
    health_release(&store->health);
    if (store->lock_fd != -1)
        (void)store->vfs->ops->close(store->vfs, store->lock_fd);
    free((char *)(uintptr_t)store->options.root);
    free((char *)(uintptr_t)store->options.commit_log);
    free((char *)(uintptr_t)store->options.delete_when);
    free(store);
}

static void root_path(const struct store *store, const char *name, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", store->options.root, name);
}

static enum status make_directories(struct store *store, struct err *err)
{
    const char *path = store->options.root;
    enum status status = vfs_make_directories(store->vfs, path);
    const struct log_paths *paths = &store->log.paths;
    for (size_t i = 0; i < paths->count && status == STATUS_OK; i++) {
        path = paths->at[i].directory;
        if (!paths->at[i].read_only)
            status = vfs_make_directories(store->vfs, path);
    }
    return status == STATUS_OK
               ? STATUS_OK
               : err_set_errno(err, STATUS_IO,
                               "storePathRootDir and storePathCommitLog must be folders that the "
                               "broker may write to; cannot make the directory %s",
                               path);
}

static enum status take_lock(struct store *store, struct err *err)
{
    char path[PATH_MAX];
    root_path(store, "lock", path);
    struct vfs *vfs = store->vfs;
    enum status status =
        vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE | VFS_CREATE, &store->lock_fd);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO,
                             "storePathRootDir must be a folder that the broker may write to; "
                             "cannot open %s",
                             path);
    status = vfs->ops->lock(vfs, store->lock_fd);
    if (status == STATUS_BUSY)
        return err_set(err, STATUS_BUSY,
                       "another process is using the store in %s: stop that broker, or set another "
                       "storePathRootDir",
                       store->options.root);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot lock %s", path);
    char word[] = "lock";
    struct iovec part = {word, 4};
    status = vfs->ops->pwritev(vfs, store->lock_fd, &part, 1, 0);
    return status == STATUS_OK ? STATUS_OK : err_set_errno(err, STATUS_IO, "cannot write %s", path);
}

/* Set the mark that stays until a clean close; *aborted: it was there already. */
static enum status set_abort_mark(struct store *store, bool *aborted, struct err *err)
{
    char path[PATH_MAX];
    root_path(store, "abort", path);
    struct vfs *vfs = store->vfs;
    struct vfs_stat st;
    *aborted = vfs->ops->stat(vfs, path, &st) == STATUS_OK;
    store->log.doubt_page_cache = store->index.doubt_page_cache = *aborted && st.size > 0;
    enum status status = STATUS_OK;
    if (!*aborted) {
        int fd;
        status = vfs->ops->open(vfs, path, VFS_WRITE | VFS_CREATE, &fd);
        if (status == STATUS_OK)
            (void)vfs->ops->close(vfs, fd);
    }
    /* Also a mark that was there: the process that made it may not have come to this. */
    if (status == STATUS_OK)
        status = vfs->ops->sync_directory(vfs, store->options.root);
    return status == STATUS_OK ? STATUS_OK
                               : err_set_errno(err, STATUS_IO, "cannot create %s", path);
}

/* A store that is refused is as it was: the next start may still rely on its clean stop. */
static void take_back_abort_mark(struct store *store, enum status status, bool aborted)
{
    char path[PATH_MAX];
    if (status != STATUS_CORRUPT || aborted)
        return;
    root_path(store, "abort", path);
    (void)store->vfs->ops->unlink(store->vfs, path);
}

/* Only here the store is ours: whoever does not come to this has left no mark in it. */
static enum status open_locked(struct store *store, struct err *err)
{
    bool aborted = false;
    enum status status = set_abort_mark(store, &aborted, err);
    store->was_closed = !aborted;
    if (status == STATUS_OK)
        status = recover_store(store, aborted, err);
    take_back_abort_mark(store, status, aborted);
    if (status != STATUS_OK && status != STATUS_CORRUPT && status != STATUS_BUSY)
        doubt_page_cache(store);
    return status;
}

enum status store_open(const struct store_options *options, struct vfs *vfs,
                       const struct clock *clock, struct store **out, struct err *err)
{
    struct log_paths paths;
    enum status status = options_check(options, err);
    if (status != STATUS_OK)
        return status;
    status = log_paths_parse(&paths, options->commit_log, options->read_only_commit_logs, err);
    if (status != STATUS_OK) {
        log_paths_release(&paths);
        return status;
    }
    struct store *store = xcalloc(1, sizeof *store);
    store_init(store, options, paths, vfs, clock);
    status = make_directories(store, err);
    if (status == STATUS_OK)
        status = take_lock(store, err);
    if (status == STATUS_OK)
        status = open_locked(store, err);
    if (status != STATUS_OK) {
        store_free(store);
        return status;
    }
    store->opened_pos = store_appended_pos(store);
    retention_watch_disk(&store->keeper.retention);
    *out = store;
    return STATUS_OK;
}

bool store_was_closed(const struct store *store)
{
    return store->was_closed;
}

void store_set_listener(struct store *store, struct store_listener listener)
{
    store->listener = listener;
}

enum status store_start(struct store *store, struct err *err)
{
    enum status status = flusher_start(&store->flusher, err);
    if (status == STATUS_OK)
        status = dispatcher_start(&store->dispatcher, err);
    if (status == STATUS_OK)
        status = keeper_start(&store->keeper, err);
    if (status == STATUS_OK)
        status = zeroer_start(&store->zeroer, err);
    if (status == STATUS_OK)
        status = cold_reader_start(&store->cold_reader, store->options.cold_read_threads, err);
    return status;
}

/* --- close --- */

/* Everything appended is flushed, dispatched and durable. */
static bool finish(struct store *store)
{
    if (commitlog_flush(&store->log) != STATUS_OK)
        return false;
    while (dispatcher_round(&store->dispatcher) == STATUS_OK)
        continue;
    int64_t end = store_appended_pos(store);
    return store_dispatched_pos(store) == end && store_flushed_pos(store) == end &&
           keeper_sync(&store->keeper, true) == STATUS_OK;
}

void store_stop(struct store *store)
{
    if (store->stopped)
        return;
    store->stopped = true;
    health_set(&store->health, REFUSAL_CLOSING);
    cold_reader_stop(&store->cold_reader);
    zeroer_stop(&store->zeroer);
    keeper_stop(&store->keeper);
    flusher_stop(&store->flusher);
    dispatcher_stop(&store->dispatcher);
    char path[PATH_MAX];
    root_path(store, "abort", path);
    if (finish(store) && store->vfs->ops->unlink(store->vfs, path) == STATUS_OK)
        log_info("store", "closed", "root=%s log_end=%lld", store->options.root,
                 (long long)store_appended_pos(store));
    else
        log_error("store", "closed, but not cleanly; the next start recovers", "root=%s",
                  store->options.root);
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_stop(store);
    store_free(store);
}

/* --- appending --- */

static void notify_others(struct store *store)
{
    int64_t dirty = store_appended_pos(store) - store_flushed_pos(store);
    flusher_notify(&store->flusher, dirty, health_has(&store->health, REFUSAL_FAILED));
    if (atomic_load_explicit(&store->log.next_wanted, memory_order_relaxed))
        keeper_notify(&store->keeper);
    if (store->listener.on_appended != NULL)
        store->listener.on_appended(store->listener.ctx);
}

void store_appended(struct store *store)
{
    dispatcher_notify(&store->dispatcher);
    notify_others(store);
}

const struct append_result *store_append(struct store *store, struct append_batch *batch)
{
    if (batch->count == 0)
        return batch->results;
    commitlog_append(&store->log, batch);
    store_appended(store);
    return batch->results;
}

const struct append_result *store_append_within(struct store *store, struct append_batch *batch,
                                                int64_t wait_ms)
{
    if (batch->count > 0) {
        if (!commitlog_append_within(&store->log, batch, wait_ms))
            return NULL;
        store_appended(store);
    }
    return batch->results;
}

const struct append_result *store_append_on_loop(struct store *store, struct append_batch *batch,
                                                 int64_t wait_ms)
{
    if (batch->count > 0) {
        if (!commitlog_append_within(&store->log, batch, wait_ms))
            return NULL;
        notify_others(store);
    }
    return batch->results;
}

void store_dispatch_here(struct store *store)
{
    dispatcher_try(&store->dispatcher);
}

void store_dispatch_elsewhere(struct store *store)
{
    dispatcher_notify(&store->dispatcher);
}

static int64_t busy_ms(const struct store *store, const _Atomic int64_t *since_ms)
{
    int64_t since = atomic_load_explicit(since_ms, memory_order_relaxed);
    return since == 0 ? 0 : clock_monotonic_ms(store->clock) - since;
}

int64_t store_append_busy_ms(const struct store *store)
{
    return busy_ms(store, &store->log.append_since_ms);
}

int64_t store_flush_busy_ms(const struct store *store)
{
    return busy_ms(store, &store->log.flush_since_ms);
}

/* --- watermarks and state --- */

int64_t store_min_pos(const struct store *store)
{
    return atomic_load_explicit(&store->log.min_pos, memory_order_acquire);
}

int64_t store_appended_pos(const struct store *store)
{
    return atomic_load_explicit(&store->log.appended_pos, memory_order_acquire);
}

void store_flush_soon(struct store *store)
{
    flusher_hurry(&store->flusher);
}

int64_t store_flushed_pos(const struct store *store)
{
    return atomic_load_explicit(&store->log.flushed_pos, memory_order_seq_cst);
}

bool store_wait_flushed(struct store *store, int64_t pos, int64_t patience_ms)
{
    const struct timespec pause = {.tv_nsec = FLUSH_POLL_MS * 1000000L};
    if (store_flushed_pos(store) < pos)
        store_flush_soon(store);
    for (int64_t waited_ms = 0; store_flushed_pos(store) < pos; waited_ms += FLUSH_POLL_MS) {
        if (waited_ms >= patience_ms)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

int64_t store_dispatched_pos(const struct store *store)
{
    return atomic_load_explicit(&store->dispatcher.dispatched_pos, memory_order_acquire);
}

bool store_writable(const struct store *store, char *why, size_t why_bytes)
{
    return health_explain(&store->health, why, why_bytes);
}

struct store_disk store_disk(const struct store *store)
{
    const struct retention *retention = &store->keeper.retention;
    return (struct store_disk){
        .commit_log_percent = atomic_load(&retention->commit_log_percent),
        .queues_percent = atomic_load(&retention->queues_percent),
        .total_bytes = atomic_load(&retention->total_bytes),
        .free_bytes = atomic_load(&retention->free_bytes),
    };
}

/* --- cold reads --- */

enum status store_read_cold(struct store *store, struct cold_read *read)
{
    return cold_reader_add(&store->cold_reader, read);
}

struct store_cold store_cold(struct store *store)
{
    struct cold_cache *cache = &store->cold_cache;
    return (struct store_cold){
        .reads = atomic_load_explicit(&store->cold_reader.reads, memory_order_relaxed),
        .waiting = cold_reader_waiting(&store->cold_reader),
        .read_bytes = atomic_load_explicit(&cache->read_bytes, memory_order_relaxed),
        .kept_bytes = atomic_load_explicit(&cache->kept_bytes, memory_order_relaxed),
        .dropped_bytes = atomic_load_explicit(&cache->dropped_bytes, memory_order_relaxed),
        .failures = atomic_load_explicit(&cache->failures, memory_order_relaxed),
    };
}

/* --- queues --- */

struct queue *store_queue(struct store *store, struct slice topic, int32_t id, bool create)
{
    return queue_table_find(&store->queues, store, topic, id, create);
}

struct slice queue_topic(const struct queue *queue)
{
    return queue->topic;
}

int32_t queue_id(const struct queue *queue)
{
    return queue->id;
}

int64_t queue_min_offset(const struct queue *queue)
{
    return atomic_load_explicit(&queue->min_offset, memory_order_acquire);
}

int64_t queue_max_offset(const struct queue *queue)
{
    return atomic_load_explicit(&queue->max_offset, memory_order_seq_cst);
}

void queue_set_idle_interest(struct queue *queue, bool interested)
{
    int change = interested ? 1 : -1;
    int32_t before = atomic_fetch_add_explicit(&queue->interest, change, memory_order_seq_cst);
    CHECK(interested || before > 0);
}

void queue_set_interest(struct queue *queue, bool interested)
{
    struct dispatcher *dispatcher = &queue->store->dispatcher;
    queue_set_idle_interest(queue, interested);
    (void)atomic_fetch_add_explicit(&dispatcher->interest, interested ? 1 : -1,
                                    memory_order_seq_cst);
    if (interested && store_dispatched_pos(queue->store) < store_appended_pos(queue->store))
        sleeper_wake(&dispatcher->sleeper, SLEEP_NAP);
}

void queue_set_context(struct queue *queue, void *context)
{
    atomic_store_explicit(&queue->context, context, memory_order_release);
}

void *queue_context(const struct queue *queue)
{
    return atomic_load_explicit(&queue->context, memory_order_acquire);
}

struct deletion {
    bool (*doomed)(void *ctx, struct slice topic);
    void *ctx;
};

/* With both locks held: all messages of the queue have left the log. A record that is in the log
 * and not yet in the queue keeps it alive; on a slave, where next_offset stands still, any does. */
static bool is_expired(const struct queue *queue)
{
    const struct store *store = queue->store;
    bool all_in_queue = health_has(&store->health, REFUSAL_SLAVE)
                            ? store_dispatched_pos(store) == store_appended_pos(store)
                            : queue->next_offset == queue->written_offset;
    return queue->written_offset > 0 && all_in_queue && queue->last_end_pos <= store_min_pos(store);
}

/* Records of the queue that are in the log already must not come back: the dispatcher leaves out
 * those before drop_before_pos. */
static void empty_queue(struct queue *queue, bool only_expired)
{
    struct store *store = queue->store;
    (void)pthread_mutex_lock(&store->dispatcher.lock);
    (void)pthread_mutex_lock(&store->log.append_lock);
    bool empty = !only_expired || is_expired(queue);
    if (empty) {
        queue->next_offset = 0;
        queue->drop_before_pos = store_appended_pos(store);
    }
    (void)pthread_mutex_unlock(&store->log.append_lock);
    if (empty)
        queue_destroy_files(queue);
    (void)pthread_mutex_unlock(&store->dispatcher.lock);
}

static void delete_queue(void *ctx, struct queue *queue)
{
    struct deletion *deletion = ctx;
    if (deletion->doomed(deletion->ctx, queue->topic))
        empty_queue(queue, false);
}

void store_delete_queues(struct store *store, bool (*doomed)(void *ctx, struct slice topic),
                         void *ctx)
{
    struct deletion deletion = {doomed, ctx};
    queue_table_each(&store->queues, delete_queue, &deletion);
    keeper_want_checkpoint(&store->keeper);
}

struct kept_topics {
    const struct slice *topics;
    size_t count;
};

static void delete_if_expired(void *ctx, struct queue *queue)
{
    const struct kept_topics *keep = ctx;
    for (size_t i = 0; i < keep->count; i++)
        if (slice_equal(queue->topic, keep->topics[i]))
            return;
    empty_queue(queue, true);
}

void store_delete_expired_queues(struct store *store, const struct slice *keep, size_t keep_count)
{
    struct kept_topics kept = {keep, keep_count};
    queue_table_each(&store->queues, delete_if_expired, &kept);
    keeper_want_checkpoint(&store->keeper);
}
