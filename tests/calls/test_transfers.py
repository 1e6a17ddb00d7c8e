"""Callers who are put through: what the carrier is told to dial, and what becomes of it."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ElementTree
from datetime import timedelta
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from django.core.cache import cache
from django.db import OperationalError
from django.test import TestCase
from django.utils import timezone

from businesses.models import AgentVersion, Business, DialPolicy, PhoneNumber, TransferTarget
from calls import answering, doors, holding, live_calls, resuming, services, stream_tickets, transfers
from calls.dial_policy import Allowed, Refused
from calls.live_calls import AskedTransfer
from calls.models import CallLeg, CallLog
from calls.streams import MAX_RESUMPTIONS, MAX_TRANSFERS
from tests.calls.support import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER, a_business
from tests.calls.test_views import ORIGIN, WebhookTest

COLLEAGUE, LEG_SID = "+12125550171", "CA" + "5" * 32
ENDED, OVER, STATUS = "/twilio/stream-ended/", "/twilio/transfer-ended/", "/twilio/leg-status/"


def a_target(business: Business, name: str = "Nina", number: str = COLLEAGUE, **fields: Any) -> TransferTarget:
    return TransferTarget.objects.create(business=business, name=name, number=number, **fields)


class RowsTest(TestCase):
    def setUp(self) -> None:
        self.business, _ = a_business()
        self.other, _ = a_business("+15550100101", name="Other")
        self.now = timezone.now()

    def leg(self, state: str = "no-answer", **fields: Any) -> CallLeg:
        call, _ = CallLog.objects.get_or_create(call_sid=CALL_SID, business=self.business)
        key = f"call_{CallLeg.objects.count()}"
        fields = {"key": key, "kind": "cold", "asked_at": self.now, **fields}
        return CallLeg.objects.create(business=self.business, call=call, state=state, **fields)

    def verdict(self, target: TransferTarget) -> Any:
        return transfers.verdict(CALL_SID, self.business.pk, target.pk, self.now)

    def test_an_agent_may_choose_among_the_active_targets_of_its_business(self) -> None:
        nina = a_target(self.business, description="Sales")
        a_target(self.business, "Bert", is_active=False)
        a_target(self.other, "Spy")
        [option] = transfers.options(self.business.pk)
        self.assertEqual((option.id, option.name, option.description, option.kind), (nina.pk, "Nina", "Sales", "cold"))
        self.assertNotIn(COLLEAGUE, repr(option))

    def test_the_dial_policy_decides(self) -> None:
        self.assertEqual(self.verdict(a_target(self.business)), Allowed(COLLEAGUE, "US", 1800))
        for name, number, code in (
            ("abroad", "+4930901820", "country"),
            ("costly", "+19005550174", "premium"),
            ("here", OUR_NUMBER, "own_number"),
            ("at the other business", "+15550100101", "own_number"),
        ):
            with self.subTest(name):
                self.assertEqual(self.verdict(a_target(self.business, name, number)), Refused(code))

    def test_another_businesss_target_is_none(self) -> None:
        theirs = a_target(self.other)
        self.assertEqual(self.verdict(theirs), Refused("no_target"))
        leg = transfers.to_dial(CALL_SID, self.business.pk, AskedTransfer("call_1", theirs.pk), self.now)
        assert leg is not None
        self.assertEqual((leg.number, leg.refusal), ("", "no_target"))

    def test_a_call_is_put_through_so_often_and_what_was_never_dialled_does_not_count(self) -> None:
        target = a_target(self.business)
        for _ in range(MAX_TRANSFERS):
            self.leg("refused", reason="premium")
        for _ in range(MAX_TRANSFERS):
            self.assertIsInstance(self.verdict(target), Allowed)
            self.leg()
        self.assertEqual(self.verdict(target), Refused("per_call"))

    def test_the_caps_count_what_was_dialled_but_for_the_leg_itself(self) -> None:
        DialPolicy.objects.create(business=self.business, max_per_hour=2)
        target = a_target(self.business)
        self.leg("refused", reason="premium")
        self.leg("refused", reason="said_no", answered_at=self.now)  # a colleague, who was called for it
        mine = self.leg("asked", asked_at=self.now - timedelta(seconds=3))
        self.assertEqual(self.verdict(target), Refused("hourly_cap"))
        asked = AskedTransfer(mine.key, target.pk)
        leg = transfers.to_dial(CALL_SID, self.business.pk, asked, self.now)
        assert leg is not None
        self.assertEqual((leg.refusal, leg.number), ("", COLLEAGUE))
        self.leg("completed")
        leg = transfers.to_dial(CALL_SID, self.business.pk, asked, self.now)
        assert leg is not None
        self.assertEqual((leg.refusal, leg.number), ("hourly_cap", ""))

    def test_where_no_process_tells_the_row_does(self) -> None:
        a_target(self.business)
        self.assertIsNone(transfers.to_dial(CALL_SID, self.business.pk, None, self.now))
        self.leg("no-answer", target_name="Nina", asked_at=self.now - timedelta(minutes=1))
        self.assertIsNone(transfers.to_dial(CALL_SID, self.business.pk, None, self.now))
        asked = self.leg("asked", target_name="Nina")
        leg = transfers.to_dial(CALL_SID, self.business.pk, None, self.now)
        assert leg is not None
        self.assertEqual((leg.key, leg.number), (asked.key, COLLEAGUE))
        self.assertNotIn(COLLEAGUE, repr(leg))


class DialCase(WebhookTest):
    """A call with a target, and what the carrier asks about it."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(mock.patch.object(resuming, "DEADLINE_SECONDS", 10.0))  # the machine may be busy
        Business.objects.update(language="en")
        self.target = a_target(self.business, ring_seconds=25)
        self.addCleanup(cache.clear)
        self.addCleanup(holding.forget)
        self.addCleanup(live_calls.note_transfer, CALL_SID, AskedTransfer("", 0))

    def a_call(self, **fields: Any) -> CallLog:
        return CallLog.objects.create(
            call_sid=CALL_SID,
            business=self.business,
            agent_version=self.version,
            status="in-progress",
            from_number=CALLER,
            to_number=OUR_NUMBER,
            **fields,
        )

    def transferred(self) -> None:
        """The end of its stream is in the row."""
        services.finalize_call_log(
            call_sid=CALL_SID,
            business_id=self.business.pk,
            status="in-progress",
            duration_seconds=9,
            transcript="",
            ended_reason="transferred",
        )

    def asked(self, target: TransferTarget | None = None, key: str = "call_1", stream: int = 0) -> None:
        """As the agent leaves it behind."""
        live_calls.note_ended(CALL_SID, "transferred", stream)
        live_calls.note_transfer(CALL_SID, AskedTransfer(key, (target or self.target).pk))

    def ended(self, query: str = "?stream=0", **fields: str) -> Any:
        return self.post(ENDED + query, CallStatus="in-progress", **fields)

    def over(self, status: str, query: str = "", **fields: str) -> Any:
        told = {"CallStatus": "in-progress", "DialCallStatus": status, "DialCallSid": LEG_SID, **fields}
        path = f"{OVER}?{query or f'business={self.business.pk}&leg=call_1&stream=0&returned=0'}"
        return self.post(path, **told)

    def dial(self, response: Any) -> ElementTree.Element:
        self.assertEqual(self.verbs(response), ["Dial"])
        return ElementTree.fromstring(response.content)[0]

    def stream_of(self, response: Any) -> tuple[stream_tickets.Ticket, str]:
        """The ticket of a new stream, and where the carrier asks when that has ended."""
        self.assertEqual(self.verbs(response), ["Connect", "Redirect"])
        connect = ElementTree.fromstring(response.content)[0]
        ticket = connect[0].attrib["url"].rstrip("/").rpartition("/")[2]
        return stream_tickets.read_ticket(ticket, CALL_SID), connect.attrib["action"]


