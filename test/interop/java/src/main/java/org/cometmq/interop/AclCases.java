/* SPDX-License-Identifier: Apache-2.0
 *
 * Against a broker that checks access, with the accounts that test/interop/java/run writes: what an
 * account may not do fails and says so, and what it may do works. The other cases that are run there
 * show that everything works signed.
 */
package org.cometmq.interop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class AclCases {
  /** May publish to AclSendOnly and subscribe to AclReadOnly, with two groups. */
  private static final RPCHook LIMITED = Bench.hook("limited-account", "secret-of-limited");

  private AclCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("acl/send", AclCases::send);
    cases.put("acl/consume", AclCases::consume);
    cases.put("acl/unknown-and-wrong", AclCases::unknownAndWrong);
    cases.put("acl/administration", AclCases::administration);
    cases.put("acl/trace", AclCases::trace);
  }

  private static void topics(Bench bench) throws Exception {
    for (String topic : new String[] {"AclSendOnly", "AclReadOnly"}) {
      bench.admin().createAndUpdateTopicConfig(bench.master(), new TopicConfig(topic, 1, 1, 6));
      Bench.await("route of " + topic, () -> bench.hasRoute(topic));
    }
  }

  private static Message message(String topic) {
    return Bench.message(topic, "A", "k", "body");
  }

  private interface Step {
    void run() throws Exception;
  }

  private static void refused(Step step, String says) throws Exception {
    int code = 0;
    String text = "it was not refused";
    try {
      step.run();
    } catch (MQBrokerException error) {
      code = error.getResponseCode();
      text = error.getErrorMessage();
    } catch (MQClientException error) {
      code = error.getResponseCode();
      text = String.valueOf(error.getMessage()) + error.getCause();
    }
    String start = "org.apache.rocketmq.acl.common.AclException: ";
    Bench.check(code == 1 && text.contains(start + says), "code " + code + ", " + text);
  }

  private static void send(Bench bench) throws Exception {
    topics(bench);
    DefaultMQProducer producer = bench.producer(LIMITED);
    String why = "No default permission for topic:AclReadOnly";
    producer.setRetryTimesWhenSendFailed(0);
    producer.send(message("AclSendOnly"));
    producer.send(List.of(message("AclSendOnly"), message("AclSendOnly")));
    refused(() -> producer.send(message("AclReadOnly")), why);
    refused(() -> producer.send(List.of(message("AclReadOnly"), message("AclReadOnly"))), why);
  }

  private static void counting(Bench bench, String group, String topic, AtomicInteger seen)
      throws Exception {
    DefaultMQPushConsumer consumer = bench.pushConsumer(group, LIMITED);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              seen.addAndGet(messages.size());
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
  }

  private static void consume(Bench bench) throws Exception {
    topics(bench);
    AtomicInteger allowed = new AtomicInteger();
    AtomicInteger wrongTopic = new AtomicInteger();
    AtomicInteger wrongGroup = new AtomicInteger();
    counting(bench, "AclClosedGroup", "AclReadOnly", wrongGroup);
    counting(bench, "AclGroup2", "AclSendOnly", wrongTopic);
    counting(bench, "AclGroup", "AclReadOnly", allowed);
    DefaultMQProducer producer = bench.producer();
    producer.send(message("AclSendOnly"));
    producer.send(message("AclReadOnly"));
    Bench.await("the message that may be read", () -> allowed.get() > 0);
    Bench.same(0, wrongTopic.get(), "messages of a topic that may not be read");
    Bench.same(0, wrongGroup.get(), "messages of a group that may not read");
  }

  private static void unknownAndWrong(Bench bench) throws Exception {
    topics(bench);
    String[][] rows = {
      {"unknown-account", "secret-of-limited", "No acl config for unknown-account"},
      {"limited-account", "secret-of-another", "Check signature failed for accessKey=limited-"},
    };
    for (String[] row : rows) {
      DefaultMQProducer producer = bench.producer(Bench.hook(row[0], row[1]));
      refused(() -> producer.send(message("AclSendOnly")), row[2]);
    }
    DefaultMQProducer unsigned = bench.producer(null);
    refused(() -> unsigned.send(message("AclSendOnly")), "No accessKey is configured");
  }

  private static void administration(Bench bench) throws Exception {
    DefaultMQAdminExt limited = new DefaultMQAdminExt(LIMITED, 15000);
    limited.setNamesrvAddr(bench.namesrv);
    limited.setInstanceName(Bench.unique("admin"));
    limited.start();
    bench.atEnd(limited::shutdown);
    String master = bench.master();
    refused(
        () -> limited.createAndUpdateTopicConfig(master, new TopicConfig("AclNever", 1, 1, 6)),
        "Need admin permission for request code=17");
    Bench.check(
        !limited.fetchBrokerRuntimeStats(master).getTable().isEmpty(), "what all accounts may see");
    Bench.check(
        bench.admin().examineBrokerClusterAclConfig(master).getPlainAccessConfigs().stream()
            .anyMatch(account -> account.getAccessKey().equals("limited-account")),
        "the accounts are shown");
  }

  private static void trace(Bench bench) throws Exception {
    String topic = bench.topic(1);
    String traces = bench.topic(1);
    RPCHook hook = Bench.hook("ordinary-account", "secret-of-ordinary");
    DefaultMQProducer producer = new DefaultMQProducer(Bench.unique("P"), hook, true, traces);
    producer.setNamesrvAddr(bench.namesrv);
    producer.setInstanceName(Bench.unique("I"));
    producer.start();
    bench.atEnd(producer::shutdown);
    String id = producer.send(message(topic)).getMsgId();
    AtomicInteger seen = new AtomicInteger();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(traces, "*");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              messages.stream()
                  .filter(message -> Bench.text(message.getBody()).contains(id))
                  .forEach(message -> seen.incrementAndGet());
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
    Bench.await("the trace of the message", () -> seen.get() > 0);
  }
}
