/* SPDX-License-Identifier: Apache-2.0
 *
 * Producers and the consumers that pull, with the client of 5.3.3.
 */
package org.cometmq.interop5;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;

final class PullCases {
  private PullCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("producer", PullCases::producer);
    cases.put("push/client-rebalance", PullCases::push);
    cases.put("push/broker-rebalance", PullCases::assigned);
    cases.put("push/orderly", PullCases::orderly);
    cases.put("push/retry", PullCases::retry);
    cases.put("lite-pull", PullCases::litePull);
  }

  private static void producer(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    Set<String> bodies = new HashSet<>();
    SendResult one = producer.send(Bench.message(topic, "A", "sync"));
    bodies.add("sync");
    Bench.same(SendStatus.SEND_OK, one.getSendStatus(), "status");
    Bench.same(topic, one.getMessageQueue().getTopic(), "topic");
    List<Message> batch = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      batch.add(Bench.message(topic, "A", "batch" + i));
      bodies.add("batch" + i);
    }
    Bench.same(SendStatus.SEND_OK, producer.send(batch).getSendStatus(), "status of a batch");
    CountDownLatch answered = new CountDownLatch(10);
    AtomicInteger failed = new AtomicInteger();
    for (int i = 0; i < 10; i++) {
      bodies.add("async" + i);
      producer.send(
          Bench.message(topic, "A", "async" + i),
          new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
              answered.countDown();
            }

            @Override
            public void onException(Throwable error) {
              failed.incrementAndGet();
              answered.countDown();
            }
          });
    }
    Bench.check(answered.await(60, TimeUnit.SECONDS), "answers of asynchronous sends");
    Bench.same(0, failed.get(), "asynchronous sends that failed");
    producer.sendOneway(Bench.message(topic, "A", "oneway"));
    bodies.add("oneway");
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(collector);
    consumer.start();
    collector.awaitExactly(bodies);
  }

  private static void push(Bench bench) throws Exception {
    String topic = bench.topic(4);
    Set<String> bodies = bench.send(topic, "A", "a", 50);
    bench.send(topic, "B", "b", 50);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "A");
    consumer.registerMessageListener(collector);
    consumer.start();
    collector.awaitExactly(bodies);
  }

  /** The broker shares the queues out; the consumers pull. */
  private static void assigned(Bench bench) throws Exception {
    String topic = bench.topic(4);
    String group = bench.group(topic, MessageRequestMode.PULL, 0);
    Collector collector = new Collector();
    for (int i = 0; i < 2; i++) {
      DefaultMQPushConsumer consumer = bench.assignedConsumer(group);
      consumer.subscribe(topic, "*");
      consumer.registerMessageListener(collector);
      consumer.start();
    }
    /* While queues change hands a message may come twice. */
    Set<String> bodies = bench.send(topic, "A", "m", 200);
    Bench.await("all messages", () -> collector.byBody.keySet().containsAll(bodies));
  }

  private static void orderly(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer producer = bench.producer();
    for (int i = 0; i < 60; i++) {
      int key = i % 3;
      producer.send(
          Bench.message(topic, "A", key + ":" + i),
          (queues, message, arg) -> queues.get((Integer) arg % queues.size()),
          key);
    }
    Map<String, List<Integer>> byKey = new ConcurrentHashMap<>();
    AtomicInteger count = new AtomicInteger();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerOrderly)
            (messages, context) -> {
              for (MessageExt message : messages) {
                String[] parts = Bench.text(message.getBody()).split(":");
                byKey
                    .computeIfAbsent(parts[0], key -> new ArrayList<>())
                    .add(Integer.parseInt(parts[1]));
                count.incrementAndGet();
              }
              return ConsumeOrderlyStatus.SUCCESS;
            });
    consumer.start();
    Bench.await("60 messages", () -> count.get() >= 60);
    for (Map.Entry<String, List<Integer>> entry : byKey.entrySet()) {
      List<Integer> sorted = new ArrayList<>(entry.getValue());
      sorted.sort(null);
      Bench.same(sorted, entry.getValue(), "order of key " + entry.getKey());
    }
  }

  private static void retry(Bench bench) throws Exception {
    String topic = bench.topic(2);
    Set<String> bodies = bench.send(topic, "A", "m", 5);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              if (messages.get(0).getReconsumeTimes() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
              }
              return collector.consumeMessage(messages, context);
            });
    consumer.start();
    collector.awaitExactly(bodies);
  }

  private static void litePull(Bench bench) throws Exception {
    String topic = bench.topic(4);
    Set<String> bodies = bench.send(topic, "A", "m", 100);
    Collector collector = new Collector();
    DefaultLitePullConsumer consumer = bench.litePullConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.start();
    Bench.await(
        "100 messages",
        () -> {
          consumer.poll(500).forEach(collector::add);
          return collector.byBody.size() >= bodies.size();
        });
    collector.awaitExactly(bodies);
    consumer.commit();
  }
}
