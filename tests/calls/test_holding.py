"""Callers on hold: what they hear, what brings them back whatever is lost, and what becomes of the colleague's call."""

from __future__ import annotations

import runpy
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.db import OperationalError
from django.test import SimpleTestCase

from businesses.models import DialPolicy, TransferTarget
from calls import holding, services, transfers
from calls.carriers import twilio_dialling, twilio_rest
from calls.carriers.twilio_dialling import Declined, Outcome, OutcomeUnknown, Placed
from calls.models import CallLeg, CallLog
from calls.threads import PoolBusy
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER
from tests.calls.test_transfers import COLLEAGUE, LEG_SID, DialCase
from tests.calls.test_views import ORIGIN
from tests.e2e.processes import wait_until

QUEUE_SID = "QU" + "6" * 32


class HoldCase(DialCase):
    """A call whose agent asked for a colleague who is asked first. What would be done by threads is done at once."""

    outcome: Outcome = Placed(LEG_SID)

    def setUp(self) -> None:
        super().setUp()
        TransferTarget.objects.update(kind="warm")
        for pool in (holding._calls, holding._ends):
            self.enterContext(mock.patch.object(pool, "submit", side_effect=lambda work: work()))
        self.enterContext(mock.patch.object(twilio_rest, "is_available", return_value=True))
        self.place = self.patch("place_leg", side_effect=lambda **_: self.outcome)
        self.end = self.patch("end", return_value=True)
        self.delete_queue = self.patch("delete_queue", return_value=True)
        self.a_call()
        self.asked()

    def patch(self, name: str, **behaviour: Any) -> Any:
        return self.enterContext(mock.patch.object(twilio_dialling, name, **behaviour))

    def enqueue(self, response: Any) -> ElementTree.Element:
        self.assertEqual(self.verbs(response), ["Enqueue"])
        return ElementTree.fromstring(response.content)[0]

    def held(self) -> ElementTree.Element:
        return self.enqueue(self.ended())

    def heard(self, enqueue: ElementTree.Element) -> list[str]:
        """The verbs of what the caller hears now."""
        return self.verbs(self.at(enqueue.attrib["waitUrl"]))

    def left(self, enqueue: ElementTree.Element, result: str, **fields: str) -> Any:
        return self.at(enqueue.attrib["action"], QueueResult=result, QueueSid=QUEUE_SID, QueueTime="9", **fields)

    def at(self, address: str, **fields: str) -> Any:
        parts = urlsplit(address)
        return self.post(f"{parts.path}?{parts.query}", **{"CallStatus": "in-progress", **fields})

    def says(self, status: str, **fields: str) -> Any:
        """The carrier, of the colleague's call."""
        about = f"business={self.business.pk}&leg=call_1&call={CALL_SID}&seconds=900"
        return self.post(f"/twilio/leg-status/?{about}", CallSid=LEG_SID, CallStatus=status, **fields)

    def leg(self) -> tuple[str, str]:
        leg = CallLeg.objects.get()
        return leg.state, leg.reason


