"""The carrier's webhooks: signed, quick, and never a lost caller."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ElementTree
from typing import Any
from unittest import mock

from django.core.cache import cache
from django.db import OperationalError
from django.http import HttpResponse
from django.test import TransactionTestCase, override_settings
from twilio.request_validator import RequestValidator

from businesses.models import AgentVersion, Business, PhoneNumber
from calls import answering, doors, live_calls, model_health, recorder, services, stream_tickets
from calls.models import CallLog
from tests.calls.support import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER, a_business

ORIGIN = "https://agent.example.com"
FORWARD_TO = "+15550100199"


class WrittenAtOnce:
    """In the recorder's place: facts go straight to the services, and are kept for the test to see."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, dict[str, Any]]] = []

    def create_call_log(self, **arguments: Any) -> None:
        self.facts.append(("create_call_log", arguments))
        services.create_call_log(**arguments)

    def apply_call_status(self, **arguments: Any) -> None:
        self.facts.append(("apply_call_status", arguments))
        services.apply_call_status(**arguments)

    def save_recording(self, **arguments: Any) -> None:
        self.facts.append(("save_recording", arguments))
        services.save_recording(**arguments)

    def save_leg(self, **arguments: Any) -> None:
        self.facts.append(("save_leg", arguments))
        services.save_leg(**arguments)

    def finalize_call_log(self, **arguments: Any) -> None:
        self.facts.append(("finalize_call_log", arguments))
        services.finalize_call_log(**arguments)


@override_settings(
    PUBLIC_URL=ORIGIN, TWILIO_ACCOUNT_SID=ACCOUNT_SID, TWILIO_AUTH_TOKENS=["secret"], TWILIO_CONNECTION_OVERRIDES=""
)
class WebhookTest(TransactionTestCase):
    """TransactionTestCase: the views look rows up in other threads."""

    def setUp(self) -> None:
        self.business, self.version = a_business(forwarding_number=FORWARD_TO, language="de")
        self.recorder = WrittenAtOnce()
        patch = mock.patch.object(recorder, "get_recorder", lambda: self.recorder)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(doors.forget_agents)
        self.addCleanup(live_calls.note_ended, CALL_SID, "")

    def post(self, path: str, *, signature: Any = None, headers: Any = None, **fields: str) -> Any:
        data = {
            "CallSid": CALL_SID,
            "AccountSid": ACCOUNT_SID,
            "From": CALLER,
            "To": OUR_NUMBER,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
            "CallerName": "",
            **fields,
        }
        if signature is None:
            signature = RequestValidator("secret").compute_signature(ORIGIN + path, data)
        return self.client.post(path, data, headers={"X-Twilio-Signature": signature, **(headers or {})})

    def verbs(self, response: HttpResponse) -> list[str]:
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response["Content-Type"], "text/xml")
        return [child.tag for child in ElementTree.fromstring(response.content)]


class RefusedRequestsTest(WebhookTest):
    paths = ("/twilio/voice/", "/twilio/stream-ended/", "/twilio/status/")

    def assert_refused(self, response: Any) -> None:
        self.assertEqual(response.status_code, 403)
        self.assertFalse(CallLog.objects.exists())
        self.assertEqual(self.recorder.facts, [])

    def test_without_twilios_signature_nothing_happens(self) -> None:
        for path in self.paths:
            with self.subTest(path=path), self.assertLogs("calls.signed", "WARNING") as logs:
                for signature in ("", "bm90IHR3aWxpbydzIHNpZ25hdHVyZQ=="):
                    with self.assertNumQueries(0), mock.patch.object(answering, "_within", side_effect=AssertionError):
                        response = self.post(path, signature=signature)
                    self.assert_refused(response)
            self.assertNotIn(CALLER, str([vars(record) for record in logs.records]))

    def test_another_account_or_shape_is_refused_though_signed(self) -> None:
        for fields in (
            {"AccountSid": "AC" + "9" * 32},
            {"AccountSid": ""},
            {"CallSid": "CA1"},
            {"CallSid": CALL_SID + "\n"},
            {"CallSid": "x" * 500},
        ):
            for path in self.paths:
                with self.subTest(path=path, fields=fields), self.assertLogs("calls.signed", "WARNING"):
                    self.assert_refused(self.post(path, **fields))

    def test_moved_boundaries_between_parameters_are_refused(self) -> None:
        """The signed text has no separators: `CallSid=CA1` and `CallSidC=A1` are signed alike."""
        data = {"CallSid": CALL_SID, "AccountSid": ACCOUNT_SID}
        signature = RequestValidator("secret").compute_signature(ORIGIN + "/twilio/voice/", data)
        moved = {"CallSidC": CALL_SID[1:], "AccountSid": ACCOUNT_SID}
        with self.assertLogs("calls.signed", "WARNING"):
            response = self.client.post("/twilio/voice/", moved, headers={"X-Twilio-Signature": signature})
        self.assert_refused(response)

    def test_only_posts_are_taken_and_nothing_is_redirected(self) -> None:
        for path in self.paths:
            self.assertEqual(self.client.get(path).status_code, 405)
            self.assertEqual(self.client.post(path.rstrip("/")).status_code, 404)


