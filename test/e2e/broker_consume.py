# SPDX-License-Identifier: Apache-2.0
"""Consumers beyond the plain path: members of a group that disagree, where a group begins, what is
passed on to a consumer and what is not, and what consumers and administrators may get wrong.

Source of the rules: ConsumerManager, ConsumerGroupInfo, ConsumerManageProcessor,
PullMessageProcessor and AdminBrokerProcessor of RocketMQ 4.9.2 (behaviour PL-07 to PL-24, QY-05,
QY-06, CL-02 to CL-04, CL-10, AD-12, AD-19); docs/diff.md says where we differ.
"""

import json
import time
import unittest

import rocketmq
from broker import (Broker, BrokerTest, COMMIT, CONSUMER_CONNECTIONS, EARLIEST_TIME, HEARTBEAT, IDS_CHANGED,
                    LOCK, MAX_OFFSET, MIN_OFFSET, PULL, PULL_NOT_FOUND, PULL_OFFSET_MOVED,
                    PULL_RETRY, QUERY_NOT_FOUND, QUERY_OFFSET, SEARCH_OFFSET, SUBSCRIPTION,
                    SUBSCRIPTION_NOT_EXIST, SUBSCRIPTION_NOT_LATEST, SUCCESS, SUSPEND, SYSTEM_ERROR,
                    UPDATE_CONFIG, UPDATE_OFFSET, decode_records, heartbeat, pull_header)
from rocketmq import wait_until

RUNNING_INFO, CONSUME_DIRECTLY, TIME_SPAN, CONSUME_QUEUE = 307, 309, 303, 321
CONSUME_MSG_TIMEOUT = 207
CLASS_FILTER = 8
LONG_MAX, INT_MAX = (1 << 63) - 1, (1 << 31) - 1


class ConsumeTest(BrokerTest):
    def group(self):
        return f"G{time.monotonic_ns() % 10**9}"

    def beat(self, client, client_id, group, subscriptions, **other):
        answer = client.call(HEARTBEAT, body=heartbeat(client_id, group, subscriptions), **other)
        self.assertEqual(answer.code, SUCCESS, answer)

    def topic_with(self, count, **other):
        topic = self.topic(**other)
        for i in range(count):
            self.sent(topic, b"%d" % i)
        self.stored(topic, 0, count)
        return topic


