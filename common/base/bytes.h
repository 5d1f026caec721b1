/* SPDX-License-Identifier: Apache-2.0
 *
 * Borrowed byte ranges and big-endian integers. RocketMQ is big-endian everywhere, on the wire and
 * on disk.
 */
#ifndef COMMON_BASE_BYTES_H
#define COMMON_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A range that somebody else owns. `data` may be NULL only when `size` is 0. Not NUL-terminated. */
struct slice {
    const uint8_t *data;
    size_t size;
};

#define SLICE_EMPTY ((struct slice){NULL, 0})

/* A slice over a string literal, its NUL left out. */
#define SLICE_LITERAL(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})

/* printf arguments for "%.*s". */
#define SLICE_ARGS(s) (int)(s).size, (s).size ? (const char *)(s).data : ""

static inline struct slice slice_of(const void *data, size_t size)
{
    return (struct slice){(const uint8_t *)data, size};
}

/* A NULL string gives an empty slice. */
static inline struct slice slice_of_cstr(const char *text)
{
    return text == NULL ? SLICE_EMPTY : slice_of(text, strlen(text));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && memcmp(s.data, prefix.data, prefix.size) == 0;
}

static inline bool slice_is(struct slice s, const char *text)
{
    return slice_equal(s, slice_of_cstr(text));
}

/* The part of `s` from byte `from` on; `from` <= s.size. */
static inline struct slice slice_from(struct slice s, size_t from)
{
    return (struct slice){s.data + from, s.size - from};
}

static inline uint16_t get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

static inline int16_t get_i16(const uint8_t *p)
{
    return (int16_t)get_u16(p);
}

static inline int32_t get_i32(const uint8_t *p)
{
    return (int32_t)get_u32(p);
}

static inline int64_t get_i64(const uint8_t *p)
{
    return (int64_t)get_u64(p);
}

static inline void put_u16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}

static inline void put_i16(uint8_t *p, int16_t v)
{
    put_u16(p, (uint16_t)v);
}

static inline void put_i32(uint8_t *p, int32_t v)
{
    put_u32(p, (uint32_t)v);
}

static inline void put_i64(uint8_t *p, int64_t v)
{
    put_u64(p, (uint64_t)v);
}

#endif
