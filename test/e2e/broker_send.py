# SPDX-License-Identifier: Apache-2.0
"""Sending: every check, answer and stored byte that a producer can depend on.

Source of the rules: SendMessageProcessor, AbstractSendMessageProcessor and CommitLog of RocketMQ
4.9.2; docs/diff.md says where we differ.
"""

import socket
import struct
import time

import rocketmq
from broker import (BrokerTest, GROUP_NOT_EXIST, MESSAGE_ILLEGAL, NO_PERMISSION, SEND,
                    SEND_BATCH, SEND_V2, SUCCESS, SYSTEM_ERROR, TOPIC_NOT_EXIST, UPDATE_CONFIG,
                    UPDATE_GROUP, batch_body, decode_records, long_header, send_header)
from rocketmq import Command, JSON, PROTOBUF, ROCKETMQ

REGION = {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}


class Answers(BrokerTest):
    def test_both_headers_in_every_codec(self):
        topic = self.topic()
        position = None
        for i, (code, codec) in enumerate((code, codec) for code in (SEND, SEND_V2)
                                          for codec in (JSON, ROCKETMQ, PROTOBUF)):
            answer = self.client.produce(topic, b"m%d" % i, code=code, codec=codec)
            self.assertEqual((answer.code, answer.codec, answer.remark), (SUCCESS, codec, None))
            position = int(answer.ext["msgId"][16:], 16)
            self.assertEqual(answer.ext, {**REGION, "queueId": "0", "queueOffset": str(i),
                                          "msgId": self.broker.message_id(position)})
        records = self.stored(topic, 0, 6)
        self.assertEqual([record.body for record in records], [b"m%d" % i for i in range(6)])
        self.assertEqual(records[-1].position, position)

    def test_the_stored_record(self):
        topic = self.topic(4)
        before = int(time.time() * 1000)
        self.sent(topic, b"\x00\xff", queue_id=2, f=1, g=123456789, h=-7, j=3,
                  properties={"TAGS": "a", "KEYS": "k1 k2", "own": "v\u00e9"})
        record, = self.stored(topic, 2, 1)
        self.assertEqual((record.topic, record.body, record.queue_id, record.sys_flag,
                          record.born_ms, record.flag, record.reconsume_times,
                          record.prepared_offset), (topic, b"\x00\xff", 2, 1, 123456789, -7, 3, 0))
        self.assertEqual(record.store_host, ("127.0.0.1", self.broker.port))
        self.assertEqual("%s:%d" % record.born_host, self.client.local_address())
        self.assertLessEqual(before, record.store_ms)
        self.assertLessEqual(record.store_ms, int(time.time() * 1000))
        self.assertEqual(record.properties, {"TAGS": "a", "KEYS": "k1 k2", "own": "v\u00e9",
                                             "CLUSTER": "DefaultCluster"})
        self.assertFalse(record.properties_text.endswith("\x02"))

    def test_properties_are_rewritten(self):
        """WAIT goes, CLUSTER is ours, pieces that are no property are dropped."""
        topic = self.topic()
        for text in ("WAIT\x01true\x02a\x01b", "WAIT\x01false\x02a\x01b\x02",
                     "CLUSTER\x01forged\x02a\x01b", "\x02\x02x\x02\x01y\x02z\x01\x02a\x01b",
                     "a\x01b"):
            self.sent(topic, i=text)
        self.sent(topic, i=None)
        self.sent(topic, i="x\x01y\x01z")
        records = self.stored(topic, 0, 7)
        for record in records[:5]:
            self.assertEqual(record.properties, {"a": "b", "CLUSTER": "DefaultCluster"})
        self.assertEqual(records[5].properties, {"CLUSTER": "DefaultCluster"})
        self.assertEqual(records[6].properties, {"x": "y\x01z", "CLUSTER": "DefaultCluster"})

    def test_an_empty_body_is_taken(self):
        topic = self.topic()
        self.sent(topic, b"")
        self.assertEqual(self.stored(topic, 0, 1)[0].body, b"")

    def test_one_way(self):
        topic = self.topic()
        for code in (SEND, SEND_V2):
            header = send_header(topic)
            self.client.oneway(code, long_header(header) if code == SEND else header, b"silent")
        self.client.oneway(SEND_V2, send_header("no such topic"), b"lost")
        self.client.oneway(SEND_V2, {}, b"lost")
        self.sent(topic, b"loud")
        self.assertEqual([record.body for record in self.stored(topic, 0, 3)],
                         [b"silent", b"silent", b"loud"])
        self.assertEqual(self.client.answers, {})

    def test_the_fast_port_and_ipv6(self):
        topic = self.topic()
        fast = self.connect(port=self.broker.port - 2)
        self.assertEqual(fast.produce(topic, b"fast").code, SUCCESS)
        six = self.connect(host="::1")
        answer = six.produce(topic, b"six")
        self.assertEqual(answer.code, SUCCESS)
        self.assertEqual(len(answer.ext["msgId"]), 32)
        first, second = self.stored(topic, 0, 2)
        self.assertEqual(first.store_host, ("127.0.0.1", self.broker.port))
        self.assertEqual(second.born_host[0], "::1")
        self.assertEqual((second.sys_flag, second.body), (16, b"six"))

    def test_multi_tag_topics(self):
        topic = self.topic(filter_type="MULTI_TAG")
        self.sent(topic)
        self.assertEqual(self.stored(topic, 0, 1)[0].sys_flag, 2)


