/* SPDX-License-Identifier: Apache-2.0
 *
 * How bytes come in and become calls:
 *
 *     socket --readv--> [rest of the frame in conn->input][scratch of the loop]
 *
 * One readv per connection and turn. A frame that lies whole in the scratch is handled in place;
 * only what is left over at the end is copied into conn->input, which grows with the bytes that
 * arrive (doubling, up to the frame's length), never by the length a peer claims. A large frame is
 * thus read straight into its own buffer.
 *
 * Invariant: conn->input holds at most the beginning of one frame, except while the connection is
 * paused or in the list of those to be resumed: then whole frames may wait there, nothing is read,
 * and conn_handle_kept handles them.
 */
#include "common/net/conn.h"

#include "common/base/check.h"
#include "common/net/conn_tls.h"
#include "common/net/loop_private.h"
#include "common/net/outcall.h"

#include <event2/event.h>
#include <stdlib.h>

#define INPUT_BYTES_MIN 512

/* Half-received frames are looked at this often; more often while some wait for memory. */
#define HALF_FRAME_CHECK_MS 1000
#define MEMORY_CHECK_MS 50
/* While in_flight_bytes_max is exceeded, the oldest half frame may be closed from this age on. */
#define HALF_FRAME_AGE_MS 5000

static bool memory_is_short(const struct conn_group *group)
{
    const struct conn_totals *totals = group->totals;
    return atomic_load_explicit(&totals->in_flight_bytes, memory_order_relaxed) >
           (int64_t)totals->options.in_flight_bytes_max;
}

/* Set the timer unless it fires soon enough already. */
static void set_half_timer(struct conn_table *table)
{
    int64_t delay_ms = list_empty(&table->paused) ? HALF_FRAME_CHECK_MS : MEMORY_CHECK_MS;
    if (table->half_timer_ms != 0 && table->half_timer_ms <= delay_ms)
        return;
    loop_timer_set(table->half_timer, delay_ms);
    table->half_timer_ms = delay_ms;
}

static void stop_waiting(struct conn *conn)
{
    list_remove(&conn->in_paused);
    conn_resume(conn, CONN_PAUSE_MEMORY);
}

/* End the oldest half frame if it is old and memory short: frames that never become whole must not
 * hold up others for ever. Where calls under way hold the reading up, the delay is ours. */
static void end_stalled(struct conn_table *table)
{
    int64_t now_ms = loop_now_ms(table->loop);
    list_for_each (node, &table->half) {
        struct conn *conn = list_entry(node, struct conn, in_half);
        if (now_ms - conn->half_since_ms < HALF_FRAME_AGE_MS)
            return;
        if (!memory_is_short(conn->group) || (conn->pauses & CONN_PAUSE_CALLS) != 0)
            continue;
        conn_end(conn, CONN_END_STALLED, "half a frame for too long while memory is short");
        return;
    }
}

/* While half frames fill the memory none of them could be finished; so let the one that waits for
 * longest have its way. The limit is thus exceeded by one frame per loop at most. */
static void favour_oldest(struct conn_table *table)
{
    list_for_each (node, &table->half) {
        struct conn *conn = list_entry(node, struct conn, in_half);
        if (list_empty(&conn->in_paused) || conn->pauses != CONN_PAUSE_MEMORY)
            continue;
        table->favoured = conn;
        stop_waiting(conn);
        return;
    }
}

void conn_check_half_frames(void *ctx)
{
    struct conn_table *table = ctx;
    end_stalled(table);
    list_for_each (node, &table->paused) {
        struct conn *conn = list_entry(node, struct conn, in_paused);
        if (!memory_is_short(conn->group))
            stop_waiting(conn);
    }
    if (table->favoured == NULL)
        favour_oldest(table);
    table->half_timer_ms = 0;
    if (!list_empty(&table->half))
        set_half_timer(table);
}

/* Make room for `more` bytes in the input. wanted  size beyond which no bytes are needed */
static void input_grow(struct conn *conn, size_t more, size_t wanted)
{
    struct buf *input = &conn->input;
    size_t least = input->size + more;
    if (input->capacity >= least)
        return;
    size_t capacity = input->capacity * 2 < INPUT_BYTES_MIN ? INPUT_BYTES_MIN : input->capacity * 2;
    if (capacity > wanted)
        capacity = wanted;
    if (capacity < least)
        capacity = least;
    input->data = xrealloc(input->data, capacity);
    input->capacity = capacity;
}

