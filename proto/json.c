/* SPDX-License-Identifier: Apache-2.0
 *
 * fastjson's dialect. Beyond standard JSON the reader takes object keys that are numbers or whole
 * objects, the escapes \' \v \F \0..\7 and \xHH, raw control characters in strings, numbers with
 * leading zeros, and NaN, which reads as null. Half a surrogate pair becomes '?', as when Java
 * encodes it. It does not take what fastjson also tolerates and no client sends: comments, single
 * quotes, bare words as keys, stray commas.
 *
 * The reader recurses, at most JSON_DEPTH_MAX deep. The children of a container that is still open
 * wait on one stack and move to the arena when it closes, so that arrays have their exact size.
 * Stack and arena together stay below DECODE_BYTES_MAX.
 *
 * The writer escapes what fastjson 1.2.76 escapes, found by printing every UTF-16 unit with it:
 *   U+0000-U+001F   \b \t \n \f \r, else \u00XX     U+0022, U+005C   \" \\
 *   U+007F-U+009F   \u00XX                          U+2028, U+2029   \u2028 \u2029
 * Bytes that are not UTF-8 are copied as they are.
 */
#include "proto/json.h"

#include "common/base/limits.h"
#include "common/base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct reader {
    const uint8_t *start;
    const uint8_t *at; /* where an error lies, when there is one */
    const uint8_t *end;
    struct arena *arena;
    size_t arena_bytes_max;
    struct buf stack; /* of struct json_value */
    unsigned depth;
};

static enum status read_value(struct reader *reader, struct json_value *out);

static bool has_room(const struct reader *reader, size_t more)
{
    size_t used = reader->arena->used_bytes + reader->stack.size;
    return used <= reader->arena_bytes_max && more <= reader->arena_bytes_max - used;
}

