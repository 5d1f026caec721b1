#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Access control (aclEnable=true): who is let in, what each account may do, the file and the commands
that change it.

The accounts and rules are AC-01 to AC-11 of RocketMQ 4.9.2 (acl module: PlainAccessValidator,
PlainPermissionManager); docs/acl.md and docs/diff.md say what is ours. Clients come from 127.0.0.1;
127.0.0.2 and others stand for white-listed ones.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import unittest

import rocketmq
from broker import (Broker, Client, HEARTBEAT, PULL, PULL_NOT_FOUND, SEND, SEND_BACK, SEND_BATCH,
                    SEND_V2, SUCCESS, SYSTEM_ERROR, UNREGISTER_CLIENT, UPDATE_OFFSET, batch_body,
                    decode_records, heartbeat, long_header, pull_header, send_header)
from rocketmq import Command, DEADLINE_S, JSON, PROTOBUF, ROCKETMQ, free_port, parse_json, wait_until

EXCEPTION = "org.apache.rocketmq.acl.common.AclException: "
UPDATE_ACL, DELETE_ACL, ACL_VERSION, UPDATE_WHITE, GET_ACL = 50, 51, 52, 53, 54
SEND_REPLY, SEND_REPLY_V2, LITE_PULL, BATCH_ACK, ASSIGNMENT = 324, 325, 361, 200151, 400
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

ADMIN = ("administrator", "secret-of-administrator")
USER = ("ordinary-user", "secret-of-the-user")
NOBODY = ("without-rights", "secret-of-nobody")
LOCAL = ("trusted-account", "secret-of-trusted")

FILE = """
# The file of these tests.
globalWhiteRemoteAddresses:
- 127.0.0.2
- 127.0.5.*

accounts:
- accessKey: administrator
  secretKey: secret-of-administrator
  whiteRemoteAddress:
  admin: true

- accessKey: ordinary-user
  secretKey: 'secret-of-the-user'
  defaultTopicPerm: DENY
  defaultGroupPerm: SUB
  topicPerms:
  - mayBoth=PUB|SUB
  - maySend=PUB
  - mayPull=SUB
  - mayNothing=DENY
  groupPerms:
  - closedGroup=DENY
  - openGroup=PUB|SUB

- accessKey: without-rights
  secretKey: secret-of-nobody

- accessKey: trusted-account
  secretKey: secret-of-trusted
  whiteRemoteAddress: 127.0.0.3,127.0.0.4
"""


def sign(secret, ext, body):
    """Independent of the broker's code: the values in the order of their names, then the body."""
    content = "".join(value for name, value in sorted(ext.items())
                      if name not in ("Signature", "_UNIQUE_KEY_QUERY")).encode() + body
    return base64.b64encode(hmac.new(secret.encode(), content, hashlib.sha1).digest()).decode()


class Signing(Client):
    """Signs with `account`, an access key and its secret; None: nothing is added."""

    def __init__(self, port, account=None, source=None):
        super().__init__("127.0.0.1", port)
        self.account = account
        if source is not None:
            self.socket.close()
            self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S,
                                                   source_address=(source, 0))

    def send(self, code, ext=None, body=b"", codec=JSON, flag=0, version=397):
        if self.account is not None:
            key, secret = self.account
            ext = {name: str(value) for name, value in (ext or {}).items()}
            ext["AccessKey"] = key
            ext["Signature"] = sign(secret, ext, body)
        return super().send(code, ext, body, codec, flag, version)


class AclBroker(Broker):
    """With a plain_acl.yml in its home."""

    def __init__(self, text=FILE, **options):
        super().__init__(**{"aclEnable": "true", **options})
        self.acl_file = self.path("conf/plain_acl.yml")
        os.makedirs(self.path("conf"), exist_ok=True)
        self.write_acl(text)

    def write_acl(self, text):
        """As an editor does it: at once."""
        with open(self.acl_file + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.acl_file + ".new", 0o640)
        os.rename(self.acl_file + ".new", self.acl_file)

    def read_acl(self):
        with open(self.acl_file, encoding="utf-8") as file:
            return file.read()


class AclTest(unittest.TestCase):
    text = FILE
    options = {}

    @classmethod
    def setUpClass(cls):
        cls.broker = AclBroker(cls.text, **cls.options)
        cls.addClassCleanup(cls.broker.remove)
        cls.broker.start()
        with Signing(cls.broker.port, ADMIN) as client:
            for topic in ("mayBoth", "maySend", "mayPull", "mayNothing", "unlisted"):
                client.create_topic(topic)

    def connect(self, account=None, source=None, port=None):
        client = Signing(port or self.broker.port, account, source)
        self.addCleanup(client.close)
        return client

    def refused(self, answer, start):
        self.assertEqual(answer.code, SYSTEM_ERROR, answer)
        self.assertTrue((answer.remark or "").startswith(EXCEPTION + start), answer)

    def allowed(self, answer):
        self.assertNotIn("AclException", answer.remark or "", answer)


