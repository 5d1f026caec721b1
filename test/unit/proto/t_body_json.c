/* SPDX-License-Identifier: Apache-2.0
 *
 * Every golden body of Apache's 4.9.2 that a server of ours reads or writes (test/data/bodies, and
 * the files of a real broker's store in test/data/store-config) is decoded into its message and
 * encoded again to the same bytes: order survives, so nothing needs to be compared as a set. Bodies
 * of 5.3.3 lose their additional members and nothing else. Leniency is that of fastjson 1.2.76,
 * observed by running it.
 */
#include "proto/body_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "proto/body.pb-c.h"
#include "proto/json.h"
#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int set_up(void **state)
{
    struct arena *arena = malloc(sizeof *arena);
    arena_init(arena, 65536);
    *state = arena;
    return 0;
}

static int tear_down(void **state)
{
    arena_release(*state);
    free(*state);
    return 0;
}

static ProtobufCMessage *new_message(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(arena, type->sizeof_message);
    type->message_init(message);
    return message;
}

static enum status try_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                              const char *json, ProtobufCMessage **message, struct err *err)
{
    *message = new_message(arena, type);
    return body_decode(slice_of_cstr(json), arena, *message, err);
}

static void *decode(struct arena *arena, const ProtobufCMessageDescriptor *type, const char *json)
{
    struct err err = {.text = ""};
    ProtobufCMessage *message;
    if (try_decode(arena, type, json, &message, &err) != STATUS_OK)
        fail_msg("%s: %s", json, err.text);
    return message;
}

static void assert_encoded(const void *message, const char *expected)
{
    struct buf out = BUF_EMPTY;
    body_encode(message, BODY_COMPACT, &out);
    if (!slice_is(buf_slice(&out), expected))
        fail_msg("encoded as %.*s\nexpected   %s", SLICE_ARGS(buf_slice(&out)), expected);
    buf_release(&out);
}

/* --- golden bodies ---------------------------------------------------------------------------- */

