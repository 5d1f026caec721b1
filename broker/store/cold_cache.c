/* SPDX-License-Identifier: Apache-2.0
 *
 * The log is looked at in chunks. A chunk of the table stands for pages that were not in memory
 * when they were asked for. A load that starts right behind such a page is part of a consumer's
 * way through the backlog: then the rest of the chunk is read, and the next chunks are begun. Any
 * other load may be the only one, and reads little.
 *
 * Invariants: page_count is the number of bits set in all chunks; a chunk of the table has at least
 * one. No file is touched under the lock.
 */
#include "broker/store/cold_cache.h"

#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One read of a sequential consumer: a disk does about 1,000 of them in a second, and larger ones
 * gain little (64 KiB: a third of its speed, 256 KiB: two thirds). */
#define CHUNK_BYTES ((int64_t)1024 * 1024)
#define CHUNK_PAGES_MAX 256 /* a page has at least 4 KiB */
/* One read of anybody else. */
#define UNIT_BYTES ((int64_t)128 * 1024)
/* Chunks begun ahead of a sequential consumer: one wait for every three. */
#define AHEAD_CHUNKS 2

#define CHUNKS_MIN 64
#define CHUNKS_MAX 4096

struct cold_chunk {
    int64_t pos; /* of its first byte in the log */
    uint64_t used_at;
    uint32_t page_count;
    uint64_t pages[CHUNK_PAGES_MAX / 64];
};

/* Pages of one chunk of a segment. */
struct span {
    struct segment *segment;
    int64_t chunk; /* offset in the segment */
    size_t pages;  /* up to the end of segment or log */
    size_t first;
    size_t end; /* behind the last one */
    uint8_t here[CHUNK_PAGES_MAX];
};

void cold_cache_init(struct cold_cache *cache, struct store *store, int64_t bytes_max)
{
    memset(cache, 0, sizeof *cache);
    cache->store = store;
    cache->bytes_max = bytes_max;
    int64_t count = bytes_max / UNIT_BYTES;
    cache->count_max = count < CHUNKS_MIN   ? CHUNKS_MIN
                       : count > CHUNKS_MAX ? CHUNKS_MAX
                                            : (size_t)count;
    cache->chunks = xcalloc(cache->count_max, sizeof *cache->chunks);
    for (size_t i = 0; i < COLD_QUIET_SEGMENTS; i++)
        cache->quiet[i] = -1;
    cold_pace_init(&cache->pace);
    CHECK(pthread_mutex_init(&cache->lock, NULL) == 0);
}

void cold_cache_release(struct cold_cache *cache)
{
    free(cache->chunks);
    cold_pace_release(&cache->pace);
    (void)pthread_mutex_destroy(&cache->lock);
}

void cold_loader_release(struct cold_loader *loader)
{
    free(loader->scratch);
    loader->scratch = NULL;
}

/* --- the table; lock held --- */

static struct cold_chunk *find_chunk(struct cold_cache *cache, int64_t pos)
{
    for (size_t i = 0; i < cache->count; i++)
        if (cache->chunks[i].pos == pos)
            return &cache->chunks[i];
    return NULL;
}

static struct cold_chunk *oldest_chunk(struct cold_cache *cache)
{
    struct cold_chunk *oldest = &cache->chunks[0];
    for (size_t i = 1; i < cache->count; i++)
        if (cache->chunks[i].used_at < oldest->used_at)
            oldest = &cache->chunks[i];
    return oldest;
}

static bool has_page(const struct cold_chunk *chunk, size_t page)
{
    return (chunk->pages[page / 64] >> page % 64 & 1) != 0;
}

/* Whether the page before the span was brought in by a cold read. */
static bool follows_a_load(struct cold_cache *cache, const struct span *span)
{
    int64_t page_bytes = (int64_t)vfs_page_bytes();
    int64_t segment_bytes = span->segment->size;
    int64_t before = span->chunk + ((int64_t)span->first - 1) * page_bytes;
    int64_t base = span->segment->base;
    if (before < 0) {
        before += segment_bytes;
        base -= segment_bytes;
    }
    if (before < 0)
        return false; /* segments smaller than a page */
    int64_t chunk = before / CHUNK_BYTES * CHUNK_BYTES;
    struct cold_chunk *found = find_chunk(cache, base + chunk);
    return found != NULL && has_page(found, (size_t)((before - chunk) / page_bytes));
}

static void forget_chunk(struct cold_cache *cache, struct cold_chunk *chunk)
{
    cache->page_count -= chunk->page_count;
    *chunk = cache->chunks[--cache->count];
}

/* --- dropping --- */

