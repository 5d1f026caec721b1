/* SPDX-License-Identifier: Apache-2.0
 *
 * Held pulls: what arrives wakes exactly the requests of its queue, on their loop; time-outs,
 * closed connections and shutting down end them once; one connection holds a bounded share; nothing
 * is lost when an arrival and a hold_add cross. With a real store and real loops; the requests are
 * bare `struct held`.
 */
#include "test/unit/state/state_test.h"

#include "broker/state/hold.h"
#include "common/base/limits.h"
#include "common/net/loop.h"

#include <stdatomic.h>
#include <time.h>

#define LOOPS 2
#define HELD_MAX 300

struct held_request {
    struct held held;
    enum status added;
    _Atomic int arrivals;
    _Atomic int expired;
    _Atomic int dropped;
    int64_t looked_offset; /* as the table says at its last call */
};

struct fixture {
    struct folder folder;
    struct store *store;
    struct append_batch *batch;
    struct loop *loops[LOOPS];
    struct hold_tables *tables;
    struct held_request requests[HELD_MAX];
    bool answer_on_arrival;
    bool tags_unknown;
};

static struct fixture *current;

static void on_arrival(void *ctx, struct held *held)
{
    struct held_request *request = (struct held_request *)(void *)held;
    request->looked_offset = held->looked_offset;
    atomic_fetch_add(&request->arrivals, 1);
    if (current->answer_on_arrival)
        hold_remove(hold_tables_get(current->tables, loop_index(ctx)), held);
}

static void on_expire(void *ctx, struct held *held)
{
    (void)ctx;
    ((struct held_request *)(void *)held)->looked_offset = held->looked_offset;
    atomic_fetch_add(&((struct held_request *)(void *)held)->expired, 1);
}

struct tag_look {
    void (*each)(void *ctx, int64_t tags_code);
    void *ctx;
};

static bool show_tag(void *ctx, int64_t tags_code)
{
    const struct tag_look *look = ctx;
    look->each(look->ctx, tags_code);
    return false;
}

static int64_t tags(void *ctx, struct queue *queue, int64_t from,
                    void (*each)(void *each_ctx, int64_t tags_code), void *each_ctx)
{
    (void)ctx;
    struct tag_look look = {each, each_ctx};
    struct get_request request = {.queue = queue,
                                  .queue_offset = from,
                                  .max_messages = 1,
                                  .filter = show_tag,
                                  .filter_ctx = &look};
    struct get_result got;
    struct arena arena;
    if (current->tags_unknown)
        return from;
    arena_init(&arena, 256);
    assert_true(store_try_get(current->store, &request, &arena, &got));
    arena_release(&arena);
    return got.next_begin_offset;
}

static void on_drop(void *ctx, struct held *held)
{
    (void)ctx;
    atomic_fetch_add(&((struct held_request *)(void *)held)->dropped, 1);
}

static void start(struct fixture *f)
{
    static const int64_t levels[] = {1000};
    struct err err = {0};
    char log[PATH_BYTES];
    memset(f, 0, sizeof *f);
    current = f;
    f->answer_on_arrival = true;
    folder_make(&f->folder);
    struct store_options options = {
        .root = f->folder.path,
        .commit_log = folder_file(&f->folder, "commitlog", log),
        .segment_bytes = 1 << 20,
        .queue_file_bytes = 6000,
        .index_slots = 64,
        .index_entries = 256,
        .record_bytes_max = 65536,
        .flush = STORE_FLUSH_ASYNC,
        .flush_interval_ms = 500,
        .flush_timed = true,
        .flush_least_pages = 4,
        .flush_queues_least_pages = 2,
        .flush_thorough_interval_ms = 10000,
        .flush_queues_interval_ms = 1000,
        .flush_queues_thorough_interval_ms = 60000,
        .file_reserved_hours = 72,
        .delete_when = "04",
        .disk_max_used_percent = 95,
        .clean_interval_ms = 10000,
        .delay_levels_ms = levels,
        .delay_level_count = 1,
        .memory_bytes_hot = 1 << 30,
        .transfer_bytes_memory = 262144,
        .transfer_count_memory = 32,
        .transfer_bytes_disk = 65536,
        .transfer_count_disk = 8,
    };
    assert_int_equal(store_open(&options, vfs_posix(), clock_real(), &f->store, &err), STATUS_OK);
    f->batch = append_batch_new(f->store);
    struct hold_callbacks callbacks[LOOPS];
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(loop_new("test", i, clock_real(), &f->loops[i], &err), STATUS_OK);
        callbacks[i] = (struct hold_callbacks){f->loops[i], on_arrival, on_expire, on_drop, tags};
    }
    f->tables = hold_tables_new(f->loops, LOOPS, callbacks);
    store_set_listener(f->store,
                       (struct store_listener){.ctx = f->tables, .on_arrival = hold_arrival});
    assert_int_equal(store_start(f->store, &err), STATUS_OK);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(loop_start(f->loops[i], &err), STATUS_OK);
}

