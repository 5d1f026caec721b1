/* SPDX-License-Identifier: Apache-2.0
 *
 * Source of 4.9.2's rules: RocketMQ store/.../CommitLog.java (recoverNormally, recoverAbnormally).
 */
#include "broker/store/recover.h"

#include "broker/store/append_batch.h"
#include "broker/store/checkpoint.h"
#include "broker/store/progress.h"
#include "broker/store/recover_queues.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"

#include <string.h>

#define SAFETY_MS 3000   /* 4.9.2: what the checkpoint's times may be ahead of the disk */
#define CLEAN_SEGMENTS 3 /* 4.9.2: segments verified after a clean stop */
#define TELL_EVERY_RECORDS 4096

/* What the checkpoint is worth. */
enum trust {
    TRUST_POSITION, /* it names this log: everything before durable_pos is there */
    TRUST_TIMES,    /* 4.9.2 has written it: its times count as far as they count there */
    TRUST_NOTHING,  /* it is about another log, or about nothing that is still there */
};

struct recovery {
    struct store *store;
    struct checkpoint checkpoint;
    enum trust trust;
    bool aborted;
    bool crash; /* treat everything from start on as doubtful */
    int64_t start;
    int64_t end;
    int64_t records;
    int64_t last_timestamp_ms;
    int64_t last_pos;         /* the last record before `end`, -1: not known */
    int64_t pos_before_last;  /* the one before that */
    bool last_ends_with_zero; /* the last record's topic or properties do */
    bool last_is_doubted;     /* and it was left out for that */
    bool doubt;               /* writes may be there in parts */
    bool rebuilt;             /* something was dispatched */
    const char *why;          /* the log ends at `end`; NULL: there are zeros */
};

/* --- where to start --- */

/* Store timestamp of a segment's first record, 0 when there is no record. */
static int64_t first_timestamp(const struct segment *segment)
{
    struct record record;
    if (record_decode(slice_of(segment->data, (size_t)segment->size), RECORD_CHECK_FRAME,
                      &record) != STATUS_OK)
        return 0;
    return record.store_timestamp_ms;
}

/* The newest segment that began before everything the checkpoint's times vouch for. */
static int64_t start_by_times(const struct recovery *recovery)
{
    const struct commitlog *log = &recovery->store->log;
    int64_t limit_ms = recovery->checkpoint.log_timestamp_ms;
    if (recovery->checkpoint.queues_timestamp_ms < limit_ms)
        limit_ms = recovery->checkpoint.queues_timestamp_ms;
    limit_ms -= SAFETY_MS;
    for (size_t i = log->segment_count; i-- > 0;) {
        int64_t timestamp_ms = first_timestamp(log->segments[i]);
        if (timestamp_ms > 0 && timestamp_ms <= limit_ms)
            return log->segments[i]->base;
    }
    return log->segments[0]->base;
}

/* Does the record that the checkpoint names stand in this log, just before durable_pos? */
static bool names_this_log(const struct recovery *recovery)
{
    const struct checkpoint *checkpoint = &recovery->checkpoint;
    struct record_name name;
    return commitlog_name(&recovery->store->log, checkpoint->last_pos, &name) &&
           name.crc == checkpoint->last_crc &&
           (checkpoint->durable_pos == name.end_pos || checkpoint->durable_pos == name.next_pos);
}

/* Files at the end of the log that the checkpoint knows of must be there: to go on without them
 * would give new messages the positions and queue offsets of lost ones. */
static enum status check_last_segment(const struct recovery *recovery, struct err *err)
{
    const struct store *store = recovery->store;
    const struct segment *last = store->log.segments[store->log.segment_count - 1];
    int64_t durable_pos = recovery->checkpoint.durable_pos;
    if (durable_pos <= segment_end(last))
        return STATUS_OK;
    return err_set(err, STATUS_CORRUPT,
                   "the last file of the commit log is %s/%020lld, but the checkpoint says that "
                   "messages up to position %lld were on disk: %020lld is missing. Bring it back, "
                   "or delete %s/checkpoint to go on without what was in it",
                   last->directory, (long long)last->base, (long long)durable_pos,
                   (long long)segment_end(last), store->options.root);
}