static void input_append(struct conn *conn, struct slice bytes, size_t wanted)
{
    input_grow(conn, bytes.size, wanted);
    memcpy(conn->input.data + conn->input.size, bytes.data, bytes.size);
    conn->input.size += bytes.size;
}

static void input_drop(struct conn *conn, size_t used)
{
    struct buf *input = &conn->input;
    if (used == 0)
        return;
    if (used == input->size) {
        buf_release(input);
        return;
    }
    memmove(input->data, input->data + used, input->size - used);
    input->size -= used;
}

/* Bring the accounts and lists in line with what the input holds now. */
static void input_account(struct conn *conn, bool completed_frame)
{
    struct conn_table *table = conn->table;
    if (conn->input.capacity != conn->input_counted) {
        atomic_fetch_add(&conn->group->totals->in_flight_bytes,
                         (int64_t)conn->input.capacity - (int64_t)conn->input_counted);
        conn->input_counted = conn->input.capacity;
    }
    if (completed_frame && table->favoured == conn) {
        table->favoured = NULL;
        loop_timer_set(table->half_timer, 0);
    }
    if (conn->input.size == 0) {
        list_remove(&conn->in_half);
        return;
    }
    if (completed_frame || list_empty(&conn->in_half)) {
        conn->half_since_ms = loop_now_ms(table->loop);
        list_remove(&conn->in_half);
        list_append(&table->half, &conn->in_half);
    }
    if (memory_is_short(conn->group) && table->favoured != conn && list_empty(&conn->in_paused)) {
        conn_pause(conn, CONN_PAUSE_MEMORY);
        list_append(&table->paused, &conn->in_paused);
    }
    set_half_timer(table);
}

static void handle_frame(struct conn *conn, const struct frame *frame)
{
    struct conn_group *group = conn->group;
    struct arena *arena = &conn->table->request_arena;
    struct command command;
    if (command_decode(frame->codec, frame->header, arena, &command) != STATUS_OK) {
        conn_end(conn, CONN_END_MALFORMED, "a command header could not be decoded");
    } else if (command_is_response(&command)) {
        if (!outcall_complete(conn, &command, frame->body, arena))
            counter_add(&group->answers_unexpected, 1);
    } else {
        counter_add(&group->requests, 1);
        if (!command_is_oneway(&command))
            conn_call_started(conn, command.opaque);
        struct call call = {
            .request = &command,
            .body = frame->body,
            .arena = arena,
            .conn = conn_ref_of(conn),
            .peer = conn->peer,
            .port_tag = conn->port_tag,
            .codec = frame->codec,
            .under_way = conn->calls_under_way,
            .draining = group->draining,
        };
        group->service.on_request(group->service.ctx, &call);
    }
    arena_reset(arena);
}

static bool may_handle(const struct conn *conn)
{
    return conn->pauses == 0 && !conn->ended;
}

static enum status split(struct conn *conn, struct slice in, struct frame *frame, size_t *needed)
{
    enum status status =
        frame_split(in, conn->group->totals->options.frame_bytes_max, frame, needed);
    if (status == STATUS_TOO_LARGE)
        conn_end(conn, CONN_END_MALFORMED, "a frame is longer than allowed");
    else if (status == STATUS_MALFORMED)
        conn_end(conn, CONN_END_MALFORMED, "the bytes are no remoting frame");
    return status;
}

/* Handle the frames of the input, completing them from the front of `*rest`; returns how many
 * frames there were. */
static int handle_input(struct conn *conn, struct slice *rest)
{
    size_t used = 0;
    int frames = 0;
    while (may_handle(conn) && used < conn->input.size) {
        struct slice held = slice_from(buf_slice(&conn->input), used);
        struct frame frame;
        size_t needed;
        enum status status = split(conn, held, &frame, &needed);
        if (status == STATUS_OK) {
            handle_frame(conn, &frame);
            used += frame.frame_bytes;
            frames++;
            continue;
        }
        size_t take = rest->size;
        if (status == STATUS_TRUNCATED && take > needed - held.size)
            take = needed - held.size;
        if (status != STATUS_TRUNCATED || take == 0)
            break;
        input_append(conn, slice_of(rest->data, take), used + needed);
        *rest = slice_from(*rest, take);
    }
    if (!conn->ended)
        input_drop(conn, used);
    return frames;
}