static void finish(struct fixture *f)
{
    for (int i = 0; i < LOOPS; i++)
        loop_stop(f->loops[i]);
    append_batch_free(f->batch);
    store_stop(f->store);
    for (int i = 0; i < LOOPS; i++)
        loop_settle(f->loops[i]);
    hold_tables_free(f->tables);
    for (int i = 0; i < LOOPS; i++)
        loop_free(f->loops[i]);
    store_close(f->store);
    folder_remove(&f->folder);
}

static struct queue *queue_of(struct fixture *f, int32_t id)
{
    return store_queue(f->store, SLICE_LITERAL("TopicA"), id, true);
}

static void put_tagged(struct fixture *f, int32_t id, struct slice properties)
{
    struct record record = {
        .properties = properties,
        .queue_id = id,
        .born_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4},
        .store_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4},
        .body = SLICE_LITERAL("body"),
        .topic = SLICE_LITERAL("TopicA"),
    };
    assert_int_equal(append_batch_add(f->batch, queue_of(f, id), &record, false, NULL), STATUS_OK);
    assert_int_equal(store_append(f->store, f->batch)[0].status, PUT_OK);
    append_batch_clear(f->batch);
}

static void put(struct fixture *f, int32_t id)
{
    put_tagged(f, id, SLICE_EMPTY);
}

/* Poll until *counter has the value; fails after a minute. */
static void await_count(_Atomic int *counter, int value)
{
    const struct timespec pause = {0, 1000000};
    for (int i = 0; i < 60000 && atomic_load(counter) < value; i++)
        (void)nanosleep(&pause, NULL);
    assert_int_equal(atomic_load(counter), value);
}

/* --- running something on a loop and waiting for it --- */

struct errand {
    struct loop_task task;
    struct fixture *fixture;
    void (*run)(struct fixture *f, struct hold_table *table, struct held_request *request);
    struct held_request *request;
    int loop;
    _Atomic int done;
};

static void errand_run(struct loop_task *task)
{
    struct errand *errand = (struct errand *)(void *)task;
    errand->run(errand->fixture, hold_tables_get(errand->fixture->tables, errand->loop),
                errand->request);
    atomic_store(&errand->done, 1);
}

static void on_loop(struct fixture *f, int loop, struct held_request *request,
                    void (*run)(struct fixture *f, struct hold_table *table,
                                struct held_request *request))
{
    struct errand errand = {{NULL, errand_run}, f, run, request, loop, 0};
    loop_post(f->loops[loop], &errand.task);
    await_count(&errand.done, 1);
}

static void do_hold(struct fixture *f, struct hold_table *table, struct held_request *request)
{
    (void)f;
    request->added = hold_add(table, &request->held);
}

static void do_park(struct fixture *f, struct hold_table *table, struct held_request *request)
{
    (void)f;
    request->added = hold_park(table, &request->held);
}

static void do_remove(struct fixture *f, struct hold_table *table, struct held_request *request)
{
    (void)f;
    hold_remove(table, &request->held);
}

static void do_close(struct fixture *f, struct hold_table *table, struct held_request *request)
{
    (void)f;
    hold_conn_closed(table, request->held.conn);
}

