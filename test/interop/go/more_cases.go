// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var moreCases = []testCase{
	{"go/send/delay", sendDelay},
	{"go/send/properties", sendProperties},
	{"go/send/chosen-queue", sendChosenQueue},
	{"go/send/trace", sendTrace},
	{"go/consume/two-members", twoMembers},
	{"go/consume/from-last-offset", fromLastOffset},
	{"go/consume/orderly-suspend", orderlySuspend},
	{"go/consume/poll-and-ack", pollAndAck},
	{"go/consume/pull-offsets", pullOffsets},
	{"go/consume/sql-filter", sqlFilter},
	{"go/consume/reset-offset", resetOffset},
	{"go/retry/dead-letter", deadLetter},
	{"go/transaction-check-back", transactionCheckBack},
	{"go/admin/topics-and-groups", topicsAndGroups},
}

// The broker's level 7, says run.
const (
	delayLevel = 7
	delayTime  = 2 * time.Second
)

// subscribe starts a push consumer with a listener.
func subscribe(b *bench, topic, group string, selector consumer.MessageSelector,
	listen func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error),
	options ...consumer.Option) (rocketmq.PushConsumer, error) {
	c, err := b.pushConsumer(group, options...)
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(topic, selector, listen); err != nil {
		return nil, err
	}
	return c, c.Start()
}

func sendDelay(b *bench) error {
	topic, p, err := topicAndProducer(b, 2)
	if err != nil {
		return err
	}
	var sent []string
	for i := 0; i < 5; i++ {
		body := fmt.Sprintf("delay-%d", i)
		m := message(topic, "A", body).WithDelayTimeLevel(delayLevel)
		if _, err := p.SendSync(context.Background(), m); err != nil {
			return err
		}
		sent = append(sent, body)
	}
	got := &collector{}
	var mu sync.Mutex
	var early []string
	_, err = subscribe(b, topic, unique("C"), consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range messages {
				if time.Now().Before(time.UnixMilli(m.BornTimestamp).Add(delayTime)) {
					mu.Lock()
					early = append(early, string(m.Body))
					mu.Unlock()
				}
				got.add(string(m.Body))
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := got.awaitExactly(sent); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return same([]string(nil), early, "came too early")
}

// pullOne pulls the first message of a queue, when it is there.
func pullOne(b *bench, topic, broker string, queueID int) (*primitive.MessageExt, error) {
	c, err := startPuller(b, topic, unique("C"))
	if err != nil {
		return nil, err
	}
	queue := &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: queueID}
	var found *primitive.MessageExt
	err = await("a message in "+topic, func() bool {
		result, err := c.PullFrom(context.Background(), queue, 0, 1)
		if err == nil && result.Status == primitive.PullFound {
			found = result.GetMessageExts()[0]
		}
		return found != nil
	})
	return found, err
}

func startPuller(b *bench, topic, group string) (rocketmq.PullConsumer, error) {
	c, err := rocketmq.NewPullConsumer(consumer.WithGroupName(group),
		consumer.WithNsResolver(b.resolver()), consumer.WithInstance(unique("I")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}); err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b.onClose(func() { _ = c.Shutdown() })
	return c, nil
}

func sendProperties(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	m := message(topic, "TagX", "with properties")
	m.WithKeys([]string{"one", "two"})
	m.WithProperty("colour", "bläulich")
	m.Flag = 5
	result, err := p.SendSync(context.Background(), m)
	if err != nil {
		return err
	}
	received, err := pullOne(b, topic, result.MessageQueue.BrokerName, 0)
	if err != nil {
		return err
	}
	return same([]interface{}{"with properties", "TagX", "one two", "bläulich", int32(5), result.MsgID,
		topic, result.QueueOffset},
		[]interface{}{string(received.Body), received.GetTags(), received.GetKeys(),
			received.GetProperty("colour"), received.Flag, received.MsgId, received.Topic,
			received.QueueOffset}, "what was received")
}

func sendChosenQueue(b *bench) error {
	topic, err := b.topic(4)
	if err != nil {
		return err
	}
	p, err := b.producer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	if err != nil {
		return err
	}
	broker, err := brokerName(b, topic)
	if err != nil {
		return err
	}
	for i := 0; i < 12; i++ {
		m := message(topic, "A", fmt.Sprint(i))
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: i % 4}
		result, err := p.SendSync(context.Background(), m)
		if err != nil {
			return err
		}
		if err := same([]int64{int64(i % 4), int64(i / 4)},
			[]int64{int64(result.MessageQueue.QueueId), result.QueueOffset}, "place"); err != nil {
			return err
		}
	}
	return nil
}

