/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of clients: joining, subscriptions of the last heartbeat, who is notified and when,
 * leaving by request, by close and by silence, look-ups, and its bounds.
 * Source: RMQ ConsumerManager.java, ConsumerGroupInfo.java, ProducerManager.java; behaviour CL-01
 * to CL-07, CL-09, CL-13.
 */
#include "broker/state/clients.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/command.h"
#include "state_test.h"

struct fixture {
    struct clients *clients;
    struct arena arena;
    struct notify_list *notify;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->clients = clients_new();
    arena_init(&f->arena, 65536);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    clients_free(f->clients); /* checks that its account of bytes ends at 0 */
    arena_release(&f->arena);
    free(f);
    return 0;
}

static struct slice s(const char *text)
{
    return slice_of_cstr(text);
}

static struct conn_ref conn(uint32_t number)
{
    return (struct conn_ref){NULL, number, 1};
}

static const struct host peer = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 47372};

/* --- heartbeats; "T:5" is a subscription to everything of T, of version 5 --- */

struct topic_version {
    const char *topic;
    int64_t version;
    const char *tag; /* NULL: everything */
};

static ConsumerData *consumer_data(struct fixture *f, const char *group,
                                   const struct topic_version *topics, size_t count)
{
    ConsumerData *data = arena_alloc(&f->arena, sizeof *data);
    consumer_data__init(data);
    data->group_name = arena_cstr(&f->arena, s(group));
    data->consume_type = arena_cstr(&f->arena, s("CONSUME_PASSIVELY"));
    data->message_model = arena_cstr(&f->arena, s("CLUSTERING"));
    data->consume_from_where = arena_cstr(&f->arena, s("CONSUME_FROM_FIRST_OFFSET"));
    data->subscription_data_set = arena_alloc(&f->arena, count * sizeof(SubscriptionData *));
    for (size_t i = 0; i < count; i++) {
        SubscriptionData *one = arena_alloc(&f->arena, sizeof *one);
        subscription_data__init(one);
        one->topic = arena_cstr(&f->arena, s(topics[i].topic));
        one->sub_string = arena_cstr(&f->arena, s(topics[i].tag == NULL ? "*" : topics[i].tag));
        one->sub_version = topics[i].version;
        data->subscription_data_set[data->n_subscription_data_set++] = one;
    }
    return data;
}

static void beat_data(struct fixture *f, uint32_t number, const char *client_id,
                      const ConsumerData *data, int64_t now_ms)
{
    clients_heartbeat_consumer(f->clients, conn(number), &peer, client_id, LANGUAGE_JAVA, 397, data,
                               now_ms, &f->arena, &f->notify);
}

static void beat(struct fixture *f, uint32_t number, const char *client_id, const char *group,
                 const struct topic_version *topics, size_t count)
{
    beat_data(f, number, client_id, consumer_data(f, group, topics, count), 1000);
}

static void beat_producer(struct fixture *f, uint32_t number, const char *client_id,
                          const char *group, int64_t now_ms)
{
    clients_heartbeat_producer(f->clients, conn(number), &peer, client_id, LANGUAGE_GO, 317, group,
                               now_ms);
}

#define TOPICS(...)                              \
    (const struct topic_version[]){__VA_ARGS__}, \
        sizeof((const struct topic_version[]){__VA_ARGS__}) / sizeof(struct topic_version)

static bool lists(const struct notify_list *list, uint32_t number)
{
    for (size_t i = 0; i < list->count; i++)
        if (conn_ref_equal(list->conns[i], conn(number)))
            return true;
    return false;
}

static int64_t version_of(struct fixture *f, const char *group, const char *topic)
{
    bool online;
    struct subscription *found =
        clients_subscription(f->clients, s(group), s(topic), &online, NULL);
    if (found == NULL)
        return -1;
    int64_t version = found->version;
    subscription_unref(found);
    return version;
}

static void a_new_member_is_told_to_everybody(void **state)
{
    struct fixture *f = *state;
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    assert_non_null(f->notify);
    assert_int_equal(f->notify->count, 1);
    assert_true(lists(f->notify, 1));
    assert_true(slice_is(f->notify->group, "CG"));
    assert_null(f->notify->next);
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    assert_null(f->notify);

    beat(f, 2, "b", "CG", TOPICS({"T", 5, NULL}));
    assert_non_null(f->notify);
    assert_int_equal(f->notify->count, 2);
    assert_true(lists(f->notify, 1) && lists(f->notify, 2));
}

