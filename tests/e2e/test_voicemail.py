"""Messages after the tone: of a business that is closed, and of one whose speech model is down. Spoken, silent, hung up
on at every moment; fetched, written down, and heard on the message's page."""

import asyncio
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from analysis.models import Transcription
from businesses.models import AgentVersion, Business, Holiday
from calls.models import CallLog, CallMessage, Recording
from simulators import speech
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Script, Wait, WaitForEnd
from simulators.carrier.settings import Message
from tests.businesses.worlds import staff_member
from tests.calls.support import a_business
from tests.e2e.cases import CALLER
from tests.e2e.test_recording import RecordingSystem

CLOSED, BROKEN = "+15550100141", "+15550100142"
PATIENT = Script("patient", (WaitForEnd(60_000), HangUp()), "any")
IN_A_HURRY = Script("in-a-hurry", (Wait(800), HangUp()), "caller")  # before the tone
SPOKEN = ("ask-hours", "ask-parking")
CALLS: dict[str, tuple[str, Script, dict[str, Any]]] = {
    "message": (CLOSED, PATIENT, {"message": Message(SPOKEN)}),
    "key": (CLOSED, PATIENT, {"message": Message(SPOKEN, ends="#")}),
    "hung up": (CLOSED, PATIENT, {"message": Message(SPOKEN, ends="hang-up")}),
    "silence": (CLOSED, PATIENT, {}),
    "before the tone": (CLOSED, IN_A_HURRY, {"message": Message(SPOKEN)}),
    "model down": (BROKEN, PATIENT, {"message": Message(SPOKEN)}),
}
LEFT = ("message", "key", "hung up", "model down")


def make_businesses() -> None:
    try:
        business, _ = a_business(CLOSED, name="closed", when_closed="message")
        for days in (-1, 0, 1):
            Holiday.objects.create(business=business, date=timezone.now().date() + timedelta(days=days))
        business, version = a_business(BROKEN, name="broken")
        AgentVersion.objects.filter(pk=version.pk).update(model="gpt-breaks")
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class Voicemail(RecordingSystem):
    ledgers: ClassVar[dict[str, CallLedger]]

    @classmethod
    def setUpClass(cls) -> None:
        profiles = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "profiles.json"
        profiles.write_text(json.dumps({"gpt-breaks": {"faults": ["abort"]}}))
        cls.model_options = ("--profiles", str(profiles), "--fault", "transcribe-status:401@4")
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_businesses)

        async def place(number: str, script: Script, settings: dict[str, Any]) -> CallLedger:
            with cls.carrier(time_scale=0.3, **settings) as carrier:
                return await carrier.place_call(script, from_=CALLER, to=number)

        ledgers = await asyncio.gather(*(place(*call) for call in CALLS.values()))
        cls.ledgers = dict(zip(CALLS, ledgers, strict=True))
        cls.start_fetching()

    def message_of(self, name: str) -> CallMessage | None:
        return CallMessage.objects.filter(call__call_sid=self.ledgers[name].call_sid).first()

    def the_call(self, name: str) -> CallLog:
        def over() -> CallLog | None:
            return CallLog.objects.filter(call_sid=self.ledgers[name].call_sid, status="completed").first()

        found: CallLog = self.wait(over, f"the call {name} is over")
        return found

    def test_the_carrier_has_nothing_to_complain_of(self) -> None:
        for name, ledger in self.ledgers.items():
            with self.subTest(name):
                self.assertEqual((ledger.complaints, ledger.failures), ([], []))
        self.assertEqual(self.ledgers["message"].verbs, ["Say", "Record", "Say", "Hangup"])
        self.assertIn("Thank you", self.ledgers["message"].said[-1])
        self.assertIn("did not hear", self.ledgers["silence"].said[-1])

    def test_silence_and_who_hangs_up_before_the_tone_leave_a_missed_call_and_no_message(self) -> None:
        for name in ("silence", "before the tone"):
            with self.subTest(name):
                call = self.the_call(name)
                self.assertEqual((call.ended_reason, call.recording_consent), ("closed", "voicemail"))
                self.assertIsNone(self.message_of(name))
        self.wait(
            lambda: Recording.objects.filter(call=self.the_call("silence"), state="absent").exists(),
            "the carrier has told that nothing was recorded",
        )
        self.assertFalse(Recording.objects.filter(call=self.the_call("before the tone")).exists())

    def test_a_model_that_gives_up_hands_over_to_the_tone(self) -> None:
        ledger = self.ledgers["model down"]
        self.assertEqual(ledger.verbs[0], "Connect")
        self.assertEqual(ledger.verbs[-4:], ["Say", "Record", "Say", "Hangup"])
        call = self.the_call("model down")
        self.assertEqual(call.ended_reason, "model_failed")
        assert call.agent_version is not None
        self.assertEqual(call.agent_version.model, "gpt-breaks")

    def test_every_message_is_fetched_and_all_but_one_written_down(self) -> None:
        words = " ".join(speech.load(name).text for name in SPOKEN)

        def settled() -> bool:
            return Transcription.objects.exclude(state="waiting").count() == len(LEFT)

        self.wait(settled, "every message is written down, or given up", seconds=90)
        states = []
        for name in LEFT:
            with self.subTest(name):
                message, call = self.message_of(name), self.the_call(name)
                assert message is not None and message.recording is not None
                self.assertEqual((message.kind, message.business), ("voicemail", call.business))
                self.assertEqual((message.recording.state, message.recording.channels), ("stored", 1))
                self.assertGreater(message.recording.duration_seconds or 0, 2)
                states.append(message.text_state)
                self.assertEqual(message.text, "" if message.text_state else words)
        self.assertEqual(sorted(states), ["", "", "", "failed"])
        self.assertGreater(Transcription.objects.filter(state="done").first().cost or 0, 0)  # type: ignore[union-attr]

        message = CallMessage.objects.exclude(text="").filter(business__name="closed")[0]
        browser = Client()
        browser.force_login(staff_member(message.business))
        with self.in_the_storage():
            page = browser.get(reverse("admin:calls_callmessage_change", args=[message.pk])).content.decode()
            self.assertIn(words, page)
            address = page.split('<audio class="player__audio"')[1].split('src="')[1].split('"')[0]
            self.assertEqual(browser.get(address, headers={"Range": "bytes=0-3"}).content, b"RIFF")
            stranger = Client()
            stranger.force_login(staff_member(Business.objects.get(name="broken"), name="stranger"))
            self.assertEqual(stranger.get(address).status_code, 404)
        seen = self.logs() + " ".join(str(result) for result in TaskResult.objects.values())
        for secret in (CALLER, words, speech.load("ask-hours").text):
            self.assertNotIn(secret, seen)
