/* SPDX-License-Identifier: Apache-2.0
 *
 * The commit log: one endless sequence of records, cut into segments of equal size.
 *
 * Watermarks, each only growing (recovery aside):
 *     min_pos <= flushed_pos <= appended_pos        (bytes)
 * Bytes before appended_pos never change. They are read through the segments' mappings.
 *
 * Locks, in the order they may be taken:
 *     append_lock    one appender at a time: end of the log, queue offset counters, clock
 *     prepare_lock   the segment made ahead
 *     zero_lock      a slice behind the end that is being filled with zeros
 *     segments_lock  the table of segments; held for a look-up only
 */
#ifndef BROKER_STORE_COMMITLOG_H
#define BROKER_STORE_COMMITLOG_H

#include "broker/store/health.h"
#include "broker/store/log_paths.h"
#include "broker/store/segment.h"
#include "common/base/bytes.h"
#include "common/sys/clock.h"

#include <limits.h>
#include <pthread.h>

#define ZERO_GUARD_BYTES (1024 * 1024)

struct append_batch;

struct commitlog {
    struct vfs *vfs;
    const struct clock *clock;
    struct health *health;
    struct log_paths paths;
    int64_t segment_bytes;
    bool doubt_page_cache; /* the last run ended with a failed write or sync */

    pthread_mutex_t append_lock;
    struct segment *current;         /* takes the appends; borrowed from the table */
    int64_t last_timestamp_ms;       /* store timestamps never decrease */
    int64_t last_record_pos;         /* the newest record in the log, -1: not known, or none */
    int64_t garbage_end;             /* a failed write may have left bytes up to here */
    _Atomic int64_t append_since_ms; /* monotonic: the append under way began; 0: none is */
    _Atomic int64_t flush_since_ms;  /* the same for the flush */

    pthread_mutex_t prepare_lock;
    struct segment *next;     /* full size, empty, durable in its directory; NULL: none yet */
    _Atomic bool next_wanted; /* a hint for the keeper */
    _Atomic int full_percent; /* a folder that is fuller gets files only when all are */

    pthread_mutex_t zero_lock;
    _Atomic int64_t zeroing_pos; /* appends that reach it wait for zero_lock; INT64_MAX: none */

    pthread_mutex_t segments_lock;
    struct segment **segments; /* neighbours are segment_bytes apart */
    size_t segment_count;
    size_t segment_capacity;

    const char *removed_in; /* folder that commitlog_remove_first has still to sync, or NULL */

    _Atomic int64_t min_pos;
    _Atomic int64_t appended_pos;
    _Atomic int64_t appended_timestamp_ms; /* of the last record, at most as new as appended_pos */
    _Atomic int64_t flushed_pos;
    _Atomic int64_t flushed_timestamp_ms;
};

/* paths  taken over */
void commitlog_init(struct commitlog *log, struct log_paths paths, int64_t segment_bytes,
                    struct vfs *vfs, const struct clock *clock, struct health *health);

/* Open the segments that are there, in whichever of the folders. Refuses, with the mend, what would
 * hide or damage data: a wrong size, a gap, a file that is there twice.
 * known_pos  the log is known to have reached so far (-1: not known): a last file that begins
 * before it is never taken for one that was being made returns  OK | CORRUPT | IO */
enum status commitlog_load(struct commitlog *log, int64_t known_pos, struct err *err);

/* Make the first segment of an empty log, at position 0. */
enum status commitlog_begin(struct commitlog *log, struct err *err);

/* Where and why the log is cut. */
struct log_cut {
    int64_t end;
    const char *root; /* of the store: what is cut and not zero is kept there, see aside.h */
    const char *why;  /* for the log line; NULL: only zeros are expected behind `end` */
    bool look;        /* also look behind `end` in its own segment; false: zeros are known there */
    bool slave;       /* what is no whole record is no loss: the master sends it again */
    bool doubted;     /* the record at `end` looks whole, but is not believed to be */
};

/* Make cut->end the end of the log: the rest of its segment is made zero, so that what stood there
 * cannot be taken for records later, and segments behind it go. Nothing but zeros is lost by it.
 * Creates the segment that the end lies in when there is none. */
enum status commitlog_cut(struct commitlog *log, const struct log_cut *cut, struct err *err);

/* A record as a checkpoint names it: no other log has one of that checksum at that position. */
struct record_name {
    int64_t end_pos;  /* behind it */
    int64_t next_pos; /* the same, or behind the filler that follows */
    uint32_t crc;     /* CRC-32 of all its bytes */
};

/* Name the record at `pos`; false when no whole record of that position stands there. */
bool commitlog_name(struct commitlog *log, int64_t pos, struct record_name *out);

/* Close everything; a segment made ahead is deleted. Nobody may hold ranges any more. */
void commitlog_release(struct commitlog *log);

/* --- any thread --- */

/* The segment that holds `pos`, with a reference for the caller, or NULL. */
struct segment *commitlog_acquire(struct commitlog *log, int64_t pos);

/* `size` readable bytes at `pos` inside one segment, or NULL data. *segment is held for the caller
 * when there is data. */
struct slice commitlog_read(struct commitlog *log, int64_t pos, size_t size,
                            struct segment **segment);

/* Store timestamp of the record at `pos`, -1 when it is not in the log. */
int64_t commitlog_store_time(struct commitlog *log, int64_t pos);

/* Append a batch; see store_append. Fills every result of the batch. */
void commitlog_append(struct commitlog *log, struct append_batch *batch);

/* The same unless the log's lock cannot be had within wait_ms: false, nothing happened. */
bool commitlog_append_within(struct commitlog *log, struct append_batch *batch, int64_t wait_ms);

/* --- background threads --- */

/* Make the next segment ahead of need when there is none. */
enum status commitlog_prepare(struct commitlog *log, struct err *err);

/* A stretch behind the end of the log that nobody else writes to. */
struct zero_claim {
    int64_t pos;
    int64_t size;
    struct segment *segment; /* held */
};

/* Claim up to `size` bytes at or behind `pos` and ZERO_GUARD_BYTES behind the end of the log,
 * aligned to `size`, within one segment. An append that comes to claimed bytes waits until they are
 * released: not for long, as one slice is written. One claim at a time.
 * returns  false when no segment is there yet, or it is being made */
bool commitlog_claim_zeros(struct commitlog *log, int64_t pos, int64_t size,
                           struct zero_claim *claim);
void commitlog_release_zeros(struct commitlog *log, struct zero_claim *claim);

/* Make everything appended before the call durable and move flushed_pos. A failure ends writing for
 * good and is never tried again: after a failed fdatasync the kernel may have dropped the pages.
 * One thread at a time. */
enum status commitlog_flush(struct commitlog *log);

/* Add the segment behind the last one to the table, which takes the reference. */
void commitlog_install(struct commitlog *log, struct segment *segment);

/* Delete the oldest segment; never the last one. One thread at a time; not when writing has failed.
 * returns  OK | NOT_FOUND (there is none to delete) | IO (its file cannot be deleted, or the last
 *          deletion is not durable yet: it stays in the log, or the next start would find a gap) */
enum status commitlog_remove_first(struct commitlog *log);

/* The file of the oldest segment; false when it is the last one. */
bool commitlog_first_path(struct commitlog *log, char path[PATH_MAX]);

/* Base of the oldest segment, and how many there are. */
size_t commitlog_segments(struct commitlog *log, int64_t *first_base);

#endif
