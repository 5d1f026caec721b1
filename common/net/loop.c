/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: libevent tells which descriptors are ready and which timers are due; everything else
 * is here. One turn is
 *
 *     1. event_base_loop, once: readable connections are read and their requests handled, at most
 *        READS_MAX; the others stay libevent's for the next turn
 *     2. connections whose reading was resumed handle what they had kept back; some handshakes of
 *        TLS take a step
 *     3. hooks; write-out: one writev for each connection with queued output
 *     4. posted tasks, and those that they or the hooks have posted meanwhile
 *     5. hooks and write-out again
 *
 * So what is answered at once leaves before the tasks are done, and what follows from it (a message
 * that was appended is dispatched and wakes a held pull) needs no look at the sockets in between.
 *
 * The inbox is a stack without a lock: a poster pushes with one compare-and-swap, the loop takes
 * all by one exchange and turns the order round. Whoever finds the stack empty writes the eventfd,
 * so a batch costs one wake-up. The eventfd is watched edge-triggered and never read. Invariant:
 * the loop blocks only after it has seen the inbox empty, and a push behind that look wakes it.
 */
#include "common/net/loop.h"

#include "common/base/check.h"
#include "common/net/conn.h"
#include "common/net/conn_tls.h"
#include "common/net/loop_private.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HOOKS_MAX 16

/* Connections read in one turn: bounds how long the first has to wait for its answer. */
#define READS_MAX 64

struct loop_hook {
    void (*run)(void *ctx);
    void *ctx;
};

struct loop {
    char name[16];
    int index;
    const struct clock *clock;
    struct event_base *base;
    int wake_fd;
    struct event *wake_event;
    _Atomic(struct loop_task *) inbox; /* newest first */
    atomic_bool stopping;
    bool started;
    pthread_t thread;
    struct loop_hook hooks[HOOKS_MAX];
    int hook_count;
    int64_t now_ms;
    bool now_is_known; /* in this turn */
    int reads;         /* in this turn */
    struct conn_table *conns;
};

struct loop_timer {
    struct event event;
    void (*fire)(void *ctx);
    void *ctx;
};

static _Thread_local const struct loop *current_loop;

static void ignore_wake(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static enum status open_base(struct loop *loop, struct err *err)
{
    struct event_config *config = event_config_new();
    CHECK(config != NULL);
    CHECK(event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0);
    CHECK(event_config_require_features(config, EV_FEATURE_ET) == 0);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->base == NULL)
        return err_set_errno(err, STATUS_IO,
                             "loop %s: epoll is not available or open files are used up",
                             loop->name);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd == -1)
        return err_set_errno(err, STATUS_IO, "loop %s: no eventfd", loop->name);
    loop->wake_event =
        event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST | EV_ET, ignore_wake, NULL);
    CHECK(loop->wake_event != NULL);
    CHECK(event_add(loop->wake_event, NULL) == 0);
    return STATUS_OK;
}

enum status loop_new(const char *name, int index, const struct clock *clock, struct loop **out,
                     struct err *err)
{
    struct loop *loop = xcalloc(1, sizeof *loop);
    (void)snprintf(loop->name, sizeof loop->name, "%s", name);
    loop->index = index;
    loop->clock = clock;
    loop->wake_fd = -1;
    enum status status = open_base(loop, err);
    if (status != STATUS_OK) {
        loop_free(loop);
        return status;
    }
    loop->conns = conn_table_new(loop);
    *out = loop;
    return STATUS_OK;
}

