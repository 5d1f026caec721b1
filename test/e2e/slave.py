#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A slave apart from its log: whom it follows, the tables that it copies, what it does for clients
and what it refuses.

The master is ours, or one that speaks for itself in this test (FakeMaster), as 4.9.2's would or as
none should. Where messages are needed the slave begins with a copy of its master's store.
Source of the rules: SlaveSynchronize, BrokerController, PullMessageProcessor,
EndTransactionProcessor and DefaultMessageStore of RocketMQ 4.9.2; docs/replication.md and
docs/diff.md say what is ours.
"""

import json
import os
import shutil
import socket
import struct
import threading
import time
import unittest
import zlib

import broker_transactions as transactions
import rocketmq
from broker import (ALL_TOPIC_CONFIG, Broker, COMMIT, DELETE_TOPIC, HEARTBEAT, LOCK,
                    PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY, Record, SUBSCRIPTION, SUCCESS,
                    UPDATE_GROUP, UPDATE_OFFSET, decode_records, heartbeat)
from rocketmq import Command, Daemon, decode, free_port, parse_json, wait_until

ALL_OFFSETS, ALL_DELAYS, ALL_GROUPS, DELETE_GROUP, RUNTIME_INFO = 43, 45, 201, 207, 28
REGISTER, UNREGISTER, SET_MODE, CLUSTER_INFO = 103, 104, 401, 106
REPLICATED_TABLES = 200240
NOT_SUPPORTED, SLAVE_NOT_AVAILABLE, SERVICE_NOT_AVAILABLE = 3, 11, 14
VERSION = {"counter": 7, "timestamp": 1700000000000}


def topic_config(name, queues=4):
    return {"order": False, "perm": 6, "readQueueNums": queues, "topicFilterType": "SINGLE_TAG",
            "topicName": name, "topicSysFlag": 0, "writeQueueNums": queues}


def group_config(name, **other):
    return {"brokerId": 0, "consumeBroadcastEnable": True, "consumeEnable": True,
            "consumeFromMinEnable": True, "groupName": name, "notifyConsumerIdsChangedEnable": True,
            "retryMaxTimes": 16, "retryQueueNums": 1, "whichBrokerWhenConsumeSlowly": 1, **other}


class FakeMaster:
    """Answers requests as `answers` says: request code -> bytes, or a Command. Listens on two
    ports, as a broker does; `asked` notes (code, port's name), `headers` the fields."""

    def __init__(self, fast_port=True):
        self.port = free_port(below=2)
        self.answers = {}
        self.asked = []
        self.headers = []
        self.listeners = [self._listen(self.port, "main")]
        if fast_port:
            self.listeners.append(self._listen(self.port - 2, "fast"))

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _listen(self, port, name):
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener, name), daemon=True).start()
        return listener

    def _accept(self, listener, name):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, name), daemon=True).start()

    def _serve(self, connection, name):
        stream = connection.makefile("rb")
        with connection:
            while True:
                try:
                    size = stream.read(4)
                except OSError:
                    return
                if len(size) < 4:
                    return
                request = decode(stream.read(struct.unpack(">i", size)[0]))
                self.asked.append((request.code, name))
                self.headers.append(request.ext)
                answer = self.answers.get(request.code, Command(NOT_SUPPORTED, remark="no"))
                if isinstance(answer, bytes):
                    answer = Command(SUCCESS, body=answer)
                answer.opaque = request.opaque
                answer.flag = 1
                try:
                    connection.sendall(answer.encode())
                except OSError:
                    return

    def count(self, code):
        return sum(asked == code for asked, _ in self.asked)

    def close(self):
        for listener in self.listeners:
            listener.close()


class SlaveTest(unittest.TestCase):
    def name_server(self):
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        return server.start()

    def broker(self, *servers, **options):
        broker = Broker(namesrvAddr=";".join(server.address for server in servers), **options)
        self.addCleanup(broker.remove)
        return broker

    def slave(self, *servers, **options):
        return self.broker(*servers, brokerRole="SLAVE", **{"brokerId": 1, **options})

    def fake_master(self, **options):
        master = FakeMaster(**options)
        self.addCleanup(master.close)
        return master

    def connect(self, daemon):
        client = daemon.client() if isinstance(daemon, Broker) else daemon.connect()
        self.addCleanup(client.close)
        return client

    def register(self, server, address, broker_id=0, name="broker-a", ha="127.0.0.1:1"):
        """As a broker; the connection stays open, with it the registration."""
        client = self.connect(server)
        body = json.dumps({"filterServerList": [], "topicConfigSerializeWrapper": {
            "dataVersion": VERSION, "topicConfigTable": {}}}).encode()
        answer = client.call(REGISTER, {
            "brokerName": name, "brokerAddr": address, "clusterName": "DefaultCluster",
            "haServerAddr": ha, "brokerId": broker_id, "compressed": "false",
            "bodyCrc32": zlib.crc32(body) & 0x7FFFFFFF}, body)
        self.assertEqual(answer.code, SUCCESS, answer)
        return client

    def await_registered(self, server, broker):
        client = self.connect(server)
        wait_until(lambda: broker.address.encode() in client.call(CLUSTER_INFO).body,
                   "the broker is registered")


