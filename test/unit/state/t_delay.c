/* SPDX-License-Identifier: Apache-2.0
 *
 * Delayed messages on a real store: parsed levels; delivery when due, in order, to the real topic
 * and queue with unchanged properties; what cannot be delivered is dropped; what cannot be appended
 * now is tried again without holding up other levels; progress survives a restart and is brought
 * into the range of the queues.
 * Source: RMQ ScheduleMessageService.java; behaviour RT-10 to RT-14.
 */
#include "broker/state/delay.h"

#include "broker/state/topics.h"
#include "common/sys/log.h"
#include "proto/properties.h"
#include "state_test.h"

#include <stdatomic.h>
#include <time.h>

#define START_MS 1700000000000
#define GIVE_UP_MS 60000

/* Level 1: 1 s, level 2: 10 s, level 3: 1 min. */
static const int64_t levels_ms[] = {1000, 10000, 60000};
#define LEVELS 3

/* Wall time stands still until moved; monotonic time runs, for the store's threads. */
static _Atomic int64_t wall_ms;

static int64_t test_wall_ms(void *ctx)
{
    (void)ctx;
    return atomic_load(&wall_ms);
}

static int64_t test_monotonic_ns(void *ctx)
{
    (void)ctx;
    return clock_monotonic_ns(clock_real());
}

static const struct clock test_clock = {test_wall_ms, test_monotonic_ns, NULL};

struct fixture {
    struct folder folder;
    char path[PATH_BYTES];
    char log[PATH_BYTES];
    struct store_options options;
    struct store *store;
    struct append_batch *batch;
    struct delay *delay;
    struct arena arena;
};

