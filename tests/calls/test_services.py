"""The services: whatever order the facts of a call come in, and however often, the end is the same."""

from __future__ import annotations

import random
import threading
import time
import unittest
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import close_old_connections, connection, connections, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from businesses.models import Business
from calls import costs, services
from calls.locked_calls import together
from calls.models import CallLog, CallMessage, ConversationTurn, RefusedFact, ToolUse
from calls.transcripts import render
from tests.calls.support import (
    ACCOUNT_SID,
    CALL_SID,
    CALLER,
    OUR_NUMBER,
    a_business,
    a_message,
    a_tool_use,
    a_turn,
    at,
)

Fact = tuple[Callable[..., bool], dict[str, Any]]

TURNS = [a_turn(0), a_turn(1, 1, reply_ms=800, reply_heard_ms=950), a_turn(2, interrupted=True), a_turn(3)]
TOOL_USES = [a_tool_use(1), a_tool_use(2, "abandoned"), a_tool_use(3, "failed")]
MESSAGES = [a_message(1), a_message(4)]
USAGE = {"input_tokens": 9000, "cached_tokens": 4000, "output_tokens": 700, "input_audio_tokens": 5000}
PRICES: costs.Prices = {"a-model": [(date(2026, 1, 1), costs.Price(*(Decimal(n) for n in (1, 2, 3, 4, 5, 6))))]}


def facts_of_a_call(business_id: int, agent_version_id: int | None) -> list[Fact]:
    """Everything that is ever said about one call, in the order of a call without mishaps."""
    call = {"call_sid": CALL_SID, "business_id": business_id}
    created = {
        **call,
        "from_number": CALLER,
        "to_number": OUR_NUMBER,
        "direction": "outbound-api",
        "account_sid": ACCOUNT_SID,
        "agent_version_id": agent_version_id,
    }
    ended = {
        "status": "completed",
        "duration_seconds": 24,
        "transcript": render(TURNS),
        "interruptions": 1,
        "model": "a-model",
        "counters": {"interruptions": 1, "underrun_ms": 240},
        "usage": USAGE,
        "tool_uses": TOOL_USES,
        "messages": MESSAGES,
    }
    return [
        (services.apply_call_status, {**call, "status": "ringing", "sequence_number": 1, "occurred_at": at(0.2)}),
        (services.create_call_log, {**created, "status": "ringing", "occurred_at": at(0)}),
        (services.create_call_log, {**created, "stream_sid": "MZ" + "3" * 32, "occurred_at": at(2)}),
        (services.apply_call_status, {**call, "status": "in-progress", "sequence_number": 2, "occurred_at": at(1)}),
        (services.save_conversation_turn, {**call, **a_turn(0)}),
        (services.save_conversation_turn, {**call, **a_turn(1)}),
        (services.save_conversation_turn, {**call, **TURNS[1]}),
        (services.save_tool_use, {**call, **a_tool_use(1, "started")}),
        (services.save_tool_use, {**call, **TOOL_USES[0]}),
        (services.save_tool_use, {**call, **a_tool_use(2, "started")}),
        (services.save_tool_use, {**call, **a_tool_use(3, "timed_out")}),
        (services.save_tool_use, {**call, **TOOL_USES[2]}),
        (services.save_message, {**call, **MESSAGES[0]}),
        (services.save_conversation_turn, {**call, **TURNS[2]}),
        (services.save_conversation_turn, {**call, **a_turn(3)}),
        (
            services.finalize_call_log,
            {
                **call,
                **ended,
                "turns": TURNS,
                "ended_at": at(25),
                "ended_reason": "caller_hung_up",
                "model_session_id": "sess_1",
                "recording_url": "https://api.example.com/recordings/RE1",
            },
        ),
        (
            services.apply_call_status,
            {**call, "status": "completed", "sequence_number": 3, "duration_seconds": 23, "occurred_at": at(26)},
        ),
    ]


def state() -> dict[str, Any]:
    """All that is stored of the one call, without what the clock and the database chose."""
    call: dict[str, Any] = {**CallLog.objects.values().get()}
    for name in ("id", "created_at", "updated_at"):
        del call[name]
    turn = (*a_turn(0), "reply_ms", "reply_heard_ms")
    call["turns"] = list(ConversationTurn.objects.order_by("turn_index").values_list(*turn))
    call["tool_uses"] = list(ToolUse.objects.order_by("tool_call_id").values_list(*a_tool_use(0), "business_id"))
    call["messages"] = list(CallMessage.objects.order_by("key").values_list(*a_message(0), "business_id"))
    return call


