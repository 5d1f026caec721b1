/* SPDX-License-Identifier: Apache-2.0
 *
 * A scanner that knows just enough JSON to step over values: strings, brackets, and the rest up to
 * the next comma or bracket. It recognises three members and copies their text; whether that text
 * is right is for the decoder to say.
 *
 *     {"filterServerList":[..],"topicConfigSerializeWrapper":{"dataVersion":{..},
 *      "topicConfigTable":{..}}}
 */
#include "namesrv/outline.h"

struct scan {
    struct slice text;
    size_t at;
};

/* Texts of the members, empty while not met. */
struct parts {
    struct slice filter_servers;
    struct slice data_version;
    bool has_wrapper;
};

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->text.size &&
           (scan->text.data[scan->at] == ' ' || scan->text.data[scan->at] == '\t' ||
            scan->text.data[scan->at] == '\n' || scan->text.data[scan->at] == '\r'))
        scan->at++;
}

/* The next byte that is not white space, or 0 at the end. */
static uint8_t peek(struct scan *scan)
{
    skip_space(scan);
    return scan->at < scan->text.size ? scan->text.data[scan->at] : 0;
}

static bool expect(struct scan *scan, uint8_t byte)
{
    if (peek(scan) != byte)
        return false;
    scan->at++;
    return true;
}

/* Step over a string; the cursor is at its opening quote. */
static bool skip_string(struct scan *scan)
{
    for (scan->at++; scan->at < scan->text.size; scan->at++) {
        if (scan->text.data[scan->at] == '\\')
            scan->at++;
        else if (scan->text.data[scan->at] == '"') {
            scan->at++;
            return true;
        }
    }
    return false;
}

/* Step over an object or array; the cursor is at its opening bracket. Brackets are counted, not
 * matched by kind. */
static bool skip_brackets(struct scan *scan)
{
    size_t depth = 0;
    while (scan->at < scan->text.size) {
        switch (scan->text.data[scan->at]) {
        case '"':
            if (!skip_string(scan))
                return false;
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0) {
                scan->at++;
                return true;
            }
            break;
        default:
            break;
        }
        scan->at++;
    }
    return false;
}

static bool skip_value(struct scan *scan, struct slice *value)
{
    uint8_t first = peek(scan);
    size_t start = scan->at;
    if (first == '"') {
        if (!skip_string(scan))
            return false;
    } else if (first == '{' || first == '[') {
        if (!skip_brackets(scan))
            return false;
    } else {
        while (scan->at < scan->text.size && scan->text.data[scan->at] != ',' &&
               scan->text.data[scan->at] != '}' && scan->text.data[scan->at] != ']')
            scan->at++;
        if (scan->at == start)
            return false;
    }
    *value = slice_of(scan->text.data + start, scan->at - start);
    return true;
}

static bool read_key(struct scan *scan, struct slice *key)
{
    if (peek(scan) != '"')
        return false;
    size_t start = scan->at + 1;
    if (!skip_string(scan))
        return false;
    *key = slice_of(scan->text.data + start, scan->at - 1 - start);
    return expect(scan, ':');
}

static bool complete(const struct parts *parts)
{
    return parts->filter_servers.size != 0 && parts->data_version.size != 0;
}

/* One object; `nested` inside the wrapper. Stops as soon as nothing more can come. */
static bool read_object(struct scan *scan, bool nested, struct parts *parts)
{
    if (!expect(scan, '{'))
        return false;
    if (expect(scan, '}'))
        return true;
    do {
        struct slice key;
        struct slice value;
        if (!read_key(scan, &key))
            return false;
        if (!nested && slice_is(key, "topicConfigSerializeWrapper") && peek(scan) == '{') {
            parts->has_wrapper = true;
            if (!read_object(scan, true, parts))
                return false;
        } else if (!skip_value(scan, &value)) {
            return false;
        } else if (!nested && slice_is(key, "filterServerList")) {
            parts->filter_servers = value;
        } else if (slice_is(key, "dataVersion")) {
            parts->data_version = value;
        }
        if (complete(parts))
            return true;
    } while (expect(scan, ','));
    return expect(scan, '}');
}

bool outline_cut(struct slice json, struct arena *arena, struct slice *out)
{
    struct scan scan = {json, 0};
    struct parts parts = {SLICE_EMPTY, SLICE_EMPTY, false};
    if (!read_object(&scan, false, &parts) || parts.data_version.size == 0)
        return false;
    struct slice servers =
        parts.filter_servers.size != 0 ? parts.filter_servers : SLICE_LITERAL("[]");
    char *text;
    if (parts.has_wrapper)
        text = arena_printf(arena,
                            "{\"filterServerList\":%.*s,"
                            "\"topicConfigSerializeWrapper\":{\"dataVersion\":%.*s}}",
                            SLICE_ARGS(servers), SLICE_ARGS(parts.data_version));
    else
        text = arena_printf(arena, "{\"dataVersion\":%.*s}", SLICE_ARGS(parts.data_version));
    *out = slice_of_cstr(text);
    return true;
}
