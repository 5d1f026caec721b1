/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that a broker holds: each queue read from its first offset to its last by a pull
 * consumer, with the stored bytes and the queue entries beside it; and the same messages looked up
 * by key, by unique id, by offset id and by time.
 */
package org.cometmq.store;

import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.impl.CommunicationMode;
import org.apache.rocketmq.client.impl.consumer.PullResultExt;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.body.ConsumeQueueData;
import org.apache.rocketmq.common.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.common.sysflag.PullSysFlag;
import org.apache.rocketmq.remoting.common.RemotingUtil;

final class Dump {
  /** 4.9.2 has no configuration of these at first, or never, and then they cannot be pulled. */
  private static final List<String> TRANSACTIONS =
      Arrays.asList("RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC");

  private static final int PULL = 256;
  private static final int THREADS = 4;
  private static final long LAG_NS = 3_000_000_000L;
  /** 4.9.2's maxMsgsNumBatch: no answer by key has more. */
  private static final int ANSWERS_MAX = 64;

  /** Only BenchmarkTest has more, and nothing in them. */
  private static final int QUEUES_MAX = 64;

  private final Clients clients;
  private final Map<String, TopicConfig> topics = new TreeMap<>();
  final List<Row> rows = new ArrayList<>();
  final Map<MessageQueue, long[]> bounds = new TreeMap<>();

  Dump(Clients clients) {
    this.clients = clients;
  }

  void read() throws Exception {
    topics.putAll(clients.topics());
    for (TopicConfig topic : topics.values()) {
      int queues = Math.max(topic.getReadQueueNums(), topic.getWriteQueueNums());
      for (int id = 0; id < queues && queues <= QUEUES_MAX; id++) {
        readQueue(clients.queue(topic.getTopicName(), id), true);
      }
    }
    for (String topic : TRANSACTIONS) {
      if (!topics.containsKey(topic)) {
        readQueue(clients.queue(topic, 0), false);
      }
    }
  }

  private void readQueue(MessageQueue queue, boolean canPull) throws Exception {
    long max = clients.maxOffset(queue.getTopic(), queue.getQueueId());
    long min = clients.minOffset(queue.getTopic(), queue.getQueueId());
    if (max <= 0) {
      return;
    }
    bounds.put(queue, new long[] {min, max});
    List<ConsumeQueueData> entries = entries(queue, min, max);
    for (long offset = min; offset < max; ) {
      if (!canPull) {
        rows.add(view(entries.get((int) (offset - min))));
        offset++;
        continue;
      }
      PullResult result = clients.reader.pull(queue, "*", offset, PULL);
      Clients.same(PullStatus.FOUND, result.getPullStatus(), queue + " at " + offset);
      List<String> stored = stored(queue, offset);
      List<MessageExt> messages = result.getMsgFoundList();
      /* More may have come meanwhile. */
      for (int i = 0; i < messages.size() && offset + i < max; i++) {
        Clients.same(offset + i, messages.get(i).getQueueOffset(), "queue offset in " + queue);
        long tagsCode = entries.get((int) (offset - min) + i).getTagsCode();
        rows.add(new Row(messages.get(i), stored.get(i), tagsCode));
      }
      offset = result.getNextBeginOffset();
    }
  }

  private List<ConsumeQueueData> entries(MessageQueue queue, long min, long max) throws Exception {
    List<ConsumeQueueData> entries = new ArrayList<>();
    while (entries.size() < max - min) {
      List<ConsumeQueueData> more =
          clients
              .admin
              .queryConsumeQueue(
                  clients.broker,
                  queue.getTopic(),
                  queue.getQueueId(),
                  min + entries.size(),
                  (int) (max - min) - entries.size(),
                  null)
              .getQueueData();
      Clients.check(more != null && !more.isEmpty(), "no entries in " + queue);
      entries.addAll(more);
    }
    return entries;
  }

