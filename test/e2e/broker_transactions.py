# SPDX-License-Identifier: Apache-2.0
"""Transactions: half messages, their end by commit and rollback, the broker's questions to any
producer of the group, giving up and taking up again, restarts and lost producers. The rules are
4.9.2's (TX-01 to TX-10, SD-07)."""

import json
import os
import time
import unittest

import rocketmq
from broker import (Broker, BrokerTest, MESSAGE_ILLEGAL, NO_PERMISSION, Record, RUNTIME_INFO,
                    SUCCESS, SYSTEM_BUSY, SYSTEM_ERROR, TOPIC_NOT_EXIST, UPDATE_CONFIG, HEARTBEAT, VIEW,
                    MAX_OFFSET, SEND_BATCH, batch_body)
from broker_cold import bytes_in_memory, make_cold
from rocketmq import ROCKETMQ, Command, wait_until

END, CHECK, RESUME = 37, 39, 323
COMMIT, ROLLBACK = 8, 12
HALF, OP, GIVEN_UP = ("RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC",
                      "TRANS_CHECK_MAX_TIME_TOPIC")
SLAVE_NOT_AVAILABLE = 11
NEVER_MS = 3600000
OFTEN = 1000000  # rounds follow each other fast here, and a test may be slow


def position_of(msg_id):
    """The log position in an offset message id."""
    return int(msg_id[-16:], 16)


def beat(client, group, client_id=None):
    body = json.dumps({"clientID": client_id or client.local_address(), "consumerDataSet": [],
                       "producerDataSet": [{"groupName": group}]}).encode()
    answer = client.call(HEARTBEAT, {}, body)
    assert answer.code == SUCCESS, answer


def is_left_alone(client, seconds):
    """Nothing is asked for a while; what is asked is in client.pushed. No read is cut short, so
    that frames stay whole."""
    time.sleep(seconds)
    client.call(MAX_OFFSET, {"topic": "SELF_TEST_TOPIC", "queueId": 0})
    return not client.pushed


class Half:
    """A half message as its producer knows it."""

    def __init__(self, answer, group, key="K"):
        self.position = position_of(answer["msgId"])
        self.queue_id = int(answer["queueId"])
        self.offset = int(answer["queueOffset"])
        self.group = group
        self.key = key

    def end(self, outcome, **other):
        return {"producerGroup": self.group, "tranStateTableOffset": self.offset,
                "commitLogOffset": self.position, "commitOrRollback": outcome,
                "fromTransactionCheck": "false", "msgId": self.key, **other}


def end_of_check(check, outcome, group):
    """What a producer sends when it was asked."""
    return {"producerGroup": group, "commitOrRollback": outcome, "fromTransactionCheck": "true",
            **{name: check.ext[name] for name in
               ("tranStateTableOffset", "commitLogOffset", "msgId", "transactionId")}}


class TransactionTest(BrokerTest):
    def half(self, topic, body=b"half", group="PG", client=None, queue_id=0, key="K", **properties):
        client = client or self.client
        answer = client.produce(topic, body, queue_id, {
            "KEYS": "k", "TRAN_MSG": "true", "PGROUP": group, "UNIQ_KEY": key, "TAGS": "A",
            "WAIT": "true", **properties}, f=4)
        self.assertEqual(answer.code, SUCCESS, answer)
        return Half(answer.ext, group, key)

    def view(self, position):
        answer = self.client.call(VIEW, {"offset": position})
        self.assertEqual(answer.code, SUCCESS, answer)
        return Record(answer.body)

    def is_empty(self, topic, queue_id=0):
        """Nothing in the queue, once everything sent before is readable."""
        barrier = self.topic()
        self.sent(barrier)
        self.stored(barrier, 0, 1)
        return self.client.max_offset(topic, queue_id) == 0

    def ended(self, half, outcome, **other):
        answer = self.client.call(END, half.end(outcome, **other))
        self.assertEqual(answer.code, SUCCESS, answer)
        return answer

    def refused(self, code, remark, header):
        answer = self.client.call(END, header)
        self.assertEqual(answer.code, code, answer)
        self.assertTrue(answer.remark.startswith(remark), answer.remark)


