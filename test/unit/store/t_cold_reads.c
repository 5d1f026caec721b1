/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading what is not in memory: a thread that must not wait is told so and touches nothing; the
 * cold readers serve it whole, after one load, in turn, within bounds, until the store stops; a bad
 * disk is an error value that names file and position. What is hot is not asked about. The page
 * cache that cold reads fill is bounded, and what was in memory before stays.
 *
 * Source of the rules: docs/store.md, "Reading".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "test/unit/support/store_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MESSAGES 100

/* --- one cold read --- */

static _Atomic int finished;

struct asked {
    struct cold_read read; /* first */
    _Atomic bool done;
    int place; /* in the order of finishing, from 1 */
};

static void on_done(struct cold_read *read)
{
    struct asked *asked = (struct asked *)(void *)read;
    asked->place = atomic_fetch_add(&finished, 1) + 1;
    atomic_store(&asked->done, true);
}

static bool is_done(void *ctx)
{
    return atomic_load(&((struct asked *)ctx)->done);
}

static void asked_init(struct asked *asked, struct queue *queue, int64_t offset, uint64_t client)
{
    memset(asked, 0, sizeof *asked);
    asked->read.request =
        (struct get_request){.queue = queue, .queue_offset = offset, .max_messages = 32};
    asked->read.client = client;
    asked->read.done = on_done;
    arena_init(&asked->read.arena, 1024);
}

static void asked_release(struct asked *asked)
{
    for (int i = 0; asked->read.status == STATUS_OK && i < asked->read.result.range_count; i++)
        log_range_release(&asked->read.result.ranges[i]);
    arena_release(&asked->read.arena);
}

/* Ask and wait. */
static enum status read_cold(struct kit *kit, struct asked *asked, struct queue *queue,
                             int64_t offset)
{
    asked_init(asked, queue, offset, 0);
    assert_int_equal(store_read_cold(kit->store, &asked->read), STATUS_OK);
    kit_wait(is_done, asked);
    return asked->read.status;
}

/* What a thread that must not wait gets: the number of messages, -1 when it is told to go to the
 * disk. */
static int try_count(struct kit *kit, struct queue *queue, int64_t offset)
{
    struct get_request request = {.queue = queue, .queue_offset = offset, .max_messages = 32};
    struct get_result got;
    struct arena arena;
    arena_init(&arena, 4096);
    bool here = store_try_get(kit->store, &request, &arena, &got);
    assert_int_equal(got.max_offset, queue_max_offset(queue));
    if (!here)
        assert_int_equal(got.range_count, 0);
    for (int i = 0; i < got.range_count; i++)
        log_range_release(&got.ranges[i]);
    arena_release(&arena);
    return here ? got.count : -1;
}

/* A store that has messages of an earlier run: none of them is hot. */
static void start_old(struct kit *kit)
{
    kit_start(kit);
    kit_put_many(kit, "A", 0, 900, MESSAGES);
    kit_dispatched(kit);
    kit_close(kit);
    kit_start(kit);
}

/* --- the tests --- */

static void hot_is_not_asked_about(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "hot");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 900, MESSAGES);
    kit_dispatched(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    assert_int_equal(try_count(&kit, queue, 0), 30); /* learns where the queue is hot */
    atomic_store(&kit.vfs.cold_target, KIT_EVERYTHING);
    atomic_store(&kit.vfs.asked, 0);
    assert_int_equal(try_count(&kit, queue, 0), 30);
    kit_put_many(&kit, "A", 0, 900, 5);
    kit_dispatched(&kit);
    assert_int_equal(try_count(&kit, queue, MESSAGES), 5);
    assert_int_equal(atomic_load(&kit.vfs.asked), 0);
    assert_int_equal(store_cold(kit.store).reads, 0);
    kit_release(&kit);
}

/* Records by position: who must not wait gets what is in memory, and hears what is not. Any number
 * may be asked for: what lies there is no size before it is a record. */
