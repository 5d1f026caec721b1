/* SPDX-License-Identifier: Apache-2.0
 *
 * Apache's client as the hands of test/interop/java-store: reads one command a line from standard
 * input, words separated by tabs, and answers each with one line, `ok ...` or `FAILED reason`.
 *
 *     connect NAMESRV BROKER             new clients; the old ones are shut down
 *     dump FILE                          every message of every queue, see Row and Dump
 *     lookup [time]                      each of them again by offset id, unique id and key; time:
 *                                        and by its store time
 *     state FILE                         topics, groups, consumer and delay offsets, as JSON
 *     topics                             make the topics and groups that `write` needs
 *     write LABEL FILE BYTES FLAGS       messages of every kind, see Writer; FLAGS: txn, ipv6
 *     pending LABEL FILE                 messages whose time comes some seconds later
 *     open LABEL FILE                    a transaction that is neither committed nor rolled back
 *     load LABEL / loaded FILE           send until the broker is gone; what was acknowledged
 *     consume GROUP TOPIC FILE           a push consumer takes all that is new for the group
 *     tagged TOPIC TAG FILE              a pull consumer takes all that has the tag
 *     commit GROUP TOPIC QUEUE OFFSET    set a consumer offset
 *     decide true|false                  transactions left open are committed when asked for, or
 *                                        stay open
 */
package org.cometmq.store;

import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.serializer.SerializerFeature;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.store.OffsetStore;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.RequestCode;
import org.apache.rocketmq.common.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.common.protocol.header.UpdateConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

