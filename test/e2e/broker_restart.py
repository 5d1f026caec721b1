# SPDX-License-Identifier: Apache-2.0
"""What outlives the broker: ends, crashes and damage. A ledger holds what was acknowledged; after
the restart every acknowledged message must be there once, byte for byte, at the place that its
answer named.

A killed process leaves the page cache behind, so this shows that nothing acknowledged sits in the
broker's memory only; damage of the last file stands for a machine that lost its cache.
"""

import glob
import os
import random
import select
import signal
import socket
import struct
import threading
import time
import unittest

import rocketmq
from broker import (Broker, HEARTBEAT, PULL, PULL_NOT_FOUND, QUERY, QUERY_OFFSET, ROUTE,
                    SEND_V2, SUCCESS, TOPIC_NOT_EXIST, UPDATE_GROUP, UPDATE_OFFSET, VIEW,
                    decode_records, heartbeat, pull_header, send_header)
from rocketmq import (Closed, Command, DEADLINE_S, Daemon, TooSlow, free_port, wait_until,
                      with_times)

QUEUES = 4
SEGMENT_BYTES = 1 << 20


class Ledger:
    """What was sent (body -> sent) and what of it was acknowledged (body -> queue, offset, id)."""

    def __init__(self):
        self.sent = set()
        self.acknowledged = {}
        self.refused = set()


class Load(threading.Thread):
    """A producer that pipelines until its connection ends."""

    def __init__(self, broker, ledger, number, seed):
        super().__init__()
        self.client = broker.client()
        self.client.socket.setblocking(False)
        self.ledger = ledger
        self.number = number
        self.random = random.Random(seed)
        self.under_way = {}
        self.count = 0

    def run(self):
        out = b""
        try:
            while True:
                while len(self.under_way) < 64 and not out:
                    out += self.next_frame()
                readable, writable, _ = select.select(
                    [self.client.socket], [self.client.socket] if out else [], [], 10)
                if writable:
                    out = self.send(out)
                if readable:
                    self.take()
                if not readable and not writable:
                    raise AssertionError("the broker has gone quiet")
        except (OSError, Closed):
            pass
        finally:
            self.client.close()

    def send(self, out):
        try:
            return out[self.client.socket.send(out):]
        except (ConnectionResetError, BrokenPipeError):
            while True:  # what came before the end can still be read
                self.take()

    def next_frame(self):
        self.count += 1
        body = b"%d-%d-" % (self.number, self.count)
        body += self.random.randbytes(self.random.choice((0, 10, 300, 5000)))
        topic, queue_id = f"T{self.count % 2}", self.random.randrange(QUEUES)
        self.ledger.sent.add(body)
        self.under_way[self.count] = body, topic
        header = send_header(topic, queue_id, {"KEYS": f"k{self.number}-{self.count}"})
        return Command(SEND_V2, header, body, self.count).encode()

    def take(self):
        data = self.client.socket.recv(1 << 16)
        if not data:
            raise Closed()
        self.client.received += data
        while len(self.client.received) >= 4:
            size, = struct.unpack(">i", self.client.received[:4])
            if len(self.client.received) < 4 + size:
                return
            answer = rocketmq.decode(self.client.received[4:4 + size])
            self.client.received = self.client.received[4 + size:]
            body, topic = self.under_way.pop(answer.opaque)
            if answer.code == SUCCESS:
                self.ledger.acknowledged[body] = (topic, int(answer.ext["queueId"]),
                                                  int(answer.ext["queueOffset"]),
                                                  int(answer.ext["msgId"][16:], 16))
            else:
                self.ledger.refused.add(body)


