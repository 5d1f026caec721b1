# SPDX-License-Identifier: Apache-2.0
"""The cases: what is run, in which order, on which server. docs/benchmarks.md describes them.

Cases come in groups; a group gets servers of its own with an empty store. Every function here is
given a Session and notes figures there.
"""
import os
import time

import figures
import machine
from contender import Failed, cpu_s

DURATION = os.environ.get("DURATION", "4")
WARM_SECONDS = float(os.environ.get("WARM_SECONDS", "20"))
FILL_MB = int(os.environ.get("FILL_MB", "2048"))
COLD_MB = int(os.environ.get("COLD_MB", "4096"))
BACKLOG_MESSAGES = int(os.environ.get("BACKLOG_MESSAGES", "1000000"))
CATCH_UP_PASSES = 3
SLAVE_MB = int(os.environ.get("SLAVE_MB", "2048"))
SLAVE_POLL_SECONDS = 0.02
SLAVE_SECONDS = 600
IDLE_CONNECTIONS = int(os.environ.get("IDLE_CONNECTIONS", "5000"))
HELD_GROUPS = int(os.environ.get("HELD_GROUPS", "1000"))
HELD_QUEUES = 10
IDLE_SECONDS = 2  # after a start, before memory is looked at
COLD_SHARE = 0.9  # of the backlog that must be out of the page cache
COLD_SECONDS = 60  # at most, beside a reader
OPEN_RATE = "5000"
# As long as a reader of the default backlog takes, more or less: what happens every few seconds
# must have its chance in both.
ALONE_DURATION = str(2.5 * float(DURATION))
MANY_TOPICS = int(os.environ.get("MANY_TOPICS", "625"))
BATCH = 32
PROBE_MESSAGES = 3200

TIMED = ["--size", "1024", "--warmup", "1", "--duration", DURATION]
PRODUCE = ["produce", "--topic", "bench"] + TIMED
# Batches fill memory with dirty pages faster than disks take them; what is measured longer than
# this is how the kernel slows down a writer.
BATCH_DURATION = str(min(2.0, float(DURATION)))
SHAPE = ["--conns", "16", "--inflight", "32"]
QUEUE_SPREADS = [("queues-1", 1, 1), ("queues-8", 1, 8),
                 ("queues-5000", MANY_TOPICS, 8)]

# name -> what it is; in the order in which they are run and printed
CASES = {
    "idle-connections": "%d connections with one heartbeat each" % IDLE_CONNECTIONS,
    "16x32": "1 KB sends, 16 connections x 32 in flight",
    "16x1": "1 KB sends, 16 connections x 1 in flight",
    "16x32-binary": "the same as 16x32 with ROCKETMQ headers",
    "open-5000": "open loop, 5,000 messages per second",
    "tail-5000": "the same with a consumer: end-to-end latency",
    "sync-64x1": "SYNC_FLUSH, 64 connections x 1 in flight",
    "sync-16x32": "SYNC_FLUSH, 16 connections x 32 in flight",
    "sync-1x1": "SYNC_FLUSH, 1 connection x 1 in flight",
    "batch-32": "batches of 32, 16 connections x 4 in flight",
    "catch-up": "reading %d messages from the page cache, pulls of 32" % BACKLOG_MESSAGES,
    "queues-1": "16x32 into one queue",
    "queues-8": "16x32 over 8 queues",
    "queues-5000": "16x32 over %d topics x 8 queues" % MANY_TOPICS,
    "memory": "memory after %d MB were written" % FILL_MB,
    "restart-kill": "kill -9 with a log of %d MB, start on a quiet disk" % FILL_MB,
    "restart-clean": "clean stop with the same log, start on a quiet disk",
    "restart-busy": "kill -9 with a log of %d MB, start at once" % FILL_MB,
    "held-pulls": "sends beside %d held pulls of %d groups on one topic"
                  % (HELD_GROUPS * HELD_QUEUES, HELD_GROUPS),
    "cold-catch-up": "5,000 sends/s beside a reader of %d MB that are not in the page cache"
                     % COLD_MB,
    "pair-async-16x32": "16x32 with a slave attached, ASYNC_MASTER",
    "pair-sync-16x32": "the same with SYNC_MASTER",
    "slave-catch-up": "a slave that lacks %d MB of log comes back" % SLAVE_MB,
}
SETS = {
    "quick": ["idle-connections", "16x32", "16x1", "16x32-binary", "open-5000", "tail-5000"],
    "store": ["sync-64x1", "sync-16x32", "sync-1x1", "batch-32", "catch-up", "queues-1", "queues-8",
              "queues-5000", "memory", "restart-kill", "restart-clean", "restart-busy",
              "cold-catch-up"],
    "clients": ["held-pulls"],
    "pair": ["pair-async-16x32", "pair-sync-16x32", "slave-catch-up"],
}