class DialTest(DialCase):
    """A stream ended to put the caller through: the carrier asks what comes next."""

    def test_the_colleague_is_dialled_as_the_target_and_the_policy_say(self) -> None:
        DialPolicy.objects.create(business=self.business, max_call_seconds=900)
        self.a_call()
        self.asked(key="call_1/ä")
        dial = self.dial(self.ended())
        self.assertEqual(dial.attrib.pop("action").partition("?")[0], ORIGIN + OVER)
        self.assertEqual(dial.attrib, {"method": "POST", "timeout": "25", "timeLimit": "900", "answerOnBridge": "true"})
        [number] = dial
        self.assertEqual((number.tag, number.text), ("Number", COLLEAGUE))
        callback = urlsplit(number.attrib["statusCallback"])
        self.assertEqual(callback.path, STATUS)
        self.assertEqual(parse_qs(callback.query), {"business": [str(self.business.pk)], "leg": ["call_1/ä"]})
        self.assertNotIn(COLLEAGUE[1:], callback.query)
        leg = CallLeg.objects.get()
        self.assertEqual((leg.key, leg.number, leg.state, leg.target_name), ("call_1/ä", COLLEAGUE, "asked", "Nina"))

    def test_a_caller_without_a_number_and_one_whom_we_called_show_ours(self) -> None:
        self.a_call()
        self.asked()
        self.assertEqual(self.dial(self.ended(From="anonymous")).attrib["callerId"], OUR_NUMBER)
        called = {"From": OUR_NUMBER, "To": CALLER, "Direction": "outbound-api"}
        self.assertEqual(self.dial(self.ended(**called)).attrib["callerId"], OUR_NUMBER)

    def test_another_process_knows_it_by_the_cache_or_by_the_row(self) -> None:
        self.a_call()
        self.asked()
        live_calls.share_ending(CALL_SID, 0)
        nobody_here = mock.patch.multiple(live_calls, ended_reason=lambda *_: "", transfer=lambda *_: None)
        with nobody_here:
            self.assertEqual(self.dial(self.ended())[0].text, COLLEAGUE)
            cache.clear()
            self.transferred()
            self.assertEqual(self.dial(self.ended())[0].text, COLLEAGUE)
            CallLeg.objects.all().delete()
            with self.assertLogs("calls", "WARNING"):
                self.assertEqual(self.verbs(self.ended()), ["Pause", "Redirect"])  # it may be there in a moment
                self.assertTrue(self.stream_of(self.ended("?stream=0&held=5"))[0].came_back)

    def test_what_the_policy_forbids_by_then_is_not_dialled_and_the_agent_goes_on(self) -> None:
        self.a_call()
        self.asked()
        TransferTarget.objects.update(is_active=False)
        with self.assertLogs("calls.resuming", "WARNING") as logs:
            ticket, action = self.stream_of(self.ended())
        self.assertEqual((ticket.stream_number, ticket.came_back), (1, True))
        self.assertEqual(action, f"{ORIGIN}{ENDED}?stream=1&returned=1")
        self.assertEqual((CallLeg.objects.get().state, CallLeg.objects.get().reason), ("refused", "no_target"))
        self.assertNotIn(COLLEAGUE, str([vars(record) for record in logs.records]))

    def test_without_a_database_the_caller_waits_a_moment_and_is_with_the_agent_again(self) -> None:
        self.a_call()
        self.asked()
        with (
            mock.patch.object(transfers, "to_dial", side_effect=OperationalError),
            self.assertLogs("calls", "WARNING"),
        ):
            self.assertEqual(self.verbs(self.ended()), ["Pause", "Redirect"])
            self.assertTrue(self.stream_of(self.ended("?stream=0&held=5"))[0].came_back)

    def test_nobody_is_reached_the_caller_is_with_the_agent_again(self) -> None:
        self.a_call()
        for status, state in (("no-answer", "no-answer"), ("busy", "busy"), ("failed", "failed")):
            with self.subTest(status), self.assertLogs("calls", "WARNING"):
                CallLeg.objects.all().delete()
                ticket, action = self.stream_of(self.over(status))
                self.assertEqual((ticket.stream_number, ticket.came_back), (1, True))
                self.assertEqual(action, f"{ORIGIN}{ENDED}?stream=1&returned=1")
                leg = CallLeg.objects.get()
                self.assertEqual((leg.state, leg.leg_sid), (state, LEG_SID))

    def test_a_leg_that_was_answered_and_could_not_be_joined_was_not_reached(self) -> None:
        self.a_call()
        with self.assertLogs("calls", "WARNING"):
            self.stream_of(self.over("completed", DialBridged="false", DialCallDuration="4"))
        leg = CallLeg.objects.get()
        self.assertEqual((leg.state, leg.reason, leg.duration_seconds), ("failed", "", 4))

    def test_when_they_are_done_the_call_is_over(self) -> None:
        self.a_call()
        self.transferred()
        for fields in ({"CallStatus": "in-progress"}, {"CallStatus": "completed"}):
            CallLog.objects.update(status="in-progress")
            response = self.over("completed", DialBridged="true", DialCallDuration="64", **fields)
            self.assertEqual(self.verbs(response), ["Hangup"])
            self.assertEqual(CallLog.objects.get().status, "completed")
            self.assertEqual((CallLeg.objects.get().state, CallLeg.objects.get().duration_seconds), ("completed", 64))

    def test_a_caller_who_gave_up_is_told_from_a_colleague_who_did_not_answer(self) -> None:
        for status in ("canceled", "no-answer"):
            CallLeg.objects.all().delete()
            CallLog.objects.all().delete()
            self.a_call()
            self.assertEqual(self.verbs(self.over(status, CallStatus="completed")), ["Hangup"])
            self.assertEqual(CallLeg.objects.get().state, "canceled")

    def test_a_call_comes_back_so_often_and_then_reaches_somebody_else(self) -> None:
        self.a_call()
        query = f"business={self.business.pk}&leg=call_1&stream={MAX_TRANSFERS}&returned={MAX_TRANSFERS}"
        with self.assertLogs("calls", "WARNING"):
            self.assertEqual(self.dial(self.over("busy", query))[0].text, "+15550100199")
            self.asked(stream=MAX_TRANSFERS)
            response = self.ended(f"?stream={MAX_TRANSFERS}&returned={MAX_TRANSFERS}")
            self.assertEqual(self.dial(response)[0].text, "+15550100199")
        self.assertEqual(CallLeg.objects.get(key="call_1").reason, "per_call")
        self.assertEqual(CallLeg.objects.get(key="forward").kind, "forward")

    def test_coming_back_takes_nothing_from_what_a_lost_stream_may_be_replaced(self) -> None:
        self.a_call()
        with self.assertLogs("calls", "WARNING"):
            for returned in range(MAX_TRANSFERS + 1):
                live_calls.note_ended(CALL_SID, "stream_lost", returned)
                ticket, action = self.stream_of(self.ended(f"?stream={returned}&returned={returned}"))
                self.assertEqual((ticket.stream_number, ticket.came_back), (returned + 1, False))
                self.assertIn(f"?stream={returned + 1}", action)
            stream = MAX_RESUMPTIONS + MAX_TRANSFERS
            live_calls.note_ended(CALL_SID, "stream_lost", stream)
            self.dial(self.ended(f"?stream={stream}&returned={MAX_TRANSFERS}"))

    def test_what_is_none_of_our_numbers_is_the_last(self) -> None:
        self.a_call()
        with self.assertLogs("calls", "WARNING"):
            for query in ("?stream=-1", "?stream=99", "?stream=1&stream=0", "", "?stream=0&returned=x"):
                with self.subTest(query):
                    self.asked()
                    self.assertIn(self.verbs(self.ended(query)), [["Dial"], ["Connect", "Redirect"]])
            self.assertEqual(self.dial(self.over("busy", "returned=99"))[0].text, "+15550100199")

    def test_where_there_is_no_room_the_caller_comes_again_with_what_is_known(self) -> None:
        self.a_call()
        with mock.patch("calls.admission.admit", return_value="draining"), self.assertLogs("calls", "WARNING"):
            response = self.over("busy")
        self.assertEqual(self.verbs(response), ["Pause", "Redirect"])
        address = str(ElementTree.fromstring(response.content)[1].text)
        self.assertEqual(parse_qs(urlsplit(address).query)["held"], ["1"])
        with self.assertLogs("calls", "WARNING"):
            again = self.post(address.removeprefix(ORIGIN), CallStatus="in-progress")
        self.assertTrue(self.stream_of(again)[0].came_back)
        self.assertEqual(CallLeg.objects.get().state, "busy")

    def test_the_database_is_asked_again_whose_caller_it_is(self) -> None:
        self.a_call()
        with (
            mock.patch.object(answering, "_aftermath", side_effect=OperationalError),
            self.assertLogs("calls", "WARNING"),
        ):
            self.assertEqual(self.verbs(self.over("busy")), ["Pause", "Redirect"])

    def test_callbacks_of_a_leg_come_in_any_order(self) -> None:
        self.a_call()
        stamp = "Tue, 24 Nov 2026 10:00:27 +0000"
        for status in ("completed", "in-progress", "ringing", "initiated"):
            response = self.status_of_leg(CallStatus=status, Timestamp=stamp)
            self.assertEqual(response.status_code, 204)
        leg = CallLeg.objects.get()
        self.assertEqual((leg.state, leg.leg_sid), ("completed", LEG_SID))
        assert leg.answered_at is not None
        self.assertEqual(leg.answered_at.isoformat(), "2026-11-24T10:00:27+00:00")

    def status_of_leg(self, query: str = "", **fields: str) -> Any:
        of_leg = {"CallSid": LEG_SID, "ParentCallSid": CALL_SID, "Direction": "outbound-dial", "To": COLLEAGUE}
        return self.post(f"{STATUS}?{query or f'business={self.business.pk}&leg=call_1'}", **{**of_leg, **fields})

    def test_a_callback_of_nothing_we_know_is_a_mistake(self) -> None:
        self.a_call()
        self.assertEqual(self.status_of_leg(CallStatus="dancing").status_code, 400)
        self.assertEqual(self.status_of_leg(CallStatus="ringing", ParentCallSid="").status_code, 400)
        for query in ("leg=call_1", "business=x&leg=call_1", "business=1&leg="):
            with self.assertLogs("calls.transfer_views", "ERROR"):
                self.assertEqual(self.status_of_leg(query, CallStatus="ringing").status_code, 204)
        self.assertFalse(CallLeg.objects.exists())

    def test_a_leg_of_another_business_changes_nothing(self) -> None:
        self.a_call()
        other, _ = a_business("+15550100101", name="Other")
        self.assertEqual(self.status_of_leg(f"business={other.pk}&leg=call_1", CallStatus="ringing").status_code, 204)
        self.assertFalse(CallLeg.objects.exists())

    def test_only_twilio_may_say_so(self) -> None:
        self.a_call()
        for path in (OVER, STATUS):
            with self.subTest(path), self.assertLogs("calls.signed", "WARNING"):
                response = self.post(f"{path}?business={self.business.pk}&leg=call_1", signature="bm90IHR3aWxpbw==")
                self.assertEqual(response.status_code, 403)
                response = self.post(f"{path}?business={self.business.pk}&leg=call_1", AccountSid="AC" + "9" * 32)
                self.assertEqual(response.status_code, 403)
        self.assertEqual(self.recorder.facts, [])

    def test_whoever_was_put_through_takes_no_line(self) -> None:
        Business.objects.update(max_calls=1)
        self.a_call()
        self.transferred()
        answer = answering.answer("CA" + "6" * 32, OUR_NUMBER, 5)
        self.assertEqual(answer.live_calls, frozenset())


