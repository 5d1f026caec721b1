/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs with a period, run by one thread in a bounded step each. Periods are 4.9.2's (LC-04):
 * offsets flushConsumerOffsetInterval, delay offsets flushDelayOffsetInterval, clients and filters
 * every 10 s.
 *
 * After kill -9 the offsets on disk are at most 100 ms old: the journals are written every 50 ms,
 * by a thread that waits for no sync. They are synced once a second by the housekeeper, which may
 * come late when it waits for a disk; that is what a power cut costs.
 */
#include "broker/proc/housekeeper.h"

#include "broker/proc/broker.h"
#include "broker/proc/lag.h"
#include "broker/proc/registrar.h"
#include "broker/proc/replica_watch.h"
#include "broker/proc/table_changes.h"
#include "broker/proc/transaction_asker.h"
#include "broker/state/pop_orders.h"
#include "broker/state/pop_polls.h"
#include "broker/state/pop_revive.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define TICK_MS 100
#define SAVE_PERIOD_MS 1000
#define JOURNAL_PERIOD_MS 50
#define EXPIRE_PERIOD_MS 10000
#define CLIENT_SILENCE_MAX_MS 120000
#define ACCESS_PERIOD_MS 500

struct job {
    void (*run)(struct housekeeper *keeper);
    int64_t (*period_ms)(const struct broker *broker);
    int64_t due_ms; /* monotonic */
};

#define JOBS 9

struct housekeeper {
    struct broker *broker;
    pthread_t thread;
    pthread_t deliverer;
    pthread_t asker;
    pthread_t journal;
    pthread_t timers;
    pthread_t pop_keeper;
    pthread_mutex_t lock; /* for sleeping and waking only */
    pthread_cond_t wake;
    bool stopping;
    struct job jobs[JOBS];
    struct arena arena;
    bool timers_shown;
};

static void complain(const char *what, enum status status, const struct err *err)
{
    static struct log_gate gate;
    int64_t swallowed;
    if (status != STATUS_OK && log_gate_open(&gate, &swallowed))
        log_error("housekeeper", "table not saved, will try again", "table=%s cause=\"%s\"", what,
                  err->text);
}

/* The timers' topic is in the table from the first timer on. Not before, as 5.x has it: others
 * would see a topic that 4.9.2 does not have. */
static void show_timers(struct housekeeper *keeper)
{
    struct broker *broker = keeper->broker;
    struct topic_config config;
    bool created = false;
    const struct queue *queue = store_queue(broker->store, SLICE_LITERAL(TOPIC_TIMER), 0, false);
    if (keeper->timers_shown || broker->timer == NULL || queue == NULL ||
        queue_max_offset(queue) == 0)
        return;
    keeper->timers_shown = topics_ensure(broker->topics, SLICE_LITERAL(TOPIC_TIMER), 1,
                                         PERM_READ | PERM_WRITE, 0, &config, &created) == STATUS_OK;
    if (created)
        registrar_announce(broker->registrar);
}

static void save_tables(struct housekeeper *keeper)
{
    struct err err = {0};
    show_timers(keeper);
    complain("topics", topics_persist(keeper->broker->topics, &err), &err);
    complain("groups", groups_persist(keeper->broker->groups, &err), &err);
}

static void save_offsets(struct housekeeper *keeper)
{
    struct err err = {0};
    complain("offsets", offsets_persist(keeper->broker->offsets, &err), &err);
    if (keeper->broker->pop_orders != NULL)
        complain("pops in order", pop_orders_persist(keeper->broker->pop_orders, &err), &err);
}

static void save_delays(struct housekeeper *keeper)
{
    struct err err = {0};
    complain("delay offsets", delay_persist(keeper->broker->delay, &err), &err);
    if (keeper->broker->timer != NULL)
        complain("timers", timer_persist(keeper->broker->timer, &err), &err);
}

static void complain_of_journal(const char *what, enum status status, const struct err *err)
{
    static struct log_gate gate;
    int64_t swallowed;
    if (status != STATUS_OK && log_gate_open(&gate, &swallowed))
        log_error("housekeeper", what, "cause=\"%s\" others=%lld", err->text, (long long)swallowed);
}

static void write_journals(struct housekeeper *keeper)
{
    static const char what[] = "journal not written, a crash would bring back older offsets";
    struct err err = {0};
    struct broker *broker = keeper->broker;
    complain_of_journal(what, offsets_journal_step(broker->offsets, &err), &err);
    complain_of_journal(what, delay_journal_step(broker->delay, &err), &err);
    if (broker->timer != NULL)
        complain_of_journal(what, timer_journal_step(broker->timer, &err), &err);
}

