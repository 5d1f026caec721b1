#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What administrators ask a real mqbroker: statistics per topic and group, how far groups are,
requests that the broker passes on to consumers (behaviour CL-11, CL-12, AD-14 to AD-18), and what
it refuses until it is built. Plain request-answer pairs are in answers.py."""

import json
import time
import unittest

import broker_pop as pops
from broker import (Broker, BrokerTest, CONSUMER_NOT_ONLINE, HEARTBEAT, NOT_SUPPORTED,
                    RUNTIME_INFO, SEND_BACK, SUCCESS, SYSTEM_ERROR, UPDATE_CONFIG, UPDATE_OFFSET,
                    batch_body, decode_records, heartbeat)
from rocketmq import ROCKETMQ, Command, wait_until, with_times, within

RESET_CLIENT, STATUS_OF_CLIENT, RESET, STATUS = 220, 221, 222, 223
CONSUME_STATS, CLEAN_EXPIRED, CORRECTION, STATS, ALL_CONSUME_STATS = 208, 306, 308, 315, 317
DELETE_GROUP, DELETE_TOPIC, SEND_BATCH = 207, 215, 320
ALL_OFFSETS, CLONE = 43, 314
END_TRANSACTION = 37
CPP = "CPP"


def queue(topic, queue_id):
    return {"brokerName": "broker-a", "queueId": queue_id, "topic": topic}


def key(topic, queue_id):
    """A queue as parse_json shows it when it is a key."""
    return tuple(sorted(queue(topic, queue_id).items()))


class AdminTest(BrokerTest):
    def commit(self, topic, group, offsets):
        for queue_id, offset in enumerate(offsets):
            answer = self.client.call(UPDATE_OFFSET, {"consumerGroup": group, "topic": topic,
                                                      "queueId": queue_id, "commitOffset": offset})
            self.assertEqual(answer.code, SUCCESS, answer)

    def consumer(self, client_id, group, topic, version=397):
        member = self.connect()
        beat = heartbeat(client_id, group, [(topic, "*", 1)])
        self.assertEqual(member.call(HEARTBEAT, None, beat, version=version).code, SUCCESS)
        return member

    def next_of_code(self, member, code):
        """The next request of that code; others, such as changes of the group, are passed over."""
        while True:
            request = member.read_push()
            if request.code == code:
                return request


class Reset(AdminTest):
    def setUp(self):
        super().setUp()
        self.name = self.topic(2)
        for queue_id in (0, 0, 0, 1, 1):
            self.sent(self.name, queue_id=queue_id)
        self.stored(self.name, 0, 3)
        self.stored(self.name, 1, 2)
        self.group = "G-" + self.name

    def reset(self, timestamp, force="true", language="JAVA", group=None):
        header = {"topic": self.name, "group": group or self.group, "timestamp": str(timestamp),
                  "isForce": force}
        request = Command(RESET, header, language=language, opaque=777777)
        self.client.send_bytes(request.encode())
        return self.client.read_answer(777777)

    def test_every_member_is_told_and_nothing_is_stored(self):
        self.commit(self.name, self.group, [1, 2])
        members = [self.consumer(f"c{i}", self.group, self.name) for i in range(3)]
        answer = self.reset(-1)
        self.assertEqual((answer.code, answer.remark), (SUCCESS, None))
        table = {"offsetTable": {key(self.name, 0): 3, key(self.name, 1): 2}}
        self.assertEqual(answer.json(), table)
        for member in members:
            order = self.next_of_code(member, RESET_CLIENT)
            self.assertEqual(order.flag & 2, 2)
            self.assertEqual(order.ext, {"topic": self.name, "group": self.group,
                                         "timestamp": "-1", "isForce": "false"})
            self.assertEqual(order.json(), table)
        stats = self.client.call(CONSUME_STATS, {"consumerGroup": self.group, "topic": self.name})
        self.assertEqual(stats.json()["offsetTable"][key(self.name, 0)]["consumerOffset"], 1)

    def test_without_force_offsets_only_fall(self):
        self.commit(self.name, self.group, [1, 2])
        self.consumer("c", self.group, self.name)
        table = self.reset(-1, "false").json()["offsetTable"]
        self.assertEqual(table, {key(self.name, 0): 1, key(self.name, 1): 2})
        table = self.reset(0, "false").json()["offsetTable"]
        self.assertEqual(table, {key(self.name, 0): 0, key(self.name, 1): 0})

    def test_cpp_clients_get_a_list(self):
        self.commit(self.name, self.group, [1, 2])
        member = self.consumer("c", self.group, self.name)
        self.assertEqual(self.reset(0, language=CPP).json()["offsetTable"][key(self.name, 0)], 0)
        order = self.next_of_code(member, RESET_CLIENT)
        self.assertEqual(order.json(), {"offsetTable": [
            {**queue(self.name, 0), "offset": 0}, {**queue(self.name, 1), "offset": 0}]})

    def test_refusals(self):
        answer = self.reset(-1, group="G-never")
        self.assertEqual((answer.code, answer.remark),
                         (SYSTEM_ERROR, "THe consumer group <G-never> not exist"))
        self.commit(self.name, self.group, [1, 2])
        answer = self.reset(5)
        self.assertEqual(answer.code, CONSUMER_NOT_ONLINE)
        self.assertEqual(answer.remark, "Consumer not online, so can not reset offset, Group: "
                                        f"{self.group} Topic: {self.name} Timestamp: 5")
        young = self.consumer("young", self.group, self.name)
        self.consumer("old", self.group, self.name, version=10)
        answer = self.reset(-1)
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertTrue(answer.remark.startswith("the client does not support this feature."))
        self.name = "no-such-topic"
        answer = self.reset(-1)
        self.assertEqual((answer.code, answer.remark),
                         (SYSTEM_ERROR, "[reset-offset] reset offset failed, no topic in this "
                                        "broker. topic=no-such-topic"))
        while young.pushed or not young.is_silent(0.2):
            self.assertNotEqual(young.read_push().code, RESET_CLIENT)


class Status(AdminTest):
    def ask(self, group, topic="T", **more):
        return self.client.send(STATUS, {"topic": topic, "group": group, **more})

    def tell(self, member, topic, offset):
        request = self.next_of_code(member, STATUS_OF_CLIENT)
        body = '{"consumerTable":{},"messageQueueTable":{%s:%d}}' % (
            json.dumps(queue(topic, 0)), offset)
        member.answer(request, 0, None, body.encode())
        return request

    @with_times(5000, 5000, 5000)  # for which the broker waits
    def test_all_members_are_asked(self, time_ms):
        members = [self.consumer(f"c{i}", "G-all", "T") for i in range(3)]
        with within(time_ms):
            opaque = self.ask("G-all")
            for at in (2, 0, 1):
                request = self.tell(members[at], "T", 10 + at)
                self.assertEqual(request.ext, {"topic": "T", "group": "G-all"})
            answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.ext), (SUCCESS, None))
        self.assertEqual(answer.json(), {"messageQueueTable": {}, "consumerTable": {
            f"c{at}": {key("T", 0): 10 + at} for at in range(3)}})

    def test_one_member_is_asked(self):
        members = [self.consumer(f"c{i}", "G-one", "T") for i in range(2)]
        opaque = self.ask("G-one", clientAddr="c1")
        self.tell(members[1], "T", 5)
        self.assertEqual(list(self.client.read_answer(opaque).json()["consumerTable"]), ["c1"])
        answer = self.client.read_answer(self.ask("G-one", clientAddr="nobody"))
        self.assertEqual(answer.json(), {"consumerTable": {}, "messageQueueTable": {}})

    def test_members_that_fail_or_leave_are_left_out(self):
        members = [self.consumer(f"c{i}", "G-some", "T") for i in range(4)]
        opaque = self.ask("G-some")
        self.tell(members[0], "T", 7)
        members[1].answer(self.next_of_code(members[1], STATUS_OF_CLIENT), SYSTEM_ERROR)
        members[2].answer(self.next_of_code(members[2], STATUS_OF_CLIENT), 0, None, b"no json")
        self.next_of_code(members[3], STATUS_OF_CLIENT)
        members[3].close()
        answer = self.client.read_answer(opaque)
        self.assertEqual(answer.json()["consumerTable"], {"c0": {key("T", 0): 7}})

    def test_a_silent_member_costs_five_seconds(self):
        members = [self.consumer(f"c{i}", "G-silent", "T") for i in range(2)]
        started = time.monotonic()
        opaque = self.ask("G-silent")
        self.tell(members[0], "T", 7)
        answer = self.client.read_answer(opaque)
        self.assertEqual(answer.json()["consumerTable"], {"c0": {key("T", 0): 7}})
        self.assertGreater(time.monotonic() - started, 4.5)

    def test_refusals(self):
        answer = self.client.read_answer(self.ask("G-offline"))
        self.assertEqual((answer.code, answer.remark), (
            SYSTEM_ERROR, "No Any Consumer online in the consumer group: [G-offline]"))
        self.consumer("old", "G-old", "T", version=15)
        answer = self.client.read_answer(self.ask("G-old"))
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertTrue(answer.remark.startswith("the client does not support this feature."))


class Offsets(AdminTest):
    def correction(self, topic, compare, left_out=""):
        answer = self.client.call(CORRECTION, {"topic": topic, "compareGroup": compare,
                                               "filterGroups": left_out})
        self.assertEqual(answer.code, SUCCESS, answer)
        return answer.json()["correctionOffsets"]

    def test_correction(self):
        name = self.topic(3)
        self.commit(name, "A-" + name, [5, 6])
        self.commit(name, "B-" + name, [7, 2, 9])
        self.assertEqual(self.correction(name, "A-" + name), {0: 5, 1: 2, 2: 9})
        self.assertEqual(self.correction(name, "none"), {0: 5, 1: 2, 2: 9})
        # Groups that are left out do not count, and keep their offsets.
        for _ in range(2):
            self.assertEqual(self.correction(name, "x", f"x,A-{name}"), {0: 7, 1: 2, 2: 9})
        # A group that is behind all the others needs no correction.
        self.assertEqual(self.correction(name, "A-" + name, "A-" + name),
                         {0: (1 << 63) - 1, 1: 2, 2: 9})
        self.assertEqual(self.correction("no-such-topic", "G"), {})

    def test_all_groups(self):
        name = self.topic(2)
        self.sent(name)
        self.sent(name)
        self.stored(name, 0, 2)
        group = "G-" + name
        self.client.call(200, None, json.dumps({"groupName": group, "retryQueueNums": 1}).encode())
        self.commit(name, group, [1])
        answer = self.client.call(ALL_CONSUME_STATS, {"isOrder": "false"})
        self.assertEqual(answer.code, SUCCESS, answer)
        body = answer.json()
        self.assertEqual(body["brokerAddr"], self.broker.address)
        groups = {name: stats for entry in body["consumeStatsList"]
                  for name, stats in entry.items()}
        self.assertEqual(groups["TOOLS_CONSUMER"], [])
        table = groups[group][0]["offsetTable"]
        self.assertEqual({at: (entry["brokerOffset"], entry["consumerOffset"])
                          for at, entry in table.items()},
                         {key(name, 0): (2, 1), key(name, 1): (0, 0)})
        self.assertGreaterEqual(body["totalDiff"], 1)
        ordered = self.client.call(ALL_CONSUME_STATS, {"isOrder": "true"}).json()
        groups = {name: stats for entry in ordered["consumeStatsList"]
                  for name, stats in entry.items()}
        self.assertEqual(groups[group], [])

    def test_nothing_is_expired(self):
        name = self.topic()
        self.sent(name)
        self.stored(name, 0, 1)
        self.assertEqual(self.client.call(CLEAN_EXPIRED).code, SUCCESS)
        self.assertEqual(len(self.stored(name, 0, 1)), 1)


class ExpiredQueues(unittest.TestCase):
    def test_queues_whose_offsets_are_progress_stay(self):
        """All that they held has left the log; a queue of a plain topic begins anew, they do not:
        what comes after it would be taken for done."""
        revive_log = "rmq_sys_REVIVE_LOG_DefaultCluster"
        broker = Broker(mappedFileSizeCommitLog=1 << 20, maxMessageSize=65536,
                        commitLogBytesMax=4 << 20, cleanResourceInterval=200,
                        deleteCommitLogFilesInterval=1, transactionCheckInterval=500)
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            client.create_topic("T", 1)
            client.create_topic("U", 1)
            self.assertEqual(client.produce("U", b"plain").code, SUCCESS)
            half = client.produce("U", b"half", 0, {"TRAN_MSG": "true", "PGROUP": "PG"})
            self.assertEqual(client.call(END_TRANSACTION, {
                "producerGroup": "PG", "tranStateTableOffset": half.ext["queueOffset"],
                "commitLogOffset": int(half.ext["msgId"][-16:], 16),
                "commitOrRollback": 12}).code, SUCCESS)
            answer = client.call(pops.POP, pops.pop_header("U", count=1, poll_ms=600000))
            self.assertEqual(answer.code, SUCCESS, answer)
            message, = pops.read_popped(answer)

            def ends():
                places = [("RMQ_SYS_TRANS_HALF_TOPIC", 0), ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0)]
                places += [(revive_log, queue_id) for queue_id in range(8)]
                return [client.max_offset(*place) for place in places]

            wait_until(lambda: sum(ends()[2:]) >= 1, "the pop's checkpoint")
            # What is not acknowledged would stay.
            self.assertEqual(client.call(pops.ACK, {
                "consumerGroup": "G", "topic": "U", "queueId": 0, "extraInfo": message.handle,
                "offset": 0}).code, SUCCESS)
            wait_until(lambda: sum(ends()[2:]) >= 2, "the acknowledgement")
            before = ends()
            self.assertEqual(before[:2], [1, 1])
            deadline = time.monotonic() + 300
            while int(client.call(RUNTIME_INFO).json()["table"]["commitLogMinOffset"]) < 1 << 20:
                self.assertLess(time.monotonic(), deadline, "nothing is deleted")
                for _ in range(20):
                    client.produce("T", bytes(30000))
            self.assertEqual(client.call(CLEAN_EXPIRED).code, SUCCESS)
            self.assertEqual(client.max_offset("U"), 0)
            self.assertEqual(ends(), before)


class OnlineGroups(AdminTest):
    def offsets_of(self, topic, group):
        return self.client.call(ALL_OFFSETS).json()["offsetTable"].get(f"{topic}@{group}")

    def clone(self, topic, source, target, offline="false"):
        answer = self.client.call(CLONE, {"srcGroup": source, "destGroup": target, "topic": topic,
                                          "offline": offline})
        self.assertEqual(answer.code, SUCCESS, answer)
        return self.offsets_of(topic, target)

    def test_clone(self):
        """As in 4.9.2: only of topics that exist, and of a group that is online only those that it
        subscribes to, unless `offline` is set; a blank topic copies nothing."""
        name, other = self.topic(2), self.topic()
        self.commit(name, "Source-" + name, [5, 6])
        self.commit("Gone-" + name, "Source-" + name, [7])
        self.assertIsNone(self.clone("Gone-" + name, "Source-" + name, "A"))
        self.assertIsNone(self.clone("", "Source-" + name, "A"))
        self.assertIsNone(self.offsets_of(name, "A"))
        self.assertEqual(self.clone(name, "Source-" + name, "A"), {0: 5, 1: 6})
        self.consumer("c", "Source-" + name, other)
        self.assertIsNone(self.clone(name, "Source-" + name, "B"))
        self.assertEqual(self.clone(name, "Source-" + name, "B", "true"), {0: 5, 1: 6})

    def test_a_group_online_without_subscriptions_is_shown(self):
        name = self.topic()
        group = "G-" + name
        self.commit(name, group, [3])
        shown = lambda: list(self.client.call(
            CONSUME_STATS, {"consumerGroup": group}).json()["offsetTable"])
        self.assertEqual(shown(), [key(name, 0)])
        member = self.connect()
        for subscriptions, wanted in (([], [key(name, 0)]), ([("Other", "*", 1)], []),
                                      ([(name, "*", 1)], [key(name, 0)])):
            beat = heartbeat("c", group, subscriptions)
            self.assertEqual(member.call(HEARTBEAT, None, beat).code, SUCCESS)
            self.assertEqual(shown(), wanted, subscriptions)


class Statistics(AdminTest):
    def figures(self, table, name):
        answer = self.client.call(STATS, {"statsName": table, "statsKey": name})
        if answer.code != SUCCESS:
            self.assertEqual((answer.code, answer.remark),
                             (SYSTEM_ERROR, f"The stats <{table}> <{name}> not exist"))
            return None
        return answer.json()

    def minute(self, table, name):
        return self.figures(table, name)["statsMinute"]["sum"]

    def test_puts_gets_and_send_backs(self):
        name = self.topic()
        group = "G-" + name
        self.assertIsNone(self.figures("TOPIC_PUT_NUMS", name))
        last = self.sent(name)
        self.client.call(SEND_BATCH, {**self.batch_header(name)}, batch_body([b"x", b"y"]))
        records = self.stored(name, 0, 3)
        size = sum(record.size for record in records)
        answer = self.client.pull(name, group=group)
        self.assertEqual(len(decode_records(answer.body)), 3)
        held = self.client.start_pull(name, offset=3, group=group)
        self.connect().produce(name)
        self.assertEqual(len(decode_records(self.client.read_answer(held).body)), 1)
        answer = self.client.call(SEND_BACK, {
            "offset": records[0].position, "group": group, "delayLevel": 1, "originMsgId":
            last["msgId"], "originTopic": name, "unitMode": "false", "maxReconsumeTimes": 16})
        self.assertEqual(answer.code, SUCCESS, answer)
        wait_until(lambda: self.minute("SNDBCK_PUT_NUMS", f"{name}@{group}") == 1, "a sample")
        self.assertEqual(self.minute("TOPIC_PUT_NUMS", name), 4)
        self.assertGreater(self.minute("TOPIC_PUT_SIZE", name), size)
        self.assertEqual(self.minute("GROUP_GET_NUMS", f"{name}@{group}"), 4)
        self.assertGreater(self.minute("GROUP_GET_SIZE", f"{name}@{group}"), size)
        figures = self.figures("TOPIC_PUT_NUMS", name)
        self.assertEqual(figures["statsMinute"]["avgpt"], 4 / 3)
        self.assertEqual(figures["statsDay"], {"avgpt": 0.0, "sum": 0, "tps": 0.0})
        self.assertGreaterEqual(self.minute("BROKER_PUT_NUMS", "DefaultCluster"), 4)
        self.assertGreaterEqual(self.minute("BROKER_GET_NUMS", "DefaultCluster"), 4)
        self.commit(name, group, [4])
        stats = self.client.call(CONSUME_STATS, {"consumerGroup": group, "topic": name}).json()
        self.assertGreater(stats["consumeTps"], 0)
        self.client.call(DELETE_GROUP, {"groupName": group, "removeOffset": "true"})
        self.assertIsNone(self.figures("GROUP_GET_NUMS", f"{name}@{group}"))
        self.client.call(DELETE_TOPIC, {"topic": name})
        self.assertIsNone(self.figures("TOPIC_PUT_NUMS", name))

    def test_how_far_behind_a_group_is(self):
        """PL-23: what each read took, and how many bytes and milliseconds it was behind."""
        name = self.topic()
        group = "G-" + name
        for number in range(5):
            self.sent(name, b"%d" % number)
        records = self.stored(name, 0, 5)
        ends = [record.position + record.size for record in records]
        key_ = f"0@{name}@{group}"
        self.assertIsNone(self.figures("GROUP_GET_FALL_SIZE", key_))
        self.client.pull(name, group=group, count=2)
        behind = self.minute("GROUP_GET_FALL_SIZE", key_)
        self.assertGreaterEqual(behind, ends[4] - records[2].position)  # looked at, not given
        late = self.minute("GROUP_GET_FALL_TIME", key_)
        self.assertGreater(late, 0)
        self.assertLess(late, 3600000)
        self.client.pull(name, offset=2, group=group)
        self.assertEqual(behind - self.minute("GROUP_GET_FALL_SIZE", key_),
                         records[4].position - records[2].position)
        self.assertGreaterEqual(self.minute("GROUP_GET_LATENCY", key_), 0)
        # It is not recorded when nobody wants it.
        self.client.call(UPDATE_CONFIG, {}, b"diskFallRecorded=false")
        self.addCleanup(self.client.call, UPDATE_CONFIG, {}, b"diskFallRecorded=true")
        self.client.pull(name, group="other" + group)
        self.assertEqual(self.minute("GROUP_GET_FALL_SIZE", f"0@{name}@other{group}"), 0)

    @staticmethod
    def batch_header(name):
        return {"a": "PG", "b": name, "c": "TBW102", "d": 4, "e": 0, "f": 0, "g": 1, "h": 0,
                "i": "", "j": 0, "k": "false", "m": "true"}


class Refused(AdminTest):
    def test_access_control_is_off(self):
        account = {"accessKey": "someone", "secretKey": "12345678", "admin": "false"}
        for code, ext, expected in ((50, account, 209), (51, {"accessKey": "someone"}, 210),
                                    (53, {"globalWhiteAddrs": "10.0.0.1"}, 211),
                                    (52, None, SYSTEM_ERROR), (54, None, SYSTEM_ERROR)):
            answer = self.client.call(code, ext)
            self.assertEqual(answer.code, expected, answer)
            self.assertIn("access control is off", answer.remark)

    def test_what_is_not_built_is_refused(self):
        for code in (301,):
            answer = self.client.call(code, {})
            self.assertEqual((answer.code, answer.remark),
                             (NOT_SUPPORTED, f" request type {code} not supported"))
        for codec in (0, ROCKETMQ):
            self.client.oneway(37, {"producerGroup": "PG", "tranStateTableOffset": 0,
                                    "commitLogOffset": 0, "commitOrRollback": 8, "msgId": "x",
                                    "transactionId": "x", "fromTransactionCheck": "false"},
                               codec=codec)
        self.assertTrue(self.client.is_silent())
        self.assertEqual(self.client.call(28).code, SUCCESS)


if __name__ == "__main__":
    unittest.main()
