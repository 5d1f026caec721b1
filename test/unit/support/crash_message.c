/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/support/crash_message.h"

#include "common/base/bytes.h"

#include <stdio.h>
#include <string.h>

const char *crash_topic(int topic)
{
    static const char *const topics[CRASH_TOPICS] = {"A", "OtherTopic", "third",
                                                     "SCHEDULE_TOPIC_XXXX"};
    return topics[topic];
}

void crash_key(size_t number, char key[32])
{
    (void)snprintf(key, 32, "key%zu", number);
}

/* Long ones reach over whole sectors of the file. */
static void make_properties(size_t number, const struct sent *sent,
                            char properties[CRASH_PROPERTIES_BYTES])
{
    char key[32];
    crash_key(number, key);
    int size = snprintf(properties, CRASH_PROPERTIES_BYTES, "KEYS\001%s\002TAGS\001%c", key,
                        (char)('a' + number % 3));
    if (strcmp(crash_topic(sent->topic), "SCHEDULE_TOPIC_XXXX") == 0)
        size += snprintf(properties + size, CRASH_PROPERTIES_BYTES - (size_t)size,
                         "\002DELAY\001%d", 1 + (int)(number % 3));
    if (number % 4 == 0) {
        size_t more = 20 + number * 37 % 1000;
        size += snprintf(properties + size, CRASH_PROPERTIES_BYTES - (size_t)size, "\002more\001");
        memset(properties + size, 'p', more);
        properties[(size_t)size + more] = '\0';
    }
}

struct record crash_message(size_t number, const struct sent *sent,
                            uint8_t body[CRASH_BODY_BYTES_MAX],
                            char properties[CRASH_PROPERTIES_BYTES])
{
    struct random random = {number};
    put_u64(body, number);
    put_u64(body + 8, ~(uint64_t)number);
    for (uint32_t i = 16; i < sent->body_bytes; i++)
        body[i] = (uint8_t)(random_u64(&random) | 1);
    make_properties(number, sent, properties);
    struct record record = {
        .queue_id = sent->queue_id,
        .flag = (int32_t)number,
        .sys_flag = sent->sys_flag,
        .born_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 1234},
        .store_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911},
        .body = slice_of(body, sent->body_bytes),
        .topic = slice_of_cstr(crash_topic(sent->topic)),
        .properties = slice_of_cstr(properties),
    };
    if (sent->wide_host)
        record.born_host = (struct host){.ip = {0xfd, 1, 2, 3}, .ip_bytes = 16, .port = 99};
    return record;
}

size_t crash_number(struct slice body)
{
    if (body.size < 16 || get_u64(body.data) != ~get_u64(body.data + 8))
        return SIZE_MAX;
    return (size_t)get_u64(body.data);
}

bool crash_has_entry(const struct sent *sent)
{
    int transaction = sent->sys_flag & SYS_FLAG_TRANSACTION_MASK;
    return transaction != SYS_FLAG_TRANSACTION_PREPARED &&
           transaction != SYS_FLAG_TRANSACTION_ROLLBACK;
}

int64_t crash_tags_code(size_t number, const struct sent *sent, int64_t store_timestamp_ms)
{
    static const int64_t levels_ms[] = {1000, 5000, 10000};
    if (strcmp(crash_topic(sent->topic), "SCHEDULE_TOPIC_XXXX") == 0)
        return store_timestamp_ms + levels_ms[number % 3];
    return 'a' + (int64_t)(number % 3);
}
