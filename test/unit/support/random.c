/* SPDX-License-Identifier: Apache-2.0
 *
 * splitmix64.
 */
#include "test/unit/support/random.h"

#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_init(struct random *random, const char *test)
{
    const char *text = getenv("TEST_SEED");
    if (text != NULL)
        random->state = strtoull(text, NULL, 0);
    else
        CHECK(getrandom(&random->state, sizeof random->state, 0) == sizeof random->state);
    printf("%s: TEST_SEED=%" PRIu64 "\n", test, random->state);
    (void)fflush(stdout);
}

uint64_t random_u64(struct random *random)
{
    random->state += 0x9E3779B97F4A7C15U;
    uint64_t z = random->state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

uint32_t random_below(struct random *random, uint32_t bound)
{
    return (uint32_t)(random_u64(random) >> 32) % bound;
}
