# SPDX-License-Identifier: Apache-2.0
"""SQL92 filters: pulls with an expression of their own or of their group, errors, waking up, retry
topics, and the table of filters in consumerFilter.json.

What expressions mean is shown by test/unit/filter. Source of the rules here: PullMessageProcessor,
ClientManageProcessor, ConsumerFilterManager and ExpressionForRetryMessageFilter of RocketMQ 4.9.2;
docs/diff.md says where we differ.
"""

import glob
import json
import time

import rocketmq
from broker import (Broker, BrokerTest, CHECK_CLIENT, FILTER_NOT_EXIST, FILTER_NOT_LATEST,
                    HEARTBEAT, PARSE_FAILED, PULL_NOT_FOUND, PULL_RETRY, QUERY_CONSUME_QUEUE,
                    SEND_BATCH, SUBSCRIPTION_NOT_EXIST, SUCCESS, SYSTEM_ERROR, UNREGISTER_CLIENT,
                    UPDATE_CONFIG, batch_body, decode_records, heartbeat, subscription_body)
from broker_cold import make_cold
from rocketmq import parse_json, wait_until, with_times, within

SQL = {"expressionType": "SQL92"}
ROOM_IN_BATCH = 200


class FilterTest(BrokerTest):
    options = {"enablePropertyFilter": "true"}

    def fill(self, topic, messages):
        """Send bodies with properties, and wait until they are readable."""
        before = self.client.max_offset(topic)
        for at in range(0, len(messages), ROOM_IN_BATCH):
            answer = self.client.produce(topic, batch_body(messages[at:at + ROOM_IN_BATCH]),
                                         code=SEND_BATCH, m="true")
            self.assertEqual(answer.code, SUCCESS, answer)
        wait_until(lambda: self.client.max_offset(topic) == before + len(messages), "dispatched")

    def numbered(self, count, body=b""):
        """A topic with messages 0 to count - 1, which have their number as property n."""
        topic = self.topic()
        self.fill(topic, [(b"%d" % i + body, {"n": i, "odd": "yes" if i % 2 else "no"})
                          for i in range(count)])
        return topic

    def pull(self, topic, expression, offset=0, **other):
        return self.client.pull(topic, 0, offset, tags=expression, **{**SQL, **other})

    def bodies(self, answer):
        self.assertEqual(answer.code, SUCCESS, answer)
        return [record.body for record in decode_records(answer.body)]

    def beat(self, group, *subscriptions, client=None):
        answer = (client or self.client).call(HEARTBEAT,
                                              body=heartbeat("c-" + group, group, subscriptions))
        self.assertEqual(answer.code, SUCCESS, answer)

    def read(self, topic, expression, **other):
        """All matching bodies of the queue, from its beginning; and how many pulls it took."""
        bodies, offset, pulls = [], 0, 0
        while True:
            answer = self.pull(topic, expression, offset, **other)
            pulls += 1
            if answer.code == PULL_NOT_FOUND:
                return bodies, pulls
            self.assertIn(answer.code, (SUCCESS, PULL_RETRY), answer)
            self.assertGreater(int(answer.ext["nextBeginOffset"]), offset)
            bodies += [record.body for record in decode_records(answer.body)]
            offset = int(answer.ext["nextBeginOffset"])


