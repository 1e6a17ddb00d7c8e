"""More callers than lines, at the same moment: one is answered, nobody meets silence, and every call is on record."""

import asyncio
import time
from typing import ClassVar

from django.db import connection

from calls.models import CallLog
from simulators.carrier.ledger import CallLedger
from tests.calls.support import a_business
from tests.e2e.cases import SystemTestCase
from tests.e2e.processes import wait_until
from tests.e2e.system import Web

FORWARD_TO = "+15550100190"
NUMBERS = {"forward": "+15550100111", "tell": "+15550100112", "hold": "+15550100113"}
CALLS_AT_ONCE = 3
FASTER = 0.2  # what is only waited for: sentences, pauses, the call that was put through


def make_businesses() -> None:
    """One of each kind, with one line."""
    try:
        for when_busy, number in NUMBERS.items():
            a_business(number, name=when_busy, when_busy=when_busy, max_calls=1, forwarding_number=FORWARD_TO)
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class MoreCallersThanLines(SystemTestCase):
    ledgers: ClassVar[dict[str, list[CallLedger]]]
    late: ClassVar[Web]
    too_late: ClassVar[CallLedger]

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_businesses)
        at_once = {
            when_busy: asyncio.gather(*(cls.place("greeting-only", number, time_scale=FASTER) for _ in range(calls)))
            for (when_busy, number), calls in zip(NUMBERS.items(), (CALLS_AT_ONCE, CALLS_AT_ONCE, 2), strict=True)
        }
        cls.ledgers = {when_busy: await calls for when_busy, calls in at_once.items()}
        await cls.call_a_process_that_cannot_keep_up()

    def answered(self, when_busy: str) -> list[CallLedger]:
        return [ledger for ledger in self.ledgers[when_busy] if ledger.streams]

    def turned_away(self, when_busy: str) -> list[CallLedger]:
        return [ledger for ledger in self.ledgers[when_busy] if not ledger.streams]

    def test_the_carrier_has_nothing_to_complain_of(self) -> None:
        for when_busy, ledgers in self.ledgers.items():
            for ledger in ledgers:
                with self.subTest(when_busy):
                    self.assertEqual((ledger.complaints, ledger.errors), ([], []))

    def test_one_is_answered_and_the_others_are_put_through(self) -> None:
        self.assertEqual(len(self.answered("forward")), 1)
        self.assertEqual([ledger.verbs for ledger in self.turned_away("forward")], [["Dial"]] * (CALLS_AT_ONCE - 1))

    def test_one_is_answered_and_the_others_are_told(self) -> None:
        self.assertEqual(len(self.answered("tell")), 1)
        self.assertEqual(
            [ledger.verbs for ledger in self.turned_away("tell")], [["Say", "Hangup"]] * (CALLS_AT_ONCE - 1)
        )

    def test_a_caller_on_hold_is_answered_when_the_first_hangs_up(self) -> None:
        self.assertEqual(len(self.answered("hold")), 2)
        first, held = sorted(self.ledgers["hold"], key=lambda ledger: len(ledger.verbs))
        self.assertEqual(first.verbs, ["Connect"])
        rounds = held.verbs.count("Redirect")
        self.assertEqual(held.verbs, [*["Say", "Pause", "Redirect"] * rounds, "Connect"])
        self.assertGreaterEqual(rounds, 1)
        row = self.finished(held.call_sid)
        self.assertEqual((row.status, row.ended_reason), ("completed", "caller_hung_up"))
        self.assertGreater(len(self.turns(held.call_sid)), 0)

    def test_every_call_is_on_record(self) -> None:
        for ledger in (ledger for ledgers in self.ledgers.values() for ledger in ledgers):
            row: CallLog = self.finished(ledger.call_sid)
            expected = "caller_hung_up" if ledger.streams else "turned_away"
            self.assertEqual((row.status, row.ended_reason), ("completed", expected))
            self.assertEqual(self.seconds_counted_by_the_carrier(row), ledger.duration_seconds)
            self.assertEqual(bool(row.agent_version_id), bool(ledger.streams))

    @classmethod
    async def call_a_process_that_cannot_keep_up(cls) -> None:
        """Its event loop counts as late whenever it is not exactly on time."""
        cls.late = await asyncio.to_thread(Web, cls.system, LOOP_LATE_MS="0")
        cls.addClassCleanup(cls.late.child.stop)
        await asyncio.to_thread(wait_until, cls.late.is_ready, 60, "the process is ready")
        began = time.monotonic()

        def is_looked_at() -> bool:
            return time.monotonic() - began > 0.5

        await asyncio.to_thread(wait_until, is_looked_at, 5, "the loop has been looked at a few times")
        address = ("127.0.0.1", cls.late.port)
        cls.too_late = await cls.place("greeting-only", time_scale=FASTER, connect_to=address)

    def test_a_process_that_cannot_keep_up_puts_the_caller_through(self) -> None:
        self.assertEqual((self.too_late.verbs, self.too_late.complaints), (["Dial"], []))
        row = self.finished(self.too_late.call_sid)
        self.assertEqual((row.status, row.ended_reason), ("completed", "turned_away"))
        self.assertIn('"reason": "loop_late"', self.late.child.output())
