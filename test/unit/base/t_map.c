/* SPDX-License-Identifier: Apache-2.0
 *
 * The hash map: what was put is found until it is removed, over growth and removal; a walk meets
 * every entry once and may remove the one it stands at; the sorted view is in the order of the
 * keys' bytes, a prefix before what it begins.
 */
#include "common/base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#define KEYS 5000

static int values[KEYS];

static struct slice key_of(int i, char text[16])
{
    return slice_of(text, (size_t)snprintf(text, 16, "key-%d", i));
}

static void what_was_put_is_found_until_it_is_removed(void **state)
{
    (void)state;
    struct map map = MAP_EMPTY;
    char text[16];
    for (int i = 0; i < KEYS; i++)
        assert_null(map_put(&map, key_of(i, text), &values[i]));
    assert_int_equal(map.count, KEYS);
    assert_ptr_equal(map_put(&map, key_of(7, text), &values[8]), &values[7]);
    for (int i = 0; i < KEYS; i += 2)
        assert_ptr_equal(map_remove(&map, key_of(i, text)), &values[i]);
    assert_null(map_remove(&map, key_of(0, text)));
    for (int i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&map, key_of(i, text)),
                         i % 2 == 0 ? NULL : &values[i == 7 ? 8 : i]);
    assert_int_equal(map.count, KEYS / 2);
    map_release(&map);
}

static void a_walk_meets_all_and_may_remove(void **state)
{
    (void)state;
    struct map map = MAP_EMPTY;
    char text[16];
    for (int i = 0; i < KEYS; i++)
        assert_null(map_put(&map, key_of(i, text), &values[i]));
    bool seen[KEYS] = {false};
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&map, &cursor)) != NULL;) {
        ptrdiff_t i = (int *)entry->value - values;
        assert_false(seen[i]);
        seen[i] = true;
        assert_ptr_equal(map_remove(&map, entry->key), &values[i]);
    }
    for (int i = 0; i < KEYS; i++)
        assert_true(seen[i]);
    assert_int_equal(map.count, 0);
    map_release(&map);
}

static void the_sorted_view_is_in_the_order_of_bytes(void **state)
{
    (void)state;
    static const char *const sorted[] = {"", "A", "Z", "a", "a\x01", "aa", "ab", "b", "\xC3\xA4"};
    static const int put_order[] = {5, 8, 0, 3, 7, 2, 6, 1, 4};
    const int count = sizeof sorted / sizeof *sorted;
    struct map map = MAP_EMPTY;
    struct arena arena;
    arena_init(&arena, 1024);
    for (int i = 0; i < count; i++)
        assert_null(map_put(&map, slice_of_cstr(sorted[put_order[i]]), &values[put_order[i]]));
    struct map_entry **entries = map_sorted(&map, &arena);
    for (int i = 0; i < count; i++) {
        assert_true(slice_is(entries[i]->key, sorted[i]));
        assert_ptr_equal(entries[i]->value, &values[i]);
    }
    map_release(&map);
    assert_non_null(map_sorted(&map, &arena)); /* of nothing */
    arena_release(&arena);
}

/* A seed of one's own decides the hash alone; random ones differ. */
static void a_hash_is_decided_by_its_seed(void **state)
{
    (void)state;
    const struct slice key = SLICE_LITERAL("SCHEDULE_TOPIC_XXXX");
    struct hash_seed known = hash_seed_from(7);
    struct hash_seed again = hash_seed_from(7);
    struct hash_seed other = hash_seed_from(8);
    struct hash_seed drawn = hash_seed_random();
    assert_true(hash_bytes_seeded(&known, key) == hash_bytes_seeded(&again, key));
    assert_true(hash_bytes_seeded(&known, key) != hash_bytes_seeded(&other, key));
    assert_true(hash_bytes_seeded(&known, key) != hash_bytes_seeded(&drawn, key));
    assert_true(hash_bytes(key) == hash_bytes(key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_is_decided_by_its_seed),
        cmocka_unit_test(what_was_put_is_found_until_it_is_removed),
        cmocka_unit_test(a_walk_meets_all_and_may_remove),
        cmocka_unit_test(the_sorted_view_is_in_the_order_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