# case, member, title, format, scale: figures that are no rates
VALUES = [
    ("start", "ready_ms", "first start to first accepted send, ms", "%.0f", 1),
    ("idle", "broker_rss_kb", "RSS of the broker after its start, MB", "%.1f", 1 / 1024),
    ("idle", "namesrv_rss_kb", "RSS of the name server, MB", "%.1f", 1 / 1024),
    ("idle-connections", "bytes_per_connection", "bytes per idle connection", "%.0f", 1),
    ("queues-5000", "to_one_queue", "rate over that of queues-1", "%.3f", 1),
    ("queues-8", "to_one_queue", "rate over that of queues-1", "%.3f", 1),
    ("memory", "anonymous_mb", "anonymous memory after the last send, MB", "%.1f", 1),
    ("memory", "anonymous_peak_mb", "its peak while sending, MB", "%.1f", 1),
    ("memory", "file_mb", "mapped files (page cache) at that time, MB", "%.1f", 1),
    ("memory", "log_bytes", "commit log, MB", "%.0f", 1 / (1 << 20)),
    ("restart-kill", "ready_ms", "launch to first accepted send, ms", "%.0f", 1),
    ("restart-kill", "route_ms", "launch to a send by the name server's route, ms", "%.0f", 1),
    ("restart-clean", "stop_ms", "the clean stop itself, ms", "%.0f", 1),
    ("restart-clean", "ready_ms", "launch to first accepted send, ms", "%.0f", 1),
    ("restart-clean", "route_ms", "launch to a send by the name server's route, ms", "%.0f", 1),
    ("restart-busy", "ready_ms", "launch to first accepted send, ms", "%.0f", 1),
    ("restart-busy", "route_ms", "launch to a send by the name server's route, ms", "%.0f", 1),
    ("held-pulls", "memory_mb", "anonymous memory of the held pulls, MB", "%.1f", 1),
    ("held-pulls", "elsewhere", "rate of sends to another topic over that without", "%.3f", 1),
    ("held-pulls", "filtered", "rate of sends to the topic, tags that none wants, over that without",
     "%.3f", 1),
    ("held-pulls", "elsewhere_cpu", "CPU per message of the first over that without", "%.3f", 1),
    ("held-pulls", "filtered_cpu", "CPU per message of the second over that without", "%.3f", 1),
    ("held-pulls", "held_p50_us", "p50 of 500 sends/s to the topic, such tags, us", "%.0f", 1),
    ("held-pulls", "free_p50_us", "p50 of the same without, us", "%.0f", 1),
    ("cold-catch-up", "alone_p99_us", "p99 of sends without a reader, us", "%.0f", 1),
    ("cold-catch-up", "cold_p99_us", "p99 of sends beside the cold reader, us", "%.0f", 1),
    ("cold-catch-up", "warm_p99_us", "p99 beside the reader after it, us", "%.0f", 1),
    ("cold-catch-up", "cold_to_alone", "p99 beside the cold reader over p99 alone", "%.2f", 1),
    ("cold-catch-up", "warm_to_alone", "p99 beside the reader after it over p99 alone", "%.2f", 1),
    ("cold-catch-up", "cold_reader_per_s", "messages/s of the cold reader", "%.0f", 1),
    ("cold-catch-up", "warm_reader_per_s", "messages/s of the reader after it", "%.0f",
     1),
    ("cold-catch-up", "cold_seconds", "seconds measured beside the cold reader", "%.1f", 1),
    ("cold-catch-up", "cold_share", "share not cached before the cold reader", "%.3f", 1),
    ("cold-catch-up", "cached_share", "share cached before the reader after it", "%.3f", 1),
    ("pair-async-16x32", "behind_mb", "how far the slave was behind at the end, MB", "%.1f", 1),
    ("pair-sync-16x32", "behind_mb", "how far the slave was behind at the end, MB", "%.1f", 1),
    ("pair-sync-16x32", "to_async", "rate over that of pair-async-16x32", "%.3f", 1),
    ("slave-catch-up", "mb_per_s", "bytes from first to last, MB/s", "%.0f", 1e-6),
    ("slave-catch-up", "seconds", "launch of the slave to the last byte, s", "%.2f", 1),
    ("slave-catch-up", "queues_seconds", "launch to its queues built, s", "%.2f", 1),
    ("slave-catch-up", "cpu_s_per_gb", "processor time of both per 10^9 bytes, s", "%.2f", 1),
]

