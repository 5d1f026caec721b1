/* SPDX-License-Identifier: Apache-2.0
 *
 * Source of the rules: RocketMQ store/.../DefaultMessageStore.java (ReputMessageService),
 * CommitLog.java checkMessageAndReturnSize, ConsumeQueue.java putMessagePositionInfo.
 */
#include "broker/store/dispatch.h"

#include "broker/store/record_keys.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAP_US 3000 /* nobody waits; a pull that comes meanwhile ends it */
#define IDLE_NAPS_BEFORE_SLEEP 50
#define INDEX_NAP_US 10000 /* the loops dispatch; only keys are gathered for the index */
#define RETRY_US 200000
#define GAP_ENTRIES_MAX 1000000
/* Its byte in the queue, and that of the end of its file, can be told. */
#define QUEUE_OFFSET_MAX (INT64_MAX / QUEUE_ENTRY_BYTES / 2)

struct dispatch_item {
    struct queue *queue;
    int64_t pos;
    int64_t tags_code;
    int32_t size;
};

void dispatcher_init(struct dispatcher *dispatcher, struct store *store)
{
    memset(dispatcher, 0, sizeof *dispatcher);
    dispatcher->store = store;
    sleeper_init(&dispatcher->sleeper);
    CHECK(pthread_mutex_init(&dispatcher->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&dispatcher->index_lock, NULL) == 0);
    dispatcher->items = xmalloc(DISPATCH_WIDE_RECORDS * sizeof *dispatcher->items);
    dispatcher->staging = xmalloc(DISPATCH_WIDE_RECORDS * QUEUE_ENTRY_BYTES);
    dispatcher->touched = xmalloc(DISPATCH_WIDE_RECORDS * sizeof(struct queue *));
    dispatcher->arrived = xmalloc(DISPATCH_WIDE_RECORDS * sizeof(struct queue *));
}

void dispatcher_release(struct dispatcher *dispatcher)
{
    if (dispatcher->segment != NULL)
        segment_drop(dispatcher->segment);
    if (dispatcher->index_segment != NULL)
        segment_drop(dispatcher->index_segment);
    free(dispatcher->items);
    free(dispatcher->staging);
    free(dispatcher->touched);
    free(dispatcher->arrived);
    (void)pthread_mutex_destroy(&dispatcher->lock);
    (void)pthread_mutex_destroy(&dispatcher->index_lock);
}

void dispatcher_seek(struct dispatcher *dispatcher, const struct dispatch_start *start)
{
    if (dispatcher->segment != NULL)
        segment_drop(dispatcher->segment);
    dispatcher->segment = NULL;
    dispatcher->queues_from = start->queues_from;
    dispatcher->verified_from = start->verified_from;
    dispatcher->last_pos = start->last_pos;
    atomic_store(&dispatcher->indexed_pos, start->pos); /* first: it is never behind unseen */
    atomic_store(&dispatcher->dispatched_pos, start->pos);
}

void dispatcher_mark(struct dispatcher *dispatcher, struct dispatch_mark *out)
{
    (void)pthread_mutex_lock(&dispatcher->lock);
    *out = (struct dispatch_mark){
        .pos = atomic_load(&dispatcher->dispatched_pos),
        .last_pos = dispatcher->last_pos,
        .timestamp_ms = atomic_load(&dispatcher->dispatched_timestamp_ms),
        .queue_ends = dispatcher->store->queues.ends,
    };
    (void)pthread_mutex_unlock(&dispatcher->lock);
}

/* --- one record --- */

static size_t key_hashes(const struct record *record, const struct record_keys *keys,
                         int32_t out[INDEX_KEYS_MAX])
{
    struct record_hashes hashes = record_hashes_begin(record, keys);
    size_t count = 0;
    while (count < INDEX_KEYS_MAX && record_hashes_next(&hashes, &out[count]))
        count++;
    return count;
}

/* An index that cannot be written costs look-ups by key, never messages. */
static void index_record(struct dispatcher *dispatcher, const struct record *record,
                         const struct record_keys *keys)
{
    struct store *store = dispatcher->store;
    int32_t hashes[INDEX_KEYS_MAX];
    size_t count = key_hashes(record, keys, hashes);
    enum status status = index_put(&store->index, hashes, count, record->physical_offset,
                                   record->store_timestamp_ms);
    if ((status != STATUS_OK) == dispatcher->index_skipping || count == 0)
        return;
    dispatcher->index_skipping = status != STATUS_OK;
    if (dispatcher->index_skipping)
        log_error("store",
                  "messages from here on cannot be found by key: the next index file cannot be "
                  "made; free disk space",
                  "path=%s/index pos=%lld status=%s errno=%d", store->options.root,
                  (long long)record->physical_offset, status_name(status), errno);
    else
        log_info("store", "messages from here on can be found by key again", "pos=%lld",
                 (long long)record->physical_offset);
}

