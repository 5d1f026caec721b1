# SPDX-License-Identifier: Apache-2.0
"""What end-to-end tests need: the remoting protocol from a client's side, and daemons to talk to.

Connection speaks frames with JSON, ROCKETMQ and PROTOBUF headers; Daemon starts one of our programs
with a configuration of its own in a folder of its own, waits until it is ready, and ends it.
Standard library only. The environment variable BUILD names the build folder (default: build).
"""

import functools
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ports  # noqa: E402

JSON = 0
ROCKETMQ = 1
PROTOBUF = 80
VERSION_4_9_2 = 397
FLAG_RESPONSE = 1
FLAG_ONEWAY = 2
# For whatever must happen, and takes a moment only: a busy machine may stall for seconds.
DEADLINE_S = 120
SANITIZER_REPORT = re.compile(r"runtime error:|(ERROR|WARNING): \w+Sanitizer")


class Closed(Exception):
    """The peer has closed the connection."""


class Command:
    """A request or an answer; `codec` is the one its header came in."""

    def __init__(self, code, ext=None, body=b"", opaque=0, flag=0, remark=None, codec=JSON,
                 version=VERSION_4_9_2, language="JAVA"):
        self.code = code
        self.ext = ext
        self.body = body
        self.opaque = opaque
        self.flag = flag
        self.remark = remark
        self.codec = codec
        self.version = version
        self.language = language

    def __repr__(self):
        return f"Command(code={self.code}, remark={self.remark!r}, ext={self.ext!r}, " \
               f"body={self.body[:200]!r})"

    def json(self):
        """The body, read as fastjson's dialect."""
        return parse_json(self.body)

    def encode(self):
        header = {JSON: self._header_json, ROCKETMQ: self._header_rocketmq,
                  PROTOBUF: self._header_protobuf}[self.codec]()
        rest = struct.pack(">I", self.codec << 24 | len(header)) + header + self.body
        return struct.pack(">i", len(rest)) + rest

    def _header_json(self):
        header = {"code": self.code, "flag": self.flag, "language": self.language,
                  "opaque": self.opaque, "serializeTypeCurrentRPC": "JSON",
                  "version": self.version}
        if self.ext is not None:
            header["extFields"] = self.ext
        if self.remark is not None:
            header["remark"] = self.remark
        return json.dumps(header, ensure_ascii=False).encode()

    def _header_rocketmq(self):
        remark = (self.remark or "").encode()
        ext = b""
        for name, value in (self.ext or {}).items():
            name, value = name.encode(), str(value).encode()
            ext += struct.pack(">h", len(name)) + name + struct.pack(">i", len(value)) + value
        return (struct.pack(">hbhii", self.code, 0, self.version, self.opaque, self.flag) +
                struct.pack(">i", len(remark)) + remark + struct.pack(">i", len(ext)) + ext)

    def _header_protobuf(self):
        """As proto/command.proto says."""
        header = b"".join(_varint_field(number, value) for number, value in (
            (1, zigzag(self.code)), (3, zigzag(self.version)), (4, zigzag(self.opaque)),
            (5, self.flag)))
        if self.remark is not None:
            header += _bytes_field(6, self.remark.encode())
        for name, value in (self.ext or {}).items():
            header += _bytes_field(7, _bytes_field(1, name.encode()) +
                                   _bytes_field(2, str(value).encode()))
        return header


def zigzag(value):
    return value << 1 if value >= 0 else (-value << 1) - 1


def _unzigzag(value):
    return (value >> 1) ^ -(value & 1)


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _varint_field(number, value):
    return varint(number << 3) + varint(value)


