/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the store may be written, and why not. Reasons come and go on their own; a failed disk
 * stays failed until the process is restarted. Any thread.
 */
#ifndef BROKER_STORE_HEALTH_H
#define BROKER_STORE_HEALTH_H

#include "common/base/status.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum refusal {
    REFUSAL_SLAVE = 1,
    REFUSAL_CLOSING = 2,
    REFUSAL_FAILED = 4,      /* a write or sync failed: for good */
    REFUSAL_DISK_RATIO = 8,  /* the disk is fuller than allowed */
    REFUSAL_NO_SPACE = 16,   /* a write or a new file found no space; tried again later */
    REFUSAL_QUEUES_FULL = 32 /* queue entries wait for space or descriptors */
};

struct health {
    _Atomic unsigned refusals;
    pthread_mutex_t lock;
    char failure[ERR_TEXT_BYTES];  /* why REFUSAL_FAILED */
    char space[ERR_TEXT_BYTES];    /* why one of the three passing reasons */
    void (*on_failure)(void *ctx); /* called once, when writing ends for good; NULL: nobody */
    void *on_failure_ctx;
};

void health_init(struct health *health);
void health_release(struct health *health);

/* May records be written that let an old part of the log be deleted? Also on a disk that is fuller
 * than messages may have it, or nothing would ever be deleted. */
static inline bool health_makes_room(const struct health *health)
{
    return (atomic_load_explicit(&health->refusals, memory_order_acquire) &
            ~(unsigned)REFUSAL_DISK_RATIO) == 0;
}

static inline bool health_writable(const struct health *health)
{
    return atomic_load_explicit(&health->refusals, memory_order_acquire) == 0;
}

static inline bool health_has(const struct health *health, enum refusal reason)
{
    return (atomic_load_explicit(&health->refusals, memory_order_acquire) & (unsigned)reason) != 0;
}

/* End writing for good; the first reason is kept and logged. */
void health_fail(struct health *health, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Refuse for want of space or the like until health_allow; logged when the reason is new. */
void health_refuse(struct health *health, enum refusal reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void health_allow(struct health *health, enum refusal reason);

/* Set a reason that needs no words: SLAVE, CLOSING. */
void health_set(struct health *health, enum refusal reason);

/* False when appends are refused; `why` (may be NULL) gets the words. */
bool health_explain(const struct health *health, char *why, size_t why_bytes);

#endif