def commit(client, topic, group, queue_id, offset):
    return client.call(UPDATE_OFFSET, {"topic": topic, "consumerGroup": group, "queueId": queue_id,
                                       "commitOffset": offset})


def topics_of(client):
    return client.call(ALL_TOPIC_CONFIG).json()["topicConfigTable"]


def groups_of(client):
    return client.call(ALL_GROUPS).json()["subscriptionGroupTable"]


def offsets_of(client):
    return client.call(ALL_OFFSETS).json()["offsetTable"]


class OwnMaster(SlaveTest):
    def setUp(self):
        self.server = self.name_server()
        self.master = self.broker(self.server).start()
        self.await_registered(self.server, self.master)
        self.at_master = self.connect(self.master)
        self.slave_broker = self.slave(self.server)

    def start_slave(self):
        self.slave_broker.start()
        self.at_slave = self.connect(self.slave_broker)

    def make_tables(self):
        self.assertEqual(self.at_master.create_topic("T", queues=3).code, SUCCESS)
        self.at_master.call(UPDATE_GROUP, body=json.dumps(group_config("G", retryMaxTimes=3)).encode())
        self.assertEqual(commit(self.at_master, "T", "G", 0, 5).code, SUCCESS)
        self.assertEqual(commit(self.at_master, "T", "G", 2, 7).code, SUCCESS)
        mode = {"topic": "T", "consumerGroup": "G", "mode": "POP", "popShareQueueNum": 2}
        self.assertEqual(self.at_master.call(SET_MODE, body=json.dumps(mode).encode()).code, SUCCESS)

    def test_tables_are_copied_kept_and_followed(self):
        self.make_tables()
        self.start_slave()
        wait_until(lambda: offsets_of(self.at_slave).get("T@G") == {0: 5, 2: 7}, "the offsets")
        self.assertEqual(self.at_slave.call(ALL_TOPIC_CONFIG).json(),
                         self.at_master.call(ALL_TOPIC_CONFIG).json())
        self.assertEqual(self.at_slave.call(ALL_GROUPS).json(),
                         self.at_master.call(ALL_GROUPS).json())
        modes = parse_json(self.slave_broker.read("store/config/messageRequestMode.json").encode())
        self.assertEqual(modes["messageRequestModeMap"]["T"]["G"]["mode"], "POP")
        wait_until(lambda: "kind=own" in self.slave_broker.log(), "the end of the round is told")
        # What changes follows; what goes, goes.
        self.at_master.create_topic("T2")
        commit(self.at_master, "T", "G", 0, 6)
        commit(self.at_master, "T2", "G2", 0, 1)
        wait_until(lambda: "T2" in topics_of(self.at_slave), "the new topic")
        wait_until(lambda: offsets_of(self.at_slave).get("T2@G2") == {0: 1}, "the new offset")
        self.assertEqual(offsets_of(self.at_slave)["T@G"], {0: 6, 2: 7})
        self.at_master.call(DELETE_TOPIC, {"topic": "T2"})
        self.at_master.call(DELETE_GROUP, {"groupName": "G", "removeOffset": "true"})
        wait_until(lambda: "T2" not in topics_of(self.at_slave), "the topic goes")
        wait_until(lambda: "G" not in groups_of(self.at_slave), "the group goes")
        wait_until(lambda: "T@G" not in offsets_of(self.at_slave), "its offsets go")
        self.assertEqual(offsets_of(self.at_slave)["T2@G2"], {0: 1})

    def test_a_slave_that_comes_first_finds_its_master(self):
        """Also when its next registration would be due long after this test."""
        self.make_tables()
        self.master.stop()
        self.slave_broker.options["registerNameServerPeriod"] = 60000
        self.slave_broker.start()
        self.await_registered(self.server, self.slave_broker)
        self.master.start()
        at_slave = self.connect(self.slave_broker)
        wait_until(lambda: "T" in topics_of(at_slave), "the tables", 45)

    def test_a_slave_alone_has_its_tables(self):
        self.make_tables()
        self.start_slave()
        wait_until(lambda: offsets_of(self.at_slave).get("T@G") == {0: 5, 2: 7}, "the offsets")
        topics, groups = topics_of(self.at_slave), groups_of(self.at_slave)
        self.master.stop()
        # kill -9 and a start without a master: all of it is in the files.
        wait_until(lambda: "T@G" in self.slave_broker.read("store/config/consumerOffset.json") or
                   os.path.exists(self.slave_broker.path("store/config/consumerOffset.journal.0")),
                   "the offsets are written")
        time.sleep(1)  # a journal's period; 50 ms
        self.slave_broker.kill()
        self.start_slave()
        self.assertEqual(topics_of(self.at_slave), topics)
        self.assertEqual(groups_of(self.at_slave), groups)
        self.assertEqual(offsets_of(self.at_slave)["T@G"], {0: 5, 2: 7})
        # Consumers commit here as long as it is alone; when the master is back its offsets count.
        commit(self.at_slave, "T", "G", 0, 9)
        commit(self.at_slave, "T", "Only", 0, 1)
        self.master.start()
        wait_until(lambda: offsets_of(self.at_slave) == {"T@G": {0: 5, 2: 7}}, "the master's offsets")

    def test_a_stranger_gets_no_tables(self):
        def ask(**other):
            return self.at_master.call(REPLICATED_TABLES, {
                "brokerId": 1, "brokerName": "broker-a", "clusterName": "DefaultCluster",
                "groupsCounter": -1, "groupsTimestamp": -1, "modesVersion": -1,
                "offsetsVersion": -1, "topicsCounter": -1, "topicsTimestamp": -1, **other})
        self.assertEqual(ask().code, SUCCESS)
        for other in ({"brokerName": "broker-b"}, {"clusterName": "C"}, {"brokerId": 0}):
            answer = ask(**other)
            self.assertEqual(answer.code, 16, answer)
            self.assertIn("set brokerClusterName and brokerName", answer.remark)
        self.start_slave()
        answer = self.at_slave.call(REPLICATED_TABLES, {
            "brokerId": 2, "brokerName": "broker-a", "clusterName": "DefaultCluster",
            "groupsCounter": -1, "groupsTimestamp": -1, "modesVersion": -1, "offsetsVersion": -1,
            "topicsCounter": -1, "topicsTimestamp": -1})
        self.assertEqual(answer.code, 1, answer)
        self.assertIn("is a slave itself", answer.remark)