# --- every command --------------------------------------------------------------------------------


def read_commands():
    """(code, name, permission) of every row."""
    with open(os.path.join(ROOT, "proto", "command.def"), encoding="utf-8") as file:
        rows = re.findall(r"^X\((\d+), (\w+), \w+, \w+, \w+, \w+, (\w+)\)$", file.read(),
                          re.MULTILINE)
    return [(int(code), name, permission) for code, name, permission in rows]


COMMANDS = read_commands()

# What a request must hold so that its permission is asked for; the account has none of them.
ASKS = {
    "OPEN": ({}, b""),
    "ADMIN": ({}, b""),
    "TOPIC_PUB": ({"topic": "T"}, b""),
    "SHORT_PUB": ({"b": "T"}, b""),
    "TOPIC_SUB": ({"topic": "T"}, b""),
    "GROUP_SUB": ({"consumerGroup": "G"}, b""),
    "TOPIC_GROUP_SUB": ({"topic": "T", "consumerGroup": "G"}, b""),
    "TOPIC_PUB_GROUP_SUB": ({"originTopic": "T", "group": "G"}, b""),
    "SUBSCRIPTIONS": ({}, heartbeat("c", "G", [("T", "*", 1)])),
    "ACKS": ({}, json.dumps({"brokerName": "broker-a", "acks": [
        {"b": "AQ==", "c": "G", "t": "T", "r": "0", "so": 0, "q": 0, "rq": 0, "pt": 1,
         "it": 1000}]}).encode()),
    "ASSIGNMENT": ({}, b'{"topic":"T","consumerGroup":"G","clientId":"c","strategyName":"AVG",'
                       b'"messageModel":"CLUSTERING"}'),
}


def codecs_of(code):
    return (JSON, ROCKETMQ, PROTOBUF) if code < 32768 else (JSON, PROTOBUF)


class EveryCommand(AclTest):
    def each(self, account, check):
        """Check the answers of every row, in every encoding of headers, on both ports."""
        clients = [self.connect(account), self.connect(account, port=self.broker.port - 2)]
        for code, name, permission in COMMANDS:
            ext, body = ASKS[permission]
            for codec in codecs_of(code):
                for client in clients:
                    with self.subTest(name=name, codec=codec):
                        check(code, permission, client.call(code, dict(ext), body, codec))

    def test_the_table_was_read(self):
        self.assertGreater(len(COMMANDS), 110)
        self.assertEqual({permission for _, _, permission in COMMANDS}, set(ASKS))

    def test_without_credentials(self):
        self.each(None, lambda _code, _permission, answer:
                  self.refused(answer, "No accessKey is configured"))

    def test_an_unknown_account(self):
        self.each(("somebody-else", "secret-of-the-user"), lambda _code, _permission, answer:
                  self.refused(answer, "No acl config for somebody-else"))

    def test_a_wrong_secret(self):
        self.each((ADMIN[0], "secret-of-the-user"), lambda _code, _permission, answer:
                  self.refused(answer, "Check signature failed for accessKey=administrator"))

    def test_an_account_without_rights(self):
        def check(code, permission, answer):
            if permission == "ADMIN":
                self.refused(answer, f"Need admin permission for request code={code}, but "
                                     "accessKey=without-rights is not")
            elif permission in ("GROUP_SUB", "SUBSCRIPTIONS"):
                self.refused(answer, "No default permission for group:G")
            elif permission == "OPEN":
                self.allowed(answer)
            else:
                self.refused(answer, "No default permission for topic:T")

        self.each(NOBODY, check)

    def test_an_administrator_may_all(self):
        self.each(ADMIN, lambda _code, _permission, answer: self.allowed(answer))

    def test_codes_that_nobody_knows(self):
        for code in (9999, -7, 199999, 200200, 70000, 0):
            self.refused(self.connect().call(code, {}), "No accessKey is configured")
            self.assertEqual(self.connect(NOBODY).call(code, {}).code, 3)

    def test_one_way_requests_do_nothing(self):
        stranger = self.connect()
        for code, _, permission in COMMANDS:
            ext, body = ASKS[permission]
            stranger.oneway(code, dict(ext), body)
        stranger.oneway(SEND_V2, send_header("mayBoth"), b"x")
        self.assertTrue(stranger.is_silent())
        self.assertEqual(self.connect(ADMIN).max_offset("mayBoth"), 0)
        self.assertTrue(self.broker.is_alive())


# --- signatures -----------------------------------------------------------------------------------


def raw_frame(code, opaque, fields, body):
    """A frame with a ROCKETMQ header whose fields may repeat."""
    ext = b""
    for name, value in fields:
        name, value = name.encode(), value.encode()
        ext += struct.pack(">h", len(name)) + name + struct.pack(">i", len(value)) + value
    header = struct.pack(">hbhiiii", code, 0, 397, opaque, 0, 0, len(ext)) + ext
    rest = struct.pack(">I", ROCKETMQ << 24 | len(header)) + header + body
    return struct.pack(">i", len(rest)) + rest