class IncomingCallTest(WebhookTest):
    def test_a_call_is_connected_to_a_stream_of_its_own(self) -> None:
        response = self.post("/twilio/voice/")
        self.assertEqual(self.verbs(response), ["Connect", "Redirect"])
        stream = ElementTree.fromstring(response.content)[0][0]
        prefix = f"wss://agent.example.com/media/stream/{CALL_SID}/"
        self.assertTrue(stream.attrib["url"].startswith(prefix))
        ticket = stream_tickets.read_ticket(stream.attrib["url"][len(prefix) :].rstrip("/"), CALL_SID)
        self.assertEqual((ticket.business_id, ticket.agent_version_id), (self.business.pk, self.version.pk))
        who = stream_tickets.read_token(stream[0].attrib["value"], ticket)
        self.assertEqual((who.from_number, who.to_number, who.account_sid), (CALLER, OUR_NUMBER, ACCOUNT_SID))

    def test_a_call_has_a_row_before_its_stream_opens(self) -> None:
        self.post("/twilio/voice/")
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.from_number, call.to_number), ("ringing", CALLER, OUR_NUMBER))
        self.assertEqual(call.agent_version_id, self.version.pk)

    def test_a_repeated_webhook_is_answered_again_and_leaves_one_row(self) -> None:
        token = {"I-Twilio-Idempotency-Token": "0d6b6a0e"}
        answers = [self.post("/twilio/voice/", headers=token) for _ in range(2)]
        for answer in answers:
            self.assertEqual(self.verbs(answer), ["Connect", "Redirect"])
        self.assertEqual(CallLog.objects.count(), 1)

    def test_a_webhook_sent_again_after_the_call_opens_nothing(self) -> None:
        self.post("/twilio/voice/")
        CallLog.objects.update(status="completed")
        self.assertEqual(self.verbs(self.post("/twilio/voice/")), ["Hangup"])

    def test_a_caller_who_withholds_the_number_is_answered(self) -> None:
        for caller in ("anonymous", "sip:ada@example.com", "client:ada", "", "+266696687"):
            self.assertEqual(self.verbs(self.post("/twilio/voice/", From=caller)), ["Connect", "Redirect"])

    def test_a_number_that_answers_nobody_says_so_politely(self) -> None:
        def inactive_number() -> None:
            PhoneNumber.objects.update(is_active=False)

        def inactive_business() -> None:
            PhoneNumber.objects.update(is_active=True)
            Business.objects.update(is_active=False)

        def no_published_version() -> None:
            Business.objects.update(is_active=True)
            AgentVersion.objects.all().update(published_at=None)

        def unknown_number() -> None:
            PhoneNumber.objects.all().delete()

        for change in (inactive_number, inactive_business, no_published_version, unknown_number):
            change()
            with self.subTest(change.__name__), self.assertLogs("calls", "WARNING") as logs:
                self.assertEqual(self.verbs(self.post("/twilio/voice/")), ["Say", "Hangup"])
            self.assertNotIn(CALLER, str([vars(record) for record in logs.records]))
        self.assertEqual(self.recorder.facts, [])

    def test_a_business_is_excused_in_its_own_language(self) -> None:
        Business.objects.update(is_active=False)
        with self.assertLogs("calls", "WARNING"):
            self.assertIn("Es tut uns leid", self.post("/twilio/voice/").content.decode())

    def test_without_a_database_the_caller_hears_a_sentence(self) -> None:
        with (
            mock.patch.object(answering, "_answer", side_effect=OperationalError("row: my secret")),
            self.assertLogs("calls.views", "ERROR") as logs,
        ):
            self.assertEqual(self.verbs(self.post("/twilio/voice/")), ["Say", "Hangup"])
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))

    def test_a_database_that_hangs_is_not_waited_for(self) -> None:
        release = threading.Event()
        self.addCleanup(release.set)
        with (
            mock.patch.object(answering, "_answer", lambda *_: release.wait(30)),
            mock.patch("calls.views.ANSWER_DEADLINE_SECONDS", 0.1),
            self.assertLogs("calls.views", "ERROR"),
        ):
            began = time.monotonic()
            self.assertEqual(self.verbs(self.post("/twilio/voice/")), ["Say", "Hangup"])
            self.assertLess(time.monotonic() - began, 5)

    def test_the_agent_is_at_hand_when_the_stream_opens(self) -> None:
        self.post("/twilio/voice/")
        self.assertEqual(doors._agents[self.version.pk].greeting, self.version.greeting)


