/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/record_keys.h"

#include "broker/store/index_format.h"
#include "common/base/number.h"
#include "proto/properties.h"

#include <string.h>

struct record_keys record_keys_find(struct slice properties)
{
    struct record_keys found = {SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY};
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    while (properties_next(properties, &cursor, &name, &value)) {
        if (slice_equal(name, SLICE_LITERAL(PROPERTY_TAGS)))
            found.tags = value;
        else if (slice_equal(name, SLICE_LITERAL(PROPERTY_KEYS)))
            found.keys = value;
        else if (slice_equal(name, SLICE_LITERAL(PROPERTY_UNIQ_KEY)))
            found.unique_key = value;
        else if (slice_equal(name, SLICE_LITERAL(PROPERTY_DELAY)))
            found.delay = value;
    }
    return found;
}

bool record_in_queue(const struct record *record)
{
    int transaction = record->sys_flag & SYS_FLAG_TRANSACTION_MASK;
    return transaction != SYS_FLAG_TRANSACTION_PREPARED &&
           transaction != SYS_FLAG_TRANSACTION_ROLLBACK;
}

bool record_in_index(const struct record *record)
{
    return (record->sys_flag & SYS_FLAG_TRANSACTION_MASK) != SYS_FLAG_TRANSACTION_ROLLBACK;
}

/* The delay level, 0 when the record has none. */
static int32_t delay_level(const struct record *record, const struct record_keys *keys)
{
    int32_t level;
    if (keys->delay.size > 0 && slice_equal(record->topic, SLICE_LITERAL(SCHEDULE_TOPIC)) &&
        parse_i32(keys->delay, &level) && level > 0)
        return level;
    return 0;
}

bool record_is_delayed(const struct record *record, const struct record_keys *keys)
{
    return delay_level(record, keys) > 0;
}

int64_t record_tags_code(const struct record *record, const struct record_keys *keys,
                         const int64_t *delay_levels_ms, int delay_level_count)
{
    int32_t level = delay_level(record, keys);
    if (level == 0)
        return tags_code(keys->tags);
    if (level > delay_level_count)
        level = delay_level_count;
    int64_t delay_ms = level > 0 ? delay_levels_ms[level - 1] : 1000;
    return record->store_timestamp_ms + delay_ms;
}

struct record_hashes record_hashes_begin(const struct record *record,
                                         const struct record_keys *keys)
{
    struct record_hashes hashes = {.unique_key = keys->unique_key, .rest = keys->keys};
    if (keys->unique_key.size > 0 || keys->keys.size > 0)
        hashes.topic_hash = index_topic_hash(record->topic);
    return hashes;
}

bool record_hashes_next(struct record_hashes *hashes, int32_t *hash)
{
    if (hashes->unique_key.size > 0) {
        *hash = index_key_hash_from(hashes->topic_hash, hashes->unique_key);
        hashes->unique_key = SLICE_EMPTY;
        return true;
    }
    while (hashes->rest.size > 0) {
        const uint8_t *begin = hashes->rest.data;
        const uint8_t *blank = memchr(begin, ' ', hashes->rest.size);
        size_t size = blank == NULL ? hashes->rest.size : (size_t)(blank - begin);
        hashes->rest = slice_from(hashes->rest, blank == NULL ? size : size + 1);
        if (size > 0) {
            *hash = index_key_hash_from(hashes->topic_hash, slice_of(begin, size));
            return true;
        }
    }
    return false;
}
