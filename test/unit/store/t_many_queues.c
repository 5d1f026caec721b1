/* SPDX-License-Identifier: Apache-2.0
 *
 * Very many consume queues: mappings and descriptors stay within their bounds while every queue is
 * written and read all the time, nothing is lost when a descriptor goes early, a failed sync of the
 * file system is final, and a store with thousands of queues opens after a clean stop and after
 * kill -9 with every queue as it was.
 *
 * MANY_QUEUES=50000 (make many-queues) makes the last test that large and prints how long it took.
 *
 * Source: docs/store.md, "Many queues".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/store_internal.h"
#include "common/base/number.h"
#include "common/sys/thread.h"
#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAPPINGS 16
#define DESCRIPTORS 8
#define QUEUES 120
#define ROUNDS 40
#define READERS 2

static size_t mapped(struct kit *kit)
{
    return queue_files_count(&kit->store->queue_files.mapped);
}

static void put_to_each(struct kit *kit, int queues, int first)
{
    append_batch_clear(kit->batch);
    for (int id = first; id < first + queues; id++) {
        struct record record =
            kit_record(SLICE_LITERAL("Many"), id, SLICE_LITERAL("body"), SLICE_EMPTY);
        assert_int_equal(
            append_batch_add(kit->batch, kit_queue(kit, "Many", id), &record, false, NULL),
            STATUS_OK);
    }
    const struct append_result *results = store_append(kit->store, kit->batch);
    for (int i = 0; i < queues; i++)
        assert_int_equal(results[i].status, PUT_OK);
}

static void init(struct kit *kit)
{
    kit_init(kit, "many");
    kit->options.queue_mappings_max = MAPPINGS;
    kit->options.queue_descriptors_max = DESCRIPTORS;
    kit->options.index_enable = false;
}

static void check_all(struct kit *kit, int64_t messages)
{
    for (int id = 0; id < QUEUES; id++)
        assert_int_equal(kit_read_queue(kit, kit_queue(kit, "Many", id), 0), messages);
}

/* All queues are written in turn, which is the worst order for a cache, and read. */
static void bounds_hold(void **state)
{
    (void)state;
    struct kit kit;
    init(&kit);
    kit_start(&kit);
    for (int round = 1; round <= ROUNDS; round++) {
        put_to_each(&kit, QUEUES, 0);
        kit_dispatched(&kit);
        if (round % 10 == 0)
            check_all(&kit, round);
        assert_true(mapped(&kit) <= MAPPINGS);
    }
    /* One more is opened before another is given back, and one is opened to be mapped. */
    assert_in_range(atomic_load(&kit.vfs.queue_descriptors_top), DESCRIPTORS, DESCRIPTORS + 2);
    kit_close(&kit);
    kit_open(&kit);
    check_all(&kit, ROUNDS);
    kit_release(&kit);
}

static bool some_are_mapped(void *ctx)
{
    return mapped(ctx) > 0;
}

/* What is read most stays mapped while others come and go. */
static void the_busiest_stay(void **state)
{
    (void)state;
    struct kit kit;
    struct arena arena;
    struct get_result got;
    init(&kit);
    arena_init(&arena, 4096);
    kit_start(&kit);
    put_to_each(&kit, QUEUES, 0);
    kit_dispatched(&kit);
    struct queue *busy = kit_queue(&kit, "Many", 0);
    struct queue_file *before;
    struct queue_file *after;
    assert_int_equal(queue_file_map(busy, 0, &before), STATUS_OK);
    for (int id = 1; id < QUEUES; id++) {
        store_get(kit.store, busy, 0, 1, NULL, NULL, &arena, &got);
        log_range_release(&got.ranges[0]);
        assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "Many", id), 0), 1);
        arena_reset(&arena);
    }
    assert_int_equal(queue_file_map(busy, 0, &after), STATUS_OK);
    assert_ptr_equal(before, after);
    /* A queue that nobody reads any more gives up its place, and a reader keeps what it holds. */
    for (int id = 1; id < QUEUES; id++)
        assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "Many", id), 0), 1);
    assert_true(some_are_mapped(&kit));
    queue_file_drop(after);
    assert_int_equal(queue_file_map(busy, 0, &after), STATUS_OK);
    assert_ptr_not_equal(before, after);
    assert_int_equal(queue_entry_pos(before->data), queue_entry_pos(after->data));
    queue_file_drop(before);
    queue_file_drop(after);
    arena_release(&arena);
    kit_release(&kit);
}

static bool is_durable(void *ctx)
{
    int64_t unsynced;
    (void)queue_sync_begin(ctx, &unsynced);
    return unsynced == 0;
}

/* Descriptors closed with entries that are not durable: the checkpoint comes after a sync of the
 * whole file system, and a crash then finds every queue up to there without a look at the log. */