# What the store is meant to reach: case, member, ratio to Apache 4.9.2 or value, relation, bound
GOALS = [
    ("sync-64x1", "msgs_per_s", "ratio", ">=", 3.5),
    ("sync-64x1", "server_cpu_s_per_million", "ratio", "<=", 1 / 6),
    ("sync-16x32", "msgs_per_s", "ratio", ">=", 4),
    ("sync-16x32", "server_cpu_s_per_million", "ratio", "<=", 1 / 10),
    ("sync-1x1", "msgs_per_s", "ratio", ">=", 1.5),
    ("batch-32", "msgs_per_s", "ratio", ">=", 5),
    ("batch-32", "server_cpu_s_per_million", "ratio", "<=", 1 / 10),
    ("catch-up", "msgs_per_s", "ratio", ">=", 4),
    ("catch-up", "server_cpu_s_per_million", "ratio", "<=", 1 / 6),
    ("queues-5000", "to_one_queue", "value", ">=", 0.9),
    ("memory", "anonymous_mb", "value", "<=", 64),
    ("restart-kill", "ready_ms", "value", "<=", 500),
    ("restart-clean", "ready_ms", "value", "<=", 150),
    ("cold-catch-up", "cold_to_alone", "value", "<=", 2),
    ("held-pulls", "memory_mb", "value", "<=", 100),
    ("held-pulls", "elsewhere", "value", ">=", 0.8),
    ("held-pulls", "filtered", "value", ">=", 0.8),
    ("pair-async-16x32", "msgs_per_s", "ratio", ">=", 4),
    ("pair-async-16x32", "server_cpu_s_per_million", "ratio", "<=", 1 / 6),
    ("pair-sync-16x32", "msgs_per_s", "ratio", ">=", 4),
    ("pair-sync-16x32", "server_cpu_s_per_million", "ratio", "<=", 1 / 6),
    ("pair-sync-16x32", "to_async", "value", ">=", 0.8),
    ("slave-catch-up", "mb_per_s", "value", ">=", 500e6),
]


def settle(session):
    if not machine.settle():
        session.remark("the disk did not become quiet; others use it")


def measure(session, case, arguments):
    """One run of mqbench, noted under the case's name. Returns its figure or None."""
    if case not in session.chosen:
        return None
    settle(session)
    try:
        figure = session.server.mqbench(arguments)
    except Failed as failure:
        session.fail(case, failure)
        return None
    session.note(case, figure)
    return figure


def warm_up(session, loads):
    """Let a JVM compile what the cases use; ours needs none."""
    if not session.server.apache or WARM_SECONDS <= 0:
        return
    seconds = str(WARM_SECONDS / len(loads))
    for load in loads:
        session.server.mqbench(load + ["--topic", "warm", "--create", "--conns", "16"] +
                               (["--until-end", "--timeout", seconds] if load[0] == "consume"
                                else ["--duration", seconds]))


