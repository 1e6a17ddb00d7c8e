"""Messages after the tone: what the caller hears, what becomes of each recording, and what is shown of it."""

from __future__ import annotations

import io
import itertools
import tempfile
import xml.etree.ElementTree as ElementTree
from typing import Any

from django.test import TestCase, override_settings
from django.urls import reverse

from businesses.models import Business
from calls import recording_files, services, spoken_messages, waveform
from calls.models import CallLog, CallMessage, Recording
from calls.phrases import phrase
from tests.businesses.worlds import staff_member
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER, a_business, at
from tests.calls.test_recording_files import a_wav
from tests.calls.test_views import WebhookTest

RECORDING_SID = "RE" + "4" * 32
AGENT = "https://agent.example.com"


class LeavingAMessageTest(WebhookTest):
    def setUp(self) -> None:
        super().setUp()
        Business.objects.update(forwarding_number="")

    def cut_off(self, reason: str, **fields: str) -> ElementTree.Element:
        """The stream of an agent's call has ended so, and the caller is still there."""
        call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        services.create_call_log(
            **call, from_number=CALLER, to_number=OUR_NUMBER, direction="inbound", agent_version_id=self.version.pk
        )
        services.finalize_call_log(**call, status="in-progress", duration_seconds=5, transcript="", ended_reason=reason)
        with self.assertLogs("calls", "WARNING"):
            response = self.post("/twilio/stream-ended/?stream=0", CallStatus="in-progress", **fields)
        return ElementTree.fromstring(response.content)

    def test_the_document_says_why_records_and_says_what_an_empty_recording_leads_to(self) -> None:
        say, record, nothing, hang_up = self.cut_off("model_failed")
        self.assertEqual((say.text, say.get("language")), (phrase("leave_message", "de"), "de-DE"))
        self.assertEqual((nothing.text, hang_up.tag), (phrase("nothing_said", "de"), "Hangup"))
        self.assertEqual(record.tag, "Record")
        self.assertEqual(
            {name: record.get(name) for name in ("maxLength", "finishOnKey", "playBeep", "trim", "timeout")},
            {"maxLength": "180", "finishOnKey": "#", "playBeep": "true", "trim": "trim-silence", "timeout": "5"},
        )
        self.assertEqual(record.get("action"), f"{AGENT}/twilio/message-left/?language=de")
        told = f"{AGENT}/twilio/recording/?business={self.business.pk}&consent=voicemail"
        self.assertEqual(record.get("recordingStatusCallback"), told)
        self.assertEqual(record.get("recordingStatusCallbackEvent"), "in-progress completed absent")

    def test_a_message_is_taken_when_the_model_gave_up_and_not_for_other_ends(self) -> None:
        for reason, verbs in (
            ("model_failed", ["Say", "Record", "Say", "Hangup"]),
            ("model_refused", ["Say", "Record", "Say", "Hangup"]),
            ("model_silent", ["Say", "Record", "Say", "Hangup"]),
            ("server_stopped", ["Say", "Hangup"]),
        ):
            with self.subTest(reason), override_settings(DRAIN_SECONDS=0):
                CallLog.objects.all().delete()
                self.assertEqual([verb.tag for verb in self.cut_off(reason)], verbs)
        with self.subTest("with a number to forward to"):
            CallLog.objects.all().delete()
            Business.objects.update(forwarding_number="+15550100177")
            self.assertEqual([verb.tag for verb in self.cut_off("model_failed")], ["Dial"])

    def test_somebody_whom_we_called_is_not_asked_for_a_message(self) -> None:
        verbs = [verb.tag for verb in self.cut_off("model_failed", Direction="outbound-api")]
        self.assertEqual(verbs, ["Say", "Hangup"])

    def test_the_row_knows_of_it_before_any_callback_and_the_call_goes_on(self) -> None:
        self.cut_off("model_failed")
        call = CallLog.objects.get()
        self.assertEqual((call.recording_consent, call.status), ("voicemail", "in-progress"))
        self.assertEqual((call.agent_version, call.ended_reason), (self.version, "model_failed"))

    def test_after_the_message_the_caller_hears_thanks_without_any_rows(self) -> None:
        with self.assertNumQueries(0):
            response = self.post("/twilio/message-left/?language=de", CallStatus="in-progress", RecordingDuration="9")
        say, hang_up = ElementTree.fromstring(response.content)
        self.assertEqual((say.text, hang_up.tag), (phrase("message_kept", "de"), "Hangup"))
        gone = self.post("/twilio/message-left/?language=de", CallStatus="completed", Digits="hangup")
        self.assertEqual(self.verbs(gone), ["Hangup"])
        odd = self.post("/twilio/message-left/?language=xx", CallStatus="in-progress")
        self.assertEqual(ElementTree.fromstring(odd.content)[0].text, phrase("message_kept", "en"))
        with self.assertLogs("calls.signed", "WARNING"):
            self.assertEqual(self.post("/twilio/message-left/", signature="x").status_code, 403)

    def test_every_language_has_every_sentence(self) -> None:
        for name in ("closed_message", "leave_message", "message_kept", "nothing_said", "may_record"):
            with self.subTest(name):
                self.assertEqual(len({phrase(name, language) for language in ("en", "de", "es", "fr")}), 4)