static void early_closing_loses_nothing(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    init(&kit);
    kit_start(&kit);
    for (int round = 0; round < 5; round++) {
        put_to_each(&kit, 20, 0); /* few enough to be synced one by one */
        kit_dispatched(&kit);
    }
    int64_t syncs = atomic_load(&kit.vfs.filesystem_syncs);
    keeper_want_checkpoint(&kit.store->keeper);
    for (int id = 0; id < 20; id++)
        kit_wait(is_durable, kit_queue(&kit, "Many", id));
    assert_true(atomic_load(&kit.vfs.filesystem_syncs) > syncs);
    kit_crash(&kit, &after);
    kit_open(&after);
    for (int id = 0; id < 20; id++)
        assert_int_equal(kit_read_queue(&after, kit_queue(&after, "Many", id), 0), 5);
    kit_release(&after);
    kit_release(&kit);
}

static struct kit *syncing;
static enum status (*sync_file)(struct vfs *vfs, int fd);

/* A descriptor is closed too early, which happens when there are no more, while others are synced.
 */
static enum status sync_and_close_others(struct vfs *vfs, int fd)
{
    atomic_store(&syncing->store->queue_files.unsynced, true);
    return sync_file(vfs, fd);
}

/* A sync that had to leave a queue out for want of descriptors does not forget that one was closed
 * meanwhile: the next sync is one of the whole file system. */
static void early_closing_is_remembered(void **state)
{
    (void)state;
    struct kit kit;
    init(&kit);
    kit.options.flush_queues_least_pages = 0;
    sync_file = kit.vfs.ops.fdatasync;
    kit_open(&kit);
    put_to_each(&kit, 2, 0);
    while (dispatcher_round(&kit.store->dispatcher) == STATUS_OK)
        continue;
    struct queue *left_out = kit_queue(&kit, "Many", 1);
    (void)pthread_mutex_lock(&left_out->files_lock);
    struct queue_file *closed = queue_files_detach(left_out, 0, 1);
    (void)pthread_mutex_unlock(&left_out->files_lock);
    queue_files_drop_all(closed);
    syncing = &kit;
    kit.vfs.ops.fdatasync = sync_and_close_others;
    atomic_store(&kit.vfs.open_target, KIT_QUEUES);
    assert_int_equal(keeper_sync(&kit.store->keeper, false), STATUS_BUSY);
    atomic_store(&kit.vfs.open_target, KIT_NOTHING);
    kit.vfs.ops.fdatasync = sync_file;
    int64_t syncs = atomic_load(&kit.vfs.filesystem_syncs);
    assert_int_equal(keeper_sync(&kit.store->keeper, false), STATUS_OK);
    assert_int_equal(atomic_load(&kit.vfs.filesystem_syncs), syncs + 1);
    kit_release(&kit);
}

static bool writing_has_ended(void *ctx)
{
    return health_has(&((struct kit *)ctx)->store->health, REFUSAL_FAILED);
}

static void a_failed_sync_is_final(void **state)
{
    (void)state;
    struct kit kit;
    char why[512] = "";
    char path[256];
    init(&kit);
    kit.options.flush_queues_interval_ms = 10;
    kit.options.flush_queues_thorough_interval_ms = 10;
    kit_open(&kit);
    atomic_store(&kit.vfs.sync_target, KIT_QUEUES);
    struct err err;
    assert_int_equal(store_start(kit.store, &err), STATUS_OK);
    put_to_each(&kit, QUEUES, 0);
    kit_wait(writing_has_ended, &kit);
    assert_false(store_writable(kit.store, why, sizeof why));
    assert_non_null(strstr(why, "syncing"));
    atomic_store(&kit.vfs.sync_target, KIT_NOTHING);
    assert_int_equal(kit_put(&kit, "Many", 0, "b", "").status, PUT_SERVICE_NOT_AVAILABLE);
    kit_close(&kit);
    kit_path(&kit, "abort", path);
    assert_true(kit_exists(path));
    kit_open(&kit);
    check_all(&kit, 1);
    kit_release(&kit);
}

/* --- at once; for the thread sanitizer, too --- */

struct crowd {
    struct kit kit;
    _Atomic bool stop;
    _Atomic int failures;
    _Atomic int64_t pulls;
};

static void pull_one(struct crowd *crowd, int id, struct arena *arena)
{
    struct kit *kit = &crowd->kit;
    struct queue *queue = store_queue(kit->store, SLICE_LITERAL("Many"), id, true);
    int64_t max_offset = queue_max_offset(queue);
    struct get_result got;
    arena_reset(arena);
    if (max_offset == 0)
        return;
    store_get(kit->store, queue, max_offset / 2, 32, NULL, NULL, arena, &got);
    bool right = got.status == GET_FOUND;
    for (int i = 0; i < got.range_count; i++) {
        struct record record;
        right = right &&
                record_decode(slice_of(got.ranges[i].data, got.ranges[i].size), RECORD_CHECK_CRC,
                              &record) == STATUS_OK &&
                record.queue_id == id;
        log_range_release(&got.ranges[i]);
    }
    if (!right)
        atomic_fetch_add(&crowd->failures, 1);
    atomic_fetch_add(&crowd->pulls, 1);
}

