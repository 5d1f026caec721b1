/* SPDX-License-Identifier: Apache-2.0
 *
 * CommandHeader of command.proto by protobuf-c, without malloc: the library's allocator hands out
 * pieces of the arena. A few bytes on the wire can stand for a message of many bytes in memory, so
 * the allocator has a budget; when that is used up the library gives up and so do we.
 */
#include "proto/header_protobuf.h"

#include "common/base/limits.h"

#include "proto/command.pb-c.h"

/* What a header within our limits may take: its texts, twice over for the library's rounding, the
 * fields and the library's book-keeping about them. */
#define BUDGET_PER_BYTE 2
#define BUDGET_PER_FIELD (sizeof(CommandExtField) + sizeof(CommandExtField *) + 256)

struct budget {
    struct arena *arena;
    size_t bytes_left;
};

static void *budget_alloc(void *context, size_t size)
{
    struct budget *budget = context;
    if (size > budget->bytes_left)
        return NULL;
    budget->bytes_left -= size;
    return arena_alloc(budget->arena, size);
}

static void budget_free(void *context, void *piece)
{
    (void)context;
    (void)piece;
}

static struct slice slice_of_bytes(ProtobufCBinaryData bytes)
{
    return slice_of(bytes.data, bytes.len);
}

/* The packer does not write to what it packs. */
static ProtobufCBinaryData bytes_of_slice(struct slice s)
{
    return (ProtobufCBinaryData){.len = s.size, .data = (uint8_t *)(uintptr_t)s.data};
}

enum status header_protobuf_decode(struct slice header, struct arena *arena, struct command *out)
{
    struct budget budget = {
        .arena = arena,
        .bytes_left = BUDGET_PER_BYTE * header.size + (EXT_FIELDS_MAX + 1) * BUDGET_PER_FIELD,
    };
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    CommandHeader *message = command_header__unpack(&allocator, header.size, header.data);
    if (message == NULL)
        return STATUS_MALFORMED;
    if (message->n_ext_fields > EXT_FIELDS_MAX)
        return STATUS_TOO_LARGE;
    *out = (struct command){
        .code = message->code,
        .language = message->language <= LANGUAGE_NODE_JS ? (uint8_t)message->language
                                                          : (uint8_t)LANGUAGE_UNKNOWN,
        .version = message->version,
        .opaque = message->opaque,
        .flag = (int32_t)message->flag,
        .remark = slice_of_bytes(message->remark),
        .has_remark = message->has_remark,
    };
    for (size_t i = 0; i < message->n_ext_fields; i++)
        ext_append(&out->ext, arena, slice_of_bytes(message->ext_fields[i]->name),
                   slice_of_bytes(message->ext_fields[i]->value));
    return STATUS_OK;
}

enum status header_protobuf_encode(const struct command *command, struct buf *out)
{
    CommandExtField fields[EXT_FIELDS_MAX];
    CommandExtField *pointers[EXT_FIELDS_MAX];
    if (command->ext.count > EXT_FIELDS_MAX)
        return STATUS_TOO_LARGE;
    for (uint32_t i = 0; i < command->ext.count; i++) {
        command_ext_field__init(&fields[i]);
        fields[i].has_name = true;
        fields[i].name = bytes_of_slice(command->ext.fields[i].name);
        fields[i].has_value = true;
        fields[i].value = bytes_of_slice(command->ext.fields[i].value);
        pointers[i] = &fields[i];
    }
    CommandHeader message;
    command_header__init(&message);
    message.has_code = true;
    message.code = command->code;
    message.has_language = command->language != LANGUAGE_JAVA;
    message.language =
        command->language <= LANGUAGE_NODE_JS ? command->language : (uint8_t)LANGUAGE_OTHER;
    message.has_version = true;
    message.version = command->version;
    message.has_opaque = true;
    message.opaque = command->opaque;
    message.has_flag = command->flag != 0;
    message.flag = (uint32_t)command->flag;
    message.has_remark = command->has_remark;
    message.remark = bytes_of_slice(command->remark);
    message.n_ext_fields = command->ext.count;
    message.ext_fields = pointers;
    uint8_t *p = buf_reserve(out, command_header__get_packed_size(&message));
    out->size += command_header__pack(&message, p);
    return STATUS_OK;
}
