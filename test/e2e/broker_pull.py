# SPDX-License-Identifier: Apache-2.0
"""Pulling: limits, codes, long polling, filters; offsets and queries.

Source of the rules: PullMessageProcessor, PullRequestHoldService, ConsumerManageProcessor and
QueryMessageProcessor of RocketMQ 4.9.2; docs/diff.md says where we differ.
"""

import json
import resource
import time
import unittest

import rocketmq
from broker import (Broker, BrokerTest, COMMIT, DELETE_TOPIC, EARLIEST_TIME, GROUP_NOT_EXIST,
                    HEARTBEAT, MAX_OFFSET, MIN_OFFSET, NO_PERMISSION, PARSE_FAILED, PULL,
                    PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY, QUERY, QUERY_NOT_FOUND, QUERY_OFFSET,
                    SEARCH_OFFSET, SEND_BATCH, SEND_V2, SUBSCRIPTION, SUBSCRIPTION_NOT_EXIST,
                    SUBSCRIPTION_NOT_LATEST, SUCCESS, SUSPEND, SYSTEM_BUSY, SYSTEM_ERROR, TOPIC_NOT_EXIST,
                    UPDATE_CONFIG, UPDATE_GROUP, UPDATE_OFFSET, VIEW, batch_body, decode_records,
                    heartbeat, java_hash, pull_header, send_header)
from rocketmq import Closed, JSON, PROTOBUF, ROCKETMQ, wait_until, with_times, within


class PullTest(BrokerTest):
    def fill(self, topic, bodies, queue_id=0):
        self.assertEqual(self.client.produce(topic, batch_body(bodies), queue_id, code=SEND_BATCH,
                                             m="true").code, SUCCESS)

    def filled(self, count, **other):
        """A topic with `count` messages, all readable."""
        topic = self.topic(**other)
        self.fill(topic, [b"%d" % i for i in range(count)])
        wait_until(lambda: self.client.max_offset(topic) == count, "all are dispatched")
        return topic

    def expect(self, answer, code, remark, begin, least, most):
        self.assertEqual((answer.code, answer.remark), (code, remark), answer)
        self.assertEqual(answer.ext, {"suggestWhichBrokerId": "0", "nextBeginOffset": str(begin),
                                      "minOffset": str(least), "maxOffset": str(most)})

    def bodies(self, answer):
        self.assertEqual(answer.code, SUCCESS, answer)
        return [record.body for record in decode_records(answer.body)]