static void do_expire_all(struct fixture *f, struct hold_table *table, struct held_request *request)
{
    (void)f;
    (void)request;
    hold_expire_all(table);
}

static struct held_request *hold_on(struct fixture *f, int index, int loop, int32_t queue,
                                    int64_t timeout_ms)
{
    struct held_request *request = &f->requests[index];
    request->held.queue = queue_of(f, queue);
    request->held.conn = (struct conn_ref){f->loops[loop], (uint32_t)index, 1};
    request->held.deadline_ms = clock_monotonic_ms(clock_real()) + timeout_ms;
    on_loop(f, loop, request, do_hold);
    return request;
}

static struct held_request *hold_for(struct fixture *f, int index, const int32_t *codes, int count,
                                     int64_t timeout_ms)
{
    f->requests[index].held.codes = codes;
    f->requests[index].held.code_count = count;
    f->requests[index].held.looked_offset = queue_max_offset(queue_of(f, 0));
    return hold_on(f, index, 0, 0, timeout_ms);
}

/* --- tests --- */

static void an_arrival_wakes_its_queue_only(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    struct held_request *first = hold_on(f, 0, 0, 0, 60000);
    struct held_request *second = hold_on(f, 1, 1, 0, 60000);
    struct held_request *other = hold_on(f, 2, 0, 1, 60000);
    put(f, 0);
    await_count(&first->arrivals, 1);
    await_count(&second->arrivals, 1);
    put(f, 1);
    await_count(&other->arrivals, 1);
    assert_int_equal(atomic_load(&first->arrivals), 1);
    finish(f);
    assert_int_equal(atomic_load(&other->dropped), 0);
    free(f);
}

static void one_left_held_hears_of_each_arrival(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    f->answer_on_arrival = false;
    struct held_request *request = hold_on(f, 0, 0, 0, 60000);
    for (int i = 1; i <= 3; i++) {
        put(f, 0);
        await_count(&request->arrivals, i);
    }
    finish(f);
    assert_int_equal(atomic_load(&request->dropped), 1);
    free(f);
}

/* "A" has the hash 65, "B" 66. */
static const int32_t a_or_b[] = {65, 66};

static void only_wished_tags_wake(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    f->answer_on_arrival = false;
    struct held_request *a = hold_for(f, 0, a_or_b, 1, 60000);
    struct held_request *b = hold_for(f, 1, a_or_b + 1, 1, 60000);
    struct held_request *both = hold_for(f, 2, a_or_b, 2, 400);
    struct held_request *any = hold_for(f, 3, NULL, 0, 60000);
    for (int i = 1; i <= 5; i++) {
        put_tagged(f, 0, SLICE_LITERAL("TAGS\001C"));
        await_count(&any->arrivals, i);
    }
    put_tagged(f, 0, SLICE_LITERAL("TAGS\001B"));
    await_count(&any->arrivals, 6);
    await_count(&b->arrivals, 1);
    await_count(&both->arrivals, 1);
    assert_int_equal(b->looked_offset, 5); /* the others were looked at for it */
    put_tagged(f, 0, SLICE_LITERAL("TAGS\001C"));
    await_count(&any->arrivals, 7);
    await_count(&both->expired, 1);
    assert_int_equal(both->looked_offset, 7);
    assert_int_equal(atomic_load(&a->arrivals), 0);
    assert_int_equal(atomic_load(&b->arrivals), 1);
    finish(f);
    assert_int_equal(atomic_load(&a->dropped), 1);
    free(f);
}

static void unknown_tags_wake_all(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    f->tags_unknown = true;
    struct held_request *a = hold_for(f, 0, a_or_b, 1, 60000);
    struct held_request *b = hold_for(f, 1, a_or_b + 1, 1, 60000);
    put_tagged(f, 0, SLICE_LITERAL("TAGS\001C"));
    await_count(&a->arrivals, 1);
    await_count(&b->arrivals, 1);
    assert_int_equal(a->looked_offset, 0); /* each has to look itself */
    finish(f);
    free(f);
}