class ForwardedTest(DialCase):
    """Callers whom no agent answers, or not any more, are put through to the business's own number: a leg, too."""

    FORWARD_TO = "+15550100199"

    def assert_forwarded(self, response: Any) -> None:
        [number] = self.dial(response)
        self.assertEqual(number.text, self.FORWARD_TO)
        leg = CallLeg.objects.get()
        self.assertEqual((leg.key, leg.kind, leg.number, leg.state), ("forward", "forward", self.FORWARD_TO, "asked"))
        self.assertEqual((leg.business, leg.call.call_sid), (self.business, CALL_SID))
        self.assertIsNotNone(leg.asked_at)
        told = number.attrib["statusCallback"].removeprefix(ORIGIN)
        of_leg = {"CallSid": LEG_SID, "ParentCallSid": CALL_SID, "CallStatus": "completed", "CallDuration": "31"}
        self.assertEqual(self.post(told, **of_leg).status_code, 204)
        leg.refresh_from_db()
        self.assertEqual((leg.state, leg.duration_seconds, leg.leg_sid), ("completed", 31, LEG_SID))

    def test_where_all_lines_are_busy(self) -> None:
        Business.objects.update(max_calls=1, when_busy="forward")
        CallLog.objects.create(
            call_sid="CA" + "7" * 32, business=self.business, agent_version=self.version, status="in-progress"
        )
        with self.assertLogs("calls.views", "WARNING"):
            self.assert_forwarded(self.post("/twilio/voice/"))

    def test_where_the_model_fails(self) -> None:
        with mock.patch("calls.model_health.may_try", return_value=False), self.assertLogs("calls.views", "ERROR"):
            self.assert_forwarded(self.post("/twilio/voice/"))

    def test_where_it_is_closed(self) -> None:
        Business.objects.update(when_closed="forward")
        with mock.patch.object(PhoneNumber, "is_open", return_value=False):
            self.assert_forwarded(self.post("/twilio/voice/"))

    def test_where_the_stream_was_lost_too_often(self) -> None:
        self.a_call()
        with self.assertLogs("calls.resuming", "WARNING"):
            self.assert_forwarded(self.ended("?stream=2"))

    def test_it_uses_up_nothing_of_what_the_dial_policy_allows(self) -> None:
        self.a_call()
        DialPolicy.objects.create(business=self.business, max_per_hour=1)
        with self.assertLogs("calls.resuming", "WARNING"):
            self.ended("?stream=2")
        verdict = transfers.verdict("CA" + "8" * 32, self.business.pk, self.target.pk, timezone.now())
        self.assertIsInstance(verdict, Allowed)