/* The one place that decides where recovery starts; docs/store.md states the rule. */
static void choose_start(struct recovery *recovery)
{
    const struct commitlog *log = &recovery->store->log;
    int64_t first = log->segments[0]->base;
    int64_t durable_pos = recovery->checkpoint.durable_pos;
    recovery->start = first;
    recovery->last_pos = -1;
    if (durable_pos == -1) {
        recovery->trust = TRUST_TIMES;
        if (recovery->aborted)
            recovery->start = start_by_times(recovery);
        else if (log->segment_count > CLEAN_SEGMENTS)
            recovery->start = log->segments[log->segment_count - CLEAN_SEGMENTS]->base;
    } else if (durable_pos > first && names_this_log(recovery)) {
        recovery->trust = TRUST_POSITION;
        recovery->start = durable_pos;
        recovery->last_pos = recovery->checkpoint.last_pos;
    } else {
        recovery->trust = TRUST_NOTHING;
        if (durable_pos > first)
            log_warn("store",
                     "the checkpoint does not belong to this commit log; all of the log is read",
                     "root=%s checkpoint_pos=%lld log_begins=%lld", recovery->store->options.root,
                     (long long)durable_pos, (long long)first);
    }
    recovery->crash = recovery->aborted || recovery->trust == TRUST_NOTHING;
    recovery->doubt = recovery->aborted || recovery->trust != TRUST_TIMES;
}

/* --- the end of the log --- */

static bool all_zero(struct slice bytes)
{
    return bytes.size == 0 ||
           (bytes.data[0] == 0 && memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0);
}

static const char *describe(enum status status, struct slice bytes)
{
    if (bytes.size >= 8 && all_zero(slice_of(bytes.data, 8)))
        return NULL;
    return status == STATUS_TRUNCATED ? "a record reaches over the end of its file"
                                      : "a record's size, mark or checksum is wrong";
}

/* Is a sector of the file zero in which the record has topic or properties? Where a write did not
 * arrive whole sectors are zero; a message has not so many zero bytes, see append_batch_add. */
static bool lacks_sector(const struct segment *segment, const struct record *record)
{
    struct slice last = record->properties.size > 0 ? record->properties : record->topic;
    size_t end = (size_t)(last.data + last.size - segment->data);
    size_t at = (size_t)(record->topic.data - segment->data) / SECTOR_BYTES * SECTOR_BYTES;
    for (; at < end; at += SECTOR_BYTES) {
        size_t left = (size_t)segment->size - at;
        if (all_zero(slice_of(segment->data + at, left < SECTOR_BYTES ? left : SECTOR_BYTES)))
            return true;
    }
    return false;
}

/* Do topic or properties end with a zero byte? No client sends such. */
static bool ends_with_zero(const struct record *record)
{
    struct slice last = record->properties.size > 0 ? record->properties : record->topic;
    return last.size > 0 && last.data[last.size - 1] == 0;
}

/* A 4.9.2 slave writes what it gets, and the last bytes of a record's properties may have been
 * about to come: they are zero then, and the record looks whole. The master sends it again. */
static void doubt_last_record(struct recovery *recovery)
{
    if (recovery->store->options.role != STORE_ROLE_SLAVE || !recovery->last_ends_with_zero ||
        recovery->why != NULL)
        return;
    recovery->end = recovery->last_pos;
    recovery->last_pos = recovery->pos_before_last;
    recovery->records--;
    recovery->last_is_doubted = true;
    recovery->why = "the last record's topic or properties may not have come as a whole";
}

/* Look at what stands at recovery->end. False: the log ends there. */
static bool scan_step(struct recovery *recovery, const struct segment *segment,
                      enum record_check check)
{
    struct slice bytes = slice_of(segment->data + (recovery->end - segment->base),
                                  (size_t)(segment_end(segment) - recovery->end));
    struct record record;
    enum status status = record_decode(bytes, check, &record);
    if (status == STATUS_NOT_FOUND) {
        if ((size_t)record.size != bytes.size) {
            recovery->why = "an end-of-file mark has the wrong size";
            return false;
        }
        recovery->end = segment_end(segment);
        recovery->last_ends_with_zero = false; /* there is something behind it */
        return true;
    }
    if (status == STATUS_OK && record.physical_offset != recovery->end) {
        recovery->why = "a record says that it belongs somewhere else";
        return false;
    }
    if (status != STATUS_OK) {
        recovery->why = describe(status, bytes);
        return false;
    }
    /* The checksum covers the body only. */
    if (recovery->doubt && lacks_sector(segment, &record)) {
        recovery->why = "a record's topic or properties are torn";
        return false;
    }
    recovery->pos_before_last = recovery->last_pos;
    recovery->last_pos = recovery->end;
    recovery->last_ends_with_zero = ends_with_zero(&record);
    recovery->end += record.size;
    recovery->records++;
    if (record.store_timestamp_ms > recovery->last_timestamp_ms)
        recovery->last_timestamp_ms = record.store_timestamp_ms;
    return true;
}

