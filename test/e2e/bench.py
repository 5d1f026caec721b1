#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's driver (test/bench): what it makes of figures, and that it still runs. The runs
here are too short for their figures to mean anything; that they exist and fit together is the test.
Source of the rules: docs/benchmarks.md.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, "test", "bench")
sys.path.insert(0, BENCH)

import cases  # noqa: E402
import figures  # noqa: E402
import machine  # noqa: E402

REAL_BINARIES = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin")
RUN_SECONDS = 240


def rates(*values):
    return [{"msgs_per_s": value} for value in values]


class Numbers(unittest.TestCase):
    def test_median_and_spread(self):
        self.assertEqual(figures.median(rates(3, 1, 2), "msgs_per_s"), 2)
        self.assertEqual(figures.median(rates(4, 1, 2, 3), "msgs_per_s"), 2.5)
        self.assertEqual(figures.spread(rates(90, 100, 120), "msgs_per_s"), 0.3)

    def test_what_was_not_measured_is_no_number(self):
        self.assertIsNone(figures.median([], "msgs_per_s"))
        self.assertIsNone(figures.median([{"p99_us": 1}, {"msgs_per_s": None}], "msgs_per_s"))
        self.assertIsNone(figures.spread(rates(5), "msgs_per_s"))
        self.assertIsNone(figures.spread(rates(0, 0), "msgs_per_s"))
        self.assertIsNone(figures.ratio(None, 2))
        self.assertIsNone(figures.ratio(2, None))
        self.assertIsNone(figures.ratio(2, 0))
        self.assertEqual(figures.cell([], "msgs_per_s", "%.0f", True), "-")

    def test_a_cell_shows_median_and_spread(self):
        self.assertEqual(figures.cell(rates(90, 100, 120), "msgs_per_s", "%.0f", True),
                         "100 (30%)")
        self.assertEqual(figures.cell(rates(2048), "msgs_per_s", "%.1f", True, 1 / 1024), "2.0")

    def test_growth_compares_halves(self):
        self.assertEqual(figures.growth([10, 10, 12, 12]), (2, 0.2))
        self.assertEqual(figures.growth([10]), (None, None))


class Goals(unittest.TestCase):
    RESULTS = {"ours": {"a": rates(300, 350, 400)}, "apache": {"a": rates(100, 100, 90)}}

    def judged(self, relation, bound, results=RESULTS, kind="ratio"):
        return figures.judge(("a", "msgs_per_s", kind, relation, bound), results)

    def test_ratio_of_medians(self):
        self.assertEqual(self.judged(">=", 3.5), (3.5, True))
        self.assertEqual(self.judged(">=", 3.6), (3.5, False))
        self.assertEqual(self.judged("<=", 3.6), (3.5, True))

    def test_value(self):
        self.assertEqual(self.judged("<=", 300, kind="value"), (350, False))

    def test_without_a_base_there_is_no_verdict(self):
        self.assertEqual(self.judged(">=", 1, {"ours": self.RESULTS["ours"]}), (None, None))
        lines = figures.goal_rows({"ours": {}}, [("a", "msgs_per_s", "value", ">=", 1)], ["a"])
        self.assertIn("not measured", lines[0])

    def test_every_goal_and_row_names_a_case(self):
        for goal in cases.GOALS:
            self.assertIn(goal[0], cases.CASES)
        grouped = [case for _, _, _, members in cases.GROUPS for case in members]
        self.assertEqual(sorted(grouped), sorted(cases.CASES))
        for case, _, _, _, _ in cases.VALUES:
            self.assertIn(case, list(cases.CASES) + ["start", "idle"])


class Tables(unittest.TestCase):
    def test_rates(self):
        results = {"ours": {"a": rates(300), "b": [{"ready_ms": 3}]}, "apache": {"a": rates(100)}}
        lines = figures.rate_rows(results, ["a", "b", "c"])
        self.assertEqual(len(lines), 3)
        self.assertIn("x msgs/s", lines[0])
        self.assertEqual(lines[1].split()[:3], ["a", "ours", "300"])
        self.assertIn("3x", lines[1].split())
        self.assertEqual(lines[2].split()[:3], ["a", "apache", "100"])

    def test_values(self):
        rows = [("b", "ready_ms", "start, ms", "%.0f", 1), ("z", "x", "never run", "%.0f", 1)]
        lines = figures.value_rows({"ours": {"b": [{"ready_ms": 30}, {"ready_ms": 60}]}}, rows)
        self.assertEqual(len(lines), 1)
        self.assertIn("ours 45 (67%)", lines[0])


