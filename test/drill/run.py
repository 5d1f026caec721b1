# SPDX-License-Identifier: Apache-2.0
"""One run of one drill: a fresh cluster, clients that go on through all its rounds, and what is checked
in a round and at the end. The faults themselves are in faults.py.
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import checker
import hosts
import ledger
import stores
from broker import Client, SUCCESS
from cluster import (Cluster, DrillError, GROUPS, HERE, NAME_SERVERS, names, wait_until)
from servers import BUILD

TOPIC, QUEUES, CONSUMERS = "drill", 4, "drill-readers"
SETTLE_S = 0.3  # answers that were on their way when a broker died
AGAIN = 20      # so many answers SEND_OK say that a group is well again
SMALL_DISK = 192 << 20
# So that the drill need not wait long for what is not its subject; and a full disk must not make a
# broker delete old messages, which would look as if they were lost.
SETTINGS = {"syncFlushTimeout": 1500, "cleanFileForciblyEnable": "false",
            "haSendHeartbeatInterval": 1000, "haHousekeepingInterval": 5000}


class Run:
    def __init__(self, options, small_disks=False):
        self.options = options
        servers, groups = NAME_SERVERS[:options.name_servers], GROUPS[:options.groups]
        self.hosts = hosts.make(names(servers, groups), options.hosts)
        self.cluster = Cluster(self.hosts, servers, groups, role=options.role, flush=options.flush,
                               settings=SETTINGS, apache=options.apache,
                               ip_version=options.ip_version)
        self.small_disks = small_disks
        self.folder = os.path.join(self.cluster.folder, "history")
        os.makedirs(self.folder)
        self.history = ledger.Writer(os.path.join(self.folder, "driver.history"))
        self.tail = ledger.Tail(self.folder)
        self.members = {}
        self.on_slave = {group: stores.Content(TOPIC) for group in self.cluster.groups}
        self.checked = {group: 0 for group in self.cluster.groups}
        self.complaints = []
        self.faults = []
        self.round = 0

    # --- the frame ---

    def start(self):
        for broker in self.cluster.brokers.values():
            if self.small_disks and not broker.mount_small_disk(SMALL_DISK):
                raise hosts.NotHere("a small file system cannot be mounted here")
        self.cluster.start()
        for group in self.cluster.groups:
            self.create_topic(group)
        self.start_member("produce", name="p")
        self.start_member("consume", name="c", group=CONSUMERS)
        for group in self.cluster.groups:
            self.await_sends(group)
        return self

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
        with open(os.path.join(self.cluster.folder, settings["name"] + ".out"), "ab") as out:
            self.members[settings["name"]] = self.hosts.popen(
                "client", [sys.executable, os.path.join(HERE, "members.py"), role,
                           json.dumps(settings)], stdout=out, stderr=out)

    def stop_member(self, name):
        process = self.members.pop(name)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            status = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status != 0:
            with open(os.path.join(self.cluster.folder, name + ".out"), encoding="utf-8") as out:
                raise DrillError("client %s ended with %s: %s" % (name, status, out.read()[-2000:]))

    def remove(self, keep=False):
        for name in list(self.members):
            with contextlib.suppress(DrillError):
                self.stop_member(name)
        self.cluster.remove(keep)
        self.hosts.remove()

    # --- what rounds are made of ---

    def fault(self, name, group=None, **more):
        one = dict(name=name, group=group, round=self.round, at=time.time(), **more)
        self.history.write("fault", **one)
        self.faults.append([one, None])

    def healed(self):
        one = dict(self.faults[-1][0], at=time.time())
        self.history.write("healed", **one)
        self.faults[-1][1] = one

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

    def hold_consumers(self):
        """They leave messages unread until `release_consumers`."""
        self.members["c"].send_signal(signal.SIGSTOP)

    def release_consumers(self):
        self.members["c"].send_signal(signal.SIGCONT)

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
        self.checked[group] = len(acked)

    def await_read(self, group):
        """Consumers have everything of a group that was answered SEND_OK until now."""
        wanted = {}
        for one in self.tail.update().acked[group]:
            wanted[one["queue"]] = max(wanted.get(one["queue"], 0), one["offset"] + 1)
        def is_read():
            self.tail.update()
            return all(self.tail.next.get(("c", TOPIC, group, queue), 0) >= offset
                       for queue, offset in wanted.items())
        try:
            wait_until(is_read, "")
        except DrillError:
            raise DrillError("consumers did not come to %s of group %s, but to %s" % (
                wanted, group, {place[3]: offset for place, offset in self.tail.next.items()
                                if place[2] == group})) from None

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
        self.stop_member("p")
        for group in self.cluster.groups:
            self.await_level(group)
            self.await_end(group)
        self.stop_member("c")
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
        ends = {}
        with Client(*self.cluster.master(group).address) as client:
            for queue in range(QUEUES):
                ends[queue] = client.max_offset(TOPIC, queue)
        def is_read():
            self.tail.update()
            return all(self.tail.next.get(("c", TOPIC, group, queue), 0) >= end
                       for queue, end in ends.items())
        wait_until(is_read, "consumers have read %s of group %s" % (ends, group))

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
        return acked, gone

    def pauses(self):
        """{what: [seconds of each round]}"""
        found = {"client": [], "group": [], "consumer": []}
        for fault, end in self.faults:
            if end is None:
                continue
            for what, seconds in checker.pauses(self.tail.events, fault, end).items():
                if seconds is not None and not (what == "consumer" and fault.get("held")):
                    found[what].append(round(seconds, 3))
        return found
