# SPDX-License-Identifier: Apache-2.0
"""A master and its slaves, as processes: the log of a slave is its master's, byte for byte, through
ends, crashes and cut connections of either, and whatever finds the replication port harms nobody.

What 4.9.2's brokers say to each other is spoken here by hand, in both directions (section 8 of the
protocol notes; RMQ HAConnection, HAService.HAClient).
"""

import glob
import os
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
    """A port in front of the master's that can be cut: at any time, or after so many bytes."""

    def __init__(self, test, target_port):
        self.target_port = target_port
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
            threading.Thread(target=self._copy, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, self.limit), daemon=True).start()

    @staticmethod
    def _copy(source, target, limit):
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

    def test_its_id_is_another_slaves(self):
        pair = Pair(self).start()
        pair.send(10)
        pair.await_equal()
        other = pair.new_slave(1)
        self.refused(pair, other, "with brokerId 1 is connected; each slave of a master needs its own")
        pair.slave.stop()
        pair.await_equal(other)

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

    def test_a_java_master_of_another_log(self):
        """Protocol 1 has no names: what comes first must be a message of that position."""
        pair = Pair(self).start()
        pair.send(50)
        pair.await_equal()
        pair.slave.stop()
        with FakeMaster(self) as fake:
            pair.slave.options["haMasterAddress"] = fake.address
            pair.slave.write_config()
            pair.slave.start()
            fake.accept()
            pos = fake.read_first_report()
            noise = bytes(range(200)) * 5
            fake.send_block(pos, noise)
            wait_until(lambda: "is no message" in pair.slave.log(), pair.slave.log()[-1500:])
            self.assertIn("this slave gets nothing", pair.slave.log())
        self.assertEqual(log_bytes(pair.slave, 0, pos), log_bytes(pair.master, 0, pos))


class FakeSlave:
    """What a 4.9.2 slave says, and no more."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=rocketmq.DEADLINE_S)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def report(self, pos):
        self.socket.sendall(struct.pack(">q", pos))

    def take(self, size):
        while len(self.received) < size:
            data = self.socket.recv(1 << 16)
            if not data:
                raise rocketmq.Closed()
            self.received += data
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def read_block(self):
        pos, size = HEAD.unpack(self.take(HEAD.size))
        return pos, self.take(size)

    def read_until(self, end):
        """The log's bytes up to `end`, each block reported; where they begin."""
        begin, data = None, b""
        while begin is None or begin + len(data) < end:
            pos, block = self.read_block()
            if block:
                begin = pos if begin is None else begin
                assert pos == begin + len(data), (pos, begin, len(data))
                assert len(block) <= 32768, len(block)
                data += block
                self.report(pos + len(block))
        return begin, data

    def is_closed(self):
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True


class FakeMaster:
    """What a 4.9.2 master says, and no more."""

    def __init__(self, test):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(rocketmq.DEADLINE_S)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.socket = None
        self.test = test

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        if self.socket is not None:
            self.socket.close()

    def accept(self):
        if self.socket is not None:
            self.socket.close()
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(rocketmq.DEADLINE_S)

    def read_report(self):
        data = b""
        while len(data) < 8:
            part = self.socket.recv(8 - len(data))
            if not part:
                raise rocketmq.Closed()
            data += part
        return struct.unpack(">q", data)[0]

    def read_first_report(self):
        """A 4.9.2 master takes -1 for no report, and stays silent."""
        self.test.assertEqual(self.read_report(), -1)
        return self.read_report()

    def send_block(self, pos, data):
        self.socket.sendall(HEAD.pack(pos, len(data)) + data)


