/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows: every command of the name server answers as a running 4.9.2 did.
 * Method: the rows of test/data/answers.tsv that were put to a name server are put to ours in the
 * same order, over the same cluster; then the rules that no row covers. Commands are called without
 * sockets; test/e2e/namesrv.py drives the whole server.
 * Source: RMQ namesrv/.../DefaultRequestProcessor.java
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"
#include "namesrv/handlers.h"
#include "namesrv/kv.h"
#include "namesrv/route.h"
#include "proto/codes.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"
#include "proto/json.h"
#include "test/unit/support/folder.h"
#include "test/unit/support/tsv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MASTER "127.0.0.1:21010"
#define SLAVE "127.0.0.1:21020"

struct fixture {
    char folder[FOLDER_BYTES];
    char kv_path[128];
    char config_path[128];
    struct namesrv_conf values;
    struct conf conf;
    struct clock clock;
    int64_t now_ms;
    struct arena arena;
    struct handlers *handlers;
    struct conn_ref conn; /* over which requests come */
    struct response response;
    struct ext_map ext; /* of the response, header and all */
    struct slice body;  /* of the response, put together */
};

static int64_t clock_wall(void *ctx)
{
    return ((struct fixture *)ctx)->now_ms + 1700000000000;
}

static int64_t clock_monotonic(void *ctx)
{
    return ((struct fixture *)ctx)->now_ms * 1000000;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make("t_handlers", f->folder);
    (void)snprintf(f->kv_path, sizeof f->kv_path, "%s/kv.json", f->folder);
    (void)snprintf(f->config_path, sizeof f->config_path, "%s/ns.conf", f->folder);
    namesrv_conf_init(&f->values, &f->conf);
    f->clock = (struct clock){clock_wall, clock_monotonic, f};
    f->now_ms = 1000;
    f->conn = (struct conn_ref){NULL, 0, 77};
    arena_init(&f->arena, 65536);
    struct handlers_options options = {
        .conf = &f->conf,
        .values = &f->values,
        .clock = &f->clock,
        .vfs = vfs_posix(),
        .kv_path = f->kv_path,
        .config_path = f->config_path,
    };
    struct err err;
    assert_int_equal(handlers_new(&options, &f->handlers, &err), STATUS_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    handlers_free(f->handlers);
    conf_release(&f->conf);
    arena_release(&f->arena);
    folder_remove(f->folder);
    free(f);
    return 0;
}

/* Put a request; the answer is in the fixture until the next one. */
static void ask(struct fixture *f, int32_t code, const struct ext_map *ext, struct slice body)
{
    struct command request = {.code = code, .version = COMMAND_VERSION_4_9_2, .ext = *ext};
    struct call call = {
        .request = &request,
        .body = body,
        .arena = &f->arena,
        .conn = f->conn,
        .peer = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 50000},
    };
    handlers_answer(f->handlers, &call, &f->response);
    f->ext = f->response.ext;
    if (f->response.header != NULL)
        ext_from_message(f->response.header, &f->arena, &f->ext);
    struct buf joined = BUF_EMPTY;
    buf_append_slice(&joined, f->response.body);
    for (size_t i = 0; i < f->response.part_count; i++) {
        const struct body_part *part = &f->response.parts[i];
        buf_append(&joined, part->data, part->size);
        if (part->release != NULL)
            part->release(part->owner);
    }
    f->body = arena_copy(&f->arena, buf_slice(&joined));
    buf_release(&joined);
}

static void ask_with(struct fixture *f, int32_t code, const ProtobufCMessage *header,
                     struct slice body)
{
    struct ext_map ext = {.present = true};
    if (header != NULL)
        ext_from_message(header, &f->arena, &ext);
    ask(f, code, &ext, body);
}

static void expect_code(const struct fixture *f, int32_t code)
{
    if (f->response.code != code)
        print_error("remark: %s\n", f->response.remark == NULL ? "(none)" : f->response.remark);
    assert_int_equal(f->response.code, code);
}

