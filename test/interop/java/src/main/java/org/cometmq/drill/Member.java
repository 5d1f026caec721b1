/* SPDX-License-Identifier: Apache-2.0
 *
 * Apache's Java client as a client of a drill (test/drill/): a process that sends, or consumes, until
 * it is asked to end, and writes down what it is told in the form of test/drill/ledger.py.
 *
 *     Member produce|consume NAME NAMESRV TOPIC HISTORY [GROUP]
 */
package org.cometmq.drill;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageExt;

public final class Member {
  private static final int POLL_MS = 1000;
  private static final int PAUSE_MS = 10;

  private final String name;
  private final String namesrv;
  private final String topic;
  private final OutputStream history;
  private volatile boolean ending;

  private Member(String[] args) throws IOException {
    name = args[1];
    namesrv = args[2];
    topic = args[3];
    history = new FileOutputStream(args[4], true);
  }

  public static void main(String[] args) throws Exception {
    Member member = new Member(args);
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      member.ending = true;
      try {
        main.join(20000);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }));
    if (args[0].equals("produce")) {
      member.produce();
    } else {
      member.consume(args[5]);
    }
  }

  /** One whole line; `members` is JSON without its braces. */
  private synchronized void write(String event, String members) {
    String line = String.format("{\"e\":\"%s\",\"at\":%.3f,%s}%n", event,
        System.currentTimeMillis() / 1000.0, members);
    try {
      history.write(line.getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String checksum(byte[] body) {
    try {
      StringBuilder text = new StringBuilder();
      for (byte one : MessageDigest.getInstance("SHA-256").digest(body)) {
        text.append(String.format("%02x", one));
      }
      return text.substring(0, 16);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  /** broker-a is group a. */
  private static String group(String broker) {
    return broker.substring("broker-".length());
  }

  private void produce() throws Exception {
    DefaultMQProducer producer = new DefaultMQProducer("drill-java-producers");
    producer.setNamesrvAddr(namesrv);
    producer.setPollNameServerInterval(POLL_MS);
    producer.start();
    for (int number = 0; !ending; number++) {
      Message message = new Message(topic, (name + " " + number).getBytes(StandardCharsets.UTF_8));
      MessageClientIDSetter.setUniqID(message);
      send(producer, message);
      Thread.sleep(PAUSE_MS);
    }
    producer.shutdown();
  }

  private void send(DefaultMQProducer producer, Message message) throws InterruptedException {
    String id = MessageClientIDSetter.getUniqID(message);
    write("sent", String.format(
        "\"id\":\"%s\",\"topic\":\"%s\",\"lane\":\"%s-roaming\",\"sum\":\"%s\",\"retried\":true", id,
        topic, name, checksum(message.getBody())));
    try {
      SendResult result = producer.send(message);
      write("acked", String.format(
          "\"id\":\"%s\",\"group\":\"%s\",\"queue\":%d,\"offset\":%d,\"code\":%d", id,
          group(result.getMessageQueue().getBrokerName()), result.getMessageQueue().getQueueId(),
          result.getQueueOffset(), code(result.getSendStatus())));
    } catch (InterruptedException e) {
      throw e;
    } catch (Exception e) {
      write("failed", String.format("\"id\":\"%s\"", id));
    }
  }

  private static int code(SendStatus status) {
    switch (status) {
      case SEND_OK:
        return 0;
      case FLUSH_DISK_TIMEOUT:
        return 10;
      case SLAVE_NOT_AVAILABLE:
        return 11;
      default:
        return 12;
    }
  }

  private void consume(String group) throws Exception {
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
    consumer.setNamesrvAddr(namesrv);
    consumer.setPollNameServerInterval(POLL_MS);
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.setConsumeThreadMin(1);
    consumer.setConsumeThreadMax(1);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
      for (MessageExt message : messages) {
        write("got", String.format(
            "\"member\":\"%s\",\"topic\":\"%s\",\"group\":\"%s\",\"queue\":%d,\"offset\":%d,"
                + "\"id\":\"%s\",\"sum\":\"%s\",\"source\":-1,\"again\":true", name, topic,
            group(context.getMessageQueue().getBrokerName()), message.getQueueId(),
            message.getQueueOffset(), message.getMsgId(), checksum(message.getBody())));
      }
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    consumer.start();
    while (!ending) {
      Thread.sleep(PAUSE_MS);
    }
    consumer.shutdown();
  }
}
