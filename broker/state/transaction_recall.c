/* SPDX-License-Identifier: Apache-2.0
 *
 * Backwards from the newest marker: what ended last is most likely to be ended again. Bounded by
 * number and time, for nobody can end a transaction of before the start meanwhile.
 */
#include "broker/state/transaction_recall.h"

#include "broker/state/half_message.h"
#include "broker/state/topics.h"
#include "common/sys/log.h"

#define MS_MAX 10000
#define AT_ONCE 1024

void transaction_recall_init(struct transaction_recall *recall, struct store *store,
                             struct transaction_ends *ends)
{
    struct log_name last;
    *recall = (struct transaction_recall){
        .store = store,
        .ends = ends,
        .settle_pos = store_appended_pos(store),
        .last_pos = store_name_end(store, &last) == STATUS_OK ? last.pos : -1,
    };
    transaction_ends_begin_at(ends, recall->settle_pos);
}

void transaction_recall_learn(struct transaction_recall *recall, const struct record *marker)
{
    struct queue *halves = store_queue(recall->store, SLICE_LITERAL(TOPIC_TRANS_HALF), 0, false);
    int64_t origin = half_marked_origin(marker);
    int64_t half = half_marked(marker);
    struct queue_entry entry;
    if (half >= 0 && origin < 0 && halves != NULL && queue_entry_at(halves, half, &entry))
        origin = entry.pos;
    if (half < 0 || origin < 0)
        return;
    transaction_ends_settle(recall->ends, origin,
                            &(struct transaction_end){half_marked_outcome(marker),
                                                      marker->physical_offset,
                                                      marker->physical_offset + marker->size});
}

/* The whole record at a position. False: there is none, or it cannot be read. */
static bool read_record(struct transaction_recall *recall, int64_t pos, struct log_range *range,
                        struct record *record)
{
    if (store_read_record(recall->store, pos, range) != STATUS_OK)
        return false;
    if (record_decode(slice_of(range->data, range->size), RECORD_CHECK_CRC, record) == STATUS_OK)
        return true;
    log_range_release(range);
    return false;
}

/* Those that are damaged, or that the disk refuses, are as good as forgotten: the store tells of
 * them. */
static void read_marker(struct transaction_recall *recall, struct queue *markers, int64_t offset)
{
    struct queue_entry entry;
    struct log_range range;
    struct record marker;
    if (!queue_entry_at(markers, offset, &entry) || entry.pos < 0 ||
        !read_record(recall, entry.pos, &range, &marker))
        return;
    transaction_recall_learn(recall, &marker);
    log_range_release(&range);
}

/* True: that was all. */
static bool read_some(struct transaction_recall *recall, int64_t now_ms)
{
    struct queue *markers =
        store_queue(recall->store, SLICE_LITERAL(TOPIC_TRANS_OP_HALF), 0, false);
    if (markers == NULL)
        return true;
    if (recall->begun_ms == 0) {
        recall->begun_ms = now_ms;
        recall->end = recall->from = queue_max_offset(markers);
    }
    int64_t first = recall->end - TRANSACTION_ENDS_KEPT;
    if (first < queue_min_offset(markers))
        first = queue_min_offset(markers);
    for (int i = 0; i < AT_ONCE && recall->from > first; i++)
        read_marker(recall, markers, --recall->from);
    if (recall->from <= first)
        return true;
    if (now_ms - recall->begun_ms < MS_MAX)
        return false;
    log_warn("transactions", "not all ends of transactions were read back in time",
             "read=%lld left=%lld effect=\"a transaction that ended long ago ends again if its "
             "producer says so again\"",
             (long long)(recall->end - recall->from), (long long)(recall->from - first));
    return true;
}

/* Its marker was lost, unless this is no commit of that half message: what was delayed names
 * position 0 when it comes. */
static void complete(struct transaction_recall *recall, const struct record *half,
                     const struct record *last, int64_t wall_ms)
{
    char text[I64_TEXT_BYTES];
    struct record marker;
    if (!slice_is(half->topic, TOPIC_TRANS_HALF) || half->body_crc != last->body_crc ||
        half->born_timestamp_ms != last->born_timestamp_ms ||
        transaction_ends_has(recall->ends, half_origin(half)))
        return;
    half_mark(half, SYS_FLAG_TRANSACTION_COMMIT, &last->store_host, wall_ms, text, &marker);
    struct queue *markers = store_queue(recall->store, marker.topic, marker.queue_id, true);
    struct append_batch *batch = append_batch_new(recall->store);
    bool done = append_batch_add_again(batch, markers, &marker, false, NULL) == STATUS_OK &&
                store_append(recall->store, batch)->status == PUT_OK;
    append_batch_free(batch);
    log_info("transactions", "the end of a transaction was completed: its marker was lost",
             "pos=%lld appended=%s", (long long)recall->last_pos, done ? "yes" : "no");
    transaction_ends_settle(recall->ends, half_origin(half),
                            &(struct transaction_end){SYS_FLAG_TRANSACTION_COMMIT,
                                                      last->physical_offset,
                                                      last->physical_offset + last->size});
}

/* A power cut, or a master that is gone, may have left a committed message at the end of the log
 * and not the marker that was glued to it. */
static void look_at_last(struct transaction_recall *recall, int64_t wall_ms)
{
    struct log_range range;
    struct log_range half_range;
    struct record last;
    struct record half;
    if (recall->last_pos < 0 || !read_record(recall, recall->last_pos, &range, &last))
        return;
    if ((last.sys_flag & SYS_FLAG_TRANSACTION_MASK) == SYS_FLAG_TRANSACTION_COMMIT &&
        read_record(recall, last.prepared_transaction_offset, &half_range, &half)) {
        complete(recall, &half, &last, wall_ms);
        log_range_release(&half_range);
    }
    log_range_release(&range);
}

bool transaction_recall_step(struct transaction_recall *recall, int64_t wall_ms, int64_t now_ms)
{
    if (store_dispatched_pos(recall->store) < recall->settle_pos || !read_some(recall, now_ms))
        return false;
    look_at_last(recall, wall_ms);
    transaction_ends_set_ready(recall->ends);
    return true;
}
