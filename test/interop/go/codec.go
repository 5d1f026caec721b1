// SPDX-License-Identifier: Apache-2.0

package main

import _ "unsafe" // for the link

// The client can write both kinds of headers but has no public switch for that.
//
//go:linkname codecType github.com/apache/rocketmq-client-go/v2/internal/remote.codecType
var codecType byte

const rocketmqCodec = 1
