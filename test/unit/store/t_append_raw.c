/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave's log, which is made of the bytes of a master's: whole records only, whatever the pieces
 * are like in which they come; what is damaged stays out; and what a disk without space does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- a master and its slave --- */

struct pair {
    struct kit master;
    struct kit slave;
};

static void pair_init(struct pair *pair)
{
    kit_init(&pair->master, "master");
    kit_init(&pair->slave, "slave");
    pair->slave.options.role = STORE_ROLE_SLAVE;
    kit_open(&pair->master);
    kit_open(&pair->slave);
}

static void pair_release(struct pair *pair)
{
    kit_release(&pair->master);
    kit_release(&pair->slave);
}

/* The next bytes of the master's log that the slave needs, at most `size`. */
static struct log_range next_bytes(struct pair *pair, size_t size)
{
    struct log_range range;
    assert_int_equal(
        store_log_bytes(pair->master.store, store_received_pos(pair->slave.store), size, &range),
        STATUS_OK);
    assert_true(store_log_in_memory(pair->master.store, &range));
    return range;
}

static enum status feed(struct pair *pair, const struct log_range *range, struct err *err)
{
    return store_append_raw(pair->slave.store, store_received_pos(pair->slave.store),
                            slice_of(range->data, range->size), err);
}

/* Bring the slave to the master's end in pieces of `size`. */
static void follow(struct pair *pair, size_t size)
{
    for (;;) {
        struct err err = {.text = ""};
        struct log_range range = next_bytes(pair, size);
        if (range.size == 0)
            break;
        enum status status = feed(pair, &range, &err);
        log_range_release(&range);
        assert_string_equal(err.text, "");
        assert_int_equal(status, STATUS_OK);
    }
    assert_int_equal(store_appended_pos(pair->slave.store), store_appended_pos(pair->master.store));
}

static void dispatch(struct kit *kit)
{
    kit_close(kit);
    kit_open(kit);
}

/* --- taking --- */

static void pieces_of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 8, 9, 36, 100, 1000, 32768, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct pair pair;
        pair_init(&pair);
        kit_put_many(&pair.master, "A", 0, 900, 100); /* over two files */
        kit_put_many(&pair.master, "B", 3, 10, 20);
        kit_put(&pair.master, "B", 3, "", "");
        follow(&pair, sizes[i]);
        assert_true(store_appended_pos(pair.slave.store) > pair.slave.options.segment_bytes);
        dispatch(&pair.slave);
        assert_int_equal(kit_read_queue(&pair.slave, kit_queue(&pair.slave, "A", 0), 0), 100);
        assert_int_equal(kit_read_queue(&pair.slave, kit_queue(&pair.slave, "B", 3), 0), 21);
        pair_release(&pair);
    }
}

/* The end of the slave's log is behind a record at every moment. */
static void begin_of_a_record_is_held(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    int64_t first_end = kit_put(&pair.master, "A", 0, "first", "").end_pos;
    int64_t second_end = kit_put(&pair.master, "A", 0, "second", "").end_pos;
    struct log_range range = next_bytes(&pair, (size_t)second_end - 1);
    assert_int_equal(feed(&pair, &range, &err), STATUS_OK);
    assert_int_equal(store_appended_pos(pair.slave.store), first_end);
    assert_int_equal(store_received_pos(pair.slave.store), second_end - 1);

    /* From another place it does not go on. */
    struct slice bytes = slice_of(range.data, range.size);
    assert_int_equal(store_append_raw(pair.slave.store, second_end, bytes, &err), STATUS_INVALID);
    assert_int_equal(store_append_raw(pair.slave.store, 0, bytes, &err), STATUS_INVALID);
    assert_int_equal(store_received_pos(pair.slave.store), second_end - 1);

    /* From the end of the log it does: the connection was lost. */
    bytes = slice_of(range.data + first_end, (size_t)(second_end - first_end));
    assert_int_equal(store_append_raw(pair.slave.store, first_end, bytes, &err), STATUS_OK);
    assert_int_equal(store_appended_pos(pair.slave.store), second_end);
    log_range_release(&range);
    dispatch(&pair.slave);
    assert_int_equal(kit_read_queue(&pair.slave, kit_queue(&pair.slave, "A", 0), 0), 2);
    pair_release(&pair);
}

