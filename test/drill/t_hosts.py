#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hosts of drills: that cuts cut, and that nothing is left behind. Skipped where no network namespaces
can be made."""
import os
import signal
import socket
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import hosts  # noqa: E402
import rocketmq  # noqa: E402

PORT = 5000
LISTEN = ("import socket, time; s = socket.create_server(('::', %d), family=socket.AF_INET6, "
          "dualstack_ipv6=True); print('up', flush=True); time.sleep(600)" % PORT)
LEAVE = ("import sys, time; sys.path.insert(0, %r); import hosts; h = hosts.Namespaces(['a']); "
         "h.popen('a', ['sleep', '600']); print(h.run, flush=True); time.sleep(600)" % HERE)


def reaches(address):
    try:
        socket.create_connection((address, PORT), 1).close()
        return True
    except OSError:
        return False


class NamespacesTest(unittest.TestCase):
    def setUp(self):
        try:
            self.hosts = hosts.Namespaces(["a", "b"])
        except hosts.NotHere as error:
            self.skipTest(str(error))
        self.addCleanup(self.hosts.remove)

    def listen(self, name):
        process = self.hosts.popen(name, [sys.executable, "-c", LISTEN], stdout=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        process.stdout.readline()
        return self.hosts.by_name[name]

    def test_cut(self):
        host = self.listen("a")
        for address in (host.ip4, host.ip6):
            self.assertTrue(reaches(address))
            self.hosts.cut("a")
            self.assertFalse(reaches(address))
            self.hosts.join("a")
            rocketmq.wait_until(lambda one=address: reaches(one), "it is there again")

    def test_one_way(self):
        host = self.listen("a")
        for sender, receiver in (("a", "driver"), ("driver", "a")):
            self.hosts.cut_one_way(sender, receiver)
            self.assertFalse(reaches(host.ip4) or reaches(host.ip6))
            self.hosts.join_one_way(sender, receiver)
            rocketmq.wait_until(lambda: reaches(host.ip4) and reaches(host.ip6), "it is there again")

    def test_one_way_is_for_two(self):
        host = self.listen("a")
        self.hosts.cut_one_way("a", "b")
        self.assertTrue(reaches(host.ip4))


class LeavingsTest(unittest.TestCase):
    def test_the_next_run_takes_away_what_a_killed_one_left(self):
        try:
            hosts.check_rights()
            hosts.sweep()
        except hosts.NotHere as error:
            self.skipTest(str(error))
        other = subprocess.Popen([sys.executable, "-c", LEAVE], stdout=subprocess.PIPE, text=True)
        self.addCleanup(other.stdout.close)
        prefix = other.stdout.readline().strip()
        if not prefix:
            self.skipTest("no namespaces here")
        other.send_signal(signal.SIGKILL)
        other.wait()
        self.assertIn(prefix + "a", hosts.ip("netns", "list"))
        hosts.sweep()
        self.assertNotIn(prefix, hosts.ip("netns", "list"))


if __name__ == "__main__":
    rocketmq.main("t_hosts")
