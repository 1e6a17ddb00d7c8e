"""A running recording is paused and resumed at the carrier, whatever the carrier does."""

import asyncio
from unittest import mock

from calls import recording_pause
from calls.carriers import twilio_recording
from calls.carriers.twilio_recording import Paused
from tests.calls.test_reaper_rest import Rest


class PauseTest(Rest):
    def setUp(self) -> None:
        super().setUp()
        self.enterContext(mock.patch.object(twilio_recording, "RESUME_WAIT_SECONDS", 0.01))
        self.call = self.at_the_carrier("in-progress")

    def recorded(self) -> str:
        return self.account.add_recording(self.call.sid, 2, "StartCallRecordingTwiML").sid

    def status(self, sid: str) -> str:
        return self.account.recordings[sid].status

    def test_it_is_paused_with_silence_in_its_place_and_resumed(self) -> None:
        sid = self.recorded()
        self.assertIs(twilio_recording.pause(self.call.sid), Paused.PAUSED)
        self.assertEqual((self.status(sid), self.account.recordings[sid].pauses[0].skips), ("paused", False))
        self.assertTrue(twilio_recording.resume(self.call.sid))
        self.assertEqual(self.status(sid), "in-progress")
        self.assertEqual(self.api.complaints, [])

    def test_a_call_that_is_not_recorded_has_nothing_to_pause(self) -> None:
        self.assertIs(twilio_recording.pause(self.call.sid), Paused.NOT_RECORDED)
        self.assertTrue(twilio_recording.resume(self.call.sid))

    def test_whatever_else_is_answered_nobody_knows_whether_it_is_paused(self) -> None:
        self.recorded()
        for status in (400, 401, 429, 500, 503):
            self.api.fail_next = [status]
            self.assertIs(twilio_recording.pause(self.call.sid), Paused.UNKNOWN)
        self.api.delay_next = [0.5]
        with mock.patch.object(twilio_recording, "PAUSE_SECONDS", 0.2):
            self.assertIs(twilio_recording.pause(self.call.sid), Paused.UNKNOWN)
        self.point_at(self.a_port_that(accepts=False))
        self.assertIs(twilio_recording.pause(self.call.sid), Paused.UNKNOWN)
        self.assertFalse(twilio_recording.resume(self.call.sid))

    def test_it_is_tried_again_to_resume(self) -> None:
        sid = self.recorded()
        twilio_recording.pause(self.call.sid)
        self.api.fail_next = [500, 503]
        self.assertTrue(twilio_recording.resume(self.call.sid))
        self.assertEqual(self.status(sid), "in-progress")

    async def test_a_carrier_that_does_not_answer_costs_the_call_its_deadline_and_the_loop_nothing(self) -> None:
        self.recorded()
        self.api.delay_next = [1.0]
        ticks = 0
        with (
            mock.patch.object(recording_pause, "PAUSE_DEADLINE_SECONDS", 0.3),
            self.assertLogs("calls.recording_pause", "ERROR") as logs,
        ):
            waiting = asyncio.create_task(recording_pause.pause(self.call.sid))
            while not waiting.done():
                await asyncio.sleep(0.01)
                ticks += 1
        self.assertIs(waiting.result(), Paused.UNKNOWN)
        self.assertGreater(ticks, 3)
        self.assertEqual([record.getMessage() for record in logs.records], ["recording not paused"])

    async def test_who_pauses_waits_for_what_is_still_being_resumed(self) -> None:
        sid = self.recorded()
        await recording_pause.pause(self.call.sid)
        self.api.fail_next = [500]
        with mock.patch.object(twilio_recording, "RESUME_WAIT_SECONDS", 0.3):
            recording_pause.resume(self.call.sid)
            self.assertIs(await recording_pause.pause(self.call.sid), Paused.PAUSED)
            await asyncio.sleep(0.5)  # a second try to resume would come now
        self.assertEqual(self.status(sid), "paused")
        self.assertEqual(len(self.account.recordings[sid].pauses), 2)
        self.assertEqual(recording_pause._resuming, {})

    async def test_but_no_longer_than_the_caller_can_wait(self) -> None:
        self.recorded()
        self.api.delay_next = [0.6]
        recording_pause.resume(self.call.sid)
        with (
            mock.patch.object(recording_pause, "PAUSE_DEADLINE_SECONDS", 0.1),
            self.assertLogs("calls.recording_pause", "ERROR"),
        ):
            self.assertIs(await recording_pause.pause(self.call.sid), Paused.UNKNOWN)

    def test_without_an_api_there_is_nothing_to_resume(self) -> None:
        with self.settings(TWILIO_API_URL="", TWILIO_IS_SIMULATED=True):
            before = len(self.api.requests)
            self.assertTrue(twilio_recording.resume(self.call.sid))
        self.assertEqual(len(self.api.requests), before)

    async def test_resuming_is_not_waited_for(self) -> None:
        sid = self.recorded()
        self.assertIs(await recording_pause.pause(self.call.sid), Paused.PAUSED)
        recording_pause.resume(self.call.sid)
        for _ in range(1000):
            if self.status(sid) == "in-progress":
                return
            await asyncio.sleep(0.01)
        self.fail("it stays paused")