class PairTest(SlaveTest):
    """With the log: the slave learns from the name server where to get it."""

    options = {}

    def setUp(self):
        self.server = self.name_server()
        self.master = self.broker(self.server, **self.options).start()
        self.at_master = self.connect(self.master)
        self.assertEqual(self.at_master.create_topic("T").code, SUCCESS)
        self.slave_broker = self.slave(self.server, **self.options).start()
        self.at_slave = self.connect(self.slave_broker)

    def same_log(self):
        def end(client):
            return client.call(RUNTIME_INFO).json()["table"]["commitLogMaxOffset"]
        return end(self.at_slave) == end(self.at_master)

    def become_master(self):
        """By hand, as 4.9.2's operators do; the old master is gone for good."""
        self.at_slave.close()
        self.slave_broker.stop()
        os.unlink(self.slave_broker.config_file)
        self.slave_broker.options.update(brokerRole="ASYNC_MASTER", brokerId=0)
        self.slave_broker.start()
        self.at_slave = self.connect(self.slave_broker)


class Pair(PairTest):
    def test_changes_are_told(self):
        """One after the other, each made when the one before has arrived: by a look every ten
        seconds alone each would take about as long as that. A busy machine may be slow with some."""
        wait_until(lambda: "T" in topics_of(self.at_slave), "the topic")
        seconds = []
        while sum(one < 5 for one in seconds) < 8:
            self.assertLess(len(seconds), 24, seconds)
            i = len(seconds)
            begin = time.monotonic()
            if i % 2 == 0:
                self.at_master.create_topic(f"N{i}")
                wait_until(lambda n=f"N{i}": n in topics_of(self.at_slave), "the topic")
            else:
                commit(self.at_master, "T", "G", 0, i)
                wait_until(lambda n=i: offsets_of(self.at_slave).get("T@G") == {0: n}, "the offset")
            seconds.append(time.monotonic() - begin)

    def test_what_was_committed_here_does_not_stay(self):
        """The master's offsets count, also of a group that nobody commits there, while others do."""
        commit(self.at_master, "T", "Still", 0, 1)
        wait_until(lambda: offsets_of(self.at_slave).get("T@Still") == {0: 1}, "the offset")
        commit(self.at_slave, "T", "Still", 0, 7)
        for i in range(1, 4):
            commit(self.at_master, "T", "G", 0, i)
            wait_until(lambda n=i: offsets_of(self.at_slave).get("T@G") == {0: n}, "the offset")
        wait_until(lambda: offsets_of(self.at_slave).get("T@Still") == {0: 1}, "the master's")

    def test_a_held_pull_is_woken(self):
        self.at_master.produce("T", b"first")
        wait_until(lambda: self.at_slave.max_offset("T") == 1, "the first message")
        wait_until(lambda: "T" in topics_of(self.at_slave), "the topic")
        opaque = self.at_slave.start_pull("T", offset=1, suspend_ms=30000)
        self.assertTrue(self.at_slave.is_silent(0.3))
        self.at_master.produce("T", b"second")
        answer = self.at_slave.read_answer(opaque)
        self.assertEqual([r.body for r in decode_records(answer.body)], [b"second"])

    def test_delays_and_timers_go_on_where_they_were(self):
        """What was delivered is not delivered again, and what was not is, by the new master."""
        for i in range(3):
            self.at_master.produce("T", b"early %d" % i, properties={"DELAY": "1"})
            self.at_master.produce("T", b"soon %d" % i, properties={"TIMER_DELAY_MS": "1000"})
        wait_until(lambda: self.at_master.max_offset("T") == 6, "they are delivered")
        for i in range(3):
            self.at_master.produce("T", b"late %d" % i, properties={"DELAY": "3"})  # 10 s
            self.at_master.produce("T", b"later %d" % i, properties={"TIMER_DELAY_MS": "12000"})
        wait_until(self.same_log, "the slave has the log")
        wait_until(lambda: self.at_slave.call(ALL_DELAYS).json()["offsetTable"].get(1) == 3,
                   "the slave knows how far delayed messages are")
        wait_until(lambda: parse_json(self.slave_broker.read("store/config/timerProgress.json")
                                      .encode() or b"{}").get("coveredOffset", 0) >= 6,
                   "and timers")
        self.master.kill()
        self.become_master()
        expected = sorted([b"early %d" % i for i in range(3)] + [b"soon %d" % i for i in range(3)] +
                          [b"late %d" % i for i in range(3)] + [b"later %d" % i for i in range(3)])
        wait_until(lambda: self.at_slave.max_offset("T") >= 12, "all are delivered")
        time.sleep(2)
        self.assertEqual(sorted(r.body for r in self.at_slave.read_queue("T")), expected)