  /** The checksums of the records of a pull, before the client decodes them. */
  private List<String> stored(MessageQueue queue, long offset) throws Exception {
    PullMessageRequestHeader header = new PullMessageRequestHeader();
    header.setConsumerGroup(Clients.READER);
    header.setTopic(queue.getTopic());
    header.setQueueId(queue.getQueueId());
    header.setQueueOffset(offset);
    header.setMaxMsgNums(PULL);
    header.setSysFlag(PullSysFlag.buildSysFlag(false, false, true, false));
    header.setCommitOffset(0L);
    header.setSuspendTimeoutMillis(0L);
    header.setSubscription("*");
    header.setSubVersion(0L);
    PullResultExt result =
        (PullResultExt)
            clients
                .api()
                .pullMessage(
                    clients.broker, header, Clients.TIMEOUT_MS, CommunicationMode.SYNC, null);
    byte[] bytes = result.getMessageBinary();
    List<String> sums = new ArrayList<>();
    for (int at = 0; at < bytes.length; ) {
      int size = ByteBuffer.wrap(bytes).getInt(at);
      sums.add(Row.sha256(bytes, at, size));
      at += size;
    }
    return sums;
  }

  private Row view(ConsumeQueueData entry) throws Exception {
    MessageExt message =
        clients.api().viewMessage(clients.broker, entry.getPhysicOffset(), Clients.TIMEOUT_MS);
    return new Row(message, "", entry.getTagsCode());
  }

  void write(String path) throws Exception {
    try (PrintWriter out = new PrintWriter(path, "UTF-8")) {
      out.println(Row.HEAD);
      for (Row row : rows) {
        out.println(row.line());
      }
    }
    try (PrintWriter out = new PrintWriter(path + ".queues", "UTF-8")) {
      out.println("topic\tqueueId\tminOffset\tmaxOffset");
      for (Map.Entry<MessageQueue, long[]> entry : bounds.entrySet()) {
        out.println(
            entry.getKey().getTopic()
                + "\t"
                + entry.getKey().getQueueId()
                + "\t"
                + entry.getValue()[0]
                + "\t"
                + entry.getValue()[1]);
      }
    }
  }

  /* --- looking up --- */

  interface Task {
    void run() throws Exception;
  }

  /**
   * Look every message up; returns how many look-ups there were. byTime: also by time, which is
   * exact in our broker only: 4.9.2 chooses the queue file by when it was last modified.
   */
  int lookUp(boolean byTime) throws Exception {
    List<Task> tasks = new ArrayList<>();
    for (Row row : rows) {
      tasks.add(() -> byOffsetId(row));
    }
    for (Map.Entry<String, List<Row>> entry : byProperty(true).entrySet()) {
      tasks.add(() -> byUniqueId(entry.getKey(), entry.getValue()));
    }
    for (Map.Entry<String, List<Row>> entry : byProperty(false).entrySet()) {
      tasks.add(() -> byKey(entry.getKey(), entry.getValue()));
    }
    Map<MessageQueue, List<Row>> queues = new HashMap<>();
    for (Row row : byTime ? rows : Collections.<Row>emptyList()) {
      MessageQueue queue = clients.queue(row.message.getTopic(), row.message.getQueueId());
      queues.computeIfAbsent(queue, q -> new ArrayList<>()).add(row);
    }
    for (Map.Entry<MessageQueue, List<Row>> entry : queues.entrySet()) {
      tasks.add(() -> byTime(entry.getKey(), entry.getValue()));
    }
    long deadline = System.nanoTime() + LAG_NS;
    ExecutorService pool = Executors.newFixedThreadPool(THREADS);
    try {
      List<Future<Void>> futures = new ArrayList<>();
      for (Task task : tasks) {
        futures.add(
            pool.submit(
                () -> {
                  persist(task, deadline);
                  return null;
                }));
      }
      for (Future<Void> future : futures) {
        future.get();
      }
    } finally {
      pool.shutdownNow();
    }
    return tasks.size();
  }

  /** The index follows the queues a moment later. */
  private static void persist(Task task, long deadline) throws Exception {
    while (true) {
      try {
        task.run();
        return;
      } catch (Exception | AssertionError e) {
        if (System.nanoTime() > deadline) {
          throw e;
        }
        Thread.sleep(50);
      }
    }
  }

