"""Facts about one leg, in any order."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

from django.test import SimpleTestCase, TestCase

from calls import dial_policy, services
from calls.legs import RANKS, REASONS, UNREACHED, Leg, merged
from calls.models import CallLeg, CallLog, LegState, RefusedFact
from tests.calls.support import CALL_SID, a_business, a_leg, at

START = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
ASKED = Leg("call_1", "warm", "Nina", "", "", "asked", "", "About a tooth.", START, None, None, None)
LEG_SID = "CA" + "4" * 32
NUMBER = "+12125550171"


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class MergedTest(SimpleTestCase):
    def test_every_state_has_a_rank_of_its_own(self) -> None:
        self.assertEqual(set(RANKS), set(LegState.values))
        self.assertEqual(len(set(RANKS.values())), len(RANKS))
        self.assertLess(UNREACHED, set(RANKS))

    def test_in_any_order_the_leg_is_the_same(self) -> None:
        blank = Leg("call_1", "", "", "", "", "asked", "", "", None, None, None, None)
        facts = [
            ASKED,
            replace(ASKED, number=NUMBER, briefing="", asked_at=None),
            replace(blank, state="answered", leg_sid=LEG_SID, answered_at=later(7)),
            replace(blank, state="refused", reason="no_key", leg_sid=LEG_SID, ended_at=later(9)),
            replace(blank, state="refused", reason="said_no", ended_at=later(8)),
        ]
        expected = Leg(
            *("call_1", "warm", "Nina", NUMBER, LEG_SID, "refused", "said_no", "About a tooth."),
            *(START, later(7), later(9), None),
        )
        for order in permutations(facts):
            whole = order[0]
            for fact in (*order[1:], order[0]):
                whole = merged(whole, fact)
            self.assertEqual(whole, expected)

    def test_two_ends_of_one_state_end_the_same_in_either_order(self) -> None:
        one, other = replace(ASKED, state="refused", reason="no_key"), replace(ASKED, state="refused", reason="said_no")
        self.assertEqual(merged(one, other).reason, "said_no")
        self.assertEqual(merged(one, other), merged(other, one))

    def test_what_was_said_is_in_no_message_of_an_error(self) -> None:
        self.assertNotIn("tooth", repr(ASKED))

    def test_no_reason_means_two_things(self) -> None:
        self.assertFalse(REASONS.keys() & dial_policy.SENTENCES.keys())


class ServiceTest(TestCase):
    def setUp(self) -> None:
        self.business, self.version = a_business()
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}

    def facts(self, *ends: dict[str, Any], ended_reason: str = "transferred") -> list[tuple[Any, dict[str, Any]]]:
        """A call whose stream was closed to put the caller through, and what became of that."""
        end = {"status": "in-progress", "duration_seconds": 12, "transcript": "", "ended_reason": ended_reason}
        return [
            (services.save_leg, {**self.call, **a_leg(1)}),
            (services.save_leg, {**self.call, "key": "call_1", "state": "asked", "number": NUMBER}),
            *[(services.save_leg, {**self.call, "key": "call_1", "leg_sid": LEG_SID, **end}) for end in ends],
            (services.finalize_call_log, {**self.call, **end}),
            (services.apply_call_status, {**self.call, "status": "completed", "sequence_number": 1}),
        ]

    def apply(self, facts: list[tuple[Any, dict[str, Any]]]) -> tuple[dict[str, Any], str]:
        """What stands of the leg then, and how the call ended."""
        CallLog.objects.all().delete()
        for service, arguments in facts:
            self.assertTrue(service(**arguments))
        leg: dict[str, Any] = {**CallLeg.objects.values().get()}
        for name in ("id", "call_id", "created_at"):
            del leg[name]
        return leg, CallLog.objects.get().ended_reason

    def test_shuffled_and_repeated_facts_make_one_leg_and_one_end(self) -> None:
        answered = {"state": "answered", "answered_at": at(27)}
        over = {"state": "completed", "ended_at": at(50), "duration_seconds": 23}
        facts = self.facts({"state": "ringing"}, answered, over)
        expected = self.apply(facts)
        leg, ended = expected
        self.assertEqual((leg["state"], leg["number"], leg["duration_seconds"]), ("completed", NUMBER, 23))
        self.assertEqual((leg["business_id"], ended), (self.business.pk, "transferred"))
        for seed in range(40):
            chance = random.Random(seed)
            shuffled = facts + chance.sample(facts, 3)
            chance.shuffle(shuffled)
            with self.subTest(seed=seed):
                self.assertEqual(self.apply(shuffled), expected)

    def test_how_the_call_ended_is_told_by_the_leg_that_the_caller_was_put_through_to(self) -> None:
        for state, ended in (
            ("completed", "transferred"),
            ("canceled", "caller_hung_up"),
            ("busy", "never_connected"),
            ("no-answer", "never_connected"),
        ):
            facts = self.facts({"state": state})
            for order in (facts, facts[::-1]):
                with self.subTest(state):
                    self.assertEqual(self.apply(order)[1], ended)
        self.assertEqual(self.apply(self.facts({"state": "canceled"}, ended_reason="agent_ended"))[1], "agent_ended")

    def test_the_stream_after_it_tells_the_end_whatever_became_of_the_leg(self) -> None:
        facts = self.facts({"state": "busy"})
        back = {**self.call, "from_number": "", "to_number": "", "direction": "inbound", "stream_number": 1}
        end = {"status": "completed", "duration_seconds": 5, "transcript": "", "ended_reason": "agent_ended"}
        after = [
            (services.create_call_log, back),
            (services.finalize_call_log, {**self.call, **end, "stream_number": 1}),
        ]
        for order in (facts + after, after + facts, [*facts, *after][::-1]):
            self.assertEqual(self.apply(order)[1], "agent_ended")

    def test_facts_that_do_not_fit_are_refused_and_kept(self) -> None:
        other, _ = a_business("+15550100101", name="Other")
        self.assertTrue(services.save_leg(**self.call, **a_leg(1)))
        odd: list[dict[str, Any]] = [{"state": "gone"}, {"kind": "hot"}, {"key": ""}, {"asked_at": "soon"}]
        for changes in [{"business_id": other.pk}, *odd]:
            with self.subTest(changes):
                arguments: dict[str, Any] = {**self.call, **a_leg(1), **changes}
                self.assertFalse(services.save_leg(**arguments))
        self.assertEqual((CallLeg.objects.count(), RefusedFact.objects.count()), (1, 5))
