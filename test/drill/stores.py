# SPDX-License-Identifier: Apache-2.0
"""The files of a master and of its slave, read as bytes: what is in the log, and whether the two are
the same. Reads beside a running or a stopped broker; what is written meanwhile may be there or not.
"""
import os
import struct

import ledger
from broker import Record

RECORD, FILLER = 0xDAA320A7, 0xCBD43194
ENTRY_BYTES = 20
SHOWN = 3


def segments(folder):
    """[(position, path)] of a folder of files that are named by their position."""
    try:
        return sorted((int(name), os.path.join(folder, name)) for name in os.listdir(folder)
                      if name.isdigit())
    except FileNotFoundError:
        return []


def log_folder(store):
    return os.path.join(store, "commitlog")


def records(store, position=0):
    """Whole records of the log from a position on, which begins one; their checksums are right.
    Ends where nothing that is whole follows."""
    for start, path in segments(log_folder(store)):
        with open(path, "rb") as file:
            data = file.read()
        if position >= start + len(data):
            continue
        position = max(position, start)
        while position < start + len(data):
            size, magic = struct.unpack_from(">iI", data, position - start) \
                if start + len(data) - position >= 8 else (0, 0)
            if magic == FILLER:
                position = start + len(data)
                break
            if magic != RECORD or size > start + len(data) - position:
                return
            try:
                yield Record(data[position - start:position - start + size])
            except (ValueError, IndexError, struct.error, UnicodeDecodeError):
                return
            position += size


class Content:
    """The messages of one topic in a store, at (queue, offset): (id, checksum of the body)."""

    def __init__(self, topic):
        self.topic = topic
        self.messages = {}
        self.end = 0
        self.twice = []

    def read_on(self, store):
        for record in records(store, self.end):
            if record.topic == self.topic:
                place = (record.queue_id, record.queue_offset)
                if place in self.messages:
                    self.twice.append(place)
                self.messages[place] = (record.properties.get("UNIQ_KEY"),
                                        ledger.checksum(record.body))
            self.end = record.position + record.size
        return self


def differences(master, slave, end):
    """What differs in the logs of two stores before the position `end`, where both have a file, and in
    the consume queues as far as both have entries for what lies before `end`."""
    found = []
    theirs = dict(segments(log_folder(slave)))
    covered = 0
    for start, path in segments(log_folder(master)):
        if start in theirs and start < end:
            covered += 1
            at = first_difference(path, theirs[start], end - start)
            if at is not None:
                found.append("the logs differ at %d" % (start + at))
    if covered == 0 and end > 0:
        found.append("no file of the log is on both")
    return found + queue_differences(master, slave, end)


def first_difference(path, other, size):
    with open(path, "rb") as one, open(other, "rb") as two:
        left, right = one.read(size), two.read(size)
    if left == right:
        return None
    return next((at for at, (a, b) in enumerate(zip(left, right)) if a != b),
                min(len(left), len(right)))


def queue_differences(master, slave, end):
    found = []
    ours, theirs = queues(master), queues(slave)
    for name in sorted(set(ours) | set(theirs)):
        left, right = entries(ours.get(name), end), entries(theirs.get(name), end)
        if left != right:
            extra = sorted(set(left) ^ set(right))[:SHOWN]
            found.append("queue %s: %d entries on the master, %d on the slave, such as %s"
                         % (name, len(left), len(right), extra))
    return found


def queues(store):
    """{"topic/queue": folder}"""
    top = os.path.join(store, "consumequeue")
    return {topic + "/" + queue: os.path.join(top, topic, queue)
            for topic in (os.listdir(top) if os.path.isdir(top) else ())
            for queue in os.listdir(os.path.join(top, topic))}


def entries(folder, end):
    """[(queue offset, position, size, tags)] of records that end at `end` or before."""
    found = []
    for start, path in segments(folder) if folder else ():
        with open(path, "rb") as file:
            data = file.read()
        for at in range(0, len(data) - len(data) % ENTRY_BYTES, ENTRY_BYTES):
            position, size, tags = struct.unpack_from(">qiq", data, at)
            if size == 0 or size == 0x7FFFFFFF:
                continue
            if position + size <= end:
                found.append(((start + at) // ENTRY_BYTES, position, size, tags))
    return found
