/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds of consumers, rebalancing, and offsets that outlive a consumer.
 */
package org.cometmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;

final class ConsumeCases {
  private ConsumeCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("consume/tag-filter", ConsumeCases::tagFilter);
    cases.put("consume/orderly", ConsumeCases::orderly);
    cases.put("consume/orderly-suspend", ConsumeCases::orderlySuspend);
    cases.put("consume/broadcasting", ConsumeCases::broadcasting);
    cases.put("consume/pull", ConsumeCases::pull);
    cases.put("consume/lite-pull", ConsumeCases::litePull);
    cases.put("consume/long-poll", ConsumeCases::longPoll);
    cases.put("consume/rebalance", ConsumeCases::rebalance);
    cases.put("consume/offsets-survive-restart", ConsumeCases::restart);
  }

  static Set<String> sendMany(DefaultMQProducer producer, String topic, String word, int count)
      throws Exception {
    Set<String> sent = new HashSet<>();
    for (int i = 0; i < count; i++) {
      producer.send(Bench.message(topic, "A", word + i, word + " " + i));
      sent.add(word + " " + i);
    }
    return sent;
  }

  private static void tagFilter(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    Set<String> expected = new HashSet<>();
    String[] tags = {"TagA", "TagB", "TagC", "AaAa", "BBBB"};
    for (int i = 0; i < 100; i++) {
      String tag = tags[i % tags.length];
      producer.send(Bench.message(topic, tag, "k" + i, tag + " " + i));
      /* AaAa and BBBB have the same Java hash: the consumer must sort them apart. */
      if (tag.equals("TagA") || tag.equals("BBBB")) {
        expected.add(tag + " " + i);
      }
    }
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "TagA || BBBB");
    consumer.registerMessageListener(collector);
    consumer.start();
    collector.awaitExactly(expected);
  }

  private static void orderly(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    for (int i = 0; i < 400; i++) {
      int shard = i % 8;
      producer.send(
          Bench.message(topic, "A", "k" + i, shard + ":" + i),
          (queues, message, arg) -> queues.get((Integer) arg % queues.size()),
          shard);
    }
    Map<Integer, List<Integer>> byShard = new ConcurrentHashMap<>();
    AtomicInteger received = new AtomicInteger();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerOrderly)
            (messages, context) -> {
              for (MessageExt message : messages) {
                String[] parts = Bench.text(message.getBody()).split(":");
                byShard
                    .computeIfAbsent(Integer.valueOf(parts[0]), k -> new CopyOnWriteArrayList<>())
                    .add(Integer.valueOf(parts[1]));
                received.incrementAndGet();
              }
              return ConsumeOrderlyStatus.SUCCESS;
            });
    consumer.start();
    Bench.await("400 messages", () -> received.get() >= 400);
    Bench.same(400, received.get(), "messages received");
    for (Map.Entry<Integer, List<Integer>> entry : byShard.entrySet()) {
      List<Integer> sorted = new ArrayList<>(entry.getValue());
      sorted.sort(null);
      Bench.same(sorted, entry.getValue(), "order of shard " + entry.getKey());
    }
  }

  private static void orderlySuspend(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    sendMany(producer, topic, "m", 10);
    List<String> consumed = new CopyOnWriteArrayList<>();
    AtomicInteger refusals = new AtomicInteger();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.setSuspendCurrentQueueTimeMillis(100);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerOrderly)
            (messages, context) -> {
              String body = Bench.text(messages.get(0).getBody());
              if (body.equals("m 3") && refusals.incrementAndGet() <= 2) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
              }
              consumed.add(body);
              return ConsumeOrderlyStatus.SUCCESS;
            });
    consumer.start();
    Bench.await("10 messages", () -> consumed.size() >= 10);
    for (int i = 0; i < 10; i++) {
      Bench.same("m " + i, consumed.get(i), "message at place " + i);
    }
    Bench.same(3, refusals.get(), "deliveries of the message that was suspended twice");
  }

  private static void broadcasting(Bench bench) throws Exception {
    String topic = bench.topic(4);
    String group = Bench.unique("C");
    Collector[] collectors = {new Collector(), new Collector()};
    for (Collector collector : collectors) {
      DefaultMQPushConsumer consumer = bench.pushConsumer(group);
      consumer.setMessageModel(MessageModel.BROADCASTING);
      consumer.subscribe(topic, "*");
      consumer.registerMessageListener(collector);
      consumer.start();
    }
    Set<String> sent = sendMany(bench.producer(), topic, "broadcast", 60);
    collectors[0].awaitExactly(sent);
    collectors[1].awaitExactly(sent);
  }

  private static void pull(Bench bench) throws Exception {
    String topic = bench.topic(4);
    Set<String> sent = sendMany(bench.producer(), topic, "pull", 100);
    DefaultMQPullConsumer consumer = bench.pullConsumer();
    Set<String> received = new HashSet<>();
    Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
    Bench.same(4, queues.size(), "queues");
    for (MessageQueue queue : queues) {
      long offset = consumer.minOffset(queue);
      while (true) {
        PullResult result = consumer.pull(queue, "*", offset, 7);
        if (result.getPullStatus() != PullStatus.FOUND) {
          Bench.same(PullStatus.NO_NEW_MSG, result.getPullStatus(), "status at the end");
          Bench.same(offset, result.getNextBeginOffset(), "next offset at the end");
          break;
        }
        Bench.check(result.getMsgFoundList().size() <= 7, "more than asked for");
        Bench.same(offset, result.getMsgFoundList().get(0).getQueueOffset(), "first offset");
        for (MessageExt message : result.getMsgFoundList()) {
          Bench.check(received.add(Bench.text(message.getBody())), "received twice");
        }
        offset = result.getNextBeginOffset();
      }
      PullResult beyond = consumer.pull(queue, "*", offset + 1000, 7);
      Bench.same(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "status beyond the end");
      /* 4.9.2 corrects to 0 while the queue still begins there, otherwise to the end. */
      Bench.same(0L, beyond.getNextBeginOffset(), "corrected offset");
      consumer.updateConsumeOffset(queue, offset);
      Bench.same(offset, consumer.fetchConsumeOffset(queue, false), "offset kept in memory");
    }
    Bench.same(sent, received, "bodies received");
  }

  private static void litePull(Bench bench) throws Exception {
    String topic = bench.topic(4);
    String group = Bench.unique("LITE");
    Set<String> sent = sendMany(bench.producer(), topic, "lite", 100);
    DefaultLitePullConsumer consumer = bench.litePullConsumer(group);
    consumer.setPullBatchSize(16);
    consumer.subscribe(topic, "*");
    consumer.start();
    Set<String> received = new HashSet<>();
    Bench.await(
        "100 messages by poll",
        () -> {
          for (MessageExt message : consumer.poll(200)) {
            received.add(Bench.text(message.getBody()));
          }
          return received.size() >= 100;
        });
    Bench.same(sent, received, "bodies received");
    consumer.commitSync();

    DefaultLitePullConsumer assigned = bench.litePullConsumer(Bench.unique("LITE"));
    assigned.start();
    List<MessageQueue> queues = new ArrayList<>(assigned.fetchMessageQueues(topic));
    assigned.assign(queues);
    Set<String> all = new HashSet<>();
    Bench.await(
        "100 messages of the assigned queues",
        () -> {
          for (MessageExt message : assigned.poll(200)) {
            all.add(Bench.text(message.getBody()));
          }
          return all.size() >= 100;
        });
    for (MessageQueue queue : queues) {
      assigned.seek(queue, 20);
    }
    Set<String> again = new HashSet<>();
    Set<Long> offsets = new HashSet<>();
    Bench.await(
        "what lies behind offset 20, once more",
        () -> {
          for (MessageExt message : assigned.poll(200)) {
            again.add(Bench.text(message.getBody()));
            offsets.add(message.getQueueOffset());
          }
          return again.size() >= 20;
        });
    Bench.same(new HashSet<>(Arrays.asList(20L, 21L, 22L, 23L, 24L)), offsets, "offsets after seek");
  }

  /** A message for a waiting consumer must not wait for the next poll, which may be 15 s away. */
  private static void longPoll(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    Collector collector = SendCases.collect(bench, topic);
    producer.send(Bench.message(topic, "A", "k", "first"));
    Bench.await("the first message", () -> collector.byBody.size() == 1);
    Thread.sleep(1500);
    List<Long> waits = new ArrayList<>();
    for (int i = 0; i < 9; i++) {
      String body = "later " + i;
      long start = System.nanoTime();
      producer.send(Bench.message(topic, "A", "k", body));
      Bench.await(body, () -> collector.byBody.containsKey(body));
      waits.add((System.nanoTime() - start) / 1_000_000);
    }
    waits.sort(null);
    Bench.check(waits.get(4) < 4000, "milliseconds until a waiting consumer has it: " + waits);
  }

  private static int queuesOf(DefaultMQPushConsumer consumer, String topic) {
    int count = 0;
    for (MessageQueue queue :
        consumer
            .getDefaultMQPushConsumerImpl()
            .getRebalanceImpl()
            .getProcessQueueTable()
            .keySet()) {
      count += queue.getTopic().equals(topic) ? 1 : 0;
    }
    return count;
  }

  private static void rebalance(Bench bench) throws Exception {
    String topic = bench.topic(8);
    String group = Bench.unique("C");
    DefaultMQProducer producer = bench.producer();
    Collector[] collectors = {new Collector(), new Collector()};
    DefaultMQPushConsumer[] consumers = new DefaultMQPushConsumer[2];
    for (int i = 0; i < 2; i++) {
      consumers[i] = bench.pushConsumer(group);
      consumers[i].subscribe(topic, "*");
      consumers[i].registerMessageListener(collectors[i]);
      consumers[i].start();
    }
    Bench.await(
        "4 queues each",
        () -> queuesOf(consumers[0], topic) == 4 && queuesOf(consumers[1], topic) == 4);
    Set<String> sent = sendMany(producer, topic, "both", 200);
    Bench.await(
        "200 messages by two consumers",
        () -> collectors[0].byBody.size() + collectors[1].byBody.size() >= 200);
    Set<String> union = new HashSet<>(collectors[0].byBody.keySet());
    union.addAll(collectors[1].byBody.keySet());
    Bench.same(sent, union, "bodies received by both");
    Bench.same(100, collectors[0].byBody.size(), "share of the first");
    Bench.same(
        200, collectors[0].byBody.size() + collectors[1].byBody.size(), "nothing received by both");

    consumers[1].shutdown();
    Bench.await("8 queues at the one that stays", () -> queuesOf(consumers[0], topic) == 8);
    Set<String> later = sendMany(producer, topic, "one", 80);
    Bench.await(
        "80 messages by the one that stays",
        () -> collectors[0].byBody.keySet().containsAll(later));
    Bench.check(collectors[0].repeated.isEmpty(), "repeated: " + collectors[0].repeated);
  }

  private static void restart(Bench bench) throws Exception {
    String topic = bench.topic(4);
    String group = Bench.unique("C");
    DefaultMQProducer producer = bench.producer();
    Set<String> early = sendMany(producer, topic, "early", 100);
    Collector first = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(group);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(first);
    // Else what the listener has seen may not be counted yet when the client tells its offsets.
    consumer.setAwaitTerminationMillisWhenShutdown(60000);
    consumer.start();
    first.awaitExactly(early);
    consumer.shutdown();
    Set<String> late = sendMany(producer, topic, "late", 50);
    Collector second = new Collector();
    DefaultMQPushConsumer again = bench.pushConsumer(group);
    again.subscribe(topic, "*");
    again.registerMessageListener(second);
    again.start();
    second.awaitExactly(late);
  }
}