static void a_record_by_position(void **state)
{
    (void)state;
    struct kit kit;
    struct log_range range;
    struct queue_entry entry;
    kit_init(&kit, "record");
    start_old(&kit);
    assert_true(queue_entry_at(kit_queue(&kit, "A", 0), 1, &entry));
    assert_int_equal(store_try_read_record(kit.store, entry.pos, &range), STATUS_OK);
    assert_int_equal(range.size, entry.size);
    log_range_release(&range);
    int64_t end = store_appended_pos(kit.store);
    const int64_t nowhere[] = {entry.pos + 1, entry.pos + 4, end,    end - 8, end + 1, -1,
                               INT64_MIN,     INT64_MAX,     1 << 30};
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        assert_int_equal(store_try_read_record(kit.store, nowhere[i], &range), STATUS_NOT_FOUND);
        assert_int_equal(store_read_record(kit.store, nowhere[i], &range), STATUS_NOT_FOUND);
    }
    atomic_store(&kit.vfs.cold_target, KIT_COMMIT_LOG);
    assert_true(queue_entry_at(kit_queue(&kit, "A", 0), MESSAGES - 1, &entry));
    assert_int_equal(store_try_read_record(kit.store, entry.pos, &range), STATUS_BUSY);
    assert_int_equal(store_read_record(kit.store, entry.pos, &range), STATUS_OK);
    log_range_release(&range);
    struct append_result fresh = kit_put(&kit, "A", 0, "fresh", "");
    assert_int_equal(store_try_read_record(kit.store, fresh.pos, &range), STATUS_OK);
    log_range_release(&range);
    kit_release(&kit);
}

static void cold_is_read_elsewhere(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "cold");
    start_old(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    atomic_store(&kit.vfs.cold_target, KIT_EVERYTHING);
    int64_t next = 0;
    int reads = 0;
    while (next < MESSAGES) {
        struct asked asked;
        assert_int_equal(try_count(&kit, queue, next), -1);
        /* It stays cold however often it is read, and is served all the same. */
        assert_int_equal(read_cold(&kit, &asked, queue, next), STATUS_OK);
        struct get_result *got = &asked.read.result;
        assert_int_equal(got->status, GET_FOUND);
        assert_true(got->count > 1);
        struct record record;
        assert_int_equal(record_decode(slice_of(got->ranges[0].data, got->ranges[0].size),
                                       RECORD_CHECK_CRC, &record),
                         STATUS_OK);
        assert_int_equal(record.queue_offset, next);
        assert_int_equal(got->next_begin_offset, next + got->count);
        next = got->next_begin_offset;
        reads++;
        asked_release(&asked);
    }
    struct store_cold cold = store_cold(kit.store);
    assert_int_equal(cold.reads, reads);
    assert_int_equal(cold.waiting, 0);
    assert_true(cold.read_bytes >= (int64_t)MESSAGES * 900);
    assert_int_equal(cold.failures, 0);
    /* Those that may wait need not ask elsewhere. */
    assert_int_equal(kit_read_queue(&kit, queue, 0), MESSAGES);
    kit_release(&kit);
}

static void what_is_in_front_is_served(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "front");
    start_old(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct queue_entry entry;
    atomic_store(&kit.vfs.cold_from, 16384);
    atomic_store(&kit.vfs.cold_target, KIT_COMMIT_LOG);
    assert_true(queue_entry_at(queue, 0, &entry)); /* opens the queue's first file */
    int count = try_count(&kit, queue, 0);
    assert_true(count > 1 && count < 30);
    assert_true(queue_entry_at(queue, count, &entry));
    assert_true(entry.pos < 16384 && entry.pos + entry.size > 16384);
    assert_int_equal(try_count(&kit, queue, count), -1);
    kit_release(&kit);
}

static void what_is_ahead(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "ahead");
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 30000, 200);
    kit_dispatched(&kit);
    int64_t end = store_appended_pos(kit.store);
    atomic_store(&kit.vfs.cold_target, KIT_EVERYTHING);
    assert_false(store_is_cold_ahead(kit.store, 0)); /* hot */
    kit_close(&kit);
    kit_start(&kit);
    assert_true(store_is_cold_ahead(kit.store, 0));
    assert_false(store_is_cold_ahead(kit.store, end - (1 << 20))); /* nothing is so far ahead */
    assert_false(store_is_cold_ahead(kit.store, end));
    atomic_store(&kit.vfs.cold_target, KIT_NOTHING);
    assert_false(store_is_cold_ahead(kit.store, 0));
    kit_release(&kit);
}

