/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable byte buffer with one owner.
 */
#ifndef COMMON_BASE_BUF_H
#define COMMON_BASE_BUF_H

#include "common/base/bytes.h"

struct buf {
    uint8_t *data; /* NULL while capacity is 0 */
    size_t size;
    size_t capacity;
};

#define BUF_EMPTY ((struct buf){NULL, 0, 0})

void buf_release(struct buf *buf);

/* Room for `more` bytes behind `size`; the returned pointer is valid until the next call that may
 * grow the buffer. The caller writes there and adds to `size`. */
uint8_t *buf_reserve(struct buf *buf, size_t more);

void buf_append(struct buf *buf, const void *data, size_t size);
void buf_append_slice(struct buf *buf, struct slice s);
void buf_append_cstr(struct buf *buf, const char *text);
void buf_append_byte(struct buf *buf, uint8_t byte);
void buf_append_i16(struct buf *buf, int16_t value);
void buf_append_i32(struct buf *buf, int32_t value);
/* In decimal. */
void buf_append_number(struct buf *buf, int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keep the memory, forget the contents. */
static inline void buf_clear(struct buf *buf)
{
    buf->size = 0;
}

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->size);
}

#endif
