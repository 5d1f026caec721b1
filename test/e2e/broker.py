# SPDX-License-Identifier: Apache-2.0
"""What the broker's end-to-end tests share: a broker of their own, a client that sends and pulls,
and the stored form of messages (records and properties). Standard library only.
"""

import binascii
import json
import os
import socket
import struct
import tempfile
import threading
import time
import unittest

from rocketmq import Connection, DEADLINE_S, Daemon, JSON, free_port, wait_until

# request codes
SEND, PULL, QUERY, QUERY_OFFSET, UPDATE_OFFSET, CREATE_TOPIC = 10, 11, 12, 14, 15, 17
ALL_TOPIC_CONFIG, UPDATE_CONFIG, GET_CONFIG, RUNTIME_INFO = 21, 25, 26, 28
SEARCH_OFFSET, MAX_OFFSET, MIN_OFFSET, EARLIEST_TIME, VIEW = 29, 30, 31, 32, 33
HEARTBEAT, UNREGISTER_CLIENT, SEND_BACK, CONSUMER_LIST, IDS_CHANGED = 34, 35, 36, 38, 40
CHECK_CLIENT, QUERY_CONSUME_QUEUE = 46, 321
LOCK, UNLOCK, UPDATE_GROUP = 41, 42, 200
CONSUMER_CONNECTIONS, PRODUCER_CONNECTIONS, DELETE_TOPIC = 203, 204, 215
SEND_V2, SEND_BATCH = 310, 320
ROUTE, DELETE_TOPIC_IN_NAMESRV = 105, 216

# response codes
SUCCESS, SYSTEM_ERROR, SYSTEM_BUSY, NOT_SUPPORTED = 0, 1, 2, 3
MESSAGE_ILLEGAL, NO_PERMISSION, TOPIC_NOT_EXIST = 13, 16, 17
PULL_NOT_FOUND, PULL_RETRY, PULL_OFFSET_MOVED, QUERY_NOT_FOUND = 19, 20, 21, 22
PARSE_FAILED, SUBSCRIPTION_NOT_EXIST, SUBSCRIPTION_NOT_LATEST = 23, 24, 25
GROUP_NOT_EXIST, FILTER_NOT_EXIST, FILTER_NOT_LATEST, CONSUMER_NOT_ONLINE = 26, 27, 28, 206

# bits of a pull's sysFlag
COMMIT, SUSPEND, SUBSCRIPTION = 1, 2, 4

# The environment must not decide where a test's broker registers.
os.environ.pop("NAMESRV_ADDR", None)


# --- messages -------------------------------------------------------------------------------------


def java_hash(text):
    """String.hashCode of Java."""
    value = 0
    for unit in struct.unpack(f">{len(text.encode('utf-16-be')) // 2}H", text.encode("utf-16-be")):
        value = (31 * value + unit) & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def join_properties(properties):
    return "\x02".join(f"{name}\x01{value}" for name, value in properties.items())


def split_properties(text):
    return dict(piece.split("\x01", 1) for piece in text.split("\x02") if piece)


class Record:
    """A stored message, decoded from the start of `data`; its checksum must be right."""

    def __init__(self, data):
        (self.size, magic, crc, self.queue_id, self.flag, self.queue_offset, self.position,
         self.sys_flag, self.born_ms) = struct.unpack_from(">iIIiiqqiq", data)
        if magic != 0xDAA320A7:
            raise ValueError(f"magic {magic:x}")
        at = 48
        self.born_host, at = self._host(data, at, self.sys_flag & 16)
        self.store_ms, = struct.unpack_from(">q", data, at)
        self.store_host, at = self._host(data, at + 8, self.sys_flag & 32)
        self.reconsume_times, self.prepared_offset, body_size = struct.unpack_from(">iqi", data, at)
        at += 16
        self.body = data[at:at + body_size]
        at += body_size
        self.topic = data[at + 1:at + 1 + data[at]].decode()
        at += 1 + data[at]
        size, = struct.unpack_from(">h", data, at)
        self.properties_text = data[at + 2:at + 2 + size].decode()
        self.properties = split_properties(self.properties_text)
        if at + 2 + size != self.size or binascii.crc32(self.body) & 0x7FFFFFFF != crc:
            raise ValueError(f"a damaged record at {self.position}")

    @staticmethod
    def _host(data, at, is_v6):
        size = 16 if is_v6 else 4
        address = socket.inet_ntop(socket.AF_INET6 if is_v6 else socket.AF_INET,
                                   data[at:at + size])
        return (address, struct.unpack_from(">i", data, at + size)[0]), at + size + 4


