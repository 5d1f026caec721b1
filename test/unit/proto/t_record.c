/* SPDX-License-Identifier: Apache-2.0
 *
 * Records are byte for byte those of Apache's 4.9.2: each golden record (test/data/messages.tsv,
 * written by a real broker) is decoded, compared field by field and encoded again. Damaged and cut
 * records are told apart as record.h promises.
 */
#include "proto/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/crc32.h"
#include "common/base/limits.h"
#include "proto/properties.h"
#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

#include <stdlib.h>

#define CRC_AT 8
#define SYS_FLAG_AT 36

static const char table[] = "test/data/messages.tsv";

/* A cell with each \u00XX turned into that byte. */
static struct slice unescaped(struct tsv *tsv, struct slice cell)
{
    uint8_t *text = arena_alloc(&tsv->arena, cell.size + 1);
    size_t size = 0;
    while (cell.size > 0) {
        bool escaped = slice_starts_with(cell, SLICE_LITERAL("\\u00"));
        if (escaped)
            text[size++] = hex_bytes(&tsv->arena, slice_of(cell.data + 4, 2)).data[0];
        else
            text[size++] = cell.data[0];
        cell = slice_from(cell, escaped ? 6 : 1);
    }
    return slice_of(text, size);
}

static bool is_filler(const struct tsv *tsv, size_t row)
{
    return slice_starts_with(tsv_cell(tsv, row, "id"), SLICE_LITERAL("blank"));
}

static void assert_host(const struct host *host, struct slice expected)
{
    char text[HOST_TEXT_BYTES];
    host_format(host, text);
    assert_true(slice_is(expected, text));
}

static void assert_row(struct tsv *tsv, size_t row, const struct record *record)
{
    struct slice tags = SLICE_EMPTY;
    struct slice keys = SLICE_EMPTY;
    assert_int_equal(record->size, tsv_number(tsv, row, "size"));
    assert_int_equal(record->queue_id, tsv_number(tsv, row, "queueId"));
    assert_int_equal(record->queue_offset, tsv_number(tsv, row, "queueOffset"));
    assert_int_equal(record->physical_offset, tsv_number(tsv, row, "commitLogOffset"));
    assert_int_equal(record->sys_flag, tsv_number(tsv, row, "sysFlag"));
    assert_int_equal(record->flag, tsv_number(tsv, row, "flag"));
    assert_int_equal(record->born_timestamp_ms, tsv_number(tsv, row, "bornTimestamp"));
    assert_int_equal(record->store_timestamp_ms, tsv_number(tsv, row, "storeTimestamp"));
    assert_int_equal(record->reconsume_times, tsv_number(tsv, row, "reconsumeTimes"));
    assert_int_equal(record->body_crc, tsv_number(tsv, row, "bodyCrc"));
    assert_int_equal(record->prepared_transaction_offset,
                     tsv_number(tsv, row, "preparedTransactionOffset"));
    assert_host(&record->born_host, tsv_cell(tsv, row, "bornHost"));
    assert_host(&record->store_host, tsv_cell(tsv, row, "storeHost"));
    assert_true(slice_equal(record->topic, tsv_cell(tsv, row, "topic")));
    assert_true(slice_equal(record->properties, unescaped(tsv, tsv_cell(tsv, row, "properties"))));
    (void)properties_find(record->properties, SLICE_LITERAL(PROPERTY_TAGS), &tags);
    (void)properties_find(record->properties, SLICE_LITERAL(PROPERTY_KEYS), &keys);
    assert_true(slice_equal(tags, unescaped(tsv, tsv_cell(tsv, row, "tags"))));
    assert_true(slice_equal(keys, tsv_cell(tsv, row, "keys")));
    /* In the delay queues the code is a time. */
    if (!slice_starts_with(record->topic, SLICE_LITERAL("SCHEDULE_TOPIC")) &&
        tsv_cell(tsv, row, "cqTagsCode").size != 0)
        assert_int_equal(tags_code(tags), tsv_number(tsv, row, "cqTagsCode"));
}

