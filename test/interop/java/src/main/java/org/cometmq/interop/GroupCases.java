/* SPDX-License-Identifier: Apache-2.0
 *
 * How a group of consumers starts, shares and moves: where it begins, what happens when a member
 * crashes, lite pull's control of its queues, and what administrators do to its offsets.
 */
package org.cometmq.interop;

import java.io.File;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.ResponseCode;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

public final class GroupCases {
  private static final String MEMORY_RATIO = "accessMessageInMemoryMaxRatio";

  private GroupCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("group/starts-where-told", GroupCases::startsWhereTold);
    cases.put("group/young-topic", GroupCases::youngTopic);
    cases.put("group/crash", GroupCases::crash);
    cases.put("group/lite-pull-control", GroupCases::litePullControl);
    cases.put("group/reset-offline", GroupCases::resetOffline);
    cases.put("group/reset-to-a-time", GroupCases::resetToATime);
    cases.put("group/clone", GroupCases::clone);
  }

  private static DefaultMQPushConsumer consumer(
      Bench bench, String group, String topic, Collector collector) throws Exception {
    DefaultMQPushConsumer consumer = bench.pushConsumer(group);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(collector);
    return consumer;
  }

  private static Set<MessageQueue> queues(DefaultMQPushConsumer consumer, String topic) {
    return consumer
        .getDefaultMQPushConsumerImpl()
        .getRebalanceImpl()
        .getProcessQueueTable()
        .keySet()
        .stream()
        .filter(queue -> queue.getTopic().equals(topic))
        .collect(Collectors.toSet());
  }

  private static void setMemoryRatio(Bench bench, String value) throws Exception {
    Properties change = new Properties();
    change.setProperty(MEMORY_RATIO, value);
    bench.admin().updateBrokerConfig(bench.master(), change);
  }

  /** First, last and timestamp. A topic counts as young, and is read from its start, unless the
   * broker is told that nothing is in memory. */
  private static void startsWhereTold(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer producer = bench.producer();
    Set<String> early = ConsumeCases.sendMany(producer, topic, "early", 20);
    Thread.sleep(1100);
    String between = UtilAll.timeMillisToHumanString3(System.currentTimeMillis() + 1000);
    Thread.sleep(1100);
    Set<String> middle = ConsumeCases.sendMany(producer, topic, "middle", 20);
    Collector first = new Collector();
    Collector last = new Collector();
    Collector since = new Collector();
    DefaultMQPushConsumer[] consumers = {
      consumer(bench, Bench.unique("FIRST"), topic, first),
      consumer(bench, Bench.unique("LAST"), topic, last),
      consumer(bench, Bench.unique("SINCE"), topic, since),
    };
    consumers[1].setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
    consumers[2].setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
    consumers[2].setConsumeTimestamp(between.substring(0, 14));
    String ratio = bench.admin().getBrokerConfig(bench.master()).getProperty(MEMORY_RATIO);
    setMemoryRatio(bench, "0");
    try {
      for (DefaultMQPushConsumer consumer : consumers) {
        consumer.start();
        Bench.await("its queues", () -> queues(consumer, topic).size() == 2);
      }
    } finally {
      setMemoryRatio(bench, ratio);
    }
    Set<String> late = ConsumeCases.sendMany(producer, topic, "late", 10);
    last.awaitExactly(late);
    Set<String> expected = new HashSet<>(middle);
    expected.addAll(late);
    since.awaitExactly(expected);
    expected.addAll(early);
    first.awaitExactly(expected);
  }

  private static void youngTopic(Bench bench) throws Exception {
    String topic = bench.topic(2);
    Set<String> sent = ConsumeCases.sendMany(bench.producer(), topic, "m", 10);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = consumer(bench, Bench.unique("C"), topic, collector);
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
    consumer.start();
    collector.awaitExactly(sent);
  }

  /** The member of the case `crash` that dies: a process of its own. */
  public static void main(String[] args) throws Exception {
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[1]);
    consumer.setNamesrvAddr(args[0]);
    consumer.subscribe(args[2], "*");
    consumer.registerMessageListener(new Collector());
    consumer.start();
    Thread.sleep(120_000);
    System.exit(0);
  }

  private static Process startMember(Bench bench, String group, String topic) throws Exception {
    String java = System.getProperty("java.home") + File.separator + "bin" + File.separator + "java";
    ProcessBuilder builder =
        new ProcessBuilder(
            java,
            "-Xmx128m",
            "-Duser.home=" + System.getProperty("user.home"),
            "-Drocketmq.client.logUseSlf4j=true",
            "-cp",
            System.getProperty("java.class.path"),
            GroupCases.class.getName(),
            bench.namesrv,
            group,
            topic);
    builder.redirectErrorStream(true);
    builder.redirectOutput(new File("/dev/null"));
    return builder.start();
  }

  private static void crash(Bench bench) throws Exception {
    String topic = bench.topic(8);
    String group = Bench.unique("C");
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = consumer(bench, group, topic, collector);
    consumer.start();
    Bench.await("all queues", () -> queues(consumer, topic).size() == 8);
    Process other = startMember(bench, group, topic);
    try {
      Bench.await("half of the queues", () -> queues(consumer, topic).size() == 4);
    } finally {
      other.destroyForcibly();
    }
    Bench.await("all queues again", () -> queues(consumer, topic).size() == 8);
    collector.awaitExactly(ConsumeCases.sendMany(bench.producer(), topic, "after", 40));
  }

  private static void poll(DefaultLitePullConsumer consumer, Set<String> into) {
    for (MessageExt message : consumer.poll(100)) {
      into.add(Bench.text(message.getBody()));
    }
  }

  private static void litePullControl(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer producer = bench.producer();
    Set<String> early = ConsumeCases.sendMany(producer, topic, "early", 20);
    Thread.sleep(50);
    long between = System.currentTimeMillis();
    Thread.sleep(50);
    Set<String> late = ConsumeCases.sendMany(producer, topic, "late", 20);
    DefaultLitePullConsumer consumer = bench.litePullConsumer(Bench.unique("LITE"));
    consumer.setAutoCommit(false);
    consumer.start();
    List<MessageQueue> queues = new ArrayList<>(consumer.fetchMessageQueues(topic));
    consumer.assign(queues);
    for (MessageQueue queue : queues) {
      long offset = consumer.offsetForTimestamp(queue, between);
      Bench.check(offset == 9 || offset == 10, "offset by time is " + offset);
      consumer.seek(queue, 10);
    }
    Set<String> received = new HashSet<>();
    Bench.await(
        "the later half",
        () -> {
          poll(consumer, received);
          return received.size() >= 20;
        });
    Bench.same(late, received, "received from the middle on");
    consumer.commitSync();
    for (MessageQueue queue : queues) {
      Bench.await("the stored offset", () -> committed(consumer, queue) == 20);
      consumer.seekToBegin(queue);
    }
    received.clear();
    Bench.await(
        "everything",
        () -> {
          poll(consumer, received);
          return received.size() >= 40;
        });
    Bench.check(received.containsAll(early), "the first ones are missing");

    consumer.pause(Collections.singletonList(queues.get(0)));
    /* A pull that waits at the broker already is still answered, and handed out. When the client
     * had not come to ask again, there is none: then it takes as long as this waits. */
    producer.send(Bench.message(topic, "A", "k", "waited for"), queues.get(0));
    for (int i = 0; i < 50 && !received.contains("waited for"); i++) {
      poll(consumer, received);
    }
    for (MessageQueue queue : queues) {
      producer.send(Bench.message(topic, "A", "k", "after " + queue.getQueueId()), queue);
    }
    String paused = "after " + queues.get(0).getQueueId();
    String other = "after " + queues.get(1).getQueueId();
    Bench.await(
        other,
        () -> {
          poll(consumer, received);
          return received.contains(other);
        });
    Thread.sleep(300);
    poll(consumer, received);
    Bench.check(!received.contains(paused), "a paused queue gave a message");
    consumer.resume(Collections.singletonList(queues.get(0)));
    Bench.await(
        paused,
        () -> {
          poll(consumer, received);
          return received.contains(paused);
        });
    consumer.seekToEnd(queues.get(1));
    received.clear();
    producer.send(Bench.message(topic, "A", "k", "the end"), queues.get(1));
    Bench.await(
        "the end",
        () -> {
          poll(consumer, received);
          return received.size() >= 1;
        });
    Bench.same(Collections.singleton("the end"), received, "received from the end on");
  }

  private static long committed(DefaultLitePullConsumer consumer, MessageQueue queue) {
    try {
      return consumer.committed(queue);
    } catch (MQClientException e) {
      return -1;
    }
  }

  /** Have a group consume everything, and stop it. */
  private static void consumeAll(Bench bench, String group, String topic, Set<String> sent)
      throws Exception {
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = consumer(bench, group, topic, collector);
    consumer.start();
    collector.awaitExactly(sent);
    consumer.shutdown();
  }

  private static void resetOffline(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(2);
    String group = Bench.unique("C");
    DefaultMQProducer producer = bench.producer();
    Set<String> early = ConsumeCases.sendMany(producer, topic, "early", 20);
    Thread.sleep(50);
    long between = System.currentTimeMillis();
    Thread.sleep(50);
    Set<String> late = ConsumeCases.sendMany(producer, topic, "late", 20);
    Set<String> sent = new HashSet<>(early);
    sent.addAll(late);
    consumeAll(bench, group, topic, sent);
    /* As mqadmin does: ask the consumers, and when there are none set the offsets. */
    Bench.await("the consumer has gone", () -> isOffline(admin, topic, group, between));
    admin.resetOffsetByTimestampOld(group, topic, between, true);
    Collector collector = new Collector();
    DefaultMQPushConsumer again = consumer(bench, group, topic, collector);
    again.start();
    Bench.await("the later ones again", () -> collector.byBody.keySet().containsAll(late));
    Bench.check(collector.byBody.size() <= 22, "received " + collector.byBody.keySet());
  }

  private static boolean isOffline(
      DefaultMQAdminExt admin, String topic, String group, long timestamp) {
    try {
      admin.resetOffsetByTimestamp(topic, group, timestamp, true);
      return false;
    } catch (MQClientException error) {
      return error.getResponseCode() == ResponseCode.CONSUMER_NOT_ONLINE;
    } catch (Exception error) {
      return false; /* a time-out, on a busy machine */
    }
  }

  private static void resetToATime(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String group = Bench.unique("C");
    DefaultMQProducer producer = bench.producer();
    ConsumeCases.sendMany(producer, topic, "early", 10);
    Thread.sleep(50);
    long between = System.currentTimeMillis();
    Thread.sleep(50);
    Set<String> late = ConsumeCases.sendMany(producer, topic, "late", 10);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = consumer(bench, group, topic, collector);
    consumer.start();
    Bench.await("20 messages", () -> collector.byBody.size() == 20);
    persist(consumer);
    Map<MessageQueue, Long> table =
        bench.admin().resetOffsetByTimestamp(topic, group, between, true);
    Bench.same(1, table.size(), "queues that were reset");
    long offset = table.values().iterator().next();
    Bench.check(offset == 9 || offset == 10, "offset is " + offset);
    Bench.await("the later ones again", () -> collector.repeated.containsAll(late));
    Bench.check(collector.repeated.size() <= 11, "repeated: " + collector.repeated);
  }

  static void persist(DefaultMQPushConsumer consumer) {
    consumer
        .getDefaultMQPushConsumerImpl()
        .getOffsetStore()
        .persistAll(
            consumer
                .getDefaultMQPushConsumerImpl()
                .getRebalanceImpl()
                .getProcessQueueTable()
                .keySet());
  }

  private static void clone(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(2);
    String source = Bench.unique("SOURCE");
    String target = Bench.unique("TARGET");
    DefaultMQProducer producer = bench.producer();
    consumeAll(bench, source, topic, ConsumeCases.sendMany(producer, topic, "early", 20));
    Bench.await("the stored offsets", () -> consumed(admin, source, topic) == 20);
    /* The client finds the brokers by the route of the source's retry topic. */
    admin.cloneGroupOffset(source, target, topic, true);
    Set<String> late = ConsumeCases.sendMany(producer, topic, "late", 10);
    Collector collector = new Collector();
    consumer(bench, target, topic, collector).start();
    collector.awaitExactly(late);
  }

  private static long consumed(DefaultMQAdminExt admin, String group, String topic) {
    try {
      return admin.examineConsumeStats(group, topic).getOffsetTable().values().stream()
          .mapToLong(offset -> offset.getConsumerOffset())
          .sum();
    } catch (MQBrokerException | MQClientException e) {
      return -1;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }
}
