/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding and decoding of timer entries. What is decoded obeys the ranges of the header, so that
 * nobody has to ask again.
 */
#include "broker/state/timer_format.h"

#include "common/base/crc32.h"
#include "common/base/number.h"

#include <stdio.h>

#define HASH_AT 24
#define CHECK_AT 28
#define POS_MAX (INT64_C(1) << 56)
#define DIGITS 20

uint32_t timer_hash(struct slice cancel_key)
{
    return rocketmq_crc32(cancel_key);
}

void timer_entry_encode(const struct timer_entry *entry, uint8_t out[TIMER_ENTRY_BYTES])
{
    put_i64(out, entry->key.due_ms);
    put_i64(out + 8, timer_entry_offset(entry));
    put_u64(out + 16, (uint64_t)entry->kind << 56 | (uint64_t)entry->pos);
    put_u32(out + HASH_AT, entry->hash);
    put_u32(out + CHECK_AT, rocketmq_crc32(slice_of(out, CHECK_AT)));
}

enum status timer_entry_decode(const uint8_t in[TIMER_ENTRY_BYTES], struct timer_entry *out)
{
    uint64_t kind_and_pos = get_u64(in + 16);
    uint8_t kind = (uint8_t)(kind_and_pos >> 56);
    struct timer_entry entry = {
        .key = {get_i64(in), get_i64(in + 8)},
        .pos = (int64_t)(kind_and_pos & (POS_MAX - 1)),
        .hash = get_u32(in + HASH_AT),
        .kind = (enum timer_kind)kind,
    };
    if (get_u32(in + CHECK_AT) != rocketmq_crc32(slice_of(in, CHECK_AT)) ||
        (kind != TIMER_KIND_MESSAGE && kind != TIMER_KIND_CANCEL) || entry.key.due_ms < 1 ||
        entry.key.due_ms > TIMER_DUE_MS_MAX || entry.key.queue_offset < 0 ||
        entry.key.queue_offset >= TIMER_CANCEL_BIAS)
        return STATUS_CORRUPT;
    if (entry.kind == TIMER_KIND_CANCEL)
        entry.key.queue_offset -= TIMER_CANCEL_BIAS;
    *out = entry;
    return STATUS_OK;
}

void timer_file_name(int64_t bucket, char out[TIMER_FILE_NAME_BYTES])
{
    (void)snprintf(out, TIMER_FILE_NAME_BYTES, "%020lld", (long long)bucket);
}

bool timer_file_parse(const char *name, int64_t *bucket)
{
    int64_t number;
    if (strlen(name) != DIGITS || name[0] != '0' || !parse_i64(slice_of_cstr(name), &number) ||
        number < 0 || number > TIMER_DUE_MS_MAX / TIMER_BUCKET_MS)
        return false;
    *bucket = number;
    return true;
}