class OpenTransactions(PairTest):
    options = {"transactionCheckInterval": 300, "transactionTimeOut": 300,
               "transactionCheckMax": 1000000}

    def half(self, body):
        answer = self.at_master.produce("T", body, 0, {
            "TRAN_MSG": "true", "PGROUP": "PG", "UNIQ_KEY": body.decode()})
        self.assertEqual(answer.code, SUCCESS, answer)
        return transactions.Half(answer.ext, "PG", body.decode())

    def test_they_end_once(self):
        """What has ended on the master, through a copy or not, does not end again on the new one; what
        is open is asked about there, whatever the master knew last."""
        transactions.beat(self.at_master, "PG")
        ended = [self.half(b"%d" % i) for i in range(4)]
        self.half(b"open")
        for half, outcome in zip(ended[:2], (transactions.COMMIT, transactions.ROLLBACK)):
            self.at_master.oneway(transactions.END, half.end(outcome))
        outcomes = {b"2": transactions.COMMIT, b"3": transactions.ROLLBACK}
        while outcomes:
            check = self.at_master.read_push()
            body = decode_record(check)
            if body in outcomes:
                self.at_master.oneway(transactions.END, transactions.end_of_check(
                    check, outcomes.pop(body), "PG"))
        wait_until(lambda: self.at_master.max_offset("T") == 2, "what is committed is there")
        wait_until(lambda: self.at_slave.max_offset("T") == 2, "on the slave, too")
        wait_until(lambda: "T" in topics_of(self.at_slave), "the topic")
        self.master.kill()
        self.become_master()
        transactions.beat(self.at_slave, "PG")
        for half, outcome in zip(ended[:2], (transactions.COMMIT, transactions.ROLLBACK)):
            answer = self.at_slave.call(transactions.END, half.end(outcome))
            self.assertEqual(answer.code, SUCCESS, answer)
        self.at_slave.pushed.clear()
        check = self.at_slave.read_push()
        self.assertEqual(decode_record(check), b"open")
        self.at_slave.oneway(transactions.END,
                             transactions.end_of_check(check, transactions.COMMIT, "PG"))

        def is_at_rest():
            silent = transactions.is_left_alone(self.at_slave, 2)
            while self.at_slave.pushed:
                check = self.at_slave.read_push()
                self.assertEqual(decode_record(check), b"open")
                self.at_slave.oneway(transactions.END, transactions.end_of_check(
                    check, transactions.COMMIT, "PG"))
            return silent

        wait_until(is_at_rest, "nobody is asked any more")
        self.assertEqual(sorted(record.body for record in self.at_slave.read_queue("T")),
                         [b"0", b"2", b"open"])


def decode_record(check):
    """The body of the message that a question is about."""
    return decode_records(check.body)[0].body


