/* SPDX-License-Identifier: Apache-2.0
 *
 * What a case works with: clients that are shut down when it ends, topics of its own, waiting.
 */
package org.cometmq.interop5;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Bench implements AutoCloseable {
  private static final AtomicInteger SERIAL = new AtomicInteger();
  private static final String RUN = Long.toString(System.currentTimeMillis(), 36);

  final String namesrv;
  private final Deque<Runnable> closers = new ArrayDeque<>();
  private DefaultMQAdminExt admin;
  private String master;

  Bench(String namesrv) {
    this.namesrv = namesrv;
  }

  @Override
  public void close() {
    while (!closers.isEmpty()) {
      try {
        closers.pop().run();
      } catch (RuntimeException e) {
        System.err.println("while closing: " + e);
      }
    }
  }

  static String unique(String word) {
    return word + "_" + RUN + "_" + SERIAL.incrementAndGet();
  }

  static Message message(String topic, String tag, String body) {
    return new Message(topic, tag, body, body.getBytes(StandardCharsets.UTF_8));
  }

  static String text(byte[] body) {
    return new String(body, StandardCharsets.UTF_8);
  }

  /** The address of the (only) master. */
  String master() throws Exception {
    if (master == null) {
      ClusterInfo info = admin().examineBrokerClusterInfo();
      for (BrokerData data : info.getBrokerAddrTable().values()) {
        if (data.getBrokerAddrs().get(0L) != null) {
          master = data.getBrokerAddrs().get(0L);
        }
      }
      check(master != null, "the name server knows no master");
    }
    return master;
  }

  DefaultMQAdminExt admin() throws Exception {
    if (admin == null) {
      admin = new DefaultMQAdminExt(15000);
      admin.setNamesrvAddr(namesrv);
      admin.setInstanceName(unique("admin"));
      admin.start();
      closers.push(admin::shutdown);
    }
    return admin;
  }

  /** Create a topic on the master and wait until the name server has its route. */
  String topic(int queues) throws Exception {
    String topic = unique("T");
    admin().createAndUpdateTopicConfig(master(), new TopicConfig(topic, queues, queues, 6));
    await("route of " + topic, () -> hasRoute(topic));
    return topic;
  }

  private boolean hasRoute(String topic) {
    try {
      TopicRouteData route = admin.examineTopicRouteInfo(topic);
      return route != null && !route.getQueueDatas().isEmpty();
    } catch (Exception e) {
      return false;
    }
  }

  /** A consumer group, which consumes the topic by `mode`. */
  String group(String topic, MessageRequestMode mode, int shareQueues) throws Exception {
    String group = unique("C");
    SubscriptionGroupConfig config = new SubscriptionGroupConfig();
    config.setGroupName(group);
    admin().createAndUpdateSubscriptionGroupConfig(master(), config);
    admin().setMessageRequestMode(master(), topic, group, mode, shareQueues, 10000);
    return group;
  }

  DefaultMQProducer producer() throws Exception {
    DefaultMQProducer producer = new DefaultMQProducer(unique("P"));
    producer.setNamesrvAddr(namesrv);
    producer.setSendMsgTimeout(10000);
    producer.start();
    closers.push(producer::shutdown);
    return producer;
  }

  /** Send `count` messages and return their bodies. */
  Set<String> send(String topic, String tag, String word, int count) throws Exception {
    Set<String> bodies = new HashSet<>();
    DefaultMQProducer producer = producer();
    for (int i = 0; i < count; i++) {
      bodies.add(word + i);
      producer.send(message(topic, tag, word + i));
    }
    return bodies;
  }

  /** A push consumer that reads from the first offset; not yet subscribed nor started. */
  DefaultMQPushConsumer pushConsumer(String group) {
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
    consumer.setNamesrvAddr(namesrv);
    consumer.setInstanceName(unique("I"));
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    closers.push(consumer::shutdown);
    return consumer;
  }

  /** One whose queues, and whether it pulls or pops, the broker decides. */
  DefaultMQPushConsumer assignedConsumer(String group) {
    DefaultMQPushConsumer consumer = pushConsumer(group);
    consumer.setClientRebalance(false);
    return consumer;
  }

  DefaultLitePullConsumer litePullConsumer(String group) {
    DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
    consumer.setNamesrvAddr(namesrv);
    consumer.setInstanceName(unique("I"));
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    closers.push(consumer::shutdown);
    return consumer;
  }

  static void check(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }

  static void same(Object expected, Object actual, String what) {
    check(expected.equals(actual), what + ": expected " + expected + ", got " + actual);
  }

  /** Something that is asked again and again. */
  interface Condition {
    boolean holds() throws Exception;
  }

  static void await(String what, Condition condition) throws Exception {
    long deadline = System.nanoTime() + 120_000_000_000L;
    while (!condition.holds()) {
      check(System.nanoTime() < deadline, "waited in vain for: " + what);
      Thread.sleep(20);
    }
  }
}
