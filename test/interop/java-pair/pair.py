# SPDX-License-Identifier: Apache-2.0
"""One of Apache's brokers and one of ours, as master and slave of one name, and load of Apache's
client all the time: the slave is killed and stopped and comes back, the master is killed. Then both
have the same log byte by byte, the same queues, topics, groups and offsets; consumers read from the
slave while there is no master; SYNC_MASTER answers as the slave's state demands, and what it has
acknowledged is on the slave when the master dies.
"""
import collections

import store
import tables
from cluster import Pair, Sends, received, until
from tables import check

TOPIC = "PairTopic"
QUEUES = 4
THREADS = 4
ALONE = "CG_from_slave"
POLL_MS = 1000
STEP_MESSAGES = 1200
ANSWERS = {"SEND_OK", "FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE"}


class PairCase:
    def __init__(self, apache_master, apache_slave, role):
        self.apache_master = apache_master
        self.apache_slave = apache_slave
        self.role = role
        self.sync = role == "SYNC_MASTER"
        self.pair = Pair()
        self.master = self.pair.a
        self.slave = self.pair.b
        self.ledger = tables.Ledger(self.master.settings["messageDelayLevel"])
        self.sends = []  # paths of finished ledgers of traffic
        self.path = None
        self.rows = {}

    # --- small things ---

    def produce(self):
        self.path = self.pair.new_path("sends")
        self.pair.traffic.do("produce", TOPIC, self.path, THREADS, 0)

    def count(self, messages):
        self.pair.traffic.do("count", messages)

    def halt(self):
        self.pair.traffic.do("halt")
        self.sends.append(self.path)

    def await_status(self, *wanted):
        """Until sends are answered so. With ASYNC_MASTER they always are SEND_OK."""
        if not self.sync:
            wanted = ("SEND_OK",)
        until("a send to be answered %s" % (wanted,),
              lambda: self.pair.traffic.do("status", "StatusTopic") in wanted)

    def acknowledged(self, statuses=None):
        places = {}
        for path in self.sends:
            for place, number in Sends(path).stored(statuses).items():
                check(place not in places, "%s was told to two messages" % (place,))
                places[place] = number
        return places

    def check_traffic(self, rows, statuses=None):
        """Each message that was acknowledged with one of these statuses is in its place."""
        wanted = self.acknowledged(statuses)
        for (queue, offset), number in wanted.items():
            row = rows.get((TOPIC, queue, offset))
            check(row is not None, "message %d was acknowledged at %d of queue %d and is not there"
                  % (number, offset, queue))
            check(row["keys"] == str(number), "message %d was acknowledged at %d of queue %d; there "
                  "is %s" % (number, offset, queue, row))
        return len(wanted)

    # --- steps ---

    def starts(self):
        self.master.open(self.apache_master, self.role)
        self.pair.connect(POLL_MS)
        pair = self.pair
        for topic in (TOPIC, "StatusTopic"):
            pair.traffic.do("topic", pair.namesrv, self.master.broker, topic, QUEUES)
        until("the route", lambda: "not there" not in self._status())
        self.await_status("SLAVE_NOT_AVAILABLE")
        self.slave.open(self.apache_slave, "SLAVE")
        self.await_status("SEND_OK")
        # An empty slave of 4.9.2 speaks after 5 s, and gets the last file that is there then.
        pair.await_caught_up(self.master, self.slave)

    def _status(self):
        try:
            return self.pair.traffic.do("status", "StatusTopic")
        except AssertionError:
            return "not there"

    def follows(self):
        """Messages of every kind, and many of one."""
        pair = self.pair
        self.produce()
        pair.look_at(self.master)
        pair.hands.do("topics")
        flags = ["txn"] + (["ipv6"] if store.has_ipv6() else [])
        pair.hands.do("write", "pair", pair.path("ledger"), store.LARGE_BYTES, ",".join(flags))
        self.ledger.add(pair.path("ledger"))
        pair.hands.do("consume", "CG_plain", "PlainTopic", pair.path("taken"))
        self.count(STEP_MESSAGES)
        pair.await_caught_up(self.master, self.slave)

    def slave_returns(self, kill):
        """Under load; SYNC_MASTER says that nobody has the messages meanwhile, and that the slave has
        them afterwards."""
        self.count(STEP_MESSAGES // 4)
        self.slave.end(kill)
        self.await_status("SLAVE_NOT_AVAILABLE")
        before = self.master.end_pos()
        until("a megabyte without the slave", lambda: self.master.end_pos() - before > 1 << 20)
        self.slave.open(self.apache_slave, "SLAVE")
        self.await_status("SEND_OK")
        self.count(STEP_MESSAGES)
        self.pair.await_caught_up(self.master, self.slave)

    def is_equal(self):
        pair = self.pair
        self.halt()
        pair.await_quiet(self.master, self.slave)
        segments = pair.check_logs(self.master.end_pos())
        check(segments >= 5, "the log has %d segments" % segments)
        pair.check_states(self.master, self.slave)

    def master_dies(self):
        """Under load. The slave has what it had, and with SYNC_MASTER all that was acknowledged."""
        pair = self.pair
        self.rows = pair.dump(self.master)
        self.check_traffic(self.rows)
        pair.await_quiet(self.master, self.slave)
        self.produce()
        self.count(STEP_MESSAGES // 2)
        self.master.end(kill=True)
        self.halt()

    def slave_serves(self):
        pair = self.pair

        def everything():
            rows = pair.dump(self.slave)
            lacking = collections.Counter(topic for topic, _, _ in self.rows.keys() - rows.keys())
            check(not lacking, "of %d messages that it had the slave lacks, by topic: %s" % (
                len(self.rows), dict(lacking)))
            return rows

        # With two of Apache's brokers something was missing once, for a reason that was not found.
        rows = until("the slave to serve", everything) if self.apache_slave else everything()
        tables.check_kept(self.rows, rows)
        self.ledger.check_acknowledged(rows)
        done = self.sends if self.sync else self.sends[:-1]
        everything, self.sends = self.sends, done
        count = self.check_traffic(rows, {"SEND_OK"} if self.sync else ANSWERS)
        self.sends = everything
        check(count >= STEP_MESSAGES, "only %d messages were acknowledged" % count)
        # A group that nobody knows yet reads all of it from the slave.
        wanted = {(queue, offset) for topic, queue, offset in rows if topic == TOPIC}
        path = pair.new_path("taken")
        pair.traffic.do("consume", ALONE, TOPIC, path)
        until("the consumer to get %d messages from the slave" % len(wanted),
              lambda: received(path).keys() >= wanted)
        pair.traffic.do("leave")
        taken = received(path)
        for place in wanted:
            check(str(taken[place]) == rows[(TOPIC,) + place]["keys"], "message %s at %s is %s" % (
                taken[place], place, rows[(TOPIC,) + place]))

    def master_returns(self):
        pair = self.pair
        self.master.open(self.apache_master, self.role)
        self.await_status("SEND_OK")
        self.produce()
        self.count(STEP_MESSAGES // 2)
        self.halt()
        pair.await_quiet(self.master, self.slave)
        rows = pair.dump(self.master)
        tables.check_kept(self.rows, rows)
        self.check_traffic(rows)
        pair.check_logs(self.master.end_pos())
        # What a consumer commits at the slave stays there: a master asks no slave.
        pair.check_states(self.master, self.slave, [TOPIC + "@" + ALONE, "%RETRY%" + ALONE + "@" + ALONE])

    def stays_equal(self):
        """What both leave on disk when they are stopped."""
        self.pair.end_equal(self.master, self.slave)

    def run(self, suite, name):
        try:
            suite.run([
                (name + "/starts", self.starts),
                (name + "/follows under load", self.follows),
                (name + "/slave killed, and back", lambda: self.slave_returns(True)),
                (name + "/slave stopped, and back", lambda: self.slave_returns(False)),
                (name + "/same log, topics, groups, offsets", self.is_equal),
                (name + "/master killed under load", self.master_dies),
                (name + "/slave serves what was acknowledged", self.slave_serves),
                (name + "/master back, slave follows", self.master_returns),
                (name + "/same files on disk", self.stays_equal),
            ]) or print(self.pair.logs())
        finally:
            self.pair.close()
