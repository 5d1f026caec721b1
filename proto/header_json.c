/* SPDX-License-Identifier: Apache-2.0
 *
 *     {"code":310,"extFields":{"a":"PG_a",...},"flag":0,"language":"JAVA","opaque":31,
 *      "remark":"...","serializeTypeCurrentRPC":"JSON","version":397}
 *
 * The reader walks the bytes once and builds no tree. It takes what fastjson 1.2.76 was seen to
 * take from such a header: keys in any order, white space, unknown keys, superfluous commas,
 * numbers as strings, fractions cut off, null for "not given", raw control characters and
 * fastjson's own escapes (\x41 \0 \v \') in strings. Of fastjson's further liberties comments, bare
 * and single-quoted names, and exponents in integers are refused; no client sends them.
 * Bytes that are not valid UTF-8 pass through unchanged. A surrogate without its other half becomes
 * '?', which is what Java writes for it.
 *
 * The writer reserves once for the case that nothing needs an escape.
 */
#include "proto/header_json.h"

#include "common/base/limits.h"
#include "common/base/number.h"
#include "proto/json.h"

/* --- words of eight bytes ---------------------------------------------------------------------
 * The usual tricks to test eight bytes at once. The lowest flagged byte is exact; flags above it
 * may be wrong, which is why only the lowest, or "none at all", is ever used. */

#define ONES 0x0101010101010101U
#define HIGH_BITS 0x8080808080808080U

static uint64_t load_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t flag_equal(uint64_t word, uint8_t byte)
{
    uint64_t difference = word ^ (ONES * byte);
    return (difference - ONES) & ~difference & HIGH_BITS;
}

/* Non-zero when a byte is not plain: below 0x20, above 0x7E, a quote or a backslash. */
static uint64_t flag_special(uint64_t word)
{
    uint64_t control = (word - ONES * 0x20) & ~word & HIGH_BITS;
    uint64_t above = (word | (word + ONES)) & HIGH_BITS;
    return control | above | flag_equal(word, '"') | flag_equal(word, '\\');
}

static bool is_special(uint8_t byte)
{
    return byte < 0x20 || byte > 0x7E || byte == '"' || byte == '\\';
}

/* --- reading ----------------------------------------------------------------------------------
 * The position `p` is passed and returned by value, so that it stays in a register. Functions
 * return the position behind what they read, or NULL after fail(). */

struct reader {
    const uint8_t *end;
    struct arena *arena;
    uint8_t *scratch; /* room for unescaped strings, taken at the first escape */
    enum status status;
};

static const uint8_t *fail(struct reader *r, enum status status)
{
    r->status = status;
    return NULL;
}

static inline bool is_space(uint8_t byte)
{
    return byte <= ' ' && (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r');
}

static inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* The first quote or backslash at or behind `p`, or `end`. */
static inline const uint8_t *string_stop(const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t word = load_word(p);
        uint64_t flags = flag_equal(word, '"') | flag_equal(word, '\\');
        if (flags != 0)
            return p + (__builtin_ctzll(flags) >> 3);
    }
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* Behind a string, `p` behind its opening quote. */
static const uint8_t *skip_string(struct reader *r, const uint8_t *p)
{
    for (;;) {
        p = string_stop(p, r->end);
        if (r->end - p < 2)
            return p < r->end && *p == '"' ? p + 1 : fail(r, STATUS_MALFORMED);
        if (*p == '"')
            return p + 1;
        p += 2;
    }
}

/* The complement of each hexadecimal digit's value, so that every other byte gives 0xFF. */
static const uint8_t hex_complement[256] = {
    ['0'] = 0xFF, ['1'] = 0xFE, ['2'] = 0xFD, ['3'] = 0xFC, ['4'] = 0xFB, ['5'] = 0xFA,
    ['6'] = 0xF9, ['7'] = 0xF8, ['8'] = 0xF7, ['9'] = 0xF6, ['A'] = 0xF5, ['B'] = 0xF4,
    ['C'] = 0xF3, ['D'] = 0xF2, ['E'] = 0xF1, ['F'] = 0xF0, ['a'] = 0xF5, ['b'] = 0xF4,
    ['c'] = 0xF3, ['d'] = 0xF2, ['e'] = 0xF1, ['f'] = 0xF0,
};

static const uint8_t *read_hex(struct reader *r, const uint8_t *p, int digits, uint32_t *out)
{
    uint32_t value = 0;
    uint32_t bad = 0;
    if (r->end - p < digits)
        return fail(r, STATUS_MALFORMED);
    for (int i = 0; i < digits; i++) {
        uint8_t digit = (uint8_t)~hex_complement[p[i]];
        bad |= digit;
        value = value << 4 | (digit & 0xFU);
    }
    *out = value;
    return bad <= 0xF ? p + digits : fail(r, STATUS_MALFORMED);
}

static uint8_t *put_utf8(uint8_t *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (uint8_t)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (uint8_t)(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (uint8_t)(0xE0 | c >> 12);
        } else {
            *to++ = (uint8_t)(0xF0 | c >> 18);
            *to++ = (uint8_t)(0x80 | (c >> 12 & 0x3F));
        }
        *to++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    }
    *to++ = (uint8_t)(0x80 | (c & 0x3F));
    return to;
}

