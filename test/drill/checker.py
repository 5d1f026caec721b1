#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a cluster kept its promises in a drill: a pure function of what clients wrote down and of
what lies in the stores. Each complaint begins with the name of its rule in brackets:

    lost     a message was answered SEND_OK and is not there, or not at the place of the answer
    bytes    a message is not what was sent, or nobody sent it
    twice    two messages had the same place, or one send is stored more than once
    gap      the offsets of a queue are not 0, 1, 2 ...
    order    messages of a key are not stored in the order in which they were acknowledged
    skip     a consumer went past a message, or read one again
    stale    a consumer got another message than the one that is there in the end
    unread   a consumer has not got everything that is there

    checker.py FOLDER      shows what clients wrote down in a folder: counts, pauses
"""
import collections
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ledger  # noqa: E402

SHOWN = 4


class Complaints:
    def __init__(self):
        self.by_rule = collections.OrderedDict()

    def add(self, rule, text, *values):
        self.by_rule.setdefault(rule, []).append("[%s] %s" % (rule, text % values))

    def shown(self):
        lines = []
        for rule, texts in self.by_rule.items():
            lines += texts[:SHOWN]
            if len(texts) > SHOWN:
                lines.append("[%s] and %d more" % (rule, len(texts) - SHOWN))
        return lines


def missing(acked, messages):
    """Of the answers SEND_OK of one group, those whose message is not at its place in `messages`
    ({(queue, offset): (id, sum)}, stores.Content)."""
    return [one for one in acked
            if messages.get((one["queue"], one["offset"]), (None,))[0] != one["id"]]


def check(events, contents):
    """
    events    all events of a drill, each process's in its order
    contents  {group: {(queue, offset): (id, sum)}} at the end, of each group's master
    returns   complaints
    """
    complaints = Complaints()
    sent = {one["id"]: one for one in events if one["e"] == "sent"}
    acked = [one for one in events if one["e"] == "acked"]
    check_acks(complaints, acked, contents)
    check_contents(complaints, sent, contents)
    check_keys(complaints, sent, acked)
    check_readers(complaints, [one for one in events if one["e"] == "got"], contents)
    return complaints.shown()


def check_acks(complaints, acked, contents):
    places = {}
    for one in acked:
        place = (one["group"], one["queue"], one["offset"])
        if places.setdefault(place, one["id"]) != one["id"]:
            complaints.add("twice", "%s and %s were both told that they are at %s", places[place],
                           one["id"], place)
    promised = [one for one in acked if one["code"] == ledger.SEND_OK]
    for group in sorted({one["group"] for one in promised}):
        of_group = [one for one in promised if one["group"] == group]
        for one in missing(of_group, contents.get(group, {})):
            place = (one["queue"], one["offset"])
            complaints.add("lost", "%s was answered SEND_OK at %s of group %s; there is %s",
                           one["id"], place, group, contents.get(group, {}).get(place))


def check_contents(complaints, sent, contents):
    seen = {}
    for group, messages in contents.items():
        offsets = collections.defaultdict(set)
        for (queue, offset), (name, checksum) in messages.items():
            offsets[queue].add(offset)
            place = (group, queue, offset)
            if name not in sent:
                complaints.add("bytes", "nobody sent %s, which is at %s", name, place)
            elif sent[name]["sum"] != checksum:
                complaints.add("bytes", "the body of %s changed, at %s", name, place)
            if seen.setdefault(name, place) != place and not sent.get(name, {}).get("retried"):
                complaints.add("twice", "%s is at %s and at %s", name, seen[name], place)
        for queue, there in offsets.items():
            absent = set(range(max(there) + 1)) - there
            if absent:
                complaints.add("gap", "queue %d of group %s has no %s", queue, group,
                               sorted(absent)[:SHOWN])


def check_keys(complaints, sent, acked):
    keys = collections.defaultdict(list)
    for one in acked:
        send = sent.get(one["id"], {})
        if "key" in send:
            keys[(send["key"], one["group"], one["queue"])].append((send["seq"], one["offset"]))
    for key, places in keys.items():
        places.sort()
        for (seq, offset), (next_seq, next_offset) in zip(places, places[1:]):
            if next_offset <= offset:
                complaints.add("order", "%s: number %d is at %d, number %d at %d", key, seq, offset,
                               next_seq, next_offset)


def check_readers(complaints, gots, contents):
    expected = {}
    for got in gots:
        reader = (got["member"], got["group"], got["queue"])
        following = expected.get(reader, 0)
        if got["offset"] > following or got["offset"] < following and not got.get("again"):
            complaints.add("skip", "%s got %d from broker %d, %d was next", reader, got["offset"],
                           got["source"], following)
        expected[reader] = max(following, got["offset"] + 1)
        there = contents.get(got["group"], {}).get((got["queue"], got["offset"]))
        if there != (got["id"], got["sum"]):
            complaints.add("stale", "%s got %s at %d from broker %d, there is %s", reader, got["id"],
                           got["offset"], got["source"], there)
    members = {one["member"] for one in gots}
    for group, messages in contents.items():
        for queue in {queue for queue, _ in messages}:
            maximum = 1 + max(offset for one, offset in messages if one == queue)
            for member in members:
                if expected.get((member, group, queue), 0) < maximum:
                    complaints.add("unread", "%s has read queue %d of group %s up to %d of %d",
                                   member, queue, group, expected.get((member, group, queue), 0),
                                   maximum)


# --- pauses -----------------------------------------------------------------------------------------


def longest_pause(times, begin, end):
    """The longest time without an event between `begin` and `end`; what came last before `begin`
    counts as its start. None: there was nothing at all."""
    inside = sorted(at for at in times if at <= end)
    before = [at for at in inside if at <= begin]
    line = before[-1:] + [at for at in inside if at > begin] + [end]
    if len(line) == 1:
        return None
    return max(later - earlier for earlier, later in zip(line, line[1:]))


def pauses(events, lanes, fault, healed):
    """How long clients stood still because of a fault, in seconds: `client`, of a sender that goes on
    with another group; `group`, of the group that was hit; `consumer`, of readers of that group.

    events  those from shortly before the fault until it was mended, at the least
    lanes   {id: lane} of what was sent"""
    begin, end, group = fault["at"], healed["at"], fault.get("group")
    lane = fault.get("lane", "p-roaming")
    acked = [one for one in events if one["e"] == "acked" and one["code"] == ledger.SEND_OK]
    found = {"client": [one["at"] for one in acked if lanes.get(one["id"]) == lane],
             "group": [one["at"] for one in acked if group in (None, one["group"])],
             "consumer": [one["at"] for one in events if one["e"] == "got"
                          and group in (None, one["group"])]}
    return {name: longest_pause(times, begin, end) for name, times in found.items()}


def main():
    tail = ledger.Tail(sys.argv[1]).update()
    for (group, code), count in sorted(tail.codes.items()):
        print("group %s: %d answers with code %d" % (group, count, code))
    for (group, source), count in sorted(tail.sources.items()):
        print("group %s: %d messages read from broker %d" % (group, count, source))
    faults = [one for one in tail.events if one["e"] == "fault"]
    ends = [one for one in tail.events if one["e"] == "healed"]
    rows = [pauses(tail.events, tail.lanes, fault, end) for fault, end in zip(faults, ends)]
    for name in ("client", "group", "consumer"):
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            print("%s: longest pause min %.3f s, median %.3f s, max %.3f s" % (
                name, min(values), statistics.median(values), max(values)))


if __name__ == "__main__":
    main()
