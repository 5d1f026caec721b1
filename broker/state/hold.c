/* SPDX-License-Identifier: Apache-2.0
 *
 * Held pulls. Each queue that was ever waited on has a `waiters`: per loop a list of held requests
 * and one task. The dispatch thread posts the task of every loop that holds something, at most once
 * until it has run. Deadlines live in a wheel of coarse slots; one timer turns it while anything is
 * held.
 *
 * The task looks at the tags of what has arrived, once for all, and lists those whom it concerns;
 * of these it calls at most WAKE_MAX, and posts itself for the others, so that a message for a
 * thousand groups does not keep the loop from everything else. A request that waits for certain
 * tags is not touched by messages with others: instead the slot's looked_offset moves, which is a
 * lower bound for all of them.
 *
 * Invariants: a held request is in the lists of its deadline's slot and its connection's bucket,
 * and either in its queue's list or, with its wishes, in the queue's index; also in the list of the
 * woken while it is that and not called yet. A parked one is only in that of its connection.
 * `count` of a waiters slot is the number of its requests; interest in a queue is counted once per
 * held request; its connection's share and the total count it and its bytes.
 *
 * A waiters is made once per queue, under `lock`, and lives until hold_tables_free: queues are
 * never freed while the store is open.
 */
#include "broker/state/hold.h"

#include "broker/store/consumequeue_format.h"
#include "common/base/check.h"
#include "common/base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Twice in a turn, so that other requests wait for some hundred microseconds at most. */
#define WAKE_MAX 16
/* Of a task; each passes 800 messages or a file of the queue. */
#define TAG_LOOKS_MAX 4
#define WHEEL_SLOTS 1024
#define WHEEL_SLOT_MS 50
#define CONN_BUCKETS 1024

struct waiters_slot {
    struct loop_task task;
    struct waiters *waiters;
    struct hold_table *table;
    struct list untagged;    /* by_queue: those that wait for any message */
    struct tag_index tagged; /* those that wait for certain tags */
    struct list woken;       /* of both, by_wake: to be called */
    int64_t looked_offset;   /* nothing before it concerns one of the tagged that is not woken */
    _Atomic int count;
    _Atomic bool arrived; /* something has, since requests were woken last */
    _Atomic bool posted;
};

struct waiters {
    struct waiters *next;
    struct queue *queue;
    struct waiters_slot slots[]; /* one per loop */
};

/* What one connection holds. */
struct share {
    size_t count;
    size_t bytes;
};

struct hold_table {
    struct hold_tables *tables;
    struct loop *loop;
    int index;
    struct hold_callbacks callbacks;
    struct loop_timer *timer;
    bool timer_set;
    size_t count;
    int64_t turned_ms; /* the wheel has been turned up to here */
    struct list wheel[WHEEL_SLOTS];
    struct list conns[CONN_BUCKETS];
    struct share *shares; /* by the connection's slot: a closed one leaves zeros behind */
    size_t share_count;
};

struct hold_tables {
    pthread_mutex_t lock; /* making a waiters */
    struct waiters *waiters;
    _Atomic int64_t bytes;
    int loop_count;
    struct hold_table *tables;
};

static void wheel_turn(void *ctx);

struct hold_tables *hold_tables_new(struct loop *const *loops, int loop_count,
                                    const struct hold_callbacks *callbacks)
{
    struct hold_tables *tables = xcalloc(1, sizeof *tables);
    CHECK(pthread_mutex_init(&tables->lock, NULL) == 0);
    tables->loop_count = loop_count;
    tables->tables = xcalloc((size_t)loop_count, sizeof *tables->tables);
    for (int i = 0; i < loop_count; i++) {
        struct hold_table *table = &tables->tables[i];
        table->tables = tables;
        table->loop = loops[i];
        table->index = i;
        table->callbacks = callbacks[i];
        table->timer = loop_timer_new(loops[i], wheel_turn, table);
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&table->wheel[slot]);
        for (int bucket = 0; bucket < CONN_BUCKETS; bucket++)
            list_init(&table->conns[bucket]);
    }
    return tables;
}

