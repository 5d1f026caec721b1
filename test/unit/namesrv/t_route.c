/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows: the route table changes on each event as the name server of 4.9.2 does.
 * Method: events through the public functions, then the answers' exact JSON.
 * Source: RMQ namesrv/.../RouteInfoManager.java; golden bodies of a running 4.9.2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/number.h"
#include "namesrv/route.h"
#include "namesrv/route_view.h"

#include <stdio.h>
#include <stdlib.h>

#define MASTER "127.0.0.1:21010"
#define SLAVE "127.0.0.1:21020"

/* Connections are told apart by their generation; none is real. */
static struct conn_ref connection(uint32_t generation)
{
    return (struct conn_ref){NULL, 0, generation};
}

struct topics {
    TopicConfig configs[8];
    TopicConfigEntry entries[8];
    TopicConfigEntry *pointers[8];
    size_t count;
};

static void topics_add(struct topics *topics, const char *name, int queues, int perm, int sys_flag)
{
    size_t i = topics->count++;
    topic_config__init(&topics->configs[i]);
    topic_config_entry__init(&topics->entries[i]);
    topics->configs[i].topic_name = (char *)(uintptr_t)name;
    topics->configs[i].read_queue_nums = queues;
    topics->configs[i].write_queue_nums = queues;
    topics->configs[i].perm = perm;
    topics->configs[i].topic_sys_flag = sys_flag;
    topics->entries[i].key = topics->configs[i].topic_name;
    topics->entries[i].value = &topics->configs[i];
    topics->pointers[i] = &topics->entries[i];
}

struct fixture {
    struct route *route;
    struct arena arena;
    struct route_registered done;
    int64_t now_ms;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->route = route_new();
    arena_init(&f->arena, 4096);
    f->now_ms = 1000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    route_free(f->route);
    arena_release(&f->arena);
    free(f);
    return 0;
}

/* Each address has a connection of its own: that of its port. */
static struct conn_ref connection_of(const char *address)
{
    int32_t port = 0;
    assert_true(parse_i32(slice_of_cstr(strchr(address, ':') + 1), &port));
    return connection((uint32_t)port);
}

static struct route_registration broker(struct fixture *f, const char *name, int64_t id,
                                        const char *address, int64_t version)
{
    return (struct route_registration){
        .cluster_name = SLICE_LITERAL("DefaultCluster"),
        .broker_name = slice_of_cstr(name),
        .broker_addr = slice_of_cstr(address),
        .ha_server_addr = SLICE_LITERAL("127.0.0.1:21011"),
        .broker_id = id,
        .version = {version, 1795380439717},
        .conn = connection_of(address),
        .now_ms = f->now_ms,
    };
}

static void registers(struct fixture *f, const struct route_registration *registration)
{
    assert_int_equal(route_register(f->route, registration, &f->arena, &f->done), STATUS_OK);
}

static void registers_with(struct fixture *f, struct route_registration registration,
                           const struct topics *topics)
{
    registration.topics = topics->pointers;
    registration.topic_count = topics->count;
    registers(f, &registration);
}

/* A master with one topic of 4 queues. */
static void registers_plain(struct fixture *f, const char *name, const char *address,
                            int64_t version)
{
    struct topics topics = {0};
    topics_add(&topics, "PlainTopic", 4, 6, 0);
    registers_with(f, broker(f, name, 0, address, version), &topics);
}

static void expect_route(struct fixture *f, const char *topic, const char *json)
{
    struct route_body *body = route_view_topic(f->route, slice_of_cstr(topic));
    if (json == NULL) {
        assert_null(body);
        return;
    }
    assert_non_null(body);
    struct slice bytes = route_body_bytes(body);
    char *text = arena_cstr(&f->arena, bytes);
    assert_string_equal(text, json);
    route_body_release(body);
}

static void expect_clusters(struct fixture *f, const char *json)
{
    struct buf out = BUF_EMPTY;
    route_view_clusters(f->route, &out);
    assert_string_equal(arena_cstr(&f->arena, buf_slice(&out)), json);
    buf_release(&out);
}

