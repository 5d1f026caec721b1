# SPDX-License-Identifier: Apache-2.0
"""Order: what one connection sends to one queue is stored in the order sent, whatever is in flight
with it, whatever fails in between and however the broker ends; and who consumes a queue in order has
it alone.

4.9.2 promises less: its send threads take up what is in flight in any order (docs/diff.md).
"""

import glob
import os
import random
import time

import rocketmq
from broker import (Broker, BrokerTest, HEARTBEAT, LOCK, QUERY_OFFSET, SEND, SEND_BATCH, SEND_V2,
                    SUCCESS, UNLOCK, UPDATE_OFFSET, batch_body, decode_records, heartbeat,
                    long_header, send_header)
from rocketmq import Closed, Command, FLAG_ONEWAY, JSON, PROTOBUF, ROCKETMQ, wait_until

REPLY_V2 = 325
SEED = int(os.environ.get("ORDER_SEED", random.randrange(1 << 32)))


class Mixture:
    """Requests of every kind to one queue of one topic, and what of them is to be stored."""

    def __init__(self, topic, source):
        self.topic = topic
        self.source = source
        self.number = 0
        self.frames = []
        self.stored = []
        self.asked = {}  # opaque -> the code expected

    def body(self):
        self.number += 1
        return b"%d" % self.number

    def add(self, code, header, body, expected, flag=0):
        opaque = len(self.frames)
        codec = self.source.choice((JSON, ROCKETMQ, PROTOBUF))
        header = {name: str(value) for name, value in header.items()}
        self.frames.append(Command(code, header, body, opaque, flag, None, codec).encode())
        if flag == 0:
            self.asked[opaque] = expected

    def single(self, **letters):
        body = self.body()
        self.stored.append(body)
        self.add(SEND_V2, send_header(self.topic, **letters), body, SUCCESS)

    def long_form(self):
        body = self.body()
        self.stored.append(body)
        self.add(SEND, long_header(send_header(self.topic)), body, SUCCESS)

    def large(self):
        body = self.body() + b" " * self.source.randrange(300000)
        self.stored.append(body)
        self.add(SEND_V2, send_header(self.topic), body, SUCCESS)

    def not_waiting(self):
        self.single(properties={"WAIT": "false"})

    def oneway(self):
        body = self.body()
        self.stored.append(body)
        self.add(SEND_V2, send_header(self.topic), body, None, FLAG_ONEWAY)

    def batch(self):
        bodies = [self.body() for _ in range(self.source.randrange(1, 8))]
        self.stored += bodies
        self.add(SEND_BATCH, send_header(self.topic, m="true"), batch_body(bodies), SUCCESS)

    def reply(self):
        """Stored although nobody is there to take it."""
        body = self.body()
        self.stored.append(body)
        self.add(REPLY_V2, send_header(self.topic, properties={"REPLY_TO_CLIENT": "nobody"}), body,
                 1)

    def illegal(self):
        header, code, body = self.source.choice((
            (send_header("no topic"), 1, b"x"), (send_header(self.topic, 99), 1, b"x"),
            (send_header(self.topic, properties={"p": "v" * 33000}), 13, b"x"),
            (send_header(self.topic, m="true"), 1, b"no batch"),
            (send_header(self.topic, m="true", properties={"DELAY": "1"}), 13, batch_body([b"x"])),
            (send_header("SCHEDULE_TOPIC_XXXX"), 16, b"x"), ({}, 1, b"x")))
        self.add(SEND_V2, header, body, code)

    def elsewhere(self):
        """Another queue, another new topic, a delay."""
        self.add(SEND_V2, self.source.choice((
            send_header(self.topic, 1), send_header(f"{self.topic}-{self.source.randrange(4)}"),
            send_header(self.topic, properties={"DELAY": "18"}))), b"x", SUCCESS)

    def fill(self, count):
        kinds = [self.single] * 6 + [self.long_form, self.large, self.not_waiting, self.oneway,
                                     self.batch, self.reply, self.illegal, self.elsewhere]
        for _ in range(count):
            self.source.choice(kinds)()