/* Replaces the half of a surrogate pair in *unit by the whole character if the other half follows
 * as \uXXXX, else by '?'. */
static const uint8_t *join_surrogates(struct reader *r, const uint8_t *p, uint32_t *unit)
{
    uint32_t high = *unit;
    *unit = '?';
    if (high > 0xDBFF || r->end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return p;
    uint32_t low;
    const uint8_t *behind = read_hex(r, p + 2, 4, &low);
    if (behind == NULL)
        return NULL;
    if (low < 0xDC00 || low > 0xDFFF)
        return p;
    *unit = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    return behind;
}

/* One escape, `p` at its backslash. */
static const uint8_t *read_escape(struct reader *r, const uint8_t *p, uint32_t *out)
{
    static const char names[] = "\"\\/'bfnrtv";
    static const char values[] = "\"\\/'\b\f\n\r\t\v";
    if (r->end - p < 2)
        return fail(r, STATUS_MALFORMED);
    uint8_t letter = p[1];
    p += 2;
    if (letter == 'u') {
        p = read_hex(r, p, 4, out);
        return p == NULL || *out < 0xD800 || *out > 0xDFFF ? p : join_surrogates(r, p, out);
    }
    if (letter == 'x')
        return read_hex(r, p, 2, out);
    if (letter >= '0' && letter <= '7') {
        *out = (uint32_t)letter - '0';
        return p;
    }
    const char *found = letter == 0 ? NULL : strchr(names, letter);
    if (found == NULL)
        return fail(r, STATUS_MALFORMED);
    *out = (uint8_t)values[found - names];
    return p;
}

static uint8_t *copy_bytes(uint8_t *to, const uint8_t *from, size_t size)
{
    memcpy(to, from, size);
    return to + size;
}

/* A string that starts at `p` and has its first escape at `stop`. No escape is shorter than the
 * bytes it stands for; so scratch room as large as the rest of the header, taken once, is enough
 * for all strings to come. */
static const uint8_t *read_escaped(struct reader *r, const uint8_t *p, const uint8_t *stop,
                                   struct slice *out)
{
    if (r->scratch == NULL)
        r->scratch = arena_alloc(r->arena, (size_t)(r->end - p));
    uint8_t *to = r->scratch;
    while (stop < r->end && *stop == '\\') {
        to = copy_bytes(to, p, (size_t)(stop - p));
        uint32_t character;
        p = read_escape(r, stop, &character);
        if (p == NULL)
            return NULL;
        to = put_utf8(to, character);
        stop = string_stop(p, r->end);
    }
    if (stop == r->end)
        return fail(r, STATUS_MALFORMED);
    to = copy_bytes(to, p, (size_t)(stop - p));
    *out = slice_of(r->scratch, (size_t)(to - r->scratch));
    r->scratch = to;
    return stop + 1;
}

/* A string, `p` behind its opening quote. */
static inline const uint8_t *read_string(struct reader *r, const uint8_t *p, struct slice *out)
{
    const uint8_t *stop = string_stop(p, r->end);
    if (stop == r->end)
        return fail(r, STATUS_MALFORMED);
    if (*stop == '\\')
        return read_escaped(r, p, stop, out);
    *out = slice_of(p, (size_t)(stop - p));
    return stop + 1;
}

/* A number, true, false or null as it is written. Beyond its letters a number is not checked:
 * whoever needs its value parses it. */
static const uint8_t *read_bare(struct reader *r, const uint8_t *p, struct slice *out)
{
    const uint8_t *start = p;
    bool digits = false;
    bool letters = false;
    for (; p < r->end; p++) {
        uint8_t lower = *p | 0x20;
        if (*p >= '0' && *p <= '9')
            digits = true;
        else if (lower >= 'a' && lower <= 'z')
            letters = letters || lower != 'e';
        else if (*p != '+' && *p != '-' && *p != '.')
            break;
    }
    *out = slice_of(start, (size_t)(p - start));
    bool valid = letters
                     ? slice_is(*out, "true") || slice_is(*out, "false") || slice_is(*out, "null")
                     : digits;
    return valid ? p : fail(r, STATUS_MALFORMED);
}

/* Step over an object or an array, `p` at its bracket. Only brackets and strings are looked at.
 * Bit n of `objects` tells whether level n from the inside is an object. */
static const uint8_t *skip_nested(struct reader *r, const uint8_t *p)
{
    _Static_assert(JSON_DEPTH_MAX <= 64, "one bit per level");
    uint64_t objects = 0;
    int depth = 0;
    do {
        if (p == r->end)
            return fail(r, STATUS_MALFORMED);
        uint8_t c = *p++;
        if (c == '"') {
            p = skip_string(r, p);
            if (p == NULL)
                return NULL;
        } else if (c == '{' || c == '[') {
            if (depth++ == JSON_DEPTH_MAX)
                return fail(r, STATUS_TOO_LARGE);
            objects = objects << 1 | (c == '{');
        } else if (c == '}' || c == ']') {
            if ((objects & 1) != (c == '}'))
                return fail(r, STATUS_MALFORMED);
            objects >>= 1;
            depth--;
        }
    } while (depth > 0);
    return p;
}

/* Any value as text: a string unescaped, everything else as it is written. `p` is at its start. */
static inline const uint8_t *read_text(struct reader *r, const uint8_t *p, struct slice *out,
                                       bool *is_null)
{
    *is_null = false;
    if (p == r->end)
        return fail(r, STATUS_MALFORMED);
    if (*p == '"')
        return read_string(r, p + 1, out);
    const uint8_t *start = p;
    if (*p == '{' || *p == '[') {
        p = skip_nested(r, p);
        *out = slice_of(start, p == NULL ? 0 : (size_t)(p - start));
        return p;
    }
    p = read_bare(r, p, out);
    *is_null = *start == 'n';
    return p;
}

/* The text of an int32 as fastjson reads it; an empty one leaves *out alone. */
static bool parse_lenient(struct slice text, int32_t *out)
{
    if (text.size == 0 || slice_is(text, "null"))
        return true;
    if (slice_is(text, "true") || slice_is(text, "false")) {
        *out = text.data[0] == 't';
        return true;
    }
    const uint8_t *point = memchr(text.data, '.', text.size);
    if (point != NULL) {
        for (const uint8_t *p = point + 1; p < text.data + text.size; p++)
            if (*p < '0' || *p > '9')
                return false;
        text.size = (size_t)(point - text.data);
    }
    return parse_i32(text, out);
}

#define EASY_DIGITS 9 /* any so many digits fit an int32 */

static const uint8_t *read_i32(struct reader *r, const uint8_t *p, int32_t *out)
{
    const uint8_t *digit = p;
    int32_t value = 0;
    while (digit < r->end && *digit >= '0' && *digit <= '9' && digit - p < EASY_DIGITS)
        value = value * 10 + (*digit++ - '0');
    if (digit > p && digit < r->end && (*digit == ',' || *digit == '}')) {
        *out = value;
        return digit;
    }
    struct slice text;
    bool is_null;
    p = read_text(r, p, &text, &is_null);
    if (p != NULL && !is_null && !parse_lenient(text, out))
        return fail(r, STATUS_MALFORMED);
    return p;
}

/* A language by name, or by number where it is not a string. */
static const uint8_t *read_language(struct reader *r, const uint8_t *p, uint8_t *out)
{
    bool quoted = p < r->end && *p == '"';
    struct slice text;
    bool is_null;
    p = read_text(r, p, &text, &is_null);
    if (p == NULL)
        return NULL;
    int32_t number;
    if (quoted)
        *out = slice_equal(text, SLICE_LITERAL("JAVA")) ? LANGUAGE_JAVA : language_number(text);
    else if (parse_i32(text, &number) && number >= 0 && number <= LANGUAGE_NODE_JS)
        *out = (uint8_t)number;
    else
        *out = LANGUAGE_UNKNOWN;
    return p;
}

/* The next member's name; `p` is behind the opening brace or a value, the result at the member's
 * value. At the end of the object name->data is NULL and the result behind the closing brace. */
static inline const uint8_t *next_member(struct reader *r, const uint8_t *p, struct slice *name)
{
    p = skip_space(p, r->end);
    while (p < r->end && *p == ',')
        p = skip_space(p + 1, r->end);
    if (p < r->end && *p == '"') {
        p = read_string(r, p + 1, name);
        if (p == NULL)
            return NULL;
        p = skip_space(p, r->end);
        return p < r->end && *p == ':' ? skip_space(p + 1, r->end) : fail(r, STATUS_MALFORMED);
    }
    *name = SLICE_EMPTY;
    return p < r->end && *p == '}' ? p + 1 : fail(r, STATUS_MALFORMED);
}

/* A value must be followed by a comma or the end of its object; neither is consumed. */
static inline const uint8_t *member_end(struct reader *r, const uint8_t *p)
{
    p = skip_space(p, r->end);
    return p < r->end && (*p == ',' || *p == '}') ? p : fail(r, STATUS_MALFORMED);
}

/* Java's map keeps a null under that name, which hides an earlier value. */
static void ext_remove(struct ext_map *ext, struct slice name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ext->count; i++)
        if (!slice_equal(ext->fields[i].name, name))
            ext->fields[kept++] = ext->fields[i];
    ext->count = kept;
}