#define ROUTE(addresses, perm, queues)                                                         \
    "{\"brokerDatas\":[{\"brokerAddrs\":{" addresses                                           \
    "},\"brokerName\":\"broker-a\",\"cluster\":\"DefaultCluster\"}],\"filterServerTable\":{}," \
    "\"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":" perm ",\"readQueueNums\":" queues \
    ",\"topicSysFlag\":0,\"writeQueueNums\":" queues "}]}"

/* proves: NS-04, and byte equality with bodies/live/TopicRouteData.json */
static void a_master_and_its_slave_make_a_route(void **state)
{
    struct fixture *f = *state;
    expect_route(f, "PlainTopic", NULL);
    registers_plain(f, "broker-a", MASTER, 1);
    assert_true(f->done.address_is_new);
    assert_int_equal(f->done.topics_added, 1);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\",1:\"" SLAVE "\"", "6", "4"));
    expect_route(f, "NoSuchTopic", NULL);
}

/* proves: NS-05 */
static void clusters_list_brokers_and_addresses(void **state)
{
    struct fixture *f = *state;
    expect_clusters(f, "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}");
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    registers_plain(f, "broker-a", MASTER, 1);
    expect_clusters(f, "{\"brokerAddrTable\":{\"broker-a\":{\"brokerAddrs\":{0:\"" MASTER
                       "\",1:\"" SLAVE "\"},\"brokerName\":\"broker-a\",\"cluster\":"
                       "\"DefaultCluster\"}},\"clusterAddrTable\":{\"DefaultCluster\":"
                       "[\"broker-a\"]}}");
}

/* proves: NS-24, topics are taken for a changed version and not for an equal one */
static void only_a_changed_version_brings_topics(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct topics more = {0};
    topics_add(&more, "PlainTopic", 8, 6, 0);
    topics_add(&more, "Second", 1, 6, 0);
    struct route_registration same = broker(f, "broker-a", 0, MASTER, 1);
    assert_false(route_wants_topics(f->route, &same));
    registers_with(f, same, &more);
    assert_int_equal(f->done.topics_added + f->done.topics_changed, 0);
    assert_false(f->done.address_is_new);
    expect_route(f, "Second", NULL);

    struct route_registration changed = broker(f, "broker-a", 0, MASTER, 2);
    assert_true(route_wants_topics(f->route, &changed));
    registers_with(f, changed, &more);
    assert_int_equal(f->done.topics_added, 1);
    assert_int_equal(f->done.topics_changed, 1);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "8"));

    struct route_registration later = broker(f, "broker-a", 0, MASTER, 2);
    later.version.timestamp++;
    assert_true(route_wants_topics(f->route, &later));
}

/* proves: NS-24, the first registration of a name or id brings topics whatever its version */
static void a_first_registration_brings_topics(void **state)
{
    struct fixture *f = *state;
    struct route_registration slave = broker(f, "broker-a", 1, MASTER, 1);
    registers(f, &slave);
    /* The same address and version, now as master: its slot was empty. */
    struct route_registration master = broker(f, "broker-a", 0, MASTER, 1);
    assert_true(route_wants_topics(f->route, &master));
    registers_plain(f, "broker-a", MASTER, 1);
    assert_int_equal(f->done.topics_added, 1);
    /* And under a new name. */
    struct route_registration renamed = broker(f, "broker-b", 0, MASTER, 1);
    assert_true(route_wants_topics(f->route, &renamed));
}

/* proves: NS-24, a slave never adds topics */
static void a_slave_brings_no_topics(void **state)
{
    struct fixture *f = *state;
    struct topics topics = {0};
    topics_add(&topics, "PlainTopic", 4, 6, 0);
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    assert_false(route_wants_topics(f->route, &slave));
    registers_with(f, slave, &topics);
    expect_route(f, "PlainTopic", NULL);
    assert_int_equal(route_count(f->route).topics, 0);
    assert_int_equal(route_count(f->route).brokers, 1);
}

/* proves: NS-23 */
static void a_slave_that_becomes_master_leaves_its_old_id(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    registers_plain(f, "broker-a", SLAVE, 2);
    expect_route(f, "PlainTopic", ROUTE("0:\"" SLAVE "\"", "6", "4"));
}

