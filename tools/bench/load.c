/* SPDX-License-Identifier: Apache-2.0
 *
 * Producers keep a fixed table of slots per connection; the slot's number is in the low part of the
 * opaque, so an answer finds its slot without a search. Consumers have one pull under way per
 * queue; the opaque is the queue.
 *
 * Open loop (`rate`): every message has a due time, and its latency counts from there even when it
 * was sent late. A stall of the server is thus charged to every message it delays.
 *
 * Queues are numbered over all topics (load.h).
 */
#include "tools/bench/load.h"

#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"
#include "proto/codes.h"
#include "proto/record.h"
#include "tools/bench/reply.h"
#include "tools/bench/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define EVENTS_PER_WAIT 256
#define CONNECT_TIMEOUT_MS 3000
#define RECONNECT_PAUSE_NS 50000000
#define DRAIN_NS 5000000000
#define IDLE_WAIT_NS 20000000

struct slot {
    bool busy;
    uint32_t opaque;
    int queue;
    uint64_t due_ns;
    uint64_t sequence;
};

struct connection {
    struct load_worker *worker;
    uint32_t stream;
    struct link link; /* closed: lost */
    bool write_watched;
    uint64_t retry_at_ns;
    struct buf in;
    struct buf out;
    size_t out_sent;
    struct slot *slots;
    int *free_slots;
    int free_count;
    uint32_t generation; /* of slots, to tell late answers */
    uint64_t sequence;
    int next_queue;
};

/* The highest sequence number seen per stream and queue. */
struct order_entry {
    uint64_t next_sequence;
};

struct load_worker {
    struct load *load;
    const struct load_options *options;
    int index;
    pthread_t thread;
    int epoll_fd;
    struct connection *connections;
    int connection_count;
    int next_connection; /* open loop: round robin */
    uint64_t due_ns;     /* open loop: of the next request */
    struct send_template *templates;
    struct arena arena;
    struct map order;
    int queues_left;
    struct ledger_writer ledger;
    uint64_t last_success_ns;
    _Atomic uint64_t messages; /* with those of the warm-up; others may read it */
    struct load_totals totals;
};

static uint64_t now_ns(void)
{
    return (uint64_t)clock_monotonic_ns(clock_real());
}

static void watch(struct connection *connection, int operation, bool writable)
{
    struct epoll_event event = {.events = EPOLLIN | (writable ? (uint32_t)EPOLLOUT : 0U),
                                .data.ptr = connection};
    epoll_ctl(connection->worker->epoll_fd, operation, connection->link.fd, &event);
    connection->write_watched = writable;
}

static enum status connection_open(struct connection *connection, struct err *err)
{
    struct load_worker *worker = connection->worker;
    enum status status =
        link_open(&connection->link, worker->options->address, CONNECT_TIMEOUT_MS, err);
    if (status != STATUS_OK) {
        connection->retry_at_ns = now_ns() + RECONNECT_PAUSE_NS;
        return status;
    }
    watch(connection, EPOLL_CTL_ADD, false);
    return STATUS_OK;
}

static void free_all_slots(struct connection *connection)
{
    const struct load_options *options = connection->worker->options;
    connection->free_count = 0;
    for (int i = options->in_flight - 1; i >= 0; i--) {
        if (connection->slots[i].busy)
            connection->worker->totals.unknown += (uint64_t)options->send.batch;
        connection->slots[i].busy = false;
        connection->free_slots[connection->free_count++] = i;
    }
}

static void connection_lost(struct connection *connection)
{
    epoll_ctl(connection->worker->epoll_fd, EPOLL_CTL_DEL, connection->link.fd, NULL);
    link_close(&connection->link);
    buf_clear(&connection->in);
    buf_clear(&connection->out);
    connection->out_sent = 0;
    connection->worker->totals.lost_connections++;
    connection->retry_at_ns = now_ns() + RECONNECT_PAUSE_NS;
    if (connection->slots != NULL)
        free_all_slots(connection);
}

static void flush(struct connection *connection)
{
    while (connection->out_sent < connection->out.size) {
        ssize_t sent = link_send(&connection->link, connection->out.data + connection->out_sent,
                                 connection->out.size - connection->out_sent);
        if (sent > 0) {
            connection->out_sent += (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!connection->write_watched)
                watch(connection, EPOLL_CTL_MOD, true);
            return;
        } else if (errno != EINTR) {
            connection_lost(connection);
            return;
        }
    }
    buf_clear(&connection->out);
    connection->out_sent = 0;
    if (connection->write_watched)
        watch(connection, EPOLL_CTL_MOD, false);
}

