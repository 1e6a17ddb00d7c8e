"""The recorder: a call never waits for what is written of it, and what is written gets there."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from django.db import OperationalError
from django.test import SimpleTestCase, TransactionTestCase

from calls import recorder as recorder_module
from calls import services
from calls.models import CallLog, ConversationTurn
from calls.publishing import Breaker, BrokerUnwell, Publisher
from calls.recorder import Recorder
from calls.transcripts import render
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER, a_business, a_turn
from tests.calls.valkey import Valkey

NOWHERE = "redis+socket:///nonexistent/s?virtual_host=0"
SPOKEN = "nobody else may read this"


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError("it did not come to pass in time")
        time.sleep(0.01)


class BrokenPublisher(Publisher):
    """A broker that refuses, or takes everything and keeps it, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.well = False
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, kind: str, arguments: dict[str, Any]) -> None:
        self.asked += 1
        self.gate.wait(30)
        if not self.well:
            raise BrokerUnwell("ConnectionError")
        self.taken.append((kind, arguments))


class RecorderTest(TransactionTestCase):
    """TransactionTestCase: the recorder writes from its own threads."""

    def setUp(self) -> None:
        self.business, _ = a_business()
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}

    def recorder(self, publisher: Publisher, **options: Any) -> Recorder:
        recorder = Recorder(publisher=publisher, **options)
        self.addCleanup(recorder.close, 1)
        return recorder

    def a_whole_call(self, recorder: Recorder, turns: int = 3) -> None:
        recorder.create_call_log(**self.call, from_number=CALLER, to_number=OUR_NUMBER, direction="inbound")
        said = [a_turn(index, user_text=SPOKEN) for index in range(turns)]
        for turn in said:
            recorder.save_conversation_turn(**self.call, **turn)
        recorder.finalize_call_log(
            **self.call, status="completed", duration_seconds=5, transcript=render(said), turns=said
        )

    def assert_written(self, turns: int = 3) -> None:
        call = CallLog.objects.get()
        self.assertTrue(call.is_complete)
        self.assertEqual(call.turns.count(), turns)

    def assert_quick(self, recorder: Recorder) -> None:
        """100 facts from an event loop. Each takes well under a millisecond on a quiet machine; this one is shared."""
        times: list[float] = []

        async def speak() -> None:
            for index in range(100):
                began = time.perf_counter()
                recorder.save_conversation_turn(**self.call, **a_turn(index))
                times.append(time.perf_counter() - began)
                await asyncio.sleep(0)

        asyncio.run(speak())
        self.assertLess(sorted(times)[50], 0.005)
        self.assertLess(max(times), 0.1)

    # -- the broker ------------------------------------------------------------------------------------------

    def test_a_broker_that_is_up_gets_every_fact_on_its_queue(self) -> None:
        valkey = Valkey()
        self.addCleanup(valkey.close)
        recorder = self.recorder(Publisher(valkey.broker_url))
        self.a_whole_call(recorder)
        self.assertTrue(recorder.close(20))
        self.assertEqual(recorder.counters().published, 5)
        self.assertFalse(CallLog.objects.exists())
        queued = {queue: [json.loads(raw) for raw in valkey.queued(queue)] for queue in ("high", "default")}
        names = {queue: sorted(message["headers"]["task"] for message in found) for queue, found in queued.items()}
        self.assertEqual(names["high"], ["calls.tasks.create_call_log", "calls.tasks.finalize_call_log"])
        self.assertEqual(names["default"], ["calls.tasks.save_conversation_turn"] * 3)
        for message in queued["high"] + queued["default"]:
            self.assertNotIn(SPOKEN, str(message["headers"]))
            self.assertIn(CALL_SID, message["headers"]["kwargsrepr"])

    def test_a_broker_that_refuses_costs_the_call_nothing_and_rows_appear(self) -> None:
        recorder = self.recorder(Publisher(NOWHERE))
        with self.assertLogs("calls.recorder", "WARNING") as logs:
            self.assert_quick(recorder)
            self.assertTrue(recorder.close(30))
        self.assertEqual(ConversationTurn.objects.count(), 100)
        self.assertEqual(recorder.counters().direct, 100)
        self.assertEqual(len(logs.records), 3)  # then the breaker is open
        self.assertNotIn("answer", str([vars(record) for record in logs.records]))

    def test_a_broker_that_hangs_costs_the_call_nothing_and_rows_appear(self) -> None:
        valkey = Valkey()
        self.addCleanup(valkey.close)
        recorder = self.recorder(Publisher(valkey.broker_url))
        recorder.create_call_log(**self.call, from_number=CALLER, to_number=OUR_NUMBER, direction="inbound")
        until(lambda: recorder.counters().published == 1)
        valkey.hang()
        began = time.monotonic()
        with self.assertLogs("calls.recorder", "WARNING"):
            self.assert_quick(recorder)
            self.assertTrue(recorder.close(30))
        self.assertEqual(ConversationTurn.objects.count(), 100)
        self.assertLess(time.monotonic() - began, 15)

    def test_a_broker_that_hung_is_used_again_when_it_goes_on(self) -> None:
        valkey = Valkey()
        self.addCleanup(valkey.close)
        recorder = self.recorder(Publisher(valkey.broker_url))
        recorder._breaker = Breaker(pause=0.2)
        valkey.hang()
        with self.assertLogs("calls.recorder", "WARNING"):
            for index in range(3):
                recorder.save_conversation_turn(**self.call, **a_turn(index))
            until(lambda: recorder.counters().direct == 3)
        valkey.go_on()
        until(lambda: not recorder._breaker.is_open(time.monotonic()))
        recorder.save_conversation_turn(**self.call, **a_turn(3))
        until(lambda: recorder.counters().published == 1)

    def test_after_three_failures_the_broker_is_left_alone(self) -> None:
        publisher = BrokenPublisher()
        recorder = self.recorder(publisher)
        with self.assertLogs("calls.recorder", "WARNING"):
            self.a_whole_call(recorder, turns=20)
            self.assertTrue(recorder.close(20))
        self.assertEqual(publisher.asked, 3)
        self.assert_written(turns=20)

    # -- the database ----------------------------------------------------------------------------------------

    def test_without_broker_and_database_facts_wait_in_order(self) -> None:
        recorder = self.recorder(BrokenPublisher())
        away = True
        written: list[int] = []
        write = services.save_conversation_turn

        def save(**arguments: Any) -> bool:
            if away:
                raise OperationalError(SPOKEN)
            written.append(arguments["turn_index"])
            return write(**arguments)

        with (
            mock.patch.object(services, "save_conversation_turn", save),
            self.assertLogs("calls.recorder", "WARNING") as logs,
        ):
            for index in range(10):
                recorder.save_conversation_turn(**self.call, **a_turn(index))
            self.assertFalse(recorder.close(0.3))
            self.assertEqual(recorder.counters().waiting, 10)
            away = False
            self.assertTrue(recorder.close(20))
        self.assertEqual(written, list(range(10)))
        self.assertNotIn(SPOKEN, str([vars(record) for record in logs.records]))

    def test_facts_that_waited_go_to_the_broker_once_it_is_back(self) -> None:
        publisher = BrokenPublisher()
        recorder = self.recorder(publisher)
        recorder._breaker = Breaker(pause=0.1)
        with (
            mock.patch.object(services, "save_conversation_turn", side_effect=OperationalError),
            self.assertLogs("calls.recorder", "WARNING"),
        ):
            for index in range(5):
                recorder.save_conversation_turn(**self.call, **a_turn(index))
            until(lambda: publisher.asked >= 3)
            publisher.well = True
            self.assertTrue(recorder.close(20))
        self.assertEqual({arguments["turn_index"] for _, arguments in publisher.taken}, set(range(5)))

    def test_a_database_that_hangs_is_given_up_on_and_done_later(self) -> None:
        recorder = self.recorder(BrokenPublisher())
        release = threading.Event()
        self.addCleanup(release.set)
        write = services.save_conversation_turn

        def save(**arguments: Any) -> bool:
            release.wait(30)
            return write(**arguments)

        with (
            mock.patch.object(services, "save_conversation_turn", save),
            mock.patch.object(recorder_module, "DIRECT_DEADLINE_SECONDS", 0.05),
            self.assertLogs("calls.recorder", "WARNING"),
        ):
            recorder.save_conversation_turn(**self.call, **a_turn(0))
            self.assertFalse(recorder.close(0.3))
            release.set()
            self.assertTrue(recorder.close(20))
        self.assertEqual(ConversationTurn.objects.get().turn_index, 0)

    def test_a_fact_that_cannot_be_written_does_not_stop_the_others(self) -> None:
        recorder = self.recorder(BrokenPublisher())
        with (
            mock.patch.object(services, "save_conversation_turn", side_effect=TypeError(SPOKEN)),
            self.assertLogs("calls.recorder", "WARNING") as logs,
        ):
            self.a_whole_call(recorder)
            self.assertTrue(recorder.close(20))
        self.assert_written()
        self.assertEqual(recorder.counters().dropped, 3)
        self.assertNotIn(SPOKEN, str([vars(record) for record in logs.records]))

    # -- bounds ----------------------------------------------------------------------------------------------

    def test_when_too_many_wait_turns_are_shed_and_the_end_is_kept(self) -> None:
        publisher = BrokenPublisher()
        publisher.gate.clear()
        self.addCleanup(publisher.gate.set)
        recorder = self.recorder(publisher, max_waiting=4)
        with self.assertLogs("calls.recorder", "WARNING"):
            self.a_whole_call(recorder, turns=20)
            self.assertEqual(recorder.counters().dropped, 17)
            publisher.gate.set()
            self.assertTrue(recorder.close(20))
        self.assert_written(turns=20)

    def test_a_recorder_that_was_closed_starts_again(self) -> None:
        publisher = BrokenPublisher()
        publisher.well = True
        recorder = self.recorder(publisher)
        for index in range(3):
            recorder.save_conversation_turn(**self.call, **a_turn(index))
            self.assertTrue(recorder.close(20))
        self.assertEqual(len(publisher.taken), 3)

    def test_a_fact_carries_the_time_it_was_heard_of(self) -> None:
        publisher = BrokenPublisher()
        publisher.well = True
        recorder = self.recorder(publisher)
        self.a_whole_call(recorder, turns=0)
        recorder.apply_call_status(**self.call, status="completed", sequence_number=1)
        recorder.close(20)
        (_, created), (_, finalized), (_, status) = publisher.taken
        for time_ in (created["occurred_at"], finalized["ended_at"], status["occurred_at"]):
            self.assertRegex(time_, r"\A\d{4}-\d\d-\d\dT.*\+00:00\Z")

    def test_there_is_one_recorder_for_each_process(self) -> None:
        self.assertIs(recorder_module.get_recorder(), recorder_module.get_recorder())


class BreakerTest(SimpleTestCase):
    def test_it_opens_after_three_failures_in_a_row_and_lets_one_try_through_later(self) -> None:
        breaker = Breaker()
        breaker.failed(0)
        breaker.failed(0)
        breaker.succeeded()
        for _ in range(2):
            breaker.failed(1)
        self.assertFalse(breaker.is_open(1))
        breaker.failed(1)
        self.assertTrue(breaker.is_open(5.9))
        self.assertFalse(breaker.is_open(6))
        breaker.failed(6)  # the one try
        self.assertTrue(breaker.is_open(10.9))
        breaker.succeeded()
        self.assertFalse(breaker.is_open(10.9))
