"""A call to a business that announces its recordings: the carrier records both sides, and the record knows of it."""

import asyncio
from typing import ClassVar

from django.db import connection

from calls.models import Recording
from simulators.carrier.ledger import CallLedger
from tests.calls.support import a_business
from tests.e2e.cases import SystemTestCase

ANSWERED = "+15550100131"


def make_business() -> None:
    try:
        a_business(ANSWERED, name="records", recording="announce")
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class RecordedCall(SystemTestCase):
    recorded: ClassVar[CallLedger]
    plain: ClassVar[CallLedger]

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_business)
        cls.recorded, cls.plain = await asyncio.gather(cls.place("greeting-only", ANSWERED), cls.place("greeting-only"))

    def test_it_is_announced_recorded_and_on_record(self) -> None:
        self.assertEqual((self.recorded.complaints, self.recorded.errors), ([], []))
        self.assertEqual(self.recorded.verbs[:3], ["Say", "Start", "Connect"])
        call = self.finished(self.recorded.call_sid)
        self.wait(Recording.objects.filter(state="waiting").exists, "the carrier has told of the whole recording")
        recording = Recording.objects.get()
        self.assertEqual(self.recorded.recordings, [recording.recording_sid])
        self.assertEqual((recording.call, recording.business, recording.channels), (call, call.business, 2))
        self.assertIsNotNone(recording.duration_seconds)
        call.refresh_from_db()
        self.assertEqual(call.recording_consent, "announced")

    def test_the_other_business_records_nothing(self) -> None:
        self.assertEqual(self.plain.recordings, [])
        self.assertEqual(self.finished(self.plain.call_sid).recording_consent, "")