/* --- producing --- */

static void send_one(struct connection *connection, uint64_t due_ns)
{
    struct load_worker *worker = connection->worker;
    const struct load_options *options = worker->options;
    int index = connection->free_slots[--connection->free_count];
    struct slot *slot = &connection->slots[index];
    uint32_t slot_count = (uint32_t)options->in_flight;
    uint32_t turns = PAYLOAD_OPAQUE_BASE / slot_count;
    *slot = (struct slot){
        .busy = true,
        .opaque =
            PAYLOAD_OPAQUE_BASE + (uint32_t)index + slot_count * (connection->generation++ % turns),
        .queue = connection->next_queue,
        .due_ns = due_ns,
        .sequence = connection->sequence,
    };
    connection->next_queue = (connection->next_queue + 1) % options->queues;
    connection->sequence += (uint64_t)options->send.batch;

    const struct send_template *template = &worker->templates[slot->queue];
    size_t frame_bytes = send_template_frame_bytes(template);
    struct payload_mark mark = {.run = options->send.run,
                                .stream = connection->stream,
                                .sequence = slot->sequence,
                                .time_ns = due_ns};
    send_template_write(template, slot->opaque, &mark, clock_wall_ms(clock_real()),
                        buf_reserve(&connection->out, frame_bytes));
    connection->out.size += frame_bytes;
}

static bool may_issue(struct load_worker *worker)
{
    const struct load_options *options = worker->options;
    return options->count == 0 ||
           atomic_fetch_add(&worker->load->issued, options->send.batch) < options->count;
}

static bool all_issued(const struct load_worker *worker)
{
    return worker->options->count > 0 &&
           atomic_load(&worker->load->issued) >= worker->options->count;
}

/* Closed loop: use every free slot. */
static void fill(struct connection *connection)
{
    struct load_worker *worker = connection->worker;
    if (connection->link.fd == -1 || worker->options->rate > 0 ||
        atomic_load_explicit(&worker->load->phase, memory_order_relaxed) >= LOAD_DRAIN)
        return;
    uint64_t now = now_ns();
    while (connection->free_count > 0 && may_issue(worker))
        send_one(connection, now);
}

/* Open loop: send everything that is due, as far as slots are free. Returns how long to wait. */
static uint64_t send_due(struct load_worker *worker)
{
    const struct load_options *options = worker->options;
    double share = options->rate / worker->load->worker_count;
    uint64_t interval_ns = (uint64_t)(1e9 * options->send.batch / share);
    uint64_t now = now_ns();
    bool blocked = false;
    while (worker->due_ns <= now && !blocked) {
        blocked = true;
        for (int i = 0; i < worker->connection_count && blocked; i++) {
            struct connection *connection = &worker->connections[worker->next_connection];
            worker->next_connection = (worker->next_connection + 1) % worker->connection_count;
            if (connection->link.fd == -1 || connection->free_count == 0)
                continue;
            blocked = false;
            if (may_issue(worker))
                send_one(connection, worker->due_ns);
            worker->due_ns += interval_ns;
        }
    }
    for (int i = 0; i < worker->connection_count; i++) {
        struct connection *connection = &worker->connections[i];
        if (connection->link.fd != -1 && connection->out.size > 0 && !connection->write_watched)
            flush(connection);
    }
    now = now_ns();
    if (blocked)
        return 1000000;
    return worker->due_ns > now ? worker->due_ns - now : 0;
}

static void note_refusal(struct load_worker *worker, const struct reply *reply)
{
    struct load_totals *totals = &worker->totals;
    if (totals->refused++ == 0) {
        totals->first_refusal = reply->code;
        snprintf(totals->first_remark, sizeof totals->first_remark, "%.*s",
                 SLICE_ARGS(reply->remark));
    }
}

