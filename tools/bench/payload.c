/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates are encoded by proto/command with placeholders of the right length, which are then
 * looked up in the encoded bytes: this file knows nothing about either header codec except where
 * ROCKETMQ keeps the opaque (proto/command.c has the layout).
 *
 * UNIQ_KEY is 32 hex digits, as a client's: run, stream, sequence.
 */
#include "tools/bench/payload.h"

#include "common/base/check.h"
#include "proto/codes.h"
#include "proto/command.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#define FILLER_PERIOD_BYTES (1024 * 1024)
#define FILLER_STRIDE_BYTES 64
#define BATCH_ITEM_HEAD_BYTES 20 /* size, magic, crc, flag, body length */
#define BATCH_ITEM_FIXED_BYTES (BATCH_ITEM_HEAD_BYTES + 2)

#define UNIQUE_BYTES 32
#define UNIQUE_PLACEHOLDER "FEDCBA9876543210FEDCBA9876543210"
#define KEYS_PLACEHOLDER "0123456789ABCDEF0123456789ABCDEF"
#define BORN_DIGITS 13
#define BORN_PLACEHOLDER 1234567890123
#define BORN_PLACEHOLDER_TEXT "1234567890123"
#define OPAQUE_DIGITS 10
#define ROCKETMQ_OPAQUE_AT (FRAME_PREFIX_BYTES + 5)

static uint8_t filler[FILLER_PERIOD_BYTES + PAYLOAD_BYTES_MAX];

void payload_init(void)
{
    uint64_t state = 0x9e3779b97f4a7c15U;
    for (size_t i = 0; i + sizeof state <= sizeof filler; i += sizeof state) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(filler + i, &state, sizeof state);
    }
}

void payload_write(uint8_t *out, size_t bytes, const struct payload_mark *mark)
{
    put_u32(out, PAYLOAD_MAGIC);
    put_u32(out + 4, mark->run);
    put_u32(out + 8, mark->stream);
    put_u32(out + 12, 0);
    put_u64(out + 16, mark->sequence);
    put_u64(out + 24, mark->time_ns);
    size_t from = mark->sequence * FILLER_STRIDE_BYTES % FILLER_PERIOD_BYTES;
    memcpy(out + PAYLOAD_MARK_BYTES, filler + from, bytes - PAYLOAD_MARK_BYTES);
}

bool payload_read(struct slice body, struct payload_mark *mark)
{
    if (body.size < PAYLOAD_MARK_BYTES || get_u32(body.data) != PAYLOAD_MAGIC)
        return false;
    mark->run = get_u32(body.data + 4);
    mark->stream = get_u32(body.data + 8);
    mark->sequence = get_u64(body.data + 16);
    mark->time_ns = get_u64(body.data + 24);
    return true;
}

static void write_hex(uint8_t *out, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        out[i] = (uint8_t) "0123456789ABCDEF"[value & 15];
}

static void write_decimal(uint8_t *out, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value /= 10)
        out[i] = (uint8_t)('0' + value % 10);
}

static void write_unique(uint8_t *out, const struct payload_mark *mark)
{
    write_hex(out, mark->run, 8);
    write_hex(out + 8, mark->stream, 8);
    write_hex(out + 16, mark->sequence, 16);
}

/* Where `text` stands in `in`; 0 when it does not (it is never at the very start). */
static size_t place_of(const struct buf *in, const char *text)
{
    const uint8_t *at = memmem(in->data, in->size, text, strlen(text));
    return at == NULL ? 0 : (size_t)(at - in->data);
}

static void message_properties(const struct send_shape *shape, struct buf *out)
{
    if (shape->keys)
        properties_append(out, SLICE_LITERAL(PROPERTY_KEYS), SLICE_LITERAL(KEYS_PLACEHOLDER));
    if (!shape->no_unique)
        properties_append(out, SLICE_LITERAL(PROPERTY_UNIQ_KEY), SLICE_LITERAL(UNIQUE_PLACEHOLDER));
    properties_append(out, SLICE_LITERAL(PROPERTY_WAIT), SLICE_LITERAL("true"));
    if (shape->tags != NULL)
        properties_append(out, SLICE_LITERAL(PROPERTY_TAGS), slice_of_cstr(shape->tags));
}

static size_t body_bytes_of(const struct send_template *template)
{
    const struct send_shape *shape = template->shape;
    if (shape->batch == 1)
        return shape->body_bytes;
    return (size_t)shape->batch *
           (BATCH_ITEM_FIXED_BYTES + shape->body_bytes + template->properties.size);
}

static void encode_head(struct send_template *template, const char *topic, int queue_id)
{
    const struct send_shape *shape = template->shape;
    bool batch = shape->batch > 1;
    struct arena arena;
    arena_init(&arena, 4096);
    SendMessageRequestHeaderV2 header = SEND_MESSAGE_REQUEST_HEADER_V2__INIT;
    header.a = arena_cstr(&arena, slice_of_cstr(shape->group));
    header.b = arena_cstr(&arena, slice_of_cstr(topic));
    header.c = arena_cstr(&arena, SLICE_LITERAL("TBW102"));
    header.d = 4;
    header.e = queue_id;
    header.g = BORN_PLACEHOLDER;
    header.i = arena_cstr(&arena,
                          batch ? SLICE_LITERAL("WAIT\001true") : buf_slice(&template->properties));
    header.has_j = header.has_k = header.has_m = 1;
    header.m = batch;

    struct command command = {
        .code = batch ? REQUEST_SEND_BATCH_MESSAGE : REQUEST_SEND_MESSAGE_V2,
        .language = LANGUAGE_JAVA,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = (int32_t)PAYLOAD_OPAQUE_BASE,
    };
    ext_from_message(&header.base, &arena, &command.ext);
    enum status status =
        command_encode(shape->codec, &command, body_bytes_of(template), &template->head);
    CHECK(status == STATUS_OK);
    arena_release(&arena);
}

