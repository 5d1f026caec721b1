/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/index_format.h"

#include "common/base/limits.h"
#include "proto/properties.h"

#define NEXT_ENTRY_AT 36
#define USED_SLOTS_AT 32

static int32_t load_i32(const uint8_t *p)
{
    return (int32_t)__builtin_bswap32(
        __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

static void publish_i32(uint8_t *p, int32_t value)
{
    __atomic_store_n((uint32_t *)(void *)p, __builtin_bswap32((uint32_t)value), __ATOMIC_RELEASE);
}

static int64_t load_i64(const uint8_t *p)
{
    return (int64_t)__builtin_bswap64(
        __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED));
}

static void publish_i64(uint8_t *p, int64_t value)
{
    __atomic_store_n((uint64_t *)(void *)p, __builtin_bswap64((uint64_t)value), __ATOMIC_RELAXED);
}

static uint8_t *slot_at(const struct index_view *view, int32_t hash)
{
    return view->data + INDEX_HEADER_BYTES + (size_t)(hash % view->slots) * INDEX_SLOT_BYTES;
}

static uint8_t *entry_at(const struct index_view *view, int32_t number)
{
    return view->data + INDEX_HEADER_BYTES + (size_t)view->slots * INDEX_SLOT_BYTES +
           (size_t)number * INDEX_ENTRY_BYTES;
}

/* --- hashes --- */

uint32_t index_topic_hash(struct slice topic)
{
    return (uint32_t)java_string_hash(topic) * 31 + '#';
}

static bool is_ascii(struct slice text)
{
    uint8_t seen = 0;
    for (size_t i = 0; i < text.size; i++)
        seen |= text.data[i];
    return seen < 0x80;
}

static uint32_t power_of_31(size_t exponent)
{
    uint32_t result = 1;
    for (uint32_t base = 31; exponent != 0; exponent >>= 1, base *= base) {
        if (exponent & 1)
            result *= base;
    }
    return result;
}

/* The UTF-16 length of a key that is not ASCII need not be known: a 1 in front of it counts as that
 * power of 31. */
static uint32_t hash_continue_wide(uint32_t hash, struct slice key)
{
    uint8_t text[PROPERTIES_BYTES_MAX + 1];
    if (key.size > PROPERTIES_BYTES_MAX)
        return 0; /* no message has such a key */
    text[0] = 1;
    memcpy(text + 1, key.data, key.size);
    uint32_t alone = (uint32_t)java_string_hash(key);
    uint32_t power = (uint32_t)java_string_hash(slice_of(text, key.size + 1)) - alone;
    return hash * power + alone;
}

int32_t index_key_hash_from(uint32_t topic_hash, struct slice key)
{
    uint32_t hash = is_ascii(key)
                        ? topic_hash * power_of_31(key.size) + (uint32_t)java_string_hash(key)
                        : hash_continue_wide(topic_hash, key);
    int32_t value = (int32_t)hash;
    if (value == INT32_MIN)
        return 0;
    return value < 0 ? -value : value;
}

int32_t index_key_hash(struct slice topic, struct slice key)
{
    return index_key_hash_from(index_topic_hash(topic), key);
}

/* --- header --- */

struct index_header index_header_read(const struct index_view *view)
{
    return (struct index_header){
        .next_entry = load_i32(view->data + NEXT_ENTRY_AT),
        .begin_timestamp_ms = load_i64(view->data),
        .end_timestamp_ms = load_i64(view->data + 8),
        .begin_pos = load_i64(view->data + 16),
        .end_pos = load_i64(view->data + 24),
        .used_slots = load_i32(view->data + USED_SLOTS_AT),
    };
}

void index_clear(const struct index_view *view)
{
    publish_i32(view->data + NEXT_ENTRY_AT, 1);
}

bool index_is_full(const struct index_view *view)
{
    return load_i32(view->data + NEXT_ENTRY_AT) >= view->entries;
}

bool index_header_sane(const struct index_view *view)
{
    struct index_header header = index_header_read(view);
    return header.next_entry >= 1 && header.next_entry <= view->entries && header.used_slots >= 0 &&
           header.used_slots <= view->slots && header.begin_pos >= 0 &&
           header.begin_pos <= header.end_pos && header.begin_timestamp_ms >= 0 &&
           header.end_timestamp_ms >= 0;
}

/* --- insert and find --- */

int32_t index_entry_seconds(int64_t begin_ms, int64_t timestamp_ms)
{
    if (begin_ms <= 0 || timestamp_ms <= begin_ms)
        return 0;
    int64_t seconds = (timestamp_ms - begin_ms) / 1000;
    return seconds > INT32_MAX ? INT32_MAX : (int32_t)seconds;
}

/* Put entry `number`, whose other fields are written, at the head of its slot. */
static void link_entry(const struct index_view *view, int32_t number, int32_t key_hash)
{
    uint8_t *slot = slot_at(view, key_hash);
    int32_t previous = load_i32(slot);
    if (previous <= 0 || previous >= number)
        previous = 0;
    publish_i32(entry_at(view, number) + 16, previous);
    if (previous == 0)
        publish_i32(view->data + USED_SLOTS_AT, load_i32(view->data + USED_SLOTS_AT) + 1);
    publish_i32(slot, number);
}

void index_insert(const struct index_view *view, int32_t key_hash, int64_t pos,
                  int64_t timestamp_ms)
{
    int32_t number = load_i32(view->data + NEXT_ENTRY_AT);
    uint8_t *entry = entry_at(view, number);
    put_i32(entry, key_hash);
    put_i64(entry + 4, pos);
    put_i32(entry + 12, index_entry_seconds(load_i64(view->data), timestamp_ms));
    link_entry(view, number, key_hash);
    if (number == 1) {
        publish_i64(view->data, timestamp_ms);
        publish_i64(view->data + 16, pos);
    }
    publish_i64(view->data + 8, timestamp_ms);
    publish_i64(view->data + 24, pos);
    publish_i32(view->data + NEXT_ENTRY_AT, number + 1);
}

int index_find(const struct index_view *view, int32_t key_hash, int64_t begin_ms, int64_t end_ms,
               int64_t *out, int max_count)
{
    struct index_header header = index_header_read(view);
    if (header.next_entry > view->entries)
        header.next_entry = view->entries;
    int count = 0;
    int32_t limit = header.next_entry;
    /* Entry numbers fall along a chain; a damaged one that does not ends the walk. */
    for (int32_t number = load_i32(slot_at(view, key_hash)); number > 0 && count < max_count;) {
        if (number >= view->entries)
            break;
        const uint8_t *entry = entry_at(view, number);
        int32_t previous = load_i32(entry + 16);
        if (number < limit) {
            int32_t seconds = get_i32(entry + 12);
            if (seconds < 0)
                break;
            int64_t time_ms = header.begin_timestamp_ms + (int64_t)seconds * 1000;
            if (get_i32(entry) == key_hash && time_ms >= begin_ms && time_ms <= end_ms)
                out[count++] = get_i64(entry + 4);
            if (time_ms < begin_ms)
                break;
        }
        if (previous >= number)
            break;
        number = previous;
    }
    return count;
}

/* --- repair --- */

/* Times may fall, where the clock was set back; positions may not. No hash: it may lie in the
 * sector before that of the position, and not have arrived. Of the keys that there are one in two
 * thousand million has that hash; its record is read again. */
static bool entry_plausible(const uint8_t *entry, const struct index_header *header,
                            int64_t last_pos, int64_t log_end)
{
    int64_t pos = get_i64(entry + 4);
    return get_i32(entry) > 0 && pos >= last_pos && pos >= header->begin_pos && pos < log_end &&
           get_i32(entry + 12) >= 0;
}

/* The number behind the last entry to keep. */
static int32_t repair_end(const struct index_view *view, const struct index_header *header,
                          int64_t log_end, int64_t *resume_pos)
{
    int64_t pos = header->begin_pos;
    int32_t number = 1;
    int32_t record_start = 1; /* first entry of the record at `pos` */
    for (; number < header->next_entry; number++) {
        const uint8_t *entry = entry_at(view, number);
        if (!entry_plausible(entry, header, pos, log_end))
            break;
        if (get_i64(entry + 4) != pos)
            record_start = number;
        pos = get_i64(entry + 4);
    }
    *resume_pos = pos;
    return record_start;
}

bool index_repair(const struct index_view *view, int64_t log_end, int64_t *resume_pos)
{
    struct index_header header = index_header_read(view);
    int32_t end = repair_end(view, &header, log_end, resume_pos);
    memset(view->data + INDEX_HEADER_BYTES, 0, (size_t)view->slots * INDEX_SLOT_BYTES);
    publish_i32(view->data + USED_SLOTS_AT, 0);
    for (int32_t number = 1; number < end; number++)
        link_entry(view, number, get_i32(entry_at(view, number)));
    publish_i32(view->data + NEXT_ENTRY_AT, end);
    if (end == 1)
        return false;
    /* The time stays: until the entries that were dropped are there again, a crash must find the
     * file as one that needs repair. */
    publish_i64(view->data + 24, get_i64(entry_at(view, end - 1) + 4));
    return true;
}