class AskedFirstTest(DialCase):
    """The colleague hears what it is about, and takes the call by a key."""

    path = "?business={}&leg=call_1&call=" + CALL_SID + "&seconds=900"

    def at_the_colleague(self, what: str, business: Business | None = None, **fields: str) -> Any:
        of_leg = {"CallSid": LEG_SID, "CallStatus": "in-progress", "To": COLLEAGUE, **fields}
        return self.post(f"/twilio/{what}/{self.path.format((business or self.business).pk)}", **of_leg)

    def a_leg(self, briefing: str = "Ms. Lee has lost a filling.") -> None:
        self.a_call()
        services.save_leg(CALL_SID, self.business.pk, "call_1", "asked", kind="warm", briefing=briefing)

    def said(self, response: Any) -> ElementTree.Element:
        self.assertEqual(self.verbs(response), ["Gather", "Redirect"])
        gather = ElementTree.fromstring(response.content)[0]
        self.assertEqual((gather.attrib["numDigits"], gather.attrib["actionOnEmptyResult"]), ("1", "true"))
        self.assertEqual(urlsplit(gather.attrib["action"]).path, "/twilio/transfer-answer/")
        self.assertNotIn(COLLEAGUE[1:], gather.attrib["action"])
        [say] = gather
        return say

    def test_the_colleague_hears_what_the_agent_wrote_in_the_businesss_language(self) -> None:
        hostile = '</Say><Dial>+1900</Dial> & "Ms. Lee"'
        self.a_leg(hostile)
        Business.objects.filter(pk=self.business.pk).update(language="de")
        say = self.said(self.at_the_colleague("transfer-briefing"))
        self.assertEqual(say.attrib, {"language": "de-DE"})
        self.assertIn(hostile, str(say.text))
        self.assertIn("Drücken Sie die 1", str(say.text))
        leg = CallLeg.objects.get()
        self.assertEqual((leg.state, leg.leg_sid), ("answered", LEG_SID))

    def test_without_its_row_the_colleague_is_asked_all_the_same(self) -> None:
        self.a_call()
        self.assertIn("Press 1", str(self.said(self.at_the_colleague("transfer-briefing")).text))
        with (
            mock.patch.object(transfers, "briefing", side_effect=OperationalError("Ms. Lee")),
            self.assertLogs("calls.transfer_views", "ERROR") as logs,
        ):
            self.assertIn("Press 1", str(self.said(self.at_the_colleague("transfer-briefing")).text))
        self.assertNotIn("Ms. Lee", str([vars(record) for record in logs.records]))

    def test_nothing_of_another_businesss_call_is_told(self) -> None:
        self.a_leg()
        other, _ = a_business("+15550100101", name="Other")
        text = str(self.said(self.at_the_colleague("transfer-briefing", other)).text)
        self.assertNotIn("Ms. Lee", text)
        self.at_the_colleague("transfer-answer", other, Digits="1")
        self.assertEqual(CallLeg.objects.get().state, "asked")

    def test_one_key_takes_the_call_and_nothing_else_does(self) -> None:
        for digits, verbs, state, reason in (
            ("1", ["Dial", "Say", "Hangup"], "accepted", ""),
            ("2", ["Hangup"], "refused", "said_no"),
            ("#", ["Hangup"], "refused", "said_no"),
            ("", ["Hangup"], "refused", "no_key"),
        ):
            with self.subTest(digits):
                CallLog.objects.all().delete()
                holding.forget()
                self.a_leg()
                self.assertEqual(self.verbs(self.at_the_colleague("transfer-answer", Digits=digits)), verbs)
                leg = CallLeg.objects.get()
                self.assertEqual((leg.state, leg.reason), (state, reason))
                self.assertEqual(holding.is_over(CALL_SID, self.business.pk, "call_1"), state == "refused")

    def test_who_takes_the_call_talks_to_the_caller_of_this_leg_for_as_long_as_the_policy_allows(self) -> None:
        self.a_leg()
        dial, say, _ = ElementTree.fromstring(self.at_the_colleague("transfer-answer", Digits="1").content)
        self.assertEqual(dial.attrib, {"timeout": "5", "timeLimit": "900"})
        [queue] = dial
        self.assertEqual((queue.tag, queue.text), ("Queue", holding.name_of(CALL_SID, "call_1")))
        self.assertIn("no longer on the line", str(say.text))

    def test_who_answers_or_takes_a_call_for_which_nobody_waits_any_more_is_told_so(self) -> None:
        self.a_leg()
        Business.objects.filter(pk=self.business.pk).update(language="de")
        services.save_leg(CALL_SID, self.business.pk, "call_1", "canceled")
        path = self.path
        for what, digits, language in (("transfer-briefing", "", ""), ("transfer-answer", "1", "&language=de")):
            with self.subTest(what):
                self.path = path + language
                response = self.at_the_colleague(what, Digits=digits)
                self.assertEqual(self.verbs(response), ["Say", "Hangup"])
                self.assertIn("nicht mehr in der Leitung", response.content.decode())
        self.assertEqual(CallLeg.objects.get().state, "canceled")

    def test_only_twilio_may_ask_and_answer(self) -> None:
        self.a_leg()
        self.recorder.facts.clear()
        for what in ("transfer-briefing", "transfer-answer"):
            with self.subTest(what), self.assertLogs("calls.signed", "WARNING"):
                path = f"/twilio/{what}/{self.path.format(self.business.pk)}"
                response = self.post(path, signature="bm90IHR3aWxpbw==", CallSid=LEG_SID)
                self.assertEqual(response.status_code, 403)
                self.assertNotIn("Ms. Lee", response.content.decode())
        self.assertEqual(self.recorder.facts, [])


