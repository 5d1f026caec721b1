# SPDX-License-Identifier: Apache-2.0
"""A master and its slaves, as processes: the log of a slave is its master's, byte for byte, through
ends, crashes and cut connections of either; and slaves that are refused, with what both sides say.
"""

import glob
import os
import shutil
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


def log_files(broker):
    return sorted(glob.glob(os.path.join(broker.options["storePathRootDir"], "commitlog", "*")))


def log_bytes(broker, begin, end, segment_bytes=SEGMENT_BYTES):
    """The bytes [begin, end) of a broker's commit log."""
    data = b""
    for path in log_files(broker):
        base = int(os.path.basename(path))
        if base < end and base + segment_bytes > begin:
            with open(path, "rb") as file:
                file.seek(max(begin - base, 0))
                data += file.read(min(end, base + segment_bytes) - max(begin, base))
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


class Relay:
    """A port in front of the master's that can be cut: at any time, or after so many bytes. With
    dies_in_silence the master hears nothing of it when the slave ends."""

    def __init__(self, test, target_port, dies_in_silence=False):
        self.target_port = target_port
        self.dies_in_silence = dies_in_silence
        self.limit = None
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()
        test.addCleanup(self.close)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # ends the accepting thread, too
        self.listener.close()
        self.cut()

    def cut(self):
        for one in self.open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open = []

    def _accept(self):
        while True:
            near = None
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                if near is None:
                    return
                near.close()  # the master is away
                continue
            self.connections += 1
            self.open += [near, far]
            threading.Thread(target=self._copy, args=(near, far, None, self.dies_in_silence),
                             daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, self.limit, False),
                             daemon=True).start()

    @staticmethod
    def _copy(source, target, limit, silent):
        passed = 0
        try:
            while data := source.recv(1 << 16):
                if limit is not None:
                    data = data[:limit - passed]
                target.sendall(data)
                passed += len(data)
                if passed == limit:
                    break
        except OSError:
            pass
        if silent:
            return
        try:
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        source.close()


class PairTest(unittest.TestCase):
    def test_the_log_is_the_masters(self):
        pair = Pair(self).start()
        pair.send(2500)
        pair.await_equal()
        self.assertGreater(len(log_files(pair.slave)), 2)
        with pair.slave.client() as client:
            for queue in range(4):
                wait_until(lambda q=queue: client.max_offset("T", q) == 625, "the slave's queues")
        self.assertIn("slave joined", pair.master.log())
        self.assertIn("protocol=2", pair.master.log())

    def test_either_is_restarted(self):
        pair = Pair(self).start()
        pair.send(100)
        pair.slave.stop()
        pair.send(100, seed=1)
        pair.slave.start()
        pair.await_equal()
        pair.master.restart()
        pair.send(100, seed=2)
        pair.await_equal()

    def test_a_master_that_stops_sends_what_is_left(self):
        pair = Pair(self).start()
        pair.send(1)
        pair.await_equal()
        pair.send(300, size=10000)
        pair.master.stop()
        self.assertEqual(log_bytes(pair.slave, 0, pair.end), log_bytes(pair.master, 0, pair.end))

    def test_either_is_killed(self):
        pair = Pair(self).start()
        for round_number in range(2):
            for victim in (pair.slave, pair.master):
                pair.send(200, seed=round_number)
                victim.kill()
                victim.start()
                pair.send(20, seed=9)
                pair.await_equal()

    def test_its_masters_address_is_long(self):
        pair = Pair(self)
        pair.master.start()
        pair.send(10)
        slave = pair.new_slave(haMasterAddress="0" * 200 + f"177.0.0.1:{pair.ha_port}")
        slave.start()
        pair.await_equal(slave)

    def test_the_machine_of_a_slave_died(self):
        """Its master does not learn of that. The slave that is started again need not wait until it
        has: here that would be ten minutes."""
        pair = Pair(self, master={"haHousekeepingInterval": 600000})
        pair.master.start()
        relay = Relay(self, pair.ha_port, dies_in_silence=True)
        slave = pair.new_slave(haMasterAddress=relay.address)
        slave.start()
        for seed in range(2):
            pair.send(10, seed=seed)
            pair.await_equal(slave)
            slave.kill()
            slave.start()
        pair.send(10, seed=2)
        pair.await_equal(slave)
        self.assertNotIn("slave refused", pair.master.log())
        self.assertIn("a newer connection has taken its place", pair.master.log())

    def test_two_slaves_and_one_that_flushes(self):
        pair = Pair(self, slave={"flushDiskType": "SYNC_FLUSH"}).start()
        other = pair.new_slave(2)
        other.start()
        pair.send(300)
        pair.await_equal()
        pair.await_equal(other)

    def test_a_new_slave_begins_where_the_masters_log_does(self):
        pair = Pair(self)
        pair.master.start()
        pair.send(3500)
        pair.master.stop()
        os.remove(log_files(pair.master)[0])  # as if it had expired
        pair.master.start()
        pair.slave.start()
        pair.await_equal(begin=SEGMENT_BYTES)
        self.assertEqual(log_begin(pair.slave), SEGMENT_BYTES)
        pair.slave.restart()
        pair.send(100)
        pair.await_equal(begin=SEGMENT_BYTES)

    def test_the_connection_is_cut_again_and_again(self):
        pair = Pair(self)
        pair.master.start()
        relay = Relay(self, pair.ha_port)
        slave = pair.new_slave(haMasterAddress=relay.address)
        slave.start()
        pair.send(3000)
        relay.limit = 700_001 # less than there is
        pair.send(300, seed=1)
        relay.cut()
        pair.send(300, size=5000, seed=2)
        pair.await_equal(slave)
        for limit in (1, 11, 12, 13, 100, 1000):
            relay.limit = limit
            relay.cut()
            before = relay.connections
            wait_until(lambda: relay.connections > before, "it comes again")
        relay.limit = None
        relay.cut()
        pair.send(100, seed=3)
        pair.await_equal(slave)


