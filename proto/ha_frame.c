/* SPDX-License-Identifier: Apache-2.0
 *
 * Heads by hand, control bodies by protobuf-c. A body decodes within a fixed piece of memory, as
 * many bytes of a peer may stand for more of ours; when it is used up the body is malformed.
 */
#include "proto/ha_frame.h"

#include "common/base/check.h"

#include "proto/repl.pb-c.h"

void ha_head_encode(int64_t pos, int32_t size, uint8_t out[HA_HEAD_BYTES])
{
    put_i64(out, pos);
    put_i32(out + 8, size);
}

static bool may_send(enum ha_sender sender, enum ha_control control)
{
    return control == HA_CONTROL_HELLO || sender == HA_FROM_MASTER;
}

enum status ha_head_decode(struct slice in, enum ha_sender sender, struct ha_head *out)
{
    if (in.size < HA_HEAD_BYTES)
        return STATUS_TRUNCATED;
    int64_t pos = get_i64(in.data);
    int32_t size = get_i32(in.data + 8);
    struct ha_head head = {HA_CONTROL_NONE, pos, size};
    if (size < 0)
        return STATUS_MALFORMED;
    if (pos >= 0) {
        if ((sender == HA_FROM_SLAVE && size != 0) || pos > INT64_MAX - size)
            return STATUS_MALFORMED;
    } else {
        if (pos < -HA_CONTROL_CHANGED || size > HA_CONTROL_BYTES_MAX)
            return STATUS_MALFORMED;
        head.control = (enum ha_control) - pos;
        head.pos = 0;
        if (!may_send(sender, head.control))
            return STATUS_MALFORMED;
    }
    *out = head;
    return STATUS_OK;
}

/* --- memory for the library --- */

struct piece {
    size_t used;
    _Alignas(16) uint8_t bytes[8192];
};

static void *piece_alloc(void *context, size_t size)
{
    struct piece *piece = context;
    size_t rounded = (size + 15) & ~(size_t)15;
    if (size > sizeof piece->bytes || rounded > sizeof piece->bytes - piece->used)
        return NULL;
    uint8_t *p = piece->bytes + piece->used;
    piece->used += rounded;
    return p;
}

static void piece_free(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

/* The message of that kind, in `piece`; NULL: it is none, or a large one. */
static const void *unpack(const ProtobufCMessageDescriptor *kind, struct slice body,
                          struct piece *piece)
{
    ProtobufCAllocator allocator = {piece_alloc, piece_free, piece};
    piece->used = 0;
    if (body.size > HA_CONTROL_BYTES_MAX)
        return NULL;
    return protobuf_c_message_unpack(kind, &allocator, body.size, body.data);
}

/* --- texts --- */

static ProtobufCBinaryData bytes_of_text(const char *text, size_t capacity)
{
    return (ProtobufCBinaryData){.len = strnlen(text, capacity - 1),
                                 .data = (uint8_t *)(uintptr_t)text};
}

/* A name is a C string of ours: nothing within it may end it. */
static bool copy_name(ProtobufCBinaryData name, char *out, size_t capacity)
{
    if (name.len >= capacity || (name.len > 0 && memchr(name.data, 0, name.len) != NULL))
        return false;
    if (name.len > 0)
        memcpy(out, name.data, name.len);
    out[name.len] = '\0';
    return true;
}

/* --- frames --- */

static size_t pack(enum ha_control kind, const ProtobufCMessage *message, uint8_t *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    CHECK(size <= HA_CONTROL_BYTES_MAX);
    ha_head_encode(-(int64_t)kind, (int32_t)size, out);
    return HA_HEAD_BYTES + protobuf_c_message_pack(message, out + HA_HEAD_BYTES);
}

size_t ha_hello_encode(const struct ha_hello *hello,
                       uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX])
{
    ReplicationHello message;
    replication_hello__init(&message);
    message.cluster_name = bytes_of_text(hello->cluster_name, sizeof hello->cluster_name);
    message.broker_name = bytes_of_text(hello->broker_name, sizeof hello->broker_name);
    message.broker_id = hello->broker_id;
    message.has_epoch = hello->epoch != 0;
    message.epoch = hello->epoch;
    message.has_boot_id = true;
    message.boot_id = hello->boot_id;
    message.min_pos = hello->min_pos;
    message.end_pos = hello->end_pos;
    message.segment_bytes = hello->segment_bytes;
    message.has_sync_flush = hello->sync_flush;
    message.sync_flush = hello->sync_flush;
    bool named = hello->last.end_pos > 0;
    message.has_last_pos = message.has_last_end_pos = message.has_last_crc = named;
    message.last_pos = hello->last.pos;
    message.last_end_pos = hello->last.end_pos;
    message.last_crc = hello->last.crc;
    message.has_store_id = message.has_begun_by_cluster = message.has_begun_by_broker =
        hello->store_id[0] != '\0';
    message.store_id = bytes_of_text(hello->store_id, sizeof hello->store_id);
    message.begun_by_cluster =
        bytes_of_text(hello->begun_by_cluster, sizeof hello->begun_by_cluster);
    message.begun_by_broker = bytes_of_text(hello->begun_by_broker, sizeof hello->begun_by_broker);
    return pack(HA_CONTROL_HELLO, &message.base, out);
}

