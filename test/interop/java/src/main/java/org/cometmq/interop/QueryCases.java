/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions about stored messages: offsets, by id, by key.
 */
package org.cometmq.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class QueryCases {
  private QueryCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("query/offsets", QueryCases::offsets);
    cases.put("query/search-offset", QueryCases::searchOffset);
    cases.put("query/view-message", QueryCases::viewMessage);
    cases.put("query/by-key", QueryCases::byKey);
  }

  private static void offsets(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer producer = bench.producer();
    MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
    Bench.same(0L, producer.maxOffset(queue), "max offset of an empty queue");
    Bench.same(0L, producer.minOffset(queue), "min offset of an empty queue");
    long before = System.currentTimeMillis();
    for (int i = 0; i < 10; i++) {
      SendResult result = producer.send(Bench.message(topic, "A", "k" + i, "m " + i), queue);
      Bench.same((long) i, result.getQueueOffset(), "queue offset of send " + i);
    }
    Bench.await("the consume queue", () -> maxOffset(producer, queue) == 10);
    Bench.same(0L, producer.minOffset(queue), "min offset");
    long stored = producer.earliestMsgStoreTime(queue);
    Bench.check(Math.abs(stored - before) < 60_000, "earliest store time is " + stored);
  }

  private static long maxOffset(DefaultMQProducer producer, MessageQueue queue) {
    try {
      return producer.maxOffset(queue);
    } catch (Exception e) {
      return -1;
    }
  }

  private static void searchOffset(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
    List<MessageExt> stored = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      SendResult result = producer.send(Bench.message(topic, "A", "k" + i, "m " + i), queue);
      Thread.sleep(40);
      stored.add(producer.viewMessage(result.getOffsetMsgId()));
    }
    Bench.await("the consume queue", () -> maxOffset(producer, queue) == 5);
    for (int i = 0; i < 5; i++) {
      long time = stored.get(i).getStoreTimestamp();
      Bench.same((long) i, producer.searchOffset(queue, time), "offset at the time of message " + i);
    }
    Bench.same(0L, producer.searchOffset(queue, 1000L), "offset before the first message");
  }

  private static void viewMessage(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    SendResult result = producer.send(Bench.message(topic, "TagV", "k", "look at me"));
    MessageExt byOffset = producer.viewMessage(result.getOffsetMsgId());
    Bench.same("look at me", Bench.text(byOffset.getBody()), "body by offset message id");
    Bench.same(result.getMessageQueue().getQueueId(), byOffset.getQueueId(), "queue");
    Bench.same(result.getQueueOffset(), byOffset.getQueueOffset(), "queue offset");
    Bench.same("TagV", byOffset.getTags(), "tags");
    Bench.await("the index", () -> body(producer, topic, result.getMsgId()).equals("look at me"));
  }

  private static String body(DefaultMQProducer producer, String topic, String id) {
    try {
      return Bench.text(producer.viewMessage(topic, id).getBody());
    } catch (Exception e) {
      return "";
    }
  }

  private static void byKey(Bench bench) throws Exception {
    String topic = bench.topic(4);
    DefaultMQProducer producer = bench.producer();
    long before = System.currentTimeMillis() - 1000;
    for (int i = 0; i < 30; i++) {
      producer.send(Bench.message(topic, "A", "group" + i % 3 + " single" + i, "m " + i));
    }
    Bench.await("10 messages of one key", () -> found(producer, topic, "group1", before) == 10);
    Bench.same(1, found(producer, topic, "single7", before), "messages of a single key");
    Bench.same(0, found(producer, topic, "nobody", before), "messages of an unknown key");
  }

  private static int found(DefaultMQProducer producer, String topic, String key, long since) {
    try {
      QueryResult result =
          producer.queryMessage(topic, key, 64, since, System.currentTimeMillis() + 1000);
      return result.getMessageList().size();
    } catch (Exception e) {
      return 0;
    }
  }
}
