/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs commands of mqadmin one after the other and looks for key words in what they print. All run
 * in this one Java machine, which spares starting one per command; a few commands of 4.9.2 keep
 * their client in the command object and therefore work only once here.
 *
 * A producer and a consumer of RocketMQ's Java client play the clients that the commands show.
 */
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.command.MQAdminStartup;

@SuppressWarnings("deprecation")
public class Commands {
    private static final int MESSAGES = 20;
    private static final long COMMAND_MS = 30_000;

    private final PrintStream out = System.out;
    private final String namesrv;
    private final String onBroker;
    private final String onCluster = " -c DefaultCluster";
    private final boolean verbose;
    private int passed;
    private int failed;

    private SendResult last;
    private final AtomicInteger consumed = new AtomicInteger();

    private Commands(String namesrv, String broker, boolean verbose) {
        this.namesrv = namesrv;
        this.onBroker = " -b " + broker;
        this.verbose = verbose;
    }

    public static void main(String[] args) throws Exception {
        Commands commands = new Commands(args[0], args[1], List.of(args).contains("-v"));
        commands.all();
        commands.out.printf("mqadmin: %d passed, %d failed%n", commands.passed, commands.failed);
        System.exit(commands.failed == 0 && commands.passed > 0 ? 0 : 1);
    }

    /* --- running --- */