class Refusals(BrokerTest):
    def refused(self, code, remark, topic, body=b"body", **other):
        answer = self.client.produce(topic, body, **other)
        self.assertEqual(answer.code, code, answer)
        self.assertTrue(answer.remark.startswith(remark), answer)
        self.assertEqual(answer.ext, REGION)
        return answer

    def test_missing_fields(self):
        header = send_header(self.topic())
        for letter in "abcdefgh":
            answer = self.client.call(SEND_V2, {k: v for k, v in header.items() if k != letter})
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(f"the custom field <{letter}> is null", answer.remark)
            # Of the long form only what is used must be there.
            answer = self.client.call(SEND, {k: v for k, v in long_header(header).items()
                                             if k != long_header({letter: 0}).popitem()[0]})
            if letter in "acd":
                self.assertIn(answer.code, (SUCCESS, TOPIC_NOT_EXIST))
                continue
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(long_header({letter: 0}).popitem()[0], answer.remark)
        for letter, value in (("d", "x"), ("e", "1e3"), ("f", ""), ("g", "12x"),
                              ("h", "99999999999")):
            answer = self.client.call(SEND_V2, {**header, letter: value})
            self.assertEqual(answer.code, SYSTEM_ERROR, (letter, answer))
            self.assertIn(f"<{letter}>", answer.remark)
        self.assertEqual(self.client.call(SEND_V2).code, SYSTEM_ERROR)
        topic = self.topic()
        self.assertEqual(self.client.call(SEND_V2, {k: v for k, v in send_header(topic).items()
                                                    if k in "abcdefgh"}).code, SUCCESS)

    def test_illegal_topics(self):
        self.refused(SYSTEM_ERROR, "The specified topic is blank.", "")
        self.refused(SYSTEM_ERROR, "The specified topic is blank.", "   ")
        for name in ("a b", "a/b", "../../etc", "a.b", "t\u00e9", "a\x00b", "a@b"):
            self.refused(SYSTEM_ERROR, "The specified topic contains illegal characters, allowing "
                                       "only ^[%|a-zA-Z0-9_-]+$", name)
        self.refused(SYSTEM_ERROR, "The specified topic is longer than topic max length", "x" * 128)
        for name in ("SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer",
                     "rmq_sys_REVIVE_LOG_DefaultCluster"):
            self.refused(NO_PERMISSION, f"Sending message to topic[{name}] is forbidden.", name)
        self.assertEqual(self.client.produce("x" * 127).code, SUCCESS)
        self.assertEqual(self.client.produce("%|aZ09_-").code, SUCCESS)
        self.assertEqual(self.stored("x" * 127, 0, 1)[0].topic, "x" * 127)

    def test_system_topics_are_accepted(self):
        for name in ("TBW102", "DefaultCluster", "OFFSET_MOVED_EVENT", "SELF_TEST_TOPIC"):
            self.assertEqual(self.client.produce(name).code, SUCCESS, name)

    def test_queue_ids(self):
        topic = self.topic(2, read_queues=4)
        self.refused(SYSTEM_ERROR, "request queueId[4] is illegal", topic, queue_id=4)
        self.refused(SYSTEM_ERROR, "request queueId[2147483647]", topic, queue_id=2147483647)
        self.assertEqual(self.sent(topic, queue_id=3)["queueId"], "3")
        seen = {self.sent(topic, queue_id=-1)["queueId"] for _ in range(60)}
        self.assertEqual(seen, {"0", "1"})
        # Without a queue to write to any queue that there is may be named, but none chosen.
        closed = self.topic(0, read_queues=2)
        self.refused(SYSTEM_ERROR, "request queueId[-1] is illegal", closed, queue_id=-1)
        self.sent(closed, queue_id=1)
        peer = self.client.local_address()
        self.refused(SYSTEM_ERROR, f"request queueId[7] is illegal, TopicConfig [topicName={topic}, "
                     "readQueueNums=4, writeQueueNums=2, perm=RW-, topicFilterType=SINGLE_TAG, "
                     f"topicSysFlag=0, order=false] Producer: {peer}", topic, queue_id=7)

    def test_flags(self):
        """Bits that tell of hosts are the broker's own; what it does not know is kept."""
        topic = self.topic()
        for flag in (16 | 32, 2 | 1 << 10, -1 & ~15 & 0x7FFFFFFF, 8):
            self.sent(topic, b"%d" % flag, f=flag)
        self.assertEqual([(record.body, record.sys_flag) for record in self.stored(topic, 0, 4)],
                         [(b"%d" % flag, flag & ~48) for flag in
                          (48, 1026, 0x7FFFFFF0, 8)])

    def test_read_only_topics_are_accepted(self):
        self.sent(self.topic(perm=4))

    def test_broker_permission(self):
        """Only topics with an order are refused; here there are none."""
        topic = self.topic()
        self.assertEqual(self.client.call(UPDATE_CONFIG, body=b"brokerPermission=4").code, SUCCESS)
        self.sent(topic)
        self.assertEqual(self.client.call(UPDATE_CONFIG, body=b"brokerPermission=6").code, SUCCESS)

    def test_not_before_the_configured_time(self):
        topic = self.topic()
        self.client.call(UPDATE_CONFIG, body=b"startAcceptSendRequestTimeStamp=4102444800000")
        self.refused(SYSTEM_ERROR, "broker unable to service, until", topic)
        self.client.call(UPDATE_CONFIG, body=b"startAcceptSendRequestTimeStamp=1")
        self.sent(topic)

    def test_sizes(self):
        topic = self.topic()
        # 91 bytes of fields, the topic, and CLUSTER with its value and separator.
        largest = 4194304 - 91 - len(topic) - len("CLUSTER\x01DefaultCluster")
        self.sent(topic, b"b" * largest)
        illegal = "the message is illegal, maybe msg body or properties length not matched."
        self.refused(MESSAGE_ILLEGAL, illegal, topic, b"b" * (largest + 1))
        room = 32767 - len("p\x01") - len("\x02CLUSTER\x01DefaultCluster")
        self.sent(topic, properties={"p": "v" * room})
        self.refused(MESSAGE_ILLEGAL, illegal, topic, properties={"p": "v" * (room + 1)})
        self.refused(MESSAGE_ILLEGAL, illegal, topic, properties={"p": "v" * 40000})
        self.refused(MESSAGE_ILLEGAL, illegal, topic, b"b" * 16000000)
        self.sent(topic, b"after")
        first, second, third = self.stored(topic, 0, 3)
        self.assertEqual((first.size, first.body), (4194304, b"b" * largest))
        self.assertEqual(len(second.properties_text), 32767)
        self.assertEqual(third.body, b"after")


