/* SPDX-License-Identifier: Apache-2.0
 *
 * How far the timers of the master have come, as its slave keeps it: config/timerProgress.json
 * without timer files, which timer_load makes again from the log when this broker becomes a master.
 * One thread.
 */
#ifndef BROKER_STATE_TIMER_COPY_H
#define BROKER_STATE_TIMER_COPY_H

#include "broker/store/store.h"
#include "proto/body.pb-c.h"

struct timer_copy;

/* path  of timerProgress.json, copied; the rest is borrowed */
struct timer_copy *timer_copy_new(const char *path, struct vfs *vfs, struct store *store);
void timer_copy_free(struct timer_copy *copy);

/* Write the file; before that, have the log flushed up to proof_pos, which it has reached.
 * body     what timer_copy_progress gave on the master
 * returns  OK (also when that was written already) | MALFORMED (a number is impossible: nothing is
 *          written) | TIMEOUT | IO | FULL | BUSY */
MUST_CHECK enum status timer_copy_save(struct timer_copy *copy, const TimerProgress *body,
                                       int64_t proof_pos, struct err *err);

#endif
