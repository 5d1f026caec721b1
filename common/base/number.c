/* SPDX-License-Identifier: Apache-2.0
 *
 * Decimal text <-> integers. The reader accumulates negatively, so that the smallest value fits.
 */
#include "common/base/number.h"

#include <strings.h>

bool parse_i64(struct slice text, int64_t *out)
{
    size_t i = 0;
    bool negative = false;
    if (text.size > 0 && (text.data[0] == '-' || text.data[0] == '+')) {
        negative = text.data[0] == '-';
        i = 1;
    }
    if (i == text.size)
        return false;
    int64_t value = 0;
    for (; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_sub_overflow(value, (int64_t)digit, &value))
            return false;
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, value, &value))
        return false;
    *out = value;
    return true;
}

bool parse_i32(struct slice text, int32_t *out)
{
    int64_t value;
    if (!parse_i64(text, &value) || value < INT32_MIN || value > INT32_MAX)
        return false;
    *out = (int32_t)value;
    return true;
}

bool parse_java_bool(struct slice text)
{
    return text.size == 4 && strncasecmp((const char *)text.data, "true", 4) == 0;
}

size_t format_i64(int64_t value, char out[I64_TEXT_BYTES])
{
    char digits[I64_TEXT_BYTES];
    size_t count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    size_t size = 0;
    if (value < 0)
        out[size++] = '-';
    while (count > 0)
        out[size++] = digits[--count];
    return size;
}