class Codes(PullTest):
    def test_found_in_every_codec(self):
        topic = self.filled(5)
        for codec in (JSON, ROCKETMQ, PROTOBUF):
            answer = self.client.call(PULL, pull_header(topic, 0, 1), codec=codec)
            self.assertEqual(answer.codec, codec)
            self.expect(answer, SUCCESS, "FOUND", 5, 0, 5)
            self.assertEqual(self.bodies(answer), [b"1", b"2", b"3", b"4"])

    def test_status_codes(self):
        topic = self.filled(3, queues=2)
        pull = self.client.pull
        self.expect(pull(topic, 0, 3), PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 3, 0, 3)
        self.expect(pull(topic, 0, 99), PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", 0, 0, 3)
        self.expect(pull(topic, 0, -1), PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", 0, 0, 3)
        self.expect(pull(topic, 0, 0, tags="none"), PULL_RETRY, "NO_MATCHED_MESSAGE", 3, 0, 3)
        for offset, code in ((0, PULL_NOT_FOUND), (5, PULL_OFFSET_MOVED)):
            answer = pull(topic, 1, offset)
            self.assertEqual((answer.code, answer.ext["nextBeginOffset"], answer.ext["maxOffset"]),
                             (code, "0", "0"))
            self.assertIn(answer.remark, ("NO_MESSAGE_IN_QUEUE", "NO_MATCHED_LOGIC_QUEUE"))

    def test_a_wrong_offset_is_told(self):
        topic = self.filled(3)
        before = self.client.max_offset("OFFSET_MOVED_EVENT")
        self.client.pull(topic, 0, 99, group="Moved")
        wait_until(lambda: self.client.max_offset("OFFSET_MOVED_EVENT") > before, "the event")
        event = self.client.read_queue("OFFSET_MOVED_EVENT", 0, before)[0]
        self.assertEqual(json.loads(event.body), {
            "consumerGroup": "Moved", "offsetNew": 0, "offsetRequest": 99,
            "messageQueue": {"brokerName": "broker-a", "queueId": 0, "topic": topic}})
        self.assertEqual((event.properties["TAGS"], event.properties["KEYS"]), ("Moved", "Moved"))

    def test_checks(self):
        topic = self.filled(1, queues=2, read_queues=3)
        cases = ((SYSTEM_ERROR, topic, 3), (SYSTEM_ERROR, topic, -1), (SUCCESS, topic, 0),
                 (PULL_NOT_FOUND, topic, 2), (TOPIC_NOT_EXIST, "no-such-topic", 0),
                 (NO_PERMISSION, self.topic(perm=2), 0), (TOPIC_NOT_EXIST, "", 0))
        for code, name, queue_id in cases:
            answer = self.client.pull(name, queue_id)
            self.assertEqual(answer.code, code, answer)
        self.assertIn("queueId[3] is illegal", self.client.pull(topic, 3).remark)

    def test_broker_permission(self):
        topic = self.filled(1)
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=2")
        answer = self.client.pull(topic)
        self.assertEqual(answer.code, NO_PERMISSION)
        self.assertIn("pulling message is forbidden", answer.remark)
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=6")
        self.assertEqual(self.client.pull(topic).code, SUCCESS)

    def test_groups(self):
        topic = self.filled(1)
        self.client.call(UPDATE_CONFIG, body=b"autoCreateSubscriptionGroup=false")
        self.assertEqual(self.client.pull(topic, group="Unknown").code, GROUP_NOT_EXIST)
        self.client.call(UPDATE_CONFIG, body=b"autoCreateSubscriptionGroup=true")
        self.assertEqual(self.client.pull(topic, group="Unknown").code, SUCCESS)
        self.client.call(UPDATE_GROUP, body=b'{"groupName":"Unknown","consumeEnable":false}')
        answer = self.client.pull(topic, group="Unknown")
        self.assertEqual((answer.code, answer.remark),
                         (NO_PERMISSION, "subscription group no permission, Unknown"))

    def test_missing_fields(self):
        topic = self.filled(1)
        for name in ("consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag"):
            header = pull_header(topic, 0, 0)
            del header[name]
            answer = self.client.call(PULL, header)
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(f"<{name}>", answer.remark)
        # These only where a flag asks for them.
        for name, with_it, without in (("commitOffset", SUBSCRIPTION | COMMIT, SUBSCRIPTION),
                                       ("suspendTimeoutMillis", SUBSCRIPTION | SUSPEND,
                                        SUBSCRIPTION),
                                       ("subVersion", 0, SUBSCRIPTION)):
            header = pull_header(topic, 0, 0, sys_flag=with_it)
            del header[name]
            answer = self.client.call(PULL, header)
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertIn(f"<{name}>", answer.remark)
            header["sysFlag"] = without
            self.assertEqual(self.client.call(PULL, header).code, SUCCESS)
            header[name] = "x"  # what does not parse counts as missing
            self.assertEqual(self.client.call(PULL, header).code, SUCCESS)


class Limits(PullTest):
    def test_counts(self):
        topic = self.filled(100)
        for asked, got in ((1, 1), (31, 31), (32, 32), (33, 32), (100, 32), (2147483647, 32)):
            answer = self.client.pull(topic, count=asked)
            self.assertEqual(len(self.bodies(answer)), got)
            self.assertEqual(answer.ext["nextBeginOffset"], str(got))

    def test_bytes(self):
        """At most 256 KiB, but the first message whatever its size."""
        topic = self.topic()
        for size in (100000, 100000, 100000, 1000000, 10):
            self.sent(topic, b"b" * size)
        wait_until(lambda: self.client.max_offset(topic) == 5, "all are dispatched")
        sizes = []
        offset = 0
        while offset < 5:
            answer = self.client.pull(topic, 0, offset)
            sizes.append([len(body) for body in self.bodies(answer)])
            offset = int(answer.ext["nextBeginOffset"])
        self.assertEqual(sizes, [[100000, 100000], [100000], [1000000], [10]])

    def test_a_long_scan_is_cut(self):
        """One pull looks at no more than a file of the queue: 300 entries here."""
        topic = self.filled(1000)
        answer = self.client.pull(topic, tags="none")
        self.assertEqual((answer.code, answer.ext["nextBeginOffset"]), (PULL_RETRY, "300"))
        answer = self.client.pull(topic, 0, 890)
        self.assertEqual(answer.ext["nextBeginOffset"], "900")
        self.assertEqual([record.body for record in self.client.read_queue(topic)],
                         [b"%d" % i for i in range(1000)])


class Filters(PullTest):
    def test_tags(self):
        topic = self.topic()
        self.fill(topic, [(b"%d" % i, {"TAGS": tag} if tag else {})
                          for i, tag in enumerate(("a", "b", "", "c", "a"))])
        wait_until(lambda: self.client.max_offset(topic) == 5, "all are dispatched")
        for text, bodies in (("a", b"04"), ("a||c", b"034"), (" b || a ", b"014"), ("*", b"01234"),
                             ("", b"01234"), (None, b"01234"), ("c||", b"3")):
            header = {k: v for k, v in pull_header(topic, 0, 0, tags=text).items() if v is not None}
            answer = self.client.call(PULL, header)
            self.assertEqual(b"".join(self.bodies(answer)), bodies, text)
            self.assertEqual(answer.ext["nextBeginOffset"], "5")

    def test_by_hash_only(self):
        """"Aa" and "BB" have the same hash: the client tells them apart."""
        self.assertEqual(java_hash("Aa"), java_hash("BB"))
        topic = self.topic()
        self.sent(topic, properties={"TAGS": "Aa"})
        self.stored(topic, 0, 1)
        self.assertEqual(len(self.bodies(self.client.pull(topic, tags="BB"))), 1)

    def test_tags_beyond_ascii(self):
        topic = self.topic()
        self.sent(topic, properties={"TAGS": "t\u00e9\U0001f600"})
        self.stored(topic, 0, 1)
        self.assertEqual(len(self.bodies(self.client.pull(topic, tags="t\u00e9\U0001f600"))), 1)

    def test_no_tag_is_left(self):
        topic = self.filled(1)
        self.assertEqual(self.client.pull(topic, tags="||").code, PARSE_FAILED)

    def test_other_expressions(self):
        answer = self.client.pull(self.filled(1), tags="a > 1", expressionType="SQL92")
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertIn("does not support consumer to filter message by SQL92", answer.remark)

    def test_the_subscription_of_the_group(self):
        topic = self.filled(1)
        pull = lambda **other: self.client.pull(topic, sys_flag=0, group="Live", **other)
        self.assertEqual(pull().code, SUBSCRIPTION_NOT_EXIST)
        self.client.call(HEARTBEAT, body=heartbeat("c1", "Live", [("other", "*", 1)]))
        self.assertEqual(pull().code, SUBSCRIPTION_NOT_EXIST)
        self.client.call(HEARTBEAT, body=heartbeat("c1", "Live", [(topic, "*", 5)]))
        self.assertEqual(pull(sub_version=5).code, SUCCESS)
        self.assertEqual(pull(sub_version=6).code, SUBSCRIPTION_NOT_LATEST)
        self.client.call(HEARTBEAT, body=heartbeat("c1", "Live", [(topic, "none", 6)]))
        self.assertEqual(pull(sub_version=6).code, PULL_RETRY)
        self.client.call(HEARTBEAT, body=heartbeat("c1", "Live", [(topic, "*", 4)]))
        self.assertEqual(pull(sub_version=6).code, PULL_RETRY)

    def test_broadcasting(self):
        topic = self.filled(1)
        self.client.call(UPDATE_GROUP, body=json.dumps({
            "groupName": "Cast", "consumeEnable": True, "consumeBroadcastEnable": False}).encode())
        self.client.call(HEARTBEAT, body=heartbeat("c", "Cast", [(topic, "*", 1)], "BROADCASTING"))
        self.assertEqual(self.client.pull(topic, sys_flag=0, group="Cast").code, NO_PERMISSION)


class LongPolling(PullTest):
    def test_woken_by_an_arrival(self):
        topic = self.topic()
        for offset in range(3):
            opaque = self.client.start_pull(topic, 0, offset)
            self.assertTrue(self.client.is_silent(0.1))
            self.connect().produce(topic, b"%d" % offset)
            answer = self.client.read_answer(opaque)
            self.assertEqual(self.bodies(answer), [b"%d" % offset])
            self.expect(answer, SUCCESS, "FOUND", offset + 1, 0, offset + 1)

    def test_one_connection_holds_a_bounded_share(self):
        """Pulls with subscriptions of their own, about 250 KB each: the broker keeps 8 MiB."""
        topic = self.topic()
        tags = "||".join(f"tag-{i:06}" for i in range(4000))
        opaques = [self.client.start_pull(topic, 0, 0, tags=tags) for _ in range(200)]
        answer = self.client.read_answer(opaques[-1])
        self.assertEqual(answer.code, PULL_NOT_FOUND)
        held = [opaque for opaque in opaques[:-1] if opaque not in self.client.answers]
        self.assertGreater(len(held), 10)
        self.assertLess(len(held), 100)
        # Others are not affected, and room comes back.
        other = self.connect()
        opaque = other.start_pull(topic, 0, 0, tags=tags)
        self.assertTrue(other.is_silent(0.1))
        other.produce(topic, properties={"TAGS": "tag-000001"})
        self.assertEqual(other.read_answer(opaque).code, SUCCESS)
        for opaque in held:
            self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)
        opaque = self.client.start_pull(topic, 0, 1, tags=tags)
        self.assertTrue(self.client.is_silent(0.1))
        other.produce(topic, properties={"TAGS": "tag-000001"})
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)

    def test_time_out(self):
        topic = self.filled(2)
        started = time.monotonic()
        opaque = self.client.start_pull(topic, 0, 2, suspend_ms=300)
        self.expect(self.client.read_answer(opaque), PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 2, 0, 2)
        self.assertGreaterEqual(time.monotonic() - started, 0.29)
        for suspend_ms in (0, -5):
            opaque = self.client.start_pull(topic, 0, 2, suspend_ms=suspend_ms)
            self.assertEqual(self.client.read_answer(opaque).code, PULL_NOT_FOUND)

    def test_only_with_the_flag_and_nothing_new(self):
        topic = self.filled(2)
        self.assertEqual(self.client.pull(topic, 0, 2, suspend_ms=20000).code, PULL_NOT_FOUND)
        for offset, code in ((0, SUCCESS), (9, PULL_OFFSET_MOVED)):
            opaque = self.client.start_pull(topic, 0, offset)
            self.assertEqual(self.client.read_answer(opaque).code, code)

    def test_short_polling(self):
        topic = self.topic()
        self.client.call(UPDATE_CONFIG, body=b"longPollingEnable=false\nshortPollingTimeMills=200")
        answer = self.client.read_answer(self.client.start_pull(topic))
        self.assertEqual(answer.code, PULL_NOT_FOUND)
        self.client.call(UPDATE_CONFIG, body=b"longPollingEnable=true")

    def test_other_tags_do_not_wake(self):
        topic = self.topic()
        opaque = self.client.start_held_pull(topic, tags="wanted")
        other = self.connect()
        for _ in range(3):
            other.produce(topic, properties={"TAGS": "unwanted"})
        self.assertTrue(self.client.is_silent(0.2))
        other.produce(topic, b"this", properties={"TAGS": "wanted"})
        answer = self.client.read_answer(opaque)
        self.assertEqual(self.bodies(answer), [b"this"])
        self.assertEqual(answer.ext["nextBeginOffset"], "4")

    def test_a_tag_behind_many_others(self):
        """What one look of the broker does not reach is not lost: the client goes on at once, or has
        the message."""
        topic = self.topic()
        many = "||".join(f"t{i}" for i in range(100)) + "||rare"
        waiting = [(tag, self.connect()) for tag in ("rare", "b||rare", many, "never")]
        asked = [client.start_pull(topic, tags=tag) for tag, client in waiting]
        for _ in range(4):
            self.fill(topic, [(b"x", {"TAGS": "other"})] * 500)
        self.fill(topic, [(b"y", {"TAGS": "rare"})])
        for (tag, client), opaque in list(zip(waiting, asked))[:3]:
            answer = client.read_answer(opaque)
            while answer.code == PULL_RETRY:
                answer = client.read_answer(client.start_pull(
                    topic, 0, int(answer.ext["nextBeginOffset"]), tags=tag))
            self.assertEqual(self.bodies(answer), [b"y"])
            self.assertEqual(answer.ext["nextBeginOffset"], "2001")

    def test_a_topic_that_is_made_anew(self):
        """Who waits in the old queue, behind the end of the new one, keeps nobody from being
        woken there."""
        topic = self.filled(700)
        old, new = self.connect(), self.connect()
        old.start_pull(topic, 0, 700, tags="a")
        for count in (1, 650):
            self.assertEqual(self.client.call(DELETE_TOPIC, {"topic": topic}).code, SUCCESS)
            self.assertEqual(self.client.create_topic(topic).code, SUCCESS)
            opaque = new.start_pull(topic, 0, 0, tags="a")
            self.assertTrue(new.is_silent(0.1))
            self.fill(topic, [(b"m", {"TAGS": "a"})] + [b"x"] * (count - 1))
            self.assertEqual(self.bodies(new.read_answer(opaque)), [b"m"])

    def test_each_has_its_tag(self):
        """Many wait for a tag of their own in one queue, and some for several or for all."""
        topic = self.topic()
        clients = [self.connect() for _ in range(150)]
        wishes = [f"t{i}" if i % 3 == 0 else f"t{i}||shared" if i % 3 == 1 else "*"
                  for i in range(150)]
        asked = [client.start_pull(topic, tags=wish) for client, wish in zip(clients, wishes)]
        for client in clients:
            client.max_offset(topic)  # answered after the pull was seen
        other = self.connect()
        other.produce(topic, b"0", properties={"TAGS": "t0"})
        self.assertEqual(self.bodies(clients[0].read_answer(asked[0])), [b"0"])
        for i in range(2, 150, 3):
            self.assertEqual(self.bodies(clients[i].read_answer(asked[i])), [b"0"])
        other.produce(topic, b"1", properties={"TAGS": "shared"})
        for i in range(1, 150, 3):
            answer = clients[i].read_answer(asked[i])
            self.assertEqual((self.bodies(answer), answer.ext["nextBeginOffset"]), ([b"1"], "2"))
        for i in range(3, 150, 3):
            other.produce(topic, b"%d" % i, properties={"TAGS": f"t{i}"})
            self.assertEqual(self.bodies(clients[i].read_answer(asked[i])), [b"%d" % i])

    @with_times(500, 20000)
    def test_time_out_behind_other_tags(self, time_ms):
        topic, other = self.topic(), self.connect()
        with within(time_ms):
            opaque = self.client.start_pull(topic, tags="wanted", suspend_ms=time_ms)
            other.produce(topic, properties={"TAGS": "unwanted"})
            wait_until(lambda: other.max_offset(topic) == 1, "it is dispatched")
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.ext["nextBeginOffset"]), (PULL_RETRY, "1"))

    def test_the_connection_closes(self):
        topic = self.topic()
        for _ in range(20):
            gone = self.broker.client()
            for queue in range(5):
                gone.start_pull(topic, offset=0)
            gone.close()
        kept = self.connect()
        opaque = kept.start_pull(topic)
        self.sent(topic, b"m")
        self.assertEqual(self.bodies(kept.read_answer(opaque)), [b"m"])
        self.stored(topic, 0, 1)

    def test_many_pulls_on_many_connections(self):
        topics = [self.topic(4) for _ in range(3)]
        clients = [self.connect() for _ in range(50)]
        waiting = [(client, client.start_pull(topic, queue_id), topic, queue_id)
                   for client in clients for topic in topics for queue_id in range(4)]
        self.assertTrue(clients[0].is_silent(0.1))
        for topic in topics:
            for queue_id in range(4):
                self.sent(topic, f"{topic}/{queue_id}".encode(), queue_id=queue_id)
        for client, opaque, topic, queue_id in waiting:
            self.assertEqual(self.bodies(client.read_answer(opaque)),
                             [f"{topic}/{queue_id}".encode()])

    def test_none_is_missed_under_load(self):
        """A consumer that always waits sees each message once while a producer pipelines."""
        topic = self.topic()
        producer = self.connect()
        consumer = self.connect()
        opaques = []
        offset, seen = 0, []
        for burst in range(30):
            pull = consumer.start_pull(topic, 0, offset)
            opaques += [producer.send(SEND_V2, send_header(topic), b"%d.%d" % (burst, i))
                        for i in range(burst % 7 + 1)]
            answer = consumer.read_answer(pull)
            seen += self.bodies(answer)
            offset = int(answer.ext["nextBeginOffset"])
            while len(seen) < len(opaques):
                answer = consumer.read_answer(consumer.start_pull(topic, 0, offset))
                seen += self.bodies(answer)
                offset = int(answer.ext["nextBeginOffset"])
        self.assertEqual(seen, [b"%d.%d" % (burst, i) for burst in range(30)
                                for i in range(burst % 7 + 1)])

    def test_held_pulls_are_let_go_at_the_end(self):
        broker = Broker()
        self.addCleanup(broker.remove)
        broker.start()
        client = broker.client()
        self.addCleanup(client.close)
        client.create_topic("T")
        opaque = client.start_pull("T")
        self.assertTrue(client.is_silent(0.1))
        broker.signal(15)
        try:
            self.assertEqual(client.read_answer(opaque).code, PULL_NOT_FOUND)
        except Closed:
            self.fail("the held pull was not answered")
        self.assertEqual(broker.wait(), 0)