static void do_hold_all(struct fixture *f, struct hold_table *table, struct held_request *request)
{
    (void)request;
    for (int i = 0; i < HELD_MAX; i++)
        assert_int_equal(hold_add(table, &f->requests[i].held), STATUS_OK);
}

/* More than one task calls, and an arrival meanwhile: each hears once, and those that are answered
 * are not called again. */
static void many_are_woken_in_parts(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    for (int i = 0; i < HELD_MAX; i++) {
        struct held *held = &f->requests[i].held;
        held->queue = queue_of(f, 0);
        held->conn = (struct conn_ref){f->loops[0], (uint32_t)i, 1};
        held->deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
        held->codes = a_or_b;
        held->code_count = i % 3;
    }
    on_loop(f, 0, NULL, do_hold_all);
    put_tagged(f, 0, SLICE_LITERAL("TAGS\001B"));
    put_tagged(f, 0, SLICE_LITERAL("TAGS\001A"));
    for (int i = 0; i < HELD_MAX; i++)
        await_count(&f->requests[i].arrivals, 1);
    finish(f);
    for (int i = 0; i < HELD_MAX; i++) {
        assert_int_equal(atomic_load(&f->requests[i].arrivals), 1);
        assert_int_equal(atomic_load(&f->requests[i].dropped), 0);
    }
    free(f);
}

static void time_ends_a_hold(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    struct held_request *soon = hold_on(f, 0, 0, 0, 80);
    struct held_request *late = hold_on(f, 1, 0, 0, 60000);
    /* A deadline one turn of the wheel later than another's shares its slot. */
    struct held_request *next_round = hold_on(f, 2, 0, 0, 80 + 1024 * 50);
    await_count(&soon->expired, 1);
    assert_int_equal(atomic_load(&late->expired), 0);
    assert_int_equal(atomic_load(&next_round->expired), 0);
    on_loop(f, 0, NULL, do_expire_all);
    assert_int_equal(atomic_load(&late->expired), 1);
    assert_int_equal(atomic_load(&next_round->expired), 1);
    assert_int_equal(atomic_load(&soon->expired), 1);
    finish(f);
    free(f);
}

static void a_closed_connection_drops_its_own(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    struct held_request *gone = hold_on(f, 0, 0, 0, 60000);
    struct held_request *stays = hold_on(f, 1, 0, 0, 60000);
    on_loop(f, 0, gone, do_close);
    assert_int_equal(atomic_load(&gone->dropped), 1);
    put(f, 0);
    await_count(&stays->arrivals, 1);
    assert_int_equal(atomic_load(&gone->arrivals), 0);
    finish(f);
    free(f);
}

static void crossing_arrivals_are_not_lost(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    /* Hold and put at the same time, again and again: the holder either hears of the message or
     * sees it when it looks after holding, as the contract asks of it. */
    for (int round = 0; round < HELD_MAX; round++) {
        struct held_request *request = &f->requests[round];
        request->held.queue = queue_of(f, 0);
        request->held.conn = (struct conn_ref){f->loops[0], (uint32_t)round, 1};
        request->held.deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
        int64_t before = queue_max_offset(request->held.queue);
        struct errand errand = {{NULL, errand_run}, f, do_hold, request, 0, 0};
        loop_post(f->loops[0], &errand.task);
        put(f, 0);
        await_count(&errand.done, 1);
        if (queue_max_offset(request->held.queue) == before)
            await_count(&request->arrivals, 1);
    }
    finish(f);
    free(f);
}

/* --- bounds --- */

/* Hold one more request of the connection in slot 0. */
static enum status hold_more(struct fixture *f, struct held_request *request, uint32_t slot,
                             size_t bytes)
{
    request->held.queue = queue_of(f, 0);
    request->held.conn = (struct conn_ref){f->loops[0], slot, 1};
    request->held.deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
    request->held.bytes = bytes;
    on_loop(f, 0, request, do_hold);
    return request->added;
}

/* Parked requests hear of their connection's end and of the broker's, and count against the same
 * bounds. */