class Creation(BrokerTest):
    def config(self, topic):
        return self.client.call(21).json()["topicConfigTable"].get(topic)

    def test_queues_of_a_created_topic(self):
        for asked, got in ((16, 8), (4, 4), (1, 1)):
            topic = f"created-{asked}"
            self.assertIsNone(self.config(topic))
            self.sent(topic, d=asked)
            config = self.config(topic)
            self.assertEqual((config["readQueueNums"], config["writeQueueNums"], config["perm"]),
                             (got, got, 6))

    def test_no_queues_for_a_negative_number(self):
        answer = self.client.produce("created-negative", d=-3)
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertIn("queueId[0] is illegal", answer.remark)
        self.assertEqual(self.config("created-negative")["writeQueueNums"], 0)

    def test_by_another_topic(self):
        parent = self.topic(3, perm=7)
        self.sent("child", c=parent, d=16)
        child = self.config("child")
        self.assertEqual((child["writeQueueNums"], child["perm"]), (3, 6))

    def test_unit_mode(self):
        self.sent("created-unit", k="true")
        self.assertEqual(self.config("created-unit")["topicSysFlag"], 1)

    def test_when_it_can_not(self):
        closed = self.topic()
        for default in ("no-such-topic", closed):
            answer = self.client.produce("never-created", c=default)
            self.assertEqual((answer.code, answer.ext), (TOPIC_NOT_EXIST, REGION))
            self.assertTrue(answer.remark.startswith(
                "topic[never-created] not exist, apply first please!"), answer)
        self.assertIsNone(self.config("never-created"))
        # A retry topic comes into being all the same.
        self.sent("%RETRY%created", c="no-such-topic", l=16)
        self.assertEqual(self.config("%RETRY%created")["writeQueueNums"], 1)
        self.sent("%RETRY%by-default", d=4, l=16)
        self.assertEqual(self.config("%RETRY%by-default")["writeQueueNums"], 4)

    def test_switched_off(self):
        self.client.call(UPDATE_CONFIG, body=b"autoCreateTopicEnable=false")
        self.assertEqual(self.client.produce("switched-off").code, TOPIC_NOT_EXIST)
        self.client.call(UPDATE_CONFIG, body=b"autoCreateTopicEnable=true")
        self.assertEqual(self.client.produce("switched-off").code, SUCCESS)

    def test_sends_wait_in_order(self):
        """What arrives while the topic is being created is stored in the order of its arrival."""
        for round_number in range(5):
            topic = f"race-{round_number}"
            clients = [self.connect() for _ in range(8)]
            for client in clients:
                client.send_bytes(b"".join(
                    Command(SEND_V2, send_header(topic, i % 4), b"%d" % i, i).encode()
                    for i in range(100)))
            for client in clients:
                for i in range(100):
                    self.assertEqual(client.read_answer(i).code, SUCCESS)
            self.check_order(topic, clients)

    def check_order(self, topic, clients):
        last = {}
        total = 0
        for queue_id in range(4):
            for record in self.stored(topic, queue_id, 25 * len(clients)):
                number, total = int(record.body), total + 1
                self.assertEqual(number % 4, queue_id)
                self.assertEqual(number, last.get((record.born_host, queue_id), queue_id - 4) + 4)
                last[record.born_host, queue_id] = number
        self.assertEqual(total, 100 * len(clients))

    def test_many_topics_at_once(self):
        opaques = [self.client.send(SEND_V2, send_header(f"many-{i % 200}"), b"%d" % i)
                   for i in range(1000)]
        for opaque in opaques:
            self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
        for i in (0, 77, 199):
            self.assertEqual([int(record.body) for record in self.stored(f"many-{i}", 0, 5)],
                             list(range(i, 1000, 200)))