/* A file may have anything behind its filler; it is what the master has. */
static void rest_of_a_file_is_copied(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    kit_put_many(&pair.master, "A", 0, 30000, 3);
    size_t size = (size_t)pair.master.options.segment_bytes;
    struct log_range range = next_bytes(&pair, size);
    assert_int_equal(range.size, size);
    uint8_t *file = malloc(size);
    assert_non_null(file);
    memcpy(file, range.data, size);
    log_range_release(&range);
    memset(file + size - 100, 'x', 100);
    /* Not before all of it is there. */
    assert_int_equal(store_append_raw(pair.slave.store, 0, slice_of(file, size - 1), &err),
                     STATUS_OK);
    assert_true(store_appended_pos(pair.slave.store) < (int64_t)size - 100);
    assert_int_equal(
        store_append_raw(pair.slave.store, (int64_t)size - 1, slice_of(file + size - 1, 1), &err),
        STATUS_OK);
    assert_int_equal(store_appended_pos(pair.slave.store), size);
    struct log_range copy;
    assert_int_equal(store_log_bytes(pair.slave.store, 0, size, &copy), STATUS_OK);
    assert_int_equal(copy.size, size);
    assert_memory_equal(copy.data, file, size);
    log_range_release(&copy);
    follow(&pair, 1000);
    dispatch(&pair.slave);
    assert_int_equal(kit_read_queue(&pair.slave, kit_queue(&pair.slave, "A", 0), 0), 3);
    free(file);
    pair_release(&pair);
}

/* --- damage --- */

struct damage {
    int64_t at; /* in the second record; -1: the size of the end-of-file mark */
    uint8_t to;
    const char *says;
};

static void damage_stays_out(void **state)
{
    (void)state;
    static const struct damage damages[] = {
        {4, 0, "mark"},        {0, 0x7F, "end of its file"}, {35, 0xFF, "somewhere else"},
        {8, 0xFF, "checksum"}, {3, 1, "size or checksum"},   {0, 0x80, "size or checksum"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        for (size_t piece = 1; piece < 1000; piece += 150) {
            struct pair pair;
            struct err err = {.text = ""};
            pair_init(&pair);
            int64_t first_end = kit_put(&pair.master, "A", 0, "first", "").end_pos;
            int64_t end = kit_put(&pair.master, "A", 0, "second", "").end_pos;
            uint8_t bytes[1000];
            struct log_range range = next_bytes(&pair, sizeof bytes);
            memcpy(bytes, range.data, range.size);
            log_range_release(&range);
            bytes[first_end + damages[i].at] = damages[i].to;
            enum status status = STATUS_OK;
            for (size_t at = 0; at < (size_t)end && status == STATUS_OK; at += piece) {
                size_t size = (size_t)end - at < piece ? (size_t)end - at : piece;
                status = store_append_raw(pair.slave.store, (int64_t)at, slice_of(bytes + at, size),
                                          &err);
            }
            assert_int_equal(status, STATUS_CORRUPT);
            if (strstr(err.text, damages[i].says) == NULL)
                fail_msg("expected \"%s\" in: %s", damages[i].says, err.text);
            assert_int_equal(store_appended_pos(pair.slave.store), first_end);
            assert_int_equal(store_received_pos(pair.slave.store), first_end);
            follow(&pair, 100); /* it was the network */
            pair_release(&pair);
        }
    }
}

static void filler_of_wrong_size_stays_out(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    uint8_t filler[8] = {0, 0, 0x10, 0, 0xCB, 0xD4, 0x31, 0x94};
    assert_int_equal(store_append_raw(pair.slave.store, 0, slice_of(filler, 8), &err),
                     STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "end-of-file"));
    pair_release(&pair);
}