/* proves: NS-25, absence removes nothing; a changed entry moves behind, an equal one stays */
static void topics_are_never_removed_by_absence(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct topics none = {0};
    registers_with(f, broker(f, "broker-a", 0, MASTER, 2), &none);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));

    registers_plain(f, "broker-b", "127.0.0.1:22010", 1);
    struct topics changed = {0};
    topics_add(&changed, "PlainTopic", 5, 4, 0);
    registers_with(f, broker(f, "broker-a", 0, MASTER, 3), &changed);
    expect_route(
        f, "PlainTopic",
        "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"127.0.0.1:22010\"},\"brokerName\":\"broker-b\","
        "\"cluster\":\"DefaultCluster\"},{\"brokerAddrs\":{0:\"" MASTER "\"},\"brokerName\":"
        "\"broker-a\",\"cluster\":\"DefaultCluster\"}],\"filterServerTable\":{},\"queueDatas\":["
        "{\"brokerName\":\"broker-b\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,"
        "\"writeQueueNums\":4},{\"brokerName\":\"broker-a\",\"perm\":4,\"readQueueNums\":5,"
        "\"topicSysFlag\":0,\"writeQueueNums\":5}]}");
    assert_int_equal(route_count(f->route).queues, 2);
}

/* proves: NS-26, the filter servers of an address: kept, replaced, removed */
static void filter_servers_follow_the_registration(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
    char *servers[] = {(char *)(uintptr_t) "127.0.0.1:31000"};
    struct route_registration with = broker(f, "broker-a", 0, MASTER, 1);
    with.has_filter_servers = true;
    with.filter_servers = servers;
    with.filter_server_count = 1;
    registers(f, &with);
    const char *route = "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"" MASTER
                        "\"},\"brokerName\":\"broker-a\",\"cluster\":\"DefaultCluster\"}],"
                        "\"filterServerTable\":{\"" MASTER "\":[\"127.0.0.1:31000\"]},"
                        "\"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,"
                        "\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}";
    expect_route(f, "PlainTopic", route);
    struct route_registration silent = broker(f, "broker-a", 0, MASTER, 1);
    registers(f, &silent);
    expect_route(f, "PlainTopic", route);
    with.filter_server_count = 0;
    registers(f, &with);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
}

static void two_that_claim_one_id_are_told(void **state)
{
    struct fixture *f = *state;
    struct route_registration one = broker(f, "broker-a", 1, "127.0.0.1:1", 1);
    struct route_registration other = broker(f, "broker-a", 1, "127.0.0.1:2", 1);
    registers(f, &one);
    assert_int_equal(f->done.rival.size, 0);
    registers(f, &other); /* it may have come in place of the first one */
    assert_int_equal(f->done.rival.size, 0);
    for (int i = 0; i < 3; i++) { /* by turns: both hear of it, and it is new once */
        registers(f, &one);
        assert_true(slice_is(f->done.rival, "127.0.0.1:2"));
        assert_int_equal(f->done.rival_is_new, i == 0);
        registers(f, &one);
        assert_true(slice_is(f->done.rival, "127.0.0.1:2"));
        assert_false(f->done.rival_is_new);
        registers(f, &other);
        assert_true(slice_is(f->done.rival, "127.0.0.1:1"));
        assert_false(f->done.rival_is_new);
    }
    /* A third one floods no log. */
    struct route_registration third = broker(f, "broker-a", 1, "127.0.0.1:3", 1);
    registers(f, &third);
    for (int i = 0; i < 3; i++) {
        registers(f, &one);
        assert_true(slice_is(f->done.rival, "127.0.0.1:3"));
        assert_int_equal(f->done.rival_is_new, i == 0);
        registers(f, &other);
        assert_false(f->done.rival_is_new);
        registers(f, &third);
        assert_true(slice_is(f->done.rival, "127.0.0.1:2"));
        assert_false(f->done.rival_is_new);
    }
}

