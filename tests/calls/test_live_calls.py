"""The calls this process carries."""

from __future__ import annotations

from django.core.cache import cache
from django.test import SimpleTestCase

from calls import live_calls
from calls.live_calls import AskedTransfer
from tests.calls.support import CALL_SID


class LiveCallsTest(SimpleTestCase):
    def setUp(self) -> None:
        self.told: list[str] = []
        self.addCleanup(live_calls.unregister, CALL_SID)

    def first(self) -> None:
        self.told.append("first")

    def second(self) -> None:
        self.told.append("second")

    def test_a_registered_call_is_told_that_it_is_over(self) -> None:
        live_calls.register(CALL_SID, self.first)
        self.assertTrue(live_calls.notify_completed(CALL_SID))
        self.assertEqual(self.told, ["first"])

    def test_nobody_is_told_of_a_call_that_is_not_here(self) -> None:
        self.assertFalse(live_calls.notify_completed(CALL_SID))
        live_calls.register(CALL_SID, self.first)
        live_calls.unregister(CALL_SID)
        self.assertFalse(live_calls.notify_completed(CALL_SID))
        self.assertEqual(self.told, [])

    def test_a_stream_that_ends_late_does_not_take_its_successor_away(self) -> None:
        live_calls.register(CALL_SID, first := self.first)
        live_calls.register(CALL_SID, self.second)
        live_calls.unregister(CALL_SID, first)
        live_calls.notify_completed(CALL_SID)
        self.assertEqual(self.told, ["second"])

    def test_a_closed_loop_is_no_harm(self) -> None:
        def closed() -> None:
            raise RuntimeError("Event loop is closed")

        live_calls.register(CALL_SID, closed)
        with self.assertLogs("calls.live_calls", "INFO"):
            self.assertFalse(live_calls.notify_completed(CALL_SID))

    def test_how_a_call_ended_is_remembered_for_the_last_thousand(self) -> None:
        live_calls.note_ended(CALL_SID, "agent_ended")
        self.assertEqual(live_calls.ended_reason(CALL_SID), "agent_ended")
        for number in range(1000):
            live_calls.note_ended(f"CA{number:032x}", "caller_hung_up")
        self.assertEqual(live_calls.ended_reason(CALL_SID), "")

    def test_how_one_stream_ended_says_nothing_of_the_next(self) -> None:
        live_calls.note_ended(CALL_SID, "stream_lost", 0)
        self.assertEqual(live_calls.ended_reason(CALL_SID, 1), "")
        live_calls.note_ended(CALL_SID, "agent_ended", 1)
        self.assertEqual(
            [live_calls.ended_reason(CALL_SID, number) for number in (0, 1)], ["stream_lost", "agent_ended"]
        )

    def test_other_processes_learn_whom_the_caller_is_put_through_to_once_it_is(self) -> None:
        self.addCleanup(cache.clear)
        asked = AskedTransfer("call_1:é", 7)
        live_calls.note_transfer(CALL_SID, asked)
        self.assertEqual(live_calls.transfer(CALL_SID), asked)
        for reason, told in (("agent_ended", None), ("transferred", asked)):
            live_calls.note_ended(CALL_SID, reason, 0)
            live_calls.share_ending(CALL_SID, 0)
            self.assertEqual(live_calls.shared_transfer(CALL_SID), told)
        for number in range(1000):
            live_calls.note_transfer(f"CA{number:032x}", asked)
        self.assertIsNone(live_calls.transfer(CALL_SID))

    def test_other_processes_learn_how_a_stream_ended(self) -> None:
        self.addCleanup(cache.clear)
        live_calls.note_ended(CALL_SID, "", 0)
        live_calls.share_ending(CALL_SID, 0)
        self.assertEqual(live_calls.shared_ending(CALL_SID, 0), "")  # there was nothing to tell
        live_calls.note_ended(CALL_SID, "agent_ended", 1)
        live_calls.share_ending(CALL_SID, 1)
        self.assertEqual([live_calls.shared_ending(CALL_SID, number) for number in (0, 1)], ["", "agent_ended"])
