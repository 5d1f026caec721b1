/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection's life on its loop: bytes in, frames out of them, answers queued and written, idle
 * and overload limits, the end. Servers and clients both stand on this; each keeps one
 * `struct conn_group` per loop that says what its connections report to.
 *
 * Everything here is for the loop's own thread (or while that thread does not run).
 */
#ifndef COMMON_NET_CONN_H
#define COMMON_NET_CONN_H

#include "common/base/list.h"
#include "common/net/net.h"
#include "common/net/output.h"
#include "common/net/transport.h"
#include "common/sys/log.h"

#include <event2/event_struct.h>
#include <stdatomic.h>

/* Why a connection ends. */
enum conn_end {
    CONN_END_PEER,      /* it closed, or the network did */
    CONN_END_MALFORMED, /* what it sent is no frame */
    CONN_END_IDLE,
    CONN_END_STALLED, /* half a frame for too long while memory was short */
    CONN_END_FILE,    /* an answer was to leave from a file that cannot be read */
    CONN_END_UNREAD,  /* held the most output while there was too much of it */
    CONN_END_ASKED,   /* net_close */
    CONN_END_OWNER,   /* the server or client is shutting down */
    CONN_END_TLS,     /* a handshake failed, took too long, or too many are under way */
    CONN_END_COUNT,
};

/* Why a connection is not read now; bits. */
enum conn_pause {
    CONN_PAUSE_OUTPUT = 1, /* its peer does not take the answers */
    CONN_PAUSE_MEMORY = 2, /* in_flight_bytes_max is exceeded and it holds half a frame */
    CONN_PAUSE_DRAIN = 4,  /* the server stops, and its peer does not */
    CONN_PAUSE_CALLS = 8,  /* CONNECTION_DETACHED_CALLS_MAX of its calls are under way */
    CONN_PAUSE_TLS = 16,   /* its turn to go on with its handshake has not come */
};

/* What all connections of a server or client share; any thread. */
struct conn_totals {
    struct net_options options;
    _Atomic int64_t connections;
    _Atomic int64_t accepted;
    _Atomic int64_t refused;
    _Atomic int64_t ended[CONN_END_COUNT];
    _Atomic int64_t in_flight_bytes;
    struct log_gate ended_gates[CONN_END_COUNT];
    struct log_gate refused_gate;
    struct log_gate open_gate; /* accepting or connecting failed */
};

/* The connections of one server or client on one loop. */
struct conn_group {
    struct conn_table *table;
    struct conn_totals *totals;
    struct service service;
    struct tls_io *tls; /* NULL: none */
    /* The owner's part of a connection's end, may be NULL. */
    void (*on_end)(struct conn_group *group, struct conn *conn);
    struct list by_activity; /* idle for longest first */
    struct loop_timer *idle_timer;
    bool idle_timer_set;
    bool draining; /* see drain.h */
    /* Written on the loop, read anywhere. */
    _Atomic int64_t requests;
    _Atomic int64_t calls_under_way;
    _Atomic int64_t replies_unexpected;
    _Atomic int64_t answers_unexpected;
};

struct conn {
    struct conn_table *table;
    struct conn_group *group;
    struct transport transport;
    struct event read_event;
    struct event write_event;
    uint32_t slot;
    uint32_t generation;
    struct host peer;
    int port_tag;
    void *owner; /* the client's peer; NULL on a server */

    struct list in_group;  /* conn_group.by_activity */
    struct list in_dirty;  /* has output to write in this turn */
    struct list in_resume; /* reading was resumed: the input may hold whole frames */
    struct list in_half;   /* holds half a frame */
    struct list in_paused; /* waits for memory */
    struct list in_shakes; /* its handshake is not done */
    struct list in_steps;  /* and wants to go on */
    struct list in_disk;   /* waits for the disk; conn_tls.c */
    int64_t shake_since_ms;
    int64_t disk_since_ms;
    int64_t active_ms;
    int64_t half_since_ms;
    int64_t drain_until_ms; /* drain.c's; 0 until the first step */
    int64_t drain_seen_ms;  /* active_ms at the last step */
    int drain_silent_steps; /* since it changed */

    struct buf input;     /* an unfinished frame; empty most of the time */
    size_t input_wanted;  /* size at which the first frame of `input` is complete, if known */
    size_t input_counted; /* what of in_flight_bytes is ours */
    struct output output;
    size_t unsent_counted; /* what of its held_bytes is the transport's */
    unsigned pauses;       /* enum conn_pause */
    bool write_blocked;    /* waiting for the socket to take more */
    bool corked;           /* output is kept back */
    bool ended;            /* buried at the end of the turn */

    int64_t calls_under_way; /* of the peer's: two-way requests not answered yet */
    int detached_calls;      /* of those, and one-way ones: the copies that are not freed yet */
    struct list outcalls;    /* of ours: struct outcall */
    int outcall_count;
    size_t outcall_bytes; /* of their frames */
#ifdef DEBUG
    int32_t *unanswered; /* opaques of calls_under_way; tells a second answer from a first */
    size_t unanswered_capacity;
#endif
};

