# SPDX-License-Identifier: Apache-2.0
"""Clients of the broker: groups and their members, change notices, queue locks, failed messages
that come again, and delayed messages.

Source of the rules: ClientManageProcessor, ConsumerManager, RebalanceLockManager,
SendMessageProcessor and ScheduleMessageService of RocketMQ 4.9.2; docs/diff.md says where we
differ.
"""

import json
import time

import rocketmq
from broker import (Broker, BrokerTest, CONSUMER_CONNECTIONS, CONSUMER_LIST, CONSUMER_NOT_ONLINE,
                    GROUP_NOT_EXIST, HEARTBEAT, IDS_CHANGED, LOCK, NO_PERMISSION,
                    PRODUCER_CONNECTIONS, SEND_BACK, SEND_V2, SUCCESS, SYSTEM_ERROR, UNLOCK,
                    UNREGISTER_CLIENT, UPDATE_CONFIG, UPDATE_GROUP, decode_records, heartbeat,
                    send_header)
from rocketmq import FLAG_ONEWAY, JSON, PROTOBUF, ROCKETMQ, wait_until

DELAY_LEVELS = "1s 2s 1s 2s"


class ClientTest(BrokerTest):
    def beat(self, client, client_id, group, topics=("T",), **other):
        answer = client.call(HEARTBEAT, body=heartbeat(
            client_id, group, [(topic, "*", 1) for topic in topics]), **other)
        self.assertEqual((answer.code, answer.ext), (SUCCESS, None))

    def members(self, group):
        answer = self.client.call(CONSUMER_LIST, {"consumerGroup": group})
        if answer.code == SYSTEM_ERROR:
            self.assertEqual(answer.remark, f"no consumer for this group, {group}")
            return []
        return answer.json()["consumerIdList"]

    def group(self):
        return f"G{time.monotonic_ns() % 10**9}"

    def expect_notices(self, client, group, count):
        """Exactly `count` notices have come."""
        for _ in range(count):
            notice = client.read_push()
            self.assertEqual((notice.code, notice.flag, notice.ext),
                             (IDS_CHANGED, FLAG_ONEWAY, {"consumerGroup": group}))
        client.call(CONSUMER_LIST, {"consumerGroup": "none"})
        self.assertEqual(client.pushed, [])