static void skip_white_space(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n' ||
                                        *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

static bool at_byte(const struct reader *reader, uint8_t byte)
{
    return reader->at < reader->end && *reader->at == byte;
}

/* --- strings ---------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `digits` hex digits at `p`, or -1. */
static int32_t read_hex(const uint8_t *p, const uint8_t *end, int digits)
{
    if (end - p < digits)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < digits; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static uint8_t *write_utf8(uint8_t *to, int32_t point)
{
    if (point < 0x80) {
        *to++ = (uint8_t)point;
        return to;
    }
    if (point < 0x800) {
        *to++ = (uint8_t)(0xC0 | point >> 6);
    } else {
        if (point < 0x10000) {
            *to++ = (uint8_t)(0xE0 | point >> 12);
        } else {
            *to++ = (uint8_t)(0xF0 | point >> 18);
            *to++ = (uint8_t)(0x80 | (point >> 12 & 0x3F));
        }
        *to++ = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    }
    *to++ = (uint8_t)(0x80 | (point & 0x3F));
    return to;
}

static bool is_high_surrogate(int32_t unit)
{
    return unit >= 0xD800 && unit < 0xDC00;
}

static bool is_low_surrogate(int32_t unit)
{
    return unit >= 0xDC00 && unit < 0xE000;
}

/* The code point of a \u escape whose digits start at *from; -1 when they are not four. */
static int32_t read_unicode_escape(const uint8_t **from, const uint8_t *end)
{
    int32_t unit = read_hex(*from, end, 4);
    if (unit < 0)
        return -1;
    *from += 4;
    if (is_high_surrogate(unit) && end - *from >= 6 && (*from)[0] == '\\' && (*from)[1] == 'u') {
        int32_t low = read_hex(*from + 2, end, 4);
        if (is_low_surrogate(low)) {
            *from += 6;
            return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return is_high_surrogate(unit) || is_low_surrogate(unit) ? '?' : unit;
}

/* The character of the escape whose letter is at *from, which moves behind it; -1 when unknown. */
static int32_t read_escape(const uint8_t **from, const uint8_t *end)
{
    static const char letters[] = "\"\\/'btnvfF";
    static const char meanings[] = "\"\\/'\b\t\n\v\f\f";
    if (*from == end)
        return -1;
    uint8_t letter = *(*from)++;
    if (letter == 'u')
        return read_unicode_escape(from, end);
    if (letter == 'x') {
        int32_t value = read_hex(*from, end, 2);
        *from += value < 0 ? 0 : 2;
        return value;
    }
    if (letter >= '0' && letter <= '7')
        return letter - '0';
    if (letter == 'r')
        return '\r';
    const char *found = letter == '\0' ? NULL : strchr(letters, letter);
    return found == NULL ? -1 : meanings[found - letters];
}

/* Unescape raw bytes [from, end) into the arena. Every escape is at least as long as what it
 * stands for. */
static enum status unescape(struct reader *reader, const uint8_t *from, const uint8_t *end,
                            struct slice *out)
{
    size_t raw_bytes = (size_t)(end - from);
    if (!has_room(reader, raw_bytes + 16))
        return STATUS_TOO_LARGE;
    uint8_t *text = arena_alloc(reader->arena, raw_bytes);
    uint8_t *to = text;
    while (from < end) {
        const uint8_t *escape = memchr(from, '\\', (size_t)(end - from));
        size_t plain_bytes = (size_t)((escape == NULL ? end : escape) - from);
        memcpy(to, from, plain_bytes);
        to += plain_bytes;
        from += plain_bytes;
        if (escape == NULL)
            break;
        from++;
        int32_t point = read_escape(&from, end);
        if (point < 0) {
            reader->at = escape;
            return STATUS_MALFORMED;
        }
        to = write_utf8(to, point);
    }
    *out = slice_of(text, (size_t)(to - text));
    return STATUS_OK;
}

/* The reader stands on the opening quote. */
static enum status read_string(struct reader *reader, struct json_value *out)
{
    const uint8_t *from = reader->at + 1;
    const uint8_t *p = from;
    bool escaped = false;
    while (p < reader->end && *p != '"') {
        if (*p == '\\') {
            escaped = true;
            p++;
        }
        p++;
    }
    if (p >= reader->end) {
        reader->at = reader->end;
        return STATUS_MALFORMED;
    }
    out->type = JSON_STRING;
    out->text = slice_of(from, (size_t)(p - from));
    if (escaped) {
        enum status status = unescape(reader, from, p, &out->text);
        if (status != STATUS_OK)
            return status;
    }
    reader->at = p + 1;
    return STATUS_OK;
}

/* --- scalars ---------------------------------------------------------------------------------- */

/* Skip digits; false when there is none. */
static bool skip_digits(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *from = *at;
    while (*at < end && **at >= '0' && **at <= '9')
        (*at)++;
    return *at > from;
}

/* Skip a number; false when the bytes at *at are none, which *at then points into. */
static bool skip_number(const uint8_t **at, const uint8_t *end)
{
    if (*at < end && **at == '-')
        (*at)++;
    if (!skip_digits(at, end))
        return false;
    if (*at < end && **at == '.') {
        (*at)++;
        if (!skip_digits(at, end))
            return false;
    }
    if (*at < end && (**at | 0x20) == 'e') {
        (*at)++;
        if (*at < end && (**at == '-' || **at == '+'))
            (*at)++;
        return skip_digits(at, end);
    }
    return true;
}

static enum status read_number(struct reader *reader, struct json_value *out)
{
    const uint8_t *from = reader->at;
    if (!skip_number(&reader->at, reader->end))
        return STATUS_MALFORMED;
    out->type = JSON_NUMBER;
    out->text = slice_of(from, (size_t)(reader->at - from));
    return STATUS_OK;
}

static enum status read_word(struct reader *reader, struct json_value *out)
{
    static const struct {
        const char *text;
        enum json_type type;
    } words[] = {
        {"true", JSON_TRUE},
        {"false", JSON_FALSE},
        {"null", JSON_NULL},
        {"NaN", JSON_NULL},
    };
    struct slice rest = slice_of(reader->at, (size_t)(reader->end - reader->at));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t bytes = strlen(words[i].text);
        if (slice_starts_with(rest, slice_of(words[i].text, bytes))) {
            out->type = words[i].type;
            out->text = slice_of(rest.data, bytes);
            reader->at += bytes;
            return STATUS_OK;
        }
    }
    return STATUS_MALFORMED;
}

/* --- containers ------------------------------------------------------------------------------- */

static enum status push(struct reader *reader, const struct json_value *value)
{
    if (!has_room(reader, sizeof *value))
        return STATUS_TOO_LARGE;
    buf_append(&reader->stack, value, sizeof *value);
    return STATUS_OK;
}

/* Move what lies above `base` on the stack into the arena; with `stride` 2 it is keys and values
 * in turn. */
static enum status pop(struct reader *reader, size_t base, size_t stride, struct json_value *out)
{
    size_t bytes = reader->stack.size - base;
    size_t count = bytes / sizeof(struct json_value) / stride;
    if (count == 0)
        return STATUS_OK;
    if (!has_room(reader, bytes))
        return STATUS_TOO_LARGE;
    const struct json_value *from = (const struct json_value *)(void *)(reader->stack.data + base);
    out->count = (uint32_t)count;
    out->items = arena_alloc(reader->arena, count * sizeof *out->items);
    if (stride == 1) {
        memcpy(out->items, from, bytes);
    } else {
        out->keys = arena_alloc(reader->arena, count * sizeof *out->keys);
        for (size_t i = 0; i < count; i++) {
            out->keys[i] = from[2 * i];
            out->items[i] = from[2 * i + 1];
        }
    }
    reader->stack.size = base;
    return STATUS_OK;
}

static enum status read_element(struct reader *reader)
{
    struct json_value value;
    enum status status = read_value(reader, &value);
    return status == STATUS_OK ? push(reader, &value) : status;
}

static enum status read_member(struct reader *reader)
{
    skip_white_space(reader);
    uint8_t first = reader->at < reader->end ? *reader->at : 0;
    if (first != '"' && first != '{' && first != '-' && !(first >= '0' && first <= '9'))
        return STATUS_MALFORMED;
    enum status status = read_element(reader);
    if (status != STATUS_OK)
        return status;
    skip_white_space(reader);
    if (!at_byte(reader, ':'))
        return STATUS_MALFORMED;
    reader->at++;
    return read_element(reader);
}

/* The reader stands on the opening bracket or brace. */
static enum status read_container(struct reader *reader, struct json_value *out)
{
    bool is_object = *reader->at == '{';
    uint8_t closing = is_object ? '}' : ']';
    const uint8_t *from = reader->at;
    size_t base = reader->stack.size;
    if (reader->depth == JSON_DEPTH_MAX)
        return STATUS_TOO_LARGE;
    reader->depth++;
    reader->at++;
    skip_white_space(reader);
    bool more = !at_byte(reader, closing);
    while (more) {
        enum status status = is_object ? read_member(reader) : read_element(reader);
        if (status != STATUS_OK)
            return status;
        skip_white_space(reader);
        more = at_byte(reader, ',');
        if (!more && !at_byte(reader, closing))
            return STATUS_MALFORMED;
        reader->at += more ? 1 : 0;
    }
    reader->at++;
    reader->depth--;
    out->type = is_object ? JSON_OBJECT : JSON_ARRAY;
    out->text = slice_of(from, (size_t)(reader->at - from));
    return pop(reader, base, is_object ? 2 : 1, out);
}

static enum status read_value(struct reader *reader, struct json_value *out)
{
    *out = (struct json_value){.type = JSON_NULL};
    skip_white_space(reader);
    if (reader->at == reader->end)
        return STATUS_MALFORMED;
    switch (*reader->at) {
    case '{':
    case '[':
        return read_container(reader, out);
    case '"':
        return read_string(reader, out);
    case 't':
    case 'f':
    case 'n':
    case 'N':
        return read_word(reader, out);
    default:
        return read_number(reader, out);
    }
}

enum status json_parse(struct slice text, struct arena *arena, struct json_value *out,
                       size_t *error_at)
{
    struct reader reader = {.start = text.data,
                            .at = text.data,
                            .end = text.size == 0 ? text.data : text.data + text.size,
                            .arena = arena,
                            .arena_bytes_max = arena->used_bytes + DECODE_BYTES_MAX};
    enum status status = read_value(&reader, out);
    if (status == STATUS_OK) {
        skip_white_space(&reader);
        if (reader.at != reader.end)
            status = STATUS_MALFORMED;
    }
    if (status != STATUS_OK && error_at != NULL)
        *error_at = (size_t)(reader.at - reader.start);
    buf_release(&reader.stack);
    return status;
}

/* --- access ----------------------------------------------------------------------------------- */

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    if (object->type != JSON_OBJECT)
        return NULL;
    struct slice wanted = slice_of_cstr(key);
    for (uint32_t i = object->count; i > 0; i--) {
        const struct json_value *candidate = &object->keys[i - 1];
        if (candidate->type != JSON_OBJECT && slice_equal(candidate->text, wanted))
            return &object->items[i - 1];
    }
    return NULL;
}

/* No double needs more digits than this; longer texts are refused. */
#define DOUBLE_TEXT_BYTES_MAX 400

bool json_as_double(const struct json_value *value, double *out)
{
    char text[DOUBLE_TEXT_BYTES_MAX + 1];
    const uint8_t *at = value->text.data;
    if ((value->type != JSON_NUMBER && value->type != JSON_STRING) || value->text.size == 0 ||
        value->text.size > DOUBLE_TEXT_BYTES_MAX)
        return false;
    const uint8_t *end = at + value->text.size;
    if (!skip_number(&at, end) || at != end)
        return false;
    memcpy(text, value->text.data, value->text.size);
    text[value->text.size] = '\0';
    double number = strtod(text, NULL);
    if (!isfinite(number))
        return false;
    *out = number;
    return true;
}

bool json_as_i64(const struct json_value *value, int64_t *out)
{
    double number;
    switch (value->type) {
    case JSON_FALSE:
    case JSON_TRUE:
        *out = value->type == JSON_TRUE;
        return true;
    case JSON_STRING:
        return parse_i64(value->text, out);
    case JSON_NUMBER:
        if (parse_i64(value->text, out))
            return true;
        /* Java cuts the fraction off; a whole number that does not fit is an error there too. */
        if (!json_as_double(value, &number) || number < -0x1p63 || number >= 0x1p63)
            return false;
        if (memchr(value->text.data, '.', value->text.size) == NULL &&
            memchr(value->text.data, 'e', value->text.size) == NULL &&
            memchr(value->text.data, 'E', value->text.size) == NULL)
            return false;
        *out = (int64_t)number;
        return true;
    default:
        return false;
    }
}

static bool is_word(struct slice text, const char *word)
{
    return text.size == strlen(word) && strncasecmp((const char *)text.data, word, text.size) == 0;
}

bool json_as_bool(const struct json_value *value, bool *out)
{
    int64_t number;
    switch (value->type) {
    case JSON_FALSE:
    case JSON_TRUE:
        *out = value->type == JSON_TRUE;
        return true;
    case JSON_NUMBER:
        if (!json_as_i64(value, &number))
            return false;
        *out = number == 1;
        return true;
    case JSON_STRING:
        *out = is_word(value->text, "true") || is_word(value->text, "1") ||
               is_word(value->text, "Y") || is_word(value->text, "T");
        return *out || is_word(value->text, "false") || is_word(value->text, "0") ||
               is_word(value->text, "N") || is_word(value->text, "F");
    default:
        return false;
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The UTF-16 unit to be escaped at text[i], its UTF-8 length in *bytes; -1 for a plain byte. */
static int32_t unit_to_escape(struct slice text, size_t i, size_t *bytes)
{
    uint8_t c = text.data[i];
    *bytes = 1;
    if (c < 0x20 || c == '"' || c == '\\' || c == 0x7F)
        return c;
    if (c == 0xC2 && text.size - i >= 2 && text.data[i + 1] >= 0x80 && text.data[i + 1] < 0xA0) {
        *bytes = 2;
        return text.data[i + 1];
    }
    if (c == 0xE2 && text.size - i >= 3 && text.data[i + 1] == 0x80 &&
        (text.data[i + 2] & 0xFE) == 0xA8) {
        *bytes = 3;
        return 0x2000 | (text.data[i + 2] & 0x3F);
    }
    return -1;
}

static void write_escape(struct buf *out, int32_t unit)
{
    static const char characters[] = "\"\\\b\t\n\f\r";
    static const char letters[] = "\"\\btnfr";
    const char *found = unit == 0 || unit >= 0x80 ? NULL : strchr(characters, unit);
    if (found == NULL) {
        buf_printf(out, "\\u%04X", (unsigned)unit);
    } else {
        buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)letters[found - characters]);
    }
}

void json_write_string(struct buf *out, struct slice text)
{
    size_t plain_from = 0;
    size_t i = 0;
    buf_append_byte(out, '"');
    while (i < text.size) {
        size_t bytes;
        int32_t unit = unit_to_escape(text, i, &bytes);
        if (unit >= 0) {
            buf_append(out, text.data + plain_from, i - plain_from);
            write_escape(out, unit);
            plain_from = i + bytes;
        }
        i += bytes;
    }
    if (i > plain_from)
        buf_append(out, text.data + plain_from, i - plain_from);
    buf_append_byte(out, '"');
}

/* Digits of the shortest decimal, at least two of them, that reads back as `value` (positive):
 * d.ddd x 10^exponent. Returns their count, trailing zeros removed. */
static int shortest_digits(double value, char digits[17], int *exponent)
{
    char text[32];
    int count = 1;
    do {
        count++;
        (void)snprintf(text, sizeof text, "%.*e", count - 1, value);
    } while (count < 17 && strtod(text, NULL) != value);
    digits[0] = text[0];
    memcpy(digits + 1, text + 2, (size_t)count - 1);
    *exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return count;
}

/* Append `count` digits from `digits`, or "0" when there are none. */
static void write_digits(struct buf *out, const char *digits, int count)
{
    if (count > 0)
        buf_append(out, digits, (size_t)count);
    else
        buf_append_byte(out, '0');
}

void json_write_double(struct buf *out, double value)
{
    char digits[17];
    int exponent;
    if (!isfinite(value)) {
        buf_append_cstr(out, "null");
        return;
    }
    if (signbit(value))
        buf_append_byte(out, '-');
    value = fabs(value);
    if (value == 0) {
        buf_append_cstr(out, "0.0");
        return;
    }
    int count = shortest_digits(value, digits, &exponent);
    if (value < 1e-3 || value >= 1e7) {
        buf_append_byte(out, (uint8_t)digits[0]);
        buf_append_byte(out, '.');
        write_digits(out, digits + 1, count - 1);
        buf_printf(out, "E%d", exponent);
    } else if (exponent < 0) {
        buf_append_cstr(out, "0.");
        for (int i = -1; i > exponent; i--)
            buf_append_byte(out, '0');
        write_digits(out, digits, count);
    } else {
        for (int i = 0; i <= exponent; i++)
            buf_append_byte(out, (uint8_t)(i < count ? digits[i] : '0'));
        buf_append_byte(out, '.');
        write_digits(out, digits + exponent + 1, count - exponent - 1);
    }
}