/* --- entries --- */

static void forget_items(struct dispatcher *dispatcher)
{
    for (size_t i = 0; i < dispatcher->touched_count; i++)
        dispatcher->touched[i]->round_count = 0;
    dispatcher->item_count = 0;
}

/* Sort the items by queue into the staging buffer: each queue's run in one piece. */
static void stage_items(struct dispatcher *dispatcher)
{
    uint32_t start = 0;
    for (size_t i = 0; i < dispatcher->touched_count; i++) {
        struct queue *queue = dispatcher->touched[i];
        queue->round_start = start;
        start += queue->round_count;
        queue->round_count = 0;
    }
    for (size_t i = 0; i < dispatcher->item_count; i++) {
        const struct dispatch_item *item = &dispatcher->items[i];
        size_t at = item->queue->round_start + item->queue->round_count++;
        queue_entry_encode(dispatcher->staging + at * QUEUE_ENTRY_BYTES, item->pos, item->size,
                           item->tags_code);
    }
}

/* Write the gathered entries, one run per queue. After a failure the records are simply read again:
 * those whose entries were written count as repeats. */
static enum status flush_items(struct dispatcher *dispatcher)
{
    stage_items(dispatcher);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < dispatcher->touched_count && status == STATUS_OK; i++) {
        struct queue *queue = dispatcher->touched[i];
        if (queue->round_count > 0)
            status = queue_write(
                queue, dispatcher->staging + (size_t)queue->round_start * QUEUE_ENTRY_BYTES,
                queue->round_count);
    }
    int kept = errno;
    forget_items(dispatcher);
    errno = kept;
    return status;
}

/* Make the queue's next offset the record's. Offsets differ only in recovery: a topic was deleted
 * and made anew (0 comes again), or entries of older messages are lost (a gap). */
static enum status align_queue(struct dispatcher *dispatcher, struct queue *queue,
                               const struct record *record)
{
    enum status status = flush_items(dispatcher);
    if (status != STATUS_OK)
        return status;
    int64_t gap = record->queue_offset - queue->written_offset;
    if (record->queue_offset == 0) {
        log_info("store", "queue starts over", "topic=%s id=%d pos=%lld",
                 (const char *)queue->topic.data, (int)queue->id,
                 (long long)record->physical_offset);
        queue_destroy_files(queue);
        return STATUS_OK;
    }
    /* Files without an entry say where the queue went on in a log that is not there any more. */
    if (gap < 0 && queue->last_end_pos == 0) {
        queue_destroy_files(queue);
        return queue_fill(queue, record->queue_offset);
    }
    if (gap < 0 || (gap > GAP_ENTRIES_MAX && queue->file_count > 0)) {
        log_error("store", "a message's queue offset does not continue its queue; appended anyway",
                  "topic=%s id=%d expected=%lld found=%lld pos=%lld",
                  (const char *)queue->topic.data, (int)queue->id, (long long)queue->written_offset,
                  (long long)record->queue_offset, (long long)record->physical_offset);
        return STATUS_OK;
    }
    /* A log that began at this message, as a slave's may, has the queue begin inside a file. */
    if (queue->file_count > 0 && queue->last_end_pos > 0)
        log_error("store", "entries of a queue are lost; their offsets stay empty",
                  "topic=%s id=%d from=%lld to=%lld", (const char *)queue->topic.data,
                  (int)queue->id, (long long)queue->written_offset,
                  (long long)record->queue_offset);
    return queue_fill(queue, record->queue_offset);
}