def decode_records(data):
    records = []
    while data:
        records.append(Record(data))
        data = data[records[-1].size:]
    return records


def batch_body(messages):
    """The body of a batch: messages are bodies, or pairs of body and properties."""
    out = b""
    for message in messages:
        body, properties = message if isinstance(message, tuple) else (message, {})
        text = join_properties(properties).encode()
        out += struct.pack(">iiiii", 22 + len(body) + len(text), 0, 0, 0, len(body)) + body + \
            struct.pack(">h", len(text)) + text
    return out


def subscription_body(topic, text, version, expression_type="TAG"):
    tags = [] if text == "*" or expression_type != "TAG" else text.split("||")
    return {"classFilterMode": False, "expressionType": expression_type, "subString": text,
            "topic": topic, "subVersion": version, "tagsSet": tags,
            "codeSet": [java_hash(tag) for tag in tags]}


def heartbeat(client_id, group, subscriptions, model="CLUSTERING"):
    """A heartbeat of one consumer; subscriptions are (topic, expression, version), or with the
    expression's type behind."""
    return json.dumps({"clientID": client_id, "producerDataSet": [], "consumerDataSet": [{
        "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "consumeType": "CONSUME_PASSIVELY",
        "groupName": group, "messageModel": model, "unitMode": False,
        "subscriptionDataSet": [subscription_body(*subscription)
                                for subscription in subscriptions]}]}).encode()


# --- a client -------------------------------------------------------------------------------------

LONG_NAMES = {"a": "producerGroup", "b": "topic", "c": "defaultTopic", "d": "defaultTopicQueueNums",
              "e": "queueId", "f": "sysFlag", "g": "bornTimestamp", "h": "flag", "i": "properties",
              "j": "reconsumeTimes", "k": "unitMode", "l": "maxReconsumeTimes", "m": "batch"}


def send_header(topic, queue_id=0, properties=None, **letters):
    """The short form of a send's header; `letters` replace fields, None leaves one out."""
    header = {"a": "PG", "b": topic, "c": "TBW102", "d": 4, "e": queue_id, "f": 0,
              "g": int(time.time() * 1000), "h": 0, "i": join_properties(properties or {}),
              "j": 0, "k": "false", "m": "false"}
    header.update(letters)
    return {name: value for name, value in header.items() if value is not None}


def long_header(header):
    return {LONG_NAMES[letter]: value for letter, value in header.items()}


def pull_header(topic, queue_id, offset, count=32, group="G", tags="*", sys_flag=SUBSCRIPTION,
                suspend_ms=0, commit=0, sub_version=0, **other):
    return {"consumerGroup": group, "topic": topic, "queueId": queue_id, "queueOffset": offset,
            "maxMsgNums": count, "sysFlag": sys_flag, "commitOffset": commit,
            "suspendTimeoutMillis": suspend_ms, "subscription": tags, "subVersion": sub_version,
            "expressionType": "TAG", **other}


class Client(Connection):
    """A producer and consumer on one connection."""

    def produce(self, topic, body=b"body", queue_id=0, properties=None, code=SEND_V2, codec=JSON,
                **letters):
        """Send a message and wait for the answer."""
        header = send_header(topic, queue_id, properties, **letters)
        return self.call(code, long_header(header) if code == SEND else header, body, codec)

    def pull(self, topic, queue_id=0, offset=0, **other):
        return self.call(PULL, pull_header(topic, queue_id, offset, **other))

    def start_pull(self, topic, queue_id=0, offset=0, suspend_ms=600000, flags=SUBSCRIPTION,
                   **other):
        """A pull that may be held, for longer than read_answer waits unless said otherwise;
        read_answer takes what this returns."""
        return self.send(PULL, pull_header(topic, queue_id, offset, suspend_ms=suspend_ms,
                                           sys_flag=flags | SUSPEND, **other))

    def start_held_pull(self, topic, queue_id=0, offset=0, **other):
        """As start_pull, and the broker has looked at it when this returns: what comes from other
        connections comes after it."""
        opaque = self.start_pull(topic, queue_id, offset, **other)
        self.max_offset(topic, queue_id)  # requests of a connection are handled in order
        return opaque

    def read_queue(self, topic, queue_id=0, offset=0):
        """Every record of a queue from `offset` on."""
        records = []
        while True:
            answer = self.pull(topic, queue_id, offset)
            if answer.code in (PULL_NOT_FOUND, PULL_OFFSET_MOVED):
                return records
            if answer.code not in (SUCCESS, PULL_RETRY):
                raise AssertionError(answer)
            records += decode_records(answer.body)
            offset = int(answer.ext["nextBeginOffset"])

    def create_topic(self, topic, queues=1, perm=6, read_queues=None, filter_type="SINGLE_TAG"):
        return self.call(CREATE_TOPIC, {
            "topic": topic, "defaultTopic": "TBW102", "perm": perm, "topicFilterType": filter_type,
            "readQueueNums": queues if read_queues is None else read_queues,
            "writeQueueNums": queues, "topicSysFlag": 0, "order": "false"})

    def max_offset(self, topic, queue_id=0):
        return int(self.call(MAX_OFFSET, {"topic": topic, "queueId": queue_id}).ext["offset"])

    def is_silent(self, seconds=0.3):
        """Nothing arrives for a while."""
        self.socket.settimeout(seconds)
        try:
            self._sort(self.read_frame())
            return False
        except (socket.timeout, TimeoutError):
            return True
        finally:
            self.socket.settimeout(DEADLINE_S)


