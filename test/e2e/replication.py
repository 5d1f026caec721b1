# SPDX-License-Identifier: Apache-2.0
"""A master and its slaves, as processes: the log of a slave is its master's, byte for byte, through
ends, crashes and cut connections of either, and whatever finds the replication port harms nobody.

What 4.9.2's brokers say to each other is spoken here by hand, in both directions (section 8 of the
protocol notes; RMQ HAConnection, HAService.HAClient).
"""

import glob
import os
import signal
import socket
import struct
import threading
import time
import unittest

import rocketmq
from broker import SUCCESS, Broker
from rocketmq import wait_until

SEGMENT_BYTES = 1 << 20
OPTIONS = {"mappedFileSizeCommitLog": SEGMENT_BYTES, "maxMessageSize": 65536}
HEAD = struct.Struct(">qi")


def log_files(broker):
    return sorted(glob.glob(os.path.join(broker.options["storePathRootDir"], "commitlog", "*")))


def log_bytes(broker, begin, end):
    """The bytes [begin, end) of a broker's commit log."""
    data = b""
    for path in log_files(broker):
        base = int(os.path.basename(path))
        if base < end and base + SEGMENT_BYTES > begin:
            with open(path, "rb") as file:
                file.seek(max(begin - base, 0))
                data += file.read(min(end, base + SEGMENT_BYTES) - max(begin, base))
    return data


def log_begin(broker):
    return int(os.path.basename(log_files(broker)[0]))


class Pair:
    """A master and a slave. What is sent goes into `sent`; its end is `end`."""

    def __init__(self, test, master=None, slave=None):
        self.test = test
        self.master = Broker(**OPTIONS, **(master or {}))
        self.slave = self.new_slave(**(slave or {}))
        test.addCleanup(self.master.remove)
        self.end = 0

    def new_slave(self, broker_id=1, **options):
        slave = Broker(**{**OPTIONS, "brokerRole": "SLAVE", "brokerId": broker_id,
                          "haMasterAddress": self.ha_address, **options})
        self.test.addCleanup(slave.remove)
        return slave

    @property
    def ha_port(self):
        return self.master.port + 1

    @property
    def ha_address(self):
        return f"127.0.0.1:{self.ha_port}"

    def start(self):
        self.master.start()
        self.slave.start()
        return self

    def send(self, count, size=1000, seed=0):
        """Send to the master; all must be acknowledged."""
        with self.master.client() as client:
            client.create_topic("T", 4)
            for i in range(count):
                body = b"%d %d " % (seed, i) + bytes((seed + i + j) % 251 for j in range(size))
                answer = client.produce("T", body, queue_id=i % 4)
                self.test.assertEqual(answer.code, SUCCESS, answer)
                self.end = self.end_of(answer)
        return self

    def end_of(self, answer):
        """Behind the record of a message that was just sent."""
        pos = int(answer.ext["msgId"][16:], 16)
        return pos + struct.unpack(">i", log_bytes(self.master, pos, pos + 4))[0]

    def await_equal(self, slave=None, begin=0):
        slave = slave or self.slave

        def is_equal():
            return log_files(slave) and log_bytes(slave, begin, self.end) == \
                log_bytes(self.master, begin, self.end)

        wait_until(is_equal, f"the slave has the log up to {self.end}: {slave.log()[-2000:]}")


class PairTest(unittest.TestCase):
    def test_the_log_is_the_masters(self):
        pair = Pair(self).start()
        pair.send(2500)
        pair.await_equal()
        self.assertGreater(len(log_files(pair.slave)), 2)
        with pair.slave.client() as client:
            for queue in range(4):
                wait_until(lambda q=queue: client.max_offset("T", q) == 625, "the slave's queues")


if __name__ == "__main__":
    rocketmq.main("replication")