class BeginTest(HoldCase):
    def test_the_caller_waits_in_a_queue_of_the_legs_own_while_the_colleague_is_called(self) -> None:
        DialPolicy.objects.create(business=self.business, max_call_seconds=900)
        enqueue = self.held()
        self.assertEqual(enqueue.text, holding.name_of(CALL_SID, "call_1"))
        self.assertLessEqual(len(str(enqueue.text)), 64)
        action, wait = urlsplit(enqueue.attrib["action"]), urlsplit(enqueue.attrib["waitUrl"])
        self.assertEqual((action.path, wait.path), ("/twilio/hold-ended/", "/twilio/hold/"))
        self.assertEqual(parse_qs(action.query)["stream"], ["0"])
        until = int(parse_qs(wait.query)["until"][0])
        self.assertAlmostEqual(until, time.time() + 25 + holding.ASKED_SECONDS, delta=5)
        about = {"business": self.business.pk, "leg": "call_1", "call": CALL_SID, "seconds": 900}
        self.place.assert_called_once_with(
            to=COLLEAGUE, from_number=OUR_NUMBER, about=about, ring_seconds=25, max_seconds=900 + holding.ASKED_SECONDS
        )
        for number in (COLLEAGUE, CALLER):
            self.assertNotIn(number[1:], ElementTree.tostring(enqueue, "unicode"))
        leg = CallLeg.objects.get()
        self.assertEqual((leg.state, leg.kind, leg.number, leg.leg_sid), ("asked", "warm", COLLEAGUE, LEG_SID))
        assert leg.asked_at and leg.placed_at

    def test_the_row_is_there_before_the_carrier_is_asked(self) -> None:
        def place(**_: Any) -> Outcome:
            self.assertIsNotNone(CallLeg.objects.get().placed_at)
            return Placed(LEG_SID)

        self.place.side_effect = place
        self.held()
        self.place.assert_called_once()

    def test_a_webhook_that_is_sent_again_calls_nobody_twice(self) -> None:
        first = self.held()
        holding.forget()  # as at another process
        self.assertEqual(self.held().text, first.text)
        self.place.assert_called_once()

    def test_who_was_called_by_us_is_called_for_from_our_number(self) -> None:
        self.enqueue(self.ended(From=OUR_NUMBER, To=CALLER, Direction="outbound-api"))
        self.assertEqual(self.place.call_args.kwargs["from_number"], OUR_NUMBER)

    def test_a_colleague_whom_the_carrier_does_not_call_is_not_waited_for(self) -> None:
        for outcome in (Declined(21215), Declined(20429, come_again=True), OutcomeUnknown("timeout")):
            with self.subTest(outcome), self.assertLogs("calls.holding", "ERROR"):
                CallLeg.objects.all().delete()
                holding.forget()
                cache.clear()
                self.outcome = outcome
                self.assertEqual(self.heard(self.held()), ["Leave"])
                self.assertEqual(self.leg(), ("failed", "not_placed"))

    def test_nor_one_for_whom_there_is_no_thread_or_no_carrier(self) -> None:
        busy = mock.patch.object(holding._calls, "submit", side_effect=PoolBusy)
        none = mock.patch.object(twilio_rest, "is_available", return_value=False)
        for trouble in (busy, none):
            with trouble, self.assertLogs("calls.holding", "ERROR"):
                CallLeg.objects.all().delete()
                self.assertEqual(self.heard(self.held()), ["Leave"])
                self.assertEqual(self.leg(), ("failed", "not_placed"))
        self.place.assert_not_called()

    def test_without_a_row_nobody_is_called_and_the_caller_is_with_the_agent_again(self) -> None:
        with (
            mock.patch.object(transfers, "claim", side_effect=OperationalError),
            self.assertLogs("calls", "WARNING"),
        ):
            self.assertTrue(self.stream_of(self.ended())[0].came_back)
        self.place.assert_not_called()
        self.assertEqual(self.leg(), ("failed", "not_placed"))

    def test_a_caller_who_was_gone_before_the_carrier_answered_has_nobody_called(self) -> None:
        def place(**_: Any) -> Outcome:
            holding.caller_gone(CALL_SID)
            return Placed(LEG_SID)

        self.place.side_effect = place
        self.held()
        self.end.assert_called_with(LEG_SID)


