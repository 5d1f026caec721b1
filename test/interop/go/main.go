// SPDX-License-Identifier: Apache-2.0

// Command interop runs Apache's Go client against a name server and its broker, case by case.
//
//	interop NAMESRV [FILTER]
//
// Every case prints one line, `ok NAME`, `FAILED NAME reason` or, for the cases named in the comma
// list of the environment variable UNSERVED, `skipped NAME`; the last line is
// `go: N passed, N failed`. Exit status 0 only when none failed and at least one passed.
package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

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
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: interop NAMESRV_HOST:PORT [FILTER]")
		os.Exit(2)
	}
	rlog.SetLogLevel("fatal")
	filter := regexp.MustCompile("")
	if len(os.Args) > 2 {
		filter = regexp.MustCompile(os.Args[2])
	}
	unserved := map[string]bool{}
	for _, name := range strings.Split(os.Getenv("UNSERVED"), ",") {
		unserved[name] = true
	}
	passed, failed, skipped := 0, 0, 0
	for _, c := range cases {
		if !filter.MatchString(c.name) {
			continue
		}
		if unserved[c.name] {
			fmt.Println("skipped", c.name)
			skipped++
			continue
		}
		start := time.Now()
		if err := runCase(c, os.Args[1]); err != nil {
			fmt.Printf("FAILED %s %v\n", c.name, err)
			failed++
			continue
		}
		fmt.Printf("ok %s (%.1f s)\n", c.name, time.Since(start).Seconds())
		passed++
	}
	fmt.Printf("go: %d passed, %d failed", passed, failed)
	if skipped > 0 {
		fmt.Printf(", %d skipped", skipped)
	}
	fmt.Println()
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