@override_settings(SPEECH_PRICES=PRICES)
class StateTest(TestCase):
    """What is stored of one call, once all its facts have been applied."""

    def apply(self, facts: list[Fact]) -> dict[str, Any]:
        CallLog.objects.all().delete()
        for service, arguments in facts:
            self.assertTrue(service(**arguments))
        return state()

    def apply_together(self, facts: list[Fact]) -> dict[str, Any]:
        """The later half in one transaction, as what a dead process left."""
        CallLog.objects.all().delete()
        half = len(facts) // 2
        for service, arguments in facts[:half]:
            self.assertTrue(service(**arguments))
        with together([(CALL_SID, facts[0][1]["business_id"])]):
            for service, arguments in facts[half:]:
                self.assertTrue(service(**arguments))
        return state()

    def assert_any_order_ends_the_same(self, facts: list[Fact]) -> None:
        expected = self.apply(facts)
        for seed in range(100):
            chance = random.Random(seed)
            shuffled = facts + [fact for fact in facts if chance.random() < 0.5]
            chance.shuffle(shuffled)
            with self.subTest(seed=seed):
                self.assertEqual(self.apply(shuffled), expected)
                self.assertEqual(self.apply_together(shuffled), expected)


class AnyOrderTest(StateTest):
    def setUp(self) -> None:
        business, version = a_business()
        self.facts = facts_of_a_call(business.pk, version.pk)

    def test_a_call_without_mishaps_is_all_there(self) -> None:
        stored = self.apply(self.facts)
        self.assertEqual(stored["from_number"], CALLER)
        self.assertEqual(stored["direction"], "outbound")
        self.assertEqual(stored["stream_sid"], "MZ" + "3" * 32)
        self.assertEqual(stored["status"], "completed")
        self.assertEqual(stored["ended_reason"], "caller_hung_up")
        self.assertEqual(stored["duration_seconds"], 23)
        self.assertEqual(stored["started_at"].isoformat(), at(0).replace(".000000", ""))
        self.assertEqual(stored["ended_at"].isoformat(), at(26).replace(".000000", ""))
        self.assertEqual(stored["expected_turns"], 4)
        self.assertEqual(stored["transcript"], render(TURNS))
        self.assertTrue(stored["is_complete"])
        self.assertEqual([turn[:2] for turn in stored["turns"]], [(0, 0), (1, 1), (2, 0), (3, 0)])
        self.assertEqual(
            [turn[-2:] for turn in stored["turns"]], [(None, None), (800, 950), (None, None), (None, None)]
        )
        self.assertEqual(
            [use[:5] for use in stored["tool_uses"]],
            [
                ("call_1", "look_up", '{"number": 1}', '{"found": "finished"}', "finished"),
                ("call_2", "look_up", '{"number": 2}', '{"found": "abandoned"}', "abandoned"),
                ("call_3", "look_up", '{"number": 3}', '{"found": "failed"}', "failed"),
            ],
        )
        self.assertEqual([message[0] for message in stored["messages"]], ["call_1", "call_4"])
        self.assertEqual(stored["messages"][0][1:4], ("Please call me back about 1.", "Nina", CALLER))
        self.assertEqual(stored["counters"], {"interruptions": 1, "underrun_ms": 240})
        self.assertEqual(stored["usage"], USAGE)
        # text: 4000 in, all of them cached, and 700 out; audio: 5000 in
        self.assertEqual(stored["cost"], Decimal("0.030100"))
        self.assertFalse(RefusedFact.objects.exists())

    def test_shuffled_and_repeated_facts_end_the_same(self) -> None:
        self.assert_any_order_ends_the_same(self.facts)

    def test_the_end_alone_repairs_everything_that_was_lost(self) -> None:
        expected = self.apply(self.facts)
        lost = {services.save_conversation_turn, services.save_tool_use, services.save_message}
        what_is_left = [fact for fact in self.facts if fact[0] not in lost]
        for seed in range(20):
            random.Random(seed).shuffle(what_is_left)
            with self.subTest(seed=seed):
                self.assertEqual(self.apply(what_is_left), expected)

    def test_a_fact_of_the_release_before_is_taken_as_it_is(self) -> None:
        new = {"model", "counters", "usage", "tool_uses", "messages"}
        self.apply([(service, {k: v for k, v in given.items() if k not in new}) for service, given in self.facts])
        call = CallLog.objects.get()
        self.assertEqual((call.is_complete, call.counters, call.usage, call.cost), (True, {}, {}, None))


