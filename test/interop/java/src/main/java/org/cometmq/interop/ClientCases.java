/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients can be set to: message trace, namespaces, the VIP channel, unit mode; what an answer
 * tells a producer; and what an administrator asks consumers about themselves.
 */
package org.cometmq.interop;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.body.BrokerStatsData;
import org.apache.rocketmq.common.protocol.body.CMResult;
import org.apache.rocketmq.common.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.common.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.common.protocol.body.QueryConsumeQueueResponseBody;
import org.apache.rocketmq.common.protocol.body.QueueTimeSpan;
import org.apache.rocketmq.common.sysflag.TopicSysFlag;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class ClientCases {
  private static final String TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC";

  private ClientCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("client/trace", ClientCases::trace);
    cases.put("client/namespace", ClientCases::namespace);
    cases.put("client/vip-channel", ClientCases::vipChannel);
    cases.put("client/unit-mode", ClientCases::unitMode);
    cases.put("client/region-and-trace-switch", ClientCases::regionAndTraceSwitch);
    cases.put("client/asked-by-an-administrator", ClientCases::askedByAdministrator);
    cases.put("query/by-unique-key-and-time", ClientCases::queryByUniqueKeyAndTime);
    cases.put("query/queues-and-statistics", ClientCases::queuesAndStatistics);
  }

  private static void prepare(Bench bench, DefaultMQProducer producer) throws Exception {
    producer.setNamesrvAddr(bench.namesrv);
    producer.setInstanceName(Bench.unique("I"));
    producer.setSendMsgTimeout(10000);
  }

  private static DefaultMQProducer start(Bench bench, DefaultMQProducer producer)
      throws Exception {
    producer.start();
    bench.atEnd(producer::shutdown);
    return producer;
  }

  private static DefaultMQPushConsumer consumer(
      Bench bench, DefaultMQPushConsumer consumer, String topic, Collector collector)
      throws Exception {
    consumer.setNamesrvAddr(bench.namesrv);
    consumer.setInstanceName(Bench.unique("I"));
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(collector);
    return consumer;
  }

  private static void start(Bench bench, DefaultMQPushConsumer consumer) throws Exception {
    consumer.start();
    bench.atEnd(consumer::shutdown);
  }

  /** The records of one kind about a message, as QueryMsgTraceById finds and reads them. */
  private static TraceContext traceOf(DefaultMQAdminExt admin, TraceType type, String id) {
    QueryResult result;
    try {
      result = admin.queryMessage(TRACE_TOPIC, id, 64, 0, System.currentTimeMillis() + 1000);
    } catch (Exception e) {
      return null; /* nothing yet */
    }
    for (MessageExt message : result.getMessageList()) {
      for (TraceContext context :
          TraceDataEncoder.decoderFromTraceDataString(Bench.text(message.getBody()))) {
        if (context.getTraceType() == type
            && context.getTraceBeans().stream().anyMatch(bean -> bean.getMsgId().equals(id))) {
          return context;
        }
      }
    }
    return null;
  }

  private static void trace(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(1);
    String group = Bench.unique("TRACED");
    DefaultMQProducer producer = new DefaultMQProducer(Bench.unique("P"), true);
    prepare(bench, producer);
    start(bench, producer);
    Collector collector = new Collector();
    start(bench, consumer(bench, new DefaultMQPushConsumer(group, true), topic, collector));
    String id = producer.send(Bench.message(topic, "TagT", "traced", "trace me")).getMsgId();
    Bench.await("the message", () -> collector.byBody.containsKey("trace me"));
    Bench.await("the producer's trace", () -> traceOf(admin, TraceType.Pub, id) != null);
    Bench.await("the consumer's trace", () -> traceOf(admin, TraceType.SubAfter, id) != null);
    TraceContext sent = traceOf(admin, TraceType.Pub, id);
    Bench.same(topic, sent.getTraceBeans().get(0).getTopic(), "topic in the trace");
    Bench.same("TagT", sent.getTraceBeans().get(0).getTags(), "tag in the trace");
    Bench.same("DefaultRegion", sent.getRegionId(), "region in the trace");
    Bench.same(producer.getProducerGroup(), sent.getGroupName(), "group in the trace");
    Bench.check(sent.isSuccess(), "the send is traced as failed");
    TraceContext before = traceOf(admin, TraceType.SubBefore, id);
    Bench.same(group, before.getGroupName(), "consumer group in the trace");
  }

  private static void namespace(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = Bench.unique("T");
    String group = Bench.unique("G");
    admin.createAndUpdateTopicConfig(bench.master(), new TopicConfig("NS1%" + topic, 2, 2, 6));
    Bench.await("the route", () -> bench.hasRoute("NS1%" + topic));
    DefaultMQProducer producer = new DefaultMQProducer(Bench.unique("P"));
    prepare(bench, producer);
    producer.setNamespace("NS1");
    start(bench, producer);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
    consumer.setNamespace("NS1");
    start(bench, consumer(bench, consumer, topic, collector));
    Set<String> sent = ConsumeCases.sendMany(producer, topic, "spaced", 20);
    collector.awaitExactly(sent);
    for (MessageExt message : collector.byBody.values()) {
      Bench.same(topic, message.getTopic(), "topic without its namespace");
    }
    Bench.same(
        1, admin.examineConsumerConnectionInfo("NS1%" + group).getConnectionSet().size(), "members");
    Bench.check(
        admin
            .getAllTopicConfig(bench.master(), 5000)
            .getTopicConfigTable()
            .containsKey("%RETRY%NS1%" + group),
        "the group has no retry topic");
  }

  private static void vipChannel(Bench bench) throws Exception {
    String topic = bench.topic(2);
    DefaultMQProducer producer = new DefaultMQProducer(Bench.unique("P"));
    prepare(bench, producer);
    producer.setVipChannelEnabled(true);
    start(bench, producer);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(Bench.unique("C"));
    consumer.setVipChannelEnabled(true);
    start(bench, consumer(bench, consumer, topic, collector));
    collector.awaitExactly(ConsumeCases.sendMany(producer, topic, "vip", 50));
  }

  private static int flagOf(Bench bench, String topic) {
    try {
      TopicConfig config =
          bench
              .admin()
              .getAllTopicConfig(bench.master(), 5000)
              .getTopicConfigTable()
              .get(topic);
      return config == null ? -1 : config.getTopicSysFlag();
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  private static void unitMode(Bench bench) throws Exception {
    String topic = Bench.unique("UNIT");
    String group = Bench.unique("C");
    DefaultMQProducer producer = new DefaultMQProducer(Bench.unique("P"));
    prepare(bench, producer);
    producer.setUnitMode(true);
    start(bench, producer);
    producer.send(Bench.message(topic, "A", "k", "united"));
    Bench.check(TopicSysFlag.hasUnitFlag(flagOf(bench, topic)), "the topic has no unit flag");
    bench.admin();
    Bench.await("the route", () -> bench.hasRoute(topic));
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
    consumer.setUnitMode(true);
    start(bench, consumer(bench, consumer, topic, collector));
    Bench.await("the message", () -> collector.byBody.containsKey("united"));
    Bench.check(
        TopicSysFlag.hasUnitSubFlag(flagOf(bench, "%RETRY%" + group)),
        "the retry topic has no flag of a unit's subscription");
  }

  private static void regionAndTraceSwitch(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    SendResult result = producer.send(Bench.message(topic, "A", "k", "m"));
    Bench.same("DefaultRegion", result.getRegionId(), "region");
    Bench.same(true, result.isTraceOn(), "trace switch");
    Properties change = new Properties();
    change.setProperty("traceOn", "false");
    admin.updateBrokerConfig(bench.master(), change);
    try {
      result = producer.send(Bench.message(topic, "A", "k", "m"));
      Bench.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
      Bench.same(false, result.isTraceOn(), "trace switch after the change");
    } finally {
      change.setProperty("traceOn", "true");
      admin.updateBrokerConfig(bench.master(), change);
    }
  }

  private static void askedByAdministrator(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(2);
    String group = Bench.unique("C");
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer =
        consumer(bench, new DefaultMQPushConsumer(group), topic, collector);
    start(bench, consumer);
    DefaultMQProducer producer = bench.producer();
    SendResult sent = producer.send(Bench.message(topic, "A", "k", "directly"));
    Bench.await("the message", () -> collector.byBody.containsKey("directly"));
    String client =
        admin
            .examineConsumerConnectionInfo(group)
            .getConnectionSet()
            .iterator()
            .next()
            .getClientId();

    Map<String, Map<MessageQueue, Long>> status = admin.getConsumeStatus(topic, group, "");
    Bench.same(1, status.size(), "clients that told their status");
    Bench.same(
        1L, status.get(client).values().stream().mapToLong(Long::longValue).sum(), "consumed");

    ConsumerRunningInfo info = admin.getConsumerRunningInfo(group, client, true);
    Bench.check(info.getJstack() != null && info.getJstack().contains("Thread"), "no stacks");
    Bench.same(
        2L,
        info.getMqTable().keySet().stream().filter(q -> q.getTopic().equals(topic)).count(),
        "queues in the running info");

    ConsumeMessageDirectlyResult result =
        admin.consumeMessageDirectly(group, client, sent.getOffsetMsgId());
    Bench.same(CMResult.CR_SUCCESS, result.getConsumeResult(), "result of consuming directly");
    Bench.check(collector.repeated.contains("directly"), "the listener was not called");
    result = admin.consumeMessageDirectly(group, client, topic, sent.getMsgId());
    Bench.same(CMResult.CR_SUCCESS, result.getConsumeResult(), "result by unique key");
  }

  private static int found(
      DefaultMQAdminExt admin, String topic, String key, boolean unique, long begin, long end) {
    try {
      QueryResult result =
          unique
              ? admin.queryMessageByUniqKey(topic, key, 32, begin, end)
              : admin.queryMessage(topic, key, 32, begin, end);
      return result.getMessageList().size();
    } catch (Exception e) {
      return 0;
    }
  }

  private static void queryByUniqueKeyAndTime(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(1);
    DefaultMQProducer producer = bench.producer();
    producer.send(Bench.message(topic, "A", "samekey", "first"));
    Thread.sleep(2100); /* an index entry's time has whole seconds */
    long between = System.currentTimeMillis();
    Thread.sleep(2100);
    String id = producer.send(Bench.message(topic, "A", "samekey", "second")).getMsgId();
    long end = System.currentTimeMillis() + 10_000;
    Bench.await("both by key", () -> found(admin, topic, "samekey", false, 0, end) == 2);
    Bench.same(1, found(admin, topic, "samekey", false, between, end), "by key, the later half");
    Bench.same(1, found(admin, topic, "samekey", false, 0, between), "by key, the earlier half");
    Bench.same(1, found(admin, topic, id, true, 0, end), "by unique key");
    Bench.same("second", Bench.text(admin.viewMessage(topic, id).getBody()), "body by unique key");
  }

  private static BrokerStatsData stats(Bench bench, String name, String key) {
    try {
      return bench.admin().viewBrokerStatsData(bench.master(), name, key);
    } catch (Exception e) {
      return null; /* no sample yet */
    }
  }

  private static void queuesAndStatistics(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(1);
    String group = Bench.unique("C");
    Set<String> sent = ConsumeCases.sendMany(bench.producer(), topic, "m", 20);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer =
        consumer(bench, new DefaultMQPushConsumer(group), topic, collector);
    start(bench, consumer);
    collector.awaitExactly(sent);
    GroupCases.persist(consumer);
    Bench.await("no delay", () -> delay(admin, topic, group) == 0);
    List<QueueTimeSpan> spans = admin.queryConsumeTimeSpan(topic, group);
    Bench.same(1, spans.size(), "queues with a time span");
    QueueTimeSpan span = spans.get(0);
    Bench.check(span.getMinTimeStamp() <= span.getMaxTimeStamp(), "time span " + span);
    Bench.same(span.getMaxTimeStamp(), span.getConsumeTimeStamp(), "time of the last consumed");

    QueryConsumeQueueResponseBody queue =
        admin.queryConsumeQueue(bench.master(), topic, 0, 5, 10, group);
    Bench.same(20L, queue.getMaxQueueIndex(), "entries of the queue");
    Bench.same(10, queue.getQueueData().size(), "entries read");
    Bench.same("*", queue.getSubscriptionData().getSubString(), "subscription");
    Set<String> groups = new HashSet<>(admin.queryTopicConsumeByWho(topic).getGroupList());
    Bench.check(groups.contains(group), "consumed by " + groups);
    Bench.same(
        20L,
        admin.examineTopicStats(topic).getOffsetTable().values().iterator().next().getMaxOffset(),
        "max offset in the topic's statistics");
    Bench.await(
        "statistics of the topic", () -> stats(bench, "TOPIC_PUT_NUMS", topic) != null);
    Bench.await(
        "statistics of the group",
        () -> {
          BrokerStatsData data = stats(bench, "GROUP_GET_NUMS", topic + "@" + group);
          return data != null && data.getStatsMinute().getSum() == 20;
        });
  }

  private static long delay(DefaultMQAdminExt admin, String topic, String group) {
    try {
      return admin.queryConsumeTimeSpan(topic, group).get(0).getDelayTime();
    } catch (Exception e) {
      return -1;
    }
  }
}