/* The message for a file: the row with the longest prefix of its name. NULL: read by none. */
static const struct {
    const char *prefix;
    const ProtobufCMessageDescriptor *type;
} types[] = {
    {"BrokerStatsData", &broker_stats_data__descriptor},
    {"CheckClientRequestBody", &check_client_request_body__descriptor},
    {"ClusterAclVersionInfo", NULL}, /* an object inside mqadmin */
    {"ClusterInfo", &cluster_info__descriptor},
    {"ConsumeByWho", NULL}, /* unused */
    {"ConsumeMessageDirectly", &consume_message_directly_result__descriptor},
    {"ConsumeStats", &consume_stats__descriptor},
    {"ConsumeStatsList", &consume_stats_list__descriptor},
    {"ConsumerConnection", &consumer_connection__descriptor},
    {"ConsumerOffset", &consumer_offset_serialize_wrapper__descriptor},
    {"ConsumerRunningInfo", NULL}, /* the broker hands it on as it is */
    {"ConsumerStatus", &get_consumer_status_body__descriptor},
    {"CqExtUnit", NULL}, /* inside a string, with consume queue extensions on */
    {"DataVersion", &data_version__descriptor},
    {"DelayOffset", &delay_offset_serialize_wrapper__descriptor},
    {"GetBrokerClusterAclConfig", &get_broker_cluster_acl_config_response_body__descriptor},
    {"GetConsumerList", &get_consumer_list_by_group_response_body__descriptor},
    {"GetConsumerStatusBody", &get_consumer_status_body__descriptor},
    {"GroupList", &group_list__descriptor},
    {"HeartbeatData", &heartbeat_data__descriptor},
    {"KVConfigSerializeWrapper", &kvconfig_serialize_wrapper__descriptor},
    {"KVTable", &kvtable__descriptor},
    {"LockBatchRequestBody", &lock_batch_request_body__descriptor},
    {"LockBatchResponseBody", &lock_batch_response_body__descriptor},
    {"MessageQueue", &message_queue__descriptor},
    {"MessageQueue.set", NULL}, /* an array by itself */
    {"OffsetMovedEvent", &offset_moved_event__descriptor},
    {"OffsetSerializeWrapper", &reset_offset_body__descriptor}, /* the client's, of the same form */
    {"ProducerConnection", &producer_connection__descriptor},
    {"QueryConsumeQueue", &query_consume_queue_response_body__descriptor},
    {"QueryConsumeTimeSpan", &query_consume_time_span_body__descriptor},
    {"QueryCorrectionOffset", &query_correction_offset_body__descriptor},
    {"QueryDataVersion", &data_version__descriptor},
    {"RegisterBrokerBody", &register_broker_body__descriptor},
    {"ResetOffsetBody", &reset_offset_body__descriptor},
    {"ResetOffsetBodyForC", &reset_offset_body_for_c__descriptor},
    {"SubscriptionData", &subscription_data__descriptor},
    {"SubscriptionGroupConfig", &subscription_group_config__descriptor},
    {"SubscriptionGroupManager", &subscription_group_wrapper__descriptor},
    {"SubscriptionGroupWrapper", &subscription_group_wrapper__descriptor},
    {"SystemTopicList", &topic_list__descriptor},
    {"TopicConfig", &topic_config__descriptor},
    {"TopicConfigAndMapping", &topic_config_serialize_wrapper__descriptor},
    {"TopicConfigSerializeWrapper", &topic_config_serialize_wrapper__descriptor},
    {"TopicList", &topic_list__descriptor},
    {"TopicRouteData", &topic_route_data__descriptor},
    {"TopicRouteData.empty", NULL}, /* null lists; ours are always printed */
    {"TopicStatsTable", &topic_stats_table__descriptor},
    {"UnlockBatchRequestBody", &unlock_batch_request_body__descriptor},
    {"consumerFilter", &consumer_filter_manager__descriptor},
    {"consumerOffset", &consumer_offset_serialize_wrapper__descriptor},
    {"delayOffset", &delay_offset_serialize_wrapper__descriptor},
    {"fastjson-quirks", NULL}, /* no body; see t_json.c */
    {"offsets", &reset_offset_body__descriptor},
    {"subscriptionGroup", &subscription_group_wrapper__descriptor},
    {"topics", &topic_config_serialize_wrapper__descriptor},
    {"BatchAckMessage", NULL}, /* commands of 5.3.3 */
    {"QueryAssignment", NULL},
    {"SetMessageRequestMode", NULL},
};

static const ProtobufCMessageDescriptor *type_of(const char *file)
{
    size_t best = 0;
    const ProtobufCMessageDescriptor *type = NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t size = strlen(types[i].prefix);
        if (strncmp(file, types[i].prefix, size) == 0 && size > best) {
            best = size;
            type = types[i].type;
        }
    }
    if (best == 0)
        fail_msg("%s: no row tells which message this is", file);
    return type;
}

/* Decode and encode, in the style that the text is in. */
static struct buf pass_through(struct arena *arena, const char *path,
                               const ProtobufCMessageDescriptor *type, struct slice text)
{
    struct buf again = BUF_EMPTY;
    struct err err = {.text = ""};
    ProtobufCMessage *message = new_message(arena, type);
    bool is_pretty = memchr(text.data, '\n', text.size) != NULL;
    if (body_decode(text, arena, message, &err) != STATUS_OK)
        fail_msg("%s: %s", path, err.text);
    body_encode(message, is_pretty ? BODY_PRETTY : BODY_COMPACT, &again);
    return again;
}

static void golden_folder(struct arena *arena, const char *folder, size_t files_expected)
{
    DIR *dir = opendir(folder);
    size_t files = 0;
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[1024];
        if (strstr(entry->d_name, ".json") == NULL || type_of(entry->d_name) == NULL)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct slice text = file_bytes(arena, path);
        /* Java's mark for an object met before, which no server sends. */
        if (strstr((const char *)text.data, "\"$ref\"") != NULL)
            continue;
        struct buf again = pass_through(arena, path, type_of(entry->d_name), text);
        if (!slice_equal(buf_slice(&again), text))
            fail_msg("%s: encoded as %.*s", path, SLICE_ARGS(buf_slice(&again)));
        buf_release(&again);
        files++;
    }
    (void)closedir(dir);
    assert_int_equal(files, files_expected);
}

