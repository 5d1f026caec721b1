# SPDX-License-Identifier: Apache-2.0
"""What holds for a group that pops (docs/pop.md), as a part of checker.py.

What is popped lies at a place: in the topic, or in the retry topic, where what was not acknowledged
in time is appended under the name of the message and "+1", "+2" ... Without a crash of the broker

- a place is popped once, however consumers end;
- it leads to at most one copy in the retry topic, not before the message is visible again, and to
  none when it was acknowledged before that.

A crash may cost checkpoints and acknowledgements of the last second by the broker's word.
"""
import collections

LONGEST_S = 10  # no message is invisible for longer


def name_of(stored_id):
    """(id of the send, how many times it has come again)"""
    name, _, times = stored_id.partition("+")
    return name, int(times or 0)


class Pops:
    """The pops of one group. `checker` has what is stored, the crashes, and takes complaints."""

    def __init__(self, checker, group):
        self.checker, self.group = checker, group
        self.topic, = group["topics"]
        self.places = collections.defaultdict(list)  # the pops of each

    def take_in(self, history):
        """The events of one member."""
        newest, pending = {}, collections.defaultdict(list)
        for one in history:
            if one["e"] == "done":
                for ack in pending.pop(one["n"], []):
                    ack["done"] = one["at"]
            elif one["e"] == "refused":
                for ack in pending.pop(one["n"], []):
                    ack["refused"] = True
            elif one.get("group") != self.group["group"]:
                continue
            elif one["e"] == "popped":
                place = (one["topic"], one["queue"], one["offset"])
                newest[place] = dict(one, acks=[])
                self.places[place].append(newest[place])
            elif one["e"] == "ack":
                ack = dict(one, sent=one["at"], done=float("inf"))
                newest[(one["topic"], one["queue"], one["offset"])]["acks"].append(ack)
                pending[one["n"]].append(ack)

    def check(self):
        self.check_places()
        # One that ended without an answer to its acknowledgement may have been heard.
        done = {name_of(pop["id"])[0] for pops in self.places.values() for pop in pops
                if any("refused" not in ack for ack in pop["acks"])}
        by_name = collections.defaultdict(list)  # the places of a message that has come N times
        for place, one in self.checker.stored.items():
            if place[0] == self.topic:
                by_name[(one["id"], 0)].append(place)
                if one["id"] not in done:
                    self.checker.complain("unread", "%s has not acknowledged %s, which is at %s",
                                          self.group["group"], one["id"], place)
            elif place[0] == self.group["retry"]:
                by_name[name_of(one["id"])].append(place)
        for (name, times), places in by_name.items():
            if times > 0:
                self.check_copies(name, times, places, by_name.get((name, times - 1), []))

    def check_places(self):
        for place, pops in self.places.items():
            pops.sort(key=lambda pop: pop["popped_at"])
            stored = self.checker.stored.get(place)
            for pop in pops:
                if stored is None or (stored["id"], stored["sum"]) != (pop["id"], pop["sum"]):
                    self.checker.complain("bytes", "%s popped %s at %s, where %s is", pop["member"],
                                          pop["id"], place, stored and stored["id"])
            for pop, following in zip(pops, pops[1:]):
                if not self.checker.crashed_after(pop["popped_at"], following["popped_at"]):
                    self.checker.complain("again", "%s popped %s at %s, %.3f s after %s had",
                                          following["member"], pop["id"], place,
                                          following["popped_at"] - pop["popped_at"], pop["member"])

    def check_copies(self, name, times, copies, origins):
        """Those that were made of the places at which the message was before."""
        copied_at = [self.checker.stored[place]["stored_at"] for place in copies]
        before = [self.places.get(place, []) for place in origins]
        pops = [pop for some in before for pop in some]
        acked = [ack for pop in pops for ack in pop["acks"] if self.holds(pop, ack)]
        may_be = len(origins) - sum(any(self.holds(pop, ack) for pop in some for ack in pop["acks"])
                                    for some in before)
        explained = any(self.checker.crashed_after(at) for at in
                        [pop["popped_at"] for pop in pops] + copied_at) or \
            any(self.checker.crashed_after(ack["sent"], last=ack["done"]) for ack in acked)
        if len(copies) > may_be and not explained:
            self.checker.complain("again", "%s came again for the %d. time to %s: %d times at %s, "
                                  "%d may be", name, times, self.group["group"], len(copies),
                                  copies, may_be)
        if pops and all(before):
            visible_at = min(pop["until"] for pop in pops)
            for at in copied_at:
                if self.checker.is_before(at, visible_at) and not self.checker.crashed_after(
                        at - LONGEST_S, at, last=at):
                    self.checker.complain("early", "%s came again to %s %.3f s before it was visible",
                                          name, self.group["group"], visible_at - at)

    def holds(self, pop, ack):
        """Whether it was acknowledged in time, and the broker said so."""
        return self.checker.is_before(ack["done"], pop["until"])

    def counts(self):
        pops = [pop for some in self.places.values() for pop in some]
        return "%d popped, %d of them again (%d after a crash), %d acknowledged" % (
            len(pops), sum(name_of(pop["id"])[1] > 0 for pop in pops) + len(pops) - len(self.places),
            len(pops) - len(self.places),
            sum(ack["done"] < float("inf") for pop in pops for ack in pop["acks"]))
