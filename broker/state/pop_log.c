/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints and acknowledgements as bodies of records. A body that claims more than
 * POP_MESSAGES_MAX messages, or offsets that do not ascend, is none of ours: it is refused, so that
 * the ledger can count on both.
 */
#include "broker/state/pop_log.h"

#include "proto/body.pb-c.h"
#include "proto/body_json.h"

static char *name_of(struct slice name, struct arena *arena)
{
    return arena_cstr(arena, name);
}

/* protobuf-c's strings are not const, though nobody writes to them. */
static char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

void pop_log_encode_point(const struct pop_view *view, uint32_t acked, const char *broker_name,
                          struct arena *arena, struct buf *out)
{
    int32_t offsets[POP_MESSAGES_MAX];
    PopCheckPoint body;
    pop_check_point__init(&body);
    for (int i = 0; i < view->count; i++)
        offsets[i] = (int32_t)view->offsets[i];
    body.bm = (int32_t)acked;
    body.bn = lend(broker_name);
    body.c = name_of(view->group, arena);
    body.d = offsets;
    body.n_d = (size_t)view->count;
    body.it = view->invisible_ms;
    body.n = view->count;
    body.pt = view->pop_time_ms;
    body.q = view->queue_id;
    body.so = view->start_offset;
    body.t = name_of(view->topic, arena);
    body_encode(&body.base, BODY_COMPACT, out);
}

void pop_log_encode_acks(const struct pop_view *view, uint32_t bits, const char *broker_name,
                         struct arena *arena, struct buf *out)
{
    int64_t offsets[POP_MESSAGES_MAX];
    BatchAckMsg body;
    batch_ack_msg__init(&body);
    for (int i = 0; i < view->count; i++)
        if ((bits >> i & 1) != 0)
            offsets[body.n_aol++] = view->start_offset + view->offsets[i];
    body.ao = -1;
    body.aol = offsets;
    body.bn = lend(broker_name);
    body.c = name_of(view->group, arena);
    body.pt = view->pop_time_ms;
    body.q = view->queue_id;
    body.so = view->start_offset;
    body.t = name_of(view->topic, arena);
    body_encode(&body.base, BODY_COMPACT, out);
}

enum status pop_log_decode_point(struct slice json, struct arena *arena, struct pop_view *out)
{
    PopCheckPoint body;
    pop_check_point__init(&body);
    if (body_decode(json, arena, &body.base, NULL) != STATUS_OK)
        return STATUS_MALFORMED;
    if (body.n <= 0 || body.n > POP_MESSAGES_MAX || body.n_d != (size_t)body.n || body.so < 0 ||
        body.q < 0 || body.t[0] == '\0' || body.c[0] == '\0')
        return STATUS_MALFORMED;
    uint32_t *offsets = arena_alloc(arena, body.n_d * sizeof *offsets);
    for (size_t i = 0; i < body.n_d; i++) {
        if (body.d[i] < 0 || (i > 0 && body.d[i] <= body.d[i - 1]))
            return STATUS_MALFORMED;
        offsets[i] = (uint32_t)body.d[i];
    }
    *out = (struct pop_view){
        .topic = slice_of_cstr(body.t),
        .group = slice_of_cstr(body.c),
        .queue_id = body.q,
        .start_offset = body.so,
        .pop_time_ms = body.pt,
        .invisible_ms = body.it,
        .count = body.n,
        .offsets = offsets,
        .acked = (uint32_t)body.bm,
    };
    return STATUS_OK;
}

enum status pop_log_decode_acks(struct slice json, struct arena *arena, struct pop_name *out,
                                int64_t **offsets, size_t *count)
{
    BatchAckMsg body;
    batch_ack_msg__init(&body);
    if (body_decode(json, arena, &body.base, NULL) != STATUS_OK || body.t[0] == '\0' ||
        body.c[0] == '\0')
        return STATUS_MALFORMED;
    *out = (struct pop_name){
        .topic = slice_of_cstr(body.t),
        .group = slice_of_cstr(body.c),
        .queue_id = body.q,
        .start_offset = body.so,
        .pop_time_ms = body.pt,
    };
    *offsets = body.aol;
    *count = body.n_aol;
    if (body.n_aol == 0) { /* the tag is `ack` */
        *offsets = arena_alloc(arena, sizeof **offsets);
        **offsets = body.ao;
        *count = 1;
    }
    return STATUS_OK;
}
