"""Recordings: announced before they begin, and known by what the carrier says of them, in any order."""

from __future__ import annotations

import itertools
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import TestCase
from django.urls import reverse

from businesses.models import Business
from calls import model_health, services
from calls.journal.journal import Journal
from calls.journal.keeper import Keeper
from calls.models import CallLog, Recording, RefusedFact
from calls.phrases import phrase
from calls.recorder import Recorder
from tests.calls.support import CALL_SID, a_business, at
from tests.calls.test_journal_recorder import FakePublisher
from tests.calls.test_views import WebhookTest

RECORDING_SID = "RE" + "3" * 32


class SaveRecordingTest(TestCase):
    def setUp(self) -> None:
        self.business, _ = a_business()

    def save(self, state: str, **changes: Any) -> bool:
        fields: dict[str, Any] = {
            "call_sid": CALL_SID,
            "business_id": self.business.pk,
            "recording_sid": RECORDING_SID,
            "channels": 2,
            "started_at": at(1),
            "duration_seconds": 42 if state == "waiting" else None,
            "consent": "announced",
        }
        return services.save_recording(state=state, **fields | changes)

    def test_in_any_order_and_any_number_of_times_it_is_one_row_with_the_furthest_state(self) -> None:
        for number, order in enumerate(itertools.permutations(("in-progress", "waiting", "waiting"))):
            sid = f"RE{number:032x}"
            for state in order:
                self.assertTrue(self.save(state, recording_sid=sid))
            row = Recording.objects.get(recording_sid=sid)
            self.assertEqual((row.state, row.duration_seconds, row.channels), ("waiting", 42, 2))
            self.assertEqual((row.business_id, row.call.call_sid), (self.business.pk, CALL_SID))
        self.assertEqual(CallLog.objects.get().recording_consent, "announced")

    def test_one_that_is_stored_is_not_waited_for_again(self) -> None:
        self.save("waiting")
        Recording.objects.update(state="stored")
        self.save("waiting")
        self.assertEqual(Recording.objects.get().state, "stored")

    def test_one_that_was_given_up_is_not_tried_anew_because_the_carrier_repeats_itself(self) -> None:
        self.save("waiting")
        Recording.objects.update(state="failed")
        self.save("waiting")
        self.assertEqual(Recording.objects.get().state, "failed")

    def test_another_business_another_call_and_another_word_are_refused(self) -> None:
        other, _ = a_business("+15550100101")
        self.save("in-progress")
        self.assertFalse(self.save("waiting", business_id=other.pk))
        self.assertFalse(self.save("waiting", call_sid="CA" + "9" * 32))
        self.assertFalse(self.save("playing"))
        self.assertFalse(self.save("waiting", recording_sid=""))
        self.assertEqual([row.state for row in Recording.objects.all()], ["in-progress"])
        self.assertEqual(RefusedFact.objects.count(), 4)


class ToldOfARecording(WebhookTest):
    def told(self, status: str = "completed", query: str = "", **fields: str) -> Any:
        path = f"/twilio/recording/{query or f'?business={self.business.pk}&consent=announced'}"
        return self.post(
            path,
            **{
                "RecordingSid": RECORDING_SID,
                "RecordingStatus": status,
                "RecordingChannels": "2",
                "RecordingDuration": "42",
                "RecordingStartTime": "Tue, 24 Nov 2026 10:00:01 +0000",
                **fields,
            },
        )