class Retry(BrokerTest):
    def test_dead_letters(self):
        topic = "%RETRY%G1"
        self.sent(topic, c="x", j=15, l=16)
        answer = self.sent(topic, b"dead", c="x", j=16, l=16, properties={"DELAY": "3", "own": "v"})
        self.assertEqual((answer["queueId"], answer["queueOffset"]), ("0", "0"))
        record, = self.stored("%DLQ%G1", 0, 1)
        self.assertEqual((record.topic, record.queue_id, record.reconsume_times, record.body),
                         ("%DLQ%G1", 0, 16, b"dead"))
        self.assertEqual(record.properties["DELAY"], "3")
        config = self.client.call(21).json()["topicConfigTable"]["%DLQ%G1"]
        self.assertEqual((config["readQueueNums"], config["writeQueueNums"], config["perm"]),
                         (1, 1, 6))
        self.assertEqual(self.client.max_offset(topic), 1)

    def test_the_limit_of_the_group(self):
        """Clients before 3.4.9 do not tell maxReconsumeTimes."""
        self.client.call(UPDATE_GROUP, None,
                         b'{"groupName":"G2","retryMaxTimes":2,"consumeEnable":true}')
        header = send_header("%RETRY%G2", c="x", j=1)
        self.assertEqual(self.client.call(SEND_V2, header, b"1", version=100).code, SUCCESS)
        header["j"] = 2
        self.assertEqual(self.client.call(SEND_V2, header, b"2", version=100).code, SUCCESS)
        self.assertEqual(self.stored("%DLQ%G2", 0, 1)[0].body, b"2")
        self.assertEqual(self.client.call(SEND_V2, header).code, SYSTEM_ERROR)

    def test_an_unknown_group(self):
        self.client.call(UPDATE_CONFIG, body=b"autoCreateSubscriptionGroup=false")
        answer = self.client.produce("%RETRY%unknown", l=16)
        self.assertEqual((answer.code, answer.ext), (GROUP_NOT_EXIST, REGION))
        self.assertTrue(answer.remark.startswith("subscription group not exist, unknown "))
        self.client.call(UPDATE_CONFIG, body=b"autoCreateSubscriptionGroup=true")
        self.sent("%RETRY%unknown", l=16)


