/* SPDX-License-Identifier: Apache-2.0
 *
 * The message record. B and S are the bytes of the born host and the store host: 8 for IPv4, 20 for
 * IPv6 (bits 16 and 32 of sysFlag); each is an address and an int32 port.
 *
 *   offset      bytes  field
 *        0          4  total size
 *        4          4  magic
 *        8          4  body CRC: CRC-32 of the body as stored, & 0x7FFFFFFF
 *       12          4  queueId
 *       16          4  flag
 *       20          8  queue offset
 *       28          8  commit log offset of this record
 *       36          4  sysFlag
 *       40          8  bornTimestamp, ms
 *       48          B  bornHost
 *       48+B        8  storeTimestamp, ms
 *       56+B        S  storeHost
 *       56+B+S      4  reconsumeTimes
 *       60+B+S      8  prepared transaction offset
 *       68+B+S  4 + n  body length, body
 *       ...     1 + n  topic length (signed), topic
 *       ...     2 + n  properties length (signed), properties
 *
 * Total = 75 + B + S + body + topic + properties, and must come out exactly.
 *
 * A message of a batch body; 4.9.2 reads neither the size, the magic nor the CRC, nor do we:
 *
 *   int32 size | int32 magic | int32 CRC | int32 flag | int32 n, body | int16 n, properties
 */
#include "proto/record.h"

#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/base/limits.h"

#define BORN_HOST_AT 48
#define FIXED_BYTES 75
#define HOST_V4_BYTES 8
#define HOST_V6_BYTES 20
_Static_assert(RECORD_HEAD_BYTES_MAX == 72 + 2 * HOST_V6_BYTES, "up to the length of the body");
#define BATCH_FIXED_BYTES 22
#define BATCH_FLAG_AT 12
#define BATCH_BODY_AT 20

static size_t host_bytes(const struct host *host)
{
    DCHECK(host->ip_bytes == 4 || host->ip_bytes == 16);
    return host->ip_bytes == 16 ? HOST_V6_BYTES : HOST_V4_BYTES;
}

size_t record_size(const struct record *record)
{
    return FIXED_BYTES + host_bytes(&record->born_host) + host_bytes(&record->store_host) +
           record->body.size + record->topic.size + record->properties.size;
}

static uint8_t *write_host(uint8_t *to, const struct host *host)
{
    size_t bytes = host_bytes(host);
    memcpy(to, host->ip, bytes - 4);
    put_i32(to + bytes - 4, host->port);
    return to + bytes;
}

static uint8_t *write_bytes(uint8_t *to, struct slice bytes)
{
    if (bytes.size != 0)
        memcpy(to, bytes.data, bytes.size);
    return to + bytes.size;
}

enum status record_encode(const struct record *record, uint8_t *out)
{
    size_t size = record_size(record);
    int32_t sys_flag = record->sys_flag & ~(SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6);
    if (record->topic.size > TOPIC_BYTES_MAX || record->properties.size > PROPERTIES_BYTES_MAX ||
        record->body.size > INT32_MAX || size > INT32_MAX)
        return STATUS_TOO_LARGE;
    if (record->born_host.ip_bytes == 16)
        sys_flag |= SYS_FLAG_BORN_HOST_V6;
    if (record->store_host.ip_bytes == 16)
        sys_flag |= SYS_FLAG_STORE_HOST_V6;
    put_i32(out, (int32_t)size);
    put_u32(out + 4, RECORD_MAGIC);
    put_u32(out + 8, rocketmq_crc32(record->body));
    put_i32(out + 12, record->queue_id);
    put_i32(out + 16, record->flag);
    put_i64(out + RECORD_QUEUE_OFFSET_AT, record->queue_offset);
    put_i64(out + RECORD_PHYSICAL_OFFSET_AT, record->physical_offset);
    put_i32(out + 36, sys_flag);
    put_i64(out + 40, record->born_timestamp_ms);
    uint8_t *to = write_host(out + BORN_HOST_AT, &record->born_host);
    put_i64(to, record->store_timestamp_ms);
    to = write_host(to + 8, &record->store_host);
    put_i32(to, record->reconsume_times);
    put_i64(to + 4, record->prepared_transaction_offset);
    put_i32(to + 12, (int32_t)record->body.size);
    to = write_bytes(to + 16, record->body);
    *to = (uint8_t)record->topic.size;
    to = write_bytes(to + 1, record->topic);
    put_u16(to, (uint16_t)record->properties.size);
    (void)write_bytes(to + 2, record->properties);
    return STATUS_OK;
}

static const uint8_t *read_host(const uint8_t *from, bool is_v6, struct host *host)
{
    size_t bytes = is_v6 ? HOST_V6_BYTES : HOST_V4_BYTES;
    *host = (struct host){.ip_bytes = (uint8_t)(bytes - 4), .port = get_i32(from + bytes - 4)};
    memcpy(host->ip, from, bytes - 4);
    return from + bytes;
}

/* Read the size and the magic; what is not a whole record is told apart here. */
static enum status read_frame(struct slice in, struct record *out)
{
    if (in.size < RECORD_FILLER_BYTES)
        return STATUS_TRUNCATED;
    int32_t size = get_i32(in.data);
    uint32_t magic = get_u32(in.data + 4);
    out->size = size;
    if (magic == RECORD_FILLER_MAGIC)
        return size >= RECORD_FILLER_BYTES ? STATUS_NOT_FOUND : STATUS_CORRUPT;
    if (magic != RECORD_MAGIC || size < FIXED_BYTES + 2 * HOST_V4_BYTES)
        return STATUS_CORRUPT;
    return (size_t)size > in.size ? STATUS_TRUNCATED : STATUS_OK;
}

