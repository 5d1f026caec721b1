/* SPDX-License-Identifier: Apache-2.0
 *
 * SQL92 expressions: by every kind of consumer, several over one topic, changed while they run, and
 * wrong ones. The broker needs enablePropertyFilter=true (run sets it).
 */
package org.cometmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntPredicate;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class FilterCases {
  private static final int COUNT = 60;

  private FilterCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("filter/push", FilterCases::push);
    cases.put("filter/woken", FilterCases::woken);
    cases.put("filter/lite-pull", FilterCases::litePull);
    cases.put("filter/pull", FilterCases::pull);
    cases.put("filter/changed", FilterCases::changed);
    cases.put("filter/wrong", FilterCases::wrong);
    cases.put("filter/backlog", FilterCases::backlog);
  }

  /**
   * Message i has tag even or odd, the numbers n and half, and every third one a colour. Not in
   * batches: of those 4.9.2 damages the last property.
   */
  private static void send(DefaultMQProducer producer, String topic, int from, int to)
      throws Exception {
    for (int i = from; i < to; i++) {
      Message message = Bench.message(topic, i % 2 == 0 ? "even" : "odd", "k" + i, "m " + i);
      message.putUserProperty("n", String.valueOf(i));
      message.putUserProperty("half", String.valueOf(i / 2.0));
      if (i % 3 == 0) {
        message.putUserProperty("colour", i % 6 == 0 ? "it's red" : "gr\u00fcn");
      }
      producer.send(message);
    }
  }

  private static Set<String> bodies(int count, IntPredicate wanted) {
    Set<String> bodies = new HashSet<>();
    for (int i = 0; i < count; i++) {
      if (wanted.test(i)) {
        bodies.add("m " + i);
      }
    }
    return bodies;
  }

  private static Collector consume(Bench bench, String topic, MessageSelector selector)
      throws Exception {
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, selector);
    consumer.registerMessageListener(collector);
    consumer.start();
    return collector;
  }

  private static void push(Bench bench) throws Exception {
    String topic = bench.topic(4);
    send(bench.producer(), topic, 0, COUNT);
    Collector numbers =
        consume(bench, topic, MessageSelector.bySql("n BETWEEN 10 AND 19 OR n >= 58"));
    Collector colours =
        consume(bench, topic, MessageSelector.bySql("colour IN ('it''s red') AND half < 10.5"));
    Collector letters = consume(bench, topic, MessageSelector.bySql("colour = 'gr\u00fcn'"));
    Collector without =
        consume(bench, topic, MessageSelector.bySql("colour IS NULL AND TAGS = 'odd'"));
    Collector tags = consume(bench, topic, MessageSelector.byTag("even"));
    numbers.awaitExactly(bodies(COUNT, i -> (i >= 10 && i <= 19) || i >= 58));
    colours.awaitExactly(bodies(COUNT, i -> i % 6 == 0 && i < 21));
    letters.awaitExactly(bodies(COUNT, i -> i % 6 == 3));
    without.awaitExactly(bodies(COUNT, i -> i % 3 != 0 && i % 2 == 1));
    tags.awaitExactly(bodies(COUNT, i -> i % 2 == 0));
  }

  private static void woken(Bench bench) throws Exception {
    String topic = bench.topic(1);
    Collector collector = consume(bench, topic, MessageSelector.bySql("n = 7 OR n = 23"));
    DefaultMQProducer producer = bench.producer();
    send(producer, topic, 0, 1);
    Thread.sleep(500); /* so that pulls are held */
    for (int i = 1; i < 30; i++) {
      send(producer, topic, i, i + 1);
    }
    collector.awaitExactly(bodies(30, i -> i == 7 || i == 23));
  }

  private static void litePull(Bench bench) throws Exception {
    String topic = bench.topic(4);
    send(bench.producer(), topic, 0, COUNT);
    DefaultLitePullConsumer consumer = bench.litePullConsumer(Bench.unique("C"));
    consumer.subscribe(topic, MessageSelector.bySql("n > 20 AND colour IS NOT NULL"));
    consumer.start();
    Set<String> expected = bodies(COUNT, i -> i > 20 && i % 3 == 0);
    Set<String> found = new HashSet<>();
    Bench.await(
        expected.size() + " messages",
        () -> {
          for (MessageExt message : consumer.poll(200)) {
            found.add(Bench.text(message.getBody()));
          }
          return found.size() >= expected.size();
        });
    Bench.same(expected, found, "bodies received");
  }

  /** The client asks a broker to filter once a heartbeat has told it the broker's version. */
  private static boolean knowsVersion(DefaultMQPullConsumer consumer, MessageQueue queue) {
    try {
      consumer.pull(queue, MessageSelector.bySql("n = 0"), 0, 1);
      return true;
    } catch (MQClientException tooEarly) {
      consumer
          .getDefaultMQPullConsumerImpl()
          .getRebalanceImpl()
          .getmQClientFactory()
          .sendHeartbeatToAllBrokerWithLock();
      return false;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  private static void pull(Bench bench) throws Exception {
    String topic = bench.topic(1);
    send(bench.producer(), topic, 0, COUNT);
    DefaultMQPullConsumer consumer = bench.pullConsumer();
    MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
    Bench.await("the broker's version", () -> knowsVersion(consumer, queue));
    List<String> found = new ArrayList<>();
    long offset = 0;
    while (true) {
      PullResult result =
          consumer.pull(queue, MessageSelector.bySql("half > 28.5 OR n = 0"), offset, 32);
      offset = result.getNextBeginOffset();
      if (result.getPullStatus() == PullStatus.FOUND) {
        for (MessageExt message : result.getMsgFoundList()) {
          found.add(Bench.text(message.getBody()));
        }
      } else if (result.getPullStatus() != PullStatus.NO_MATCHED_MSG) {
        break;
      }
    }
    /* 0 / 2.0 is 0.0, and 58 / 2.0 is 29.0. */
    Bench.same(Arrays.asList("m 0", "m 58", "m 59"), found, "bodies received");
    Bench.same((long) COUNT, offset, "the offset after all");
  }

  private static void changed(Bench bench) throws Exception {
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, MessageSelector.bySql("n < 5"));
    consumer.registerMessageListener(collector);
    consumer.start();
    send(producer, topic, 0, 20);
    collector.awaitExactly(bodies(20, i -> i < 5));
    consumer.subscribe(topic, MessageSelector.bySql("n >= 100"));
    consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
    /* A pull that is held keeps the expression that it came with, here and at Apache's; so send it
     * something, until the new expression has taken over. */
    for (int i = 100; !collector.byBody.containsKey("m " + (i - 1)) && i < 400; i++) {
      send(producer, topic, 0, 1);
      send(producer, topic, i, i + 1);
      Thread.sleep(500);
    }
    int before = collector.repeated.size();
    send(producer, topic, 0, 5);
    send(producer, topic, 500, 501);
    Bench.await("the last one", () -> collector.byBody.containsKey("m 500"));
    Bench.same(before, collector.repeated.size(), "messages of the expression before");
  }

  private static void wrong(Bench bench) throws Exception {
    String topic = bench.topic(1);
    for (String expression : new String[] {"n > 3 AND", "n > 'x'", "n IN (5)", "", "n == 5"}) {
      DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
      try {
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        consumer.registerMessageListener(new Collector());
        consumer.start();
      } catch (MQClientException refused) {
        continue;
      }
      throw new AssertionError("not refused: " + expression);
    }
  }

  private static void backlog(Bench bench) throws Exception {
    String topic = bench.topic(2);
    send(bench.producer(), topic, 0, 2000);
    Collector collector = consume(bench, topic, MessageSelector.bySql("n IN ('17', '1234', '1999')"));
    collector.awaitExactly(bodies(2000, i -> i == 17 || i == 1234 || i == 1999));
  }
}