size_t ha_refused_encode(const char *text, uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX])
{
    ReplicationRefused message;
    replication_refused__init(&message);
    message.text = bytes_of_text(text, HA_TEXT_BYTES);
    return pack(HA_CONTROL_REFUSED, &message.base, out);
}

size_t ha_changed_encode(uint32_t tables, uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX])
{
    ReplicationChanged message;
    replication_changed__init(&message);
    message.tables = tables;
    return pack(HA_CONTROL_CHANGED, &message.base, out);
}

/* --- bodies --- */

static bool is_sound(const ReplicationHello *m)
{
    if (m->min_pos < 0 || m->end_pos < m->min_pos || m->segment_bytes <= 0)
        return false;
    int last_fields = (m->has_last_pos != 0) + (m->has_last_end_pos != 0) + (m->has_last_crc != 0);
    if (last_fields == 0)
        return true;
    return last_fields == 3 && m->last_pos >= 0 && m->last_end_pos > m->last_pos &&
           m->last_end_pos <= m->end_pos && m->last_end_pos - m->last_pos <= m->segment_bytes;
}

enum status ha_hello_decode(struct slice body, struct ha_hello *out)
{
    struct piece piece;
    const ReplicationHello *m = unpack(&replication_hello__descriptor, body, &piece);
    if (m == NULL)
        return STATUS_MALFORMED;
    struct ha_hello hello = {
        .broker_id = m->broker_id,
        .epoch = m->epoch,
        .boot_id = m->boot_id,
        .min_pos = m->min_pos,
        .end_pos = m->end_pos,
        .segment_bytes = m->segment_bytes,
        .sync_flush = m->sync_flush,
        .last = {m->last_pos, m->last_end_pos, m->last_crc},
    };
    if (!is_sound(m) || !copy_name(m->cluster_name, hello.cluster_name, HA_NAME_BYTES) ||
        !copy_name(m->broker_name, hello.broker_name, HA_NAME_BYTES) ||
        !copy_name(m->store_id, hello.store_id, HA_STORE_ID_BYTES) ||
        !copy_name(m->begun_by_cluster, hello.begun_by_cluster, HA_NAME_BYTES) ||
        !copy_name(m->begun_by_broker, hello.begun_by_broker, HA_NAME_BYTES))
        return STATUS_INVALID;
    *out = hello;
    return STATUS_OK;
}

enum status ha_refused_decode(struct slice body, char out[HA_TEXT_BYTES])
{
    struct piece piece;
    const ReplicationRefused *m = unpack(&replication_refused__descriptor, body, &piece);
    if (m == NULL)
        return STATUS_MALFORMED;
    size_t size = m->text.len < HA_TEXT_BYTES - 1 ? m->text.len : HA_TEXT_BYTES - 1;
    for (size_t i = 0; i < size; i++)
        out[i] = m->text.data[i] >= ' ' && m->text.data[i] < 0x7F ? (char)m->text.data[i] : '?';
    out[size] = '\0';
    return STATUS_OK;
}

enum status ha_changed_decode(struct slice body, uint32_t *tables)
{
    struct piece piece;
    const ReplicationChanged *m = unpack(&replication_changed__descriptor, body, &piece);
    if (m == NULL)
        return STATUS_MALFORMED;
    *tables = m->tables;
    return STATUS_OK;
}
