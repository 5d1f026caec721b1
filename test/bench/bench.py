#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a broker and a name server with mqbench and prints medians.

    sh test/bench/run                 our servers from $BUILD/bin (default build/bin)
    ANCHOR=1 sh test/bench/run        and Apache RocketMQ 4.9.2, turn about, with ratios

ROUNDS (default 3) rounds are run; every round starts each server afresh, in alternating order, so
that what else happens on the machine hits both alike. Apache's JVM (2 GB heap) is warmed up first.
SECONDS_PER_CASE (default 4) and CASES (comma list of case names) shorten a run; RAW=file keeps
every single figure as one JSON object per line. ONLY=ours or ONLY=apache measures just that one.

Compare CPU per message first: on a shared machine it is the steadiest figure.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers  # noqa: E402

MQBENCH = os.path.join(servers.BUILD, "bin", "mqbench")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS_PER_CASE", "4"))
SETTLE_SECONDS = 2
WARM_SECONDS = 20
IDLE_CONNECTIONS = 5000
PRODUCE = ["produce", "--topic", "bench", "--size", "1024", "--warmup", "1",
           "--duration", str(SECONDS)]

# name, what it is, mqbench arguments
CASES = [
    # First, while the server is fresh: later, memory freed by other cases would serve.
    ("idle-connections", "%d connections with one heartbeat each" % IDLE_CONNECTIONS,
     ["idle", "--conns", str(IDLE_CONNECTIONS), "--hold", "3"]),
    ("16x32", "1 KB sends, 16 connections x 32 in flight",
     PRODUCE + ["--conns", "16", "--inflight", "32"]),
    ("16x1", "1 KB sends, 16 connections x 1 in flight",
     PRODUCE + ["--conns", "16", "--inflight", "1"]),
    ("16x32-binary", "the same as 16x32 with ROCKETMQ headers",
     PRODUCE + ["--conns", "16", "--inflight", "32", "--serial", "rocketmq"]),
    ("open-5000", "open loop, 5,000 messages per second",
     PRODUCE + ["--conns", "16", "--inflight", "32", "--rate", "5000"]),
    ("tail-5000", "the same with a consumer: end-to-end latency",
     ["tail", "--topic", "tail", "--create", "--conns", "16", "--size", "1024", "--rate", "5000",
      "--warmup", "1", "--duration", str(SECONDS)]),
    ("catch-up", "reading a backlog from its beginning",
     ["consume", "--topic", "backlog", "--conns", "8", "--until-end"]),
]
BACKLOG = ["produce", "--topic", "backlog", "--create", "--size", "1024", "--batch", "32",
           "--conns", "8", "--inflight", "2", "--count", "300000"]


class Contender:
    def __init__(self, name, apache):
        self.name = name
        self.apache = apache
        self.figures = {}  # case -> [dict]

    def note(self, case, figure, round_number, raw):
        self.figures.setdefault(case, []).append(figure)
        if raw is not None:
            raw.write(json.dumps(dict(figure, server=self.name, case=case,
                                      round=round_number, load=os.getloadavg()[0])) + "\n")
            raw.flush()

    def median(self, case, member):
        values = [f[member] for f in self.figures.get(case, []) if member in f]
        return statistics.median(values) if values else None


