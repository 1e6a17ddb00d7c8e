"""Facts about one use of a tool, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

from django.test import SimpleTestCase

from calls.models import ToolState
from calls.tool_uses import RANKS, ToolUse, merged

START = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
STARTED = ToolUse("call_1", "look_up", "{}", "", "started", START, None)


def ended(state: str, seconds: float, output: str = "{}") -> ToolUse:
    return replace(STARTED, state=state, output=output, ended_at=START + timedelta(seconds=seconds))


class MergedTest(SimpleTestCase):
    def test_every_state_has_a_rank_of_its_own(self) -> None:
        self.assertEqual(set(RANKS), set(ToolState.values))
        self.assertEqual(len(set(RANKS.values())), len(RANKS))

    def test_in_any_order_the_fullest_end_stays(self) -> None:
        facts = [STARTED, ended("abandoned", 3), ended("timed_out", 2), ended("finished", 4, "found")]
        for order in permutations(facts):
            whole = order[0]
            for fact in (*order[1:], order[0]):
                whole = merged(whole, fact)
            self.assertEqual(whole, facts[-1])

    def test_two_ends_of_one_state_end_the_same_in_either_order(self) -> None:
        for one, other in (
            (ended("failed", 2), ended("failed", 3)),
            (ended("failed", 2, "a"), ended("failed", 2, "b")),
        ):
            self.assertEqual(merged(one, other), merged(other, one))

    def test_what_an_end_does_not_know_comes_from_the_start(self) -> None:
        end = ToolUse("call_1", "", "", "found", "finished", None, START)
        for whole in (merged(end, STARTED), merged(STARTED, end)):
            self.assertEqual((whole.name, whole.started_at, whole.state), ("look_up", START, "finished"))

    def test_what_was_said_is_in_no_message_of_an_error(self) -> None:
        self.assertNotIn("found", repr(ended("finished", 1, "found")))
