/* SPDX-License-Identifier: Apache-2.0
 *
 * On a slave: a table of its master that is true of the master's log up to a position, until the
 * slave's log has come as far.
 *
 * Of two tables the one stays that waits for less: with a slave that is always a little behind,
 * nothing would ever be taken otherwise. So a newer one, which waits for more, is not kept, and has
 * to be asked for again; one that waits for less is of a master that has lost the end of its log.
 *
 * One thread. A zeroed one is empty.
 */
#ifndef BROKER_PROC_PENDING_TABLE_H
#define BROKER_PROC_PENDING_TABLE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/status.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

struct pending_table {
    bool set;
    bool more; /* a newer one came meanwhile, and was not kept */
    int64_t proof_pos;
    struct buf json;
};

/* Keep a copy of `body`, which speaks of the log before proof_pos.
 * returns  false: the one that is there stays */
bool pending_table_put(struct pending_table *pending, const ProtobufCMessage *body,
                       int64_t proof_pos);

/* Is there one, and does the log reach what it speaks of? */
bool pending_table_is_ripe(const struct pending_table *pending, int64_t log_end);

/* Take it out. `body` is initialised by the caller, its parts are the arena's. Nothing is kept,
 * also after a failure. returns  as body_decode */
MUST_CHECK enum status pending_table_take(struct pending_table *pending, struct arena *arena,
                                          ProtobufCMessage *body, struct err *err);

void pending_table_release(struct pending_table *pending);

#endif