/* Take a chunk's pages out of memory; the mapping lets go of them first, or the kernel keeps them.
 */
static void drop_chunk(struct cold_cache *cache, const struct cold_chunk *chunk)
{
    struct store *store = cache->store;
    const struct vfs_ops *ops = store->vfs->ops;
    size_t page_bytes = vfs_page_bytes();
    struct segment *segment = commitlog_acquire(&store->log, chunk->pos);
    if (segment == NULL)
        return; /* deleted meanwhile */
    struct mapped file = {segment->data, (size_t)segment->size};
    size_t offset = (size_t)(chunk->pos - segment->base);
    for (size_t page = 0; page < CHUNK_PAGES_MAX;) {
        size_t first = page++;
        if (!has_page(chunk, first))
            continue;
        while (page < CHUNK_PAGES_MAX && has_page(chunk, page))
            page++;
        size_t from = offset + first * page_bytes;
        size_t size = (page - first) * page_bytes;
        residency_forget(&store->residency, file, from, size);
        if (ops->advise_map != NULL)
            (void)ops->advise_map(store->vfs, segment->data + from, size, VFS_ADVICE_DONT_NEED);
        (void)ops->advise(store->vfs, segment->fd, (int64_t)from, (int64_t)size,
                          VFS_ADVICE_DONT_NEED);
        atomic_fetch_add_explicit(&cache->dropped_bytes, (int64_t)size, memory_order_relaxed);
    }
    segment_drop(segment);
}

/* Drop the oldest chunks while there is too much, but never the last one. */
static void trim(struct cold_cache *cache, bool make_room)
{
    int64_t page_bytes = (int64_t)vfs_page_bytes();
    for (;;) {
        struct cold_chunk victim;
        (void)pthread_mutex_lock(&cache->lock);
        bool full = cache->count == cache->count_max && make_room;
        bool much = cache->count > 1 && cache->page_count * page_bytes > cache->bytes_max;
        if (full || much) {
            struct cold_chunk *oldest = oldest_chunk(cache);
            victim = *oldest;
            forget_chunk(cache, oldest);
        }
        atomic_store_explicit(&cache->kept_bytes, cache->page_count * page_bytes,
                              memory_order_relaxed);
        (void)pthread_mutex_unlock(&cache->lock);
        if (!full && !much)
            return;
        drop_chunk(cache, &victim);
    }
}

/* --- loading --- */

/* Look which pages of the chunk are in memory. */
static void span_look(struct cold_cache *cache, struct span *span)
{
    struct vfs *vfs = cache->store->vfs;
    int64_t written = store_appended_pos(cache->store) - span->segment->base;
    int64_t end = span->segment->size < written ? span->segment->size : written;
    if (end > span->chunk + CHUNK_BYTES)
        end = span->chunk + CHUNK_BYTES;
    size_t page_bytes = vfs_page_bytes();
    size_t size = end > span->chunk ? (size_t)(end - span->chunk) : 0;
    span->pages = (size + page_bytes - 1) / page_bytes;
    if (vfs->ops->resident == NULL ||
        (size > 0 &&
         vfs->ops->resident(vfs, span->segment->data + span->chunk, size, span->here) != STATUS_OK))
        memset(span->here, 1, sizeof span->here);
}

/* Leave off the pages at both ends that are in memory. False when there are no others. */
static bool span_tighten(struct span *span)
{
    if (span->end > span->pages)
        span->end = span->pages;
    while (span->first < span->end && span->here[span->first] != 0)
        span->first++;
    while (span->first < span->end && span->here[span->end - 1] != 0)
        span->end--;
    return span->first < span->end;
}

/* Keep account of the pages of the span that are not in memory yet. */
static void span_note(struct cold_cache *cache, const struct span *span)
{
    int64_t pos = span->segment->base + span->chunk;
    trim(cache, true);
    (void)pthread_mutex_lock(&cache->lock);
    struct cold_chunk *chunk = find_chunk(cache, pos);
    if (chunk == NULL && cache->count < cache->count_max) {
        chunk = &cache->chunks[cache->count++];
        *chunk = (struct cold_chunk){.pos = pos};
    }
    if (chunk != NULL) { /* NULL: other threads took the room; these pages are the kernel's */
        chunk->used_at = ++cache->ticks;
        for (size_t page = span->first; page < span->end; page++) {
            if (span->here[page] != 0 || has_page(chunk, page))
                continue;
            chunk->pages[page / 64] |= UINT64_C(1) << page % 64;
            chunk->page_count++;
            cache->page_count++;
        }
    }
    (void)pthread_mutex_unlock(&cache->lock);
}