class Signatures(AclTest):
    def test_both_encodings(self):
        for codec in (JSON, ROCKETMQ, PROTOBUF):
            answer = self.connect(USER).produce("mayBoth", b"\x00\xff\x80", codec=codec)
            self.assertEqual(answer.code, SUCCESS, answer)

    def test_any_change_is_seen(self):
        client = self.connect()
        ext = {name: str(value) for name, value in send_header("mayBoth").items()}
        ext.update({"AccessKey": USER[0], "SecurityToken": "token", "unknown": "tr\u00e4gt",
                    "Zebra": "z", "10": "ten"})
        ext["Signature"] = sign(USER[1], ext, b"body")
        self.assertEqual(client.call(SEND_V2, ext, b"body").code, SUCCESS)
        changes = [{**ext, "unknown": "other"}, {**ext, "one": "more"}, {**ext, "b": "maySend"},
                   {name: value for name, value in ext.items() if name != "SecurityToken"},
                   {**ext, "Signature": ext["Signature"][:-2] + "A="},
                   {**ext, "Signature": ""}, {**ext, "Signature": ext["Signature"] + "="},
                   {name: value for name, value in ext.items() if name != "Signature"}]
        for change in changes:
            for codec in (JSON, ROCKETMQ):
                self.refused(client.call(SEND_V2, change, b"body", codec), "Check signature failed")
        self.refused(client.call(SEND_V2, ext, b"bodY"), "Check signature failed")
        self.refused(client.call(SEND_V2, ext, b""), "Check signature failed")

    def test_the_flag_of_unique_queries_is_not_signed(self):
        ext = {"topic": "mayBoth", "key": "k", "maxNum": "1", "beginTimestamp": "0",
               "endTimestamp": "9", "AccessKey": USER[0]}
        ext["Signature"] = sign(USER[1], ext, b"")
        self.allowed(self.connect().call(12, {**ext, "_UNIQUE_KEY_QUERY": "true"}))

    def test_of_two_fields_the_last_counts_for_all(self):
        """What is signed and checked is what is used."""
        client = self.connect()
        for first, last in (("mayBoth", "mayNothing"), ("mayNothing", "mayBoth")):
            fields = {name: str(value) for name, value in send_header(last).items()}
            fields["AccessKey"] = USER[0]
            fields["Signature"] = sign(USER[1], fields, b"twice")
            before = len(self.connect(ADMIN).read_queue(last))
            client.send_bytes(raw_frame(SEND_V2, 77, [("b", first), *fields.items()], b"twice"))
            answer = client.read_answer(77)
            if last == "mayBoth":
                self.assertEqual(answer.code, SUCCESS, answer)
                wait_until(lambda: self.connect(ADMIN).read_queue("mayBoth")[before:],
                           "it is stored")
            else:
                self.refused(answer, "No default permission for topic:mayNothing")
                self.assertEqual(len(self.connect(ADMIN).read_queue(last)), before)

    def test_no_name_ends_early(self):
        """A NUL must not hide the rest of a name from the check, or from the processor."""
        client = self.connect(USER)
        for code, ext in ((PULL, pull_header("mayPull", 0, 0, group="anyGroup\0")),
                          (PULL, pull_header("mayNothing\0x", 0, 0, group="anyGroup")),
                          (SEND_V2, send_header("mayBoth\0x")),
                          (SEND, long_header(send_header("mayBoth\0x"))),
                          (SEND_BACK, {"offset": 0, "group": "closedGroup\0", "delayLevel": 0,
                                       "originTopic": "mayBoth"})):
            for codec in (JSON, ROCKETMQ):
                self.refused(client.call(code, ext, b"x", codec), "the field <")

    def test_many_fields(self):
        ext = {f"field{i:03d}": str(i) for i in range(200)}
        self.allowed(self.connect(NOBODY).call(28, ext))

    def test_long_names_are_cut_in_remarks(self):
        answer = self.connect((("x\n" * 5000), "secret")).call(28, {})
        self.refused(answer, "No acl config for x\n")
        self.assertLess(len(answer.remark), 500)


# --- rights ---------------------------------------------------------------------------------------


