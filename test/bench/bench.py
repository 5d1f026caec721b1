#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a broker and a name server with mqbench and prints medians.

    make bench                          our servers from $BUILD/bin (default build/bin), every case
    make bench ANCHOR=1                 and Apache RocketMQ 4.9.2, turn about, with ratios
    make bench CASES="sync-64x1 store"  some cases or sets of cases; CASES=list names them

ROUNDS (default 3) rounds are run. In each, every group of cases gets servers of its own with an
empty store, ours and Apache's one after the other in alternating order, so that what else happens
on the machine hits both alike. DURATION (default 4) is in seconds per timed case. ONLY=ours or
ONLY=apache measures just that one. TMPDIR says where the stores lie. Every figure is kept as one
JSON object per line in $BUILD/bench/, the table beside it. docs/benchmarks.md explains the rest.

The exit status is 0 only when every case that was asked for has been measured on every server.
"""
import json
import os
import platform
import signal
import sys
import tempfile
import time
import traceback

import cases
import figures
import machine
from contender import MQBENCH, Contender, Failed, PairContender, servers

ROUNDS = int(os.environ.get("ROUNDS", "3"))
FULL_MEMORY = os.environ.get("FULL_MEMORY", "1") != "0"
RESULTS = os.path.join(servers.BUILD, "bench")


class Journal:
    """What is measured: in memory for the table, and on disk line by line as it comes."""

    def __init__(self, names, path):
        self.results = {name: {} for name in names}  # server -> case -> [figure]
        self.failures = []
        self.file = open(path, "w")

    def write(self, **members):
        self.file.write(json.dumps(members) + "\n")
        self.file.flush()


class Session:
    """One group of cases on one server in one round."""

    def __init__(self, journal, name, chosen, round_number):
        self.journal = journal
        self.name = name
        self.chosen = chosen
        self.round_number = round_number
        self.server = None
        self.started = None  # figure of the first start

    def note(self, case, figure):
        self.journal.results[self.name].setdefault(case, []).append(figure)
        self.journal.write(server=self.name, case=case, round=self.round_number + 1,
                           load=os.getloadavg()[0], **figure)
        print("  round %d  %-7s %-16s %s" % (self.round_number + 1, self.name, case,
                                            summary(case, figure)), flush=True)

    def add(self, case, member, value):
        """A member that is known only after the case's figure was noted."""
        self.journal.results[self.name][case][-1][member] = value
        self.journal.write(server=self.name, case=case, round=self.round_number + 1,
                           **{member: value})

    def fail(self, case, failure):
        text = str(failure)
        self.journal.failures.append((self.name, case, self.round_number + 1, text))
        self.journal.write(server=self.name, case=case, round=self.round_number + 1, failed=text)
        print("  round %d  %-7s %-16s COULD NOT RUN: %s" % (self.round_number + 1, self.name, case,
                                                           text), flush=True)

    def remark(self, text):
        self.journal.write(server=self.name, round=self.round_number + 1, remark=text)
        print("  note: %s" % text, flush=True)

    def run(self, settings, function, group_cases):
        kind = PairContender if "brokerRole" in settings else Contender
        self.server = kind(self.name == "apache", settings)
        try:
            self.started = self.server.begin("bench")
            function(self)
        except Exception as failure:  # noqa: BLE001 - the other groups go on
            if not isinstance(failure, (Failed, servers.StartError)):
                traceback.print_exc()
            for case in group_cases:
                self.fail(case, failure)
        finally:
            self.server.stop()


def summary(case, figure):
    if "msgs_per_s" in figure:
        return "%9.0f/s  p99 %8.0f us  %7.2f CPU-s/M  client %.0f %%" % (
            figure["msgs_per_s"], figure["p99_us"], figure["server_cpu_s_per_million"],
            figure["client_cpu_pct"])
    return "  ".join("%s %s" % (member, form % (figure[member] * scale))
                     for name, member, _, form, scale in cases.VALUES
                     if name == case and figure.get(member) is not None)


def run_rounds(journal, chosen, memory):
    names = list(journal.results)
    for round_number in range(ROUNDS):
        for _, settings, function, group_cases in cases.GROUPS:
            wanted = [case for case in group_cases if case in chosen]
            if not wanted:
                continue
            for name in names if round_number % 2 == 0 else names[::-1]:
                if memory is not None:
                    memory.fill()
                Session(journal, name, wanted, round_number).run(settings, function, wanted)


def report(journal, chosen):
    """The lines of the table."""
    results = journal.results
    lines = ["medians of %d rounds; in parentheses (max - min) / median%s" % (
        ROUNDS, "; ratios are ours to Apache's" if len(results) > 1 else "")]
    lines += figures.rate_rows(results, chosen)
    lines += figures.value_rows(results, cases.VALUES)
    if "ours" in results:
        lines += [""] + figures.goal_rows(results, cases.GOALS, chosen)
    for name, case, round_number, text in journal.failures:
        lines.append("could not run: %s on %s, round %d: %s"
                     % (case, name, round_number, text.splitlines()[0]))
    return lines


def machine_lines(folder):
    lines = ["%s, %d cores, Linux %s, load %.2f" % (platform.machine(), os.cpu_count(),
                                                    platform.release(), os.getloadavg()[0])]
    lines.append("stores in %s, %d MB free" % (folder, machine.free_bytes(folder) >> 20))
    if machine.on_memory_disk(folder):
        lines.append("NOTE: %s is kept in memory; figures of SYNC_FLUSH and of restarts say nothing "
                     "about a disk (TMPDIR names another place)" % folder)
    return lines


def contenders():
    only = os.environ.get("ONLY")
    if only:
        if only not in ("ours", "apache"):
            sys.exit("bench: ONLY is ours or apache")
        return [only]
    return ["ours"] + (["apache"] if os.environ.get("ANCHOR") == "1" else [])


def main():
    if os.environ.get("CASES") == "list":
        for name, text in cases.CASES.items():
            print("%-16s %s" % (name, text))
        for name, members in cases.SETS.items():
            print("%-16s the set %s" % (name, " ".join(members)))
        return 0
    if not os.path.exists(MQBENCH):
        sys.exit("bench: %s is missing; run make first" % MQBENCH)
    try:
        chosen = figures.parse_cases(os.environ.get("CASES", ""), list(cases.CASES), cases.SETS)
    except ValueError as wrong:
        sys.exit("bench: no such case: %s; CASES=list names them" % wrong)
    # Servers are stopped and stores removed when this is told to end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(RESULTS, exist_ok=True)
    base = os.path.join(RESULTS, time.strftime("%Y%m%d-%H%M%S"))
    journal = Journal(contenders(), base + ".jsonl")
    lines = machine_lines(tempfile.gettempdir())
    journal.write(machine=lines, rounds=ROUNDS, duration_s=float(cases.DURATION))
    print("\n".join(lines))
    for case in chosen:
        print("  %-16s %s" % (case, cases.CASES[case]))
    memory = machine.FullMemory(tempfile.gettempdir()) if FULL_MEMORY else None
    run_rounds(journal, chosen, memory)
    if memory is not None:
        memory.close()
    table = report(journal, chosen)
    print("\n" + "\n".join(table))
    with open(base + ".txt", "w") as file:
        file.write("\n".join(lines + [""] + table) + "\n")
    print("\nfigures are in %s.jsonl, this table in %s.txt" % (base, base))
    return 1 if journal.failures else 0


if __name__ == "__main__":
    sys.exit(main())