class InFlight(BrokerTest):
    COUNT = 400

    def mixture(self, name):
        print(f"{self.id()}: ORDER_SEED={SEED}", flush=True)
        mixture = Mixture(f"{name}-{self.options.get('flushDiskType', 'ASYNC')}",
                          random.Random(f"{SEED}-{self.id()}"))
        mixture.fill(self.COUNT)
        return mixture

    def check(self, clients, mixture):
        for client in clients:
            for opaque, expected in mixture.asked.items():
                answer = client.read_answer(opaque)
                self.assertEqual(answer.code, expected, answer)
        records = self.stored(mixture.topic, 0, len(mixture.stored) * len(clients))
        for client in clients:
            self.assertEqual([record.body for record in records
                              if "%s:%d" % record.born_host == client.local_address()],
                             mixture.stored)

    def test_everything_in_one_pipeline(self):
        """To a topic that the first of them creates."""
        mixture = self.mixture("pipeline")
        self.client.send_bytes(b"".join(mixture.frames))
        self.check([self.client], mixture)

    def test_in_pieces(self):
        """Cut anywhere, so that turns end anywhere."""
        mixture = self.mixture("pieces")
        data = b"".join(mixture.frames)
        while data:
            size = mixture.source.choice((1, 7, 100, 5000, 200000))
            self.client.send_bytes(data[:size])
            data = data[size:]
        self.check([self.client], mixture)

    def test_several_connections_at_once(self):
        """On all loops, both ports, to one queue."""
        mixture = self.mixture("several")
        clients = [self.connect(port=self.broker.port - 2 * (i % 2)) for i in range(6)]
        for start in range(0, len(mixture.frames), 40):
            for client in clients:
                client.send_bytes(b"".join(mixture.frames[start:start + 40]))
        self.check(clients, mixture)


class InFlightSync(InFlight):
    options = {"flushDiskType": "SYNC_FLUSH"}


class Killed(BrokerTest):
    """kill -9 under a sender with many messages in flight: what is stored is all that it sent up to
    some message, without gaps, and up to the last one acknowledged at least."""

    options = {"flushDiskType": "ASYNC_FLUSH", "mappedFileSizeCommitLog": 1 << 20,
               "maxMessageSize": 65536}
    ROUNDS = 4

    def send_until_killed(self, topic, number, source):
        client = self.broker.client()
        acknowledged = number - 1
        unanswered = []
        end = time.monotonic() + source.uniform(0.05, 0.5)
        try:
            while time.monotonic() < end:
                frames = []
                for _ in range(source.randrange(1, 200)):
                    body = b"%d" % number + b" " * source.randrange(2000)
                    frames.append(Command(SEND_V2, send_header(topic), body, number).encode())
                    unanswered.append(number)
                    number += 1
                client.send_bytes(b"".join(frames))
                while len(unanswered) > 300:
                    self.assertEqual(client.read_answer(unanswered[0]).code, SUCCESS)
                    acknowledged = unanswered.pop(0)
            self.broker.kill()
            while unanswered:
                self.assertEqual(client.read_answer(unanswered[0]).code, SUCCESS)
                acknowledged = unanswered.pop(0)
        except Closed:
            pass
        client.close()
        return number, acknowledged

    def test_no_gap(self):
        print(f"{self.id()}: ORDER_SEED={SEED}", flush=True)
        source = random.Random(f"{SEED}-{self.id()}")
        topic = self.topic()
        number = 0
        for _ in range(self.ROUNDS):
            _, acknowledged = self.send_until_killed(topic, number, source)
            self.broker.start()
            self.client = self.connect()
            wait_until(lambda: self.client.max_offset(topic) > acknowledged, "what was answered")
            stored = [int(record.body) for record in self.client.read_queue(topic)]
            self.assertEqual(stored, list(range(len(stored))))
            self.assertGreater(len(stored), acknowledged)
            number = len(stored)
        self.assertGreater(number, 0)


class KilledSync(Killed):
    options = {**Killed.options, "flushDiskType": "SYNC_FLUSH"}