func brokerName(b *bench, topic string) (string, error) {
	a, err := admin.NewAdmin(admin.WithResolver(b.resolver()))
	if err != nil {
		return "", err
	}
	defer a.Close()
	name := ""
	err = await("the topic's queues", func() bool {
		queues, err := a.FetchPublishMessageQueues(context.Background(), topic)
		if err == nil && len(queues) > 0 {
			name = queues[0].BrokerName
		}
		return name != ""
	})
	return name, err
}

func sendTrace(b *bench) error {
	topic, err := b.topic(1)
	if err != nil {
		return err
	}
	traces, err := b.topic(1)
	if err != nil {
		return err
	}
	p, err := b.producer(producer.WithTrace(&primitive.TraceConfig{TraceTopic: traces,
		Access: primitive.Local, Resolver: b.resolver(), GroupName: unique("T")}))
	if err != nil {
		return err
	}
	result, err := p.SendSync(context.Background(), message(topic, "A", "traced"))
	if err != nil {
		return err
	}
	trace, err := pullOne(b, traces, result.MessageQueue.BrokerName, 0)
	if err != nil {
		return err
	}
	if !strings.Contains(string(trace.Body), result.MsgID) {
		return fmt.Errorf("the trace does not name the message: %q", trace.Body)
	}
	return nil
}

func twoMembers(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	group := unique("C")
	members := []*collector{{}, {}}
	for _, one := range members {
		if _, err := subscribe(b, topic, group, consumer.MessageSelector{}, one.listen); err != nil {
			return err
		}
	}
	sent := 0
	err = await("messages at both members", func() bool {
		if _, err := sendMany(p, topic, fmt.Sprintf("shared-%d", sent), 8); err == nil {
			sent += 8
		}
		time.Sleep(200 * time.Millisecond)
		return members[0].count() > 0 && members[1].count() > 0
	})
	if err != nil {
		return err
	}
	return await(fmt.Sprintf("all of %d messages", sent), func() bool {
		all := map[string]bool{}
		for _, one := range members {
			one.mu.Lock()
			for body := range one.bodies {
				all[body] = true
			}
			one.mu.Unlock()
		}
		return len(all) == sent
	})
}

// A group that is new to a topic would begin at its end if the topic's first messages were gone or on the
// disk only; while they are in memory it begins with them.
func fromLastOffset(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	early, err := sendMany(p, topic, "early", 10)
	if err != nil {
		return err
	}
	got := &collector{}
	if _, err := subscribe(b, topic, unique("C"), consumer.MessageSelector{}, got.listen,
		consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset)); err != nil {
		return err
	}
	return got.awaitExactly(early)
}