static void drop_all(struct hold_table *table)
{
    for (int bucket = 0; bucket < CONN_BUCKETS; bucket++)
        list_for_each (node, &table->conns[bucket]) {
            struct held *held = list_entry(node, struct held, by_conn);
            hold_remove(table, held);
            table->callbacks.on_drop(table->callbacks.ctx, held);
        }
}

void hold_tables_free(struct hold_tables *tables)
{
    for (int i = 0; i < tables->loop_count; i++) {
        drop_all(&tables->tables[i]);
        loop_timer_free(tables->tables[i].timer);
        free(tables->tables[i].shares);
    }
    for (struct waiters *waiters = tables->waiters, *next; waiters != NULL; waiters = next) {
        next = waiters->next;
        queue_set_context(waiters->queue, NULL);
        free(waiters);
    }
    free(tables->tables);
    pthread_mutex_destroy(&tables->lock);
    free(tables);
}

struct hold_table *hold_tables_get(struct hold_tables *tables, int loop_index)
{
    return &tables->tables[loop_index];
}

/* What the slot knows of its tagged requests, this one knows from now on. */
static void catch_up(const struct waiters_slot *slot, struct held *held)
{
    if (held->code_count > 0 && list_empty(&held->by_wake) &&
        held->looked_offset < slot->looked_offset)
        held->looked_offset = slot->looked_offset;
}

static void wake(void *ctx, void *owner)
{
    struct waiters_slot *slot = ctx;
    struct held *held = owner;
    if (!list_empty(&held->by_wake))
        return;
    catch_up(slot, held);
    list_append(&slot->woken, &held->by_wake);
}

static void wake_for(void *ctx, int64_t tags_code)
{
    struct waiters_slot *slot = ctx;
    if (queue_tags_code_is_elsewhere(tags_code))
        tag_index_walk(&slot->tagged, wake, slot);
    else
        tag_index_find(&slot->tagged, (int32_t)tags_code, wake, slot); /* as subscription_match */
}

/* List whom the messages that have arrived concern. */
static void wake_all(struct waiters_slot *slot)
{
    const struct hold_callbacks *callbacks = &slot->table->callbacks;
    struct queue *queue = slot->waiters->queue;
    int64_t end = queue_max_offset(queue);
    list_for_each (node, &slot->untagged)
        wake(slot, list_entry(node, struct held, by_queue));
    if (slot->looked_offset > end) { /* it has begun anew: its topic was deleted and made again */
        slot->looked_offset = 0;
        tag_index_walk(&slot->tagged, wake, slot);
    }
    for (int look = 0; slot->tagged.count > 0 && slot->looked_offset < end; look++) {
        int64_t next = slot->looked_offset;
        if (callbacks->tags != NULL && look < TAG_LOOKS_MAX)
            next = callbacks->tags(callbacks->ctx, queue, next, wake_for, slot);
        if (next <= slot->looked_offset) {
            tag_index_walk(&slot->tagged, wake, slot); /* each for itself */
            next = end;
        }
        slot->looked_offset = next;
    }
}

/* The task posted by hold_arrival. */
static void waiters_run(struct loop_task *task)
{
    struct waiters_slot *slot =
        (struct waiters_slot *)(void *)((char *)task - offsetof(struct waiters_slot, task));
    struct hold_table *table = slot->table;
    /* Before looking, so that an arrival during the look posts again. */
    atomic_store(&slot->posted, false);
    if (atomic_exchange(&slot->arrived, false))
        wake_all(slot); /* otherwise it goes on with those that are woken already */
    for (int i = 0; i < WAKE_MAX && !list_empty(&slot->woken); i++) {
        struct held *held = list_entry(slot->woken.next, struct held, by_wake);
        list_remove(&held->by_wake);
        table->callbacks.on_arrival(table->callbacks.ctx, held);
    }
    if (!list_empty(&slot->woken) && !atomic_exchange(&slot->posted, true))
        loop_post(table->loop, &slot->task);
}

