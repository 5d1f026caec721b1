#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checker of soaks: a history in which all promises were kept has no complaints; each way of
breaking one is found, by the rule that is meant to."""
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import checker  # noqa: E402
import expected  # noqa: E402
import history  # noqa: E402
import pair  # noqa: E402
import rocketmq  # noqa: E402


RETRY = "%RETRY%g_t"


class Story:
    """Histories written by hand. Time is a number that grows with every event."""

    def __init__(self, model="shared"):
        self.now = 1000.0
        self.by_process = {}
        self.commits = 0
        self.bodies = {}
        more = {"retry": RETRY} if model == "popped" else {}
        self.add("driver", "group", group="g", topics=["t"], model=model, **more)

    def add(self, process, event, **members):
        self.now += 0.01
        one = dict(members, e=event, at=members.get("at", self.now))
        self.by_process.setdefault(process, []).append(one)
        return one

    def send(self, name, offset=None, promise="placed", queue=0, stored=True, **more):
        """Send it, have it acknowledged when the offset is given, and store it."""
        self.bodies[name] = "sum-" + name
        self.add("p", "send", id=name, topic="t", sum=self.bodies[name], promise=promise, **more)
        if offset is not None:
            self.add("p", "acked", id=name, queue=queue, offset=offset)
            if stored:
                self.store(name, offset, queue)

    def store(self, name, offset, queue=0, **more):
        self.add("driver", "stored", topic="t", queue=queue, offset=offset, id=name,
                 **dict({"sum": self.bodies[name], "stored_at": self.now}, **more))

    def changed(self, what):
        self.add("driver", "changed", what=what)

    def took(self, member, offset, queue=0):
        self.add(member, "took", member=member, group="g", topic="t", queue=queue, offset=offset,
                 asked=self.now)

    def left(self, member, queue=0, **more):
        self.add(member, "left", member=member, group="g", topic="t", queue=queue, **more)

    def got(self, member, name, offset, queue=0, **more):
        self.add(member, "got", member=member, group="g", topic="t", queue=queue, offset=offset,
                 id=name, **dict({"sum": self.bodies[name]}, **more))

    def commit(self, member, offset, answered=True, queue=0):
        self.commits += 1
        self.add(member, "commit", member=member, n=self.commits, group="g", topic="t",
                 queue=queue, offset=offset)
        if answered:
            self.add(member, "committed", member=member, n=self.commits)

    def pop(self, member, name, offset, topic="t", invisible_s=10, **more):
        self.add(member, "popped", member=member, group="g", topic=topic, queue=0, offset=offset,
                 id=name, popped_at=self.now, until=self.now + invisible_s,
                 **dict({"sum": self.bodies[name.partition("+")[0]]}, **more))

    def ack(self, member, name, offset, topic="t", answered="done"):
        self.commits += 1
        self.add(member, "ack", n=self.commits, member=member, group="g", id=name, topic=topic,
                 queue=0, offset=offset)
        if answered:
            self.add(member, answered, n=self.commits, member=member)

    def copy(self, name, offset):
        """What was not acknowledged is appended to the retry topic."""
        self.add("driver", "stored", topic=RETRY, queue=0, offset=offset, id=name,
                 sum=self.bodies[name.partition("+")[0]], stored_at=self.now)
        self.add("driver", "maximum", topic=RETRY, queue=0, offset=offset + 1)

    def wait(self, seconds):
        self.now += seconds

    def maximum(self, offset, queue=0):
        self.add("driver", "maximum", topic="t", queue=queue, offset=offset)

    def rules(self):
        """The names of the rules that complain."""
        complaints = checker.Checker(list(self.by_process.values())).run()
        return sorted({text[1:text.index("]")] for text in complaints})


def three(model="shared", member="a", read=3):
    """Three messages, of which a member has read some."""
    story = Story(model)
    for i in range(3):
        story.send("m%d" % i, i)
    story.maximum(3)
    if member:
        story.took(member, 0)
        for i in range(read):
            story.got(member, "m%d" % i, i)
    return story


class Sends(unittest.TestCase):
    def test_all_is_well(self):
        self.assertEqual(three().rules(), [])

    def test_lost(self):
        story = three()
        story.send("gone", 3, stored=False)
        self.assertEqual(story.rules(), ["lost"])

    def test_at_another_place(self):
        story = three()
        story.send("moved", 7, stored=False)
        story.store("moved", 3)
        story.maximum(4)
        story.got("a", "moved", 3)
        self.assertEqual(story.rules(), ["lost"])

    def test_another_body(self):
        story = three()
        story.send("changed", 3, stored=False)
        story.store("changed", 3, sum="other")
        story.maximum(4)
        story.got("a", "changed", 3, sum="other")
        self.assertEqual(story.rules(), ["bytes"])

    def test_from_nobody(self):
        story = three()
        story.bodies["alien"] = "x"
        story.store("alien", 3)
        story.maximum(4)
        story.got("a", "alien", 3)
        self.assertEqual(story.rules(), ["bytes"])

    def test_no_answer_promises_nothing(self):
        story = three()
        story.send("lost in a crash")
        story.send("stored in a crash")
        story.store("stored in a crash", 3)
        story.maximum(4)
        story.got("a", "stored in a crash", 3)
        self.assertEqual(story.rules(), [])

    def test_delivered_anywhere(self):
        story = three()
        story.send("late", 77, promise="delivered", stored=False)
        self.assertEqual(story.rules(), ["lost"])
        story.store("late", 3)
        story.maximum(4)
        story.got("a", "late", 3)
        self.assertEqual(story.rules(), [])

    def test_early(self):
        story = three()
        story.send("late", 77, promise="delivered", stored=False, due=story.now + 2)
        story.store("late", 3)
        story.maximum(4)
        story.wait(3)
        story.got("a", "late", 3)
        self.assertEqual(story.rules(), ["early"])

    def test_rolled_back(self):
        for promise, rules in (("never", ["never"]), ("delivered", [])):
            story = three()
            story.send("half", promise="maybe")
            story.add("p", "acked", id="half", promise=promise)
            story.store("half", 3)
            story.maximum(4)
            story.got("a", "half", 3)
            self.assertEqual(story.rules(), rules)

    def test_rolled_back_also_when_nobody_was_told_that_it_was_taken(self):
        story = three()
        story.send("half", promise="never")
        story.store("half", 3)
        story.maximum(4)
        story.got("a", "half", 3)
        self.assertEqual(story.rules(), ["never"])

    def test_a_transaction(self):
        """It comes once at most, whatever crashes, and comes when it was acknowledged."""
        for stored, acked, rules in ((1, True, []), (1, False, []), (0, False, []),
                                     (0, True, ["lost"]), (2, True, ["twice"]),
                                     (2, False, ["twice"])):
            story = three()
            story.send("half", promise="committed")
            if acked:
                story.add("p", "acked", id="half")
            for i in range(stored):
                story.store("half", 3 + i)
                story.got("a", "half", 3 + i)
                story.changed("kill")  # explains nothing here
            story.maximum(3 + stored)
            self.assertEqual(story.rules(), rules, (stored, acked))

    def test_cancelled(self):
        """A timer, as its producer tells about it."""
        for last, rules in (("never", ["never"]), ("maybe", []), ("delivered", [])):
            story = three()
            story.send("timer", promise="delivered")
            story.add("p", "acked", id="timer", promise="maybe")
            story.add("p", "acked", id="timer", promise=last)
            story.store("timer", 3)
            story.maximum(4)
            story.got("a", "timer", 3)
            self.assertEqual(story.rules(), rules)
        story = three()
        story.send("timer", promise="delivered")
        story.add("p", "acked", id="timer", promise="maybe")
        self.assertEqual(story.rules(), [])

    def test_a_kill_takes_a_while(self):
        """What was stored between the word to kill and the end of the broker was before the crash."""
        for until, rules in ((0, ["twice"]), (1, [])):
            story = three()
            story.send("late", 77, promise="delivered", stored=False)
            kill = story.add("driver", "changed", what="kill")
            story.wait(0.5)
            story.store("late", 3)
            kill["until"] = kill["at"] + until
            story.wait(1)
            story.store("late", 4)
            story.maximum(5)
            story.got("a", "late", 3)
            story.got("a", "late", 4)
            self.assertEqual(story.rules(), rules)

    def test_twice(self):
        story = three()
        story.store("m0", 3)
        story.maximum(4)
        story.got("a", "m0", 3)
        self.assertEqual(story.rules(), ["twice"])

    def test_delivered_twice(self):
        """A crash explains that, shortly after the first time only."""
        for wait, rules in ((0.1, []), (60, ["twice"])):
            story = three()
            story.send("late", 77, promise="delivered", stored=False)
            story.store("late", 3)
            story.wait(wait)
            story.changed("kill")
            story.store("late", 4)
            story.maximum(5)
            story.got("a", "late", 3)
            story.got("a", "late", 4)
            self.assertEqual(story.rules(), rules)

    def test_sent_back_twice(self):
        story = three()
        for _ in range(2):
            story.send("again", 0, promise="delivered", stored=False, due=story.now)
        story.store("again", 3)
        story.store("again", 4)
        story.maximum(5)
        story.got("a", "again", 3)
        story.got("a", "again", 4)
        self.assertEqual(story.rules(), [])

    def test_gap(self):
        story = three(read=0)
        story.send("m4", 4)
        story.maximum(5)
        self.assertEqual(story.rules(), ["gap", "unread"])

    def test_order_of_a_key(self):
        for first, second, rules in ((3, 4, []), (4, 3, ["key-order"])):
            story = three()
            story.send("k1", first, key="k", seq=1)
            story.send("k2", second, key="k", seq=2)
            story.maximum(5)
            for offset, name in sorted(((first, "k1"), (second, "k2"))):
                story.got("a", name, offset)
            self.assertEqual(story.rules(), rules)


class Consumption(unittest.TestCase):
    def test_unread(self):
        self.assertEqual(three(read=2).rules(), ["unread"])
        self.assertEqual(three(member=None).rules(), ["unread"])

    def test_skip(self):
        story = three(read=1)
        story.got("a", "m2", 2)
        story.got("a", "m1", 1)
        self.assertEqual(story.rules(), ["skip"])

    def test_again_within_a_tenure(self):
        story = three()
        story.got("a", "m2", 2)
        self.assertEqual(story.rules(), ["skip"])

    def test_what_is_read_is_what_is_stored(self):
        story = three(read=2)
        story.got("a", "m1", 2)
        self.assertEqual(story.rules(), ["bytes"])
        story = three(read=2)
        story.got("a", "m2", 2, sum="other")
        self.assertEqual(story.rules(), ["bytes"])

    def test_a_committed_offset_holds(self):
        for offset, rules in ((3, []), (1, ["offset"]), (0, ["offset"])):
            story = three()
            story.commit("a", 1)
            story.commit("a", 3)
            story.left("a")
            story.took("b", offset)
            for i in range(offset, 3):
                story.got("b", "m%d" % i, i)
            self.assertEqual(story.rules(), rules, offset)

    def test_an_offset_that_nobody_committed(self):
        story = three()
        story.commit("a", 3)
        story.took("b", 2)
        story.got("b", "m2", 2)
        self.assertEqual(story.rules(), ["offset"])

    def test_a_commit_under_way_may_count_or_not(self):
        for offset in (1, 3):
            story = three()
            story.commit("a", 1)
            story.commit("a", 3, answered=False)
            story.took("b", offset)
            for i in range(offset, 3):
                story.got("b", "m%d" % i, i)
            self.assertEqual(story.rules(), [])

    def test_a_crash_may_cost_the_newest_commits(self):
        for wait, what, rules in ((0.1, "kill", []), (60, "kill", ["offset"]),
                                  (0.1, "stop", ["offset"]), (0.1, "crash", ["offset"])):
            story = three()
            story.commit("a", 1)
            story.wait(60)
            story.commit("a", 3)
            story.wait(wait)
            story.changed(what)
            story.took("b", 1)
            story.got("b", "m1", 1)
            story.got("b", "m2", 2)
            self.assertEqual(story.rules(), rules)

    def test_order(self):
        story = three("ordered", member="a", read=1)
        story.left("a")
        story.took("b", 2)
        story.got("b", "m2", 2)
        story.left("b")
        story.took("a", 0)
        story.got("a", "m0", 0)
        story.got("a", "m1", 1)
        self.assertIn("order", story.rules())

    def test_two_at_a_time(self):
        for what, rules in ((None, ["together"]), ("start", ["together"]), ("up", [])):
            story = three("ordered", member="a", read=1)
            if what:
                story.changed(what)
            story.took("b", 0)
            story.got("b", "m0", 0)
            story.got("a", "m1", 1)
            story.got("b", "m1", 1)
            story.got("b", "m2", 2)
            self.assertEqual(story.rules(), rules)

    def test_each_reads_on_to_its_goal(self):
        for read, rules in ((3, []), (2, ["unread"])):
            story = three("each", read=read)
            story.took("late", 2)
            story.got("late", "m2", 2)
            for member in ("a", "late"):
                story.left(member, goal=3)
            self.assertEqual(story.rules(), rules)

    def test_each_skips_nothing(self):
        story = three("each", read=1)
        story.got("a", "m2", 2)
        self.assertEqual(story.rules(), ["skip"])

    def test_clients_that_do_not_tell(self):
        for what, rules in ((None, ["again"]), ("start", []), ("slave-kill", ["again"])):
            story = Story("shared-blind")
            story.send("m0", 0)
            story.maximum(1)
            story.got("a", "m0", 0)
            if what:
                story.changed(what)
            story.got("b", "m0", 0)
            self.assertEqual(story.rules(), rules)
        story = Story("ordered-blind")
        for i in range(3):
            story.send("m%d" % i, i)
        story.maximum(3)
        for i in (0, 2, 1):
            story.got("a", "m%d" % i, i)
        self.assertEqual(story.rules(), ["order"])


def popped(count=1, acknowledged=1, **more):
    """Messages that are popped together, of which some are acknowledged."""
    story = Story("popped")
    for i in range(count):
        story.send("m%d" % i, i)
    story.maximum(count)
    for i in range(count):
        story.pop("a", "m%d" % i, i, **more)
    for i in range(acknowledged):
        story.ack("a", "m%d" % i, i)
    return story


class Popping(unittest.TestCase):
    def test_all_is_well(self):
        story = popped(2, 1)
        story.wait(10)
        story.copy("m1+1", 0)
        story.pop("b", "m1+1", 0, RETRY)
        story.wait(10)
        story.copy("m1+2", 1)
        story.pop("b", "m1+2", 1, RETRY)
        story.ack("b", "m1+2", 1, RETRY)
        self.assertEqual(story.rules(), [])

    def test_never_acknowledged(self):
        self.assertEqual(popped(2, 1).rules(), ["unread"])
        for answered, rules in (("done", []), ("refused", ["unread"]), (None, [])):
            story = popped(1, 0)
            story.ack("a", "m0", 0, answered=answered)
            self.assertEqual(story.rules(), rules)

    def test_what_is_popped_is_what_is_stored(self):
        self.assertEqual(popped(sum="other").rules(), ["bytes"])
        story = popped(1, 0)
        story.wait(10)
        story.copy("m0+1", 0)
        story.pop("a", "m0+1", 1, RETRY)
        story.ack("a", "m0+1", 1, RETRY)
        self.assertEqual(story.rules(), ["bytes"])

    def test_a_copy_is_of_something(self):
        story = popped()
        story.bodies["alien"] = "x"
        story.copy("alien+1", 0)
        self.assertEqual(story.rules(), ["again", "bytes"])
        story = popped(1, 0)
        story.wait(10)
        story.copy("m0+1", 1)
        story.pop("a", "m0+1", 1, RETRY)
        story.ack("a", "m0+1", 1, RETRY)
        self.assertEqual(story.rules(), ["gap"])

    def test_one_place_twice(self):
        """A crash of the broker explains that, shortly after the first time only."""
        for wait, what, rules in ((0.1, "kill", []), (60, "kill", ["again"]),
                                  (0.1, "stop", ["again"]), (0.1, "crash", ["again"])):
            story = popped()
            story.wait(wait)
            story.changed(what)
            story.pop("b", "m0", 0)
            self.assertEqual(story.rules(), rules, (wait, what))

    def test_acknowledged_and_copied(self):
        """In time; or late, or without an answer, or shortly before a crash."""
        for pop_s, ack_s, answered, what, rules in (
                (0, 0, "done", None, ["again"]), (0, 0, "done", "stop", ["again"]),
                (0, 0, "done", "kill", []), (0, 0, None, None, []), (0, 0, "refused", None, []),
                (20, 0, "done", None, []), (7, 0, "done", "kill", []),
                (0, 7, "done", "kill", ["again"])):
            story = popped(1, 0)
            story.wait(pop_s)
            story.ack("a", "m0", 0, answered=answered)
            story.wait(ack_s)
            if what:
                story.changed(what)
            story.wait(20)
            story.copy("m0+1", 0)
            story.pop("b", "m0+1", 0, RETRY)
            story.ack("b", "m0+1", 0, RETRY)
            self.assertEqual(story.rules(), rules, (pop_s, ack_s, answered, what))

    def test_two_copies(self):
        for what, rules in ((None, ["again"]), ("kill", [])):
            story = popped(1, 0)
            story.wait(10)
            story.copy("m0+1", 0)
            if what:
                story.changed(what)
            story.copy("m0+1", 1)
            for offset in range(2):
                story.pop("b", "m0+1", offset, RETRY)
                story.ack("b", "m0+1", offset, RETRY)
            self.assertEqual(story.rules(), rules)

    def test_who_popped_it_may_have_crashed(self):
        """Before it wrote that down: then the copy is the first that is known of."""
        story = popped(1, 0)
        story.by_process.pop("a")
        story.copy("m0+1", 0)
        story.pop("b", "m0+1", 0, RETRY)
        story.ack("b", "m0+1", 0, RETRY)
        self.assertEqual(story.rules(), [])

    def test_before_it_is_visible(self):
        for wait, what, rules in ((5, None, ["early"]), (10, None, []), (5, "kill", [])):
            story = popped(1, 0)
            story.wait(wait)
            if what:
                story.changed(what)
            story.copy("m0+1", 0)
            story.pop("b", "m0+1", 0, RETRY)
            story.ack("b", "m0+1", 0, RETRY)
            self.assertEqual(story.rules(), rules)


class Waiting(unittest.TestCase):
    """What the end of a soak waits for."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.writers = [history.Writer(os.path.join(folder.name, "%s.history" % name))
                        for name in ("one", "two")]
        self.expected = expected.Expected(folder.name)

    def send(self, name, sent_as, **more):
        self.writers[0].write("send", id=name, topic="t", sum="x", promise=sent_as)
        self.writers[0].write("acked", id=name, **more)

    def test_for_what_must_come(self):
        self.send("at once", "placed")
        self.send("late", "delivered")
        self.send("cancelled", "delivered", promise="never")
        self.writers[0].write("send", id="no answer", topic="t", sum="x", promise="delivered")
        self.assertEqual(self.expected.arrived(), (0, 1))
        self.send("half", "committed")
        self.assertEqual(self.expected.arrived(), (0, 2))
        self.expected.stored("other", "late")
        self.expected.stored("t", "half")
        self.assertEqual(self.expected.arrived(), (1, 2))

    def test_for_acknowledgements(self):
        self.expected.stored("t", "m")
        self.expected.stored("t", "n")
        for writer, name in zip(self.writers, ("m+1", "n")):
            writer.write("ack", n=0, group="g", id=name)
        self.assertEqual(self.expected.acknowledged("g", "t"), (2, 2))  # nobody can know more
        self.writers[0].write("refused", n=0)
        self.assertEqual(self.expected.acknowledged("g", "t"), (1, 2))
        self.writers[1].write("done", n=0)
        self.assertEqual(self.expected.acknowledged("g", "t"), (1, 2))
        self.assertEqual(self.expected.acknowledged("other", "t"), (0, 2))


