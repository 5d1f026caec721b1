/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of an offset journal. Invariant: a block that journal_block_decode accepts can be walked
 * to its end by the two walkers, which therefore check nothing that it has checked.
 */
#include "broker/state/offset_journal_format.h"

#include "common/base/check.h"
#include "common/base/crc32.h"

#define MAGIC 0x434D4F4AU
#define AT_SIZE 4
#define AT_CRC 8
#define AT_KIND 12
#define AT_GENERATION 16
#define AT_SEQUENCE 24
#define VERSION_BYTES 4
#define CONTENT_BYTES 12
#define LOG_POS_BYTES 8
#define CHANGE_SET 1
#define CHANGE_FORGET 2
#define CHANGE_HEADER_BYTES 3
#define COUNT_BYTES 4
#define QUEUE_BYTES 12

struct content_id content_id_none(void)
{
    return (struct content_id){CONTENT_NONE, 0};
}

struct content_id content_id_of(struct slice text)
{
    return (struct content_id){(int64_t)text.size, rocketmq_crc32(text)};
}

bool content_id_equal(struct content_id a, struct content_id b)
{
    return a.bytes == b.bytes && a.crc == b.crc;
}

/* --- reading --- */

/* Cut the first change off. False when the bytes hold no whole change. */
static bool change_cut(struct slice *rest, struct journal_change *out)
{
    if (rest->size < CHANGE_HEADER_BYTES)
        return false;
    uint8_t kind = rest->data[0];
    size_t at = CHANGE_HEADER_BYTES + get_u16(rest->data + 1);
    if ((kind != CHANGE_SET && kind != CHANGE_FORGET) || at > rest->size)
        return false;
    out->forget = kind == CHANGE_FORGET;
    out->key = slice_of(rest->data + CHANGE_HEADER_BYTES, at - CHANGE_HEADER_BYTES);
    out->queues = SLICE_EMPTY;
    if (kind == CHANGE_SET) {
        if (rest->size - at < COUNT_BYTES)
            return false;
        uint32_t count = get_u32(rest->data + at);
        at += COUNT_BYTES;
        if (count > (rest->size - at) / QUEUE_BYTES)
            return false;
        out->queues = slice_of(rest->data + at, (size_t)count * QUEUE_BYTES);
        at += out->queues.size;
    }
    *rest = slice_from(*rest, at);
    return true;
}

static bool changes_are_whole(struct slice changes)
{
    struct journal_change change;
    while (changes.size != 0)
        if (!change_cut(&changes, &change))
            return false;
    return true;
}

static bool content_cut(struct slice *rest, struct content_id *out)
{
    if (rest->size < CONTENT_BYTES || get_i64(rest->data) < CONTENT_NONE)
        return false;
    *out = (struct content_id){get_i64(rest->data), get_u32(rest->data + 8)};
    *rest = slice_from(*rest, CONTENT_BYTES);
    return true;
}

static bool decode_begin(struct slice rest, struct journal_block *out)
{
    if (rest.size < VERSION_BYTES || get_u32(rest.data) != JOURNAL_VERSION)
        return false;
    rest = slice_from(rest, VERSION_BYTES);
    return content_cut(&rest, &out->content) && content_cut(&rest, &out->before) && rest.size == 0;
}

static bool decode_changes(struct slice rest, struct journal_block *out)
{
    if (rest.size < LOG_POS_BYTES)
        return false;
    out->log_pos = get_i64(rest.data);
    out->changes = slice_from(rest, LOG_POS_BYTES);
    return out->log_pos >= 0 && changes_are_whole(out->changes);
}

enum status journal_block_decode(struct slice bytes, struct journal_block *out)
{
    *out = (struct journal_block){0};
    if (bytes.size < JOURNAL_HEADER_BYTES)
        return STATUS_TRUNCATED;
    size_t size = get_u32(bytes.data + AT_SIZE);
    if (get_u32(bytes.data) != MAGIC || size < JOURNAL_HEADER_BYTES ||
        size > JOURNAL_BLOCK_BYTES_MAX)
        return STATUS_CORRUPT;
    if (bytes.size < size)
        return STATUS_TRUNCATED;
    struct slice covered = slice_of(bytes.data + AT_KIND, size - AT_KIND);
    if (rocketmq_crc32(covered) != get_u32(bytes.data + AT_CRC))
        return STATUS_CORRUPT;

    uint32_t kind = get_u32(bytes.data + AT_KIND);
    struct slice rest = slice_of(bytes.data + JOURNAL_HEADER_BYTES, size - JOURNAL_HEADER_BYTES);
    out->generation = get_u64(bytes.data + AT_GENERATION);
    out->sequence = get_u64(bytes.data + AT_SEQUENCE);
    out->size = size;
    bool good = false;
    if (kind == JOURNAL_BEGIN)
        good = decode_begin(rest, out);
    else if (kind == JOURNAL_CHANGES)
        good = decode_changes(rest, out);
    else if (kind == JOURNAL_SNAPSHOT)
        good = content_cut(&rest, &out->content) && rest.size == 0;
    out->kind = (enum journal_kind)kind;
    return good ? STATUS_OK : STATUS_CORRUPT;
}

