/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding the consume queues on disk: consumequeue/<topic>/<id>/<20 digits>.
 */
#ifndef BROKER_STORE_RECOVER_QUEUES_H
#define BROKER_STORE_RECOVER_QUEUES_H

#include "broker/store/queue_ends.h"
#include "broker/store/store.h"

struct queues_found {
    struct queue_ends ends; /* of all of them */
    int64_t last_end_pos;   /* end of the newest record that any queue knows */
};

/* Is there any queue file? */
enum status queues_exist(struct store *store, bool *any, struct err *err);

/* Add every queue found to the store and cut it at cut_pos; see queue_recover. */
enum status queues_load(struct store *store, int64_t cut_pos, bool wipe, struct queues_found *found,
                        struct err *err);

#endif