class StreamEndedTest(WebhookTest):
    def ended(self, query: str = "?stream=0", **fields: str) -> Any:
        return self.post(f"/twilio/stream-ended/{query}", **{"CallStatus": "in-progress", **fields})

    def document(self, response: Any) -> ElementTree.Element:
        return ElementTree.fromstring(response.content)

    def assert_resumed(self, response: Any, number: int) -> stream_tickets.Ticket:
        """The caller is connected to a new stream of the same call, business and agent."""
        connect, redirect = self.document(response)
        self.assertEqual(connect.attrib["action"], f"{ORIGIN}/twilio/stream-ended/?stream={number}")
        self.assertEqual(redirect.text, connect.attrib["action"])
        (stream,) = connect
        ticket = stream_tickets.read_ticket(stream.attrib["url"].split("/")[-2], CALL_SID)
        token = stream_tickets.read_token(stream[0].attrib["value"], ticket)
        self.assertEqual(ticket.stream_number, number)
        self.assertEqual((ticket.business_id, ticket.agent_version_id), (self.business.pk, self.version.pk))
        self.assertEqual((token.from_number, token.to_number), (CALLER, OUR_NUMBER))
        return ticket

    def a_call(self, **fields: Any) -> None:
        CallLog.objects.create(call_sid=CALL_SID, business=self.business, status="in-progress", **fields)

    def test_a_call_that_this_process_saw_end_well_is_hung_up_without_asking_the_database(self) -> None:
        for reason in ("agent_ended", "caller_hung_up", "max_duration"):
            live_calls.note_ended(CALL_SID, reason)
            with mock.patch.object(answering, "_aftermath", side_effect=AssertionError):
                self.assertEqual(self.verbs(self.ended()), ["Hangup"])

    def test_a_call_that_the_row_says_ended_well_is_hung_up(self) -> None:
        self.a_call(ended_reason="agent_ended")
        self.assertEqual(self.verbs(self.ended()), ["Hangup"])

    def test_a_call_that_is_over_is_hung_up_and_ended_without_its_callback(self) -> None:
        self.a_call()
        self.assertEqual(self.verbs(self.ended(CallStatus="completed")), ["Hangup"])
        self.assertEqual(CallLog.objects.get().status, "completed")

    def test_a_call_that_we_hang_up_ends_without_its_callback(self) -> None:
        Business.objects.update(forwarding_number="")
        self.a_call(agent_version=self.version)
        with self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.verbs(self.ended("?stream=2")), ["Say", "Hangup"])
        self.assertEqual(CallLog.objects.get().status, "completed")

    def test_the_end_of_a_call_is_not_waited_for_in_a_sick_database(self) -> None:
        with (
            mock.patch.object(answering, "_business_of", side_effect=OperationalError("row: my secret")),
            self.assertLogs("calls", "WARNING") as logs,
        ):
            self.assertEqual(self.verbs(self.ended(CallStatus="completed")), ["Hangup"])
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))

    def test_how_another_process_saw_it_end_is_known_before_the_row_says_it(self) -> None:
        self.a_call()
        self.addCleanup(cache.clear)
        live_calls.note_ended(CALL_SID, "agent_ended", 1)
        live_calls.share_ending(CALL_SID, 1)
        live_calls.note_ended(CALL_SID, "", 1)  # this process forgets
        self.assertEqual(self.verbs(self.ended("?stream=1")), ["Hangup"])
        with self.assertLogs("calls", "WARNING"):
            self.assert_resumed(self.ended("?stream=0"), 1)

    def test_a_caller_who_was_cut_off_is_connected_anew(self) -> None:
        self.a_call(agent_version=self.version)
        for reason in ("stream_lost", "never_connected", "server_stopped"):
            live_calls.note_ended(CALL_SID, reason)
            with self.subTest(reason), self.assertLogs("calls", "WARNING") as logs:
                self.assert_resumed(self.ended(), 1)
            self.assertNotIn(CALLER, str([vars(record) for record in logs.records]))

    def test_the_agent_of_the_call_goes_on_with_it_whatever_was_published_since(self) -> None:
        self.a_call(agent_version=self.version)
        self.version.agent.start_draft(like=self.version).publish()
        with self.assertLogs("calls", "WARNING"):
            self.assert_resumed(self.ended(), 1)

    def test_twice_at_most_then_a_person(self) -> None:
        self.a_call(agent_version=self.version)
        with self.assertLogs("calls", "WARNING") as logs:
            self.assert_resumed(self.ended("?stream=1"), 2)
            for query in ("?stream=2", "?stream=3", "?stream=-1", "?stream=x", "?stream=0&stream=0", ""):
                response = self.ended(query)
                self.assertEqual(self.verbs(response), ["Dial"], query)
                self.assertIn(FORWARD_TO, response.content.decode())
        self.assertNotIn(FORWARD_TO, str([vars(record) for record in logs.records]))

    def test_a_model_that_failed_is_not_asked_again(self) -> None:
        self.a_call(agent_version=self.version)
        live_calls.note_ended(CALL_SID, "model_failed")
        with self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.verbs(self.ended()), ["Dial"])

    def test_a_server_that_stops_without_another_one_hands_the_caller_to_a_person(self) -> None:
        self.a_call(agent_version=self.version)
        live_calls.note_ended(CALL_SID, "server_stopped")
        with override_settings(DRAIN_SECONDS=0), self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.verbs(self.ended()), ["Dial"])

    def test_where_there_is_no_room_the_caller_comes_again_and_then_reaches_a_person(self) -> None:
        self.a_call(agent_version=self.version)
        with (
            mock.patch("calls.admission.admit", return_value="draining"),
            self.assertLogs("calls", "WARNING"),
        ):
            response = self.ended()
            self.assertEqual(self.verbs(response), ["Pause", "Redirect"])
            self.assertEqual(self.document(response)[1].text, f"{ORIGIN}/twilio/stream-ended/?stream=0&held=1")
            self.assertEqual(self.verbs(self.ended("?stream=0&held=4")), ["Pause", "Redirect"])
            self.assertEqual(self.verbs(self.ended("?stream=0&held=5")), ["Dial"])

    def test_when_nobody_knows_how_it_ended_the_caller_is_not_lost(self) -> None:
        with self.assertLogs("calls", "WARNING"):
            self.assert_resumed(self.ended(), 1)  # no row yet: the dialled number says whose it is
        self.a_call(agent_version=self.version)
        with self.assertLogs("calls", "WARNING"):
            self.assert_resumed(self.ended(), 1)

    def test_the_row_of_a_failed_call_does_not_make_it_end_well(self) -> None:
        """The database may hear of the end, and of the carrier's status, before the carrier asks."""
        self.a_call(ended_reason="")
        CallLog.objects.update(status="completed")
        live_calls.note_ended(CALL_SID, "model_failed")
        with self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.verbs(self.ended()), ["Dial"])

    def test_without_a_forwarding_number_there_is_an_apology(self) -> None:
        Business.objects.update(forwarding_number="")
        with self.assertLogs("calls", "WARNING"):
            response = self.ended("?stream=2")
        self.assertEqual(self.verbs(response), ["Say", "Hangup"])
        self.assertIn("unterbrochen", response.content.decode())

    def test_nobody_is_forwarded_in_circles(self) -> None:
        Business.objects.update(forwarding_number=OUR_NUMBER)
        with self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.verbs(self.ended("?stream=2")), ["Say", "Hangup"])

    def test_without_a_database_the_caller_waits_a_moment_and_then_hears_an_apology(self) -> None:
        with (
            mock.patch.object(answering, "_aftermath", side_effect=OperationalError),
            self.assertLogs("calls", "WARNING"),
        ):
            response = self.ended("?stream=1")
            self.assertEqual(self.verbs(response), ["Pause", "Redirect"])
            self.assertEqual(self.document(response)[1].text, f"{ORIGIN}/twilio/stream-ended/?stream=1&held=1")
            self.assertEqual(self.verbs(self.ended("?stream=1&held=5")), ["Say", "Hangup"])