class RestartTest(unittest.TestCase):
    def broker(self, **options):
        broker = Broker(mappedFileSizeCommitLog=SEGMENT_BYTES, maxMessageSize=65536,
                        mappedFileSizeConsumeQueue=4000, **options)
        self.addCleanup(broker.remove)
        return broker

    def create_topics(self, broker):
        with broker.client() as client:
            for topic in ("T0", "T1"):
                self.assertEqual(client.create_topic(topic, QUEUES).code, SUCCESS)

    def put_under_load(self, broker, ledger, seconds, end, seed):
        """Two producers for a while, then `end`."""
        loads = [Load(broker, ledger, seed * 100 + i, seed * 100 + i) for i in range(2)]
        before = len(ledger.acknowledged)
        for load in loads:
            load.start()
        time.sleep(seconds)
        wait_until(lambda: len(ledger.acknowledged) > before + 50, "some are acknowledged")
        end()
        for load in loads:
            load.join()

    def read_all(self, broker):
        """body -> place of every message; checks that the offsets have no gaps."""
        places = {}
        with broker.client() as client:
            for topic in ("T0", "T1"):
                for queue_id in range(QUEUES):
                    records = client.read_queue(topic, queue_id)
                    self.assertEqual([record.queue_offset for record in records],
                                     list(range(len(records))))
                    self.assertEqual(len(records), client.max_offset(topic, queue_id))
                    for record in records:
                        self.assertNotIn(record.body, places, "a message is there twice")
                        self.assertEqual((record.topic, record.queue_id), (topic, queue_id))
                        places[record.body] = topic, queue_id, record.queue_offset, record.position
        return places

    def check(self, broker, ledger):
        def all_dispatched():
            self.places = self.read_all(broker)
            return len(self.places) >= len(ledger.acknowledged)
        wait_until(all_dispatched, "every acknowledged message is readable")
        for body, place in ledger.acknowledged.items():
            self.assertEqual(self.places.get(body), place)
        self.assertEqual(ledger.refused & set(self.places), set())
        self.assertLessEqual(set(self.places), ledger.sent)
        self.check_queries(broker, ledger)

    def check_queries(self, broker, ledger):
        bodies = list(ledger.acknowledged)
        with broker.client() as client:
            for body in bodies[::max(1, len(bodies) // 20)]:
                topic, _, _, position = ledger.acknowledged[body]
                record, = decode_records(client.call(VIEW, {"offset": position}).body)
                self.assertEqual(record.body, body)
                found = lambda: [r.body for r in decode_records(client.call(QUERY, {
                    "topic": topic, "key": record.properties["KEYS"], "maxNum": 32,
                    "beginTimestamp": 0, "endTimestamp": 1 << 62}).body)]
                wait_until(lambda: body in found(), "the index knows it")


class Rounds(RestartTest):
    def rounds(self, flush, count):
        broker, ledger = self.broker(flushDiskType=flush), Ledger()
        broker.start()
        self.create_topics(broker)
        for number in range(count):
            end = broker.stop if number % 3 == 2 else broker.kill
            self.put_under_load(broker, ledger, 0.4, end, number)
            broker.start()
            self.check(broker, ledger)
        with broker.client() as client:
            self.assertEqual(client.produce("T0", b"after").code, SUCCESS)
        self.assertEqual(broker.stop(), 0)
        self.assertFalse(os.path.exists(broker.path("store/abort")))
        self.assertGreater(len(glob.glob(broker.path("store/commitlog/*"))), 1)
        broker.start()
        ledger.sent.add(b"after")
        self.check(broker, ledger)

    def test_async_flush(self):
        self.rounds("ASYNC_FLUSH", 6)

    def test_sync_flush(self):
        self.rounds("SYNC_FLUSH", 4)


class Tables(RestartTest):
    def fill(self, broker):
        with broker.client() as client:
            client.create_topic("T0", QUEUES)
            client.create_topic("Odd", 3, perm=4, read_queues=5)
            client.produce("Made-by-a-send", d=2)
            client.call(UPDATE_GROUP, None,
                        b'{"groupName":"Kept","retryMaxTimes":5,"consumeEnable":true}')
            client.call(UPDATE_OFFSET, {"consumerGroup": "Kept", "topic": "T0", "queueId": 3,
                                        "commitOffset": 77})

    def check_tables(self, broker):
        with broker.client() as client:
            topics = client.call(21).json()["topicConfigTable"]
            shape = lambda t: (t["readQueueNums"], t["writeQueueNums"], t["perm"])
            self.assertEqual([shape(topics[name]) for name in ("T0", "Odd", "Made-by-a-send")],
                             [(4, 4, 6), (5, 3, 4), (2, 2, 6)])
            groups = client.call(201).json()["subscriptionGroupTable"]
            self.assertEqual(groups["Kept"]["retryMaxTimes"], 5)
            answer = client.call(QUERY_OFFSET,
                                 {"consumerGroup": "Kept", "topic": "T0", "queueId": 3})
            self.assertEqual(answer.ext, {"offset": "77"})
            self.assertEqual(len(client.read_queue("Made-by-a-send")), 1)

    def test_a_clean_end(self):
        broker = self.broker()
        broker.start()
        self.fill(broker)
        for _ in range(3):
            broker.restart()
            self.check_tables(broker)

    def test_a_crash(self):
        broker = self.broker(flushConsumerOffsetInterval=100)
        broker.start()
        self.fill(broker)
        wait_until(lambda: "77" in broker.read("store/config/consumerOffset.json"),
                   "the offsets are saved")
        broker.kill()
        self.assertTrue(os.path.exists(broker.path("store/abort")))
        broker.start()
        self.check_tables(broker)

    def test_a_created_topic_is_saved_before_the_answer(self):
        broker = self.broker()
        broker.start()
        for i in range(5):
            with broker.client() as client:
                self.assertEqual(client.produce(f"new{i}", b"m").code, SUCCESS)
            broker.kill()
            broker.start()
            with broker.client() as client:
                wait_until(lambda: client.max_offset(f"new{i}") == 1, "it is dispatched")
                self.assertEqual([r.body for r in client.read_queue(f"new{i}")], [b"m"])

    @staticmethod
    def send_until_one_is_taken(clients, frames):
        """Those that are refused, since too many wait already, promise nothing."""
        while True:
            for client in clients:
                client.send_bytes(frames)
            for client in clients:
                while client.received or select.select([client.socket], [], [], 0)[0]:
                    if client.read_frame().code == SUCCESS:
                        return

    def test_whoever_else_sends_to_it_waits_too(self):
        """Other connections find a topic that the first send has made and not saved yet."""
        broker = self.broker()
        broker.start()
        for i in range(15):
            topic = f"new{i}"
            frames = Command(SEND_V2, send_header(topic), b"m", 1).encode()
            clients = [broker.client() for _ in range(4)]
            self.send_until_one_is_taken(clients, frames)
            broker.kill()
            broker.start()
            with broker.client() as client:
                self.assertIn(topic, client.call(21).json()["topicConfigTable"])
            for client in clients:
                client.close()

    def test_a_retry_topic_made_by_a_heartbeat_too(self):
        """The heartbeat is answered before its topic is saved; a send to it is not."""
        broker = self.broker()
        broker.start()
        for i in range(5):
            with broker.client() as client:
                self.assertEqual(client.call(HEARTBEAT, None, heartbeat(
                    "c", f"g{i}", [("T0", "*", 1)])).code, SUCCESS)
                answer = client.produce(f"%RETRY%g{i}", l=16)
                self.assertEqual(answer.code, SUCCESS, answer)
            broker.kill()
            broker.start()
            with broker.client() as client:
                self.assertIn(f"%RETRY%g{i}", client.call(21).json()["topicConfigTable"])

    def test_the_dead_letter_topic_too(self):
        broker = self.broker()
        broker.start()
        with broker.client() as client:
            self.assertEqual(client.produce("%RETRY%G", b"r", j=0, l=1).code, SUCCESS)
            self.assertEqual(client.produce("%RETRY%G", b"dead", j=1, l=1).code, SUCCESS)
        broker.kill()
        broker.start()
        with broker.client() as client:
            wait_until(lambda: client.max_offset("%DLQ%G") == 1, "it is dispatched")
            self.assertEqual([r.body for r in client.read_queue("%DLQ%G")], [b"dead"])


class Damage(RestartTest):
    """The end of the log is torn: what lies before the damage is there, and the broker goes on."""

    def damaged(self, damage, before_start=None):
        broker, ledger = self.broker(), Ledger()
        broker.start()
        self.create_topics(broker)
        self.put_under_load(broker, ledger, 0.2, broker.kill, 1)
        end = max(place[3] for place in ledger.acknowledged.values())
        last = max(glob.glob(broker.path("store/commitlog/*")),
                   key=lambda path: int(os.path.basename(path)) if int(
                       os.path.basename(path)) <= end else -1)
        start = int(os.path.basename(last))
        cut = end - start
        with open(last, "r+b") as file:
            damage(file, cut)
        if before_start is not None:
            before_start(broker, last)
        broker.start()
        kept = {body: place for body, place in ledger.acknowledged.items() if place[3] < end}

        def all_dispatched():
            self.places = self.read_all(broker)
            return len(self.places) >= len(kept)
        wait_until(all_dispatched, "everything before the damage is readable")
        for body, place in kept.items():
            self.assertEqual(self.places.get(body), place)
        self.assertLessEqual(set(self.places), ledger.sent)
        self.assertTrue(all(place[3] < end for place in self.places.values()))
        # New messages take the place of the torn ones, and stay.
        second = Ledger()
        self.put_under_load(broker, second, 0.2, broker.kill, 2)
        broker.start()
        second.sent |= ledger.sent
        second.acknowledged.update(kept)
        self.check(broker, second)

    def test_cut_off(self):
        """A file of the wrong size is not touched: it may be the option that is wrong. Brought to
        its size again, the log is recovered."""
        def refused(broker, last):
            broker.launch()
            self.assertEqual(broker.wait(), 4)
            self.assertIn(last, broker.output())
            self.assertIn("mappedFileSizeCommitLog", broker.output())
            os.truncate(last, SEGMENT_BYTES)
        self.damaged(lambda file, at: file.truncate(at + 20), refused)

    def test_a_file_that_was_being_made(self):
        """A crash may leave the next file of the log empty."""
        broker, ledger = self.broker(), Ledger()
        broker.start()
        self.create_topics(broker)
        self.put_under_load(broker, ledger, 0.1, broker.kill, 1)
        files = sorted(glob.glob(broker.path("store/commitlog/*")))
        path = broker.path("store/commitlog/%020d" % (int(os.path.basename(files[-1])) +
                                                      SEGMENT_BYTES))
        with open(path, "wb"):
            pass
        broker.start()
        self.check(broker, ledger)

    def test_zeroes(self):
        def zero(file, at):
            size = os.fstat(file.fileno()).st_size
            file.seek(at + 40)
            file.write(bytes(size - at - 40))
        self.damaged(zero)

    def test_garbage(self):
        def garble(file, at):
            file.seek(at)
            file.write(random.Random(3).randbytes(3000))
        self.damaged(garble)

    def test_a_flipped_bit(self):
        """In the body of the last message: its checksum tells."""
        def flip(file, at):
            file.seek(at + 84)
            byte = file.read(1)
            file.seek(at + 84)
            file.write(bytes([byte[0] ^ 1]))
            size = os.fstat(file.fileno()).st_size
            self.assertLess(at + 84, size)
        self.damaged(flip)

    def test_queues_and_index_are_made_again(self):
        broker, ledger = self.broker(), Ledger()
        broker.start()
        self.create_topics(broker)
        self.put_under_load(broker, ledger, 0.2, broker.kill, 1)
        for name in ("consumequeue", "index", "checkpoint"):
            path = broker.path(f"store/{name}")
            for folder, _, files in os.walk(path):
                for file in files:
                    os.unlink(os.path.join(folder, file))
            if os.path.isfile(path):
                os.unlink(path)
        broker.start()
        self.check(broker, ledger)


class Ends(RestartTest):
    def launch(self, broker):
        broker.launch()
        return broker.wait(), broker.output()

    def test_one_store_for_one_broker(self):
        first = self.broker()
        first.start()
        second = self.broker(storePathRootDir=first.options["storePathRootDir"])
        status, output = self.launch(second)
        self.assertEqual(status, 3)
        self.assertIn(first.options["storePathRootDir"], output)
        with first.client() as client:
            self.assertEqual(client.produce("T0").code, SUCCESS)
        self.assertTrue(os.path.exists(first.path("store/abort")))

    def test_a_path_that_is_a_file(self):
        broker = self.broker()
        path = broker.path("file")
        with open(path, "w", encoding="ascii") as file:
            file.write("not a folder")
        broker.options["storePathRootDir"] = path
        status, output = self.launch(broker)
        self.assertEqual(status, 5)
        self.assertIn(path, output)
        self.assertIn("storePathRootDir", output)
        self.assertEqual(broker.read("file"), "not a folder")

    def test_the_folder_of_the_log_is_made(self):
        """On a host of its own no name server has made it."""
        broker = self.broker()
        broker.options["logFile"] = broker.path("logs/rocketmqlogs/broker.log")
        broker.start()
        self.assertIn("boot success", broker.read("logs/rocketmqlogs/broker.log"))

    def test_a_log_whose_folder_cannot_be_made(self):
        broker = self.broker()
        with open(broker.path("file"), "w", encoding="ascii") as file:
            file.write("not a folder")
        broker.options["logFile"] = broker.path("file/broker.log")
        status, output = self.launch(broker)
        self.assertEqual(status, 5)
        self.assertIn(broker.options["logFile"], output)
        self.assertIn("set logFile", output)

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_a_folder_that_may_not_be_written(self):
        broker = self.broker()
        broker.start()
        self.assertEqual(broker.stop(), 0)
        store = broker.path("store")
        os.chmod(store, 0o555)
        self.addCleanup(os.chmod, store, 0o755)
        status, output = self.launch(broker)
        self.assertEqual(status, 5)
        self.assertIn(store, output)

    def test_damaged_tables(self):
        """Neither topics.json nor its backup can be read: refused, nothing changed."""
        broker = self.broker()
        broker.start()
        self.create_topics(broker)
        self.assertEqual(broker.stop(), 0)
        paths = [broker.path("store/config/topics.json" + tail) for tail in ("", ".bak")]
        for path in paths:
            with open(path, "w", encoding="ascii") as file:
                file.write("{ damaged")
        status, output = self.launch(broker)
        self.assertEqual(status, 4)
        for path in paths:
            self.assertIn(path, output)
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "{ damaged")

    def test_a_taken_port(self):
        for distance in (0, -2):
            with socket.socket() as holder:
                broker = self.broker()
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                holder.bind(("0.0.0.0", broker.port + distance))
                holder.listen()
                status, output = self.launch(broker)
                self.assertEqual(status, 1)
                self.assertIn(str(broker.port + distance), output)
                self.assertIn("listenPort", output)

    def test_calls_under_way_are_answered(self):
        """SIGTERM in the midst of a pipeline: an answer for all that was taken, and nothing else is
        stored."""
        for flush in ("ASYNC_FLUSH", "SYNC_FLUSH"):
            broker, ledger = self.broker(flushDiskType=flush), Ledger()
            broker.start()
            self.create_topics(broker)
            self.put_under_load(broker, ledger, 0.2, lambda: broker.signal(signal.SIGTERM), 1)
            self.assertEqual(broker.wait(), 0)
            broker.start()
            self.check(broker, ledger)
            self.assertEqual(set(self.places), set(ledger.acknowledged))

    def test_both_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            broker = self.broker()
            broker.start()
            broker.signal(number)
            self.assertEqual(broker.wait(), 0)
            self.assertIn("broker stopped", broker.log())

    def test_nobody_holds_up_the_end(self):
        """A name server that hangs costs 3 seconds, a client that does not read its answers the
        configured time; a second signal ends at once."""
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        self.addCleanup(server.kill)
        server.start()
        broker = self.broker(namesrvAddr=server.address, shutdownTimeoutMillis=500)
        broker.start()
        self.create_topics(broker)
        deaf = broker.client()
        self.addCleanup(deaf.close)
        for _ in range(20):
            deaf.produce("T0", b"x" * 60000)
        wait_until(lambda: deaf.max_offset("T0") == 20, "all are dispatched")
        deaf.send_bytes(b"".join(Command(PULL, pull_header("T0", 0, 0), opaque=i).encode()
                                 for i in range(300)))
        server.freeze()
        started = time.monotonic()
        self.assertEqual(broker.stop(), 0)
        self.assertLess(time.monotonic() - started, DEADLINE_S / 2)
        broker.start()
        broker.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in broker.log().split("boot success")[-1], "it is stopping")
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), -signal.SIGTERM)
        broker.start()
        with broker.client() as client:
            self.assertEqual(len(client.read_queue("T0")), 20)

    @with_times(3000, 3000, 3000)  # what the broker gives a name server
    def test_pulls_are_held_during_the_farewell(self, time_ms):
        """While a name server takes its time over it, a pull that finds nothing is held, or clients
        would ask again and again."""
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        self.addCleanup(server.kill)
        server.start()
        broker = self.broker(namesrvAddr=server.address)
        broker.start()
        with broker.client() as client:
            client.create_topic("T0")
            with server.connect() as route:
                wait_until(lambda: route.call(ROUTE, {"topic": "T0"}).code == SUCCESS,
                           "the name server knows it")
            server.freeze()
            broker.signal(signal.SIGTERM)
            began = time.monotonic()
            wait_until(lambda: "stopping" in broker.log(), "it is stopping")
            try:
                answer = client.read_answer(client.start_pull("T0"))
            except (Closed, OSError):
                answer = None
            in_time = time.monotonic() - began < time_ms / 1000
        log = broker.log()
        self.assertEqual(broker.wait(), 0)
        if answer is None and not in_time:
            raise TooSlow()
        self.assertEqual(answer.code, PULL_NOT_FOUND)
        # It was answered at the end of the farewell, not at once.
        self.assertIn("a name server was not told of the shutdown", log)

    def test_the_name_server_hears_of_it(self):
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        server.start()
        broker = self.broker(namesrvAddr=server.address)
        broker.start()
        with broker.client() as client, server.connect() as route:
            client.create_topic("T0")
            self.assertEqual(route.call(ROUTE, {"topic": "T0"}).code, SUCCESS)
            broker.signal(signal.SIGTERM)
            wait_until(lambda: route.call(ROUTE, {"topic": "T0"}).code == TOPIC_NOT_EXIST,
                       "the route is gone")
        self.assertEqual(broker.wait(), 0)
        self.assertIn("unregistered", server.log())


if __name__ == "__main__":
    rocketmq.main("broker_restart")
