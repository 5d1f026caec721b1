// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// A member of a soak: interop member ROLE JSON NAMESRV, as test/soak/members.py is called; what it does is
// written down as test/soak/history.py says. Roles: go-sync, go-shared, go-ordered. SIGTERM ends it well.
type member struct {
	Name    string
	Topic   string
	Group   string
	History string
	file    *os.File
}

func (m *member) write(event string, fields map[string]interface{}) {
	fields["e"] = event
	fields["at"] = float64(time.Now().UnixMicro()) / 1e6
	line, err := json.Marshal(fields)
	if err == nil {
		_, err = m.file.Write(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "member:", err)
		os.Exit(1)
	}
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

func (m *member) produce(b *bench, ended <-chan os.Signal) error {
	// A send that the client tried again by itself would be stored twice.
	p, err := b.producer(producer.WithRetry(0), producer.WithSendMsgTimeout(5*time.Second))
	if err != nil {
		return err
	}
	for number := 0; ; number++ {
		select {
		case <-ended:
			return nil
		case <-time.After(time.Duration(rand.Intn(20)) * time.Millisecond):
		}
		id := fmt.Sprintf("%s-%d", m.Name, number)
		body := make([]byte, 8+rand.Intn(2000))
		rand.Read(body)
		m.write("send", map[string]interface{}{"id": id, "topic": m.Topic, "sum": checksum(body),
			"promise": "placed"})
		one := primitive.NewMessage(m.Topic, body)
		one.WithProperty("soak", id)
		one.WithKeys([]string{id})
		result, err := p.SendSync(context.Background(), one)
		if err == nil && result.Status == primitive.SendOK {
			m.write("acked", map[string]interface{}{"id": id, "queue": result.MessageQueue.QueueId,
				"offset": result.QueueOffset})
		}
	}
}

func (m *member) consume(b *bench, isOrdered bool, ended <-chan os.Signal) error {
	c, err := b.pushConsumer(m.Group, consumer.WithConsumerOrder(isOrdered),
		consumer.WithConsumeMessageBatchMaxSize(1))
	if err != nil {
		return err
	}
	err = c.Subscribe(m.Topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, one := range messages {
				id := one.GetProperty("soak")
				if one.ReconsumeTimes > 0 {
					id += "+" + strconv.Itoa(int(one.ReconsumeTimes))
				}
				m.write("got", map[string]interface{}{"member": m.Name, "group": m.Group,
					"topic": m.Topic, "queue": one.Queue.QueueId, "offset": one.QueueOffset, "id": id,
					"sum": checksum(one.Body)})
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	<-ended
	return nil
}

func runMember(role, settings, namesrv string) error {
	m := &member{}
	if err := json.Unmarshal([]byte(settings), m); err != nil {
		return err
	}
	var err error
	if m.file, err = os.OpenFile(m.History, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	b := newBench(namesrv)
	if role == "go-sync" {
		err = m.produce(b, ended)
	} else {
		err = m.consume(b, role == "go-ordered", ended)
	}
	// The client waits for brokers that may be down; what it did is written down.
	time.AfterFunc(10*time.Second, func() { os.Exit(0) })
	b.close()
	return err
}