class Rights(AclTest):
    def test_sends(self):
        client = self.connect(USER)
        batch = batch_body([b"1", b"2"])
        for topic, may in (("mayBoth", True), ("maySend", True), ("mayPull", False),
                           ("mayNothing", False), ("unlisted", False)):
            short, wide = send_header(topic), long_header(send_header(topic))
            for code, ext, body in ((SEND, wide, b"x"), (SEND_V2, short, b"x"),
                                    (SEND_BATCH, {**short, "m": "true"}, batch),
                                    (SEND_V2, {**short, "m": "true"}, batch),
                                    (SEND_REPLY, wide, b"x"), (SEND_REPLY_V2, short, b"x")):
                for codec in (JSON, ROCKETMQ):
                    answer = client.call(code, ext, body, codec)
                    if may:
                        self.allowed(answer)
                    else:
                        self.refused(answer, f"No default permission for topic:{topic}")
        # What was refused was not stored either: everything that is stored is counted by then.
        admin = self.connect(ADMIN)
        wait_until(lambda: admin.max_offset("mayBoth") >= 16 and admin.max_offset("maySend") == 16,
                   "what was allowed is stored")
        for topic in ("mayPull", "mayNothing", "unlisted"):
            self.assertEqual(admin.max_offset(topic), 0)

    def test_pulls(self):
        client = self.connect(USER)
        for code in (PULL, LITE_PULL):
            for topic, may in (("mayPull", True), ("mayBoth", True), ("maySend", False),
                               ("mayNothing", False), ("unlisted", False)):
                answer = client.call(code, pull_header(topic, 0, 1000, group="anyGroup"))
                if may:
                    self.allowed(answer)
                else:
                    self.refused(answer, f"No default permission for topic:{topic}")
            self.refused(client.call(code, pull_header("mayPull", 0, 0, group="closedGroup")),
                         "No default permission for group:closedGroup")
            # A retry topic is its group's matter.
            self.allowed(client.call(code, pull_header("%RETRY%anyGroup", 0, 0, group="anyGroup")))
            self.refused(client.call(code, pull_header("%RETRY%closedGroup", 0, 0, group="other")),
                         "No default permission for group:closedGroup")

    def test_publishing_to_a_retry_topic(self):
        client = self.connect(USER)
        self.refused(client.produce("%RETRY%anyGroup"), "No default permission for group:anyGroup")
        self.allowed(client.produce("%RETRY%openGroup"))

    def test_held_pulls(self):
        user = self.connect(USER)
        refused = user.start_pull("maySend", offset=0, group="anyGroup")
        self.refused(user.read_answer(refused), "No default permission for topic:maySend")
        held = user.start_pull("mayBoth", offset=self.connect(ADMIN).max_offset("mayBoth"),
                               group="anyGroup")
        self.assertTrue(user.is_silent())
        self.connect(ADMIN).produce("mayBoth", b"at last")
        answer = user.read_answer(held)
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertEqual(decode_records(answer.body)[-1].body, b"at last")

    def test_heartbeats(self):
        client = self.connect(USER)
        self.allowed(client.call(HEARTBEAT, None, heartbeat("c", "anyGroup", [
            ("mayPull", "*", 1), ("%RETRY%anyGroup", "*", 1)])))
        for group, subscriptions, what in (
                ("closedGroup", [], "group:closedGroup"),
                ("anyGroup", [("mayPull", "*", 1), ("mayNothing", "*", 1)], "topic:mayNothing"),
                ("anyGroup", [("%RETRY%closedGroup", "*", 1)], "group:closedGroup")):
            self.refused(client.call(HEARTBEAT, None, heartbeat("c", group, subscriptions)),
                         f"No default permission for {what}")
        two = json.loads(heartbeat("c", "anyGroup", [("mayPull", "*", 1)]))
        two["consumerDataSet"] += json.loads(
            heartbeat("c", "otherGroup", [("unlisted", "*", 1)]))["consumerDataSet"]
        self.refused(client.call(HEARTBEAT, None, json.dumps(two).encode()),
                     "No default permission for topic:unlisted")
        self.refused(client.call(HEARTBEAT, None, b"{"), "the request's body is not a HeartbeatData")
        producers = b'{"clientID":"p","producerDataSet":[{"groupName":"PG"}],"consumerDataSet":[]}'
        self.allowed(client.call(HEARTBEAT, None, producers))
        self.allowed(client.call(UNREGISTER_CLIENT, {"clientID": "p", "producerGroup": "PG"}))
        self.refused(client.call(UNREGISTER_CLIENT, {"clientID": "c",
                                                     "consumerGroup": "closedGroup"}),
                     "No default permission for group:closedGroup")

    def test_what_goes_back(self):
        client = self.connect(USER)
        for topic, group, what in (("mayPull", "anyGroup", "topic:mayPull"),
                                   ("mayBoth", "closedGroup", "group:closedGroup"),
                                   ("%RETRY%anyGroup", "otherGroup", "group:anyGroup")):
            self.refused(client.call(SEND_BACK, {"offset": 0, "group": group, "delayLevel": 0,
                                                 "originTopic": topic}),
                         f"No default permission for {what}")
        for topic in ("mayBoth", "%RETRY%anyGroup"):
            self.allowed(client.call(SEND_BACK, {"offset": 0, "group": "anyGroup", "delayLevel": 0,
                                                 "originTopic": topic}))

    def test_acknowledgements(self):
        client = self.connect(USER)
        ack = {"b": "AQ==", "c": "anyGroup", "t": "mayPull", "r": "0", "so": 0, "q": 0, "rq": 0,
               "pt": 1, "it": 1000}
        for change, what in (({"c": "closedGroup"}, "group:closedGroup"),
                             ({"t": "maySend"}, "topic:maySend")):
            body = json.dumps({"brokerName": "broker-a", "acks": [ack, {**ack, **change}]}).encode()
            self.refused(client.call(BATCH_ACK, {}, body), f"No default permission for {what}")
        body = json.dumps({"brokerName": "broker-a", "acks": [ack]}).encode()
        self.allowed(client.call(BATCH_ACK, {}, body))

    def test_offsets(self):
        client = self.connect(USER)
        commit = {"queueId": 0, "commitOffset": 5, "consumerGroup": "anyGroup", "topic": "mayPull"}
        self.assertEqual(client.call(UPDATE_OFFSET, commit).code, SUCCESS)
        self.refused(client.call(UPDATE_OFFSET, {**commit, "topic": "maySend"}),
                     "No default permission for topic:maySend")
        self.refused(client.call(UPDATE_OFFSET, {**commit, "consumerGroup": "closedGroup"}),
                     "No default permission for group:closedGroup")

    def test_over_tls(self):
        """As without; a certificate gives nobody rights."""
        for account, allowed in ((USER, True), (None, False)):
            client = self.connect(account)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            client.socket = context.wrap_socket(client.socket)
            answer = client.produce("mayBoth")
            if allowed:
                self.assertEqual(answer.code, SUCCESS, answer)
                self.refused(client.produce("mayPull"), "No default permission for topic:mayPull")
            else:
                self.refused(answer, "No accessKey")

    def test_credentials_are_not_passed_on(self):
        """What a broker passes on to a consumer says nothing of who has asked."""
        consumer = self.connect(USER)
        self.allowed(consumer.call(HEARTBEAT, None,
                                   heartbeat("passed", "passedGroup", [("mayPull", "*", 1)])))
        admin = self.connect(ADMIN)
        asked = admin.send(307, {"consumerGroup": "passedGroup", "clientId": "passed",
                                 "jstackEnable": "false"})
        push = consumer.read_push()
        while push.code != 307:
            push = consumer.read_push()
        self.assertEqual(set(push.ext), {"consumerGroup", "clientId", "jstackEnable"})
        consumer.answer(push, 0, None, b"{}")
        self.assertEqual(admin.read_answer(asked).code, SUCCESS)


