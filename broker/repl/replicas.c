/* SPDX-License-Identifier: Apache-2.0
 *
 * A few slots under one lock, and what is computed from them as atomics.
 *
 * Invariants: the end of `covered` never goes back. All bytes of [from, to) were reported by slaves
 * that had them, each without a gap: a slave whose own range touches it makes it longer, one that
 * lies behind it begins it anew. `best_pos` is the furthest report of the slaves that are there.
 *
 * Source: RMQ 4.9.2 HAService (isSlaveOK, notifyTransferSome).
 */
#include "broker/repl/replicas.h"

#include "common/base/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct slot {
    bool used;
    struct replica_state state;
    /* The end of the log at a time: when the slave has come so far, it has all that was there. */
    int64_t mark_pos; /* -1: none */
    int64_t mark_ms;
};

struct replicas {
    const struct clock *clock;
    void (*moved)(void *ctx);
    void *ctx;
    pthread_mutex_t lock; /* docs/locks.md: replicas */
    struct slot slots[REPLICAS_MAX];
    uint64_t last_number;
    _Atomic int64_t covered_from;
    _Atomic int64_t covered_to;
    _Atomic int64_t best_pos;
    _Atomic int count;
};

static void lock(struct replicas *replicas)
{
    CHECK(pthread_mutex_lock(&replicas->lock) == 0);
}

static void unlock(struct replicas *replicas)
{
    CHECK(pthread_mutex_unlock(&replicas->lock) == 0);
}

static struct slot *slot_of(struct replicas *replicas, int slot)
{
    CHECK(slot >= 0 && slot < REPLICAS_MAX && replicas->slots[slot].used);
    return &replicas->slots[slot];
}

struct replicas *replicas_new(const struct clock *clock, void (*moved)(void *ctx), void *ctx)
{
    struct replicas *replicas = xcalloc(1, sizeof *replicas);
    replicas->clock = clock;
    replicas->moved = moved;
    replicas->ctx = ctx;
    CHECK(pthread_mutex_init(&replicas->lock, NULL) == 0);
    return replicas;
}

void replicas_free(struct replicas *replicas)
{
    CHECK(pthread_mutex_destroy(&replicas->lock) == 0);
    free(replicas);
}

/* Under the lock. */
static void slots_changed(struct replicas *replicas)
{
    int64_t best_pos = 0;
    int count = 0;
    for (int i = 0; i < REPLICAS_MAX; i++) {
        const struct slot *slot = &replicas->slots[i];
        count += slot->used;
        if (slot->used && slot->state.acked_pos > best_pos)
            best_pos = slot->state.acked_pos;
    }
    atomic_store(&replicas->best_pos, best_pos);
    atomic_store(&replicas->count, count);
}

int replicas_join(struct replicas *replicas, const struct replica_identity *identity,
                  int64_t start_pos)
{
    int found = -1;
    lock(replicas);
    for (int i = 0; i < REPLICAS_MAX && found < 0; i++)
        if (!replicas->slots[i].used)
            found = i;
    if (found >= 0) {
        replicas->slots[found] = (struct slot){
            .used = true,
            .state = {.identity = *identity,
                      .joined_ms = clock_wall_ms(replicas->clock),
                      .sent_pos = start_pos,
                      .number = ++replicas->last_number},
            .mark_pos = -1,
        };
        slots_changed(replicas);
    }
    unlock(replicas);
    return found;
}

void replicas_leave(struct replicas *replicas, int slot)
{
    lock(replicas);
    slot_of(replicas, slot)->used = false;
    slots_changed(replicas);
    unlock(replicas);
    replicas->moved(replicas->ctx);
}

void replicas_sent(struct replicas *replicas, int slot, int64_t pos)
{
    lock(replicas);
    struct replica_state *state = &slot_of(replicas, slot)->state;
    if (pos > state->sent_pos)
        state->sent_pos = pos;
    unlock(replicas);
}

static void note_time(struct slot *slot, int64_t appended_pos, int64_t now_ms)
{
    struct replica_state *state = &slot->state;
    if (state->acked_pos >= appended_pos)
        state->caught_up_ms = now_ms;
    else if (slot->mark_pos >= 0 && state->acked_pos >= slot->mark_pos)
        state->caught_up_ms = slot->mark_ms;
    else if (slot->mark_pos >= 0)
        return;
    slot->mark_pos = appended_pos;
    slot->mark_ms = now_ms;
}

/* The slave has [begins_pos, acked_pos). The range begins anew before its end moves: a look between
 * the two shows too little. returns  it has grown */
static bool cover(struct replicas *replicas, const struct replica_state *state)
{
    int64_t begins_pos = state->identity.begins_pos;
    int64_t to = atomic_load(&replicas->covered_to);
    int64_t from = atomic_load(&replicas->covered_from);
    bool anew = begins_pos > to;
    bool longer = state->acked_pos > to && state->acked_pos > begins_pos;
    bool earlier = begins_pos < from && state->acked_pos >= from;
    if ((anew && longer) || earlier)
        atomic_store(&replicas->covered_from, begins_pos);
    if (longer)
        atomic_store(&replicas->covered_to, state->acked_pos);
    return longer || earlier;
}

bool replicas_acked(struct replicas *replicas, int slot, int64_t pos, int64_t appended_pos)
{
    bool moved = false;
    lock(replicas);
    struct slot *from = slot_of(replicas, slot);
    bool possible =
        pos >= from->state.acked_pos && pos <= from->state.sent_pos && pos <= appended_pos;
    if (possible) {
        from->state.acked_pos = pos;
        note_time(from, appended_pos, clock_wall_ms(replicas->clock));
        slots_changed(replicas);
        moved = cover(replicas, &from->state);
    }
    unlock(replicas);
    if (moved)
        replicas->moved(replicas->ctx);
    return possible;
}

struct replica_range replicas_covered(const struct replicas *replicas)
{
    int64_t to = atomic_load(&replicas->covered_to); /* first: see cover */
    return (struct replica_range){atomic_load(&replicas->covered_from), to};
}

int64_t replicas_acked_pos(const struct replicas *replicas)
{
    return atomic_load(&replicas->covered_to);
}

bool replicas_in_reach(const struct replicas *replicas, int64_t end_pos, int64_t behind_max)
{
    return atomic_load(&replicas->count) > 0 &&
           end_pos - atomic_load(&replicas->best_pos) < behind_max;
}

int replicas_count(const struct replicas *replicas)
{
    return atomic_load(&replicas->count);
}

size_t replicas_list(struct replicas *replicas, struct replica_state *out)
{
    size_t count = 0;
    lock(replicas);
    for (int i = 0; i < REPLICAS_MAX; i++)
        if (replicas->slots[i].used)
            out[count++] = replicas->slots[i].state;
    unlock(replicas);
    return count;
}