static const uint8_t *read_ext(struct reader *r, const uint8_t *p, struct ext_map *ext)
{
    struct slice name;
    struct slice value;
    bool is_null;
    ext->count = 0;
    ext->present = false;
    if (p == r->end || *p != '{') {
        p = read_text(r, p, &value, &is_null);
        return p == NULL || is_null ? p : fail(r, STATUS_MALFORMED);
    }
    ext->present = true;
    p = next_member(r, p + 1, &name);
    for (int members = 1; p != NULL && name.data != NULL; members++) {
        if (members > EXT_FIELDS_MAX)
            return fail(r, STATUS_TOO_LARGE);
        p = read_text(r, p, &value, &is_null);
        if (p == NULL)
            return NULL;
        if (is_null)
            ext_remove(ext, name);
        else
            ext_append(ext, r->arena, name, value);
        p = member_end(r, p);
        if (p != NULL)
            p = next_member(r, p, &name);
    }
    return p;
}

static const uint8_t *read_remark(struct reader *r, const uint8_t *p, struct command *out)
{
    struct slice text;
    bool is_null;
    p = read_text(r, p, &text, &is_null);
    if (p != NULL && !is_null) {
        out->remark = text;
        out->has_remark = true;
    }
    return p;
}

static const uint8_t *read_member(struct reader *r, const uint8_t *p, struct slice name,
                                  struct command *out)
{
    if (slice_equal(name, SLICE_LITERAL("code")))
        return read_i32(r, p, &out->code);
    if (slice_equal(name, SLICE_LITERAL("extFields")))
        return read_ext(r, p, &out->ext);
    if (slice_equal(name, SLICE_LITERAL("flag")))
        return read_i32(r, p, &out->flag);
    if (slice_equal(name, SLICE_LITERAL("language")))
        return read_language(r, p, &out->language);
    if (slice_equal(name, SLICE_LITERAL("opaque")))
        return read_i32(r, p, &out->opaque);
    if (slice_equal(name, SLICE_LITERAL("remark")))
        return read_remark(r, p, out);
    if (slice_equal(name, SLICE_LITERAL("version")))
        return read_i32(r, p, &out->version);
    struct slice unknown;
    bool is_null;
    return read_text(r, p, &unknown, &is_null);
}