static void one_that_has_gone_is_no_rival(void **state)
{
    struct fixture *f = *state;
    struct route_registration one = broker(f, "broker-a", 1, "127.0.0.1:1", 1);
    struct route_registration other = broker(f, "broker-a", 1, "127.0.0.1:2", 1);
    registers(f, &one);
    registers(f, &other);
    registers(f, &one);
    assert_true(f->done.rival_is_new);
    (void)route_unregister(f->route, SLICE_LITERAL("DefaultCluster"), SLICE_LITERAL("broker-a"),
                           SLICE_LITERAL("127.0.0.1:2"), 7);
    registers(f, &one);
    assert_int_equal(f->done.rival.size, 0);
    /* It comes again: that is new. */
    registers(f, &other);
    registers(f, &one);
    assert_true(f->done.rival_is_new);
    /* One that has moved, over the same connection, is no rival of itself. */
    struct route_registration moved = broker(f, "broker-a", 1, "127.0.0.1:3", 1);
    moved.conn = one.conn;
    registers(f, &moved);
    assert_int_equal(f->done.rival.size, 0);
    registers(f, &one);
    assert_int_equal(f->done.rival.size, 0);
}

/* The master's machine has lost its power, and its connection is there for two more minutes. A
 * slave that becomes the master meanwhile is nobody's rival, nor is a broker that has moved. */
static void who_takes_the_place_of_a_dead_master_is_no_rival(void **state)
{
    struct fixture *f = *state;
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    struct route_registration promoted = broker(f, "broker-a", 0, SLAVE, 1);
    registers_plain(f, "broker-a", MASTER, 1);
    registers(f, &slave);
    for (int i = 0; i < 3; i++) {
        registers(f, &promoted);
        assert_int_equal(f->done.rival.size, 0);
    }
    struct route_registration moved = broker(f, "broker-a", 0, "127.0.0.1:9", 1);
    for (int i = 0; i < 3; i++) {
        registers(f, &moved);
        assert_int_equal(f->done.rival.size, 0);
    }
    registers_plain(f, "broker-a", MASTER, 1); /* it was not dead */
    assert_true(slice_is(f->done.rival, "127.0.0.1:9"));
    assert_true(f->done.rival_is_new);
}

/* proves: NS-27 */
static void a_slave_is_told_its_master(void **state)
{
    struct fixture *f = *state;
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    assert_int_equal(f->done.master_addr.size, 0);
    registers_plain(f, "broker-a", MASTER, 1);
    assert_int_equal(f->done.master_addr.size, 0);
    slave.ha_server_addr = SLICE_LITERAL("127.0.0.1:21021");
    registers(f, &slave);
    assert_true(slice_is(f->done.master_addr, MASTER));
    assert_true(slice_is(f->done.ha_server_addr, "127.0.0.1:21011"));
}

/* proves: NS-02 */
static void unregistering_the_last_address_drops_everything(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    struct slice cluster = SLICE_LITERAL("DefaultCluster");
    struct slice name = SLICE_LITERAL("broker-a");
    assert_true(route_unregister(f->route, cluster, name, SLICE_LITERAL(MASTER), 0));
    expect_route(f, "PlainTopic", ROUTE("1:\"" SLAVE "\"", "6", "4"));
    assert_true(route_unregister(f->route, cluster, name, SLICE_LITERAL(SLAVE), 1));
    expect_route(f, "PlainTopic", NULL);
    expect_clusters(f, "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}");
    struct route_counts counts = route_count(f->route);
    assert_int_equal(counts.addresses + counts.topics + counts.queues + counts.clusters, 0);
    assert_false(route_unregister(f->route, cluster, name, SLICE_LITERAL(SLAVE), 1));
    /* An id of the name counts, whatever the address. */
    registers_plain(f, "broker-a", MASTER, 1);
    assert_true(route_unregister(f->route, cluster, name, SLICE_LITERAL("10.0.0.1:1"), 0));
}

/* proves: NS-02, only the cluster that is named loses the broker */
static void unregistering_from_another_cluster_leaves_the_name(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    assert_true(route_unregister(f->route, SLICE_LITERAL("Other"), SLICE_LITERAL("broker-a"),
                                 SLICE_LITERAL(MASTER), 0));
    expect_clusters(f, "{\"brokerAddrTable\":{},\"clusterAddrTable\":{\"DefaultCluster\":"
                       "[\"broker-a\"]}}");
    struct buf out = BUF_EMPTY;
    route_view_cluster_topics(f->route, SLICE_LITERAL("DefaultCluster"), &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[]}"));
    buf_release(&out);
}