static void only_a_changed_set_of_topics_is_told(void **state)
{
    struct fixture *f = *state;
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    beat(f, 1, "a", "CG", TOPICS({"T", 6, "TagA"})); /* a mere version change */
    assert_null(f->notify);
    assert_int_equal(version_of(f, "CG", "T"), 6);
    beat(f, 1, "a", "CG", TOPICS({"T", 6, "TagA"}, {"U", 1, NULL}));
    assert_non_null(f->notify);
    beat(f, 1, "a", "CG", TOPICS({"U", 1, NULL}));
    assert_non_null(f->notify);
    assert_int_equal(version_of(f, "CG", "T"), -1);
    assert_int_equal(version_of(f, "CG", "U"), 1);
}

static void a_subscription_is_replaced_by_a_greater_version_only(void **state)
{
    struct fixture *f = *state;
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    beat(f, 1, "a", "CG", TOPICS({"T", 5, "TagA"}));
    bool online;
    enum message_model model = MODEL_BROADCASTING;
    struct subscription *found = clients_subscription(f->clients, s("CG"), s("T"), &online, &model);
    assert_true(online);
    assert_int_equal(model, MODEL_CLUSTERING);
    assert_true(found->match_all);
    subscription_unref(found);
    beat(f, 1, "a", "CG", TOPICS({"T", 4, "TagA"}));
    assert_int_equal(version_of(f, "CG", "T"), 5);
    /* Twice in one heartbeat: the greater version counts. */
    beat(f, 1, "a", "CG", TOPICS({"T", 9, "TagA"}, {"T", 7, "TagB"}));
    assert_int_equal(version_of(f, "CG", "T"), 9);
}

/* Two members that disagree flap; the last heartbeat wins. */
static void the_last_heartbeat_wins(void **state)
{
    struct fixture *f = *state;
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    beat(f, 2, "b", "CG", TOPICS({"U", 5, NULL}));
    assert_int_equal(version_of(f, "CG", "T"), -1);
    assert_int_equal(version_of(f, "CG", "U"), 5);
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    assert_non_null(f->notify);
    assert_int_equal(version_of(f, "CG", "T"), 5);
    assert_int_equal(version_of(f, "CG", "U"), -1);
}

static void a_subscription_in_use_outlives_the_group(void **state)
{
    struct fixture *f = *state;
    bool online;
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    struct subscription *held = clients_subscription(f->clients, s("CG"), s("T"), &online, NULL);
    clients_closed(f->clients, conn(1), &f->arena, &f->notify);
    assert_null(clients_subscription(f->clients, s("CG"), s("T"), &online, NULL));
    assert_false(online);
    assert_string_equal(held->topic, "T");
    assert_true(subscription_match(held, 3));
    subscription_unref(held);
}

static void the_model_is_that_of_the_last_heartbeat(void **state)
{
    struct fixture *f = *state;
    bool online;
    enum message_model model;
    ConsumerData *data = consumer_data(f, "CG", TOPICS({"T", 5, NULL}));
    data->message_model = arena_cstr(&f->arena, s("BROADCASTING"));
    beat_data(f, 1, "a", data, 1000);
    subscription_unref(clients_subscription(f->clients, s("CG"), s("T"), &online, &model));
    assert_int_equal(model, MODEL_BROADCASTING);
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    subscription_unref(clients_subscription(f->clients, s("CG"), s("T"), &online, &model));
    assert_int_equal(model, MODEL_CLUSTERING);
    /* Online, but not subscribed to that topic. */
    assert_null(clients_subscription(f->clients, s("CG"), s("U"), &online, &model));
    assert_true(online);
}

static void who_unregisters_is_gone_and_the_rest_is_told(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    size_t count;
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    beat(f, 2, "b", "CG", TOPICS({"T", 5, NULL}));
    beat_producer(f, 1, "a", "PG", 1000);
    clients_unregister(f->clients, conn(1), NULL, "CG", &f->arena, &f->notify);
    assert_non_null(f->notify);
    assert_int_equal(f->notify->count, 1);
    assert_true(lists(f->notify, 2));
    assert_true(clients_producer_members(f->clients, s("PG"), &f->arena, &members, &count));

    clients_unregister(f->clients, conn(1), NULL, "CG", &f->arena, &f->notify); /* again */
    assert_null(f->notify);
    clients_unregister(f->clients, conn(1), "PG", "Nobody", &f->arena, &f->notify);
    assert_null(f->notify);
    assert_false(clients_producer_members(f->clients, s("PG"), &f->arena, &members, &count));
    clients_unregister(f->clients, conn(2), NULL, "CG", &f->arena, &f->notify);
    assert_null(f->notify); /* nobody is left to be told */
    assert_false(clients_consumer_members(f->clients, s("CG"), &f->arena, &members, &count));
}

