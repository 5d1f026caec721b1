/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer offsets: for topic@group and queue id the offset to consume next, kept in
 * config/consumerOffset.json, with a journal beside it. Any thread; one lock (docs/locks.md:
 * offsets).
 */
#ifndef BROKER_STATE_OFFSETS_H
#define BROKER_STATE_OFFSETS_H

#include "common/base/arena.h"
#include "common/base/status.h"
#include "common/sys/vfs.h"
#include "proto/body.pb-c.h"

#include <stdbool.h>

struct offsets;

/* Faults as topics_load. */
MUST_CHECK enum status offsets_load(const char *path, struct vfs *vfs, struct offsets **out,
                                    struct err *err);
void offsets_free(struct offsets *offsets);

/* Stored unconditionally, also backwards and for unknown topics (QY-06).
 * returns  OK | INVALID (queue id below 0 or not below TOPIC_QUEUES_MAX, an empty or overlong name)
 *          | BUSY (OFFSET_KEYS_MAX or OFFSET_QUEUES_MAX reached) */
MUST_CHECK enum status offsets_commit(struct offsets *offsets, struct slice topic,
                                      struct slice group, int32_t queue_id, int64_t queue_offset);

/* -1 when nothing is stored. */
int64_t offsets_get(const struct offsets *offsets, struct slice topic, struct slice group,
                    int32_t queue_id);

/* Forget every offset of a group (DELETE_SUBSCRIPTIONGROUP with removeOffset). */
void offsets_remove_group(struct offsets *offsets, struct slice group);

/* Copy all offsets of a topic from one group to another, in place of those it had
 * (CLONE_GROUP_OFFSET). Without offsets of from_group nothing changes.
 * returns  OK | INVALID | BUSY as offsets_commit */
MUST_CHECK enum status offsets_clone(struct offsets *offsets, struct slice from_group,
                                     struct slice to_group, struct slice topic);

/* Groups that have offsets for a topic, and topics that have offsets of a group (a snapshot; no
 * lock is held). */
void offsets_groups_of(const struct offsets *offsets, struct slice topic,
                       void (*each)(void *ctx, struct slice group), void *ctx);
void offsets_topics_of(const struct offsets *offsets, struct slice group,
                       void (*each)(void *ctx, struct slice topic), void *ctx);

struct offset_key {
    struct slice group;
    struct slice topic;
};

/* Every topic and group that have offsets, sorted by group and topic, in `arena`; how many. */
size_t offsets_keys(const struct offsets *offsets, struct arena *arena, struct offset_key **keys);

/* The offsets of one topic and group as entries in `arena`; how many. */
size_t offsets_of(const struct offsets *offsets, struct slice topic, struct slice group,
                  struct arena *arena, IntOffsetEntry ***entries);

/* The table of code 43 and of the file; memory from `arena`. */
void offsets_wrap(const struct offsets *offsets, struct arena *arena,
                  ConsumerOffsetSerializeWrapper *out);
/* --- copies on slaves --- */

/* What a copy lacks that was made at the version `known`: the keys that have changed since, each
 * with all of its queues. All keys, and *whole is true, when keys have been removed since, or when
 * `known` is no version of this table, as -1 is: then the copy drops those that are not in it.
 * returns  the version now; it counts from 0 at each start */
int64_t offsets_wrap_since(const struct offsets *offsets, int64_t known, struct arena *arena,
                           ConsumerOffsetSerializeWrapper *out, bool *whole);
int64_t offsets_version(const struct offsets *offsets);

/* Take over what a master has: the queues of each key of `body` in place of those that the key had,
 * as 4.9.2's slaves do. Impossible names and queue ids are left out, with a warning.
 * whole    keys that are not in it go
 * returns  OK | BUSY (OFFSET_KEYS_MAX or OFFSET_QUEUES_MAX reached: some were not taken) */
MUST_CHECK enum status offsets_merge(struct offsets *offsets,
                                     const ConsumerOffsetSerializeWrapper *body, bool whole);

/* How many changes were made by others than offsets_merge: clients that committed here. */
uint64_t offsets_commits(const struct offsets *offsets);

/* Write the file when something changed since the last time. Worker threads only.
 * returns  OK | IO | FULL | BUSY */
MUST_CHECK enum status offsets_persist(struct offsets *offsets, struct err *err);

/* Write what changed since the last step into the journal, where a killed broker's successor finds
 * it. One thread, many times a second; does not wait for the disk as long as the page cache takes
 * what is written.
 * returns  OK | IO | FULL | BUSY; the next step tries again */
MUST_CHECK enum status offsets_journal_step(struct offsets *offsets, struct err *err);

/* Should offsets_persist be called at once? See offset_journal_is_due. Any thread. */
bool offsets_journal_is_due(const struct offsets *offsets);

/* Have what the steps have written on disk. May wait for it.
 * returns  OK | IO */
MUST_CHECK enum status offsets_journal_sync(struct offsets *offsets, struct err *err);

#endif
