"""A card number typed in a recorded call: it reaches the service that it is for, and nobody else. Neither the recording
nor the model hears a tone of it."""

import asyncio
import io
import json
import tempfile
import wave
from array import array
from pathlib import Path
from typing import ClassVar

from django.db import connection

from businesses.models import Agent, AgentVersion, HttpTool, PhoneNumber
from calls.models import CallLog
from simulators import speech
from simulators.carrier.ledger import CallLedger
from simulators.carrier.recordings import wav
from simulators.carrier.script import HangUp, HearAnew, Listen, Press, Say, Script, WaitForEnd
from tests.calls.support import a_business
from tests.e2e.test_recording import RecordingSystem
from tests.media.http_service import Answer, Service

ANSWERED = "+15550100132"
CARD = "4111111111111111"
ASK = "Please type your card number, then the hash key."

DIALOGUE = {
    "opening": ["greeting"],
    "unclear": ["unclear"],
    "replies": [{"heard": "ask-hours", "call": [{"name": "collect_digits", "arguments": {"ask": ASK}}]}],
    "after_call": {
        "collect_digits": {"call": [{"name": "pay", "arguments": {"card": "secret-1", "amount": 90}}]},
        "pay": {"say": ["noted"]},
    },
}
PARAMETERS = {
    "type": "object",
    "properties": {"card": {"type": "string", "format": "secret"}, "amount": {"type": "integer"}},
    "required": ["card", "amount"],
}
PAYS = Script(
    "pays",
    (
        Listen(),
        Say("ask-hours"),
        HearAnew(),
        # On a busy machine that was a filler while the recording is being paused: the question comes after it, and who
        # types before it is not asked.
        Listen(silent_ms=5000),
        Press(CARD + "#", heard=True),
        HearAnew(),
        Listen(),
        HangUp(),
    ),
    "caller",
)
CANNOT = Script("cannot pay", (Listen(), Say("ask-hours"), WaitForEnd(6_000), Press("1", heard=True), HangUp()), "any")
GOES = Script(
    "goes while typing",
    (Listen(), Say("ask-hours"), HearAnew(), Listen(silent_ms=2500), Press(CARD[:8], heard=True), HangUp()),
    "caller",
)


