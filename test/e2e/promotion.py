# SPDX-License-Identifier: Apache-2.0
"""A slave that is made master by hand, after its master was lost with messages that the slave never
had: nothing that is sent from then on may be passed over by a consumer whose offset the slave has.
The same for a master that has lost the end of its log. broker/proc/store_owner.h tells the rules.
"""

import glob
import json
import os
import socket
import subprocess
import threading
import unittest

import rocketmq
from broker import DELETE_TOPIC, SUCCESS, UPDATE_OFFSET, Broker
from rocketmq import Daemon, build_folder, free_port, parse_json, wait_until

ALL_OFFSETS, ALL_DELAYS, ALL_TOPICS = 43, 45, 21
SET_BACK = "consumer offsets set back to the end of their queues"


class SlowRelay:
    """A port in front of the master's. What the master sends can be held up; the other way is open,
    and so is the connection."""

    def __init__(self, test, target_port):
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.flowing = threading.Event()
        self.flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()
        test.addCleanup(self.close)

    def close(self):
        self.flowing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            near = None
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                if near is None:
                    return
                near.close()
                continue
            threading.Thread(target=self._copy, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, True), daemon=True).start()

    def _copy(self, source, target, holds):
        try:
            while data := source.recv(1 << 16):
                if holds:
                    self.flowing.wait()
                target.sendall(data)
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        source.close()


def commit(client, topic, group, queue_id, offset):
    return client.call(UPDATE_OFFSET, {"topic": topic, "consumerGroup": group, "queueId": queue_id,
                                       "commitOffset": offset})


def offsets_of(client):
    return client.call(ALL_OFFSETS).json()["offsetTable"]


class PromotionTest(unittest.TestCase):
    def broker(self, **options):
        broker = Broker(**options)
        self.addCleanup(broker.remove)
        return broker

    def connect(self, broker):
        client = broker.client()
        self.addCleanup(client.close)
        return client

    def send(self, client, count, topic="T"):
        for i in range(count):
            answer = client.produce(topic, b"%d" % i)
            self.assertEqual(answer.code, SUCCESS, answer)

    def promote(self, broker):
        """As an operator does: another role and id in the configuration, and a start."""
        if broker.is_alive():
            broker.stop()
        os.unlink(broker.config_file)
        broker.options.update(brokerRole="ASYNC_MASTER", brokerId=0)
        broker.options.pop("haMasterAddress", None)
        broker.start()
        return self.connect(broker)

    def identity(self, broker):
        return json.loads(broker.read("store/storeIdentity.json"))

    def read_on(self, client, topic="T", group="G"):
        """What a consumer gets that begins where its group is."""
        offset = offsets_of(client)[f"{topic}@{group}"][0]
        return [record.body for record in client.read_queue(topic, 0, offset)]


