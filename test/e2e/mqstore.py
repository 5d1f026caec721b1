# SPDX-License-Identifier: Apache-2.0
"""mqstore over the stores of Apache's broker, over damaged copies of them, and over a store that our
broker is using.

The truth about the golden stores are their manifests (every message with its place) and tables of
queues, which were made with Apache's own classes. A damaged copy must be found out, and the finding
must name the file and the byte. What the manual (docs/mqstore.md) shows is run as well.
"""

import base64
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import threading
import unittest

from broker import Broker, SEND_V2, SUCCESS, send_header
from rocketmq import build_folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "test", "data")
LEVELS = "1s 2s 3s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
GEOMETRY = ["--index-slots", "64", "--index-entries", "256"]
GOOD, FOUND, USAGE, CANNOT_READ, IN_USE = 0, 1, 2, 3, 4
SEGMENT, QUEUE_FILE, ENTRY, INDEX_HEAD = 65536, 600, 20, 40 + 64 * 4
# Sanitizers slow every start down: they get a sample of the bytes.
STEP = 5 if os.environ.get("COMETMQ_SANITIZER") else 1


def run(*arguments, cwd=None):
    """(exit status, stdout, stderr)"""
    program = os.path.join(build_folder(), "bin", "mqstore")
    done = subprocess.run([program, *arguments], capture_output=True, timeout=300, cwd=cwd,
                          env=dict(os.environ, TZ="UTC"))
    if b"Sanitizer" in done.stderr or b"runtime error" in done.stderr:
        raise AssertionError(done.stderr.decode())
    return done.returncode, done.stdout, done.stderr.decode()


def run_json(*arguments):
    """(exit status, the objects that it printed)"""
    status, out, err = run(*arguments, "--json")
    if status in (USAGE, CANNOT_READ):
        raise AssertionError(f"{arguments}: {status}: {err}")
    return status, [json.loads(line) for line in out.decode().splitlines()]


