/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a checkpoint file: what is accepted as ours encodes to the same bytes again.
 */
#include "broker/store/checkpoint.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint checkpoint;
    enum status status = checkpoint_decode(slice_of(data, size), &checkpoint);
    CHECK(status == (size < 24 ? STATUS_TRUNCATED : STATUS_OK));
    if (status != STATUS_OK)
        return 0;
    CHECK(checkpoint.log_timestamp_ms == get_i64(data));
    uint8_t again[CHECKPOINT_USED_BYTES];
    checkpoint_encode(&checkpoint, again);
    struct checkpoint read;
    CHECK(checkpoint_decode(slice_of(again, sizeof again), &read) == STATUS_OK);
    CHECK(read.durable_pos == checkpoint.durable_pos);
    CHECK(queue_ends_equal(&read.queue_ends, &checkpoint.queue_ends));
    CHECK(read.last_pos == checkpoint.last_pos && read.last_crc == checkpoint.last_crc);
    CHECK(checkpoint.durable_pos >= 0 || checkpoint.durable_pos == -1);
    return 0;
}