static void sync_journals(struct housekeeper *keeper)
{
    static const char what[] = "journal not on disk, its JSON file is written instead";
    struct err err = {0};
    struct broker *broker = keeper->broker;
    complain_of_journal(what, offsets_journal_sync(broker->offsets, &err), &err);
    if (offsets_journal_is_due(broker->offsets))
        save_offsets(keeper);
    complain_of_journal(what, delay_journal_sync(broker->delay, &err), &err);
    bool due = delay_journal_is_due(broker->delay);
    if (broker->timer != NULL) {
        complain_of_journal(what, timer_journal_sync(broker->timer, &err), &err);
        due |= timer_journal_is_due(broker->timer);
    }
    if (due)
        save_delays(keeper);
}

static void expire(struct housekeeper *keeper)
{
    struct broker *broker = keeper->broker;
    struct notify_list *silent = NULL;
    int64_t now_ms = clock_monotonic_ms(broker->clock);
    clients_silent(broker->clients, now_ms, CLIENT_SILENCE_MAX_MS, &keeper->arena, &silent);
    for (const struct notify_list *list = silent; list != NULL; list = list->next)
        for (size_t i = 0; i < list->count; i++)
            net_close(list->conns[i], "no heartbeat for 120 s");
    queue_locks_expire(broker->queue_locks, now_ms);
    if (broker->pop_polls != NULL)
        pop_polls_expire(broker->pop_polls, now_ms);
    if (broker->pop_orders != NULL)
        pop_orders_expire(broker->pop_orders, clock_wall_ms(broker->clock));
    arena_reset(&keeper->arena);
}

static bool is_online(void *clients, struct slice group)
{
    return clients_subscription_count(clients, group) > 0;
}

static void step_filters(struct housekeeper *keeper)
{
    struct broker *broker = keeper->broker;
    struct err err = {0};
    filters_step(broker->filters, broker->conf.filterDataCleanTimeSpan, is_online, broker->clients);
    complain("filters", filters_persist(broker->filters, &err), &err);
}

static void sample(struct housekeeper *keeper)
{
    int64_t now_ms = clock_wall_ms(keeper->broker->clock);
    stats_step(keeper->broker->stats, now_ms);
    topic_stats_step(keeper->broker->topic_stats, now_ms);
    replica_watch_step(keeper->broker->replica_watch);
}

static void stop_slow_groups(struct housekeeper *keeper)
{
    lag_stop_slow_groups(keeper->broker, &keeper->arena);
}

static int64_t lag_period(const struct broker *broker)
{
    (void)broker;
    return LAG_PERIOD_MS;
}

static void reload_access(struct housekeeper *keeper)
{
    if (keeper->broker->access != NULL)
        access_control_reload(keeper->broker->access);
}

static int64_t access_period(const struct broker *broker)
{
    (void)broker;
    return ACCESS_PERIOD_MS;
}

static int64_t every_second(const struct broker *broker)
{
    (void)broker;
    return SAVE_PERIOD_MS;
}

static int64_t offsets_period(const struct broker *broker)
{
    return broker->conf.flushConsumerOffsetInterval;
}

static int64_t delays_period(const struct broker *broker)
{
    return broker->conf.flushDelayOffsetInterval;
}

static int64_t expire_period(const struct broker *broker)
{
    (void)broker;
    return EXPIRE_PERIOD_MS;
}

/* Sleep, but no longer than it takes to be told to stop. False: stop. */
static bool doze(struct housekeeper *keeper, int64_t ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms * 1000000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->stopping)
        if (pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until) != 0)
            break;
    bool go_on = !keeper->stopping;
    pthread_mutex_unlock(&keeper->lock);
    return go_on;
}

static void *keep(void *arg)
{
    struct housekeeper *keeper = arg;
    while (doze(keeper, TICK_MS)) {
        int64_t now_ms = clock_monotonic_ms(keeper->broker->clock);
        for (int i = 0; i < JOBS; i++) {
            struct job *job = &keeper->jobs[i];
            if (now_ms < job->due_ms)
                continue;
            job->run(keeper);
            int64_t period_ms = job->period_ms(keeper->broker);
            job->due_ms = now_ms + (period_ms < TICK_MS ? TICK_MS : period_ms);
        }
    }
    return NULL;
}

static void *deliver(void *arg)
{
    struct housekeeper *keeper = arg;
    int64_t wait_ms = 0;
    while (doze(keeper, wait_ms))
        wait_ms = delay_step(keeper->broker->delay, clock_wall_ms(keeper->broker->clock));
    return NULL;
}

static void *ask(void *arg)
{
    struct housekeeper *keeper = arg;
    int64_t wait_ms = 0;
    while (doze(keeper, wait_ms))
        wait_ms = transaction_asker_step(keeper->broker->transaction_asker);
    return NULL;
}

