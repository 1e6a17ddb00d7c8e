"""Recordings on their way from the simulated carrier's API into the storage: late, never, and by nobody else's hand."""

from __future__ import annotations

import io
import tempfile
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.files.storage import FileSystemStorage, default_storage
from django.test import SimpleTestCase, TestCase, override_settings

from calls import recording_files, recording_tasks, waveform
from calls.models import CallLog, Recording
from simulators.carrier.account import Account, RecordingResource
from simulators.carrier.rest import Api, RestServer
from tests.calls.support import ACCOUNT_SID, CALL_SID, CALLER, a_business

TOKEN = "rest-token"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LOUD, QUIET = 0x80, 0xFF  # mu-law: full scale, silence


def a_wav(*lanes: list[int], rate: int = 8000) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(len(lanes))
        audio.setsampwidth(2)
        audio.setframerate(rate)
        samples = [sample for frame in zip(*lanes, strict=True) for sample in frame]
        audio.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
    return file


class WaveformTest(SimpleTestCase):
    def test_each_channel_has_its_own_loudness_over_time(self) -> None:
        heard = waveform.read(a_wav([0] * 4000 + [-32768] * 4000, [16384] * 8000))
        self.assertEqual((heard.seconds, heard.channels), (1.0, 2))
        caller, agent = heard.peaks
        self.assertEqual(len(caller), waveform.COLUMNS)
        self.assertEqual((caller[0], caller[299], caller[301], caller[599]), (0, 0, 255, 255))
        self.assertEqual(set(agent), {127})

    def test_shorter_than_a_column_each_and_nothing_at_all(self) -> None:
        self.assertEqual(len(waveform.read(a_wav([5] * 10)).peaks[0]), waveform.COLUMNS)
        self.assertEqual(waveform.read(a_wav([])).peaks, [])

    def test_what_is_no_wav_is_refused_and_what_is_cut_short_is_measured_as_far_as_it_goes(self) -> None:
        for content in (b"", b"<html>not found</html>", b"RIFF1234AVI "):
            with self.subTest(content), self.assertRaises(waveform.NotAudio):
                waveform.read(io.BytesIO(content))
        whole = a_wav([32767] * 8000).getvalue()
        heard = waveform.read(io.BytesIO(whole[: len(whole) // 2]))
        self.assertEqual((heard.peaks[0][0], heard.peaks[0][-1]), (255, 0))


class FetchingTest(TestCase):
    """The tasks as a worker runs them, with the carrier's API over HTTP and files on the disk."""

    def setUp(self) -> None:
        self.business, _ = a_business()
        self.account = Account(ACCOUNT_SID)
        self.api = Api(self.account, TOKEN)
        server = self.enterContext(RestServer(self.api))
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.media = Path(folder) / "media"
        self.enterContext(
            override_settings(
                TWILIO_ACCOUNT_SID=ACCOUNT_SID,
                TWILIO_AUTH_TOKENS=[TOKEN],
                TWILIO_API_URL=f"http://127.0.0.1:{server.port}",
                MEDIA_ROOT=self.media,
            )
        )
        self.call = CallLog.objects.create(
            call_sid=CALL_SID,
            business=self.business,
            from_number=CALLER,
            status="completed",
            started_at=NOW - timedelta(minutes=40),
            ended_at=NOW - timedelta(minutes=30),
            recording_consent="announced",
        )
        self.account.add_call("inbound", CALLER, "+15550100100", CALL_SID)

    def at_the_carrier(self, channels: int = 2) -> RecordingResource:
        resource = self.account.add_recording(CALL_SID, channels, "StartCallRecordingTwiML")
        resource.status, resource.duration = "completed", 2
        resource.tracks = (bytes([QUIET] * 8000 + [LOUD] * 8000), bytes([LOUD] * 8000 + [QUIET] * 8000))
        return resource

    def waiting(self, resource: RecordingResource, **fields: Any) -> Recording:
        return Recording.objects.create(
            **{
                "business": self.business,
                "call": self.call,
                "recording_sid": resource.sid,
                "state": "waiting",
                "channels": resource.channels,
                **fields,
            }
        )

    def look(self, now: datetime) -> list[str]:
        """One look by beat, and what the worker answers to each message."""
        sent: list[tuple[int, int]] = []
        with (
            mock.patch("calls.recording_tasks.timezone.now", lambda: now),
            mock.patch("calls.recording_tasks.current_app.send_task", lambda _, args, **__: sent.append(args)),
        ):
            recording_tasks.find_recordings()
            return [recording_tasks.fetch_recording(*args) for args in sent]

    def test_it_is_stored_with_both_sides_and_drawn(self) -> None:
        row = self.waiting(self.at_the_carrier())
        self.assertEqual(self.look(NOW), [f"recording {row.pk}: stored"])
        row.refresh_from_db()
        self.assertEqual((row.state, row.tries, row.error, row.next_try_at), ("stored", 1, "", None))
        self.assertEqual(row.file.name, f"recordings/{self.business.pk}/{row.recording_sid}.wav")
        with row.file.open("rb") as file, wave.open(file) as audio:
            self.assertEqual((audio.getnchannels(), audio.getframerate(), audio.getnframes()), (2, 8000, 16000))
        self.assertEqual((row.size_bytes, row.duration_seconds), (row.file.size, 2))
        caller, agent = row.peaks
        self.assertEqual((caller[10], agent[-10]), (0, 0))
        self.assertGreater(min(caller[-10], agent[10]), 240)
        kept = self.media / str(row.file.name)
        self.assertEqual((kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777), (0o600, 0o700))
        self.assertEqual(self.look(NOW + timedelta(days=1)), [])

    def test_one_that_was_recorded_in_one_channel_is_fetched_so(self) -> None:
        row = self.waiting(self.at_the_carrier(channels=1), channels=2)
        self.look(NOW)
        row.refresh_from_db()
        self.assertEqual((row.state, row.channels, len(row.peaks)), ("stored", 1, 1))

    def test_a_file_that_lags_is_asked_for_again_after_longer_and_longer_pauses(self) -> None:
        row = self.waiting(self.at_the_carrier())
        self.api.media_lag = 3
        now = NOW
        pauses: list[float] = []
        for _ in range(4):
            with self.assertLogs("calls.recording_tasks", "WARNING") if len(pauses) < 3 else mock.MagicMock():
                self.look(now)
            row.refresh_from_db()
            if row.next_try_at:
                self.assertEqual((row.state, row.error), ("waiting", "not_there"))
                self.assertEqual(self.look(row.next_try_at - timedelta(seconds=1)), [])
                pauses.append((row.next_try_at - now).total_seconds())
                now = row.next_try_at
        self.assertEqual(pauses, [10, 20, 40])
        self.assertEqual((row.state, row.tries, row.error), ("stored", 4, ""))

    def test_one_that_never_comes_fails_after_a_while_and_can_be_fetched_again(self) -> None:
        resource = self.at_the_carrier()
        row = self.waiting(resource)
        self.api.media_lag = 1000
        now = NOW
        with self.assertLogs("calls.recording_tasks", "WARNING") as logs:
            for _ in range(recording_files.MAX_TRIES):
                self.look(now)
                row.refresh_from_db()
                now = row.next_try_at or now
        self.assertEqual((row.state, row.error, row.next_try_at), ("failed", "not_there", None))
        self.assertLess(now - NOW, timedelta(hours=6))
        self.assertEqual(self.look(now + timedelta(days=1)), [])
        self.assertNotIn(CALLER, str([vars(record) for record in logs.records]))
        self.api.media_lag = 0
        self.assertEqual(recording_files.again([row.pk], now), 1)
        self.look(now)
        row.refresh_from_db()
        self.assertEqual((row.state, row.tries), ("stored", 1))

    def test_a_wrong_key_is_told_apart(self) -> None:
        row = self.waiting(self.at_the_carrier())
        with (
            override_settings(TWILIO_AUTH_TOKENS=["another"]),
            self.assertLogs("calls.recording_tasks", "WARNING") as logs,
        ):
            self.look(NOW)
        row.refresh_from_db()
        self.assertEqual((row.state, row.error, bool(row.file)), ("waiting", "key_refused", False))
        self.assertNotIn("another", str([vars(record) for record in logs.records]))

    def test_two_messages_make_one_try(self) -> None:
        row = self.waiting(self.at_the_carrier())
        self.assertEqual(recording_tasks.fetch_recording(row.pk, 0), f"recording {row.pk}: stored")
        self.assertEqual(recording_tasks.fetch_recording(row.pk, 0), f"recording {row.pk}: nothing to do")
        self.assertEqual(len([line for line in self.api.requests if ".wav" in line]), 1)

    def test_what_a_worker_that_died_had_left_in_the_storage_is_written_over(self) -> None:
        row = self.waiting(self.at_the_carrier())
        default_storage.save(f"recordings/{self.business.pk}/{row.recording_sid}.wav", io.BytesIO(b"half of"))
        self.look(NOW)
        row.refresh_from_db()
        self.assertEqual(row.file.name, f"recordings/{self.business.pk}/{row.recording_sid}.wav")
        self.assertEqual([file.name for file in self.media.rglob("*.wav")], [f"{row.recording_sid}.wav"])

    def test_a_storage_that_takes_nothing_is_tried_again(self) -> None:
        row = self.waiting(self.at_the_carrier())
        broken = mock.patch.object(FileSystemStorage, "save", side_effect=PermissionError("secret"))
        with broken, self.assertLogs("calls.recording_tasks", "WARNING") as logs:
            self.look(NOW)
        row.refresh_from_db()
        self.assertEqual((row.state, row.error), ("waiting", "storage_failed"))
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))

    def test_no_other_host_is_asked_whatever_the_carrier_answers(self) -> None:
        row = self.waiting(self.at_the_carrier())
        with stranger() as (port, asked):
            for location in (f"http://127.0.0.1:{port}/x", f"https://twilio.com.evil.example:{port}/", "file:///etc"):
                with (
                    self.subTest(location),
                    redirecting(location) as redirected,
                    override_settings(TWILIO_API_URL=redirected),
                    self.assertLogs("calls.recording_tasks", "WARNING"),
                ):
                    Recording.objects.update(tries=0, next_try_at=None)
                    self.look(NOW)
                    row.refresh_from_db()
                    self.assertEqual((row.state, row.error), ("waiting", "sent_elsewhere"))
        self.assertEqual(asked, [])

    def test_without_an_api_to_ask_nothing_is_tried(self) -> None:
        row = self.waiting(self.at_the_carrier())
        with override_settings(TWILIO_API_URL="", TWILIO_IS_SIMULATED=True):
            self.assertEqual(self.look(NOW), [])
        row.refresh_from_db()
        self.assertEqual((row.state, row.tries), ("waiting", 0))

    def test_a_recording_that_nobody_told_of_is_found_by_asking(self) -> None:
        resource = self.at_the_carrier()
        with (
            mock.patch("calls.recording_tasks.timezone.now", lambda: NOW),
            self.assertLogs("calls.recording_tasks", "WARNING"),
        ):
            recording_tasks.ask_for_untold()
            before = len(self.api.requests)
            recording_tasks.ask_for_untold()
        self.assertEqual(len(self.api.requests), before)  # it is known now
        row = Recording.objects.get()
        self.assertEqual((row.recording_sid, row.state, row.business), (resource.sid, "waiting", self.business))
        self.look(NOW)
        self.assertEqual(Recording.objects.get().state, "stored")

    def test_who_is_asked_for(self) -> None:
        self.assertEqual(recording_files.untold(NOW), [self.call])
        for changes in (
            {"recording_consent": ""},
            {"recording_consent": "refused"},
            {"status": "in-progress"},
            {"ended_at": NOW - timedelta(minutes=1)},
            {"started_at": NOW - timedelta(days=2)},
        ):
            with self.subTest(changes):
                before = CallLog.objects.filter(pk=self.call.pk).values(*changes).get()
                CallLog.objects.update(**changes)
                self.assertEqual(recording_files.untold(NOW), [])
                CallLog.objects.update(**before)
        self.waiting(self.at_the_carrier(), state="in-progress")
        self.assertEqual(recording_files.untold(NOW), [self.call])
        Recording.objects.update(state="absent")
        self.assertEqual(recording_files.untold(NOW), [])


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def redirecting(location: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def stranger() -> Iterator[tuple[int, list[str]]]:
    """A host that must not be asked, and what it was asked all the same."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as port:
        yield port, asked
