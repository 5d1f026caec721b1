/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes behind one that chooses the message: decoding ends in a status, nothing required is
 * NULL, and what was decoded encodes, in both styles, to a body that decodes to the same message.
 */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/body.pb-c.h"
#include "proto/body_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &topic_config_serialize_wrapper__descriptor,
    &topic_route_data__descriptor,
    &heartbeat_data__descriptor,
    &consumer_offset_serialize_wrapper__descriptor,
    &reset_offset_body__descriptor,
    &consume_stats_list__descriptor,
    &kvconfig_serialize_wrapper__descriptor,
    &consumer_filter_manager__descriptor,
    &query_consume_queue_response_body__descriptor,
    &lock_batch_request_body__descriptor,
    &offset_moved_event__descriptor,
    &broker_stats_data__descriptor,
    &register_broker_body__descriptor,
    &subscription_group_wrapper__descriptor,
    &replicated_tables__descriptor,
};

static ProtobufCMessage *new_message(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(arena, type->sizeof_message);
    type->message_init(message);
    return message;
}

static void check_style(struct arena *arena, const ProtobufCMessage *message, enum body_style style)
{
    struct buf first = BUF_EMPTY;
    struct buf second = BUF_EMPTY;
    ProtobufCMessage *again = new_message(arena, message->descriptor);
    body_encode(message, style, &first);
    CHECK(body_decode(buf_slice(&first), arena, again, NULL) == STATUS_OK);
    body_encode(again, style, &second);
    CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct err err = {.text = ""};
    if (size == 0)
        return 0;
    arena_init(&arena, 4096);
    ProtobufCMessage *message =
        new_message(&arena, types[data[0] % (sizeof types / sizeof types[0])]);
    if (body_decode(slice_of(data + 1, size - 1), &arena, message, &err) == STATUS_OK) {
        CHECK(protobuf_c_message_check(message));
        check_style(&arena, message, BODY_COMPACT);
        check_style(&arena, message, BODY_PRETTY);
    } else {
        CHECK(err.text[0] != '\0');
    }
    arena_release(&arena);
    return 0;
}
