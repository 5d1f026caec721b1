/* SPDX-License-Identifier: Apache-2.0
 *
 * When the members of a group are told that it has changed (CL-04): at once, unless they were told
 * less than NOTICE_INTERVAL_MS ago; then once when that time is over, however many changes came
 * meanwhile. So one join or leave is heard of at once, and 200 members that restart together cost
 * each of them ten notices a second, not 400 in all.
 *
 * The last change of a group is always followed by a notice. Nothing here sends. Any thread; one
 * lock (docs/locks.md: notices).
 */
#ifndef BROKER_STATE_NOTICES_H
#define BROKER_STATE_NOTICES_H

#include "common/base/arena.h"
#include "common/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* Between two notices to the members of one group. */
#define NOTICE_INTERVAL_MS 100

/* A group whose members are to be told now. */
struct notice {
    struct slice group;
    bool always; /* whatever the group's switch says; see notices_changed */
};

struct notices;
struct notices *notices_new(void);
void notices_free(struct notices *notices);

/* A group has changed.
 * always  the group's own switch, notifyConsumerIdsChangedEnable, does not count (CL-06)
 * now_ms  monotonic; never smaller than in an earlier call by more than the threads' race for it
 * awake   out: nothing was waited for until now; notices_step must be called NOTICE_INTERVAL_MS
 *         from now
 * returns  true: tell the members now. False: notices_step will name the group */
bool notices_changed(struct notices *notices, struct slice group, bool always, int64_t now_ms,
                     bool *awake);

/* The groups that have changed since their members were told NOTICE_INTERVAL_MS ago or earlier.
 * They count as told now: the caller looks who their members are after this call.
 * due, count  out: in the arena
 * returns  milliseconds until the next call, at least 1; -1 when there is nothing to wait for */
int64_t notices_step(struct notices *notices, int64_t now_ms, struct arena *arena,
                     struct notice **due, size_t *count);

#endif
