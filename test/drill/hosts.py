# SPDX-License-Identifier: Apache-2.0
"""Several hosts on one machine. Two kinds, with the same members:

    Namespaces   a network namespace for each host, all on one bridge. Hosts can be cut off. Needs
                 root, `ip` (Debian: iproute2) and a kernel with veth and bridge.
    Loopbacks    an address 127.x.y.z for each host. Nothing can be cut; everything else works.

`make(names, kind)` gives one that is up. Names of what it makes hold this process's id, so that
several runs get along; what a run that was killed has left behind is taken away by the next one.

How hosts are cut, so that packets vanish without a word to anybody:
    cut       the host's cable is moved to a second bridge. Hosts that are cut at the same time still
              see each other there.
    one way   the sender is told a hardware address for the receiver that nobody has. (A blackhole
              route would tell the sender: connect() fails at once.)
"""
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
NOWHERE = "02:00:00:00:00:01"  # the cards below get 02:c0:...
LIBC = ctypes.CDLL(None, use_errno=True)
PREFIX = "cmq-"


class NotHere(Exception):
    """This machine cannot make such hosts; the text says why."""


class Host:
    def __init__(self, name, number, ip4, ip6=None):
        self.name, self.number, self.ip4, self.ip6 = name, number, ip4, ip6


class Hosts:
    """What both kinds share. `by_name` has the hosts; the driver itself sits on the host `driver`."""

    can_cut = False

    def __init__(self, names):
        self.by_name = {}
        for number, name in enumerate(["driver"] + list(names), 1):
            self.by_name[name] = self._host(name, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def popen(self, host, command, **more):
        """subprocess.Popen on that host. The process goes when this one does."""
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=True,
                                preexec_fn=self._before(host), **more)

    def _before(self, _):
        return die_with_parent

    def remove(self):
        pass


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Loopbacks(Hosts):
    kind = "loopback"

    def _host(self, name, number):
        here = os.getpid()
        return Host(name, number, "127.%d.%d.%d" % (1 + here // 250 % 250, 1 + here % 250, number))


class Namespaces(Hosts):
    kind = "namespaces"
    can_cut = True

    def __init__(self, names):
        check_rights()
        sweep()
        super().__init__(names)
        self.run = "%s%d-" % (PREFIX, os.getpid())
        self.home = None
        self.files = {}
        try:
            self._build()
        except BaseException:
            self.remove()
            raise

    def _host(self, name, number):
        return Host(name, number, "10.88.0.%d" % number, "fd88::%x" % number)

    def namespace(self, name):
        return self.run + name

    def _build(self):
        switch = self.namespace("switch")
        ip("netns", "add", switch)
        for bridge in ("wire", "dead"):
            ip("-n", switch, "link", "add", bridge, "type", "bridge")
            ip("-n", switch, "link", "set", bridge, "up")
        for host in self.by_name.values():
            self._plug_in(host, switch)
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        enter(self.files["driver"])

    def _plug_in(self, host, switch):
        space = self.namespace(host.name)
        cable = "h%d" % host.number
        ip("netns", "add", space)
        self.files[host.name] = os.open("/run/netns/" + space, os.O_RDONLY | os.O_CLOEXEC)
        ip("-n", switch, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "address",
           self._card(host), "netns", space)
        ip("-n", switch, "link", "set", cable, "master", "wire", "up")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "address", "add", host.ip4 + "/24", "dev", "eth0")
        if os.path.exists("/proc/net/if_inet6"):
            ip("-n", space, "address", "add", host.ip6 + "/64", "dev", "eth0", "nodad")
        ip("-n", space, "link", "set", "eth0", "up")

    @staticmethod
    def _card(host):
        return "02:c0:00:00:00:%02x" % host.number

    def _before(self, host):
        file = self.files[host]

        def prepare():
            die_with_parent()
            enter(file)
        return prepare

    def cut(self, *names):
        """Nothing reaches these hosts, and nothing leaves them, but for one another."""
        for name in names:
            ip("-n", self.namespace("switch"), "link", "set", "h%d" % self.by_name[name].number,
               "master", "dead")

    def join(self, *names):
        for name in names:
            ip("-n", self.namespace("switch"), "link", "set", "h%d" % self.by_name[name].number,
               "master", "wire")

    def cut_one_way(self, sender, receiver):
        self._neighbour(sender, receiver, NOWHERE)

    def join_one_way(self, sender, receiver):
        self._neighbour(sender, receiver, self._card(self.by_name[receiver]))

    def _neighbour(self, sender, receiver, card):
        target = self.by_name[receiver]
        for address in (target.ip4, target.ip6):
            ip("-n", self.namespace(sender), "neighbour", "replace", address, "lladdr", card,
               "dev", "eth0", "nud", "permanent")

    def remove(self):
        if self.home is not None:
            enter(self.home)
            os.close(self.home)
            self.home = None
        for file in self.files.values():
            os.close(file)
        self.files = {}
        for name in list(self.by_name) + ["switch"]:
            delete(self.namespace(name))


def make(names, kind="auto"):
    """Hosts of that kind; auto: namespaces where this machine can make them."""
    if kind == "loopback":
        return Loopbacks(names)
    try:
        return Namespaces(names)
    except NotHere:
        if kind == "namespaces":
            raise
        return Loopbacks(names)


def ip(*words):
    done = subprocess.run(["ip"] + list(words), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere("`ip %s`: %s" % (" ".join(words), done.stderr.strip()))
    return done.stdout


def check_rights():
    if shutil.which("ip") is None:
        raise NotHere("ip is missing (Debian: apt-get install iproute2)")
    if os.geteuid() != 0:
        raise NotHere("network namespaces are made by root only")


def enter(file):
    """This thread, and what it starts, goes into the namespace of an open file."""
    if LIBC.setns(file, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def delete(space):
    with contextlib.suppress(NotHere):
        ip("netns", "delete", space)


def sweep():
    """End and take away what runs that are no more have left behind."""
    for line in ip("netns", "list").splitlines():
        space = line.split()[0]
        found = re.match(PREFIX + r"(\d+)-", space)
        if found is None or os.path.exists("/proc/" + found.group(1)):
            continue
        for pid in ip("netns", "pids", space).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        delete(space)
