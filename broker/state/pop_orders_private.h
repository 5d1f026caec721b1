/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the answers of ordered pops, shared by pop_orders.c (what loops do) and
 * pop_orders_file.c (the file). Nobody else includes it.
 */
#ifndef BROKER_STATE_POP_ORDERS_PRIVATE_H
#define BROKER_STATE_POP_ORDERS_PRIVATE_H

#include "broker/state/config_file.h"
#include "broker/state/pop_orders.h"
#include "common/base/limits.h"
#include "common/base/map.h"

#include <pthread.h>

#define ATTEMPT_BYTES_MAX 64

struct answer {
    int64_t pop_time_ms;
    int64_t invisible_ms; /* as the pop asked for it */
    int count;
    uint32_t acked;
    int64_t offsets[POP_MESSAGES_MAX];
    int64_t visible_ms[POP_MESSAGES_MAX];
    int32_t given_before[POP_MESSAGES_MAX];
    char attempt[ATTEMPT_BYTES_MAX]; /* cut; empty: none */
    size_t attempt_bytes;
};

struct pop_orders {
    pthread_mutex_t lock; /* docs/locks.md: pop_orders */
    struct offsets *offsets;
    struct map table; /* topic NUL group NUL queue id -> struct answer */
    uint64_t changes;
    struct config_file file;
};

struct pop_order_key {
    uint8_t bytes[TOPIC_BYTES_MAX + 1 + GROUP_BYTES_MAX + 1 + 4];
    size_t size;
};

/* False: no queue can have the name. */
bool pop_order_key(const struct pop_order_queue *queue, struct pop_order_key *out);

#endif
