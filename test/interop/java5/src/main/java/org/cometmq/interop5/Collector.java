/* SPDX-License-Identifier: Apache-2.0
 *
 * A listener that keeps what it is given.
 */
package org.cometmq.interop5;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

class Collector implements MessageListenerConcurrently {
  final ConcurrentHashMap<String, MessageExt> byBody = new ConcurrentHashMap<>();
  final List<String> repeated = new CopyOnWriteArrayList<>();

  @Override
  public ConsumeConcurrentlyStatus consumeMessage(
      List<MessageExt> messages, ConsumeConcurrentlyContext context) {
    messages.forEach(this::add);
    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
  }

  void add(MessageExt message) {
    String body = Bench.text(message.getBody());
    if (byBody.put(body, message) != null) {
      repeated.add(body);
    }
  }

  /** Wait until exactly `expected` are there, each once. */
  void awaitExactly(Set<String> expected) throws Exception {
    Bench.await(
        expected.size() + " messages, have " + byBody.size(),
        () -> byBody.size() >= expected.size());
    Bench.same(new TreeSet<>(expected), new TreeSet<>(byBody.keySet()), "bodies received");
    Bench.check(repeated.isEmpty(), "received twice: " + repeated);
  }
}
