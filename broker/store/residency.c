/* SPDX-License-Identifier: Apache-2.0
 *
 * A window is named by the page that its mapping starts at and its number in it. No two names are
 * equal: a window is larger than a page, so the next mapping starts behind all names of this one.
 * Each slot of the memo holds name and time of one window in one word.
 */
#include "broker/store/residency.h"

#include "common/base/check.h"

#include <string.h>

/* mincore costs about 1 us, and 0.05 us more for each page that is not mapped yet. */
#define WINDOW_BYTES ((size_t)256 * 1024)
#define WINDOW_PAGES_MAX 64 /* a page has at least 4 KiB */

/* Long enough for the pulls that read one window, short beside the time in which a page that was
 * just used is evicted. */
#define MEMO_MS 500
#define MEMO_TIME_BITS 28
#define MEMO_TIME_MASK ((UINT64_C(1) << MEMO_TIME_BITS) - 1)

void residency_init(struct residency *residency, struct vfs *vfs, const struct clock *clock)
{
    memset(residency, 0, sizeof *residency);
    residency->vfs = vfs;
    residency->clock = clock;
}

static uint64_t window_name(struct mapped file, size_t window)
{
    return (uint64_t)(uintptr_t)file.data / 4096 + window;
}

static _Atomic uint64_t *memo_slot(struct residency *residency, uint64_t name)
{
    return &residency->memo[(name * UINT64_C(0x9E3779B97F4A7C15) >> 32) % RESIDENCY_SLOTS];
}

static bool memo_holds(struct residency *residency, uint64_t name, uint64_t now_ms)
{
    uint64_t memo = atomic_load_explicit(memo_slot(residency, name), memory_order_relaxed);
    return memo >> MEMO_TIME_BITS == name && ((now_ms - memo) & MEMO_TIME_MASK) < MEMO_MS;
}

static void memo_set(struct residency *residency, uint64_t name, uint64_t now_ms)
{
    uint64_t memo = name << MEMO_TIME_BITS | (now_ms & MEMO_TIME_MASK);
    atomic_store_explicit(memo_slot(residency, name), memo, memory_order_relaxed);
}

/* Where in the file the first byte at or behind `from` lies that is not in memory, within the
 * window: its end when there is none. */
static size_t window_prefix(struct residency *residency, struct mapped file, size_t window,
                            size_t from, uint64_t now_ms)
{
    size_t begin = window * WINDOW_BYTES;
    size_t end = file.size - begin < WINDOW_BYTES ? file.size : begin + WINDOW_BYTES;
    uint64_t name = window_name(file, window);
    if (memo_holds(residency, name, now_ms))
        return end;
    uint8_t pages[WINDOW_PAGES_MAX];
    struct vfs *vfs = residency->vfs;
    if (vfs->ops->resident(vfs, file.data + begin, end - begin, pages) != STATUS_OK)
        return end; /* the kernel does not tell: as if it had not been asked */
    size_t page_bytes = vfs_page_bytes();
    size_t count = (end - begin + page_bytes - 1) / page_bytes;
    size_t page = (from - begin) / page_bytes;
    while (page < count && pages[page] != 0)
        page++;
    if (page == count) {
        if (memchr(pages, 0, count) == NULL)
            memo_set(residency, name, now_ms);
        return end;
    }
    size_t missing = begin + page * page_bytes;
    return missing < from ? from : missing;
}

size_t residency_prefix(struct residency *residency, struct mapped file, size_t offset, size_t size)
{
    DCHECK(offset <= file.size && size <= file.size - offset);
    if (residency->vfs->ops->resident == NULL)
        return size;
    uint64_t now_ms = (uint64_t)clock_monotonic_ms(residency->clock);
    size_t at = offset;
    while (at < offset + size) {
        size_t window = at / WINDOW_BYTES;
        size_t window_end = (window + 1) * WINDOW_BYTES;
        at = window_prefix(residency, file, window, at, now_ms);
        if (at < window_end)
            break;
    }
    return at - offset < size ? at - offset : size;
}

size_t residency_look_end(size_t offset)
{
    return (offset / WINDOW_BYTES + 1) * WINDOW_BYTES;
}

void residency_forget(struct residency *residency, struct mapped file, size_t offset, size_t size)
{
    for (size_t window = offset / WINDOW_BYTES; window * WINDOW_BYTES < offset + size; window++) {
        _Atomic uint64_t *slot = memo_slot(residency, window_name(file, window));
        atomic_store_explicit(slot, 0, memory_order_relaxed);
    }
}