static void bodies_of_4_9_2_come_back(void **state)
{
    golden_folder(*state, "test/data/bodies", 56);
    golden_folder(*state, "test/data/bodies/live", 36);
    golden_folder(*state, "test/data/store-config", 5);
}

/* Everything in `ours` is in `theirs`, which may hold more members. */
static bool is_part_of(const struct json_value *ours, const struct json_value *theirs)
{
    if (ours->type != theirs->type)
        return false;
    if (ours->type != JSON_ARRAY && ours->type != JSON_OBJECT)
        return slice_equal(ours->text, theirs->text);
    if (ours->type == JSON_ARRAY && ours->count != theirs->count)
        return false;
    for (uint32_t i = 0, k = 0; i < ours->count; i++, k++) {
        while (ours->type == JSON_OBJECT && k < theirs->count &&
               !slice_equal(ours->keys[i].text, theirs->keys[k].text))
            k++;
        if (k >= theirs->count || !is_part_of(&ours->items[i], &theirs->items[k]))
            return false;
    }
    return true;
}

static void bodies_of_5_3_3_lose_only_their_additions(void **state)
{
    static const struct {
        const char *file;
        size_t bytes; /* left after decoding: what 4.9.2 would print */
    } rows[] = {
        {"ClusterInfo.json", 172},
        {"ConsumeStats.json", 161},
        {"ConsumerOffsetSerializeWrapper.json", 39},
        {"DataVersion.json", 39},
        {"HeartbeatData.json", 434},
        {"LockBatchRequestBody.json", 117},
        {"RegisterBrokerBody.json", 270},
        {"SubscriptionGroupConfig.json", 221},
        {"TopicConfig.json", 130},
        {"TopicConfigAndMappingSerializeWrapper.json", 216},
        {"TopicConfigSerializeWrapper.json", 216},
        {"TopicRouteData.json", 233},
    };
    struct arena *arena = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[1024];
        struct json_value ours;
        struct json_value theirs;
        (void)snprintf(path, sizeof path, "test/data/bodies/5.3.3/%s", rows[i].file);
        struct slice text = file_bytes(arena, path);
        struct buf again = pass_through(arena, path, type_of(rows[i].file), text);
        assert_int_equal(json_parse(text, arena, &theirs, NULL), STATUS_OK);
        assert_int_equal(json_parse(buf_slice(&again), arena, &ours, NULL), STATUS_OK);
        if (!is_part_of(&ours, &theirs) || again.size != rows[i].bytes)
            fail_msg("%s: encoded as %.*s (%zu)", path, SLICE_ARGS(buf_slice(&again)), again.size);
        buf_release(&again);
    }
}

static void any_layout_is_read(void **state)
{
    struct arena *arena = *state;
    static const char *const files[] = {"topics", "consumerOffset", "delayOffset",
                                        "subscriptionGroup", "consumerFilter"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[1024];
        struct buf compact = BUF_EMPTY;
        struct buf pretty = BUF_EMPTY;
        const ProtobufCMessageDescriptor *type = type_of(files[i]);
        ProtobufCMessage *message = new_message(arena, type);
        ProtobufCMessage *again = new_message(arena, type);
        (void)snprintf(path, sizeof path, "test/data/store-config/%s.json", files[i]);
        struct slice text = file_bytes(arena, path);
        assert_int_equal(body_decode(text, arena, message, NULL), STATUS_OK);
        body_encode(message, BODY_COMPACT, &compact);
        assert_null(memchr(compact.data, '\n', compact.size));
        assert_int_equal(body_decode(buf_slice(&compact), arena, again, NULL), STATUS_OK);
        body_encode(again, BODY_PRETTY, &pretty);
        assert_true(slice_equal(buf_slice(&pretty), text));
        buf_release(&compact);
        buf_release(&pretty);
    }
}

/* --- values ----------------------------------------------------------------------------------- */

