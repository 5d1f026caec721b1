#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks of drills: a story in which all promises were kept has no complaints, and each way of
breaking one is found by the rule that is meant to. The stores compared are made of real records."""
import json
import os
import struct
import sys
import tempfile
import unittest
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import checker  # noqa: E402
import ledger  # noqa: E402
import report  # noqa: E402
import rocketmq  # noqa: E402
import stores  # noqa: E402


class Story:
    """What clients and stores say, of group a and queue 0. Time grows with every event."""

    def __init__(self):
        self.events, self.contents, self.now = [], {"a": {}}, 1000.0

    def add(self, event, **members):
        self.now += 0.01
        self.events.append(dict({"e": event, "at": self.now}, **members))

    def send(self, name, offset=None, code=0, stored=True, lane="p-burst-a", **order):
        self.add("sent", id=name, topic="t", sum="sum-" + name, lane=lane, **order)
        if offset is None:
            self.add("failed", id=name)
            return
        self.add("acked", id=name, group="a", queue=0, offset=offset, code=code)
        if stored:
            self.contents["a"][(0, offset)] = (name, "sum-" + name)

    def got(self, name, offset, source=0, **more):
        self.add("got", **dict(dict(member="c", topic="t", group="a", queue=0, offset=offset, id=name,
                                    sum="sum-" + name, source=source), **more))

    def rules(self):
        return sorted({text[1:text.index("]")]
                       for text in checker.check(self.events, self.contents)})


def three(read=3):
    story = Story()
    for i in range(3):
        story.send("m%d" % i, i)
    for i in range(read):
        story.got("m%d" % i, i)
    return story


class Promises(unittest.TestCase):
    def test_all_is_well(self):
        self.assertEqual(three().rules(), [])

    def test_lost(self):
        story = three()
        story.send("gone", 3, stored=False)
        self.assertEqual(story.rules(), ["lost"])

    def test_lost_with_its_whole_group(self):
        story = three(read=0)
        story.contents = {}
        self.assertEqual(story.rules(), ["lost"])

    def test_another_in_its_place(self):
        story = three()
        story.send("gone", 3, stored=False)
        story.send("other")
        story.contents["a"][(0, 3)] = ("other", "sum-other")
        story.got("other", 3)
        self.assertEqual(story.rules(), ["lost"])

    def test_other_answers_promise_no_slave(self):
        for code in (ledger.NO_SLAVE, ledger.FLUSH_SLAVE_TIMEOUT, ledger.FLUSH_DISK_TIMEOUT):
            story = three()
            story.send("perhaps", 3, code=code, stored=False)
            self.assertEqual(story.rules(), [])

    def test_no_answer_promises_nothing(self):
        story = three()
        story.send("stored all the same")
        story.contents["a"][(0, 3)] = ("stored all the same", "sum-stored all the same")
        story.got("stored all the same", 3)
        self.assertEqual(story.rules(), [])

    def test_changed_body(self):
        story = three(read=2)
        story.contents["a"][(0, 2)] = ("m2", "other")
        story.got("m2", 2, sum="other")
        self.assertEqual(story.rules(), ["bytes"])

    def test_from_nobody(self):
        story = three()
        story.contents["a"][(0, 3)] = ("alien", "x")
        story.got("alien", 3, sum="x")
        self.assertEqual(story.rules(), ["bytes"])

    def test_two_acks_of_one_place(self):
        story = three()
        story.send("again", 2, stored=False)
        self.assertEqual(story.rules(), ["lost", "twice"])

    def test_stored_twice(self):
        story = three()
        story.contents["a"][(0, 3)] = ("m1", "sum-m1")
        story.got("m1", 3)
        self.assertEqual(story.rules(), ["twice"])

    def test_a_client_that_sends_again_may_have_stored_it_twice(self):
        story = three()
        story.send("r", 3, retried=True)
        story.contents["a"][(0, 4)] = ("r", "sum-r")
        story.got("r", 3)
        story.got("r", 4)
        self.assertEqual(story.rules(), [])

    def test_gap(self):
        story = three(read=0)
        story.send("m4", 4)
        self.assertEqual(story.rules(), ["gap"])

    def test_order_of_a_key(self):
        for first, second, rules in ((3, 4, []), (4, 3, ["order"])):
            story = three(read=0)
            story.send("k0", first, key="k", seq=0)
            story.send("k1", second, key="k", seq=1)
            self.assertEqual(story.rules(), rules)


class Consumers(unittest.TestCase):
    def test_goes_on_from_the_slave(self):
        story = three(read=1)
        story.got("m1", 1, source=1)
        story.got("m2", 2, source=1)
        self.assertEqual(story.rules(), [])

    def test_went_past_one(self):
        story = three(read=1)
        story.got("m2", 2, source=1)
        self.assertEqual(story.rules(), ["skip"])

    def test_read_again(self):
        story = three()
        story.got("m2", 2, source=1)
        self.assertEqual(story.rules(), ["skip"])

    def test_may_read_again_but_not_go_past(self):
        story = three(read=2)
        story.got("m1", 1, again=True)
        story.got("m2", 2, again=True)
        self.assertEqual(story.rules(), [])
        story = three(read=1)
        story.got("m2", 2, again=True)
        self.assertEqual(story.rules(), ["skip"])

    def test_unread(self):
        self.assertEqual(three(read=2).rules(), ["unread"])

    def test_got_what_is_not_there(self):
        story = three(read=2)
        story.got("m1", 2)
        self.assertEqual(story.rules(), ["stale"])
        story = three()
        story.got("m3", 3)
        self.assertEqual(story.rules(), ["stale"])


class OnTheSlave(unittest.TestCase):
    def test_missing(self):
        story = three()
        acked = [one for one in story.events if one["e"] == "acked"]
        self.assertEqual(checker.missing(acked, story.contents["a"]), [])
        del story.contents["a"][(0, 1)]
        story.contents["a"][(0, 2)] = ("other", "")
        self.assertEqual([one["id"] for one in checker.missing(acked, story.contents["a"])],
                         ["m1", "m2"])


def record(position, offset, name, queue=0, topic=b"t"):
    body = name.encode() * 3
    properties = ("UNIQ_KEY\x01" + name).encode()
    rest = struct.pack(">iI", 0, zlib.crc32(body) & 0x7FFFFFFF) + struct.pack(">i", queue)
    rest = rest[4:] + struct.pack(">iqqiq", 0, offset, position, 0, 1)
    rest += bytes(4) + struct.pack(">iq", 1, 1) + bytes(4) + struct.pack(">iiq", 1, 0, 0)
    rest += struct.pack(">i", len(body)) + body + bytes([len(topic)]) + topic
    rest += struct.pack(">h", len(properties)) + properties
    return struct.pack(">iI", len(rest) + 8, stores.RECORD) + rest


class Stores(unittest.TestCase):
    SEGMENT = 1024

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def store(self, name, count):
        """A store of so many messages over several segments; returns its folder and the log's end."""
        top = os.path.join(self.folder, name)
        os.makedirs(os.path.join(top, "commitlog"))
        os.makedirs(os.path.join(top, "consumequeue", "t", "0"))
        log, queue = b"", b""
        for offset in range(count):
            one = record(len(log), offset, "m%d" % offset)
            left = self.SEGMENT - len(log) % self.SEGMENT
            if len(one) + 8 > left:
                log += struct.pack(">iI", left, stores.FILLER).ljust(left, b"\0")
                one = record(len(log), offset, "m%d" % offset)
            queue += struct.pack(">qiq", len(log), len(one), 7)
            log += one
        for start in range(0, len(log), self.SEGMENT):
            with open(os.path.join(top, "commitlog", "%020d" % start), "wb") as file:
                file.write(log[start:start + self.SEGMENT].ljust(self.SEGMENT, b"\0"))
        with open(os.path.join(top, "consumequeue", "t", "0", "%020d" % 0), "wb") as file:
            file.write(queue.ljust(2000, b"\0"))
        return top, len(log)

    def damage(self, top, kind, at):
        folder = os.path.join(top, kind)
        start, path = [one for one in stores.segments(folder) if one[0] <= at][-1]
        with open(path, "r+b") as file:
            file.seek(at - start)
            byte = file.read(1)
            file.seek(at - start)
            file.write(bytes([byte[0] ^ 1]))

    def test_content(self):
        top, end = self.store("a", 20)
        content = stores.Content("t").read_on(top)
        self.assertEqual(content.messages, {
            (0, i): ("m%d" % i, ledger.checksum(b"m%d" % i * 3)) for i in range(20)})
        self.assertEqual((content.end, content.twice), (end, []))

    def test_content_ends_at_damage(self):
        top, _ = self.store("a", 20)
        self.damage(top, "commitlog", stores.Content("t").read_on(top).end // 2)
        self.assertLess(len(stores.Content("t").read_on(top).messages), 20)

    def test_the_same(self):
        master, end = self.store("a", 20)
        slave, _ = self.store("b", 20)
        self.assertEqual(stores.differences(master, slave, end), [])

    def test_a_slave_that_is_behind(self):
        master, end = self.store("a", 20)
        slave, confirmed = self.store("b", 12)
        self.assertEqual(stores.differences(master, slave, confirmed), [])
        self.assertNotEqual(stores.differences(master, slave, end), [])

    def test_an_empty_slave(self):
        master, end = self.store("a", 20)
        self.assertNotEqual(stores.differences(master, os.path.join(self.folder, "none"), end), [])

    def test_one_bit(self):
        master, end = self.store("a", 20)
        slave, _ = self.store("b", 20)
        self.damage(slave, "commitlog", end - 1)
        self.assertEqual(stores.differences(master, slave, end),
                         ["the logs differ at %d" % (end - 1)])
        self.assertEqual(stores.differences(master, slave, end - 1), [])

    def test_a_queue_entry(self):
        master, end = self.store("a", 20)
        slave, _ = self.store("b", 20)
        self.damage(slave, os.path.join("consumequeue", "t", "0"), 19)
        self.assertEqual(len(stores.differences(master, slave, end)), 1)


class Pauses(unittest.TestCase):
    def test_longest(self):
        self.assertEqual(checker.longest_pause([1, 2, 6, 7], 2, 8), 4)
        self.assertEqual(checker.longest_pause([1, 2, 6, 7], 3, 7), 4)
        self.assertEqual(checker.longest_pause([1, 9], 2, 8), 7)
        self.assertIsNone(checker.longest_pause([], 2, 8))

    def test_whose(self):
        story = Story()
        story.send("a", 0)
        story.send("b", 1, lane="p-roaming")
        story.add("fault", group="a")
        fault = story.events[-1]
        story.now += 5
        story.send("c", 2, lane="p-roaming")
        story.now += 2
        story.send("d", 3, code=ledger.NO_SLAVE)
        story.now += 2
        story.send("e", 4)
        story.add("healed", group="a")
        lanes = {one["id"]: one["lane"] for one in story.events if one["e"] == "sent"}
        found = checker.pauses(story.events, lanes, fault, story.events[-1])
        self.assertAlmostEqual(found["client"], 5.03, 2)
        self.assertAlmostEqual(found["group"], 5.03, 2)
        self.assertIsNone(found["consumer"])
        other = checker.pauses(story.events, lanes, dict(fault, group="b"), story.events[-1])
        self.assertIsNone(other["group"])


class Ledgers(unittest.TestCase):
    def test_reads_on(self):
        with tempfile.TemporaryDirectory() as folder:
            writer = ledger.Writer(os.path.join(folder, "p.history"))
            tail = ledger.Tail(folder)
            writer.write("acked", id="m", group="a", queue=0, offset=0, code=0)
            self.assertEqual(len(tail.update().acked["a"]), 1)
            with open(os.path.join(folder, "p.history"), "a", encoding="ascii") as file:
                file.write('{"e":"got","member":"c","topic":"t","group":"a","queue":0,')
                file.flush()
                self.assertEqual(len(tail.update().events), 1)
                file.write('"offset":7,"source":1}\n')
            self.assertEqual(tail.update().next[("c", "t", "a", 0)], 8)
            self.assertEqual(len(tail.update().events), 2)


class Reports(unittest.TestCase):
    def test_rows(self):
        rows = [{"fault": "kill-master", "rounds": 3, "acked": 10, "lost": 0, "complaints": [],
                 "client": [0.1, 0.3, 0.2], "group": [4.0], "consumer": []}]
        text = report.markdown(rows, {"system": "x"})
        self.assertIn("| kill-master | 3 | 10 | 0 | 0.10 / 0.20 / 0.30 | 4.00 / 4.00 / 4.00 | - |",
                      text)
        self.assertEqual(json.loads(report.as_json(rows, {"system": "x"}))["drills"][0]["client"],
                         {"min": 0.1, "median": 0.2, "max": 0.3, "all": [0.1, 0.3, 0.2]})


if __name__ == "__main__":
    rocketmq.main("t_drill")
