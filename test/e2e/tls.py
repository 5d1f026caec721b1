#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS on the ports of clients, of both daemons: the modes, the certificates and whose are checked,
records in small pieces, what breaks, certificates that are replaced under load, the broker's own
calls, and that messages come out as they do without TLS.

Source of the rules: NettyRemotingServer, TlsHelper, TlsSystemConfig and BrokerController of
RocketMQ 4.9.2; docs/tls.md says what is ours.
"""

import glob
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import rocketmq
from broker import (Broker, Client, PULL_NOT_FOUND, ROUTE, SUCCESS, decode_records)
from broker_cold import bytes_in_memory, make_cold
from rocketmq import (Closed, Command, DEADLINE_S, Daemon, JSON, PROTOBUF, ROCKETMQ, free_port,
                      wait_until)

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import certificates  # noqa: E402

CLUSTER_INFO = 106
GET_CONFIG = 26
TLS_ERRORS = (ssl.SSLError, ConnectionError, Closed, OSError)


def trusting(certificate=None, key=None, password=None):
    """As a Java client in its test mode: accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key, password)
    return context


def checking(trusted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(trusted)
    return context


class TlsClient(Client):
    """A client whose connection is encrypted."""

    def __init__(self, port, context=None):
        super().__init__("127.0.0.1", port)
        try:
            self.socket = (context or trusting()).wrap_socket(self.socket)
        except BaseException:
            self.socket.close()
            raise

    def shown(self):
        """The certificate that it was shown, in DER."""
        return self.socket.getpeercert(True)


class TlsTest(unittest.TestCase):
    def setUp(self):
        if not certificates.usable():
            self.skipTest("there is no openssl")
        folder = tempfile.TemporaryDirectory(prefix="tls.")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def authority(self, name="ca"):
        return certificates.Authority(self.folder, name)

    def broker(self, **options):
        broker = Broker(**options)
        self.addCleanup(broker.remove)
        return broker

    def name_server(self, **options):
        server = Daemon("mqnamesrv", {"listenPort": free_port(), **options})
        self.addCleanup(server.remove)
        return server

    def connect(self, port, context=None):
        client = TlsClient(port, context)
        self.addCleanup(client.close)
        return client

    def with_files(self, name="server", **other):
        """Options for a server with the certificate of that name."""
        return {"tls.test.mode.enable": "false", "tls.server.certPath": self.path(f"{name}.cert"),
                "tls.server.keyPath": self.path(f"{name}.key"), **other}

    def refuses(self, port, context=None):
        """A request over TLS gets no answer."""
        try:
            with TlsClient(port, context) as client:
                client.call(CLUSTER_INFO)
        except TLS_ERRORS:
            return True
        return False

    def refuses_plain(self, port):
        try:
            with Client("127.0.0.1", port) as client:
                client.call(CLUSTER_INFO)
        except (Closed, OSError):
            return True
        return False


class Modes(TlsTest):
    def test_the_default_serves_both(self):
        """Without a single option: a certificate of its own, on every port of clients."""
        broker = self.broker().start()
        server = self.name_server().start()
        for port in (broker.port, broker.port - 2, server.port):
            for context in (None, trusting()):
                if context is not None:
                    context.maximum_version = ssl.TLSVersion.TLSv1_2
                client = self.connect(port, context)
                for codec in (JSON, ROCKETMQ, PROTOBUF):
                    self.assertIn(client.call(CLUSTER_INFO, codec=codec).code, (0, 3))
            self.assertFalse(self.refuses_plain(port))
            context = trusting()
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
            self.assertTrue(self.refuses(port, context), "TLS 1.1")

    def test_enforcing(self):
        broker = self.broker(**{"tls.server.mode": "enforcing"}).start()
        server = self.name_server(**{"tls.server.mode": "enforcing"}).start()
        for daemon, ports in ((broker, (broker.port, broker.port - 2)), (server, (server.port,))):
            for port in ports:
                self.assertFalse(self.refuses(port))
                self.assertTrue(self.refuses_plain(port))
            self.assertIn("does not speak TLS", daemon.log())

    def test_disabled(self):
        broker = self.broker(**{"tls.server.mode": "disabled"}).start()
        server = self.name_server(tlsServerMode="disabled").start()
        for daemon in (broker, server):
            self.assertTrue(self.refuses(daemon.port))
            self.assertFalse(self.refuses_plain(daemon.port))
            self.assertIn("wants TLS", daemon.log())


class Settings(TlsTest):
    def check(self, daemon, *arguments):
        """Run it with these arguments; exit status and what it says."""
        if not os.path.exists(daemon.config_file):
            daemon.write_config()
        environment = dict(os.environ, HOME=daemon.folder, **daemon.environment)
        done = subprocess.run([daemon.binary(), "-c", daemon.config_file, *arguments],
                              capture_output=True, text=True, env=environment, timeout=DEADLINE_S)
        return done.returncode, done.stdout + done.stderr

    def test_java_options_and_the_file(self):
        """As users of 4.9.2 set them; the file goes before the Java options."""
        authority = self.authority()
        authority.sign("server", password="open sesame")
        with open(self.path("tls.properties"), "w", encoding="ascii") as file:
            file.write("tls.test.mode.enable=false\n"
                       "tls.server.need.client.auth=NONE\n"
                       f"tls.server.certPath={self.path('server.cert')}\n"
                       f"tls.server.keyPath={self.path('server.key')}\n"
                       "tls.server.keyPassword=open sesame\n"
                       "tls.server.mode=disabled\n")
        options = f"-server -Dtls.server.mode=enforcing -Dtls.config.file={self.path('tls.properties')}"
        for daemon in (self.broker(), self.name_server()):
            daemon.environment["JAVA_OPT"] = options + " -Dtls.server.certPath=/nowhere -Dtls.enable=true"
            status, said = self.check(daemon, "-p")
            self.assertEqual(status, 0, said)
            self.assertRegex(said, r"tlsServerMode = enforcing +# -Dtls.server.mode in JAVA_OPT")
            self.assertRegex(said, r"tlsServerCertPath = .*server.cert +# .*tls.properties:3")
            self.assertIn("tls.server.mode does not count in this file", said)
            self.assertNotIn("open sesame", said)
            self.assertEqual(self.check(daemon, "--check")[0], 0)
            daemon.start()
            client = self.connect(daemon.port, checking(self.path("ca.cert")))
            self.assertIn(client.call(CLUSTER_INFO).code, (0, 3))
            self.assertTrue(self.refuses_plain(daemon.port))
            if daemon.name == "mqbroker":
                self.assertNotIn(b"open sesame", client.call(GET_CONFIG).body)

    def test_refusals(self):
        """What can not work ends the start, with status 2 and words that help."""
        authority = self.authority()
        authority.sign("server")
        authority.sign("other", password="secret")
        good = self.with_files()
        cases = [
            ({"tls.server.mode": "strict"}, "expected disabled, permissive or enforcing"),
            ({"tls.test.mode.enable": "false"}, "tls.server.certPath is not set"),
            ({**good, "tls.server.certPath": "/nowhere/x"}, "/nowhere/x can not be read"),
            ({**good, "tls.server.keyPath": self.path("ca.key")}, "does not belong to"),
            ({**good, "tls.server.keyPath": self.path("other.key")}, "set tls.server.keyPassword"),
            ({**good, "tls.server.keyPath": self.path("other.key"),
              "tls.server.keyPassword": "wrong"}, "is tls.server.keyPassword right"),
            ({**good, "tls.server.authClient": "true",
              "tls.server.trustCertPath": self.path("server.key")}, "tls.server.trustCertPath"),
            ({"tls.config.file": "/nowhere/tls.properties"}, "/nowhere/tls.properties can not"),
        ]
        for options, words in cases:
            for daemon in (self.broker(**options), self.name_server(**options)):
                for arguments in ((), ("--check",)):
                    status, said = self.check(daemon, *arguments)
                    self.assertEqual(status, 2, said)
                    self.assertIn(words, said)
        for options, words in (
                ({"useTLS": "true", "tls.test.mode.enable": "false", "tls.server.mode": "disabled",
                  "tls.client.authServer": "true", "tls.client.trustCertPath": "/nowhere"},
                 "tls.client.trustCertPath"),):
            status, said = self.check(self.broker(**options))
            self.assertEqual(status, 2, said)
            self.assertIn(words, said)

    def test_in_libconfig_grammar(self):
        daemon = self.name_server()
        with open(daemon.config_file, "w", encoding="ascii") as file:
            file.write(f'listenPort = {daemon.port};\ntlsServerMode = "enforcing";\n')
        daemon.start()
        self.assertTrue(self.refuses_plain(daemon.port))
        self.assertFalse(self.refuses(daemon.port))


class Certificates(TlsTest):
    def test_clients_that_check(self):
        authority = self.authority()
        authority.sign("server", rsa=True)
        self.authority("other")
        broker = self.broker(**self.with_files()).start()
        self.assertFalse(self.refuses(broker.port, checking(self.path("ca.cert"))))
        self.assertTrue(self.refuses(broker.port, checking(self.path("other.cert"))))
        wait_until(lambda: "unknown ca" in broker.log(), "the client's complaint is logged")

    def test_clients_that_are_checked(self):
        authority = self.authority()
        authority.sign("server")
        authority.sign("client")
        other = self.authority("other")
        other.sign("stranger")
        known = trusting(self.path("client.cert"), self.path("client.key"))
        unknown = trusting(self.path("stranger.cert"), self.path("stranger.key"))
        broker = self.broker(**self.with_files(**{
            "tls.server.need.client.auth": "require", "tls.server.authClient": "true",
            "tls.server.trustCertPath": self.path("ca.cert")})).start()
        self.assertFalse(self.refuses(broker.port, known))
        self.assertTrue(self.refuses(broker.port, unknown))
        self.assertTrue(self.refuses(broker.port))
        wait_until(lambda: "certificate" in broker.log(), "the refusal is logged")
        self.assertIn("TLS handshake failed", broker.log())


class Traffic(TlsTest):
    def test_messages_as_without(self):
        """Every size, sent and pulled over TLS, is what a plain client gets, byte for byte."""
        broker = self.broker(maxMessageSize=8 << 20).start()
        source = random.Random(1)
        secure = self.connect(broker.port)
        with broker.client() as plain:
            self.assertEqual(secure.create_topic("T").code, SUCCESS)
            bodies = [source.randbytes(size) for size in
                      (0, 1, 100, 16383, 16384, 16385, 65536, 100000, 1 << 20, 4 << 20, 4 << 20)]
            for i, body in enumerate(bodies):
                codec = (JSON, ROCKETMQ, PROTOBUF)[i % 3]
                answer = (plain if i % 2 else secure).produce("T", body or b"\0", codec=codec)
                self.assertEqual(answer.code, SUCCESS, answer)
            wait_until(lambda: plain.max_offset("T") == len(bodies), "all are there")
            seen = [client.read_queue("T") for client in (plain, secure)]
            self.assertEqual([record.body for record in seen[0]],
                             [body or b"\0" for body in bodies])
            for offset in range(len(bodies)):
                answers = [client.pull("T", 0, offset) for client in (plain, secure)]
                self.assertEqual(answers[0].body, answers[1].body)
                self.assertEqual(answers[0].ext, answers[1].ext)

    def test_records_byte_by_byte(self):
        broker = self.broker().start()
        raw = socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(raw.close)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = trusting().wrap_bio(incoming, outgoing)

        def step(action):
            while True:
                try:
                    result = action()
                    trickle()
                    return result
                except ssl.SSLWantReadError:
                    trickle()
                    data = raw.recv(65536)
                    self.assertTrue(data)
                    incoming.write(data)

        def trickle():
            for byte in outgoing.read():
                raw.sendall(bytes([byte]))

        step(secure.do_handshake)
        for i in range(3):
            frame = Command(CLUSTER_INFO, {"n": "x"}, b"body", i).encode()
            step(lambda: secure.write(frame))
            size, = struct.unpack(">i", step(lambda: secure.read(4)))
            answer = b""
            while len(answer) < size:
                answer += step(lambda: secure.read(size - len(answer)))
            self.assertEqual(rocketmq.decode(answer).opaque, i)

    def test_held_pulls_are_woken(self):
        broker = self.broker().start()
        waiting, sending = self.connect(broker.port), self.connect(broker.port)
        self.assertEqual(sending.create_topic("T").code, SUCCESS)
        for i in range(20):
            opaque = waiting.start_pull("T", 0, i)
            self.assertEqual(sending.produce("T", b"%d" % i).code, SUCCESS)
            answer = waiting.read_answer(opaque)
            self.assertEqual(answer.code, SUCCESS)
            self.assertEqual([record.body for record in decode_records(answer.body)], [b"%d" % i])

    def test_a_cold_backlog(self):
        """What is on the disk only comes, and nobody else waits for it."""
        broker = self.broker(mappedFileSizeCommitLog=1 << 20, coldReadCacheBytes=4 << 20).start()
        source = random.Random(2)
        bodies = [source.randbytes(60000) for _ in range(200)]
        with broker.client() as client:
            self.assertEqual(client.create_topic("Old").code, SUCCESS)
            for body in bodies:
                self.assertEqual(client.produce("Old", body).code, SUCCESS)
            wait_until(lambda: client.max_offset("Old") == len(bodies), "all are dispatched")
        self.assertEqual(broker.stop(), 0)
        segments = sorted(glob.glob(broker.path("store/commitlog/*")))[:-2]
        for path in segments + glob.glob(broker.path("store/consumequeue/Old/*/*")):
            make_cold(path)
        if sum(map(bytes_in_memory, segments)) > 0:
            self.skipTest("the files can not be made cold here")
        broker.start()
        records = self.connect(broker.port).read_queue("Old")
        self.assertEqual([record.body for record in records], bodies)

    def test_pages_that_leave_while_an_answer_waits(self):
        """A slow reader's answers are written when their pages have left the memory again."""
        broker = self.broker(mappedFileSizeCommitLog=1 << 20,
                             serverSocketSndBufSize=8192).start()
        source = random.Random(3)
        bodies = [source.randbytes(200000) for _ in range(40)]
        sender = self.connect(broker.port)
        self.assertEqual(sender.create_topic("T").code, SUCCESS)
        for body in bodies:
            self.assertEqual(sender.produce("T", body).code, SUCCESS)
        wait_until(lambda: sender.max_offset("T") == len(bodies), "all are dispatched")
        reader = self.connect(broker.port)
        opaques = [reader.start_pull("T", 0, offset) for offset in range(len(bodies))]
        time.sleep(0.2)
        for path in sorted(glob.glob(broker.path("store/commitlog/*"))):
            make_cold(path)
        got = []
        for opaque in opaques:
            answer = reader.read_answer(opaque)
            self.assertEqual(answer.code, SUCCESS)
            got.append(decode_records(answer.body)[0].body)
        self.assertEqual(got, bodies)
        self.assertEqual(sender.produce("T", b"x").code, SUCCESS)

    def test_stopping_over_tls(self):
        broker = self.broker().start()
        client = self.connect(broker.port)
        self.assertEqual(client.create_topic("T").code, SUCCESS)
        opaque = client.start_pull("T", 0, 0)
        self.assertEqual(broker.stop(), 0)
        self.assertEqual(client.read_answer(opaque).code, PULL_NOT_FOUND)


class Trouble(TlsTest):
    def test_garbage_resets_and_halves(self):
        """Whatever breaks costs nobody else anything."""
        broker = self.broker().start()
        healthy = self.connect(broker.port)
        self.assertEqual(healthy.create_topic("T").code, SUCCESS)
        source = random.Random(5)
        hello, _ = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = trusting().wrap_bio(ssl.MemoryBIO(), hello)
        self.assertRaises(ssl.SSLWantReadError, secure.do_handshake)
        greeting = hello.read()
        for i in range(120):
            data = bytearray(greeting)
            if i % 3 == 0:
                data = data[:source.randrange(1, len(data))]
            elif i % 3 == 1:
                for _ in range(source.randrange(1, 20)):
                    data[source.randrange(1, len(data))] = source.randrange(256)
            else:
                data += source.randbytes(source.randrange(1, 3000))
            with Client("127.0.0.1", broker.port) as client:
                try:
                    client.send_bytes(bytes(data))
                    if i % 4 == 0:
                        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                 struct.pack("ii", 1, 0))
                    elif i % 4 == 1:
                        client.socket.shutdown(socket.SHUT_WR)
                        while client.socket.recv(65536):
                            pass
                except OSError:
                    pass
            if i % 10 == 0:
                self.assertEqual(healthy.produce("T", b"x").code, SUCCESS)
        # Established ones that end in the middle of a record, or without a farewell.
        for i in range(20):
            client = TlsClient(broker.port)
            client.call(CLUSTER_INFO)
            client.socket.send(Command(CLUSTER_INFO, None, bytes(1000), 1).encode())
            if i % 2:
                plain = socket.socket(fileno=client.socket.detach())
                plain.send(b"\x17\x03\x03\x40\x00" + bytes(100))
                plain.close()
            else:
                client.close()
        self.assertEqual(healthy.produce("T", b"x").code, SUCCESS)
        lines = broker.log().count("TLS handshake")
        self.assertLess(lines, 60, "one a second")

        def is_logged():
            with Client("127.0.0.1", broker.port) as client:
                client.send_bytes(b"\x16 no greeting of TLS")
                client.is_closed_by_peer()
            return "TLS handshake failed" in broker.log()

        wait_until(is_logged, "failures are logged")

    def test_many_half_handshakes(self):
        broker = self.broker(serverSelectorThreads=1).start()
        healthy = self.connect(broker.port)
        self.assertEqual(healthy.create_topic("T").code, SUCCESS)
        hello = ssl.MemoryBIO()
        secure = trusting().wrap_bio(ssl.MemoryBIO(), hello)
        self.assertRaises(ssl.SSLWantReadError, secure.do_handshake)
        greeting = hello.read()
        flood = []
        try:
            for i in range(600):
                flood.append(socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S))
                flood[-1].sendall(greeting)
                if i % 50 == 0:
                    self.assertEqual(healthy.produce("T", b"x").code, SUCCESS)
            self.assertFalse(self.refuses(broker.port))
            wait_until(lambda: "too many TLS handshakes" in broker.log(), "the oldest are ended")
            wait_until(lambda: all(ended(one) for one in flood), "all are ended in time")
            wait_until(lambda: "not done in time" in broker.log(), "the slow ones are ended")
        finally:
            for one in flood:
                one.close()
        self.assertEqual(healthy.produce("T", b"x").code, SUCCESS)


