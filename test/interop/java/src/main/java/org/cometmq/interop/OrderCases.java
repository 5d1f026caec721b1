/* SPDX-License-Identifier: Apache-2.0
 *
 * Order: messages sent without waiting for the answers, an orderly consumer that is killed, a broker
 * that is killed.
 */
package org.cometmq.interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

final class OrderCases {
  private static final int QUEUES = 4;

  private OrderCases() {}

  static void addTo(Map<String, Main.Case> cases) {
    cases.put("order/consumer-killed", OrderCases::consumerKilled);
    if (System.getProperty("interop.crash") != null) {
      /* Apache's brokers take up what is in flight in any order. */
      cases.put("order/async-in-flight", OrderCases::asyncInFlight);
      cases.put("order/broker-killed", OrderCases::brokerKilled);
    }
  }

  /** What came of each queue, in the order in which it came, as numbers in the bodies. */
  private static final class Sequences {
    final Map<Integer, List<Integer>> byQueue = new ConcurrentHashMap<>();
    final Set<Integer> all = new ConcurrentSkipListSet<>();

    void add(int queue, int number) {
      byQueue.computeIfAbsent(queue, k -> new CopyOnWriteArrayList<>()).add(number);
      all.add(number);
    }

    MessageListenerOrderly listener() {
      return (messages, context) -> {
        for (MessageExt message : messages) {
          add(message.getQueueId(), Integer.parseInt(Bench.text(message.getBody())));
        }
        return ConsumeOrderlyStatus.SUCCESS;
      };
    }

    List<Integer> of(int queue) {
      return byQueue.getOrDefault(queue, new ArrayList<>());
    }
  }

  private static void sorted(List<Integer> numbers, String what) {
    List<Integer> sorted = new ArrayList<>(new TreeSet<>(numbers));
    Bench.same(sorted, numbers, what);
  }

  /** Sends numbers without waiting, number n to queue n % QUEUES; keeps which were taken. */
  private static final class Sender implements AutoCloseable {
    final Set<Integer> taken = new ConcurrentSkipListSet<>();
    final AtomicReference<Throwable> failure = new AtomicReference<>();
    private final DefaultMQProducer producer;
    private final String topic;
    /* The client's own pool would change the order before anything is sent. */
    private final ExecutorService oneThread = Executors.newSingleThreadExecutor();
    private final MessageQueueSelector selector =
        (queues, message, arg) -> queues.get((Integer) arg % QUEUES);

    Sender(Bench bench, String topic) throws Exception {
      this.topic = topic;
      producer = bench.producer();
      producer.setRetryTimesWhenSendAsyncFailed(0);
      producer.getDefaultMQProducerImpl().setAsyncSenderExecutor(oneThread);
    }

    void send(int from, int to) throws Exception {
      CountDownLatch answered = new CountDownLatch(to - from);
      for (int i = from; i < to; i++) {
        int number = i;
        producer.send(
            Bench.message(topic, "A", "k" + i, String.valueOf(i)),
            selector,
            i,
            new SendCallback() {
              @Override
              public void onSuccess(SendResult result) {
                taken.add(number);
                answered.countDown();
              }

              @Override
              public void onException(Throwable error) {
                failure.set(error);
                answered.countDown();
              }
            });
      }
      Bench.check(answered.await(Bench.PATIENCE_SECONDS, TimeUnit.SECONDS), "not every send was answered");
    }

    @Override
    public void close() {
      oneThread.shutdown();
    }
  }

  private static void asyncInFlight(Bench bench) throws Exception {
    String topic = bench.topic(QUEUES);
    try (Sender sender = new Sender(bench, topic)) {
      sender.send(0, 4000);
      Bench.check(sender.failure.get() == null, "a send failed: " + sender.failure.get());
    }
    Sequences got = new Sequences();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(got.listener());
    consumer.start();
    Bench.await("4000 messages", () -> got.all.size() >= 4000);
    for (int queue = 0; queue < QUEUES; queue++) {
      Bench.same(1000, got.of(queue).size(), "messages of queue " + queue);
      sorted(got.of(queue), "order of queue " + queue);
    }
  }