class RecordingViewTest(ToldOfARecording):
    def test_what_the_carrier_says_becomes_a_row(self) -> None:
        self.assertEqual(self.told("in-progress", RecordingDuration="-1").status_code, 204)
        self.assertEqual(Recording.objects.get().state, "in-progress")
        self.assertEqual(self.told().status_code, 204)
        row = Recording.objects.get()
        self.assertEqual((row.state, row.duration_seconds, row.channels), ("waiting", 42, 2))
        self.assertEqual((row.business, row.call.recording_consent), (self.business, "announced"))
        self.assertEqual((row.started_at and row.started_at.isoformat()), "2026-11-24T10:00:01+00:00")

    def test_what_is_malformed_or_not_signed_leaves_nothing(self) -> None:
        self.assertEqual(self.told("sung").status_code, 400)
        self.assertEqual(self.told(RecordingSid="RE1").status_code, 400)
        self.assertEqual(self.told(query="?business=x").status_code, 400)
        self.assertEqual(self.told(query="?consent=announced").status_code, 400)
        with self.assertLogs("calls.signed", "WARNING"):
            self.assertEqual(self.told(AccountSid="AC" + "9" * 32).status_code, 403)
            self.assertEqual(self.post("/twilio/recording/", signature="x").status_code, 403)
        self.assertFalse(CallLog.objects.exists())
        self.assertFalse(Recording.objects.exists())

    def test_a_call_of_another_business_is_refused(self) -> None:
        other = Business.objects.create(name="Other")
        self.told()
        self.assertEqual(self.told("absent", query=f"?business={other.pk}").status_code, 204)
        self.assertEqual(Recording.objects.get().state, "waiting")
        self.assertEqual(RefusedFact.objects.get().kind, "save_recording")


class ToldWhileEverythingIsDownTest(ToldOfARecording):
    """The carrier says it once: with broker and database away it is answered at once, and kept on the disk."""

    def setUp(self) -> None:
        super().setUp()
        directory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        self.journal = Journal(directory, clock=lambda: 1000.0)
        self.addCleanup(self.journal.close, 5)
        self.recorder = Recorder(publisher=FakePublisher(well=False), journal=self.journal)  # type: ignore[assignment]
        self.directory = directory

    def test_it_is_answered_at_once_and_becomes_a_row_when_the_database_is_back(self) -> None:
        away = mock.patch.object(services, "locked_call", side_effect=OperationalError("secret"))
        with away, self.assertLogs("calls", "WARNING") as logs:
            began = time.monotonic()
            self.assertEqual(self.told().status_code, 204)
            self.assertLess(time.monotonic() - began, 1)
            self.assertTrue(self.recorder.close(5))  # type: ignore[attr-defined]
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))
        self.assertFalse(Recording.objects.exists())
        with self.assertLogs("calls.journal.keeper", "WARNING"):
            Keeper(self.journal, run=lambda work: work()).poll()
        self.assertEqual([row.state for row in Recording.objects.all()], ["waiting"])
        self.journal.flush(5)


class RecordingPageTest(TestCase):
    def test_the_page_of_a_call_says_that_it_was_recorded_and_how_the_caller_knew(self) -> None:
        business, _ = a_business()
        services.save_recording(CALL_SID, business.pk, RECORDING_SID, "waiting", consent="announced")
        self.client.force_login(User.objects.create_superuser("root"))
        page = reverse("admin:calls_calllog_change", args=[CallLog.objects.get().pk])
        self.assertContains(self.client.get(page), f"complete, to be fetched, announced ({RECORDING_SID})")
        Recording.objects.all().delete()
        self.assertContains(self.client.get(page), "none, announced")
        CallLog.objects.update(recording_consent="")
        self.assertNotContains(self.client.get(page), "<dt>Recording</dt>")


class AnnouncedTest(WebhookTest):
    def answer(self, recording: str) -> ElementTree.Element:
        Business.objects.update(recording=recording)
        return ElementTree.fromstring(self.post("/twilio/voice/").content)

    def test_it_is_said_before_it_begins_and_begins_before_the_agent(self) -> None:
        say, start, connect, redirect = self.answer("announce")
        self.assertEqual([say.tag, start.tag, connect.tag, redirect.tag], ["Say", "Start", "Connect", "Redirect"])
        self.assertEqual((say.text, say.get("language")), (phrase("recorded", "de"), "de-DE"))
        [recording] = start
        self.assertEqual(
            (recording.tag, recording.get("channels"), recording.get("track")), ("Recording", "dual", "both")
        )
        address = f"https://agent.example.com/twilio/recording/?business={self.business.pk}&consent=announced"
        self.assertEqual(recording.get("recordingStatusCallback"), address)

    def test_without_it_nothing_is_recorded(self) -> None:
        self.assertEqual([verb.tag for verb in self.answer("off")], ["Connect", "Redirect"])

    def test_a_call_that_is_resumed_is_not_announced_again(self) -> None:
        self.answer("announce")
        with self.assertLogs("calls.resuming", "WARNING"):
            response = self.post("/twilio/stream-ended/?stream=0", CallStatus="in-progress")
        self.assertEqual(self.verbs(response), ["Connect", "Redirect"])