static void golden_records(void **state)
{
    (void)state;
    struct tsv tsv;
    tsv_load(&tsv, table);
    size_t records = 0;
    for (size_t row = 0; row < tsv.row_count; row++) {
        struct slice bytes = hex_bytes(&tsv.arena, tsv_cell(&tsv, row, "record_hex"));
        struct record record;
        if (!is_filler(&tsv, row)) {
            assert_int_equal(record_decode(bytes, RECORD_CHECK_CRC, &record), STATUS_OK);
            assert_row(&tsv, row, &record);
            assert_int_equal(record_size(&record), bytes.size);
            uint8_t *again = malloc(bytes.size);
            record.sys_flag ^= SYS_FLAG_BORN_HOST_V6; /* encode sets them from the hosts */
            assert_int_equal(record_encode(&record, again), STATUS_OK);
            assert_memory_equal(again, bytes.data, bytes.size);
            free(again);
            records++;
        }
    }
    assert_int_equal(records, 56);
    tsv_release(&tsv);
}

static void golden_fillers(void **state)
{
    (void)state;
    struct tsv tsv;
    tsv_load(&tsv, table);
    size_t fillers = 0;
    for (size_t row = 0; row < tsv.row_count; row++) {
        struct slice bytes = hex_bytes(&tsv.arena, tsv_cell(&tsv, row, "record_hex"));
        struct record record;
        if (is_filler(&tsv, row)) {
            assert_int_equal(record_decode(bytes, RECORD_CHECK_CRC, &record), STATUS_NOT_FOUND);
            assert_int_equal(record.size, tsv_number(&tsv, row, "size"));
            uint8_t damaged[8];
            memcpy(damaged, bytes.data, sizeof damaged);
            put_i32(damaged, 7);
            assert_int_equal(
                record_decode(slice_of(damaged, sizeof damaged), RECORD_CHECK_CRC, &record),
                STATUS_CORRUPT);
            fillers++;
        }
    }
    assert_int_equal(fillers, 2);
    tsv_release(&tsv);
}

/* The golden record of the row called `id`, in memory of its own. */
static struct buf golden(const char *id)
{
    struct tsv tsv;
    struct buf bytes = BUF_EMPTY;
    tsv_load(&tsv, table);
    for (size_t row = 0; row < tsv.row_count; row++)
        if (slice_is(tsv_cell(&tsv, row, "id"), id))
            buf_append_slice(&bytes, hex_bytes(&tsv.arena, tsv_cell(&tsv, row, "record_hex")));
    assert_true(bytes.size > 0);
    tsv_release(&tsv);
    return bytes;
}

static void cut_anywhere_is_truncated(void **state)
{
    (void)state;
    static const char *const ids[] = {"raw.send-v2", "v6.both", "plain.tags-unicode.1"};
    for (size_t n = 0; n < 3; n++) {
        struct buf bytes = golden(ids[n]);
        struct record record;
        for (size_t size = 0; size < bytes.size; size++) {
            /* An own block, so that reading beyond it is seen by the address sanitizer. */
            uint8_t *part = malloc(size + 1);
            memcpy(part, bytes.data, size);
            assert_int_equal(record_decode(slice_of(part, size), RECORD_CHECK_CRC, &record),
                             STATUS_TRUNCATED);
            free(part);
        }
        buf_append(&bytes, "more", 4);
        assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_CRC, &record), STATUS_OK);
        buf_release(&bytes);
    }
}

static void any_changed_body_byte_is_found(void **state)
{
    (void)state;
    struct buf bytes = golden("raw.send-v2");
    struct record record;
    assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_CRC, &record), STATUS_OK);
    size_t body_at = (size_t)(record.body.data - bytes.data);
    size_t body_bytes = record.body.size;
    assert_true(body_bytes > 0);
    for (size_t i = 0; i < body_bytes; i++) {
        bytes.data[body_at + i] ^= 0x10;
        assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_CRC, &record),
                         STATUS_CORRUPT);
        assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_FRAME, &record), STATUS_OK);
        bytes.data[body_at + i] ^= 0x10;
    }
    bytes.data[CRC_AT + 3] ^= 1;
    assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_CRC, &record), STATUS_CORRUPT);
    buf_release(&bytes);
}