static void expect_ext(const struct fixture *f, const char *name, const char *value)
{
    struct slice found = SLICE_EMPTY;
    bool there = ext_find(&f->ext, slice_of_cstr(name), &found);
    if (value == NULL) {
        assert_false(there);
        return;
    }
    assert_true(there);
    assert_int_equal(found.size, strlen(value));
    assert_memory_equal(found.data, value, found.size);
}

static void expect_body(const struct fixture *f, const char *text)
{
    assert_int_equal(f->body.size, strlen(text));
    assert_memory_equal(f->body.data, text, f->body.size);
}

/* Registration. */

static RegisterBrokerRequestHeader registration(const char *address, int64_t id)
{
    RegisterBrokerRequestHeader header = REGISTER_BROKER_REQUEST_HEADER__INIT;
    header.broker_name = (char *)(uintptr_t) "broker-a";
    header.broker_addr = (char *)(uintptr_t)address;
    header.cluster_name = (char *)(uintptr_t) "DefaultCluster";
    header.ha_server_addr = (char *)(uintptr_t) "127.0.0.1:21011";
    header.broker_id = id;
    return header;
}

static void registers(struct fixture *f, const char *address, int64_t id, struct slice body)
{
    RegisterBrokerRequestHeader header = registration(address, id);
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, body);
    expect_code(f, RESPONSE_SUCCESS);
}

/* A body of one topic. */
static struct slice body_of(struct fixture *f, const char *topic, int queues, int64_t version)
{
    return slice_of_cstr(arena_printf(
        &f->arena,
        "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":"
        "%lld,\"timestamp\":1},\"topicConfigTable\":{\"%s\":{\"order\":false,\"perm\":6,"
        "\"readQueueNums\":%d,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"%s\","
        "\"topicSysFlag\":0,\"writeQueueNums\":%d}}}}",
        (long long)version, topic, queues, topic, queues));
}

static void ask_route(struct fixture *f, const char *topic)
{
    GetRouteInfoRequestHeader header = GET_ROUTE_INFO_REQUEST_HEADER__INIT;
    header.topic = (char *)(uintptr_t)topic;
    ask_with(f, REQUEST_GET_ROUTEINFO_BY_TOPIC, &header.base, SLICE_EMPTY);
}

/* The golden rows. */

/* "{a=b, c=d}" -> fields; "null" -> none. */
static struct ext_map parse_ext(struct fixture *f, struct slice text)
{
    struct ext_map ext = {.present = !slice_is(text, "null")};
    if (text.size <= 2 || !ext.present)
        return ext;
    char *copy = arena_cstr(&f->arena, slice_of(text.data + 1, text.size - 2));
    for (char *next = copy; next != NULL;) {
        char *field = next;
        next = strstr(field, ", ");
        if (next != NULL) {
            *next = '\0';
            next += 2;
        }
        char *equals = strchr(field, '=');
        assert_non_null(equals);
        *equals = '\0';
        ext_append(&ext, &f->arena, slice_of_cstr(field), slice_of_cstr(equals + 1));
    }
    return ext;
}

/* What stands between `before` and the first of `after` (NULL: the end). */
static struct slice between(struct fixture *f, struct slice row, const char *before,
                            const char *after)
{
    char *text = arena_cstr(&f->arena, row);
    char *start = strstr(text, before);
    if (start == NULL)
        return SLICE_EMPTY;
    start += strlen(before);
    char *end = after == NULL ? NULL : strstr(start, after);
    return end == NULL ? slice_of_cstr(start) : slice_of(start, (size_t)(end - start));
}

static int32_t number(struct slice text)
{
    int32_t value = 0;
    assert_true(parse_i32(text, &value));
    return value;
}

