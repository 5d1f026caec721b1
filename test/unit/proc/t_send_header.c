/* SPDX-License-Identifier: Apache-2.0
 *
 * The send header read by hand: both forms, required fields, values that do not parse, and the same
 * result as the generic reader. Source: SendMessageRequestHeader and SendMessageRequestHeaderV2 of
 * 4.9.2 (fields a to h are checked for null, i to m are not).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/send_header.h"

#define FIELDS 13

static const char *const long_names[FIELDS] = {
    "producerGroup", "topic",          "defaultTopic",  "defaultTopicQueueNums",
    "queueId",       "sysFlag",        "bornTimestamp", "flag",
    "properties",    "reconsumeTimes", "unitMode",      "maxReconsumeTimes",
    "batch"};
static const char *const short_names[FIELDS] = {"a", "b", "c", "d", "e", "f", "g",
                                                "h", "i", "j", "k", "l", "m"};
static const char *const values[FIELDS] = {
    "PG_a", "TopicA",    "TBW102", "4",    "-1", "8",    "1700000000000",
    "7",    "KEYS\001k", "3",      "true", "16", "false"};

static struct ext_map make(const char *const *names, struct ext_field *fields)
{
    for (int i = 0; i < FIELDS; i++)
        fields[i] = (struct ext_field){slice_of_cstr(names[i]), slice_of_cstr(values[i])};
    return (struct ext_map){.fields = fields, .count = FIELDS, .present = true};
}

static void check_all(const struct send_header *header)
{
    assert_true(slice_is(header->producer_group, "PG_a"));
    assert_true(slice_is(header->topic, "TopicA"));
    assert_true(slice_is(header->default_topic, "TBW102"));
    assert_int_equal(header->default_topic_queues, 4);
    assert_int_equal(header->queue_id, -1);
    assert_int_equal(header->sys_flag, 8);
    assert_int_equal(header->born_timestamp_ms, 1700000000000);
    assert_int_equal(header->flag, 7);
    assert_true(slice_is(header->properties, "KEYS\001k"));
    assert_int_equal(header->reconsume_times, 3);
    assert_true(header->unit_mode);
    assert_true(header->has_max_reconsume_times);
    assert_int_equal(header->max_reconsume_times, 16);
    assert_false(header->batch);
}

static void reads_both_forms(void **state)
{
    (void)state;
    struct ext_field fields[FIELDS];
    struct send_header header;
    const char *missing = NULL;
    struct ext_map ext = make(long_names, fields);
    assert_int_equal(send_header_read(&ext, false, &header, &missing), STATUS_OK);
    check_all(&header);
    ext = make(short_names, fields);
    assert_int_equal(send_header_read(&ext, true, &header, &missing), STATUS_OK);
    check_all(&header);
}

static void names_the_first_missing_field(void **state)
{
    (void)state;
    struct ext_field fields[FIELDS];
    struct send_header header;
    for (int gone = 0; gone < FIELDS; gone++) {
        const char *missing = NULL;
        struct ext_map ext = make(short_names, fields);
        fields[gone].name = SLICE_LITERAL("unknown");
        enum status status = send_header_read(&ext, true, &header, &missing);
        if (gone < 8) {
            assert_int_equal(status, STATUS_MISSING);
            assert_string_equal(missing, short_names[gone]);
        } else {
            assert_int_equal(status, STATUS_OK);
        }
    }
}

/* 4.9.2 checks the short form only; of the long one it needs what it uses. */
static void the_long_form_spares_what_is_not_used(void **state)
{
    (void)state;
    struct ext_field fields[FIELDS];
    struct send_header header;
    for (int gone = 0; gone < FIELDS; gone++) {
        const char *missing = NULL;
        struct ext_map ext = make(long_names, fields);
        fields[gone].name = SLICE_LITERAL("unknown");
        bool needed = gone == 1 || (gone >= 4 && gone < 8);
        assert_int_equal(send_header_read(&ext, false, &header, &missing),
                         needed ? STATUS_MISSING : STATUS_OK);
        if (needed)
            assert_string_equal(missing, long_names[gone]);
    }
}

static void counts_a_bad_number_as_missing(void **state)
{
    (void)state;
    struct ext_field fields[FIELDS];
    struct send_header header;
    const char *missing = NULL;
    struct ext_map ext = make(long_names, fields);
    fields[4].value = SLICE_LITERAL("zzz");
    assert_int_equal(send_header_read(&ext, false, &header, &missing), STATUS_MISSING);
    assert_string_equal(missing, "queueId");
    ext = make(long_names, fields);
    fields[11].value = SLICE_LITERAL("99999999999");
    assert_int_equal(send_header_read(&ext, false, &header, &missing), STATUS_OK);
    assert_false(header.has_max_reconsume_times);
}

static void last_of_two_counts(void **state)
{
    (void)state;
    struct ext_field fields[FIELDS + 1];
    struct send_header header;
    const char *missing = NULL;
    struct ext_map ext = make(short_names, fields);
    fields[ext.count++] = (struct ext_field){SLICE_LITERAL("b"), SLICE_LITERAL("Later")};
    assert_int_equal(send_header_read(&ext, true, &header, &missing), STATUS_OK);
    assert_true(slice_is(header.topic, "Later"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_forms),
        cmocka_unit_test(names_the_first_missing_field),
        cmocka_unit_test(the_long_form_spares_what_is_not_used),
        cmocka_unit_test(counts_a_bad_number_as_missing),
        cmocka_unit_test(last_of_two_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