def mqbench(running, arguments):
    command = [MQBENCH] + arguments + ["--broker", running.broker, "--server-pid",
                                       str(running.broker_pid), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    line = result.stdout.strip().splitlines()
    if not line:
        raise servers.StartError("mqbench %s failed: %s" % (arguments[0], result.stderr.strip()))
    figure = json.loads(line[-1])
    if result.returncode != 0:
        print("  note: mqbench %s was not content: %s%s"
              % (arguments[0], line[-1][:300], result.stderr.strip()[:200]), file=sys.stderr)
    return figure


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def warm_up(running):
    """Let the JVM compile what the cases use."""
    for serial in ("json", "rocketmq"):
        mqbench(running, ["produce", "--topic", "warm", "--create", "--serial", serial, "--conns",
                          "16", "--inflight", "16", "--duration", str(WARM_SECONDS / 3)])
    mqbench(running, ["consume", "--topic", "warm", "--conns", "8", "--until-end",
                      "--timeout", str(WARM_SECONDS / 3)])


def run_round(contender, round_number, chosen, raw):
    heap = ["-Xms2g", "-Xmx2g", "-XX:MaxDirectMemorySize=4g"]
    running = servers.Servers(contender.apache, heap=heap).start(wait=False)
    try:
        ready = mqbench(running, ["ready", "--create", "--topic", "bench", "--launched-at",
                                  str(running.launched_ms)])
        contender.note("start", ready, round_number, raw)
        time.sleep(SETTLE_SECONDS)
        contender.note("idle", {"broker_rss_kb": rss_kb(running.broker_pid),
                                "namesrv_rss_kb": rss_kb(running.namesrv_pid)}, round_number, raw)
        if contender.apache:
            warm_up(running)
        for name, _, arguments in CASES:
            if chosen and name not in chosen:
                continue
            if name == "catch-up":
                mqbench(running, BACKLOG)
            # What earlier cases wrote must not be on its way to the disk while this one is
            # measured: the kernel slows down whoever writes then.
            os.sync()
            figure = mqbench(running, arguments)
            contender.note(name, figure, round_number, raw)
            print("  round %d  %-8s %-17s %s" % (round_number + 1, contender.name, name,
                                                summary(figure)), flush=True)
    finally:
        running.stop()


def summary(figure):
    if figure["mode"] == "idle":
        return "%.0f bytes per connection" % figure["bytes_per_connection"]
    return "%9.0f/s  p99 %8.0f us  %7.2f CPU-s/M  client %.0f %%" % (
        figure["msgs_per_s"], figure["p99_us"], figure["server_cpu_s_per_million"],
        figure["client_cpu_pct"])


# member, heading, format
COLUMNS = [
    ("msgs_per_s", "msgs/s", "%.0f"),
    ("p50_us", "p50 us", "%.0f"),
    ("p99_us", "p99 us", "%.0f"),
    ("p999_us", "p99.9 us", "%.0f"),
    ("server_cpu_s_per_million", "CPU-s/M", "%.2f"),
    ("server_rss_kb", "RSS kB", "%.0f"),
]
SINGLE = [
    ("start", "ready_ms", "start to first accepted send, ms"),
    ("idle", "broker_rss_kb", "idle RSS of the broker, kB"),
    ("idle", "namesrv_rss_kb", "idle RSS of the name server, kB"),
    ("idle-connections", "bytes_per_connection", "bytes per idle connection"),
]


def ratio(contender, base, case, member):
    ours, theirs = contender.median(case, member), base.median(case, member)
    return "%.3gx" % (ours / theirs) if ours is not None and theirs else "-"


def print_table(contenders, chosen):
    base = contenders[-1] if len(contenders) > 1 else None
    print("\nmedians of %d rounds%s" % (ROUNDS, "; ratios to apache" if base else ""))
    heads = "%-17s %-8s" % ("case", "server") + "".join("%11s" % h for _, h, _ in COLUMNS)
    print(heads + ("     x msgs/s     x p99   x CPU-s/M" if base else ""))
    for name, _, _ in CASES:
        if (chosen and name not in chosen) or name == "idle-connections":
            continue
        for contender in contenders:
            cells = ""
            for member, _, form in COLUMNS:
                value = contender.median(name, member)
                cells += "%11s" % ("-" if value is None else form % value)
            ratios = ""
            if base is not None and contender is not base:
                ratios = "%13s%10s%12s" % tuple(ratio(contender, base, name, member) for member in
                                                ("msgs_per_s", "p99_us",
                                                 "server_cpu_s_per_million"))
            print("%-17s %-8s%s%s" % (name, contender.name, cells, ratios))
    print()
    for case, member, title in SINGLE:
        row = "%-36s" % title
        for contender in contenders:
            value = contender.median(case, member)
            row += "  %s %s" % (contender.name, "-" if value is None else "%.0f" % value)
        if base is not None:
            row += "  (%s)" % ratio(contenders[0], base, case, member)
        print(row)


def main():
    if not os.path.exists(MQBENCH):
        sys.exit("bench: %s is missing; run make first" % MQBENCH)
    chosen = [c for c in os.environ.get("CASES", "").split(",") if c]
    unknown = set(chosen) - {name for name, _, _ in CASES}
    if unknown:
        sys.exit("bench: no such case: %s" % ", ".join(sorted(unknown)))
    only = os.environ.get("ONLY")
    contenders = [Contender("ours", False)]
    if os.environ.get("ANCHOR") == "1":
        contenders.append(Contender("apache", True))
    if only:
        contenders = [Contender(only, only == "apache")]
    raw = open(os.environ["RAW"], "a") if os.environ.get("RAW") else None
    print("%s, %d cores, Linux %s" % (platform.machine(), os.cpu_count(), platform.release()))
    for name, text, _ in CASES:
        print("  %-17s %s" % (name, text))
    try:
        for round_number in range(ROUNDS):
            order = contenders if round_number % 2 == 0 else contenders[::-1]
            for contender in order:
                run_round(contender, round_number, chosen, raw)
    except servers.StartError as error:
        sys.exit("bench: %s" % error)
    print_table(contenders, chosen)


if __name__ == "__main__":
    main()
