// SPDX-License-Identifier: Apache-2.0
//
// A stock producer and a push consumer of RocketMQ's Java client, with message trace, that are there
// while the dashboard is asked about them. Usage: Client NAMESRV TOPIC GROUP. Prints "ready MSGID"
// when a message was consumed, then what it consumes, and ends when its standard input does.
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

public class Client {
    public static void main(String[] args) throws Exception {
        String namesrv = args[0], topic = args[1], group = args[2];
        DefaultMQProducer producer = new DefaultMQProducer("dashboard-producer", true);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("producer");
        producer.setSendMsgTimeout(10000);
        producer.start();
        SendResult sent = null;
        for (int i = 0; i < 40; i++)
            sent = producer.send(new Message(topic, "TagA", "key-" + i,
                ("body-" + i).getBytes(StandardCharsets.UTF_8)));
        CountDownLatch consumed = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, true);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> System.out.println("consumed "
                + new String(message.getBody(), StandardCharsets.UTF_8)));
            consumed.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        consumed.await();
        System.out.println("ready " + sent.getMsgId());
        while (System.in.read() != -1)
            ;
        producer.shutdown();
        consumer.shutdown();
    }
}
