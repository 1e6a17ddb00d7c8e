"""The carrier's requests about calls that we placed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any
from unittest import mock

from django.db import OperationalError
from django.test import TransactionTestCase, override_settings
from django.utils import timezone
from twilio.request_validator import RequestValidator

from calls import doors, model_health, recorder, stream_tickets
from calls.carriers import twilio_dialling
from calls.carriers.answers import CarrierUnreachable
from calls.models import CallLog
from outbound import services, tasks
from outbound.models import OutboundCall
from tests.calls.support import ACCOUNT_SID, CALL_SID, OUR_NUMBER, a_business
from tests.calls.test_views import ORIGIN, WrittenAtOnce

NUMBER = "+12125550123"
PATHS = ("voice", "status", "machine")


@override_settings(
    PUBLIC_URL=ORIGIN, TWILIO_ACCOUNT_SID=ACCOUNT_SID, TWILIO_AUTH_TOKENS=["secret"], TWILIO_CONNECTION_OVERRIDES=""
)
class WebhookTest(TransactionTestCase):
    """TransactionTestCase: the views look rows up in other threads."""

    def setUp(self) -> None:
        self.business, self.version = a_business()
        self.recorder = WrittenAtOnce()
        self.enterContext(mock.patch.object(recorder, "get_recorder", lambda: self.recorder))
        self.addCleanup(doors.forget_agents)
        self.outbound = services.place_call(agent=self.version.agent, to=NUMBER, key="k", now=timezone.now())

    def post(self, what: str, *, token: str = "", signature: Any = None, **fields: str) -> Any:
        data = {"CallSid": CALL_SID, "AccountSid": ACCOUNT_SID, "From": OUR_NUMBER, "To": NUMBER}
        data |= {"CallStatus": "in-progress", "Direction": "outbound-api", **fields}
        path = f"/twilio/outbound/{what}/?o={token or self.outbound.token}"
        if signature is None:
            signature = RequestValidator("secret").compute_signature(ORIGIN + path, data)
        return self.client.post(path, data, headers={"X-Twilio-Signature": signature})

    def fresh(self) -> OutboundCall:
        return OutboundCall.objects.get(pk=self.outbound.pk)

    def verbs(self, response: Any) -> list[str]:
        self.assertEqual((response.status_code, response["Content-Type"]), (200, "text/xml"))
        return [child.tag for child in ElementTree.fromstring(response.content)]

    def test_without_the_carriers_signature_nothing_happens(self) -> None:
        for what in PATHS:
            with self.subTest(what), self.assertLogs("calls.signed", "WARNING"):
                self.assertEqual(self.post(what, signature="bm8=").status_code, 403)
        self.assertEqual(self.fresh().state, "waiting")
        self.assertFalse(CallLog.objects.exists())

    def test_whoever_answers_is_connected_to_an_agent_that_may_put_them_onto_the_list(self) -> None:
        response = self.post("voice")
        self.assertEqual(self.verbs(response), ["Connect", "Redirect"])
        stream = ElementTree.fromstring(response.content)[0][0]
        ticket = stream_tickets.read_ticket(stream.attrib["url"].split("/")[-2], CALL_SID)
        self.assertEqual((ticket.agent_version_id, ticket.is_outbound), (self.version.pk, True))
        who = stream_tickets.read_token(stream[0].attrib["value"], ticket)
        self.assertEqual((who.from_number, who.to_number, who.direction), (OUR_NUMBER, NUMBER, "outbound"))
        self.assertEqual((self.fresh().state, self.fresh().call_sid), ("in-progress", CALL_SID))
        row = CallLog.objects.get()
        self.assertEqual((row.direction, row.to_number, row.agent_version), ("outbound", NUMBER, self.version))

    def test_a_call_that_nobody_asked_for_and_a_second_one_are_hung_up(self) -> None:
        with self.assertLogs("outbound.views", "ERROR"):
            self.assertEqual(self.verbs(self.post("voice", token="f" * 32)), ["Hangup"])
        self.post("voice")
        with self.assertLogs("outbound", "ERROR"):
            self.assertEqual(self.verbs(self.post("voice", CallSid="CA" + "8" * 32)), ["Hangup"])
        self.assertEqual(self.fresh().call_sid, CALL_SID)

    def test_when_rows_or_the_model_cannot_be_had_somebody_who_answered_hears_so(self) -> None:
        away = mock.patch.object(services, "placed", side_effect=OperationalError("away"))
        with away, self.assertLogs("outbound.views", "ERROR") as logs:
            self.assertEqual(self.verbs(self.post("voice")), ["Say", "Hangup"])
            self.assertEqual(self.post("status").status_code, 503)
            self.assertEqual(self.post("machine", AnsweredBy="human").status_code, 503)
        self.assertNotIn(NUMBER, str([vars(record) for record in logs.records]))
        failing = mock.patch.object(model_health, "may_try", return_value=False)
        with failing, self.assertLogs("outbound.views", "ERROR"):
            self.assertEqual(self.verbs(self.post("voice")), ["Say", "Hangup"])

    def test_who_was_not_reached_has_a_whole_record(self) -> None:
        self.assertEqual(self.post("status", CallStatus="busy", SequenceNumber="2").status_code, 204)
        row = CallLog.objects.get()
        self.assertEqual((row.status, row.ended_reason, row.is_complete), ("busy", "", True))
        self.assertEqual(self.fresh().state, "busy")
        self.assertEqual(self.post("status", CallStatus="exploded").status_code, 400)

    def test_a_verdict_is_kept_and_only_a_machine_is_acted_on(self) -> None:
        with mock.patch.object(tasks.leave_message, "apply_async") as asked:
            self.assertEqual(self.post("machine", AnsweredBy="human").status_code, 204)
            asked.assert_not_called()
            self.assertEqual((self.fresh().answered_by, CallLog.objects.get().answered_by), ("human", "human"))
        OutboundCall.objects.update(answered_by="")
        with mock.patch.object(tasks.leave_message, "apply_async") as asked:
            self.post("machine", AnsweredBy="machine_end_beep")
            asked.assert_called_once()

    def test_a_message_is_left_once_and_the_log_says_so(self) -> None:
        OutboundCall.objects.update(message="Call us.", call_sid=CALL_SID, answered_by="machine_end_beep")
        said: list[tuple[str, ...]] = []

        def say(*arguments: str) -> bool:
            said.append(arguments)
            return True

        with mock.patch.object(twilio_dialling, "say_to_machine_and_hang_up", say):
            for _ in range(2):
                tasks.leave_message(self.outbound.pk)
        self.assertEqual(said, [(CALL_SID, "Call us.", "en")])
        row = CallLog.objects.get()
        self.assertEqual((row.ended_reason, row.answered_by), ("left_message", "machine_end_beep"))
        self.recorder.finalize_call_log(
            call_sid=CALL_SID,
            business_id=self.business.pk,
            status="completed",
            duration_seconds=9,
            transcript="",
            ended_reason="caller_hung_up",
        )
        self.assertEqual(CallLog.objects.get().ended_reason, "left_message")

    def test_a_message_that_came_too_late_is_not_said_to_be_left(self) -> None:
        OutboundCall.objects.update(message="Call us.", call_sid=CALL_SID, answered_by="machine_end_beep")
        with mock.patch.object(twilio_dialling, "say_to_machine_and_hang_up", return_value=False):
            tasks.leave_message(self.outbound.pk)
        self.assertIsNone(self.fresh().message_left_at)
        self.assertEqual(CallLog.objects.get().ended_reason, "machine")

    def test_while_the_carrier_cannot_be_reached_it_is_tried_again(self) -> None:
        OutboundCall.objects.update(message="Call us.", call_sid=CALL_SID, answered_by="machine_end_beep")
        away = mock.patch.object(twilio_dialling, "say_to_machine_and_hang_up", side_effect=CarrierUnreachable("away"))
        with away, self.assertLogs("outbound.tasks", "WARNING"), self.assertRaises(CarrierUnreachable):
            tasks.leave_message(self.outbound.pk)
        self.assertIsNone(self.fresh().message_left_at)
