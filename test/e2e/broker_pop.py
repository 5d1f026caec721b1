# SPDX-License-Identifier: Apache-2.0
"""Pop consumption: taking, acknowledging, invisible times, redelivery, long polling, and what of it
outlives the broker; the sharing out of queues.

Source of the rules: PopMessageProcessor, AckMessageProcessor, ChangeInvisibleTimeProcessor,
PopReviveService, NotificationProcessor and QueryAssignmentProcessor of RocketMQ 5.3.3; docs/pop.md
says where we differ.
"""

import base64
import json
import os
import random
import socket
import threading
import time
import unittest

import rocketmq
from broker import (Broker, BrokerTest, HEARTBEAT, MESSAGE_ILLEGAL, NO_PERMISSION, PARSE_FAILED,
                    PULL_NOT_FOUND, QUERY_OFFSET, SEND_V2, SUCCESS, SYSTEM_BUSY, SYSTEM_ERROR,
                    TOPIC_NOT_EXIST, UPDATE_CONFIG, UPDATE_OFFSET, decode_records, heartbeat,
                    send_header)
from rocketmq import Closed, JSON, PROTOBUF, TooSlow, wait_until, with_times, within

POP, ACK, PEEK, CHANGE, NOTIFICATION, POLLING_INFO = 200050, 200051, 200052, 200053, 200054, 200055
BATCH_ACK, QUERY_ASSIGNMENT, SET_MODE = 200151, 400, 401
INVALID_PARAMETER, NO_MESSAGE, POLLING_FULL, POLLING_TIMEOUT = 29, 208, 209, 210
MIN, MAX = 0, 1
LONG_MS = 600000


def pop_header(topic, group="G", queue_id=-1, count=32, invisible_ms=LONG_MS, poll_ms=0,
               init_mode=MIN, exp="*", **other):
    return {"consumerGroup": group, "topic": topic, "queueId": queue_id, "maxMsgNums": count,
            "invisibleTime": invisible_ms, "pollTime": poll_ms,
            "bornTime": int(time.time() * 1000), "initMode": init_mode, "expType": "TAG",
            "exp": exp, **other}


def retry_topic(topic, group="G"):
    return f"%RETRY%{group}_{topic}"


class Popped:
    """A message of an answer with the handle that the Java client makes for it."""

    def __init__(self, record, handle):
        self.record = record
        self.body = record.body
        self.handle = handle
        parts = handle.split(" ")
        self.start, self.pop_ms, self.invisible_ms, self.revive_queue = map(int, parts[:4])
        self.retry = parts[4]
        self.broker_name = parts[5]
        self.queue_id, self.offset = map(int, parts[6:8])


def read_popped(answer, broker_name="broker-a"):
    """The messages of an answer, handles made as MQClientAPIImpl.processPopResponse makes them."""
    starts = {}
    offsets = {}
    for part in answer.ext["startOffsetInfo"].split(";"):
        retry, queue_id, start = part.split(" ")
        starts[retry, queue_id] = start
    for part in answer.ext["msgOffsetInfo"].split(";"):
        retry, queue_id, text = part.split(" ")
        offsets[retry, queue_id] = text.split(",")
    popped = []
    for record in decode_records(answer.body):
        handle = record.properties.get("POP_CK")
        if handle is None:
            key = "0", str(record.queue_id)
            if str(record.queue_offset) not in offsets[key]:
                raise AssertionError(f"{record.queue_offset} is not in {offsets}")
            handle = " ".join((starts[key], answer.ext["popTime"], answer.ext["invisibleTime"],
                               answer.ext["reviveQid"], "0", broker_name, str(record.queue_id),
                               str(record.queue_offset)))
        popped.append(Popped(record, handle))
    if len(popped) != sum(len(one) for one in offsets.values()):
        raise AssertionError("msgOffsetInfo names other messages than the body holds")
    return popped


