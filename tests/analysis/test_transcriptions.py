"""Spoken messages written down by the simulated model: what is kept, and each way to fail. The message stays."""

from __future__ import annotations

import io
import logging
import tempfile
from datetime import timedelta
from decimal import Decimal
from unittest import mock

from django.conf import settings
from django.contrib.auth.models import Group
from django.test import TestCase, override_settings
from django.urls import reverse

from analysis import answers, text_model, transcription_tasks, transcriptions
from analysis.answers import NoAnswer
from analysis.models import Transcription
from calls import recording_files, services, waveform
from calls.models import CallMessage, Recording
from simulators import speech
from tests.analysis import support
from tests.analysis.support import NOW
from tests.businesses.worlds import staff_member
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER, a_business
from tests.simulators.test_model_spoken_files import a_file
from voiceagent.celery import app

WORDS = speech.load("ask-hours").text


class ReadTest(TestCase):
    def test_each_form_of_usage(self) -> None:
        for usage, counted in (
            ('{"type": "duration", "seconds": 12.2}', {"transcription_ms": 12_200}),
            (
                '{"type": "tokens", "input_tokens": 90, "output_tokens": 7,'
                ' "input_token_details": {"audio_tokens": 90}}',
                {
                    "transcription_input_tokens": 90,
                    "transcription_output_tokens": 7,
                    "transcription_audio_tokens": 90,
                },
            ),
            ("null", {}),
            ('{"seconds": "x", "input_token_details": []}', {}),
        ):
            with self.subTest(usage):
                found = answers.read_transcription(f'{{"text": " Hello. ", "usage": {usage}}}')
                self.assertEqual((found.text, found.usage), ("Hello.", counted))

    def test_what_is_no_transcription_is_no_answer(self) -> None:
        for body in ("<html>", "[]", "{}", '{"text": 7}', "1" * 5000, "[" * 100_000):
            with self.subTest(body[:10]), self.assertRaises(NoAnswer):
                answers.read_transcription(body)