static struct loop_task *take_inbox(struct loop *loop)
{
    struct loop_task *newest = atomic_exchange(&loop->inbox, NULL);
    struct loop_task *oldest = NULL;
    while (newest != NULL) {
        struct loop_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void run_tasks(struct loop *loop)
{
    for (struct loop_task *task = take_inbox(loop), *next; task != NULL; task = next) {
        next = task->next;
        task->run(task);
    }
}

void loop_free(struct loop *loop)
{
    loop_settle(loop);
    if (loop->conns != NULL)
        conn_table_free(loop->conns);
    if (loop->wake_event != NULL)
        event_free(loop->wake_event);
    if (loop->base != NULL)
        event_base_free(loop->base);
    if (loop->wake_fd != -1)
        (void)close(loop->wake_fd);
    free(loop);
}

void loop_has_read(struct loop *loop)
{
    if (++loop->reads == READS_MAX)
        CHECK(event_base_loopbreak(loop->base) == 0);
}

static void end_part(struct loop *loop)
{
    for (int i = 0; i < loop->hook_count; i++)
        loop->hooks[i].run(loop->hooks[i].ctx);
    conn_table_write_out(loop->conns);
}

static void turn(struct loop *loop)
{
    bool work_waits = atomic_load(&loop->inbox) != NULL || conn_table_has_work(loop->conns);
    loop->now_is_known = false;
    loop->reads = 0;
    CHECK(event_base_loop(loop->base, EVLOOP_ONCE | (work_waits ? EVLOOP_NONBLOCK : 0)) != -1);
    conn_table_resume(loop->conns);
    conn_handshake_steps(loop->conns);
    end_part(loop);
    if (atomic_load(&loop->inbox) == NULL)
        return;
    run_tasks(loop);
    run_tasks(loop);
    end_part(loop);
}

static void *run_loop(void *arg)
{
    struct loop *loop = arg;
    current_loop = loop;
    while (!atomic_load(&loop->stopping))
        turn(loop);
    current_loop = NULL;
    return NULL;
}

enum status loop_start(struct loop *loop, struct err *err)
{
    CHECK(!loop->started);
    atomic_store(&loop->stopping, false);
    enum status status = thread_start(&loop->thread, loop->name, run_loop, loop, err);
    loop->started = status == STATUS_OK;
    return status;
}

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(loop->wake_fd, &one, sizeof one);
    while (written == -1 && errno == EINTR);
    /* EAGAIN: the counter, which nobody reads, is full after 2^64 - 2 wake-ups. */
    CHECK(written == (ssize_t)sizeof one);
}

void loop_stop(struct loop *loop)
{
    if (!loop->started)
        return;
    CHECK(!loop_is_current(loop));
    atomic_store(&loop->stopping, true);
    wake(loop);
    thread_join(loop->thread);
    loop->started = false;
}

void loop_settle(struct loop *loop)
{
    CHECK(!loop->started);
    current_loop = loop;
    /* Tasks may post further ones. */
    while (atomic_load(&loop->inbox) != NULL)
        run_tasks(loop);
    current_loop = NULL;
}

int loop_index(const struct loop *loop)
{
    return loop->index;
}

bool loop_is_current(const struct loop *loop)
{
    return current_loop == loop;
}

const struct clock *loop_clock(const struct loop *loop)
{
    return loop->clock;
}

struct event_base *loop_event_base(struct loop *loop)
{
    return loop->base;
}

struct conn_table *loop_conns(const struct loop *loop)
{
    return loop->conns;
}

int64_t loop_now_ms(const struct loop *loop)
{
    if (!loop_is_current(loop))
        return clock_monotonic_ms(loop->clock);
    /* Logically constant: the first question of a turn reads the clock, behind the wait. */
    struct loop *self = (struct loop *)(uintptr_t)loop;
    if (!self->now_is_known) {
        self->now_ms = clock_monotonic_ms(loop->clock);
        self->now_is_known = true;
    }
    return self->now_ms;
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    struct loop_task *newest = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do
        task->next = newest;
    while (!atomic_compare_exchange_weak(&loop->inbox, &newest, task));
    if (newest == NULL && !loop_is_current(loop))
        wake(loop);
}

void loop_on_turn_end(struct loop *loop, void (*hook)(void *ctx), void *ctx)
{
    CHECK(loop->hook_count < HOOKS_MAX);
    loop->hooks[loop->hook_count++] = (struct loop_hook){hook, ctx};
}

static void timer_fired(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct loop_timer *timer = arg;
    timer->fire(timer->ctx);
}

struct loop_timer *loop_timer_new(struct loop *loop, void (*fire)(void *ctx), void *ctx)
{
    struct loop_timer *timer = xcalloc(1, sizeof *timer);
    timer->fire = fire;
    timer->ctx = ctx;
    CHECK(event_assign(&timer->event, loop->base, -1, 0, timer_fired, timer) == 0);
    return timer;
}

void loop_timer_set(struct loop_timer *timer, int64_t delay_ms)
{
    if (delay_ms < 0)
        delay_ms = 0;
    struct timeval delay = {(time_t)(delay_ms / 1000), (suseconds_t)(delay_ms % 1000 * 1000)};
    CHECK(event_add(&timer->event, &delay) == 0);
}

void loop_timer_cancel(struct loop_timer *timer)
{
    CHECK(event_del(&timer->event) == 0);
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer == NULL)
        return;
    loop_timer_cancel(timer);
    free(timer);
}
