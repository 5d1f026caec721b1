# SPDX-License-Identifier: Apache-2.0
"""A broker whose disk stalls: sends are answered early with 4.9.2's words of flow control, everything
else goes on, memory stays bounded, and when the disk is back the broker is as before. What was
acknowledged is there, in the order sent; what was refused is not.

The disk is test/lib/stalling_disk.c, loaded in front of the C library.
Source of the words: BrokerFastFailure, NettyRemotingAbstract and SendMessageProcessor of RocketMQ
4.9.2. docs/decisions/0011-overload.md tells how it works here.
"""

import os
import subprocess
import tempfile
import time

import rocketmq
from broker import (Broker, BrokerTest, HEARTBEAT, RUNTIME_INFO, SEND_BACK, SEND_V2, SUCCESS,
                    SYSTEM_BUSY, decode_records, heartbeat, send_header)
from rocketmq import Command, wait_until

FLUSH_DISK_TIMEOUT = 10
REPLY_V2 = 325
RECALL = 370
LOOPS = 3
QUEUE = 75  # of the 100 that some tests allow: the rest is for connections with little under way
TIMEOUT_CLEAN = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: "
CACHE_BUSY_CLEAN = \
    "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: "
REJECT = "[REJECTREQUEST]system busy, start flow control for a while"
OVERLOAD = "[OVERLOAD]system busy, start flow control for a while"


