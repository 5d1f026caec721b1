/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers over a simulated disk. The power goes off, or the process is killed, before a random call
 * that changes the disk, while timers are taken in, delivered, cancelled, journaled, saved and
 * rolled, and old parts of the log are deleted; life after life. Then, whatever was lost:
 *     - a timer whose message is in the log is delivered, not before its time
 *     - one that had been delivered when the progress was saved, or at the last journal before a
 *       kill, is not delivered again
 *     - one whose cancel was taken in before its time is not delivered
 * Source: docs/timers.md; broker/state/timer_progress.h. A failure names the seed, which CRASH_SEED
 * repeats (test/unit/support/crash_kit.h).
 */
#include "broker/state/timer.h"

#include "broker/state/timer_format.h"
#include "broker/state/topics.h"
#include "proto/properties.h"
#include "state_test.h"
#include "test/unit/support/crash_kit.h"

#include <inttypes.h>

#define REAL "Real"
#define TIMERS_MAX 4000
#define LIVES 4
#define STEPS 60
#define SPAN_MS 1500000 /* some buckets */

struct sent_timer {
    int64_t due_ms;
    int64_t end_pos;
    bool lost;      /* not in the log any more */
    bool cancelled; /* the cancel was taken in in time */
    bool safe;      /* was delivered when that was saved */
    bool journaled;
    int delivered;
};

struct world {
    struct crash crash;
    struct timer *timer;
    struct sent_timer timers[TIMERS_MAX];
    int count;
    int delivered[TIMERS_MAX * 3];  /* by offset of the real queue: the timer's number */
    int64_t seen;                   /* offsets of the real queue */
    int64_t cancel_end[TIMERS_MAX]; /* of the timer's cancel in the log; 0: none */
    int64_t calls_left;
    bool off;
    bool kill; /* not the power */
    struct crash left;
};

static int64_t checks;
static int64_t deletions;

static bool may_expire(void *ctx, int64_t end_pos)
{
    struct world *w = ctx;
    return w->timer == NULL || timer_may_expire(w->timer, end_pos);
}

static void before_call(void *ctx, enum sim_call call, const char *path)
{
    struct world *w = ctx;
    (void)call;
    (void)path;
    if (w->off || w->calls_left-- > 0)
        return;
    w->off = true;
    crash_copy(&w->left, &w->crash);
}

static void open_world(struct world *w)
{
    struct err err = {.text = ""};
    crash_open(&w->crash);
    struct timer_options options = {
        .folder = "/store/timer",
        .progress_path = "/store/config/timerProgress.json",
        .vfs = sim_vfs(w->crash.sim),
        .store = w->crash.store,
        .clock = &w->crash.clock,
        .window_max = 16,
    };
    if (timer_load(&options, &w->timer, &err) != STATUS_OK)
        crash_fail(&w->crash, "the timers cannot be loaded: %s", err.text);
    store_set_listener(w->crash.store, (struct store_listener){.ctx = w, .may_expire = may_expire});
}

static void close_world(struct world *w)
{
    timer_free(w->timer);
    w->timer = NULL;
    crash_close(&w->crash);
}

/* --- what happens --- */

static int64_t append(struct world *w, const char *properties, const char *body)
{
    struct store *store = w->crash.store;
    struct record record = {
        .born_timestamp_ms = w->crash.now_ms,
        .born_host = {.ip = {10, 0, 0, 1}, .ip_bytes = 4, .port = 1000},
        .store_host = {.ip = {10, 0, 0, 2}, .ip_bytes = 4, .port = 10911},
        .body = slice_of_cstr(body),
        .topic = SLICE_LITERAL(TOPIC_TIMER),
        .properties = slice_of_cstr(properties),
    };
    struct queue *queue = store_queue(store, record.topic, 0, true);
    append_batch_clear(w->crash.batch);
    assert_int_equal(append_batch_add(w->crash.batch, queue, &record, false, NULL), STATUS_OK);
    const struct append_result *result = store_append(store, w->crash.batch);
    assert_int_equal(result->status, PUT_OK);
    int64_t end_pos = result->end_pos;
    append_batch_clear(w->crash.batch);
    return end_pos;
}

static void send_timer(struct world *w)
{
    char properties[256];
    char body[32];
    struct random *random = &w->crash.random;
    if (w->count == TIMERS_MAX)
        return;
    struct sent_timer *timer = &w->timers[w->count];
    int64_t span = random_below(random, 3) == 0 ? SPAN_MS : 3000;
    *timer = (struct sent_timer){.due_ms = w->crash.now_ms +
                                           (int64_t)random_below(random, (uint32_t)span)};
    (void)snprintf(properties, sizeof properties,
                   "TIMER_OUT_MS\1%" PRId64 "\2REAL_TOPIC\1" REAL "\2REAL_QID\1%d\2UNIQ_KEY\1k%d",
                   timer->due_ms, 0, w->count);
    (void)snprintf(body, sizeof body, "%d", w->count);
    timer->end_pos = append(w, properties, body);
    w->cancel_end[w->count++] = 0;
}

