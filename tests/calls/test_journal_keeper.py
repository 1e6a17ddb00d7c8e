"""The keeper: a journal file goes when the database shows what is in it, and not before."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import OperationalError, connection
from django.test import SimpleTestCase, TestCase
from django.test.utils import CaptureQueriesContext

from calls import services
from calls.journal import files, kinds
from calls.journal.claims import Claim, Known
from calls.journal.confirmation import look_up
from calls.journal.journal import Journal
from calls.journal.keeper import QUIET_SECONDS, RESEND_SECONDS, Keeper
from calls.models import CallLog, CallMessage, ConversationTurn, RefusedFact, ToolUse
from calls.transcripts import render
from tests.calls.support import (
    ACCOUNT_SID,
    CALL_SID,
    CALLER,
    OUR_NUMBER,
    a_business,
    a_leg,
    a_message,
    a_tool_use,
    a_turn,
    at,
)

OTHER_SID = "CA" + "9" * 32
LOG = "calls.journal.keeper"
Fact = tuple[str, dict[str, Any]]


def facts_of_a_call(business_id: int, call_sid: str = CALL_SID) -> list[Fact]:
    call = {"call_sid": call_sid, "business_id": business_id}
    turns = [a_turn(0), a_turn(1, 1)]
    numbers = {"from_number": CALLER, "to_number": OUR_NUMBER, "direction": "inbound", "account_sid": ACCOUNT_SID}
    end = {"duration_seconds": 9, "transcript": render(turns), "turns": turns, "ended_at": at(20), "interruptions": 1}
    return [
        (kinds.CREATE, {**call, **numbers, "status": "in-progress", "stream_sid": "MZ1", "occurred_at": at(0)}),
        (kinds.TURN, {**call, **a_turn(0)}),
        (kinds.TURN, {**call, **a_turn(1)}),
        (kinds.TURN, {**call, **a_turn(1, 1)}),
        (kinds.STATUS, {**call, "status": "completed", "sequence_number": 3, "duration_seconds": 10}),
        (kinds.FINALIZE, {**call, **end, "status": "completed", "ended_reason": "caller_hung_up"}),
    ]


def facts_with_tools(business_id: int) -> list[Fact]:
    """The same call, which is recorded, in which a tool took a message, and somebody was called."""
    *before, status, (kind, end) = facts_of_a_call(business_id)
    call = {"call_sid": CALL_SID, "business_id": business_id}
    recording = {**call, "recording_sid": "RE" + "3" * 32, "channels": 2, "consent": "announced"}
    return [
        *before,
        (kinds.RECORDING, {**recording, "state": "in-progress"}),
        (kinds.TOOL_USE, {**call, **a_tool_use(1, "started")}),
        (kinds.MESSAGE, {**call, **a_message(1)}),
        (kinds.LEG, {**call, **a_leg(1)}),
        (kinds.LEG, {**call, **a_leg(1, "no-answer")}),
        (kinds.TOOL_USE, {**call, **a_tool_use(1)}),
        (kinds.RECORDING, {**recording, "state": "waiting", "duration_seconds": 20}),
        status,
        (kind, {**end, "tool_uses": [a_tool_use(1)], "messages": [a_message(1)], "counters": {"echoes": 1}}),
    ]


class KeeperCase(TestCase):
    def setUp(self) -> None:
        self.business, _ = a_business()
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        self.now = 1000.0
        self.journal = Journal(self.directory, clock=lambda: self.now)
        self.addCleanup(self.journal.close, 5)
        # In this thread, whose transaction the test's rows are in.
        self.keeper = Keeper(self.journal, run=lambda work: work())

    def append(self, *facts: Fact) -> None:
        for kind, arguments in facts:
            self.journal.append(kind, dict(arguments))
        self.assertTrue(self.journal.flush(5))

    def write(self, *facts: Fact) -> None:
        for kind, arguments in facts:
            getattr(services, kind)(**arguments)

    def left(self) -> int:
        self.keeper.poll()
        self.assertTrue(self.journal.flush(5))
        return len(files.paths(self.directory))


class Confirming(KeeperCase):
    def test_a_finished_call_goes_once_the_database_shows_all_of_it(self) -> None:
        facts = facts_with_tools(self.business.pk)
        self.append(*facts)
        self.assertEqual(self.left(), 1)
        for fact in facts[:-1]:
            self.write(fact)
            self.assertEqual(self.left(), 1, "the end is not there yet")
        self.write(facts[-1])
        self.assertEqual(self.left(), 0)

    def test_a_missing_turn_keeps_the_file(self) -> None:
        facts = facts_of_a_call(self.business.pk)
        self.append(*facts)
        self.write(*facts)
        ConversationTurn.objects.filter(turn_index=1).update(revision=0)
        self.assertEqual(self.left(), 1)
        ConversationTurn.objects.filter(turn_index=1).update(revision=1)
        self.assertEqual(self.left(), 0)

    def test_a_missing_tool_or_message_keeps_the_file(self) -> None:
        facts = facts_with_tools(self.business.pk)
        self.append(*facts)
        self.write(*facts)
        for state, left in (("started", 1), ("timed_out", 1)):
            ToolUse.objects.update(state=state)
            self.assertEqual(self.left(), left)
        ToolUse.objects.update(state="finished")
        CallMessage.objects.update(key="another")
        self.assertEqual(self.left(), 1)
        CallMessage.objects.update(key="call_1")
        self.assertEqual(self.left(), 0)

    def test_what_only_the_end_of_the_call_says_is_confirmed_too(self) -> None:
        *_, (kind, end) = facts_with_tools(self.business.pk)
        self.append((kind, end))
        self.write((kind, {**end, "tool_uses": [], "messages": []}))
        self.assertEqual(self.left(), 1)
        self.write((kind, end))
        self.assertEqual(self.left(), 0)

    def test_the_same_call_of_another_business_confirms_nothing(self) -> None:
        stranger, _ = a_business(number="+15550100177")
        facts = facts_of_a_call(self.business.pk)
        self.append(*facts)
        self.write(*facts_of_a_call(stranger.pk))
        self.assertEqual(self.left(), 1)

    def test_a_live_call_keeps_its_file_although_all_is_there(self) -> None:
        facts = facts_of_a_call(self.business.pk)[:4]
        self.append(*facts)
        self.write(*facts)
        self.assertEqual(self.left(), 1)
        self.now += QUIET_SECONDS + 1
        self.assertEqual(self.left(), 0, "nothing came for a while: the end may come to another process")

    def test_the_carriers_word_that_it_is_over_is_enough(self) -> None:
        told = [fact for fact in facts_of_a_call(self.business.pk) if fact[0] in (kinds.CREATE, kinds.STATUS)]
        self.append(*told)
        self.write(*told)
        self.assertEqual(self.left(), 0, "a process that answers webhooks hears of no other end")

    def test_a_fact_after_the_confirmation_is_asked_for_again(self) -> None:
        facts = facts_of_a_call(self.business.pk)
        self.append(*facts[:4])
        self.write(*facts[:4])
        self.assertEqual(self.left(), 1)
        self.append(*facts[4:])
        self.assertEqual(self.left(), 1)
        self.write(*facts[4:])
        self.assertEqual(self.left(), 0)

    def test_the_reapers_word_does_not_confirm_the_calls_own_end(self) -> None:
        facts = facts_of_a_call(self.business.pk)
        self.append(*facts)
        self.write(*facts[:4])
        services.reap_call_log(CALL_SID, self.business.pk, "completed", source="guess", ended_at=at(99))
        self.assertEqual(self.left(), 1)
        self.write(facts[4])
        self.assertEqual(self.left(), 1)
        self.write(facts[5])
        self.assertEqual(self.left(), 0)
        self.assertEqual(CallLog.objects.get().ended_reason, "caller_hung_up")

    def test_a_guess_does_not_confirm_the_carriers_word(self) -> None:
        facts = facts_of_a_call(self.business.pk)
        self.append(facts[4])
        services.reap_call_log(CALL_SID, self.business.pk, "failed", source="guess", duration_seconds=10)
        CallLog.objects.update(carrier_duration_seconds=10)
        self.now += QUIET_SECONDS / 3
        self.assertEqual(self.left(), 1)
        self.write(facts[4])
        self.now += QUIET_SECONDS
        self.assertEqual(self.left(), 0)
        self.assertEqual(CallLog.objects.get().status, "completed")

    def test_the_process_that_carries_the_call_is_confirmed_too(self) -> None:
        kind, created = facts_of_a_call(self.business.pk)[0]
        self.write((kind, created | {"owner_boot_id": "a" * 32}))
        self.append((kind, created | {"owner_boot_id": "b" * 32, "occurred_at": at(5)}))
        self.now += RESEND_SECONDS
        with self.assertLogs(LOG, "WARNING"):
            self.keeper.poll()
        self.assertEqual(CallLog.objects.get().owner_boot_id, "b" * 32)

    def test_five_queries_ask_for_all_calls(self) -> None:
        sids = [f"CA{number:032d}" for number in range(20)]
        for sid in sids:
            facts = facts_of_a_call(self.business.pk, sid)
            self.append(*facts)
            self.write(*facts)
        with CaptureQueriesContext(connection) as queries:
            self.assertEqual(self.left(), 0)
        self.assertEqual(len(queries), 5)

    def test_what_is_confirmed_is_not_asked_for_again(self) -> None:
        facts = facts_of_a_call(self.business.pk)[:4]
        self.append(*facts)
        self.write(*facts)
        self.assertEqual(self.left(), 1)
        with self.assertNumQueries(0):
            self.keeper.poll()


class WritingAgain(KeeperCase):
    def test_what_nobody_took_is_written_at_once(self) -> None:
        self.append(*facts_of_a_call(self.business.pk))
        self.journal.not_taken(CALL_SID)
        self.assertTrue(self.journal.flush(5))
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertTrue(CallLog.objects.get().is_complete)

    def test_tools_and_messages_are_written_again_too(self) -> None:
        self.append(*facts_with_tools(self.business.pk))
        self.now += RESEND_SECONDS
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertEqual((ToolUse.objects.get().state, CallMessage.objects.get().caller_name), ("finished", "Nina"))

    def test_what_the_broker_took_and_lost_is_written_after_a_while(self) -> None:
        self.append(*facts_of_a_call(self.business.pk))
        self.assertEqual(self.left(), 1)
        self.assertEqual(CallLog.objects.count(), 0)
        self.now += RESEND_SECONDS
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertEqual(CallLog.objects.get().turns.count(), 2)

    def test_a_refused_fact_does_not_keep_the_file_for_ever(self) -> None:
        self.append(*facts_of_a_call(self.business.pk + 1))
        self.now += RESEND_SECONDS
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertEqual(RefusedFact.objects.count(), 6)

    def test_a_tool_in_no_known_state_is_refused_and_does_not_keep_the_file(self) -> None:
        facts = facts_of_a_call(self.business.pk)
        call = {"call_sid": CALL_SID, "business_id": self.business.pk}
        self.append(*facts, (kinds.TOOL_USE, {**call, **a_tool_use(1, "exploded")}))
        self.write(*facts)
        self.now += RESEND_SECONDS
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertEqual(RefusedFact.objects.get().kind, kinds.TOOL_USE)

    def test_a_fact_too_odd_to_compare_is_settled_by_writing_it(self) -> None:
        odd = (kinds.TURN, {"call_sid": CALL_SID, "business_id": self.business.pk, **a_turn(0), "turn_index": "one"})
        self.append(*facts_of_a_call(self.business.pk), odd)
        self.now += RESEND_SECONDS
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertEqual(RefusedFact.objects.count(), 1)

    def test_while_the_database_is_away_it_tries_after_1_2_4_to_30_seconds(self) -> None:
        self.append(*facts_of_a_call(self.business.pk))
        tries: list[float] = []

        def away(*_: object) -> None:
            tries.append(self.now - 1000)
            raise OperationalError

        with mock.patch("calls.journal.keeper._look_up", away), self.assertLogs(LOG, "WARNING"):
            for _ in range(100):
                self.keeper.poll()
                self.now += 1
        self.assertEqual(tries, [0, 1, 3, 7, 15, 31, 61, 91])
        self.now += 30
        with self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 0)

    def test_a_locked_call_does_not_keep_the_others(self) -> None:
        self.append(*facts_of_a_call(self.business.pk, OTHER_SID), *facts_of_a_call(self.business.pk))
        self.now += RESEND_SECONDS
        create = services.create_call_log

        def locked(**arguments: Any) -> bool:
            if arguments["call_sid"] == OTHER_SID:
                raise OperationalError("lock timeout")
            return create(**arguments)

        with mock.patch.object(services, kinds.CREATE, locked), self.assertLogs(LOG, "WARNING"):
            self.assertEqual(self.left(), 1)
        self.assertEqual(CallLog.objects.get().call_sid, CALL_SID)

    def test_calls_that_nobody_took_are_written_in_one_transaction(self) -> None:
        call_sids = [f"CA{number:032x}" for number in range(10)]
        for call_sid in call_sids:
            self.append(*facts_of_a_call(self.business.pk, call_sid))
            self.journal.not_taken(call_sid)
        self.assertTrue(self.journal.flush(5))
        with self.assertLogs(LOG, "WARNING"), CaptureQueriesContext(connection) as queries:
            self.assertEqual(self.left(), 0)
        # Five to ask what is there, and those of a transaction.
        self.assertLess(len(queries), 25, [query["sql"][:60] for query in queries])
        self.assertEqual(
            list(CallLog.objects.order_by("call_sid").values_list("call_sid", "is_complete")),
            [(call_sid, True) for call_sid in call_sids],
        )

    def test_what_the_disk_did_not_take_is_written_from_memory(self) -> None:
        blocked = self.directory.parent / "blocked"
        blocked.write_text("a file where the directory should be")
        self.journal = Journal(blocked, clock=lambda: self.now)
        self.addCleanup(self.journal.close, 5)
        self.keeper = Keeper(self.journal, run=lambda work: work())
        with self.assertLogs("calls.journal", "WARNING"):
            for kind, arguments in facts_of_a_call(self.business.pk):
                self.journal.append(kind, arguments)
            self.assertFalse(self.journal.flush(5))
            self.assertEqual(self.journal.counters().in_memory, 6)
            self.now += RESEND_SECONDS
            self.keeper.poll()
        self.assertTrue(CallLog.objects.get().is_complete)
        self.assertTrue(self.journal.flush(5))
        self.assertEqual(self.journal.counters().in_memory, 0)

    def test_a_damaged_part_of_a_living_file_is_put_aside(self) -> None:
        self.append(*facts_of_a_call(self.business.pk))
        [path] = files.paths(self.directory)
        data = bytearray(path.read_bytes())
        data[len(data) // 4] ^= 1
        path.write_bytes(bytes(data))
        self.now += RESEND_SECONDS
        with self.assertLogs("calls.journal", "WARNING"):
            self.assertEqual(self.left(), 0)
        self.assertEqual(len(list((self.directory / files.QUARANTINE).iterdir())), 1)


class ADatabaseThatHangs(SimpleTestCase):
    def test_costs_no_more_than_the_deadline_and_the_file_stays(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        journal = Journal(directory)
        self.addCleanup(journal.close, 5)
        journal.append(*facts_of_a_call(1)[0])
        self.assertTrue(journal.flush(5))

        def hangs(work: Callable[[], Any]) -> Any:
            raise TimeoutError

        with self.assertLogs(LOG, "WARNING"):
            Keeper(journal, run=hangs).poll()
        self.assertEqual(len(files.paths(directory)), 1)


class Claims(TestCase):
    def test_every_prefix_of_a_calls_facts_is_claimed_by_itself(self) -> None:
        """What the services have written holds the claims of those facts, and of no more."""
        business, _ = a_business()
        facts = facts_with_tools(business.pk)
        for written in range(len(facts)):
            getattr(services, facts[written][0])(**facts[written][1])
            known = look_up([CALL_SID])[CALL_SID]
            for claimed in range(1, len(facts) + 1):
                claim = Claim()
                for kind, arguments in facts[:claimed]:
                    claim.add(kind, arguments)
                self.assertEqual(claim.holds(known), claimed <= written + 1, (claimed, written))

    def test_a_call_without_a_row_shows_nothing(self) -> None:
        self.assertEqual(look_up(["CA404"]), {})
        self.assertFalse(Claim().holds(None))

    def test_an_end_without_turns_claims_the_text(self) -> None:
        business, _ = a_business()
        end: dict[str, Any] = {"call_sid": CALL_SID, "business_id": business.pk, "status": "completed"}
        end["duration_seconds"] = 3
        claim = Claim()
        claim.add(kinds.FINALIZE, {**end, "transcript": "Agent: Hello."})
        services.finalize_call_log(**end, transcript="")
        self.assertFalse(claim.holds(look_up([CALL_SID])[CALL_SID]))
        CallLog.objects.update(streams={})
        services.finalize_call_log(**end, transcript="Agent: Hello.")
        self.assertTrue(claim.holds(look_up([CALL_SID])[CALL_SID]))

    def test_an_owner_is_told_once_its_stream_has_ended_or_there_is_a_later_one(self) -> None:
        business, _ = a_business()
        call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": business.pk}
        created = {**call, "from_number": "", "to_number": "", "direction": "inbound", "status": "in-progress"}
        created["owner_boot_id"] = "a" * 32
        ended: dict[str, Any] = {**call, "status": "in-progress", "duration_seconds": 3, "transcript": ""}
        first, second = Claim(), Claim()
        first.add(kinds.CREATE, created)
        second.add(kinds.CREATE, {**created, "owner_boot_id": "b" * 32, "stream_number": 1})
        second.add(kinds.FINALIZE, {**ended, "stream_number": 1})

        def held() -> tuple[bool, bool]:
            known = look_up([CALL_SID])[CALL_SID]
            return first.holds(known), second.holds(known)

        services.create_call_log(**call, from_number="", to_number="", direction="inbound", owner_boot_id="c" * 32)
        self.assertEqual(held(), (False, False))
        services.create_call_log(**{**created, "owner_boot_id": "b" * 32, "stream_number": 1})
        self.assertEqual(held(), (True, False))
        services.finalize_call_log(**ended)
        self.assertEqual(held(), (True, False))
        services.finalize_call_log(**ended, stream_number=1)
        self.assertEqual(held(), (True, True))

    def test_a_later_status_covers_an_earlier_one(self) -> None:
        claim = Claim()
        claim.add(kinds.STATUS, {"business_id": 1, "status": "ringing"})
        known: dict[str, Any] = {
            "business_id": 1,
            "direction": "inbound",
            "filled": frozenset[str](),
        }
        more: dict[str, Any] = {"carrier_duration_seconds": None, "interruptions": 0}
        self.assertTrue(claim.holds(Known(**known, **more, status="busy")))
        self.assertFalse(claim.holds(Known(**known, **more, status="initiated")))