static void find_end(struct recovery *recovery)
{
    struct commitlog *log = &recovery->store->log;
    enum record_check check =
        recovery->store->options.check_crc_on_recover ? RECORD_CHECK_CRC : RECORD_CHECK_FRAME;
    struct progress progress =
        progress_begin(recovery->store->clock, "verifying the commit log", "bytes");
    int64_t total = segment_end(log->segments[log->segment_count - 1]) - recovery->start;
    recovery->end = recovery->start;
    bool more = true;
    while (more) {
        struct segment *segment = commitlog_acquire(log, recovery->end);
        if (segment == NULL)
            break;
        while (more && recovery->end < segment_end(segment)) {
            more = scan_step(recovery, segment, check);
            if (recovery->records % TELL_EVERY_RECORDS == 0)
                progress_tell(&progress, recovery->end - recovery->start, total);
        }
        segment_drop(segment);
    }
    doubt_last_record(recovery);
    /* The checkpoint of a clean stop leaves nothing behind it. */
    if (recovery->trust == TRUST_POSITION && recovery->end != recovery->start)
        recovery->crash = true;
}

static enum status cut_log(struct recovery *recovery, struct err *err)
{
    struct commitlog *log = &recovery->store->log;
    struct log_cut cut = {
        .end = recovery->end,
        .root = recovery->store->options.root,
        .why = recovery->why,
        .look = recovery->crash || recovery->trust != TRUST_POSITION || recovery->why != NULL,
        .slave = recovery->store->options.role == STORE_ROLE_SLAVE,
        .doubted = recovery->last_is_doubted,
    };
    enum status status = commitlog_cut(log, &cut, err);
    log->last_timestamp_ms = recovery->last_timestamp_ms;
    log->last_record_pos = recovery->last_pos;
    atomic_store(&log->appended_timestamp_ms, recovery->last_timestamp_ms);
    atomic_store(&log->flushed_timestamp_ms, recovery->checkpoint.log_timestamp_ms);
    atomic_store(&log->flushed_pos, recovery->start);
    return status;
}

/* --- queues and index --- */

/* From where on queue entries may be missing; see docs/store.md. Repeats do no harm. */
static int64_t queues_resume(const struct recovery *recovery, const struct queues_found *found)
{
    int64_t min_pos = atomic_load(&recovery->store->log.min_pos);
    if (recovery->trust != TRUST_POSITION)
        return found->last_end_pos > min_pos ? found->last_end_pos : min_pos;
    if (queue_ends_equal(&found->ends, &recovery->checkpoint.queue_ends))
        return recovery->start;
    log_warn("store",
             "consume queues are not what the checkpoint says; the missing ones are built "
             "again from the whole commit log",
             "ends=%lld checkpoint_ends=%lld", (long long)found->ends.total,
             (long long)recovery->checkpoint.queue_ends.total);
    return min_pos;
}

static enum status dispatch_all(struct store *store, struct err *err)
{
    enum status status;
    struct progress progress =
        progress_begin(store->clock, "making missing queue and index entries", "bytes");
    int64_t from = store_dispatched_pos(store);
    do {
        status = dispatcher_round(&store->dispatcher);
        progress_tell(&progress, store_dispatched_pos(store) - from,
                      store_appended_pos(store) - from);
    } while (status == STATUS_OK);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    char why[ERR_TEXT_BYTES] = "";
    (void)health_explain(&store->health, why, sizeof why);
    return err_set(err, STATUS_IO, "cannot rebuild the consume queues: %s", why);
}

struct settling {
    int64_t min_pos;
    enum status status; /* of the first queue that failed */
    struct err *err;
};

static void settle_queue(void *ctx, struct queue *queue)
{
    struct settling *settling = ctx;
    size_t deleted;
    queue->next_offset = queue->written_offset;
    queue_publish(queue);
    enum status status = queue_expire(queue, settling->min_pos, &deleted);
    if (status != STATUS_OK && settling->status == STATUS_OK)
        settling->status = err_set_errno(settling->err, STATUS_IO,
                                         "cannot open the first file of topic %s, queue %d",
                                         (const char *)queue->topic.data, (int)queue->id);
}

static void close_queue(void *ctx, struct queue *queue)
{
    (void)ctx;
    queue_close_files(queue);
}