/* --- the table of a loop's connections --- */

/* What one connection may bring in per turn: bounds how long one peer keeps the others waiting,
 * and still makes batches of some hundred small requests. */
#define CONN_READ_BYTES_PER_TURN TRANSPORT_READ_BYTES

struct conn_slot {
    struct conn *conn;
    uint32_t generation;
    uint32_t next_free;
};

/* The calls of our own that wait for an answer on one loop, by opaque, and unused entries. */
struct outcall_table {
    struct outcall **buckets;
    size_t bucket_count; /* 0 or a power of two */
    size_t count;
    struct outcall *unused;
    size_t unused_count;
};

struct conn_table {
    struct loop *loop;
    struct conn_slot *slots;
    uint32_t slot_count;
    uint32_t first_free;
    uint32_t open_count;
    struct list dirty;
    struct list resume;
    struct list half; /* oldest first */
    struct list paused;
    struct conn *favoured; /* may finish its frame though memory is short; NULL: none */
    struct list ended;     /* linked by in_group; freed at the end of the turn */
    struct loop_timer *half_timer;
    int64_t half_timer_ms; /* the delay it was set to; 0 while it is not set */
    struct list shakes;    /* oldest first */
    struct list steps;
    struct list disk;
    int shake_count; /* those that peers have begun */
    struct loop_timer *shake_timer;
    struct loop_timer *disk_timer;
    struct output_pool pool;
    size_t queued_output_bytes_max; /* this loop's share; pool.held_bytes is measured by it */
    struct outcall_table outcalls;
    struct arena request_arena; /* reset behind each request */
    struct arena encode_arena;  /* reset behind each encoding, which may happen inside a request */
    uint8_t scratch[CONN_READ_BYTES_PER_TURN];
};

struct conn_table *conn_table_new(struct loop *loop);
/* All connections must have ended. */
void conn_table_free(struct conn_table *table);

void conn_slot_take(struct conn_table *table, struct conn *conn);
void conn_slot_give_back(struct conn_table *table, const struct conn *conn);

/* The steps of a turn. */
bool conn_table_has_work(const struct conn_table *table);
void conn_table_resume(struct conn_table *table);
void conn_table_write_out(struct conn_table *table);

/* --- groups --- */

void conn_group_init(struct conn_group *group, struct loop *loop, struct conn_totals *totals,
                     struct service service);
/* End all connections. quietly  without telling the service */
void conn_group_end_all(struct conn_group *group, bool quietly);
/* Requires that it has no connections. */
void conn_group_release(struct conn_group *group);

/* --- one connection --- */

/* Take over a transport. totals->connections was raised by the caller and is lowered at the end. */
struct conn *conn_open(struct conn_group *group, const struct transport *transport,
                       const struct host *peer, int port_tag);
struct conn_ref conn_ref_of(const struct conn *conn);
/* NULL when the reference is stale or its loop is not the current one. */
struct conn *conn_find(struct conn_ref ref);

/* End a connection: references become stale, the owner is told, memory goes at the turn's end. */
void conn_end(struct conn *conn, enum conn_end why, const char *reason);

/* Something was added to conn->output: have it written in this turn, or stop reading. */
void conn_output_added(struct conn *conn);

void conn_pause(struct conn *conn, enum conn_pause why);
void conn_resume(struct conn *conn, enum conn_pause why);

/* Bytes went in or out: it is not idle. */
void conn_touch(struct conn *conn);
/* Write queued output by one system call. */
void conn_write(struct conn *conn);
/* Keep back what is queued from now on, until conn_uncork. Not while output is queued. */
void conn_cork(struct conn *conn);
void conn_uncork(struct conn *conn);
/* A call of its peer was detached; a detached one was freed. Pauses and resumes reading. */
void conn_call_detached(struct conn *conn);
void conn_call_freed(struct conn *conn);
/* Handle the frames that were kept back while reading was paused. */
void conn_handle_kept(struct conn *conn);
/* libevent's callback for reading. */
void conn_on_readable(int fd, short what, void *conn);
/* Read once and handle what came. */
void conn_read(struct conn *conn);
/* If the transport holds something back have it read in this turn. */
void conn_read_again(struct conn *conn);
/* The timer's: go on where memory is free again; end the oldest half frame where it is not. */
void conn_check_half_frames(void *table);

/* A two-way request was handed to the service; it was answered or declined. False when no such
 * call is under way: in DEBUG builds by its opaque, else by their number. */
void conn_call_started(struct conn *conn, int32_t opaque);
bool conn_call_finished(struct conn *conn, int32_t opaque);

/* Raise a counter that only this thread writes. */
static inline void counter_add(_Atomic int64_t *counter, int64_t n)
{
    int64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + n, memory_order_relaxed);
}

#endif