/* What a master says that it will send is held in memory until it is there, so it has a limit. */
static void what_is_held_is_bounded(void **state)
{
    (void)state;
    static const uint32_t magics[] = {RECORD_MAGIC, RECORD_FILLER_MAGIC};
    const int32_t size = 128 << 20;
    for (size_t i = 0; i < 2; i++) {
        struct kit slave;
        struct err err;
        uint8_t head[8];
        kit_init(&slave, "slave");
        slave.options.role = STORE_ROLE_SLAVE;
        slave.options.segment_bytes = i == 0 ? size + 100 : size;
        kit_open(&slave);
        put_i32(head, size);
        put_u32(head + 4, magics[i]);
        assert_int_equal(store_append_raw(slave.store, 0, slice_of(head, 7), &err), STATUS_OK);
        assert_int_equal(store_append_raw(slave.store, 7, slice_of(head + 7, 1), &err),
                         STATUS_INVALID);
        assert_non_null(strstr(err.text, "set its maxMessageSize to the master's"));
        assert_int_equal(store_append_raw(slave.store, 0, slice_of(head, 8), &err), STATUS_INVALID);
        kit_close(&slave);
        slave.options.record_bytes_max = size; /* the operator has done so */
        kit_open(&slave);
        assert_int_equal(store_append_raw(slave.store, 0, slice_of(head, 8), &err), STATUS_OK);
        assert_int_equal(store_received_pos(slave.store), 8);
        kit_release(&slave);
    }
}

/* --- the disk --- */

static void no_space_passes(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    kit_put_many(&pair.master, "A", 0, 100, 50);
    int64_t end = store_appended_pos(pair.master.store);
    struct log_range range = next_bytes(&pair, 1000);
    assert_int_equal(feed(&pair, &range, &err), STATUS_OK);
    int64_t appended = store_appended_pos(pair.slave.store);
    assert_true(appended < 1000);
    log_range_release(&range);

    atomic_store(&pair.slave.vfs.write_target, KIT_COMMIT_LOG);
    atomic_store(&pair.slave.vfs.write_torn, 300);
    range = next_bytes(&pair, 5000);
    assert_int_equal(feed(&pair, &range, &err), STATUS_FULL);
    assert_non_null(strstr(err.text, "free disk space"));
    assert_int_equal(store_appended_pos(pair.slave.store), appended);
    assert_int_equal(store_received_pos(pair.slave.store), 1000);
    /* The disk is left alone until the keeper has found space. */
    int64_t writes = atomic_load(&pair.slave.vfs.writes);
    assert_int_equal(feed(&pair, &range, &err), STATUS_FULL);
    assert_int_equal(atomic_load(&pair.slave.vfs.writes), writes);
    log_range_release(&range);

    /* What arrived of the write is not taken for records after a kill. */
    struct kit after;
    kit_crash(&pair.slave, &after);
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), appended);
    kit_release(&after);

    atomic_store(&pair.slave.vfs.write_target, KIT_NOTHING);
    assert_int_equal(store_start(pair.slave.store, &err), STATUS_OK);
    do {
        range = next_bytes(&pair, 5000);
        (void)feed(&pair, &range, &err);
        log_range_release(&range);
    } while (store_appended_pos(pair.slave.store) < end);
    kit_dispatched(&pair.slave);
    assert_int_equal(kit_read_queue(&pair.slave, kit_queue(&pair.slave, "A", 0), 0), 50);
    pair_release(&pair);
}

static void next_file_cannot_be_made(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    kit_put_many(&pair.master, "A", 0, 30000, 3);
    atomic_store(&pair.slave.vfs.allocate_target, KIT_COMMIT_LOG);
    struct log_range range = next_bytes(&pair, 1 << 20);
    assert_int_equal(feed(&pair, &range, &err), STATUS_FULL);
    log_range_release(&range);
    /* What goes into the first file is there. */
    struct log_name name;
    assert_int_equal(store_name_end(pair.slave.store, &name), STATUS_OK);
    assert_int_equal(name.end_pos, store_appended_pos(pair.slave.store));
    assert_true(name.pos > 0);
    atomic_store(&pair.slave.vfs.allocate_target, KIT_NOTHING);
    kit_close(&pair.slave);
    kit_open(&pair.slave);
    follow(&pair, 4096);
    pair_release(&pair);
}