func orderlySuspend(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	sent, err := sendMany(p, topic, "order", 10)
	if err != nil {
		return err
	}
	got := &collector{}
	refused := false
	_, err = subscribe(b, topic, unique("C"), consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range messages {
				if string(m.Body) == "order-5" && !refused {
					refused = true
					return consumer.SuspendCurrentQueueAMoment, nil
				}
				got.add(string(m.Body))
			}
			return consumer.ConsumeSuccess, nil
		}, consumer.WithConsumerOrder(true), consumer.WithConsumeMessageBatchMaxSize(1),
		consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	if err != nil {
		return err
	}
	if err := got.awaitExactly(sent); err != nil {
		return err
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	return same(sent, got.order, "order")
}

func pollAndAck(b *bench) error {
	topic, p, err := topicAndProducer(b, 4)
	if err != nil {
		return err
	}
	sent, err := sendMany(p, topic, "poll", 40)
	if err != nil {
		return err
	}
	c, err := startPuller(b, topic, unique("C"))
	if err != nil {
		return err
	}
	got := &collector{}
	err = await("40 messages", func() bool {
		request, err := c.Poll(context.Background(), 2*time.Second)
		if err == nil {
			for _, m := range request.GetMsgList() {
				got.add(string(m.Body))
			}
			c.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return got.count() >= 40
	})
	if err != nil {
		return err
	}
	return got.awaitExactly(sent)
}

func pullOffsets(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	if _, err := sendMany(p, topic, "pull", 10); err != nil {
		return err
	}
	broker, err := brokerName(b, topic)
	if err != nil {
		return err
	}
	group := unique("C")
	queue := &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: 0}
	c, err := startPuller(b, topic, group)
	if err != nil {
		return err
	}
	// The client commits only for queues that it has taken, which it does in the background.
	return await("the committed offset", func() bool {
		if c.UpdateOffset(queue, 7) != nil || c.PersistOffset(context.Background(), topic) != nil {
			return false
		}
		time.Sleep(100 * time.Millisecond)
		return committedOffset(b, group, topic) == 7
	})
}

// committedOffset is -1 where there is none.
func committedOffset(b *bench, group, topic string) int64 {
	broker, err := masterOf(b.address)
	if err != nil {
		return -1
	}
	var offset int64 = -1
	answer, err := ask(broker, 14, fmt.Sprintf(`"consumerGroup":%q,"topic":%q,"queueId":"0"`, group, topic))
	if err == nil {
		if found := offsetPattern.FindSubmatch(answer); found != nil {
			fmt.Sscan(string(found[1]), &offset)
		}
	}
	return offset
}

func sqlFilter(b *bench) error {
	topic, p, err := topicAndProducer(b, 2)
	if err != nil {
		return err
	}
	var expected []string
	for i := 0; i < 40; i++ {
		m := message(topic, "A", fmt.Sprintf("sql-%d", i))
		m.WithProperty("number", fmt.Sprint(i))
		if _, err := p.SendSync(context.Background(), m); err != nil {
			return err
		}
		if i >= 10 && i < 20 {
			expected = append(expected, string(m.Body))
		}
	}
	got := &collector{}
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "number between 10 and 19"}
	if _, err := subscribe(b, topic, unique("C"), selector, got.listen); err != nil {
		return err
	}
	return got.awaitExactly(expected)
}

// INVOKE_BROKER_TO_RESET_OFFSET, which tells the members of the group.
func resetOffset(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	sent, err := sendMany(p, topic, "reset", 20)
	if err != nil {
		return err
	}
	group := unique("C")
	got := &collector{}
	if _, err := subscribe(b, topic, group, consumer.MessageSelector{}, got.listen); err != nil {
		return err
	}
	if err := got.awaitExactly(sent); err != nil {
		return err
	}
	err = await("the commit", func() bool { return committedOffset(b, group, topic) == 20 })
	if err != nil {
		return err
	}
	broker, err := masterOf(b.address)
	if err != nil {
		return err
	}
	if _, err := ask(broker, 222, fmt.Sprintf(
		`"topic":%q,"group":%q,"timestamp":"0","isForce":"true"`, topic, group)); err != nil {
		return err
	}
	return await("everything once more", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		for _, body := range sent {
			if got.bodies[body] != 2 {
				return false
			}
		}
		return true
	})
}