class Disagreement(ConsumeTest):
    """Members of one group with different subscriptions: the last heartbeat counts, as in 4.9.2."""

    def pull(self, topic, group, version=0):
        return self.client.pull(topic, group=group, sys_flag=0, sub_version=version)

    def test_topics(self):
        first, second = self.topic_with(1), self.topic_with(1)
        group, one, other = self.group(), self.connect(), self.connect()
        for _ in range(3):
            self.beat(one, "c1", group, [(first, "*", 1)])
            self.assertEqual(self.pull(first, group).code, SUCCESS)
            self.assertEqual(self.pull(second, group).code, SUBSCRIPTION_NOT_EXIST)
            self.beat(other, "c2", group, [(second, "*", 1)])
            answer = self.pull(first, group)
            self.assertEqual(answer.code, SUBSCRIPTION_NOT_EXIST)
            self.assertIn("the consumer's subscription not exist", answer.remark)
            self.assertEqual(self.pull(second, group).code, SUCCESS)
        # Both stay members.
        body = self.client.call(CONSUMER_CONNECTIONS, {"consumerGroup": group}).json()
        self.assertEqual(sorted(c["clientId"] for c in body["connectionSet"]), ["c1", "c2"])
        self.assertEqual(list(body["subscriptionTable"]), [second])

    def test_expressions_and_versions(self):
        topic, group = self.topic_with(1), self.group()
        one, other = self.connect(), self.connect()
        self.beat(one, "c1", group, [(topic, "*", 10)])
        self.beat(other, "c2", group, [(topic, "a", 9)])  # older: the first one's stays
        self.assertEqual(self.pull(topic, group, 10).code, SUCCESS)
        answer = self.pull(topic, group, 11)
        self.assertEqual((answer.code, answer.remark),
                         (SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest"))
        self.beat(other, "c2", group, [(topic, "a", 11)])
        self.assertNotEqual(self.pull(topic, group, 10).code, SUCCESS)

    def test_models(self):
        """The last heartbeat's consumeType, messageModel and consumeFromWhere are shown."""
        group, one, other = self.group(), self.connect(), self.connect()
        self.beat(one, "c1", group, [("T", "*", 1)])
        data = json.loads(heartbeat("c2", group, [("T", "*", 1)], "BROADCASTING"))
        data["consumerDataSet"][0].update(consumeType="CONSUME_ACTIVELY",
                                          consumeFromWhere="CONSUME_FROM_TIMESTAMP")
        self.assertEqual(other.call(HEARTBEAT, body=json.dumps(data).encode()).code, SUCCESS)
        shown = lambda: [self.client.call(CONSUMER_CONNECTIONS, {"consumerGroup": group}).json()[name]
                         for name in ("consumeType", "messageModel", "consumeFromWhere")]
        self.assertEqual(shown(), ["CONSUME_ACTIVELY", "BROADCASTING", "CONSUME_FROM_TIMESTAMP"])
        self.beat(one, "c1", group, [("T", "*", 1)])
        self.assertEqual(shown(), ["CONSUME_PASSIVELY", "CLUSTERING", "CONSUME_FROM_LAST_OFFSET"])

    def test_who_joins_is_told_before_the_answer(self):
        group, client = self.group(), self.connect()
        self.beat(client, "c", group, [("T", "*", 1)])
        self.assertEqual([notice.code for notice in client.pushed], [IDS_CHANGED])


class FirstOffset(ConsumeTest):
    def query(self, topic, queue_id=0, group="Fresh"):
        return self.client.call(QUERY_OFFSET, {"consumerGroup": group, "topic": topic,
                                               "queueId": queue_id})

    def test_only_young_queues_are_read_from_their_start(self):
        topic = self.topic_with(3, queues=2)
        self.assertEqual(self.query(topic).ext, {"offset": "0"})
        self.client.call(UPDATE_CONFIG, body=b"accessMessageInMemoryMaxRatio=0")
        try:
            answer = self.query(topic)
            self.assertEqual((answer.code, answer.remark), (
                QUERY_NOT_FOUND,
                "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"))
            self.assertEqual(self.query(topic, 1).ext, {"offset": "0"})  # nothing was stored there
        finally:
            self.client.call(UPDATE_CONFIG, body=b"accessMessageInMemoryMaxRatio=40")
        self.assertEqual(self.query(topic).ext, {"offset": "0"})


class PassedOn(ConsumeTest):
    def test_consume_directly(self):
        topic, group = self.topic(), self.group()
        identifier = self.sent(topic, b"again", properties={"TAGS": "a"})["msgId"]
        member = self.connect()
        self.beat(member, "c", group, [(topic, "*", 1)])
        self.assertEqual(member.read_push().code, IDS_CHANGED)
        opaque = self.client.send(CONSUME_DIRECTLY, {
            "consumerGroup": group, "clientId": "c", "msgId": identifier})
        asked = member.read_push()
        self.assertEqual((asked.code, asked.flag), (CONSUME_DIRECTLY, 0))
        self.assertEqual(asked.ext, {"consumerGroup": group, "clientId": "c", "msgId": identifier,
                                     "brokerName": "broker-a"})
        record, = decode_records(asked.body)
        self.assertEqual((record.topic, record.body), (topic, b"again"))
        member.answer(asked, body=b'{"consumeResult":"CR_SUCCESS"}', remark="done")
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.remark, answer.body),
                         (SUCCESS, "done", b'{"consumeResult":"CR_SUCCESS"}'))
        # A refusal is the consumer's as well.
        opaque = self.client.send(RUNNING_INFO, {"consumerGroup": group, "clientId": "c"})
        member.answer(member.read_push(), 1, None, b"", "not now")
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.remark), (SYSTEM_ERROR, "not now"))

    def test_refusals(self):
        group = self.group()
        ask = lambda code=RUNNING_INFO, **other: self.client.call(
            code, {"consumerGroup": group, "clientId": "c", **other})
        self.assertEqual((ask().code, ask().remark),
                         (SYSTEM_ERROR, f"The Consumer <{group}> <c> not online"))
        old = self.connect()
        self.beat(old, "c", group, [("T", "*", 1)], version=61)
        answer = ask()
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertIn("too low to finish, please upgrade it to V3_1_8_SNAPSHOT", answer.remark)
        for identifier in ("", "x", "00" * 16, "7F000001" + "00" * 12, "F" * 32, "F" * 56):
            answer = ask(CONSUME_DIRECTLY, msgId=identifier)
            self.assertEqual(answer.code, SYSTEM_ERROR, identifier)
        self.assertEqual(self.client.call(CONSUME_DIRECTLY, {"consumerGroup": group}).code,
                         SYSTEM_ERROR)

    def test_a_silent_and_a_leaving_consumer(self):
        group, silent, leaver = self.group(), self.connect(), self.connect()
        self.beat(silent, "silent", group, [("T", "*", 1)])
        self.beat(leaver, "leaver", group, [("T", "*", 1)])
        first = self.client.send(RUNNING_INFO, {"consumerGroup": group, "clientId": "silent"})
        second = self.client.send(RUNNING_INFO, {"consumerGroup": group, "clientId": "leaver"})
        while leaver.read_push().code != RUNNING_INFO:
            pass
        leaver.close()
        answer = self.client.read_answer(second)
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertIn("its connection closed", answer.remark)
        answer = self.client.read_answer(first)  # after 10 s
        self.assertEqual(answer.code, CONSUME_MSG_TIMEOUT)
        self.assertIn(f"consumer <{group}> <silent> Timeout", answer.remark)