static char *unescape_lines(struct fixture *f, struct slice text)
{
    char *copy = arena_cstr(&f->arena, text);
    char *to = copy;
    for (const char *from = copy; *from != '\0'; from++) {
        if (from[0] == '\\' && from[1] == 'n') {
            *to++ = '\n';
            from++;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return copy;
}

static bool holds(const struct json_value *array, struct slice text)
{
    for (uint32_t i = 0; i < array->count; i++)
        if (slice_equal(array->items[i].text, text))
            return true;
    return false;
}

/* Lists of topics come in any order. */
static void expect_same_list(struct fixture *f, struct slice golden)
{
    struct json_value ours;
    struct json_value theirs;
    assert_int_equal(json_parse(f->body, &f->arena, &ours, NULL), STATUS_OK);
    assert_int_equal(json_parse(golden, &f->arena, &theirs, NULL), STATUS_OK);
    const struct json_value *list = json_get(&ours, "topicList");
    const struct json_value *expected = json_get(&theirs, "topicList");
    assert_int_equal(list->count, expected->count);
    for (uint32_t i = 0; i < expected->count; i++)
        assert_true(holds(list, expected->items[i].text));
    assert_int_equal(ours.count, theirs.count);
    const struct json_value *address = json_get(&theirs, "brokerAddr");
    if (address != NULL)
        assert_true(slice_equal(json_get(&ours, "brokerAddr")->text, address->text));
}

/* Of the configuration the values differ, but no key of 4.9.2 may be missing. */
static void expect_same_keys(struct fixture *f, struct slice golden)
{
    char *ours = arena_printf(&f->arena, "\n%.*s", SLICE_ARGS(f->body));
    char *text = arena_cstr(&f->arena, golden);
    int keys = 0;
    for (char *line = text, *next = NULL; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        if (next == line)
            continue;
        char *equals = strchr(line, '=');
        assert_non_null(equals);
        equals[1] = '\0';
        assert_non_null(strstr(ours, arena_printf(&f->arena, "\n%s", line)));
        keys++;
    }
    assert_int_equal(keys, 17);
}

static void expect_golden_body(struct fixture *f, struct slice name)
{
    if (name.size == 0) {
        assert_int_equal(f->body.size, 0);
        return;
    }
    struct slice golden =
        file_bytes(&f->arena, arena_printf(&f->arena, "test/data/bodies/%.*s", SLICE_ARGS(name)));
    if (strstr(arena_cstr(&f->arena, name), "TopicList") != NULL)
        expect_same_list(f, golden);
    else if (strstr(arena_cstr(&f->arena, name), "namesrvConfig") != NULL)
        expect_same_keys(f, golden);
    else
        expect_body(f, arena_cstr(&f->arena, golden));
}

static void run_row(struct fixture *f, struct slice request, struct slice answer)
{
    print_message("  %.*s\n", SLICE_ARGS(request));
    int32_t code = number(between(f, request, "request code ", " "));
    struct ext_map ext = parse_ext(f, between(f, request, "extFields ", " body "));
    ask(f, code, &ext, between(f, request, " body ", NULL));

    expect_code(f, number(between(f, answer, "code ", " ")));
    char *remark = unescape_lines(f, between(f, answer, "remark ", " extFields "));
    if (strcmp(remark, "null") == 0)
        assert_null(f->response.remark);
    else
        assert_string_equal(f->response.remark, remark);
    struct ext_map expected = parse_ext(f, between(f, answer, " extFields ", " body "));
    assert_int_equal(f->response.header != NULL, expected.present);
    assert_int_equal(f->ext.count, expected.count);
    for (uint32_t i = 0; i < expected.count; i++)
        expect_ext(f, arena_cstr(&f->arena, expected.fields[i].name),
                   arena_cstr(&f->arena, expected.fields[i].value));
    expect_golden_body(f, between(f, answer, " body ", NULL));
}

/* The cluster that the rows were recorded with: a master, a slave, and the master's topics. */
static void register_recorded_cluster(struct fixture *f)
{
    struct slice table =
        file_bytes(&f->arena, "test/data/bodies/live/TopicConfigSerializeWrapper.json");
    char *text = arena_cstr(&f->arena, table);
    char *topics = strstr(text, "\"topicConfigTable\"");
    assert_non_null(topics);
    registers(f, MASTER, 0,
              slice_of_cstr(arena_printf(&f->arena,
                                         "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":"
                                         "{\"dataVersion\":{\"counter\":17,\"timestamp\":"
                                         "1795380439717},%s}",
                                         topics)));
    registers(f, SLAVE, 1, SLICE_EMPTY);
}

static void golden_answers(void **state)
{
    struct fixture *f = *state;
    register_recorded_cluster(f);
    struct tsv tsv;
    tsv_load(&tsv, "test/data/answers.tsv");
    int rows = 0;
    for (size_t i = 0; i < tsv.row_count; i++) {
        struct slice request = tsv_cell(&tsv, i, "request");
        if (strstr(arena_cstr(&f->arena, request), ": name server request") == NULL)
            continue;
        run_row(f, request, tsv_cell(&tsv, i, "answer"));
        rows++;
    }
    assert_int_equal(rows, 19);
    tsv_release(&tsv);
}

/* Every row of command.def that is the name server's has a handler, and a missing required field
 * is named. */
static void every_command_is_answered(void **state)
{
    struct fixture *f = *state;
    struct ext_map empty = {.present = true};
    int commands = 0;
    for (int32_t code = 0; code < 1000; code++) {
        const struct command_info *info = command_info(code);
        ask(f, code, &empty, SLICE_EMPTY);
        if (info == NULL || info->server != SERVER_NAMESRV) {
            expect_code(f, RESPONSE_REQUEST_CODE_NOT_SUPPORTED);
            assert_string_equal(f->response.remark,
                                arena_printf(&f->arena, " request type %d not supported", code));
            continue;
        }
        commands++;
        assert_int_not_equal(f->response.code, RESPONSE_REQUEST_CODE_NOT_SUPPORTED);
    }
    assert_int_equal(commands, 20);
    ask(f, -1, &empty, SLICE_EMPTY);
    expect_code(f, RESPONSE_REQUEST_CODE_NOT_SUPPORTED);
    ask(f, INT32_MAX, &empty, SLICE_EMPTY);
    expect_code(f, RESPONSE_REQUEST_CODE_NOT_SUPPORTED);
}

static void missing_fields_are_named(void **state)
{
    static const struct {
        int32_t code;
        const char *field;
    } rows[] = {
        {REQUEST_PUT_KV_CONFIG, "namespace"},
        {REQUEST_GET_KV_CONFIG, "namespace"},
        {REQUEST_DELETE_KV_CONFIG, "namespace"},
        {REQUEST_GET_KVLIST_BY_NAMESPACE, "namespace"},
        {REQUEST_REGISTER_BROKER, "brokerName"},
        {REQUEST_UNREGISTER_BROKER, "brokerName"},
        {REQUEST_QUERY_DATA_VERSION, "brokerName"},
        {REQUEST_GET_ROUTEINFO_BY_TOPIC, "topic"},
        {REQUEST_DELETE_TOPIC_IN_NAMESRV, "topic"},
        {REQUEST_GET_TOPICS_BY_CLUSTER, "cluster"},
        {REQUEST_WIPE_WRITE_PERM_OF_BROKER, "brokerName"},
        {REQUEST_ADD_WRITE_PERM_OF_BROKER, "brokerName"},
    };
    struct fixture *f = *state;
    struct ext_map absent = {.present = false};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ask(f, rows[i].code, &absent, SLICE_EMPTY);
        expect_code(f, RESPONSE_SYSTEM_ERROR);
        assert_non_null(strstr(f->response.remark, arena_printf(&f->arena, "<%s>", rows[i].field)));
    }
    /* A number that is none counts as missing. */
    struct ext_map ext = {.present = true};
    ext_append(&ext, &f->arena, SLICE_LITERAL("brokerName"), SLICE_LITERAL("broker-a"));
    ext_append(&ext, &f->arena, SLICE_LITERAL("brokerAddr"), SLICE_LITERAL(MASTER));
    ext_append(&ext, &f->arena, SLICE_LITERAL("clusterName"), SLICE_LITERAL("C"));
    ext_append(&ext, &f->arena, SLICE_LITERAL("brokerId"), SLICE_LITERAL("zero"));
    ask(f, REQUEST_UNREGISTER_BROKER, &ext, SLICE_EMPTY);
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    assert_non_null(strstr(f->response.remark, "<brokerId>"));

    RegisterBrokerRequestHeader nameless = registration(MASTER, 0);
    nameless.broker_name = (char *)(uintptr_t) "";
    ask_with(f, REQUEST_REGISTER_BROKER, &nameless.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    assert_non_null(strstr(f->response.remark, "<brokerName>"));
}

/* proves: NS-20 */
static void a_wrong_checksum_is_refused(void **state)
{
    struct fixture *f = *state;
    struct slice body = file_bytes(&f->arena, "test/data/bodies/RegisterBrokerBody.json");
    RegisterBrokerRequestHeader header = registration(MASTER, 0);
    header.has_body_crc32 = true;
    header.body_crc32 = 1775353336;
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, body);
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    assert_string_equal(f->response.remark, "crc32 not match");
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    ask_route(f, "TopicA");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);
    header.body_crc32 = 1775353335;
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, body);
    expect_code(f, RESPONSE_SUCCESS);
    ask_route(f, "TopicA");
    expect_code(f, RESPONSE_SUCCESS);
}