class MergeRulesTest(TestCase):
    def setUp(self) -> None:
        self.business, self.version = a_business()
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        self.identity: dict[str, Any] = {"from_number": CALLER, "to_number": OUR_NUMBER, "direction": "inbound"}

    def stored(self) -> CallLog:
        return CallLog.objects.get(call_sid=CALL_SID)

    def finalize(self, turns: list[dict[str, Any]], **fields: Any) -> None:
        ended: dict[str, Any] = {
            "status": "completed",
            "duration_seconds": 9,
            "transcript": render(turns),
            "turns": turns,
        }
        self.assertTrue(services.finalize_call_log(**{**self.call, **ended, **fields}))

    def test_the_first_terminal_status_stays(self) -> None:
        for number, status in enumerate(["busy", "completed", "ringing", "failed"]):
            services.apply_call_status(**self.call, status=status, sequence_number=number)
            self.assertEqual(self.stored().status, "busy")

    def test_a_number_once_known_is_never_replaced(self) -> None:
        services.create_call_log(**self.call, **self.identity)
        services.create_call_log(**self.call, **{**self.identity, "from_number": "anonymous"})
        self.assertEqual(self.stored().from_number, CALLER)

    def test_the_carriers_duration_counts_more_in_either_order(self) -> None:
        said: dict[str, Any] = {"status": "completed", "sequence_number": 3, "duration_seconds": 7}
        services.apply_call_status(**self.call, **said)
        self.finalize([], duration_seconds=9)
        self.assertEqual(self.stored().duration_seconds, 7)
        CallLog.objects.all().delete()
        self.finalize([], duration_seconds=9)
        services.apply_call_status(**self.call, **said)
        self.assertEqual(self.stored().duration_seconds, 7)

    def test_a_better_turn_after_the_end_changes_the_transcript_too(self) -> None:
        self.finalize([a_turn(0), a_turn(1)])
        self.assertTrue(self.stored().is_complete)
        services.save_conversation_turn(**self.call, **a_turn(1, 5))
        self.assertIn("Caller: question 1 r5", self.stored().transcript)
        self.assertTrue(self.stored().is_complete)

    def test_a_lower_or_equal_revision_changes_nothing(self) -> None:
        services.save_conversation_turn(**self.call, **a_turn(1, 2))
        services.save_conversation_turn(**self.call, **a_turn(1, 1))
        services.save_conversation_turn(**self.call, **a_turn(1, 2, user_text="other"))
        self.assertEqual(ConversationTurn.objects.get().user_text, "question 1 r2")

    def test_a_call_with_a_gap_in_its_turns_is_not_complete(self) -> None:
        self.finalize([a_turn(0), a_turn(2)])
        self.assertFalse(self.stored().is_complete)
        services.save_conversation_turn(**self.call, **a_turn(1))
        self.assertTrue(self.stored().is_complete)

    def test_a_call_that_is_not_over_is_not_complete(self) -> None:
        self.finalize([a_turn(0)], status="in-progress")
        self.assertFalse(self.stored().is_complete)
        services.apply_call_status(**self.call, status="completed", sequence_number=3)
        self.assertTrue(self.stored().is_complete)

    def test_a_call_without_a_word_is_complete(self) -> None:
        self.finalize([])
        self.assertEqual(self.stored().expected_turns, 0)
        self.assertTrue(self.stored().is_complete)

    def test_a_transcript_without_turns_waits_for_turns_that_equal_it(self) -> None:
        self.finalize([], transcript=render([a_turn(0), a_turn(1)]))
        self.assertFalse(self.stored().is_complete)
        services.save_conversation_turn(**self.call, **a_turn(1))
        self.assertFalse(self.stored().is_complete)
        services.save_conversation_turn(**self.call, **a_turn(0))
        self.assertTrue(self.stored().is_complete)

    def test_a_transcript_that_differs_from_its_turns_is_shown_to_a_person(self) -> None:
        self.finalize([a_turn(0)], transcript="Agent: something else")
        self.assertEqual(self.stored().transcript, "Agent: answer 0 r0")
        self.assertIn("does not equal", RefusedFact.objects.get().reason)

    def test_an_end_without_a_time_does_not_move_when_it_is_told_again(self) -> None:
        self.finalize([])
        first = self.stored().ended_at
        self.finalize([])
        self.assertEqual(self.stored().ended_at, first)

    def test_an_unknown_reason_is_left_out_and_the_end_is_kept(self) -> None:
        self.finalize([a_turn(0)], ended_reason="abducted")
        self.assertEqual(self.stored().ended_reason, "")
        self.assertTrue(self.stored().is_complete)

    def test_a_tool_never_goes_back_and_its_end_may_be_corrected(self) -> None:
        for state, expected in (
            ("timed_out", "timed_out"),
            ("started", "timed_out"),
            ("abandoned", "timed_out"),
            ("finished", "finished"),
            ("failed", "finished"),
        ):
            services.save_tool_use(**self.call, **a_tool_use(1, state))
            use = ToolUse.objects.get()
            self.assertEqual((use.state, use.output), (expected, f'{{"found": "{expected}"}}'))

    def test_a_tool_or_a_message_that_comes_first_makes_the_call(self) -> None:
        services.save_tool_use(**self.call, **a_tool_use(1))
        call = self.stored()
        self.assertEqual((call.status, call.business_id), ("queued", self.business.pk))
        call.delete()
        services.save_message(**self.call, **a_message(1))
        self.assertEqual(CallMessage.objects.get().call, self.stored())
        self.assertEqual(self.stored().started_at, CallMessage.objects.get().taken_at)

    def test_a_handled_message_stays_handled_however_often_it_comes(self) -> None:
        services.save_message(**self.call, **a_message(1))
        CallMessage.objects.update(handled_at=timezone.now())
        services.save_message(**self.call, **a_message(1))
        self.finalize([], messages=[a_message(1)])
        self.assertIsNotNone(CallMessage.objects.get().handled_at)

    def test_the_price_is_the_one_of_the_day_on_which_the_call_began(self) -> None:
        dearer = costs.Price(*[Decimal(10)] * 6)
        prices = {"a-model": [*PRICES["a-model"], (date(2026, 11, 24), dearer)]}
        with override_settings(SPEECH_PRICES=prices):
            self.finalize([a_turn(0)], model="a-model", usage={"input_tokens": 1_000_000})
            self.assertEqual(self.stored().cost, Decimal(10))
            services.create_call_log(**self.call, **self.identity, occurred_at="2026-11-23T23:59:59+00:00")
            self.assertEqual(self.stored().cost, Decimal(1))

    def test_a_stream_that_told_no_tokens_costs_nothing_known(self) -> None:
        self.finalize([], model="a-model", usage={"input_tokens": 0, "output_tokens": 0})
        self.assertEqual((self.stored().usage, self.stored().cost), ({}, None))

    def test_a_row_of_the_release_before_takes_a_second_report(self) -> None:
        old = {"turns": 0, "seconds": 3, "interruptions": 1, "ended_reason": "", "model_session_id": ""}
        CallLog.objects.create(call_sid=CALL_SID, business=self.business, streams={"0": old})
        self.finalize([], counters={"echoes": 1}, model="a-model", usage={"input_tokens": 5})
        self.assertEqual((self.stored().counters, self.stored().usage), ({"echoes": 1}, {"input_tokens": 5}))

    def test_a_turn_costs_few_queries(self) -> None:
        services.create_call_log(**self.call, **self.identity, occurred_at=at(0))
        with self.assertNumQueries(1):
            services.save_conversation_turn(**self.call, **a_turn(0))

    def test_a_turn_of_a_living_call_is_stored_once_and_by_its_highest_revision(self) -> None:
        services.create_call_log(**self.call, **self.identity, occurred_at=at(0))
        for revision in (1, 3, 2, 3):
            services.save_conversation_turn(**self.call, **a_turn(0, revision))
        turn = self.stored().turns.get()
        self.assertEqual((turn.revision, turn.bot_reply), (3, a_turn(0, 3)["bot_reply"]))

    def test_a_turn_that_tells_something_of_its_call_changes_the_call(self) -> None:
        services.create_call_log(**self.call, **self.identity, occurred_at=at(9))
        services.save_conversation_turn(**self.call, **a_turn(0))
        self.assertEqual(self.stored().started_at, datetime.fromisoformat(a_turn(0)["started_at"]))
        services.save_conversation_turn(**self.call, **resumed_turn(0))
        self.assertEqual((self.stored().last_stream, self.stored().turns.count()), (1, 2))