class WaitTest(HoldCase):
    def test_the_caller_hears_music_from_us_and_is_asked_for_again_at_the_same_address(self) -> None:
        enqueue = self.held()
        play, redirect = ElementTree.fromstring(self.at(enqueue.attrib["waitUrl"]).content)
        self.assertEqual((play.tag, play.text), ("Play", f"{ORIGIN}{settings.STATIC_URL}calls/hold.wav"))
        again, first = urlsplit(str(redirect.text)), urlsplit(enqueue.attrib["waitUrl"])
        self.assertEqual((again.path, parse_qs(again.query)), (first.path, parse_qs(first.query)))
        self.assertEqual(self.verbs(self.at(str(redirect.text))), ["Play", "Redirect"])

    def test_not_after_the_time_in_the_address_whatever_is_known(self) -> None:
        address = self.held().attrib["waitUrl"].partition("&until=")[0]
        for until in ("&until=1", f"&until={int(time.time()) - 1}", "&until=soon", "&until=", ""):
            with self.subTest(until):
                self.assertEqual(self.verbs(self.at(address + until)), ["Leave"])

    def test_it_ends_when_the_colleagues_call_is_over(self) -> None:
        for status in ("busy", "no-answer", "failed", "canceled", "completed"):
            with self.subTest(status):
                CallLeg.objects.all().delete()
                holding.forget()
                cache.clear()
                enqueue = self.held()
                for before in ("initiated", "ringing", "in-progress"):
                    self.says(before)
                    self.assertEqual(self.heard(enqueue), ["Play", "Redirect"])
                self.says(status)
                self.assertEqual(self.heard(enqueue), ["Leave"])

    def test_it_ends_by_what_this_process_the_cache_or_the_row_knows(self) -> None:
        enqueue = self.held()
        self.says("busy")
        with mock.patch.object(transfers, "known_leg", side_effect=OperationalError):
            self.assertEqual(self.heard(enqueue), ["Leave"])  # this process
            holding.forget()
            wait_until(lambda: self.heard(enqueue) == ["Leave"], 5, "the cache knows, which was told in another thread")
            cache.clear()
            with self.assertLogs("calls.holding", "WARNING"):
                self.assertEqual(self.heard(enqueue), ["Play", "Redirect"])
        self.assertEqual(self.heard(enqueue), ["Leave"])  # the row

    def test_without_cache_and_database_the_caller_is_held_until_the_time_is_up(self) -> None:
        enqueue = self.held()
        with (
            mock.patch.object(cache, "get", side_effect=ConnectionError),
            mock.patch.object(transfers, "known_leg", side_effect=OperationalError("secret")),
            self.assertLogs("calls.holding", "WARNING") as logs,
        ):
            self.assertEqual(self.heard(enqueue), ["Play", "Redirect"])
            with mock.patch.object(time, "time", return_value=time.time() + 25 + holding.ASKED_SECONDS + 1):
                self.assertEqual(self.heard(enqueue), ["Leave"])
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))