class Groups(ClientTest):
    def test_join_and_leave(self):
        group = self.group()
        first, second, third = (self.connect() for _ in range(3))
        self.assertEqual(self.members(group), [])
        self.beat(first, "c1", group)
        self.expect_notices(first, group, 1)
        self.beat(first, "c1", group)
        self.expect_notices(first, group, 0)
        self.beat(second, "c2", group)
        self.expect_notices(first, group, 1)
        self.expect_notices(second, group, 1)
        self.beat(third, "c3", group)
        for client in (first, second, third):
            self.expect_notices(client, group, 1)
        self.assertEqual(self.members(group), ["c1", "c2", "c3"])
        # A crash, a farewell, and a farewell of one who has gone already.
        third.close()
        wait_until(lambda: self.members(group) == ["c1", "c2"], "the crashed one is gone")
        for client in (first, second):
            self.expect_notices(client, group, 1)
        for _ in range(2):
            answer = second.call(UNREGISTER_CLIENT, {"clientID": "c2", "consumerGroup": group})
            self.assertEqual((answer.code, answer.ext), (SUCCESS, {}))
        self.expect_notices(first, group, 1)
        self.expect_notices(second, group, 0)
        second.close()
        self.assertEqual(self.members(group), ["c1"])
        self.expect_notices(first, group, 0)
        first.close()
        wait_until(lambda: self.members(group) == [], "the group is empty")

    def test_changed_subscriptions_are_told(self):
        group = self.group()
        self.beat(self.client, "c", group, ["T"])
        self.expect_notices(self.client, group, 1)
        self.beat(self.client, "c", group, ["T", "U"])
        self.expect_notices(self.client, group, 1)
        self.client.call(HEARTBEAT, body=heartbeat("c", group, [("T", "a", 2), ("U", "*", 1)]))
        self.expect_notices(self.client, group, 0)
        self.beat(self.client, "c", group, ["U"])
        self.expect_notices(self.client, group, 1)

    def test_a_client_of_several_groups(self):
        groups = [self.group() + str(i) for i in range(3)]
        watcher, client = self.connect(), self.connect()
        for group in groups:
            self.beat(watcher, "watcher", group)
            self.expect_notices(watcher, group, 1)
            self.beat(client, "client", group)
            self.expect_notices(watcher, group, 1)
        client.close()
        told = sorted(watcher.read_push().ext["consumerGroup"] for _ in groups)
        self.assertEqual(told, sorted(groups))

    def test_notices_can_be_switched_off(self):
        group = self.group()
        self.client.call(UPDATE_GROUP, body=json.dumps({
            "groupName": group, "consumeEnable": True,
            "notifyConsumerIdsChangedEnable": False}).encode())
        self.beat(self.client, "c", group)
        self.expect_notices(self.client, group, 0)
        # The group's switch does not count for a connection that closes.
        other = self.connect()
        self.beat(other, "other", group)
        self.expect_notices(self.client, group, 0)
        other.close()
        wait_until(lambda: self.members(group) == ["c"], "the other one is gone")
        self.expect_notices(self.client, group, 1)
        group = self.group()
        self.client.call(UPDATE_CONFIG, body=b"notifyConsumerIdsChangedEnable=false")
        self.beat(self.client, "c", group)
        self.expect_notices(self.client, group, 0)
        self.client.call(UPDATE_CONFIG, body=b"notifyConsumerIdsChangedEnable=true")

    def test_what_is_passed_on_is_json(self):
        """Whatever a tool speaks, the consumer's answer and question are in what it reads."""
        group = self.group()
        self.beat(self.client, "c", group)
        self.expect_notices(self.client, group, 1)
        for codec in (JSON, ROCKETMQ, PROTOBUF):
            tool = self.connect()
            opaque = tool.send(307, {"consumerGroup": group, "clientId": "c"}, codec=codec)
            asked = self.client.read_push()
            self.assertEqual((asked.code, asked.codec, asked.ext["clientId"]), (307, JSON, "c"))
            self.client.answer(asked, body=b"{}")
            answer = tool.read_answer(opaque)
            self.assertEqual((answer.code, answer.codec, answer.body), (SUCCESS, codec, b"{}"))

    def test_the_retry_topic_comes_with_the_group(self):
        group = self.group()
        self.beat(self.client, "c", group)
        config = self.client.call(21).json()["topicConfigTable"][f"%RETRY%{group}"]
        self.assertEqual((config["readQueueNums"], config["writeQueueNums"], config["perm"]),
                         (1, 1, 6))

    def notices_until(self, client, group, done):
        """Read notices until one has come after which `done()` holds; their number."""
        count = 0
        while True:
            notice = client.read_push()
            self.assertEqual((notice.code, notice.ext), (IDS_CHANGED, {"consumerGroup": group}))
            count += 1
            if not client.pushed and done():
                return count

    def test_many_members_that_restart(self):
        """200 members come and go at once: each hears of it at once and in the end, and in between
        not more often than every 100 ms."""
        count = 200
        for _ in range(2):
            group, started = self.group(), time.monotonic()
            clients = [self.connect() for _ in range(count)]
            self.beat(clients[0], "c0", group)
            asked = [client.send(HEARTBEAT, body=heartbeat(f"c{i}", group, [("T", "*", 1)]))
                     for i, client in enumerate(clients) if i > 0]
            for client, opaque in zip(clients[1:], asked):
                self.assertEqual(client.read_answer(opaque).code, SUCCESS)
            everybody = sorted(f"c{i}" for i in range(count))
            self.assertEqual(sorted(self.members(group)), everybody)
            told = [self.notices_until(client, group, lambda: True) for client in clients[1:]]
            # The first one has heard of itself at once, and of the others later.
            self.assertEqual(clients[0].read_push().code, IDS_CHANGED)
            told.append(1 + self.notices_until(clients[0], group, lambda: True))
            most = 2 + (time.monotonic() - started) * 10
            self.assertLessEqual(max(told), most, told)

            started = time.monotonic()
            for client in clients[1:]:
                client.close()
            told = self.notices_until(clients[0], group, lambda: self.members(group) == ["c0"])
            # One of those above may have come late.
            self.assertLessEqual(told, 3 + (time.monotonic() - started) * 10)
            clients[0].close()
            wait_until(lambda: self.members(group) == [], "the group is empty")

    def test_connections(self):
        group = self.group()
        answer = self.client.call(CONSUMER_CONNECTIONS, {"consumerGroup": group})
        self.assertEqual((answer.code, answer.remark),
                         (CONSUMER_NOT_ONLINE, f"the consumer group[{group}] not online"))
        client = self.connect()
        self.beat(client, "c1", group, ["T"], version=399)
        body = self.client.call(CONSUMER_CONNECTIONS, {"consumerGroup": group}).json()
        self.assertEqual(body["connectionSet"], [{
            "clientAddr": client.local_address(), "clientId": "c1", "language": "JAVA",
            "version": 399}])
        self.assertEqual((body["consumeType"], body["messageModel"], body["consumeFromWhere"]),
                         ("CONSUME_PASSIVELY", "CLUSTERING", "CONSUME_FROM_LAST_OFFSET"))
        self.assertEqual(body["subscriptionTable"]["T"]["subString"], "*")

    def test_producers(self):
        group = self.group()
        answer = self.client.call(PRODUCER_CONNECTIONS, {"producerGroup": group})
        self.assertEqual((answer.code, answer.remark),
                         (SYSTEM_ERROR, f"the producer group[{group}] not exist"))
        clients = [self.connect() for _ in range(3)]
        for i, (client, codec) in enumerate(zip(clients, (JSON, ROCKETMQ, PROTOBUF))):
            body = json.dumps({"clientID": f"p{i}", "producerDataSet": [{"groupName": group}],
                               "consumerDataSet": []}).encode()
            self.assertEqual(client.call(HEARTBEAT, body=body, codec=codec).code, SUCCESS)
        listed = lambda: self.client.call(PRODUCER_CONNECTIONS, {"producerGroup": group})
        self.assertEqual([(one["clientId"], one["clientAddr"])
                          for one in listed().json()["connectionSet"]],
                         [(f"p{i}", client.local_address()) for i, client in enumerate(clients)])
        clients[0].call(UNREGISTER_CLIENT, {"clientID": "p0", "producerGroup": group})
        self.assertEqual([c["clientId"] for c in listed().json()["connectionSet"]], ["p1", "p2"])
        clients[1].close()
        clients[2].close()
        wait_until(lambda: listed().code == SYSTEM_ERROR, "the producers are gone")

    def test_bad_heartbeats(self):
        group = self.group()
        for body in (b"", b"{", b"[]", b"null", b'{"clientID":5}', b'{"clientID":""}',
                     b'{"producerDataSet":[]}', b'{"clientID":"c","consumerDataSet":{}}',
                     b'{"clientID":"c","consumerDataSet":[{"groupName":null}]}',
                     b'{"clientID":"c","consumerDataSet":[5]}',
                     heartbeat("c", group, [("T", "*", 1)])[:-5]):
            answer = self.client.call(HEARTBEAT, body=body)
            self.assertIn(answer.code, (SUCCESS, SYSTEM_ERROR))
        self.assertEqual(self.members(group), [])
        self.beat(self.client, "c", group)
        self.assertEqual(self.members(group), ["c"])