def make_disk(folder):
    """The library, compiled."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib",
                          "stalling_disk.c")
    library = os.path.join(folder, "stalling_disk.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class StallTest(BrokerTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.writes = os.path.join(cls.folder.name, "writes")
        cls.syncs = os.path.join(cls.folder.name, "syncs")
        cls.tables = os.path.join(cls.folder.name, "tables")
        cls.broker = Broker(**{"serverSelectorThreads": LOOPS, "waitTimeMillsInSendQueue": 200,
                               "osPageCacheBusyTimeOutMills": 1000, **cls.options})
        cls.broker.environment = {
            "LD_PRELOAD": make_disk(cls.folder.name), "STALL_WRITES": cls.writes,
            "STALL_SYNCS": cls.syncs, "STALL_TABLES": cls.tables,
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        cls.addClassCleanup(cls.broker.remove)
        cls.broker.start()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.release)

    def release(self):
        for file in (self.writes, self.syncs, self.tables):
            if os.path.exists(file):
                os.unlink(file)

    def stall(self, file):
        with open(file, "w", encoding="ascii"):
            pass

    def runtime(self, name, client=None):
        return int((client or self.client).call(RUNTIME_INFO).json()["table"][name])

    def start_send(self, topic, body, client=None, **other):
        return (client or self.client).send(SEND_V2, send_header(topic, **other), body)

    def taken(self, topic, body=b"body", **other):
        """Send until it is taken: brokers that are not patient refuse a send that a busy machine
        has kept waiting. What is refused is not stored."""
        wait_until(lambda: self.client.produce(topic, body, **other).code == SUCCESS, "it is taken")

    def stall_disk(self, topic):
        """As disks do it: syncs do not return, and then writes do not. Returns the opaque of the
        send that the broker writes when that happens, on a connection of its own."""
        self.stall(self.syncs)
        self.taken(topic, b"dirty")
        wait_until(lambda: self.runtime("flushTimeMills") > 300, "a sync that does not return")
        self.stall(self.writes)
        writer = self.connect()
        opaque = self.start_send(topic, b"stuck", writer)
        wait_until(lambda: self.runtime("pageCacheLockTimeMills") > 0, "a write that does not return")
        return writer, opaque

    def expect_service(self, client, topic):
        """What is no send is served, whatever the disk does."""
        self.assertEqual(client.call(HEARTBEAT, None, heartbeat("c", "CG", [(topic, "*", 1)])).code,
                         SUCCESS)
        self.assertEqual(decode_records(client.pull(topic).body)[0].body, b"dirty")
        self.assertGreater(client.max_offset(topic), 0)
        self.assertEqual(client.call(21).code, SUCCESS)
        self.assertEqual(client.call(RUNTIME_INFO).code, SUCCESS)

    def expect_as_before(self, topic):
        """Sends are taken; 21 of them are stored."""
        for _ in range(21):
            self.taken(topic)
        self.assertEqual(self.runtime("sendThreadPoolQueueSize"), 0)
        self.assertEqual(self.runtime("pageCacheLockTimeMills"), 0)


class Stalled(StallTest):
    def test_answers_early_and_recovers(self):
        topic = self.topic()
        writer, stuck = self.stall_disk(topic)
        clients = [self.connect(port=self.broker.port - 2 * (i % 2)) for i in range(2 * LOOPS)]
        # What waits behind the stuck write is refused after waitTimeMillsInSendQueue ...
        opaques = [(client, self.start_send(topic, b"late", client)) for client in clients]
        for client, opaque in opaques:
            answer = client.read_answer(opaque)
            self.assertEqual((answer.code, answer.ext), (SYSTEM_BUSY, None), answer)
            self.assertTrue(answer.remark.startswith((TIMEOUT_CLEAN, CACHE_BUSY_CLEAN, REJECT)),
                            answer.remark)
        # ... and when that has taken a second, at once.
        wait_until(lambda: self.runtime("pageCacheLockTimeMills") > 1000, "a busy page cache")
        for client in clients:
            for _ in range(3):
                answer = client.produce(topic, b"late")
                self.assertEqual((answer.code, answer.ext), (SYSTEM_BUSY, None), answer)
                self.assertTrue(answer.remark.startswith(REJECT), answer.remark)
                self.assertIn("look at its load", answer.remark)
            self.expect_service(client, topic)
        answer = self.client.call(SEND_BACK, {"offset": 0, "group": "CG", "delayLevel": 1})
        self.assertEqual(answer.code, SYSTEM_BUSY)
        self.assertTrue(answer.remark.startswith(REJECT))
        # A reply is pushed all the same; only its copy is not stored.
        requester = self.connect()
        requester.call(HEARTBEAT, None, b'{"clientID":"R","producerDataSet":[{"groupName":"PG"}],'
                                        b'"consumerDataSet":[]}')
        opaque = self.client.send(REPLY_V2, send_header(
            topic, properties={"REPLY_TO_CLIENT": "R"}), b"late")
        requester.answer(requester.read_push())
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.ext["msgId"]), (SUCCESS, "0"))
        self.release()
        self.assertEqual(writer.read_answer(stuck).code, SUCCESS)
        self.expect_as_before(topic)
        bodies = [record.body for record in self.stored(topic, 0, 23)]
        self.assertEqual(bodies[:2], [b"dirty", b"stuck"])
        self.assertNotIn(b"late", bodies)

    def test_the_queue_in_front_of_a_slow_write(self):
        """What runtime information calls it; one that has not waited long is stored."""
        self.client.call(25, body=b"waitTimeMillsInSendQueue=600000\nosPageCacheBusyTimeOutMills="
                                  b"600000")
        try:
            topic = self.topic()
            writer, stuck = self.stall_disk(topic)
            opaques = [self.start_send(topic, b"%d" % i) for i in range(200)]
            wait_until(lambda: self.runtime("sendThreadPoolQueueSize") >= 1, "a queue")
            wait_until(lambda: self.runtime("sendThreadPoolQueueHeadWaitTimeMills") > 300,
                       "a wait in the queue")
            self.expect_service(self.client, topic)
            self.release()
            self.assertEqual(writer.read_answer(stuck).code, SUCCESS)
            for opaque in opaques:
                self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
            self.assertEqual([record.body for record in self.stored(topic, 0, 202)][2:],
                             [b"%d" % i for i in range(200)])
        finally:
            self.client.call(25, body=b"waitTimeMillsInSendQueue=200\n"
                                      b"osPageCacheBusyTimeOutMills=1000")

    def test_a_stall_without_warning(self):
        """A write that stalls before any sync does holds up one loop; the others notice and go on."""
        topic = self.topic()
        self.taken(topic, b"dirty")
        self.stored(topic, 0, 1)
        # Three connections in a row, each on a loop of its own.
        writer, *others = [self.connect() for _ in range(LOOPS)]
        time.sleep(2.5)  # whatever was before, the loops append themselves
        self.stall(self.writes)
        stuck = self.start_send(topic, b"stuck", writer)
        wait_until(lambda: self.runtime("pageCacheLockTimeMills", others[0]) > 0, "a stuck write")
        for client in others:
            self.assertEqual(client.produce(topic).code, SYSTEM_BUSY)
            self.expect_service(client, topic)
        self.release()
        self.assertEqual(writer.read_answer(stuck).code, SUCCESS)
        self.expect_as_before(topic)

    def test_memory_is_bounded(self):
        """Senders that do not care for answers: what waits is bounded, beyond it is refused."""
        topic = self.topic()
        before_kb = self.broker.memory_kb()
        _, _ = self.stall_disk(topic)
        clients = [self.connect() for _ in range(LOOPS)]
        frame = Command(SEND_V2, send_header(topic), b"b" * 1000000, 7).encode()
        for _ in range(60):
            for client in clients:
                client.send_bytes(frame)
        if before_kb is not None:
            self.assertLess(self.broker.memory_kb() - before_kb, LOOPS * 100 * 1024)
        for client in clients:
            for _ in range(60):
                answer = client.read_answer(7)
                self.assertEqual(answer.code, SYSTEM_BUSY)
            self.expect_service(client, topic)
        self.release()
        self.expect_as_before(topic)

    def test_topics_that_can_not_be_saved(self):
        """Sends wait for a new topic for a bounded time, and their connection goes on after it; the
        topic is there when the disk is."""
        topic = self.topic()
        self.taken(topic, b"dirty")
        self.stored(topic, 0, 1)
        self.stall(self.tables)
        name = topic + "-new"
        opaques = [self.start_send(name, b"%d" % i) for i in range(50)]
        for opaque in opaques:
            answer = self.client.read_answer(opaque)
            self.assertEqual((answer.code, answer.ext), (SYSTEM_BUSY, None), answer)
            self.assertTrue(answer.remark.startswith(TIMEOUT_CLEAN), answer.remark)
        self.expect_service(self.client, topic)
        self.taken(topic)
        self.release()
        wait_until(lambda: self.client.produce(name, b"later").code == SUCCESS, "the new topic")
        self.assertEqual(self.stored(name, 0, 1)[0].body, b"later")

    def test_order_over_stalls(self):
        """The disk comes and goes under senders with many messages in flight."""
        topic = self.topic()
        clients = [self.connect() for _ in range(4)]
        taken = {client.local_address(): [] for client in clients}
        number = 0
        for round_number in range(6):
            if round_number % 2:
                self.stall(self.writes)
            opaques = []
            for _ in range(100):
                opaques += [(client, number, self.start_send(topic, b"%d" % number, client))
                            for client in clients]
                number += 1
            if round_number % 2:
                time.sleep(0.4)
                self.release()
            for client, sent, opaque in opaques:
                answer = client.read_answer(opaque)
                self.assertIn(answer.code, (SUCCESS, SYSTEM_BUSY), answer)
                if answer.code == SUCCESS:
                    taken[client.local_address()].append(sent)
        stored = {address: [] for address in taken}
        for record in self.stored(topic, 0, sum(map(len, taken.values()))):
            stored["%s:%d" % record.born_host].append(int(record.body))
        self.assertEqual(stored, taken)
        self.assertGreater(sum(map(len, taken.values())), 0)


class Patient(StallTest):
    options = {"brokerFastFailureEnable": "false", "sendThreadPoolQueueCapacity": 100,
               "osPageCacheBusyTimeOutMills": 600000}

    def test_without_fast_failure(self):
        """Sends wait as long as it takes; more than the queue holds are refused at once."""
        topic = self.topic()
        timer = self.client.produce(topic, b"", properties={"TIMER_DELAY_SEC": 3600,
                                                            "UNIQ_KEY": "K"})
        writer, stuck = self.stall_disk(topic)
        opaques = [self.start_send(topic, b"%d" % i) for i in range(150)]
        for opaque in opaques[QUEUE:]:
            answer = self.client.read_answer(opaque)
            self.assertEqual((answer.code, answer.ext), (SYSTEM_BUSY, None))
            self.assertTrue(answer.remark.startswith(OVERLOAD), answer.remark)
        self.assertTrue(self.client.is_silent(0.5))
        recalled = self.client.call(RECALL, {"topic": topic,
                                             "recallHandle": timer.ext["recallHandle"]})
        self.assertEqual(recalled.code, SYSTEM_BUSY, recalled)
        self.expect_service(self.client, topic)
        self.release()
        self.assertEqual(writer.read_answer(stuck).code, SUCCESS)
        for opaque in opaques[:QUEUE]:
            self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
        self.assertEqual([record.body for record in self.stored(topic, 0, QUEUE + 2)][2:],
                         [b"%d" % i for i in range(QUEUE)])
        self.expect_as_before(topic)


class SyncFlush(StallTest):
    options = {"flushDiskType": "SYNC_FLUSH", "sendThreadPoolQueueCapacity": 100,
               "syncFlushTimeout": 8000, "waitTimeMillsInSendQueue": 30000}

    def test_a_stalled_sync(self):
        """Sends wait for the disk until syncFlushTimeout; no more than the queue holds, further ones
        are refused at once and not stored."""
        topic = self.topic()
        self.taken(topic, b"dirty")
        self.stored(topic, 0, 1)
        self.stall(self.syncs)
        opaques = [self.start_send(topic, b"%d" % i) for i in range(130)]
        for opaque in opaques[QUEUE:]:
            answer = self.client.read_answer(opaque)
            self.assertEqual(answer.code, SYSTEM_BUSY)
            self.assertTrue(answer.remark.startswith(OVERLOAD), answer.remark)
        self.expect_service(self.client, topic)
        # Others have some room left, whichever loop they are on.
        waiting = [(client, self.start_send(topic, b"other", client))
                   for client in [self.connect() for _ in range(LOOPS)] for _ in range(5)]
        for client, opaque in waiting:
            self.assertEqual(client.read_answer(opaque).code, FLUSH_DISK_TIMEOUT)
        for opaque in opaques[:QUEUE]:
            answer = self.client.read_answer(opaque)
            self.assertEqual((answer.code, "queueOffset" in answer.ext), (FLUSH_DISK_TIMEOUT, True))
        self.taken(topic, b"fast", properties={"WAIT": "false"})
        self.release()
        self.expect_as_before(topic)
        bodies = [record.body for record in self.stored(topic, 0, QUEUE + 38)]
        self.assertEqual(bodies[1:QUEUE + 17],
                         [b"%d" % i for i in range(QUEUE)] + [b"other"] * 15 + [b"fast"])


class Unread(BrokerTest):
    """Senders that do not read their answers."""

    def test_memory_is_bounded(self):
        topic = self.topic()
        before_kb = self.broker.memory_kb()
        frame = Command(SEND_V2, send_header(topic), b"x", 1).encode() * 100
        senders = [self.connect() for _ in range(3)]
        for sender in senders:
            sender.socket.setblocking(False)
        rest = {sender: b"" for sender in senders}
        moved = time.monotonic()
        sent = 0
        enough = 100 * len(frame)
        while sent <= enough or time.monotonic() - moved < 2:  # until the broker reads no more
            for sender in senders:
                data = rest[sender] or frame
                try:
                    size = sender.socket.send(data)
                except BlockingIOError:
                    continue
                rest[sender] = data[size:]
                sent, moved = sent + size, time.monotonic()
            time.sleep(0.0005)
        if before_kb is not None:
            self.assertLess(self.broker.memory_kb() - before_kb, 60 * 1024)
        self.sent(topic)
        self.assertEqual(self.client.call(RUNTIME_INFO).code, SUCCESS)


class Stopping(StallTest):
    def test_a_stop_while_the_disk_stalls(self):
        """It waits for the disk as far as it must; whatever was answered holds afterwards."""
        topic = self.topic()
        writer, stuck = self.stall_disk(topic)
        late = self.start_send(topic, b"late")
        self.assertEqual(self.client.read_answer(late).code, SYSTEM_BUSY)
        self.broker.signal(15)
        time.sleep(1)
        self.release()
        self.assertEqual(writer.read_answer(stuck).code, SUCCESS)
        self.assertEqual(self.broker.wait(), 0)
        self.broker.start()
        self.client = self.connect()
        self.assertEqual([record.body for record in self.stored(topic, 0, 2)], [b"dirty", b"stuck"])


if __name__ == "__main__":
    rocketmq.main("broker_overload")
