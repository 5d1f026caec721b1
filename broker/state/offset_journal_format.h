/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of an offset journal (broker/state/offset_journal.h): blocks, one behind the other.
 * Pure: no file, no lock. Integers are big-endian.
 *
 *     0  magic 4       0x434D4F4A, "CMOJ"
 *     4  size 4        of the whole block
 *     8  checksum 4    CRC-32 & 0x7FFFFFFF of everything behind it in the block
 *    12  kind 4        1 begin, 2 changes, 3 snapshot
 *    16  generation 8  of the journal, the same in all its blocks
 *    24  sequence 8    larger than in the block before
 *    32  what the kind says
 *
 *     begin     version 4, content 12, content 12: the first block; the JSON file that was on disk
 *               then, and the one before that (its .bak; twice the same where that is not known)
 *     snapshot  content 12: the JSON file is about to be replaced by this one
 *     changes   log position 8, and to the end of the block changes
 *
 * A content is its bytes 8 (-1: there was no file) and its checksum 4, made as that of a block.
 * A change is kind 1, key size 2, key; then, for kind 1 (set), a count 4 and that many times queue
 * id 4, offset 8. Kind 2 (forget) takes away all that the key had.
 */
#ifndef BROKER_STATE_OFFSET_JOURNAL_FORMAT_H
#define BROKER_STATE_OFFSET_JOURNAL_FORMAT_H

#include "common/base/buf.h"
#include "common/base/status.h"

#define JOURNAL_VERSION 1
#define JOURNAL_HEADER_BYTES 32
#define JOURNAL_CHANGES_BYTES 40 /* in front of the first change */
#define JOURNAL_BEGIN_BYTES 60   /* a block of that kind */

/* Far above what one block is made of; a damaged size is found out before it is believed. */
#define JOURNAL_BLOCK_BYTES_MAX (8 * 1024 * 1024)

/* What tells one content of a JSON file from another. */
struct content_id {
    int64_t bytes; /* CONTENT_NONE: there is no file */
    uint32_t crc;
};

#define CONTENT_NONE (-1)

struct content_id content_id_none(void);
struct content_id content_id_of(struct slice text);
bool content_id_equal(struct content_id a, struct content_id b);

enum journal_kind {
    JOURNAL_BEGIN = 1,
    JOURNAL_CHANGES = 2,
    JOURNAL_SNAPSHOT = 3,
};

struct journal_block {
    enum journal_kind kind;
    uint64_t generation;
    uint64_t sequence;
    size_t size;
    struct content_id content; /* begin, snapshot */
    struct content_id before;  /* begin */
    int64_t log_pos;           /* changes: they count only when the log reaches this far */
    struct slice changes;      /* changes: to be walked; borrowed from the bytes */
};

/* The block that `bytes` start with. What is accepted is whole to its last change.
 * returns  OK | TRUNCATED (the bytes end inside it) | CORRUPT */
MUST_CHECK enum status journal_block_decode(struct slice bytes, struct journal_block *out);

struct journal_change {
    bool forget;
    struct slice key;
    struct slice queues; /* walked with journal_queue_next */
};

struct journal_queue {
    int32_t queue_id;
    int64_t offset;
};

/* The next change of a decoded block, the next queue of a change; false at the end. */
bool journal_change_next(struct slice *changes, struct journal_change *out);
bool journal_queue_next(struct slice *queues, struct journal_queue *out);

/* --- making one --- */

/* Empty the buffer and leave room for what stands in front of the changes. */
void journal_changes_open(struct buf *block);
void journal_put_forget(struct buf *block, struct slice key); /* at most 65535 bytes of key */
/* Begin to set queues of a key; journal_put_queue takes what this returns. */
size_t journal_put_key(struct buf *block, struct slice key);
void journal_put_queue(struct buf *block, size_t key_at, int32_t queue_id, int64_t offset);

/* Complete a block of changes. */
void journal_changes_seal(struct buf *block, uint64_t generation, uint64_t sequence,
                          int64_t log_pos);

/* The changes of a block that is being made, to be walked. */
struct slice journal_changes_of(const struct buf *block);

/* Append a whole block. */
void journal_begin_append(struct buf *out, uint64_t generation, uint64_t sequence,
                          struct content_id json, struct content_id before);
void journal_snapshot_append(struct buf *out, uint64_t generation, uint64_t sequence,
                             struct content_id next);

#endif