func deadLetter(b *bench) error {
	topic, p, err := topicAndProducer(b, 1)
	if err != nil {
		return err
	}
	group := unique("C")
	var mu sync.Mutex
	deliveries := 0
	_, err = subscribe(b, topic, group, consumer.MessageSelector{},
		func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			deliveries++
			return consumer.ConsumeRetryLater, nil
		}, consumer.WithMaxReconsumeTimes(1))
	if err != nil {
		return err
	}
	result, err := p.SendSync(context.Background(), message(topic, "A", "never good"))
	if err != nil {
		return err
	}
	dead := "%DLQ%" + group
	broker, err := masterOf(b.address)
	if err != nil {
		return err
	}
	err = await("a dead letter", func() bool {
		answer, err := ask(broker, 30, fmt.Sprintf(`"topic":%q,"queueId":"0"`, dead))
		return err == nil && strings.Contains(string(answer), `"offset":"1"`)
	})
	if err != nil {
		return err
	}
	// Dead letter topics are for writing until an operator opens them.
	a, err := admin.NewAdmin(admin.WithResolver(b.resolver()))
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.CreateTopic(context.Background(), admin.WithTopicCreate(dead),
		admin.WithBrokerAddrCreate(broker), admin.WithReadQueueNums(1),
		admin.WithWriteQueueNums(1), admin.WithPerm(6)); err != nil {
		return err
	}
	letter, err := pullOne(b, dead, result.MessageQueue.BrokerName, 0)
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return same([]interface{}{"never good", topic, 2}, []interface{}{string(letter.Body),
		letter.GetProperty("RETRY_TOPIC"), deliveries}, "the dead letter")
}

type undecided struct{}

func (undecided) ExecuteLocalTransaction(*primitive.Message) primitive.LocalTransactionState {
	return primitive.UnknowState
}

func (undecided) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	if strings.HasPrefix(string(m.Body), "good") {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

// The broker of run asks back after a second.
func transactionCheckBack(b *bench) error {
	topic, err := b.topic(2)
	if err != nil {
		return err
	}
	p, err := rocketmq.NewTransactionProducer(undecided{}, producer.WithNsResolver(b.resolver()),
		producer.WithGroupName(unique("TP")), producer.WithInstanceName(unique("I")))
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	b.onClose(func() { _ = p.Shutdown() })
	var good []string
	for i := 0; i < 3; i++ {
		for _, word := range []string{"good", "bad"} {
			body := fmt.Sprintf("%s-%d", word, i)
			if _, err := p.SendMessageInTransaction(context.Background(), message(topic, "A", body)); err != nil {
				return err
			}
		}
		good = append(good, fmt.Sprintf("good-%d", i))
	}
	return awaitInTopic(b, topic, good)
}

func topicsAndGroups(b *bench) error {
	topic, err := b.topic(3)
	if err != nil {
		return err
	}
	group := unique("C")
	got := &collector{}
	if _, err := subscribe(b, topic, group, consumer.MessageSelector{}, got.listen); err != nil {
		return err
	}
	broker, err := masterOf(b.address)
	if err != nil {
		return err
	}
	a, err := admin.NewAdmin(admin.WithResolver(b.resolver()))
	if err != nil {
		return err
	}
	defer a.Close()
	ctx := context.Background()
	err = await("the group", func() bool {
		groups, err := a.GetAllSubscriptionGroup(ctx, broker, 5*time.Second)
		_, known := groups.SubscriptionGroupTable[group]
		return err == nil && known
	})
	if err != nil {
		return err
	}
	isListed := func() bool {
		list, err := a.FetchAllTopicList(ctx)
		if err != nil {
			return false
		}
		for _, one := range list.TopicList {
			if one == topic {
				return true
			}
		}
		return false
	}
	if err := await("the topic in the list", isListed); err != nil {
		return err
	}
	queues, err := a.FetchPublishMessageQueues(ctx, topic)
	if err != nil {
		return err
	}
	if err := same(3, len(queues), "queues"); err != nil {
		return err
	}
	if err := a.DeleteTopic(ctx, admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(broker),
		admin.WithNameSrvAddr([]string{b.address})); err != nil {
		return err
	}
	return await("the topic's end", func() bool { return !isListed() })
}
