/* SPDX-License-Identifier: Apache-2.0
 *
 * The topic maker: names that wait while a file is written are made together and cost one more
 * write; nobody hears of a topic before it is in the file; each failure has its own status.
 * Source of the rule: docs/decisions/0003-topic-before-acknowledgement.md.
 */
#include "broker/proc/topic_maker.h"

#include "broker/proc/registrar.h"
#include "common/sys/log.h"
#include "test/unit/state/state_test.h"

#include <stdatomic.h>
#include <time.h>

#define WISHES 2000

struct fixture {
    struct folder folder;
    char path[PATH_BYTES];
    struct failing_vfs vfs;
    struct broker broker;
    struct broker_loop per_loop;
    struct loop *loop;
    struct topic_wish wishes[WISHES];
};

/* Writes wait for `gate_open` and count those that have begun. */
static _Atomic bool gate_open;
static _Atomic int writes;
static _Atomic int done;

static void nap(void)
{
    const struct timespec pause = {0, 1000000};
    (void)nanosleep(&pause, NULL);
}

static void await(_Atomic int *counter, int value)
{
    for (int i = 0; i < 60000 && atomic_load(counter) < value; i++)
        nap();
    assert_int_equal(atomic_load(counter), value);
}

static enum status gated_pwritev(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                                 int64_t offset)
{
    atomic_fetch_add(&writes, 1);
    for (int i = 0; i < 60000 && !atomic_load(&gate_open); i++)
        nap();
    return failing_pwritev(vfs, fd, parts, count, offset);
}

static void on_done(struct loop_task *task)
{
    (void)task;
    atomic_fetch_add(&done, 1);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err err = {0};
    log_set_level(LOG_ERROR);
    atomic_store(&gate_open, true);
    atomic_store(&writes, 0);
    atomic_store(&done, 0);
    folder_make(&f->folder);
    failing_vfs_init(&f->vfs);
    f->vfs.ops.pwritev = gated_pwritev;
    f->broker.clock = clock_real();
    f->broker.conf.namesrvAddr = "";
    f->broker.conf.autoCreateTopicEnable = true;
    struct topics_options options = {
        .path = folder_file(&f->folder, "topics.json", f->path),
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .trace_topic_name = "RMQ_SYS_TRACE_TOPIC",
        .default_queues = 8,
        .auto_create = true,
    };
    assert_int_equal(topics_load(&options, &f->vfs.vfs, f->broker.clock, &f->broker.topics, &err),
                     STATUS_OK);
    assert_int_equal(loop_new("test", 0, f->broker.clock, &f->loop, &err), STATUS_OK);
    f->broker.loops = &f->loop;
    f->broker.loop_count = 1;
    assert_int_equal(registrar_new(&f->broker, &f->broker.registrar, &err), STATUS_OK);
    assert_int_equal(topic_maker_new(&f->broker, &f->broker.topic_maker, &err), STATUS_OK);
    assert_int_equal(loop_start(f->loop, &err), STATUS_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    registrar_stop(f->broker.registrar);
    topic_maker_stop(f->broker.topic_maker);
    loop_stop(f->loop);
    loop_settle(f->loop);
    registrar_free(f->broker.registrar);
    topic_maker_free(f->broker.topic_maker);
    loop_free(f->loop);
    topics_free(f->broker.topics);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static void ask(struct fixture *f, int index, const char *topic, const char *default_topic)
{
    struct topic_wish *wish = &f->wishes[index];
    *wish = (struct topic_wish){.loop = f->loop, .default_topic_queues = 4};
    wish->done.run = on_done;
    (void)snprintf(wish->topic, sizeof wish->topic, "%s", topic);
    (void)snprintf(wish->default_topic, sizeof wish->default_topic, "%s", default_topic);
    topic_maker_ask(f->broker.topic_maker, wish);
}

static void names_that_wait_are_made_together(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    atomic_store(&gate_open, false);
    ask(f, 0, "Topic0", "TBW102");
    await(&writes, 1);
    for (int i = 1; i < WISHES; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "Topic%d", i);
        ask(f, i, name, "TBW102");
    }
    assert_int_equal(atomic_load(&done), 0);
    atomic_store(&gate_open, true);
    await(&done, WISHES);
    /* Two saves; the second may write the .bak too. */
    assert_in_range(atomic_load(&writes), 2, 3);
    for (int i = 0; i < WISHES; i++) {
        assert_int_equal(f->wishes[i].status, STATUS_OK);
        assert_true(topics_get(f->broker.topics, slice_of_cstr(f->wishes[i].topic), &config));
        assert_true(config.saved);
        assert_int_equal(config.write_queues, 4);
    }
}

static void what_can_not_be_made_costs_no_write(void **state)
{
    struct fixture *f = *state;
    ask(f, 0, "Topic0", "Unknown");
    await(&done, 1);
    assert_int_equal(f->wishes[0].status, STATUS_NOT_FOUND);
    assert_int_equal(atomic_load(&writes), 0);
    ask(f, 1, "%RETRY%g", "Unknown"); /* retry topics need no default topic */
    await(&done, 2);
    assert_int_equal(f->wishes[1].status, STATUS_OK);
}

static void a_full_disk_is_told(void **state)
{
    struct fixture *f = *state;
    struct topic_config config;
    f->vfs.full = true;
    ask(f, 0, "Topic0", "TBW102");
    await(&done, 1);
    assert_int_equal(f->wishes[0].status, STATUS_FULL);
    assert_true(topics_get(f->broker.topics, SLICE_LITERAL("Topic0"), &config));
    assert_false(config.saved);
    f->vfs.full = false;
    ask(f, 1, "Topic0", "TBW102"); /* by now it exists, and only has to be saved */
    await(&done, 2);
    assert_int_equal(f->wishes[1].status, STATUS_OK);
    assert_true(topics_get(f->broker.topics, SLICE_LITERAL("Topic0"), &config));
    assert_true(config.saved);
}

static void a_stopped_maker_refuses(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    topic_maker_stop(f->broker.topic_maker);
    ask(f, 0, "Topic0", "TBW102");
    await(&done, 1);
    assert_int_equal(f->wishes[0].status, STATUS_BUSY);
    topic_maker_free(f->broker.topic_maker);
    assert_int_equal(topic_maker_new(&f->broker, &f->broker.topic_maker, &err), STATUS_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_wait_are_made_together),
        TEST(what_can_not_be_made_costs_no_write),
        TEST(a_full_disk_is_told),
        TEST(a_stopped_maker_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