bool journal_change_next(struct slice *changes, struct journal_change *out)
{
    return changes->size != 0 && change_cut(changes, out);
}

bool journal_queue_next(struct slice *queues, struct journal_queue *out)
{
    if (queues->size < QUEUE_BYTES)
        return false;
    *out = (struct journal_queue){get_i32(queues->data), get_i64(queues->data + 4)};
    *queues = slice_from(*queues, QUEUE_BYTES);
    return true;
}

/* --- making --- */

void journal_changes_open(struct buf *block)
{
    buf_clear(block);
    memset(buf_reserve(block, JOURNAL_CHANGES_BYTES), 0, JOURNAL_CHANGES_BYTES);
    block->size = JOURNAL_CHANGES_BYTES;
}

static void put_change(struct buf *block, uint8_t kind, struct slice key)
{
    CHECK(key.size <= UINT16_MAX);
    uint8_t *at = buf_reserve(block, CHANGE_HEADER_BYTES + key.size + COUNT_BYTES);
    at[0] = kind;
    put_u16(at + 1, (uint16_t)key.size);
    if (key.size != 0)
        memcpy(at + CHANGE_HEADER_BYTES, key.data, key.size);
    block->size += CHANGE_HEADER_BYTES + key.size;
}

void journal_put_forget(struct buf *block, struct slice key)
{
    put_change(block, CHANGE_FORGET, key);
}

size_t journal_put_key(struct buf *block, struct slice key)
{
    put_change(block, CHANGE_SET, key);
    size_t key_at = block->size;
    buf_append_i32(block, 0);
    return key_at;
}

void journal_put_queue(struct buf *block, size_t key_at, int32_t queue_id, int64_t offset)
{
    uint8_t *at = buf_reserve(block, QUEUE_BYTES);
    put_i32(at, queue_id);
    put_i64(at + 4, offset);
    block->size += QUEUE_BYTES;
    put_u32(block->data + key_at, get_u32(block->data + key_at) + 1);
}

static void seal(uint8_t *block, size_t size, enum journal_kind kind, uint64_t generation,
                 uint64_t sequence)
{
    CHECK(size <= JOURNAL_BLOCK_BYTES_MAX);
    put_u32(block, MAGIC);
    put_u32(block + AT_SIZE, (uint32_t)size);
    put_u32(block + AT_KIND, (uint32_t)kind);
    put_u64(block + AT_GENERATION, generation);
    put_u64(block + AT_SEQUENCE, sequence);
    put_u32(block + AT_CRC, rocketmq_crc32(slice_of(block + AT_KIND, size - AT_KIND)));
}

void journal_changes_seal(struct buf *block, uint64_t generation, uint64_t sequence,
                          int64_t log_pos)
{
    CHECK(block->size >= JOURNAL_CHANGES_BYTES);
    put_i64(block->data + JOURNAL_HEADER_BYTES, log_pos);
    seal(block->data, block->size, JOURNAL_CHANGES, generation, sequence);
}

struct slice journal_changes_of(const struct buf *block)
{
    CHECK(block->size >= JOURNAL_CHANGES_BYTES);
    return slice_from(buf_slice(block), JOURNAL_CHANGES_BYTES);
}

static size_t open_block(struct buf *out)
{
    size_t start = out->size;
    (void)buf_reserve(out, JOURNAL_HEADER_BYTES);
    out->size += JOURNAL_HEADER_BYTES;
    return start;
}

static void put_content(struct buf *out, struct content_id content)
{
    uint8_t bytes[CONTENT_BYTES];
    put_i64(bytes, content.bytes);
    put_u32(bytes + 8, content.crc);
    buf_append(out, bytes, sizeof bytes);
}

void journal_begin_append(struct buf *out, uint64_t generation, uint64_t sequence,
                          struct content_id json, struct content_id before)
{
    size_t start = open_block(out);
    buf_append_i32(out, JOURNAL_VERSION);
    put_content(out, json);
    put_content(out, before);
    CHECK(out->size - start == JOURNAL_BEGIN_BYTES);
    seal(out->data + start, out->size - start, JOURNAL_BEGIN, generation, sequence);
}

void journal_snapshot_append(struct buf *out, uint64_t generation, uint64_t sequence,
                             struct content_id next)
{
    size_t start = open_block(out);
    put_content(out, next);
    seal(out->data + start, out->size - start, JOURNAL_SNAPSHOT, generation, sequence);
}