class Offsets(PullTest):
    def query(self, topic, group="G", queue_id=0):
        return self.client.call(QUERY_OFFSET, {"consumerGroup": group, "topic": topic,
                                               "queueId": queue_id})

    def test_commit_with_a_pull(self):
        topic = self.filled(5)
        flags = COMMIT | SUBSCRIPTION
        self.client.pull(topic, sys_flag=flags, commit=3, group="C1")
        self.assertEqual(self.query(topic, "C1").ext, {"offset": "3"})
        self.client.pull(topic, commit=5, group="C1")
        self.assertEqual(self.query(topic, "C1").ext, {"offset": "3"})
        self.client.pull(topic, sys_flag=flags, commit=1, group="C1")
        self.assertEqual(self.query(topic, "C1").ext, {"offset": "1"})
        opaque = self.client.start_pull(topic, 0, 5, flags=flags, commit=4, group="C1")
        other = self.connect()
        wait_until(lambda: other.call(QUERY_OFFSET, {
            "consumerGroup": "C1", "topic": topic, "queueId": 0}).ext == {"offset": "4"},
            "a held pull has committed")
        other.produce(topic)
        self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)

    def test_update_and_query(self):
        for topic, queue_id, offset in (("nowhere", 7, 123), (self.topic(), 0, 9999999999),
                                        (self.topic(), 0, 5), (self.topic(), 0, 0)):
            answer = self.client.call(UPDATE_OFFSET, {
                "consumerGroup": "G", "topic": topic, "queueId": queue_id, "commitOffset": offset})
            self.assertEqual((answer.code, answer.ext), (SUCCESS, {}))
            self.assertEqual(self.query(topic, queue_id=queue_id).ext, {"offset": str(offset)})

    def test_a_young_queue_is_read_from_its_start(self):
        for topic in ("nowhere-at-all", self.topic(), self.filled(3)):
            answer = self.query(topic, "Fresh")
            self.assertEqual((answer.code, answer.ext), (SUCCESS, {"offset": "0"}))

    def test_bounds(self):
        topic = self.filled(3, queues=2)
        for name, queue_id, most in ((topic, 0, 3), (topic, 1, 0), (topic, 99, 0), ("none", 0, 0),
                                     (topic, -1, 0)):
            header = {"topic": name, "queueId": queue_id}
            self.assertEqual(self.client.call(MAX_OFFSET, header).ext, {"offset": str(most)})
            self.assertEqual(self.client.call(MIN_OFFSET, header).ext, {"offset": "0"})
            stamp = int(self.client.call(EARLIEST_TIME, header).ext["timestamp"])
            if most == 0:
                self.assertEqual(stamp, -1)
            else:
                self.assertEqual(stamp, self.client.read_queue(name)[0].store_ms)

    def test_search_by_time(self):
        topic = self.topic()
        for i in range(4):
            self.sent(topic, b"%d" % i)
            time.sleep(0.03)
        times = [record.store_ms for record in self.stored(topic, 0, 4)]
        search = lambda stamp, queue_id=0, name=topic: int(self.client.call(
            SEARCH_OFFSET, {"topic": name, "queueId": queue_id, "timestamp": stamp}).ext["offset"])
        for i, stamp in enumerate(times):
            self.assertEqual(search(stamp), i)
        self.assertEqual(search(times[1] + 1), 1)
        self.assertEqual(search(times[2] - 1), 2)
        self.assertEqual((search(0), search(-1), search(times[3] + 100000)), (0, 0, 3))
        self.assertEqual((search(times[1], 5), search(times[1], 0, "none")), (0, 0))