static void *run_timers(void *arg)
{
    struct housekeeper *keeper = arg;
    struct timer *timer = keeper->broker->timer;
    while (doze(keeper, 0))
        timer_wait(timer, timer_step(timer, clock_wall_ms(keeper->broker->clock)));
    return NULL;
}

/* Popped messages: their log, and those that come again. */
static void *keep_pops(void *arg)
{
    struct housekeeper *keeper = arg;
    struct broker *broker = keeper->broker;
    bool ready = false;
    int64_t wait_ms = 0;
    while (doze(keeper, wait_ms)) {
        wait_ms = pop_revive_step(broker->pop_revive, clock_wall_ms(broker->clock));
        if (!ready && pop_ledger_ready(broker->pop_ledger)) {
            ready = true;
            pop_polls_wake_all(broker->pop_polls); /* those who came while it read the log */
        }
    }
    return NULL;
}

static void *keep_journals(void *arg)
{
    struct housekeeper *keeper = arg;
    struct broker *broker = keeper->broker;
    while (doze(keeper, JOURNAL_PERIOD_MS)) {
        write_journals(keeper);
        if (broker->table_changes != NULL)
            table_changes_step(broker->table_changes, clock_monotonic_ms(broker->clock));
    }
    return NULL;
}

/* What only a master does: it appends to the log. */
static enum status start_master_threads(struct housekeeper *keeper, struct err *err)
{
    enum status status = thread_start(&keeper->deliverer, "deliverer", deliver, keeper, err);
    if (status == STATUS_OK)
        status = thread_start(&keeper->asker, "asker", ask, keeper, err);
    if (status == STATUS_OK && keeper->broker->timer != NULL)
        status = thread_start(&keeper->timers, "timers", run_timers, keeper, err);
    if (status == STATUS_OK)
        status = thread_start(&keeper->pop_keeper, "pop-keeper", keep_pops, keeper, err);
    return status;
}

static enum status start_threads(struct housekeeper *keeper, struct err *err)
{
    enum status status = thread_start(&keeper->thread, "housekeeper", keep, keeper, err);
    if (status == STATUS_OK)
        status = thread_start(&keeper->journal, "journal", keep_journals, keeper, err);
    if (status == STATUS_OK && !broker_is_slave(keeper->broker))
        status = start_master_threads(keeper, err);
    return status;
}

enum status housekeeper_start(struct broker *broker, struct housekeeper **out, struct err *err)
{
    struct housekeeper *keeper = xcalloc(1, sizeof *keeper);
    pthread_condattr_t attributes;
    keeper->broker = broker;
    arena_init(&keeper->arena, 4096);
    CHECK(pthread_mutex_init(&keeper->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&keeper->wake, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    const struct job jobs[JOBS] = {
        {save_tables, every_second, 0},
        {save_offsets, offsets_period, 0},
        {save_delays, delays_period, 0},
        {expire, expire_period, 0},
        {sample, every_second, 0},
        {sync_journals, every_second, 0},
        {step_filters, expire_period, 0},
        {reload_access, access_period, 0},
        {stop_slow_groups, lag_period, clock_monotonic_ms(broker->clock) + LAG_PERIOD_MS},
    };
    memcpy(keeper->jobs, jobs, sizeof jobs);
    enum status status = start_threads(keeper, err);
    if (status != STATUS_OK) {
        housekeeper_stop(keeper);
        housekeeper_free(keeper);
        return status;
    }
    *out = keeper;
    return STATUS_OK;
}

void housekeeper_stop(struct housekeeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_broadcast(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
    if (keeper->broker->timer != NULL)
        timer_wake(keeper->broker->timer);
    const pthread_t threads[] = {keeper->thread,  keeper->deliverer, keeper->asker,
                                 keeper->journal, keeper->timers,    keeper->pop_keeper};
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++)
        if (threads[i] != 0)
            thread_join(threads[i]);
    if (keeper->broker->pop_revive != NULL)
        pop_revive_finish(keeper->broker->pop_revive, clock_wall_ms(keeper->broker->clock));
    write_journals(keeper); /* should the tables not be saved any more */
}

void housekeeper_free(struct housekeeper *keeper)
{
    if (keeper->broker->transaction_asker != NULL)
        transaction_asker_finish(keeper->broker->transaction_asker);
    if (keeper->broker->pop_revive != NULL)
        pop_revive_settle(keeper->broker->pop_revive, clock_wall_ms(keeper->broker->clock));
    save_tables(keeper);
    save_offsets(keeper);
    save_delays(keeper);
    step_filters(keeper);
    arena_release(&keeper->arena);
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}
