"""What lies in a real Valkey on a socket; one that refuses, and one that hangs."""

from __future__ import annotations

import json
import time
from typing import Any

from django.test import SimpleTestCase

from console import broker, workers
from tests.calls.valkey import Valkey

QUEUES = ["high", "default"]


class BrokerTest(SimpleTestCase):
    valkey: Valkey

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.valkey = Valkey()
        cls.addClassCleanup(cls.valkey.close)

    def setUp(self) -> None:
        self.client_ = self.valkey.client()
        self.client_.flushall()
        self.addCleanup(self.client_.close)

    def put(self, queue: str, *sent_at: Any) -> None:
        for time_ in sent_at:
            self.client_.lpush(queue, json.dumps({"body": "", "headers": {} if time_ is None else {"sent_at": time_}}))

    def test_an_empty_broker_has_nothing_and_nobody(self) -> None:
        found = broker.ask(QUEUES, self.valkey.url)
        self.assertEqual((found.error, found.depth, found.sent_at), ("", {"high": 0, "default": 0}, {}))
        self.assertEqual((found.workers["high"], found.held, found.orphaned), (0, 0, 0))
        self.assertLess(abs(found.now - time.time()), 5)

    def test_depth_and_the_oldest_of_each_queue(self) -> None:
        self.put("high", 100.0, 200.0)
        self.put("default", None)
        self.put("default\x06\x163", 300.0)  # kombu's list of a lower priority
        found = broker.ask(QUEUES, self.valkey.url)
        self.assertEqual(found.depth, {"high": 2, "default": 2})
        self.assertEqual(found.sent_at, {"high": 100.0})  # the other one's message does not say

    def test_what_workers_hold_and_what_nobody_holds(self) -> None:
        now = time.time()
        for tag, queue, taken_at in (("a", "high", now), ("b", "default", now - 60), ("c", "default", now - 5)):
            self.client_.hset("unacked", tag, json.dumps([{"body": "x"}, "", queue]))
            self.client_.zadd("unacked_index", {tag: taken_at})
        found = broker.ask(QUEUES, self.valkey.url)
        self.assertEqual((found.held, found.orphaned), (3, 1))
        self.assertEqual(found.unacknowledged, {"high": 1, "default": 2})

    def test_of_too_many_held_messages_the_queues_are_not_looked_for(self) -> None:
        self.client_.hset("unacked", mapping={str(n): json.dumps([{}, "", "high"]) for n in range(201)})
        found = broker.ask(QUEUES, self.valkey.url)
        self.assertEqual((found.held, found.unacknowledged), (201, None))

    def test_workers_that_beat_count_for_each_of_their_queues(self) -> None:
        workers.beat(self.client_, "w1", ["high", "default"])
        workers.beat(self.client_, "w2", ["default"])
        dead = {"queues": ["high"], "seen_at": time.time() - 60}
        self.client_.hset(workers.KEY, mapping={"w3": json.dumps(dead), "of another release": "?"})
        self.assertEqual(broker.ask(QUEUES, self.valkey.url).workers, {"high": 1, "default": 2})
        workers.leave(self.client_, "w2")
        self.assertEqual(broker.ask(QUEUES, self.valkey.url).workers, {"high": 1, "default": 1})

    def test_workers_that_died_long_ago_are_forgotten(self) -> None:
        self.client_.hset(workers.KEY, "old", json.dumps({"queues": ["high"], "seen_at": 5.0}))
        workers.beat(self.client_, "new", ["high"])
        self.assertEqual(self.client_.hkeys(workers.KEY), [b"new"])

    def test_a_broker_that_refuses_or_hangs_is_given_up_in_time(self) -> None:
        began = time.monotonic()
        self.assertEqual(broker.ask(QUEUES, "redis://127.0.0.1:1/0").error, "ConnectionError")
        self.valkey.hang()
        self.addCleanup(self.valkey.go_on)
        for _ in range(2):
            self.assertEqual(broker.ask(QUEUES, self.valkey.url).error, "TimeoutError")
        self.assertLess(time.monotonic() - began, 3 * broker.DEADLINE_SECONDS + 0.5)
        self.valkey.go_on()
        self.assertEqual(broker.ask(QUEUES, self.valkey.url).error, "")


class MessageTest(SimpleTestCase):
    def test_a_message_that_says_nothing_of_its_time_has_none(self) -> None:
        for message in (None, b"", b"[]", b"x", b'{"headers": {"sent_at": null}}', b'{"headers": null}'):
            self.assertIsNone(broker.sent_at(message), message)
        self.assertEqual(broker.sent_at(b'{"headers": {"sent_at": 12.5}}'), 12.5)
