/* SPDX-License-Identifier: Apache-2.0
 *
 * A byte n, a name of n % 8 bytes, and any bytes as properties: leaving out the name and finding it
 * agree with the plain walk, and what is written walks to the same pairs.
 */
#include "common/base/check.h"
#include "proto/properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Append every pair but those named `without`; *last becomes the last value of that name. */
static void walk(struct slice properties, struct slice without, struct buf *out, struct slice *last)
{
    struct slice name;
    struct slice value;
    size_t cursor = 0;
    while (properties_next(properties, &cursor, &name, &value)) {
        CHECK(name.size > 0 && value.size > 0 && cursor <= properties.size);
        CHECK(memchr(name.data, PROPERTY_NAME_VALUE_SEPARATOR, name.size) == NULL);
        CHECK(memchr(value.data, PROPERTY_SEPARATOR, value.size) == NULL);
        if (slice_equal(name, without))
            *last = value;
        else
            properties_append(out, name, value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size - 1 < data[0] % 8U)
        return 0;
    struct slice wanted = slice_of(data + 1, data[0] % 8U);
    struct slice properties = slice_from(slice_of(data + 1, size - 1), wanted.size);
    struct buf expected = BUF_EMPTY;
    struct buf actual = BUF_EMPTY;
    struct buf again = BUF_EMPTY;
    struct slice last = SLICE_EMPTY;
    struct slice none = SLICE_EMPTY;
    struct slice found = SLICE_EMPTY;
    walk(properties, wanted, &expected, &last);
    properties_append_except(&actual, properties, wanted);
    CHECK(slice_equal(buf_slice(&actual), buf_slice(&expected)));
    walk(buf_slice(&actual), wanted, &again, &none);
    CHECK(none.size == 0 && slice_equal(buf_slice(&again), buf_slice(&actual)));
    if (wanted.size == 0 ||
        (memchr(wanted.data, PROPERTY_NAME_VALUE_SEPARATOR, wanted.size) == NULL &&
         memchr(wanted.data, PROPERTY_SEPARATOR, wanted.size) == NULL)) {
        CHECK(properties_find(properties, wanted, &found) == (last.size != 0));
        CHECK(found.data == last.data && found.size == last.size);
    }
    (void)tags_code(properties);
    buf_release(&expected);
    buf_release(&actual);
    buf_release(&again);
    return 0;
}
