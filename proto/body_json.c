/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies, driven by the descriptors that protoc-c makes of body.proto; the mapping is told at the
 * top of that file.
 *
 * Reading is as tolerant as fastjson: unknown members are ignored, names match without regard to
 * case, '_', '-' and a leading "is", null counts as missing, null elements of arrays and maps are
 * left out, scalars convert (json_as_i64 and its kin), a string takes the text of any value, and a
 * message key may be given as JSON text inside a string. Of a member given twice the last one
 * counts; a map key given twice gives two entries. A string with a NUL inside is refused, since C
 * could not see its end.
 *
 * The pretty form follows fastjson's serialisers, each with its own habit: a bean starts a line for
 * every member; a map starts one for every string key only, and one before its closing brace; int
 * arrays and sets stay on one line. So a map with integer keys prints as
 *     "offsetTable":{1:15,18:2
 *     }
 */
#include "proto/body_json.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/json.h"

/* Members of one message in body.proto; the widest has 9. */
#define MEMBERS_MAX 32

/* A field's name. */
#define NAME_BYTES_MAX 64

/* A message key given as text: the longest is a MessageQueue. */
#define KEY_TEXT_BYTES_MAX 4096

/* The tree of a JSON text takes at most this many times its size. */
#define KEY_TREE_FACTOR 64

static bool name_ends_in(const ProtobufCMessageDescriptor *type, const char *suffix)
{
    size_t name_bytes = strlen(type->short_name);
    size_t suffix_bytes = strlen(suffix);
    return name_bytes > suffix_bytes &&
           memcmp(type->short_name + name_bytes - suffix_bytes, suffix, suffix_bytes) == 0;
}

static const ProtobufCMessageDescriptor *message_type(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_MESSAGE
               ? (const ProtobufCMessageDescriptor *)field->descriptor
               : NULL;
}

/* A repeated field that is printed as an object. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *type = message_type(field);
    return field->label == PROTOBUF_C_LABEL_REPEATED && type != NULL && name_ends_in(type, "Entry");
}

/* A message that is printed as its only field. */
static bool is_bare_map(const ProtobufCMessageDescriptor *type)
{
    return type->n_fields == 1 && name_ends_in(type, "Map") && is_map(&type->fields[0]);
}

static size_t element_bytes(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        return sizeof(int32_t);
    case PROTOBUF_C_TYPE_INT64:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    default:
        CHECK(field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE);
        return sizeof(void *);
    }
}

static char to_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* Write the lowerCamelCase form of a field's name, without a NUL; it is never longer. */
static size_t format_name(const char *field_name, char *out)
{
    size_t size = 0;
    for (const char *c = field_name; *c != '\0'; c++)
        out[size++] = *c == '_' ? to_upper(*++c) : *c;
    return size;
}

/* --- decoding --------------------------------------------------------------------------------- */

struct decoder {
    struct slice json;
    struct arena *arena;
    size_t arena_bytes_max;
    struct err *err;
};

static enum status decode_message(struct decoder *decoder, const struct json_value *value,
                                  ProtobufCMessage *message);

static const char *expectation(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        return "an integer of 32 bits";
    case PROTOBUF_C_TYPE_INT64:
        return "an integer of 64 bits";
    case PROTOBUF_C_TYPE_BOOL:
        return "true or false";
    case PROTOBUF_C_TYPE_DOUBLE:
        return "a number";
    case PROTOBUF_C_TYPE_STRING:
        return "text without U+0000";
    default:
        return "an object";
    }
}

static enum status refuse(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                          const struct json_value *value, const char *expected)
{
    char name[NAME_BYTES_MAX];
    const uint8_t *at = value->text.data;
    CHECK(strlen(field->name) <= sizeof name);
    int name_bytes = (int)format_name(field->name, name);
    if (at >= decoder->json.data && at <= decoder->json.data + decoder->json.size)
        return err_set(decoder->err, STATUS_MALFORMED, "member %.*s at byte %zu: expected %s",
                       name_bytes, name, (size_t)(at - decoder->json.data), expected);
    return err_set(decoder->err, STATUS_MALFORMED, "member %.*s: expected %s", name_bytes, name,
                   expected);
}

static enum status take_room(struct decoder *decoder, size_t count, size_t bytes)
{
    size_t used = decoder->arena->used_bytes;
    if (used <= decoder->arena_bytes_max &&
        count <= (decoder->arena_bytes_max - used) / (bytes + 16))
        return STATUS_OK;
    return err_set(decoder->err, STATUS_TOO_LARGE,
                   "decoding the body takes more than %d bytes; send it in parts",
                   DECODE_BYTES_MAX);
}

