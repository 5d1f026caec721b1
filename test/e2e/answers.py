#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests and the answers that RocketMQ 4.9.2 gave to them, against our servers.

test/data/answers.tsv holds one row per request: its fields, and the answer's code, remark, fields
and body (a file under test/data/bodies) as recorded from Apache's own name server and broker. The
broker wrote test/data/store-4.9.2 and went on after the recording; so our broker gets a copy whose
log is cut where it ended then, with the tables of that moment, and the clients that were online are
played by this program. Every row is executed in order. What may differ is listed in the tables
below, with the reason; anything else is a failure. The last line is
`answers: N passed, N failed, N skipped`.
"""

import json
import os
import re
import shutil
import socket
import struct
import sys
import time
import zlib

from broker import Broker
from rocketmq import Closed, DEADLINE_S, Daemon, free_port, parse_json, wait_until

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
BODIES = os.path.join(DATA, "bodies")
HEARTBEAT, REGISTER = 34, 103

# The message id of the log's first record.
RECORDED_ID = "7F000001000052120000000000000000"

# The end of the log when the recording began, and the segment that it lies in.
LOG_END, LAST_SEGMENT = 418764, 393216

# --- what differs, and why ------------------------------------------------------------------------

SKIPPED = {
    "KVTable.runtimeInfo.slave": "needs replication",
}

# Row -> (code, start of the remark, reason). Fields and body are compared all the same.
REMARK_KEPT = "4.9.2 forgets to clear its initial remark, which says nothing"
NO_JAVA_TEXT = "a clear sentence instead of a Java exception"
DIFFERENT = {
    "unknownNs": (3, " request type 9999 not supported", "a clear answer instead of silence"),
    "BrokerAclVersion.disabled": (1, "access control is off", "a clear answer instead of silence"),
    "SendV2.missingTopic": (1, "the custom field <b> is null", NO_JAVA_TEXT),
    "GetMaxOffset.missing": (1, "the field <queueId> ", NO_JAVA_TEXT),
    "GetMaxOffset.noExt": (1, "the field <topic> ", NO_JAVA_TEXT),
    "GetMaxOffset.badNumber": (1, "the field <queueId> ", NO_JAVA_TEXT),
    "QueryConsumeQueueResponseBody": (0, None, REMARK_KEPT),
    "QueryConsumeQueueResponseBody.nogroup": (0, None, REMARK_KEPT),
    "QueryConsumeQueueResponseBody.sql": (0, None, REMARK_KEPT),
    "CheckClient.bad": (23, "the expression is wrong at character 10: ", NO_JAVA_TEXT),
    "ConsumerStatus": (0, None, REMARK_KEPT),
    "SendV2.slave": (14, "service not available now. It may be caused by one of the following "
                         "reasons: the broker's disk is full [CL: ", "ends with the actual reason"),
}

# Rows without a word about the server.
SERVERS = {"unknownNs": "name server", "BrokerAclVersion.disabled": "broker"}

# Executed after all others: counting needs a message, and sending one first would move the offsets
# that other rows show.
LAST = ["BrokerStatsData"]

# (row, field) -> what to make of the value on both sides before it is compared.
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
FIELD_VALUES = {
    ("brokerConfig", "version"): (r'"timestamp":\d+', "the time of the start"),
    ("SendV2", "msgId"): (r"(?<=^7F000001).{8}", "the broker's port"),
}

# Members of bodies, anywhere in the tree, whose value is not compared.
VOLATILE = {
    "clientAddr": "the port of the client",
    "consumeTps": "the traffic of the minute before",
    "avgpt": "the traffic of the minute before",
    "sum": "the traffic of the minute before",
    "tps": "the traffic of the minute before",
    "delayTime": "the time of the request",
    "dataVersion": "the time of the last change",
    "consumeTimeStampStr": "the time zone of the machine",
    "maxTimeStampStr": "the time zone of the machine",
    "minTimeStampStr": "the time zone of the machine",
}

# Of runtime info only these values are compared; of the rest only that they are there.
RUNTIME_VALUES = {
    "brokerVersion", "brokerVersionDesc", "commitLogMaxOffset", "commitLogMinOffset",
    "dispatchBehindBytes", "dispatchMaxBuffer", "remainTransientStoreBufferNumbs",
    "scheduleMessageOffset_1", "scheduleMessageOffset_2", "scheduleMessageOffset_3",
    "startAcceptSendRequestTimeStamp", "sendThreadPoolQueueCapacity",
    "pullThreadPoolQueueCapacity", "queryThreadPoolQueueCapacity", "sendThreadPoolQueueSize",
    "pullThreadPoolQueueSize", "queryThreadPoolQueueSize", "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
}
RUNTIME_RENAMED = re.compile(r"commitLogDiskRatio_.*")  # ends in the store's path

# Options of 4.9.2's list that ours has not.
OPTIONS_MISSING = {
    "isEnableBatchPush": "4.9.2 lists the name of a field; the option is called enableBatchPush",
}

# Messages of level 18 come due two hours after the recording, in the middle of some later run of
# this test; so they are marked as delivered.
DELAY_LEVEL_DUE_LATER, DELAY_MESSAGES_DUE_LATER = 18, 12

# --- rows -----------------------------------------------------------------------------------------

REQUEST = re.compile(r"^(?P<name>[\w.]+): ((?P<server>name server|broker|slave) )?request "
                     r"code (?P<code>\d+)( extFields (?P<ext>\{.*?\}))?( body (?P<body>.*))?$")
ANSWER = re.compile(r"^code (?P<code>\d+) remark (?P<remark>.*) extFields (?P<ext>null|\{.*?\})"
                    r"( body (?P<body>\S+))?$", re.DOTALL)


def unescape(text):
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    return text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")


def parse_fields(text):
    if text is None or text == "null":
        return None
    inner = text[1:-1]
    pieces = re.split(r", (?=\w+=)", inner) if inner else []
    return {name: unescape(value) for name, value in (piece.split("=", 1) for piece in pieces)}


class Row:
    def __init__(self, line):
        request, answer = line.rstrip("\n").split("\t")
        match = REQUEST.match(request)
        self.name = match["name"]
        self.server = match["server"] or SERVERS[self.name]
        self.code = int(match["code"])
        self.ext = parse_fields(match["ext"])
        self.body = (match["body"] or "").encode()
        self.silent = answer.startswith("no answer")
        if self.silent:
            self.answer_code = self.remark = self.answer_ext = self.answer_body = None
            return
        match = ANSWER.match(answer)
        self.answer_code = int(match["code"])
        self.remark = None if match["remark"] == "null" else unescape(match["remark"])
        self.answer_ext = parse_fields(match["ext"])
        self.answer_body = match["body"]


def read_rows():
    with open(os.path.join(DATA, "answers.tsv"), encoding="utf-8") as file:
        rows = [Row(line) for line in list(file)[1:]]
    return [row for row in rows if row.name not in LAST] + \
        [row for row in rows if row.name in LAST]


def read_body(name, mode="r"):
    with open(os.path.join(BODIES, name), mode) as file:
        return file.read()


# --- comparing ------------------------------------------------------------------------------------


def normal_tree(value, key=None):
    """A tree whose unordered lists are sorted and whose volatile members are taken out."""
    if key in VOLATILE:
        return VOLATILE[key]
    if isinstance(value, dict):
        return {name: normal_tree(member, name) for name, member in value.items()}
    if isinstance(value, list):
        items = [normal_tree(item) for item in value]
        return items if key == "queueData" else sorted(items, key=repr)
    if isinstance(value, str):
        # The filter in the recording's table died long ago; the heartbeat makes a new one.
        value = re.sub(r'"bornTime":\d+', '"bornTime":0', value)
        return ADDRESS.sub("ADDRESS", value)
    return value


def tree_difference(want, got, path="body"):
    if isinstance(want, dict) and isinstance(got, dict):
        for key in want:
            if key not in got:
                return f"{path}: no {key!r}"
        for key in got:
            if key not in want:
                return f"{path}: has {key!r}"
        for key in want:
            found = tree_difference(want[key], got[key], f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for at, (one, other) in enumerate(zip(want, got)):
            found = tree_difference(one, other, f"{path}[{at}]")
            if found:
                return found
        return None
    return None if want == got and type(want) is type(got) else f"{path}: {want!r} became {got!r}"


def runtime_difference(want, got):
    want = {RUNTIME_RENAMED.sub("commitLogDiskRatio_", key): value
            for key, value in want["table"].items()}
    got = {RUNTIME_RENAMED.sub("commitLogDiskRatio_", key): value
           for key, value in got["table"].items()}
    # A level that has no message shows no line, and those of level 18 are marked as delivered.
    missing = set(want) - set(got)
    if missing:
        return f"missing: {sorted(missing)}"
    wrong = {key: (want[key], got[key]) for key in RUNTIME_VALUES if want[key] != got[key]}
    return f"values: {wrong}" if wrong else None


def config_difference(want, got):
    """Every option of 4.9.2 is listed by ours."""
    keys = [{line.split("=", 1)[0] for line in text.splitlines() if "=" in line}
            for text in (want, got)]
    missing = keys[0] - keys[1] - set(OPTIONS_MISSING)
    return f"missing options: {sorted(missing)}" if missing else None


def body_difference(row, body):
    name = row.answer_body
    if name is None:
        return f"has a body: {body[:100]!r}" if body else None
    if name.endswith(".bin"):
        want = read_body(name, "rb")
        return None if body == want else f"bytes differ: {len(want)} became {len(body)}"
    if name.endswith(".txt"):
        return config_difference(read_body(name), body.decode())
    want, got = parse_json(read_body(name)), parse_json(body)
    if row.name == "KVTable.runtimeInfo":
        return runtime_difference(want, got)
    if row.name == "QueryDataVersion":
        want = got = {key: "a time or a count" for key in set(want) | set(got)}
    if row.name == "DelayOffset":
        want["offsetTable"][DELAY_LEVEL_DUE_LATER] = DELAY_MESSAGES_DUE_LATER
    return tree_difference(normal_tree(want), normal_tree(got))


def normal_remark(remark):
    if remark is None:
        return None
    return ADDRESS.sub("ADDRESS", remark)


def normal_fields(row, fields):
    if fields is None:
        return None
    fields = dict(fields)
    for (name, field), (pattern, _) in FIELD_VALUES.items():
        if name == row.name and field in fields:
            fields[field] = re.sub(pattern, "...", fields[field])
    return fields


def head_difference(row, answer):
    if row.name in DIFFERENT:
        code, start, _ = DIFFERENT[row.name]
        if answer.code != code:
            return f"code {answer.code} instead of {code}"
        remark = answer.remark or ""
        if not (answer.remark is None if start is None else remark.startswith(start)):
            return f"remark {answer.remark!r} does not start with {start!r}"
        return None
    if answer.code != row.answer_code:
        return f"code {answer.code} ({answer.remark!r}) instead of {row.answer_code}"
    want, got = normal_remark(row.remark), normal_remark(answer.remark)
    return None if want == got else f"remark {got!r} instead of {want!r}"


def difference(row, answer):
    found = head_difference(row, answer)
    if found or row.silent:
        return found
    want, got = normal_fields(row, row.answer_ext), normal_fields(row, answer.ext)
    if want != got:
        return f"extFields {got} instead of {want}"
    return body_difference(row, answer.body)


# --- the servers and the clients ------------------------------------------------------------------


def copy_store(folder):
    """The golden store as it was when the recording began: consume queues and index are left out
    and made anew from the log."""
    source = os.path.join(DATA, "store-4.9.2")
    shutil.copytree(os.path.join(source, "commitlog"), os.path.join(folder, "commitlog"))
    shutil.copytree(os.path.join(source, "config"), os.path.join(folder, "config"))
    with open(os.path.join(folder, "commitlog", f"{LAST_SEGMENT:020}"), "r+b") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(LOG_END - LAST_SEGMENT)
        log.write(bytes(size - (LOG_END - LAST_SEGMENT)))
    delays = parse_json(read_body("live/DelayOffset.json"))["offsetTable"]
    delays[DELAY_LEVEL_DUE_LATER] = DELAY_MESSAGES_DUE_LATER
    tables = {"consumerOffset.json": read_body("live/ConsumerOffsetManager.json"),
              "topics.json": read_body("live/TopicConfigSerializeWrapper.json"),
              "subscriptionGroup.json": read_body("live/SubscriptionGroupManager.json"),
              "delayOffset.json": json.dumps({"offsetTable": delays})}
    for name, text in tables.items():
        with open(os.path.join(folder, "config", name), "w", encoding="utf-8") as file:
            file.write(text)


def recorded_options():
    options = {}
    with open(os.path.join(DATA, "store-4.9.2.broker.properties"), encoding="utf-8") as file:
        for line in file:
            if "=" in line and not line.startswith("#"):
                key, value = line.rstrip("\n").split("=", 1)
                options[key] = value
    for key in ("listenPort", "haListenPort", "brokerRole"):
        del options[key]
    return options


def consumer(group, subscriptions, connection):
    return {"groupName": group, "subscriptionDataSet": subscriptions, "unitMode": False,
            **{key: connection[key]
               for key in ("consumeFromWhere", "consumeType", "messageModel")}}


class Consumer:
    """A consumer that was online: it sends its heartbeat, and answers what is relayed to it."""

    ANSWERS = {307: "live/ConsumerRunningInfo.json", 309: "live/ConsumeMessageDirectly.json"}

    def __init__(self, broker, group, recorded):
        data = parse_json(read_body(recorded))
        self.group = group
        self.connection = broker.client()
        subscriptions = list(data["subscriptionTable"].values())
        beat = {"clientID": data["connectionSet"][0]["clientId"], "producerDataSet": [],
                "consumerDataSet": [consumer(group, subscriptions, data)]}
        answer = self.connection.call(HEARTBEAT, None, json.dumps(beat).encode())
        assert answer.code == 0, answer

    def serve(self, asker, opaque):
        """Answer the broker's requests until `asker` has its answer."""
        deadline = time.monotonic() + DEADLINE_S
        self.connection.socket.settimeout(0.05)
        asker.socket.settimeout(0.05)
        try:
            while time.monotonic() < deadline:
                try:
                    return asker.read_answer(opaque)
                except (socket.timeout, TimeoutError):
                    pass
                try:
                    self.reply(self.connection.read_push())
                except (socket.timeout, TimeoutError):
                    pass
        finally:
            asker.socket.settimeout(DEADLINE_S)
        raise AssertionError("no answer")

    def reply(self, request):
        initial = "not set any response code"  # of Apache's client, which never clears it
        if request.code in self.ANSWERS:
            self.connection.answer(request, 0, None, read_body(self.ANSWERS[request.code], "rb"),
                                   initial)
        elif request.code == 221:
            recorded = read_body("live/ConsumerStatus.json")
            table = re.search(r'"192\.0\.2\.2@c23":(\{.*\})\},"messageQueueTable"', recorded)[1]
            body = '{"consumerTable":{},"messageQueueTable":%s}' % table
            self.connection.answer(request, 0, None, body.encode())