class OtherMaster(SlaveTest):
    def setUp(self):
        self.server = self.name_server()
        self.master = self.fake_master()
        self.master.answers = self.answers()

    def answers(self, topic="T"):
        def encode(value):
            return json.dumps(value).encode()
        return {
            ALL_TOPIC_CONFIG: encode({"dataVersion": VERSION,
                                      "topicConfigTable": {topic: topic_config(topic)}}),
            ALL_OFFSETS: b'{"offsetTable":{"T@G":{0:5,3:7}}}',
            ALL_DELAYS: b'{"offsetTable":{1:4,3:2}}',
            RUNTIME_INFO: encode({"table": {"commitLogMaxOffset": "0"}}),
            ALL_GROUPS: encode({"dataVersion": VERSION,
                                "subscriptionGroupTable": {"G": group_config("G")}}),
        }

    def start(self, **options):
        self.registration = self.register(self.server, self.master.address)
        self.broker_s = self.slave(self.server, **options).start()
        self.at_slave = self.connect(self.broker_s)

    def delays(self):
        return parse_json(self.broker_s.read("store/config/delayOffset.json").encode() or b"{}")

    def test_a_master_of_4_9_2(self):
        self.start()
        wait_until(lambda: "G" in groups_of(self.at_slave), "the groups")
        self.assertEqual(list(topics_of(self.at_slave)), ["T"])
        self.assertEqual(self.at_slave.call(ALL_TOPIC_CONFIG).json()["dataVersion"], VERSION)
        self.assertEqual(offsets_of(self.at_slave), {"T@G": {0: 5, 3: 7}})
        self.assertIn((ALL_TOPIC_CONFIG, "fast"), self.master.asked)
        self.assertEqual({port for code, port in self.master.asked if code != ALL_TOPIC_CONFIG},
                         {"main"})
        wait_until(lambda: self.at_slave.call(ALL_DELAYS).json() ==
                   {"offsetTable": {1: 4, 3: 2}}, "the progress, at the end of the round")
        wait_until(lambda: self.delays().get("offsetTable") == {1: 4, 3: 2}, "the file")
        # Ten seconds later again, now without asking for what only ours know. A whole queue map
        # takes the place of the one before; keys that are not named stay.
        self.assertEqual(self.master.count(REPLICATED_TABLES), 1)
        self.master.answers[ALL_OFFSETS] = b'{"offsetTable":{"T@G":{1:1},"T@H":{0:2}}}'
        wait_until(lambda: offsets_of(self.at_slave).get("T@H") == {0: 2}, "the second round")
        self.assertEqual(offsets_of(self.at_slave)["T@G"], {1: 1})
        self.assertEqual(self.master.count(REPLICATED_TABLES), 1)
        wait_until(lambda: "kind=4.9.2" in self.broker_s.log(), "the end of the round")

    def test_without_a_fast_port(self):
        self.master.close()
        self.master = self.fake_master(fast_port=False)
        self.master.answers = self.answers()
        self.start()
        wait_until(lambda: "G" in groups_of(self.at_slave), "the groups")
        self.assertIn((ALL_TOPIC_CONFIG, "main"), self.master.asked)

    def test_progress_waits_for_the_log(self):
        """The master has delivered what has not come here yet: that would be lost if this broker
        took over."""
        self.master.answers[RUNTIME_INFO] = json.dumps(
            {"table": {"commitLogMaxOffset": "1000000"}}).encode()
        self.start()
        wait_until(lambda: self.master.count(ALL_GROUPS) >= 2, "two rounds")
        self.assertEqual(self.at_slave.call(ALL_DELAYS).json(), {"offsetTable": {}})

    def test_a_master_that_lost_the_end_of_its_log(self):
        """What waited for the log to come so far would wait for ever."""
        self.master.answers[RUNTIME_INFO] = b'{"table":{"commitLogMaxOffset":"1000000"}}'
        self.master.answers[ALL_DELAYS] = b'{"offsetTable":{1:100}}'
        self.start()
        wait_until(lambda: self.master.count(ALL_GROUPS) >= 2, "two rounds")
        self.master.answers.update(self.answers())
        wait_until(lambda: self.at_slave.call(ALL_DELAYS).json() == {"offsetTable": {1: 4, 3: 2}},
                   "the progress of what it has now")

    def test_modes_that_can_not_be_saved_at_once(self):
        self.master.answers[REPLICATED_TABLES] = json.dumps({
            "bootId": "b", "delayProof": 0, "modesVersion": 1, "offsetsVersion": 0,
            "offsetsWhole": True, "timerProof": 0, "modes": {"messageRequestModeMap": {"T": {"G": {
                "topic": "T", "consumerGroup": "G", "mode": "POP", "popShareQueueNum": 2}}}},
        }).encode()
        self.registration = self.register(self.server, self.master.address)
        broker = self.slave(self.server)
        path = broker.path("store/config/messageRequestMode.json")
        os.makedirs(path + ".tmp")
        broker.start()
        wait_until(lambda: 'table="request modes"' in broker.log(), "it complains")
        wait_until(lambda: self.master.count(REPLICATED_TABLES) >= 2, "the next round")
        self.assertEqual(self.master.headers[1]["modesVersion"], "-1")  # they are asked for again
        os.rmdir(path + ".tmp")
        wait_until(lambda: self.master.headers[-1]["modesVersion"] == "1", "they are known")
        self.assertIn("POP", broker.read("store/config/messageRequestMode.json"))

    def test_garbage_changes_nothing(self):
        self.start()
        wait_until(lambda: "G" in groups_of(self.at_slave), "the groups")
        wait_until(lambda: self.at_slave.call(ALL_DELAYS).json()["offsetTable"], "the delays")
        before = [self.at_slave.call(code).body for code in
                  (ALL_TOPIC_CONFIG, ALL_OFFSETS, ALL_DELAYS, ALL_GROUPS)]
        for bad in (b'[[[[[[' * 2000, b'{"dataVersion":{"counter":8,"timestamp":1}}',
                    b'{"offsetTable":{"-1":-5,"x":"y"}}'):
            self.master.answers = {code: bad for code in self.master.answers}
            asked = self.master.count(ALL_GROUPS)
            wait_until(lambda: self.master.count(ALL_GROUPS) > asked, "it was asked")
            time.sleep(0.5)
            self.assertEqual([self.at_slave.call(code).body for code in
                              (ALL_TOPIC_CONFIG, ALL_OFFSETS, ALL_DELAYS, ALL_GROUPS)], before, bad)
        self.assertIn("until then the tables stay as they are", self.broker_s.log())
        # It recovers by itself.
        self.master.answers = self.answers("T3")
        self.master.answers[ALL_TOPIC_CONFIG] = json.dumps({
            "dataVersion": {"counter": 9, "timestamp": 1},
            "topicConfigTable": {"T3": topic_config("T3")}}).encode()
        wait_until(lambda: list(topics_of(self.at_slave)) == ["T3"], "the new table")

    def test_a_master_that_moves(self):
        self.start()
        wait_until(lambda: "G" in groups_of(self.at_slave), "the groups")
        other = self.fake_master()
        other.answers = self.answers("Moved")
        other.answers[ALL_TOPIC_CONFIG] = json.dumps({
            "dataVersion": {"counter": 9, "timestamp": 1},
            "topicConfigTable": {"Moved": topic_config("Moved")}}).encode()
        self.registration.close()
        self.register(self.server, other.address)
        wait_until(lambda: "Moved" in topics_of(self.at_slave), "the other master's table")
        self.assertIn(f"master={other.address} before={self.master.address}", self.broker_s.log())


