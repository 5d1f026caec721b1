/* SPDX-License-Identifier: Apache-2.0
 *
 * A master's side of the conversation with one slave, as a step function: bytes that came in, the
 * time and the bounds of the log go in, what to do comes out. No I/O, no clock, no lock. The frames
 * are those of proto/ha_frame.h.
 *
 * The owner gives what it reads to ha_master_input, and calls ha_master_step until that says WAIT.
 * What is to be sent is sent in order; while some of it has not left, steps are made with can_send
 * false, so that a peer that does not read is heard all the same.
 */
#ifndef BROKER_REPL_HA_MASTER_H
#define BROKER_REPL_HA_MASTER_H

#include "proto/ha_frame.h"

/* Most bytes of a block to a slave of this program. */
#define HA_BLOCK_BYTES (1024 * 1024)

struct ha_master_options {
    const struct ha_hello *self; /* borrowed; positions are ignored */
    int64_t transfer_bytes;      /* most bytes of a block to a 4.9.2 slave */
    int64_t heartbeat_ms;
    int64_t silence_ms;
};

/* The log [min_pos, end_pos), as it is now. */
struct ha_bounds {
    int64_t min_pos;
    int64_t end_pos;
};

enum ha_master_do {
    HA_MASTER_WAIT,  /* for bytes, a longer log, until action.until_ms */
    HA_MASTER_ADMIT, /* a slave asks for the log from action.pos on: ha_master_admit must follow */
    HA_MASTER_SEND,  /* action.frame, which is valid until the next step */
    HA_MASTER_SEND_LOG, /* a block from action.pos on, of at most action.size bytes, more than 0;
                           ha_master_block must follow */
    HA_MASTER_ACKED,    /* the slave has everything before action.pos */
    HA_MASTER_CLOSE, /* machine.why says why; when something was sent to tell the slave, it should
                        have the time to read it */
};

struct ha_master_action {
    enum ha_master_do what;
    int64_t until_ms;
    int64_t pos;
    int64_t size;
    struct slice frame;
};

/* What the owner finds out about a slave that asks to be admitted. */
enum ha_verdict {
    HA_ADMITTED,
    HA_FOREIGN_LOG,  /* its last record is not in our log */
    HA_ID_TAKEN,     /* another slave that is connected has its broker id */
    HA_STORE_COPIED, /* the same, and with a copy of its store: it has taken this one's place */
    HA_TOO_MANY,     /* no room for another slave */
};

enum ha_master_state {
    HA_MASTER_SILENT,    /* nothing has come yet */
    HA_MASTER_GREETING,  /* it asked for protocol 2; the slave's HELLO is awaited */
    HA_MASTER_JUDGING,   /* it may be admitted */
    HA_MASTER_STREAMING, /* it is */
    HA_MASTER_CLOSING,
};

/* Fields that are read from outside; they change by the functions below only. */
struct ha_master {
    struct ha_master_options options;
    enum ha_master_state state;
    int protocol;          /* 0: not known yet */
    struct ha_hello slave; /* protocol 2 */
    int64_t next_pos;      /* of the log: the next block begins there */
    int64_t sent_pos;      /* what the socket has taken ends there */
    int64_t acked_pos;     /* -1: no report yet */
    bool refused;          /* closing, because an operator has to act */
    char why[HA_TEXT_BYTES];

    int64_t heard_ms;
    int64_t told_ms;
    bool hello_due;
    bool heartbeat_due;
    bool acked_due;
    bool refusal_due;
    uint32_t changed;
    size_t in_size;
    uint8_t in[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    uint8_t out[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
};

/* A connection has been accepted. */
void ha_master_init(struct ha_master *machine, const struct ha_master_options *options,
                    int64_t now_ms);

/* Bytes have come in. */
void ha_master_input(struct ha_master *machine, struct slice bytes, int64_t now_ms);

/* What is to be done now. */
void ha_master_step(struct ha_master *machine, struct ha_bounds log, bool can_send, int64_t now_ms,
                    struct ha_master_action *action);

/* After ADMIT. text may be NULL, or add a name to the words of a refusal. */
void ha_master_admit(struct ha_master *machine, enum ha_verdict verdict, const char *text);

/* From where on what the slave reports counts as being there. A slave that has proved by the name
 * of its last record that its log is ours has all from its begin on. Of any other one (of 4.9.2,
 * one with an empty log, one whose last record has expired here) only what it is sent counts: where
 * it says that its log ends may be wrong, or a lie.
 * start_pos  of ADMIT
 * has_last   its last record is in our log */
int64_t ha_master_begins_pos(const struct ha_master *machine, int64_t start_pos, bool has_last);

/* After SEND_LOG: a block of `size` bytes is being sent. */
void ha_master_block(struct ha_master *machine, int64_t size);

/* The socket has taken so many more bytes of the log. */
void ha_master_sent(struct ha_master *machine, int64_t size);

/* These tables (bits) have changed. */
void ha_master_changed(struct ha_master *machine, uint32_t tables);

/* Close, with these words: the log cannot be read, the slave cannot be counted ... */
void ha_master_fail(struct ha_master *machine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
