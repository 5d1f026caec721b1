# SPDX-License-Identifier: Apache-2.0
"""One run of one drill: a fresh cluster, clients that go on through all its rounds, and what is checked
in a round and at the end. The faults themselves are in faults.py.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import checker
import hosts
import ledger
import stores
from broker import Client, QUERY_OFFSET, SUCCESS
from cluster import (Cluster, DrillError, GROUPS, HERE, NAME_SERVERS, names, wait_until)
from servers import BUILD, ROOT

TOPIC, QUEUES, CONSUMERS = "drill", 4, "drill-readers"
SETTLE_S = 0.3  # answers that were on their way when a broker died
AGAIN = 20      # so many answers SEND_OK say that a group is well again
RECENT = 5000   # so many events hold what came last before a fault
SMALL_DISK = 192 << 20
JAVA = os.path.join(ROOT, "test", "interop", "java")
JAVA_CLASSES = "%s/target/interop.jar:%s/target/lib/*" % (JAVA, JAVA)
# So that a drill need not wait long for what is not its subject; and a full disk must not make a broker
# delete old messages, which would look as if they were lost.
SETTINGS = {"syncFlushTimeout": 1500, "cleanFileForciblyEnable": "false",
            "haSendHeartbeatInterval": 1000, "haHousekeepingInterval": 5000}
# Files that a broker has made beforehand take messages for a while on a full disk.
SMALL_FILES = {"mappedFileSizeCommitLog": 1 << 20, "maxMessageSize": 65536}


def build_java():
    """Apache's Java client, with what makes it a member of a drill."""
    if shutil.which("javac") is None or shutil.which("mvn") is None:
        raise hosts.NotHere("a JDK and Maven (mvn) are needed")
    done = subprocess.run(["sh", os.path.join(JAVA, "build")], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise hosts.NotHere("the Java client could not be built: " + done.stdout[-300:])


class Run:
    def __init__(self, options, fault):
        self.options = options
        servers, groups = NAME_SERVERS[:options.name_servers], GROUPS[:options.groups]
        if fault.java:
            build_java()  # before this process is on a host that has no way out
        self.hosts = hosts.make(names(servers, groups), options.hosts)
        if fault.cuts and not self.hosts.can_cut:
            raise hosts.NotHere("hosts are loopback addresses, which cannot be cut off")
        self.cluster = Cluster(self.hosts, servers, groups, role=options.role, flush=options.flush,
                               settings=dict(SETTINGS, **(SMALL_FILES if fault.small_disks else {})),
                               apache=options.apache, ip_version=options.ip_version)
        self.needs = fault
        self.folder = os.path.join(self.cluster.folder, "history")
        os.makedirs(self.folder)
        self.history = ledger.Writer(os.path.join(self.folder, "driver.history"))
        self.tail = ledger.Tail(self.folder)
        self.members = {}
        self.on_slave = {group: stores.Content(TOPIC) for group in self.cluster.groups}
        self.checked = {group: 0 for group in self.cluster.groups}
        self.absent = 0  # answers SEND_OK whose message was not on the slave when it was looked for
        self.complaints = []
        self.current, self.before_fault = None, 0
        self.pauses = {"client": [], "group": [], "consumer": []}  # seconds of each round
        self.round = 0

    # --- the frame ---

    def start(self):
        if self.needs.small_disks:
            for broker in self.cluster.brokers.values():
                if not broker.mount_small_disk(SMALL_DISK):
                    raise hosts.NotHere("a small file system cannot be mounted here")
        self.cluster.start()
        for group in self.cluster.groups:
            self.create_topic(group)
        self.start_member("produce", name="p")
        self.start_member("consume", name="c", group=CONSUMERS)
        self.await_all_sends()
        if self.needs.java:
            self.start_java()
        return self

    def start_java(self):
        servers = self.cluster.name_server_list()
        for words in (["produce", "jp", servers, TOPIC], ["consume", "jc", servers, TOPIC]):
            words.append(os.path.join(self.folder, words[1] + ".history"))
            self.start_process(words[1], ["java", "-Xmx256m", "-Duser.home=" + self.cluster.folder,
                                          "-Drocketmq.client.logUseSlf4j=true", "-cp", JAVA_CLASSES,
                                          "org.cometmq.drill.Member"] + words + ["drill-java-readers"])
        for group in self.cluster.groups:
            self.await_lane("jp-roaming", group)
            self.await_read(group)

    def create_topic(self, group):
        with Client(*self.cluster.master(group).address) as client:
            answer = client.create_topic(TOPIC, QUEUES)
            if answer.code != SUCCESS:
                raise DrillError("the topic was not created: %s" % answer)
        wait_until(lambda: self.has_topic(self.cluster.slave(group)),
                   "the slave of %s has the topic" % group)

    @staticmethod
    def has_topic(broker):
        with Client(*broker.address, 3) as client:
            return client.pull(TOPIC, 0, 0).code != 17

    def start_member(self, role, **settings):
        settings = dict(settings, topic=TOPIC, queues=QUEUES, groups=self.cluster.groups,
                        name_servers=[server.address for server in self.cluster.name_servers],
                        history=os.path.join(self.folder, settings["name"] + ".history"))
        self.start_process(settings["name"], [sys.executable, os.path.join(HERE, "members.py"), role,
                                              json.dumps(settings)])

    def start_process(self, name, command):
        with open(os.path.join(self.cluster.folder, name + ".out"), "ab") as out:
            self.members[name] = self.hosts.popen("client", command, stdout=out, stderr=out)

    def stop_member(self, name):
        process = self.members.pop(name)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            status = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status not in (0, 143):  # 143: a JVM that has ended well
            with open(os.path.join(self.cluster.folder, name + ".out"), encoding="utf-8") as out:
                raise DrillError("client %s ended with %s: %s" % (name, status, out.read()[-2000:]))

    def remove(self, keep=False):
        """End everything. keep: leave the files, and say where."""
        if keep:
            print("kept: %s" % self.cluster.folder)
        for name in list(self.members):
            with contextlib.suppress(DrillError):
                self.stop_member(name)
        self.cluster.remove(keep)
        self.hosts.remove()

    # --- what rounds are made of ---

    def fault(self, name, group=None, **more):
        self.tail.update()
        self.before_fault = max(0, len(self.tail.events) - RECENT)
        self.current = dict(name=name, group=group, round=self.round, at=time.time(), **more)
        self.history.write("fault", **self.current)

    def healed(self):
        end = dict(self.current, at=time.time())
        self.history.write("healed", **end)
        events = self.tail.update().events[self.before_fault:]
        found = checker.pauses(events, self.tail.lanes, self.current, end)
        for what, seconds in found.items():
            if seconds is not None and not (what == "consumer" and self.current.get("held")):
                self.pauses[what].append(round(seconds, 3))

    def complain(self, rule, text, *values):
        self.complaints.append("[%s] round %d: %s" % (rule, self.round, text % values))

    def await_codes(self, group, codes, count=AGAIN, seconds=90):
        """Until so many more answers of a group have one of these codes."""
        def number():
            return sum(self.tail.update().codes[(group, code)] for code in codes)
        before = number()
        wait_until(lambda: number() >= before + count,
                   "%d answers %s of group %s; %s" % (count, codes, group, dict(self.tail.codes)),
                   seconds)

    def await_sends(self, group):
        self.await_codes(group, (ledger.SEND_OK,))

    def await_all_sends(self):
        for group in self.cluster.groups:
            self.await_sends(group)

    def await_lane(self, lane, group, count=AGAIN):
        """Until a sender has so many more answers SEND_OK of that group."""
        before = self.tail.update().by_lane[(lane, group)]
        wait_until(lambda: self.tail.update().by_lane[(lane, group)] >= before + count,
                   "%d answers SEND_OK of group %s for %s" % (count, group, lane))

    def consumers(self):
        return [name for name in ("c", "jc") if name in self.members]

    def hold_consumers(self):
        """They leave messages unread until `release_consumers`."""
        for name in self.consumers():
            self.members[name].send_signal(signal.SIGSTOP)

    def release_consumers(self):
        for name in self.consumers():
            self.members[name].send_signal(signal.SIGCONT)

    def check_slave(self, group):
        """Whatever was answered SEND_OK until now is in the files of the group's slave."""
        time.sleep(SETTLE_S)
        acked = self.tail.update().acked[group]
        content = self.on_slave[group].read_on(self.cluster.slave(group).store)
        absent = checker.missing(acked[self.checked[group]:], content.messages)
        for one in absent[:checker.SHOWN]:
            self.complain("slave", "%s was answered SEND_OK at %s and is not on the slave, whose log "
                          "ends at %d", one["id"], (one["queue"], one["offset"]), content.end)
        if len(absent) > checker.SHOWN:
            self.complain("slave", "and %d more", len(absent) - checker.SHOWN)
        self.absent += len(absent)
        self.checked[group] = len(acked)

    def await_read(self, group):
        """Consumers have everything of a group that was answered SEND_OK until now."""
        wanted = {}
        for one in self.tail.update().acked[group]:
            wanted[one["queue"]] = max(wanted.get(one["queue"], 0), one["offset"] + 1)
        self.await_offsets(group, wanted)

    def await_offsets(self, group, wanted):
        """Every consumer has come to these offsets of a group's queues."""
        def behind():
            self.tail.update()
            return [(name, queue, self.tail.next.get((name, TOPIC, group, queue), 0), offset)
                    for name in self.consumers() for queue, offset in wanted.items()
                    if self.tail.next.get((name, TOPIC, group, queue), 0) < offset]
        try:
            wait_until(lambda: not behind(), "")
        except DrillError:
            raise DrillError("consumers did not come to where they should in group %s: (consumer, "
                             "queue, is at, should be at) %s" % (group, behind())) from None

    def committed(self, broker):
        """{queue: offset} of the readers' group, as a broker would tell a consumer that starts."""
        found = {}
        with Client(*broker.address, 3) as client:
            for queue in range(QUEUES):
                answer = client.call(QUERY_OFFSET, {"consumerGroup": CONSUMERS, "topic": TOPIC,
                                                    "queueId": queue})
                found[queue] = int(answer.ext["offset"]) if answer.code == SUCCESS else 0
        return found

    def position(self, group):
        """{queue: offset} that the reader wants next."""
        self.tail.update()
        return {queue: self.tail.next.get(("c", TOPIC, group, queue), 0) for queue in range(QUEUES)}

    def read_from(self, group, number):
        """How many messages consumers have got from that broker so far."""
        return self.tail.update().sources[(group, number)]

    def content(self, broker):
        return stores.Content(TOPIC).read_on(broker.store)

    def await_level(self, group):
        """The slave's log ends where the master's does. Nobody sends."""
        def is_level():
            ends = [self.content(self.cluster.brokers[(group, number)]).end for number in (0, 1)]
            return ends[0] == ends[1] or None
        wait_until(is_level, "the slave of %s has the whole log" % group)

    # --- the end ---

    def finish(self):
        """Everything that can be asked when all is whole again; complaints."""
        for name in ("p", "jp"):
            if name in self.members:
                self.stop_member(name)
        for group in self.cluster.groups:
            self.await_level(group)
            self.await_end(group)
        for name in self.consumers():
            self.stop_member(name)
        for node in self.cluster.nodes():
            node.stop()
        contents = {}
        for group in self.cluster.groups:
            content = self.content(self.cluster.master(group))
            contents[group] = content.messages
            self.check_pair(group, content)
        self.complaints += checker.check(self.tail.update().events, contents)
        self.complaints += self.cluster.problems()
        return self.complaints

    def await_end(self, group):
        """Consumers have come to the end of each queue."""
        with Client(*self.cluster.master(group).address) as client:
            ends = {queue: client.max_offset(TOPIC, queue) for queue in range(QUEUES)}
        self.await_offsets(group, ends)

    def check_pair(self, group, content):
        """Both brokers have ended."""
        for place in content.twice:
            self.complain("twice", "%s is in the log of %s twice", place, group)
        master, slave = (self.cluster.brokers[(group, number)] for number in (0, 1))
        for text in stores.differences(master.store, slave.store, content.end):
            self.complain("differ", "group %s: %s", group, text)
        if self.options.apache:
            return
        for broker in (master, slave):
            done = subprocess.run([os.path.join(BUILD, "bin", "mqstore"), "verify", "-c",
                                   broker.path("conf"), broker.store], capture_output=True,
                                  text=True, check=False)
            if done.returncode != 0:
                self.complain("verify", "%s: %s", broker.name, done.stdout[-600:] + done.stderr)

    def lost(self):
        """Messages that were answered SEND_OK and are not on the master, or were not on the slave."""
        acked = sum(len(acks) for acks in self.tail.acked.values())
        gone = sum(len(checker.missing(acks, self.content(self.cluster.master(group)).messages))
                   for group, acks in self.tail.acked.items())
        return acked, gone + self.absent