class OnASlave(unittest.TestCase):
    """A master's store, served by a slave: it corrects no offsets and stores none (PL-14, PL-22)."""

    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.remove)
        self.broker.start()
        with self.broker.client() as client:
            client.create_topic("T")
            for i in range(3):
                self.assertEqual(client.produce("T", b"%d" % i).code, SUCCESS)
            wait_until(lambda: client.max_offset("T") == 3, "all are dispatched")
            client.pull("T", group="G")

    def as_slave(self, **options):
        self.broker.stop()
        self.broker.options.update(brokerRole="SLAVE", brokerId=1, **options)
        self.broker.write_config()
        self.broker.start()
        client = self.broker.client()
        self.addCleanup(client.close)
        return client

    def test_offsets_are_left_alone(self):
        client = self.as_slave(slaveReadEnable="true")
        answer = client.pull("T")
        self.assertEqual([record.body for record in decode_records(answer.body)],
                         [b"0", b"1", b"2"])
        for offset in (99, -1):
            answer = client.pull("T", 0, offset)
            self.assertEqual((answer.code, answer.ext["nextBeginOffset"],
                              answer.ext["suggestWhichBrokerId"]), (PULL_RETRY, str(offset), "0"))
        client.pull("T", 0, 1, sys_flag=SUBSCRIPTION | COMMIT, commit=2, group="Committing")
        answer = client.call(QUERY_OFFSET, {"consumerGroup": "Committing", "topic": "T",
                                            "queueId": 0})
        self.assertEqual(answer.ext, {"offset": "0"})

    def test_unless_it_is_told_to_correct(self):
        client = self.as_slave(offsetCheckInSlave="true")
        answer = client.pull("T", 0, 99)
        self.assertEqual((answer.code, answer.ext["nextBeginOffset"]), (PULL_OFFSET_MOVED, "0"))
        self.assertEqual(client.max_offset("OFFSET_MOVED_EVENT"), 0)


