# SPDX-License-Identifier: Apache-2.0
"""A backlog that is on disk only: consumers get all of it, byte for byte, while a producer goes on;
what they read does not stay in the page cache; nothing is lost or answered twice when a connection
or the broker ends in between.

The files are made cold by POSIX_FADV_DONTNEED while no broker maps them, and mincore says that they
are. A file system that lives in memory can not be cold; there these tests are skipped. Source of
the rules: docs/store.md, "Reading".
"""

import ctypes
import glob
import json
import os
import random
import signal
import threading
import time
import unittest

import rocketmq
from broker import (Broker, PULL, PULL_NOT_FOUND, QUERY_OFFSET, RUNTIME_INFO, SEARCH_OFFSET,
                    SEND_BATCH, SUCCESS, SYSTEM_ERROR, UPDATE_CONFIG, UPDATE_GROUP, VIEW, batch_body,
                    decode_records, pull_header)
from broker_pop import POLLING_TIMEOUT, POP, pop_header, read_popped
from rocketmq import Closed, Command, wait_until

QUEUES = 4
SEGMENT_BYTES = 1 << 20
CACHE_BYTES = 4 << 20
BODY_BYTES = 4000
BATCHES = 64  # of 100 messages: 26 MB
PER_BATCH = 100
SERVICE_NOT_AVAILABLE = 14

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def bytes_in_memory(path):
    """How much of a file is in the page cache."""
    page = os.sysconf("SC_PAGESIZE")
    fd = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(fd).st_size
        memory = LIBC.mmap(None, size, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED
        pages = ctypes.create_string_buffer((size + page - 1) // page)
        if memory == ctypes.c_void_p(-1).value or LIBC.mincore(memory, size, pages) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        LIBC.munmap(memory, size)
    finally:
        os.close(fd)
    return sum(value & 1 for value in pages.raw) * page


def make_cold(path):
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


class Producer(threading.Thread):
    """Sends until it is told to end; knows what was acknowledged."""

    def __init__(self, broker):
        super().__init__()
        self.client = broker.client()
        self.bodies = []
        self.failure = None
        self.ending = threading.Event()

    def run(self):
        try:
            while not self.ending.is_set():
                body = b"fresh-%d" % len(self.bodies)
                answer = self.client.produce("Fresh", body)
                if answer.code != SUCCESS:
                    raise AssertionError(answer)
                self.bodies.append(body)
        except (OSError, AssertionError, Closed) as failure:
            self.failure = failure
        finally:
            self.client.close()


class ColdTest(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(mappedFileSizeCommitLog=SEGMENT_BYTES, coldReadCacheBytes=CACHE_BYTES,
                             maxMessageSize=65536)
        self.addCleanup(self.broker.remove)
        self.broker.start()
        self.random = random.Random(4)
        self.backlog = [[] for _ in range(QUEUES)]  # bodies by queue
        with self.broker.client() as client:
            self.assertEqual(client.create_topic("Old", QUEUES).code, SUCCESS)
            self.assertEqual(client.create_topic("Fresh").code, SUCCESS)
            for i in range(BATCHES):
                bodies = [self.random.randbytes(BODY_BYTES) for _ in range(PER_BATCH)]
                for at in range(0, PER_BATCH, 10):
                    answer = client.produce("Old", batch_body(bodies[at:at + 10]), i % QUEUES,
                                            code=SEND_BATCH, m="true")
                    self.assertEqual(answer.code, SUCCESS, answer)
                self.backlog[i % QUEUES] += bodies
            wait_until(lambda: all(client.max_offset("Old", i) == len(self.backlog[i])
                                   for i in range(QUEUES)), "all are dispatched")
        self.assertEqual(self.broker.stop(), 0)
        # The last two may be looked at by the start.
        self.segments = sorted(glob.glob(self.broker.path("store/commitlog/*")))[:-2]
        self.assertGreater(len(self.segments), 20)
        self.chill()
        self.broker.start()

    def chill(self):
        for path in self.segments + glob.glob(self.broker.path("store/consumequeue/Old/*/*")):
            make_cold(path)
        if self.warm_bytes() > 0:
            self.skipTest("the files can not be made cold here")

    def warm_bytes(self):
        return sum(map(bytes_in_memory, self.segments))

    def counters(self, client):
        table = client.call(RUNTIME_INFO).json()["table"]
        return {name: int(value) for name, value in table.items() if name.startswith("cold")}

    def read_backlog(self, client, queue_id, from_offset=0):
        """The bodies of a queue; pulls only."""
        bodies = []
        offset = from_offset
        while offset < len(self.backlog[queue_id]):
            answer = client.pull("Old", queue_id, offset)
            self.assertEqual(answer.code, SUCCESS, answer)
            records = decode_records(answer.body)
            self.assertEqual([record.queue_offset for record in records],
                             list(range(offset, offset + len(records))))
            bodies += [record.body for record in records]
            offset = int(answer.ext["nextBeginOffset"])
        return bodies

    def test_a_backlog_passes_through(self):
        producer = Producer(self.broker)
        producer.start()
        with self.broker.client() as client:
            self.assertEqual(self.counters(client)["coldReads"], 0)
            for queue_id in range(QUEUES):
                bodies = self.read_backlog(client, queue_id)
                self.assertTrue(bodies == self.backlog[queue_id], "another body than was sent")
            producer.ending.set()
            producer.join()
            self.assertIsNone(producer.failure)
            after = self.counters(client)
            stored = len(self.segments) * SEGMENT_BYTES
            # The queues take turns in the log, so each pass brings in at least its quarter.
            self.assertGreater(after["coldReadBytes"], stored / 2)
            self.assertGreater(after["coldReads"], 5)
            self.assertEqual((after["coldReadFailures"], after["coldReadsWaiting"]), (0, 0))
            self.assertLessEqual(after["coldReadBytesKept"], CACHE_BYTES)
            self.assertGreater(after["coldReadBytesDropped"], 0)
            self.assertLess(self.warm_bytes(), CACHE_BYTES + (2 << 20))
            wait_until(lambda: client.max_offset("Fresh") == len(producer.bodies), "dispatched")
            fresh = [record.body for record in client.read_queue("Fresh")]
            self.assertEqual(fresh, producer.bodies)

    def test_who_reads_from_disk_is_sent_to_the_slave(self):
        """suggestWhichBrokerId: 4.9.2's rule is how far behind a consumer is; here what it costs."""
        with self.broker.client() as client:
            suggested = lambda offset: client.pull("Old", 0, offset).ext["suggestWhichBrokerId"]
            self.assertEqual(suggested(0), "0")  # slaveReadEnable=false
            client.call(UPDATE_CONFIG, body=b"slaveReadEnable=true")
            # From disk; then what a cold read has brought in along, with more disk ahead of it.
            self.assertEqual([suggested(500), suggested(508)], ["1", "1"])
            end = len(self.backlog[0])
            self.assertEqual(client.pull("Old", 0, end).ext["suggestWhichBrokerId"], "0")
            client.produce("Fresh")
            wait_until(lambda: client.max_offset("Fresh") == 1, "it is dispatched")
            self.assertEqual(client.pull("Fresh").ext["suggestWhichBrokerId"], "0")
            # Everything in memory: nobody needs a slave, but by 4.9.2's rule.
            for path in self.segments + glob.glob(self.broker.path("store/consumequeue/Old/*/*")):
                with open(path, "rb") as file:
                    file.read()
            wait_until(lambda: suggested(500) == "0", "it is seen that everything is in memory")
            client.call(UPDATE_CONFIG, body=b"accessMessageInMemoryMaxRatio=0")
            group = {"groupName": "Slow", "consumeEnable": True, "brokerId": 3,
                     "whichBrokerWhenConsumeSlowly": 7}
            client.call(UPDATE_GROUP, body=json.dumps(group).encode())
            answer = client.pull("Old", 0, 0, group="Slow")
            self.assertEqual(answer.ext["suggestWhichBrokerId"], "7")
            answer = client.pull("Old", 0, len(self.backlog[0]), group="Slow")
            self.assertEqual(answer.ext["suggestWhichBrokerId"], "3")
            # On disk by that rule: 8 messages at most, or as many as is said.
            pulled = lambda: len(decode_records(client.pull("Old", 0, 0, count=100).body))
            self.assertEqual(pulled(), 8)
            client.call(UPDATE_CONFIG, body=b"maxTransferCountOnMessageInDisk=5")
            self.assertEqual(pulled(), 5)

    def test_single_records(self):
        """Commands that look for one record find it on disk; the loop does not."""
        with self.broker.client() as client:
            # Nobody has read the queue: whether its first message is near is on disk, too.
            answer = client.call(QUERY_OFFSET, {"consumerGroup": "G", "topic": "Old", "queueId": 1})
            self.assertEqual((answer.code, answer.ext["offset"]), (SUCCESS, "0"))
            self.assertEqual(bytes_in_memory(self.segments[0]), 0)
            answer = client.call(SEARCH_OFFSET, {"topic": "Old", "queueId": 1, "timestamp": 0})
            self.assertEqual((answer.code, answer.ext["offset"]), (SUCCESS, "0"))
            record, = decode_records(client.call(VIEW, {"offset": 0}).body)
            self.assertEqual(record.body, self.backlog[0][0])
            self.assertGreater(self.counters(client)["coldReadBytes"], 0)
            self.assertEqual(self.counters(client)["coldReads"], 0)

    def test_a_file_that_cannot_be_read(self):
        """A segment cut short under the broker: those who need it get an error that names it, the
        others notice nothing, and when it is back all is well."""
        segment = self.segments[3]
        with open(segment, "rb") as file:
            data = file.read()
        make_cold(segment)
        os.truncate(segment, 4096)
        with self.broker.client() as client:
            for _ in range(2):
                offset = 0
                while (answer := client.pull("Old", 0, offset)).code == SUCCESS:
                    offset = int(answer.ext["nextBeginOffset"])
                self.assertEqual(answer.code, SYSTEM_ERROR, answer)
                self.assertIn(segment, answer.remark)
                self.assertIn("Input/output error", answer.remark)
            view = client.call(VIEW, {"offset": 3 * SEGMENT_BYTES + 8192})
            self.assertEqual(view.code, SYSTEM_ERROR)
            self.assertIn("refuses to read", view.remark)
            self.assertEqual(client.produce("Fresh").code, SUCCESS)
            # What lies behind it in the log can be had.
            self.assertTrue(self.read_backlog(client, 0, 800) == self.backlog[0][800:])
            self.assertGreater(self.counters(client)["coldReadFailures"], 2)
            self.assertEqual(self.broker.log().count("a file cannot be read"), 1)
            with open(segment, "r+b") as file:
                file.write(data)
            self.assertTrue(self.read_backlog(client, 0) == self.backlog[0])

    def test_pops(self):
        """A backlog is popped by several at once: each message once, byte for byte, from disk."""
        popped = []
        lock = threading.Lock()

        def take():
            with self.broker.client() as client:
                misses = 0
                while misses < 20:
                    answer = client.call(POP, pop_header("Old"))
                    if answer.code == POLLING_TIMEOUT:  # or others are reading all the queues
                        misses += 1
                        time.sleep(0.05)
                        continue
                    misses = 0
                    messages = read_popped(answer)
                    with lock:
                        popped.extend((message.queue_id, message.offset, message.body)
                                      for message in messages)
        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = [(queue_id, offset, body) for queue_id in range(QUEUES)
                  for offset, body in enumerate(self.backlog[queue_id])]
        self.assertTrue(sorted(popped) == wanted, f"{len(popped)} messages, not all or others")
        with self.broker.client() as client:
            self.assertGreater(self.counters(client)["coldReads"], 5)

    def test_pop_of_a_file_that_cannot_be_read(self):
        """The pop is refused, the queue is given back, and later pops get all."""
        segment = self.segments[3]
        with open(segment, "rb") as file:
            data = file.read()
        make_cold(segment)
        os.truncate(segment, 4096)
        with self.broker.client() as client:
            bodies = []
            while (answer := client.call(POP, pop_header("Old", queue_id=0))).code == SUCCESS:
                bodies += [message.body for message in read_popped(answer)]
            self.assertEqual(answer.code, SYSTEM_ERROR, answer)
            self.assertIn(segment, answer.remark)
            with open(segment, "r+b") as file:
                file.write(data)
            while (answer := client.call(POP, pop_header("Old", queue_id=0))).code == SUCCESS:
                bodies += [message.body for message in read_popped(answer)]
            self.assertEqual(answer.code, POLLING_TIMEOUT)
            self.assertTrue(bodies == self.backlog[0], "not all, or others")

    def test_many_at_once(self):
        """Pulls all over the backlog, sent without waiting: each is answered once, with its own."""
        places = [(queue_id, offset) for queue_id in range(QUEUES)
                  for offset in range(0, len(self.backlog[queue_id]), 20)]
        self.random.shuffle(places)
        with self.broker.client() as client:
            opaques = [client.start_pull("Old", queue_id, offset, count=3)
                       for queue_id, offset in places]
            for (queue_id, offset), opaque in zip(places, opaques):
                answer = client.read_answer(opaque)
                self.assertEqual(answer.code, SUCCESS, answer)
                bodies = [record.body for record in decode_records(answer.body)]
                self.assertEqual(bodies, self.backlog[queue_id][offset:offset + len(bodies)])
            self.assertGreater(self.counters(client)["coldReads"], 5)

    def test_connections_end(self):
        """Those who ask and leave cost the others nothing."""
        frames = b"".join(
            Command(PULL, pull_header("Old", i % QUEUES, i * 7 % 1500), opaque=i).encode()
            for i in range(800))
        for _ in range(5):
            leaver = self.broker.client()
            leaver.send_bytes(frames)
            leaver.close()
        with self.broker.client() as client:
            bodies = self.read_backlog(client, 2)
            self.assertTrue(bodies == self.backlog[2], "another body than was sent")
            wait_until(lambda: self.counters(client)["coldReadsWaiting"] == 0, "all are given up")
        self.assertEqual(self.broker.stop(), 0)

    def test_the_broker_ends(self):
        """Pulls that wait for the disk when the broker stops are answered before it does; those that
        it has not read by then are refused."""
        with self.broker.client() as client:
            opaques = [client.start_pull("Old", i % QUEUES, i * 7 % 1500) for i in range(400)]
            client.read_answer(opaques[0])
            self.broker.signal(signal.SIGTERM)
            try:
                for opaque in opaques[1:]:
                    self.assertIn(client.read_answer(opaque).code,
                                  (SUCCESS, PULL_NOT_FOUND, SERVICE_NOT_AVAILABLE))
            except (Closed, OSError):
                pass  # those that had not been read from the socket
        self.assertEqual(self.broker.wait(), 0)
        self.broker.start()
        with self.broker.client() as client:
            self.assertTrue(self.read_backlog(client, 3) == self.backlog[3])


if __name__ == "__main__":
    rocketmq.main("broker_cold")
