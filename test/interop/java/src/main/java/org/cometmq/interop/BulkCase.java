/* SPDX-License-Identifier: Apache-2.0
 *
 * A hundred thousand messages, sent while a push consumer runs, each received exactly once.
 */
package org.cometmq.interop;

import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;

final class BulkCase {
  private static final int COUNT = Integer.getInteger("interop.bulk", 100_000);
  private static final int IN_FLIGHT = 256;

  private BulkCase() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("bulk/exactly-once", BulkCase::exactlyOnce);
  }

  private static void exactlyOnce(Bench bench) throws Exception {
    String topic = bench.topic(8);
    AtomicIntegerArray seen = new AtomicIntegerArray(COUNT);
    AtomicInteger distinct = new AtomicInteger();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.setConsumeMessageBatchMaxSize(32);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              for (MessageExt message : messages) {
                int index = Integer.parseInt(Bench.text(message.getBody()).substring(8));
                if (seen.getAndIncrement(index) == 0) {
                  distinct.incrementAndGet();
                }
              }
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();

    DefaultMQProducer producer = bench.producer();
    Semaphore free = new Semaphore(IN_FLIGHT);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    SendCallback callback =
        new SendCallback() {
          @Override
          public void onSuccess(SendResult result) {
            free.release();
          }

          @Override
          public void onException(Throwable error) {
            failure.set(error);
            free.release();
          }
        };
    for (int i = 0; i < COUNT && failure.get() == null; i++) {
      free.acquire();
      producer.send(Bench.message(topic, "A", "key" + i, "message " + i), callback);
    }
    free.acquire(IN_FLIGHT);
    Bench.check(failure.get() == null, "a send failed: " + failure.get());
    Bench.await(
        "all messages, have " + distinct.get(), () -> distinct.get() == COUNT);
    int repeated = 0;
    for (int i = 0; i < COUNT; i++) {
      repeated += seen.get(i) > 1 ? 1 : 0;
    }
    Bench.same(0, repeated, "messages received more than once");
  }
}