def table(name):
    """The rows of a .tsv file as dicts."""
    with open(os.path.join(DATA, name), encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


def properties_of(row):
    text = row["properties"].replace("\\u0001", "\x01").replace("\\u0002", "\x02")
    pairs = (piece.split("\x01", 1) for piece in text.split("\x02") if "\x01" in piece)
    return {name: value for name, value in pairs if name and value}


def tree(folder):
    """Every file with its content and times of change."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            with open(file, "rb") as opened:
                digest = hashlib.sha256(opened.read()).hexdigest()
            found[os.path.relpath(file, folder)] = digest, os.stat(file).st_mtime_ns
    return found


def flip(path, at, bits=0x10):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))


class StoreTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="mqstore.")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def copy(self, name="store-4.9.2", to="store"):
        path = os.path.join(self.folder, to)
        shutil.copytree(os.path.join(DATA, name), path)
        return path

    def findings(self, store, *more):
        """What verify says is damaged."""
        status, lines = run_json("verify", store, *GEOMETRY, "--delay-levels", LEVELS, *more)
        damages = [line for line in lines if line.get("finding") == "damage"]
        self.assertEqual(lines[-1]["damages"], len(damages))
        self.assertEqual(status, FOUND if damages else GOOD)
        self.assertEqual(lines[-1]["good"], not damages)
        return damages

    def assert_named(self, damages, path, at=None):
        places = [(line.get("file"), line.get("at")) for line in damages]
        if at is None:
            self.assertIn(path, [place[0] for place in places])
        else:
            self.assertIn((path, at), places)


class Golden(StoreTest):
    """Nothing is wrong with what Apache's broker left, and all of it is found."""

    def test_verify(self):
        for name in ("store-4.9.2", "store-4.9.2-crashed"):
            for more in (["--delay-levels", LEVELS], []):
                status, lines = run_json("verify", os.path.join(DATA, name), *GEOMETRY, *more)
                rows = table(name + ".manifest.tsv")
                self.assertEqual(status, GOOD, lines)
                self.assertEqual((lines[-1]["damages"], lines[-1]["notes"]), (0, 0), lines)
                self.assertEqual(lines[-1]["records"], len(rows))
                self.assertEqual(lines[-1]["queueEntries"], len(rows))
                self.assertGreater(lines[-1]["indexEntries"], len(rows))

    def test_other_delay_levels_do_not_fit(self):
        status, lines = run_json("verify", os.path.join(DATA, "store-4.9.2"), *GEOMETRY,
                                 "--delay-levels", "1s 5s 10s 30s")
        self.assertEqual(status, FOUND)
        self.assertEqual({line["topic"] for line in lines[:-1]}, {"SCHEDULE_TOPIC_XXXX"})

    def check_message(self, message, row):
        for name in ("topic", "bornHost", "storeHost", "offsetMsgId", "uniqKey", "tags", "keys"):
            self.assertEqual(message[name], row[name].replace("\\u0001", "\x01"), name)
        for name in ("queueId", "queueOffset", "commitLogOffset", "size", "sysFlag", "flag",
                     "bornTimestamp", "storeTimestamp", "reconsumeTimes",
                     "preparedTransactionOffset", "bodyCrc", "storedBodyLength"):
            self.assertEqual(message[name], int(row[name]), name)
        self.assertEqual(message["properties"], properties_of(row))
        body = message["body"].encode() if "body" in message else base64.b64decode(
            message["bodyBase64"])
        self.assertEqual(hashlib.sha256(body).hexdigest(), row["storedBodySha256"])

    def test_dump_of_the_log(self):
        for name in ("store-4.9.2", "store-4.9.2-crashed"):
            rows = sorted(table(name + ".manifest.tsv"), key=lambda r: int(r["commitLogOffset"]))
            status, messages = run_json("dump", os.path.join(DATA, name), "--bodies")
            self.assertEqual(status, GOOD)
            self.assertEqual(len(messages), len(rows))
            for message, row in zip(messages, rows):
                self.check_message(message, row)

    def test_dump_of_ranges(self):
        store = os.path.join(DATA, "store-4.9.2")
        rows = sorted(table("store-4.9.2.manifest.tsv"), key=lambda r: int(r["commitLogOffset"]))
        first, last = int(rows[100]["commitLogOffset"]), int(rows[200]["commitLogOffset"])
        _, messages = run_json("dump", store, "--from", str(first), "--to", str(last))
        self.assertEqual([m["commitLogOffset"] for m in messages],
                         [int(row["commitLogOffset"]) for row in rows[100:200]])
        _, messages = run_json("dump", store, "--count", "3", "--topic", "BigTopic")
        self.assertEqual([m["topic"] for m in messages], ["BigTopic"] * 3)
        status, out, err = run("dump", store, "--from", str(first + 1), "--count", "1")
        self.assertEqual(status, FOUND)
        self.assertIn(f"from {first + 1} to {rows[101]['commitLogOffset']}", err)
        self.assertTrue(out.startswith(rows[101]["commitLogOffset"].encode() + b" "))

    def test_info_and_dump_of_queues(self):
        for name in ("store-4.9.2", "store-4.9.2-crashed"):
            store = os.path.join(DATA, name)
            rows = table(name + ".manifest.tsv")
            _, (info,) = run_json("info", store)
            found = {(q["topic"], q["queueId"]): (q["minOffset"], q["maxOffset"])
                     for q in info["queues"]}
            wanted = {(q["topic"], int(q["queueId"])): (int(q["minOffset"]), int(q["maxOffset"]))
                      for q in table(name + ".queues.tsv")}
            self.assertEqual(found, wanted)
            self.assertEqual((info["segmentBytes"], info["queueFileBytes"]), (SEGMENT, QUEUE_FILE))
            self.assertEqual(info["closed"], name == "store-4.9.2")
            last = max(rows, key=lambda r: int(r["commitLogOffset"]))
            self.assertEqual(info["logEnd"], int(last["commitLogOffset"]) + int(last["size"]))
            self.assertEqual(info["lastTimestamp"], int(last["storeTimestamp"]))
            for topic, queue_id in (("PlainTopic", 2), ("%DLQ%CG_retry", 0), ("V6Topic", 0)):
                status, messages = run_json("dump", store, "--queue", f"{topic}:{queue_id}",
                                            "--bodies")
                mine = [row for row in rows
                        if (row["topic"], int(row["queueId"])) == (topic, queue_id)]
                mine.sort(key=lambda row: int(row["queueOffset"]))
                self.assertEqual((status, len(messages)), (GOOD, len(mine)))
                for message, row in zip(messages, mine):
                    self.check_message(message, row)

    def test_get(self):
        store = os.path.join(DATA, "store-4.9.2-crashed")
        rows = table("store-4.9.2-crashed.manifest.tsv")
        by_topic_and_unique = {}
        for row in rows:
            by_topic_and_unique.setdefault((row["topic"], row["uniqKey"]), []).append(row)
        for row in random.Random(1).sample(rows, 12):
            queue = f"{row['topic']}:{row['queueId']}"
            for how in (["--offset", row["commitLogOffset"]], ["--msg-id", row["offsetMsgId"]],
                        ["--queue", queue, row["queueOffset"]]):
                status, (message,) = run_json("get", store, *how)
                self.assertEqual(status, GOOD)
                self.check_message(message, row)
            if row["uniqKey"]:
                status, messages = run_json("get", store, *GEOMETRY, "--unique-key", row["topic"],
                                            row["uniqKey"])
                self.assertEqual(
                    {m["commitLogOffset"] for m in messages},
                    {int(r["commitLogOffset"])
                     for r in by_topic_and_unique[row["topic"], row["uniqKey"]]})

    def test_get_by_key(self):
        store = os.path.join(DATA, "store-4.9.2-crashed")
        rows = table("store-4.9.2-crashed.manifest.tsv")
        for topic, key in (("PlainTopic", "common"), ("PlainTopic", "x"), ("BatchTopic", "bk1-0-3"),
                           ("%DLQ%CG_retry", "rk14")):
            wanted = [int(r["commitLogOffset"]) for r in rows
                      if r["topic"] == topic and key in r["keys"].split(" ")]
            _, messages = run_json("get", store, *GEOMETRY, "--key", topic, key, "--count", "1000")
            self.assertEqual([m["commitLogOffset"] for m in messages],
                             sorted(wanted, reverse=True))
            self.assertGreater(len(wanted), 0)
        self.assertEqual(run("get", store, *GEOMETRY, "--key", "PlainTopic", "no such")[0], FOUND)

    def test_get_by_time(self):
        store = os.path.join(DATA, "store-4.9.2")
        rows = table("store-4.9.2.manifest.tsv")
        times = sorted(int(row["storeTimestamp"]) for row in rows)
        for when in (0, times[0], times[len(times) // 2] + 1, times[-1]):
            wanted = {}
            for row in sorted(rows, key=lambda r: -int(r["queueOffset"])):
                if row["topic"] == "PlainTopic" and int(row["storeTimestamp"]) >= when:
                    wanted[int(row["queueId"])] = int(row["queueOffset"])
            status, messages = run_json("get", store, "--time", "PlainTopic", str(when))
            self.assertEqual({m["queueId"]: m["queueOffset"] for m in messages}, wanted)
            self.assertEqual(status, GOOD if wanted else FOUND)
        _, (message,) = run_json("get", store, "--time", "PlainTopic:1", "2026-11-22T20:47:09Z")
        self.assertEqual(message["queueId"], 1)

    def test_raw_bodies(self):
        store = os.path.join(DATA, "store-4.9.2")
        row = max(table("store-4.9.2.manifest.tsv"), key=lambda r: int(r["storedBodyLength"]))
        status, out, _ = run("get", store, "--offset", row["commitLogOffset"], "--body")
        self.assertEqual(status, GOOD)
        self.assertEqual(hashlib.sha256(out).hexdigest(), row["storedBodySha256"])

    def test_nothing_is_written(self):
        store = self.copy()
        before = tree(store)
        for command in (["info"], ["verify", *GEOMETRY], ["dump"], ["get", "--offset", "0"],
                        ["get", *GEOMETRY, "--key", "PlainTopic", "common"], ["diff", store],
                        ["repair", *GEOMETRY]):
            self.assertEqual(run(*command, store)[0], GOOD, command)
        self.assertEqual(tree(store), before)
        self.assertEqual(sorted(os.listdir(store)), sorted(os.listdir(
            os.path.join(DATA, "store-4.9.2"))))

    def test_several_directories(self):
        """Segments may lie in several directories."""
        store = self.copy()
        other = os.path.join(self.folder, "other")
        os.mkdir(other)
        log = os.path.join(store, "commitlog")
        for name in sorted(os.listdir(log))[::2]:
            os.rename(os.path.join(log, name), os.path.join(other, name))
        self.assertEqual(self.findings(store, "--commit-log", f"{log},{other}"), [])
        self.assertNotEqual(self.findings(store), [])


class Damage(StoreTest):
    """One wrong byte, or a missing file, is found and named."""

    def setUp(self):
        super().setUp()
        self.store = self.copy()
        self.rows = table("store-4.9.2.manifest.tsv")
        self.assertEqual(self.findings(self.store), [])

    def log_place(self, position):
        name = f"{position // SEGMENT * SEGMENT:020d}"
        return os.path.join(self.store, "commitlog", name), position % SEGMENT

    def test_records(self):
        row = next(r for r in self.rows if r["topic"] == "PlainTopic" and r["queueId"] == "1" and
                   int(r["queueOffset"]) == 50)
        position = int(row["commitLogOffset"])
        path, at = self.log_place(position)
        # Size, magic, checksum, queue id, queue offset, position; a byte of the body.
        for byte in (2, 5, 9, 15, 26, 34, 90):
            flip(path, at + byte)
            damages = self.findings(self.store)
            self.assertIn(position, [damage.get("commitLogOffset") for damage in damages])
            if byte != 15: # it is found as a record that its queue lacks
                self.assert_named(damages, path, at)
            flip(path, at + byte)
        self.assertEqual(self.findings(self.store), [])

    def test_a_destroyed_stretch(self):
        """A run of records is gone; what follows is found again, over the end of the segment."""
        position = min(int(r["commitLogOffset"]) for r in self.rows
                       if int(r["commitLogOffset"]) > 5000)
        path, at = self.log_place(position)
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(bytes(SEGMENT - at))
        damages = self.findings(self.store)
        self.assert_named(damages, path, at)
        self.assertIn(f"goes on at {SEGMENT}", damages[0]["text"])
        # Its queue entries are explained by that; index entries too.
        self.assertEqual({d["kind"] for d in damages}, {"record"})

    def test_queue_entries(self):
        for topic, number, entry in (("PlainTopic/3", 1, 7), ("SCHEDULE_TOPIC_XXXX/1", 0, 3),
                                     ("OrderTopic/0", 0, 0), ("BatchTopic/0", 2, 11)):
            path = os.path.join(self.store, "consumequeue", topic, f"{number * QUEUE_FILE:020d}")
            for byte in range(0, ENTRY, STEP):
                flip(path, entry * ENTRY + byte)
                self.assert_named(self.findings(self.store), path, entry * ENTRY)
                flip(path, entry * ENTRY + byte)
        self.assertEqual(self.findings(self.store), [])

    def test_tags_codes_elsewhere(self):
        """With enableConsumeQueueExt 4.9.2 has positions in their place: ConsumeQueueExt.java."""
        for topic, number in (("PlainTopic/3", 1), ("SCHEDULE_TOPIC_XXXX/1", 0)):
            path = os.path.join(self.store, "consumequeue", topic, f"{number * QUEUE_FILE:020d}")
            with open(path, "r+b") as file:
                for entry in range(3):
                    file.seek(entry * ENTRY + 12)
                    file.write((-2**63 + 46 * entry).to_bytes(8, "big", signed=True))
        self.assertEqual(self.findings(self.store), [])

    def test_an_entry_too_many(self):
        path = os.path.join(self.store, "consumequeue", "V6Topic", "0", f"{0:020d}")
        with open(path, "r+b") as file:
            file.seek(6 * ENTRY)
            file.write(struct.pack(">qiq", 1000000, 100, 0))
        self.assert_named(self.findings(self.store), path, 6 * ENTRY)

    def test_index(self):
        for number, entry in ((0, 1), (2, 100), (6, 48)):
            name = sorted(os.listdir(os.path.join(self.store, "index")))[number]
            path = os.path.join(self.store, "index", name)
            for byte in range(0, ENTRY, STEP):
                flip(path, INDEX_HEAD + entry * ENTRY + byte)
                self.assert_named(self.findings(self.store), path, INDEX_HEAD + entry * ENTRY)
                flip(path, INDEX_HEAD + entry * ENTRY + byte)
            for byte in list(range(14))[::STEP] + list(range(16, 40))[::STEP]:
                flip(path, byte)
                self.assert_named(self.findings(self.store), path)
                flip(path, byte)
            with open(path, "rb") as file:
                slots = file.read(INDEX_HEAD)[40:]
            used = next(i for i in range(64) if slots[4 * i:4 * i + 4] != b"\0\0\0\0")
            flip(path, 40 + 4 * used + 3)
            self.assert_named(self.findings(self.store), path, 40 + 4 * used)
            flip(path, 40 + 4 * used + 3)
        self.assertEqual(self.findings(self.store), [])

    def test_missing_queue(self):
        shutil.rmtree(os.path.join(self.store, "consumequeue", "OrderTopic", "1"))
        damage, = self.findings(self.store)
        self.assertEqual((damage["kind"], damage["topic"], damage["queueId"]),
                         ("missing-entry", "OrderTopic", 1))
        self.assertEqual(damage["file"], os.path.join(self.store, "consumequeue", "OrderTopic", "1",
                                                      f"{0:020d}"))
        self.assertIn("24 records", damage["text"])

    def test_deleted_topic(self):
        """A topic that is not in topics.json any more was deleted: its records may be there."""
        shutil.rmtree(os.path.join(self.store, "consumequeue", "OrderTopic"))
        path = os.path.join(self.store, "config", "topics.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace('"OrderTopic"', '"AnotherTopic"'))
        self.assertEqual(self.findings(self.store), [])

    def test_missing_queue_file(self):
        path = os.path.join(self.store, "consumequeue", "PlainTopic", "0", f"{QUEUE_FILE:020d}")
        os.remove(path)
        damages = self.findings(self.store)
        self.assert_named(damages, path, 0)
        self.assertIn("offsets 30 to 59", " ".join(d["text"] for d in damages))

    def test_files_far_away(self):
        """A file with a large number in its name makes nobody count up to there."""
        queue = os.path.join(self.store, "consumequeue", "V6Topic", "0")
        far = f"{QUEUE_FILE * 10 ** 15:020d}"
        shutil.copy(os.path.join(queue, f"{0:020d}"), os.path.join(queue, far))
        damages = self.findings(self.store)
        self.assert_named(damages, os.path.join(queue, far))
        self.assertEqual(run("dump", self.store, "--queue", "V6Topic:0")[0], FOUND)
        self.assertEqual(run("diff", self.store, os.path.join(DATA, "store-4.9.2"))[0], FOUND)
        shutil.copy(os.path.join(queue, far), os.path.join(queue, "9" * 18 + "00"))
        log = os.path.join(self.store, "commitlog")
        shutil.copy(os.path.join(log, f"{0:020d}"), os.path.join(log, f"{SEGMENT * 10 ** 13:020d}"))
        self.assertIn("tail", {damage["kind"] for damage in self.findings(self.store)})
        self.assertEqual(run("dump", self.store)[0], GOOD)

    def test_short_files(self):
        path, _ = self.log_place(131072)
        os.truncate(path, 30000)
        damages = self.findings(self.store)
        self.assert_named(damages, path, 30000)
        self.assertTrue(any(d["kind"] == "record" and d["file"] == path for d in damages))
        index = os.path.join(self.store, "index", sorted(os.listdir(
            os.path.join(self.store, "index")))[1])
        os.truncate(index, 1000)
        queue = os.path.join(self.store, "consumequeue", "BigTopic", "0", f"{0:020d}")
        os.truncate(queue, 200)
        damages = self.findings(self.store)
        self.assert_named(damages, index)
        self.assert_named(damages, queue)

    def test_missing_segment(self):
        path, _ = self.log_place(65536)
        os.remove(path)
        texts = " ".join(d["text"] for d in self.findings(self.store))
        self.assertIn(f"the segment {65536:020d} is missing", texts)

    def test_tail(self):
        """Behind the end nothing may stand in a store that was closed; after a crash it may."""
        last = max(self.rows, key=lambda r: int(r["commitLogOffset"]))
        path, at = self.log_place(int(last["commitLogOffset"]) + int(last["size"]))
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(b"torn")
        self.assert_named(self.findings(self.store), path, at)
        with open(os.path.join(self.store, "abort"), "wb"):
            pass
        self.assertEqual(self.findings(self.store), [])

    def test_config(self):
        path = os.path.join(self.store, "config", "consumerOffset.json")
        os.truncate(path, 100)
        damage, = self.findings(self.store)
        self.assertEqual((damage["kind"], damage["file"]), ("config", path))

    def test_random_bytes(self):
        """Whatever stands in the files, verify ends with an answer."""
        random_ = random.Random(7)
        files = [os.path.join(path, name) for path, _, names in os.walk(self.store)
                 for name in names if os.path.getsize(os.path.join(path, name)) > 0]
        for _ in range(40 // STEP):
            for _ in range(5):
                path = random_.choice(files)
                flip(path, random_.randrange(os.path.getsize(path)), 1 << random_.randrange(8))
            self.findings(self.store)
            self.assertIn(run("dump", self.store)[0], (GOOD, FOUND))


class Diff(StoreTest):
    def test_messages(self):
        a, b = self.copy(), self.copy(to="other")
        self.assertEqual(run_json("diff", a, b), (GOOD, [
            {"equal": True, "same": 847, "moved": 0, "onlyInA": 0, "onlyInB": 0, "different": 0,
             "config": 0}]))
        row = next(r for r in table("store-4.9.2.manifest.tsv") if r["topic"] == "BigTopic")
        position = int(row["commitLogOffset"])
        flip(os.path.join(b, "commitlog", f"{position // SEGMENT * SEGMENT:020d}"),
             position % SEGMENT + 100)
        shutil.rmtree(os.path.join(b, "consumequeue", "OrderTopic", "1"))
        status, lines = run_json("diff", a, b)
        self.assertEqual(status, FOUND)
        self.assertIn({"difference": "message", "topic": "BigTopic",
                       "queueId": int(row["queueId"]), "queueOffset": int(row["queueOffset"]),
                       "fields": "body"}, lines)
        self.assertIn({"difference": "onlyInA", "topic": "OrderTopic", "queueId": 1, "from": 0,
                       "to": 24}, lines)
        self.assertEqual((lines[-1]["onlyInA"], lines[-1]["different"]), (24, 1))

    def test_crashed_store_goes_on(self):
        status, lines = run_json("diff", os.path.join(DATA, "store-4.9.2"),
                                 os.path.join(DATA, "store-4.9.2-crashed"))
        self.assertEqual(status, FOUND)
        self.assertEqual((lines[-1]["same"], lines[-1]["onlyInB"]), (847, 409))

    def test_tables(self):
        a, b = self.copy(), self.copy(to="other")
        path = os.path.join(b, "config", "topics.json")
        with open(path, encoding="utf-8") as file:
            topics = json.load(file)
        del topics["topicConfigTable"]["V6Topic"]
        topics["topicConfigTable"]["BigTopic"]["perm"] = 4
        with open(path, "w", encoding="utf-8") as file:
            json.dump(topics, file)
        status, lines = run_json("diff", a, b)
        self.assertEqual(status, FOUND)
        self.assertEqual({line["member"] for line in lines[:-1]},
                         {"topicConfigTable/V6Topic", "topicConfigTable/BigTopic/perm"})


class Repair(StoreTest):
    """Queues and index come back as they were; what was there is kept."""

    def repair(self, store, *more):
        return run_json("repair", store, "--write", *GEOMETRY, *more)

    def test_queues_are_built_again(self):
        for name in ("store-4.9.2", "store-4.9.2-crashed"):
            store = self.copy(name, name)
            shutil.rmtree(os.path.join(store, "consumequeue"))
            shutil.rmtree(os.path.join(store, "index"))
            status, lines = self.repair(store, "--queue-file-bytes", "600", "--delay-levels",
                                        LEVELS)
            self.assertEqual((status, lines[-1]["damages"]), (GOOD, 0), lines)
            status, lines = run_json("diff", os.path.join(DATA, name), store)
            self.assertEqual(status, GOOD, lines)
            self.assertEqual(lines[-1]["same"], len(table(name + ".manifest.tsv")))
            self.assertEqual(self.findings(store), [])
            kept, = (n for n in os.listdir(store) if n.startswith("repair-"))
            self.assertEqual(os.listdir(os.path.join(store, kept)), ["checkpoint"])

    def test_old_queues_tell_the_delay_levels(self):
        store = self.copy()
        before = tree(os.path.join(store, "consumequeue"))
        self.assertEqual(self.repair(store)[0], GOOD)
        self.assertEqual(run("diff", os.path.join(DATA, "store-4.9.2"), store)[0], GOOD)
        kept, = (n for n in os.listdir(store) if n.startswith("repair-"))
        self.assertEqual(tree(os.path.join(store, kept, "consumequeue")), before)

    def test_damaged_records_are_left_out(self):
        """The log is not cut at a damaged record: all others are in their queues."""
        store = self.copy("store-4.9.2-crashed")
        rows = table("store-4.9.2-crashed.manifest.tsv")
        victim = next(r for r in rows if r["topic"] == "PlainTopic" and r["queueId"] == "2" and
                      r["queueOffset"] == "20")
        position = int(victim["commitLogOffset"])
        flip(os.path.join(store, "commitlog", f"{position // SEGMENT * SEGMENT:020d}"),
             position % SEGMENT + 5)
        log = tree(os.path.join(store, "commitlog"))
        status, _ = self.repair(store, "--delay-levels", LEVELS)
        self.assertEqual(status, FOUND)
        after = tree(os.path.join(store, "commitlog"))
        empty = hashlib.sha256(bytes(SEGMENT)).hexdigest() # made ahead, and not needed
        self.assertEqual({n: after[n][0] for n in after if after[n][0] != empty},
                         {n: log[n][0] for n in log if log[n][0] != empty})
        status, lines = run_json("diff", os.path.join(DATA, "store-4.9.2-crashed"), store)
        self.assertEqual(lines[-1]["same"], len(rows) - 1)
        self.assertEqual(lines[-1]["onlyInA"], 1)

    def test_without_write(self):
        store = self.copy()
        shutil.rmtree(os.path.join(store, "consumequeue", "OrderTopic"))
        before = tree(store)
        status, out, _ = run("repair", store, *GEOMETRY)
        self.assertEqual(status, GOOD)
        self.assertIn(b"would build 847 queue entries", out)
        self.assertEqual(tree(store), before)


class Running(StoreTest):
    """A store that our broker is using is a moving target, but not a damaged one."""

    def setUp(self):
        super().setUp()
        self.broker = Broker(mappedFileSizeCommitLog=1 << 20)
        self.addCleanup(self.broker.remove)
        self.broker.start()
        self.store = self.broker.path("store")
        self.config = ["-c", self.broker.config_file]
        with self.broker.client() as client:
            self.assertEqual(client.create_topic("T", 4).code, SUCCESS)

    def send(self, count, stop=None):
        with self.broker.client() as client:
            for i in range(count):
                if stop is not None and stop.is_set():
                    return
                header = send_header("T", i % 4, {"KEYS": f"k{i}", "UNIQ_KEY": f"u{i}",
                                                  "TAGS": "a"})
                answer = client.call(SEND_V2, header, b"%d-" % i + b"x" * (i % 3000))
                self.assertEqual(answer.code, SUCCESS)

    def verify(self):
        status, lines = run_json("verify", *self.config)
        self.assertEqual(status, GOOD, lines)
        return lines[-1]

    def test_under_load(self):
        stop = threading.Event()
        thread = threading.Thread(target=self.send, args=(1 << 30, stop))
        thread.start()
        try:
            last = 0
            for _ in range(15):
                result = self.verify()
                self.assertTrue(result["inUse"])
                self.assertGreaterEqual(result["records"], last)
                last = result["records"]
                for command in (["info"], ["dump", "--count", "5"],
                                ["repair"], ["repair", "--write"]):
                    status, _, err = run(*command, *self.config)
                    wanted = IN_USE if command[0] == "repair" else GOOD
                    self.assertEqual(status, wanted, err)
                    self.assertIn("a broker is using", err)
        finally:
            stop.set()
            thread.join()
        self.broker.stop()
        result = self.verify()
        self.assertFalse(result["inUse"])
        self.assertEqual((result["damages"], result["notes"]), (0, 0))
        self.assertEqual(result["queueEntries"], result["records"])
        self.assertGreater(result["records"], 50)
        self.assertGreaterEqual(result["indexEntries"], 2 * result["records"] - 100)

    def test_killed(self):
        self.send(300)
        self.broker.kill()
        self.assertEqual(self.verify()["records"], 300)
        # A queue that is gone is made again by the next start, says the checkpoint.
        status, _, err = run("get", *self.config, "--key", "T", "k7")
        self.assertEqual(status, GOOD, err)
        status, lines = run_json("repair", "--write", *self.config)
        self.assertEqual(status, GOOD, lines)
        self.broker.start()
        with self.broker.client() as client:
            self.assertEqual(sum(client.max_offset("T", i) for i in range(4)), 300)

    def test_checkpoint_counts_the_queues(self):
        """A queue that never was in topics.json is missed by the sum in the checkpoint."""
        self.send(40)
        self.broker.stop()
        self.assertEqual(self.verify()["notes"], 0)
        checkpoint = os.path.join(self.store, "checkpoint")
        for at, noted in ((3, 1), (44, 1), (60, 1), (69, 1)):
            flip(checkpoint, at)
            _, lines = run_json("verify", *self.config)
            self.assertEqual({line["file"] for line in lines[:-1]}, {checkpoint})
            self.assertEqual(lines[-1]["notes"], noted)
            flip(checkpoint, at)
        shutil.rmtree(os.path.join(self.store, "consumequeue", "T", "3"))
        os.remove(os.path.join(self.store, "config", "topics.json"))
        status, lines = run_json("verify", *self.config)
        self.assertEqual(status, FOUND)
        self.assertEqual({line.get("kind") for line in lines[:-1]},
                         {"missing-entry", "checkpoint"})


class CommandLine(StoreTest):
    def test_help(self):
        status, out, _ = run("--help")
        self.assertEqual(status, GOOD)
        for command in ("info", "verify", "dump", "get", "diff", "repair"):
            self.assertIn(command.encode(), out)
            status, text, _ = run(command, "--help")
            self.assertEqual(status, GOOD)
            self.assertIn(b"--json", text)
        self.assertEqual(run("--version")[0], GOOD)

    def test_usage(self):
        store = os.path.join(DATA, "store-4.9.2")
        for words in ([], ["nonsense"], ["info"], ["info", store, store], ["get", store],
                      ["info", store, "--bodies"], ["get", store, "--offset"],
                      ["get", store, "--offset", "x"], ["get", store, "--queue", "T", "1"],
                      ["get", store, "--msg-id", "12"], ["diff", store], ["verify", store],
                      ["get", store, "--key", "T", "k"], ["dump", store, "--from", "-1"],
                      ["verify", store, *GEOMETRY, "--delay-levels", "1y"]):
            status, out, err = run(*words)
            self.assertEqual((status, out), (USAGE, b""), words)
            self.assertTrue(err, words)

    def test_cannot_read(self):
        file = os.path.join(self.folder, "file")
        with open(file, "w", encoding="utf-8"):
            pass
        for path, words in ((os.path.join(self.folder, "none"), "No such file"),
                            (file, "is a file"), (self.folder, "is not a store")):
            for command in ("info", "verify", "dump", "repair"):
                status, _, err = run(command, path)
                self.assertEqual(status, CANNOT_READ, command)
                self.assertIn(words, err)
        self.assertEqual(run("info", "-c", os.path.join(self.folder, "none"))[0], CANNOT_READ)


class Manual(StoreTest):
    """Every example of docs/mqstore.md prints what stands there."""

    def test_examples(self):
        self.copy()
        damaged = self.copy(to="damaged")
        shutil.rmtree(os.path.join(damaged, "consumequeue", "OrderTopic", "1"))
        flip(os.path.join(damaged, "commitlog", f"{SEGMENT:020d}"), 84204 - SEGMENT + 100)
        with open(os.path.join(ROOT, "docs", "mqstore.md"), encoding="utf-8") as file:
            text = file.read()
        with open(os.path.join(self.folder, "broker.conf"), "w", encoding="utf-8") as file:
            file.write("mappedFileSizeCommitLog=65536\nmappedFileSizeConsumeQueue=600\n"
                       "maxHashSlotNum=64\nmaxIndexNum=256\nmessageDelayLevel=%s\n" % LEVELS)
        examples = re.findall(r"^    \$ mqstore (.*)\n((?:    (?!\$).*\n)*)", text, re.M)
        self.assertGreater(len(examples), 6)
        for words, wanted in examples:
            arguments = [quoted or plain for quoted, plain in
                         re.findall(r"'([^']*)'|(\S+)", words)]
            _, out, err = run(*arguments, cwd=self.folder)
            shown = re.sub(r"repair-\d{14}", "repair-20261122210000", (out.decode() + err))
            wanted = re.sub(r"(?m)^    ", "", wanted)
            if wanted.endswith("...\n"):
                self.assertTrue(shown.startswith(wanted[:-4].rstrip()), f"{words}:\n{shown}")
            else:
                self.assertEqual(shown, wanted, words)


if __name__ == "__main__":
    unittest.main()
