/* SPDX-License-Identifier: Apache-2.0
 *
 * The workload of crash tests. Proofs are in crash_verify.c.
 */
#include "test/unit/support/crash_kit.h"

#include "broker/store/append_batch.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/crash_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BATCH_MAX 8

/* --- seeds --- */

void crash_seeds_begin(struct crash_seeds *seeds, const char *test, double seconds)
{
    const char *one = getenv("CRASH_SEED");
    const char *longer = getenv("CRASH_SECONDS");
    *seeds = (struct crash_seeds){.one = one != NULL};
    if (longer != NULL)
        seconds = strtod(longer, NULL);
    if (one != NULL)
        seeds->next = strtoull(one, NULL, 0);
    else
        CHECK(getrandom(&seeds->next, sizeof seeds->next, 0) == sizeof seeds->next);
    seeds->deadline_ms = clock_monotonic_ms(clock_real()) + (int64_t)(seconds * 1000);
    printf("%s: CRASH_SEED=%" PRIu64 " and on\n", test, seeds->next);
    (void)fflush(stdout);
    if (getenv("CRASH_LOG") == NULL) {
        struct err err;
        struct log_options quiet = {"/dev/null", INT64_MAX, 1, LOG_ERROR};
        assert_int_equal(log_open(&quiet, &err), STATUS_OK);
    }
}

bool crash_seeds_next(struct crash_seeds *seeds, uint64_t *seed)
{
    if (seeds->count > 0 && (seeds->one || clock_monotonic_ms(clock_real()) >= seeds->deadline_ms))
        return false;
    *seed = seeds->next++;
    seeds->count++;
    return true;
}

void crash_seeds_end(const struct crash_seeds *seeds, const char *test, int64_t checks)
{
    printf("%s: %" PRId64 " workloads, %" PRId64 " stores opened after a cut\n", test, seeds->count,
           checks);
    (void)fflush(stdout);
    log_close();
}

static void print_file(void *ctx, const char *path, size_t size)
{
    (void)ctx;
    fprintf(stderr, "    %s, %zu bytes\n", path, size);
}

void crash_fail(const struct crash *crash, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "CRASH_SEED=%" PRIu64 ": %s, point %" PRId64 ": %s\n", crash->seed, crash->what,
            crash->point, text);
    if (getenv("CRASH_LOG") != NULL)
        sim_each_file(crash->sim, print_file, NULL);
    fail_msg("CRASH_SEED=%" PRIu64 ": %s", crash->seed, text);
    abort();
}

/* --- life --- */

static int64_t wall_ms(void *ctx)
{
    return ((struct crash *)ctx)->now_ms;
}

static int64_t monotonic_ns(void *ctx)
{
    return ((struct crash *)ctx)->now_ms * 1000000;
}

static const int64_t delay_levels_ms[] = {1000, 5000, 10000};

void crash_init(struct crash *crash, uint64_t seed)
{
    memset(crash, 0, sizeof *crash);
    crash->seed = seed;
    crash->what = "the workload";
    crash->random.state = seed;
    crash->now_ms = INT64_C(1700000000000);
    crash->clock = (struct clock){wall_ms, monotonic_ns, crash};
    crash->sim = sim_new();
    sim_used_percent(crash->sim, 50);
    crash->options = (struct store_options){
        .root = CRASH_ROOT,
        .commit_log = CRASH_LOG_FOLDER,
        .segment_bytes = 8192,
        .queue_file_bytes = 200,
        /* Few: some descriptors go before their entries are durable. */
        .queue_mappings_max = seed % 3 == 0 ? 2 : 0,
        .queue_descriptors_max = seed % 3 == 1 ? 2 : 0,
        .flush_timed = true,
        .flush_least_pages = 4,
        .flush_queues_least_pages = 2,
        .index_slots = 8,
        .index_entries = 40,
        .index_enable = true,
        .record_bytes_max = 1 << 20,
        .check_crc_on_recover = true,
        .role = STORE_ROLE_MASTER,
        .flush = seed % 2 == 0 ? STORE_FLUSH_SYNC : STORE_FLUSH_ASYNC,
        .flush_interval_ms = 3600000,
        .flush_thorough_interval_ms = 3600000,
        .flush_queues_interval_ms = 3600000,
        .flush_queues_thorough_interval_ms = 3600000,
        .file_reserved_hours = 72,
        .delete_when = "",
        .disk_max_used_percent = 75,
        .clean_forcibly = true,
        .clean_interval_ms = 3600000,
        .delay_levels_ms = delay_levels_ms,
        .delay_level_count = 3,
        .memory_bytes_hot = INT64_C(1) << 30,
        .transfer_bytes_memory = 262144,
        .transfer_count_memory = 32,
        .transfer_bytes_disk = 65536,
        .transfer_count_disk = 8,
        .hash_seed = seed | 1,
    };
}

