/* SPDX-License-Identifier: Apache-2.0
 *
 * Producers that send until the broker is gone. What was acknowledged gets a line in the ledger,
 * and so does what was sent without an answer (kind `unknown`): it may have arrived or not.
 */
package org.cometmq.store;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageQueue;

final class Load {
  private static final int THREADS = 3;

  private final Clients clients;
  private final String label;
  private final List<Thread> threads = new ArrayList<>();
  private final List<String> lines = new ArrayList<>();
  private final AtomicInteger acknowledged = new AtomicInteger();

  Load(Clients clients, String label) {
    this.clients = clients;
    this.label = label;
  }

  void start() throws Exception {
    for (int i = 0; i < THREADS; i++) {
      MessageQueue queue = clients.queue("LoadTopic", i);
      threads.add(new Thread(() -> send(queue)));
    }
    for (Thread thread : threads) {
      thread.start();
    }
    Clients.await("some acknowledgements", () -> acknowledged.get() >= 100);
  }

  private void send(MessageQueue queue) {
    for (int i = 0; ; i++) {
      String key = label + "-load-" + queue.getQueueId() + "-" + i;
      byte[] body = (key + " " + new String(new char[i % 900]).replace('\0', '.')).getBytes(StandardCharsets.UTF_8);
      Message message = new Message("LoadTopic", "L", key, body);
      String line;
      boolean ended = false;
      try {
        SendResult result = clients.plainProducer.send(message, queue);
        acknowledged.incrementAndGet();
        line = Writer.line("load", message, result);
      } catch (Exception e) {
        line =
            Writer.line(
                "unknown",
                "LoadTopic",
                queue.getQueueId(),
                -1,
                -1,
                MessageClientIDSetter.getUniqID(message),
                body);
        ended = true;
      }
      synchronized (lines) {
        lines.add(line);
      }
      if (ended) {
        return;
      }
    }
  }

  void finish(PrintWriter ledger) throws Exception {
    for (Thread thread : threads) {
      thread.join(60_000);
      Clients.check(!thread.isAlive(), "a producer does not end");
    }
    for (String line : lines) {
      ledger.println(line);
    }
  }
}
