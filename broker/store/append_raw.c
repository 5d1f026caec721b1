/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a master's log come in blocks that are cut anywhere. What is whole is written as it
 * came; of what is not, the begin is held in memory. So everything that holds for a master's log
 * holds for a slave's: it ends behind a record, what is in it can be dispatched, and a crash leaves
 * at most the torn end of one write.
 *
 * A filler with what its file has behind it is one piece, too: it is written when all of that is
 * here, and the log then goes on in the next file.
 *
 * What is held is no larger than a record may be (RAW_PIECE_BYTES_MAX, maxMessageSize), whatever
 * the master says; what a large one took is given back behind it.
 *
 * Invariant: held.size == 0, or held is the begin of a piece at appended_pos that is not whole.
 */
#include "broker/store/append_raw.h"

#include "broker/store/log_end.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/limits.h"

#include <inttypes.h>
#include <string.h>

/* A piece tells its size and what it is. */
#define PIECE_HEAD_BYTES 8
/* What a broker adds to a message that clients were allowed (properties of a half message that is
 * committed, and the record that goes with it), and a filler. */
#define GROWTH_BYTES (1024 * 1024)
#define HELD_BYTES_KEPT (1024 * 1024) /* memory for the next ones */

void raw_append_release(struct raw_append *raw)
{
    buf_release(&raw->held);
}

/* Nothing is held any more. */
static void drop_held(struct buf *held)
{
    if (held->capacity > HELD_BYTES_KEPT)
        buf_release(held);
    buf_clear(held);
}

int64_t store_received_pos(const struct store *store)
{
    return store_appended_pos(store) + (int64_t)store->raw.held.size;
}

/* --- pieces --- */

/* A record, or a filler with the rest of its file. */
struct piece {
    int64_t size;
    bool filler;
    int64_t timestamp_ms; /* of a whole record: its store time */
};

static enum status damaged(struct err *err, int64_t pos, const char *what)
{
    return err_set(err, STATUS_CORRUPT,
                   "the bytes from the master at position %" PRId64 " are no part of a log: %s. If "
                   "it sends the same again its log is damaged there: look at it with mqstore "
                   "verify on the master",
                   pos, what);
}

/* Would it be held? */
static enum status check_size(const struct store *store, const struct piece *piece, int64_t pos,
                              struct err *err)
{
    int64_t bytes_max = store->options.record_bytes_max;
    if (bytes_max < RAW_PIECE_BYTES_MAX)
        bytes_max = RAW_PIECE_BYTES_MAX;
    if (piece->size <= bytes_max + GROWTH_BYTES)
        return STATUS_OK;
    return err_set(err, STATUS_INVALID,
                   "the master's log has a record of %" PRId64 " bytes at position %" PRId64
                   ", more than the %" PRId64
                   " that this slave takes; set its maxMessageSize to the master's",
                   piece->size, pos, bytes_max);
}

/* The first bytes of a piece.
 * room     from it to the end of its file
 * returns  OK | TRUNCATED (too few to tell) | CORRUPT | INVALID (too large) */
static enum status piece_begin(const struct store *store, struct slice in, int64_t pos,
                               int64_t room, struct piece *out, struct err *err)
{
    if (in.size < PIECE_HEAD_BYTES)
        return STATUS_TRUNCATED;
    uint32_t magic = get_u32(in.data + 4);
    *out = (struct piece){.size = get_i32(in.data), .filler = magic == RECORD_FILLER_MAGIC};
    if (out->filler)
        return out->size == room ? check_size(store, out, pos, err)
                                 : damaged(err, pos, "an end-of-file mark has the wrong size");
    if (magic != RECORD_MAGIC)
        return damaged(err, pos, "there is no record's mark");
    if (out->size > room - RECORD_FILLER_BYTES)
        return damaged(err, pos, "a record reaches over the end of its file");
    /* Not only when all of it is here. */
    if (in.size >= RECORD_PHYSICAL_OFFSET_AT + 8 &&
        get_i64(in.data + RECORD_PHYSICAL_OFFSET_AT) != pos)
        return damaged(err, pos, "a record says that it belongs somewhere else");
    return check_size(store, out, pos, err);
}

/* The piece at the start of `in`.
 * returns  OK (all of it is there) | TRUNCATED (out->size is valid when 8 bytes are there)
 *          | CORRUPT | INVALID (too large) */
