/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that a consumer refuses: redelivery, and dead letters. The broker's messageDelayLevel
 * should be short (run sets it), because level 3 + n delays the n-th retry.
 */
package org.cometmq.interop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.admin.TopicOffset;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class RetryCases {
  private RetryCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("retry/reconsume-later", RetryCases::reconsumeLater);
    cases.put("retry/dead-letter", RetryCases::deadLetter);
  }

  private static void reconsumeLater(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    List<MessageExt> deliveries = new CopyOnWriteArrayList<>();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              deliveries.addAll(messages);
              return deliveries.size() <= 2
                  ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                  : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
    String id = producer.send(Bench.message(topic, "A", "k", "try again")).getMsgId();
    Bench.await("three deliveries", () -> deliveries.size() >= 3);
    for (int i = 0; i < 3; i++) {
      MessageExt message = deliveries.get(i);
      Bench.same("try again", Bench.text(message.getBody()), "body of delivery " + i);
      Bench.same(i, message.getReconsumeTimes(), "reconsume times of delivery " + i);
      Bench.same(topic, message.getTopic(), "topic of delivery " + i);
      Bench.same(id, message.getMsgId(), "message id of delivery " + i);
    }
    Bench.check(
        deliveries.get(1).getStoreTimestamp() > deliveries.get(0).getStoreTimestamp(),
        "the retry is not a new record");
  }

  private static void deadLetter(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String group = Bench.unique("C");
    DefaultMQProducer producer = bench.producer();
    List<MessageExt> deliveries = new CopyOnWriteArrayList<>();
    DefaultMQPushConsumer consumer = bench.pushConsumer(group);
    consumer.setMaxReconsumeTimes(2);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              deliveries.addAll(messages);
              return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
    consumer.start();
    producer.send(Bench.message(topic, "A", "k", "never good"));
    String dead = "%DLQ%" + group;
    bench.admin();
    Bench.await("the dead letter", () -> deadLetters(bench, dead) == 1);
    Bench.same(3, deliveries.size(), "deliveries before the message was given up");

    /* Dead letter topics are write-only until an operator opens them. */
    bench.admin().createAndUpdateTopicConfig(bench.master(), new TopicConfig(dead, 1, 1, 6));
    DefaultMQPullConsumer reader = bench.pullConsumer();
    Bench.await("a readable route", () -> readable(reader, dead));
    MessageQueue queue = reader.fetchSubscribeMessageQueues(dead).iterator().next();
    PullResult result = reader.pull(queue, "*", 0, 8);
    Bench.same(PullStatus.FOUND, result.getPullStatus(), "status of the pull");
    MessageExt letter = result.getMsgFoundList().get(0);
    Bench.same("never good", Bench.text(letter.getBody()), "body of the dead letter");
    Bench.same(topic, letter.getProperty("RETRY_TOPIC"), "first topic of the dead letter");
  }

  private static long deadLetters(Bench bench, String topic) {
    try {
      long count = 0;
      for (TopicOffset offset :
          bench.admin().examineTopicStats(topic).getOffsetTable().values()) {
        count += offset.getMaxOffset() - offset.getMinOffset();
      }
      return count;
    } catch (Exception e) {
      return 0;
    }
  }

  private static boolean readable(DefaultMQPullConsumer reader, String topic) {
    try {
      return !reader.fetchSubscribeMessageQueues(topic).isEmpty();
    } catch (Exception e) {
      return false;
    }
  }
}
