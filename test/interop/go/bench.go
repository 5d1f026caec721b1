// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	caseTimeout = 400 * time.Second
	waitTimeout = 300 * time.Second
)

var (
	serial int64
	runID  = strconv.FormatInt(time.Now().UnixMilli(), 36)
)

// unique makes a name that no other case and no other run uses.
func unique(word string) string {
	return fmt.Sprintf("%s_%s_%d", word, runID, atomic.AddInt64(&serial, 1))
}

// bench is what the cases share: clients that are shut down when the case ends.
type bench struct {
	address string
	mu      sync.Mutex
	closers []func()
}

func newBench(address string) *bench {
	return &bench{address: address}
}

func (b *bench) onClose(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closers = append(b.closers, f)
}

func (b *bench) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
}

// credentials are those of the environment's variable, an access key and its secret with a colon
// between; empty ones sign nothing.
func credentials(variable string) primitive.Credentials {
	key, secret, _ := strings.Cut(os.Getenv(variable), ":")
	return primitive.Credentials{AccessKey: key, SecretKey: secret}
}

func account() primitive.Credentials {
	return credentials("ACL_ACCOUNT")
}

// newAdmin makes an administrator. This client's signs only after one of its few calls that see to it,
// and takes every answer for a success.
func (b *bench) newAdmin(broker string) (admin.Admin, error) {
	keys := credentials("ACL_ADMINISTRATOR")
	a, err := admin.NewAdmin(admin.WithResolver(b.resolver()), admin.WithCredentials(keys))
	if err == nil && !keys.IsEmpty() {
		_, err = a.GetAllSubscriptionGroup(context.Background(), broker, waitTimeout)
	}
	return a, err
}

func (b *bench) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{b.address})
}

func (b *bench) producer(options ...producer.Option) (rocketmq.Producer, error) {
	options = append([]producer.Option{
		producer.WithNsResolver(b.resolver()),
		producer.WithGroupName(unique("P")),
		producer.WithInstanceName(unique("I")),
		producer.WithCredentials(account()),
		producer.WithSendMsgTimeout(10 * time.Second),
		producer.WithRetry(2),
	}, options...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	b.onClose(func() { _ = p.Shutdown() })
	return p, nil
}

// topic creates a topic on the broker that the route of TBW102 names.
func (b *bench) topic(queues int) (string, error) {
	name := unique("G")
	broker, err := masterOf(b.address)
	if err != nil {
		return "", err
	}
	a, err := b.newAdmin(broker)
	if err != nil {
		return "", err
	}
	defer a.Close()
	return name, a.CreateTopic(context.Background(), admin.WithTopicCreate(name),
		admin.WithBrokerAddrCreate(broker), admin.WithReadQueueNums(queues),
		admin.WithWriteQueueNums(queues))
}

func (b *bench) pushConsumer(group string, options ...consumer.Option) (rocketmq.PushConsumer, error) {
	options = append([]consumer.Option{
		consumer.WithNsResolver(b.resolver()),
		consumer.WithGroupName(group),
		consumer.WithInstance(unique("I")),
		consumer.WithCredentials(account()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { _ = c.Shutdown() })
	return c, nil
}

// collector keeps the bodies it gets and how often each came.
type collector struct {
	mu     sync.Mutex
	bodies map[string]int
	order  []string
}

func (c *collector) add(body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bodies == nil {
		c.bodies = map[string]int{}
	}
	c.bodies[body]++
	c.order = append(c.order, body)
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.bodies)
}

func (c *collector) listen(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, m := range messages {
		c.add(string(m.Body))
	}
	return consumer.ConsumeSuccess, nil
}

// awaitExactly waits until the expected bodies are there, each once, and nothing else.
func (c *collector) awaitExactly(expected []string) error {
	err := await(fmt.Sprintf("%d messages", len(expected)), func() bool { return c.count() >= len(expected) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w, have %d", err, len(c.bodies))
	}
	wanted := map[string]bool{}
	for _, body := range expected {
		wanted[body] = true
		if c.bodies[body] != 1 {
			return fmt.Errorf("%q was received %d times", body, c.bodies[body])
		}
	}
	for body := range c.bodies {
		if !wanted[body] {
			return fmt.Errorf("%q was not expected", body)
		}
	}
	return nil
}

func await(what string, condition func() bool) error {
	deadline := time.Now().Add(waitTimeout)
	for !condition() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func same(expected, actual interface{}, what string) error {
	if fmt.Sprint(expected) != fmt.Sprint(actual) {
		return fmt.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
	return nil
}

func sorted(in []string) []string {
	out := append([]string(nil), in...)
	sort.Strings(out)
	return out
}

func message(topic, tag, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	m.WithTag(tag)
	m.WithKeys([]string{body})
	return m
}

func sendMany(p rocketmq.Producer, topic, word string, count int) ([]string, error) {
	var sent []string
	for i := 0; i < count; i++ {
		body := fmt.Sprintf("%s-%d", word, i)
		result, err := p.SendSync(context.Background(), message(topic, "A", body))
		if err != nil {
			return nil, err
		}
		if err := same(primitive.SendOK, result.Status, "status"); err != nil {
			return nil, err
		}
		sent = append(sent, body)
	}
	return sent, nil
}