class DoorsTest(WebhookTest):
    """The live call's way to the rows."""

    def admitted(self) -> Any:
        doors.forget_agents()
        ticket, _ = stream_tickets.issue(
            call_sid=CALL_SID,
            account_sid=ACCOUNT_SID,
            business_id=self.business.pk,
            agent_version_id=self.version.pk,
            from_number="",
            to_number="",
            direction="inbound",
        )
        return asyncio.run(doors.admit(stream_tickets.read_ticket(ticket, CALL_SID)))

    def publish(self) -> None:
        version = AgentVersion(
            agent=self.version.agent, number=2, instructions="", greeting="", tools=["transfer_call"]
        )
        version.publish()
        self.version = version

    def test_an_agent_with_the_tool_knows_the_targets_of_the_moment(self) -> None:
        a_target(self.business)
        self.assertEqual(self.admitted().transfer_options, ())
        self.publish()
        self.assertEqual([option.name for option in self.admitted().transfer_options], ["Nina"])
        a_target(self.business, "Bert")
        self.assertEqual([option.name for option in self.admitted().transfer_options], ["Bert", "Nina"])

    def test_without_rows_it_knows_none_and_still_answers(self) -> None:
        self.publish()
        with (
            mock.patch.object(transfers, "options", side_effect=OperationalError),
            self.assertLogs("calls.doors", "WARNING"),
        ):
            self.assertEqual(self.admitted().transfer_options, ())

    def test_it_may_ask(self) -> None:
        target = a_target(self.business)
        verdict = asyncio.run(doors.may_put_through(CALL_SID, self.business.pk, target.pk))
        self.assertEqual(verdict, Allowed(COLLEAGUE, "US", 1800))
        with (
            mock.patch.object(transfers, "verdict", side_effect=OperationalError("secret")),
            self.assertLogs("calls.doors", "WARNING") as logs,
            self.assertRaises(doors.RowsAway),
        ):
            asyncio.run(doors.may_put_through(CALL_SID, self.business.pk, target.pk))
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))
