"""The door of the live call: one stream for each ticket, and an agent in time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any
from unittest import mock

from django.core.cache import cache
from django.db import OperationalError
from django.test import SimpleTestCase, TransactionTestCase
from redis.exceptions import ConnectionError as RedisGone

from businesses.models import AgentVersion
from calls import doors, stream_tickets
from calls.doors import NotAdmitted, UsedTickets
from calls.stream_tickets import Ticket
from tests.calls.support import ACCOUNT_SID, CALL_SID, a_business


class UsedTicketsTest(SimpleTestCase):
    def test_a_ticket_is_used_once_until_it_has_expired_anyway(self) -> None:
        used = UsedTickets()
        self.assertTrue(used.claim("a", expires_at=100, now=0))
        self.assertFalse(used.claim("a", expires_at=100, now=100))
        self.assertTrue(used.claim("b", expires_at=300, now=200))
        self.assertEqual(list(used._until), ["b"])


class AdmitTest(TransactionTestCase):
    def setUp(self) -> None:
        self.business, self.version = a_business()
        doors.forget_agents()
        self.addCleanup(doors.forget_agents)

    def ticket(self, **fields: Any) -> Ticket:
        ids = {"business_id": self.business.pk, "agent_version_id": self.version.pk, **fields}
        text, _ = stream_tickets.issue(
            call_sid=CALL_SID, account_sid=ACCOUNT_SID, from_number="", to_number="", direction="inbound", **ids
        )
        return stream_tickets.read_ticket(text, CALL_SID)

    def assert_not_admitted(self, reason: str, ticket: Ticket) -> None:
        with self.assertRaises(NotAdmitted) as refused:
            asyncio.run(doors.admit(ticket))
        self.assertEqual(refused.exception.reason, reason)

    def test_a_ticket_opens_the_door_once(self) -> None:
        ticket = self.ticket()
        agent = asyncio.run(doors.admit(ticket))
        self.assertEqual((agent.version_id, agent.business_name), (self.version.pk, "Harbor Dental"))
        self.assert_not_admitted("ticket_used", ticket)

    def test_a_ticket_used_in_another_process_is_refused(self) -> None:
        ticket = self.ticket()
        cache.add(f"stream-ticket:{ticket.jti}", 1, timeout=10)
        self.assert_not_admitted("ticket_used", ticket)

    def test_without_redis_this_process_decides_and_says_so(self) -> None:
        ticket = self.ticket()
        with (
            mock.patch.object(doors, "_claim_everywhere", side_effect=RedisGone("gone")),
            self.assertLogs("calls.doors", "WARNING"),
        ):
            asyncio.run(doors.admit(ticket))
            self.assert_not_admitted("ticket_used", ticket)

    def test_a_redis_that_hangs_is_not_waited_for(self) -> None:
        release = threading.Event()
        self.addCleanup(release.set)
        with (
            mock.patch.object(doors, "_claim_everywhere", lambda _: release.wait(30)),
            mock.patch.object(doors, "CLAIM_DEADLINE_SECONDS", 0.05),
            self.assertLogs("calls.doors", "WARNING"),
        ):
            began = time.monotonic()
            asyncio.run(doors.admit(self.ticket()))
            self.assertLess(time.monotonic() - began, 5)

    def test_a_known_agent_needs_no_database(self) -> None:
        asyncio.run(doors.admit(self.ticket()))
        with mock.patch.object(doors, "_snapshot", side_effect=AssertionError):
            asyncio.run(doors.admit(self.ticket()))

    def test_without_a_database_an_unknown_agent_cannot_answer(self) -> None:
        with mock.patch.object(doors, "_snapshot", side_effect=OperationalError):
            self.assert_not_admitted("database_away", self.ticket())

    def test_a_database_that_hangs_is_not_waited_for(self) -> None:
        release = threading.Event()
        self.addCleanup(release.set)
        with (
            mock.patch.object(doors, "_snapshot", lambda _: release.wait(30)),
            mock.patch.object(doors, "AGENT_DEADLINE_SECONDS", 0.05),
        ):
            self.assert_not_admitted("database_away", self.ticket())

    def test_a_version_that_is_not_there_not_published_or_anothers_is_refused(self) -> None:
        self.assert_not_admitted("no_agent", self.ticket(agent_version_id=self.version.pk + 100))
        self.assert_not_admitted("no_agent", self.ticket(business_id=self.business.pk + 1))
        doors.forget_agents()
        AgentVersion.objects.all().update(published_at=None)
        self.assert_not_admitted("no_agent", self.ticket())