static void a_close_leaves_every_group(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    struct conn_ref found;
    size_t count;
    beat(f, 1, "a", "CG1", TOPICS({"T", 5, NULL}));
    beat(f, 1, "a", "CG2", TOPICS({"T", 5, NULL}));
    beat(f, 1, "a", "CG3", TOPICS({"T", 5, NULL}));
    beat(f, 2, "b", "CG1", TOPICS({"T", 5, NULL}));
    beat(f, 2, "b", "CG2", TOPICS({"T", 5, NULL}));
    beat_producer(f, 1, "a", "PG", 1000);
    clients_closed(f->clients, conn(1), &f->arena, &f->notify);
    size_t groups = 0;
    for (const struct notify_list *list = f->notify; list != NULL; list = list->next, groups++) {
        assert_true(slice_is(list->group, "CG1") || slice_is(list->group, "CG2"));
        assert_int_equal(list->count, 1);
        assert_true(lists(list, 2));
    }
    assert_int_equal(groups, 2);
    assert_false(clients_consumer_members(f->clients, s("CG3"), &f->arena, &members, &count));
    assert_false(clients_producer_members(f->clients, s("PG"), &f->arena, &members, &count));
    assert_false(clients_find_producer(f->clients, s("a"), &found));
    clients_closed(f->clients, conn(1), &f->arena, &f->notify);
    assert_null(f->notify);
    /* A connection that has the slot of a closed one is another one. */
    struct conn_ref next = {NULL, 2, 2};
    clients_closed(f->clients, next, &f->arena, &f->notify);
    assert_true(clients_consumer_members(f->clients, s("CG1"), &f->arena, &members, &count));
}

static void the_silent_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    struct notify_list *close;
    size_t count;
    beat_data(f, 1, "a", consumer_data(f, "CG", TOPICS({"T", 5, NULL})), 1000);
    beat_producer(f, 1, "a", "PG", 1000);
    beat_data(f, 2, "b", consumer_data(f, "CG", TOPICS({"T", 5, NULL})), 1000);
    beat_data(f, 2, "b", consumer_data(f, "CG", TOPICS({"T", 5, NULL})), 50000);
    clients_silent(f->clients, 121000, 120000, &f->arena, &close);
    assert_null(close);
    clients_silent(f->clients, 121001, 120000, &f->arena, &close);
    assert_non_null(close);
    assert_int_equal(close->count, 1); /* once, though it is in two groups */
    assert_true(lists(close, 1));
    /* The owner of the connections closes it, and the others hear of that. */
    clients_closed(f->clients, close->conns[0], &f->arena, &f->notify);
    assert_non_null(f->notify);
    assert_true(lists(f->notify, 2));
    assert_true(clients_consumer_members(f->clients, s("CG"), &f->arena, &members, &count));
    assert_int_equal(count, 1);
    assert_string_equal(members[0].client_id, "b");
    assert_false(clients_producer_members(f->clients, s("PG"), &f->arena, &members, &count));
}

static void members_are_listed_as_they_joined(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    struct client_info one;
    size_t count;
    beat(f, 2, "b", "CG", TOPICS({"T", 5, NULL}));
    beat(f, 1, "a", "CG", TOPICS({"T", 5, NULL}));
    beat(f, 3, "a", "CG", TOPICS({"T", 5, NULL})); /* one entry per connection */
    assert_true(clients_consumer_members(f->clients, s("CG"), &f->arena, &members, &count));
    assert_int_equal(count, 3);
    assert_string_equal(members[0].client_id, "b");
    assert_string_equal(members[1].client_id, "a");
    assert_string_equal(members[2].client_id, "a");
    assert_int_equal(members[0].peer.port, 47372);
    assert_int_equal(members[0].version, 397);
    assert_int_equal(members[0].last_heartbeat_ms, 1000);
    assert_false(clients_consumer_members(f->clients, s("Nobody"), &f->arena, &members, &count));

    assert_true(clients_find_consumer(f->clients, s("CG"), s("b"), &one, &f->arena));
    assert_true(conn_ref_equal(one.conn, conn(2)));
    assert_false(clients_find_consumer(f->clients, s("CG"), s("c"), &one, &f->arena));
}