class Locks(ClientTest):
    def lock(self, client, client_id, queues, group="Locks", code=LOCK):
        answer = client.call(code, body=json.dumps({
            "clientId": client_id, "consumerGroup": group,
            "mqSet": [{"brokerName": "broker-a", "queueId": q, "topic": self.id()}
                      for q in queues]}).encode())
        self.assertEqual(answer.code, SUCCESS, answer)
        if code == LOCK:
            return sorted(queue["queueId"] for queue in answer.json()["lockOKMQSet"])
        return None

    def test_lock_and_unlock(self):
        first, second = self.connect(), self.connect()
        self.assertEqual(self.lock(first, "c1", [0, 1, 2]), [0, 1, 2])
        self.assertEqual(self.lock(first, "c1", [0, 1]), [0, 1])
        self.assertEqual(self.lock(second, "c2", [1, 2, 3]), [3])
        self.assertEqual(self.lock(second, "c2", [0, 1, 2], group="Other"), [0, 1, 2])
        self.lock(second, "c2", [0, 1], code=UNLOCK)
        self.assertEqual(self.lock(second, "c2", [0, 1]), [])
        self.lock(first, "c1", [1], code=UNLOCK)
        self.assertEqual(self.lock(second, "c2", [0, 1]), [1])
        self.assertEqual(self.lock(first, "c1", []), [])

    def test_released_when_the_owner_goes(self):
        first, second = self.connect(), self.connect()
        self.assertEqual(self.lock(first, "c1", [0, 1]), [0, 1])
        self.assertEqual(self.lock(second, "c2", [0, 1]), [])
        first.close()
        wait_until(lambda: self.lock(second, "c2", [0, 1]) == [0, 1], "the locks are free")

    def test_a_lock_follows_its_owner(self):
        """A client that has reconnected keeps its lock when its old connection ends."""
        old, new, other = (self.connect() for _ in range(3))
        self.assertEqual(self.lock(old, "c1", [0]), [0])
        self.assertEqual(self.lock(new, "c1", [0]), [0])
        old.close()
        time.sleep(0.2)
        self.assertEqual(self.lock(other, "c2", [0]), [])

    def test_bad_bodies(self):
        for code in (LOCK, UNLOCK):
            for body in (b"", b"x", b"[]", b'{"mqSet":5}'):
                answer = self.client.call(code, body=body)
                self.assertEqual(answer.code, SYSTEM_ERROR, (code, body))