static void failed_disk_ends_it(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    kit_put(&pair.master, "A", 0, "a", "");
    atomic_store(&pair.slave.vfs.write_errno, EIO);
    atomic_store(&pair.slave.vfs.write_target, KIT_COMMIT_LOG);
    struct log_range range = next_bytes(&pair, 1000);
    assert_int_equal(feed(&pair, &range, &err), STATUS_IO);
    atomic_store(&pair.slave.vfs.write_target, KIT_NOTHING);
    assert_int_equal(feed(&pair, &range, &err), STATUS_IO);
    assert_non_null(strstr(err.text, "restart"));
    log_range_release(&range);
    pair_release(&pair);
}

/* --- who may --- */

static void masters_take_none(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    pair_init(&pair);
    assert_int_equal(store_append_raw(pair.master.store, 0, slice_of_cstr("abc"), &err),
                     STATUS_READ_ONLY);
    assert_int_equal(store_begin_at(pair.master.store, 65536, &err), STATUS_INVALID);
    store_stop(pair.slave.store);
    assert_int_equal(store_append_raw(pair.slave.store, 0, slice_of_cstr("abc"), &err),
                     STATUS_CLOSED);
    pair_release(&pair);
}

static void count_appends(void *ctx)
{
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

static void appends_are_reported(void **state)
{
    (void)state;
    struct pair pair;
    _Atomic int master_appends = 0;
    _Atomic int slave_appends = 0;
    pair_init(&pair);
    store_set_listener(pair.master.store, (struct store_listener){.ctx = &master_appends,
                                                                  .on_appended = count_appends});
    store_set_listener(pair.slave.store, (struct store_listener){.ctx = &slave_appends,
                                                                 .on_appended = count_appends});
    kit_put_many(&pair.master, "A", 0, 100, 5);
    kit_put(&pair.master, "A", 0, "b", "");
    assert_int_equal(atomic_load(&master_appends), 2);
    follow(&pair, 1 << 20);
    assert_int_equal(atomic_load(&slave_appends), 1);
    pair_release(&pair);
}

/* --- names --- */

static void a_log_is_known_by_its_last_record(void **state)
{
    (void)state;
    struct pair pair;
    struct log_name name;
    pair_init(&pair);
    assert_int_equal(store_name_end(pair.slave.store, &name), STATUS_OK);
    assert_int_equal(name.pos, -1);
    kit_put(&pair.master, "A", 0, "first", "");
    struct append_result last = kit_put(&pair.master, "A", 0, "second", "");
    follow(&pair, 50);
    assert_int_equal(store_name_end(pair.slave.store, &name), STATUS_OK);
    assert_int_equal(name.pos, last.pos);
    assert_int_equal(name.end_pos, last.end_pos);
    assert_int_equal(store_has_record(pair.master.store, &name), STATUS_OK);

    struct log_name other = name;
    other.crc ^= 1;
    assert_int_equal(store_has_record(pair.master.store, &other), STATUS_CORRUPT);
    other = name;
    other.pos++;
    assert_int_equal(store_has_record(pair.master.store, &other), STATUS_CORRUPT);
    other = name;
    other.end_pos++;
    assert_int_equal(store_has_record(pair.master.store, &other), STATUS_NOT_FOUND);

    /* After a restart, clean or not. */
    struct kit after;
    kit_crash(&pair.slave, &after);
    kit_open(&after);
    assert_int_equal(store_name_end(after.store, &other), STATUS_OK);
    assert_memory_equal(&other, &name, sizeof name);
    kit_release(&after);
    kit_close(&pair.slave);
    kit_open(&pair.slave);
    memset(&other, 0, sizeof other);
    assert_int_equal(store_name_end(pair.slave.store, &other), STATUS_OK);
    assert_memory_equal(&other, &name, sizeof name);
    pair_release(&pair);
}

/* --- reading --- */

static void bytes_end_with_their_file(void **state)
{
    (void)state;
    struct kit kit;
    struct log_range range;
    kit_init(&kit, "log");
    kit_open(&kit);
    kit_put_many(&kit, "A", 0, 1000, 70);
    int64_t end = store_appended_pos(kit.store);
    assert_int_equal(store_log_bytes(kit.store, 65530, 100, &range), STATUS_OK);
    assert_int_equal(range.size, 6);
    log_range_release(&range);
    assert_int_equal(store_log_bytes(kit.store, end - 10, 100, &range), STATUS_OK);
    assert_int_equal(range.size, 10);
    struct err err;
    assert_int_equal(store_load_log(kit.store, &range, &err), STATUS_OK);
    log_range_release(&range);
    assert_int_equal(store_log_bytes(kit.store, end, 100, &range), STATUS_OK);
    assert_int_equal(range.size, 0);
    assert_true(store_log_in_memory(kit.store, &range));
    assert_int_equal(store_load_log(kit.store, &range, &err), STATUS_OK);
    log_range_release(&range);
    assert_int_equal(store_log_bytes(kit.store, end + 1, 100, &range), STATUS_NOT_FOUND);
    assert_int_equal(store_log_bytes(kit.store, -1, 100, &range), STATUS_NOT_FOUND);
    kit_release(&kit);
}

static void cold_bytes_are_loaded(void **state)
{
    (void)state;
    struct kit kit;
    struct log_range range;
    struct err err = {.text = ""};
    kit_init(&kit, "log");
    kit_open(&kit);
    kit_put_many(&kit, "A", 0, 1000, 70);
    kit_close(&kit);
    kit_open(&kit);
    atomic_store(&kit.vfs.cold_target, KIT_COMMIT_LOG);
    assert_int_equal(store_log_bytes(kit.store, 0, 30000, &range), STATUS_OK);
    assert_false(store_log_in_memory(kit.store, &range));
    assert_int_equal(store_load_log(kit.store, &range, &err), STATUS_OK);
    assert_true(store_cold(kit.store).read_bytes >= 30000);
    atomic_store(&kit.vfs.read_bad_to, 65536);
    atomic_store(&kit.vfs.read_target, KIT_COMMIT_LOG);
    assert_int_equal(store_load_log(kit.store, &range, &err), STATUS_IO);
    assert_non_null(strstr(err.text, kit.commit_log));
    log_range_release(&range);
    kit_release(&kit);
}

/* --- beginning in the middle --- */

static void a_log_begins_where_the_master_does(void **state)
{
    (void)state;
    for (int started = 0; started < 2; started++) {
        struct pair pair;
        struct err err;
        pair_init(&pair);
        pair.slave.options.flush = STORE_FLUSH_SYNC; /* with zeros ahead */
        kit_close(&pair.slave);
        kit_open(&pair.slave);
        kit_put_many(&pair.master, "A", 0, 1000, 200);
        kit_put_many(&pair.master, "B", 0, 1000, 5);
        int64_t base = pair.master.options.segment_bytes * 2;
        if (started == 1) {
            assert_int_equal(store_start(pair.slave.store, &err), STATUS_OK);
        }
        assert_int_equal(store_begin_at(pair.slave.store, base + 1, &err), STATUS_INVALID);
        assert_int_equal(store_begin_at(pair.slave.store, base, &err), STATUS_OK);
        assert_int_equal(store_min_pos(pair.slave.store), base);
        assert_int_equal(store_appended_pos(pair.slave.store), base);
        assert_int_equal(store_flushed_pos(pair.slave.store), base);
        /* Still empty, after any end. */
        struct kit after;
        kit_crash(&pair.slave, &after);
        kit_open(&after);
        assert_int_equal(store_min_pos(after.store), base);
        assert_int_equal(store_appended_pos(after.store), base);
        assert_int_equal(store_begin_at(after.store, base / 2, &err), STATUS_OK);
        assert_int_equal(store_min_pos(after.store), base / 2);
        kit_release(&after);

        follow(&pair, 3000);
        assert_int_equal(store_begin_at(pair.slave.store, base * 2, &err), STATUS_INVALID);
        if (started == 1)
            kit_dispatched(&pair.slave);
        else
            dispatch(&pair.slave);
        struct queue *queue = kit_queue(&pair.slave, "A", 0);
        int64_t first = queue_min_offset(queue);
        assert_true(first > 0);
        assert_int_equal(queue_max_offset(queue), 200);
        assert_int_equal(kit_read_queue(&pair.slave, queue, first), 200 - first);
        assert_int_equal(kit_read_queue(&pair.slave, kit_queue(&pair.slave, "B", 0), 0), 5);
        kit_crash(&pair.slave, &after);
        kit_open(&after);
        assert_int_equal(queue_min_offset(kit_queue(&after, "A", 0)), first);
        assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), first), 200 - first);
        kit_release(&after);
        dispatch(&pair.slave);
        queue = kit_queue(&pair.slave, "A", 0);
        assert_int_equal(queue_min_offset(queue), first);
        assert_int_equal(kit_read_queue(&pair.slave, queue, first), 200 - first);
        pair_release(&pair);
    }
}

