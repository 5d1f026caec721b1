# SPDX-License-Identifier: Apache-2.0
"""A server under test: how it is started, killed, started again, loaded and asked."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers  # noqa: E402

MQBENCH = os.path.join(servers.BUILD, "bin", "mqbench")
HEAP = ["-Xms2g", "-Xmx2g", "-XX:MaxDirectMemorySize=4g"]
RUNTIME_INFO = 28
READY_SECONDS = int(os.environ.get("READY_SECONDS", "180"))
DISPATCH_SECONDS = 120
INFO_SECONDS = 20
LOAD_SECONDS = 1800
SLAVE_SECONDS = 300


class Failed(Exception):
    """A case could not be measured; the text says why."""


class Contender(servers.Servers):
    """A name server and a broker of one kind, in a folder of their own."""

    def __init__(self, apache, settings=None):
        super().__init__(apache, settings=settings, heap=HEAP)

    # --- life ---

    def begin(self, topic):
        """Start both, on an empty store. Returns the figure of the first start."""
        self.start(wait=False)
        return self.mqbench(["ready", "--create", "--topic", topic, "--launched-at",
                             str(self.launched_ms), "--timeout", str(READY_SECONDS)])

    def kill_broker(self):
        """kill -9."""
        process = self._broker_process()
        process.kill()
        process.wait()
        self.processes.remove(process)

    def stop_broker(self):
        """A clean stop. Returns how long it took, in seconds."""
        process = self._broker_process()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed("the broker did not stop within %d s" % READY_SECONDS)
        self.processes.remove(process)
        return time.monotonic() - began

    def restart_broker(self, topic):
        """Launch the broker again and wait for the first accepted send.

        ready_ms   from just before the process is made to the first send that it acknowledged
        route_ms   to the moment when a client that asks the name server could send, too
        """
        # The one who asks is there first, so that its own start is not measured.
        waiting = subprocess.Popen(
            [MQBENCH, "ready", "--broker", self.broker, "--topic", topic, "--json", "--timeout",
             str(READY_SECONDS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.2)
        self.launched_ms = int(time.time() * 1000)
        self.broker_pid = self._launch("broker", self._broker_command())
        output, complaint = waiting.communicate()
        if waiting.returncode != 0:
            raise Failed("no send was accepted after the restart: %s\n%s"
                         % (complaint.strip(), self.logs()))
        accepted = json.loads(output)
        route = self.mqbench(["ready", "--topic", topic, "--launched-at", str(self.launched_ms),
                              "--timeout", str(READY_SECONDS)], through_route=True)
        return {"mode": "restart", "ready_ms": accepted["accepted_at_ms"] - self.launched_ms,
                "route_ms": route["ready_ms"], "log_bytes": self.log_bytes()}

    def _broker_process(self):
        for process in self.processes:
            if process.pid == self.broker_pid:
                if process.poll() is not None:
                    raise Failed("the broker has ended by itself\n" + self.logs())
                return process
        raise Failed("the broker is not running")

    # --- load ---

    def command(self, arguments, through_route=False):
        where = ["--namesrv", self.namesrv] if through_route else ["--broker", self.broker]
        return [MQBENCH] + arguments + where + ["--server-pid", str(self.broker_pid), "--json"]

    def mqbench(self, arguments, through_route=False):
        """Run mqbench to its end. Returns its figure."""
        process = self.spawn(arguments, through_route)
        return self.collect(process)

    def spawn(self, arguments, through_route=False):
        process = subprocess.Popen(self.command(arguments, through_route), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.mode = arguments[0]
        return process

    def collect(self, process):
        """The figure of a spawned mqbench, when it ends."""
        try:
            output, complaint = process.communicate(timeout=LOAD_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed("mqbench %s did not end within %d s" % (process.mode, LOAD_SECONDS))
        lines = output.strip().splitlines()
        if process.returncode != 0 or not lines:
            raise Failed("mqbench %s failed: %s %s" % (process.mode, complaint.strip()[:300],
                                                       lines[-1][:500] if lines else ""))
        return json.loads(lines[-1])

    # --- what the broker says of itself ---

    def runtime(self, name):
        """A number of the broker's runtime information. Apache's broker cannot tell it in the first
        moments after its start."""
        deadline = time.monotonic() + INFO_SECONDS
        while True:
            try:
                header, body = servers.call(self.broker, RUNTIME_INFO, timeout=INFO_SECONDS)
                if header.get("code") == 0:
                    return int(json.loads(body)["table"][name])
                reason = "code %s: %s" % (header.get("code"), header.get("remark"))
            except (OSError, ValueError, KeyError) as error:
                reason = repr(error)
            if time.monotonic() > deadline:
                raise Failed("the broker does not tell its %s: %s" % (name, reason))
            time.sleep(0.05)

    def log_bytes(self):
        return self.runtime("commitLogMaxOffset")

    def await_dispatch(self):
        """Until everything that was sent can be read."""
        deadline = time.monotonic() + DISPATCH_SECONDS
        while self.runtime("dispatchBehindBytes") > 0:
            if time.monotonic() > deadline:
                raise Failed("the consume queues were not built within %d s" % DISPATCH_SECONDS)
            time.sleep(0.02)

    # --- files ---

    def segments(self):
        """Paths of the commit log, oldest first."""
        folder = os.path.join(self.folder, "store", "commitlog")
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))
                if name.isdigit()]

    def queue_files(self, topic):
        found = []
        for folder, _, names in os.walk(os.path.join(self.folder, "store", "consumequeue", topic)):
            found += [os.path.join(folder, name) for name in names]
        return found


class Slave(servers.Servers):
    """The slave of a pair. What it shares with its master are the name server and the kind."""

    def __init__(self, apache, settings, folder):
        super().__init__(apache, settings=dict(settings, brokerRole="SLAVE", brokerId="1",
                                               brokerIP2="127.0.0.1"), heap=HEAP, folder=folder)

    def prepare(self, namesrv):
        os.makedirs(self.folder, exist_ok=True)
        port = servers.free_ports([-2, 0, 1])
        self.broker = "127.0.0.1:%d" % port
        self.namesrv = namesrv
        self._write_files(port)

    def told(self, name):
        """A number of its runtime information; None: it does not answer yet."""
        try:
            _, body = servers.call(self.broker, RUNTIME_INFO, timeout=INFO_SECONDS)
            return int(json.loads(body)["table"][name])
        except (OSError, ValueError, KeyError):
            return None

    def end_pos(self):
        """The end of its log."""
        return self.told("commitLogMaxOffset")


class PairContender(Contender):
    """A master with a slave attached; settings name the master's brokerRole. Processor time is that
    of both."""

    def __init__(self, apache, settings):
        super().__init__(apache, dict(settings, brokerIP2="127.0.0.1"))
        self.slave = Slave(apache, settings, os.path.join(self.folder, "slave"))

    def begin(self, topic):
        self.start(wait=False)
        self.slave.prepare(self.namesrv)
        self.slave.start_broker(wait=False)
        self.mqbench(["ready", "--create", "--topic", topic, "--timeout", str(READY_SECONDS)])
        self.await_slave()
        return None

    def stop(self, keep=False):
        self.slave.stop(keep=True)
        super().stop(keep)

    def command(self, arguments, through_route=False):
        command = super().command(arguments, through_route)
        if self.slave.processes:
            command += ["--slave-pid", str(self.slave.broker_pid)]
        return command

    def behind_bytes(self):
        return self.log_bytes() - (self.slave.end_pos() or 0)

    def await_slave(self):
        """Until the slave has all of the log."""
        deadline = time.monotonic() + SLAVE_SECONDS
        while self.behind_bytes() > 0:
            if time.monotonic() > deadline:
                raise Failed("the slave is still %d bytes behind after %d s\n%s" % (
                    self.behind_bytes(), SLAVE_SECONDS, self.slave.logs()))
            time.sleep(0.05)


def cpu_s(pid):
    """Processor time of a process so far, user and system."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
