/* SPDX-License-Identifier: Apache-2.0
 *
 * Request and reply: every way to ask, several who ask and answer at once, and what is heard when
 * one of them is not there.
 */
package org.cometmq.interop;

import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.protocol.ResponseCode;

final class ReplyCases {
  private ReplyCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("reply/every-way-to-ask", ReplyCases::everyWay);
    cases.put("reply/many-at-once", ReplyCases::manyAtOnce);
    cases.put("reply/one-connection", ReplyCases::oneConnection);
    cases.put("reply/large", ReplyCases::large);
    cases.put("reply/timeout", ReplyCases::timeout);
    cases.put("reply/requester-gone", ReplyCases::requesterGone);
  }

  private static DefaultMQPushConsumer consumer(
      Bench bench, String topic, MessageListenerConcurrently listener) throws Exception {
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(listener);
    return consumer;
  }

  /** Answers each question by `producer` with "answer to ..." in front of it. */
  private static MessageListenerConcurrently answering(
      DefaultMQProducer producer, AtomicReference<Throwable> failure) {
    return (messages, context) -> {
      for (MessageExt message : messages) {
        try {
          byte[] body = ("answer to " + Bench.text(message.getBody())).getBytes("UTF-8");
          SendResult result = producer.send(MessageUtil.createReplyMessage(message, body), 15000);
          Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status of a reply");
        } catch (Throwable error) {
          failure.set(error);
        }
      }
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    };
  }

  private static void noFailure(AtomicReference<Throwable> failure) {
    Bench.check(failure.get() == null, "a reply failed: " + failure.get());
  }

  private static void everyWay(Bench bench) throws Exception {
    String topic = bench.topic(2);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    consumer(bench, topic, answering(bench.producer(), failure)).start();
    DefaultMQProducer asking = bench.producer();
    Map<String, String> answers = new ConcurrentHashMap<>();
    CountDownLatch asked = new CountDownLatch(3);
    class Keep implements RequestCallback {
      private final String name;

      Keep(String name) {
        this.name = name;
      }

      @Override
      public void onSuccess(Message message) {
        answers.put(name, Bench.text(message.getBody()));
        asked.countDown();
      }

      @Override
      public void onException(Throwable error) {
        answers.put(name, error.toString());
        asked.countDown();
      }
    }
    Message first = asking.request(Bench.message(topic, "A", "k", "sync"), 20000);
    answers.put("sync", Bench.text(first.getBody()));
    answers.put(
        "selector",
        Bench.text(
            asking
                .request(
                    Bench.message(topic, "A", "k", "selector"),
                    (queues, message, arg) -> queues.get((Integer) arg),
                    1,
                    20000)
                .getBody()));
    answers.put(
        "queue",
        Bench.text(
            asking
                .request(
                    Bench.message(topic, "A", "k", "queue"),
                    asking.fetchPublishMessageQueues(topic).get(0),
                    20000)
                .getBody()));
    asking.request(Bench.message(topic, "A", "k", "async"), new Keep("async"), 20000);
    asking.request(
        Bench.message(topic, "A", "k", "async selector"),
        (queues, message, arg) -> queues.get((Integer) arg),
        0,
        new Keep("async selector"),
        20000);
    asking.request(
        Bench.message(topic, "A", "k", "async queue"),
        asking.fetchPublishMessageQueues(topic).get(1),
        new Keep("async queue"),
        20000);
    Bench.check(asked.await(Bench.PATIENCE_SECONDS, TimeUnit.SECONDS), "not every request was answered: " + answers);
    for (String name :
        Arrays.asList("sync", "selector", "queue", "async", "async selector", "async queue")) {
      Bench.same("answer to " + name, answers.get(name), "answer");
    }
    noFailure(failure);
    Bench.check(first.getProperty("PUSH_REPLY_TIME") != null, "no PUSH_REPLY_TIME");
    Bench.check(((MessageExt) first).getBornHost() != null, "no born host");
  }

  /** Three who ask and two who answer; each answer finds its question. */
  private static void manyAtOnce(Bench bench) throws Exception {
    String topic = bench.topic(4);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    String group = Bench.unique("C");
    for (int i = 0; i < 2; i++) {
      DefaultMQPushConsumer consumer = bench.pushConsumer(group);
      consumer.subscribe(topic, "*");
      consumer.registerMessageListener(answering(bench.producer(), failure));
      consumer.start();
    }
    int each = 100;
    CountDownLatch answered = new CountDownLatch(3 * each);
    Map<String, String> wrong = new ConcurrentHashMap<>();
    for (int p = 0; p < 3; p++) {
      DefaultMQProducer asking = bench.producer();
      for (int i = 0; i < each; i++) {
        String question = p + ":" + i;
        asking.request(
            Bench.message(topic, "A", "k", question),
            new RequestCallback() {
              @Override
              public void onSuccess(Message message) {
                if (!Bench.text(message.getBody()).equals("answer to " + question)) {
                  wrong.put(question, Bench.text(message.getBody()));
                }
                answered.countDown();
              }

              @Override
              public void onException(Throwable error) {
                wrong.put(question, error.toString());
                answered.countDown();
              }
            },
            30000);
      }
    }
    Bench.check(answered.await(Bench.PATIENCE_SECONDS, TimeUnit.SECONDS), answered.getCount() + " without an answer");
    Bench.check(wrong.isEmpty(), "wrong answers: " + wrong);
    noFailure(failure);
  }

  /** Who asks and who answers are one client, with one connection to the broker. */
  private static void oneConnection(Bench bench) throws Exception {
    String topic = bench.topic(2);
    String instance = Bench.unique("ONE");
    DefaultMQProducer producer = new DefaultMQProducer(Bench.unique("P"));
    producer.setNamesrvAddr(bench.namesrv);
    producer.setInstanceName(instance);
    producer.start();
    AtomicReference<Throwable> failure = new AtomicReference<>();
    DefaultMQPushConsumer consumer = consumer(bench, topic, answering(producer, failure));
    consumer.setInstanceName(instance);
    consumer.start();
    try {
      for (int i = 0; i < 20; i++) {
        Message answer = producer.request(Bench.message(topic, "A", "k", "q" + i), 20000);
        Bench.same("answer to q" + i, Bench.text(answer.getBody()), "answer");
      }
    } finally {
      producer.shutdown();
    }
    noFailure(failure);
  }

  /** Compressed on both of its ways. */
  private static void large(Bench bench) throws Exception {
    String topic = bench.topic(1);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    consumer(bench, topic, answering(bench.producer(), failure)).start();
    StringBuilder text = new StringBuilder();
    while (text.length() < 1_000_000) {
      text.append("a line that compresses well, number ").append(text.length()).append('\n');
    }
    Message answer =
        bench.producer().request(Bench.message(topic, "A", "k", text.toString()), 20000);
    Bench.same("answer to " + text, Bench.text(answer.getBody()), "answer");
    noFailure(failure);
  }

  private static void timeout(Bench bench) throws Exception {
    String topic = bench.topic(1);
    AtomicReference<MessageExt> question = new AtomicReference<>();
    consumer(
            bench,
            topic,
            (messages, context) -> {
              question.set(messages.get(0));
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            })
        .start();
    DefaultMQProducer asking = bench.producer();
    long before = System.currentTimeMillis();
    try {
      asking.request(Bench.message(topic, "A", "k", "nobody answers"), 3000);
      throw new AssertionError("an answer came");
    } catch (RequestTimeoutException expected) {
      Bench.check(System.currentTimeMillis() - before >= 2900, "it came too early");
    }
    Bench.await("the question", () -> question.get() != null);
    /* Too late for the one who asked, who takes it all the same. */
    SendResult late =
        bench.producer().send(MessageUtil.createReplyMessage(question.get(), new byte[] {1}));
    Bench.same(SendStatus.SEND_OK, late.getSendStatus(), "status of a late reply");
  }

  private static void requesterGone(Bench bench) throws Exception {
    String topic = bench.topic(1);
    AtomicReference<MessageExt> question = new AtomicReference<>();
    consumer(
            bench,
            topic,
            (messages, context) -> {
              question.set(messages.get(0));
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            })
        .start();
    DefaultMQProducer asking = bench.producer();
    asking.request(
        Bench.message(topic, "A", "k", "I am off"),
        new RequestCallback() {
          @Override
          public void onSuccess(Message message) {}

          @Override
          public void onException(Throwable error) {}
        },
        20000);
    Bench.await("the question", () -> question.get() != null);
    asking.shutdown();
    DefaultMQProducer answering = bench.producer();
    answering.setRetryTimesWhenSendFailed(0);
    try {
      answering.send(MessageUtil.createReplyMessage(question.get(), new byte[] {1}));
    } catch (MQClientException error) {
      Bench.same(ResponseCode.SYSTEM_ERROR, error.getResponseCode(), "code");
      String remark = ((MQBrokerException) error.getCause()).getErrorMessage();
      Bench.check(
          remark.startsWith("push reply message fail, channel of <"), "remark: " + remark);
      return;
    }
    throw new AssertionError("a reply to nobody was taken");
  }
}