static enum status add_entry(struct dispatcher *dispatcher, const struct record *record,
                             const struct record_keys *keys)
{
    struct store *store = dispatcher->store;
    int64_t pos = record->physical_offset;
    if (pos < dispatcher->queues_from)
        return STATUS_OK;
    struct queue *queue = NULL;
    if (record->queue_offset >= 0 && record->queue_offset <= QUEUE_OFFSET_MAX)
        queue = queue_table_find(&store->queues, store, record->topic, record->queue_id, true);
    if (queue == NULL) {
        log_error("store",
                  "a message has a topic, queue id or queue offset that no queue can have; skipped",
                  "pos=%lld queue_offset=%lld", (long long)pos, (long long)record->queue_offset);
        return STATUS_OK;
    }
    if (pos < queue->last_end_pos || pos < queue->drop_before_pos)
        return STATUS_OK; /* there already, or of a deleted topic */
    if (record->queue_offset != queue->written_offset + queue->round_count) {
        enum status status = align_queue(dispatcher, queue, record);
        if (status != STATUS_OK)
            return status;
    }
    if (!queue->round_touched) {
        queue->round_touched = true;
        dispatcher->new_count += queue->file_count == 0;
        dispatcher->touched[dispatcher->touched_count++] = queue;
    }
    queue->round_count++;
    dispatcher->items[dispatcher->item_count++] =
        (struct dispatch_item){queue, pos,
                               record_tags_code(record, keys, store->options.delay_levels_ms,
                                                store->options.delay_level_count),
                               record->size};
    return STATUS_OK;
}

static bool is_indexed(const struct dispatcher *dispatcher, const struct record *record)
{
    return record_in_index(record) && dispatcher->store->options.index_enable;
}

static enum status dispatch_record(struct dispatcher *dispatcher, const struct record *record,
                                   bool with_index)
{
    struct record_keys keys = record_keys_find(record->properties);
    enum status status = STATUS_OK;
    if (record_in_queue(record))
        status = add_entry(dispatcher, record, &keys);
    if (status == STATUS_OK && with_index && is_indexed(dispatcher, record))
        index_record(dispatcher, record, &keys);
    return status;
}

/* --- rounds --- */

struct round {
    int64_t pos;
    int64_t limit;
    int64_t start;
    int64_t last_pos;     /* of the last record, -1: none yet */
    int64_t timestamp_ms; /* its store time */
    bool with_index;      /* keys go into the index, too; index_lock is held */
};

/* The readable bytes from pos to the end of its segment, at most to `limit`; *held is that segment
 * afterwards. */
static struct slice log_bytes(struct dispatcher *dispatcher, struct segment **held, int64_t pos,
                              int64_t limit)
{
    struct segment *segment = *held;
    if (segment == NULL || pos < segment->base || pos >= segment_end(segment)) {
        if (segment != NULL)
            segment_drop(segment);
        segment = *held = commitlog_acquire(&dispatcher->store->log, pos);
        if (segment == NULL)
            return SLICE_EMPTY;
    }
    int64_t end = segment_end(segment) < limit ? segment_end(segment) : limit;
    return slice_of(segment->data + (pos - segment->base), (size_t)(end - pos));
}

static struct slice round_bytes(struct dispatcher *dispatcher, const struct round *round)
{
    return log_bytes(dispatcher, &dispatcher->segment, round->pos, round->limit);
}

/* Something unreadable stands at round->pos. Among records that recovery has verified this cannot
 * be. Before them, a place on disk has gone bad since it was written: go on at the next whole
 * record, at the latest in the next segment. */
static enum status skip_unreadable(struct dispatcher *dispatcher, struct round *round)
{
    struct slice bytes = round_bytes(dispatcher, round);
    if (round->pos >= dispatcher->verified_from || bytes.size == 0) {
        health_fail(&dispatcher->store->health,
                    "the record at position %lld of the commit log cannot be read. Check disk and "
                    "memory, then restart",
                    (long long)round->pos);
        return STATUS_CORRUPT;
    }
    int64_t from = round->pos;
    do {
        bytes = slice_from(bytes, 1);
        round->pos++;
    } while (bytes.size > 0 && round->pos != dispatcher->verified_from &&
             record_whole_at(bytes, round->pos) == 0);
    log_error("store", "a part of the commit log cannot be read; its messages are left out",
              "from=%lld to=%lld", (long long)from, (long long)round->pos);
    return STATUS_OK;
}

/* Ask the processor for what will be looked at of the next record: another one wrote it, so it is
 * in no cache of this one. Records that follow each other are often alike. */
static void prefetch_next(struct slice bytes, const struct record *record)
{
    size_t size = (size_t)record->size;
    if (bytes.size < 2 * size)
        return;
    const uint8_t *next = bytes.data + size;
    __builtin_prefetch(next);
    __builtin_prefetch(next + 64);
    __builtin_prefetch(next + (record->topic.data - bytes.data));
    __builtin_prefetch(next + size - 64);
}

