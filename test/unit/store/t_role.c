/* SPDX-License-Identifier: Apache-2.0
 *
 * A store that changes its role while it runs: a slave that takes messages goes on where its
 * master's log and queues ended as far as it has them, and the master that it was can follow it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/store_kit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS 10000

struct pair {
    struct kit one; /* the first master */
    struct kit two;
};

static void pair_init(struct pair *pair)
{
    kit_init(&pair->one, "one");
    kit_init(&pair->two, "two");
    /* A further file of a queue waits for the disk. */
    pair->one.options.queue_file_bytes = pair->two.options.queue_file_bytes = 60000;
    pair->two.options.role = STORE_ROLE_SLAVE;
    kit_start(&pair->one);
    kit_start(&pair->two);
}

static void pair_release(struct pair *pair)
{
    kit_release(&pair->one);
    kit_release(&pair->two);
}

static void set_role(struct kit *kit, enum store_role role)
{
    struct err err = {.text = ""};
    enum status status = store_set_role(kit->store, role, PATIENCE_MS, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(status, STATUS_OK);
}

/* Bring `to` up to `end` of the log of `from`, in pieces of 1,000 bytes. */
static void copy(struct kit *from, struct kit *to, int64_t end)
{
    struct err err;
    while (store_received_pos(to->store) < end) {
        struct log_range range;
        int64_t pos = store_received_pos(to->store);
        size_t size = end - pos < 1000 ? (size_t)(end - pos) : 1000;
        assert_int_equal(store_log_bytes(from->store, pos, size, &range), STATUS_OK);
        assert_int_equal(store_append_raw(to->store, pos, slice_of(range.data, range.size), &err),
                         STATUS_OK);
        log_range_release(&range);
    }
}

static void copy_all(struct kit *from, struct kit *to)
{
    copy(from, to, store_appended_pos(from->store));
}

static void a_slave_becomes_master(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    kit_put_many(&pair.one, "A", 0, 900, 100);
    int64_t end = store_appended_pos(pair.one.store);
    kit_put(&pair.one, "A", 0, "not all of it arrives", "");
    copy(&pair.one, &pair.two, end + 20);
    assert_int_equal(store_received_pos(pair.two.store), end + 20);
    assert_int_equal(kit_put(&pair.two, "A", 0, "x", "").status, PUT_SERVICE_NOT_AVAILABLE);

    set_role(&pair.two, STORE_ROLE_MASTER);
    set_role(&pair.two, STORE_ROLE_MASTER);
    assert_true(store_writable(pair.two.store, NULL, 0));
    struct append_result result = kit_put(&pair.two, "A", 0, "the next", "");
    assert_int_equal(result.status, PUT_OK);
    assert_int_equal(result.pos, end);
    assert_int_equal(result.queue_offset, 100);
    assert_int_equal(kit_put(&pair.two, "B", 0, "the first", "").queue_offset, 0);
    struct err err;
    assert_int_equal(store_append_raw(pair.two.store, store_appended_pos(pair.two.store),
                                      slice_of_cstr("x"), &err),
                     STATUS_READ_ONLY);
    kit_dispatched(&pair.two);
    assert_int_equal(kit_read_queue(&pair.two, kit_queue(&pair.two, "A", 0), 0), 101);

    /* As a master it starts again, after a kill too. */
    struct kit after;
    pair.two.options.role = STORE_ROLE_MASTER;
    kit_crash(&pair.two, &after);
    kit_open(&after);
    assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 101);
    assert_int_equal(kit_put(&after, "A", 0, "more", "").queue_offset, 101);
    kit_release(&after);
    pair_release(&pair);
}