static void on_send_reply(struct connection *connection, const struct reply *reply, uint64_t now)
{
    struct load_worker *worker = connection->worker;
    const struct load_options *options = worker->options;
    struct load_totals *totals = &worker->totals;
    uint32_t index = (reply->opaque - PAYLOAD_OPAQUE_BASE) % (uint32_t)options->in_flight;
    struct slot *slot = &connection->slots[index];
    if (!slot->busy || slot->opaque != reply->opaque)
        return;
    slot->busy = false;
    connection->free_slots[connection->free_count++] = (int)index;
    totals->requests++;
    if (reply->code != RESPONSE_SUCCESS) {
        note_refusal(worker, reply);
        return;
    }
    int batch = options->send.batch;
    totals->messages += (uint64_t)batch;
    totals->bytes += (uint64_t)batch * options->send.body_bytes;
    atomic_fetch_add_explicit(&worker->messages, (uint64_t)batch, memory_order_relaxed);
    histogram_add(&totals->latency, now - slot->due_ns);
    if (worker->last_success_ns != 0 && now - worker->last_success_ns > totals->longest_gap_ns)
        totals->longest_gap_ns = now - worker->last_success_ns;
    worker->last_success_ns = now;
    if (worker->ledger.fd == -1)
        return;
    struct payload_mark mark = {.run = options->send.run, .stream = connection->stream};
    for (int i = 0; i < batch; i++) {
        mark.sequence = slot->sequence + (uint64_t)i;
        ledger_writer_add(&worker->ledger, &mark, slot->queue, reply->queue_offset + i);
    }
}

/* --- consuming --- */

static int number_of(const struct load_worker *worker, const struct load_queue *queue)
{
    return (int)(queue - worker->load->queues);
}

static void send_pull(struct connection *connection, struct load_queue *queue)
{
    struct load_worker *worker = connection->worker;
    queue->asked_ns = now_ns();
    pull_append(&worker->options->pull, PAYLOAD_OPAQUE_BASE + (uint32_t)number_of(worker, queue),
                queue->group, queue->topic, queue->id, queue->next, &worker->arena,
                &connection->out);
}

static void check_order(struct load_worker *worker, const struct payload_mark *mark, int queue)
{
    uint8_t key[12];
    put_u32(key, mark->run);
    put_u32(key + 4, mark->stream);
    put_u32(key + 8, (uint32_t)queue);
    struct order_entry *entry = map_get(&worker->order, slice_of(key, sizeof key));
    if (entry == NULL) {
        entry = xcalloc(1, sizeof *entry);
        map_put(&worker->order, slice_of(key, sizeof key), entry);
    }
    if (mark->sequence < entry->next_sequence)
        worker->totals.out_of_order++;
    else
        entry->next_sequence = mark->sequence + 1;
}

static void on_record(struct load_worker *worker, const struct load_queue *queue,
                      const struct record *record, uint64_t now)
{
    const struct load_options *options = worker->options;
    struct load_totals *totals = &worker->totals;
    totals->messages++;
    totals->bytes += record->body.size;
    bool sound = !options->check_crc || rocketmq_crc32(record->body) == record->body_crc;
    if (!sound)
        totals->bad_crc++;
    if (record->queue_id != queue->id)
        totals->bad_records++;
    struct payload_mark mark;
    if (!sound || !payload_read(record->body, &mark))
        return;
    check_order(worker, &mark, number_of(worker, queue));
    if (options->ledger != NULL)
        ledger_found(options->ledger, &mark, number_of(worker, queue), record->queue_offset);
    if (options->end_to_end && mark.run == options->send.run)
        histogram_add(&totals->latency, now - mark.time_ns);
}

static void on_records(struct load_worker *worker, struct load_queue *queue, struct slice body,
                       uint64_t now)
{
    uint64_t before = worker->totals.messages;
    while (body.size > 0) {
        struct record record;
        if (record_decode(body, RECORD_CHECK_FRAME, &record) != STATUS_OK) {
            worker->totals.bad_records++;
            break;
        }
        on_record(worker, queue, &record, now);
        body = slice_from(body, (size_t)record.size);
    }
    uint64_t received = worker->totals.messages - before;
    atomic_fetch_add_explicit(&worker->messages, received, memory_order_relaxed);
    atomic_fetch_add(&worker->load->issued, (int64_t)received);
}

