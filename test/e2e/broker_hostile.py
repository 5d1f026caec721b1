# SPDX-License-Identifier: Apache-2.0
"""Peers that break the rules: the broker refuses them with a line in the log, serves everybody else
meanwhile, and keeps its memory within bounds.
"""

import json
import os
import random
import select
import socket
import struct
import threading
import time
import zlib

import rocketmq
from broker import (Broker, BrokerTest, CONSUMER_LIST, DELETE_TOPIC, HEARTBEAT, MAX_OFFSET,
                    NOT_SUPPORTED, PULL, QUERY, SEND_BACK, SEND_BATCH, SEND_V2, SUCCESS,
                    SYSTEM_ERROR, batch_body, decode_records, pull_header, send_header)
from rocketmq import (Closed, Command, Connection, DEADLINE_S, Daemon, JSON, PROTOBUF, ROCKETMQ, free_port,
                      wait_until)

MALFORMED = {
    "a negative length": struct.pack(">i", -1),
    "no header": struct.pack(">iI", 4, 0),
    "a length of zero": struct.pack(">i", 0),
    "a length of three": struct.pack(">i", 3) + b"\0\0\0",
    "a frame longer than the limit": struct.pack(">iI", 16777217, 20),
    "the longest length": struct.pack(">i", 0x7FFFFFFF),
    "a header longer than the frame": struct.pack(">iI", 8, 0x00FFFFFF) + b"{}{}",
    "an unknown serialize type": struct.pack(">iI", 6, 7 << 24 | 2) + b"{}",
    "another serialize type": struct.pack(">iI", 6, 255 << 24 | 2) + b"{}",
    "truncated JSON": struct.pack(">iI", 4 + 17, 17) + b'{"code":10,"flag"',
    "JSON that is no object": struct.pack(">iI", 6, 2) + b"[]",
    "a code that is no number": struct.pack(">iI", 4 + 13, 13) + b'{"code":"abc"',
    "deep JSON": struct.pack(">iI", 4 + 60000, 60000) + b"[" * 60000,
    "a short ROCKETMQ header": struct.pack(">iI", 8, ROCKETMQ << 24 | 4) + bytes(4),
    "a ROCKETMQ header with a long remark": struct.pack(
        ">iIhbhiii", 21, ROCKETMQ << 24 | 17, 10, 0, 397, 1, 0, 0x7FFFFFFF),
    "a PROTOBUF header that is none": struct.pack(">iI", 8, PROTOBUF << 24 | 4) + b"\xff" * 4,
    "another protocol": b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
}


class HostileTest(BrokerTest):
    """A bystander must go on being served; memory must stay below `memory_kb` more than before."""

    memory_kb = 40000

    def setUp(self):
        super().setUp()
        self.bystander = self.client
        self.calm = self.topic()
        self.count = 0
        self.expect_serving()
        self.resident = self.broker.memory_kb()

    def expect_serving(self):
        """A send, its answer in time, and the message is there."""
        started = time.monotonic()
        answer = self.bystander.produce(self.calm, b"%d" % self.count)
        self.assertEqual((answer.code, answer.ext["queueOffset"]), (SUCCESS, str(self.count)))
        self.count += 1
        self.assertLess(time.monotonic() - started, DEADLINE_S / 2)

    def tearDown(self):
        self.expect_serving()
        self.assertEqual([record.body for record in self.stored(self.calm, 0, self.count)],
                         [b"%d" % i for i in range(self.count)])
        self.expect_bounded()
        self.assertTrue(self.broker.is_alive())

    def expect_bounded(self):
        if self.resident is not None:
            self.assertLess(self.broker.memory_kb() - self.resident, self.memory_kb)


