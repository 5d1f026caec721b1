/* SPDX-License-Identifier: Apache-2.0
 *
 * The table is kept as JSON: its parts live in an arena of the call that brought it. The memory
 * goes with it, for it may be large.
 */
#include "broker/proc/pending_table.h"

#include "proto/body_json.h"

bool pending_table_put(struct pending_table *pending, const ProtobufCMessage *body,
                       int64_t proof_pos)
{
    if (pending->set && pending->proof_pos <= proof_pos) {
        pending->more = true;
        return false;
    }
    pending->set = true;
    pending->more = false;
    pending->proof_pos = proof_pos;
    buf_clear(&pending->json);
    body_encode(body, BODY_COMPACT, &pending->json);
    return true;
}

bool pending_table_is_ripe(const struct pending_table *pending, int64_t log_end)
{
    return pending->set && log_end >= pending->proof_pos;
}

enum status pending_table_take(struct pending_table *pending, struct arena *arena,
                               ProtobufCMessage *body, struct err *err)
{
    enum status status = body_decode(buf_slice(&pending->json), arena, body, err);
    pending->set = false;
    buf_release(&pending->json);
    return status;
}

void pending_table_release(struct pending_table *pending)
{
    pending->set = false;
    buf_release(&pending->json);
}