class SpokenMessageTest(TestCase):
    def setUp(self) -> None:
        self.business, _ = a_business()

    def told(self, state: str, seconds: int | None = 12, **changes: Any) -> bool:
        fields: dict[str, Any] = {
            "call_sid": CALL_SID,
            "business_id": self.business.pk,
            "recording_sid": RECORDING_SID,
            "channels": 1,
            "started_at": at(20),
            "consent": "voicemail",
        }
        seconds = None if state == "in-progress" else seconds
        return services.save_recording(**fields | changes, state=state, duration_seconds=seconds)

    def test_in_any_order_and_any_number_of_times_it_is_one_message(self) -> None:
        for number, order in enumerate(itertools.permutations(("in-progress", "waiting", "waiting"))):
            sid = f"RE{number:032x}"
            for state in order:
                self.told(state, recording_sid=sid)
            message = CallMessage.objects.get(key=sid)
            self.assertEqual((message.kind, message.text_state, message.text), ("voicemail", "waiting", ""))
            self.assertEqual(
                (message.recording, message.business), (Recording.objects.get(recording_sid=sid), self.business)
            )
            self.assertEqual(message.taken_at and message.taken_at.isoformat(), at(20).replace(".000000", ""))
        self.assertEqual(CallLog.objects.get().recording_consent, "voicemail")

    def test_an_empty_one_or_a_click_is_a_missed_call(self) -> None:
        for state, seconds in (("in-progress", None), ("absent", 0), ("waiting", 0), ("waiting", 1)):
            self.told(state, seconds)
            self.assertFalse(CallMessage.objects.exists(), state)
        self.told("waiting", 2)
        self.assertTrue(CallMessage.objects.exists())

    def test_one_whose_length_is_not_told_is_not_lost(self) -> None:
        self.told("waiting", None)
        self.assertTrue(CallMessage.objects.exists())

    def test_the_recording_of_a_call_is_no_message(self) -> None:
        self.told("waiting", consent="announced")
        self.assertFalse(CallMessage.objects.exists())

    def test_another_business_leaves_nothing(self) -> None:
        other, _ = a_business("+15550100101")
        self.told("in-progress")
        self.assertFalse(self.told("waiting", business_id=other.pk))
        self.assertFalse(CallMessage.objects.exists())

    def test_a_handled_message_stays_so_however_often_it_is_told(self) -> None:
        self.told("waiting")
        CallMessage.objects.update(text="Hello.", text_state="")
        self.told("waiting")
        message = CallMessage.objects.get()
        self.assertEqual((message.text, message.text_state), ("Hello.", ""))

    def test_card_numbers_are_masked_in_what_is_written_down(self) -> None:
        self.told("waiting")
        message = CallMessage.objects.get()
        spoken_messages.written(message.pk, "My card is 4111 1111 1111 1111, thank you.")
        message.refresh_from_db()
        self.assertNotIn("4111 1111 1111", message.text)
        self.assertIn("1111, thank you.", message.text)
        spoken_messages.written(message.pk, "Something else")  # too late: it is written down
        self.assertNotEqual(CallMessage.objects.get().text, "Something else")


