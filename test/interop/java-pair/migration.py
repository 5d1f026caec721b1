# SPDX-License-Identifier: Apache-2.0
"""The ways of docs/migration.md, walked while Apache's producer and consumer go on: a pair of Apache's
brokers becomes a pair of ours, one broker at a time, and becomes Apache's again (Migration); the
same with the master moving to the other host (Move). Nothing that was acknowledged is lost or has
changed its place, and sends stand still no longer than a broker is away.
"""
import functools
import json
import os
import subprocess
import time

from cluster import Pair, Sends, read_lines, received, servers, until
from tables import check

TOPIC = "MigrationTopic"
GROUP = "CG_migration"
QUEUES = 4
THREADS = 2
PAUSE_MS = 3
STEP_MESSAGES = 500
# What a busy machine, a client's retries and a send that waits for a slave in vain may add. The
# first is for sends; consumers wait for the client's next heartbeat, too.
SLACK_MS = 20000
HEARTBEAT_MS = 30000
MOVES_MAX = 5


def longest_gap_ms(times, began_ms=0, ended_ms=float("inf")):
    """The longest time between two events, of those that end within a step."""
    return max((after - before for before, after in zip(times, times[1:])
                if began_ms < after <= ended_ms), default=0)


class Drill:
    """Both brokers are `old` in the beginning; True is Apache's."""

    POLL_MS = 30000

    def __init__(self, old, new, role):
        self.old = old
        self.new = new
        self.role = role
        self.sync = role == "SYNC_MASTER"
        self.pair = Pair()
        self.path = self.pair.path("sends")
        self.taken = self.pair.path("taken")
        self.away_ms = 0  # the longest time for which there was no master
        self.ended = []  # (title, ms of the monotonic clock, which Java's is too) of each step
        self.master = self.pair.a
        self.slave = self.pair.b

    # --- what an operator does ---

    def begins(self):
        pair = self.pair
        self.master.open(self.old, self.role)
        self.slave.open(self.old, "SLAVE")
        pair.connect(self.POLL_MS)
        for topic in (TOPIC, "StatusTopic"):
            pair.traffic.do("topic", pair.namesrv, self.master.broker, topic, QUEUES)
        until("the route", lambda: pair.traffic.do("status", "StatusTopic"))
        # An empty slave of 4.9.2 speaks after 5 s, and gets the last file that is there then.
        pair.await_caught_up(self.master, self.slave)
        pair.traffic.do("consume", GROUP, TOPIC, self.taken)
        pair.traffic.do("produce", TOPIC, self.path, THREADS, PAUSE_MS)
        self.goes_on()

    def goes_on(self):
        """The slave has come near, and the cluster does its work."""
        pair = self.pair
        pair.await_caught_up(self.master, self.slave)
        if self.sync:
            until("the slave to count", lambda: pair.traffic.do("status", "StatusTopic") == "SEND_OK")
        pair.traffic.do("count", STEP_MESSAGES)
        pair.await_caught_up(self.master, self.slave)
        until("the slave's queues", self.slave.is_dispatched)

    def replace_slave(self, apache):
        self.slave.end()
        self.slave.open(apache, "SLAVE")
        self.goes_on()

    def replace_master(self, apache):
        """On its own directory."""
        began = time.monotonic()
        self.master.end()
        self.master.open(apache, self.role)
        self.was_away(began)
        self.goes_on()

    def was_away(self, began):
        self.away_ms = max(self.away_ms, 1000 * (time.monotonic() - began))

    # --- what must hold ---

    def nothing_is_lost(self):
        pair = self.pair
        pair.traffic.do("halt")
        pair.await_quiet(self.master, self.slave)
        stored = Sends(self.path).stored()
        until("the consumer to get all that was acknowledged",
              lambda: received(self.taken).keys() >= stored.keys())
        pair.traffic.do("leave")
        taken = received(self.taken)
        for place, number in stored.items():
            check(taken[place] == number, "message %d was acknowledged at %s; there is %d" % (
                number, place, taken[place]))
        pair.check_logs(self.master.end_pos())
        pair.check_states(self.master, self.slave)

    def no_long_gap(self):
        sends = Sends(self.path)
        acknowledged = sorted(ended for _, ended, _, status, _, _, _ in sends.rows
                              if status != "ERROR")
        taken = [int(line[0]) for line in read_lines(self.taken)]
        began_ms = 0
        for title, ended_ms in self.ended:
            print("    %-40s no acknowledgement for %5d ms, no message for %5d ms" % (
                title, longest_gap_ms(acknowledged, began_ms, ended_ms),
                longest_gap_ms(taken, began_ms, ended_ms)))
            began_ms = ended_ms
        print("    without a master for %d ms at most; %d of %d sends failed, %d messages came twice"
              % (self.away_ms, len(sends.errors()), len(sends.rows),
                 len(taken) - len(received(self.taken))), flush=True)
        gap_ms = longest_gap_ms(acknowledged)
        check(gap_ms <= self.away_ms + self.client_ms() + SLACK_MS, "no acknowledgement for %d ms"
              % gap_ms)
        gap_ms = longest_gap_ms(taken)
        check(gap_ms <= self.away_ms + self.client_ms() + HEARTBEAT_MS + SLACK_MS,
              "no message for the consumer for %d ms" % gap_ms)

    def client_ms(self):
        """What clients add before they know where the master is."""
        return 0

    def ends(self):
        self.pair.end_equal(self.master, self.slave)

    def step(self, title, action):
        action()
        self.ended.append((title, time.monotonic() * 1000))

    def run(self, suite, name):
        try:
            steps = [(title, functools.partial(self.step, title, action))
                     for title, action in self.steps()]
            suite.run([(name + "/" + title, action) for title, action in steps + [
                ("nothing is lost", self.nothing_is_lost),
                ("no gap longer than a restart", self.no_long_gap),
                ("both stores are whole and equal", self.ends)]]) or print(self.pair.logs())
        finally:
            self.pair.close()