static enum status piece_whole(const struct store *store, struct slice in, int64_t pos,
                               int64_t room, struct piece *out, struct err *err)
{
    enum status status = piece_begin(store, in, pos, room, out, err);
    if (status != STATUS_OK)
        return status;
    if (out->filler)
        return (int64_t)in.size < out->size ? STATUS_TRUNCATED : STATUS_OK;
    struct record record;
    status = record_decode(
        in, store->options.check_crc_on_recover ? RECORD_CHECK_CRC : RECORD_CHECK_FRAME, &record);
    if (status == STATUS_CORRUPT)
        return damaged(err, pos, "a record's size or checksum is wrong");
    if (status == STATUS_OK && record.physical_offset != pos)
        return damaged(err, pos, "a record says that it belongs somewhere else");
    out->timestamp_ms = record.store_timestamp_ms;
    return status;
}

/* --- runs --- */

/* What is written at once: whole records, or a filler with what is behind it. */
struct run {
    size_t held_before;   /* what was held before this run */
    size_t completed;     /* bytes of the block that went to what was held */
    size_t direct;        /* bytes of the block behind those */
    bool fills;           /* it is a filler */
    int64_t last_pos;     /* of the last record */
    int64_t timestamp_ms; /* its store time */
};

/* Complete what is held.
 * returns  as piece_whole; TRUNCATED: all of the block is held now */
static enum status complete_held(struct store *store, struct slice block, int64_t room,
                                 struct run *run, struct err *err)
{
    struct buf *held = &store->raw.held;
    int64_t pos = store_appended_pos(store);
    struct piece piece = {0};
    enum status status = piece_begin(store, buf_slice(held), pos, room, &piece, err);
    CHECK(status == STATUS_TRUNCATED || status == STATUS_OK); /* it was looked at when it came */
    status = STATUS_TRUNCATED;
    while (status == STATUS_TRUNCATED && run->completed < block.size) {
        /* First until the size is known, then until all is there. */
        size_t wanted = held->size < PIECE_HEAD_BYTES ? PIECE_HEAD_BYTES : (size_t)piece.size;
        size_t more = block.size - run->completed;
        if (more > wanted - held->size)
            more = wanted - held->size;
        buf_append(held, block.data + run->completed, more);
        run->completed += more;
        status = piece_whole(store, buf_slice(held), pos, room, &piece, err);
    }
    run->fills = piece.filler;
    run->last_pos = pos;
    run->timestamp_ms = piece.timestamp_ms;
    return status;
}

/* Find what can be written of the block.
 * returns  OK (there is something) | TRUNCATED (nothing is whole; all of the block that was not
 *          held before is still to be) | CORRUPT | INVALID */
static enum status gather(struct store *store, struct slice block, struct run *run, struct err *err)
{
    int64_t pos = store_appended_pos(store);
    int64_t room = segment_end(store->log.current) - pos;
    enum status status = STATUS_OK;
    *run = (struct run){.held_before = store->raw.held.size};
    if (run->held_before > 0) {
        status = complete_held(store, block, room, run, err);
        if (status != STATUS_OK || run->fills)
            return status;
    }
    int64_t at = (int64_t)store->raw.held.size;
    while (status == STATUS_OK) {
        struct piece piece;
        status = piece_whole(store, slice_from(block, run->completed + run->direct), pos + at,
                             room - at, &piece, err);
        if (status != STATUS_OK || (piece.filler && at > 0))
            break;
        run->fills = piece.filler;
        run->last_pos = pos + at;
        run->timestamp_ms = piece.timestamp_ms;
        run->direct += (size_t)piece.size;
        at += piece.size;
        if (piece.filler)
            break;
    }
    return at > 0 ? STATUS_OK : status;
}

static bool all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* Behind the end of the log there are zeros already. */
static void leave_out_zeros(struct iovec *part)
{
    const uint8_t *data = part->iov_base;
    if (all_zero(data + RECORD_FILLER_BYTES, part->iov_len - RECORD_FILLER_BYTES))
        part->iov_len = RECORD_FILLER_BYTES;
}

