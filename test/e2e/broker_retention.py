# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged and is still to be delivered outlives the limits of the log: delayed messages,
open half messages and popped ones stay on the master, and on a slave until its master has delivered them.

Source of the rules: broker/store/retention.h, broker/proc/undelivered.h; docs/store.md, "Cleaning".
"""

import os
import unittest

import rocketmq
from broker import Broker, RUNTIME_INFO, SUCCESS
from broker_pop import ACK, POP, pop_header, read_popped
from broker_transactions import COMMIT, END, Half, NEVER_MS
from rocketmq import wait_until
from slave import ALL_DELAYS, SlaveTest, topics_of

MIB = 1 << 20
SMALL = {"mappedFileSizeCommitLog": MIB, "maxMessageSize": 262144, "cleanResourceInterval": 100,
         "deleteCommitLogFilesInterval": 1, "messageDelayLevel": "1s 10s 1h"}
LIMITED = {**SMALL, "commitLogBytesMax": 3 * MIB}


def log_bounds(client):
    table = client.call(RUNTIME_INFO).json()["table"]
    return int(table["commitLogMinOffset"]), int(table["commitLogMaxOffset"])


def fill(client, mebibytes):
    for i in range(mebibytes * 8):
        answer = client.produce("Fill", b"%d " % i + b"x" * (MIB // 8))
        assert answer.code == SUCCESS, answer


class Retention(unittest.TestCase):
    def start(self, **options):
        self.broker = Broker(**{**LIMITED, **options})
        self.addCleanup(self.broker.remove)
        self.broker.start()
        client = self.broker.client()
        self.addCleanup(client.close)
        for topic in ("T", "Fill"):
            self.assertEqual(client.create_topic(topic).code, SUCCESS)
        return client

    def is_told(self, what):
        """Why a file stays: after that, some rounds have looked at it."""
        wait_until(lambda: f'an old commit log file stays: it has messages still to be delivered '
                           f'what="{what}" would_go_because="the log is larger than '
                           f'commitLogBytesMax"' in self.broker.log(), "the log tells why")

    def test_delayed_messages_stay(self):
        client = self.start()
        self.assertEqual(client.produce("T", b"late", 0, {"DELAY": "2"}).code, SUCCESS)
        fill(client, 8)
        self.is_told("delayed messages")
        wait_until(lambda: client.max_offset("T") == 1, "it is delivered")
        record, = client.read_queue("T")
        self.assertEqual(record.body, b"late")
        wait_until(lambda: log_bounds(client)[0] >= 4 * MIB, "then the files go")

    def test_one_that_is_due_much_later(self):
        client = self.start()
        self.assertEqual(client.produce("T", b"soon", 0, {"DELAY": "1"}).code, SUCCESS)
        fill(client, 2)
        self.assertEqual(client.produce("T", b"much later", 0, {"DELAY": "3"}).code, SUCCESS)
        fill(client, 8)
        self.is_told("delayed messages")
        begin, end = log_bounds(client)
        self.assertLessEqual(begin, 2 * MIB)
        self.assertGreater(end, 10 * MIB)
        self.assertEqual(self.broker.stop(), 0)
        self.broker.start()  # the same after a start
        with self.broker.client() as again:
            fill(again, 2)
            self.assertLessEqual(log_bounds(again)[0], 2 * MIB)

    def test_half_messages_stay(self):
        client = self.start(transactionCheckInterval=NEVER_MS)
        answer = client.produce("T", b"open", 0, {"TRAN_MSG": "true", "PGROUP": "PG",
                                                  "UNIQ_KEY": "K"})
        self.assertEqual(answer.code, SUCCESS, answer)
        fill(client, 8)
        self.is_told("messages of transactions")
        answer = client.call(END, Half(answer.ext, "PG").end(COMMIT))
        self.assertEqual(answer.code, SUCCESS, answer)
        wait_until(lambda: client.max_offset("T") == 1, "it is there")

    def test_popped_messages_stay(self):
        """Until they are acknowledged; as others of their queue do not."""
        client = self.start()
        for body in (b"done", b"open"):
            self.assertEqual(client.produce("T", body).code, SUCCESS)
        wait_until(lambda: client.max_offset("T") == 2, "they are readable")
        done, still = read_popped(client.call(POP, pop_header("T")))
        self.acknowledge(client, done)
        fill(client, 8)
        self.is_told("popped messages")
        self.assertEqual(log_bounds(client)[0], 0)
        self.broker.kill()
        self.broker.start()
        with self.broker.client() as again:
            fill(again, 2)
            self.assertEqual(log_bounds(again)[0], 0)
            self.acknowledge(again, still)
            wait_until(lambda: log_bounds(again)[0] >= 4 * MIB, "then the files go")

    def test_what_is_popped_for_very_long_keeps_nothing(self):
        """Or one pop of one client could have the disk filled."""
        client = self.start()
        self.assertEqual(client.produce("T", b"mine").code, SUCCESS)
        wait_until(lambda: client.max_offset("T") == 1, "it is readable")
        taken, = read_popped(client.call(POP, pop_header(
            "T", invisible_ms=10 * 365 * 86400000)))
        self.assertEqual(taken.body, b"mine")
        fill(client, 8)
        wait_until(lambda: log_bounds(client)[0] >= 4 * MIB, "the files go")

    def acknowledge(self, client, message):
        wait_until(lambda: client.call(ACK, {
            "consumerGroup": "G", "topic": "T", "queueId": 0, "extraInfo": message.handle,
            "offset": message.offset}).code == SUCCESS, "it is acknowledged")

    def test_what_has_ended_goes(self):
        """Once a round of checks has seen that."""
        client = self.start(transactionCheckInterval=500, transactionTimeOut=0)
        answer = client.produce("T", b"done", 0, {"TRAN_MSG": "true", "PGROUP": "PG",
                                                  "UNIQ_KEY": "K"})
        self.assertEqual(client.call(END, Half(answer.ext, "PG").end(COMMIT)).code, SUCCESS)
        fill(client, 8)
        wait_until(lambda: log_bounds(client)[0] >= 4 * MIB, "the files go")


class Slave(SlaveTest):
    """A slave that may keep less than its master."""

    def setUp(self):
        self.server = self.name_server()
        self.master = self.broker(self.server, **SMALL).start()
        self.at_master = self.connect(self.master)
        for topic in ("T", "Fill"):
            self.assertEqual(self.at_master.create_topic(topic).code, SUCCESS)
        self.slave_broker = self.slave(self.server, **LIMITED).start()
        self.at_slave = self.connect(self.slave_broker)

    def same_log(self):
        return log_bounds(self.at_slave)[1] == log_bounds(self.at_master)[1]

    def become_master(self):
        self.at_slave.close()
        self.slave_broker.stop()
        os.unlink(self.slave_broker.config_file)
        self.slave_broker.options.update(brokerRole="ASYNC_MASTER", brokerId=0)
        self.slave_broker.start()
        self.at_slave = self.connect(self.slave_broker)

    def test_a_slave_keeps_what_its_master_has_to_deliver(self):
        self.at_master.produce("T", b"late", 0, {"DELAY": "2"})
        fill(self.at_master, 8)
        wait_until(self.same_log, "the slave has the log")
        wait_until(lambda: "T" in topics_of(self.at_slave), "the slave has the topic")
        wait_until(lambda: 'stays: it has messages still to be delivered what="delayed messages"'
                   in self.slave_broker.log(), "the slave tells why a file stays")
        self.master.kill()
        self.become_master()
        wait_until(lambda: self.at_slave.max_offset("T") >= 1, "it is delivered")
        self.assertEqual({record.body for record in self.at_slave.read_queue("T")}, {b"late"})

    def test_it_goes_when_the_master_has_delivered_it(self):
        self.at_master.produce("T", b"late", 0, {"DELAY": "1"})
        self.at_master.produce("T", b"timer", 0, {"TIMER_DELAY_MS": "1000"})
        fill(self.at_master, 8)
        wait_until(self.same_log, "the slave has the log")
        wait_until(lambda: self.at_slave.call(ALL_DELAYS).json()["offsetTable"].get(1) == 1,
                   "the slave knows that it is delivered")
        wait_until(lambda: 'what="timers of the master"' in self.slave_broker.log(),
                   "a timer's message is there still")
        # As soon as the master has no use for its old files any more.
        answer = self.at_master.call(25, {}, b"commitLogBytesMax=%d" % (3 * MIB))
        self.assertEqual(answer.code, SUCCESS, answer)
        wait_until(lambda: log_bounds(self.at_master)[0] >= 4 * MIB, "the master's files go")
        wait_until(lambda: log_bounds(self.at_slave)[0] >= 4 * MIB, "then the slave's, too")

    def test_timers_that_are_pending(self):
        self.at_master.produce("T", b"timer", 0, {"TIMER_DELAY_MS": "20000"})
        fill(self.at_master, 8)
        wait_until(self.same_log, "the slave has the log")
        wait_until(lambda: "T" in topics_of(self.at_slave), "the slave has the topic")
        wait_until(lambda: 'what="timers of the master"' in self.slave_broker.log(),
                   "the slave tells why a file stays")
        self.assertLess(log_bounds(self.at_slave)[0], MIB)
        self.master.kill()
        self.become_master()
        wait_until(lambda: self.at_slave.max_offset("T") >= 1, "it is delivered")
        self.assertEqual([record.body for record in self.at_slave.read_queue("T")], [b"timer"])


if __name__ == "__main__":
    rocketmq.main("broker_retention")
