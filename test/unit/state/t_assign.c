/* SPDX-License-Identifier: Apache-2.0
 *
 * Sharing out queues: each queue goes to one consumer, shares differ by one at most, neighbours
 * stay together or go round; pop consumption with all queues, with a share, with more consumers
 * than queues. Source: RMQ AllocateMessageQueueAveragely(ByCircle).java,
 * QueryAssignmentProcessor.java of 5.3.3.
 */
#include "broker/state/assign.h"

#include "state_test.h"

#define QUEUES_MAX 40

static void every_queue_goes_to_one(void **state)
{
    (void)state;
    for (int strategy = ASSIGN_AVERAGELY; strategy <= ASSIGN_AVERAGELY_BY_CIRCLE; strategy++)
        for (size_t queues = 0; queues <= QUEUES_MAX; queues += 3)
            for (size_t consumers = 1; consumers < 12; consumers++) {
                int seen[QUEUES_MAX + 1] = {0};
                for (size_t index = 0; index < consumers; index++) {
                    size_t out[QUEUES_MAX + 1];
                    size_t count = 0;
                    assign_queues((enum assign_strategy)strategy, queues, consumers, index, out,
                                  &count);
                    assert_in_range(count, queues / consumers, queues / consumers + 1);
                    for (size_t i = 0; i < count; i++) {
                        assert_true(out[i] < queues);
                        seen[out[i]]++;
                    }
                }
                for (size_t i = 0; i < queues; i++)
                    assert_int_equal(seen[i], 1);
            }
}

static void assert_queues(const size_t *out, size_t count, const char *wanted)
{
    char text[256] = "";
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%zu ", out[i]);
    assert_string_equal(text, wanted);
}

static void as_java_does(void **state)
{
    (void)state;
    size_t out[QUEUES_MAX];
    size_t count = 0;
    assign_queues(ASSIGN_AVERAGELY, 8, 3, 0, out, &count);
    assert_queues(out, count, "0 1 2 ");
    count = 0;
    assign_queues(ASSIGN_AVERAGELY, 8, 3, 2, out, &count);
    assert_queues(out, count, "6 7 ");
    count = 0;
    assign_queues(ASSIGN_AVERAGELY_BY_CIRCLE, 8, 3, 2, out, &count);
    assert_queues(out, count, "2 5 ");
    count = 0;
    assign_queues(ASSIGN_AVERAGELY, 8, 3, 3, out, &count); /* not one of them */
    assert_int_equal(count, 0);
}

static void pop_shares(void **state)
{
    (void)state;
    size_t out[QUEUES_MAX];
    size_t count = 0;
    assert_true(assign_pop_queues(ASSIGN_AVERAGELY, 8, 4, 0, 0, out, &count));
    assert_true(assign_pop_queues(ASSIGN_AVERAGELY, 8, 4, 0, -1, out, &count));
    assert_true(assign_pop_queues(ASSIGN_AVERAGELY, 8, 4, 0, 3, out, &count));
    assert_int_equal(count, 0);
    assert_false(assign_pop_queues(ASSIGN_AVERAGELY, 8, 4, 3, 1, out, &count));
    assert_queues(out, count, "6 7 0 1 ");
    count = 0;
    assert_false(assign_pop_queues(ASSIGN_AVERAGELY, 2, 5, 3, 1, out, &count));
    assert_queues(out, count, "1 ");
    count = 0;
    assert_false(assign_pop_queues(ASSIGN_AVERAGELY, 2, 5, 5, 1, out, &count));
    assert_int_equal(count, 0);
}

static void strategies_have_names(void **state)
{
    (void)state;
    enum assign_strategy strategy;
    assert_true(assign_strategy_parse("AVG", &strategy));
    assert_int_equal(strategy, ASSIGN_AVERAGELY);
    assert_true(assign_strategy_parse("AVG_BY_CIRCLE", &strategy));
    assert_int_equal(strategy, ASSIGN_AVERAGELY_BY_CIRCLE);
    assert_false(assign_strategy_parse("MACHINE_ROOM", &strategy));
    assert_false(assign_strategy_parse("", &strategy));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_queue_goes_to_one),
        cmocka_unit_test(as_java_does),
        cmocka_unit_test(pop_shares),
        cmocka_unit_test(strategies_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
