/* SPDX-License-Identifier: Apache-2.0
 *
 * The message store: a commit log that all messages go to, one consume queue per topic and queue id
 * that points into it, and a hash index by key. A library without networking.
 *
 * Threads. Any thread may append and read; what reads says whether it may wait for the disk. The
 * store runs some of its own: flush (fdatasync, then the flushed watermark moves), dispatch
 * (follows the log, writes consume queues and index, then reports arrivals), keeper (files made
 * ahead, syncing of queues, checkpoint, cleaning) and the cold readers (pulls whose messages are on
 * disk). Positions in the log are bytes (int64_t ..._pos), offsets in a queue count messages
 * (int64_t queue_offset).
 *
 * What is on disk is RocketMQ 4.9.2's format; docs/store.md tells it all.
 */
#ifndef BROKER_STORE_STORE_H
#define BROKER_STORE_STORE_H

#include "common/base/arena.h"
#include "common/base/list.h"
#include "common/base/status.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"
#include "proto/record.h"

#include <stdatomic.h>
#include <stdbool.h>

enum store_role {
    STORE_ROLE_MASTER,
    STORE_ROLE_SLAVE, /* refuses appends, takes the bytes of a master's log instead */
};

enum store_flush {
    STORE_FLUSH_SYNC,
    STORE_FLUSH_ASYNC,
};

struct store_options {
    const char *root;                  /* storePathRootDir */
    const char *commit_log;            /* storePathCommitLog: folders with commas between them */
    const char *read_only_commit_logs; /* readOnlyCommitLogStorePaths; may be NULL */
    int64_t segment_bytes;             /* mappedFileSizeCommitLog */
    int64_t queue_file_bytes;          /* mappedFileSizeConsumeQueue, rounded up to 20 */
    /* Consume queue files that are mapped, or open for writing, at a time; 0: QUEUE_MAPPINGS_MAX
     * and QUEUE_DESCRIPTORS_MAX, or what the machine allows. */
    int64_t queue_mappings_max;
    int64_t queue_descriptors_max;
    int32_t index_slots;      /* maxHashSlotNum */
    int32_t index_entries;    /* maxIndexNum */
    bool index_enable;        /* messageIndexEnable */
    int32_t record_bytes_max; /* maxMessageSize: limit of a whole record */
    bool check_crc_on_recover;
    enum store_role role; /* at the start, see store_set_role */
    enum store_flush flush;
    int64_t flush_interval_ms; /* ASYNC_FLUSH: at least this often */
    bool flush_timed;          /* flushCommitLogTimed: appends do not begin a flush before that */
    int32_t flush_least_pages; /* flushCommitLogLeastPages, of 4 KiB */
    int64_t flush_thorough_interval_ms;
    int64_t flush_queues_interval_ms;
    int32_t flush_queues_least_pages; /* flushConsumeQueueLeastPages */
    int64_t flush_queues_thorough_interval_ms;
    int64_t checkpoint_bytes; /* one is due when the log has grown by this; 0: only in time */

    /* What is deleted and refused when; store_set_retention changes it. See retention.h. */
    int64_t file_reserved_hours;              /* fileReservedTime */
    const char *delete_when;                  /* deleteWhen */
    int disk_max_used_percent;                /* diskMaxUsedSpaceRatio */
    int disk_warning_percent;                 /* diskSpaceWarningLevelRatio; 0: 90 */
    int disk_force_percent;                   /* diskSpaceCleanForciblyRatio; 0: 85 */
    bool clean_forcibly;                      /* cleanFileForciblyEnable */
    int64_t commit_log_bytes_max;             /* commitLogBytesMax; 0: none */
    int64_t disk_free_bytes_min;              /* diskFreeBytesMin; 0: none */
    int64_t delete_log_files_interval_ms;     /* deleteCommitLogFilesInterval */
    int64_t delete_queue_files_interval_ms;   /* deleteConsumeQueueFilesInterval */
    int64_t redelete_hanged_file_interval_ms; /* redeleteHangedFileInterval */
    int64_t clean_interval_ms;                /* cleanResourceInterval */

