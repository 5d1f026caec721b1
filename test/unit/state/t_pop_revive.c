/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper of popped messages on a real store: what is not acknowledged comes again in the retry
 * topic, as it was; checkpoints and acknowledgements outlive a restart; the offsets of group and
 * log follow; what is gone is let go; what is no record of ours is left out.
 * Source: RMQ 5.3.3 PopReviveService.java.
 */
#include "broker/state/pop_revive.h"

#include "broker/state/pop_log.h"
#include "common/sys/log.h"
#include "proto/properties.h"
#include "state_test.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#define GIVE_UP_MS 60000
#define LOG_TOPIC POP_LOG_TOPIC_PREFIX "C"
#define RETRY "%RETRY%G_T"

struct fixture {
    struct folder folder;
    char log[PATH_BYTES];
    char topics_path[PATH_BYTES];
    char groups_path[PATH_BYTES];
    char offsets_path[PATH_BYTES];
    struct store_options options;
    struct store *store;
    struct append_batch *batch;
    struct topics *topics;
    struct groups *groups;
    struct offsets *offsets;
    struct pop_ledger *ledger;
    struct pop_revive *revive;
    struct arena arena;
    int topics_made;
    int64_t now_ms;
};

static const struct slice topic = {(const uint8_t *)"T", 1};
static const struct slice group = {(const uint8_t *)"G", 1};

/* The files of T's queues cannot be opened, as when descriptors run out. */
static _Atomic bool queues_fail;

static enum status open_or_fail(struct vfs *vfs, const char *path, int flags, int *fd)
{
    if (atomic_load(&queues_fail) && strstr(path, "/consumequeue/T/") != NULL) {
        errno = EIO;
        return STATUS_IO;
    }
    return vfs_posix()->ops->open(vfs, path, flags, fd);
}

static struct vfs_ops failing_ops;
static struct vfs failing_vfs = {&failing_ops};

static void on_topic(void *ctx, struct slice normal, struct slice owner, struct slice retry)
{
    struct fixture *f = ctx;
    assert_true(slice_equal(normal, topic) && slice_equal(owner, group) && slice_is(retry, RETRY));
    f->topics_made++;
}

