/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactions (committed, rolled back, asked for later by the broker) and request/reply.
 */
package org.cometmq.interop;

import java.util.Arrays;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class TransactionCases {
  private TransactionCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("transaction/commit-and-rollback", TransactionCases::commitAndRollback);
    cases.put("transaction/check-back", TransactionCases::checkBack);
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
    Bench.await("both checks", 90, () -> asked.size() == 2);
    collector.awaitExactly(new HashSet<>(Arrays.asList("commit later")));
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