class World:
    """Everything that the recorded answers need."""

    def __init__(self):
        self.namesrv = Daemon("mqnamesrv", {"listenPort": free_port()})
        self.namesrv.options["kvConfigPath"] = self.namesrv.path("kvConfig.json")
        self.namesrv.start()
        options = {**recorded_options(), "namesrvAddr": self.namesrv.address,
                   "registerNameServerPeriod": 60000}
        self.broker = Broker(**options)
        copy_store(self.broker.path("store"))
        self.broker.start()
        self.slave = Broker(**{**options, "namesrvAddr": "", "brokerRole": "SLAVE", "brokerId": 1})
        copy_store(self.slave.path("store"))
        self.slave.start()
        self.connections = {"name server": self.namesrv.connect(), "broker": self.broker.client(),
                            "slave": self.slave.client()}
        self.register_slave()
        wait_until(self.is_caught_up, "the broker has read its log")
        self.consumers = [Consumer(self.broker, "CG_plain", "live/ConsumerConnection.plain.json"),
                          Consumer(self.broker, "CG_retry", "live/ConsumerConnection.retry.json")]
        self.producer = self.broker.client()
        beat = {"clientID": "192.0.2.2@load3", "consumerDataSet": [],
                "producerDataSet": [{"groupName": "PG_load"}]}
        self.producer.call(HEARTBEAT, None, json.dumps(beat).encode())

    def register_slave(self):
        body = json.dumps({"filterServerList": [], "topicConfigSerializeWrapper": {
            "dataVersion": {"counter": 0, "timestamp": 1}, "topicConfigTable": {}}}).encode()
        header = {"brokerName": "broker-a", "brokerAddr": self.slave.address,
                  "clusterName": "DefaultCluster", "haServerAddr": "127.0.0.1:1", "brokerId": 1,
                  "compressed": "false", "bodyCrc32": zlib.crc32(body) & 0x7FFFFFFF}
        answer = self.connections["name server"].call(REGISTER, header, body)
        assert answer.code == 0, answer

    def is_caught_up(self):
        table = self.connections["broker"].call(28).json()["table"]
        return table["dispatchBehindBytes"] == "0"

    def here(self, value):
        """What a request says of the recorded broker's address, said of ours."""
        return value.replace("127.0.0.1:21010", self.broker.address).replace(
            RECORDED_ID, self.broker.message_id(0))

    def execute(self, row):
        connection = self.connections[row.server]
        ext = row.ext and {name: self.here(value) for name, value in row.ext.items()}
        opaque = connection.send(row.code, ext, row.body)
        return self.consumers[0].serve(connection, opaque)

    def remove(self):
        for connection in self.connections.values():
            connection.close()
        for daemon in (self.broker, self.slave, self.namesrv):
            daemon.remove()


def main():
    passed, failed, skipped = 0, 0, 0
    world = World()
    try:
        for row in read_rows():
            if row.name in SKIPPED:
                print(f"skipped {row.name}: {SKIPPED[row.name]}")
                skipped += 1
                continue
            try:
                found = difference(row, world.execute(row))
            except (AssertionError, Closed, ValueError, IndexError) as error:
                found = repr(error)
            if found:
                print(f"FAILED {row.name}: {found}")
                failed += 1
            else:
                passed += 1
    finally:
        world.remove()
    print(f"answers: {passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
