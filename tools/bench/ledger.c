/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequence numbers of a stream are dense, so a stream is two arrays indexed by them.
 */
#include "tools/bench/ledger.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PENDING_BYTES (2048 * LEDGER_ENTRY_BYTES)

/* More messages of one stream than any run sends; a larger number in the file is damage. */
#define SEQUENCE_MAX (1ULL << 32)

struct ledger_place {
    int64_t queue_offset;
    int32_t queue_id;
    bool acknowledged;
    bool moved;
    uint16_t found;
};

struct ledger_stream {
    struct ledger_place *places;
    uint64_t count;
};

enum status ledger_writer_open(struct ledger_writer *writer, const char *path, struct err *err)
{
    writer->pending = BUF_EMPTY;
    writer->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (writer->fd == -1)
        return err_set_errno(err, STATUS_IO, "cannot open the ledger %s", path);
    return STATUS_OK;
}

static void flush(struct ledger_writer *writer)
{
    size_t done = 0;
    while (done < writer->pending.size) {
        ssize_t wrote = write(writer->fd, writer->pending.data + done, writer->pending.size - done);
        if (wrote == -1 && errno == EINTR)
            continue;
        CHECK(wrote > 0);
        done += (size_t)wrote;
    }
    buf_clear(&writer->pending);
}

void ledger_writer_add(struct ledger_writer *writer, const struct payload_mark *mark, int queue_id,
                       int64_t queue_offset)
{
    uint8_t *entry = buf_reserve(&writer->pending, LEDGER_ENTRY_BYTES);
    put_u32(entry, mark->run);
    put_u32(entry + 4, mark->stream);
    put_u64(entry + 8, mark->sequence);
    put_i32(entry + 16, queue_id);
    put_i32(entry + 20, 0);
    put_i64(entry + 24, queue_offset);
    writer->pending.size += LEDGER_ENTRY_BYTES;
    if (writer->pending.size >= PENDING_BYTES)
        flush(writer);
}

void ledger_writer_close(struct ledger_writer *writer)
{
    if (writer->fd == -1)
        return;
    flush(writer);
    close(writer->fd);
    writer->fd = -1;
    buf_release(&writer->pending);
}

static struct ledger_stream *stream_of(struct ledger *ledger, const struct payload_mark *mark,
                                       bool create)
{
    uint8_t key[8];
    put_u32(key, mark->run);
    put_u32(key + 4, mark->stream);
    struct ledger_stream *stream = map_get(&ledger->streams, slice_of(key, sizeof key));
    if (stream == NULL && create) {
        stream = xcalloc(1, sizeof *stream);
        map_put(&ledger->streams, slice_of(key, sizeof key), stream);
    }
    return stream;
}

static struct ledger_place *place_of(struct ledger_stream *stream, uint64_t sequence)
{
    if (sequence >= stream->count) {
        uint64_t count = stream->count == 0 ? 4096 : stream->count;
        while (count <= sequence)
            count *= 2;
        stream->places = xrealloc(stream->places, count * sizeof *stream->places);
        memset(stream->places + stream->count, 0, (count - stream->count) * sizeof *stream->places);
        stream->count = count;
    }
    return &stream->places[sequence];
}

enum status ledger_load(struct ledger *ledger, const char *path, struct err *err)
{
    *ledger = (struct ledger){.streams = MAP_EMPTY};
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return err_set_errno(err, STATUS_IO, "cannot open the ledger %s", path);
    uint8_t entry[LEDGER_ENTRY_BYTES];
    enum status status = STATUS_OK;
    while (status == STATUS_OK && fread(entry, sizeof entry, 1, file) == 1) {
        struct payload_mark mark = {
            .run = get_u32(entry), .stream = get_u32(entry + 4), .sequence = get_u64(entry + 8)};
        if (mark.sequence >= SEQUENCE_MAX) {
            status = err_set(err, STATUS_MALFORMED, "%s is not a ledger of mqbench", path);
            break;
        }
        struct ledger_place *place = place_of(stream_of(ledger, &mark, true), mark.sequence);
        place->acknowledged = true;
        place->queue_id = get_i32(entry + 16);
        place->queue_offset = get_i64(entry + 24);
    }
    fclose(file);
    return status;
}

void ledger_release(struct ledger *ledger)
{
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&ledger->streams, &cursor)) != NULL;) {
        struct ledger_stream *stream = e->value;
        free(stream->places);
        free(stream);
    }
    map_release(&ledger->streams);
}

void ledger_found(struct ledger *ledger, const struct payload_mark *mark, int queue_id,
                  int64_t queue_offset)
{
    struct ledger_stream *stream = stream_of(ledger, mark, false);
    if (stream == NULL || mark->sequence >= SEQUENCE_MAX) {
        ledger->foreign++;
        return;
    }
    struct ledger_place *place = place_of(stream, mark->sequence);
    if (place->found < UINT16_MAX)
        place->found++;
    if (place->acknowledged && (place->queue_id != queue_id || place->queue_offset != queue_offset))
        place->moved = true;
}

struct ledger_summary ledger_summary(const struct ledger *ledger)
{
    struct ledger_summary sum = {.foreign = ledger->foreign};
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&ledger->streams, &cursor)) != NULL;) {
        const struct ledger_stream *stream = e->value;
        for (uint64_t i = 0; i < stream->count; i++) {
            const struct ledger_place *place = &stream->places[i];
            sum.acknowledged += place->acknowledged;
            sum.lost += place->acknowledged && place->found == 0;
            sum.unacknowledged += !place->acknowledged && place->found > 0;
            sum.duplicated += place->found > 1;
            sum.moved += place->moved;
        }
    }
    return sum;
}
