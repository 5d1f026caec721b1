/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows how ext fields become typed headers and back. Rules: proto/ext_bind.h; the names are the
 * fields of the CommandCustomHeader classes of RocketMQ 4.9.2, absent and unparsable values are
 * treated as RemotingCommand.decodeCommandCustomHeader does.
 */
#include "proto/ext_bind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/header.pb-c.h"

#include <pthread.h>

struct fixture {
    struct arena arena;
    struct ext_map ext;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    arena_init(&fixture.arena, 4096);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    arena_release(&fixture->arena);
    return 0;
}

static void add(struct fixture *f, const char *name, const char *value)
{
    ext_append(&f->ext, &f->arena, slice_of_cstr(name), slice_of_cstr(value));
}

static void add_send_v2(struct fixture *f)
{
    static const char *const fields[][2] = {
        {"a", "PG"},      {"b", "TopicTest"}, {"c", "TBW102"},        {"d", "4"},
        {"e", "2"},       {"f", "-1"},        {"g", "1700000000000"}, {"h", "0"},
        {"i", "KEYS\1k"}, {"j", "3"},         {"k", "TRUE"},          {"l", "16"},
        {"m", "yes"},     {"n", "broker-a"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        add(f, fields[i][0], fields[i][1]);
}

static void reads_the_letters_of_v2(void **state)
{
    struct fixture *f = *state;
    add_send_v2(f);
    SendMessageRequestHeaderV2 send;
    send_message_request_header_v2__init(&send);
    const char *bad = "untouched";
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &send.base, &bad), STATUS_OK);
    assert_string_equal(bad, "untouched");
    assert_string_equal(send.a, "PG");
    assert_string_equal(send.b, "TopicTest");
    assert_string_equal(send.c, "TBW102");
    assert_int_equal(send.d, 4);
    assert_int_equal(send.e, 2);
    assert_int_equal(send.f, -1);
    assert_int_equal(send.g, 1700000000000);
    assert_int_equal(send.h, 0);
    assert_string_equal(send.i, "KEYS\1k");
    assert_true(send.has_j);
    assert_int_equal(send.j, 3);
    assert_true(send.has_k && send.k);
    assert_true(send.has_l);
    assert_int_equal(send.l, 16);
    assert_true(send.has_m);
    assert_false(send.m); /* anything but "true" */
}

static void writes_in_descriptor_order(void **state)
{
    struct fixture *f = *state;
    SendMessageResponseHeader reply;
    send_message_response_header__init(&reply);
    reply.queue_id = -3;
    reply.queue_offset = INT64_MIN;
    ext_from_message(&reply.base, &f->arena, &f->ext);
    assert_true(f->ext.present);
    assert_int_equal(f->ext.count, 2); /* msgId is required, but NULL: Java leaves it out */
    assert_true(slice_is(f->ext.fields[0].name, "queueId"));
    assert_true(slice_is(f->ext.fields[0].value, "-3"));
    assert_true(slice_is(f->ext.fields[1].name, "queueOffset"));
    assert_true(slice_is(f->ext.fields[1].value, "-9223372036854775808"));

    reply.msg_id = (char *)(uintptr_t) "ID";
    reply.transaction_id = (char *)(uintptr_t) "";
    f->ext = (struct ext_map){0};
    ext_from_message(&reply.base, &f->arena, &f->ext);
    assert_int_equal(f->ext.count, 4);
    assert_true(slice_is(f->ext.fields[0].value, "ID"));
    assert_true(slice_is(f->ext.fields[3].name, "transactionId"));
    assert_int_equal(f->ext.fields[3].value.size, 0);
}

static void round_trip_of_a_full_header(void **state)
{
    struct fixture *f = *state;
    add_send_v2(f);
    SendMessageRequestHeaderV2 send;
    send_message_request_header_v2__init(&send);
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &send.base, NULL), STATUS_OK);
    struct ext_map again = {0};
    ext_from_message(&send.base, &f->arena, &again);
    assert_int_equal(again.count, 13);
    for (uint32_t i = 0; i < again.count; i++) {
        struct slice expected;
        assert_true(ext_find(&f->ext, again.fields[i].name, &expected));
        if (slice_is(again.fields[i].name, "k"))
            expected = SLICE_LITERAL("true");
        if (slice_is(again.fields[i].name, "m"))
            expected = SLICE_LITERAL("false");
        assert_true(slice_equal(again.fields[i].value, expected));
    }
}

static void the_first_missing_field_is_named_and_the_rest_filled(void **state)
{
    struct fixture *f = *state;
    add(f, "topic", "T");
    add(f, "maxMsgNums", "32");
    PullMessageRequestHeader pull;
    pull_message_request_header__init(&pull);
    const char *bad = NULL;
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &pull.base, &bad), STATUS_MISSING);
    assert_string_equal(bad, "consumerGroup");
    assert_null(pull.consumer_group);
    assert_string_equal(pull.topic, "T");
    assert_int_equal(pull.max_msg_nums, 32);
    assert_null(pull.subscription);
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &pull.base, NULL), STATUS_MISSING);
}

static void no_ext_fields_at_all(void **state)
{
    struct fixture *f = *state;
    GetMaxOffsetRequestHeader request;
    get_max_offset_request_header__init(&request);
    const char *bad = NULL;
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &request.base, &bad), STATUS_MISSING);
    assert_string_equal(bad, "topic");
    UnregisterClientResponseHeader empty;
    unregister_client_response_header__init(&empty);
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &empty.base, &bad), STATUS_OK);
}