class Batches(BrokerTest):
    def batch(self, topic, messages, **other):
        body = messages if isinstance(messages, bytes) else batch_body(messages)
        return self.client.produce(topic, body, code=SEND_BATCH, **{"m": "true", **other})

    def test_ids_offsets_and_records(self):
        topic = self.topic(2)
        self.sent(topic, queue_id=1)
        messages = [(b"m%d" % i, {"UNIQ_KEY": f"u{i}", "TAGS": f"t{i}"}) for i in range(5)]
        answer = self.batch(topic, messages, queue_id=1, h=9,
                            properties={"WAIT": "true", "all": "x"})
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertEqual((answer.ext["queueId"], answer.ext["queueOffset"]), ("1", "1"))
        records = self.stored(topic, 1, 6)[1:]
        self.assertEqual(answer.ext["msgId"],
                         ",".join(self.broker.message_id(record.position) for record in records))
        self.assertEqual(len({record.store_ms for record in records}), 1)
        for i, record in enumerate(records):
            self.assertEqual((record.body, record.topic, record.flag), (b"m%d" % i, topic, 0))
            self.assertEqual(record.properties, {"UNIQ_KEY": f"u{i}", "TAGS": f"t{i}", "all": "x",
                                                 "CLUSTER": "DefaultCluster"})
        # The tag was hashed without what follows it.
        answer = self.client.pull(topic, 1, tags="t3")
        self.assertEqual([r.body for r in decode_records(answer.body)], [b"m3"])

    def test_the_field_decides_not_the_code(self):
        topic = self.topic()
        body = batch_body([b"a", b"b"])
        self.assertEqual(self.batch(topic, body, m="false").code, SUCCESS)
        self.assertEqual(self.client.produce(topic, body, code=SEND_V2, m="true").code, SUCCESS)
        self.assertEqual(self.client.produce(topic, body, code=SEND, m="true").code, SUCCESS)
        self.assertEqual([record.body for record in self.stored(topic, 0, 5)],
                         [body, b"a", b"b", b"a", b"b"])

    def test_refusals(self):
        topic = self.topic()
        good = batch_body([b"a", b"b"])
        for bad in (b"", b"x", good[:-1], good[:30], good + b"\0",
                    good[:16] + struct.pack(">i", 0x7FFFFFFF) + good[20:],
                    good[:16] + struct.pack(">i", -5) + good[20:]):
            self.assertEqual(self.batch(topic, bad).code, SYSTEM_ERROR, bad)
        self.assertEqual(self.batch(topic, good, f=4).code, MESSAGE_ILLEGAL)
        self.assertEqual(self.batch(topic, [(b"a", {"DELAY": "1"})]).code, MESSAGE_ILLEGAL)
        self.assertEqual(self.batch(topic, good, properties={"DELAY": "1"}).code, MESSAGE_ILLEGAL)
        self.assertEqual(self.batch(topic, [b"b" * 3000000] * 2).code, MESSAGE_ILLEGAL)
        # After a crash it would look like a write that did not arrive.
        for zeros in (512, 2000):
            messages = [(b"a", {}), (b"a", {"p": "\0" * zeros})]
            self.assertEqual(self.batch(topic, messages).code, MESSAGE_ILLEGAL, zeros)
        self.assertEqual(self.batch(topic, good, properties={"p": "v\0"}).code, MESSAGE_ILLEGAL)
        self.assertEqual(self.batch(topic, [(b"a", {}), (b"a", {"p": "v" * 32760})]).code,
                         MESSAGE_ILLEGAL)
        # Nothing of them was stored.
        self.sent(topic, b"after")
        self.assertEqual([record.body for record in self.stored(topic, 0, 1)], [b"after"])

    def test_ignored_fields(self):
        """Size, magic and checksum of a message in a batch are read over."""
        topic = self.topic()
        body = struct.pack(">iII", -1, 5, 6) + batch_body([b"a"])[12:]
        self.assertEqual(self.batch(topic, body).code, SUCCESS)
        self.assertEqual(self.stored(topic, 0, 1)[0].body, b"a")

    def test_large_batches(self):
        topic = self.topic()
        answer = self.batch(topic, [b"%d" % i for i in range(3000)])
        self.assertEqual(answer.code, SUCCESS, answer.remark)
        self.assertEqual(answer.ext["msgId"].count(","), 2999)
        self.assertEqual([int(record.body) for record in self.stored(topic, 0, 3000)],
                         list(range(3000)))

    def test_to_a_retry_topic(self):
        """The limit of attempts does not count."""
        answer = self.batch("%RETRY%batches", [b"a", b"b"], j=99, l=1)
        self.assertEqual(answer.code, SUCCESS)
        self.stored("%RETRY%batches", 0, 2)
        self.assertEqual(self.batch("%RETRY%unknown", [b"a"], c="x", j=99).code, SUCCESS)

    def test_to_a_new_topic(self):
        self.assertEqual(self.batch("batch-creates", [b"a", b"b"]).code, SUCCESS)
        self.stored("batch-creates", 0, 2)