    const int64_t *delay_levels_ms; /* [0] is level 1; borrowed for the store's life */
    int delay_level_count;
    int64_t memory_bytes_hot; /* "in memory": within this many bytes of the end of the log */
    int32_t transfer_bytes_memory, transfer_count_memory; /* one pull's limits, hot and cold */
    int32_t transfer_bytes_disk, transfer_count_disk;
    int cold_read_threads;         /* 0: 2 */
    int64_t cold_read_cache_bytes; /* page cache that cold reads may fill; 0: 128 MiB */
    /* Of the table of queues. 0: random, so that no peer can choose topics that collide; tests set
     * another so that queues are walked through in the same order every time. */
    uint64_t hash_seed;
};

struct store;
struct queue; /* a consume queue; see store_queue */

/* Open or create the store in `options->root`: lock it, load, recover. Long work is reported in the
 * log. Threads start with store_start.
 * returns  OK | BUSY (another process has it) | CORRUPT (refused, with the mend) | IO */
enum status store_open(const struct store_options *options, struct vfs *vfs,
                       const struct clock *clock, struct store **out, struct err *err);

/* Was it closed the last time it was used? If not, the process was killed, or the machine has lost
 * what was not flushed yet. */
bool store_was_closed(const struct store *store);

/* What the store reports; called on its own threads and within store_dispatch_here if nothing else
 * is said, must be quick and must not call back into append. Set before store_start. */
struct store_listener {
    void *ctx;
    /* A message became readable in `queue` at queue_offset (the new maximum is one more). Only for
     * queues with interest (queue_set_interest). */
    void (*on_arrival)(void *ctx, struct queue *queue);
    /* The log has grown. Called by whoever appended, without a lock, after every append: must be
     * very quick. */
    void (*on_appended)(void *ctx);
    /* store_flushed_pos moved, or writing ended for good (store_writable tells). */
    void (*on_flushed)(void *ctx);
    /* May everything before end_pos leave the log, as retention wants? Asked again soon
     * when not. NULL: always. */
    bool (*may_expire)(void *ctx, int64_t end_pos);
    /* What lies before end_pos, was acknowledged and is still to be delivered by the broker itself,
     * in words; NULL: nothing. A file with such messages stays until the disk is so full that it
     * must go. May read from disk. NULL: never anything. */
    const char *(*undelivered)(void *ctx, int64_t end_pos);
};
void store_set_listener(struct store *store, struct store_listener listener);
enum status store_start(struct store *store, struct err *err);

/* Refuse appends from here on, flush everything, dispatch everything, join the threads, write the
 * checkpoint and remove the abort mark. Afterwards the listener hears nothing more; reading still
 * works. One thread, once appends have ended. */
void store_stop(struct store *store);

/* Stop, if that has not happened, and free. Nobody may use the store any more. */
void store_close(struct store *store);

/* --- appending --- */

enum put_status {
    PUT_OK,
    PUT_SERVICE_NOT_AVAILABLE, /* slave, disk full, failed disk, shutting down */
    PUT_MESSAGE_ILLEGAL,       /* too large, topic or properties too long */
    PUT_CREATE_FILE_FAILED,
    PUT_PAGE_CACHE_BUSY, /* the disk holds up an earlier append; not from store_append itself */
};

/* Records on their way into the log, encoded already. One per loop, used again and again. */
struct append_batch;
struct append_batch *append_batch_new(struct store *store);
void append_batch_free(struct append_batch *batch);

struct append_result {
    enum put_status status;
    int64_t pos;     /* of the record in the log */
    int64_t end_pos; /* behind it: durable once store_flushed_pos() >= end_pos */
    int64_t queue_offset;
    int64_t store_timestamp_ms;
    void *tag;
};

/* Would append_batch_add take the message, as far as size and properties go? To be asked where a
 * message may not be refused any more when those before it have been added. */
bool append_batch_takes(const struct append_batch *batch, const struct record *message);

/* Encode `message` into the batch (body copied, checksum computed).
 * message    queue_offset, physical_offset and store_timestamp_ms are ignored; topic and queue_id
 *            must be those of `queue`
 * glued      stay in one segment with the record added before, with the same store timestamp: the
 *            messages of one SEND_BATCH_MESSAGE
 * tag        comes back in the result
 * returns  OK | TOO_LARGE (or its properties hold 512 zero bytes in a row, or end with one, which
 * after a crash would look like a write that did not arrive; nothing added; answer
 * MESSAGE_ILLEGAL) */