class Pulls(FilterTest):
    def test_own_expressions(self):
        topic = self.numbered(10)
        for text, numbers in (("n > 7", b"89"), ("n BETWEEN 2 AND 4 AND odd = 'no'", b"24"),
                              ("odd IN ('yes') AND NOT (n >= 5)", b"13"), ("n <> 0 AND n < 3", b"12"),
                              ("nothing IS NULL AND n = 7", b"7"), ("n > 7 foo", b"89")):
            answer = self.pull(topic, text)
            self.assertEqual(b"".join(self.bodies(answer)), numbers, text)
            self.assertEqual(answer.ext["nextBeginOffset"], "10")
        answer = self.pull(topic, "n > 100")
        self.assertEqual((answer.code, answer.remark), (PULL_RETRY, "NO_MATCHED_MESSAGE"))
        self.assertEqual(answer.ext["nextBeginOffset"], "10")

    def test_the_servers_properties_count_too(self):
        topic = self.topic()
        self.sent(topic, b"1", properties={"TAGS": "a", "KEYS": "k1"})
        self.sent(topic, b"2", properties={"TAGS": "b", "KEYS": "k2"})
        self.stored(topic, 0, 2)
        self.assertEqual(self.bodies(self.pull(topic, "TAGS = 'b' AND KEYS IN ('k2')")), [b"2"])

    def test_a_selective_expression_over_a_backlog(self):
        count = 5000
        topic = self.numbered(count)
        bodies, pulls = self.read(topic, "n >= 4990 OR n = 17 OR n = 2500")
        self.assertEqual(bodies, [b"17", b"2500"] + [b"%d" % i for i in range(4990, count)])
        self.assertLess(pulls, 200)

    def test_errors_are_told(self):
        topic = self.numbered(1)
        answer = self.pull(topic, "n > 3 AND")
        self.assertEqual(answer.code, PARSE_FAILED)
        self.assertTrue(answer.remark.startswith("parse the consumer's subscription failed"))
        self.assertIn("character 10", answer.remark)
        answer = self.pull(topic, "n > 3", expressionType="XPATH")
        self.assertEqual(answer.code, PARSE_FAILED)
        self.assertIn("XPATH", answer.remark)
        self.assertEqual(self.pull(topic, "").code, PARSE_FAILED)
        self.assertEqual(self.pull(topic, "(" * 60000).code, PARSE_FAILED)
        self.assertEqual(self.pull(topic, "n = 1" + " " * 70000).code, PARSE_FAILED)

    def check(self, text, expression_type="SQL92"):
        body = {"clientId": "c", "group": "g",
                "subscriptionData": subscription_body("t", text, 1, expression_type)}
        return self.client.call(CHECK_CLIENT, body=json.dumps(body).encode())

    def test_check_client_config(self):
        self.assertEqual(self.check("a > 3 AND b = 'x'").code, SUCCESS)
        self.assertEqual(self.check("a||b", "TAG").code, SUCCESS)
        answer = self.check("a > 'x'")
        self.assertEqual(answer.code, PARSE_FAILED)
        self.assertIn("character 5", answer.remark)
        self.assertEqual(self.check("a > 3", "NONE").code, PARSE_FAILED)
        self.assertEqual(self.client.call(CHECK_CLIENT, body=b"{}").code, SUCCESS)