/* Take a part of `bytes` from [*from, end), leaving at least `rest` bytes behind it. */
static bool take(const uint8_t **from, const uint8_t *end, int32_t bytes, size_t rest,
                 struct slice *out)
{
    size_t left = (size_t)(end - *from);
    if (bytes < 0 || left < rest || (size_t)bytes > left - rest)
        return false;
    *out = slice_of(*from, (size_t)bytes);
    *from += bytes;
    return true;
}

enum status record_decode(struct slice in, enum record_check check, struct record *out)
{
    enum status status = read_frame(in, out);
    if (status != STATUS_OK)
        return status;
    const uint8_t *end = in.data + out->size;
    out->body_crc = get_u32(in.data + 8);
    out->queue_id = get_i32(in.data + 12);
    out->flag = get_i32(in.data + 16);
    out->queue_offset = get_i64(in.data + RECORD_QUEUE_OFFSET_AT);
    out->physical_offset = get_i64(in.data + RECORD_PHYSICAL_OFFSET_AT);
    out->sys_flag = get_i32(in.data + 36);
    out->born_timestamp_ms = get_i64(in.data + 40);
    bool born_v6 = (out->sys_flag & SYS_FLAG_BORN_HOST_V6) != 0;
    bool store_v6 = (out->sys_flag & SYS_FLAG_STORE_HOST_V6) != 0;
    if (out->size < FIXED_BYTES + (born_v6 ? HOST_V6_BYTES : HOST_V4_BYTES) +
                        (store_v6 ? HOST_V6_BYTES : HOST_V4_BYTES))
        return STATUS_CORRUPT;
    const uint8_t *at = read_host(in.data + BORN_HOST_AT, born_v6, &out->born_host);
    out->store_timestamp_ms = get_i64(at);
    at = read_host(at + 8, store_v6, &out->store_host);
    out->reconsume_times = get_i32(at);
    out->prepared_transaction_offset = get_i64(at + 4);
    int32_t body_bytes = get_i32(at + 12);
    at += 16;
    /* Behind the body: at least the two lengths. Behind the topic: at least one. */
    if (!take(&at, end, body_bytes, 3, &out->body))
        return STATUS_CORRUPT;
    int8_t topic_bytes = (int8_t)*at++;
    if (!take(&at, end, topic_bytes, 2, &out->topic))
        return STATUS_CORRUPT;
    int16_t properties_bytes = get_i16(at);
    at += 2;
    if (!take(&at, end, properties_bytes, 0, &out->properties) || at != end)
        return STATUS_CORRUPT;
    /* 4.9.2 does not look at the checksum of an empty body. */
    if (check == RECORD_CHECK_CRC && out->body.size != 0 &&
        rocketmq_crc32(out->body) != out->body_crc)
        return STATUS_CORRUPT;
    return STATUS_OK;
}

bool record_tail_at(struct slice head, int32_t size, size_t *tail_at)
{
    if (head.size < FIXED_BYTES + 2 * HOST_V4_BYTES)
        return false;
    int32_t sys_flag = get_i32(head.data + 36);
    bool born_v6 = (sys_flag & SYS_FLAG_BORN_HOST_V6) != 0;
    bool store_v6 = (sys_flag & SYS_FLAG_STORE_HOST_V6) != 0;
    size_t body_at = 72 + (born_v6 ? (size_t)HOST_V6_BYTES : (size_t)HOST_V4_BYTES) +
                     (store_v6 ? (size_t)HOST_V6_BYTES : (size_t)HOST_V4_BYTES);
    if (body_at > head.size)
        return false;
    int32_t body_bytes = get_i32(head.data + body_at - 4);
    *tail_at = body_at + (size_t)body_bytes;
    /* Behind it: at least two lengths, at most as much as they can say. */
    return body_bytes >= 0 && *tail_at + 3 <= (size_t)size &&
           (size_t)size - *tail_at <= 3 + TOPIC_BYTES_MAX + PROPERTIES_BYTES_MAX;
}

bool record_tail_properties(struct slice tail, struct slice *properties)
{
    struct slice topic;
    const uint8_t *at = tail.data + 1;
    const uint8_t *end = tail.data + tail.size;
    if (tail.size < 3 || !take(&at, end, (int8_t)tail.data[0], 2, &topic))
        return false;
    int16_t bytes = get_i16(at);
    at += 2;
    return take(&at, end, bytes, 0, properties) && at == end;
}

int32_t record_whole_at(struct slice in, int64_t pos)
{
    struct record record;
    bool whole = in.size > RECORD_PHYSICAL_OFFSET_AT + 8 && get_u32(in.data + 4) == RECORD_MAGIC &&
                 get_i64(in.data + RECORD_PHYSICAL_OFFSET_AT) == pos &&
                 record_decode(in, RECORD_CHECK_CRC, &record) == STATUS_OK;
    return whole ? record.size : 0;
}

enum status batch_next(struct slice batch, size_t *cursor, struct batch_message *out)
{
    if (*cursor == batch.size)
        return STATUS_NOT_FOUND;
    if (batch.size - *cursor < BATCH_FIXED_BYTES)
        return STATUS_MALFORMED;
    const uint8_t *at = batch.data + *cursor;
    const uint8_t *end = batch.data + batch.size;
    out->flag = get_i32(at + BATCH_FLAG_AT);
    int32_t body_bytes = get_i32(at + BATCH_BODY_AT - 4);
    at += BATCH_BODY_AT;
    if (!take(&at, end, body_bytes, 2, &out->body))
        return STATUS_MALFORMED;
    int16_t properties_bytes = get_i16(at);
    at += 2;
    if (!take(&at, end, properties_bytes, 0, &out->properties))
        return STATUS_MALFORMED;
    *cursor = (size_t)(at - batch.data);
    return STATUS_OK;
}
