#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python clients against a name server and its broker, case by case.

    cases.py NAMESRV PREFIX FOLDER [FILTER]    FOLDER holds the package `rocketmq`

There are two packages of that name, whose interfaces differ a little: PREFIX python1 is PyPI's rocketmq
0.4, python2 is Apache's rocketmq-client-python 2.0. Both stand on the C++ client. A case prints
`ok NAME`, `FAILED NAME reason` or `skipped NAME reason`; cases in the comma list UNSERVED of the
environment are skipped, and those that the package has no functions for. Every case runs in a process
of its own.
"""
import os
import subprocess
import sys
import threading
import time

WAIT_S = 150
CASE_S = 400
SKIPPED = 77


class Bench:
    """What a case uses: names of its own, the package's clients in one dress, and what was received."""

    def __init__(self, namesrv, prefix, folder):
        sys.path.insert(0, folder)
        import rocketmq.client
        self.client = rocketmq.client
        self.namesrv = namesrv
        self.is_first = prefix == "python1"
        self.topic = "PY_%d_%d" % (time.time() * 1000, os.getpid())
        self.lock = threading.Lock()
        self.received = {}
        self.kept = []  # a client that Python collects is shut down

    def need(self, owner, name):
        if not hasattr(getattr(self.client, owner, None), name):
            print("the package has no %s.%s" % (owner, name), flush=True)
            os._exit(SKIPPED)

    def at_namesrv(self, one):
        (one.set_namesrv_addr if self.is_first else one.set_name_server_address)(self.namesrv)
        self.kept.append(one)
        return one

    def producer(self, **settings):
        producer = self.at_namesrv(self.client.Producer("PY_PRODUCER", timeout=10000, **settings))
        producer.start()
        return producer

    def message(self, body, tag="A"):
        message = self.client.Message(self.topic)
        message.set_keys("key")
        message.set_tags(tag)
        message.set_body(body)
        return message

    def send(self, producer, *bodies, **more):
        for body in bodies:
            result = self.sent(producer, self.message(body, **more))
            same(0, int(result.status), "status of the send of " + body)
            check(result.msg_id if hasattr(result, "msg_id") else result.id, "no message id")

    def sent(self, producer, message):
        """The client gives up at once when its question for the route takes long: again, some times."""
        for _ in range(5):
            try:
                return producer.send_sync(message)
            except Exception as error:
                if "No route info" not in str(error):
                    raise
        return producer.send_sync(message)

    def listen(self, name="one", expression="*", outcome=None, group=None, **settings):
        """A push consumer whose messages come into self.received[name]."""
        got = self.received[name] = []
        model = self.client.MessageModel
        consumer = self.client.PushConsumer(
            group or "G" + self.topic, message_model=model.BROADCASTING if settings.pop(
                "broadcast", False) else model.CLUSTERING, **settings)
        self.at_namesrv(consumer)
        consumer.set_instance_name(name + self.topic)

        def on_message(message):
            with self.lock:
                got.append((bytes(message.body).decode(), message.reconsume_times, time.time(),
                            message.born_timestamp))
                return outcome(len(got)) if outcome else self.success()

        consumer.subscribe(self.topic, on_message, expression)
        consumer.start()
        return got

    def success(self):
        return None if self.is_first else self.client.ConsumeStatus.CONSUME_SUCCESS

    def bodies(self, name="one"):
        with self.lock:
            return [one[0] for one in self.received[name]]

    def await_exactly(self, expected, name="one"):
        await_(lambda: len(self.bodies(name)) >= len(expected), "%d messages" % len(expected))
        same(sorted(expected), sorted(self.bodies(name)), "what came")


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def same(expected, actual, what):
    check(expected == actual, "%s: expected %r, got %r" % (what, expected, actual))


def await_(condition, what):
    end = time.monotonic() + WAIT_S
    while not condition():
        check(time.monotonic() < end, "waited in vain for " + what)
        time.sleep(0.01)


def numbered(word, count):
    return ["%s-%d" % (word, i) for i in range(count)]


def send_sync(bench):
    bench.send(bench.producer(), *numbered("sync", 60))
    bench.listen()
    bench.await_exactly(numbered("sync", 60))


def send_async(bench):
    bench.need("Producer", "send_async")
    producer = bench.producer()
    bench.send(producer, "async-0")
    answers, failures = [], []
    for body in numbered("async", 40)[1:]:
        producer.send_async(bench.message(body), answers.append, failures.append)
    await_(lambda: len(answers) + len(failures) == 39, "39 answers")
    same([], failures, "failures")
    bench.listen()
    bench.await_exactly(numbered("async", 40))


def send_oneway(bench):
    producer = bench.producer()
    bench.send(producer, "oneway-0")
    for body in numbered("oneway", 30)[1:]:
        producer.send_oneway(bench.message(body))
    bench.listen()
    bench.await_exactly(numbered("oneway", 30))


def send_delay(bench):
    producer = bench.producer()
    for body in numbered("delay", 5):
        message = bench.message(body)
        message.set_delay_time_level(7)  # 2 s, says support.sh
        producer.send_sync(message)
    got = bench.listen()
    bench.await_exactly(numbered("delay", 5))
    for body, _, at, born_ms in got:
        check(at >= born_ms / 1000 + 2, "%s came %.3f s after it was sent" % (
            body, at - born_ms / 1000))


def send_unicode(bench):
    """Bytes of all kinds, by way of a body of UTF-8."""
    bodies = ["bläulich", "消息", "\t\n", "x" * 100000]
    bench.send(bench.producer(), *bodies)
    bench.listen()
    bench.await_exactly(bodies)


