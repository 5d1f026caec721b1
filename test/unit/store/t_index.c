/* SPDX-License-Identifier: Apache-2.0
 *
 * The index: hashes, look-ups in files that 4.9.2 wrote, insertion that makes the same bytes,
 * chains, time limits, full files, repair.
 *
 * Source: test/data/store-4.9.2/index; RocketMQ store/.../index/IndexFile.java.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "broker/store/index_format.h"
#include "proto/properties.h"
#include "test/unit/support/random.h"
#include "test/unit/support/store_kit.h"
#include "test/unit/support/tsv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 64
#define ENTRIES 256
#define FIRST_FILE "test/data/store-4.9.2/index/20261122204708173"

static struct index_view view_new(void)
{
    struct index_view view = {calloc(1, index_file_bytes(SLOTS, ENTRIES)), SLOTS, ENTRIES};
    assert_non_null(view.data);
    index_clear(&view);
    return view;
}

/* hash(topic#key) in one go, as Java does it. */
static int32_t plain_hash(const char *topic, const char *key)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s#%s", topic, key);
    int32_t hash = java_string_hash(slice_of_cstr(text));
    return hash == INT32_MIN ? 0 : abs(hash);
}

static void hashes(void **state)
{
    (void)state;
    static const char *const keys[] = {"",
                                       "k",
                                       "order-4711",
                                       "schl\xC3\xBCssel",
                                       "\xE9\x92\xA5",
                                       "\xF0\x9F\x94\x91 key",
                                       "bad \xFF\xC3 utf",
                                       "7F00000100005212000000000002091E7F000001"};
    static const char *const topics[] = {"A", "PlainTopic", "%RETRY%CG", "th\xC3\xA8me"};
    for (size_t t = 0; t < 4; t++) {
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            assert_int_equal(index_key_hash(slice_of_cstr(topics[t]), slice_of_cstr(keys[k])),
                             plain_hash(topics[t], keys[k]));
    }
}

struct put_one {
    int32_t hash;
    int64_t pos;
    int64_t timestamp_ms;
};

/* Inserting what 4.9.2 inserted, in its order, gives 4.9.2's file byte for byte. */
static void makes_the_same_bytes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
    struct slice golden = file_bytes(&arena, FIRST_FILE);
    assert_int_equal(golden.size, index_file_bytes(SLOTS, ENTRIES));
    struct index_view theirs = {(uint8_t *)(uintptr_t)golden.data, SLOTS, ENTRIES};
    assert_true(index_header_sane(&theirs));
    assert_true(index_is_full(&theirs));
    struct index_header header = index_header_read(&theirs);
    assert_int_equal(header.next_entry, ENTRIES);

    struct tsv tsv;
    tsv_load(&tsv, "test/data/store-4.9.2.manifest.tsv");
    struct index_view ours = view_new();
    const uint8_t *entry = golden.data + INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES;
    for (int i = 1; i < ENTRIES; i++) {
        entry += INDEX_ENTRY_BYTES;
        int64_t timestamp_ms = -1;
        for (size_t row = 0; row < tsv.row_count; row++) {
            if (tsv_number(&tsv, row, "commitLogOffset") == get_i64(entry + 4))
                timestamp_ms = tsv_number(&tsv, row, "storeTimestamp");
        }
        assert_true(timestamp_ms > 0);
        index_insert(&ours, get_i32(entry), get_i64(entry + 4), timestamp_ms);
    }
    assert_memory_equal(ours.data, golden.data, golden.size);
    free(ours.data);
    tsv_release(&tsv);
    arena_release(&arena);
}

static void chains_and_times(void **state)
{
    (void)state;
    struct index_view view = view_new();
    int64_t found[ENTRIES];
    assert_int_equal(index_find(&view, 5, 0, INT64_MAX, found, ENTRIES), 0);
    for (int i = 0; i < 100; i++) /* two hashes in one slot, one entry a second */
        index_insert(&view, i % 2 == 0 ? 5 : 5 + SLOTS, 1000 + i, 50000 + i * 1000);
    assert_int_equal(index_find(&view, 5, 0, INT64_MAX, found, ENTRIES), 50);
    assert_int_equal(found[0], 1098); /* newest first */
    assert_int_equal(found[49], 1000);
    assert_int_equal(index_find(&view, 5 + SLOTS, 0, INT64_MAX, found, 3), 3);
    assert_int_equal(found[2], 1095);
    assert_int_equal(index_find(&view, 5, 60000, 70000, found, ENTRIES), 6);
    assert_int_equal(found[0], 1020);
    assert_int_equal(found[5], 1010);
    assert_int_equal(index_find(&view, 6, 0, INT64_MAX, found, ENTRIES), 0);
    struct index_header header = index_header_read(&view);
    assert_int_equal(header.used_slots, 1);
    assert_int_equal(header.begin_pos, 1000);
    assert_int_equal(header.end_pos, 1099);
    assert_int_equal(header.begin_timestamp_ms, 50000);
    assert_int_equal(header.end_timestamp_ms, 149000);
    free(view.data);
}