class Groups(FilterTest):
    def of_group(self, topic, group, version, offset=0):
        return self.client.pull(topic, 0, offset, group=group, sys_flag=0, sub_version=version)

    def test_each_group_has_its_own(self):
        topic = self.numbered(9)
        self.beat("Low", (topic, "n < 3", 1, "SQL92"))
        self.beat("High", (topic, "n > 6", 1, "SQL92"))
        self.beat("Plain", (topic, "*", 1))
        for group, bodies in (("Low", b"012"), ("High", b"78"), ("Plain", b"012345678")):
            self.assertEqual(b"".join(self.bodies(self.of_group(topic, group, 1))), bodies)

    def test_versions(self):
        topic = self.numbered(5)
        self.assertEqual(self.of_group(topic, "V", 1).code, SUBSCRIPTION_NOT_EXIST)
        self.beat("V", (topic, "n = 1", 5, "SQL92"))
        self.assertEqual(self.bodies(self.of_group(topic, "V", 5)), [b"1"])
        self.beat("V", (topic, "n = 2", 4, "SQL92"))
        self.assertEqual(self.bodies(self.of_group(topic, "V", 5)), [b"1"])
        self.beat("V", (topic, "n = 2", 6, "SQL92"))
        self.assertEqual(self.bodies(self.of_group(topic, "V", 6)), [b"2"])

    def test_an_expression_that_is_wrong(self):
        topic = self.numbered(2)
        self.beat("W", (topic, "n > 'x'", 5, "SQL92"))
        answer = self.of_group(topic, "W", 5)
        self.assertEqual(answer.code, FILTER_NOT_EXIST)
        self.assertTrue(answer.remark.startswith("The broker's consumer filter data is not exist!"
                                                 "Your expression may be wrong!"))
        self.assertIn("character 5", answer.remark)
        # It takes the place of a right one, and a right one takes its place.
        self.beat("W", (topic, "n = 1", 6, "SQL92"))
        self.assertEqual(self.bodies(self.of_group(topic, "W", 6)), [b"1"])
        self.beat("W", (topic, "n >", 7, "SQL92"))
        self.assertEqual(self.of_group(topic, "W", 7).code, FILTER_NOT_EXIST)

    def test_a_filter_that_is_behind_its_subscription(self):
        """One heartbeat has 256 KiB of expressions compiled (common/base/limits.h): with more, the
        subscriptions are newer than the filters of the last ones. Those are not used in place of
        the new ones; the consumer is told, and asks again after its next heartbeat."""
        topics = [self.numbered(3) for _ in range(6)]

        def beat(number, version):
            self.beat("Behind", *((topic, f"n = {number}".ljust(60000), version, "SQL92")
                                  for topic in topics))

        for _ in range(3):
            beat(1, 5)
        for topic in topics:
            self.assertEqual(self.bodies(self.of_group(topic, "Behind", 5)), [b"1"])
        beat(2, 6)
        self.assertEqual(self.bodies(self.of_group(topics[0], "Behind", 6)), [b"2"])
        answer = self.of_group(topics[-1], "Behind", 6)
        self.assertEqual((answer.code, answer.remark),
                         (FILTER_NOT_LATEST, "the consumer's consumer filter data not latest"))
        # A member of the group that has not heard of the new one goes on with the old.
        self.assertEqual(self.bodies(self.of_group(topics[-1], "Behind", 5)), [b"1"])
        for _ in range(2):
            beat(2, 6)
        for topic in topics:
            self.assertEqual(self.bodies(self.of_group(topic, "Behind", 6)), [b"2"])

    def test_a_filter_grows_only(self):
        """A filter's version only grows, also when the subscription has begun anew."""
        topic = self.numbered(2)
        self.beat("B", (topic, "n = 1", 5, "SQL92"))
        self.beat("B", (topic, "*", 9))
        self.beat("B")
        self.beat("B", (topic, "n = 0", 3, "SQL92"))  # below the filter's version: not taken
        self.assertEqual(self.bodies(self.of_group(topic, "B", 3)), [b"1"])
        self.beat("B", (topic, "*", 9))
        self.beat("B", (topic, "*", 10))
        self.beat("B", (topic, "n = 0", 11, "SQL92"))
        self.assertEqual(self.bodies(self.of_group(topic, "B", 11)), [b"0"])

    def test_query_consume_queue_shows_it(self):
        topic = self.numbered(2)
        self.beat("Q", (topic, "n = 1", 5, "SQL92"))
        answer = self.client.call(QUERY_CONSUME_QUEUE, {
            "topic": topic, "queueId": 0, "index": 0, "count": 2, "consumerGroup": "Q"})
        data = parse_json(answer.json()["filterData"])
        self.assertEqual((data["expression"], data["clientVersion"], data["dead"]),
                         ("n = 1", 5, False))