def ended(connection):
    """Has the peer closed it?"""
    connection.settimeout(0)
    try:
        while connection.recv(65536):
            pass
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


class Renewal(TlsTest):
    def test_certificates_change_under_load(self):
        """Thousands of messages while certificates are replaced; connections that stand go on, new
        ones get the new certificate."""
        authority = self.authority()
        authority.sign("server")
        broker = self.broker(**self.with_files()).start()
        server = self.name_server(**self.with_files()).start()
        context = checking(self.path("ca.cert"))
        standing = self.connect(broker.port, context)
        self.assertEqual(standing.create_topic("T", 4).code, SUCCESS)
        ending = threading.Event()
        sent, failures = [0] * 4, []

        def produce(queue_id):
            try:
                with TlsClient(broker.port, context) as client:
                    while not ending.is_set():
                        for _ in range(50):
                            if client.produce("T", b"x" * 500, queue_id).code != SUCCESS:
                                raise AssertionError("refused")
                            sent[queue_id] += 1
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=produce, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            before = standing_certificate(broker.port, context)
            authority.sign("server")
            for port in (broker.port, server.port):
                wait_until(lambda: standing_certificate(port, context) != before,
                           "the new certificate is shown")
        # A certificate without its key changes nothing, and is said once.
        before = standing_certificate(broker.port, context)
        os.rename(self.path("server.key"), self.path("kept.key"))
        authority.sign("other")
        os.rename(self.path("other.key"), self.path("server.key"))
        wait_until(lambda: "those in use stay" in broker.log(), "the bad pair is logged")
        time.sleep(2)
        self.assertEqual(broker.log().count("those in use stay"), 1)
        self.assertEqual(standing_certificate(broker.port, context), before)
        os.rename(self.path("other.cert"), self.path("server.cert"))
        wait_until(lambda: standing_certificate(broker.port, context) != before,
                   "the pair is whole again")
        wait_until(lambda: sum(sent) > 2000, "thousands of messages")
        ending.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for queue_id, count in enumerate(sent):
            wait_until(lambda: standing.max_offset("T", queue_id) == count, "all are there")

    def test_a_changed_trust_file(self):
        authority = self.authority()
        authority.sign("server")
        authority.sign("client")
        other = self.authority("other")
        other.sign("stranger")
        with open(self.path("ca.cert"), encoding="ascii") as file:
            first = file.read()
        with open(self.path("other.cert"), encoding="ascii") as file:
            second = file.read()
        trust = self.path("trust")
        with open(trust, "w", encoding="ascii") as file:
            file.write(first)
        broker = self.broker(**self.with_files(**{
            "tls.server.need.client.auth": "require", "tls.server.authClient": "true",
            "tls.server.trustCertPath": trust})).start()
        known = trusting(self.path("client.cert"), self.path("client.key"))
        unknown = trusting(self.path("stranger.cert"), self.path("stranger.key"))
        standing = self.connect(broker.port, known)
        self.assertTrue(self.refuses(broker.port, unknown))
        with open(trust, "w", encoding="ascii") as file:
            file.write(second)
        wait_until(lambda: not self.refuses(broker.port, unknown), "the new trust counts")
        self.assertTrue(self.refuses(broker.port, known))
        self.assertEqual(standing.create_topic("T").code, SUCCESS)