/* A damaged chain ends the walk instead of going round. */
static void damaged_chains_end(void **state)
{
    (void)state;
    struct index_view view = view_new();
    int64_t found[ENTRIES];
    for (int i = 0; i < 10; i++)
        index_insert(&view, 5, 1000 + i, 50000);
    uint8_t *entry = view.data + INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES;
    put_i32(entry + 4 * INDEX_ENTRY_BYTES + 16, 9);
    assert_int_equal(index_find(&view, 5, 0, INT64_MAX, found, ENTRIES), 7);
    put_i32(entry + 4 * INDEX_ENTRY_BYTES + 16, 4);
    assert_int_equal(index_find(&view, 5, 0, INT64_MAX, found, ENTRIES), 7);
    put_i32(view.data + INDEX_HEADER_BYTES + 5 * INDEX_SLOT_BYTES, INT32_MAX);
    assert_int_equal(index_find(&view, 5, 0, INT64_MAX, found, ENTRIES), 0);
    free(view.data);
}

/* Repair keeps the whole entries before the damage, without those of the last record, and finds
 * them all again. */
static void repair(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "repair");
    for (int round = 0; round < 300; round++) {
        struct index_view view = view_new();
        int count = 1 + (int)random_below(&random, ENTRIES - 2);
        struct put_one puts[ENTRIES];
        for (int i = 0; i < count; i++) {
            puts[i] = (struct put_one){1 + (int32_t)random_below(&random, 1000), 500 + i / 3 * 10,
                                       100000 + i * 100};
            index_insert(&view, puts[i].hash, puts[i].pos, puts[i].timestamp_ms);
        }
        int damaged = 1 + (int)random_below(&random, (uint32_t)count + 20);
        uint8_t *entry =
            view.data + INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES + damaged * INDEX_ENTRY_BYTES;
        if (damaged < ENTRIES)
            memset(entry, 0, INDEX_ENTRY_BYTES);
        memset(view.data + INDEX_HEADER_BYTES + random_below(&random, 200), 0x55, 40);
        int whole = damaged <= count ? damaged - 1 : count;
        int64_t last_pos = whole == 0 ? 500 : puts[whole - 1].pos;
        int64_t resume_pos;
        bool any = index_repair(&view, INT64_MAX, &resume_pos);
        assert_int_equal(resume_pos, last_pos);
        int kept = (int)((last_pos - 500) / 10 * 3);
        assert_int_equal(any, kept > 0);
        assert_int_equal(index_header_read(&view).next_entry, kept + 1);
        for (int i = 0; i < kept; i++) {
            int64_t found[ENTRIES];
            int hits = 0;
            int n = index_find(&view, puts[i].hash, 0, INT64_MAX, found, ENTRIES);
            for (int k = 0; k < n; k++)
                hits += found[k] == puts[i].pos;
            assert_true(hits > 0);
        }
        free(view.data);
    }
}

/* The hash of an entry may lie in the sector before that of its position, and not have arrived. */
static void repair_without_a_hash(void **state)
{
    (void)state;
    struct index_view view = view_new();
    int64_t resume_pos;
    for (int i = 0; i < 10; i++)
        index_insert(&view, 100 + i, 500 + i * 10, 100000);
    uint8_t *entry = view.data + INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES;
    put_i32(entry + 7 * INDEX_ENTRY_BYTES, 0);
    assert_true(index_repair(&view, INT64_MAX, &resume_pos));
    assert_int_equal(resume_pos, 550); /* of entry 6, which is left out as the last record kept */
    assert_int_equal(index_header_read(&view).next_entry, 6);
    free(view.data);
}

