#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A store goes from Apache's 4.9.2 broker to ours and back, and nothing of it changes.

golden  The stores of test/data, written by Apache's broker and stopped cleanly or killed, open in
        ours: every message of the manifest is there by queue, offset id, unique id, key and time;
        topics, groups and offsets too; overdue delayed messages are delivered; appending goes on.
clean   Apache's broker writes messages of every kind; ours opens its directory, adds more; Apache's
        opens what ours left; ours again. Each stops cleanly.
kill    The same, and each broker is killed with SIGKILL while producers send.

All reading and writing is done with Apache's Java client (test/interop/java, package
org.cometmq.store). Files are small, so that segments, queue files and index files are crossed.
Prints a line for each case; the last line is `java-store: N passed, N failed`.
"""
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))
import servers  # noqa: E402
import tables  # noqa: E402
from tables import check  # noqa: E402

DATA = os.path.join(ROOT, "test", "data")
ANSWER_SECONDS = 400
FILES_SECONDS = 300
GET_ALL_TOPIC_CONFIG = 21
# For a short life on a small machine. Without TLS, since making a certificate takes seconds.
JAVA = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
HEAP = ["-Xms128m", "-Xmx512m", "-XX:MaxDirectMemorySize=512m",
        "-Dtls.server.mode=disabled"]

# Level 4: long enough to be pending when the broker ends.
PENDING_SECONDS = 4
SIZES = {
    "mappedFileSizeCommitLog": str(1 << 20),
    "mappedFileSizeConsumeQueue": str(20 * 100),
    "maxHashSlotNum": "500",
    "maxMessageSize": str(512 * 1024),
    "messageDelayLevel": "1s 2s 3s %ds 1h" % PENDING_SECONDS,
}
COMMON = {
    "flushConsumerOffsetInterval": "500",
    "flushDelayOffsetInterval": "500",
    "maxTransferCountOnMessageInMemory": "1000",
    "maxTransferBytesOnMessageInMemory": str(8 << 20),
    "fileReservedTime": "87600",
}
LARGE_BYTES = 300000
# Bits of a message's sysFlag.
COMPRESSED = 1
COMMITTED = 8


HOUSES = []


def give_up(number, _):
    """Told to end: the servers have sessions of their own and would stay."""
    for house in HOUSES:
        house.stop()
    os._exit(128 + number)


class Hands:
    """Apache's client: a Java process that is told what to do."""

    def __init__(self, folder):
        target = os.path.join(ROOT, "test", "interop", "java", "target")
        self.process = subprocess.Popen(
            ["java", "-Xmx512m"] + JAVA +
            ["-Duser.home=" + folder, "-Drocketmq.client.logUseSlf4j=true",
             "-Drocketmq.client.localOffsetStoreDir=" + os.path.join(folder, "offsets"),
             "-cp", "%s/interop.jar:%s/lib/*" % (target, target), "org.cometmq.store.Main"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def do(self, *words):
        self.process.stdin.write(("\t".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_SECONDS)
        check(ready, "the Java client does not answer to %s" % (words,))
        answer = self.process.stdout.readline().decode()
        check(answer.startswith("ok"), "%s: %s" % (" ".join(map(str, words)), answer.strip()))
        return answer[2:].strip()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class House(servers.Servers):
    """A name server of ours that stays, and a store that brokers of both kinds use in turns."""

    def __init__(self, settings, golden=None):
        super().__init__(settings=dict(COMMON, **settings), heap=HEAP + JAVA)
        self.store = os.path.join(self.folder, "store")
        if golden is not None:
            # Plain copies: the files must not look as old as they are.
            shutil.copytree(os.path.join(DATA, golden), self.store, copy_function=shutil.copyfile)
        self.port = servers.free_ports([-2, 0, 1, 7])
        self.broker = "127.0.0.1:%d" % self.port
        self.namesrv = "127.0.0.1:%d" % (self.port + 7)
        self.hands = None
        self._write_files(self.port)
        HOUSES.append(self)

    def open(self, apache, **settings):
        self.apache = apache
        self.settings.update(settings)
        self._write_files(self.port)
        if not self.processes:
            self.apache = False
            self._launch("namesrv", self._namesrv_command())
            self.apache = apache
        self._await("the name server", lambda: self._known(False))
        self.start_broker()
        self._await("the broker", lambda: servers.call(self.broker, GET_ALL_TOPIC_CONFIG))
        if self.hands is None:
            self.hands = Hands(self.folder)
            self.hands.do("connect", self.namesrv, self.broker)

    def end(self, kill):
        status = self.stop_broker(kill)
        # A JVM that is told to end says so in its own way.
        wanted = -signal.SIGKILL if kill else 128 + signal.SIGTERM if self.apache else 0
        check(status == wanted, "the broker ended with status %d" % status)

    def verify(self):
        """mqstore finds nothing wrong with what the broker left."""
        found = subprocess.run(
            [os.path.join(servers.BUILD, "bin", "mqstore"), "verify", "-c",
             os.path.join(self.folder, "broker.conf")], capture_output=True, text=True)
        check(found.returncode == 0, "mqstore verify: %s %s" % (found.stdout[:2000], found.stderr))

    def _known(self, expected):
        _, body = servers.call(self.namesrv, servers.GET_BROKER_CLUSTER_INFO)
        if (self.broker.encode() in body) != expected:
            raise OSError("the name server has not noticed the broker's end")

    def path(self, name):
        return os.path.join(self.folder, name)

    def dump(self):
        """All rows; their queues have no gaps."""
        path = self.path("dump.tsv")
        self.hands.do("dump", path)
        rows = tables.load_rows(path)
        tables.check_bounds(path, rows)
        return rows

    def state(self):
        path = self.path("state.json")
        self.hands.do("state", path)
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def await_saved(self, state):
        """Until offsets are in the files, which both brokers write from time to time."""
        deadline = time.monotonic() + FILES_SECONDS
        while True:
            try:
                config = tables.read_config(self.store)
                if all(config[name] == state[name] for name in ("offsets", "delays")):
                    return
            except (OSError, ValueError):
                pass
            check(time.monotonic() < deadline, "offsets are not saved")
            time.sleep(0.05)

    def close(self):
        if self.hands is not None:
            self.hands.close()
        self.stop()


class Suite:
    """Counts cases; from several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.passed = 0
        self.failed = 0

    def case(self, name, action, *arguments):
        """One thing to show. False: it failed."""
        began = time.monotonic()
        try:
            action(*arguments)
        except Exception as error:  # whatever it is, the case has failed
            with self.lock:
                self.failed += 1
                print("FAILED %s %s: %s" % (name, type(error).__name__, str(error)[:3000]),
                      flush=True)
            return False
        with self.lock:
            self.passed += 1
            print("ok %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
        return True

    def run(self, cases):
        """Cases that build on each other; what follows a failed one is not tried. True: all held."""
        return all(self.case(name, action) for name, action in cases)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def read_properties(path):
    with open(path) as file:
        pairs = [line.strip().split("=", 1) for line in file if "=" in line and line[0] != "#"]
    unwanted = ("listenPort", "haListenPort")
    return {key: value for key, value in pairs if key not in unwanted}


def until(house, ledger, kinds):
    """Read everything until messages of these kinds have been delivered."""
    deadline = time.monotonic() + 300
    while True:
        rows = house.dump()
        lacking = ledger.lacking(rows, kinds)
        if not lacking:
            return rows
        check(time.monotonic() < deadline, "never delivered: %s" % lacking[:3])
        time.sleep(0.1)


# --- golden ---

class Golden:
    def __init__(self, name):
        self.house = House(read_properties(os.path.join(DATA, "store-4.9.2.broker.properties")),
                           name)
        self.manifest = tables.load_manifest(os.path.join(DATA, name + ".manifest.tsv"))
        self.config = tables.read_config(self.house.store)
        self.rows = None
        self.ledger = tables.Ledger(self.house.settings["messageDelayLevel"])

    def opens(self):
        self.house.open(apache=False, transactionCheckInterval="3600000")

    def overdue(self):
        """Delayed messages whose time has passed since the store was written."""
        level, queue = max((int(level), int(level) - 1) for level in self.config["delays"])
        done = self.config["delays"][str(level)]
        return [row for (topic, number, offset), row in self.manifest.items()
                if topic == tables.SCHEDULE and number == queue and offset >= done]

    def by_queue(self):
        overdue = self.overdue()
        check(overdue, "the golden store has no overdue messages")
        deadline = time.monotonic() + 300
        while True:
            self.rows = self.house.dump()
            new = [self.rows[where] for where in self.rows.keys() - self.manifest.keys()]
            if len(new) >= len(overdue):
                break
            check(time.monotonic() < deadline, "overdue messages are not delivered: %s" % new)
            time.sleep(0.05)
        tables.check_kept(self.manifest, self.rows)
        check(all(self.rows[topic, queue, 0] for topic, queue, _ in self.rows), "minimum offsets")
        wanted = sorted((tables.properties_of(row)["REAL_TOPIC"], row["uniqKey"],
                         row["bodySha256"]) for row in overdue)
        check(sorted((row["topic"], row["uniqKey"], row["bodySha256"]) for row in new) == wanted,
              "%d messages were overdue, delivered are %s" % (len(wanted), new))

    def looked_up(self):
        self.house.hands.do("lookup", "time")

    def configuration(self):
        expected = dict(self.config, delays=dict(self.config["delays"]))
        for row in self.overdue():
            level = str(int(row["queueId"]) + 1)
            expected["delays"][level] = max(expected["delays"][level], int(row["queueOffset"]) + 1)
        state = self.house.state()
        tables.check_state(expected, state)
        check(state["delays"] == expected["delays"], "delay offsets are %s" % state["delays"])

    def appends(self):
        house = self.house
        house.hands.do("topics")
        house.hands.do("write", "more", house.path("ledger"), 30000, "ipv6" if has_ipv6() else "-")
        self.ledger.add(house.path("ledger"))
        rows = until(house, self.ledger, tables.SOON)
        tables.check_kept(self.rows, rows)
        self.ledger.check_acknowledged(rows)
        self.ledger.check_explained(self.rows, rows, False)
        self.ledger.check_due(rows)
        self.rows = rows

    def verified(self):
        self.house.verify()

    def new_topic(self):
        self.house.hands.do("load", "load")
        self.house.end(kill=True)
        self.house.hands.do("loaded", self.house.path("loaded"))
        self.ledger.add(self.house.path("loaded"))
        self.house.open(apache=False)
        rows = self.house.dump()
        tables.check_kept(self.rows, rows)
        self.ledger.check_acknowledged(rows)
        self.ledger.check_explained(self.rows, rows, False)
        first = min(offset for topic, _, offset in rows if topic == "LoadTopic")
        check(first == 0, "a new topic begins at offset %d" % first)
        self.house.hands.do("lookup", "time")
        self.house.end(kill=False)
        self.house.verify()

    def run(self, suite, name):
        try:
            suite.run([
                (name + "/mqstore finds nothing wrong", self.verified),
                (name + "/opens", self.opens),
                (name + "/every message by queue, overdue ones delivered", self.by_queue),
                (name + "/every message by offset id, unique id, key and time", self.looked_up),
                (name + "/topics, groups, offsets", self.configuration),
                (name + "/appends go on", self.appends),
                (name + "/a new topic, and kill -9", self.new_topic),
            ]) or print(self.house.logs())
        finally:
            self.house.close()


# --- round trips ---

class RoundTrip:
    def __init__(self, kill):
        self.kill = kill
        # One index file for several segments, or several for one.
        self.house = House(dict(SIZES, maxIndexNum="2000" if kill else "600"))
        self.ledger = tables.Ledger(SIZES["messageDelayLevel"])
        self.rows = {}
        self.state = None
        self.saved_exactly = True
        self.step = 0
        self.log_begin = 0
        self.apache = False
        self.label = ""
        self.decided = False

    def begin(self, apache):
        self.step += 1
        self.apache = apache
        self.label = "s%d" % self.step
        # Transactions that are left open in the first step and at the end of the second stay so
        # until the other broker has come and asks.
        asks = self.asks()
        if self.step > 2:
            self.delete_oldest_segment()
        # With queue extensions, which are optional, 4.9.2 keeps tags codes and times of delivery
        # beside the queues.
        self.house.open(apache, transactionTimeOut="1000", transactionCheckMax="10000",
                        transactionCheckInterval="1000" if asks else "3600000",
                        enableConsumeQueueExt="false" if self.kill else "true")
        if asks:
            self.decide(True)

    def decide(self, decided):
        """Does the producer know the outcome of what it has left open?"""
        self.house.hands.do("decide", "true" if decided else "false")
        self.decided = decided

    def delete_oldest_segment(self):
        """As retention does: what is left is the store of a broker that has run for days."""
        log = os.path.join(self.house.store, "commitlog")
        oldest, following = sorted(os.listdir(log))[:2]
        os.unlink(os.path.join(log, oldest))
        self.log_begin = int(following)
        self.rows = tables.in_log(self.rows, self.log_begin)

    def asks(self):
        """Does the broker ask for the outcome of transactions?"""
        return self.step > 1

    def soon(self):
        return tables.SOON + (("later",) if self.decided else ())

    def is_locked(self):
        """Nobody else can open the store meanwhile. Java's locks are those of fcntl."""
        with open(os.path.join(self.house.store, "lock"), "r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            except OSError:
                return
        raise AssertionError("the store can be locked by somebody else while a broker uses it")

    def everything_is_there(self):
        self.is_locked()
        rows = until(self.house, self.ledger, self.soon() + ("pending",))
        self.check_rows(rows)
        self.rows = rows

    def check_rows(self, rows):
        check(len(tables.in_log(rows, self.log_begin)) == len(rows), "messages of deleted segments")
        tables.check_kept(self.rows, rows)
        self.ledger.check_once(rows)
        self.ledger.check_acknowledged(rows, self.log_begin)
        self.ledger.check_explained(self.rows, rows, True)
        self.ledger.check_due(rows)

    def state_is_there(self):
        tables.check_state(self.state, self.house.state())

    def writes(self):
        house = self.house
        house.hands.do("topics")
        flags = ["txn"] + (["ipv6"] if has_ipv6() else [])
        house.hands.do("write", self.label, house.path("ledger"), LARGE_BYTES, ",".join(flags))
        self.ledger.add(house.path("ledger"))
        rows = until(house, self.ledger, self.soon())
        self.check_rows(rows)
        self.rows = rows
        self.check_kinds()

    def check_kinds(self):
        """The messages are of the kinds that they were meant to be."""
        kinds = {"BigTopic": lambda row: int(row["sysFlag"]) & COMPRESSED,
                 "TxnTopic": lambda row: int(row["sysFlag"]) & COMMITTED}
        if not self.kill:
            kinds["PlainTopic"] = lambda row: int(row["cqTagsCode"]) <= tables.ADDRESS_MAX
        if has_ipv6():
            kinds["V6Topic"] = lambda row: row["bornHost"].startswith("[")
        for topic, is_kind in kinds.items():
            check(any(is_kind(row) for row in self.rows.values() if row["topic"] == topic),
                  "no message of its kind in " + topic)

    def looked_up(self):
        if self.asks():
            # Half messages were moved while the others were read.
            rows = self.house.dump()
            self.check_rows(rows)
            self.rows = rows
        self.house.hands.do("lookup", *([] if self.apache else ["time"]))

    def takes(self, wanted, *command):
        """What a consumer gets."""
        path = self.house.path("taken")
        self.house.hands.do(*command, path)
        with open(path, encoding="utf-8") as file:
            taken = sorted(tuple(line.rstrip("\n").split("\t")) for line in file)
        wanted = sorted((topic, str(queue), str(offset)) for topic, queue, offset in wanted)
        check(taken == wanted, "%s: %d messages, %d are wanted; one side only: %s" % (
            command, len(taken), len(wanted), sorted(set(taken) ^ set(wanted))[:5]))

    def consumes(self):
        """By tag all that has it; and a group goes on where it was: each message once in all steps
        together."""
        plain = {where: row for where, row in self.rows.items() if where[0] == "PlainTopic"}
        for tag in ("Tag0", "Tag1"):
            self.takes([where for where, row in plain.items() if row["tags"] == tag],
                       "tagged", "PlainTopic", tag)
        before = (self.state or {"offsets": {}})["offsets"].get("PlainTopic@CG_plain", {})
        self.takes([where for where in plain if where[2] >= before.get(str(where[1]), 0)],
                   "consume", "CG_plain", "PlainTopic")
        # Forwards, and once backwards: the last word counts, whoever had it.
        self.house.hands.do("commit", "CG_manual", "PlainTopic", 0, (0, 20, 25, 10, 30)[self.step])

    def ends(self):
        house = self.house
        self.state = house.state()
        if self.kill:
            house.await_saved(self.state)
        sent = time.monotonic()
        house.hands.do("pending", self.label, house.path("pending"))
        self.ledger.add(house.path("pending"))
        if self.step == 2:
            self.decide(False)
            house.hands.do("open", self.label, house.path("open"))
            self.ledger.add(house.path("open"))
        if self.kill:
            house.hands.do("load", self.label)
        house.end(self.kill)
        if self.kill:
            # Copies whose progress was not kept yet are asked about, each for itself.
            self.ledger.excuse("later")
            if time.monotonic() - sent > PENDING_SECONDS / 2:
                # A slow machine: they may have come, and nobody has kept in mind that they did.
                self.ledger.excuse("pending")
            house.hands.do("loaded", house.path("loaded"))
            self.ledger.add(house.path("loaded"))
        house.verify()
        aborted = os.path.exists(os.path.join(house.store, "abort"))
        check(aborted == self.kill, "the file abort: %s" % aborted)

    def crossed(self):
        """The test is about more than one file of each kind."""
        for folder, least in (("commitlog", 6), ("index", 2), ("consumequeue/PlainTopic/0", 2)):
            files = os.listdir(os.path.join(self.house.store, folder))
            check(len(files) >= least, "only %s in %s" % (files, folder))

    def steps(self, name):
        for number, apache in enumerate((True, False, True, False), 1):
            at = "%s/%d %s: " % (name, number, "Apache" if apache else "ours")
            yield at + "opens" + (", oldest segment deleted" if number > 2 else ""), lambda apache=apache: self.begin(apache)
            if number > 1:
                yield at + "every message is there", self.everything_is_there
                yield at + "topics, groups, offsets", self.state_is_there
            yield at + "writes messages of every kind", self.writes
            yield at + "consumers by tag, and a group that goes on", self.consumes
            yield at + "every message by offset id, unique id and key", self.looked_up
            yield at + ("is killed under load" if self.kill else "stops"), self.ends
        yield name + "/several files of each kind", self.crossed

    def run(self, suite, name):
        try:
            suite.run(self.steps(name)) or print(self.house.logs())
        finally:
            self.house.close()


def main():
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    suite = Suite()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, give_up)
    if "golden".startswith(chosen):
        Golden("store-4.9.2").run(suite, "golden")
        Golden("store-4.9.2-crashed").run(suite, "golden-crashed")
    # Most of the time these wait for Apache's broker, so they run beside each other.
    trips = [threading.Thread(target=RoundTrip(name == "kill").run, args=(suite, name))
             for name in ("clean", "kill") if name.startswith(chosen)]
    for trip in trips:
        trip.start()
    for trip in trips:
        trip.join()
    print("java-store: %d passed, %d failed" % (suite.passed, suite.failed))
    sys.exit(0 if suite.failed == 0 and suite.passed > 0 else 1)


if __name__ == "__main__":
    main()