static enum status decode_new_message(struct decoder *decoder,
                                      const ProtobufCFieldDescriptor *field,
                                      const struct json_value *value, ProtobufCMessage **out)
{
    const ProtobufCMessageDescriptor *type = message_type(field);
    enum status status = take_room(decoder, 1, type->sizeof_message);
    if (status != STATUS_OK)
        return status;
    if (value->type != JSON_OBJECT)
        return refuse(decoder, field, value, "an object");
    *out = arena_alloc(decoder->arena, type->sizeof_message);
    type->message_init(*out);
    return decode_message(decoder, value, *out);
}

static enum status decode_string(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                 const struct json_value *value, char **out)
{
    if (value->text.size != 0 && memchr(value->text.data, '\0', value->text.size) != NULL)
        return refuse(decoder, field, value, expectation(field));
    enum status status = take_room(decoder, 1, value->text.size);
    if (status == STATUS_OK)
        *out = arena_cstr(decoder->arena, value->text);
    return status;
}

/* One value that is not null, into the member or array element at `to`. */
static enum status decode_single(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                 const struct json_value *value, void *to)
{
    int64_t number;
    bool truth;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        if (!json_as_i64(value, &number) || number < INT32_MIN || number > INT32_MAX)
            return refuse(decoder, field, value, expectation(field));
        *(int32_t *)to = (int32_t)number;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_INT64:
        if (!json_as_i64(value, &number))
            return refuse(decoder, field, value, expectation(field));
        *(int64_t *)to = number;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_as_bool(value, &truth))
            return refuse(decoder, field, value, expectation(field));
        *(protobuf_c_boolean *)to = truth;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!json_as_double(value, to))
            return refuse(decoder, field, value, expectation(field));
        return STATUS_OK;
    case PROTOBUF_C_TYPE_STRING:
        return decode_string(decoder, field, value, to);
    default:
        return decode_new_message(decoder, field, value, to);
    }
}

static enum status decode_repeated(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                   const struct json_value *value, ProtobufCMessage *message);

static enum status decode_key(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                              const struct json_value *key, void *to)
{
    struct json_value parsed;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE || key->type != JSON_STRING)
        return decode_single(decoder, field, key, to);
    if (key->text.size > KEY_TEXT_BYTES_MAX)
        return refuse(decoder, field, key, "a shorter key");
    enum status status = take_room(decoder, KEY_TREE_FACTOR, key->text.size);
    if (status != STATUS_OK)
        return status;
    if (json_parse(key->text, decoder->arena, &parsed, NULL) != STATUS_OK)
        return refuse(decoder, field, key, "an object, or its JSON text");
    return decode_single(decoder, field, &parsed, to);
}

static enum status decode_entry(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                const struct json_value *key, const struct json_value *value,
                                ProtobufCMessage **out)
{
    const ProtobufCMessageDescriptor *type = message_type(field);
    const ProtobufCFieldDescriptor *value_field = &type->fields[1];
    enum status status = take_room(decoder, 1, type->sizeof_message);
    if (status != STATUS_OK)
        return status;
    *out = arena_alloc(decoder->arena, type->sizeof_message);
    type->message_init(*out);
    status = decode_key(decoder, &type->fields[0], key, (char *)*out + type->fields[0].offset);
    if (status != STATUS_OK)
        return status;
    if (value_field->label == PROTOBUF_C_LABEL_REPEATED)
        return decode_repeated(decoder, value_field, value, *out);
    return decode_single(decoder, value_field, value, (char *)*out + value_field->offset);
}

static enum status decode_repeated(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                   const struct json_value *value, ProtobufCMessage *message)
{
    bool map = is_map(field);
    size_t *count = (size_t *)(void *)((char *)message + field->quantifier_offset);
    if (value->type != (map ? JSON_OBJECT : JSON_ARRAY))
        return refuse(decoder, field, value, map ? "an object" : "an array");
    *count = 0;
    if (value->count == 0)
        return STATUS_OK;
    size_t bytes = element_bytes(field);
    enum status status = take_room(decoder, value->count, bytes);
    if (status != STATUS_OK)
        return status;
    char *elements = arena_zalloc(decoder->arena, value->count * bytes);
    *(void **)(void *)((char *)message + field->offset) = elements;
    for (uint32_t i = 0; i < value->count; i++) {
        void *to = elements + *count * bytes;
        if (value->items[i].type == JSON_NULL)
            continue;
        if (map)
            status = decode_entry(decoder, field, &value->keys[i], &value->items[i], to);
        else
            status = decode_single(decoder, field, &value->items[i], to);
        if (status != STATUS_OK)
            return status;
        (*count)++;
    }
    return STATUS_OK;
}

