/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers on a real store, and the parts they are made of: entries and names come back as they were
 * written; the window holds the next ones, whatever there is; files are written over behind what is
 * durable; timers are delivered at their millisecond and in order, by windows smaller than a bucket
 * too; cancels take those of their second and topic; damaged files are made again; what cannot be
 * delivered holds up nobody; counts are kept.
 * Source: docs/timers.md; RMQ 5.3.3 TimerMessageStore.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/state/timer.h"

#include "broker/state/timer_files.h"
#include "broker/state/timer_message.h"
#include "broker/state/timer_window.h"
#include "broker/state/topics.h"
#include "proto/properties.h"
#include "test/unit/support/folder.h"
#include "test/unit/support/random.h"
#include "test/unit/support/store_kit.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define START_MS 1700000000000

/* --- entries, names, times --- */

static void entries_come_back(void **state)
{
    (void)state;
    const struct timer_entry entries[] = {
        {{1, 0}, 0, 0, TIMER_KIND_MESSAGE},
        {{TIMER_DUE_MS_MAX, INT64_C(1) << 40},
         (INT64_C(1) << 56) - 1,
         0x7FFFFFFF,
         TIMER_KIND_MESSAGE},
        {{1700000000001, 5 - TIMER_CANCEL_BIAS}, 77, 123, TIMER_KIND_CANCEL},
    };
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        uint8_t bytes[TIMER_ENTRY_BYTES];
        struct timer_entry out;
        timer_entry_encode(&entries[i], bytes);
        assert_int_equal(timer_entry_decode(bytes, &out), STATUS_OK);
        assert_int_equal(timer_key_compare(out.key, entries[i].key), 0);
        assert_int_equal(out.pos, entries[i].pos);
        assert_int_equal(out.hash, entries[i].hash);
        assert_int_equal(out.kind, entries[i].kind);
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] ^= 4;
            assert_int_equal(timer_entry_decode(bytes, &out), STATUS_CORRUPT);
            bytes[at] ^= 4;
        }
    }
}

static void times_have_slots_and_buckets(void **state)
{
    (void)state;
    char name[TIMER_FILE_NAME_BYTES];
    int64_t bucket;
    assert_int_equal(timer_slot_of(1), 0);
    assert_int_equal(timer_slot_of(1000), 0);
    assert_int_equal(timer_slot_of(1001), 1);
    assert_int_equal(timer_slot_first_ms(1), 1001);
    assert_int_equal(timer_bucket_of(600000), 0);
    assert_int_equal(timer_bucket_of(600001), 1);
    assert_int_equal(timer_bucket_last_ms(0), 600000);
    timer_file_name(2833333, name);
    assert_string_equal(name, "00000000000002833333");
    assert_true(timer_file_parse(name, &bucket));
    assert_int_equal(bucket, 2833333);
    assert_false(timer_file_parse("2833333", &bucket));
    assert_false(timer_file_parse("00000000000002833333.damaged", &bucket));
    assert_false(timer_file_parse("09999999999999999999", &bucket));
}

/* --- the window --- */

static struct timer_entry entry_at(int64_t due_ms, int64_t offset)
{
    return (struct timer_entry){{due_ms, offset}, 0, 0, TIMER_KIND_MESSAGE};
}

static void the_window_keeps_order(void **state)
{
    (void)state;
    struct timer_window window;
    struct random random = {7};
    timer_window_init(&window);
    for (int i = 0; i < 3000; i++) {
        struct timer_entry entry = entry_at(1 + (int64_t)random_below(&random, 500), i);
        assert_true(timer_window_push(&window, &entry));
    }
    struct timer_key last = {0, 0};
    for (int i = 0; i < 3000; i++) {
        const struct timer_entry *first = timer_window_first(&window);
        assert_true(timer_key_compare(last, first->key) < 0);
        last = first->key;
        timer_window_pop(&window);
    }
    assert_null(timer_window_first(&window));
    timer_window_release(&window);
}