  /** The consumer of the killed process; prints "queue number" for each message. */
  public static void main(String[] args) throws Exception {
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[2]);
    consumer.setNamesrvAddr(args[0]);
    consumer.setInstanceName("child");
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.subscribe(args[1], "*");
    consumer.registerMessageListener(
        (MessageListenerOrderly)
            (messages, context) -> {
              for (MessageExt message : messages) {
                System.out.println(message.getQueueId() + " " + Bench.text(message.getBody()));
              }
              return ConsumeOrderlyStatus.SUCCESS;
            });
    consumer.start();
    Thread.sleep(600_000);
    System.exit(1);
  }

  private static Process child(Bench bench, String topic, String group) throws Exception {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + "/bin/java");
    command.add("-Xmx256m");
    for (String name :
        Arrays.asList(
            "user.home",
            "rocketmq.client.logUseSlf4j",
            "rocketmq.client.localOffsetStoreDir",
            "rocketmq.serialize.type")) {
      if (System.getProperty(name) != null) {
        command.add("-D" + name + "=" + System.getProperty(name));
      }
    }
    command.addAll(
        Arrays.asList(
            "-cp",
            System.getProperty("java.class.path"),
            OrderCases.class.getName(),
            bench.namesrv,
            topic,
            group));
    return new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
  }

  /**
   * One of two orderly consumers is killed: the other takes its queues over well before their locks
   * expire, and goes on in each where the dead one was, or somewhat before.
   */
  private static void consumerKilled(Bench bench) throws Exception {
    String topic = bench.topic(QUEUES);
    String group = Bench.unique("C");
    Sequences dead = new Sequences();
    Sequences alive = new Sequences();
    DefaultMQProducer producer = bench.producer();
    DefaultMQPushConsumer consumer = bench.pushConsumer(group);
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(alive.listener());
    Process child = child(bench, topic, group);
    try {
      Thread reader = new Thread(() -> read(child, dead));
      reader.start();
      consumer.start();
      Bench.await("two members", () -> members(bench, group) == 2);
      int number = 0;
      /* Until both have had messages of two queues. */
      for (int round = 0; dead.byQueue.size() < 2 || alive.byQueue.size() < 2; round++) {
        Bench.check(round < 600, "queues: " + dead.byQueue.keySet() + alive.byQueue.keySet());
        number = sendRound(producer, topic, number, 8);
        Thread.sleep(100);
      }
      child.destroyForcibly();
      child.waitFor();
      reader.join();
      long killed = System.currentTimeMillis();
      number = sendRound(producer, topic, number, 80);
      int total = number;
      Set<Integer> union = new ConcurrentSkipListSet<>(dead.all);
      Bench.await(
          "the rest",
          () -> {
            union.addAll(alive.all);
            return union.size() == total;
          });
      long took = System.currentTimeMillis() - killed;
      Bench.check(
          System.getProperty("interop.crash") == null || took < 50_000,
          "the queues of the dead one were taken over after " + took + " ms");
      for (int queue = 0; queue < QUEUES; queue++) {
        sorted(dead.of(queue), "order of queue " + queue + " at the dead one");
        sorted(alive.of(queue), "order of queue " + queue + " at the other");
      }
    } finally {
      child.destroyForcibly();
    }
  }

  private static int members(Bench bench, String group) {
    try {
      return bench.admin().examineConsumerConnectionInfo(group).getConnectionSet().size();
    } catch (Exception e) {
      return 0;
    }
  }

  private static int sendRound(DefaultMQProducer producer, String topic, int number, int count)
      throws Exception {
    for (int end = number + count; number < end; number++) {
      producer.send(
          Bench.message(topic, "A", "k", String.valueOf(number)),
          (queues, message, arg) -> queues.get((Integer) arg % QUEUES),
          number);
    }
    return number;
  }

  private static void read(Process child, Sequences into) {
    try (BufferedReader lines =
        new BufferedReader(new InputStreamReader(child.getInputStream(), "UTF-8"))) {
      for (String line; (line = lines.readLine()) != null; ) {
        String[] parts = line.split(" ");
        if (parts.length == 2) {
          into.add(Integer.parseInt(parts[0]), Integer.parseInt(parts[1]));
        }
      }
    } catch (IOException e) {
      /* It was killed. */
    }
  }

  private static void crashBroker() throws Exception {
    Process crash =
        new ProcessBuilder(System.getProperty("interop.crash").split(" ")).inheritIO().start();
    Bench.same(0, crash.waitFor(), "exit status of " + System.getProperty("interop.crash"));
  }

  /** kill -9 of the broker between and under sends: nothing that was taken is lost or overtaken. */
  private static void brokerKilled(Bench bench) throws Exception {
    String topic = bench.topic(QUEUES);
    Sequences got = new Sequences();
    DefaultMQPushConsumer consumer = bench.pushConsumer(Bench.unique("C"));
    consumer.subscribe(topic, "*");
    consumer.registerMessageListener(got.listener());
    consumer.start();
    try (Sender sender = new Sender(bench, topic)) {
      sender.send(0, 400);
      Bench.check(sender.failure.get() == null, "a send failed: " + sender.failure.get());
      Bench.await("400 messages", () -> got.all.size() == 400);
      Thread crash =
          new Thread(
              () -> {
                try {
                  crashBroker();
                } catch (Exception e) {
                  sender.failure.set(e);
                }
              });
      int number = 400;
      crash.start();
      while (crash.isAlive()) {
        sender.send(number, number + 50);
        number += 50;
        Thread.sleep(20);
      }
      int first = number;
      Bench.await("the broker", () -> takes(sender, first));
      int last = 1_000_000;
      sender.send(last, last + 400);
      Bench.await(
          "what was taken", () -> got.all.containsAll(sender.taken));
      for (int queue = 0; queue < QUEUES; queue++) {
        sorted(firstTimes(got.of(queue)), "order of queue " + queue);
      }
      Bench.check(sender.taken.contains(last + 399), "the last one was not taken");
    }
  }

  private static boolean takes(Sender sender, int number) {
    try {
      sender.send(number + sender.taken.size(), number + sender.taken.size() + 1);
      return sender.taken.contains(number + sender.taken.size() - 1);
    } catch (Exception e) {
      return false;
    }
  }

  /** Consumers may get again what was committed last before the kill. */
  private static List<Integer> firstTimes(List<Integer> numbers) {
    return new ArrayList<>(new java.util.LinkedHashSet<>(numbers));
  }
}