class OldPeersTest(unittest.TestCase):
    def test_a_4_9_2_slave(self):
        pair = Pair(self, master={"haSendHeartbeatInterval": 300})
        pair.master.start()
        pair.send(1500)
        last_file = pair.end - pair.end % SEGMENT_BYTES
        self.assertGreater(last_file, 0)
        with FakeSlave(pair.ha_port) as slave:
            slave.report(0)
            begin, data = slave.read_until(pair.end)
            self.assertEqual(begin, last_file)
            self.assertEqual(data, log_bytes(pair.master, begin, begin + len(data)))
            end = begin + len(data)
            self.assertEqual(slave.read_block(), (end, b""))  # a heartbeat
            pair.send(10, seed=1)
            begin, data = slave.read_until(pair.end)
            self.assertEqual(begin, end)
            self.assertEqual(data, log_bytes(pair.master, begin, begin + len(data)))
        with FakeSlave(pair.ha_port) as slave:
            slave.report(777)  # in the middle of a record, as 4.9.2 lets it
            begin, data = slave.read_until(pair.end)
            self.assertEqual(begin, 777)
            self.assertEqual(data, log_bytes(pair.master, 777, 777 + len(data)))
        self.assertIn("protocol=1", pair.master.log())

    def test_a_4_9_2_master(self):
        """The recorded log, in the blocks in which it was sent."""
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
        with open(os.path.join(folder, "ha", "ha-session.bin"), "rb") as file:
            session = file.read()
        stream, at = b"", 0
        while at < len(session):
            kind, connection, _, size = struct.unpack_from(">cBIi", session, at)
            at += 10
            if kind == b"M" and connection == 1:
                stream += session[at:at + size]
            at += size
        with FakeMaster(self) as master:
            slave = Broker(mappedFileSizeCommitLog=65536, brokerRole="SLAVE", brokerId=1,
                           maxMessageSize=65536, haMasterAddress=master.address,
                           haSendHeartbeatInterval=500)
            self.addCleanup(slave.remove)
            slave.start()
            master.accept()
            self.assertEqual(master.read_first_report(), 0)
            master.socket.sendall(stream)
            last = 0
            while last < 141091:
                pos = master.read_report()
                self.assertGreaterEqual(pos, last)
                last = pos
            self.assertEqual(last, 141091)
            self.assertEqual(master.read_report(), 141091)  # it goes on, as a sign of life
            recorded = b""
            for base in range(0, 141091, 65536):
                path = os.path.join(folder, "store-4.9.2", "commitlog", "%020d" % base)
                with open(path, "rb") as file:
                    recorded += file.read(65536)
            self.assertEqual(log_bytes(slave, 0, 141091, 65536), recorded[:141091])
            # It goes on after a lost connection, and after a restart.
            master.socket.close()
            master.accept()
            self.assertEqual(master.read_first_report(), 141091)
            slave.stop()
            slave.start()
            master.accept()
            self.assertEqual(master.read_first_report(), 141091)


class HostileTest(unittest.TestCase):
    """Whatever finds the port: the master's clients and its slave feel nothing of it."""

    def closed(self, pair, data, words):
        with FakeSlave(pair.ha_port) as peer:
            peer.socket.sendall(data)
            self.assertTrue(peer.is_closed())
        wait_until(lambda: words in pair.master.log(), f"{words!r}: {pair.master.log()[-1500:]}")

    def test_garbage(self):
        pair = Pair(self).start()
        pair.send(10)
        pair.await_equal()
        self.closed(pair, struct.pack(">q", -2), "its first report is -2")
        time.sleep(1.1)  # these lines are written once a second at most
        self.closed(pair, b"\x16\x03\x01" + bytes(100), "it speaks TLS")
        time.sleep(1.1)
        self.closed(pair, b"GET / HTTP/1.1\r\n\r\n", "its log ends at")
        self.closed(pair, struct.pack(">qqi", -1, -1, 1 << 30), "no report, before its HELLO")
        time.sleep(1.1)
        self.closed(pair, struct.pack(">qqi", -1, -1, 4) + b"nope", "its HELLO can not be read")
        pair.send(10, seed=1)
        pair.await_equal()

    def test_reports_that_cannot_be(self):
        pair = Pair(self).start()
        pair.send(100)
        pair.await_equal()
        end = pair.end
        self.closed(pair, struct.pack(">q", 1 << 40), "its log ends at 1099511627776, behind")
        with FakeSlave(pair.ha_port) as peer:
            peer.report(0)
            peer.read_until(end)
            peer.report(end + 1000)
            self.assertTrue(peer.is_closed())
        wait_until(lambda: f"it reports position {end + 1000}, but was sent" in pair.master.log(),
                   "the lie is in the log")
        with FakeSlave(pair.ha_port) as peer:
            peer.report(0)
            peer.read_until(end)
            peer.report(100)
            self.assertTrue(peer.is_closed())
        wait_until(lambda: "it reports position 100 after" in pair.master.log(), "the same")

    def test_many_connections_that_say_nothing(self):
        pair = Pair(self)
        pair.master.start()
        pair.send(10)
        idle = [socket.create_connection(("127.0.0.1", pair.ha_port)) for _ in range(100)]
        try:
            pair.slave.start()
            pair.await_equal()
            pair.send(10, seed=1)
            pair.await_equal()
        finally:
            for one in idle:
                one.close()

    def test_a_slave_that_does_not_read(self):
        pair = Pair(self).start()
        deaf = []
        try:
            for _ in range(5):
                peer = FakeSlave(pair.ha_port)
                peer.report(0)
                deaf.append(peer)
            pair.send(600, size=50000)
            memory = pair.master.memory_kb()
            pair.send(200, size=50000, seed=1)
            pair.await_equal()
            if memory is not None:
                self.assertLess(pair.master.memory_kb() - memory, 20000)
        finally:
            for peer in deaf:
                peer.socket.close()


if __name__ == "__main__":
    rocketmq.main("replication")