class Frames(HostileTest):
    def test_malformed_frames_close_their_connection(self):
        good = Command(MAX_OFFSET, {"topic": self.calm, "queueId": 0}, opaque=1).encode()
        for name, data in MALFORMED.items():
            with self.subTest(name), self.broker.client() as client:
                client.send_bytes(good)
                self.assertEqual(client.read_frame().code, SUCCESS)
                client.send_bytes(data)
                self.assertTrue(client.is_closed_by_peer())
                self.expect_serving()

    def test_a_line_in_the_log(self):
        """One for the first, naming peer and reason; a flood of bad peers is no flood of lines."""
        broker = Broker()
        self.addCleanup(broker.remove)
        broker.start()
        began = time.monotonic()
        for i in range(500):
            with broker.client() as client:
                address = client.local_address()
                client.send_bytes(struct.pack(">i", -1))
                self.assertTrue(client.is_closed_by_peer())
            if i == 0:
                wait_until(lambda: address in broker.log(), "the line")
                line, = [line for line in broker.log().splitlines() if address in line]
                self.assertRegex(line, "WARN.*connection closed.*reason=")
        self.assertLess(len([line for line in broker.log().splitlines()
                             if "connection closed" in line]),
                        10 + time.monotonic() - began)  # one a second

    def test_random_bytes(self):
        source = random.Random(1)
        for i in range(150):
            with self.broker.client() as client:
                data = source.randbytes(source.randrange(1, 600))
                if i % 3 == 1:
                    data = struct.pack(">iI", len(data) + 4, source.choice(
                        (JSON, ROCKETMQ, PROTOBUF)) << 24 | source.randrange(len(data))) + data
                elif i % 3 == 2:
                    codec = source.choice((JSON, ROCKETMQ, PROTOBUF))
                    frame = bytearray(Command(SEND_V2, send_header(self.id()), data,
                                              codec=codec).encode())
                    for _ in range(source.randrange(1, 5)):
                        frame[source.randrange(len(frame))] = source.randrange(256)
                    data = bytes(frame)
                try:
                    client.send_bytes(data)
                    client.socket.shutdown(socket.SHUT_WR)
                    while True:
                        client.read_frame()
                except (Closed, OSError, ValueError, KeyError, IndexError):
                    pass
            if i % 10 == 0:
                self.expect_serving()

    def test_a_broken_greeting_of_tls(self):
        with self.broker.client() as client:
            client.send_bytes(bytes.fromhex("1603010200010001fc0303") + bytes(500))
            self.assertTrue(client.is_closed_by_peer())