static enum status write_locked(struct store *store, struct slice block, const struct run *run)
{
    struct commitlog *log = &store->log;
    const struct buf *held = &store->raw.held;
    struct iovec parts[2];
    int count = 0;
    int64_t bytes = (int64_t)(held->size + run->direct);
    if (held->size > 0)
        parts[count++] = (struct iovec){held->data, held->size};
    if (run->direct > 0)
        parts[count++] =
            (struct iovec){(void *)(uintptr_t)(block.data + run->completed), run->direct};
    if (run->fills)
        leave_out_zeros(&parts[0]);
    enum status status = run->fills ? log_end_ensure_next(log) : STATUS_OK;
    if (status == STATUS_OK)
        status = log_end_write(log, parts, count);
    if (status != STATUS_OK)
        return status;
    int64_t pos = atomic_load_explicit(&log->appended_pos, memory_order_relaxed) + bytes;
    if (run->fills) {
        log_end_roll(log);
        atomic_store_explicit(&log->appended_pos, pos, memory_order_seq_cst);
        return STATUS_OK;
    }
    log->last_record_pos = run->last_pos;
    log->last_timestamp_ms = run->timestamp_ms;
    atomic_store_explicit(&log->appended_pos, pos, memory_order_seq_cst);
    atomic_store_explicit(&log->appended_timestamp_ms, run->timestamp_ms, memory_order_release);
    return STATUS_OK;
}

/* May a slave's log be written? A disk that is fuller than messages may have it does not matter,
 * nor that queue entries wait for space: dispatch comes to what is in the log later. */
static enum status may_write(const struct store *store)
{
    const struct health *health = &store->health;
    if (!health_has(health, REFUSAL_SLAVE))
        return STATUS_READ_ONLY;
    if (health_has(health, REFUSAL_CLOSING))
        return STATUS_CLOSED;
    if (health_has(health, REFUSAL_FAILED))
        return STATUS_IO;
    return health_has(health, REFUSAL_NO_SPACE) ? STATUS_FULL : STATUS_OK;
}

static enum status explain(const struct store *store, enum status status, struct err *err)
{
    char why[ERR_TEXT_BYTES] = "the log could not be written";
    if (status == STATUS_READ_ONLY)
        return err_set(err, status, "this broker is a master: its log takes no other's");
    (void)health_explain(&store->health, why, sizeof why);
    /* A folder that takes no new file may take one later. */
    if (status == STATUS_IO && !health_has(&store->health, REFUSAL_FAILED))
        status = STATUS_BUSY;
    return err_set(err, status, "%s", why);
}

static enum status write_run(struct store *store, struct slice block, const struct run *run,
                             struct err *err)
{
    struct commitlog *log = &store->log;
    (void)pthread_mutex_lock(&log->append_lock);
    atomic_store_explicit(&log->append_since_ms, clock_monotonic_ms(log->clock),
                          memory_order_relaxed);
    enum status status = may_write(store);
    if (status == STATUS_OK)
        status = write_locked(store, block, run);
    atomic_store_explicit(&log->append_since_ms, 0, memory_order_relaxed);
    (void)pthread_mutex_unlock(&log->append_lock);
    return status == STATUS_OK ? STATUS_OK : explain(store, status, err);
}

/* Take what is whole at the front of the block, or hold all of it.
 * *taken  bytes of the block */
static enum status take(struct store *store, struct slice block, size_t *taken, struct err *err)
{
    struct buf *held = &store->raw.held;
    struct run run;
    *taken = 0;
    enum status status = gather(store, block, &run, err);
    if (status == STATUS_TRUNCATED) {
        buf_append(held, block.data + run.completed, block.size - run.completed);
        *taken = block.size;
        return STATUS_OK;
    }
    if (status == STATUS_OK)
        status = write_run(store, block, &run, err);
    if (status == STATUS_OK) {
        drop_held(held);
        *taken = run.completed + run.direct;
    } else {
        held->size = status == STATUS_CORRUPT ? 0 : run.held_before;
    }
    return status;
}

enum status store_append_raw(struct store *store, int64_t pos, struct slice bytes, struct err *err)
{
    int64_t before = store_appended_pos(store);
    if (pos == before)
        drop_held(&store->raw.held);
    enum status status = may_write(store);
    if (status != STATUS_OK)
        return explain(store, status, err);
    if (pos != store_received_pos(store))
        return err_set(err, STATUS_INVALID,
                       "bytes of the master's log at position %" PRId64 " do not continue this "
                       "one, which ends at %" PRId64,
                       pos, store_received_pos(store));
    while (bytes.size > 0 && status == STATUS_OK) {
        size_t taken;
        status = take(store, bytes, &taken, err);
        bytes = slice_from(bytes, taken);
    }
    if (store_appended_pos(store) != before)
        store_appended(store);
    return status;
}
