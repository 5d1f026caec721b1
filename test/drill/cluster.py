# SPDX-License-Identifier: Apache-2.0
"""A cluster on hosts of hosts.py: name servers, and groups of a master and a slave. Each daemon has a
host of its own, a folder of its own, and the usual ports. Its disk outlives it.

    with Cluster(hosts.make(names())) as cluster:      names(): of the hosts that a cluster needs
        cluster.start()
        cluster.master("a").kill() ...

Our daemons are those of $BUILD/bin; apache=True starts Apache's 4.9.2 (namespaces only: it cannot be
told on which address to listen).
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "lib")]
import servers  # noqa: E402
from broker import PATIENT  # noqa: E402
from rocketmq import SANITIZER_REPORT, Closed, Connection, parse_json  # noqa: E402

NAMESRV_PORT, BROKER_PORT = 9876, 10911
CLUSTER_INFO = 106
START_SECONDS = 90
JAVA_START_SECONDS = 300
STOP_SECONDS = 60
NAME_SERVERS = ("ns0", "ns1", "ns2")
GROUPS = ("a", "b")
GONE = (OSError, Closed)


def names(name_servers=NAME_SERVERS, groups=GROUPS):
    """Of the hosts: a0 is the master of group a, a1 its slave."""
    return list(name_servers) + [group + number for group in groups for number in "01"] + ["client"]


class DrillError(Exception):
    """The drill itself cannot go on: a daemon did not come or did not end."""


def call(address, code, ext=None, timeout=3):
    """One request to (host, port)."""
    with Connection(*address, timeout) as connection:
        return connection.call(code, ext)


def wait_until(condition, what, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(*GONE):
            value = condition()
            if value:
                return value
        if time.monotonic() > deadline:
            raise DrillError("not within %d s: %s" % (seconds, what))
        time.sleep(0.02)


class Node:
    """A daemon on a host: mqnamesrv or mqbroker."""

    def __init__(self, cluster, host, program, port, settings):
        self.cluster, self.host, self.program, self.port = cluster, host, program, port
        self.name = host
        self.folder = os.path.join(cluster.folder, host)
        self.settings = settings
        self.process = None
        self.started = 0
        os.makedirs(self.folder)

    @property
    def ip(self):
        return self.cluster.ip(self.host)

    @property
    def address(self):
        return self.ip, self.port

    @property
    def text_address(self):
        """As brokers are told it in a list of name servers."""
        return ("[%s]:%d" if ":" in self.ip else "%s:%d") % self.address

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_settings(self):
        with open(self.path("conf"), "w", encoding="utf-8") as file:
            for key, value in self.settings.items():
                file.write("%s=%s\n" % (key, value))

    def launch(self):
        if not os.path.exists(self.path("conf")):
            self.write_settings()
        environment = dict(os.environ, HOME=self.folder, ROCKETMQ_HOME=self.folder)
        environment.pop("NAMESRV_ADDR", None)
        if self.cluster.apache:
            environment["ROCKETMQ_HOME"] = servers.APACHE_CACHE
        with open(self.path("out"), "ab") as out:
            self.process = self.cluster.hosts.popen(
                self.host, self._command(), stdout=out, stderr=out, env=environment,
                cwd=self.folder)
        self.started += 1
        return self

    def _command(self):
        if self.cluster.apache:
            main = {"mqnamesrv": "namesrv.NamesrvStartup", "mqbroker": "broker.BrokerStartup"}
            heap = ["-Xms128m", "-Xmx256m"] if self.program == "mqnamesrv" else \
                ["-Xms256m", "-Xmx1g", "-XX:MaxDirectMemorySize=1g"]
            return ["java"] + servers.JAVA_OPENS + heap + [
                "-Drocketmq.log.dir=" + self.folder, "-Duser.home=" + self.folder, "-cp",
                servers.apache_classpath(), "org.apache.rocketmq." + main[self.program], "-c",
                self.path("conf")]
        return [os.path.join(servers.BUILD, "bin", self.program), "-c", self.path("conf")]

    def start(self):
        self.launch()
        return self.await_ready()

    def await_ready(self):
        def is_ready():
            if self.process.poll() is not None:
                raise DrillError("%s ended with %s:\n%s" % (self.name, self.process.returncode,
                                                           self.tail()))
            return self.is_ready()
        try:
            wait_until(is_ready, "%s is ready" % self.name,
                       JAVA_START_SECONDS if self.cluster.apache else START_SECONDS)
        except DrillError as error:
            raise DrillError("%s\n%s" % (error, self.tail())) from None
        return self

    def is_ready(self):
        call(self.address, CLUSTER_INFO)
        return True

    def tail(self, lines=20):
        text = ""
        for name in ("out", self.program + ".log"):
            with contextlib.suppress(FileNotFoundError):
                with open(self.path(name), encoding="utf-8", errors="replace") as file:
                    text += "--- %s of %s\n%s" % (name, self.name, "".join(file.readlines()[-lines:]))
        return text

    def output(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.path("out"), encoding="utf-8", errors="replace") as file:
                return file.read()
        return ""

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self):
        """Ask it to end. An exit status other than 0 is an error (of ours; a JVM says 143)."""
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DrillError("%s did not end within %d s\n%s" % (
                self.name, STOP_SECONDS, self.tail())) from None
        if status != 0 and not self.cluster.apache:
            raise DrillError("%s ended with %d\n%s" % (self.name, status, self.tail()))

    def freeze(self):
        """Returns when none of its threads runs any more."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(self._is_frozen, "%s is frozen" % self.name)

    def _is_frozen(self):
        tasks = "/proc/%d/task" % self.process.pid
        for task in os.listdir(tasks):
            with open("%s/%s/stat" % (tasks, task), encoding="ascii", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] != "T":
                    return False
        return True

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        """Whatever its state is; for cleaning up."""
        if self.is_alive():
            self.thaw()
            with contextlib.suppress(DrillError):
                self.stop()


