# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of pair.py and migration.py, two beside each other."""
import os
import signal
import sys
import threading

import cluster  # noqa: F401 - sets the path of the next ones
import store
from migration import Migration, Move
from pair import PairCase

# Which of (master, slave) are Apache's, whatever a case asks for.
FORCED = {"apache": (True, True), "ours": (False, False)}


def kinds(master, slave):
    return FORCED.get(os.environ.get("PAIR"), (master, slave))


def old_and_new():
    """What a migration begins with and leads to. With PAIR set it is the same."""
    return kinds(True, False)


CASES = {
    "java-slave-async": lambda: PairCase(*kinds(False, True), "ASYNC_MASTER"),
    "java-master-async": lambda: PairCase(*kinds(True, False), "ASYNC_MASTER"),
    "java-slave-sync": lambda: PairCase(*kinds(False, True), "SYNC_MASTER"),
    "java-master-sync": lambda: PairCase(*kinds(True, False), "SYNC_MASTER"),
    "migration-async": lambda: Migration(*old_and_new(), "ASYNC_MASTER"),
    "migration-sync": lambda: Migration(*old_and_new(), "SYNC_MASTER"),
    "move-sync": lambda: Move(*old_and_new(), "SYNC_MASTER"),
}
LANES = 2


def main():
    wanted = [name for name in CASES if sys.argv[1:] in ([], [name]) or sys.argv[1] in name]
    suite = store.Suite()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, store.give_up)

    def lane(names):
        for name in names:
            case = []
            if suite.case(name + "/servers", lambda: case.append(CASES[name]())):
                case[0].run(suite, name)

    lanes = [threading.Thread(target=lane, args=(wanted[i::LANES],)) for i in range(LANES)]
    for one in lanes:
        one.start()
    for one in lanes:
        one.join()
    print("java-pair: %d passed, %d failed" % (suite.passed, suite.failed))
    sys.exit(0 if suite.failed == 0 and suite.passed > 0 else 1)


if __name__ == "__main__":
    main()
