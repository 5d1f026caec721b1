#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real mqnamesrv, driven over its port. The rules and their sources are in
test/unit/namesrv; here is what only a whole process shows: both codecs on the wire, connections
that break, files that survive, signals, and the command line."""

import json
import os
import signal
import struct
import subprocess
import time
import unittest
import zlib

import rocketmq
from rocketmq import JSON, ROCKETMQ, Daemon, free_port, wait_until

PUT_KV, GET_KV, DELETE_KV = 100, 101, 102
REGISTER, UNREGISTER, ROUTE, CLUSTER_INFO = 103, 104, 105, 106
WIPE, ALL_TOPICS, DELETE_TOPIC = 205, 206, 216
UPDATE_CONFIG, GET_CONFIG, QUERY_VERSION, ADD_WRITE = 318, 319, 322, 327
SUCCESS, SYSTEM_ERROR, SYSTEM_BUSY, NOT_SUPPORTED, TOPIC_NOT_EXIST, NOT_FOUND = 0, 1, 2, 3, 17, 22


def topic(name, queues=4, perm=6):
    return {"order": False, "perm": perm, "readQueueNums": queues, "topicFilterType": "SINGLE_TAG",
            "topicName": name, "topicSysFlag": 0, "writeQueueNums": queues}


def registration(topics, version=1):
    return json.dumps({
        "filterServerList": [],
        "topicConfigSerializeWrapper": {
            "dataVersion": {"counter": version, "timestamp": 1795380439717},
            "topicConfigTable": {name: topic(name) for name in topics}}}).encode()


def broker_header(address="10.0.0.1:10911", name="broker-a", broker_id=0):
    return {"brokerName": name, "brokerAddr": address, "clusterName": "DefaultCluster",
            "haServerAddr": "10.0.0.1:10912", "brokerId": broker_id}


class NameServerTest(unittest.TestCase):
    options = {}

    def setUp(self):
        self.server = Daemon("mqnamesrv", {"listenPort": free_port(), **self.options})
        self.addCleanup(self.server.remove)
        self.server.options["kvConfigPath"] = self.server.path("kv/kvConfig.json")
        self.server.start()

    def connect(self):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        return connection

    def call(self, *arguments, **named):
        with self.server.connect() as connection:
            return connection.call(*arguments, **named)

    def register(self, connection, topics=("PlainTopic",), version=1, codec=JSON, **header):
        body = registration(topics, version)
        ext = broker_header(**header)
        ext.update(compressed="false", bodyCrc32=zlib.crc32(body) & 0x7FFFFFFF)
        answer = connection.call(REGISTER, ext, body, codec)
        self.assertEqual(answer.code, SUCCESS, answer)
        return answer

    def route_code(self, name="PlainTopic"):
        return self.call(ROUTE, {"topic": name}).code


class Routes(NameServerTest):
    def test_register_and_look_up_in_both_codecs(self):
        for codec in (JSON, ROCKETMQ):
            connection = self.connect()
            self.register(connection, codec=codec)
            answer = connection.call(ROUTE, {"topic": "PlainTopic"}, codec=codec)
            self.assertEqual((answer.code, answer.codec, answer.version), (SUCCESS, codec, 397))
            self.assertEqual(answer.json(), {
                "brokerDatas": [{"brokerAddrs": {0: "10.0.0.1:10911"}, "brokerName": "broker-a",
                                 "cluster": "DefaultCluster"}],
                "filterServerTable": {},
                "queueDatas": [{"brokerName": "broker-a", "perm": 6, "readQueueNums": 4,
                                "topicSysFlag": 0, "writeQueueNums": 4}]})
            missing = connection.call(ROUTE, {"topic": "NoSuchTopic"}, codec=codec)
            self.assertEqual(missing.code, TOPIC_NOT_EXIST)
            self.assertEqual(missing.remark,
                             "No topic route info in name server for the topic: NoSuchTopic\n"
                             "See http://rocketmq.apache.org/docs/faq/ for further details.")
            self.assertFalse(missing.ext)

    def test_a_closed_connection_takes_its_broker_along(self):
        connection = self.server.connect()
        self.register(connection)
        self.assertEqual(self.route_code(), SUCCESS)
        connection.close()
        wait_until(lambda: self.route_code() == TOPIC_NOT_EXIST, "the route is gone")
        self.assertEqual(self.call(CLUSTER_INFO).json(),
                         {"brokerAddrTable": {}, "clusterAddrTable": {}})

    def test_a_lost_master_leaves_its_queues_to_the_slave(self):
        master, slave = self.server.connect(), self.connect()
        self.register(master)
        answer = self.register(slave, address="10.0.0.2:10911", broker_id=1)
        self.assertEqual(answer.ext, {"masterAddr": "10.0.0.1:10911",
                                      "haServerAddr": "10.0.0.1:10912"})
        master.close()
        wait_until(lambda: self.call(ROUTE, {"topic": "PlainTopic"}).json()["brokerDatas"][0]
                   ["brokerAddrs"] == {1: "10.0.0.2:10911"}, "only the slave is left")

    def test_unregister(self):
        connection = self.connect()
        self.register(connection)
        self.assertEqual(connection.call(UNREGISTER, broker_header()).code, SUCCESS)
        self.assertEqual(self.route_code(), TOPIC_NOT_EXIST)
        self.assertEqual(connection.call(UNREGISTER, broker_header()).code, SUCCESS)

    def test_one_way_requests_are_done_and_not_answered(self):
        connection = self.connect()
        connection.oneway(REGISTER, broker_header(), registration(["PlainTopic"]))
        connection.oneway(9999)
        connection.oneway(PUT_KV, {"namespace": "N", "key": "k", "value": "v"})
        self.assertEqual(connection.call(ROUTE, {"topic": "PlainTopic"}).code, SUCCESS)
        self.assertEqual(connection.answers, {})
        wait_until(lambda: self.call(GET_KV, {"namespace": "N", "key": "k"}).code == SUCCESS,
                   "the value is there")

    def test_unknown_commands_and_missing_fields(self):
        connection = self.connect()
        answer = connection.call(9999)
        self.assertEqual((answer.code, answer.remark),
                         (NOT_SUPPORTED, " request type 9999 not supported"))
        answer = connection.call(ROUTE)
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertIn("<topic>", answer.remark)
        answer = connection.call(REGISTER, {**broker_header(), "bodyCrc32": 5}, b"{}")
        self.assertEqual((answer.code, answer.remark), (SYSTEM_ERROR, "crc32 not match"))

    def test_heartbeats_of_many_topics(self):
        names = [f"topic-{i:05d}" for i in range(5000)]
        connections = [self.connect() for _ in range(4)]
        for round_number in range(3):
            for i, connection in enumerate(connections):
                self.register(connection, names, address=f"10.0.0.{i}:10911", name=f"broker-{i}")
            answer = self.call(ROUTE, {"topic": names[round_number]})
            self.assertEqual(len(answer.json()["queueDatas"]), len(connections))
        self.assertEqual(set(self.call(ALL_TOPICS).json()["topicList"]), set(names))
        answer = connections[0].call(QUERY_VERSION, broker_header("10.0.0.0:10911", "broker-0"),
                                     b'{"counter":1,"timestamp":1795380439717}')
        self.assertEqual(answer.ext, {"changed": "false"})
        self.assertEqual(self.call(WIPE, {"brokerName": "broker-1"}).ext, {"wipeTopicCount": "5000"})
        self.assertEqual(self.call(ADD_WRITE, {"brokerName": "nobody"}).ext, {"addTopicCount": "0"})

    def test_name_servers_are_independent(self):
        other = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(other.remove)
        other.start()
        self.register(self.connect())
        with other.connect() as connection:
            self.assertEqual(connection.call(ROUTE, {"topic": "PlainTopic"}).code, TOPIC_NOT_EXIST)
        self.assertEqual(other.stop(), 0)
        self.assertEqual(self.route_code(), SUCCESS)


class Values(NameServerTest):
    def put(self, value, key="k"):
        answer = self.call(PUT_KV, {"namespace": "ORDER_TOPIC_CONFIG", "key": key, "value": value})
        self.assertEqual(answer.code, SUCCESS, answer)

    def get(self, key="k"):
        answer = self.call(GET_KV, {"namespace": "ORDER_TOPIC_CONFIG", "key": key})
        return answer.ext["value"] if answer.code == SUCCESS else answer.code

    def test_values_survive_a_restart_and_a_crash(self):
        self.assertEqual(self.get(), NOT_FOUND)
        self.put("broker-a:1")
        self.server.restart()
        self.assertEqual(self.get(), "broker-a:1")
        for i in range(20):
            self.put(f"broker-a:{i}")
        self.server.kill()
        self.server.start()
        self.assertEqual(self.get(), "broker-a:19")
        self.assertEqual(self.register(self.connect()).json(), {"table": {"k": "broker-a:19"}})
        self.call(DELETE_KV, {"namespace": "ORDER_TOPIC_CONFIG", "key": "k"})
        self.server.kill()
        self.server.start()
        self.assertEqual(self.get(), NOT_FOUND)

    def test_a_damaged_file_falls_back_loudly(self):
        self.put("1")
        self.put("2")
        self.server.stop()
        path = self.server.options["kvConfigPath"]
        with open(path, "r+b") as file:
            file.truncate(20)
        self.server.start()
        self.assertEqual(self.get(), "1")
        self.assertIn("KV CONFIGURATION LOADED FROM ITS BACKUP", self.server.log())
        self.server.stop()
        for name in (path, path + ".bak"):
            with open(name, "wb") as file:
                file.write(b"not json")
        self.server.launch()
        self.assertEqual(self.server.wait(), 1)
        self.assertIn(path, self.server.output())
        self.assertIn("repair the file or move it away", self.server.output())

    def test_parallel_changes_all_arrive(self):
        connections = [self.connect() for _ in range(8)]
        opaques = []
        for i in range(200):
            connection = connections[i % 8]
            opaques.append((connection, connection.send(
                PUT_KV, {"namespace": "N", "key": f"k{i}", "value": i})))
        for connection, opaque in opaques:
            self.assertEqual(connection.read_answer(opaque).code, SUCCESS)
        self.server.kill()
        self.server.start()
        table = self.call(219, {"namespace": "N"}).json()["table"]
        self.assertEqual(table, {f"k{i}": str(i) for i in range(200)})

    def test_more_changes_than_may_wait(self):
        """Each is stored or refused; none is lost, none hangs. One connection may have 32 that wait;
        each writes all of them, so that many more take long."""
        connection = self.connect()
        opaques = {connection.send(PUT_KV, {"namespace": "N", "key": f"k{i}", "value": "v"}): i
                   for i in range(1000)}
        codes = {i: connection.read_answer(opaque).code for opaque, i in opaques.items()}
        self.assertLessEqual(set(codes.values()), {SUCCESS, SYSTEM_BUSY})
        self.server.kill()
        self.server.start()
        table = self.call(219, {"namespace": "N"}).json()["table"]
        self.assertEqual(set(table), {f"k{i}" for i, code in codes.items() if code == SUCCESS})


class Options(NameServerTest):
    def test_options_are_listed_updated_and_kept(self):
        text = self.call(GET_CONFIG).body.decode()
        self.assertIn(f"listenPort={self.server.port}\n", text)
        self.assertIn("orderMessageEnable=false\n", text)
        answer = self.call(UPDATE_CONFIG, body=b"orderMessageEnable=true\nnoSuchKey=1\n")
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertIn("orderMessageEnable=true\n", self.call(GET_CONFIG).body.decode())
        self.register(self.connect())
        self.call(PUT_KV, {"namespace": "ORDER_TOPIC_CONFIG", "key": "PlainTopic", "value": "a:1"})
        self.assertEqual(self.call(ROUTE, {"topic": "PlainTopic"}).json()["orderTopicConf"], "a:1")
        with open(self.server.config_file, encoding="utf-8") as file:
            self.assertIn("orderMessageEnable", file.read())
        self.server.restart()
        self.assertIn("orderMessageEnable=true\n", self.call(GET_CONFIG).body.decode())
        answer = self.call(UPDATE_CONFIG, body=b"listenPort=many\n")
        self.assertEqual(answer.code, SYSTEM_ERROR)
        self.assertIn("listenPort", answer.remark)

    def run_program(self, *arguments, **environment):
        base = {key: value for key, value in os.environ.items() if key != "ROCKETMQ_HOME"}
        base.update(HOME=self.server.folder, **environment)
        return subprocess.run([self.server.binary(), *arguments], env=base, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    def test_the_command_line(self):
        for flag in ("-p", "-m", "-h", "--version", "--check"):
            done = self.run_program(flag)
            self.assertEqual(done.returncode, 0, (flag, done.stdout))
        self.assertIn(b"listenPort", self.run_program("-p").stdout)
        done = self.run_program("-c", self.server.path("missing.conf"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"missing.conf", done.stdout)
        done = self.run_program("--no-such-flag")
        self.assertNotEqual(done.returncode, 0)

    def test_a_taken_port_is_explained(self):
        done = self.run_program("-c", self.server.config_file)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"port %d is taken" % self.server.port, done.stdout)
        self.assertIn(b"listenPort", done.stdout)


class Wire(NameServerTest):
    def expect_serving(self):
        self.assertEqual(self.call(9999).code, NOT_SUPPORTED)

    def test_malformed_frames_close_their_connection_only(self):
        bystander = self.connect()
        good = rocketmq.Command(9999, opaque=1).encode()
        for data in (
                struct.pack(">i", -1),
                struct.pack(">i", 0x7FFFFFFF),
                struct.pack(">iI", 16777216 + 1, 20),
                struct.pack(">iI", 8, 0x00FFFFFF) + b"{}{}",  # header longer than the frame
                struct.pack(">iI", 6, 7 << 24 | 2) + b"{}",   # no such serialize type
                struct.pack(">iI", 7, 3) + b"{]}",
                struct.pack(">iI", 4, 0),                     # no header at all
                struct.pack(">iI", 8, ROCKETMQ << 24 | 4) + b"\0\0\0\0",
                b"GET / HTTP/1.1\r\n\r\n" + b"x" * 64,
        ):
            with self.subTest(data=data[:16]):
                with self.server.connect() as connection:
                    connection.send_bytes(good)
                    self.assertEqual(connection.read_frame().code, NOT_SUPPORTED)
                    connection.send_bytes(data)
                    self.assertTrue(connection.is_closed_by_peer())
        self.assertEqual(bystander.call(9999).code, NOT_SUPPORTED)

    def test_frames_in_pieces_and_in_heaps(self):
        connection = self.connect()
        for byte in rocketmq.Command(9999, {"a": "b"}, b"body", 77).encode():
            connection.send_bytes(bytes([byte]))
        self.assertEqual(connection.read_answer(77).code, NOT_SUPPORTED)
        heap = b"".join(rocketmq.Command(9999, opaque=i, codec=i % 2).encode()
                        for i in range(1000, 3000))
        connection.send_bytes(heap)
        for i in range(1000, 3000):
            answer = connection.read_answer(i)
            self.assertEqual((answer.code, answer.codec), (NOT_SUPPORTED, i % 2))

    def test_a_thousand_half_sent_frames(self):
        limit = rocketmq.raise_file_limit()
        count = min(1000, limit - 100)
        frame = rocketmq.Command(9999, opaque=5, body=b"b" * 2000).encode()
        halves = [self.connect() for _ in range(count)]
        for connection in halves:
            connection.send_bytes(frame[:len(frame) // 2])
        self.expect_serving()
        for connection in halves[::2]:
            connection.send_bytes(frame[len(frame) // 2:])
        for connection in halves[::2]:
            self.assertEqual(connection.read_answer(5).code, NOT_SUPPORTED)
        for connection in halves:
            connection.close()
        self.expect_serving()

    def test_an_answer_that_nobody_reads(self):
        self.register(self.connect(), [f"topic-{i:05d}" for i in range(2000)])
        deaf = self.connect()
        deaf.send_bytes(rocketmq.Command(ALL_TOPICS, opaque=1).encode() * 500)
        self.expect_serving()
        deaf.close()
        self.expect_serving()


class Life(NameServerTest):
    options = {"serverSelectorThreads": 2}

    def test_the_success_line(self):
        self.assertIn("The Name Server boot success. serializeType=JSON\n", self.server.output())
        wait_until(lambda: "The Name Server boot success" in self.server.log(), "it is logged")

    def test_a_graceful_end(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            connection = self.connect()
            self.register(connection)
            self.server.signal(number)
            self.assertTrue(connection.is_closed_by_peer())
            self.assertEqual(self.server.wait(), 0)
            with self.assertRaises(OSError):
                self.server.connect()
            self.server.start()
            self.assertEqual(self.route_code(), TOPIC_NOT_EXIST)

    def test_requests_under_way_are_answered_before_the_end(self):
        connection = self.connect()
        opaques = [connection.send(PUT_KV, {"namespace": "N", "key": f"k{i}", "value": i})
                   for i in range(50)]
        self.assertEqual(connection.read_answer(opaques[0]).code, SUCCESS)
        self.server.signal(signal.SIGTERM)
        answered = 1
        try:
            for opaque in opaques[1:]:
                answered += connection.read_answer(opaque).code == SUCCESS
        except rocketmq.Closed:
            pass
        self.assertEqual(self.server.wait(), 0)
        self.server.start()
        table = self.call(219, {"namespace": "N"}).json()["table"]
        self.assertGreaterEqual(len(table), answered)

    def test_the_log_is_reopened(self):
        log = self.server.options["logFile"]
        os.rename(log, log + ".moved")
        self.server.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(log), "the log is written anew")
        self.register(self.connect())
        wait_until(lambda: "broker registered" in self.server.log(), "the log goes on")

    def test_memory(self):
        resident = self.server.memory_kb()
        if resident is not None:
            self.assertLess(resident, 8192)

    def test_it_starts_without_an_installation_folder(self):
        bare = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(bare.remove)
        home = os.environ.pop("ROCKETMQ_HOME", None)
        try:
            bare.start()
        finally:
            if home is not None:
                os.environ["ROCKETMQ_HOME"] = home
        self.assertEqual(bare.stop(), 0)

    def test_idle_connections_are_closed(self):
        quick = Daemon("mqnamesrv", {"listenPort": free_port(),
                                     "serverChannelMaxIdleTimeSeconds": 1})
        self.addCleanup(quick.remove)
        quick.start()
        started = time.monotonic()
        with quick.connect() as connection:
            self.assertTrue(connection.is_closed_by_peer())
        self.assertGreater(time.monotonic() - started, 0.5)


if __name__ == "__main__":
    rocketmq.main("namesrv")