static void *puller(void *arg)
{
    struct crowd *crowd = arg;
    struct arena arena;
    arena_init(&arena, 4096);
    for (uint32_t i = 0; !atomic_load(&crowd->stop); i++)
        pull_one(crowd, (int)(i * 7919u % QUEUES), &arena);
    arena_release(&arena);
    return NULL;
}

static bool is_side(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "Side");
}

static void pulls_while_files_come_and_go(void **state)
{
    (void)state;
    static struct crowd crowd;
    struct kit *kit = &crowd.kit;
    pthread_t threads[READERS];
    struct err err;
    init(kit);
    kit->options.flush_queues_interval_ms = 2;
    kit->options.flush_queues_thorough_interval_ms = 5;
    kit_start(kit);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(thread_start(&threads[i], "puller", puller, &crowd, &err), STATUS_OK);
    for (int round = 0; round < ROUNDS; round++) {
        put_to_each(kit, QUEUES, 0);
        for (int id = 0; id < 4; id++)
            assert_int_equal(kit_put(kit, "Side", id, "b", "").queue_offset, 0);
        if (round % 2 == 0)
            kit_dispatched(kit);
        store_delete_queues(kit->store, is_side, NULL);
    }
    kit_dispatched(kit);
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < READERS; i++)
        thread_join(threads[i]);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    assert_true(atomic_load(&crowd.pulls) > 0);
    assert_true(mapped(kit) <= MAPPINGS);
    assert_true(queue_files_count(&kit->store->queue_files.writable) <= DESCRIPTORS);
    check_all(kit, ROUNDS);
    kit_release(kit);
}

/* --- many --- */

static int many(void)
{
    const char *text = getenv("MANY_QUEUES");
    int32_t queues = 2000;
    if (text != NULL)
        assert_true(parse_i32(slice_of_cstr(text), &queues) && queues >= 100);
    return queues / 100 * 100;
}

/* A stretch of time: what passes on the clock, and what this process computes. */
struct stretch {
    int64_t clock_ms;
    int64_t cpu_ms;
};

static struct stretch now(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    int64_t cpu_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                     usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    return (struct stretch){clock_monotonic_ms(clock_real()), cpu_us / 1000};
}

static void tell(const char *what, struct stretch began)
{
    struct stretch end = now();
    if (getenv("MANY_QUEUES") != NULL)
        (void)printf("%-45s %7lld ms, of them %7lld ms computing\n", what,
                     (long long)(end.clock_ms - began.clock_ms),
                     (long long)(end.cpu_ms - began.cpu_ms));
}

static void tell_memory(const char *what, size_t before, int queues)
{
    if (getenv("MANY_QUEUES") != NULL)
        (void)printf("%-45s %7zu bytes of heap a queue\n", what,
                     (mallinfo2().uordblks - before) / (size_t)queues);
}

static bool dispatched(void *ctx)
{
    struct kit *kit = ctx;
    return store_dispatched_pos(kit->store) == store_appended_pos(kit->store);
}

static void put_many(struct kit *kit, int queues)
{
    for (int first = 0; first < queues; first += 100)
        put_to_each(kit, 100, first);
    while (!dispatched(kit))
        (void)usleep(1000);
}

static void check_ends(struct kit *kit, int queues, int64_t messages)
{
    for (int id = 0; id < queues; id++) {
        struct queue *queue = store_queue(kit->store, SLICE_LITERAL("Many"), id, false);
        assert_non_null(queue);
        assert_int_equal(queue_max_offset(queue), messages);
        assert_int_equal(queue_min_offset(queue), 0);
    }
}