enum status append_batch_add(struct append_batch *batch, struct queue *queue,
                             const struct record *message, bool glued, void *tag);

/* The same for a message of the log that goes into it again: to be delivered, or tried or asked
 * about again. maxMessageSize was asked when it first came, and is not now: with the name of
 * another topic and some properties more the record may be larger than it was, and what was
 * acknowledged must not be lost for that, nor hold up others. */
bool append_batch_takes_again(const struct record *message);
enum status append_batch_add_again(struct append_batch *batch, struct queue *queue,
                                   const struct record *message, bool glued, void *tag);

/* Whether the batch, until told otherwise, is one by which an old part of the log comes to be
 * deleted: it is taken on a disk that is too full for messages, too. */
void append_batch_makes_room(struct append_batch *batch, bool makes_room);
size_t append_batch_count(const struct append_batch *batch);
size_t append_batch_bytes(const struct append_batch *batch);

/* Append the batch under one hold of the log lock, normally by one pwritev, in the order added, and
 * wake dispatch and flush as needed. Results are valid until append_batch_clear. */
const struct append_result *store_append(struct store *store, struct append_batch *batch);

/* The same for those who must not wait for appends that the disk holds up: NULL, and nothing has
 * happened, when the log lock cannot be had within wait_ms. The write itself may take longer. */
const struct append_result *store_append_within(struct store *store, struct append_batch *batch,
                                                int64_t wait_ms);

/* The same on a loop, which calls store_dispatch_here for it soon: dispatch is not woken. */
const struct append_result *store_append_on_loop(struct store *store, struct append_batch *batch,
                                                 int64_t wait_ms);
/* Make what was appended readable, if that is quick and somebody waits; else the dispatch thread is
 * woken as needed. Calls on_arrival. Waits for nothing but the page cache. */
void store_dispatch_here(struct store *store);
/* The same without the attempt: the disk is slow. */
void store_dispatch_elsewhere(struct store *store);
void append_batch_clear(struct append_batch *batch);

/* --- a slave's log --- */

/* Take the next bytes of a master's log, in pieces as they come: they may begin and end inside a
 * record, hold the filler and what a file has behind it, and go over from one file into the next.
 * What is whole goes into the log, by one pwrite for each segment concerned; the begin of a record
 * is held in memory until the rest has come. So the log ends behind a record at every moment, as a
 * master's, and store_appended_pos is what a slave may report and where it has to go on after a
 * restart or a lost connection.
 *
 * Records are verified like those of a store that is opened (checkCRCOnRecover): what is damaged
 * does not get into the log.
 *
 * One thread. Must not be under way any more when store_stop is called.
 * pos      of the first byte: store_received_pos, or store_appended_pos, which forgets what is held
 * returns  OK (all taken)
 *          | INVALID (another position, and nothing happened; or a record that is larger than this
 *            slave takes, as CORRUPT)
 *          | CORRUPT (what comes at store_appended_pos is no record; what was whole before it is in
 *            the log, the rest is forgotten: ask for it again from there)
 *          | FULL, BUSY (no space, no descriptors; store_received_pos tells how much was taken. The
 *            store looks for space by itself; try again with what is left)
 *          | IO (writing has ended until the next start)
 *          | READ_ONLY (this is no slave) | CLOSED (the store is being stopped)
 *          In all cases but OK err says what, and the mend. */
MUST_CHECK enum status store_append_raw(struct store *store, int64_t pos, struct slice bytes,
                                        struct err *err);

/* Behind the last byte that store_append_raw took: the end of the log, and what is held. The thread
 * that appends. */
int64_t store_received_pos(const struct store *store);

/* Let the log of an empty slave begin at `pos`, where a file of the master's begins, because it
 * does not have what was before. The thread that appends; also while the store runs.
 * returns  OK | INVALID (not where a file begins, the log is not empty, or this is no slave)
 *          | FULL, BUSY (nothing happened) | IO; err says what */
MUST_CHECK enum status store_begin_at(struct store *store, int64_t pos, struct err *err);

/* Change the role of the store while it runs.
 * To a slave's: appends are refused from the return on.
 * To a master's: the begin of a record that store_append_raw holds is forgotten; dispatch is waited
 * for, then queue offsets go on where the queues end and appends are taken.
 * The thread that calls store_append_raw, or while that is not under way.
 * returns  OK (also when it has that role) | TIMEOUT (not all of the log is in the queues after
 *          patience_ms; nothing happened) */