class Waking(FilterTest):
    def test_only_what_matches_wakes(self):
        topic = self.topic()
        self.beat("Wake", (topic, "n > 5", 1, "SQL92"))
        own = self.client.start_held_pull(topic, tags="n > 5", **SQL)
        group = self.client.start_held_pull(topic, group="Wake", flags=0, sub_version=1)
        other = self.connect()
        for n in (1, 5, "x"):
            other.produce(topic, properties={"n": n})
        other.produce(topic)
        self.assertTrue(self.client.is_silent(0.5))
        other.produce(topic, b"six", properties={"n": 6})
        for opaque in (own, group):
            answer = self.client.read_answer(opaque)
            self.assertEqual(self.bodies(answer), [b"six"])
            self.assertEqual(answer.ext["nextBeginOffset"], "5")

    @with_times(1500, 20000)
    def test_time_out_behind_what_did_not_match(self, time_ms):
        topic, other = self.topic(), self.connect()
        with within(time_ms):
            opaque = self.client.start_pull(topic, tags="n > 5", suspend_ms=time_ms, **SQL)
            self.assertTrue(self.client.is_silent(0.1))
            other.produce(topic, properties={"n": 1})
            wait_until(lambda: other.max_offset(topic) == 1, "it is dispatched")
        answer = self.client.read_answer(opaque)
        self.assertEqual((answer.code, answer.ext["nextBeginOffset"]), (PULL_RETRY, "1"))

    def test_more_arrives_than_one_look_takes(self):
        """A look takes at most 800 entries: what lies behind is found all the same."""
        topic = self.topic()
        opaque = self.client.start_pull(topic, tags="n = 'last'", **SQL)
        self.assertTrue(self.client.is_silent(0.1))
        other = self.connect()
        messages = [(b"", {"n": i}) for i in range(2999)] + [(b"found", {"n": "last"})]
        for at in range(0, len(messages), 1000):
            other.produce(topic, batch_body(messages[at:at + 1000]), code=SEND_BATCH, m="true")
        answer = self.client.read_answer(opaque)
        while answer.code == PULL_RETRY:
            offset = int(answer.ext["nextBeginOffset"])
            opaque = self.client.start_pull(topic, 0, offset, tags="n = 'last'", **SQL)
            answer = self.client.read_answer(opaque)
        self.assertEqual(self.bodies(answer), [b"found"])

    def test_one_connection_holds_a_bounded_share(self):
        """Pulls with expressions of their own, more than 250 KB each: the broker keeps 8 MiB."""
        topic = self.topic()
        text = "n IN (" + ", ".join(f"'{i:06}'" for i in range(6000)) + ")"
        opaques = [self.client.start_pull(topic, tags=text, **SQL) for _ in range(100)]
        answer = self.client.read_answer(opaques[-1])
        self.assertEqual(answer.code, PULL_NOT_FOUND)
        held = [opaque for opaque in opaques if opaque not in self.client.answers][:-1]
        self.assertGreater(len(held), 5)
        self.assertLess(len(held), 60)
        self.connect().produce(topic, properties={"n": "000001"})
        for opaque in held:
            self.assertEqual(self.client.read_answer(opaque).code, SUCCESS)


class Switches(FilterTest):
    options = {}

    def update(self, text):
        self.assertEqual(self.client.call(UPDATE_CONFIG, body=text.encode()).code, SUCCESS)

    def test_off_unless_asked_for(self):
        topic = self.numbered(2)
        body = {"clientId": "c", "group": "g",
                "subscriptionData": subscription_body(topic, "n = 1", 1, "SQL92")}
        self.beat("Off", (topic, "n = 1", 1, "SQL92"))

        def answers():
            return (self.client.call(CHECK_CLIENT, body=json.dumps(body).encode()),
                    self.pull(topic, "n = 1"), self.pull(topic, "n >"),
                    self.client.pull(topic, group="Off", sys_flag=0, sub_version=1))
        for answer in answers():
            self.assertEqual(answer.code, SYSTEM_ERROR)
            self.assertTrue(answer.remark.startswith(
                "The broker does not support consumer to filter message by SQL92"), answer)
        self.update("enablePropertyFilter=true")
        self.assertEqual([answer.code for answer in answers()],
                         [SUCCESS, SUCCESS, PARSE_FAILED, SUCCESS])
        self.update("enablePropertyFilter=false")

    def test_retry_topics(self):
        """filterSupportRetry: by the filter of the topic that the message came from."""
        source, plain = self.topic(), self.topic()
        self.beat("Again", (source, "n > 1", 1, "SQL92"), ("%RETRY%Again", "*", 1))
        self.sent("%RETRY%Again", b"1", l="16", properties={"RETRY_TOPIC": source, "n": 1})
        self.sent("%RETRY%Again", b"2", l="16", properties={"RETRY_TOPIC": source, "n": 2})
        self.sent("%RETRY%Again", b"3", l="16", properties={"RETRY_TOPIC": plain, "n": 1})
        self.sent("%RETRY%Again", b"4", l="16", properties={"n": 1})
        wait_until(lambda: self.client.max_offset("%RETRY%Again") == 4, "dispatched")

        def retried():
            return b"".join(self.bodies(self.client.pull("%RETRY%Again", group="Again", sys_flag=0,
                                                         sub_version=1)))
        self.assertEqual(retried(), b"1234")
        self.update("filterSupportRetry=true")
        self.assertEqual(retried(), b"234")
        opaque = self.client.start_held_pull("%RETRY%Again", 0, 4, group="Again", flags=0,
                                             sub_version=1)
        other = self.connect()
        other.produce("%RETRY%Again", b"5", l="16", properties={"RETRY_TOPIC": source, "n": 1})
        self.assertTrue(self.client.is_silent(0.5), self.client.answers)
        other.produce("%RETRY%Again", b"6", l="16", properties={"RETRY_TOPIC": source, "n": 7})
        self.assertEqual(self.bodies(self.client.read_answer(opaque)), [b"6"])
        self.update("filterSupportRetry=false")
        self.assertEqual(retried(), b"123456")