class Queries(PullTest):
    def query(self, topic, key, most=32, begin=0, end=1 << 62, **other):
        return self.client.call(QUERY, {"topic": topic, "key": key, "maxNum": most,
                                        "beginTimestamp": begin, "endTimestamp": end, **other})

    def found(self, topic, key, count, **other):
        """The bodies that a query finds, when it finds `count`."""
        def look():
            answer = self.query(topic, key, **other)
            records = decode_records(answer.body)
            self.assertIn(answer.code, (SUCCESS, QUERY_NOT_FOUND))
            return [record.body for record in records] if len(records) >= count else None
        return wait_until(look, f"{count} messages of {key}")

    def test_view_by_id(self):
        topic = self.topic()
        ids = [self.sent(topic, b"%d" % i)["msgId"] for i in range(3)]
        for i, identifier in enumerate(ids):
            answer = self.client.call(VIEW, {"offset": int(identifier[16:], 16)})
            self.assertEqual(self.bodies(answer), [b"%d" % i])
        position = int(ids[0][16:], 16)
        for wrong in (position + 1, position - 1, -1, 1 << 40, 1 << 62):
            answer = self.client.call(VIEW, {"offset": wrong})
            self.assertEqual(answer.code, SYSTEM_ERROR, wrong)
            self.assertIn("can not find message by the offset", answer.remark)

    def test_by_key(self):
        topic = self.topic(2)
        for i in range(5):
            self.sent(topic, b"%d" % i, queue_id=i % 2,
                      properties={"KEYS": f"all key{i} twice twice"})
        self.sent(self.topic(), b"elsewhere", properties={"KEYS": "all"})
        self.assertEqual(self.found(topic, "all", 5), [b"0", b"1", b"2", b"3", b"4"])
        self.assertEqual(self.found(topic, "key3", 1), [b"3"])
        self.assertEqual(self.found(topic, "twice", 5), [b"0", b"1", b"2", b"3", b"4"])
        self.assertEqual(len(self.found(topic, "all", 2, most=2)), 2)
        answer = self.query(topic, "all")
        self.assertLessEqual({"indexLastUpdateTimestamp", "indexLastUpdatePhyoffset"},
                             set(answer.ext))
        for key in ("none", "", "all key0"):
            self.assertEqual(self.query(topic, key).code, QUERY_NOT_FOUND)
        self.assertEqual(self.query("none", "all").code, QUERY_NOT_FOUND)
        self.assertEqual(self.query(topic, "all", end=1000).code, QUERY_NOT_FOUND)
        self.assertEqual(self.query(topic, "all", most=0).code, QUERY_NOT_FOUND)
        self.assertEqual(self.query(topic, "all", most=-1).code, QUERY_NOT_FOUND)

    def test_by_unique_key(self):
        topic = self.topic()
        for i in range(3):
            self.sent(topic, b"%d" % i, properties={"UNIQ_KEY": f"UNIQUE{i}", "KEYS": "k"})
        self.assertEqual(self.found(topic, "UNIQUE1", 1, most=1, _UNIQUE_KEY_QUERY="true"), [b"1"])
        self.assertEqual(self.found(topic, "k", 3, most=0, _UNIQUE_KEY_QUERY="true"),
                         [b"0", b"1", b"2"])

    def test_of_a_batch(self):
        topic = self.topic()
        self.fill(topic, [(b"%d" % i, {"UNIQ_KEY": f"B{i}", "KEYS": "k"}) for i in range(100)])
        self.assertEqual(self.found(topic, "B99", 1), [b"99"])
        self.assertEqual(len(self.found(topic, "k", 64, most=1000)), 64)


class Descriptors(unittest.TestCase):
    def test_none_is_left(self):
        """A queue's file cannot be opened: the consumer is told so, and not that nothing is there."""
        broker = Broker()
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            client.create_topic("T")
            self.assertEqual(client.produce("T").code, SUCCESS)
            wait_until(lambda: client.max_offset("T") == 1, "it is dispatched")
        broker.restart()  # files are opened when they are needed
        with broker.client() as client:
            self.assertEqual(client.max_offset("T"), 1)
            pid = broker.process.pid
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
            for answer in (client.pull("T"), client.read_answer(client.start_pull("T"))):
                self.assertEqual(answer.code, SYSTEM_BUSY, answer)
                self.assertIn("consumequeue/T/0/00000000000000000000 cannot be opened",
                              answer.remark)
                self.assertIn("ulimit -n", answer.remark)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            self.assertEqual(client.pull("T").code, SUCCESS)


if __name__ == "__main__":
    rocketmq.main("broker_pull")