/* Is it the filler, which ends a file of the log? */
static bool is_filler(enum status decoded, const struct record *record,
                      const struct segment *segment, int64_t pos)
{
    return decoded == STATUS_NOT_FOUND && record->size == segment_end(segment) - pos;
}

static enum status round_step(struct dispatcher *dispatcher, struct round *round)
{
    struct record record;
    struct slice bytes = round_bytes(dispatcher, round);
    enum status status = record_decode(bytes, RECORD_CHECK_FRAME, &record);
    if (is_filler(status, &record, dispatcher->segment, round->pos)) {
        round->pos = segment_end(dispatcher->segment);
        return STATUS_OK;
    }
    if (status != STATUS_OK || record.physical_offset != round->pos)
        return skip_unreadable(dispatcher, round);
    prefetch_next(bytes, &record);
    status = dispatch_record(dispatcher, &record, round->with_index);
    if (status != STATUS_OK)
        return status;
    round->last_pos = round->pos;
    round->pos += record.size;
    round->timestamp_ms = record.store_timestamp_ms;
    return STATUS_OK;
}

static void round_publish(struct dispatcher *dispatcher, const struct round *round)
{
    for (size_t i = 0; i < dispatcher->touched_count; i++) {
        struct queue *queue = dispatcher->touched[i];
        queue->round_touched = false;
        queue_publish(queue);
    }
    queue_table_mark_dirty(&dispatcher->store->queues, dispatcher->touched,
                           dispatcher->touched_count);
    if (round->last_pos != -1) {
        dispatcher->last_pos = round->last_pos;
        atomic_store_explicit(&dispatcher->dispatched_timestamp_ms, round->timestamp_ms,
                              memory_order_relaxed);
    }
    atomic_store_explicit(&dispatcher->dispatched_pos, round->pos, memory_order_release);
}

/* Say why queue entries cannot be written: for want of something that may come back, or for good.
 */
static void report_failure(struct store *store, enum status status)
{
    const char *root = store->options.root;
    if (status == STATUS_FULL) {
        health_refuse(&store->health, REFUSAL_QUEUES_FULL,
                      "no space left to write the consume queues in %s: free disk space", root);
    } else if (status == STATUS_BUSY) {
        health_refuse(
            &store->health, REFUSAL_QUEUES_FULL,
            "the consume queues in %s cannot be opened: %s. Raise the limit of open files "
            "(ulimit -n), or lower the number of queues in use",
            root, strerror(errno));
        keeper_want_checkpoint(&store->keeper); /* gives back the descriptors of idle queues */
    } else if (status == STATUS_IO || status == STATUS_NOT_FOUND) {
        health_fail(&store->health,
                    "writing the consume queues in %s failed: %s. Check the disk, then restart",
                    root, strerror(errno));
    }
}

/* Is the round to take another record? */
static bool round_goes_on(const struct dispatcher *dispatcher, const struct round *round)
{
    size_t items = dispatcher->item_count;
    size_t queues = dispatcher->touched_count;
    int64_t bytes = round->pos - round->start;
    if (round->pos >= round->limit || dispatcher->new_count >= DISPATCH_NEW_QUEUES)
        return false;
    if (items < DISPATCH_ROUND_RECORDS && queues < DISPATCH_ROUND_RECORDS &&
        bytes < DISPATCH_ROUND_BYTES)
        return true;
    return queues >= DISPATCH_WIDE_QUEUES && items < queues * DISPATCH_WIDE_RUN &&
           items < DISPATCH_WIDE_RECORDS && queues < DISPATCH_WIDE_RECORDS - 1 &&
           bytes < DISPATCH_WIDE_BYTES;
}

/* Tell of the queues that have grown. Without a lock: the listener may take its own. */
static void report_arrivals(struct store *store, struct queue *const *queues, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (store->listener.on_arrival != NULL &&
            atomic_load_explicit(&queues[i]->interest, memory_order_seq_cst) > 0)
            store->listener.on_arrival(store->listener.ctx, queues[i]);
}

static struct round round_begin(struct dispatcher *dispatcher)
{
    struct round round = {
        .start = atomic_load_explicit(&dispatcher->dispatched_pos, memory_order_relaxed),
        .limit = atomic_load_explicit(&dispatcher->store->log.appended_pos, memory_order_seq_cst),
        .last_pos = -1,
    };
    round.pos = round.start;
    dispatcher->new_count = 0;
    return round;
}