/* Far enough ahead that it is taken in in time, or it does not count as one. */
static void send_cancel(struct world *w)
{
    char properties[256];
    if (w->count == 0)
        return;
    int number = (int)random_below(&w->crash.random, (uint32_t)w->count);
    const struct sent_timer *timer = &w->timers[number];
    if (timer->lost || timer->due_ms < w->crash.now_ms + 5000 || w->cancel_end[number] != 0)
        return;
    (void)snprintf(properties, sizeof properties,
                   "TIMER_OUT_MS\1%" PRId64 "\2REAL_TOPIC\1" REAL
                   "\2REAL_QID\1%d\2TIMER_DEL_UNIQKEY\1" REAL "+k%d",
                   timer->due_ms, 0, number);
    w->cancel_end[number] = append(w, properties, "0");
}

static int number_at(struct world *w, struct queue *queue, int64_t offset)
{
    struct queue_entry entry;
    struct log_range range;
    struct record record;
    char text[32];
    assert_true(queue_entry_at(queue, offset, &entry));
    assert_int_equal(store_read_record(w->crash.store, entry.pos, &range), STATUS_OK);
    assert_int_equal(record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record),
                     STATUS_OK);
    (void)snprintf(text, sizeof text, "%.*s", SLICE_ARGS(record.body));
    int number = (int)strtol(text, NULL, 10);
    assert_in_range(number, 0, w->count - 1);
    if (record.store_timestamp_ms < w->timers[number].due_ms)
        crash_fail(&w->crash, "timer %d came %" PRId64 " ms early", number,
                   w->timers[number].due_ms - record.store_timestamp_ms);
    log_range_release(&range);
    return number;
}

/* Note what has been delivered since the last look. */
static void look(struct world *w)
{
    struct queue *queue = store_queue(w->crash.store, SLICE_LITERAL(REAL), 0, true);
    for (; w->seen < queue_max_offset(queue); w->seen++) {
        int number = number_at(w, queue, w->seen);
        struct sent_timer *timer = &w->timers[number];
        w->delivered[w->seen] = number;
        timer->delivered++;
        if (timer->delivered > 1 && (timer->safe || (w->kill && timer->journaled)))
            crash_fail(&w->crash, "timer %d was delivered again (saved: %d)", number, timer->safe);
        if (timer->cancelled)
            crash_fail(&w->crash, "timer %d was delivered although it was cancelled", number);
        assert_true(w->seen < TIMERS_MAX * 3 - 1);
    }
}

static void step(struct world *w)
{
    crash_dispatch(&w->crash);
    (void)timer_step(w->timer, w->crash.now_ms);
    crash_dispatch(&w->crash);
    if (!w->off)
        look(w);
}

static void mark(struct world *w, bool saved)
{
    for (int i = 0; i < w->count && !w->off; i++) {
        struct sent_timer *timer = &w->timers[i];
        timer->journaled |= timer->delivered > 0;
        timer->safe |= saved && timer->delivered > 0;
    }
}

static void journal(struct world *w, bool sync)
{
    struct err err;
    assert_int_equal(timer_journal_step(w->timer, &err), STATUS_OK);
    mark(w, false);
    if (sync)
        assert_int_equal(timer_journal_sync(w->timer, &err), STATUS_OK);
}

static void save(struct world *w)
{
    struct err err = {.text = ""};
    assert_int_equal(commitlog_flush(&w->crash.store->log), STATUS_OK);
    if (timer_persist(w->timer, &err) != STATUS_OK)
        crash_fail(&w->crash, "the progress cannot be saved: %s", err.text);
    mark(w, true);
}

static void delete_old(struct world *w)
{
    int64_t before = store_min_pos(w->crash.store);
    step(w);
    save(w);
    assert_int_equal(keeper_sync(&w->crash.store->keeper, true), STATUS_OK);
    crash_delete_old(&w->crash); /* asks the timers, who roll */
    for (int i = 0; i < 40; i++)
        step(w);
    save(w);
    assert_int_equal(keeper_sync(&w->crash.store->keeper, true), STATUS_OK);
    crash_delete_old(&w->crash);
    deletions += store_min_pos(w->crash.store) > before;
}