class SendBack(ClientTest):
    options = {"messageDelayLevel": DELAY_LEVELS, "flushDelayOffsetInterval": 100}

    def back(self, record, group, level=1, **other):
        return self.client.call(SEND_BACK, {
            "offset": record.position, "group": group, "delayLevel": level,
            "originMsgId": "x", "originTopic": record.topic, "unitMode": "false",
            "maxReconsumeTimes": 16, **other})

    def message(self, **properties):
        topic = self.topic()
        self.sent(topic, b"failed", h=7, properties={"TAGS": "a", "UNIQ_KEY": "U", **properties})
        return self.stored(topic, 0, 1)[0]

    def test_it_comes_again(self):
        group, record = self.group(), self.message()
        started = time.monotonic()
        answer = self.back(record, group)
        self.assertEqual((answer.code, answer.ext), (SUCCESS, None), answer)
        again, = self.stored(f"%RETRY%{group}", 0, 1)
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assertEqual((again.body, again.flag, again.born_ms, again.born_host,
                          again.reconsume_times),
                         (b"failed", 7, record.born_ms, record.born_host, 1))
        wanted = {"TAGS": "a", "UNIQ_KEY": "U", "RETRY_TOPIC": record.topic, "DELAY": "1",
                  "ORIGIN_MESSAGE_ID": self.broker.message_id(record.position), "WAIT": "false",
                  "REAL_TOPIC": f"%RETRY%{group}", "REAL_QID": "0", "CLUSTER": "DefaultCluster"}
        self.assertEqual(again.properties, wanted)
        # And once more: the first id and topic stay.
        self.assertEqual(self.back(again, group, 2).code, SUCCESS)
        third = self.stored(f"%RETRY%{group}", 0, 2)[1]
        self.assertEqual(third.reconsume_times, 2)
        self.assertEqual(third.properties, {**wanted, "DELAY": "2"})
        self.assertEqual(len(self.client.read_queue(f"%RETRY%{group}")), 2)

    def test_sync_flush(self):
        """The answer comes from the loop that waits for the disk, while sends wait there too."""
        broker = Broker(flushDiskType="SYNC_FLUSH")
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            client.create_topic("T0")
            client.produce("T0", b"failed")
            wait_until(lambda: client.max_offset("T0") == 1, "it is dispatched")
            record, = client.read_queue("T0")
            fields = {"offset": record.position, "group": "g", "delayLevel": -1,
                      "originMsgId": "x", "originTopic": "T0", "unitMode": "false",
                      "maxReconsumeTimes": 16}
            asked = []
            for _ in range(30):
                asked.append(client.send(SEND_BACK, fields))
                asked.append(client.send(SEND_V2, send_header("T0"), b"sent"))
            for back, send in zip(asked[::2], asked[1::2]):
                answer = client.read_answer(back)
                self.assertEqual((answer.code, answer.ext, answer.remark), (SUCCESS, None, None))
                self.assertEqual(client.read_answer(send).code, SUCCESS)
            wait_until(lambda: client.max_offset("%DLQ%g") == 30, "all are dead letters")

    def test_the_default_level(self):
        """3 and one more for each attempt, at most the last one."""
        group, record = self.group(), self.message()
        before = self.client.max_offset("SCHEDULE_TOPIC_XXXX", 2)
        self.assertEqual(self.back(record, group, 0).code, SUCCESS)
        wait_until(lambda: self.client.max_offset("SCHEDULE_TOPIC_XXXX", 2) == before + 1,
                   "level 3")
        self.assertEqual(self.back(record, group, 99).code, SUCCESS)
        wait_until(lambda: self.client.max_offset("SCHEDULE_TOPIC_XXXX", 3) > 0, "level 4")
        self.stored(f"%RETRY%{group}", 0, 2)

    def test_dead_letters(self):
        group, record = self.group(), self.message()
        self.assertEqual(self.back(record, group, -1).code, SUCCESS)
        self.assertEqual(self.back(record, group, 1, maxReconsumeTimes=0).code, SUCCESS)
        first, second = self.stored(f"%DLQ%{group}", 0, 2)
        self.assertEqual((first.body, second.body), (b"failed", b"failed"))
        self.assertEqual(first.properties["RETRY_TOPIC"], record.topic)
        self.assertEqual(self.client.max_offset(f"%RETRY%{group}"), 0)
        config = self.client.call(21).json()["topicConfigTable"][f"%DLQ%{group}"]
        self.assertEqual((config["writeQueueNums"], config["perm"]), (1, 6))

    def test_checks(self):
        group, record = self.group(), self.message()
        self.client.call(UPDATE_CONFIG, body=b"autoCreateSubscriptionGroup=false")
        self.assertEqual(self.back(record, group).code, GROUP_NOT_EXIST)
        self.client.call(UPDATE_CONFIG,
                         body=b"autoCreateSubscriptionGroup=true\nbrokerPermission=4")
        self.assertEqual(self.back(record, group).code, NO_PERMISSION)
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=6")
        for offset in (-1, record.position + 1, 1 << 50):
            answer = self.back(record, group, offset=offset)
            self.assertEqual((answer.code, answer.remark),
                             (SYSTEM_ERROR, f"look message by offset failed, {offset}"))
        self.client.call(UPDATE_GROUP, body=json.dumps({
            "groupName": group, "retryQueueNums": 0, "consumeEnable": True}).encode())
        self.assertEqual(self.back(record, group).code, SUCCESS)
        self.assertEqual(self.client.max_offset(f"%RETRY%{group}"), 0)
        self.assertEqual(self.back(record, "a b").code, SYSTEM_ERROR)
        self.assertEqual(self.back(record, "g" * 126).code, SYSTEM_ERROR)


