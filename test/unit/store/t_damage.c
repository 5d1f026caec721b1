/* SPDX-License-Identifier: Apache-2.0
 *
 * A good store, ended cleanly or killed, of which one file is damaged: bits flipped, bytes cut off
 * or added, parts overwritten or zeroed, a file missing, a file too many, a file of another store.
 * It opens, or is refused with words that name a file or folder in it. Refused, a store that had
 * ended cleanly is byte for byte as it was, and with the damage undone every store opens whole.
 * Opened, nothing is missing that was not in the damage or behind it in the log, what recovery cut
 * is kept, messages can be sent and read, and the next start opens it too.
 *
 * Source of the rules: docs/store.md, "Opening" and "Reading".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/aside.h"
#include "common/base/arena.h"
#include "common/base/check.h"
#include "test/unit/support/crash_kit.h"
#include "test/unit/support/crash_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MAX 400
#define STEPS 90

static int64_t opened;
static int64_t refused;

enum damage {
    FLIP_BITS,
    OVERWRITE,
    ZERO_PART,
    CUT_OFF,
    ADD_BYTES,
    EMPTY,
    MISSING,
    FOREIGN, /* content of another file */
    UNKNOWN_FILE,
    DAMAGES
};

struct paths {
    char (*list)[160];
    size_t count;
};

struct trial {
    struct crash *good;
    struct crash after;
    struct random *random;
    enum damage damage;
    char path[160];  /* of the damaged file */
    int64_t log_pos; /* first damaged byte of the commit log; INT64_MAX: none */
    bool any_log;    /* it is a file of the commit log */
};

static void add_path(void *ctx, const char *path, size_t size)
{
    struct paths *paths = ctx;
    (void)size;
    CHECK(paths->count < PATHS_MAX);
    (void)snprintf(paths->list[paths->count++], sizeof paths->list[0], "%s", path);
}

static void pick_path(struct trial *trial, char path[160])
{
    static char list[PATHS_MAX][160];
    struct paths paths = {list, 0};
    sim_each_file(trial->good->sim, add_path, &paths);
    (void)snprintf(path, 160, "%s", list[random_below(trial->random, (uint32_t)paths.count)]);
}

/* --- damaging --- */

static void damage_bytes(struct trial *trial, size_t from, size_t size)
{
    size_t all;
    uint8_t *bytes = sim_bytes(trial->after.sim, trial->path, &all);
    for (size_t i = from; i < from + size && i < all; i++) {
        uint8_t before = bytes[i];
        if (trial->damage == FLIP_BITS)
            bytes[i] ^= (uint8_t)(1 << random_below(trial->random, 8));
        else
            bytes[i] = trial->damage == ZERO_PART ? 0 : (uint8_t)random_u64(trial->random);
        if (bytes[i] != before && trial->any_log &&
            strtoll(strrchr(trial->path, '/') + 1, NULL, 10) + (int64_t)i < trial->log_pos)
            trial->log_pos = strtoll(strrchr(trial->path, '/') + 1, NULL, 10) + (int64_t)i;
    }
}

static void damage_size(struct trial *trial, size_t size)
{
    size_t now = size;
    if (trial->damage == EMPTY)
        size = 0;
    else if (trial->damage == CUT_OFF && size > 0)
        size = random_below(trial->random, (uint32_t)size);
    else if (trial->damage == ADD_BYTES)
        size += 1 + random_below(trial->random, 300);
    sim_resize(trial->after.sim, trial->path, size);
    if (trial->any_log && size < now)
        trial->log_pos = strtoll(strrchr(trial->path, '/') + 1, NULL, 10) + (int64_t)size;
}

static void damage_foreign(struct trial *trial)
{
    char other[160];
    size_t other_size;
    size_t size;
    pick_path(trial, other);
    const uint8_t *from = sim_bytes(trial->good->sim, other, &other_size);
    sim_resize(trial->after.sim, trial->path, other_size);
    uint8_t *to = sim_bytes(trial->after.sim, trial->path, &size);
    memcpy(to, from, size);
    if (trial->any_log && strcmp(other, trial->path) != 0)
        trial->log_pos = strtoll(strrchr(trial->path, '/') + 1, NULL, 10);
}

static void damage_unknown(struct trial *trial)
{
    static const char *const names[] = {"/x", ".tmp", "/00000000000000000001x", "0", ".swp"};
    char *slash = strrchr(trial->path, '/');
    (void)snprintf(slash, sizeof trial->path - (size_t)(slash - trial->path), "%s",
                   names[random_below(trial->random, 5)]);
    sim_resize(trial->after.sim, trial->path, random_below(trial->random, 9000));
    trial->any_log = false;
}

