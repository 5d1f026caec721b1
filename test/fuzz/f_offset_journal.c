/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an offset journal: its blocks are walked and made again with the same bytes. And as
 * one block whose magic, size and checksum are put right, so that what lies behind them is reached.
 */
#include "broker/state/offset_journal_format.h"
#include "common/base/check.h"
#include "common/base/crc32.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode_changes(const struct journal_block *block, struct buf *out)
{
    struct slice changes = block->changes;
    struct journal_change change;
    struct journal_queue queue;
    journal_changes_open(out);
    while (journal_change_next(&changes, &change)) {
        if (change.forget) {
            CHECK(change.queues.size == 0);
            journal_put_forget(out, change.key);
            continue;
        }
        size_t key_at = journal_put_key(out, change.key);
        while (journal_queue_next(&change.queues, &queue))
            journal_put_queue(out, key_at, queue.queue_id, queue.offset);
    }
    CHECK(changes.size == 0);
    CHECK(slice_equal(journal_changes_of(out), block->changes));
    journal_changes_seal(out, block->generation, block->sequence, block->log_pos);
}

/* Where the next block starts; behind the end when there is none. */
static size_t block_at(struct slice bytes)
{
    struct journal_block block;
    struct buf again = BUF_EMPTY;
    if (journal_block_decode(bytes, &block) != STATUS_OK)
        return bytes.size;
    CHECK(block.size >= JOURNAL_HEADER_BYTES && block.size <= bytes.size);
    if (block.kind == JOURNAL_BEGIN)
        journal_begin_append(&again, block.generation, block.sequence, block.content, block.before);
    else if (block.kind == JOURNAL_SNAPSHOT)
        journal_snapshot_append(&again, block.generation, block.sequence, block.content);
    else
        encode_changes(&block, &again);
    CHECK(slice_equal(buf_slice(&again), slice_of(bytes.data, block.size)));
    buf_release(&again);
    return block.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    while (bytes.size != 0)
        bytes = slice_from(bytes, block_at(bytes));
    if (size < JOURNAL_HEADER_BYTES)
        return 0;
    struct buf whole = BUF_EMPTY;
    buf_append(&whole, data, size);
    put_u32(whole.data, 0x434D4F4A);
    put_u32(whole.data + 4, (uint32_t)size);
    put_u32(whole.data + 8, rocketmq_crc32(slice_of(whole.data + 12, size - 12)));
    (void)block_at(buf_slice(&whole));
    buf_release(&whole);
    return 0;
}