enum status header_json_decode(struct slice header, struct arena *arena, struct command *out)
{
    if (header.size == 0)
        return STATUS_MALFORMED;
    struct reader r = {.end = header.data + header.size, .arena = arena, .status = STATUS_OK};
    *out = (struct command){.language = LANGUAGE_JAVA};
    const uint8_t *p = skip_space(header.data, r.end);
    if (p == r.end || *p != '{')
        return STATUS_MALFORMED;
    struct slice name;
    p = next_member(&r, p + 1, &name);
    while (p != NULL && name.data != NULL) {
        p = read_member(&r, p, name, out);
        if (p != NULL)
            p = member_end(&r, p);
        if (p != NULL)
            p = next_member(&r, p, &name);
    }
    if (p == NULL)
        return r.status;
    return skip_space(p, r.end) == r.end ? STATUS_OK : STATUS_MALFORMED;
}

/* --- writing ----------------------------------------------------------------------------------*/

/* `p` runs ahead of out->size; behind it there is room for all that is still to come, if nothing
 * needs an escape. */
struct writer {
    uint8_t *p;
    struct buf *out;
    size_t room;
};

/* All keys, punctuation, numbers and the language together: 108 + 4 * 11 + 7 at most. */
#define FIXED_BYTES_MAX 192
#define FIELD_BYTES 6 /* "":"", of one ext field */