/* For a search: whole, and of that position. */
static void whole_at_its_position(void **state)
{
    (void)state;
    struct record record = {.physical_offset = 4711,
                            .born_host = {.ip_bytes = 4},
                            .store_host = {.ip_bytes = 4},
                            .body = SLICE_LITERAL("body"),
                            .topic = SLICE_LITERAL("T"),
                            .properties = SLICE_LITERAL("a\001b")};
    uint8_t bytes[300] = {0};
    int32_t size = (int32_t)record_size(&record);
    assert_int_equal(record_encode(&record, bytes), STATUS_OK);
    put_i64(bytes + RECORD_PHYSICAL_OFFSET_AT, 4711);
    struct slice in = slice_of(bytes, sizeof bytes);
    assert_int_equal(record_whole_at(in, 4711), size);
    assert_int_equal(record_whole_at(in, 4712), 0);
    assert_int_equal(record_whole_at(slice_from(in, 1), 4711), 0);
    for (size_t cut = 0; cut < (size_t)size; cut++)
        assert_int_equal(record_whole_at(slice_of(bytes, cut), 4711), 0);
    bytes[CRC_AT] ^= 1;
    assert_int_equal(record_whole_at(in, 4711), 0);
}

static void wrong_frames_are_corrupt(void **state)
{
    (void)state;
    struct buf bytes = golden("raw.send-v2");
    struct record record;
    int32_t size = (int32_t)bytes.size;
    static const uint8_t zeros[100] = {0};
    assert_int_equal(record_decode(slice_of(zeros, sizeof zeros), RECORD_CHECK_FRAME, &record),
                     STATUS_CORRUPT);
    static const int32_t wrong_sizes[] = {INT32_MIN, -1, 0, 8, 90};
    for (size_t i = 0; i < sizeof wrong_sizes / sizeof wrong_sizes[0]; i++) {
        put_i32(bytes.data, wrong_sizes[i]);
        assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_FRAME, &record),
                         STATUS_CORRUPT);
    }
    put_i32(bytes.data, INT32_MAX);
    assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_FRAME, &record),
                     STATUS_TRUNCATED);
    buf_append_byte(&bytes, 0);
    for (int32_t claimed = 91; claimed <= size + 1; claimed++) {
        put_i32(bytes.data, claimed);
        assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_FRAME, &record),
                         claimed == size ? STATUS_OK : STATUS_CORRUPT);
    }
    put_i32(bytes.data, size);
    put_i32(bytes.data + SYS_FLAG_AT, SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6);
    assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_FRAME, &record), STATUS_CORRUPT);
    buf_release(&bytes);
}

/* Each of the three lengths, in turn, with every value that the record could hold and some that it
 * could not: only the true one is accepted, and nothing behind the record is read. */
static void wrong_lengths_are_corrupt(void **state)
{
    (void)state;
    struct buf bytes = golden("v6.both");
    struct record record;
    assert_int_equal(record_decode(buf_slice(&bytes), RECORD_CHECK_FRAME, &record), STATUS_OK);
    size_t body_at = (size_t)(record.body.data - bytes.data);
    size_t topic_at = (size_t)(record.topic.data - bytes.data);
    size_t properties_at = (size_t)(record.properties.data - bytes.data);
    uint8_t *own = malloc(bytes.size);
    for (int32_t length = -300; length <= 300; length++) {
        memcpy(own, bytes.data, bytes.size);
        put_i32(own + body_at - 4, length);
        assert_int_equal(record_decode(slice_of(own, bytes.size), RECORD_CHECK_FRAME, &record),
                         (size_t)length + body_at == topic_at - 1 ? STATUS_OK : STATUS_CORRUPT);
        memcpy(own, bytes.data, bytes.size);
        own[topic_at - 1] = (uint8_t)length;
        assert_int_equal(record_decode(slice_of(own, bytes.size), RECORD_CHECK_FRAME, &record),
                         own[topic_at - 1] + topic_at == properties_at - 2 ? STATUS_OK
                                                                           : STATUS_CORRUPT);
        memcpy(own, bytes.data, bytes.size);
        put_i16(own + properties_at - 2, (int16_t)length);
        assert_int_equal(record_decode(slice_of(own, bytes.size), RECORD_CHECK_FRAME, &record),
                         (size_t)length + properties_at == bytes.size ? STATUS_OK : STATUS_CORRUPT);
    }
    free(own);
    buf_release(&bytes);
}

static void limits_of_the_length_fields(void **state)
{
    (void)state;
    static const uint8_t text[PROPERTIES_BYTES_MAX + 1] = {'a'};
    struct record record = {.born_host = {.ip_bytes = 4}, .store_host = {.ip_bytes = 4}};
    struct record again;
    record.topic = slice_of(text, TOPIC_BYTES_MAX);
    record.properties = slice_of(text, PROPERTIES_BYTES_MAX);
    uint8_t *out = malloc(record_size(&record) + 2);
    assert_int_equal(record_encode(&record, out), STATUS_OK);
    assert_int_equal(record_decode(slice_of(out, record_size(&record)), RECORD_CHECK_CRC, &again),
                     STATUS_OK);
    assert_int_equal(again.topic.size, TOPIC_BYTES_MAX);
    assert_int_equal(again.properties.size, PROPERTIES_BYTES_MAX);
    record.topic.size++;
    assert_int_equal(record_encode(&record, out), STATUS_TOO_LARGE);
    record.topic.size--;
    record.properties.size++;
    assert_int_equal(record_encode(&record, out), STATUS_TOO_LARGE);
    free(out);
}

