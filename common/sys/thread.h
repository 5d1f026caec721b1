/* SPDX-License-Identifier: Apache-2.0
 *
 * Named threads that are always joined.
 */
#ifndef COMMON_SYS_THREAD_H
#define COMMON_SYS_THREAD_H

#include "common/base/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Start a thread called `name` (at most 15 characters; shown by ps -L). Signals are blocked in it:
 * the main thread takes them.
 * returns  OK | IO */
enum status thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg,
                         struct err *err);
void thread_join(pthread_t thread);

/* Lock, unless that takes longer than wait_ms: false, not locked. A step of the wall clock may make
 * it wait for less or more. */
bool mutex_lock_within(pthread_mutex_t *mutex, int64_t wait_ms);

#endif
