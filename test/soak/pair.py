# SPDX-License-Identifier: Apache-2.0
"""The slave of a soak's broker: comes, goes and crashes as the broker does, and has the same log in
the end.
"""
import os

import broker as wire
from rocketmq import wait_until

SHOWN = 5


class Slave:
    """Of `servers`' broker; `settings` are the store's."""

    def __init__(self, servers, settings):
        self.servers = servers
        host, port = servers.broker.rsplit(":", 1)
        self.master = (host, int(port))
        self.broker = wire.Broker(
            brokerRole="SLAVE", brokerId=1, namesrvAddr=servers.namesrv,
            haMasterAddress="%s:%d" % (host, int(port) + 1), **settings)
        self.broker.start()

    def crash(self):
        self.broker.kill()
        self.broker.start()

    def restart(self):
        """The exit status."""
        status = self.broker.stop()
        self.broker.start()
        return status

    def catch_up(self):
        """Wait until it has what the master has now; returns up to where that is."""
        with wire.Client(*self.master) as master, self.broker.client() as slave:
            end = log_end(master)
            wait_until(lambda: log_end(slave) >= end, "the slave has the master's log")
            return end

    def complaints(self, end):
        """Both must have ended."""
        return ["[slave] %s" % text for text in differences(
            os.path.join(self.servers.folder, "store", "commitlog"),
            self.broker.path("store/commitlog"), end)]


def log_end(client):
    return int(client.call(wire.RUNTIME_INFO).json()["table"]["commitLogMaxOffset"])


def differences(master, slave, end):
    """In what the logs in two folders differ before a position: files of equal sizes, named by their
    first position."""
    found = []
    for name in sorted(os.listdir(master)):
        if int(name) >= end:
            break
        try:
            with open(os.path.join(slave, name), "rb") as file:
                theirs = file.read()
        except FileNotFoundError:
            found.append("it has no file %s" % name)
            continue
        with open(os.path.join(master, name), "rb") as file:
            ours = file.read()
        size = min(len(ours), end - int(name))
        if ours[:size] != theirs[:size]:
            at = next((i for i, (one, other) in enumerate(zip(ours[:size], theirs))
                       if one != other), len(theirs))
            found.append("its log differs from the master's at %d" % (int(name) + at))
    return found[:SHOWN]