static void cold_entries(void **state)
{
    (void)state;
    struct kit kit;
    struct asked asked;
    struct queue_entry entry;
    kit_init(&kit, "entries");
    start_old(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    /* A file that is not open would have to be opened: that may wait, too. */
    assert_int_equal(try_count(&kit, queue, 0), -1);
    assert_false(queue_entry_in_memory(queue, 0));
    assert_int_equal(atomic_load(&kit.vfs.asked), 0);
    atomic_store(&kit.vfs.cold_target, KIT_QUEUES);
    assert_true(queue_entry_at(queue, 0, &entry)); /* opens it */
    assert_int_equal(entry.pos, 0);
    assert_int_equal(try_count(&kit, queue, 0), -1);
    assert_false(queue_entry_in_memory(queue, 0));
    assert_true(atomic_load(&kit.vfs.asked) > 0);
    assert_int_equal(read_cold(&kit, &asked, queue, 0), STATUS_OK);
    assert_int_equal(asked.read.result.count, 30);
    asked_release(&asked);
    atomic_store(&kit.vfs.read_bad_to, 4096);
    atomic_store(&kit.vfs.read_target, KIT_QUEUES);
    assert_int_equal(read_cold(&kit, &asked, queue, 0), STATUS_IO);
    assert_non_null(strstr(asked.read.err.text, "/consumequeue/A/0/00000000000000000000"));
    asked_release(&asked);
    assert_false(queue_entry_at(queue, 0, &entry));
    assert_int_equal(queue_store_time(queue, 0), -1);
    atomic_store(&kit.vfs.cold_target, KIT_NOTHING);
    assert_int_equal(try_count(&kit, queue, 0), 30);
    assert_true(queue_entry_in_memory(queue, 0));
    kit_release(&kit);
}

static void a_bad_block_is_an_error(void **state)
{
    (void)state;
    struct kit kit;
    struct asked asked;
    kit_init(&kit, "bad");
    start_old(&kit);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct queue_entry entry;
    atomic_store(&kit.vfs.cold_target, KIT_COMMIT_LOG);
    atomic_store(&kit.vfs.read_bad_from, 16384);
    atomic_store(&kit.vfs.read_bad_to, 20480);
    atomic_store(&kit.vfs.read_target, KIT_COMMIT_LOG);
    /* What stands in front of it is served. */
    assert_int_equal(read_cold(&kit, &asked, queue, 0), STATUS_OK);
    int64_t bad = asked.read.result.next_begin_offset;
    asked_release(&asked);
    assert_true(queue_entry_at(queue, bad, &entry));
    assert_true(bad > 1 && entry.pos < 16384 && entry.pos + entry.size > 16384);

    assert_int_equal(read_cold(&kit, &asked, queue, bad), STATUS_IO);
    assert_non_null(strstr(asked.read.err.text, "/commitlog/00000000000000000000"));
    assert_non_null(strstr(asked.read.err.text, "Input/output error"));
    assert_non_null(strstr(asked.read.err.text, "resetOffsetByTime"));
    asked_release(&asked);
    struct log_range range;
    assert_int_equal(store_read_record(kit.store, entry.pos, &range), STATUS_IO);
    assert_int_equal(store_cold(kit.store).failures, 3);

    /* What stands behind it, too. */
    do
        assert_true(queue_entry_at(queue, ++bad, &entry));
    while (entry.pos < 20480);
    assert_int_equal(store_read_record(kit.store, entry.pos, &range), STATUS_OK);
    log_range_release(&range);
    assert_int_equal(read_cold(&kit, &asked, queue, bad), STATUS_OK);
    assert_int_equal(asked.read.result.status, GET_FOUND);
    asked_release(&asked);
    /* Nothing was made worse. */
    atomic_store(&kit.vfs.read_target, KIT_NOTHING);
    assert_int_equal(kit_read_queue(&kit, queue, 0), MESSAGES);
    assert_int_equal(kit_put(&kit, "A", 0, "b", "").status, PUT_OK);
    kit_release(&kit);
}

static bool two_are_reading(void *ctx)
{
    return atomic_load(&((struct kit *)ctx)->vfs.reading) >= 2;
}

static bool one_is_reading(void *ctx)
{
    return atomic_load(&((struct kit *)ctx)->vfs.reading) >= 1;
}

/* Start with a disk that hangs. */
static void start_hanging(struct kit *kit, int threads)
{
    kit->options.cold_read_threads = threads;
    start_old(kit);
    atomic_store(&kit->vfs.cold_target, KIT_COMMIT_LOG);
    atomic_store(&kit->vfs.reading, 0);
    atomic_store(&kit->vfs.read_held, true);
}

static void bounded_and_cancelled(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "bounded");
    start_hanging(&kit, 2);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct asked *asked = calloc(COLD_READS_MAX + 3, sizeof *asked);
    assert_non_null(asked);
    for (int i = 0; i < COLD_READS_MAX + 3; i++)
        asked_init(&asked[i], queue, 0, (uint64_t)i);
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_read_cold(kit.store, &asked[i].read), STATUS_OK);
    kit_wait(two_are_reading, &kit);
    for (int i = 2; i < COLD_READS_MAX + 2; i++)
        assert_int_equal(store_read_cold(kit.store, &asked[i].read), STATUS_OK);
    assert_int_equal(store_read_cold(kit.store, &asked[COLD_READS_MAX + 2].read), STATUS_BUSY);
    assert_int_equal(store_cold(kit.store).waiting, COLD_READS_MAX);
    /* Appending and reading what is hot go on while the disk hangs. */
    kit_put_many(&kit, "B", 0, 10, 3);
    kit_dispatched(&kit);
    assert_int_equal(try_count(&kit, kit_queue(&kit, "B", 0), 0), 3);
    for (int i = 0; i < COLD_READS_MAX + 2; i++)
        atomic_store(&asked[i].read.cancelled, true);
    atomic_store(&kit.vfs.read_held, false);
    for (int i = 0; i < COLD_READS_MAX + 2; i++) {
        kit_wait(is_done, &asked[i]);
        assert_int_equal(asked[i].read.status, i < 2 ? STATUS_OK : STATUS_CLOSED);
    }
    assert_int_equal(store_cold(kit.store).reads, 2);
    for (int i = 0; i < COLD_READS_MAX + 2; i++)
        asked_release(&asked[i]);
    free(asked);
    kit_release(&kit);
}