static void on_pull_reply(struct connection *connection, const struct reply *reply, uint64_t now)
{
    struct load_worker *worker = connection->worker;
    const struct load_options *options = worker->options;
    uint32_t index = reply->opaque - PAYLOAD_OPAQUE_BASE;
    if (index >= (uint32_t)options->queues)
        return;
    struct load_queue *queue = &worker->load->queues[index];
    worker->totals.requests++;
    switch (reply->code) {
    case RESPONSE_SUCCESS:
        if (!options->end_to_end)
            histogram_add(&worker->totals.latency, now - queue->asked_ns);
        on_records(worker, queue, reply->body, now);
        break;
    case RESPONSE_PULL_NOT_FOUND:
    case RESPONSE_PULL_RETRY_IMMEDIATELY:
    case RESPONSE_PULL_OFFSET_MOVED:
        worker->totals.empty_pulls++;
        break;
    default:
        /* Asking again at once would only hammer the server: this queue ends here. */
        note_refusal(worker, reply);
        queue->end = queue->next;
        break;
    }
    if (reply->next_begin_offset >= 0)
        queue->next = reply->next_begin_offset;
    if (!queue->done && queue->end >= 0 && queue->next >= queue->end) {
        queue->done = true;
        worker->queues_left--;
    }
    if (!queue->done && atomic_load(&worker->load->phase) < LOAD_DRAIN)
        send_pull(connection, queue);
}

/* Queues are dealt to the workers, and a worker's to its connections, in turn. */
static void pull_all(struct load_worker *worker, const struct connection *only)
{
    struct load *load = worker->load;
    for (int i = worker->index, turn = 0; i < worker->options->queues;
         i += load->worker_count, turn++) {
        struct connection *connection = &worker->connections[turn % worker->connection_count];
        if ((only == NULL || only == connection) && !load->queues[i].done)
            send_pull(connection, &load->queues[i]);
    }
}

/* --- the loop --- */

static void on_frame(struct connection *connection, const struct frame *frame, uint64_t now)
{
    struct reply reply;
    if (!reply_read(frame, &reply)) {
        connection->worker->totals.bad_records++;
        return;
    }
    if ((reply.flag & COMMAND_FLAG_RESPONSE) == 0)
        return;
    if (connection->worker->options->role == LOAD_PRODUCE)
        on_send_reply(connection, &reply, now);
    else
        on_pull_reply(connection, &reply, now);
}

/* Read once; is there possibly more? */
static bool read_once(struct connection *connection)
{
    uint8_t *room = buf_reserve(&connection->in, READ_BYTES);
    size_t room_bytes = connection->in.capacity - connection->in.size;
    ssize_t got = link_receive(&connection->link, room, room_bytes);
    if (got == -1 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        connection_lost(connection);
        return false;
    }
    connection->in.size += (size_t)got;
    uint64_t now = now_ns();
    struct slice rest = buf_slice(&connection->in);
    struct frame frame;
    enum status status;
    while ((status = frame_split(rest, FRAME_BYTES_MAX, &frame, NULL)) == STATUS_OK) {
        on_frame(connection, &frame, now);
        rest = slice_from(rest, frame.frame_bytes);
    }
    if (status != STATUS_TRUNCATED) {
        connection->worker->totals.bad_records++;
        connection_lost(connection);
        return false;
    }
    memmove(connection->in.data, rest.data, rest.size);
    connection->in.size = rest.size;
    return (size_t)got == room_bytes;
}

static void on_readable(struct connection *connection)
{
    while (read_once(connection))
        continue;
}

static void reopen_lost(struct load_worker *worker)
{
    uint64_t now = now_ns();
    for (int i = 0; i < worker->connection_count; i++) {
        struct connection *connection = &worker->connections[i];
        if (connection->link.fd != -1 || now < connection->retry_at_ns ||
            connection_open(connection, NULL) != STATUS_OK)
            continue;
        if (worker->options->role == LOAD_PRODUCE)
            fill(connection);
        else
            pull_all(worker, connection);
        flush(connection);
    }
}

static bool all_answered(const struct load_worker *worker)
{
    for (int i = 0; i < worker->connection_count; i++)
        if (worker->connections[i].link.fd != -1 &&
            worker->connections[i].free_count != worker->options->in_flight)
            return false;
    return true;
}

static bool all_lost(const struct load_worker *worker)
{
    for (int i = 0; i < worker->connection_count; i++)
        if (worker->connections[i].link.fd != -1)
            return false;
    return true;
}

/* drain_until_ns  0 before the drain phase */
static bool worker_done(const struct load_worker *worker, enum load_phase phase,
                        uint64_t drain_until_ns)
{
    const struct load_options *options = worker->options;
    if (phase == LOAD_STOP || (!options->reconnect && all_lost(worker)))
        return true;
    if (options->role == LOAD_CONSUME)
        return phase == LOAD_DRAIN || worker->queues_left == 0 || all_issued(worker);
    if (phase == LOAD_DRAIN)
        return all_answered(worker) || now_ns() > drain_until_ns;
    return all_issued(worker) && all_answered(worker);
}