void crash_release(struct crash *crash)
{
    if (crash->store != NULL)
        crash_close(crash);
    sim_free(crash->sim);
    free(crash->sent);
}

void crash_copy(struct crash *copy, struct crash *crash)
{
    *copy = *crash;
    copy->clock.ctx = copy;
    copy->sim = sim_clone(crash->sim);
    copy->store = NULL;
    copy->batch = NULL;
    copy->sent = xcalloc(crash->sent_capacity + 1, sizeof *copy->sent);
    if (crash->sent_count > 0)
        memcpy(copy->sent, crash->sent, crash->sent_count * sizeof *copy->sent);
    copy->durable_pos = crash_durable_pos(crash);
}

enum status crash_try_open(struct crash *crash, struct err *err)
{
    CHECK(crash->store == NULL);
    err->text[0] = '\0';
    enum status status =
        store_open(&crash->options, sim_vfs(crash->sim), &crash->clock, &crash->store, err);
    if (status == STATUS_OK)
        crash->batch = append_batch_new(crash->store);
    return status;
}

void crash_open(struct crash *crash)
{
    struct err err;
    enum status status = crash_try_open(crash, &err);
    if (status != STATUS_OK)
        crash_fail(crash, "the store does not open (%s): %s", status_name(status), err.text);
}

int64_t crash_durable_pos(const struct crash *crash)
{
    return crash->store == NULL ? crash->durable_pos : store_flushed_pos(crash->store);
}

void crash_close(struct crash *crash)
{
    store_stop(crash->store);
    crash->durable_pos = store_flushed_pos(crash->store);
    append_batch_free(crash->batch);
    store_close(crash->store);
    crash->batch = NULL;
    crash->store = NULL;
}

void crash_cut(struct crash *crash, const struct sim_cut *cut)
{
    struct sim *left = sim_clone(crash->sim);
    crash->durable_pos = crash_durable_pos(crash);
    int64_t durable_pos = crash->durable_pos;
    crash->failed += sim_failed(crash->sim);
    sim_watch(crash->sim, 0, NULL, NULL);
    if (crash->store != NULL)
        crash_close(crash); /* what it does to its disk now, nobody will see */
    crash->durable_pos = durable_pos;
    sim_free(crash->sim);
    crash->sim = left;
    if (cut != NULL)
        sim_power_cut(left, cut);
}

/* --- steps --- */

static struct sent *sent_add(struct crash *crash, const struct sent *sent)
{
    if (crash->sent_count == crash->sent_capacity) {
        crash->sent_capacity = crash->sent_capacity == 0 ? 256 : crash->sent_capacity * 2;
        crash->sent = xrealloc(crash->sent, crash->sent_capacity * sizeof *crash->sent);
    }
    crash->sent[crash->sent_count] = *sent;
    return &crash->sent[crash->sent_count++];
}

static uint32_t random_body_bytes(struct random *random)
{
    static const uint32_t most[] = {40, 200, 600, 3000};
    return 16 + random_below(random, most[random_below(random, 4)]);
}

static struct sent random_sent(struct crash *crash)
{
    static const int32_t flags[] = {0,
                                    0,
                                    0,
                                    0,
                                    0,
                                    SYS_FLAG_TRANSACTION_PREPARED,
                                    SYS_FLAG_TRANSACTION_COMMIT,
                                    SYS_FLAG_TRANSACTION_ROLLBACK};
    return (struct sent){
        .body_bytes = random_body_bytes(&crash->random),
        .topic = (uint8_t)random_below(&crash->random, CRASH_TOPICS),
        .queue_id = (uint8_t)random_below(&crash->random, CRASH_QUEUES),
        .sys_flag = flags[random_below(&crash->random, 8)],
        .wide_host = random_below(&crash->random, 8) == 0,
        .state = SENT_UNDER_WAY,
        .pos = -1,
    };
}

static void add_to_batch(struct crash *crash, const struct sent *sent, bool glued)
{
    uint8_t body[CRASH_BODY_BYTES_MAX];
    char properties[CRASH_PROPERTIES_BYTES];
    size_t number = crash->sent_count;
    struct record record = crash_message(number, sent, body, properties);
    record.born_timestamp_ms = crash->now_ms;
    (void)sent_add(crash, sent);
    struct queue *queue = store_queue(crash->store, record.topic, record.queue_id, true);
    CHECK(append_batch_add(crash->batch, queue, &record, glued, NULL) == STATUS_OK);
}