static void parked_ones_share_the_bounds(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    struct held_request *parked = &f->requests[0];
    struct held_request *gone = &f->requests[1];
    struct held_request *last = &f->requests[2];
    parked->held.conn = (struct conn_ref){f->loops[0], 0, 1};
    parked->held.bytes = CONNECTION_HELD_BYTES_MAX;
    on_loop(f, 0, parked, do_park);
    assert_int_equal(parked->added, STATUS_OK);
    assert_int_equal(hold_more(f, &f->requests[3], 0, 1), STATUS_BUSY);
    on_loop(f, 0, parked, do_remove);
    assert_int_equal(hold_more(f, &f->requests[3], 0, CONNECTION_HELD_BYTES_MAX), STATUS_OK);
    on_loop(f, 0, parked, do_park);
    assert_int_equal(parked->added, STATUS_BUSY);

    gone->held.conn = (struct conn_ref){f->loops[0], 5, 1};
    on_loop(f, 0, gone, do_park);
    on_loop(f, 0, gone, do_close);
    assert_int_equal(atomic_load(&gone->dropped), 1);
    last->held.conn = (struct conn_ref){f->loops[0], 6, 1};
    on_loop(f, 0, last, do_park);
    on_loop(f, 0, NULL, do_expire_all);
    assert_int_equal(atomic_load(&last->expired), 1);
    assert_int_equal(atomic_load(&parked->dropped) + atomic_load(&parked->expired), 0);
    finish(f);
    assert_int_equal(atomic_load(&last->dropped) + atomic_load(&gone->expired), 0);
    free(f);
}

static void one_connection_holds_so_many_bytes(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    assert_int_equal(hold_more(f, &f->requests[0], 0, CONNECTION_HELD_BYTES_MAX - 1), STATUS_OK);
    assert_int_equal(hold_more(f, &f->requests[1], 0, 2), STATUS_BUSY);
    assert_int_equal(hold_more(f, &f->requests[2], 0, 1), STATUS_OK);
    assert_int_equal(hold_more(f, &f->requests[3], 200, 2), STATUS_OK); /* another connection */
    on_loop(f, 0, &f->requests[0], do_close);
    assert_int_equal(hold_more(f, &f->requests[4], 0, CONNECTION_HELD_BYTES_MAX), STATUS_OK);
    finish(f);
    assert_int_equal(atomic_load(&f->requests[1].dropped), 0);
    assert_int_equal(atomic_load(&f->requests[4].dropped), 1);
    free(f);
}

static void do_hold_many(struct fixture *f, struct hold_table *table, struct held_request *many)
{
    (void)f;
    for (size_t i = 0; i <= CONNECTION_HELD_MAX; i++) {
        many[i].held = many[CONNECTION_HELD_MAX].held;
        many[i].added = hold_add(table, &many[i].held);
    }
}

static void one_connection_holds_so_many_requests(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    struct held_request *many = calloc(CONNECTION_HELD_MAX + 1, sizeof *many);
    start(f);
    many[CONNECTION_HELD_MAX].held.queue = queue_of(f, 0);
    many[CONNECTION_HELD_MAX].held.conn = (struct conn_ref){f->loops[0], 0, 1};
    many[CONNECTION_HELD_MAX].held.deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
    on_loop(f, 0, many, do_hold_many);
    for (size_t i = 0; i < CONNECTION_HELD_MAX; i++)
        assert_int_equal(many[i].added, STATUS_OK);
    assert_int_equal(many[CONNECTION_HELD_MAX].added, STATUS_BUSY);
    finish(f);
    free(many);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arrival_wakes_its_queue_only),
        cmocka_unit_test(one_left_held_hears_of_each_arrival),
        cmocka_unit_test(only_wished_tags_wake),
        cmocka_unit_test(unknown_tags_wake_all),
        cmocka_unit_test(many_are_woken_in_parts),
        cmocka_unit_test(time_ends_a_hold),
        cmocka_unit_test(a_closed_connection_drops_its_own),
        cmocka_unit_test(crossing_arrivals_are_not_lost),
        cmocka_unit_test(parked_ones_share_the_bounds),
        cmocka_unit_test(one_connection_holds_so_many_bytes),
        cmocka_unit_test(one_connection_holds_so_many_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