static void damage(struct trial *trial)
{
    struct random *random = trial->random;
    size_t size = 0;
    trial->damage = (enum damage)random_below(random, DAMAGES);
    pick_path(trial, trial->path);
    trial->any_log = strstr(trial->path, "/commitlog/") != NULL;
    trial->log_pos = INT64_MAX;
    (void)sim_bytes(trial->after.sim, trial->path, &size);
    switch (trial->damage) {
    case FLIP_BITS:
        damage_bytes(trial, random_below(random, (uint32_t)size + 1), 1);
        break;
    case OVERWRITE:
    case ZERO_PART:
        damage_bytes(trial, random_below(random, (uint32_t)size + 1),
                     1 + random_below(random, 1500));
        break;
    case CUT_OFF:
    case ADD_BYTES:
    case EMPTY:
        damage_size(trial, size);
        break;
    case MISSING:
        sim_remove(trial->after.sim, trial->path);
        if (trial->any_log)
            trial->log_pos = strtoll(strrchr(trial->path, '/') + 1, NULL, 10);
        break;
    case FOREIGN:
        damage_foreign(trial);
        break;
    default:
        damage_unknown(trial);
    }
}

/* --- afterwards --- */

static void check_refusal(struct trial *trial, enum status status, const struct err *err,
                          uint64_t digest, bool clean)
{
    struct crash *after = &trial->after;
    if (status != STATUS_CORRUPT)
        crash_fail(after, "refused with %s: %s", status_name(status), err->text);
    if (strstr(err->text, CRASH_ROOT) == NULL)
        crash_fail(after, "the refusal names no file: %s", err->text);
    if (clean && sim_digest(after->sim) != digest)
        crash_fail(after, "the refusal has changed something: %s", err->text);
    refused++;
    /* Undo the damage, where the damaged file is still there to be undone. */
    size_t good_size = 0;
    size_t size = 0;
    const uint8_t *good = sim_bytes(trial->good->sim, trial->path, &good_size);
    if (good == NULL)
        sim_remove(after->sim, trial->path);
    else {
        sim_resize(after->sim, trial->path, good_size);
        memcpy(sim_bytes(after->sim, trial->path, &size), good, good_size);
    }
    crash_open(after);
    crash_verify(after, trial->good->durable_pos);
}

static bool reads_back(struct crash *after, size_t number)
{
    uint8_t body[CRASH_BODY_BYTES_MAX];
    char properties[CRASH_PROPERTIES_BYTES];
    const struct sent *sent = &after->sent[number];
    struct log_range range;
    struct record record;
    if (store_read_record(after->store, sent->pos, &range) != STATUS_OK)
        return false;
    struct record want = crash_message(number, sent, body, properties);
    bool same =
        record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record) == STATUS_OK &&
        slice_equal(record.body, want.body) && slice_equal(record.topic, want.topic) &&
        slice_equal(record.properties, want.properties);
    log_range_release(&range);
    return same;
}

static void count_cut(void *ctx, const char *path, size_t size)
{
    if (strncmp(path, CRASH_ROOT "/cut/", sizeof CRASH_ROOT "/cut/" - 1) == 0)
        *(int64_t *)ctx += (int64_t)size;
}

/* Messages before the damage are there; those behind it are there or were kept aside. */
static void check_messages(struct trial *trial)
{
    struct crash *after = &trial->after;
    int64_t missing = 0;
    int64_t kept = 0;
    for (size_t i = 0; i < after->sent_count; i++) {
        const struct sent *sent = &after->sent[i];
        if (sent->state != SENT_ACCEPTED || sent->pos < store_min_pos(after->store) ||
            reads_back(after, i))
            continue;
        if (sent->end_pos <= trial->log_pos)
            crash_fail(after, "message %zu at %" PRId64 " is gone, the damage is in %s at %" PRId64,
                       i, sent->pos, trial->path, trial->log_pos);
        missing += sent->pos > trial->log_pos;
    }
    sim_each_file(after->sim, count_cut, &kept);
    bool flipped = trial->damage == FLIP_BITS; /* the others may hold all that is missing */
    if (missing > 1 && kept == 0 && flipped)
        crash_fail(after, "%" PRId64 " messages behind the damage in %s are gone and not kept",
                   missing, trial->path);
}