static struct waiters *waiters_of(struct hold_tables *tables, struct queue *queue)
{
    struct waiters *waiters = queue_context(queue);
    if (waiters != NULL)
        return waiters;
    pthread_mutex_lock(&tables->lock);
    waiters = queue_context(queue);
    if (waiters == NULL) {
        waiters =
            xcalloc(1, sizeof *waiters + (size_t)tables->loop_count * sizeof(struct waiters_slot));
        waiters->queue = queue;
        for (int i = 0; i < tables->loop_count; i++) {
            struct waiters_slot *slot = &waiters->slots[i];
            slot->task.run = waiters_run;
            slot->waiters = waiters;
            slot->table = &tables->tables[i];
            list_init(&slot->untagged);
            list_init(&slot->woken);
        }
        waiters->next = tables->waiters;
        tables->waiters = waiters;
        queue_set_context(queue, waiters);
    }
    pthread_mutex_unlock(&tables->lock);
    return waiters;
}

static struct waiters_slot *slot_of(const struct hold_table *table, const struct held *held)
{
    struct waiters *waiters = queue_context(held->queue);
    return &waiters->slots[table->index];
}

static struct list *conn_bucket(struct hold_table *table, struct conn_ref conn)
{
    return &table->conns[conn.slot % CONN_BUCKETS];
}

static struct list *wheel_slot(struct hold_table *table, int64_t deadline_ms)
{
    return &table->wheel[(uint64_t)(deadline_ms / WHEEL_SLOT_MS) % WHEEL_SLOTS];
}

static struct share *share_of(struct hold_table *table, struct conn_ref conn)
{
    if (conn.slot >= table->share_count) {
        size_t count = table->share_count == 0 ? 64 : table->share_count;
        while (count <= conn.slot)
            count *= 2;
        table->shares = xrealloc(table->shares, count * sizeof *table->shares);
        memset(table->shares + table->share_count, 0,
               (count - table->share_count) * sizeof *table->shares);
        table->share_count = count;
    }
    return &table->shares[conn.slot];
}

/* Count a request against the bounds; false when one of them is reached. */
static bool take_room(struct hold_table *table, const struct held *held)
{
    struct share *share = share_of(table, held->conn);
    int64_t bytes = (int64_t)held->bytes;
    if (share->count >= CONNECTION_HELD_MAX ||
        share->bytes + held->bytes > CONNECTION_HELD_BYTES_MAX)
        return false;
    if (atomic_fetch_add(&table->tables->bytes, bytes) + bytes > HELD_BYTES_MAX) {
        atomic_fetch_sub(&table->tables->bytes, bytes);
        return false;
    }
    share->count++;
    share->bytes += held->bytes;
    return true;
}

static void give_room_back(struct hold_table *table, const struct held *held)
{
    struct share *share = share_of(table, held->conn);
    share->count--;
    share->bytes -= held->bytes;
    atomic_fetch_sub(&table->tables->bytes, (int64_t)held->bytes);
}

static void add_wishes(struct waiters_slot *slot, struct held *held)
{
    /* It may be behind the others only when the queue has begun anew. */
    if (slot->tagged.count == 0 || slot->looked_offset > held->looked_offset)
        slot->looked_offset = held->looked_offset;
    held->wishes = xmalloc((size_t)held->code_count * sizeof *held->wishes);
    tag_index_add(&slot->tagged, held->wishes, held->codes, held->code_count, held);
}

static void remove_wishes(struct waiters_slot *slot, struct held *held)
{
    tag_index_remove(&slot->tagged, held->wishes, held->code_count);
    free(held->wishes);
}

