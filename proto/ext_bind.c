/* SPDX-License-Identifier: Apache-2.0
 *
 * The generic bridge between ext fields and typed headers.
 *
 * What is worked out about a descriptor - wire names and a small hash table from them to field
 * numbers - is a `struct binding`. Bindings are made at first use, published in a fixed table by
 * compare-and-swap, never changed and never freed; of two threads that make the same one, the
 * loser drops its copy. The table is keyed by the descriptor's address.
 */
#include "proto/ext_bind.h"

#include "common/base/check.h"
#include "common/base/number.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Slots of the table of bindings: a power of two, several times the messages of our schemas. */
#define BINDINGS_MAX 1024

/* Fields of a message that can be filled from ext fields; the widest header has 14. */
#define FIELDS_MAX 64

struct binding {
    const ProtobufCMessageDescriptor *descriptor;
    struct slice *names; /* by field index; NUL-terminated */
    uint16_t *slots;     /* open addressing: field index + 1, or 0 */
    unsigned slot_mask;
};

static _Atomic(struct binding *) bindings[BINDINGS_MAX];

/* First, middle and last byte and the length tell apart nearly all names of one header. */
static unsigned name_hash(struct slice name)
{
    if (name.size == 0)
        return 0;
    uint32_t mixed = (uint32_t)name.size << 24 ^ (uint32_t)name.data[0] << 16 ^
                     (uint32_t)name.data[name.size / 2] << 8 ^ name.data[name.size - 1];
    return (mixed * 0x9E3779B1U) >> 16;
}

static struct slice make_wire_name(const char *field_name)
{
    char *name = xmalloc(strlen(field_name) + 1);
    size_t size = 0;
    for (const char *p = field_name; *p != '\0'; p++) {
        if (*p == '_' && p[1] != '\0')
            name[size++] = (char)toupper((unsigned char)*++p);
        else
            name[size++] = *p;
    }
    name[size] = '\0';
    return slice_of(name, size);
}

static struct binding *binding_new(const ProtobufCMessageDescriptor *descriptor)
{
    unsigned count = descriptor->n_fields;
    CHECK(count < UINT16_MAX);
    unsigned slot_count = 4;
    while (slot_count < 4 * count)
        slot_count *= 2;
    struct binding *binding = xmalloc(sizeof *binding);
    *binding = (struct binding){
        .descriptor = descriptor,
        .names = xcalloc(count + 1, sizeof *binding->names),
        .slots = xcalloc(slot_count, sizeof *binding->slots),
        .slot_mask = slot_count - 1,
    };
    for (unsigned i = 0; i < count; i++) {
        binding->names[i] = make_wire_name(descriptor->fields[i].name);
        unsigned slot = name_hash(binding->names[i]) & binding->slot_mask;
        while (binding->slots[slot] != 0)
            slot = (slot + 1) & binding->slot_mask;
        binding->slots[slot] = (uint16_t)(i + 1);
    }
    return binding;
}

static void binding_free(struct binding *binding)
{
    for (unsigned i = 0; i < binding->descriptor->n_fields; i++)
        free((void *)(uintptr_t)binding->names[i].data);
    free(binding->names);
    free(binding->slots);
    free(binding);
}

static const struct binding *binding_of(const ProtobufCMessageDescriptor *descriptor)
{
    size_t start = ((uintptr_t)descriptor >> 4) * 0x9E3779B1U;
    for (size_t i = 0; i < BINDINGS_MAX; i++) {
        _Atomic(struct binding *) *slot = &bindings[(start + i) % BINDINGS_MAX];
        struct binding *found = atomic_load_explicit(slot, memory_order_acquire);
        if (found == NULL) {
            struct binding *made = binding_new(descriptor);
            if (atomic_compare_exchange_strong(slot, &found, made))
                return made;
            binding_free(made);
        }
        if (found->descriptor == descriptor)
            return found;
    }
    bool bindings_max_is_large_enough = false;
    CHECK(bindings_max_is_large_enough);
    return NULL;
}

