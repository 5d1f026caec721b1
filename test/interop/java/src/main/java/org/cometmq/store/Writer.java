/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends messages of every kind and keeps what was acknowledged: a line of a ledger for each.
 *
 *     kind  topic  queueId  queueOffset  commitLogOffset  uniqKey  bodySha256
 *
 * What is delivered later, in another place than the acknowledged one (delayed, sent back, held by
 * a transaction), has -1 for queueOffset and commitLogOffset, and for queueId where the broker
 * chooses it.
 */
package org.cometmq.store;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.rocketmq.client.impl.CommunicationMode;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.header.SendMessageRequestHeader;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;

final class Writer {
  static final String RETRY_GROUP = "CG_retry";
  private static final int PLAIN_PER_QUEUE = 30;
  private static final int BATCHES = 3;
  private static final int PER_BATCH = 20;
  private static final int LEVEL_SHORT = 1;
  private static final int LEVEL_PENDING = 4;
  private static final int LEVEL_NEVER = 5;

  private final Clients clients;
  private final String label;
  private final PrintWriter ledger;
  private final Random random = new Random(4);

  Writer(Clients clients, String label, PrintWriter ledger) {
    this.clients = clients;
    this.label = label;
    this.ledger = ledger;
  }

  static void createTopics(Clients clients) throws Exception {
    SubscriptionGroupConfig group = new SubscriptionGroupConfig();
    group.setGroupName(RETRY_GROUP);
    group.setRetryMaxTimes(7);
    clients.admin.createAndUpdateSubscriptionGroupConfig(clients.broker, group);
    clients.createTopic("PlainTopic", 4, 6);
    clients.createTopic("BatchTopic", 1, 6);
    clients.createTopic("BigTopic", 2, 6);
    clients.createTopic("DelayTopic", 2, 6);
    clients.createTopic("OrderTopic", 3, 6);
    clients.createTopic("RetryTopic", 2, 6);
    clients.createTopic("TxnTopic", 2, 6);
    clients.createTopic("V6Topic", 1, 6);
    clients.createTopic("LoadTopic", 3, 6);
  }

  void write(int largeBytes, boolean transactions, boolean ipv6) throws Exception {
    plain();
    batches();
    big(largeBytes);
    ordered();
    sentBack();
    if (transactions) {
      transactions();
    }
    if (ipv6) {
      ipv6();
    }
    delayed("delayed", LEVEL_SHORT, 3);
    delayed("never", LEVEL_NEVER, 2);
  }

  private Message message(String topic, String tag, String keys, String body) {
    return new Message(topic, tag, keys, body.getBytes(StandardCharsets.UTF_8));
  }

  private String words(int size) {
    StringBuilder text = new StringBuilder(label);
    while (text.length() < size) {
      text.append(' ').append(Integer.toString(random.nextInt(1 << 20), 36));
    }
    return text.toString();
  }

  static String line(
      String kind, String topic, int queue, long offset, long pos, String id, byte[] body) {
    return String.join(
        "\t",
        kind,
        topic,
        String.valueOf(queue),
        String.valueOf(offset),
        String.valueOf(pos),
        id,
        Row.sha256(body, 0, body.length));
  }

  static String line(String kind, Message message, SendResult result) throws Exception {
    Clients.same(SendStatus.SEND_OK, result.getSendStatus(), "status of a send");
    MessageQueue queue = result.getMessageQueue();
    return line(
        kind,
        message.getTopic(),
        queue.getQueueId(),
        result.getQueueOffset(),
        MessageDecoder.decodeMessageId(result.getOffsetMsgId()).getOffset(),
        result.getMsgId(),
        message.getBody());
  }

  private void later(String kind, String topic, int queue, Message message) {
    ledger.println(
        line(kind, topic, queue, -1, -1, MessageClientIDSetter.getUniqID(message), message.getBody()));
  }

  private void plain() throws Exception {
    List<MessageQueue> queues = clients.producer.fetchPublishMessageQueues("PlainTopic");
    for (int i = 0; i < PLAIN_PER_QUEUE * queues.size(); i++) {
      String keys = label + "-" + i + " " + label + "-tens-" + i / 10;
      Message message =
          message("PlainTopic", "Tag" + i % 3, keys, i % 10 == 0 ? "." : words(random.nextInt(2000)));
      message.setFlag(i);
      message.putUserProperty("number", String.valueOf(i));
      message.putUserProperty("text", "Grüße, 你好 " + i);
      if (i % 7 == 0) {
        message.setTags(null);
      }
      SendResult result = clients.producer.send(message, queues.get(i % queues.size()));
      ledger.println(line("plain", message, result));
    }
  }

  private void batches() throws Exception {
    for (int i = 0; i < BATCHES; i++) {
      List<Message> batch = new ArrayList<>();
      for (int j = 0; j < PER_BATCH; j++) {
        String key = label + "-batch-" + i + "-" + j;
        batch.add(message("BatchTopic", "B" + j % 2, key, words(50 + random.nextInt(500))));
      }
      SendResult result = clients.producer.send(batch);
      Clients.same(SendStatus.SEND_OK, result.getSendStatus(), "status of a batch");
      String[] ids = result.getOffsetMsgId().split(",");
      Clients.same(PER_BATCH, ids.length, "offset ids of a batch");
      for (int j = 0; j < PER_BATCH; j++) {
        ledger.println(
            line(
                "batch",
                "BatchTopic",
                result.getMessageQueue().getQueueId(),
                result.getQueueOffset() + j,
                MessageDecoder.decodeMessageId(ids[j]).getOffset(),
                MessageClientIDSetter.getUniqID(batch.get(j)),
                batch.get(j).getBody()));
      }
    }
  }