def resumed_turn(place: int, revision: int = 0) -> dict[str, Any]:
    """A turn of a call's second stream."""
    times = {"started_at": at(24 + 3 * place), "ended_at": at(26 + 3 * place)}
    return {**a_turn(place, revision), **times, "turn_index": 10_000 + place}


def facts_of_a_resumed_call(business_id: int, agent_version_id: int | None) -> list[Fact]:
    """A call that was handed over once: two streams, at two processes."""
    call = {"call_sid": CALL_SID, "business_id": business_id}
    created = {
        **call,
        "from_number": CALLER,
        "to_number": OUR_NUMBER,
        "direction": "inbound",
        "agent_version_id": agent_version_id,
    }
    first, second = [a_turn(0), a_turn(1)], [resumed_turn(0), resumed_turn(1, 1)]
    handed_over = {
        "status": "in-progress",
        "duration_seconds": 20,
        "ended_reason": "server_stopped",
        "interruptions": 1,
        "model": "a-model",
        "counters": {"echoes": 2, "underruns": 1},
        "usage": {"input_tokens": 1_000_000, "output_tokens": 0},
        "tool_uses": [a_tool_use(1, "abandoned")],
    }
    over = {
        "status": "completed",
        "duration_seconds": 9,
        "ended_reason": "agent_ended",
        "interruptions": 2,
        "model": "a-model-2026-11-01",
        "counters": {"echoes": 3},
        "usage": {"output_tokens": 1_000_000},
        "messages": [a_message(2)],
    }
    return [
        (services.create_call_log, {**created, "status": "ringing", "occurred_at": at(0)}),
        (services.create_call_log, {**created, "occurred_at": at(2), "owner_boot_id": "a" * 32, "stream_sid": "MZ1"}),
        (services.save_conversation_turn, {**call, **first[0]}),
        (services.save_conversation_turn, {**call, **first[1]}),
        (
            services.finalize_call_log,
            {**call, **handed_over, "transcript": render(first), "turns": first, "ended_at": at(22)},
        ),
        (
            services.create_call_log,
            {**created, "occurred_at": at(24), "owner_boot_id": "b" * 32, "stream_sid": "MZ1", "stream_number": 1},
        ),
        (services.save_conversation_turn, {**call, **second[0]}),
        (services.save_conversation_turn, {**call, **resumed_turn(1)}),
        (
            services.finalize_call_log,
            {
                **call,
                **over,
                "transcript": render(second),
                "turns": second,
                "ended_at": at(33),
                "model_session_id": "sess_2",
                "stream_number": 1,
            },
        ),
        (services.apply_call_status, {**call, "status": "completed", "sequence_number": 3, "occurred_at": at(34)}),
    ]


