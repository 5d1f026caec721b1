/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a consume queue file: the boundary lies inside and behind an entry that counts,
 * never behind a filler, and when the entries that count form a prefix, it is exactly where a walk
 * over them would end.
 */
#include "broker/store/consumequeue_format.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool counts(const uint8_t *entry, int64_t cut_pos)
{
    int64_t pos = queue_entry_pos(entry);
    int32_t size = queue_entry_size(entry);
    return size > 0 && pos >= 0 && pos < cut_pos && size <= cut_pos - pos &&
           !queue_entry_is_filler(entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8)
        return 0;
    int64_t cut_pos = get_i64(data);
    struct slice file = slice_of(data + 8, size - 8);
    size_t count = file.size / QUEUE_ENTRY_BYTES;
    size_t boundary = queue_file_boundary(file, cut_pos);
    CHECK(boundary <= count);
    CHECK(boundary == 0 || counts(file.data + (boundary - 1) * QUEUE_ENTRY_BYTES, cut_pos));
    size_t walked = 0; /* behind the last entry that counts before the first that does not */
    size_t at = 0;
    for (; at < count; at++) {
        const uint8_t *entry = file.data + at * QUEUE_ENTRY_BYTES;
        if (counts(entry, cut_pos))
            walked = at + 1;
        else if (!queue_entry_is_filler(entry))
            break;
    }
    bool later = false;
    for (; at < count; at++)
        later = later || counts(file.data + at * QUEUE_ENTRY_BYTES, cut_pos);
    CHECK(later || boundary == walked);
    size_t first = queue_file_first_from(file, boundary, cut_pos);
    CHECK(first <= boundary);
    CHECK(first == boundary || !queue_entry_is_filler(file.data + first * QUEUE_ENTRY_BYTES));
    return 0;
}