static struct slice random_slice(struct random *random, uint8_t *room, size_t bytes_max)
{
    size_t size = random_below(random, (uint32_t)bytes_max + 1);
    for (size_t i = 0; i < size; i++)
        room[i] = (uint8_t)random_u64(random);
    return slice_of(room, size);
}

static struct host random_host(struct random *random)
{
    struct host host = {.ip_bytes = random_below(random, 2) == 0 ? 4 : 16,
                        .port = (int32_t)random_u64(random)};
    for (size_t i = 0; i < host.ip_bytes; i++)
        host.ip[i] = (uint8_t)random_u64(random);
    return host;
}

static void any_record_comes_back(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "any_record_comes_back");
    static uint8_t room[3][4096];
    static uint8_t out[16384];
    for (int i = 0; i < 2000; i++) {
        struct record record = {.queue_id = (int32_t)random_u64(&random),
                                .flag = (int32_t)random_u64(&random),
                                .queue_offset = (int64_t)random_u64(&random),
                                .physical_offset = (int64_t)random_u64(&random),
                                .sys_flag = (int32_t)random_u64(&random),
                                .born_timestamp_ms = (int64_t)random_u64(&random),
                                .born_host = random_host(&random),
                                .store_timestamp_ms = (int64_t)random_u64(&random),
                                .store_host = random_host(&random),
                                .reconsume_times = (int32_t)random_u64(&random),
                                .prepared_transaction_offset = (int64_t)random_u64(&random)};
        struct record got;
        record.body = random_slice(&random, room[0], 4096);
        record.topic = random_slice(&random, room[1], TOPIC_BYTES_MAX);
        record.properties = random_slice(&random, room[2], 4096);
        assert_int_equal(record_encode(&record, out), STATUS_OK);
        assert_int_equal(record_decode(slice_of(out, sizeof out), RECORD_CHECK_CRC, &got),
                         STATUS_OK);
        assert_int_equal(got.size, record_size(&record));
        assert_int_equal(got.body_crc, rocketmq_crc32(record.body));
        assert_int_equal(got.queue_id, record.queue_id);
        assert_int_equal(got.flag, record.flag);
        assert_int_equal(got.queue_offset, record.queue_offset);
        assert_int_equal(got.physical_offset, record.physical_offset);
        assert_int_equal(got.sys_flag & ~48, record.sys_flag & ~48);
        assert_int_equal((got.sys_flag & 16) != 0, record.born_host.ip_bytes == 16);
        assert_int_equal((got.sys_flag & 32) != 0, record.store_host.ip_bytes == 16);
        assert_int_equal(got.born_timestamp_ms, record.born_timestamp_ms);
        assert_int_equal(got.store_timestamp_ms, record.store_timestamp_ms);
        assert_int_equal(got.born_host.port, record.born_host.port);
        assert_memory_equal(got.born_host.ip, record.born_host.ip, 16);
        assert_int_equal(got.store_host.port, record.store_host.port);
        assert_memory_equal(got.store_host.ip, record.store_host.ip, 16);
        assert_int_equal(got.reconsume_times, record.reconsume_times);
        assert_int_equal(got.prepared_transaction_offset, record.prepared_transaction_offset);
        assert_true(slice_equal(got.body, record.body));
        assert_true(slice_equal(got.topic, record.topic));
        assert_true(slice_equal(got.properties, record.properties));
        /* The places the store patches. */
        assert_int_equal(get_i64(out + RECORD_QUEUE_OFFSET_AT), record.queue_offset);
        assert_int_equal(get_i64(out + RECORD_PHYSICAL_OFFSET_AT), record.physical_offset);
        assert_int_equal(get_i64(out + RECORD_STORE_TIMESTAMP_AT(record.born_host.ip_bytes + 4)),
                         record.store_timestamp_ms);
    }
}

/* --- batches ---------------------------------------------------------------------------------- */

