// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var cases = []testCase{
	{"go/send/sync", sendSync},
	{"go/send/async", sendAsync},
	{"go/send/oneway", sendOneWay},
	{"go/send/batch", sendBatch},
	{"go/send/auto-created-topic", sendAutoCreated},
	{"go/send/compressed-body", sendCompressed},
	{"go/consume/tag-filter", tagFilter},
	{"go/consume/orderly", orderly},
	{"go/consume/broadcasting", broadcasting},
	{"go/consume/pull", pull},
	{"go/consume/offsets-survive-restart", restart},
	{"go/retry/consume-retry-later", retryLater},
	{"go/transaction", transaction},
}

// collect starts a push consumer of a topic that keeps what it gets.
func collect(b *bench, topic string) (*collector, error) {
	got := &collector{}
	c, err := b.pushConsumer(unique("C"))
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, got.listen); err != nil {
		return nil, err
	}
	return got, c.Start()
}

func awaitInTopic(b *bench, topic string, sent []string) error {
	got, err := collect(b, topic)
	if err != nil {
		return err
	}
	return got.awaitExactly(sent)
}

func topicAndProducer(b *bench, queues int) (string, rocketmq.Producer, error) {
	topic, err := b.topic(queues)
	if err != nil {
		return "", nil, err
	}
	p, err := b.producer()
	return topic, p, err
}

func sendSync(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	sent, err := sendMany(p, topic, "sync", 100)
	if err != nil {
		return err
	}
	return awaitInTopic(b, topic, sent)
}

func sendAsync(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	var sent []string
	var wait sync.WaitGroup
	var failures int32
	for i := 0; i < 100; i++ {
		body := fmt.Sprintf("async-%d", i)
		sent = append(sent, body)
		wait.Add(1)
		err := p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
			if err != nil {
				atomic.AddInt32(&failures, 1)
			}
			wait.Done()
		}, message(topic, "A", body))
		if err != nil {
			return err
		}
	}
	wait.Wait()
	if err := same(0, failures, "failed sends"); err != nil {
		return err
	}
	return awaitInTopic(b, topic, sent)
}

func sendOneWay(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	var sent []string
	for i := 0; i < 50; i++ {
		body := fmt.Sprintf("oneway-%d", i)
		sent = append(sent, body)
		if err := p.SendOneWay(context.Background(), message(topic, "A", body)); err != nil {
			return err
		}
	}
	return awaitInTopic(b, topic, sent)
}

func sendBatch(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	var sent []string
	var messages []*primitive.Message
	for i := 0; i < 20; i++ {
		body := fmt.Sprintf("batch-%d", i)
		sent = append(sent, body)
		messages = append(messages, message(topic, "A", body))
	}
	result, err := p.SendSync(context.Background(), messages...)
	if err != nil {
		return err
	}
	if err := same(primitive.SendOK, result.Status, "status"); err != nil {
		return err
	}
	return awaitInTopic(b, topic, sent)
}

func sendAutoCreated(b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	topic := unique("AUTO")
	sent, err := sendMany(p, topic, "auto", 20)
	if err != nil {
		return err
	}
	return awaitInTopic(b, topic, sent)
}

func sendCompressed(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	body := strings.Repeat("a line that compresses well\n", 20000)
	if _, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body))); err != nil {
		return err
	}
	return awaitInTopic(b, topic, []string{body})
}

func tagFilter(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	var expected []string
	for i := 0; i < 60; i++ {
		tag := fmt.Sprintf("Tag%d", i%3)
		body := fmt.Sprintf("%s-%d", tag, i)
		if _, err := p.SendSync(context.Background(), message(topic, tag, body)); err != nil {
			return err
		}
		if tag != "Tag1" {
			expected = append(expected, body)
		}
	}
	got := &collector{}
	c, err := b.pushConsumer(unique("C"))
	if err != nil {
		return err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "Tag0 || Tag2"}
	if err := c.Subscribe(topic, selector, got.listen); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	return got.awaitExactly(expected)
}

