/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave's side of the conversation with its master, as a step function: bytes that came in, the
 * time and the state of the log go in, what to do comes out. No I/O, no clock, no lock. The frames
 * are those of proto/ha_frame.h.
 *
 * One machine per connection. The owner gives what it reads to ha_slave_input, and calls
 * ha_slave_step until that says WAIT; only then may it read more. Blocks are handed on in the parts
 * in which they arrive, so no block is too large, and memory does not depend on the master.
 *
 * A master that is refused, and one that refuses, is `refused`: nothing is appended, and an
 * operator has to act. `why` has the mend.
 */
#ifndef BROKER_REPL_HA_SLAVE_H
#define BROKER_REPL_HA_SLAVE_H

#include "proto/ha_frame.h"

/* A master that has not answered within this time is one of 4.9.2, which never will. */
#define HA_HELLO_PATIENCE_MS 2000

struct ha_slave_options {
    int64_t heartbeat_ms;
    int64_t silence_ms;
};

/* The slave's log, as it is now. Its end is behind a whole record: of what comes, the store may
 * hold the begin of one back until the rest has come, too. */
struct ha_log {
    int64_t end_pos; /* 0: empty */
    int64_t flushed_pos;
};

enum ha_slave_do {
    HA_SLAVE_WAIT,     /* for bytes, a flush, until action.until_ms */
    HA_SLAVE_SEND,     /* action.bytes, which are valid until the next step */
    HA_SLAVE_BEGIN_AT, /* the log, which is empty, begins at action.pos */
    HA_SLAVE_APPEND,   /* action.bytes, of the input, are the log's from action.pos on */
    HA_SLAVE_CHANGED,  /* these tables (action.tables) have changed at the master */
    HA_SLAVE_CLOSE,    /* machine.why says why */
};

struct ha_slave_action {
    enum ha_slave_do what;
    int64_t until_ms;
    int64_t pos;
    struct slice bytes;
    uint32_t tables;
};

enum ha_slave_state {
    HA_SLAVE_ASKING,    /* for HELLO */
    HA_SLAVE_STREAMING, /* the log may come */
    HA_SLAVE_CLOSING,
};

/* Fields that are read from outside; they change by the functions below only. */
struct ha_slave {
    struct ha_slave_options options;
    struct ha_hello self;
    struct ha_hello master; /* protocol 2, from its HELLO on */
    enum ha_slave_state state;
    int protocol;           /* 0: not known yet */
    bool accepted;          /* the master has sent something of the log, or a heartbeat */
    bool refused;           /* closing, because an operator has to act */
    int64_t master_end_pos; /* as last heard; -1: unknown */
    int64_t heard_ms;
    char why[HA_TEXT_BYTES];

    int64_t began_ms;
    int64_t told_ms;
    int64_t next_pos;     /* the next byte of the log that comes is at it */
    int64_t reported_pos; /* -1: none yet */
    bool ask_due;
    bool hello_due;
    int64_t block_bytes; /* of the current block that are still to come */
    struct slice input;
    size_t in_size;
    uint8_t in[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
};

/* A connection to the master has been opened.
 * self      what this broker says of itself, with the bounds of its log and the last record's name.
 *           sync_flush: what is reported is on disk */
void ha_slave_init(struct ha_slave *machine, const struct ha_slave_options *options,
                   const struct ha_hello *self, int64_t now_ms);

/* Bytes have come in; they must stay until the step that says WAIT. */
void ha_slave_input(struct ha_slave *machine, struct slice bytes, int64_t now_ms);

/* What is to be done now. While something that was to be sent has not left, with can_send false. */
void ha_slave_step(struct ha_slave *machine, struct ha_log log, bool can_send, int64_t now_ms,
                   struct ha_slave_action *action);

/* Close, with these words: the log takes no more ... Set machine.refused beside, when an operator
 * has to act. */
void ha_slave_fail(struct ha_slave *machine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
