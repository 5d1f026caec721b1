/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader works on the raw text in one pass. A continuation (backslash, line end, blanks) may
 * stand anywhere, even inside \uXXXX, because Java joins lines before it looks at escapes; so every
 * step to the next character goes through skip_continuations.
 *
 * Source: the load(Reader) contract of java.util.Properties.
 */
#include "common/conf/properties_file.h"

#include "common/conf/conf.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_line_end(uint8_t c)
{
    return c == '\n' || c == '\r';
}

void properties_reader_init(struct properties_reader *reader, struct slice text)
{
    bool marked = slice_starts_with(text, SLICE_LITERAL("\xEF\xBB\xBF"));
    *reader = (struct properties_reader){
        .text = text,
        .at = marked ? 3 : 0,
        .line = 1,
        .key = BUF_EMPTY,
        .value = BUF_EMPTY,
    };
}

void properties_reader_release(struct properties_reader *reader)
{
    buf_release(&reader->key);
    buf_release(&reader->value);
}

static void skip_line_end(struct properties_reader *reader)
{
    const uint8_t *data = reader->text.data;
    if (reader->at == reader->text.size)
        return;
    if (data[reader->at] == '\r' && reader->at + 1 < reader->text.size &&
        data[reader->at + 1] == '\n')
        reader->at++;
    reader->at++;
    reader->line++;
}

static void skip_continuations(struct properties_reader *reader)
{
    const uint8_t *data = reader->text.data;
    size_t size = reader->text.size;
    while (reader->at < size && data[reader->at] == '\\' &&
           (reader->at + 1 == size || is_line_end(data[reader->at + 1]))) {
        reader->at++;
        skip_line_end(reader);
        while (reader->at < size && is_blank(data[reader->at]))
            reader->at++;
    }
}

/* At the end of the logical line. */
static bool at_end(struct properties_reader *reader)
{
    skip_continuations(reader);
    return reader->at == reader->text.size || is_line_end(reader->text.data[reader->at]);
}

static void skip_blanks(struct properties_reader *reader)
{
    while (!at_end(reader) && is_blank(reader->text.data[reader->at]))
        reader->at++;
}

/* Four hexadecimal digits behind \u. */
static enum status read_unit(struct properties_reader *reader, unsigned *out, struct err *err)
{
    unsigned unit = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at_end(reader) ? 0 : reader->text.data[reader->at];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = c - (unsigned)'0';
        else if (c >= 'a' && c <= 'f')
            digit = c - (unsigned)'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = c - (unsigned)'A' + 10;
        else
            return err_set(err, STATUS_MALFORMED,
                           "\\u must be followed by four hexadecimal digits (a backslash itself is "
                           "written \\\\)");
        unit = unit << 4 | digit;
        reader->at++;
    }
    *out = unit;
    return STATUS_OK;
}

static void append_utf8(struct buf *out, unsigned code_point)
{
    if (code_point < 0x80) {
        buf_append_byte(out, (uint8_t)code_point);
        return;
    }
    if (code_point < 0x800) {
        buf_append_byte(out, (uint8_t)(0xC0 | code_point >> 6));
    } else if (code_point < 0x10000) {
        buf_append_byte(out, (uint8_t)(0xE0 | code_point >> 12));
        buf_append_byte(out, (uint8_t)(0x80 | (code_point >> 6 & 0x3F)));
    } else {
        buf_append_byte(out, (uint8_t)(0xF0 | code_point >> 18));
        buf_append_byte(out, (uint8_t)(0x80 | (code_point >> 12 & 0x3F)));
        buf_append_byte(out, (uint8_t)(0x80 | (code_point >> 6 & 0x3F)));
    }
    buf_append_byte(out, (uint8_t)(0x80 | (code_point & 0x3F)));
}

/* Half a surrogate pair alone becomes '?', as in Java's UTF-8 encoder. True when there was one. */
static bool flush_high(struct buf *out, unsigned *high)
{
    bool waits = *high != 0;
    if (waits)
        buf_append_byte(out, '?');
    *high = 0;
    return waits;
}

/* Append a UTF-16 unit; the first half of a pair waits in *high. */
static void append_unit(struct buf *out, unsigned unit, unsigned *high)
{
    bool is_low = unit >= 0xDC00 && unit <= 0xDFFF;
    if (*high != 0 && is_low) {
        append_utf8(out, 0x10000 + ((*high - 0xD800) << 10) + (unit - 0xDC00));
        *high = 0;
        return;
    }
    (void)flush_high(out, high);
    if (unit >= 0xD800 && unit <= 0xDBFF)
        *high = unit;
    else
        append_utf8(out, is_low ? '?' : unit);
}

