/* SPDX-License-Identifier: Apache-2.0
 *
 * Apache's C++ client, through its C functions, against a name server and its broker, case by case.
 *
 *     interop NAMESRV PREFIX [FILTER]      FILTER: a part of the names of cases
 *
 * A case prints `ok NAME`, `FAILED NAME reason` or `skipped NAME reason`: it is in the comma list
 * of the environment variable UNSERVED, or the library lacks its functions. The last line is
 * `PREFIX: N passed, N failed, N skipped`. Topics are created by the first send. Every case runs in
 * a process of its own: the library cannot be trusted to shut down, and a case that hangs is ended.
 */
#include "test/interop/cpp/librocketmq.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WAIT_S = 150,
    CASE_S = 400,
    RECEIVED_MAX = 512,
    BODY_MAX = 64,
    TOPIC_MAX_BYTES = 64,
    NAME_MAX_BYTES = 128,
    SKIPPED = 77,
};

static const char *namesrv;
static char topic[TOPIC_MAX_BYTES];
static char group[TOPIC_MAX_BYTES + 1];

/* --- what cases use --------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
    _exit(1);
}

static void must(int status, const char *what)
{
    if (status != 0) {
        fail("%s: status %d, %s", what, status, GetLatestErrorMessage());
    }
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* What a listener got, in order. One per consumer of a case. */
struct collector {
    pthread_mutex_t lock;
    struct cpp_push *consumer;
    int count;
    char bodies[RECEIVED_MAX][BODY_MAX];
    int64_t born_ms[RECEIVED_MAX];
    int64_t got_ms[RECEIVED_MAX];
    int reconsume_times[RECEIVED_MAX];
    int refuse; /* this many of the first messages are sent back */
};

static struct collector collectors[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER},
                                         {.lock = PTHREAD_MUTEX_INITIALIZER}};

static int listen_to(struct cpp_push *consumer, struct cpp_received *message)
{
    struct collector *to = &collectors[collectors[1].consumer == consumer];
    pthread_mutex_lock(&to->lock);
    int at = to->count;
    if (at < RECEIVED_MAX) {
        snprintf(to->bodies[at], BODY_MAX, "%s", GetMessageBody(message));
        to->born_ms[at] = GetMessageBornTimestamp(message);
        to->got_ms[at] = now_ms();
        to->reconsume_times[at] = GetMessageReconsumeTimes(message);
        to->count++;
    }
    pthread_mutex_unlock(&to->lock);
    return at < to->refuse ? CPP_RECONSUME_LATER : CPP_SUCCESS;
}

static int count_of(struct collector *from)
{
    pthread_mutex_lock(&from->lock);
    int count = from->count;
    pthread_mutex_unlock(&from->lock);
    return count;
}

static void await(struct collector *from, int count)
{
    int64_t end = now_ms() + WAIT_S * 1000;
    while (count_of(from) < count) {
        if (now_ms() > end) {
            fail("waited in vain for %d messages, have %d", count, count_of(from));
        }
        nap();
    }
}

static int times_of(const struct collector *from, const char *body)
{
    int times = 0;
    for (int i = 0; i < from->count; i++) {
        times += strcmp(from->bodies[i], body) == 0;
    }
    return times;
}

/* The bodies WORD-0 ... WORD-(count - 1) have come, each once, and nothing else. */
static void await_exactly(struct collector *from, const char *word, int count)
{
    await(from, count);
    for (int i = 0; i < count; i++) {
        char body[BODY_MAX];
        snprintf(body, sizeof body, "%s-%d", word, i);
        if (times_of(from, body) != 1) {
            fail("%s came %d times", body, times_of(from, body));
        }
    }
    if (count_of(from) != count) {
        fail("%d messages came instead of %d", count_of(from), count);
    }
}

static struct cpp_producer *begin(struct cpp_producer *producer)
{
    must(SetProducerNameServerAddress(producer, namesrv), "SetProducerNameServerAddress");
    must(SetProducerSendMsgTimeout(producer, 10000), "SetProducerSendMsgTimeout");
    must(StartProducer(producer), "StartProducer");
    return producer;
}

