/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an index file of 16 slots and 64 entries: look-ups and repair stay inside it and
 * end, and after a repair every kept entry is found and more can be inserted.
 */
#include "broker/store/index_format.h"
#include "common/base/check.h"

#include <stdlib.h>

#define SLOTS 16
#define ENTRIES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void find_all(const struct index_view *view)
{
    int64_t found[ENTRIES];
    for (int32_t hash = 0; hash < SLOTS; hash++) {
        int count = index_find(view, hash, 0, INT64_MAX / 2, found, ENTRIES);
        CHECK(count >= 0 && count <= ENTRIES);
    }
}

static bool is_found(const struct index_view *view, int32_t hash, int64_t pos)
{
    int64_t found[ENTRIES];
    int count = index_find(view, hash, INT64_MIN, INT64_MAX, found, ENTRIES);
    for (int i = 0; i < count; i++) {
        if (found[i] == pos)
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t bytes = index_file_bytes(SLOTS, ENTRIES);
    struct index_view view = {calloc(1, bytes), SLOTS, ENTRIES};
    memcpy(view.data, data, size < bytes ? size : bytes);
    find_all(&view);
    if (index_header_sane(&view)) {
        int64_t resume_pos;
        bool any = index_repair(&view, INT64_MAX, &resume_pos);
        struct index_header header = index_header_read(&view);
        CHECK(any == (header.next_entry > 1));
        CHECK(header.next_entry >= 1 && header.next_entry <= ENTRIES);
        CHECK(header.end_pos < resume_pos || !any);
        const uint8_t *entries = view.data + INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES;
        for (int32_t i = 1; i < header.next_entry; i++) {
            const uint8_t *entry = entries + i * INDEX_ENTRY_BYTES;
            CHECK(is_found(&view, get_i32(entry), get_i64(entry + 4)));
        }
        while (!index_is_full(&view)) {
            index_insert(&view, 7, resume_pos, header.end_timestamp_ms);
            CHECK(is_found(&view, 7, resume_pos));
        }
        find_all(&view);
    }
    free(view.data);
    return 0;
}