static void open_store(struct fixture *f)
{
    struct err err = {.text = ""};
    if (store_open(&f->options, vfs_posix(), &test_clock, &f->store, &err) != STATUS_OK ||
        store_start(f->store, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    f->batch = append_batch_new(f->store);
}

static void open_delay(struct fixture *f)
{
    struct err err = {.text = ""};
    if (delay_load(f->path, vfs_posix(), f->store, levels_ms, LEVELS, &f->delay, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void close_all(struct fixture *f)
{
    delay_free(f->delay);
    append_batch_free(f->batch);
    store_close(f->store);
}

static void reopen(struct fixture *f)
{
    close_all(f);
    open_store(f);
    open_delay(f);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make(&f->folder);
    log_set_level(LOG_ERROR);
    atomic_store(&wall_ms, START_MS);
    f->options = (struct store_options){
        .root = f->folder.path,
        .commit_log = folder_file(&f->folder, "commitlog", f->log),
        .segment_bytes = 8 * 1024 * 1024,
        .queue_file_bytes = 20 * 1000,
        .index_slots = 64,
        .index_entries = 256,
        .record_bytes_max = 4 * 1024 * 1024,
        .check_crc_on_recover = true,
        .role = STORE_ROLE_MASTER,
        .flush = STORE_FLUSH_ASYNC,
        .flush_interval_ms = 20,
        .flush_timed = true,
        .flush_least_pages = 4,
        .flush_queues_least_pages = 2,
        .flush_thorough_interval_ms = 10000,
        .flush_queues_interval_ms = 50,
        .flush_queues_thorough_interval_ms = 60000,
        .file_reserved_hours = 72,
        .delete_when = "04",
        .disk_max_used_percent = 99,
        .clean_interval_ms = 10000,
        .delay_levels_ms = levels_ms,
        .delay_level_count = LEVELS,
        .memory_bytes_hot = 1 << 30,
        .transfer_bytes_memory = 262144,
        .transfer_count_memory = 32,
        .transfer_bytes_disk = 65536,
        .transfer_count_disk = 8,
    };
    (void)folder_file(&f->folder, "config/delayOffset.json", f->path);
    arena_init(&f->arena, 65536);
    open_store(f);
    open_delay(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_all(f);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

/* --- messages --- */

static int64_t max_of(const struct fixture *f, const char *topic, int queue_number)
{
    struct queue *queue = store_queue(f->store, slice_of_cstr(topic), queue_number, false);
    return queue == NULL ? 0 : queue_max_offset(queue);
}

static void wait_for(const struct fixture *f, const char *topic, int queue_number, int64_t max)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t give_up_ms = clock_monotonic_ms(clock_real()) + GIVE_UP_MS;
    while (max_of(f, topic, queue_number) < max) {
        if (clock_monotonic_ms(clock_real()) > give_up_ms)
            fail_msg("%s has no %lld messages", topic, (long long)max);
        (void)nanosleep(&pause, NULL);
    }
}

static void put(struct fixture *f, int level, const char *properties, const char *body)
{
    struct queue *queue = store_queue(f->store, slice_of_cstr(TOPIC_SCHEDULE), level - 1, true);
    struct record record = {
        .queue_id = level - 1,
        .flag = 7,
        .born_timestamp_ms = START_MS - 5,
        .born_host = {.ip = {10, 0, 0, 1}, .ip_bytes = 4, .port = 1000},
        .store_host = {.ip = {10, 0, 0, 2}, .ip_bytes = 4, .port = 10911},
        .reconsume_times = 2,
        .prepared_transaction_offset = 99,
        .body = slice_of_cstr(body),
        .topic = slice_of_cstr(TOPIC_SCHEDULE),
        .properties = slice_of_cstr(properties),
    };
    int64_t before = queue_max_offset(queue);
    append_batch_clear(f->batch);
    assert_int_equal(append_batch_add(f->batch, queue, &record, false, NULL), STATUS_OK);
    assert_int_equal(store_append(f->store, f->batch)->status, PUT_OK);
    wait_for(f, TOPIC_SCHEDULE, level - 1, before + 1);
}

static const char *properties_for(struct fixture *f, int level, const char *topic, int queue)
{
    return arena_printf(&f->arena, "TAGS\1TagA\2DELAY\1%d\2REAL_TOPIC\1%s\2REAL_QID\1%d\2KEYS\1k\2",
                        level, topic, queue);
}

static void put_for(struct fixture *f, int level, const char *topic, int queue, const char *body)
{
    put(f, level, properties_for(f, level, topic, queue), body);
}

static struct record message_at(struct fixture *f, const char *topic, int queue_number,
                                int64_t offset, int64_t *tags)
{
    struct queue *queue = store_queue(f->store, slice_of_cstr(topic), queue_number, false);
    struct queue_entry entry;
    struct log_range range;
    struct record record;
    wait_for(f, topic, queue_number, offset + 1);
    assert_true(queue_entry_at(queue, offset, &entry));
    assert_int_equal(store_read_record(f->store, entry.pos, &range), STATUS_OK);
    struct slice copy = arena_copy(&f->arena, slice_of(range.data, range.size));
    log_range_release(&range);
    assert_int_equal(record_decode(copy, RECORD_CHECK_CRC, &record), STATUS_OK);
    *tags = entry.tags_code;
    return record;
}

static void assert_body(struct fixture *f, const char *topic, int queue, int64_t offset,
                        const char *body)
{
    int64_t tags;
    struct record record = message_at(f, topic, queue, offset, &tags);
    if (!slice_is(record.body, body))
        fail_msg("found \"%.*s\" instead of \"%s\"", SLICE_ARGS(record.body), body);
}

static int64_t step_at(struct fixture *f, int64_t now_ms)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t give_up_ms = clock_monotonic_ms(clock_real()) + GIVE_UP_MS;
    atomic_store(&wall_ms, now_ms);
    while (store_dispatched_pos(f->store) < store_appended_pos(f->store)) {
        if (clock_monotonic_ms(clock_real()) > give_up_ms)
            fail_msg("dispatch does not follow");
        (void)nanosleep(&pause, NULL);
    }
    return delay_step(f->delay, now_ms);
}

/* --- levels --- */

static void the_default_levels_are_parsed(void **state)
{
    (void)state;
    static const int64_t wanted_s[] = {1,   5,   10,  30,  60,  120,  180,  240,  300,
                                       360, 420, 480, 540, 600, 1200, 1800, 3600, 7200};
    int64_t parsed[DELAY_LEVELS_MAX];
    int count;
    assert_int_equal(
        delay_levels_parse("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h", parsed,
                           &count, NULL),
        STATUS_OK);
    assert_int_equal(count, 18);
    for (int i = 0; i < count; i++)
        assert_int_equal(parsed[i], wanted_s[i] * 1000);
    assert_int_equal(delay_levels_parse("2d 0s  ", parsed, &count, NULL), STATUS_OK);
    assert_int_equal(count, 2);
    assert_int_equal(parsed[0], 2 * 86400000LL);
    assert_int_equal(parsed[1], 0);
}

static void bad_levels_are_named(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      " ",     "1s  2s", " 1s",  "1s 5x",
                                        "1s 5S", "1s s5", "s",      "1s 5", "99999999999999999d",
                                        "1s,2s", "1.5s",  "1s\t2s"};
    int64_t parsed[DELAY_LEVELS_MAX];
    int count = -1;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct err err = {.text = ""};
        assert_int_equal(delay_levels_parse(texts[i], parsed, &count, &err), STATUS_MALFORMED);
        assert_non_null(strstr(err.text, "messageDelayLevel"));
    }
    struct err err;
    assert_int_equal(delay_levels_parse("1s 5x 3s", parsed, &count, &err), STATUS_MALFORMED);
    assert_non_null(strstr(err.text, "level 2, \"5x\""));

    struct buf many = BUF_EMPTY;
    for (int i = 0; i < DELAY_LEVELS_MAX; i++)
        buf_append_cstr(&many, i == 0 ? "1s" : " 1s");
    buf_append_byte(&many, 0);
    assert_int_equal(delay_levels_parse((const char *)many.data, parsed, &count, NULL), STATUS_OK);
    assert_int_equal(count, DELAY_LEVELS_MAX);
    many.size--;
    buf_append_cstr(&many, " 1s");
    buf_append_byte(&many, 0);
    assert_int_equal(delay_levels_parse((const char *)many.data, parsed, &count, NULL),
                     STATUS_TOO_LARGE);
    buf_release(&many);
}

/* --- delivery --- */

static void nothing_to_do_waits(void **state)
{
    struct fixture *f = *state;
    DelayOffsetSerializeWrapper body;
    assert_int_equal(step_at(f, START_MS), 100);
    assert_int_equal(delay_offset(f->delay, 1), 0);
    delay_wrap(f->delay, &f->arena, &body);
    assert_int_equal(body.n_offset_table, 0);
}

static void a_message_is_delivered_when_due(void **state)
{
    struct fixture *f = *state;
    put_for(f, 1, "Real", 3, "hello");
    assert_int_equal(step_at(f, START_MS + 1), 100);
    assert_int_equal(step_at(f, START_MS + 970), 30);
    assert_int_equal(step_at(f, START_MS + 999), 1);
    assert_int_equal(delay_delivered(f->delay), 0);
    assert_int_equal(delay_offset(f->delay, 1), 0);
    assert_int_equal(step_at(f, START_MS + 1000), 100);
    assert_int_equal(delay_delivered(f->delay), 1);
    assert_int_equal(delay_offset(f->delay, 1), 1);

    int64_t tags;
    struct record record = message_at(f, "Real", 3, 0, &tags);
    assert_true(slice_is(record.body, "hello"));
    assert_true(slice_is(record.topic, "Real"));
    assert_int_equal(record.queue_id, 3);
    assert_int_equal(record.queue_offset, 0);
    assert_true(slice_is(record.properties, properties_for(f, 1, "Real", 3)));
    assert_int_equal(record.flag, 7);
    assert_int_equal(record.born_timestamp_ms, START_MS - 5);
    assert_int_equal(record.born_host.port, 1000);
    assert_int_equal(record.store_host.port, 10911);
    assert_int_equal(record.reconsume_times, 2);
    assert_int_equal(record.prepared_transaction_offset, 0);
    assert_int_equal(record.store_timestamp_ms, START_MS + 1000);
    assert_int_equal(tags, tags_code(SLICE_LITERAL("TagA")));

    assert_int_equal(step_at(f, START_MS + 100000), 100); /* once only */
    assert_int_equal(max_of(f, "Real", 3), 1);
}

/* 4.9.2 with enableConsumeQueueExt has the time elsewhere and a position in its place: the time is
 * the store time and the level's delay. Source: ScheduleMessageService.java, executeOnTimeup. */
static void a_time_that_the_queue_does_not_have_is_computed(void **state)
{
    struct fixture *f = *state;
    char path[PATH_BYTES];
    uint8_t elsewhere[8];
    put_for(f, 2, "Real", 0, "first");
    atomic_store(&wall_ms, START_MS + 10);
    put_for(f, 2, "Real", 0, "second");
    close_all(f);
    FILE *file = fopen(
        folder_file(&f->folder, "consumequeue/SCHEDULE_TOPIC_XXXX/1/00000000000000000000", path),
        "r+b");
    assert_non_null(file);
    for (int i = 0; i < 2; i++) {
        put_i64(elsewhere, INT64_MIN + 100 * i);
        assert_int_equal(fseek(file, 20 * i + 12, SEEK_SET), 0);
        assert_int_equal(fwrite(elsewhere, sizeof elsewhere, 1, file), 1);
    }
    assert_int_equal(fclose(file), 0);
    open_store(f);
    open_delay(f);
    assert_int_equal(step_at(f, START_MS + 9990), 10);
    assert_int_equal(delay_delivered(f->delay), 0);
    assert_int_equal(step_at(f, START_MS + 10000), 10);
    assert_body(f, "Real", 0, 0, "first");
    assert_int_equal(delay_delivered(f->delay), 1);
    (void)step_at(f, START_MS + 10010);
    assert_body(f, "Real", 0, 1, "second");
}

static void levels_keep_their_order_and_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    put_for(f, 3, "Real", 0, "third");
    put_for(f, 1, "Real", 0, "first");
    put_for(f, 2, "Real", 0, "second");
    atomic_store(&wall_ms, START_MS + 10);
    put_for(f, 1, "Real", 0, "after first");
    assert_int_equal(step_at(f, START_MS + 1000), 10);
    (void)step_at(f, START_MS + 1010);
    (void)step_at(f, START_MS + 10000);
    assert_int_equal(delay_delivered(f->delay), 3);
    (void)step_at(f, START_MS + 60000);
    assert_body(f, "Real", 0, 0, "first");
    assert_body(f, "Real", 0, 1, "after first");
    assert_body(f, "Real", 0, 2, "second");
    assert_body(f, "Real", 0, 3, "third");
    assert_int_equal(delay_delivered(f->delay), 4);
}

static void many_are_delivered_in_batches(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 600; i++) {
        char body[16];
        (void)snprintf(body, sizeof body, "%d", i);
        put_for(f, 1, i % 2 == 0 ? "Even" : "Odd", 0, body);
    }
    assert_int_equal(step_at(f, START_MS + 5000), 0);
    assert_int_equal(delay_delivered(f->delay), 256);
    assert_int_equal(step_at(f, START_MS + 5000), 0);
    assert_int_equal(step_at(f, START_MS + 5000), 100);
    assert_int_equal(delay_delivered(f->delay), 600);
    for (int i = 0; i < 600; i += 37) {
        char body[16];
        (void)snprintf(body, sizeof body, "%d", i);
        assert_body(f, i % 2 == 0 ? "Even" : "Odd", 0, i / 2, body);
    }
}

/* Stored while the clock was ahead: due would be a day from now, though the level is 1 s. */
static void a_clock_set_back_does_not_hold_messages(void **state)
{
    struct fixture *f = *state;
    atomic_store(&wall_ms, START_MS + 86400000);
    put_for(f, 1, "Real", 0, "early");
    (void)step_at(f, START_MS);
    assert_int_equal(delay_delivered(f->delay), 1);
}

static void what_can_never_be_delivered_is_dropped(void **state)
{
    struct fixture *f = *state;
    static const char *const hopeless[] = {
        "DELAY\0011\2REAL_QID\0010\2",
        "DELAY\0011\2REAL_TOPIC\1Real\2",
        "DELAY\0011\2REAL_TOPIC\1../Real\2REAL_QID\0010\2",
        "DELAY\0011\2REAL_TOPIC\1Real\2REAL_QID\1x\2",
        "DELAY\0011\2REAL_TOPIC\1Real\2REAL_QID\1-1\2",
        "DELAY\0011\2REAL_TOPIC\1Real\2REAL_QID\00199999999\2",
        "DELAY\0011\2REAL_TOPIC\1RMQ_SYS_TRANS_HALF_TOPIC\2REAL_QID\0010\2",
    };
    size_t count = sizeof hopeless / sizeof hopeless[0];
    for (size_t i = 0; i < count; i++)
        put(f, 1, hopeless[i], "lost");
    put_for(f, 1, "Real", 0, "good");
    assert_int_equal(step_at(f, START_MS + 1000), 100);
    assert_int_equal(delay_delivered(f->delay), 1);
    assert_int_equal(delay_offset(f->delay, 1), count + 1);
    assert_body(f, "Real", 0, 0, "good");
    assert_int_equal(max_of(f, TOPIC_TRANS_HALF, 0), 0);
}

static void a_damaged_record_is_dropped(void **state)
{
    struct fixture *f = *state;
    char segment[PATH_BYTES];
    put_for(f, 1, "Real", 0, "MARKER-body");
    put_for(f, 1, "Real", 0, "good");
    (void)folder_file(&f->folder, "commitlog/00000000000000000000", segment);
    FILE *file = fopen(segment, "r+b");
    assert_non_null(file);
    char bytes[2048];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    char *found = memmem(bytes, size, "MARKER", 6);
    assert_non_null(found);
    assert_int_equal(fseek(file, found - bytes, SEEK_SET), 0);
    assert_int_equal(fputc('m', file), 'm');
    assert_int_equal(fclose(file), 0);

    (void)step_at(f, START_MS + 1000);
    assert_int_equal(delay_delivered(f->delay), 1);
    assert_int_equal(delay_offset(f->delay, 1), 2);
    assert_body(f, "Real", 0, 0, "good");
}

/* A store that refuses appends: the offset stays. */
static void a_refused_append_loses_nothing(void **state)
{
    struct fixture *f = *state;
    put_for(f, 1, "Real", 0, "one");
    put_for(f, 1, "Real", 0, "two");
    f->options.role = STORE_ROLE_SLAVE;
    reopen(f);
    (void)step_at(f, START_MS + 1000);
    assert_int_equal(delay_delivered(f->delay), 0);
    assert_int_equal(delay_offset(f->delay, 1), 0);

    f->options.role = STORE_ROLE_MASTER;
    reopen(f);
    (void)step_at(f, START_MS + 2000);
    assert_int_equal(delay_delivered(f->delay), 2);
    assert_body(f, "Real", 0, 0, "one");
    assert_body(f, "Real", 0, 1, "two");
    assert_int_equal(max_of(f, "Real", 0), 2);
}

/* What was taken is delivered, though maxMessageSize has shrunk, or the name of the real topic
 * makes the record larger than that. */
static void a_message_too_large_now_is_delivered_all_the_same(void **state)
{
    struct fixture *f = *state;
    char large[2000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    put_for(f, 1, "Real", 0, "small");
    put_for(f, 1, "Real", 0, large);
    put_for(f, 1, "Real", 0, "behind");
    f->options.record_bytes_max = 1000;
    reopen(f);
    (void)step_at(f, START_MS + 10000);
    assert_int_equal(delay_delivered(f->delay), 3);
    assert_body(f, "Real", 0, 0, "small");
    assert_body(f, "Real", 0, 1, large);
    assert_body(f, "Real", 0, 2, "behind");
}

/* --- progress --- */

static void progress_survives_a_restart(void **state)
{
    struct fixture *f = *state;
    put_for(f, 1, "Real", 0, "one");
    put_for(f, 2, "Real", 0, "two");
    (void)step_at(f, START_MS + 1000);
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK);
    /* Not ahead of the log, though so little would not be flushed for a long time. */
    assert_int_equal(store_flushed_pos(f->store), store_appended_pos(f->store));
    assert_file_is(f->path, "{\n\t\"offsetTable\":{1:1,2:0\n\t}\n}");
    reopen(f);
    assert_int_equal(delay_offset(f->delay, 1), 1);
    (void)step_at(f, START_MS + 10000);
    assert_int_equal(delay_delivered(f->delay), 1); /* since the restart */
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK);
    assert_file_is(f->path, "{\n\t\"offsetTable\":{1:1,2:1\n\t}\n}");
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK); /* unchanged */
    assert_false(file_exists(f->path));
    assert_int_equal(max_of(f, "Real", 0), 2);
}

