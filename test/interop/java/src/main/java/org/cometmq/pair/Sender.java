/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that send one message after the other, whatever becomes of it, each with a number of its
 * own in its body. A line of the ledger for each attempt, when it has ended:
 *
 *     began ms  ended ms  number  status, or ERROR  queueId  queueOffset  reason
 *
 * Times are of this process's monotonic clock.
 */
package org.cometmq.pair;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

final class Sender {
  private static final int BODY_BYTES = 1000;
  private static final int PAUSE_AFTER_ERROR_MS = 20;
  private static final long PATIENCE_NS = 120_000_000_000L;

  private final DefaultMQProducer producer;
  private final String topic;
  private final PrintWriter ledger;
  private final int pauseMs;
  private final List<Thread> threads = new ArrayList<>();
  private final AtomicInteger numbers = new AtomicInteger();
  private final AtomicInteger accepted = new AtomicInteger();
  private volatile boolean ended;

  Sender(DefaultMQProducer producer, String topic, String path, int threads, int pauseMs)
      throws IOException {
    this.producer = producer;
    this.topic = topic;
    this.ledger = new PrintWriter(path, "UTF-8");
    this.pauseMs = pauseMs;
    for (int i = 0; i < threads; i++) {
      this.threads.add(new Thread(this::send));
    }
  }

  static long nowMs() {
    return System.nanoTime() / 1_000_000;
  }

  void start() {
    threads.forEach(Thread::start);
  }

  private void send() {
    while (!ended) {
      int number = numbers.getAndIncrement();
      byte[] body =
          Arrays.copyOf((number + " ").getBytes(StandardCharsets.UTF_8), number % BODY_BYTES + 16);
      long beganMs = nowMs();
      String outcome;
      int pause = pauseMs;
      try {
        Message message = new Message(topic, "T", String.valueOf(number), body);
        SendResult result = producer.send(message);
        outcome =
            result.getSendStatus()
                + "\t"
                + result.getMessageQueue().getQueueId()
                + "\t"
                + result.getQueueOffset()
                + "\t";
        if (result.getSendStatus() == SendStatus.SEND_OK) {
          accepted.incrementAndGet();
        }
      } catch (Exception e) {
        outcome = "ERROR\t-1\t-1\t" + e.toString().replaceAll("[\\t\\n]", " ");
        pause = PAUSE_AFTER_ERROR_MS;
      }
      synchronized (ledger) {
        ledger.println(beganMs + "\t" + nowMs() + "\t" + number + "\t" + outcome);
        ledger.flush();
      }
      try {
        Thread.sleep(pause);
      } catch (InterruptedException e) {
        return;
      }
    }
  }

  int await(int more) throws InterruptedException {
    int wanted = accepted.get() + more;
    long deadline = System.nanoTime() + PATIENCE_NS;
    while (accepted.get() < wanted) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException(
            accepted.get() + " sends were answered SEND_OK, " + wanted + " are waited for");
      }
      Thread.sleep(5);
    }
    return accepted.get();
  }

  int finish() throws InterruptedException {
    ended = true;
    for (Thread thread : threads) {
      thread.join();
    }
    ledger.close();
    return numbers.get();
  }
}