WARM_SENDS = [["produce", "--inflight", "16"],
              ["produce", "--inflight", "16", "--serial", "rocketmq"]]


def run_quick(session):
    time.sleep(IDLE_SECONDS)
    idle = {"mode": "idle", "broker_rss_kb": machine.memory_of(session.server.broker_pid)["VmRSS"],
            "namesrv_rss_kb": machine.memory_of(session.server.namesrv_pid)["VmRSS"]}
    session.note("start", session.started)
    session.note("idle", idle)
    # First, while the server is fresh: later, memory freed by other cases would serve.
    measure(session, "idle-connections", ["idle", "--conns", str(IDLE_CONNECTIONS), "--hold", "3"])
    warm_up(session, WARM_SENDS + [["consume"]])
    measure(session, "16x32", PRODUCE + SHAPE)
    measure(session, "16x1", PRODUCE + ["--conns", "16", "--inflight", "1"])
    measure(session, "16x32-binary", PRODUCE + SHAPE + ["--serial", "rocketmq"])
    measure(session, "open-5000", PRODUCE + SHAPE + ["--rate", OPEN_RATE])
    measure(session, "tail-5000", ["tail", "--topic", "tail", "--create", "--conns", "16", "--rate",
                                   OPEN_RATE] + TIMED)


def run_sync(session):
    warm_up(session, [["produce", "--inflight", "1"], ["produce", "--inflight", "32"]])
    measure(session, "sync-64x1", PRODUCE + ["--conns", "64", "--inflight", "1"])
    measure(session, "sync-16x32", PRODUCE + SHAPE)
    measure(session, "sync-1x1", PRODUCE + ["--conns", "1", "--inflight", "1"])


def fill(session, topic, target_bytes=None, messages=None):
    """Write a backlog in batches. Returns how many messages it holds; they can all be read."""
    server = session.server
    load = ["produce", "--topic", topic, "--size", "1024", "--batch", str(BATCH), "--conns", "8",
            "--inflight", "2", "--timeout", "600"]
    if messages is None:
        before = server.log_bytes()
        server.mqbench(load + ["--create", "--count", str(PROBE_MESSAGES)])
        each = (server.log_bytes() - before) / PROBE_MESSAGES
        messages = max(BATCH, int((target_bytes - (server.log_bytes() - before)) / each))
        total = PROBE_MESSAGES
    else:
        load.append("--create")
        total = 0
    total += server.mqbench(load + ["--count", str(messages)])["msgs"]
    server.await_dispatch()
    return total


def run_batch(session):
    batches = ["produce", "--inflight", "4", "--batch", str(BATCH)]
    warm_up(session, [batches, ["consume"]])
    measure(session, "batch-32", PRODUCE + ["--duration", BATCH_DURATION, "--conns", "16",
                                            "--inflight", "4", "--batch", str(BATCH)])
    if "catch-up" not in session.chosen:
        return
    try:
        total = fill(session, "backlog", messages=BACKLOG_MESSAGES)
    except Failed as failure:
        session.fail("catch-up", failure)
        return
    # The same messages several times: a pass is short, and the processor time of a process is
    # counted in steps of 10 ms.
    for _ in range(CATCH_UP_PASSES):
        figure = measure(session, "catch-up", ["consume", "--topic", "backlog", "--conns", "8",
                                               "--pull-max", "32", "--until-end"])
        if figure is not None and figure["msgs"] != total:
            session.fail("catch-up", Failed("%d messages were sent and %d read"
                                            % (total, figure["msgs"])))


