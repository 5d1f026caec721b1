/* SPDX-License-Identifier: Apache-2.0
 *
 * Verifying a store without opening it: one pass over the commit log, beside which the queues and
 * the index are followed, so that every byte is read once and memory grows with the number of
 * queues, never with that of messages.
 *
 *     every record          mark, structure, position, checksum of the body; its queue offset is
 * one more than that of the record before it in its queue every queue entry     position, size and
 * tags code are those of its record; no record without entry, no entry without record every index
 * entry     its record is there and has a key of that hash, time, chain, slot index headers times,
 * positions, number of slots in use checkpoint            names a record of this log; times that
 * messages have; sum of the queues config/ *.json        can be parsed
 *
 * Nothing is written or locked. A store that a broker is using is a moving target: its end is
 * looked up once, at the start, and what lies behind the checkpoint may not be there yet.
 */
#ifndef BROKER_STORE_VERIFY_H
#define BROKER_STORE_VERIFY_H

#include "broker/store/store_files.h"

struct verify_finding {
    bool damage;          /* false: a note: nothing is wrong, or the next start mends it */
    const char *kind;     /* "file", "segment", "record", "tail", "entry", "missing-entry", "index",
                             "checkpoint", "config" */
    const char *path;     /* "": none */
    int64_t at;           /* byte in that file, -1: all of it */
    int64_t pos;          /* in the commit log, -1: none */
    const char *topic;    /* "": none */
    int32_t queue_id;     /* -1: none */
    int64_t queue_offset; /* -1: none */
    const char *text;     /* what is wrong */
};

struct verify_options {
    const int64_t *delay_levels_ms; /* [0] is level 1 */
    int delay_level_count;          /* 0: not known; times of delivery are held for plausible */
    bool skip_index;
    void *ctx;
    /* Borrowed until it returns. */
    void (*on_finding)(void *ctx, const struct verify_finding *finding);
    void (*on_progress)(void *ctx, int64_t done_bytes, int64_t total_bytes); /* may be NULL */
};

struct verify_result {
    int64_t log_begin;
    int64_t log_end;
    int64_t records;
    int64_t queue_entries; /* that point to a record that is there */
    int64_t index_entries;
    int64_t damages;
    int64_t notes;
};

/* Verify all of it. Findings go to on_finding as they come; at most VERIFY_ALIKE_MAX alike for one
 * queue or index file, the rest is counted in one.
 * returns  OK (the store was read; the result says what is wrong) | INVALID (the index geometry is
 *          not known) | IO */
#define VERIFY_ALIKE_MAX 20
enum status verify_store(const struct store_files *files, const struct verify_options *options,
                         struct verify_result *result, struct err *err);

#endif
