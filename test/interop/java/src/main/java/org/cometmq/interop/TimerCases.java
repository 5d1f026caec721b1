/* SPDX-License-Identifier: Apache-2.0
 *
 * Times of delivery by RocketMQ 5's properties, which a 4.x client sets as its user's; and cancelling.
 * Apache's servers of 4.9.2 do not know them: these cases are ours alone (APACHE=1 skips them).
 */
package org.cometmq.interop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class TimerCases {
  private TimerCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    if ("1".equals(System.getenv("APACHE"))) {
      return;
    }
    cases.put("timer/deliver-at", TimerCases::deliverAt);
    cases.put("timer/cancel", TimerCases::cancel);
    cases.put("timer/too-far", TimerCases::tooFar);
  }

  private static List<MessageExt> consume(Bench bench, String topic) throws Exception {
    List<MessageExt> got = new CopyOnWriteArrayList<>();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              got.addAll(messages);
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
    return got;
  }

  private static void deliverAt(Bench bench) throws Exception {
    if (!deliverAt(bench, 500)) {
      Bench.check(deliverAt(bench, 10_000), "this machine is too slow");
    }
  }

  /** False when the sends took so long that the times they name are out of order. */
  private static boolean deliverAt(Bench bench, long step) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    List<MessageExt> got = consume(bench, topic);
    String[] names = {"TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"};
    long[] dues = new long[3];
    long begun = System.currentTimeMillis();
    for (int i = 0; i < 3; i++) {
      Message message = Bench.message(topic, "A", "k", names[i]);
      long delay = (4 - i) * step;
      dues[i] = System.currentTimeMillis() + delay;
      String value = Long.toString(i == 0 ? delay / 1000 : i == 1 ? delay : dues[2]);
      message.putUserProperty(names[i], value);
      SendResult result = producer.send(message);
      Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status of the send");
    }
    if (System.currentTimeMillis() - begun > step / 2) {
      return false;
    }
    Bench.await("three deliveries", () -> got.size() >= 3);
    for (int i = 0; i < 3; i++) {
      MessageExt message = got.get(2 - i); /* the last one sent is due first */
      Bench.same(names[i], Bench.text(message.getBody()), "body of delivery " + (2 - i));
      Bench.check(message.getStoreTimestamp() >= dues[i], names[i] + " was delivered early");
      Bench.same(topic, message.getTopic(), "topic");
      Bench.same("A", message.getTags(), "tag");
    }
    return true;
  }

  private static void cancel(Bench bench) throws Exception {
    if (!cancel(bench, 3000)) {
      Bench.check(cancel(bench, 30_000), "this machine is too slow");
    }
  }

  /** False when the timers were due before the cancel was sent. */
  private static boolean cancel(Bench bench, long delay) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    List<MessageExt> got = consume(bench, topic);
    String due = Long.toString(System.currentTimeMillis() + delay);
    Message gone = Bench.message(topic, "A", "k", "gone");
    gone.putUserProperty("TIMER_DELIVER_MS", due);
    String id = producer.send(gone).getMsgId();
    Message stays = Bench.message(topic, "A", "k", "stays");
    stays.putUserProperty("TIMER_DELIVER_MS", due);
    producer.send(stays);
    Message cancel = Bench.message(topic, "A", "k", "cancel");
    cancel.putUserProperty("TIMER_DELIVER_MS", due);
    cancel.putUserProperty("TIMER_DEL_UNIQKEY", topic + "+" + id);
    producer.send(cancel);
    Message last = Bench.message(topic, "A", "k", "last");
    last.putUserProperty("TIMER_DELIVER_MS", Long.toString(Long.parseLong(due) + 1000));
    producer.send(last);
    if (System.currentTimeMillis() >= Long.parseLong(due)) {
      return false;
    }
    Bench.await("two deliveries", () -> got.size() >= 2);
    Bench.same("stays", Bench.text(got.get(0).getBody()), "first delivery");
    Bench.same("last", Bench.text(got.get(1).getBody()), "second delivery");
    return true;
  }

  private static void tooFar(Bench bench) throws Exception {
    String topic = bench.topic(1);
    Message message = Bench.message(topic, "A", "k", "never");
    message.putUserProperty("TIMER_DELAY_SEC", Long.toString(4 * 24 * 3600));
    try {
      bench.producer().send(message);
    } catch (MQBrokerException e) {
      Bench.same(13, e.getResponseCode(), "response code");
      return;
    }
    throw new AssertionError("it was taken");
  }
}
