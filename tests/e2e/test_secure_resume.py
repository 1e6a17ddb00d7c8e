"""A web process is killed while a caller types a card number: another one takes the call over, has the recording go on,
and takes the rest of the number for what it is. Asked anew, the caller types it once more."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import ClassVar

from calls.models import CallLog
from media.engine.conversation import DIGITS_LOST
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, HearAnew, Listen, Press, Say, Script
from tests.e2e.cases import CALLER
from tests.e2e.processes import wait_until
from tests.e2e.system import Web
from tests.e2e.test_recording import RecordingSystem
from tests.e2e.test_resume import Webs
from tests.e2e.test_secure_input import ANSWERED, ASK, CARD, DIALOGUE, make_business
from tests.media.http_service import Answer, Service

FIRST, REST = CARD[:8], CARD[8:]
TYPES_ON = Script(
    "types on",
    (
        Listen(),
        Say("ask-hours"),
        HearAnew(),
        Listen(silent_ms=5000),
        Press(FIRST, heard=True),
        HearAnew(),  # that they were cut off
        Press(REST + "#"),
        Listen(silent_ms=3000),
        Say("ask-hours"),
        HearAnew(),
        Listen(silent_ms=5000),
        Press(CARD + "#", heard=True),
        HearAnew(),
        Listen(),
        HangUp(),
    ),
    "caller",
)


class KilledWhileTyping(RecordingSystem):
    service: ClassVar[Service]
    ledger: ClassVar[CallLedger]
    webs: ClassVar[list[Web]]

    @classmethod
    def setUpClass(cls) -> None:
        dialogue = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "dialogue.json"
        anew = {"call": [{"name": "pay", "arguments": {"card": "secret-10001", "amount": 90}}]}
        after = {"collect_digits": anew, "pay": {"say": ["noted"]}}
        dialogue.write_text(json.dumps({**DIALOGUE, "after_call": after}))
        cls.model_options = ("--dialogue", str(dialogue))
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        cls.service.answer = Answer(body=json.dumps({"paid": True}).encode())
        cls.environment = {"HTTP_TOOL_HOSTS": "127.0.0.1", "HTTP_TOOLS_ALLOW_LOCAL": "true"}
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_business, cls.service.port)
        cls.webs = [Web(cls.system) for _ in range(2)]
        for web in cls.webs:
            cls.addClassCleanup(web.child.stop)
            await asyncio.to_thread(wait_until, web.is_ready, 60, "the process is ready")
        webs = Webs(list(cls.webs))
        cls.addClassCleanup(webs.balancer.close)
        pressed = []

        def watch(call_sid: str, line: str) -> None:
            if "caller presses" in line:
                pressed.append(line)
                if len(pressed) == len(FIRST):
                    asyncio.get_running_loop().call_later(0.5, webs.kill)

        settings = cls.carrier(connect_to=("127.0.0.1", webs.balancer.port)).settings
        with Carrier(settings, tell=watch, account=cls.api.account) as carrier:
            cls.ledger = await carrier.place_call(TYPES_ON, from_=CALLER, to=ANSWERED)

    def row(self) -> CallLog:
        def over() -> CallLog | None:
            rows = CallLog.objects.filter(call_sid=self.ledger.call_sid, status="completed")
            return rows.exclude(ended_reason="").first()

        found: CallLog = self.wait(over, "the call is over in its record", 60)
        return found

    def test_the_recording_goes_on_once_the_call_is_taken_over(self) -> None:
        self.assertEqual((self.ledger.complaints, self.ledger.failures), ([], []), self.trouble())
        [sid] = self.ledger.recordings
        first, second = self.api.account.recordings[sid].pauses
        assert first.ended is not None and second.ended is not None
        self.assertLess(first.ended, second.began)
        resumes = [line for line in self.api.requests if line.startswith("POST") and "Twilio.CURRENT" in line]
        self.assertEqual(len(resumes), 4)  # paused, resumed by who took over, paused, resumed

    def test_the_rest_of_the_number_is_nowhere_and_the_model_knows_that_it_was_lost(self) -> None:
        row = self.row()
        self.assertNotIn("The caller pressed", row.transcript)
        facts = json.dumps(self.model_session(row.model_session_id))
        self.assertIn(DIGITS_LOST, facts)
        seen = facts + row.transcript + self.logs() + "".join(web.child.output() for web in self.webs)
        seen += str(list(row.tool_uses.values()))
        for digits in (FIRST, REST):
            self.assertNotIn(digits, seen)

    def test_asked_anew_it_goes_where_it_is_to_go(self) -> None:
        [asked] = self.service.asked
        self.assertEqual(json.loads(asked.body), {"card": CARD, "amount": 90})
        self.assertIn(ASK, self.row().transcript)
