#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One producer or consumer of a soak, as a process: members.py ROLE JSON.

ROLE is a name of PRODUCERS, ENDERS or CONSUMERS; JSON has name, broker, seed, history (a file), topic
and, for consumers, group. SIGTERM asks it to end well; it also ends when its parent has. It lives on
through restarts of the broker. What it does is written down as history.py says.

Another kind of producer is a function in PRODUCERS that sends once (its `promise` decides what the
checker holds the broker to); another kind of consumer is a class in CONSUMERS. ENDERS are producers
that begin transactions, or only end those of others.
"""
import base64
import hashlib
import itertools
import json
import os
import random
import select
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import broker as wire  # noqa: E402
import broker_pop as pops  # noqa: E402
import broker_transactions as transactions  # noqa: E402
import history  # noqa: E402
from rocketmq import Closed, JSON, PROTOBUF, ROCKETMQ  # noqa: E402

LEVEL_S = 1  # the broker's messageDelayLevel is 1s 2s 3s ...
KEYS = 6
GONE = (Closed, OSError)


class Member:
    """What producers and consumers share: a connection that is made again, and a way to end."""

    def __init__(self, name, broker, seed, history_file, topic):
        self.name, self.topic = name, topic
        self.host, self.port = broker.rsplit(":", 1)
        self.chance = random.Random("%s %s" % (seed, name))
        self.codec = self.chance.choice((JSON, ROCKETMQ))
        self.history = history.Writer(history_file)
        self.parent = os.getppid()
        self.asked_to_end = False
        self.connection = None
        self.due = {}  # of what is done now and then
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_):
        self.asked_to_end = True

    def goes_on(self):
        return not self.asked_to_end and os.getppid() == self.parent

    def connect(self):
        """False when asked to end before the broker was there."""
        while self.goes_on():
            try:
                self.connection = wire.Client(self.host, int(self.port), 30)
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def disconnect(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def call(self, code, ext=None, body=b""):
        return self.connection.call(code, ext, body, self.codec)

    def is_due(self, what, every_s):
        now = time.monotonic()
        if now < self.due.get(what, 0):
            return False
        self.due[what] = now + every_s
        return True

    def wait_for_frames(self, wait_s=0.1):
        """All frames that are there; waits a little for the first."""
        while self.connection.received or select.select([self.connection.socket], [], [], wait_s)[0]:
            self.connection._sort(self.connection.read_frame())
            wait_s = 0


# --- producers --------------------------------------------------------------------------------------


class Producer(Member):
    def __init__(self, kind, pause_s=0.03, queues=4, **settings):
        super().__init__(**settings)
        self.kind = kind
        self.pause_s, self.queues = pause_s, queues
        self.numbers = itertools.count()

    def run(self):
        while self.goes_on():
            if self.connection is None:
                if not self.connect():
                    break
                self.due = {}
            try:
                self.turn()
            except GONE:
                self.disconnect()
            time.sleep(self.chance.uniform(0, 2 * self.pause_s))

    def turn(self):
        PRODUCERS[self.kind](self)

    def message(self, promise, **more):
        """A new message, written down as about to be sent; returns (id, body, properties). The
        promise may be a function of the id."""
        name = "%s-%d" % (self.name, next(self.numbers))
        size = self.chance.choice((0, 20, 300, 300, 300, 5000, 60000))
        body = (name.encode() + hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size + 8]
        promise = promise if isinstance(promise, str) else promise(name)
        self.history.write("send", id=name, topic=self.topic, sum=history.checksum(body),
                           promise=promise, **more)
        return name, body, {"soak": name, "UNIQ_KEY": name, "KEYS": name, "TAGS": "t"}

    def start_send(self, body, properties, queue=None, code=wire.SEND_V2, flag=0, **letters):
        queue = self.chance.randrange(self.queues) if queue is None else queue
        header = wire.send_header(self.topic, queue, properties, **letters)
        return self.connection.send(code, header, body, self.codec, flag)

    def finish(self, opaque, *names):
        answer = self.connection.read_answer(opaque)
        if answer.code == wire.SUCCESS:
            for i, name in enumerate(names):
                self.history.write("acked", id=name, queue=int(answer.ext["queueId"]),
                                   offset=int(answer.ext["queueOffset"]) + i)


def send_sync(producer):
    name, body, properties = producer.message("placed")
    producer.finish(producer.start_send(body, properties), name)


def send_async(producer):
    flight = []
    for _ in range(producer.chance.randrange(2, 24)):
        name, body, properties = producer.message("placed")
        flight.append((producer.start_send(body, properties), name))
    for opaque, name in flight:
        producer.finish(opaque, name)


def send_batch(producer):
    messages = [producer.message("placed") for _ in range(producer.chance.randrange(1, 16))]
    body = wire.batch_body([(body, properties) for _, body, properties in messages])
    producer.finish(producer.start_send(body, {}, code=wire.SEND_BATCH, m="true"),
                    *(name for name, _, _ in messages))


def send_oneway(producer):
    _, body, properties = producer.message("maybe")
    producer.start_send(body, properties, flag=2)


def send_keyed(producer):
    key = producer.chance.randrange(KEYS)
    name, body, properties = producer.message("placed", key="%s/%d" % (producer.name, key),
                                              seq=next(producer.numbers))
    producer.finish(producer.start_send(body, properties, key % producer.queues), name)


def send_delayed(producer):
    level = producer.chance.randrange(1, 4)
    name, body, properties = producer.message("delivered", due=time.time() + level * LEVEL_S)
    producer.finish(producer.start_send(body, dict(properties, DELAY=level)), name)


def send_timer(producer):
    """By the time or by the delay; some are cancelled. A cancel that is acknowledged before the timer
    is due holds."""
    delay_ms = producer.chance.choice((1, 50, 500, 1500, 3000, 5000))
    due_ms = int(time.time() * 1000) + delay_ms
    name, body, properties = producer.message("delivered", due=due_ms / 1000)
    if producer.chance.random() < 0.5:
        producer.finish(producer.start_send(body, dict(properties, TIMER_DELAY_MS=delay_ms)), name)
        return
    answer = producer.connection.read_answer(
        producer.start_send(body, dict(properties, TIMER_DELIVER_MS=due_ms)))
    if answer.code != wire.SUCCESS:
        return
    cancelled = delay_ms >= 500 and producer.chance.random() < 0.3
    producer.history.write("acked", id=name, promise="maybe" if cancelled else "delivered")
    if cancelled:
        answer = producer.connection.read_answer(producer.start_send(
            b"cancel", {"TIMER_DELIVER_MS": due_ms,
                        "TIMER_DEL_UNIQKEY": "%s+%s" % (producer.topic, name)}))
        if answer.code == wire.SUCCESS and time.time() * 1000 < due_ms:
            producer.history.write("acked", id=name, promise="never")


PRODUCERS = {"sync": send_sync, "async": send_async, "batch": send_batch, "oneway": send_oneway,
             "keyed": send_keyed, "delayed": send_delayed, "timer": send_timer}


class Asked(Producer):
    """A member of the group of transactional producers that begins none itself. It answers what the
    broker asks about any of the group. How a transaction ends is a function of the message's id, so
    everybody knows."""

    transaction_group = "soak-transactions"
    beat_s = 5

    def turn(self):
        if self.is_due("beat", self.beat_s):
            answer = self.call(wire.HEARTBEAT, {}, json.dumps({
                "clientID": self.name, "consumerDataSet": [],
                "producerDataSet": [{"groupName": self.transaction_group}]}).encode())
            if answer.code != wire.SUCCESS:  # the broker is just being stopped
                self.due = {}
        self.answer_questions()

    def answer_questions(self):
        self.wait_for_frames(0)
        while self.connection.pushed:
            push = self.connection.pushed.pop(0)
            if push.code != transactions.CHECK:
                continue
            record = wire.Record(push.body)
            name = record.properties["soak"]
            self.history.write("asked", id=name)
            outcome = self.outcome(name) if self.chance.random() < 0.8 else 0  # it does not know yet
            self.end(transactions.end_of_check(push, outcome, self.transaction_group), True)

    @staticmethod
    def outcome(name):
        is_odd = hashlib.sha256(name.encode()).digest()[0] % 2
        return transactions.COMMIT if is_odd else transactions.ROLLBACK

    def promise(self, name):
        return "committed" if self.outcome(name) == transactions.COMMIT else "never"

    def end(self, header, oneway):
        """However often that is sent, and about whichever copy: the message comes once."""
        if oneway:
            self.connection.oneway(transactions.END, header, codec=self.codec)
        else:
            self.call(transactions.END, header)


class Transactional(Asked):
    """Begins transactions, ends most of them and leaves the others until it is asked. It sends an
    end again whose answer it did not get, and some others, too."""

    def __init__(self, *names, **settings):
        super().__init__(*names, **settings)
        self.unsure = []  # ends

    def turn(self):
        super().turn()
        while self.unsure:
            self.end(self.unsure[-1], False)
            self.unsure.pop()
        name, body, properties = self.message(self.promise)
        answer = self.connection.read_answer(self.start_send(body, dict(
            properties, TRAN_MSG="true", PGROUP=self.transaction_group), f=4))
        if answer.code != wire.SUCCESS:
            return
        self.history.write("acked", id=name)
        if self.chance.random() < 0.7:
            header = transactions.Half(answer.ext, self.transaction_group, name).end(
                self.outcome(name))
            oneway, again = self.chance.random() < 0.5, self.chance.random() < 0.1
            if again or not oneway:
                self.unsure.append(header)
            self.end(header, oneway)
            if not again:
                self.unsure.clear()


ENDERS = {"transactional": Transactional, "asked": Asked}


# --- consumers --------------------------------------------------------------------------------------


class Queue:
    """One queue that a consumer has: from `offset` on."""

    def __init__(self, topic, number, offset):
        self.topic, self.number, self.offset = topic, number, offset
        self.committed = offset
        self.pull = None


def allocate(queues, members, me):
    """The queues of `me`, shared out evenly and in order, as clients do by default."""
    share, rest = divmod(len(queues), len(members))
    at = members.index(me)
    start = at * share + min(at, rest)
    return queues[start:start + share + (at < rest)]


class Consumer(Member):
    """The members of a group share the queues of its topic; those of a `retrying` group also refuse
    a message now and then and get it once more through the group's retry topic."""

    ordered = False
    retrying = True
    beat_s, rebalance_s, commit_s = 5, 1, 0.3
    pause_s = 0.0002

    def __init__(self, kind, group, queues=4, **settings):
        super().__init__(**settings)
        self.group = group
        self.every_queue = [(self.topic, number) for number in range(queues)]
        self.retry_topic = "%RETRY%" + group
        self.topics = [self.topic] + ([self.retry_topic] if self.retrying else [])
        if self.retrying:
            self.every_queue.append((self.retry_topic, 0))
        self.client_id = "%s@%d" % (self.name, os.getpid())
        self.mine = {}
        self.numbers = itertools.count()

    def write(self, event, queue, **more):
        self.history.write(event, member=self.name, group=self.group, topic=queue.topic,
                           queue=queue.number, **more)

    def run(self):
        while self.goes_on():
            try:
                if self.connection is None:
                    if not self.connect():
                        break
                    self.due = {}
                self.turn()
            except GONE:
                self.drop_all()
                self.disconnect()
        try:
            self.leave()
        except GONE:
            self.drop_all()

    def turn(self):
        if self.is_due("beat", self.beat_s):
            self.beat()
        told = any(push.code == wire.IDS_CHANGED for push in self.connection.pushed)
        if self.is_due("rebalance", self.rebalance_s) or told:
            self.connection.pushed.clear()
            self.rebalance()
        if self.is_due("commit", self.commit_s):
            for queue in list(self.mine.values()):
                self.commit(queue)
        self.pull_all()
        self.wait_for_frames()
        self.consume_all()

    def beat(self):
        self.call(wire.HEARTBEAT, body=wire.heartbeat(
            self.client_id, self.group, [(topic, "*", 1) for topic in self.topics]))

    def rebalance(self):
        answer = self.call(wire.CONSUMER_LIST, {"consumerGroup": self.group})
        members = sorted(answer.json()["consumerIdList"]) if answer.code == wire.SUCCESS else []
        if self.client_id not in members:
            return
        wanted = set()
        for topic in self.topics:
            queues = [place for place in self.every_queue if place[0] == topic]
            wanted.update(allocate(queues, members, self.client_id))
        for place in set(self.mine) - wanted:
            self.release(self.mine[place])
        gained = sorted(wanted - set(self.mine))
        for place in self.lock(gained) if self.ordered else gained:
            self.take(place)

    def lock(self, places):
        """Those of the queues that the broker lets this member have."""
        answer = self.call(wire.LOCK, body=self._locks(places))
        granted = answer.json()["lockOKMQSet"] if answer.code == wire.SUCCESS else []
        return sorted((one["topic"], one["queueId"]) for one in granted)

    def _locks(self, places):
        return json.dumps({"clientId": self.client_id, "consumerGroup": self.group, "mqSet": [
            {"brokerName": "broker-a", "queueId": number, "topic": topic}
            for topic, number in places]}).encode()

    def take(self, place):
        asked = time.time()
        answer = self.call(wire.QUERY_OFFSET, {"consumerGroup": self.group, "topic": place[0],
                                               "queueId": place[1]})
        if answer.code not in (wire.SUCCESS, wire.QUERY_NOT_FOUND):
            return
        offset = int(answer.ext["offset"]) if answer.code == wire.SUCCESS else 0
        self.mine[place] = Queue(place[0], place[1], offset)
        self.write("took", self.mine[place], offset=offset, asked=asked)

    def release(self, queue, **more):
        self.commit(queue)
        del self.mine[(queue.topic, queue.number)]
        self.write("left", queue, **more)
        if self.ordered:
            self.call(wire.UNLOCK, body=self._locks([(queue.topic, queue.number)]))

    def drop_all(self):
        for queue in self.mine.values():
            self.write("left", queue)
        self.mine = {}

    def leave(self):
        if self.connection is None:
            return
        for queue in list(self.mine.values()):
            self.release(queue)
        self.call(wire.UNREGISTER_CLIENT, {"clientID": self.client_id, "consumerGroup": self.group})

    def commit(self, queue):
        if queue.committed == queue.offset:
            return
        number, offset = next(self.numbers), queue.offset
        self.write("commit", queue, n=number, offset=offset)
        answer = self.call(wire.UPDATE_OFFSET, {
            "consumerGroup": self.group, "topic": queue.topic, "queueId": queue.number,
            "commitOffset": offset})
        if answer.code == wire.SUCCESS:
            queue.committed = offset
            self.history.write("committed", member=self.name, n=number)

    def pull_all(self):
        for queue in self.mine.values():
            if queue.pull is None:
                queue.pull = self.start_pull(queue)

    def start_pull(self, queue):
        header = wire.pull_header(queue.topic, queue.number, queue.offset, group=self.group,
                                  sys_flag=wire.SUBSCRIPTION | wire.SUSPEND, suspend_ms=15000,
                                  sub_version=1, count=self.chance.choice((1, 8, 32)))
        return self.connection.send(wire.PULL, header, b"", self.codec)

    def consume_all(self):
        for queue in list(self.mine.values()):
            answer = self.connection.answers.pop(queue.pull, None)
            if answer is None:
                continue
            queue.pull = None
            if answer.code == wire.SUCCESS:
                for record in wire.decode_records(answer.body):
                    self.consume(queue, record)
            elif answer.code not in (wire.PULL_NOT_FOUND, wire.PULL_RETRY):
                time.sleep(0.05)
        asked = {queue.pull for queue in self.mine.values()}
        for opaque in set(self.connection.answers) - asked:
            del self.connection.answers[opaque]  # for queues that it has no more

    def consume(self, queue, record):
        self.write("got", queue, offset=record.queue_offset, id=identity(record),
                   sum=history.checksum(record.body))
        if self.retrying and record.reconsume_times < 2 and self.chance.random() < 0.02:
            self.refuse(record)
        queue.offset = record.queue_offset + 1
        time.sleep(self.chance.uniform(0, 2 * self.pause_s))

    def refuse(self, record):
        """Send it back; it is to come again through the retry topic, after a second."""
        again = identity(record, 1)
        self.history.write("send", id=again, topic=self.retry_topic, promise="delivered",
                           sum=history.checksum(record.body), due=time.time() + LEVEL_S)
        answer = self.call(wire.SEND_BACK, {
            "offset": record.position, "group": self.group, "delayLevel": 1,
            "originMsgId": record.properties["soak"], "originTopic": record.topic,
            "unitMode": "false", "maxReconsumeTimes": 16})
        if answer.code == wire.SUCCESS:
            self.history.write("acked", id=again)


