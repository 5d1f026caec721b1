// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"time"
)

// The client has no public call for the cluster's brokers, so this asks the name server itself:
// GET_BROKER_CLUSTER_INFO, whose body names the master as broker id 0.
var (
	masterPattern = regexp.MustCompile(`"brokerAddrs":\{"?0"?:"([^"]+)"`)
	offsetPattern = regexp.MustCompile(`"offset":"(\d+)"`)
	codePattern   = regexp.MustCompile(`"code":(\d+)`)
)

func masterOf(namesrv string) (string, error) {
	answer, err := ask(namesrv, 106, "")
	if err != nil {
		return "", err
	}
	found := masterPattern.FindSubmatch(answer)
	if found == nil {
		return "", errors.New("the name server knows no master")
	}
	return string(found[1]), nil
}

// ask sends one request with JSON headers, for what the client has no call for. `fields` are members of
// extFields. Returns header and body of the answer as they came, or an error when its code is not 0.
func ask(address string, code int, fields string) ([]byte, error) {
	connection, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	header := []byte(fmt.Sprintf(
		`{"code":%d,"flag":0,"language":"GO","opaque":1,"version":397,"extFields":{%s}}`, code, fields))
	frame := make([]byte, 8, 8+len(header))
	binary.BigEndian.PutUint32(frame, uint32(4+len(header)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(header)))
	if _, err := connection.Write(append(frame, header...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(connection, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(connection, answer); err != nil {
		return nil, err
	}
	if found := codePattern.FindSubmatch(answer); found == nil || string(found[1]) != "0" {
		return nil, fmt.Errorf("request %d was answered %q", code, answer)
	}
	return answer, nil
}