class Migration(Drill):
    """Clients are as they come, with their default settings."""

    def steps(self):
        return [
            ("a pair of Apache's under traffic", self.begins),
            ("slave: ours", lambda: self.replace_slave(self.new)),
            ("slave: back", lambda: self.replace_slave(self.old)),
            ("slave: ours again", lambda: self.replace_slave(self.new)),
            ("master: ours", lambda: self.replace_master(self.new)),
            ("slave: Apache's", lambda: self.replace_slave(self.old)),
            ("master: Apache's", lambda: self.replace_master(self.old)),
        ]


class Move(Drill):
    """The master goes to the slave's host. Clients ask for the route every second, as the guide
    advises for this; else they would go on to the old host for half a minute."""

    POLL_MS = 1000

    def client_ms(self):
        return self.POLL_MS

    def move_master(self, apache):
        began = time.monotonic()
        for _ in range(MOVES_MAX):
            self.master.end()
            end = self._end_on_disk(self.master)
            if self._reaches(self.slave, end):
                break
            # It has not got all of it: nothing has happened yet, the master returns.
            self.master.open(self.master.apache, self.role)
            self.pair.await_caught_up(self.master, self.slave)
        else:
            raise AssertionError("the slave never has all of the master's log")
        self.slave.end()
        check(self._end_on_disk(self.slave) == end, "the slave's log ends at %d, the master's at %d"
              % (self._end_on_disk(self.slave), end))
        self.master, self.slave = self.slave, self.master
        self.master.open(apache, self.role)
        self.was_away(began)
        self.slave.open(self.slave.apache, "SLAVE")
        self.goes_on()

    @staticmethod
    def _end_on_disk(place):
        found = subprocess.run(
            [os.path.join(servers.BUILD, "bin", "mqstore"), "info", "--json", "-c",
             os.path.join(place.folder, "broker.conf")], capture_output=True, text=True, check=True)
        return json.loads(found.stdout.splitlines()[0])["logEnd"]

    @staticmethod
    def _reaches(slave, end):
        deadline = time.monotonic() + 10
        while slave.end_pos() < end and time.monotonic() < deadline:
            time.sleep(0.1)
        return slave.end_pos() == end

    def steps(self):
        return [
            ("a pair of Apache's under traffic", self.begins),
            ("slave: ours", lambda: self.replace_slave(self.new)),
            ("the master moves to it", lambda: self.move_master(self.new)),
            ("the old host: ours", lambda: self.replace_slave(self.new)),
            ("the master moves back", lambda: self.move_master(self.new)),
            ("slave: Apache's", lambda: self.replace_slave(self.old)),
            ("the master moves to it", lambda: self.move_master(self.old)),
        ]