static void members_reach_their_fields(void **state)
{
    TopicRouteData *route = decode(*state, &topic_route_data__descriptor,
                                   "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"a:1\",\"1\":\"b:2\"},"
                                   "\"brokerName\":\"n\",\"cluster\":\"c\"}],\"orderTopicConf\":"
                                   "\"n:4\",\"queueDatas\":[{\"perm\":6,\"readQueueNums\":\"4\"}],"
                                   "\"filterServerTable\":{\"a:1\":[\"f:1\",\"f:2\"]}}");
    assert_int_equal(route->n_broker_datas, 1);
    const BrokerData *broker = route->broker_datas[0];
    assert_string_equal(broker->broker_name, "n");
    assert_string_equal(broker->cluster, "c");
    assert_int_equal(broker->n_broker_addrs, 2);
    assert_int_equal(broker->broker_addrs[1]->key, 1);
    assert_string_equal(broker->broker_addrs[1]->value, "b:2");
    assert_string_equal(route->order_topic_conf, "n:4");
    assert_int_equal(route->queue_datas[0]->perm, 6);
    assert_int_equal(route->queue_datas[0]->read_queue_nums, 4);
    assert_int_equal(route->queue_datas[0]->write_queue_nums, 0);
    assert_string_equal(route->queue_datas[0]->broker_name, "");
    assert_int_equal(route->filter_server_table[0]->n_value, 2);
    assert_string_equal(route->filter_server_table[0]->value[1], "f:2");
}

static void nothing_required_is_null(void **state)
{
    BrokerStatsData *stats = decode(*state, &broker_stats_data__descriptor, "{}");
    assert_non_null(stats->stats_day);
    assert_true(stats->stats_day->tps == 0);
    OffsetMovedEvent *event =
        decode(*state, &offset_moved_event__descriptor, "{\"messageQueue\":null}");
    assert_string_equal(event->consumer_group, "");
    assert_string_equal(event->message_queue->topic, "");
    TopicList *list = decode(*state, &topic_list__descriptor, "{\"topicList\":null}");
    assert_null(list->broker_addr);
    assert_int_equal(list->n_topic_list, 0);
    CheckClientRequestBody *check = decode(*state, &check_client_request_body__descriptor, "{}");
    assert_null(check->subscription_data);
}

static void defaults_are_those_of_java(void **state)
{
    assert_encoded(decode(*state, &topic_config__descriptor, "{\"perm\":null,\"topicName\":\"t\"}"),
                   "{\"order\":false,\"perm\":6,\"readQueueNums\":16,\"topicFilterType\":"
                   "\"SINGLE_TAG\",\"topicName\":\"t\",\"topicSysFlag\":0,\"writeQueueNums\":16}");
    assert_encoded(decode(*state, &subscription_group_config__descriptor, "{\"groupName\":\"g\"}"),
                   "{\"brokerId\":0,\"consumeBroadcastEnable\":true,\"consumeEnable\":true,"
                   "\"consumeFromMinEnable\":true,\"groupName\":\"g\","
                   "\"notifyConsumerIdsChangedEnable\":true,\"retryMaxTimes\":16,"
                   "\"retryQueueNums\":1,\"whichBrokerWhenConsumeSlowly\":1}");
    SubscriptionData *data = decode(*state, &subscription_data__descriptor, "{}");
    assert_string_equal(data->expression_type, "TAG");
}

static void object_keys_may_be_text(void **state)
{
    static const char expected[] =
        "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":3,\"topic\":\"t\"}:5}}";
    assert_encoded(decode(*state, &reset_offset_body__descriptor, expected), expected);
    assert_encoded(decode(*state, &reset_offset_body__descriptor,
                          "{\"offsetTable\":{\"{\\\"brokerName\\\":\\\"b\\\",\\\"queueId\\\":3,"
                          "\\\"topic\\\":\\\"t\\\"}\":\"5\"}}"),
                   expected);
}

static void names_match_loosely(void **state)
{
    static const char *const spellings[] = {"clientID", "clientId", "client_id", "CLIENT-I-D"};
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        char json[64];
        (void)snprintf(json, sizeof json, "{\"%s\":\"x\"}", spellings[i]);
        HeartbeatData *heartbeat = decode(*state, &heartbeat_data__descriptor, json);
        assert_string_equal(heartbeat->client_i_d, "x");
    }
    TopicConfig *topic = decode(*state, &topic_config__descriptor,
                                "{\"isOrder\":true,\"isPerm\":1,\"perm\\u0000x\":2,\"per\":3,"
                                "\"perms\":4,\"is\":5,5:6,{\"a\":1}:7}");
    assert_true(topic->order);
    assert_int_equal(topic->perm, 6);
}

