# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments under load, some of them again while the broker starts: what mqbench had
in its ledger of acknowledgements is there afterwards, once, at the place that its answer named.

KILL_ROUNDS sets the rounds of each flush mode (`make kill-drill`: 100 and 100), KILL_SEED repeats the
moments of an earlier run as far as processes can be repeated. A killed process leaves the page cache
behind; what a power cut does is shown by test/unit/store/t_powercut.c.
"""

import json
import os
import random
import subprocess
import time
import unittest

import rocketmq
from broker import Broker, SUCCESS
from rocketmq import build_folder, wait_until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "4"))
SEED = int(os.environ.get("KILL_SEED", random.randrange(1 << 32)))
VERIFY_EVERY = 5
TOPIC = "killed"
QUEUES = 8


class KillTest(unittest.TestCase):
    def bench(self, mode, *arguments):
        return [os.path.join(build_folder(), "bin", "mqbench"), mode, "--broker",
                self.broker.address, "--topic", TOPIC, "--queues", str(QUEUES), "--acked-log",
                self.ledger, *arguments]

    def load_until_killed(self, moments):
        """Senders of mixed kinds until the broker dies under them."""
        kinds = [("--conns", "8", "--inflight", "16", "--size", "300", "--keys"),
                 ("--conns", "2", "--inflight", "1", "--size", "4000"),
                 ("--conns", "4", "--inflight", "2", "--size", "100", "--batch", "16")]
        before = os.path.getsize(self.ledger) if os.path.exists(self.ledger) else 0
        with open(self.broker.path("bench.out"), "w", encoding="utf-8") as out:
            senders = [subprocess.Popen(self.bench("produce", "--rate", "4000", "--duration", "60",
                                                   *kind), stdout=out, stderr=out)
                       for kind in moments.sample(kinds, 2)]
            time.sleep(moments.uniform(0.05, 0.9))
            if before == 0:  # on a busy machine the senders may not have come to anything yet
                wait_until(lambda: os.path.exists(self.ledger) and os.path.getsize(self.ledger) > 0,
                           "a message is acknowledged")
            self.broker.kill()
            for sender in senders:
                try:
                    sender.wait(120)
                except subprocess.TimeoutExpired:
                    sender.kill()
                    sender.wait()
        return os.path.getsize(self.ledger) - before

    def start(self, moments):
        """Sometimes it is killed while it starts, at the most three times."""
        for _ in range(moments.choice((0, 0, 1, 3))):
            self.broker.launch()
            time.sleep(moments.uniform(0, 0.08))
            self.broker.kill()
            self.second_kills += 1
        self.broker.start()

    def verify(self):
        done = subprocess.run(self.bench("verify", "--timeout", "240", "--json"),
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, f"seed {SEED}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def drill(self, flush):
        self.broker = Broker(mappedFileSizeCommitLog=1 << 20, maxMessageSize=65536,
                             mappedFileSizeConsumeQueue=4000, flushDiskType=flush,
                             flushConsumeQueueThoroughInterval=1000)
        self.addCleanup(self.broker.remove)
        self.ledger = self.broker.path("acknowledged")
        self.second_kills = 0
        moments = random.Random(f"{SEED}-{flush}")
        print(f"{flush}: KILL_SEED={SEED}", flush=True)
        self.broker.start()
        with self.broker.client() as client:
            self.assertEqual(client.create_topic(TOPIC, QUEUES).code, SUCCESS)
        acknowledged = 0
        for number in range(1, ROUNDS + 1):
            acknowledged += self.load_until_killed(moments)
            self.start(moments)
            if number % VERIFY_EVERY == 0 or number == ROUNDS:
                report = self.verify()
        self.assertGreater(acknowledged, 0, "no message was acknowledged before a kill")
        print(f"{flush}: {ROUNDS} rounds, {self.second_kills} kills of a start, {report}",
              flush=True)
        self.assertEqual(self.broker.stop(), 0)
        self.broker.start()
        self.verify()

    def test_sync_flush(self):
        self.drill("SYNC_FLUSH")

    def test_async_flush(self):
        self.drill("ASYNC_FLUSH")


if __name__ == "__main__":
    rocketmq.main("broker_kill")
