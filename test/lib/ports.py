# SPDX-License-Identifier: Apache-2.0
"""Ports for the servers of tests that run side by side. Standard library only."""
import random
import socket

# Below the range that the kernel hands to outgoing connections, which would race for them: also for
# the port of a server that is down for a moment.
FIRST, END = 10240, 32000


def reserve(offsets):
    """A base port such that base + offset is free for every offset. The ports stay this process's
    until it ends, also while no server listens there: other callers of this function do not get
    them. None when there are none."""
    for _ in range(1000):
        base = random.randrange(FIRST, END)
        if _hold([base + offset for offset in offsets]):
            return base
    return None


def _hold(ports):
    """What marks a port as somebody's is a name among the system's abstract sockets: it goes with
    the process, however that ends."""
    marks = []
    try:
        for port in ports:
            marks.append(socket.socket(socket.AF_UNIX))
            marks[-1].bind("\0cometmq-test-port-%d" % port)
            with socket.socket() as probe:
                probe.bind(("0.0.0.0", port))
    except OSError:
        for mark in marks:
            mark.close()
        return False
    for mark in marks:
        mark.detach()  # stays open until the process ends
    return True