static void of_two_members_the_last_counts(void **state)
{
    TopicConfig *topic =
        decode(*state, &topic_config__descriptor,
               "{\"perm\":1,\"topicName\":\"a\",\"perm\":2,\"topicName\":null,\"order\":\"\"}");
    assert_int_equal(topic->perm, 2);
    assert_string_equal(topic->topic_name, "a");
    KVTable *table = decode(*state, &kvtable__descriptor, "{\"table\":{\"a\":\"1\",\"a\":\"2\"}}");
    assert_int_equal(table->n_table, 2);
    assert_string_equal(table->table[1]->value, "2");
}

static void nulls_in_collections_are_left_out(void **state)
{
    assert_encoded(decode(*state, &kvtable__descriptor,
                          "{\"table\":{\"a\":1,\"b\":null,\"c\":true,5:[1, 2]}}"),
                   "{\"table\":{\"a\":\"1\",\"c\":\"true\",\"5\":\"[1, 2]\"}}");
    assert_encoded(decode(*state, &topic_list__descriptor, "{\"topicList\":[null,\"a\",null]}"),
                   "{\"topicList\":[\"a\"]}");
    SubscriptionData *data =
        decode(*state, &subscription_data__descriptor, "{\"codeSet\":[\"1\",2,null,-2147483648]}");
    assert_int_equal(data->n_code_set, 3);
    assert_int_equal(data->code_set[2], INT32_MIN);
}

static void absent_members_are_not_printed(void **state)
{
    (void)state;
    TopicList list = TOPIC_LIST__INIT;
    assert_encoded(&list, "{\"topicList\":[]}");
    BrokerData broker = BROKER_DATA__INIT;
    assert_encoded(&broker, "{\"brokerAddrs\":{}}");
    StringEntry entry = STRING_ENTRY__INIT;
    StringEntry *entries[] = {&entry, &entry};
    KVTable table = KVTABLE__INIT;
    table.table = entries;
    table.n_table = 2;
    assert_encoded(&table, "{\"table\":{}}");
    entry.key = (char[]){"k"};
    assert_encoded(&table, "{\"table\":{}}");
    entry.value = (char[]){"\"\x7F\xE2\x80\xA8/"};
    table.n_table = 1;
    assert_encoded(&table, "{\"table\":{\"k\":\"\\\"\\u007F\\u2028/\"}}");
}

/* --- refusals --------------------------------------------------------------------------------- */