static uint8_t unescape(uint8_t c)
{
    switch (c) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    default:
        return c;
    }
}

/* Read a key or a value into `out`; bare blanks at the end of a value are dropped. */
static enum status read_text(struct properties_reader *reader, bool is_key, struct buf *out,
                             struct err *err)
{
    size_t solid = 0;
    unsigned high = 0;
    buf_clear(out);
    while (!at_end(reader)) {
        uint8_t c = reader->text.data[reader->at];
        if (is_key && (c == '=' || c == ':' || is_blank(c)))
            break;
        reader->at++;
        bool escaped = c == '\\';
        if (escaped)
            c = reader->text.data[reader->at++];
        if (escaped && c == 'u') {
            unsigned unit = 0;
            enum status status = read_unit(reader, &unit, err);
            if (status != STATUS_OK)
                return status;
            append_unit(out, unit, &high);
        } else {
            solid = flush_high(out, &high) ? out->size : solid;
            buf_append_byte(out, escaped ? unescape(c) : c);
        }
        if (escaped || !is_blank(c))
            solid = out->size;
    }
    if (high == 0)
        out->size = solid;
    (void)flush_high(out, &high);
    return STATUS_OK;
}

/* To the first character of the next line that holds a pair; false at the end of the text. */
static bool find_pair(struct properties_reader *reader)
{
    const uint8_t *data = reader->text.data;
    size_t size = reader->text.size;
    while (reader->at < size) {
        skip_blanks(reader);
        if (!at_end(reader) && data[reader->at] != '#' && data[reader->at] != '!')
            return true;
        while (reader->at < size && !is_line_end(data[reader->at]))
            reader->at++;
        skip_line_end(reader);
    }
    return false;
}

enum status properties_reader_next(struct properties_reader *reader, struct properties_entry *entry,
                                   struct err *err)
{
    if (!find_pair(reader))
        return STATUS_NOT_FOUND;
    int line = reader->line;
    enum status status = read_text(reader, true, &reader->key, err);
    if (status != STATUS_OK)
        return status;
    size_t key_end = reader->at;
    skip_blanks(reader);
    if (!at_end(reader) &&
        (reader->text.data[reader->at] == '=' || reader->text.data[reader->at] == ':')) {
        reader->at++;
        skip_blanks(reader);
    }
    size_t value_start = reader->at;
    status = read_text(reader, false, &reader->value, err);
    if (status != STATUS_OK)
        return status;
    *entry = (struct properties_entry){
        .key = buf_slice(&reader->key),
        .value = buf_slice(&reader->value),
        .line = line,
        .value_start = value_start,
        .value_end = reader->at,
        .separated = value_start > key_end,
    };
    skip_line_end(reader);
    return STATUS_OK;
}

enum status java_properties_parse(struct slice text,
                                  enum status (*each)(void *ctx, struct slice key,
                                                      struct slice value, int line,
                                                      struct err *err),
                                  void *ctx, struct err *err)
{
    struct properties_reader reader;
    struct properties_entry entry;
    properties_reader_init(&reader, text);
    struct err cause = {0};
    enum status status;
    while ((status = properties_reader_next(&reader, &entry, &cause)) == STATUS_OK) {
        status = each(ctx, entry.key, entry.value, entry.line, err);
        if (status != STATUS_OK) {
            properties_reader_release(&reader);
            return status;
        }
    }
    int line = reader.line;
    properties_reader_release(&reader);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    return err_set(err, status, "line %d: %s", line, cause.text);
}

void properties_append_value(struct buf *out, struct slice value)
{
    size_t solid = value.size;
    while (solid > 0 && is_blank(value.data[solid - 1]))
        solid--;
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c == '\n' || c == '\r') {
            buf_append_cstr(out, c == '\n' ? "\\n" : "\\r");
            continue;
        }
        bool edge_blank = is_blank(c) && (i == 0 || i >= solid);
        if (c == '\t' && edge_blank) {
            buf_append_cstr(out, "\\t");
            continue;
        }
        if (c == '\f' && edge_blank) {
            buf_append_cstr(out, "\\f");
            continue;
        }
        bool like_separator = i == 0 && (c == '=' || c == ':');
        if (c == '\\' || edge_blank || like_separator)
            buf_append_byte(out, '\\');
        buf_append_byte(out, c);
    }
}
