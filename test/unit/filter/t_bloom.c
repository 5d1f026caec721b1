/* SPDX-License-Identifier: Apache-2.0
 *
 * Bloom filter positions as 4.9.2 wrote them into consumerFilter.json (test/data), and shapes for
 * the options' bounds as its BloomFilter works them out.
 */
#include "broker/filter/bloom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_positions(int percent, int64_t members, const char *text, int bits, int first,
                             int second, int third)
{
    int32_t found[BLOOM_HASHES_MAX];
    struct bloom_shape shape = bloom_shape_of(percent, members);
    assert_int_equal(shape.hashes, 3);
    assert_int_equal(shape.bits, bits);
    bloom_positions(&shape, slice_of_cstr(text), found);
    assert_int_equal(found[0], first);
    assert_int_equal(found[1], second);
    assert_int_equal(found[2], third);
}

static void positions_are_apaches(void **state)
{
    (void)state;
    assert_positions(20, 32, "CG_plain#FilterTopic", 112, 86, 103, 74);
    assert_positions(20, 64, "CG_a#TopicA", 216, 172, 122, 17);
}

static void shapes_stay_in_their_bounds(void **state)
{
    (void)state;
    struct bloom_shape shape = bloom_shape_of(1, 1);
    assert_int_equal(shape.hashes, 7);
    assert_int_equal(shape.bits, 16);
    shape = bloom_shape_of(99, 1);
    assert_int_equal(shape.hashes, 1);
    assert_int_equal(shape.bits, 8);
    shape = bloom_shape_of(1, INT32_MAX);
    assert_int_equal(shape.bits, INT32_MAX);
    int32_t found[BLOOM_HASHES_MAX];
    bloom_positions(&shape, SLICE_LITERAL("g#t"), found);
    for (int i = 0; i < shape.hashes; i++)
        assert_in_range(found[i], 0, INT32_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_apaches),
        cmocka_unit_test(shapes_stay_in_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
