/* SPDX-License-Identifier: Apache-2.0
 *
 * A listener that keeps what it gets, by body text, and counts repetitions.
 */
package org.cometmq.interop;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

final class Collector implements MessageListenerConcurrently {
  final ConcurrentHashMap<String, MessageExt> byBody = new ConcurrentHashMap<>();
  final List<String> repeated = new CopyOnWriteArrayList<>();

  @Override
  public ConsumeConcurrentlyStatus consumeMessage(
      List<MessageExt> messages, ConsumeConcurrentlyContext context) {
    for (MessageExt message : messages) {
      String body = Bench.text(message.getBody());
      if (byBody.put(body, message) != null) {
        repeated.add(body);
      }
    }
    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
  }

  /** Wait until exactly `expected` are there, each once. */
  void awaitExactly(Set<String> expected) throws InterruptedException {
    Bench.await(
        expected.size() + " messages, have " + byBody.size(),
        () -> byBody.size() >= expected.size());
    Bench.same(new TreeSet<>(expected), new TreeSet<>(byBody.keySet()), "bodies received");
    Bench.check(repeated.isEmpty(), "received twice: " + repeated);
  }
}
