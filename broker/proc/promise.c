/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/proc/promise.h"

bool promise_wants_slave(const struct broker *broker)
{
    return broker->conf.brokerRole == BROKER_ROLE_SYNC_MASTER;
}

struct promise promise_make(const struct broker *broker, int64_t pos, int64_t end_pos)
{
    struct promise promise = {
        .pos = pos,
        .end_pos = end_pos,
        .disk = broker->conf.flushDiskType == FLUSH_DISK_SYNC,
    };
    if (promise_wants_slave(broker)) {
        promise.slave =
            replicas_in_reach(broker->replicas, end_pos, broker->conf.haSlaveFallbehindMax);
        promise.no_slave = !promise.slave;
    }
    return promise;
}

struct durable promise_durable(const struct broker *broker)
{
    return (struct durable){store_flushed_pos(broker->store), replicas_covered(broker->replicas)};
}

bool promise_kept_by_disk(const struct promise *promise, const struct durable *durable)
{
    return !promise->disk || promise->end_pos <= durable->flushed_pos;
}

static bool kept_by_slave(const struct promise *promise, const struct durable *durable)
{
    return !promise->slave ||
           (promise->end_pos <= durable->replicated.to && promise->pos >= durable->replicated.from);
}

bool promise_kept(const struct promise *promise, const struct durable *durable)
{
    return promise_kept_by_disk(promise, durable) && kept_by_slave(promise, durable);
}

bool promise_passed_over(const struct promise *promise, const struct durable *durable)
{
    return promise->slave && promise->pos < durable->replicated.from;
}

int32_t promise_code(const struct promise *promise, const struct durable *durable)
{
    if (promise->no_slave)
        return RESPONSE_SLAVE_NOT_AVAILABLE;
    if (!kept_by_slave(promise, durable))
        return RESPONSE_FLUSH_SLAVE_TIMEOUT;
    return promise_kept_by_disk(promise, durable) ? RESPONSE_SUCCESS : RESPONSE_FLUSH_DISK_TIMEOUT;
}