/* proves: NS-03 */
static void an_equal_version_is_a_sign_of_life(void **state)
{
    struct fixture *f = *state;
    struct route_version stored = {0, 0};
    bool known = true;
    struct slice address = SLICE_LITERAL(MASTER);
    struct route_version version = {7, 1795380439717};
    assert_true(route_query_version(f->route, address, version, 0, &known, &stored));
    assert_false(known);

    registers_plain(f, "broker-a", MASTER, 7);
    struct route_version other = {8, 1795380439717};
    struct route_gone gone;
    assert_true(route_query_version(f->route, address, other, 100000, &known, &stored));
    assert_true(known);
    assert_int_equal(stored.counter, 7);
    assert_int_equal(stored.timestamp, 1795380439717);
    /* That was no sign of life, this is one. */
    assert_false(route_query_version(f->route, address, version, 50000, &known, &stored));
    assert_false(route_expire(f->route, 50000 + ROUTE_EXPIRY_MS, &gone));
    assert_true(route_expire(f->route, 50001 + ROUTE_EXPIRY_MS, &gone));
}

/* proves: NS-06, NS-07 */
static void write_permission_is_wiped_and_added(void **state)
{
    struct fixture *f = *state;
    struct topics topics = {0};
    topics_add(&topics, "PlainTopic", 4, 6, 0);
    topics_add(&topics, "TBW102", 8, 7, 0);
    topics_add(&topics, "ReadOnly", 1, 4, 0);
    registers_with(f, broker(f, "broker-a", 0, MASTER, 1), &topics);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
    size_t changed = 9;
    assert_int_equal(route_wipe_write_permission(f->route, SLICE_LITERAL("nobody"), &changed), 0);
    assert_int_equal(changed, 0);
    assert_int_equal(route_wipe_write_permission(f->route, SLICE_LITERAL("broker-a"), &changed), 3);
    assert_int_equal(changed, 2);
    assert_int_equal(route_wipe_write_permission(f->route, SLICE_LITERAL("broker-a"), &changed), 3);
    assert_int_equal(changed, 0);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "4", "4"));
    expect_route(f, "TBW102", ROUTE("0:\"" MASTER "\"", "5", "8"));
    /* An unchanged version does not restore it; a changed one does. */
    registers_with(f, broker(f, "broker-a", 0, MASTER, 1), &topics);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "4", "4"));
    registers_with(f, broker(f, "broker-a", 0, MASTER, 2), &topics);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
    expect_route(f, "TBW102", ROUTE("0:\"" MASTER "\"", "7", "8"));
    assert_int_equal(route_add_write_permission(f->route, SLICE_LITERAL("broker-a"), &changed), 3);
    assert_int_equal(changed, 2);
    expect_route(f, "TBW102", ROUTE("0:\"" MASTER "\"", "6", "8"));
    expect_route(f, "ReadOnly", ROUTE("0:\"" MASTER "\"", "6", "1"));
}

/* proves: NS-09 */
static void a_deleted_topic_returns_with_a_new_version(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    assert_true(route_delete_topic(f->route, SLICE_LITERAL("PlainTopic")));
    assert_false(route_delete_topic(f->route, SLICE_LITERAL("PlainTopic")));
    expect_route(f, "PlainTopic", NULL);
    assert_int_equal(route_count(f->route).queues, 0);
    registers_plain(f, "broker-a", MASTER, 1);
    expect_route(f, "PlainTopic", NULL);
    registers_plain(f, "broker-a", MASTER, 2);
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
}