static void something(struct world *w)
{
    struct random *random = &w->crash.random;
    switch (random_below(random, 12)) {
    case 0:
    case 1:
    case 2:
        for (uint64_t i = random_below(random, 12); i > 0; i--)
            send_timer(w);
        break;
    case 3:
        send_cancel(w);
        break;
    case 4:
        assert_int_equal(commitlog_flush(&w->crash.store->log), STATUS_OK);
        break;
    case 5:
        journal(w, random_below(random, 2) == 0);
        break;
    case 6:
        save(w);
        break;
    case 7:
        w->crash.now_ms += (int64_t)random_below(random, SPAN_MS / 8);
        break;
    case 8:
        if (random_below(random, 4) == 0)
            delete_old(w);
        break;
    default:
        w->crash.now_ms += (int64_t)random_below(random, 800);
        step(w);
        break;
    }
}

/* --- the ends of lives --- */

/* The log may be shorter now: what is gone was never sent, or never delivered. */
static void forget_lost(struct world *w)
{
    int64_t end_pos = store_appended_pos(w->crash.store);
    crash_dispatch(&w->crash);
    const struct queue *queue = store_queue(w->crash.store, SLICE_LITERAL(REAL), 0, true);
    for (; w->seen > queue_max_offset(queue); w->seen--) {
        struct sent_timer *timer = &w->timers[w->delivered[w->seen - 1]];
        timer->delivered--;
        if (timer->safe)
            crash_fail(&w->crash, "a delivery is lost that was saved: timer %d",
                       w->delivered[w->seen - 1]);
        timer->journaled = false;
    }
    for (int i = 0; i < w->count; i++) {
        w->timers[i].lost |= w->timers[i].end_pos > end_pos;
        if (w->cancel_end[i] > end_pos) {
            w->cancel_end[i] = 0;
            w->timers[i].cancelled = false;
        }
    }
}

/* From here on the timers whose cancels are in the log and whose time has not come may not be
 * delivered. */
static void note_cancels(struct world *w)
{
    for (int i = 0; i < w->count; i++)
        if (w->cancel_end[i] != 0 && w->timers[i].due_ms > w->crash.now_ms + 1000 &&
            w->timers[i].delivered == 0)
            w->timers[i].cancelled = true;
}

static void next_life(struct world *w)
{
    struct random *random = &w->crash.random;
    static const enum sim_keep keeps[] = {SIM_KEEP_NONE, SIM_KEEP_ALL, SIM_KEEP_LATER,
                                          SIM_KEEP_SOME};
    if (!w->off) {
        w->off = true;
        crash_copy(&w->left, &w->crash);
    }
    sim_watch(w->crash.sim, 0, NULL, NULL);
    int64_t now_ms = w->crash.now_ms;
    struct random kept = w->crash.random;
    w->kill = random_below(random, 3) == 0;
    close_world(w);
    crash_release(&w->crash);
    w->crash = w->left;
    w->crash.clock.ctx = &w->crash;
    w->crash.random = kept;
    w->crash.now_ms = now_ms;
    struct sim_cut cut = {keeps[random_below(&w->crash.random, 4)], random_u64(&w->crash.random),
                          0};
    if (!w->kill)
        sim_power_cut(w->crash.sim, &cut);
    for (int i = 0; i < w->count && !w->kill; i++)
        w->timers[i].journaled = w->timers[i].safe;
    open_world(w);
    forget_lost(w);
    note_cancels(w);
    w->off = false;
    w->calls_left = INT64_MAX;
    for (int i = 0; i < 200; i++) /* all is taken in again */
        step(w);
    w->kill = false;
    checks++;
}

static void check_end(struct world *w)
{
    note_cancels(w);
    w->crash.now_ms += 2 * SPAN_MS;
    for (int i = 0; i < 400; i++)
        step(w);
    for (int i = 0; i < w->count; i++) {
        const struct sent_timer *timer = &w->timers[i];
        if (!timer->lost && timer->delivered == 0 && w->cancel_end[i] == 0)
            crash_fail(&w->crash, "timer %d, due %" PRId64 ", was not delivered", i, timer->due_ms);
    }
}

static void lives_of(uint64_t seed)
{
    struct world *w = xcalloc(1, sizeof *w);
    crash_init(&w->crash, seed);
    w->crash.what = "timers";
    w->calls_left = INT64_MAX;
    open_world(w);
    for (int life = 0; life < LIVES; life++) {
        w->calls_left = (int64_t)random_below(&w->crash.random, 400);
        sim_watch(w->crash.sim, SIM_CHANGES, before_call, w);
        for (int i = 0; i < STEPS && !w->off; i++)
            something(w);
        next_life(w);
    }
    check_end(w);
    close_world(w);
    crash_release(&w->crash);
    free(w);
}

static void power_cuts_and_kills(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = deletions = 0;
    crash_seeds_begin(&seeds, "power_cuts_and_kills", 5);
    while (crash_seeds_next(&seeds, &seed))
        lives_of(seed);
    crash_seeds_end(&seeds, "power_cuts_and_kills", checks);
    print_message("old parts of the log deleted: %" PRId64 "\n", deletions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cuts_and_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
