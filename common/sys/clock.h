/* SPDX-License-Identifier: Apache-2.0
 *
 * Time, as a value that tests can replace.
 */
#ifndef COMMON_SYS_CLOCK_H
#define COMMON_SYS_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*wall_ms)(void *ctx);      /* since 1970, UTC; may step */
    int64_t (*monotonic_ns)(void *ctx); /* never steps */
    void *ctx;
};

/* The machine's clock; static storage. */
const struct clock *clock_real(void);

static inline int64_t clock_wall_ms(const struct clock *clock)
{
    return clock->wall_ms(clock->ctx);
}

static inline int64_t clock_monotonic_ns(const struct clock *clock)
{
    return clock->monotonic_ns(clock->ctx);
}

static inline int64_t clock_monotonic_ms(const struct clock *clock)
{
    return clock->monotonic_ns(clock->ctx) / 1000000;
}

#endif