/* The kernel shall bring in what it is asked for and nothing else: of more we would not know. */
static void silence_readahead(struct cold_cache *cache, struct segment *segment)
{
    struct vfs *vfs = cache->store->vfs;
    (void)pthread_mutex_lock(&cache->lock);
    int64_t *quiet = &cache->quiet[segment->base / segment->size % COLD_QUIET_SEGMENTS];
    bool known = *quiet == segment->base;
    *quiet = segment->base;
    (void)pthread_mutex_unlock(&cache->lock);
    if (known)
        return;
    (void)vfs->ops->advise(vfs, segment->fd, 0, 0, VFS_ADVICE_RANDOM);
    if (vfs->ops->advise_map != NULL)
        (void)vfs->ops->advise_map(vfs, segment->data, (size_t)segment->size, VFS_ADVICE_RANDOM);
}

static bool is_news(struct cold_cache *cache, const char *path)
{
    uint64_t hash = hash_bytes(slice_of_cstr(path));
    bool news = true;
    (void)pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < COLD_FAILED_FILES; i++)
        news = news && cache->failed[i] != hash;
    if (news)
        cache->failed[cache->failed_next++ % COLD_FAILED_FILES] = hash;
    (void)pthread_mutex_unlock(&cache->lock);
    return news;
}

/* errno says why. */
static enum status fail(struct cold_cache *cache, const char *path, int64_t offset, size_t size,
                        struct err *err)
{
    int kept = errno;
    atomic_fetch_add_explicit(&cache->failures, 1, memory_order_relaxed);
    if (is_news(cache, path))
        log_error("store", "a file cannot be read",
                  "path=%s offset=%lld bytes=%zu cause=\"%s\" mend=\"look at the disk; bring the "
                  "file back from a copy, or have the groups skip what is lost\"",
                  path, (long long)offset, size, strerror(kept));
    errno = kept;
    return err_set_errno(err, STATUS_IO,
                         "reading %zu bytes at %lld of %s failed (look at the disk of the broker, "
                         "bring the file back from a copy, or skip the messages by "
                         "resetOffsetByTime)",
                         size, (long long)offset, path);
}

/* The first *done bytes of it, as many as the pace allows; or IO with errno set. */
static enum status read_piece(struct cold_cache *cache, int fd, int64_t offset, size_t size,
                              struct cold_loader *loader, size_t *done)
{
    struct vfs *vfs = cache->store->vfs;
    size_t got = 0;
    int64_t begun_ns = clock_monotonic_ns(cache->store->clock);
    size_t piece = cold_pace_begin(&cache->pace, size, store_appended_pos(cache->store), begun_ns);
    begun_ns = clock_monotonic_ns(cache->store->clock);
    enum status status = vfs->ops->pread(vfs, fd, loader->scratch, piece, offset, &got);
    int kept = errno;
    cold_pace_end(&cache->pace, piece, clock_monotonic_ns(cache->store->clock) - begun_ns);
    errno = kept;
    if (status != STATUS_OK)
        return STATUS_IO;
    atomic_fetch_add_explicit(&cache->read_bytes, (int64_t)got, memory_order_relaxed);
    errno = EIO; /* the file was cut by somebody */
    *done = got;
    return got == piece ? STATUS_OK : STATUS_IO;
}

/* All of it, or IO with errno set. */
static enum status read_all(struct cold_cache *cache, int fd, int64_t offset, size_t size,
                            struct cold_loader *loader)
{
    enum status status = STATUS_OK;
    if (loader->scratch == NULL)
        loader->scratch = xmalloc((size_t)CHUNK_BYTES);
    while (size > 0 && status == STATUS_OK) {
        size_t done = 0;
        status = read_piece(cache, fd, offset, size, loader, &done);
        offset += (int64_t)done;
        size -= done;
    }
    return status;
}

static enum status span_read(struct cold_cache *cache, const struct span *span,
                             struct cold_loader *loader, struct err *err)
{
    int64_t page_bytes = (int64_t)vfs_page_bytes();
    struct segment *segment = span->segment;
    int64_t from = span->chunk + (int64_t)span->first * page_bytes;
    int64_t end = span->chunk + (int64_t)span->end * page_bytes;
    if (end > segment->size)
        end = segment->size;
    enum status status = read_all(cache, segment->fd, from, (size_t)(end - from), loader);
    if (status == STATUS_OK || err == NULL)
        return status;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%020lld", segment->directory, (long long)segment->base);
    return fail(cache, path, from, (size_t)(end - from), err);
}