class Ends(TransactionTest):
    """Commit, rollback and what is neither, on a broker that never asks."""

    options = {"transactionCheckInterval": NEVER_MS}

    def test_commit(self):
        topic = self.topic(2)
        half = self.half(topic, b"the body", queue_id=1, key="KEY-1")
        stored = self.view(half.position)
        self.assertEqual((stored.topic, stored.queue_id, stored.queue_offset, stored.sys_flag),
                         (HALF, 0, half.offset, 0))
        self.assertEqual(stored.properties, {
            "KEYS": "k", "TRAN_MSG": "true", "PGROUP": "PG", "UNIQ_KEY": "KEY-1", "TAGS": "A",
            "WAIT": "true", "CLUSTER": "DefaultCluster", "REAL_TOPIC": topic, "REAL_QID": "1"})
        self.assertEqual(half.queue_id, 1)
        self.assertTrue(self.is_empty(topic, 1))
        answer = self.ended(half, COMMIT)
        self.assertIsNone(answer.remark)
        record, = self.stored(topic, 1, 1)
        self.assertEqual((record.body, record.sys_flag, record.prepared_offset),
                         (b"the body", 8, half.position))
        self.assertEqual((record.born_ms, record.born_host, record.properties_text),
                         (stored.born_ms, stored.born_host, stored.properties_text))
        marker = self.view(record.position + record.size)
        self.assertEqual((marker.topic, marker.queue_id, marker.body, marker.properties),
                         (OP, 0, str(half.offset).encode(), {"TAGS": "d", "WAIT": "true"}))
        self.assertEqual(marker.born_host, marker.store_host)

    def test_offsets_of_half_messages_follow_each_other(self):
        topic = self.topic()
        first, second = self.half(topic), self.half(topic)
        self.assertEqual(second.offset, first.offset + 1)
        self.assertEqual(self.client.pull(OP).code, TOPIC_NOT_EXIST)

    def test_rollback(self):
        topic = self.topic()
        half = self.half(topic)
        self.ended(half, ROLLBACK)
        marker = self.view(half.position + self.view(half.position).size)
        self.assertEqual((marker.topic, marker.body), (OP, str(half.offset).encode()))
        self.assertTrue(self.is_empty(topic))

    def test_oneway(self):
        topic = self.topic()
        for codec in (rocketmq.JSON, ROCKETMQ):
            self.client.oneway(END, self.half(topic).end(COMMIT), codec=codec)
            self.client.oneway(END, self.half(topic).end(ROLLBACK), codec=codec)
        self.client.oneway(END, {"producerGroup": "PG"})
        self.stored(topic, 0, 2)
        self.assertTrue(self.client.is_silent())

    def test_unknown_outcome_is_not_answered(self):
        topic = self.topic()
        half = self.half(topic)
        self.client.send(END, half.end(0))
        self.client.send(END, half.end(0, fromTransactionCheck="true"))
        self.assertTrue(self.client.is_silent())
        self.assertTrue(self.is_empty(topic))
        self.refused(SYSTEM_ERROR, "commitOrRollback field wrong", half.end(5))
        self.ended(half, COMMIT)

    def test_twice(self):
        """The first end counts: who says the same again is told that it is done, who says the
        contrary is refused. From 4.9.2 what is committed twice comes twice."""
        topic = self.topic()
        half = self.half(topic)
        self.ended(half, COMMIT)
        self.ended(half, COMMIT)
        self.refused(SYSTEM_ERROR, "the transaction has been committed already", half.end(ROLLBACK))
        half = self.half(topic, b"never")
        self.ended(half, ROLLBACK)
        self.ended(half, ROLLBACK)
        self.refused(SYSTEM_ERROR, "the transaction has been rolled back already", half.end(COMMIT))
        for _ in range(3):
            self.client.oneway(END, half.end(COMMIT))
        self.ended(self.half(topic, b"last"), COMMIT)
        self.assertEqual([record.body for record in self.stored(topic, 0, 2)], [b"half", b"last"])

    def test_twice_in_one_turn(self):
        """Many at once, of which the first is not in the log yet when the others are read."""
        topic = self.topic()
        for i in range(20):
            half = self.half(topic, b"%d" % i)
            one = {name: str(value) for name, value in half.end(COMMIT).items()}
            self.client.send_bytes(b"".join(Command(END, one, b"", 20000 + 100 * i + n).encode()
                                            for n in range(10)))
            codes = {self.client.read_answer(20000 + 100 * i + n).code for n in range(10)}
            self.assertIn(SUCCESS, codes)
            self.assertLessEqual(codes, {SUCCESS, SYSTEM_BUSY})
        self.assertEqual([record.body for record in self.stored(topic, 0, 20)],
                         [b"%d" % i for i in range(20)])

    def test_wrong_ends(self):
        topic = self.topic()
        half = self.half(topic)
        plain = self.sent(topic, properties={"PGROUP": "PG"})
        missing = "Find prepared transaction message failed"
        for position in (0x7FFFFFFFFFFFFFF0, half.position + 1, -1, half.position + 5_000_000):
            half_of_nothing = half.end(COMMIT, commitLogOffset=position)
            self.refused(SYSTEM_ERROR, missing, half_of_nothing)
            self.refused(SYSTEM_ERROR, missing, {**half_of_nothing, "commitOrRollback": ROLLBACK})
        self.refused(SYSTEM_ERROR, missing, Half(plain, "PG").end(COMMIT))
        for outcome in (COMMIT, ROLLBACK):
            self.refused(SYSTEM_ERROR, "The producer group wrong",
                         half.end(outcome, producerGroup="PG2"))
            self.refused(SYSTEM_ERROR, "The transaction state table offset wrong",
                         half.end(outcome, tranStateTableOffset=half.offset + 1))
        self.assertEqual(len(self.stored(topic, 0, 1)), 1)
        self.ended(half, COMMIT)
        self.assertEqual(len(self.stored(topic, 0, 2)), 2)

    def test_missing_fields(self):
        half = self.half(self.topic())
        for name in ("producerGroup", "tranStateTableOffset", "commitLogOffset",
                     "commitOrRollback"):
            header = half.end(COMMIT)
            del header[name]
            answer = self.client.call(END, header)
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(name, answer.remark)
        header = half.end(COMMIT)
        del header["msgId"], header["fromTransactionCheck"]
        self.assertEqual(self.client.call(END, header).code, SUCCESS)

    def test_without_a_group(self):
        answer = self.client.produce(self.topic(), b"", 0, {"TRAN_MSG": "true"})
        self.assertEqual(answer.code, SUCCESS)
        self.refused(SYSTEM_ERROR, "The producer group wrong", Half(answer.ext, "PG").end(COMMIT))

    def test_only_the_broker_writes_its_own_topics(self):
        """A half message that names its target itself would be committed to a topic that nobody
        made; a marker would end the transaction of another client."""
        for topic in (HALF, OP):
            answer = self.client.produce(topic, b"0", 0, {
                "PGROUP": "PG", "REAL_TOPIC": "nobody-made-it", "REAL_QID": "0", "TAGS": "d"})
            self.assertEqual((answer.code, answer.remark),
                             (NO_PERMISSION, f"Sending message to topic[{topic}] is forbidden."))

    def test_flags_and_reconsume_times_are_kept(self):
        topic = self.topic()
        answer = self.client.produce(topic, b"b", 0, {"TRAN_MSG": "true", "PGROUP": "PG"}, h=77,
                                     j=3, f=1)
        self.ended(Half(answer.ext, "PG"), COMMIT)
        record, = self.stored(topic, 0, 1)
        self.assertEqual((record.flag, record.reconsume_times, record.sys_flag), (77, 3, 9))

    def test_a_large_message(self):
        topic = self.topic()
        half = self.half(topic, b"L" * 3000000)
        self.ended(half, COMMIT)
        other = self.half(topic, b"L" * 1000000)
        self.client.oneway(END, other.end(COMMIT))
        self.assertEqual([len(record.body) for record in self.stored(topic, 0, 2)],
                         [3000000, 1000000])

    def test_a_delay_begins_with_the_commit(self):
        topic = self.topic()
        half = self.half(topic, DELAY="1")
        self.assertEqual(self.view(half.position).topic, HALF)
        self.ended(half, COMMIT)
        record, = self.stored(topic, 0, 1)
        self.assertEqual((record.body, record.properties["DELAY"]), (b"half", "1"))

    def test_a_timer_begins_with_the_commit(self):
        topic = self.topic()
        half = self.half(topic, TIMER_DELAY_MS="300")
        committed_ms = time.time() * 1000
        self.ended(half, COMMIT)
        record, = self.stored(topic, 0, 1)
        self.assertEqual(record.body, b"half")
        self.assertGreaterEqual(record.store_ms, committed_ms + 300 - 1)
        past = self.half(topic, TIMER_DELIVER_MS="1")
        self.ended(past, COMMIT)
        *_, record = self.stored(topic, 0, 2)
        self.assertEqual(record.properties["REAL_TOPIC"], topic)  # as every other commit
        # What can not become a timer is refused at once, or, if it could when it was sent, then.
        far = {"TRAN_MSG": "true", "PGROUP": "PG", "TIMER_DELAY_SEC": "99999999"}
        self.assertEqual(self.client.produce(topic, b"far", 0, far).code, MESSAGE_ILLEGAL)
        minute = self.half(topic, TIMER_DELAY_SEC="60")
        for seconds in (1, 259200):
            answer = self.client.call(UPDATE_CONFIG, {}, f"timerMaxDelaySec={seconds}".encode())
            self.assertEqual(answer.code, SUCCESS, answer)
            if seconds == 1:
                self.refused(SYSTEM_ERROR, "the message can not be committed: ",
                             minute.end(COMMIT))

    def test_not_by_the_flag_but_by_the_property(self):
        topic = self.topic()
        for flag, properties in ((0, {"TRAN_MSG": "TRUE"}), (12, {"TRAN_MSG": "true"})):
            answer = self.client.produce(topic, b"x", 0, {**properties, "PGROUP": "PG"}, f=flag)
            self.assertEqual(self.view(position_of(answer.ext["msgId"])).topic, HALF)
        self.sent(topic, properties={"TRAN_MSG": "false"})
        self.stored(topic, 0, 1)
        batch = self.client.produce(topic, batch_body([b"x"]), 0, code=SEND_BATCH, m="true", f=4)
        self.assertEqual(batch.code, MESSAGE_ILLEGAL)

    def test_rejected(self):
        topic = self.topic()
        for value, code in (("true", NO_PERMISSION), ("false", SUCCESS)):
            answer = self.client.call(UPDATE_CONFIG, {},
                                      f"rejectTransactionMessage={value}".encode())
            self.assertEqual(answer.code, SUCCESS, answer)
            answer = self.client.produce(topic, b"x", 0, {"TRAN_MSG": "true", "PGROUP": "PG"})
            self.assertEqual(answer.code, code, answer)
            if code == NO_PERMISSION:
                self.assertTrue(answer.remark.startswith(
                    "the broker[127.0.0.1] sending transaction message is forbidden"))
            self.assertEqual(self.client.produce(topic, b"plain").code, SUCCESS)

    def test_properties_that_leave_no_room(self):
        room = 32767 - 300
        answer = self.client.produce(self.topic(), b"", 0, {
            "TRAN_MSG": "true", "PGROUP": "PG", "p": "v" * (room + 280)})
        self.assertEqual(answer.code, MESSAGE_ILLEGAL)

    def test_runtime_info(self):
        info = self.client.call(RUNTIME_INFO).json()["table"]
        self.assertEqual(info["EndTransactionQueueSize"], "0")
        self.assertEqual(info["EndTransactionThreadPoolQueueCapacity"], "100000")

    def test_resume_what_is_none(self):
        plain = self.sent(self.topic())
        for msg_id in ("", "nonsense", plain["msgId"], self.broker.message_id(1 << 40)):
            answer = self.client.call(RESUME, {"msgId": msg_id})
            self.assertEqual(answer.code, SYSTEM_ERROR, answer)
            self.assertTrue(answer.remark.startswith("Exception was thrown when putting message "
                                                     "back to " + HALF), answer.remark)
        self.assertEqual(self.client.call(RESUME, {}).code, SYSTEM_ERROR)


