/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting threads. The signal mask is inherited, so it is set around pthread_create: there is no
 * moment at which a signal could be delivered to the new thread.
 */
#include "common/sys/thread.h"

#include "common/base/check.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define THREAD_NAME_CHARACTERS 15 /* the kernel's limit */

enum status thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg,
                         struct err *err)
{
    CHECK(strlen(name) <= THREAD_NAME_CHARACTERS);
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int error = pthread_create(thread, NULL, run, arg);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (error != 0) {
        errno = error;
        return err_set_errno(err, STATUS_IO,
                             "thread %s could not be started; raise the limit of processes", name);
    }
    (void)pthread_setname_np(*thread, name);
    return STATUS_OK;
}

void thread_join(pthread_t thread)
{
    CHECK(pthread_join(thread, NULL) == 0);
}

/* pthread_mutex_timedlock goes by the wall clock. */
bool mutex_lock_within(pthread_mutex_t *mutex, int64_t wait_ms)
{
    if (pthread_mutex_trylock(mutex) == 0)
        return true;
    struct timespec end;
    CHECK(clock_gettime(CLOCK_REALTIME, &end) == 0);
    end.tv_sec += (time_t)(wait_ms / 1000);
    end.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    return pthread_mutex_timedlock(mutex, &end) == 0;
}
