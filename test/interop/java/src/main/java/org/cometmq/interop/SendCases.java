/* SPDX-License-Identifier: Apache-2.0
 *
 * Every way to send, checked by what a push consumer receives.
 */
package org.cometmq.interop;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.ResponseCode;

final class SendCases {
  private SendCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("send/sync", SendCases::sync);
    cases.put("send/async", SendCases::async);
    cases.put("send/oneway", SendCases::oneway);
    cases.put("send/batch", SendCases::batch);
    cases.put("send/by-queue-and-selector", SendCases::byQueueAndSelector);
    cases.put("send/largest-body", SendCases::largest);
    cases.put("send/compressed-beyond-the-limit", SendCases::compressedBeyond);
    cases.put("send/auto-created-topic", SendCases::autoCreated);
    cases.put("send/compressed-body", SendCases::compressed);
    cases.put("send/properties", SendCases::properties);
    cases.put("send/delayed", SendCases::delayed);
    cases.put("error/topic-illegal", SendCases::topicIllegal);
    cases.put("error/body-too-large", SendCases::bodyTooLarge);
    cases.put("error/no-such-topic", SendCases::noSuchTopic);
  }

  static Collector collect(Bench bench, String topic) throws Exception {
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(collector);
    consumer.start();
    return collector;
  }

  private static void sync(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    Set<String> sent = new HashSet<>();
    Set<Integer> queues = new HashSet<>();
    for (int i = 0; i < 100; i++) {
      SendResult result = producer.send(Bench.message(topic, "A", "k" + i, "sync " + i));
      Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
      Bench.same(32, result.getOffsetMsgId().length(), "length of the offset message id");
      queues.add(result.getMessageQueue().getQueueId());
      sent.add("sync " + i);
    }
    Bench.same(4, queues.size(), "queues used");
    collect(bench, topic).awaitExactly(sent);
  }

  private static void async(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    Set<String> sent = new HashSet<>();
    CountDownLatch answered = new CountDownLatch(200);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    for (int i = 0; i < 200; i++) {
      sent.add("async " + i);
      producer.send(
          Bench.message(topic, "A", "k" + i, "async " + i),
          new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
              answered.countDown();
            }

            @Override
            public void onException(Throwable error) {
              failure.set(error);
              answered.countDown();
            }
          });
    }
    Bench.check(answered.await(Bench.PATIENCE_SECONDS, TimeUnit.SECONDS), "not every send was answered");
    Bench.check(failure.get() == null, "a send failed: " + failure.get());
    collect(bench, topic).awaitExactly(sent);
  }

  private static void oneway(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    Set<String> sent = new HashSet<>();
    for (int i = 0; i < 100; i++) {
      producer.sendOneway(Bench.message(topic, "A", "k" + i, "oneway " + i));
      sent.add("oneway " + i);
    }
    collect(bench, topic).awaitExactly(sent);
  }

  private static void batch(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    List<Message> messages = new ArrayList<>();
    Set<String> sent = new HashSet<>();
    for (int i = 0; i < 50; i++) {
      messages.add(Bench.message(topic, "A", "k" + i, "batch " + i));
      sent.add("batch " + i);
    }
    SendResult result = producer.send(messages);
    Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
    Bench.same(50, result.getMsgId().split(",").length, "unique ids");
    Bench.same(50, result.getOffsetMsgId().split(",").length, "offset message ids");
    Collector collector = collect(bench, topic);
    collector.awaitExactly(sent);
    Bench.same("k7", collector.byBody.get("batch 7").getKeys(), "keys of message 7");
    Bench.same(7L, collector.byBody.get("batch 7").getQueueOffset(), "queue offset of message 7");
  }

  /** Sync, async and one-way, each to a named queue and by a selector. */
  private static void byQueueAndSelector(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    MessageQueueSelector selector = (queues, message, arg) -> queues.get((Integer) arg);
    List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
    CountDownLatch answered = new CountDownLatch(2);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    SendCallback callback =
        new SendCallback() {
          @Override
          public void onSuccess(SendResult result) {
            answered.countDown();
          }

          @Override
          public void onException(Throwable error) {
            failure.set(error);
            answered.countDown();
          }
        };
    SendResult toQueue = producer.send(Bench.message(topic, "A", "k", "3 a"), queues.get(3));
    Bench.same(queues.get(3), toQueue.getMessageQueue(), "queue");
    SendResult selected = producer.send(Bench.message(topic, "A", "k", "2 b"), selector, 2);
    Bench.same(2, selected.getMessageQueue().getQueueId(), "queue selected");
    producer.send(Bench.message(topic, "A", "k", "1 c"), queues.get(1), callback);
    producer.send(Bench.message(topic, "A", "k", "0 d"), selector, 0, callback);
    producer.sendOneway(Bench.message(topic, "A", "k", "3 e"), queues.get(3));
    producer.sendOneway(Bench.message(topic, "A", "k", "1 f"), selector, 1);
    SendResult batch =
        producer.send(Arrays.asList(Bench.message(topic, "A", "k", "2 g")), queues.get(2));
    Bench.same(2, batch.getMessageQueue().getQueueId(), "queue of the batch");
    Bench.check(answered.await(Bench.PATIENCE_SECONDS, TimeUnit.SECONDS), "not every send was answered");
    Bench.check(failure.get() == null, "a send failed: " + failure.get());
    Collector collector = collect(bench, topic);
    collector.awaitExactly(
        new HashSet<>(Arrays.asList("3 a", "2 b", "1 c", "0 d", "3 e", "1 f", "2 g")));
    for (MessageExt message : collector.byBody.values()) {
      Bench.same(
          Bench.text(message.getBody()).substring(0, 1),
          String.valueOf(message.getQueueId()),
          "queue of " + Bench.text(message.getBody()));
    }
  }

  /** Just below 4 MiB with all that belongs to the message, and just above. */
  private static void largest(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    producer.setRetryTimesWhenSendFailed(0);
    producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
    byte[] body = new byte[4 * 1024 * 1024];
    new Random(2).nextBytes(body);
    try {
      producer.send(new Message(topic, "A", "k", body), 20000);
      throw new AssertionError("4 MiB of body and more around it were taken");
    } catch (MQBrokerException error) {
      Bench.same(ResponseCode.MESSAGE_ILLEGAL, error.getResponseCode(), "code");
      Bench.check(
          error.getErrorMessage().startsWith("the message is illegal, maybe msg body or properties"),
          "remark: " + error.getErrorMessage());
    }
    byte[] smaller = Arrays.copyOf(body, body.length - 1024);
    SendResult result = producer.send(new Message(topic, "A", "k", smaller), 20000);
    Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
    Collector collector = collect(bench, topic);
    Bench.await("the message", () -> !collector.byBody.isEmpty());
    MessageExt received = collector.byBody.values().iterator().next();
    Bench.check(Arrays.equals(smaller, received.getBody()), "the body differs");
  }

  /** What counts is the size on its way. */
  private static void compressedBeyond(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    producer.setMaxMessageSize(16 * 1024 * 1024);
    byte[] body = new byte[12_000_000];
    for (int i = 0; i < body.length; i++) {
      body[i] = (byte) ('a' + i % 20);
    }
    producer.send(new Message(topic, "A", "k", body), 20000);
    Collector collector = collect(bench, topic);
    Bench.await("the message", () -> !collector.byBody.isEmpty());
    MessageExt received = collector.byBody.values().iterator().next();
    Bench.check(Arrays.equals(body, received.getBody()), "the body differs");
  }

  private static void autoCreated(Bench bench) throws Exception {
    String topic = Bench.unique("AUTO");
    DefaultMQProducer producer = bench.producer();
    SendResult result = producer.send(Bench.message(topic, "A", "k", "auto"));
    Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
    bench.admin();
    Bench.await("route of the new topic", () -> bench.hasRoute(topic));
    int queues =
        bench.admin().examineTopicRouteInfo(topic).getQueueDatas().get(0).getWriteQueueNums();
    Bench.same(4, queues, "queues of the new topic");
    collect(bench, topic).awaitExactly(new HashSet<>(Arrays.asList("auto")));
  }

  private static void compressed(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    StringBuilder text = new StringBuilder();
    while (text.length() < 2_000_000) {
      text.append("a line that compresses well, number ").append(text.length()).append('\n');
    }
    producer.send(Bench.message(topic, "A", "k", text.toString()));
    Collector collector = collect(bench, topic);
    Bench.await("the message", () -> !collector.byBody.isEmpty());
    MessageExt received = collector.byBody.get(text.toString());
    Bench.check(received != null, "the body differs");
    Bench.check((received.getSysFlag() & 1) != 0, "the message was not compressed on its way");
    Bench.check(received.getStoreSize() < 500_000, "stored size is " + received.getStoreSize());
  }

  private static void properties(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    Message message = Bench.message(topic, "TagX", "key1 key2", "with properties");
    message.putUserProperty("colour", "blue = \"grün\" \\ {}");
    message.setFlag(77);
    long before = System.currentTimeMillis();
    SendResult result = producer.send(message);
    Collector collector = collect(bench, topic);
    Bench.await("the message", () -> !collector.byBody.isEmpty());
    MessageExt received = collector.byBody.get("with properties");
    Bench.same("TagX", received.getTags(), "tags");
    Bench.same("key1 key2", received.getKeys(), "keys");
    Bench.same("blue = \"grün\" \\ {}", received.getUserProperty("colour"), "user property");
    Bench.same(77, received.getFlag(), "flag");
    Bench.same(result.getMsgId(), received.getMsgId(), "unique id");
    Bench.same(result.getQueueOffset(), received.getQueueOffset(), "queue offset");
    Bench.check(
        Math.abs(received.getBornTimestamp() - before) < 60_000
            && Math.abs(received.getStoreTimestamp() - before) < 60_000,
        "time stamps are off");
    Bench.check(received.getBornHostString() != null, "born host is missing");
  }

  private static void delayed(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer producer = bench.producer();
    Collector collector = collect(bench, topic);
    Message message = Bench.message(topic, "A", "k", "delayed");
    message.setDelayTimeLevel(1);
    long before = System.currentTimeMillis();
    producer.send(message);
    Bench.await("the message", () -> !collector.byBody.isEmpty());
    long waited = System.currentTimeMillis() - before;
    MessageExt received = collector.byBody.get("delayed");
    Bench.same(topic, received.getTopic(), "topic");
    Bench.check(waited >= 900, "a message of level 1 (1 s) came after " + waited + " ms");
  }

  private static void topicIllegal(Bench bench) throws Exception {
    try {
      bench
          .admin()
          .createAndUpdateTopicConfig(
              bench.master(), new org.apache.rocketmq.common.TopicConfig("no blanks!", 1, 1, 6));
    } catch (MQClientException error) {
      Bench.same(ResponseCode.SYSTEM_ERROR, error.getResponseCode(), "code");
      Bench.check(error.getErrorMessage().contains("topic"), "remark: " + error.getErrorMessage());
      return;
    }
    throw new AssertionError("a topic with blanks was created");
  }

  private static void bodyTooLarge(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    producer.setMaxMessageSize(16 * 1024 * 1024);
    byte[] body = new byte[5 * 1024 * 1024];
    new Random(1).nextBytes(body);
    try {
      producer.send(new Message(topic, "A", "k", ByteBuffer.wrap(body).array()), 20000);
    } catch (MQBrokerException error) {
      Bench.same(ResponseCode.MESSAGE_ILLEGAL, error.getResponseCode(), "code");
      Set<String> sent = new HashSet<>(Arrays.asList("small"));
      producer.send(Bench.message(topic, "A", "k", "small"));
      collect(bench, topic).awaitExactly(sent);
      return;
    }
    throw new AssertionError("a body of 5 MiB was taken");
  }

  private static void noSuchTopic(Bench bench) throws Exception {
    try {
      bench.admin().examineTopicRouteInfo(Bench.unique("NOBODY"));
    } catch (MQClientException error) {
      Bench.same(ResponseCode.TOPIC_NOT_EXIST, error.getResponseCode(), "code");
      return;
    }
    throw new AssertionError("an unknown topic has a route");
  }
}
