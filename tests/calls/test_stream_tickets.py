"""Tickets and tokens: who may open a media stream."""

from __future__ import annotations

import base64
from typing import Any

from django.core.signing import Signer
from django.test import SimpleTestCase

from calls import stream_tickets
from calls.stream_tickets import LIFETIME_SECONDS, Ticket, TicketRefused
from tests.calls.support import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER

NOW = 1_800_000_000.0
OTHER_CALL = "CA" + "9" * 32


def issue(**fields: Any) -> tuple[str, str]:
    identity = {
        "call_sid": CALL_SID,
        "account_sid": ACCOUNT_SID,
        "business_id": 7,
        "agent_version_id": 8,
        "from_number": CALLER,
        "to_number": OUR_NUMBER,
        "direction": "inbound",
        "now": NOW,
    }
    return stream_tickets.issue(**{**identity, **fields})


class StreamTicketsTest(SimpleTestCase):
    def assert_ticket_refused(self, reason: str, ticket: str, call_sid: str = CALL_SID, now: float = NOW) -> None:
        with self.assertRaises(TicketRefused) as refused:
            stream_tickets.read_ticket(ticket, call_sid, now=now)
        self.assertEqual(refused.exception.reason, reason)

    def assert_token_refused(self, reason: str, token: str, ticket: Ticket, now: float = NOW) -> None:
        with self.assertRaises(TicketRefused) as refused:
            stream_tickets.read_token(token, ticket, now=now)
        self.assertEqual(refused.exception.reason, reason)

    def test_a_ticket_and_its_token_say_whose_call_it_is(self) -> None:
        ticket, token = issue()
        read = stream_tickets.read_ticket(ticket, CALL_SID, now=NOW + LIFETIME_SECONDS)
        self.assertEqual((read.call_sid, read.business_id, read.agent_version_id), (CALL_SID, 7, 8))
        who = stream_tickets.read_token(token, read, now=NOW + LIFETIME_SECONDS)
        self.assertEqual((who.call_sid, who.account_sid, who.business_id), (CALL_SID, ACCOUNT_SID, 7))
        self.assertEqual((who.from_number, who.to_number, who.direction), (CALLER, OUR_NUMBER, "inbound"))

    def test_a_ticket_is_good_for_two_minutes(self) -> None:
        ticket, token = issue()
        read = stream_tickets.read_ticket(ticket, CALL_SID, now=NOW)
        self.assert_ticket_refused("expired", ticket, now=NOW + LIFETIME_SECONDS + 1)
        self.assert_token_refused("expired", token, read, now=NOW + LIFETIME_SECONDS + 1)

    def test_a_ticket_of_another_call_is_refused(self) -> None:
        self.assert_ticket_refused("other_call", issue()[0], OTHER_CALL)

    def test_a_token_of_another_ticket_is_refused_even_for_the_same_call(self) -> None:
        read = stream_tickets.read_ticket(issue()[0], CALL_SID, now=NOW)
        self.assert_token_refused("other_ticket", issue()[1], read)

    def test_every_changed_character_is_noticed(self) -> None:
        ticket, _ = issue()
        for position in range(0, len(ticket), 7):
            other = "A" if ticket[position] != "A" else "B"
            self.assert_ticket_refused("bad_signature", ticket[:position] + other + ticket[position + 1 :])

    def test_rubbish_is_refused(self) -> None:
        for rubbish in ("", ".", "a.b", "x" * 10_000, "ä.ö", "\x00"):
            self.assert_ticket_refused("bad_signature", rubbish)

    def test_a_token_is_no_ticket_and_a_ticket_no_token(self) -> None:
        ticket, token = issue()
        self.assert_ticket_refused("bad_signature", token)
        self.assert_token_refused("bad_signature", ticket, stream_tickets.read_ticket(ticket, CALL_SID, now=NOW))

    def test_our_own_signature_over_another_shape_is_refused(self) -> None:
        for shape in ({"call": 1}, [CALL_SID, "7", 8, "jti", 9], [CALL_SID]):
            signed = Signer(salt="voiceagent.stream.ticket", sep=".").sign_object(shape)
            self.assert_ticket_refused("malformed", signed)

    def test_another_secret_key_signs_nothing(self) -> None:
        ticket, _ = issue()
        with self.settings(SECRET_KEY="another"):
            self.assert_ticket_refused("bad_signature", ticket)

    def test_no_phone_number_stands_in_the_address(self) -> None:
        ticket, _ = issue()
        body = base64.urlsafe_b64decode(ticket.partition(".")[0] + "==").decode()
        self.assertNotIn(CALLER[1:], body)
        self.assertNotIn(OUR_NUMBER[1:], body)

    def test_a_ticket_is_unreserved_in_a_url(self) -> None:
        self.assertRegex(issue()[0], r"\A[A-Za-z0-9._-]+\Z")

    def test_a_token_fits_a_parameter_and_leaves_a_long_caller_to_the_webhook(self) -> None:
        ticket, token = issue(from_number="sip:" + "x" * 250)
        self.assertLess(len("token") + len(token), 500)
        read = stream_tickets.read_ticket(ticket, CALL_SID, now=NOW)
        who = stream_tickets.read_token(token, read, now=NOW)
        self.assertEqual((who.from_number, who.to_number), ("", OUR_NUMBER))

    def test_two_tickets_of_one_call_differ(self) -> None:
        self.assertNotEqual(issue()[0], issue()[0])

    def test_a_ticket_says_of_outbound_calls_that_they_are(self) -> None:
        for direction, is_outbound in (("inbound", False), ("outbound", True), ("outbound-api", True)):
            with self.subTest(direction):
                ticket, token = issue(direction=direction, stream_number=1)
                read = stream_tickets.read_ticket(ticket, CALL_SID, now=NOW)
                self.assertEqual((read.is_outbound, read.stream_number), (is_outbound, 1))
                who = stream_tickets.read_token(token, read, now=NOW)
                self.assertEqual(who.direction, "outbound" if is_outbound else "inbound")

    def test_a_ticket_says_that_the_caller_came_back(self) -> None:
        for direction, is_outbound in (("inbound", False), ("outbound", True)):
            ticket, _ = issue(direction=direction, stream_number=3, came_back=True)
            read = stream_tickets.read_ticket(ticket, CALL_SID, now=NOW)
            self.assertEqual((read.is_outbound, read.stream_number, read.came_back), (is_outbound, 3, True))
        self.assertFalse(stream_tickets.read_ticket(issue()[0], CALL_SID, now=NOW).came_back)