/* Load the pages [first, end) of the span's chunk, and more where it pays. */
static enum status load_span(struct cold_cache *cache, struct span *span,
                             struct cold_loader *loader, struct err *err)
{
    span_look(cache, span);
    struct span needed = *span;
    if (!span_tighten(&needed))
        return STATUS_OK;
    silence_readahead(cache, span->segment);
    struct span wanted = needed;
    (void)pthread_mutex_lock(&cache->lock);
    bool sequential = follows_a_load(cache, &needed);
    (void)pthread_mutex_unlock(&cache->lock);
    size_t unit_pages = (size_t)UNIT_BYTES / vfs_page_bytes();
    wanted.end =
        sequential ? wanted.pages : (needed.end + unit_pages - 1) / unit_pages * unit_pages;
    (void)span_tighten(&wanted);
    span_note(cache, &wanted);
    if (sequential)
        loader->ahead_pos = span->segment->base + span->chunk + CHUNK_BYTES;
    enum status status = span_read(cache, &wanted, loader, NULL);
    if (status != STATUS_OK) /* what is needed may be whole all the same */
        status = span_read(cache, &needed, loader, err);
    return status;
}

enum status cold_cache_load(struct cold_cache *cache, struct segment *segment, int64_t pos,
                            int64_t size, struct cold_loader *loader, struct err *err)
{
    struct err spare;
    int64_t page_bytes = (int64_t)vfs_page_bytes();
    int64_t from = pos - segment->base;
    int64_t end = from + size;
    enum status status = STATUS_OK;
    for (int64_t chunk = from / CHUNK_BYTES * CHUNK_BYTES; status == STATUS_OK && chunk < end;
         chunk += CHUNK_BYTES) {
        struct span span = {.segment = segment, .chunk = chunk, .end = CHUNK_PAGES_MAX};
        if (from > chunk)
            span.first = (size_t)((from - chunk) / page_bytes);
        if (end < chunk + CHUNK_BYTES)
            span.end = (size_t)((end - chunk + page_bytes - 1) / page_bytes);
        status = load_span(cache, &span, loader, err == NULL ? &spare : err);
    }
    trim(cache, false);
    return status;
}

enum status cold_cache_no_descriptor(struct err *err, const char *path)
{
    return err_set_errno(err, STATUS_BUSY,
                         "[OVERLOAD]system busy, start flow control for a while: %s cannot be "
                         "opened just now; raise the broker's limit of open files (ulimit -n), or "
                         "try again later",
                         path);
}

enum status cold_cache_load_file(struct cold_cache *cache, const char *path, int64_t offset,
                                 size_t size, struct cold_loader *loader, struct err *err)
{
    struct vfs *vfs = cache->store->vfs;
    int fd;
    DCHECK(size <= (size_t)CHUNK_BYTES);
    enum status status = vfs->ops->open(vfs, path, VFS_READ, &fd);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status == STATUS_OK) {
        status = read_all(cache, fd, offset, size, loader);
        int kept = errno;
        (void)vfs->ops->close(vfs, fd);
        errno = kept;
    }
    if (status == STATUS_BUSY)
        return cold_cache_no_descriptor(err, path);
    return status == STATUS_OK ? status : fail(cache, path, offset, size, err);
}

/* Begin to read the chunk that starts at `pos`. False when it is hot, or not there. */
static bool begin_chunk(struct cold_cache *cache, int64_t pos)
{
    struct vfs *vfs = cache->store->vfs;
    if (pos >= store_hot_pos(cache->store))
        return false;
    struct segment *segment = commitlog_acquire(&cache->store->log, pos);
    if (segment == NULL)
        return false;
    struct span span = {.segment = segment,
                        .chunk = (pos - segment->base) / CHUNK_BYTES * CHUNK_BYTES,
                        .end = CHUNK_PAGES_MAX};
    span_look(cache, &span);
    if (span_tighten(&span)) {
        int64_t page_bytes = (int64_t)vfs_page_bytes();
        silence_readahead(cache, segment);
        span_note(cache, &span);
        (void)vfs->ops->advise(vfs, segment->fd, span.chunk + (int64_t)span.first * page_bytes,
                               (int64_t)(span.end - span.first) * page_bytes, VFS_ADVICE_WILL_NEED);
    }
    segment_drop(segment);
    return true;
}

void cold_cache_ahead(struct cold_cache *cache, struct cold_loader *loader)
{
    int64_t pos = loader->ahead_pos;
    loader->ahead_pos = 0;
    if (pos == 0 || !cold_pace_is_free(&cache->pace))
        return;
    for (int i = 0; i < AHEAD_CHUNKS && begin_chunk(cache, pos); i++)
        pos += CHUNK_BYTES;
    trim(cache, false);
}