static void a_client_may_change_its_id(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    struct conn_ref found;
    size_t count;
    beat(f, 1, "old", "CG", TOPICS({"T", 5, NULL}));
    beat_producer(f, 1, "old", "PG", 1000);
    beat(f, 1, "newer", "CG", TOPICS({"T", 5, NULL}));
    assert_null(f->notify);
    beat_producer(f, 1, "newer", "PG", 1000);
    assert_true(clients_consumer_members(f->clients, s("CG"), &f->arena, &members, &count));
    assert_int_equal(count, 1);
    assert_string_equal(members[0].client_id, "newer");
    assert_false(clients_find_producer(f->clients, s("old"), &found));
    assert_true(clients_find_producer(f->clients, s("newer"), &found));
}

static void a_producer_is_found_by_client_id_while_any_group_is_left(void **state)
{
    struct fixture *f = *state;
    struct conn_ref found;
    beat_producer(f, 1, "a", "PG1", 1000);
    beat_producer(f, 1, "a", "PG2", 1000);
    clients_unregister(f->clients, conn(1), "PG1", NULL, &f->arena, &f->notify);
    assert_true(clients_find_producer(f->clients, s("a"), &found));
    assert_true(conn_ref_equal(found, conn(1)));
    beat_producer(f, 2, "a", "PG1", 1000); /* the same id from elsewhere: the newest */
    assert_true(clients_find_producer(f->clients, s("a"), &found));
    assert_true(conn_ref_equal(found, conn(2)));
    clients_closed(f->clients, conn(2), &f->arena, &f->notify);
    assert_true(clients_find_producer(f->clients, s("a"), &found));
    assert_true(conn_ref_equal(found, conn(1)));
    clients_unregister(f->clients, conn(1), "PG2", NULL, &f->arena, &f->notify);
    assert_false(clients_find_producer(f->clients, s("a"), &found));
}

static void producers_and_consumers_of_one_name_are_apart(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    size_t count;
    beat(f, 1, "a", "G", TOPICS({"T", 5, NULL}));
    assert_false(clients_producer_members(f->clients, s("G"), &f->arena, &members, &count));
    beat_producer(f, 1, "a", "G", 1000);
    clients_unregister(f->clients, conn(1), NULL, "G", &f->arena, &f->notify);
    assert_true(clients_producer_members(f->clients, s("G"), &f->arena, &members, &count));
    assert_int_equal(members[0].language, LANGUAGE_GO);
}

static void the_connection_list_shows_everything(void **state)
{
    struct fixture *f = *state;
    ConsumerConnection body;
    beat(f, 1, "192.0.2.2@c23", "CG", TOPICS({"T", 5, NULL}, {"U", 6, NULL}));
    assert_false(clients_consumer_connection(f->clients, s("Nobody"), &f->arena, &body));
    assert_true(clients_consumer_connection(f->clients, s("CG"), &f->arena, &body));
    assert_string_equal(body.consume_type, "CONSUME_PASSIVELY");
    assert_string_equal(body.message_model, "CLUSTERING");
    assert_string_equal(body.consume_from_where, "CONSUME_FROM_FIRST_OFFSET");
    assert_int_equal(body.n_connection_set, 1);
    assert_string_equal(body.connection_set[0]->client_addr, "127.0.0.1:47372");
    assert_string_equal(body.connection_set[0]->client_id, "192.0.2.2@c23");
    assert_string_equal(body.connection_set[0]->language, "JAVA");
    assert_int_equal(body.connection_set[0]->version, 397);
    assert_int_equal(body.n_subscription_table, 2);
    for (size_t i = 0; i < 2; i++) {
        const SubscriptionEntry *entry = body.subscription_table[i];
        assert_string_equal(entry->key, entry->value->topic);
        assert_int_equal(entry->value->sub_version, strcmp(entry->key, "T") == 0 ? 5 : 6);
    }
}

static void groups_of_a_topic_are_listed(void **state)
{
    struct fixture *f = *state;
    struct name_list names = {.count = 0};
    beat(f, 1, "a", "CG1", TOPICS({"T", 5, NULL}));
    beat(f, 1, "a", "CG2", TOPICS({"T", 5, NULL}, {"U", 5, NULL}));
    clients_groups_of(f->clients, s("T"), name_list_add, &names);
    assert_int_equal(names.count, 2);
    assert_true(name_list_has(&names, "CG1") && name_list_has(&names, "CG2"));
    names.count = 0;
    clients_groups_of(f->clients, s("U"), name_list_add, &names);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.names[0], "CG2");
}