/* Whatever the queues say now, pulls end and bring whole records or nothing the log has not. */
static void pull_everything(struct crash *after, int topic, int id)
{
    struct queue *queue = store_queue(after->store, slice_of_cstr(crash_topic(topic)), id, true);
    struct arena arena;
    arena_init(&arena, 4096);
    int64_t next = queue_min_offset(queue);
    int64_t end = queue_max_offset(queue);
    (void)queue_offset_by_time(queue, after->now_ms);
    (void)queue_store_time(queue, next);
    while (next < end) {
        struct get_result got;
        store_get(after->store, queue, next, 32, NULL, NULL, &arena, &got);
        for (int i = 0; i < got.range_count; i++)
            log_range_release(&got.ranges[i]);
        if (got.next_begin_offset <= next)
            break; /* a file that cannot be read: asked for again */
        next = got.next_begin_offset;
        arena_reset(&arena);
    }
    arena_release(&arena);
}

static void look_up_keys(struct crash *after)
{
    int64_t found[64];
    int64_t last_ms;
    int64_t last_pos;
    for (size_t i = 0; i < after->sent_count; i += 7) {
        char key[32];
        crash_key(i, key);
        int count =
            store_query_index(after->store, slice_of_cstr(crash_topic(after->sent[i].topic)),
                              slice_of_cstr(key), 64, 0, INT64_MAX, found, &last_ms, &last_pos);
        for (int j = 0; j < count; j++) {
            struct log_range range;
            if (store_read_record(after->store, found[j], &range) == STATUS_OK)
                log_range_release(&range);
        }
    }
}

static void check_opened(struct trial *trial)
{
    struct crash *after = &trial->after;
    opened++;
    check_messages(trial);
    for (int topic = 0; topic < CRASH_TOPICS; topic++) {
        for (int id = 0; id < CRASH_QUEUES; id++)
            pull_everything(after, topic, id);
    }
    look_up_keys(after);
    after->faults = true; /* refusals are allowed: something is damaged */
    crash_put(after, 3);
    crash_dispatch(after);
    crash_close(after);
    struct err err;
    enum status status = crash_try_open(after, &err);
    if (status != STATUS_OK)
        crash_fail(after, "opened once with the damage in %s, and then refused: %s", trial->path,
                   err.text);
}

static void one_trial(struct crash *good, struct random *random, bool clean)
{
    static const char *const names[] = {"flipped bits", "overwritten",  "zeroed",
                                        "cut off",      "bytes added",  "emptied",
                                        "missing",      "foreign file", "unknown file"};
    struct trial trial = {.good = good, .random = random};
    char what[256];
    crash_copy(&trial.after, good);
    damage(&trial);
    (void)snprintf(what, sizeof what, "%s: %s", names[trial.damage], trial.path);
    trial.after.what = what;
    uint64_t digest = sim_digest(trial.after.sim);
    struct err err;
    enum status status = crash_try_open(&trial.after, &err);
    if (status == STATUS_OK)
        check_opened(&trial);
    else
        check_refusal(&trial, status, &err, digest, clean);
    crash_release(&trial.after);
}

static void damaged_anywhere(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    opened = refused = 0;
    crash_seeds_begin(&seeds, "damaged_anywhere", 5);
    while (crash_seeds_next(&seeds, &seed)) {
        struct crash good;
        bool clean = seed % 2 == 0;
        crash_init(&good, seed);
        crash_open(&good);
        for (int i = 0; i < STEPS; i++)
            crash_step(&good);
        crash_dispatch(&good);
        good.durable_pos = store_appended_pos(good.store);
        if (clean)
            crash_close(&good);
        else
            crash_cut(&good, NULL);
        for (good.point = 0; good.point < 60; good.point++)
            one_trial(&good, &good.random, clean);
        crash_release(&good);
    }
    printf("damaged_anywhere: %" PRId64 " opened, %" PRId64 " refused\n", opened, refused);
    crash_seeds_end(&seeds, "damaged_anywhere", opened + refused);
}

/* What the line about a cut says of whole records behind it. */
static void whole_records_are_counted(void **state)
{
    (void)state;
    struct crash crash;
    crash_init(&crash, 4711);
    crash_open(&crash);
    crash_put(&crash, 3);
    crash_put(&crash, 2);
    struct segment *segment = commitlog_acquire(&crash.store->log, 0);
    int64_t end = store_appended_pos(crash.store);
    assert_int_equal(aside_whole_records(segment, 0, end), 5);
    assert_int_equal(aside_whole_records(segment, 1, end), 4);
    size_t size;
    uint8_t *bytes = sim_bytes(crash.sim, CRASH_LOG_FOLDER "/00000000000000000000", &size);
    bytes[crash.sent[2].pos + 9] ^= 1; /* its checksum */
    assert_int_equal(aside_whole_records(segment, 0, end), 4);
    assert_int_equal(aside_whole_records(segment, end, segment_end(segment)), 0);
    segment_drop(segment);
    crash_release(&crash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_anywhere),
        cmocka_unit_test(whole_records_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