class Ordered(Consumer):
    """Each queue is locked for one member, who renews its locks with its heartbeats."""

    ordered = True
    retrying = False

    def beat(self):
        super().beat()
        kept = self.lock(sorted(self.mine)) if self.mine else []
        for place in set(self.mine) - set(kept):
            self.write("left", self.mine.pop(place))


class Each(Consumer):
    """Broadcasting: every member has all queues, keeps its own place and goes on there when the
    broker comes back."""

    retrying = False

    def rebalance(self):
        for topic, number in self.every_queue:
            if (topic, number) not in self.mine:
                queue = Queue(topic, number, self.connection.max_offset(topic, number))
                self.mine[(topic, number)] = queue
                self.write("took", queue, offset=queue.offset, asked=time.time())

    def beat(self):
        self.call(wire.HEARTBEAT, body=wire.heartbeat(
            self.client_id, self.group, [(self.topic, "*", 1)], "BROADCASTING"))

    def commit(self, queue):
        queue.committed = queue.offset

    def drop_all(self):
        for queue in self.mine.values():
            queue.pull = None

    def leave(self):
        """Read on to where the queues end now."""
        if self.connection is None and not self.connect_once():
            return
        goals = {place: self.connection.max_offset(*place) for place in self.mine}
        while self.mine:
            for place, queue in list(self.mine.items()):
                if queue.offset >= goals[place]:
                    self.release(queue, goal=goals[place])
            self.pull_all()
            self.wait_for_frames()
            self.consume_all()

    def connect_once(self):
        try:
            self.connection = wire.Client(self.host, int(self.port), 30)
            return True
        except OSError:
            return False