/* proves: NS-22 */
static void a_deflated_registration(void **state)
{
    struct fixture *f = *state;
    struct slice body = file_bytes(&f->arena, "test/data/bodies/RegisterBrokerBody.deflate.bin");
    RegisterBrokerRequestHeader header = registration(MASTER, 0);
    header.has_compressed = true;
    header.compressed = true;
    header.has_body_crc32 = true;
    header.body_crc32 = 946422681;
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, body);
    expect_code(f, RESPONSE_SUCCESS);
    ask_route(f, "TopicA");
    expect_code(f, RESPONSE_SUCCESS);
    header.has_body_crc32 = false;
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, SLICE_LITERAL("not deflated"));
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    assert_non_null(strstr(f->response.remark, "RegisterBrokerBody"));
}

/* proves: NS-21, the body of brokers before 3.0.11, and no body at all */
static void older_and_empty_bodies(void **state)
{
    struct fixture *f = *state;
    RegisterBrokerRequestHeader header = registration(MASTER, 0);
    struct ext_map ext = {.present = true};
    ext_from_message(&header.base, &f->arena, &ext);
    struct command request = {.code = REQUEST_REGISTER_BROKER, .version = 36, .ext = ext};
    struct call call = {
        .request = &request,
        .body = file_bytes(&f->arena, "test/data/bodies/live/TopicConfigSerializeWrapper.json"),
        .arena = &f->arena,
        .conn = {NULL, 0, 77},
    };
    handlers_answer(f->handlers, &call, &f->response);
    expect_code(f, RESPONSE_SUCCESS);
    ask_route(f, "PlainTopic");
    expect_code(f, RESPONSE_SUCCESS);

    registers(f, SLAVE, 1, SLICE_EMPTY);
    QueryDataVersionRequestHeader query = QUERY_DATA_VERSION_REQUEST_HEADER__INIT;
    query.broker_name = header.broker_name;
    query.broker_addr = (char *)(uintptr_t)SLAVE;
    query.cluster_name = header.cluster_name;
    ask_with(f, REQUEST_QUERY_DATA_VERSION, &query.base,
             SLICE_LITERAL("{\"counter\":0,\"timestamp\":0}"));
    expect_code(f, RESPONSE_SUCCESS);
    expect_ext(f, "changed", "false");
    expect_body(f, "{\"counter\":0,\"timestamp\":0}");
    query.broker_addr = (char *)(uintptr_t) "10.0.0.1:1";
    ask_with(f, REQUEST_QUERY_DATA_VERSION, &query.base,
             SLICE_LITERAL("{\"counter\":0,\"timestamp\":0}"));
    expect_ext(f, "changed", "true");
    assert_int_equal(f->body.size, 0);
}

