"""Calls to a business on its day off: one number is answered by the agent named for that, another is put through."""

import asyncio
from datetime import timedelta
from typing import ClassVar

from django.db import connection
from django.utils import timezone

from businesses.models import Agent, AgentVersion, Business, Holiday
from simulators.carrier.ledger import CallLedger
from tests.calls.support import a_business
from tests.e2e.cases import SystemTestCase

FORWARD_TO = "+15550100190"
ANSWERED, FORWARDED = "+15550100111", "+15550100112"
GREETING = "We are closed today. May I take a message?"


def close(business: Business) -> None:
    """For today, whatever the clock does while the test runs."""
    for days in (-1, 0, 1):
        Holiday.objects.create(business=business, date=timezone.now().date() + timedelta(days=days))


def make_businesses() -> None:
    try:
        business, _ = a_business(ANSWERED, name="with an agent")
        agent = Agent.objects.create(business=business, name="Night")
        AgentVersion(agent=agent, number=1, instructions="Take a message.", greeting=GREETING).publish()
        Business.objects.filter(pk=business.pk).update(closed_agent=agent)
        close(business)
        business, _ = a_business(FORWARDED, name="forwards", when_closed="forward", forwarding_number=FORWARD_TO)
        close(business)
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class DayOff(SystemTestCase):
    answered: ClassVar[CallLedger]
    forwarded: ClassVar[CallLedger]

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_businesses)
        calls = [cls.place("greeting-only", number, time_scale=0.2) for number in (ANSWERED, FORWARDED)]
        cls.answered, cls.forwarded = await asyncio.gather(*calls)

    def test_the_carrier_has_nothing_to_complain_of(self) -> None:
        for ledger in (self.answered, self.forwarded):
            self.assertEqual((ledger.complaints, ledger.errors), ([], []))

    def test_the_agent_for_that_day_answers_in_its_own_words(self) -> None:
        row = self.finished(self.answered.call_sid)
        assert row.agent_version is not None
        self.assertEqual((row.agent_version.agent.name, row.ended_reason), ("Night", "caller_hung_up"))
        self.assertEqual(self.turns(self.answered.call_sid)[0].bot_reply, GREETING)

    def test_the_other_caller_is_put_through_and_the_record_says_why(self) -> None:
        self.assertEqual(self.forwarded.verbs, ["Dial"])
        row = self.finished(self.forwarded.call_sid)
        self.assertEqual((row.status, row.ended_reason, row.agent_version), ("completed", "closed", None))
        leg = row.legs.get()
        self.wait(lambda: row.legs.get().state == "completed", "the carrier has told how the leg ended")
        self.assertEqual((leg.kind, leg.number, leg.business), ("forward", FORWARD_TO, row.business))
        self.assertEqual(self.seconds_counted_by_the_carrier(row), self.forwarded.duration_seconds)
