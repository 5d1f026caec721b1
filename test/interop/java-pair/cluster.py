# SPDX-License-Identifier: Apache-2.0
"""A name server of ours and two brokers of one name, each Apache's or ours in any role, and traffic
of Apache's client through them. Brokers change; the folders, ports and settings of a place stay, as
those of a host do.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))
sys.path.insert(0, os.path.join(ROOT, "test", "interop", "java-store"))
import servers  # noqa: E402
import store  # noqa: E402
import tables  # noqa: E402
from tables import check  # noqa: E402

RUNTIME_INFO = 28
PATIENCE_SECONDS = 120
LEVELS = "1s 1s 1s 4s 1h"
SETTINGS = dict(
    store.COMMON,
    mappedFileSizeCommitLog=str(1 << 20), mappedFileSizeConsumeQueue=str(20 * 1000),
    maxHashSlotNum="5000", maxIndexNum="20000", messageDelayLevel=LEVELS, brokerIP2="127.0.0.1",
    transactionCheckInterval="3600000", transactionTimeOut="1000", maxMessageSize=str(512 * 1024))


def until(what, condition, seconds=PATIENCE_SECONDS):
    """Ask again and again until the answer is true; what cannot be asked counts as no. Returns the
    answer."""
    deadline = time.monotonic() + seconds
    reason = "no"
    while time.monotonic() < deadline:
        try:
            answer = condition()
            if answer:
                return answer
        except (OSError, ValueError, KeyError, AssertionError) as error:
            reason = str(error)[:1500] or repr(error)
        time.sleep(0.1)
    raise AssertionError("waited %d s in vain for %s: %s" % (seconds, what, reason))


class Place(servers.Servers):
    """A host on which one broker of the pair runs."""

    def __init__(self, name, folder, port, namesrv, settings):
        super().__init__(settings=dict(SETTINGS, **settings), heap=store.HEAP + store.JAVA,
                         folder=folder)
        os.makedirs(folder)
        self.name = name
        self.port = port
        self.broker = "127.0.0.1:%d" % port
        self.namesrv = namesrv
        self.store = os.path.join(folder, "store")

    def open(self, apache, role, wait=True):
        """Start a broker here. role: SYNC_MASTER, ASYNC_MASTER or SLAVE."""
        self.apache = apache
        self.settings.update(brokerRole=role, brokerId="1" if role == "SLAVE" else "0")
        self._write_files(self.port)
        self.start_broker(wait)

    def end(self, kill=False):
        status = self.stop_broker(kill)
        # Apache's may need longer than its stop is given here; its store is then as after a crash.
        check(kill or self.apache or status == 0, "the broker %s ended with status %s\n%s" % (
            self.name, status, self.logs()))

    def runtime(self):
        header, body = servers.call(self.broker, RUNTIME_INFO, timeout=10)
        if header["code"] != 0:
            raise OSError("%s does not tell: %s" % (self.name, header))
        return json.loads(body)["table"]

    def end_pos(self):
        """The end of its commit log."""
        return int(self.runtime()["commitLogMaxOffset"])

    def is_dispatched(self):
        return int(self.runtime()["dispatchBehindBytes"]) == 0

    def segments(self):
        folder = os.path.join(self.store, "commitlog")
        return {int(name): os.path.join(folder, name) for name in os.listdir(folder)}

    def verify(self):
        """mqstore finds nothing wrong with what the broker left."""
        found = subprocess.run(
            [os.path.join(servers.BUILD, "bin", "mqstore"), "verify", "-c",
             os.path.join(self.folder, "broker.conf")], capture_output=True, text=True)
        check(found.returncode == 0, "mqstore verify of %s: %s %s" % (
            self.name, found.stdout[:2000], found.stderr))


class Traffic:
    """Apache's producer and consumer, in a process of their own."""

    def __init__(self, folder):
        target = os.path.join(ROOT, "test", "interop", "java", "target")
        self.folder = folder
        self.process = subprocess.Popen(
            ["java", "-Xms64m", "-Xmx256m"] + store.JAVA +
            ["-Duser.home=" + folder, "-Drocketmq.client.logUseSlf4j=true",
             "-cp", "%s/interop.jar:%s/lib/*" % (target, target), "org.cometmq.pair.Main"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    do = store.Hands.do
    close = store.Hands.close

    def path(self, name):
        return os.path.join(self.folder, name)


def read_lines(path):
    """Columns of the complete lines of a file that may grow."""
    with open(path, encoding="utf-8") as file:
        return [line.split("\t") for line in file.read().split("\n")[:-1]]


class Sends:
    """What a producer was told (org.cometmq.pair.Sender)."""

    def __init__(self, path):
        self.rows = [(int(began), int(ended), int(number), status, int(queue), int(offset), reason)
                     for began, ended, number, status, queue, offset, reason in read_lines(path)]

    def stored(self, statuses=None):
        """(queue, offset) -> number of every send that was stored; no place is there twice."""
        places = {}
        for _, _, number, status, queue, offset, _ in self.rows:
            if status == "ERROR" or statuses and status not in statuses:
                continue
            check((queue, offset) not in places, "%s was told to message %d and to %d" % (
                (queue, offset), number, places.get((queue, offset), -1)))
            places[queue, offset] = number
        return places

    def errors(self):
        return [row for row in self.rows if row[3] == "ERROR"]


def received(path):
    """(queue, offset) -> number of what a consumer got (org.cometmq.pair.Receiver)."""
    places = {}
    for _, number, queue, offset in read_lines(path):
        place = int(queue), int(offset)
        check(places.get(place, number) == number, "two messages at %s" % (place,))
        places[place] = number
    return {place: int(number) for place, number in places.items()}


class Pair:
    def __init__(self, **settings):
        self.folder = tempfile.mkdtemp(prefix="cometmq-pair-")
        base = servers.free_ports([-2, 0, 1, 7, 18, 20, 21])
        self.house = servers.Servers(folder=os.path.join(self.folder, "namesrv"))
        os.makedirs(self.house.folder)
        self.namesrv = self.house.namesrv = "127.0.0.1:%d" % (base + 7)
        self.house.broker = "127.0.0.1:%d" % base
        self.a = Place("a", os.path.join(self.folder, "a"), base, self.namesrv, settings)
        self.b = Place("b", os.path.join(self.folder, "b"), base + 20, self.namesrv, settings)
        self.hands = None
        self.traffic = None
        self._files = 0
        store.HOUSES.append(self)
        # The name server's part of the files; there is no broker in that folder.
        self.house._write_files(base)
        self.house._launch("namesrv", self.house._namesrv_command())
        self.house._await("the name server", lambda: servers.call(
            self.namesrv, servers.GET_BROKER_CLUSTER_INFO))

    def connect(self, poll_ms):
        """Clients: hands that are told what to do at one broker, and traffic."""
        self.hands = store.Hands(self.folder)
        self.traffic = Traffic(self.folder)
        self.traffic.do("connect", self.namesrv, poll_ms)

    def path(self, name):
        return os.path.join(self.folder, name)

    def new_path(self, name):
        self._files += 1
        return self.path("%s.%d" % (name, self._files))

    def look_at(self, place):
        self.hands.do("connect", self.namesrv, place.broker)

    def state_of(self, place):
        """Its topics, groups and consumer offsets; delay offsets as they are on disk, since a slave of
        4.9.2 has them only there."""
        self.look_at(place)
        path = self.path("state.json")
        self.hands.do("state", path)
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        state["delays"] = tables.read_json(place.store + "/config/delayOffset.json")["offsetTable"]
        # A broker that has nothing for one may keep an empty table of it or none.
        state["offsets"] = {key: value for key, value in state["offsets"].items() if value}
        return state

    def dump(self, place):
        self.look_at(place)
        path = self.path("dump.tsv")
        self.hands.do("dump", path)
        rows = tables.load_rows(path)
        tables.check_bounds(path, rows)
        return rows

    # --- does the slave have what the master has? ---

    def await_caught_up(self, master, slave):
        """Until the slave has all that the master has now, whatever comes meanwhile."""
        wanted = until("the end of the master's log", master.end_pos)
        until("the slave to reach %d" % wanted, lambda: slave.end_pos() >= wanted)

    def await_quiet(self, master, slave):
        """Until nothing is written any more and both have all of it in their queues."""
        seen = [None]

        def quiet():
            now = master.end_pos()
            before, seen[0] = seen[0], now
            if before != now:
                time.sleep(1)  # what the broker writes by itself comes every second, or so
                return False
            return slave.end_pos() == now and master.is_dispatched() and slave.is_dispatched()

        until("both brokers to be still", quiet)

    def check_states(self, master, slave, unless=()):
        """Topics, groups and offsets come by and by. unless: what the slave has of these offsets is
        its own affair."""
        def same():
            there, here = self.state_of(master), self.state_of(slave)
            for table, content in there.items():
                for key in (content.keys() | here[table].keys()) - set(unless):
                    check(content.get(key) == here[table].get(key), "%s: %s is %s on the master "
                          "and %s on the slave" % (table, key, content.get(key),
                                                   here[table].get(key)))
            return True

        until("the slave's tables to be the master's", same)

    def check_logs(self, end):
        """The commit logs have the same bytes as far as `end`."""
        a, b = self.a.segments(), self.b.segments()
        begin = max(min(a), min(b))
        names = [name for name in sorted(a) if begin <= name < end]
        check(names == [name for name in sorted(b) if begin <= name < end],
              "segments are %s and %s" % (sorted(a), sorted(b)))
        for name in names:
            with open(a[name], "rb") as one, open(b[name], "rb") as two:
                left, right = one.read()[:end - name], two.read()[:end - name]
            if left != right:
                at = next((i for i, (x, y) in enumerate(zip(left, right)) if x != y),
                          min(len(left), len(right)))
                raise AssertionError("the logs differ at %d: %s and %s; the log ends at %d" % (
                    name + at, left[at:at + 32].hex(), right[at:at + 32].hex(), end))
        return len(names)

    def check_queues(self):
        """The consume queues are the same, byte by byte, but for zeros at the end of a file."""
        def files(place):
            found = {}
            top = os.path.join(place.store, "consumequeue")
            for folder, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(folder, name)
                    with open(path, "rb") as file:
                        content = file.read().rstrip(b"\0")
                    if content:
                        found[os.path.relpath(path, top)] = content
            return found

        a, b = files(self.a), files(self.b)
        check(a.keys() == b.keys(), "queue files that only one has: %s" % (
            sorted(a.keys() ^ b.keys())))
        wrong = [name for name in sorted(a) if a[name] != b[name]]
        check(not wrong, "queue files that differ: %s" % wrong)
        check(len(a) >= 8, "there are %d queue files" % len(a))

    def end_equal(self, master, slave):
        """Stop both; what they leave on disk is whole and the same."""
        end = master.end_pos()
        time.sleep(2)  # 4.9.2 writes its queues every second
        slave.end()
        master.end()
        self.check_logs(end)
        self.check_queues()
        master.verify()
        slave.verify()

    def logs(self):
        return "".join("=== %s\n%s" % (one.folder, one.logs())
                       for one in (self.house, self.a, self.b))

    def stop(self):
        for place in (self.a, self.b, self.house):
            place.stop()
        subprocess.run(["rm", "-rf", self.folder], check=False)

    def close(self):
        for client in (self.hands, self.traffic):
            if client is not None:
                client.close()
        self.stop()
