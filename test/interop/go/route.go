// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"time"
)

// The client has no public call for the cluster's brokers, so this asks the name server itself:
// GET_BROKER_CLUSTER_INFO, whose body names the master as broker id 0.
var masterPattern = regexp.MustCompile(`"brokerAddrs":\{"?0"?:"([^"]+)"`)

func masterOf(namesrv string) (string, error) {
	connection, err := net.DialTimeout("tcp", namesrv, 3*time.Second)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	header := []byte(`{"code":106,"flag":0,"language":"GO","opaque":1,"version":397}`)
	frame := make([]byte, 8, 8+len(header))
	binary.BigEndian.PutUint32(frame, uint32(4+len(header)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(header)))
	if _, err := connection.Write(append(frame, header...)); err != nil {
		return "", err
	}
	var size [4]byte
	if _, err := io.ReadFull(connection, size[:]); err != nil {
		return "", err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(connection, answer); err != nil {
		return "", err
	}
	found := masterPattern.FindSubmatch(answer)
	if found == nil {
		return "", errors.New("the name server knows no master")
	}
	return string(found[1]), nil
}