class WithSlave(PromotionTest):
    def setUp(self):
        self.server = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.addCleanup(self.server.remove)
        self.server.start()
        self.master = self.broker(namesrvAddr=self.server.address).start()
        self.at_master = self.connect(self.master)
        self.at_master.create_topic("T")
        self.send(self.at_master, 5)
        self.assertEqual(commit(self.at_master, "T", "G", 0, 5).code, SUCCESS)
        self.relay = SlowRelay(self, self.master.port + 1)
        self.slave = self.broker(namesrvAddr=self.server.address, brokerRole="SLAVE", brokerId=1,
                                 haMasterAddress=self.relay.address,
                                 haHousekeepingInterval=600000).start()
        self.at_slave = self.connect(self.slave)
        wait_until(lambda: offsets_of(self.at_slave).get("T@G") == {0: 5}, "the offsets")
        wait_until(lambda: self.at_slave.max_offset("T") == 5, "the messages")

    def test_offsets_wait_for_the_log(self):
        """The group has read what never came to the slave. Also what a group has given back to be
        tried again, or a transaction's outcome, lies in the part of the log that did not come."""
        self.relay.flowing.clear()
        self.send(self.at_master, 5)
        self.assertEqual(commit(self.at_master, "T", "G", 0, 10).code, SUCCESS)
        self.at_master.create_topic("Later")
        wait_until(lambda: "Later" in self.at_slave.call(ALL_TOPICS).json()["topicConfigTable"],
                   "tables were copied after the commit", 60)
        self.assertEqual(offsets_of(self.at_slave)["T@G"], {0: 5})
        self.master.kill()
        at_new = self.promote(self.slave)
        self.assertEqual(at_new.max_offset("T"), 5)
        self.send(at_new, 8)
        wait_until(lambda: at_new.max_offset("T") == 13, "the new ones")
        self.assertEqual(self.read_on(at_new), [b"%d" % i for i in range(8)])
        self.assertNotIn(SET_BACK, self.slave.log())

    def test_offsets_come_when_the_log_has(self):
        self.relay.flowing.clear()
        for offset in (6, 7):
            self.send(self.at_master, 1)
            commit(self.at_master, "T", "G", 0, offset)
            self.at_master.create_topic(f"Later{offset}")
            wait_until(lambda: f"Later{offset}" in
                       self.at_slave.call(ALL_TOPICS).json()["topicConfigTable"], "the tables", 60)
        self.assertEqual(offsets_of(self.at_slave)["T@G"], {0: 5})
        self.relay.flowing.set()
        wait_until(lambda: offsets_of(self.at_slave)["T@G"] == {0: 7}, "the last offset")
        self.assertEqual(self.at_slave.max_offset("T"), 7)

    def test_a_promoted_slave_sets_back_what_is_ahead(self):
        """Offsets of an older version, or of a slave of 4.9.2's that was never stopped in between:
        they were copied before the log had come."""
        wait_until(lambda: parse_json(self.slave.read("store/config/consumerOffset.json").encode()
                                      or b"{}").get("offsetTable", {}).get("T@G"), "it is saved")
        self.slave.stop()
        self.master.kill()
        self.assertEqual(self.identity(self.slave)["role"], "slave")
        with open(self.slave.path("store/config/consumerOffset.json"), "w",
                  encoding="utf-8") as file:
            file.write('{"offsetTable":{"T@G":{0:8},"T@H":{0:3},"T@I":{0:6,1:2},'
                       '"Never@G":{0:7},"%RETRY%G@G":{0:1},'
                       '"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:9},'
                       '"RMQ_SYS_TRANS_OP_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:4}}}')
        with open(self.slave.path("store/config/delayOffset.json"), "w", encoding="utf-8") as file:
            file.write('{"offsetTable":{1:3}}')
        at_new = self.promote(self.slave)
        self.assertEqual(offsets_of(at_new), {
            "T@G": {0: 5}, "T@H": {0: 3}, "T@I": {0: 5, 1: 0}, "Never@G": {0: 0},
            "%RETRY%G@G": {0: 0}, "RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS": {0: 0},
            "RMQ_SYS_TRANS_OP_HALF_TOPIC@CID_RMQ_SYS_TRANS": {0: 0}})
        log = self.slave.log()
        self.assertIn(f"{SET_BACK} group=G topic=T queues=1 messages=3", log)
        self.assertIn(f"{SET_BACK} group=I topic=T queues=2 messages=3", log)
        self.assertNotIn("group=H", log)
        self.assertIn('cause="this was a slave\'s store"', log)
        # At once: the first delayed message would be taken for delivered.
        at_new.produce("T", b"delayed", properties={"DELAY": "1"})
        self.send(at_new, 4)
        wait_until(lambda: at_new.max_offset("T") == 10, "it is delivered")
        self.assertEqual(sorted(self.read_on(at_new)), [b"0", b"1", b"2", b"3", b"delayed"])
        # Once.
        self.assertEqual(self.identity(self.slave)["role"], "master")
        count = log.count(SET_BACK)
        self.slave.restart()
        self.assertEqual(self.slave.log().count(SET_BACK), count)