class Delays(ClientTest):
    options = {"messageDelayLevel": DELAY_LEVELS, "flushDelayOffsetInterval": 100}

    def test_delivered_once_and_not_early(self):
        topic = self.topic(2)
        started = {}
        for level in (1, 2, 3):
            started[level] = int(time.time() * 1000)
            answer = self.sent(topic, b"%d" % level, queue_id=1,
                               properties={"DELAY": str(level), "TAGS": "t", "WAIT": "true"})
            self.assertEqual(answer["queueId"], "1")
        records = sorted(self.stored(topic, 1, 3),
                         key=lambda record: (record.properties["DELAY"] == "2", record.body))
        for record, level, delay_ms in zip(records, (1, 3, 2), (1000, 1000, 2000)):
            self.assertEqual(record.body, b"%d" % level)
            self.assertGreaterEqual(record.store_ms, started[level] + delay_ms)
            self.assertEqual(record.properties, {
                "DELAY": str(level), "TAGS": "t", "REAL_TOPIC": topic, "REAL_QID": "1",
                "WAIT": "true", "CLUSTER": "DefaultCluster"})
        self.assertEqual(len(decode_records(self.client.pull(topic, 1, tags="t").body)), 3)
        time.sleep(0.3)
        self.assertEqual(self.client.max_offset(topic, 1), 3)

    def test_the_highest_level(self):
        topic = self.topic()
        self.sent(topic, b"late", properties={"DELAY": "77"})
        self.assertEqual(self.stored(topic, 0, 1)[0].properties["DELAY"], "4")

    def test_no_delay(self):
        topic = self.topic()
        for value in ("0", "-1", "x", ""):
            self.sent(topic, properties={"DELAY": value})
        self.stored(topic, 0, 4)

    def test_once_over_a_restart(self):
        broker = Broker(messageDelayLevel="1s", flushDelayOffsetInterval=100)
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            client.create_topic("T")
            for i in range(20):
                self.assertEqual(client.produce("T", b"%d" % i, properties={"DELAY": "1"}).code, 0)
            wait_until(lambda: client.max_offset("SCHEDULE_TOPIC_XXXX") == 20, "all are waiting")
        broker.restart()
        with broker.client() as client:
            wait_until(lambda: client.max_offset("T") == 20, "all are delivered")
            self.assertEqual([record.body for record in client.read_queue("T")],
                             [b"%d" % i for i in range(20)])
        broker.restart()
        with broker.client() as client:
            self.sent_directly(client)
            time.sleep(0.5)
            self.assertEqual(client.max_offset("T"), 21)

    def sent_directly(self, client):
        self.assertEqual(client.produce("T").code, SUCCESS)
        wait_until(lambda: client.max_offset("T") >= 21, "it is there")


if __name__ == "__main__":
    rocketmq.main("broker_clients")
