/* SPDX-License-Identifier: Apache-2.0
 *
 * The consume queues' part of the verification: follows the records of the log and holds each
 * against the entry at its queue offset. Every entry is looked at once: when its record comes, in
 * the gap before the next record of the queue, or at the end.
 */
#ifndef BROKER_STORE_VERIFY_QUEUES_H
#define BROKER_STORE_VERIFY_QUEUES_H

#include "broker/store/queue_ends.h"
#include "broker/store/queue_view.h"
#include "broker/store/verify_internal.h"

struct queue_check;

struct verify_queues {
    struct verify *verify;
    struct map by_name;         /* topic, NUL, id -> struct queue_check */
    struct queue_check *recent; /* of the record before */
    size_t window_entries;
    struct queue_ends ends;  /* of all of them */
    int64_t last_damage_pos; /* beginning of the last damaged part of the log, -1 */
};

/* Find every queue's bounds. Before the end of the log is looked up.
 * returns  OK | IO */
enum status verify_queues_begin(struct verify_queues *queues, struct verify *verify,
                                struct err *err);
void verify_queues_release(struct verify_queues *queues);

/* The next record of the log. */
void verify_queues_record(struct verify_queues *queues, const struct record *record,
                          const struct record_keys *keys);

/* The log is at its end. */
void verify_queues_finish(struct verify_queues *queues);

#endif