class ResumedTest(StateTest):
    def setUp(self) -> None:
        self.business, version = a_business()
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        self.facts = facts_of_a_resumed_call(self.business.pk, version.pk)

    def test_a_call_of_two_streams_is_one_call(self) -> None:
        stored = self.apply(self.facts)
        self.assertEqual([turn[0] for turn in stored["turns"]], [0, 1, 10_000, 10_001])
        self.assertEqual((stored["status"], stored["ended_reason"]), ("completed", "agent_ended"))
        self.assertEqual((stored["expected_turns"], stored["interruptions"]), (4, 3))
        self.assertEqual((stored["duration_seconds"], stored["model_session_id"]), (29, "sess_2"))
        self.assertTrue(stored["is_complete"])
        self.assertEqual(stored["counters"], {"echoes": 5, "underruns": 1})
        self.assertEqual(stored["usage"], {"input_tokens": 1_000_000, "output_tokens": 1_000_000})
        self.assertEqual(stored["cost"], Decimal(1 + 3))
        self.assertEqual((len(stored["tool_uses"]), len(stored["messages"])), (1, 1))
        self.assertEqual(stored["transcript"].count("\n") + 1, 6)
        self.assertFalse(RefusedFact.objects.exists())

    def test_shuffled_and_repeated_it_ends_the_same(self) -> None:
        self.assert_any_order_ends_the_same(self.facts)

    def test_what_the_first_stream_counted_is_told_while_the_second_goes_on_and_when_it_died(self) -> None:
        for facts in (self.facts[:6], [*self.facts[:6], self.facts[-1]]):
            stored = self.apply(facts)
            self.assertEqual((stored["counters"], stored["cost"]), ({"echoes": 2, "underruns": 1}, Decimal(1)))

    def test_a_stream_whose_model_has_no_price_leaves_the_cost_unknown(self) -> None:
        for _, arguments in self.facts:
            if arguments.get("model") == "a-model":
                arguments["model"] = "another-model"
        stored = self.apply(self.facts)
        self.assertEqual((stored["cost"], stored["usage"]["input_tokens"]), (None, 1_000_000))

    def test_while_it_is_handed_over_it_is_live_and_nobodys(self) -> None:
        stored = self.apply(self.facts[:5])
        self.assertEqual((stored["status"], stored["ended_reason"]), ("in-progress", "server_stopped"))
        self.assertEqual((stored["owner_boot_id"], stored["ended_at"], stored["is_complete"]), ("", None, False))
        stored = self.apply(self.facts[:6])
        self.assertEqual((stored["owner_boot_id"], stored["ended_reason"]), ("b" * 32, ""))

    def test_a_caller_who_hangs_up_meanwhile_leaves_a_complete_call(self) -> None:
        stored = self.apply([*self.facts[:5], self.facts[-1]])
        self.assertEqual((stored["status"], stored["ended_reason"]), ("completed", "server_stopped"))
        self.assertTrue(stored["is_complete"])

    def test_a_stream_that_died_with_its_process_leaves_the_call_incomplete(self) -> None:
        stored = self.apply([fact for fact in self.facts if fact[1].get("ended_reason") != "server_stopped"])
        self.assertEqual((stored["status"], stored["ended_reason"]), ("completed", "agent_ended"))
        self.assertEqual([turn[0] for turn in stored["turns"]], [0, 1, 10_000, 10_001])
        self.assertFalse(stored["is_complete"])

    def test_a_turn_that_the_first_stream_lost_is_missed(self) -> None:
        stored = self.apply([fact for fact in self.facts if fact[1].get("turn_index") != 0])
        self.assertTrue(stored["is_complete"])  # the end of the first stream has it too
        self.apply(self.facts)
        ConversationTurn.objects.filter(turn_index=1).delete()
        services.save_conversation_turn(**self.call, **a_turn(0, 7))
        self.assertFalse(CallLog.objects.get().is_complete)

    def test_a_stream_that_opens_after_the_reapers_guess_proves_it_wrong(self) -> None:
        self.apply(self.facts[:4])
        services.reap_call_log(**self.call, status="completed", source="guess", ended_at=at(21), duration_seconds=19)
        self.assertEqual(CallLog.objects.get().status, "completed")
        service, arguments = self.facts[5]
        service(**arguments)
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.ended_at, call.reaped_at, call.end_source), ("in-progress", None, None, ""))

    def test_a_stream_beyond_all_that_a_call_can_have_is_refused(self) -> None:
        self.assertFalse(services.save_conversation_turn(**self.call, **{**a_turn(0), "turn_index": 100_000}))
        self.assertFalse(services.finalize_call_log(**self.call, **{**FINALIZED, "stream_number": 10}))
        self.assertEqual(RefusedFact.objects.count(), 2)