class Puller(Consumer):
    """A group with one member that pulls as it likes, without a heartbeat, and commits with its
    pulls."""

    retrying = False
    commit_s = float("inf")

    def beat(self):
        pass

    def rebalance(self):
        for place in self.every_queue:
            if place not in self.mine:
                self.take(place)

    def start_pull(self, queue):
        flags = wire.SUBSCRIPTION
        if queue.committed != queue.offset:
            flags |= wire.COMMIT
            queue.commit_number, queue.committing = next(self.numbers), queue.offset
            self.write("commit", queue, n=queue.commit_number, offset=queue.offset)
        else:
            queue.committing = None
        return self.connection.send(wire.PULL, wire.pull_header(
            queue.topic, queue.number, queue.offset, group=self.group, sys_flag=flags,
            commit=queue.offset), b"", self.codec)

    def consume_all(self):
        for queue in self.mine.values():
            answer = self.connection.answers.get(queue.pull)
            if answer is not None and queue.committing is not None and \
                    answer.code in (wire.SUCCESS, wire.PULL_NOT_FOUND):
                queue.committed = queue.committing
                self.history.write("committed", member=self.name, n=queue.commit_number)
        super().consume_all()
        time.sleep(0.02)


class Popper(Member):
    """Leaves it to the broker what it gets, and acknowledges each message, alone or in batches. Some
    it leaves: they come again when the time for which they were invisible is over."""

    invisible_ms = (2000, 4000)
    poll_ms = 1000

    def __init__(self, kind, group, queues=4, **settings):
        super().__init__(**settings)
        self.group = group
        self.retry_topic = pops.retry_topic(self.topic, group)
        self.codec = self.chance.choice((JSON, PROTOBUF))  # ROCKETMQ has no room for the codes
        self.numbers = itertools.count()

    def run(self):
        while self.goes_on():
            if self.connection is None and not self.connect():
                break
            try:
                self.turn()
            except GONE:
                self.disconnect()

    def turn(self):
        answer = self.call(pops.POP, pops.pop_header(
            self.topic, self.group, count=self.chance.choice((1, 8, 32)), poll_ms=self.poll_ms,
            invisible_ms=self.chance.choice(self.invisible_ms)))
        if answer.code != wire.SUCCESS:
            if answer.code != pops.POLLING_TIMEOUT:
                time.sleep(0.05)
            return
        taken = pops.read_popped(answer)
        for message in taken:
            self.history.write("popped", member=self.name, group=self.group, id=identity(message.record),
                               sum=history.checksum(message.body), popped_at=message.pop_ms / 1000,
                               until=(message.pop_ms + message.invisible_ms) / 1000,
                               **self.place(message))
        wanted = [message for message in taken
                  if message.record.reconsume_times >= 2 or self.chance.random() >= 0.03]
        if self.chance.random() < 0.5:
            self.acknowledge_together(wanted)
        else:
            for message in wanted:
                self.acknowledge([message], pops.ACK, {
                    "consumerGroup": self.group, "topic": self.place(message)["topic"],
                    "queueId": message.queue_id, "extraInfo": message.handle,
                    "offset": message.offset})

    def place(self, message):
        return {"topic": self.retry_topic if message.retry == "1" else self.topic,
                "queue": message.queue_id, "offset": message.offset}

    def acknowledge_together(self, messages):
        """A batch for each part of the answer that has a checkpoint of its own."""
        parts = {}
        for message in messages:
            parts.setdefault((message.start, message.pop_ms, message.queue_id, message.retry),
                             []).append(message)
        for (start, pop_ms, queue, retry), some in parts.items():
            bits = sum(1 << message.offset - start for message in some)
            self.acknowledge(some, pops.BATCH_ACK, {}, json.dumps({
                "brokerName": "broker-a", "acks": [{
                    "c": self.group, "t": self.topic, "r": retry, "so": start, "q": queue,
                    "rq": some[0].revive_queue, "pt": pop_ms, "it": some[0].invisible_ms,
                    "b": base64.b64encode(bits.to_bytes(bits.bit_length() // 8 + 1, "little")).decode()
                }]}).encode())

    def acknowledge(self, messages, code, header, body=b""):
        number = next(self.numbers)
        for message in messages:
            self.history.write("ack", n=number, member=self.name, group=self.group,
                               id=identity(message.record), **self.place(message))
        answer = self.call(code, header, body)
        self.history.write("done" if answer.code == wire.SUCCESS else "refused", n=number,
                           member=self.name)


CONSUMERS = {"shared": Consumer, "ordered": Ordered, "each": Each, "puller": Puller,
             "popper": Popper}


def identity(record, more_times=0):
    """The name of a record in the histories: a message that comes again has one of its own."""
    times = record.reconsume_times + more_times
    return record.properties["soak"] + ("+%d" % times if times else "")


def main():
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    settings["history_file"] = settings.pop("history")
    member = (CONSUMERS.get(kind) or ENDERS.get(kind) or Producer)(kind, **settings)
    member.run()


if __name__ == "__main__":
    main()