static void append_batch_message(struct buf *batch, int32_t flag, const char *body,
                                 const char *properties)
{
    buf_append_i32(batch, (int32_t)(22 + strlen(body) + strlen(properties)));
    buf_append_i32(batch, 0);
    buf_append_i32(batch, 0);
    buf_append_i32(batch, flag);
    buf_append_i32(batch, (int32_t)strlen(body));
    buf_append_cstr(batch, body);
    buf_append_i16(batch, (int16_t)strlen(properties));
    buf_append_cstr(batch, properties);
}

static void batch_walk(void **state)
{
    (void)state;
    struct buf batch = BUF_EMPTY;
    struct batch_message message;
    size_t cursor = 0;
    append_batch_message(&batch, 1, "first", "KEYS\001k");
    append_batch_message(&batch, -2, "", "");
    size_t third_at = batch.size;
    append_batch_message(&batch, 3, "third", "");
    put_i32(batch.data, 77); /* the size field is not read */
    assert_int_equal(batch_next(buf_slice(&batch), &cursor, &message), STATUS_OK);
    assert_int_equal(message.flag, 1);
    assert_true(slice_is(message.body, "first"));
    assert_true(slice_is(message.properties, "KEYS\001k"));
    assert_int_equal(batch_next(buf_slice(&batch), &cursor, &message), STATUS_OK);
    assert_int_equal(message.flag, -2);
    assert_int_equal(message.body.size, 0);
    assert_int_equal(message.properties.size, 0);
    assert_int_equal(cursor, third_at);
    assert_int_equal(batch_next(buf_slice(&batch), &cursor, &message), STATUS_OK);
    assert_true(slice_is(message.body, "third"));
    assert_int_equal(batch_next(buf_slice(&batch), &cursor, &message), STATUS_NOT_FOUND);
    cursor = 0;
    assert_int_equal(batch_next(SLICE_EMPTY, &cursor, &message), STATUS_NOT_FOUND);
    buf_release(&batch);
}

static void cut_batches_are_malformed(void **state)
{
    (void)state;
    struct buf batch = BUF_EMPTY;
    append_batch_message(&batch, 1, "body", "KEYS\001k");
    for (size_t size = 1; size < batch.size; size++) {
        struct batch_message message;
        size_t cursor = 0;
        uint8_t *part = malloc(size);
        memcpy(part, batch.data, size);
        assert_int_equal(batch_next(slice_of(part, size), &cursor, &message), STATUS_MALFORMED);
        free(part);
    }
    static const int32_t wrong_lengths[] = {-1, INT32_MIN, INT32_MAX, 12};
    for (size_t i = 0; i < sizeof wrong_lengths / sizeof wrong_lengths[0]; i++) {
        struct batch_message message;
        size_t cursor = 0;
        put_i32(batch.data + 16, wrong_lengths[i]);
        assert_int_equal(batch_next(buf_slice(&batch), &cursor, &message), STATUS_MALFORMED);
    }
    put_i32(batch.data + 16, 4);
    put_i16(batch.data + 24, -1);
    size_t cursor = 0;
    struct batch_message message;
    assert_int_equal(batch_next(buf_slice(&batch), &cursor, &message), STATUS_MALFORMED);
    buf_release(&batch);
}

static void golden_pull_reply_is_a_row_of_records(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    struct slice rest = file_bytes(&arena, "test/data/bodies/live/Pull.bin");
    struct record record;
    for (int64_t offset = 0; offset < 2; offset++) {
        assert_int_equal(record_decode(rest, RECORD_CHECK_CRC, &record), STATUS_OK);
        assert_true(slice_is(record.topic, "PlainTopic"));
        assert_int_equal(record.queue_offset, offset);
        rest = slice_from(rest, (size_t)record.size);
    }
    assert_int_equal(rest.size, 0);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_records),
        cmocka_unit_test(golden_fillers),
        cmocka_unit_test(cut_anywhere_is_truncated),
        cmocka_unit_test(any_changed_body_byte_is_found),
        cmocka_unit_test(whole_at_its_position),
        cmocka_unit_test(wrong_frames_are_corrupt),
        cmocka_unit_test(wrong_lengths_are_corrupt),
        cmocka_unit_test(limits_of_the_length_fields),
        cmocka_unit_test(any_record_comes_back),
        cmocka_unit_test(batch_walk),
        cmocka_unit_test(cut_batches_are_malformed),
        cmocka_unit_test(golden_pull_reply_is_a_row_of_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