FINALIZED: dict[str, Any] = {"status": "completed", "duration_seconds": 1, "transcript": ""}


class RefusedTest(TestCase):
    def setUp(self) -> None:
        self.business, self.version = a_business()
        self.other = Business.objects.create(name="Other")
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        self.turn = {**self.call, **a_turn(0)}

    def rows(self) -> list[list[Any]]:
        models = (CallLog, ConversationTurn, ToolUse, CallMessage)
        return [list(model._default_manager.values()) for model in models]

    def assert_refused(self, service: Callable[..., bool], arguments: dict[str, Any], reason: str) -> RefusedFact:
        before = self.rows()
        RefusedFact.objects.all().delete()
        for _ in range(2):
            self.assertFalse(service(**arguments))
        self.assertEqual(self.rows(), before)
        refused = RefusedFact.objects.get()  # once, though it came twice
        self.assertIn(reason, refused.reason)
        self.assertEqual(refused.kind, service.__name__)
        return refused

    def test_no_fact_reaches_a_call_of_another_business(self) -> None:
        facts = facts_of_a_call(self.business.pk, self.version.pk)
        facts[0][0](**facts[0][1])
        for service, arguments in facts:
            with self.subTest(service=service.__name__):
                foreign = {**arguments, "business_id": self.other.pk}
                refused = self.assert_refused(service, foreign, "another business")
                self.assertEqual(refused.claimed_business_id, self.other.pk)
                self.assertEqual(refused.call_sid, CALL_SID)

    def test_the_words_of_a_refused_fact_are_kept_with_it(self) -> None:
        services.save_conversation_turn(**self.turn)
        foreign = {**self.turn, "business_id": self.other.pk, "user_text": "I said this"}
        refused = self.assert_refused(services.save_conversation_turn, foreign, "another business")
        self.assertEqual(refused.payload["user_text"], "I said this")

    def test_a_business_that_is_not_there_gets_no_call(self) -> None:
        for business_id in (self.other.pk + 100, 0, -1, 2**63, "1", None, True):
            with self.subTest(business_id=business_id):
                arguments = {**self.turn, "business_id": business_id}
                self.assert_refused(services.save_conversation_turn, arguments, "business")

    def test_an_agent_of_another_business_is_refused(self) -> None:
        arguments = {**facts_of_a_call(self.other.pk, self.version.pk)[1][1]}
        self.assert_refused(services.create_call_log, arguments, "agent")

    def test_what_cannot_be_repaired_is_refused(self) -> None:
        for field, value in [
            ("turn_index", -1),
            ("turn_index", "0"),
            ("turn_index", 2**31),
            ("turn_index", None),
            ("revision", -1),
            ("revision", 1.5),
            ("started_at", "yesterday"),
            ("started_at", "0001-01-01T00:00:00+14:00"),
            ("ended_at", 12),
            ("user_text", ["not", "text"]),
            ("heard_ms", "12"),
            ("heard_ms", float("nan")),
            ("call_sid", ""),
            ("call_sid", "CA" * 40),
        ]:
            with self.subTest(field=field, value=value):
                reason = "text" if field == "user_text" else field
                self.assert_refused(services.save_conversation_turn, {**self.turn, field: value}, reason)

    def test_a_bad_turn_makes_the_whole_end_bad(self) -> None:
        ended = {**self.call, "status": "completed", "duration_seconds": 1, "transcript": ""}
        bad: list[Any] = [[a_turn(0, started_at="never")], ["turn"], [{}], "turns", None]
        for turns in bad:
            with self.subTest(turns=turns):
                self.assert_refused(services.finalize_call_log, {**ended, "turns": turns}, "")

    def test_a_tool_or_message_that_cannot_be_repaired_is_refused(self) -> None:
        for field, value, reason in [
            ("tool_call_id", "", "tool_call_id"),
            ("tool_call_id", None, "text"),
            ("state", "exploded", "state"),
            ("state", None, "state"),
            ("started_at", "soon", "started_at"),
            ("output", {"not": "text"}, "text"),
        ]:
            with self.subTest(field=field, value=value):
                use = {**a_tool_use(1), field: value}
                self.assert_refused(services.save_tool_use, {**self.call, **use}, reason)
                self.assert_refused(services.finalize_call_log, {**self.call, **FINALIZED, "tool_uses": [use]}, reason)
        bad: list[tuple[str, Any, str]] = [("key", "\0", "key"), ("text", 1, "text"), ("taken_at", "soon", "taken_at")]
        for field, value, reason in bad:
            with self.subTest(field=field, value=value):
                message = {**a_message(1), field: value}
                self.assert_refused(services.save_message, {**self.call, **message}, reason)
                ended = {**self.call, **FINALIZED, "messages": [message]}
                self.assert_refused(services.finalize_call_log, ended, reason)
        self.assertFalse(ToolUse.objects.exists() or CallMessage.objects.exists())

    def test_what_is_no_number_is_not_counted_and_what_has_no_name_is_left_out(self) -> None:
        ended = {**self.call, **FINALIZED}
        bad: list[tuple[str, Any]] = [
            ("counters", ["echoes"]),
            ("counters", {"echoes": "many"}),
            ("counters", {"echoes": True}),
            ("usage", 12),
            ("usage", {"input_tokens": None}),
        ]
        for field, value in bad:
            with self.subTest(field=field, value=value):
                self.assert_refused(services.finalize_call_log, {**ended, field: value}, field)
        counters = {
            "echoes": -1,
            "Not this": 1,
            "x" * 61: 1,
            "underrun_ms": 2**40,
            **{f"error_{n}": 1 for n in range(90)},
        }
        usage = {"input_tokens": 2**40, "images": 7}
        self.assertTrue(services.finalize_call_log(**ended, counters=counters, usage=usage))
        call = CallLog.objects.get()
        self.assertEqual((len(call.counters), call.counters["echoes"]), (64, 0))
        self.assertEqual(call.usage, {"input_tokens": 2**31 - 1})
        self.assertNotIn("Not this", call.counters)

    def test_long_texts_of_tools_and_messages_are_cut(self) -> None:
        long = "x" * 40_000
        use = a_tool_use(1, tool_call_id=long, name=long, arguments=long, output=long)
        services.save_tool_use(**self.call, **use)
        services.save_tool_use(**self.call, **use)
        stored = ToolUse.objects.get()
        sizes = (len(stored.tool_call_id), len(stored.name), len(stored.arguments), len(stored.output))
        self.assertEqual(sizes, (200, 100, 16 * 1024, 16 * 1024))
        services.save_message(**self.call, **a_message(1, caller_name=long, callback_number=long, text=long))
        message = CallMessage.objects.get()
        of_message = (len(message.caller_name), len(message.callback_number), len(message.text))
        self.assertEqual(of_message, (200, 100, 16 * 1024))

    def test_a_status_that_is_none_is_refused(self) -> None:
        said = {**self.call, "status": "exploded", "sequence_number": 1}
        self.assert_refused(services.apply_call_status, said, "status")

    def test_negative_and_overlong_values_are_kept_within_bounds(self) -> None:
        long = "ä" * 20_000
        arguments = {**self.turn, "heard_ms": -5, "generated_ms": 2**40, "user_text": long, "bot_reply": "a\x00b\ud800"}
        self.assertTrue(services.save_conversation_turn(**arguments))
        turn = ConversationTurn.objects.get()
        self.assertEqual((turn.heard_ms, turn.generated_ms, turn.bot_reply), (0, 2**31 - 1, "ab?"))
        self.assertLessEqual(len(turn.user_text.encode()), 16 * 1024)
        self.assertTrue(turn.user_text.endswith("ä [cut]"))

    def test_overlong_names_of_a_call_fit_their_columns(self) -> None:
        long = "sip:" + "x" * 400
        identity: dict[str, Any] = {"from_number": long, "to_number": long, "direction": "inbound", "stream_sid": long}
        self.assertTrue(services.create_call_log(**self.call, **identity, account_sid=long))
        self.assertEqual(len(CallLog.objects.get().from_number), 255)


