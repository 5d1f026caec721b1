#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a broker kept its promises, from what its clients wrote down (history.py has the format).

    checker.py FOLDER      checks the histories in a folder once more

A pure function of the histories: `Checker(histories).run()` returns complaints, each beginning with
the name of the rule in brackets:

    lost       what was acknowledged is not there, or not at its place
    bytes      a message is not what was sent, or nobody sent it
    never      a message is there that was rolled back or cancelled
    gap        offsets of a queue are not 0, 1, 2 ... up to its maximum
    twice      one send is stored more than once, and no crash of the broker explains that
    early      a message was there before it was due, or popped again before it was visible
    key-order  messages of a key are not stored in the order in which they were acknowledged
    unread     a group has not consumed a message; one that pops has not acknowledged it
    skip       a consumer went past a message, or read one again without being told to
    offset     a consumer was told an offset that a later, acknowledged commit had replaced
    order      an ordered group consumed a queue out of order
    together   two members of an ordered group consumed one queue at a time
    again      a message was consumed again, and nothing that happened explains it

A send is described by what its acknowledgement promises, not by how it was sent (PROMISES), a group
by how it consumes (MODELS). A new kind of send or of consumer that fits one of them needs nothing here.
"""
import bisect
import collections
import sys

import pops

# placed: is at the queue and offset of the answer. delivered: comes to its topic at some time, not
# before `due`, and again at most around a crash. committed: comes at some time, and no crash lets it
# come again. never: must not come, acknowledged or not. maybe: nothing is promised (one-way, no
# answer).
PROMISES = ("placed", "delivered", "committed", "never", "maybe")

# shared: members share the queues; ordered: and each queue has one member at a time; each: every
# member has all queues. These three tell their tenures (took, left) and commits. For clients that
# do not: shared-blind, ordered-blind. popped: see pops.py.
MODELS = ("shared", "ordered", "each", "shared-blind", "ordered-blind", "popped")

# What a crash of the broker may cost: commits and delivered delays of the last 100 ms, pops of the
# last second by its own word; the rest is for a machine that is busy.
CRASH_WINDOW_S = 5
# Clients that do not tell commit every 5 s, and rebalance within 20 s.
BLIND_WINDOW_S = 30
# How long a member may go on consuming that has not noticed yet that the broker forgot its locks.
NOTICE_S = 5
ROUNDING_S = 0.002
COMPLAINTS_PER_RULE = 5


class Checker:
    def __init__(self, histories):
        self.histories = histories
        self.complaints = collections.OrderedDict()
        self.groups = {}
        self.sends, self.acks = {}, {}
        self.stored, self.maximum = {}, {}
        self.copies = collections.defaultdict(list)
        self.gots = collections.defaultdict(list)
        self.tenures = collections.defaultdict(list)
        self.commits = collections.defaultdict(list)
        self.changes = []
        self.kills = []  # (about to kill, surely dead)
        self.asked = 0
        for history in histories:
            self._take_in(history)
        self.changes.sort()
        self.change_times = [at for at, _ in self.changes]
        self.pops = [pops.Pops(self, group) for group in self.groups.values()
                     if group["model"] == "popped"]
        self.copied = {one.group["retry"]: one.topic for one in self.pops}
        for one in self.pops:
            for history in histories:
                one.take_in(history)

    def _take_in(self, history):
        pending, open_tenures = {}, {}
        for one in history:
            event = one["e"]
            if event == "send":
                self._take_in_send(one)
            elif event == "acked":
                self.acks[one["id"]] = one
            elif event == "got":
                queue = (one["group"], one["topic"], one["queue"])
                self.gots[queue].append(one)
                if queue in open_tenures:
                    open_tenures[queue]["gots"].append(one)
            elif event == "took":
                queue = (one["group"], one["topic"], one["queue"])
                open_tenures[queue] = dict(one, gots=[], goal=0)
                self.tenures[queue].append(open_tenures[queue])
            elif event == "left":
                ended = open_tenures.pop((one["group"], one["topic"], one["queue"]), None)
                if ended:
                    ended["goal"] = one.get("goal", 0)
            elif event == "commit":
                pending[one["n"]] = dict(one, sent=one["at"], done=float("inf"))
                self.commits[(one["group"], one["topic"], one["queue"])].append(pending[one["n"]])
            elif event == "committed":
                pending[one["n"]]["done"] = one["at"]
            elif event == "changed":
                self.changes.append((one["at"], one["what"]))
                if one["what"] == "kill":
                    self.kills.append((one["at"], one.get("until", one["at"])))
            elif event == "asked":
                self.asked += 1
            elif event == "stored":
                self.stored[(one["topic"], one["queue"], one["offset"])] = one
                self.copies[(one["topic"], one["id"])].append(one)
            elif event == "maximum":
                self.maximum[(one["topic"], one["queue"])] = one["offset"]
            elif event == "group":
                self.groups[one["group"]] = one

    def _take_in_send(self, send):
        """A message that was consumed twice can be sent back twice, under the same name."""
        before = self.sends.get(send["id"])
        self.sends[send["id"]] = dict(send, times=1 + (before["times"] if before else 0))
        if before and "due" in send:
            self.sends[send["id"]]["due"] = min(before["due"], send["due"])

    def complain(self, rule, text, *values):
        self.complaints.setdefault(rule, []).append("[%s] %s" % (rule, text % values))

    def run(self):
        self.check_sends()
        self.check_stored()
        self.check_keys()
        for name, group in self.groups.items():
            if group["model"] not in ("each", "popped"):
                self.check_complete(name, group)
        for one in self.pops:
            one.check()
        for queue, gots in self.gots.items():
            self.check_bodies(queue, gots)
            self.check_consumed(queue, sorted(gots, key=lambda one: one["at"]))
        for queue, tenures in self.tenures.items():
            for tenure in tenures:
                self.check_tenure(queue, tenure)
        shown = []
        for rule, texts in self.complaints.items():
            shown += texts[:COMPLAINTS_PER_RULE]
            if len(texts) > COMPLAINTS_PER_RULE:
                shown.append("[%s] and %d more" % (rule, len(texts) - COMPLAINTS_PER_RULE))
        return shown

    # --- sends and what is stored ---

    def crashed_after(self, begin, end=float("inf"), last=None):
        """Whether the broker was killed after that, shortly after `last` (default: `begin`) at the
        latest, and before `end`."""
        latest = min(end, (begin if last is None else last) + CRASH_WINDOW_S)
        return any(at <= latest and dead >= begin - ROUNDING_S for at, dead in self.kills)

    @staticmethod
    def is_before(at, due):
        return at < due - ROUNDING_S

    def promise(self, send):
        ack = self.acks.get(send["id"])
        if send["promise"] == "never":
            return "never"
        return "maybe" if ack is None else ack.get("promise", send["promise"])

    def check_sends(self):
        for send in self.sends.values():
            promise = self.promise(send)
            copies = self.copies.get((send["topic"], send["id"]), [])
            if promise == "placed":
                ack = self.acks[send["id"]]
                place = (send["topic"], ack["queue"], ack["offset"])
                if self.stored.get(place, {}).get("id") != send["id"]:
                    self.complain("lost", "%s was acknowledged at %s, there is %s", send["id"],
                                  place, self.stored.get(place, {}).get("id"))
            elif promise in ("delivered", "committed") and not copies:
                self.complain("lost", "%s was acknowledged and did not come to %s", send["id"],
                              send["topic"])
            elif promise == "never" and copies:
                self.complain("never", "%s was rolled back or cancelled and is in %s", send["id"],
                              send["topic"])
            if len(copies) > send["times"] and not self.may_come_again(send, copies):
                self.complain("twice", "%s is stored %d times, at %s", send["id"], len(copies),
                              [(one["queue"], one["offset"]) for one in copies])
            for copy in copies:
                if self.is_before(copy["stored_at"], send.get("due", 0)):
                    self.complain("early", "%s came %.3f s before it was due", send["id"],
                                  send["due"] - copy["stored_at"])

    def may_come_again(self, send, copies):
        """Delayed messages whose delivery a crash of the broker forgot."""
        if send["promise"] in ("placed", "committed", "never"):
            return False
        times = sorted(copy["stored_at"] for copy in copies)
        return all(self.crashed_after(first, second) for first, second in zip(times, times[1:]))

    def check_stored(self):
        for (topic, queue, offset), one in self.stored.items():
            is_copy = topic in self.copied
            send = self.sends.get(pops.name_of(one["id"])[0] if is_copy else one["id"])
            if send is None or send["topic"] != self.copied.get(topic, topic):
                self.complain("bytes", "nobody sent %s, which is at %s/%d/%d", one["id"], topic,
                              queue, offset)
            elif send["sum"] != one["sum"]:
                self.complain("bytes", "the body of %s changed", one["id"])
        for (topic, queue), maximum in self.maximum.items():
            missing = [offset for offset in range(maximum)
                       if (topic, queue, offset) not in self.stored]
            if missing:
                self.complain("gap", "%s/%d has no %s, its maximum is %d", topic, queue,
                              missing[:5], maximum)
        for topic, queue, offset in self.stored:
            if offset >= self.maximum.get((topic, queue), 0):
                self.complain("gap", "%s/%d/%d is behind the maximum", topic, queue, offset)

    def check_keys(self):
        """The messages of a key were sent one after another, each when the one before was
        acknowledged or had failed."""
        keys = collections.defaultdict(list)
        for send in self.sends.values():
            if "key" in send and self.promise(send) == "placed":
                ack = self.acks[send["id"]]
                keys[(send["topic"], send["key"], ack["queue"])].append((send["seq"], ack["offset"]))
        for key, places in keys.items():
            places.sort()
            for (seq, offset), (next_seq, next_offset) in zip(places, places[1:]):
                if next_offset <= offset:
                    self.complain("key-order", "%s: number %d is at %d, number %d at %d", key, seq,
                                  offset, next_seq, next_offset)

    # --- consumption ---

    def check_complete(self, name, group):
        for topic in group["topics"]:
            for (one, queue), maximum in self.maximum.items():
                if one != topic:
                    continue
                consumed = {got["offset"] for got in self.gots.get((name, topic, queue), [])}
                unread = [offset for offset in range(maximum) if offset not in consumed]
                if unread:
                    self.complain("unread", "%s has not read %d of %d messages of %s/%d: %s", name,
                                  len(unread), maximum, topic, queue, unread[:5])

    def check_bodies(self, queue, gots):
        for got in gots:
            place = (got["topic"], got["queue"], got["offset"])
            stored = self.stored.get(place)
            if stored is None or (stored["id"], stored["sum"]) != (got["id"], got["sum"]):
                self.complain("bytes", "%s got %s at %s, where %s is", queue[0], got["id"], place,
                              stored and stored["id"])
            due = self.sends.get(got["id"], {}).get("due", 0)
            if self.is_before(got["at"], due):
                self.complain("early", "%s got %s %.3f s before it was due", queue[0], got["id"],
                              due - got["at"])

    def check_consumed(self, queue, gots):
        model = self.groups[queue[0]]["model"]
        if model.startswith("ordered"):
            self.check_order(queue, gots)
        if model == "ordered":
            self.check_alone(queue)
        if model.endswith("blind"):
            self.check_again(queue, gots)

    def check_order(self, queue, gots):
        next_offset = 0
        for got in gots:
            if got["offset"] > next_offset:
                self.complain("order", "%s consumed %d before %d", queue, got["offset"], next_offset)
            next_offset = max(next_offset, got["offset"] + 1)

    def check_alone(self, queue):
        """Who has taken a queue last has it alone."""
        starts = sorted((tenure["at"], tenure["member"]) for tenure in self.tenures[queue])
        times = [at for at, _ in starts]
        for got in self.gots[queue]:
            at = bisect.bisect_right(times, got["at"]) - 1
            if at >= 0 and starts[at][1] != got["member"] and not self.changed(
                    got["at"] - NOTICE_S, got["at"], ("kill", "stop", "up")):
                self.complain("together", "%s consumed %d of %s, which %s had taken", got["member"],
                              got["offset"], queue, starts[at][1])

    def check_again(self, queue, gots):
        first = {}
        for got in gots:
            before = first.setdefault(got["offset"], got)
            if before is not got and not self.changed(before["at"] - BLIND_WINDOW_S, got["at"]):
                self.complain("again", "%s consumed %d of %s, %.1f s after %s had", got["member"],
                              got["offset"], queue, got["at"] - before["at"], before["member"])
            first[got["offset"]] = got

    def changed(self, begin, end, kinds=None):
        """Whether something happened that lets messages come again."""
        low, high = bisect.bisect_left(self.change_times, begin), \
            bisect.bisect_right(self.change_times, end)
        return any(what in kinds if kinds else not what.startswith("slave")
                   for _, what in self.changes[low:high])

    def check_tenure(self, queue, tenure):
        expected = tenure["offset"]
        for got in tenure["gots"]:
            if got["offset"] != expected:
                self.complain("skip", "%s consumed %d of %s, %d was next", got["member"],
                              got["offset"], queue, expected)
            expected = got["offset"] + 1
        if self.groups[queue[0]]["model"] == "each":
            if expected < tenure["goal"]:
                self.complain("unread", "%s stopped %s at %d, the maximum was %d", tenure["member"],
                              queue, expected, tenure["goal"])
        elif not self.is_legal(queue, tenure):
            self.complain("offset", "%s began %s at %d, later commits had been acknowledged",
                          tenure["member"], queue, tenure["offset"])

    def is_legal(self, queue, tenure):
        """Whether the offset that a member was told can be the newest commit. One that was under way
        at the time may count or not; of those shortly before a crash any may be gone."""
        asked, answered = tenure["asked"], tenure["at"]
        commits = [{"offset": 0, "sent": float("-inf"), "done": float("-inf")}]
        commits += [one for one in self.commits[queue] if one["sent"] <= answered]
        newest_firm = max(one["sent"] for one in commits
                          if one["done"] < asked and not self.is_lost(one, answered))
        return any(one["offset"] == tenure["offset"] and one["done"] >= newest_firm
                   for one in commits)

    def is_lost(self, commit, until):
        return self.crashed_after(commit["sent"], until, commit["done"])

    def summary(self):
        consumed = sum(len(gots) for gots in self.gots.values())
        different = sum(len({got["offset"] for got in gots}) if self.groups[queue[0]]["model"] != "each"
                        else len(gots) for queue, gots in self.gots.items())
        kinds = collections.Counter(what for _, what in self.changes)
        return ("%d sends, %d acknowledged, %d stored; %d consumed, %d of them again; %d tenures, "
                "%d commits; %s" % (
                    len(self.sends), len(self.acks), len(self.stored), consumed,
                    consumed - different, sum(len(all_) for all_ in self.tenures.values()),
                    sum(len(all_) for all_ in self.commits.values()),
                    ", ".join(["%s %d" % item for item in sorted(kinds.items())] +
                              ["asked %d" % self.asked, "delivered twice %d" % self.twice()]) +
                    "".join("; " + one.counts() for one in self.pops)))

    def twice(self):
        return sum(len(copies) - 1 for (topic, _), copies in self.copies.items()
                   if topic not in self.copied)


def main():
    import history
    if len(sys.argv) != 2:
        sys.exit("usage: checker.py FOLDER")
    checker = Checker(history.read_all(sys.argv[1]))
    complaints = checker.run()
    print("\n".join(complaints + [checker.summary()]))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
