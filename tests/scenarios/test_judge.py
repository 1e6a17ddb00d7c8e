"""That the judge sees what is wrong with a call, and nothing in a good one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from django.test import SimpleTestCase

from simulators.carrier.ledger import CallLedger, ClearRecord, HeardRecord, SpanRecord, StreamLedger, Utterance
from simulators.carrier.script import HangUp
from simulators.speech import load
from tests.scenarios import judge
from tests.scenarios.alignment import Sentence
from tests.scenarios.evidence import Evidence
from tests.scenarios.scenario import Expect, Part, Scenario, Turn

SESSION = {"session_id": "sess"}


def row(user_text: str, bot_reply: str, heard_text: str | None = None, **more: Any) -> Any:
    heard = bot_reply if heard_text is None else heard_text
    fields = {"turn_index": 0, "heard_ms": 0, "interrupted": False, **more}
    return SimpleNamespace(user_text=user_text, bot_reply=bot_reply, heard_text=heard, **fields)


class GoodAndBadCalls(SimpleTestCase):
    """A call with a question whose answer, `parking`, was cut after two seconds of it."""

    def setUp(self) -> None:
        self.stream = StreamLedger("MZ1", "", "", {}, first_media_ms=90.0, length_ms=9000.0)
        self.stream.sounds = [SpanRecord(100, 2000), SpanRecord(4600, 6500)]
        self.stream.utterances = [Utterance("ask-parking", "", 2200, 4000, 3900)]
        self.stream.heard = [HeardRecord(4500, load("parking").audio[:16000], clear=1)]
        self.stream.clears = [ClearRecord(6500, 2000, 7000, 16000, 40000, [])]
        self.ledger = CallLedger("CA1", "AC1", "", "", "inbound", "test", streams=[self.stream], duration_seconds=9)
        self.expect: dict[str, Any] = {"truncations": 1, "interruptions": 1}
        self.turns = [
            row(load("ask-parking").text, load("parking").text, "There is free", interrupted=True, heard_ms=2000)
        ]
        self.told_ms = 2000

    def found(self) -> list[str]:
        told = {"fact": "truncated", "item_id": "item", "audio_end_ms": self.told_ms, **SESSION}
        facts: list[dict[str, Any]] = [{"fact": "opened", "model": "m", **SESSION}, {"fact": "said", **SESSION}, told]
        wanted = (Turn("ask-parking", "parking", cut=True),)
        part = Part(Scenario("test", "2", (HangUp(),), Expect(wanted, **self.expect)), False, 1)
        call = SimpleNamespace(
            status="completed", ended_reason="caller_hung_up", duration_seconds=9, is_complete=True,
            interruptions=1, expected_turns=1, counters={},
        )  # fmt: skip
        evidence = Evidence(part, self.ledger, cast(Any, call), self.turns, facts, Path())
        said = Sentence("item", load("parking").text, load("parking").audio, self.told_ms, session_id="sess")
        evidence.__dict__["sentences"] = [said]  # else read from the model's files
        return judge.faults(evidence)

    def test_a_good_call(self) -> None:
        self.assertEqual(self.found(), [])

    def test_a_truncation_beside_what_was_heard(self) -> None:
        self.told_ms = 2070
        self.assertEqual(self.found(), ["truncated +70 ms beside what was heard"])

    def test_a_row_that_says_other_words_or_another_length(self) -> None:
        self.turns[0].user_text = "Is there any parking?"
        self.turns[0].heard_ms = 1900
        turn, length = self.found()
        self.assertIn("turn 0 is 'Is there any parking?'", turn)
        self.assertEqual(length, "the row says -100 ms beside what was heard")

    def test_silence_and_a_late_first_word(self) -> None:
        self.stream.sounds = [SpanRecord(1700, 2000), SpanRecord(6900, 7000)]
        first, silence = self.found()
        self.assertEqual(first, "first word after 1700 ms, not 1500 ms")
        self.assertEqual(silence, "silence of 3000 ms at 3900, not at most 2500")

    def test_complaints_and_wrong_bills(self) -> None:
        self.ledger.complain(31951, "invalid message")
        self.ledger.duration_seconds = 12
        self.assertEqual(self.found(), ["carrier complains: 31951 invalid message", "billed 12 s, recorded 9"])
