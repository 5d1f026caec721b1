/* SPDX-License-Identifier: Apache-2.0
 *
 * The growable buffer: capacity doubles, so appending is linear over all.
 */
#include "common/base/buf.h"

#include "common/base/check.h"
#include "common/base/number.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_CAPACITY 256

void buf_release(struct buf *buf)
{
    free(buf->data);
    *buf = BUF_EMPTY;
}

uint8_t *buf_reserve(struct buf *buf, size_t more)
{
    if (buf->capacity - buf->size < more) {
        size_t capacity = buf->capacity == 0 ? FIRST_CAPACITY : buf->capacity;
        while (capacity - buf->size < more)
            capacity *= 2;
        buf->data = xrealloc(buf->data, capacity);
        buf->capacity = capacity;
    }
    return buf->data + buf->size;
}

void buf_append(struct buf *buf, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buf_reserve(buf, size), data, size);
    buf->size += size;
}

void buf_append_slice(struct buf *buf, struct slice s)
{
    buf_append(buf, s.data, s.size);
}

void buf_append_cstr(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_byte(struct buf *buf, uint8_t byte)
{
    *buf_reserve(buf, 1) = byte;
    buf->size++;
}

void buf_append_i16(struct buf *buf, int16_t value)
{
    put_i16(buf_reserve(buf, 2), value);
    buf->size += 2;
}

void buf_append_i32(struct buf *buf, int32_t value)
{
    put_i32(buf_reserve(buf, 4), value);
    buf->size += 4;
}

void buf_append_number(struct buf *buf, int64_t value)
{
    buf->size += format_i64(value, (char *)buf_reserve(buf, I64_TEXT_BYTES));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_list again;
    DCHECK(format != NULL); /* sanitizers branch on it, and then gcc sees a null format */
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    CHECK(size >= 0);
    (void)vsnprintf((char *)buf_reserve(buf, (size_t)size + 1), (size_t)size + 1, format, again);
    buf->size += (size_t)size;
    va_end(again);
    va_end(args);
}
