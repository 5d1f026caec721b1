/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/consumequeue_format.h"

/* First index in [0, count) for which the predicate fails; the predicate holds for a prefix. */
static size_t prefix_end(struct slice file, size_t count, int64_t limit,
                         bool (*holds)(const uint8_t *entry, int64_t limit))
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (holds(file.data + middle * QUEUE_ENTRY_BYTES, limit))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool valid_before(const uint8_t *entry, int64_t cut_pos)
{
    int64_t pos = queue_entry_pos(entry);
    return queue_entry_size(entry) > 0 && pos >= 0 && pos < cut_pos;
}

static bool filler_or_before(const uint8_t *entry, int64_t min_pos)
{
    return queue_entry_is_filler(entry) || queue_entry_pos(entry) < min_pos;
}

size_t queue_file_boundary(struct slice file, int64_t cut_pos)
{
    return prefix_end(file, file.size / QUEUE_ENTRY_BYTES, cut_pos, valid_before);
}

size_t queue_file_first_from(struct slice file, size_t count, int64_t min_pos)
{
    size_t held = file.size / QUEUE_ENTRY_BYTES;
    return prefix_end(file, count < held ? count : held, min_pos, filler_or_before);
}
