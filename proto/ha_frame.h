/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of replication, in both directions and of both protocols. Pure.
 *
 * Protocol 1 is RocketMQ 4.9.2's (HAConnection, HAService.HAClient):
 *
 *     slave -> master   int64 report                         "I have everything before this
 * position" master -> slave   int64 pos | int32 size | body        bytes of the log; size 0: a
 * heartbeat
 *
 * Protocol 2 is spoken between brokers of this program on the same port. The slave asks for it with
 * the report -1, which a 4.9.2 master takes for no report at all. Frames of both directions:
 *
 *     pos >= 0   int64 pos | int32 size | body    from the master: as above, a heartbeat's pos is
 * the end of its log. From the slave: size 0, a report pos < 0    int64 -kind | int32 size | body
 * control: a message of proto/repl.proto
 */
#ifndef PROTO_HA_FRAME_H
#define PROTO_HA_FRAME_H

#include "common/base/bytes.h"
#include "common/base/status.h"

#define HA_REPORT_BYTES 8
#define HA_HEAD_BYTES 12
#define HA_ASK_FOR_HELLO (-1) /* the first report of a slave that would speak protocol 2 */

/* A log file is at most 2 GiB (mappedFileSizeCommitLog is a Java int), and a block lies in one. */
#define HA_BLOCK_BYTES_MAX 2147483647
/* Bodies of control frames: two names and some numbers, or a text. */
#define HA_CONTROL_BYTES_MAX 4096
#define HA_NAME_BYTES 256    /* with the NUL */
#define HA_STORE_ID_BYTES 40 /* the same */
#define HA_TEXT_BYTES 512    /* with the NUL */

enum ha_control {
    HA_CONTROL_NONE, /* log, heartbeat, report */
    HA_CONTROL_HELLO,
    HA_CONTROL_REFUSED,
    HA_CONTROL_CHANGED,
};

enum ha_sender { HA_FROM_MASTER, HA_FROM_SLAVE };

struct ha_head {
    enum ha_control control;
    int64_t pos;  /* not of a control frame */
    int32_t size; /* of the body */
};

void ha_head_encode(int64_t pos, int32_t size, uint8_t out[HA_HEAD_BYTES]);

/* The head at the start of `in`.
 * returns  OK | TRUNCATED (fewer than HA_HEAD_BYTES) | MALFORMED (nothing that `sender` may send)
 */
enum status ha_head_decode(struct slice in, enum ha_sender sender, struct ha_head *out);

/* A part of a log that two brokers can compare: a record, and the checksum of all its bytes. */
struct ha_name {
    int64_t pos;
    int64_t end_pos; /* 0: the log has no record */
    uint32_t crc;
};

struct ha_hello {
    char cluster_name[HA_NAME_BYTES];
    char broker_name[HA_NAME_BYTES];
    int64_t broker_id;
    int64_t epoch; /* 0: roles are set by hand */
    uint64_t boot_id;
    int64_t min_pos;
    int64_t end_pos;
    int64_t segment_bytes;
    bool sync_flush;
    struct ha_name last;              /* of a slave */
    char store_id[HA_STORE_ID_BYTES]; /* empty: an older broker, which does not tell */
    char begun_by_cluster[HA_NAME_BYTES];
    char begun_by_broker[HA_NAME_BYTES];
};

/* Whole frames, head and body.
 * returns  the size of the frame; names and texts that are too long are cut */
size_t ha_hello_encode(const struct ha_hello *hello,
                       uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX]);
size_t ha_refused_encode(const char *text, uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX]);
size_t ha_changed_encode(uint32_t tables, uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX]);

/* Bodies of control frames, of at most HA_CONTROL_BYTES_MAX.
 * returns  OK | MALFORMED | INVALID (the numbers contradict each other) */
enum status ha_hello_decode(struct slice body, struct ha_hello *out);
/* What is not printable is shown as '?': the text goes into a log. */
enum status ha_refused_decode(struct slice body, char out[HA_TEXT_BYTES]);
enum status ha_changed_decode(struct slice body, uint32_t *tables);

#endif