class Flushed(Ends):
    """The same, answered when the disk has it."""

    options = {"transactionCheckInterval": NEVER_MS, "flushDiskType": "SYNC_FLUSH"}


class Slave(TransactionTest):
    options = {"brokerRole": "SLAVE", "brokerId": 1}

    def test_refused(self):
        header = {"producerGroup": "PG", "tranStateTableOffset": 0, "commitLogOffset": 0,
                  "commitOrRollback": COMMIT, "msgId": "K"}
        self.assertEqual(self.client.call(END, header).code, SLAVE_NOT_AVAILABLE)
        self.assertEqual(self.client.call(END, {**header, "commitOrRollback": 0}).code,
                         SLAVE_NOT_AVAILABLE)


class Checks(TransactionTest):
    """The broker asks producers about what is open."""

    options = {"transactionCheckInterval": 200, "transactionTimeOut": 300,
               "transactionCheckMax": OFTEN}

    def group(self):
        return "PG-" + self.topic()

    def producer(self, group):
        client = self.connect()
        beat(client, group)
        return client

    def set(self, **options):
        body = "\n".join(f"{name}={value}" for name, value in options.items()).encode()
        self.assertEqual(self.client.call(UPDATE_CONFIG, {}, body).code, SUCCESS)

    def question(self, producer, group, body):
        """The next question about that message; what comes late of others is rolled back."""
        while True:
            check = producer.read_push()
            if Record(check.body).body == body:
                return check
            producer.oneway(END, end_of_check(check, ROLLBACK, group))

    def settle(self, producer, group):
        """Nothing is asked any more. Rounds follow each other fast here: a question may be on its
        way when the one before it is answered."""
        def is_silent():
            silent = is_left_alone(producer, 1)
            while producer.pushed:
                producer.oneway(END, end_of_check(producer.read_push(), ROLLBACK, group))
            return silent

        wait_until(is_silent, "no further question")

    def test_commit_when_asked(self):
        topic, group = self.topic(2), self.group()
        producer = self.producer(group)
        half = self.half(topic, b"later", group, producer, queue_id=1, key="UNIQUE")
        check = producer.read_push()
        self.assertEqual((check.code, check.flag), (CHECK, rocketmq.FLAG_ONEWAY))
        self.assertEqual(set(check.ext), {"tranStateTableOffset", "commitLogOffset", "msgId",
                                          "transactionId", "offsetMsgId"})
        self.assertEqual((check.ext["msgId"], check.ext["transactionId"]), ("UNIQUE", "UNIQUE"))
        shown = Record(check.body)
        self.assertEqual((shown.topic, shown.queue_id, shown.body), (topic, 1, b"later"))
        self.assertEqual(shown.properties["TRANSACTION_CHECK_TIMES"], "1")
        again = self.view(int(check.ext["commitLogOffset"]))
        self.assertEqual((again.topic, again.queue_id, again.properties),
                         (HALF, 0, shown.properties))
        self.assertEqual(again.queue_offset, int(check.ext["tranStateTableOffset"]))
        self.assertGreater(again.queue_offset, half.offset)
        self.assertEqual(check.ext["offsetMsgId"], self.broker.message_id(again.position))
        self.assertEqual((shown.queue_offset, shown.position, shown.born_ms),
                         (again.queue_offset, again.position, again.born_ms))
        producer.oneway(END, end_of_check(check, COMMIT, group))
        record, = self.stored(topic, 1, 1)
        self.assertEqual((record.body, record.sys_flag, record.prepared_offset),
                         (b"later", 8, again.position))
        self.assertEqual(record.properties["TRANSACTION_CHECK_TIMES"], "1")
        self.settle(producer, group)

    def test_what_has_ended_is_not_asked_about(self):
        topic, group = self.topic(), self.group()
        producer = self.producer(group)
        late = set()  # bodies of those that were open for long, on a busy machine
        for i in range(100):
            began = time.monotonic()
            half = self.half(topic, b"%d" % i, group, producer)
            self.ended(half, COMMIT if i % 2 else ROLLBACK)
            if time.monotonic() - began >= 0.3:
                late.add(b"%d" % i)
        self.stored(topic, 0, 50)
        is_left_alone(producer, 1)
        self.assertLessEqual({Record(check.body).body for check in producer.pushed}, late)

    def test_the_first_end_comes_late(self):
        """It is about the first half message, the answer to the question about its copy: either
        ends the transaction, and both together end it once."""
        topic, group = self.topic(), self.group()
        producer = self.producer(group)
        for first, second in ((0, 1), (1, 0)):
            half = self.half(topic, b"%d" % first, group, producer)
            check = self.question(producer, group, b"%d" % first)
            ends = [half.end(COMMIT), end_of_check(check, COMMIT, group)]
            for which in (first, second):
                answer = producer.call(END, ends[which])
                self.assertEqual(answer.code, SUCCESS, answer)
            answer = producer.call(END, end_of_check(check, ROLLBACK, group))
            self.assertEqual(answer.code, SYSTEM_ERROR, answer)
        self.settle(producer, group)
        self.assertEqual([record.body for record in self.stored(topic, 0, 2)], [b"0", b"1"])

    def test_asked_until_it_knows(self):
        topic, group = self.topic(), self.group()
        producer = self.producer(group)
        self.half(topic, b"x", group, producer)
        for times in range(1, 4):
            check = producer.read_push()
            self.assertEqual(Record(check.body).properties["TRANSACTION_CHECK_TIMES"], str(times))
            producer.oneway(END, end_of_check(check, 0, group))
        check = producer.read_push()
        producer.oneway(END, end_of_check(check, ROLLBACK, group))
        self.settle(producer, group)
        self.assertTrue(self.is_empty(topic))

    def test_another_producer_of_the_group(self):
        topic, group = self.topic(), self.group()
        lost = self.producer(group)
        self.half(topic, b"left behind", group, lost)
        other = self.producer(group)
        lost.close()
        check = other.read_push()
        self.assertEqual(Record(check.body).body, b"left behind")
        other.oneway(END, end_of_check(check, COMMIT, group))
        self.stored(topic, 0, 1)

    def test_in_turn(self):
        topic, group = self.topic(), self.group()
        producers = [self.producer(group) for _ in range(3)]
        for i in range(30):
            self.half(topic, b"%d" % i, group, producers[0])
        for producer in producers:
            producer.oneway(END, end_of_check(producer.read_push(), ROLLBACK, group))

    def test_nobody_there(self):
        """Without a producer the count grows all the same; who comes back in time is asked."""
        topic, group = self.topic(), self.group()
        self.half(topic, b"x", group)
        wait_until(lambda: any(record.properties["REAL_TOPIC"] == topic and
                               "TRANSACTION_CHECK_TIMES" in record.properties
                               for record in self.client.read_queue(HALF)), "the count grows")
        producer = self.producer(group)
        check = producer.read_push()
        self.assertGreater(int(Record(check.body).properties["TRANSACTION_CHECK_TIMES"]), 1)
        producer.oneway(END, end_of_check(check, COMMIT, group))
        self.stored(topic, 0, 1)

    def test_immunity(self):
        """CHECK_IMMUNITY_TIME_IN_SECONDS: moved on without being asked about, and no obstacle for
        the others."""
        topic, group = self.topic(), self.group()
        producer = self.producer(group)
        half = self.half(topic, b"immune", group, producer, CHECK_IMMUNITY_TIME_IN_SECONDS="3600")
        for body in (b"first", b"second"):
            self.half(topic, body, group, producer)
            check = self.question(producer, group, body)
            producer.oneway(END, end_of_check(check, ROLLBACK, group))
        copies = [record for record in self.client.read_queue(HALF) if record.body == b"immune"]
        self.assertGreater(len(copies), 1)
        self.assertEqual({record.properties.get("TRAN_PREPARED_QUEUE_OFFSET")
                          for record in copies[1:]}, {str(half.offset)})
        self.assertNotIn("TRANSACTION_CHECK_TIMES", copies[-1].properties)
        producer.oneway(END, half.end(COMMIT))
        self.stored(topic, 0, 1)

        def is_at_rest():
            end = self.client.max_offset(HALF)
            self.half(topic, b"another %d" % end, group, producer)
            check = self.question(producer, group, b"another %d" % end)
            producer.oneway(END, end_of_check(check, ROLLBACK, group))
            return not any(record.body == b"immune"
                           for record in self.client.read_queue(HALF, offset=end))

        wait_until(is_at_rest, "the end of the first copy counts for the last")

    def test_short_immunity(self):
        topic, group = self.topic(), self.group()
        producer = self.producer(group)
        self.half(topic, b"soon", group, producer, CHECK_IMMUNITY_TIME_IN_SECONDS="1")
        check = producer.read_push()
        producer.oneway(END, end_of_check(check, COMMIT, group))
        record, = self.stored(topic, 0, 1)
        self.assertGreaterEqual(record.store_ms - record.born_ms, 1000)

    def test_given_up_and_resumed(self):
        topic, group = self.topic(), self.group()
        self.set(transactionCheckMax=2)
        try:
            half = self.half(topic, b"nobody knows", group)
            record = wait_until(lambda: self.given_up(topic), "it is given up")
        finally:
            self.set(transactionCheckMax=OFTEN)
        self.assertEqual((record.body, record.properties["REAL_TOPIC"]), (b"nobody knows", topic))
        self.assertEqual(record.properties["TRANSACTION_CHECK_TIMES"], "2")
        self.assertIn(GIVEN_UP, self.client.call(21).json()["topicConfigTable"])
        self.assertTrue(self.is_empty(topic))
        producer = self.producer(group)
        answer = self.client.call(RESUME, {"msgId": self.broker.message_id(record.position)})
        self.assertEqual(answer.code, SUCCESS, answer)
        check = producer.read_push()
        self.assertEqual(Record(check.body).body, b"nobody knows")
        self.assertGreater(int(check.ext["tranStateTableOffset"]), half.offset)
        producer.oneway(END, end_of_check(check, COMMIT, group))
        self.stored(topic, 0, 1)

    def given_up(self, topic):
        """The message to `topic` that was given up, if any."""
        if self.client.pull(GIVEN_UP).code == TOPIC_NOT_EXIST:
            return None
        return next((record for record in self.client.read_queue(GIVEN_UP)
                     if record.properties["REAL_TOPIC"] == topic), None)

    def test_the_half_topic_is_made(self):
        wait_until(lambda: self.client.call(21).json()["topicConfigTable"].get(HALF), "its topic")
        config = self.client.call(21).json()["topicConfigTable"][HALF]
        self.assertEqual((config["readQueueNums"], config["writeQueueNums"], config["perm"]),
                         (1, 1, 6))