class Requests(HostileTest):
    def test_unknown_codes(self):
        for codec in (JSON, ROCKETMQ, PROTOBUF):
            for code in (9999, 13, 0, -1, 32767, -32768, 39, 40, 100, 103, 105):
                answer = self.client.call(code, {"a": "b"}, b"body", codec)
                self.assertEqual((answer.code, answer.remark, answer.codec),
                                 (NOT_SUPPORTED, f" request type {code} not supported", codec))
        for code in (511, 512, 100000, 200056, 2147483647, -2147483648):
            self.assertEqual(self.client.call(code).code, NOT_SUPPORTED)
            self.client.oneway(code)

    def test_missing_fields_and_wrong_types(self):
        """Every request of the broker, without and with nonsense fields and bodies."""
        header = {"topic": "T", "queueId": "x", "queueOffset": "-", "offset": "x", "maxNum": "1.5",
                  "timestamp": "", "consumerGroup": "", "group": "G", "b": "T", "e": "9" * 400,
                  "commitOffset": "0x10", "key": "k", "readQueueNums": "true"}
        codes = [10, 11, 12, 14, 15, 17, 21, 25, 26, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38,
                 41, 42, 43, 45, 46, 50, 51, 52, 53, 54, 200, 201, 202, 203, 204, 207, 208, 215,
                 222, 223, 300, 301, 303, 305, 306, 307, 308, 309, 310, 314, 315, 316, 317, 320,
                 321, 323, 324, 325]
        for code in codes:
            for ext, body in ((None, b""), ({}, b""), (header, b"{"), (header, b"\xff\0{}"),
                              (header, b"[" * 5000), ({"": ""}, b'{"a":' * 1000)):
                with self.broker.client() as client:
                    client.oneway(code, ext, body)
                    opaque = client.send(code, ext, body)
                    marker = client.send(MAX_OFFSET, {"topic": self.calm, "queueId": 0})
                    self.assertEqual(client.read_answer(marker).code, SUCCESS)
                    if code not in (37, 52, 54):  # these may be silent
                        self.assertIsNotNone(client.read_answer(opaque).code, code)

    def test_answers_that_nobody_asked_for(self):
        for flag in (1, 3):
            self.client.send_bytes(Command(0, {"a": "b"}, b"x", 12345, flag).encode() * 50)
        self.expect_serving()

    def test_duplicate_and_huge_fields(self):
        header = b'{"code":30,"opaque":7,"flag":0,"language":"JAVA","version":397,"extFields":{' + \
            b",".join(b'"f%d":"v"' % i for i in range(200)) + \
            b',"topic":"a","topic":"' + self.calm.encode() + b'","queueId":"0"}}'
        self.client.send_bytes(struct.pack(">iI", 4 + len(header), len(header)) + header)
        self.assertIn(self.client.read_answer(7).code, (SUCCESS, SYSTEM_ERROR))
        for codec in (JSON, ROCKETMQ, PROTOBUF):
            with self.broker.client() as client:
                client.send(MAX_OFFSET, {f"f{i}": "v" for i in range(20000)}, codec=codec)
                try:
                    self.assertEqual(client.read_frame().code, SYSTEM_ERROR)
                except Closed:
                    pass
        answer = self.client.call(MAX_OFFSET, {"topic": "t" * 1000000, "queueId": 0})
        self.assertIn(answer.code, (SUCCESS, SYSTEM_ERROR))
        self.assertEqual(self.client.call(QUERY, {
            "topic": self.calm, "key": "k" * 100000, "maxNum": 1, "beginTimestamp": 0,
            "endTimestamp": 1}).code, 22)

    def test_readers_make_nothing(self):
        """Asking for queues, groups and offsets that do not exist leaves nothing behind."""
        for i in range(3000):
            self.client.send(MAX_OFFSET, {"topic": f"ask-{i}", "queueId": i})
            self.client.send(PULL, pull_header(f"ask-{i}", 0, 0, group="G"))
            self.client.send(CONSUMER_LIST, {"consumerGroup": f"ask-{i}"})
        self.expect_serving()
        self.assertEqual([name for name in os.listdir(self.broker.path("store/consumequeue"))
                          if name.startswith("ask-")], [])

    def test_endless_groups_and_topics(self):
        """Names that peers make up are bounded or cheap."""
        for i in range(2000):
            self.client.send(34, None, json.dumps({
                "clientID": f"c{i}", "producerDataSet": [{"groupName": f"p{i}-" + "x" * 200}],
                "consumerDataSet": []}).encode())
        for i in range(2000):
            self.client.send(15, {"consumerGroup": "g" * 200 + str(i), "topic": "t" * 200,
                                  "queueId": i, "commitOffset": 1})
        self.expect_serving()

    def test_batches(self):
        good = batch_body([b"%d" % i for i in range(50)])
        source = random.Random(2)
        topic = self.topic()
        for _ in range(300):
            data = bytearray(good)
            for _ in range(source.randrange(1, 6)):
                data[source.randrange(len(data))] = source.choice((0, 1, 127, 128, 255))
            answer = self.client.produce(topic, bytes(data[:source.randrange(1, len(data) + 1)]),
                                         code=SEND_BATCH, m="true")
            self.assertIn(answer.code, (0, 1, 13))
        answer = self.client.call(SEND_BACK, {"offset": 5, "group": "G", "delayLevel": 0})
        self.assertEqual(answer.code, SYSTEM_ERROR)