class RefusedTest(unittest.TestCase):
    """Slaves that get nothing: both sides say why and what to do, and it goes on by itself once that
    has been done."""

    def refused(self, pair, slave, words, master_too=True):
        slave.start()
        wait_until(lambda: words in slave.log(), f"{words!r} in {slave.log()[-1500:]}")
        self.assertIn("this slave gets nothing", slave.log())
        if master_too:
            wait_until(lambda: words in pair.master.log(), f"{words!r} is said by the master")
            self.assertIn("slave refused", pair.master.log())

    def test_it_is_another_ones(self):
        pair = Pair(self)
        pair.master.start()
        pair.send(10)
        for option, value, words in (
                ("brokerClusterName", "Other",
                 'its brokerClusterName is "Other", the master\'s "DefaultCluster"'),
                ("brokerName", "broker-b", 'its brokerName is "broker-b", the master\'s "broker-a"'),
                ("mappedFileSizeCommitLog", 2 << 20,
                 "its log files have 2097152 bytes, the master's 1048576")):
            with self.subTest(option):
                slave = pair.new_slave(**{option: value})
                self.refused(pair, slave, words)
                self.assertEqual(slave.log().count("this slave gets nothing"), 1)
                slave.stop()
                slave.options[option] = pair.master.options.get(option, "DefaultCluster")
                slave.write_config()
                slave.start()
                pair.await_equal(slave)
                slave.stop()

    def test_several_are_each_told_of_once(self):
        pair = Pair(self)
        pair.master.start()
        slaves = [pair.new_slave(1, brokerName=f"other-{number}") for number in range(2)]
        for times in (1, 2):
            for slave in slaves:  # in turns; each asks at once when it is started
                slave.start()
                wait_until(lambda: slave.log().count("this slave gets nothing") == times,
                           "it is refused")
                wait_until(lambda: f'is "{slave.options["brokerName"]}"' in pair.master.log(),
                           "the master says so, once a second at most")
                slave.stop()
        self.assertEqual(pair.master.log().count("slave refused"), 2)

    def test_its_id_is_another_slaves(self):
        pair = Pair(self).start()
        pair.send(10)
        pair.await_equal()
        other = pair.new_slave(1)
        self.refused(pair, other, "with brokerId 1 is connected; each slave of a master needs its own")
        pair.slave.stop()
        pair.await_equal(other)

    def test_its_store_was_another_brokers(self):
        pair = Pair(self)
        pair.master.start()
        other = Pair(self, master={"brokerName": "broker-b"})
        other.master.start()
        other.send(10, seed=7)
        other.master.stop()
        pair.send(100)
        slave = pair.new_slave(storePathRootDir=other.master.options["storePathRootDir"])
        self.refused(pair, slave,
                     'its store was begun by broker "broker-b" of cluster "DefaultCluster"')

    def test_two_slaves_with_copies_of_one_store(self):
        """They would take each other's place for ever. Once the copy has an identity and a brokerId
        of its own both are served."""
        pair = Pair(self).start()
        pair.send(10)
        pair.await_equal()
        pair.slave.stop()
        copy = pair.new_slave(1)
        shutil.copytree(pair.slave.options["storePathRootDir"], copy.options["storePathRootDir"])
        pair.slave.start()
        pair.await_equal()
        wait_until(lambda: pair.master.log().count("slave joined") == 2, "it is back")
        copy.start()
        words = "have one storeIdentity.json"
        wait_until(lambda: words in pair.master.log(), "the copy is noticed")
        wait_until(lambda: words in pair.slave.log() + copy.log(), "it is told")
        refused, served = (copy, pair.slave) if words in copy.log() else (pair.slave, copy)
        joined = pair.master.log().count("slave joined")
        time.sleep(11)  # it tries every five seconds
        self.assertEqual(pair.master.log().count("slave joined"), joined)
        self.assertNotIn(words, served.log())
        pair.send(10, seed=1)
        pair.await_equal(served)
        refused.stop()
        for name in glob.glob(os.path.join(refused.options["storePathRootDir"], "storeIdentity*")):
            os.remove(name)
        refused.options["brokerId"] = 2
        refused.write_config()
        refused.start()
        pair.send(10, seed=2)
        pair.await_equal(refused)
        pair.await_equal(served)

    def test_it_has_more_than_the_master(self):
        pair = Pair(self).start()
        pair.send(100)
        pair.await_equal()
        pair.master.stop()
        for path in log_files(pair.master):
            os.remove(path)
        for name in ("consumequeue", "checkpoint", "config"):
            path = os.path.join(pair.master.options["storePathRootDir"], name)
            os.rename(path, path + ".old")
        before = log_bytes(pair.slave, 0, pair.end)
        pair.master.start()
        wait_until(lambda: "behind the master's, which ends at" in pair.slave.log(), "refused")
        pair.send(200, seed=5)  # now the master has more, but another history
        pair.slave.restart()
        wait_until(lambda: "is not in the master's log" in pair.slave.log(),
                   f"refused: {pair.slave.log()[-1500:]}")
        self.assertEqual(log_bytes(pair.slave, 0, len(before)), before)

    def test_it_has_more_while_the_master_goes_on(self):
        """The positions that the words name change from one try to the next: no news."""
        pair = Pair(self).start()
        pair.send(500)
        pair.await_equal()
        pair.slave.stop()
        pair.master.stop()
        for name in ("commitlog", "consumequeue", "checkpoint", "config"):
            path = os.path.join(pair.master.options["storePathRootDir"], name)
            os.rename(path, path + ".old")
        pair.master.start()
        pair.send(1)  # what is said of an empty master is another word
        relay = Relay(self, pair.ha_port)
        pair.slave.options["haMasterAddress"] = relay.address
        pair.slave.write_config()
        words = "behind the master's, which ends at"
        self.refused(pair, pair.slave, words)
        for seed in range(2):
            pair.send(10, seed=seed)
            before = relay.connections
            wait_until(lambda: relay.connections > before, "it tries again")
        for log in (pair.master.log(), pair.slave.log()):
            self.assertEqual(log.count(words), 1, log[-1500:])

    def test_it_is_behind_what_has_expired(self):
        pair = Pair(self).start()
        pair.send(100)
        pair.await_equal()
        pair.slave.stop()
        pair.send(2500)
        pair.master.stop()
        os.remove(log_files(pair.master)[0])
        pair.master.start()
        self.refused(pair, pair.slave, "but the master's begins at 1048576")


if __name__ == "__main__":
    rocketmq.main("replication")