MUST_CHECK enum status store_set_role(struct store *store, enum store_role role,
                                      int64_t patience_ms, struct err *err);

/* A record by which two logs can be told apart: no other log has one of that checksum at that
 * position. */
struct log_name {
    int64_t pos;     /* -1: there is no record to name */
    int64_t end_pos; /* behind the record */
    uint32_t crc;    /* CRC-32 of all its bytes */
};

/* Name the last record of the log; pos is -1 when the log has none. May read from disk.
 * returns  OK | IO (it cannot be read) */
MUST_CHECK enum status store_name_end(struct store *store, struct log_name *out);

/* Is the named record in this log? May read from disk.
 * returns  OK | NOT_FOUND (the log begins behind it, or ends before it: nothing can be said)
 *          | CORRUPT (something else stands there: the name is of another log) | IO */
MUST_CHECK enum status store_has_record(struct store *store, const struct log_name *name);

/* --- watermarks and state; any thread --- */

int64_t store_min_pos(const struct store *store);
int64_t store_appended_pos(const struct store *store); /* end of the log */
int64_t store_flushed_pos(const struct store *store);
int64_t store_dispatched_pos(const struct store *store);

/* Have everything appended so far made durable soon, however little it is; store_flushed_pos tells
 * when it is done. Any thread. */
void store_flush_soon(struct store *store);

/* The same, and wait for it. For threads that may wait for the disk.
 * returns  false: `pos` is not on disk after `patience_ms` */
bool store_wait_flushed(struct store *store, int64_t pos, int64_t patience_ms);

/* False when appends are refused; why (may be NULL) names disk, figure and mend. */
bool store_writable(const struct store *store, char *why, size_t why_bytes);

/* For how long the append that is under way, and the flush, have taken; 0 when none is. An append
 * writes to the page cache, which takes microseconds unless the disk is in trouble; a flush that
 * takes long tells of it early. Cheap. */
int64_t store_append_busy_ms(const struct store *store);
int64_t store_flush_busy_ms(const struct store *store);

struct store_disk {
    int commit_log_percent; /* -1: cannot be read */
    int queues_percent;
    int64_t total_bytes;
    int64_t free_bytes; /* of the commit log's file system */
};
struct store_disk store_disk(const struct store *store);

/* As 4.9.2 shows it: 0.75, or -1 when it cannot be read. */
static inline double store_disk_ratio(int percent)
{
    return percent < 0 ? -1 : percent / 100.0;
}

/* Let other limits hold from now on: those of `options` from file_reserved_hours to
 * clean_interval_ms; the rest of it is ignored. Any thread. */
void store_set_retention(struct store *store, const struct store_options *options);

/* The same for what one pull may carry: memory_bytes_hot and the limits of transfers. */
void store_set_pull_limits(struct store *store, const struct store_options *options);

/* Delete what has expired now and in the next rounds, whatever the hour, as 4.9.2's
 * executeDeleteFilesManually. Any thread; does not wait. */
void store_clean_now(struct store *store);

/* --- queues --- */

/* The queue of topic and id. Pointers stay valid until store_close, also when the topic is deleted
 * (the queue is then empty and starts again at 0).
 * create  false: NULL when there is none; true: NULL only for names that no directory can have
 *         (empty, over 127 bytes, with a slash, negative id) */
struct queue *store_queue(struct store *store, struct slice topic, int32_t queue_id, bool create);

struct slice queue_topic(const struct queue *queue);
int32_t queue_id(const struct queue *queue);
int64_t queue_min_offset(const struct queue *queue);
int64_t queue_max_offset(const struct queue *queue); /* readable: entries written by dispatch */

/* Destroy the files of every queue for which `doomed` says true. May wait on disk. */
void store_delete_queues(struct store *store, bool (*doomed)(void *ctx, struct slice topic),
                         void *ctx);

/* The same for queues that held messages, all of which have left the log by now, except those of
 * `keep` (CLEAN_EXPIRED_CONSUMEQUEUE). They start again at 0, as in 4.9.2. */
void store_delete_expired_queues(struct store *store, const struct slice *keep, size_t keep_count);

