# SPDX-License-Identifier: Apache-2.0
"""The broker and its name servers: routes appear, come back and go; options and topics changed by
an administrator reach them.

Source of the rules: BrokerController, AdminBrokerProcessor and TopicConfigManager of RocketMQ
4.9.2; docs/diff.md says where we differ.
"""

import json
import os
import signal
import unittest

import rocketmq
from broker import (ALL_TOPIC_CONFIG, Broker, DELETE_TOPIC, DELETE_TOPIC_IN_NAMESRV, GET_CONFIG,
                    HEARTBEAT, ROUTE, SUCCESS, SYSTEM_ERROR, TOPIC_NOT_EXIST, UPDATE_CONFIG,
                    heartbeat)
from rocketmq import Daemon, PROTOBUF, ROCKETMQ, free_port, wait_until

CLUSTER_INFO, PUT_KV = 106, 100


class RegisterTest(unittest.TestCase):
    def name_server(self):
        server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(server.remove)
        return server.start()

    def start(self, *servers, **options):
        self.broker = Broker(namesrvAddr=";".join(
            server if isinstance(server, str) else server.address for server in servers), **options)
        self.addCleanup(self.broker.remove)
        self.broker.start()
        self.client = self.broker.client()
        self.addCleanup(self.client.close)

    def route(self, server, topic):
        with server.connect() as connection:
            answer = connection.call(ROUTE, {"topic": topic})
        return answer.json() if answer.code == SUCCESS else None

    def queues(self, server, topic):
        """The broker's queues of a topic as the name server shows them, or None."""
        route = self.route(server, topic)
        if route is None:
            return None
        queue, = route["queueDatas"]
        return queue["readQueueNums"], queue["writeQueueNums"], queue["perm"]

    def is_registered(self, server):
        return self.route(server, "TBW102") is not None