/* proves: NS-24 through the whole of the handler, with the outline and without */
static void only_changed_versions_are_taken(void **state)
{
    struct fixture *f = *state;
    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    registers(f, MASTER, 0, body_of(f, "Second", 4, 1));
    ask_route(f, "Second");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);
    registers(f, MASTER, 0, body_of(f, "Second", 4, 2));
    ask_route(f, "Second");
    expect_code(f, RESPONSE_SUCCESS);
    ask_route(f, "First");
    expect_code(f, RESPONSE_SUCCESS);
    /* A body that is cut behind its version is still a sign of life, and not more. */
    struct slice body = body_of(f, "Third", 4, 2);
    registers(f, MASTER, 0, slice_of(body.data, body.size - 10));
    body = body_of(f, "Third", 4, 3);
    RegisterBrokerRequestHeader header = registration(MASTER, 0);
    ask_with(f, REQUEST_REGISTER_BROKER, &header.base, slice_of(body.data, body.size - 10));
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    ask_route(f, "Third");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);
    /* Without a version a body always counts as changed. */
    registers(f, MASTER, 0,
              SLICE_LITERAL("{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{\"Fourth\":"
                            "{\"topicName\":\"Fourth\",\"perm\":6,\"readQueueNums\":1,"
                            "\"writeQueueNums\":1}}}}"));
    ask_route(f, "Fourth");
    expect_code(f, RESPONSE_SUCCESS);
}