def run_queues(session):
    warm_up(session, WARM_SENDS[:1])
    rates = {}
    turn = session.round_number % len(QUEUE_SPREADS)
    for case, topics, queues in QUEUE_SPREADS[turn:] + QUEUE_SPREADS[:turn]:
        if case not in session.chosen:
            continue
        figure = measure(session, case, ["produce", "--topic", case, "--create", "--topics",
                                         str(topics), "--queues", str(queues)] + TIMED + SHAPE)
        rates[case] = figure and figure["msgs_per_s"]
    for case in ("queues-8", "queues-5000"):
        if rates.get(case) and rates.get("queues-1"):
            session.add(case, "to_one_queue", rates[case] / rates["queues-1"])


def write_log(session):
    """FILL_MB of plain sends. Returns the memory at their end."""
    server = session.server
    watch = machine.MemoryWatch(server.broker_pid)
    watch.start()
    load = ["produce", "--topic", "bench", "--size", "1024", "--timeout", "600"] + SHAPE
    try:
        server.mqbench(load + ["--count", str(PROBE_MESSAGES)])
        probe_bytes = server.log_bytes()
        rest = (FILL_MB * (1 << 20) - probe_bytes) * PROBE_MESSAGES // probe_bytes
        server.mqbench(load + ["--count", str(max(1, rest))])
    finally:
        peak_kb = watch.stop()
    sizes = machine.memory_of(server.broker_pid)
    return {"mode": "memory", "anonymous_mb": sizes["RssAnon"] / 1024,
            "anonymous_peak_mb": max(peak_kb, sizes["RssAnon"]) / 1024,
            "file_mb": sizes["RssFile"] / 1024, "log_bytes": server.log_bytes()}


def restarted(session, case, log_bytes, extra):
    figure = dict(session.server.restart_broker("bench"), **extra)
    if figure["log_bytes"] <= log_bytes:
        session.fail(case, Failed("the log had %d bytes before and has %d now: messages are lost"
                                  % (log_bytes, figure["log_bytes"])))
    session.note(case, figure)


def run_log(session):
    """memory, restart-kill and restart-clean use one log."""
    memory = write_log(session)
    if "memory" in session.chosen:
        session.note("memory", memory)
    server = session.server
    if "restart-kill" in session.chosen:
        # Killed while nothing is checkpointed yet. Then the disk gets its time: how long it takes
        # to write what is under way is restart-busy's question.
        server.kill_broker()
        settle(session)
        restarted(session, "restart-kill", memory["log_bytes"], {})
    if "restart-clean" in session.chosen:
        settle(session)
        log_bytes = server.log_bytes()
        stop_ms = 1000 * server.stop_broker()
        settle(session)
        restarted(session, "restart-clean", log_bytes, {"stop_ms": stop_ms})


def run_busy(session):
    memory = write_log(session)
    session.server.kill_broker()
    restarted(session, "restart-busy", memory["log_bytes"], {})


def run_held(session):
    """The same sends with and without the held pulls; which comes first changes."""
    server = session.server
    many = ["--topic", "many", "--queues", str(HELD_QUEUES)]
    sends = ["produce", "--size", "64", "--no-unique-key", "--warmup", "1", "--duration", DURATION]
    server.mqbench(["produce", "--create", "--count", "1"] + many)
    warm_up(session, WARM_SENDS[:1])
    found = {"mode": "held"}
    for held in ((True, False) if session.round_number % 2 == 0 else (False, True)):
        settle(session)
        before = machine.memory_of(server.broker_pid)["RssAnon"]
        holder = server.spawn(["consume", "--groups", str(HELD_GROUPS), "--conns", str(HELD_GROUPS),
                               "--tags", "wanted", "--from-end", "--duration", "3600"] +
                              many) if held else None
        try:
            if held:
                time.sleep(IDLE_SECONDS)
                found["memory_mb"] = (machine.memory_of(server.broker_pid)["RssAnon"] -
                                      before) / 1024
            found[held] = {
                "elsewhere": server.mqbench(sends + ["--topic", "bench"] + SHAPE),
                "filtered": server.mqbench(sends + many + ["--tags", "unwanted"] + SHAPE),
                "single": server.mqbench(sends + many + ["--tags", "unwanted", "--conns", "4",
                                                         "--inflight", "1", "--rate", "500"])}
        finally:
            if holder is not None:
                holder.kill()
                holder.communicate()
    for load in ("elsewhere", "filtered"):
        found[load] = found[True][load]["msgs_per_s"] / found[False][load]["msgs_per_s"]
        found[load + "_cpu"] = figures.ratio(found[True][load]["server_cpu_s_per_million"],
                                             found[False][load]["server_cpu_s_per_million"])
    found["held_p50_us"] = found[True]["single"]["p50_us"]
    found["free_p50_us"] = found[False]["single"]["p50_us"]
    found["held"], found["free"] = found.pop(True), found.pop(False)
    session.note("held-pulls", found)