# --- white lists ----------------------------------------------------------------------------------


class WhiteLists(AclTest):
    def test_global(self):
        for source, may in (("127.0.0.2", True), ("127.0.5.77", True), ("127.0.6.77", False)):
            answer = self.connect(source=source).produce("mayNothing")
            if may:
                self.assertEqual(answer.code, SUCCESS, answer)
            else:
                self.refused(answer, "No accessKey is configured")

    def test_of_an_account(self):
        """From there the account may do all, and nobody looks at the signature."""
        wrong = (LOCAL[0], "no-secret-at-all")
        for source in ("127.0.0.3", "127.0.0.4"):
            self.assertEqual(self.connect(wrong, source).create_topic("white").code, SUCCESS)
        self.refused(self.connect(wrong).create_topic("white"), "Check signature failed")
        self.refused(self.connect(LOCAL).create_topic("white"), "Need admin permission")
        self.refused(self.connect(("unknown-account", "secret"), "127.0.0.3").create_topic("white"),
                     "No acl config for unknown-account")

    def test_ipv6(self):
        broker = AclBroker("globalWhiteRemoteAddresses: ['::1']\naccounts: []\n")
        self.addCleanup(broker.remove)
        broker.start()
        try:
            client = broker.client(host="::1")
        except OSError:
            self.skipTest("no IPv6 here")
        with client:
            self.assertEqual(client.create_topic("six").code, SUCCESS)
        with broker.client() as other:
            self.refused(other.create_topic("six"), "No accessKey is configured")


# --- the file -------------------------------------------------------------------------------------


class Reload(AclTest):
    def test_changes_of_the_file(self):
        client = self.connect(USER)
        self.refused(client.produce("unlisted"), "No default permission for topic:unlisted")
        self.broker.write_acl(FILE.replace("defaultTopicPerm: DENY", "defaultTopicPerm: PUB"))
        wait_until(lambda: client.produce("unlisted").code == SUCCESS, "the rules are taken over")
        # What is wrong changes nothing, and is said once, with its place.
        self.broker.write_acl(FILE.replace("- maySend=PUB", "- maySend"))
        wait_until(lambda: "rules not taken over" in self.broker.log(), "a line in the log")
        line = FILE[:FILE.index("topicPerms")].count("\n") + 2
        self.assertIn(f"plain_acl.yml:{line}: topicPerms: ", self.broker.log())
        threading.Event().wait(1.5)  # three looks at the file
        self.assertEqual(self.broker.log().count("rules not taken over"), 1)
        self.assertEqual(client.produce("unlisted").code, SUCCESS)
        os.unlink(self.broker.acl_file)
        wait_until(lambda: self.broker.log().count("rules not taken over") == 2, "a line in the log")
        self.assertEqual(client.produce("unlisted").code, SUCCESS)
        self.broker.write_acl(FILE.replace("secret-of-the-user", "another-secret"))
        wait_until(lambda: client.produce("maySend").code == SYSTEM_ERROR, "the secret is changed")
        self.assertEqual(self.connect((USER[0], "another-secret")).produce("maySend").code, SUCCESS)
        self.assertNotIn("another-secret", self.broker.log())