/* proves: NS-26, NS-27 */
static void a_slave_is_told_its_master_and_the_order_topics(void **state)
{
    struct fixture *f = *state;
    registers(f, SLAVE, 1, body_of(f, "First", 4, 1));
    expect_ext(f, "masterAddr", NULL);
    expect_ext(f, "haServerAddr", NULL);
    assert_non_null(f->response.header);
    assert_int_equal(f->body.size, 0);
    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    expect_ext(f, "masterAddr", NULL);

    PutKVConfigRequestHeader put = PUT_KVCONFIG_REQUEST_HEADER__INIT;
    put.namespace_ = (char *)(uintptr_t)KV_ORDER_TOPICS;
    put.key = (char *)(uintptr_t) "First";
    put.value = (char *)(uintptr_t) "broker-a:4";
    ask_with(f, REQUEST_PUT_KV_CONFIG, &put.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SUCCESS);
    registers(f, SLAVE, 1, body_of(f, "First", 4, 1));
    expect_ext(f, "masterAddr", MASTER);
    expect_ext(f, "haServerAddr", "127.0.0.1:21011");
    expect_body(f, "{\"table\":{\"First\":\"broker-a:4\"}}");

    /* A list that is missing is an empty one. */
    struct slice with = SLICE_LITERAL(
        "{\"filterServerList\":[\"f:1\"],\"topicConfigSerializeWrapper\":{\"dataVersion\":"
        "{\"counter\":1,\"timestamp\":1}}}");
    struct slice without = SLICE_LITERAL(
        "{\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":1,\"timestamp\":1}}}");
    registers(f, MASTER, 0, with);
    ask_route(f, "First");
    assert_non_null(strstr(arena_cstr(&f->arena, f->body), "{\"" MASTER "\":[\"f:1\"]}"));
    registers(f, MASTER, 0, without);
    ask_route(f, "First");
    assert_non_null(strstr(arena_cstr(&f->arena, f->body), "\"filterServerTable\":{}"));
}

/* proves: NS-04, orderTopicConf only when it is switched on */
static void order_configuration_in_routes(void **state)
{
    struct fixture *f = *state;
    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    PutKVConfigRequestHeader put = PUT_KVCONFIG_REQUEST_HEADER__INIT;
    put.namespace_ = (char *)(uintptr_t)KV_ORDER_TOPICS;
    put.key = (char *)(uintptr_t) "First";
    put.value = (char *)(uintptr_t) "broker-a:4";
    ask_with(f, REQUEST_PUT_KV_CONFIG, &put.base, SLICE_EMPTY);
    ask_route(f, "First");
    assert_null(strstr(arena_cstr(&f->arena, f->body), "orderTopicConf"));

    ask_with(f, REQUEST_UPDATE_NAMESRV_CONFIG, NULL, SLICE_LITERAL("orderMessageEnable=true\n"));
    expect_code(f, RESPONSE_SUCCESS);
    ask_route(f, "First");
    expect_code(f, RESPONSE_SUCCESS);
    assert_non_null(strstr(arena_cstr(&f->arena, f->body), "\"orderTopicConf\":\"broker-a:4\""));
    ask_route(f, "Other");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);
    registers(f, MASTER, 0, body_of(f, "Unordered", 4, 2));
    ask_route(f, "Unordered");
    expect_code(f, RESPONSE_SUCCESS);
    assert_null(strstr(arena_cstr(&f->arena, f->body), "orderTopicConf"));
}

