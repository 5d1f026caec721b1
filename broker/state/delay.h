/* SPDX-License-Identifier: Apache-2.0
 *
 * Delayed messages: stored in SCHEDULE_TOPIC_XXXX, queue = level - 1, and appended again to their
 * real topic and queue when due. Progress is kept in config/delayOffset.json, with a journal
 * beside it. A step function on one thread of its own (the caller's); only on masters.
 */
#ifndef BROKER_STATE_DELAY_H
#define BROKER_STATE_DELAY_H

#include "broker/state/topic_stats.h"
#include "broker/store/store.h"
#include "common/base/arena.h"
#include "proto/body.pb-c.h"

#define DELAY_LEVELS_MAX 256

/* "1s 5s 10s ... 2h" -> milliseconds per level. Units s m h d, one space between pieces.
 * returns  OK | MALFORMED (err names the piece) | TOO_LARGE */
MUST_CHECK enum status delay_levels_parse(const char *text, int64_t out[DELAY_LEVELS_MAX],
                                          int *count, struct err *err);

struct delay;

/* Load the progress and get ready. Offsets outside their queues are brought into range by the first
 * step at which dispatch has passed what the log held now.
 * store      borrowed, as the levels are not: they are copied
 * Faults as topics_load. */
MUST_CHECK enum status delay_load(const char *path, struct vfs *vfs, struct store *store,
                                  const int64_t *levels_ms, int level_count, struct delay **out,
                                  struct err *err);
void delay_free(struct delay *delay);

/* Bring the loaded offsets into the range of their queues, as the first step would: a level whose
 * queue has lost its end would pass over what comes there before that step. On a master, before the
 * first append. */
void delay_settle(struct delay *delay);

/* Count what is delivered (RT-15). Before the first step; borrowed. */
void delay_set_stats(struct delay *delay, struct topic_stats *stats);

/* Deliver what is due, a bounded number per call, in order per level. One thread. A level whose
 * head cannot be read or appended tries again after 10 s; the others go on.
 * now_ms   wall clock
 * returns  milliseconds until the next step is useful, 0 when there is more to do now, at most 100
 *          (a new message may be due before those known) */
int64_t delay_step(struct delay *delay, int64_t now_ms);

/* Messages delivered so far; any thread. */
int64_t delay_delivered(const struct delay *delay);

/* The table of code 45 and of the file; any thread. */
void delay_wrap(const struct delay *delay, struct arena *arena, DelayOffsetSerializeWrapper *out);
/* Next offset of a level (1..count), 0 while it has no message; any thread. */
int64_t delay_offset(const struct delay *delay, int level);

/* The same, for a slave.
 * returns  how far its log must reach for that to be true: the end of the newest message that was
 *          delivered, or that the log held at the start */
int64_t delay_wrap_proof(const struct delay *delay, struct arena *arena,
                         DelayOffsetSerializeWrapper *out);

/* Where the first message lies in the log that is not delivered yet, or whose delivery is not on
 * disk; INT64_MAX: there is none. Any thread; may read from disk. */
int64_t delay_first_pos(struct delay *delay);

/* On a slave, which delivers nothing: have the progress of its master. One thread; never while
 * delay_step is called.
 * proof_pos  what delay_wrap_proof returned there; the log has reached it
 * returns    OK | MALFORMED (a level or an offset is impossible: nothing is changed) */
MUST_CHECK enum status delay_adopt(struct delay *delay, const DelayOffsetSerializeWrapper *body,
                                   int64_t proof_pos);

/* Write the file when something changed since the last time; before that, have the log flushed and
 * wait up to 2 s until what was delivered is on disk, for a progress that outlived a delivery would
 * lose messages. Worker threads only.
 * returns  OK | TIMEOUT (not flushed; nothing written) | IO | FULL | BUSY */
MUST_CHECK enum status delay_persist(struct delay *delay, struct err *err);

/* The journal beside the file: as offsets_journal_step, _is_due and _sync. */
MUST_CHECK enum status delay_journal_step(struct delay *delay, struct err *err);
bool delay_journal_is_due(const struct delay *delay);
MUST_CHECK enum status delay_journal_sync(struct delay *delay, struct err *err);

#endif
