#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Start and stop a name server and a broker on free ports in a temporary folder.

As a program (test/lib/servers.sh wraps it for shell scripts):

    servers.py start [--apache] [KEY=VALUE ...]   prints NAMESRV=... BROKER=... for eval
    servers.py crash FOLDER                       kill -9 and start of the broker of FOLDER; ours only
    servers.py stop FOLDER                        stops what was started in FOLDER

As a module: Servers(apache=False, settings={...}).start() ... .stop().

Our daemons are taken from $BUILD/bin (default build/bin). With --apache the published servers of
Apache RocketMQ 4.9.2 run instead; Maven fetches them once into $APACHE_CACHE (default
~/.cache/cometmq/apache-4.9.2). KEY=VALUE lines go into the broker's configuration file.

SERVERS_TLS in the environment: requests of this program use TLS, with client.cert and client.key
when it names their folder. The servers take what they know of TLS from JAVA_OPT.
"""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

import ports

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
APACHE_CACHE = os.environ.get("APACHE_CACHE") or os.path.expanduser(
    "~/.cache/cometmq/apache-4.9.2")
START_SECONDS = 180
STOP_SECONDS = 120
GET_BROKER_CLUSTER_INFO = 106

# What Apache's servers need on a JDK newer than 8.
JAVA_OPENS = [
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.security.x509=ALL-UNNAMED",
]
QUIET_LOG = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %p %c{1} %m%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""


class StartError(Exception):
    pass


def free_ports(offsets):
    """A base port such that base + offset is free for every offset, until this process ends."""
    base = ports.reserve(offsets)
    if base is None:
        raise StartError("no free ports were found")
    return base


def secure(connection):
    folder = os.environ.get("SERVERS_TLS")
    if not folder:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if os.path.isdir(folder):
        context.load_cert_chain(os.path.join(folder, "client.cert"),
                                os.path.join(folder, "client.key"))
    return context.wrap_socket(connection)


def call(address, code, fields=None, timeout=30):
    """One request with JSON headers; returns (header, body)."""
    host, port = address.rsplit(":", 1)
    header = json.dumps({"code": code, "language": "OTHER", "version": 397, "opaque": 1, "flag": 0,
                         "serializeTypeCurrentRPC": "JSON", "extFields": fields or {}}).encode()
    with secure(socket.create_connection((host, int(port)), timeout)) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">ii", 4 + len(header), len(header)) + header)
        frame = b""
        while len(frame) < 4 or len(frame) < 4 + struct.unpack(">i", frame[:4])[0]:
            more = connection.recv(65536)
            if not more:
                raise OSError("the server closed the connection")
            frame += more
    header_bytes = struct.unpack(">i", frame[4:8])[0] & 0xFFFFFF
    return json.loads(frame[8:8 + header_bytes]), frame[8 + header_bytes:]


def master_of(namesrv):
    """"host:port" of the first master that the name server knows."""
    _, body = call(namesrv, GET_BROKER_CLUSTER_INFO)
    found = re.search(rb'"brokerAddrs":\{"?0"?:"([^"]+)"', body)
    if found is None:
        raise OSError("the name server knows no master")
    return found.group(1).decode()


def apache_classpath():
    """Fetch the jars when they are not there yet."""
    libraries = os.path.join(APACHE_CACHE, "lib")
    settings = os.path.join(APACHE_CACHE, "conf")
    if not os.path.exists(os.path.join(APACHE_CACHE, "complete")):
        if shutil.which("mvn") is None:
            raise StartError("Maven (mvn) is needed to fetch Apache's servers")
        os.makedirs(settings, exist_ok=True)
        pom = os.path.join(ROOT, "test", "lib", "apache", "pom.xml")
        fetched = subprocess.run(
            ["sh", os.path.join(ROOT, "test", "lib", "mvn"), "-f", pom, "dependency:copy-dependencies",
             "-DoutputDirectory=" + libraries, "-DincludeScope=runtime"],
            capture_output=True, text=True)
        if fetched.returncode != 0:
            raise StartError("Apache's servers could not be fetched: " + fetched.stdout[-600:])
        for name in ("logback_namesrv.xml", "logback_broker.xml", "logback.xml"):
            with open(os.path.join(settings, name), "w") as file:
                file.write(QUIET_LOG)
        open(os.path.join(APACHE_CACHE, "complete"), "w").close()
    return settings + ":" + os.path.join(libraries, "*")


class Servers:
    """One name server and one broker. Attributes: namesrv and broker ("host:port"), namesrv_pid,
    broker_pid, folder, launched_ms (wall clock at which the broker was launched)."""

    def __init__(self, apache=False, settings=None, heap=None, folder=None):
        self.apache = apache
        self.settings = dict(settings or {})
        self.heap = heap or ["-Xms256m", "-Xmx1g", "-XX:MaxDirectMemorySize=2g"]
        self.folder = folder or tempfile.mkdtemp(prefix="cometmq-servers-")
        self.processes = []

    def start(self, wait=True):
        port = free_ports([-2, 0, 1, 7])
        self.broker = "127.0.0.1:%d" % port
        self.namesrv = "127.0.0.1:%d" % (port + 7)
        self._write_files(port)
        try:
            self.namesrv_pid = self._launch("namesrv", self._namesrv_command())
            self._await("the name server", lambda: call(self.namesrv, GET_BROKER_CLUSTER_INFO))
            self.start_broker(wait)
        except BaseException:
            self.stop(keep=True)
            raise
        return self

    def start_broker(self, wait=True):
        self.launched_ms = int(time.time() * 1000)
        self.broker_pid = self._launch("broker", self._broker_command())
        if wait:
            self._await("the broker's registration", self._registered)

    def stop_broker(self, kill=False):
        """The broker alone. Returns its exit status, as subprocess has it."""
        broker = self.processes.pop()
        if kill:
            broker.kill()
        self._end(broker)
        return broker.wait()

    def stop(self, keep=False):
        for process in reversed(self.processes):
            self._end(process)
        self.processes = []
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self):
        text = ""
        for name in ("namesrv", "broker"):
            path = os.path.join(self.folder, name + ".log")
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    text += "--- %s\n%s" % (name, "".join(file.readlines()[-30:]))
        return text

    def _write_files(self, port):
        store = os.path.join(self.folder, "store")
        broker = {
            "brokerClusterName": "DefaultCluster",
            "brokerName": "broker-a",
            "brokerId": "0",
            "brokerIP1": "127.0.0.1",
            "listenPort": str(port),
            "haListenPort": str(port + 1),
            "namesrvAddr": self.namesrv,
            "storePathRootDir": store,
            "storePathCommitLog": os.path.join(store, "commitlog"),
            "autoCreateTopicEnable": "true",
            "brokerRole": "ASYNC_MASTER",
            "flushDiskType": "ASYNC_FLUSH",
        }
        # A JVM that is still compiling keeps requests waiting longer than the default 200 ms; so may
        # the disk of a machine that is busy with other tests.
        broker["waitTimeMillsInSendQueue"] = "30000"
        broker["osPageCacheBusyTimeOutMills"] = "30000"
        broker.update(self.settings)
        namesrv = {
            "listenPort": str(port + 7),
            "kvConfigPath": os.path.join(self.folder, "kvConfig.json"),
            "configStorePath": os.path.join(self.folder, "namesrv.properties"),
        }
        for name, values in (("broker", broker), ("namesrv", namesrv)):
            with open(os.path.join(self.folder, name + ".conf"), "w") as file:
                file.write("".join("%s=%s\n" % item for item in values.items()))

    def _java(self, main, conf, heap):
        return (["java"] + JAVA_OPENS + heap +
                ["-Drocketmq.log.dir=" + self.folder, "-Duser.home=" + self.folder,
                 "-cp", apache_classpath(), main, "-c", conf])

    def _namesrv_command(self):
        conf = os.path.join(self.folder, "namesrv.conf")
        if self.apache:
            return self._java("org.apache.rocketmq.namesrv.NamesrvStartup", conf,
                              ["-Xms128m", "-Xmx512m"])
        return [os.path.join(BUILD, "bin", "mqnamesrv"), "-c", conf]

    def _broker_command(self):
        conf = os.path.join(self.folder, "broker.conf")
        if self.apache:
            return self._java("org.apache.rocketmq.broker.BrokerStartup", conf, self.heap)
        return [os.path.join(BUILD, "bin", "mqbroker"), "-c", conf]

    def _launch(self, name, command):
        environment = dict(os.environ, HOME=self.folder)
        environment.pop("NAMESRV_ADDR", None)
        environment["ROCKETMQ_HOME"] = APACHE_CACHE if self.apache else self.folder
        with open(os.path.join(self.folder, name + ".log"), "wb") as log:
            try:
                process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, env=environment,
                                           start_new_session=True)
            except OSError as error:
                raise StartError("cannot start %s: %s" % (command[0], error))
        self.processes.append(process)
        return process.pid

    def _registered(self):
        _, body = call(self.namesrv, GET_BROKER_CLUSTER_INFO)
        if self.broker.encode() not in body:
            raise OSError("the broker is not registered yet")

    def _await(self, what, attempt):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return attempt()
            except OSError as error:
                dead = [p for p in self.processes if p.poll() is not None]
                if dead or time.monotonic() > deadline:
                    reason = "a server ended" if dead else str(error)
                    raise StartError("%s did not come: %s\n%s" % (what, reason, self.logs()))
                time.sleep(0.01)


def stop_pid(pid):
    """Stop a process that another run of this program started. False: it had ended before."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    deadline = time.monotonic() + STOP_SECONDS
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    if is_running(pid):
        os.kill(pid, signal.SIGKILL)
    return True