@unittest.skipUnless(
    connection.vendor == "postgresql", "SQLite has one writer at a time; run with DATABASE_URL=postgres://..."
)
@override_settings(SPEECH_PRICES=PRICES)
class ManyWorkersTest(TransactionTestCase):
    """On PostgreSQL rows are locked one by one: here the facts of many calls really come at the same time."""

    def test_a_turn_that_comes_while_its_call_is_ended_is_in_the_transcript(self) -> None:
        business, _ = a_business()
        call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": business.pk}
        services.create_call_log(
            **call, from_number=CALLER, to_number=OUR_NUMBER, direction="inbound", occurred_at=at(0)
        )
        ended, late = threading.Event(), threading.Event()

        def end() -> None:
            with transaction.atomic():
                services.finalize_call_log(
                    **call, status="completed", duration_seconds=9, transcript="", turns=[a_turn(0)]
                )
                ended.set()
                late.wait(10)
                time.sleep(0.3)  # until the turn waits for this transaction; without that it would prove nothing
            connections.close_all()

        def tell() -> None:
            late.set()
            services.save_conversation_turn(**call, **a_turn(1))
            connections.close_all()

        ending, telling = threading.Thread(target=end), threading.Thread(target=tell)
        ending.start()
        ended.wait(10)
        telling.start()
        ending.join(20)
        telling.join(20)
        stored = CallLog.objects.get()
        self.assertEqual(stored.turns.count(), 2)
        self.assertIn(a_turn(1)["bot_reply"], stored.transcript)

    def test_threads_that_deliver_everything_twice_end_the_same(self) -> None:
        business, version = a_business()
        number_of_calls = 12
        work: list[Fact] = []
        for number in range(number_of_calls):
            for service, arguments in facts_of_a_call(business.pk, version.pk) * 2:
                work.append((service, {**arguments, "call_sid": f"CA{number:032x}"}))
        random.Random(1).shuffle(work)
        errors: list[BaseException] = []

        def deliver(share: list[Fact]) -> None:
            try:
                for service, arguments in share:
                    service(**arguments)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=deliver, args=(work[start::6],)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        close_old_connections()
        self.assertEqual(errors, [])
        ends = {
            (call.status, call.duration_seconds, call.transcript, call.is_complete, call.turns.count())
            for call in CallLog.objects.all()
        }
        self.assertEqual(ends, {("completed", 23, render(TURNS), True, 4)})
        parts = {(call.tool_uses.count(), call.messages.count(), call.cost) for call in CallLog.objects.all()}
        self.assertEqual(parts, {(3, 2, Decimal("0.030100"))})
        self.assertEqual(CallLog.objects.count(), number_of_calls)
