/* SPDX-License-Identifier: Apache-2.0
 *
 * Change counts of the tables, compared with those that were told last. A slave that connects later
 * asks by itself.
 */
#include "broker/proc/table_changes.h"

#include "broker/repl/replication.h"
#include "broker/state/request_modes.h"
#include "common/base/check.h"

#include <stdlib.h>

#define OFFSETS_PERIOD_MS 1000

/* What was told of last. */
struct counts {
    uint64_t topics;
    uint64_t groups;
    uint64_t modes;
    int64_t offsets;
    int64_t delivered;
};

struct table_changes {
    struct broker *broker;
    struct counts told;
    int64_t offsets_due_ms;
};

static struct counts counts_now(const struct broker *broker)
{
    struct counts counts;
    (void)topics_version(broker->topics, &counts.topics);
    (void)groups_version(broker->groups, &counts.groups);
    counts.modes = request_modes_version(broker->request_modes);
    counts.offsets = offsets_version(broker->offsets);
    counts.delivered = delay_delivered(broker->delay);
    return counts;
}

struct table_changes *table_changes_new(struct broker *broker)
{
    struct table_changes *changes = xcalloc(1, sizeof *changes);
    changes->broker = broker;
    changes->told = counts_now(broker);
    return changes;
}

void table_changes_free(struct table_changes *changes)
{
    free(changes);
}

void table_changes_step(struct table_changes *changes, int64_t now_ms)
{
    struct counts now = counts_now(changes->broker);
    struct counts *told = &changes->told;
    unsigned tables = 0;
    if (now.topics != told->topics)
        tables |= REPLICATED_TOPICS;
    if (now.groups != told->groups || now.modes != told->modes)
        tables |= REPLICATED_GROUPS;
    if (now_ms >= changes->offsets_due_ms) {
        tables |= now.offsets != told->offsets ? REPLICATED_OFFSETS : 0;
        tables |= now.delivered != told->delivered ? REPLICATED_DELAY : 0;
    }
    if (tables == 0)
        return;
    /* The slave's answer brings all tables, whichever was told. */
    *told = now;
    changes->offsets_due_ms = now_ms + OFFSETS_PERIOD_MS;
    replication_changed(changes->broker->replication, tables);
}
