"""`<Record>`: the message after the tone, in every way it can end, and an empty one."""

import wave
from io import BytesIO
from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.account import Account
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.recordings import wav
from simulators.carrier.script import HangUp, Step, Wait, WaitForEnd
from simulators.carrier.settings import Message, Settings
from tests.simulators.carrier_server import ACCOUNT, BYE, PUBLIC, TOKEN, Hit, Server, clips, xml
from tests.simulators.test_carrier_call import FROM, TO, script

RECORD = '<Record action="/left/" maxLength="60" finishOnKey="#" recordingStatusCallback="/rec/" %s/>'
EVENTS = 'recordingStatusCallbackEvent="in-progress completed absent"'


class RecordTest(SimpleTestCase):
    async def left(self, message: Message, record: str = RECORD % EVENTS, *steps: Step, **settings: Any) -> CallLedger:
        document = f"<Response><Say>After the tone.</Say>{record}<Say>Nothing was said.</Say></Response>"
        pages: dict[str, Any] = {path: xml(BYE) for path in ("/left/", "/rec/", "/status/")}
        pages["/twilio/voice/"] = xml(document)
        self.account = Account(ACCOUNT)
        async with Server(pages=pages).running() as self.server:
            chosen: dict[str, Any] = {"status_path": "/status/", "time_scale": 0.05, "clips": clips, "seed": 1}
            chosen |= {"message": message, **settings}
            with Carrier(Settings(PUBLIC, ACCOUNT, TOKEN, self.server.address, **chosen), account=self.account) as one:
                return await one.place_call(script(*(steps or (WaitForEnd(5000), HangUp()))), from_=FROM, to=TO)

    def told(self) -> list[tuple[str, str]]:
        hits = self.server.hits_of("/rec/")
        return [(hit.params["RecordingStatus"], hit.params.get("RecordingDuration", "")) for hit in hits]

    def action(self) -> Hit:
        [hit] = self.server.hits_of("/left/")
        return hit

    async def test_silence_ends_it_and_the_action_is_told(self) -> None:
        ledger = await self.left(Message(("hello",) * 10))
        self.assertEqual((ledger.complaints, ledger.verbs), ([], ["Say", "Record", "Hangup"]))
        hit = self.action()
        self.assertEqual((hit.params["RecordingDuration"], hit.params["CallStatus"]), ("2", "in-progress"))
        self.assertNotIn("Digits", hit.params)
        self.assertEqual(self.told(), [("in-progress", ""), ("completed", "2")])
        [recording] = self.account.recordings.values()
        self.assertEqual((recording.source, recording.channels), ("RecordVerb", 1))
        self.assertEqual(ledger.recordings, [recording.sid])
        with wave.open(BytesIO(wav(recording, 1))) as audio:
            self.assertEqual(audio.getnframes(), 16_000)

    async def test_a_key_ends_it_only_if_it_is_one_of_those(self) -> None:
        await self.left(Message(("hello",) * 5, ends="#"))
        self.assertEqual(self.action().params["Digits"], "#")
        await self.left(Message(("hello",) * 5, ends="5"))
        self.assertNotIn("Digits", self.action().params)

    async def test_no_more_is_recorded_than_the_longest_message(self) -> None:
        await self.left(Message(("hello",) * 30), (RECORD % "").replace("60", "2"))
        self.assertEqual(self.action().params["RecordingDuration"], "2")
        self.assertEqual(self.told(), [("completed", "2")])

    async def test_an_empty_one_is_absent_and_the_next_verb_follows(self) -> None:
        ledger = await self.left(Message())
        self.assertEqual((ledger.verbs, self.server.hits_of("/left/")), (["Say", "Record", "Say"], []))
        self.assertEqual(self.told(), [("in-progress", ""), ("absent", "0")])

    async def test_who_hangs_up_after_the_message_has_left_one(self) -> None:
        ledger = await self.left(Message(("hello",) * 10, ends="hang-up"))
        self.assertEqual((ledger.ended_by, ledger.complaints), ("caller", []))
        self.assertEqual(self.told(), [("in-progress", ""), ("completed", "2")])
        self.assertEqual(self.action().params["CallStatus"], "completed")

    async def test_who_hangs_up_in_the_middle_has_left_what_was_said(self) -> None:
        await self.left(Message(("hello",) * 50), RECORD % EVENTS, Wait(400), HangUp(), time_scale=0.1)
        [(_, _), (status, seconds)] = self.told()
        self.assertEqual(status, "completed")
        self.assertLess(int(seconds), 10)

    async def test_who_hangs_up_before_the_tone_leaves_nothing(self) -> None:
        ledger = await self.left(Message(("hello",)), RECORD % EVENTS, Wait(50), HangUp(), time_scale=1.0)
        self.assertEqual((ledger.recordings, self.told(), self.server.hits_of("/left/")), ([], [], []))

    async def test_what_the_carrier_does_not_take_is_complained_of(self) -> None:
        for attributes in (
            'playBeep="yes"',
            'trim="all"',
            'maxLength="1"',
            'maxLength="14401"',
            'timeout="0"',
            'finishOnKey="A"',
            'recordingStatusCallbackEvent="done"',
            'channels="dual"',
        ):
            with self.subTest(attributes):
                ledger = await self.left(Message(), f'<Record action="/left/" {attributes}/>')
                self.assertTrue(ledger.complaints)