class Pipelines(BrokerTest):
    CONNECTIONS = 16
    MESSAGES = 300

    def test_order_and_answers(self):
        topic = self.topic(4)
        clients = [self.connect(port=self.broker.port - 2 * (i % 2))
                   for i in range(self.CONNECTIONS)]
        codecs = (JSON, ROCKETMQ, PROTOBUF)
        for start in range(0, self.MESSAGES, 100):
            for number, client in enumerate(clients):
                client.send_bytes(b"".join(
                    Command(SEND_V2, send_header(topic, i % 4), b"%d" % i, i,
                            codec=codecs[number % 3]).encode()
                    for i in range(start, start + 100)))
        offsets = {}
        for number, client in enumerate(clients):
            for i in range(self.MESSAGES):
                answer = client.read_answer(i)
                self.assertEqual((answer.code, answer.codec), (SUCCESS, codecs[number % 3]))
                place = answer.ext["queueId"], int(answer.ext["queueOffset"])
                self.assertNotIn(place, offsets)
                offsets[place] = b"%d" % i, answer.ext["msgId"]
        per_queue = self.CONNECTIONS * self.MESSAGES // 4
        last = {}
        for queue_id in range(4):
            for record in self.stored(topic, queue_id, per_queue):
                self.assertEqual(offsets[str(queue_id), record.queue_offset],
                                 (record.body, self.broker.message_id(record.position)))
                key = record.born_host, queue_id
                self.assertGreater(int(record.body), last.get(key, -1))
                last[key] = int(record.body)


class SyncFlush(Pipelines):
    """The same with every answer waiting for the disk."""

    options = {"flushDiskType": "SYNC_FLUSH"}

    def test_wait_false_does_not_wait(self):
        topic = self.topic()
        self.sent(topic, properties={"WAIT": "false"})
        self.sent(topic, properties={"WAIT": "true"})
        self.stored(topic, 0, 2)


class IPv6(BrokerTest):
    """A broker that is known by an IPv6 address: ids have 56 characters."""

    options = {"brokerIP1": "::1"}

    def test_ids_and_hosts(self):
        topic = self.topic()
        identifier = self.sent(topic, b"six")["msgId"]
        record, = self.stored(topic, 0, 1)
        self.assertEqual((record.sys_flag, record.store_host), (32, ("::1", self.broker.port)))
        self.assertEqual(identifier, (socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(
            ">iq", self.broker.port, record.position)).hex().upper())


class SyncMaster(BrokerTest):
    options = {"brokerRole": "SYNC_MASTER"}

    def test_no_slave(self):
        topic = self.topic()
        answer = self.client.produce(topic)
        self.assertEqual((answer.code, answer.remark), (11, None))
        self.assertEqual(answer.ext["queueOffset"], "0")
        self.sent(topic, properties={"WAIT": "false"})
        self.stored(topic, 0, 2)


class Slave(BrokerTest):
    options = {"brokerRole": "SLAVE", "brokerId": 1}

    def test_sends_are_refused(self):
        answer = self.client.produce("TBW102")
        self.assertEqual((answer.code, answer.ext), (14, REGION))
        self.assertTrue(answer.remark.startswith(
            "service not available now. It may be caused by one of the following reasons: the "
            "broker's disk is full [CL: "), answer)
        for part in ("CL: ", "CQ: ", "INDEX: "):
            self.assertIn(part, answer.remark)
        self.assertEqual(self.client.produce("created-by-slave").code, 14)
        answer = self.client.call(UPDATE_CONFIG, {}, b"autoCreateTopicEnable=false")
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertEqual(self.client.produce("created-by-slave").code, TOPIC_NOT_EXIST)


if __name__ == "__main__":
    rocketmq.main("broker_send")