def stop_folder(folder):
    """Stop what `start` started there; a server that ended by itself is an error."""
    ended = []
    with open(os.path.join(folder, "pids")) as file:
        for name, pid in zip(("broker", "namesrv"), file.read().split()):
            if not stop_pid(int(pid)):
                ended.append(name)
    for name in ended:
        print("servers: the %s ended before it was stopped; the end of its log:" % name,
              file=sys.stderr)
        with open(os.path.join(folder, name + ".log"), errors="replace") as log:
            sys.stderr.write("".join(log.readlines()[-30:]))
    shutil.rmtree(folder, ignore_errors=True)
    return not ended


def is_running(pid):
    """False for one that has ended and that nobody has asked for yet, too. Its first thread may have
    ended while others still do, and hold its files."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            ended = file.read().rpartition(")")[2].split()[0] == "Z"
        return not ended or len(os.listdir("/proc/%d/task" % pid)) > 1
    except OSError:
        return False


def crash_folder(folder):
    """End the broker that `start` started there without warning, and start it again."""
    with open(os.path.join(folder, "pids")) as file:
        broker_pid, namesrv_pid = map(int, file.read().split())
    with open(os.path.join(folder, "broker.conf")) as file:
        conf = dict(line.rstrip("\n").split("=", 1) for line in file)
    os.kill(broker_pid, signal.SIGKILL)
    while is_running(broker_pid):
        time.sleep(0.01)
    servers = Servers(folder=folder)
    servers.namesrv = conf["namesrvAddr"]
    servers.broker = "127.0.0.1:" + conf["listenPort"]
    servers.start_broker()
    with open(os.path.join(folder, "pids"), "w") as file:
        file.write("%d %d\n" % (servers.broker_pid, namesrv_pid))


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["start"]:
        apache = "--apache" in arguments
        settings = dict(a.split("=", 1) for a in arguments[1:] if "=" in a)
        try:
            servers = Servers(apache, settings).start()
        except StartError as error:
            sys.exit("servers: %s" % error)
        with open(os.path.join(servers.folder, "pids"), "w") as file:
            file.write("%d %d\n" % (servers.broker_pid, servers.namesrv_pid))
        for name in ("namesrv", "broker", "namesrv_pid", "broker_pid", "folder"):
            print("%s=%s" % ("SERVERS_FOLDER" if name == "folder" else name.upper(),
                             shlex.quote(str(getattr(servers, name)))))
    elif arguments[:1] == ["crash"] and len(arguments) == 2:
        crash_folder(arguments[1])
    elif arguments[:1] == ["stop"] and len(arguments) == 2:
        sys.exit(0 if stop_folder(arguments[1]) else 1)
    else:
        sys.exit("usage: servers.py start [--apache] [KEY=VALUE ...] | crash FOLDER | stop FOLDER")


if __name__ == "__main__":
    main()