static void impossible_names_are_ignored(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    size_t count;
    char name[GROUP_BYTES_MAX + 2];
    memset(name, 'g', sizeof name);
    name[GROUP_BYTES_MAX + 1] = 0;
    beat(f, 1, "a", name, TOPICS({"T", 5, NULL}));
    assert_null(f->notify);
    beat(f, 1, "a", "", TOPICS({"T", 5, NULL}));
    assert_null(f->notify);
    beat(f, 1, "", "CG", TOPICS({"T", 5, NULL}));
    assert_null(f->notify);
    beat_producer(f, 1, "a", "", 1000);
    assert_false(clients_consumer_members(f->clients, s("CG"), &f->arena, &members, &count));
    clients_unregister(f->clients, conn(1), name, name, &f->arena, &f->notify);
    name[GROUP_BYTES_MAX] = 0;
    beat(f, 1, "a", name, TOPICS({"T", 5, NULL}));
    assert_non_null(f->notify);
}

static void the_groups_of_a_connection_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct client_info *members;
    size_t count;
    char name[16];
    log_set_level(LOG_ERROR);
    for (int i = 0; i <= CONNECTION_GROUPS_MAX; i++) {
        (void)snprintf(name, sizeof name, "PG%d", i);
        beat_producer(f, 1, "a", name, 1000);
    }
    assert_false(clients_producer_members(f->clients, s(name), &f->arena, &members, &count));
    assert_true(clients_producer_members(f->clients, s("PG0"), &f->arena, &members, &count));
    beat_producer(f, 2, "b", name, 1000); /* others are not concerned */
    assert_true(clients_producer_members(f->clients, s(name), &f->arena, &members, &count));
}

/* Heartbeats with large subscriptions cannot take more than CLIENTS_BYTES_MAX. */
static void the_bytes_of_all_are_bounded(void **state)
{
    struct fixture *f = *state;
    ConsumerConnection body;
    char *expression = xmalloc(SUBSCRIPTION_EXPRESSION_BYTES_MAX);
    size_t topics = 0;
    log_set_level(LOG_ERROR);
    memset(expression, 'x', SUBSCRIPTION_EXPRESSION_BYTES_MAX - 1);
    expression[SUBSCRIPTION_EXPRESSION_BYTES_MAX - 1] = 0;
    for (int group = 0; group < 20; group++) {
        ConsumerData data = CONSUMER_DATA__INIT;
        SubscriptionData one[600];
        SubscriptionData *table[600];
        char names[600][16];
        char group_name[16];
        (void)snprintf(group_name, sizeof group_name, "CG%d", group);
        for (int i = 0; i < 600; i++) {
            (void)snprintf(names[i], sizeof names[i], "T%d", i);
            subscription_data__init(&one[i]);
            one[i].topic = names[i];
            one[i].sub_string = expression;
            table[i] = &one[i];
        }
        data.group_name = group_name;
        data.n_subscription_data_set = 600;
        data.subscription_data_set = table;
        beat_data(f, 1, "a", &data, 1000);
        if (clients_consumer_connection(f->clients, s(group_name), &f->arena, &body))
            topics += body.n_subscription_table;
        arena_reset(&f->arena);
    }
    size_t most = (size_t)(CLIENTS_BYTES_MAX / SUBSCRIPTION_EXPRESSION_BYTES_MAX);
    assert_true(topics <= most);
    assert_true(topics >= most - most / 20);
    free(expression);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_member_is_told_to_everybody),
        TEST(only_a_changed_set_of_topics_is_told),
        TEST(a_subscription_is_replaced_by_a_greater_version_only),
        TEST(the_last_heartbeat_wins),
        TEST(a_subscription_in_use_outlives_the_group),
        TEST(the_model_is_that_of_the_last_heartbeat),
        TEST(who_unregisters_is_gone_and_the_rest_is_told),
        TEST(a_close_leaves_every_group),
        TEST(the_silent_are_dropped),
        TEST(members_are_listed_as_they_joined),
        TEST(a_client_may_change_its_id),
        TEST(a_producer_is_found_by_client_id_while_any_group_is_left),
        TEST(producers_and_consumers_of_one_name_are_apart),
        TEST(the_connection_list_shows_everything),
        TEST(groups_of_a_topic_are_listed),
        TEST(impossible_names_are_ignored),
        TEST(the_groups_of_a_connection_are_bounded),
        TEST(the_bytes_of_all_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