  /** Rows by topic and unique id, or by topic and key, joined by a tab. */
  private Map<String, List<Row>> byProperty(boolean unique) {
    Map<String, List<Row>> found = new HashMap<>();
    for (Row row : rows) {
      String text =
          unique
              ? row.message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX)
              : row.message.getKeys();
      for (String word : text == null ? new String[0] : text.split(" ")) {
        /* Clients ask only brokers that have the topic. */
        if (!word.isEmpty() && topics.containsKey(row.message.getTopic())) {
          found
              .computeIfAbsent(row.message.getTopic() + "\t" + word, w -> new ArrayList<>())
              .add(row);
        }
      }
    }
    return found;
  }

  private void byOffsetId(Row row) throws Exception {
    String id =
        MessageDecoder.createMessageId(
            RemotingUtil.string2SocketAddress(clients.broker), row.message.getCommitLogOffset());
    MessageExt message = clients.producer.viewMessage(id);
    Clients.same(Row.describe(row.message), Row.describe(message), "by offset id " + id);
  }

  private void byUniqueId(String name, List<Row> expected) throws Exception {
    String[] names = name.split("\t");
    Row oldest =
        Collections.min(
            expected, (a, b) -> Long.compare(a.message.getStoreTimestamp(), b.message.getStoreTimestamp()));
    /* Of several with one id the client gives the oldest. */
    MessageExt message = null;
    for (MessageExt one :
        clients
            .admin
            .queryMessageByUniqKey(names[0], names[1], ANSWERS_MAX, 0, Long.MAX_VALUE)
            .getMessageList()) {
      message = one;
    }
    Clients.check(message != null, "nothing by unique id " + names[1] + " in " + names[0]);
    for (Row row : expected) {
      if (row.message.getStoreTimestamp() == oldest.message.getStoreTimestamp()
          && row.message.getCommitLogOffset() == message.getCommitLogOffset()) {
        Clients.same(Row.describe(row.message), Row.describe(message), "by unique id " + name);
        return;
      }
    }
    throw new AssertionError("another message by unique id " + name + ": " + message);
  }

  private void byKey(String name, List<Row> expected) throws Exception {
    String[] names = name.split("\t");
    Map<Long, String> found = new TreeMap<>();
    List<MessageExt> messages =
        clients
            .producer
            .queryMessage(names[0], names[1], ANSWERS_MAX, 0, Long.MAX_VALUE)
            .getMessageList();
    for (MessageExt message : messages) {
      String before = found.put(message.getCommitLogOffset(), Row.describe(message));
      Clients.check(before == null, "twice by key " + name + ": " + message);
    }
    Map<Long, String> wanted = new TreeMap<>();
    for (Row row : expected) {
      wanted.put(row.message.getCommitLogOffset(), Row.describe(row.message));
    }
    if (wanted.size() > ANSWERS_MAX) {
      Clients.same(ANSWERS_MAX, found.size(), "messages by key " + name);
      wanted.keySet().retainAll(found.keySet());
    }
    Clients.same(
        new TreeSet<>(wanted.keySet()), new TreeSet<>(found.keySet()), "positions by key " + name);
    Clients.same(wanted, found, "by key " + name);
  }

  /** The store time of a message leads to a message of that time. */
  private void byTime(MessageQueue queue, List<Row> inQueue) throws Exception {
    Clients.same(
        inQueue.get(0).message.getStoreTimestamp(),
        clients.producer.earliestMsgStoreTime(queue),
        "first store time of " + queue);
    Row middle = inQueue.get(inQueue.size() / 2);
    long time = middle.message.getStoreTimestamp();
    long first = inQueue.get(0).message.getQueueOffset();
    long offset = clients.producer.searchOffset(queue, time);
    Clients.check(
        offset >= first && offset < first + inQueue.size(),
        "offset " + offset + " by time in " + queue);
    Clients.same(
        time,
        inQueue.get((int) (offset - first)).message.getStoreTimestamp(),
        "store time at offset " + offset + " of " + queue);
  }
}
