/* SPDX-License-Identifier: Apache-2.0
 *
 * The clients of one name server and its one broker, and what they share. They live on while the
 * broker behind the address is replaced.
 */
package org.cometmq.store;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Clients implements AutoCloseable {
  static final String READER = "CG_pull";
  static final int TIMEOUT_MS = 15000;
  private static final AtomicInteger SERIAL = new AtomicInteger();

  final String namesrv;
  final String broker;
  final String brokerName;
  final DefaultMQAdminExt admin;
  final DefaultMQProducer producer;
  /** The same without retries and without compression. */
  final DefaultMQProducer plainProducer;

  final TransactionMQProducer transactionProducer;
  final Decider decider = new Decider();
  final DefaultMQPullConsumer reader;
  private final Deque<Runnable> closers = new ArrayDeque<>();

  Clients(String namesrv, String broker) throws Exception {
    this.namesrv = namesrv;
    this.broker = broker;
    admin = new DefaultMQAdminExt(TIMEOUT_MS);
    admin.setNamesrvAddr(namesrv);
    admin.setInstanceName(name());
    admin.start();
    closers.push(admin::shutdown);
    brokerName = admin.examineBrokerClusterInfo().getBrokerAddrTable().keySet().iterator().next();
    producer = started(new DefaultMQProducer("PG_plain"));
    plainProducer = new DefaultMQProducer("PG_large");
    plainProducer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
    plainProducer.setRetryTimesWhenSendFailed(0);
    started(plainProducer);
    transactionProducer = new TransactionMQProducer("PG_txn");
    transactionProducer.setTransactionListener(decider);
    started(transactionProducer);
    reader = new DefaultMQPullConsumer(READER);
    reader.setNamesrvAddr(namesrv);
    reader.setInstanceName(name());
    reader.start();
    closers.push(reader::shutdown);
  }

  private static String name() {
    return "store_" + SERIAL.incrementAndGet();
  }

  private DefaultMQProducer started(DefaultMQProducer one) throws Exception {
    one.setNamesrvAddr(namesrv);
    one.setInstanceName(name());
    one.setSendMsgTimeout(TIMEOUT_MS);
    one.start();
    closers.push(one::shutdown);
    return one;
  }

  @Override
  public void close() {
    while (!closers.isEmpty()) {
      closers.pop().run();
    }
  }

  MQClientInstance instance() {
    return producer.getDefaultMQProducerImpl().getmQClientFactory();
  }

  MQClientAPIImpl api() {
    return instance().getMQClientAPIImpl();
  }

  MessageQueue queue(String topic, int id) {
    return new MessageQueue(topic, brokerName, id);
  }

  Map<String, TopicConfig> topics() throws Exception {
    return admin.getAllTopicConfig(broker, TIMEOUT_MS).getTopicConfigTable();
  }

  long maxOffset(String topic, int queue) {
    try {
      return api().getMaxOffset(broker, topic, queue, TIMEOUT_MS);
    } catch (Exception e) {
      throw new IllegalStateException("the maximum of " + topic + "/" + queue + " is unknown", e);
    }
  }

  long minOffset(String topic, int queue) throws Exception {
    return api().getMinOffset(broker, topic, queue, TIMEOUT_MS);
  }

  /** A topic that clients know the route of; it is left alone when the broker has it. */
  void createTopic(String topic, int queues, int perm) throws Exception {
    TopicConfig config = topics().get(topic);
    if (config == null || config.getPerm() != perm) {
      admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, queues, queues, perm));
    }
    if (!topic.startsWith(MixAll.DLQ_GROUP_TOPIC_PREFIX)) {
      await("the route of " + topic, () -> producer.getDefaultMQProducerImpl() != null && routed(topic));
    }
  }

  private boolean routed(String topic) {
    try {
      return !admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty();
    } catch (Exception e) {
      return false;
    }
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
    long deadline = System.nanoTime() + 60 * 1_000_000_000L;
    while (!condition.getAsBoolean()) {
      check(System.nanoTime() < deadline, "waited 60 s in vain for " + what);
      Thread.sleep(10);
    }
  }
}