/* --- the background --- */

static bool all_flushed(void *ctx)
{
    struct kit *kit = ctx;
    return store_flushed_pos(kit->store) == store_appended_pos(kit->store);
}

/* With SYNC_FLUSH nobody has to ask: a slave reports what is on its disk. */
static void sync_flush_follows(void **state)
{
    (void)state;
    struct pair pair;
    struct err err;
    kit_init(&pair.master, "master");
    kit_init(&pair.slave, "slave");
    pair.slave.options.role = STORE_ROLE_SLAVE;
    pair.slave.options.flush = STORE_FLUSH_SYNC;
    kit_open(&pair.master);
    kit_start(&pair.slave);
    for (int i = 0; i < 5; i++) {
        kit_put_many(&pair.master, "A", 0, 900, 30);
        follow(&pair, 3000);
        kit_wait(all_flushed, &pair.slave);
    }
    assert_true(store_wait_flushed(pair.slave.store, store_appended_pos(pair.master.store), 0));
    /* What is held is not counted. */
    kit_put(&pair.master, "A", 0, "b", "");
    struct log_range range = next_bytes(&pair, 50);
    assert_int_equal(feed(&pair, &range, &err), STATUS_OK);
    log_range_release(&range);
    assert_true(store_flushed_pos(pair.slave.store) < store_received_pos(pair.slave.store));
    pair_release(&pair);
}

