/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers for property tests, from a seed that is printed so that a failure can be repeated:
 * TEST_SEED=<number> in the environment sets it.
 */
#ifndef TEST_UNIT_SUPPORT_RANDOM_H
#define TEST_UNIT_SUPPORT_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

/* Takes TEST_SEED, or draws a seed, and prints it with the test's name. */
void random_init(struct random *random, const char *test);

/* Any 64 bits; a number below `bound`, which is not 0. */
uint64_t random_u64(struct random *random);
uint32_t random_below(struct random *random, uint32_t bound);

#endif