public final class Main {
  private Clients clients;
  private Dump dump;
  private Load load;

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
        answer = "FAILED " + reason(error);
      }
      System.out.println(answer.replace('\n', ' '));
      System.out.flush();
    }
    System.exit(0);
  }

  private static String reason(Throwable error) {
    StringBuilder text = new StringBuilder();
    for (Throwable t = error; t != null && text.length() < 2000; t = t.getCause()) {
      text.append(text.length() == 0 ? "" : "; caused by ").append(t);
    }
    for (StackTraceElement place : error.getStackTrace()) {
      if (place.getClassName().startsWith("org.cometmq")) {
        text.append(" at ").append(place.getFileName()).append(':').append(place.getLineNumber());
      }
    }
    return text.toString();
  }

  private Object obey(String[] words) throws Exception {
    switch (words[0]) {
      case "connect":
        if (clients != null) {
          clients.close();
        }
        clients = new Clients(words[1], words[2]);
        return "";
      case "dump":
        dump = new Dump(clients);
        dump.read();
        dump.write(words[1]);
        return dump.rows.size();
      case "lookup":
        return dump.lookUp(words.length > 1);
      case "state":
        Files.write(Paths.get(words[1]), state().getBytes(StandardCharsets.UTF_8));
        return "";
      case "topics":
        Writer.createTopics(clients);
        return "";
      case "write":
        return write(words[1], words[2], Integer.parseInt(words[3]), words[4].split(","));
      case "pending":
        try (PrintWriter out = new PrintWriter(words[2], "UTF-8")) {
          new Writer(clients, words[1], out).pending();
        }
        return "";
      case "open":
        try (PrintWriter out = new PrintWriter(words[2], "UTF-8")) {
          new Writer(clients, words[1], out).transaction("later", "open");
        }
        return "";
      case "load":
        load = new Load(clients, words[1]);
        load.start();
        return "";
      case "loaded":
        try (PrintWriter out = new PrintWriter(words[1], "UTF-8")) {
          load.finish(out);
        }
        return "";
      case "consume":
        return consume(words[1], words[2], words[3]);
      case "tagged":
        return tagged(words[1], words[2], words[3]);
      case "commit":
        commit(words[1], words[2], Integer.parseInt(words[3]), Long.parseLong(words[4]));
        return "";
      case "decide":
        clients.decider.decided = Boolean.parseBoolean(words[1]);
        /* The broker asks producers that it knows; it came after the last heartbeat. */
        clients
            .transactionProducer
            .getDefaultMQProducerImpl()
            .getmQClientFactory()
            .sendHeartbeatToAllBrokerWithLock();
        return "";
      default:
        throw new IllegalArgumentException("no such command: " + words[0]);
    }
  }

  private String write(String label, String path, int bytes, String[] flags) throws Exception {
    List<String> wanted = Arrays.asList(flags);
    try (PrintWriter out = new PrintWriter(path, "UTF-8")) {
      Writer writer = new Writer(clients, label, out);
      writer.write(bytes, wanted.contains("txn"), wanted.contains("ipv6"));
    }
    return "";
  }

  private Object table(int code) throws Exception {
    RemotingCommand answer =
        clients
            .api()
            .getRemotingClient()
            .invokeSync(
                clients.broker,
                RemotingCommand.createRequestCommand(code, null),
                Clients.TIMEOUT_MS);
    Clients.same(0, answer.getCode(), "answer to request code " + code);
    return JSON.parseObject(new String(answer.getBody(), StandardCharsets.UTF_8))
        .get("offsetTable");
  }

  private String state() throws Exception {
    Map<String, Object> state = new TreeMap<>();
    state.put("topics", clients.topics());
    state.put(
        "groups",
        clients
            .admin
            .getAllSubscriptionGroup(clients.broker, Clients.TIMEOUT_MS)
            .getSubscriptionGroupTable());
    state.put("offsets", table(RequestCode.GET_ALL_CONSUMER_OFFSET));
    state.put("delays", table(RequestCode.GET_ALL_DELAY_OFFSET));
    return JSON.toJSONString(
        state,
        SerializerFeature.WriteNonStringKeyAsString,
        SerializerFeature.DisableCircularReferenceDetect,
        SerializerFeature.MapSortField);
  }

  private long committed(String group, String topic, int queue) {
    QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
    header.setConsumerGroup(group);
    header.setTopic(topic);
    header.setQueueId(queue);
    try {
      return clients.api().queryConsumerOffset(clients.broker, header, Clients.TIMEOUT_MS);
    } catch (Exception e) {
      return 0; /* there is none yet */
    }
  }

  private void commit(String group, String topic, int queue, long offset) throws Exception {
    UpdateConsumerOffsetRequestHeader header = new UpdateConsumerOffsetRequestHeader();
    header.setConsumerGroup(group);
    header.setTopic(topic);
    header.setQueueId(queue);
    header.setCommitOffset(offset);
    clients.api().updateConsumerOffset(clients.broker, header, Clients.TIMEOUT_MS);
  }

  private int tagged(String topic, String tag, String path) throws Exception {
    List<MessageExt> received = new ArrayList<>();
    for (MessageQueue queue : clients.producer.fetchPublishMessageQueues(topic)) {
      long max = clients.maxOffset(topic, queue.getQueueId());
      for (long offset = clients.minOffset(topic, queue.getQueueId()); offset < max; ) {
        PullResult result = clients.reader.pull(queue, tag, offset, 32);
        if (result.getPullStatus() == PullStatus.FOUND) {
          received.addAll(result.getMsgFoundList());
        }
        Clients.check(result.getNextBeginOffset() > offset, "a pull at " + offset + ": " + result);
        offset = result.getNextBeginOffset();
      }
    }
    writePlaces(received, path);
    return received.size();
  }

  private static void writePlaces(List<MessageExt> messages, String path) throws Exception {
    try (PrintWriter out = new PrintWriter(path, "UTF-8")) {
      for (MessageExt message : messages) {
        out.println(
            message.getTopic() + "\t" + message.getQueueId() + "\t" + message.getQueueOffset());
      }
    }
  }

  private int consume(String group, String topic, String path) throws Exception {
    List<MessageQueue> queues = clients.producer.fetchPublishMessageQueues(topic);
    long expected = 0;
    for (MessageQueue queue : queues) {
      int id = queue.getQueueId();
      expected += clients.maxOffset(topic, id) - committed(group, topic, id);
    }
    long wanted = expected;
    List<MessageExt> received = new CopyOnWriteArrayList<>();
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
    consumer.setNamesrvAddr(clients.namesrv);
    consumer.setInstanceName("consume_" + System.nanoTime());
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              received.addAll(messages);
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
    try {
      Clients.await(wanted + " messages of " + topic, () -> received.size() >= wanted);
      OffsetStore offsets = consumer.getDefaultMQPushConsumerImpl().getOffsetStore();
      Clients.await(
          "the listener's results",
          () ->
              queues.stream()
                  .allMatch(
                      q ->
                          offsets.readOffset(q, ReadOffsetType.READ_FROM_MEMORY)
                              == clients.maxOffset(topic, q.getQueueId())));
    } finally {
      consumer.shutdown();
    }
    Clients.await(
        "the offsets of " + group,
        () ->
            queues.stream()
                .allMatch(
                    q ->
                        committed(group, topic, q.getQueueId())
                            == clients.maxOffset(topic, q.getQueueId())));
    writePlaces(received, path);
    return received.size();
  }
}