/* Write and publish what a round has gathered. `status` is how the gathering ended. After a failure
 * the queues stay touched: some of their entries may be written, and are repeats the next time. */
static enum status round_finish(struct dispatcher *dispatcher, const struct round *round,
                                enum status status)
{
    enum status written = status;
    if (status == STATUS_OK || status == STATUS_CORRUPT) {
        written = flush_items(dispatcher);
    } else {
        int kept = errno;
        forget_items(dispatcher);
        errno = kept;
    }
    if (written == STATUS_OK)
        round_publish(dispatcher, round);
    return written;
}

/* A round that may wait. dispatch_lock held. */
static enum status round_locked(struct dispatcher *dispatcher)
{
    struct store *store = dispatcher->store;
    struct round round = round_begin(dispatcher);
    if (round.pos >= round.limit)
        return STATUS_NOT_FOUND;
    (void)pthread_mutex_lock(&dispatcher->index_lock);
    round.with_index = atomic_load(&dispatcher->indexed_pos) == round.start;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && round_goes_on(dispatcher, &round))
        status = round_step(dispatcher, &round);
    enum status written = round_finish(dispatcher, &round, status);
    if (written == STATUS_OK && round.with_index)
        atomic_store(&dispatcher->indexed_pos, round.pos);
    (void)pthread_mutex_unlock(&dispatcher->index_lock);
    if (written != STATUS_OK) {
        report_failure(store, written);
        return written == STATUS_NOT_FOUND ? STATUS_IO : written;
    }
    if (health_has(&store->health, REFUSAL_QUEUES_FULL))
        health_allow(&store->health, REFUSAL_QUEUES_FULL);
    return status;
}

enum status dispatcher_round(struct dispatcher *dispatcher)
{
    bool indexed = dispatcher_index(dispatcher);
    (void)pthread_mutex_lock(&dispatcher->lock);
    enum status status = round_locked(dispatcher);
    size_t count = 0;
    if (status == STATUS_OK || status == STATUS_CORRUPT) {
        /* The next round, which may be a loop's, gathers in the other array meanwhile. */
        struct queue **arrived = dispatcher->touched;
        dispatcher->touched = dispatcher->arrived;
        dispatcher->arrived = arrived;
        count = dispatcher->touched_count;
        dispatcher->touched_count = 0;
    }
    (void)pthread_mutex_unlock(&dispatcher->lock);
    report_arrivals(dispatcher->store, dispatcher->arrived, count);
    return status == STATUS_NOT_FOUND && indexed ? STATUS_OK : status;
}

/* --- a round on a loop --- */

/* Can the record be dispatched without making or opening a file, and without reading one? */
static bool is_quick(struct dispatcher *dispatcher, const struct record *record)
{
    struct store *store = dispatcher->store;
    if (!record_in_queue(record))
        return true;
    struct queue *queue =
        queue_table_find(&store->queues, store, record->topic, record->queue_id, false);
    return queue != NULL && record->queue_offset == queue->written_offset + queue->round_count &&
           record->physical_offset >= queue->drop_before_pos &&
           queue_write_is_quick(queue, queue->round_count + 1);
}

/* Take what is quick; the first record that is not is the thread's. */
static enum status gather_quick(struct dispatcher *dispatcher, struct round *round)
{
    enum status status = STATUS_OK;
    while (round->pos < round->limit && dispatcher->item_count < DISPATCH_QUICK_RECORDS) {
        struct record record;
        struct slice bytes = round_bytes(dispatcher, round);
        if (record_decode(bytes, RECORD_CHECK_FRAME, &record) != STATUS_OK ||
            record.physical_offset != round->pos || !is_quick(dispatcher, &record))
            break;
        status = dispatch_record(dispatcher, &record, false);
        if (status != STATUS_OK)
            break;
        round->last_pos = round->pos;
        round->pos += record.size;
        round->timestamp_ms = record.store_timestamp_ms;
    }
    return status;
}