class Alone(SlaveTest):
    """A slave with messages: it begins with a copy of its master's store, whose master has gone."""

    def setUp(self):
        self.server = self.name_server()
        for level, self.delay_s in ((1, 1), (2, 5), (3, 10), (4, 30)):
            master = self.stopped_master(level)
            # The delayed message must still be pending: in the log once, not as a message of T, too.
            with open(master.path("store/commitlog/" + "0" * 20), "rb") as log:
                if log.read().count(b"not yet due") == 1:
                    break
        self.slave_broker = self.slave(self.server, slaveReadEnable="true")
        shutil.copytree(master.path("store"), self.slave_broker.path("store"))
        self.slave_broker.start()
        self.client = self.connect(self.slave_broker)
        wait_until(lambda: self.client.max_offset("T") == 20, "the queue is read in")

    def stopped_master(self, level):
        master = self.broker(self.server, slaveReadEnable="true").start()
        client = master.client()
        self.assertEqual(client.create_topic("T").code, SUCCESS)
        self.positions = []
        for i in range(20):
            answer = client.produce("T", b"m%d" % i, properties={"TAGS": "A", "KEYS": f"k{i}"})
            self.assertEqual(answer.code, SUCCESS)
            self.positions.append(int(answer.ext["msgId"][16:], 16))
        half = client.produce("T", b"half", properties={"TRAN_MSG": "true", "PGROUP": "PG"}, f=4)
        self.assertEqual(half.code, SUCCESS)
        self.half = half.ext
        client.produce("T", b"not yet due", properties={"DELAY": level})
        commit(client, "T", "G", 0, 4)
        client.call(UPDATE_GROUP, body=json.dumps(group_config("G")).encode())
        client.close()
        master.stop()
        return master

    def test_it_refuses_what_would_append(self):
        before = self.log_end()
        for topic in ("T", "New"):
            for code in (310, 10):
                answer = self.client.produce(topic, code=code)
                self.assertEqual(answer.code, SERVICE_NOT_AVAILABLE, answer)
                self.assertIn("service not available now", answer.remark)
                self.assertIn("this broker is a slave; send to the master", answer.remark)
        answer = self.client.produce("T", b"late", properties={"DELAY": "3"})
        self.assertEqual(answer.code, SERVICE_NOT_AVAILABLE)
        answer = self.client.produce("T", properties={
            "TIMER_DELAY_MS": "5000"})
        self.assertEqual(answer.code, SERVICE_NOT_AVAILABLE)
        answer = self.client.call(36, {"offset": self.positions[0], "group": "G", "delayLevel": 0,
                                       "originMsgId": "x", "originTopic": "T"})
        self.assertEqual((answer.code, answer.remark), (1, "SERVICE_NOT_AVAILABLE"))
        for outcome in (8, 12, 0, 5):
            answer = self.client.call(37, {
                "producerGroup": "PG", "tranStateTableOffset": self.half["queueOffset"],
                "commitLogOffset": int(self.half["msgId"][16:], 16), "commitOrRollback": outcome,
                "fromTransactionCheck": "false", "msgId": "x"})
            self.assertEqual(answer.code, SLAVE_NOT_AVAILABLE, answer)
        answer = self.client.call(323, {"msgId": self.slave_broker.message_id(self.positions[0])})
        self.assertEqual(answer.code, 1)
        answer = self.client.call(370, {"topic": "T", "recallHandle": "x", "producerGroup": "PG"})
        self.assertEqual(answer.code, SLAVE_NOT_AVAILABLE)
        self.assertNotIn("New", topics_of(self.client))
        self.assertEqual(self.log_end(), before)

    def test_it_pops_nothing(self):
        pop = {"consumerGroup": "G", "topic": "T", "queueId": 0, "maxMsgNums": 1,
               "invisibleTime": 60000, "pollTime": 0, "bornTime": int(time.time() * 1000),
               "initMode": 0, "exp": "*", "expType": "TAG"}
        for code, header in ((200050, pop), (200052, pop), (200054, pop), (200055, pop),
                             (200051, {**pop, "extraInfo": "0 0 0 0 0 broker-a 0 0", "offset": 0}),
                             (200053, {**pop, "extraInfo": "0 0 0 0 0 broker-a 0 0", "offset": 0})):
            answer = self.client.call(code, header)
            self.assertNotEqual(answer.code, SUCCESS, (code, answer))
            self.assertIn("slave", answer.remark, code)

    def log_end(self):
        return self.client.call(RUNTIME_INFO).json()["table"]["commitLogMaxOffset"]

    def test_it_serves_reads(self):
        self.assertEqual([r.body for r in self.client.read_queue("T")],
                         [b"m%d" % i for i in range(20)])
        answer = self.client.call(33, {"offset": self.positions[7]})
        self.assertEqual(Record(answer.body).body, b"m7")
        answer = self.client.call(12, {"topic": "T", "key": "k9", "maxNum": 32, "beginTimestamp": 0,
                                       "endTimestamp": 1 << 42})
        self.assertEqual([r.body for r in decode_records(answer.body)], [b"m9"])
        answer = self.client.call(14, {"topic": "T", "consumerGroup": "G", "queueId": 0})
        self.assertEqual(answer.ext["offset"], "4")
        for code, header in ((31, {"topic": "T", "queueId": 0}), (32, {"topic": "T", "queueId": 0}),
                             (29, {"topic": "T", "queueId": 0, "timestamp": 0}),
                             (202, {"topic": "T"}), (208, {"consumerGroup": "G"}), (28, {}),
                             (26, {}), (300, {"topic": "T"}), (305, {}), (45, {}), (43, {}),
                             (317, {"isOrder": "false"})):
            self.assertEqual(self.client.call(code, header).code, SUCCESS, code)
        # What a master does with the log, nobody does here: the delayed message stays where it is,
        # the half message's producer is not asked.
        time.sleep(self.delay_s + 2)
        self.assertEqual(self.client.max_offset("T"), 20)
        self.assertEqual(self.client.max_offset("RMQ_SYS_TRANS_HALF_TOPIC"), 1)

    def test_pulls(self):
        # PL-14: a wrong offset is not corrected, and no event is written.
        for offset in (1000, 21):
            answer = self.client.pull("T", offset=offset)
            self.assertEqual(answer.code, PULL_RETRY, answer)
            self.assertEqual(answer.ext["nextBeginOffset"], str(offset))
            self.assertEqual(answer.ext["suggestWhichBrokerId"], "0")
        self.assertEqual(self.client.max_offset("OFFSET_MOVED_EVENT"), 0)
        # PL-22: a slave takes no offset along with a pull.
        self.client.pull("T", offset=2, group="G", sys_flag=COMMIT | SUBSCRIPTION, commit=9)
        self.assertEqual(offsets_of(self.client)["T@G"], {0: 4})
        # PL-17: the switch only changes the advice.
        self.assertEqual(self.set("slaveReadEnable=false").code, SUCCESS)
        answer = self.client.pull("T")
        self.assertEqual((answer.code, answer.ext["suggestWhichBrokerId"]), (SUCCESS, "0"))
        # offsetCheckInSlave: as a master, but without the event.
        self.assertEqual(self.set("offsetCheckInSlave=true").code, SUCCESS)
        answer = self.client.pull("T", offset=1000)
        self.assertEqual((answer.code, answer.ext["nextBeginOffset"]), (PULL_OFFSET_MOVED, "0"))
        self.assertEqual(self.client.max_offset("OFFSET_MOVED_EVENT"), 0)

    def set(self, line):
        return self.client.call(25, body=line.encode())

    def test_a_pull_at_the_end_is_held(self):
        opaque = self.client.start_pull("T", offset=20, suspend_ms=1500)
        self.assertTrue(self.client.is_silent(0.3))
        self.assertEqual(self.client.read_answer(opaque).code, PULL_NOT_FOUND)

    def test_consumers_live_on(self):
        """What a consumer does after the death of the master: heartbeat, locks, offsets (QY-06)."""
        self.assertEqual(self.client.call(HEARTBEAT, body=heartbeat("c", "G", [("T", "*", 1)])).code,
                         SUCCESS)
        answer = self.client.call(38, {"consumerGroup": "G"})
        self.assertEqual(answer.json()["consumerIdList"], ["c"])
        queue = {"brokerName": "broker-a", "topic": "T", "queueId": 0}
        answer = self.client.call(LOCK, body=json.dumps(
            {"consumerGroup": "G", "clientId": "c", "mqSet": [queue]}).encode())
        self.assertEqual(len(answer.json()["lockOKMQSet"]), 1)
        self.assertEqual(commit(self.client, "T", "G", 0, 11).code, SUCCESS)
        self.slave_broker.restart()
        self.client = self.connect(self.slave_broker)
        self.assertEqual(offsets_of(self.client)["T@G"], {0: 11})

    def test_advice_of_the_slave(self):
        """PL-16: the group's broker while it keeps up, once its messages are in memory."""
        wait_until(lambda: self.client.pull("T", group="G").ext["suggestWhichBrokerId"] == "0",
                   "the master is advised")
        self.client.call(UPDATE_GROUP, body=json.dumps(group_config("G", brokerId=1)).encode())
        answer = self.client.pull("T", group="G")
        self.assertEqual(answer.ext["suggestWhichBrokerId"], "1")

    def test_it_registers_as_a_slave(self):
        self.await_registered(self.server, self.slave_broker)
        with self.server.connect() as client:
            info = client.call(CLUSTER_INFO).json()
        self.assertEqual(info["brokerAddrTable"]["broker-a"]["brokerAddrs"],
                         {1: self.slave_broker.address})