void send_template_init(struct send_template *template, const struct send_shape *shape,
                        const char *topic, int queue_id)
{
    memset(template, 0, sizeof *template);
    template->shape = shape;
    message_properties(shape, &template->properties);
    encode_head(template, topic, queue_id);
    const struct buf *marked = shape->batch == 1 ? &template->head : &template->properties;
    template->unique_at = place_of(marked, UNIQUE_PLACEHOLDER);
    template->keys_at = place_of(marked, KEYS_PLACEHOLDER);
    template->born_at = place_of(&template->head, BORN_PLACEHOLDER_TEXT);
    template->opaque_at = ROCKETMQ_OPAQUE_AT;
    if (shape->codec == CODEC_JSON)
        template->opaque_at =
            place_of(&template->head, "\"opaque\":1000000000") + strlen("\"opaque\":");
    CHECK((template->unique_at != 0) != shape->no_unique);
    CHECK(template->born_at != 0 && template->opaque_at != 0);
}

void send_template_release(struct send_template *template)
{
    buf_release(&template->head);
    buf_release(&template->properties);
}

size_t send_template_frame_bytes(const struct send_template *template)
{
    return template->head.size + body_bytes_of(template);
}

static void write_batch(const struct send_template *template, const struct payload_mark *first,
                        uint8_t *out)
{
    const struct send_shape *shape = template->shape;
    const struct buf *properties = &template->properties;
    size_t item_bytes = BATCH_ITEM_FIXED_BYTES + shape->body_bytes + properties->size;
    struct payload_mark mark = *first;
    for (int i = 0; i < shape->batch; i++, mark.sequence++, out += item_bytes) {
        put_u32(out, (uint32_t)item_bytes);
        memset(out + 4, 0, 12);
        put_u32(out + 16, (uint32_t)shape->body_bytes);
        payload_write(out + BATCH_ITEM_HEAD_BYTES, shape->body_bytes, &mark);
        uint8_t *tail = out + BATCH_ITEM_HEAD_BYTES + shape->body_bytes;
        put_u16(tail, (uint16_t)properties->size);
        memcpy(tail + 2, properties->data, properties->size);
        if (template->unique_at != 0)
            write_unique(tail + 2 + template->unique_at, &mark);
        if (template->keys_at != 0)
            write_unique(tail + 2 + template->keys_at, &mark);
    }
}

void send_template_write(const struct send_template *template, uint32_t opaque,
                         const struct payload_mark *mark, int64_t born_ms, uint8_t *out)
{
    memcpy(out, template->head.data, template->head.size);
    if (template->shape->codec == CODEC_JSON)
        write_decimal(out + template->opaque_at, opaque, OPAQUE_DIGITS);
    else
        put_u32(out + template->opaque_at, opaque);
    write_decimal(out + template->born_at, (uint64_t)born_ms, BORN_DIGITS);
    if (template->shape->batch > 1) {
        write_batch(template, mark, out + template->head.size);
        return;
    }
    if (template->unique_at != 0)
        write_unique(out + template->unique_at, mark);
    if (template->keys_at != 0)
        write_unique(out + template->keys_at, mark);
    payload_write(out + template->head.size, template->shape->body_bytes, mark);
}

void pull_append(const struct pull_shape *shape, uint32_t opaque, const char *group,
                 const char *topic, int queue_id, int64_t offset, struct arena *arena,
                 struct buf *out)
{
    enum { COMMIT_OFFSET = 1, SUSPEND = 2, SUBSCRIPTION = 4 };
    arena_reset(arena);
    PullMessageRequestHeader header = PULL_MESSAGE_REQUEST_HEADER__INIT;
    header.consumer_group = arena_cstr(arena, slice_of_cstr(group));
    header.topic = arena_cstr(arena, slice_of_cstr(topic));
    header.queue_id = queue_id;
    header.queue_offset = offset;
    header.max_msg_nums = shape->max_messages;
    header.sys_flag = SUBSCRIPTION;
    if (shape->suspend_ms > 0)
        header.sys_flag |= SUSPEND;
    if (shape->commit && offset > 0)
        header.sys_flag |= COMMIT_OFFSET;
    header.commit_offset = shape->commit ? offset : 0;
    header.suspend_timeout_millis = shape->suspend_ms;
    header.subscription = arena_cstr(arena, slice_of_cstr(shape->tags == NULL ? "*" : shape->tags));
    header.sub_version = 1;
    header.expression_type = arena_cstr(arena, SLICE_LITERAL("TAG"));
    struct command command = {
        .code = REQUEST_PULL_MESSAGE,
        .language = LANGUAGE_JAVA,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = (int32_t)opaque,
    };
    ext_from_message(&header.base, arena, &command.ext);
    enum status status = command_encode(shape->codec, &command, 0, out);
    CHECK(status == STATUS_OK);
}