class Logs(unittest.TestCase):
    def differences(self, master, slave, end):
        """Of folders with these files."""
        with tempfile.TemporaryDirectory() as folder:
            for name, files in (("master", master), ("slave", slave)):
                os.mkdir(os.path.join(folder, name))
                for i, data in enumerate(files):
                    with open(os.path.join(folder, name, "%020d" % (4 * i)), "wb") as file:
                        file.write(data)
            return pair.differences(os.path.join(folder, "master"), os.path.join(folder, "slave"), end)

    def test_equal_up_to_the_end(self):
        self.assertEqual(self.differences([b"abcd", b"efgh"], [b"abcd", b"ef--"], 6), [])
        self.assertEqual(self.differences([b"abcd", b"efgh"], [b"abcd"], 4), [])

    def test_different(self):
        text, = self.differences([b"abcd", b"efgh"], [b"abcd", b"ef-h"], 7)
        self.assertIn(" at 6", text)
        text, = self.differences([b"abcd", b"efgh"], [b"abcd", b"e"], 7)
        self.assertIn(" at 5", text)
        text, = self.differences([b"abcd", b"efgh"], [b"abcd"], 7)
        self.assertIn("no file", text)


class Files(unittest.TestCase):
    def test_a_line_begun_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "one.history")
            history.Writer(path).write("changed", what="kill", at=5)
            with open(path, "a", encoding="ascii") as file:
                file.write('{"e":"chan')
            self.assertEqual(history.read_all(folder), [[{"what": "kill", "at": 5, "e": "changed"}]])

    def test_long_lists_are_cut(self):
        story = Story()
        for i in range(50):
            story.send("m%d" % i, i, stored=False)
        complaints = checker.Checker(list(story.by_process.values())).run()
        self.assertEqual(len(complaints), checker.COMPLAINTS_PER_RULE + 1)
        self.assertIn("45 more", complaints[-1])


if __name__ == "__main__":
    rocketmq.main("t_checker")