/* Ask for on_arrival, or no longer. Counts: each true needs one false. After setting it, look at
 * queue_max_offset once more: what arrived before is not reported. */
void queue_set_interest(struct queue *queue, bool interested);

/* The same for who can do with hearing of an arrival some milliseconds late, so that appends need
 * not wake dispatch for it. */
void queue_set_idle_interest(struct queue *queue, bool interested);

/* A pointer for the owner of the listener (the table of held pulls). */
void queue_set_context(struct queue *queue, void *context);
void *queue_context(const struct queue *queue);

/* First offset whose message was stored at or after... exactly 4.9.2's search: an exact hit, else
 * the nearer neighbour (QY-04). May read from disk. */
int64_t queue_offset_by_time(struct queue *queue, int64_t timestamp_ms);

/* Store time of the message at an offset, -1 when there is none. May read from disk. */
int64_t queue_store_time(struct queue *queue, int64_t queue_offset);

struct queue_entry {
    int64_t pos; /* -1: the message at that offset is lost */
    int32_t size;
    int64_t tags_code;
};

/* Read one entry. False outside [min, max), or when it cannot be read. May read from disk. */
bool queue_entry_at(struct queue *queue, int64_t queue_offset, struct queue_entry *out);

/* Whether queue_entry_at would not wait for the disk now. */
bool queue_entry_in_memory(struct queue *queue, int64_t queue_offset);

/* --- reading --- */

/* GetMessageStatus of 4.9.2; the names are the remarks of pull answers. */
enum get_status {
    GET_FOUND,
    GET_NO_MATCHED_MESSAGE,
    GET_MESSAGE_WAS_REMOVING,
    GET_OFFSET_FOUND_NULL,
    GET_OFFSET_OVERFLOW_BADLY,
    GET_OFFSET_OVERFLOW_ONE,
    GET_OFFSET_TOO_SMALL,
    GET_NO_MATCHED_LOGIC_QUEUE,
    GET_NO_MESSAGE_IN_QUEUE,
};
const char *get_status_name(enum get_status status);

/* Bytes of the log and the reference that keeps their segment mapped. */
struct log_range {
    const uint8_t *data;
    size_t size;
    void *segment; /* NULL: nothing is held */
};
void log_range_release(struct log_range *range);
/* Where the same bytes lie on disk. The descriptor is good until the range is released. */
void log_range_file(const struct log_range *range, int *fd, int64_t *offset);
/* The same for use as body_part.release: pass range->segment. */
void log_segment_release(void *segment);

/* True when a message with these tags is wanted. tags_code is the entry's. */
typedef bool (*tags_filter)(void *ctx, int64_t tags_code);

/* True when a message with this property string, which is in memory, is wanted. */
typedef bool (*properties_filter)(void *ctx, struct slice properties);

#define GET_MESSAGES_MAX 1024

struct get_result {
    enum get_status status;
    int64_t next_begin_offset;
    int64_t min_offset;
    int64_t max_offset;
    bool far_behind;  /* the last entry looked at lies deeper than memory_bytes_hot */
    int64_t last_pos; /* where its record lies; the end of the log when no entry was looked at */
    size_t bytes;
    int count;          /* messages */
    int32_t last_bytes; /* the record of the last one: the end of the last range */
    /* Ranges that hold the messages back to back; neighbours in the log are merged, so there are at
     * most `count`. The caller releases each. */
    struct log_range *ranges;
    int range_count;
};

struct get_request {
    struct queue *queue; /* may be NULL: NO_MATCHED_LOGIC_QUEUE */
    int64_t queue_offset;
    int max_messages;
    /* What is wanted; NULL: everything. They may be called on a thread of the store. Messages that
     * the first lets pass are looked at in the log for the second; a pull does that for a few
     * milliseconds where it must not wait, for half a second elsewhere, and then says how far it
     * has come. */
    tags_filter filter;
    void *filter_ctx;
    properties_filter properties_filter;
    void *properties_filter_ctx;
    /* Room for max_messages: the queue offset of each message that is found. NULL: not asked for.
     */
    int64_t *offsets;
};

