# SPDX-License-Identifier: Apache-2.0
"""What clients and the driver of a drill write down: one JSON object a line, one file per process
(test/soak/history.py writes and reads them). `at` is the wall clock in seconds; one machine has one.

    sent     id, topic, sum, lane        about to be sent; key, seq: where the order is promised;
                                         retried: perhaps more than once (else once)
    acked    id, group, queue, offset, code     the answer: 0 SEND_OK; 10, 11, 12: stored, but not
                                         flushed in time, no slave, not on the slave in time
    failed   id                          no answer, or a refusal: it may be there or not
    got      member, topic, group, queue, offset, id, sum, source     consumed; source: the broker's
                                         id (-1: it cannot tell); again: it may come again
    fault    name, group, round          the driver breaks something
    healed   name, group, round          and all of it is whole again

The driver reads along with `Tail`. Clients are members.py here and org.cometmq.drill.Member of
test/interop/java.
"""
import collections
import json
import os
import sys

# Last: a soak has a checker, too.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
from history import Writer, checksum, read, read_all  # noqa: E402,F401

SEND_OK, FLUSH_DISK_TIMEOUT, NO_SLAVE, FLUSH_SLAVE_TIMEOUT = 0, 10, 11, 12


class Tail:
    """The histories of a folder, read on as they grow. After `update`: `events` (each file's in its
    order), `codes` (answers counted per group and code), `acked` (answers SEND_OK by group, in the
    order of the files), `next` ((member, topic, group, queue) -> offset that the member wants next)."""

    def __init__(self, folder):
        self.folder = folder
        self.places = {}
        self.events = []
        self.codes = collections.Counter()
        self.acked = collections.defaultdict(list)
        self.next = {}
        self.sources = collections.Counter()
        self.lanes = {}
        self.by_lane = collections.Counter()  # (lane, group) -> answers SEND_OK

    def update(self):
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".history"):
                self._read_on(os.path.join(self.folder, name))
        return self

    def _read_on(self, path):
        with open(path, "rb") as file:
            file.seek(self.places.get(path, 0))
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self.places[path] = self.places.get(path, 0) + whole
        for line in data[:whole].splitlines():
            self._take(json.loads(line))

    def _take(self, one):
        self.events.append(one)
        if one["e"] == "sent":
            self.lanes[one["id"]] = one["lane"]
        elif one["e"] == "acked":
            self.codes[(one["group"], one["code"])] += 1
            if one["code"] == SEND_OK:
                self.acked[one["group"]].append(one)
                self.by_lane[(self.lanes.get(one["id"]), one["group"])] += 1
        elif one["e"] == "got":
            place = (one["member"], one["topic"], one["group"], one["queue"])
            self.next[place] = max(self.next.get(place, 0), one["offset"] + 1)
            self.sources[(one["group"], one["source"])] += 1
