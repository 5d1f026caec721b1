// SPDX-License-Identifier: Apache-2.0

// Command interop runs Apache's Go client against a name server and its broker, case by case.
//
//	interop NAMESRV [FILTER]
//	interop member ROLE JSON NAMESRV      a member of a soak (member.go)
//
// The environment variable CODEC says which headers the client writes, json or rocketmq; it comes
// before the names, and PREFIX before it. ACL_ACCOUNT, ACL_ADMINISTRATOR and ACL_LIMITED are accounts
// (accessKey:secretKey) of a broker that checks access. Every case prints one line, `ok NAME`, `FAILED NAME reason` or, for the cases named
// in the comma list UNSERVED of the environment, `skipped NAME`; the last line is
// `go: N passed, N failed, N skipped`. Exit status 0 only when none failed and at least one passed.
package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const parallelCases = 6

type testCase struct {
	name string
	run  func(b *bench) error
}

func runCase(c testCase, address string) (err error) {
	b := newBench(address)
	defer b.close()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	finished := make(chan error, 1)
	go func() { finished <- c.run(b) }()
	select {
	case err = <-finished:
		return err
	case <-time.After(caseTimeout):
		return errors.New("did not end in time")
	}
}

func main() {
	if len(os.Args) == 5 && os.Args[1] == "member" {
		rlog.SetLogLevel("fatal")
		if err := runMember(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, "member:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: interop NAMESRV_HOST:PORT [FILTER]")
		os.Exit(2)
	}
	rlog.SetLogLevel("fatal")
	prefix := ""
	if codec := os.Getenv("CODEC"); codec != "" {
		prefix = os.Getenv("PREFIX") + codec + "/"
		if codec == "rocketmq" {
			codecType = rocketmqCodec
		}
	}
	filter := regexp.MustCompile("")
	if len(os.Args) > 2 {
		filter = regexp.MustCompile(os.Args[2])
	}
	unserved := map[string]bool{}
	for _, name := range strings.Split(os.Getenv("UNSERVED"), ",") {
		unserved[name] = true
	}
	// Several at a time: they mostly wait, for the client's clocks of 20 s.
	var wait sync.WaitGroup
	var passed, failed, skipped atomic.Int32
	slots := make(chan struct{}, parallelCases)
	all := append(cases, moreCases...)
	if os.Getenv("ACL_ACCOUNT") != "" {
		all = append(all, aclCases...)
	}
	for _, c := range all {
		name := prefix + c.name
		if !filter.MatchString(name) {
			continue
		}
		if unserved[c.name] {
			fmt.Println("skipped", name, "the broker does not serve this yet")
			skipped.Add(1)
			continue
		}
		slots <- struct{}{}
		wait.Add(1)
		go func(c testCase) {
			defer wait.Done()
			start := time.Now()
			if err := runCase(c, os.Args[1]); err != nil {
				fmt.Printf("FAILED %s %v\n", name, err)
				failed.Add(1)
			} else {
				fmt.Printf("ok %s (%.1f s)\n", name, time.Since(start).Seconds())
				passed.Add(1)
			}
			<-slots
		}(c)
	}
	wait.Wait()
	fmt.Printf("go: %d passed, %d failed, %d skipped\n", passed.Load(), failed.Load(), skipped.Load())
	if failed.Load() > 0 || passed.Load() == 0 {
		os.Exit(1)
	}
}