static void clients_take_turns(void **state)
{
    (void)state;
    enum { GREEDY = 40 };
    struct kit kit;
    kit_init(&kit, "turns");
    start_hanging(&kit, 1);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct asked first;
    struct asked greedy[GREEDY];
    struct asked modest;
    asked_init(&first, queue, 0, 3);
    assert_int_equal(store_read_cold(kit.store, &first.read), STATUS_OK);
    kit_wait(one_is_reading, &kit);
    for (int i = 0; i < GREEDY; i++) {
        asked_init(&greedy[i], queue, 0, 7);
        assert_int_equal(store_read_cold(kit.store, &greedy[i].read), STATUS_OK);
    }
    asked_init(&modest, queue, 0, 5);
    assert_int_equal(store_read_cold(kit.store, &modest.read), STATUS_OK);
    atomic_store(&finished, 0);
    atomic_store(&kit.vfs.read_held, false);
    kit_wait(is_done, &modest);
    assert_true(modest.place <= 3);
    for (int i = 0; i < GREEDY; i++) {
        kit_wait(is_done, &greedy[i]);
        assert_true(i == 0 || greedy[i].place > greedy[i - 1].place);
        asked_release(&greedy[i]);
    }
    asked_release(&first);
    asked_release(&modest);
    kit_release(&kit);
}

