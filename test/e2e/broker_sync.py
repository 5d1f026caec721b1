# SPDX-License-Identifier: Apache-2.0
"""SYNC_MASTER: SEND_OK means that a slave has the message, at the very moment of the answer; what is
answered when no slave is there, when it is too far behind, when it hangs; and what an operator sees
of it. Real masters and slaves, and slaves played by hand.

SYNC_ROUNDS sets how often master and slave are killed under load, SYNC_SEED repeats the moments.
The rules are 4.9.2's (SD-16, ST10-08; RMQ CommitLog.submitReplicaRequest, HAService).
"""

import json
import os
import random
import signal
import socket
import struct
import threading
import time
import unittest
import zlib

import replication
import rocketmq
from broker import (RUNTIME_INFO, SEND_BACK, SEND_BATCH, SEND_V2, SUCCESS, UPDATE_CONFIG,
                    UPDATE_GROUP, batch_body, send_header)
from broker_transactions import COMMIT, END, ROLLBACK
from replication import log_bytes
from replication_peers import HEAD
from rocketmq import Closed, varint, wait_until, zigzag

ROUNDS = int(os.environ.get("SYNC_ROUNDS", "6"))
SEED = int(os.environ.get("SYNC_SEED", random.randrange(1 << 32)))

FLUSH_DISK_TIMEOUT, SLAVE_NOT_AVAILABLE, FLUSH_SLAVE_TIMEOUT = 10, 11, 12
HA_STATUS = 907
SHORT_MS, LONG_MS = 1000, 600000
SYNC = {"brokerRole": "SYNC_MASTER", "syncFlushTimeout": LONG_MS}


def runtime_info(broker):
    with broker.client() as client:
        answer = client.call(RUNTIME_INFO)
    assert answer.code == SUCCESS, answer
    return json.loads(answer.body)["table"]


def ha_status(broker):
    with broker.client() as client:
        answer = client.call(HA_STATUS)
    assert answer.code == SUCCESS, answer
    return json.loads(answer.body)


def position_of(answer):
    return int(answer.ext["msgId"].split(",")[0][16:], 16)


def end_of(broker, position):
    return position + struct.unpack(">i", log_bytes(broker, position, position + 4))[0]


class SyncTest(unittest.TestCase):
    def pair(self, slave=None, **master):
        """A master and a slave that is in sync; a topic T of four queues."""
        pair = replication.Pair(self, {**SYNC, **master}, slave).start()
        self.await_in_sync(pair)
        self.client = pair.master.client()
        self.addCleanup(self.client.close)
        self.assertEqual(self.client.create_topic("T", 4).code, SUCCESS)
        return pair

    def await_in_sync(self, pair, count=1):
        wait_until(lambda: int(runtime_info(pair.master)["slavesInSync"]) == count,
                   f"{count} slaves in sync")

    def is_on_slave(self, pair, position, slave=None):
        end = end_of(pair.master, position)
        return log_bytes(slave or pair.slave, position, end) == \
            log_bytes(pair.master, position, end)

    def send(self, body=b"body", **properties):
        return self.client.produce("T", body, properties=properties)

    def freeze(self, slave):
        slave.freeze()
        self.addCleanup(lambda: slave.is_alive() and slave.signal(signal.SIGCONT))

    def wait_at_most(self, milliseconds):
        """How long a send waits for a slave. Long, but where a test is about that: a machine that
        is busy with other tests may be slow."""
        answer = self.client.call(UPDATE_CONFIG, {}, b"syncFlushTimeout=%d" % milliseconds)
        self.assertEqual(answer.code, SUCCESS, answer)