class Lag(threading.Thread):
    """How late this machine wakes up who wants to run, and how long a small write to its disk takes,
    at worst."""

    STEP_S = 0.005

    def __init__(self):
        super().__init__(daemon=True)
        self.file = tempfile.TemporaryFile()
        self.worst_s = 0
        self.done = False
        self.start()

    def run(self):
        steps = 0
        while not self.done:
            before = time.monotonic()
            time.sleep(self.STEP_S)
            steps += 1
            if steps % 20 == 0:
                self.file.write(b"x")
                self.file.flush()
                os.fsync(self.file.fileno())
            self.worst_s = max(self.worst_s, time.monotonic() - before - self.STEP_S)


# A machine that is busy with other tests may have a disk that is slow for long.
PATIENT = {"waitTimeMillsInSendQueue": 30000, "osPageCacheBusyTimeOutMills": 30000}


class Broker(Daemon):
    """A broker with small files, and patient where the default is to refuse sends."""

    def __init__(self, folder=None, **options):
        super().__init__("mqbroker", {}, folder=folder)
        self.options.update({
            "listenPort": free_port(below=2, above=1), "brokerName": "broker-a",
            "brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1", "namesrvAddr": "",
            "storePathRootDir": self.path("store"), "mappedFileSizeCommitLog": 16 << 20,
            "mappedFileSizeConsumeQueue": 6000, "maxHashSlotNum": 5000, "maxIndexNum": 20000,
            **PATIENT, **options})

    def memory_kb(self):
        """Memory of its own: not the pages of its files, which the system gives and takes. None
        under a sanitizer."""
        if super().memory_kb() is None:
            return None
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["RssAnon"].split()[0])

    def client(self, port=None, host="127.0.0.1"):
        return Client(host, self.port if port is None else port)

    def message_id(self, position):
        place = struct.pack(">iq", self.port, position)
        return (socket.inet_aton("127.0.0.1") + place).hex().upper()


class BrokerTest(unittest.TestCase):
    """Tests that share one broker, made with `options`."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(**cls.options)
        cls.addClassCleanup(cls.broker.remove)
        cls.broker.start()

    def setUp(self):
        self.client = self.connect()

    def connect(self, **where):
        client = self.broker.client(**where)
        self.addCleanup(client.close)
        return client

    def topic(self, queues=1, **other):
        """A new topic of this test."""
        name = self.id().split(".")[-1] + "-" + str(time.monotonic_ns() % 10**9)
        answer = self.client.create_topic(name, queues, **other)
        self.assertEqual(answer.code, SUCCESS, answer)
        return name

    def sent(self, topic, body=b"body", **other):
        """Send what must be taken; the answer's fields."""
        answer = self.client.produce(topic, body, **other)
        self.assertEqual(answer.code, SUCCESS, answer)
        return answer.ext

    def stored(self, topic, queue_id, count):
        """All records of a queue, when there are `count`."""
        wait_until(lambda: self.client.max_offset(topic, queue_id) >= count,
                   f"{count} messages in {topic}/{queue_id}")
        records = self.client.read_queue(topic, queue_id)
        self.assertEqual([record.queue_offset for record in records], list(range(count)))
        return records