class EndTest(HoldCase):
    def test_who_has_talked_to_the_colleague_is_done(self) -> None:
        for says_first in (True, False):
            with self.subTest(says_first):
                CallLeg.objects.all().delete()
                CallLog.objects.update(status="in-progress")
                holding.forget()
                enqueue = self.held()
                if says_first:
                    self.says("completed", CallDuration="64")
                self.assertEqual(self.verbs(self.left(enqueue, "bridged")), ["Hangup"])
                self.says("completed", CallDuration="64")
                leg = CallLeg.objects.get()
                self.assertEqual((leg.state, leg.reason, leg.duration_seconds), ("completed", "", 64))
                self.assertEqual(CallLog.objects.get().status, "completed")
        self.end.assert_not_called()
        self.delete_queue.assert_called_with(QUEUE_SID)

    def test_who_was_told_to_leave_is_with_the_agent_again_and_the_colleague_is_called_off(self) -> None:
        enqueue = self.held()
        with self.assertLogs("calls.resuming", "WARNING"):
            ticket, action = self.stream_of(self.left(enqueue, "leave"))
        self.assertEqual((ticket.stream_number, ticket.came_back), (1, True))
        self.assertIn("stream=1&returned=1", action)
        self.assertEqual(self.leg(), ("no-answer", ""))
        self.end.assert_called_once_with(LEG_SID)
        self.delete_queue.assert_called_once_with(QUEUE_SID)

    def test_what_became_of_the_colleagues_own_call_counts_more_than_that_the_caller_left(self) -> None:
        for status, expected in (
            ("busy", ("busy", "")),
            ("failed", ("failed", "")),
            ("canceled", ("no-answer", "")),  # called off while it rang
            ("completed", ("refused", "no_key")),
        ):
            with self.subTest(status), self.assertLogs("calls.resuming", "WARNING"):
                CallLeg.objects.all().delete()
                enqueue = self.held()
                self.says(status)
                self.left(enqueue, "leave")
                self.assertEqual(self.leg(), expected)

    def test_who_hangs_up_has_hung_up_and_the_colleague_is_called_off(self) -> None:
        self.transferred()
        enqueue = self.held()
        self.says("in-progress")
        self.assertEqual(self.verbs(self.left(enqueue, "hangup", CallStatus="completed")), ["Hangup"])
        self.end.assert_called_once_with(LEG_SID)
        self.says("completed")
        self.assertEqual(self.leg(), ("canceled", ""))
        self.assertEqual(CallLog.objects.get().ended_reason, "caller_hung_up")

    def test_the_status_of_the_call_alone_will_do_to_call_the_colleague_off(self) -> None:
        self.held()
        self.post("/twilio/status/", CallStatus="completed")
        self.end.assert_called_once_with(LEG_SID)
        self.post("/twilio/status/", CallStatus="completed")
        self.end.assert_called_once()

    def test_another_process_knows_the_colleagues_call_by_the_row(self) -> None:
        enqueue = self.held()
        holding.forget()
        self.left(enqueue, "hangup", CallStatus="completed")
        self.end.assert_called_once_with(LEG_SID)

    def test_a_call_of_which_nobody_knew_is_ended_when_it_calls_back(self) -> None:
        self.outcome = OutcomeUnknown("timeout")
        with self.assertLogs("calls", "WARNING"):
            enqueue = self.held()
            self.left(enqueue, "leave")
            self.end.assert_not_called()
            self.says("ringing")
        self.end.assert_called_with(LEG_SID)

    def test_a_caller_whom_the_carrier_cannot_hold_is_with_the_agent_again(self) -> None:
        for result in ("error", "queue-full", "system-error"):
            with self.subTest(result), self.assertLogs("calls", "WARNING") as logs:
                self.assertTrue(self.stream_of(self.left(self.held(), result))[0].came_back)
            self.assertIn("a caller could not be held", str(logs.output))

    def test_asked_again_after_a_pause_the_way_is_back_to_the_agent(self) -> None:
        enqueue = self.held()
        self.says("busy")
        with self.assertLogs("calls.resuming", "WARNING"):
            self.assertTrue(self.stream_of(self.at(enqueue.attrib["action"] + "&held=1"))[0].came_back)
        self.assertEqual(self.leg(), ("busy", ""))

    def test_only_the_business_of_the_leg_is_asked_about_it(self) -> None:
        services.save_leg(CALL_SID, self.business.pk, "call_1", "busy")
        self.assertTrue(holding.is_over(CALL_SID, self.business.pk, "call_1"))
        self.assertFalse(holding.is_over(CALL_SID, self.business.pk + 1, "call_1"))


class MusicTest(SimpleTestCase):
    def test_the_file_is_what_the_script_makes(self) -> None:
        path = finders.find("calls/hold.wav")
        assert isinstance(path, str)
        script = runpy.run_path(str(Path(settings.BASE_DIR) / "docs" / "make_hold_music.py"))
        made, kept = script["wav"](), Path(path).read_bytes()
        self.assertEqual(len(kept), len(made))
        # Another machine's sine may round otherwise, by a step of the code.
        self.assertLess(sum(one != other for one, other in zip(made, kept, strict=True)), len(made) // 100)
        sound = kept[-round(script["RATE"] * script["SECONDS"]) :]
        self.assertGreater(len(set(sound[: len(sound) // 2])), 100)
        self.assertEqual(set(sound[-800:]), {0xFF})  # a tenth of a second of silence, where it begins again

    def test_it_is_served_as_audio(self) -> None:
        response = self.client.get(f"{settings.STATIC_URL}calls/hold.wav")
        self.assertEqual((response.status_code, response.headers["Content-Type"]), (200, "audio/wav"))
