/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes: the JSON reader ends in a status within its bounds; a tree that it gives is printed to
 * text that reads back as the same tree; conversions never fail on a number they printed.
 */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(const struct json_value *value, struct buf *out)
{
    bool is_object = value->type == JSON_OBJECT;
    if (value->type == JSON_STRING) {
        json_write_string(out, value->text);
        return;
    }
    if (!is_object && value->type != JSON_ARRAY) {
        buf_append_slice(out, value->text);
        return;
    }
    buf_append_byte(out, is_object ? '{' : '[');
    for (uint32_t i = 0; i < value->count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        if (is_object) {
            print(&value->keys[i], out);
            buf_append_byte(out, ':');
        }
        print(&value->items[i], out);
    }
    buf_append_byte(out, is_object ? '}' : ']');
}

static void check_numbers(const struct json_value *value, struct arena *arena)
{
    double number;
    double again;
    int64_t integer;
    bool truth;
    (void)json_as_i64(value, &integer);
    (void)json_as_bool(value, &truth);
    if (json_as_double(value, &number)) {
        struct buf text = BUF_EMPTY;
        struct json_value read;
        json_write_double(&text, number);
        CHECK(json_parse(buf_slice(&text), arena, &read, NULL) == STATUS_OK);
        CHECK(json_as_double(&read, &again));
        CHECK(memcmp(&number, &again, sizeof number) == 0);
        buf_release(&text);
    }
    for (uint32_t i = 0; i < value->count; i++)
        check_numbers(&value->items[i], arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct json_value value;
    struct json_value again;
    size_t error_at = 0;
    arena_init(&arena, 4096);
    if (json_parse(slice_of(data, size), &arena, &value, &error_at) != STATUS_OK) {
        CHECK(error_at <= size);
    } else {
        struct buf first = BUF_EMPTY;
        struct buf second = BUF_EMPTY;
        print(&value, &first);
        CHECK(json_parse(buf_slice(&first), &arena, &again, NULL) == STATUS_OK);
        print(&again, &second);
        CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
        check_numbers(&value, &arena);
        buf_release(&first);
        buf_release(&second);
    }
    CHECK(arena.used_bytes <= 4 * (size_t)DECODE_BYTES_MAX);
    arena_release(&arena);
    return 0;
}