class ModelDownTest(WebhookTest):
    """The model has failed call after call: the next caller must not find out the same way."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(model_health.note_success, "")
        for _ in range(model_health.FAILURES):
            model_health.note_failure("", time.monotonic(), permanent=False)

    def test_callers_are_put_through_at_once_and_the_row_says_why(self) -> None:
        Business.objects.update(forwarding_number="+15550100177")
        with self.assertLogs("calls.views", "ERROR"):
            self.assertEqual(self.verbs(self.post("/twilio/voice/")), ["Dial"])
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.ended_reason, call.agent_version), ("in-progress", "model_failed", None))

    def test_without_anybody_to_put_them_through_to_they_may_leave_a_message(self) -> None:
        Business.objects.update(forwarding_number="")
        with self.assertLogs("calls.views", "ERROR"):
            self.assertEqual(self.verbs(self.post("/twilio/voice/")), ["Say", "Record", "Say", "Hangup"])
        call = CallLog.objects.get()
        self.assertEqual((call.ended_reason, call.recording_consent), ("model_failed", "voicemail"))

    def test_one_call_after_the_rest_tries_it_and_success_lets_everybody_in(self) -> None:
        later = time.monotonic() + model_health.REST_SECONDS + 1
        with mock.patch("calls.views.time.monotonic", lambda: later):
            self.assertEqual(self.verbs(self.post("/twilio/voice/"))[0], "Connect")
            with self.assertLogs("calls.views", "ERROR"):
                self.assertNotIn("Connect", self.verbs(self.post("/twilio/voice/", CallSid="CA" + "5" * 32)))
        model_health.note_success("")
        self.assertEqual(self.verbs(self.post("/twilio/voice/", CallSid="CA" + "6" * 32))[0], "Connect")

    def test_a_model_that_refuses_us_is_named_as_such_after_one_call(self) -> None:
        model_health.note_success("")
        model_health.note_failure("", time.monotonic(), permanent=True)
        with self.assertLogs("calls.views", "ERROR"):
            self.post("/twilio/voice/")
        self.assertEqual(CallLog.objects.get().ended_reason, "model_refused")


class StatusTest(WebhookTest):
    def status(self, status: str, number: int = 0, **fields: str) -> int:
        response = self.post("/twilio/status/", CallStatus=status, SequenceNumber=str(number), **fields)
        code: int = response.status_code
        return code

    def test_statuses_in_any_order_only_go_forward(self) -> None:
        for number, status in [(2, "in-progress"), (0, "initiated"), (3, "completed"), (1, "ringing")]:
            self.assertEqual(self.status(status, number, CallDuration="41" if status == "completed" else ""), 204)
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.duration_seconds, call.business_id), ("completed", 41, self.business.pk))

    def test_the_carriers_time_is_kept(self) -> None:
        self.status("completed", Timestamp="Tue, 24 Nov 2026 10:00:07 +0000")
        ended_at = CallLog.objects.get().ended_at
        assert ended_at is not None
        self.assertEqual(ended_at.isoformat(), "2026-11-24T10:00:07+00:00")

    def test_the_live_call_is_told_before_anything_else(self) -> None:
        told: list[str] = []
        live_calls.register(CALL_SID, lambda: told.append("over"))
        self.addCleanup(live_calls.unregister, CALL_SID)
        self.status("in-progress")
        self.assertEqual(told, [])
        with (
            mock.patch.object(answering, "_business_of", side_effect=OperationalError),
            self.assertLogs("calls.views", "ERROR"),
        ):
            self.assertEqual(self.status("completed"), 503)
        self.assertEqual(told, ["over"])

    def test_a_call_we_placed_is_known_by_its_caller(self) -> None:
        self.status("ringing", From=OUR_NUMBER, To=CALLER, Direction="outbound-api")
        self.assertEqual(CallLog.objects.get().business_id, self.business.pk)

    def test_a_call_of_nobody_leaves_no_row(self) -> None:
        with self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.status("ringing", To="+15550100142"), 204)
        self.assertFalse(CallLog.objects.exists())

    def test_rubbish_in_single_fields_is_passed_over(self) -> None:
        fields = {"CallDuration": "-4", "Timestamp": "soon", "SequenceNumber": "x"}
        self.assertEqual(self.post("/twilio/status/", **{**fields, "CallStatus": "completed"}).status_code, 204)
        self.assertIsNone(CallLog.objects.get().duration_seconds)
        self.assertEqual(self.post("/twilio/status/", CallStatus="exploded").status_code, 400)


class QuickAnswersTest(WebhookTest):
    def test_ten_answers_take_a_tenth_of_a_second_each_at_most(self) -> None:
        self.post("/twilio/voice/")
        times = []
        for number in range(10):
            began = time.perf_counter()
            self.post("/twilio/voice/", CallSid=f"CA{number:032x}")
            times.append(time.perf_counter() - began)
        self.assertLess(sorted(times)[5], 0.1)