class Routes(RegisterTest):
    def test_two_name_servers(self):
        servers = [self.name_server() for _ in range(2)]
        self.start(*servers, brokerClusterName="C", brokerName="b",
                   registerBrokerTimeoutMills=60000)
        for server in servers:
            wait_until(lambda: self.is_registered(server), "the broker is registered")
            with server.connect() as connection:
                info = connection.call(CLUSTER_INFO).json()
            self.assertEqual(info["clusterAddrTable"], {"C": ["b"]})
            self.assertEqual(info["brokerAddrTable"]["b"]["brokerAddrs"], {0: self.broker.address})
            for topic in ("SELF_TEST_TOPIC", "BenchmarkTest", "C", "b", "OFFSET_MOVED_EVENT"):
                self.assertIsNotNone(self.route(server, topic))
        # A topic that an administrator makes is known everywhere when he is answered.
        for codec in (0, ROCKETMQ, PROTOBUF):
            answer = self.client.call(17, {
                "topic": f"Made{codec}", "defaultTopic": "TBW102", "readQueueNums": 3,
                "writeQueueNums": 2, "perm": 6, "topicFilterType": "SINGLE_TAG",
                "topicSysFlag": 0, "order": "false"}, codec=codec)
            self.assertEqual(answer.code, SUCCESS, answer)
            for server in servers:
                self.assertEqual(self.queues(server, f"Made{codec}"), (3, 2, 6))
        # One that a send makes, and one that a heartbeat makes, soon.
        self.assertEqual(self.client.produce("Sent", d=4).code, SUCCESS)
        self.client.call(HEARTBEAT, body=heartbeat("c", "G", [("Sent", "*", 1)]))
        for server in servers:
            wait_until(lambda: self.queues(server, "Sent") == (4, 4, 6), "the route is there")
            wait_until(lambda: self.queues(server, "%RETRY%G") == (1, 1, 6), "the route is there")
        self.assertEqual(self.broker.stop(), 0)
        for server in servers:
            wait_until(lambda: not self.is_registered(server), "the route is gone")
        self.broker.start()
        for server in servers:
            wait_until(lambda: self.queues(server, "Sent") == (4, 4, 6), "the route is back")

    def test_a_crash_is_noticed(self):
        server = self.name_server()
        self.start(server)
        wait_until(lambda: self.is_registered(server), "the broker is registered")
        self.broker.kill()
        wait_until(lambda: not self.is_registered(server), "the route is gone")

    def test_a_name_server_that_starts_later_or_anew(self):
        """Within the 10 seconds that are the shortest period."""
        server = self.name_server()
        server.stop()
        self.start(server, registerNameServerPeriod=10000)
        wait_until(lambda: "name server not reached" in self.broker.log(), "a line in the log")
        server.start()
        wait_until(lambda: self.is_registered(server), "the broker is registered")
        server.kill()
        server.start()
        wait_until(lambda: self.is_registered(server), "the broker is registered again")
        self.assertLessEqual(self.broker.log().count("name server not reached"), 2)

    def test_a_dead_one_does_not_delay_the_other(self):
        """One refuses connections, one accepts and never answers."""
        good, deaf = self.name_server(), self.name_server()
        deaf.freeze()
        self.addCleanup(deaf.kill)
        self.start(f"127.0.0.1:{free_port()}", deaf, good, registerBrokerTimeoutMills=300000)
        wait_until(lambda: self.is_registered(good), "the broker is registered")
        for i in range(3):
            self.assertEqual(self.client.produce(f"Sent{i}").code, SUCCESS)
            wait_until(lambda: self.queues(good, f"Sent{i}") is not None, "the route is there")

    def test_broker_permission(self):
        server = self.name_server()
        self.start(server)
        self.client.create_topic("T", 4)
        self.assertEqual(self.queues(server, "T"), (4, 4, 6))
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=4")
        wait_until(lambda: self.queues(server, "T") == (4, 4, 4), "it is shown as read-only")
        topics = self.client.call(ALL_TOPIC_CONFIG).json()["topicConfigTable"]
        self.assertEqual(topics["T"]["perm"], 6)
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=6")
        wait_until(lambda: self.queues(server, "T") == (4, 4, 6), "it is shown as before")

    def test_order_configuration(self):
        """Order comes from the name server: it decides whether a broker without write permission
        refuses sends."""
        server = self.name_server()
        with server.connect() as connection:
            connection.call(PUT_KV, {"namespace": "ORDER_TOPIC_CONFIG", "key": "Ordered",
                                     "value": "broker-a:1"})
        self.start(server)
        for topic in ("Ordered", "Plain"):
            self.client.create_topic(topic)
        ordered = lambda topic: self.client.call(ALL_TOPIC_CONFIG).json()["topicConfigTable"][
            topic]["order"]
        # A round of registrations after the topic exists brings its order.
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=4")
        wait_until(lambda: ordered("Ordered"), "the order is known")
        self.assertFalse(ordered("Plain"))
        answer = self.client.produce("Ordered")
        self.assertEqual((answer.code, answer.remark),
                         (16, "the broker[127.0.0.1] sending message is forbidden"))
        self.assertEqual(self.client.produce("Plain").code, SUCCESS)

    def test_the_first_answer_of_a_round_decides_on_order(self):
        """Name servers that differ must not undo one another; as in 4.9.2."""
        first, second = (self.name_server() for _ in range(2))
        with first.connect() as connection:
            connection.call(PUT_KV, {"namespace": "ORDER_TOPIC_CONFIG", "key": "Ordered",
                                     "value": "broker-a:1"})
        self.start(first, second)
        wait_until(lambda: self.is_registered(second), "both know the broker")
        self.addCleanup(second.signal, signal.SIGCONT)
        second.freeze()
        self.client.call(17, {
            "topic": "Ordered", "defaultTopic": "TBW102", "readQueueNums": 1, "writeQueueNums": 1,
            "perm": 6, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": "false"})
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=4")
        self.client.call(UPDATE_CONFIG, body=b"brokerPermission=6")
        ordered = lambda: self.client.call(ALL_TOPIC_CONFIG).json()["topicConfigTable"][
            "Ordered"]["order"]
        wait_until(ordered, "the first one's table has come")
        second.signal(signal.SIGCONT)
        wait_until(lambda: self.queues(second, "Ordered") == (1, 1, 6), "the second one knows")
        self.assertTrue(ordered())

    def test_deflated_registration(self):
        server = self.name_server()
        self.start(server, compressedRegister="true", registerBrokerTimeoutMills=60000)
        self.client.create_topic("T", 4)
        self.assertEqual(self.queues(server, "T"), (4, 4, 6))


class Topics(RegisterTest):
    def test_delete(self):
        server = self.name_server()
        self.start(server)
        for topic in ("T", "Kept"):
            self.client.create_topic(topic)
            for i in range(3):
                self.client.produce(topic, b"%d" % i)
            wait_until(lambda: self.client.max_offset(topic) == 3, "all are dispatched")
        self.assertEqual(self.client.call(DELETE_TOPIC, {"topic": "T"}).code, SUCCESS)
        with server.connect() as connection:
            self.assertEqual(connection.call(DELETE_TOPIC_IN_NAMESRV, {"topic": "T"}).code, SUCCESS)
        self.assertIsNone(self.route(server, "T"))
        self.assertEqual(self.client.pull("T").code, TOPIC_NOT_EXIST)
        self.assertEqual(self.client.max_offset("T"), 0)
        self.assertEqual(len(self.client.read_queue("Kept")), 3)
        self.assertFalse(os.path.exists(self.broker.path("store/consumequeue/T")))
        # It does not come back with a restart, but with a new message, from 0 on.
        self.client.close()
        self.broker.restart()
        self.client = self.broker.client()
        self.addCleanup(self.client.close)
        self.assertEqual(self.client.pull("T").code, TOPIC_NOT_EXIST)
        self.assertEqual(self.client.produce("T", b"new").ext["queueOffset"], "0")
        wait_until(lambda: self.client.max_offset("T") == 1, "it is dispatched")
        self.assertEqual([record.body for record in self.client.read_queue("T")], [b"new"])
        wait_until(lambda: self.route(server, "T") is not None, "the route is there")

    def test_refusals(self):
        self.start()
        for topic in ("TBW102", "SCHEDULE_TOPIC_XXXX", "DefaultCluster", "rmq_sys_x", "", "a b",
                      "x" * 128):
            self.assertEqual(self.client.create_topic(topic).code, SYSTEM_ERROR, topic)
            self.assertEqual(self.client.call(DELETE_TOPIC, {"topic": topic}).code, SYSTEM_ERROR)
        self.assertEqual(self.client.call(DELETE_TOPIC, {"topic": "unknown"}).code, SUCCESS)
        self.assertEqual(self.client.create_topic("T", filter_type="NONE").code, SYSTEM_ERROR)
        self.assertEqual(self.client.create_topic("T", -1).code, SYSTEM_ERROR)
        self.assertEqual(self.client.create_topic("T", 1, perm=8).code, SYSTEM_ERROR)
        self.assertEqual(self.client.call(17, {"topic": "T"}).code, SYSTEM_ERROR)

    def test_change(self):
        """A topic is replaced as a whole."""
        server = self.name_server()
        self.start(server)
        self.client.create_topic("T", 4)
        self.assertEqual(self.client.produce("T", queue_id=3).code, SUCCESS)
        self.client.create_topic("T", 2, perm=4)
        self.assertEqual(self.queues(server, "T"), (2, 2, 4))
        self.assertEqual(self.client.produce("T", queue_id=3).code, SYSTEM_ERROR)


class Options(RegisterTest):
    def config(self):
        answer = self.client.call(GET_CONFIG)
        self.assertEqual(answer.code, SUCCESS)
        self.assertEqual(set(json.loads(answer.ext["version"])), {"counter", "timestamp"})
        return dict(line.split("=", 1) for line in answer.body.decode().splitlines())

    def update(self, text):
        return self.client.call(UPDATE_CONFIG, body=text.encode())

    def test_list_change_and_keep(self):
        self.start()
        before = self.config()
        self.assertEqual(before["listenPort"], str(self.broker.port))
        self.assertEqual((before["brokerName"], before["defaultTopicQueueNums"]), ("broker-a", "8"))
        with open(self.broker.config_file, "a", encoding="utf-8") as file:
            file.write("# a comment of the operator\n")
        self.assertEqual(self.client.produce("T").ext["TRACE_ON"], "true")
        answer = self.update("traceOn=false\nnoSuchKey=1\n")
        self.assertEqual((answer.code, answer.ext), (SUCCESS, None))
        self.assertEqual({**before, "traceOn": "false"}, self.config())
        self.assertEqual(self.client.produce("T").ext["TRACE_ON"], "false")
        text = self.broker.read("mqbroker.conf")
        self.assertIn("# a comment of the operator", text)
        self.assertIn("traceOn", text)
        self.assertIn(f"listenPort={self.broker.port}\n", text)
        self.assertTrue(os.path.exists(self.broker.config_file + ".bak"))
        self.client.close()
        self.broker.restart()
        self.client = self.broker.client()
        self.addCleanup(self.client.close)
        self.assertEqual(self.config()["traceOn"], "false")

    def test_bad_values(self):
        self.start()
        before, text = self.config(), self.broker.read("mqbroker.conf")
        for bad in ("defaultTopicQueueNums=many", "brokerPermission=9", "traceOn=perhaps",
                    "flushDiskType=SOMETIMES", "syncFlushTimeout=0", "listenPort=-1",
                    "traceOn=false\ndefaultTopicQueueNums=0"):
            answer = self.update(bad)
            self.assertEqual(answer.code, SYSTEM_ERROR, bad)
            self.assertIn("nothing was changed", answer.remark)
            self.assertIn(bad.splitlines()[-1].split("=")[0], answer.remark)
        self.assertEqual(self.config(), before)
        self.assertEqual(self.broker.read("mqbroker.conf"), text)
        for empty in ("", "\n\n", "# nothing"):
            self.assertEqual(self.update(empty).code, SUCCESS)
        self.assertEqual(self.update("\x00\xff").code in (SUCCESS, SYSTEM_ERROR), True)
        self.assertEqual(self.config(), before)

    def test_changes_at_the_same_time(self):
        self.start()
        clients = [self.broker.client() for _ in range(8)]
        opaques = [(client, client.send(UPDATE_CONFIG, None, b"shortPollingTimeMills=%d" % (i + 1)))
                   for i, client in enumerate(clients * 5)]
        for client, opaque in opaques:
            self.assertEqual(client.read_answer(opaque).code, SUCCESS)
        value = self.config()["shortPollingTimeMills"]
        for client in clients:
            client.close()
        self.client.close()
        self.broker.restart()
        self.client = self.broker.client()
        self.addCleanup(self.client.close)
        self.assertEqual(self.config()["shortPollingTimeMills"], value)


if __name__ == "__main__":
    rocketmq.main("broker_register")
