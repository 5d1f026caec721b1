# SPDX-License-Identifier: Apache-2.0
"""Request-reply: a reply is pushed to the producer that asked, stored as well, and its sender hears
how it went.

Source of the rules: ReplyMessageProcessor, ProducerManager and ClientRemotingProcessor of RocketMQ
4.9.2; docs/diff.md says where we differ.
"""

import json
import time
import zlib

import rocketmq
from broker import (BrokerTest, HEARTBEAT, NO_PERMISSION, SEND_V2, SUCCESS, SYSTEM_ERROR,
                    TOPIC_NOT_EXIST, UNREGISTER_CLIENT, UPDATE_CONFIG, heartbeat, long_header,
                    send_header, split_properties)
from rocketmq import JSON, PROTOBUF, ROCKETMQ, wait_until, with_times, within

REPLY, REPLY_V2, PUSH_REPLY = 324, 325, 326
TOPIC = "DefaultCluster_REPLY_TOPIC"
REGION = {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}


def reply_header(requester, correlation="c", topic=TOPIC, **letters):
    return send_header(topic, 0, {"MSG_TYPE": "reply", "CORRELATION_ID": correlation,
                                  "REPLY_TO_CLIENT": requester, "TTL": "3000"}, **letters)


class ReplyTest(BrokerTest):
    def requester(self, client_id, group="PG", **where):
        """A connected producer."""
        client = self.connect(**where)
        self.beat(client, client_id, group)
        return client

    def beat(self, client, client_id, group="PG"):
        body = json.dumps({"clientID": client_id, "consumerDataSet": [],
                           "producerDataSet": [{"groupName": group}]}).encode()
        self.assertEqual(client.call(HEARTBEAT, None, body).code, SUCCESS)

    def start_reply(self, requester, body=b"reply", correlation="c", replier=None, **letters):
        return (replier or self.client).send(REPLY_V2, reply_header(requester, correlation,
                                                                   **letters), body)

    def reply(self, requester, body=b"reply", **letters):
        return self.client.read_answer(self.start_reply(requester, body, **letters))

    def refused(self, answer, remark):
        self.assertEqual(answer.code, SYSTEM_ERROR, answer)
        self.assertTrue(answer.remark.startswith(remark), answer.remark)
        self.assertGreater(len(answer.remark), len(remark))

    def record_of(self, answer):
        """The stored reply that an answer names."""
        offset = int(answer.ext["queueOffset"])
        wait_until(lambda: self.client.max_offset(TOPIC) > offset, "the reply in its queue")
        record = self.client.read_queue(TOPIC, 0, offset)[0]
        self.assertEqual(answer.ext["msgId"], self.broker.message_id(record.position))
        return record