  /** Compressed by the client, and large without compression. */
  private void big(int largeBytes) throws Exception {
    for (int i = 0; i < 4; i++) {
      Message message = message("BigTopic", "text", label + "-text-" + i, words(8000 * (i + 1)));
      byte[] body = message.getBody();
      SendResult result = clients.producer.send(message);
      message.setBody(body);
      ledger.println(line("compressed", message, result));
    }
    for (int i = 0; i < 6; i++) {
      byte[] body = new byte[largeBytes - 1000 * i];
      random.nextBytes(body);
      Message message = new Message("BigTopic", "bytes", label + "-bytes-" + i, body);
      ledger.println(line("large", message, clients.plainProducer.send(message)));
    }
  }

  private void ordered() throws Exception {
    MessageQueueSelector selector = (queues, message, order) -> queues.get((int) order % queues.size());
    for (int step = 0; step < 5; step++) {
      for (int order = 0; order < 3; order++) {
        String key = label + "-order-" + order;
        Message message = message("OrderTopic", "O", key, words(100) + " step " + step);
        ledger.println(
            line("ordered", message, clients.producer.send(message, selector, order)));
      }
    }
  }

  /** Half of them come back after level 1, half become dead letters. */
  private void sentBack() throws Exception {
    for (int i = 0; i < 4; i++) {
      boolean dead = i % 2 == 1;
      Message message = message("RetryTopic", "R", label + "-retry-" + i, words(200));
      SendResult result = clients.producer.send(message);
      ledger.println(line("plain", message, result));
      long position = MessageDecoder.decodeMessageId(result.getOffsetMsgId()).getOffset();
      MessageExt stored = clients.api().viewMessage(clients.broker, position, Clients.TIMEOUT_MS);
      int level = dead ? -1 : LEVEL_SHORT;
      clients
          .api()
          .consumerSendMessageBack(
              clients.broker, stored, RETRY_GROUP, level, Clients.TIMEOUT_MS, 7);
      if (dead) {
        later("dead", MixAll.getDLQTopic(RETRY_GROUP), 0, message);
      } else {
        later("retry", MixAll.getRetryTopic(RETRY_GROUP), -1, message);
      }
    }
    /* Dead letter topics are write-only until an operator opens them. */
    clients.createTopic(MixAll.getDLQTopic(RETRY_GROUP), 1, 6);
  }

  private void transactions() throws Exception {
    for (int i = 0; i < 7; i++) {
      transaction(i == 6 ? "later" : i % 2 == 0 ? "commit" : "rollback", String.valueOf(i));
    }
  }

  /** What becomes of it is the first word of its body, see Decider. */
  void transaction(String word, String key) throws Exception {
    Message message = message("TxnTopic", "T", label + "-txn-" + key, word + " " + words(100));
    clients.transactionProducer.sendMessageInTransaction(message, null);
    later(word, "TxnTopic", -1, message);
  }

  private void ipv6() throws Exception {
    DefaultMQProducer producer = clients.producer;
    String address = "[::1]:" + clients.broker.split(":")[1];
    for (int i = 0; i < 3; i++) {
      Message message = message("V6Topic", "V", label + "-v6-" + i, words(60));
      MessageClientIDSetter.setUniqID(message);
      SendMessageRequestHeader header = new SendMessageRequestHeader();
      header.setProducerGroup(producer.getProducerGroup());
      header.setTopic(message.getTopic());
      header.setDefaultTopic(producer.getCreateTopicKey());
      header.setDefaultTopicQueueNums(1);
      header.setQueueId(0);
      header.setSysFlag(0);
      header.setBornTimestamp(System.currentTimeMillis());
      header.setFlag(0);
      header.setProperties(MessageDecoder.messageProperties2String(message.getProperties()));
      header.setReconsumeTimes(0);
      header.setUnitMode(false);
      header.setBatch(false);
      SendResult result =
          clients
              .api()
              .sendMessage(
                  address,
                  clients.brokerName,
                  message,
                  header,
                  Clients.TIMEOUT_MS,
                  CommunicationMode.SYNC,
                  null,
                  producer.getDefaultMQProducerImpl());
      ledger.println(line("ipv6", message, result));
    }
  }

  private void delayed(String kind, int level, int count) throws Exception {
    for (int i = 0; i < count; i++) {
      Message message = message("DelayTopic", "D", label + "-" + kind + "-" + i, words(100));
      message.setDelayTimeLevel(level);
      SendResult result = clients.producer.send(message);
      Clients.same(SendStatus.SEND_OK, result.getSendStatus(), "status of a delayed message");
      later(kind, "DelayTopic", result.getMessageQueue().getQueueId(), message);
    }
  }

  /** Delayed messages that become due after the broker has changed. */
  void pending() throws Exception {
    delayed("pending", LEVEL_PENDING, 5);
  }
}