class SpokenMessagePagesTest(TestCase):
    def setUp(self) -> None:
        self.enterContext(override_settings(MEDIA_ROOT=self.enterContext(tempfile.TemporaryDirectory())))
        self.business, _ = a_business()
        services.create_call_log(CALL_SID, self.business.pk, CALLER, OUR_NUMBER, "inbound")
        services.save_recording(
            CALL_SID, self.business.pk, RECORDING_SID, "waiting", duration_seconds=34, consent="voicemail"
        )
        self.message = CallMessage.objects.get()
        self.list = reverse("admin:calls_callmessage_changelist")
        self.page = reverse("admin:calls_callmessage_change", args=[self.message.pk])
        self.call_page = reverse("admin:calls_calllog_change", args=[self.message.call_id])
        self.user = staff_member(self.business)
        self.client.force_login(self.user)

    def store(self) -> None:
        recording = Recording.objects.get()
        Recording.objects.update(tries=1)
        recording.tries = 1
        content = a_wav([9000] * 34 * 800, rate=800)
        name = recording_files.keep(recording, content)
        recording_files.stored(recording, name, len(content.getvalue()), waveform.read(io.BytesIO(content.getvalue())))

    def test_before_the_file_is_here_the_message_is_listed_with_the_callers_number(self) -> None:
        page = self.client.get(self.list)
        for text in ("Not written down yet", "spoken, 0:34", CALLER):
            self.assertContains(page, text)
        self.assertNotContains(self.client.get(self.page), "<audio")
        self.assertContains(self.client.get(self.list + f"?q=%2B{CALLER[1:6]}"), "spoken, 0:34")

    def test_with_the_file_it_is_played_on_its_page_and_on_the_calls(self) -> None:
        self.store()
        for address in (self.page, self.call_page):
            page = self.client.get(address)
            self.assertContains(page, "<audio", count=1)
            self.assertContains(page, "Message after the tone · 0:34")
            self.assertContains(page, "calls/recording.js")
        self.assertContains(self.client.get(self.page), f'href="tel:{CALLER}"')

    def test_each_state_of_its_words_is_told(self) -> None:
        for state, text, shown in (
            ("failed", "", "Could not be written down"),
            ("", "", "No words were understood."),
            ("", "Please call me back.", "Please call me back."),
        ):
            CallMessage.objects.update(text_state=state, text=text)
            for address in (self.list, self.page, self.call_page):
                with self.subTest(shown, address=address):
                    self.assertContains(self.client.get(address), shown)

    def test_one_whose_sound_never_came_says_so(self) -> None:
        Recording.objects.update(state="failed")
        for address in (self.list, self.page, self.call_page):
            self.assertContains(self.client.get(address), "The recording could not be fetched")

    def test_it_can_be_marked_as_handled_and_filtered_for(self) -> None:
        form = {"action": "mark_as_handled", "_selected_action": [self.message.pk]}
        self.client.post(self.list, form)
        self.message.refresh_from_db()
        self.assertEqual(self.message.handled_by, self.user)
        self.assertContains(self.client.get(self.list + "?kind__exact=voicemail"), "spoken, 0:34")
        self.assertNotContains(self.client.get(self.list + "?kind__exact=message"), "spoken, 0:34")

    def test_another_business_sees_neither_message_nor_sound(self) -> None:
        self.store()
        self.client.force_login(staff_member(Business.objects.create(name="Other"), name="stranger"))
        for address in (self.page, self.call_page, reverse("admin:calls_recording_address", args=[1])):
            self.assertIn(self.client.get(address).status_code, {302, 404})
        self.assertNotContains(self.client.get(self.list), "0:34")