class TwoOfThem(SlaveTest):
    def test_two_brokers_with_one_id(self):
        server = self.name_server()
        for broker_id, mend in ((0, "another brokerName"), (1, "another brokerId")):
            one, other = f"127.0.0.1:{10 + broker_id}", f"127.0.0.1:{20 + broker_id}"
            self.register(server, one, broker_id)
            second = self.register(server, other, broker_id)
            self.assertNotIn(f"address={other} other=", server.log())  # it may have taken over
            self.register(server, one, broker_id)
            self.assertIn(f"address={one} other={other}", server.log())
            self.assertIn(mend, server.log())
            for _ in range(3):  # they register by turns: nothing new
                self.register(server, one, broker_id)
                second = self.register(server, other, broker_id)
            self.assertEqual(server.log().count(f"id={broker_id} address="), 1 + 2)
            second.close()

    def test_the_broker_says_so_too(self):
        server = self.name_server()
        broker = self.broker(server).start()
        self.await_registered(server, broker)
        self.register(server, "127.0.0.1:10")
        self.connect(broker).create_topic("T")  # registers at once
        wait_until(lambda: "another broker registers under this one's name and id" in broker.log(),
                   "the broker has heard of it")
        self.assertIn("other=127.0.0.1:10", broker.log())

    def test_name_servers_that_disagree(self):
        servers = [self.name_server() for _ in range(2)]
        masters = [self.fake_master() for _ in range(2)]
        for server, master in zip(servers, masters):
            self.register(server, master.address)
        slave = self.slave(*servers).start()
        wait_until(lambda: "the name servers name different masters" in slave.log(), "it is told")
        wait_until(lambda: any(master.asked for master in masters), "one of them is asked")
        time.sleep(11)
        self.assertEqual(sum(bool(master.asked) for master in masters), 1)


if __name__ == "__main__":
    rocketmq.main("slave")