class PopTest(BrokerTest):
    def fill(self, topic, count, first=0, queues=1, **other):
        for i in range(first, first + count):
            self.sent(topic, b"%d" % i, queue_id=i % queues, **other)
        for queue_id in range(queues):
            wait_until(lambda: self.client.max_offset(topic, queue_id) >=
                       (first + count - queue_id + queues - 1) // queues, "all are dispatched")

    def pop_answer(self, topic, client=None, **other):
        return (client or self.client).call(POP, pop_header(topic, **other))

    def pop(self, topic, **other):
        """The messages of a pop, none when there are none."""
        answer = self.pop_answer(topic, **other)
        if answer.code == POLLING_TIMEOUT:
            self.assertEqual(answer.body, b"")
            return []
        self.assertEqual((answer.code, answer.remark), (SUCCESS, "FOUND"), answer)
        return read_popped(answer)

    def pop_in_order(self, topic, **other):
        """The answer's messages, with the counts that the Java client takes for reconsumeTimes."""
        answer = self.pop_answer(topic, order="true", **other)
        if answer.code == POLLING_TIMEOUT:
            return []
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertEqual(answer.ext["reviveQid"], "999")
        counts = {}
        for part in answer.ext["orderCountInfo"].split(";"):
            _, key, times = part.split(" ")
            counts[key] = int(times)
        popped = read_popped(answer)
        for message in popped:
            key = f"qo{message.queue_id}%{message.offset}"
            message.times = counts.get(key, counts[str(message.queue_id)])
        return popped

    def pop_all(self, topic, **other):
        popped = []
        while more := self.pop(topic, **other):
            popped += more
        return popped

    def place(self, topic, message, group="G"):
        real = retry_topic(topic, group) if message.retry == "1" else topic
        return {"consumerGroup": group, "topic": real, "queueId": message.queue_id,
                "extraInfo": message.handle, "offset": message.offset}

    def ack(self, topic, message, group="G"):
        answer = self.client.call(ACK, self.place(topic, message, group))
        self.assertEqual(answer.code, SUCCESS, answer)

    def change(self, topic, message, invisible_ms, group="G"):
        """The message under its new handle."""
        answer = self.client.call(CHANGE, {**self.place(topic, message, group),
                                           "invisibleTime": invisible_ms})
        self.assertEqual(answer.code, SUCCESS, answer)
        parts = message.handle.split(" ")
        handle = " ".join([str(message.offset), answer.ext["popTime"], answer.ext["invisibleTime"],
                           answer.ext["reviveQid"]] + parts[4:])
        return Popped(message.record, handle)

    def in_time(self, messages, time_ms):
        """It is not yet time for one of these to come again."""
        if time.time() * 1000 >= min(message.pop_ms for message in messages) + time_ms:
            raise TooSlow()

    def start_pop(self, topic, client=None, **other):
        client = client or self.connect()
        return client, client.send(POP, pop_header(topic, poll_ms=LONG_MS, **other))

    def await_polls(self, topic, count, queue_id=-1, group="G"):
        wait_until(lambda: int(self.client.call(POLLING_INFO, {
            "consumerGroup": group, "topic": topic,
            "queueId": queue_id}).ext["pollingNum"]) == count, f"{count} pops wait")

    def offset(self, topic, queue_id=0, group="G"):
        answer = self.client.call(QUERY_OFFSET, {"consumerGroup": group, "topic": topic,
                                                 "queueId": queue_id})
        return int(answer.ext["offset"]) if answer.code == SUCCESS else -1

    def bodies(self, popped):
        return sorted(int(message.body) for message in popped)

    def again(self, topic, count, **other):
        """What comes again, as soon as it does."""
        popped = []

        def arrived():
            popped.extend(self.pop(topic, poll_ms=1000, **other))
            return len(popped) >= count
        wait_until(arrived, f"{count} messages come again")
        return popped


class Taking(PopTest):
    def test_an_answer(self):
        topic = self.topic(queues=1)
        self.fill(topic, 5)
        before_ms = int(time.time() * 1000)
        answer = self.pop_answer(topic, count=3, invisible_ms=54321)
        popped = read_popped(answer)
        self.assertEqual(self.bodies(popped), [0, 1, 2])
        self.assertEqual((answer.ext["startOffsetInfo"], answer.ext["msgOffsetInfo"],
                          answer.ext["restNum"], answer.ext["invisibleTime"]),
                         ("0 0 0", "0 0 0,1,2", "2", "54321"))
        self.assertIn(int(answer.ext["reviveQid"]), range(8))
        self.assertLessEqual(abs(int(answer.ext["popTime"]) - before_ms), 60000)
        answer = self.pop_answer(topic)
        self.assertEqual((answer.ext["startOffsetInfo"], answer.ext["msgOffsetInfo"],
                          answer.ext["restNum"]), ("0 0 3", "0 0 3,4", "0"))

    def test_in_protobuf_headers(self):
        topic = self.topic()
        self.fill(topic, 1)
        answer = self.client.call(POP, pop_header(topic), codec=PROTOBUF)
        self.assertEqual((answer.codec, answer.code), (PROTOBUF, SUCCESS))
        self.assertEqual(len(read_popped(answer)), 1)

    def test_nothing(self):
        topic = self.topic(queues=3)
        answer = self.pop_answer(topic)
        self.assertEqual((answer.code, answer.remark, answer.ext["restNum"]),
                         (POLLING_TIMEOUT, "NO_MESSAGE_IN_QUEUE", "0"))

    def test_each_message_once(self):
        topic = self.topic(queues=4)
        self.fill(topic, 100, queues=4)
        popped = []
        clients = [self.connect() for _ in range(4)]
        lock = threading.Lock()

        def take(client):
            while True:
                answer = self.pop_answer(topic, client=client, count=7)
                if answer.code != SUCCESS:
                    return
                with lock:
                    popped.extend(read_popped(answer))
        threads = [threading.Thread(target=take, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # A thread may have met only queues that others were reading.
        popped += self.pop_all(topic)
        self.assertEqual(self.bodies(popped), list(range(100)))

    def test_very_many_queues(self):
        """A round of several turns of the loop."""
        topic = self.topic(queues=5000)
        for queue_id in (0, 1111, 2222, 4999):
            self.sent(topic, b"%d" % queue_id, queue_id=queue_id)
        for queue_id in range(0, 5000, 7):  # queues that exist and are empty
            self.client.call(POP, pop_header(topic, group="Other", queue_id=queue_id))
        popped = []

        def all_popped():
            popped.extend(self.pop(topic, poll_ms=2000, invisible_ms=LONG_MS))
            return len(popped) == 4
        wait_until(all_popped, "all come")
        self.assertEqual(self.bodies(popped), [0, 1111, 2222, 4999])
        self.assertEqual(self.pop(topic, poll_ms=300), [])

    def test_one_queue(self):
        topic = self.topic(queues=4)
        self.fill(topic, 40, queues=4)
        popped = self.pop(topic, queue_id=2)
        self.assertEqual(self.bodies(popped), list(range(2, 40, 4)))
        self.assertEqual(self.pop(topic, queue_id=2), [])

    def test_groups_are_independent(self):
        topic = self.topic()
        self.fill(topic, 3)
        self.assertEqual(len(self.pop(topic, group="A")), 3)
        self.assertEqual(len(self.pop(topic, group="B")), 3)

    def test_init_modes(self):
        topic = self.topic()
        self.fill(topic, 3)
        self.assertEqual(self.bodies(self.pop(topic, group="Min", init_mode=MIN)), [0, 1, 2])
        # As in 5.3.3: a queue that is in memory from its beginning is consumed from there.
        self.assertEqual(self.bodies(self.pop(topic, group="Max", init_mode=MAX)), [0, 1, 2])
        self.assertEqual(self.client.call(UPDATE_OFFSET, {
            "consumerGroup": "Set", "topic": topic, "queueId": 0, "commitOffset": 2}).code, SUCCESS)
        self.assertEqual(self.bodies(self.pop(topic, group="Set")), [2])

    def test_an_empty_queue_is_followed_from_then_on(self):
        topic = self.topic()
        self.assertEqual(self.pop(topic, init_mode=MAX), [])
        self.fill(topic, 3)
        self.assertEqual(self.bodies(self.pop(topic, init_mode=MAX)), [0, 1, 2])

    def test_tags(self):
        topic = self.topic()
        for i in range(10):
            self.sent(topic, b"%d" % i, properties={"TAGS": "even" if i % 2 == 0 else "odd"})
        wait_until(lambda: self.client.max_offset(topic) == 10, "all are dispatched")
        popped = self.pop(topic, exp="even || other")
        self.assertEqual(self.bodies(popped), [0, 2, 4, 6, 8])
        self.assertEqual(self.pop(topic, exp="even || other"), [])
        for message in popped:
            self.ack(topic, message)
        # The last one does not match and is passed over all the same.
        wait_until(lambda: self.offset(topic) == 10, "the group's offset")
        self.assertEqual(self.pop_answer(topic, exp="||").code, PARSE_FAILED)

    def test_sql92(self):
        topic = self.topic()
        answer = self.pop_answer(topic, exp="a > 4", expType="SQL92")
        self.assertEqual(answer.code, SYSTEM_ERROR, answer)
        self.assertIn("enablePropertyFilter=true", answer.remark)
        self.client.call(UPDATE_CONFIG, {}, b"enablePropertyFilter=true")
        try:
            for i in range(10):
                self.sent(topic, b"%d" % i, properties={"a": str(i)})
            wait_until(lambda: self.client.max_offset(topic) == 10, "all are dispatched")
            popped = self.pop(topic, exp="a > 4 AND a <> 7", expType="SQL92")
            self.assertEqual(self.bodies(popped), [5, 6, 8, 9])
            for message in popped:
                self.ack(topic, message)
            wait_until(lambda: self.offset(topic) == 10, "the group's offset")
            self.assertEqual(self.pop_answer(topic, exp="a >", expType="SQL92").code, PARSE_FAILED)
        finally:
            self.client.call(UPDATE_CONFIG, {}, b"enablePropertyFilter=false")

    def test_all_filtered_out(self):
        topic = self.topic()
        self.fill(topic, 5, properties={"TAGS": "x"})
        self.assertEqual(self.pop(topic, exp="y"), [])
        wait_until(lambda: self.offset(topic) == 5, "the group's offset")

    def test_bytes_of_one_answer(self):
        topic = self.topic(queues=4)
        for i in range(8):
            self.sent(topic, b"x" * 200000, queue_id=i % 4)
        for queue_id in range(4):
            wait_until(lambda: self.client.max_offset(topic, queue_id) == 2, "all are dispatched")
        answer = self.pop_answer(topic)
        self.assertEqual(answer.code, SUCCESS)
        self.assertLess(len(answer.body), 1000000)
        self.assertGreater(int(answer.ext["restNum"]), 0)
        self.assertEqual(len(read_popped(answer)) + len(self.pop_all(topic)), 8)

    def test_checks(self):
        topic = self.topic(queues=2)
        closed = self.topic(perm=2)
        cases = ((INVALID_PARAMETER, topic, {"count": 33}), (INVALID_PARAMETER, topic, {"count": 0}),
                 (INVALID_PARAMETER, topic, {"queue_id": 2}),
                 (INVALID_PARAMETER, topic, {"queue_id": -2}),
                 (INVALID_PARAMETER, topic, {"invisible_ms": -1}),
                 (INVALID_PARAMETER, topic, {"group": "g" * 120}),
                 (TOPIC_NOT_EXIST, "no-such-topic", {}), (NO_PERMISSION, closed, {}))
        for code, name, other in cases:
            with self.subTest(code=code, other=other):
                answer = self.pop_answer(name, **other)
                self.assertEqual(answer.code, code, answer)
                self.assertTrue(answer.remark)


class Acknowledging(PopTest):
    def test_the_offset_follows(self):
        topic = self.topic()
        self.fill(topic, 5)
        popped = self.pop(topic)
        self.assertEqual(self.offset(topic), 0)
        for message in popped:
            self.ack(topic, message)
            self.ack(topic, message)  # once more does no harm
        wait_until(lambda: self.offset(topic) == 5, "the group's offset")
        self.assertEqual(self.pop(topic), [])

    def test_what_is_open_does_not_hold_the_offset_for_long(self):
        topic = self.topic()
        self.fill(topic, 5)
        self.pop(topic, count=2)
        for message in self.pop(topic):
            self.ack(topic, message)
        # Once the log has it (tests of a crash: Outliving).
        wait_until(lambda: self.offset(topic) == 5, "the group's offset")

    def batch(self, topic, messages, group="G", **other):
        parts = {}
        for message in messages:
            key = message.start, message.pop_ms, message.queue_id, message.retry
            parts.setdefault(key, []).append(message)
        acks = []
        for (start, pop_ms, queue_id, retry), some in parts.items():
            bits = bytearray(8)
            for message in some:
                bit = message.offset - start
                bits[bit // 8] |= 1 << bit % 8
            acks.append({"c": group, "t": topic, "r": retry, "so": start, "q": queue_id,
                         "rq": some[0].revive_queue, "pt": pop_ms, "it": some[0].invisible_ms,
                         "b": base64.b64encode(bytes(bits).rstrip(b"\0")).decode(), **other})
        return self.client.call(BATCH_ACK, {}, json.dumps(
            {"brokerName": "broker-a", "acks": acks}).encode())

    @with_times(3000, 30000)
    def test_batches(self, time_ms):
        topic = self.topic(queues=3)
        self.fill(topic, 60, queues=3)
        popped = self.pop_all(topic, count=10, invisible_ms=time_ms)
        kept = popped.pop(17)
        answer = self.batch(topic, popped)
        self.in_time(popped, time_ms)
        self.assertEqual(answer.code, SUCCESS)
        self.assertEqual(self.bodies(self.again(topic, 1)), [int(kept.body)])
        self.assertEqual(self.pop(topic, poll_ms=500), [])

    def test_malformed_batches(self):
        topic = self.topic()
        self.fill(topic, 1)
        popped = self.pop(topic)
        self.assertEqual(self.client.call(BATCH_ACK, {}, b'{"brokerName":"b"}').code, NO_MESSAGE)
        self.assertEqual(self.batch(topic, popped, b="!!").code, MESSAGE_ILLEGAL)
        self.assertEqual(self.batch(topic, popped, r="x").code, MESSAGE_ILLEGAL)
        self.assertEqual(self.batch(topic, popped, so=-5).code, MESSAGE_ILLEGAL)
        self.assertEqual(self.client.call(BATCH_ACK, {}, b"x").code, 1)

    def test_handles(self):
        topic = self.topic()
        self.fill(topic, 2)
        message = self.pop(topic)[0]
        good = self.place(topic, message)
        for code, other in ((MESSAGE_ILLEGAL, {"extraInfo": "nonsense"}),
                            (MESSAGE_ILLEGAL, {"extraInfo": "0 1 2 77 0 b 0 0"}),
                            (MESSAGE_ILLEGAL, {"extraInfo": "0 1 2 -1 0 b 0 0"}),
                            (MESSAGE_ILLEGAL, {"queueId": 7}), (MESSAGE_ILLEGAL, {"queueId": -1}),
                            (NO_MESSAGE, {"offset": 99}), (NO_MESSAGE, {"offset": -1}),
                            (TOPIC_NOT_EXIST, {"topic": "none"})):
            for request in (ACK, CHANGE):
                answer = self.client.call(request, {**good, "invisibleTime": 1000, **other})
                self.assertEqual(answer.code, code, (request, other, answer))
        # Of another group, or never popped: acknowledging succeeds and does nothing.
        self.assertEqual(self.client.call(ACK, {**good, "consumerGroup": "Other"}).code, SUCCESS)
        self.assertEqual(self.client.call(CHANGE, {**good, "consumerGroup": "Other",
                                                   "invisibleTime": 1000}).code, MESSAGE_ILLEGAL)
        self.assertEqual(self.client.call(CHANGE, {**good, "invisibleTime": -1}).code,
                         MESSAGE_ILLEGAL)
        self.ack(topic, message)
        self.assertEqual(self.client.call(CHANGE, {**good, "invisibleTime": 1000}).code,
                         MESSAGE_ILLEGAL)


class ComingAgain(PopTest):
    @with_times(700, 15000)
    def test_after_the_invisible_time(self, time_ms):
        topic = self.topic(queues=2)
        self.fill(topic, 6, queues=2, properties={"KEYS": "k", "TAGS": "t"})
        first = self.pop_all(topic, invisible_ms=time_ms)
        self.ack(topic, first[0])
        self.in_time(first, time_ms)
        second = self.again(topic, 5, invisible_ms=time_ms)
        self.ack(topic, second[0])
        self.in_time(second, time_ms)
        self.assertEqual(self.bodies(second), self.bodies(first[1:]))
        pop_ms = {message.body: message.pop_ms for message in first}
        for message in second:
            self.assertEqual(message.retry, "1")
            self.assertEqual(message.record.topic, topic)
            self.assertEqual(message.record.reconsume_times, 1)
            self.assertEqual(message.record.properties["1ST_POP_TIME"],
                             str(pop_ms[message.body]))
            self.assertEqual(message.record.properties["KEYS"], "k")
            self.assertEqual(message.record.properties["TAGS"], "t")
        third = self.again(topic, 4)
        self.assertEqual(self.bodies(third), self.bodies(second[1:]))
        for message in third:
            self.assertEqual(message.record.reconsume_times, 2)
            self.assertEqual(message.record.properties["1ST_POP_TIME"],
                             str(pop_ms[message.body]))
            self.ack(topic, message)
        self.assertEqual(self.pop(topic, poll_ms=1000), [])
        wait_until(lambda: self.offset(retry_topic(topic)) == 9, "the retry topic's offset")

    def test_how_often_they_go_first(self):
        """popFromRetryProbability: at its ends what comes again is always first, or always last."""
        topic = self.topic()
        self.fill(topic, 8)
        self.assertEqual(len(self.pop(topic, count=8, invisible_ms=300)), 8)
        self.fill(topic, 8, first=8)
        wait_until(lambda: self.client.max_offset(retry_topic(topic)) == 8, "they come again")
        try:
            for percent, retry in ((100, "1"), (0, "0")):
                answer = self.client.call(UPDATE_CONFIG, {},
                                          f"popFromRetryProbability={percent}".encode())
                self.assertEqual(answer.code, SUCCESS, answer)
                for _ in range(8):
                    message, = self.pop(topic, count=1)
                    self.assertEqual(message.retry, retry)
                    self.ack(topic, message)
        finally:
            self.client.call(UPDATE_CONFIG, {}, b"popFromRetryProbability=20")

    def test_late_acknowledgements(self):
        topic = self.topic()
        self.fill(topic, 1)
        first = self.pop(topic, invisible_ms=300)
        second = self.again(topic, 1, invisible_ms=1500)
        self.ack(topic, first[0])  # too late: it succeeds, and the message is the second's
        self.assertEqual(self.bodies(self.again(topic, 1)), self.bodies(second))

    def test_another_time(self):
        topic = self.topic()
        self.fill(topic, 3)
        popped = self.pop(topic, invisible_ms=LONG_MS)
        moved = self.change(topic, popped[1], 500)
        self.assertEqual((moved.start, moved.invisible_ms), (1, 500))
        # Its old handle is worth nothing any more.
        self.ack(topic, popped[1])
        self.assertEqual(self.bodies(self.again(topic, 1)), [1])
        later = self.change(topic, popped[2], LONG_MS)
        longer = self.change(topic, later, LONG_MS)
        self.ack(topic, longer)
        self.ack(topic, popped[0])
        wait_until(lambda: self.offset(topic) == 3, "the group's offset")
        self.assertEqual(self.pop(topic, poll_ms=500), [])

    @with_times(1500, 15000)
    def test_longer_in_time(self, time_ms):
        topic = self.topic()
        self.fill(topic, 1)
        with within(time_ms):
            message = self.pop(topic, invisible_ms=time_ms)[0]
            self.change(topic, message, LONG_MS)
        self.assertEqual(self.pop(topic, poll_ms=time_ms + 1000), [])

    def test_push_and_pop_share_the_offset(self):
        topic = self.topic()
        self.fill(topic, 6)
        for message in self.pop(topic, count=2):
            self.ack(topic, message)
        wait_until(lambda: self.offset(topic) == 2, "the offset that a push consumer begins at")
        self.client.call(UPDATE_OFFSET, {"consumerGroup": "G", "topic": topic, "queueId": 0,
                                         "commitOffset": 4})
        self.assertEqual(self.bodies(self.pop(topic)), [4, 5])
        # A reset brings what was popped again.
        self.client.call(UPDATE_OFFSET, {"consumerGroup": "G", "topic": topic, "queueId": 0,
                                         "commitOffset": 1})
        self.assertEqual(self.bodies(self.pop(topic)), [1, 2, 3, 4, 5])


class Waiting(PopTest):
    def test_woken_by_a_message(self):
        topic = self.topic(queues=4)
        client, opaque = self.start_pop(topic)
        self.await_polls(topic, 1)
        self.sent(topic, b"7", queue_id=3)
        self.assertEqual(self.bodies(read_popped(client.read_answer(opaque))), [7])
        self.await_polls(topic, 0)

    def test_one_message_wakes_one_of_each_group(self):
        topic = self.topic()
        waiting = [self.start_pop(topic) for _ in range(3)]
        other, other_opaque = self.start_pop(topic, group="Other")
        self.await_polls(topic, 3)
        self.await_polls(topic, 1, group="Other")
        self.sent(topic, b"1")
        self.assertEqual(self.bodies(read_popped(other.read_answer(other_opaque))), [1])
        self.await_polls(topic, 2)
        for i in range(2, 4):
            self.sent(topic, b"%d" % i)
            self.await_polls(topic, 3 - i)
        popped = [message for client, opaque in waiting
                  for message in read_popped(client.read_answer(opaque))]
        self.assertEqual(self.bodies(popped), [1, 2, 3])

    def test_of_one_queue(self):
        topic = self.topic(queues=2)
        client, opaque = self.start_pop(topic, queue_id=1)
        self.await_polls(topic, 1, queue_id=1)
        self.sent(topic, b"0", queue_id=0)
        self.await_polls(topic, 1, queue_id=1)
        self.sent(topic, b"1", queue_id=1)
        self.assertEqual(self.bodies(read_popped(client.read_answer(opaque))), [1])

    def test_not_woken_by_what_is_filtered_out(self):
        topic = self.topic()
        client, opaque = self.start_pop(topic, exp="wanted")
        self.await_polls(topic, 1)
        self.fill(topic, 50, properties={"TAGS": "other"})
        self.sent(topic, b"99", properties={"TAGS": "wanted"})
        self.assertEqual(self.bodies(read_popped(client.read_answer(opaque))), [99])

    @with_times(2000, 20000)
    def test_woken_by_a_message_that_comes_again(self, time_ms):
        topic = self.topic()
        self.fill(topic, 1)
        with within(time_ms):
            self.pop(topic, invisible_ms=time_ms)
            client, opaque = self.start_pop(topic)
            client.max_offset(topic)  # answered after the pop was seen
        popped = read_popped(client.read_answer(opaque))
        self.assertEqual((self.bodies(popped), popped[0].retry), ([0], "1"))

    def test_time_is_up(self):
        topic = self.topic()
        answer = self.pop_answer(topic, poll_ms=300)
        self.assertEqual(answer.code, POLLING_TIMEOUT)

    def test_a_closed_connection_takes_nothing(self):
        topic = self.topic()
        client, _ = self.start_pop(topic)
        self.await_polls(topic, 1)
        client.close()
        self.await_polls(topic, 0)
        self.fill(topic, 1)
        self.assertEqual(len(self.pop(topic)), 1)

    def test_notification(self):
        topic = self.topic(queues=2)
        header = {"consumerGroup": "G", "topic": topic, "queueId": -1, "pollTime": 0,
                  "bornTime": int(time.time() * 1000)}
        self.assertEqual(self.client.call(NOTIFICATION, header).ext["hasMsg"], "false")
        client = self.connect()
        opaque = client.send(NOTIFICATION, {**header, "pollTime": LONG_MS})
        self.await_polls(topic, 1)
        self.sent(topic, queue_id=1)
        answer = client.read_answer(opaque)
        self.assertEqual((answer.code, answer.ext["hasMsg"], answer.ext["pollingFull"]),
                         (SUCCESS, "true", "false"))
        self.assertEqual(self.client.call(NOTIFICATION, header).ext["hasMsg"], "true")
        self.assertEqual(len(self.pop(topic)), 1)
        self.assertEqual(self.client.call(NOTIFICATION, header).ext["hasMsg"], "false")

    def test_peek(self):
        topic = self.topic(queues=2)
        header = {"consumerGroup": "G", "topic": topic, "queueId": -1, "maxMsgNums": 32}
        answer = self.client.call(PEEK, header)
        self.assertEqual((answer.code, answer.remark), (PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE"))
        self.fill(topic, 4, queues=2)
        for _ in range(2):
            answer = self.client.call(PEEK, header)
            self.assertEqual((answer.code, answer.remark), (SUCCESS, "FOUND"))
            self.assertEqual(sorted(record.body for record in decode_records(answer.body)),
                             [b"0", b"1", b"2", b"3"])
        self.assertEqual(len(self.pop_all(topic)), 4)
        self.assertEqual(self.client.call(PEEK, header).code, PULL_NOT_FOUND)


class WaitingOnOneLoop(PopTest):
    options = {"serverSelectorThreads": 1}

    def test_who_goes_as_he_is_woken_leaves_the_message_to_others(self):
        topic = self.topic()
        staying = self.connect()
        chance = random.Random(1)
        for i in range(60):
            # What goes with him nevertheless comes again soon.
            going, _ = self.start_pop(topic, invisible_ms=200)
            self.await_polls(topic, 1)
            opaque = staying.send(POP, pop_header(topic, poll_ms=600000))
            self.await_polls(topic, 2)
            (going if i % 2 else self.client).send(SEND_V2, send_header(topic), b"x",
                                                   flag=rocketmq.FLAG_ONEWAY)
            end_s = time.perf_counter() + chance.random() * 0.0002  # too short to sleep
            while time.perf_counter() < end_s:
                pass
            going.close()
            self.assertEqual(staying.read_answer(opaque).code, SUCCESS)


class InOrder(PopTest):
    def test_nothing_more_before_all_is_acknowledged(self):
        topic = self.topic()
        self.fill(topic, 6)
        first = self.pop_in_order(topic, count=3)
        self.assertEqual(self.bodies(first), [0, 1, 2])
        self.assertEqual(self.pop_in_order(topic), [])
        self.ack(topic, first[0])
        self.ack(topic, first[2])
        self.assertEqual(self.offset(topic), 1)
        self.assertEqual(self.pop_in_order(topic), [])
        self.ack(topic, first[1])
        self.assertEqual(self.offset(topic), 3)
        self.assertEqual(self.bodies(self.pop_in_order(topic)), [3, 4, 5])
        self.assertEqual(self.offset(topic), 3)

    def test_queues_are_independent(self):
        topic = self.topic(queues=3)
        self.fill(topic, 6, queues=3)
        self.assertEqual(len(self.pop_in_order(topic, queue_id=1)), 2)
        self.assertEqual(self.bodies(self.pop_in_order(topic)), [0, 2, 3, 5])

    @with_times(1000, 15000)
    def test_after_the_invisible_time(self, time_ms):
        topic = self.topic()
        self.fill(topic, 3)
        first = self.pop_in_order(topic, count=2, invisible_ms=time_ms)
        self.assertEqual([message.times for message in first], [0, 0])
        self.ack(topic, first[0])
        self.in_time(first, time_ms)
        # Waits until the queue is free, and gets what is open, in order.
        second = self.pop_in_order(topic, poll_ms=LONG_MS)
        self.assertEqual([(int(message.body), message.times) for message in second],
                         [(1, 1), (2, 0)])
        # The old handle is worth nothing any more.
        self.ack(topic, first[1])
        self.assertEqual(self.offset(topic), 1)
        for message in second:
            self.ack(topic, message)
        self.assertEqual(self.offset(topic), 3)

    def test_woken_by_an_acknowledgement(self):
        topic = self.topic()
        self.fill(topic, 2)
        first = self.pop_in_order(topic, count=1)
        client = self.connect()
        opaque = client.send(POP, pop_header(topic, poll_ms=LONG_MS, order="true"))
        wait_until(lambda: int(self.client.call(POLLING_INFO, {
            "consumerGroup": "G", "topic": topic, "queueId": -1}).ext["pollingNum"]) == 1, "it waits")
        self.ack(topic, first[0])
        self.assertEqual(self.bodies(read_popped(client.read_answer(opaque))), [1])

    def test_another_time(self):
        topic = self.topic()
        self.fill(topic, 1)
        first = self.pop_in_order(topic)
        answer = self.client.call(CHANGE, {**self.place(topic, first[0]), "invisibleTime": 500})
        self.assertEqual((answer.code, answer.ext["popTime"], answer.ext["reviveQid"]),
                         (SUCCESS, str(first[0].pop_ms), "999"))
        self.assertEqual(self.bodies(self.pop_in_order(topic, poll_ms=LONG_MS)), [0])

    def test_an_answer_that_did_not_arrive(self):
        topic = self.topic()
        self.fill(topic, 2)
        self.assertEqual(len(self.pop_in_order(topic, attemptId="a1")), 2)
        again = self.pop_in_order(topic, attemptId="a1")
        self.assertEqual([(int(message.body), message.times) for message in again],
                         [(0, 0), (1, 0)])
        self.assertEqual(self.pop_in_order(topic, attemptId="a2"), [])

    def test_batches_and_strangers(self):
        topic = self.topic()
        self.fill(topic, 4)
        popped = self.pop_in_order(topic, count=3)
        answer = self.client.call(ACK, {**self.place(topic, popped[0]), "offset": 3})
        self.assertEqual(answer.code, MESSAGE_ILLEGAL)
        body = {"brokerName": "broker-a", "acks": [{
            "c": "G", "t": topic, "r": "0", "so": 0, "q": 0, "rq": 999, "pt": popped[0].pop_ms,
            "it": LONG_MS, "b": base64.b64encode(b"\x07").decode()}]}
        self.assertEqual(self.client.call(BATCH_ACK, {}, json.dumps(body).encode()).code, SUCCESS)
        self.assertEqual(self.offset(topic), 3)

    def test_what_is_filtered_out_in_front_frees_nothing(self):
        topic = self.topic()
        self.fill(topic, 2, properties={"TAGS": "b"})
        self.fill(topic, 3, first=2, properties={"TAGS": "a"})
        first = self.pop_in_order(topic, count=2, exp="a")
        self.assertEqual(self.bodies(first), [2, 3])
        self.assertEqual(self.pop_in_order(topic, exp="a"), [])
        for message in first:
            self.ack(topic, message)
        self.assertEqual(self.bodies(self.pop_in_order(topic, exp="a")), [4])

    def test_a_reset_frees_the_queue(self):
        topic = self.topic()
        self.fill(topic, 6)
        self.pop_in_order(topic, count=3)
        self.client.call(UPDATE_OFFSET, {"consumerGroup": "G", "topic": topic, "queueId": 0,
                                         "commitOffset": 4})
        self.assertEqual(self.bodies(self.pop_in_order(topic)), [4, 5])


class RetryTopicV2(PopTest):
    """enableRetryTopicV2 of 5.3.3: another name for the topics that messages come again through."""

    options = {"enableRetryTopicV2": "true", "serverSelectorThreads": 1}

    def new_topic(self, topic):
        return f"%RETRY%G+{topic}"

    def place_again(self, topic, message):
        return {**self.place(topic, message), "topic": self.new_topic(topic)}

    def comes_again(self, topic, count, **other):
        """All that comes again, popped as it comes."""
        popped = []
        while len(popped) < count:
            popped += self.pop(topic, poll_ms=60000, **other)
        return popped

    def test_what_comes_again(self):
        topic = self.topic()
        self.fill(topic, 3)
        self.assertEqual(len(self.pop(topic, invisible_ms=200)), 3)
        again = self.comes_again(topic, 3)
        self.assertEqual(sorted(self.bodies(again)), [0, 1, 2])
        self.assertEqual({(message.retry, message.record.topic, message.record.reconsume_times)
                          for message in again}, {("2", topic, 1)})
        self.assertEqual(self.client.max_offset(self.new_topic(topic)), 3)
        self.assertNotIn(retry_topic(topic), self.client.call(21).json()["topicConfigTable"])
        answer = self.client.call(ACK, self.place_again(topic, again[0]))
        self.assertEqual(answer.code, SUCCESS, answer)
        parts = {}
        for message in again[1:]:
            key = message.start, message.pop_ms
            parts[key] = parts.get(key, 0) | 1 << message.offset - message.start
        body = {"brokerName": "broker-a", "acks": [{
            "c": "G", "t": topic, "r": "2", "so": start, "q": 0,
            "rq": again[1].revive_queue, "pt": pop_ms, "it": LONG_MS,
            "b": base64.b64encode(bits.to_bytes(1, "little")).decode()}
            for (start, pop_ms), bits in parts.items()]}
        answer = self.client.call(BATCH_ACK, {}, json.dumps(body).encode())
        self.assertEqual(answer.code, SUCCESS, answer)
        wait_until(lambda: self.offset(self.new_topic(topic)) == 3, "all are acknowledged")

    def test_what_is_left_under_the_old_name_comes_too(self):
        """Also while there is always something new."""
        topic = self.topic()
        self.assertEqual(self.client.create_topic(retry_topic(topic), 1).code, SUCCESS)
        for i in range(3):
            self.sent(retry_topic(topic), b"%d" % (100 + i), j=1, l=16)
        wait_until(lambda: self.client.max_offset(retry_topic(topic)) == 3, "they are there")
        found = []
        for i in range(1000):
            self.sent(topic, b"%d" % i)
            found += [message for message in self.pop(topic, count=1) if message.retry == "1"]
            if len(found) == 3:
                break
        self.assertEqual(self.bodies(found), [100, 101, 102])
        self.ack(topic, found[0])

    def test_it_can_be_left_out(self):
        topic = self.topic()
        self.assertEqual(self.client.create_topic(retry_topic(topic), 1).code, SUCCESS)
        self.sent(retry_topic(topic), b"7", j=1, l=16)
        wait_until(lambda: self.client.max_offset(retry_topic(topic)) == 1, "it is there")
        for value, count in (("false", 0), ("true", 1)):
            self.client.call(UPDATE_CONFIG, {},
                             b"retrieveMessageFromPopRetryTopicV1=" + value.encode())
            self.assertEqual(len(self.pop(topic, poll_ms=500)), count)


class Outliving(PopTest):
    """Each test has a broker that it ends."""

    def restart(self, kill):
        if kill:
            self.broker.kill()
        else:
            self.broker.stop()
        self.broker.start()
        self.client = self.connect()

    def pop_when_ready(self, topic, **other):
        return self.pop(topic, poll_ms=60000, **other)

    def check(self, kill, time_ms):
        """One message is acknowledged, one moved, one left open before the end."""
        topic = self.topic()
        self.fill(topic, 4)
        popped = self.pop(topic, count=3, invisible_ms=time_ms)
        self.ack(topic, popped[0])
        self.change(topic, popped[1], time_ms)
        if kill:  # the group's offset tells that the log has what is open
            wait_until(lambda: self.offset(topic) == 3, "the group's offset")
            time.sleep(0.3)  # and the journal the offset
        self.restart(kill)
        left = self.pop_when_ready(topic)
        self.in_time(popped, time_ms)
        self.assertEqual(self.bodies(left), [3])
        self.assertEqual(self.bodies(self.again(topic, 2, invisible_ms=LONG_MS)), [1, 2])
        self.assertEqual(self.pop(topic, poll_ms=500), [])

    @with_times(8000, 60000)
    def test_kill(self, time_ms):
        self.check(True, time_ms)

    @with_times(8000, 60000)
    def test_stop(self, time_ms):
        self.check(False, time_ms)

    def await_ready(self, topic, done):
        """`done` was acknowledged before."""
        wait_until(lambda: self.client.call(ACK, self.place(topic, done)).code == SUCCESS,
                   "the broker knows its checkpoints")

    def check_order(self, kill):
        """Nothing is given before what is in front of it is acknowledged, or its time is over."""
        topic = self.topic()
        self.fill(topic, 6)
        first = self.pop_in_order(topic, count=3)
        for message in (first[0], first[2]):
            self.ack(topic, message)
        if kill:
            time.sleep(0.3)  # the journal has the offset
        self.restart(kill)
        self.await_ready(topic, first[0])
        answer = self.pop_in_order(topic, count=2)
        if kill and answer:  # the answer was not on disk yet: what is open comes again, in order
            self.assertEqual(self.bodies(answer), [1, 2])
            self.ack(topic, answer[1])
            self.assertEqual(self.offset(topic), 1)
            self.ack(topic, first[1])  # the old handle is worth nothing
            self.assertEqual(self.offset(topic), 1)
            self.ack(topic, answer[0])
        else:
            self.assertEqual(answer, [])
            self.ack(topic, first[1])
        self.assertEqual(self.offset(topic), 3)
        rest = self.pop_in_order(topic)
        self.assertEqual(self.bodies(rest), [3, 4, 5])
        self.assertEqual([message.times for message in rest], [0, 0, 0])

    def test_order_after_a_stop(self):
        self.check_order(False)

    def test_order_after_a_kill(self):
        """At once: by the group's offset alone."""
        self.check_order(True)

    def test_order_after_a_kill_later(self):
        """The file has the answer: its time goes on."""
        topic = self.topic()
        self.fill(topic, 4)
        first = self.pop_in_order(topic, count=2)
        self.ack(topic, first[1])
        self.client.call(CHANGE, {**self.place(topic, first[0]), "invisibleTime": LONG_MS})
        path = self.broker.path("store/config/consumerOrderInfo.json")
        wait_until(lambda: os.path.exists(path) and '"cm":2' in open(path).read() and
                   '"ot":{' in open(path).read(), "the answer is saved")
        self.restart(kill=True)
        self.await_ready(topic, first[1])
        self.assertEqual(self.pop_in_order(topic), [])
        self.ack(topic, first[0])
        self.assertEqual(self.bodies(self.pop_in_order(topic)), [2, 3])

    def test_counts_after_a_stop(self):
        topic = self.topic()
        self.fill(topic, 1)
        self.pop_in_order(topic, invisible_ms=100)
        self.assertEqual([message.times for message in
                          self.pop_in_order(topic, invisible_ms=100, poll_ms=LONG_MS)], [1])
        self.restart(kill=False)
        self.assertEqual([message.times for message in self.pop_in_order(topic, poll_ms=LONG_MS)],
                         [2])

    @with_times(5000, 60000)
    def test_handles_from_before(self, time_ms):
        topic = self.topic()
        self.fill(topic, 3)
        popped = self.pop(topic, invisible_ms=time_ms)
        self.restart(kill=False)
        wait_until(lambda: self.client.call(ACK, self.place(topic, popped[1])).code == SUCCESS,
                   "the broker knows its checkpoints")
        self.in_time(popped, time_ms)
        self.assertEqual(self.bodies(self.again(topic, 2)), [0, 2])
        self.assertEqual(self.pop(topic, poll_ms=500), [])

    def test_nothing_is_lost_by_kill_at_once(self):
        topic = self.topic(queues=2)
        self.fill(topic, 20, queues=2)
        seen = set()
        for _ in range(3):
            popped = self.pop_when_ready(topic, count=3, invisible_ms=1000)
            for message in popped[:1]:
                self.ack(topic, message)
                seen.add(int(message.body))
            self.restart(kill=True)

        def all_seen():
            for message in self.pop(topic, poll_ms=1000, invisible_ms=LONG_MS):
                self.ack(topic, message)
                seen.add(int(message.body))
            return seen == set(range(20))
        wait_until(all_seen, "every message was delivered")

    def test_nothing_is_lost_by_kill_under_load(self):
        """Producers and consumers go on while the broker is killed again and again: whatever was
        acknowledged to a producer is acknowledged by a consumer in the end."""
        topic = self.topic(queues=4)
        sent, done = set(), set()
        sending, taking = threading.Event(), threading.Event()
        failures = []

        def keep_at(work, going_on):
            """Work with a connection, and with another one when the broker has gone."""
            while going_on.is_set():
                try:
                    with self.broker.client() as client:
                        while going_on.is_set():
                            work(client)
                except (OSError, Closed):
                    time.sleep(0.05)
                except Exception as failure:  # told by the test
                    failures.append(failure)
                    return

        def produce(number):
            count = iter(range(10**9))

            def work(client):
                body = b"%d" % (number * 10**6 + next(count))
                answer = client.produce(topic, body, queue_id=number)
                if answer.code == SUCCESS:
                    sent.add(int(body))
                time.sleep(0.002)
            keep_at(work, sending)

        def consume():
            def work(client):
                answer = self.pop_answer(topic, client=client, count=8, poll_ms=500,
                                         invisible_ms=3000)
                if answer.code != SUCCESS:
                    return
                for message in read_popped(answer):
                    if message.offset % 5 == 4 and message.retry == "0":
                        continue  # left for its second time
                    ack = client.call(ACK, self.place(topic, message))
                    if ack.code == SUCCESS:
                        done.add(int(message.body))
            keep_at(work, taking)
        producers = [threading.Thread(target=produce, args=(i,)) for i in range(2)]
        consumers = [threading.Thread(target=consume) for _ in range(3)]
        sending.set()
        taking.set()
        for thread in producers + consumers:
            thread.start()
        try:
            for _ in range(3):
                before = len(sent)
                wait_until(lambda: len(sent) > before + 100 and len(done) > before // 2,
                           "messages pass through")
                self.restart(kill=True)
            sending.clear()
            for thread in producers:
                thread.join()
            wait_until(lambda: sent <= done or failures, "all that was sent is done", 300)
        finally:
            sending.clear()
            taking.clear()
            for thread in producers + consumers:
                thread.join()
        self.assertEqual(failures, [])

    def test_modes(self):
        topic = self.topic()
        self.pop(topic)  # makes the group
        body = json.dumps({"topic": topic, "consumerGroup": "G", "mode": "POP",
                           "popShareQueueNum": 2}).encode()
        self.assertEqual(self.client.call(SET_MODE, {}, body).code, SUCCESS)
        stored = json.loads(self.broker.read("store/config/messageRequestMode.json"))
        self.assertEqual(stored, {"messageRequestModeMap": {topic: {"G": {
            "topic": topic, "consumerGroup": "G", "mode": "POP", "popShareQueueNum": 2}}}})
        self.restart(kill=True)
        self.client.call(HEARTBEAT, {}, heartbeat("c1", "G", [(topic, "*", 1)]))
        answer = self.client.call(QUERY_ASSIGNMENT, {}, json.dumps({
            "topic": topic, "consumerGroup": "G", "clientId": "c1", "strategyName": "AVG",
            "messageModel": "CLUSTERING"}).encode())
        self.assertEqual(answer.json()["messageQueueAssignments"][0]["mode"], "POP")


class Assigning(PopTest):
    def assigned(self, topic, client_id, group="G", strategy="AVG", model="CLUSTERING"):
        answer = self.client.call(QUERY_ASSIGNMENT, {}, json.dumps({
            "topic": topic, "consumerGroup": group, "clientId": client_id,
            "strategyName": strategy, "messageModel": model}).encode())
        self.assertEqual(answer.code, SUCCESS, answer)
        found = answer.json().get("messageQueueAssignments")
        if found is None:
            return None
        for one in found:
            self.assertEqual((one["messageQueue"]["topic"], one["messageQueue"]["brokerName"]),
                             (topic, "broker-a"))
        return [(one["messageQueue"]["queueId"], one["mode"]) for one in found]

    def join(self, topic, group, *client_ids):
        for client_id in client_ids:
            self.connect().call(HEARTBEAT, {}, heartbeat(client_id, group, [(topic, "*", 1)]))

    def set_mode(self, topic, mode, share=0, group="G"):
        return self.client.call(SET_MODE, {}, json.dumps({
            "topic": topic, "consumerGroup": group, "mode": mode,
            "popShareQueueNum": share}).encode()).code

    def test_pull(self):
        topic = self.topic(queues=5)
        self.join(topic, "G", "b", "a")
        self.assertEqual(self.assigned(topic, "a"), [(0, "PULL"), (1, "PULL"), (2, "PULL")])
        self.assertEqual(self.assigned(topic, "b"), [(3, "PULL"), (4, "PULL")])
        self.assertEqual(self.assigned(topic, "b", strategy="AVG_BY_CIRCLE"),
                         [(1, "PULL"), (3, "PULL")])
        self.assertEqual(self.assigned(topic, "stranger"), [])
        self.assertEqual(len(self.assigned(topic, "a", model="BROADCASTING")), 5)

    def test_pop(self):
        topic = self.topic(queues=4)
        self.join(topic, "Pop", "a", "b", "c", "d")
        self.assertEqual(self.set_mode(topic, "POP", group="Pop"), SUCCESS)
        self.assertEqual(self.assigned(topic, "a", "Pop"), [(-1, "POP")])
        self.assertEqual(self.set_mode(topic, "POP", 1, "Pop"), SUCCESS)
        self.assertEqual(self.assigned(topic, "d", "Pop"), [(3, "POP"), (0, "POP")])

    def test_nothing_can_be_said(self):
        topic = self.topic()
        self.assertIsNone(self.assigned(topic, "a", "Nobody"))
        self.assertIsNone(self.assigned("no-such-topic", "a"))
        self.assertIsNone(self.assigned(topic, "a", strategy="MACHINE_ROOM"))

    def test_modes_refused(self):
        topic = self.topic()
        self.assertEqual(self.set_mode("no-such-topic", "POP"), TOPIC_NOT_EXIST)
        self.assertEqual(self.set_mode("%RETRY%G", "POP"), NO_PERMISSION)
        self.assertEqual(self.set_mode(topic, "PUSH"), 1)


class AssigningWithoutAnAnswer(unittest.TestCase):
    def test_questions_that_wait_are_bounded(self):
        """The name server takes the question and is silent. Those that wait are answered when it is
        given up; who comes when there are too many, at once, with "leave things as they are"."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            broker = Broker(namesrvAddr="127.0.0.1:%d" % silent.getsockname()[1])
            self.addCleanup(broker.remove)
            broker.start()
            with broker.client() as client:
                topic = "SELF_TEST_TOPIC"
                client.call(HEARTBEAT, {}, heartbeat("a", "G", [(topic, "*", 1)]))
                body = json.dumps({"topic": topic, "consumerGroup": "G", "clientId": "a",
                                   "strategyName": "AVG", "messageModel": "CLUSTERING"}).encode()
                opaques = [client.send(QUERY_ASSIGNMENT, {}, body) for _ in range(4200)]
                assigned = [client.read_answer(opaque).json() for opaque in opaques]
        self.assertTrue(all("messageQueueAssignments" in one for one in assigned[:4096]))
        self.assertIn({}, assigned[4096:])


if __name__ == "__main__":
    rocketmq.main("broker_pop")