bool dispatcher_try_round(struct dispatcher *dispatcher)
{
    struct queue *arrived[DISPATCH_QUICK_RECORDS];
    size_t count = 0;
    if (atomic_load(&dispatcher->stop) || pthread_mutex_trylock(&dispatcher->lock) != 0)
        return false;
    struct round round = round_begin(dispatcher);
    /* What a failed round has touched is the thread's to publish. */
    if (round.limit - round.start <= DISPATCH_QUICK_BYTES && dispatcher->touched_count == 0) {
        enum status status = gather_quick(dispatcher, &round);
        if (round_finish(dispatcher, &round, status) == STATUS_OK) {
            count = dispatcher->touched_count;
            memcpy(arrived, dispatcher->touched, count * sizeof *arrived);
            dispatcher->touched_count = 0;
        } else {
            round.pos = round.start; /* the thread meets the same failure, and reports it */
        }
    }
    (void)pthread_mutex_unlock(&dispatcher->lock);
    report_arrivals(dispatcher->store, arrived, count);
    return round.pos >= round.limit;
}

/* --- the index behind the loops --- */

bool dispatcher_index(struct dispatcher *dispatcher)
{
    int64_t until = atomic_load(&dispatcher->dispatched_pos);
    if (atomic_load(&dispatcher->indexed_pos) >= until)
        return false;
    (void)pthread_mutex_lock(&dispatcher->index_lock);
    int64_t pos = atomic_load(&dispatcher->indexed_pos);
    while (pos < until) {
        struct record record;
        struct slice bytes = log_bytes(dispatcher, &dispatcher->index_segment, pos, until);
        enum status status = record_decode(bytes, RECORD_CHECK_FRAME, &record);
        if (is_filler(status, &record, dispatcher->index_segment, pos)) {
            pos = segment_end(dispatcher->index_segment);
            continue;
        }
        if (status != STATUS_OK) {
            log_error("store", "messages cannot be read any more and are left out of the index",
                      "from=%lld to=%lld", (long long)pos, (long long)until);
            pos = until;
            break;
        }
        struct record_keys keys = record_keys_find(record.properties);
        if (is_indexed(dispatcher, &record))
            index_record(dispatcher, &record, &keys);
        pos += record.size;
    }
    atomic_store(&dispatcher->indexed_pos, pos);
    (void)pthread_mutex_unlock(&dispatcher->index_lock);
    return true;
}

/* --- the thread --- */

static bool nothing_to_do(struct dispatcher *dispatcher)
{
    return atomic_load_explicit(&dispatcher->store->log.appended_pos, memory_order_seq_cst) ==
               atomic_load_explicit(&dispatcher->indexed_pos, memory_order_relaxed) &&
           !atomic_load(&dispatcher->stop);
}

/* Sleep until there may be work. *idle_naps counts naps without traffic. */
static void rest(struct dispatcher *dispatcher, int *idle_naps)
{
    bool waited_for = atomic_load_explicit(&dispatcher->interest, memory_order_seq_cst) > 0;
    bool deep = *idle_naps >= (waited_for ? 1 : IDLE_NAPS_BEFORE_SLEEP);
    sleeper_prepare(&dispatcher->sleeper, deep ? SLEEP_DEEP : SLEEP_NAP);
    if (!nothing_to_do(dispatcher)) {
        sleeper_cancel(&dispatcher->sleeper);
        return;
    }
    sleeper_wait(&dispatcher->sleeper, deep ? -1 : waited_for ? INDEX_NAP_US : NAP_US);
    if (!deep)
        (*idle_naps)++;
}

static void *run(void *arg)
{
    struct dispatcher *dispatcher = arg;
    int idle_naps = 0;
    for (;;) {
        enum status status = dispatcher_round(dispatcher);
        if (status == STATUS_OK) {
            idle_naps = 0;
            continue;
        }
        if (atomic_load(&dispatcher->stop))
            return NULL;
        if (status == STATUS_NOT_FOUND) {
            rest(dispatcher, &idle_naps);
            continue;
        }
        /* Only dispatcher_stop is of interest now, or the passing of time. */
        sleeper_prepare(&dispatcher->sleeper, SLEEP_NAP);
        if (atomic_load(&dispatcher->stop))
            sleeper_cancel(&dispatcher->sleeper);
        else
            sleeper_wait(&dispatcher->sleeper, RETRY_US);
    }
}

enum status dispatcher_start(struct dispatcher *dispatcher, struct err *err)
{
    enum status status = thread_start(&dispatcher->thread, "store-dispatch", run, dispatcher, err);
    dispatcher->running = status == STATUS_OK;
    return status;
}

void dispatcher_stop(struct dispatcher *dispatcher)
{
    if (!dispatcher->running)
        return;
    atomic_store(&dispatcher->stop, true);
    sleeper_wake_slow(&dispatcher->sleeper);
    thread_join(dispatcher->thread);
    dispatcher->running = false;
}