static struct cpp_producer *new_producer(void)
{
    return begin(CreateProducer("CPP_PRODUCER"));
}

static struct cpp_message *new_message(const char *tag, const char *body)
{
    struct cpp_message *message = CreateMessage(topic);
    must(SetMessageTags(message, tag), "SetMessageTags");
    must(SetMessageKeys(message, body), "SetMessageKeys");
    must(SetByteMessageBody(message, body, (int)strlen(body)), "SetByteMessageBody");
    return message;
}

static struct cpp_message *numbered(const char *word, int number)
{
    char body[BODY_MAX];
    snprintf(body, sizeof body, "%s-%d", word, number);
    return new_message("A", body);
}

static struct cpp_sent send_one(struct cpp_producer *producer, struct cpp_message *message)
{
    struct cpp_sent sent = {.status = -1};
    must(SendMessageSync(producer, message, &sent), "SendMessageSync");
    if (sent.status != 0 || sent.msg_id[0] == '\0') {
        fail("status of a send %d, id %s", sent.status, sent.msg_id);
    }
    must(DestroyMessage(message), "DestroyMessage");
    return sent;
}

static void send_many(struct cpp_producer *producer, const char *word, int count)
{
    for (int i = 0; i < count; i++) {
        send_one(producer, numbered(word, i));
    }
}

static struct collector *listen_as(int number, const char *expression, int model, bool orderly)
{
    struct cpp_push *consumer = CreatePushConsumer(group);
    char instance[NAME_MAX_BYTES];
    snprintf(instance, sizeof instance, "%s-%d", group, number);
    collectors[number].consumer = consumer;
    must(SetPushConsumerNameServerAddress(consumer, namesrv), "SetPushConsumerNameServerAddress");
    must(SetPushConsumerInstanceName(consumer, instance), "SetPushConsumerInstanceName");
    must(SetPushConsumerMessageModel(consumer, model), "SetPushConsumerMessageModel");
    /* Version 2.1.0 crashes when a consumer without tracing is shut down. */
    if (SetPushConsumerMessageTrace != NULL) {
        must(SetPushConsumerMessageTrace(consumer, CPP_TRACE_ON), "SetPushConsumerMessageTrace");
    }
    must(Subscribe(consumer, topic, expression), "Subscribe");
    must(orderly ? RegisterMessageCallbackOrderly(consumer, listen_to)
                 : RegisterMessageCallback(consumer, listen_to),
         "RegisterMessageCallback");
    must(StartPushConsumer(consumer), "StartPushConsumer");
    return &collectors[number];
}

static struct collector *collect(void)
{
    return listen_as(0, "*", CPP_CLUSTERING, false);
}

/* The topic's only message; a message becomes readable a little after its send was answered. */
static struct cpp_pulled pull_only(struct cpp_pull *consumer)
{
    struct cpp_queue *queues;
    int size;
    must(FetchSubscriptionMessageQueues(consumer, topic, &queues, &size), "the topic's queues");
    for (int64_t end = now_ms() + WAIT_S * 1000; now_ms() < end; nap()) {
        for (int i = 0; i < size; i++) {
            struct cpp_pulled pulled = Pull(consumer, &queues[i], "*", 0, 32);
            if (pulled.status == CPP_FOUND) {
                return pulled;
            }
        }
    }
    fail("no queue of %d has the message", size);
}