/* proves: NS-15, NS-16 */
static void options_are_updated_and_stored(void **state)
{
    struct fixture *f = *state;
    ask_with(f, REQUEST_UPDATE_NAMESRV_CONFIG, NULL, SLICE_EMPTY);
    expect_code(f, RESPONSE_SUCCESS);
    assert_int_not_equal(access(f->config_path, F_OK), 0);
    ask_with(f, REQUEST_UPDATE_NAMESRV_CONFIG, NULL, SLICE_LITERAL("orderMessageEnable=true"));
    expect_code(f, RESPONSE_SUCCESS);
    assert_null(f->response.header);
    struct slice file = file_bytes(&f->arena, f->config_path);
    assert_non_null(strstr(arena_cstr(&f->arena, file), "orderMessageEnable"));
    ask_with(f, REQUEST_GET_NAMESRV_CONFIG, NULL, SLICE_EMPTY);
    assert_non_null(strstr(arena_cstr(&f->arena, f->body), "orderMessageEnable=true\n"));
    ask_with(f, REQUEST_UPDATE_NAMESRV_CONFIG, NULL, SLICE_LITERAL("listenPort=many"));
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    assert_non_null(strstr(f->response.remark, "listenPort"));
}

/* proves: NS-10; what is stored survives, and a change that cannot be stored is none */
static void values_are_stored_before_they_are_shown(void **state)
{
    struct fixture *f = *state;
    PutKVConfigRequestHeader put = PUT_KVCONFIG_REQUEST_HEADER__INIT;
    put.namespace_ = (char *)(uintptr_t) "N";
    put.key = (char *)(uintptr_t) "k";
    put.value = (char *)(uintptr_t) "1";
    ask_with(f, REQUEST_PUT_KV_CONFIG, &put.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SUCCESS);
    struct slice file = file_bytes(&f->arena, f->kv_path);
    assert_true(slice_is(file, "{\"configTable\":{\"N\":{\"k\":\"1\"}}}"));

    /* A file where the folder was: nothing can be written any more. */
    folder_remove(f->folder);
    FILE *obstacle = fopen(f->folder, "w");
    assert_non_null(obstacle);
    assert_int_equal(fclose(obstacle), 0);
    put.value = (char *)(uintptr_t) "2";
    ask_with(f, REQUEST_PUT_KV_CONFIG, &put.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    assert_non_null(strstr(f->response.remark, f->kv_path));
    DeleteKVConfigRequestHeader delete = DELETE_KVCONFIG_REQUEST_HEADER__INIT;
    delete.namespace_ = put.namespace_;
    delete.key = put.key;
    ask_with(f, REQUEST_DELETE_KV_CONFIG, &delete.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SYSTEM_ERROR);
    GetKVConfigRequestHeader get = GET_KVCONFIG_REQUEST_HEADER__INIT;
    get.namespace_ = put.namespace_;
    get.key = put.key;
    ask_with(f, REQUEST_GET_KV_CONFIG, &get.base, SLICE_EMPTY);
    expect_ext(f, "value", "1");
    /* Deleting what is not there writes nothing and succeeds. */
    delete.key = (char *)(uintptr_t) "unknown";
    ask_with(f, REQUEST_DELETE_KV_CONFIG, &delete.base, SLICE_EMPTY);
    expect_code(f, RESPONSE_SUCCESS);
}

/* proves: NS-30, NS-31 through the callbacks of the server */
static void lost_brokers_leave_the_table(void **state)
{
    struct fixture *f = *state;
    struct service service = handlers_service(f->handlers);
    struct host peer = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 50000};
    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    service.on_close(service.ctx, (struct conn_ref){NULL, 0, 78}, &peer);
    ask_route(f, "First");
    expect_code(f, RESPONSE_SUCCESS);
    service.on_close(service.ctx, (struct conn_ref){NULL, 0, 77}, &peer);
    ask_route(f, "First");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);

    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    peer.port = 21010; /* a connection from the broker's own address, without a registration */
    service.on_close(service.ctx, (struct conn_ref){NULL, 0, 79}, &peer);
    ask_route(f, "First");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);

    f->conn = CONN_REF_NONE; /* there is none to close here */
    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    registers(f, SLAVE, 1, SLICE_EMPTY);
    f->now_ms += ROUTE_EXPIRY_MS;
    handlers_expire(f->handlers);
    ask_route(f, "First");
    expect_code(f, RESPONSE_SUCCESS);
    f->now_ms++;
    handlers_expire(f->handlers);
    ask_route(f, "First");
    expect_code(f, RESPONSE_TOPIC_NOT_EXIST);
    handlers_report(f->handlers);
}