/* The process that writes is killed: nothing of it is closed. */
static void write_and_die(struct kit *kit, int queues)
{
    pid_t pid = fork();
    assert_true(pid != -1);
    if (pid == 0) {
        kit_start(kit);
        put_many(kit, queues);
        (void)raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void thousands_of_queues(void **state)
{
    (void)state;
    struct kit kit;
    int queues = many();
    kit_init(&kit, "many");
    kit.options.segment_bytes = 64 << 20;
    kit.options.queue_file_bytes = 6000000;
    kit.options.index_enable = false;
    kit_start(&kit);
    size_t heap = mallinfo2().uordblks;
    for (int id = 0; id < queues; id++)
        (void)kit_queue(&kit, "Many", id);
    tell_memory("a queue that was only looked up", heap, queues);
    struct stretch began = now();
    put_many(&kit, queues);
    tell("first message to each queue, dispatched", began);
    began = now();
    put_many(&kit, queues);
    tell("another message to each queue, dispatched", began);
    began = now();
    keeper_want_checkpoint(&kit.store->keeper);
    for (int id = 0; id < queues; id++)
        kit_wait(is_durable, kit_queue(&kit, "Many", id));
    tell("checkpoint with all queues dirty", began);
    began = now();
    put_many(&kit, queues);
    tell("another message to each queue, dispatched", began);
    began = now();
    kit_close(&kit);
    tell("clean stop", began);
    began = now();
    kit_open(&kit);
    tell("start after a clean stop", began);
    check_ends(&kit, queues, 3);
    tell_memory("an idle queue, after a start", heap, queues);
    kit_close(&kit);
    write_and_die(&kit, queues);
    began = now();
    kit_open(&kit);
    tell("start after kill -9, all queues written", began);
    check_ends(&kit, queues, 4);
    for (int id = 0; id < queues; id += queues / 100)
        assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "Many", id), 0), 4);
    kit_release(&kit);
}

static struct kit *short_of_descriptors; /* or NULL */
static enum status (*real_open)(struct vfs *vfs, const char *path, int flags, int *fd);

/* As when descriptors of unsynced files are given back and that does not help. */
static enum status open_when_short(struct vfs *vfs, const char *path, int flags, int *fd)
{
    if (short_of_descriptors == NULL || strstr(path, "/consumequeue/") == NULL)
        return real_open(vfs, path, flags, fd);
    atomic_store(&short_of_descriptors->store->queue_files.unsynced, true);
    errno = EMFILE;
    return STATUS_BUSY;
}

/* That the file system is to be synced is still known when the queues could not all be. */
static void a_sync_put_off_is_not_forgotten(void **state)
{
    (void)state;
    struct kit kit;
    init(&kit);
    real_open = kit.vfs.ops.open;
    kit.vfs.ops.open = open_when_short;
    kit_open(&kit);
    put_to_each(&kit, 1, 0);
    assert_int_equal(dispatcher_round(&kit.store->dispatcher), STATUS_OK);
    queue_close_files(kit_queue(&kit, "Many", 0));
    int64_t syncs = atomic_load(&kit.vfs.filesystem_syncs);
    short_of_descriptors = &kit;
    assert_int_equal(keeper_sync(&kit.store->keeper, true), STATUS_BUSY);
    short_of_descriptors = NULL;
    assert_int_equal(commitlog_flush(&kit.store->log), STATUS_OK);
    assert_int_equal(keeper_sync(&kit.store->keeper, true), STATUS_OK);
    assert_int_equal(atomic_load(&kit.vfs.filesystem_syncs), syncs + 1);
    kit_release(&kit);
}

static int opens_to_fail;

static enum status open_fails_once(struct vfs *vfs, const char *path, int flags, int *fd)
{
    if (opens_to_fail == 0 || strstr(path, "/consumequeue/") == NULL)
        return real_open(vfs, path, flags, fd);
    opens_to_fail--;
    errno = EMFILE;
    return STATUS_BUSY;
}

/* A queue goes on in a further file while the machine has no descriptor left: another queue's is
 * given back for the sync of the one before. */
static void a_further_file_takes_a_descriptor(void **state)
{
    (void)state;
    struct kit kit;
    init(&kit);
    real_open = kit.vfs.ops.open;
    kit.vfs.ops.open = open_fails_once;
    kit_open(&kit);
    kit_put_many(&kit, "Many", 0, 10, 30); /* a whole file */
    put_to_each(&kit, 2, 0);
    while (dispatcher_round(&kit.store->dispatcher) == STATUS_OK)
        continue;
    kit_put_many(&kit, "Many", 0, 10, 29);
    assert_int_equal(dispatcher_round(&kit.store->dispatcher), STATUS_OK);
    queue_close_files(kit_queue(&kit, "Many", 0));
    kit_put_many(&kit, "Many", 0, 10, 1);
    opens_to_fail = 1;
    assert_int_equal(dispatcher_round(&kit.store->dispatcher), STATUS_OK);
    assert_int_equal(opens_to_fail, 0);
    assert_int_equal(kit_read_queue(&kit, kit_queue(&kit, "Many", 0), 0), 61);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_further_file_takes_a_descriptor),
        cmocka_unit_test(a_sync_put_off_is_not_forgotten),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(the_busiest_stay),
        cmocka_unit_test(early_closing_loses_nothing),
        cmocka_unit_test(early_closing_is_remembered),
        cmocka_unit_test(a_failed_sync_is_final),
        cmocka_unit_test(pulls_while_files_come_and_go),
        cmocka_unit_test(thousands_of_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
