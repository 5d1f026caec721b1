# SPDX-License-Identifier: Apache-2.0
"""A stop in the midst of traffic: whoever sends while a server takes its leave gets an answer to
everything, or is told by a reset that no answer will come. A request that is neither answered nor
reset would hang at its client until the time-out, since an end of stream in good order does not
fail calls in all clients (4.9.2's in Java).

What the answers promise holds after the restart.
"""

import errno
import random
import select
import signal
import socket
import struct
import threading
import time
import unittest

import rocketmq
from broker import (Broker, PULL_NOT_FOUND, ROUTE, SEND_V2, SUCCESS, UPDATE_OFFSET, QUERY_OFFSET,
                    send_header)
from rocketmq import Command, Daemon, FLAG_ONEWAY, free_port, wait_until

SHUTTING_DOWN = 14
RUNTIME_INFO = 28
TCP_ESTABLISHED = 1
QUEUES = 4
PATIENCE_S = 60


class Talker(threading.Thread):
    """Sends requests on one connection, at most `window` of them without an answer, until the
    connection has ended. `polite`: until it is refused; it waits for the end then. `unanswered` are
    those that were handed to the system before the server's end of stream had come."""

    def __init__(self, port, number, window, polite, pause_s=0):
        super().__init__()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number, self.window, self.polite, self.pause_s = number, window, polite, pause_s
        self.random = random.Random(number)
        self.count = 0
        self.out, self.making = b"", {}
        self.unanswered, self.late = {}, {}
        self.received = b""
        self.answers = {}
        self.silent = self.reset = self.refused = False
        self.failure = None

    def request(self, opaque):
        raise NotImplementedError

    def run(self):
        try:
            while self.step():
                pass
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                self.failure = error
            self.reset = True
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error
        finally:
            self.socket.close()

    def step(self):
        if not self.out and not self.silent and len(self.unanswered) < self.window:
            time.sleep(self.random.random() * self.pause_s)
            while len(self.unanswered) + len(self.making) < self.window:
                self.count += 1
                request = self.request(self.count)
                self.out += request.encode()
                if not request.flag & FLAG_ONEWAY:
                    self.making[self.count] = request
        readable, writable, _ = select.select(
            [self.socket], [self.socket] if self.out else [], [], PATIENCE_S)
        if not readable and not writable:
            raise AssertionError(f"no answer and no end, unanswered: {list(self.unanswered)}")
        if writable:
            self.write()
        return not readable or self.read()

    def write(self):
        try:
            self.out = self.out[self.socket.send(self.out):]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
            # The system says it once only; what came before can still be read.
            self.reset = self.silent = True
            self.out = b""
            return
        state = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state != TCP_ESTABLISHED:
            self.silent = True
            self.late.update(self.making)
            self.out, self.making = b"", {}
        elif not self.out:
            self.unanswered.update(self.making)
            self.making = {}

    def read(self):
        data = self.socket.recv(1 << 16)
        self.received += data
        while len(self.received) >= 4:
            size, = struct.unpack_from(">i", self.received)
            if len(self.received) < 4 + size:
                break
            self.take(rocketmq.decode(self.received[4:4 + size]))
            self.received = self.received[4 + size:]
        return bool(data)

    def take(self, answer):
        waiting, = (them for them in (self.unanswered, self.making, self.late)
                    if answer.opaque in them)
        request = waiting.pop(answer.opaque)
        assert answer.flag & 1, answer
        self.answers[answer.opaque] = request, answer
        if answer.code == SHUTTING_DOWN:
            self.refused = True
            self.silent |= self.polite


class Producer(Talker):
    def request(self, opaque):
        if self.window > 1 and opaque % 16 == 0:
            return Command(RUNTIME_INFO, None, b"", opaque)
        topic = f"T{opaque % 2}"
        body = b"%d-%d-" % (self.number, opaque) + self.random.randbytes(300)
        flag = FLAG_ONEWAY if self.window > 1 and opaque % 16 == 5 else 0
        return Command(SEND_V2, send_header(topic, self.random.randrange(QUEUES)), body, opaque,
                       flag)


class Router(Talker):
    def request(self, opaque):
        return Command(ROUTE, {"topic": "T"}, b"", opaque)


