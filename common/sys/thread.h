/* SPDX-License-Identifier: Apache-2.0
 *
 * Named threads that are always joined.
 */
#ifndef COMMON_SYS_THREAD_H
#define COMMON_SYS_THREAD_H

#include "common/base/status.h"

#include <pthread.h>

/* Start a thread called `name` (at most 15 characters; shown by ps -L). Signals are blocked in it:
 * the main thread takes them.
 * returns  OK | IO */
enum status thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg,
                         struct err *err);
void thread_join(pthread_t thread);

#endif
