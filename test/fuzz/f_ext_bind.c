/* SPDX-License-Identifier: Apache-2.0
 *
 * Any ext fields into typed headers. The first byte chooses the header class, the rest is a header
 * in the ROCKETMQ codec. A header that was read completely can be written as ext fields and reads
 * back as the same message; one that was not names a required field.
 */
#include "common/base/check.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const classes[] = {
    &send_message_request_header_v2__descriptor,
    &send_message_request_header__descriptor,
    &pull_message_request_header__descriptor,
    &send_message_response_header__descriptor,
    &end_transaction_request_header__descriptor,
    &query_consume_queue_request_header__descriptor,
    &register_broker_request_header__descriptor,
    &unregister_client_request_header__descriptor,
    &create_topic_request_header__descriptor,
    &get_broker_cluster_acl_config_response_header__descriptor,
};

static ProtobufCMessage *message_new(const ProtobufCMessageDescriptor *class, struct arena *arena)
{
    ProtobufCMessage *message = arena_alloc(arena, class->sizeof_message);
    protobuf_c_message_init(class, message);
    return message;
}

static struct slice packed(const ProtobufCMessage *message, struct arena *arena)
{
    uint8_t *bytes = arena_alloc(arena, protobuf_c_message_get_packed_size(message));
    return slice_of(bytes, protobuf_c_message_pack(message, bytes));
}

static bool is_required(const ProtobufCMessageDescriptor *class, const char *name)
{
    for (unsigned i = 0; i < class->n_fields; i++)
        if (wire_name(class, i) == name)
            return class->fields[i].label == PROTOBUF_C_LABEL_REQUIRED;
    return false;
}

static void check_class(const ProtobufCMessageDescriptor *class, const struct ext_map *ext,
                        struct arena *arena)
{
    const char *bad_field = NULL;
    ProtobufCMessage *message = message_new(class, arena);
    enum status status = ext_to_message(ext, arena, message, &bad_field);
    if (status != STATUS_OK) {
        CHECK(status == STATUS_MISSING && is_required(class, bad_field));
        return;
    }
    CHECK(bad_field == NULL);
    struct ext_map written = {0};
    ext_from_message(message, arena, &written);
    ProtobufCMessage *again = message_new(class, arena);
    CHECK(ext_to_message(&written, arena, again, NULL) == STATUS_OK);
    CHECK(slice_equal(packed(message, arena), packed(again, arena)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena arena;
    struct command command;
    arena_init(&arena, 16 * 1024);
    if (command_decode(CODEC_ROCKETMQ, slice_of(data + 1, size - 1), &arena, &command) == STATUS_OK)
        check_class(classes[data[0] % (sizeof classes / sizeof classes[0])], &command.ext, &arena);
    arena_release(&arena);
    return 0;
}