/* A client that takes all places there are: another one still finds some. */
static void a_flood_leaves_room_for_others(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "flood");
    start_hanging(&kit, 1);
    struct queue *queue = kit_queue(&kit, "A", 0);
    const int most = 2 * COLD_READS_MAX;
    int count = 0;
    struct asked *asked = calloc((size_t)most, sizeof *asked);
    assert_non_null(asked);
    asked_init(&asked[count], queue, 0, 7);
    assert_int_equal(store_read_cold(kit.store, &asked[count++].read), STATUS_OK);
    kit_wait(one_is_reading, &kit);
    for (uint64_t client = 7; client < 10; client++) {
        int before = count;
        for (;; count++) {
            assert_true(count < most);
            asked_init(&asked[count], queue, 0, client);
            if (store_read_cold(kit.store, &asked[count].read) != STATUS_OK)
                break;
        }
        arena_release(&asked[count].read.arena);
        assert_int_equal(count - before, client == 7 ? COLD_READS_MAX : COLD_READS_MAX / 64);
    }
    for (int i = 0; i < count; i++)
        atomic_store(&asked[i].read.cancelled, true);
    atomic_store(&kit.vfs.read_held, false);
    for (int i = 0; i < count; i++) {
        kit_wait(is_done, &asked[i]);
        asked_release(&asked[i]);
    }
    assert_int_equal(store_cold(kit.store).waiting, 0);
    free(asked);
    kit_release(&kit);
}

#define KNOCKS 2000

struct knocks {
    struct kit *kit;
    int count; /* that were taken in */
    struct asked asked[KNOCKS];
};

/* Let the disk go on once the store stops, which is when it takes no more reads. */
static void *let_go(void *arg)
{
    struct knocks *knocks = arg;
    while (knocks->count < KNOCKS) {
        struct asked *asked = &knocks->asked[knocks->count];
        asked_init(asked, NULL, 0, 0);
        if (store_read_cold(knocks->kit->store, &asked->read) != STATUS_OK)
            break;
        knocks->count++;
        (void)nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    atomic_store(&knocks->kit->vfs.read_held, false);
    return NULL;
}

static void stopping_gives_up(void **state)
{
    (void)state;
    enum { WAITING = 10 };
    struct kit kit;
    kit_init(&kit, "stopping");
    start_hanging(&kit, 1);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct asked asked[WAITING + 1];
    asked_init(&asked[0], queue, 0, 0);
    assert_int_equal(store_read_cold(kit.store, &asked[0].read), STATUS_OK);
    kit_wait(one_is_reading, &kit);
    for (int i = 1; i <= WAITING; i++) {
        asked_init(&asked[i], queue, 0, (uint64_t)i);
        assert_int_equal(store_read_cold(kit.store, &asked[i].read), STATUS_OK);
    }
    pthread_t thread;
    struct knocks *knocks = calloc(1, sizeof *knocks);
    assert_non_null(knocks);
    knocks->kit = &kit;
    assert_int_equal(pthread_create(&thread, NULL, let_go, knocks), 0);
    store_stop(kit.store);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i <= WAITING; i++) {
        assert_true(is_done(&asked[i]));
        assert_int_equal(asked[i].read.status, i == 0 ? STATUS_OK : STATUS_CLOSED);
        asked_release(&asked[i]);
    }
    for (int i = 0; i < knocks->count; i++) {
        assert_true(is_done(&knocks->asked[i]));
        assert_int_equal(knocks->asked[i].read.status, STATUS_CLOSED);
    }
    free(knocks);
    kit_release(&kit);
}

/* --- with the real page cache --- */

#define BIG_SEGMENT ((int64_t)4 << 20)
#define BIG_MESSAGES 1500 /* of 16 KiB: nearly six segments */

static void segment_path(const struct kit *kit, int number, char path[256])
{
    (void)snprintf(path, 256, "%s/%020lld", kit->commit_log, (long long)(number * BIG_SEGMENT));
}

/* Bytes of a file that are in memory. */
static int64_t in_memory(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDWR);
    assert_true(fd != -1);
    assert_int_equal(fstat(fd, &st), 0);
    size_t page_bytes = vfs_page_bytes();
    size_t count = ((size_t)st.st_size + page_bytes - 1) / page_bytes;
    uint8_t *pages = malloc(count);
    void *memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(pages != NULL && memory != MAP_FAILED);
    assert_int_equal(mincore(memory, (size_t)st.st_size, pages), 0);
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += (pages[i] & 1) != 0 ? (int64_t)page_bytes : 0;
    assert_int_equal(munmap(memory, (size_t)st.st_size), 0);
    free(pages);
    assert_int_equal(close(fd), 0);
    return bytes;
}

/* Make a file cold; false on a file system that lives in memory. */
static bool make_cold(const char *path)
{
    int fd = open(path, O_RDWR);
    assert_true(fd != -1);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    assert_int_equal(close(fd), 0);
    return in_memory(path) == 0;
}

