# SPDX-License-Identifier: Apache-2.0
"""Who else may be at the other end of a replication connection: 4.9.2's brokers, spoken here by
hand as they were recorded (test/data/ha/README; RMQ HAConnection, HAService.HAClient), and whatever
finds the port. The master's clients and its slaves feel nothing of the latter.
"""

import os
import socket
import struct
import time
import unittest

import rocketmq
from broker import RUNTIME_INFO, Broker
from replication import OPTIONS, SEGMENT_BYTES, Pair, log_bytes
from rocketmq import wait_until

HEAD = struct.Struct(">qi")


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
            fake.accept()  # it tries again, and says nothing of it
            self.assertEqual(fake.read_first_report(), pos)
            fake.send_block(pos, noise)
            with self.assertRaises((rocketmq.Closed, ConnectionResetError)):
                fake.read_report()
            _, followed, after = pair.slave.log().partition("following the master master=" +
                                                            fake.address)
            self.assertNotEqual(followed, "")
            self.assertNotIn("following the master", after)
            self.assertEqual(after.count("this slave gets nothing"), 1)
            fake.accept()  # the right one
            self.assertEqual(fake.read_first_report(), pos)
            pair.send(50, seed=1)
            fake.send_block(pos, log_bytes(pair.master, pos, pair.end))
            self.assertGreater(fake.read_report(), pos)
            wait_until(lambda: pair.slave.log().count("following the master master=" +
                                                      fake.address) == 2, "that is said")
        self.assertEqual(log_bytes(pair.slave, 0, pos), log_bytes(pair.master, 0, pos))


class SilenceTest(unittest.TestCase):
    """Whoever is not heard for haHousekeepingInterval is gone."""

    def test_of_a_slave(self):
        pair = Pair(self, master={"haHousekeepingInterval": 1000})
        pair.master.start()
        pair.send(1)
        with FakeSlave(pair.ha_port) as slave:
            slave.report(0)
            slave.read_until(pair.end)
            self.assertTrue(slave.is_closed())
        wait_until(lambda: "nothing was heard from it for" in pair.master.log(), "it is said")

    def test_of_a_master(self):
        with FakeMaster(self) as master:
            slave = Broker(**OPTIONS, brokerRole="SLAVE", brokerId=1, haHousekeepingInterval=3000,
                           haMasterAddress=master.address)
            self.addCleanup(slave.remove)
            slave.start()
            for _ in range(2):
                master.accept()
                self.assertEqual(master.read_first_report(), 0)
                while True:
                    try:
                        master.read_report()
                    except rocketmq.Closed:
                        break
            self.assertIn("nothing was heard from the master for", slave.log())


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

    def test_strangers_that_pass_for_slaves(self):
        """All that one of 4.9.2 says is where its log ends; so can anybody."""
        pair = Pair(self)
        pair.master.start()
        pair.send(10)
        strangers = [FakeSlave(pair.ha_port) for _ in range(20)]
        try:
            for stranger in strangers:
                stranger.report(0)
            wait_until(lambda: pair.master.log().count("slave joined") >= 16, "they have come in")
            for broker_id in (1, 2, 3):
                slave = pair.new_slave(broker_id)
                slave.start()
                pair.send(10, seed=broker_id)
                pair.await_equal(slave)
            with FakeSlave(pair.ha_port) as java:
                java.report(0)
                self.assertEqual(java.read_until(pair.end)[0], 0)
        finally:
            for stranger in strangers:
                stranger.socket.close()

    def test_slaves_of_4_9_2_keep_their_places(self):
        """Who has shown to be one is not put out for another, and half of the places are theirs."""
        pair = Pair(self, master={"haHousekeepingInterval": 600000})
        pair.master.start()
        pair.send(10)
        slaves = [FakeSlave(pair.ha_port) for _ in range(8)]
        try:
            for number, slave in enumerate(slaves):
                if number % 2 == 0:
                    slave.report(0)
                    slave.read_until(pair.end)
                else:
                    slave.report(pair.end)
            with pair.master.client() as client:
                wait_until(lambda: client.call(RUNTIME_INFO).json()["table"]["slavesInSync"] == "8",
                           "what they have reported is known")
            with FakeSlave(pair.ha_port) as late:
                late.report(0)
                self.assertTrue(late.is_closed())
            wait_until(lambda: "the master has as many slaves as it takes" in pair.master.log(),
                       "it is told")
            slaves.pop(0).socket.close()
            wait_until(lambda: "slave left" in pair.master.log(), "one is gone")
            with FakeSlave(pair.ha_port) as next_one:
                next_one.report(0)
                next_one.read_until(pair.end)
            pair.slave.start()
            pair.send(10, seed=1)
            pair.await_equal()
            self.assertEqual(pair.master.log().count("has taken its place"), 0)
        finally:
            for slave in slaves:
                slave.socket.close()

    def test_those_that_come_and_go_leave_nothing(self):
        pair = Pair(self).start()
        pair.send(10)
        pair.await_equal()

        def held():
            folder = f"/proc/{pair.master.process.pid}"
            return len(os.listdir(folder + "/fd")), len(os.listdir(folder + "/task"))

        before = held()
        says = (b"", b"123", struct.pack(">q", 0), struct.pack(">q", pair.end), b"GET / HTTP/1.1",
                struct.pack(">q", -1), struct.pack(">qqi", -1, -1, 4) + b"nope",
                struct.pack(">q", 1 << 40))
        for number in range(200):
            with socket.create_connection(("127.0.0.1", pair.ha_port)) as peer:
                peer.sendall(says[number % len(says)])
        # The store opens a file now and then. Of each kind there were 25.
        wait_until(lambda: all(now < then + 20 for now, then in zip(held(), before)),
                   f"{before} descriptors and threads: {held()}")
        pair.send(10, seed=1)
        pair.await_equal()

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
    rocketmq.main("replication_peers")
