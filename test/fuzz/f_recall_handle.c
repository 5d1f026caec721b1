/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text as a recall handle: what is accepted has all its words, and comes back the same when it
 * is made again.
 */
#include "broker/proc/recall_handle.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf scratch = BUF_EMPTY;
    struct buf text = BUF_EMPTY;
    struct buf scratch_again = BUF_EMPTY;
    struct recall_handle handle;
    struct recall_handle again;
    if (recall_handle_decode(slice_of(data, size), &scratch, &handle) == STATUS_OK) {
        CHECK(handle.topic.size != 0 && handle.unique_key.size != 0);
        recall_handle_encode(&handle, &text);
        CHECK(recall_handle_decode(buf_slice(&text), &scratch_again, &again) == STATUS_OK);
        CHECK(slice_equal(handle.topic, again.topic));
        CHECK(slice_equal(handle.broker_name, again.broker_name));
        CHECK(slice_equal(handle.time_text, again.time_text));
        CHECK(slice_equal(handle.unique_key, again.unique_key));
    }
    buf_release(&scratch);
    buf_release(&scratch_again);
    buf_release(&text);
    return 0;
}