static void take_results(struct crash *crash, const struct append_result *results, size_t first)
{
    for (size_t i = first; i < crash->sent_count; i++) {
        const struct append_result *result = &results[i - first];
        struct sent *sent = &crash->sent[i];
        /* A glued group may be larger than a segment. */
        if (result->status != PUT_OK && result->status != PUT_MESSAGE_ILLEGAL && !crash->faults)
            crash_fail(crash, "message %zu was refused: %d", i, (int)result->status);
        sent->state = result->status == PUT_OK ? SENT_ACCEPTED : SENT_REFUSED;
        if (result->status != PUT_OK)
            continue;
        sent->pos = result->pos;
        sent->end_pos = result->end_pos;
        sent->queue_offset = result->queue_offset;
        sent->store_timestamp_ms = result->store_timestamp_ms;
    }
}

void crash_put(struct crash *crash, size_t count)
{
    size_t first = crash->sent_count;
    append_batch_clear(crash->batch);
    for (size_t i = 0; i < count; i++) {
        struct sent sent = random_sent(crash);
        bool glued = i > 0 && random_below(&crash->random, 3) == 0;
        if (glued) {
            sent.topic = crash->sent[crash->sent_count - 1].topic;
            sent.queue_id = crash->sent[crash->sent_count - 1].queue_id;
            sent.body_bytes = 16 + sent.body_bytes % 200;
        }
        add_to_batch(crash, &sent, glued);
    }
    take_results(crash, store_append(crash->store, crash->batch), first);
    append_batch_clear(crash->batch);
    if (crash->sent_count % 2 == 0) /* as a loop does */
        (void)dispatcher_try_round(&crash->store->dispatcher);
}

void crash_dispatch(struct crash *crash)
{
    while (dispatcher_round(&crash->store->dispatcher) == STATUS_OK)
        continue;
}

static bool is_doomed(void *ctx, struct slice topic)
{
    return slice_equal(topic, slice_of_cstr(ctx));
}

static void delete_topic(struct crash *crash)
{
    int topic = (int)random_below(&crash->random, CRASH_TOPICS);
    /* Before it happens: the power may go while it does. */
    crash->deleted[topic] = true;
    crash->gone[topic] = store_appended_pos(crash->store);
    store_delete_queues(crash->store, is_doomed, (void *)(uintptr_t)crash_topic(topic));
}

void crash_delete_old(struct crash *crash)
{
    struct retention *retention = &crash->store->keeper.retention;
    int64_t now_ms = retention->round_ms;
    sim_used_percent(crash->sim, 87);
    do {
        now_ms += crash->store->options.clean_interval_ms;
        (void)retention_step(retention, now_ms);
        /* A walk that meets a fault goes on for as long as that lasts. */
    } while (retention->in_round || (retention->in_walk && !retention->walk_again));
    sim_used_percent(crash->sim, 50);
    retention_watch_disk(&crash->store->keeper.retention);
}

/* A start, which a fault may have refused. */
static void begin_again(struct crash *crash)
{
    struct err err;
    int64_t durable_pos = crash->durable_pos;
    enum status status = crash_try_open(crash, &err);
    if (status != STATUS_OK && !(crash->faults && status != STATUS_CORRUPT))
        crash_fail(crash, "the store does not open again (%s): %s", status_name(status), err.text);
    if (status != STATUS_OK)
        return;
    sim_hold_faults(crash->sim, true);
    crash_verify(crash, durable_pos);
    sim_hold_faults(crash->sim, false);
}

static void end_and_begin(struct crash *crash, bool clean)
{
    if (clean)
        crash_close(crash);
    else
        crash_cut(crash, NULL);
    begin_again(crash);
}

/* As the keeper does: with the next file made there is space again. */
static void prepare_segment(struct store *store)
{
    struct err err;
    if (commitlog_prepare(&store->log, &err) == STATUS_OK)
        health_allow(&store->health, REFUSAL_NO_SPACE);
}

static void background_step(struct crash *crash, uint32_t kind)
{
    struct store *store = crash->store;
    if (kind < 22)
        (void)commitlog_flush(&store->log);
    else if (kind < 45)
        (void)dispatcher_round(&store->dispatcher);
    else if (kind < 55)
        (void)keeper_sync(&store->keeper, false);
    else if (kind < 75)
        (void)keeper_sync(&store->keeper, true);
    else if (kind < 85)
        prepare_segment(store);
    else if (kind < 90)
        delete_topic(crash);
    else
        crash_delete_old(crash);
}

void crash_step(struct crash *crash)
{
    if (crash->store == NULL) { /* a fault kept it from being opened */
        begin_again(crash);
        return;
    }
    crash->now_ms += random_below(&crash->random, 40);
    uint32_t kind = random_below(&crash->random, 200);
    if (kind < 100)
        crash_put(crash, 1 + random_below(&crash->random, BATCH_MAX));
    else if (kind < 194)
        background_step(crash, kind - 100);
    else
        end_and_begin(crash, kind < 197);
}