def _bytes_field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def _read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def _protobuf_fields(data):
    """(number, value) of each field; varints and bytes only."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        yield key >> 3, value


def _decode_protobuf(header, body):
    fields, ext = {}, {}
    for number, value in _protobuf_fields(header):
        if number == 7:
            pair = dict(_protobuf_fields(value))
            ext[pair[1].decode()] = pair.get(2, b"").decode()
        else:
            fields[number] = value
    return Command(_unzigzag(fields.get(1, 0)), ext or None, body, _unzigzag(fields.get(4, 0)),
                   fields.get(5, 0), fields[6].decode() if 6 in fields else None, PROTOBUF,
                   _unzigzag(fields.get(3, 0)), fields.get(2, 0))


def decode(frame):
    """A whole frame without its first length word."""
    word, = struct.unpack_from(">I", frame)
    codec, size = word >> 24, word & 0xFFFFFF
    header, body = frame[4:4 + size], frame[4 + size:]
    if codec == JSON:
        fields = json.loads(header)
        return Command(fields["code"], fields.get("extFields"), body, fields["opaque"],
                       fields["flag"], fields.get("remark"), JSON, fields["version"],
                       fields["language"])
    if codec == PROTOBUF:
        return _decode_protobuf(header, body)
    if codec != ROCKETMQ:
        raise ValueError(f"serialize type {codec}")
    code, language, version, opaque, flag, remark_size = struct.unpack_from(">hbhiii", header)
    at = 17
    remark = header[at:at + remark_size].decode() if remark_size else None
    at += remark_size
    ext_size, = struct.unpack_from(">i", header, at)
    at, end, ext = at + 4, at + 4 + ext_size, {}
    while at < end:
        size, = struct.unpack_from(">h", header, at)
        name = header[at + 2:at + 2 + size].decode()
        at += 2 + size
        size, = struct.unpack_from(">i", header, at)
        ext[name] = header[at + 4:at + 4 + size].decode()
        at += 4 + size
    return Command(code, ext or None, body, opaque, flag, remark, ROCKETMQ, version, language)


class Connection:
    """One TCP connection to a server. Requests that the server sends of its own accord are put
    into `pushed` whenever an answer is waited for."""

    def __init__(self, host, port, timeout_s=DEADLINE_S):
        self.socket = socket.create_connection((host, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.next_opaque = 1
        self.pushed = []
        self.answers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def local_address(self):
        return "%s:%d" % self.socket.getsockname()[:2]

    def send_bytes(self, data):
        self.socket.sendall(data)

    def send(self, code, ext=None, body=b"", codec=JSON, flag=0, version=VERSION_4_9_2):
        """Send a request and return its opaque; read_answer takes that."""
        opaque = self.next_opaque
        self.next_opaque += 1
        ext = None if ext is None else {name: str(value) for name, value in ext.items()}
        self.send_bytes(Command(code, ext, body, opaque, flag, None, codec, version).encode())
        return opaque

    def oneway(self, code, ext=None, body=b"", codec=JSON):
        self.send(code, ext, body, codec, FLAG_ONEWAY)

    def call(self, code, ext=None, body=b"", codec=JSON, version=VERSION_4_9_2):
        """Send a request and wait for its answer."""
        return self.read_answer(self.send(code, ext, body, codec, 0, version))

    def read_answer(self, opaque):
        while opaque not in self.answers:
            self._sort(self.read_frame())
        return self.answers.pop(opaque)

    def read_push(self):
        """The next request of the server."""
        while not self.pushed:
            self._sort(self.read_frame())
        return self.pushed.pop(0)

    def answer(self, request, code=0, ext=None, body=b"", remark=None):
        """Answer a request of the server."""
        self.send_bytes(Command(code, ext, body, request.opaque, FLAG_RESPONSE, remark,
                                request.codec).encode())

    def _sort(self, command):
        if command.flag & FLAG_RESPONSE:
            self.answers[command.opaque] = command
        else:
            self.pushed.append(command)

    def read_frame(self):
        """Takes nothing before all of the frame is there: a read that times out can be repeated."""
        self._fill(4)
        size, = struct.unpack_from(">i", self.received)
        self._fill(4 + size)
        frame, self.received = self.received[4:4 + size], self.received[4 + size:]
        return decode(frame)

    def _fill(self, size):
        while len(self.received) < size:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError as error:
                raise Closed() from error
            if not data:
                raise Closed()
            self.received += data

    def is_closed_by_peer(self):
        """Wait for the end of the stream; False when something else arrives."""
        try:
            self.read_frame()
        except Closed:
            return True
        return False


# --- fastjson's dialect ---------------------------------------------------------------------------


def parse_json(text):
    """Like json.loads, but object keys may be bare integers (then int) or objects (then a tuple of
    sorted pairs)."""
    text = text.decode() if isinstance(text, bytes) else text
    value, at = _parse_value(text, _skip(text, 0))
    if _skip(text, at) != len(text):
        raise ValueError(f"text behind the value at {at}: {text[at:at + 40]!r}")
    return value


def _skip(text, at):
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _parse_value(text, at):
    if text[at] == "{":
        return _parse_object(text, at)
    if text[at] == "[":
        items, at = [], _skip(text, at + 1)
        while text[at] != "]":
            item, at = _parse_value(text, at)
            items.append(item)
            at = _skip(text, at)
            if text[at] == ",":
                at = _skip(text, at + 1)
        return items, at + 1
    return json.JSONDecoder().raw_decode(text, at)


def _parse_object(text, at):
    members, at = {}, _skip(text, at + 1)
    while text[at] != "}":
        key, at = _parse_value(text, at)
        if isinstance(key, dict):
            key = tuple(sorted(key.items()))
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError(f"no colon at {at}: {text[at:at + 40]!r}")
        members[key], at = _parse_value(text, _skip(text, at + 1))
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return members, at + 1


# --- daemons --------------------------------------------------------------------------------------


def build_folder():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.path.join(root, os.environ.get("BUILD", "build"))


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Poll until `condition()` is true; fail with `what` when it takes too long."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.01)


def free_port(below=0, above=0):
    """A port that is free, with the `below` ports under it and the `above` ones over it. They stay
    this program's until it ends."""
    port = ports.reserve(range(-below, above + 1))
    if port is None:
        raise AssertionError("no free ports")
    return port