/* How often `text` stands in the file. */
static int logged(const char *path, const char *text)
{
    char *log = NULL;
    size_t size = 0;
    assert_int_equal(vfs_read_file(vfs_posix(), path, 1 << 20, &log, &size), STATUS_OK);
    int count = 0;
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    free(log);
    return count;
}

/* No peer can write the log full: of requests that change nothing there is no line, and of those
 * that are refused one per second. */
static void only_changes_are_logged(void **state)
{
    struct fixture *f = *state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/log", f->folder);
    struct log_options options = {path, 1 << 20, 0, LOG_DEBUG};
    assert_int_equal(log_open(&options, NULL), STATUS_OK);
    registers(f, MASTER, 0, body_of(f, "First", 4, 1));
    RegisterBrokerRequestHeader wrong = registration(MASTER, 0);
    wrong.has_body_crc32 = true;
    wrong.body_crc32 = 1;
    WipeWritePermOfBrokerRequestHeader wipe = WIPE_WRITE_PERM_OF_BROKER_REQUEST_HEADER__INIT;
    wipe.broker_name = wrong.broker_name;
    AddWritePermOfBrokerRequestHeader add = ADD_WRITE_PERM_OF_BROKER_REQUEST_HEADER__INIT;
    add.broker_name = (char *)(uintptr_t) "unknown";
    DeleteTopicInNamesrvRequestHeader delete = DELETE_TOPIC_IN_NAMESRV_REQUEST_HEADER__INIT;
    delete.topic = (char *)(uintptr_t) "First";
    UnRegisterBrokerRequestHeader leave = UN_REGISTER_BROKER_REQUEST_HEADER__INIT;
    leave.broker_name = wrong.broker_name;
    leave.broker_addr = wrong.broker_addr;
    leave.cluster_name = wrong.cluster_name;
    for (int i = 0; i < 50; i++) {
        ask_with(f, REQUEST_REGISTER_BROKER, &wrong.base, SLICE_LITERAL("{}"));
        ask_with(f, REQUEST_WIPE_WRITE_PERM_OF_BROKER, &wipe.base, SLICE_EMPTY);
        ask_with(f, REQUEST_ADD_WRITE_PERM_OF_BROKER, &add.base, SLICE_EMPTY);
        ask_with(f, REQUEST_DELETE_TOPIC_IN_NAMESRV, &delete.base, SLICE_EMPTY);
        ask_with(f, REQUEST_UNREGISTER_BROKER, &leave.base, SLICE_EMPTY);
    }
    log_close();
    assert_int_equal(logged(path, "write permission wiped"), 1);
    assert_int_equal(logged(path, "write permission added"), 0);
    assert_int_equal(logged(path, "topic deleted"), 1);
    assert_int_equal(logged(path, "broker unregistered"), 1);
    /* None when an earlier test had one in the same second; two when a second ends meanwhile. */
    assert_in_range(logged(path, "registration with a wrong checksum"), 0, 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(golden_answers),
        TEST(every_command_is_answered),
        TEST(missing_fields_are_named),
        TEST(a_wrong_checksum_is_refused),
        TEST(a_deflated_registration),
        TEST(older_and_empty_bodies),
        TEST(only_changed_versions_are_taken),
        TEST(a_slave_is_told_its_master_and_the_order_topics),
        TEST(order_configuration_in_routes),
        TEST(options_are_updated_and_stored),
        TEST(values_are_stored_before_they_are_shown),
        TEST(lost_brokers_leave_the_table),
        TEST(only_changes_are_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
