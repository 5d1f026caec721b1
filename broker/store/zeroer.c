/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/zeroer.h"

#include "broker/store/store_internal.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <string.h>

#define RATE_LOOK_MS 200
#define BUSY_REST_US 500000
#define NO_SEGMENT_REST_US 100000

void zeroer_init(struct zeroer *zeroer, struct store *store)
{
    memset(zeroer, 0, sizeof *zeroer);
    zeroer->store = store;
    atomic_init(&zeroer->wake_pos, INT64_MAX);
    sleeper_init(&zeroer->sleeper);
}

/* Write zeros over the slice, unless its blocks were written before. */
static enum status write_through(struct zeroer *zeroer, int fd, int64_t offset, int64_t size)
{
    static const uint8_t zeros[ZERO_SLICE_BYTES];
    struct vfs *vfs = zeroer->store->vfs;
    int64_t written = INT64_MAX;
    enum status status = vfs->ops->find_data(vfs, fd, offset, &written);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    if (written < offset + size)
        return STATUS_OK;
    struct iovec part = {(void *)(uintptr_t)zeros, (size_t)size};
    status = vfs->ops->pwritev(vfs, fd, &part, 1, offset);
    if (status == STATUS_OK)
        status = vfs->ops->write_out(vfs, fd, offset, size);
    atomic_fetch_add_explicit(&zeroer->slices, 1, memory_order_relaxed);
    return status;
}

static enum status write_slice(struct zeroer *zeroer, const struct zero_claim *claim)
{
    struct vfs *vfs = zeroer->store->vfs;
    char path[PATH_MAX];
    int fd;
    segment_path(claim->segment, path);
    enum status status = vfs->ops->open(vfs, path, VFS_READ | VFS_WRITE, &fd);
    if (status != STATUS_OK)
        return status;
    status = write_through(zeroer, fd, claim->pos - claim->segment->base, claim->size);
    int kept = errno;
    (void)vfs->ops->close(vfs, fd);
    errno = kept;
    return status;
}

/* How fast the log grows, from one look to the next. */
static int64_t growth(struct zeroer *zeroer, int64_t appended_pos)
{
    int64_t now_ms = clock_monotonic_ms(zeroer->store->clock);
    int64_t passed_ms = now_ms - zeroer->looked_ms;
    if (passed_ms >= RATE_LOOK_MS) {
        zeroer->bytes_per_second = (appended_pos - zeroer->looked_pos) * 1000 / passed_ms;
        zeroer->looked_pos = appended_pos;
        zeroer->looked_ms = now_ms;
    }
    return zeroer->bytes_per_second;
}

int64_t zeroer_step(struct zeroer *zeroer)
{
    struct store *store = zeroer->store;
    int64_t appended_pos = store_appended_pos(store);
    if (zeroer->zeroed_pos < appended_pos)
        zeroer->zeroed_pos = appended_pos;
    bool busy = growth(zeroer, appended_pos) > ZERO_BUSY_BYTES_PER_SECOND;
    atomic_store(&zeroer->wake_pos, INT64_MAX);
    if (health_has(&store->health, REFUSAL_FAILED))
        return -1; /* writing has ended, and this too */
    if (zeroer->zeroed_pos - appended_pos >= ZERO_WINDOW_BYTES) {
        atomic_store(&zeroer->wake_pos, zeroer->zeroed_pos - ZERO_WINDOW_BYTES + ZERO_BURST_BYTES);
        return -1;
    }
    if (busy)
        return BUSY_REST_US;
    struct zero_claim claim;
    if (!commitlog_claim_zeros(&store->log, zeroer->zeroed_pos, ZERO_SLICE_BYTES, &claim))
        return NO_SEGMENT_REST_US;
    enum status status = write_slice(zeroer, &claim);
    int kept = errno;
    zeroer->zeroed_pos = claim.pos + claim.size;
    commitlog_release_zeros(&store->log, &claim);
    bool failed_before = zeroer->failing;
    zeroer->failing = status != STATUS_OK;
    if (status == STATUS_OK)
        return INT64_C(1000000) * ZERO_SLICE_BYTES / ZERO_BYTES_PER_SECOND;
    if (!failed_before)
        log_warn("store", "zeros cannot be written ahead of the commit log; syncs will be slower",
                 "cause=\"%s\"", strerror(kept));
    return BUSY_REST_US;
}

static void *run(void *arg)
{
    struct zeroer *zeroer = arg;
    zeroer->looked_ms = clock_monotonic_ms(zeroer->store->clock);
    zeroer->looked_pos = store_appended_pos(zeroer->store);
    while (!atomic_load(&zeroer->stop)) {
        int64_t wait_us = zeroer_step(zeroer);
        sleeper_prepare(&zeroer->sleeper, SLEEP_NAP);
        bool more =
            wait_us == -1 && store_appended_pos(zeroer->store) >= atomic_load(&zeroer->wake_pos);
        if (more || atomic_load(&zeroer->stop))
            sleeper_cancel(&zeroer->sleeper);
        else
            sleeper_wait(&zeroer->sleeper, wait_us);
    }
    return NULL;
}

enum status zeroer_start(struct zeroer *zeroer, struct err *err)
{
    if (zeroer->store->options.flush != STORE_FLUSH_SYNC)
        return STATUS_OK;
    enum status status = thread_start(&zeroer->thread, "store-zeroer", run, zeroer, err);
    zeroer->running = status == STATUS_OK;
    return status;
}

void zeroer_stop(struct zeroer *zeroer)
{
    if (!zeroer->running)
        return;
    atomic_store(&zeroer->stop, true);
    sleeper_wake_slow(&zeroer->sleeper);
    thread_join(zeroer->thread);
    zeroer->running = false;
}
