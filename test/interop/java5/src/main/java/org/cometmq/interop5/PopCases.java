/* SPDX-License-Identifier: Apache-2.0
 *
 * Push consumers in pop mode, with the client of 5.3.3.
 */
package org.cometmq.interop5;

import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;

final class PopCases {
  /** The shortest that the client lets one set. */
  private static final long INVISIBLE_MS = 5000;

  private PopCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("pop/all", PopCases::all);
    cases.put("pop/shared", PopCases::shared);
    cases.put("pop/tags", PopCases::tags);
    cases.put("pop/while-sending", PopCases::whileSending);
    cases.put("pop/retry", PopCases::retry);
    cases.put("pop/crash", PopCases::crash);
    cases.put("pop/switch-to-pull", PopCases::switchToPull);
  }

  private static DefaultMQPushConsumer start(
      Bench bench, String group, String topic, String tags, MessageListenerConcurrently listener)
      throws Exception {
    DefaultMQPushConsumer consumer = bench.assignedConsumer(group);
    consumer.setPopInvisibleTime(60000);
    consumer.subscribe(topic, tags);
    consumer.registerMessageListener(listener);
    consumer.start();
    return consumer;
  }

  /** What mqadmin's consumerProgress shows. */
  private static void awaitProgress(Bench bench, String group, String topic) throws Exception {
    Bench.await(
        "the group's progress",
        () -> {
          ConsumeStats stats = bench.admin().examineConsumeStats(group, topic);
          return !stats.getOffsetTable().isEmpty() && stats.computeTotalDiff() == 0;
        });
  }

  private static void all(Bench bench) throws Exception {
    String topic = bench.topic(4);
    String group = bench.group(topic, MessageRequestMode.POP, 0);
    Set<String> bodies = bench.send(topic, "A", "m", 200);
    Collector collector = new Collector();
    start(bench, group, topic, "*", collector);
    collector.awaitExactly(bodies);
    for (MessageExt message : collector.byBody.values()) {
      Bench.check(message.getProperty(MessageConst.PROPERTY_POP_CK) != null, "it was popped");
      Bench.same(topic, message.getTopic(), "topic");
    }
    awaitProgress(bench, group, topic);
  }

  private static void shared(Bench bench) throws Exception {
    String topic = bench.topic(4);
    String group = bench.group(topic, MessageRequestMode.POP, 1);
    Collector collector = new Collector();
    for (int i = 0; i < 4; i++) {
      start(bench, group, topic, "*", collector);
    }
    Set<String> bodies = bench.send(topic, "A", "m", 400);
    collector.awaitExactly(bodies);
    awaitProgress(bench, group, topic);
  }

  private static void tags(Bench bench) throws Exception {
    String topic = bench.topic(2);
    String group = bench.group(topic, MessageRequestMode.POP, 0);
    Set<String> bodies = bench.send(topic, "A", "a", 40);
    bench.send(topic, "B", "b", 40);
    bodies.addAll(bench.send(topic, "C", "c", 40));
    Collector collector = new Collector();
    start(bench, group, topic, "A || C", collector);
    collector.awaitExactly(bodies);
    awaitProgress(bench, group, topic);
  }

  private static void whileSending(Bench bench) throws Exception {
    String topic = bench.topic(8);
    String group = bench.group(topic, MessageRequestMode.POP, 0);
    Collector collector = new Collector();
    for (int i = 0; i < 3; i++) {
      start(bench, group, topic, "*", collector);
    }
    Set<String> bodies = new HashSet<>();
    for (int i = 0; i < 10; i++) {
      bodies.addAll(bench.send(topic, "A", "r" + i + "-", 200));
    }
    collector.awaitExactly(bodies);
    awaitProgress(bench, group, topic);
  }

  /** The client asks for another invisible time, 10 s at least, and the message comes again. */
  private static void retry(Bench bench) throws Exception {
    String topic = bench.topic(2);
    String group = bench.group(topic, MessageRequestMode.POP, 0);
    Set<String> bodies = bench.send(topic, "A", "m", 10);
    Collector second = new Collector();
    Set<String> refused = ConcurrentHashMap.newKeySet();
    start(
        bench,
        group,
        topic,
        "*",
        (messages, context) -> {
          MessageExt message = messages.get(0);
          if (message.getReconsumeTimes() == 0
              && Bench.text(message.getBody()).compareTo("m5") < 0) {
            refused.add(Bench.text(message.getBody()));
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
          }
          return second.consumeMessage(messages, context);
        });
    second.awaitExactly(bodies);
    Bench.same(5, refused.size(), "messages refused once");
    for (String body : refused) {
      MessageExt message = second.byBody.get(body);
      Bench.same(1, message.getReconsumeTimes(), "reconsumeTimes of " + body);
      Bench.same(topic, message.getTopic(), "topic of " + body);
      Bench.check(
          message.getProperty(MessageConst.PROPERTY_FIRST_POP_TIME) != null, "time of first pop");
    }
    awaitProgress(bench, group, topic);
  }

  /** A consumer that never acknowledges and dies: another one gets its messages. */
  private static void crash(Bench bench) throws Exception {
    String topic = bench.topic(2);
    String group = bench.group(topic, MessageRequestMode.POP, 0);
    Set<String> bodies = bench.send(topic, "A", "m", 20);
    Set<String> held = ConcurrentHashMap.newKeySet();
    CountDownLatch never = new CountDownLatch(1);
    DefaultMQPushConsumer first = bench.assignedConsumer(group);
    first.setPopInvisibleTime(INVISIBLE_MS);
    first.setConsumeThreadMin(20);
    first.setConsumeThreadMax(20);
    first.subscribe(topic, "*");
    first.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              messages.forEach(message -> held.add(Bench.text(message.getBody())));
              try {
                never.await();
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
              return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
    first.start();
    Bench.await("the first consumer has them", () -> held.size() >= 20);
    first.suspend();
    Collector collector = new Collector();
    start(bench, group, topic, "*", collector);
    Bench.await("the second consumer has them", () -> collector.byBody.size() >= 20);
    Bench.same(bodies, new HashSet<>(collector.byBody.keySet()), "bodies received");
    for (MessageExt message : collector.byBody.values()) {
      Bench.check(message.getReconsumeTimes() >= 1, "it came again");
    }
    never.countDown();
  }

  /** What was popped and acknowledged does not come again when the group goes over to pulling. */
  private static void switchToPull(Bench bench) throws Exception {
    String topic = bench.topic(2);
    String group = bench.group(topic, MessageRequestMode.POP, 0);
    Set<String> before = bench.send(topic, "A", "popped", 50);
    Collector popped = new Collector();
    DefaultMQPushConsumer popping = start(bench, group, topic, "*", popped);
    popped.awaitExactly(before);
    awaitProgress(bench, group, topic);
    popping.shutdown();
    bench.admin().setMessageRequestMode(
        bench.master(), topic, group, MessageRequestMode.PULL, 0, 10000);
    Set<String> after = bench.send(topic, "A", "pulled", 50);
    Collector pulled = new Collector();
    start(bench, group, topic, "*", pulled);
    pulled.awaitExactly(after);
  }
}