/* The next character that counts when names are compared loosely, in upper case; -1 at the end. */
static int next_loose(struct slice name, size_t *i)
{
    while (*i < name.size && (name.data[*i] == '_' || name.data[*i] == '-'))
        (*i)++;
    return *i < name.size ? to_upper((char)name.data[(*i)++]) : -1;
}

static bool names_match(struct slice key, const char *field_name)
{
    struct slice name = slice_of_cstr(field_name);
    size_t k = 0;
    size_t n = 0;
    int c;
    do {
        c = next_loose(key, &k);
        if (c != next_loose(name, &n))
            return false;
    } while (c >= 0);
    return true;
}

/* The index of the field that `key` names, or n_fields. */
static unsigned find_field(const ProtobufCMessageDescriptor *type, const struct json_value *key)
{
    if (key->type != JSON_STRING)
        return type->n_fields;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (names_match(key->text, type->fields[i].name))
            return i;
    if (!slice_starts_with(key->text, SLICE_LITERAL("is")))
        return type->n_fields;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].type == PROTOBUF_C_TYPE_BOOL &&
            names_match(slice_from(key->text, 2), type->fields[i].name))
            return i;
    return type->n_fields;
}

/* Give a required member that was not in the input what the header promises. */
static enum status fill_missing(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                ProtobufCMessage *message)
{
    static const struct json_value nothing = {.type = JSON_OBJECT};
    void *to = (char *)message + field->offset;
    if (field->label != PROTOBUF_C_LABEL_REQUIRED)
        return STATUS_OK;
    if (field->type == PROTOBUF_C_TYPE_STRING && *(char **)to == NULL)
        return decode_string(decoder, field, &nothing, to);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return decode_new_message(decoder, field, &nothing, to);
    return STATUS_OK;
}

static enum status decode_field(struct decoder *decoder, const ProtobufCFieldDescriptor *field,
                                const struct json_value *value, ProtobufCMessage *message)
{
    if (value == NULL)
        return fill_missing(decoder, field, message);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return decode_repeated(decoder, field, value, message);
    enum status status = decode_single(decoder, field, value, (char *)message + field->offset);
    bool has_mark = field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset != 0;
    if (status == STATUS_OK && has_mark)
        *(protobuf_c_boolean *)(void *)((char *)message + field->quantifier_offset) = 1;
    return status;
}

/* Java's properties read "" and "null" as no number and no truth value. */
static bool is_missing(const ProtobufCFieldDescriptor *field, const struct json_value *value)
{
    bool scalar = field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE;
    return value->type == JSON_NULL || (scalar && value->type == JSON_STRING &&
                                        (value->text.size == 0 || slice_is(value->text, "null")));
}

