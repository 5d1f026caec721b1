# SPDX-License-Identifier: Apache-2.0
"""How late delayed messages and timers are: COUNT (default 100000) are sent, all of them pending before
the first is due, due over SPAN_S seconds (default 10); printed are the milliseconds between the time
at which each was due and the store time of what was delivered.

    python3 test/bench/timers.py [levels] [timers]
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from broker import Broker, RUNTIME_INFO, SEND_V2, SUCCESS, send_header  # noqa: E402
from rocketmq import wait_until  # noqa: E402

COUNT = int(os.environ.get("COUNT", "100000"))
SPAN_S = float(os.environ.get("SPAN_S", "10"))
WINDOW = 500
WAIT_S = 300
SCHEDULE = "SCHEDULE_TOPIC_XXXX"


def send_all(client, properties_of):
    """COUNT messages at an even rate over SPAN_S."""
    begun = time.monotonic()
    under_way = []
    for number in range(COUNT):
        if number % 50 == 0:
            ahead = number * SPAN_S / COUNT - (time.monotonic() - begun)
            if ahead > 0:
                time.sleep(ahead)
        under_way.append(client.send(SEND_V2, send_header("T", number % 4, properties_of(number)),
                                     b"%d" % number))
        if len(under_way) == WINDOW:
            for opaque in under_way:
                assert client.read_answer(opaque).code == SUCCESS
            under_way.clear()
    for opaque in under_way:
        assert client.read_answer(opaque).code == SUCCESS
    return time.monotonic() - begun


def all_delivered(client):
    wait_until(lambda: sum(client.max_offset("T", queue) for queue in range(4)) >= COUNT,
               "the deliveries", WAIT_S)


def report(name, late, sent_s):
    late.sort()

    def at(share):
        return late[min(len(late) - 1, int(len(late) * share))]

    print(f"{name}: {len(late)} messages sent in {sent_s:.1f} s; late by p50 {at(0.5)} ms, "
          f"p99 {at(0.99)} ms, p99.9 {at(0.999)} ms, most {late[-1]} ms; early: "
          f"{sum(ms < 0 for ms in late)}", flush=True)


def levels(broker, client):
    level_ms = 1000 * int(SPAN_S * 2)
    sent_s = send_all(client, lambda number: {"DELAY": "1"})
    pending = COUNT - sum(client.max_offset("T", queue) for queue in range(4))
    print(f"levels: {pending} pending when all were sent")
    all_delivered(client)
    due = {record.body: record.store_ms + level_ms for record in client.read_queue(SCHEDULE, 0)}
    late = [record.store_ms - due[record.body] for queue in range(4)
            for record in client.read_queue("T", queue)]
    report("levels", late, sent_s)


def timers(broker, client):
    begin_ms = int((time.time() + SPAN_S * 2) * 1000)
    step_ms = SPAN_S * 1000 / COUNT
    # Not in the order of their times.
    sent_s = send_all(client, lambda number: {
        "TIMER_DELIVER_MS": begin_ms + int((number * 7919 % COUNT) * step_ms)})
    pending = client.call(RUNTIME_INFO).json()["table"]["timerCongestNum"]
    print(f"timers: {pending} pending when all were sent; {broker.memory_kb()} KiB of memory")
    all_delivered(client)
    late = [record.store_ms - int(record.properties["TIMER_OUT_MS"]) for queue in range(4)
            for record in client.read_queue("T", queue)]
    report("timers", late, sent_s)


def main():
    wanted = sys.argv[1:] or ["levels", "timers"]
    for case in (levels, timers):
        if case.__name__ not in wanted:
            continue
        broker = Broker(messageDelayLevel=f"{int(SPAN_S * 2)}s", mappedFileSizeCommitLog=1 << 30,
                        mappedFileSizeConsumeQueue=6000000)
        try:
            broker.start()
            with broker.client() as client:
                client.create_topic("T", 4)
                case(broker, client)
        finally:
            broker.remove()


if __name__ == "__main__":
    main()