static void journal_step(struct fixture *f)
{
    struct err err = {.text = ""};
    if (delay_journal_step(f->delay, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

/* After a crash what was delivered before the last step of the journal is not delivered again. */
static void progress_survives_a_crash(void **state)
{
    struct fixture *f = *state;
    put_for(f, 1, "Real", 0, "one");
    put_for(f, 2, "Real", 0, "two");
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK);
    for (int i = 1; i <= 3; i++) {
        (void)step_at(f, START_MS + i * 1000);
        journal_step(f);
        reopen(f);
        assert_int_equal(delay_offset(f->delay, 1), i);
        assert_int_equal(delay_offset(f->delay, 2), 0);
        put_for(f, 1, "Real", 0, "next");
    }
    (void)step_at(f, START_MS + 10000);
    journal_step(f);
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK);
    assert_file_is(f->path, "{\n\t\"offsetTable\":{1:4,2:1\n\t}\n}");
    char journal[PATH_BYTES];
    assert_false(file_exists(folder_file(&f->folder, "config/delayOffset.journal.0", journal)));
    assert_false(file_exists(folder_file(&f->folder, "config/delayOffset.journal.1", journal)));
    reopen(f);
    (void)step_at(f, START_MS + 20000);
    assert_int_equal(max_of(f, "Real", 0), 5);
}

/* Zeros from `pos` to the end of the log: what a power cut leaves of what was not synced. */
static void lose_log(struct fixture *f, int64_t pos)
{
    char path[PATH_BYTES];
    int fd;
    (void)folder_file(&f->folder, "commitlog/00000000000000000000", path);
    const struct vfs_ops *ops = vfs_posix()->ops;
    assert_int_equal(ops->open(vfs_posix(), path, VFS_WRITE, &fd), STATUS_OK);
    assert_int_equal(ops->zero(vfs_posix(), fd, pos, f->options.segment_bytes - pos, true),
                     STATUS_OK);
    assert_int_equal(ops->close(vfs_posix(), fd), STATUS_OK);
}

/* The journal was on disk and the delivered messages were not: they are delivered again. When the
 * log has grown as far again with other messages, the journal does not count after all. */
static void progress_is_not_ahead_of_a_log_that_was_lost(void **state)
{
    struct fixture *f = *state;
    put_for(f, 1, "Real", 0, "one");
    put_for(f, 1, "Real", 0, "two");
    (void)step_at(f, START_MS + 1000);
    journal_step(f);
    put_for(f, 1, "Real", 0, "three");
    int64_t lost_from = store_appended_pos(f->store);
    (void)step_at(f, START_MS + 2000);
    journal_step(f);
    assert_int_equal(delay_offset(f->delay, 1), 3);
    int64_t lost_to = store_appended_pos(f->store);
    assert_true(lost_to > lost_from);

    close_all(f);
    lose_log(f, lost_from);
    open_store(f);
    assert_int_equal(store_appended_pos(f->store), lost_from);
    open_delay(f);
    assert_int_equal(delay_offset(f->delay, 1), 2);

    while (store_appended_pos(f->store) < lost_to)
        put_for(f, 2, "Real", 0, "other");
    reopen(f);
    assert_int_equal(delay_offset(f->delay, 1), 2);
    (void)step_at(f, START_MS + 2000);
    assert_body(f, "Real", 0, 2, "three");
}

static void the_file_of_4_9_2_is_kept_also_beyond_our_levels(void **state)
{
    struct fixture *f = *state;
    delay_free(f->delay);
    assert_int_equal(
        vfs_posix()->ops->mkdirs(vfs_posix(), arena_printf(&f->arena, "%s/config", f->folder.path)),
        STATUS_OK);
    file_copy("test/data/store-config/delayOffset.json", f->path); /* 1:18,2:6,3:6,18:0 */
    open_delay(f);
    assert_int_equal(delay_offset(f->delay, 1), 18);
    assert_int_equal(delay_offset(f->delay, 18), 0);
    /* Our queues are empty: offsets behind them would skip the messages to come. */
    put_for(f, 1, "Real", 0, "one");
    (void)step_at(f, START_MS);
    assert_int_equal(delay_offset(f->delay, 1), 1); /* brought back to the end of its queue */
    assert_int_equal(delay_offset(f->delay, 2), 0); /* its queue does not exist */
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK);
    assert_file_is(f->path, "{\n\t\"offsetTable\":{1:1,2:0,3:0,18:0\n\t}\n}");
    put_for(f, 2, "Real", 0, "two");
    (void)step_at(f, START_MS + 10000);
    assert_body(f, "Real", 0, 0, "two");
}

