"""The reaper: whom it suspects, what it concludes, and that what is known later corrects it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

from django.db import connection, connections
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.utils import timezone

from calls import heartbeats, reaper, services
from calls.carriers.answers import Answer, CarrierCall, NoSuchCall, Unreachable
from calls.models import CallLog, EndedReason, RefusedFact, SuspectCall, WebProcess
from calls.one_at_a_time import LEASE, only_one
from calls.reaper import End, Step, Unfinished, Wait, conclude, next_step
from calls.transcripts import render
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER, a_business, a_turn, at

BEGAN = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
OWNER = "b" * 32
Fact = tuple[Callable[..., bool], dict[str, Any]]


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def unfinished(**fields: Any) -> Unfinished:
    return Unfinished(**{"call_sid": CALL_SID, "business_id": 1, "status": "in-progress", "began_at": BEGAN, **fields})


class AskedTest(SimpleTestCase):
    def test_who_hung_up_at_the_question_was_not_lost(self) -> None:
        cases: list[tuple[dict[str, Any], EndedReason]] = [
            ({}, EndedReason.NEVER_CONNECTED),
            ({"was_asked": True}, EndedReason.CALLER_HUNG_UP),
            ({"was_asked": True, "has_stream": True}, EndedReason.STREAM_LOST),
        ]
        for fields, reason in cases:
            with self.subTest(fields):
                end = conclude(unfinished(status="completed", ended_at=after(9), **fields), None, after(100))
                assert isinstance(end, End)
                self.assertEqual(end.ended_reason, reason)


class NextStepTest(SimpleTestCase):
    OWNED = unfinished(has_stream=True, owner_since=after(2), owner_seen_at=after(100))
    NEVER_OWNED = unfinished(status="ringing")
    SILENT_ENDING = unfinished(status="completed", ended_at=after(40))

    def check(self, call: Unfinished, now: float, step: Step) -> None:
        with self.subTest(call=call, now=now):
            self.assertIs(next_step(call, after(now)), step)

    def test_an_owner_has_thirty_seconds_since_its_last_beat(self) -> None:
        self.check(self.OWNED, 130, Step.LEAVE)
        self.check(self.OWNED, 131, Step.MARK)
        left = replace(self.OWNED, owner_seen_at=None)  # gone in good order, or never beat: the stream's start counts
        self.check(left, 32, Step.LEAVE)
        self.check(left, 33, Step.MARK)

    def test_a_call_without_a_stream_is_suspect_soon_enough_to_end_within_90_seconds(self) -> None:
        self.check(self.NEVER_OWNED, 50, Step.LEAVE)
        self.check(self.NEVER_OWNED, 51, Step.MARK)
        self.assertLess(reaper.NEVER_OWNED.total_seconds() + 2 * reaper.SWEEP_SECONDS, 90)

    def test_a_call_longer_than_any_may_be_is_suspect_whoever_has_it(self) -> None:
        four_hours = 4 * 3600
        self.check(replace(self.OWNED, owner_seen_at=after(four_hours)), four_hours, Step.LEAVE)
        self.check(replace(self.OWNED, owner_seen_at=after(four_hours)), four_hours + 1, Step.MARK)

    def test_an_end_that_only_the_carrier_told_of_has_two_minutes_and_a_living_owner_more(self) -> None:
        self.check(self.SILENT_ENDING, 160, Step.LEAVE)
        self.check(self.SILENT_ENDING, 161, Step.MARK)
        self.check(replace(self.SILENT_ENDING, owner_since=after(2), owner_seen_at=after(160)), 161, Step.LEAVE)

    def test_a_suspect_is_looked_at_in_a_later_sweep_and_when_its_pause_is_over(self) -> None:
        suspect = replace(self.OWNED, suspect_since=after(131), next_look_at=after(143))
        self.check(suspect, 142, Step.LEAVE)
        self.check(suspect, 143, Step.LOOK)

    def test_a_suspect_whose_owner_beats_again_is_cleared(self) -> None:
        suspect = replace(self.OWNED, suspect_since=after(131), next_look_at=after(143))
        self.check(replace(suspect, owner_seen_at=after(140)), 145, Step.CLEAR)

    def test_the_second_look_comes_after_a_heart_had_time_and_before_the_sweep_after_next(self) -> None:
        longest = heartbeats.BEAT_SECONDS
        self.assertGreater(reaper.SECOND_LOOK.total_seconds(), longest)
        self.assertLess(reaper.SECOND_LOOK.total_seconds(), reaper.SWEEP_SECONDS)


class ConcludeTest(SimpleTestCase):
    TALKED = unfinished(has_stream=True, owner_since=after(2), owner_seen_at=after(50), last_words_at=after(55))
    RANG = unfinished(status="ringing")

    def test_what_follows_from_each_answer(self) -> None:
        over = CarrierCall(CALL_SID, "completed", started_at=BEGAN, ended_at=after(70), duration_seconds=69)
        busy = CarrierCall(CALL_SID, "no-answer")
        going_on = CarrierCall(CALL_SID, "in-progress")
        now, late = after(3600), after(25 * 3600)
        ended = replace(self.TALKED, status="completed", ended_at=after(60))
        table: list[tuple[Unfinished, Answer | None, datetime, End | Wait]] = [
            (self.TALKED, over, now, End("completed", "carrier", "stream_lost", after(70), 69)),
            (self.RANG, over, now, End("completed", "carrier", "never_connected", after(70), 69)),
            (self.RANG, busy, now, End("no-answer", "carrier", "never_connected", BEGAN, None)),
            (self.TALKED, going_on, now, Wait(now + timedelta(seconds=60), "in-progress")),
            (self.RANG, NoSuchCall(), now, End("failed", "guess", "never_connected", BEGAN, 0)),
            (self.TALKED, Unreachable("429"), now, Wait(now + timedelta(seconds=15), "429")),
            (replace(self.TALKED, tries=2), Unreachable("503"), now, Wait(now + timedelta(seconds=60), "503")),
            (replace(self.TALKED, tries=99), Unreachable("503"), now, Wait(now + timedelta(minutes=15), "503")),
            (self.TALKED, Unreachable("503"), late, End("completed", "guess", "stream_lost", after(55), 55)),
            (self.TALKED, None, after(94), Wait(after(95), "")),
            (self.TALKED, None, after(95), End("completed", "guess", "stream_lost", after(55), 55)),
            (self.RANG, None, after(90), End("failed", "guess", "never_connected", BEGAN, 0)),
            (ended, None, now, End("completed", "carrier", "stream_lost", after(60), None)),
        ]
        for call, answer, moment, expected in table:
            with self.subTest(call=call, answer=answer):
                self.assertEqual(conclude(call, answer, moment), expected)


class Calls:
    """A business, and calls of it as the webhook and the stream tell of them."""

    def __init__(self) -> None:
        self.business, _ = a_business()
        self.replays = 0
        self.asked: list[str] = []

    def comes_in(self, call_sid: str = CALL_SID, *, owner: str = "", seconds: float = 0) -> dict[str, Any]:
        call: dict[str, Any] = {"call_sid": call_sid, "business_id": self.business.pk}
        fact = {**call, "from_number": CALLER, "to_number": OUR_NUMBER, "direction": "inbound"}
        services.create_call_log(**fact, status="ringing", occurred_at=at(seconds))
        if owner:
            services.create_call_log(**fact, stream_sid="MZ1", owner_boot_id=owner, occurred_at=at(seconds + 2))
        return call

    def sweep(self, seconds: float, answer: Answer | None = None, replay: Callable[[], None] | None = None) -> Any:
        def ask(call_sid: str) -> Answer:
            self.asked.append(call_sid)
            assert answer is not None
            return answer

        def count() -> None:
            self.replays += 1

        return reaper.sweep(after(seconds), replay=replay or count, ask=ask if answer is not None else None)


class SweepTest(TestCase):
    def setUp(self) -> None:
        self.calls = Calls()

    def row(self) -> CallLog:
        return CallLog.objects.get(call_sid=CALL_SID)

    def test_a_dead_process_costs_two_sweeps_and_the_turns_that_are_here_are_kept(self) -> None:
        call = self.calls.comes_in(owner=OWNER)
        services.save_conversation_turn(**call, **a_turn(0))
        heartbeats.beat(after(3), 1, OWNER)
        self.assertEqual(self.calls.sweep(30).marked, 0)
        self.assertEqual(self.calls.sweep(45).marked, 1)
        self.assertEqual((self.row().status, self.calls.replays), ("in-progress", 0))
        self.assertEqual(self.calls.sweep(60).ended, 1)  # nobody to ask, and 40 s without a sign
        row = self.row()
        self.assertEqual((row.status, row.ended_reason, row.end_source), ("completed", "stream_lost", "guess"))
        self.assertEqual(row.transcript, "Agent: answer 0 r0")
        self.assertFalse(row.is_complete)
        self.assertEqual(row.ended_at, datetime.fromisoformat(at(6)))
        self.assertFalse(SuspectCall.objects.exists())

    def test_the_carriers_word_is_taken_for_the_end(self) -> None:
        self.calls.comes_in(owner=OWNER)
        answer = CarrierCall(CALL_SID, "completed", ended_at=after(31), duration_seconds=30)
        self.calls.sweep(45, answer)
        self.assertEqual(self.calls.asked, [])
        self.calls.sweep(60, answer)
        row = self.row()
        self.assertEqual((row.status, row.end_source, row.duration_seconds), ("completed", "carrier", 30))
        self.assertEqual((row.ended_at, row.ended_reason), (after(31), "stream_lost"))
        self.assertEqual(self.calls.asked, [CALL_SID])

    def test_a_call_that_goes_on_at_the_carrier_is_left_and_shown(self) -> None:
        self.calls.comes_in(owner=OWNER)
        going_on = CarrierCall(CALL_SID, "in-progress")
        for seconds in (45, 60, 75, 90):
            self.calls.sweep(seconds, going_on)
        self.assertEqual(self.row().status, "in-progress")
        self.assertEqual((SuspectCall.objects.get().answer, self.calls.asked), ("in-progress", [CALL_SID]))

    def test_a_call_taken_over_by_another_process_is_cleared(self) -> None:
        self.calls.comes_in(owner=OWNER)
        self.calls.sweep(45)
        self.calls.comes_in(owner="c" * 32, seconds=48)
        heartbeats.beat(after(50), 1, "c" * 32)
        self.assertEqual(self.calls.sweep(60).cleared, 1)
        self.assertFalse(SuspectCall.objects.exists())
        self.assertEqual(self.row().owner_boot_id, "c" * 32)

    def test_after_the_database_was_away_the_healthy_are_left_alone(self) -> None:
        self.calls.comes_in(owner=OWNER)
        heartbeats.beat(after(20), 1, OWNER)
        self.assertEqual(self.calls.sweep(200).marked, 1)
        heartbeats.beat(after(202), 1, OWNER)
        self.assertEqual((self.calls.sweep(215).cleared, self.calls.replays), (1, 0))

    def test_the_journal_comes_before_the_carrier(self) -> None:
        call = self.calls.comes_in(owner=OWNER)
        self.calls.sweep(45, NoSuchCall())
        ended = {"status": "completed", "duration_seconds": 9, "transcript": "", "ended_reason": "caller_hung_up"}

        def replay() -> None:
            services.finalize_call_log(**call | ended)

        self.calls.sweep(60, NoSuchCall(), replay)
        self.assertEqual((self.row().ended_reason, self.row().end_source, self.calls.asked), ("caller_hung_up", "", []))

    def test_a_carrier_that_does_not_answer_is_asked_once_a_sweep(self) -> None:
        for number in range(3):
            self.calls.comes_in(f"CA{number:032x}", owner=OWNER)
        self.calls.sweep(45, Unreachable("503"))
        self.assertEqual(self.calls.sweep(60, Unreachable("503")).waiting, 3)
        self.assertEqual(len(self.calls.asked), 1)
        self.assertEqual(sorted(SuspectCall.objects.values_list("tries", "answer")), [(0, ""), (0, ""), (1, "503")])

    def test_a_call_that_never_had_a_stream_is_complete_as_it_is(self) -> None:
        self.calls.comes_in()
        for seconds in (125, 140):
            self.calls.sweep(seconds)
        row = self.row()
        self.assertEqual((row.status, row.ended_reason), ("failed", "never_connected"))
        self.assertTrue(row.is_complete)

    def test_an_end_that_only_a_status_callback_told_of_gets_its_turns_and_no_question(self) -> None:
        call = self.calls.comes_in(owner=OWNER)
        services.save_conversation_turn(**call, **a_turn(0))
        services.apply_call_status(**call, status="completed", sequence_number=3, occurred_at=at(40))
        for seconds in (170, 185):
            self.calls.sweep(seconds, NoSuchCall())
        row = self.row()
        self.assertEqual((row.status, row.ended_reason, row.end_source), ("completed", "stream_lost", ""))
        self.assertEqual((row.transcript, row.is_complete, self.calls.asked), ("Agent: answer 0 r0", False, []))
        self.assertEqual(self.calls.sweep(200, NoSuchCall()).marked, 0)

    def test_a_finished_call_is_none_of_its_business(self) -> None:
        call = self.calls.comes_in(owner=OWNER)
        services.finalize_call_log(**call, status="completed", duration_seconds=5, transcript="", ended_at=at(9))
        before = CallLog.objects.values().get()
        for seconds in (1000, 2000):
            self.calls.sweep(seconds, NoSuchCall())
        self.assertEqual(CallLog.objects.values().get(), before)

    def test_processes_of_yesterday_are_forgotten(self) -> None:
        heartbeats.beat(after(0), 0, OWNER)
        self.calls.sweep(24 * 3600 + 1)
        self.assertFalse(WebProcess.objects.exists())


class LastWordTest(TestCase):
    """The reaper's end and the true ones, in every order: one terminal state, the same."""

    def setUp(self) -> None:
        self.calls = Calls()

    def settle(self, facts: tuple[Fact, ...]) -> dict[str, Any]:
        CallLog.objects.all().delete()
        call = self.calls.comes_in(owner=OWNER)
        for service, arguments in facts:
            self.assertTrue(service(**call, **arguments))
        row: dict[str, Any] = {**CallLog.objects.values().get()}
        row["turns"] = list(CallLog.objects.get().turns.values_list("turn_index", "revision"))
        for name in ("id", "created_at", "updated_at"):
            row.pop(name)
        return row

    GUESS: Fact = (
        services.reap_call_log,
        {
            "status": "failed",
            "source": "guess",
            "ended_reason": "stream_lost",
            "ended_at": at(200),
            "duration_seconds": 200,
        },
    )
    TURNS = [a_turn(0), a_turn(1)]
    FINALIZED: Fact = (
        services.finalize_call_log,
        {
            "status": "completed",
            "duration_seconds": 14,
            "transcript": render(TURNS),
            "turns": TURNS,
            "ended_reason": "caller_hung_up",
            "ended_at": at(16),
        },
    )
    CALLBACK: Fact = (
        services.apply_call_status,
        {"status": "completed", "sequence_number": 3, "duration_seconds": 15, "occurred_at": at(17)},
    )
    TURN: Fact = (services.save_conversation_turn, a_turn(1))

    def test_a_guess_and_the_calls_own_end_in_both_orders(self) -> None:
        for facts in permutations((self.GUESS, self.FINALIZED)):
            row = self.settle(facts)
            self.assertEqual(
                (row["status"], row["ended_reason"], row["end_source"]), ("completed", "caller_hung_up", "")
            )
            self.assertEqual((row["duration_seconds"], row["reaped_at"], row["is_complete"]), (14, None, True))
            self.assertEqual(row["ended_at"], datetime.fromisoformat(at(16)))

    def test_everything_in_every_order_ends_the_same(self) -> None:
        facts = (self.GUESS, self.FINALIZED, self.CALLBACK, self.TURN, self.GUESS)
        expected = self.settle(facts)
        self.assertEqual((expected["status"], expected["duration_seconds"]), ("completed", 15))
        for order in permutations(facts):
            self.assertEqual(self.settle(order), expected)

    def test_the_carriers_word_and_the_calls_own_end_in_both_orders(self) -> None:
        told = {"status": "completed", "source": "carrier", "ended_reason": "stream_lost", "ended_at": at(17)}
        facts = (services.reap_call_log, {**told, "duration_seconds": 15}), self.FINALIZED
        for order in permutations(facts):
            row = self.settle(order)
            self.assertEqual((row["status"], row["ended_reason"]), ("completed", "caller_hung_up"))
            self.assertEqual((row["duration_seconds"], row["is_complete"]), (15, True))

    def test_a_callback_corrects_a_guess_but_not_how_the_call_is_thought_to_have_ended(self) -> None:
        for order in permutations((self.GUESS, self.CALLBACK)):
            row = self.settle(order)
            self.assertEqual((row["status"], row["ended_reason"], row["end_source"]), ("completed", "stream_lost", ""))
            self.assertEqual(row["ended_at"], datetime.fromisoformat(at(17)))

    def test_a_late_turn_after_a_guess_is_in_the_transcript(self) -> None:
        row = self.settle((self.GUESS, self.TURN))
        self.assertIn("question 1", row["transcript"])
        self.assertFalse(row["is_complete"])

    def test_a_guess_for_another_business_is_refused(self) -> None:
        call = self.calls.comes_in(owner=OWNER)
        foreign = {**call, "business_id": call["business_id"] + 1}
        self.assertFalse(services.reap_call_log(**foreign, status="failed", source="guess"))
        self.assertFalse(services.reap_call_log(**call, status="ringing", source="guess"))
        self.assertFalse(services.reap_call_log(**call, status="failed", source="hearsay"))
        self.assertEqual(RefusedFact.objects.count(), 3)
        self.assertEqual(CallLog.objects.get().status, "in-progress")


