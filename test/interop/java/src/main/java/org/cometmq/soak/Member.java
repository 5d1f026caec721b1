/* SPDX-License-Identifier: Apache-2.0
 *
 * Apache's Java client as a member of a soak (test/soak/): a process that is called as
 * test/soak/members.py is, and writes down what it does as test/soak/history.py says. SIGTERM ends it
 * well.
 *
 *     Member java-ordered|java-transactional JSON NAMESRV
 */
package org.cometmq.soak;

import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

public final class Member {
  private static final int POLL_MS = 1000;
  private static final int PAUSE_MS = 60;
  private static final int BODY_BYTES = 2000;
  private static final int SEND_MS = 5000;
  private static final int END_MS = 20000;
  private static final String TRANSACTION_GROUP = "soak-transactions";
  private static final String NAME_PROPERTY = "soak";

  private final JSONObject settings;
  private final String namesrv;
  private final OutputStream history;
  private volatile boolean ending;

  private Member(String json, String namesrv) throws IOException {
    settings = JSON.parseObject(json);
    this.namesrv = namesrv;
    history = new FileOutputStream(settings.getString("history"), true);
  }

  public static void main(String[] args) throws Exception {
    Member member = new Member(args[1], args[2]);
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      member.ending = true;
      try {
        main.join(END_MS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }));
    if (args[0].equals("java-ordered")) {
      member.consume();
    } else {
      member.produce();
    }
  }

  /** One whole line. */
  private synchronized void write(String event, JSONObject members) {
    members.put("e", event);
    members.put("at", System.currentTimeMillis() / 1000.0);
    try {
      history.write((members.toJSONString() + "\n").getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private static byte[] digest(byte[] bytes) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(bytes);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String checksum(byte[] body) {
    StringBuilder text = new StringBuilder();
    for (byte one : digest(body)) {
      text.append(String.format("%02x", one));
    }
    return text.substring(0, 16);
  }

  // --- a producer of the group of test/soak/members.py's transactional ones ---

  /** How it ends is told by the message's name, so that everybody of the group knows. */
  private static LocalTransactionState outcome(String name) {
    boolean isOdd = digest(name.getBytes(StandardCharsets.UTF_8))[0] % 2 != 0;
    return isOdd ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
  }

  private static LocalTransactionState mostly(Message message, double chance) {
    return ThreadLocalRandom.current().nextDouble() < chance
        ? outcome(message.getUserProperty(NAME_PROPERTY)) : LocalTransactionState.UNKNOW;
  }

  private final class Listener implements TransactionListener {
    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
      return mostly(message, 0.7);
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
      JSONObject asked = new JSONObject();
      asked.put("id", message.getUserProperty(NAME_PROPERTY));
      write("asked", asked);
      return mostly(message, 0.8);
    }
  }

  private void produce() throws Exception {
    TransactionMQProducer producer = new TransactionMQProducer(TRANSACTION_GROUP);
    producer.setNamesrvAddr(namesrv);
    producer.setPollNameServerInterval(POLL_MS);
    // What the client sends again by itself is a transaction of its own.
    producer.setRetryTimesWhenSendFailed(0);
    producer.setSendMsgTimeout(SEND_MS);
    producer.setTransactionListener(new Listener());
    producer.start();
    for (int number = 0; !ending; number++) {
      send(producer, settings.getString("name") + "-" + number);
      Thread.sleep(ThreadLocalRandom.current().nextInt(PAUSE_MS));
    }
    producer.shutdown();
  }

  private void send(TransactionMQProducer producer, String name) throws InterruptedException {
    byte[] body = new byte[1 + ThreadLocalRandom.current().nextInt(BODY_BYTES)];
    ThreadLocalRandom.current().nextBytes(body);
    Message message = new Message(settings.getString("topic"), body);
    message.putUserProperty(NAME_PROPERTY, name);
    message.setKeys(name);
    JSONObject sent = new JSONObject();
    sent.put("id", name);
    sent.put("topic", message.getTopic());
    sent.put("sum", checksum(body));
    boolean commits = outcome(name) == LocalTransactionState.COMMIT_MESSAGE;
    sent.put("promise", commits ? "committed" : "never");
    write("send", sent);
    try {
      SendResult result = producer.sendMessageInTransaction(message, null);
      if (result.getSendStatus() == SendStatus.SEND_OK) {
        JSONObject acked = new JSONObject();
        acked.put("id", name);
        write("acked", acked);
      }
    } catch (Exception e) {
      if (e instanceof InterruptedException) {
        throw (InterruptedException) e;
      }
      Thread.sleep(PAUSE_MS); /* the broker is away */
    }
  }

  // --- a consumer in order ---

  private void consume() throws Exception {
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(settings.getString("group"));
    consumer.setNamesrvAddr(namesrv);
    consumer.setPollNameServerInterval(POLL_MS);
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.setConsumeMessageBatchMaxSize(1);
    consumer.subscribe(settings.getString("topic"), "*");
    consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
      for (MessageExt message : messages) {
        JSONObject got = new JSONObject();
        got.put("member", settings.getString("name"));
        got.put("group", settings.getString("group"));
        got.put("topic", message.getTopic());
        got.put("queue", message.getQueueId());
        got.put("offset", message.getQueueOffset());
        got.put("id", message.getUserProperty(NAME_PROPERTY));
        got.put("sum", checksum(message.getBody()));
        write("got", got);
      }
      return ConsumeOrderlyStatus.SUCCESS;
    });
    consumer.start();
    while (!ending) {
      Thread.sleep(PAUSE_MS);
    }
    consumer.shutdown();
  }
}
