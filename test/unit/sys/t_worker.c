/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker pool: every accepted task runs exactly once and a client's in order, clients take
 * turns, a full queue and a stopping pool refuse, and worker_pool_free runs what was accepted;
 * behind worker_pool_stop the tasks know that they shall give up. Threads carry their name and
 * block signals.
 */
#include "common/sys/worker.h"

#include "common/sys/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct worker_task task;
    int number;
    int *order; /* where the task leaves its number */
    _Atomic int *done;
};

static void run_job(struct worker_task *task)
{
    struct job *job = (struct job *)(void *)task;
    int position = (*job->done)++;
    job->order[position] = job->number;
    free(job);
}

static struct job *job_new(int number, int *order, _Atomic int *done)
{
    struct job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    *job = (struct job){{.run = run_job}, number, order, done};
    return job;
}

static void one_thread_runs_in_order_and_free_runs_the_rest(void **state)
{
    (void)state;
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("work", 1, 1000, &pool, NULL), STATUS_OK);
    int order[500];
    _Atomic int done = 0;
    for (int i = 0; i < 500; i++)
        assert_true(worker_submit(pool, &job_new(i, order, &done)->task));
    worker_pool_free(pool);
    assert_int_equal(done, 500);
    for (int i = 0; i < 500; i++)
        assert_int_equal(order[i], i);
}

static void many_threads_run_each_task_once(void **state)
{
    (void)state;
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("a-rather-long-name", 4, 4000, &pool, NULL), STATUS_OK);
    int *order = calloc(4000, sizeof *order);
    bool *seen = calloc(4000, sizeof *seen);
    _Atomic int done = 0;
    for (int i = 0; i < 4000; i++)
        assert_true(worker_submit(pool, &job_new(i, order, &done)->task));
    worker_pool_free(pool);
    assert_int_equal(done, 4000);
    for (int i = 0; i < 4000; i++) {
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
    free(order);
    free(seen);
}

struct gate_job {
    struct worker_task task;
    sem_t entered;
    sem_t leave;
};

static void run_gate(struct worker_task *task)
{
    struct gate_job *job = (struct gate_job *)(void *)task;
    (void)sem_post(&job->entered);
    while (sem_wait(&job->leave) != 0)
        ;
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("work", 1, 3, &pool, NULL), STATUS_OK);
    struct gate_job gate = {.task = {.run = run_gate}};
    (void)sem_init(&gate.entered, 0, 0);
    (void)sem_init(&gate.leave, 0, 0);
    assert_true(worker_submit(pool, &gate.task));
    while (sem_wait(&gate.entered) != 0)
        ;
    /* The only thread is held: three tasks may wait, the fourth is refused. */
    int order[4];
    _Atomic int done = 0;
    for (int i = 0; i < 3; i++)
        assert_true(worker_submit(pool, &job_new(i, order, &done)->task));
    struct job *refused = job_new(3, order, &done);
    assert_false(worker_submit(pool, &refused->task));
    free(refused);
    (void)sem_post(&gate.leave);
    worker_pool_free(pool);
    assert_int_equal(done, 3);
    (void)sem_destroy(&gate.entered);
    (void)sem_destroy(&gate.leave);
}

struct polite_job {
    struct worker_task task;
    struct worker_pool *pool;
    int worked;
    int gave_up;
};

static void run_polite(struct worker_task *task)
{
    struct polite_job *job = (struct polite_job *)(void *)task;
    if (worker_pool_stopping(job->pool))
        job->gave_up++;
    else
        job->worked++;
}

static void stopping_makes_the_queued_tasks_give_up_and_accepts_no_more(void **state)
{
    (void)state;
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("work", 1, 1000, &pool, NULL), STATUS_OK);
    struct gate_job gate = {.task = {.run = run_gate}};
    (void)sem_init(&gate.entered, 0, 0);
    (void)sem_init(&gate.leave, 0, 0);
    assert_true(worker_submit(pool, &gate.task));
    while (sem_wait(&gate.entered) != 0)
        ;
    static struct polite_job jobs[500];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < 500; i++) {
        jobs[i].task.run = run_polite;
        jobs[i].pool = pool;
        assert_true(worker_submit(pool, &jobs[i].task));
    }
    assert_false(worker_pool_stopping(pool));
    worker_pool_stop(pool); /* returns although the only thread is held */
    assert_true(worker_pool_stopping(pool));
    struct polite_job late = {.task = {.run = run_polite}, .pool = pool};
    assert_false(worker_submit(pool, &late.task));
    (void)sem_post(&gate.leave);
    worker_pool_free(pool);
    assert_int_equal(late.worked + late.gave_up, 0);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(jobs[i].worked, 0);
        assert_int_equal(jobs[i].gave_up, 1);
    }
    (void)sem_destroy(&gate.entered);
    (void)sem_destroy(&gate.leave);
}

/* --- several clients --- */