static void open_all(struct fixture *f)
{
    struct err err = {.text = ""};
    struct topics_options topics = {.path = f->topics_path,
                                    .cluster_name = "C",
                                    .broker_name = "b",
                                    .trace_topic_name = "trace",
                                    .default_queues = 8};
    failing_ops = *vfs_posix()->ops;
    failing_ops.open = open_or_fail;
    if (store_open(&f->options, &failing_vfs, clock_real(), &f->store, &err) != STATUS_OK ||
        store_start(f->store, &err) != STATUS_OK ||
        topics_load(&topics, vfs_posix(), clock_real(), &f->topics, &err) != STATUS_OK ||
        groups_load(f->groups_path, vfs_posix(), clock_real(), &f->groups, &err) != STATUS_OK ||
        offsets_load(f->offsets_path, vfs_posix(), &f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    f->batch = append_batch_new(f->store);
    f->ledger = pop_ledger_new(f->offsets);
    struct pop_revive_options options = {
        .store = f->store,
        .ledger = f->ledger,
        .topics = f->topics,
        .groups = f->groups,
        .offsets = f->offsets,
        .log_topic = LOG_TOPIC,
        .broker_name = "b",
        .store_host = {.ip = {10, 0, 0, 2}, .ip_bytes = 4, .port = 10911},
        .on_topic = on_topic,
        .ctx = f,
    };
    f->revive = pop_revive_new(&options);
}

/* saved: the offsets reach the disk, as after a stop; else they are as after a crash. */
static void close_all(struct fixture *f, bool saved)
{
    struct err err = {.text = ""};
    if (saved)
        assert_int_equal(offsets_persist(f->offsets, &err), STATUS_OK);
    assert_int_equal(topics_persist(f->topics, &err), STATUS_OK);
    assert_int_equal(groups_persist(f->groups, &err), STATUS_OK);
    pop_revive_free(f->revive);
    pop_ledger_free(f->ledger);
    append_batch_free(f->batch);
    store_close(f->store);
    offsets_free(f->offsets);
    groups_free(f->groups);
    topics_free(f->topics);
}

static void pause_a_little(int64_t give_up_ms, const char *what)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    if (clock_monotonic_ms(clock_real()) > give_up_ms)
        fail_msg("waited in vain for %s", what);
    (void)nanosleep(&pause, NULL);
}

static void settle_down(struct fixture *f)
{
    int64_t give_up_ms = clock_monotonic_ms(clock_real()) + GIVE_UP_MS;
    while (store_dispatched_pos(f->store) < store_appended_pos(f->store) ||
           store_flushed_pos(f->store) < store_appended_pos(f->store)) {
        store_flush_soon(f->store);
        pause_a_little(give_up_ms, "dispatch and flush");
    }
}

/* Steps until nothing more happens at that time, everything durable. */
static void step_at(struct fixture *f, int64_t now_ms)
{
    int64_t give_up_ms = clock_monotonic_ms(clock_real()) + GIVE_UP_MS;
    f->now_ms = now_ms;
    while (!pop_ledger_ready(f->ledger)) {
        (void)pop_revive_step(f->revive, now_ms);
        pause_a_little(give_up_ms, "the log to be read");
    }
    for (int i = 0; i < 6; i++) {
        (void)pop_revive_step(f->revive, now_ms);
        settle_down(f);
    }
}

static void put(struct fixture *f, const char *body, const char *properties)
{
    struct queue *queue = store_queue(f->store, topic, 3, true);
    struct record record = {
        .queue_id = 3,
        .flag = 7,
        .born_timestamp_ms = 1234,
        .born_host = {.ip = {10, 0, 0, 1}, .ip_bytes = 4, .port = 1000},
        .store_host = {.ip = {10, 0, 0, 2}, .ip_bytes = 4, .port = 10911},
        .body = slice_of_cstr(body),
        .topic = topic,
        .properties = slice_of_cstr(properties),
    };
    append_batch_clear(f->batch);
    assert_int_equal(append_batch_add(f->batch, queue, &record, false, NULL), STATUS_OK);
    assert_int_equal(store_append(f->store, f->batch)->status, PUT_OK);
    settle_down(f);
}

static int setup(void **state)
{
    static const int64_t levels_ms[] = {1000};
    struct fixture *f = xcalloc(1, sizeof *f);
    struct topic_config config = {.read_queues = 4, .write_queues = 4, .perm = 6};
    struct group_config group_config = group_config_default();
    folder_make(&f->folder);
    log_set_level(LOG_ERROR);
    arena_init(&f->arena, 4096);
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
        .delay_level_count = 1,
        .memory_bytes_hot = 1 << 30,
        .transfer_bytes_memory = 262144,
        .transfer_count_memory = 32,
        .transfer_bytes_disk = 65536,
        .transfer_count_disk = 8,
    };
    (void)folder_file(&f->folder, "config/topics.json", f->topics_path);
    (void)folder_file(&f->folder, "config/subscriptionGroup.json", f->groups_path);
    (void)folder_file(&f->folder, "config/consumerOffset.json", f->offsets_path);
    open_all(f);
    assert_int_equal(topics_put(f->topics, topic, &config), STATUS_OK);
    assert_int_equal(groups_put(f->groups, group, &group_config), STATUS_OK);
    put(f, "zero", "KEYS\1k\2TAGS\1t");
    put(f, "one", "");
    put(f, "two", "1ST_POP_TIME\0015");
    f->now_ms = clock_wall_ms(clock_real());
    step_at(f, f->now_ms);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_all(f, false);
    arena_release(&f->arena);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static void reopen(struct fixture *f, bool saved)
{
    close_all(f, saved);
    open_all(f);
    assert_false(pop_ledger_ready(f->ledger));
}

/* Pop the three messages. */
static void pop(struct fixture *f, int64_t invisible_ms)
{
    static const int64_t offsets[] = {0, 1, 2};
    struct pop_queue *queue = NULL;
    int64_t offset;
    bool wanted;
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 3, f->now_ms, &queue, &offset),
                     POP_TAKE_OK);
    pop_ledger_begin_at(f->ledger, queue, 0);
    struct pop_taken taken = {.next_offset = 3,
                              .pop_time_ms = f->now_ms,
                              .invisible_ms = invisible_ms,
                              .revive_queue = 5,
                              .count = 3,
                              .offsets = offsets};
    assert_true(pop_ledger_give(f->ledger, queue, &taken, &wanted));
}

