/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactions (committed, rolled back, asked for later by the broker) and request/reply.
 */
package org.cometmq.interop;

import java.util.Arrays;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;

final class TransactionCases {
  private static final String GIVEN_UP = "TRANS_CHECK_MAX_TIME_TOPIC";

  private TransactionCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("transaction/commit-and-rollback", TransactionCases::commitAndRollback);
    cases.put("transaction/check-back", TransactionCases::checkBack);
    cases.put("transaction/message-as-sent", TransactionCases::messageAsSent);
    cases.put("transaction/unknown-then-rollback", TransactionCases::unknownThenRollback);
    cases.put("transaction/failing-listener", TransactionCases::failingListener);
    cases.put("transaction/lost-producer", TransactionCases::lostProducer);
    cases.put("transaction/immunity", TransactionCases::immunity);
    cases.put("transaction/given-up-and-resumed", TransactionCases::givenUpAndResumed);
    cases.put("request-reply", TransactionCases::requestReply);
  }

  private static void commitAndRollback(Bench bench) throws Exception {
    String topic = bench.topic(2);
    TransactionMQProducer producer = bench.transactionProducer();
    producer.setTransactionListener(
        new TransactionListener() {
          @Override
          public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
            return Bench.text(message.getBody()).startsWith("good")
                ? LocalTransactionState.COMMIT_MESSAGE
                : LocalTransactionState.ROLLBACK_MESSAGE;
          }

          @Override
          public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return LocalTransactionState.ROLLBACK_MESSAGE;
          }
        });
    producer.start();
    Set<String> good = new HashSet<>();
    for (int i = 0; i < 20; i++) {
      String body = (i % 2 == 0 ? "good " : "bad ") + i;
      producer.sendMessageInTransaction(Bench.message(topic, "A", "k" + i, body), null);
      if (i % 2 == 0) {
        good.add(body);
      }
    }
    Collector collector = SendCases.collect(bench, topic);
    collector.awaitExactly(good);
    /* Whatever was rolled back by mistake would be there by now. */
    producer.sendMessageInTransaction(Bench.message(topic, "A", "k", "good last"), null);
    good.add("good last");
    collector.awaitExactly(good);
  }

  private static void checkBack(Bench bench) throws Exception {
    String topic = bench.topic(1);
    Set<String> asked = ConcurrentHashMap.newKeySet();
    TransactionMQProducer producer = bench.transactionProducer();
    producer.setTransactionListener(
        new TransactionListener() {
          @Override
          public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
            return LocalTransactionState.UNKNOW;
          }

          @Override
          public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String body = Bench.text(message.getBody());
            asked.add(body);
            return body.equals("commit later")
                ? LocalTransactionState.COMMIT_MESSAGE
                : LocalTransactionState.ROLLBACK_MESSAGE;
          }
        });
    producer.start();
    producer.sendMessageInTransaction(Bench.message(topic, "A", "k1", "commit later"), null);
    producer.sendMessageInTransaction(Bench.message(topic, "A", "k2", "drop later"), null);
    Collector collector = SendCases.collect(bench, topic);
    Bench.await("both checks", () -> asked.size() == 2);
    collector.awaitExactly(new HashSet<>(Arrays.asList("commit later")));
  }

  /** Decides by the first word of the body; asked again, it commits when it said "later". */
  private static final class Decider implements TransactionListener {
    final Map<String, MessageExt> asked = new ConcurrentHashMap<>();

    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
      String body = Bench.text(message.getBody());
      if (body.startsWith("fails")) {
        throw new IllegalStateException("as the test wants it");
      }
      return body.startsWith("good")
          ? LocalTransactionState.COMMIT_MESSAGE
          : LocalTransactionState.UNKNOW;
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
      String body = Bench.text(message.getBody());
      asked.put(body, message);
      return body.endsWith("drop")
          ? LocalTransactionState.ROLLBACK_MESSAGE
          : LocalTransactionState.COMMIT_MESSAGE;
    }
  }

  private static TransactionMQProducer decided(Bench bench, String group, Decider decider)
      throws Exception {
    TransactionMQProducer producer = bench.transactionProducer(group);
    producer.setTransactionListener(decider);
    producer.start();
    return producer;
  }

  private static void messageAsSent(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String group = Bench.unique("TP");
    TransactionMQProducer producer = decided(bench, group, new Decider());
    Message message = Bench.message(topic, "TagX", "key-1", "good one");
    message.putUserProperty("colour", "green");
    message.setFlag(17);
    TransactionSendResult result = producer.sendMessageInTransaction(message, null);
    Bench.same(LocalTransactionState.COMMIT_MESSAGE, result.getLocalTransactionState(), "state");
    Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
    char[] many = new char[100000];
    Arrays.fill(many, 'x');
    String large = "good " + new String(many);
    producer.sendMessageInTransaction(Bench.message(topic, "TagX", "key-2", large), null);
    Collector collector = SendCases.collect(bench, topic);
    collector.awaitExactly(new HashSet<>(Arrays.asList("good one", large)));
    MessageExt got = collector.byBody.get("good one");
    Bench.same("TagX", got.getTags(), "tag");
    Bench.same("key-1", got.getKeys(), "keys");
    Bench.same("green", got.getUserProperty("colour"), "user property");
    Bench.same(17, got.getFlag(), "flag");
    Bench.same(result.getMsgId(), got.getMsgId(), "message id");
    Bench.same(group, got.getProperty("PGROUP"), "group");
    Bench.same(result.getMsgId(), got.getTransactionId(), "transaction id");
    Bench.same(
        MessageSysFlag.TRANSACTION_COMMIT_TYPE,
        MessageSysFlag.getTransactionValue(got.getSysFlag()),
        "transaction type");
    Bench.check(
        got.getPreparedTransactionOffset() < got.getCommitLogOffset(),
        "the half message lies behind the committed one");
  }

  private static void unknownThenRollback(Bench bench) throws Exception {
    String topic = bench.topic(1);
    Decider decider = new Decider();
    TransactionMQProducer producer = decided(bench, Bench.unique("TP"), decider);
    for (int i = 0; i < 10; i++) {
      producer.sendMessageInTransaction(
          Bench.message(topic, "A", "k", i + (i % 2 == 0 ? " keep" : " drop")), null);
    }
    Bench.await("ten checks", () -> decider.asked.size() == 10);
    MessageExt asked = decider.asked.get("3 drop");
    Bench.same(topic, asked.getTopic(), "topic in the check");
    Bench.check(asked.getTransactionId() != null, "the check has no transaction id");
    Bench.same(
        asked.getCommitLogOffset(),
        MessageDecoder.decodeMessageId(asked.getMsgId()).getOffset(),
        "position in the check's message id");
    SendCases.collect(bench, topic)
        .awaitExactly(new HashSet<>(Arrays.asList("0 keep", "2 keep", "4 keep", "6 keep", "8 keep")));
  }

  private static void failingListener(Bench bench) throws Exception {
    String topic = bench.topic(1);
    Decider decider = new Decider();
    TransactionMQProducer producer = decided(bench, Bench.unique("TP"), decider);
    TransactionSendResult result =
        producer.sendMessageInTransaction(Bench.message(topic, "A", "k", "fails at first"), null);
    Bench.same(LocalTransactionState.UNKNOW, result.getLocalTransactionState(), "state");
    SendCases.collect(bench, topic).awaitExactly(new HashSet<>(Arrays.asList("fails at first")));
  }

  private static void lostProducer(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String group = Bench.unique("TP");
    Decider first = new Decider();
    TransactionMQProducer lost = decided(bench, group, first);
    lost.sendMessageInTransaction(Bench.message(topic, "A", "k", "left behind"), null);
    lost.shutdown();
    Decider second = new Decider();
    TransactionMQProducer other = decided(bench, group, second);
    /* It is known to the broker once it has sent something there. */
    other.sendMessageInTransaction(Bench.message(topic, "A", "k", "good"), null);
    SendCases.collect(bench, topic)
        .awaitExactly(new HashSet<>(Arrays.asList("left behind", "good")));
    Bench.check(second.asked.containsKey("left behind"), "the other producer was not asked");
  }

  private static void immunity(Bench bench) throws Exception {
    String topic = bench.topic(1);
    Decider decider = new Decider();
    TransactionMQProducer producer = decided(bench, Bench.unique("TP"), decider);
    Message spared = Bench.message(topic, "A", "k", "spared");
    spared.putUserProperty(MessageConst.PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS, "600");
    producer.sendMessageInTransaction(spared, null);
    for (int i = 0; i < 3; i++) {
      String body = "asked " + i;
      producer.sendMessageInTransaction(Bench.message(topic, "A", "k", body), null);
      Bench.await("check of " + body, () -> decider.asked.containsKey(body));
    }
    Bench.check(!decider.asked.containsKey("spared"), "asked before its time");
    SendCases.collect(bench, topic)
        .awaitExactly(new HashSet<>(Arrays.asList("asked 0", "asked 1", "asked 2")));
  }

  private static void checksMax(Bench bench, int most) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("transactionCheckMax", String.valueOf(most));
    bench.admin().updateBrokerConfig(bench.master(), properties);
  }

  private static void givenUpAndResumed(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String group = Bench.unique("TP");
    String body = "nobody knows " + topic;
    TransactionMQProducer gone = decided(bench, group, new Decider());
    gone.sendMessageInTransaction(Bench.message(topic, "A", "k", body), null);
    gone.shutdown();
    Collector given = new Collector();
    checksMax(bench, 1);
    try {
      Bench.await("the topic of those given up", () -> bench.hasRoute(GIVEN_UP));
      DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
      consumer.subscribe(GIVEN_UP, "*");
      consumer.registerMessageListener(given);
      consumer.start();
      Bench.await("the message given up", () -> given.byBody.containsKey(body));
    } finally {
      checksMax(bench, 15);
    }
    MessageExt message = given.byBody.get(body);
    Bench.same(topic, message.getProperty("REAL_TOPIC"), "real topic");
    Decider decider = new Decider();
    TransactionMQProducer back = decided(bench, group, decider);
    back.sendMessageInTransaction(Bench.message(topic, "A", "k", "good"), null);
    String offsetMsgId = ((MessageClientExt) message).getOffsetMsgId();
    Bench.check(bench.admin().resumeCheckHalfMessage(offsetMsgId), "not resumed");
    SendCases.collect(bench, topic).awaitExactly(new HashSet<>(Arrays.asList(body, "good")));
  }

  private static void requestReply(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer answering = bench.producer();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              for (MessageExt message : messages) {
                try {
                  byte[] body = ("answer to " + Bench.text(message.getBody())).getBytes();
                  answering.send(MessageUtil.createReplyMessage(message, body));
                } catch (Exception e) {
                  System.err.println("the reply could not be sent: " + e);
                }
              }
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
    DefaultMQProducer asking = bench.producer();
    for (int i = 0; i < 5; i++) {
      Message answer = asking.request(Bench.message(topic, "A", "k", "question " + i), 20000);
      Bench.same("answer to question " + i, Bench.text(answer.getBody()), "answer");
    }
  }
}