static struct gate_job gate_of(uint64_t client)
{
    struct gate_job gate = {.task = {.run = run_gate, .client = client}};
    (void)sem_init(&gate.entered, 0, 0);
    (void)sem_init(&gate.leave, 0, 0);
    return gate;
}

static void enter(struct gate_job *gate)
{
    while (sem_wait(&gate->entered) != 0)
        ;
}

static void leave(struct gate_job *gate)
{
    (void)sem_post(&gate->leave);
}

static struct worker_task *job_of(int number, uint64_t client, int *order, _Atomic int *done)
{
    struct job *job = job_new(number, order, done);
    job->task.client = client;
    return &job->task;
}

static void clients_take_turns(void **state)
{
    (void)state;
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("work", 1, 1000, &pool, NULL), STATUS_OK);
    struct gate_job gate = gate_of(7);
    int order[42];
    _Atomic int done = 0;
    assert_true(worker_submit(pool, &gate.task));
    enter(&gate);
    for (int i = 0; i < 40; i++)
        assert_true(worker_submit(pool, job_of(i, 7, order, &done)));
    assert_true(worker_submit(pool, job_of(100, 9, order, &done)));
    assert_true(worker_submit(pool, job_of(101, 9, order, &done)));
    leave(&gate);
    worker_pool_free(pool);
    assert_int_equal(done, 42);
    int place[102];
    for (int i = 0; i < 42; i++)
        place[order[i]] = i;
    for (int i = 1; i < 40; i++)
        assert_true(place[i] > place[i - 1]);
    assert_true(place[100] < 2);
    assert_true(place[101] > place[100] && place[101] < 4);
}

/* One client's tasks are held; another's run at once, on the thread that the first cannot have. */
static void one_client_never_has_all_threads(void **state)
{
    (void)state;
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("work", 4, 1000, &pool, NULL), STATUS_OK);
    struct gate_job greedy[8];
    for (int i = 0; i < 8; i++) {
        greedy[i] = gate_of(7);
        assert_true(worker_submit(pool, &greedy[i].task));
    }
    for (int i = 0; i < 3; i++)
        enter(&greedy[i]);
    struct gate_job modest = gate_of(9);
    assert_true(worker_submit(pool, &modest.task));
    enter(&modest);
    assert_int_not_equal(sem_trywait(&greedy[3].entered), 0);
    /* The next of the first client begins when one of its own has ended, not before. */
    leave(&modest);
    struct gate_job again = gate_of(9);
    assert_true(worker_submit(pool, &again.task));
    enter(&again);
    assert_int_not_equal(sem_trywait(&greedy[3].entered), 0);
    leave(&greedy[0]);
    enter(&greedy[3]);
    leave(&again);
    for (int i = 1; i < 8; i++)
        leave(&greedy[i]);
    worker_pool_free(pool);
}

/* A full queue still takes some tasks of a client that has none in it. */
static void a_flood_leaves_room_for_others(void **state)
{
    (void)state;
    enum { MOST = 650, PLACES = 10 };
    struct worker_pool *pool;
    assert_int_equal(worker_pool_new("work", 1, MOST, &pool, NULL), STATUS_OK);
    struct gate_job gate = gate_of(7);
    static int order[MOST + PLACES];
    _Atomic int done = 0;
    assert_true(worker_submit(pool, &gate.task));
    enter(&gate);
    for (int i = 0; i < MOST; i++)
        assert_true(worker_submit(pool, job_of(i, 7, order, &done)));
    struct job *refused = job_new(0, order, &done);
    refused->task.client = 7;
    assert_false(worker_submit(pool, &refused->task));
    for (int i = 0; i < PLACES; i++)
        assert_true(worker_submit(pool, job_of(i, 9, order, &done)));
    refused->task.client = 9;
    assert_false(worker_submit(pool, &refused->task));
    free(refused);
    leave(&gate);
    worker_pool_free(pool);
    assert_int_equal(done, MOST + PLACES);
}

static void *report_thread(void *arg)
{
    char *name = arg;
    (void)pthread_getname_np(pthread_self(), name, 16);
    sigset_t mask;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    name[16] = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1 ? 'b' : 'o';
    return NULL;
}

static void threads_block_signals_and_the_starter_does_not(void **state)
{
    (void)state;
    char report[17] = "";
    pthread_t thread;
    struct err err;
    assert_int_equal(thread_start(&thread, "cometmq-test", report_thread, report, &err), STATUS_OK);
    thread_join(thread);
    assert_int_equal(report[16], 'b');
    sigset_t mask;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_runs_in_order_and_free_runs_the_rest),
        cmocka_unit_test(many_threads_run_each_task_once),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(clients_take_turns),
        cmocka_unit_test(one_client_never_has_all_threads),
        cmocka_unit_test(a_flood_leaves_room_for_others),
        cmocka_unit_test(stopping_makes_the_queued_tasks_give_up_and_accepts_no_more),
        cmocka_unit_test(threads_block_signals_and_the_starter_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