func orderly(b *bench) error {
	topic, err := b.topic(4)
	if err != nil {
		return err
	}
	p, err := b.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	var sent []string
	for i := 0; i < 120; i++ {
		m := message(topic, "A", fmt.Sprintf("%d:%03d", i%6, i))
		m.WithShardingKey(fmt.Sprintf("shard-%d", i%6))
		sent = append(sent, string(m.Body))
		if _, err := p.SendSync(context.Background(), m); err != nil {
			return err
		}
	}
	got := &collector{}
	c, err := b.pushConsumer(unique("C"), consumer.WithConsumerOrder(true))
	if err != nil {
		return err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, got.listen); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	if err := got.awaitExactly(sent); err != nil {
		return err
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	byShard := map[string][]string{}
	for _, body := range got.order {
		shard := body[:1]
		byShard[shard] = append(byShard[shard], body)
	}
	for shard, bodies := range byShard {
		if err := same(sorted(bodies), bodies, "order of shard "+shard); err != nil {
			return err
		}
	}
	return nil
}

func broadcasting(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	sent, err := sendMany(p, topic, "broadcast", 40)
	if err != nil {
		return err
	}
	group := unique("C")
	got := []*collector{{}, {}}
	for _, one := range got {
		c, err := b.pushConsumer(group, consumer.WithConsumerModel(consumer.BroadCasting))
		if err != nil {
			return err
		}
		if err := c.Subscribe(topic, consumer.MessageSelector{}, one.listen); err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
	}
	for _, one := range got {
		if err := one.awaitExactly(sent); err != nil {
			return err
		}
	}
	return nil
}

func pull(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	sent, err := sendMany(p, topic, "pull", 50)
	if err != nil {
		return err
	}
	c, err := rocketmq.NewPullConsumer(
		consumer.WithGroupName(unique("C")),
		consumer.WithNsResolver(b.resolver()),
		consumer.WithInstance(unique("I")),
		consumer.WithCredentials(account()),
	)
	if err != nil {
		return err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	b.onClose(func() { _ = c.Shutdown() })
	broker, last, err := sendLast(p, topic)
	if err != nil {
		return err
	}
	sent = append(sent, last)
	queue := &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: 0}
	var received []string
	for offset := int64(0); len(received) < len(sent); {
		result, err := c.PullFrom(context.Background(), queue, offset, 7)
		if err != nil {
			return err
		}
		if result.Status != primitive.PullFound {
			return fmt.Errorf("status %v at offset %d", result.Status, offset)
		}
		for _, m := range result.GetMessageExts() {
			received = append(received, string(m.Body))
		}
		offset = result.NextBeginOffset
	}
	return same(sent, received, "bodies in order")
}

// sendLast sends one more message; its answer tells the name of the topic's broker.
func sendLast(p rocketmq.Producer, topic string) (broker, body string, err error) {
	body = "after the others"
	result, err := p.SendSync(context.Background(), message(topic, "A", body))
	if err != nil {
		return "", "", err
	}
	return result.MessageQueue.BrokerName, body, nil
}

func restart(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	early, err := sendMany(p, topic, "early", 40)
	if err != nil {
		return err
	}
	group := unique("C")
	run := func(got *collector) (rocketmq.PushConsumer, error) {
		c, err := b.pushConsumer(group)
		if err != nil {
			return nil, err
		}
		if err := c.Subscribe(topic, consumer.MessageSelector{}, got.listen); err != nil {
			return nil, err
		}
		return c, c.Start()
	}
	first := &collector{}
	c, err := run(first)
	if err != nil {
		return err
	}
	if err := first.awaitExactly(early); err != nil {
		return err
	}
	if err := c.Shutdown(); err != nil {
		return err
	}
	late, err := sendMany(p, topic, "late", 20)
	if err != nil {
		return err
	}
	second := &collector{}
	if _, err := run(second); err != nil {
		return err
	}
	return second.awaitExactly(late)
}

func retryLater(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var times []int32
	c, err := b.pushConsumer(unique("C"))
	if err != nil {
		return err
	}
	err = c.Subscribe(topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, messages[0].ReconsumeTimes)
			if len(times) <= 2 {
				return consumer.ConsumeRetryLater, nil
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	if _, err := sendMany(p, topic, "again", 1); err != nil {
		return err
	}
	err = await("three deliveries", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(times) >= 3
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return same([]int32{0, 1, 2}, times, "reconsume times")
}

type halves struct{}

func (halves) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	if strings.HasPrefix(string(m.Body), "good") {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

func (halves) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	return primitive.RollbackMessageState
}

func transaction(b *bench) error {
	topic, err := b.topic(2)
	if err != nil {
		return err
	}
	p, err := rocketmq.NewTransactionProducer(halves{},
		producer.WithNsResolver(b.resolver()),
		producer.WithGroupName(unique("TP")),
		producer.WithInstanceName(unique("I")),
		producer.WithCredentials(account()),
	)
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	b.onClose(func() { _ = p.Shutdown() })
	var good []string
	for i := 0; i < 10; i++ {
		body := fmt.Sprintf("good-%d", i)
		if i%2 == 1 {
			body = fmt.Sprintf("bad-%d", i)
		} else {
			good = append(good, body)
		}
		if _, err := p.SendMessageInTransaction(context.Background(), message(topic, "A", body)); err != nil {
			return err
		}
	}
	return awaitInTopic(b, topic, good)
}
