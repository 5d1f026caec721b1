/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a batch body: the walk goes forward and stays inside; the messages that it gives,
 * written anew, walk to the same messages.
 */
#include "common/base/buf.h"
#include "common/base/check.h"
#include "proto/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append_message(struct buf *batch, const struct batch_message *message)
{
    buf_append_i32(batch, (int32_t)(22 + message->body.size + message->properties.size));
    buf_append_i32(batch, 0);
    buf_append_i32(batch, 0);
    buf_append_i32(batch, message->flag);
    buf_append_i32(batch, (int32_t)message->body.size);
    buf_append_slice(batch, message->body);
    buf_append_i16(batch, (int16_t)message->properties.size);
    buf_append_slice(batch, message->properties);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice batch = slice_of(data, size);
    struct batch_message message;
    struct buf first = BUF_EMPTY;
    struct buf second = BUF_EMPTY;
    size_t cursor = 0;
    size_t before = 0;
    enum status status;
    while ((status = batch_next(batch, &cursor, &message)) == STATUS_OK) {
        CHECK(cursor - before == 22 + message.body.size + message.properties.size);
        CHECK(cursor <= size);
        before = cursor;
        append_message(&first, &message);
    }
    CHECK(status == STATUS_MALFORMED || (status == STATUS_NOT_FOUND && cursor == size));
    cursor = 0;
    while ((status = batch_next(buf_slice(&first), &cursor, &message)) == STATUS_OK)
        append_message(&second, &message);
    CHECK(status == STATUS_NOT_FOUND && slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_release(&first);
    buf_release(&second);
    return 0;
}