static void enter_phase(struct load_worker *worker, enum load_phase phase, uint64_t *drain_until_ns)
{
    if (phase == LOAD_MEASURE) {
        memset(&worker->totals, 0, sizeof worker->totals);
        worker->last_success_ns = 0;
    } else if (phase == LOAD_DRAIN) {
        *drain_until_ns = now_ns() + DRAIN_NS;
    }
}

static void handle_event(const struct epoll_event *event)
{
    struct connection *connection = event->data.ptr;
    if (connection->link.fd == -1)
        return;
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        on_readable(connection);
        if (connection->worker->options->role == LOAD_PRODUCE)
            fill(connection);
    }
    if (connection->link.fd != -1 && connection->out.size > 0 &&
        (!connection->write_watched || (event->events & EPOLLOUT)))
        flush(connection);
}

static void first_requests(struct load_worker *worker)
{
    if (worker->options->role == LOAD_CONSUME)
        pull_all(worker, NULL);
    for (int i = 0; i < worker->connection_count; i++) {
        if (worker->options->role == LOAD_PRODUCE)
            fill(&worker->connections[i]);
        flush(&worker->connections[i]);
    }
}

static void *worker_run(void *arg)
{
    struct load_worker *worker = arg;
    struct load *load = worker->load;
    struct epoll_event events[EVENTS_PER_WAIT];
    enum load_phase seen = (enum load_phase)atomic_load(&load->phase);
    uint64_t drain_until_ns = 0;
    worker->due_ns = now_ns();
    first_requests(worker);
    for (;;) {
        enum load_phase phase = (enum load_phase)atomic_load(&load->phase);
        if (phase != seen)
            enter_phase(worker, phase, &drain_until_ns);
        seen = phase;
        if (worker_done(worker, phase, drain_until_ns))
            break;
        uint64_t wait_ns = IDLE_WAIT_NS;
        if (worker->options->rate > 0 && phase < LOAD_DRAIN) {
            uint64_t due_in_ns = send_due(worker);
            wait_ns = due_in_ns < wait_ns ? due_in_ns : wait_ns;
        }
        struct timespec timeout = {.tv_nsec = (long)wait_ns};
        int ready = epoll_pwait2(worker->epoll_fd, events, EVENTS_PER_WAIT, &timeout, NULL);
        for (int i = 0; i < ready; i++)
            handle_event(&events[i]);
        if (worker->options->reconnect && phase < LOAD_DRAIN)
            reopen_lost(worker);
    }
    ledger_writer_close(&worker->ledger);
    atomic_fetch_sub(&load->running, 1);
    return NULL;
}

/* --- life --- */

static void connection_init(struct load_worker *worker, struct connection *connection, int stream)
{
    const struct load_options *options = worker->options;
    *connection =
        (struct connection){.worker = worker, .link = {.fd = -1}, .stream = (uint32_t)stream};
    connection->next_queue = stream * 7 % options->queues;
    if (options->role == LOAD_PRODUCE) {
        connection->slots = xcalloc((size_t)options->in_flight, sizeof *connection->slots);
        connection->free_slots =
            xcalloc((size_t)options->in_flight, sizeof *connection->free_slots);
        free_all_slots(connection);
    }
}

static enum status worker_new(struct load *load, int index, int first_stream, int connections,
                              struct err *err)
{
    const struct load_options *options = load->options;
    struct load_worker *worker = xcalloc(1, sizeof *worker);
    load->workers[index] = worker;
    worker->load = load;
    worker->options = options;
    worker->index = index;
    worker->ledger.fd = -1;
    worker->order = MAP_EMPTY;
    arena_init(&worker->arena, 4096);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->connection_count = connections;
    worker->connections = xcalloc((size_t)connections, sizeof *worker->connections);
    for (int i = 0; i < connections; i++)
        connection_init(worker, &worker->connections[i], first_stream + i);
    if (options->role == LOAD_PRODUCE) {
        worker->templates = xcalloc((size_t)options->queues, sizeof *worker->templates);
        for (int i = 0; i < options->queues; i++)
            send_template_init(&worker->templates[i], &options->send,
                               options->topics[i / options->queues_per_topic],
                               i % options->queues_per_topic);
    } else {
        for (int i = index; i < options->queues; i += load->worker_count)
            worker->queues_left += !load->queues[i].done;
    }
    enum status status = STATUS_OK;
    if (options->acknowledged_path != NULL)
        status = ledger_writer_open(&worker->ledger, options->acknowledged_path, err);
    for (int i = 0; i < connections && status == STATUS_OK; i++)
        status = connection_open(&worker->connections[i], err);
    return status;
}