def standing_certificate(port, context):
    with TlsClient(port, context) as client:
        return client.shown()


class Calls(TlsTest):
    def registered(self, server, context=None):
        with TlsClient(server.port, context) as client:
            return client.call(ROUTE, {"topic": "TBW102"}).code == SUCCESS

    def test_registration(self):
        """By each of the ways to ask for it."""
        server = self.name_server(**{"tls.server.mode": "enforcing"}).start()
        for options in ({"useTLS": "true"}, {"tls.enable": "true"},
                        {"tls.server.mode": "enforcing"}):
            broker = self.broker(namesrvAddr=server.address, **options)
            broker.start()
            wait_until(lambda: self.registered(server), "it is registered")
            self.assertEqual(broker.stop(), 0)
            wait_until(lambda: not self.registered(server), "and unregistered")
        # Without TLS it does not get through.
        broker = self.broker(namesrvAddr=server.address, **{"tls.server.mode": "enforcing",
                                                            "tls.enable": "false"}).start()
        wait_until(lambda: "does not speak TLS" in server.log(), "it was turned away")
        self.assertFalse(self.registered(server))

    def test_the_name_server_is_checked(self):
        authority = self.authority()
        authority.sign("server")
        authority.sign("client", password="word")
        self.authority("other")
        server = self.name_server(**self.with_files(**{
            "tls.server.mode": "enforcing", "tls.server.need.client.auth": "require",
            "tls.server.authClient": "true",
            "tls.server.trustCertPath": self.path("ca.cert")})).start()
        own = {**self.with_files(), "useTLS": "true", "tls.client.authServer": "true",
               "tls.client.certPath": self.path("client.cert"),
               "tls.client.keyPath": self.path("client.key"), "tls.client.keyPassword": "word"}
        wrong = self.broker(namesrvAddr=server.address, **own,
                            **{"tls.client.trustCertPath": self.path("other.cert")}).start()
        wait_until(lambda: "certificate verify failed" in wrong.log(), "it is not trusted")
        context = trusting(self.path("client.cert"), self.path("client.key"), "word")
        self.assertFalse(self.registered(server, context))
        self.assertEqual(wrong.stop(), 0)
        self.broker(namesrvAddr=server.address, **own,
                    **{"tls.client.trustCertPath": self.path("ca.cert")}).start()
        wait_until(lambda: self.registered(server, context), "it is registered")

    def test_a_slave_copies_over_tls(self):
        server = self.name_server(**{"tls.server.mode": "enforcing"}).start()
        enforcing = {"tls.server.mode": "enforcing", "namesrvAddr": server.address,
                     "brokerClusterName": "C"}
        master = self.broker(**enforcing).start()
        slave = self.broker(brokerRole="SLAVE", brokerId=1, **enforcing).start()
        client = self.connect(master.port)
        self.assertEqual(client.create_topic("T").code, SUCCESS)
        for i in range(50):
            self.assertEqual(client.produce("T", b"%d" % i).code, SUCCESS)
        other = self.connect(slave.port)
        wait_until(lambda: other.max_offset("T") == 50, "the log is copied, without TLS")

        def has_topic():
            return other.pull("T", 0, 0).code == SUCCESS

        wait_until(has_topic, "the tables are copied, with TLS")


