#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Producers and consumers of every kind come, go and crash while the broker is stopped and killed, at
random; everybody writes down what happened, and a checker says whether every promise was kept.

    make soak-history                     5 minutes, half of them with each flush mode
    make soak-history SOAK_SECONDS=60 SOAK_SEED=7 SOAK_FLUSH=SYNC_FLUSH SOAK_KEEP=1

With the flush modes in SOAK_SLAVE (default: ASYNC_FLUSH) the broker is a SYNC_MASTER and has a slave,
which is stopped and killed, too. A send counts as acknowledged when the slave has it.

The seed is printed; it repeats the schedule, as far as processes can be repeated. SOAK_KEEP=1 keeps
the folder with the histories (and says where), as does any complaint; checker.py FOLDER checks them
again. checker.py lists the rules.
"""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "e2e")]
import broker as wire  # noqa: E402
import checker  # noqa: E402
import expected  # noqa: E402
import history  # noqa: E402
import members  # noqa: E402
import pair  # noqa: E402
import real  # noqa: E402
import servers  # noqa: E402

SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))
MODES = os.environ.get("SOAK_FLUSH", "SYNC_FLUSH ASYNC_FLUSH").split()
WITH_SLAVE = os.environ.get("SOAK_SLAVE", "ASYNC_FLUSH").split()
KEEP = os.environ.get("SOAK_KEEP", "") not in ("", "0")
QUIET_SECONDS = 6      # when all has come that must; what comes too often may come late
STALLED_SECONDS = 120  # without any progress: what has not been consumed by then is a complaint
MEMBER_SECONDS = 180   # for a member to end well
QUEUES = 4
SETTINGS = {
    "messageDelayLevel": "1s 2s 3s", "mappedFileSizeCommitLog": 4 << 20,
    "mappedFileSizeConsumeQueue": 20000, "maxHashSlotNum": 5000, "maxIndexNum": 20000,
    "transactionCheckInterval": 1000, "transactionTimeOut": 1000, "transactionCheckMax": 1000000,
}

# Who may be there: role, topic, group, and how many at most. A topic is sent to and read by kinds
# that suit each other; every kind of members.py has a line. `real` adds those of real clients.
PRODUCERS = [(kind, {"keyed": "soak-order", "delayed": "soak-delay", "timer": "soak-delay"}.get(
    kind, "soak-plain"), None, 2) for kind in members.PRODUCERS]
PRODUCERS += [(kind, "soak-half", None, 2) for kind in members.ENDERS]
CONSUMERS = [("shared", "soak-plain", "soak-shared", 4), ("shared", "soak-delay", "soak-late", 2),
             ("ordered", "soak-order", "soak-ordered", 3), ("each", "soak-plain", "soak-each", 2),
             ("puller", "soak-plain", "soak-puller", 1), ("shared", "soak-half", "soak-ended", 2),
             ("popper", "soak-plain", "soak-popper", 3)]
TOPICS = ("soak-plain", "soak-order", "soak-delay", "soak-half")
# Without them nobody asks for messages, or tells how transactions end: they are there at the end.
STAYING = ("asked",)
MODEL_OF = {"puller": "shared", "popper": "popped", **real.MODELS}


class Soak:
    def __init__(self, seed, seconds, flush, clients):
        self.clients = clients
        self.chance = random.Random("%s %s" % (seed, flush))
        self.seed, self.seconds, self.flush = seed, seconds, flush
        self.folder = tempfile.mkdtemp(prefix="cometmq-soak-")
        self.history = history.Writer(os.path.join(self.folder, "driver.history"))
        self.slave = None
        role = "SYNC_MASTER" if flush in WITH_SLAVE else "ASYNC_MASTER"
        self.servers = servers.Servers(settings=dict(SETTINGS, flushDiskType=flush, brokerRole=role))
        self.alive = []  # (line, process)
        self.serial = 0
        self.places = []  # every queue that is checked
        self.written = {}  # (topic, queue): up to where what it holds is written down
        self.expected = expected.Expected(self.folder)
        self.lines = PRODUCERS + CONSUMERS + clients.lines
        self.consuming = [line for line in self.lines if line[2]]

    def run(self):
        """The complaints."""
        complaints = []
        try:
            self.servers.start()
            if self.flush in WITH_SLAVE:
                self.slave = pair.Slave(self.servers, dict(SETTINGS, flushDiskType=self.flush))
            self.prepare()
            self.storm()
            self.calm()
            for one in list(self.alive):
                self.end(one)
            self.write_down_maximums()
            end = self.slave.catch_up() if self.slave else 0
            self.stop_broker()
            if self.slave:
                self.check_status("slave", self.slave.broker.stop(), self.slave.broker.output())
                complaints += self.slave.complaints(end)
        finally:
            for _, process in self.alive:
                process.kill()
                process.wait()
            self.servers.stop(keep=True)
            if self.slave and self.slave.broker.is_alive():
                self.slave.broker.kill()
        check = checker.Checker(history.read_all(self.folder))
        complaints += check.run()
        print("%s: %s" % (self.flush, check.summary()), flush=True)
        if complaints or KEEP:
            print("histories are in %s, the servers' files in %s" % (self.folder, " and ".join(
                self.server_folders())))
        else:
            for folder in [self.folder] + self.server_folders():
                shutil.rmtree(folder)
        return complaints

    def server_folders(self):
        return [self.servers.folder] + ([self.slave.broker.folder] if self.slave else [])

    def prepare(self):
        with self.client() as client:
            for topic in TOPICS:
                answer = client.create_topic(topic, QUEUES)
                if answer.code != wire.SUCCESS:
                    raise SystemExit("soak: topic %s: %r" % (topic, answer))
                self.places += [(topic, queue) for queue in range(QUEUES)]
        for role, topic, group, _ in self.consuming:
            topics, more = [topic], {}
            if MODEL_OF.get(role) == "popped":
                more["retry"] = members.pops.retry_topic(topic, group)
                self.places.append((more["retry"], 0))
            if getattr(members.CONSUMERS.get(role), "retrying", False):
                topics.append("%RETRY%" + group)
                self.places.append((topics[1], 0))
            self.history.write("group", group=group, topics=topics,
                               model=MODEL_OF.get(role, role), **more)
        for line in self.lines:
            self.begin(line)

    def client(self):
        host, port = self.servers.broker.rsplit(":", 1)
        return wire.Client(host, int(port))

    # --- members ---

    def begin(self, line):
        role, topic, group, _ = line
        self.serial += 1
        name = "%s-%d" % (role, self.serial)
        settings = {"name": name, "broker": self.servers.broker, "seed": self.seed, "topic": topic,
                    "queues": QUEUES, "history": os.path.join(self.folder, name + ".history")}
        if group:
            settings["group"] = group
        self.history.write("changed", what="start")
        with open(os.path.join(self.folder, name + ".out"), "w") as out:
            process = subprocess.Popen(
                self.clients.command(role, settings, self.servers.namesrv) or
                [sys.executable, os.path.join(HERE, "members.py"), role, json.dumps(settings)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder)
        self.alive.append((line, process))

    def end(self, one, crash=False):
        line, process = one
        self.alive.remove(one)
        if process.poll() not in (None, 0):
            raise SystemExit("soak: a member (%s) ended with %s; see %s" % (
                line[0], process.returncode, self.folder))
        self.history.write("changed", what="crash" if crash else "end")
        process.send_signal(signal.SIGKILL if crash else signal.SIGTERM)
        try:
            process.wait(MEMBER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit("soak: a member (%s) does not end; see %s" % (line[0], self.folder))

    def count(self, line):
        return sum(1 for other, _ in self.alive if other == line)

    # --- the storm ---

    def storm(self):
        actions = [(self.someone_comes, 5), (self.someone_goes, 2), (self.someone_crashes, 3),
                   (self.broker_crashes, 2), (self.broker_restarts, 1)]
        if self.slave:
            actions += [(self.slave_crashes, 1), (self.slave_restarts, 1)]
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(self.chance.uniform(0.2, 2.5))
            action, = self.chance.choices(*zip(*actions))
            action()
            dead = [line[0] for line, process in self.alive if process.poll() is not None]
            if dead:
                raise SystemExit("soak: members ended by themselves: %s; see %s"
                                 % (", ".join(dead), self.folder))
            if self.servers.processes[-1].poll() is not None:
                raise SystemExit("soak: the broker ended by itself\n%s" % self.servers.logs())
            if self.slave and not self.slave.broker.is_alive():
                raise SystemExit("soak: the slave ended by itself\n%s" % self.slave.broker.output())

    def someone_comes(self):
        line = self.chance.choice(self.lines)
        if self.count(line) < line[3]:
            self.begin(line)

    def someone_goes(self):
        if self.alive:
            self.end(self.chance.choice(self.alive))

    def someone_crashes(self):
        if self.alive:
            self.end(self.chance.choice(self.alive), crash=True)

    def broker_crashes(self):
        """Sometimes again while it starts."""
        self.kill_broker()
        for _ in range(self.chance.choice((0, 0, 0, 1, 2))):
            self.servers.start_broker(wait=False)
            time.sleep(self.chance.uniform(0, 0.1))
            self.kill_broker()
        self.servers.start_broker()
        self.history.write("changed", what="up")

    def kill_broker(self):
        begin = time.time()
        self.servers.stop_broker(kill=True)
        self.history.write("changed", what="kill", at=begin, until=time.time())

    def broker_restarts(self):
        self.history.write("changed", what="stop")
        self.stop_broker()
        self.servers.start_broker()
        self.history.write("changed", what="up")

    def stop_broker(self):
        self.check_status("broker", self.servers.stop_broker(), self.servers.logs())

    def slave_crashes(self):
        self.history.write("changed", what="slave-kill")
        self.slave.crash()

    def slave_restarts(self):
        self.history.write("changed", what="slave-stop")
        self.check_status("slave", self.slave.restart(), self.slave.broker.output())

    @staticmethod
    def check_status(name, status, output):
        if status != 0:
            raise SystemExit("soak: the %s ended with %s\n%s" % (name, status, output))

    # --- the end ---

    def calm(self):
        """No more sends, every group with a member, until all that will come has been consumed."""
        for one in list(self.alive):
            if not one[0][2] and one[0][0] not in STAYING:
                self.end(one)
        for line in self.lines:
            if (line[2] or line[0] in STAYING) and not self.count(line):
                self.begin(line)
        last, changed_at = None, time.monotonic()
        while True:
            state, now = self.progress(), time.monotonic()
            if state != last:
                last, changed_at = state, now
            is_done = all(done >= maximum for done, maximum in state)
            if now - changed_at > (QUIET_SECONDS if is_done else STALLED_SECONDS):
                return
            time.sleep(0.25)

    def progress(self):
        """(done, wanted) of every queue of every group that commits, and of all that must come."""
        state = []
        with self.client() as client:
            self.write_down_store(client)
            # As long as a transaction is open, it is asked about and moves on in its topic.
            moves = self.maximum(client, members.transactions.HALF, 0)
            state.append((moves, moves))
            for role, topic, group, _ in self.consuming:
                model = MODEL_OF.get(role, role)
                if model == "popped":
                    state.append(self.expected.acknowledged(group, topic))
                if model in ("each", "popped"):
                    continue
                for place in self.places:
                    if place[0] not in (topic, "%RETRY%" + group):
                        continue
                    answer = client.call(wire.QUERY_OFFSET, {
                        "consumerGroup": group, "topic": place[0], "queueId": place[1]})
                    done = int(answer.ext["offset"]) if answer.code == wire.SUCCESS else 0
                    state.append((done, self.maximum(client, *place)))
        state.append(self.expected.arrived())
        return state

    @staticmethod
    def maximum(client, topic, queue):
        """0 for a topic that the broker makes when it needs it, too."""
        answer = client.call(wire.MAX_OFFSET, {"topic": topic, "queueId": queue})
        return int(answer.ext["offset"]) if answer.code == wire.SUCCESS else 0

    def write_down_store(self, client):
        """What is stored and was not yet when this was called last."""
        for place in self.places:
            begin = self.written.get(place, 0)
            if self.maximum(client, *place) == begin:
                continue
            for record in client.read_queue(*place, begin):
                name = members.identity(record)
                self.history.write("stored", topic=place[0], queue=place[1],
                                   offset=record.queue_offset, id=name,
                                   sum=history.checksum(record.body),
                                   stored_at=record.store_ms / 1000)
                self.expected.stored(place[0], name)
                self.written[place] = record.queue_offset + 1

    def write_down_maximums(self):
        with self.client() as client:
            self.write_down_store(client)
            for topic, queue in self.places:
                self.history.write("maximum", topic=topic, queue=queue,
                                   offset=self.maximum(client, topic, queue))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("SOAK_SEED=%d SOAK_SECONDS=%g" % (SEED, SECONDS), flush=True)
    failed = 0
    clients = real.Clients()
    for flush in MODES:
        complaints = Soak(SEED, SECONDS / len(MODES), flush, clients).run()
        print("%s soak %s" % ("FAILED" if complaints else "ok", flush))
        for complaint in complaints:
            print("    " + complaint)
        failed += bool(complaints)
    print("soak: %d passed, %d failed" % (len(MODES) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