class Start(unittest.TestCase):
    def fails(self, text, status, *parts, **options):
        broker = AclBroker(text or "", **options)
        self.addCleanup(broker.remove)
        if text is None:
            os.unlink(broker.acl_file)
        broker.launch()
        self.assertEqual(broker.wait(), status, broker.output())
        checked = subprocess.run([broker.binary(), "-c", broker.config_file, "--check"],
                                 capture_output=True, text=True, timeout=DEADLINE_S,
                                 env=dict(os.environ, HOME=broker.folder,
                                          ROCKETMQ_HOME=broker.folder, **broker.environment))
        self.assertEqual(checked.returncode, 2, checked)
        for part in parts:
            self.assertIn(part, broker.output())
            self.assertIn(part, checked.stderr)

    def test_refusals(self):
        self.fails(None, 5, "conf/plain_acl.yml cannot be read: No such file")
        self.fails("", 2, "plain_acl.yml: the file is empty")
        self.fails("accounts:\n- accessKey: short\n", 2, "plain_acl.yml:2: accessKey: ",
                   "longer than 6")
        self.fails("a: [\n", 2, "plain_acl.yml:")
        self.fails("globalWhiteRemoteAddresses:\n- 10.0.0.256\n", 2, "plain_acl.yml:2: ",
                   '"10.0.0.256"')

    def test_the_sample_loads(self):
        with open(os.path.join(ROOT, "conf", "plain_acl.yml"), encoding="utf-8") as file:
            sample = file.read()
        broker = AclBroker(sample)
        self.addCleanup(broker.remove)
        broker.start()
        with Signing(broker.port) as client:
            self.assertIn("No accessKey is configured", client.call(28, {}).remark)

    def test_places_of_the_file(self):
        for options, environment, place in (
                ({"aclPlainFile": "other.yml"}, {}, "other.yml"),
                ({"aclPlainFile": "conf/deep/acl.yml"}, {}, "conf/deep/acl.yml"),
                ({}, {"JAVA_OPT": "-Xmx1g -Drocketmq.acl.plain.file=/conf/java.yml"},
                 "conf/java.yml")):
            broker = AclBroker("", **options)
            self.addCleanup(broker.remove)
            os.makedirs(os.path.dirname(broker.path(place)), exist_ok=True)
            with open(broker.path(place), "w", encoding="utf-8") as file:
                file.write(FILE)
            broker.environment = environment
            broker.start()
            with Signing(broker.port, NOBODY) as client:
                self.assertEqual(client.call(28, {}).code, SUCCESS)
            broker.stop()


# --- the commands that change it ------------------------------------------------------------------


def account_header(key, secret="secret-of-the-new", **other):
    return {"accessKey": key, "secretKey": secret, "admin": "false", **other}