class Questions(ConsumeTest):
    def test_time_span(self):
        topic, group = self.topic_with(3, queues=2), self.group()
        times = [record.store_ms for record in self.client.read_queue(topic)]
        spans = lambda: {span["messageQueue"]["queueId"]: span for span in self.client.call(
            TIME_SPAN, {"topic": topic, "group": group}).json()["consumeTimeSpanSet"]}
        shown = spans()
        self.assertEqual(sorted(shown), [0, 1])
        self.assertEqual([shown[0][name] for name in ("minTimeStamp", "maxTimeStamp",
                                                      "consumeTimeStamp", "delayTime")],
                         [times[0], times[2], times[0], 0])
        self.assertEqual([shown[1][name] for name in ("minTimeStamp", "maxTimeStamp", "delayTime")],
                         [-1, -1, 0])
        self.client.call(UPDATE_OFFSET, {"consumerGroup": group, "topic": topic, "queueId": 0,
                                         "commitOffset": 2})
        shown = spans()[0]
        self.assertEqual(shown["consumeTimeStamp"], times[1])
        self.assertGreater(shown["delayTime"], 0)
        self.assertEqual(self.client.call(TIME_SPAN, {"topic": "none", "group": group}).code, 17)

    def test_a_look_into_a_queue(self):
        topic, group = self.topic_with(5), self.group()
        ask = lambda index, count, **other: self.client.call(CONSUME_QUEUE, {
            "topic": topic, "queueId": 0, "index": index, "count": count, **other})
        body = ask(1, 2).json()
        records = self.client.read_queue(topic)
        self.assertEqual([(entry["physicOffset"], entry["physicSize"])
                          for entry in body["queueData"]],
                         [(record.position, record.size) for record in records[1:3]])
        self.assertEqual((body["minQueueIndex"], body["maxQueueIndex"]), (0, 5))
        self.assertEqual(ask(0, 1, consumerGroup=group).json()["filterData"],
                         f"{group}@{topic} is not online!")
        member = self.connect()
        self.beat(member, "c", group, [(topic, "a", 1)])
        self.assertEqual(ask(0, 1, consumerGroup=group).json()["subscriptionData"]["subString"], "a")
        for index, count in ((-1, 5), (5, 5), (0, -1), (0, 0), (LONG_MAX, INT_MAX)):
            answer = ask(index, count)
            self.assertEqual((answer.code, answer.json().get("queueData", [])), (SUCCESS, []))
        for name, queue_id in (("none", 0), (topic, 1), (topic, -1)):
            answer = ask(0, 1, topic=name, queueId=queue_id)
            self.assertEqual((answer.code, answer.remark),
                             (SYSTEM_ERROR, f"{queue_id}@{name} is not exist!"))


