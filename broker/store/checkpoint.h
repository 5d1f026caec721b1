/* SPDX-License-Identifier: Apache-2.0
 *
 * The checkpoint file: how far the store is known to be durable. The format is pure.
 *
 *     offset  size  field
 *      0      8     store timestamp of the last message flushed to the commit log
 *      8      8     store timestamp of the last message whose queue entry is durable, or of the
 *                   first one in the index file that grows, if that is earlier
 *     16      8     end timestamp of the index when it was last synced
 *     24      8     zero
 *     32      8     magic "CometMQ2"                                     from here on: ours
 *     40      8     durable_pos: log and queue entries before it are on disk
 *     48      8     sum of the end offsets of all queues at durable_pos
 *     56      8     position of the last record before durable_pos, -1: there was none
 *     64      4     CRC-32 of that record: together they name the log that this is about
 *     68      8     digest of the queues' ends at durable_pos (queue_ends.h)
 *     76      4     CRC-32 over bytes 0 to 75, so that the rest is void once somebody else has
 *                   written the first three
 *
 * RocketMQ 4.9.2 reads and writes the first 24 of the file's 4096 bytes only.
 */
#ifndef BROKER_STORE_CHECKPOINT_H
#define BROKER_STORE_CHECKPOINT_H

#include "broker/store/queue_ends.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/sys/vfs.h"

#define CHECKPOINT_FILE_BYTES 4096
#define CHECKPOINT_USED_BYTES 80

struct checkpoint {
    int64_t log_timestamp_ms;
    int64_t queues_timestamp_ms;
    int64_t index_timestamp_ms;
    int64_t durable_pos; /* -1: not known */
    struct queue_ends queue_ends;
    int64_t last_pos;
    uint32_t last_crc;
};

#define CHECKPOINT_NONE ((struct checkpoint){.durable_pos = -1, .last_pos = -1})

void checkpoint_encode(const struct checkpoint *checkpoint, uint8_t out[CHECKPOINT_USED_BYTES]);

/* returns  OK | TRUNCATED (fewer than 24 bytes) */
enum status checkpoint_decode(struct slice file, struct checkpoint *out);

/* Read the file of the store `root`; CHECKPOINT_NONE when there is none or it is too short.
 * returns  OK | IO */
enum status checkpoint_load(struct vfs *vfs, const char *root, struct checkpoint *out,
                            struct err *err);

/* Write it in place, durably. */
enum status checkpoint_store(struct vfs *vfs, const char *root, const struct checkpoint *checkpoint,
                             struct err *err);

#endif