class Changes(unittest.TestCase):
    def setUp(self):
        self.broker = AclBroker()
        self.addCleanup(self.broker.remove)
        self.broker.start()
        self.admin = Signing(self.broker.port, ADMIN)
        self.addCleanup(self.admin.close)

    def config(self):
        answer = self.admin.call(GET_ACL, {})
        self.assertEqual(answer.code, SUCCESS, answer)
        return answer.json()

    def version(self):
        answer = self.admin.call(ACL_VERSION, {})
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertEqual((answer.ext["brokerName"], answer.ext["brokerAddr"],
                          answer.ext["clusterName"]),
                         ("broker-a", self.broker.address, "DefaultCluster"))
        return parse_json(answer.ext["version"])

    def test_an_account(self):
        before = self.version()
        self.assertEqual(before["counter"], 0)
        new = Signing(self.broker.port, ("brand-new-account", "secret-of-the-new"))
        self.addCleanup(new.close)
        self.assertIn("No acl config", new.call(28, {}).remark)
        answer = self.admin.call(UPDATE_ACL, account_header(
            "brand-new-account", defaultTopicPerm="PUB", topicPerms="A=SUB,B=PUB|SUB",
            groupPerms="G=SUB", whiteRemoteAddress="10.0.0.{1,2}"))
        self.assertEqual((answer.code, answer.remark), (SUCCESS, None))
        self.assertEqual(new.call(28, {}).code, SUCCESS)  # at once
        shown = self.config()
        self.assertEqual(shown["globalWhiteAddrs"], ["127.0.0.2", "127.0.5.*"])
        self.assertEqual(shown["plainAccessConfigs"][-1], {
            "accessKey": "brand-new-account", "secretKey": "secret-of-the-new", "admin": False,
            "defaultTopicPerm": "PUB", "topicPerms": ["A=SUB", "B=PUB|SUB"],
            "groupPerms": ["G=SUB"], "whiteRemoteAddress": "10.0.0.{1,2}"})
        after = self.version()
        self.assertEqual(after["counter"], 1)
        self.assertGreater(after["timestamp"], before["timestamp"])
        # A change keeps what it does not name, and moves the account to the end.
        self.admin.call(UPDATE_ACL, account_header(USER[0], USER[1], defaultTopicPerm="SUB"))
        changed = self.config()["plainAccessConfigs"]
        self.assertEqual([account["accessKey"] for account in changed],
                         ["administrator", "without-rights", "trusted-account",
                          "brand-new-account", "ordinary-user"])
        self.assertEqual(changed[-1]["topicPerms"][0], "mayBoth=PUB|SUB")
        self.assertEqual(changed[-1]["defaultTopicPerm"], "SUB")
        self.assertEqual(self.admin.call(DELETE_ACL, {"accessKey": "brand-new-account"}).code,
                         SUCCESS)
        self.assertIn("No acl config", new.call(28, {}).remark)
        self.assertEqual(self.version()["counter"], 3)
        # The rest is a matter of the file, after a restart too.
        self.broker.restart()
        with Signing(self.broker.port, ADMIN) as admin:
            self.assertEqual(parse_json(admin.call(ACL_VERSION, {}).ext["version"])["counter"], 3)

    def test_the_file(self):
        self.admin.call(UPDATE_ACL, account_header("brand-new-account", "123456789"))
        self.assertEqual(os.stat(self.broker.acl_file).st_mode & 0o777, 0o640)
        with open(self.broker.acl_file + ".bak", encoding="utf-8") as file:
            self.assertEqual(file.read(), FILE)
        self.assertEqual(os.stat(self.broker.acl_file + ".bak").st_mode & 0o777, 0o640)
        text = self.broker.read_acl()
        self.assertIn("secretKey: '123456789'", text)  # a text for every reader
        self.assertIn("dataVersion:\n- counter: 1\n  timestamp: ", text)
        self.assertEqual(sorted(os.listdir(self.broker.path("conf"))),
                         ["plain_acl.yml", "plain_acl.yml.bak"])

    def test_the_white_list(self):
        stranger = Signing(self.broker.port)
        self.addCleanup(stranger.close)
        answer = self.admin.call(UPDATE_WHITE, {"globalWhiteAddrs": "127.0.0.{1,9},10.1.1.*"})
        self.assertEqual(answer.code, SUCCESS, answer)
        self.assertEqual(stranger.call(28, {}).code, SUCCESS)
        self.assertEqual(self.config()["globalWhiteAddrs"], ["127.0.0.{1,9}", "10.1.1.*"])
        self.admin.call(UPDATE_WHITE, {"globalWhiteAddrs": "10.1.1.*"})
        self.assertIn("No accessKey", stranger.call(28, {}).remark)

    def test_what_is_refused(self):
        text = self.broker.read_acl()
        for ext, part in ((account_header("short"), "longer than 6"),
                          (account_header("long-enough", "short"), "longer than 6"),
                          ({"accessKey": "long-enough", "admin": "false"}, "longer than 6"),
                          (account_header("long-enough", topicPerms="A"), '"A" is not name=PERM'),
                          (account_header("long-enough", topicPerms="A=XXX"), "is not name=PERM"),
                          (account_header("long-enough", groupPerms="A=PUB=SUB"), "name=PERM"),
                          (account_header("long-enough", defaultTopicPerm="ALL"), '"ALL" is none'),
                          (account_header("long-enough", whiteRemoteAddress="1.2.3"), '"1.2.3"')):
            answer = self.admin.call(UPDATE_ACL, ext)
            self.assertEqual(answer.code, 209, answer)
            self.assertIn(part, answer.remark)
            self.assertNotIn("secret-of", answer.remark)
        answer = self.admin.call(DELETE_ACL, {"accessKey": "not-there-at-all"})
        self.assertEqual(answer.code, 210, answer)
        self.assertTrue(answer.remark.startswith(
            "The accesskey[not-there-at-all] corresponding to accessConfig has been deleted "
            "failed"))
        self.assertEqual(self.admin.call(UPDATE_WHITE, {"globalWhiteAddrs": "1.2.3.4,x"}).code, 211)
        self.assertEqual(self.broker.read_acl(), text)
        self.broker.write_acl("accounts:\n- accessKey: administrator\n"
                              "  secretKey: secret-of-administrator\n  admin: true\n")
        answer = self.admin.call(UPDATE_WHITE, {"globalWhiteAddrs": "1.2.3.4"})
        self.assertEqual(answer.code, 211, answer)
        self.assertIn("globalWhiteRemoteAddresses: []", answer.remark)

    def test_a_file_that_cannot_be_written(self):
        os.rename(self.broker.acl_file, self.broker.acl_file + ".away")
        answer = self.admin.call(UPDATE_ACL, account_header("brand-new-account"))
        self.assertEqual(answer.code, 209, answer)
        self.assertIn("cannot be read", answer.remark)
        os.rename(self.broker.acl_file + ".away", self.broker.acl_file)
        self.assertEqual(self.admin.call(UPDATE_ACL, account_header("brand-new-account")).code,
                         SUCCESS)

    def test_secrets_are_nowhere(self):
        self.admin.call(UPDATE_ACL, account_header("brand-new-account"))
        self.admin.call(UPDATE_ACL, account_header("other-new-account", topicPerms="x"))
        self.admin.call(GET_ACL, {})
        with Signing(self.broker.port, (USER[0], "wrong")) as wrong:
            wrong.call(28, {})
        self.broker.write_acl(FILE + "- accessKey: once-more\n  secretKey: 0123456789secret-of\n x")
        wait_until(lambda: "rules not taken over" in self.broker.log(), "a line in the log")
        self.assertNotIn("secret-of", self.broker.log() + self.broker.output())

    def test_many_at_once(self):
        """None of many commands is lost."""
        def create(number):
            with Signing(self.broker.port, ADMIN) as client:
                for i in range(5):
                    answer = client.call(UPDATE_ACL, account_header(f"account-{number}-{i}"))
                    self.assertEqual(answer.code, SUCCESS, answer)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(self.config()["plainAccessConfigs"]), 24)
        self.assertEqual(self.version()["counter"], 20)


