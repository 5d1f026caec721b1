/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/mqstore/output.h"

#include "proto/json.h"
#include "proto/properties.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* --- JSON --- */

void json_begin(struct buf *out)
{
    buf_append_byte(out, '{');
}

void json_end(struct buf *out)
{
    buf_append_byte(out, '}');
}

void json_name(struct buf *out, const char *name)
{
    if (out->size > 0 && out->data[out->size - 1] != '{')
        buf_append_byte(out, ',');
    buf_printf(out, "\"%s\":", name);
}

void json_number(struct buf *out, const char *name, int64_t value)
{
    json_name(out, name);
    buf_append_number(out, value);
}

void json_bool(struct buf *out, const char *name, bool value)
{
    json_name(out, name);
    buf_append_cstr(out, value ? "true" : "false");
}

/* Bytes of the UTF-8 character at the beginning; 0: there is none. */
static size_t character_bytes(struct slice text)
{
    uint8_t first = text.data[0];
    size_t bytes = first < 0x80   ? 1
                   : first < 0xC2 ? 0
                   : first < 0xE0 ? 2
                   : first < 0xF0 ? 3
                   : first < 0xF5 ? 4
                                  : 0;
    if (bytes == 0 || bytes > text.size)
        return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((text.data[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong =
        (first == 0xE0 && text.data[1] < 0xA0) || (first == 0xF0 && text.data[1] < 0x90);
    bool surrogate = first == 0xED && text.data[1] >= 0xA0;
    bool beyond = first == 0xF4 && text.data[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : bytes;
}

static bool is_utf8(struct slice text)
{
    while (text.size > 0) {
        size_t bytes = character_bytes(text);
        if (bytes == 0)
            return false;
        text = slice_from(text, bytes);
    }
    return true;
}

void json_any_string(struct buf *out, struct slice text)
{
    if (is_utf8(text)) {
        json_write_string(out, text);
        return;
    }
    struct buf clean = BUF_EMPTY;
    while (text.size > 0) {
        size_t bytes = character_bytes(text);
        if (bytes == 0)
            buf_append_cstr(&clean, "\xEF\xBF\xBD");
        else
            buf_append(&clean, text.data, bytes);
        text = slice_from(text, bytes == 0 ? 1 : bytes);
    }
    json_write_string(out, buf_slice(&clean));
    buf_release(&clean);
}

void json_text(struct buf *out, const char *name, struct slice value)
{
    json_name(out, name);
    json_any_string(out, value);
}

void json_cstr(struct buf *out, const char *name, const char *value)
{
    json_text(out, name, slice_of_cstr(value));
}

static void json_base64(struct buf *out, const char *name, struct slice bytes)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    json_name(out, name);
    buf_append_byte(out, '"');
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)bytes.data[i + 2] : 0;
        buf_append_byte(out, (uint8_t)letters[group >> 18]);
        buf_append_byte(out, (uint8_t)letters[group >> 12 & 63]);
        buf_append_byte(out, left > 1 ? (uint8_t)letters[group >> 6 & 63] : '=');
        buf_append_byte(out, left > 2 ? (uint8_t)letters[group & 63] : '=');
    }
    buf_append_byte(out, '"');
}

/* --- messages --- */

static struct slice property(const struct record *record, const char *name)
{
    struct slice value = SLICE_EMPTY;
    (void)properties_find(record->properties, slice_of_cstr(name), &value);
    return value;
}

/* A name that comes more than once counts as in a Java map: the last one. */
static void json_properties(struct buf *out, struct slice properties)
{
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    bool first = true;
    json_name(out, "properties");
    json_begin(out);
    while (properties_next(properties, &cursor, &name, &value)) {
        struct slice last;
        if (properties_find(properties, name, &last) && last.data != value.data)
            continue;
        if (!first)
            buf_append_byte(out, ',');
        first = false;
        json_any_string(out, name);
        buf_append_byte(out, ':');
        json_any_string(out, value);
    }
    json_end(out);
}

static void json_message(struct buf *out, const struct record *record, enum message_form form)
{
    char host[HOST_TEXT_BYTES];
    char id[MESSAGE_ID_TEXT_BYTES];
    json_begin(out);
    json_text(out, "topic", record->topic);
    json_number(out, "queueId", record->queue_id);
    json_number(out, "queueOffset", record->queue_offset);
    json_number(out, "commitLogOffset", record->physical_offset);
    json_number(out, "size", record->size);
    json_number(out, "sysFlag", record->sys_flag);
    json_number(out, "flag", record->flag);
    json_number(out, "bornTimestamp", record->born_timestamp_ms);
    host_format(&record->born_host, host);
    json_cstr(out, "bornHost", host);
    json_number(out, "storeTimestamp", record->store_timestamp_ms);
    host_format(&record->store_host, host);
    json_cstr(out, "storeHost", host);
    json_number(out, "reconsumeTimes", record->reconsume_times);
    json_number(out, "preparedTransactionOffset", record->prepared_transaction_offset);
    json_number(out, "bodyCrc", record->body_crc);
    size_t bytes = message_id_format(&record->store_host, record->physical_offset, id);
    json_text(out, "offsetMsgId", slice_of(id, bytes));
    json_text(out, "uniqKey", property(record, PROPERTY_UNIQ_KEY));
    json_text(out, "tags", property(record, PROPERTY_TAGS));
    json_text(out, "keys", property(record, PROPERTY_KEYS));
    json_number(out, "storedBodyLength", (int64_t)record->body.size);
    json_properties(out, record->properties);
    if (form == MESSAGE_WITH_BODY && is_utf8(record->body))
        json_text(out, "body", record->body);
    else if (form == MESSAGE_WITH_BODY)
        json_base64(out, "bodyBase64", record->body);
    json_end(out);
}

/* A value for people: in quotes when it has blanks or what a terminal must not see. */
static void text_value(struct buf *out, const char *name, struct slice value)
{
    if (value.size == 0)
        return;
    bool plain = is_utf8(value);
    for (size_t i = 0; plain && i < value.size; i++)
        plain = value.data[i] > ' ' && value.data[i] != '"' && value.data[i] != 0x7F;
    buf_printf(out, " %s=", name);
    if (plain)
        buf_append_slice(out, value);
    else
        json_any_string(out, value);
}

static void text_message(struct buf *out, const struct record *record, enum message_form form)
{
    char time[TIME_TEXT_BYTES];
    char host[HOST_TEXT_BYTES];
    time_format(record->store_timestamp_ms, time);
    host_format(&record->born_host, host);
    buf_printf(out, "%lld", (long long)record->physical_offset);
    text_value(out, "topic", record->topic);
    buf_printf(out, " queue=%d offset=%lld size=%d body=%zu stored=\"%s\" from=%s",
               (int)record->queue_id, (long long)record->queue_offset, (int)record->size,
               record->body.size, time, host);
    text_value(out, "tags", property(record, PROPERTY_TAGS));
    text_value(out, "keys", property(record, PROPERTY_KEYS));
    text_value(out, "uniq", property(record, PROPERTY_UNIQ_KEY));
    if (record->sys_flag != 0)
        buf_printf(out, " sysFlag=%d", (int)record->sys_flag);
    if (record->flag != 0)
        buf_printf(out, " flag=%d", (int)record->flag);
    if (record->reconsume_times != 0)
        buf_printf(out, " reconsumed=%d", (int)record->reconsume_times);
    if (form == MESSAGE_LINE)
        return;
    buf_append_cstr(out, "\n    ");
    if (is_utf8(record->body))
        json_any_string(out, record->body);
    for (size_t i = 0; !is_utf8(record->body) && i < record->body.size; i++)
        buf_printf(out, "%02x", record->body.data[i]);
}

void message_print(const struct record *record, enum message_form form, bool json)
{
    struct buf out = BUF_EMPTY;
    if (json)
        json_message(&out, record, form);
    else
        text_message(&out, record, form);
    print_line(&out);
    buf_release(&out);
}

/* --- the rest --- */

void time_format(int64_t ms, char out[TIME_TEXT_BYTES])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (ms <= 0 || localtime_r(&seconds, &tm) == NULL) {
        (void)snprintf(out, TIME_TEXT_BYTES, "%lld", (long long)ms);
        return;
    }
    char date[24];
    (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    (void)snprintf(out, TIME_TEXT_BYTES, "%s.%03d", date, (int)(ms % 1000));
}

void print_line(struct buf *out)
{
    buf_append_byte(out, '\n');
    (void)fwrite(out->data, 1, out->size, stdout);
    buf_clear(out);
}

void progress_show(const char *what, int64_t done, int64_t total)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%s: %lld of %lld MiB ", what, (long long)(done >> 20),
                (long long)(total >> 20));
}

void progress_clear(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\x1b[K", stderr);
}

static const char *colour(const char *sequence)
{
    return isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL ? sequence : "";
}

const char *colour_bad(void)
{
    return colour("\x1b[31m");
}

const char *colour_note(void)
{
    return colour("\x1b[33m");
}

const char *colour_good(void)
{
    return colour("\x1b[32m");
}

const char *colour_off(void)
{
    return colour("\x1b[0m");
}