static void a_selection_keeps_the_smallest(void **state)
{
    (void)state;
    struct timer_window window;
    struct random random = {9};
    bool left_out = false;
    struct timer_key last = {0, 0};
    timer_window_init(&window);
    window.selection_max = 100;
    /* 1000 times in a random order. */
    int64_t order[1000];
    for (int i = 0; i < 1000; i++)
        order[i] = i + 1;
    for (uint32_t i = 999; i > 0; i--) {
        uint32_t other = random_below(&random, i + 1);
        int64_t copy = order[i];
        order[i] = order[other];
        order[other] = copy;
    }
    for (int i = 0; i < 1000; i++) {
        struct timer_entry entry = entry_at(order[i], 0);
        timer_window_select(&window, &entry, &left_out);
    }
    timer_window_select_end(&window, &last);
    assert_true(left_out);
    assert_int_equal(last.due_ms, 100);
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(timer_window_first(&window)->key.due_ms, i);
        timer_window_pop(&window);
    }
    timer_window_release(&window);
}

static void the_window_is_bounded(void **state)
{
    (void)state;
    struct timer_window window;
    struct timer_entry entry = entry_at(5, 1);
    timer_window_init(&window);
    for (size_t i = 0; i < TIMER_WINDOW_MAX; i++)
        assert_true(timer_window_push(&window, &entry));
    assert_false(timer_window_push(&window, &entry));
    timer_window_release(&window);
}

/* --- files --- */

struct seen {
    int64_t count;
    int64_t damaged;
    int64_t last_due_ms;
};

static bool see(void *ctx, int64_t number, const struct timer_entry *entry)
{
    struct seen *seen = ctx;
    assert_int_equal(number, seen->count + seen->damaged);
    if (entry == NULL) {
        seen->damaged++;
        return true;
    }
    seen->count++;
    seen->last_due_ms = entry->key.due_ms;
    return true;
}

static void append_entries(struct timer_files *files, int64_t bucket, int64_t from, int64_t count)
{
    struct buf bytes = BUF_EMPTY;
    for (int64_t i = 0; i < count; i++) {
        struct timer_entry entry = entry_at(bucket * TIMER_BUCKET_MS + 1 + from + i, i);
        timer_entry_encode(&entry, buf_reserve(&bytes, TIMER_ENTRY_BYTES));
        bytes.size += TIMER_ENTRY_BYTES;
    }
    assert_int_equal(timer_files_append(files, bucket, buf_slice(&bytes)), STATUS_OK);
    buf_release(&bytes);
}

static struct seen scan(struct timer_files *files, int64_t bucket)
{
    struct seen seen = {0, 0, 0};
    assert_int_equal(
        timer_files_scan(files, bucket, 0, timer_files_count(files, bucket), see, &seen),
        STATUS_OK);
    return seen;
}

static void files_hold_what_is_durable(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    struct timer_files files;
    struct err err;
    char path[FOLDER_BYTES + 64];
    folder_make("timer-files", folder);
    (void)snprintf(path, sizeof path, "%s/store/timer", folder);
    assert_int_equal(timer_files_open(&files, path, vfs_posix(), &err), STATUS_OK);
    append_entries(&files, 7, 0, 20000); /* more than one piece of a scan */
    append_entries(&files, 9, 0, 5);
    append_entries(&files, 8, 0, 1);
    assert_int_equal(timer_files_sync(&files), STATUS_OK);
    append_entries(&files, 7, 20000, 10);
    assert_int_equal(scan(&files, 7).count, 20010);
    assert_int_equal(timer_files_next(&files, 0), 7);
    assert_int_equal(timer_files_next(&files, 8), 8);
    assert_int_equal(timer_files_next(&files, 10), -1);
    assert_int_equal(timer_files_previous(&files, 100), 9);
    assert_int_equal(timer_files_previous(&files, 6), -1);
    assert_int_equal(timer_files_total(&files), 20016);
    timer_files_close(&files);

    /* After a start they count for as much as the progress says. */
    assert_int_equal(timer_files_open(&files, path, vfs_posix(), &err), STATUS_OK);
    assert_int_equal(timer_files_next(&files, 0), -1);
    assert_true(timer_files_restore(&files, 7, 20000));
    assert_false(timer_files_restore(&files, 9, 6));
    assert_false(timer_files_restore(&files, 10, 1));
    append_entries(&files, 7, 30000, 1);
    struct seen seen = scan(&files, 7);
    assert_int_equal(seen.count, 20001);
    assert_int_equal(seen.last_due_ms, 7 * TIMER_BUCKET_MS + 30001);
    timer_files_put_aside(&files, 9);
    timer_files_remove_before(&files, 8);
    assert_int_equal(timer_files_count(&files, 7), 0);
    timer_files_close(&files);
    (void)snprintf(path, sizeof path, "%s/store/timer/00000000000000000007", folder);
    assert_false(kit_exists(path));
    (void)snprintf(path, sizeof path, "%s/store/timer/00000000000000000009.damaged", folder);
    assert_true(kit_exists(path));
    folder_remove(folder);
}

