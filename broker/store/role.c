/* SPDX-License-Identifier: Apache-2.0
 *
 * A store that changes its role while it runs.
 *
 * To take appends means to give out queue offsets. A slave takes them from the records and does not
 * count them, so before the first append everything in the log must be in the queues: their ends
 * are where the offsets go on.
 */
#include "broker/store/store_internal.h"
#include "common/sys/log.h"

#include <inttypes.h>
#include <time.h>

#define DISPATCH_POLL_MS 2

static bool all_dispatched(const struct store *store)
{
    return store_dispatched_pos(store) == store_appended_pos(store);
}

/* Whoever runs no threads, as tests do, has the rounds done here. */
static bool wait_dispatched(struct store *store, int64_t patience_ms)
{
    const struct timespec pause = {.tv_nsec = DISPATCH_POLL_MS * 1000000L};
    if (!store->dispatcher.running)
        while (dispatcher_round(&store->dispatcher) == STATUS_OK)
            continue;
    for (int64_t waited_ms = 0; !all_dispatched(store); waited_ms += DISPATCH_POLL_MS) {
        if (waited_ms >= patience_ms || !store->dispatcher.running)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

static void continue_offsets(void *ctx, struct queue *queue)
{
    (void)ctx;
    queue->next_offset = queue->written_offset;
}

static void change(struct store *store, enum store_role role)
{
    (void)pthread_mutex_lock(&store->dispatcher.lock);
    (void)pthread_mutex_lock(&store->log.append_lock);
    store->options.role = role;
    if (role == STORE_ROLE_MASTER) {
        queue_table_each(&store->queues, continue_offsets, NULL);
        health_allow(&store->health, REFUSAL_SLAVE);
    } else {
        health_set(&store->health, REFUSAL_SLAVE);
    }
    (void)pthread_mutex_unlock(&store->log.append_lock);
    (void)pthread_mutex_unlock(&store->dispatcher.lock);
}

enum status store_set_role(struct store *store, enum store_role role, int64_t patience_ms,
                           struct err *err)
{
    bool is_slave = health_has(&store->health, REFUSAL_SLAVE);
    if (is_slave == (role == STORE_ROLE_SLAVE))
        return STATUS_OK;
    if (role == STORE_ROLE_MASTER && !wait_dispatched(store, patience_ms))
        return err_set(err, STATUS_TIMEOUT,
                       "%" PRId64 " bytes of the log are not in the queues yet",
                       store_appended_pos(store) - store_dispatched_pos(store));
    size_t held_bytes = store->raw.held.size;
    buf_clear(&store->raw.held);
    change(store, role);
    log_info("store",
             role == STORE_ROLE_MASTER ? "this store is a master's" : "this store is a slave's",
             "log_end=%" PRId64 " begin_of_a_record_forgotten=%zu", store_appended_pos(store),
             held_bytes);
    return STATUS_OK;
}