static void worker_free(struct load_worker *worker)
{
    for (int i = 0; i < worker->connection_count; i++) {
        struct connection *connection = &worker->connections[i];
        if (connection->link.fd != -1)
            link_close(&connection->link);
        buf_release(&connection->in);
        buf_release(&connection->out);
        free(connection->slots);
        free(connection->free_slots);
    }
    free(worker->connections);
    for (int i = 0; worker->templates != NULL && i < worker->options->queues; i++)
        send_template_release(&worker->templates[i]);
    free(worker->templates);
    size_t cursor = 0;
    for (struct map_entry *e; (e = map_next(&worker->order, &cursor)) != NULL;)
        free(e->value);
    map_release(&worker->order);
    arena_release(&worker->arena);
    ledger_writer_close(&worker->ledger);
    close(worker->epoll_fd);
    free(worker);
}

static void free_workers(struct load *load)
{
    for (int i = 0; i < load->worker_count; i++)
        if (load->workers[i] != NULL)
            worker_free(load->workers[i]);
    free(load->workers);
    load->workers = NULL;
}

enum status load_start(struct load *load, const struct load_options *options,
                       struct load_queue *queues, int threads, struct err *err)
{
    if (threads > options->connections)
        threads = options->connections;
    *load = (struct load){.options = options, .queues = queues, .worker_count = threads};
    load_set_phase(load, options->warm_up ? LOAD_WARM_UP : LOAD_MEASURE);
    load->workers = xcalloc((size_t)threads, sizeof *load->workers);
    int first_stream = 0;
    enum status status = STATUS_OK;
    for (int i = 0; i < threads && status == STATUS_OK; i++) {
        int share = options->connections / threads + (i < options->connections % threads);
        status = worker_new(load, i, first_stream, share, err);
        first_stream += share;
    }
    int started = 0;
    while (status == STATUS_OK && started < threads) {
        struct load_worker *worker = load->workers[started];
        status = thread_start(&worker->thread, "load", worker_run, worker, err);
        started += status == STATUS_OK;
        atomic_fetch_add(&load->running, status == STATUS_OK);
    }
    if (status == STATUS_OK)
        return STATUS_OK;
    load_set_phase(load, LOAD_STOP);
    for (int i = 0; i < started; i++)
        thread_join(load->workers[i]->thread);
    free_workers(load);
    return status;
}

void load_set_phase(struct load *load, enum load_phase phase)
{
    atomic_store(&load->phase, (int)phase);
}

bool load_finished(const struct load *load)
{
    return atomic_load(&load->running) == 0;
}

uint64_t load_messages(const struct load *load)
{
    uint64_t sum = 0;
    for (int i = 0; i < load->worker_count; i++)
        sum += atomic_load_explicit(&load->workers[i]->messages, memory_order_relaxed);
    return sum;
}

static void add_totals(struct load_totals *into, const struct load_totals *from)
{
    into->messages += from->messages;
    into->bytes += from->bytes;
    into->requests += from->requests;
    if (into->refused == 0 && from->refused > 0) {
        into->first_refusal = from->first_refusal;
        memcpy(into->first_remark, from->first_remark, sizeof into->first_remark);
    }
    into->refused += from->refused;
    into->unknown += from->unknown;
    into->lost_connections += from->lost_connections;
    into->empty_pulls += from->empty_pulls;
    into->bad_crc += from->bad_crc;
    into->bad_records += from->bad_records;
    into->out_of_order += from->out_of_order;
    if (from->longest_gap_ns > into->longest_gap_ns)
        into->longest_gap_ns = from->longest_gap_ns;
    histogram_merge(&into->latency, &from->latency);
}

void load_join(struct load *load, struct load_totals *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < load->worker_count; i++) {
        thread_join(load->workers[i]->thread);
        add_totals(out, &load->workers[i]->totals);
    }
    free_workers(load);
}
