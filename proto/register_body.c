/* SPDX-License-Identifier: Apache-2.0
 *
 * What the zlib stream of a compressed registration holds, integers big-endian:
 *
 *   int32 n, n bytes     DataVersion as JSON
 *   int32 count          of topics, then for each of them
 *     int32 n, n bytes     "name readQueueNums writeQueueNums perm topicFilterType"
 *   int32 n, n bytes     array of filter servers as JSON
 *
 * zlib brings its own working memory, which is returned before these functions do.
 */
#include "proto/register_body.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/number.h"
#include "proto/body_json.h"
#include "proto/json.h"

#include <zlib.h>

#define DEFLATE_LEVEL 9
#define INFLATE_STEP_BYTES 65536
#define TOPIC_LINE_WORDS 5

/* The shortest topic: its length field and "a 1 1 6 b". */
#define TOPIC_BYTES_MIN 13

static enum status inflate_all(struct slice in, struct buf *out)
{
    z_stream stream = {.next_in = (z_const Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.size};
    if (in.size > UINT32_MAX)
        return STATUS_TOO_LARGE;
    CHECK(inflateInit(&stream) == Z_OK);
    int result;
    do {
        stream.next_out = buf_reserve(out, INFLATE_STEP_BYTES);
        stream.avail_out = INFLATE_STEP_BYTES;
        result = inflate(&stream, Z_NO_FLUSH);
        out->size += INFLATE_STEP_BYTES - stream.avail_out;
    } while (result == Z_OK && out->size <= DECODE_BYTES_MAX);
    (void)inflateEnd(&stream);
    if (out->size > DECODE_BYTES_MAX)
        return STATUS_TOO_LARGE;
    return result == Z_STREAM_END ? STATUS_OK : STATUS_MALFORMED;
}

static bool take_i32(struct slice *rest, int32_t *out)
{
    if (rest->size < 4)
        return false;
    *out = get_i32(rest->data);
    *rest = slice_from(*rest, 4);
    return true;
}

static bool take_part(struct slice *rest, struct slice *out)
{
    int32_t bytes;
    if (!take_i32(rest, &bytes) || bytes < 0 || (size_t)bytes > rest->size)
        return false;
    *out = slice_of(rest->data, (size_t)bytes);
    *rest = slice_from(*rest, (size_t)bytes);
    return true;
}

/* The text up to the next blank, which is taken off `rest` with it. */
static struct slice take_word(struct slice *rest)
{
    const uint8_t *blank = rest->size == 0 ? NULL : memchr(rest->data, ' ', rest->size);
    struct slice word = *rest;
    if (blank != NULL)
        word.size = (size_t)(blank - rest->data);
    *rest = slice_from(*rest, word.size + (blank == NULL ? 0 : 1));
    return word;
}

static enum status read_topic(struct slice line, struct arena *arena, TopicConfigEntry **out,
                              struct err *err)
{
    struct slice words[TOPIC_LINE_WORDS];
    struct slice rest = line;
    TopicConfig *topic = arena_alloc(arena, sizeof *topic);
    topic_config__init(topic);
    for (size_t i = 0; i < TOPIC_LINE_WORDS; i++)
        words[i] = take_word(&rest);
    if (words[0].size == 0 || words[4].size == 0 || rest.size != 0 ||
        memchr(line.data, '\0', line.size) != NULL ||
        !parse_i32(words[1], &topic->read_queue_nums) ||
        !parse_i32(words[2], &topic->write_queue_nums) || !parse_i32(words[3], &topic->perm))
        return err_set(err, STATUS_MALFORMED,
                       "topic \"%.*s\": expected name, readQueueNums, writeQueueNums, perm and "
                       "topicFilterType",
                       SLICE_ARGS(words[0]));
    topic->topic_name = arena_cstr(arena, words[0]);
    topic->topic_filter_type = arena_cstr(arena, words[4]);
    *out = arena_alloc(arena, sizeof **out);
    topic_config_entry__init(*out);
    (*out)->key = topic->topic_name;
    (*out)->value = topic;
    return STATUS_OK;
}

static enum status read_topics(struct slice *rest, struct arena *arena,
                               TopicConfigSerializeWrapper *wrapper, struct err *err)
{
    int32_t count;
    struct slice line;
    size_t arena_bytes_max = arena->used_bytes + DECODE_BYTES_MAX;
    if (!take_i32(rest, &count) || count < 0 || (size_t)count > rest->size / TOPIC_BYTES_MIN)
        return err_set(err, STATUS_MALFORMED, "the number of topics is wrong");
    wrapper->topic_config_table =
        arena_alloc(arena, (size_t)count * sizeof *wrapper->topic_config_table);
    for (int32_t i = 0; i < count; i++) {
        if (!take_part(rest, &line))
            return err_set(err, STATUS_MALFORMED, "topic %d of %d is cut off", i + 1, count);
        if (arena->used_bytes > arena_bytes_max)
            return err_set(err, STATUS_TOO_LARGE, "%d topics are too many", count);
        enum status status = read_topic(line, arena, &wrapper->topic_config_table[i], err);
        if (status != STATUS_OK)
            return status;
        wrapper->n_topic_config_table++;
    }
    return STATUS_OK;
}

static enum status read_filter_servers(struct slice json, struct arena *arena,
                                       RegisterBrokerBody *message, struct err *err)
{
    struct json_value array;
    enum status status = json_parse(json, arena, &array, NULL);
    if (status != STATUS_OK || (array.type != JSON_ARRAY && array.type != JSON_NULL))
        return err_set(err, status == STATUS_OK ? STATUS_MALFORMED : status,
                       "the filter servers are no JSON array");
    message->filter_server_list =
        arena_alloc(arena, array.count * sizeof *message->filter_server_list);
    for (uint32_t i = 0; i < array.count; i++) {
        const struct json_value *server = &array.items[i];
        if (server->type != JSON_STRING ||
            (server->text.size != 0 && memchr(server->text.data, '\0', server->text.size) != NULL))
            return err_set(err, STATUS_MALFORMED, "filter server %u is no text", i + 1);
        message->filter_server_list[i] = arena_cstr(arena, server->text);
        message->n_filter_server_list++;
    }
    return STATUS_OK;
}

static enum status read_content(struct slice rest, struct arena *arena, RegisterBrokerBody *message,
                                struct err *err)
{
    struct slice part;
    TopicConfigSerializeWrapper *wrapper = arena_alloc(arena, sizeof *wrapper);
    topic_config_serialize_wrapper__init(wrapper);
    wrapper->data_version = arena_alloc(arena, sizeof *wrapper->data_version);
    data_version__init(wrapper->data_version);
    message->topic_config_serialize_wrapper = wrapper;
    if (!take_part(&rest, &part))
        return err_set(err, STATUS_MALFORMED, "the data version is cut off");
    enum status status = body_decode(part, arena, &wrapper->data_version->base, err);
    if (status == STATUS_OK)
        status = read_topics(&rest, arena, wrapper, err);
    if (status != STATUS_OK)
        return status;
    if (!take_part(&rest, &part))
        return err_set(err, STATUS_MALFORMED, "the filter servers are cut off");
    return read_filter_servers(part, arena, message, err);
}

enum status register_body_inflate(struct slice in, struct arena *arena, RegisterBrokerBody *message,
                                  struct err *err)
{
    struct buf content = BUF_EMPTY;
    enum status status = inflate_all(in, &content);
    if (status == STATUS_OK)
        status = read_content(buf_slice(&content), arena, message, err);
    else
        (void)err_set(err, status, "the registration does not inflate, or to more than %d bytes",
                      DECODE_BYTES_MAX);
    buf_release(&content);
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Reserve a length field; end_part fills it in. */
static size_t begin_part(struct buf *out)
{
    buf_append_i32(out, 0);
    return out->size;
}

static void end_part(struct buf *out, size_t from)
{
    put_i32(out->data + from - 4, (int32_t)(out->size - from));
}

static void write_topic(struct buf *out, const TopicConfig *topic)
{
    size_t from = begin_part(out);
    buf_append_cstr(out, topic->topic_name);
    buf_append_byte(out, ' ');
    buf_append_number(out, topic->read_queue_nums);
    buf_append_byte(out, ' ');
    buf_append_number(out, topic->write_queue_nums);
    buf_append_byte(out, ' ');
    buf_append_number(out, topic->perm);
    buf_append_byte(out, ' ');
    buf_append_cstr(out, topic->topic_filter_type);
    end_part(out, from);
}

static void write_content(const RegisterBrokerBody *message, struct buf *out)
{
    static const DataVersion no_version = DATA_VERSION__INIT;
    static const TopicConfigSerializeWrapper no_topics = TOPIC_CONFIG_SERIALIZE_WRAPPER__INIT;
    const TopicConfigSerializeWrapper *wrapper = message->topic_config_serialize_wrapper;
    if (wrapper == NULL)
        wrapper = &no_topics;
    const DataVersion *version = wrapper->data_version;
    size_t from = begin_part(out);
    body_encode(version == NULL ? &no_version.base : &version->base, BODY_COMPACT, out);
    end_part(out, from);
    buf_append_i32(out, (int32_t)wrapper->n_topic_config_table);
    for (size_t i = 0; i < wrapper->n_topic_config_table; i++)
        write_topic(out, wrapper->topic_config_table[i]->value);
    from = begin_part(out);
    buf_append_byte(out, '[');
    for (size_t i = 0; i < message->n_filter_server_list; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        json_write_string(out, slice_of_cstr(message->filter_server_list[i]));
    }
    buf_append_byte(out, ']');
    end_part(out, from);
}

void register_body_deflate(const RegisterBrokerBody *message, struct buf *out)
{
    struct buf content = BUF_EMPTY;
    write_content(message, &content);
    uLongf deflated_bytes = compressBound(content.size);
    uint8_t *to = buf_reserve(out, deflated_bytes);
    CHECK(compress2(to, &deflated_bytes, content.data, content.size, DEFLATE_LEVEL) == Z_OK);
    out->size += deflated_bytes;
    buf_release(&content);
}