static void values_that_do_not_parse_are_absent(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {
        "", " 4", "4 ", "0x4", "4.0", "2147483648", "-", "four", "99999999999999999999"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        f->ext = (struct ext_map){0};
        add(f, "topic", "T");
        add(f, "queueId", texts[i]);
        GetMaxOffsetRequestHeader request;
        get_max_offset_request_header__init(&request);
        const char *bad = NULL;
        assert_int_equal(ext_to_message(&f->ext, &f->arena, &request.base, &bad), STATUS_MISSING);
        assert_string_equal(bad, "queueId");
        assert_string_equal(request.topic, "T");
    }
    f->ext = (struct ext_map){0};
    add(f, "reconsumeTimes", "many");
    SendMessageRequestHeader send;
    send_message_request_header__init(&send);
    (void)ext_to_message(&f->ext, &f->arena, &send.base, NULL);
    assert_false(send.has_reconsume_times);
}

static void the_last_of_duplicates_counts(void **state)
{
    struct fixture *f = *state;
    add(f, "offset", "1");
    add(f, "offset", "+2");
    ViewMessageRequestHeader view;
    view_message_request_header__init(&view);
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &view.base, NULL), STATUS_OK);
    assert_int_equal(view.offset, 2);
    add(f, "offset", "x");
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &view.base, NULL), STATUS_MISSING);
}

static void names_that_only_look_alike_are_ignored(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"Offset", "offse", "offset ", "", "o", "off_set"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        add(f, names[i], "7");
    ViewMessageRequestHeader view;
    view_message_request_header__init(&view);
    assert_int_equal(ext_to_message(&f->ext, &f->arena, &view.base, NULL), STATUS_MISSING);
}

static void wire_names_are_those_of_java(void **state)
{
    (void)state;
    assert_string_equal(wire_name(&unregister_client_request_header__descriptor, 0), "clientID");
    assert_string_equal(wire_name(&register_message_filter_class_request_header__descriptor, 3),
                        "classCRC");
    assert_string_equal(wire_name(&register_broker_request_header__descriptor, 6), "bodyCrc32");
    assert_string_equal(wire_name(&register_broker_request_header__descriptor, 3), "haServerAddr");
    assert_string_equal(wire_name(&query_message_response_header__descriptor, 1),
                        "indexLastUpdatePhyoffset");
    assert_string_equal(wire_name(&reset_offset_request_header__descriptor, 3), "isForce");
    assert_string_equal(wire_name(&send_message_request_header_v2__descriptor, 11), "m");
}

static void a_list_is_never_on_the_wire(void **state)
{
    struct fixture *f = *state;
    char *items[] = {(char *)(uintptr_t) "x"};
    GetBrokerClusterAclConfigResponseHeader header;
    get_broker_cluster_acl_config_response_header__init(&header);
    header.n_plain_access_configs = 1;
    header.plain_access_configs = items;
    ext_from_message(&header.base, &f->arena, &f->ext);
    assert_int_equal(f->ext.count, 0);
}

/* ext_append must not write into a table that it did not make. */
static void a_callers_own_table_is_copied(void **state)
{
    struct fixture *f = *state;
    struct ext_field own[2] = {{SLICE_LITERAL("a"), SLICE_LITERAL("1")},
                               {SLICE_LITERAL("b"), SLICE_LITERAL("2")}};
    f->ext = (struct ext_map){.fields = own, .count = 1, .present = true};
    add(f, "c", "3");
    assert_true(slice_is(own[1].name, "b"));
    assert_true(f->ext.fields != own);
    struct slice value;
    assert_true(ext_find(&f->ext, SLICE_LITERAL("a"), &value));
    assert_true(slice_is(value, "1"));
    for (int i = 0; i < 100; i++)
        add(f, "d", i % 2 ? "odd" : "even");
    assert_int_equal(f->ext.count, 102);
    assert_true(ext_find(&f->ext, SLICE_LITERAL("d"), &value));
    assert_true(slice_is(value, "odd"));
    assert_false(ext_find(&f->ext, SLICE_LITERAL("e"), &value));
}

static void *ask_for_names(void *unused)
{
    (void)unused;
    static const ProtobufCMessageDescriptor *const descriptors[] = {
        &pull_message_response_header__descriptor,
        &clone_group_offset_request_header__descriptor,
        &put_kvconfig_request_header__descriptor,
        &end_transaction_request_header__descriptor,
    };
    const char *last = NULL;
    for (size_t i = 0; i < sizeof descriptors / sizeof descriptors[0]; i++)
        last = wire_name(descriptors[i], 1);
    return (void *)(uintptr_t)last;
}

static void bindings_are_made_once_by_whichever_thread(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_names, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        void *name;
        assert_int_equal(pthread_join(threads[i], &name), 0);
        assert_string_equal(name, "tranStateTableOffset");
        assert_ptr_equal(name, wire_name(&end_transaction_request_header__descriptor, 1));
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bindings_are_made_once_by_whichever_thread),
        TEST(reads_the_letters_of_v2),
        TEST(writes_in_descriptor_order),
        TEST(round_trip_of_a_full_header),
        TEST(the_first_missing_field_is_named_and_the_rest_filled),
        TEST(no_ext_fields_at_all),
        TEST(values_that_do_not_parse_are_absent),
        TEST(the_last_of_duplicates_counts),
        TEST(names_that_only_look_alike_are_ignored),
        TEST(wire_names_are_those_of_java),
        TEST(a_list_is_never_on_the_wire),
        TEST(a_callers_own_table_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
