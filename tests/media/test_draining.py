"""A stop in good order: calls are let go on, then handed over, and never waited for without end."""

import asyncio
from typing import Any
from unittest import mock

from django.test import SimpleTestCase
from structlog.testing import capture_logs

from calls import admission
from calls.admission import Admission
from media import draining
from media.draining import drain
from media.engine.events import Event, HandOverRequested, ShutdownRequested
from media.live import LiveCalls
from tests.media.fakes import CALL_SID, eventually


class Call:
    """A call of this process that does as it is told, or (`deaf`) does not."""

    def __init__(self, calls: LiveCalls, *, deaf: bool = False) -> None:
        self.call_sid = CALL_SID
        self.told: list[Event] = []
        self._calls, self._deaf = calls, deaf
        calls.add(self)

    def feed(self, event: Event) -> None:
        self.told.append(event)
        if not self._deaf:
            self.end()

    def end(self) -> None:
        self._calls.remove(self)


class DrainingTests(SimpleTestCase):
    def setUp(self) -> None:
        self.admission = Admission(max_calls=0, late_seconds=1.0, journal_reason=str)
        self.enterContext(mock.patch("calls.admission._admission", self.admission))
        self.logs = self.enterContext(capture_logs())
        self.calls = LiveCalls()
        self.times(LINGER=0.0)

    def times(self, **seconds: float) -> None:
        for name, value in seconds.items():
            self.enterContext(mock.patch.object(draining, f"{name}_SECONDS", value))

    def said(self, event: str) -> list[dict[str, Any]]:
        return [dict(line) for line in self.logs if line["event"] == event]

    async def test_a_process_without_calls_is_free_at_once_and_takes_no_more(self) -> None:
        async with asyncio.timeout(5):
            await drain(self.calls, 900)
        self.assertFalse(self.calls.accepting)
        self.assertEqual(self.admission.admit(CALL_SID, 1, 0.0), admission.DRAINING)

    async def test_a_call_goes_on_to_its_own_end_and_is_told_nothing(self) -> None:
        call = Call(self.calls)
        stopping = asyncio.create_task(drain(self.calls, 900))
        await eventually(lambda: not self.calls.accepting)
        self.assertFalse(stopping.done())
        call.end()
        async with asyncio.timeout(5):
            await stopping
        self.assertEqual(call.told, [])

    async def test_calls_that_are_left_when_the_time_is_over_are_handed_over(self) -> None:
        left = [Call(self.calls) for _ in range(3)]
        await drain(self.calls, 0.01)
        self.assertEqual([call.told for call in left], [[HandOverRequested(10.0)]] * 3)
        self.assertEqual([line["live_calls"] for line in self.said("calls_handed_over")], [3])

    async def test_with_nobody_to_hand_over_to_they_end_at_once(self) -> None:
        call = Call(self.calls)
        await drain(self.calls, 0)
        self.assertEqual(call.told, [ShutdownRequested()])

    async def test_a_call_that_does_not_end_is_not_waited_for_without_end(self) -> None:
        self.times(HAND_OVER=0.01, ENDING=0.01)
        for seconds in (0.0, 0.01):
            with self.subTest(seconds=seconds):
                call = Call(self.calls, deaf=True)
                async with asyncio.timeout(5):
                    await drain(self.calls, seconds)
                self.assertEqual(self.said("calls_left_at_stop").pop()["live_calls"], 1)
                call.end()

    async def test_how_many_are_left_is_said_now_and_then_without_their_names(self) -> None:
        self.times(REPORT=0.01)
        call = Call(self.calls)
        stopping = asyncio.create_task(drain(self.calls, 60))
        await eventually(lambda: len(self.said("draining")) > 3)
        call.end()
        await stopping
        self.assertEqual({line["live_calls"] for line in self.said("draining")}, {1})
        self.assertNotIn(CALL_SID, str(self.logs))

    async def test_after_the_last_stream_it_stays_until_the_carrier_has_asked_what_comes_next(self) -> None:
        self.times(LINGER=0.2)
        call = Call(self.calls)
        call.end()
        assert self.calls.last_end is not None
        await drain(self.calls, 900)
        self.assertGreaterEqual(asyncio.get_running_loop().time(), self.calls.last_end + 0.2)