# --- pairs ----------------------------------------------------------------------------------------


def measure_pair(session, case):
    """Sends beside a slave that has everything when they begin."""
    warm_up(session, WARM_SENDS[:1])
    session.server.await_slave()
    figure = measure(session, case, PRODUCE + SHAPE)
    if figure is not None:
        # At once; what the slave still lacks then costs it processor time that is not counted.
        session.add(case, "behind_mb", session.server.behind_bytes() / 1e6)
        session.server.await_slave()
    return figure


def run_pair_async(session):
    measure_pair(session, "pair-async-16x32")
    if "slave-catch-up" in session.chosen:
        catch_up(session)


def run_pair_sync(session):
    figure = measure_pair(session, "pair-sync-16x32")
    beside = session.journal.results[session.name].get("pair-async-16x32")
    if figure is not None and beside:
        session.add("pair-sync-16x32", "to_async", figure["msgs_per_s"] / beside[-1]["msgs_per_s"])


def catch_up(session):
    """The slave is away while the backlog is written. It has seen the log's begin: an empty slave of
    4.9.2 would get the last segment only."""
    server = session.server
    server.slave.stop_broker()
    began_at = server.log_bytes()
    fill(session, "backlog", target_bytes=SLAVE_MB << 20)
    settle(session)
    end = server.log_bytes()
    before_s = cpu_s(server.broker_pid)
    launched = time.monotonic()
    server.slave.start_broker(wait=False)
    first = None  # (when, position): the first time that something had come
    while True:
        now, pos = time.monotonic(), server.slave.end_pos()
        if pos is not None and pos > began_at and first is None:
            first = now, pos
        if pos is not None and pos >= end:
            break
        if now - launched > SLAVE_SECONDS:
            raise Failed("the slave has come to %s of %d within %d s" % (pos, end, SLAVE_SECONDS))
        time.sleep(SLAVE_POLL_SECONDS)
    took = max(now - first[0], SLAVE_POLL_SECONDS)
    used_s = cpu_s(server.broker_pid) - before_s + cpu_s(server.slave.broker_pid)
    while server.slave.told("dispatchBehindBytes") != 0:
        time.sleep(SLAVE_POLL_SECONDS)
    session.note("slave-catch-up", {
        "mode": "slave", "mb_per_s": (end - first[1]) / took, "bytes": end - began_at,
        "seconds": now - launched, "queues_seconds": time.monotonic() - launched,
        "cpu_s_per_gb": used_s / ((end - began_at) / 1e9)})


# --- cold catch-up --------------------------------------------------------------------------------


def end_of(session, process):
    """End an mqbench that is still running; its figure is what it has measured so far."""
    if process.poll() is None:
        process.terminate()
    return session.server.collect(process)


def sends_beside_reader(session):
    """(figure of the sends, figure of the reader): both run all the time that is measured."""
    server = session.server
    sends = server.spawn(["produce", "--topic", "bench", "--size", "1024", "--rate", OPEN_RATE,
                          "--warmup", "1", "--duration", str(COLD_SECONDS)] + SHAPE)
    reader = None
    try:
        time.sleep(1)
        reader = server.spawn(["consume", "--topic", "backlog", "--conns", "8", "--pull-max", "32",
                               "--until-end", "--timeout", str(COLD_SECONDS)])
        while reader.poll() is None and sends.poll() is None:
            time.sleep(0.01)
        return end_of(session, sends), end_of(session, reader)
    finally:
        for process in (sends, reader):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()


