/* SPDX-License-Identifier: Apache-2.0
 *
 * Which bytes of mapped files are in memory: whether a thread that must not wait may look at them.
 *
 * The kernel is asked about whole windows, and a window that was wholly in memory is not asked
 * about again for a short while, so that a consumer that reads on costs a system call for every
 * window, not for every pull. The answer is true of the moment it was given in: a page may be
 * evicted before it is used. The reader then waits for the disk, as if nothing had been asked.
 *
 * Any thread, no lock.
 */
#ifndef BROKER_STORE_RESIDENCY_H
#define BROKER_STORE_RESIDENCY_H

#include "common/sys/clock.h"
#include "common/sys/vfs.h"

#include <stdatomic.h>

#define RESIDENCY_SLOTS 1024

struct residency {
    struct vfs *vfs;
    const struct clock *clock;
    _Atomic uint64_t memo[RESIDENCY_SLOTS]; /* windows seen in memory, and when */
};

/* A mapped file as far as it is written. */
struct mapped {
    const uint8_t *data; /* start of the mapping */
    size_t size;
};

void residency_init(struct residency *residency, struct vfs *vfs, const struct clock *clock);

/* How many bytes from `offset` on are in memory, at most `size`. offset + size <= file.size. */
size_t residency_prefix(struct residency *residency, struct mapped file, size_t offset,
                        size_t size);

/* Where what residency_prefix finds out with one look ends, for a look at `offset`. */
size_t residency_look_end(size_t offset);

/* These bytes are leaving memory. */
void residency_forget(struct residency *residency, struct mapped file, size_t offset, size_t size);

#endif
