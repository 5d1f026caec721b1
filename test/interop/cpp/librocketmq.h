/* SPDX-License-Identifier: Apache-2.0
 *
 * What the suite uses of the C functions of rocketmq-client-cpp. Packages bring the library without
 * its headers, so its binary interface is declared here. Functions that versions before 2.0 lack
 * are weak: NULL where they are not there.
 */
#ifndef TEST_INTEROP_CPP_LIBROCKETMQ_H
#define TEST_INTEROP_CPP_LIBROCKETMQ_H

struct cpp_message;
struct cpp_received;
struct cpp_batch;
struct cpp_producer;
struct cpp_push;
struct cpp_pull;

struct cpp_sent {
    int status; /* 0: SEND_OK */
    char msg_id[256];
    long long offset;
};

/* Passed by value; versions differ in its inside, never look. At least as large as any of them. */
struct cpp_exception {
    char bytes[2048];
};

struct cpp_queue {
    char topic[512];
    char broker_name[256];
    int queue_id;
};

enum { CPP_FOUND, CPP_NO_NEW_MSG, CPP_NO_MATCHED_MSG, CPP_OFFSET_ILLEGAL, CPP_BROKER_TIMEOUT };
enum { CPP_BROADCASTING, CPP_CLUSTERING };
enum { CPP_TRACE_ON, CPP_TRACE_OFF };
enum { CPP_SUCCESS, CPP_RECONSUME_LATER };
enum { CPP_COMMIT, CPP_ROLLBACK, CPP_UNKNOWN };

struct cpp_pulled {
    int status;
    long long next_offset;
    long long min_offset;
    long long max_offset;
    struct cpp_received **messages;
    int size;
    void *data;
};

typedef int (*cpp_selector)(int size, struct cpp_message *message, void *arg);
typedef void (*cpp_on_sent)(struct cpp_sent result);
typedef void (*cpp_on_error)(struct cpp_exception error);
typedef int (*cpp_listener)(struct cpp_push *consumer, struct cpp_received *message);
typedef int (*cpp_check)(struct cpp_producer *producer, struct cpp_received *message, void *data);
typedef int (*cpp_execute)(struct cpp_producer *producer, struct cpp_message *message, void *data);

const char *GetLatestErrorMessage(void);

struct cpp_message *CreateMessage(const char *topic);
int DestroyMessage(struct cpp_message *message);
int SetMessageTags(struct cpp_message *message, const char *tags);
int SetMessageKeys(struct cpp_message *message, const char *keys);
int SetByteMessageBody(struct cpp_message *message, const char *body, int size);
int SetMessageProperty(struct cpp_message *message, const char *key, const char *value);
int SetDelayTimeLevel(struct cpp_message *message, int level);

const char *GetMessageTopic(struct cpp_received *message);
const char *GetMessageTags(struct cpp_received *message);
const char *GetMessageKeys(struct cpp_received *message);
const char *GetMessageBody(struct cpp_received *message);
const char *GetMessageProperty(struct cpp_received *message, const char *key);
const char *GetMessageId(struct cpp_received *message);
int GetMessageQueueId(struct cpp_received *message);
int GetMessageReconsumeTimes(struct cpp_received *message);
long long GetMessageBornTimestamp(struct cpp_received *message);
long long GetMessageStoreTimestamp(struct cpp_received *message);
long long GetMessageQueueOffset(struct cpp_received *message);

struct cpp_batch *CreateBatchMessage(void);
int AddMessage(struct cpp_batch *batch, struct cpp_message *message);
int DestroyBatchMessage(struct cpp_batch *batch);

struct cpp_producer *CreateProducer(const char *group);
int DestroyProducer(struct cpp_producer *producer);
int StartProducer(struct cpp_producer *producer);
int ShutdownProducer(struct cpp_producer *producer);
int SetProducerNameServerAddress(struct cpp_producer *producer, const char *address);
int SetProducerInstanceName(struct cpp_producer *producer, const char *name);
int SetProducerSendMsgTimeout(struct cpp_producer *producer, int timeout_ms);
int SendMessageSync(struct cpp_producer *producer, struct cpp_message *message,
                    struct cpp_sent *result);
int SendBatchMessage(struct cpp_producer *producer, struct cpp_batch *batch,
                     struct cpp_sent *result);
int SendMessageAsync(struct cpp_producer *producer, struct cpp_message *message,
                     cpp_on_sent on_sent, cpp_on_error on_error);
int SendMessageOneway(struct cpp_producer *producer, struct cpp_message *message);
int SendMessageOrderly(struct cpp_producer *producer, struct cpp_message *message,
                       cpp_selector selector, void *arg, int retries, struct cpp_sent *result);
int SendMessageOrderlyByShardingKey(struct cpp_producer *producer, struct cpp_message *message,
                                    const char *key, struct cpp_sent *result) __attribute__((weak));
struct cpp_producer *CreateOrderlyProducer(const char *group) __attribute__((weak));
struct cpp_producer *CreateTransactionProducer(const char *group, cpp_check check, void *data)
    __attribute__((weak));
int SendMessageTransaction(struct cpp_producer *producer, struct cpp_message *message,
                           cpp_execute execute, void *data, struct cpp_sent *result)
    __attribute__((weak));

struct cpp_push *CreatePushConsumer(const char *group);
int DestroyPushConsumer(struct cpp_push *consumer);
int StartPushConsumer(struct cpp_push *consumer);
int ShutdownPushConsumer(struct cpp_push *consumer);
int SetPushConsumerNameServerAddress(struct cpp_push *consumer, const char *address);
int SetPushConsumerInstanceName(struct cpp_push *consumer, const char *name);
int SetPushConsumerMessageTrace(struct cpp_push *consumer, int trace) __attribute__((weak));
int SetPushConsumerMessageModel(struct cpp_push *consumer, int model);
int Subscribe(struct cpp_push *consumer, const char *topic, const char *expression);
int RegisterMessageCallback(struct cpp_push *consumer, cpp_listener listener);
int RegisterMessageCallbackOrderly(struct cpp_push *consumer, cpp_listener listener);

struct cpp_pull *CreatePullConsumer(const char *group);
int DestroyPullConsumer(struct cpp_pull *consumer);
int StartPullConsumer(struct cpp_pull *consumer);
int ShutdownPullConsumer(struct cpp_pull *consumer);
int SetPullConsumerNameServerAddress(struct cpp_pull *consumer, const char *address);
int FetchSubscriptionMessageQueues(struct cpp_pull *consumer, const char *topic,
                                   struct cpp_queue **queues, int *size);
int ReleaseSubscriptionMessageQueue(struct cpp_queue *queues);
struct cpp_pulled Pull(struct cpp_pull *consumer, const struct cpp_queue *queue,
                       const char *expression, long long offset, int count);
int ReleasePullResult(struct cpp_pulled result);

#endif
