/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a record: the decoder stays inside them; a record that it accepts with its checksum
 * encodes to the same bytes, its properties are found without its body, and every part of it, cut
 * short, is truncated.
 */
#include "common/base/check.h"
#include "common/base/crc32.h"
#include "proto/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct slice part, const uint8_t *data, size_t size)
{
    return part.data >= data && part.data + part.size <= data + size;
}

static void check_record(const struct record *record, const uint8_t *data, size_t size)
{
    size_t bytes = (size_t)record->size;
    CHECK(bytes <= size && record_size(record) == bytes);
    CHECK(is_inside(record->body, data, bytes) && is_inside(record->topic, data, bytes) &&
          is_inside(record->properties, data, bytes));
    uint8_t *again = malloc(bytes);
    CHECK(record_encode(record, again) == STATUS_OK);
    /* Of an empty body the checksum is not looked at. */
    put_u32(again + 8, record->body_crc);
    CHECK(memcmp(again, data, bytes) == 0);
    free(again);
    struct slice head =
        slice_of(data, bytes < RECORD_HEAD_BYTES_MAX ? bytes : RECORD_HEAD_BYTES_MAX);
    struct slice properties;
    size_t tail_at;
    CHECK(record_tail_at(head, record->size, &tail_at));
    CHECK(record_tail_properties(slice_of(data + tail_at, bytes - tail_at), &properties));
    CHECK(properties.data == record->properties.data && properties.size == record->properties.size);
    struct record cut;
    CHECK(record_decode(slice_of(data, bytes - 1), RECORD_CHECK_FRAME, &cut) == STATUS_TRUNCATED);
    CHECK(record_decode(slice_of(data, bytes), RECORD_CHECK_FRAME, &cut) == STATUS_OK);
}

/* The look at properties alone stays inside any bytes, too. */
static void check_tail(const uint8_t *data, size_t size)
{
    struct slice properties;
    size_t tail_at;
    struct slice head = slice_of(data, size < RECORD_HEAD_BYTES_MAX ? size : RECORD_HEAD_BYTES_MAX);
    if (record_tail_at(head, (int32_t)size, &tail_at) &&
        record_tail_properties(slice_of(data + tail_at, size - tail_at), &properties))
        CHECK(is_inside(properties, data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record record;
    check_tail(data, size);
    enum status status = record_decode(slice_of(data, size), RECORD_CHECK_CRC, &record);
    if (status == STATUS_OK)
        check_record(&record, data, size);
    else if (status == STATUS_NOT_FOUND)
        CHECK(record.size >= RECORD_FILLER_BYTES);
    else
        CHECK(status == STATUS_TRUNCATED || status == STATUS_CORRUPT);
    /* The mutator cannot make checksums: mend it and see the rest of the decoder at work. */
    if (status == STATUS_CORRUPT &&
        record_decode(slice_of(data, size), RECORD_CHECK_FRAME, &record) == STATUS_OK) {
        uint8_t *mended = malloc(size);
        memcpy(mended, data, size);
        put_u32(mended + 8, rocketmq_crc32(record.body));
        CHECK(record_decode(slice_of(mended, size), RECORD_CHECK_CRC, &record) == STATUS_OK);
        check_record(&record, mended, size);
        free(mended);
    }
    return 0;
}