static void more_files_than_descriptors(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    struct timer_files files;
    struct err err;
    char path[FOLDER_BYTES + 64];
    folder_make("timer-files", folder);
    (void)snprintf(path, sizeof path, "%s/timer", folder);
    assert_int_equal(timer_files_open(&files, path, vfs_posix(), &err), STATUS_OK);
    for (int round = 0; round < 2; round++)
        for (int64_t bucket = 0; bucket < 600; bucket++)
            append_entries(&files, bucket, round, 1);
    assert_int_equal(timer_files_total(&files), 1200);
    for (int64_t bucket = 0; bucket < 600; bucket++)
        assert_int_equal(scan(&files, bucket).count, 2);
    timer_files_close(&files);
    folder_remove(folder);
}

/* --- timers on a store --- */

struct fixture {
    struct kit kit;
    char folder[256];
    char progress[256];
    struct timer *timer;
    size_t window_max;
};

static void open_timers(struct fixture *f)
{
    struct err err = {.text = ""};
    struct timer_options options = {
        .folder = f->folder,
        .progress_path = f->progress,
        .vfs = vfs_posix(),
        .store = f->kit.store,
        .clock = &f->kit.clock,
        .window_max = f->window_max,
    };
    if (timer_load(&options, &f->timer, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    kit_init(&f->kit, "timer");
    log_set_level(LOG_ERROR);
    f->kit.options.flush_interval_ms = 10;
    f->kit.options.segment_bytes = 8 * 1024 * 1024;
    f->kit.options.queue_file_bytes = 20 * 1000;
    atomic_store(&f->kit.wall_ms, START_MS);
    kit_path(&f->kit, "timer", f->folder);
    kit_path(&f->kit, "config/timerProgress.json", f->progress);
    kit_start(&f->kit);
    open_timers(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    timer_free(f->timer);
    kit_release(&f->kit);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    timer_free(f->timer);
    kit_close(&f->kit);
    kit_start(&f->kit);
    open_timers(f);
}

static void put(struct fixture *f, int64_t due_ms, const char *topic, const char *key,
                const char *more, const char *body)
{
    char properties[512];
    (void)snprintf(properties, sizeof properties,
                   "TIMER_OUT_MS\1%lld\2REAL_TOPIC\1%s\2REAL_QID\1%d\2UNIQ_KEY\1%s%s",
                   (long long)due_ms, topic, 0, key, more);
    assert_int_equal(kit_put(&f->kit, TOPIC_TIMER, 0, body, properties).status, PUT_OK);
}

static void cancel(struct fixture *f, int64_t due_ms, const char *what)
{
    char more[128];
    (void)snprintf(more, sizeof more, "\2TIMER_DEL_UNIQKEY\1%s", what);
    put(f, due_ms, "Real", "c", more, "0");
}

/* Steps until there is nothing to do at that time; the last step's wait. */
static int64_t run_at(struct fixture *f, int64_t now_ms)
{
    int64_t wait_ms = 0;
    atomic_store(&f->kit.wall_ms, now_ms);
    kit_dispatched(&f->kit);
    for (int i = 0; i < 10000 && (wait_ms == 0 || i < 2); i++)
        wait_ms = timer_step(f->timer, now_ms);
    kit_dispatched(&f->kit);
    return wait_ms;
}

/* The bodies in the real queue, with blanks between them. */
static const char *delivered(struct fixture *f, char out[1024])
{
    struct queue *queue = kit_queue(&f->kit, "Real", 0);
    size_t size = 0;
    out[0] = '\0';
    for (int64_t i = 0; queue != NULL && i < queue_max_offset(queue); i++) {
        struct queue_entry entry;
        struct log_range range;
        struct record record;
        assert_true(queue_entry_at(queue, i, &entry));
        assert_int_equal(store_read_record(f->kit.store, entry.pos, &range), STATUS_OK);
        assert_int_equal(record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record),
                         STATUS_OK);
        size += (size_t)snprintf(out + size, 1024 - size, "%s%.*s", i == 0 ? "" : " ",
                                 SLICE_ARGS(record.body));
        log_range_release(&range);
    }
    return out;
}

static struct timer_figures figures(struct fixture *f)
{
    struct timer_figures out;
    timer_figures(f->timer, &out);
    return out;
}

static void delivered_at_the_millisecond(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    put(f, START_MS + 70, "Real", "k", "", "b");
    put(f, START_MS + 50, "Real", "k", "", "a");
    put(f, START_MS + 700000, "Real", "k", "", "c"); /* another bucket */
    put(f, START_MS + 70, "Real", "k", "", "d");
    assert_int_equal(run_at(f, START_MS), 50);
    assert_int_equal(figures(f).pending, 4);
    assert_int_equal(run_at(f, START_MS + 49), 1);
    assert_string_equal(delivered(f, text), "");
    assert_int_equal(run_at(f, START_MS + 50), 20);
    assert_string_equal(delivered(f, text), "a");
    (void)run_at(f, START_MS + 70);
    assert_string_equal(delivered(f, text), "a b d");
    (void)run_at(f, START_MS + 699999);
    assert_string_equal(delivered(f, text), "a b d");
    (void)run_at(f, START_MS + 700000);
    assert_string_equal(delivered(f, text), "a b d c");
    assert_int_equal(figures(f).pending, 0);
    assert_int_equal(figures(f).delivered, 4);
}

static void what_comes_late_is_delivered_at_once(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    put(f, START_MS + 50, "Real", "k", "", "a");
    (void)run_at(f, START_MS + 60);
    put(f, START_MS + 40, "Real", "k", "", "before");
    put(f, START_MS + 55, "Real", "k", "", "behind");
    (void)run_at(f, START_MS + 60);
    assert_string_equal(delivered(f, text), "a before behind");
    assert_int_equal(figures(f).pending, 0);
}

static void small_windows_do(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    char wanted[1024] = "";
    timer_free(f->timer);
    f->window_max = 3;
    open_timers(f);
    for (int i = 0; i < 30; i++) {
        char body[16];
        (void)snprintf(body, sizeof body, "%d", (i * 7) % 30);
        put(f, START_MS + 10 + (i * 7) % 30, "Real", "k", "", body);
        (void)snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%d",
                       i == 0 ? "" : " ", i);
    }
    (void)run_at(f, START_MS);
    put(f, START_MS + 10, "Real", "k", "", "new");
    (void)run_at(f, START_MS + 10);
    assert_string_equal(delivered(f, text), "0 new");
    (void)run_at(f, START_MS + 100);
    assert_int_equal(strlen(delivered(f, text)), strlen(wanted) + 4);
    assert_string_equal(text + 6, wanted + 2);
}

static void cancels_take_their_own(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    int64_t due_ms = START_MS + 5001; /* the first of its slot */
    put(f, due_ms, "Real", "k1", "", "first");
    put(f, due_ms + 999, "Real", "k2", "", "last");
    put(f, due_ms + 1000, "Real", "k3", "", "next-second");
    put(f, due_ms, "Real", "k4", "", "other-topic");
    put(f, due_ms, "Real", "k5", "", "stays");
    cancel(f, due_ms, "Real+k1");
    cancel(f, due_ms, "Real+k2");
    cancel(f, due_ms, "Real+k3");
    cancel(f, due_ms, "Else+k4");
    cancel(f, due_ms, "k5");
    (void)run_at(f, START_MS);
    assert_int_equal(figures(f).pending, 5);
    (void)run_at(f, due_ms + 2000);
    assert_string_equal(delivered(f, text), "other-topic stays next-second");
    assert_int_equal(figures(f).cancelled, 2);
    assert_int_equal(figures(f).pending, 0);
}

static void a_cancel_may_come_in_the_same_second(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    int64_t due_ms = START_MS + 5001;
    struct err err;
    put(f, due_ms, "Real", "k1", "", "a");
    put(f, due_ms + 900, "Real", "k2", "", "b");
    put(f, due_ms + 901, "Real", "k3", "", "c");
    cancel(f, due_ms, "Real+k3");
    (void)run_at(f, due_ms + 10);
    cancel(f, due_ms + 900, "Real+k2");
    (void)run_at(f, due_ms + 10);
    /* Remembered when everything begins anew in the middle of the second. */
    assert_int_equal(timer_persist(f->timer, &err), STATUS_OK);
    reopen(f);
    (void)run_at(f, due_ms + 1000);
    assert_string_equal(delivered(f, text), "a");
    assert_int_equal(figures(f).cancelled, 2);
}

static void illegal_records_hold_up_nobody(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    static const char *const properties[] = {
        "",
        "TIMER_OUT_MS\1x\2REAL_TOPIC\1Real\2REAL_QID\0010",
        "TIMER_OUT_MS\0010\2REAL_TOPIC\1Real\2REAL_QID\0010",
        "TIMER_OUT_MS\0019\2REAL_TOPIC\1a/b\2REAL_QID\0010",
        "TIMER_OUT_MS\0019\2REAL_TOPIC\1Real\2REAL_QID\001-1",
        "TIMER_OUT_MS\0019\2REAL_TOPIC\1rmq_sys_wheel_timer\2REAL_QID\0010",
        "TIMER_OUT_MS\0019\2REAL_TOPIC\1RMQ_SYS_TRANS_HALF_TOPIC\2REAL_QID\0010",
    };
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++)
        (void)kit_put(&f->kit, TOPIC_TIMER, 0, "x", properties[i]);
    put(f, START_MS + 1, "Real", "k", "", "good");
    (void)run_at(f, START_MS + 1);
    assert_string_equal(delivered(f, text), "good");
    assert_int_equal(figures(f).dropped, 7);
}