static bool is_checkpointed(void *ctx)
{
    struct kit *kit = ctx;
    struct checkpoint checkpoint;
    return checkpoint_load(vfs_posix(), kit->root, &checkpoint, &(struct err){0}) == STATUS_OK &&
           checkpoint.durable_pos > 2 * kit->options.segment_bytes;
}

/* A start after a kill does not read all of the log. */
static void the_checkpoint_follows(void **state)
{
    (void)state;
    struct pair pair;
    struct kit after;
    kit_init(&pair.master, "master");
    kit_init(&pair.slave, "slave");
    pair.slave.options.role = STORE_ROLE_SLAVE;
    pair.slave.options.checkpoint_bytes = 20000;
    kit_open(&pair.master);
    kit_start(&pair.slave);
    kit_put_many(&pair.master, "A", 0, 900, 200);
    follow(&pair, 30000);
    kit_wait(is_checkpointed, &pair.slave);
    kit_crash(&pair.slave, &after);
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), store_appended_pos(pair.master.store));
    assert_int_equal(kit_read_queue(&after, kit_queue(&after, "A", 0), 0), 200);
    kit_release(&after);
    pair_release(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size),
        cmocka_unit_test(begin_of_a_record_is_held),
        cmocka_unit_test(rest_of_a_file_is_copied),
        cmocka_unit_test(damage_stays_out),
        cmocka_unit_test(filler_of_wrong_size_stays_out),
        cmocka_unit_test(what_is_held_is_bounded),
        cmocka_unit_test(no_space_passes),
        cmocka_unit_test(next_file_cannot_be_made),
        cmocka_unit_test(failed_disk_ends_it),
        cmocka_unit_test(masters_take_none),
        cmocka_unit_test(appends_are_reported),
        cmocka_unit_test(a_log_is_known_by_its_last_record),
        cmocka_unit_test(bytes_end_with_their_file),
        cmocka_unit_test(cold_bytes_are_loaded),
        cmocka_unit_test(a_log_begins_where_the_master_does),
        cmocka_unit_test(sync_flush_follows),
        cmocka_unit_test(the_checkpoint_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