class Tools(TlsTest):
    def run_tool(self, name, *arguments):
        done = subprocess.run([os.path.join(rocketmq.build_folder(), "bin", name), *arguments],
                              capture_output=True, text=True, timeout=DEADLINE_S)
        return done.returncode, done.stdout + done.stderr

    def test_probe_and_bench(self):
        if not os.path.exists(os.path.join(rocketmq.build_folder(), "bin", "mqbench")):
            self.skipTest("the tools are not built")
        server = self.name_server(**{"tls.server.mode": "enforcing"}).start()
        broker = self.broker(namesrvAddr=server.address, brokerClusterName="C",
                             **{"tls.server.mode": "enforcing"}).start()
        self.assertEqual(self.run_tool("mqprobe", "ready", "--broker", broker.address, "--tls")[0], 0)
        status, said = self.run_tool("mqprobe", "quickstart", "--namesrv", server.address, "--count",
                                     "50", "--timeout", "60", "--tls")
        self.assertIn("All 50 messages came back", said)
        self.assertEqual(status, 0)
        acked = self.path("acked")
        load = ("--broker", broker.address, "--topic", "B", "--create", "--tls")
        status, said = self.run_tool("mqbench", "produce", *load, "--count", "3000", "--size", "5000",
                                     "--acked-log", acked)
        self.assertEqual(status, 0, said)
        status, said = self.run_tool("mqbench", "verify", *load, "--acked-log", acked)
        self.assertEqual(status, 0, said)
        status, said = self.run_tool("mqprobe", "ready", "--broker", broker.address, "--timeout", "0")
        self.assertEqual(status, 1, said)


if __name__ == "__main__":
    rocketmq.main("tls")