static void a_damaged_file_falls_back_or_is_refused(void **state)
{
    struct fixture *f = *state;
    char backup[PATH_BYTES];
    struct err err;
    put_for(f, 1, "Real", 0, "one");
    (void)step_at(f, START_MS + 1000);
    assert_int_equal(delay_persist(f->delay, NULL), STATUS_OK);
    (void)folder_file(&f->folder, "config/delayOffset.json.bak", backup);
    file_copy(f->path, backup);
    file_write(f->path, "");
    delay_free(f->delay);
    open_delay(f);
    assert_int_equal(delay_offset(f->delay, 1), 1);

    struct delay *refused;
    file_write(backup, "{\"offsetTable\":{1:");
    assert_int_equal(delay_load(f->path, vfs_posix(), f->store, levels_ms, LEVELS, &refused, &err),
                     STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "delay offsets"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_levels_are_parsed),
        cmocka_unit_test(bad_levels_are_named),
        TEST(nothing_to_do_waits),
        TEST(a_message_is_delivered_when_due),
        TEST(a_time_that_the_queue_does_not_have_is_computed),
        TEST(levels_keep_their_order_and_do_not_wait_for_each_other),
        TEST(many_are_delivered_in_batches),
        TEST(a_clock_set_back_does_not_hold_messages),
        TEST(what_can_never_be_delivered_is_dropped),
        TEST(a_damaged_record_is_dropped),
        TEST(a_refused_append_loses_nothing),
        TEST(a_message_too_large_now_is_delivered_all_the_same),
        TEST(progress_survives_a_restart),
        TEST(progress_survives_a_crash),
        TEST(progress_is_not_ahead_of_a_log_that_was_lost),
        TEST(the_file_of_4_9_2_is_kept_also_beyond_our_levels),
        TEST(a_damaged_file_falls_back_or_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
