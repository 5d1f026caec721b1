/* SPDX-License-Identifier: Apache-2.0
 *
 * What mqadmin and the dashboard ask for, through DefaultMQAdminExt.
 */
package org.cometmq.interop;

import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.admin.ConsumeStats;
import org.apache.rocketmq.common.protocol.ResponseCode;
import org.apache.rocketmq.common.protocol.body.ClusterInfo;
import org.apache.rocketmq.common.protocol.body.ConsumerConnection;
import org.apache.rocketmq.common.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.common.protocol.body.KVTable;
import org.apache.rocketmq.common.protocol.body.TopicConfigSerializeWrapper;
import org.apache.rocketmq.common.protocol.route.QueueData;
import org.apache.rocketmq.common.protocol.route.TopicRouteData;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class AdminCases {
  private AdminCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("admin/topic", AdminCases::topic);
    cases.put("admin/subscription-group", AdminCases::group);
    cases.put("admin/cluster-list", AdminCases::clusterList);
    cases.put("admin/broker-status", AdminCases::brokerStatus);
    cases.put("admin/broker-config", AdminCases::brokerConfig);
    cases.put("admin/kv-config", AdminCases::keyValue);
    cases.put("admin/consumer", AdminCases::consumer);
    cases.put("admin/reset-offset", AdminCases::resetOffset);
  }

  private static void topic(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = Bench.unique("ADMIN");
    admin.createAndUpdateTopicConfig(bench.master(), new TopicConfig(topic, 3, 5, 6));
    Bench.await("the route", () -> bench.hasRoute(topic));
    TopicRouteData route = admin.examineTopicRouteInfo(topic);
    QueueData queues = route.getQueueDatas().get(0);
    Bench.same(3, queues.getReadQueueNums(), "read queues");
    Bench.same(5, queues.getWriteQueueNums(), "write queues");
    Bench.same(6, queues.getPerm(), "permissions");
    Bench.same(
        bench.master(), route.getBrokerDatas().get(0).getBrokerAddrs().get(0L), "master address");
    Bench.check(
        admin.fetchAllTopicList().getTopicList().contains(topic), "not in the list of topics");
    TopicConfigSerializeWrapper all = admin.getAllTopicConfig(bench.master(), 5000);
    Bench.same(5, all.getTopicConfigTable().get(topic).getWriteQueueNums(), "in the broker's table");

    admin.createAndUpdateTopicConfig(bench.master(), new TopicConfig(topic, 4, 4, 4));
    Bench.await("the change at the name server", () -> permission(admin, topic) == 4);

    java.util.Set<String> brokers = new java.util.HashSet<>();
    brokers.add(bench.master());
    admin.deleteTopicInBroker(brokers, topic);
    java.util.Set<String> nameServers = new java.util.HashSet<>();
    nameServers.add(bench.namesrv);
    admin.deleteTopicInNameServer(nameServers, topic);
    Bench.await("the route to go", () -> !bench.hasRoute(topic));
    Bench.check(
        !admin
            .getAllTopicConfig(bench.master(), 5000)
            .getTopicConfigTable()
            .containsKey(topic),
        "still in the broker's table");
  }

  private static int permission(DefaultMQAdminExt admin, String topic) {
    try {
      return admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getPerm();
    } catch (Exception e) {
      return -1;
    }
  }

  private static void group(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String group = Bench.unique("G");
    SubscriptionGroupConfig config = new SubscriptionGroupConfig();
    config.setGroupName(group);
    config.setRetryQueueNums(2);
    config.setRetryMaxTimes(5);
    config.setConsumeBroadcastEnable(false);
    admin.createAndUpdateSubscriptionGroupConfig(bench.master(), config);
    SubscriptionGroupConfig read = admin.examineSubscriptionGroupConfig(bench.master(), group);
    Bench.same(2, read.getRetryQueueNums(), "retry queues");
    Bench.same(5, read.getRetryMaxTimes(), "retries");
    Bench.same(false, read.isConsumeBroadcastEnable(), "broadcast");
    Bench.same(true, read.isConsumeEnable(), "consume");
    admin.deleteSubscriptionGroup(bench.master(), group, true);
    Bench.check(
        !admin
            .getAllSubscriptionGroup(bench.master(), 5000)
            .getSubscriptionGroupTable()
            .containsKey(group),
        "still there after deletion");
  }

  private static void clusterList(Bench bench) throws Exception {
    ClusterInfo info = bench.admin().examineBrokerClusterInfo();
    Bench.check(!info.getClusterAddrTable().isEmpty(), "no cluster");
    String cluster = info.getClusterAddrTable().keySet().iterator().next();
    String broker = info.getClusterAddrTable().get(cluster).iterator().next();
    Bench.same(cluster, info.getBrokerAddrTable().get(broker).getCluster(), "cluster of the broker");
    Bench.same(broker, info.getBrokerAddrTable().get(broker).getBrokerName(), "its name");
  }

  private static void brokerStatus(Bench bench) throws Exception {
    DefaultMQProducer producer = bench.producer();
    producer.send(Bench.message(bench.topic(1), "A", "k", "counted"));
    KVTable table = bench.admin().fetchBrokerRuntimeStats(bench.master());
    HashMap<String, String> values = table.getTable();
    String[] expected = {
      "brokerVersionDesc", "brokerVersion", "bootTimestamp", "putMessageTimesTotal", "putTps",
      "getTransferedTps", "msgPutTotalTodayNow", "msgGetTotalTodayNow", "commitLogDiskRatio",
      "commitLogMaxOffset", "commitLogMinOffset", "consumeQueueDiskRatio", "dispatchBehindBytes",
      "earliestMessageTimeStamp", "pageCacheLockTimeMills", "runtime", "sendThreadPoolQueueSize",
    };
    for (String name : expected) {
      Bench.check(values.containsKey(name), "no value " + name + " in " + values.keySet());
    }
    Bench.check(Long.parseLong(values.get("commitLogMaxOffset")) > 0, "commitLogMaxOffset is 0");
    Bench.check(Long.parseLong(values.get("putMessageTimesTotal")) > 0, "putMessageTimesTotal is 0");
    /* Rates over 10 s, 1 min and 10 min; a young 4.9.2 broker leaves out the longer ones. */
    for (String rate : values.get("putTps").trim().split(" ")) {
      Double.parseDouble(rate);
    }
  }

  private static void brokerConfig(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    Properties before = admin.getBrokerConfig(bench.master());
    Bench.check(before.getProperty("brokerName") != null, "no brokerName");
    Bench.check(before.getProperty("flushDiskType") != null, "no flushDiskType");
    Properties change = new Properties();
    change.setProperty("maxTransferCountOnMessageInMemory", "33");
    admin.updateBrokerConfig(bench.master(), change);
    Bench.same(
        "33",
        admin.getBrokerConfig(bench.master()).getProperty("maxTransferCountOnMessageInMemory"),
        "the changed value");
    change.setProperty(
        "maxTransferCountOnMessageInMemory",
        before.getProperty("maxTransferCountOnMessageInMemory"));
    admin.updateBrokerConfig(bench.master(), change);
  }

  private static void keyValue(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String key = Bench.unique("key");
    admin.createAndUpdateKvConfig("INTEROP", key, "value = 1");
    Bench.same("value = 1", admin.getKVConfig("INTEROP", key), "value");
    Bench.check(admin.getKVListByNamespace("INTEROP").getTable().containsKey(key), "not in the list");
    admin.deleteKvConfig("INTEROP", key);
    try {
      admin.getKVConfig("INTEROP", key);
    } catch (MQClientException error) {
      Bench.same(ResponseCode.QUERY_NOT_FOUND, error.getResponseCode(), "code after deletion");
      return;
    }
    throw new AssertionError("the key is still there");
  }

  private static void consumer(Bench bench) throws Exception {
    DefaultMQAdminExt admin = bench.admin();
    String topic = bench.topic(2);
    String group = Bench.unique("C");
    DefaultMQProducer producer = bench.producer();
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(group);
    consumer.subscribe(topic, "TagA || TagB");
    consumer.registerMessageListener(collector);
    consumer.start();
    for (int i = 0; i < 20; i++) {
      producer.send(Bench.message(topic, "TagA", "k" + i, "m " + i));
    }
    Bench.await("20 messages", () -> collector.byBody.size() == 20);
    ConsumerConnection connection = admin.examineConsumerConnectionInfo(group);
    Bench.same(1, connection.getConnectionSet().size(), "connections of the group");
    Bench.same(
        "TagA || TagB",
        connection.getSubscriptionTable().get(topic).getSubString(),
        "subscription as the broker knows it");
    String clientId = connection.getConnectionSet().iterator().next().getClientId();
    ConsumerRunningInfo info = admin.getConsumerRunningInfo(group, clientId, false);
    Bench.check(info.getSubscriptionSet().size() == 2, "running info has no subscriptions");
    consumer.getDefaultMQPushConsumerImpl().getOffsetStore().persistAll(
        consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet());
    Bench.await("the stored offsets", () -> consumed(admin, group, topic) == 20);
    Bench.check(
        admin.queryTopicConsumeByWho(topic).getGroupList().contains(group),
        "the topic does not know its consumer group");
  }

  private static long consumed(DefaultMQAdminExt admin, String group, String topic) {
    try {
      ConsumeStats stats = admin.examineConsumeStats(group, topic);
      return stats.getOffsetTable().values().stream()
          .mapToLong(offset -> offset.getConsumerOffset())
          .sum();
    } catch (MQBrokerException | MQClientException e) {
      return -1;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  private static void resetOffset(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String group = Bench.unique("C");
    ConsumeCases.sendMany(bench.producer(), topic, "again", 20);
    Collector collector = new Collector();
    DefaultMQPushConsumer consumer = bench.pushConsumer(group);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(collector);
    consumer.start();
    Bench.await("20 messages", () -> collector.byBody.size() == 20);
    bench.admin().resetOffsetByTimestamp(topic, group, 0, true);
    Bench.await("20 messages again", () -> collector.repeated.size() >= 20);
  }
}