static struct cpp_pull *new_puller(void)
{
    struct cpp_pull *consumer = CreatePullConsumer(group);
    must(SetPullConsumerNameServerAddress(consumer, namesrv), "SetPullConsumerNameServerAddress");
    must(StartPullConsumer(consumer), "StartPullConsumer");
    return consumer;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void send_sync(void)
{
    send_many(new_producer(), "sync", 60);
    await_exactly(collect(), "sync", 60);
}

static atomic_int answered;
static atomic_int refused;

static void on_sent(struct cpp_sent result)
{
    atomic_fetch_add(result.status == 0 ? &answered : &refused, 1);
}

static void on_error(struct cpp_exception error)
{
    (void)error;
    atomic_fetch_add(&refused, 1);
}

static void send_async(void)
{
    struct cpp_producer *producer = new_producer();
    send_one(producer, numbered("async", 0)); /* creates the topic */
    struct cpp_message *messages[60] = {0};
    for (int i = 1; i < 60; i++) {
        messages[i] = numbered("async", i);
        must(SendMessageAsync(producer, messages[i], on_sent, on_error), "SendMessageAsync");
    }
    int64_t end = now_ms() + WAIT_S * 1000;
    while (answered + refused < 59 && now_ms() < end) {
        nap();
    }
    if (answered != 59) {
        fail("%d sends were answered, %d failed, of 59", answered, refused);
    }
    await_exactly(collect(), "async", 60);
}

static void send_oneway(void)
{
    struct cpp_producer *producer = new_producer();
    send_one(producer, numbered("oneway", 0));
    for (int i = 1; i < 30; i++) {
        must(SendMessageOneway(producer, numbered("oneway", i)), "SendMessageOneway");
    }
    await_exactly(collect(), "oneway", 30);
}

/* The library says that it is a batch with "1", which Java (Boolean.parseBoolean) takes for false:
 * with RocketMQ's broker, too, this is one message whose body is the encoded batch. */
static void send_batch(void)
{
    struct cpp_producer *producer = new_producer();
    struct cpp_batch *batch = CreateBatchMessage();
    for (int i = 0; i < 20; i++) {
        must(AddMessage(batch, numbered("batch", i)), "AddMessage");
    }
    struct cpp_sent sent = {.status = -1};
    must(SendBatchMessage(producer, batch, &sent), "SendBatchMessage");
    if (sent.status != 0) {
        fail("status of the batch %d", sent.status);
    }
    struct cpp_pulled pulled = pull_only(new_puller());
    if (pulled.size != 1 || GetMessageProperty(pulled.messages[0], "UNIQ_KEY") == NULL) {
        fail("%d messages were stored", pulled.size);
    }
}

static int select_queue(int size, struct cpp_message *message, void *arg)
{
    (void)message;
    return *(int *)arg % size;
}

static void check_shards(struct collector *got, int count, int shards)
{
    int last[16];
    memset(last, -1, sizeof last);
    await(got, count);
    for (int i = 0; i < got->count; i++) {
        int number = (int)strtol(strchr(got->bodies[i], '-') + 1, NULL, 10);
        if (number <= last[number % shards]) {
            fail("%d came after %d", number, last[number % shards]);
        }
        last[number % shards] = number;
    }
}

static void orderly(void)
{
    struct cpp_producer *producer = new_producer();
    for (int i = 0; i < 90; i++) {
        int shard = i % 6;
        struct cpp_sent sent = {.status = -1};
        must(SendMessageOrderly(producer, numbered("order", i), select_queue, &shard, 3, &sent),
             "SendMessageOrderly");
    }
    struct collector *got = listen_as(0, "*", CPP_CLUSTERING, true);
    check_shards(got, 90, 6);
    await_exactly(got, "order", 90);
}

static void sharding_key(void)
{
    if (SendMessageOrderlyByShardingKey == NULL || CreateOrderlyProducer == NULL) {
        printf("the library has no sharding keys");
        exit(SKIPPED);
    }
    struct cpp_producer *producer = begin(CreateOrderlyProducer("CPP_PRODUCER"));
    for (int i = 0; i < 60; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%d", i % 5);
        struct cpp_sent sent = {.status = -1};
        must(SendMessageOrderlyByShardingKey(producer, numbered("shard", i), key, &sent),
             "SendMessageOrderlyByShardingKey");
    }
    struct collector *got = listen_as(0, "*", CPP_CLUSTERING, true);
    check_shards(got, 60, 5);
    await_exactly(got, "shard", 60);
}

static void delay(void)
{
    struct cpp_producer *producer = new_producer();
    send_one(producer, numbered("delay", 0));
    for (int i = 1; i < 6; i++) {
        struct cpp_message *message = numbered("delay", i);
        must(SetDelayTimeLevel(message, 7), "SetDelayTimeLevel"); /* 2 s, says run */
        send_one(producer, message);
    }
    struct collector *got = collect();
    await_exactly(got, "delay", 6);
    for (int i = 0; i < 6; i++) {
        if (strcmp(got->bodies[i], "delay-0") != 0 && got->got_ms[i] < got->born_ms[i] + 2000) {
            fail("%s came %d ms after it was sent", got->bodies[i],
                 (int)(got->got_ms[i] - got->born_ms[i]));
        }
    }
}

static void tag_filter(void)
{
    struct cpp_producer *producer = new_producer();
    int wanted = 0;
    for (int i = 0; i < 60; i++) {
        char body[BODY_MAX];
        char tag[16];
        snprintf(tag, sizeof tag, "Tag%d", i % 3);
        snprintf(body, sizeof body, i % 3 == 1 ? "other-%d" : "wanted-%d",
                 i % 3 == 1 ? i : wanted++);
        send_one(producer, new_message(tag, body));
    }
    await_exactly(listen_as(0, "Tag0 || Tag2", CPP_CLUSTERING, false), "wanted", wanted);
}

static void broadcasting(void)
{
    struct cpp_producer *producer = new_producer();
    struct cpp_sent first = send_one(producer, numbered("first", 0));
    (void)first;
    for (int i = 0; i < 2; i++) {
        listen_as(i, "B", CPP_BROADCASTING, false);
    }
    /* A consumer of this kind begins at the end, and nothing tells when it has begun. */
    int sent = 0;
    int64_t end = now_ms() + WAIT_S * 1000;
    while (count_of(&collectors[0]) == 0 || count_of(&collectors[1]) == 0) {
        if (now_ms() > end) {
            fail("a broadcast reached %d and %d times", count_of(&collectors[0]),
                 count_of(&collectors[1]));
        }
        send_one(producer, new_message("B", "probe"));
        sleep(1);
    }
    for (; sent < 40; sent++) {
        char body[BODY_MAX];
        snprintf(body, sizeof body, "all-%d", sent);
        send_one(producer, new_message("B", body));
    }
    for (int i = 0; i < 2; i++) {
        await(&collectors[i], 40 + times_of(&collectors[i], "probe"));
        for (int number = 0; number < 40; number++) {
            char body[BODY_MAX];
            snprintf(body, sizeof body, "all-%d", number);
            int64_t until = now_ms() + WAIT_S * 1000;
            while (times_of(&collectors[i], body) == 0 && now_ms() < until) {
                nap();
            }
            if (times_of(&collectors[i], body) != 1) {
                fail("%s came %d times to one of two", body, times_of(&collectors[i], body));
            }
        }
    }
}

static void retry_later(void)
{
    send_one(new_producer(), numbered("again", 0));
    collectors[0].refuse = 2;
    struct collector *got = collect();
    await(got, 3);
    for (int i = 0; i < 3; i++) {
        if (got->reconsume_times[i] != i || strcmp(got->bodies[i], "again-0") != 0) {
            fail("delivery %d: %s, reconsumed %d times", i, got->bodies[i],
                 got->reconsume_times[i]);
        }
    }
}

/* Pull a queue from `offset` once; `received` counts the bodies, which must be pull-0, pull-1 ...
 */
static long long pull_some(struct cpp_pull *consumer, struct cpp_queue *queue, long long offset,
                           int *received)
{
    struct cpp_pulled pulled = Pull(consumer, queue, "*", offset, 7);
    if (pulled.status != CPP_FOUND) {
        return offset;
    }
    for (int at = 0; at < pulled.size; at++) {
        char body[BODY_MAX];
        snprintf(body, sizeof body, "pull-%d", (*received)++);
        if (strcmp(body, GetMessageBody(pulled.messages[at])) != 0) {
            fail("%s in place of %s", GetMessageBody(pulled.messages[at]), body);
        }
    }
    must(ReleasePullResult(pulled), "ReleasePullResult");
    return pulled.next_offset;
}

static void pull_all(void)
{
    int zero = 0;
    struct cpp_producer *producer = new_producer();
    for (int i = 0; i < 50; i++) {
        struct cpp_sent sent = {.status = -1};
        must(SendMessageOrderly(producer, numbered("pull", i), select_queue, &zero, 3, &sent),
             "SendMessageOrderly");
    }
    struct cpp_pull *consumer = new_puller();
    struct cpp_queue *queues;
    int size;
    int received = 0;
    long long offsets[16] = {0};
    must(FetchSubscriptionMessageQueues(consumer, topic, &queues, &size), "the topic's queues");
    for (int64_t end = now_ms() + WAIT_S * 1000; received < 50 && now_ms() < end;) {
        for (int i = 0; i < size && i < 16; i++) {
            offsets[i] = pull_some(consumer, &queues[i], offsets[i], &received);
        }
    }
    if (received != 50) {
        fail("%d messages were pulled, 50 sent", received);
    }
    must(ReleaseSubscriptionMessageQueue(queues), "ReleaseSubscriptionMessageQueue");
}

static void same(const char *expected, const char *actual, const char *what)
{
    if (actual == NULL || strcmp(expected, actual) != 0) {
        fail("%s: %s in place of %s", what, actual == NULL ? "nothing" : actual, expected);
    }
}

static void properties(void)
{
    struct cpp_message *message = new_message("TagX", "a body");
    must(SetMessageKeys(message, "one-key"), "SetMessageKeys");
    must(SetMessageProperty(message, "colour", "bl\xc3\xa4ulich"), "SetMessageProperty");
    struct cpp_sent sent = send_one(new_producer(), message);
    struct cpp_pulled pulled = pull_only(new_puller());
    same("a body", GetMessageBody(pulled.messages[0]), "body");
    same(topic, GetMessageTopic(pulled.messages[0]), "topic");
    same("TagX", GetMessageTags(pulled.messages[0]), "tag");
    same("one-key", GetMessageKeys(pulled.messages[0]), "key");
    same("bl\xc3\xa4ulich", GetMessageProperty(pulled.messages[0], "colour"), "property");
    if (GetMessageQueueOffset(pulled.messages[0]) != sent.offset || sent.offset != 0) {
        fail("offset %lld", GetMessageQueueOffset(pulled.messages[0]));
    }
}

static void compressed_body(void)
{
    static char body[120000]; /* the library takes 128 KiB at most */
    for (size_t i = 0; i + 1 < sizeof body; i++) {
        body[i] = "a line that compresses well\n"[i % 28];
    }
    struct cpp_message *message = CreateMessage(topic);
    must(SetByteMessageBody(message, body, (int)strlen(body)), "SetByteMessageBody");
    send_one(new_producer(), message);
    struct cpp_pulled pulled = pull_only(new_puller());
    if (strcmp(body, GetMessageBody(pulled.messages[0])) != 0) {
        fail("the body changed");
    }
}

/* The second member begins where the first stopped. */
static void offsets_survive(void)
{
    struct cpp_producer *producer = new_producer();
    send_many(producer, "early", 30);
    await_exactly(collect(), "early", 30);
    must(ShutdownPushConsumer(collectors[0].consumer), "ShutdownPushConsumer");
    send_many(producer, "late", 20);
    await_exactly(listen_as(1, "*", CPP_CLUSTERING, false), "late", 20);
}

static int execute(struct cpp_producer *producer, struct cpp_message *message, void *data)
{
    (void)producer;
    (void)message;
    return *(int *)data;
}

static int check_back(struct cpp_producer *producer, struct cpp_received *message, void *data)
{
    (void)producer;
    (void)data;
    return strncmp(GetMessageBody(message), "good", 4) == 0 ? CPP_COMMIT : CPP_ROLLBACK;
}

static void in_transaction(struct cpp_producer *producer, const char *word, int number, int outcome)
{
    struct cpp_sent sent = {.status = -1};
    must(SendMessageTransaction(producer, numbered(word, number), execute, &outcome, &sent),
         "SendMessageTransaction");
}

static struct cpp_producer *transactional(void)
{
    if (CreateTransactionProducer == NULL || SendMessageTransaction == NULL) {
        printf("the library has no transactions");
        exit(SKIPPED);
    }
    /* Creates the topic with another tag: half messages are for another one. */
    send_one(new_producer(), new_message("plain", "plain"));
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "T%s", group);
    return begin(CreateTransactionProducer(name, check_back, NULL));
}

