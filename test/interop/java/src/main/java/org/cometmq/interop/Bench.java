/* SPDX-License-Identifier: Apache-2.0
 *
 * What the cases share: names that no other case uses, clients that are shut down at the end of the
 * case, waiting for a condition, and checks.
 */
package org.cometmq.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.protocol.body.ClusterInfo;
import org.apache.rocketmq.common.protocol.route.BrokerData;
import org.apache.rocketmq.common.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Bench implements AutoCloseable {
  private static final AtomicInteger SERIAL = new AtomicInteger();
  /** For what takes a moment on a quiet machine: a busy one may stall for seconds. */
  static final int PATIENCE_SECONDS = 180;

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

  /** Run something when the case ends, before what was given earlier. */
  void atEnd(Runnable closer) {
    closers.push(closer);
  }

  static String unique(String word) {
    return word + "_" + RUN + "_" + SERIAL.incrementAndGet();
  }

  /** Signs with what the property says, an access key and its secret with a colon between. */
  private static RPCHook hookOf(String property) {
    String keys = System.getProperty(property);
    if (keys == null) {
      return null;
    }
    return hook(keys.substring(0, keys.indexOf(':')), keys.substring(keys.indexOf(':') + 1));
  }

  static RPCHook hook(String accessKey, String secretKey) {
    return new AclClientRPCHook(new SessionCredentials(accessKey, secretKey));
  }

  /** Of the clients that are made here, when the broker checks access; else null. */
  private static RPCHook hook() {
    return hookOf("interop.account");
  }

  static boolean accessIsChecked() {
    return System.getProperty("interop.account") != null;
  }

  static Message message(String topic, String tag, String key, String body) {
    return new Message(topic, tag, key, body.getBytes(StandardCharsets.UTF_8));
  }

  static String text(byte[] body) {
    return new String(body, StandardCharsets.UTF_8);
  }

  /** The address of the (only) master. */
  String master() throws Exception {
    if (master == null) {
      ClusterInfo info = admin().examineBrokerClusterInfo();
      for (Map.Entry<String, BrokerData> entry : info.getBrokerAddrTable().entrySet()) {
        if (entry.getValue().getBrokerAddrs().get(0L) != null) {
          master = entry.getValue().getBrokerAddrs().get(0L);
        }
      }
      check(master != null, "the name server knows no master");
    }
    return master;
  }

  DefaultMQAdminExt admin() throws Exception {
    if (admin == null) {
      admin = new DefaultMQAdminExt(hookOf("interop.administrator"), 15000);
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

  boolean hasRoute(String topic) {
    try {
      TopicRouteData route = admin.examineTopicRouteInfo(topic);
      return route != null && !route.getQueueDatas().isEmpty();
    } catch (Exception e) {
      return false;
    }
  }

  DefaultMQProducer producer() throws Exception {
    return producer(hook());
  }

  /** With access checked each client has a connection of its own: the hook belongs to that. */
  DefaultMQProducer producer(RPCHook hook) throws Exception {
    DefaultMQProducer producer = new DefaultMQProducer(unique("P"), hook);
    if (accessIsChecked()) {
      producer.setInstanceName(unique("I"));
    }
    producer.setNamesrvAddr(namesrv);
    producer.setSendMsgTimeout(30000);
    producer.start();
    closers.push(producer::shutdown);
    return producer;
  }

  TransactionMQProducer transactionProducer() {
    return transactionProducer(unique("TP"));
  }

  TransactionMQProducer transactionProducer(String group) {
    TransactionMQProducer producer = new TransactionMQProducer(group, hook());
    producer.setNamesrvAddr(namesrv);
    producer.setInstanceName(unique("I"));
    producer.setSendMsgTimeout(30000);
    closers.push(producer::shutdown);
    return producer;
  }

  /** A push consumer that reads from the first offset; not yet subscribed nor started. */
  DefaultMQPushConsumer pushConsumer(String group) {
    return pushConsumer(group, hook());
  }

  DefaultMQPushConsumer pushConsumer(String group, RPCHook hook) {
    DefaultMQPushConsumer consumer =
        new DefaultMQPushConsumer(group, hook, new AllocateMessageQueueAveragely());
    consumer.setNamesrvAddr(namesrv);
    consumer.setInstanceName(unique("I"));
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    closers.push(consumer::shutdown);
    return consumer;
  }

  DefaultMQPullConsumer pullConsumer() throws Exception {
    DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(unique("PULL"), hook());
    consumer.setNamesrvAddr(namesrv);
    if (accessIsChecked()) {
      consumer.setInstanceName(unique("I"));
    }
    consumer.start();
    closers.push(consumer::shutdown);
    return consumer;
  }

  DefaultLitePullConsumer litePullConsumer(String group) {
    DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group, hook());
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

  static void await(String what, BooleanSupplier condition) throws InterruptedException {
    await(what, PATIENCE_SECONDS, condition);
  }

  static void await(String what, int seconds, BooleanSupplier condition)
      throws InterruptedException {
    long deadline = System.nanoTime() + seconds * 1_000_000_000L;
    while (!condition.getAsBoolean()) {
      check(System.nanoTime() < deadline, "waited " + seconds + " s in vain for: " + what);
      Thread.sleep(10);
    }
  }
}