enum status hold_add(struct hold_table *table, struct held *held)
{
    if (!take_room(table, held))
        return STATUS_BUSY;
    struct waiters *waiters = waiters_of(table->tables, held->queue);
    struct waiters_slot *slot = &waiters->slots[table->index];
    held->parked = false;
    int64_t now_ms = loop_now_ms(table->loop);
    if (held->deadline_ms < now_ms)
        held->deadline_ms = now_ms;
    if (table->count++ == 0)
        table->turned_ms = now_ms;
    list_init(&held->by_queue);
    list_init(&held->by_wake);
    if (held->code_count > 0)
        add_wishes(slot, held);
    else
        list_append(&slot->untagged, &held->by_queue);
    list_append(wheel_slot(table, held->deadline_ms), &held->by_deadline);
    list_append(conn_bucket(table, held->conn), &held->by_conn);
    atomic_fetch_add(&slot->count, 1);
    queue_set_interest(held->queue, true);
    if (!table->timer_set) {
        table->timer_set = true;
        loop_timer_set(table->timer, WHEEL_SLOT_MS);
    }
    return STATUS_OK;
}

enum status hold_park(struct hold_table *table, struct held *held)
{
    if (!take_room(table, held))
        return STATUS_BUSY;
    held->parked = true;
    list_append(conn_bucket(table, held->conn), &held->by_conn);
    return STATUS_OK;
}

void hold_remove(struct hold_table *table, struct held *held)
{
    if (held->parked) {
        list_remove(&held->by_conn);
        give_room_back(table, held);
        return;
    }
    struct waiters_slot *slot = slot_of(table, held);
    queue_set_interest(held->queue, false);
    atomic_fetch_sub(&slot->count, 1);
    if (held->code_count > 0)
        remove_wishes(slot, held);
    list_remove(&held->by_queue);
    list_remove(&held->by_wake);
    list_remove(&held->by_deadline);
    list_remove(&held->by_conn);
    table->count--;
    give_room_back(table, held);
}

static void expire_slot(struct hold_table *table, struct list *slot, int64_t now_ms)
{
    list_for_each (node, slot) {
        struct held *held = list_entry(node, struct held, by_deadline);
        if (held->deadline_ms > now_ms)
            continue; /* a later round of the wheel */
        catch_up(slot_of(table, held), held);
        hold_remove(table, held);
        table->callbacks.on_expire(table->callbacks.ctx, held);
    }
}

static void wheel_turn(void *ctx)
{
    struct hold_table *table = ctx;
    int64_t now_ms = loop_now_ms(table->loop);
    int64_t first = table->turned_ms / WHEEL_SLOT_MS;
    int64_t last = now_ms / WHEEL_SLOT_MS;
    if (last - first >= WHEEL_SLOTS)
        first = last - WHEEL_SLOTS + 1;
    for (int64_t slot = first; slot <= last; slot++)
        expire_slot(table, &table->wheel[(uint64_t)slot % WHEEL_SLOTS], now_ms);
    table->turned_ms = now_ms;
    table->timer_set = table->count > 0;
    if (table->timer_set)
        loop_timer_set(table->timer, WHEEL_SLOT_MS);
}

void hold_conn_closed(struct hold_table *table, struct conn_ref conn)
{
    list_for_each (node, conn_bucket(table, conn)) {
        struct held *held = list_entry(node, struct held, by_conn);
        if (!conn_ref_equal(held->conn, conn))
            continue;
        hold_remove(table, held);
        table->callbacks.on_drop(table->callbacks.ctx, held);
    }
}

void hold_expire_all(struct hold_table *table)
{
    for (int slot = 0; slot < WHEEL_SLOTS; slot++)
        expire_slot(table, &table->wheel[slot], INT64_MAX);
    for (int bucket = 0; bucket < CONN_BUCKETS; bucket++)
        list_for_each (node, &table->conns[bucket]) {
            struct held *held = list_entry(node, struct held, by_conn);
            hold_remove(table, held);
            table->callbacks.on_expire(table->callbacks.ctx, held);
        }
}

void hold_arrival(void *ctx, struct queue *queue)
{
    struct hold_tables *tables = ctx;
    struct waiters *waiters = queue_context(queue);
    if (waiters == NULL)
        return;
    for (int i = 0; i < tables->loop_count; i++) {
        struct waiters_slot *slot = &waiters->slots[i];
        if (atomic_load(&slot->count) == 0)
            continue;
        atomic_store(&slot->arrived, true);
        if (!atomic_exchange(&slot->posted, true))
            loop_post(slot->table->loop, &slot->task);
    }
}