class Consumers(BrokerTest):
    """Queue locks and offsets of consumers in order, over crashes of either side."""

    def lock(self, client, client_id, topic, queues=(0,), group="Ordered", code=LOCK):
        body = {"consumerGroup": group, "clientId": client_id,
                "mqSet": [{"topic": topic, "brokerName": "broker-a", "queueId": queue}
                          for queue in queues]}
        answer = client.call(code, None, rocketmq.json.dumps(body).encode())
        self.assertEqual(answer.code, SUCCESS)
        return sorted(queue["queueId"] for queue in answer.json()["lockOKMQSet"]) \
            if code == LOCK else None

    def consumer(self, client_id, topic):
        client = self.connect()
        self.assertEqual(client.call(HEARTBEAT, None,
                                     heartbeat(client_id, "Ordered", [(topic, "*", 1)])).code,
                         SUCCESS)
        return client

    def commit(self, client, topic, offset):
        self.assertEqual(client.call(UPDATE_OFFSET, {
            "consumerGroup": "Ordered", "topic": topic, "queueId": 0,
            "commitOffset": offset}).code, SUCCESS)

    def committed(self, client, topic):
        return int(client.call(QUERY_OFFSET, {"consumerGroup": "Ordered", "topic": topic,
                                              "queueId": 0}).ext["offset"])

    @staticmethod
    def holds(path, offset):
        """Does that file, the table of offsets or a journal of it, have this offset?"""
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:  # a save has just taken it away
            return False
        return offset.to_bytes(8, "big") in data or b":%d" % offset in data

    def test_a_consumer_crashes(self):
        """The next one has its queues at once, and goes on where the last commit was."""
        topic = self.topic(4)
        for i in range(20):
            self.sent(topic, b"%d" % i)
        self.stored(topic, 0, 20)
        first, second = self.consumer("first", topic), self.consumer("second", topic)
        self.assertEqual(self.lock(first, "first", topic, range(4)), [0, 1, 2, 3])
        self.assertEqual(self.lock(second, "second", topic, range(4)), [])
        self.commit(first, topic, 7)
        first.close()
        wait_until(lambda: self.lock(second, "second", topic, range(4)) == [0, 1, 2, 3],
                   "the locks of the consumer that has gone")
        self.assertEqual(self.committed(second, topic), 7)
        records = decode_records(second.pull(topic, 0, 7, group="Ordered").body)
        self.assertEqual([int(record.body) for record in records], list(range(7, 20)))

    def test_rebalance(self):
        """A queue changes hands only when its owner gives it back."""
        topic = self.topic(2)
        first, second = self.consumer("one", topic), self.consumer("two", topic)
        self.assertEqual(self.lock(first, "one", topic, (0, 1)), [0, 1])
        self.assertEqual(self.lock(second, "two", topic, (1,)), [])
        # Strangers give nothing back, nor do other groups' consumers of the same name.
        self.lock(second, "two", topic, (1,), code=UNLOCK)
        self.lock(second, "one", topic, (1,), group="Other", code=UNLOCK)
        self.assertEqual(self.lock(second, "two", topic, (1,)), [])
        self.assertEqual(self.lock(second, "two", topic, (1,), group="Other"), [1])
        self.lock(first, "one", topic, (1,), code=UNLOCK)
        self.assertEqual(self.lock(second, "two", topic, (0, 1)), [1])
        self.assertEqual(self.lock(first, "one", topic, (0, 1)), [0])

    def test_the_broker_crashes(self):
        """Locks are gone, and go to who asks first; offsets are not ahead of what was committed, nor
        far behind."""
        topic = self.topic()
        for i in range(50):
            self.sent(topic, b"%d" % i)
        first = self.consumer("before", topic)
        self.assertEqual(self.lock(first, "before", topic), [0])
        for offset in range(1, 31):
            self.commit(first, topic, offset)
        journals = self.broker.path("store/config/consumerOffset.*")
        wait_until(lambda: any(self.holds(name, 30) for name in glob.glob(journals)), "it is kept")
        self.commit(first, topic, 40)
        self.broker.kill()
        self.broker.start()
        self.client = self.connect()
        again = self.consumer("after", topic)
        self.assertEqual(self.lock(again, "after", topic), [0])
        self.assertEqual(self.lock(self.consumer("before", topic), "before", topic), [])
        self.assertIn(self.committed(again, topic), (30, 40))
        self.assertEqual([int(record.body) for record in self.stored(topic, 0, 50)],
                         list(range(50)))


if __name__ == "__main__":
    rocketmq.main("broker_order")
