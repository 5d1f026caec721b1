# SPDX-License-Identifier: Apache-2.0
"""What a broker holds, as Apache's client has read it, and what it ought to hold.

A row is a dictionary of the columns of org.cometmq.store.Row; Rows maps (topic, queue id, queue
offset) to it. A Ledger holds what producers were told (org.cometmq.store.Writer) and explains rows.
"""
import collections
import json
import re

SCHEDULE = "SCHEDULE_TOPIC_XXXX"
# A broker writes there by itself while it asks for the outcome of transactions.
TRANSACTIONS = ("RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC")

# A tags code that is no greater is a position in 4.9.2's optional consumequeue_ext, which has the code.
ADDRESS_MAX = -(1 << 31) - 1

# Topics that a broker makes for itself when it first needs them, and the group that reads them.
OWN_TOPICS = "RMQ_SYS_"
OWN_GROUP = "@CID_RMQ_SYS_TRANS"
# Made by whichever heartbeat of the consumer that reads comes first.
READER_TOPIC = "%RETRY%CG_pull"

# Kinds of a ledger that are delivered elsewhere: at once or after level 1, or when their time comes.
SOON = ("delayed", "retry", "dead", "commit")
SCHEDULED = ("delayed", "retry", "pending", "never")


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def read_table(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    head = lines[0].split("\t")
    return [dict(zip(head, line.split("\t"))) for line in lines[1:] if line]


def place(row):
    return row["topic"], int(row["queueId"]), int(row["queueOffset"])


def properties_of(row):
    """The client's tables have them as JSON, the manifest as they are stored."""
    text = row["properties"]
    if text.startswith("{"):
        return json.loads(text)
    return dict(pair.split("\1", 1) for pair in text.split("\2") if pair)


def load_manifest(path):
    """Separators of properties are spelt out there."""
    rows = load_rows(path)
    for row in rows.values():
        for column in ("tags", "keys", "properties"):
            row[column] = row[column].replace("\\u0001", "\1").replace("\\u0002", "\2")
    return rows


def differences(expected, actual):
    """Columns in which two rows differ; empty ones are not known."""
    found = []
    for column in expected.keys() & actual.keys():
        left, right = expected[column], actual[column]
        if column == "properties":
            left, right = properties_of(expected), properties_of(actual)
        elif column == "recordSha256" and "" in (left, right):
            continue
        if left != right:
            found.append("%s: expected %s, got %s" % (column, left, right))
    return found


def load_rows(path):
    rows = {}
    for row in read_table(path):
        check(place(row) not in rows, "twice in one table: %s" % (place(row),))
        rows[place(row)] = row
    return rows


def check_bounds(path, rows):
    """Every queue is whole: a row for each offset from its minimum to its maximum."""
    offsets = collections.defaultdict(list)
    for topic, queue, offset in rows:
        offsets[topic, queue].append(offset)
    for line in read_table(path + ".queues"):
        bounds = int(line["minOffset"]), int(line["maxOffset"])
        check(sorted(offsets[line["topic"], int(line["queueId"])]) == list(range(*bounds)),
              "offsets of %s are not %d to %d without a gap" % (line, *bounds))


def check_kept(before, after):
    """Every row of `before` is in `after`, in the same place with the same content."""
    for where, row in before.items():
        check(where in after, "%s is missing; it was %s" % (where, row))
        different = differences(row, after[where])
        check(not different, "%s has changed: %s" % (where, "; ".join(different)))


def in_log(rows, log_begin):
    """Without the rows whose records were deleted with old segments."""
    return {where: row for where, row in rows.items()
            if int(row["commitLogOffset"]) >= log_begin}


def parse_levels(text):
    units = {"s": 1000, "m": 60000, "h": 3600000, "d": 86400000}
    return [int(level[:-1]) * units[level[-1]] for level in text.split()]


class Ledger:
    """delay_levels: the broker's option messageDelayLevel."""

    def __init__(self, delay_levels):
        self.levels_ms = parse_levels(delay_levels)
        self.acknowledged = {}
        self.elsewhere = {}
        self.scheduled = {}
        self.unknown = {}
        self.excused = set()

    def add(self, path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                kind, topic, queue, offset, pos, uniq, sha = line.rstrip("\n").split("\t")
                entry = {"kind": kind, "topic": topic, "queueId": queue, "queueOffset": offset,
                         "commitLogOffset": pos, "uniqKey": uniq, "bodySha256": sha}
                if int(offset) >= 0:
                    check(place(entry) not in self.acknowledged,
                          "one offset for two messages: %s" % entry)
                    self.acknowledged[place(entry)] = entry
                elif kind == "unknown":
                    self.unknown[topic, uniq] = entry
                else:
                    self.elsewhere[topic, uniq] = entry
                if kind in SCHEDULED:
                    self.scheduled[uniq] = entry

    def lacking(self, rows, kinds):
        """Entries of these kinds that have not been delivered yet."""
        there = {(row["topic"], row["uniqKey"]) for row in rows.values()}
        return [entry for name, entry in self.elsewhere.items()
                if entry["kind"] in kinds and name not in there]

    def excuse(self, kind):
        """Those of this kind that are known now may come twice."""
        self.excused |= {uniq for uniq, entry in self.scheduled.items() if entry["kind"] == kind}
        self.excused |= {uniq for (_, uniq), entry in self.elsewhere.items()
                         if entry["kind"] == kind}

    def check_once(self, rows):
        """No message is twice in one queue."""
        seen = set()
        for row in rows.values():
            name = row["topic"], row["queueId"], row["uniqKey"]
            if row["uniqKey"] and row["topic"] not in TRANSACTIONS:
                check(name not in seen or row["uniqKey"] in self.excused,
                      "delivered twice: %s" % (name,))
                seen.add(name)

    def check_acknowledged(self, rows, log_begin=0):
        for where, entry in in_log(self.acknowledged, log_begin).items():
            check(where in rows, "acknowledged and missing: %s" % entry)
            different = [d for d in differences(entry, rows[where])]
            check(not different, "acknowledged %s: %s" % (entry, "; ".join(different)))

    def check_explained(self, before, after, transactions):
        """Everything that is new in `after` is in the ledger. transactions: the broker may ask
        for outcomes, and so move half messages."""
        for where in after.keys() - before.keys():
            row = after[where]
            if where in self.acknowledged or transactions and row["topic"] in TRANSACTIONS:
                continue
            name = row["topic"], row["uniqKey"]
            if row["topic"] == SCHEDULE:
                entry = self.scheduled.get(row["uniqKey"])
            else:
                entry = self.elsewhere.get(name) or self.unknown.get(name)
            check(entry is not None, "nobody has sent this: %s" % row)
            check(entry["bodySha256"] == row["bodySha256"], "another body: %s, %s" % (entry, row))
            check(entry["kind"] not in ("rollback", "never") or row["topic"] == SCHEDULE,
                  "this must not be delivered: %s" % row)

    def check_due(self, rows):
        """No delayed message came before its time."""
        due = {}
        for row in rows.values():
            if row["topic"] == SCHEDULE and row["uniqKey"] in self.scheduled:
                level = int(properties_of(row)["DELAY"])
                due[row["uniqKey"]] = int(row["storeTimestamp"]) + self.levels_ms[level - 1]
                code = int(row["cqTagsCode"])
                check(code == due[row["uniqKey"]] or code <= ADDRESS_MAX,
                      "the queue entry has another time of delivery: %s" % row)
        for row in rows.values():
            entry = self.elsewhere.get((row["topic"], row["uniqKey"]))
            if entry is not None and entry["kind"] in SCHEDULED:
                check(int(row["storeTimestamp"]) >= due.get(row["uniqKey"], 0),
                      "delivered before its time: %s" % row)


# --- tables of config/ ---

def read_json(path):
    """4.9.2 writes numbers as keys, without quotes."""
    with open(path, encoding="utf-8") as file:
        return json.loads(re.sub(r"([{,]\s*)(\d+)\s*:", r'\1"\2":', file.read()))


def read_config(store):
    return {
        "topics": read_json(store + "/config/topics.json")["topicConfigTable"],
        "groups": read_json(store + "/config/subscriptionGroup.json")["subscriptionGroupTable"],
        "offsets": read_json(store + "/config/consumerOffset.json")["offsetTable"],
        "delays": read_json(store + "/config/delayOffset.json")["offsetTable"],
    }


def split_offsets(table):
    """Offsets of clients, and those of the broker's own group, which move by themselves."""
    clients = {key: value for key, value in table.items() if value and not key.endswith(OWN_GROUP)}
    own = {(key, queue): offset for key, value in table.items() if key.endswith(OWN_GROUP)
           for queue, offset in value.items()}
    return clients, own


def check_state(expected, actual):
    """Topics, groups and offsets of one broker's end and of the next one's beginning."""
    for table in ("topics", "groups"):
        for name, config in expected[table].items():
            check(actual[table].get(name) == config,
                  "%s: %s was %s and is %s" % (table, name, config, actual[table].get(name)))
        more = {name for name in actual[table].keys() - expected[table].keys()
                if not name.startswith(OWN_TOPICS) and name != READER_TOPIC}
        check(not more, "%s that nobody has made: %s" % (table, sorted(more)))
    clients, own = split_offsets(expected["offsets"])
    now_clients, now_own = split_offsets(actual["offsets"])
    check(clients == now_clients, "consumer offsets were %s and are %s" % (clients, now_clients))
    for name, offset in own.items():
        check(now_own.get(name, -1) >= offset, "offset %s was %d: %s" % (name, offset, now_own))
    for level, offset in expected["delays"].items():
        check(actual["delays"].get(level, -1) >= offset,
              "delay offset of level %s was %d, all are %s" % (level, offset, actual["delays"]))
