"""Calls to a business that asks before it records: a yes and a no, by key and said, what is neither, silence, and a
caller who hangs up at the question."""

import asyncio
from typing import ClassVar

from django.apps import apps
from django.db import connection
from django_celery_results.models import TaskResult

from calls.models import CallLog, Recording
from simulators.carrier.ledger import CallLedger
from simulators.carrier.settings import Reply
from tests.calls.support import a_business
from tests.e2e.test_recording import RecordingSystem

ASKING = "+15550100132"
ANSWERS = {  # what is answered to each question, and how that stands on record
    "key 1": ((Reply("1"),), "granted"),
    "key 2": ((Reply("2"),), "refused"),
    "silent": ((), "unanswered"),
    "says yes": ((Reply(words="Yes, that's fine."),), "granted"),
    "says no": ((Reply(words="Yes, but please don't record."),), "refused"),
    "said at last": ((Reply(words="Marmalade?"), Reply(words="Yes please.")), "granted"),
    "never understood": (
        (Reply(words="If you send me marmalade, yes."), Reply(words="Only for marmalade.")),
        "unclear",
    ),
    "unsure": ((Reply(words="Yes.", confidence=0.2), Reply(words="Yes.", confidence=0.3)), "unclear"),
}


def make_asking_business() -> None:
    try:
        a_business(ASKING, name="asks", recording="ask")
    finally:
        connection.close()


class AskedBefore(RecordingSystem):
    """Two agree, two do not, two cannot be understood at first, one says nothing, one hangs up at the question."""

    ledgers: ClassVar[dict[str, CallLedger]]

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_asking_business)
        calls = [cls.place("question", ASKING, time_scale=0.3, replies=replies) for replies, _ in ANSWERS.values()]
        answered = [*await asyncio.gather(*calls[:4]), *await asyncio.gather(*calls[4:])]  # not too many at once
        cls.ledgers = dict(zip(ANSWERS, answered, strict=True)) | {"gone": await cls.place("hang-up-at-once", ASKING)}

    def test_the_carrier_has_nothing_to_complain_of_and_only_who_was_not_understood_was_asked_again(self) -> None:
        for name, ledger in self.ledgers.items():
            with self.subTest(name):
                self.assertEqual((ledger.complaints, ledger.errors), ([], []))
                questions = [text for text in ledger.said if "record" in text]
                self.assertEqual(len(questions), 2 if name in ("said at last", "never understood", "unsure") else 1)

    def test_only_a_yes_is_recorded_and_every_answer_is_on_record(self) -> None:
        for name, (_, consent) in ANSWERS.items():
            with self.subTest(name):
                ledger = self.ledgers[name]
                call = self.finished(ledger.call_sid)
                self.assertEqual(call.recording_consent, consent)
                self.assertEqual(call.ended_reason, "caller_hung_up")
                self.assertGreater(len(self.turns(ledger.call_sid)), 1)  # the call went on, whatever was answered
                self.assertEqual(len(ledger.recordings), 1 if consent == "granted" else 0)
                if consent == "granted":
                    self.assertLess(ledger.verbs.index("Gather"), ledger.verbs.index("Start"))
        self.start_fetching()
        granted = [name for name, (_, consent) in ANSWERS.items() if consent == "granted"]
        for name in granted:
            row = self.stored(CallLog.objects.get(call_sid=self.ledgers[name].call_sid))
            self.assertEqual(row.recording_sid, self.ledgers[name].recordings[0])
        self.assertEqual(Recording.objects.count(), len(granted))

    def test_what_was_said_to_the_question_is_nowhere(self) -> None:
        for name in ANSWERS:
            self.finished(self.ledgers[name].call_sid)
        everything = self.logs() + "".join(str(row) for row in TaskResult.objects.values())
        for path in self.system.directory.rglob("*"):
            if path.is_file():
                everything += path.read_bytes().decode("utf-8", "replace")
        rows = [
            str(row) for model in apps.get_app_config("calls").get_models() for row in model._default_manager.values()
        ]
        everything += "".join(rows)
        self.assertIn(self.ledgers["never understood"].call_sid, everything)
        self.assertNotIn("marmalade", everything)

    def test_who_hangs_up_at_the_question_is_a_call_without_an_answer(self) -> None:
        ledger = self.ledgers["gone"]
        self.assertEqual((ledger.verbs, ledger.recordings), (["Gather"], []))

        def over() -> CallLog | None:
            return CallLog.objects.filter(call_sid=ledger.call_sid, status="completed").first()

        call = self.wait(over, "the call is over")
        self.assertEqual((call.recording_consent, self.turns(ledger.call_sid)), ("asked", []))