/* proves: NS-08, NS-12, NS-13, NS-14 */
static void topic_lists(void **state)
{
    struct fixture *f = *state;
    struct topics topics = {0};
    topics_add(&topics, "Unit", 4, 6, 1);
    registers_with(f, broker(f, "broker-a", 0, MASTER, 1), &topics);
    struct topics others = {0};
    topics_add(&others, "Sub", 4, 6, 2);
    struct route_registration other = broker(f, "broker-b", 0, "127.0.0.1:22010", 1);
    other.cluster_name = SLICE_LITERAL("Second");
    registers_with(f, other, &others);

    struct buf out = BUF_EMPTY;
    route_view_topics(f->route, &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[\"Unit\",\"Sub\"]}") ||
                slice_is(buf_slice(&out), "{\"topicList\":[\"Sub\",\"Unit\"]}"));
    buf_clear(&out);
    route_view_cluster_topics(f->route, SLICE_LITERAL("Second"), &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[\"Sub\"]}"));
    buf_clear(&out);
    route_view_cluster_topics(f->route, SLICE_LITERAL("NoSuchCluster"), &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[]}"));
    buf_clear(&out);
    route_view_system_topics(f->route, &out);
    assert_true(slice_is(buf_slice(&out),
                         "{\"brokerAddr\":\"" MASTER "\",\"topicList\":[\"DefaultCluster\","
                         "\"Second\",\"broker-a\",\"broker-b\"]}"));
    buf_clear(&out);
    route_view_unit_topics(f->route, ROUTE_UNIT, &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[\"Unit\"]}"));
    buf_clear(&out);
    route_view_unit_topics(f->route, ROUTE_UNIT_SUB, &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[\"Sub\"]}"));
    buf_clear(&out);

    struct topics both = {0};
    topics_add(&both, "Sub", 4, 6, 3);
    other.version.counter++;
    registers_with(f, other, &both);
    route_view_unit_topics(f->route, ROUTE_UNIT_SUB, &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[\"Sub\"]}"));
    buf_clear(&out);
    route_view_unit_topics(f->route, ROUTE_UNIT_SUB_NOT_UNIT, &out);
    assert_true(slice_is(buf_slice(&out), "{\"topicList\":[]}"));
    buf_release(&out);
}

/* proves: NS-30 */
static void a_silent_broker_expires(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    f->now_ms = 2000;
    registers_plain(f, "broker-b", "127.0.0.1:22010", 1);
    struct route_gone gone;
    assert_false(route_expire(f->route, 1000 + ROUTE_EXPIRY_MS, &gone));
    assert_true(route_expire(f->route, 1001 + ROUTE_EXPIRY_MS, &gone));
    assert_string_equal(gone.address, MASTER);
    assert_string_equal(gone.broker_name, "broker-a");
    assert_true(conn_ref_equal(gone.conn, connection(21010)));
    assert_true(gone.was_live && gone.name_dropped);
    assert_int_equal(gone.topics, 1);
    assert_false(route_expire(f->route, 1001 + ROUTE_EXPIRY_MS, &gone));
    expect_clusters(f, "{\"brokerAddrTable\":{\"broker-b\":{\"brokerAddrs\":{0:"
                       "\"127.0.0.1:22010\"},\"brokerName\":\"broker-b\",\"cluster\":"
                       "\"DefaultCluster\"}},\"clusterAddrTable\":{\"DefaultCluster\":"
                       "[\"broker-b\"]}}");
}

/* proves: NS-31, a lost master with a living slave keeps the queues */
static void a_lost_master_leaves_its_queues_to_the_slave(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct route_registration slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    struct route_gone gone;
    assert_true(route_close(f->route, connection(21010), SLICE_LITERAL("127.0.0.1:50000"), &gone));
    assert_string_equal(gone.address, MASTER);
    assert_false(gone.name_dropped);
    expect_route(f, "PlainTopic", ROUTE("1:\"" SLAVE "\"", "6", "4"));
    /* The slave is not told of a master without a live entry. */
    registers(f, &slave);
    assert_int_equal(f->done.master_addr.size, 0);
    assert_true(route_close(f->route, connection(21020), SLICE_LITERAL("127.0.0.1:50001"), &gone));
    assert_true(gone.name_dropped);
    expect_route(f, "PlainTopic", NULL);
}