class Crowds(HostileTest):
    memory_kb = 60000

    def test_a_thousand_half_sent_frames(self):
        frame = Command(SEND_V2, send_header(self.calm), b"x" * 4000000, opaque=5).encode()
        halves = [self.broker.client() for _ in range(1000)]
        try:
            for i, client in enumerate(halves):
                client.send_bytes(frame[:3000])
                if i % 100 == 0:
                    self.expect_serving()
            self.expect_serving()
            self.expect_bounded()
            # One of them goes on after all.
            halves[7].send_bytes(frame[3000:])
            self.assertEqual(halves[7].read_answer(5).code, SUCCESS)
            self.count += 1
        finally:
            for client in halves:
                client.close()
        records = self.client.read_queue(self.calm)
        self.assertEqual(len(records[-1].body), 4000000)
        self.count = int(records[-1].queue_offset) + 1
        self.calm = self.topic()
        self.count = 0

    def test_two_thousand_idle_connections(self):
        idle = [self.broker.client() for _ in range(2000)]
        try:
            for _ in range(20):
                self.expect_serving()
            self.expect_bounded()
            self.assertEqual(idle[1999].produce(self.topic()).code, SUCCESS)
        finally:
            for client in idle:
                client.close()

    def test_who_never_reads(self):
        """Pulling a lot without reading holds back that connection and nobody else."""
        topic = self.topic()
        for _ in range(20):
            self.sent(topic, b"b" * 100000)
        self.stored(topic, 0, 20)
        deaf = self.broker.client()
        frames = b"".join(Command(PULL, pull_header(topic, 0, 0), opaque=i).encode()
                          for i in range(3000))
        deaf.socket.setblocking(False)
        end, enough = time.monotonic() + 2, len(frames) * 3 // 4
        while frames and (time.monotonic() < end or len(frames) > enough):
            _, writable, _ = select.select([], [deaf.socket], [], 0.05)
            if writable:
                frames = frames[deaf.socket.send(frames[:65536]):]
            self.expect_serving()
        self.expect_bounded()
        # When it reads at last, it gets every answer, whole and in order.
        deaf.socket.setblocking(True)
        deaf.socket.settimeout(DEADLINE_S)
        for i in range(300):
            answer = deaf.read_frame()
            self.assertEqual((answer.opaque, answer.code), (i, SUCCESS))
            self.assertGreater(len(answer.body), 200000)
        self.expect_serving()
        deaf.close()

    def test_who_never_reads_and_has_many_pulls_held(self):
        topic = self.topic()
        deaf = self.broker.client()
        for i in range(2000):
            deaf.start_pull(topic, 0, 0)
        for i in range(3):
            self.sent(topic, b"b" * 200000)
            self.expect_serving()
        self.expect_bounded()
        deaf.close()
        self.expect_serving()

    def test_connections_that_come_and_go(self):
        for _ in range(1500):
            client = self.broker.client()
            client.send(HEARTBEAT, None, b"{")
            client.close()
        self.expect_serving()

    def test_topics_that_come_and_go_under_load(self):
        """Senders, readers and an administrator at cross purposes; whatever each is answered, the
        bystander is not disturbed."""
        end = time.monotonic() + 2.5
        actors = [threading.Thread(target=self.act, args=(seed, end)) for seed in range(4)]
        for actor in actors:
            actor.start()
        while time.monotonic() < end:
            self.expect_serving()
        for actor in actors:
            actor.join()
        self.assertEqual(self.failures, [])
        self.assertNotIn(" ERROR ", self.broker.log())

    failures = []

    def act(self, seed, end):
        source = random.Random(seed)
        client = self.broker.client()
        try:
            while time.monotonic() < end:
                self.act_once(source, client)
        except (Closed, OSError, ValueError) as failure:
            self.failures.append(failure)
        client.close()

    @staticmethod
    def act_once(source, client):
        topic = f"come-and-go-{source.randrange(6)}"
        choice = source.randrange(8)
        if choice < 3:
            header = send_header(topic, -1, {"KEYS": "k", "TAGS": "a"})
            opaques = [client.send(SEND_V2, header, b"m") for _ in range(20)]
            for opaque in opaques:
                client.read_answer(opaque)
        elif choice == 3:
            client.call(DELETE_TOPIC, {"topic": topic})
        elif choice == 4:
            client.create_topic(topic, source.randrange(1, 5))
        elif choice == 5:
            client.start_pull(topic, 0, client.max_offset(topic), suspend_ms=source.randrange(300))
        elif choice == 6:
            decode_records(client.pull(topic, 0, source.randrange(50), tags="a").body)
        else:
            client.call(source.choice((21, 26, 28, 43, 45, 201, 306, 316)))

    def test_held_pulls_by_the_thousand(self):
        topic = self.topic()
        clients = [self.broker.client() for _ in range(20)]
        for client in clients:
            for _ in range(500):
                client.start_pull(topic, 0, 0)
        self.expect_serving()
        self.expect_bounded()
        self.sent(topic, b"m")
        for client in clients:
            self.assertEqual(client.read_answer(1).code, SUCCESS)
            self.assertEqual(client.read_answer(500).code, SUCCESS)
            client.close()


class Limits(HostileTest):
    options = {"maxConnections": 50, "serverChannelMaxIdleTimeSeconds": 15}

    def test_too_many_connections(self):
        # The wave may contain connections that were refused at once.
        clients, refused = [], 0
        for _ in range(100):
            try:
                clients.append(self.broker.client())
            except OSError:
                refused += 1
        served = 0
        for client in clients:
            try:
                served += client.call(MAX_OFFSET, {"topic": "T", "queueId": 0}).code == SUCCESS
            except (Closed, OSError):
                refused += 1
        self.assertLessEqual(served, 50)
        self.assertGreaterEqual(served, 40)
        self.assertEqual(served + refused, 100)
        for client in clients:
            client.close()
        wait_until(self.connects, "there is room again")

    def connects(self):
        try:
            with self.broker.client() as client:
                return client.call(MAX_OFFSET, {"topic": "T", "queueId": 0}).code == SUCCESS
        except (Closed, OSError):
            return False

    def test_idle_connections_are_closed(self):
        with self.broker.client() as idle:
            end = time.monotonic() + DEADLINE_S
            closed = False
            while not closed and time.monotonic() < end:
                self.expect_serving()
                readable, _, _ = select.select([idle.socket], [], [], 0.3)
                closed = bool(readable) and idle.is_closed_by_peer()
            self.assertTrue(closed)


