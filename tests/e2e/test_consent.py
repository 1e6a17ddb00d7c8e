"""Calls to a business that asks before it records: a yes, a no, silence, and a caller who hangs up at the question."""

import asyncio
from typing import Any, ClassVar

from django.db import connection

from calls.models import CallLog, Recording
from simulators.carrier.ledger import CallLedger
from tests.calls.support import a_business
from tests.e2e.test_recording import RecordingSystem

ASKING = "+15550100132"


def make_asking_business() -> None:
    try:
        a_business(ASKING, name="asks", recording="ask")
    finally:
        connection.close()


class AskedBefore(RecordingSystem):
    """One says yes, one says no, one says nothing, and one hangs up at the question."""

    ledgers: ClassVar[dict[str, CallLedger]]

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_asking_business)
        answers: dict[str, dict[str, Any]] = {
            "granted": {"keys": "1"},
            "refused": {"keys": "2"},
            "unanswered": {"keys": ""},
        }
        calls = [cls.place("question", ASKING, time_scale=0.3, **settings) for settings in answers.values()]
        *answered, gone = await asyncio.gather(*calls, cls.place("hang-up-at-once", ASKING))
        cls.ledgers = dict(zip(answers, answered, strict=True)) | {"": gone}

    def test_the_carrier_has_nothing_to_complain_of_and_each_was_asked_once(self) -> None:
        for ledger in self.ledgers.values():
            self.assertEqual((ledger.complaints, ledger.errors), ([], []))
            self.assertEqual(len([text for text in ledger.said if "record" in text]), 1)

    def test_only_a_yes_is_recorded_and_every_answer_is_on_record(self) -> None:
        for consent in ("granted", "refused", "unanswered"):
            with self.subTest(consent):
                ledger = self.ledgers[consent]
                call = self.finished(ledger.call_sid)
                self.assertEqual(call.recording_consent, consent)
                self.assertEqual(call.ended_reason, "caller_hung_up")
                self.assertGreater(len(self.turns(ledger.call_sid)), 1)  # the call went on, whatever was answered
                self.assertEqual(len(ledger.recordings), 1 if consent == "granted" else 0)
        self.start_fetching()
        row = self.stored(CallLog.objects.get(call_sid=self.ledgers["granted"].call_sid))
        self.assertEqual(row.recording_sid, self.ledgers["granted"].recordings[0])
        self.assertEqual(Recording.objects.count(), 1)

    def test_who_hangs_up_at_the_question_is_a_call_without_an_answer(self) -> None:
        ledger = self.ledgers[""]
        self.assertEqual((ledger.verbs, ledger.recordings), (["Gather"], []))

        def over() -> CallLog | None:
            return CallLog.objects.filter(call_sid=ledger.call_sid, status="completed").first()

        call = self.wait(over, "the call is over")
        self.assertEqual((call.recording_consent, self.turns(ledger.call_sid)), ("asked", []))
