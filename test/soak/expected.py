# SPDX-License-Identifier: Apache-2.0
"""What must still happen before a soak may end, from the histories as they grow: that way its end
waits for what was promised, and not for a time."""
import collections
import json
import os

COMING = ("delivered", "committed")


class Expected:
    def __init__(self, folder):
        self.folder = folder
        self.read_up_to = collections.defaultdict(int)
        self.sends, self.promises = {}, {}
        self.is_stored = collections.defaultdict(set)   # topic: ids
        self.is_done = collections.defaultdict(set)     # popping group: ids it has acknowledged
        self.pending = {}                               # (file, n): (group, ids), not answered

    def stored(self, topic, name):
        self.is_stored[topic].add(name)

    def arrived(self):
        """(how many that must come are there, how many must)"""
        self._read_on()
        coming = [(self.sends[name]["topic"], name) for name, promise in self.promises.items()
                  if promise in COMING]
        return sum(name in self.is_stored[topic] for topic, name in coming), len(coming)

    def acknowledged(self, group, topic):
        """(how many messages of a topic a popping group has acknowledged, as far as anybody can
        know, how many there are)"""
        self._read_on()
        done = self.is_done[group].union(*(names for one, names in self.pending.values()
                                           if one == group))
        return len(self.is_stored[topic] & done), len(self.is_stored[topic])

    def _read_on(self):
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".history"):
                self._read_file(name)

    def _read_file(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            file.seek(self.read_up_to[name])
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.read_up_to[name] += len(line)
                self._take_in(name, json.loads(line))

    def _take_in(self, file, one):
        event = one["e"]
        if event == "send":
            self.sends[one["id"]] = one
        elif event == "acked":
            self.promises[one["id"]] = one.get("promise", self.sends[one["id"]]["promise"])
        elif event == "ack":
            group, names = self.pending.setdefault((file, one["n"]), (one["group"], []))
            names.append(one["id"].partition("+")[0])
        elif event in ("done", "refused"):
            group, names = self.pending.pop((file, one["n"]))
            if event == "done":
                self.is_done[group].update(names)