static enum status decode_message(struct decoder *decoder, const struct json_value *value,
                                  ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const struct json_value *found[MEMBERS_MAX] = {NULL};
    CHECK(type->n_fields <= MEMBERS_MAX);
    if (is_bare_map(type))
        return decode_repeated(decoder, &type->fields[0], value, message);
    for (uint32_t i = 0; i < value->count; i++) {
        unsigned field = find_field(type, &value->keys[i]);
        if (field < type->n_fields && !is_missing(&type->fields[field], &value->items[i]))
            found[field] = &value->items[i];
    }
    for (unsigned i = 0; i < type->n_fields; i++) {
        enum status status = decode_field(decoder, &type->fields[i], found[i], message);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status body_decode(struct slice json, struct arena *arena, ProtobufCMessage *message,
                        struct err *err)
{
    struct decoder decoder = {.json = json,
                              .arena = arena,
                              .arena_bytes_max = arena->used_bytes + DECODE_BYTES_MAX,
                              .err = err};
    const char *name = message->descriptor->short_name;
    struct json_value tree;
    size_t error_at;
    enum status status = json_parse(json, arena, &tree, &error_at);
    if (status == STATUS_TOO_LARGE)
        return err_set(err, status, "%s at byte %zu: nested deeper than %d, or too large to decode",
                       name, error_at, JSON_DEPTH_MAX);
    if (status != STATUS_OK)
        return err_set(err, status, "%s at byte %zu: this is not JSON", name, error_at);
    if (tree.type != JSON_OBJECT)
        return err_set(err, STATUS_MALFORMED, "%s at byte 0: expected an object", name);
    return decode_message(&decoder, &tree, message);
}

/* --- encoding --------------------------------------------------------------------------------- */

struct writer {
    struct buf *out;
    enum body_style style;
    int depth;
};

static void write_message(struct writer *writer, const ProtobufCMessage *message);

static void new_line(struct writer *writer)
{
    if (writer->style != BODY_PRETTY)
        return;
    buf_append_byte(writer->out, '\n');
    for (int i = 0; i < writer->depth; i++)
        buf_append_byte(writer->out, '\t');
}

/* "lowerCamelCase": in quotes, with its colon. */
static void write_name(struct buf *out, const char *field_name)
{
    buf_append_byte(out, '"');
    out->size += format_name(field_name, (char *)buf_reserve(out, strlen(field_name)));
    buf_append(out, "\":", 2);
}

/* The member or array element at `from`. */
static void write_single(struct writer *writer, const ProtobufCFieldDescriptor *field,
                         const void *from)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        buf_append_number(writer->out, *(const int32_t *)from);
        break;
    case PROTOBUF_C_TYPE_INT64:
        buf_append_number(writer->out, *(const int64_t *)from);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_append_cstr(writer->out, *(const protobuf_c_boolean *)from ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_write_double(writer->out, *(const double *)from);
        break;
    case PROTOBUF_C_TYPE_STRING:
        json_write_string(writer->out, slice_of_cstr(*(char *const *)from));
        break;
    default:
        write_message(writer, *(ProtobufCMessage *const *)from);
        break;
    }
}

static bool is_pointer(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
}

/* A member that Java would hold as null. */
static bool is_absent(const ProtobufCFieldDescriptor *field, const ProtobufCMessage *message)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    if (is_pointer(field))
        return *(void *const *)(const void *)((const char *)message + field->offset) == NULL;
    return field->label == PROTOBUF_C_LABEL_OPTIONAL &&
           !*(const protobuf_c_boolean *)(const void *)((const char *)message +
                                                        field->quantifier_offset);
}

static void write_repeated(struct writer *writer, const ProtobufCFieldDescriptor *field,
                           const ProtobufCMessage *message);

static void write_value(struct writer *writer, const ProtobufCFieldDescriptor *field,
                        const ProtobufCMessage *message)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        write_repeated(writer, field, message);
    else
        write_single(writer, field, (const char *)message + field->offset);
}

static void write_map(struct writer *writer, ProtobufCMessage *const *entries, size_t count)
{
    bool first = true;
    buf_append_byte(writer->out, '{');
    writer->depth++;
    for (size_t i = 0; i < count; i++) {
        const ProtobufCFieldDescriptor *fields = entries[i]->descriptor->fields;
        if (is_absent(&fields[0], entries[i]) || is_absent(&fields[1], entries[i]))
            continue;
        if (!first)
            buf_append_byte(writer->out, ',');
        if (fields[0].type == PROTOBUF_C_TYPE_STRING)
            new_line(writer);
        write_value(writer, &fields[0], entries[i]);
        buf_append_byte(writer->out, ':');
        write_value(writer, &fields[1], entries[i]);
        first = false;
    }
    writer->depth--;
    if (!first)
        new_line(writer);
    buf_append_byte(writer->out, '}');
}

static void write_repeated(struct writer *writer, const ProtobufCFieldDescriptor *field,
                           const ProtobufCMessage *message)
{
    size_t count =
        *(const size_t *)(const void *)((const char *)message + field->quantifier_offset);
    const char *elements = *(char *const *)(const void *)((const char *)message + field->offset);
    size_t bytes = element_bytes(field);
    if (is_map(field)) {
        write_map(writer, (ProtobufCMessage *const *)(const void *)elements, count);
        return;
    }
    buf_append_byte(writer->out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_byte(writer->out, ',');
        write_single(writer, field, elements + i * bytes);
    }
    buf_append_byte(writer->out, ']');
}

static void write_message(struct writer *writer, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    bool first = true;
    if (is_bare_map(type)) {
        write_repeated(writer, &type->fields[0], message);
        return;
    }
    buf_append_byte(writer->out, '{');
    writer->depth++;
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (is_absent(&type->fields[i], message))
            continue;
        if (!first)
            buf_append_byte(writer->out, ',');
        new_line(writer);
        write_name(writer->out, type->fields[i].name);
        write_value(writer, &type->fields[i], message);
        first = false;
    }
    writer->depth--;
    if (!first)
        new_line(writer);
    buf_append_byte(writer->out, '}');
}

void body_encode(const ProtobufCMessage *message, enum body_style style, struct buf *out)
{
    struct writer writer = {.out = out, .style = style};
    write_message(&writer, message);
}
