/* SPDX-License-Identifier: Apache-2.0
 *
 * Traffic of Apache's client for test/interop/java-pair: a producer and a consumer that go on
 * whatever happens to the brokers, and keep what they were told. Reads one command a line from
 * standard input, words separated by tabs, and answers each with one line, `ok ...` or
 * `FAILED reason`.
 *
 *     topic NAMESRV BROKER TOPIC QUEUES  make the topic at that broker
 *     connect NAMESRV POLL_MS            a producer, and how often clients ask for routes
 *     produce TOPIC FILE THREADS PAUSE   send until told to stop, see Sender; PAUSE: ms after each
 *     count N                            wait until N more sends have been answered SEND_OK
 *     halt                               stop sending; how many were sent
 *     consume GROUP TOPIC FILE           start a push consumer that goes on until `leave`
 *     leave                              stop it; how many messages it took
 *     status TOPIC                       one send: its status
 */
package org.cometmq.pair;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

public final class Main {
  private static final int TIMEOUT_MS = 15000;

  private String namesrv;
  private int pollMs;
  private DefaultMQProducer producer;
  private Sender sender;
  private Receiver receiver;

  private Main() {}

  public static void main(String[] args) throws Exception {
    Main main = new Main();
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) {
      String answer;
      try {
        answer = "ok " + main.obey(line.split("\t"));
      } catch (Throwable error) {
        answer = "FAILED " + error;
      }
      System.out.println(answer.replace('\n', ' '));
      System.out.flush();
    }
    System.exit(0);
  }

  private Object obey(String[] words) throws Exception {
    switch (words[0]) {
      case "topic":
        makeTopic(words[1], words[2], words[3], Integer.parseInt(words[4]));
        return "";
      case "connect":
        namesrv = words[1];
        pollMs = Integer.parseInt(words[2]);
        producer = new DefaultMQProducer("PG_traffic");
        producer.setNamesrvAddr(namesrv);
        producer.setPollNameServerInterval(pollMs);
        producer.setSendMsgTimeout(TIMEOUT_MS);
        /* Each attempt has a line of its own in the ledger. */
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        return "";
      case "produce":
        sender =
            new Sender(
                producer,
                words[1],
                words[2],
                Integer.parseInt(words[3]),
                Integer.parseInt(words[4]));
        sender.start();
        return "";
      case "count":
        return sender.await(Integer.parseInt(words[1]));
      case "halt":
        return sender.finish();
      case "consume":
        receiver = new Receiver(namesrv, pollMs, words[1], words[2], words[3]);
        return "";
      case "leave":
        return receiver.finish();
      case "status":
        return producer
            .send(new Message(words[1], "status".getBytes(StandardCharsets.UTF_8)))
            .getSendStatus();
      default:
        throw new IllegalArgumentException("no such command: " + words[0]);
    }
  }

  private static void makeTopic(String namesrv, String broker, String topic, int queues)
      throws Exception {
    DefaultMQAdminExt admin = new DefaultMQAdminExt(TIMEOUT_MS);
    admin.setNamesrvAddr(namesrv);
    admin.start();
    try {
      admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, queues, queues, 6));
    } finally {
      admin.shutdown();
    }
  }
}