/* There and back again, with messages by either. */
static void roles_change_hands(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    struct kit *master = &pair.one;
    struct kit *slave = &pair.two;
    for (int turn = 0; turn < 6; turn++) {
        for (int i = 0; i < 20; i++)
            assert_int_equal(kit_put(master, "A", 0, "a", "KEYS\001k").queue_offset, turn * 20 + i);
        kit_put_many(master, "B", turn % 2, 1000, 50);
        set_role(master, STORE_ROLE_SLAVE);
        assert_int_equal(kit_put(master, "A", 0, "x", "").status, PUT_SERVICE_NOT_AVAILABLE);
        copy_all(master, slave);
        set_role(slave, STORE_ROLE_MASTER);
        struct kit *was_master = master;
        master = slave;
        slave = was_master;
    }
    kit_dispatched(&pair.one);
    kit_dispatched(&pair.two);
    int64_t end = store_appended_pos(pair.one.store);
    assert_int_equal(store_appended_pos(pair.two.store), end);
    for (int64_t pos = 0; pos < end; pos += 65536) {
        struct log_range one;
        struct log_range two;
        assert_int_equal(store_log_bytes(pair.one.store, pos, 65536, &one), STATUS_OK);
        assert_int_equal(store_log_bytes(pair.two.store, pos, 65536, &two), STATUS_OK);
        assert_int_equal(one.size, two.size);
        assert_memory_equal(one.data, two.data, one.size);
        log_range_release(&one);
        log_range_release(&two);
    }
    assert_int_equal(kit_read_queue(&pair.one, kit_queue(&pair.one, "A", 0), 0), 120);
    assert_int_equal(kit_read_queue(&pair.two, kit_queue(&pair.two, "A", 0), 0), 120);
    assert_int_equal(kit_read_queue(&pair.two, kit_queue(&pair.two, "B", 1), 0), 150);
    pair_release(&pair);
}

/* As long as queues lack entries nobody knows the next offset. */
static void dispatch_is_waited_for(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    kit_put_many(&pair.one, "A", 0, 100, 10);
    atomic_store(&pair.two.vfs.open_target, KIT_QUEUES);
    copy_all(&pair.one, &pair.two);
    assert_int_equal(store_set_role(pair.two.store, STORE_ROLE_MASTER, 20, &err), STATUS_TIMEOUT);
    assert_non_null(strstr(err.text, "not in the queues"));
    assert_int_equal(kit_put(&pair.two, "A", 0, "x", "").status, PUT_SERVICE_NOT_AVAILABLE);
    /* It is a slave still, and follows. */
    kit_put_many(&pair.one, "A", 0, 100, 10);
    copy_all(&pair.one, &pair.two);
    atomic_store(&pair.two.vfs.open_target, KIT_NOTHING);
    set_role(&pair.two, STORE_ROLE_MASTER);
    assert_int_equal(kit_put(&pair.two, "A", 0, "x", "").queue_offset, 20);
    pair_release(&pair);
}

/* --- while others append --- */

struct appender {
    struct kit *kit;
    struct append_batch *batch;
    _Atomic bool stop;
    _Atomic int accepted;
};

static void *append_on(void *ctx)
{
    struct appender *appender = ctx;
    struct queue *queue = store_queue(appender->kit->store, slice_of_cstr("A"), 0, true);
    while (!atomic_load(&appender->stop)) {
        struct record record =
            kit_record(slice_of_cstr("A"), 0, slice_of_cstr("body"), slice_of_cstr(""));
        append_batch_clear(appender->batch);
        (void)append_batch_add(appender->batch, queue, &record, false, NULL);
        if (store_append(appender->kit->store, appender->batch)->status == PUT_OK)
            atomic_fetch_add(&appender->accepted, 1);
        struct timespec pause = {.tv_nsec = 20000};
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static bool some_accepted(void *ctx)
{
    struct appender *appender = ctx;
    return atomic_load(&appender->accepted) > 20;
}

static void nothing_gets_in_between(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    struct appender appender = {.kit = &pair.one, .batch = append_batch_new(pair.one.store)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, append_on, &appender), 0);
    int accepted = 0;
    for (int i = 0; i < 10; i++) {
        kit_wait(some_accepted, &appender);
        set_role(&pair.one, STORE_ROLE_SLAVE);
        int64_t end = store_appended_pos(pair.one.store);
        copy_all(&pair.one, &pair.two);
        assert_int_equal(store_appended_pos(pair.one.store), end);
        set_role(&pair.two, STORE_ROLE_MASTER);
        kit_put(&pair.two, "A", 0, "by the other", "");
        set_role(&pair.two, STORE_ROLE_SLAVE);
        copy_all(&pair.two, &pair.one);
        accepted += atomic_exchange(&appender.accepted, 0) + 1;
        set_role(&pair.one, STORE_ROLE_MASTER);
    }
    atomic_store(&appender.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    accepted += atomic_load(&appender.accepted);
    kit_dispatched(&pair.one);
    assert_int_equal(kit_read_queue(&pair.one, kit_queue(&pair.one, "A", 0), 0), accepted);
    append_batch_free(appender.batch);
    pair_release(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slave_becomes_master),
        cmocka_unit_test(roles_change_hands),
        cmocka_unit_test(dispatch_is_waited_for),
        cmocka_unit_test(nothing_gets_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