static void errors_name_the_member(void **state)
{
    static const struct {
        const char *json;
        const char *text;
    } rows[] = {
        {"{\"readQueueNums\":[]}", "member readQueueNums at byte 17: expected an integer of 32 "
                                   "bits"},
        {"{\"perm\":2147483648}", "member perm at byte 8: expected an integer of 32 bits"},
        {"{\"perm\":\"6.7\"}", "member perm at byte 9: expected an integer of 32 bits"},
        {"{\"order\":\"yes\"}", "member order at byte 10: expected true or false"},
        {"{\"topicName\":\"a\\u0000b\"}", "member topicName: expected text without U+0000"},
        {"{\"perm\":}", "TopicConfig at byte 8: this is not JSON"},
        {"[]", "TopicConfig at byte 0: expected an object"},
        {"null", "TopicConfig at byte 0: expected an object"},
        {"", "TopicConfig at byte 0: this is not JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {.text = ""};
        ProtobufCMessage *message;
        assert_int_equal(
            try_decode(*state, &topic_config__descriptor, rows[i].json, &message, &err),
            STATUS_MALFORMED);
        assert_int_equal(err.status, STATUS_MALFORMED);
        assert_string_equal(err.text, rows[i].text);
        assert_int_equal(
            try_decode(*state, &topic_config__descriptor, rows[i].json, &message, NULL),
            STATUS_MALFORMED);
    }
}

static void wrong_shapes_are_refused(void **state)
{
    static const struct {
        const ProtobufCMessageDescriptor *type;
        const char *json;
    } rows[] = {
        {&topic_list__descriptor, "{\"topicList\":{}}"},
        {&topic_list__descriptor, "{\"topicList\":\"a\"}"},
        {&kvtable__descriptor, "{\"table\":[]}"},
        {&kvtable__descriptor, "{\"table\":{\"a\\u0000\":\"b\"}}"},
        {&consume_stats_list__descriptor, "{\"consumeStatsList\":[[]]}"},
        {&consume_stats_list__descriptor, "{\"consumeStatsList\":[{\"g\":{}}]}"},
        {&reset_offset_body__descriptor, "{\"offsetTable\":{\"xx\":5}}"},
        {&reset_offset_body__descriptor, "{\"offsetTable\":{\"[]\":5}}"},
        {&reset_offset_body__descriptor, "{\"offsetTable\":{7:5}}"},
        {&reset_offset_body__descriptor, "{\"offsetTable\":{{}:{}}}"},
        {&delay_offset_serialize_wrapper__descriptor, "{\"offsetTable\":{{}:1}}"},
        {&delay_offset_serialize_wrapper__descriptor, "{\"offsetTable\":{\"x\":1}}"},
        {&delay_offset_serialize_wrapper__descriptor, "{\"offsetTable\":{4294967296:1}}"},
        {&delay_offset_serialize_wrapper__descriptor, "{\"offsetTable\":{1:9223372036854775808}}"},
        {&subscription_data__descriptor, "{\"codeSet\":[{}]}"},
        {&offset_moved_event__descriptor, "{\"messageQueue\":[]}"},
        {&consume_stats__descriptor, "{\"consumeTps\":1e999}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err;
        ProtobufCMessage *message;
        if (try_decode(*state, rows[i].type, rows[i].json, &message, &err) != STATUS_MALFORMED)
            fail_msg("%s should be refused", rows[i].json);
    }
}

static void hostile_sizes_are_refused(void **state)
{
    struct arena *arena = *state;
    struct err err;
    ConsumerOffsetSerializeWrapper message = CONSUMER_OFFSET_SERIALIZE_WRAPPER__INIT;
    LockBatchRequestBody lock = LOCK_BATCH_REQUEST_BODY__INIT;
    struct buf deep = BUF_EMPTY;
    while (deep.size < 10 * 1024 * 1024)
        buf_append_byte(&deep, '[');
    assert_int_equal(body_decode(buf_slice(&deep), arena, &message.base, &err), STATUS_TOO_LARGE);
    buf_clear(&deep);
    buf_append_cstr(&deep, "{\"mqSet\":[{}");
    while (deep.size < FRAME_BYTES_MAX - 16)
        buf_append_cstr(&deep, ",{}");
    buf_append_cstr(&deep, "]}");
    assert_int_equal(body_decode(buf_slice(&deep), arena, &lock.base, &err), STATUS_TOO_LARGE);
    /* A tree within the limit whose messages are not. */
    arena_reset(arena);
    deep.size = 3 * 2 * 1024 * 1024 + 12;
    buf_append_cstr(&deep, "]}");
    assert_int_equal(body_decode(buf_slice(&deep), arena, &lock.base, &err), STATUS_TOO_LARGE);
    assert_true(arena->used_bytes <= DECODE_BYTES_MAX);
    assert_non_null(strstr(err.text, "send it in parts"));
    /* A key in text form is a message queue, not a book. */
    buf_clear(&deep);
    buf_append_cstr(&deep, "{\"offsetTable\":{\"{");
    while (deep.size < 5000)
        buf_append_byte(&deep, ' ');
    buf_append_cstr(&deep, "}\":1}}");
    ResetOffsetBody offsets = RESET_OFFSET_BODY__INIT;
    assert_int_equal(body_decode(buf_slice(&deep), arena, &offsets.base, &err), STATUS_MALFORMED);
    buf_release(&deep);
}

/* --- any message ------------------------------------------------------------------------------ */

static void fill_message(struct random *random, struct arena *arena, ProtobufCMessage *message);

static void fill_single(struct random *random, struct arena *arena,
                        const ProtobufCFieldDescriptor *field, void *to)
{
    uint8_t text[12];
    size_t size = random_below(random, sizeof text);
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        *(int32_t *)to = (int32_t)random_u64(random);
        break;
    case PROTOBUF_C_TYPE_INT64:
        *(int64_t *)to = (int64_t)random_u64(random);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)to = (protobuf_c_boolean)random_below(random, 2);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)to = (double)(int64_t)random_u64(random) / 1000;
        break;
    case PROTOBUF_C_TYPE_STRING:
        for (size_t i = 0; i < size; i++)
            text[i] = (uint8_t)(1 + random_below(random, 255));
        *(char **)to = arena_cstr(arena, slice_of(text, size));
        break;
    default:
        *(ProtobufCMessage **)to = new_message(arena, field->descriptor);
        fill_message(random, arena, *(ProtobufCMessage **)to);
        break;
    }
}

