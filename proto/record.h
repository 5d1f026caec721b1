/* SPDX-License-Identifier: Apache-2.0
 *
 * The message record: the bytes in the commit log, which are also the bytes of pull replies. Pure.
 * Layout and limits: see the table at the top of record.c.
 */
#ifndef PROTO_RECORD_H
#define PROTO_RECORD_H

#include "common/base/bytes.h"
#include "common/base/status.h"
#include "proto/message_id.h"

#define RECORD_MAGIC 0xDAA320A7U
#define RECORD_FILLER_MAGIC 0xCBD43194U
#define RECORD_FILLER_BYTES 8 /* what the filler writes: size of the rest of the file, magic */

/* Where the three fields lie that the store patches after encoding, and the flags that tell of
 * their hosts. */
#define RECORD_QUEUE_OFFSET_AT 20
#define RECORD_PHYSICAL_OFFSET_AT 28
#define RECORD_SYS_FLAG_AT 36
#define RECORD_STORE_TIMESTAMP_AT(born_host_bytes) (48 + (born_host_bytes))

#define SYS_FLAG_COMPRESSED 1
#define SYS_FLAG_MULTI_TAGS 2
#define SYS_FLAG_TRANSACTION_MASK 12
#define SYS_FLAG_TRANSACTION_PREPARED 4
#define SYS_FLAG_TRANSACTION_COMMIT 8
#define SYS_FLAG_TRANSACTION_ROLLBACK 12
#define SYS_FLAG_BORN_HOST_V6 16
#define SYS_FLAG_STORE_HOST_V6 32

/* A record, decoded or about to be encoded. Slices are borrowed. */
struct record {
    int32_t size; /* all of it; decode only */
    uint32_t body_crc;
    int32_t queue_id;
    int32_t flag;
    int64_t queue_offset;
    int64_t physical_offset;
    int32_t sys_flag; /* encode sets the two host bits from the hosts */
    int64_t born_timestamp_ms;
    struct host born_host;
    int64_t store_timestamp_ms;
    struct host store_host;
    int32_t reconsume_times;
    int64_t prepared_transaction_offset;
    struct slice body;
    struct slice topic;
    struct slice properties;
};

/* Bytes that record_encode will write. */
size_t record_size(const struct record *record);

/* Encode into `out`, which has room for record_size() bytes; body_crc is computed here.
 * returns  OK | TOO_LARGE (topic over 127, properties over 32767) */
enum status record_encode(const struct record *record, uint8_t *out);

enum record_check {
    RECORD_CHECK_FRAME, /* sizes and magic */
    RECORD_CHECK_CRC,   /* and the body's checksum */
};

/* Decode the record at the start of `in`.
 * returns  OK | TRUNCATED (the record claims more than `in` holds)
 *          | NOT_FOUND (a filler: out->size is the size it claims)
 *          | CORRUPT (magic, size or checksum) */
enum status record_decode(struct slice in, enum record_check check, struct record *out);

/* The most bytes at the front of a record that tell where its body ends. */
#define RECORD_HEAD_BYTES_MAX 112

/* Where the part behind the body begins (topic and properties), so that they can be looked at
 * without the body.
 * head     the first RECORD_HEAD_BYTES_MAX bytes of the record, or all of it
 * size     of the record
 * returns  false: there can be no such record */
bool record_tail_at(struct slice head, int32_t size, size_t *tail_at);

/* The properties, from the part behind the body to the record's end. False: it is damaged. */
bool record_tail_properties(struct slice tail, struct slice *properties);

/* The size of the whole record, checksum and all, that stands at the start of `in` and says that it
 * lies at `pos`; 0 when there is none. For those who look for records in what is damaged, byte by
 * byte: nearly all bytes are passed after a look at the mark. */
int32_t record_whole_at(struct slice in, int64_t pos);

/* One message of a SEND_BATCH_MESSAGE body. */
struct batch_message {
    int32_t flag;
    struct slice body;
    struct slice properties;
};

/* Walk a batch body: start with *cursor = 0.
 * returns  OK | NOT_FOUND (clean end) | MALFORMED */
enum status batch_next(struct slice batch, size_t *cursor, struct batch_message *out);

#endif