class Off(unittest.TestCase):
    def test_without_access_control(self):
        broker = Broker()
        self.addCleanup(broker.remove)
        broker.start()
        with broker.client() as client:
            for code, ext, failure in ((UPDATE_ACL, account_header("account-one"), 209),
                                       (DELETE_ACL, {"accessKey": "account-one"}, 210),
                                       (UPDATE_WHITE, {"globalWhiteAddrs": "*"}, 211),
                                       (ACL_VERSION, {}, 1), (GET_ACL, {}, 1)):
                answer = client.call(code, ext)
                self.assertEqual(answer.code, failure, answer)
                self.assertTrue(answer.remark.startswith("access control is off"), answer)
        with Signing(broker.port, NOBODY) as client:  # signatures harm nobody
            self.assertEqual(client.create_topic("T").code, SUCCESS)


# --- others ---------------------------------------------------------------------------------------


class Others(AclTest):
    def test_refusals_cost_others_nothing(self):
        """Ten thousand refused requests: few lines, and whoever may send does."""
        stranger, user = self.connect(), self.connect(USER)
        opaques = []
        for _ in range(10000):
            opaques.append(stranger.send(SEND_V2, send_header("mayBoth"), b"x"))
            if len(opaques) == 500:
                for opaque in opaques:
                    self.refused(stranger.read_answer(opaque), "No accessKey")
                opaques.clear()
                self.assertEqual(user.produce("mayBoth").code, SUCCESS)
        self.assertLess(self.broker.log().count("request refused"), DEADLINE_S)
        self.assertIn("name=SEND_MESSAGE_V2", self.broker.log())


class Replication(unittest.TestCase):
    """A slave signs nothing (AC-11): its master has to know its address."""

    def test_a_slave(self):
        master = AclBroker()
        self.addCleanup(master.remove)
        master.start()
        with Signing(master.port, ADMIN) as admin:
            admin.create_topic("replicated")
            namesrv = rocketmq.Daemon("mqnamesrv", {"listenPort": free_port()},
                                      ready="boot success")
            self.addCleanup(namesrv.remove)
            namesrv.start()
            slave = AclBroker(brokerRole="SLAVE", brokerId=1,
                              haMasterAddress=f"127.0.0.1:{master.port + 1}",
                              namesrvAddr=namesrv.address)
            self.addCleanup(slave.remove)
            master.options["namesrvAddr"] = namesrv.address
            master.stop()
            master.write_config()
            master.start()
            slave.start()
            wait_until(lambda: "a table of the master could not be copied" in slave.log(),
                       "the slave says that it is refused")
            line = next(line for line in slave.log().splitlines() if "could not be copied" in line)
            self.assertIn("No accessKey is configured", line)
            self.assertIn("globalWhiteRemoteAddresses", line)
        with Signing(master.port, ADMIN) as admin:
            self.assertEqual(admin.call(UPDATE_WHITE, {"globalWhiteAddrs": "127.0.0.1"}).code,
                             SUCCESS)
        wait_until(lambda: "the tables follow the master's" in slave.log(), "tables are copied")
        with Signing(slave.port, USER) as user:
            answer = user.pull("mayNothing", group="anyGroup")
            self.assertIn("No default permission", answer.remark)
        with Signing(slave.port, ADMIN) as admin:
            wait_until(lambda: b'"replicated"' in admin.call(21, {}).body, "the topic is there")


if __name__ == "__main__":
    rocketmq.main("broker_acl")