static void fill_message(struct random *random, struct arena *arena, ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        char *to = (char *)message + field->offset;
        char *quantifier = (char *)message + field->quantifier_offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = random_below(random, 4);
            char *elements = arena_zalloc(arena, (count + 1) * sizeof(void *));
            size_t bytes = field->type == PROTOBUF_C_TYPE_INT32 ? 4 : 8;
            *(size_t *)(void *)quantifier = count;
            *(char **)(void *)to = elements;
            for (size_t n = 0; n < count; n++)
                fill_single(random, arena, field, elements + n * bytes);
        } else if (field->label == PROTOBUF_C_LABEL_REQUIRED || random_below(random, 2) == 0) {
            fill_single(random, arena, field, to);
            if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset != 0)
                *(protobuf_c_boolean *)(void *)quantifier = 1;
        }
    }
}

static void any_message_comes_back(void **state)
{
    struct arena *arena = *state;
    struct random random;
    random_init(&random, "any_message_comes_back");
    for (size_t i = 0; i < 100 * sizeof types / sizeof types[0]; i++) {
        const ProtobufCMessageDescriptor *type = types[i / 100].type;
        enum body_style style = random_below(&random, 2) == 0 ? BODY_COMPACT : BODY_PRETTY;
        struct buf text = BUF_EMPTY;
        struct buf again = BUF_EMPTY;
        struct err err = {.text = ""};
        if (type == NULL)
            continue;
        ProtobufCMessage *message = new_message(arena, type);
        ProtobufCMessage *decoded = new_message(arena, type);
        fill_message(&random, arena, message);
        body_encode(message, style, &text);
        if (body_decode(buf_slice(&text), arena, decoded, &err) != STATUS_OK)
            fail_msg("%s: %s in %.*s", type->short_name, err.text, SLICE_ARGS(buf_slice(&text)));
        body_encode(decoded, style, &again);
        if (!slice_equal(buf_slice(&again), buf_slice(&text)))
            fail_msg("%.*s\n%.*s", SLICE_ARGS(buf_slice(&text)), SLICE_ARGS(buf_slice(&again)));
        /* protobuf's own encoding compares the messages themselves. */
        size_t packed_bytes = protobuf_c_message_get_packed_size(message);
        assert_int_equal(protobuf_c_message_get_packed_size(decoded), packed_bytes);
        uint8_t *packed = arena_alloc(arena, 2 * packed_bytes + 1);
        (void)protobuf_c_message_pack(message, packed);
        (void)protobuf_c_message_pack(decoded, packed + packed_bytes);
        assert_memory_equal(packed, packed + packed_bytes, packed_bytes);
        buf_release(&text);
        buf_release(&again);
        arena_reset(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bodies_of_4_9_2_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_of_5_3_3_lose_only_their_additions, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(any_layout_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_reach_their_fields, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_required_is_null, set_up, tear_down),
        cmocka_unit_test_setup_teardown(defaults_are_those_of_java, set_up, tear_down),
        cmocka_unit_test_setup_teardown(object_keys_may_be_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_match_loosely, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_two_members_the_last_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nulls_in_collections_are_left_out, set_up, tear_down),
        cmocka_unit_test(absent_members_are_not_printed),
        cmocka_unit_test_setup_teardown(errors_name_the_member, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_shapes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_sizes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_message_comes_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
