/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a deflated registration, and as the content of one (the mutator cannot deflate):
 * what is accepted, deflated again, inflates to the same registration.
 */
#include "common/base/check.h"
#include "proto/body_json.h"
#include "proto/register_body.h"

#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_body(struct arena *arena, struct slice body)
{
    RegisterBrokerBody message = REGISTER_BROKER_BODY__INIT;
    RegisterBrokerBody again = REGISTER_BROKER_BODY__INIT;
    struct buf deflated = BUF_EMPTY;
    struct buf first = BUF_EMPTY;
    struct buf second = BUF_EMPTY;
    struct err err = {.text = ""};
    if (register_body_inflate(body, arena, &message, &err) != STATUS_OK) {
        CHECK(err.text[0] != '\0');
        return;
    }
    CHECK(protobuf_c_message_check(&message.base));
    register_body_deflate(&message, &deflated);
    CHECK(register_body_inflate(buf_slice(&deflated), arena, &again, NULL) == STATUS_OK);
    body_encode(&message.base, BODY_COMPACT, &first);
    body_encode(&again.base, BODY_COMPACT, &second);
    CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_release(&deflated);
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct buf body = BUF_EMPTY;
    uLongf bytes = compressBound(size);
    arena_init(&arena, 4096);
    check_body(&arena, slice_of(data, size));
    CHECK(compress2(buf_reserve(&body, bytes), &bytes, data, size, 1) == Z_OK);
    body.size = bytes;
    check_body(&arena, buf_slice(&body));
    buf_release(&body);
    arena_release(&arena);
    return 0;
}
