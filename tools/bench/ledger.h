/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger of acknowledged messages: written while sending, compared after reading all back.
 * A message that was acknowledged and is not found is LOST; nothing excuses that.
 *
 * The file is a row of entries of 32 bytes, big-endian:
 *
 *     offset  size  field
 *          0     4  run        payload.h
 *          4     4  stream
 *          8     8  sequence
 *         16     4  queue id
 *         20     4  zero
 *         24     8  queue offset that the broker answered
 */
#ifndef TOOLS_BENCH_LEDGER_H
#define TOOLS_BENCH_LEDGER_H

#include "common/base/buf.h"
#include "common/base/map.h"
#include "common/base/status.h"
#include "tools/bench/payload.h"

#define LEDGER_ENTRY_BYTES 32

/* --- writing; one writer per thread, several may append to one file --- */

struct ledger_writer {
    int fd; /* -1: not open */
    struct buf pending;
};

enum status ledger_writer_open(struct ledger_writer *writer, const char *path, struct err *err);
void ledger_writer_add(struct ledger_writer *writer, const struct payload_mark *mark, int queue_id,
                       int64_t queue_offset);
/* Write what is pending and close. Aborts the program when the file cannot be written: a ledger
 * with holes proves nothing. */
void ledger_writer_close(struct ledger_writer *writer);

/* --- comparing; one thread --- */

struct ledger {
    struct map streams; /* run and stream -> struct ledger_stream */
    uint64_t foreign;   /* messages found that no stream of the file sent */
};

struct ledger_summary {
    uint64_t acknowledged;
    uint64_t lost;
    uint64_t duplicated;     /* found more than once */
    uint64_t moved;          /* found at another queue or offset than the broker answered */
    uint64_t unacknowledged; /* found though no answer had come */
    uint64_t foreign;
};

enum status ledger_load(struct ledger *ledger, const char *path, struct err *err);
void ledger_release(struct ledger *ledger);
void ledger_found(struct ledger *ledger, const struct payload_mark *mark, int queue_id,
                  int64_t queue_offset);
struct ledger_summary ledger_summary(const struct ledger *ledger);

#endif