static void make_warm(const char *path)
{
    static char chunk[65536];
    int fd = open(path, O_RDONLY);
    assert_true(fd != -1);
    while (read(fd, chunk, sizeof chunk) > 0)
        continue;
    assert_int_equal(close(fd), 0);
}

/* Read the queue as a loop and the cold readers do together; how many pulls there were. */
static int catch_up(struct kit *kit, struct queue *queue)
{
    int pulls = 0;
    int64_t next = 0;
    struct arena arena;
    arena_init(&arena, 4096);
    while (next < BIG_MESSAGES) {
        struct get_request request = {.queue = queue, .queue_offset = next, .max_messages = 32};
        struct get_result got;
        struct asked asked;
        bool here = store_try_get(kit->store, &request, &arena, &got);
        if (!here) {
            assert_int_equal(read_cold(kit, &asked, queue, next), STATUS_OK);
            got = asked.read.result;
        }
        assert_int_equal(got.status, GET_FOUND);
        for (int i = 0; i < got.range_count; i++) {
            struct record record;
            assert_int_equal(record_decode(slice_of(got.ranges[i].data, got.ranges[i].size),
                                           RECORD_CHECK_CRC, &record),
                             STATUS_OK);
            if (here)
                log_range_release(&got.ranges[i]);
        }
        if (!here)
            asked_release(&asked);
        next = got.next_begin_offset;
        arena_reset(&arena);
        pulls++;
    }
    arena_release(&arena);
    return pulls;
}

static void the_page_cache_is_not_flooded(void **state)
{
    (void)state;
    enum { OLD = 4, WARM = 2 }; /* segments looked at; the one that is in memory before */
    enum { CACHE = 4 << 20 };
    struct kit kit;
    char path[256];
    kit_init(&kit, "flood");
    kit.options.segment_bytes = BIG_SEGMENT;
    kit.options.queue_file_bytes = 60000;
    kit.options.cold_read_cache_bytes = CACHE;
    kit_start(&kit);
    for (int i = 0; i < BIG_MESSAGES / 50; i++)
        kit_put_many(&kit, "A", 0, 16000, 50);
    kit_dispatched(&kit);
    kit_close(&kit);
    bool cold = true;
    for (int i = 0; i < OLD; i++) {
        segment_path(&kit, i, path);
        cold = make_cold(path) && cold;
    }
    if (!cold) {
        print_message("%s lies in memory, nothing can be cold there\n", kit.root);
        kit_release(&kit);
        skip();
    }
    segment_path(&kit, WARM, path);
    make_warm(path);
    kit_start(&kit);
    int pulls = catch_up(&kit, kit_queue(&kit, "A", 0));
    struct store_cold stats = store_cold(kit.store);
    int64_t left = 0;
    for (int i = 0; i < OLD; i++) {
        segment_path(&kit, i, path);
        if (i == WARM)
            assert_int_equal(in_memory(path), BIG_SEGMENT);
        else
            left += in_memory(path);
    }
    print_message("%d pulls, %lld cold reads of %lld bytes, %lld bytes of old segments left\n",
                  pulls, (long long)stats.reads, (long long)stats.read_bytes, (long long)left);
    /* Large folios are dropped only as a whole. */
    assert_true(left <= CACHE + (1 << 20));
    assert_true(stats.kept_bytes <= CACHE);
    assert_true(stats.dropped_bytes >= (OLD - 1) * BIG_SEGMENT - CACHE - (1 << 20));
    assert_true(stats.reads > 2 && stats.reads < pulls);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hot_is_not_asked_about),  cmocka_unit_test(a_record_by_position),
        cmocka_unit_test(cold_is_read_elsewhere),  cmocka_unit_test(what_is_in_front_is_served),
        cmocka_unit_test(what_is_ahead),           cmocka_unit_test(cold_entries),
        cmocka_unit_test(a_bad_block_is_an_error), cmocka_unit_test(bounded_and_cancelled),
        cmocka_unit_test(clients_take_turns),      cmocka_unit_test(a_flood_leaves_room_for_others),
        cmocka_unit_test(stopping_gives_up),       cmocka_unit_test(the_page_cache_is_not_flooded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