static int ack(struct fixture *f, int64_t pop_time_ms, int64_t offset)
{
    struct pop_name name = {topic, group, 3, 0, pop_time_ms};
    return pop_ledger_ack(f->ledger, &name, &offset, 1);
}

static int64_t max_of(const struct fixture *f, const char *name, int32_t queue_number)
{
    struct queue *queue = store_queue(f->store, slice_of_cstr(name), queue_number, false);
    return queue == NULL ? 0 : queue_max_offset(queue);
}

static struct record message_at(struct fixture *f, const char *name, int32_t queue_number,
                                int64_t offset)
{
    struct queue *queue = store_queue(f->store, slice_of_cstr(name), queue_number, false);
    struct queue_entry entry;
    struct log_range range;
    struct record record;
    assert_non_null(queue);
    assert_true(queue_entry_at(queue, offset, &entry));
    assert_int_equal(store_read_record(f->store, entry.pos, &range), STATUS_OK);
    struct slice copy = arena_copy(&f->arena, slice_of(range.data, range.size));
    log_range_release(&range);
    assert_int_equal(record_decode(copy, RECORD_CHECK_CRC, &record), STATUS_OK);
    return record;
}

static void assert_property(const struct record *record, const char *name, const char *value)
{
    struct slice found;
    assert_true(properties_find(record->properties, slice_of_cstr(name), &found));
    assert_true(slice_is(found, value));
}

static void what_is_not_acknowledged_comes_again_as_it_was(void **state)
{
    struct fixture *f = *state;
    int64_t pop_ms = f->now_ms;
    char text[32];
    struct topic_config config;
    pop(f, 500);
    assert_int_equal(ack(f, pop_ms, 1), 1);
    step_at(f, pop_ms + 499);
    assert_int_equal(max_of(f, RETRY, 0), 0);
    step_at(f, pop_ms + 500);
    assert_int_equal(max_of(f, RETRY, 0), 2);
    assert_int_equal(pop_revive_count(f->revive), 2);
    assert_int_equal(f->topics_made, 1);
    assert_true(topics_get(f->topics, SLICE_LITERAL(RETRY), &config));
    assert_true(config.saved);
    assert_int_equal(config.read_queues, 1);

    struct record record = message_at(f, RETRY, 0, 0);
    assert_true(slice_is(record.body, "zero"));
    assert_int_equal(record.flag, 7);
    assert_int_equal(record.reconsume_times, 1);
    assert_int_equal(record.born_timestamp_ms, 1234);
    assert_property(&record, "KEYS", "k");
    assert_property(&record, "TAGS", "t");
    (void)snprintf(text, sizeof text, "%lld", (long long)pop_ms);
    assert_property(&record, "1ST_POP_TIME", text);
    record = message_at(f, RETRY, 0, 1);
    assert_true(slice_is(record.body, "two"));
    assert_property(&record, "1ST_POP_TIME", text); /* what a producer wrote there counts nothing */
    assert_int_equal(offsets_get(f->offsets, topic, group, 3), 3);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
    assert_int_equal(max_of(f, LOG_TOPIC, 5), 0); /* it was too short to be stored */
}