const char *wire_name(const ProtobufCMessageDescriptor *descriptor, unsigned index)
{
    CHECK(index < descriptor->n_fields);
    return (const char *)binding_of(descriptor)->names[index].data;
}

/* The index of the field with that wire name, or -1. */
static int binding_find(const struct binding *binding, struct slice name)
{
    for (unsigned slot = name_hash(name) & binding->slot_mask; binding->slots[slot] != 0;
         slot = (slot + 1) & binding->slot_mask) {
        int index = binding->slots[slot] - 1;
        if (slice_equal(binding->names[index], name))
            return index;
    }
    return -1;
}

/* Store one value; false when the text does not parse. */
static bool field_set(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                      struct slice text, struct arena *arena)
{
    char *base = (char *)message;
    void *member = base + field->offset;
    int64_t number;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(char **)member = arena_cstr(arena, text);
        return true;
    case PROTOBUF_C_TYPE_INT32:
        if (!parse_i32(text, (int32_t *)member))
            return false;
        break;
    case PROTOBUF_C_TYPE_INT64:
        if (!parse_i64(text, &number))
            return false;
        *(int64_t *)member = number;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)member = parse_java_bool(text);
        break;
    default:
        return false;
    }
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL)
        *(protobuf_c_boolean *)(void *)(base + field->quantifier_offset) = true;
    return true;
}

enum status ext_to_message(const struct ext_map *ext, struct arena *arena,
                           ProtobufCMessage *message, const char **bad_field)
{
    const struct binding *binding = binding_of(message->descriptor);
    unsigned field_count = message->descriptor->n_fields;
    CHECK(field_count <= FIELDS_MAX);
    struct slice values[FIELDS_MAX];
    uint64_t seen = 0;
    for (uint32_t i = 0; i < ext->count; i++) {
        int index = binding_find(binding, ext->fields[i].name);
        if (index >= 0) {
            values[index] = ext->fields[i].value;
            seen |= UINT64_C(1) << index;
        }
    }
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < field_count; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            continue;
        if ((seen >> i & 1) != 0 && field_set(message, field, values[i], arena))
            continue;
        if (field->label == PROTOBUF_C_LABEL_REQUIRED && status == STATUS_OK) {
            status = STATUS_MISSING;
            if (bad_field != NULL)
                *bad_field = (const char *)binding->names[i].data;
        }
    }
    return status;
}

/* The text of one field, numbers at `digits` (I64_TEXT_BYTES of room); false when it is not set. */
static bool field_text(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       char *digits, struct slice *out)
{
    const char *base = (const char *)message;
    const void *member = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(char *const *)member;
        *out = slice_of_cstr(text);
        return text != NULL;
    }
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL &&
        !*(const protobuf_c_boolean *)(const void *)(base + field->quantifier_offset))
        return false;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        *out = slice_of(digits, format_i64(*(const int32_t *)member, digits));
        return true;
    case PROTOBUF_C_TYPE_INT64:
        *out = slice_of(digits, format_i64(*(const int64_t *)member, digits));
        return true;
    case PROTOBUF_C_TYPE_BOOL:
        *out = *(const protobuf_c_boolean *)member ? SLICE_LITERAL("true") : SLICE_LITERAL("false");
        return true;
    default:
        return false;
    }
}

void ext_from_message(const ProtobufCMessage *message, struct arena *arena, struct ext_map *ext)
{
    const struct binding *binding = binding_of(message->descriptor);
    unsigned field_count = message->descriptor->n_fields;
    char *digits = arena_alloc(arena, field_count * (size_t)I64_TEXT_BYTES);
    ext->present = true;
    for (unsigned i = 0; i < field_count; i++) {
        struct slice text;
        if (field_text(message, &message->descriptor->fields[i], digits, &text))
            ext_append(ext, arena, binding->names[i], text);
        digits += I64_TEXT_BYTES;
    }
}
