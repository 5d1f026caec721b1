/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes: the properties reader ends within the text, its places lie in order, and every value
 * that it gives reads back the same after it was written. The places of libconfig's values, which
 * are found on texts of any kind, lie in order too.
 */
#include "common/base/check.h"
#include "common/conf/libconfig_file.h"
#include "common/conf/properties_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(struct slice value)
{
    struct buf text = BUF_EMPTY;
    struct properties_reader reader;
    struct properties_entry entry;
    buf_append_cstr(&text, "k=");
    properties_append_value(&text, value);
    buf_append_cstr(&text, "\nend=");
    properties_reader_init(&reader, buf_slice(&text));
    CHECK(properties_reader_next(&reader, &entry, NULL) == STATUS_OK);
    CHECK(slice_is(entry.key, "k"));
    CHECK(slice_equal(entry.value, value));
    CHECK(properties_reader_next(&reader, &entry, NULL) == STATUS_OK);
    CHECK(slice_is(entry.key, "end"));
    CHECK(properties_reader_next(&reader, &entry, NULL) == STATUS_NOT_FOUND);
    properties_reader_release(&reader);
    buf_release(&text);
}

static void check_properties(struct slice text)
{
    struct properties_reader reader;
    struct properties_entry entry;
    size_t end = 0;
    int line = 0;
    enum status status;
    properties_reader_init(&reader, text);
    while ((status = properties_reader_next(&reader, &entry, NULL)) == STATUS_OK) {
        CHECK(entry.value_start >= end && entry.value_start <= entry.value_end);
        CHECK(entry.value_end <= text.size);
        CHECK(entry.line > line);
        end = entry.value_end;
        line = entry.line;
        check_round_trip(entry.value);
    }
    CHECK(status == STATUS_NOT_FOUND || status == STATUS_MALFORMED);
    CHECK(status == STATUS_MALFORMED || reader.at == text.size);
    properties_reader_release(&reader);
}

static void check_places(struct slice text)
{
    struct libconfig_scanner scanner = {text, 0};
    struct libconfig_span span;
    size_t end = 0;
    while (libconfig_next_span(&scanner, &span)) {
        CHECK(span.value_start > end && span.value_start <= span.value_end);
        CHECK(span.value_end <= text.size && scanner.at <= text.size);
        end = span.value_end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_properties(slice_of(data, size));
    check_places(slice_of(data, size));
    return 0;
}