class TranscriptionTest(TestCase):
    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.enterContext(override_settings(MEDIA_ROOT=self.enterContext(tempfile.TemporaryDirectory())))
        self.business, _ = a_business()
        self.message = self.a_message()

    def a_message(self, number: int = 1, *, sound: bytes = b"") -> CallMessage:
        sid = f"RE{number:032x}"
        services.create_call_log(CALL_SID, self.business.pk, CALLER, OUR_NUMBER, "inbound")
        services.save_recording(CALL_SID, self.business.pk, sid, "waiting", duration_seconds=5, consent="voicemail")
        recording = Recording.objects.get(recording_sid=sid)
        content = io.BytesIO(sound or a_file("ask-hours"))
        name = recording_files.keep(recording, content)
        recording_files.stored(recording, name, len(content.getvalue()), waveform.read(content))
        return CallMessage.objects.get(key=sid)

    def try_it(self, *faults: str) -> Transcription:
        """One try, as the worker makes it."""
        transcriptions.find(NOW)
        row = Transcription.objects.get(message=self.message)
        with support.text_model(*faults) as server:
            self.said = transcription_tasks.transcribe_message(row.pk, row.tries)
            self.heard = server.ledger.of("transcribed")
        row.refresh_from_db()
        self.message.refresh_from_db()
        return row

    def test_the_words_become_the_messages_own_and_the_cost_is_counted(self) -> None:
        row = self.try_it()
        self.assertEqual((self.message.text, self.message.text_state), (WORDS, ""))
        self.assertEqual((row.state, row.model, row.tries, row.error), ("done", "gpt-transcribe", 1, ""))
        heard_ms = row.usage["transcription_ms"]
        self.assertEqual(row.cost, (Decimal("0.0045") * heard_ms / 60_000).quantize(Decimal("0.000001")))
        self.assertEqual(self.said, f"transcription {row.pk}: done")
        [asked] = self.heard
        self.assertEqual(asked["fields"], {"model": "gpt-transcribe", "language": "en", "response_format": "json"})
        self.assertEqual(transcription_tasks.transcribe_message(row.pk, 0), f"transcription {row.pk}: nothing to do")

    def test_nothing_that_could_be_understood_is_said_so(self) -> None:
        self.message = self.a_message(2, sound=a_file("cough"))
        row = self.try_it()
        self.assertEqual((row.state, self.message.text, self.message.text_state), ("done", "", ""))

    def test_a_server_that_fails_is_asked_again_and_then_given_up_and_the_message_stays(self) -> None:
        for number in range(1, answers.MAX_TRIES + 1):
            row = self.try_it("transcribe-status:500")
            self.assertEqual((row.tries, row.error), (number, "server_error"))
        self.assertEqual((row.state, row.next_try_at), ("failed", None))
        self.assertEqual((self.message.text, self.message.text_state), ("", "failed"))
        self.assertEqual(Recording.objects.get().state, "stored")

    def test_between_tries_it_waits_as_long_as_an_analysis_does(self) -> None:
        with mock.patch("analysis.transcription_tasks.timezone.now", lambda: NOW):
            row = self.try_it("transcribe-broken")
        self.assertEqual((row.state, row.error), ("waiting", "unreadable_response"))
        self.assertEqual(row.next_try_at, NOW + timedelta(seconds=answers.FIRST_PAUSE))
        self.assertEqual(self.message.text_state, "waiting")

    def test_what_will_not_change_by_itself_is_not_tried_again(self) -> None:
        row = self.try_it("transcribe-status:401")
        self.assertEqual((row.state, row.error, self.message.text_state), ("failed", "key_refused", "failed"))

    def test_a_file_that_is_gone_is_said_so(self) -> None:
        recording = Recording.objects.get()
        recording.file.storage.delete(str(recording.file.name))
        self.assertEqual(self.try_it().error, "no_file")

    def test_after_a_failure_it_can_be_asked_for_again(self) -> None:
        row = self.try_it("transcribe-status:401")
        self.client.force_login(staff_member(self.business))
        form = {"action": "write_down_again", "_selected_action": [row.pk]}
        page = self.client.post(reverse("admin:analysis_transcription_changelist"), form, follow=True)
        self.assertContains(page, "1 will be written down again")
        self.message.refresh_from_db()
        self.assertEqual(self.message.text_state, "waiting")
        row = self.try_it()
        self.assertEqual((row.state, self.message.text), ("done", WORDS))

    def test_only_messages_whose_sound_is_here_are_due_and_each_once(self) -> None:
        Recording.objects.update(state="waiting")
        self.assertEqual(transcriptions.find(NOW), 0)
        Recording.objects.update(state="stored")
        self.assertEqual([transcriptions.find(NOW), transcriptions.find(NOW)], [1, 0])
        row = Transcription.objects.get()
        self.assertEqual(transcriptions.due(NOW), [(row.pk, 0)])
        self.assertEqual(transcriptions.due(NOW), [])
        self.assertEqual(transcriptions.due(NOW + transcriptions.LEASE), [(row.pk, 0)])
        CallMessage.objects.update(text_state="")
        Transcription.objects.all().delete()
        self.assertEqual(transcriptions.find(NOW), 0)

    def test_beat_queues_ids_only_and_nothing_without_a_key(self) -> None:
        with mock.patch.object(app, "send_task") as send:
            with override_settings(OPENAI_API_KEY=""):
                transcription_tasks.find_messages()
            send.assert_not_called()
            with override_settings(OPENAI_API_KEY="x"):
                transcription_tasks.find_messages()
        self.assertEqual(send.call_args.kwargs["args"], (Transcription.objects.get().pk, 0))
        self.assertEqual(send.call_args.kwargs["queue"], "offline")

    def test_the_task_is_on_its_queue_with_limits_below_the_visibility_timeout(self) -> None:
        task = app.tasks[transcription_tasks.TRANSCRIBE]
        self.assertEqual(task.queue, "offline")
        self.assertLess(text_model.TIMEOUT_SECONDS, task.soft_time_limit)
        self.assertLess(task.time_limit, settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"])
        self.assertLess(task.time_limit, transcriptions.LEASE.total_seconds())
        beat = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
        self.assertIn(transcription_tasks.find_messages.name, beat & set(app.tasks))

    def test_operators_may_have_it_done_again(self) -> None:
        permissions = Group.objects.get(name="Operators").permissions
        self.assertTrue(permissions.filter(codename="change_transcription").exists())
