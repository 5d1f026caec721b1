/* SPDX-License-Identifier: Apache-2.0
 *
 * A push consumer from the first message on. A line of the ledger for each message that comes:
 *
 *     ms of the monotonic clock  number  queueId  queueOffset
 */
package org.cometmq.pair;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

final class Receiver {
  private final DefaultMQPushConsumer consumer;
  private final PrintWriter ledger;
  private int taken;

  Receiver(String namesrv, int pollMs, String group, String topic, String path) throws Exception {
    ledger = new PrintWriter(path, "UTF-8");
    consumer = new DefaultMQPushConsumer(group);
    consumer.setNamesrvAddr(namesrv);
    consumer.setPollNameServerInterval(pollMs);
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              messages.forEach(this::take);
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
  }

  private synchronized void take(MessageExt message) {
    String number = new String(message.getBody(), StandardCharsets.UTF_8).split(" ", 2)[0];
    ledger.println(
        Sender.nowMs()
            + "\t"
            + number
            + "\t"
            + message.getQueueId()
            + "\t"
            + message.getQueueOffset());
    ledger.flush();
    taken++;
  }

  synchronized int taken() {
    return taken;
  }

  int finish() {
    consumer.shutdown();
    ledger.close();
    return taken();
  }
}