class OneAtATimeTest(TransactionTestCase):
    def in_thread(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(20)
        self.assertFalse(thread.is_alive())

    def test_a_sweep_during_a_sweep_leaves_at_once(self) -> None:
        calls = Calls()
        calls.comes_in(owner=OWNER)
        calls.sweep(45)
        reports: list[Any] = []

        def meanwhile() -> None:
            self.in_thread(lambda: reports.append(calls.sweep(60.5)))

        first = calls.sweep(110, replay=meanwhile)
        self.assertEqual((first.busy, first.ended, reports[0].busy), (False, 1, True))
        self.assertFalse(calls.sweep(120).busy)

    def test_the_lock_of_a_holder_that_failed_is_free_again(self) -> None:
        with self.assertRaises(ZeroDivisionError), only_one("reaper", after(0)) as alone:
            self.assertTrue(alone)
            raise ZeroDivisionError
        self.assertTrue(self.taken_elsewhere(after(1)))

    def test_the_lock_of_a_holder_that_died_is_free_after_its_lease(self) -> None:
        if connection.vendor == "postgresql":
            held: AbstractContextManager[bool] = only_one("reaper", after(0))
            held.__enter__()
            self.assertFalse(self.taken_elsewhere(after(1)))
            connection.close()  # the sweep's own work may lose its connection; the lock is not on it
            self.assertFalse(self.taken_elsewhere(after(1)))
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON database = pg_database.oid "
                    "WHERE locktype = 'advisory' AND datname = current_database()"
                )
            self.assertTrue(self.until_taken())
            held.__exit__(None, None, None)
            return
        held = only_one("reaper", after(0))
        held.__enter__()
        self.assertFalse(self.taken_elsewhere(after(LEASE.total_seconds() - 1)))
        self.assertTrue(self.taken_elsewhere(after(LEASE.total_seconds())))
        held.__exit__(None, None, None)

    def until_taken(self) -> bool:
        """A terminated session ends a moment later."""
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            if self.taken_elsewhere(after(1)):
                return True
        return False

    def taken_elsewhere(self, now: datetime) -> bool:
        taken: list[bool] = []

        def take() -> None:
            with only_one("reaper", now) as alone:
                taken.append(alone)

        self.in_thread(take)
        return taken[0]

    def test_two_ends_at_once_are_one(self) -> None:
        """The call's own end comes while the reaper guesses: many times, in threads."""
        calls = Calls()
        for number in range(10):
            call = calls.comes_in(f"CA{number:032x}", owner=OWNER)
            gate = threading.Barrier(2)

            def guess(call: dict[str, Any] = call, gate: threading.Barrier = gate) -> None:
                gate.wait(10)
                services.reap_call_log(**call, status="failed", source="guess", ended_reason="stream_lost")
                connections.close_all()

            thread = threading.Thread(target=guess)
            thread.start()
            gate.wait(10)
            ended = {"status": "completed", "duration_seconds": 4, "transcript": "", "ended_reason": "caller_hung_up"}
            services.finalize_call_log(**call | ended, ended_at=timezone.now().isoformat())
            thread.join(20)
        rows = set(CallLog.objects.values_list("status", "ended_reason", "end_source", "is_complete"))
        self.assertEqual(rows, {("completed", "caller_hung_up", "", True)})