/* Over several files: newest first, time limits, the last update; and after another start. */
static void several_files(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "index");
    atomic_store(&kit.wall_ms, 1000000);
    kit_start(&kit);
    int64_t pos[700];
    for (int i = 0; i < 700; i++) {
        char properties[64];
        (void)snprintf(properties, sizeof properties, "KEYS\001common  k%d", i);
        atomic_store(&kit.wall_ms, 1000000 + i * 1000);
        pos[i] = kit_put(&kit, "A", 0, "b", properties).pos;
    }
    for (int round = 0; round < 2; round++) {
        kit_dispatched(&kit);
        int64_t found[1000];
        int64_t last_ms;
        int64_t last_pos;
        int count = store_query_index(kit.store, SLICE_LITERAL("A"), SLICE_LITERAL("common"), 1000,
                                      0, INT64_MAX, found, &last_ms, &last_pos);
        assert_int_equal(count, 700);
        for (int i = 0; i < 700; i++)
            assert_int_equal(found[i], pos[699 - i]);
        assert_int_equal(last_ms, 1699000);
        assert_int_equal(last_pos, pos[699]);
        count = store_query_index(kit.store, SLICE_LITERAL("A"), SLICE_LITERAL("common"), 1000,
                                  1200000, 1202000, found, &last_ms, &last_pos);
        assert_int_equal(count, 3);
        assert_int_equal(found[0], pos[202]);
        count = store_query_index(kit.store, SLICE_LITERAL("A"), SLICE_LITERAL("k350"), 1000, 0,
                                  INT64_MAX, found, &last_ms, &last_pos);
        assert_int_equal(count, 1);
        assert_int_equal(found[0], pos[350]);
        assert_int_equal(store_query_index(kit.store, SLICE_LITERAL("B"), SLICE_LITERAL("k350"), 10,
                                           0, INT64_MAX, found, &last_ms, &last_pos),
                         0);
        kit_close(&kit);
        kit_start(&kit);
    }
    kit_release(&kit);
}

/* What a crash leaves that came while a file was made, and what another size leaves. */
static void unfinished_files(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    int64_t found[4];
    int64_t last_ms;
    int64_t last_pos;
    kit_init(&kit, "index");
    kit_start(&kit);
    kit_put(&kit, "A", 0, "b", "KEYS\001k");
    kit_close(&kit);
    kit_path(&kit, "index/29990101000000000", path);
    for (int64_t size = 0; size <= 4096; size += 4096) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fclose(file), 0);
        kit_resize(path, size);
        kit_open(&kit);
        assert_false(kit_exists(path));
        assert_int_equal(store_query_index(kit.store, SLICE_LITERAL("A"), SLICE_LITERAL("k"), 4, 0,
                                           INT64_MAX, found, &last_ms, &last_pos),
                         1);
        kit_close(&kit);
    }
    kit.options.index_entries = 300;
    kit_open_fails(&kit, STATUS_CORRUPT, "maxIndexNum");
    kit_release(&kit);
}

/* The path of the store's only index file. */
static void only_file(const struct kit *kit, char path[256])
{
    char command[512];
    char relative[128] = "index/";
    (void)snprintf(command, sizeof command, "ls %s/index", kit->root);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    assert_non_null(fgets(relative + 6, sizeof relative - 6, list));
    assert_int_equal(pclose(list), 0);
    relative[strcspn(relative, "\n")] = '\0';
    kit_path(kit, relative, path);
}

/* Entries with the very time of the last sync may have come after it: the file is repaired. */
static void same_millisecond_as_the_sync(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    char synced[256];
    char path[256];
    kit_init(&kit, "index");
    atomic_store(&kit.wall_ms, 1000000);
    kit_start(&kit);
    for (int i = 0; i < 20; i++)
        kit_put(&kit, "A", 0, "b", "KEYS\001k");
    kit_close(&kit); /* synced at that time */
    kit_path(&kit, "../synced", synced);
    kit_path(&kit, "checkpoint", path);
    kit_copy(path, synced);
    kit_start(&kit);
    for (int i = 0; i < 20; i++)
        kit_put(&kit, "A", 0, "b", "KEYS\001k");
    kit_dispatched(&kit);
    kit_crash(&kit, &after);
    kit_path(&after, "checkpoint", path);
    folder_remove(path);
    kit_copy(synced, path);
    /* The pages of the later entries never came to the disk; the header did. */
    only_file(&after, path);
    uint8_t zeros[20 * INDEX_ENTRY_BYTES] = {0};
    kit_poke(path, INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES + 21 * INDEX_ENTRY_BYTES, zeros,
             sizeof zeros);
    kit_open(&after);
    int64_t found[64];
    int64_t last_ms;
    int64_t last_pos;
    assert_int_equal(store_query_index(after.store, SLICE_LITERAL("A"), SLICE_LITERAL("k"), 64, 0,
                                       INT64_MAX, found, &last_ms, &last_pos),
                     40);
    kit_release(&after);
    kit_release(&kit);
}