class Parsing(unittest.TestCase):
    def test_status(self):
        text = "Name:\tmq broker\nRssAnon:\t    1234 kB\nRssFile:\t 56 kB\nThreads:\t14\n"
        self.assertEqual(figures.parse_status(text), {"RssAnon": 1234, "RssFile": 56})

    def test_own_memory(self):
        sizes = machine.memory_of(os.getpid())
        self.assertGreater(sizes["RssAnon"], 0)
        self.assertGreaterEqual(sizes["VmRSS"], sizes["RssAnon"])

    def test_mappings(self):
        text = ("7f00-7f10 rw-s 00000000 fe:00 12    /s/commitlog/000\n"
                "8000-9000 r--p 00000000 00:00 0 \n"
                "a000-b000 rw-s 00000000 fe:00 13    /s/commitlog/gone (deleted)\n"
                "c000-d000 rw-s 00000000 fe:00 14    /sother/file\n")
        self.assertEqual(figures.parse_mappings(text, "/s"), [(0x7f00, 0x10, "/s/commitlog/000")])

    def test_cases(self):
        known, sets = ["a", "b", "c"], {"two": ["c", "b"]}
        self.assertEqual(figures.parse_cases("", known, sets), known)
        self.assertEqual(figures.parse_cases("two,a", known, sets), known)
        self.assertEqual(figures.parse_cases(" c b ", known, sets), ["b", "c"])
        with self.assertRaisesRegex(ValueError, "d, e"):
            figures.parse_cases("a d e", known, sets)

    def test_space(self):
        need = figures.disk_bytes(100_000_000, 260, True)
        self.assertEqual(need, 100_000_000 * 280 + 5 * 420_000_040 + (2 << 30))
        self.assertEqual(figures.messages_that_fit(need, 260, True), 100_000_000)
        self.assertEqual(figures.messages_that_fit(need - 1, 260, True), 99_000_000)
        self.assertEqual(figures.messages_that_fit(0, 260, True), 0)