static void what_was_taken_is_delivered_whatever_its_size(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    char large[401];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    put(f, START_MS + 50, "Real", "k", "", large);
    put(f, START_MS + 60, "Real", "k", "", "small");
    f->kit.options.record_bytes_max = 300;
    reopen(f);
    (void)run_at(f, START_MS + 60);
    assert_int_equal(figures(f).dropped, 0);
    assert_int_equal(figures(f).delivered, 2);
    assert_int_equal(strncmp(delivered(f, text), large, sizeof large - 1), 0);
}

static void a_damaged_file_is_made_again(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    char path[320];
    struct err err;
    for (int i = 0; i < 10; i++)
        put(f, START_MS + 1000 + i, "Real", "k", "", "x");
    (void)run_at(f, START_MS);
    assert_int_equal(timer_persist(f->timer, &err), STATUS_OK);
    (void)snprintf(path, sizeof path, "%s/%020lld", f->folder,
                   (long long)timer_bucket_of(START_MS + 1000));
    kit_poke(path, 3 * TIMER_ENTRY_BYTES + 5, "?", 1);
    reopen(f);
    (void)run_at(f, START_MS + 2000);
    assert_string_equal(delivered(f, text), "x x x x x x x x x x");
    (void)strncat(path, ".damaged", sizeof path - strlen(path) - 1);
    assert_true(kit_exists(path));
    assert_int_equal(figures(f).pending, 0);
}