/* The store after a crash, with 20 messages under key k; and where its only index file is. */
static void crashed_with_keys(struct kit *kit, struct kit *after, char index[256])
{
    kit_init(kit, "index");
    kit_start(kit);
    for (int i = 0; i < 20; i++)
        kit_put(kit, "A", 0, "b", "KEYS\001k");
    kit_dispatched(kit);
    kit_crash(kit, after);
    only_file(after, index);
}

static int count_of_k(struct kit *kit)
{
    int64_t found[64];
    int64_t last_ms;
    int64_t last_pos;
    return store_query_index(kit->store, SLICE_LITERAL("A"), SLICE_LITERAL("k"), 64, 0, INT64_MAX,
                             found, &last_ms, &last_pos);
}

/* Also the first file of all is made again when its header makes no sense. */
static void senseless_first_file(void **state)
{
    (void)state;
    struct kit kit;
    struct kit after;
    char path[256];
    crashed_with_keys(&kit, &after, path);
    kit_open(&after);
    kit_close(&after); /* a clean stop: nothing would be read again because of a crash */
    uint8_t nonsense[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    kit_poke(path, 32, nonsense, sizeof nonsense);
    kit_open(&after);
    assert_int_equal(count_of_k(&after), 20);
    kit_release(&after);
    kit_release(&kit);
}

/* After a crash 4.9.2 deletes the index files that end behind the checkpoint's index time and makes
 * again what came after its times: those of a growing file must not be later than its beginning.
 * Source: RocketMQ store/.../IndexService.java load, CommitLog.java recoverAbnormally. */
static void checkpoint_is_enough_for_4_9_2(void **state)
{
    (void)state;
    struct kit kit;
    struct checkpoint checkpoint;
    struct err err;
    kit_init(&kit, "index");
    for (int i = 0; i < ENTRIES; i += ENTRIES / 2) {
        atomic_store(&kit.wall_ms, 1000000 + i * 1000);
        kit_start(&kit);
        for (int j = 1; j < ENTRIES / 2; j++) {
            atomic_store(&kit.wall_ms, 1000000 + (i + j) * 1000);
            kit_put(&kit, "A", 0, "b", "KEYS\001k");
        }
        kit_close(&kit);
        assert_int_equal(checkpoint_load(vfs_posix(), kit.root, &checkpoint, &err), STATUS_OK);
        assert_int_equal(checkpoint.queues_timestamp_ms, 1000000 + 1000);
        assert_int_equal(checkpoint.index_timestamp_ms, checkpoint.log_timestamp_ms);
    }
    /* A file that is full is kept; nothing has to be made again for it. */
    kit_start(&kit);
    kit_put(&kit, "A", 0, "b", "KEYS\001k");
    atomic_store(&kit.wall_ms, 3000000);
    kit_put(&kit, "A", 0, "b", "KEYS\001k1 k2");
    kit_close(&kit);
    assert_int_equal(checkpoint_load(vfs_posix(), kit.root, &checkpoint, &err), STATUS_OK);
    assert_int_equal(checkpoint.queues_timestamp_ms, 3000000);
    kit_release(&kit);
}

static void can_be_off(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    kit_init(&kit, "index");
    kit.options.index_enable = false;
    kit_start(&kit);
    kit_put(&kit, "A", 0, "b", "KEYS\001k");
    kit_dispatched(&kit);
    kit_path(&kit, "index", path);
    assert_false(kit_exists(path));
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes),
        cmocka_unit_test(makes_the_same_bytes),
        cmocka_unit_test(chains_and_times),
        cmocka_unit_test(damaged_chains_end),
        cmocka_unit_test(repair),
        cmocka_unit_test(repair_without_a_hash),
        cmocka_unit_test(several_files),
        cmocka_unit_test(senseless_first_file),
        cmocka_unit_test(checkpoint_is_enough_for_4_9_2),
        cmocka_unit_test(can_be_off),
        cmocka_unit_test(unfinished_files),
        cmocka_unit_test(same_millisecond_as_the_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