class Illegal(ConsumeTest):
    """Whatever numbers and names come: an answer with a code, and the broker goes on."""

    def setUp(self):
        super().setUp()
        self.name = self.topic_with(3)

    def tearDown(self):
        self.assertEqual(len(decode_records(self.client.pull(self.name).body)), 3)
        super().tearDown()

    def test_groups(self):
        for group in ("", "g" * 256, "g" * 30000):
            answer = self.client.pull(self.name, group=group)
            self.assertEqual(answer.code, 26, answer)
            answer = self.client.call(UPDATE_OFFSET, {"consumerGroup": group, "topic": self.name,
                                                      "queueId": 0, "commitOffset": 1})
            self.assertIn(answer.code, (SUCCESS, SYSTEM_ERROR))
            self.beat(self.client, "c", group, [(self.name, "*", 1)])
            self.assertEqual(self.client.pull(self.name, group=group, sys_flag=0).code, 26)
        # 4.9.2 takes any other name.
        for group in ("a b", "a@b", "%RETRY%a", "gr\u00fc\u00dfe", "\x01", '"', "g" * 255):
            self.assertEqual(self.client.pull(self.name, group=group).code, SUCCESS, group)

    def test_flags(self):
        for flag in (-1, 8, 16, 1 << 30, -(1 << 31), INT_MAX & ~SUSPEND):
            answer = self.client.pull(self.name, sys_flag=flag | SUBSCRIPTION)
            self.assertEqual(answer.code, SUCCESS, flag)
        # Class filters are gone; the flag is of no consequence.
        answer = self.client.pull(self.name, sys_flag=SUBSCRIPTION | CLASS_FILTER)
        self.assertEqual(len(decode_records(answer.body)), 3)
        self.assertEqual(self.client.pull(self.name, sys_flag=1 << 40).code, SYSTEM_ERROR)

    def test_queue_ids(self):
        for queue_id in (-1, 1, INT_MAX, -(1 << 31)):
            answer = self.client.pull(self.name, queue_id)
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(f"queueId[{queue_id}] is illegal", answer.remark)
            for code, value in ((MAX_OFFSET, "0"), (MIN_OFFSET, "0")):
                answer = self.client.call(code, {"topic": self.name, "queueId": queue_id})
                self.assertEqual((answer.code, answer.ext), (SUCCESS, {"offset": value}))
            answer = self.client.call(SEARCH_OFFSET, {"topic": self.name, "queueId": queue_id,
                                                      "timestamp": LONG_MAX})
            self.assertEqual((answer.code, answer.ext), (SUCCESS, {"offset": "0"}))
            answer = self.client.call(EARLIEST_TIME, {"topic": self.name, "queueId": queue_id})
            self.assertEqual(answer.ext, {"timestamp": "-1"})

    def test_offsets(self):
        for offset in (-1, -LONG_MAX - 1):
            answer = self.client.pull(self.name, 0, offset)
            self.assertEqual((answer.code, answer.ext["nextBeginOffset"]),
                             (PULL_OFFSET_MOVED, "0"))
        for offset in (4, LONG_MAX):
            for flag in (SUBSCRIPTION, SUBSCRIPTION | SUSPEND):
                answer = self.client.pull(self.name, 0, offset, sys_flag=flag, suspend_ms=15000)
                self.assertEqual((answer.code, answer.ext["nextBeginOffset"]),
                                 (PULL_OFFSET_MOVED, "0"))
        for offset in (-1, LONG_MAX, -LONG_MAX - 1):
            answer = self.client.call(UPDATE_OFFSET, {
                "consumerGroup": "Odd", "topic": self.name, "queueId": 0, "commitOffset": offset})
            self.assertEqual(answer.code, SUCCESS)
            self.client.pull(self.name, group="Odd", sys_flag=SUBSCRIPTION | COMMIT, commit=offset)
        for text in ("x", "", "1.5", str(1 << 63), " 1", "0x10"):
            header = {**pull_header(self.name, 0, 0), "queueOffset": text}
            self.assertEqual(self.client.call(PULL, header).code, SYSTEM_ERROR, text)

    def test_counts_and_times(self):
        for count in (0, -1, -(1 << 31)):
            self.assertEqual(self.client.pull(self.name, count=count).code, SUCCESS, count)
        opaque = self.client.start_pull(self.name, 0, 3, suspend_ms=-LONG_MAX)
        self.assertEqual(self.client.read_answer(opaque).code, PULL_NOT_FOUND)
        held = self.client.start_pull(self.name, 0, 3, suspend_ms=LONG_MAX)
        self.assertTrue(self.client.is_silent(0.1))
        self.connect().produce(self.name)
        self.assertEqual(self.client.read_answer(held).code, SUCCESS)
        self.name = self.topic_with(3)

    def test_expressions(self):
        for text in ("||", "|| ||", " ", "\t||"):
            answer = self.client.pull(self.name, tags=text)
            self.assertEqual(answer.code, 23, text)
            self.assertIn("parse the consumer's subscription failed", answer.remark)
        for text in ("a" * 70000, "||".join(f"t{i}" for i in range(5000))):
            answer = self.client.pull(self.name, tags=text)
            self.assertNotEqual(answer.code, SUCCESS)
        answer = self.client.pull(self.name, expressionType="NONSENSE", tags="a")
        self.assertNotEqual(answer.code, SUCCESS)

    def test_locks(self):
        for body in ({"consumerGroup": "", "clientId": "", "mqSet": []},
                     {"consumerGroup": "G", "clientId": "c", "mqSet": [
                         {"brokerName": "x", "topic": "", "queueId": -1}]},
                     {"consumerGroup": "g" * 40000, "clientId": "c" * 40000, "mqSet": [
                         {"brokerName": "x", "topic": "t" * 40000, "queueId": INT_MAX}]}):
            answer = self.client.call(LOCK, body=json.dumps(body).encode())
            self.assertIn(answer.code, (SUCCESS, SYSTEM_ERROR))


if __name__ == "__main__":
    rocketmq.main("broker_consume")