class Replies(ReplyTest):
    def test_the_push_and_both_answers(self):
        requester = self.requester("10.0.0.1@1")
        for code, codec in ((REPLY, JSON), (REPLY_V2, JSON), (REPLY_V2, ROCKETMQ),
                            (REPLY, PROTOBUF)):
            header = reply_header("10.0.0.1@1", "42", a="PG-of-replier", d=8, f=1, g=123456789,
                                  h=-7, j=2, k="true")
            before = int(time.time() * 1000)
            opaque = self.client.send(code, long_header(header) if code == REPLY else header,
                                      zlib.compress(b"body"), codec)
            push = requester.read_push()
            self.assertEqual((push.code, push.flag, push.codec, zlib.decompress(push.body)),
                             (PUSH_REPLY, 0, JSON, b"body"))
            ext = dict(push.ext)
            properties = split_properties(ext.pop("properties"))
            arrived = int(ext.pop("storeTimestamp"))
            self.assertEqual(ext, {
                "producerGroup": "PG-of-replier", "topic": TOPIC, "defaultTopic": "TBW102",
                "defaultTopicQueueNums": "8", "queueId": "0", "sysFlag": "1",
                "bornTimestamp": "123456789", "flag": "-7", "reconsumeTimes": "2",
                "unitMode": "true", "bornHost": "/" + self.client.local_address(),
                "storeHost": f"/127.0.0.1:{self.broker.port}"})
            pushed = int(properties.pop("PUSH_REPLY_TIME"))
            self.assertEqual(properties, {"MSG_TYPE": "reply", "CORRELATION_ID": "42",
                                          "REPLY_TO_CLIENT": "10.0.0.1@1", "TTL": "3000"})
            for stamp in (arrived, pushed):
                self.assertTrue(before <= stamp <= int(time.time() * 1000))
            # The replier hears of it when the requester has answered, not before.
            self.assertTrue(self.client.is_silent(0.2))
            requester.answer(push)
            answer = self.client.read_answer(opaque)
            self.assertEqual((answer.code, answer.remark, answer.codec), (SUCCESS, None, codec))
            record = self.record_of(answer)
            self.assertEqual(set(answer.ext), {*REGION, "queueId", "queueOffset", "msgId"})
            self.assertEqual(answer.ext["queueId"], "0")
            # Stored as it came: no CLUSTER, no PUSH_REPLY_TIME; of the flags only what the body needs.
            self.assertEqual(record.properties_text, header["i"])
            self.assertEqual((record.topic, record.sys_flag, record.flag, record.reconsume_times,
                              record.born_ms, record.body),
                             (TOPIC, 1, -7, 2, 123456789, zlib.compress(b"body")))

    def test_the_requester_refuses(self):
        requester = self.requester("refuses")
        opaque = self.start_reply("refuses")
        requester.answer(requester.read_push(), 1, remark="process reply message fail")
        answer = self.client.read_answer(opaque)
        self.refused(answer, "push reply message to refusesfail.")
        self.assertIn("code 1: process reply message fail", answer.remark)
        # It is stored, and the answer says where.
        self.assertEqual(self.record_of(answer).body, b"reply")

    def test_nobody_to_push_to(self):
        answer = self.reply("nobody@1")
        self.refused(answer, "push reply message fail, channel of <nobody@1> not found.")
        self.assertEqual(self.record_of(answer).body, b"reply")
        header = reply_header("x")
        for properties in ("", "MSG_TYPE\x01reply", "REPLY_TO_CLIENT\x01"):
            header["i"] = properties
            answer = self.client.call(REPLY_V2, header)
            self.refused(answer, "reply message properties[REPLY_TO_CLIENT] is null")
        del header["i"]
        self.refused(self.client.call(REPLY_V2, header),
                     "reply message properties[REPLY_TO_CLIENT] is null")
        self.refused(self.reply("x" * 5000), "push reply message fail, channel of <xxx")
        # A consumer is no producer, whatever it is called.
        consumer = self.connect()
        self.assertEqual(consumer.call(HEARTBEAT, None, heartbeat("consumer@1", "CG", [])).code,
                         SUCCESS)
        self.refused(self.reply("consumer@1"), "push reply message fail, channel of <consumer@1>")

    def test_the_requester_goes(self):
        """While the reply is on its way, before, and by saying so."""
        requester = self.requester("goes")
        opaque = self.start_reply("goes")
        requester.read_push()
        requester.close()
        answer = self.client.read_answer(opaque)
        self.refused(answer, "push reply message to goesfail.")
        self.assertIn("closed", answer.remark)
        wait_until(lambda: "not found" in self.reply("goes").remark, "the close to be known")
        leaving = self.requester("leaves")
        leaving.call(UNREGISTER_CLIENT, {"clientID": "leaves", "producerGroup": "PG"})
        self.refused(self.reply("leaves"), "push reply message fail, channel of <leaves>")

    def test_the_requester_never_answers(self):
        requester = self.requester("silent")
        opaque = self.start_reply("silent")
        requester.read_push()
        # Others are served meanwhile.
        self.sent(self.topic())
        answer = self.client.read_answer(opaque)
        self.refused(answer, "push reply message to silentfail.")
        self.assertIn("10000 ms", answer.remark)

    def test_the_requester_has_reconnected(self):
        """The newest connection gets the reply, also while the old one is open."""
        old = self.requester("again")
        new = self.requester("again")
        opaque = self.start_reply("again")
        new.answer(new.read_push())
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
        self.assertTrue(old.is_silent(0.1))
        # The end of the old one changes nothing.
        old.close()
        opaque = self.start_reply("again")
        new.answer(new.read_push())
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)

    def test_a_requester_of_several_groups(self):
        requester = self.requester("groups", "PG1")
        self.beat(requester, "groups", "PG2")
        requester.call(UNREGISTER_CLIENT, {"clientID": "groups", "producerGroup": "PG1"})
        opaque = self.start_reply("groups")
        requester.answer(requester.read_push())
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)

    def test_over_one_connection(self):
        """Requester and replier share a connection, as clients of one Java process do; many
        replies under way must not keep its answers from being read."""
        self.beat(self.client, "shared")
        opaques = [self.start_reply("shared", b"%d" % i, str(i)) for i in range(500)]
        for i in range(500):
            push = self.client.read_push()
            self.assertEqual(push.body, b"%d" % i)
            self.client.answer(push)
        for opaque in opaques:
            self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)

    def test_many_requesters_and_repliers(self):
        """Each reply reaches the one that it names, with its own correlation, in the order sent."""
        requesters = {f"many-{i}": self.requester(f"many-{i}", port=self.broker.port - 2 * (i % 2))
                      for i in range(6)}
        repliers = [self.connect() for _ in range(4)]
        names = list(requesters)
        opaques = [(replier, self.start_reply(names[i % 6], b"%d" % number, f"{number}-{i}",
                                              replier))
                   for i in range(120) for number, replier in enumerate(repliers)]
        for index, name in enumerate(names):
            last = {}
            for _ in range(len(opaques) // 6):
                push = requesters[name].read_push()
                properties = split_properties(push.ext["properties"])
                self.assertEqual(properties["REPLY_TO_CLIENT"], name)
                replier, i = properties["CORRELATION_ID"].split("-")
                self.assertEqual((push.body, int(i) % 6), (replier.encode(), index))
                self.assertGreater(int(i), last.get(replier, -1))
                last[replier] = int(i)
                requesters[name].answer(push)
        for replier, opaque in opaques:
            self.assertEqual(replier.read_answer(opaque).code, SUCCESS)

    def test_one_way(self):
        requester = self.requester("oneway")
        self.client.oneway(REPLY_V2, reply_header("oneway"), b"silent")
        push = requester.read_push()
        self.assertEqual(push.body, b"silent")
        requester.answer(push)
        self.client.oneway(REPLY_V2, reply_header("nobody"), b"lost")
        self.sent(self.topic())
        self.assertEqual(self.client.answers, {})

    def test_an_answer_of_somebody_else_does_not_count(self):
        requester = self.requester("victim")
        opaque = self.start_reply("victim")
        push = requester.read_push()
        self.client.answer(push)
        self.connect().answer(push)
        self.assertTrue(self.client.is_silent(0.2))
        requester.answer(push)
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)

    def test_large_replies(self):
        requester = self.requester("large")
        body = bytes(range(256)) * 12000
        opaque = self.start_reply("large", body)
        push = requester.read_push()
        self.assertEqual(push.body, body)
        requester.answer(push)
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, self.record_of(answer).body), (SUCCESS, body))
        # One that is too large to be stored is pushed all the same.
        opaque = self.start_reply("large", b"b" * 5000000)
        push = requester.read_push()
        self.assertEqual(len(push.body), 5000000)
        requester.answer(push)
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.ext),
                         (SUCCESS, {**REGION, "msgId": "0", "queueId": "0", "queueOffset": "0"}))

    @with_times(10000, 10000, 10000)  # for which the broker waits
    def test_a_requester_with_pulled_messages_on_their_way(self, time_ms):
        """More of them than the broker likes to have queued: the reply waits behind them."""
        requester = self.requester("pulls")
        topic = self.topic()
        for _ in range(12):
            self.sent(topic, b"m" * 4000000)
        self.stored(topic, 0, 12)
        pulls = [requester.start_pull(topic, 0, i) for i in range(12)]
        # The pulls are answered in the order asked, on another connection than this.
        self.sent(topic)
        with within(time_ms):
            opaque = self.start_reply("pulls")
            for pull in pulls:
                self.assertEqual(requester.read_answer(pull).code, SUCCESS)
            requester.answer(requester.read_push())
            answer = self.client.read_answer(opaque)
        requester.close()
        self.assertEqual(answer.code, SUCCESS)

    def test_a_requester_that_does_not_read(self):
        """It gets no more than a bounded number of bytes; the replier hears so at once, and others
        are served."""
        self.requester("sleeps")
        body = b"r" * 1000000
        opaques = [self.start_reply("sleeps", body) for _ in range(40)]
        busy = 0
        other = self.requester("awake")
        opaque = self.start_reply("awake")
        other.answer(other.read_push())
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
        for opaque in opaques:
            answer = self.client.read_answer(opaque)
            self.refused(answer, "push reply message to sleepsfail.")
            busy += "does not read" in answer.remark
        self.assertGreater(busy, 10)


