/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits for which tag: found by its hash, all of them, nobody else, until they leave.
 */
#include "broker/state/tag_index.h"

#include "state_test.h"

#define OWNERS 500
#define CODES 3

struct owner {
    int32_t codes[CODES];
    struct tag_wish wishes[CODES];
    int found;
};

static void count_owner(void *ctx, void *owner)
{
    (void)ctx;
    ((struct owner *)owner)->found++;
}

static void each_is_found_by_its_codes(void **state)
{
    (void)state;
    static struct owner owners[OWNERS];
    struct tag_index index = TAG_INDEX_EMPTY;
    memset(owners, 0, sizeof owners);
    tag_index_find(&index, 5, count_owner, NULL); /* nobody yet */
    for (int32_t i = 0; i < OWNERS; i++) {
        /* One of its own, one that ten share, and one that everybody has. */
        struct owner *owner = &owners[i];
        owner->codes[0] = -i - 1;
        owner->codes[1] = i / 10 * 65536;
        owner->codes[2] = INT32_MAX;
        tag_index_add(&index, owner->wishes, owner->codes, CODES, owner);
    }
    tag_index_find(&index, -8, count_owner, NULL);
    tag_index_find(&index, 3 * 65536, count_owner, NULL);
    tag_index_find(&index, INT32_MIN, count_owner, NULL);
    for (int i = 0; i < OWNERS; i++)
        assert_int_equal(owners[i].found, (i == 7) + (i / 10 == 3));
    tag_index_find(&index, INT32_MAX, count_owner, NULL);
    tag_index_walk(&index, count_owner, NULL);
    for (int i = 0; i < OWNERS; i++) {
        assert_int_equal(owners[i].found, (i == 7) + (i / 10 == 3) + 1 + CODES);
        if (i % 2 == 0)
            tag_index_remove(&index, owners[i].wishes, CODES);
        owners[i].found = 0;
    }
    tag_index_find(&index, INT32_MAX, count_owner, NULL);
    for (int i = 0; i < OWNERS; i++) {
        assert_int_equal(owners[i].found, i % 2);
        if (i % 2 == 1)
            tag_index_remove(&index, owners[i].wishes, CODES);
    }
    assert_int_equal(index.count, 0);
    assert_null(index.buckets); /* a queue where nobody waits costs nothing */
    tag_index_release(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_found_by_its_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
