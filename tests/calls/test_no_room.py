"""A call for which there is no room: forwarded, held or told politely, and on record in any case."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from unittest import mock

from django.db import connection, connections

from businesses.models import Business
from calls.admission import Admission
from calls.models import CallLog
from calls.resuming import MAX_HOLDS, MAX_MOVES, MOVE_SECONDS
from calls.views import HOLD_SECONDS
from tests.calls.support import CALL_SID, OUR_NUMBER, a_business
from tests.calls.test_views import FORWARD_TO, ORIGIN, WebhookTest

VOICE = "/twilio/voice/"
OTHER_CALL = "CA" + "7" * 32
OTHER_NUMBER = "+15550100101"


class NoRoomTest(WebhookTest):
    """The business has one line, and another call is on it."""

    def setUp(self) -> None:
        super().setUp()
        self.journal_reason = ""
        self.admission = self.use(max_calls=0)
        Business.objects.update(max_calls=1)
        self.a_live_call(OTHER_CALL)

    def use(self, max_calls: int) -> Admission:
        """A process that has just started, with this limit."""
        admission = Admission(max_calls=max_calls, late_seconds=0.25, journal_reason=lambda: self.journal_reason)
        patch = mock.patch("calls.admission._admission", admission)
        patch.start()
        self.addCleanup(patch.stop)
        return admission

    def a_live_call(self, call_sid: str, **fields: Any) -> CallLog:
        row = {"business": self.business, "agent_version": self.version, "status": "in-progress", **fields}
        return CallLog.objects.create(call_sid=call_sid, **row)

    def voice(self, path: str = VOICE, **fields: str) -> ElementTree.Element:
        with self.assertLogs("calls.views", "WARNING") as logs:
            response = self.post(path, **fields)
        self.assertNotIn(FORWARD_TO, str([vars(record) for record in logs.records]))
        self.assertEqual(response.status_code, 200)
        return ElementTree.fromstring(response.content)

    def assert_held(self, answer: ElementTree.Element, held: int, seconds: int = HOLD_SECONDS) -> None:
        pause, redirect = answer[-2:]
        self.assertEqual((pause.tag, pause.attrib), ("Pause", {"length": str(seconds)}))
        self.assertEqual((redirect.tag, redirect.text), ("Redirect", f"{ORIGIN}{VOICE}?held={held}"))

    def assert_forwarded(self, answer: ElementTree.Element) -> None:
        self.assertEqual([verb.tag for verb in answer], ["Dial"])
        self.assertEqual(answer[0][0].text, FORWARD_TO)

    def assert_told(self, answer: ElementTree.Element) -> None:
        self.assertEqual([verb.tag for verb in answer], ["Say", "Hangup"])
        self.assertEqual(answer[0].text, self.all_busy)

    all_busy = "Es tut uns leid. Alle Leitungen sind besetzt. Bitte rufen Sie später noch einmal an."


class WhenAllLinesAreBusyTest(NoRoomTest):
    def test_the_caller_is_forwarded(self) -> None:
        self.assert_forwarded(self.voice())

    def test_without_a_number_to_forward_to_the_caller_is_told(self) -> None:
        for when_busy in ("forward", "tell"):
            Business.objects.update(forwarding_number="", when_busy=when_busy)
            self.assert_told(self.voice())

    def test_nobody_is_forwarded_in_circles(self) -> None:
        for number in (OUR_NUMBER, OTHER_NUMBER):
            with self.subTest(number):
                if number == OTHER_NUMBER:
                    a_business(OTHER_NUMBER, name="Lake Dental")
                Business.objects.filter(pk=self.business.pk).update(forwarding_number=number)
                self.assert_told(self.voice())

    def test_who_wants_callers_told_has_them_told(self) -> None:
        Business.objects.update(when_busy="tell")
        self.assert_told(self.voice())

    def test_a_caller_is_held_for_a_minute_and_then_forwarded(self) -> None:
        Business.objects.update(when_busy="hold")
        path = VOICE
        for round in range(1, MAX_HOLDS + 1):
            answer = self.voice(path)
            self.assertEqual(answer[0].text, "Alle Leitungen sind besetzt. Bitte bleiben Sie am Apparat.")
            self.assert_held(answer, round)
            path = (answer[-1].text or "").removeprefix(ORIGIN)
        self.assert_forwarded(self.voice(path))

    def test_a_caller_held_in_vain_is_told_when_there_is_nowhere_to_go(self) -> None:
        Business.objects.update(when_busy="hold", forwarding_number="")
        self.assert_told(self.voice(f"{VOICE}?held={MAX_HOLDS}"))

    def test_a_held_caller_gets_the_line_that_becomes_free(self) -> None:
        Business.objects.update(when_busy="hold")
        self.assert_held(self.voice(), 1)
        CallLog.objects.filter(call_sid=OTHER_CALL).update(status="completed")
        self.assertEqual(self.verbs(self.post(f"{VOICE}?held=1")), ["Connect", "Redirect"])
        call = CallLog.objects.get(call_sid=CALL_SID)
        self.assertEqual((call.status, call.ended_reason, call.agent_version_id), ("ringing", "", self.version.pk))

    def test_held_is_one_of_our_own_numbers_or_enough(self) -> None:
        Business.objects.update(when_busy="hold")
        junk = ["0", "7", "-1", "1e3", "", "%F0%9D%9F%8F", "%D9%A1", "1&held=1", "01", " 1", "1%00", "9" * 500, "x"]
        for value in junk:
            with self.subTest(value):
                self.assert_forwarded(self.voice(f"{VOICE}?held={value}"))
                CallLog.objects.filter(call_sid=CALL_SID).delete()
        self.assert_held(self.voice(f"{VOICE}?other=1"), 1)

    def test_the_query_is_signed_too(self) -> None:
        Business.objects.update(when_busy="hold")
        validly_signed = self.post(VOICE).wsgi_request.headers["X-Twilio-Signature"]
        with self.assertLogs("calls.signed", "WARNING"):
            self.assertEqual(self.post(f"{VOICE}?held=1", signature=validly_signed).status_code, 403)

    def test_lines_are_counted_by_who_is_with_an_agent(self) -> None:
        """A caller on hold, a caller put through to a person and a call that is over occupy none."""
        CallLog.objects.all().delete()
        self.a_live_call(OTHER_CALL, agent_version=None)
        self.a_live_call("CA" + "8" * 32, status="completed")
        other, version = a_business(OTHER_NUMBER, name="Lake Dental")
        self.a_live_call("CA" + "9" * 32, business=other, agent_version=version)
        self.assertEqual(self.verbs(self.post(VOICE)), ["Connect", "Redirect"])

    def test_the_call_itself_does_not_count(self) -> None:
        CallLog.objects.update(call_sid=CALL_SID)
        for _ in range(2):
            self.assertEqual(self.verbs(self.post(VOICE)), ["Connect", "Redirect"])

    def test_without_a_limit_no_lines_are_counted(self) -> None:
        Business.objects.update(max_calls=None)
        self.assertEqual(self.verbs(self.post(VOICE)), ["Connect", "Redirect"])

    def test_of_two_webhooks_at_once_one_gets_the_last_line(self) -> None:
        CallLog.objects.all().delete()
        rounds = 10
        for attempt in range(rounds):
            together = Barrier(2)

            def call(number: int, attempt: int = attempt, together: Barrier = together) -> str:
                together.wait(10)
                try:
                    return self.verbs(self.post(VOICE, CallSid=f"CA{attempt:016x}{number:016x}"))[0]
                finally:
                    connections.close_all()

            with self.subTest(attempt), ThreadPoolExecutor(2) as pool:
                self.assertEqual(sorted(pool.map(call, range(2))), ["Connect", "Dial"])
            self.use(max_calls=0)
            CallLog.objects.update(status="completed")

    def test_the_index_is_used(self) -> None:
        if connection.vendor != "postgresql":
            self.skipTest("the plan is PostgreSQL's")
        calls = (
            CallLog(call_sid=f"CA{n:032x}", business=self.business, agent_version=self.version, status="completed")
            for n in range(20_000)
        )
        CallLog.objects.bulk_create(calls, batch_size=5000)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE calls_calllog")
        live = CallLog.objects.live().filter(business=self.business, agent_version__isnull=False).order_by()
        self.assertIn("Index", live.values_list("call_sid").explain())


class RecordOfATurnedAwayCallTest(NoRoomTest):
    def row(self) -> CallLog:
        return CallLog.objects.get(call_sid=CALL_SID)

    def status(self, status: str, **fields: str) -> None:
        self.assertEqual(self.post("/twilio/status/", CallStatus=status, **fields).status_code, 204)

    def test_it_has_a_row_that_its_status_callback_ends(self) -> None:
        for callback_first in (False, True):
            CallLog.objects.filter(call_sid=CALL_SID).delete()
            if callback_first:
                self.status("ringing")
            self.voice()
            self.assertEqual((self.row().ended_reason, self.row().agent_version), ("turned_away", None))
            self.assertNotEqual(self.row().status, "completed")
            self.status("completed", CallDuration="9")
            row = self.row()
            self.assertEqual((row.status, row.ended_reason, row.duration_seconds), ("completed", "turned_away", 9))
            self.assertTrue(row.is_complete)
            self.assertEqual(row.transcript, "")

    def test_on_hold_it_has_a_row_without_an_ending(self) -> None:
        Business.objects.update(when_busy="hold")
        self.voice()
        self.assertEqual((self.row().status, self.row().ended_reason), ("ringing", ""))
        kinds = [kind for kind, _ in self.recorder.facts]
        self.voice(f"{VOICE}?held=1")
        self.assertEqual([kind for kind, _ in self.recorder.facts], kinds)  # nothing new to say
        self.voice(f"{VOICE}?held={MAX_HOLDS}")
        self.assertEqual(self.row().ended_reason, "turned_away")

    def test_asked_again_it_stays_turned_away(self) -> None:
        """Else it would have an agent on record for a conversation that it may never have had."""
        for when_busy in ("forward", "hold"):
            Business.objects.update(when_busy=when_busy)
            self.assert_forwarded(self.voice(f"{VOICE}?held={MAX_HOLDS}"))
            CallLog.objects.filter(call_sid=OTHER_CALL).update(status="completed")
            self.assert_forwarded(self.voice())


class WhenTheProcessCannotTest(NoRoomTest):
    def setUp(self) -> None:
        super().setUp()
        Business.objects.update(max_calls=None)

    def test_a_process_with_its_number_of_calls_forwards(self) -> None:
        admission = self.use(max_calls=1)
        admission.stream_opened(OTHER_CALL)
        self.assert_forwarded(self.voice())
        admission.stream_closed(OTHER_CALL)
        CallLog.objects.filter(call_sid=CALL_SID).delete()
        self.assertEqual(self.verbs(self.post(VOICE)), ["Connect", "Redirect"])

    def test_a_process_that_cannot_keep_up_forwards(self) -> None:
        now = time.monotonic()
        for beat in range(10):
            self.admission.loop_was_late(0.5, now - 1 + beat / 10)
        self.assert_forwarded(self.voice())

    def test_a_full_disk_forwards(self) -> None:
        self.journal_reason = "disk_full"
        self.assert_forwarded(self.voice())

    def test_the_end_of_a_call_makes_room_at_once(self) -> None:
        self.use(max_calls=1)
        self.assertEqual(self.verbs(self.post(VOICE, CallSid=OTHER_CALL)), ["Connect", "Redirect"])
        self.assertEqual(self.post("/twilio/status/", CallSid=OTHER_CALL, CallStatus="completed").status_code, 204)
        self.assertEqual(self.verbs(self.post(VOICE)), ["Connect", "Redirect"])

    def test_while_it_drains_the_call_rings_on_until_another_process_has_it(self) -> None:
        self.admission.close("draining")
        answer = self.voice()
        self.assertEqual([verb.tag for verb in answer], ["Pause", "Redirect"])
        self.assert_held(answer, 1, MOVE_SECONDS)
        self.use(max_calls=0)  # the other process
        self.assertEqual(self.verbs(self.post(f"{VOICE}?held=1")), ["Connect", "Redirect"])

    def test_while_nobody_takes_over_the_call_goes_where_it_goes_when_all_are_busy(self) -> None:
        self.admission.close("draining")
        self.assert_held(self.voice(f"{VOICE}?held={MAX_MOVES - 1}"), MAX_MOVES, MOVE_SECONDS)
        self.assert_forwarded(self.voice(f"{VOICE}?held={MAX_MOVES}"))