#define PUT_LITERAL(w, text) put_text(w, text, sizeof(text) - 1)

static inline void put_text(struct writer *w, const char *text, size_t size)
{
    memcpy(w->p, text, size);
    w->p += size;
}

static void put_number(struct writer *w, int64_t value)
{
    w->p += format_i64(value, (char *)w->p);
}

/* Copies until a byte needs a closer look; true when all of `s` went through. */
static bool copy_plain(uint8_t *to, struct slice s)
{
    size_t i = 0;
    for (; s.size - i >= 8; i += 8) {
        uint64_t word = load_word(s.data + i);
        if (flag_special(word) != 0)
            return false;
        memcpy(to + i, &word, sizeof word);
    }
    for (; i < s.size; i++) {
        if (is_special(s.data[i]))
            return false;
        to[i] = s.data[i];
    }
    return true;
}

static void put_string(struct writer *w, struct slice s)
{
    if (copy_plain(w->p + 1, s)) {
        w->p[0] = '"';
        w->p[s.size + 1] = '"';
        w->p += s.size + 2;
        return;
    }
    w->out->size = (size_t)(w->p - w->out->data);
    json_write_string(w->out, s);
    w->p = buf_reserve(w->out, w->room);
}

static void put_ext(struct writer *w, const struct ext_map *ext)
{
    PUT_LITERAL(w, ",\"extFields\":{");
    for (uint32_t i = 0; i < ext->count; i++) {
        if (i > 0)
            *w->p++ = ',';
        put_string(w, ext->fields[i].name);
        *w->p++ = ':';
        put_string(w, ext->fields[i].value);
    }
    *w->p++ = '}';
}

enum status header_json_encode(const struct command *command, struct buf *out)
{
    size_t room = FIXED_BYTES_MAX + (command->has_remark ? command->remark.size : 0);
    for (uint32_t i = 0; i < command->ext.count; i++)
        room += FIELD_BYTES + command->ext.fields[i].name.size + command->ext.fields[i].value.size;
    struct writer w = {buf_reserve(out, room), out, room};

    PUT_LITERAL(&w, "{\"code\":");
    put_number(&w, command->code);
    if (command->ext.present || command->ext.count > 0)
        put_ext(&w, &command->ext);
    PUT_LITERAL(&w, ",\"flag\":");
    put_number(&w, command->flag);
    PUT_LITERAL(&w, ",\"language\":\"");
    const char *language = language_name(command->language);
    put_text(&w, language, strlen(language));
    PUT_LITERAL(&w, "\",\"opaque\":");
    put_number(&w, command->opaque);
    if (command->has_remark) {
        PUT_LITERAL(&w, ",\"remark\":");
        put_string(&w, command->remark);
    }
    PUT_LITERAL(&w, ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(&w, command->version);
    *w.p++ = '}';
    out->size = (size_t)(w.p - out->data);
    return STATUS_OK;
}