/* -1: not in the table. */
static int64_t pending_of(struct fixture *f, const char *topic)
{
    struct arena arena;
    TimerMetricsSerializeWrapper body;
    int64_t count = -1;
    arena_init(&arena, 4096);
    timer_wrap_metrics(f->timer, &arena, &body);
    for (size_t i = 0; i < body.n_timing_count; i++)
        if (strcmp(body.timing_count[i]->key, topic) == 0)
            count = body.timing_count[i]->value->count;
    arena_release(&arena);
    return count;
}

/* Messages are refused; what lets the oldest part of the log go is written all the same. */
static void a_full_disk_does_not_keep_the_log(void **state)
{
    struct fixture *f = *state;
    const struct timespec pause = {.tv_nsec = 1000000};
    struct err err = {.text = ""};
    put(f, START_MS + 700000, "Real", "k", "", "far");
    (void)run_at(f, START_MS);
    int64_t end_pos = store_appended_pos(f->kit.store);
    atomic_store(&f->kit.vfs.space_percent, 95);
    store_clean_now(f->kit.store);
    for (int i = 0; i < 60000 && store_writable(f->kit.store, NULL, 0); i++)
        (void)nanosleep(&pause, NULL);
    assert_false(store_writable(f->kit.store, NULL, 0));
    for (int i = 0; i < 3 && !timer_may_expire(f->timer, end_pos); i++) {
        assert_int_equal(timer_persist(f->timer, &err), STATUS_OK);
        (void)run_at(f, START_MS + 2000 * (i + 1));
        assert_int_equal(timer_persist(f->timer, &err), STATUS_OK);
    }
    assert_true(timer_may_expire(f->timer, end_pos));
    assert_int_equal(figures(f).rolled, 1);
    (void)run_at(f, START_MS + 9000); /* takes the copy in */
    assert_int_equal(figures(f).pending, 1);
}