    private String run(String command) throws InterruptedException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(bytes, true, StandardCharsets.UTF_8);
        PrintStream errors = System.err;
        System.setOut(capture);
        System.setErr(capture);
        Thread thread = new Thread(
            () -> MQAdminStartup.main0((command + " -n " + namesrv).split(" "), null));
        thread.setDaemon(true);
        thread.start();
        thread.join(COMMAND_MS);
        System.setOut(out);
        System.setErr(errors);
        return bytes.toString(StandardCharsets.UTF_8)
            + (thread.isAlive() ? "\nnot done within " + COMMAND_MS + " ms" : "");
    }

    /* Run a command; every pattern must be found in its output. Returns the output. */
    private String check(String command, String... patterns) throws InterruptedException {
        String output = run(command);
        if (verbose)
            out.printf("##### %s%n%s%n", command, output);
        for (String pattern : patterns) {
            if (Pattern.compile(pattern, Pattern.MULTILINE).matcher(output).find())
                continue;
            failed++;
            out.printf("FAILED %s: no /%s/ in:%n%s%n", command, pattern, output);
            return output;
        }
        passed++;
        out.printf("ok %s%n", command);
        return output;
    }

    /* Repeat a command until a pattern is found, then check it. */
    private void await(String command, String pattern) throws InterruptedException {
        for (int i = 0; i < 240; i++) {
            if (Pattern.compile(pattern, Pattern.MULTILINE).matcher(run(command)).find())
                break;
            Thread.sleep(500);
        }
        check(command, pattern);
    }

    private static void until(BooleanSupplier condition) throws InterruptedException {
        for (int i = 0; i < 3600 && !condition.getAsBoolean(); i++)
            Thread.sleep(50);
    }

    /* --- clients --- */

    private DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PG_ADMIN");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        return producer;
    }

    private void send(DefaultMQProducer producer) throws Exception {
        for (int i = 0; i < MESSAGES; i++) {
            Message message = new Message("AdminTopic", "TagA",
                "key" + i, ("hello " + i).getBytes());
            last = producer.send(message, new MessageQueue("AdminTopic", "broker-a", i % 4));
        }
    }

    private DefaultMQPushConsumer consumer() throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("CG_ADMIN");
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe("AdminTopic", "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            consumed.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    /* --- what is run --- */

    private void all() throws Exception {
        cluster();
        topics();
        DefaultMQProducer producer = producer();
        send(producer);
        messages();
        DefaultMQPushConsumer consumer = consumer();
        until(() -> consumed.get() >= MESSAGES);
        groups();
        online(consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId());
        consumer.shutdown();
        offline();
        brokers();
        nameServers();
        accessControl();
        deleting();
        producer.shutdown();
    }

    private void cluster() throws Exception {
        /* A Java machine that has just begun may be too slow for the client's time limit. */
        await("clusterList", "#Cluster Name");
        check("clusterList", "#Cluster Name +#Broker Name +#BID +#Addr +#Version",
            "^DefaultCluster +broker-a +0 +\\S+ +V4_9_2 +[0-9.]+\\(0,0ms\\)");
        check("clusterList -m", "#InTotalYest", "^DefaultCluster +broker-a +0 +0 ");
        check("brokerStatus" + onBroker, "^brokerVersionDesc +: V4_9_2", "^putTps +:",
            "^commitLogDirCapacity +: Total : [0-9.]+ [GT]iB, Free : ");
        check("brokerStatus" + onCluster, "^\\S+:\\d+ +brokerVersion +: 397");
    }

    private void topics() throws Exception {
        check("updateTopic -t AdminTopic -r 4 -w 4" + onCluster, "^create topic to \\S+ success\\.",
            "TopicConfig \\[topicName=AdminTopic, readQueueNums=4, writeQueueNums=4, perm=RW-");
        check("updateTopic -t AdminOrder -r 2 -w 2 -o true" + onCluster,
            "set cluster orderConf\\. isOrder=true, orderConf=\\[broker-a:2\\]");
        check("updateTopic -t AdminTwo -r 2 -w 2" + onBroker, "^create topic to \\S+ success\\.");
        check("updateTopic -t bad@topic -r 2 -w 2" + onBroker, "illegal characters");
        check("updateTopicPerm -t AdminTwo -p 4" + onCluster,
            "^update topic perm from 6 to 4 in \\S+ success\\.");
        check("updateTopicPerm -t AdminTwo -p 4" + onBroker, "new perm equals to the old one!");
        check("topicList", "^AdminTopic$", "^AdminOrder$", "^BenchmarkTest$");
        check("topicRoute -t AdminTopic", "\"readQueueNums\":4", "\"brokerName\":\"broker-a\"");
        check("topicRoute -t AdminTopic -l", "^DefaultCluster +broker-a .* 4 +4 +6 ", "^Total: +1");
        check("topicRoute -t NoSuchTopic", "CODE: 17");
        check("topicClusterList -t AdminTopic", "^DefaultCluster$");
        check("allocateMQ -t AdminTopic -i 10.0.0.1,10.0.0.2", "\"10.0.0.1\":\\[\\{");
        check("updateOrderConf -t AdminTwo -m put -v broker-a:2", "update orderConf success");
        check("updateOrderConf -t AdminTwo -m get", "orderConf=\\[broker-a:2\\]");
        check("updateOrderConf -t AdminTwo -m delete", "delete orderConf success");
        check("topicStatus -t AdminTopic", "#Broker Name +#QID +#Min Offset",
            "^broker-a +3 +0 +0 ");
    }

    private void messages() throws Exception {
        String id = last.getOffsetMsgId();
        await("topicStatus -t AdminTopic", "^broker-a +3 +0 +5 +\\d{4}-\\d\\d-\\d\\d ");
        check("queryMsgById -i " + id, "^Topic: +AdminTopic", "^Tags: +\\[TagA\\]", "^Queue ID: +3",
            "^Queue Offset: +4", "^Properties: .*KEYS=key19");
        check("queryMsgByKey -t AdminTopic -k key3", "^[0-9A-F]{32,56} +3 +0 *$");
        check("queryMsgByKey -t AdminTopic -k nokey", "CODE: 208");
        check("queryMsgByUniqueKey -t AdminTopic -i " + last.getMsgId(), "^Topic: +AdminTopic",
            "^Keys: +\\[key19\\]");
        check("queryMsgByOffset -t AdminTopic -b broker-a -i 0 -o 1", "^Queue Offset: +1",
            "^Message Body Path: +");
        check("printMsg -t AdminTopic -d true", "minOffset=0, maxOffset=5", "BODY: hello 19");
        check("printMsgByQueue -t AdminTopic -a broker-a -i 0 -p true -d true -f true",
            "Tag: TagA +Count: 5", "BODY: hello 16");
        check("consumeMessage -t AdminTopic -c 3", "MSGID: \\S+ ");
        check("queryCq -t AdminTopic -q 0 -i 1 -c 2", "max: 5, min: 0", "physicSize=2\\d\\d",
            "tagsCode=2598919");
        check("queryCq -t AdminTopic -q 77 -i 1", "77@AdminTopic is not exist!");
        check("sendMessage -t AdminOrder -p body -k kk -c tg",
            "^broker-a +[01] +SEND_OK +[0-9A-F]{32,56}");
        check("checkMsgSendRT -t AdminTopic -s 100 -a 3", "^broker-a +\\d +true ", "^Avg RT: ");
        check("sendMsgStatus -b broker-a -s 12 -c 2", "sendStatus=SEND_OK");
    }

    private void groups() throws Exception {
        check("updateSubGroup -g CG_SET -s false -q 2 -r 3 -a false" + onBroker,
            "^create subscription group to \\S+ success\\.", "retryQueueNums=2");
        check("getConsumerConfig -g CG_SET", "^consumeEnable += +false", "^retryMaxTimes += +3",
            "^notifyConsumerIdsChangedEnable += +false");
        check("updateSubGroup -g CG_SET2" + onCluster,
            "^create subscription group to \\S+ success");
        check("deleteSubGroup -g CG_SET" + onBroker,
            "^delete subscription group \\[CG_SET\\] from broker \\[\\S+\\] success\\.");
        check("deleteSubGroup -g CG_SET2 -r true" + onCluster, "CG_SET2.* success");
    }

    private void online(String clientId) throws Exception {
        await("consumerProgress -g CG_ADMIN", "^Diff Total: 0$");
        check("consumerProgress -g CG_ADMIN",
            "^AdminTopic +broker-a +3 +\\d+ +\\d+ +0 +\\d{4}-", "^Consume TPS: \\d+\\.\\d\\d$");
        check("consumerProgress -g CG_ADMIN -s true", "^AdminTopic .* \\d+\\.\\d+\\.\\d+\\.\\d+ ");
        check("consumerProgress", "^CG_ADMIN +1 +V4_9_2 +PUSH +CLUSTERING ");
        check("consumerConnection -g CG_ADMIN", Pattern.quote(clientId) + " +\\S+ +JAVA +V4_9_2",
            "^Below is subscription:", "ConsumeType: CONSUME_PASSIVELY");
        check("producerConnection -g PG_ADMIN -t AdminTopic", "^0001 +\\S+ +\\S+ +JAVA +V4_9_2");
        check("consumerStatus -g CG_ADMIN", "^001 +" + Pattern.quote(clientId),
            "Same subscription in the same group of consumer", "Rebalance OK");
        check("queryMsgById -i " + last.getOffsetMsgId() + " -g CG_ADMIN -d " + clientId,
            "consumeResult=CR_SUCCESS");
        await("statsAll -t AdminTopic",
            "^AdminTopic +CG_ADMIN +0 +[0-9.]+ +[0-9.]+ +2\\d +2\\d *$");
        check("statsAll -t AdminOrder", "^AdminOrder +0 +\\d+\\.\\d\\d +\\d+ +NO_CONSUMER");
        check("brokerConsumeStats" + onBroker, "^AdminTopic +CG_ADMIN +broker-a +3 ",
            "^Diff Total: \\d+");
        check("cloneGroupOffset -s CG_ADMIN -d CG_COPY -t AdminTopic",
            "clone group offset success");
        int before = consumed.get();
        check("resetOffsetByTime -g CG_ADMIN -t AdminTopic -s 0", "force\\[true\\]",
            "#brokerName +#queueId +#offset", "^broker-a +3 +0 *$");
        until(() -> consumed.get() >= before + MESSAGES);
        if (consumed.get() < before + MESSAGES) {
            failed++;
            out.printf("FAILED resetOffsetByTime: %d messages came again%n",
                consumed.get() - before);
        }
        check("resetOffsetByTime -g CG_NEVER -t AdminTopic -s now",
            "CODE: 1 +DESC: THe consumer group <CG_NEVER> not exist");
    }

    private void offline() throws Exception {
        await("consumerConnection -g CG_ADMIN",
            "CODE: 206 +DESC: the consumer group\\[CG_ADMIN\\] not");
        check("consumerProgress -g CG_ADMIN", "^AdminTopic +broker-a +3 ", "^Diff Total: \\d+");
        check("resetOffsetByTime -g CG_ADMIN -t AdminTopic -s 0",
            "#brokerName +#queueId +#brokerOffset +#consumerOffset", "^broker-a +3 +\\d+ ");
        check("consumerProgress -g CG_ADMIN", "^AdminTopic +broker-a +3 +\\d+ +0 +[1-9]");
    }

    private void brokers() throws Exception {
        check("getBrokerConfig" + onBroker, "^brokerName += +broker-a", "^listenPort += +\\d+");
        check("updateBrokerConfig -k flushIntervalCommitLog -v 600" + onBroker,
            "update broker config success, ");
        check("getBrokerConfig" + onCluster, "Master: ", "^flushIntervalCommitLog += +600");
        check("cleanExpiredCQ" + onBroker, "success");
        check("cleanUnusedTopic" + onBroker, "success");
        check("exportConfigs" + onCluster + " -f export", "export .*configs\\.json success");
        check("exportMetadata" + onCluster + " -t -f export", "export .*topic\\.json success");
        check("exportMetrics" + onCluster + " -f export", "export .*metrics\\.json success");
    }

    private void nameServers() throws Exception {
        check("wipeWritePerm -b broker-a", "wipe write perm of broker\\[broker-a\\] .* OK, \\d+");
        check("topicRoute -t AdminTopic", "\"perm\":4");
        check("addWritePerm -b broker-a", "add write perm of broker\\[broker-a\\] .* OK, \\d+");
        check("topicRoute -t AdminTopic", "\"perm\":6");
        check("updateKvConfig -s NS -k K -v V", "create or update kv config to namespace success");
        check("deleteKvConfig -s NS -k K", "delete kv config from namespace success");
        check("getNamesrvConfig", "^listenPort += +\\d+");
        check("updateNamesrvConfig -k serverChannelMaxIdleTimeSeconds -v 121",
            "update name server config success!");
    }

    /* The servers are started without access control. */
    private void accessControl() throws Exception {
        check("updateAclConfig -a accessKey1 -s secretKey1" + onCluster, "CODE: 209 ");
        check("deleteAccessConfig -a accessKey1" + onCluster, "CODE: 210 ");
        check("updateGlobalWhiteAddr -g 10.0.0.1" + onBroker, "CODE: 211 ");
    }

    private void deleting() throws Exception {
        check("deleteTopic -t AdminTwo" + onCluster,
            "^delete topic \\[AdminTwo\\] from cluster \\[DefaultCluster\\] success\\.",
            "^delete topic \\[AdminTwo\\] from NameServer success\\.");
        check("topicRoute -t AdminTwo", "CODE: 17");
        check("deleteTopic -t AdminTopic -c NoSuchCluster",
            "Make sure the specified clusterName exists");
        check("noSuchCommand", "The sub command noSuchCommand not exist\\.");
    }
}