def full_segments(session):
    """The segments of the log that are not written any more."""
    written = session.server.log_bytes()
    full = [path for path in session.server.segments()
            if int(os.path.basename(path)) + os.path.getsize(path) < written]
    if not full:
        raise Failed("the backlog is smaller than one segment of the log; raise COLD_MB")
    return full


def make_cold(session, segments, backlog_bytes):
    """Take the backlog, which is the log's first so many bytes, out of the page cache. Returns the
    share that is out; what lies in the segment that is being written stays."""
    server = session.server
    left = machine.drop_from_cache(server.broker_pid, server.folder,
                                   segments + server.queue_files("backlog"))
    size = sum(os.path.getsize(path) for path in segments)
    return max(0, min(size, backlog_bytes) - left) / backlog_bytes


def run_cold(session):
    case = "cold-catch-up"
    need = int(1.3 * COLD_MB * (1 << 20)) + 3 * (1 << 30)
    if machine.free_bytes(session.server.folder) < need:
        raise Failed("%d MB of disk are needed, %d are free"
                     % (need >> 20, machine.free_bytes(session.server.folder) >> 20))
    fill(session, "backlog", target_bytes=COLD_MB << 20)
    backlog_bytes = session.server.log_bytes()
    warm_up(session, WARM_SENDS[:1] + [["consume"]])
    settle(session)
    alone = session.server.mqbench(PRODUCE + SHAPE + ["--rate", OPEN_RATE, "--duration",
                                                      ALONE_DURATION])
    settle(session)
    segments = full_segments(session)
    share = make_cold(session, segments, backlog_bytes)
    if share < COLD_SHARE:
        raise Failed("only %.0f %% of the backlog could be taken out of the page cache (this needs "
                     "root and Linux 5.10)" % (100 * share))
    sends, reader = sends_beside_reader(session)
    settle(session)
    cached = (sum(machine.resident_bytes(path) for path in segments) /
              sum(os.path.getsize(path) for path in segments))
    warm_sends, warm_reader = sends_beside_reader(session)
    session.note(case, {
        "mode": "cold", "alone_p99_us": alone["p99_us"], "cold_p99_us": sends["p99_us"],
        "warm_p99_us": warm_sends["p99_us"], "cold_to_alone": sends["p99_us"] / alone["p99_us"],
        "warm_to_alone": warm_sends["p99_us"] / alone["p99_us"], "cold_share": share,
        "cached_share": cached,
        "cold_seconds": reader["wall_s"], "cold_reader_per_s": reader["msgs_per_s"],
        "warm_reader_per_s": warm_reader["msgs_per_s"],
        "alone": alone, "sends": sends, "reader": reader, "warm_sends": warm_sends,
        "warm_reader": warm_reader})


# name, broker settings, function, cases
GROUPS = [
    ("quick", {}, run_quick, SETS["quick"]),
    ("sync", {"flushDiskType": "SYNC_FLUSH"}, run_sync, ["sync-64x1", "sync-16x32", "sync-1x1"]),
    ("batch", {}, run_batch, ["batch-32", "catch-up"]),
    ("queues", {}, run_queues, ["queues-1", "queues-8", "queues-5000"]),
    ("log", {}, run_log, ["memory", "restart-kill", "restart-clean"]),
    ("busy", {}, run_busy, ["restart-busy"]),
    ("held", {}, run_held, ["held-pulls"]),
    ("cold", {}, run_cold, ["cold-catch-up"]),
    ("pair-async", {"brokerRole": "ASYNC_MASTER"}, run_pair_async,
     ["pair-async-16x32", "slave-catch-up"]),
    ("pair-sync", {"brokerRole": "SYNC_MASTER"}, run_pair_sync, ["pair-sync-16x32"]),
]
SETS.update({name: group_cases for name, _, _, group_cases in GROUPS})