/* Handle what the input holds and `rest`, which follows it; keep what is left over. */
static void handle_bytes(struct conn *conn, struct slice rest)
{
    int frames = handle_input(conn, &rest);
    while (may_handle(conn) && conn->input.size == 0 && rest.size > 0) {
        struct frame frame;
        if (split(conn, rest, &frame, NULL) != STATUS_OK)
            break;
        handle_frame(conn, &frame);
        rest = slice_from(rest, frame.frame_bytes);
        frames++;
    }
    if (conn->ended)
        return;
    conn->input_wanted = 0;
    if (rest.size > 0 || conn->input.size > 0) {
        struct frame frame;
        struct slice first = conn->input.size > 0 ? buf_slice(&conn->input) : rest;
        if (split(conn, first, &frame, &conn->input_wanted) == STATUS_OK)
            conn->input_wanted = frame.frame_bytes;
        if (conn->ended)
            return;
        if (rest.size > 0)
            input_append(conn, rest, conn->input_wanted);
    }
    input_account(conn, frames > 0);
}

void conn_handle_kept(struct conn *conn)
{
    handle_bytes(conn, SLICE_EMPTY);
    conn_read_again(conn);
}

/* Where the next bytes go; returns the number of pieces and the room in the input. */
static int read_pieces(struct conn *conn, struct iovec pieces[2], size_t *room)
{
    struct buf *input = &conn->input;
    int count = 0;
    *room = 0;
    if (input->size > 0 && conn->input_wanted > input->size) {
        if (input->capacity == input->size)
            input_grow(conn, 1, conn->input_wanted);
        *room = input->capacity - input->size;
        if (*room > CONN_READ_BYTES_PER_TURN)
            *room = CONN_READ_BYTES_PER_TURN;
        pieces[count++] = (struct iovec){input->data + input->size, *room};
    }
    /* The scratch follows only where the bytes of the input end there. */
    if (*room < CONN_READ_BYTES_PER_TURN)
        pieces[count++] = (struct iovec){conn->table->scratch, CONN_READ_BYTES_PER_TURN};
    return count;
}

void conn_read_again(struct conn *conn)
{
    if (conn->transport.read_again && conn->pauses == 0 && !conn->ended)
        event_active(&conn->read_event, EV_READ, 0);
}

/* Reading has not brought anything. */
static void no_bytes(struct conn *conn, enum status status)
{
    switch (status) {
    case STATUS_UNSUPPORTED:
        conn_end(conn, CONN_END_MALFORMED, conn->transport.problem);
        break;
    case STATUS_MALFORMED:
        conn_end(conn, CONN_END_TLS, conn->transport.problem);
        break;
    case STATUS_CLOSED:
        if (conn->transport.handshaking)
            conn_end(conn, CONN_END_TLS, "closed by the peer during the TLS handshake");
        else
            conn_end(conn, CONN_END_PEER, "closed by the peer");
        break;
    default:
        conn_end(conn, CONN_END_PEER, "reading failed");
        break;
    }
}

void conn_read(struct conn *conn)
{
    struct iovec pieces[2];
    size_t room;
    size_t got = 0;
    bool was_shaking = conn->transport.handshaking;
    loop_has_read(conn->table->loop);
    int count = read_pieces(conn, pieces, &room);
    enum status status = transport_readv(&conn->transport, pieces, count, &got);
    if (status != STATUS_OK && status != STATUS_BUSY) {
        no_bytes(conn, status);
        return;
    }
    if (was_shaking != conn->transport.handshaking) {
        if (was_shaking)
            conn_handshake_done(conn);
        else
            conn_handshake_begin(conn);
    }
    if (conn->transport.unsent_bytes > 0)
        conn_output_added(conn);
    if (status == STATUS_BUSY)
        return;
    conn_touch(conn);
    size_t direct = got < room ? got : room;
    conn->input.size += direct;
    handle_bytes(conn, slice_of(conn->table->scratch, got - direct));
    conn_read_again(conn);
}

void conn_on_readable(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct conn *conn = arg;
    /* What was kept back comes first, and must not grow while it is not handled. */
    if (!list_empty(&conn->in_resume))
        return;
    if (conn->transport.handshaking)
        conn_handshake_wanted(conn);
    else
        conn_read(conn);
}
