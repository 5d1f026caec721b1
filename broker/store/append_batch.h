/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoded records on their way into the log. One thread; the buffers are kept, so in the steady
 * state nothing is allocated. The functions of the public face (store.h) are in append_batch.c.
 */
#ifndef BROKER_STORE_APPEND_BATCH_H
#define BROKER_STORE_APPEND_BATCH_H

#include "broker/store/store.h"
#include "common/base/buf.h"

/* The least that reaches a disk as a whole. What append_batch_add refuses and what recovery takes
 * for torn must agree on it. */
#define SECTOR_BYTES 512

struct pending_record {
    struct queue *queue;
    size_t at; /* in the batch's bytes */
    int32_t size;
    int32_t timestamp_at; /* in the record */
    bool glued;
    bool counted; /* takes a queue offset: all but prepared and rolled back transactions */
};

struct append_batch {
    struct store *store;
    struct buf bytes;
    struct pending_record *records;
    struct append_result *results; /* as many as records */
    size_t count;
    size_t capacity;
    bool makes_room; /* see append_batch_makes_room */
};

#endif
