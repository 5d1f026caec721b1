/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a consume queue file: the boundary lies inside, and when the entries before it are
 * what recovery takes them for (a valid prefix), it is exactly where a walk would stop.
 */
#include "broker/store/consumequeue_format.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool valid(const uint8_t *entry, int64_t cut_pos)
{
    return queue_entry_size(entry) > 0 && queue_entry_pos(entry) >= 0 &&
           queue_entry_pos(entry) < cut_pos;
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
    CHECK(boundary == 0 || valid(file.data + (boundary - 1) * QUEUE_ENTRY_BYTES, cut_pos));
    CHECK(boundary == count || !valid(file.data + boundary * QUEUE_ENTRY_BYTES, cut_pos));
    size_t walked = 0;
    while (walked < count && valid(file.data + walked * QUEUE_ENTRY_BYTES, cut_pos))
        walked++;
    size_t later = walked;
    while (later < count && !valid(file.data + later * QUEUE_ENTRY_BYTES, cut_pos))
        later++;
    CHECK(later < count || boundary == walked);
    CHECK(queue_file_first_from(file, boundary, cut_pos) <= boundary);
    return 0;
}