class StopTest(unittest.TestCase):
    def talk(self, kind, daemon, seed):
        """Let connections of every manner talk for a moment, and end the server meanwhile."""
        manners = [(64, False, 0), (64, True, 0), (8, False, 0), (8, True, 0.01), (1, False, 0),
                   (1, True, 0), (1, False, 0.02), (1, True, 0.02)]
        talkers = [kind(daemon.port, seed * 100 + i, *manner) for i, manner in enumerate(manners)]
        for talker in talkers:
            talker.start()
        time.sleep(random.Random(seed).random() * 0.1)
        wait_until(lambda: all(talker.answers or not talker.is_alive() for talker in talkers),
                   "all have answers")
        daemon.signal(signal.SIGTERM)
        for talker in talkers:
            talker.join()
        self.assertEqual(daemon.wait(), 0)
        for talker in talkers:
            what = f"seed {seed}, connection {talker.number}"
            self.assertIsNone(talker.failure, what)
            if not talker.reset:
                self.assertEqual(list(talker.unanswered), [], what)
        return talkers


class BrokerStops(StopTest):
    def rounds(self, count, **options):
        broker = Broker(**options)
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            for topic in ("T0", "T1"):
                self.assertEqual(client.create_topic(topic, QUEUES).code, SUCCESS)
        refusals = endings = 0
        for seed in range(count):
            talkers = self.talk(Producer, broker, seed)
            endings += sum(not talker.unanswered for talker in talkers if talker.polite)
            broker.start()
            refusals += self.check_store(broker, talkers)
        self.assertGreater(refusals, count)
        # Those that stop when they are told have all their answers, but for some that were slow to.
        self.assertGreater(endings, count)

    def check_store(self, broker, talkers):
        """Acknowledged is what is there, but for the one-way ones. Returns how many were refused."""
        stored = set()
        with broker.client() as client:
            for topic in ("T0", "T1"):
                for queue_id in range(QUEUES):
                    stored |= {record.body for record in client.read_queue(topic, queue_id)}
        refusals = 0
        for talker in talkers:
            for request, answer in talker.answers.values():
                if answer.code == SHUTTING_DOWN:
                    self.assertIn("shutting down", answer.remark)
                    refusals += 1
                if request.code == SEND_V2:
                    self.assertEqual(request.body in stored, answer.code == SUCCESS, answer)
        return refusals

    def test_async_flush(self):
        self.rounds(20)

    def test_sync_flush(self):
        self.rounds(10, flushDiskType="SYNC_FLUSH")

    def test_held_pulls_and_commits(self):
        """A held pull is let go, the next one is refused, and what the consumer commits meanwhile
        is kept."""
        broker = Broker()
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            self.assertEqual(client.create_topic("T0").code, SUCCESS)
            self.assertEqual(client.produce("T0", b"m").code, SUCCESS)
            wait_until(lambda: client.max_offset("T0") == 1, "it is dispatched")
        # The broker waits for the next pull for a moment only, which may be too short here.
        offset = next(offset for offset in range(1, 20) if self.commit_late(broker, offset))
        with broker.client() as client:
            answer = client.call(QUERY_OFFSET, {"consumerGroup": "G", "topic": "T0", "queueId": 0})
            self.assertEqual(answer.ext, {"offset": str(offset)})

    def commit_late(self, broker, offset):
        """Stop and start the broker; False when this client was too slow."""
        with broker.client() as client:
            held = client.start_pull("T0", 0, 1)
            client.max_offset("T0")
            broker.signal(signal.SIGTERM)
            self.assertEqual(client.read_answer(held).code, PULL_NOT_FOUND)
            try:
                late = client.start_pull("T0", 0, 1)
                commit = client.send(UPDATE_OFFSET, {"consumerGroup": "G", "topic": "T0",
                                                     "queueId": 0, "commitOffset": offset})
                answer, committed = client.read_answer(late), client.read_answer(commit)
            except (rocketmq.Closed, OSError):
                answer = None
            else:
                # Right behind the answer the broker may still have been serving.
                self.assertIn(answer.code, (SHUTTING_DOWN, PULL_NOT_FOUND))
                self.assertEqual(committed.code, SUCCESS)
                self.assertTrue(client.is_closed_by_peer())
        self.assertEqual(broker.wait(), 0)
        broker.start()
        return answer is not None and answer.code == SHUTTING_DOWN


class NameServerStops(StopTest):
    def test_routes_are_told_to_the_end(self):
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        for seed in range(10):
            server.start()
            for talker in self.talk(Router, server, seed):
                self.assertFalse(talker.refused, "another one is not asked then")


if __name__ == "__main__":
    rocketmq.main("stop")