static void counts_are_kept_by_topic(void **state)
{
    struct fixture *f = *state;
    struct err err;
    put(f, START_MS + 1000, "Real", "k", "", "a");
    put(f, START_MS + 2000, "Real", "k", "", "b");
    put(f, START_MS + 1000, "Other", "k", "", "c");
    (void)run_at(f, START_MS + 1000);
    assert_int_equal(pending_of(f, "Other"), 0);
    assert_int_equal(pending_of(f, "Real"), 1);
    assert_int_equal(pending_of(f, "None"), -1);
    assert_int_equal(timer_journal_step(f->timer, &err), STATUS_OK); /* as before a kill */
    reopen(f);
    assert_int_equal(pending_of(f, "Real"), 1);
    (void)run_at(f, START_MS + 2000);
    assert_int_equal(figures(f).pending, 0);
}

static void impossible_progress_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct timer *timer;
    static const char text[] = "{\"coveredOffset\":-5,\"doneDueMs\":0,\"doneOffset\":0}";
    struct timer_options options = {
        .folder = f->folder,
        .progress_path = f->progress,
        .vfs = vfs_posix(),
        .store = f->kit.store,
        .clock = &f->kit.clock,
    };
    assert_int_equal(vfs_make_folder_of(vfs_posix(), f->progress), STATUS_OK);
    assert_int_equal(vfs_replace_file(vfs_posix(), f->progress, text, sizeof text - 1, false),
                     STATUS_OK);
    assert_int_equal(timer_load(&options, &timer, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "delivered again"));
}

int main(void)
{
#define ON_A_STORE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_back),
        cmocka_unit_test(times_have_slots_and_buckets),
        cmocka_unit_test(the_window_keeps_order),
        cmocka_unit_test(a_selection_keeps_the_smallest),
        cmocka_unit_test(the_window_is_bounded),
        cmocka_unit_test(files_hold_what_is_durable),
        cmocka_unit_test(more_files_than_descriptors),
        ON_A_STORE(delivered_at_the_millisecond),
        ON_A_STORE(what_comes_late_is_delivered_at_once),
        ON_A_STORE(small_windows_do),
        ON_A_STORE(cancels_take_their_own),
        ON_A_STORE(a_cancel_may_come_in_the_same_second),
        ON_A_STORE(illegal_records_hold_up_nobody),
        ON_A_STORE(what_was_taken_is_delivered_whatever_its_size),
        ON_A_STORE(a_damaged_file_is_made_again),
        ON_A_STORE(a_full_disk_does_not_keep_the_log),
        ON_A_STORE(counts_are_kept_by_topic),
        ON_A_STORE(impossible_progress_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
