/* SPDX-License-Identifier: Apache-2.0
 *
 * Between our own brokers only what has changed is told, so a newer progress is merged into the one
 * that is held, and not put in its place.
 */
#include "broker/proc/held_progress.h"

#include "broker/state/half_message.h"
#include "broker/state/topics.h"

#define HALF_KEY TOPIC_TRANS_HALF "@" GROUP_TRANSACTIONS
#define MARKER_KEY TOPIC_TRANS_OP_HALF "@" GROUP_TRANSACTIONS

/* True: it is one of the two keys. */
static bool read_entry(const QueueOffsetsEntry *entry, struct held_offsets *out)
{
    int64_t *to = strcmp(entry->key, HALF_KEY) == 0     ? &out->half
                  : strcmp(entry->key, MARKER_KEY) == 0 ? &out->marker
                                                        : NULL;
    if (to == NULL)
        return false;
    for (size_t i = 0; i < entry->n_value; i++)
        if (entry->value[i]->key == 0)
            *to = entry->value[i]->value;
    return true;
}

bool held_progress_split(ConsumerOffsetSerializeWrapper *body, struct held_offsets *out)
{
    size_t kept = 0;
    *out = (struct held_offsets){.half = -1, .marker = -1};
    for (size_t i = 0; i < body->n_offset_table; i++)
        if (!read_entry(body->offset_table[i], out))
            body->offset_table[kept++] = body->offset_table[i];
    body->n_offset_table = kept;
    out->set = out->half >= 0 || out->marker >= 0;
    return out->set;
}

static void merge(struct held_offsets *into, const struct held_offsets *from)
{
    into->half = from->half >= 0 || !into->set ? from->half : into->half;
    into->marker = from->marker >= 0 || !into->set ? from->marker : into->marker;
    into->proof_pos = from->proof_pos;
    into->set = true;
}

void held_progress_put(struct held_progress *held, const struct held_offsets *offsets)
{
    if (held->next.set && held->next.proof_pos > offsets->proof_pos)
        *held = (struct held_progress){{0}, {0}};
    merge(held->next.set ? &held->newest : &held->next, offsets);
}

static void add(ConsumerOffsetSerializeWrapper *body, QueueOffsetsEntry *entry,
                IntOffsetEntry *offset, IntOffsetEntry **offsets)
{
    if (offset->value < 0)
        return;
    *offsets = offset;
    entry->value = offsets;
    entry->n_value = 1;
    body->offset_table[body->n_offset_table++] = entry;
}

enum status held_progress_take(struct held_progress *held, int64_t log_end, struct offsets *offsets)
{
    QueueOffsetsEntry *entries[2];
    QueueOffsetsEntry half = QUEUE_OFFSETS_ENTRY__INIT;
    QueueOffsetsEntry marker = QUEUE_OFFSETS_ENTRY__INIT;
    IntOffsetEntry values[2] = {INT_OFFSET_ENTRY__INIT, INT_OFFSET_ENTRY__INIT};
    IntOffsetEntry *tables[2];
    ConsumerOffsetSerializeWrapper body = CONSUMER_OFFSET_SERIALIZE_WRAPPER__INIT;
    if (!held->next.set || held->next.proof_pos > log_end)
        return STATUS_OK;
    half.key = (char *)(uintptr_t)HALF_KEY;
    marker.key = (char *)(uintptr_t)MARKER_KEY;
    values[0].value = held->next.half;
    values[1].value = held->next.marker;
    body.offset_table = entries;
    add(&body, &half, &values[0], &tables[0]);
    add(&body, &marker, &values[1], &tables[1]);
    held->next = held->newest;
    held->newest.set = false;
    return offsets_merge(offsets, &body, false);
}