class Acknowledged(SyncTest):
    def load_until_killed(self, pair, moments):
        """Hundreds of sends in flight, until first the slave and then the master is killed. The
        positions of those that were acknowledged; how many were not."""
        clients = [pair.master.client() for _ in range(3)]
        enough = moments.randrange(50, 1500)
        acknowledged, others, lock = [], [], threading.Lock()
        reached = threading.Event()

        def write(client, number):
            body = b"%d-" % number + bytes(moments.randrange(20, 3000))
            try:
                for i in range(2000):
                    client.send(SEND_V2, send_header("T", i % 4), body)
            except OSError:
                pass

        def read(client):
            try:
                while True:
                    answer = client.read_frame()
                    with lock:
                        if answer.code == SUCCESS:
                            acknowledged.append(position_of(answer))
                        else:
                            others.append(answer.code)
                        if len(acknowledged) + len(others) >= enough:
                            reached.set()
            except (Closed, OSError):
                pass

        threads = [threading.Thread(target=write, args=(client, number))
                   for number, client in enumerate(clients)]
        threads += [threading.Thread(target=read, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        self.assertTrue(reached.wait(60), "no answers")
        pair.slave.signal(signal.SIGKILL)
        if moments.random() < 0.5:
            time.sleep(moments.uniform(0, 0.02))
        pair.master.signal(signal.SIGKILL)
        pair.slave.wait()
        pair.master.wait()
        for thread in threads:
            thread.join(60)
            self.assertFalse(thread.is_alive())
        for client in clients:
            client.close()
        return acknowledged, others

    def compare(self, pair, positions, what):
        """Each of these records is on the slave as on the master."""
        if not positions:
            return
        begin, end = min(positions), end_of(pair.master, max(positions))
        masters, slaves = (memoryview(log_bytes(broker, begin, end))
                           for broker in (pair.master, pair.slave))
        for position in positions:
            at = position - begin
            size, = struct.unpack_from(">i", masters, at)
            if len(slaves) < at + size or masters[at:at + size] != slaves[at:at + size]:
                self.fail(f"{what}{position}")

    def drill(self, **options):
        pair = self.pair(waitTimeMillsInSendQueue=60000, sendThreadPoolQueueCapacity=100000,
                         **options)
        moments = random.Random(f"{SEED}-{options}")
        total = 0
        print(f"SYNC_SEED={SEED}", flush=True)
        for number in range(ROUNDS):
            acknowledged, _ = self.load_until_killed(pair, moments)
            self.compare(pair, acknowledged, f"round {number}: acknowledged, not on the slave: ")
            total += len(acknowledged)
            pair.start()
            self.await_in_sync(pair)
        print(f"{ROUNDS} rounds, {total} acknowledged messages, all on the slave", flush=True)
        self.assertGreater(total, 0)

    def test_what_is_acknowledged_is_on_the_slave(self):
        self.drill()

    def test_with_sync_flush_as_well(self):
        self.drill(flushDiskType="SYNC_FLUSH", slave={"flushDiskType": "SYNC_FLUSH"})

    def test_every_kind_of_send(self):
        pair = self.pair()
        for number in range(50):
            answer = self.send(b"%d" % number)
            self.assertEqual(answer.code, SUCCESS, answer)
            self.assertTrue(self.is_on_slave(pair, position_of(answer)))
        answer = self.client.produce("T", batch_body([b"one", b"two", b"three"]), code=SEND_BATCH,
                                     m="true")
        self.assertEqual(answer.code, SUCCESS, answer)
        for text in answer.ext["msgId"].split(","):
            self.assertTrue(self.is_on_slave(pair, int(text[16:], 16)))
        self.client.oneway(SEND_V2, send_header("T", 3), b"one way")
        wait_until(lambda: self.client.max_offset("T", 3) == 1, "the one-way message")
        with pair.slave.client() as client:
            wait_until(lambda: client.max_offset("T", 3) == 1, "it is on the slave")

    def test_transactions_and_messages_sent_back(self):
        pair = self.pair()
        for outcome, records in ((COMMIT, 2), (ROLLBACK, 1)):
            half = self.send(b"half", TRAN_MSG="true", PGROUP="PG", UNIQ_KEY="K")
            self.assertEqual(half.code, SUCCESS, half)
            self.assertTrue(self.is_on_slave(pair, position_of(half)))
            before = int(runtime_info(pair.master)["commitLogMaxOffset"])
            self.assertEqual(self.end(half, outcome).code, SUCCESS)
            for _ in range(records):
                self.assertTrue(self.is_on_slave(pair, before))
                before = end_of(pair.master, before)
        self.assertEqual(self.client.call(
            UPDATE_GROUP, body=json.dumps({"groupName": "G", "retryQueueNums": 1}).encode()).code,
            SUCCESS)
        sent = self.send(b"sent back")
        self.assertEqual(self.send_back(sent).code, SUCCESS)  # the retry topic is made
        before = int(runtime_info(pair.master)["commitLogMaxOffset"])
        self.assertEqual(self.send_back(sent).code, SUCCESS)
        self.assertTrue(self.is_on_slave(pair, before))

    def end(self, half, outcome):
        return self.client.call(END, {
            "producerGroup": "PG", "tranStateTableOffset": half.ext["queueOffset"],
            "commitLogOffset": position_of(half), "commitOrRollback": outcome,
            "fromTransactionCheck": "false", "msgId": "K"})

    def send_back(self, sent):
        return self.client.call(SEND_BACK, {"offset": position_of(sent), "group": "G",
                                            "delayLevel": 2, "originTopic": "T"})


class Missing(SyncTest):
    def test_without_a_slave(self):
        pair = replication.Pair(self, SYNC)
        pair.master.start()
        self.client = pair.master.client()
        self.addCleanup(self.client.close)
        self.assertEqual(self.client.create_topic("T", 4).code, SUCCESS)
        answer = self.send(b"stored")
        self.assertEqual((answer.code, answer.remark), (SLAVE_NOT_AVAILABLE, None))
        self.assertEqual(answer.ext["queueOffset"], "0")
        self.assertEqual(self.send(b"does not ask", WAIT="false").code, SUCCESS)
        answer = self.client.produce("T", batch_body([b"one", b"two"]), code=SEND_BATCH, m="true")
        self.assertEqual(answer.code, SLAVE_NOT_AVAILABLE)
        half = self.send(b"half", TRAN_MSG="true", PGROUP="PG", UNIQ_KEY="K")
        self.assertEqual(half.code, SLAVE_NOT_AVAILABLE)
        self.assertEqual(Acknowledged.end(self, half, COMMIT).code, SUCCESS)
        wait_until(lambda: self.client.max_offset("T") == 5, "all are stored")
        self.assertEqual([record.body for record in self.client.read_queue("T")],
                         [b"stored", b"does not ask", b"one", b"two", b"half"])
        # One that comes gets what was stored without it, and from then on sends wait for it.
        pair.slave.start()
        self.await_in_sync(pair)
        answer = self.send()
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertTrue(self.is_on_slave(pair, position_of(answer)))
        self.assertTrue(self.is_on_slave(pair, position_of(half)))
        pair.slave.stop()
        wait_until(lambda: self.send().code == SLAVE_NOT_AVAILABLE, "it is missed")

    def test_an_async_master_does_not_care(self):
        pair = self.pair(brokerRole="ASYNC_MASTER")
        self.freeze(pair.slave)
        for _ in range(100):
            self.assertEqual(self.send().code, SUCCESS)
        pair.slave.kill()
        self.assertEqual(self.send().code, SUCCESS)

    def test_a_slave_that_hangs(self):
        for options in ({}, {"flushDiskType": "SYNC_FLUSH"}):
            with self.subTest(options):
                self.check_hanging(self.pair(**options))

    def check_hanging(self, pair):
        self.assertEqual(self.send(b"before").code, SUCCESS)
        self.freeze(pair.slave)
        self.wait_at_most(SHORT_MS)
        opaques = [self.client.send(SEND_V2, send_header("T", i % 4), b"in vain")
                   for i in range(300)]
        answers = [self.client.read_answer(opaque) for opaque in opaques]
        self.assertEqual({answer.code for answer in answers}, {FLUSH_SLAVE_TIMEOUT})
        self.assertEqual(len({answer.ext["msgId"] for answer in answers}), 300)
        self.wait_at_most(LONG_MS)
        self.assertEqual(self.send(b"does not ask", WAIT="false").code, SUCCESS)
        pair.slave.signal(signal.SIGCONT)
        for number in range(20):
            answer = self.send(b"%d" % number)
            self.assertEqual(answer.code, SUCCESS, answer)
            self.assertTrue(self.is_on_slave(pair, position_of(answer)))
        for answer in answers:
            self.assertTrue(self.is_on_slave(pair, position_of(answer)))

    def test_a_slave_far_behind(self):
        """One that is so far behind does not count, until it is near again."""
        pair = self.pair(haSlaveFallbehindMax=500000)
        self.freeze(pair.slave)
        for _ in range(12):
            self.assertEqual(self.send(bytes(50000), WAIT="false").code, SUCCESS)
        answer = self.send(b"stored")
        self.assertEqual(answer.code, SLAVE_NOT_AVAILABLE, answer)
        wait_until(lambda: "slave fell behind" in pair.master.log(), "that is told")
        info = runtime_info(pair.master)
        self.assertEqual((info["slaves"], info["slavesInSync"]), ("1", "0"))
        self.assertIn(" notInSync behindBytes=6", info["slave.1"])
        pair.slave.signal(signal.SIGCONT)
        wait_until(lambda: self.send().code == SUCCESS, "the slave is near again")
        self.assertTrue(self.is_on_slave(pair, position_of(answer)))
        self.await_in_sync(pair)
        self.assertEqual(pair.master.log().count("slave fell behind"), 1)
        self.assertIn("slave is in sync", pair.master.log().partition("slave fell behind")[2])

    def test_one_slave_is_enough(self):
        pair = self.pair()
        second = pair.new_slave(2)
        second.start()
        self.await_in_sync(pair, 2)
        self.freeze(pair.slave)
        for number in range(20):
            answer = self.send(b"%d" % number)
            self.assertEqual(answer.code, SUCCESS, answer)
            self.assertTrue(self.is_on_slave(pair, position_of(answer), second))
        pair.slave.signal(signal.SIGCONT)
        self.freeze(second)
        for number in range(20):
            answer = self.send(b"%d" % number)
            self.assertEqual(answer.code, SUCCESS, answer)
            self.assertTrue(self.is_on_slave(pair, position_of(answer)))
        second.signal(signal.SIGCONT)


class Fake:
    """A slave of 4.9.2, by hand."""

    def __init__(self, pair, start=0):
        self.socket = socket.create_connection(("127.0.0.1", pair.ha_port), 20)
        self.report(start)
        self.end = start

    def report(self, position):
        self.socket.sendall(struct.pack(">q", position))

    def receive_to(self, position):
        """Read blocks until there is nothing before `position` left to come."""
        while self.end < position:
            begin, size = HEAD.unpack(self.take(HEAD.size))
            self.take(size)
            self.end = begin + size

    def take(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise Closed()
            data += piece
        return data

    def is_closed(self):
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True


class Fake2(Fake):
    """One of our own, by hand: HELLO says what it likes (proto/repl.proto)."""

    def __init__(self, pair, hello, last=None):
        self.socket = socket.create_connection(("127.0.0.1", pair.ha_port), 20)
        self.socket.sendall(struct.pack(">q", -1))
        kind, size = HEAD.unpack(self.take(HEAD.size))
        assert kind == -1, kind
        self.take(size)
        body = b""
        for field, name in enumerate(("cluster", "name"), 1):
            body += bytes([field << 3 | 2, len(name)]) + name.encode()
        for field, number in hello.items():
            body += bytes([field << 3]) + varint(zigzag(number))
        if last is not None:
            position, end, crc = last
            body += bytes([10 << 3]) + varint(zigzag(position))
            body += bytes([11 << 3]) + varint(zigzag(end))
            body += bytes([12 << 3 | 5]) + struct.pack("<I", crc)
        self.socket.sendall(HEAD.pack(-1, len(body)) + body)
        self.end = hello[7]

    def report(self, position):
        self.socket.sendall(HEAD.pack(position, 0))


class Lying(SyncTest):
    def setUp(self):
        self.pair_ = replication.Pair(self, {**SYNC, "brokerClusterName": "cluster",
                                             "brokerName": "name"})
        self.pair_.master.start()
        self.client = self.pair_.master.client()
        self.addCleanup(self.client.close)
        self.assertEqual(self.client.create_topic("T", 4).code, SUCCESS)

    def fake(self, start=0, count=1):
        return self.joined(Fake(self.pair_, start), count)

    def fake2(self, end, last=None, broker_id=7, count=1):
        """One that says that its log is [0, end)."""
        hello = {3: broker_id, 6: 0, 7: end, 8: replication.SEGMENT_BYTES}
        return self.joined(Fake2(self.pair_, hello, last), count)

    def joined(self, slave, count):
        self.addCleanup(slave.socket.close)
        wait_until(lambda: runtime_info(self.pair_.master)["slaves"] == str(count), "it has joined")
        return slave

    def name_of(self, position, end):
        """The name of a record: where it is, and the checksum of its bytes (31 bits, as 4.9.2's)."""
        return position, end, zlib.crc32(log_bytes(self.pair_.master, position, end)) & 0x7FFFFFFF

    def start_send(self):
        """Send; the opaque, and where the log ends when it is in."""
        before = self.log_end()
        opaque = self.client.send(SEND_V2, send_header("T"), b"body")
        wait_until(lambda: self.log_end() > before, "it is in the log")
        return opaque, self.log_end()

    def log_end(self):
        return int(runtime_info(self.pair_.master)["commitLogMaxOffset"])

    def test_an_honest_one_releases_what_it_has(self):
        slave = self.fake()
        first, first_end = self.start_send()
        second, second_end = self.start_send()
        slave.receive_to(second_end)
        slave.report(first_end)
        self.assertEqual(self.client.read_answer(first).code, SUCCESS)
        self.assertTrue(self.client.is_silent(0.1))
        slave.report(second_end)
        self.assertEqual(self.client.read_answer(second).code, SUCCESS)

    def test_one_that_lies_releases_nobody(self):
        self.wait_at_most(SHORT_MS)
        for lie in (1 << 62, 10**9):
            slave = self.fake()
            opaque, end = self.start_send()
            slave.report(end + lie)
            self.assertTrue(slave.is_closed())
            self.assertEqual(self.client.read_answer(opaque).code, FLUSH_SLAVE_TIMEOUT)
            wait_until(lambda: runtime_info(self.pair_.master)["slaves"] == "0", "it has left")
            self.assertEqual(self.send().code, SLAVE_NOT_AVAILABLE)
        self.assertEqual(runtime_info(self.pair_.master)["slaveAckedOffset"], "0")

    def claims(self, claim):
        """A slave has got all and says nothing. Another one comes and says that its log ends where
        the master's does: that releases nobody; what it is sent from then on counts."""
        self.send()  # something is there already
        silent = self.fake()
        first, end = self.start_send()
        silent.receive_to(end)
        liar = claim(end)
        liar.report(end)
        second, second_end = self.start_send()
        liar.receive_to(second_end)
        self.assertTrue(self.client.is_silent(0.3))
        liar.report(second_end)
        self.assertEqual(self.client.read_answer(second).code, SUCCESS)
        self.assertTrue(self.client.is_silent(0.3))
        silent.report(end)
        self.assertEqual(self.client.read_answer(first).code, SUCCESS)

    def test_one_that_claims_to_have_all_releases_nobody(self):
        self.claims(lambda end: self.fake(end, 2))

    def test_one_that_claims_to_have_half_a_message_releases_nobody(self):
        slave = self.fake()
        first, end = self.start_send()
        slave.receive_to(end)
        liar = self.fake(end - 10, 2)
        liar.receive_to(end)
        liar.report(end)
        self.assertTrue(self.client.is_silent(0.3))
        slave.report(end)
        self.assertEqual(self.client.read_answer(first).code, SUCCESS)

    def test_one_of_ours_without_proof_releases_nobody(self):
        self.claims(lambda end: self.fake2(end, count=2))

    def test_one_of_ours_with_an_old_proof_releases_nobody(self):
        self.claims(lambda end: self.fake2(end, self.name_of(0, end_of(self.pair_.master, 0)),
                                           count=2))

    def test_one_of_ours_with_proof_releases_all_that_it_has(self):
        slave = self.fake()
        first, end = self.start_send()
        slave.receive_to(end)
        begin = end
        second, end = self.start_send()
        proven = self.fake2(end, self.name_of(begin, end), count=2)
        proven.report(end)
        self.assertEqual(self.client.read_answer(first).code, SUCCESS)
        self.assertEqual(self.client.read_answer(second).code, SUCCESS)

    def test_one_that_says_nothing_releases_nobody(self):
        slave = self.fake()
        self.wait_at_most(SHORT_MS)
        opaque, end = self.start_send()
        slave.receive_to(end)
        self.assertEqual(self.client.read_answer(opaque).code, FLUSH_SLAVE_TIMEOUT)
        self.wait_at_most(LONG_MS)
        slave.report(end)
        opaque, end = self.start_send()
        slave.receive_to(end)
        slave.report(end)
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)


class Shown(SyncTest):
    def test_what_an_operator_sees(self):
        pair = self.pair()
        for _ in range(10):
            self.assertEqual(self.send().code, SUCCESS)
        info = runtime_info(pair.master)
        self.assertEqual((info["brokerRole"], info["slaves"], info["slavesInSync"],
                          info["slaveFallBehindBytes"]), ("SYNC_MASTER", "1", "1", "0"))
        self.assertEqual(info["slaveAckedOffset"], info["commitLogMaxOffset"])
        self.assertRegex(info["slave.1"], r"^brokerId=1 address=127\.0\.0\.1:\d+ inSync "
                         r"behindBytes=0 behindSeconds=0\.000 acked=(\d+) sent=\1 "
                         r"bytesPerSecond=\d+ reports=pageCache joined=\d{13}$")
        status = ha_status(pair.master)
        connection, = status.pop("haConnectionInfo")
        end = int(info["commitLogMaxOffset"])
        self.assertEqual((status["master"], status["inSyncSlaveNums"],
                          status["masterCommitLogMaxOffset"]), (True, 1, end))
        self.assertEqual(
            (connection["diff"], connection["inSync"], connection["slaveAckOffset"],
             connection["transferFromWhere"]), (0, True, end, end))
        self.assertRegex(connection["addr"], r"^127\.0\.0\.1:\d+$")

        info = runtime_info(pair.slave)
        self.assertEqual((info["brokerRole"], info["masterHaAddress"], info["masterConnection"],
                          info["masterProtocol"], info["masterBehindBytes"]),
                         ("SLAVE", pair.ha_address, "connected", "2", "0"))
        status = ha_status(pair.slave)
        self.assertEqual((status["master"], status["haConnectionInfo"],
                          status["haClientRuntimeInfo"]["masterAddr"],
                          status["haClientRuntimeInfo"]["maxOffset"]),
                         (False, [], pair.ha_address, end))
        pair.master.kill()
        wait_until(lambda: runtime_info(pair.slave)["masterConnection"].startswith("notConnected: "),
                   "the slave tells that its master is gone")

    def test_each_change_is_told_once(self):
        pair = self.pair()
        for _ in range(10):
            self.assertEqual(self.send().code, SUCCESS)
        wait_until(lambda: "slave is in sync" in pair.master.log(), "that is told")
        self.assertTrue(self.client.is_silent(1.5))  # more than a look of the watch
        log = pair.master.log()
        self.assertEqual((log.count("slave joined"), log.count("slave is in sync"),
                          log.count("slave left"), log.count("slave fell behind")), (1, 1, 0, 0))
        pair.slave.stop()
        wait_until(lambda: "slave left" in pair.master.log(), "that is told")
        self.assertEqual(pair.master.log().count("slave left"), 1)


if __name__ == "__main__":
    rocketmq.main("broker_sync")
