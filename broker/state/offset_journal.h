/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal beside one of the store's JSON files, which takes the changes of its table many times a
 * second, so that a crash does not cost what happened since the file was written. Used for
 * consumerOffset.json and delayOffset.json; 4.9.2 does not look at it.
 *
 * Beside config/consumerOffset.json lie consumerOffset.journal.0 and .1, by turns, and mostly only
 * one of them or none. A new one is begun before a snapshot of the table is taken, and the one
 * before it is removed when the snapshot has become the JSON file, durably.
 *
 * What a journal says counts only together with the JSON file that it belongs to. Each names by
 * size and checksum the file that was on disk when it was begun, the one before that, which is the
 * .bak, and every file that is about to take its place. When the file on disk is none of them, then
 * somebody else wrote it (a broker of Apache's, a person), and the journal is put aside.
 *
 * Threads: one appends; one saves the file and syncs, under the lock of the file
 * (docs/locks.md: config_file). They may be two.
 */
#ifndef BROKER_STATE_OFFSET_JOURNAL_H
#define BROKER_STATE_OFFSET_JOURNAL_H

#include "broker/state/offset_journal_format.h"
#include "common/sys/vfs.h"

struct offset_journal;

/* json_path  "DIR/NAME.json", copied; the vfs is borrowed */
struct offset_journal *offset_journal_new(const char *json_path, struct vfs *vfs);

/* The files stay. */
void offset_journal_free(struct offset_journal *journal);

/* Take the changes of one block, which counts when the log reaches log_pos.
 * returns  false: it does not; the journal is cut here */
typedef bool (*offset_journal_apply)(void *ctx, int64_t log_pos, struct slice changes);

/* Replay what belongs to the JSON file that has been loaded, cut off what is torn, and be ready to
 * append. What does not belong to it is put aside as NAME.journal.N.ignored, with a warning.
 * Start-up only, before anything else.
 * json      what was loaded
 * replayed  out: whether anything was applied
 * returns  OK | IO (a journal is there and cannot be read or cut) */
MUST_CHECK enum status offset_journal_load(struct offset_journal *journal, struct content_id json,
                                           offset_journal_apply apply, void *ctx, bool *replayed,
                                           struct err *err);

/* Write one block of changes (journal_changes_open), with one system call, not synced.
 * log_pos  see journal_block
 * returns  OK | FULL (also when the journal has reached its limit) | BUSY | IO: nothing of it will
 *          be replayed; to be tried again with what the table holds then */
MUST_CHECK enum status offset_journal_append(struct offset_journal *journal, struct buf *changes,
                                             int64_t log_pos);

/* Make durable what was appended; a journal that cannot be is replaced by the next save. Under the
 * file's lock, as the three below.
 * returns  OK | IO */
MUST_CHECK enum status offset_journal_sync(struct offset_journal *journal);

/* True when the JSON file should be written at once: the journal is long, or cannot be relied
 * upon. Any thread. */
bool offset_journal_is_due(struct offset_journal *journal);

/* The three steps of a save: before the table's snapshot is taken; when its text is known and
 * before the file is replaced; when the file has been replaced durably, or the table had not
 * changed since it was.
 * offset_journal_name  returns  OK | FULL | BUSY (do not replace the file now)
 *                      | IO (go on; no journal is kept until the file has been replaced) */
void offset_journal_begin(struct offset_journal *journal);
MUST_CHECK enum status offset_journal_name(struct offset_journal *journal, struct content_id next);
void offset_journal_replaced(struct offset_journal *journal);

#endif