static void a_checkpoint_outlives_a_crash(void **state)
{
    struct fixture *f = *state;
    int64_t pop_ms = f->now_ms;
    pop(f, 60000);
    step_at(f, pop_ms + 1000);
    assert_int_equal(max_of(f, LOG_TOPIC, 5), 1);
    assert_int_equal(offsets_get(f->offsets, topic, group, 3), 3);
    assert_int_equal(ack(f, pop_ms, 0), 1);
    step_at(f, pop_ms + 1100);
    assert_int_equal(max_of(f, LOG_TOPIC, 5), 2);
    reopen(f, false);
    step_at(f, pop_ms + 1200);
    assert_int_equal(pop_ledger_points(f->ledger), 1);
    assert_int_equal(ack(f, pop_ms, 0), 0); /* known to be done */
    assert_int_equal(ack(f, pop_ms, 2), 1);
    step_at(f, pop_ms + 59999);
    assert_int_equal(max_of(f, RETRY, 0), 0);
    step_at(f, pop_ms + 60000);
    assert_int_equal(max_of(f, RETRY, 0), 1);
    struct record record = message_at(f, RETRY, 0, 0);
    assert_true(slice_is(record.body, "one"));

    /* All of it is done, and a restart knows. */
    int64_t log_max = max_of(f, LOG_TOPIC, 5);
    assert_int_equal(
        offsets_get(f->offsets, SLICE_LITERAL(LOG_TOPIC), SLICE_LITERAL(POP_LOG_GROUP), 5),
        log_max - 1);
    reopen(f, true);
    step_at(f, pop_ms + 200000);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
    assert_int_equal(max_of(f, RETRY, 0), 1);
    reopen(f, false); /* also one that has to read all of the log */
    step_at(f, pop_ms + 200000);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
    assert_int_equal(max_of(f, RETRY, 0), 1);
}

static void records_as_java_writes_them(void **state)
{
    struct fixture *f = *state;
    int64_t pop_ms = f->now_ms;
    char wanted[256];
    pop(f, 60000);
    assert_int_equal(ack(f, pop_ms, 1), 1);
    step_at(f, pop_ms + 1000);
    struct record record = message_at(f, LOG_TOPIC, 5, 0);
    assert_property(&record, "TAGS", "ck");
    (void)snprintf(wanted, sizeof wanted,
                   "{\"bm\":2,\"bn\":\"b\",\"c\":\"G\",\"d\":[0,1,2],\"it\":60000,\"n\":3,"
                   "\"pt\":%lld,\"q\":3,\"ro\":0,\"so\":0,\"t\":\"T\"}",
                   (long long)pop_ms);
    assert_true(slice_is(record.body, wanted));
    assert_int_equal(ack(f, pop_ms, 2), 1);
    step_at(f, pop_ms + 1100);
    record = message_at(f, LOG_TOPIC, 5, 1);
    assert_property(&record, "TAGS", "bAck");
    (void)snprintf(wanted, sizeof wanted,
                   "{\"ao\":-1,\"aol\":[2],\"bn\":\"b\",\"c\":\"G\",\"pt\":%lld,\"q\":3,"
                   "\"so\":0,\"t\":\"T\"}",
                   (long long)pop_ms);
    assert_true(slice_is(record.body, wanted));
}

static void stopping_keeps_the_time(void **state)
{
    struct fixture *f = *state;
    int64_t pop_ms = f->now_ms;
    pop(f, 60000);
    assert_int_equal(ack(f, pop_ms, 0), 1);
    pop_revive_finish(f->revive, pop_ms + 1);
    settle_down(f);
    pop_revive_settle(f->revive, pop_ms + 1);
    assert_int_equal(offsets_get(f->offsets, topic, group, 3), 3);
    reopen(f, true);
    step_at(f, pop_ms + 59999);
    assert_int_equal(max_of(f, RETRY, 0), 0);
    step_at(f, pop_ms + 60000);
    assert_int_equal(max_of(f, RETRY, 0), 2);
}

