#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of a drill, as a process: members.py produce|consume JSON.

JSON has name, name_servers ([[host, port], ...]), topic, queues, groups, history (a file) and, to
consume, group. SIGTERM asks it to end. All of it is written down as ledger.py says.

produce runs these senders, each on a thread of its own:
    roaming   one message after another, group after group; what fails is sent to the next group, as
              a Java producer does. The pauses of its answers are what an application feels.
    burst     for each group: many in flight on one connection. Its pauses tell how long that group
              took nothing.
    keyed     for each group: one after another, all into one queue, in an order that must be kept

consume reads every queue of every group: from the master, else from a slave, and goes on at the place
where it is. It commits where it reads.
"""
import collections
import hashlib
import itertools
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import broker as wire  # noqa: E402
import ledger  # noqa: E402
from rocketmq import Closed, parse_json  # noqa: E402

GONE = (OSError, Closed)
CONNECT_S, ANSWER_S, SUSPEND_S, ROUTE_S, REST_S = 1, 3, 1, 0.3, 2
STORED = (ledger.SEND_OK, ledger.FLUSH_DISK_TIMEOUT, ledger.NO_SLAVE, ledger.FLUSH_SLAVE_TIMEOUT)
WINDOW = 32


def parse_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Slow(OSError):
    """An answer did not come in time."""


class Client(wire.Client):
    """As test/e2e's, with times of a client that has another broker to turn to."""

    def __init__(self, address, answer_s=ANSWER_S):
        super().__init__(*address, CONNECT_S)
        self.socket.settimeout(answer_s)

    def abandon(self):
        """Close it; what has not left yet never will. Else requests to a broker that was cut off would
        come to it long after the drill has looked at what it has."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def read_answer(self, opaque):
        try:
            return super().read_answer(opaque)
        except socket.timeout as error:
            raise Slow() from error


class Member:
    def __init__(self, name, name_servers, topic, queues, groups, history, group=None):
        self.name, self.topic, self.queues, self.groups = name, topic, queues, groups
        self.name_servers = [tuple(address) for address in name_servers]
        self.consumer_group = group
        self.history = ledger.Writer(history)
        self.ending = threading.Event()
        self.parent = os.getppid()
        self.route = {}
        signal.signal(signal.SIGTERM, lambda *_: self.ending.set())

    def run(self, loops):
        threads = [threading.Thread(target=loop, args=arguments, daemon=True)
                   for loop, *arguments in loops]
        for thread in threads:
            thread.start()
        while not self.ending.wait(ROUTE_S):
            self.ask_route()
            if os.getppid() != self.parent:
                self.ending.set()
        for thread in threads:
            thread.join(ANSWER_S + CONNECT_S + 1)

    def ask_route(self):
        """Of the first name server that answers; that one is asked next time, too. Without any, the
        old one stays."""
        for address in list(self.name_servers):
            try:
                with Client(address) as client:
                    answer = client.call(wire.ROUTE, {"topic": self.topic})
                if answer.code == wire.SUCCESS:
                    self.route = {
                        data["brokerName"]: {int(number): parse_address(text) for number, text
                                             in data["brokerAddrs"].items()}
                        for data in parse_json(answer.body)["brokerDatas"]}
                return
            except GONE:
                self.name_servers.remove(address)
                self.name_servers.append(address)

    def address(self, group, number=0):
        return self.route.get("broker-" + group, {}).get(number)

    def goes_on(self):
        return not self.ending.is_set()


# --- producers --------------------------------------------------------------------------------------


class Lane:
    """One sender: its connections, a number for each message, and its own randomness."""

    def __init__(self, member, name):
        self.member, self.name = member, name
        self.numbers = itertools.count()
        self.chance = random.Random(name)
        self.connections = {}

    def client(self, group):
        if group not in self.connections:
            address = self.member.address(group)
            if address is None:
                raise OSError("no master of %s is known" % group)
            self.connections[group] = Client(address)
        return self.connections[group]

    def drop(self, group):
        connection = self.connections.pop(group, None)
        if connection:
            connection.abandon()

    def start(self, client, queue, **order):
        """Send a new message without waiting; returns (its name, opaque)."""
        name = "%s-%d" % (self.name, next(self.numbers))
        size = self.chance.choice((8, 100, 300, 300, 2000))
        body = (name.encode() + hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size + 24]
        self.member.history.write("sent", id=name, topic=self.member.topic, lane=self.name,
                                  sum=ledger.checksum(body), **order)
        try:
            return name, client.send(wire.SEND_V2, wire.send_header(
                self.member.topic, queue, {"UNIQ_KEY": name, "KEYS": name}), body)
        except GONE:
            self.failed(name)
            raise

    def finish(self, client, group, name, opaque):
        """False: refused, nothing is stored."""
        try:
            answer = client.read_answer(opaque)
        except GONE:
            self.failed(name)
            raise
        if answer.code not in STORED:
            self.failed(name, answer.code, answer.remark)
            return False
        self.member.history.write("acked", id=name, group=group, code=answer.code,
                                  queue=int(answer.ext["queueId"]),
                                  offset=int(answer.ext["queueOffset"]))
        return True

    def failed(self, name, code=None, remark=None):
        self.member.history.write("failed", id=name, code=code, remark=remark)


def roam(member):
    lane = Lane(member, member.name + "-roaming")
    for group in itertools.cycle(member.groups):
        if not member.goes_on():
            return
        try:
            client = lane.client(group)
            name, opaque = lane.start(client, lane.chance.randrange(member.queues))
            lane.finish(client, group, name, opaque)
        except GONE:
            lane.drop(group)
            continue
        time.sleep(0.01)


def burst(member, group):
    lane = Lane(member, "%s-burst-%s" % (member.name, group))
    flight = collections.deque()
    while member.goes_on():
        try:
            client = lane.client(group)
            while len(flight) < WINDOW // 2 + lane.chance.randrange(WINDOW // 2):
                flight.append(lane.start(client, lane.chance.randrange(member.queues)))
            for _ in range(WINDOW // 4):
                if not lane.finish(client, group, *flight.popleft()):
                    time.sleep(0.02)
            time.sleep(0.05)
        except GONE:
            for name, _ in flight:
                lane.failed(name)
            flight.clear()
            lane.drop(group)
            time.sleep(0.05)
    finish_burst(lane, group, flight)


def finish_burst(lane, group, flight):
    while flight:
        name, opaque = flight.popleft()
        try:
            lane.finish(lane.client(group), group, name, opaque)
        except GONE:
            for other, _ in flight:
                lane.failed(other)
            return


def keyed(member, group):
    lane = Lane(member, "%s-keyed-%s" % (member.name, group))
    for number in itertools.count():
        if not member.goes_on():
            return
        try:
            client = lane.client(group)
            name, opaque = lane.start(client, 0, key=lane.name, seq=number)
            lane.finish(client, group, name, opaque)
        except GONE:
            lane.drop(group)
            time.sleep(0.05)
        time.sleep(0.02)


def produce(member):
    member.run([(roam, member)] + [(loop, member, group) for loop in (burst, keyed)
                                   for group in member.groups])


# --- consumers --------------------------------------------------------------------------------------


class Reader:
    """One queue of one group of brokers. The master is tried first, and again REST_S after it failed."""

    def __init__(self, member, group, queue):
        self.member, self.group, self.queue = member, group, queue
        self.offset = 0
        self.client, self.source = None, None
        self.resting = {}

    def run(self):
        while self.member.goes_on():
            try:
                if self.choose():
                    self.read()
                else:
                    time.sleep(0.05)
            except GONE:
                self.resting[self.source] = time.monotonic() + REST_S
                self.drop()

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None

    def choose(self):
        """Go to the best broker that can be had. False: there is none."""
        now = time.monotonic()
        known = [number for number in sorted(self.member.route.get("broker-" + self.group, {}))
                 if self.resting.get(number, 0) < now]
        if not known:
            return False
        if self.client is None or self.source != known[0]:
            self.drop()
            self.source = known[0]
            self.client = Client(self.member.address(self.group, self.source), SUSPEND_S + ANSWER_S)
        return True

    def read(self):
        member = self.member
        answer = self.client.pull(member.topic, self.queue, self.offset, group=member.consumer_group,
                                  suspend_ms=SUSPEND_S * 1000,
                                  sys_flag=wire.SUBSCRIPTION | wire.SUSPEND)
        if answer.code != wire.SUCCESS:
            if answer.code not in (wire.PULL_NOT_FOUND,):
                time.sleep(0.1)  # behind the end of a slave that is behind, or not ready yet
            return
        for record in wire.decode_records(answer.body):
            member.history.write("got", member=member.name, topic=member.topic, group=self.group,
                                 queue=self.queue, offset=record.queue_offset,
                                 id=record.properties.get("UNIQ_KEY"), source=self.source,
                                 sum=ledger.checksum(record.body))
            self.offset = record.queue_offset + 1
        self.client.oneway(wire.UPDATE_OFFSET, {
            "consumerGroup": member.consumer_group, "topic": member.topic, "queueId": self.queue,
            "commitOffset": self.offset})


def consume(member):
    member.run([(Reader(member, group, queue).run,) for group in member.groups
                for queue in range(member.queues)])


def main():
    role, settings = sys.argv[1], json.loads(sys.argv[2])
    {"produce": produce, "consume": consume}[role](Member(**settings))


if __name__ == "__main__":
    main()