class Checks(ReplyTest):
    """Those of a send."""

    def test_header(self):
        self.requester("someone")
        header = reply_header("someone")
        for letter in "abcdefgh":
            answer = self.client.call(REPLY_V2, {k: v for k, v in header.items() if k != letter})
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(f"<{letter}>", answer.remark)
        answer = self.client.call(REPLY, {k: v for k, v in long_header(header).items()
                                          if k != "queueId"})
        self.assertEqual(answer.code, SYSTEM_ERROR)

    def test_topics_and_queues(self):
        for topic, code, remark in (
                ("a b", SYSTEM_ERROR, "The specified topic contains illegal characters"),
                ("", SYSTEM_ERROR, "The specified topic is blank."),
                ("x" * 128, SYSTEM_ERROR, "The specified topic is longer than topic max length"),
                ("SCHEDULE_TOPIC_XXXX", NO_PERMISSION,
                 "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.")):
            answer = self.reply("someone", topic=topic)
            self.assertEqual((answer.code, answer.ext), (code, REGION), answer)
            self.assertTrue(answer.remark.startswith(remark), answer.remark)
        answer = self.reply("someone", e=1)
        self.assertEqual((answer.code, answer.ext), (SYSTEM_ERROR, REGION))
        self.assertTrue(answer.remark.startswith("request queueId[1] is illegal, TopicConfig"))
        answer = self.reply("someone", topic="unknown", c="no-such-topic")
        self.assertEqual(answer.code, TOPIC_NOT_EXIST)
        self.assertTrue(answer.remark.startswith("topic[unknown] not exist, apply first please!"))

    def test_any_topic_may_be_replied_to(self):
        """A new one is made as for a send; replies wait for it in their order."""
        requester = self.requester("maker")
        opaques = [self.start_reply("maker", b"%d" % i, topic="replies-here", e=-1, d=1)
                   for i in range(20)]
        for i in range(20):
            push = requester.read_push()
            self.assertEqual((push.body, push.ext["queueId"]), (b"%d" % i, "-1"))
            requester.answer(push)
        for opaque in opaques:
            answer = self.client.read_answer(opaque)
            self.assertEqual((answer.code, answer.ext["queueId"]), (SUCCESS, "0"))
        self.assertEqual([record.body for record in self.stored("replies-here", 0, 20)],
                         [b"%d" % i for i in range(20)])

    def test_not_before_the_configured_time(self):
        self.client.call(UPDATE_CONFIG, body=b"startAcceptSendRequestTimeStamp=4102444800000")
        answer = self.reply("someone")
        self.assertEqual((answer.code, answer.ext), (SYSTEM_ERROR, REGION))
        self.assertTrue(answer.remark.startswith("broker unable to service, until "))
        self.client.call(UPDATE_CONFIG, body=b"startAcceptSendRequestTimeStamp=0")

    def test_what_a_send_would_do_and_a_reply_does_not(self):
        """A batch, a transaction and a retry topic are nothing special; a delay is."""
        requester = self.requester("plain")
        for letters in ({"m": "true"}, {"f": 4}, {"topic": "%RETRY%G", "j": 99}):
            opaque = self.start_reply("plain", b"not a batch", **letters)
            requester.answer(requester.read_push())
            self.assertEqual(self.client.read_answer(opaque).code, SUCCESS, letters)
        header = reply_header("plain")
        header["i"] += "\x02DELAY\x0118\x02"
        opaque = self.client.send(REPLY_V2, header, b"later")
        requester.answer(requester.read_push())
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
        record, = self.stored("SCHEDULE_TOPIC_XXXX", 17, 1)
        self.assertEqual((record.body, record.properties["REAL_TOPIC"]), (b"later", TOPIC))