/* proves: NS-31, one live entry per closed connection, the first */
static void a_closed_connection_drops_one_address(void **state)
{
    struct fixture *f = *state;
    struct route_registration first = broker(f, "broker-a", 0, MASTER, 1);
    struct route_registration second = broker(f, "broker-b", 0, "127.0.0.1:22010", 1);
    second.conn = first.conn;
    registers(f, &first);
    registers(f, &second);
    registers(f, &first); /* registering again does not change the order */
    struct route_gone gone;
    struct slice peer = SLICE_LITERAL("127.0.0.1:50000");
    assert_true(route_close(f->route, first.conn, peer, &gone));
    assert_string_equal(gone.address, MASTER);
    assert_int_equal(route_count(f->route).addresses, 1);
    assert_true(route_close(f->route, first.conn, peer, &gone));
    assert_string_equal(gone.address, "127.0.0.1:22010");
    assert_false(route_close(f->route, first.conn, peer, &gone));
}

/* proves: NS-31, without a live entry the peer's address counts */
static void a_closed_connection_of_a_brokers_own_address(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct route_gone gone;
    assert_false(route_close(f->route, connection(7), SLICE_LITERAL("127.0.0.1:50000"), &gone));
    assert_int_equal(route_count(f->route).brokers, 1);
    assert_true(route_close(f->route, connection(7), SLICE_LITERAL(MASTER), &gone));
    assert_true(gone.was_live);
    assert_int_equal(route_count(f->route).brokers, 0);
}

/* A broker that registered again over a new connection survives the closing of the old one. */
static void a_reconnected_broker_stays(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct route_registration again = broker(f, "broker-a", 0, MASTER, 1);
    again.conn = connection(99);
    registers(f, &again);
    struct route_gone gone;
    assert_false(route_close(f->route, connection(21010), SLICE_LITERAL("127.0.0.1:50000"), &gone));
    expect_route(f, "PlainTopic", ROUTE("0:\"" MASTER "\"", "6", "4"));
}

/* The kept body follows every kind of change, and is shared while there is none. */
static void a_kept_body_is_shared_until_something_changes(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    registers_plain(f, "broker-b", "127.0.0.1:22010", 1);
    struct topics topics = {0};
    topics_add(&topics, "OnlyA", 1, 6, 0);
    registers_with(f, broker(f, "broker-a", 0, MASTER, 2), &topics);

    struct slice only_a = SLICE_LITERAL("OnlyA");
    struct route_body *first = route_view_topic(f->route, only_a);
    struct route_body *second = route_view_topic(f->route, only_a);
    assert_ptr_equal(first, second);
    route_body_release(second);
    /* A change of a broker that does not serve the topic leaves its body alone. */
    struct route_registration slave = broker(f, "broker-b", 1, "127.0.0.1:22020", 1);
    registers(f, &slave);
    second = route_view_topic(f->route, only_a);
    assert_ptr_equal(first, second);
    route_body_release(second);
    slave = broker(f, "broker-a", 1, SLAVE, 1);
    registers(f, &slave);
    second = route_view_topic(f->route, only_a);
    assert_ptr_not_equal(first, second);
    /* The old one stays readable for whoever is still sending it. */
    assert_null(strstr(arena_cstr(&f->arena, route_body_bytes(first)), SLAVE));
    assert_non_null(strstr(arena_cstr(&f->arena, route_body_bytes(second)), SLAVE));
    route_body_release(first);
    route_body_release(second);
}

/* proves: NS-04, orderTopicConf */
static void an_order_configuration_is_part_of_the_route(void **state)
{
    struct fixture *f = *state;
    registers_plain(f, "broker-a", MASTER, 1);
    struct buf out = BUF_EMPTY;
    assert_true(
        route_view_topic_ordered(f->route, SLICE_LITERAL("PlainTopic"), "broker-a:4", &out));
    assert_string_equal(
        arena_cstr(&f->arena, buf_slice(&out)),
        "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"" MASTER "\"},\"brokerName\":\"broker-a\","
        "\"cluster\":\"DefaultCluster\"}],\"filterServerTable\":{},\"orderTopicConf\":"
        "\"broker-a:4\",\"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,"
        "\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}");
    buf_clear(&out);
    assert_false(route_view_topic_ordered(f->route, SLICE_LITERAL("Other"), "x:1", &out));
    buf_release(&out);
}

