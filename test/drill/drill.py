#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drills: a cluster of 3 name servers and 2 groups of a master and a slave, each daemon on a host of
its own, clients that write down what they are told, and faults. See docs/drills.md.

The last line is `drill: N passed, N failed, N skipped`; exit status 0 when none failed, 77 when all
were skipped."""
import argparse
import os
import signal
import sys
import time

import faults
import hosts
import report
from cluster import DrillError
from run import Run


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT",
                        help="names of faults (--list); without any, all")
    parser.add_argument("--list", action="store_true", help="name the faults and say what they show")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 0),
                        help="rounds of each fault (default: as --list says)")
    parser.add_argument("--hosts", choices=("auto", "namespaces", "loopback"), default="auto",
                        help="namespaces can be cut off, loopback addresses can be had without root; "
                        "auto: namespaces where this machine can make them")
    parser.add_argument("--role", choices=("SYNC_MASTER", "ASYNC_MASTER"), default="SYNC_MASTER",
                        help="brokerRole of the masters (with ASYNC_MASTER SEND_OK promises no slave, "
                        "and complaints about slaves are to be expected)")
    parser.add_argument("--flush", choices=("ASYNC_FLUSH", "SYNC_FLUSH"), default="ASYNC_FLUSH",
                        help="flushDiskType of all brokers")
    parser.add_argument("--ip-version", type=int, choices=(4, 6), default=4)
    parser.add_argument("--name-servers", type=int, choices=(1, 2, 3), default=3)
    parser.add_argument("--groups", type=int, choices=(1, 2), default=2)
    parser.add_argument("--apache", action="store_true",
                        help="Apache's 4.9.2 servers instead of ours (Maven fetches them)")
    parser.add_argument("--report", metavar="PREFIX", default=os.environ.get("REPORT"),
                        help="write PREFIX.md and PREFIX.json")
    parser.add_argument("--keep", action="store_true",
                        help="keep stores, logs and histories, and say where")
    return parser.parse_args()


def rehearse(fault, options):
    """All rounds of one fault; a row of the report, or None when it cannot be had here."""
    began = time.monotonic()
    run = None
    try:
        run = Run(options, fault)
        row = all_rounds(fault, run, options.rounds or fault.rounds)
    except hosts.NotHere as error:
        print("skipped %s: %s" % (fault.name, error), flush=True)
        return None
    finally:
        if run:
            run.remove(options.keep)
    print("%s %s: %d rounds, %d answers SEND_OK, %d lost, %.0f s" % (
        "FAILED" if row["complaints"] else "ok", fault.name, row["rounds"], row["acked"],
        row["lost"], time.monotonic() - began), flush=True)
    for text in row["complaints"]:
        print("    " + text.replace("\n", "\n    "), flush=True)
    return row


def all_rounds(fault, run, rounds):
    try:
        run.start()
        for run.round in range(1, rounds + 1):
            fault.run(run, run.cluster.groups[run.round % len(run.cluster.groups)])
            say_round(fault, run, rounds)
        complaints = run.finish()
    except DrillError as error:
        complaints = run.complaints + ["[stuck] round %d: %s" % (run.round, error)]
        complaints += ["[log] %s" % broker.tail(8) for broker in run.cluster.brokers.values()]
    acked, lost = run.lost()
    return dict({"fault": fault.name, "rounds": run.round, "acked": acked, "lost": lost,
                 "complaints": complaints, "hosts": run.hosts.kind}, **run.pauses)


def say_round(fault, run, rounds):
    print("  %s %d/%d: %d answers SEND_OK%s; pauses: %s" % (
        fault.name, run.round, rounds, sum(len(acks) for acks in run.tail.acked.values()),
        ", %d complaints" % len(run.complaints) if run.complaints else "",
        ", ".join("%s %.2f s" % (what, values[-1]) for what, values in run.pauses.items() if values)),
        flush=True)


def about(options):
    return {"System": "Apache 4.9.2" if options.apache else "CometMQ",
            "Cluster": "%d name servers, %d groups of %s and SLAVE, %s, IPv%d" % (
                options.name_servers, options.groups, options.role, options.flush, options.ip_version),
            "Date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def write_report(rows, options):
    """After each fault, so that a run that is broken off has one, too."""
    if options.report:
        for end, text in ((".md", report.markdown), (".json", report.as_json)):
            with open(options.report + end, "w", encoding="utf-8") as file:
                file.write(text(rows, about(options)))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments()
    if options.list:
        for fault in faults.FAULTS.values():
            print("%-18s %s%s" % (fault.name, fault.summary,
                                  "; %d rounds" % fault.rounds if fault.rounds > 1 else ""))
        return 0
    unknown = [name for name in options.faults if name not in faults.FAULTS]
    if unknown:
        sys.exit("drill: there is no fault %s; --list names them" % ", ".join(unknown))
    chosen = [faults.FAULTS[name] for name in options.faults or faults.FAULTS]
    rows = []
    for fault in chosen:
        if not (options.apache and fault.ours_only):
            rows.append(rehearse(fault, options))
            write_report([row for row in rows if row], options)
    done = [row for row in rows if row]
    failed = sum(bool(row["complaints"]) for row in done)
    if not done:
        print("drill: nothing could be rehearsed here")
        return 77
    print("drill: %d passed, %d failed, %d skipped" % (len(done) - failed, failed,
                                                       len(rows) - len(done)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