class Broker(Node):
    """The broker `number` of a group: 0 is the master, others are slaves."""

    def __init__(self, cluster, group, number, settings):
        super().__init__(cluster, "%s%d" % (group, number), "mqbroker", BROKER_PORT, settings)
        self.group, self.number = group, number
        self.disk = self.path("disk")
        self.mounted = False
        os.makedirs(self.disk)
        self.settings.update({"storePathRootDir": os.path.join(self.disk, "store"),
                              "storePathCommitLog": os.path.join(self.disk, "store", "commitlog")})

    @property
    def store(self):
        return os.path.join(self.disk, "store")

    def is_ready(self):
        """All name servers that live know it."""
        return all(self.text_address in server.broker_addresses().values()
                   for server in self.cluster.name_servers if server.is_alive())

    def wipe(self):
        """A new, empty disk."""
        shutil.rmtree(self.store, ignore_errors=True)

    def copy_disk(self, other):
        """The disk as that of the other broker, which must not be running."""
        self.wipe()
        shutil.copytree(other.store, self.store)

    def mount_small_disk(self, size):
        """A file system of its own, before the first start. False: this may not be done here."""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", self.disk],
                              capture_output=True, check=False)
        self.mounted = done.returncode == 0
        return self.mounted

    def fill_disk(self):
        """Until not one block is left."""
        with open(os.path.join(self.disk, "filler"), "ab", buffering=0) as file:
            block = 1 << 20
            while block >= 4096:
                try:
                    file.write(b"f" * block)
                except OSError:
                    block //= 2

    def free_disk(self):
        os.unlink(os.path.join(self.disk, "filler"))

    def unmount(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.disk], check=False)


class NameServer(Node):
    def __init__(self, cluster, host, settings):
        super().__init__(cluster, host, "mqnamesrv", NAMESRV_PORT, settings)

    def broker_addresses(self):
        """{(broker name, id): address} of all brokers it knows."""
        table = parse_json(call(self.address, CLUSTER_INFO).body)["brokerAddrTable"]
        return {(name, int(number)): address for name, data in table.items()
                for number, address in data["brokerAddrs"].items()}


class Cluster:
    def __init__(self, hosts, name_servers=NAME_SERVERS, groups=GROUPS, role="SYNC_MASTER",
                 flush="ASYNC_FLUSH", settings=None, apache=False, ip_version=4, slaves=1):
        self.hosts, self.apache, self.ip_version = hosts, apache, ip_version
        self.folder = tempfile.mkdtemp(prefix="cometmq-drill-")
        self.role, self.flush = role, flush
        self.settings = dict(settings or {})
        self.groups = tuple(groups)
        self.name_servers = [NameServer(self, name, self._namesrv_settings(name))
                             for name in name_servers]
        self.brokers = {(group, number): Broker(self, group, number,
                                                self._broker_settings(group, number))
                        for group in groups for number in range(1 + slaves)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def ip(self, host):
        found = self.hosts.by_name[host]
        return found.ip4 if self.ip_version == 4 else found.ip6

    def master(self, group):
        return self.brokers[(group, 0)]

    def slave(self, group):
        return self.brokers[(group, 1)]

    def nodes(self):
        return self.name_servers + list(self.brokers.values())

    def name_server_list(self):
        return ";".join(server.text_address for server in self.name_servers)

    def _listen(self, host):
        """Where all hosts share the ports of one machine, each daemon takes its own address only."""
        return {"bindAddress": self.ip(host)} if self.hosts.kind == "loopback" else {}

    def _log(self, program, host):
        return {} if self.apache else {
            "logFile": os.path.join(self.folder, host, program + ".log")}

    def _namesrv_settings(self, host):
        folder = os.path.join(self.folder, host)
        return dict(listenPort=NAMESRV_PORT, kvConfigPath=os.path.join(folder, "kvConfig.json"),
                    configStorePath=os.path.join(folder, "namesrv.properties"),
                    **self._listen(host), **self._log("mqnamesrv", host))

    def _broker_settings(self, group, number):
        host = "%s%d" % (group, number)
        return {"brokerClusterName": "DrillCluster", "brokerName": "broker-" + group,
                "brokerId": number, "brokerRole": "SLAVE" if number else self.role,
                "flushDiskType": self.flush, "brokerIP1": self.ip(host),
                "brokerIP2": self.ip(host), "listenPort": BROKER_PORT,
                "haListenPort": BROKER_PORT + 1, "namesrvAddr": self.name_server_list(),
                "autoCreateTopicEnable": "false", "mappedFileSizeCommitLog": 16 << 20,
                "mappedFileSizeConsumeQueue": 60000, "maxHashSlotNum": 5000, "maxIndexNum": 20000,
                "registerNameServerPeriod": 10000, **PATIENT, **self._listen(host),
                **self._log("mqbroker", host), **self.settings}

    def start(self):
        for server in self.name_servers:
            server.launch()
        for server in self.name_servers:
            server.await_ready()
        for broker in self.brokers.values():
            broker.launch()
        for broker in self.brokers.values():
            broker.await_ready()
        return self

    def problems(self):
        """What our daemons said that they should never say."""
        return ["[sanitizer] %s printed:\n%s" % (node.name, node.tail(60)) for node in self.nodes()
                if SANITIZER_REPORT.search(node.output())]

    def remove(self, keep=False):
        for node in reversed(self.nodes()):
            node.end()
        for broker in self.brokers.values():
            broker.unmount()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