static void transaction(void)
{
    struct cpp_producer *producer = transactional();
    for (int i = 0; i < 10; i++) {
        in_transaction(producer, "good", i, CPP_COMMIT);
        in_transaction(producer, "bad", i, CPP_ROLLBACK);
    }
    await_exactly(listen_as(0, "A", CPP_CLUSTERING, false), "good", 10);
}

static void transaction_check(void)
{
    struct cpp_producer *producer = transactional();
    for (int i = 0; i < 3; i++) {
        in_transaction(producer, "good", i, CPP_UNKNOWN);
        in_transaction(producer, "bad", i, CPP_UNKNOWN);
    }
    await_exactly(listen_as(0, "A", CPP_CLUSTERING, false), "good", 3);
}

static const struct test_case {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"send/sync", send_sync},
    {"send/async", send_async},
    {"send/oneway", send_oneway},
    {"send/batch", send_batch},
    {"send/delay", delay},
    {"send/properties", properties},
    {"send/compressed-body", compressed_body},
    {"send/sharding-key", sharding_key},
    {"consume/tag-filter", tag_filter},
    {"consume/orderly", orderly},
    {"consume/broadcasting", broadcasting},
    {"consume/pull", pull_all},
    {"consume/offsets-survive-restart", offsets_survive},
    {"retry/consume-retry-later", retry_later},
    {"transaction/commit-and-rollback", transaction},
    {"transaction/check-back", transaction_check},
};

