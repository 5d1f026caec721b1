/* SPDX-License-Identifier: Apache-2.0
 *
 * The index's part of the verification: follows the records of the log and holds each against the
 * entries at its position, which come in the log's order. Reads each file from front to back; the
 * chains are followed by remembering the newest entry of each slot (4 bytes a slot, for one file at
 * a time).
 */
#ifndef BROKER_STORE_VERIFY_INDEX_H
#define BROKER_STORE_VERIFY_INDEX_H

#include "broker/store/verify_internal.h"

struct index_check;

struct verify_index {
    struct verify *verify;
    struct index_check *checks; /* one for each file, in order */
    size_t count;
    size_t current;
    int64_t unindexed; /* records with keys that no file has */
    int64_t unindexed_pos;
    int64_t unindexed_last_pos;
};

/* Read the headers. Before the end of the log is looked up.
 * returns  OK | IO */
enum status verify_index_begin(struct verify_index *index, struct verify *verify, struct err *err);
void verify_index_release(struct verify_index *index);

/* The next record of the log. */
void verify_index_record(struct verify_index *index, const struct record *record,
                         const struct record_keys *keys);

/* The log is at its end. */
void verify_index_finish(struct verify_index *index);

#endif
