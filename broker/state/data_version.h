/* SPDX-License-Identifier: Apache-2.0
 *
 * RocketMQ's DataVersion: name servers and slaves compare it to learn that a table has changed. Two
 * versions are the same when both members are.
 */
#ifndef BROKER_STATE_DATA_VERSION_H
#define BROKER_STATE_DATA_VERSION_H

#include "common/base/arena.h"
#include "common/sys/clock.h"
#include "proto/body.pb-c.h"

struct data_version {
    int64_t timestamp_ms;
    int64_t counter;
};

/* The version of a table that was never changed. */
static inline struct data_version data_version_first(const struct clock *clock)
{
    return (struct data_version){.timestamp_ms = clock_wall_ms(clock)};
}

static inline void data_version_next(struct data_version *version, const struct clock *clock)
{
    version->timestamp_ms = clock_wall_ms(clock);
    version->counter++;
}

static inline DataVersion *data_version_wrap(const struct data_version *version,
                                             struct arena *arena)
{
    DataVersion *out = arena_alloc(arena, sizeof *out);
    data_version__init(out);
    out->timestamp = version->timestamp_ms;
    out->counter = version->counter;
    return out;
}

/* body  may be NULL: the version stays as it is */
static inline void data_version_assign(struct data_version *version, const DataVersion *body)
{
    if (body == NULL)
        return;
    version->timestamp_ms = body->timestamp;
    version->counter = body->counter;
}

#endif