/* What a peer can make the table hold is bounded; a refusal changes nothing. */
static void limits_refuse_without_a_trace(void **state)
{
    struct fixture *f = *state;
    char address[32];
    for (int i = 0; i < ROUTE_ADDRESSES_MAX; i++) {
        (void)snprintf(address, sizeof address, "10.0.0.1:%d", 1 + i);
        struct route_registration r = broker(f, "broker-a", i, address, 1);
        registers(f, &r);
    }
    struct route_registration more = broker(f, "broker-a", ROUTE_ADDRESSES_MAX, "10.0.0.1:99", 1);
    assert_int_equal(route_register(f->route, &more, &f->arena, &f->done), STATUS_FULL);
    assert_int_equal(route_count(f->route).addresses, ROUTE_ADDRESSES_MAX);

    char *name = xmalloc(ROUTE_TEXT_BYTES_MAX + 2);
    memset(name, 'x', ROUTE_TEXT_BYTES_MAX + 1);
    name[ROUTE_TEXT_BYTES_MAX + 1] = '\0';
    struct route_registration longer = broker(f, name, 0, "10.0.0.2:1", 1);
    assert_int_equal(route_register(f->route, &longer, &f->arena, &f->done), STATUS_TOO_LARGE);
    struct topics topics = {0};
    topics_add(&topics, name, 1, 6, 0);
    topics_add(&topics, "", 1, 6, 0);
    topics_add(&topics, "Good", 1, 6, 0);
    registers_with(f, broker(f, "broker-a", 0, "10.0.0.1:1", 2), &topics);
    assert_int_equal(f->done.topics_refused, 1);
    assert_int_equal(f->done.topics_added, 1);
    free(name);

    for (size_t i = 1; i < ROUTE_BROKERS_MAX; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "broker-%zu", i);
        (void)snprintf(address, sizeof address, "10.0.0.1:%d", 1);
        struct route_registration r = broker(f, text, 0, address, 1);
        registers(f, &r);
    }
    struct route_registration last = broker(f, "one-too-many", 0, "10.0.0.1:1", 1);
    assert_int_equal(route_register(f->route, &last, &f->arena, &f->done), STATUS_FULL);
    assert_int_equal(route_count(f->route).brokers, ROUTE_BROKERS_MAX);
    last.broker_name = SLICE_LITERAL("broker-a");
    last.cluster_name = SLICE_LITERAL("OneMoreCluster");
    assert_int_equal(route_register(f->route, &last, &f->arena, &f->done), STATUS_FULL);
    assert_int_equal(route_count(f->route).clusters, 1);
}

/* Several name servers are independent: two tables share nothing. */
static void tables_are_independent(void **state)
{
    struct fixture *f = *state;
    struct route *other = route_new();
    registers_plain(f, "broker-a", MASTER, 1);
    assert_int_equal(route_count(other).topics, 0);
    assert_null(route_view_topic(other, SLICE_LITERAL("PlainTopic")));
    route_free(other);
    route_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_master_and_its_slave_make_a_route),
        TEST(clusters_list_brokers_and_addresses),
        TEST(only_a_changed_version_brings_topics),
        TEST(a_first_registration_brings_topics),
        TEST(a_slave_brings_no_topics),
        TEST(a_slave_that_becomes_master_leaves_its_old_id),
        TEST(topics_are_never_removed_by_absence),
        TEST(filter_servers_follow_the_registration),
        TEST(two_that_claim_one_id_are_told),
        TEST(one_that_has_gone_is_no_rival),
        TEST(who_takes_the_place_of_a_dead_master_is_no_rival),
        TEST(a_slave_is_told_its_master),
        TEST(unregistering_the_last_address_drops_everything),
        TEST(unregistering_from_another_cluster_leaves_the_name),
        TEST(an_equal_version_is_a_sign_of_life),
        TEST(write_permission_is_wiped_and_added),
        TEST(a_deleted_topic_returns_with_a_new_version),
        TEST(topic_lists),
        TEST(a_silent_broker_expires),
        TEST(a_lost_master_leaves_its_queues_to_the_slave),
        TEST(a_closed_connection_drops_one_address),
        TEST(a_closed_connection_of_a_brokers_own_address),
        TEST(a_reconnected_broker_stays),
        TEST(a_kept_body_is_shared_until_something_changes),
        TEST(an_order_configuration_is_part_of_the_route),
        TEST(limits_refuse_without_a_trace),
        TEST(tables_are_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
