#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A long backlog of small messages: what it does to memory, restarts and reading.

    make soak                           100 million messages of 100 bytes, about 30 GB of disk
    make soak SOAK_MESSAGES=5000000     fewer
    make soak SOAK_KEYS=0               without UNIQ_KEY: no index files

The messages are sent in SLICES parts; after each, memory is noted. Reading is measured behind the
first part and at the end, over the same number of newest messages; then the whole backlog is read.
Then the broker is killed and started, stopped and started. Disk space is looked at first. Figures
go to $BUILD/bench/ as one JSON object per line. docs/benchmarks.md explains them.
"""
import json
import os
import signal
import sys
import tempfile
import time

import figures
import machine
from contender import MQBENCH, Contender, Failed, servers

MESSAGES = int(os.environ.get("SOAK_MESSAGES", "100000000"))
KEYS = os.environ.get("SOAK_KEYS", "1") != "0"
BODY_BYTES = 100
BATCH = 64
SLICES = 20
READ_MESSAGES = 2_000_000  # of each measured reading, at most a slice
PASSES = 3
PROBE_MESSAGES = BATCH * 1000
SPARE_BYTES = 2 << 30      # of the disk, left to others
FULL_SHARE = 0.7           # of the disk; above 0.75 brokers delete their oldest files
LIMIT_SECONDS = 7200
RESULTS = os.path.join(servers.BUILD, "bench")
SEND = ["produce", "--topic", "soak", "--size", str(BODY_BYTES), "--batch", str(BATCH), "--conns",
        "8", "--inflight", "2", "--timeout", str(LIMIT_SECONDS)] + \
       ([] if KEYS else ["--no-unique-key"])
READ = ["consume", "--topic", "soak", "--conns", "8", "--pull-max", "32", "--timeout",
        str(LIMIT_SECONDS)]


class Soak:
    def __init__(self, server, file):
        self.server = server
        self.file = file
        self.sent = 0
        self.slice_messages = max(BATCH, MESSAGES // SLICES // BATCH * BATCH)
        self.read_messages = min(READ_MESSAGES, self.slice_messages)

    def write(self, step, **members):
        self.file.write(json.dumps(dict(members, step=step, sent=self.sent)) + "\n")
        self.file.flush()

    def send(self, messages):
        figure = self.server.mqbench(SEND + ["--count", str(messages)])
        self.sent += figure["msgs"]
        return figure

    def check_space(self, record_bytes):
        """Refuse what the disk cannot hold."""
        folder = self.server.folder
        free, total = machine.free_bytes(folder), machine.total_bytes(folder)
        room = min(free - SPARE_BYTES, int(FULL_SHARE * total) - (total - free))
        need = figures.disk_bytes(MESSAGES, record_bytes, KEYS)
        print("%d bytes per record; %d MB needed, %d MB may be used" % (record_bytes, need >> 20,
                                                                       room >> 20))
        if need > room:
            raise Failed("%s has no room for that; SOAK_MESSAGES=%d would fit%s" % (
                folder, figures.messages_that_fit(room, record_bytes, KEYS),
                ", or SOAK_KEYS=0 saves the index" if KEYS else ""))

    def read(self, step, arguments, passes, expected):
        """Returns the figures of the passes. `expected`: how many messages must come."""
        found = []
        for _ in range(passes):
            watch = machine.MemoryWatch(self.server.broker_pid)
            watch.start()
            try:
                figure = self.server.mqbench(READ + arguments)
            finally:
                peak_kb = watch.stop()
            figure["anonymous_peak_mb"] = peak_kb / 1024
            self.write(step, **figure)
            if expected is not None and figure["msgs"] != expected:
                raise Failed("%s: %d messages were expected, %d came"
                             % (step, expected, figure["msgs"]))
            found.append(figure)
        print("  %-28s %s/s  %s CPU-s/M  client %s %%" % (
            step, figures.cell(found, "msgs_per_s", "%.0f", True),
            figures.cell(found, "server_cpu_s_per_million", "%.2f", True),
            figures.cell(found, "client_cpu_pct", "%.0f", False)), flush=True)
        return found

    def read_newest(self, step):
        self.server.await_dispatch()
        # Once unmeasured: what was written long ago need not be in the page cache any more.
        self.server.mqbench(READ + ["--until-end", "--last", str(self.read_messages)])
        return self.read(step, ["--until-end", "--last", str(self.read_messages)], PASSES, None)

    def grow(self):
        """Send everything. Returns anonymous memory in MB after each part."""
        memory = []
        newest_small = None
        while self.sent < MESSAGES:
            figure = self.send(min(self.slice_messages, MESSAGES - self.sent))
            sizes = machine.memory_of(self.server.broker_pid)
            memory.append(sizes["RssAnon"] / 1024)
            self.write("sent", msgs_per_s=figure["msgs_per_s"], anonymous_mb=memory[-1],
                       file_mb=sizes["RssFile"] / 1024, log_bytes=self.server.log_bytes())
            print("  %11d sent  %9.0f/s  anonymous %.1f MB  mapped files %.0f MB"
                  % (self.sent, figure["msgs_per_s"], memory[-1], sizes["RssFile"] / 1024),
                  flush=True)
            if newest_small is None:
                newest_small = self.read_newest("newest, small backlog")
        return memory, newest_small

    def restarts(self):
        found = {}
        for step in ("after kill -9", "after a clean stop"):
            log_bytes = self.server.log_bytes()
            if step == "after kill -9":
                self.send(BATCH * 1000)
                log_bytes = self.server.log_bytes()
                self.server.kill_broker()
            else:
                self.server.stop_broker()
            machine.settle()
            figure = self.server.restart_broker("soak")
            self.write(step, **figure)
            if figure["log_bytes"] <= log_bytes:
                raise Failed("%s the log is shorter than before: messages are lost" % step)
            self.sent += 2  # restart_broker's own two sends
            print("  start %-22s %d ms to the first accepted send" % (step, figure["ready_ms"]),
                  flush=True)
            found[step] = figure["ready_ms"]
        return found

    def run(self):
        self.server.begin("soak")
        self.sent = 1  # begin's own
        before = self.server.log_bytes()
        self.send(PROBE_MESSAGES)
        self.check_space(-(-(self.server.log_bytes() - before) // PROBE_MESSAGES))
        memory, small = self.grow()
        machine.settle()
        large = self.read_newest("newest, whole backlog")
        # As it lies: with more backlog than memory this comes from the disk.
        self.read("the whole backlog", ["--until-end"], 1, self.sent)
        sizes = machine.memory_of(self.server.broker_pid)
        restarts = self.restarts()
        self.read("all of it once more", ["--until-end"], 1, self.sent)
        self.conclude(memory, sizes["RssAnon"] / 1024, small, large, restarts)

    def conclude(self, memory, after_reading_mb, small, large, restarts):
        grown, _ = figures.growth(memory[1:])
        speed = figures.ratio(figures.median(large, "msgs_per_s"),
                              figures.median(small, "msgs_per_s"))
        cost = figures.ratio(figures.median(large, "server_cpu_s_per_million"),
                             figures.median(small, "server_cpu_s_per_million"))
        rows = [("messages of backlog", "%d" % self.sent),
                ("commit log, MB", "%d" % (self.server.log_bytes() >> 20)),
                ("anonymous memory after the first part, MB", "%.1f" % memory[0]),
                ("anonymous memory after the last part, MB", "%.1f" % memory[-1]),
                ("its growth, second half to first half, MB",
                 "-" if grown is None else "%.1f" % grown),
                ("anonymous memory after reading all, MB", "%.1f" % after_reading_mb),
                ("reading speed at the end, times that at the start", figures.times(speed)),
                ("its CPU per message, times that at the start", figures.times(cost))]
        rows += [("start %s, ms" % step, "%d" % ms) for step, ms in restarts.items()]
        print()
        for title, value in rows:
            print("%-52s %s" % (title, value))
        self.write("conclusion", **dict(rows))


def main():
    if not os.path.exists(MQBENCH):
        sys.exit("soak: %s is missing; run make first" % MQBENCH)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(RESULTS, exist_ok=True)
    path = os.path.join(RESULTS, time.strftime("soak-%Y%m%d-%H%M%S.jsonl"))
    print("stores in %s%s" % (tempfile.gettempdir(), ", which is kept in memory"
                              if machine.on_memory_disk(tempfile.gettempdir()) else ""))
    server = Contender(os.environ.get("ONLY") == "apache")
    with open(path, "w") as file:
        try:
            Soak(server, file).run()
        except (Failed, servers.StartError) as failure:
            sys.exit("soak: %s" % failure)
        finally:
            server.stop()
    print("\nfigures are in %s" % path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