class AskedTest(WebhookTest):
    def setUp(self) -> None:
        super().setUp()
        Business.objects.update(recording="ask")

    def document(self, path: str, **fields: str) -> ElementTree.Element:
        response = self.post(path, **fields)
        self.assertEqual(response.status_code, 200)
        return ElementTree.fromstring(response.content)

    def answered(self, digits: str) -> tuple[list[str], str]:
        verbs = [verb.tag for verb in self.document("/twilio/consent/", CallStatus="in-progress", Digits=digits)]
        return verbs, CallLog.objects.get().recording_consent

    def test_the_question_comes_first_and_no_answer_is_told_as_well(self) -> None:
        gather, redirect = self.document("/twilio/voice/")
        self.assertEqual((gather.tag, redirect.tag), ("Gather", "Redirect"))
        address = "https://agent.example.com/twilio/consent/?language=de"
        self.assertEqual((gather.get("action"), redirect.text), (address, address))
        self.assertEqual((gather.get("numDigits"), gather.get("actionOnEmptyResult")), ("1", "true"))
        self.assertEqual((gather.get("input"), gather.get("language")), ("dtmf speech", "de-DE"))
        self.assertIn("ja, ", gather.get("hints", ""))
        [say] = gather
        self.assertEqual((say.text, say.get("language")), (phrase("may_record", "de"), "de-DE"))
        row = CallLog.objects.get()
        self.assertEqual((row.recording_consent, row.agent_version), ("asked", self.version))

    def test_only_a_yes_begins_a_recording_and_every_answer_is_kept(self) -> None:
        for digits, verbs, consent in (
            ("1", ["Start", "Connect", "Redirect"], "granted"),
            ("2", ["Connect", "Redirect"], "refused"),
            ("*", ["Connect", "Redirect"], "refused"),
            ("11", ["Connect", "Redirect"], "refused"),
            ("", ["Connect", "Redirect"], "unanswered"),
        ):
            with self.subTest(digits):
                CallLog.objects.all().delete()
                self.document("/twilio/voice/")
                self.assertEqual(self.answered(digits), (verbs, consent))

    def said(self, speech: str, confidence: str = "0.9", *, again: str = "") -> tuple[list[str], str]:
        fields = {"SpeechResult": speech, "Confidence": confidence}
        document = self.document(f"/twilio/consent/?language=de{again}", CallStatus="in-progress", **fields)
        return [verb.tag for verb in document], CallLog.objects.get().recording_consent

    def test_a_plain_yes_or_no_may_be_said(self) -> None:
        for speech, verbs, consent in (
            ("Ja, gerne.", ["Start", "Connect", "Redirect"], "granted"),
            ("Nein, danke.", ["Connect", "Redirect"], "refused"),
            ("Ja, aber bitte nicht aufzeichnen.", ["Connect", "Redirect"], "refused"),
        ):
            with self.subTest(speech):
                CallLog.objects.all().delete()
                self.document("/twilio/voice/")
                self.assertEqual(self.said(speech), (verbs, consent))

    def test_what_is_not_understood_is_asked_about_once_more_and_then_a_no(self) -> None:
        for speech, confidence in (
            ("Ja, wenn Sie es löschen.", "0.9"),
            ("Ja.", "0.3"),
            ("Ja.", ""),
            ("Ja.", "nan"),
            ("Ja.", "sehr"),
            ("Nein.", "0.3"),
        ):
            with self.subTest(speech=speech, confidence=confidence):
                CallLog.objects.all().delete()
                self.document("/twilio/voice/")
                self.assertEqual(self.said(speech, confidence), (["Gather", "Redirect"], "asked"))
                self.assertEqual(self.said(speech, confidence, again="&again=1"), (["Connect", "Redirect"], "unclear"))

    def test_the_second_question_is_another_one_and_can_be_answered(self) -> None:
        self.document("/twilio/voice/")
        fields = {"SpeechResult": "Hallo?", "Confidence": "0.9"}
        gather, _ = self.document("/twilio/consent/?language=de", CallStatus="in-progress", **fields)
        self.assertEqual(gather[0].text, phrase("may_record_again", "de"))
        self.assertEqual(gather.get("action"), "https://agent.example.com/twilio/consent/?language=de&again=1")
        self.assertEqual(self.said("Ja", again="&again=1"), (["Start", "Connect", "Redirect"], "granted"))

    def test_a_key_counts_before_words(self) -> None:
        fields = {"Digits": "2", "SpeechResult": "ja", "Confidence": "0.9"}
        document = self.document("/twilio/consent/?language=de", CallStatus="in-progress", **fields)
        self.assertEqual([verb.tag for verb in document], ["Connect", "Redirect"])

    def test_the_recordings_address_says_that_it_was_granted(self) -> None:
        start, *_ = self.document("/twilio/consent/", CallStatus="in-progress", Digits="1")
        address = f"https://agent.example.com/twilio/recording/?business={self.business.pk}&consent=granted"
        self.assertEqual(start[0].get("recordingStatusCallback"), address)

    def test_the_first_answer_stays(self) -> None:
        self.answered("2")
        self.assertEqual(self.answered("1")[1], "refused")
        self.document("/twilio/voice/")  # sent again, late
        self.assertEqual(CallLog.objects.get().recording_consent, "refused")

    def test_the_answer_stands_on_the_calls_page_though_nothing_was_recorded(self) -> None:
        self.answered("2")
        self.client.force_login(User.objects.create_superuser("root"))
        page = reverse("admin:calls_calllog_change", args=[CallLog.objects.get().pk])
        self.assertContains(self.client.get(page), "none, refused")

    def test_a_caller_who_has_to_hold_after_the_question_is_not_asked_again(self) -> None:
        Business.objects.update(when_busy="hold", max_calls=1)
        CallLog.objects.create(
            call_sid="CA" + "7" * 32, business=self.business, agent_version=self.version, status="in-progress"
        )
        with self.assertLogs("calls.views", "WARNING"):
            *_, redirect = self.document("/twilio/consent/", CallStatus="in-progress", Digits="1")
        path = (redirect.text or "").removeprefix("https://agent.example.com")
        self.assertEqual(path, "/twilio/consent/?given=granted&held=1")
        CallLog.objects.filter(call_sid="CA" + "7" * 32).update(status="completed")
        verbs = [verb.tag for verb in self.document(path, CallStatus="in-progress")]
        self.assertEqual(verbs, ["Start", "Connect", "Redirect"])

    def test_who_has_to_hold_before_the_second_question_is_asked_it_afterwards(self) -> None:
        Business.objects.update(when_busy="hold", max_calls=1)
        other = CallLog.objects.create(
            call_sid="CA" + "7" * 32, business=self.business, agent_version=self.version, status="in-progress"
        )
        fields = {"SpeechResult": "Hallo?", "Confidence": "0.9"}
        with self.assertLogs("calls.views", "WARNING"):
            *_, redirect = self.document("/twilio/consent/?language=de", CallStatus="in-progress", **fields)
        path = (redirect.text or "").removeprefix("https://agent.example.com")
        self.assertEqual(path, "/twilio/consent/?given=asked&held=1")
        CallLog.objects.filter(pk=other.pk).update(status="completed")
        gather, _ = self.document(path, CallStatus="in-progress")
        self.assertEqual(gather[0].text, phrase("may_record_again", "de"))

    def test_the_one_try_of_a_model_that_rests_is_not_taken_twice(self) -> None:
        tries = iter([True])
        with mock.patch.object(model_health, "may_try", lambda *_: next(tries)):
            self.document("/twilio/voice/")
            self.assertEqual(self.answered("1")[0], ["Start", "Connect", "Redirect"])

    def test_the_question_is_only_answered_by_the_carrier(self) -> None:
        with self.assertLogs("calls.signed", "WARNING"):
            self.assertEqual(self.post("/twilio/consent/", signature="x", Digits="1").status_code, 403)
        self.assertFalse(CallLog.objects.exists())
