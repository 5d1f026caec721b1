// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// aclCases run where the broker checks access; the run script has written the accounts.
var aclCases = []testCase{
	{"go/acl/refused", aclRefused},
}

// sendAs sends one message with these keys; the text of what went wrong, or "".
func sendAs(b *bench, keys primitive.Credentials, topic string) (string, error) {
	p, err := b.producer(producer.WithRetry(0), producer.WithCredentials(keys))
	if err != nil {
		return "", err
	}
	result, err := p.SendSync(context.Background(), message(topic, "A", "body"))
	if err != nil {
		return err.Error(), nil
	}
	if result.Status != primitive.SendOK {
		return "", errors.New("the message was not stored: " + result.String())
	}
	return "", nil
}

func aclRefused(b *bench) error {
	topic, err := b.topic(1)
	if err != nil {
		return err
	}
	const exception = "org.apache.rocketmq.acl.common.AclException: "
	for _, row := range []struct {
		keys primitive.Credentials
		says string
	}{
		{account(), ""},
		{primitive.Credentials{AccessKey: "nobody-here", SecretKey: "secret"}, "No acl config for nobody-here"},
		{primitive.Credentials{AccessKey: account().AccessKey, SecretKey: "wrong-secret"}, "Check signature failed"},
		{credentials("ACL_LIMITED"), "No default permission for topic:" + topic},
		{primitive.Credentials{}, "No accessKey is configured"},
	} {
		said, err := sendAs(b, row.keys, topic)
		if err != nil {
			return err
		}
		if (row.says == "") != (said == "") || (said != "" && !strings.Contains(said, exception+row.says)) {
			return fmt.Errorf("with %q: expected %q, got %q", row.keys.AccessKey, row.says, said)
		}
	}
	return nil
}