def tag_filter(bench):
    producer = bench.producer()
    for i in range(60):
        bench.send(producer, "%d-%d" % (i % 3, i), tag="Tag%d" % (i % 3))
    bench.listen(expression="Tag0 || Tag2")
    bench.await_exactly(["%d-%d" % (i % 3, i) for i in range(60) if i % 3 != 1])


def send_in_shard(bench, producer, shard, body):
    if bench.is_first:
        return producer.send_orderly(bench.message(body), shard)
    return producer.send_orderly_with_sharding_key(bench.message(body), "shard-%d" % shard)


def orderly(bench):
    producer = bench.producer(**({} if bench.is_first else {"orderly": True}))
    for i in range(90):
        send_in_shard(bench, producer, i % 5, "%d:%03d" % (i % 5, i))
    bench.listen(orderly=True)
    bench.await_exactly(["%d:%03d" % (i % 5, i) for i in range(90)])
    for shard in range(5):
        mine = [body for body in bench.bodies() if body.startswith("%d:" % shard)]
        same(sorted(mine), mine, "order of shard %d" % shard)


def broadcasting(bench):
    producer = bench.producer()
    bench.send(producer, "creates the topic", tag="other")
    names = ("one", "two")
    for name in names:
        bench.listen(name, "B", broadcast=True)
    # Such a consumer begins at the end, and nothing tells when it has begun.
    end = time.monotonic() + WAIT_S
    while not all(bench.bodies(name) for name in names):
        check(time.monotonic() < end, "a broadcast did not reach everybody")
        bench.send(producer, "probe", tag="B")
        time.sleep(0.5)
    bench.send(producer, *numbered("all", 30), tag="B")
    for name in names:
        await_(lambda: len([b for b in bench.bodies(name) if b != "probe"]) >= 30, "30 messages")
        same(sorted(numbered("all", 30)), sorted(b for b in bench.bodies(name) if b != "probe"), name)


def pull(bench):
    bench.need("PullConsumer", "pull")
    bench.send(bench.producer(), *numbered("pull", 40))
    consumer = bench.at_namesrv(bench.client.PullConsumer("G" + bench.topic))
    consumer.start()
    bodies = []

    def has_all():
        bodies.extend(bytes(message.body).decode() for message in consumer.pull(bench.topic))
        return len(bodies) >= 40

    await_(has_all, "40 messages")
    same(sorted(numbered("pull", 40)), sorted(bodies), "what was pulled")


def retry_later(bench):
    bench.need("ConsumeStatus", "RECONSUME_LATER")
    status = bench.client.ConsumeStatus
    bench.send(bench.producer(), "again")
    got = bench.listen(outcome=lambda times: status.RECONSUME_LATER if times <= 2
                       else status.CONSUME_SUCCESS)
    await_(lambda: len(got) >= 3, "three deliveries")
    same([("again", 0), ("again", 1), ("again", 2)], [one[:2] for one in got], "deliveries")


def in_transactions(bench, local, checked, sends):
    bench.need("TransactionMQProducer", "send_message_in_transaction")
    bench.send(bench.producer(), "creates the topic", tag="other")
    producer = bench.client.TransactionMQProducer("T" + bench.topic, checked)
    bench.at_namesrv(producer)
    producer.start()
    for body in sends:
        producer.send_message_in_transaction(bench.message(body), local)
    bench.listen(expression="A")
    bench.await_exactly([body for body in sends if body.startswith("good")])


def judge(bench, message):
    status = bench.client.TransactionStatus
    is_good = bytes(message.body).startswith(b"good")
    return status.COMMIT if is_good else status.ROLLBACK


def transaction(bench):
    in_transactions(bench, lambda message, _: judge(bench, message),
                    lambda message: judge(bench, message), numbered("good", 8) + numbered("bad", 8))


def transaction_check(bench):
    in_transactions(bench, lambda *_: bench.client.TransactionStatus.UNKNOWN,
                    lambda message: judge(bench, message), numbered("good", 3) + numbered("bad", 3))


CASES = {
    "send/sync": send_sync, "send/async": send_async, "send/oneway": send_oneway,
    "send/delay": send_delay, "send/bodies": send_unicode, "consume/tag-filter": tag_filter,
    "consume/orderly": orderly, "consume/broadcasting": broadcasting, "consume/pull": pull,
    "retry/consume-retry-later": retry_later, "transaction/commit-and-rollback": transaction,
    "transaction/check-back": transaction_check,
}


def run_one(namesrv, prefix, folder, name):
    """In the case's own process; ends without shutting the clients down."""
    try:
        CASES[name](Bench(namesrv, prefix, folder))
        status = 0
    except BaseException as error:  # noqa: B902: whatever it is, the case has failed
        print("%s: %s" % (type(error).__name__, error))
        status = 1
    sys.stdout.flush()
    os._exit(status)


def main():
    if len(sys.argv) == 6 and sys.argv[4] == "--case":
        run_one(*sys.argv[1:4], sys.argv[5])
    namesrv, prefix, folder = sys.argv[1:4]
    wanted = sys.argv[4] if len(sys.argv) > 4 else ""
    unserved = os.environ.get("UNSERVED", "").split(",")
    for case in CASES:
        name = prefix + "/" + case
        if wanted not in name:
            continue
        if name in unserved:
            print("skipped %s the broker does not serve this yet" % name)
            continue
        try:
            done = subprocess.run([sys.executable, __file__, namesrv, prefix, folder, "--case", case],
                                  stdout=subprocess.PIPE, stderr=sys.stderr, text=True, timeout=CASE_S)
            status, reason = done.returncode, done.stdout.strip().split("\n")[-1]
        except subprocess.TimeoutExpired:
            status, reason = 1, "it did not end in time"
        print({0: "ok %s", SKIPPED: "skipped %s " + reason}.get(status, "FAILED %s " + reason) % name,
              flush=True)


if __name__ == "__main__":
    main()