class TooSlow(Exception):
    """What was to be done within some time took longer, which shows nothing about the product."""


def with_times(*times):
    """For tests of what happens after a time, which must do something before: they get the first
    time, and when that was too short on this machine (TooSlow) the next one."""
    def decorate(test):
        @functools.wraps(test)
        def run(self):
            for time_ms in times[:-1]:
                try:
                    return test(self, time_ms)
                except TooSlow:
                    print(f"{self.id()}: {time_ms} ms are too short here", flush=True)
            return test(self, times[-1])
        return run
    return decorate


class within:
    """`with within(ms):` raises TooSlow when its statements took longer, whether they failed or
    not."""

    def __init__(self, time_ms):
        self.end = time.monotonic() + time_ms / 1000

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if time.monotonic() >= self.end:
            raise TooSlow()


class Daemon:
    """One of our programs. Its folder holds the configuration (NAME.conf), the log (NAME.log), what
    it prints (NAME.out), and serves as its HOME; it outlives restarts and goes with remove()."""

    def __init__(self, name, options, ready="boot success", folder=None, arguments=()):
        self.name = name
        self.options = dict(options)
        self.ready = ready
        self.arguments = list(arguments)
        self.folder = folder or tempfile.mkdtemp(prefix=f"{name}.")
        self.environment = {}
        self.process = None
        self.output_start = 0
        self.options.setdefault("logFile", self.path(f"{name}.log"))

    @property
    def port(self):
        return int(self.options["listenPort"])

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def config_file(self):
        return self.path(f"{self.name}.conf")

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def output(self):
        """What it has printed since its last start."""
        return self.read(f"{self.name}.out")[self.output_start:]

    def log(self):
        return self.read(f"{self.name}.log")

    def binary(self):
        return os.path.join(build_folder(), "bin", self.name)

    def write_config(self):
        with open(self.config_file, "w", encoding="utf-8") as file:
            for key, value in self.options.items():
                file.write(f"{key}={value}\n")

    def launch(self):
        """Start without waiting. The configuration is written only when there is none, so that a
        restart sees what the program has made of it."""
        if not os.path.exists(self.config_file):
            self.write_config()
        environment = dict(os.environ, HOME=self.folder, ROCKETMQ_HOME=self.folder,
                           **self.environment)
        self.output_start = len(self.read(f"{self.name}.out"))
        with open(self.path(f"{self.name}.out"), "a", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                [self.binary(), "-c", self.config_file] + self.arguments, stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                cwd=self.folder)
        return self

    def start(self):
        self.launch()

        def is_ready():
            if self.ready in self.output():
                return True
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended: {self.output()}")
            return False

        wait_until(is_ready, f"{self.name} is ready")
        return self

    def connect(self):
        return Connection("127.0.0.1", self.port)

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def freeze(self):
        """Stop all of its threads until SIGCONT. The signal alone takes effect a moment later."""
        self.signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"

        def is_frozen():
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat", encoding="ascii", errors="replace") as stat:
                    if stat.read().rpartition(")")[2].split()[0] != "T":
                        return False
            return True

        wait_until(is_frozen, f"{self.name} is frozen")

    def wait(self):
        """The exit status."""
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    def stop(self):
        """Ask it to end, and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """As a crash would."""
        self.process.kill()
        self.wait()

    def restart(self):
        self.stop()
        return self.start()

    def remove(self):
        """End it and forget its folder. Fails when it does not end well, or when a sanitizer has
        reported anything in any of its lives."""
        status = self.stop() if self.is_alive() else 0
        output = self.read(f"{self.name}.out")
        shutil.rmtree(self.folder, ignore_errors=True)
        if status != 0 or SANITIZER_REPORT.search(output):
            raise AssertionError(f"{self.name} ended with {status} and printed:\n{output}")

    def memory_kb(self):
        """Resident memory, or None under a sanitizer, which has its own."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        if int(fields["VmSize"].split()[0]) > 1 << 32:
            return None
        return int(fields["VmRSS"].split()[0])


