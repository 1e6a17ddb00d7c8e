"""A call to a business that announces its recordings: the carrier records both sides, the file is fetched though it
lags, and nobody else's call is recorded."""

import asyncio
import wave
from pathlib import Path
from typing import Any, ClassVar

from django.db import connection
from django.test import override_settings
from django_celery_results.models import TaskResult

from calls.models import CallLog, Recording
from simulators.carrier.account import Account
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.rest import Api, RestServer
from tests.calls.support import a_business
from tests.e2e import system as running
from tests.e2e.cases import CALLER, SystemTestCase

ANSWERED = "+15550100131"


class RecordingSystem(SystemTestCase):
    """With the carrier's API, beat, and the worker that fetches."""

    api: ClassVar[Api]

    @classmethod
    def setUpClass(cls) -> None:
        cls.api = Api(Account(running.ACCOUNT_SID), running.AUTH_TOKEN)
        rest = cls.enterClassContext(RestServer(cls.api))
        cls.environment = {**cls.environment, "TWILIO_API_URL": f"http://127.0.0.1:{rest.port}"}
        super().setUpClass()

    @classmethod
    def carrier(cls, **changes: Any) -> Carrier:
        with super().carrier(**changes) as carrier:
            return Carrier(carrier.settings, account=cls.api.account)

    @classmethod
    def start_fetching(cls) -> None:
        cls.system.start_offline_worker()
        cls.system.start_beat()

    def stored(self, call: CallLog) -> Recording:
        def row() -> Recording | None:
            return Recording.objects.filter(call=call, state="stored").first()

        found: Recording = self.wait(row, "the recording is stored", seconds=60)
        return found

    def in_the_storage(self) -> Any:
        """The settings of this process are of another var directory than the system's."""
        return override_settings(MEDIA_ROOT=self.system.directory / "var" / "media")

    def logs(self) -> str:
        children = (self.system.web, self.system.worker, self.system.offline, self.system.beat)
        return "".join(child.output() for child in children if child is not None)


def make_business() -> None:
    try:
        a_business(ANSWERED, name="records", recording="announce")
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class RecordedCall(RecordingSystem):
    recorded: ClassVar[CallLedger]
    plain: ClassVar[CallLedger]

    @classmethod
    async def place_calls(cls) -> None:
        cls.api.media_lag = 1
        await asyncio.to_thread(make_business)
        cls.recorded, cls.plain = await asyncio.gather(cls.place("question", ANSWERED), cls.place("greeting-only"))

    def test_it_is_announced_recorded_on_record_and_fetched_once_it_is_there(self) -> None:
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

        self.start_fetching()
        row = self.stored(call)
        self.assertEqual((row.tries, row.channels), (2, 2))
        with self.in_the_storage():
            path = Path(row.file.path)
        with wave.open(str(path)) as audio:
            self.assertEqual((audio.getnchannels(), audio.getframerate()), (2, 8000))
            self.assertAlmostEqual(audio.getnframes() / 8000, row.duration_seconds or 0, delta=1)
        caller, agent = row.peaks
        self.assertGreater(max(caller), 20)  # both have spoken
        self.assertGreater(max(agent), 20)
        results = TaskResult.objects.filter(result__startswith=f'"recording {row.pk}: ')
        self.wait(lambda: results.count() == 2, "both tries have a result")
        seen = self.logs() + " ".join(str(result) for result in TaskResult.objects.values())
        self.assertNotIn(CALLER, seen)

    def test_the_other_business_records_nothing(self) -> None:
        self.assertEqual(self.plain.recordings, [])
        self.assertEqual(self.finished(self.plain.call_sid).recording_consent, "")
