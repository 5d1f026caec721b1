/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/append_batch.h"

#include "broker/store/consumequeue.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/limits.h"

#include <stdlib.h>

#define FIRST_CAPACITY 64

struct append_batch *append_batch_new(struct store *store)
{
    struct append_batch *batch = xcalloc(1, sizeof *batch);
    batch->store = store;
    return batch;
}

void append_batch_free(struct append_batch *batch)
{
    if (batch == NULL)
        return;
    buf_release(&batch->bytes);
    free(batch->records);
    free(batch->results);
    free(batch);
}

static void batch_grow(struct append_batch *batch)
{
    if (batch->count < batch->capacity)
        return;
    batch->capacity = batch->capacity == 0 ? FIRST_CAPACITY : batch->capacity * 2;
    batch->records = xrealloc(batch->records, batch->capacity * sizeof *batch->records);
    batch->results = xrealloc(batch->results, batch->capacity * sizeof *batch->results);
}

/* After a crash, a disk sector of zeros in which a record has bytes of its properties means that
 * they did not arrive: recovery cuts there. A message of its own must not look so, or it would be
 * lost, with those that come after it. The end of the properties may have a sector to itself, with
 * nothing but zeros behind it. */
static bool look_torn(struct slice properties)
{
    const uint8_t *at = properties.data;
    const uint8_t *end = at + properties.size;
    if (properties.size > 0 && end[-1] == 0)
        return true;
    while (end - at >= SECTOR_BYTES) {
        const uint8_t *zero = memchr(at, 0, (size_t)(end - at));
        if (zero == NULL || end - zero < SECTOR_BYTES)
            return false;
        at = zero;
        while (at < end && *at == 0)
            at++;
        if (at - zero >= SECTOR_BYTES)
            return true;
    }
    return false;
}

bool append_batch_takes(const struct append_batch *batch, const struct record *message)
{
    return record_size(message) <= (size_t)batch->store->options.record_bytes_max &&
           append_batch_takes_again(message);
}

bool append_batch_takes_again(const struct record *message)
{
    return message->properties.size <= PROPERTIES_BYTES_MAX && !look_torn(message->properties);
}

enum status append_batch_add(struct append_batch *batch, struct queue *queue,
                             const struct record *message, bool glued, void *tag)
{
    if (!append_batch_takes(batch, message))
        return STATUS_TOO_LARGE;
    return append_batch_add_again(batch, queue, message, glued, tag);
}

enum status append_batch_add_again(struct append_batch *batch, struct queue *queue,
                                   const struct record *message, bool glued, void *tag)
{
    DCHECK(slice_equal(message->topic, queue->topic) && message->queue_id == queue->id);
    if (!append_batch_takes_again(message))
        return STATUS_TOO_LARGE;
    size_t size = record_size(message);
    enum status status = record_encode(message, buf_reserve(&batch->bytes, size));
    if (status != STATUS_OK)
        return status;
    batch_grow(batch);
    int transaction = message->sys_flag & SYS_FLAG_TRANSACTION_MASK;
    batch->records[batch->count] = (struct pending_record){
        .queue = queue,
        .at = batch->bytes.size,
        .size = (int32_t)size,
        .timestamp_at = RECORD_STORE_TIMESTAMP_AT(message->born_host.ip_bytes + 4),
        .glued = glued && batch->count > 0,
        .counted = transaction != SYS_FLAG_TRANSACTION_PREPARED &&
                   transaction != SYS_FLAG_TRANSACTION_ROLLBACK,
    };
    batch->results[batch->count] =
        (struct append_result){PUT_SERVICE_NOT_AVAILABLE, -1, -1, -1, -1, tag};
    batch->count++;
    batch->bytes.size += size;
    return STATUS_OK;
}

void append_batch_makes_room(struct append_batch *batch, bool makes_room)
{
    batch->makes_room = makes_room;
}

size_t append_batch_count(const struct append_batch *batch)
{
    return batch->count;
}

size_t append_batch_bytes(const struct append_batch *batch)
{
    return batch->bytes.size;
}

void append_batch_clear(struct append_batch *batch)
{
    batch->count = 0;
    buf_clear(&batch->bytes);
}
