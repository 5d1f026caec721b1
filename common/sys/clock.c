/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine's clock.
 */
#include "common/sys/clock.h"

#include <time.h>

static int64_t real_wall_ms(void *ctx)
{
    (void)ctx;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t real_monotonic_ns(void *ctx)
{
    (void)ctx;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

const struct clock *clock_real(void)
{
    static const struct clock real = {real_wall_ms, real_monotonic_ns, NULL};
    return &real;
}