static enum status rebuild(struct recovery *recovery, const struct queues_found *found,
                           struct err *err)
{
    struct store *store = recovery->store;
    int64_t queues_from = queues_resume(recovery, found);
    int64_t index_from = INT64_MAX;
    enum status status = STATUS_OK;
    struct index_durable durable = {
        .all = !recovery->crash,
        .pos = recovery->trust == TRUST_POSITION ? recovery->checkpoint.durable_pos : -1,
        .timestamp_ms =
            recovery->trust == TRUST_TIMES ? recovery->checkpoint.index_timestamp_ms : 0,
    };
    if (store->options.index_enable)
        status = index_load(&store->index, &durable, recovery->end, &index_from, err);
    if (status != STATUS_OK)
        return status;
    int64_t min_pos = atomic_load(&store->log.min_pos);
    int64_t from = index_from < queues_from ? index_from : queues_from;
    if (from < min_pos)
        from = min_pos;
    recovery->rebuilt = from < recovery->end;
    struct dispatch_start start = {
        .pos = from,
        .queues_from = queues_from,
        .verified_from = recovery->start,
        .last_pos = recovery->last_pos,
    };
    dispatcher_seek(&store->dispatcher, &start);
    atomic_store(&store->dispatcher.dispatched_timestamp_ms,
                 recovery->checkpoint.queues_timestamp_ms);
    status = dispatch_all(store, err);
    if (status != STATUS_OK)
        return status;
    struct settling settling = {min_pos, STATUS_OK, err};
    queue_table_each(&store->queues, settle_queue, &settling);
    return settling.status;
}

/* After this a crash finds what this recovery has found. */
static enum status settle(struct recovery *recovery, struct err *err)
{
    struct store *store = recovery->store;
    store->keeper.index_timestamp_ms = recovery->checkpoint.index_timestamp_ms;
    store->keeper.begun_pos = recovery->end;
    if (recovery->trust == TRUST_POSITION)
        store->keeper.checkpoint_pos = recovery->checkpoint.durable_pos;
    bool changed = recovery->crash || recovery->trust != TRUST_POSITION || recovery->rebuilt;
    if (commitlog_flush(&store->log) != STATUS_OK ||
        (changed && keeper_sync(&store->keeper, true) != STATUS_OK)) {
        char why[ERR_TEXT_BYTES] = "the checkpoint cannot be written";
        (void)health_explain(&store->health, why, sizeof why);
        return err_set(err, STATUS_IO, "recovery of %s ended: %s", store->options.root, why);
    }
    queue_table_each(&store->queues, close_queue, NULL);
    return STATUS_OK;
}

static enum status begin_empty(struct recovery *recovery, struct err *err)
{
    struct store *store = recovery->store;
    bool any;
    enum status status = queues_exist(store, &any, err);
    if (status != STATUS_OK)
        return status;
    if (any)
        return err_set(
            err, STATUS_CORRUPT,
            "%s holds no commit log, but %s/consumequeue has queues that point into one: "
            "set storePathCommitLog to where the log is, or delete %s/consumequeue and "
            "%s/index to begin empty",
            store->options.commit_log, store->options.root, store->options.root,
            store->options.root);
    return commitlog_begin(&store->log, err);
}

enum status recover_store(struct store *store, bool aborted, struct err *err)
{
    struct recovery recovery = {.store = store, .aborted = aborted};
    int64_t began_ms = clock_monotonic_ms(store->clock);
    enum status status =
        checkpoint_load(store->vfs, store->options.root, &recovery.checkpoint, err);
    if (status == STATUS_OK)
        status = commitlog_load(&store->log, recovery.checkpoint.durable_pos, err);
    if (status == STATUS_OK && store->log.segment_count == 0)
        status = begin_empty(&recovery, err);
    else if (status == STATUS_OK)
        status = check_last_segment(&recovery, err);
    if (status != STATUS_OK)
        return status;

    choose_start(&recovery);
    recovery.last_timestamp_ms = recovery.checkpoint.log_timestamp_ms;
    find_end(&recovery);
    status = cut_log(&recovery, err);
    struct queues_found found = {.last_end_pos = 0};
    if (status == STATUS_OK)
        status = queues_load(store, recovery.crash ? recovery.start : recovery.end, recovery.crash,
                             &found, err);
    if (status == STATUS_OK)
        status = rebuild(&recovery, &found, err);
    if (status == STATUS_OK)
        status = settle(&recovery, err);
    if (status == STATUS_OK)
        log_info("store", aborted ? "recovered after a crash" : "opened",
                 "root=%s verified_from=%lld log_end=%lld records_verified=%lld ms=%lld",
                 store->options.root, (long long)recovery.start, (long long)recovery.end,
                 (long long)recovery.records,
                 (long long)(clock_monotonic_ms(store->clock) - began_ms));
    return status;
}
