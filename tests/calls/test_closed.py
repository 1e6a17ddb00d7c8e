"""A call outside the opening hours: another agent, the forwarding number, or the agent as ever; always on record."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import UTC, date, datetime, time
from typing import Any
from unittest import mock

from businesses.models import Agent, AgentVersion, Business, Holiday, OpeningHours, PhoneNumber
from calls import stream_tickets
from calls.models import CallLog
from tests.calls.support import CALL_SID, a_business
from tests.calls.test_views import FORWARD_TO, WebhookTest

VOICE = "/twilio/voice/"
TUESDAY_EVENING = datetime(2026, 11, 24, 20, tzinfo=UTC)
TUESDAY_MORNING = datetime(2026, 11, 24, 10, tzinfo=UTC)


class ClosedTest(WebhookTest):
    """Open from nine to five, and it is evening."""

    def setUp(self) -> None:
        super().setUp()
        for day in range(5):
            OpeningHours.objects.create(business=self.business, weekday=day, opens=time(9), closes=time(17))
        self.night, self.night_version = self.an_agent("Night")
        self.at(TUESDAY_EVENING)

    def at(self, moment: datetime) -> None:
        patch = mock.patch("calls.answering.timezone.now", lambda: moment)
        patch.start()
        self.addCleanup(patch.stop)

    def an_agent(self, name: str, business: Business | None = None) -> tuple[Agent, AgentVersion]:
        agent = Agent.objects.create(business=business or self.business, name=name)
        version = AgentVersion(agent=agent, number=1, instructions="We are closed.", greeting=f"{name} speaking.")
        version.publish()
        return agent, version

    def answered_by(self, response: Any) -> int:
        stream = ElementTree.fromstring(response.content)[0][0]
        return stream_tickets.read_ticket(stream.attrib["url"].split("/")[-2], CALL_SID).agent_version_id

    def assert_forwarded(self, response: Any) -> None:
        self.assertEqual(self.verbs(response), ["Dial"])
        self.assertEqual(ElementTree.fromstring(response.content)[0][0].text, FORWARD_TO)
        call = CallLog.objects.get()
        self.assertEqual((call.ended_reason, call.status, call.agent_version), ("closed", "in-progress", None))

    def test_unless_it_is_said_otherwise_the_agent_answers_as_ever(self) -> None:
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_another_agent_answers_if_one_is_named(self) -> None:
        Business.objects.update(closed_agent=self.night)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.night_version.pk)
        self.assertEqual(CallLog.objects.get().agent_version, self.night_version)

    def test_not_within_the_opening_hours(self) -> None:
        Business.objects.update(closed_agent=self.night, when_closed="forward")
        self.at(TUESDAY_MORNING)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_the_businesss_clock_counts(self) -> None:
        """Eight in the evening in UTC is three in the afternoon in New York."""
        Business.objects.update(closed_agent=self.night, time_zone="America/New_York")
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_a_holiday_is_outside(self) -> None:
        Business.objects.update(closed_agent=self.night)
        Holiday.objects.create(business=self.business, date=date(2026, 11, 24), name="Founders' day")
        self.at(TUESDAY_MORNING)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.night_version.pk)

    def test_an_agent_that_is_not_published_gives_way(self) -> None:
        Business.objects.update(closed_agent=self.night)
        AgentVersion.objects.filter(pk=self.night_version.pk).update(published_at=None)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_another_businesss_agent_never_answers(self) -> None:
        other, _ = a_business("+15550100101")
        agent, _version = self.an_agent("Spy", other)
        Business.objects.filter(pk=self.business.pk).update(closed_agent=agent)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_the_caller_is_put_through(self) -> None:
        Business.objects.update(when_closed="forward")
        self.assert_forwarded(self.post(VOICE))

    def test_asked_again_the_answer_and_the_row_are_the_same(self) -> None:
        Business.objects.update(when_closed="forward")
        for _ in range(2):
            self.assert_forwarded(self.post(VOICE))

    def test_without_a_number_to_forward_to_the_agent_answers(self) -> None:
        Business.objects.update(when_closed="forward", forwarding_number="", closed_agent=self.night)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.night_version.pk)

    def test_the_caller_may_leave_a_message_whatever_agent_is_named_and_takes_no_line(self) -> None:
        Business.objects.update(when_closed="message", closed_agent=self.night, max_calls=1)
        for _ in range(2):
            self.assertEqual(self.verbs(self.post(VOICE)), ["Say", "Record", "Say", "Hangup"])
        call = CallLog.objects.get()
        self.assertEqual((call.agent_version, call.ended_reason, call.recording_consent), (None, "closed", "voicemail"))

    def test_nobody_is_forwarded_in_circles(self) -> None:
        PhoneNumber.objects.create(number=FORWARD_TO, business=self.business, agent=self.version.agent)
        Business.objects.update(when_closed="forward")
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_a_number_may_differ_from_its_business(self) -> None:
        Business.objects.update(when_closed="forward")
        PhoneNumber.objects.update(when_closed="agent", closed_agent=self.night)
        self.assertEqual(self.answered_by(self.post(VOICE)), self.night_version.pk)

    def test_a_number_may_have_hours_of_its_own(self) -> None:
        Business.objects.update(when_closed="forward")
        number = PhoneNumber.objects.get()
        OpeningHours.objects.create(
            business=self.business, number=number, weekday=1, opens=time(18), closes=time(23, 59)
        )
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_another_businesss_hours_change_nothing(self) -> None:
        OpeningHours.objects.all().delete()
        other, _ = a_business("+15550100101")
        OpeningHours.objects.create(business=other, weekday=0, opens=time(9), closes=time(10))
        Holiday.objects.create(business=other, date=date(2026, 11, 24))
        Business.objects.update(when_closed="forward")
        self.assertEqual(self.answered_by(self.post(VOICE)), self.version.pk)

    def test_the_carriers_word_ends_the_row(self) -> None:
        Business.objects.update(when_closed="forward")
        self.post(VOICE)
        self.post("/twilio/status/", CallStatus="completed", CallDuration="42")
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.ended_reason, call.duration_seconds), ("completed", "closed", 42))

    def test_a_call_without_a_row_is_resumed_by_whoever_answers_now(self) -> None:
        Business.objects.update(closed_agent=self.night)
        with self.assertLogs("calls.resuming", "WARNING"):
            response = self.post("/twilio/stream-ended/?stream=0", CallStatus="in-progress")
        self.assertEqual(self.answered_by(response), self.night_version.pk)