static void a_retried_message_stays_in_its_retry_topic(void **state)
{
    struct fixture *f = *state;
    static const int64_t offsets[] = {0};
    struct pop_queue *queue = NULL;
    int64_t offset;
    bool wanted;
    pop(f, 100);
    step_at(f, f->now_ms + 100);
    assert_int_equal(max_of(f, RETRY, 0), 3);
    assert_int_equal(
        pop_ledger_take(f->ledger, SLICE_LITERAL(RETRY), group, 0, f->now_ms, &queue, &offset),
        POP_TAKE_OK);
    assert_int_equal(offset, 0); /* the group's offset was set */
    struct pop_taken taken = {.next_offset = 1,
                              .pop_time_ms = f->now_ms,
                              .invisible_ms = 100,
                              .count = 1,
                              .offsets = offsets};
    assert_true(pop_ledger_give(f->ledger, queue, &taken, &wanted));
    step_at(f, f->now_ms + 100);
    assert_int_equal(max_of(f, RETRY, 0), 4);
    struct record record = message_at(f, RETRY, 0, 3);
    assert_int_equal(record.reconsume_times, 2);
}

static void what_cannot_be_read_comes_later(void **state)
{
    struct fixture *f = *state;
    reopen(f, true); /* no file of the queue is open */
    step_at(f, f->now_ms);
    pop(f, 100);
    atomic_store(&queues_fail, true);
    step_at(f, f->now_ms + 100);
    atomic_store(&queues_fail, false);
    assert_int_equal(max_of(f, RETRY, 0), 0);
    assert_int_equal(pop_ledger_points(f->ledger), 1);
    step_at(f, f->now_ms + 20000);
    assert_int_equal(max_of(f, RETRY, 0), 3);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

/* A group that a pop has made may be in memory only; a start without it would let go of what the
 * log holds for it. */
static void the_group_is_saved_before_its_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct groups *groups;
    struct group_config config;
    struct err err = {.text = ""};
    pop(f, 60000);
    step_at(f, f->now_ms + 1000);
    assert_int_equal(max_of(f, LOG_TOPIC, 5), 1);
    assert_int_equal(groups_load(f->groups_path, vfs_posix(), clock_real(), &groups, &err),
                     STATUS_OK);
    assert_true(groups_get(groups, group, false, &config));
    groups_free(groups);
}

static void what_was_deleted_is_let_go(void **state)
{
    struct fixture *f = *state;
    pop(f, 100);
    assert_true(groups_remove(f->groups, group));
    step_at(f, f->now_ms + 100);
    assert_int_equal(max_of(f, RETRY, 0), 0);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

static void strange_records_are_left_out(void **state)
{
    struct fixture *f = *state;
    static const char *const bodies[] = {
        "",
        "5-17",
        "{}",
        "{\"n\":3,\"d\":[0],\"t\":\"T\",\"c\":\"G\",\"so\":0,\"q\":3}",
        "{\"n\":2,\"d\":[1,1],\"t\":\"T\",\"c\":\"G\",\"so\":0,\"q\":3}",
        "{\"n\":1,\"d\":[0],\"t\":\"T\",\"c\":\"G\",\"so\":0,\"q\":-3}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct queue *queue = store_queue(f->store, SLICE_LITERAL(LOG_TOPIC), 0, true);
        struct record record = {
            .born_host = {.ip_bytes = 4},
            .store_host = {.ip_bytes = 4},
            .body = slice_of_cstr(bodies[i]),
            .topic = SLICE_LITERAL(LOG_TOPIC),
            .properties = i % 2 == 0 ? SLICE_LITERAL("TAGS\1ck") : SLICE_LITERAL("TAGS\1bAck"),
        };
        append_batch_clear(f->batch);
        assert_int_equal(append_batch_add(f->batch, queue, &record, false, NULL), STATUS_OK);
        assert_int_equal(store_append(f->store, f->batch)->status, PUT_OK);
    }
    settle_down(f);
    reopen(f, false);
    step_at(f, f->now_ms);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_acknowledged_comes_again_as_it_was),
        TEST(a_checkpoint_outlives_a_crash),
        TEST(records_as_java_writes_them),
        TEST(stopping_keeps_the_time),
        TEST(a_retried_message_stays_in_its_retry_topic),
        TEST(what_cannot_be_read_comes_later),
        TEST(the_group_is_saved_before_its_checkpoint),
        TEST(what_was_deleted_is_let_go),
        TEST(strange_records_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