/* --- running ---------------------------------------------------------------------------------- */

static bool is_unserved(const char *name)
{
    const char *list = getenv("UNSERVED");
    size_t size = strlen(name);
    for (const char *at = list; at != NULL && *at != '\0'; at = strchr(at, ',') + 1) {
        size_t one = strcspn(at, ",");
        if (one == size && memcmp(at, name, size) == 0) {
            return true;
        }
        if (at[one] == '\0') {
            break;
        }
    }
    return false;
}

/* Returns the exit status of the case's process; `reason` gets the first line that it printed. */
static int run_case(const struct test_case *one, char *reason, size_t reason_size)
{
    int pipes[2];
    if (pipe(pipes) != 0) {
        snprintf(reason, reason_size, "no pipe");
        return 1;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        alarm(CASE_S);
        snprintf(topic, sizeof topic, "CPP_%lld_%d", (long long)now_ms(), (int)getpid());
        snprintf(group, sizeof group, "G%s", topic);
        one->run();
        fflush(stdout);
        _exit(0);
    }
    close(pipes[1]);
    ssize_t size = read(pipes[0], reason, reason_size - 1);
    reason[size > 0 ? (size_t)size : 0] = '\0';
    reason[strcspn(reason, "\n")] = '\0';
    close(pipes[0]);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return 1;
    }
    if (WIFSIGNALED(status)) {
        snprintf(reason, reason_size, "ended by signal %d", WTERMSIG(status));
        return 1;
    }
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: interop NAMESRV_HOST:PORT PREFIX [FILTER]\n");
        return 2;
    }
    namesrv = argv[1];
    int passed = 0;
    int failed = 0;
    int skipped = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[NAME_MAX_BYTES];
        char reason[1024] = "the broker does not serve this yet";
        snprintf(name, sizeof name, "%s/%s", argv[2], cases[i].name);
        if (argc > 3 && strstr(name, argv[3]) == NULL) {
            continue;
        }
        int status = is_unserved(name) ? SKIPPED : run_case(&cases[i], reason, sizeof reason);
        if (status == 0) {
            printf("ok %s\n", name);
        } else {
            printf("%s %s %s\n", status == SKIPPED ? "skipped" : "FAILED", name, reason);
        }
        passed += status == 0;
        skipped += status == SKIPPED;
        failed += status != 0 && status != SKIPPED;
    }
    printf("%s: %d passed, %d failed, %d skipped\n", argv[2], passed, failed, skipped);
    return failed > 0 || passed == 0;
}