def raise_file_limit():
    """Let this process, and what it starts, open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class SelfTest(unittest.TestCase):
    """Run this file alone to check what the other tests rely on."""

    def test_frames_come_back(self):
        for codec in (JSON, ROCKETMQ, PROTOBUF):
            sent = Command(310, {"topic": "t\u00e9", "empty": ""}, b"body", 7, FLAG_ONEWAY, "why", codec)
            frame = sent.encode()
            self.assertEqual(struct.unpack(">i", frame[:4])[0], len(frame) - 4)
            self.assertEqual(vars(decode(frame[4:])),
                             {**vars(sent), "language": "JAVA" if codec == JSON else 0})

    def test_known_bytes(self):
        self.assertEqual(Command(105, {"topic": "T"}, b"", 1, codec=ROCKETMQ).encode().hex(),
                         "00000025" "01000021" "0069" "00" "018d" "00000001" "00000000" "00000000"
                         "0000000c" "0005" "746f706963" "00000001" "54")

    def test_the_dialect(self):
        self.assertEqual(parse_json('{"a":{0:"x", 1 : [1,{}]},"b":[]}'),
                         {"a": {0: "x", 1: [1, {}]}, "b": []})
        self.assertEqual(parse_json('{{"q":1,"b":"x"}:{"o":2}}'), {(("b", "x"), ("q", 1)): {"o": 2}})
        with self.assertRaises(ValueError):
            parse_json('{} x')


def main(name):
    """Run the calling script's tests; ends with `NAME: N passed, N failed`."""
    program = unittest.main(module="__main__", argv=sys.argv, verbosity=2, exit=False)
    result = program.result
    failed = len({getattr(test, "test_case", test).id()
                  for test, _ in result.failures + result.errors})
    print(f"{name}: {result.testsRun - failed} passed, {failed} failed", flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main("rocketmq")
