/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/consumequeue_format.h"

/* First index in [0, count) for which the predicate fails; the predicate holds for a prefix. */
static size_t prefix_end(struct slice file, size_t count, int64_t limit,
                         bool (*holds)(struct slice file, size_t number, int64_t limit))
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (holds(file, middle, limit))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const uint8_t *entry_at(struct slice file, int64_t number)
{
    return file.data + (size_t)number * QUEUE_ENTRY_BYTES;
}

int64_t queue_entry_before(struct slice file, int64_t number)
{
    while (number >= 0 && queue_entry_is_filler(entry_at(file, number)))
        number--;
    return number;
}

/* Is the entry there, and its record whole before `limit`? */
static bool valid_before(struct slice file, size_t number, int64_t limit)
{
    int64_t before = queue_entry_before(file, (int64_t)number);
    if (before < 0)
        return true;
    const uint8_t *entry = entry_at(file, before);
    int64_t pos = queue_entry_pos(entry);
    int32_t size = queue_entry_size(entry);
    return size > 0 && pos >= 0 && pos < limit && size <= limit - pos;
}

static bool pos_before(struct slice file, size_t number, int64_t limit)
{
    int64_t before = queue_entry_before(file, (int64_t)number);
    return before < 0 || queue_entry_pos(entry_at(file, before)) < limit;
}

size_t queue_file_boundary(struct slice file, int64_t cut_pos)
{
    size_t end = prefix_end(file, file.size / QUEUE_ENTRY_BYTES, cut_pos, valid_before);
    return (size_t)(queue_entry_before(file, (int64_t)end - 1) + 1);
}

size_t queue_file_first_from(struct slice file, size_t count, int64_t min_pos)
{
    size_t held = file.size / QUEUE_ENTRY_BYTES;
    return prefix_end(file, count < held ? count : held, min_pos, pos_before);
}