def make_business(port: int) -> None:
    try:
        business, _ = a_business("+15550100133", name="pays", recording="announce")
        HttpTool.objects.create(
            business=business,
            name="pay",
            description="Take a payment.",
            parameters=PARAMETERS,
            url=f"http://127.0.0.1:{port}/pay",
        )
        agent = Agent.objects.create(business=business, name="Till")
        AgentVersion.objects.create(
            agent=agent,
            number=1,
            instructions="Be kind.",
            greeting=speech.load("greeting").text,
            tools=["collect_digits", "pay"],
        ).publish()
        PhoneNumber.objects.create(number=ANSWERED, business=business, agent=agent)
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class CardTyped(RecordingSystem):
    service: ClassVar[Service]
    paid: ClassVar[CallLedger]
    refused: ClassVar[CallLedger]
    left: ClassVar[CallLedger]

    @classmethod
    def setUpClass(cls) -> None:
        dialogue = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "dialogue.json"
        dialogue.write_text(json.dumps(DIALOGUE))
        cls.model_options = ("--dialogue", str(dialogue))
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        cls.service.answer = Answer(body=json.dumps({"paid": True, "with": CARD}).encode())
        cls.environment = {"HTTP_TOOL_HOSTS": "127.0.0.1", "HTTP_TOOLS_ALLOW_LOCAL": "true"}
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_business, cls.service.port)
        with cls.carrier() as carrier:
            cls.paid = await carrier.place_call(PAYS, from_="+15550100199", to=ANSWERED)
            cls.left = await carrier.place_call(GOES, from_="+15550100199", to=ANSWERED)
            cls.api.fail_next = [500]
            cls.refused = await carrier.place_call(CANNOT, from_="+15550100199", to=ANSWERED)

    def uses(self, call: CallLog) -> dict[str, tuple[str, str, str]]:
        return {use.name: (use.state, use.arguments, use.output) for use in call.tool_uses.all()}

    def of_caller(self, ledger: CallLedger, first_ms: float, last_ms: float) -> "array[int]":
        """The caller's samples in the recording, from one moment of the stream to another."""
        [sid] = ledger.recordings
        with wave.open(io.BytesIO(wav(self.api.account.recordings[sid], 2))) as file:
            samples = array("h", file.readframes(file.getnframes()))[::2]
        return samples[int(first_ms * 8) : int(last_ms * 8)]

    def test_the_digits_go_to_the_service_that_they_are_for(self) -> None:
        self.assertEqual((self.paid.complaints, self.paid.failures), ([], []))
        [asked] = self.service.asked
        self.assertEqual(json.loads(asked.body), {"card": CARD, "amount": 90})

    def test_the_record_has_their_handle(self) -> None:
        call = self.finished(self.paid.call_sid)
        uses = self.uses(call)
        self.assertEqual(uses["collect_digits"][0], "finished")
        self.assertEqual(json.loads(uses["collect_digits"][2]), {"ok": True, "digits": "secret-1", "count": 16})
        self.assertEqual(json.loads(uses["pay"][1]), {"card": "secret-1", "amount": 90})
        self.assertEqual(json.loads(uses["pay"][2])["answer"], {"paid": True, "with": "secret-1"})
        self.assertIn(ASK, call.transcript)
        self.assertNotIn("The caller pressed", call.transcript)

    def test_no_tone_is_in_the_recording_which_goes_on_afterwards(self) -> None:
        digits = self.paid.stream.dtmf
        self.assertEqual(len(digits), 17)
        typing = self.of_caller(self.paid, digits[0].at_ms - 100, digits[-1].at_ms + 100)
        self.assertGreater(len(typing), 3 * 8000)
        self.assertEqual(max(map(abs, typing)), 0)
        before = self.of_caller(self.paid, 0, digits[0].at_ms - 100)
        self.assertGreater(max(before), 1000)  # the question
        [recording] = [self.api.account.recordings[sid] for sid in self.paid.recordings]
        [pause] = recording.pauses
        self.assertIsNotNone(pause.ended)
        assert recording.tracks is not None
        self.assertEqual(len(recording.tracks[0]), self.paid.stream.caller_audio_bytes)  # with silence in its place

    def test_the_model_hears_nothing_of_it_and_is_told_a_name(self) -> None:
        call = self.finished(self.paid.call_sid)
        facts = self.model_session(call.model_session_id)
        heard = [fact["text"] for fact in facts if fact["fact"] == "heard"]
        self.assertEqual(len(heard), 1, heard)
        self.assertEqual([fact for fact in facts if fact["fact"] in ("complaint", "refused")], [])
        self.assertNotIn(CARD, json.dumps(facts))

    def test_a_caller_who_hangs_up_while_typing_leaves_nothing(self) -> None:
        call = self.finished(self.left.call_sid)
        self.assertEqual(call.ended_reason, "caller_hung_up")
        state, _arguments, output = self.uses(call)["collect_digits"]
        self.assertIn(state, ("failed", "abandoned"))
        self.assertNotIn(CARD[:4], output + call.transcript)
        first = self.left.stream.dtmf[0].at_ms
        self.assertEqual(max(map(abs, self.of_caller(self.left, first - 100, self.left.stream.length_ms))), 0)

    def test_while_it_is_recorded_no_digits_are_asked_for(self) -> None:
        call = self.finished(self.refused.call_sid)
        state, _arguments, output = self.uses(call)["collect_digits"]
        self.assertEqual((state, json.loads(output)["error"]), ("failed", "still_recorded"))
        self.assertNotIn(ASK, call.transcript)
        self.assertEqual(len(self.service.asked), 1)
        key = self.refused.stream.dtmf[0].at_ms
        self.assertGreater(max(self.of_caller(self.refused, key, key + 100)), 1000)  # an ordinary key is in it

    def test_the_logs_have_no_digit_of_it(self) -> None:
        self.finished(self.paid.call_sid)
        self.assertNotIn(CARD[:8], self.logs())