class Table(FilterTest):
    """consumerFilter.json."""

    def stored_filter(self, topic, group):
        text = self.broker.read("store/config/consumerFilter.json")
        table = parse_json(text) if text else {"filterDataByTopic": {}}
        return table["filterDataByTopic"].get(topic, {}).get("groupFilterData", {}).get(group)

    def test_it_is_kept(self):
        topic = self.numbered(3)
        consumer = self.connect()
        self.beat("Kept", (topic, "n = 2", 7, "SQL92"), client=consumer)
        wait_until(lambda: self.stored_filter(topic, "Kept"), "the table is saved")
        data = self.stored_filter(topic, "Kept")
        born = data["bornTime"]
        self.assertLess(abs(born - time.time() * 1000), 600000)
        self.assertEqual((data["expression"], data["expressionType"], data["clientVersion"],
                          data["consumerGroup"], data["topic"], data["dead"], data["deadTime"]),
                         ("n = 2", "SQL92", 7, "Kept", topic, False, 0))
        self.assertEqual(data["bloomFilterData"]["bitNum"], 112)
        self.assertEqual(len(data["bloomFilterData"]["bitPos"]), 3)
        consumer.call(UNREGISTER_CLIENT, {"clientID": "c-Kept", "consumerGroup": "Kept"})
        wait_until(lambda: self.stored_filter(topic, "Kept")["dead"], "it has died")
        self.assertGreaterEqual(self.stored_filter(topic, "Kept")["deadTime"], born)
        self.assertEqual(self.broker.stop(), 0)
        self.broker.start()
        self.client = self.connect()
        # It is the same one that comes to life again.
        self.beat("Kept", (topic, "n = 1", 7, "SQL92"))
        answer = self.client.pull(topic, group="Kept", sys_flag=0, sub_version=7)
        self.assertEqual(self.bodies(answer), [b"2"])
        wait_until(lambda: not self.stored_filter(topic, "Kept")["dead"], "it lives")
        self.assertEqual(self.stored_filter(topic, "Kept")["bornTime"], born)

    def test_a_damaged_table_costs_nothing(self):
        broker = Broker(enablePropertyFilter="true")
        self.addCleanup(broker.remove)
        broker.start()
        self.assertEqual(broker.stop(), 0)
        with open(broker.path("store/config/consumerFilter.json"), "w", encoding="ascii") as file:
            file.write("{broken")
        broker.start()
        self.assertIn("stored filters are lost", broker.log())


class Cold(FilterTest):
    """A backlog on disk is filtered there, and nothing is missed."""
    options = {"enablePropertyFilter": "true", "mappedFileSizeCommitLog": 1 << 20,
               "coldReadCacheBytes": 4 << 20, "maxMessageSize": 65536}

    def test_all_of_it(self):
        topic = self.topic()
        count = 3000
        for at in range(0, count, 10):
            self.fill(topic, [(b"%d-" % i + b"x" * 4000, {"n": i})
                              for i in range(at, at + 10)])
        self.assertEqual(self.broker.stop(), 0)
        for path in sorted(glob.glob(self.broker.path("store/commitlog/*")))[:-2]:
            make_cold(path)
        self.broker.start()
        self.client = self.connect()
        bodies, _ = self.read(topic, "n BETWEEN 1000 AND 1009 OR n = 2999 OR n = 0")
        self.assertEqual([int(body.split(b"-")[0]) for body in bodies],
                         [0, *range(1000, 1010), 2999])


if __name__ == "__main__":
    rocketmq.main("broker_filter")
