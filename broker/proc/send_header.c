/* SPDX-License-Identifier: Apache-2.0
 *
 * The send header by hand. `seen` collects one bit per required field; both header forms share the
 * setters, the long names being mapped to the letters of the short form first.
 */
#include "broker/proc/send_header.h"

#include "common/base/number.h"

/* 4.9.2 checks that all of a to h are there in the short form only. Of the long one it does not use
 * producerGroup (a) when it stores, and defaultTopic (c) and defaultTopicQueueNums (d) only for a
 * topic that does not exist, which then can not be made. */
#define SPARE_IN_LONG (1U << 0 | 1U << 2 | 1U << 3)

struct long_name {
    const char *name;
    char letter;
};

/* SendMessageRequestHeader's names and their letters in V2. */
static const struct long_name long_names[] = {
    {"producerGroup", 'a'}, {"topic", 'b'},          {"defaultTopic", 'c'},
    {"queueId", 'e'},       {"sysFlag", 'f'},        {"defaultTopicQueueNums", 'd'},
    {"flag", 'h'},          {"properties", 'i'},     {"bornTimestamp", 'g'},
    {"unitMode", 'k'},      {"reconsumeTimes", 'j'}, {"maxReconsumeTimes", 'l'},
    {"batch", 'm'},
};

static char letter_of(struct slice name)
{
    for (size_t i = 0; i < sizeof long_names / sizeof long_names[0]; i++)
        if (slice_is(name, long_names[i].name))
            return long_names[i].letter;
    return 0;
}

/* Store one field; true when it parsed. */
static bool set_field(struct send_header *out, char letter, struct slice value)
{
    switch (letter) {
    case 'a':
        out->producer_group = value;
        return true;
    case 'b':
        out->topic = value;
        return true;
    case 'c':
        out->default_topic = value;
        return true;
    case 'd':
        return parse_i32(value, &out->default_topic_queues);
    case 'e':
        return parse_i32(value, &out->queue_id);
    case 'f':
        return parse_i32(value, &out->sys_flag);
    case 'g':
        return parse_i64(value, &out->born_timestamp_ms);
    case 'h':
        return parse_i32(value, &out->flag);
    case 'i':
        out->properties = value;
        return true;
    case 'j':
        return parse_i32(value, &out->reconsume_times);
    case 'k':
        out->unit_mode = parse_java_bool(value);
        return true;
    case 'l':
        out->has_max_reconsume_times = parse_i32(value, &out->max_reconsume_times);
        return true;
    case 'm':
        out->batch = parse_java_bool(value);
        return true;
    default:
        return false;
    }
}

enum status send_header_read(const struct ext_map *ext, bool short_names, struct send_header *out,
                             const char **missing)
{
    static const char *const required_short[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    static const char *const required_long[] = {"producerGroup",         "topic",   "defaultTopic",
                                                "defaultTopicQueueNums", "queueId", "sysFlag",
                                                "bornTimestamp",         "flag"};
    *out = (struct send_header){0};
    unsigned seen = 0;
    for (uint32_t i = 0; i < ext->count; i++) {
        struct slice name = ext->fields[i].name;
        char letter = !short_names ? letter_of(name) : name.size == 1 ? (char)name.data[0] : 0;
        if (letter < 'a' || letter > 'm')
            continue;
        unsigned bit = 1U << (letter - 'a');
        seen = set_field(out, letter, ext->fields[i].value) ? seen | bit : seen & ~bit;
    }
    for (unsigned i = 0; i < 8; i++) {
        bool needed = short_names || (SPARE_IN_LONG >> i & 1) == 0;
        if (needed && (seen & (1U << i)) == 0) {
            *missing = short_names ? required_short[i] : required_long[i];
            return STATUS_MISSING;
        }
    }
    return STATUS_OK;
}