/* Pull from a queue with 4.9.2's limits and corrections (PL-12 to PL-15), for threads that must not
 * wait: looks at nothing that is not in memory, as far as can be told. What is in memory in front
 * of it is served.
 * arena    takes the ranges' table
 * returns  false: the first thing it needs is on disk, *out is empty but for the queue's bounds;
 *          give the request to store_read_cold */
bool store_try_get(struct store *store, const struct get_request *request, struct arena *arena,
                   struct get_result *out);

/* Whether a reader that goes on from `pos` will have to wait for the disk: what lies ahead of it,
 * at some distances up to 64 MiB, is not all in memory. Waits for nothing. */
bool store_is_cold_ahead(struct store *store, int64_t pos);

/* store_try_get for threads that may wait for the disk. When it fails the answer is
 * OFFSET_FOUND_NULL at the same offset. */
void store_get(struct store *store, struct queue *queue, int64_t queue_offset, int max_messages,
               tags_filter filter, void *filter_ctx, struct arena *arena, struct get_result *out);

/* A pull on its way to the disk and back; embed it. It belongs to the store from store_read_cold
 * until `done`. */
struct cold_read {
    struct get_request request;
    uint64_t client; /* reads of one client wait for each other; those of others go in turn */
    /* Called once, on a thread of the store; must be quick. */
    void (*done)(struct cold_read *read);
    atomic_bool cancelled; /* set any time: nobody wants it any more, do not begin */

    /* From `done` on: OK (result; its ranges are the receiver's) | IO, BUSY (no descriptor left for
     * a file; again later) (err says what, for the client too) | CLOSED (cancelled, or the store
     * stops; nothing was read). */
    enum status status;
    struct get_result result;
    struct err err;
    struct arena arena; /* holds result.ranges' table; the owner's, initialized before */

    struct list in_lane; /* the store's */
};

/* Have a request served from disk: the result is complete, nothing has to be asked again, however
 * soon the bytes are evicted once more.
 * returns  OK | BUSY (COLD_READS_MAX wait already, many of them for this client) | CLOSED (the
 * threads do not run) */
MUST_CHECK enum status store_read_cold(struct store *store, struct cold_read *read);

struct store_cold {
    int64_t reads;         /* served by the cold readers */
    int64_t waiting;       /* now */
    int64_t read_bytes;    /* by any thread that asked for something cold; what was begun ahead of
                              them is not counted */
    int64_t kept_bytes;    /* brought in by either, in the page cache now unless evicted */
    int64_t dropped_bytes; /* taken out of the page cache again */
    int64_t failures;      /* reads that the disk refused */
};
struct store_cold store_cold(struct store *store);

/* Up to max_bytes of the log at `pos`, as they lie there: never over the end of a file, and not
 * beyond store_appended_pos. Waits for nothing: the bytes need not be in memory.
 * out      to be released; of size 0, when nothing is there yet
 * returns  OK | NOT_FOUND (before the log's begin or behind its end) */
enum status store_log_bytes(struct store *store, int64_t pos, size_t max_bytes,
                            struct log_range *out);

/* Whether a look at those bytes would not wait for the disk now, as far as can be told. */
bool store_log_in_memory(struct store *store, const struct log_range *range);

/* Have them in memory, so that a bad place on the disk is an error value and no signal, and old
 * files do not push out the end of the log. May wait for the disk.
 * returns  OK | IO (err names file, position, cause and mend) */
MUST_CHECK enum status store_load_log(struct store *store, const struct log_range *range,
                                      struct err *err);

/* The record at a log position, all of it in memory. May read from disk.
 * returns  OK | NOT_FOUND (outside the log, or no record starts there) | IO (it is, or may be,
 *          there, but cannot be read; the log says which file) */
enum status store_read_record(struct store *store, int64_t pos, struct log_range *out);

/* The same for threads that must not wait.
 * returns  as store_read_record | BUSY (on disk: let a thread that may wait read it) */
enum status store_try_read_record(struct store *store, int64_t pos, struct log_range *out);

/* Positions of messages with that key, by the index, newest first, unverified (hash only).
 * out       room for max_count
 * returns  how many; also the index's last update in *last_timestamp_ms and *last_pos */
int store_query_index(struct store *store, struct slice topic, struct slice key, int max_count,
                      int64_t begin_ms, int64_t end_ms, int64_t *out, int64_t *last_timestamp_ms,
                      int64_t *last_pos);

#endif