class MasterAlone(PromotionTest):
    def setUp(self):
        self.master = self.broker().start()
        self.client = self.connect(self.master)
        self.client.create_topic("T")
        self.send(self.client, 5)

    def set_offset(self, offset):
        """As if the log had lost its end. The journal is of another file then, and left out."""
        with open(self.master.path("store/config/consumerOffset.json"), "w",
                  encoding="utf-8") as file:
            file.write('{"offsetTable":{"T@G":{0:%d}}}' % offset)

    def is_kept(self, offset):
        """In the table of offsets or a journal of it."""
        for name in glob.glob(self.master.path("store/config/consumerOffset.*")):
            try:
                with open(name, "rb") as file:
                    data = file.read()
            except FileNotFoundError:  # a save has just taken it away
                continue
            if offset.to_bytes(8, "big") in data or b":%d" % offset in data:
                return True
        return False

    def test_the_machine_was_switched_off(self):
        commit(self.client, "T", "G", 0, 5)
        self.master.kill()
        self.set_offset(9)
        identity = self.identity(self.master)
        identity["machineBoot"] = "another"
        with open(self.master.path("store/storeIdentity.json"), "w", encoding="utf-8") as file:
            json.dump(identity, file)
        self.master.start()
        self.client = self.connect(self.master)
        self.assertEqual(offsets_of(self.client)["T@G"], {0: 5})
        self.assertIn("the machine was switched off while the broker ran", self.master.log())
        self.assertNotEqual(self.identity(self.master)["machineBoot"], "another")
        self.assertEqual(self.identity(self.master)["id"], identity["id"])

    def test_the_end_of_a_transaction_is_lost(self):
        """With its marker, but not the half message, which the check has passed: it is asked about."""
        answer = self.client.produce("T", b"half", 0, {"TRAN_MSG": "true", "PGROUP": "PG",
                                                       "UNIQ_KEY": "K"})
        self.assertEqual(answer.code, SUCCESS, answer)
        self.master.kill()
        with open(self.master.path("store/config/consumerOffset.json"), "w",
                  encoding="utf-8") as file:
            file.write('{"offsetTable":{"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:1},'
                       '"RMQ_SYS_TRANS_OP_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:1}}}')
        identity = self.identity(self.master)
        identity["machineBoot"] = "another"
        with open(self.master.path("store/storeIdentity.json"), "w", encoding="utf-8") as file:
            json.dump(identity, file)
        os.unlink(self.master.config_file)
        self.master.options.update(transactionCheckInterval=200, transactionTimeOut=0)
        self.master.start()
        self.client = self.connect(self.master)
        wait_until(lambda: self.client.max_offset("RMQ_SYS_TRANS_HALF_TOPIC") > 1,
                   "it is appended again, to be asked about")

    def test_the_broker_was_killed(self):
        """The log is what it was, so another cause has made the offset: the topic was deleted and made
        anew, and its group has not pulled since. At the end of the queue it would miss what is there."""
        self.send(self.client, 4)
        commit(self.client, "T", "G", 0, 9)
        self.client.call(DELETE_TOPIC, {"topic": "T"})
        self.client.create_topic("T")
        self.send(self.client, 2)
        wait_until(lambda: self.client.max_offset("T") == 2, "the new ones")
        wait_until(lambda: self.is_kept(9), "the offset outlives a kill")
        self.master.kill()
        self.master.start()
        self.client = self.connect(self.master)
        self.assertEqual(offsets_of(self.client)["T@G"], {0: 9})
        self.master.restart()
        self.client = self.connect(self.master)
        self.assertEqual(offsets_of(self.client)["T@G"], {0: 9})
        self.assertNotIn(SET_BACK, self.master.log())

    def test_another_programs_store(self):
        """Nobody knows whether a store of 4.9.2's was a slave's: it is told, and nothing is moved."""
        self.master.stop()
        self.set_offset(9)
        for name in ("storeIdentity.json", "storeIdentity.json.bak"):
            path = self.master.path(f"store/{name}")
            if os.path.exists(path):
                os.unlink(path)
        self.master.start()
        self.client = self.connect(self.master)
        self.assertEqual(offsets_of(self.client)["T@G"], {0: 9})
        self.assertIn("consumer offsets are behind the end of their queues group=G topic=T queues=1 "
                      "messages=4", self.master.log())
        self.assertIn("resetOffsetByTime", self.master.log())

    def test_the_identity_stays(self):
        first = self.identity(self.master)
        self.assertEqual((first["brokerName"], first["clusterName"], first["role"]),
                         ("broker-a", "DefaultCluster", "master"))
        self.assertRegex(first["id"], "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.master.restart()
        self.assertEqual(self.identity(self.master), first)
        self.master.stop()
        found = subprocess.run(
            [os.path.join(build_folder(), "bin", "mqstore"), "info", "--json",
             self.master.path("store")], stdout=subprocess.PIPE, check=True)
        self.assertEqual(json.loads(found.stdout)["storeId"], first["id"])
        # Another name is no other store; and it is told.
        os.unlink(self.master.config_file)
        self.master.options["brokerName"] = "broker-b"
        self.master.start()
        self.assertEqual(self.identity(self.master), first)
        self.assertIn("the store was begun by another broker", self.master.log())


if __name__ == "__main__":
    rocketmq.main("promotion")