class PageCache(unittest.TestCase):
    def test_resident_bytes_follow_the_cache(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(os.urandom(256 * 1024))
            file.flush()
            self.assertEqual(machine.resident_bytes(file.name), 256 * 1024)
            if machine.on_memory_disk(os.path.dirname(file.name)):
                self.skipTest("a file kept in memory cannot be dropped from it")
            os.fsync(file.fileno())
            left = machine.drop_from_cache(os.getpid(), os.path.dirname(file.name), [file.name])
            self.assertEqual(left, 0)


class Memory(unittest.TestCase):
    def test_what_is_free_is_filled(self):
        free = "MemTotal: 900000 kB\nMemFree: %d kB\n"
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch("machine.read_text") as read_text:
            memory = machine.FullMemory(folder)
            for free_kb, filled_kb in ((10000, 10000), (300, 10300)):
                read_text.return_value = free % free_kb
                memory.fill()
                self.assertEqual(os.fstat(memory.file.fileno()).st_size, filled_kb << 10)
                self.assertGreater(
                    machine.resident_bytes("/proc/self/fd/%d" % memory.file.fileno()), 0)
            memory.close()


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.build = os.path.join(self.folder.name, "build")
        self.stores = os.path.join(self.folder.name, "stores")
        os.makedirs(os.path.join(self.build, "bin"))
        os.makedirs(self.stores)
        for name in ("mqbench", "mqnamesrv", "mqbroker"):
            os.symlink(os.path.join(REAL_BINARIES, name), os.path.join(self.build, "bin", name))

    def tearDown(self):
        self.folder.cleanup()

    def run_program(self, *command, **settings):
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("CASES", "ANCHOR", "ONLY")}
        # The memory of the machine is not filled: that is a minute's work, and others run beside.
        environment.update(BUILD=self.build, TMPDIR=self.stores, SETTLE_SECONDS="0", FULL_MEMORY="0",
                           **settings)
        return subprocess.run(command, env=environment, capture_output=True, text=True,
                              timeout=RUN_SECONDS)

    def bench(self, **settings):
        return self.run_program("sh", os.path.join(BENCH, "run"), **settings)

    def figures_of(self, pattern):
        path, = glob.glob(os.path.join(self.build, "bench", pattern))
        with open(path) as file:
            return [json.loads(line) for line in file]

    def test_cases_of_every_kind(self):
        result = self.bench(CASES="16x1 catch-up memory restart-kill restart-clean", ROUNDS="2",
                            DURATION="3", BACKLOG_MESSAGES="3200", FILL_MB="8")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        found = {}
        for figure in self.figures_of("*.jsonl"):
            found.setdefault(figure.get("case"), []).append(figure)
        for case, times in (("16x1", 2), ("catch-up", 2 * cases.CATCH_UP_PASSES), ("memory", 2),
                            ("restart-kill", 2), ("restart-clean", 2)):
            self.assertEqual(len(found[case]), times, case)
        for figure in found["16x1"] + found["catch-up"]:
            self.assertGreater(figure["msgs_per_s"], 0)
            self.assertEqual(figure["refused"] + figure["bad_crc"] + figure["bad_records"], 0)
        self.assertEqual({figure["msgs"] for figure in found["catch-up"]}, {3200})
        for figure in found["restart-kill"] + found["restart-clean"]:
            self.assertGreater(figure["ready_ms"], 0)
            self.assertGreaterEqual(figure["route_ms"], figure["ready_ms"])
        for figure in found["memory"]:
            self.assertGreater(figure["anonymous_mb"], 0)
            self.assertAlmostEqual(figure["log_bytes"] / (8 << 20), 1, delta=0.2)
        self.assertIn("medians of 2 rounds", result.stdout)
        self.assertRegex(result.stdout, r"(?m)^catch-up +ours +\d+ \(\d+%\)")
        self.assertRegex(result.stdout, r"(?m)^restart-kill +ready_ms +<= 500 +measured \d")
        self.assertEqual(os.listdir(self.stores), [])

    def test_held_pulls(self):
        result = self.bench(CASES="held-pulls", ROUNDS="2", DURATION="3", HELD_GROUPS="20")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        found = [figure for figure in self.figures_of("*.jsonl")
                 if figure.get("case") == "held-pulls"]
        self.assertEqual(len(found), 2)
        for figure in found:
            self.assertGreater(figure["elsewhere"], 0)
            self.assertGreater(figure["filtered"], 0)

    def test_pairs(self):
        result = self.bench(CASES="pair", ROUNDS="2", DURATION="0.2", SLAVE_MB="24")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        found = {}
        for figure in self.figures_of("*.jsonl"):
            found.setdefault(figure.get("case"), []).append(figure)
        for case in ("pair-async-16x32", "pair-sync-16x32"):
            rates = [figure for figure in found[case] if "msgs_per_s" in figure]
            self.assertEqual(len(rates), 2)
            for figure in rates:
                self.assertGreater(figure["msgs_per_s"], 0)
                self.assertEqual(figure["refused"], 0)
            self.assertEqual(sum("behind_mb" in figure for figure in found[case]), 2)
        self.assertEqual(sum("to_async" in figure for figure in found["pair-sync-16x32"]), 2)
        self.assertEqual(len(found["slave-catch-up"]), 2)
        for figure in found["slave-catch-up"]:
            self.assertAlmostEqual(figure["bytes"] / (24 << 20), 1, delta=0.2)
            self.assertGreater(figure["mb_per_s"], 0)
            self.assertGreaterEqual(figure["queues_seconds"], figure["seconds"])
        self.assertRegex(result.stdout, r"(?m)^pair-sync-16x32 +to_async +>= 0.8 +measured \d")
        self.assertEqual(os.listdir(self.stores), [])

    def test_a_case_that_cannot_run_is_said(self):
        broker = os.path.join(self.build, "bin", "mqbroker")
        os.unlink(broker)
        os.symlink("/bin/false", broker)
        result = self.bench(CASES="16x1", ROUNDS="1", DURATION="3", READY_SECONDS="1")
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("could not run: 16x1 on ours, round 1", result.stdout)
        self.assertTrue(any("failed" in figure for figure in self.figures_of("*.jsonl")))
        self.assertEqual(os.listdir(self.stores), [])

    def test_an_unknown_case_is_refused(self):
        result = self.bench(CASES="16x1 nonsense")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("nonsense", result.stderr)

    def soak(self, messages):
        return self.run_program(sys.executable, os.path.join(BENCH, "soak.py"),
                                SOAK_MESSAGES=str(messages))

    def test_soak(self):
        result = self.soak(12_800)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        steps = self.figures_of("soak-*.jsonl")
        self.assertEqual(steps[-1]["step"], "conclusion")
        self.assertGreaterEqual(steps[-1]["sent"], 12_800)
        self.assertEqual(os.listdir(self.stores), [])

    def test_soak_refuses_what_the_disk_cannot_hold(self):
        result = self.soak(10 ** 12)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"no room for that; SOAK_MESSAGES=\d+ would fit")
        self.assertEqual(os.listdir(self.stores), [])


if __name__ == "__main__":
    unittest.main()
