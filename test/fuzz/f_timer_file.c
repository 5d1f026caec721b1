/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as timer entries: what is accepted obeys the ranges of the format and is made again
 * with the same bytes. And with its checksum put right, so that what lies behind that is reached.
 */
#include "broker/state/timer_format.h"
#include "common/base/check.h"
#include "common/base/crc32.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_entry(const uint8_t in[TIMER_ENTRY_BYTES])
{
    struct timer_entry entry;
    uint8_t again[TIMER_ENTRY_BYTES];
    if (timer_entry_decode(in, &entry) != STATUS_OK)
        return;
    CHECK(entry.key.due_ms >= 1 && entry.key.due_ms <= TIMER_DUE_MS_MAX);
    CHECK(timer_entry_offset(&entry) >= 0 && entry.pos >= 0);
    int64_t bucket = timer_bucket_of(entry.key.due_ms);
    CHECK(entry.key.due_ms <= timer_bucket_last_ms(bucket));
    CHECK(bucket == 0 || entry.key.due_ms > timer_bucket_last_ms(bucket - 1));
    CHECK(timer_bucket_of(timer_slot_first_ms(timer_slot_of(entry.key.due_ms))) == bucket);
    timer_entry_encode(&entry, again);
    CHECK(memcmp(in, again, sizeof again) == 0);
}

static void try_name(const uint8_t *data, size_t size)
{
    char name[64] = {0};
    char again[TIMER_FILE_NAME_BYTES];
    int64_t bucket;
    memcpy(name, data, size < sizeof name - 1 ? size : sizeof name - 1);
    if (!timer_file_parse(name, &bucket))
        return;
    timer_file_name(bucket, again);
    CHECK(strcmp(name, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_name(data, size);
    for (size_t at = 0; at + TIMER_ENTRY_BYTES <= size; at += TIMER_ENTRY_BYTES) {
        uint8_t entry[TIMER_ENTRY_BYTES];
        memcpy(entry, data + at, sizeof entry);
        try_entry(entry);
        put_u32(entry + 28, rocketmq_crc32(slice_of(entry, 28)));
        try_entry(entry);
    }
    return 0;
}
