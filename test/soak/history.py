# SPDX-License-Identifier: Apache-2.0
"""What a soak writes down: one JSON object per line, one file per process, in the order in which the
process did it. `at` is the wall clock in seconds; all processes are on one machine.

    group      group, topics, model      who consumes them; model: see checker.MODELS; retry: the topic
                                         in which a popping group gets its messages again
    send       id, topic, sum, promise   about to be sent; due: not before; key, seq: order of a key
    acked      id                        the broker said yes; queue, offset: where; promise: the final
                                         one, where only the answer decides it
    took       member, group, topic, queue, offset, asked
                                         begins to consume there; it asked for the offset at `asked`
    got        member, group, topic, queue, offset, id, sum
                                         consumed; written before it is committed or acknowledged
    left       member, group, topic, queue        consumes there no more; goal: up to where it had to
    commit     n, member, group, topic, queue, offset       about to commit
    committed  n, member                 the broker said yes
    popped     member, group, topic, queue, offset, id, sum, popped_at, until
                                         got by a pop; topic: where it is stored; until: invisible
    ack        n, member, group, topic, queue, offset, id      about to acknowledge what was popped
    done, refused    n, member           the broker said yes, or no
    asked      id                        the broker asked how a transaction ends
    changed    what                      kill, stop, up: of the broker; start, end, crash: of a member;
                                         slave-kill, slave-stop;
                                         until: when a killed broker was surely gone
    stored     topic, queue, offset, id, sum, stored_at     read at the end, from every queue
    maximum    topic, queue, offset      a queue's maximum offset at the end

`sum` is a checksum of the body. A line that a killed process has begun is left out.
"""
import hashlib
import json
import os
import time


def checksum(body):
    return hashlib.sha256(body).hexdigest()[:16]


class Writer:
    """Every event is in the page cache when `write` returns: kill -9 loses none."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, event, **members):
        members["e"] = event
        members.setdefault("at", time.time())
        os.write(self.file, json.dumps(members, separators=(",", ":")).encode() + b"\n")


def read(path):
    """The events of one file."""
    events = []
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                events.append(json.loads(line))
    return events


def read_all(folder):
    """A list of histories, one per process."""
    return [read(os.path.join(folder, name)) for name in sorted(os.listdir(folder))
            if name.endswith(".history")]