class InFlight(HostileTest):
    """Half-received frames are bounded over all connections."""

    options = {"maxInFlightBytes": 8 << 20}
    memory_kb = 30000

    @rocketmq.with_times(4000, 4000, 4000)  # half a frame may be 5 s old while memory is short
    def test_large_frames_in_halves(self, time_ms):
        began = time.monotonic()
        frame = Command(SEND_V2, send_header(self.topic()), b"x" * 1500000, opaque=5).encode()
        clients = [self.broker.client() for _ in range(60)]
        left = {}
        for client in clients:
            client.socket.setblocking(False)
            left[client.socket] = frame[:1000000]
        self.push(left, 1.5)
        self.expect_serving()
        self.expect_bounded()
        for client in clients[20:]:
            client.close()
            left.pop(client.socket, None)
        # The others go on; each is answered or, had it stalled too long, closed.
        for client in clients[:20]:
            left[client.socket] = left.get(client.socket, b"") + frame[1000000:]
        self.push(left, 20)
        took_ms = (time.monotonic() - began) * 1000
        answered = 0
        for client in clients[:20]:
            client.socket.settimeout(DEADLINE_S)
            try:
                answered += client.read_answer(5).code == SUCCESS
            except (Closed, OSError):
                pass
            client.close()
        if answered == 0 and took_ms > time_ms:
            raise rocketmq.TooSlow()
        self.assertGreater(answered, 0)

    def push(self, left, seconds):
        """Write what the sockets take, for a while; the bystander is served meanwhile."""
        end = time.monotonic() + seconds
        while left and time.monotonic() < end:
            _, writable, _ = select.select([], list(left), [], 0.1)
            for peer in writable:
                try:
                    left[peer] = left[peer][peer.send(left[peer][:100000]):]
                except OSError:
                    left[peer] = b""
                if not left[peer]:
                    del left[peer]
            self.expect_serving()


class NameServer(rocketmq.unittest.TestCase):
    """A registration whose body does not inflate, or is not what it says."""

    def test_bad_registrations(self):
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        server.start()
        header = {"brokerName": "b", "brokerAddr": "10.0.0.1:10911", "clusterName": "c",
                  "haServerAddr": "10.0.0.1:10912", "brokerId": "0", "compressed": "true",
                  "bodyCrc32": "0"}
        version = b'{"counter":1,"timestamp":1}'
        part = lambda data: struct.pack(">i", len(data)) + data
        good = part(version) + struct.pack(">i", 1) + part(b"T 4 4 6 SINGLE_TAG") + part(b"[]")
        bad = [b"", b"not deflated", zlib.compress(good)[:-9], zlib.compress(good)[:10],
               zlib.compress(b""), zlib.compress(good[:-3]), zlib.compress(struct.pack(">i", -1)),
               zlib.compress(struct.pack(">i", 0x7FFFFFFF)),
               zlib.compress(part(version) + struct.pack(">i", 0x7FFFFFFF)),
               zlib.compress(good.replace(b"T 4 4", b"T x 4")),
               zlib.compress(bytes(200 << 20), 9)]  # a bomb: 200 KiB make 200 MiB
        with Connection("127.0.0.1", server.port) as client:
            self.assertEqual(client.call(103, header, zlib.compress(good)).code, SUCCESS)
            before = server.memory_kb()
            for body in bad:
                answer = client.call(103, {**header, "brokerAddr": "10.0.0.2:10911",
                                           "brokerName": "bad"}, body)
                if body:
                    self.assertEqual(answer.code, SYSTEM_ERROR, body[:40])
            if before is not None:
                self.assertLess(server.memory_kb() - before, 70000)
            self.assertEqual(client.call(105, {"topic": "T"}).code, SUCCESS)
            self.assertEqual(len(client.call(105, {"topic": "T"}).json()["brokerDatas"]), 1)


if __name__ == "__main__":
    rocketmq.raise_file_limit()
    rocketmq.main("broker_hostile")