class Restarts(unittest.TestCase):
    def broker(self, **options):
        broker = Broker(**{"transactionCheckInterval": 200, "transactionTimeOut": 200,
                           "transactionCheckMax": OFTEN, **options})
        self.addCleanup(broker.remove)
        broker.start()
        return broker

    def open_half(self, client, topic, body, group="PG"):
        key = body[:20].decode()
        answer = client.produce(topic, body, 0, {"TRAN_MSG": "true", "PGROUP": group,
                                                 "UNIQ_KEY": key})
        self.assertEqual(answer.code, SUCCESS, answer)
        return Half(answer.ext, group, key)

    def bodies(self, client, topic, count):
        wait_until(lambda: client.max_offset(topic) >= count, f"{count} messages in {topic}")
        return [record.body for record in client.read_queue(topic)]

    def between_half_and_commit(self, flush, kill):
        broker = self.broker(flushDiskType=flush, transactionCheckInterval=NEVER_MS)
        with broker.client() as client:
            self.assertEqual(client.create_topic("T").code, SUCCESS)
            halves = [self.open_half(client, "T", b"%d" % i) for i in range(3)]
        broker.kill() if kill else broker.stop()
        broker.start()
        with broker.client() as client:
            for half, outcome in zip(halves, (COMMIT, ROLLBACK, COMMIT)):
                self.assertEqual(client.call(END, half.end(outcome)).code, SUCCESS)
            self.assertEqual(self.bodies(client, "T", 2), [b"0", b"2"])
        broker.kill() if kill else broker.stop()
        broker.start()
        with broker.client() as client:
            self.assertEqual(self.bodies(client, "T", 2), [b"0", b"2"])

    def test_killed_between_half_and_commit(self):
        self.between_half_and_commit("ASYNC_FLUSH", True)
        self.between_half_and_commit("SYNC_FLUSH", True)

    def test_stopped_between_half_and_commit(self):
        self.between_half_and_commit("ASYNC_FLUSH", False)

    def test_asked_after_a_restart(self):
        """What was open is asked about, what had ended is not, also when the broker was killed."""
        for kill in (False, True):
            broker = self.broker(transactionCheckInterval=NEVER_MS)
            with broker.client() as client:
                self.assertEqual(client.create_topic("T").code, SUCCESS)
                for i in range(10):
                    half = self.open_half(client, "T", b"done %d" % i)
                    client.oneway(END, half.end(COMMIT))
                self.open_half(client, "T", b"open")
                self.bodies(client, "T", 10)
            broker.kill() if kill else broker.stop()
            broker.options["transactionCheckInterval"] = 200
            os.unlink(broker.config_file)
            broker.start()
            with broker.client() as client:
                beat(client, "PG")
                check = client.read_push()
                self.assertEqual(Record(check.body).body, b"open")
                client.oneway(END, end_of_check(check, COMMIT, "PG"))
                self.assertEqual(self.bodies(client, "T", 11)[-1], b"open")
                wait_until(lambda: self.has_only_late_questions(client, b"open"), "the end")

    def has_only_late_questions(self, client, body):
        """Answers those; true when there were none for a while."""
        beat(client, "PG")
        silent = is_left_alone(client, 1)
        while client.pushed:
            check = client.read_push()
            self.assertEqual(Record(check.body).body, body)
            client.oneway(END, end_of_check(check, ROLLBACK, "PG"))
        return silent

    def test_killed_while_asking(self):
        """Again and again: nothing is lost, whatever was under way, and nothing comes twice."""
        broker = self.broker(transactionCheckInterval=1000, mappedFileSizeCommitLog=1 << 20,
                             maxMessageSize=65536)
        with broker.client() as client:
            self.assertEqual(client.create_topic("T").code, SUCCESS)
            wanted = {b"%d" % i for i in range(500)}
            for body in wanted:
                self.open_half(client, "T", body)
        for _ in range(3):
            with broker.client() as client:
                beat(client, "PG")
                for _ in range(100):
                    check = client.read_push()
                    client.oneway(END, end_of_check(check, COMMIT, "PG"))
            broker.kill()
            broker.start()
        with broker.client() as client:
            beat(client, "PG")

            def all_there():
                there = {record.body for record in client.read_queue("T")}
                while client.pushed:
                    client.oneway(END, end_of_check(client.read_push(), COMMIT, "PG"))
                return wanted <= there

            wait_until(all_there, "all that was open is committed", 300)
            wait_until(lambda: self.has_no_questions(client), "nobody is asked any more")
            self.assertEqual(sorted(self.bodies(client, "T", 500)), sorted(wanted))

    def has_no_questions(self, client):
        silent = is_left_alone(client, 2)
        while client.pushed:
            client.oneway(END, end_of_check(client.read_push(), COMMIT, "PG"))
        return silent

    def ended_before(self, flush, kill):
        """The answer to an end is lost with the broker: the producer sends it again."""
        broker = self.broker(flushDiskType=flush, transactionCheckInterval=NEVER_MS)
        with broker.client() as client:
            self.assertEqual(client.create_topic("T").code, SUCCESS)
            halves = [self.open_half(client, "T", b"%d" % i) for i in range(6)]
            outcomes = [COMMIT, ROLLBACK] * 3
            for half, outcome in zip(halves, outcomes):
                self.assertEqual(client.call(END, half.end(outcome)).code, SUCCESS)
        for _ in range(2):
            broker.kill() if kill else broker.stop()
            broker.start()
            with broker.client() as client:
                for half, outcome in zip(halves, outcomes):
                    self.assertEqual(client.call(END, half.end(outcome)).code, SUCCESS)
                    answer = client.call(END, half.end(COMMIT + ROLLBACK - outcome))
                    self.assertEqual(answer.code, SYSTEM_ERROR, answer)
                last = self.open_half(client, "T", b"last")
                self.assertEqual(client.call(END, last.end(COMMIT)).code, SUCCESS)
                halves, outcomes = halves + [last], outcomes + [COMMIT]
        with broker.client() as client:
            self.assertEqual(self.bodies(client, "T", 5), [b"0", b"2", b"4", b"last", b"last"])

    def test_ended_before_a_kill(self):
        self.ended_before("ASYNC_FLUSH", True)
        self.ended_before("SYNC_FLUSH", True)

    def test_ended_before_a_stop(self):
        self.ended_before("ASYNC_FLUSH", False)

    def test_a_producer_that_does_not_read(self):
        """Questions to it pile up to a bound; the others of its group and other groups are asked
        all the same."""
        broker = self.broker(transactionCheckInterval=500, outputHighWaterBytes=1 << 20)
        with broker.client() as deaf, broker.client() as same, broker.client() as other:
            self.assertEqual(deaf.create_topic("T").code, SUCCESS)
            for i in range(100):
                self.open_half(deaf, "T", b"%d" % i + b" " * 100000, "deaf")
            before = broker.memory_kb()
            beat(deaf, "deaf")
            for i in range(5):
                self.open_half(other, "T", b"other %d" % i, "other")
                beat(other, "other")
                check = other.read_push()
                other.oneway(END, end_of_check(check, COMMIT, "other"))
            beat(same, "deaf")
            asked = set()
            while len(asked) < 100:
                check = same.read_push()
                asked.add(Record(check.body).body)
                same.oneway(END, end_of_check(check, ROLLBACK, "deaf"))
            if before is not None:
                self.assertLess(broker.memory_kb() - before, 40 * 1024)

    def test_more_ends_than_may_wait_for_the_disk(self):
        """They are refused, and can be sent again: each answer says what has happened."""
        broker = self.broker(transactionCheckInterval=NEVER_MS, flushDiskType="SYNC_FLUSH",
                             sendThreadPoolQueueCapacity=4)
        with broker.client() as client:
            self.assertEqual(client.create_topic("T").code, SUCCESS)
            ends = [self.open_half(client, "T", b"%d" % i).end(COMMIT) for i in range(200)]
            together = b"".join(Command(END, {name: str(value) for name, value in end.items()},
                                        b"", 10000 + i).encode() for i, end in enumerate(ends))
            client.send_bytes(together)
            answers = [client.read_answer(10000 + i) for i in range(200)]
            refused = [end for end, answer in zip(ends, answers) if answer.code == SYSTEM_BUSY]
            self.assertEqual({answer.code for answer in answers}, {SUCCESS, SYSTEM_BUSY})
            for end in refused:
                self.assertEqual(client.call(END, end).code, SUCCESS)
            self.assertEqual(sorted(self.bodies(client, "T", 200)),
                             sorted(b"%d" % i for i in range(200)))

    def cold_bytes(self, client):
        return int(client.call(RUNTIME_INFO).json()["table"]["coldReadBytes"])

    def test_not_in_memory(self):
        """A half message that has left the memory is read by a worker, and the end answered."""
        broker = self.broker(transactionCheckInterval=NEVER_MS, mappedFileSizeCommitLog=1 << 22)
        with broker.client() as client:
            self.assertEqual(client.create_topic("T").code, SUCCESS)
            for _ in range(3):  # the first message is looked at by the broker
                client.produce("T", b"x" * 1000000)
            half = self.open_half(client, "T", b"cold")
            for _ in range(17):
                client.produce("T", b"x" * 1000000)
        broker.stop()
        first = broker.path("store/commitlog/" + "0" * 20)
        make_cold(first)
        if bytes_in_memory(first) > 0:
            self.skipTest("the file system keeps its files in memory")
        broker.start()
        with broker.client() as client:
            before = self.cold_bytes(client)
            self.assertEqual(client.call(END, half.end(COMMIT)).code, SUCCESS)
            self.assertGreater(self.cold_bytes(client), before)
            self.assertEqual(self.bodies(client, "T", 21)[-1], b"cold")


if __name__ == "__main__":
    rocketmq.main("broker_transactions")
