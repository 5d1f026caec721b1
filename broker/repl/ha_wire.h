/* SPDX-License-Identifier: Apache-2.0
 *
 * One replication connection: a socket that does not block, and what is leaving on it: one frame,
 * or the head of a block and the log's bytes behind it, which go from the page cache by sendfile.
 * One thread; others may end its waiting.
 */
#ifndef BROKER_REPL_HA_WIRE_H
#define BROKER_REPL_HA_WIRE_H

#include "broker/store/store.h"
#include "common/net/transport.h"
#include "proto/ha_frame.h"

struct ha_wire {
    struct transport transport;
    int wake_fd; /* an eventfd, borrowed: ends ha_wire_wait */
    size_t frame_size;
    size_t frame_sent;
    uint8_t frame[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    struct log_range range; /* size 0: none */
    size_t range_sent;
};

/* Take over a connected socket.
 * accepted  by us, or opened */
void ha_wire_init(struct ha_wire *wire, int fd, bool accepted, int wake_fd);
void ha_wire_close(struct ha_wire *wire);

/* Connect, for at most patience_ms with each address of a name, or until wake_fd is written to.
 * returns  OK | INVALID (no address) | TIMEOUT | CLOSED (woken) | BUSY | IO; err says what */
enum status ha_wire_connect(const char *address, int64_t patience_ms, int wake_fd, int *fd,
                            struct err *err);

/* Something is leaving and has not left yet. */
static inline bool ha_wire_busy(const struct ha_wire *wire)
{
    return wire->frame_size > 0;
}

/* Let a frame leave, or a block, whose range becomes the wire's. Not while it is busy. */
void ha_wire_send(struct ha_wire *wire, struct slice frame);
void ha_wire_send_block(struct ha_wire *wire, int64_t pos, const struct log_range *range);

/* Let go what the socket takes.
 * *log_bytes  out: so many bytes of the log have left
 * returns  OK (not busy any more) | BUSY | CLOSED | NOT_FOUND (the log cannot be read there) | IO
 */
enum status ha_wire_flush(struct ha_wire *wire, size_t *log_bytes);

/* returns  as transport_readv */
enum status ha_wire_read(struct ha_wire *wire, void *memory, size_t size, size_t *got);

/* Wait until there is something to read or, when that is asked for, to be written, wake_fd is
 * written to, or the time is over. */
void ha_wire_wait(struct ha_wire *wire, bool for_writing, int64_t timeout_ms);

/* Wait for wake_fd only; -1: for ever. */
void ha_wake_wait(int wake_fd, int64_t timeout_ms);
void ha_wake(int wake_fd);

/* Say that nothing more comes, and give the peer a moment to read what did and close: bytes that
 * are thrown away unread would take with them what it has not read yet. */
void ha_wire_linger(struct ha_wire *wire);

#endif