class NotStored(ReplyTest):
    options = {"storeReplyMessageEnable": "false"}

    def test_answers(self):
        requester = self.requester("asks")
        opaque = self.start_reply("asks", e=-1)
        requester.answer(requester.read_push())
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.remark, answer.ext),
                         (SUCCESS, None,
                          {**REGION, "msgId": "0", "queueId": "0", "queueOffset": "0"}))
        answer = self.reply("nobody")
        self.assertEqual((answer.code, answer.ext), (SYSTEM_ERROR, REGION))
        self.assertEqual(self.client.max_offset(TOPIC), 0)


class SyncFlush(ReplyTest):
    options = {"flushDiskType": "SYNC_FLUSH"}

    def test_among_sends(self):
        """Replies and sends of one connection, stored in the order sent and answered each once."""
        requester = self.requester("asks")
        opaques = []
        for i in range(200):
            if i % 2:
                opaques.append(self.start_reply("asks", b"%d" % i))
            else:
                opaques.append(self.client.send(SEND_V2, send_header(TOPIC), b"%d" % i))
        for i in range(100):
            requester.answer(requester.read_push())
        offsets = [int(self.client.read_answer(opaque).ext["queueOffset"]) for opaque in opaques]
        self.assertEqual(offsets, sorted(offsets))
        self.assertEqual([record.body for record in self.stored(TOPIC, 0, 200)],
                         [b"%d" % i for i in range(200)])


class Stop(ReplyTest):
    def test_a_stop_answers_what_waits(self):
        requester = self.requester("slow")
        opaque = self.start_reply("slow")
        requester.read_push()
        self.assertEqual(self.broker.stop(), 0)
        answer = self.client.read_answer(opaque)
        self.refused(answer, "push reply message to slowfail.")


if __name__ == "__main__":
    rocketmq.main("broker_reply")
